"""Whether a device that nobody knows may be stored: strangers can make up serial numbers without end, and each would be a row for ever.

Only devices that have not logged in are counted in. Known devices never come here, so that the bound costs them nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from homeport.acs.storage.interface import Store
from homeport.errors import HomeportError, StoreUnavailable

TRUSTED_FOR: Final = 10.0
LOOKED_AGAIN: Final = 1.0
"""Seconds after which is counted anew: while there is room, and while there is none (somebody may be cleaning up)."""

SHARE: Final = 64
"""Counted anew when this part of the room is used up, too: up to so many processes may fill it at once, and hardly exceed the bound."""

COST: Final = 200.0
"""How many times as long as the count took is at least between two counts while there is no room: a large bound holds nobody up."""

TOLD_EVERY: Final = 60.0

CURE: Final = (
    "approve those that are yours (homeport device approve), delete the others (homeport device forget --where"
    " 'state == \"quarantined\" and ...'), or raise max_unapproved_devices"
)

_log = structlog.get_logger("homeport.acs.cwmp")


class NoRoom(HomeportError):
    """Too many devices wait: no further stranger is stored until somebody has looked at them."""


class Newcomers:
    """most: devices that are not approved and may be there; 0 for any number. clock: monotonic seconds. Made once for each process."""

    def __init__(self, store: Store, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.refused = 0
        """Newcomers that were sent away; the same one counts each time it comes."""
        self._store = store
        self._most = most
        self._clock = clock
        self._room = 0  # for how many there was room at the last count
        self._added = 0  # let in since then
        self._flying = 0  # let in and not on the disk yet
        self._entered = 0
        self._counting = asyncio.Lock()
        self._again = float("-inf")  # when to count anew
        self._told = float("-inf")

    async def full(self) -> bool:
        """Whether no further stranger would be stored. Raises StoreUnavailable."""
        if not self._most:
            return False
        if self._old():
            async with self._counting:
                if self._old():
                    await self._count()
        return self._added >= self._room

    def _old(self) -> bool:
        return self._clock() >= self._again or self._added > max(0, self._room) // SHARE

    async def _count(self) -> None:
        began, flying, entered = self._clock(), self._flying, self._entered
        counted = await self._store.unapproved_count(self._most)
        ended = self._clock()
        # Some of those on their way are perhaps counted already: rather one too many.
        self._room = self._most - counted - flying - (self._entered - entered)
        self._added = 0
        self._again = ended + (TRUSTED_FOR if self._room > 0 else max(LOOKED_AGAIN, COST * (ended - began)))

    async def notice(self) -> str | None:
        """What an operator should know, or None while there is room or the database does not answer."""
        try:
            full = await self.full()
        except StoreUnavailable:
            return None
        return f"{self._most} devices are not approved, and no more are taken in: {CURE}" if full else None

    @asynccontextmanager
    async def one(self, device: str, address: str) -> AsyncIterator[None]:
        """While the context is open, one stranger is being stored. Raises NoRoom, StoreUnavailable."""
        if await self.full():
            self.refused += 1
            now = self._clock()
            if now >= self._told + TOLD_EVERY:
                self._told = now
                _log.warning(
                    "a device that is not known was sent away: too many wait already",
                    device=device[:128],
                    peer=address,
                    waiting=self._most,
                    refused=self.refused,
                    cure=CURE,
                )
            raise NoRoom("too many devices wait for approval")
        self._added += 1
        self._entered += 1
        self._flying += 1
        try:
            yield
        finally:
            self._flying -= 1
