"""How SQLite's writer groups units, keeps their order and outcomes, and waits for a disk that is full or locked."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from homeport.acs.records import (
    DeviceRecord,
    EventRecord,
    SessionRecord,
    StoredValue,
    TaskRecord,
)
from homeport.acs.storage.interface import SessionChange, Store, TaskChange, ValuesChange
from homeport.acs.storage.sql import merging
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.storage.sql.writer import Mode, Statement
from homeport.errors import StoreError, StoreUnavailable
from support.sqlite_store import device_called, reopened
from support.store_rows import unit


def test_commits_of_the_same_moment_share_a_transaction(tmp_path: Path) -> None:
    """Group commit: many units, few transactions."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called(f"S{i}") for i in range(200)]))
        before = store.group_commits
        await asyncio.gather(*(store.commit(unit(patches=[(f"S{i}", {"model": "m"})])) for i in range(200)))
        groups, units = (after - b for after, b in zip(store.group_commits, before, strict=True))
        assert units == 200
        assert groups <= 20
        await store.close()

    asyncio.run(scene())


def test_a_group_tells_each_unit_its_own_outcome(tmp_path: Path) -> None:
    """A task twice in one group: the first is written, the second refused."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called()]))
        task = TaskRecord(id="t", device="S1", rpc="Reboot", args={})
        outcomes = await asyncio.gather(
            *(store.commit(unit(tasks=[TaskChange(task, None)])) for _ in range(3)), return_exceptions=True
        )
        assert [o is None for o in outcomes] == [True, False, False]
        await store.close()

    asyncio.run(scene())


def test_what_cannot_be_stored_is_refused_alone(tmp_path: Path) -> None:
    """Text that is no Unicode, a number that is too large: the others of the group are written."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        wrong = [DeviceRecord(id="S1", oui="bad\ud800", product_class="", serial_number=""), device_called("S2")]
        outcomes = await asyncio.gather(
            *(store.commit(unit(devices=[device])) for device in wrong),
            store._write([Statement(Mode.ONE, "UPDATE device SET last_inform = ?", (2**70,))]),
            return_exceptions=True,
        )
        assert [isinstance(outcome, StoreError) for outcome in outcomes] == [True, False, True]
        assert store.trouble is None
        await store.close()
        again = await reopened(tmp_path / "acs.db")
        assert await again.device("S2") is not None
        await again.close()

    asyncio.run(scene())


def test_what_does_not_fit_takes_nothing_with_it(tmp_path: Path) -> None:
    """An event of a device that is gone, among sessions and commits of others in the same moment: only it is lost."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[device_called("S1"), device_called("S2")]))
        await store.commit(unit(deleted_devices=["S2"]))
        ended = [
            SessionRecord(id=f"s{n}", device=id, started=1.0, ended=2.0, outcome="success")
            for n, id in enumerate(("S1", "S2", "S1"))
        ]
        for record in ended[:2]:
            store.later(unit(sessions=[SessionChange(record)]))
        store.later(unit(events=[EventRecord(id="e", device="S2", session="s1", at=1.0, code="1 BOOT")]))
        store.later(unit(sessions=[SessionChange(ended[2])]))
        outcomes = await asyncio.gather(
            store.commit(unit(events=[EventRecord(id="f", device="S2", session="s1", at=1.0, code="1 BOOT")])),
            store.commit(unit(patches=[("S1", {"model": "m"})])),
            store.flush(),
            return_exceptions=True,
        )
        assert [type(o).__name__ for o in outcomes] == ["Conflict", "NoneType", "NoneType"]
        assert {s.id for s in (await store.sessions_of("S1", limit=9, cursor=None)).items} == {"s0", "s2"}
        await store.close()
        store = await reopened(tmp_path / "acs.db")
        found = await store.device("S1")
        assert found is not None
        assert found.model == "m"
        await store.close()

    asyncio.run(scene())


def test_a_full_disk_is_told_and_service_resumes_by_itself(tmp_path: Path) -> None:
    """A unit that does not fit is refused whole; when there is room again the next one is taken."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=0.01)
        await store.open()
        await store.commit(unit(devices=[device_called()]))
        (pages,) = store._read.execute("PRAGMA page_count").fetchone()
        await store._write([Statement(Mode.ONE, f"PRAGMA max_page_count = {pages + 5}", ())])
        big = {f"Device.P{i}": StoredValue("x" * 500) for i in range(2000)}
        with pytest.raises(StoreUnavailable):
            await store.commit(unit(values=[ValuesChange("S1", big)], patches=[("S1", {"model": "half"})]))
        assert store.trouble is not None
        with pytest.raises(StoreUnavailable):
            store.touch("S1", {"last_inform": 5.0}, {})
        found = await store.device("S1")
        assert found is not None
        assert found.model == ""
        await store._write([Statement(Mode.ONE, "PRAGMA max_page_count = 1000000", ())])
        await until_well(store)
        await store.commit(unit(values=[ValuesChange("S1", big)]))
        assert len(await store.values("S1")) == 2000
        await store.close()

    asyncio.run(scene())


def test_a_locked_database_is_told_and_service_resumes_by_itself(tmp_path: Path) -> None:
    """Another program that holds the lock delays writes; it does not lose or break them."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=0.01, pragmas={"busy_timeout": 5})
        await store.open()
        await store.commit(unit(devices=[device_called()]))
        other = sqlite3.connect(tmp_path / "acs.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await store.commit(unit(patches=[("S1", {"model": "m"})]))
        other.execute("ROLLBACK")
        other.close()
        await until_well(store)
        await store.commit(unit(patches=[("S1", {"model": "m"})]))
        await store.close()

    asyncio.run(scene())


async def until_well(store: Store) -> None:
    """Return when the store has found out by itself that the medium works again."""
    async with asyncio.timeout(20):
        while store.trouble is not None:
            await asyncio.sleep(0)


def test_who_waits_for_a_locked_database_holds_nobody_up(tmp_path: Path) -> None:
    """The event loop goes on while another program writes, and the unit is written as soon as that one is done."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called()]))
        other = sqlite3.connect(tmp_path / "acs.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        commits = [asyncio.ensure_future(store.commit(unit(patches=[("S1", {"model": str(n)})]))) for n in range(3)]
        turns, longest, last = 0, 0.0, time.monotonic()
        while turns < 1000:
            await asyncio.sleep(0)
            turns, now = turns + 1, time.monotonic()
            longest, last = max(longest, now - last), now
        assert not any(commit.done() for commit in commits)
        assert longest < 1.0
        other.execute("ROLLBACK")
        other.close()
        await asyncio.gather(*commits)
        assert store.trouble is None
        await store.close()
        again = await reopened(tmp_path / "acs.db")
        found = await again.device("S1")
        assert found is not None
        assert found.model == "2"
        await again.close()

    asyncio.run(scene())


def test_what_takes_long_runs_beside_the_event_loop(tmp_path: Path) -> None:
    """A statement over many rows is in a thread; the units before and behind it keep their order."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called()]))
        threads: list[str] = []
        store._working()._connection.create_function(
            "seen_by", 0, lambda: threads.append(threading.current_thread().name)
        )
        writes = [
            [Statement(Mode.ONE, "UPDATE device SET model = model || 'a' || coalesce(seen_by(), '')", ())],
            [Statement(Mode.LONG, "UPDATE device SET model = model || 'b' || coalesce(seen_by(), '')", ())],
            [Statement(Mode.ONE, "UPDATE device SET model = model || 'c' || coalesce(seen_by(), '')", ())],
        ]
        await asyncio.gather(*(store._write(statements) for statements in writes))
        assert threads == ["MainThread", "homeport-store-writer", "MainThread"]
        assert store._read.execute("SELECT model FROM device").fetchone() == ("abc",)
        await store.close()

    asyncio.run(scene())


def test_a_change_of_a_device_with_a_very_large_tree_is_merged_in_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop answers other devices meanwhile; a device with an ordinary tree stays on it."""
    monkeypatch.setattr(merging, "LONG_BLOB", 10_000)
    threads: list[str] = []

    class Seen(merging.Column):
        def apply(self, change: ValuesChange) -> None:
            threads.append(f"{change.device} {threading.current_thread().name}")
            super().apply(change)

    monkeypatch.setattr(merging, "Column", Seen)

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called("S1"), device_called("S2")]))
        for id, count in (("S1", 2_000), ("S2", 100)):
            whole = {f"Device.P{n:04}": StoredValue(f"value {n}") for n in range(count)}
            await store.commit(unit(values=[ValuesChange(id, whole)]))
        threads.clear()
        some = {f"Device.P{n:04}": StoredValue("new", updated=2.0) for n in range(50)}
        await store.commit(unit(values=[ValuesChange("S1", some)]))
        await store.commit(unit(values=[ValuesChange("S2", some)]))
        assert threads == ["S1 homeport-store-writer", "S2 MainThread"]
        for id, count in (("S1", 2_000), ("S2", 100)):
            found = await store.values(id)
            assert (len(found), [v.value for v in found.values()].count("new")) == (count, 50)
        await store.close()

    asyncio.run(scene())
