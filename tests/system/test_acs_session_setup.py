"""What a running ACS does with a device that is new to it: its login, its tree."""

from pathlib import Path

import pytest

from homeport.codec.messages import (
    FaultMessage,
    GetParameterNames,
    GetParameterNamesResponse,
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterInfoStruct,
    ParameterValueStruct,
    Request,
    SetParameterValues,
    SetParameterValuesResponse,
)
from support.acs_wire import acs, id_of, played, values

pytestmark = pytest.mark.system


@pytest.mark.case("E14")
@played
async def test_a_bootstrap_has_the_device_set_up_anew(tmp_path: Path) -> None:
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


@pytest.mark.case("E15")
@played
async def test_a_repeated_inform_does_nothing_twice(tmp_path: Path) -> None:
    """The InformResponse was lost, the device tells the same again: one device, set up once."""
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


@played
async def test_names_that_cannot_be_read_do_not_stop_the_reading(tmp_path: Path) -> None:
    """A device that lists a name and then refuses it: the list is halved until the bad one is found."""
    paths = [f"Device.P{i}" for i in range(20)]

    def handler(request: Request) -> Message | None:
        if isinstance(request, GetParameterNames):
            return GetParameterNamesResponse(tuple(ParameterInfoStruct(p, False) for p in paths))
        assert isinstance(request, GetParameterValues)
        if "Device.P13" in request.parameter_names:
            return FaultMessage(9005, "no", side="Client")
        return values(request)

    async with acs(tmp_path, discover="bootstrap") as bed:
        device = await bed.device()
        await device.session("0 BOOTSTRAP", handler=handler)
        items = (await bed.rest("GET", f"devices/{id_of()}/parameters?path=Device.&limit=100")).json["items"]
        read = {i["path"] for i in items if i["value"] == "v"}
        assert read == set(paths) - {"Device.P13"}


@pytest.mark.parametrize("well_after", [2, 9])
@played
async def test_a_reading_that_failed_is_tried_again_a_few_times(tmp_path: Path, well_after: int) -> None:
    """A device that is not ready just after its start; one that never is, is asked in three sessions and no more."""
    asked: list[Request] = []

    def handler(request: Request) -> Message | None:
        asked.append(request)
        if len([r for r in asked if isinstance(r, GetParameterNames) and not r.next_level]) <= well_after:
            return FaultMessage(9002, "not ready")
        if isinstance(request, GetParameterNames):
            return GetParameterNamesResponse((ParameterInfoStruct("Device.A", False),))
        return values(request)

    async with acs(tmp_path, discover="bootstrap") as bed:
        device = await bed.device()
        sessions = []
        for event in ("0 BOOTSTRAP", *["2 PERIODIC"] * 4):
            asked_before = len(asked)
            await device.session(event, handler=handler)
            sessions.append(len(asked) > asked_before)
        assert sessions == [True, True, True, False, False]
        assert (await bed.get_device())["wanted"] == []
        found = (await bed.rest("GET", f"devices/{id_of()}/parameters?path=Device.A&limit=9")).json["items"]
        assert len(found) == (1 if well_after == 2 else 0)
