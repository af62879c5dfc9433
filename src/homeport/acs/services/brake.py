"""The brake on guessing devices' passwords: no more than so many wrong logins are looked at in a minute, over however many connections.

What cannot be told from a guess waits for its turn, or is told to come back without having been looked at. A right login that is not known
from there is such a one, so turns are counted where a real device and a guesser meet as seldom as can be: a known device at the place
where it was last has a lane of its own, which no guess from elsewhere fills. Right logins use up nothing.
Wrong ones are counted in cells that all workers of a machine have in common, without a lock: a count that is lost does no harm.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from homeport.acs.services.addresses import blocks, network
from homeport.acs.services.shares import LOGIN_CELLS, digest

WINDOW: Final = 60_000
"""Milliseconds in which so many may fail as the limit says."""

HELD_FOR: Final = 3.0
"""Seconds for which a login is held that gets no turn: who sends many has to keep many connections."""

LONGEST_TURN: Final = 9.0
"""Seconds that a login waits for its turn at most: short beside the time that devices wait for an answer (30 s and more)."""

PER_ADDRESS: Final = 10
"""How many times as many failures one address may have with all names, and one name from all addresses: many devices may share them."""

SHARED_PART: Final = 10
"""What part of the limit a known device has at its place with a login that others have, too: hundreds may be behind one NAT."""

_PLACES: Final = (LOGIN_CELLS - 1) // 3

Lane = tuple[tuple[str, int], ...]
"""What a login's failures are counted by, each with its limit: it has a turn when all of them have."""


class LoginBrake:
    """limit: failures in a minute with one name from one address; 0: no brake. most: logins held at once. clock: monotonic seconds.

    cells: where the failures are counted: when one was too many lately, then (key, until, limit) for each place. until: when the failures
    so far will be forgotten, each of them a limit's part of a minute after the one before; all times in milliseconds.
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
        self._waiting: set[asyncio.Future[bool]] = set()
        self.held_for = HELD_FOR
        self.longest_turn = LONGEST_TURN

    @property
    def engaged(self) -> bool:
        """Whether anybody's logins are to wait now: all that a login costs while nobody guesses."""
        last = self._cells[0]
        return last > 0 and last > int(self._clock() * 1000) - WINDOW

    def lane(self, address: str, username: str, *, known_at: str | None = None, device: str = "") -> Lane:
        """What the failures of a login are counted by.

        known_at: the address from which the device that it is for was heard last, as far as it is an approved one. device: its id, where
        others have the same login and it has only said itself which one it is.
        """
        where, limit = blocks(address)[0], self._limit
        if known_at is not None and blocks(known_at)[0] == where:
            own = f"{where} {username} at home {device}"
            if not device:
                return ((own, limit),)
            return (own, max(1, limit // SHARED_PART)), (f"{where} at home", limit * PER_ADDRESS)
        near = network(address)
        everywhere = near if known_at is not None and network(known_at) == near else "*"
        many = limit * PER_ADDRESS
        return (f"{where} {username}", limit), (where, many), (f"{everywhere} from {username}", many)

    def wait(self, lane: Lane) -> float:
        """Seconds until a login of this lane may be looked at; 0.0: now."""
        now = int(self._clock() * 1000)
        return max(0, *[self._find(digest(key), now)[1] - now + _step(limit) - WINDOW for key, limit in lane]) / 1000

    def turn(self, lane: Lane) -> float | None:
        """Seconds that a login has to wait before it is looked at, None where it is not: 0.0 at once.

        Where it waits its failure is counted already: `forgive` it where it was none.
        """
        wait = self.wait(lane)
        if wait == 0.0:
            return wait
        if wait > self.longest_turn or len(self._waiting) >= self._most:
            self._cells[0] = int(self._clock() * 1000)
            return None
        self.failed(lane)
        return wait

    def failed(self, lane: Lane) -> None:
        """Count a login with a wrong name or password."""
        if not self._limit:
            return
        now, cells = int(self._clock() * 1000), self._cells
        for key, limit in lane:
            number = digest(key)
            place, until = self._find(number, now)
            until += _step(limit)
            cells[place], cells[place + 1], cells[place + 2] = number, until, limit
            if until - now + _step(limit) > WINDOW:
                cells[0] = now

    def forgive(self, lane: Lane) -> None:
        """A login that waited for its turn was right, or was not looked at."""
        now, cells = int(self._clock() * 1000), self._cells
        for key, limit in lane:
            number = digest(key)
            place, until = self._find(number, now)
            if cells[place] == number:
                cells[place + 1] = until - _step(limit)

    async def hold(self, host: str, port: int, seconds: float) -> bool:
        """Return after so long: True, or False as soon as the connection is gone or this process is being stopped."""
        loop = asyncio.get_running_loop()
        until: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(seconds, _settle, until, True)
        self._waiting.add(until)
        if port:
            self._held[host, port] = until
        try:
            return await until
        finally:
            timer.cancel()
            self._waiting.discard(until)
            if self._held.get((host, port)) is until:
                del self._held[host, port]

    async def delay(self, host: str, port: int) -> None:
        """Keep who gets no turn for a while, as far as there are places: half of them are for those who get one."""
        if len(self._waiting) < self._most // 2:
            await self.hold(host, port, self.held_for)

    def gone(self, host: str, port: int) -> None:
        """The connection has ended: whoever does not wait for the answer is not told whether the password was right."""
        until = self._held.get((host, port)) if self._held else None
        if until is not None:
            _settle(until, False)

    def end(self) -> None:
        """Hold nobody any more: this process is being stopped, and those who are held are told to come back."""
        self._most = 0
        for until in self._waiting:
            _settle(until, False)

    def _find(self, number: int, now: int) -> tuple[int, int]:
        """Where a key's failures are counted, or would be, in the calmer of two places, and until when there are any: now for none."""
        cells, best, least = self._cells, 0, -1
        for seed in (number, number // _PLACES):
            place = 1 + 3 * (seed % _PLACES)
            left = max(0, cells[place + 1] - now) if cells[place] else 0
            if left and cells[place] == number:
                return place, now + left
            failures = left * cells[place + 2]
            if least < 0 or failures < least:
                best, least = place, failures
        return best, now


def _step(limit: int) -> int:
    """Milliseconds for which one failure counts."""
    return max(1, WINDOW // limit)


def _settle(future: "asyncio.Future[bool]", value: bool) -> None:
    if not future.done():
        future.set_result(value)
