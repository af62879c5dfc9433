"""Connection requests, by whatever way they come: which of them a coming session answers already, and how many are heard.

Pure: time is an argument. That a request is genuine, and not a copy of one that was heard, was found out by the way it came.
Source: TR-069a6 3.2.2.
"""

from collections import deque
from enum import Enum
from typing import Final

PERIOD: Final = 60.0


class Ring(Enum):
    """What a request is."""

    NEW = "new"
    ANSWERED_SOON = "answered soon"
    TOO_MANY = "too many"


class Rings:
    """The requests of one agent."""

    def __init__(self, limit: int) -> None:
        """limit: requests that may open a session, per minute, all ways together."""
        self._limit = limit
        self._accepted: deque[float] = deque()
        self._last_line = float("-inf")

    def judge(self, now: float, *, waits: bool) -> Ring:
        """What a genuine request is. waits: whether an earlier one waits for its Inform still. now: monotonic seconds.

        Only an Inform that is made after the request answers it. It would be tempting to take a request by a second way, shortly after
        one by the first, for the same wish; but a session may be over in a tenth of a second, and what the ACS asks for after it is new.
        """
        if waits:
            return Ring.ANSWERED_SOON
        while self._accepted and self._accepted[0] <= now - PERIOD:
            self._accepted.popleft()
        if len(self._accepted) >= self._limit:
            return Ring.TOO_MANY
        self._accepted.append(now)
        return Ring.NEW

    def worth_a_line(self, now: float) -> bool:
        """Whether a refusal is to be logged: a flood of them must not wear out the flash."""
        if now - self._last_line < PERIOD:
            return False
        self._last_line = now
        return True
