"""What single parameters of SQLite's devices are, for conditions: a search asks many devices for a few.

For the thread of searches. Of most devices the place of a path is known from their list, which many share; of one that has very many, its
list is not unpacked: in a thread, too, each long call of C would hold up the event loop.
"""

import sqlite3
from collections.abc import Callable
from typing import Final

import structlog

from homeport.acs.storage.sql.bulk import BULK_BYTES
from homeport.acs.storage.sql.damage import DAMAGED
from homeport.acs.storage.sql.queries import QUERIES
from homeport.acs.storage.value_pages import value_of
from homeport.acs.storage.values import MOST_LISTS, Column, Paths, unpack_column, unpack_paths

Lookup = Callable[[str], str | None]
"""path -> value."""

_log = structlog.get_logger("homeport.acs.store")

_NOTHING: Final[Lookup] = lambda path: None  # noqa: E731


class Lookups:
    """For one search. unpacked: the column of a delta and the number of its list."""

    def __init__(
        self, connection: sqlite3.Connection, unpacked: Callable[[bytes | None, int | None, sqlite3.Connection], Column]
    ) -> None:
        self._connection = connection
        self._unpacked = unpacked
        self._lists: dict[int, Paths] = {}

    def of(self, id: str) -> Lookup:
        """What gives the values of a device; nothing is read before it is asked."""
        found: Lookup | None = None

        def look(path: str) -> str | None:
            nonlocal found
            try:
                if found is None:
                    found = self._read(id)
                return found(path)
            except DAMAGED as e:
                _log.error("a search goes on without the values of a device", device=id, reason=str(e))
                found = _NOTHING
                return None

        return look

    def _read(self, id: str) -> Lookup:
        row = self._connection.execute(QUERIES["values"], (id,)).fetchone()
        if row is None:
            return _NOTHING
        path_list, blob, delta, form = row
        column = self._unpacked(delta, form, self._connection)
        told = dict(zip(column.paths.names, column.texts, strict=True))
        stored = self._stored(path_list, blob) if path_list is not None else _NOTHING

        def look(path: str) -> str | None:
            value = told.get(path)
            return value if value is not None else stored(path)

        return look

    def _stored(self, path_list: int, blob: bytes) -> Lookup:
        if len(blob) > BULK_BYTES:
            paths = self._list(path_list)
            return lambda path: value_of(paths, blob, path)
        known = self._lists.get(path_list)
        if known is None:
            if len(self._lists) >= MOST_LISTS:
                self._lists.clear()
            packed = self._list(path_list)
            known = self._lists[path_list] = Paths(unpack_paths(packed), packed)
        places, texts = known.places, unpack_column(blob)[0]

        def look(path: str) -> str | None:
            place = places.get(path)
            return texts[place] if place is not None else None

        return look

    def _list(self, id: int) -> bytes:
        return bytes(self._connection.execute(QUERIES["path_list"], (id,)).fetchone()[0])
