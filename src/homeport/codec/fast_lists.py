"""The long lists, read without a tree: what makes a response of 5,000 parameters cost less than parsing it.

Rows that are written alike are read by one regular expression, made from the first such row. What their Values may differ in is their
attributes (so their types), and whether they are there at all: rows that agree in this are of one kind. The rest of the body, with one
small row for each kind in place of each unbroken run of rows, under a mark, goes through the XML parser as usual, with all rows that are
odd: CDATA, a comment, children in another order, an object's path. Where there are many of these, the tree reads the whole body. This
is exact, not a guess:

- Every `<` of a run belongs to a row of the form, every `&` to a legal reference, and no character is one that XML forbids there: so
  the run is well-formed wherever a row of each of its kinds is.
- The parser still sees the run's place, a row of each kind with its prefixes and attributes, and all the rest: it refuses what it would
  have refused. What is odd about a kind, and its type, the readers of the tree find out from that row.
- A list that came before, written alike to the letter, is cut without the expression (`known_lists`); what was judged of its markup and
  its names is not judged again.
- The reader takes the runs only where their marks, all and in order, are children of one list; a body that already holds the mark is left
  alone, and where the runs are not taken (they stood in a comment, say) the body is read again as a tree.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.known_lists import KnownLists, Layout, layout_of
from homeport.codec.references import has_only_legal_references, resolved
from homeport.terms import ValueType

MARK: Final = "homeport-rows"
"""The attribute on the rows that stand for a run; its value is the run's number."""

_MINIMUM_ROWS: Final = 4
_ROWS_PER_RUN: Final = 4
"""Rows to a run, on the average, from which on this is faster than the tree."""

_NAMES_COMPARED: Final = 32
"""Names by which a list that comes a second time is told; what is then remembered is compared whole."""

_MOST_KINDS: Final = 64
"""Kinds of rows in one list; the field has some ten. A peer that makes more of them gains nothing but the tree."""

_LONGEST_KIND: Final = 512
_LONGEST_ROW: Final = 4096
_HEAD: Final = 8192
"""Bytes in which the list must begin: envelope, header and DeviceId are shorter."""

_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c != 0x26) + b"\t\n"
_OTHER: Final = frozenset(b"&\r")

# Between the tags of a row any text may stand: it has no meaning. A name begins and ends with a visible character; a parameter's ends
# with no dot, since a row for an object is odd. References in a name, and a carriage return anywhere, are odd too.
_NAME: Final = r"([!-;=-~][^<]*+(?<=[!-~]))"
_PARAMETER: Final = r"([!-;=-~][^<]*+(?<=[!-\-/-~]))"
_CAREFUL_NAME: Final = r"([!-%'-;=-~][^<&\r]*+(?<=[!-~]))"
_CAREFUL_PARAMETER: Final = r"([!-%'-;=-~][^<&\r]*+(?<=[!-\-/-~]))"
_ATTRIBUTES: Final = r"""(?:[ \t\n]+[\w:.-]+[ \t\n]*=[ \t\n]*(?:"[^"<>&]*"|'[^'<>&]*'))*[ \t\n]*"""
_FIRST_VALUE: Final = re.compile(
    rf"<((?:\w+:)?ParameterValueStruct)({_ATTRIBUTES})>[^<]*<((?:\w+:)?Name)({_ATTRIBUTES})>[^<]*</\3>[^<]*"
    rf"<((?:\w+:)?Value)(?:{_ATTRIBUTES})(?:/>|>[^<]*</\5>)[^<]*</\1>"
)
_FIRST_INFO: Final = re.compile(
    rf"<((?:\w+:)?ParameterInfoStruct)({_ATTRIBUTES})>[^<]*<((?:\w+:)?Name)({_ATTRIBUTES})>[^<]*</\3>[^<]*"
    rf"<((?:\w+:)?Writable)({_ATTRIBUTES})>[^<]*</\5>[^<]*</\1>"
)
_TYPED: Final = re.compile(rf'[ \t\n]+([A-Za-z_][\w.-]*):type="(?:[\w.-]+:)?({"|".join(ValueType)})"', re.ASCII)
_WHOLE_ATTRIBUTES: Final = re.compile(_ATTRIBUTES)
_BEGIN: Final = re.compile(rb"<(?:\w+:)?Parameter(Value|Info)Struct[\s>]")


class Rows(Struct, frozen=True, gc=False):
    """A list that was read ahead.

    entry: local name of a row. names, kinds, values: of its rows, in order; a kind is the attributes of the Value as they are written,
    None where there is none; for names of objects the text of the flag. typed: the type of kinds that are nothing but a type of the
    standard; one row stands for all of these with the same prefix. runs: the first row of each run, and the one behind its last.
    rest: the body with a marked row for each kind that is new in a run, one at least; marks: their run and kind, in order.
    types: of each row, where that is settled. references: whether a value may have any.
    """

    entry: str
    names: Sequence[str]
    kinds: Sequence[str | None]
    values: Sequence[str | None]
    typed: dict[str | None, str]
    runs: tuple[tuple[int, int], ...]
    marks: tuple[tuple[int, str | None], ...]
    rest: str
    types: Sequence[str] | None = None
    references: bool = True

    def structs(self, types: dict[str | None, str]) -> list[Any]:
        """Every row. types: the type of each kind that is marked."""
        if self.entry == "ParameterInfoStruct":
            return list(map(m.ParameterInfoStruct, self.names, map(_FLAGS.__getitem__, self.kinds)))  # type: ignore[arg-type]
        values: Iterable[str | None] = self.values
        if self.references:
            values = [(value if "&" not in value else resolved(value)) if value else "" for value in values]
        elif None in self.values:
            values = [value or "" for value in values]
        each = self.types if self.types is not None else map((types | self.typed).__getitem__, self.kinds)
        return list(map(m.ParameterValueStruct, self.names, values, each))  # type: ignore[arg-type]


class _Form(Struct, frozen=True):
    """How the rows of one body are written. pattern: a whole row; its groups are name, kind, value.

    careful: the same for bodies with references and carriage returns, which are odd in some places; it takes half as long again.
    end: the last tag of a row. tags: those of a row, its name and its value or flag, with attributes; the first one is split behind the
    tag's name, where the mark goes.
    """

    entry: str
    pattern: re.Pattern[str]
    careful: str
    end: str
    tags: tuple[str, str, str, str]

    def example(self, number: int, kind: str | None) -> str:
        """A row of this kind, under the mark of a run."""
        row, rest, name, value = self.tags
        ending = f"</{name.split(None, 1)[0]}>"
        begin = f'<{row} {MARK}="{number}"{rest}><{name}>A{ending}'
        if self.entry == "ParameterInfoStruct":
            return f"{begin}<{value}>1</{value.split(None, 1)[0]}>{self.end}"
        return f"{begin}{self.end}" if kind is None else f"{begin}<{value}{kind}/>{self.end}"


_recent: dict[bool, _Form] = {}
"""The form that was met last, for values and for names: devices of one make write alike, so it is tried first."""


def _near(body: bytes) -> int:
    """Where the search for the first row may begin: a plain find is many times faster than a pattern, and mostly hits it."""
    plain = body.find(b"ParameterValueStruct>", 0, _HEAD)
    opening = body.rfind(b"<", 0, plain) if plain >= 0 else 0
    return 0 if body[opening : opening + 2] == b"</" else opening


def read_ahead(body: bytes, *, max_text: int, decoded: str = "", remember: bool = True) -> Rows | None:
    """The long list of a body that is written evenly, and the body without it; None where the tree must decide.

    body: UTF-8, without byte order mark. max_text: a longer value is left to the tree, which refuses it.
    decoded: the body as text, where the caller has it. remember: whether such a list may come again.
    """
    found = _BEGIN.search(body, _near(body), _HEAD)
    if found is None:
        return None
    try:
        text = decoded or body.decode("utf-8")
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
    value_end = first.end(3) if is_value else first.end(2)
    may_know = remember and value_end >= 0
    layout = layout_of(text, begin, first.start(1), value_end, first.end()) if may_know else None
    known = LISTS.recall(layout, stretch) if layout is not None else None
    if known is not None:
        facts, texts, references = known
        if is_value or _FLAGS.keys() >= set(texts):
            return facts.rows(head, texts, references, tail)  # type: ignore[no-any-return]
    marks = stretch.encode().translate(None, _ORDINARY)
    if not _OTHER.issuperset(marks) or not (stretch.isascii() or ("\ufffe" not in stretch and "\uffff" not in stretch)):
        return None
    pattern = form.pattern if b"&" not in marks and b"\r" not in marks else re.compile(form.careful)
    parts = pattern.split(stretch)
    gaps, names, kinds, values = parts[::4], parts[1::4], parts[2::4], parts[3::4]
    count = len(names)
    odd = [place for place, gap in enumerate(gaps) if "<" in gap] if "<" in "".join(gaps) else []
    if count < _MINIMUM_ROWS or len(odd) * _ROWS_PER_RUN > count:
        return None
    different = dict.fromkeys(kinds) if is_value else {kinds[0]: None}
    if len(different) > _MOST_KINDS or (is_value and not all(map(_is_kind, different))):
        return None
    cut = _cut(stretch, gaps, odd, form) if odd else [(stretch, count, "")]
    if cut is None or not _may_stand("".join([even for even, _, _ in cut]) if odd else stretch, marks):
        return None
    typed: dict[str | None, str] = {}
    leaders: dict[str | None, str | None] = {}
    for kind in different:
        simple = _standard_type(kind) if kind is not None and is_value else None
        if simple is not None:
            typed[kind] = simple[1]
        leaders.setdefault(kind if simple is None else simple[0], kind)
    firsts = {kind: kinds.index(kind) for kind in leaders.values()}
    runs: list[tuple[int, int]] = []
    seen: list[tuple[int, str | None]] = []
    rest = [head]
    begin = 0
    for _, end, gap in cut:
        if MARK in gap:
            return None
        if begin < end:
            new = [kind for kind, first in firsts.items() if begin <= first < end] or [kinds[begin]]
            rest += [form.example(len(runs), kind) for kind in new]
            seen += [(len(runs), kind) for kind in new]
            runs.append((begin, end))
            begin = end
        rest.append(gap)
    rest.append(tail)
    rows = Rows(form.entry, names, kinds, values, typed, tuple(runs), tuple(seen), "".join(rest), None, b"&" in marks)
    if layout is not None and not odd and LISTS.seen.worth_a_look():
        some = names[:: len(names) // _NAMES_COMPARED + 1]
        if LISTS.seen.is_second(hash((layout, count, names[-1], *some))):
            _remember(layout, stretch, text[first.end(1) : first.start(2)], rows, "".join(rest[1:-1]))
    return rows


def forget() -> None:
    """All lists that are remembered."""
    LISTS.forget()


class _Facts(Struct, frozen=True):
    """What a list that comes again shares with the first one, as in its `Rows`.

    middle: the rows that stand for its kinds. types: of each row, where all are settled.
    """

    entry: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    typed: dict[str | None, str]
    runs: tuple[tuple[int, int], ...]
    marks: tuple[tuple[int, str | None], ...]
    middle: str
    types: tuple[str, ...] | None

    def rows(self, head: str, texts: list[str], references: bool, tail: str) -> Rows:
        """The rows with these texts between head and tail. references: whether texts hold any; they are as they are written."""
        rest = f"{head}{self.middle}{tail}"
        if self.entry == "ParameterInfoStruct":
            return Rows(self.entry, self.names, texts, (), self.typed, self.runs, self.marks, rest)
        return Rows(
            self.entry, self.names, self.kinds, texts, self.typed, self.runs, self.marks, rest, self.types, references
        )


def _remember(layout: Layout, stretch: str, between: str, rows: Rows, middle: str) -> None:
    """Keeps an even list for the next one of its kind, where its rows are written alike to the letter.

    between: what stands between a row's name and the attributes of its value, or the text of its flag.
    """
    if None in rows.values or any("&" in name for name in rows.names):
        return
    names, kinds = tuple(rows.names), tuple([kind or "" for kind in rows.kinds])
    types = None
    if rows.entry == "ParameterValueStruct":
        prefixes = [f"{name}{between}{kind}>" for name, kind in zip(names, kinds, strict=True)]
        values: Sequence[str] = [value or "" for value in rows.values]
        if rows.typed.keys() >= set(kinds):
            types = tuple([rows.typed[kind] for kind in kinds])
    else:
        prefixes, values, kinds = [f"{name}{between}" for name in names], kinds, ()
    facts = _Facts(rows.entry, names, kinds, rows.typed, rows.runs, rows.marks, middle, types)
    LISTS.learn(layout, stretch, prefixes, values, facts)


LISTS: Final = KnownLists()


def _is_kind(text: str | None) -> bool:
    """Whether this is a tag's attributes and nothing more: no quote that begins here ends in the text behind the tag."""
    return text is None or (len(text) <= _LONGEST_KIND and _are_attributes(text))


@lru_cache(maxsize=256)
def _are_attributes(text: str) -> bool:
    return _WHOLE_ATTRIBUTES.fullmatch(text) is not None


@lru_cache(maxsize=256)
def _standard_type(kind: str) -> tuple[str, str] | None:
    """Prefix and type, where a kind is nothing but a type of the standard. kind: at most _LONGEST_KIND characters."""
    found = _TYPED.fullmatch(kind)
    return (found.group(1), found.group(2)) if found is not None else None


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
    if b"&" in marks and not has_only_legal_references(even, even.count("&")):
        return False
    return "]" not in even or "]]>" not in even


def _has_longer_text(text: str, limit: int) -> bool:
    """Whether a tag with the text after it is longer than the limit: one that is covers a multiple of the limit."""
    for place in range(limit, len(text), limit):
        after = text.find("<", place)
        if (after if after >= 0 else len(text)) - text.rfind("<", 0, place + 1) > limit:
            return True
    return False


# --- forms --------------------------------------------------------------------------------------------------------------------


def _usual_form(text: str, begin: int, is_value: bool) -> _Form | None:
    """The form of the first row that can be read; where the two behind it agree on another form, that one."""
    first = _FIRST_VALUE if is_value else _FIRST_INFO
    forms: list[_Form] = []
    while len(forms) < 3:
        row = first.search(text, begin, begin + _LONGEST_ROW)
        if row is None:
            break
        forms.append((_value_form if is_value else _info_form)(*row.groups()))
        begin = row.end()
    if len(forms) == 3 and forms[1] is forms[2]:
        return forms[1]
    return forms[0] if forms else None


@lru_cache(maxsize=64)
def _value_form(row: str, row_rest: str, name: str, name_rest: str, value: str) -> _Form:
    """The pattern of all rows like a first one, from what `_FIRST_VALUE` found in it."""

    def pattern(path: str, text: str) -> str:
        return (
            rf"<{row}{re.escape(row_rest)}>[^<]*+<{name}{re.escape(name_rest)}>{path}</{name}>[^<]*+"
            rf"(?:<{value}([^<>/]*+)(?:>({text}*+)</{value}>|/>)[^<]*+)?</{row}>"
        )

    plain, careful = pattern(_PARAMETER, "[^<]"), pattern(_CAREFUL_PARAMETER, r"[^<\r]")
    tags = (row, row_rest, f"{name}{name_rest}", value)
    return _Form("ParameterValueStruct", re.compile(plain), careful, f"</{row}>", tags)


@lru_cache(maxsize=64)
def _info_form(row: str, row_rest: str, name: str, name_rest: str, flag: str, flag_rest: str) -> _Form:
    """The same for the rows of GetParameterNamesResponse."""

    def pattern(path: str) -> str:
        return (
            rf"<{row}{re.escape(row_rest)}>[^<]*+<{name}{re.escape(name_rest)}>{path}</{name}>[^<]*+"
            rf"<{flag}{re.escape(flag_rest)}>(0|1|false|true)</{flag}>[^<]*+</{row}>()"
        )

    plain, careful = pattern(_NAME), pattern(_CAREFUL_NAME)
    tags = (row, row_rest, f"{name}{name_rest}", f"{flag}{flag_rest}")
    return _Form("ParameterInfoStruct", re.compile(plain), careful, f"</{row}>", tags)


# --- values -------------------------------------------------------------------------------------------------------------------


_FLAGS: Final = {"0": False, "1": True, "false": False, "true": True}
