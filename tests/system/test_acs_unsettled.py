"""Tasks that nobody settles: those that wait for one which failed, and those whose answer was lost. The ACS's clock is the test's."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.engine import settle
from homeport.acs.records import TaskStatus
from homeport.acs.services import overdue
from homeport.acs.storage.interface import TaskChange, UnitOfWork
from homeport.codec import messages as m
from homeport.codec.envelope import decode
from support.acs_clock import Clock
from support.acs_wire import Bed, Device, acquainted, acs, id_of, played

pytestmark = pytest.mark.system

ROW = {"object_name": "Device.T."}
FIRMWARE = {"file_type": "1 Firmware Upgrade Image", "url": "http://192.0.2.1/x"}
SETTING = {"parameter_list": [{"name": "Device.X", "value": "1", "type": "string"}]}


async def ended(bed: Bed, task: Any) -> Any:
    """The task when it has ended by itself."""
    return (await bed.rest("GET", f"tasks/{task['id']}?wait=10")).json


async def lose(bed: Bed, device: Device) -> None:
    """A session that breaks off when the ACS has asked for something."""
    device.cookie = ""
    await device.inform()
    assert (await device.post(None)).status == 200
    live = bed.app.door.live.of_device(id_of(device.serial))
    assert live is not None
    await bed.app.door._give_up(live, "aborted", "the line broke")
    device.cookie = ""


@played
async def test_who_waits_for_a_task_that_was_cancelled_ends_at_once(tmp_path: Path) -> None:
    """A whole chain, over two devices, none of which comes; each names the one that it waited for, and its waiter is woken."""
    async with acquainted(tmp_path, database="memory:") as (bed, _):
        await (await bed.device("S2")).session("1 BOOT")
        first = await bed.task("Reboot")
        chain = [first]
        for n in range(6):
            chain.append(await bed.task("Reboot", serial=("S1", "S2")[n % 2], after=chain[-1]["id"]))
        other = await bed.task("Reboot")
        waiter = asyncio.create_task(bed.app.hub.bus.wait(chain[-1]["id"], 10))
        assert (await bed.rest("DELETE", f"tasks/{first['id']}")).json["status"] == "cancelled"
        assert await waiter
        for before, task in itertools.pairwise(chain):
            now = await bed.task_now(task)
            state = "cancelled" if before is first else "failed"
            assert now["status"] == "failed"
            assert now["fault"]["string"] == f"the task {before['id']}, which this one waits for, is {state}"
        assert (await bed.task_now(other))["status"] == "queued"
        late = await bed.task("Reboot", after=chain[2]["id"])
        assert (await ended(bed, late))["status"] == "failed"


@played
async def test_who_waits_for_a_task_that_the_device_refused_ends_at_once(tmp_path: Path) -> None:
    """The follower is another device's, which is not there."""
    async with acquainted(tmp_path, database="memory:") as (bed, device):
        await (await bed.device("S2")).session("1 BOOT")
        first = await bed.task("Reboot")
        follower = await bed.task("Reboot", serial="S2", after=first["id"])
        await device.session()
        assert (await ended(bed, follower))["status"] == "failed"


@played
async def test_who_waits_for_a_task_that_the_clock_ended_ends_with_it(tmp_path: Path) -> None:
    """In the same sweep, also where there are more of them than it takes at a time, and with what they tell: event and metric."""
    clock = Clock()
    async with acquainted(tmp_path, database="memory:", clock=clock) as (bed, _):
        first = await bed.task("Reboot", expires_in=60)
        followers = [await bed.task("Reboot", after=first["id"]) for _ in range(overdue.BATCH // 20)]
        last = await bed.task("Reboot", after=followers[-1]["id"], expires_in=9_000)
        clock.pass_by(61)
        async with bed.app.hub.bus.listen() as stream:
            await bed.app.overdue.sweep()
            told = [stream.get_nowait() for _ in range(stream.qsize())]
        assert [e["status"] for e in told if e["kind"] == "task"] == ["expired", *["failed"] * (len(followers) + 1)]
        kept = await bed.app.store.task(last["id"])
        assert kept is not None
        assert kept.status is TaskStatus.FAILED
        assert bed.app.hub.stats.tasks == {"expired": 1, "failed": len(followers) + 1}


@played
async def test_what_is_not_known_ends_by_the_clock(tmp_path: Path) -> None:
    """At the expiry, but not before the device could be back; without one after unknown_timeout; each says that it is not known."""
    clock = Clock()
    async with acquainted(tmp_path, database="memory:", clock=clock, unknown_timeout=5_000, restart_timeout=300) as (
        bed,
        device,
    ):
        short = await bed.task("SetParameterValues", SETTING, expires_in=30)
        await lose(bed, device)
        open_ended = await bed.task("Reboot")
        follower = await bed.task("Reboot", after=open_ended["id"])
        clock.pass_by(200)
        await bed.app.overdue.sweep()
        assert (await bed.task_now(short))["status"] == "unknown"
        clock.pass_by(200)
        await bed.app.overdue.sweep()
        now = await bed.task_now(short)
        assert (now["status"], now["phase"]) == ("failed", "overdue")
        assert "it is not known whether the device has done it" in now["fault"]["string"]
        await lose(bed, device)
        clock.pass_by(4_900)
        await bed.app.overdue.sweep()
        assert (await bed.task_now(open_ended))["status"] == "unknown"
        clock.pass_by(200)
        await bed.app.overdue.sweep()
        assert [(await bed.task_now(t))["status"] for t in (open_ended, follower)] == ["failed", "failed"]
        assert bed.app.hub.stats.tasks == {"failed": 3}


@played
async def test_what_is_told_after_the_clock_gave_up_still_counts(tmp_path: Path) -> None:
    """The restart by its event, with its key or as the first sign of life; the transfer by its key."""
    clock = Clock()
    async with acs(tmp_path, database="memory:", clock=clock, unknown_timeout=5_000) as bed:
        tasks = {}
        for serial, wish in (("KEY", ("Reboot", {})), ("BOOT", ("Reboot", {})), ("END", ("Download", FIRMWARE))):
            device = await bed.device(serial)
            await device.session("1 BOOT")
            tasks[serial] = await bed.task(*wish, serial=serial, expires_in=60)
            await lose(bed, device)
        clock.pass_by(9_000)
        await bed.app.overdue.sweep()
        for device in bed.devices:
            task = await bed.app.store.task(tasks[device.serial]["id"])
            assert task is not None
            assert task.phase == "overdue"
            key = task.command_key
            match device.serial:
                case "KEY":
                    await device.session("2 PERIODIC")
                    await device.session("1 BOOT", f"M Reboot={key}")
                case "BOOT":
                    await device.session("1 BOOT")
                case _:
                    await device.inform("7 TRANSFER COMPLETE", f"M Download={key}")
                    await device.post(m.TransferComplete(key, m.FaultStruct(0, ""), m.UNKNOWN_TIME, m.UNKNOWN_TIME))
            now = await bed.task_now(tasks[device.serial])
            assert (now["status"], now["fault"]) == ("done", None)


@played
async def test_what_has_expired_meanwhile_is_not_sent_again(tmp_path: Path) -> None:
    """Its device is back before the clock has ended it: it is not told to be expired, as if nothing had been sent."""
    clock = Clock()
    async with acquainted(tmp_path, database="memory:", clock=clock) as (bed, device):
        task = await bed.task("SetParameterValues", SETTING, expires_in=60)
        await lose(bed, device)
        clock.pass_by(100)
        await device.session()
        assert device.heard == []
        now = await bed.task_now(task)
        assert now["status"] == "failed"
        assert "not known whether the device has done it" in now["fault"]["string"]


@played
async def test_a_vendor_s_method_is_not_done_twice_on_a_guess(tmp_path: Path) -> None:
    """Nobody knows what it does."""
    async with acquainted(tmp_path, database="memory:") as (bed, device):
        task = await bed.task("X_00D0F1_Wipe")
        await lose(bed, device)
        await device.session()
        assert device.heard == []
        assert "X_00D0F1_Wipe" in (await bed.task_now(task))["fault"]["string"]


@played
async def test_an_object_that_was_deleted_at_the_first_try_is_deleted(tmp_path: Path) -> None:
    """The answer was lost; the second DeleteObject is answered with 9005, and its table does not list it: it is forgotten here, too.

    At a first try, or where the object is listed, that is a failure.
    """
    rows = ["Device.T.2."]

    def table(request: m.Request) -> m.Message:
        if isinstance(request, m.GetParameterNames):
            return m.GetParameterNamesResponse(tuple(m.ParameterInfoStruct(name, True) for name in rows))
        return m.FaultMessage(9005, "Invalid parameter name")

    async with acquainted(tmp_path, database="memory:") as (bed, device):
        await device.session("4 VALUE CHANGE", parameters={"Device.T.1.Name": "x"})
        for name, expected in (("Device.T.1.", ("done", None)), ("Device.T.2.", ("failed", 9005))):
            task = await bed.task("DeleteObject", {"object_name": name})
            await lose(bed, device)
            await device.session(handler=table)
            now = await bed.task_now(task)
            assert (now["status"], now["fault"] and now["fault"]["code"]) == expected
        assert "Device.T.1.Name" not in await bed.app.store.values(id_of())
        first = await bed.task("DeleteObject", {"object_name": "Device.T.3."})
        await device.session(handler=table)
        assert (await bed.task_now(first))["fault"]["code"] == 9005


@played
async def test_a_lost_row_is_looked_for_before_another_is_made(tmp_path: Path) -> None:
    """However urgent the other one is: its row would be taken for the lost one, which was never made."""
    rows = [1]

    def table(request: m.Request) -> m.Message | None:
        if isinstance(request, m.GetParameterNames):
            return m.GetParameterNamesResponse(tuple(m.ParameterInfoStruct(f"Device.T.{n}.", True) for n in rows))
        if isinstance(request, m.AddObject):
            rows.append(rows[-1] + 1)
            return m.AddObjectResponse(rows[-1])
        return None

    async with acquainted(tmp_path, database="memory:") as (bed, device):
        lost = await bed.task("AddObject", ROW)
        await device.inform()
        asked = await device.post(None)
        envelope = decode(asked.body)
        assert isinstance(envelope.body, m.GetParameterNames)
        await device.post(table(envelope.body), id=envelope.id)  # AddObject is on its way, and never arrives
        device.cookie = ""
        urgent = await bed.task("AddObject", ROW, priority=9)
        await device.session(handler=table)
        made = [(await bed.task_now(t))["result"]["instance_number"] for t in (urgent, lost)]
        assert sorted(made) == [2, 3]
        assert rows == [1, 2, 3]


@played
async def test_the_clock_leaves_alone_what_is_being_settled(tmp_path: Path) -> None:
    """The device is being asked in this moment; what it answers counts."""
    clock = Clock()
    async with acs(tmp_path, database="memory:", clock=clock, unknown_timeout=5_000) as bed:
        device = await bed.device(urn="urn:dslforum-org:cwmp-1-2")
        await device.session("1 BOOT")
        task = await bed.task("Download", FIRMWARE | {"command_key": "k"})
        await lose(bed, device)
        clock.pass_by(6_000)
        await device.inform()
        asked = await device.post(None)
        await bed.app.overdue.sweep()
        assert (await bed.task_now(task))["status"] == "unknown"
        queue = m.GetAllQueuedTransfersResponse((m.AllQueuedTransferStruct("k", 2, True, "1", 0, ""),))
        await device.post(queue, id=decode(asked.body).id)
        assert (await bed.task_now(task))["status"] == "running"


@played
async def test_what_comes_after_a_factory_reset_waits_until_it_was_done(tmp_path: Path) -> None:
    """A setting in the same session would be accepted, and forgotten with everything else."""

    def accept(request: m.Request) -> m.Message | None:
        match request:
            case m.FactoryReset():
                return m.FactoryResetResponse()
            case m.SetParameterValues():
                return m.SetParameterValuesResponse(0)
        return None

    async with acquainted(tmp_path, database="memory:") as (bed, device):
        await bed.task("FactoryReset")
        setting = await bed.task("SetParameterValues", SETTING)
        await device.session(handler=accept)
        await device.session("2 PERIODIC", handler=accept)
        assert [message.element for message in device.heard if isinstance(message, m.Request)] == ["FactoryReset"]
        await device.session("0 BOOTSTRAP", "1 BOOT", handler=accept)
        assert (await bed.task_now(setting))["status"] == "done"


@played
async def test_a_transfer_that_was_called_off_ends(tmp_path: Path) -> None:
    """The device tells no end of it; another one goes on, and so does one that the device would not call off."""

    def accept(request: m.Request) -> m.Message | None:
        match request:
            case m.Download():
                return m.DownloadResponse(1, m.UNKNOWN_TIME, m.UNKNOWN_TIME)
            case m.CancelTransfer(command_key="a"):
                return m.CancelTransferResponse()
        return m.FaultMessage(9021, "not permitted now")

    async with acquainted(tmp_path, database="memory:") as (bed, device):
        device.urn = "urn:dslforum-org:cwmp-1-2"
        loads = [await bed.task("Download", FIRMWARE | {"command_key": key}) for key in "ab"]
        follower = await bed.task("Reboot", after=loads[0]["id"])
        await device.session(handler=accept)
        stops = [await bed.task("CancelTransfer", {"command_key": key}) for key in "ab"]
        await device.session(handler=accept)
        assert [(await bed.task_now(t))["status"] for t in (*loads, *stops)] == [
            "cancelled",
            "running",
            "done",
            "failed",
        ]
        assert (await bed.task_now(loads[0]))["result"]["cancelled_by"] == stops[0]["id"]
        assert (await ended(bed, follower))["status"] == "failed"


@played
async def test_a_killed_acs_has_ended_both_tasks_of_a_cancelled_transfer_or_none(tmp_path: Path) -> None:
    """One commit holds the end of CancelTransfer and of what it called off: else nobody would ever end the latter."""
    answers = {m.Download: m.DownloadResponse(1, m.UNKNOWN_TIME, m.UNKNOWN_TIME)}
    async with acquainted(tmp_path, database="memory:") as (bed, device):
        device.urn = "urn:dslforum-org:cwmp-1-2"
        load = await bed.task("Download", FIRMWARE | {"command_key": "a"})
        await device.session(handler=lambda r: answers.get(type(r), m.CancelTransferResponse()))
        stop = await bed.task("CancelTransfer", {"command_key": "a"})
        commit, together = bed.app.store.commit, []

        async def noted(unit: UnitOfWork) -> None:
            together.append({c.record.id: c.record.status for c in unit.tasks})
            await commit(unit)

        bed.app.store.commit = noted  # type: ignore[method-assign]
        await device.session(handler=lambda r: answers.get(type(r), m.CancelTransferResponse()))
    assert {stop["id"]: TaskStatus.DONE, load["id"]: TaskStatus.CANCELLED} in together


@played
async def test_a_transfer_that_the_device_has_forgotten_with_its_settings_ends(tmp_path: Path) -> None:
    """After 0 BOOTSTRAP the queue is asked: one that it names goes on, another has failed and is not sent again."""
    sent = []

    def answer(request: m.Request) -> m.Message | None:
        sent.append(type(request))
        match request:
            case m.Download():
                return m.DownloadResponse(1, m.UNKNOWN_TIME, m.UNKNOWN_TIME)
            case m.GetAllQueuedTransfers():
                return m.GetAllQueuedTransfersResponse((m.AllQueuedTransferStruct("b", 1, True, "1", 0, ""),))
        return None

    async with acquainted(tmp_path, database="memory:") as (bed, device):
        device.urn = "urn:dslforum-org:cwmp-1-2"
        forgotten, kept, told = [await bed.task("Download", FIRMWARE | {"command_key": key}) for key in "abc"]
        await device.session(handler=answer)
        await device.session("0 BOOTSTRAP", "1 BOOT", "7 TRANSFER COMPLETE", "M Download=c", handler=answer)
        assert [(await bed.task_now(t))["status"] for t in (forgotten, kept, told)] == ["running"] * 3
        device.cookie = ""
        await device.session("0 BOOTSTRAP", "1 BOOT", handler=answer)
        assert [(await bed.task_now(t))["status"] for t in (forgotten, kept)] == ["failed", "running"]
        assert "factory settings" in (await bed.task_now(forgotten))["fault"]["string"]
        assert sent.count(m.Download) == 3
        await device.inform("7 TRANSFER COMPLETE", "M Download=a")
        await device.post(m.TransferComplete("a", m.FaultStruct(0, ""), m.UNKNOWN_TIME, m.UNKNOWN_TIME))
        assert (await bed.task_now(forgotten))["status"] == "done"


@played
async def test_a_transfer_that_is_told_of_before_it_is_sent_again_is_not_sent_again(tmp_path: Path) -> None:
    """The device's queue did not name it any more, and the session broke off before it was sent once more."""
    async with acquainted(tmp_path, database="memory:") as (bed, device):
        device.urn = "urn:dslforum-org:cwmp-1-2"
        task = await bed.task("Download", FIRMWARE | {"command_key": "k"})
        await lose(bed, device)
        kept = await bed.app.store.task(task["id"])
        assert kept is not None
        unit = UnitOfWork()
        unit.tasks.append(TaskChange(settle.again(kept, 3, 0.0), frozenset({TaskStatus.UNKNOWN})))
        await bed.app.store.commit(unit)
        device.cookie = ""
        await device.inform("7 TRANSFER COMPLETE")
        await device.post(m.TransferComplete("k", m.FaultStruct(0, ""), m.UNKNOWN_TIME, m.UNKNOWN_TIME))
        assert (await device.post(None)).status == 204
        assert (await bed.task_now(task))["status"] == "done"
