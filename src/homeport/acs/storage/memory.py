"""The reference store: dictionaries. For tests and for trying things out; it forgets everything at the end."""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from homeport.acs.records import (
    OPEN_STATUSES,
    CredentialRecord,
    DeviceRecord,
    DeviceState,
    Document,
    EventRecord,
    FaultRecord,
    FileRecord,
    LeaseRecord,
    StoredValue,
    TaskPhase,
    TaskRecord,
    TaskStatus,
    TokenRecord,
    Told,
    due,
)
from homeport.acs.storage.interface import (
    Channel,
    Conflict,
    DocumentChange,
    Done,
    Figures,
    Page,
    SessionChange,
    TaskChange,
    TaskFilter,
    UnitOfWork,
    ValuePage,
    ValuesChange,
)
from homeport.acs.storage.moves import held, united, unknown_values
from homeport.acs.storage.value_pages import cut
from homeport.acs.storage.values import apply_values, below
from homeport.acs.where import Where
from homeport.errors import StoreError, StoreUnavailable

T = TypeVar("T")


class MemoryStore:
    """Everything in this process's memory. `trouble` may be set by a test: the medium then does not work."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self._devices: dict[str, DeviceRecord] = {}
        self._values: dict[str, dict[str, StoredValue]] = {}
        self._reported: dict[str, dict[str, StoredValue]] = {}
        self._tasks: dict[str, TaskRecord] = {}
        self._sessions: dict[str, SessionChange] = {}
        self._events: dict[str, EventRecord] = {}
        self._faults: dict[str, FaultRecord] = {}
        self._credentials: dict[str, CredentialRecord] = {}
        self._tokens: dict[str, TokenRecord] = {}
        self._files: dict[str, FileRecord] = {}
        self._documents: dict[tuple[str, str], Document] = {}
        self._secrets: dict[str, bytes] = {}
        self._leases: dict[str, LeaseRecord] = {}
        self._forsaken: set[str] = set()  # tasks that wait for one which will never be done
        self.node = ""
        self.channel: Channel | None = None

    async def open(self) -> None:
        """Nothing to make ready."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def commit(self, unit: UnitOfWork) -> None:
        self._apply(unit)

    def later(self, unit: UnitOfWork, done: Done | None = None) -> None:
        self._must_work()
        try:
            self._apply(unit)
        except StoreError as e:
            if done is not None:
                done(e)  # else nobody waits for it
        else:
            if done is not None:
                done(None)

    def touch(self, device: str, fields: Mapping[str, Any], changed: Mapping[str, StoredValue]) -> None:
        self._must_work()
        self._patch(device, fields)
        if changed and device in self._devices:
            self._change_values(ValuesChange(device, changed))

    async def flush(self) -> None:
        """Everything is there already."""

    def _must_work(self) -> None:
        if self.trouble is not None:
            raise StoreUnavailable(self.trouble)

    def _apply(self, unit: UnitOfWork) -> None:
        self._must_work()
        self._check(unit)
        for device in unit.devices:
            self._devices[device.id] = device
        for id, fields in unit.patches:
            if id in self._devices:
                self._patch(id, fields if isinstance(fields, dict) else fields(self._devices[id]))
        for values in unit.values:
            self._change_values(values)
        self._tasks.update((t.record.id, _plain(t.record)) for t in unit.tasks)
        for written in unit.tasks:
            self._look_at_followers(written.record, new=written.expect is None)
        self._sessions.update((s.record.id, s) for s in unit.sessions if s.record.device in self._devices)
        self._events.update((e.id, e) for e in unit.events)
        self._faults.update((f.id, f) for f in unit.faults)
        for credential in unit.credentials:
            for name in [n for n, c in self._credentials.items() if c.device and c.device == credential.device]:
                del self._credentials[name]
            self._credentials[credential.username] = credential
        for digest in [d for d, t in self._tokens.items() if t.name in unit.ended_tokens]:
            del self._tokens[digest]
        for token in unit.tokens:
            for digest in [d for d, t in self._tokens.items() if t.name == token.name]:
                del self._tokens[digest]
            self._tokens[token.digest] = token
        self._files.update((f.name, f) for f in unit.files)
        for change in unit.documents:
            key = (change.document.kind, change.document.name)
            if change.gone:
                self._documents.pop(key, None)
            else:
                self._documents[key] = change.document
        self._leases.update((lease.device, lease) for lease in unit.leases if lease.device in self._devices)
        for device_id, session in unit.released:
            known = self._leases.get(device_id)
            if known is not None and known.session == session:
                del self._leases[device_id]
        for username in unit.deleted_credentials:
            self._credentials.pop(username, None)
        for name in unit.deleted_files:
            self._files.pop(name, None)
        for old, new in unit.moved:
            self._move(old, new)
        for id in unit.deleted_devices:
            self._delete_device(id)

    def _check(self, unit: UnitOfWork) -> None:
        """Raises Conflict where the unit does not fit."""
        made = {device.id for device in unit.devices}
        twice = [d.id for d in unit.devices if d.id in self._devices]
        if twice or len(made) < len(unit.devices):
            raise Conflict(f"the device {min(twice or made)} exists already")
        there = self._devices.keys() | made
        now: dict[str, TaskRecord] = {}
        for change in unit.tasks:
            task = change.record
            _expect(now.get(task.id) or self._tasks.get(task.id), change)
            now[task.id] = task
        named = [t.record.device for t in unit.tasks if t.expect is None]
        named += [e.device for e in unit.events] + [f.device for f in unit.faults]
        for id in named:
            if id not in there:
                raise Conflict(f"there is no device {id} any more")
        for document in unit.documents:
            _expect_document(self._documents.get((document.document.kind, document.document.name)), document)
        for old, new in unit.moved:
            if old == new or old not in self._devices or new not in there or self._busy(old):
                raise Conflict(held(old, new))

    def _busy(self, id: str) -> bool:
        sent = (t for t in self._tasks.values() if t.device == id and t.status is TaskStatus.RUNNING)
        return id in self._leases or any(t.phase is not TaskPhase.TRANSFER for t in sent)

    def _move(self, old: str, new: str) -> None:
        self._devices[new] = united(self._devices[old], self._devices[new])
        known = self._values.get(new, {})
        self._change_values(ValuesChange(new, unknown_values(self._values.get(old, {}), known)))
        held_by: tuple[dict[str, Any], ...] = (self._tasks, self._events, self._faults, self._files)
        for rows in held_by:
            for key in [k for k, r in rows.items() if r.device == old]:
                rows[key] = msgspec.structs.replace(rows[key], device=new)
        for id, s in self._sessions.items():
            if s.record.device == old:
                self._sessions[id] = SessionChange(msgspec.structs.replace(s.record, device=new), s.messages)
        if not any(c.device == new for c in self._credentials.values()):
            for name in [n for n, c in self._credentials.items() if c.device == old]:
                self._credentials[name] = msgspec.structs.replace(self._credentials[name], device=new)
        self._delete_device(old)

    def _patch(self, id: str, fields: Mapping[str, Any]) -> None:
        record = self._devices.get(id)
        if record is not None and fields:
            self._devices[id] = msgspec.structs.replace(record, **fields)

    def _change_values(self, change: ValuesChange) -> None:
        if change.device not in self._devices:
            return
        values = self._values.setdefault(change.device, {})
        apply_values(values, change)
        reported = self._reported.setdefault(change.device, {})
        apply_values(reported, ValuesChange(change.device, {}, change.removed))
        reported.update((path, values[path]) for path in change.changed)

    def _look_at_followers(self, task: TaskRecord, *, new: bool) -> None:
        """Have those found that wait for it, or itself where what it waits for will never be done."""
        self._forsaken.discard(task.id)
        if task.status not in OPEN_STATUSES:
            if task.status is not TaskStatus.DONE:
                self._forsaken |= {t.id for t in self._tasks.values() if t.after == task.id}
        elif new and task.after is not None:
            before = self._tasks.get(task.after)
            if before is None or before.status not in OPEN_STATUSES | {TaskStatus.DONE}:
                self._forsaken.add(task.id)

    def _delete_device(self, id: str) -> None:
        gone = {t.id for t in self._tasks.values() if t.device == id}
        self._forsaken |= {t.id for t in self._tasks.values() if t.after in gone}
        self._devices.pop(id, None)
        self._values.pop(id, None)
        self._reported.pop(id, None)
        self._leases.pop(id, None)
        for rows in (self._tasks, self._events, self._faults, self._credentials):
            for key in [k for k, r in rows.items() if r.device == id]:
                del rows[key]
        for key in [k for k, s in self._sessions.items() if s.record.device == id]:
            del self._sessions[key]

    # --- reading ---

    def absent(self, id: str) -> bool:
        return False

    def read_ahead(self, ids: Sequence[str], ready: Callable[[], None]) -> None:
        ready()

    async def device(self, id: str) -> DeviceRecord | None:
        return self._devices.get(id)

    async def fresh(self, id: str) -> DeviceRecord | None:
        return self._devices.get(id)

    async def reported(self, id: str) -> Told:
        return Told.of({path: value.value for path, value in self._reported.get(id, {}).items()})

    async def devices(self, where: Where | None, *, limit: int, cursor: str | None) -> Page:
        def chosen(record: DeviceRecord) -> bool:
            return where is None or where.test(record, lambda path: self._param(record.id, path))

        rows = (self._devices[id] for id in sorted(self._devices) if cursor is None or id > cursor)
        return _page((r for r in rows if chosen(r)), limit, lambda r: r.id)

    def _param(self, id: str, path: str) -> str | None:
        value = self._values.get(id, {}).get(path)
        return value.value if value is not None else None

    async def device_count(self) -> int:
        return len(self._devices)

    async def unapproved_count(self, limit: int) -> int:
        return len(list(islice((d for d in self._devices.values() if d.state is not DeviceState.APPROVED), limit)))

    async def unapproved_addresses(self) -> Mapping[str, int]:
        return Counter(d.address for d in self._devices.values() if d.state is not DeviceState.APPROVED)

    async def figures(self) -> Figures:
        made = [t.created for t in self._tasks.values() if t.status in OPEN_STATUSES]
        return Figures(len(made), min(made, default=0.0))

    async def values(self, id: str, path: str = "") -> dict[str, StoredValue]:
        values = self._values.get(id, {})
        return {p: values[p] for p in sorted(values) if below(p, path)}

    async def values_page(self, id: str, path: str = "", *, after: str | None, limit: int) -> ValuePage:
        return cut(self._values.get(id, {}), under=path, after=after, limit=limit)

    async def task(self, id: str) -> TaskRecord | None:
        return self._tasks.get(id)

    async def open_tasks(self, device: str) -> Sequence[TaskRecord]:
        mine = [t for t in self._tasks.values() if t.device == device and t.status in OPEN_STATUSES]
        return sorted(mine, key=lambda t: (-t.priority, t.id))

    async def tasks_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        return _youngest(self._tasks, lambda t: t.device == device, limit, cursor)

    async def tasks(self, which: TaskFilter, *, limit: int, cursor: str | None) -> Page:
        return _youngest(self._tasks, which.fits, limit, cursor)

    async def due_tasks(self, *, now: float, limit: int) -> Sequence[TaskRecord]:
        self._forsaken = {id for id in self._forsaken if id in self._tasks and self._tasks[id].status in _QUEUED}
        waiting = [(0.0, id) for id in self._forsaken]
        others = (t for t in self._tasks.values() if t.id not in self._forsaken)
        waiting += [(at, t.id) for t in others if (at := due(t)) is not None and at <= now]
        return [self._tasks[id] for _, id in sorted(waiting)[:limit]]

    async def overdue_tasks(self, device: str) -> Sequence[TaskRecord]:
        mine = [t for t in self._tasks.values() if t.device == device and t.phase is TaskPhase.OVERDUE]
        return sorted(mine, key=lambda t: t.id)

    async def interrupted_tasks(self, *, limit: int, now: float) -> Sequence[TaskRecord]:
        kept = {lease.device for lease in self._leases.values() if lease.until > now}
        running = (t for t in self._tasks.values() if t.status == TaskStatus.RUNNING and t.phase != TaskPhase.TRANSFER)
        return [t for t, _ in zip((t for t in running if t.device not in kept), range(limit), strict=False)]

    async def orphaned_tasks(self, *, since: str, limit: int) -> Sequence[TaskRecord]:
        queued = sorted(t.id for t in self._tasks.values() if t.status == TaskStatus.QUEUED and t.id >= since)
        return [self._tasks[id] for id in queued[:limit]]

    async def lease(self, cookie: str) -> LeaseRecord | None:
        return next((lease for lease in self._leases.values() if lease.cookie == cookie), None)

    async def leases_at(self, host: str) -> Sequence[LeaseRecord]:
        return [lease for lease in self._leases.values() if host and lease.host == host]

    async def take_lease(self, lease: LeaseRecord) -> bool:
        return self._leases.get(lease.device) == lease

    async def expired_leases(self, *, now: float, limit: int, living: Collection[str]) -> Sequence[LeaseRecord]:
        over = [x for x in self._leases.values() if x.until <= now and x.session not in living][:limit]
        for lease in over:
            del self._leases[lease.device]
        return over

    async def sessions_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        page = _youngest(self._sessions, lambda s: s.record.device == device, limit, cursor, lambda s: s.record.id)
        return Page(tuple(s.record for s in page.items), page.next)

    async def session(self, id: str) -> SessionChange | None:
        return self._sessions.get(id)

    async def events_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        return _youngest(self._events, lambda e: e.device == device, limit, cursor)

    async def faults(self, *, device: str | None, limit: int, cursor: str | None) -> Page:
        return _youngest(self._faults, lambda f: device is None or f.device == device, limit, cursor)

    async def prune(self, *, sessions_before: float, tasks_before: float) -> int:
        old: list[tuple[dict[str, Any], str]] = []
        old += [(self._sessions, k) for k, s in self._sessions.items() if s.record.ended < sessions_before]
        old += [(self._events, k) for k, e in self._events.items() if e.at < sessions_before]
        old += [(self._faults, k) for k, f in self._faults.items() if f.at < sessions_before]
        old += [
            (self._tasks, k)
            for k, t in self._tasks.items()
            if t.status not in OPEN_STATUSES and (t.finished or 0.0) < tasks_before
        ]
        for rows, key in old:
            del rows[key]
        return len(old)

    async def credential(self, username: str) -> CredentialRecord | None:
        return self._credentials.get(username)

    async def credential_of(self, device: str) -> CredentialRecord | None:
        return next((c for c in self._credentials.values() if c.device == device), None)

    async def token(self, digest: str) -> TokenRecord | None:
        return self._tokens.get(digest)

    async def token_named(self, name: str) -> TokenRecord | None:
        return next((t for t in self._tokens.values() if t.name == name), None)

    async def tokens(self) -> Sequence[TokenRecord]:
        return sorted(self._tokens.values(), key=lambda t: t.name)

    async def document(self, kind: str, name: str) -> Document | None:
        return self._documents.get((kind, name))

    async def documents(
        self, kind: str, *, limit: int, cursor: str | None = None, youngest: bool = False, due: float | None = None
    ) -> Page:
        mine = [d for (k, _), d in sorted(self._documents.items()) if k == kind]
        if due is not None:
            soon = sorted((d for d in mine if d.due is not None and d.due <= due), key=lambda d: (d.due or 0.0, d.name))
            return Page(tuple(soon[:limit]), None)
        if youngest:
            mine.reverse()
        behind = (d for d in mine if cursor is None or (d.name < cursor if youngest else d.name > cursor))
        return _page(behind, limit, lambda d: d.name)

    async def document_count(self, kind: str, limit: int) -> int:
        return len(list(islice((k for k in self._documents if k[0] == kind), limit)))

    async def forget_documents(self, kind: str, *, due_before: float) -> int:
        old = [k for k, d in self._documents.items() if d.kind == kind and d.due is not None and d.due < due_before]
        for key in old:
            del self._documents[key]
        return len(old)

    async def due_since(self, kind: str, count: int) -> float | None:
        due = sorted((d.due for (k, _), d in self._documents.items() if k == kind and d.due is not None), reverse=True)
        return due[count - 1] if len(due) > count else None

    async def file(self, name: str) -> FileRecord | None:
        return self._files.get(name)

    async def files(self, *, limit: int, cursor: str | None = None) -> Page:
        found = (self._files[name] for name in sorted(self._files) if cursor is None or name > cursor)
        return _page(found, limit, lambda file: file.name)

    async def secret(self, name: str) -> bytes:
        return self._secrets.setdefault(name, secrets.token_bytes(32))


_QUEUED: Final = frozenset({TaskStatus.QUEUED})


def _expect(now: TaskRecord | None, change: TaskChange) -> None:
    if change.expect is None:
        if now is not None:
            raise Conflict(f"the task {change.record.id} exists already")
    elif now is None or now.status not in change.expect:
        state = "gone" if now is None else now.status.value
        raise Conflict(f"the task {change.record.id} is {state}, not {' or '.join(sorted(change.expect))}")
    elif now.device != change.record.device:
        raise Conflict(f"the task {change.record.id} belongs to the device {now.device} now")


def _expect_document(now: Document | None, change: DocumentChange) -> None:
    if change.expect is not None and (now.record if now is not None else b"") != change.expect:
        raise Conflict(f"the {change.document.kind} {change.document.name} is no longer as it was")


def _page(rows: Iterable[Any], limit: int, key: Any) -> Page:
    items: list[Any] = []
    for row in rows:
        if len(items) == limit:
            return Page(tuple(items), key(items[-1]))
        items.append(row)
    return Page(tuple(items), None)


def _youngest(rows: Mapping[str, T], chosen: Any, limit: int, cursor: str | None, key: Any = lambda r: r.id) -> Page:
    ids = sorted((id for id, row in rows.items() if chosen(row) and (cursor is None or id < cursor)), reverse=True)
    return _page((rows[id] for id in ids), limit, key)


def _plain(task: TaskRecord) -> TaskRecord:
    """The task as a database gives it back: the rows of its result as JSON has them."""
    return task if task.result is None else replace(task, result=msgspec.to_builtins(task.result))
