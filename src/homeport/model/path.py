"""Paths of the data model: `Device.IP.Interface.1.Enable`, partial paths, `{i}`, `[alias]` and `*`; interned and immutable.

Only the spelling of a path lives here. Whether a path exists is for the tree to say.
Source: TR-106 3.1, TR-069a6 A.2.2 and A.3.2; TR-069a6 3.6.1 for `[alias]`.
"""

import re
from typing import Final

from homeport.errors import Fault
from homeport.terms import FaultCode

MAX_LENGTH: Final = 256
"""Longest path that CWMP carries, in characters (cwmp-1-0.xsd, ParameterValueStruct)."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_ALIAS: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")


class Alias(str):
    """An instance named by its alias: the text between the brackets."""

    __slots__ = ()


class Wildcard:
    """Any instance of a table: `*` in a request, `{i}` in a model."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "*"


WILDCARD: Final = Wildcard()

Segment = str | int | Alias | Wildcard


class Path:
    """One parsed path. Get it from `Path.parse`; equal texts give the same object while they are in use.

    text:     as it was spelled. segments: names as str, instance numbers as int, `Alias`, or WILDCARD.
    partial:  ends with a dot, or is empty: names an object and everything below it.
    """

    __slots__ = ("text", "segments", "partial", "plain")

    def __init__(self, text: str, segments: tuple[Segment, ...], partial: bool) -> None:
        self.text = text
        self.segments = segments
        self.partial = partial
        self.plain = not any(isinstance(s, Alias | Wildcard) for s in segments)
        """No alias and no wildcard: every segment is a name or an instance number."""

    def __repr__(self) -> str:
        return f"Path({self.text!r})"

    @classmethod
    def parse(cls, text: str) -> "Path":
        """The path that a text spells. Raises Fault 9005 where it is not a path at all."""
        found = _interned.get(text)
        if found is None:
            found = cls._parse(text)
            if len(_interned) >= _INTERN_LIMIT:
                _interned.clear()
            _interned[text] = found
        return found

    @classmethod
    def _parse(cls, text: str) -> "Path":
        if not text:
            return cls("", (), True)
        if len(text) > MAX_LENGTH:
            raise _refused(text[:60] + "...", f"a path has at most {MAX_LENGTH} characters, this one has {len(text)}")
        parts = text.split(".")
        partial = parts[-1] == ""
        if partial:
            parts.pop()
        segments: list[Segment] = []
        for part in parts:
            if _NAME.match(part):
                segments.append(part)
            elif part.isascii() and part.isdigit():
                if part[0] == "0":
                    raise _refused(text, f"the instance number {part} is not 1 or more without leading zeros")
                segments.append(int(part))
            elif part in ("*", "{i}"):
                segments.append(WILDCARD)
            elif part[:1] == "[" and part[-1:] == "]" and _ALIAS.match(part[1:-1]):
                segments.append(Alias(part[1:-1]))
            elif not part:
                raise _refused(text, "two dots follow each other, or it begins with a dot")
            else:
                raise _refused(text, f"{part!r} is neither a name, an instance number, [alias] nor *")
        if not isinstance(segments[0], str) or isinstance(segments[0], Alias):
            raise _refused(text, "a path begins with a name")
        return cls(text, tuple(segments), partial)


_INTERN_LIMIT: Final = 65_536  # bounds what a peer that invents paths can make us remember (about 20 MB)
_interned: dict[str, Path] = {}


def is_alias(text: str) -> bool:
    """Whether a text may be an alias: a letter first, then letters, digits, - and _, at most 64 (TR-069a6 3.6.1)."""
    return _ALIAS.match(text) is not None


def segment_text(segment: Segment) -> str:
    """How one segment is spelled between its dots."""
    if isinstance(segment, Alias):
        return f"[{segment}]"
    return str(segment)


def generic(text: str) -> str:
    """The model's spelling of an instance path: every instance number, alias and `*` becomes `{i}`."""
    path = Path.parse(text)
    parts = ["{i}" if not isinstance(s, str) or isinstance(s, Alias) else s for s in path.segments]
    return ".".join(parts) + ("." if path.partial and parts else "")


def _refused(text: str, why: str) -> Fault:
    return Fault(FaultCode.INVALID_PARAMETER_NAME, f"{text!r} is not a path: {why}")
