"""What a group of units makes of the rows that were locked for it: each unit as a whole or not at all. No SQL runs here.

The writer locks and reads the rows of all units of a group, puts them on a sheet, applies unit after unit, and writes each row once.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from homeport.acs.records import OPEN_STATUSES, DeviceRecord, LeaseRecord, StoredValue, TaskRecord, TaskStatus
from homeport.acs.storage.interface import KEY_LIFETIME, Conflict, SessionChange, TaskChange, UnitOfWork, ValuesChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.bulk import PreparedChange, behind
from homeport.acs.storage.sql.postgres_link import cleaned
from homeport.acs.storage.values import NO_PATHS, Column, apply_values, merged, pack_delta

DELTA_MOST: Final = 128
"""Entries of a delta before it is folded into the values: reading and writing a delta costs by its size, at every change."""

SMALL_CHANGE: Final = 32
"""Values in one change that still go to the delta; more are a refresh and go to the values at once."""

_SENT: Final = frozenset({TaskStatus.RUNNING.value, TaskStatus.UNKNOWN.value})

_PROMISING: Final = frozenset(s.value for s in OPEN_STATUSES | {TaskStatus.DONE})

Touch = tuple[dict[str, Any], dict[str, StoredValue]]
"""(fields, values) from `touch`."""

Touched = dict[str, Touch]
"""What was touched, by device."""

STOOD_STILL: Final = 600.0
"""Seconds by which what is written may be late: a node that was paused or cut off. A time that is later still is a clock that was wrong."""


def timely(record: DeviceRecord, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields from `touch`, without the time of an Inform that is not the device's last: another node has had one since."""
    at = fields.get("last_inform")
    if at is None or not at < record.last_inform < at + STOOD_STILL:
        return fields
    return {name: value for name, value in fields.items() if name != "last_inform"}


def ended_badly(task: TaskRecord) -> bool:
    """Whether nothing that waits for the task can be done any more."""
    return task.status.value not in _PROMISING


class Sheet:
    """Rows as they are, then as they shall be. Values only of the devices that `wants_values` names."""

    def __init__(self) -> None:
        self.devices: dict[str, DeviceRecord] = {}
        self.deltas: dict[str, dict[str, StoredValue]] = {}
        self.full: dict[str, Column] = {}
        self.tasks: dict[str, tuple[str, int]] = {}  # id -> status, attempts
        self.packed: dict[str, bytes] = {}  # tasks that were packed beforehand
        self.owners: dict[str, str] = {}  # id -> device, of tasks that are stored
        self.keyed: dict[tuple[str, str], TaskRecord] = {}  # the last task under an idempotency key
        self.new: set[str] = set()
        self.patched: set[str] = set()
        self.seen: set[str] = set()
        self.changed: set[str] = set()
        self.folded: set[str] = set()
        self.task_rows: dict[str, tuple[TaskRecord, bool]] = {}  # id -> record, whether it is new
        self.sessions: list[SessionChange] = []
        self.leases: dict[str, LeaseRecord] = {}
        self.released: list[tuple[str, str]] = []
        self.events: list[tuple[str, str, float, bytes]] = []
        self.faults: list[tuple[str, str, float, bytes]] = []

    def wants_values(self, units: Iterable[UnitOfWork], touched: Iterable[Touched]) -> list[str]:
        """Known devices whose values may have to be written anew."""
        most: dict[str, int] = {}
        for unit in units:
            for change in unit.values:
                heavy = bool(change.removed) or len(change.changed) > SMALL_CHANGE
                most[change.device] = most.get(change.device, 0) + (DELTA_MOST if heavy else len(change.changed))
        for touch in touched:
            for id, (_, values) in touch.items():
                most[id] = most.get(id, 0) + len(values)
        # One more than fits is enough: where the count stays below, no fold can come.
        return [id for id, n in most.items() if id in self.devices and len(self.deltas.get(id, ())) + n >= DELTA_MOST]

    # --- one unit ---

    def apply(self, unit: UnitOfWork) -> Conflict | None:
        """Bring the unit in, or say why it does not fit; the sheet is then unchanged."""
        why = self._why_not(unit)
        if why is not None:
            return Conflict(why)
        for device in unit.devices:
            self.devices[device.id] = device
            self.deltas[device.id] = {}
            self.full[device.id] = Column(NO_PATHS, None)
            self.new.add(device.id)
        for id, fields in unit.patches:
            if id in self.devices:
                self._patch(id, fields if isinstance(fields, dict) else fields(self.devices[id]))
        for change in unit.values:
            if change.device in self.devices:
                self._values(change)
        for task in unit.tasks:
            record = task.record
            known = self.task_rows.get(record.id)
            self.task_rows[record.id] = (record, task.expect is None or (known is not None and known[1]))
            self.packed[record.id] = task.packed
            self.tasks[record.id] = (record.status.value, record.attempts)
        self.sessions += [s for s in unit.sessions if s.record.device in self.devices]
        for lease in unit.leases:
            if lease.device in self.devices:
                self.leases[lease.device] = lease
        self.released += unit.released
        self.events += [(e.id, e.device, e.at, rows.encode(e)) for e in unit.events]
        self.faults += [(f.id, f.device, f.at, rows.encode(f)) for f in unit.faults]
        return None

    def touch(self, touched: Touched) -> None:
        """Bring in what devices repeat anyway; a device that is gone meanwhile is left out."""
        for id, (fields, values) in touched.items():
            if id not in self.devices:
                continue
            fields = timely(self.devices[id], fields)
            if fields.keys() == {"last_inform"} and id not in self.new:
                self.devices[id] = replace(self.devices[id], **fields)
                self.seen.add(id)
            else:
                self._patch(id, fields)
            if values:
                self._values(ValuesChange(id, values), DELTA_MOST)

    def _why_not(self, unit: UnitOfWork) -> str | None:
        made = {d.id for d in unit.devices}
        if len(made) < len(unit.devices) or not made.isdisjoint(self.devices):
            twice = sorted(d.id for d in unit.devices if d.id in self.devices) or sorted(made)
            return f"the device {twice[0]} exists already"
        now: dict[str, tuple[str, int]] = {}
        keyed: dict[tuple[str, str], TaskRecord] = {}
        for change in unit.tasks:
            why = self._task_conflict(change, now, made) or self._key_conflict(change, keyed)
            if why is not None:
                return why
            now[change.record.id] = (change.record.status.value, change.record.attempts)
        for id in [e.device for e in unit.events] + [f.device for f in unit.faults]:
            if id not in self.devices and id not in made:
                return f"there is no device {id} any more"
        self.keyed |= keyed
        return None

    def _key_conflict(self, change: TaskChange, now: dict[tuple[str, str], TaskRecord]) -> str | None:
        """now: the tasks of the unit so far, by their keys; a new one is added."""
        task = change.record
        if change.expect is not None or not task.idempotency_key:
            return None
        key = (task.device, cleaned(task.idempotency_key))
        before = now.get(key) or self.keyed.get(key)
        if before is not None and task.created - before.created < KEY_LIFETIME:
            return f"the task {before.id} has the same idempotency key"
        now[key] = task
        return None

    def _task_conflict(self, change: TaskChange, now: Mapping[str, tuple[str, int]], made: set[str]) -> str | None:
        task = change.record
        stored = now.get(task.id) or self.tasks.get(task.id)
        if change.expect is None:
            if stored is not None:
                return f"the task {task.id} exists already"
            if task.device not in self.devices and task.device not in made:
                return f"there is no device {task.device} any more"
            return None
        if stored is None or stored[0] not in {s.value for s in change.expect}:
            state = "gone" if stored is None else stored[0]
            return f"the task {task.id} is {state}, no longer {' or '.join(sorted(change.expect))}"
        if self.owners.get(task.id, task.device) != task.device:
            return f"the task {task.id} belongs to the device {self.owners[task.id]} now"
        if stored[0] in _SENT and stored[1] > task.attempts:
            # A node that was overtaken tells of an attempt that is no longer the last one.
            return f"the task {task.id} was sent again meanwhile, attempt {stored[1]} after {task.attempts}"
        return None

    def _patch(self, id: str, fields: Mapping[str, Any]) -> None:
        record = self.devices.get(id)
        if record is not None and fields:
            self.devices[id] = replace(record, **fields)
            self.patched.add(id)

    def _values(self, change: ValuesChange, most: int = SMALL_CHANGE) -> None:
        """most: how many values still go to the delta, which is never older than the values."""
        id = change.device
        delta = self.deltas.setdefault(id, {})
        self.changed.add(id)
        if not change.removed and len(change.changed) <= most and len(delta) + len(change.changed) <= DELTA_MOST:
            for path, value in change.changed.items():
                delta[path] = merged(delta.get(path), value)
            return
        column = self.full[id]  # `wants_values` names every device that can come here
        changed = change.changed
        if isinstance(change, PreparedChange):
            changed = behind(change, delta).changed
            change = behind(change, column.unpacked())
        column.apply(change)
        self.folded.add(id)
        told = {path: changed[path] for path in delta if path in changed}
        apply_values(delta, ValuesChange(id, told, change.removed))

    # --- what is to be written ---

    def forsaken(self, task: TaskRecord) -> bool:
        """Whether a new task waits for one that will never be done."""
        return task.after is not None and self.tasks.get(task.after, ("",))[0] not in _PROMISING

    def device_rows(self) -> tuple[list[Any], list[Any], tuple[list[str], list[float]]]:
        """(rows of new devices, rows of changed ones, those of which only last_inform changed: ids and times)."""
        new = [rows.device_row(self.devices[id]) for id in sorted(self.new)]
        patched = [rows.device_row(self.devices[id]) for id in sorted(self.patched - self.new)]
        seen = sorted(self.seen - self.patched - self.new)
        return new, patched, (seen, [self.devices[id].last_inform for id in seen])

    def value_rows(self) -> tuple[dict[bytes, bytes], list[Any], list[Any]]:
        """(path lists by hash, rows of values, rows of deltas)."""
        lists: dict[bytes, bytes] = {}
        values = []
        for id in sorted(self.folded):
            column = self.full[id]
            paths = column.paths
            lists[paths.hash] = paths.blob
            values.append((id, paths.hash, column.packed()))
        return lists, values, [(id, pack_delta(self.deltas[id])) for id in sorted(self.changed)]

    def subjects(self) -> list[str]:
        """What other nodes must hear of: `t TASK DEVICE` and `d DEVICE`, a word each without spaces."""
        said = [f"t {task.id} {task.device}" for task, _ in self.task_rows.values()]
        return said + [f"d {id}" for id in sorted(self.new | self.patched | self.changed)]


class Job(Struct):
    """Something to write: a unit, or what was touched, or statements of their own (SQL, rows).

    histories: the unit has only sessions and leases that are over, of which each may be written without the others.
    """

    unit: UnitOfWork | None = None
    touched: Touched | None = None
    statements: list[tuple[str, list[tuple[Any, ...]]]] = []
    histories: bool = False

    @property
    def unheeded(self) -> bool:
        """Whether nobody waits for it, to whom it could be told what went wrong."""
        return self.touched is not None or self.histories

    @property
    def alone(self) -> bool:
        """Whether the job must not share a transaction: what it deletes others might expect."""
        unit = self.unit
        return bool(self.statements) or (
            unit is not None
            and bool(unit.moved or unit.deleted_devices or unit.deleted_credentials or unit.deleted_files)
            | bool(unit.credentials or unit.tokens or unit.ended_tokens or unit.files or unit.documents)
        )

    def devices(self) -> set[str]:
        """All devices that the job names."""
        ids = set(self.touched or ())
        unit = self.unit
        if unit is not None:
            ids |= {d.id for d in unit.devices} | {id for id, _ in unit.patches} | {v.device for v in unit.values}
            ids |= {t.record.device for t in unit.tasks} | {s.record.device for s in unit.sessions}
            ids |= {id for pair in unit.moved for id in pair}
            ids |= {e.device for e in unit.events} | {f.device for f in unit.faults} | {x.device for x in unit.leases}
        return ids

    def halves(self) -> "tuple[Job, Job] | None":
        """Two jobs that together are this one, where not all of it must be written together."""
        if self.touched is not None and len(self.touched) > 1:
            items = list(self.touched.items())
            half = len(items) // 2
            return Job(touched=dict(items[:half])), Job(touched=dict(items[half:]))
        if self.histories and self.unit is not None and len(self.unit.sessions) + bool(self.unit.released) > 1:
            first, second = UnitOfWork(), UnitOfWork()
            half = (len(self.unit.sessions) + 1) // 2
            first.sessions, second.sessions = self.unit.sessions[:half], self.unit.sessions[half:]
            second.released = self.unit.released
            return Job(unit=first, histories=True), Job(unit=second, histories=True)
        return None
