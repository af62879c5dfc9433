"""A full or locked disk: devices are told to come back, nothing is half-written, service resumes by itself."""

import asyncio
import gc
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from homeport.acs.records import TaskStatus
from homeport.acs.storage.interface import TaskChange, UnitOfWork
from homeport.acs.storage.sql.sqlite import SqliteStore
from support.acs_wire import acquainted, acs, id_of, run, values

pytestmark = pytest.mark.system


async def until_well(store: SqliteStore) -> None:
    """Return when the store has found out by itself that the medium works again."""
    async with asyncio.timeout(20):
        while store.trouble is not None:
            await asyncio.sleep(0)


def test_devices_get_503_while_the_disk_does_not_work(tmp_path: Path) -> None:
    """A new device, a boot event, a transfer's end: none is acknowledged that could not be stored; then all works again."""

    async def scene() -> None:
        async with acs(tmp_path, write_behind=0.01) as bed:
            store = bed.app.store
            assert isinstance(store, SqliteStore)
            known = await bed.device("KNOWN")
            await known.session("1 BOOT")
            await known.inform("7 TRANSFER COMPLETE")
            other = sqlite3.connect(tmp_path / "acs.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            new = await bed.device("NEW")
            answer = await new.inform("0 BOOTSTRAP")
            assert answer.status == 503
            assert 30 <= int(answer.headers["retry-after"]) <= 90
            known.cookie = ""
            assert (await known.inform("2 PERIODIC")).status == 503
            assert (await bed.rest("GET", "health")).json["status"] == "degraded"
            body = {"rpc": "Reboot", "connection_request": False}
            failed = await bed.rest("POST", f"devices/{id_of('KNOWN')}/tasks", body)
            assert (failed.status, failed.json["error"]["code"]) == (503, "unavailable")
            other.execute("ROLLBACK")
            other.close()
            await until_well(store)
            assert (await bed.rest("GET", f"devices/{id_of('NEW')}")).status == 404
            assert (await new.session("0 BOOTSTRAP")).status == 204
            assert (await known.session("2 PERIODIC")).status == 204
            assert (await bed.rest("GET", "health")).json["status"] == "ok"
            assert (await bed.rest("GET", f"devices/{id_of('KNOWN')}/tasks")).json["items"] == []

    run(scene())


def test_values_whose_write_fails_are_read_again(tmp_path: Path) -> None:
    """A device is not made to wait for the disk after it was only read; what does not get there is asked once more, and told once."""

    async def scene() -> None:
        async with acquainted(tmp_path, write_behind=0.01) as (bed, device):
            store = bed.app.store
            assert isinstance(store, SqliteStore)
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.A"]})
            await store.flush()
            other = sqlite3.connect(tmp_path / "acs.db", isolation_level=None)
            begun = await device.inform("2 PERIODIC")
            assert begun.status == 200
            asked = await device.post(b"")
            other.execute("BEGIN IMMEDIATE")
            assert (await device.serve(asked, values)).status == 204
            async with asyncio.timeout(20):
                while store.trouble is None:
                    await asyncio.sleep(0)
            other.execute("ROLLBACK")
            other.close()
            await until_well(store)
            assert (await bed.task_now(task))["status"] == "queued"
            assert (await device.session("2 PERIODIC", handler=values)).status == 204
            now = await bed.task_now(task)
            assert (now["status"], len(now["result"]["parameter_list"])) == ("done", 1)

    run(scene())


def test_a_task_that_is_cancelled_while_its_values_are_written_stays_so(tmp_path: Path) -> None:
    """The end that was stored first counts; what the device told is kept all the same."""

    async def scene() -> None:
        async with acquainted(tmp_path) as (bed, device):
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.A"]})
            await device.inform("2 PERIODIC")
            asked = await device.post(b"")
            (record,) = await bed.app.store.open_tasks(id_of())
            gone = replace(record, status=TaskStatus.CANCELLED, finished=1.0)
            unit = UnitOfWork()
            unit.tasks.append(TaskChange(gone, frozenset({TaskStatus.QUEUED})))
            commit = asyncio.ensure_future(bed.app.store.commit(unit))
            assert (await device.serve(asked, values)).status == 204
            await commit
            assert (await bed.task_now(task))["status"] == "cancelled"
            known = (await bed.rest("GET", f"devices/{id_of()}/parameters?path=Device.A")).json["items"]
            assert [row["path"] for row in known] == ["Device.A"]

    run(scene())


def test_what_was_written_is_let_go_of_without_the_garbage_collector(tmp_path: Path) -> None:
    """A unit with a hundred values that waits for a collection costs memory with every session."""

    async def scene() -> None:
        async with acquainted(tmp_path) as (bed, device):
            gc.collect()
            gc.disable()
            try:
                for _ in range(3):
                    task = await bed.task("GetParameterValues", {"parameter_names": ["Device.A"]})
                    assert (await device.session("2 PERIODIC", handler=values)).status == 204
                    assert (await bed.task_now(task))["status"] == "done"
                await bed.app.store.flush()
                assert [o for o in gc.get_objects() if isinstance(o, UnitOfWork)] == []
            finally:
                gc.enable()

    run(scene())


def test_a_session_whose_answer_was_cut_off_by_a_stop_is_not_given_away(tmp_path: Path) -> None:
    """In the middle of a turn nobody knows what the device will say next: it begins a new session, and its task is settled there."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("0 BOOTSTRAP")
            task = await bed.task(
                "SetParameterValues", {"parameter_list": [{"name": "Device.X", "value": "1", "type": "string"}]}
            )
            store: Any = bed.app.store
            commit, reached = store.commit, asyncio.Event()

            async def slow(unit: UnitOfWork) -> None:
                await commit(unit)
                if unit.leases:
                    reached.set()
                    await asyncio.Event().wait()

            store.commit = slow
            await device.inform()
            cookie = device.cookie.partition("=")[2]
            waiting = asyncio.create_task(device.post(None))
            await reached.wait()
            for answer in bed.app._cwmp[0]._answers:
                answer.cancel()
            await asyncio.sleep(0)
            store.commit = commit
            await bed.app.door.handover.all()
            await store.flush()
            assert await store.lease(cookie) is None
            assert (await bed.task_now(task))["status"] in ("queued", "running")
            waiting.cancel()

    run(scene())
