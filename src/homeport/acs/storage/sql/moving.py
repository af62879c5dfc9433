"""Rows that go from one device to another. Their records name the device inside, too, so each is read and written anew, in batches."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import DAMAGED
from homeport.acs.storage.sql.queries import QUERIES

BATCH: Final = 500
"""Rows that are in memory at once: a device may have a history of months."""

DECODERS: Final[dict[str, Callable[[Any], Any]]] = {
    "task": rows.task,
    "session": rows.session,
    "event": rows.event,
    "fault": rows.fault,
}
"""Tables with a row's id, its device and its record."""


def rewritten(table: str, found: Sequence[Any], device: str) -> list[tuple[str, bytes, str]]:
    """(device, record, id) of rows (id, record), as the device's own. What is damaged comes along as it is."""
    decode = DECODERS[table]
    encode = rows.pack_task if table == "task" else rows.encode

    def record_of(blob: bytes) -> bytes:
        try:
            return encode(replace(decode(blob), device=device))
        except DAMAGED:
            return blob

    return [(device, record_of(bytes(record)), id) for id, record in found]


def rewritten_files(found: Sequence[Any], old: str, new: str) -> list[tuple[str, bytes]]:
    """(name, record) of the files (record,) that the old device sent."""
    files = [rows.file(bytes(row[0])) for row in found]
    return [(file.name, rows.encode(replace(file, device=new))) for file in files if file.device == old]


def move_rows(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Histories, tasks, files and, where the new device has none, the credential; inside the writer's transaction."""
    execute, many = connection.execute, connection.executemany
    for table in DECODERS:
        while found := execute(QUERIES[f"{table}s_to_move"], (old, BATCH)).fetchall():
            many(QUERIES[f"move_{table}"], rewritten(table, found, new))
    many(QUERIES["put_file"], rewritten_files(execute(QUERIES["files"]).fetchall(), old, new))
    if execute(QUERIES["credential_of"], (new,)).fetchone() is None:
        own = execute(QUERIES["credential_of"], (old,)).fetchone()
        if own is not None:
            login = replace(rows.credential(own[0]), device=new)
            execute(QUERIES["put_credential"], (login.username, new, rows.encode(login)))
