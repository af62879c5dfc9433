"""Whether a device that nobody knows may be stored: strangers can make up serial numbers without end, and each would be a row for ever.

Only devices that have not logged in are counted in. Known devices never come here, so that the bound costs them nothing. One address
may have as many as there is room for others still: alone it gets half of the room, two get a third each, and whoever comes from another
one finds a place while they all flood.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from homeport.acs.services.addresses import blocks
from homeport.acs.storage.interface import Store
from homeport.errors import HomeportError, StoreUnavailable
from homeport.http.forwarded import TrustedProxies

TRUSTED_FOR: Final = 10.0
LOOKED_AGAIN: Final = 1.0
"""Seconds after which is counted anew: while there is room, and while there is none (somebody may be cleaning up)."""

SHARE: Final = 64
"""Counted anew when this part of the room is used up, too: up to so many processes may fill it at once, and hardly exceed the bound."""

COST: Final = 200.0
"""How many times as long as the count took is at least between two counts while there is no room: a large bound holds nobody up."""

AT_ONCE: Final = 500
"""Addresses that are counted before others have their turn."""

TOLD_EVERY: Final = 60.0

NOTED_FOR: Final = 600.0
"""Seconds for which health tells that an address has had more than its share."""

NO_PROXIES: Final = TrustedProxies()

CURE: Final = (
    "approve those that are yours (homeport device approve), delete the others (homeport device forget --where"
    " 'state == \"quarantined\" and ...'), or raise max_unapproved_devices"
)

SHARES_CURE: Final = f"{CURE}; if that address is a load balancer, name it in trusted_proxies"

_log = structlog.get_logger("homeport.acs.cwmp")


class NoRoom(HomeportError):
    """Too many devices wait: no further stranger is stored until somebody has looked at them."""


class NoShare(NoRoom):
    """Too many devices of one address wait: the room that is left is for those of others."""


class Newcomers:
    """most: devices that are not approved and may be there; 0 for any number. Made once for each process.

    proxies: load balancers; a device that has the address of one, because that tells no other, is anybody, and has no share of its own.
    clock: monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        most: int,
        *,
        proxies: TrustedProxies = NO_PROXIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refused = 0
        """Newcomers that were sent away; the same one counts each time it comes."""
        self._proxies = proxies
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
        self._shares: Counter[str] | None = (
            None  # of each block, since the last count; None while nobody can have too many
        )
        self._flying_from: Counter[str] = Counter()
        self._share_told = float("-inf")

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
        shares = Counter(self._flying_from) if 0 < self._most - counted - flying <= self._most // 2 else None
        if shares is not None:
            for n, (address, count) in enumerate((await self._store.unapproved_addresses()).items()):
                for block in blocks(address):
                    shares[block] += count
                if not n % AT_ONCE:
                    await asyncio.sleep(0)
        ended = self._clock()
        # Some of those on their way are perhaps counted already: rather one too many.
        self._room = self._most - counted - flying - (self._entered - entered)
        self._added = 0
        self._shares = shares
        rest = TRUSTED_FOR if self._room > 0 else LOOKED_AGAIN
        self._again = ended + (max(rest, COST * (ended - began)) if self._room <= 0 or shares else rest)

    async def notice(self) -> str | None:
        """What an operator should know, or None while there is room or the database does not answer."""
        try:
            full = await self.full()
        except StoreUnavailable:
            return None
        if full:
            return f"{self._most} devices are not approved, and no more are taken in: {CURE}"
        if self._clock() < self._share_told + NOTED_FOR:
            return f"more than half of {self._most} devices may not be approved, and one address (see the log) has its share: {SHARES_CURE}"
        return None

    def _over_share(self, address: str, from_blocks: tuple[str, ...]) -> bool:
        """Whether the address has as many as there is room for others."""
        shares, room = self._shares, self._room - self._added
        if shares is None or all(shares[block] < room for block in from_blocks) or self._proxies.trusts(address):
            return False
        now = self._clock()
        if now >= self._share_told + TOLD_EVERY:
            self._share_told = now
            _log.warning(
                "devices that are not known are sent away: too many of their address wait already",
                peer=address,
                waiting=max(shares[block] for block in from_blocks),
                room=room,
                refused=self.refused,
                cure=SHARES_CURE,
            )
        return True

    @asynccontextmanager
    async def one(self, device: str, address: str) -> AsyncIterator[None]:
        """While the context is open, one stranger is being stored. Raises NoRoom, NoShare, StoreUnavailable."""
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
        from_blocks = blocks(address)
        if self._over_share(address, from_blocks):
            self.refused += 1
            raise NoShare("too many devices of this address wait for approval")
        self._added += 1
        self._entered += 1
        self._flying += 1
        self._flying_from.update(from_blocks)
        if self._shares is not None:
            self._shares.update(from_blocks)
        try:
            yield
        finally:
            self._flying -= 1
            for block in from_blocks:
                self._flying_from[block] -= 1
                if not self._flying_from[block]:
                    del self._flying_from[block]
