"""Backups: all rows of a database, SQLite or PostgreSQL, in one file that either can be filled from.

The file is gzip over MessagePack: a head, then [table, row] for each row, then a foot with the counts, without which the file is
not whole.
"""

import contextlib
import gzip
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from homeport.acs.records import FileRecord
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.all_rows import BATCH, TABLES, everything, has_layout, read_only, target
from homeport.acs.storage.sql.postgres import PostgresStore
from homeport.acs.storage.sql.postgres_link import safe_url
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.storage.values import DAMAGED, unpack_column, unpack_delta, unpack_paths
from homeport.errors import StoreError
from homeport.transport.files.sink import sync_directory

FORMAT: Final = 3

_ROW_OR_FOOT: Final = msgspec.msgpack.Decoder(tuple[str, list[Any]] | dict[str, int]).decode
_DECODE: Final[dict[str, Callable[[Any], Any]]] = {
    "device": rows.device,
    "device_delta": lambda row: unpack_delta(row[1]),
    "task": lambda row: msgspec.to_builtins(rows.task(row[6]), enc_hook=list),
    "session": lambda row: (rows.session(row[3]), rows.unpack_messages(row[4])),
    "event": lambda row: rows.event(row[3]),
    "fault": lambda row: rows.fault(row[3]),
    "credential": lambda row: rows.credential(row[2]),
    "token": lambda row: rows.token(row[2]),
    "file": lambda row: rows.file(row[1]),
}


class Head(msgspec.Struct):
    """The first thing in a backup. made: seconds since 1970."""

    homeport_backup: int
    made: float


def store_of(database: Path | str) -> SqliteStore | PostgresStore:
    """The store of a file or URL."""
    return SqliteStore(database) if isinstance(database, Path) else PostgresStore(database)


def _name(database: Path | str) -> str:
    return str(database) if isinstance(database, Path) else safe_url(database)


async def backup(database: Path | str, file: Path) -> dict[str, int]:
    """Rows per table that went into the file, which is there whole or not at all. Raises StoreError."""
    counts = dict.fromkeys(TABLES, 0)
    encode = msgspec.msgpack.Encoder().encode
    file = _replaceable(file)
    temporary = file.with_name(file.name + ".new")
    try:
        with _private(temporary) as raw:
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=3) as out:
                _put(out, encode(Head(FORMAT, time.time())))
                async for table, row in everything(database):
                    _put(out, encode((table, row)))
                    counts[table] += 1
                _put(out, encode(counts))
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(file)
        with contextlib.suppress(OSError):  # not every file system knows how; the file is there, whole
            sync_directory(file.parent)
    except OSError as e:
        raise StoreError(f"cannot write the backup {file}: {e.strerror or e}; choose another place") from e
    finally:
        temporary.unlink(missing_ok=True)
    return counts


def _replaceable(file: Path) -> Path:
    """Where the backup goes: a link stays what it is, and a device is not replaced by a file. Raises StoreError."""
    file = file.resolve()
    if file.exists() and not file.is_file():
        raise StoreError(f"cannot write the backup {file}: it is there, and is no ordinary file; choose another place")
    return file


def _private(path: Path) -> IO[bytes]:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _put(out: gzip.GzipFile, body: bytes) -> None:
    out.write(len(body).to_bytes(4, "big") + body)


def read(file: Path, opened: IO[bytes] | None = None) -> Iterator[tuple[str, list[Any]]]:
    """The rows of a backup. Raises StoreError where it is none, or not whole: then only at the end.

    opened: the file, where it was opened by a user who may read it and not by the one who restores.
    """
    counts = dict.fromkeys(TABLES, 0)
    try:
        if opened is not None:
            opened.seek(0)
        with gzip.open(opened or file, "rb") as source:
            try:
                head = msgspec.msgpack.decode(_piece(source), type=Head)
            except msgspec.MsgspecError as e:
                raise StoreError(f"{file} is not a backup of Homeport: {e}") from e
            if head.homeport_backup > FORMAT:
                raise StoreError(f"{file} was written by a newer Homeport: restore it with that version")
            while True:
                found = _ROW_OR_FOOT(_piece(source))
                if isinstance(found, dict):
                    if source.read(1):  # to the very end, where the checksum is
                        raise StoreError(f"the backup {file} goes on behind its end; take another one")
                    break
                table, row = found
                if table not in counts:
                    raise StoreError(
                        f"{file} has rows of {table!r}, which this version does not know: restore it with a newer one"
                    )
                counts[table] += 1
                yield table, row
    except (OSError, EOFError, zlib.error, *DAMAGED) as e:
        raise StoreError(f"cannot read the backup {file}: {e}; take another one") from e
    if counts != found:
        raise StoreError(f"the backup {file} is not whole: it says {found} and holds {counts}")


def _piece(source: gzip.GzipFile) -> bytes:
    size = int.from_bytes(_exactly(source, 4), "big")
    return _exactly(source, size)


def _exactly(source: gzip.GzipFile, size: int) -> bytes:
    body = source.read(size)
    if len(body) != size:
        raise EOFError("it ends too early")
    return body


async def restore(database: Path | str, file: Path, opened: IO[bytes] | None = None) -> dict[str, int]:
    """Rows per table that the file brought into the database, which must be new or empty; all or nothing. Raises StoreError.

    opened: as in `read`.
    """
    for _ in read(file, opened):
        pass  # a file that is not whole is refused before anything is made
    if await has_layout(database):
        # What is there is not touched, its layout neither: nodes of an older version may be working on it.
        async with contextlib.aclosing(everything(database)) as items:
            async for table, _ in items:
                raise _not_empty(database, table)
    store = store_of(database)
    await store.open()
    await store.close()
    counts = dict.fromkeys(TABLES, 0)
    async with target(database) as (filled, put):
        for table in TABLES:
            if await filled(table):
                raise _not_empty(database, table)
        for table, batch in _batches(read(file, opened)):
            await put(table, batch)
            counts[table] += len(batch)
    return counts


def _not_empty(database: Path | str, table: str) -> StoreError:
    return StoreError(f"{_name(database)} is not empty: {table} has rows; restore into a new database")


def _batches(found: Iterable[tuple[str, list[Any]]]) -> Iterator[tuple[str, list[list[Any]]]]:
    name, batch = "", list[list[Any]]()
    for table, row in found:
        if batch and (table != name or len(batch) == BATCH):
            yield name, batch
            batch = []
        name = table
        batch.append(row)
    if batch:
        yield name, batch


async def migrate(database: Path | str) -> None:
    """Bring the layout up to date. Raises StoreError."""
    store = store_of(database)
    await store.open()
    await store.close()


async def check(database: Path | str) -> tuple[dict[str, int], list[str]]:
    """(rows per table, what is wrong): each row is read and unpacked, and SQLite's own checks are run."""
    counts, wrong = dict.fromkeys(TABLES, 0), list[tuple[str, Any, str]]()
    lengths: dict[int, int] = {}  # of the path lists
    async for table, row in everything(database):
        counts[table] += 1
        try:
            if table == "path_list":
                lengths[row[0]] = len(unpack_paths(row[2]))
            elif table == "device_values":
                _check_values(row, lengths)
            elif table in _DECODE:
                _DECODE[table](row)
        except Exception as e:  # whatever a broken blob raises is the finding
            wrong.append((table, row[1] if table == "device" else row[0], str(e)))
    by_key = ("device_values", "device_delta")
    ids = await _ids(database, {key for table, key, _ in wrong if table in by_key})
    named = [(table, ids.get(key, key) if table in by_key else key, why) for table, key, why in wrong]
    findings = [f"{table} {name}: cannot be read: {why}" for table, name, why in named]
    return counts, findings + (_sqlite_findings(database) if isinstance(database, Path) else [])


async def stored_files(database: Path | str) -> list[FileRecord]:
    """The files that there are rows of; what cannot be read, `check` tells. Raises StoreError."""
    found = []
    async with contextlib.aclosing(everything(database, ("file",))) as items:
        async for _, row in items:
            with contextlib.suppress(*DAMAGED):
                found.append(rows.file(row[1]))
    return found


async def _ids(database: Path | str, keys: set[int]) -> dict[int, str]:
    """The ids of devices with these keys, by which people know them."""
    found: dict[int, str] = {}
    if keys:
        async with contextlib.aclosing(everything(database)) as items:
            async for table, row in items:
                if table != "device":
                    break
                if row[0] in keys:
                    found[row[0]] = row[1]
    return found


def _check_values(row: tuple[Any, ...], lengths: dict[int, int]) -> None:
    """Raises where a device's values cannot be unpacked, or do not fit to their list of paths."""
    values, _ = unpack_column(row[2])
    if row[1] not in lengths:
        raise StoreError(f"the path list {row[1]} is not there, or damaged")
    if len(values) != lengths[row[1]]:
        raise StoreError(f"{len(values)} values for {lengths[row[1]]} paths of the list {row[1]}")


def _sqlite_findings(path: Path) -> list[str]:
    """What SQLite itself finds wrong in its file."""
    try:
        with read_only(path) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
            lost = connection.execute("PRAGMA foreign_key_check").fetchall()
    except StoreError as e:
        return [f"integrity: {e}"]
    wrong = [f"integrity: {text}" for (text,) in found if text != "ok"]
    return wrong + [f"{table} row {row} belongs to a {parent} that is not there" for table, row, parent, _ in lost]
