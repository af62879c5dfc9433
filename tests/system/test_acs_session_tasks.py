"""Tasks in sessions with a running ACS: which goes out when, in which form, and what becomes of it."""

from pathlib import Path

import pytest

from homeport.codec.envelope import decode
from homeport.codec.messages import (
    DownloadResponse,
    FaultMessage,
    FaultStruct,
    GetParameterNames,
    GetParameterNamesResponse,
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterInfoStruct,
    ParameterValueStruct,
    RebootResponse,
    Request,
    SetParameterValues,
    SetParameterValuesFault,
    SetParameterValuesResponse,
    TransferComplete,
)
from support.acs_wire import acquainted, id_of, played, values

pytestmark = pytest.mark.system


@pytest.mark.case("S45")
@pytest.mark.case("T17")
@played
async def test_a_download_ends_with_its_transfer_complete(tmp_path: Path) -> None:
    """The task waits for the TransferComplete with its CommandKey, in whichever session it comes."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task(
            "Download", {"file_type": "1 Firmware Upgrade Image", "url": "http://192.0.2.1/fw", "command_key": "k1"}
        )
        await device.session("2 PERIODIC", handler=lambda r: DownloadResponse(1))
        waiting = await bed.task_now(task)
        assert (waiting["status"], waiting["phase"]) == ("running", "transfer")
        await device.inform("7 TRANSFER COMPLETE", "M Download=k1")
        answer = await device.post(TransferComplete("k1", FaultStruct(0, "")))
        assert answer.message is not None
        assert answer.message.element == "TransferCompleteResponse"
        assert (await device.post(None)).status == 204
        done = await bed.task_now(task)
        assert (done["status"], done["result"]["command_key"]) == ("done", "k1")


@played
async def test_a_failed_transfer_fails_its_task(tmp_path: Path) -> None:
    """The fault of TransferComplete becomes the task's."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("Upload", {"file_type": "2 Vendor Log File", "url": "http://192.0.2.1/log"})
        key = task["args"]["command_key"]
        assert key
        await device.inform("2 PERIODIC")
        asked = await device.post(None)
        assert key.encode() in asked.body
        await device.serve(asked, lambda r: FaultMessage(9011, "no"))
        assert (await bed.task_now(task))["fault"]["code"] == 9011
        second = await bed.task("Download", {"file_type": "3 Vendor Configuration File", "url": "http://x/c"})
        await device.session(handler=lambda r: DownloadResponse(1))
        await device.inform("7 TRANSFER COMPLETE")
        await device.post(TransferComplete(second["args"]["command_key"], FaultStruct(9018, "corrupt")))
        await device.post(None)
        failed = await bed.task_now(second)
        assert (failed["status"], failed["fault"]["code"]) == ("failed", 9018)


@played
async def test_a_task_is_done_in_the_next_session(tmp_path: Path) -> None:
    """What was asked through REST goes out, and its result and the values come back through REST."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X", "Device.Y"]})
        assert task["status"] == "queued"
        assert (await device.session("2 PERIODIC", handler=values)).status == 204
        done = await bed.task_now(task)
        assert done["status"] == "done"
        assert done["result"] == {
            "parameter_list": [
                {"name": "Device.X", "value": "v", "type": "string"},
                {"name": "Device.Y", "value": "v", "type": "string"},
            ]
        }
        items = (await bed.rest("GET", f"devices/{id_of()}/parameters?path=Device.X")).json["items"]
        assert [(i["path"], i["value"]) for i in items] == [("Device.X", "v")]
        sessions = (await bed.rest("GET", f"devices/{id_of()}/sessions")).json["items"]
        shown = (await bed.rest("GET", f"sessions/{sessions[0]['id']}")).json
        assert [(m["direction"], m["element"]) for m in shown["messages"]] == [
            ("cpe", "Inform"),
            ("acs", "InformResponse"),
            ("cpe", ""),
            ("acs", "GetParameterValues"),
            ("cpe", "GetParameterValuesResponse"),
            ("acs", ""),
        ]


@played
async def test_a_task_made_during_a_session_goes_out_in_it(tmp_path: Path) -> None:
    """The ACS looks again at its turn, not only at the Inform."""
    async with acquainted(tmp_path) as (bed, device):
        await device.inform()
        task = await bed.task("Reboot")
        await device.serve(await device.post(None), lambda r: RebootResponse())
        assert (await bed.task_now(task))["phase"] == "restart"


@pytest.mark.case("R63")
@played
async def test_a_fault_fails_the_task_and_the_session_goes_on(tmp_path: Path) -> None:
    """Code and text of the device's fault are shown; the next task is sent in the same session."""
    async with acquainted(tmp_path) as (bed, device):
        bad = await bed.task("GetParameterValues", {"parameter_names": ["Device.None"]})
        good = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})

        def handler(request: Request) -> Message | None:
            if isinstance(request, GetParameterValues) and request.parameter_names == ("Device.None",):
                return FaultMessage(9005, "no such name", side="Client")
            return values(request)

        await device.session(handler=handler)
        failed = await bed.task_now(bad)
        assert (failed["status"], failed["fault"]) == (
            "failed",
            {"code": 9005, "string": "no such name", "parameters": []},
        )
        assert (await bed.task_now(good))["status"] == "done"
        faults = (await bed.rest("GET", "faults")).json["items"]
        assert [(f["code"], f["rpc"], f["task"]) for f in faults] == [(9005, "GetParameterValues", bad["id"])]


@pytest.mark.case("R64")
@played
async def test_a_bad_parameter_does_not_spoil_the_good_ones(tmp_path: Path) -> None:
    """After 9003 the setting is sent once more without the offenders; both outcomes are told per parameter."""
    async with acquainted(tmp_path) as (bed, device):
        rows = [{"name": f"Device.{n}", "value": "1", "type": "string"} for n in ("Good", "Bad")]
        task = await bed.task("SetParameterValues", {"parameter_list": rows, "parameter_key": "pk"})

        def handler(request: Request) -> Message | None:
            assert isinstance(request, SetParameterValues)
            assert request.parameter_key == "pk"
            if any(p.name == "Device.Bad" for p in request.parameter_list):
                return FaultMessage(
                    9003, "Invalid arguments", (SetParameterValuesFault("Device.Bad", 9008, "read only"),), "Client"
                )
            return SetParameterValuesResponse(0)

        await device.session(handler=handler)
        failed = await bed.task_now(task)
        assert failed["status"] == "failed"
        assert failed["fault"]["parameters"] == [{"name": "Device.Bad", "code": 9008, "string": "read only"}]
        assert failed["result"]["applied"] == ["Device.Good"]
        items = (await bed.rest("GET", f"devices/{id_of()}/parameters")).json["items"]
        assert {i["path"]: i["value"] for i in items}["Device.Good"] == "1"
        assert "Device.Bad" not in {i["path"] for i in items}


@played
async def test_the_type_of_a_parameter_is_looked_up(tmp_path: Path) -> None:
    """A setting without a type takes the one that the device itself tells, or told before."""
    async with acquainted(tmp_path) as (bed, device):
        sent: list[SetParameterValues] = []

        def handler(request: Request) -> Message | None:
            if isinstance(request, GetParameterValues):
                return GetParameterValuesResponse((ParameterValueStruct("Device.N", "1", "unsignedInt"),))
            assert isinstance(request, SetParameterValues)
            sent.append(request)
            return SetParameterValuesResponse(0)

        for _ in range(2):
            await bed.task("SetParameterValues", {"parameter_list": [{"name": "Device.N", "value": 7}]})
            await device.session(handler=handler)
        assert [s.parameter_list for s in sent] == [(ParameterValueStruct("Device.N", "7", "unsignedInt"),)] * 2
        assert [type(m).__name__ for m in device.heard].count("GetParameterValues") == 1


@played
async def test_tasks_follow_priority_expiry_and_dependence(tmp_path: Path) -> None:
    """The urgent first; what waits for a failed one fails; what is late or cancelled is not sent."""
    async with acquainted(tmp_path) as (bed, device):
        low = await bed.task("GetParameterValues", {"parameter_names": ["Device.Low"]})
        high = await bed.task("GetParameterValues", {"parameter_names": ["Device.High"]}, priority=5)
        bad = await bed.task("FactoryReset")
        after_bad = await bed.task("Reboot", after=bad["id"])
        after_low = await bed.task("GetParameterValues", {"parameter_names": ["Device.After"]}, after=low["id"])
        late = await bed.task("GetParameterValues", {"parameter_names": ["Device.Late"]}, expires_in=10)
        gone = await bed.task("GetParameterValues", {"parameter_names": ["Device.Gone"]})
        assert (await bed.rest("DELETE", f"tasks/{gone['id']}")).json["status"] == "cancelled"
        clock = bed.app.hub.clock
        bed.app.hub.clock = lambda: clock() + 11.0
        assert (await bed.task_now(late))["status"] == "expired"
        await device.session(handler=values)
        asked = [m.parameter_names[0] for m in device.heard if isinstance(m, GetParameterValues)]
        assert asked == ["Device.High", "Device.Low", "Device.After"]
        states = {t["id"]: (await bed.task_now(t))["status"] for t in (low, high, bad, after_bad, after_low, late)}
        assert list(states.values()) == ["done", "done", "failed", "failed", "done", "expired"]
        assert (await bed.rest("DELETE", f"tasks/{low['id']}")).status == 409


@played
async def test_partial_paths_that_a_device_cannot_do_are_read_by_names(tmp_path: Path) -> None:
    """netcwmp answers a partial path with one row that is the object: the ACS asks for the names, then for the leaves."""

    def handler(request: Request) -> Message | None:
        if isinstance(request, GetParameterNames):
            return GetParameterNamesResponse(tuple(ParameterInfoStruct(f"Device.I.{n}", False) for n in "AB"))
        assert isinstance(request, GetParameterValues)
        if request.parameter_names == ("Device.I.",):
            return GetParameterValuesResponse((ParameterValueStruct("Device.I.", ""),))
        return values(request)

    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device.I."]})
        await device.session(handler=handler)
        done = await bed.task_now(task)
        assert [p["name"] for p in done["result"]["parameter_list"]] == ["Device.I.A", "Device.I.B"]


@played
async def test_long_lists_are_sent_in_pieces(tmp_path: Path) -> None:
    """Never more than 256 names and 32 KB in one request; the result is whole."""
    names = [f"Device.{'Long' * 20}.{i}.Parameter" for i in range(700)]

    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": names})
        sizes = []
        await device.inform()
        answer = await device.post(None)
        while answer.status == 200:
            sizes.append(len(answer.body))
            envelope = decode(answer.body)
            assert isinstance(envelope.body, GetParameterValues)
            assert len(envelope.body.parameter_names) <= 256
            answer = await device.post(values(envelope.body), id=envelope.id)
        assert max(sizes) < 32_768
        assert len(sizes) >= 3
        assert [p["name"] for p in (await bed.task_now(task))["result"]["parameter_list"]] == names
