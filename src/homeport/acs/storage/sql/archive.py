"""Backups: all rows of a database, SQLite or PostgreSQL, in one file that either can be filled from.

The file is gzip over MessagePack: a head, then [table, row] for each row, then a foot with the counts, without which the file is
not whole. Reading is one snapshot, while the ACS works.
"""

import gzip
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final

import asyncpg
import msgspec

from homeport.acs.records import due
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.postgres import MIGRATIONS, PostgresStore, layout
from homeport.acs.storage.sql.postgres_link import BROKEN, Link, farewell, safe_url, translated, unhurried
from homeport.acs.storage.sql.queries import QUERIES, migrations
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.storage.values import DAMAGED, pack_delta, unpack_delta, unpack_paths, unpack_values
from homeport.errors import StoreError

FORMAT: Final = 3

TABLES: Final = {
    "device": (
        *("key", "id", "state", "first_seen", "last_inform", "oui", "product_class", "serial_number", "manufacturer"),
        *("model", "software_version", "hardware_version", "provisioning_code", "address", "tags", "rest"),
    ),
    "path_list": ("id", "hash", "paths"),
    "device_values": ("device", "path_list", "vals"),
    "device_delta": ("device", "vals"),
    "task": ("id", "device", "status", "phase", "priority", "finished", "record"),
    "session": ("id", "device", "ended", "record", "messages"),
    "event": ("id", "device", "at", "record"),
    "fault": ("id", "device", "at", "record"),
    "credential": ("username", "device", "record"),
    "token": ("digest", "name", "record"),
    "file": ("name", "record"),
    "document": ("kind", "name", "due", "record"),
    "secret": ("name", "value"),
}
"""Columns that both databases have, in an order in which no row comes before one that it refers to."""

_DERIVED: Final = ("rpc", "due", "waits_for")
"""Columns of a task that both databases take out of its record."""

_BATCH: Final = 500
_DECODE: Final[dict[str, Callable[[Any], Any]]] = {
    "device": rows.device,
    "path_list": lambda row: unpack_paths(row[2]),
    "device_delta": lambda row: unpack_delta(row[1]),
    "task": lambda row: rows.task(row[6]),
    "session": lambda row: (rows.session(row[3]), rows.unpack_messages(row[4])),
    "event": lambda row: rows.event(row[3]),
    "fault": lambda row: rows.fault(row[3]),
    "credential": lambda row: rows.credential(row[2]),
    "token": lambda row: rows.token(row[2]),
    "file": lambda row: rows.file(row[1]),
}

Rows = AsyncIterator[tuple[str, tuple[Any, ...]]]


class Head(msgspec.Struct):
    """The first thing in a backup. made: seconds since 1970."""

    homeport_backup: int
    made: float


def store_of(database: Path | str) -> SqliteStore | PostgresStore:
    """The store of a file or URL."""
    return SqliteStore(database) if isinstance(database, Path) else PostgresStore(database)


def _name(database: Path | str) -> str:
    return str(database) if isinstance(database, Path) else safe_url(database)


async def everything(database: Path | str) -> Rows:
    """All rows as (table, row), of one moment. Raises StoreError."""
    if isinstance(database, Path):
        for item in _sqlite_rows(database):
            yield item
        return
    connection = await unhurried(await Link(database).connect())
    try:
        _known_layout(safe_url(database), await layout(connection), migrations(MIGRATIONS))
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            for table, columns in TABLES.items():
                async for row in connection.cursor(f"SELECT {', '.join(columns)} FROM {table}", prefetch=_BATCH):
                    yield table, tuple(row)
    except (asyncpg.PostgresError, *BROKEN) as e:
        raise StoreError(f"cannot read {safe_url(database)}: {translated(e)}") from e
    finally:
        await farewell(connection)


def _known_layout(name: str, found: int, steps: Sequence[tuple[int, str]]) -> None:
    """Raises StoreError where the rows are not laid out as this version knows them: it would miss some."""
    known = steps[-1][0]
    if found == 0:
        raise StoreError(f"there is no database of Homeport in {name}; choose another with --data-dir or --database")
    if found > known:
        raise StoreError(
            f"{name} was written by a newer Homeport (layout {found}, this one knows {known}): use that version"
        )
    if found < known:
        raise StoreError(
            f"{name} was written by an older Homeport (layout {found}, this one knows {known}):"
            " copy it, and bring it up to date by homeport acs db migrate"
        )


def _plain_delta(device: int, blob: bytes, paths: bytes | None) -> tuple[int, bytes]:
    """The row of a delta that names its paths itself, as both databases read it; a damaged one as it is."""
    if paths is None:
        return device, blob
    try:
        return device, pack_delta(unpack_values(unpack_paths(paths), blob))
    except DAMAGED:
        return device, blob


def _sqlite_rows(path: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    if not path.exists():
        raise StoreError(f"there is no database {path}; choose another with --data-dir or --database")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            _known_layout(str(path), int(found), migrations())
            connection.execute("BEGIN")  # one snapshot: the write-ahead log keeps it while others write
            for table, columns in TABLES.items():
                if table == "device_delta":
                    yield from ((table, _plain_delta(*row)) for row in connection.execute(QUERIES["deltas"]))
                    continue
                for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
                    yield table, row
        finally:
            connection.close()
    except sqlite3.DatabaseError as e:
        cure = "; restore a backup into a new directory (homeport acs db restore)" if _damaged(e) else ""
        raise StoreError(f"cannot read {path}: {e}{cure}") from e


def _damaged(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


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
                found = msgspec.msgpack.decode(_piece(source))
                if isinstance(found, dict):
                    break
                table, row = found
                counts[table] += 1
                yield table, row
    except (OSError, EOFError, msgspec.MsgspecError) as e:
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
    store = store_of(database)
    await store.open()
    await store.close()
    counts = dict.fromkeys(TABLES, 0)
    async with _target(database) as (count, put):
        for table in TABLES:
            if await count(table):
                raise StoreError(f"{_name(database)} is not empty: {table} has rows; restore into a new database")
        for table, batch in _batches(read(file, opened)):
            await put(table, batch)
            counts[table] += len(batch)
    return counts


def _batches(found: Iterable[tuple[str, list[Any]]]) -> Iterator[tuple[str, list[list[Any]]]]:
    name, batch = "", list[list[Any]]()
    for table, row in found:
        if batch and (table != name or len(batch) == _BATCH):
            yield name, batch
            batch = []
        name = table
        batch.append(row)
    if batch:
        yield name, batch


def _derived(row: list[Any]) -> tuple[str, float | None, str]:
    task = rows.task(row[6])
    return task.rpc, due(task), task.after or ""


@asynccontextmanager
async def _target(database: Path | str) -> AsyncIterator[tuple[Any, Any]]:
    """(count rows of a table, put rows into it), within one transaction."""
    if isinstance(database, Path):
        async with _sqlite_target(database) as target:
            yield target
        return
    connection = await unhurried(await Link(database).connect())

    async def count(table: str) -> int:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))

    async def put(table: str, batch: list[list[Any]]) -> None:
        columns = TABLES[table]
        if table == "task":
            columns = (*columns, *_DERIVED, "attempts", "node")
            batch = [[*row, *_derived(row), rows.task(row[6]).attempts, ""] for row in batch]
        await connection.copy_records_to_table(table, records=batch, columns=columns)

    try:
        async with connection.transaction():
            yield count, put
            await connection.execute(QUERIES["forsake_all"])
            for table, key in (("device", "key"), ("path_list", "id")):
                await connection.execute(
                    f"SELECT setval(pg_get_serial_sequence('{table}', '{key}'), max({key})) FROM {table} HAVING max({key}) > 0"
                )
    except (asyncpg.PostgresError, *BROKEN) as e:
        raise StoreError(f"cannot fill {safe_url(database)}: {translated(e)}") from e
    finally:
        await farewell(connection)


@asynccontextmanager
async def _sqlite_target(path: Path) -> AsyncIterator[tuple[Any, Any]]:
    connection = sqlite3.connect(path, isolation_level=None)

    async def count(table: str) -> int:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    async def put(table: str, batch: list[list[Any]]) -> None:
        columns = TABLES[table]
        if table == "task":
            columns = (*columns, *_DERIVED)
            batch = [[*row, *_derived(row)] for row in batch]
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", batch)

    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        yield count, put
        connection.execute(QUERIES["forsake_all"])
        connection.execute("COMMIT")
    except sqlite3.Error as e:
        raise StoreError(f"cannot fill {path}: {e}") from e
    finally:
        connection.close()  # what was not committed is taken back


async def migrate(database: Path | str) -> None:
    """Bring the layout up to date. Raises StoreError."""
    store = store_of(database)
    await store.open()
    await store.close()


async def check(database: Path | str) -> tuple[dict[str, int], list[str]]:
    """(rows per table, what is wrong): each row is read and unpacked, and SQLite's own checks are run."""
    counts, wrong = dict.fromkeys(TABLES, 0), list[str]()
    async for table, row in everything(database):
        counts[table] += 1
        decode = _DECODE.get(table)
        try:
            if decode is not None:
                decode(row)
        except Exception as e:  # whatever a broken blob raises is the finding
            wrong.append(f"{table} {row[1] if table == 'device' else row[0]}: cannot be read: {e}")
    if isinstance(database, Path):
        wrong += _sqlite_findings(database)
    return counts, wrong


def _sqlite_findings(path: Path) -> list[str]:
    """What SQLite itself finds wrong in its file."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            found = connection.execute("PRAGMA integrity_check").fetchall()
            lost = connection.execute("PRAGMA foreign_key_check").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as e:
        return [f"integrity: {e}"]
    wrong = [f"integrity: {text}" for (text,) in found if text != "ok"]
    return wrong + [f"{table} row {row} belongs to a {parent} that is not there" for table, row, parent, _ in lost]
