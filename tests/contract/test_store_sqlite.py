"""What SQLite adds to the contract: it keeps, over restarts, kills, full disks and locks."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from homeport.acs.records import (
    DeviceRecord,
    DeviceState,
    Document,
    EventRecord,
    SessionRecord,
    StoredValue,
    TaskRecord,
)
from homeport.acs.storage.interface import DocumentChange, SessionChange, Store, TaskChange, UnitOfWork, ValuesChange
from homeport.acs.storage.sql import hot_devices as module
from homeport.acs.storage.sql import merging, rows
from homeport.acs.storage.sql.archive import backup, check, restore
from homeport.acs.storage.sql.queries import QUERIES, migrations
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.storage.sql.writer import Mode, Statement
from homeport.acs.where import parse
from homeport.errors import StoreError, StoreUnavailable


def a_device(serial: str = "S1") -> DeviceRecord:
    return DeviceRecord(id=serial, oui="00D0F1", product_class="", serial_number=serial)


def unit(**lists: list[Any]) -> UnitOfWork:
    made = UnitOfWork()
    for name, items in lists.items():
        getattr(made, name).extend(items)
    return made


async def reopened(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    await store.open()
    return store


def test_everything_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    """Closing writes what waited: touched facts and histories too."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[a_device()]))
        store.touch("S1", {"last_inform": 9.0}, {"Device.X": StoredValue("1")})
        store.touch("S1", {"model": "797xx"}, {})
        await store.close()
        await store.close()
        again = await reopened(tmp_path / "acs.db")
        found = await again.device("S1")
        assert found is not None
        assert (found.last_inform, found.model) == (9.0, "797xx")
        assert (await again.values("S1"))["Device.X"].value == "1"
        await again.close()

    asyncio.run(scene())


def test_closing_writes_all_devices_that_tell_the_same_for_the_first_time(tmp_path: Path) -> None:
    """Also while it is being learnt that they share their paths."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[a_device(f"S{i}") for i in range(4)]))
        for i in range(4):
            store.touch(f"S{i}", {"last_inform": 3.0}, {"Device.A": StoredValue(str(i), updated=3.0)})
        await store.close()
        again = await reopened(tmp_path / "acs.db")
        for i in range(4):
            found = await again.device(f"S{i}")
            assert found is not None and found.last_inform == 3.0
            assert await again.reported(f"S{i}") == {"Device.A": str(i)}
        await again.close()

    asyncio.run(scene())


def test_what_is_on_its_way_to_the_disk_is_read_already(tmp_path: Path) -> None:
    """Between the moment when what waited is given to the writer and the end of its commit, who reads waits for it."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[a_device()]))
        for number in range(20):
            ended = SessionRecord(id=f"s{number}", device="S1", started=1.0, ended=2.0, outcome="success")
            store.later(
                unit(sessions=[SessionChange(ended)], documents=[DocumentChange(Document("k", f"d{number}", b""))])
            )
            store._drain(store._working())  # as the clock does
            assert len((await store.sessions_of("S1", limit=99, cursor=None)).items) == number + 1
            store._drain(store._working())
            assert await store.document("k", f"d{number}") is not None
        await store.close()

    asyncio.run(scene())


def test_more_devices_than_the_cache_holds_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices leave the cache only when nothing of them waits for the disk."""
    monkeypatch.setattr(module, "CACHED_DEVICES", 8)
    monkeypatch.setattr(module, "EVICTED_AT_ONCE", 8)

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[a_device(f"S{i:03}") for i in range(100)]))
        for i in range(100):
            store.touch(f"S{i:03}", {"last_inform": float(i)}, {"Device.X": StoredValue(str(i))})
        await store.flush()
        for i in range(100):
            found = await store.device(f"S{i:03}")
            assert found is not None
            assert found.last_inform == i
            assert (await store.reported(f"S{i:03}"))["Device.X"] == str(i)
        assert len(store._hots) <= 16
        await store.close()

    asyncio.run(scene())


def test_many_unwritten_devices_are_written_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the disk stays bounded, however many devices come within the write-behind time."""
    monkeypatch.setattr(module, "MOST_DIRTY", 10)

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[a_device(f"S{i:03}") for i in range(25)]))
        for i in range(25):
            store.touch(f"S{i:03}", {"last_inform": 7.0}, {})
        assert len(store._dirty) == 5
        await store.flush()
        found = await store.devices(None, limit=100, cursor=None)
        assert {d.last_inform for d in found.items} == {7.0}
        assert (tmp_path / "acs.db").stat().st_mode & 0o077 == 0
        await store.close()

    asyncio.run(scene())


def test_what_waits_for_the_disk_stays_in_the_cache_and_survives_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the commit has ended it is read as it is; after a failure it is written again."""
    monkeypatch.setattr(module, "CACHED_DEVICES", 0)
    monkeypatch.setattr(module, "EVICTED_AT_ONCE", 0)

    async def scene() -> None:
        path = tmp_path / "acs.db"
        store = SqliteStore(path, write_behind=60, pragmas={"busy_timeout": 50})
        await store.open()
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
        store.touch("S1", {"last_inform": 5.0}, {"Device.X": StoredValue("1")})
        store.touch("S2", {"last_inform": 6.0, "model": "m"}, {"Device.Y": StoredValue("2")})
        store._drain(store._working())  # as the clock does
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for id, at in (("S1", 5.0), ("S2", 6.0)):
            found = await store.device(id)
            assert found is not None and found.last_inform == at
        with pytest.raises(StoreUnavailable):
            await store.flush()
        assert set(store._dirty) == {"S1", "S2"}
        other.execute("COMMIT")
        other.close()
        await store._write([])  # the medium works again
        await store.flush()
        assert not store._hots
        found = await store.device("S2")
        assert found is not None and (found.last_inform, found.model) == (6.0, "m")
        assert await store.reported("S1") == {"Device.X": "1"}
        await store.close()

    asyncio.run(scene())


def test_histories_wait_while_the_medium_does_not_work(tmp_path: Path) -> None:
    """What was given to `later` just before is written once it works again; a device that cannot be stored takes no other with it."""

    async def scene() -> None:
        path = tmp_path / "acs.db"
        store = SqliteStore(path, write_behind=60, pragmas={"busy_timeout": 50})
        await store.open()
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
        for number in range(3):
            ended = SessionRecord(id=f"s{number}", device="S1", started=1.0, ended=2.0, outcome="success")
            store.later(unit(sessions=[SessionChange(ended)]))
        store.touch("S1", {"last_inform": 5.0, "model": "bad\ud800"}, {})
        store.touch("S2", {"last_inform": 6.0}, {})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await store.flush()
        other.execute("COMMIT")
        other.close()
        await store._write([])  # the medium works again
        assert len((await store.sessions_of("S1", limit=9, cursor=None)).items) == 3
        await store.close()
        again = await reopened(path)
        first, second = await again.device("S1"), await again.device("S2")
        assert first is not None and second is not None
        assert (first.last_inform, first.model, second.last_inform) == (0.0, "", 6.0)
        await again.close()

    asyncio.run(scene())


def test_a_snapshot_for_reading_never_hides_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices are read from one snapshot until something is written; it does not keep the write-ahead log from beginning anew."""
    monkeypatch.setattr(module, "CACHED_DEVICES", 0)
    monkeypatch.setattr(module, "EVICTED_AT_ONCE", 0)

    async def scene() -> None:
        path = tmp_path / "acs.db"
        store = SqliteStore(path, write_behind=60, pragmas={"wal_autocheckpoint": 20})
        await store.open()
        await store.commit(unit(devices=[a_device(f"S{i}") for i in range(50)]))
        for turn in range(200):
            store._hots.clear()
            for i in range(3):
                await store.device(f"S{(turn + i) % 50}")
            assert store._steady
            await store.commit(unit(patches=[(f"S{turn % 50}", {"model": f"m{turn}"})]))
            found = await store.device(f"S{turn % 50}")
            assert found is not None and found.model == f"m{turn}"
        assert path.with_name("acs.db-wal").stat().st_size < 1_000_000
        await store.close()

    asyncio.run(scene())


def test_devices_that_tell_the_same_share_the_paths_of_their_deltas(tmp_path: Path) -> None:
    """The second one makes a form; it is found again after a restart, by backups and searches; a damaged delta harms nobody."""

    async def scene() -> None:
        path = tmp_path / "acs.db"
        told = {f"Device.P{n}": StoredValue(f"v{n}", updated=3.0) for n in range(5)}
        store = SqliteStore(path, write_behind=60)
        await store.open()
        await store.commit(unit(devices=[a_device(f"S{i}") for i in range(6)]))
        for i in range(6):
            store.touch(f"S{i}", {"last_inform": 3.0}, told)
            await store.flush()
        forms = store._read.execute("SELECT delta_form FROM device ORDER BY id").fetchall()
        assert forms == [(None,), (None,), (1,), (1,), (1,), (1,)]
        await store.close()
        store = await reopened(path)
        for i in range(6):
            assert await store.values(f"S{i}") == told
            store.touch(f"S{i}", {"last_inform": 4.0}, {"Device.P1": StoredValue("new", updated=4.0)})
        found = await store.devices(parse('param("Device.P1") == "new"'), limit=10, cursor=None)
        assert len(found.items) == 6
        await store.flush()
        assert store._read.execute("SELECT count(*) FROM delta_form").fetchone() == (1,)
        assert store._read.execute("SELECT count(*) FROM device WHERE delta_form IS NULL").fetchone() == (0,)
        await store._write([Statement(Mode.ONE, "UPDATE device SET delta = x'93' WHERE id = 'S5'", ())])
        await store.close()
        counts, wrong = await check(path)
        assert counts["device_delta"] == 6 and len(wrong) == 1
        store = await reopened(path)
        assert await store.reported("S5") == {}
        store.touch("S5", {"last_inform": 5.0}, told)
        await store.close()
        await backup(path, tmp_path / "b")
        await restore(tmp_path / "new.db", tmp_path / "b")
        again = await reopened(tmp_path / "new.db")
        assert (await again.values("S1"))["Device.P1"] == StoredValue("new", updated=4.0)
        assert await again.values("S5") == told
        await again.close()

    asyncio.run(scene())


OLDER = """
INSERT INTO device (key, id, state, first_seen, last_inform, oui, product_class, serial_number, manufacturer, model,
    software_version, hardware_version, provisioning_code, address, tags, rest)
VALUES (7, 'S1', 'quarantined', 1, 2, '00D0F1', 'P', 'S1', 'M', 'm', '1', '2', 'c', 'a', '|gold|', x'81A4726F6F74A74465766963652E');
INSERT INTO device_delta (device, vals) VALUES (7, x'81A84465766963652E4194A131A6737472696E67C0CB4014000000000000');
INSERT INTO path_list (id, hash, paths) VALUES (1, x'00', x'90');
PRAGMA user_version = 5;
"""


def test_a_database_of_an_older_layout_is_taken_over(tmp_path: Path) -> None:
    """Devices and what changed of them lately come along; their rows take the new form with the next write, and backups hold them all."""
    path = tmp_path / "acs.db"
    connection = sqlite3.connect(path)
    for _, script in migrations()[:5]:
        connection.executescript(script)
    connection.executescript(OLDER)
    connection.close()

    async def scene() -> None:
        for turn in range(2):
            store = await reopened(path)
            found = await store.device("S1")
            assert found is not None
            assert (found.state, found.tags, found.root) == (DeviceState.QUARANTINED, ("gold",), "Device.")
            assert await store.values("S1") == {"Device.A": StoredValue("1", updated=5.0)}
            store.touch("S1", {"last_inform": 9.0}, {})
            await store.close()
            (whole,) = sqlite3.connect(path).execute("SELECT rest FROM device").fetchone()
            assert rows.whole_device(whole, 9.0) == replace(found, last_inform=9.0), turn
        await backup(path, tmp_path / "b")
        await restore(tmp_path / "new.db", tmp_path / "b")
        again = await reopened(tmp_path / "new.db")
        assert await again.device("S1") == replace(found, last_inform=9.0)
        assert await again.values("S1") == {"Device.A": StoredValue("1", updated=5.0)}
        await again.close()

    asyncio.run(scene())


def test_commits_of_the_same_moment_share_a_transaction(tmp_path: Path) -> None:
    """Group commit: many units, few transactions."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[a_device(f"S{i}") for i in range(200)]))
        before = store.group_commits
        await asyncio.gather(*(store.commit(unit(patches=[(f"S{i}", {"model": "m"})])) for i in range(200)))
        groups, units = (after - b for after, b in zip(store.group_commits, before, strict=True))
        assert units == 200
        assert groups <= 20
        await store.close()

    asyncio.run(scene())


def test_a_full_disk_is_told_and_service_resumes_by_itself(tmp_path: Path) -> None:
    """A unit that does not fit is refused whole; when there is room again the next one is taken."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=0.01)
        await store.open()
        await store.commit(unit(devices=[a_device()]))
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


async def until_well(store: Store) -> None:
    """Return when the store has found out by itself that the medium works again."""
    async with asyncio.timeout(20):
        while store.trouble is not None:
            await asyncio.sleep(0)


def test_a_locked_database_is_told_and_service_resumes_by_itself(tmp_path: Path) -> None:
    """Another program that holds the lock delays writes; it does not lose or break them."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=0.01, pragmas={"busy_timeout": 5})
        await store.open()
        await store.commit(unit(devices=[a_device()]))
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


def test_who_waits_for_a_locked_database_holds_nobody_up(tmp_path: Path) -> None:
    """The event loop goes on while another program writes, and the unit is written as soon as that one is done."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[a_device()]))
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
        await store.commit(unit(devices=[a_device()]))
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
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
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


def test_an_inform_costs_the_same_however_many_tasks_its_device_has_had(tmp_path: Path) -> None:
    """Whether there is an open one is asked of the index of the open ones."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        plan = store._read.execute(f"EXPLAIN QUERY PLAN {QUERIES['hot_device']}", ("S1",)).fetchall()
        assert any("INDEX task_open" in str(row[3]) for row in plan)
        await store.close()

    asyncio.run(scene())


def test_a_damaged_database_is_told_with_the_cure(tmp_path: Path) -> None:
    """Who starts the ACS reads what to do."""
    (tmp_path / "acs.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match=r"damaged: put it aside .* homeport acs db restore"):
        asyncio.run(SqliteStore(tmp_path / "acs.db").open())


def test_a_database_of_a_newer_homeport_is_left_alone(tmp_path: Path) -> None:
    """An unknown layout is refused with the cure, not guessed at."""
    connection = sqlite3.connect(tmp_path / "acs.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StoreError, match="newer Homeport"):
        asyncio.run(SqliteStore(tmp_path / "acs.db").open())


def test_who_reads_a_device_while_it_is_moved_leaves_nothing_behind(tmp_path: Path) -> None:
    """What was read or told of the old id in the moment before the commit does not stay in the cache, nor does a change come back."""

    async def scene() -> None:
        path = tmp_path / "acs.db"
        store = await reopened(path)
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
        moving = asyncio.ensure_future(store.commit(unit(moved=[("S1", "S2")])))
        await asyncio.sleep(0)
        await store.device("S1")
        store.touch("S1", {"last_inform": 9.0, "model": "late"}, {"Device.A": StoredValue("late")})
        store.touch("S2", {"last_inform": 8.0}, {"Device.B": StoredValue("kept")})
        await moving
        await store.flush()
        assert await store.device("S1") is None
        assert list(await store.values("S2")) == ["Device.B"]
        await store.close()
        again = await reopened(path)
        known = await again.device("S2")
        assert known is not None and (known.last_inform, known.model) == (8.0, "")
        assert await again.device_count() == 1
        await again.close()

    asyncio.run(scene())


def test_devices_of_one_model_share_their_path_list(tmp_path: Path) -> None:
    """The list of paths is stored once, and goes with its last device."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[a_device(f"S{i}") for i in range(5)]))
        for i in range(5):
            values = {f"Device.P{n}": StoredValue(f"{i}-{n}") for n in range(100)}
            await store.commit(unit(values=[ValuesChange(f"S{i}", values)]))
        (count,) = store._read.execute("SELECT count(*) FROM path_list").fetchone()
        assert count == 1
        await store.commit(unit(deleted_devices=[f"S{i}" for i in range(5)]))
        await store.prune(sessions_before=0.0, tasks_before=0.0)
        (count,) = store._read.execute("SELECT count(*) FROM path_list").fetchone()
        assert count == 0
        await store.close()

    asyncio.run(scene())


WRITER = """
import asyncio, sys
from pathlib import Path
from homeport.acs.records import *
from homeport.acs.storage.interface import *
from homeport.acs.storage.sql.sqlite import SqliteStore
async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    unit = UnitOfWork()
    unit.devices.append(DeviceRecord(id="D", oui="", product_class="", serial_number=""))
    await store.commit(unit)
    async def one(worker):
        for i in range(10_000):
            unit, id = UnitOfWork(), f"{worker}-{i}"
            unit.tasks.append(TaskChange(TaskRecord(id=id, device="D", rpc="Reboot", args={}), None))
            unit.events.append(EventRecord(id=id, device="D", session="s", at=1.0, code="1 BOOT"))
            await store.commit(unit)
            print(id, flush=True)
    await asyncio.gather(*(one(w) for w in range(8)))
asyncio.run(main())
"""


def test_what_was_told_to_be_safe_survives_kill_9(tmp_path: Path) -> None:
    """Every id that the killed process printed after its commit is in the database, with all of its unit."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "acs.db")],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    told += [line.strip() for line in process.stdout.readlines() if line.endswith("\n")]
    process.wait()
    process.stdout.close()

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        events = {e.id for e in (await store.events_of("D", limit=100_000, cursor=None)).items}
        tasks = {t.id for t in await store.open_tasks("D")}
        assert set(told) <= events
        assert events == tasks
        await store.close()

    asyncio.run(scene())


def test_a_group_tells_each_unit_its_own_outcome(tmp_path: Path) -> None:
    """A task twice in one group: the first is written, the second refused."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[a_device()]))
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
        wrong = [DeviceRecord(id="S1", oui="bad\ud800", product_class="", serial_number=""), a_device("S2")]
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


def test_values_are_read_while_they_are_on_their_way(tmp_path: Path) -> None:
    """What was given to `later` or is being committed is in every reading, in the order in which it was given."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[a_device()]))
        many = {f"Device.P{n}": StoredValue("1", updated=1.0) for n in range(100)}
        store.later(unit(values=[ValuesChange("S1", many)]))
        store.later(unit(values=[ValuesChange("S1", {**many, "Device.P7": StoredValue("2", updated=2.0)})]))
        store.later(unit(values=[ValuesChange("S1", {}, ("Device.P8",))]))
        for _ in range(2):
            found = await store.values("S1")
            assert len(found) == 99
            assert found["Device.P7"].value == "2"
            await store.flush()
        assert not store._hots["S1"].merging
        await store.close()

    asyncio.run(scene())


def test_what_a_delta_holds_is_never_older_than_the_values(tmp_path: Path) -> None:
    """A parameter of the Inform that is then read with a hundred others shows the newer value, also after a restart."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[a_device()]))
        await store.commit(unit(values=[ValuesChange("S1", {"Device.P1": StoredValue("informed", updated=1.0)})]))
        many = {f"Device.P{n}": StoredValue("read", updated=2.0) for n in range(100)}
        await store.commit(unit(values=[ValuesChange("S1", many)]))
        for _ in range(2):
            assert (await store.values("S1", "Device.P1"))["Device.P1"].value == "read"
            assert (await store.reported("S1"))["Device.P1"] == "read"
            await store.close()
            store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(values=[ValuesChange("S1", {}, ("Device.P1",))]))
        assert "Device.P1" not in await store.values("S1")
        assert "Device.P1" not in await store.reported("S1")
        await store.close()

    asyncio.run(scene())


def test_values_that_cannot_be_read_stop_only_their_device(tmp_path: Path) -> None:
    """A broken blob is told with the cure; other devices' writes go on."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
        many = {f"Device.P{n}": StoredValue("1") for n in range(100)}
        for id in ("S1", "S2"):
            await store.commit(unit(values=[ValuesChange(id, many)]))
        await store._write([Statement(Mode.ONE, "UPDATE device_values SET vals = x'C1' WHERE device = 1", ())])
        with pytest.raises(StoreError, match="values of S1 cannot be read"):
            await store.commit(unit(values=[ValuesChange("S1", many)]))
        await store.commit(unit(values=[ValuesChange("S2", many)]))
        assert len(await store.values("S2")) == 100
        await store.close()

    asyncio.run(scene())


def test_what_does_not_fit_takes_nothing_with_it(tmp_path: Path) -> None:
    """An event of a device that is gone, among sessions and commits of others in the same moment: only it is lost."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
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
