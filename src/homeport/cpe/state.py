"""What is on disk before a reply leaves: one SQLite file in the state directory, changed by atomic commits.

SQLite was taken over a journal of our own because its commit is one call, its recovery after a power cut and its behaviour on a full
disk are tested by others, and it costs the agent 1 MB and 3 ms. WAL with synchronous=FULL: a commit that returned is on the disk.
Facts live in buckets of key and value (msgpack); which bucket belongs to whom is the table below.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from homeport.errors import StoreError, StoreUnavailable

FORMAT: Final = 1
"""Version of the layout, in SQLite's user_version; an older one is lifted by `_MIGRATIONS`, a newer one is refused."""

# Buckets of the core; other parts have their own. A factory reset empties all but IDENTITY.
IDENTITY: Final = "identity"  # serial number chosen here, and when; survives everything
MODEL: Final = "model"  # what the data model wants kept: values, attributes, instances, ParameterKey
EVENT: Final = "event"  # the queue's entries
COMMAND: Final = "command"  # accepted Reboot, FactoryReset, ScheduleInform
OWED: Final = "owed"  # requests owed to the ACS: TransferComplete and its kin
AGENT: Final = "agent"  # acknowledged URL, source of the URL, connection-request path, applied settings

_SCHEMA: Final = """
CREATE TABLE fact (bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID;
"""

_MIGRATIONS: Final[dict[int, str]] = {}
"""From format N to N+1: SQL run in one transaction."""

_SIZES: Final = ("page_count", "freelist_count", "page_size")

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class Store:
    """The state directory of one agent. Opening it locks it, so that two agents never share one."""

    def __init__(self, directory: Path) -> None:
        """Raises StoreError where the directory cannot be used, is another agent's, or is of a newer release."""
        self.directory = directory
        self._lock = -1
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            self._open()
        except OSError as e:
            self.close()
            raise StoreError(
                f"cannot use the state directory {directory}: {e.strerror}; choose another with --state-dir"
            ) from e
        except sqlite3.Error as e:
            self.close()
            raise _translated(e, directory) from e
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Give the directory free; safe to call twice."""
        connection: sqlite3.Connection | None = getattr(self, "_db", None)
        if connection is not None:
            connection.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def get(self, bucket: str, key: str, default: Any = None) -> Any:
        """One fact, or default."""
        try:
            row = self._db.execute("SELECT value FROM fact WHERE bucket = ? AND key = ?", (bucket, key)).fetchone()
        except sqlite3.Error as e:
            raise _translated(e, self.directory) from e
        return default if row is None else _unpack(row[0])

    def items(self, bucket: str) -> list[tuple[str, Any]]:
        """All facts of a bucket, in the order of their keys."""
        try:
            rows = self._db.execute("SELECT key, value FROM fact WHERE bucket = ? ORDER BY key", (bucket,)).fetchall()
        except sqlite3.Error as e:
            raise _translated(e, self.directory) from e
        return [(key, _unpack(value)) for key, value in rows]

    @property
    def size(self) -> int:
        """Bytes that the facts take, without free pages. Raises StoreError."""
        try:
            pages, free, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES)
        except sqlite3.Error as e:
            raise _translated(e, self.directory) from e
        return int((pages - free) * size)

    def check(self) -> str:
        """ "ok", or a sentence about what is broken in the database."""
        try:
            found = str(self._db.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.Error as e:
            return str(_translated(e, self.directory))
        return "ok" if found == "ok" else f"{self.directory / 'state.db'} is damaged: {found}"

    @contextmanager
    def transaction(self) -> Iterator["StoreTransaction"]:
        """All changes inside are on disk together when the block ends; none where it raises.

        Raises StoreUnavailable where the disk is full or fails: nothing is changed then.
        A block inside a block joins the outer one.
        """
        db = self._db
        if db.in_transaction:
            yield StoreTransaction(db)
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield StoreTransaction(self._db)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as e:
            raise _translated(e, self.directory) from e

    def _take_lock(self) -> None:
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            other = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            raise StoreError(
                f"another agent (process {other or 'unknown'}) uses {self.directory}; stop it or choose another --state-dir"
            ) from e
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _open(self) -> None:
        path = self.directory / "state.db"
        os.close(
            os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        )  # holds passwords; SQLite's side files inherit the mode
        self._db = sqlite3.connect(path, isolation_level=None, cached_statements=32)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-256", "wal_autocheckpoint=256"):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > FORMAT:
            raise StoreError(
                f"{path} was written by a newer release (format {version}, this one knows {FORMAT}); install that release again"
            )
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
            return
        for step in range(version, FORMAT):
            self._db.executescript(f"BEGIN; {_MIGRATIONS[step]} PRAGMA user_version = {step + 1}; COMMIT;")


class StoreTransaction:
    """Changes that belong together."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, bucket: str, key: str, value: Any) -> None:
        self._db.execute(
            "INSERT INTO fact VALUES (?, ?, ?) ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value",
            (bucket, key, _pack(value)),
        )

    def remove(self, bucket: str, key: str) -> None:
        self._db.execute("DELETE FROM fact WHERE bucket = ? AND key = ?", (bucket, key))

    def replace(self, bucket: str, facts: Iterable[tuple[str, Any]]) -> None:
        """Make these the bucket's only facts."""
        self.clear(bucket)
        self._db.executemany("INSERT INTO fact VALUES (?, ?, ?)", [(bucket, key, _pack(value)) for key, value in facts])

    def clear(self, bucket: str) -> None:
        self._db.execute("DELETE FROM fact WHERE bucket = ?", (bucket,))

    def clear_all_but(self, bucket: str) -> None:
        """Empty every other bucket, also those of parts that are not in use now."""
        self._db.execute("DELETE FROM fact WHERE bucket <> ?", (bucket,))


def _translated(error: sqlite3.Error, directory: Path) -> StoreError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return StoreUnavailable(f"the disk that holds {directory} is full; make room, the agent goes on by itself")
    if name.startswith(("SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_BUSY")):
        return StoreUnavailable(
            f"the state in {directory} cannot be written ({error}); check the disk and its permissions"
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreError(f"{directory / 'state.db'} is damaged ({error}); move it away to start with factory defaults")
    return StoreError(f"the state in {directory} failed: {error}")
