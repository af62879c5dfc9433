"""When each transfer may begin: delays and windows on the monotonic scale, taken over restarts by the wall clock.

No disk and no bytes here. Without a set clock then or now a delay or window is counted anew (unverified).
"""

from collections.abc import Callable

from homeport.cpe.clock import Clock, is_set
from homeport.cpe.transfers.records import State, Transfer
from homeport.cpe.transfers.windows import CONFIRMATION_NEEDED, WHEN_IDLE, Chance, Moment, moment


class Timetable:
    """Due times of the transfers of one device; monotonic seconds throughout.

    idle: see TransferService. look: seconds between looks at it.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        look: float,
        idle: Callable[[], bool] | None,
    ) -> None:
        self._clock = clock
        self._look = look
        self._idle = idle
        self._accepted: dict[int, float] = {}
        self._not_before: dict[int, float] = {}
        self._began: dict[int, float] = {}

    def wall(self) -> float | None:
        """The wall clock, None where it is not set."""
        now = self._clock.now()
        return now if is_set(now) else None

    def accept(self, transfer: Transfer) -> None:
        """Its time runs from now."""
        self._accepted[transfer.number] = self._clock.monotonic()

    def resume(self, transfer: Transfer) -> None:
        """Its time has run since before the restart."""
        now, elapsed = self.wall(), 0.0
        if transfer.accepted is not None and now is not None:
            elapsed = max(0.0, now - transfer.accepted)
        self._accepted[transfer.number] = self._clock.monotonic() - elapsed

    def put_off(self, number: int, seconds: float) -> None:
        """Not to be begun again for so long."""
        self._not_before[number] = self._clock.monotonic() + seconds

    def begun(self, number: int) -> float:
        """It is begun, perhaps again: seconds since its first beginning in this run of the agent."""
        now = self._clock.monotonic()
        return now - self._began.setdefault(number, now)

    def forget(self, number: int) -> None:
        self._accepted.pop(number, None)
        self._not_before.pop(number, None)
        self._began.pop(number, None)

    def due(self, transfer: Transfer, now: float) -> float | None:
        """When to begin, or to look again; None where its windows are over.

        now: one reading of the monotonic clock, the one that the answer is compared with; a second reading would be later.
        """
        accepted = self._accepted[transfer.number]
        if not transfer.windows:
            # An attempt that a restart cut off is not delayed a second time.
            if transfer.attempts:
                return max(now, self._not_before.get(transfer.number, now))
            return accepted + transfer.delay
        found = self.moment(transfer, now)
        if found.chance is Chance.OVER:
            return None
        if found.chance is Chance.WAIT:
            return accepted + found.until
        due = max(now, self._not_before.get(transfer.number, now))
        if due <= now and not self._may(transfer, found.window):
            due = now + self._look
        return min(due, accepted + found.until)

    def moment(self, transfer: Transfer, now: float) -> Moment:
        """What may be done with a ScheduleDownload now."""
        elapsed = now - self._accepted[transfer.number]
        return moment(transfer.windows, elapsed, used_window=transfer.window, used=transfer.window_attempts)

    def question(self, transfer: Transfer, now: float) -> tuple[int, str] | None:
        """The window whose mode asks the user, and what it asks, where the answer is missing and the window is open or the next one."""
        if transfer.state is not State.QUEUED or not transfer.windows:
            return None
        found = self.moment(transfer, now)
        window = transfer.windows[found.window]
        if found.chance is Chance.OVER or window.window_mode != CONFIRMATION_NEEDED or transfer.consent == found.window:
            return None
        return found.window, window.user_message

    def waits_for_idle(self, transfer: Transfer, now: float) -> bool:
        """Whether nothing but idleness is missing."""
        if transfer.state is not State.QUEUED or not transfer.windows:
            return False
        found = self.moment(transfer, now)
        return found.chance is Chance.GO and transfer.windows[found.window].window_mode == WHEN_IDLE

    def window_left(self, transfer: Transfer) -> float:
        """Seconds until the end of the window of the present attempt; infinite for a transfer without windows."""
        if not transfer.windows:
            return float("inf")
        end = self._accepted[transfer.number] + transfer.windows[max(0, transfer.window)].window_end
        return end - self._clock.monotonic()

    def _may(self, transfer: Transfer, index: int) -> bool:
        window = transfer.windows[index]
        if window.window_mode == WHEN_IDLE:
            return self._idle is not None and self._idle()
        if window.window_mode == CONFIRMATION_NEEDED:
            return transfer.consent == index
        return True
