"""Whether a worker's event loop still turns: the worker counts beats in memory that its parent sees, and the parent the time without one.

What counts is time in which the worker could have given a beat. A machine that is suspended, a virtual machine or a container that is
paused, stops the parent as well, and the parent's own gaps do not count; nor does time in which the worker waited for a processor.
"""

import contextlib
import faulthandler
import mmap
import os
import select
import signal
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

BEAT_EVERY: Final = 1.0
"""Seconds between two beats."""

HUNG_AFTER: Final = 20.0
"""Seconds without a beat after which a worker counts as hanging. Nothing holds an event loop up for as long: the longest single piece of
work is a matter of milliseconds; and a device waits 30 s for its answer."""

LONGEST_LOOK: Final = 1.0
"""Seconds between two looks of the parent that count at most: with a longer gap the parent stood still, and the worker may have, too."""

LOOK_CLOSER: Final = 3.0
"""Seconds without a beat after which the kernel is asked what the worker does."""

TELL_WHERE: Final[signal.Signals | None] = getattr(signal, "SIGRTMIN", None)
"""Asks a worker where its threads are; no signal that anybody else would send. None where the system has no such signals."""

STACKS_WITHIN: Final = 0.5
"""Seconds that a worker has to tell where it is."""

MOST_STACKS: Final = 65_536

_CELL: Final = 8


class Beats:
    """A counter for each worker, in memory that parent and workers have in common. Made before the fork."""

    def __init__(self, workers: int) -> None:
        self._cells = memoryview(mmap.mmap(-1, workers * _CELL)).cast("q")

    def beat(self, number: int) -> None:
        """One more of this worker's."""
        self._cells[number] += 1

    def count(self, number: int) -> int:
        """How many there were."""
        return self._cells[number]


class Doing(Struct, frozen=True):
    """What a process's main thread does. state: the kernel's letter. ran: seconds of processor time so far."""

    state: str
    ran: float

    def words(self) -> str:
        """For the log."""
        return _STATES.get(self.state, f"in the state {self.state}")


_STATES: Final = {
    "R": "computing",
    "S": "waiting for something that does not come",
    "D": "waiting for a disk or a network file system",
    "T": "stopped by a signal (SIGSTOP)",
    "t": "held by a debugger",
    "Z": "ended",
}


def doing(pid: int) -> Doing | None:
    """What the process does now; None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
        ran = int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])
        return Doing(state, ran / 1e9)
    return None


class Silence:
    """The time without a beat of one worker, from its start on."""

    def __init__(self, beats: int) -> None:
        self.seconds = 0.0
        self._beats = beats
        self._last: Doing | None = None

    def look(self, beats: int, passed: float, now: Doing | None) -> float:
        """Seconds without a beat by now. passed: seconds since the last look; now: what it does, where that was asked."""
        if beats != self._beats:
            self._beats, self.seconds, self._last = beats, 0.0, None
            return 0.0
        self.seconds += min(passed, LONGEST_LOOK, self._could(passed, now))
        return self.seconds

    def _could(self, passed: float, now: Doing | None) -> float:
        """Seconds of these in which it could have given a beat."""
        before, self._last = self._last, now
        if now is None:
            return passed
        if now.state == "t":
            return 0.0
        if now.state == "R" and before is not None:
            return now.ran - before.ran  # it waited for a processor for the rest
        return passed

    @property
    def suspicious(self) -> bool:
        """Whether it is time to ask what it does."""
        return self.seconds >= LOOK_CLOSER

    @property
    def hangs(self) -> bool:
        """Whether it has been silent for too long."""
        return self.seconds >= HUNG_AFTER

    def spare(self, seconds: float) -> None:
        """It may have waited for another one that hung: it gets so many seconds more."""
        self.seconds = min(self.seconds, HUNG_AFTER - seconds)


def be_ready_to_tell(pipe: int) -> None:
    """In a worker: write into the pipe where each thread is whenever the parent asks, even while no Python code runs."""
    if TELL_WHERE is not None:
        os.set_blocking(pipe, False)
        faulthandler.register(TELL_WHERE, file=pipe, all_threads=True)


def stacks(pid: int, pipe: int) -> str:
    """Where each thread of a worker is; "" where it cannot tell: it was stopped, or the system has no way to ask.

    pipe: the other end of the one of `be_ready_to_tell`.
    """
    if TELL_WHERE is None:
        return ""
    os.kill(pid, TELL_WHERE)
    told = b""
    end = time.monotonic() + STACKS_WITHIN
    while len(told) < MOST_STACKS:
        # Nothing marks the end: what comes no more within a moment is all.
        left = 0.05 if told else max(0.0, end - time.monotonic())
        if not select.select([pipe], [], [], left)[0]:
            break
        part = os.read(pipe, MOST_STACKS)
        if not part:
            break  # it has ended in this moment
        told += part
    return told.decode(errors="replace").strip()
