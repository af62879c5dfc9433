"""Noticing that the machine slept, and whether the ACS wants to hear of it with `13 WAKEUP`.

Pure: the time spent asleep is an argument (`clock.Clock.asleep`). We hold no standby back and answer nothing in one, so that every sleep
counts as one without connection requests and without timers. Source: TR-069a6 Annex L; TR-181 2.19 ManagementServer.StandbyPolicy.
"""

from typing import Final, NamedTuple

SHORTEST: Final = 1.0
"""Seconds asleep that count as standby; less is the measuring error of two clocks."""

NEVER: Final = -1


class StandbyPolicy(NamedTuple):
    """What the ACS wants to hear of.

    longest_unaware: CRUnawarenessMaxDuration, seconds, -1 never. most_missed: MaxMissedPeriodic, -1 never.
    notify_missed_scheduled: NotifyMissedScheduled.
    """

    longest_unaware: int = NEVER
    most_missed: int = NEVER
    notify_missed_scheduled: bool = False

    def wants_wakeup(self, seconds: float, *, missed_periodic: int, missed_scheduled: int) -> bool:
        """Whether a sleep of so many seconds, which missed so many contacts, is to be told."""
        return (
            (self.longest_unaware >= 0 and seconds > self.longest_unaware)
            or (self.most_missed >= 0 and missed_periodic > self.most_missed)
            or (self.notify_missed_scheduled and missed_scheduled > 0)
        )


class StandbyWatch:
    """Tells sleeps from the growing sum of all sleeps."""

    def __init__(self, asleep: float) -> None:
        """asleep: seconds that the machine has slept so far."""
        self._before = asleep

    def slept(self, asleep: float) -> float:
        """Seconds asleep since the last call that gave any, 0.0 where they are too few to count."""
        seconds = asleep - self._before
        if seconds < SHORTEST:
            return 0.0
        self._before = asleep
        return seconds
