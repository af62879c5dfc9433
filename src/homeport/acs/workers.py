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

SIGNALS: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 30.0
"""Seconds before a worker that died is started again: doubled as long as it dies young."""

YOUNG: Final = 30.0
"""Seconds of life after which a death is no longer one of a series."""

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
    __slots__ = ("number", "pid", "ready", "report", "started", "wait")

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.report = -1
        self.ready = False
        self.started = 0.0
        self.wait = FIRST_WAIT


Work = Callable[[int, Tether], int]
"""Does the work in the child: (number from 0, tether) -> exit code."""


def supervise(count: int, work: Work, changed: Callable[[Sequence[int]], None]) -> int:
    """Run so many workers until SIGTERM or SIGINT; the exit code.

    changed: called with the process ids once all serve, and again after each restart. A worker that ends before all have served for the
    first time ends everything, with its exit code: nothing would become better by trying again.
    Must be called before this process has any thread.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    alive, hold = os.pipe()
    workers = [_Worker(n) for n in range(count)]
    try:
        for worker in workers:
            _start(worker, work, alive, hold)
        code = _watch(workers, work, changed, alive, hold)
        _stop(workers)
        return code
    finally:
        os.close(alive)
        os.close(hold)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _watch(workers: list[_Worker], work: Work, changed: Callable[[Sequence[int]], None], alive: int, hold: int) -> int:
    told = False
    due: dict[int, float] = {}
    while True:
        caught = signal.sigtimedwait(SIGNALS, TICK)
        if caught is not None and caught.si_signo != signal.SIGCHLD:
            return 0
        news = _reports(workers)
        for worker, status in _dead(workers):
            if not told:
                return status or 1
            lived = time.monotonic() - worker.started
            worker.wait = FIRST_WAIT if lived > YOUNG else min(2 * worker.wait, LONGEST_WAIT)
            _log.error(
                "a worker ended", worker=worker.number + 1, code=status, lived=round(lived, 1), again_in=worker.wait
            )
            due[worker.number] = time.monotonic() + worker.wait
        for number in [n for n, at in due.items() if at <= time.monotonic()]:
            del due[number]
            _start(workers[number], work, alive, hold)
        if (news or not told) and all(w.ready for w in workers):
            changed([w.pid for w in workers])
            told = True


def _start(worker: _Worker, work: Work, alive: int, hold: int) -> None:
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
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
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    if worker.report >= 0:
        os.close(worker.report)
    worker.pid, worker.report, worker.ready, worker.started = pid, reading, False, time.monotonic()


def _reports(workers: list[_Worker]) -> bool:
    """Whether another worker has told that it serves."""
    news = False
    waiting = {w.report: w for w in workers if w.report >= 0 and not w.ready}
    for fd in select.select(list(waiting), [], [], 0)[0]:
        worker = waiting[fd]
        if os.read(fd, 1):
            worker.ready = news = True
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
