"""Stored files over https, and the address that devices are told for them."""

import asyncio
import hashlib
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.acs_files import a_download, add, ordered
from support.acs_wire import Connection, Device, acs, id_of, run
from support.tls import connect, make_certificate, trusting

CONTENT = os.urandom(3_000_000)

pytestmark = pytest.mark.system


def resident() -> float:
    """Megabytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def fetched(url: str, context: ssl.SSLContext, *headers: str) -> tuple[str, bytes]:
    """(first line, body) of one GET over TLS."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=context)
    lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close", *headers]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    async with asyncio.timeout(20):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.decode("latin-1").split("\r\n")[0], body


def test_a_file_is_fetched_over_tls_whole_and_in_part(tmp_path: Path) -> None:
    """The URL in the Download says https, the content is the stored one, and a broken transfer goes on where it was."""
    chain, private = make_certificate(tmp_path)

    async def scene() -> None:
        async with acs(tmp_path / "data", tls_certificate=chain, tls_key=private) as bed:
            description = await add(bed, "fw.bin", CONTENT)
            device = Device(await connect(bed.app.cwmp_url, trusting()))
            await device.session("1 BOOT")
            await device.close()
            device = Device(await connect(bed.app.cwmp_url, trusting()))
            _, order = await ordered(bed, device, "Download", {"file": "fw.bin"})
            await device.close()
            assert order.url.startswith("https://127.0.0.1:")
            line, body = await fetched(order.url, trusting())
            assert line == "HTTP/1.1 200 OK"
            assert hashlib.sha256(body).hexdigest() == description["sha256"]
            line, body = await fetched(order.url, trusting(), "Range: bytes=2999990-")
            assert (line, body) == ("HTTP/1.1 206 Partial Content", CONTENT[-10:])

    run(scene())


def test_a_large_file_costs_no_memory_over_tls(tmp_path: Path) -> None:
    """A file is read piece by piece as its reader takes it: a slow reader of 40 MB holds a few pieces, not the file."""
    chain, private = make_certificate(tmp_path)

    async def scene() -> None:
        async with acs(tmp_path / "data", tls_certificate=chain, tls_key=private) as bed:
            await add(bed, "big.bin", bytes(40_000_000))
            device = Device(await connect(bed.app.cwmp_url, trusting()))
            await device.session("1 BOOT")
            await device.close()
            device = Device(await connect(bed.app.cwmp_url, trusting()))
            _, order = await ordered(bed, device, "Download", {"file": "big.bin"})
            await device.close()
            before, most = resident(), 0.0
            parts = urlsplit(order.url)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=trusting())
            writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            got = 0
            async with asyncio.timeout(30):
                while piece := await reader.read(65_536):
                    got += len(piece)
                    most = max(most, resident())
            writer.close()
            assert got > 40_000_000
            assert most - before < 16  # the test's own reading included

    run(scene())


@pytest.mark.parametrize(
    ("public_host", "told"),
    [
        ("files.example.net", "http://files.example.net:{port}/d/"),
        ("files.example.net:9000", "http://files.example.net:9000/d/"),
        ("2001:db8::1", "http://[2001:db8::1]:{port}/d/"),
        ("[2001:db8::1]:9000", "http://[2001:db8::1]:9000/d/"),
        ("", "http://127.0.0.1:{port}/d/"),
    ],
)
def test_devices_are_told_the_public_host(tmp_path: Path, public_host: str, told: str) -> None:
    """Behind NAT or a load balancer the ACS does not know its own address; a port in the setting replaces the listener's."""

    async def scene() -> None:
        async with acs(tmp_path, public_host=public_host) as bed:
            await add(bed, "fw.bin", b"firmware")
            _, url = await a_download(bed)
            port = urlsplit(bed.app.file_url).port
            assert url.startswith(told.format(port=port))
            local = f"http://127.0.0.1:{port}{urlsplit(url).path}"  # whatever the host is called, the signature is good
            connection = await Connection.to(local)
            answer = await connection.request("GET", urlsplit(url).path, b"", {})
            await connection.close()
            assert (answer.status, answer.body) == (200, b"firmware")

    run(scene())


def test_listening_everywhere_a_device_is_told_the_address_that_faces_it(tmp_path: Path) -> None:
    """Without a setting and without a bound address, the kernel says by which address this machine reaches the device."""

    async def scene() -> None:
        async with acs(tmp_path, file_listen="0.0.0.0:0", cwmp_listen="0.0.0.0:0") as bed:
            await add(bed, "fw.bin", b"firmware")
            _, url = await a_download(bed)
            assert urlsplit(url).hostname == "127.0.0.1"
            assert (await bed.get_device())["id"] == id_of("S1")

    run(scene())
