"""Time that passes only when a test says so."""

import asyncio
import heapq
import itertools


class VirtualClock:
    """A Clock for the agent. `advance` lets everything that is due happen in order, without waiting."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self._offset = wall
        self._time = 0.0
        self._asleep = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._offset + self._time

    def monotonic(self) -> float:
        return self._time

    def asleep(self) -> float:
        return self._asleep

    def standby(self, seconds: float) -> None:
        """The machine sleeps: the wall clock goes on, the monotonic one does not."""
        self._asleep += seconds
        self._offset += seconds

    def set_wall(self, wall: float) -> None:
        """Somebody sets the wall clock."""
        self._offset = wall - self._time

    async def sleep_until(self, deadline: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (deadline, next(self._numbers), future))
        await future

    async def settle(self) -> None:
        """Let every task run until all of them wait."""
        loop = asyncio.get_running_loop()
        for _ in range(10_000):
            await asyncio.sleep(0)
            if not loop._ready:  # type: ignore[attr-defined]
                return
        raise AssertionError("the tasks never come to rest")

    async def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self._time + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            deadline, _, future = heapq.heappop(self._sleepers)
            if future.cancelled():
                continue
            self._time = max(self._time, deadline)
            if not future.done():
                future.set_result(None)
            await self.settle()
        self._time = end
        await self.settle()
