"""Two real ACS nodes on PostgreSQL behind real HAProxy, with the configuration that the examples hold."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from homeport.codec.envelope import decode
from homeport.codec.messages import AddObject, AddObjectResponse, GetParameterNamesResponse
from support.acs_wire import Connection, Device, an_inform, id_of, run
from support.ends import Acs, wait_for
from support.haproxy import Haproxy, needs_haproxy
from support.postgres import needs_postgres, shared_server

pytestmark = [pytest.mark.system, pytest.mark.postgres, needs_postgres, needs_haproxy]

OPTIONS = ("--cpe-auth", "open", "--discover", "never", "--connection-request-credentials", "keep")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Acs]]:
    """Two nodes that trust a load balancer on this machine."""
    options = (*OPTIONS, "--database", shared_server().new_database(), "--trusted-proxies", "127.0.0.1")
    nodes = [Acs(tmp_path / name, *options) for name in ("one", "two")]
    try:
        for node in nodes:
            node.launch()
        for node in nodes:
            wait_for(node._answers, "the node's start")
        yield nodes
    finally:
        for node in nodes:
            node.kill()


async def device_at(front: Haproxy, address: str, serial: str, **fields: bool) -> Device:
    """A device with an address of its own: all of 127.0.0.0/8 is this machine."""
    parts = urlsplit(front.cwmp_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=(address, 0))
    return Device(Connection(reader, writer, parts.netloc), serial, **fields)


async def again(front: Haproxy, device: Device, address: str) -> None:
    """Another connection of the same device."""
    await device.close()
    device.connection = (await device_at(front, address, device.serial)).connection


def open_sessions(node: Acs) -> int:
    """How many sessions the node has."""
    [line] = [x for x in node.text("/metrics").splitlines() if x.startswith("homeport_sessions_open ")]
    return int(float(line.split()[1]))


def test_devices_behind_haproxy_keep_their_address_and_their_session(pair: list[Acs], tmp_path: Path) -> None:
    """Its own address is in the record; a new connection reaches its session, with the cookie and without."""

    async def scene(front: Haproxy) -> None:
        for number, cookies in enumerate((True, False)):
            address, serial = f"127.2.0.{number + 1}", f"H{number}"
            device = await device_at(front, address, serial, cookies=cookies)
            assert (await device.post(an_inform(serial, "1 BOOT"))).status == 200
            if cookies:
                await again(front, device, address)
            assert (await device.post(None)).status == 204
            await device.close()
            found = pair[number].device(id_of(serial))
            assert found is not None
            assert found["address"] == address
        # What a device itself says of its address is not believed.
        liar = await device_at(front, "127.2.0.9", "H9")
        liar.headers["X-Forwarded-For"] = "10.9.9.9"
        await liar.session("1 BOOT")
        await liar.close()
        assert pair[0].device(id_of("H9"))["address"] == "127.2.0.9"

    with Haproxy(tmp_path / "haproxy", pair) as front:
        run(scene(front))


def test_any_node_goes_on_with_any_session_and_a_killed_one_is_missed_by_nobody(
    pair: list[Acs], tmp_path: Path
) -> None:
    """Messages go around in turn; a node dies with a change on its way, and the answer is taken by the other one."""

    async def scene(front: Haproxy) -> None:
        address = "127.2.1.1"
        device = await device_at(front, address, "R1")
        await device.session("0 BOOTSTRAP")
        made = pair[0].task(id_of("R1"), "AddObject", {"object_name": "Device.T."})
        await again(front, device, address)
        await device.post(an_inform("R1"))
        await again(front, device, address)
        names = decode((await device.post(None)).body)
        await again(front, device, address)
        add = decode((await device.post(GetParameterNamesResponse(()), id=names.id)).body)
        assert isinstance(add.body, AddObject)
        [killed] = [node for node in pair if open_sessions(node)]
        killed.kill()
        await again(front, device, address)
        answer = await device.post(AddObjectResponse(4, 0), id=add.id)
        left = next(n for n in pair if n is not killed)
        assert answer.status == 204, (answer, left.said(), front.said())
        task = left.rest("GET", f"tasks/{made}")
        assert (task["status"], task["attempts"], task["result"]["instance_number"]) == ("done", 1, 4)
        for number in range(10):
            other = await device_at(front, f"127.2.2.{number + 1}", f"K{number}")
            assert (await other.session("1 BOOT")).status == 204
            await other.close()
        await device.close()

    with Haproxy(
        tmp_path / "haproxy", pair, ("balance source", "balance roundrobin"), ("hash-type consistent", "")
    ) as f:
        run(scene(f))
