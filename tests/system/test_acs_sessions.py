"""Whole sessions of devices with a running ACS, over real sockets: what is said, and in which form."""

from pathlib import Path

import pytest

from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.messages import (
    ArgStruct,
    AutonomousDUStateChangeComplete,
    AutonomousTransferComplete,
    AutonOpResultStruct,
    DUStateChangeComplete,
    FaultMessage,
    FaultStruct,
    GetParameterNames,
    GetParameterValues,
    GetParameterValuesResponse,
    GetRPCMethods,
    GetRPCMethodsResponse,
    InformResponse,
    Kicked,
    KickedResponse,
    Message,
    OpResultStruct,
    ParameterValueStruct,
    RequestDownload,
    SetParameterValuesResponse,
    TransferComplete,
    TransferCompleteResponse,
    VendorMessage,
)
from support.acs_wire import acquainted, acs, an_inform, id_of, played, values

pytestmark = pytest.mark.system


@played
async def test_a_session_is_answered_and_ends_with_204(tmp_path: Path) -> None:
    """Inform, InformResponse with the same ID, empty POST, 204; the device is known afterwards."""
    async with acs(tmp_path) as bed:
        device = await bed.device()
        answer = await device.post(an_inform("S1", "1 BOOT"), id="my-id")
        assert answer.status == 200
        assert isinstance(answer.message, InformResponse)
        assert b">my-id<" in answer.body
        assert (await device.post(None)).status == 204
        found = await bed.get_device()
        assert (found["id"], found["software_version"], found["state"]) == (id_of(), "1.0", "approved")


@played
async def test_answers_have_the_form_that_picky_devices_need(tmp_path: Path) -> None:
    """No XML declaration, known prefixes, a length and never chunks, one short cookie for the whole site, connection kept."""
    async with acs(tmp_path) as bed:
        device = await bed.device()
        answer = await device.inform()
        assert answer.body.startswith(b"<SOAP-ENV:Envelope")
        assert answer.headers["content-type"].startswith("text/xml")
        assert int(answer.headers["content-length"]) == len(answer.body)
        assert "transfer-encoding" not in answer.headers
        assert answer.headers.get("connection", "keep-alive") != "close"
        cookie = answer.headers["set-cookie"]
        assert cookie.endswith("; Path=/")
        assert cookie.count(";") == 1
        assert len(cookie) < 40
        last = await device.post(None)
        assert (last.status, last.headers["content-length"], last.body) == (204, "0", b"")


@pytest.mark.case("R02")
@pytest.mark.case("R04")
@pytest.mark.case("S59")
@played
async def test_every_call_of_a_device_is_answered(tmp_path: Path) -> None:
    """All methods that an ACS can have are answered; what it does not know gets fault 8000, and the session goes on."""
    result = OpResultStruct("u", "ref", "1", "Installed", True, "", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
    auton = AutonOpResultStruct(
        "u", "ref", "1", "Installed", True, "", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", FaultStruct(), "Install"
    )
    calls: list[Message] = [
        GetRPCMethods(),
        TransferComplete("nobody's key"),
        AutonomousTransferComplete("", "http://x/", True, "1 Firmware Upgrade Image"),
        DUStateChangeComplete((result,), "k"),
        AutonomousDUStateChangeComplete((auton,)),
        RequestDownload("1 Firmware Upgrade Image", (ArgStruct("a", "b"),)),
        Kicked("c", "r", "a", "http://192.0.2.1/next"),
    ]

    async with acs(tmp_path) as bed:
        device = await bed.device(urn="urn:dslforum-org:cwmp-1-2")
        await device.inform("1 BOOT")
        for call in calls:
            answer = await device.post(call)
            assert answer.status == 200
            assert answer.message is not None
            assert answer.message.element == call.element + "Response"
            if isinstance(answer.message, GetRPCMethodsResponse):
                assert {"Inform", "GetRPCMethods", "TransferComplete"} <= set(answer.message.method_list)
            if isinstance(answer.message, KickedResponse):
                assert answer.message.next_url == "http://192.0.2.1/next"
        for unknown in (VendorMessage("X_FOO_Bar"), VendorMessage("Informm"), GetParameterNames("Device.", True)):
            answer = await device.post(unknown)
            assert isinstance(answer.message, FaultMessage)
            assert (answer.status, answer.message.fault_code) == (200, 8000)
        assert (await device.post(None)).status == 204
        events = (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"]
        assert {e["code"] for e in events} >= {"1 BOOT", "Kicked", "RequestDownload", "TransferComplete"}


@pytest.mark.case("S49")
@pytest.mark.parametrize("urn", [f"urn:dslforum-org:cwmp-1-{n}" for n in range(5)])
@played
async def test_the_answer_speaks_the_namespace_of_the_inform(tmp_path: Path, urn: str) -> None:
    """1-0, 1-1 and 1-2, and the wild 1-3 and 1-4."""
    async with acs(tmp_path) as bed:
        device = await bed.device(urn=urn)
        answer = await device.inform()
        assert f'xmlns:cwmp="{urn}"'.encode() in answer.body
        await device.post(None)


@pytest.mark.case("S50")
@played
async def test_a_version_is_chosen_from_the_device_s_list(tmp_path: Path) -> None:
    """UseCWMPVersion is one of the list; with none in common the Inform is refused with 8006."""
    async with acs(tmp_path) as bed:
        device = await bed.device()
        for offered, use in ((("1.0", "1.4"), "1.4"), (("1.0", "1.1"), "1.1"), (("7.0",), None)):
            inform = Envelope(
                body=an_inform(), id="1", urn="urn:dslforum-org:cwmp-1-2", supported_cwmp_versions=offered
            )
            answer = await device.post(encode(inform))
            assert answer.status == 200
            got = decode(answer.body)
            assert got.use_cwmp_version == use
            if use is None:
                assert isinstance(got.body, FaultMessage)
                assert got.body.fault_code == 8006


@pytest.mark.case("R65")
@played
async def test_an_answer_to_another_method_ends_the_session(tmp_path: Path) -> None:
    """4xx; the task is unknown until the device is heard again."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("Reboot")
        await device.inform()
        await device.post(None)
        assert (await device.post(SetParameterValuesResponse(0))).status == 400
        assert (await bed.task_now(task))["status"] == "unknown"


@pytest.mark.case("R66")
@played
async def test_an_answer_of_ten_megabytes_is_taken_in_a_session(tmp_path: Path) -> None:
    """An admitted device may dump its whole tree; the same size outside a session is refused."""
    rows = tuple(ParameterValueStruct(f"Device.Long.{i}.Name", "x" * 400) for i in range(20_000))

    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
        assert (await device.session(handler=lambda r: GetParameterValuesResponse(rows))).status == 204
        assert (await bed.task_now(task))["status"] == "done"
        assert len(await bed.app.store.values(id_of())) > 20_000
        stranger = await bed.device("S2")
        answer = await stranger.post(b"<" + b"x" * 10_000_000)
        assert answer.status == 413


@played
async def test_a_device_that_answers_empty_is_not_asked_for_ever(tmp_path: Path) -> None:
    """netcwmp answers every RPC that it cannot read with an empty POST: two tries, then the session ends."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
        await device.inform()
        assert (await device.post(None)).status == 200
        assert (await device.post(None)).status == 200
        assert (await device.post(None)).status == 204
        assert (await bed.task_now(task))["status"] in ("unknown", "queued")


@played
async def test_the_switches_of_a_device_are_shown_and_obeyed(tmp_path: Path) -> None:
    """PATCH changes how a device is spoken to from its next session on; null gives the choice back."""
    path = f"devices/{id_of()}"

    async with acquainted(tmp_path) as (bed, device):
        assert set((await bed.get_device())["behaviour"].values()) == {None}
        wish = {"prolog": True, "max_names": 1, "id_prefix": "hp-"}
        changed = await bed.rest("PATCH", path, {"behaviour": wish})
        assert changed.json["behaviour"].items() >= wish.items()
        await bed.task("GetParameterValues", {"parameter_names": ["Device.A", "Device.B"]})
        answer = await device.inform()
        assert answer.body.startswith(b"<?xml")
        question = await device.post(None)
        assert b">hp-1<" in question.body
        assert isinstance(question.message, GetParameterValues)
        assert question.message.parameter_names == ("Device.A",)
        await device.serve(question, values)
        back = await bed.rest("PATCH", path, {"behaviour": {"prolog": None}})
        assert (back.json["behaviour"]["prolog"], back.json["behaviour"]["max_names"]) == (None, 1)
        assert (await bed.rest("PATCH", path, {"behaviour": {"max_names": 0}})).status == 422


@pytest.mark.case("S46")
@played
async def test_this_acs_holds_no_requests_so_a_device_may_tell_what_it_has_at_once(tmp_path: Path) -> None:
    """Several requests before the empty POST, with a task waiting: each is answered, and no envelope says HoldRequests."""
    async with acquainted(tmp_path, event="0 BOOTSTRAP") as (bed, device):
        await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
        answers = [await device.inform("7 TRANSFER COMPLETE", "M Download=k1", "M Download=k2")]
        answers += [await device.post(TransferComplete(key, FaultStruct())) for key in ("k1", "k2")]
        answers.append(await device.post(None))
        assert [a.status for a in answers] == [200] * 4
        assert all(not decode(a.body).hold_requests and b"HoldRequests" not in a.body for a in answers)
        assert [type(a.message).__name__ for a in answers[1:]] == [
            *("TransferCompleteResponse", "TransferCompleteResponse"),
            "GetParameterValues",
        ]


@played
async def test_what_a_device_tells_again_after_a_lost_answer_is_kept_once(tmp_path: Path) -> None:
    """A retried Inform with the end of a commanded reboot, and the same TransferComplete: acknowledged again, stored once."""
    async with acquainted(tmp_path, event="0 BOOTSTRAP") as (bed, device):
        told = TransferComplete("k1", FaultStruct(), "2026-11-21T06:00:00Z", "2026-11-21T06:00:01Z")
        later = TransferComplete("k1", FaultStruct(), "2026-11-22T06:00:00Z", "2026-11-22T06:00:01Z")
        for retries in (0, 1, 2):
            await device.post(an_inform("S1", "1 BOOT", "M Reboot=r1", retry_count=retries))
            for request in (told, told, later):
                assert isinstance((await device.post(request)).message, TransferCompleteResponse)
        await device.post(an_inform("S1", "1 BOOT", "M Reboot=r1"))  # not a retry: the operator has used the key again
        events = (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"]
        codes = [e["code"] for e in events]
        assert (codes.count("M Reboot"), codes.count("1 BOOT"), codes.count("TransferComplete")) == (2, 4, 2)
