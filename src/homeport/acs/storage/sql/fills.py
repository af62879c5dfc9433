"""What migrations need of rows that SQL cannot read: columns that are taken out of packed records."""

import sqlite3
from typing import Any, Final

from homeport.acs.records import TaskRecord, due
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.queries import load
from homeport.acs.storage.values import DAMAGED

TASK_LISTS: Final = 7
"""The migration of PostgreSQL that gives tasks the columns `rpc` and `due`."""

FOLLOWERS: Final = 8
"""The one that gives them the column `waits_for`."""

_BATCH: Final = 500


def readable_task(blob: bytes) -> TaskRecord | None:
    """The task; None where its row is damaged."""
    try:
        return rows.task(bytes(blob))
    except DAMAGED:
        return None  # a damaged row is found by `homeport acs db check`; it must not keep the others from being used


def _rpc(blob: bytes) -> str:
    task = readable_task(blob)
    return task.rpc if task is not None else ""


def _due(blob: bytes) -> float | None:
    task = readable_task(blob)
    return due(task) if task is not None else None


def _after(blob: bytes) -> str:
    task = readable_task(blob)
    return task.after or "" if task is not None else ""


def offer(connection: sqlite3.Connection) -> None:
    """Give the connection the functions that the migrations of SQLite call."""
    connection.create_function("task_rpc", 1, _rpc, deterministic=True)
    connection.create_function("task_due", 1, _due, deterministic=True)
    connection.create_function("task_after", 1, _after, deterministic=True)


async def fill(connection: Any, number: int) -> None:
    """What this migration of PostgreSQL leaves to do, in its transaction. connection: asyncpg's."""
    if number not in (TASK_LISTS, FOLLOWERS):
        return
    from homeport.acs.storage.sql.postgres_link import cleaned  # it brings the driver, which SQLite does without

    last, open_only = "", "AND status IN ('queued', 'unknown')" if number == FOLLOWERS else ""
    while found := await connection.fetch(
        f"SELECT id, record FROM task WHERE id > $1 {open_only} ORDER BY id LIMIT $2", last, _BATCH
    ):
        if number == FOLLOWERS:
            facts = [(cleaned(_after(blob)), _due(blob), id) for id, blob in found]
            await connection.executemany("UPDATE task SET waits_for = $1, due = $2 WHERE id = $3", facts)
        else:
            facts = [(cleaned(_rpc(blob)), _due(blob), id) for id, blob in found]
            await connection.executemany("UPDATE task SET rpc = $1, due = $2 WHERE id = $3", facts)
        last = found[-1][0]
    if number == FOLLOWERS:
        await connection.execute(load("postgres.sql")["forsake_all"])
