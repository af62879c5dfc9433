"""Values of a device that are read, changed and written back by the writer, inside its transaction.

So no session waits for the reading, and what is merged is what is stored, whatever other units of the group have written before.
"""

import sqlite3

import msgspec

from homeport.acs.storage.interface import ValuesChange
from homeport.acs.storage.sql.bulk import PreparedChange, behind
from homeport.acs.storage.sql.queries import QUERIES
from homeport.acs.storage.values import MOST_LISTS, NO_PATHS, Column, Paths, unpack_paths
from homeport.errors import StoreError


class Merger:
    """Brings changes into `device_values`, on the writer's connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lists: dict[int, Paths] = {}

    def merge(self, change: ValuesChange) -> None:
        """Write the change; nothing where the device is gone. Raises sqlite3.Error, StoreError."""
        execute = self._connection.execute
        row = execute(QUERIES["values_to_merge"], (change.device,)).fetchone()
        if row is None:
            return
        device, path_list, blob = row
        if isinstance(change, PreparedChange) and path_list == change.path_list and blob == change.vals:
            execute(QUERIES["put_values"], (device, self._stored(change.hash, change.paths), change.packed))
            return
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

    def _paths(self, id: int) -> Paths:
        paths = self._lists.get(id)
        if paths is None:
            (blob,) = self._connection.execute(QUERIES["path_list"], (id,)).fetchone()
            if len(self._lists) >= MOST_LISTS:
                self._lists.clear()
            paths = self._lists[id] = Paths(unpack_paths(blob), blob)
        return paths

    def _id(self, paths: Paths) -> int:
        return self._stored(paths.hash, paths.blob)

    def _stored(self, hash: bytes, blob: bytes) -> int:
        execute = self._connection.execute
        row = execute(QUERIES["path_list_id"], (hash,)).fetchone()
        if row is not None:
            return int(row[0])
        return int(execute(QUERIES["insert_path_list"], (hash, blob)).lastrowid or 0)
