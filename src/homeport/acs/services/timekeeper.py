"""Whether the time of day can be believed: by a clock that has jumped nothing is ended and nothing deleted before its time.

The time of day is compared with a clock that nobody sets, and after a restart with the last time that was believed.
"""

import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from homeport.acs.records import Document
from homeport.acs.storage.interface import DocumentChange, Store, UnitOfWork

JUMP: Final = 86_400.0
"""Seconds by which the time of day may be wrong without a doubt: an ACS may have stood still for so long."""

STANDSTILL: Final = 3_600.0
"""Seconds for which a start doubts a clock that has gone on for more than that: mostly the ACS has stood still, and the clock is right."""

NOTED_EVERY: Final = 60.0

KIND: Final = "clock"
NAME: Final = "believed"

_log = structlog.get_logger("homeport.acs")


def uptime() -> float:
    """Seconds on a clock that nobody sets and that counts while the machine sleeps, too."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Noted(msgspec.Struct, frozen=True):
    """What a restart has to know. believed: seconds since 1970. doubted: for how long the clock has told another time.

    jumped: this began while the ACS was running.
    """

    believed: float
    doubted: float = 0.0
    jumped: bool = False


class Timekeeper:
    """clock: the time of day, seconds since 1970. steady: the clock that nobody sets; None where all is believed.

    patience: seconds after which the time of day is believed whatever it is.
    """

    def __init__(
        self, store: Store, clock: Callable[[], float], steady: Callable[[], float] | None, patience: float
    ) -> None:
        self.ahead = 0.0
        """Seconds by which the clock is ahead of what it can be; 0.0 where it is believed. As of the last `sure`."""
        self._store = store
        self._clock = clock
        self._steady = steady if patience else None
        self._patience = patience
        self._believed = clock()
        self._at = self._steady() if self._steady is not None else 0.0
        self._since: float | None = None  # when the doubt began, on the steady clock
        self._jumped = False  # it has jumped before our eyes

    def sure(self) -> float:
        """The time that it surely is by now: what has ended or is old by this has ended.

        The time of day; while it is far ahead of what it can be, the last one that was believed and the seconds since.
        """
        now = self._clock()
        if self._steady is None:
            return now
        at = self._steady()
        expected = self._believed + at - self._at
        far = abs(now - expected) > JUMP
        if far and self._since is None:
            self._since, self._jumped = at, True
            if now > expected:
                _log.warning(
                    "the clock of this machine has jumped: nothing is ended or deleted by it now; set it right, or wait",
                    seconds=round(now - expected),
                    believed_after=self._patience,
                )
        patience = self._patience if self._jumped else min(self._patience, STANDSTILL)
        if far and self._since is not None and at - self._since < patience:
            self.ahead = max(0.0, now - expected)
            return min(now, expected)
        if self._since is not None:
            _log.info("the clock of this machine is believed again", jumped=far)
        self._believed, self._at, self._since, self._jumped, self.ahead = now, at, None, False, 0.0
        return now

    @property
    def trouble(self) -> str | None:
        """What an operator should know of the clock, or None; that the ACS has stood still for long he knows."""
        self.sure()
        if not self.ahead or not self._jumped:
            return None
        return (
            f"the clock of this machine is {self.ahead / JUMP:.1f} days ahead of what it can be: nothing is ended or deleted by it;"
            " set it right, or start the ACS with --clock-doubt 0 where it is right"
        )

    async def recall(self) -> None:
        """Go on from what was believed before this start. Raises StoreUnavailable."""
        if self._steady is None:
            return
        row = await self._store.document(KIND, NAME)
        if row is None:
            return
        try:
            noted = msgspec.msgpack.decode(row.record, type=Noted)
        except msgspec.MsgspecError:
            return  # of another version: it is written anew
        self._believed, self._at = noted.believed, self._steady()
        ahead = self._clock() - self._believed
        if abs(ahead) > JUMP:
            self._since, self._jumped = self._at - noted.doubted, noted.jumped
            if ahead > 0 and not noted.doubted:
                _log.warning(
                    "this ACS has stood still for long, or the clock is wrong: nothing is ended or deleted by it for a while",
                    seconds=round(ahead),
                    believed_after=min(self._patience, STANDSTILL),
                )
        self.sure()

    async def note(self) -> None:
        """Write down what is believed, for the next start. Raises StoreUnavailable."""
        if self._steady is None:
            return
        self.sure()
        at = self._steady()
        noted = Noted(
            self._believed + at - self._at, at - self._since if self._since is not None else 0.0, self._jumped
        )
        unit = UnitOfWork()
        unit.documents.append(DocumentChange(Document(KIND, NAME, msgspec.msgpack.encode(noted))))
        await self._store.commit(unit)
