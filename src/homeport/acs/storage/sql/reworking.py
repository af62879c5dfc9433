"""What a unit writes of a device, made of what is on the disk instead of the cache: where a unit before it has failed.

Nearly always a row is made on the event loop, of a device in the cache, and that is what will be on the disk when the units before have
been written. Where one of them fails, the rows behind it would bring its changes along: those are made here, inside the transaction.
"""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from homeport.acs.records import DeviceRecord
from homeport.acs.storage.interface import Patch, ValuesChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import DAMAGED, unreadable
from homeport.acs.storage.sql.queries import QUERIES
from homeport.acs.storage.values import column_of, pack_delta, unpack_delta, unpack_paths, unpack_values

Again = Callable[[sqlite3.Connection], None]


def patched(record: DeviceRecord, fields: Patch) -> DeviceRecord:
    """The device with these fields changed."""
    return replace(record, **(fields if isinstance(fields, dict) else fields(record)))


def patch_again(id: str, fields: Patch) -> Again:
    """Changes fields of a device that is stored; nothing where it is not. Raises StoreError where it is damaged."""
    return partial(_patch, id, fields)


def delta_again(change: ValuesChange) -> Again:
    """Brings a change into the stored delta of a device. Raises StoreError where it is damaged."""
    return partial(_tell, change)


def _patch(id: str, fields: Patch, connection: sqlite3.Connection) -> None:
    row = connection.execute(QUERIES["device"], (id,)).fetchone()
    if row is None:
        return
    try:
        record = rows.whole_device(row[-1], row[4]) or rows.device(row)
    except DAMAGED as e:
        raise unreadable(f"the device {id}", e) from e
    connection.execute(QUERIES["update_device"], rows.whole_row(patched(record, fields)))


def _tell(change: ValuesChange, connection: sqlite3.Connection) -> None:
    id = change.device
    row = connection.execute(QUERIES["delta_of"], (id,)).fetchone()
    if row is None:
        return
    try:
        delta = column_of(_unpacked(*row))
    except DAMAGED as e:
        raise unreadable(f"what {id} told lately", e) from e
    delta.tell(change)
    connection.execute(QUERIES["put_delta"], (pack_delta(delta.unpacked()), None, id))


def _unpacked(blob: bytes | None, paths: bytes | None) -> dict[str, Any]:
    if not blob:
        return {}
    return unpack_values(unpack_paths(paths), blob) if paths is not None else unpack_delta(blob)
