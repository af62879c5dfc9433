"""SQLite's store against the one in memory, over random histories: units that fail beside others, a full disk, a cache that is too small.

What is told to be written is in every reading at once; what has failed is in none. HOMEPORT_TEST_STORE_HISTORIES=N plays that many, with
other chances each time.
"""

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from homeport.acs.records import EventRecord, SessionRecord, StoredValue, TaskStatus
from homeport.acs.storage.interface import Conflict, SessionChange, TaskChange, UnitOfWork, ValuesChange
from homeport.acs.storage.memory import MemoryStore
from homeport.acs.storage.sql import hot_devices, sqlite, writer
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.storage.sql.statements import touched_by
from homeport.errors import StoreError, StoreUnavailable
from support.store_rows import a_device, a_task, unit

HISTORIES = int(os.environ.get("HOMEPORT_TEST_STORE_HISTORIES", "0"))

SMALL = {
    (hot_devices, "CACHED_DEVICES"): 1,
    (hot_devices, "EVICTED_AT_ONCE"): 1,
    (hot_devices, "DELTA_MOST"): 6,
    (sqlite, "DELTA_MOST"): 6,
    (sqlite, "SMALL_CHANGE"): 3,
    (hot_devices, "MOST_DIRTY"): 3,
    (hot_devices, "ROWS_AT_ONCE"): 2,
    (hot_devices, "READ_AT_ONCE"): 2,
    (writer, "MAX_GROUP"): 3,
    (writer, "GATHER"): 0.0005,
    (writer, "LATE"): 0.001,
}
"""Bounds that a short history reaches."""

IDS = tuple(a_device(f"S{n}").id for n in range(4))
TASKS = tuple(f"t{n}" for n in range(5))
PATHS = (*(f"Device.P{n}" for n in range(8)), *(f"Device.T.{n}.X" for n in range(1, 3)))
OPEN = frozenset({TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.UNKNOWN})
TRAP = """CREATE TRIGGER trap BEFORE INSERT ON event WHEN NEW.id = 'trap' BEGIN SELECT RAISE(ABORT, 'a trap'); END"""

ids = st.sampled_from(IDS)
texts = st.none() | st.sampled_from("abc")
values = st.dictionaries(
    st.sampled_from(PATHS), st.tuples(texts, st.sampled_from(["xsd:string", "xsd:int"]), st.sampled_from([None, True]))
)
tasks = st.tuples(
    st.sampled_from(TASKS),
    st.sampled_from([TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.DONE, TaskStatus.FAILED]),
    st.sampled_from([None, OPEN, frozenset({TaskStatus.FAILED})]),
    st.integers(0, 1),
)
parts = st.fixed_dictionaries(
    {
        "made": st.sampled_from([False] * 5 + [True]),
        "model": st.none() | st.sampled_from("xyz"),
        "tag": st.none() | st.sampled_from("gn"),
        "values": st.none() | values,
        "removed": st.none() | st.sampled_from(["Device.", "Device.T.", "Device.P1"]),
        "task": st.none() | tasks,
        "end": st.sampled_from(["", "", "", "event", "trap", "trap", "gone"]),
    }
)


@cache
def empty_database() -> Path:
    """A database with the layout and the trap, for every history a copy."""
    path = Path(tempfile.mkdtemp(prefix="homeport-test-")) / "acs.db"

    async def make() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.close()

    asyncio.run(make())
    with sqlite3.connect(path) as connection:
        connection.execute(TRAP)
    connection.close()
    return path


def copy_of(model: MemoryStore) -> MemoryStore:
    """The same rows in another store."""
    made = MemoryStore()
    for name, rows in vars(model).items():
        if isinstance(rows, dict):
            setattr(made, name, {k: dict(v) if isinstance(v, dict) else v for k, v in rows.items()})
    return made


class Deed:
    """What was given to the store. failed: whether it came to nothing, None while that is not known; trap: so by the database alone."""

    def __init__(self, wish: UnitOfWork | tuple[Any, ...], *, trap: bool = False) -> None:
        self.wish = wish
        self.trap = trap
        self.error: BaseException | None = None
        self.over = False
        self.place = 0  # among all that was made ready to be written; 0 before that

    def done(self, error: BaseException | None) -> None:
        self.over, self.error = True, error

    def on(self, model: MemoryStore) -> BaseException | None:
        """Do it to the model; what it says to it."""
        told: list[BaseException | None] = []
        if isinstance(self.wish, tuple):
            model.touch(*self.wish)
            return None
        model.later(self.wish, told.append)
        return told[0]


class History(RuleBasedStateMachine):
    """One store's life."""

    @initialize()
    def begin(self) -> None:
        self.kept = {where: getattr(*where) for where in SMALL}
        for (module, name), value in SMALL.items():
            setattr(module, name, value)
        self.directory = Path(tempfile.mkdtemp(prefix="homeport-test-"))
        shutil.copy(empty_database(), self.directory / "acs.db")
        self.runner = asyncio.Runner()
        self.model = MemoryStore()
        self.deeds: list[Deed] = []
        self.commits: list[asyncio.Future[None]] = []
        self.number = 0
        self.full = False
        self.open()
        self.commit_unit(unit(devices=[a_device(f"S{n}") for n in range(3)]), trap=False)

    def open(self) -> None:
        pragmas = {"synchronous": "OFF", "busy_timeout": 1}
        self.store = SqliteStore(self.directory / "acs.db", write_behind=60, pragmas=pragmas)
        self.run(self.store.open())
        made = self.store._made

        def placed(wish: UnitOfWork, touched: Any) -> Any:
            for deed in self.deeds:
                if deed.wish is wish:
                    deed.place = self.next_place()
            return made(wish, touched)

        self.store._made = placed  # type: ignore[method-assign]

    def next_place(self) -> int:
        self.number += 1
        return self.number

    def run(self, scene: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(scene)

    def teardown(self) -> None:
        if not hasattr(self, "kept"):
            return
        try:
            self.run(self.settled())
            self.lift()
            self.run(self.store.close())
        finally:
            self.runner.close()
            for where, value in self.kept.items():
                setattr(*where, value)
            shutil.rmtree(self.directory)

    def lift(self) -> None:
        self.store._working()._connection.execute("PRAGMA max_page_count = 1000000")
        self.full = False
        self.run(self.store._write([]))

    # --- writing ---

    def made(self, device: str, part: dict[str, Any], **more: list[Any]) -> UnitOfWork:
        self.number += 1
        now = float(self.number)
        wish = unit(**more)
        if part["made"]:
            wish.devices.append(a_device(device[-2:], model=f"made{self.number}"))
        if part["model"] is not None:
            wish.patches.append((device, {"model": part["model"], "last_inform": now}))
        if part["tag"] is not None:
            tag = part["tag"]
            wish.patches.append((device, lambda record: {"tags": tuple(sorted({*record.tags, tag}))}))
        if part["values"] is not None or part["removed"] is not None:
            changed = {p: StoredValue(v, t, w, now) for p, (v, t, w) in (part["values"] or {}).items()}
            wish.values.append(ValuesChange(device, changed, (part["removed"],) if part["removed"] else ()))
        if part["task"] is not None:
            id, status, expect, priority = part["task"]
            wish.tasks.append(TaskChange(a_task(id, device, status=status, priority=priority, created=now), expect))
        if part["end"] == "gone":
            wish.deleted_devices.append(device)
        elif part["end"]:
            id = "trap" if part["end"] == "trap" else f"e{self.number}"
            wish.events.append(EventRecord(id=id, device=device, session="s", at=now, code="1 BOOT"))
        return wish

    @rule(device=ids, part=parts)
    def commit(self, device: str, part: dict[str, Any]) -> None:
        """A unit that somebody waits for, beside others."""
        if not self.told(device):
            self.commit_unit(self.made(device, part), trap=part["end"] == "trap")

    @rule(some=st.lists(st.tuples(ids, parts), min_size=2, max_size=3))
    def commit_of_several(self, some: list[tuple[str, dict[str, Any]]]) -> None:
        """A unit of several devices."""
        wish = unit()
        if any(self.told(device) for device, _ in some):
            return
        for device, part in some:
            made = self.made(device, part)
            for name in UnitOfWork.__slots__:
                if isinstance(rows := getattr(made, name), list):
                    getattr(wish, name).extend(rows)
        self.commit_unit(wish, trap=any(part["end"] == "trap" for _, part in some))

    def commit_unit(self, wish: UnitOfWork, *, trap: bool) -> None:
        deed = Deed(wish, trap=trap)

        async def commit() -> None:
            try:
                await self.store.commit(wish)
            except StoreError as e:
                deed.done(e)
            else:
                deed.done(None)

        async def begin() -> None:
            self.commits.append(asyncio.ensure_future(commit()))
            await asyncio.sleep(0)

        self.deeds.append(deed)
        self.run(begin())

    @rule(device=ids, part=parts)
    def later(self, device: str, part: dict[str, Any]) -> None:
        """A unit that nobody waits for."""
        wish = self.made(device, part)
        session = SessionRecord(id=f"x{self.number}", device=device, started=1.0, ended=2.0, outcome="success")
        wish.sessions.append(SessionChange(session))
        deed = Deed(wish, trap=part["end"] == "trap")
        if self.going(device) or self.told(device):
            return

        async def later() -> None:
            self.store.later(wish, deed.done)

        self.deeds.append(deed)
        try:
            self.run(later())
        except StoreUnavailable:
            self.deeds.remove(deed)

    def told(self, device: str) -> bool:
        """Whether the device has told something while there is no room: that may be lost with a unit of the device that fails."""
        return self.full and any(isinstance(deed.wish, tuple) and deed.wish[0] == device for deed in self.deeds)

    def going(self, device: str) -> bool:
        """Whether the device is about to be deleted: what nobody waits for may be lost then, also where it stays after all."""
        wishes = [deed.wish for deed in self.deeds if isinstance(deed.wish, UnitOfWork)]
        return any(device in wish.deleted_devices for wish in wishes)

    @rule(device=ids, told=values, model=st.none() | st.sampled_from("uvw"))
    def touch(self, device: str, told: dict[str, Any], model: str | None) -> None:
        """What an Inform tells."""
        wishes = [deed.wish for deed in self.deeds if isinstance(deed.wish, UnitOfWork)]
        if self.going(device) or (self.full and any(device in touched_by(wish) for wish in wishes)):
            return
        self.number += 1
        now = float(self.number)
        fields: dict[str, Any] = {"last_inform": now} | ({"model": model} if model is not None else {})
        changed = {p: StoredValue(v or "", t, None, now) for p, (v, t, _) in told.items()}

        async def touch() -> None:
            self.store.touch(device, fields, changed)

        try:
            self.run(touch())
        except StoreUnavailable:
            assert self.full
            return
        deed = Deed((device, fields, changed))
        deed.place = self.next_place()
        deed.done(None)
        self.deeds.append(deed)

    # --- what happens meanwhile ---

    @rule(turns=st.integers(1, 6))
    def turn(self, turns: int) -> None:
        """The loop goes on a little."""

        async def turn() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(turn())

    @rule()
    def tick(self) -> None:
        """The second is over: what waits goes on its way."""

        async def tick() -> None:
            self.store._drain(self.store._working())

        self.run(tick())

    @rule(some=st.lists(ids, max_size=4))
    def read_ahead(self, some: list[str]) -> None:
        """Several are read at once, as in a turn of the door."""

        async def read() -> None:
            self.store.read_ahead(some, lambda: None)

        self.run(read())

    @rule()
    def look(self) -> None:
        """What is on its way is read already, where none of it will fail."""
        ahead = copy_of(self.model)
        if self.full or any(deed.trap or not deed.place for deed in self.deeds):
            return
        self.deeds.sort(key=lambda deed: deed.place)
        if not any([deed.on(ahead) is not None for deed in self.deeds]):
            self.run(self.compare(ahead, lists=False))

    @rule()
    def forget(self) -> None:
        """Everybody leaves the cache who may."""

        async def forget() -> None:
            self.store._evict()

        self.run(forget())

    @precondition(lambda self: not self.full)
    @rule()
    def fill(self) -> None:
        """No page may be added to the database from now on."""
        self.settle()
        connection = self.store._working()._connection
        connection.execute("PRAGMA max_page_count = 1")
        self.full = True

    @precondition(lambda self: self.full)
    @rule()
    def free(self) -> None:
        """There is room again."""
        self.settle()
        self.lift()

    @rule()
    def settle(self) -> None:
        """All that was told to be written is, or has failed: then both stores are alike."""
        self.run(self.settled())
        for deed in sorted(self.deeds, key=lambda deed: deed.place):
            if isinstance(deed.error, StoreUnavailable):
                assert self.full
                continue
            if deed.trap and deed.error is not None:
                continue
            said = deed.on(self.model)
            assert isinstance(deed.error, Conflict) == isinstance(said, Conflict), (deed.error, said)
        self.deeds.clear()
        self.run(self.compare(self.model, lists=not self.full))

    async def settled(self) -> None:
        await asyncio.gather(*self.commits)
        self.commits.clear()
        try:
            await self.store.flush()
        except StoreUnavailable:
            assert self.full
        while not all(deed.over for deed in self.deeds):
            await asyncio.sleep(0.001)

    @precondition(lambda self: not self.full)
    @rule(old=ids, new=ids)
    def move(self, old: str, new: str) -> None:
        """A device comes under another id, while something of both may be on its way."""
        deed = Deed(unit(moved=[(old, new)]))

        async def move() -> None:
            try:
                await self.store.commit(deed.wish)
            except StoreError as e:
                deed.done(e)
            else:
                deed.done(None)

        self.deeds.append(deed)
        self.run(move())
        self.settle()

    @rule()
    def reopen(self) -> None:
        """The process ends well, and another one begins."""
        self.settle()
        self.lift()
        self.run(self.store.close())
        self.open()
        self.run(self.compare(self.model))

    # --- reading ---

    async def compare(self, model: MemoryStore, *, lists: bool = True) -> None:
        store = self.store
        for id in IDS:
            assert await store.device(id) == await model.device(id)
            assert list(await store.open_tasks(id)) == list(await model.open_tasks(id)), id
            found, known = await store.values(id), await model.values(id)
            assert found == known
            for path, text in (await store.reported(id)).items():
                assert text in (None, known[path].value)  # None: only its name was told lately
        if not lists:
            return
        every: Any = {"limit": 99, "cursor": None}
        assert await store.devices(None, **every) == await model.devices(None, **every)
        for id in IDS:
            assert await store.tasks_of(id, **every) == await model.tasks_of(id, **every)
            assert await store.sessions_of(id, **every) == await model.sessions_of(id, **every)
            assert await store.events_of(id, **every) == await model.events_of(id, **every)
        store._evict()
        assert len(store._hots) <= hot_devices.CACHED_DEVICES + len(store._dirty)
        assert not store._pending and not store._on_way


History.TestCase.settings = settings(
    max_examples=HISTORIES or 6,
    stateful_step_count=30 if HISTORIES else 20,
    deadline=None,
    database=None,
    derandomize=not HISTORIES,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
TestHistories = History.TestCase
