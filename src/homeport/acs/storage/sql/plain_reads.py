"""The reads that need nothing but the database and are the same in both: one named query each."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from homeport.acs.records import Document, FileRecord, LeaseRecord, TaskRecord, TokenRecord
from homeport.acs.storage.interface import Page, SessionChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import read, readable

Row = Sequence[Any]

LAST: Final = "\U0010ffff"
"""Sorts behind every id and name: the cursor of a first page."""


class PlainReads:
    """What they promise stands in the interface."""

    async def _settled(self, *, histories: bool = False) -> None:
        """Return when all that was given to `later` can be read. histories: sessions too, which may wait longer than all else."""
        raise NotImplementedError

    async def _fetch(self, query: str, *values: Any) -> Sequence[Row]:
        """The rows of a query. Raises StoreError."""
        raise NotImplementedError

    async def _fetch_one(self, query: str, *values: Any) -> Row | None:
        found = await self._fetch(query, *values)
        return found[0] if found else None

    async def _page(self, query: str, decode: Callable[[bytes], Any], what: str, limit: int, *values: Any) -> Page:
        found = await self._fetch(query, *values, limit + 1)
        items = readable(decode, (row[1] for row in found[:limit]), what)
        return Page(tuple(items), found[limit - 1][0] if len(found) > limit else None)

    # --- tasks ---

    async def task(self, id: str) -> TaskRecord | None:
        await self._settled()
        row = await self._fetch_one("task", id)
        return read(rows.task, row[0], f"the task {id}") if row is not None else None

    # --- sessions that another process may continue ---

    async def lease(self, cookie: str) -> LeaseRecord | None:
        row = await self._fetch_one("lease", cookie)
        return rows.lease(row) if row is not None else None

    async def leases_at(self, host: str) -> Sequence[LeaseRecord]:
        return [rows.lease(row) for row in await self._fetch("leases_at", host)]

    # --- histories ---

    async def sessions_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        await self._settled(histories=True)
        return await self._page("sessions_of", rows.session, "a session", limit, device, cursor or LAST)

    async def session(self, id: str) -> SessionChange | None:
        await self._settled(histories=True)
        row = await self._fetch_one("session", id)
        if row is None:
            return None
        what = f"the session {id}"
        return SessionChange(read(rows.session, row[0], what), read(rows.unpack_messages, row[1], what))

    async def events_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        await self._settled()
        return await self._page("events_of", rows.event, "an event", limit, device, cursor or LAST)

    async def faults(self, *, device: str | None, limit: int, cursor: str | None) -> Page:
        await self._settled()
        if device is None:
            return await self._page("faults", rows.fault, "a fault", limit, cursor or LAST)
        return await self._page("faults_of", rows.fault, "a fault", limit, device, cursor or LAST)

    # --- access, files, documents ---

    async def token(self, digest: str) -> TokenRecord | None:
        row = await self._fetch_one("token", digest)
        return rows.token(row[0]) if row is not None else None

    async def token_named(self, name: str) -> TokenRecord | None:
        row = await self._fetch_one("token_named", name)
        return rows.token(row[0]) if row is not None else None

    async def tokens(self) -> Sequence[TokenRecord]:
        return [rows.token(row[0]) for row in await self._fetch("tokens")]

    async def file(self, name: str) -> FileRecord | None:
        row = await self._fetch_one("file", name)
        return rows.file(row[0]) if row is not None else None

    async def files(self, *, limit: int, cursor: str | None = None) -> Page:
        return await self._page("files_by_name", rows.file, "a file", limit, cursor or "")

    async def document(self, kind: str, name: str) -> Document | None:
        await self._settled()
        row = await self._fetch_one("document", kind, name)
        return rows.document(row) if row is not None else None

    async def documents(
        self, kind: str, *, limit: int, cursor: str | None = None, youngest: bool = False, due: float | None = None
    ) -> Page:
        await self._settled()
        if due is not None:
            found = await self._fetch("due_documents", kind, due, limit)
            return Page(tuple(rows.document(row) for row in found), None)
        query, start = ("youngest_documents", LAST) if youngest else ("documents", "")
        return rows.document_page(await self._fetch(query, kind, cursor or start, limit + 1), limit)

    async def document_count(self, kind: str, limit: int) -> int:
        await self._settled()
        return int((await self._fetch("document_count", kind, limit))[0][0])

    async def due_since(self, kind: str, count: int) -> float | None:
        await self._settled()
        found = await self._fetch("due_since", kind, count - 1)
        return float(found[0][0]) if len(found) > 1 else None
