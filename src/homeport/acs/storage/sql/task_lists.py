"""The list of all devices' tasks: which query finds a page without looking at rows that are not in it."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from typing import Any, Final

from homeport.acs.records import TaskRecord, TaskStatus
from homeport.acs.slices import Work
from homeport.acs.storage.interface import MOST_BYTES, Page, TaskFilter
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import readable
from homeport.acs.storage.sql.plain_reads import LAST, Row
from homeport.acs.storage.sql.queries import QUERIES
from homeport.errors import StoreUnavailable

_PARAMETERS: Final = {"tasks_all": 4, "tasks_of_rpc": 5, "tasks_of_device": 6, "tasks_in_status": 5}
"""How many of (before, since, statuses, limit, method, device) a query takes."""


def query_for(which: TaskFilter) -> str:
    """The name of the query, in either database, whose index holds least beside what is wanted.

    A device has few tasks. What is not done is little beside what is. Else one method's tasks, or all, are gone through from the
    youngest on: nearly all of them are done, so a page is full soon.
    """
    if which.device:
        return "tasks_of_device"
    if which.statuses and TaskStatus.DONE not in which.statuses:
        return "tasks_in_status"
    return "tasks_of_rpc" if which.rpc else "tasks_all"


def until_full(found: Iterable[Row], limit: int) -> tuple[list[Row], bool]:
    """(rows of a page, whether there are more). found: rows (id, record), of which one more than `limit` was asked for."""
    taken: list[Row] = []
    size = 0
    for row in found:
        if len(taken) == limit or size >= MOST_BYTES:
            return taken, True
        taken.append(row)
        size += len(row[1])
    return taken, False


def task_page(taken: Sequence[Row], more: bool) -> Work[Page]:
    """The page of these rows, with rests: a thousand tasks with what they have read are 30 ms."""
    items: list[TaskRecord] = []
    for row in taken:
        items += readable(rows.task, (row[1],), "a task")
        yield None
    return Page(tuple(items), taken[-1][0] if more else None)


def rows_of_tasks(
    connection: sqlite3.Connection, which: TaskFilter, limit: int, cursor: str | None
) -> tuple[list[Row], bool]:
    """What `until_full` gives of SQLite; for a thread, because what is rare among many takes a while. Raises StoreUnavailable."""
    query, before, most = query_for(which), which.before(cursor, LAST), limit + 1

    def ask(statuses: str) -> Iterator[Row]:
        given = (before, which.since, statuses, most, which.rpc, which.device)
        return connection.execute(QUERIES[query], given[: _PARAMETERS[query]])

    try:
        if query == "tasks_in_status":
            parts = [ask(status.value) for status in which.statuses]
            return until_full(merge(*parts, key=lambda row: row[0], reverse=True), limit)
        return until_full(ask(f"|{'|'.join(sorted(which.statuses))}|" if which.statuses else ""), limit)
    except sqlite3.Error as e:
        raise StoreUnavailable(f"the database does not answer now: {e}") from e


def parameters(query: str, which: TaskFilter, limit: int, cursor: str | None) -> list[Any]:
    """What PostgreSQL's query takes."""
    statuses = sorted(which.statuses) or None
    given = [which.before(cursor, LAST), which.since, statuses, limit + 1, which.rpc, which.device]
    return given[: _PARAMETERS[query]]
