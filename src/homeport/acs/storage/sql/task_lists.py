"""The list of all devices' tasks: which query finds a page without looking at rows that are not in it."""

import sqlite3
from collections.abc import Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final

from homeport.acs.records import TaskStatus
from homeport.acs.storage.interface import Page, TaskFilter
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.queries import QUERIES
from homeport.errors import StoreUnavailable

LAST: Final = "\x7f"
"""Sorts behind every id: the cursor of a first page."""


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


def task_page(found: Sequence[Any], limit: int) -> Page:
    """A page of rows (id, record), of which one more than `limit` was asked for."""
    items = tuple(rows.task(row[1]) for row in found[:limit])
    return Page(items, items[-1].id if len(found) > limit else None)


def page_of_tasks(connection: sqlite3.Connection, which: TaskFilter, limit: int, cursor: str | None) -> Page:
    """One page from SQLite; for a thread, because what is rare among many takes a while. Raises StoreUnavailable."""
    query, before, most = query_for(which), which.before(cursor, LAST), limit + 1

    def ask(statuses: str) -> list[Any]:
        sql = QUERIES[query]
        given = (before, which.since, statuses, most, which.rpc, which.device)
        return connection.execute(sql, given[: _PARAMETERS[query]]).fetchall()

    try:
        if query == "tasks_in_status":
            parts = [ask(status.value) for status in which.statuses]
            found = list(islice(merge(*parts, key=lambda row: row[0], reverse=True), most))
        else:
            found = ask(f"|{'|'.join(sorted(which.statuses))}|" if which.statuses else "")
        return task_page(found, limit)
    except sqlite3.Error as e:
        raise StoreUnavailable(f"the database does not answer now: {e}") from e


def parameters(query: str, which: TaskFilter, limit: int, cursor: str | None, last: str) -> list[Any]:
    """What PostgreSQL's query takes."""
    statuses = sorted(which.statuses) or None
    given = [which.before(cursor, last), which.since, statuses, limit + 1, which.rpc, which.device]
    return given[: _PARAMETERS[query]]
