"""How often and when a transfer is begun again that its file server could not serve just now. No clock here.

A file server that restarts in the middle of a roll-out must not fail the roll-out, and the devices that it lost must not all be back in
the same second. All this is one transfer with one report, inside its time limit: a transfer that has failed is not begun again, for the
standard leaves that to the ACS (TR-069a6 A.3.2.8, unverified). So few are the default, enough for a restart: the ACS hears of a server that
is away for longer within half a minute. With none the first trouble is the failure. A window of a
ScheduleDownload has its own count (MaxRetries) and does not use this one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_GROWS_FOR: Final = 20
"""Repetitions after which the wait no longer doubles, whatever its limit: 2 to the power of a large count is no float."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """most: repetitions of one transfer, 0 for none. first: seconds, the longest wait before the first one; doubled for each further
    one up to longest.
    """

    most: int = 2
    first: float = 10.0
    longest: float = 300.0

    def wait(self, number: int, *, asked: float, random: Callable[[], float]) -> float:
        """Seconds before repetition `number` (from 1 on), drawn evenly from the upper half of its range.

        asked: what the server said by Retry-After, 0 for nothing; never less than that, and up to a quarter more, so that a fleet that
        was told the same does not come at once. random: floats from 0 to 1.
        """
        high = min(self.longest, self.first * 2.0 ** min(max(number, 1) - 1, _GROWS_FOR))
        chance = min(max(random(), 0.0), 1.0)
        return max(high * (1 + chance) / 2, asked * (1 + chance / 4))
