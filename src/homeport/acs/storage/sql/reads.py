"""The reads of the SQLite store that need nothing but the database, on one connection."""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from homeport.acs.records import CredentialRecord, LeaseRecord, TaskRecord
from homeport.acs.slices import in_slices
from homeport.acs.storage.interface import Page, TaskFilter
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import readable
from homeport.acs.storage.sql.plain_reads import LAST, PlainReads, Row
from homeport.acs.storage.sql.queries import QUERIES
from homeport.acs.storage.sql.task_lists import rows_of_tasks, task_page, until_full
from homeport.errors import StoreUnavailable


class SqliteReads(PlainReads):
    """On the event loop: they take microseconds. What they promise stands in the interface."""

    _read: sqlite3.Connection
    _search: sqlite3.Connection
    _pool: ThreadPoolExecutor | None

    def _one(self, query: str, *values: Any) -> Any:
        try:
            return self._read.execute(QUERIES[query], values).fetchone()
        except sqlite3.Error as e:
            raise StoreUnavailable(f"the database does not answer now: {e}") from e

    def _all(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._read.execute(QUERIES[query], values).fetchall()
        except sqlite3.Error as e:
            raise StoreUnavailable(f"the database does not answer now: {e}") from e

    async def _fetch(self, query: str, *values: Any) -> Sequence[Row]:
        return self._all(query, *values)

    async def tasks_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        await self._settled()
        try:
            taken = until_full(self._read.execute(QUERIES["tasks_of"], (device, cursor or LAST, limit + 1)), limit)
        except sqlite3.Error as e:
            raise StoreUnavailable(f"the database does not answer now: {e}") from e
        return await in_slices(task_page(*taken))

    async def tasks(self, which: TaskFilter, *, limit: int, cursor: str | None) -> Page:
        await self._settled()
        assert self._pool is not None
        loop = asyncio.get_running_loop()
        taken = await loop.run_in_executor(self._pool, rows_of_tasks, self._search, which, limit, cursor)
        return await in_slices(task_page(*taken))

    async def due_tasks(self, *, now: float, limit: int) -> Sequence[TaskRecord]:
        return readable(rows.task, (row[0] for row in self._all("due_tasks", now, limit)), "a task")

    async def overdue_tasks(self, device: str) -> Sequence[TaskRecord]:
        return readable(rows.task, (row[0] for row in self._all("overdue_tasks", device)), "a task")

    async def interrupted_tasks(self, *, limit: int, now: float) -> Sequence[TaskRecord]:
        return readable(rows.task, (row[0] for row in self._all("interrupted_tasks", limit, now)), "a task")

    async def orphaned_tasks(self, *, since: str, limit: int) -> Sequence[TaskRecord]:
        return readable(rows.task, (row[0] for row in self._all("orphaned_tasks", since, limit)), "a task")

    async def take_lease(self, lease: LeaseRecord) -> bool:
        return await self.lease(lease.cookie) == lease

    async def credential(self, username: str) -> CredentialRecord | None:
        row = self._one("credential", username)
        return rows.credential(row[0]) if row is not None else None

    async def credential_of(self, device: str) -> CredentialRecord | None:
        row = self._one("credential_of", device)
        return rows.credential(row[0]) if row is not None else None
