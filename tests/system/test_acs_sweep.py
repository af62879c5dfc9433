"""Overdue work ends by itself: written, published, posted and counted although its device does not come. The ACS's clock is the test's."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from homeport.acs.records import TaskPhase, TaskRecord, TaskStatus
from homeport.acs.services import overdue
from homeport.acs.storage.interface import TaskChange, UnitOfWork
from homeport.codec import messages as m
from support.acs_clock import Clock
from support.acs_wire import Bed, Connection, acs, id_of, run

pytestmark = pytest.mark.system

FIRMWARE = {"file_type": "1 Firmware Upgrade Image", "url": "http://u:secret@192.0.2.1/x", "password": "hidden"}


def accept(request: m.Request) -> m.Message | None:
    """A device that promises everything."""
    match request:
        case m.Reboot():
            return m.RebootResponse()
        case m.FactoryReset():
            return m.FactoryResetResponse()
        case m.Download():
            return m.DownloadResponse(1, m.UNKNOWN_TIME, m.UNKNOWN_TIME)
    return None


async def stored(bed: Bed, task: Any) -> tuple[str, str, float | None]:
    """How the task's row stands."""
    found = await bed.app.store.task(task["id"])
    assert found is not None
    return found.status.value, found.phase.value, found.finished


async def ended_count(bed: Bed, status: str) -> float:
    """What Prometheus is told."""
    text = (await bed.rest("GET", "/metrics")).body.decode()
    name = f'homeport_tasks_ended_total{{status="{status}"}} '
    return next((float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)), 0.0)


def test_what_is_over_is_written_and_told_without_its_device(tmp_path: Path) -> None:
    """An expired, a rebooted and an upgraded one: the row, the event stream, the webhook's queue, the metrics; and who waits is woken."""
    clock = Clock()

    async def scene() -> None:
        async with acs(tmp_path, clock=clock, restart_timeout=300, transfer_timeout=3600) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            reboot = await bed.task("Reboot")
            download = await bed.task("Download", FIRMWARE)
            await device.session(handler=accept)
            queued = await bed.task("Reboot", expires_in=60, priority=-1)
            plain = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            assert await stored(bed, reboot) == ("running", "transfer", None)
            assert (
                await bed.rest("POST", "webhooks", {"name": "w", "url": "http://127.0.0.1:9/", "events": ["task"]})
            ).status == 201
            waiter = asyncio.create_task(_waiting(bed, queued))
            async with bed.app.hub.bus.listen() as stream:
                await _until(lambda: queued["id"] in bed.app.hub.bus._waiters)
                clock.pass_by(100)
                await bed.app.overdue.sweep()
                assert (await asyncio.wait_for(waiter, 10))["status"] == "expired"
                clock.pass_by(300)
                await bed.app.overdue.sweep()
                clock.pass_by(3600)
                await bed.app.overdue.sweep()
                events = [stream.get_nowait() for _ in range(stream.qsize())]
            told = [(e["task"], e["status"]) for e in events if e["kind"] == "task"]
            assert told == [(queued["id"], "expired"), (reboot["id"], "failed"), (download["id"], "failed")]
            now = [await bed.task_now(t) for t in (queued, reboot, download)]
            assert now[0]["finished"] == queued["expires"]
            assert [(t["status"], t["phase"]) for t in now[1:]] == [("failed", "overdue")] * 2
            assert "has not told of its restart (M Reboot) within 300 s" in now[1]["fault"]["string"]
            for task in (queued, reboot, download):
                kept = await bed.app.store.task(task["id"])
                assert kept is not None
                assert kept.status in (TaskStatus.EXPIRED, TaskStatus.FAILED)
                assert b"hidden" not in repr(kept.args).encode()  # nobody needs the secret any more
            posts = await bed.app.store.documents("delivery:w", limit=10)
            assert [json.loads(_body(d.record))["data"]["task"] for d in posts.items] == [id for id, _ in told]
            assert (await ended_count(bed, "expired"), await ended_count(bed, "failed")) == (1, 2)
            assert [t.id for t in await bed.app.store.open_tasks(id_of())] == [plain["id"]]

    run(scene())


def _body(record: bytes) -> bytes:
    body: bytes = msgspec.msgpack.decode(record)["body"]
    return body


async def _waiting(bed: Bed, task: Any) -> Any:
    """The answer to a long wait, on a connection of its own."""
    connection = await Connection.to(bed.app.http_url)
    answer = await connection.request(
        "GET", f"/api/v1/tasks/{task['id']}?wait=300", headers={"Authorization": f"Bearer {bed.token}"}
    )
    await connection.close()
    return answer.json


async def _until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


def test_the_house_keeping_sweeps_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks for it: the row changes with the clock, also for what was queued before the ACS was started."""
    monkeypatch.setattr(overdue, "EVERY", 0.02)

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            task = await bed.task("Reboot", expires_in=3600)
        clock = Clock()
        clock.now = 4_000_000_000.0
        async with acs(tmp_path, clock=clock) as bed:
            async with asyncio.timeout(10):
                while (await stored(bed, task))[0] != "expired":
                    await asyncio.sleep(0.01)

    assert overdue.EVERY <= 5
    run(scene())


def test_many_overdue_tasks_end_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sweep ends all, some at a time; one that somebody has changed meanwhile holds no other up."""
    monkeypatch.setattr(overdue, "BATCH", 4)
    clock = Clock()

    async def scene() -> None:
        async with acs(tmp_path, clock=clock) as bed:
            await (await bed.device()).session("1 BOOT")
            tasks = [await bed.task("Reboot", expires_in=60) for _ in range(10)]
            clock.pass_by(61)
            store, look = bed.app.store, bed.app.store.due_tasks

            async def and_somebody_cancels(**asked: Any) -> Any:
                found = await look(**asked)
                for task in found:
                    if task.id == tasks[1]["id"]:
                        unit = UnitOfWork()
                        unit.tasks.append(_cancelled(task))
                        await store.commit(unit)
                return found

            monkeypatch.setattr(store, "due_tasks", and_somebody_cancels)
            await bed.app.overdue.sweep()
            states = [(await stored(bed, t))[0] for t in tasks]
            assert states == ["expired", "cancelled", *["expired"] * 8]

    run(scene())


def _cancelled(task: TaskRecord) -> TaskChange:
    return TaskChange(replace(task, status=TaskStatus.CANCELLED), frozenset({task.status}))


def test_what_is_being_asked_is_left_to_its_session(tmp_path: Path) -> None:
    """A read that expires while its question is out: the answer counts, however late."""
    clock = Clock()

    async def scene() -> None:
        async with acs(tmp_path, clock=clock) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]}, expires_in=60)
            await device.inform()
            await device.post(None)
            clock.pass_by(100)
            await bed.app.overdue.sweep()
            assert (await bed.task_now(task))["status"] == "running"
            answer = m.GetParameterValuesResponse((m.ParameterValueStruct("Device.X", "v"),))
            await device.post(answer, id=None)
            assert (await bed.task_now(task))["status"] == "done"

    run(scene())


LATE_RESTARTS: list[tuple[str, list[str], list[str], str]] = [
    ("Reboot", [], ["1 BOOT", "M Reboot=k"], "done"),
    ("Reboot", ["2 PERIODIC"], ["1 BOOT", "M Reboot=k"], "done"),
    ("Reboot", [], ["1 BOOT"], "done"),
    ("Reboot", ["2 PERIODIC"], ["1 BOOT"], "failed"),
    ("FactoryReset", [], ["0 BOOTSTRAP", "1 BOOT"], "done"),
]
"""(method, sessions before, the events that tell of it, what the task is then)"""


def test_a_restart_that_is_told_of_after_its_end_was_written_counts_yet(tmp_path: Path) -> None:
    """The failure said only that nothing was heard. A boot without the task's key counts where it is the first sign of life."""
    clock = Clock()

    async def scene() -> None:
        async with acs(tmp_path, clock=clock) as bed:
            tasks = []
            for n, (rpc, *_) in enumerate(LATE_RESTARTS):
                device = await bed.device(f"S{n}")
                await device.session("1 BOOT")
                tasks.append(await bed.task(rpc, {"command_key": "k"} if rpc == "Reboot" else {}, serial=f"S{n}"))
                await device.session(handler=accept)
            clock.pass_by(1000)
            await bed.app.overdue.sweep()
            for device, task, (rpc, between, told, status) in zip(bed.devices, tasks, LATE_RESTARTS, strict=True):
                assert (await stored(bed, task))[:2] == ("failed", TaskPhase.OVERDUE)
                for event in between:
                    await device.session(event)
                async with bed.app.hub.bus.listen() as stream:
                    await device.session(*told)
                    events = [stream.get_nowait() for _ in range(stream.qsize())]
                now = await bed.task_now(task)
                assert (now["status"], now["fault"] is None) == (status, status == "done"), (rpc, between, told)
                again = [e["status"] for e in events if e["kind"] == "task"]
                assert again == (["done"] if status == "done" else [])

    run(scene())


def test_a_transfer_that_is_told_of_after_its_end_was_written_counts_yet(tmp_path: Path) -> None:
    """By its CommandKey, as success or as the fault that it was; told twice it counts once."""
    clock = Clock()

    async def scene() -> None:
        async with acs(tmp_path, clock=clock, transfer_timeout=3600) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            good, bad, other = [await bed.task("Download", FIRMWARE | {"command_key": key}) for key in "gbo"]
            await device.session(handler=accept)
            clock.pass_by(4000)
            await bed.app.overdue.sweep()
            await device.inform("7 TRANSFER COMPLETE", "M Download=g", "M Download=b")
            for key, code in (("g", 0), ("b", 9010)):
                assert (await stored(bed, {"g": good, "b": bad}[key]))[:2] == ("failed", TaskPhase.OVERDUE)
                end = m.TransferComplete(key, m.FaultStruct(code, "said"), m.UNKNOWN_TIME, m.UNKNOWN_TIME)
                for _ in range(2):
                    assert isinstance((await device.post(end)).message, m.TransferCompleteResponse)
            await device.post(None)
            now = [await bed.task_now(task) for task in (good, bad, other)]
            assert [(t["status"], t["phase"]) for t in now] == [("done", None), ("failed", None), ("failed", "overdue")]
            assert (now[0]["fault"], now[1]["fault"]["code"]) == (None, 9010)
            page = await bed.app.store.events_of(id_of(), limit=50, cursor=None)
            assert [e.code for e in page.items].count("TransferComplete") == 2

    run(scene())


def test_patience_that_was_made_longer_counts_after_a_restart(tmp_path: Path) -> None:
    """What is waited for already is waited for longer, and is looked at again in time."""
    clock = Clock()

    async def scene() -> None:
        async with acs(tmp_path, clock=clock, restart_timeout=100) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("Reboot")
            await device.session(handler=accept)
        async with acs(tmp_path, clock=clock, restart_timeout=1000) as bed:
            for seconds, state in ((500, "running"), (400, "running"), (200, "failed")):
                clock.pass_by(seconds)
                await bed.app.overdue.sweep()
                assert (await stored(bed, task))[0] == state
                if state == "running":
                    assert list(await bed.app.store.due_tasks(now=clock.now, limit=9)) == []

    run(scene())
