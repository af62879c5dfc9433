"""Devices that were heard of lately, kept in memory, and what waits to be written of them and of histories.

What a device repeats at every Inform is written a second later, in batches: a device that comes again meanwhile costs no second write.
A device leaves the cache only when nothing of it is missing on the disk. Where a unit fails, its devices are read from the disk again,
and what still waits is brought in once more.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from operator import itemgetter
from typing import Any, Final

import structlog
from msgspec import Struct
from msgspec.structs import force_setattr, replace

from homeport.acs.records import DeviceRecord, StoredValue, TaskRecord
from homeport.acs.storage.interface import UnitOfWork, ValuesChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import unreadable
from homeport.acs.storage.sql.delta_forms import DeltaForms, column_of_form
from homeport.acs.storage.sql.queries import QUERIES
from homeport.acs.storage.sql.writer import Mode, Statement, Writer
from homeport.acs.storage.values import (
    DAMAGED,
    NO_PATHS,
    Column,
    apply_values,
)
from homeport.errors import StoreError, StoreUnavailable

DELTA_MOST: Final = 128
"""Entries of a delta before it is folded into the values: reading and writing a delta costs by its size, at every change."""

CACHED_DEVICES: Final = 1_024
"""Devices in the cache, about 3 KB each, beside those that cannot leave it because something of them is not on the disk yet."""

EVICTED_AT_ONCE: Final = 128
"""Devices that are read, before it is looked whether the oldest are forgotten."""

ROWS_AT_ONCE: Final = 64
"""Rows that wait and are written as one unit."""

MOST_DIRTY: Final = 1_000
"""Devices with something unwritten before it is written early: they cannot leave the cache."""

MOST_DEFERRED: Final = 2_000
"""Units of histories that wait while the medium does not work; those beyond are lost."""

ROUNDS: Final = 8
"""How often a flush begins anew where what it has written has failed with others and waits again."""

READ_AT_ONCE: Final = 16
"""Devices that are read in one step."""

_HOT_DEVICE: Final = QUERIES["hot_device"]

_log = structlog.get_logger("homeport.acs.storage")


class Hot(Struct, eq=False):
    """A device in the cache, and what of it is not on the disk yet.

    key: 0 while it is not known. tasks: the open ones, None while it is not known which are.
    merging: changes on their way that the writer merges, oldest first. seen_only: of what is dirty, only last_inform changed in the
    record. changed: `delta` is dirty. spoilt: a unit that may have brought something in has failed, or may fail unnoticed: rows of
    it that are not written yet are made of the disk instead.
    """

    key: int
    record: DeviceRecord
    delta: Column
    tasks: tuple[TaskRecord, ...] | None = None
    merging: list[ValuesChange] = []
    seen_only: bool = True
    changed: bool = False
    spoilt: bool = False


Late = tuple[Mapping[str, Any], Mapping[str, StoredValue]]
"""Fields and values that were told of a device while units with it were on their way."""


class HotDevices(DeltaForms):
    """The cache of the SQLite store, and its write-behind. write_behind: seconds."""

    def __init__(self, write_behind: float) -> None:
        super().__init__()
        self._write_behind = write_behind
        self._hots: dict[str, Hot] = {}
        self._dirty: dict[str, Hot] = {}
        self._late: dict[str, Late] = {}  # what of it was told behind a unit that may fail
        self._on_way: list[dict[str, Hot]] = []  # batches of what was dirty, until they are on the disk
        # Units that change a device, oldest first, until they are on the disk.
        self._pending: dict[str, list[UnitOfWork]] = {}
        self._stale: set[str] = set()  # devices that were read while a batch with them was on its way
        self._retold = False  # something is dirty once more
        self._making = False  # a unit is brought into the cache: nobody leaves it meanwhile
        self._deferred: list[list[Statement]] = []
        self._loaded = 0  # devices that were read since it was looked whether there are too many
        self._leaving = 0  # how often something from `later` was given to the writer and is not written yet
        self._timer: asyncio.TimerHandle | None = None
        self._rows: sqlite3.Connection  # only for the rows of devices
        self._cursor: sqlite3.Cursor  # of this connection
        self._steady = False  # it has a snapshot open

    # --- the writer ---

    def _working(self) -> Writer:
        if self._writer is None:
            raise StoreUnavailable("the store is not open")
        return self._writer

    @property
    def trouble(self) -> str | None:
        return self._writer.trouble if self._writer is not None else "the store is not open"

    @property
    def group_commits(self) -> tuple[int, int]:
        """(transactions, units) written since the start: their ratio is the size of a group."""
        return (self._writer.groups, self._writer.units) if self._writer is not None else (0, 0)

    # --- what waits ---

    def _arm(self) -> None:
        # While the medium does not work, look every second whether it does again: all devices are being sent away.
        wait = self._write_behind if self.trouble is None else min(self._write_behind, 1.0)
        self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        writer = self._working()
        self._let_go()
        try:
            if not self._drain(writer) and writer.trouble is not None:
                writer.submit([Statement(Mode.ONE, QUERIES["probe"], ())], None)
        finally:
            self._arm()

    def touch(self, device: str, fields: Mapping[str, Any], changed: Mapping[str, StoredValue]) -> None:
        self._must_work()
        self._tell(device, fields, changed)
        if len(self._dirty) >= MOST_DIRTY:
            self._drain(self._working())

    def _tell(self, device: str, fields: Mapping[str, Any], changed: Mapping[str, StoredValue]) -> None:
        hot = self._hots.get(device) or self._load(device)
        if hot is None:
            return
        hot.record = replace(hot.record, **fields)
        if changed:
            hot.delta.tell(ValuesChange(device, changed))
            hot.changed = True
        if len(fields) > 1 or "last_inform" not in fields:
            hot.seen_only = False
        self._dirty[device] = hot
        if device in self._pending:
            before, values = self._late.get(device, ({}, {}))
            self._late[device] = {**before, **fields}, _both(values, changed)

    async def flush(self) -> None:
        writer = self._working()
        for _ in range(ROUNDS):
            self._retold = False
            self._drain(writer)
            await self._written(writer, [])
            if not self._retold:
                return

    async def _written(self, writer: Writer, statements: list[Statement]) -> None:
        """Return when these, and all that was given to the writer before, are on the disk. Raises StoreError."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: BaseException | None) -> None:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)

        writer.submit(statements, done)
        await future

    async def _settled(self, *, histories: bool = False) -> None:
        if self._deferred or self._leaving:
            await self.flush()

    def _must_work(self) -> None:
        writer = self._writer
        if writer is None or writer.trouble is not None:
            raise StoreUnavailable(self.trouble or "")

    def _left(self, error: BaseException | None) -> None:
        self._leaving -= 1

    def _drain(self, writer: Writer) -> bool:
        """Everything that waits, on its way to the disk; False where nothing did."""
        deferred, self._deferred = self._deferred, []
        ended: list[Any] = []  # sessions: nothing stops one of them, so they need no unit each
        for statements in deferred:
            first = statements[0]
            if len(statements) == 1 and first.mode is Mode.ONE and first.sql is QUERIES["insert_session"]:
                ended.append(first.values)
            else:
                writer.submit(statements, partial(self._deferred_again, statements))
        for statement in _in_parts(QUERIES["insert_session"], ended):
            writer.submit([statement], partial(self._deferred_again, [statement]))
        if deferred:
            self._leaving += 1
            writer.submit([], self._left)
        if not self._dirty:
            return bool(deferred)
        dirty, self._dirty = self._dirty, {}
        self._send(writer, dirty)
        return True

    def _send_first(self, id: str) -> None:
        """Give the writer what is dirty of a device, before a unit that changes it."""
        hot = self._dirty.pop(id, None)
        if hot is None:
            return
        alone = {id: hot}
        try:
            row = self._told_row(hot) if id not in self._pending else None
        except (StoreError, *DAMAGED) as e:
            self._not_told(id, e)
            return
        if row is None:
            self._send(self._working(), alone, urgent=False)
            return
        hot.changed = False
        self._on_way.append(alone)
        told = Statement(Mode.ONE, QUERIES["told_device"], row)
        self._working().submit([told], lambda error: self._arrived(alone, again=error is not None), urgent=False)

    def _told_row(self, hot: Hot) -> tuple[Any, ...] | None:
        """The parameters of `told_device`, where they are all that is dirty, as nearly always; they are of the delta's known form."""
        delta = hot.delta
        if hot.seen_only and hot.changed and hot.key and len(delta) <= DELTA_MOST:
            form = self._form_ids.get(delta.paths.hash)
            if form is not None:
                return hot.record.last_inform, delta.packed(), form, hot.key
        return None

    def _send(self, writer: Writer, dirty: dict[str, Hot], *, urgent: bool = True) -> None:
        """What was dirty, on its way to the disk."""
        rows_of, pending, behind = _Waiting(), self._pending, []
        for id, hot in dirty.items():
            if id in pending:
                behind.append(id)
                continue
            try:
                row = self._told_row(hot)
                if row is None:
                    self._take(writer, rows_of, hot)
                else:
                    rows_of.told.append(row)
                    hot.changed = False
            except StoreUnavailable:
                self._dirty[id] = hot
            except (StoreError, *DAMAGED) as e:
                self._not_told(id, e)
        for id in behind:
            hot, late = dirty.pop(id), self._late.pop(id, None)
            if late is None:
                self._dirty[id] = hot  # what failed with the medium waits until it is known what becomes of the units
            else:
                self._send_behind(writer, id, *late)
        if not dirty:
            return
        self._on_way.append(dirty)
        failed: list[BaseException | None] = []

        def arrived(error: BaseException | None) -> None:
            self._arrived(dirty, again=any((*failed, error)))

        statements = [*rows_of.statements()]
        for statement in statements[:-1]:
            writer.submit([statement], failed.append, urgent=urgent)
        writer.submit(statements[-1:], arrived, urgent=urgent)

    def _send_behind(
        self, writer: Writer, id: str, fields: Mapping[str, Any], changed: Mapping[str, StoredValue]
    ) -> None:
        """What was told of a device behind units that may fail: as a unit of its own, which brings nothing of theirs along."""
        unit = UnitOfWork()
        unit.patches.append((id, dict(fields)))
        if changed:
            unit.values.append(ValuesChange(id, changed))

        def done(error: BaseException | None) -> None:
            hot = self._hots.get(id)
            if isinstance(error, StoreUnavailable) and hot is not None:
                later, values = self._late.get(id, ({}, {}))
                self._dirty[id], self._late[id] = hot, ({**fields, **later}, _both(changed, values))
            self._settle(id, unit, error)

        try:
            writer.submit(self._made(unit, (id,)), done)
        except (StoreError, *DAMAGED) as e:
            self._not_told(id, e)

    def _not_told(self, id: str, error: Exception) -> None:
        reason = str(error)
        _log.error("what a device told cannot be stored; it is read from the disk again", device=id, reason=reason)
        self._hots.pop(id, None)

    def _made(self, unit: UnitOfWork, touched: Collection[str]) -> list[Statement]:
        """The unit as SQL, with the cache brought to the state after it. touched: the devices that it changes. Raises StoreError."""
        raise NotImplementedError

    def _brought_in(self, hot: Hot | None, id: str, unit: UnitOfWork) -> Hot | None:
        """A device after a unit that is on its way; None where it is gone then. hot: as it is on the disk, or before the unit."""
        raise NotImplementedError

    def _deferred_again(self, statements: list[Statement], error: BaseException | None) -> None:
        """Histories that the medium did not take are written later, as many as there is room for."""
        if isinstance(error, StoreUnavailable) and len(self._deferred) < MOST_DEFERRED:
            self._deferred.append(statements)

    def _take(self, writer: Writer, waiting: "_Waiting", hot: Hot) -> None:
        """What is dirty of a device, among the rows to be written. Raises StoreError, ValueError where it has no written form."""
        if not hot.key:
            row = self._one("device_key", hot.record.id)
            if row is None:
                return  # deleted
            hot.key = row[0]
        if hot.changed and len(hot.delta) > DELTA_MOST:
            self._fold(writer, hot)
            hot.changed = False
        if not hot.seen_only:
            waiting.records.append(rows.whole_row(hot.record))
            if hot.changed:
                waiting.deltas.append((*self._packed(hot.delta), hot.key))
        elif hot.changed:
            waiting.told.append((hot.record.last_inform, *self._packed(hot.delta), hot.key))
        else:
            waiting.seen.append((hot.record.last_inform, hot.key))
        hot.seen_only, hot.changed = True, False

    def _arrived(self, dirty: dict[str, Hot], *, again: bool) -> None:
        """What was dirty is on the disk. again: it is not all there, because the medium did not work, and is dirty once more."""
        for place, batch in enumerate(self._on_way):
            if batch is dirty:  # mostly the first
                del self._on_way[place]
                break
        if again:
            for id, hot in dirty.items():
                if self._hots.get(id) is hot:
                    hot.seen_only, hot.changed = False, True
                    self._dirty[id] = hot
        for id in [id for id in self._stale if id in dirty]:
            self._stale.discard(id)
            self._read_anew(id)
        if len(dirty) > 1:
            self._evict()

    def _fold(self, writer: Writer, hot: Hot) -> None:
        """Bring a delta that has grown long into the values."""
        id = hot.record.id
        change = ValuesChange(id, hot.delta.unpacked())
        hot.delta = Column(NO_PATHS, None)
        hot.merging.append(change)
        unit = UnitOfWork()
        unit.values.append(change)
        self._pending.setdefault(id, []).append(unit)
        statements = [
            Statement(Mode.MERGE, "", change),
            Statement(Mode.ONE, QUERIES["put_delta"], (None, None, id)),
        ]
        writer.submit(statements, partial(self._settle, id, unit))

    def _settle_all(self, ids: Collection[str], unit: UnitOfWork, error: BaseException | None) -> None:
        for id in ids:
            self._settle(id, unit, error)

    def _settle(self, id: str, unit: UnitOfWork, error: BaseException | None) -> None:
        """A unit with this device is on the disk, or failed: then the cache holds what is not true."""
        units = self._pending[id]
        units.remove(unit)
        if not units:
            del self._pending[id]
        if error is not None:
            self._read_anew(id)
        if not units:
            self._late.pop(id, None)
            hot = self._hots.get(id)
            if hot is not None:
                hot.merging.clear()
                hot.spoilt = False  # nothing that was made of it is still to be written

    def _read_anew(self, id: str) -> None:
        """Have a device in the cache as it is on the disk, with what is on its way or was told behind it."""
        self._dirty.pop(id, None)
        late = self._late.pop(id, None)
        if self._hots.pop(id, None) is None:
            return
        if any([id in batch for batch in self._on_way]):
            self._stale.add(id)
        if late is None:
            return
        self._retold = True
        try:
            self._tell(id, *late)
        except StoreError as e:
            _log.warning("what a device told lately is lost; it tells it again", device=id, reason=str(e))

    # --- the cache ---

    def _load(self, id: str) -> Hot | None:
        hot = self._hots.get(id)
        if hot is None:
            try:
                if self._loaded >= EVICTED_AT_ONCE and not self._making:
                    self._evict()
                if not self._steady:
                    self._hold_still()
                row = self._cursor.execute(_HOT_DEVICE, (id,)).fetchone()
            except sqlite3.Error as e:
                raise StoreUnavailable(f"the database does not answer now: {e}") from e
            hot = self._keep(row) if row is not None else None
            if id in self._pending:
                hot = self._with_pending(id, hot)
            if hot is None:
                return None
            self._loaded += 1
        return hot

    def _with_pending(self, id: str, hot: Hot | None) -> Hot | None:
        """A device that was read while units with it are on their way, as it is after them; those may be on the disk already."""
        self._hots.pop(id, None)
        for unit in self._pending[id]:
            hot = self._brought_in(hot, id, unit)
        if hot is not None:
            hot.spoilt = True  # where one of them fails the writer cannot know that this came of it
            self._hots[id] = hot
        return hot

    def absent(self, id: str) -> bool:
        return id not in self._hots

    def read_ahead(self, ids: Sequence[str], ready: Callable[[], None]) -> None:
        try:
            self._load_all(ids)
        except StoreError:
            pass  # each is told by itself when it reads its own
        except Exception:
            _log.exception("devices were not read together")  # each reads its own, as above
        ready()

    def _load_all(self, ids: Sequence[str]) -> None:
        """Bring these devices into the cache, where it takes more than one step otherwise. Raises StoreUnavailable."""
        hots, pending = self._hots, self._pending
        absent = list(dict.fromkeys([id for id in ids if id not in hots and id not in pending]))
        if len(absent) < 2:
            return
        try:
            if not self._steady:
                self._hold_still()
            found: list[Any] = []
            for start in range(0, len(absent), READ_AT_ONCE):
                wanted = absent[start : start + READ_AT_ONCE]
                found += self._cursor.execute(_hot_devices(len(wanted)), wanted)
        except sqlite3.Error as e:
            raise StoreUnavailable(f"the database does not answer now: {e}") from e
        for row in found:
            try:
                self._keep(row)
            except StoreError:
                pass  # it is told when the device is asked for
        self._loaded += len(found)
        if self._loaded >= EVICTED_AT_ONCE:
            self._evict()

    def _keep(self, row: tuple[Any, ...]) -> Hot:
        """The device of a row, in the cache from now on. Raises StoreError where it is damaged."""
        id, key, rest, last_inform, delta, form, busy = row
        try:
            record = rows.whole(rest)
            force_setattr(record, "last_inform", last_inform)  # nobody else has it yet
            hot = Hot(key, record, column_of_form(self._forms[form], delta))
        except DAMAGED:  # or of another form
            hot = self._made_of(row)
        self._hots[id] = hot
        if not busy:
            hot.tasks = ()
        return hot

    def _made_of(self, row: tuple[Any, ...]) -> Hot:
        """The device of a row that is not in the form of nearly all. Raises StoreError where it is damaged."""
        id, key, rest, last_inform, delta, form, _ = row
        try:
            record = rows.whole_device(rest, last_inform)
            older = record is None  # the next write brings it into the form that is read in one step
            if record is None:
                record = rows.device(self._one("device", id))
        except DAMAGED as e:
            raise unreadable(f"the device {id}", e) from e
        hot = Hot(key, record, self._unpacked(delta, form, self._read))
        hot.seen_only = not older
        return hot

    def _hold_still(self) -> None:
        """Begin a snapshot for what `_load` reads, where nobody is writing. Raises sqlite3.Error.

        It serves until something is written: to take a new one costs as much as the reading.
        """
        if self._writer is not None and self._writer.still:
            self._rows.execute("BEGIN")
            self._steady = True

    def _let_go(self) -> None:
        """End the snapshot: something is about to be written, by us or, as far as we know, by somebody else."""
        if self._steady:
            self._steady = False
            self._rows.rollback()

    def _evict(self) -> None:
        """Forget the oldest devices that have nothing on its way."""
        self._loaded = 0
        if len(self._hots) <= CACHED_DEVICES:
            return
        surplus = len(self._hots) - len(self._dirty) - sum(map(len, self._on_way)) - CACHED_DEVICES
        if surplus <= 0:
            return
        dirty, on_way, pending, hots = self._dirty, set().union(*self._on_way), self._pending, self._hots
        gone = []
        for id in hots:
            if id in pending or id in dirty or id in on_way:
                continue
            gone.append(id)
            if len(gone) == surplus:
                break
        for id in gone:
            del hots[id]


@cache
def _hot_devices(count: int) -> str:
    """The query for so many devices."""
    return _HOT_DEVICE.replace("d.id = ?", f"d.id IN ({', '.join('?' * count)})")


class _Waiting:
    """Rows of devices that are written together, each the parameters of its statement."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.told: list[tuple[Any, ...]] = []
        self.records: list[tuple[Any, ...]] = []
        self.deltas: list[tuple[Any, ...]] = []

    def statements(self) -> Iterator[Statement]:
        """In the order of the keys, so that neighbours on a page are written one after the other."""
        for name, values in (
            ("seen_device", self.seen),
            ("told_device", self.told),
            ("update_device", self.records),
            ("put_delta_at", self.deltas),
        ):
            values.sort(key=_key)
            yield from _in_parts(QUERIES[name], values)


_key = itemgetter(-1)


def _both(older: Mapping[str, StoredValue], newer: Mapping[str, StoredValue]) -> Mapping[str, StoredValue]:
    """The values that were told one after the other, as one."""
    if not older or not newer:
        return older or newer
    both = dict(older)
    apply_values(both, ValuesChange("", newer))
    return both


def _in_parts(sql: str, values: list[Any]) -> Iterator[Statement]:
    """Rows that need not be written together, in units of a length that holds nobody up."""
    for start in range(0, len(values), ROWS_AT_ONCE):
        yield Statement(Mode.MANY, sql, values[start : start + ROWS_AT_ONCE])
