"""The long lists, read without a tree: what makes a response of 5,000 parameters cost less than parsing it.

A body whose list is written evenly, row after row with the same tags and attributes, is cut in two: the rows are read by one regular
expression, made from the first row, and the rest, with that one row left in their place, goes through the XML parser as usual.
Everything else, however legal, is left to the tree. This is exact, not a guess:

- Every `<` of the stretch from the first row to the last belongs to a row like the first, every `&` to a legal reference, and no
  character is one that XML forbids there: so the stretch is well-formed wherever the first row is.
- The parser still sees the stretch's place, the first row with its prefixes and attributes, and all the rest: it refuses what it would
  have refused, and what is odd about the first row is odd about all.
- The reader takes the rows only for a container whose one child carries the mark; a body that already holds the mark is left alone, and
  where no reader takes the rows (they stood in a comment, say) the body is read again as a tree.
"""

import re
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.terms import ValueType

MARK: Final = "homeport-rows"
"""The attribute on the row that stands for all of them."""

_MINIMUM_ROWS: Final = 4
_LONGEST_ROW: Final = 4096
_HEAD: Final = 8192
"""Bytes in which the list must begin: envelope, header and DeviceId are shorter."""

_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c not in b"<&") + b"\t\n"
_OTHER: Final = frozenset(b"<&\r")
_REFERENCE: Final = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,5}));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_TYPES: Final = {str(t): str(t) for t in ValueType}

# Between the tags of a row any text may stand: it has no meaning. A name begins and ends with a visible character; a parameter's ends
# with no dot, since a row for an object is odd.
_NAME: Final = r"([!-;=-~][^<]*(?<=[!-~]))"
_PARAMETER: Final = r"([!-;=-~][^<]*(?<=[!-\-/-~]))"
_ATTRIBUTES: Final = r"""(?:\s+[\w:.-]+\s*=\s*(?:"[^"<>&]*"|'[^'<>&]*'))*"""
_FIRST_VALUE: Final = re.compile(
    rf"<((?:\w+:)?ParameterValueStruct)({_ATTRIBUTES}\s*)>[^<]*<((?:\w+:)?Name)({_ATTRIBUTES}\s*)>[^<]*</\3>[^<]*"
    rf"""<((?:\w+:)?Value)({_ATTRIBUTES}?)(?:(\s+(?:\w+:)?type\s*=\s*)(["'])([\w.-]*:)?\w+\8({_ATTRIBUTES}))?"""
    rf"(?:/>|>[^<]*</\5>)[^<]*</\1>"
)
_FIRST_INFO: Final = re.compile(
    rf"<((?:\w+:)?ParameterInfoStruct)({_ATTRIBUTES}\s*)>[^<]*<((?:\w+:)?Name)({_ATTRIBUTES}\s*)>[^<]*</\3>[^<]*"
    rf"<((?:\w+:)?Writable)({_ATTRIBUTES}\s*)>[^<]*</\5>[^<]*</\1>"
)
_BEGIN: Final = re.compile(rb"<(?:\w+:)?Parameter(Value|Info)Struct[\s>]")


class Rows(Struct, frozen=True, gc=False):
    """A list that was read ahead. entry: local name of a row. values: the structs. rest: the body with one marked row in their place."""

    entry: str
    values: tuple[Any, ...]
    rest: str


class _Form(Struct, frozen=True):
    """How the rows of one body are written. pattern: a whole row; its groups are name, type or flag, slash of an empty tag, value.

    end: the last tag of a row. typed: whether each row has a type. tag: characters of a row's `<` and name.
    """

    entry: str
    pattern: re.Pattern[str]
    end: str
    typed: bool
    tag: int


_recent: dict[bool, _Form] = {}
"""The form that was met last, for values and for names: devices of one make write alike, so it is tried first."""


def _near(body: bytes) -> int:
    """Where the search for the first row may begin: a plain find is many times faster than a pattern, and mostly hits it."""
    plain = body.find(b"ParameterValueStruct>", 0, _HEAD)
    opening = body.rfind(b"<", 0, plain) if plain >= 0 else 0
    return 0 if body[opening : opening + 2] == b"</" else opening


def read_ahead(body: bytes, *, max_text: int) -> Rows | None:
    """The long list of a body that is written evenly, and the body without it; None where the tree must decide.

    body: UTF-8, without byte order mark. max_text: a longer value is left to the tree, which refuses it.
    """
    found = _BEGIN.search(body, _near(body), _HEAD)
    if found is None:
        return None
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    begin = found.start() if len(text) == len(body) else text.index(found.group().decode())
    is_value = found.group(1) == b"Value"
    form = _recent.get(is_value)
    first = form.pattern.match(text, begin) if form is not None else None
    if form is None or first is None:
        first = (_FIRST_VALUE if is_value else _FIRST_INFO).match(text, begin, begin + _LONGEST_ROW)
        if first is None or (is_value and "type" in (first.group(10) or "")):
            return None
        form = (_value_form if is_value else _info_form)(*first.groups())
        _recent[is_value] = form
    end = text.rfind(form.end) + len(form.end)
    stretch = text[begin:end]
    rows = form.pattern.findall(stretch)
    if len(rows) < _MINIMUM_ROWS or not _is_even(stretch, rows):
        return None
    head, tail = text[:begin], text[end:]
    if MARK in head or MARK in tail or (len(stretch) > max_text and max(len(row[3]) for row in rows) > max_text):
        return None
    try:
        values = _values(rows, form) if is_value else _infos(rows)
    except KeyError:  # A type that the standard does not know, or a truth value that is spelled oddly.
        return None
    tag = begin + form.tag
    rest = f'{head}{text[begin:tag]} {MARK}=""{text[tag : first.end()]}{tail}'
    return Rows(form.entry, tuple(values), rest)


# --- forms --------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _value_form(*parts: str | None) -> _Form:
    """The pattern of all rows like a first one, from what `_FIRST_VALUE` found in it."""
    row, row_rest, name, name_rest, value, before, key, quote, prefix, after = (
        re.escape(p) if p is not None else "" for p in parts
    )
    kind = rf"{key}{quote}{prefix}([^{quote}]+){quote}{after}" if quote else "()"
    pattern = re.compile(
        rf"<{row}{row_rest}>[^<]*<{name}{name_rest}>{_PARAMETER}</{name}>[^<]*"
        rf"<{value}{before}{kind}(?:(/)>|>([^<]*)</{value}>)[^<]*</{row}>"
    )
    return _Form("ParameterValueStruct", pattern, f"</{parts[0]}>", bool(quote), len(parts[0] or "") + 1)


@lru_cache(maxsize=64)
def _info_form(*parts: str) -> _Form:
    """The same for the rows of GetParameterNamesResponse."""
    row, row_rest, name, name_rest, flag, flag_rest = (re.escape(p) for p in parts)
    pattern = re.compile(
        rf"<{row}{row_rest}>[^<]*<{name}{name_rest}>{_NAME}</{name}>[^<]*"
        rf"<{flag}{flag_rest}>([^<]*)</{flag}>[^<]*</{row}>()()"
    )
    return _Form("ParameterInfoStruct", pattern, f"</{parts[0]}>", False, len(parts[0]) + 1)


def _is_even(stretch: str, rows: list[tuple[str, str, str, str]]) -> bool:
    """Whether the rows are all that the stretch holds, and all of it may stand in XML."""
    marks = stretch.encode().translate(None, _ORDINARY)
    tags = 6 * len(rows)
    if marks != b"<" * tags:
        if "/>" in stretch:
            tags -= sum(1 for row in rows if row[2])
        if marks.count(b"<") != tags or not _OTHER.issuperset(marks):
            return False
        references = marks.count(b"&")
        if references and not _legal_references(stretch, references):
            return False
        if len(marks) != tags and any("&" in row[0] or "\r" in row[0] or "\r" in row[3] for row in rows):
            return False
    if "]" in stretch and "]]>" in stretch:
        return False
    return stretch.isascii() or ("\ufffe" not in stretch and "\uffff" not in stretch)


def _legal_references(text: str, count: int) -> bool:
    """Whether every `&` begins a reference to a character that XML allows; the tree looks at rarer forms."""
    found = _REFERENCE.findall(text)
    if len(found) != count:
        return False
    numbers = {int(number) for _, number in found if number}
    return all(n in (9, 10, 13) or 32 <= n < 0xD800 or 0xE000 <= n < 0xFFFE for n in numbers)


# --- values -------------------------------------------------------------------------------------------------------------------


def _values(rows: list[tuple[str, str, str, str]], form: _Form) -> list[m.ParameterValueStruct]:
    make, types = m.ParameterValueStruct, _TYPES
    if not form.typed:
        return [make(row[0], _resolved(row[3]), "") for row in rows]
    return [make(name, value if "&" not in value else _resolved(value), types[kind]) for name, kind, _, value in rows]


def _infos(rows: list[tuple[str, str, str, str]]) -> list[m.ParameterInfoStruct]:
    make, flags = m.ParameterInfoStruct, _FLAGS
    return [make(row[0], flags[row[1]]) for row in rows]


_FLAGS: Final = {"0": False, "1": True, "false": False, "true": True}


def _resolved(text: str) -> str:
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    named, number = match.groups()
    return _NAMED[named] if named else chr(int(number))
