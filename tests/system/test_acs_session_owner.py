"""Whose a message is: the cookie, the connection, the address; sessions that end and those that take over from them."""

from pathlib import Path

import pytest

from homeport.codec.envelope import decode
from homeport.codec.messages import GetParameterValuesResponse, ParameterValueStruct, SetParameterValuesResponse
from support.acs_wire import Connection, Device, acquainted, acs, played, values

pytestmark = pytest.mark.system


@pytest.mark.case("S43")
@pytest.mark.parametrize(("mode", "status"), [("open", 400), ("quarantine", 401), ("required", 401)])
@played
async def test_an_empty_post_before_the_inform_opens_nothing(tmp_path: Path, mode: str, status: int) -> None:
    """It is challenged where there is authentication (netcwmp and Orange fetch the challenge so), else refused."""
    async with acs(tmp_path, cpe_auth=mode) as bed:
        device = await bed.device()
        answer = await device.post(None)
        assert answer.status == status
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert "set-cookie" not in answer.headers
        assert len(bed.app.door.live) == 0


@pytest.mark.case("S44")
@played
async def test_an_answer_without_a_session_is_refused(tmp_path: Path) -> None:
    """A response that belongs to no session gets 4xx."""
    async with acs(tmp_path) as bed:
        device = await bed.device()
        assert (await device.post(SetParameterValuesResponse(0))).status == 400
        device.cookie = "hp=AAAAAAAAAAAAAAAA"
        assert (await device.post(SetParameterValuesResponse(0))).status == 400


@pytest.mark.case("S44")
@played
async def test_an_answer_without_the_cookie_of_a_session_that_is_open_is_refused(tmp_path: Path) -> None:
    """Over another connection, where the device has shown that it gives cookies back; and its session goes on."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
        await device.inform()
        asked = await device.post(None)
        question = decode(asked.body)
        forger = await bed.device(cookies=False)
        forged = GetParameterValuesResponse((ParameterValueStruct("Device.X", "forged"),))
        assert (await forger.post(forged, id=question.id)).status == 400
        assert (await bed.task_now(task))["status"] == "running"
        assert (await device.serve(asked, values)).status == 204
        rows = (await bed.task_now(task))["result"]["parameter_list"]
        assert [row["value"] for row in rows] == ["v"]


@pytest.mark.case("S48")
@played
async def test_an_inform_with_the_cookie_of_a_session_before_a_restart_begins_a_new_one(tmp_path: Path) -> None:
    """Where the ACS was restarted in the middle of the session, and where the device was."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
        await device.inform()
        assert (await device.post(None)).status == 200
        old = device.cookie
    async with acs(tmp_path) as bed:
        device = await bed.device(cookie=old)
        assert (await device.inform("1 BOOT")).status == 200
        first = device.cookie
        assert first != old
        assert (await device.inform("1 BOOT")).status == 200
        assert device.cookie not in (first, old)
        assert len(bed.app.door.live) == 1
        assert (await device.serve(await device.post(None), values)).status == 204
        assert (await bed.task_now(task))["status"] == "done"


@pytest.mark.case("S48")
@played
async def test_a_second_inform_takes_over_from_a_dead_session(tmp_path: Path) -> None:
    """With or without the old cookie, from the same or another connection: a new session at once."""
    async with acquainted(tmp_path) as (bed, first):
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


@played
async def test_a_device_without_cookies_is_found_by_where_it_comes_from(tmp_path: Path) -> None:
    """First by its connection, then by its address while nobody else is there without a cookie."""
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


@pytest.mark.parametrize(
    "header", ["hp={}", "$Version=1; hp={}; $Path=/", 'a=b; hp="{}"', "hp=old; hp={}", "a=b,hp={}"]
)
@played
async def test_the_cookie_is_found_however_it_is_written(tmp_path: Path, header: str) -> None:
    """RFC 6265 and the older forms, among other cookies."""
    async with acs(tmp_path) as bed:
        device = await bed.device()
        await device.inform()
        device.cookie = header.format(device.cookie.partition("=")[2])
        elsewhere = await bed.device("S2")
        await elsewhere.inform()
        await device.reconnect()
        assert (await device.post(None)).status == 204


@played
async def test_a_session_goes_on_over_a_new_connection_per_message(tmp_path: Path) -> None:
    """Sessions are known by cookie: Orange and easycwmp may open one connection per POST."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
        await device.inform()
        await device.reconnect()
        asked = await device.post(None)
        await device.reconnect()
        assert (await device.serve(asked, values)).status == 204
        assert (await bed.task_now(task))["status"] == "done"


@played
async def test_behind_a_trusted_load_balancer_the_device_has_its_own_address(tmp_path: Path) -> None:
    """X-Forwarded-For counts from a peer that the operator named, with the port as far as it is told; https is https there, too."""
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
