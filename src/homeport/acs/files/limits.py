"""How many transfers at once, and how fast."""

import asyncio
from collections.abc import Callable, MutableSequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

BURST: Final = 0.25
"""Seconds' worth of bytes that may go at once: short, so that a limit of some kilobytes per second is kept evenly."""


class Pace:
    """A rate shared by whoever calls `spend`. rate: bytes per second, 0 for no limit. clock: seconds, monotonic.

    free_at, lock: a cell and its lock, where other processes spend of the same rate.
    """

    def __init__(
        self,
        rate: int,
        clock: Callable[[], float],
        free_at: "MutableSequence[float] | memoryview[float] | None" = None,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._free_at = [0.0] if free_at is None else free_at
        self._lock = lock or nullcontext()

    def wait(self, count: int) -> float:
        """Seconds to wait before the next bytes, after these."""
        if not self._rate:
            return 0.0
        with self._lock:
            now = self._clock()
            free_at = self._free_at[0] = max(self._free_at[0], now - BURST) + count / self._rate
        return max(0.0, free_at - now)

    def chunk(self, most: int) -> int:
        """How many bytes to send in one go."""
        return most if not self._rate else max(1024, min(most, int(self._rate * BURST)))


async def spend(count: int, *paces: Pace) -> None:
    """Wait until these bytes fit into every rate."""
    seconds = max(pace.wait(count) for pace in paces)
    if seconds > 0:
        await asyncio.sleep(seconds)
