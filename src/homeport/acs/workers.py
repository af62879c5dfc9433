"""Several processes that do one work: started, watched, started again when they die, stopped together. Knows nothing of what they do."""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from msgspec import Struct

SIGNALS: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 30.0
"""Seconds before a worker that died young a second time is started again, doubled with every further time. The first time: at once."""

YOUNG: Final = 30.0
"""Seconds of life after which a death is no longer one of a series."""

SERIES: Final = 4
"""Young deaths in a row after which the log says what to do about them."""

STOP_WITHIN: Final = 15.0
"""Seconds that the workers have for a clean stop; then they are killed."""

TICK: Final = 0.2

_log = structlog.get_logger("homeport.acs.workers")


class Tether(Struct, frozen=True):
    """What ties a worker to its parent. parent: readable once the parent is gone. report: for the one word that all is ready."""

    parent: int
    report: int

    def ready(self) -> None:
        """Tell the parent that this worker serves."""
        os.write(self.report, b"r")
        os.close(self.report)


class _Worker:
    __slots__ = ("deaths", "number", "pid", "ready", "report", "started")

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.report = -1
        self.ready = False
        self.started = 0.0
        self.deaths = 0  # in a row, each young but for the first


Work = Callable[[int, Tether], int]
"""Does the work in the child: (number from 0, tether) -> exit code."""


Told = Callable[[int, bool], None]
"""Called in the parent: (number, whether it serves now or has ended)."""


def at_terminal() -> bool:
    """Whether SIGHUP means that the terminal was closed in which this program runs; else it asks to look for a new certificate."""
    try:
        return os.isatty(0)
    except OSError:
        return False


def supervise(
    count: int, work: Work, changed: Callable[[Sequence[int]], None], told: Told = lambda number, serving: None
) -> int:
    """Run so many workers until SIGTERM or SIGINT; the exit code.

    changed: called with the process ids once all serve, and again after each restart. told: of each worker. A worker that ends before
    all have served for the first time ends everything, with its exit code: nothing would become better by trying again.
    Must be called before this process has any thread.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    alive, hold = os.pipe()
    workers = [_Worker(n) for n in range(count)]
    try:
        for worker in workers:
            _start(worker, work, alive, hold)
        code = _watch(workers, work, changed, told, alive, hold)
        _stop(workers)
        return code
    finally:
        os.close(alive)
        os.close(hold)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _watch(
    workers: list[_Worker], work: Work, changed: Callable[[Sequence[int]], None], told: Told, alive: int, hold: int
) -> int:
    complete = False
    due: dict[int, float] = {}
    while True:
        caught = signal.sigtimedwait(SIGNALS, TICK)
        if caught is not None and caught.si_signo == signal.SIGHUP and not at_terminal():
            for worker in workers:
                if worker.ready:
                    os.kill(worker.pid, signal.SIGHUP)
        elif caught is not None and caught.si_signo != signal.SIGCHLD:
            return 0
        news = _reports(workers)
        for worker in news:
            told(worker.number, True)
        for worker, status in _dead(workers):
            told(worker.number, False)
            if not complete:
                return status or 1
            due[worker.number] = time.monotonic() + _wait(worker, status)
        for number in [n for n, at in due.items() if at <= time.monotonic()]:
            del due[number]
            try:
                _start(workers[number], work, alive, hold)
            except OSError as e:
                _log.error("a worker cannot be started; it is tried again", worker=number + 1, reason=str(e))
                due[number] = time.monotonic() + FIRST_WAIT
        if (news or not complete) and all(w.ready for w in workers):
            try:
                changed([w.pid for w in workers])
            except OSError as e:
                if not complete:
                    raise
                _log.error(
                    "the process ids of the workers cannot be written", reason=str(e)
                )  # the disk is full: they serve on
            complete = True


def _wait(worker: _Worker, status: int) -> float:
    """Seconds before the worker that has ended is started again; the log is told why, as far as it shows, and what to do."""
    lived = time.monotonic() - worker.started
    worker.deaths = 1 if lived > YOUNG else worker.deaths + 1
    wait = 0.0 if worker.deaths == 1 else min(FIRST_WAIT * 2.0 ** (worker.deaths - 2), LONGEST_WAIT)
    facts = {"worker": worker.number + 1, "why": _why(status), "lived": round(lived, 1), "again_in": wait}
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


def _start(worker: _Worker, work: Work, alive: int, hold: int) -> None:
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        pid = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if pid == 0:
        code = 70
        try:
            os.close(hold)  # the parent's alone: when it is gone, `alive` becomes readable
            os.close(reading)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            code = work(worker.number, Tether(alive, writing))
        except BaseException:
            _log.exception("a worker failed", worker=worker.number + 1)
        finally:
            # Whatever fails here, too (a log that nobody reads any more): a child that went on would be a second parent, which closes
            # what is closed already ("Bad file descriptor") and leaves by the parent's door.
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
    os.close(writing)
    if worker.report >= 0:
        os.close(worker.report)
    worker.pid, worker.report, worker.ready, worker.started = pid, reading, False, time.monotonic()


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


def _stop(workers: list[_Worker]) -> None:
    """End all: politely, then by force."""
    for number, limit in ((signal.SIGTERM, STOP_WITHIN), (signal.SIGKILL, STOP_WITHIN)):
        for worker in workers:
            if worker.pid:
                os.kill(worker.pid, number)
        end = time.monotonic() + limit
        while any(w.pid for w in workers) and time.monotonic() < end:
            _dead(workers)
            signal.sigtimedwait({signal.SIGCHLD}, TICK)
