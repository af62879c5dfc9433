"""The SQLite store: standard sqlite3, write-ahead log, one writer with group commit (`writer`).

Point reads run on the event loop: they take microseconds and a thread hop would cost more. Searches run in a reader thread.
Devices that were heard of lately stay in a small cache, which also holds what is not on the disk yet.
"""

import asyncio
import contextlib
import secrets
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from homeport.acs.records import (
    NOTHING_TOLD,
    OPEN_STATUSES,
    DeviceRecord,
    LeaseRecord,
    StoredValue,
    TaskRecord,
    Told,
)
from homeport.acs.slices import in_slices
from homeport.acs.storage.interface import (
    SEARCH_SECONDS,
    Channel,
    Done,
    Figures,
    Page,
    UnitOfWork,
    ValuePage,
    ValuesChange,
)
from homeport.acs.storage.moves import held, united, unknown_values
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.bulk import (
    BULK_BYTES,
    PreparedChange,
    behind,
    is_bulk,
    is_long,
    packed_task,
    prepared,
    read_all,
)
from homeport.acs.storage.sql.damage import DAMAGED, readable, unreadable
from homeport.acs.storage.sql.fills import offer, readable_task
from homeport.acs.storage.sql.hot_devices import DELTA_MOST, Hot, HotDevices
from homeport.acs.storage.sql.lookups import Lookups
from homeport.acs.storage.sql.queries import QUERIES, migrations
from homeport.acs.storage.sql.reworking import delta_again, patch_again, patched
from homeport.acs.storage.sql.statements import plain_statements, task_statements, touched_by
from homeport.acs.storage.sql.where_sql import to_sql
from homeport.acs.storage.sql.writer import MANY_ROWS, Mode, Statement, Writer
from homeport.acs.storage.value_pages import PAGED_BYTES, cut, page_of
from homeport.acs.storage.values import (
    NO_PATHS,
    Column,
    PathList,
    apply_values,
    below,
    merged,
    unpack_paths,
    unpack_values,
)
from homeport.acs.where import Where
from homeport.errors import StoreError, StoreUnavailable

SMALL_CHANGE: Final = 32
"""Values in one change that still go to the delta; more are a refresh and go to the values at once."""

DELETED_AT_ONCE: Final = 500
"""Old rows that go in one transaction."""

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqliteStore(HotDevices):
    """One database file. write_behind: seconds. pragmas: further settings of every connection, for tests and tuning."""

    def __init__(
        self, path: Path, *, write_behind: float = 1.0, pragmas: Mapping[str, str | int] | None = None
    ) -> None:
        self.node = ""
        self.channel: Channel | None = None
        self._path = path
        self._pragmas = {
            "busy_timeout": 2_000,
            "foreign_keys": "ON",
            "synchronous": "FULL",  # an answered CPE has forgotten its events: they must survive a power cut, too
            "cache_size": -4_096,
            "temp_store": "MEMORY",
            "wal_autocheckpoint": 4_000,  # pages: what is written again and again goes to its place once
            **(pragmas or {}),
        }
        super().__init__(write_behind)
        self._paths: dict[int, PathList] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._search: sqlite3.Connection

    # --- life ---

    async def open(self) -> None:
        try:
            self._path.touch(mode=0o600)  # it holds connection request passwords
            connection = self._connect()
            connection.execute("PRAGMA journal_mode = WAL")
            self._migrate(connection)
            connection.close()
            self._read = self._connect()
            self._search = self._connect()
            self._rows = self._connect()
            self._cursor = self._rows.cursor()
        except (sqlite3.Error, OSError) as e:
            cure = ""
            if getattr(e, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                cure = "; it is damaged: put it aside and fill a new one from a backup, homeport acs db restore"
            raise StoreError(f"cannot open the database {self._path}: {e}{cure}") from e
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="homeport-store-search")
        self._writer = Writer(self._connect, asyncio.get_running_loop(), self._let_go)
        self._writer.start()
        self._arm()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=256)
        for name, value in self._pragmas.items():
            connection.execute(f"PRAGMA {name} = {value}")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        steps = migrations()
        if version > steps[-1][0]:
            raise StoreError(
                f"{self._path} was written by a newer Homeport (layout {version}, this one knows {steps[-1][0]}):"
                " install that version or restore a backup"
            )
        offer(connection)
        for number, script in steps:
            if number > version:
                connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending:
            with contextlib.suppress(StoreError):
                await self.flush()  # where one of them fails, what waits behind it may have to be written once more
        writer, self._writer = self._writer, None
        if writer is None or self._pool is None:
            return
        self._drain(writer)
        await writer.stop()
        self._pool.shutdown()
        self._read.close()
        self._search.close()
        self._rows.close()
        self._steady = False

    # --- writing ---

    async def commit(self, unit: UnitOfWork) -> None:
        for place, change in enumerate(unit.values):
            if is_bulk(change, unit.large):
                unit.values[place] = await self._prepared(change)
        for place, task in enumerate(unit.tasks):
            if is_long(task.record, unit.large):
                unit.tasks[place] = replace(task, packed=await in_slices(packed_task(task.record)))
        touched = touched_by(unit)
        while self._has_to_wait(unit, touched):
            await self.flush()
        writer = self._working()  # the store may have been closed meanwhile
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        statements = self._made(unit, touched)

        def done(error: BaseException | None) -> None:
            for _, new in unit.moved:
                self._read_anew(new)
            self._settle_all(touched, unit, error)
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        writer.submit(statements, done)
        await future

    def _has_to_wait(self, unit: UnitOfWork, touched: Collection[str]) -> bool:
        """Whether it is not known yet what the unit is to change: who goes may stay, and who is moved is united as on the disk."""
        pending = self._pending
        if any([id in pending or id in self._dirty for pair in unit.moved for id in pair]):
            return True
        return any([before.deleted_devices or before.moved for id in touched for before in pending.get(id, ())])

    async def _prepared(self, change: ValuesChange) -> ValuesChange:
        """A long change, merged with what is on the disk now."""
        path_list, paths, vals = await self._stored_blobs(change.device)
        return await in_slices(prepared(change, path_list, paths, vals))

    async def _stored_blobs(self, id: str) -> tuple[int | None, bytes | None, bytes | None]:
        """(path list's id, its blob, values) of a device; read in the thread, for they may be megabytes."""

        def read() -> tuple[int | None, bytes | None, bytes | None]:
            row = self._search.execute(QUERIES["values_to_merge"], (id,)).fetchone()
            if row is None or row[1] is None:
                return None, None, None
            (paths,) = self._search.execute(QUERIES["path_list"], (row[1],)).fetchone()
            return row[1], paths, row[2]

        assert self._pool is not None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, read)
        except sqlite3.Error as e:
            raise StoreUnavailable(f"the database does not answer now: {e}") from e

    def later(self, unit: UnitOfWork, done: Done | None = None) -> None:
        self._must_work()
        touched = touched_by(unit)
        statements = self._made(unit, touched)
        if not touched and done is None:
            self._deferred.append(statements)
            return

        def written(error: BaseException | None) -> None:
            self._leaving -= 1
            self._settle_all(touched, unit, error)
            if done is not None:
                done(error)

        self._leaving += 1
        self._working().submit(statements, written, urgent=False)

    def _made(self, unit: UnitOfWork, touched: Collection[str]) -> list[Statement]:
        """The unit as SQL. Where it has no written form, nothing of it stays in the cache."""
        before, self._making = self._making, True
        try:
            return self._statements(unit, touched)
        except BaseException:
            for id in touched:
                self._read_anew(id)  # it may have got into the cache in part
            raise
        finally:
            self._making = before

    def _statements(self, unit: UnitOfWork, touched: Collection[str]) -> list[Statement]:
        """The unit as SQL, with the cache brought to the state after it."""
        out: list[Statement] = []
        if self._dirty:
            for id in touched:
                self._send_first(id)
        for device in unit.devices:
            row, hot = rows.whole_row(device), self._load(device.id)
            if hot is None:
                hot = Hot(0, device, Column(NO_PATHS, None), spoilt=device.id in self._pending)
                self._hots[device.id] = hot
            out.append(Statement(Mode.ONE, QUERIES["insert_device"], row, source=hot))
        for id, fields in unit.patches:
            hot = self._load(id)
            if hot is not None:
                record = patched(hot.record, fields)
                row, again = rows.whole_row(record), patch_again(id, fields)
                out.append(Statement(Mode.MADE, QUERIES["update_device"], row, source=hot, again=again))
                hot.record, hot.seen_only = record, True
        for change in unit.values:
            hot = self._load(change.device)
            if hot is not None:
                out += self._values(hot, change)
        for task in unit.tasks:
            hot = self._load(task.record.device)
            if hot is not None:
                hot.tasks = _open_after(self._open_tasks(hot), task.record)
            out += task_statements(task.record, task.expect, task.packed, self._followers)
        out += plain_statements(unit)
        for old, new in unit.moved:
            out += self._move(old, new)
        out += [Statement(Mode.LONG, QUERIES["forsake_all_of"], (id,)) for id in unit.deleted_devices]
        for id in (*(old for old, _ in unit.moved), *unit.deleted_devices):
            self._hots.pop(id, None)
            out.append(Statement(Mode.ONE, QUERIES["delete_device_credentials"], (id,)))
            out.append(Statement(Mode.LONG, QUERIES["delete_device"], (id,)))
        for id in touched:
            self._pending.setdefault(id, []).append(unit)
        return out

    def _brought_in(self, hot: Hot | None, id: str, unit: UnitOfWork) -> Hot | None:
        if hot is None:
            made = next((device for device in unit.devices if device.id == id), None)
            hot = Hot(0, made, Column(NO_PATHS, None)) if made is not None else None
        if hot is None or id in unit.deleted_devices or any([old == id for old, _ in unit.moved]):
            return None
        for patch in unit.patches:
            if patch[0] == id:
                hot.record = patched(hot.record, patch[1])
        for change in unit.values:
            if change.device == id:
                self._values(hot, change)
        for task in unit.tasks:
            if task.record.device == id:
                hot.tasks = _open_after(self._open_tasks(hot), task.record)
        return hot

    def _move(self, old: str, new: str) -> list[Statement]:
        """All that the old device has, under the new id; the rows themselves are moved by the writer."""
        before, hot = self._load(old), self._load(new)
        out = [Statement(Mode.EXPECT, QUERIES["hold_device"], (old, new), held(old, new))]
        if before is None or hot is None or old == new:
            return out  # the first statement stops the unit
        hot.record = united(before.record, hot.record)
        hot.seen_only = True
        out.append(Statement(Mode.ONE, QUERIES["update_device"], rows.whole_row(hot.record), source=hot))
        tasks = [replace(t, device=new) for t in self._open_tasks(before)]
        hot.tasks = tuple(sorted((*self._open_tasks(hot), *tasks), key=lambda t: (-t.priority, t.id)))
        out += self._values(hot, ValuesChange(new, unknown_values(self._full(before), self._full(hot))))
        out.append(Statement(Mode.MOVE, "", (old, new)))
        return out

    def _values(self, hot: Hot, change: ValuesChange) -> list[Statement]:
        """A small change goes to the delta; a larger one to the writer, which merges it with the values on the disk.

        What the delta holds is never older than the values: a change of both is brought into both.
        """
        id, changed, delta = hot.record.id, change.changed, hot.delta
        small = not change.removed and len(changed) <= SMALL_CHANGE
        if small and len(delta) + len(changed) <= DELTA_MOST:
            delta.tell(change)
            hot.changed = False
            return [self._delta(hot, change)]
        hot.merging.append(change)
        out = [Statement(Mode.MERGE, "", change)]
        told = {path: changed[path] for path in delta.paths.names if path in changed}
        if told and isinstance(change, PreparedChange):
            newer = behind(change, delta.unpacked()).changed
            told = {path: newer[path] for path in told}
        if told or change.removed:
            late = ValuesChange(id, told, change.removed)
            delta.tell(late)
            hot.changed = False
            out.append(self._delta(hot, late))
        return out

    def _delta(self, hot: Hot, change: ValuesChange) -> Statement:
        """Writes the device's delta, into which the change was brought."""
        values = (*self._packed(hot.delta), hot.record.id)
        return Statement(Mode.MADE, QUERIES["put_delta"], values, source=hot, again=delta_again(change))

    def _full(self, hot: Hot) -> dict[str, StoredValue]:
        """All values of the device, those on their way to the disk included; a dictionary of the caller's own."""
        full = self._stored_values(hot.record.id, self._read, self._paths)
        for change in hot.merging:
            apply_values(full, change)  # once more where it has arrived already: the same in the same order
        for path, value in hot.delta.unpacked().items():
            full[path] = merged(full.get(path), value)
        return full

    def _stored_values(
        self, id: str, connection: sqlite3.Connection, cache: dict[int, PathList]
    ) -> dict[str, StoredValue]:
        row = connection.execute(QUERIES["values"], (id,)).fetchone()
        if row is None:
            return {}
        path_list, values, delta, form = row
        full: dict[str, StoredValue] = {}
        if path_list is not None:
            paths = cache.get(path_list)
            if paths is None:
                if len(cache) >= 64:
                    cache.clear()
                (blob,) = connection.execute(QUERIES["path_list"], (path_list,)).fetchone()
                paths = cache[path_list] = unpack_paths(blob)
            full = unpack_values(paths, values)
        if delta is not None:
            for path, value in self._unpacked(delta, form, connection).unpacked().items():
                full[path] = merged(full.get(path), value)
        return full

    # --- devices ---

    async def device(self, id: str) -> DeviceRecord | None:
        hot = self._hots.get(id) or self._load(id)
        return hot.record if hot is not None else None

    async def fresh(self, id: str) -> DeviceRecord | None:
        return await self.device(id)

    async def reported(self, id: str) -> Told:
        hot = self._hots.get(id) or self._load(id)
        return hot.delta.told if hot is not None else NOTHING_TOLD

    async def devices(self, where: Where | None, *, limit: int, cursor: str | None) -> Page:
        if self._dirty or self._on_way or self._pending:
            await self.flush()
        assert self._pool is not None
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._find, where, limit, cursor or "")

    def _find(self, where: Where | None, limit: int, cursor: str) -> Page:
        """One page of a search; runs in the reader thread."""
        condition, values = to_sql(where.condition) if where is not None else ("1", [])
        sql = QUERIES["devices"].replace("/*where*/", condition)
        found: list[DeviceRecord] = []
        lookups, until = Lookups(self._search, self._unpacked), time.monotonic() + SEARCH_SECONDS
        try:
            while True:
                batch = self._search.execute(sql, [cursor, *values, limit + 1]).fetchall()
                for record in readable(rows.device, batch, "a device"):
                    if where is None or where.test(record, lookups.of(record.id)):
                        if len(found) == limit:
                            return Page(tuple(found), found[-1].id)
                        found.append(record)
                if len(batch) <= limit:
                    return Page(tuple(found), None)
                cursor = batch[-1][1]
                if time.monotonic() > until:
                    return Page(tuple(found), cursor)
        except sqlite3.Error as e:
            raise StoreUnavailable(f"the database does not answer now: {e}") from e

    async def device_count(self) -> int:
        return int(self._one("device_count")[0])

    async def unapproved_count(self, limit: int) -> int:
        return int(self._one("unapproved_count", limit)[0])

    async def unapproved_addresses(self) -> Mapping[str, int]:
        return dict(self._all("unapproved_addresses"))

    async def figures(self) -> Figures:
        count, oldest = self._one("task_figures")
        created = self._one("task", oldest) if oldest is not None else None
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        size = sum(file.stat().st_size for file in files if file.exists())
        task = readable_task(created[0]) if created is not None else None
        return Figures(count, task.created if task is not None else 0.0, size)

    async def values(self, id: str, path: str = "") -> dict[str, StoredValue]:
        hot = self._load(id)
        if hot is None:
            return {}
        (size,) = self._read.execute(QUERIES["values_size"], (id,)).fetchone() or (0,)
        try:
            if size > BULK_BYTES or any(map(is_bulk, hot.merging)):
                told, merging = hot.delta.unpacked(), tuple(hot.merging)  # before: what is read may be without them
                _, paths, vals = await self._stored_blobs(id)
                return await in_slices(read_all(paths, vals, told, merging, path))
            full = self._full(hot)
        except DAMAGED as e:
            raise unreadable(f"the values of {id}", e) from e
        return {p: full[p] for p in sorted(full) if below(p, path)}

    async def values_page(self, id: str, path: str = "", *, after: str | None, limit: int) -> ValuePage:
        hot = self._load(id)
        if hot is None:
            return (), None
        (size,) = self._read.execute(QUERIES["values_size"], (id,)).fetchone() or (0,)
        try:
            if size <= PAGED_BYTES or hot.merging:
                return cut(await self.values(id, path), under=path, after=after, limit=limit)
            told = hot.delta.unpacked()
            _, paths, vals = await self._stored_blobs(id)
            return await in_slices(page_of(paths, vals, told, under=path, after=after, limit=limit))
        except DAMAGED as e:
            raise unreadable(f"the values of {id}", e) from e

    # --- tasks ---

    async def open_tasks(self, device: str) -> Sequence[TaskRecord]:
        hot = self._hots.get(device) or self._load(device)
        if hot is None:
            return ()
        return hot.tasks if hot.tasks is not None else self._open_tasks(hot)

    def _open_tasks(self, hot: Hot) -> tuple[TaskRecord, ...]:
        if hot.tasks is None:
            found = self._all("open_tasks", hot.record.id)
            hot.tasks = tuple(readable(rows.task, (row[0] for row in found), "a task"))
        return hot.tasks

    def _followers(self, task: str) -> int:
        return int(self._one("followers", task, MANY_ROWS + 1)[0])

    async def expired_leases(self, *, now: float, limit: int, living: Collection[str]) -> Sequence[LeaseRecord]:
        over = [x for x in map(rows.lease, self._all("expired_leases", now, limit)) if x.session not in living]
        if over:
            unit = UnitOfWork()
            unit.released += [(lease.device, lease.session) for lease in over]
            await self.commit(unit)
        return over

    # --- histories ---

    async def forget_documents(self, kind: str, *, due_before: float) -> int:
        return await self._delete("old_documents", "forget_documents", kind, due_before)

    async def prune(self, *, sessions_before: float, tasks_before: float) -> int:
        gone = await self._delete("old_sessions", "prune_sessions", sessions_before)
        gone += await self._delete("old_events", "prune_events", sessions_before)
        gone += await self._delete("old_faults", "prune_faults", sessions_before)
        gone += await self._delete("old_tasks", "prune_tasks", tasks_before)
        await self._write([Statement(Mode.LONG, QUERIES["prune_path_lists"], ())])
        return gone

    async def _delete(self, count: str, delete: str, *values: Any) -> int:
        """How many rows went, in parts: devices wait for no more than one of them."""
        gone = 0
        while found := int(self._one(count, *values, DELETED_AT_ONCE)[0]):
            await self._write([Statement(Mode.LONG, QUERIES[delete], (*values, DELETED_AT_ONCE))])
            gone += found
            if found < DELETED_AT_ONCE:
                break
        return gone

    async def _write(self, statements: list[Statement]) -> None:
        await self._written(self._working(), statements)

    # --- access and files ---

    async def secret(self, name: str) -> bytes:
        row = self._one("secret", name)
        if row is None:
            await self._write([Statement(Mode.ONE, QUERIES["insert_secret"], (name, secrets.token_bytes(32)))])
            row = self._one("secret", name)
        return bytes(row[0])


def _open_after(tasks: tuple[TaskRecord, ...], changed: TaskRecord) -> tuple[TaskRecord, ...]:
    """The open tasks of a device after one of them was made or changed, the next one first."""
    others = [t for t in tasks if t.id != changed.id]
    if changed.status in OPEN_STATUSES:
        others.append(changed)
        others.sort(key=lambda t: (-t.priority, t.id))
    return tuple(others)
