"""The reads of the PostgreSQL store that need nothing but the database: one query each."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from homeport.acs.records import CredentialRecord, Document, FileRecord, LeaseRecord, TokenRecord
from homeport.acs.storage.interface import Page, SessionChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import read, readable
from homeport.acs.storage.sql.postgres_link import SQL, Link, Row

DEAD_AFTER: Final = 15.0
"""Seconds without a sign of life after which a node's tasks and sessions are taken over."""

LAST: Final = "\U0010ffff"
"""Sorts behind every id: the cursor of a first page."""


class PostgresReads:
    """On whichever connection is free. What they promise stands in the interface."""

    node: str
    _link: Link

    async def _settled(self, *, histories: bool = False) -> None:
        """Return when all that was given to `later` can be read. histories: sessions too, which wait longer than all else."""
        raise NotImplementedError

    async def _one(self, query: str, *values: Any) -> Row | None:
        found = await self._link.fetch(SQL[query], *values)
        return found[0] if found else None

    async def _page(self, query: str, decode: Callable[[bytes], Any], what: str, limit: int, *values: Any) -> Page:
        found = await self._link.fetch(SQL[query], *values, limit + 1)
        items = readable(decode, (row[1] for row in found[:limit]), what)
        return Page(tuple(items), found[limit - 1][0] if len(found) > limit else None)

    # --- sessions that another process may continue ---

    async def lease(self, cookie: str) -> LeaseRecord | None:
        row = await self._one("lease", cookie)
        return rows.lease(row) if row is not None else None

    async def leases_at(self, host: str) -> Sequence[LeaseRecord]:
        return [rows.lease(row) for row in await self._link.fetch(SQL["leases_at"], host)]

    async def take_lease(self, lease: LeaseRecord) -> bool:
        return bool(await self._link.fetch(SQL["take_lease"], lease.device, lease.session, lease.node, self.node))

    async def expired_leases(self, *, now: float, limit: int, living: Collection[str]) -> Sequence[LeaseRecord]:
        found = await self._link.fetch(SQL["expired_leases"], now, limit, list(living), self.node, DEAD_AFTER)
        return [rows.lease(row) for row in found]

    # --- histories ---

    async def sessions_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        await self._settled(histories=True)
        return await self._page("sessions_of", rows.session, "a session", limit, device, cursor or LAST)

    async def session(self, id: str) -> SessionChange | None:
        await self._settled(histories=True)
        row = await self._one("session", id)
        if row is None:
            return None
        what = f"the session {id}"
        return SessionChange(read(rows.session, row[0], what), read(rows.unpack_messages, row[1], what))

    async def due_since(self, kind: str, count: int) -> float | None:
        await self._settled()
        found = await self._link.fetch(SQL["due_since"], kind, count - 1)
        return float(found[0][0]) if len(found) > 1 else None

    async def events_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        await self._settled()
        return await self._page("events_of", rows.event, "an event", limit, device, cursor or LAST)

    async def faults(self, *, device: str | None, limit: int, cursor: str | None) -> Page:
        await self._settled()
        if device is None:
            return await self._page("faults", rows.fault, "a fault", limit, cursor or LAST)
        return await self._page("faults_of", rows.fault, "a fault", limit, device, cursor or LAST)

    # --- access, files, documents ---

    async def credential(self, username: str) -> CredentialRecord | None:
        row = await self._one("credential", username)
        return rows.credential(row[0]) if row is not None else None

    async def credential_of(self, device: str) -> CredentialRecord | None:
        row = await self._one("credential_of", device)
        return rows.credential(row[0]) if row is not None else None

    async def token(self, digest: str) -> TokenRecord | None:
        row = await self._one("token", digest)
        return rows.token(row[0]) if row is not None else None

    async def token_named(self, name: str) -> TokenRecord | None:
        row = await self._one("token_named", name)
        return rows.token(row[0]) if row is not None else None

    async def tokens(self) -> Sequence[TokenRecord]:
        return [rows.token(row[0]) for row in await self._link.fetch(SQL["tokens"])]

    async def file(self, name: str) -> FileRecord | None:
        row = await self._one("file", name)
        return rows.file(row[0]) if row is not None else None

    async def files(self, *, limit: int, cursor: str | None = None) -> Page:
        return await self._page("files_by_name", rows.file, "a file", limit, cursor or "")

    async def document(self, kind: str, name: str) -> Document | None:
        await self._settled()
        row = await self._one("document", kind, name)
        return rows.document(row) if row is not None else None

    async def documents(
        self, kind: str, *, limit: int, cursor: str | None = None, youngest: bool = False, due: float | None = None
    ) -> Page:
        await self._settled()
        if due is not None:
            found = await self._link.fetch(SQL["due_documents"], kind, due, limit)
            return Page(tuple(rows.document(row) for row in found), None)
        query, start = ("youngest_documents", LAST) if youngest else ("documents", "")
        return rows.document_page(await self._link.fetch(SQL[query], kind, cursor or start, limit + 1), limit)

    async def document_count(self, kind: str, limit: int) -> int:
        await self._settled()
        return int((await self._link.fetch(SQL["document_count"], kind, limit))[0][0])
