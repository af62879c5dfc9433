"""Connection requests, by whatever way they come: which are one wish, and how many are heard.

Pure: time is an argument. That a request is genuine was found out by the way it came. Source: TR-069a6 3.2.2.
"""

from collections import deque
from enum import Enum
from typing import Final

SAME_WISH: Final = 2.0
"""Seconds in which a request by another way is taken for the same wish, where its session is over already: an ACS that asks by several
ways at once does so within a round trip or two."""

PERIOD: Final = 60.0


class Ring(Enum):
    """What a request is."""

    NEW = "new"
    SAME_WISH = "same wish"
    TOO_MANY = "too many"


class Rings:
    """The requests of one agent."""

    def __init__(self, limit: int) -> None:
        """limit: requests that may open a session, per minute, all ways together."""
        self._limit = limit
        self._accepted: deque[float] = deque()
        self._ways: set[str] = set()
        self._last_line = float("-inf")

    def judge(self, way: str, now: float, *, in_session: bool) -> Ring:
        """What a genuine request is. in_session: whether the session runs that an earlier request opened. now: monotonic seconds."""
        last = self._accepted[-1] if self._accepted else float("-inf")
        if self._ways and way not in self._ways and (in_session or now - last < SAME_WISH):
            self._ways.add(way)
            return Ring.SAME_WISH
        while self._accepted and self._accepted[0] <= now - PERIOD:
            self._accepted.popleft()
        if len(self._accepted) >= self._limit:
            return Ring.TOO_MANY
        self._accepted.append(now)
        self._ways = {way}
        return Ring.NEW

    def worth_a_line(self, now: float) -> bool:
        """Whether a refusal is to be logged: a flood of them must not wear out the flash."""
        if now - self._last_line < PERIOD:
            return False
        self._last_line = now
        return True
