"""A device that a person lets in is read and set up by itself, whatever it was before and wherever it is in that moment."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.services import contacts
from homeport.codec import messages as m
from support.acs_wire import Bed, Device, acs, an_inform, id_of, login, played, values

pytestmark = pytest.mark.system

READING = ["GetParameterNames", "GetParameterValues"]


def tree(request: m.Request) -> m.Message | None:
    if isinstance(request, m.GetParameterNames):
        return m.GetParameterNamesResponse((m.ParameterInfoStruct("Device.A", False),))
    return values(request)


async def decide(bed: Bed, *verbs: str, serial: str = "S1") -> Any:
    for verb in verbs:
        answer = await bed.rest("POST", f"devices/{id_of(serial)}/{verb}")
        assert answer.status == 200, answer.body
    return answer.json


def heard(device: Device) -> list[str]:
    """What the device was asked since the last look."""
    asked = [message.element for message in device.heard if isinstance(message, m.Request)]
    device.heard.clear()
    return asked


WAYS = [(first, way) for first in ("0 BOOTSTRAP", "2 PERIODIC") for way in (("approve",), ("refuse", "approve"))]


@played
async def test_a_device_is_read_once_when_it_is_let_in(tmp_path: Path) -> None:
    """Out of quarantine, or after it was refused; with a bootstrap or without; and not again at another approval."""
    async with acs(tmp_path, cpe_auth="quarantine", discover="bootstrap") as bed:
        for n, (first, way) in enumerate(WAYS):
            device = await bed.device(f"S{n}")
            await device.session(first, handler=tree)
            assert heard(device) == []
            assert (await decide(bed, *way, serial=device.serial))["wanted"] == ["discover"]
            await device.session("2 PERIODIC", handler=tree)
            assert heard(device) == READING
            assert (await decide(bed, "approve", serial=device.serial))["wanted"] == []
            await device.session("2 PERIODIC", handler=tree)
            assert heard(device) == []


@played
async def test_what_a_refused_device_has_told_is_made_good(tmp_path: Path) -> None:
    """It was known and read, and began anew while it was shut out: nobody heard of that. Where nothing is read, nothing is wanted."""
    for discover, expected in (("first-contact", READING), ("never", [])):
        async with acs(tmp_path / discover, discover=discover) as bed:
            device = await bed.device()
            await device.session("1 BOOT", handler=tree)
            assert heard(device) == expected
            await decide(bed, "refuse")
            assert (await device.inform("0 BOOTSTRAP", "1 BOOT")).status == 403
            await decide(bed, "approve")
            await device.session("2 PERIODIC", handler=tree)
            assert heard(device) == expected


@played
async def test_a_device_that_is_let_in_during_its_session_is_read_in_it(tmp_path: Path) -> None:
    """And one that is shut out is asked for nothing more."""
    async with acs(tmp_path, cpe_auth="quarantine", discover="bootstrap") as bed:
        device = await bed.device()
        await device.inform("2 PERIODIC")
        await decide(bed, "approve")
        await device.serve(await device.post(None), tree)
        assert heard(device) == READING
        for _ in range(2):
            await bed.task("GetParameterValues", {"parameter_names": ["Device.A"]})
        await device.inform()
        answer = await device.post(None)
        await decide(bed, "refuse")
        await device.serve(answer, tree)
        assert heard(device) == ["GetParameterValues"]


@pytest.mark.parametrize("here", [True, False])
@played
async def test_a_device_that_is_let_in_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    """At once, or when the session has ended that it had just then and in which nothing more could be asked."""
    monkeypatch.setattr(contacts, "LOOK_EVERY", 0.01)
    called = asyncio.Event()

    async def called_by(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with (
        await asyncio.start_server(called_by, "127.0.0.1", 0) as server,
        acs(tmp_path, cpe_auth="quarantine", discover="bootstrap") as bed,
    ):
        port = server.sockets[0].getsockname()[1]
        url = {"Device.ManagementServer.ConnectionRequestURL": f"http://127.0.0.1:{port}/x"}
        device = await bed.device()
        await device.post(an_inform("S1", "2 PERIODIC", parameters=url))
        if not here:
            await device.post(None)
        await decide(bed, "approve")
        if here:
            live = bed.app.door.live.of_device(id_of())
            assert live is not None
            await bed.app.door._give_up(live, "aborted", "the line broke")
        async with asyncio.timeout(10):
            await called.wait()
        device.cookie = ""
        await device.session("6 CONNECTION REQUEST", handler=tree)
        assert heard(device) == READING


@played
async def test_where_logins_are_required_it_is_the_same(tmp_path: Path) -> None:
    """A group's newcomers wait for a person there, too; and a device with a login of its own that was refused is read again."""
    async with acs(tmp_path, cpe_auth="required", discover="bootstrap") as bed:
        group = {"name": "g", "password": "strap-strap", "state": "quarantined"}
        answer = await bed.rest("POST", "groups", group)
        assert answer.status == 201, answer.body
        device = await bed.device()
        for verbs in (("approve",), ("refuse", "approve")):
            assert (await device.post_inform(await login(device, "g", "strap-strap"), "1 BOOT")).status == 200
            await device.serve(await device.post(None), tree)
            assert heard(device) == []
            await decide(bed, *verbs)
            device.cookie = ""
            assert (await device.post_inform(await login(device, "g", "strap-strap"))).status == 200
            await device.serve(await device.post(None), tree)
            assert heard(device) == READING
            device.cookie = ""
