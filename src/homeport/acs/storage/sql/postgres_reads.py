"""The reads of the PostgreSQL store that need nothing but the database, on whichever connection is free."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from homeport.acs.records import CredentialRecord, LeaseRecord
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.plain_reads import PlainReads
from homeport.acs.storage.sql.postgres_link import SQL, Link, Row
from homeport.acs.storage.sql.postgres_together import Together

DEAD_AFTER: Final = 15.0
"""Seconds without a sign of life after which a node's tasks and sessions are taken over."""


class PostgresReads(PlainReads):
    """What they promise stands in the interface."""

    node: str
    _link: Link
    _logins: Together
    _own_logins: Together

    async def _fetch(self, query: str, *values: Any) -> Sequence[Row]:
        return await self._link.fetch(SQL[query], *values)

    async def credential(self, username: str) -> CredentialRecord | None:
        blob = await self._logins.get(username)
        return rows.credential(blob) if blob is not None else None

    async def credential_of(self, device: str) -> CredentialRecord | None:
        blob = await self._own_logins.get(device)
        return rows.credential(blob) if blob is not None else None

    async def take_lease(self, lease: LeaseRecord) -> bool:
        return bool(await self._link.fetch(SQL["take_lease"], lease.device, lease.session, lease.node, self.node))

    async def expired_leases(self, *, now: float, limit: int, living: Collection[str]) -> Sequence[LeaseRecord]:
        found = await self._link.fetch(SQL["expired_leases"], now, limit, list(living), self.node, DEAD_AFTER)
        return [rows.lease(row) for row in found]
