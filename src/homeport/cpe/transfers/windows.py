"""When a ScheduleDownload may run: its windows, their modes and retries. Pure: time is seconds since the request was accepted.

Source: TR-069a6 A.4.1.8. What one window leaves to the next, and the wait between retries, are the device's choice (unverified).
"""

from collections.abc import Collection, Sequence
from enum import Enum
from typing import Final, NamedTuple

from homeport.codec.messages import TimeWindowStruct
from homeport.errors import Fault
from homeport.terms import FaultCode

AT_ANY_TIME: Final = "1 At Any Time"
IMMEDIATELY: Final = "2 Immediately"
WHEN_IDLE: Final = "3 When Idle"
CONFIRMATION_NEEDED: Final = "4 Confirmation Needed"

MAX_WINDOWS: Final = 2
OWN_RETRIES: Final = 3
"""Retries in a window whose MaxRetries leaves them to the device (-1)."""


class Chance(Enum):
    """What a moment is good for."""

    WAIT = "wait"  # a window is still to come
    GO = "go"  # inside a window that has attempts left
    OVER = "over"  # no window will do any more


class Moment(NamedTuple):
    """window: index of the window that chance speaks of. until: seconds after acceptance: the start to wait for, or the end."""

    chance: Chance
    window: int
    until: float


def check_windows(windows: Sequence[TimeWindowStruct], modes: Collection[str]) -> None:
    """Raises Fault 9003 for windows that the standard or the device does not allow."""
    if not 1 <= len(windows) <= MAX_WINDOWS:
        raise _refused(f"a ScheduleDownload has 1 or 2 time windows, not {len(windows)}")
    previous_end = 0
    for window in windows:
        if window.window_end <= window.window_start:
            raise _refused(f"the window ends at {window.window_end} s, not after its start at {window.window_start} s")
        if window.window_start < previous_end:
            raise _refused(f"the window that starts at {window.window_start} s overlaps the one before it")
        if window.window_mode not in modes:
            raise _refused(f"the window mode {window.window_mode!r} is not supported; supported are {', '.join(modes)}")
        if window.max_retries < -1:
            raise _refused(f"MaxRetries {window.max_retries} is less than -1")
        previous_end = window.window_end


def attempts_in(window: TimeWindowStruct) -> int:
    """How often a transfer may be tried in this window."""
    return 1 + (OWN_RETRIES if window.max_retries < 0 else window.max_retries)


def moment(windows: Sequence[TimeWindowStruct], elapsed: float, *, used_window: int, used: int) -> Moment:
    """What may be done now.

    elapsed: seconds since acceptance. used_window, used: the window of the last attempts, and how many were made in it.
    """
    for index, window in enumerate(windows):
        if elapsed >= window.window_end or index < used_window:
            continue
        if index == used_window and used >= attempts_in(window):
            continue
        if elapsed < window.window_start:
            return Moment(Chance.WAIT, index, float(window.window_start))
        return Moment(Chance.GO, index, float(window.window_end))
    return Moment(Chance.OVER, len(windows) - 1, elapsed)


def _refused(text: str) -> Fault:
    return Fault(FaultCode.INVALID_ARGUMENTS, text)
