"""The agent's only source of time, so that tests can put a virtual one in its place."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, Protocol

from homeport.terms import UNKNOWN_TIME

CLOCK_IS_SET: Final = 1_577_836_800.0
"""2020-01-01: a device whose clock reads earlier has not learned the time yet (they start in 1970 or at their build date)."""

INFINITE_TIME: Final = "9999-12-31T23:59:59Z"
_ENDLESS: Final = 253_402_300_799.0

_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", 0)
"""Linux's monotonic clock that goes on in standby; elsewhere there is none and no standby is noticed."""


class Clock(Protocol):
    """now: seconds since 1970-01-01 UTC, may jump. monotonic: seconds, never jumps and stands still while the machine sleeps.

    asleep: seconds that the machine has spent in standby so far. sleep_until: on the monotonic scale.
    """

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    def asleep(self) -> float: ...

    async def sleep_until(self, deadline: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def asleep(self) -> float:
        return time.clock_gettime(_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC) if _BOOTTIME else 0.0

    async def sleep_until(self, deadline: float) -> None:
        await asyncio.sleep(max(0.0, deadline - time.monotonic()))


def is_set(now: float) -> bool:
    """Whether a wall clock's reading can be true."""
    return now >= CLOCK_IS_SET


def date_time(now: float) -> str:
    """A wall clock's reading as a dateTime in UTC to the second; the unknown time where the clock is not set (TR-106 3.2.2).

    What lies beyond the year 9999 is the infinite time: the largest wait for a retry is longer than that.
    """
    if not is_set(now):
        return UNKNOWN_TIME
    if now >= _ENDLESS:
        return INFINITE_TIME
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
