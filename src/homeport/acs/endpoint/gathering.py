"""Rows of devices that are wanted in one turn of the loop, read together behind it.

A row by itself costs the store three times what it costs among ten: each time the database's code and pages have to come into the
processor's caches again. A busy ACS has several Informs in a turn, and none of them waits for this: what the turn still holds is read
from the network first, and then all of them go on.
"""

from collections.abc import Callable, Coroutine, Generator, Sequence
from types import coroutine
from typing import Any, Final

import structlog

from homeport.acs.endpoint.exchange import HttpReply
from homeport.errors import StoreError

BEHIND: Final = object()
"""What an answer gives out that waits for the end of the turn."""

Answer = Coroutine[Any, Any, HttpReply]

_log = structlog.get_logger("homeport.acs.http")


class Gathering:
    """Who waits for a row. read_ahead: reads the rows of these devices; soon: has something done behind this turn of the loop.

    by_hand: whether who runs now is run by one who calls `add` where it gives out BEHIND; a task would not know it.
    """

    def __init__(
        self, read_ahead: Callable[[Sequence[str]], None], soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self.by_hand = False
        self._read_ahead = read_ahead
        self._soon = soon
        self._wanted: list[str] = []
        self._waiting: list[tuple[Callable[[Answer, bool], None], Answer, bool]] = []

    @coroutine
    def row(self, device: str) -> Generator[object, None, None]:
        """Wait until the row of this device is here; only where `by_hand` is set."""
        self._wanted.append(device)
        yield BEHIND

    def add(self, go_on: Callable[[Answer, bool], None], answer: Answer, keep: bool) -> None:
        """Go on with an answer that has given out BEHIND, with these arguments, as soon as its row is here."""
        if not self._waiting:
            self._soon(self.go_on)
        self._waiting.append((go_on, answer, keep))

    def go_on(self) -> None:
        """Read what is wanted, and let everybody go on."""
        wanted, self._wanted = self._wanted, []
        waiting, self._waiting = self._waiting, []
        try:
            self._read_ahead(wanted)
        except StoreError:
            pass  # each is told by itself when it reads its own
        for go_on, answer, keep in waiting:
            try:
                go_on(answer, keep)
            except Exception:
                _log.exception("an answer was not given")  # the others get theirs all the same
