"""What writes: as many units as wait go into one transaction, whose statements run on the event loop and whose COMMIT runs in a thread.

While the disk works on one group the next one gathers, so the cost of a durable commit is shared by all devices of the moment. The
statements only touch pages in memory and take microseconds each; in a thread they would fight with the event loop for the interpreter
at every step of theirs, which costs more than they do. What may take long is marked, and runs in the thread whole.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol

import structlog

from homeport.acs.storage.interface import Conflict, Done
from homeport.acs.storage.sql.bulk import PreparedChange
from homeport.acs.storage.sql.merging import Merger, TakesLong
from homeport.acs.storage.sql.moving import move_rows
from homeport.errors import StoreError, StoreUnavailable

MAX_GROUP: Final = 128
"""Units in one transaction: their statements hold the event loop up, for some 5 ms at most."""

MANY_ROWS: Final = 256
"""Rows of one statement that still run on the event loop."""

GATHER: Final = 0.003
"""Seconds that a group waits for more while several sessions commit at once: a fifth of the transactions, for a time nobody notices."""

LATE: Final = 0.02
"""Seconds after which is written what nobody waits for."""

_RETRY: Final = 0.002
"""Seconds between two looks whether another program still holds the database (a backup, another worker)."""


_log = structlog.get_logger("homeport.acs.store")


class Mode(IntEnum):
    """How a statement is run."""

    ONE = 0
    MANY = 1  # parameters are a list of rows
    EXPECT = 2  # must change exactly one row, else the unit is in conflict
    MERGE = 3  # no SQL: the parameters are a ValuesChange, merged with what is stored
    MOVE = 4  # no SQL: the parameters are the old and the new id of a device
    LONG = 5  # as ONE, for what may take long
    MADE = 6  # as ONE, with parameters that were made of the cache


class Source(Protocol):
    """What parameters were made of. spoilt: what it is made of has failed, so it holds what is on no disk, and never will be."""

    spoilt: bool


class Statement(NamedTuple):
    """conflict: what to tell where Mode.EXPECT finds no row. source: what Mode.MADE has its parameters of.

    again: writes the same on this connection from what is on the disk, for Mode.MADE with a spoilt source.
    """

    mode: Mode
    sql: str
    values: Any
    conflict: str = ""
    source: Source | None = None
    again: Callable[[sqlite3.Connection], None] | None = None


_MISFITS: Final = (
    *(StoreError, ValueError, TypeError, OverflowError),
    *(sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError),
)
"""What is wrong with one unit, and no fault of the medium."""

Answers = list[BaseException | None]


class _Job(NamedTuple):
    statements: Sequence[Statement]
    done: Done | None
    long: bool


class _Group(NamedTuple):
    """Units of one transaction. answers: what became of each, None where the thread has to run the statements, too."""

    jobs: list[_Job]
    answers: Answers | None


class Writer:
    """Owns the writing connection, which the event loop and the thread use in turns. All methods are for the event loop."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        loop: asyncio.AbstractEventLoop,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.trouble: str | None = None
        self.groups = 0
        self.units = 0
        self._connect = connect
        self._loop = loop
        self._before = before  # called on the loop when a group begins
        self._connection: sqlite3.Connection
        self._patience: float  # seconds that another program may hold the database before a unit fails
        self._merger: Merger
        self._waiting: deque[_Job] = deque()
        self._urgent = False  # somebody waits for one of them
        self._next: asyncio.Handle | None = None  # the beginning of the next group
        self._slow = False  # it is a late one
        self._running = False  # a group is with the thread
        self._crowded = False
        self._idle: asyncio.Future[None] | None = None  # who waits for the last group
        self._handed: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="homeport-store-writer", daemon=True)

    def start(self) -> None:
        """Begin to take units. Raises sqlite3.Error."""
        self._connection = self._connect()
        (milliseconds,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
        self._patience = milliseconds / 1000
        # On the event loop nothing is waited for; the thread waits by itself.
        self._connection.execute("PRAGMA busy_timeout = 0")
        self._merger = Merger(self._connection)
        self._thread.start()

    def submit(self, statements: Sequence[Statement], done: Done | None, *, urgent: bool = True) -> None:
        """Write the statements, all or nothing; then call `done` on the loop with None or with what went wrong.

        urgent: a device waits for it. Else it is written with the next group, after LATE at most.
        """
        self._waiting.append(_Job(statements, done, any([_is_long(s) for s in statements])))
        self._urgent = self._urgent or urgent
        self._arm()

    @property
    def still(self) -> bool:
        """Whether nothing is being written now."""
        return not self._running

    async def stop(self) -> None:
        """Write what waits, close, and return when the thread has ended."""
        while self._waiting or self._running:
            self._idle = self._loop.create_future()
            await self._idle
        self._handed.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._connection.close()

    # --- on the event loop ---

    def _arm(self) -> None:
        """See to it that the next group begins."""
        if self._running:
            return
        if self._next is not None:
            if not self._slow or not self._urgent:
                return
            self._next.cancel()
        self._slow = not self._urgent
        if self._slow:
            self._next = self._loop.call_later(LATE, self._begin)
        elif self._crowded:
            self._next = self._loop.call_later(GATHER, self._begin)
        else:
            self._next = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """The next group: into a transaction, and on to the thread."""
        self._next = None
        waiting = self._waiting
        jobs = [waiting.popleft()]
        if not jobs[0].long:
            while waiting and len(jobs) < MAX_GROUP and not waiting[0].long:
                jobs.append(waiting.popleft())
        self._crowded = len(jobs) > 1
        self._urgent = self._urgent and bool(waiting)
        self._running = True
        self._before()
        if jobs[0].long or not self._open():
            self._handed.put(_Group(jobs, None))
            return
        self._merger.patient = False
        try:
            try:
                fitted = self._together(jobs)
            except TakesLong:
                self._take_back()
                fitted = False
        except Exception as e:
            self._ended(jobs, self._failed(jobs, e))
            return
        self._handed.put(_Group(jobs, [None] * len(jobs) if fitted else None))

    def _open(self) -> bool:
        """Whether a transaction has begun; not where another program has the database, or nothing works: the thread finds out which."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            return False
        return True

    def _ended(self, jobs: list[_Job], answers: Answers) -> None:
        """The group is on the disk, or failed: who waits is told, and the next one begins."""
        self._running = False
        if self._waiting:
            self._arm()
        for job, answer in zip(jobs, answers, strict=True):
            if job.done is not None:
                try:
                    job.done(answer)
                except Exception:
                    _log.exception("what follows from a write has failed")  # the others are told all the same
        if self._idle is not None and not self._running and not self._waiting:
            idle, self._idle = self._idle, None
            if not idle.done():
                idle.set_result(None)

    # --- in the thread ---

    def _run(self) -> None:
        while (group := self._handed.get()) is not None:
            jobs, answers = group
            try:
                if answers is None:
                    answers = self._run_all(jobs)
                self._connection.execute("COMMIT")
            except Exception as e:
                answers = self._failed(jobs, e)  # also of a mistake of ours: the next group is to find its thread
            else:
                self.trouble = None
                self.groups += 1
                self.units += len(jobs)
            try:
                self._loop.call_soon_threadsafe(self._ended, jobs, answers)
            except RuntimeError:
                return  # the loop has ended; nobody waits any more

    def _wait_for_lock(self) -> None:
        """Begin a transaction as soon as no other program has the database. Raises sqlite3.Error."""
        until = time.monotonic() + self._patience
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                    raise
                time.sleep(_RETRY)
            else:
                return

    def _run_all(self, jobs: list[_Job]) -> Answers:
        """What became of each unit, in a new transaction. Raises sqlite3.Error where the medium does not work."""
        self._merger.patient = True
        self._wait_for_lock()
        if self._together(jobs):
            return [None] * len(jobs)
        self._wait_for_lock()
        answers: Answers = []
        for job in jobs:
            answer = self._unit(job.statements)
            if answer is not None:
                _spoil(job)  # now, for what stands behind it
            answers.append(answer)
        return answers

    # --- in either ---

    def _together(self, jobs: list[_Job]) -> bool:
        """Whether all units fitted, as they nearly always do; else the transaction is taken back, for each to be tried by itself."""
        try:
            for job in jobs:
                for statement in job.statements:
                    self._run_one(statement)
        except _MISFITS:
            self._take_back()
            return False
        return True

    def _take_back(self) -> None:
        self._merger.forget()
        self._connection.execute("ROLLBACK")

    def _unit(self, statements: Sequence[Statement]) -> BaseException | None:
        """None, or why this unit alone was taken back. Errors of the medium go on to the whole group."""
        execute = self._connection.execute
        execute("SAVEPOINT unit")
        try:
            for statement in statements:
                self._run_one(statement)
        except _MISFITS as e:
            self._merger.forget()
            execute("ROLLBACK TO unit")
            execute("RELEASE unit")
            if isinstance(e, sqlite3.IntegrityError):
                return Conflict(f"the row does not fit to what is stored: {e}")
            return e if isinstance(e, StoreError) else StoreError(f"a value cannot be stored: {e}")
        execute("RELEASE unit")
        return None

    def _run_one(self, statement: Statement) -> None:
        mode, sql, values, conflict, _, _ = statement
        if mode is Mode.MERGE:
            self._merger.merge(values)
        elif mode is Mode.MANY:
            self._connection.executemany(sql, values)
        elif mode is Mode.MOVE:
            move_rows(self._connection, *values)
        elif mode is Mode.MADE and statement.source is not None and statement.source.spoilt:
            if statement.again is not None:
                statement.again(self._connection)
        else:
            cursor = self._connection.execute(sql, values)
            if mode is Mode.EXPECT and cursor.rowcount != 1:
                raise Conflict(conflict)

    def _failed(self, jobs: list[_Job], e: Exception) -> Answers:
        """The medium does not work: the transaction is taken back, and no unit was written."""
        self._merger.forget()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back by itself after such an error; the next BEGIN shows whether it works
        for job in jobs:
            _spoil(job)
        error = _translated(e)
        if isinstance(error, StoreUnavailable):
            self.trouble = str(error)
        return [error] * len(jobs)


def _spoil(job: _Job) -> None:
    """The unit has failed: what its parameters were made of holds what it was to write, and what waits may be made of the same."""
    for statement in job.statements:
        if statement.source is not None:
            statement.source.spoilt = True


def _is_long(statement: Statement) -> bool:
    mode = statement.mode
    if mode is Mode.MERGE:
        return isinstance(statement.values, PreparedChange)
    return mode is Mode.MOVE or mode is Mode.LONG or (mode is Mode.MANY and len(statement.values) > MANY_ROWS)


def _translated(e: Exception) -> StoreError:
    if isinstance(e, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(e, sqlite3.ProgrammingError):
        return StoreUnavailable(f"the database does not take writes now: {e}; free disk space or end what locks it")
    return StoreError(f"the database refused a statement: {e}")
