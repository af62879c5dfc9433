"""Lists whose names and tags came before: their values are what is left when all of that is taken away.

An ACS asks thousands of devices of one model for the same parameters, and they answer with the same rows but for the values. What stands
in each row before its value, and between rows, is remembered from such a list once `fast_lists` has read it by its expression. A later
list is cut at what stands between two rows, and each piece must begin with what its row began with, to the letter: so its markup, its
names and its types are those that were judged before, and only the values are new. These are looked at whole: no tag, no character that
XML forbids, no reference but a legal one. A list that differs in anything else is left to the expression.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from homeport.codec.novelty import Luck, Seen, drop_oldest
from homeport.codec.references import has_only_legal_references

MOST_CHARACTERS: Final = 4_000_000
"""Of rows, without their values, in all lists together: some 40 lists of 1,000 parameters, which take 10 MB."""

_LONGEST: Final = MOST_CHARACTERS // 4
_MOST_LAYOUTS: Final = 256
_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c not in b"<&") + b"\t\n"
_BLANK: Final = " \t\n"


class Layout(Struct, frozen=True, gc=False):
    """What stands around the texts of all rows of a list.

    opening: from a row's beginning to its name. cut: the tag behind a value, where the list is cut. behind: from there to the next name.
    closing: from the last value to the end.
    """

    opening: str
    cut: str
    behind: str
    closing: str

    def pieces(self, stretch: str) -> list[str] | None:
        """One for each row: `behind` (but for the first), its name, what stands between, its value; None where the ends are others."""
        if not stretch.startswith(self.opening) or not stretch.endswith(self.closing):
            return None
        # Faster than any expression; a short mark of few letters is found faster than all that stands between two rows.
        return stretch[len(self.opening) : -len(self.closing)].split(self.cut)


class KnownList(Struct, frozen=True):
    """A list that may come again. prefixes: of its pieces, all but the value. size: characters of the list but for values and cuts.

    facts: whatever the reader of the list worked out for it.
    """

    prefixes: tuple[str, ...]
    size: int
    facts: Any


_Key = tuple[str, int, str, str, str]
"""What a list is looked up by: its layout, the number of its rows, and three of its names."""


class KnownLists:
    """The lists met so far; the one unused for longest is dropped first.

    size: their characters without values and cuts, at most `most`. seen: lists that may be worth remembering.
    """

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        self._most = most
        self._known: dict[_Key, KnownList] = {}
        self._luck: dict[str, Luck] = {}
        self.seen = Seen()
        self.size = 0

    def __len__(self) -> int:
        return len(self._known)

    def forget(self) -> None:
        """Everything."""
        self._known.clear()
        self._luck.clear()
        self.seen.forget()
        self.size = 0

    def recall(self, layout: Layout, stretch: str) -> tuple[Any, list[str], bool] | None:
        """The facts of a list that came before, its values as they are written, and whether they hold references; None for all others.

        layout: of the first row. stretch: from the beginning of the first row to the end of the last.
        """
        luck = self._luck.get(layout.behind)
        if luck is None or not luck.try_now():
            return None
        found = self._recalled(layout, stretch)
        luck.found(found is not None)
        return found

    def _recalled(self, layout: Layout, stretch: str) -> tuple[Any, list[str], bool] | None:
        pieces = layout.pieces(stretch)
        if pieces is None:
            return None
        key = _key(layout, pieces)
        known = self._known.get(key)
        if known is None:
            return None
        values = list(map(str.removeprefix, pieces, known.prefixes))
        text = "".join(values)
        # A piece that does not begin as its row should has kept all of its characters.
        if len(text) + known.size + len(layout.cut) * (len(pieces) - 1) != len(stretch):
            return None
        marks = text.encode().translate(None, _ORDINARY)
        if marks and (marks.strip(b"&") or not has_only_legal_references("\n".join(values), len(marks))):
            return None
        if ("]" in text and "]]>" in text) or (not text.isascii() and ("\ufffe" in text or "\uffff" in text)):
            return None
        if len(self._known) > 1:
            self._known.pop(key, None)
            self._known[key] = known
        return known.facts, values, bool(marks)

    def learn(self, layout: Layout, stretch: str, prefixes: Sequence[str], values: Sequence[str], facts: Any) -> bool:
        """Remembers a list; False where its rows are not written alike to the letter, or too long to be kept.

        stretch: as `recall` will see it. prefixes, values: of its rows, which stand in it in this order.
        """
        rest = layout.behind
        prefixes = [*prefixes[:1], *[f"{rest}{prefix}" for prefix in prefixes[1:]]]
        pieces = layout.pieces(stretch)
        if pieces is None or pieces != [f"{prefix}{value}" for prefix, value in zip(prefixes, values, strict=True)]:
            return False
        size = len(stretch) - len("".join(values)) - len(layout.cut) * (len(pieces) - 1)
        if size > min(_LONGEST, self._most):
            return False
        key = _key(layout, pieces)
        old = self._known.pop(key, None)
        self.size += size - (old.size if old is not None else 0)
        while self.size > self._most:
            oldest = drop_oldest(self._known)
            self.size = self.size - oldest.size if oldest is not None else size
        self._known[key] = KnownList(tuple(prefixes), size, facts)
        if len(self._luck) >= _MOST_LAYOUTS:
            self._luck.clear()
        self._luck[layout.behind] = Luck()
        return True


def layout_of(text: str, begin: int, first_name: int, first_value_end: int, first_end: int) -> Layout | None:
    """The layout that the first row has, and the blanks behind it; None where no second row follows.

    begin: of the first row. first_name: where its name begins. first_value_end: where its value ends. first_end: where it ends.
    """
    second = text.find("<", first_end)
    gap = text[first_end:second]
    if second < 0 or gap.strip(_BLANK):
        return None
    opening, closing = text[begin:first_name], text[first_value_end:first_end]
    cut_end = closing.index(">") + 1
    return Layout(opening, closing[:cut_end], f"{closing[cut_end:]}{gap}{opening}", closing)


def _three(items: Sequence[str]) -> tuple[str, str, str]:
    return items[0], items[len(items) // 2], items[-1]


def _key(layout: Layout, pieces: Sequence[str]) -> _Key:
    """pieces: any of them may be odd; that is found out later."""
    first, middle, last = _three(pieces)
    begin = len(layout.behind)
    return (
        layout.behind,
        len(pieces),
        first.partition("<")[0],
        middle[begin:].partition("<")[0],
        last[begin:].partition("<")[0],
    )
