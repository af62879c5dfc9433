"""Real ACS nodes behind real HAProxy, with the configurations that the examples hold: two on PostgreSQL in HTTP mode, one in TCP mode."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from homeport.codec.envelope import decode
from homeport.codec.messages import AddObject, AddObjectResponse, Download, GetParameterNamesResponse
from support.acs_files import form
from support.acs_wire import OUI, Connection, Device, an_inform, id_of, run
from support.ends import Acs, wait_for
from support.haproxy import Haproxy, needs_haproxy
from support.postgres import needs_postgres, shared_server
from support.tls import Authority, make_certificate

pytestmark = [pytest.mark.system, needs_haproxy]

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


@pytest.mark.postgres
@needs_postgres
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


@pytest.mark.postgres
@needs_postgres
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


def test_devices_behind_haproxy_in_tcp_mode_bring_their_certificates_and_their_addresses(tmp_path: Path) -> None:
    """TLS ends at the ACS, behind HAProxy's PROXY header: the address in record and session, the connection that a message without a
    cookie comes from, the address that may be called, and the one of a transfer are the device's own.
    """
    authority = Authority(tmp_path)
    chain, key = make_certificate(tmp_path)
    node = Acs(
        tmp_path / "node",
        *("--cpe-auth", "required", "--discover", "never", "--connection-request-credentials", "keep"),
        *("--cwmp-tls-listen", "127.0.0.1:0", "--tls-client-ca", str(authority.file)),
        *("--tls-certificate", str(chain), "--tls-key", str(key), "--trusted-proxies", "127.0.0.1"),
        *("--proxy-protocol", "cwmp_listen", "--proxy-protocol", "cwmp_tls_listen", "--proxy-protocol", "file_listen"),
    )
    address = "127.2.3.1"

    async def at(url: str, address: str, serial: str) -> Device:
        parts = urlsplit(url)
        tls = authority.client(f"{OUI}-{serial}") if parts.scheme == "https" else None
        made = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls, local_addr=(address, 0))
        return Device(Connection(*made, parts.netloc), serial, cookies=False)

    async def scene(front: Haproxy) -> None:
        called = asyncio.Event()
        answers = await asyncio.start_server(lambda r, w: (called.set(), w.close()), address, 0)
        port = answers.sockets[0].getsockname()[1]
        told = {"Device.ManagementServer.ConnectionRequestURL": f"http://{address}:{port}/call"}
        first, neighbour = [await at(front.cwmp_tls_url, address, serial) for serial in ("P1", "P2")]
        assert (await first.inform("1 BOOT", parameters=told)).status == 200, front.said()
        assert (await neighbour.inform("1 BOOT")).status == 200
        assert [(await d.post(None)).status for d in (first, neighbour)] == [204, 204], "each found by its own port"
        assert node.device(id_of("P1"))["address"] == address
        [session] = node.rest("GET", f"devices/{id_of('P1')}/sessions")["items"]
        assert session["address"] == address
        content = b"firmware" * 1_000
        sent, headers = form("fw.bin", content, {"file_type": "1 Firmware Upgrade Image"})
        token = (node.data / "admin.token").read_text().strip()
        rest = await Connection.to(node.http_url)
        added = await rest.request("POST", "/api/v1/files", sent, headers | {"Authorization": f"Bearer {token}"})
        assert added.status == 201
        await rest.close()
        await asyncio.to_thread(node.task, id_of("P1"), "Download", {"file": "fw.bin"})
        async with asyncio.timeout(20):
            await called.wait()
        await first.inform("6 CONNECTION REQUEST", parameters=told)
        order = (await first.post(None)).message
        assert isinstance(order, Download)
        fetching = await at(f"https://{front.files}/", address, "P1")
        got = await fetching.connection.request("GET", urlsplit(order.url).path)
        assert (got.status, got.body) == (200, content)
        lines = await asyncio.to_thread(
            wait_for, lambda: [x for x in node.log.read_text().splitlines() if "file_given" in x], "the line of the log"
        )
        assert f"address='{address}'" in lines[0]
        plain = await at(front.cwmp_url, "127.2.3.4", "P4")
        assert (await plain.inform("1 BOOT")).status == 401
        assert "peer=" not in node.log.read_text(), "the health checks and all others are nobody's mistake"
        thief = await at(front.cwmp_tls_url, "127.2.3.9", "P1")
        thief.serial = "P2"
        assert (await thief.inform("1 BOOT")).status == 403
        assert "peer='127.2.3.9'" in node.log.read_text()
        for device in (first, neighbour, fetching, plain, thief):
            await device.close()
        answers.close()

    try:
        node.start()
        with Haproxy(tmp_path / "haproxy", [node, node], example="haproxy-tcp.cfg") as front:
            run(scene(front))
    finally:
        node.kill()
