"""Sessions that break off between a request and its answer: what becomes of the task, and what is never done twice."""

from pathlib import Path

import pytest

from homeport.codec.envelope import decode
from homeport.codec.messages import (
    AddObject,
    AddObjectResponse,
    DownloadResponse,
    GetAllQueuedTransfersResponse,
    GetParameterNames,
    GetParameterNamesResponse,
    Message,
    ParameterInfoStruct,
    RebootResponse,
    Request,
)
from support.acs_wire import acquainted, played, values

pytestmark = pytest.mark.system


@pytest.mark.case("S47")
@played
async def test_a_device_that_disappears_leaves_its_task_unknown(tmp_path: Path) -> None:
    """After the time limit the session is over; the task is kept, and sent again where that does no harm."""
    async with acquainted(tmp_path, session_timeout=30.0) as (bed, device):
        read = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
        queued = await bed.task("GetParameterValues", {"parameter_names": ["Device.Y"]})
        await device.inform()
        await device.post(None)
        door = bed.app.door
        clock = door._clock
        door._clock = lambda: clock() + 31.0
        await door.expire()
        door._clock = clock
        assert len(door.live) == 0
        assert (await bed.task_now(read))["status"] == "unknown"
        assert (await bed.task_now(queued))["status"] == "queued"
        device.cookie = ""
        await device.session(handler=values)
        assert (await bed.task_now(read))["status"] == "done"
        assert (await bed.task_now(queued))["status"] == "done"


@played
async def test_what_may_not_be_done_twice_is_not_sent_again_after_an_empty_answer(tmp_path: Path) -> None:
    """Whether the device rebooted is unknown; its next Inform tells, and a blind second Reboot would be a second outage."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("Reboot")
        await device.inform()
        assert (await device.post(None)).status == 200
        assert (await device.post(None)).status == 204
        assert (await bed.task_now(task))["status"] == "unknown"
        await device.session("1 BOOT")
        assert (await bed.task_now(task))["status"] == "done"


@played
async def test_a_lost_add_object_is_settled_by_reading_back(tmp_path: Path) -> None:
    """The instance that the lost answer would have named is found, and no second one is made."""
    rows = [1, 2]

    def names(request: Request) -> Message | None:
        if isinstance(request, GetParameterNames):
            return GetParameterNamesResponse(tuple(ParameterInfoStruct(f"Device.T.{n}.", True) for n in rows))
        if isinstance(request, AddObject):
            rows.append(max(rows) + 1)
            return AddObjectResponse(rows[-1])
        return None

    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("AddObject", {"object_name": "Device.T."})
        await device.inform()
        asked = await device.post(None)
        asked = await device.post(names(decode(asked.body).body), id=decode(asked.body).id)
        names(decode(asked.body).body)
        device.cookie = ""
        await device.session(handler=names)
        done = await bed.task_now(task)
        assert (done["status"], done["result"]["instance_number"]) == ("done", 3)
        assert rows == [1, 2, 3]
        await bed.task("AddObject", {"object_name": "Device.T."})
        await device.session(handler=names)
        assert rows == [1, 2, 3, 4]


@played
async def test_a_lost_reboot_is_settled_by_its_event(tmp_path: Path) -> None:
    """M Reboot with the task's key, or 1 BOOT, tells that the lost Reboot arrived; without it the Reboot is sent again."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("Reboot", {"command_key": "rk"})
        await device.inform()
        await device.post(None)
        device.cookie = ""
        assert (await device.session("1 BOOT", "M Reboot=rk")).status == 204
        assert (await bed.task_now(task))["status"] == "done"
        assert device.heard == []
        again = await bed.task("Reboot")
        await device.inform()
        await device.post(None)
        device.cookie = ""
        await device.session("2 PERIODIC", handler=lambda r: RebootResponse())
        done = await bed.task_now(again)
        assert (done["status"], done["phase"], done["attempts"]) == ("running", "restart", 2)


@played
async def test_a_lost_download_is_not_repeated_on_a_guess(tmp_path: Path) -> None:
    """The device's queue tells whether it took it; only when it did not, it is sent again."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("Download", {"file_type": "1 Firmware Upgrade Image", "url": "http://x/f"})
        await device.inform()
        await device.post(None)
        device.cookie = ""
        await device.session(handler=lambda r: None)
        # In CWMP 1.0 there is no GetAllQueuedTransfers.
        assert [m.element for m in device.heard] == ["GetQueuedTransfers"]
        assert (await bed.task_now(task))["status"] == "unknown"
        await device.session(handler=lambda r: None)
        assert len(device.heard) == 1
        device.urn = "urn:dslforum-org:cwmp-1-2"
        other = await bed.task("Download", {"file_type": "1 Firmware Upgrade Image", "url": "http://x/g"})
        await device.inform()
        await device.post(None)
        device.cookie = ""

        def handler(request: Request) -> Message:
            if request.element == "Download":
                return DownloadResponse(0)
            return GetAllQueuedTransfersResponse()

        await device.session(handler=handler)
        assert (await bed.task_now(other))["status"] == "done"


@played
async def test_a_task_that_is_never_answered_fails_in_the_end(tmp_path: Path) -> None:
    """A device that dies at every try is not tried for ever, and the next task gets its turn."""
    async with acquainted(tmp_path, task_attempts=2) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device.Deadly"]})
        for _ in range(2):
            device.cookie = ""
            await device.inform()
            assert (await device.post(None)).status == 200
        device.cookie = ""
        await device.inform()
        assert (await device.post(None)).status == 204
        failed = await bed.task_now(task)
        assert (failed["status"], failed["fault"]["code"], failed["attempts"]) == ("failed", 0, 2)
