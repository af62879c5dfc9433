"""What SQLite's store shows of devices, histories and documents that are not on the disk yet, and how they come there."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from homeport.acs.records import Document, SessionRecord, StoredValue
from homeport.acs.storage.interface import DocumentChange, SessionChange, ValuesChange
from homeport.acs.storage.sql import hot_devices, sqlite
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.errors import StoreUnavailable
from support.sqlite_store import device_called, reopened
from support.store_rows import unit


def test_closing_writes_all_devices_that_tell_the_same_for_the_first_time(tmp_path: Path) -> None:
    """Also while it is being learnt that they share their paths."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[device_called(f"S{i}") for i in range(4)]))
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
        await store.commit(unit(devices=[device_called()]))
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


def test_values_are_read_while_they_are_on_their_way(tmp_path: Path) -> None:
    """What was given to `later` or is being committed is in every reading, in the order in which it was given."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called()]))
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


def test_a_change_that_ends_while_a_large_tree_is_read_is_in_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large values are read in a thread: from before the commit, perhaps, where the cache is asked after it."""
    monkeypatch.setattr(sqlite, "BULK_BYTES", 0)
    monkeypatch.setattr(sqlite, "PAGED_BYTES", 0)

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called()]))
        await store.commit(unit(values=[ValuesChange("S1", {f"Device.P{n}": StoredValue("1") for n in range(100)})]))
        new = {f"Device.P{n}": StoredValue("2", updated=2.0) for n in range(100)}
        stored = await store._stored_blobs("S1")
        change = asyncio.ensure_future(store.commit(unit(values=[ValuesChange("S1", new)])))
        await asyncio.sleep(0)

        async def before(id: str) -> object:
            await change
            return stored

        monkeypatch.setattr(store, "_stored_blobs", before)
        assert await store.values("S1") == new
        await store.close()

    asyncio.run(scene())


def test_a_list_shows_what_is_on_its_way(tmp_path: Path) -> None:
    """Devices are searched on the disk, so who searches waits for what was just given to the writer."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called()]))
        store.touch("S1", {"last_inform": 5.0}, {})
        store._drain(store._working())  # as the clock does
        assert [d.last_inform for d in (await store.devices(None, limit=9, cursor=None)).items] == [5.0]
        store.later(unit(patches=[("S1", {"model": "m"})]))
        assert [d.model for d in (await store.devices(None, limit=9, cursor=None)).items] == ["m"]
        await store.close()

    asyncio.run(scene())


def test_a_device_that_is_made_anew_while_it_is_deleted_is_the_new_one(tmp_path: Path) -> None:
    """Nothing of the old one is in it, nor in what is changed of it in the same moment; a change waits for who may be gone."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[replace(device_called(), model="old")]))
        gone = asyncio.ensure_future(store.commit(unit(deleted_devices=["S1"])))
        await asyncio.sleep(0)
        assert await store.device("S1") is None
        await asyncio.gather(
            store.commit(unit(devices=[device_called()])),
            store.commit(unit(patches=[("S1", {"tags": ("new",)})])),
            gone,
        )
        for _ in range(2):
            found = await store.device("S1")
            assert found is not None and (found.model, found.tags) == ("", ("new",))
            await store.close()
            store = await reopened(tmp_path / "acs.db")
        await store.close()

    asyncio.run(scene())


def test_more_devices_than_the_cache_holds_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices leave the cache only when nothing of them waits for the disk."""
    monkeypatch.setattr(hot_devices, "CACHED_DEVICES", 8)
    monkeypatch.setattr(hot_devices, "EVICTED_AT_ONCE", 8)

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[device_called(f"S{i:03}") for i in range(100)]))
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


def test_devices_that_are_read_together_are_as_if_each_was_read_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that come twice, are not there, or are in memory with something that is not on the disk."""
    monkeypatch.setattr(hot_devices, "CACHED_DEVICES", 8)
    monkeypatch.setattr(hot_devices, "EVICTED_AT_ONCE", 8)

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called(f"S{i:03}") for i in range(100)]))
        for i in range(100):
            store.touch(f"S{i:03}", {"last_inform": float(i)}, {"Device.X": StoredValue(str(i))})
        await store.flush()
        assert store.absent("S005")
        store.touch("S005", {"last_inform": 500.0}, {})
        assert not store.absent("S005")
        ready: list[bool] = []
        store.read_ahead([f"S{i:03}" for i in (*range(40), *range(20), 500)], lambda: ready.append(True))
        assert ready
        for i in range(32, 40):
            assert not store.absent(f"S{i:03}")
        for i in range(40):
            found = await store.device(f"S{i:03}")
            assert found is not None
            assert found.last_inform == (500.0 if i == 5 else i)
            assert (await store.reported(f"S{i:03}"))["Device.X"] == str(i)
        assert await store.device("S500") is None
        assert len(store._hots) <= 17
        for count in (2, hot_devices.READ_AT_ONCE):
            sql = f"EXPLAIN QUERY PLAN {hot_devices._hot_devices(count)}"
            assert not any("SCAN" in row[3] for row in store._read.execute(sql, ["S"] * count))
        await store.close()
        store.read_ahead(["S001", "S002"], lambda: ready.append(False))
        assert ready == [True, False]
        with pytest.raises(StoreUnavailable):
            await store.device("S001")

    asyncio.run(scene())


def test_many_unwritten_devices_are_written_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the disk stays bounded, however many devices come within the write-behind time."""
    monkeypatch.setattr(hot_devices, "MOST_DIRTY", 10)

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[device_called(f"S{i:03}") for i in range(25)]))
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
    monkeypatch.setattr(hot_devices, "CACHED_DEVICES", 0)
    monkeypatch.setattr(hot_devices, "EVICTED_AT_ONCE", 0)

    async def scene() -> None:
        path = tmp_path / "acs.db"
        store = SqliteStore(path, write_behind=60, pragmas={"busy_timeout": 50})
        await store.open()
        await store.commit(unit(devices=[device_called("S1"), device_called("S2")]))
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
        await store.commit(unit(devices=[device_called("S1"), device_called("S2")]))
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
    monkeypatch.setattr(hot_devices, "CACHED_DEVICES", 0)
    monkeypatch.setattr(hot_devices, "EVICTED_AT_ONCE", 0)

    async def scene() -> None:
        path = tmp_path / "acs.db"
        store = SqliteStore(path, write_behind=60, pragmas={"wal_autocheckpoint": 20})
        await store.open()
        await store.commit(unit(devices=[device_called(f"S{i}") for i in range(50)]))
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


def test_who_reads_a_device_while_it_is_moved_leaves_nothing_behind(tmp_path: Path) -> None:
    """What was read or told of the old id in the moment before the commit does not stay in the cache, nor does a change come back."""

    async def scene() -> None:
        path = tmp_path / "acs.db"
        store = await reopened(path)
        await store.commit(unit(devices=[device_called("S1"), device_called("S2")]))
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


def test_what_a_delta_holds_is_never_older_than_the_values(tmp_path: Path) -> None:
    """A parameter of the Inform that is then read with a hundred others shows the newer value, also after a restart."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called()]))
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
