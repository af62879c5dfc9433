"""The long lists, read without a tree: what makes a response of 5,000 parameters cost less than parsing it.

A body whose list is in the plain form that nearly every stack writes is cut in two: the list's rows are read by one regular expression,
and the rest, with one marked row left in their place, goes through the XML parser as usual. Everything else, however legal, is left to
the tree. This is exact, not a guess:

- Every `<` of the stretch from the first row to the last belongs to a row, every `&` to a legal reference, and no character is one that
  XML forbids there: so the stretch is well-formed wherever elements may stand.
- The parser still sees the stretch's place, one row with its prefixes, and all the rest: it refuses what it would have refused.
- The reader takes the rows only for a container whose one child carries the mark; a body that already holds the mark is left alone, and
  where no reader takes the rows (they stood in a comment, say) the body is read again as a tree.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.terms import ValueType

MARK: Final = "homeport-rows"
"""The attribute on the row that stands for all of them."""

_HEAD: Final = 8192
"""Bytes in which the list must begin: envelope, header and DeviceId are shorter."""

_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c not in b"<&") + b"\t\n"
_OTHER: Final = frozenset(b"<&\r")
_REFERENCE: Final = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,5}));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_TYPES: Final = {str(t): str(t) for t in ValueType}
_MINIMUM_ROWS: Final = 4


class Rows(Struct, frozen=True, gc=False):
    """A list that was read ahead. entry: element name of a row. values: the structs. rest: the body with one marked row in their place."""

    entry: str
    values: tuple[Any, ...]
    rest: str


class _Form(Struct, frozen=True):
    """One kind of row: how it begins and ends, the pattern of the whole, how many `<` it has, and what its groups become."""

    entry: str
    begin: str
    begin_bytes: bytes
    end: str
    pattern: re.Pattern[str]
    tags: int
    make: Callable[[list[tuple[str, str, str]], bool], list[Any]]


def _parameter_values(rows: list[tuple[str, str, str]], references: bool) -> list[Any]:
    make, types = m.ParameterValueStruct, _TYPES
    if references:
        return [make(name, _resolved(value), types[kind]) for name, kind, value in rows]
    return [make(name, value, types[kind]) for name, kind, value in rows]


def _parameter_infos(rows: list[tuple[str, str, str]], references: bool) -> list[Any]:
    make = m.ParameterInfoStruct
    return [make(name, flag in ("1", "true")) for name, flag, _ in rows]


def _resolved(text: str) -> str:
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    named, number = match.groups()
    return _NAMED[named] if named else chr(int(number))


def _legal_references(text: str, count: int) -> bool:
    """Whether every `&` begins a reference to a character that XML allows; the tree looks at rarer forms."""
    found = _REFERENCE.findall(text)
    if len(found) != count:
        return False
    numbers = {int(number) for _, number in found if number}
    return all(n in (9, 10, 13) or 32 <= n < 0xD800 or 0xE000 <= n < 0xFFFE for n in numbers)


# Between the tags of a row any text may stand: it has no meaning. A name begins and ends with a visible character; a parameter's ends
# with no dot, since a row for an object is odd.
_FORMS: Final = (
    _Form(
        "ParameterValueStruct",
        "<ParameterValueStruct>",
        b"<ParameterValueStruct>",
        "</ParameterValueStruct>",
        re.compile(
            r"<ParameterValueStruct>[^<]*<Name>([!-;=-~][^<]*(?<=[!-\-/-~]))</Name>[^<]*"
            r'<Value xsi:type="xsd:([^"]+)">([^<]*)</Value>[^<]*</ParameterValueStruct>'
        ),
        6,
        _parameter_values,
    ),
    _Form(
        "ParameterInfoStruct",
        "<ParameterInfoStruct>",
        b"<ParameterInfoStruct>",
        "</ParameterInfoStruct>",
        re.compile(
            r"<ParameterInfoStruct>[^<]*<Name>([!-;=-~][^<]*(?<=[!-~]))</Name>[^<]*"
            r"<Writable>(0|1|true|false)</Writable>[^<]*</ParameterInfoStruct>()"
        ),
        6,
        _parameter_infos,
    ),
)


def read_ahead(body: bytes, *, max_text: int) -> Rows | None:
    """The long list of a body in the plain form, and the body without it; None where the tree must decide.

    body: UTF-8, without byte order mark. max_text: a longer value is left to the tree, which refuses it.
    """
    for form in _FORMS:
        if body.find(form.begin_bytes, 0, _HEAD) >= 0:
            return _read_form(body, form, max_text)
    return None


def _read_form(body: bytes, form: _Form, max_text: int) -> Rows | None:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return None
    begin = text.index(form.begin)
    end = text.rfind(form.end) + len(form.end)
    stretch = text[begin:end]
    rows = form.pattern.findall(stretch)
    count = len(rows)
    if count < _MINIMUM_ROWS:
        return None
    marks = stretch.encode().translate(None, _ORDINARY)
    references = False
    if marks != b"<" * (form.tags * count):
        if marks.count(b"<") != form.tags * count or not _OTHER.issuperset(marks):
            return None
        references = b"&" in marks
        if references and not _legal_references(stretch, marks.count(b"&")):
            return None
        if any("&" in row[0] or "\r" in row[0] or "\r" in row[2] for row in rows):
            return None
    if "]" in stretch and "]]>" in stretch:
        return None
    if not stretch.isascii() and ("\ufffe" in stretch or "\uffff" in stretch):
        return None
    head, tail = text[:begin], text[end:]
    if MARK in head or MARK in tail:
        return None
    if len(stretch) > max_text and max(len(row[2]) for row in rows) > max_text:
        return None
    try:
        values = form.make(rows, references)
    except KeyError:  # a type that the standard does not know
        return None
    first = stretch[len(form.begin) : stretch.index(form.end) + len(form.end)]
    return Rows(form.entry, tuple(values), f'{head}<{form.entry} {MARK}="">{first}{tail}')
