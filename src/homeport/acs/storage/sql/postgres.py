"""The PostgreSQL store: asyncpg, group commit, several nodes on one database.

No row is kept here as the truth: writes lock and read the rows that they change, so that two nodes never undo each other. What is in
memory of a device, to serve the messages of the next moment or until it is written, is in `postgres_devices`; other nodes tell by
LISTEN/NOTIFY what they have written (`postgres_channel`).
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import asyncpg
from msgspec.structs import replace

from homeport.acs.records import CredentialRecord, DeviceRecord, StoredValue, TaskRecord, Told
from homeport.acs.slices import in_slices
from homeport.acs.storage.interface import SEARCH_SECONDS, Done, Figures, Page, UnitOfWork, ValuePage, ValuesChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.bulk import BULK_BYTES, is_bulk, is_long, packed_task, prepared, read_all
from homeport.acs.storage.sql.damage import readable, unreadable
from homeport.acs.storage.sql.fills import fill, readable_task
from homeport.acs.storage.sql.postgres_channel import PostgresChannel
from homeport.acs.storage.sql.postgres_devices import View, Views, WriteBehind
from homeport.acs.storage.sql.postgres_link import (
    BROKEN,
    SQL,
    Connection,
    Link,
    safe_url,
    storable,
    translated,
)
from homeport.acs.storage.sql.postgres_lookups import LongLookup, lookups, portions
from homeport.acs.storage.sql.postgres_sheet import Job, Touch, timely
from homeport.acs.storage.sql.postgres_tasks import PostgresTasks
from homeport.acs.storage.sql.postgres_together import Together
from homeport.acs.storage.sql.postgres_values import PathLists, stored_values, told
from homeport.acs.storage.sql.postgres_where import Translation
from homeport.acs.storage.sql.postgres_writer import GroupWriter
from homeport.acs.storage.sql.queries import migrations
from homeport.acs.storage.value_pages import PAGED_BYTES, cut, page_of
from homeport.acs.storage.values import DAMAGED, below, merged
from homeport.acs.where import Where, uses_parameters
from homeport.errors import StoreError, StoreUnavailable

MIGRATIONS: Final = "postgres_migrations"

MIGRATION_LOCK: Final = 0x484F4D45
"""The advisory lock that lets one node at a time bring the layout up to date."""

MIGRATE_WITHIN: Final = 86_400.0
"""Seconds that bringing the layout up to date may take, and that other nodes wait for it."""

BEAT: Final = 3.0
"""Seconds between two signs of life of a node."""

DELETED_AT_ONCE: Final = 2_000
"""Old rows that go in one statement."""

T = TypeVar("T")


class PostgresStore(PostgresTasks):
    """One database, postgresql://USER:PASSWORD@HOST/NAME. write_behind: seconds. on_change: told of other nodes' commits."""

    def __init__(self, url: str, *, write_behind: float = 1.0, node: str = "") -> None:
        self.node = node or secrets.token_hex(6)
        self.on_change: Callable[[str, str], None] | None = None
        """(task or "", device): another node has committed a change of it."""
        self._url = url
        self._write_behind = write_behind
        self._link = Link(url)
        self._lists = PathLists()
        self._link.made = self._lists.forget  # the server behind a new connection may be another one
        self._views = Views(self._link, lambda: self.channel.listening)
        self._logins, self._own_logins = Together(self._link, "credentials"), Together(self._link, "credentials_of")
        self._behind = WriteBehind(self._views.forget)
        self.channel = PostgresChannel(self._link, self.node, self._noted, self._views.clear)
        self._writer: GroupWriter | None = None
        self._on_way = 0  # units from `later` that do not wait
        self._timer: asyncio.TimerHandle | None = None
        self._next_beat = 0.0
        self._beating: asyncio.Future[None]

    # --- life ---

    async def open(self) -> None:
        connection = await self._link.connect()
        try:
            await _migrate(connection, self._url)
            await self.channel.look_at_the_clock(connection)
        except BaseException as e:
            connection.terminate()
            if isinstance(e, (asyncpg.PostgresError, *BROKEN)):
                owner = isinstance(e, asyncpg.InsufficientPrivilegeError)
                cure = "; the user in the setting database must own that database (ALTER DATABASE ... OWNER TO ...)"
                raise StoreError(
                    f"cannot make {safe_url(self._url)} ready: {translated(e)}{cure if owner else ''}"
                ) from e
            raise
        self._link.give(connection)
        self._writer = GroupWriter(self._link, self._lists, self.node)
        self._writer.start()
        try:
            self._beating = self._writer.submit(self._beat())
            await self._beating
            self._next_beat = time.monotonic() + BEAT
            await self.channel.start()
        except BaseException:
            await self.close()
            raise
        self._arm()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        writer = self._writer
        if writer is None:
            return
        await self.channel.stop()
        self._behind.drain(writer)
        _unheeded(writer.submit(Job(statements=[(SQL["forget_nodes"], [(self.node,)])])))
        await writer.stop()
        self._writer = None
        for reading in (self._views, self._logins, self._own_logins):
            await reading.stop()
        await self._link.close()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._write_behind, self._tick)

    def _tick(self) -> None:
        self._arm()
        writer = self._working()
        now = time.monotonic()
        self._behind.drain(writer)
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

    def _noted(self, subjects: list[str]) -> None:
        for subject in subjects:
            kind, _, rest = subject.partition(" ")
            task, _, device = rest.rpartition(" ")
            self._views.forget(device)
            if self.on_change is not None and kind in ("t", "d"):
                self.on_change(task, device)

    # --- writing ---

    async def commit(self, unit: UnitOfWork) -> None:
        if unit.moved:
            await self.flush()  # what waits names the old id, and must be there before it goes
        for place, change in enumerate(unit.values):
            if is_bulk(change, unit.large) and storable(change.device):
                unit.values[place] = await self._prepared(change)
        for place, task in enumerate(unit.tasks):
            if is_long(task.record, unit.large):
                unit.tasks[place] = replace(task, packed=await in_slices(packed_task(task.record)))
        # It is written also where the one who waits goes away; what was read of its devices is dropped then, and no sooner.
        await asyncio.shield(self._submit(unit))

    async def _prepared(self, change: ValuesChange) -> ValuesChange:
        """A long change, merged with what is on the disk now."""
        path_list, paths, vals, _ = await self._stored_blobs(change.device)
        try:
            return await in_slices(prepared(change, path_list, paths, vals))
        except DAMAGED as e:
            raise unreadable(f"the values of {change.device}", e) from e

    def later(self, unit: UnitOfWork, done: Done | None = None) -> None:
        self._must_work()
        if done is None and (unit.sessions or unit.released):
            self._behind.ended(unit.sessions, unit.released)
            unit = _without_histories(unit)
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
        self._behind.drain(writer, ids)
        future = writer.submit(job)

        def written(_: "asyncio.Future[None]") -> None:
            for id in ids:
                self._views.forget(id)

        future.add_done_callback(written)
        return future

    def touch(self, device: str, fields: Mapping[str, Any], changed: Mapping[str, StoredValue]) -> None:
        self._must_work()
        if not self._views.missing(device):
            self._behind.touch(device, fields, changed)

    async def flush(self) -> None:
        writer = self._working()
        futures = [*self._behind.drain(writer), writer.submit(Job())]
        for outcome in await asyncio.shield(asyncio.gather(*futures, return_exceptions=True)):
            # What the database does not take at all is told in the log, and keeps nobody from reading the rest.
            if isinstance(outcome, StoreUnavailable):
                raise outcome

    async def _settled(self, *, histories: bool = False) -> None:
        if self._on_way or (histories and self._behind.histories):
            await self.flush()

    # --- devices ---

    async def _newest(self, id: str, read: Callable[[], Awaitable[T]]) -> tuple[T, Sequence[Touch]]:
        """What is read of a device, and what was touched of it and may be missing there, oldest first."""
        while True:
            before = self._behind.of(id)
            found = await read()
            now = self._behind.of(id)
            if all(any(one is other for other in now) for one in before):
                return found, now
            # Some of it was written meanwhile: behind what the reading saw, as far as is known here.

    async def _view(self, id: str) -> tuple[View, Sequence[Touch]]:
        """What is read of a device, and what was touched of it and may be missing there."""

        async def read() -> View:
            await self._settled()
            return await self._views.get(id)

        return await self._newest(id, read)

    def _at_hand(self, id: str) -> View | None:
        """What was read of a device a moment ago, where that serves."""
        return self._views.at_hand(id) if not self._on_way else None

    def absent(self, id: str) -> bool:
        return not self._on_way and storable(id)

    def read_ahead(self, ids: Sequence[str], ready: Callable[[], None]) -> None:
        self._views.read_ahead(ids, ready)

    async def device(self, id: str) -> DeviceRecord | None:
        view = self._at_hand(id)
        return _as_touched(view, self._behind.of(id)) if view is not None else _as_touched(*await self._view(id))

    async def fresh(self, id: str) -> DeviceRecord | None:
        view = self._views.ahead(id) if not self._on_way else None
        if view is not None:
            return _as_touched(view, self._behind.of(id))
        await self._settled()
        self._views.forget(id)  # a notice of another node's commit may still be on its way
        return await self.device(id)

    async def credential_of(self, device: str) -> CredentialRecord | None:
        view = self._views.ahead(device)
        if view is None or view.record is None:
            return await super().credential_of(device)
        return rows.credential(view.login) if view.login is not None else None

    async def reported(self, id: str) -> Told:
        at_hand = self._at_hand(id)
        view, touched = (at_hand, self._behind.of(id)) if at_hand is not None else await self._view(id)
        told = view.told
        if not touched or view.record is None:
            return told
        for _, values in touched:
            told = told.but({path: value.value for path, value in values.items() if value.value is not None})
        return told

    async def values(self, id: str, path: str = "") -> dict[str, StoredValue]:
        await self._settled()
        if not storable(id):
            return {}
        size = await self._link.fetch(SQL["values_size"], id)
        if size and size[0][0] > BULK_BYTES:
            paths, vals, since = await self._large(id)
            try:
                return await in_slices(read_all(paths, vals, since, (), path))
            except DAMAGED as e:
                raise unreadable(f"the values of {id}", e) from e
        read, touched = await self._newest(id, lambda: stored_values(self._link.fetch, [id], self._lists))
        found = read.get(id)
        if found is None:
            return {}
        for _, values in touched:
            for changed, value in values.items():
                found[changed] = merged(found.get(changed), value)
        return {p: found[p] for p in sorted(found) if below(p, path)}

    async def values_page(self, id: str, path: str = "", *, after: str | None, limit: int) -> ValuePage:
        await self._settled()
        size = await self._link.fetch(SQL["values_size"], id) if storable(id) else ()
        if not size or size[0][0] <= PAGED_BYTES:
            return cut(await self.values(id, path), under=path, after=after, limit=limit)
        paths, vals, since = await self._large(id)
        try:
            return await in_slices(page_of(paths, vals, since, under=path, after=after, limit=limit))
        except DAMAGED as e:
            raise unreadable(f"the values of {id}", e) from e

    async def _large(self, id: str) -> tuple[bytes | None, bytes | None, dict[str, StoredValue]]:
        """(path list, values, what was told since) of a device with many values, as they are stored."""
        (_, paths, vals, delta), touched = await self._newest(id, lambda: self._stored_blobs(id))
        since = told(id, delta)
        for _, values in touched:
            since.update((changed, merged(since.get(changed), value)) for changed, value in values.items())
        return paths, vals, since

    async def _stored_blobs(self, id: str) -> tuple[int | None, bytes | None, bytes | None, bytes | None]:
        """(path list's id, its blob, values, delta) of a device, as they are stored."""
        row = await self._fetch_one("stored_blobs", id)
        return (row[0], row[1], row[2], row[3]) if row is not None else (None, None, None, None)

    async def devices(self, where: Where | None, *, limit: int, cursor: str | None) -> Page:
        if self._behind.devices or self._on_way:
            await self.flush()
        cursor = cursor or ""
        translation = Translation(where.condition, before=2) if where is not None else None
        sql = SQL["devices"].replace("/*where*/", translation.sql if translation is not None else "true")
        values = translation.values if translation is not None else []
        deep = where is not None and uses_parameters(where.condition)
        until = time.monotonic() + SEARCH_SECONDS
        found: list[DeviceRecord] = []
        while True:
            batch = await self._link.fetch(sql, cursor, limit + 1, *values)
            if not batch:
                return Page(tuple(found), None)
            for portion in await portions(self._link.fetch, batch) if deep else [batch]:
                values_of = await lookups(self._link.fetch, [row[1] for row in portion], self._lists) if deep else {}
                for record in readable(rows.device, portion, "a device"):
                    look = values_of.get(record.id, _nothing)
                    if isinstance(look, LongLookup):
                        await asyncio.sleep(0)
                    if where is not None and not where.test(record, look):
                        continue
                    if len(found) == limit:
                        return Page(tuple(found), found[-1].id)
                    found.append(record)
                cursor = portion[-1][1]
                if time.monotonic() > until and (cursor != batch[-1][1] or len(batch) > limit):
                    return Page(tuple(found), cursor)
            if len(batch) <= limit:
                return Page(tuple(found), None)

    async def device_count(self) -> int:
        return int((await self._link.fetch(SQL["device_count"]))[0][0])

    async def unapproved_count(self, limit: int) -> int:
        return int((await self._link.fetch(SQL["unapproved_count"], limit))[0][0])

    async def unapproved_addresses(self) -> Mapping[str, int]:
        return {row[0]: int(row[1]) for row in await self._link.fetch(SQL["unapproved_addresses"])}

    async def figures(self) -> Figures:
        count, oldest, size = (await self._link.fetch(SQL["figures"]))[0]
        row = await self._fetch_one("task", oldest) if oldest is not None else None
        task = readable_task(row[0]) if row is not None else None
        return Figures(count, task.created if task is not None else 0.0, size)

    async def open_tasks(self, device: str) -> Sequence[TaskRecord]:
        view = self._at_hand(device)
        return (view or (await self._view(device))[0]).tasks

    # --- house-keeping ---

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

    async def secret(self, name: str) -> bytes:
        row = await self._fetch_one("secret", name)
        if row is None:
            new = (name, secrets.token_bytes(32))
            await self._working().submit(Job(statements=[(SQL["insert_secret"], [new])]))
            row = await self._fetch_one("secret", name)
        assert row is not None
        return bytes(row[0])


def _without_histories(unit: UnitOfWork) -> UnitOfWork:
    """A unit with all that the given one has, but for sessions and leases that are over."""
    rest = UnitOfWork()
    for name in UnitOfWork.__slots__:
        if name not in ("sessions", "released"):
            setattr(rest, name, getattr(unit, name))
    return rest


def _as_touched(view: View, touched: Sequence[Touch]) -> DeviceRecord | None:
    """The device of a view, with what was touched since, oldest first."""
    record = view.record
    if record is not None:
        for fields, _ in touched:
            record = replace(record, **timely(record, fields))
    return record


def _nothing(path: str) -> None:
    """The value of any path where none was asked for, or the device has gone meanwhile."""


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
