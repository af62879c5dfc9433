"""The reads of the SQLite store that need nothing but the database: one query each."""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from homeport.acs.records import CredentialRecord, Document, FileRecord, LeaseRecord, TaskRecord, TokenRecord
from homeport.acs.slices import in_slices
from homeport.acs.storage.interface import Page, SessionChange, TaskFilter
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import read, readable
from homeport.acs.storage.sql.queries import QUERIES
from homeport.acs.storage.sql.task_lists import LAST, rows_of_tasks, task_page, until_full
from homeport.errors import StoreUnavailable


class SqliteReads:
    """Point reads on one connection, on the event loop: they take microseconds. What they promise stands in the interface."""

    _read: sqlite3.Connection
    _search: sqlite3.Connection
    _pool: ThreadPoolExecutor | None

    async def _settled(self) -> None:
        """Return when all that was given to `later` can be read."""
        raise NotImplementedError

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

    async def task(self, id: str) -> TaskRecord | None:
        await self._settled()
        row = self._one("task", id)
        return read(rows.task, row[0], f"the task {id}") if row is not None else None

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

    async def lease(self, cookie: str) -> LeaseRecord | None:
        row = self._one("lease", cookie)
        return rows.lease(row) if row is not None else None

    async def leases_at(self, host: str) -> Sequence[LeaseRecord]:
        return [rows.lease(row) for row in self._all("leases_at", host)]

    async def take_lease(self, lease: LeaseRecord) -> bool:
        return await self.lease(lease.cookie) == lease

    def _page(self, query: str, decode: Any, what: str, limit: int, *values: Any) -> Page:
        found = self._all(query, *values, limit + 1)
        items = readable(decode, (row[1] for row in found[:limit]), what)
        return Page(tuple(items), found[limit - 1][0] if len(found) > limit else None)

    async def sessions_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        await self._settled()
        return self._page("sessions_of", rows.session, "a session", limit, device, cursor or LAST)

    async def session(self, id: str) -> SessionChange | None:
        await self._settled()
        row = self._one("session", id)
        if row is None:
            return None
        what = f"the session {id}"
        return SessionChange(read(rows.session, row[0], what), read(rows.unpack_messages, row[1], what))

    async def faults(self, *, device: str | None, limit: int, cursor: str | None) -> Page:
        await self._settled()
        if device is None:
            return self._page("faults", rows.fault, "a fault", limit, cursor or LAST)
        return self._page("faults_of", rows.fault, "a fault", limit, device, cursor or LAST)

    async def document(self, kind: str, name: str) -> Document | None:
        await self._settled()
        row = self._one("document", kind, name)
        return rows.document(row) if row is not None else None

    async def documents(
        self, kind: str, *, limit: int, cursor: str | None = None, youngest: bool = False, due: float | None = None
    ) -> Page:
        await self._settled()
        if due is not None:
            return Page(tuple(rows.document(row) for row in self._all("due_documents", kind, due, limit)), None)
        query, start = ("youngest_documents", LAST) if youngest else ("documents", "")
        return rows.document_page(self._all(query, kind, cursor or start, limit + 1), limit)

    async def document_count(self, kind: str, limit: int) -> int:
        await self._settled()
        row = self._one("document_count", kind, limit)
        return int(row[0]) if row is not None else 0

    async def due_since(self, kind: str, count: int) -> float | None:
        await self._settled()
        found = self._all("due_since", kind, count - 1)
        return float(found[0][0]) if len(found) > 1 else None

    async def events_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        await self._settled()
        return self._page("events_of", rows.event, "an event", limit, device, cursor or LAST)

    async def credential(self, username: str) -> CredentialRecord | None:
        row = self._one("credential", username)
        return rows.credential(row[0]) if row is not None else None

    async def credential_of(self, device: str) -> CredentialRecord | None:
        row = self._one("credential_of", device)
        return rows.credential(row[0]) if row is not None else None

    async def token(self, digest: str) -> TokenRecord | None:
        row = self._one("token", digest)
        return rows.token(row[0]) if row is not None else None

    async def token_named(self, name: str) -> TokenRecord | None:
        row = self._one("token_named", name)
        return rows.token(row[0]) if row is not None else None

    async def tokens(self) -> Sequence[TokenRecord]:
        return [rows.token(row[0]) for row in self._all("tokens")]

    async def file(self, name: str) -> FileRecord | None:
        row = self._one("file", name)
        return rows.file(row[0]) if row is not None else None

    async def files(self, *, limit: int, cursor: str | None = None) -> Page:
        return self._page("files_by_name", rows.file, "a file", limit, cursor or "")
