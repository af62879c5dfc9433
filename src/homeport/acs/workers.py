"""Several processes that do one work: started, watched, started again when they die or hang, stopped together.

Knows nothing of what they do.
"""

import contextlib
import enum
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

import structlog
from msgspec import Struct

from homeport.acs.pulse import Beats, Silence, be_ready_to_tell, doing, stacks

ENDS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
SIGNALS: Final = ENDS | {signal.SIGCHLD, signal.SIGHUP}

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 30.0
"""Seconds before a worker that died young a second time is started again, doubled with every further time. The first time: at once."""

YOUNG: Final = 30.0
"""Seconds of life after which a death is no longer one of a series."""

SERIES: Final = 4
"""Young deaths in a row after which the log says what to do about them."""

STOP_WITHIN: Final = 15.0
"""Seconds that the workers have for a clean stop; then they are killed."""

AGAIN_AFTER: Final = 1.0
"""Seconds after the signal to stop from which on a second one means "at once": some wrappers pass one on twice."""

HUNG_ENDS_WITHIN: Final = 5.0
"""Seconds that a hanging worker has for a clean end; then it is killed."""

TICK: Final = 0.2

_log = structlog.get_logger("homeport.acs.workers")


class Tether(Struct, frozen=True):
    """What ties a worker to its parent. parent: readable once the parent is gone. report: for the one word that all is ready.

    beat: to be called every `BEAT_EVERY` seconds by what must not stand still.
    """

    parent: int
    report: int
    beat: Callable[[], None] = lambda: None

    def ready(self) -> None:
        """Tell the parent that this worker serves."""
        with contextlib.suppress(BrokenPipeError):  # it has just gone, which `parent` tells
            os.write(self.report, b"r")
        os.close(self.report)


class News(enum.Enum):
    """What the parent sees of a worker."""

    SERVES = enum.auto()
    HANGS = enum.auto()
    ENDED = enum.auto()


class _Worker:
    __slots__ = ("deaths", "kill_at", "number", "pid", "ready", "report", "silence", "stacks", "started")

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.report = -1
        self.stacks = -1  # where it tells what its threads do when it is asked
        self.ready = False
        self.started = 0.0
        self.deaths = 0  # in a row, each young but for the first
        self.silence = Silence(0)
        self.kill_at = 0.0  # of one that hangs


Work = Callable[[int, Tether], int]
"""Does the work in the child: (number from 0, tether) -> exit code."""


Told = Callable[[int, News], None]
"""Called in the parent: (number, what has become of it)."""


def at_terminal() -> bool:
    """Whether SIGHUP means that the terminal was closed in which this program runs; else it asks to look for a new certificate."""
    try:
        return os.isatty(0)
    except OSError:
        return False


def supervise(
    count: int,
    work: Work,
    changed: Callable[[Sequence[int]], None],
    told: Told = lambda number, news: None,
    *,
    turn: Callable[[], None] = lambda: None,
    stopping: Callable[[], None] = lambda: None,
) -> int:
    """Run so many workers until SIGTERM or SIGINT; the exit code, 1 where the workers had to be killed in the end.

    changed: called with the process ids once all serve, and again after each restart. told: of each worker. turn: called several times a
    second; stopping: when the end begins. A worker that ends before all have served for the first time ends everything, with its exit
    code: nothing would become better by trying again.
    Must be called before this process has any thread.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    parent = _Parent(count, work, changed, told, turn)
    try:
        code = parent.run()
        stopping()
        return parent.stop() or code
    finally:
        parent.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class _Parent:
    """What the parent of the workers has and does. The arguments are those of `supervise`."""

    def __init__(
        self,
        count: int,
        work: Work,
        changed: Callable[[Sequence[int]], None],
        told: Told,
        turn: Callable[[], None],
    ) -> None:
        self._work = work
        self._changed = changed
        self._told = told
        self._turn = turn
        self._alive, self._hold = os.pipe()
        self._beats = Beats(count)
        self._workers = [_Worker(n) for n in range(count)]
        self._due: dict[int, float] = {}
        self._looked = time.monotonic()
        self._complete = False

    def close(self) -> None:
        """Let go; a worker that is left sees it."""
        os.close(self._alive)
        os.close(self._hold)

    def run(self) -> int:
        """Start all, and see to it that all serve, until it is time to stop; the exit code so far."""
        for worker in self._workers:
            self._start(worker)
        while True:
            caught = _caught(SIGNALS)
            if caught == signal.SIGHUP and not at_terminal():
                for worker in self._workers:
                    if worker.ready:
                        os.kill(worker.pid, signal.SIGHUP)
            elif caught in ENDS or caught == signal.SIGHUP:
                return 0
            news = _reports(self._workers)
            for worker in news:
                self._told(worker.number, News.SERVES)
            status = self._bury()
            if status is not None:
                return status
            self._listen()
            for number in [n for n, at in self._due.items() if at <= time.monotonic()]:
                self._start_again(self._workers[number])
            if (news or not self._complete) and all(w.ready for w in self._workers):
                self._tell_ids()
            self._turn()

    def stop(self) -> int:
        """End all: politely, then by force, and at once where it is asked for a second time; 1 where force was needed."""
        began = time.monotonic()
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGTERM)
        why = "the workers did not end in time"
        while any(w.pid for w in self._workers) and time.monotonic() < began + STOP_WITHIN:
            _dead(self._workers)
            caught = _caught(ENDS | {signal.SIGCHLD})
            self._turn()
            if caught in ENDS and time.monotonic() - began >= AGAIN_AFTER:
                why = "the end was asked for a second time"
                break
        left = [w for w in self._workers if w.pid]
        if not left:
            return 0
        _log.error(
            "workers are killed; devices begin their sessions anew, and nothing that was acknowledged is lost",
            why=why,
            workers=[w.number + 1 for w in left],
        )
        for worker in left:
            os.kill(worker.pid, signal.SIGKILL)
        end = time.monotonic() + STOP_WITHIN
        while any(w.pid for w in left) and time.monotonic() < end:
            _dead(left)
            _caught({signal.SIGCHLD})
        return 1

    def _bury(self) -> int | None:
        """Those that have ended are to be started again; a number where all is over, because they never served."""
        for worker, status in _dead(self._workers):
            self._told(worker.number, News.ENDED)
            if not self._complete:
                return status or 1
            self._due[worker.number] = time.monotonic() + _wait(worker, status)
            if worker.kill_at:
                for other in self._workers:  # those that waited for it have a moment to show that they live
                    other.silence.spare(HUNG_ENDS_WITHIN)
        return None

    def _start_again(self, worker: _Worker) -> None:
        del self._due[worker.number]
        try:
            self._start(worker)
        except OSError as e:
            _log.error("a worker cannot be started; it is tried again", worker=worker.number + 1, reason=str(e))
            self._due[worker.number] = time.monotonic() + FIRST_WAIT

    def _tell_ids(self) -> None:
        try:
            self._changed([w.pid for w in self._workers])
        except OSError as e:
            if not self._complete:
                raise
            # The disk is full: they serve on.
            _log.error("the process ids of the workers cannot be written", reason=str(e))
        self._complete = True

    # --- those that hang ---

    def _listen(self) -> None:
        """Look at the beats of all; one that hangs is ended, and only one at a time: the others may wait for what it holds."""
        before, self._looked = self._looked, time.monotonic()
        passed = self._looked - before
        living = [w for w in self._workers if w.pid]
        for worker in living:
            now = doing(worker.pid) if worker.silence.suspicious else None
            worker.silence.look(self._beats.count(worker.number), passed, now)
        ending = [w for w in living if w.kill_at]
        for worker in ending:
            if worker.kill_at <= self._looked:
                os.kill(worker.pid, signal.SIGKILL)
                worker.kill_at = self._looked + HUNG_ENDS_WITHIN
        hanging = [w for w in living if w.silence.hangs]
        if hanging and not ending:
            self._end(max(hanging, key=lambda w: w.silence.seconds))

    def _end(self, worker: _Worker) -> None:
        """End one that hangs, and tell all that can be known of it."""
        now = doing(worker.pid)
        _log.error(
            "a worker hangs and is ended; its devices go on at the others",
            worker=worker.number + 1,
            pid=worker.pid,
            silent=round(worker.silence.seconds, 1),
            state=now.words() if now is not None else "unknown",
            stacks=stacks(worker.pid, worker.stacks) or "it did not tell where it is",
        )
        worker.ready = False
        os.kill(worker.pid, signal.SIGTERM)
        worker.kill_at = time.monotonic() + HUNG_ENDS_WITHIN
        self._told(worker.number, News.HANGS)

    # --- start ---

    def _start(self, worker: _Worker) -> None:
        ends: list[int] = []
        _flush()
        try:
            ends += os.pipe()
            ends += os.pipe()
            pid = os.fork()
        except OSError:
            for end in ends:
                os.close(end)
            raise
        reading, writing, telling, tells = ends
        if pid == 0:
            code = 70
            try:
                os.close(self._hold)  # the parent's alone: when it is gone, `alive` becomes readable
                for end in (reading, telling, *(e for w in self._workers for e in (w.report, w.stacks) if e >= 0)):
                    os.close(end)
                be_ready_to_tell(tells)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
                code = self._work(worker.number, Tether(self._alive, writing, lambda: self._beats.beat(worker.number)))
            except BaseException:
                _log.exception("a worker failed", worker=worker.number + 1)
            finally:
                # Whatever fails here, too (a log that nobody reads any more): a child that went on would be a second parent, which
                # closes what is closed already ("Bad file descriptor") and leaves by the parent's door.
                try:
                    _flush()
                finally:
                    os._exit(code)
        os.close(writing)
        os.close(tells)
        for end in (worker.report, worker.stacks):
            if end >= 0:
                os.close(end)
        worker.pid, worker.report, worker.stacks = pid, reading, telling
        worker.ready, worker.kill_at, worker.started = False, 0.0, time.monotonic()
        worker.silence = Silence(self._beats.count(worker.number))


def _caught(signals: Collection[int]) -> int:
    """The number of the signal that came within a tick; 0 where none came."""
    found = signal.sigtimedwait(signals, TICK)
    # Where the process was paused meanwhile, and the time is over when it goes on, CPython gives a record that nobody has filled.
    return found.si_signo if found is not None and found.si_signo in signals else 0


def _flush() -> None:
    """Write out what was printed, so that it is not printed twice; on a full disk it is lost."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _wait(worker: _Worker, status: int) -> float:
    """Seconds before the worker that has ended is started again; the log is told why, as far as it shows, and what to do."""
    lived = time.monotonic() - worker.started
    worker.deaths = 1 if lived > YOUNG else worker.deaths + 1
    wait = 0.0 if worker.deaths == 1 else min(FIRST_WAIT * 2.0 ** (worker.deaths - 2), LONGEST_WAIT)
    why = "it hung, see the lines before" if worker.kill_at else _why(status)
    facts = {"worker": worker.number + 1, "why": why, "lived": round(lived, 1), "again_in": wait}
    _log.error("a worker ended and is started again; its devices go on at the others", **facts)
    if worker.deaths >= SERIES:
        _log.error(
            "a worker dies again and again",
            worker=worker.number + 1,
            times=worker.deaths,
            advice="the lines before tell why, where it could say it; the others serve on. Look at memory, disk and database; when that"
            " does not help, stop the ACS, go back to the last version, and report these lines",
        )
    return wait


def _why(status: int) -> str:
    """An exit code in words."""
    if status == -signal.SIGKILL:
        return "killed (SIGKILL), by hand or by the kernel for want of memory: see `dmesg` or `journalctl -k`"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"exit code {status}, see the lines before"


def _reports(workers: list[_Worker]) -> list[_Worker]:
    """The workers that have told that they serve."""
    news = []
    waiting = {w.report: w for w in workers if w.report >= 0 and not w.ready}
    for fd in select.select(list(waiting), [], [], 0)[0]:
        worker = waiting[fd]
        if os.read(fd, 1):
            worker.ready = True
            news.append(worker)
        os.close(fd)
        worker.report = -1
    return news


def _dead(workers: list[_Worker]) -> list[tuple[_Worker, int]]:
    """Workers that have ended, with their exit codes; minus the signal's number where one killed it."""
    found = []
    for worker in workers:
        if worker.pid:
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                worker.pid, worker.ready = 0, False
                found.append((worker, os.waitstatus_to_exitcode(status)))
    return found
