"""A device without cookies and its neighbours at the same address, who want what it is told."""

from pathlib import Path

import pytest

from homeport.codec.messages import SetParameterValues, SetParameterValuesResponse
from homeport.http.digest import DigestClient
from support.acs_wire import Answer, Bed, Device, acs, id_of, played

pytestmark = pytest.mark.system

SECRET = {"name": "Device.WiFi.AccessPoint.1.Security.KeyPassphrase", "value": "hunter2", "type": "string"}


def logged_in(challenge: Answer, user: str, password: str) -> str:
    """The Authorization that answers a challenge."""
    offered = challenge.headers["www-authenticate"].split("\n")
    header = DigestClient(user, password).answer(offered, method="POST", uri="/", cnonce="c")
    assert header is not None
    return header


async def login_of(device: Device, user: str, password: str) -> str:
    return logged_in(await device.inform(), user, password)


async def credentials(bed: Bed, serial: str, user: str, password: str) -> None:
    answer = await bed.rest("PUT", f"devices/{id_of(serial)}/credentials", {"username": user, "password": password})
    assert answer.status in (200, 204), answer.body


async def thieves_get_nothing(bed: Bed) -> None:
    """An empty POST of a neighbour: without a login, with the user name alone, with a login of its own."""
    for serial, user, password in (("S7", "", ""), ("S1", "one", "guessed"), ("S2", "two", "password-two")):
        thief = await bed.device(serial, cookies=False)
        headers = {"Authorization": await login_of(thief, user, password)} if user else {}
        answer = await thief.post(None, **headers)
        assert (answer.status, b"hunter2" in answer.body) == (401, False), user


@played
async def test_a_neighbour_cannot_go_on_with_the_session_of_a_device_that_logged_in(tmp_path: Path) -> None:
    """The device closes its connection behind the Inform; only its own login brings its session on, also after a restart of the ACS."""
    async with acs(tmp_path) as bed:
        for serial, user in (("S1", "one"), ("S2", "two")):
            await (await bed.device(serial)).session("1 BOOT")
            await credentials(bed, serial, user, f"password-{user}")
        await bed.task("SetParameterValues", {"parameter_list": [SECRET]})
    for restarted in (False, True):
        async with acs(tmp_path, cpe_auth="quarantine") as bed:
            device = await bed.device(cookies=False)
            if not restarted:
                assert (await device.post_inform(await login_of(device, "one", "password-one"))).status == 200
                await device.reconnect()
                await thieves_get_nothing(bed)
                continue
            await thieves_get_nothing(bed)
            challenge = await device.post(None)
            assert challenge.status == 401
            answer = await device.post(None, Authorization=logged_in(challenge, "one", "password-one"))
            assert answer.status == 200 and isinstance(answer.message, SetParameterValues)
            await device.reconnect()
            assert (await device.serve(answer, lambda _: SetParameterValuesResponse(0))).status == 204
            assert device.heard == [answer.message]
            assert bed.app.hub.stats.continued == 1
