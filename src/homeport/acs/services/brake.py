"""The brake on guessing devices' passwords: where many logins have failed, each further one is held for a moment before it is looked at.

It is a brake and no lock, because behind one address there may be a whole town: a right login is held like a wrong one and then opens.
Wrong ones are counted in cells that all workers of a machine have in common, without a lock: a count that is lost does no harm.
"""

import asyncio
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Final

from homeport.acs.services.shares import LOGIN_CELLS, digest

WINDOW: Final = 60_000
"""Milliseconds in which failures are counted, and for which the brake is on after the last one too many."""

HELD_FOR: Final = 3.0
"""Seconds for which a login is held: short beside the time that devices wait for an answer (30 s and more)."""

PER_ADDRESS: Final = 10
"""How many times as many failures one address may have with all names together: many devices may share it."""

_PLACES: Final = (LOGIN_CELLS - 1) // 3


def origin(address: str) -> str:
    """What failures are remembered by. Of IPv6 the first 64 bits: whoever has one such address has all of them."""
    try:
        whole = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    whole = getattr(whole, "ipv4_mapped", None) or whole
    return str(ip_network((whole, 64), strict=False) if whole.version == 6 else whole)


class LoginBrake:
    """limit: failures in a minute with one name from one address; 0: no brake. most: logins held at once. clock: monotonic seconds.

    cells: where the failures are counted: when one was too many lately, then (key, count, since) for each place, times in milliseconds.
    """

    def __init__(
        self,
        limit: int,
        most: int,
        *,
        cells: "memoryview[int] | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._most = most
        self._cells = cells if cells is not None else memoryview(bytearray(8 * LOGIN_CELLS)).cast("q")
        self._clock = clock
        self._held: dict[tuple[str, int], asyncio.Future[bool]] = {}
        self.held_for = HELD_FOR

    @property
    def engaged(self) -> bool:
        """Whether anybody's logins are to be held now: all that a login costs while nobody guesses."""
        last = self._cells[0]
        return last > 0 and last > int(self._clock() * 1000) - WINDOW

    def over(self, address: str, username: str) -> bool:
        """Whether too many logins with this name from this address have failed, or from this address with any name."""
        if not self.engaged:
            return False
        now = int(self._clock() * 1000)
        return any(self._count(digest(key), now)[1] > limit for key, limit in self._keys(address, username))

    def failed(self, address: str, username: str) -> None:
        """Count a login with a wrong name or password."""
        if not self._limit:
            return
        now, cells = int(self._clock() * 1000), self._cells
        for key, limit in self._keys(address, username):
            number = digest(key)
            place, count = self._count(number, now)
            too_many = count + 1 > limit
            if not count or too_many:
                cells[place + 2] = now  # the minute begins, or begins anew
            cells[place], cells[place + 1] = number, count + 1
            if too_many:
                cells[0] = now

    async def hold(self, host: str, port: int) -> bool:
        """Return after a while: True, or False as soon as the connection is gone. Where too many are held, at once.

        Of more than that nobody is refused: else whoever fills the places would lock devices out.
        """
        if len(self._held) >= self._most:
            return True
        loop = asyncio.get_running_loop()
        until: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(self.held_for, _settle, until, True)
        self._held[host, port] = until
        try:
            return await until
        finally:
            timer.cancel()
            if self._held.get((host, port)) is until:
                del self._held[host, port]

    def gone(self, host: str, port: int) -> None:
        """The connection has ended: whoever does not wait for the answer is not told whether the password was right."""
        until = self._held.get((host, port)) if self._held else None
        if until is not None:
            _settle(until, False)

    def end(self) -> None:
        """Hold nobody any more: this process is being stopped, and those who are held are told to come back."""
        self._most = 0
        for until in self._held.values():
            _settle(until, False)

    def _keys(self, address: str, username: str) -> tuple[tuple[str, int], tuple[str, int]]:
        where = origin(address)
        return (f"{where} {username}", self._limit), (where, self._limit * PER_ADDRESS)

    def _count(self, number: int, now: int) -> tuple[int, int]:
        """Where a key's failures are counted, or would be, and how many there are. Of two places it has the calmer one."""
        cells, best, least = self._cells, 0, -1
        for seed in (number, number // _PLACES):
            place = 1 + 3 * (seed % _PLACES)
            live = cells[place + 1] if now - cells[place + 2] < WINDOW and cells[place] else 0
            if live and cells[place] == number:
                return place, live
            if least < 0 or live < least:
                best, least = place, live
        return best, 0


def _settle(future: "asyncio.Future[bool]", value: bool) -> None:
    if not future.done():
        future.set_result(value)
