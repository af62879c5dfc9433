"""What SQLite adds to the contract: its file lives through restarts, kills, damage and new layouts; what is stored once in it for many."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from homeport.acs.records import DeviceState, StoredValue
from homeport.acs.storage.interface import ValuesChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.archive import backup, check, restore
from homeport.acs.storage.sql.queries import QUERIES, migrations
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.storage.sql.writer import Mode, Statement
from homeport.acs.storage.values import column_of
from homeport.acs.where import parse
from homeport.errors import StoreError
from support.sqlite_store import device_called, reopened
from support.store_rows import unit


def test_everything_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    """Closing writes what waited: touched facts and histories too."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        await store.commit(unit(devices=[device_called()]))
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


def test_a_database_of_a_newer_homeport_is_left_alone(tmp_path: Path) -> None:
    """An unknown layout is refused with the cure, not guessed at."""
    connection = sqlite3.connect(tmp_path / "acs.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StoreError, match="newer Homeport"):
        asyncio.run(SqliteStore(tmp_path / "acs.db").open())


def test_a_damaged_database_is_told_with_the_cure(tmp_path: Path) -> None:
    """Who starts the ACS reads what to do."""
    (tmp_path / "acs.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match=r"damaged: put it aside .* homeport acs db restore"):
        asyncio.run(SqliteStore(tmp_path / "acs.db").open())


def test_values_that_cannot_be_read_stop_only_their_device(tmp_path: Path) -> None:
    """A broken blob is told with the cure; other devices' writes go on."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called("S1"), device_called("S2")]))
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


def test_devices_of_one_model_share_their_path_list(tmp_path: Path) -> None:
    """The list of paths is stored once, and goes with its last device."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        await store.commit(unit(devices=[device_called(f"S{i}") for i in range(5)]))
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


def test_devices_that_tell_the_same_share_the_paths_of_their_deltas(tmp_path: Path) -> None:
    """The second one makes a form; it is found again after a restart, by backups and searches; a damaged delta harms nobody."""

    async def scene() -> None:
        path = tmp_path / "acs.db"
        told = {f"Device.P{n}": StoredValue(f"v{n}", updated=3.0) for n in range(5)}
        store = SqliteStore(path, write_behind=60)
        await store.open()
        await store.commit(unit(devices=[device_called(f"S{i}") for i in range(6)]))
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
        short = column_of({"Device.P0": StoredValue("v")}).packed()
        for id, blob in (("S5", b"\x93"), ("S4", short), ("S3", None)):
            await store._write([Statement(Mode.ONE, "UPDATE device SET delta = ? WHERE id = ?", (blob, id))])
        await store.close()
        counts, wrong = await check(path)
        assert counts["device_delta"] == 5 and len(wrong) == 2
        store = await reopened(path)
        assert (await store.reported("S2"))["Device.P1"] == "new"
        for id in ("S5", "S4", "S3"):
            assert await store.reported(id) == {}
            store.touch(id, {"last_inform": 5.0}, told)
        await store.close()
        await backup(path, tmp_path / "b")
        await restore(tmp_path / "new.db", tmp_path / "b")
        again = await reopened(tmp_path / "new.db")
        assert (await again.values("S1"))["Device.P1"] == StoredValue("new", updated=4.0)
        for id in ("S5", "S4", "S3"):
            assert await again.values(id) == told
        await again.close()

    asyncio.run(scene())


def test_an_inform_costs_the_same_however_many_tasks_its_device_has_had(tmp_path: Path) -> None:
    """Whether there is an open one is asked of the index of the open ones."""

    async def scene() -> None:
        store = await reopened(tmp_path / "acs.db")
        plan = store._read.execute(f"EXPLAIN QUERY PLAN {QUERIES['hot_device']}", ("S1",)).fetchall()
        assert any("INDEX task_open" in str(row[3]) for row in plan)
        await store.close()

    asyncio.run(scene())
