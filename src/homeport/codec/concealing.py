"""A message's text without its secrets, found as the parser would find them, and everything else letter by letter as it was.

The text may be cut or broken, so no parser reads it. What counts is what one would read: character references, CDATA sections, comments
and processing instructions, prefixes, blanks and attributes change nothing in what an element is called or holds. Where a parser would
give up, more is concealed, not less. What is a secret is the caller's to say. The work grows with the text and nothing else.
"""

import re
from collections.abc import Callable
from html import escape
from typing import Final

DEEPEST: Final = 200
"""Elements in each other: far more than are read."""

TOO_DEEP: Final = "[nested too deeply to be shown]"

MOST_IN_EACH_OTHER: Final = 3
"""Texts that hold markup themselves (a CDATA section, a comment), in each other; what is in more of them is concealed."""

_NAME, _VALUE, _HIDDEN, _OTHER = range(4)

_SECTIONS: Final = (
    r"<!\[CDATA\[((?:[^\]]++|\](?!\]>))*+)(?:\]\]>|\Z)"
    r"|<!--((?:[^-]++|-(?!->))*+)(?:-->|\Z)"
    r"|<\?(?:[^?]++|\?(?!>))*+(?:\?>|\Z)"
)
_SECTION: Final = re.compile(_SECTIONS)
_MARKUP: Final = re.compile(
    _SECTIONS + r"""|<(/?)([^\s<>/"'=!?][^\s<>/"'=]*+)((?:[^<>"']++|"[^"<]*+"|'[^'<]*+')*+)>?"""
)
_REFERENCE: Final = re.compile(r"&(?:#0*+(?:([0-9]{1,7})|[xX]0*+([0-9A-Fa-f]{1,6}))|(amp|lt|gt|quot|apos));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


_Cut = tuple[int, int, str]
"""(begin, end, what stands there instead)."""

_MOST_KINDS: Final = 1_000
_LONGEST_KIND: Final = 100
_SEARCHED: Final = 16
"""Elements that one end tag may end, where those in it have none."""


class _Open:
    """An element that has begun.

    names, values: of what it holds, as far as nothing was decided yet; parts: its own text, where it is a Name.
    """

    __slots__ = ("kind", "names", "parts", "tag", "values")

    def __init__(self, tag: str, kind: int) -> None:
        self.tag = tag
        self.kind = kind
        self.names: list[str] = []
        self.values: list[tuple[int, int]] = []
        self.parts: list[str] = []


class Concealer:
    """Takes secrets out of messages.

    secret: whether a parameter of this name is one. hidden: whether all text below an element of this local name is. plain: takes
    secrets out of a text that is none as a whole. mask: what stands in their place.
    """

    def __init__(
        self, *, secret: Callable[[str], bool], hidden: Callable[[str], bool], plain: Callable[[str], str], mask: str
    ) -> None:
        self._secret = secret
        self._plain = plain
        self._mask = mask
        self._kinds: dict[str, int] = {"Name": _NAME, "Value": _VALUE}
        self._hidden = hidden

    def conceal(self, text: str, inside: int = 0) -> str:
        """The text without secrets. inside: how many other texts it stands in."""
        cuts = self._cuts(text, inside)
        if cuts is None:
            return TOO_DEEP
        if not cuts:
            return text
        # Of two cuts of the same place the whole one counts, and of two whole ones the mask.
        cuts.sort(key=lambda cut: (cut[0], -cut[1], cut[2] != self._mask))
        out: list[str] = []
        last = 0
        for begin, end, instead in cuts:
            if begin >= last:
                out += (text[last:begin], instead)
                last = end
        out.append(text[last:])
        return "".join(out)

    def _cuts(self, text: str, inside: int) -> list[_Cut] | None:
        """The places of the secrets; None where the elements are nested too deeply."""
        cuts: list[_Cut] = []
        stack = [_Open("", _OTHER)]
        hidden: _Open | None = None  # the outermost element around this place whose whole text is a secret
        value: _Open | None = None  # the outermost Value, and the element that it stands in
        holder = stack[0]
        last = 0
        sections = False
        for found in _MARKUP.finditer(text):
            closing, name, rest = found.group(3, 4, 5)
            if name is None:
                sections = True
                continue
            begin, end = found.span()
            if begin > last:
                run = text[last:begin]
                if not run.isspace():
                    if hidden is not None:
                        cuts.append((last, begin, self._mask))
                    elif value is not None:
                        holder.values.append((last, begin))
                    if sections or "&" in run or not run.isprintable():
                        run = self._looked_at(run, last, cuts, inside)
                    if stack[-1].kind == _NAME:
                        stack[-1].parts.append(run)
            sections = False
            # A tag that has no end holds no attributes, but what was to stand behind it.
            last = end if text[end - 1] == ">" else found.end(4)
            tag = name if ":" not in name else name[name.rindex(":") + 1 :]
            if closing:
                done = stack[-1]
                if done.tag != tag and not any([open.tag == tag for open in stack[-_SEARCHED:]]):
                    continue
                whole = True
                while True:
                    done = stack.pop() if len(stack) > 1 else stack[0]
                    if done is hidden:
                        hidden = None
                    if done is value:
                        value = None
                    if done.kind == _NAME:
                        stack[-1].names += _read_as(done)
                    if done.values:
                        self._decide(done, cuts, whole=whole and done.tag == tag)
                    if done.tag == tag:
                        break
                    whole = False  # what stands between was never closed, so that nobody can say what it holds
                continue
            kind = self._kinds.get(tag, -1)
            if kind < 0:
                kind = self._kind(tag)
            holding = stack[-1]
            if kind == _NAME and holding.values and holding.names:
                self._decide(holding, cuts, whole=True)
            if rest[-1:] == "/":
                continue
            if len(stack) > DEEPEST:
                return None
            open = _Open(tag, kind)
            stack.append(open)
            if kind == _HIDDEN:
                hidden = hidden or open
            elif kind == _VALUE and value is None:
                value, holder = open, holding
        if len(text) > last:
            run = text[last:]
            if hidden is not None:
                cuts.append((last, len(text), self._mask))
            elif value is not None:
                holder.values.append((last, len(text)))
            if sections or "&" in run or not run.isprintable():
                self._looked_at(run, last, cuts, inside)
        for open in stack:
            self._decide(open, cuts, whole=False)
        return cuts

    def _kind(self, tag: str) -> int:
        kind = _HIDDEN if self._hidden(tag) else _OTHER
        if len(self._kinds) < _MOST_KINDS and len(tag) < _LONGEST_KIND:
            self._kinds[tag] = kind
        return kind

    def _looked_at(self, run: str, begin: int, cuts: list[_Cut], inside: int) -> str:
        """The text between two tags as it is read. What in it has to be concealed is added to the cuts."""
        read = _read(run)
        plain = self._plain(read)
        deep = inside >= MOST_IN_EACH_OTHER
        if deep and "<!" in plain:
            plain = self._mask
        elif "<" in plain and not deep:
            plain = self.conceal(plain, inside + 1)
        if plain != read:
            cuts.append((begin, begin + len(run), escape(plain, quote=False)))
        elif "<!--" in run:
            for section in _SECTION.finditer(run):
                comment = section[2] and (self._mask if deep else self.conceal(section[2], inside + 1))
                if comment != section[2]:
                    cuts.append((begin + section.start(2), begin + section.end(2), comment))
        return read

    def _decide(self, open: _Open, cuts: list[_Cut], *, whole: bool) -> None:
        """Conceal the values that the element holds, if they are secrets. whole: nothing of it is missing."""
        values = open.values
        if values:
            names = open.names + (_read_as(open) if open.kind == _NAME else [])
            if any([self._secret(name) for name in names]) or not (names or whole):
                cuts += [(begin, end, self._mask) for begin, end in values]
            open.values = []
        open.names = []


def _read_as(name: _Open) -> list[str]:
    """What a Name may be read as: its text up to the first element in it, or all of it."""
    parts = name.parts
    if not parts:
        return [""]
    return [parts[0].strip()] if len(parts) == 1 else [parts[0].strip(), "".join(parts).strip()]


def _read(run: str) -> str:
    """Text as a parser gives it, without the characters that XML forbids."""
    if "<" in run:
        out: list[str] = []
        last = 0
        for section in _SECTION.finditer(run):
            out += (_resolved(run[last : section.start()]), section[1] or "")
            last = section.end()
        out.append(_resolved(run[last:]))
        run = "".join(out)
    else:
        run = _resolved(run)
    return _FORBIDDEN.sub("", run)


def _resolved(text: str) -> str:
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name is not None:
        return _NAMED[name]
    number = int(decimal) if decimal is not None else int(hexadecimal, 16)
    return chr(number) if number < 0x110000 else ""
