"""Whole sessions of devices with a running ACS, over real sockets: what is said, and in which form."""

from pathlib import Path

import pytest

from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.messages import (
    ArgStruct,
    AutonomousDUStateChangeComplete,
    AutonomousTransferComplete,
    AutonOpResultStruct,
    DownloadResponse,
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
    RebootResponse,
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


@pytest.mark.case("S51")
@played
async def test_a_task_of_a_newer_version_is_not_sent_in_a_session_of_an_older(tmp_path: Path) -> None:
    """1.1 was agreed: ScheduleDownload fails with the reason, and the task behind it is done, in the namespace of 1.1."""
    window = {"window_start": 0, "window_end": 9, "window_mode": "1 At Any Time"}
    args = {"file_type": "1 Firmware Upgrade Image", "url": "http://192.0.2.1/fw", "time_window_list": [window]}
    async with acquainted(tmp_path) as (bed, device):
        newer = await bed.task("ScheduleDownload", args)
        older = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
        offer = Envelope(
            body=an_inform(), id="1", urn="urn:dslforum-org:cwmp-1-2", supported_cwmp_versions=("1.0", "1.1")
        )
        agreed = decode((await device.post(encode(offer))).body)
        assert (agreed.use_cwmp_version, agreed.urn) == ("1.1", offer.urn)
        device.urn = "urn:dslforum-org:cwmp-1-1"
        asked = await device.post(None)
        assert decode(asked.body).urn == device.urn
        assert (await device.serve(asked, values)).status == 204
        assert [request.element for request in device.heard] == ["GetParameterValues"]
        refused = await bed.task_now(newer)
        assert (refused["status"], refused["fault"]["code"]) == ("failed", 9000)
        assert "1.2" in refused["fault"]["string"]
        assert (await bed.task_now(older))["status"] == "done"


IDS = {
    "none": (b"", None),
    "not to be understood": (b"<cwmp:ID>a</cwmp:ID>", "a"),
    "empty": (b"<cwmp:ID/>", ""),
    "with blanks": (b"<cwmp:ID>  x y </cwmp:ID>", "  x y "),
    "a section": (b"<cwmp:ID><![CDATA[<a>&]]></cwmp:ID>", "<a>&"),
    "references": (b"<cwmp:ID>&lt;&#228;</cwmp:ID>", "<\u00e4"),
    "in no namespace": (b"<ID>7</ID>", "7"),
    "of 1,000 characters": (b"<cwmp:ID>" + b"1" * 1_000 + b"</cwmp:ID>", "1" * 1_000),
    "beside unknown headers": (
        b'<cwmp:ID>1</cwmp:ID><x:Y xmlns:x="urn:x">z</x:Y><cwmp:NoMoreRequests>1</cwmp:NoMoreRequests>',
        "1",
    ),
    "with HoldRequests": (b"<cwmp:ID>1</cwmp:ID><cwmp:HoldRequests>1</cwmp:HoldRequests>", "1"),
}


@played
async def test_the_answer_has_the_id_of_the_request_to_the_letter(tmp_path: Path) -> None:
    """However it is written, also where there is none; other headers of a device change nothing."""
    async with acs(tmp_path) as bed:
        device = await bed.device()
        plain = b'<cwmp:ID SOAP-ENV:mustUnderstand="1">1</cwmp:ID>'
        for request, answer in (
            (an_inform(), "InformResponse"),
            (TransferComplete("nobody's"), "TransferCompleteResponse"),
        ):
            body = encode(Envelope(body=request, id="1"))
            assert plain in body
            for name, (header, id) in IDS.items():
                if answer != "InformResponse":
                    await device.inform()
                got = decode((await device.post(body.replace(plain, header))).body)
                assert (name, got.body.element, got.id) == (name, answer, id)
                assert (await device.post(None)).status == 204


@played
async def test_one_envelope_is_sent_whatever_max_envelopes_says(tmp_path: Path) -> None:
    """It is 1 on our side, always (TR-069a6 A.4.1.1)."""
    async with acs(tmp_path) as bed:
        device = await bed.device()
        inform = encode(Envelope(body=an_inform(), id="1"))
        for most in (b"0", b"1", b"5", b"", b"4294967295"):
            answer = await device.post(inform.replace(b"<MaxEnvelopes>1<", b"<MaxEnvelopes>%b<" % most))
            assert isinstance(answer.message, InformResponse) and answer.message.max_envelopes == 1
            assert answer.body.count(b"</SOAP-ENV:Envelope>") == 1


@played
async def test_a_call_of_a_device_where_it_may_make_none_ends_its_session_alone(tmp_path: Path) -> None:
    """While it owes us an answer, and when its session is over: 4xx; what was asked is asked again in the next session."""
    async with acquainted(tmp_path) as (bed, device):
        for call in (TransferComplete("nobody's"), GetRPCMethods(), Kicked("c", "r", "a", "http://n/")):
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            await device.inform()
            assert (await device.post(None)).status == 200
            assert (await device.post(call)).status == 400
            assert (await device.post(call)).status == 400
            assert (await device.session(handler=values)).status == 204
            assert (await bed.task_now(task))["status"] == "done"
            assert (await device.post(call)).status == 400


@played
async def test_a_transfer_complete_may_be_all_that_a_session_is_for(tmp_path: Path) -> None:
    """With a key that nobody gave: it is answered, kept as an event, and no task is touched."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("Download", {"file_type": "1 Firmware Upgrade Image", "url": "http://192.0.2.1/f"})
        await device.session(handler=lambda _: DownloadResponse(1))
        await device.inform("7 TRANSFER COMPLETE", "M Download=other")
        assert isinstance((await device.post(TransferComplete("other"))).message, TransferCompleteResponse)
        assert (await device.post(None)).status == 204
        assert (await bed.task_now(task))["phase"] == "transfer"
        events = (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"]
        assert "other" in [e["detail"].get("command_key") for e in events if e["code"] == "TransferComplete"]


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
    """A retried Inform with the end of a commanded reboot, and the same TransferComplete: acknowledged again, stored once.

    Also of a device that was cut off and has started since, which counts its retries from 0.
    """
    async with acquainted(tmp_path, event="0 BOOTSTRAP") as (bed, device):
        told = TransferComplete("k1", FaultStruct(), "2026-11-21T06:00:00Z", "2026-11-21T06:00:01Z")
        later = TransferComplete("k1", FaultStruct(), "2026-11-22T06:00:00Z", "2026-11-22T06:00:01Z")
        for retries in (0, 1, 2, 0):
            await device.post(an_inform("S1", "1 BOOT", "M Reboot=r1", retry_count=retries))
            for request in (told, told, later):
                assert isinstance((await device.post(request)).message, TransferCompleteResponse)
        await bed.task("Reboot", {"command_key": "r1"})  # the operator uses the key again
        await device.session("2 PERIODIC", handler=lambda _: RebootResponse())
        await device.post(an_inform("S1", "1 BOOT", "M Reboot=r1"))
        events = (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"]
        codes = [e["code"] for e in events]
        assert (codes.count("M Reboot"), codes.count("1 BOOT"), codes.count("TransferComplete")) == (2, 5, 2)
