"""All rows of a database, SQLite or PostgreSQL, read in one snapshot while the ACS works, or put into an empty one."""

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from homeport.acs.records import TaskRecord, due
from homeport.acs.storage.sql.fills import readable_task
from homeport.acs.storage.sql.postgres import MIGRATIONS, layout
from homeport.acs.storage.sql.postgres_link import BROKEN, SQL, Link, cleaned, farewell, safe_url, translated, unhurried
from homeport.acs.storage.sql.queries import QUERIES, migrations
from homeport.acs.storage.values import DAMAGED, pack_delta, unpack_paths, unpack_values
from homeport.errors import StoreError

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

BATCH: Final = 500
"""Rows that are in memory at once."""

Rows = AsyncGenerator[tuple[str, tuple[Any, ...]]]

Target = tuple[Callable[[str], Awaitable[bool]], Callable[[str, list[list[Any]]], Awaitable[None]]]
"""(whether a table has rows, put rows into it)."""


async def everything(database: Path | str, only: Collection[str] = TABLES) -> Rows:
    """All rows as (table, row), of one moment. only: of these tables. Raises StoreError."""
    if isinstance(database, Path):
        for item in _sqlite_rows(database, only):
            yield item
        return
    connection = await unhurried(await Link(database).connect())
    try:
        _known_layout(safe_url(database), await layout(connection), migrations(MIGRATIONS))
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            for table, columns in _columns(only):
                async for row in connection.cursor(f"SELECT {', '.join(columns)} FROM {table}", prefetch=BATCH):
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


def _columns(only: Collection[str]) -> list[tuple[str, tuple[str, ...]]]:
    return [(table, columns) for table, columns in TABLES.items() if table in only]


def _sqlite_rows(path: Path, only: Collection[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    with read_only(path) as connection:
        _known_layout(str(path), _user_version(connection), migrations())
        connection.execute("BEGIN")  # one snapshot: the write-ahead log keeps it while others write
        for table, columns in _columns(only):
            if table == "device_delta":
                yield from ((table, _plain_delta(*row)) for row in connection.execute(QUERIES["deltas"]))
                continue
            for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
                yield table, row


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """The file of a database, for reading alone. Raises StoreError, with the cure where it is damaged."""
    if not path.exists():
        raise StoreError(f"there is no database {path}; choose another with --data-dir or --database")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as e:
        damaged = getattr(e, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        cure = "; restore a backup into a new directory (homeport acs db restore)" if damaged else ""
        raise StoreError(f"cannot read {path}: {e}{cure}") from e


def _sqlite_layout(path: Path) -> int:
    if not path.exists():
        return 0
    with read_only(path) as connection:
        return _user_version(connection)


def _user_version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


async def has_layout(database: Path | str) -> bool:
    """Whether there is a database of Homeport already. Raises StoreError."""
    if isinstance(database, Path):
        return _sqlite_layout(database) > 0
    connection = await Link(database).connect()
    try:
        return await layout(connection) > 0
    except (asyncpg.PostgresError, *BROKEN) as e:
        raise StoreError(f"cannot read {safe_url(database)}: {translated(e)}") from e
    finally:
        await farewell(connection)


def _derived(task: TaskRecord | None) -> tuple[str, float | None, str]:
    # What is damaged comes along as it is, for the others' sake; `homeport acs db check` finds it.
    return (task.rpc, due(task), task.after or "") if task is not None else ("", None, "")


def _derived_for_nodes(task: TaskRecord | None) -> tuple[int, str, str]:
    """attempts, node, key."""
    return (task.attempts, "", cleaned(task.idempotency_key)) if task is not None else (0, "", "")


@asynccontextmanager
async def target(database: Path | str) -> AsyncIterator[Target]:
    """A database that is filled, within one transaction. Raises StoreError."""
    if isinstance(database, Path):
        async with _sqlite_target(database) as found:
            yield found
        return
    connection = await unhurried(await Link(database).connect())

    async def filled(table: str) -> bool:
        return bool(await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {table})"))

    async def put(table: str, batch: list[list[Any]]) -> None:
        columns = TABLES[table]
        if table == "task":
            columns = (*columns, *_DERIVED, "attempts", "node", "key")
            tasks = [readable_task(row[6]) for row in batch]
            batch = [[*r, *_derived(t), *_derived_for_nodes(t)] for r, t in zip(batch, tasks, strict=True)]
        await connection.copy_records_to_table(table, records=batch, columns=columns)

    try:
        async with connection.transaction():
            yield filled, put
            await connection.execute(SQL["forsake_all"])
            for table, key in (("device", "key"), ("path_list", "id")):
                await connection.execute(
                    f"SELECT setval(pg_get_serial_sequence('{table}', '{key}'), max({key})) FROM {table} HAVING max({key}) > 0"
                )
    except (asyncpg.PostgresError, *BROKEN) as e:
        raise StoreError(f"cannot fill {safe_url(database)}: {translated(e)}") from e
    finally:
        await farewell(connection)


@asynccontextmanager
async def _sqlite_target(path: Path) -> AsyncIterator[Target]:
    connection = sqlite3.connect(path, isolation_level=None)

    async def filled(table: str) -> bool:
        return bool(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0])

    async def put(table: str, batch: list[list[Any]]) -> None:
        columns = TABLES[table]
        if table == "task":
            columns = (*columns, *_DERIVED)
            batch = [[*row, *_derived(readable_task(row[6]))] for row in batch]
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", batch)

    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        yield filled, put
        connection.execute(QUERIES["forsake_all"])
        connection.execute("COMMIT")
    except sqlite3.Error as e:
        raise StoreError(f"cannot fill {path}: {e}") from e
    finally:
        connection.close()  # what was not committed is taken back
