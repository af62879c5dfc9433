"""What people and devices give that is odd, over real sockets: ids with percent signs, numbers without bounds, idle contacts."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeport.acs.records import device_id
from support.acs_wire import OUI, PRODUCT, Bed, Connection, acquainted, acs, id_of, played

pytestmark = pytest.mark.system

ODD = ("a/b", "%", "00-11", "Straße 7", "日本", "x?y#z", "a%2Fb")


@played
async def test_a_device_with_an_odd_serial_number_is_found_by_its_id_as_it_stands(tmp_path: Path) -> None:
    """An id is found encoded as URLs want it, and pasted from the list where that cannot mean another device; so it is in filters."""
    async with acs(tmp_path) as bed:
        for serial in ODD:
            await (await bed.device(serial)).session("0 BOOTSTRAP")
        listed = [d["id"] for d in (await bed.rest("GET", "devices")).json["items"]]
        assert sorted(listed) == sorted(device_id(OUI, PRODUCT, serial) for serial in ODD)
        for serial, id in ((s, device_id(OUI, PRODUCT, s)) for s in ODD):
            ways = [quote(id, safe="")] + ([id] if serial != "a%2Fb" else [])  # pasted, that one is the device a/b
            for written in ways:
                answer = await bed.rest("GET", f"devices/{written}")
                assert answer.status == 200 and answer.json["serial_number"] == serial, (written, answer.body)
                assert (await bed.rest("PUT", f"devices/{written}/tags/a%2Fb")).json["tags"] == ["a/b"]
                task = await bed.rest(
                    "POST", f"devices/{written}/tasks", {"rpc": "GetRPCMethods", "connection_request": False}
                )
                found = (await bed.rest("GET", f"tasks?status=queued&device={written}&limit=1")).json["items"]
                assert found == [task.json]
        missing = await bed.rest("GET", f"devices/{id_of('none%2D')}")
        assert missing.status == 404 and "none%2D" in missing.json["error"]["message"]


@pytest.mark.parametrize("value", ["18446744073709551616", "-9223372036854775809", "NaN", "1e400"])
@played
async def test_a_number_that_no_parameter_can_hold_is_refused(tmp_path: Path, value: str) -> None:
    """The database could not hold it, or the device would be sent `nan`."""
    async with acquainted(tmp_path) as (bed, _):
        answer = await _given(bed, f'[{{"name": "Device.X", "value": {value}}}]')
        assert answer.status == 422, answer.body
        assert "the value" in answer.json["error"]["message"] and "Device.X" in answer.json["error"]["message"]
        assert (await _given(bed, f'[{{"name": "Device.X", "value": "{value}"}}]')).status == 201


async def _given(bed: Bed, parameter_list: str) -> Any:
    """The answer to a SetParameterValues task with this JSON, which no library writes."""
    connection = await Connection.to(bed.app.http_url)
    body = (
        f'{{"rpc": "SetParameterValues", "args": {{"parameter_list": {parameter_list}}}, "connection_request": false}}'
    )
    headers = {"Authorization": f"Bearer {bed.token}", "Content-Type": "application/json"}
    try:
        return await connection.request("POST", f"/api/v1/devices/{id_of()}/tasks", body.encode(), headers)
    finally:
        await connection.close()


@played
async def test_a_contact_in_which_nothing_is_new_is_told_to_who_listens(tmp_path: Path) -> None:
    """It writes no row, but who waits for the device sees it come; also an event code that was never there before."""
    async with acquainted(tmp_path) as (bed, device):
        await device.session("2 PERIODIC")
        async with bed.app.hub.bus.listen() as told:
            await device.session("2 PERIODIC")
            event = await asyncio.wait_for(told.get(), 5)
        assert event["kind"] == "inform" and event["device"] == id_of()
        assert event["events"] == ["2 PERIODIC"] and event["new"] is False
        assert json.dumps(event)
