"""How many transfers at once, and how fast."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

BURST: Final = 0.25
"""Seconds' worth of bytes that may go at once: short, so that a limit of some kilobytes per second is kept evenly."""


class Slots:
    """Transfers at once, of all and per address. Take one with `take`, give it back with `free`."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._taken: Counter[str] = Counter()
        self.count = 0

    def take(self, address: str) -> bool:
        """Whether there was a slot; it is then taken."""
        if self.count >= self._most or self._taken[address] >= self._most_per_address:
            return False
        self.count += 1
        self._taken[address] += 1
        return True

    def free(self, address: str) -> None:
        """Give a slot back."""
        self.count -= 1
        self._taken[address] -= 1
        if not self._taken[address]:
            del self._taken[address]


class Pace:
    """A rate shared by whoever calls `spend`. rate: bytes per second, 0 for no limit. clock: seconds, monotonic."""

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._free_at = 0.0

    def wait(self, count: int) -> float:
        """Seconds to wait before the next bytes, after these."""
        if not self._rate:
            return 0.0
        now = self._clock()
        self._free_at = max(self._free_at, now - BURST) + count / self._rate
        return max(0.0, self._free_at - now)

    def chunk(self, most: int) -> int:
        """How many bytes to send in one go."""
        return most if not self._rate else max(1024, min(most, int(self._rate * BURST)))


async def spend(count: int, *paces: Pace) -> None:
    """Wait until these bytes fit into every rate."""
    seconds = max(pace.wait(count) for pace in paces)
    if seconds > 0:
        await asyncio.sleep(seconds)
