"""What the PostgreSQL store has of devices in memory: what was read a moment ago, and what waits to be written.

Neither is the truth. A view serves the messages of one turn and is dropped as soon as this or another node writes the device; what
waits is laid over what is read, until it is on the disk.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from homeport.acs.records import NOTHING_TOLD, DeviceRecord, StoredValue, TaskRecord, Told
from homeport.acs.storage.interface import SessionChange, UnitOfWork
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import readable, unreadable
from homeport.acs.storage.sql.postgres_link import SQL, Link, Row, storable
from homeport.acs.storage.sql.postgres_sheet import Job, Touch, Touched
from homeport.acs.storage.sql.postgres_values import told_texts
from homeport.acs.storage.sql.postgres_writer import GroupWriter
from homeport.acs.storage.values import DAMAGED, merged
from homeport.errors import StoreUnavailable

VIEW_AGE: Final = 0.25
"""Seconds for which what was read of a device may serve: the messages of one turn. Only while other nodes' notices arrive."""

VIEWS: Final = 2_048
"""Devices of which the last reading is kept."""

MOST_DEFERRED: Final = 2_000
"""History rows that wait while the database is away; older ones go, because the ACS must not run out of memory."""


class View:
    """What was read of one device: hot row, delta, open tasks and login. record: None where there is no such device.

    login: the blob of its own credential; what is at hand may be too old to let somebody in, what was read `ahead` is not.
    """

    __slots__ = ("_delta", "_told", "login", "read_at", "record", "tasks")

    def __init__(self, read_at: float, row: Row | None = None) -> None:
        """read_at: seconds, monotonic. Raises StoreError where the row is damaged."""
        self.read_at = read_at
        self.record: DeviceRecord | None = None
        self.tasks: tuple[TaskRecord, ...] = ()
        self._told = NOTHING_TOLD
        self._delta: bytes | None = None
        self.login: bytes | None = None
        if row is None:
            return
        try:
            self.record = rows.device(row)
        except DAMAGED as e:
            raise unreadable(f"the device {row[1]}", e) from e
        tasks = row[17]
        if tasks:
            self.tasks = tuple(readable(rows.task, tasks, "a task"))
        self._delta = row[16]
        self.login = row[18]

    @property
    def told(self) -> Told:
        """The texts of its delta."""
        if self._delta:
            assert self.record is not None
            self._told, self._delta = told_texts(self.record.id, self._delta), None
        return self._told


class Views:
    """The last readings of devices. notified: whether other nodes' notices arrive; while they do not, nothing serves twice."""

    def __init__(self, link: Link, notified: Callable[[], bool]) -> None:
        self._link = link
        self._notified = notified
        self._views: dict[str, View] = {}
        self._wanted: dict[str, asyncio.Future[View]] = {}
        self._gathered: list[tuple[Sequence[str], Callable[[], None]]] = []
        self._ahead: dict[str, View | Exception] = {}  # of those who are about to go on
        self._asked: set[str] = set()  # devices of the query that is on its way, which nobody has written meanwhile
        self._reading: asyncio.Task[None] | None = None

    def at_hand(self, id: str) -> View | None:
        """The device as last read, where that was a moment ago and nobody has written it since."""
        view = self._views.get(id)
        if view is None or time.monotonic() - view.read_at >= VIEW_AGE or not self._notified():
            return None
        return view

    async def get(self, id: str) -> View:
        """The device as it is at hand, else read now. Raises StoreError."""
        view = self.at_hand(id)
        if view is not None:
            return view
        if not storable(id):
            return View(0.0)
        future = self._wanted.get(id)
        if future is None:
            future = self._wanted[id] = asyncio.get_running_loop().create_future()
            self._read_soon()
        return await asyncio.shield(future)

    def read_ahead(self, ids: Sequence[str], ready: Callable[[], None]) -> None:
        """Read the devices anew and call `ready`, inside which they are `ahead`; but for those that are written meanwhile."""
        self._gathered.append((ids, ready))
        self._read_soon()

    def ahead(self, id: str) -> View | None:
        """The device as it was read for who asks now, and for nobody before; None where it was not. Raises StoreError."""
        found = self._ahead.get(id)
        if isinstance(found, Exception):
            raise found
        return found

    def missing(self, id: str) -> bool:
        """Whether the last reading found no such device."""
        view = self._views.get(id)
        return view is not None and view.record is None

    def forget(self, id: str) -> None:
        """Have the device read anew: it has been written, or may have been."""
        self._views.pop(id, None)
        self._ahead.pop(id, None)
        self._asked.discard(id)

    def clear(self) -> None:
        """Have all devices read anew: notices may have been missed."""
        self._views.clear()
        self._ahead.clear()
        self._asked.clear()

    async def stop(self) -> None:
        """Return when nothing is being read any more."""
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    def _read_soon(self) -> None:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        """One query at a time, each for all devices that are asked for meanwhile."""
        loop = asyncio.get_running_loop()
        while self._wanted or self._gathered:
            wanted, self._wanted = self._wanted, {}
            gathered, self._gathered = self._gathered, []
            ahead = {id for ids, _ in gathered for id in ids}
            self._asked = ahead.union(wanted)
            found = await self._found(list(self._asked))
            for id in ahead:
                if id in self._asked or isinstance(
                    found[id], Exception
                ):  # else it was written meanwhile: it is read anew
                    self._ahead[id] = found[id]
            if self._notified():
                self._views |= {id: one for id, one in found.items() if isinstance(one, View) and id in self._asked}
                while len(self._views) > VIEWS:
                    del self._views[next(iter(self._views))]
            for id, future in wanted.items():
                _tell(future, found[id])
            for gathered_ids, ready in gathered:
                loop.call_soon(
                    self._go_on, gathered_ids, ready
                )  # not in this task: who goes on may set himself a time limit
        self._asked.clear()

    async def _found(self, ids: list[str]) -> dict[str, View | Exception]:
        """Each of the devices as it is now, or why it could not be read."""
        try:
            row_of = {row[1]: row for row in await self._link.fetch(SQL["views"], ids)}
        except Exception as e:
            return dict.fromkeys(ids, e)
        now = time.monotonic()
        found: dict[str, View | Exception] = {}
        for id in ids:
            try:
                found[id] = View(now, row_of.get(id))
            except Exception as e:  # of this device alone
                found[id] = e
        return found

    def _go_on(self, ids: Sequence[str], ready: Callable[[], None]) -> None:
        try:
            ready()
        finally:
            for id in ids:
                self._ahead.pop(id, None)


def _tell(future: "asyncio.Future[View]", found: View | Exception) -> None:
    if future.done():
        return
    if isinstance(found, View):
        future.set_result(found)
    else:
        future.set_exception(found)
        future.exception()  # read here once: who asked may have gone


class WriteBehind:
    """What devices repeat anyway and histories, written soon, in batches; where that fails because the database is away, later.

    left: told of a device when something that was touched of it is no longer here.
    """

    def __init__(self, left: Callable[[str], None]) -> None:
        self._left = left
        self._touched: Touched = {}
        self._leaving: list[Touched] = []
        self._sessions: list[SessionChange] = []
        self._released: list[tuple[str, str]] = []
        self._histories = 0  # jobs with sessions that are on their way

    @property
    def devices(self) -> bool:
        """Whether something that was touched may not be on the disk."""
        return bool(self._touched or self._leaving)

    @property
    def histories(self) -> bool:
        """Whether there are sessions that may not be on the disk."""
        return bool(self._sessions or self._histories)

    def touch(self, device: str, fields: Mapping[str, Any], changed: Mapping[str, StoredValue]) -> None:
        """Remember these behind what waits of the device already."""
        known = self._touched.get(device)
        if known is None:
            self._touched[device] = (dict(fields), dict(changed))
        else:
            _lay(known, (fields, changed))

    def ended(self, sessions: Iterable[SessionChange], released: Iterable[tuple[str, str]]) -> None:
        """Remember histories, and leases that are over."""
        self._sessions += sessions
        self._released += released
        del self._sessions[:-MOST_DEFERRED]

    def of(self, device: str) -> Sequence[Touch]:
        """What was touched of the device and may not be on the disk, oldest first."""
        touched = self._touched.get(device)
        if self._leaving:
            leaving = [t[device] for t in self._leaving if device in t]
            return leaving if touched is None else [*leaving, touched]
        return () if touched is None else (touched,)

    def drain(self, writer: GroupWriter, devices: Iterable[str] | None = None) -> "list[asyncio.Future[None]]":
        """All that waits, or what was touched of these devices, on its way to the disk."""
        if devices is not None:
            some = {id: self._touched.pop(id) for id in devices if id in self._touched}
            return [self._send(writer, some)] if some else []
        out = []
        if self._touched:
            touched, self._touched = self._touched, {}
            out.append(self._send(writer, touched))
        if self._sessions or self._released:
            out.append(self._send_histories(writer))
        return out

    def _send(self, writer: GroupWriter, touched: Touched) -> "asyncio.Future[None]":
        """Until it is on the disk readers find it here; where the database is away it waits again."""
        self._leaving.append(touched)
        future = writer.submit(Job(touched=touched))

        def done(ended: "asyncio.Future[None]") -> None:
            place = next(n for n, one in enumerate(self._leaving) if one is touched)
            behind = self._leaving[place + 1 :]
            del self._leaving[place]
            if isinstance(ended.exception(), StoreUnavailable):
                for id, told in touched.items():
                    self._again(id, told, [one[id] for one in behind if id in one])
            for id in touched:
                self._left(id)

        future.add_done_callback(done)
        return future

    def _again(self, id: str, told: Touch, newer: Sequence[Touch]) -> None:
        """Have it written with what waits; but for what is newer, on its way behind it or waiting: that tells by itself."""
        fields = {name: value for name, value in told[0].items() if not any(name in one[0] for one in newer)}
        values = {path: value for path, value in told[1].items() if not any(path in one[1] for one in newer)}
        waiting = self._touched.get(id)
        if waiting is not None:
            _lay((fields, values), waiting)
        self._touched[id] = (fields, values)

    def _send_histories(self, writer: GroupWriter) -> "asyncio.Future[None]":
        sessions, self._sessions = self._sessions, []
        unit = UnitOfWork()
        unit.sessions += sessions
        unit.released, self._released = self._released, []  # where that fails, their time ends them
        self._histories += 1
        future = writer.submit(Job(unit=unit, histories=True))

        def done(ended: "asyncio.Future[None]") -> None:
            self._histories -= 1
            if isinstance(ended.exception(), StoreUnavailable):
                self._sessions[:0] = sessions
                del self._sessions[:-MOST_DEFERRED]

        future.add_done_callback(done)
        return future


def _lay(older: Touch, newer: tuple[Mapping[str, Any], Mapping[str, StoredValue]]) -> None:
    """Bring the newer into the older."""
    older[0].update(newer[0])
    for path, value in newer[1].items():
        older[1][path] = merged(older[1].get(path), value)
