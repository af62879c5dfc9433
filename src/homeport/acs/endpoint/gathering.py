"""Rows of devices that are wanted in one turn of the loop, read together behind it.

A row by itself costs SQLite three times what it costs among ten: each time the database's code and pages have to come into the
processor's caches again. A busy ACS has several Informs in a turn, and none of them waits for this: what the turn still holds is read
from the network first, and then all of them go on. From a database server the rows of those come together that are wanted while its
last answer is on its way; who waits for them so needs no task and no future.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import partial
from types import coroutine
from typing import Any, Final

import structlog

from homeport.acs.endpoint.exchange import HttpReply

BEHIND: Final = object()
"""What an answer gives out that waits for the end of the turn."""

Answer = Coroutine[Any, Any, HttpReply]

Waiting = tuple[Callable[[Answer, bool], None], Answer, bool]
"""Who goes on with an answer, the answer, and what else he is given."""

_log = structlog.get_logger("homeport.acs.http")


class Gathering:
    """Who waits for a row. soon: has something done behind this turn of the loop.

    read_ahead: reads the rows of these devices, and calls what it is given when that is done or has failed.
    by_hand: whether who runs now is run by one who calls `add` where it gives out BEHIND; a task would not know it.
    """

    def __init__(
        self,
        read_ahead: Callable[[Sequence[str], Callable[[], None]], None],
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        self.by_hand = False
        self._read_ahead = read_ahead
        self._soon = soon
        self._wanted: list[str] = []
        self._waiting: list[Waiting] = []
        self._readings = 0  # under way
        self._done: asyncio.Future[None] | None = None  # of who waits until there is none

    @coroutine
    def row(self, device: str) -> Generator[object, None, None]:
        """Wait until the row of this device is here; only where `by_hand` is set."""
        self._wanted.append(device)
        yield BEHIND

    def add(self, go_on: Callable[[Answer, bool], None], answer: Answer, keep: bool) -> None:
        """Go on with an answer that has given out BEHIND, with these arguments, as soon as its row is here."""
        if not self._waiting:
            self._soon(self.read)
        self._waiting.append((go_on, answer, keep))

    def read(self) -> None:
        """Read what is wanted; then everybody goes on."""
        if not self._waiting:
            return
        wanted, self._wanted = self._wanted, []
        waiting, self._waiting = self._waiting, []
        self._readings += 1
        self._read_ahead(wanted, partial(self._go_on, waiting))

    def _go_on(self, waiting: list[Waiting]) -> None:
        for go_on, answer, keep in waiting:
            try:
                go_on(answer, keep)
            except Exception:
                _log.exception("an answer was not given")  # the others get theirs all the same
        self._readings -= 1
        if not self._readings and self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def finish(self, grace: float) -> None:
        """Return when everybody has gone on, or after these seconds."""
        self.read()
        if self._readings:
            if self._done is None or self._done.done():
                self._done = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._done], timeout=grace)
