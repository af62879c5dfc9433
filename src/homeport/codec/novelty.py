"""What a memory of earlier bodies does with what it does not know, so that it costs little where nothing ever comes again."""

from typing import Any, Final, TypeVar

MOST_SEEN: Final = 64
"""Things seen once. Few, so that what comes again only after many others does not push out what comes every minute."""

PATIENCE: Final = 4
"""Failures in a row until only one in `SELDOM` chances is taken."""

SELDOM: Final = 32

Item = TypeVar("Item")


class Seen:
    """Things seen once: remembering what never comes again costs more than it saves."""

    def __init__(self) -> None:
        self._marks: dict[int, None] = {}
        self._barren = False
        self._asked = 0

    def worth_a_look(self) -> bool:
        """False for most, while nothing came a second time for long."""
        self._asked += 1
        return not self._barren or self._asked % SELDOM == 0

    def is_second(self, mark: int) -> bool:
        """Whether this was asked about not long ago. mark: a hash of the thing."""
        if mark in self._marks:
            self._marks.pop(mark, None)
            self._barren = False
            return True
        if len(self._marks) >= MOST_SEEN:
            self._marks.clear()
            self._barren = True
        self._marks[mark] = None
        return False

    def forget(self) -> None:
        """Everything."""
        self._marks.clear()
        self._barren = False


class Luck:
    """Whether looking something up is worth it: after failures in a row only now and then."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures = 0

    def try_now(self) -> bool:
        """True where the next look should be made; `found` tells how it went."""
        if self._failures < PATIENCE:
            return True
        self._failures += 1
        return self._failures % SELDOM == 0

    def found(self, success: bool) -> None:
        """How the look went."""
        self._failures = 0 if success else self._failures + 1


def drop_oldest(known: dict[Any, Item]) -> Item | None:
    """Takes out what was put in first, and gives it back."""
    try:
        return known.pop(next(iter(known)), None)
    except (RuntimeError, StopIteration):  # Another thread was at it; the size is only a bound on memory.
        return None
