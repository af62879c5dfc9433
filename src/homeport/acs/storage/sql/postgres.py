"""The PostgreSQL store: asyncpg, group commit, several nodes on one database.

No row is kept here as the truth: writes lock and read the rows that they change, so that two nodes never undo each other. What was
read of a device (hot row, delta, open tasks: one query) serves the messages of the next moment, and is dropped as soon as this or
another node writes the device; other nodes tell by LISTEN/NOTIFY.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import asyncpg
from msgspec.structs import replace

from homeport.acs.records import (
    CredentialRecord,
    DeviceRecord,
    Document,
    FileRecord,
    LeaseRecord,
    StoredValue,
    TaskRecord,
    TokenRecord,
)
from homeport.acs.slices import in_slices
from homeport.acs.storage.interface import Done, Figures, Page, SessionChange, UnitOfWork
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.bulk import BULK_BYTES, is_bulk, is_long, packed_task, prepared, read_all
from homeport.acs.storage.sql.fills import fill
from homeport.acs.storage.sql.postgres_channel import PostgresChannel
from homeport.acs.storage.sql.postgres_link import (
    BROKEN,
    Connection,
    Link,
    Row,
    farewell,
    safe_url,
    storable,
    translated,
)
from homeport.acs.storage.sql.postgres_sheet import Job, Touched, timely
from homeport.acs.storage.sql.postgres_tasks import DEAD_AFTER, LAST, PostgresTasks
from homeport.acs.storage.sql.postgres_where import Translation
from homeport.acs.storage.sql.postgres_writer import SQL, GroupWriter, stored_values
from homeport.acs.storage.sql.queries import migrations
from homeport.acs.storage.values import Paths, below, merged, unpack_delta
from homeport.acs.where import Where, uses_parameters
from homeport.errors import StoreError, StoreUnavailable

MIGRATIONS: Final = "postgres_migrations"

MIGRATION_LOCK: Final = 0x484F4D45
"""The advisory lock that lets one node at a time bring the layout up to date."""

MIGRATE_WITHIN: Final = 86_400.0
"""Seconds that bringing the layout up to date may take, and that other nodes wait for it."""

VIEW_AGE: Final = 0.25
"""Seconds for which what was read of a device may serve: the messages of one turn. Only while other nodes' notices arrive."""

VIEWS: Final = 2_048
"""Devices of which the last reading is kept."""

BEAT: Final = 3.0
"""Seconds between two signs of life of a node."""

DELETED_AT_ONCE: Final = 2_000
"""Old rows that go in one statement."""

MOST_DEFERRED: Final = 2_000
"""History rows that wait while the database is away; older ones go, because the ACS must not run out of memory."""


class _View:
    """What was read of one device. missing: there is no such device."""

    __slots__ = ("read_at", "record", "reported", "tasks")

    def __init__(self, row: Row | None, read_at: float) -> None:
        self.read_at = read_at
        self.record: DeviceRecord | None = None
        self.reported: dict[str, StoredValue] = {}
        self.tasks: tuple[TaskRecord, ...] = ()
        if row is not None:
            self.record = rows.device(row)
            self.reported = unpack_delta(row[16]) if row[16] else {}
            self.tasks = tuple(rows.task(blob) for blob in row[17])


class PostgresStore(PostgresTasks):
    """One database, postgresql://USER:PASSWORD@HOST/NAME. write_behind: seconds. on_change: told of other nodes' commits."""

    def __init__(self, url: str, *, write_behind: float = 1.0, node: str = "") -> None:
        self.node = node or secrets.token_hex(6)
        self.on_change: Callable[[str, str], None] | None = None
        """(task or "", device): another node has committed a change of it."""
        self._url = url
        self._write_behind = write_behind
        self._link = Link(url)
        self._link.made = self._connected
        self.channel = PostgresChannel(self._link, self.node, self._noted, lambda: self._views.clear())
        self._writer: GroupWriter | None = None
        self._views: dict[str, _View] = {}
        self._wanted: dict[str, asyncio.Future[_View]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._rewritten: set[str] | None = None  # devices that were written while a reading was on its way
        self._touched: Touched = {}
        self._flushing: list[Touched] = []
        self._deferred: list[SessionChange] = []
        self._released: list[tuple[str, str]] = []
        self._on_way = 0  # units from `later` that change devices or tasks
        self._paths: dict[int, Paths] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_beat = 0.0
        self._beating: asyncio.Future[None]

    # --- life ---

    async def open(self) -> None:
        connection = await self._link.connect()
        try:
            await _migrate(connection, self._url)
            await self.channel.look_at_the_clock(connection)
        except (asyncpg.PostgresError, *BROKEN) as e:
            connection.terminate()
            raise StoreError(f"cannot make {safe_url(self._url)} ready: {translated(e)}") from e
        except StoreError:
            await farewell(connection)
            raise
        self._link.give(connection)
        self._writer = GroupWriter(self._link, self.node)
        self._writer.start()
        self._beating = self._writer.submit(self._beat())
        await self._beating
        self._next_beat = time.monotonic() + BEAT
        await self.channel.start()
        self._arm()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        writer = self._writer
        if writer is None:
            return
        await self.channel.stop()
        self._drain(writer)
        _unheeded(writer.submit(Job(statements=[(SQL["forget_nodes"], [(self.node,)])])))
        await writer.stop()
        self._writer = None
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._link.close()

    def _connected(self) -> None:
        """A new connection, perhaps to another server that has taken over: there the same id may name another list of paths."""
        self._paths = {}
        if self._writer is not None:
            self._writer.forget()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._write_behind, self._tick)

    def _tick(self) -> None:
        self._arm()
        writer = self._working()
        now = time.monotonic()
        self._drain(writer)
        if self._beating.done() and (writer.trouble is not None or now >= self._next_beat):
            self._beating = writer.submit(self._beat())  # after trouble it also shows whether the server works again
            _unheeded(self._beating)
            self._next_beat = now + BEAT

    def _beat(self) -> Job:
        return Job(statements=[(SQL["beat"], [(self.node,)])])

    def _working(self) -> GroupWriter:
        if self._writer is None:
            raise StoreUnavailable("the store is not open")
        return self._writer

    def _must_work(self) -> None:
        trouble = self.trouble
        if trouble is not None:
            raise StoreUnavailable(trouble)

    @property
    def trouble(self) -> str | None:
        return self._writer.trouble if self._writer is not None else "the store is not open"

    @property
    def group_commits(self) -> tuple[int, int]:
        """(transactions, units) written since the start: their ratio is the size of a group."""
        return (self._writer.groups, self._writer.units) if self._writer is not None else (0, 0)

    # --- other nodes ---

    @property
    def _listening(self) -> bool:
        return self.channel.listening

    def _noted(self, subjects: list[str]) -> None:
        for subject in subjects:
            kind, _, rest = subject.partition(" ")
            task, _, device = rest.rpartition(" ")
            self._forget(device)
            if self.on_change is not None and kind in ("t", "d"):
                self.on_change(task, device)

    # --- writing ---

    async def commit(self, unit: UnitOfWork) -> None:
        if unit.moved:
            await self.flush()  # what waits names the old id, and must be there before it goes
        for place, change in enumerate(unit.values):
            if is_bulk(change, unit.large) and storable(change.device):
                path_list, paths, vals, _ = await self._stored_blobs(change.device)
                unit.values[place] = await in_slices(prepared(change, path_list, paths, vals))
        for place, task in enumerate(unit.tasks):
            if is_long(task.record, unit.large):
                unit.tasks[place] = replace(task, packed=await in_slices(packed_task(task.record)))
        # It is written also where the one who waits goes away; what was read of its devices is dropped then, and no sooner.
        await asyncio.shield(self._submit(unit))

    async def _stored_blobs(self, id: str) -> tuple[int | None, bytes | None, bytes | None, bytes | None]:
        """(path list's id, its blob, values, delta) of a device, as they are stored."""
        for _, path_list, vals, delta in await self._link.fetch(SQL["values"], [id]):
            if path_list is None:
                return None, None, None, delta
            for _, paths in await self._link.fetch(SQL["path_lists"], [path_list]):
                return path_list, paths, vals, delta
        return None, None, None, None

    def later(self, unit: UnitOfWork, done: Done | None = None) -> None:
        self._must_work()
        if unit.sessions or unit.released:
            self._deferred += unit.sessions
            self._released += unit.released
            del self._deferred[:-MOST_DEFERRED]
            unit, given = UnitOfWork(), unit
            for name in UnitOfWork.__slots__:
                if name not in ("sessions", "released"):
                    setattr(unit, name, getattr(given, name))
        if unit.empty and done is None:
            return
        self._on_way += 1

        def written(future: "asyncio.Future[None]") -> None:
            self._on_way -= 1
            if done is not None:
                done(asyncio.CancelledError() if future.cancelled() else future.exception())

        future = self._submit(unit)
        future.add_done_callback(written)
        _unheeded(future)

    def _submit(self, unit: UnitOfWork) -> "asyncio.Future[None]":
        """The unit on its way, behind what was touched of its devices before."""
        writer = self._working()
        job = Job(unit=unit)
        ids = job.devices() | set(unit.deleted_devices)
        waiting = {id: self._touched.pop(id) for id in ids if id in self._touched}
        if waiting:
            self._send_touched(writer, waiting)
        future = writer.submit(job)

        def written(_: "asyncio.Future[None]") -> None:
            for id in ids:
                self._forget(id)

        future.add_done_callback(written)
        return future

    def touch(self, device: str, fields: Mapping[str, Any], changed: Mapping[str, StoredValue]) -> None:
        self._must_work()
        known = self._touched.get(device)
        if known is None:
            view = self._views.get(device)
            if view is not None and view.record is None:
                return
            self._touched[device] = (dict(fields), dict(changed))
            return
        known[0].update(fields)
        for path, value in changed.items():
            known[1][path] = merged(known[1].get(path), value)

    async def flush(self) -> None:
        futures = self._drain(self._working())
        futures.append(self._working().submit(Job()))
        for outcome in await asyncio.shield(asyncio.gather(*futures, return_exceptions=True)):
            if isinstance(outcome, BaseException):
                raise outcome

    def _drain(self, writer: GroupWriter) -> "list[asyncio.Future[None]]":
        """Everything that waits, on its way to the disk."""
        out: list[asyncio.Future[None]] = []
        if self._touched:
            touched, self._touched = self._touched, {}
            out.append(self._send_touched(writer, touched))
        if self._deferred or self._released:
            sessions, self._deferred = self._deferred, []
            unit = UnitOfWork()
            unit.sessions += sessions
            unit.released, self._released = self._released, []  # where that fails, their time ends them
            future = writer.submit(Job(unit=unit))

            def kept(done: "asyncio.Future[None]") -> None:
                if isinstance(done.exception(), StoreUnavailable):
                    self._deferred[:0] = sessions
                    del self._deferred[:-MOST_DEFERRED]

            future.add_done_callback(kept)
            out.append(future)
        return out

    def _send_touched(self, writer: GroupWriter, touched: Touched) -> "asyncio.Future[None]":
        """What was touched, on its way; until it is there readers find it here, and where that fails it waits again."""
        self._flushing.append(touched)
        future = writer.submit(Job(touched=touched))

        def done(ended: "asyncio.Future[None]") -> None:
            self._flushing.remove(touched)
            for id in touched:
                self._forget(id)
            if isinstance(ended.exception(), StoreUnavailable):
                for id, (fields, values) in touched.items():
                    newer = self._touched.get(id)
                    if newer is None:
                        self._touched[id] = (fields, values)
                    else:
                        self._touched[id] = ({**fields, **newer[0]}, {**values, **newer[1]})

        future.add_done_callback(done)
        return future

    # --- devices ---

    async def _view(self, id: str) -> _View:
        """The device as last read, where that was a moment ago and nobody has written it since; else read now."""
        if self._on_way:
            await self.flush()
        view = self._views.get(id)
        if view is not None and self._listening and time.monotonic() - view.read_at < VIEW_AGE:
            return view
        if not storable(id):
            return _View(None, 0.0)
        future = self._wanted.get(id)
        if future is None:
            future = self._wanted[id] = asyncio.get_running_loop().create_future()
            if self._reading is None or self._reading.done():
                self._reading = asyncio.get_running_loop().create_task(self._read_views())
        return await asyncio.shield(future)

    async def _read_views(self) -> None:
        """One query at a time, each for all devices that are asked for meanwhile."""
        while self._wanted:
            wanted, self._wanted = self._wanted, {}
            self._rewritten = set()
            try:
                found = await self._link.fetch(SQL["views"], list(wanted))
                now = time.monotonic()
                by_id = {row[1]: row for row in found}
                views = {id: _View(by_id.get(id), now) for id in wanted}
            except Exception as e:
                for future in wanted.values():
                    if not future.done():
                        future.set_exception(e)
                        future.exception()  # read here once: who asked may have gone
                continue
            for id, future in wanted.items():
                if self._listening and id not in self._rewritten:
                    self._views[id] = views[id]
                if not future.done():
                    future.set_result(views[id])
            while len(self._views) > VIEWS:
                del self._views[next(iter(self._views))]
        self._rewritten = None

    def _forget(self, id: str) -> None:
        self._views.pop(id, None)
        if self._rewritten is not None:
            self._rewritten.add(id)

    def _fresh(self, id: str) -> list[tuple[dict[str, Any], dict[str, StoredValue]]]:
        """What was touched of the device and may not be on the disk, oldest first."""
        if not self._flushing and id not in self._touched:
            return []
        return [t[id] for t in (*self._flushing, self._touched) if id in t]

    async def device(self, id: str) -> DeviceRecord | None:
        record = (await self._view(id)).record
        if record is not None:
            for fields, _ in self._fresh(id):
                record = replace(record, **timely(record, fields))
        return record

    async def fresh(self, id: str) -> DeviceRecord | None:
        if self._on_way:
            await self.flush()
        self._forget(id)  # a notice of another node's commit may still be on its way
        return await self.device(id)

    async def reported(self, id: str) -> Mapping[str, str | None]:
        view = await self._view(id)
        out = {path: value.value for path, value in view.reported.items()}
        for _, values in self._fresh(id) if view.record is not None else ():
            out.update((path, value.value) for path, value in values.items() if value.value is not None)
        return out

    async def values(self, id: str, path: str = "") -> dict[str, StoredValue]:
        if self._on_way:
            await self.flush()
        if not storable(id):
            return {}
        size = await self._link.fetch(SQL["values_size"], id)
        if size and size[0][0] > BULK_BYTES:
            _, paths, vals, delta = await self._stored_blobs(id)
            told = unpack_delta(delta) if delta is not None else {}
            for _, values in self._fresh(id):
                told.update((changed, merged(told.get(changed), value)) for changed, value in values.items())
            return await in_slices(read_all(paths, vals, told, (), path))
        found = (await stored_values(self._link.fetch, [id], self._paths)).get(id)
        if found is None:
            return {}
        for _, values in self._fresh(id):
            for changed, value in values.items():
                found[changed] = merged(found.get(changed), value)
        return {p: found[p] for p in sorted(found) if below(p, path)}

    async def devices(self, where: Where | None, *, limit: int, cursor: str | None) -> Page:
        if self._touched or self._flushing or self._on_way:
            await self.flush()
        cursor = cursor or ""
        translation = Translation(where.condition, before=2) if where is not None else None
        sql = SQL["devices"].replace("/*where*/", translation.sql if translation is not None else "true")
        values = translation.values if translation is not None else []
        deep = where is not None and uses_parameters(where.condition)
        found: list[DeviceRecord] = []
        while True:
            batch = [rows.device(row) for row in await self._link.fetch(sql, cursor, limit + 1, *values)]
            known: dict[str, dict[str, StoredValue]] = {}
            if deep and batch:
                known = await stored_values(self._link.fetch, [d.id for d in batch], self._paths)
            for record in batch:
                if where is not None and not where.test(record, _getter(known.get(record.id, {}))):
                    continue
                if len(found) == limit:
                    return Page(tuple(found), found[-1].id)
                found.append(record)
            if len(batch) <= limit:
                return Page(tuple(found), None)
            cursor = batch[-1].id

    async def device_count(self) -> int:
        return int((await self._link.fetch(SQL["device_count"]))[0][0])

    async def figures(self) -> Figures:
        count, oldest, size = (await self._link.fetch(SQL["figures"]))[0]
        created = await self._one("task", oldest) if oldest is not None else None
        return Figures(count, rows.task(created[0]).created if created is not None else 0.0, size)

    async def open_tasks(self, device: str) -> Sequence[TaskRecord]:
        return (await self._view(device)).tasks

    # --- sessions that another process may continue ---

    async def lease(self, cookie: str) -> LeaseRecord | None:
        row = await self._one("lease", cookie)
        return rows.lease(row) if row is not None else None

    async def leases_at(self, host: str) -> Sequence[LeaseRecord]:
        return [rows.lease(row) for row in await self._link.fetch(SQL["leases_at"], host)]

    async def take_lease(self, lease: LeaseRecord) -> bool:
        return bool(await self._link.fetch(SQL["take_lease"], lease.device, lease.session, lease.node, self.node))

    async def expired_leases(self, *, now: float, limit: int, living: Collection[str]) -> Sequence[LeaseRecord]:
        found = await self._link.fetch(SQL["expired_leases"], now, limit, list(living), self.node, DEAD_AFTER)
        return [rows.lease(row) for row in found]

    # --- histories ---

    async def sessions_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        return await self._page("sessions_of", rows.session, limit, device, cursor or LAST)

    async def session(self, id: str) -> SessionChange | None:
        if self._deferred or self._on_way:
            await self.flush()
        row = await self._one("session", id)
        return SessionChange(rows.session(row[0]), rows.unpack_messages(row[1])) if row is not None else None

    async def events_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        return await self._page("events_of", rows.event, limit, device, cursor or LAST)

    async def faults(self, *, device: str | None, limit: int, cursor: str | None) -> Page:
        if device is None:
            return await self._page("faults", rows.fault, limit, cursor or LAST)
        return await self._page("faults_of", rows.fault, limit, device, cursor or LAST)

    async def _page(self, query: str, decode: Callable[[bytes], Any], limit: int, *values: Any) -> Page:
        if self._deferred or self._on_way:
            await self.flush()
        found = await self._link.fetch(SQL[query], *values, limit + 1)
        items = tuple(decode(row[1]) for row in found[:limit])
        return Page(items, found[limit - 1][0] if len(found) > limit else None)

    async def _one(self, query: str, *values: Any) -> Row | None:
        found = await self._link.fetch(SQL[query], *values)
        return found[0] if found else None

    async def prune(self, *, sessions_before: float, tasks_before: float) -> int:
        await self.flush()
        gone = 0
        limits = {"prune_sessions": sessions_before, "prune_events": sessions_before, "prune_faults": sessions_before}
        for name, limit in (limits | {"prune_tasks": tasks_before}).items():
            gone += await self._delete(SQL[name], limit)
        try:
            await self._link.fetch(SQL["prune_path_lists"])
        except StoreUnavailable:
            raise
        except StoreError:
            pass  # a device took one of the lists into use in this moment; the next pruning finds the others
        return gone

    # --- access and files ---

    async def credential(self, username: str) -> CredentialRecord | None:
        row = await self._one("credential", username)
        return rows.credential(row[0]) if row is not None else None

    async def credential_of(self, device: str) -> CredentialRecord | None:
        row = await self._one("credential_of", device)
        return rows.credential(row[0]) if row is not None else None

    async def token(self, digest: str) -> TokenRecord | None:
        row = await self._one("token", digest)
        return rows.token(row[0]) if row is not None else None

    async def token_named(self, name: str) -> TokenRecord | None:
        row = await self._one("token_named", name)
        return rows.token(row[0]) if row is not None else None

    async def tokens(self) -> Sequence[TokenRecord]:
        return [rows.token(row[0]) for row in await self._link.fetch(SQL["tokens"])]

    async def document(self, kind: str, name: str) -> Document | None:
        if self._deferred or self._on_way:
            await self.flush()
        row = await self._one("document", kind, name)
        return rows.document(row) if row is not None else None

    async def documents(
        self, kind: str, *, limit: int, cursor: str | None = None, youngest: bool = False, due: float | None = None
    ) -> Page:
        if self._deferred or self._on_way:
            await self.flush()
        if due is not None:
            found = await self._link.fetch(SQL["due_documents"], kind, due, limit)
            return Page(tuple(rows.document(row) for row in found), None)
        query, start = ("youngest_documents", LAST) if youngest else ("documents", "")
        return rows.document_page(await self._link.fetch(SQL[query], kind, cursor or start, limit + 1), limit)

    async def forget_documents(self, kind: str, *, due_before: float) -> int:
        await self.flush()
        return await self._delete(SQL["forget_documents"], kind, due_before)

    async def _delete(self, sql: str, *values: Any) -> int:
        """How many rows went: all that the statement names, in parts, because a long one would be ended by its time limit for ever."""
        gone = 0
        while True:
            counted = await self._link.fetch(
                f"WITH gone AS ({sql} RETURNING 1) SELECT count(*) FROM gone", *values, DELETED_AT_ONCE
            )
            gone += int(counted[0][0])
            if counted[0][0] < DELETED_AT_ONCE:
                return gone

    async def file(self, name: str) -> FileRecord | None:
        row = await self._one("file", name)
        return rows.file(row[0]) if row is not None else None

    async def files(self) -> Sequence[FileRecord]:
        return [rows.file(row[0]) for row in await self._link.fetch(SQL["files"])]

    async def secret(self, name: str) -> bytes:
        row = await self._one("secret", name)
        if row is None:
            new = (name, secrets.token_bytes(32))
            await self._working().submit(Job(statements=[(SQL["insert_secret"], [new])]))
            row = await self._one("secret", name)
        assert row is not None
        return bytes(row[0])


def _getter(values: Mapping[str, StoredValue]) -> Callable[[str], str | None]:
    def param(path: str) -> str | None:
        known = values.get(path)
        return known.value if known is not None else None

    return param


def _unheeded(future: "asyncio.Future[None]") -> None:
    """Nobody waits for this one: what went wrong is in `trouble`."""
    future.add_done_callback(lambda f: f.cancelled() or f.exception())


async def _migrate(connection: Connection, url: str) -> None:
    """Bring the layout up to date, one node at a time."""
    steps = migrations(MIGRATIONS)
    # Another node may be at it, and a large table takes its time: who gave up here would end the one that works, and both begin anew.
    await connection.execute("SET lock_timeout = 0")
    await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK, timeout=MIGRATE_WITHIN)
    await connection.execute("RESET lock_timeout")
    try:
        version = await layout(connection)
        if version > steps[-1][0]:
            raise StoreError(
                f"{safe_url(url)} was written by a newer Homeport (layout {version}, this one knows {steps[-1][0]}):"
                " install that version or restore a backup"
            )
        for number, script in steps:
            if number > version:
                async with connection.transaction():
                    await connection.execute(script, timeout=MIGRATE_WITHIN)
                    await fill(connection, number)
                    await connection.execute("INSERT INTO layout (number) VALUES ($1)", number)
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)


async def layout(connection: Connection) -> int:
    """The number of the last migration that was applied; 0 where the database is empty."""
    if await connection.fetchval("SELECT to_regclass('layout')") is None:
        return 0
    return int(await connection.fetchval("SELECT coalesce(max(number), 0) FROM layout"))
