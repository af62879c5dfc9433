"""The long lists, read without a tree: what makes a response of 5,000 parameters cost less than parsing it.

Rows that are written alike, with the same tags and attributes, are read by one regular expression, made from the first such row. The
rest, with one row left in place of each unbroken run, under a mark, goes through the XML parser as usual, with all rows that are odd: a
Value that is absent or of an unknown type, a comment, CDATA. Where there are many of these, the tree reads the whole body. This is
exact, not a guess:

- Every `<` of a run belongs to a row like the first, every `&` to a legal reference, and no character is one that XML forbids there: so
  the run is well-formed wherever its first row is.
- The parser still sees the run's place, its first row with its prefixes and attributes, and all the rest: it refuses what it would have
  refused, and what is odd about the first row is odd about all.
- The reader takes the runs only where their marks, all and in order, are children of one list; a body that already holds the mark is left
  alone, and where the runs are not taken (they stood in a comment, say) the body is read again as a tree.
"""

import re
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.terms import ValueType

MARK: Final = "homeport-rows"
"""The attribute on the row that stands for a run; its value is the run's number."""

_MINIMUM_ROWS: Final = 4
_ROWS_PER_RUN: Final = 4
"""Rows to a run, on the average, from which on this is faster than the tree."""

_LONGEST_ROW: Final = 4096
_HEAD: Final = 8192
"""Bytes in which the list must begin: envelope, header and DeviceId are shorter."""

_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c not in b"<&") + b"\t\n"
_OTHER: Final = frozenset(b"<&\r")
_REFERENCE: Final = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,5}));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_TYPES: Final = {str(t): str(t) for t in ValueType}
_NO_TYPE: Final = {"": ""}

# Between the tags of a row any text may stand: it has no meaning. A name begins and ends with a visible character; a parameter's ends
# with no dot, since a row for an object is odd. References in a name, and a carriage return anywhere, are odd too.
_NAME: Final = r"([!-;=-~][^<]*(?<=[!-~]))"
_PARAMETER: Final = r"([!-;=-~][^<]*(?<=[!-\-/-~]))"
_CAREFUL_NAME: Final = r"([!-%'-;=-~][^<&\r]*(?<=[!-~]))"
_CAREFUL_PARAMETER: Final = r"([!-%'-;=-~][^<&\r]*(?<=[!-\-/-~]))"
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
    """A list that was read ahead. entry: local name of a row. runs: its structs. rest: the body with one marked row for each run."""

    entry: str
    runs: tuple[tuple[Any, ...], ...]
    rest: str


class _Form(Struct, frozen=True):
    """How the rows of one body are written. pattern: a whole row; its groups are name, type or flag, value.

    careful: the same for bodies with references and carriage returns, which are odd in some places; it takes half as long again.
    end: the last tag of a row. typed: whether each row has a type. tag: characters of a row's `<` and name.
    """

    entry: str
    pattern: re.Pattern[str]
    careful: str
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
        form = _usual_form(text, begin, is_value)
        first = form.pattern.search(text, begin, begin + 3 * _LONGEST_ROW) if form is not None else None
        if form is None or first is None:
            return None
        _recent[is_value] = form
        begin = first.start()
    end = text.rfind(form.end) + len(form.end)
    head, stretch, tail = text[:begin], text[begin:end], text[end:]
    if MARK in head or MARK in tail or _has_longer_text(stretch, max_text):
        return None
    marks = stretch.encode().translate(None, _ORDINARY)
    if not _OTHER.issuperset(marks) or not (stretch.isascii() or ("\ufffe" not in stretch and "\uffff" not in stretch)):
        return None
    pattern = form.pattern if b"&" not in marks and b"\r" not in marks else re.compile(form.careful)
    parts = pattern.split(stretch)
    gaps = parts[::4]
    count = len(gaps) - 1
    odd = [place for place, gap in enumerate(gaps) if "<" in gap]
    if count < _MINIMUM_ROWS or len(odd) * _ROWS_PER_RUN > count:
        return None
    if not odd:
        if not _may_stand(stretch, marks):
            return None
        return Rows(form.entry, (tuple(_structs(parts, form)),), f"{head}{_marked(first.group(), form, 0)}{tail}")
    cut = _cut(stretch, gaps, odd, form)
    if cut is None or not _may_stand("".join([even for even, _, _ in cut]), marks):
        return None
    values = _structs(parts, form)
    runs: list[tuple[Any, ...]] = []
    rest = [head]
    begin = 0
    for even, end, gap in cut:
        if begin < end:
            first = form.pattern.match(even)
            if first is None or MARK in gap:
                return None
            rest.append(_marked(first.group(), form, len(runs)))
            runs.append(tuple(values[begin:end]))
            begin = end
        rest.append(gap)
    rest.append(tail)
    return Rows(form.entry, tuple(runs), "".join(rest))


def _cut(stretch: str, gaps: list[str], odd: list[int], form: _Form) -> list[tuple[str, int, str]] | None:
    """The stretch as runs of even rows: their text, the number of rows up to there, and the odd gap behind; None where that is unclear.

    The same text may stand elsewhere too, but with another number of last tags before it.
    """
    cut = []
    at = begin = 0
    for place in odd:
        found = stretch.find(gaps[place], at)
        if stretch.count(form.end, at, found) != place - begin:
            return None
        cut.append((stretch[at:found], place, gaps[place]))
        at, begin = found + len(gaps[place]), place
    if begin < len(gaps) - 1:
        cut.append((stretch[at:], len(gaps) - 1, ""))
    return cut


def _may_stand(even: str, marks: bytes) -> bool:
    """Whether the texts in and between even rows may stand in XML. marks: those of the whole stretch, none of them forbidden."""
    if b"&" in marks and not _legal_references(even, even.count("&")):
        return False
    return "]" not in even or "]]>" not in even


def _has_longer_text(text: str, limit: int) -> bool:
    """Whether a tag with the text after it is longer than the limit: one that is covers a multiple of the limit."""
    for place in range(limit, len(text), limit):
        after = text.find("<", place)
        if (after if after >= 0 else len(text)) - text.rfind("<", 0, place + 1) > limit:
            return True
    return False


def _marked(row: str, form: _Form, number: int) -> str:
    return f'{row[: form.tag]} {MARK}="{number}"{row[form.tag :]}'


# --- forms --------------------------------------------------------------------------------------------------------------------


def _usual_form(text: str, begin: int, is_value: bool) -> _Form | None:
    """The form of the first row that can be read; where the two behind it agree on another form, that one."""
    first = _FIRST_VALUE if is_value else _FIRST_INFO
    forms: list[_Form] = []
    while len(forms) < 3:
        row = first.search(text, begin, begin + _LONGEST_ROW)
        if row is None:
            break
        if not (is_value and "type" in (row.group(10) or "")):
            forms.append((_value_form if is_value else _info_form)(*row.groups()))
        begin = row.end()
    if len(forms) == 3 and forms[1] is forms[2]:
        return forms[1]
    return forms[0] if forms else None


@lru_cache(maxsize=64)
def _value_form(*parts: str | None) -> _Form:
    """The pattern of all rows like a first one, from what `_FIRST_VALUE` found in it."""
    row, row_rest, name, name_rest, value, before, key, quote, prefix, after = (
        re.escape(p) if p is not None else "" for p in parts
    )
    kind = rf"{key}{quote}{prefix}({'|'.join(ValueType)}){quote}{after}" if quote else "()"

    def pattern(path: str, text: str) -> str:
        return (
            rf"<{row}{row_rest}>[^<]*<{name}{name_rest}>{path}</{name}>[^<]*"
            rf"<{value}{before}{kind}(?:/>|>({text}*)</{value}>)[^<]*</{row}>"
        )

    plain, careful = pattern(_PARAMETER, "[^<]"), pattern(_CAREFUL_PARAMETER, r"[^<\r]")
    tag = parts[0] or ""
    return _Form("ParameterValueStruct", re.compile(plain), careful, f"</{tag}>", bool(quote), len(tag) + 1)


@lru_cache(maxsize=64)
def _info_form(*parts: str) -> _Form:
    """The same for the rows of GetParameterNamesResponse."""
    row, row_rest, name, name_rest, flag, flag_rest = (re.escape(p) for p in parts)

    def pattern(path: str) -> str:
        return (
            rf"<{row}{row_rest}>[^<]*<{name}{name_rest}>{path}</{name}>[^<]*"
            rf"<{flag}{flag_rest}>(0|1|false|true)</{flag}>[^<]*</{row}>()"
        )

    plain, careful = pattern(_NAME), pattern(_CAREFUL_NAME)
    return _Form("ParameterInfoStruct", re.compile(plain), careful, f"</{parts[0]}>", False, len(parts[0]) + 1)


def _legal_references(text: str, count: int) -> bool:
    """Whether every `&` begins a reference to a character that XML allows; the tree looks at rarer forms."""
    found = _REFERENCE.findall(text)
    if len(found) != count:
        return False
    numbers = {int(number) for _, number in found if number}
    return all(n in (9, 10, 13) or 32 <= n < 0xD800 or 0xE000 <= n < 0xFFFE for n in numbers)


# --- values -------------------------------------------------------------------------------------------------------------------


def _structs(parts: list[Any], form: _Form) -> list[Any]:
    """The structs of all rows. parts: gap, name, type or flag, value, gap and so on, as the pattern splits them."""
    names, kinds, values = parts[1::4], parts[2::4], parts[3::4]
    if form.entry == "ParameterInfoStruct":
        info, flags = m.ParameterInfoStruct, _FLAGS
        return [info(name, flags[flag]) for name, flag in zip(names, kinds, strict=True)]
    make, types = m.ParameterValueStruct, _TYPES if form.typed else _NO_TYPE
    return [
        make(name, (value if "&" not in value else _resolved(value)) if value else "", types[kind])
        for name, kind, value in zip(names, kinds, values, strict=True)
    ]


_FLAGS: Final = {"0": False, "1": True, "false": False, "true": True}


def _resolved(text: str) -> str:
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    named, number = match.groups()
    return _NAMED[named] if named else chr(int(number))
