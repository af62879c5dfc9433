"""The one thread that writes: it takes units from a queue, writes as many as wait in one transaction, then tells who waits.

While the disk works on one group the next one gathers, so the cost of a durable commit is shared by all devices of the moment.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from homeport.acs.storage.interface import Conflict
from homeport.acs.storage.sql.merging import Merger
from homeport.acs.storage.sql.moving import move_rows
from homeport.errors import StoreError, StoreUnavailable

MAX_GROUP: Final = 512
"""Units in one transaction: beyond this the waiting grows and the cost per unit no longer falls."""

GATHER: Final = 0.003
"""Seconds that a group waits for more while several sessions commit at once: a fifth of the transactions, for a time nobody notices."""


class Mode(IntEnum):
    """How a statement is run."""

    ONE = 0
    MANY = 1  # parameters are a list of rows
    EXPECT = 2  # must change exactly one row, else the unit is in conflict
    MERGE = 3  # no SQL: the parameters are a ValuesChange, merged with what is stored
    MOVE = 4  # no SQL: the parameters are the old and the new id of a device


class Statement(NamedTuple):
    """conflict: what to tell where Mode.EXPECT finds no row."""

    mode: Mode
    sql: str
    values: Any
    conflict: str = ""


Done = Callable[[BaseException | None], None]


class _Job(NamedTuple):
    statements: Sequence[Statement]
    done: Done | None


class Writer:
    """Owns the writing connection. `submit` from the event loop; answers come back on it."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], loop: asyncio.AbstractEventLoop) -> None:
        self.trouble: str | None = None
        self.groups = 0
        self.units = 0
        self._connect = connect
        self._loop = loop
        self._merger: Merger  # made by the thread, as its connection
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="homeport-store-writer", daemon=True)

    def start(self) -> None:
        """Begin to take units."""
        self._thread.start()

    def submit(self, statements: Sequence[Statement], done: Done | None) -> None:
        """Write the statements, all or nothing; then call `done` on the loop with None or with what went wrong."""
        self._jobs.put(_Job(statements, done))

    def stop(self) -> None:
        """Write what waits, close, and return when the thread has ended."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        connection = self._connect()
        self._merger = Merger(connection)
        crowded = False
        try:
            while True:
                job = self._jobs.get()
                if job is None:
                    return
                if crowded:
                    time.sleep(GATHER)
                group, last = [job], False
                while len(group) < MAX_GROUP:
                    try:
                        more = self._jobs.get_nowait()
                    except queue.Empty:
                        break
                    if more is None:
                        last = True
                        break
                    group.append(more)
                crowded = len(group) > 1
                self._tell(group, self._write(connection, group))
                if last:
                    return
        finally:
            connection.close()

    def _write(self, connection: sqlite3.Connection, group: list[_Job]) -> list[BaseException | None]:
        """What became of each unit of the group."""
        answers: list[BaseException | None] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            if self._together(connection, group):
                answers += [None] * len(group)
            else:
                answers += [self._unit(connection, job.statements) for job in group]
            connection.execute("COMMIT")
        except sqlite3.Error as e:
            self._merger.forget()
            self._undo(connection)
            error = self._translated(e)
            if isinstance(error, StoreUnavailable):
                self.trouble = str(error)
            return [error] * len(group)
        self.trouble = None
        self.groups += 1
        self.units += len(group)
        return answers

    def _together(self, connection: sqlite3.Connection, group: list[_Job]) -> bool:
        """Whether all units fitted, as they nearly always do; else nothing is written, and each is tried by itself."""
        try:
            for job in group:
                for statement in job.statements:
                    self._run_one(connection, statement)
        except (StoreError, sqlite3.IntegrityError):
            self._merger.forget()
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            return False
        return True

    def _unit(self, connection: sqlite3.Connection, statements: Sequence[Statement]) -> BaseException | None:
        """None, or why this unit alone was taken back. Errors of the medium go on to the whole group."""
        connection.execute("SAVEPOINT unit")
        try:
            for statement in statements:
                self._run_one(connection, statement)
        except (StoreError, sqlite3.IntegrityError) as e:
            self._merger.forget()
            connection.execute("ROLLBACK TO unit")
            connection.execute("RELEASE unit")
            return e if isinstance(e, StoreError) else Conflict(f"the row does not fit to what is stored: {e}")
        connection.execute("RELEASE unit")
        return None

    def _run_one(self, connection: sqlite3.Connection, statement: Statement) -> None:
        if statement.mode is Mode.MERGE:
            self._merger.merge(statement.values)
            return
        if statement.mode is Mode.MANY:
            connection.executemany(statement.sql, statement.values)
            return
        if statement.mode is Mode.MOVE:
            move_rows(connection, *statement.values)
            return
        cursor = connection.execute(statement.sql, statement.values)
        if statement.mode is Mode.EXPECT and cursor.rowcount != 1:
            raise Conflict(statement.conflict)

    @staticmethod
    def _undo(connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # SQLite has rolled back by itself after such an error; the next BEGIN shows whether it works

    @staticmethod
    def _translated(e: sqlite3.Error) -> StoreError:
        if isinstance(e, sqlite3.OperationalError | sqlite3.DatabaseError) and not isinstance(
            e, sqlite3.ProgrammingError
        ):
            return StoreUnavailable(f"the database does not take writes now: {e}; free disk space or end what locks it")
        return StoreError(f"the database refused a statement: {e}")

    def _tell(self, group: list[_Job], answers: list[BaseException | None]) -> None:
        waiting = [(job.done, answer) for job, answer in zip(group, answers, strict=True) if job.done is not None]
        if not waiting:
            return

        def tell() -> None:
            for done, answer in waiting:
                done(answer)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            pass  # the loop has ended; nobody waits any more
