"""Values of a device that are read, changed and written back by the writer, inside its transaction.

So no session waits for the reading, and what is merged is what is stored, whatever other units of the group have written before.
"""

import sqlite3
from typing import Final

import msgspec

from homeport.acs.storage.interface import ValuesChange
from homeport.acs.storage.sql.bulk import PreparedChange, behind
from homeport.acs.storage.sql.queries import QUERIES
from homeport.acs.storage.values import MOST_LISTS, NO_PATHS, Column, Paths, unpack_paths
from homeport.errors import StoreError

LONG_BLOB: Final = 100_000
"""Bytes of a device's values, some 5,000 of them, from which on merging takes more than 10 ms."""

MOST_ROWS: Final = 200_000
"""Paths in all lists that are remembered."""


class TakesLong(Exception):
    """The unit is for the thread: on the event loop it would hold everybody up."""


class Merger:
    """Brings changes into `device_values`, on the writer's connection. patient: it may take long."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.patient = True
        self._connection = connection
        self._lists: dict[int, Paths] = {}
        self._rows = 0  # in all of them

    def merge(self, change: ValuesChange) -> None:
        """Write the change; nothing where the device is gone. Raises sqlite3.Error, StoreError, TakesLong."""
        execute = self._connection.execute
        row = execute(QUERIES["values_to_merge"], (change.device,)).fetchone()
        if row is None:
            return
        device, path_list, blob = row
        if isinstance(change, PreparedChange) and path_list == change.path_list and blob == change.vals:
            execute(QUERIES["put_values"], (device, self._stored(change.hash, change.paths), change.packed))
            return
        if not self.patient and blob is not None and len(blob) > LONG_BLOB:
            raise TakesLong
        before = self._paths(path_list) if path_list is not None else NO_PATHS
        try:
            column = Column(before, blob)
        except msgspec.MsgspecError as e:
            raise StoreError(f"the values of {change.device} cannot be read: {e}; run homeport acs db check") from e
        column.apply(behind(change, column.unpacked()) if isinstance(change, PreparedChange) else change)
        if column.paths is before and path_list is not None:
            execute(QUERIES["update_values"], (column.packed(), device))
        else:
            execute(QUERIES["put_values"], (device, self._id(column.paths), column.packed()))

    def forget(self) -> None:
        """A transaction was taken back, and with it perhaps a path list whose id the next one gets."""
        self._lists.clear()
        self._rows = 0

    def _paths(self, id: int) -> Paths:
        paths = self._lists.get(id)
        if paths is None:
            (blob,) = self._connection.execute(QUERIES["path_list"], (id,)).fetchone()
            paths = Paths(unpack_paths(blob), blob)
            if len(self._lists) >= MOST_LISTS or self._rows + len(paths.rows) > MOST_ROWS:
                self.forget()
            self._lists[id] = paths
            self._rows += len(paths.rows)
        return paths

    def _id(self, paths: Paths) -> int:
        return self._stored(paths.hash, paths.blob)

    def _stored(self, hash: bytes, blob: bytes) -> int:
        execute = self._connection.execute
        row = execute(QUERIES["path_list_id"], (hash,)).fetchone()
        if row is not None:
            return int(row[0])
        return int(execute(QUERIES["insert_path_list"], (hash, blob)).lastrowid or 0)
