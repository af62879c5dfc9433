"""When the next session begins: periodic contacts, scheduled ones, retries and throttled notifications.

Pure: `wall` (seconds since 1970, may jump) and `monotonic` (never jumps) are arguments. Deadlines are on the monotonic scale.
Source: TR-069a6 3.2.1.1 (retries), 3.7.1.5; TR-181 ManagementServer.PeriodicInform*, DefaultActiveNotificationThrottle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from typing import Final

from homeport.cpe.clock import is_set
from homeport.session.backoff import retry_wait
from homeport.terms import UNKNOWN_TIME

NOW: Final = float("-inf")
"""A deadline that has passed already."""


def phase_of(text: str) -> float | None:
    """Wall seconds of a PeriodicInformTime; None where the phase is free: unknown time, boot-relative time, or no dateTime at all."""
    if not text or text == UNKNOWN_TIME:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.year < 1000:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def next_in_phase(wall: float, interval: float, phase: float) -> float:
    """The first moment phase + n * interval (n any whole number) that is later than wall."""
    return phase + (floor((wall - phase) / interval) + 1) * interval


class PeriodicTimer:
    """Ticks every interval, in phase with a moment of the wall clock where one is set and the clock is known."""

    def __init__(self, random: Callable[[], float]) -> None:
        """random: uniform in [0, 1), spreads devices whose phase is free."""
        self._random = random
        self._plan: tuple[float, float | None] | None = None  # interval, phase that is in use
        self._asked: tuple[bool, float, str] | None = None
        self._due_wall: float | None = None
        self._due_monotonic: float | None = None

    def configure(self, enable: bool, interval: float, time: str, *, wall: float, monotonic: float) -> None:
        """Take the parameters' present values; unchanged values change nothing. interval: seconds, at least 1. time: a dateTime."""
        asked = (enable, interval, time)
        if asked == self._asked:
            return
        first = self._asked is None
        self._asked = asked
        if not enable:
            self._plan = self._due_wall = self._due_monotonic = None
            return
        self._plan = (interval, phase_of(time))
        self._aim(wall, monotonic, spread=first)

    def deadline(self, *, wall: float, monotonic: float) -> float | None:
        """When the next tick is due, None where periodic contacts are off."""
        if self._plan is None:
            return None
        self._follow_clock(wall, monotonic)
        if self._due_wall is not None:
            return monotonic + (self._due_wall - wall)
        return self._due_monotonic

    def missed(self, seconds: float, *, wall: float) -> int:
        """How many ticks fell into so many seconds of standby that end now."""
        if self._plan is None or self._asked is None:
            return 0
        interval, phase = self._plan
        if self._due_wall is not None and phase is not None:
            return int((wall - phase) // interval - (wall - seconds - phase) // interval)
        return int(seconds // interval)

    def ticked(self, *, wall: float, monotonic: float) -> bool:
        """Whether a tick is due now; the next one is aimed at then. Ticks that were missed count as one."""
        due = self.deadline(wall=wall, monotonic=monotonic)
        if due is None or due > monotonic:
            return False
        self._aim(wall, monotonic, spread=False)
        return True

    def _aim(self, wall: float, monotonic: float, *, spread: bool) -> None:
        assert self._plan is not None
        interval, phase = self._plan
        self._due_wall = self._due_monotonic = None
        if phase is not None and is_set(wall):
            self._due_wall = next_in_phase(wall, interval, phase)
        else:
            self._due_monotonic = monotonic + interval * (1.0 - self._random() if spread else 1.0)

    def _follow_clock(self, wall: float, monotonic: float) -> None:
        """Aim again where the wall clock was set, or went back by more than an interval."""
        assert self._plan is not None
        interval, phase = self._plan
        if phase is None or not is_set(wall):
            return
        if self._due_wall is None or self._due_wall - wall > interval:
            self._aim(wall, monotonic, spread=False)


@dataclass(frozen=True, slots=True)
class ScheduledInform:
    """One accepted ScheduleInform. number: the order of acceptance. due: monotonic seconds."""

    number: int
    command_key: str
    due: float


class SessionPolicy:
    """Whether and when a session is wanted. It never starts one: that is the run loop's."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.retry_count = 0
        self.retry_at: float | None = None
        self._wanted = False
        self._notification = False
        self._last_success: float | None = None

    def want(self) -> None:
        """Something happened that the ACS must hear of at once, also in the middle of a wait for a retry (TR-069a6 3.2.1.1)."""
        self._wanted = True

    def want_notification(self) -> None:
        """A parameter with active notification changed: a session as soon as the throttle allows."""
        self._notification = True

    def forget_notification(self) -> None:
        """What changed is no news after all."""
        self._notification = False

    def next_start(self, throttle: float = 0.0) -> float | None:
        """The monotonic time at which a session should begin, NOW where at once, None where nothing asks for one.

        throttle: DefaultActiveNotificationThrottle in seconds; it delays only a session that nothing else asks for.
        """
        if self._wanted:
            return NOW
        candidates = []
        if self.retry_at is not None:
            candidates.append(self.retry_at)
        if self._notification:
            candidates.append(NOW if self._last_success is None else self._last_success + throttle)
        return min(candidates, default=None)

    def started(self) -> None:
        """A session begins: it answers all wishes up to here."""
        self._wanted = self._notification = False
        self.retry_at = None

    def succeeded(self, monotonic: float) -> None:
        """The session ended well."""
        self.retry_count = 0
        self._last_success = monotonic

    def failed(self, monotonic: float, *, minimum: int, multiplier: int) -> None:
        """The session failed: count it and choose when to try again. minimum: seconds. multiplier: thousandths."""
        self.retry_count += 1
        wait = retry_wait(self.retry_count, minimum=minimum, multiplier=multiplier, random=self._random)
        self.retry_at = monotonic + wait
