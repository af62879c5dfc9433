"""Whole sessions of devices with a running ACS, over real sockets."""

from pathlib import Path

import pytest

from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.messages import (
    AddObject,
    AddObjectResponse,
    ArgStruct,
    AutonomousDUStateChangeComplete,
    AutonomousTransferComplete,
    AutonOpResultStruct,
    DownloadResponse,
    DUStateChangeComplete,
    FaultMessage,
    FaultStruct,
    GetAllQueuedTransfersResponse,
    GetParameterNames,
    GetParameterNamesResponse,
    GetParameterValues,
    GetParameterValuesResponse,
    GetRPCMethods,
    GetRPCMethodsResponse,
    InformResponse,
    Kicked,
    KickedResponse,
    Message,
    OpResultStruct,
    ParameterInfoStruct,
    ParameterValueStruct,
    RebootResponse,
    Request,
    RequestDownload,
    SetParameterValues,
    SetParameterValuesFault,
    SetParameterValuesResponse,
    TransferComplete,
    TransferCompleteResponse,
    VendorMessage,
)
from support.acs_wire import Connection, Device, acs, an_inform, id_of, run

pytestmark = pytest.mark.system


def values(request: Request) -> Message | None:
    """A device that has every parameter it is asked for, with the value `v`, and takes what it is given."""
    if isinstance(request, GetParameterValues):
        return GetParameterValuesResponse(tuple(ParameterValueStruct(n, "v") for n in request.parameter_names))
    if isinstance(request, SetParameterValues):
        return SetParameterValuesResponse(0)
    return None


def test_a_session_is_answered_and_ends_with_204(tmp_path: Path) -> None:
    """Inform, InformResponse with the same ID, empty POST, 204; the device is known afterwards."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            answer = await device.post(an_inform("S1", "1 BOOT"), id="my-id")
            assert answer.status == 200
            assert isinstance(answer.message, InformResponse)
            assert b">my-id<" in answer.body
            assert (await device.post(None)).status == 204
            found = await bed.get_device()
            assert (found["id"], found["software_version"], found["state"]) == (id_of(), "1.0", "approved")

    run(scene())


def test_answers_have_the_form_that_picky_devices_need(tmp_path: Path) -> None:
    """No XML declaration, known prefixes, a length and never chunks, one short cookie for the whole site, connection kept."""

    async def scene() -> None:
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

    run(scene())


@pytest.mark.case("S43")
@pytest.mark.parametrize(("mode", "status"), [("open", 400), ("quarantine", 401), ("required", 401)])
def test_an_empty_post_before_the_inform_opens_nothing(tmp_path: Path, mode: str, status: int) -> None:
    """It is challenged where there is authentication (netcwmp and Orange fetch the challenge so), else refused."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth=mode) as bed:
            device = await bed.device()
            answer = await device.post(None)
            assert answer.status == status
            assert ("www-authenticate" in answer.headers) == (status == 401)
            assert "set-cookie" not in answer.headers
            assert len(bed.app.door.live) == 0

    run(scene())


@pytest.mark.case("S44")
def test_an_answer_without_a_session_is_refused(tmp_path: Path) -> None:
    """A response that belongs to no session gets 4xx."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            assert (await device.post(SetParameterValuesResponse(0))).status == 400
            device.cookie = "hp=AAAAAAAAAAAAAAAA"
            assert (await device.post(SetParameterValuesResponse(0))).status == 400

    run(scene())


@pytest.mark.case("S45")
@pytest.mark.case("T17")
def test_a_download_ends_with_its_transfer_complete(tmp_path: Path) -> None:
    """The task waits for the TransferComplete with its CommandKey, in whichever session it comes."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


def test_a_failed_transfer_fails_its_task(tmp_path: Path) -> None:
    """The fault of TransferComplete becomes the task's."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


@pytest.mark.case("R02")
@pytest.mark.case("R04")
@pytest.mark.case("S59")
def test_every_call_of_a_device_is_answered(tmp_path: Path) -> None:
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

    async def scene() -> None:
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

    run(scene())


@pytest.mark.case("S49")
@pytest.mark.parametrize("urn", [f"urn:dslforum-org:cwmp-1-{n}" for n in range(5)])
def test_the_answer_speaks_the_namespace_of_the_inform(tmp_path: Path, urn: str) -> None:
    """1-0, 1-1 and 1-2, and the wild 1-3 and 1-4."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device(urn=urn)
            answer = await device.inform()
            assert f'xmlns:cwmp="{urn}"'.encode() in answer.body
            await device.post(None)

    run(scene())


@pytest.mark.case("S50")
def test_a_version_is_chosen_from_the_device_s_list(tmp_path: Path) -> None:
    """UseCWMPVersion is one of the list; with none in common the Inform is refused with 8006."""

    async def scene() -> None:
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

    run(scene())


def test_a_task_is_done_in_the_next_session(tmp_path: Path) -> None:
    """What was asked through REST goes out, and its result and the values come back through REST."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


def test_a_task_made_during_a_session_goes_out_in_it(tmp_path: Path) -> None:
    """The ACS looks again at its turn, not only at the Inform."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            await device.inform()
            task = await bed.task("Reboot")
            await device.serve(await device.post(None), lambda r: RebootResponse())
            assert (await bed.task_now(task))["phase"] == "restart"

    run(scene())


@pytest.mark.case("R63")
def test_a_fault_fails_the_task_and_the_session_goes_on(tmp_path: Path) -> None:
    """Code and text of the device's fault are shown; the next task is sent in the same session."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


@pytest.mark.case("R64")
def test_a_bad_parameter_does_not_spoil_the_good_ones(tmp_path: Path) -> None:
    """After 9003 the setting is sent once more without the offenders; both outcomes are told per parameter."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


def test_the_type_of_a_parameter_is_looked_up(tmp_path: Path) -> None:
    """A setting without a type takes the one that the device itself tells, or told before."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


@pytest.mark.case("R65")
def test_an_answer_to_another_method_ends_the_session(tmp_path: Path) -> None:
    """4xx; the task is unknown until the device is heard again."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("Reboot")
            await device.inform()
            await device.post(None)
            assert (await device.post(SetParameterValuesResponse(0))).status == 400
            assert (await bed.task_now(task))["status"] == "unknown"

    run(scene())


@pytest.mark.case("R66")
def test_an_answer_of_ten_megabytes_is_taken_in_a_session(tmp_path: Path) -> None:
    """An admitted device may dump its whole tree; the same size outside a session is refused."""
    rows = tuple(ParameterValueStruct(f"Device.Long.{i}.Name", "x" * 400) for i in range(20_000))

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
            assert (await device.session(handler=lambda r: GetParameterValuesResponse(rows))).status == 204
            assert (await bed.task_now(task))["status"] == "done"
            assert len(await bed.app.store.values(id_of())) > 20_000
            stranger = await bed.device("S2")
            answer = await stranger.post(b"<" + b"x" * 10_000_000)
            assert answer.status == 413

    run(scene())


@pytest.mark.case("S47")
def test_a_device_that_disappears_leaves_its_task_unknown(tmp_path: Path) -> None:
    """After the time limit the session is over; the task is kept, and sent again where that does no harm."""

    async def scene() -> None:
        async with acs(tmp_path, session_timeout=30.0) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


@pytest.mark.case("S48")
def test_a_second_inform_takes_over_from_a_dead_session(tmp_path: Path) -> None:
    """With or without the old cookie, from the same or another connection: a new session at once."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            first = await bed.device()
            await first.session("1 BOOT")
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            await first.inform()
            await first.post(None)
            old = first.cookie
            second = await bed.device()
            await second.inform("1 BOOT")
            assert second.cookie != old
            assert (await first.post(SetParameterValuesResponse(0))).status == 400
            await second.inform("2 PERIODIC")
            assert len(bed.app.door.live) == 1
            assert (await second.serve(await second.post(None), values)).status == 204
            assert (await bed.task_now(task))["status"] == "done"
            second.cookie = old
            assert (await second.session()).status == 204

    run(scene())


def test_a_device_without_cookies_is_found_by_where_it_comes_from(tmp_path: Path) -> None:
    """First by its connection, then by its address while nobody else is there without a cookie."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device(cookies=False)
            assert (await device.session("1 BOOT")).status == 204
            await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            assert (await device.session(handler=values)).status == 204
            assert len(device.heard) == 1
            await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            await device.inform()
            await device.reconnect()
            assert (await device.serve(await device.post(None), values)).status == 204
            other = await bed.device("S2", cookies=False)
            await other.inform("1 BOOT")
            await device.inform()
            third = await Connection.to(bed.app.cwmp_url)
            assert (await third.request("POST", "/", b"")).status == 400
            await third.close()

    run(scene())


@pytest.mark.parametrize(
    "header", ["hp={}", "$Version=1; hp={}; $Path=/", 'a=b; hp="{}"', "hp=old; hp={}", "a=b,hp={}"]
)
def test_the_cookie_is_found_however_it_is_written(tmp_path: Path, header: str) -> None:
    """RFC 6265 and the older forms, among other cookies."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.inform()
            device.cookie = header.format(device.cookie.partition("=")[2])
            elsewhere = await bed.device("S2")
            await elsewhere.inform()
            await device.reconnect()
            assert (await device.post(None)).status == 204

    run(scene())


def test_a_session_goes_on_over_a_new_connection_per_message(tmp_path: Path) -> None:
    """Sessions are known by cookie: Orange and easycwmp may open one connection per POST."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            await device.inform()
            await device.reconnect()
            asked = await device.post(None)
            await device.reconnect()
            assert (await device.serve(asked, values)).status == 204
            assert (await bed.task_now(task))["status"] == "done"

    run(scene())


def test_a_device_that_answers_empty_is_not_asked_for_ever(tmp_path: Path) -> None:
    """netcwmp answers every RPC that it cannot read with an empty POST: two tries, then the session ends."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            await device.inform()
            assert (await device.post(None)).status == 200
            assert (await device.post(None)).status == 200
            assert (await device.post(None)).status == 204
            assert (await bed.task_now(task))["status"] in ("unknown", "queued")

    run(scene())


def test_what_may_not_be_done_twice_is_not_sent_again_after_an_empty_answer(tmp_path: Path) -> None:
    """Whether the device rebooted is unknown; its next Inform tells, and a blind second Reboot would be a second outage."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("Reboot")
            await device.inform()
            assert (await device.post(None)).status == 200
            assert (await device.post(None)).status == 204
            assert (await bed.task_now(task))["status"] == "unknown"
            await device.session("1 BOOT")
            assert (await bed.task_now(task))["status"] == "done"

    run(scene())


def test_a_lost_add_object_is_settled_by_reading_back(tmp_path: Path) -> None:
    """The instance that the lost answer would have named is found, and no second one is made."""
    rows = [1, 2]

    def names(request: Request) -> Message | None:
        if isinstance(request, GetParameterNames):
            return GetParameterNamesResponse(tuple(ParameterInfoStruct(f"Device.T.{n}.", True) for n in rows))
        if isinstance(request, AddObject):
            rows.append(max(rows) + 1)
            return AddObjectResponse(rows[-1])
        return None

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


def test_a_lost_reboot_is_settled_by_its_event(tmp_path: Path) -> None:
    """M Reboot with the task's key, or 1 BOOT, tells that the lost Reboot arrived; without it the Reboot is sent again."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


def test_a_lost_download_is_not_repeated_on_a_guess(tmp_path: Path) -> None:
    """The device's queue tells whether it took it; only when it did not, it is sent again."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


def test_a_task_that_is_never_answered_fails_in_the_end(tmp_path: Path) -> None:
    """A device that dies at every try is not tried for ever, and the next task gets its turn."""

    async def scene() -> None:
        async with acs(tmp_path, task_attempts=2) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


def test_tasks_follow_priority_expiry_and_dependence(tmp_path: Path) -> None:
    """The urgent first; what waits for a failed one fails; what is late or cancelled is not sent."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


@pytest.mark.case("E14")
def test_a_bootstrap_has_the_device_set_up_anew(tmp_path: Path) -> None:
    """After 0 BOOTSTRAP the ACS sets the connection request login and reads the tree, without ever an empty path."""
    tree = {"Device.DeviceInfo.UpTime": "5", "Device.ManagementServer.ConnectionRequestUsername": ""}

    def handler(request: Request) -> Message | None:
        match request:
            case GetParameterNames(parameter_path=path):
                assert path == "Device."
                return GetParameterNamesResponse(
                    tuple(ParameterInfoStruct(n, n.endswith("name")) for n in (*tree, "Device.DeviceInfo."))
                )
            case GetParameterValues(parameter_names=asked):
                return GetParameterValuesResponse(tuple(ParameterValueStruct(n, tree[n]) for n in asked))
            case SetParameterValues(parameter_list=rows):
                tree.update((r.name, r.value) for r in rows)
                return SetParameterValuesResponse(0)
        return None

    async def scene() -> None:
        async with acs(tmp_path, discover="bootstrap", connection_request_credentials="provision") as bed:
            device = await bed.device()
            for _ in range(2):
                tree["Device.ManagementServer.ConnectionRequestUsername"] = ""
                assert (await device.session("0 BOOTSTRAP", "1 BOOT", handler=handler)).status == 204
                first = (await bed.app.store.device(id_of())).connection_request_password
                assert tree["Device.ManagementServer.ConnectionRequestPassword"] == first
                assert tree["Device.ManagementServer.ConnectionRequestUsername"] == id_of()
                assert len(first) >= 20
                found = await bed.get_device()
                assert found["wanted"] == []
                assert "connection_request_password" not in found
            items = (await bed.rest("GET", f"devices/{id_of()}/parameters")).json["items"]
            shown = {i["path"]: i for i in items}
            assert shown["Device.DeviceInfo.UpTime"]["value"] == "5"
            assert shown["Device.DeviceInfo.UpTime"]["writable"] is False
            assert shown["Device.ManagementServer.ConnectionRequestPassword"]["value"] == ""
            sessions = (await bed.rest("GET", f"devices/{id_of()}/sessions")).json["items"]
            messages = (await bed.rest("GET", f"sessions/{sessions[0]['id']}")).body
            assert first.encode() not in messages
            device.heard.clear()
            await device.session("1 BOOT", handler=handler)
            assert device.heard == []

    run(scene())


@pytest.mark.case("E15")
def test_a_repeated_inform_does_nothing_twice(tmp_path: Path) -> None:
    """The InformResponse was lost, the device tells the same again: one device, set up once."""

    async def scene() -> None:
        async with acs(tmp_path, discover="bootstrap") as bed:
            device = await bed.device()
            await device.inform("0 BOOTSTRAP", "1 BOOT")
            device.cookie = ""
            await device.inform("0 BOOTSTRAP", "1 BOOT", retry_count=1)
            await device.serve(
                await device.post(None),
                lambda r: (
                    GetParameterNamesResponse((ParameterInfoStruct("Device.A", False),))
                    if isinstance(r, GetParameterNames)
                    else values(r)
                ),
            )
            assert [m.element for m in device.heard] == ["GetParameterNames", "GetParameterValues"]
            assert len((await bed.rest("GET", "devices")).json["items"]) == 1

    run(scene())


def test_names_that_cannot_be_read_do_not_stop_the_reading(tmp_path: Path) -> None:
    """A device that lists a name and then refuses it: the list is halved until the bad one is found."""
    paths = [f"Device.P{i}" for i in range(20)]

    def handler(request: Request) -> Message | None:
        if isinstance(request, GetParameterNames):
            return GetParameterNamesResponse(tuple(ParameterInfoStruct(p, False) for p in paths))
        assert isinstance(request, GetParameterValues)
        if "Device.P13" in request.parameter_names:
            return FaultMessage(9005, "no", side="Client")
        return values(request)

    async def scene() -> None:
        async with acs(tmp_path, discover="bootstrap") as bed:
            device = await bed.device()
            await device.session("0 BOOTSTRAP", handler=handler)
            items = (await bed.rest("GET", f"devices/{id_of()}/parameters?path=Device.&limit=100")).json["items"]
            read = {i["path"] for i in items if i["value"] == "v"}
            assert read == set(paths) - {"Device.P13"}

    run(scene())


def test_partial_paths_that_a_device_cannot_do_are_read_by_names(tmp_path: Path) -> None:
    """netcwmp answers a partial path with one row that is the object: the ACS asks for the names, then for the leaves."""

    def handler(request: Request) -> Message | None:
        if isinstance(request, GetParameterNames):
            return GetParameterNamesResponse(tuple(ParameterInfoStruct(f"Device.I.{n}", False) for n in "AB"))
        assert isinstance(request, GetParameterValues)
        if request.parameter_names == ("Device.I.",):
            return GetParameterValuesResponse((ParameterValueStruct("Device.I.", ""),))
        return values(request)

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.I."]})
            await device.session(handler=handler)
            done = await bed.task_now(task)
            assert [p["name"] for p in done["result"]["parameter_list"]] == ["Device.I.A", "Device.I.B"]

    run(scene())


def test_long_lists_are_sent_in_pieces(tmp_path: Path) -> None:
    """Never more than 256 names and 32 KB in one request; the result is whole."""
    names = [f"Device.{'Long' * 20}.{i}.Parameter" for i in range(700)]

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


def test_the_switches_of_a_device_are_shown_and_obeyed(tmp_path: Path) -> None:
    """PATCH changes how a device is spoken to from its next session on; null gives the choice back."""
    path = f"devices/{id_of()}"

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
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

    run(scene())


def test_behind_a_trusted_load_balancer_the_device_has_its_own_address(tmp_path: Path) -> None:
    """X-Forwarded-For counts from a peer that the operator named, with the port as far as it is told; https is https there, too."""

    async def scene() -> None:
        async with acs(tmp_path, trusted_proxies=("127.0.0.0/8",), cpe_auth="required") as bed:
            sent = {"X-Forwarded-For": "6.6.6.6, [192.0.2.44]:4711", "X-Forwarded-Proto": "https"}
            plain_device = await bed.device()
            assert "Basic" not in (await plain_device.inform()).headers["www-authenticate"]
            device = await bed.device(headers=sent)
            assert "Basic" in (await device.inform()).headers["www-authenticate"]
        async with acs(tmp_path, trusted_proxies=("127.0.0.0/8",)) as bed:
            device = await bed.device(headers=sent, cookies=False)
            await device.session("1 BOOT")
            assert (await bed.get_device())["address"] == "192.0.2.44"
            shared = (await bed.device("S2", headers={"X-Forwarded-For": "192.0.2.44"}, cookies=False)).connection
            first, second = (
                Device(shared, s, headers={"X-Forwarded-For": "192.0.2.44"}, cookies=False) for s in ("S2", "S3")
            )
            await first.inform()
            await second.inform()
            assert (await first.post(None)).status == 400, "nothing shows whose this is: both came over one connection"
        async with acs(tmp_path) as bed:
            await (await bed.device(headers=sent)).session("1 BOOT")
            assert (await bed.get_device())["address"] == "127.0.0.1", "nobody was named"

    run(scene())


@pytest.mark.case("S46")
def test_this_acs_holds_no_requests_so_a_device_may_tell_what_it_has_at_once(tmp_path: Path) -> None:
    """Several requests before the empty POST, with a task waiting: each is answered, and no envelope says HoldRequests."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("0 BOOTSTRAP")
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

    run(scene())


def test_what_a_device_tells_again_after_a_lost_answer_is_kept_once(tmp_path: Path) -> None:
    """A retried Inform with the end of a commanded reboot, and the same TransferComplete: acknowledged again, stored once."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("0 BOOTSTRAP")
            told = TransferComplete("k1", FaultStruct(), "2026-11-21T06:00:00Z", "2026-11-21T06:00:01Z")
            later = TransferComplete("k1", FaultStruct(), "2026-11-22T06:00:00Z", "2026-11-22T06:00:01Z")
            for retries in (0, 1, 2):
                await device.post(an_inform("S1", "1 BOOT", "M Reboot=r1", retry_count=retries))
                for request in (told, told, later):
                    assert isinstance((await device.post(request)).message, TransferCompleteResponse)
            await device.post(
                an_inform("S1", "1 BOOT", "M Reboot=r1")
            )  # not a retry: the operator has used the key again
            events = (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"]
            codes = [e["code"] for e in events]
            assert (codes.count("M Reboot"), codes.count("1 BOOT"), codes.count("TransferComplete")) == (2, 4, 2)

    run(scene())
