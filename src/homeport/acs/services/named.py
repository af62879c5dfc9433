"""Things of which there are few, known by a name that somebody has chosen: users, groups' logins, webhooks. One document each.

Two who change the same one at the same time do so one after the other: a change says which record it was made of.
"""

import re
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from homeport.acs.records import Document
from homeport.acs.services.hub import Invalid, NotFound
from homeport.acs.storage.interface import Conflict, DocumentChange, Store, UnitOfWork

T = TypeVar("T")


class Named(Generic[T]):
    """Those of one kind. kind: what one is called, and with an s their list. signs: what a name may have beside letters and digits."""

    def __init__(self, store: Store, kind: str, type: type[T], *, signs: str = "_.-") -> None:
        self._store = store
        self._kind = kind
        self._signs = signs
        self._name = re.compile(rf"[a-z0-9][a-z0-9{re.escape(signs)}]{{0,63}}")
        self._decode = msgspec.msgpack.Decoder(type).decode
        self._encode = msgspec.msgpack.Encoder().encode

    def check(self, name: str) -> None:
        """Raises Invalid where nothing can be called so."""
        if not self._name.fullmatch(name):
            raise Invalid(
                f"a {self._kind}'s name is 1 to 64 small letters, digits or {self._signs} and begins with a letter or digit"
            )

    async def all(self) -> list[T]:
        """All, by name."""
        found: list[T] = []
        cursor: str | None = None
        while True:
            page = await self._store.documents(self._kind, limit=500, cursor=cursor)
            found += [self._decode(d.record) for d in page.items]
            cursor = page.next
            if cursor is None:
                return found

    async def get(self, name: str) -> T:
        """The one of this name. Raises NotFound."""
        return self._decode((await self._document(name)).record)

    async def find(self, name: str) -> tuple[T, bytes] | None:
        """The one of this name, and its record; None where there is none."""
        found = await self._store.document(self._kind, name)
        return (self._decode(found.record), found.record) if found is not None else None

    def unit(self, name: str, record: T, *, expect: bytes) -> UnitOfWork:
        """What writes it. expect: the record that there is now; b"" for none."""
        unit = UnitOfWork()
        unit.documents.append(DocumentChange(Document(self._kind, name, self._encode(record)), expect=expect))
        return unit

    async def change(
        self, name: str, changed: Callable[[T], T], more: Callable[[UnitOfWork, T], None] = lambda unit, record: None
    ) -> T:
        """The one of this name, changed. more: puts what belongs to it into the same unit. Raises NotFound, StoreError.

        changed: may be called again, where somebody else has changed the same one in this moment.
        """
        while True:
            document = await self._document(name)
            new = changed(self._decode(document.record))
            unit = self.unit(name, new, expect=document.record)
            more(unit, new)
            try:
                await self._store.commit(unit)
                return new
            except Conflict:
                continue

    def gone(self, name: str) -> DocumentChange:
        """What takes it away."""
        return DocumentChange(Document(self._kind, name, b""), gone=True)

    async def remove(self, name: str) -> None:
        """Take it away. Raises NotFound."""
        await self._document(name)
        unit = UnitOfWork()
        unit.documents.append(self.gone(name))
        await self._store.commit(unit)

    async def _document(self, name: str) -> Document:
        found = await self._store.document(self._kind, name)
        if found is None:
            raise NotFound(f"there is no {self._kind} {name!r}; list them with GET {self._kind}s")
        return found
