"""The audit log: who asked for which change, when, from where, and what came of it.

The row is on the disk before the change is tried, its outcome soon after; a row without an outcome tells of an ACS that died in between.
"""

import asyncio
from typing import Final

import msgspec
from msgspec.structs import replace

from homeport.acs.records import AuditRecord, Document, TokenRecord
from homeport.acs.services.hub import Hub
from homeport.acs.services.masking import masked_json
from homeport.acs.storage.interface import DocumentChange, UnitOfWork

KIND: Final = "audit"
MOST_SHOWN: Final = 2_000
"""Characters of a request's body that are kept."""

MOST_LOOKED_AT: Final = 5_000
"""Rows that are read for one page of those that fit: the log may hold a year."""

_PLAIN: Final = {"/api/v1/tasks/cancel": ("key",)}
"""Fields that are no secrets at one path: the key of a job is its name, and without it nobody knows which job was taken back."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AuditRecord).decode


class Audit:
    """The verbs of the audit log."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._store = hub.store

    async def asked(self, by: TokenRecord, *, address: str, method: str, path: str, body: bytes) -> AuditRecord:
        """Write down that somebody asks for a change, before it is tried. Raises StoreUnavailable: nothing is then changed."""
        record = AuditRecord(
            id=self._hub.new_id(),
            at=self._hub.clock(),
            by=by.user or by.name,
            scope=by.scope.value,
            address=address,
            method=method,
            path=path[:500],
            what=masked_json(body, plain=_PLAIN.get(path.partition("?")[0], ()))[:MOST_SHOWN],
        )
        await self._store.commit(_unit(record))
        return record

    def answered(self, record: AuditRecord, status: int) -> None:
        """Write down what came of it, soon."""
        self._store.later(_unit(replace(record, status=status)))

    async def page(
        self, *, by: str | None, path: str | None, limit: int, cursor: str | None
    ) -> tuple[list[AuditRecord], str | None]:
        """Rows, youngest first, and the cursor of the next page. by: of one user or token; path: whose path begins so.

        There may be fewer than `limit` and yet more behind them: one page looks at so many rows and no more.
        """
        found: list[AuditRecord] = []
        looked_at = 0
        while True:
            page = await self._store.documents(KIND, limit=500, cursor=cursor, youngest=True)
            for document in page.items:
                record = _decode(document.record)
                if (by is None or record.by == by) and (path is None or record.path.startswith(path)):
                    found.append(record)
                    if len(found) == limit:
                        more = document is not page.items[-1] or page.next is not None
                        return found, document.name if more else None
            cursor = page.next
            looked_at += len(page.items)
            if cursor is None or looked_at >= MOST_LOOKED_AT:
                return found, cursor
            await asyncio.sleep(0)

    async def prune(self) -> None:
        """Delete what is older than the settings keep."""
        days = self._hub.settings.keep_audit_days
        await self._store.forget_documents(KIND, due_before=self._hub.sure() - days * 86_400)


def _unit(record: AuditRecord) -> UnitOfWork:
    unit = UnitOfWork()
    unit.documents.append(DocumentChange(Document(KIND, record.id, _encode(record), record.at)))
    return unit
