"""Behind load balancers that pass connections on: whose address a device has, and who may say so."""

import asyncio
import contextlib
import errno
import os
import random
import socket
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop

from homeport.http.auth import basic_header
from homeport.http.proxy_protocol import Origin
from homeport.transport.proxied import ProxiedListener
from support.acs_files import add, ordered
from support.acs_wire import Answer, Bed, Device, acs, run
from support.announced import LOCAL, UNKNOWN, announced, binary, hello_and_header, text
from support.tls import make_certificate, trusting

pytestmark = pytest.mark.system

ALL = ("cwmp_listen", "file_listen", "http_listen")
BEHIND: dict[str, Any] = {"trusted_proxies": ("127.0.0.1",), "proxy_protocol": ("cwmp_listen",)}


def play(scene: Coroutine[Any, Any, None]) -> None:
    """Play a scene on the loop that the ACS runs on in life."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene)


class Echo(asyncio.Protocol):
    """Says what it is told."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def behind(bed: Bed, header: bytes, serial: str = "S1", **fields: Any) -> Device:
    """A device whose connection is announced."""
    made = Device(await announced(bed.app.cwmp_url, header), serial, **fields)
    bed.devices.append(made)
    return made


async def is_cut(url: str, data: bytes) -> bool:
    """Whether the listener ends the connection for this without a byte of an answer."""
    connection = await announced(url, data)
    async with asyncio.timeout(20):
        try:
            return await connection.reader.read() == b""
        except ConnectionResetError:
            return True
        finally:
            await connection.close()


@pytest.mark.parametrize(("header", "player"), [(text, run), (binary, play)], ids=["v1-asyncio", "v2-uvloop"])
def test_the_device_has_its_own_address_everywhere(tmp_path: Path, header: Any, player: Any) -> None:
    """In its record, in its session, for the next message without a cookie, and for what a connection request may go to."""

    async def scene() -> None:
        async with acs(tmp_path, **BEHIND) as bed:
            called = asyncio.Event()
            answers = await asyncio.start_server(lambda r, w: (called.set(), w.close()), "127.0.0.77", 0)
            url = f"http://127.0.0.77:{answers.sockets[0].getsockname()[1]}/call"
            told = {"Device.ManagementServer.ConnectionRequestURL": url}
            device = await behind(bed, header("127.0.0.77", 4711), cookies=False)
            await device.inform("1 BOOT", parameters=told)
            other = await behind(bed, header("127.0.0.77", 4712), "S2", cookies=False)
            await other.inform("1 BOOT")
            [live] = [x for x in bed.app.door.live if x.work.device.endswith("S1")]
            assert (live.host, live.port) == ("127.0.0.77", 4711)
            assert (await device.post(None)).status == 204, "found by its own address and port"
            assert (await other.post(None)).status == 204
            assert (await bed.get_device())["address"] == "127.0.0.77"
            [session] = (await bed.rest("GET", f"devices/{live.work.device}/sessions")).json["items"]
            assert session["address"] == "127.0.0.77"
            await bed.task("Reboot", connection_request=True)
            async with asyncio.timeout(10):
                await called.wait()
            answers.close()
            six = await behind(bed, header("2001:db8::7", 4713), "S6")
            await six.session("1 BOOT")
            assert (await bed.get_device("S6"))["address"] == "2001:db8::7"

    player(scene())


@pytest.mark.parametrize("player", [run, play], ids=["asyncio", "uvloop"])
def test_the_header_comes_before_tls(tmp_path: Path, player: Any) -> None:
    """In a packet of its own, in pieces, or in one with the first bytes of TLS: not a byte of either is lost."""
    chain, private = make_certificate(tmp_path)
    header = binary("127.0.0.77", 4711, b"\xea\0\x05hello")

    async def scene() -> None:
        settings = {"cwmp_tls_listen": "127.0.0.1:0", "tls_certificate": chain, "tls_key": private}
        settings |= {"trusted_proxies": ("127.0.0.1",), "proxy_protocol": ("cwmp_tls_listen",)}
        async with acs(tmp_path / "data", **settings) as bed:
            url = bed.app.ports.cwmp_tls_url
            device = Device(await announced(url, header, tls=trusting()))
            assert (await device.session("1 BOOT")).status == 204
            assert (await bed.get_device())["address"] == "127.0.0.77"
            await device.close()
            for cut in (0, 5, 20, len(header)):
                assert b"405" in await over_tls(url, header, cut)
            assert (await (await bed.device("S2")).session("1 BOOT")).status == 204, "the plain listener is as it was"
            # A check that somebody listens ends in the middle of nothing, and one that speaks no TLS is not answered.
            assert await is_cut(url, header + b"POST / HTTP/1.1\r\n\r\n")
            await (await announced(url, LOCAL)).close()
            device = Device(await announced(url, header, tls=trusting()))
            assert (await device.session("1 BOOT")).status == 204
            await device.close()

    player(scene())


async def over_tls(url: str, header: bytes, cut: int) -> bytes:
    """The answer to a GET over TLS; the header goes out with the first bytes of TLS, cut in two at a place."""
    parts = urlsplit(url)
    first, spoken, incoming, outgoing = hello_and_header(trusting(), header)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    async with asyncio.timeout(20):
        if cut:
            writer.write(first[:cut])
            await writer.drain()
            for _ in range(20):
                await asyncio.sleep(0)
        writer.write(first[cut:])
        asked, got = False, b""
        while True:
            incoming.write(await reader.read(65_536))
            try:
                if not asked:
                    spoken.do_handshake()
                    spoken.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    asked = True
                got = spoken.read()
            except ssl.SSLWantReadError:
                pass
            writer.write(outgoing.read())
            if got:
                writer.close()
                return got


def test_only_who_is_trusted_announces_and_who_is_trusted_must(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A header from a stranger, and none from a load balancer: no answer, and a line that says what to do."""

    async def scene() -> None:
        async with acs(tmp_path / "a", **BEHIND) as bed:
            assert await is_cut(bed.app.cwmp_url, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
            said = capsys.readouterr().out
            assert "no PROXY header" in said
            assert "send-proxy-v2" in said
            assert await is_cut(bed.app.cwmp_url, b"\x16\x03\x01\0\0")
            assert "no PROXY header" not in capsys.readouterr().out, "one line a minute is enough"
        async with acs(tmp_path / "b", **BEHIND | {"trusted_proxies": ("192.0.2.1",)}) as bed:
            for header in (text("192.0.2.9", 1), binary("192.0.2.9", 1)):
                assert await is_cut(bed.app.cwmp_url, header + b"POST / HTTP/1.1\r\n\r\n")
            assert "trusted_proxies" in capsys.readouterr().out
            device = await bed.device()
            assert (await device.session("1 BOOT")).status == 204
            assert (await bed.get_device())["address"] == "127.0.0.1"
        async with acs(tmp_path / "c") as bed:
            connection = await announced(bed.app.cwmp_url, text("192.0.2.9", 1))
            assert (await connection.answer()).status == 400
            await connection.close()
            assert "stands in proxy_protocol" in capsys.readouterr().out

    run(scene())


def test_health_checks_are_no_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing and an end; a header and an end; LOCAL and a request. None of them is worth a line, and none leaves anything."""

    async def scene() -> None:
        async with acs(tmp_path, **BEHIND) as bed:
            for data in (b"", LOCAL, binary("192.0.2.9", 1), UNKNOWN):
                connection = await announced(bed.app.cwmp_url, data)
                connection.writer.write_eof()
                assert await connection.reader.read() == b""
                await connection.close()
            check = await announced(bed.app.cwmp_url, LOCAL)
            assert (await check.request("GET", "/")).status == 405
            await check.close()
            assert "refused" not in capsys.readouterr().out
            [server] = bed.app._cwmp
            listener = server._server
            assert isinstance(listener, ProxiedListener)
            assert not listener._arrivals | listener._handing

    run(scene())


def test_forwarded_headers_count_only_from_load_balancers(tmp_path: Path) -> None:
    """A device behind the load balancer cannot name itself; a second load balancer behind the first may; nobody knows: nobody vouches."""

    async def scene() -> None:
        settings = BEHIND | {"trusted_proxies": ("127.0.0.1", "192.0.2.10")}
        sent = {"X-Forwarded-For": "[192.0.2.44]:99"}
        async with acs(tmp_path, **settings) as bed:
            seen = []
            for number, header in enumerate((binary("192.0.2.9", 1), binary("192.0.2.10", 2), UNKNOWN, LOCAL)):
                device = await behind(bed, header, f"S{number}", headers=sent)
                await device.session("1 BOOT")
                seen.append((await bed.get_device(f"S{number}"))["address"])
            assert seen == ["192.0.2.9", "192.0.2.44", "127.0.0.1", "127.0.0.1"]

    run(scene())


def test_tls_that_the_load_balancer_takes_off_lets_basic_in(tmp_path: Path) -> None:
    """The header's note on TLS makes the connection a protected one; without it Basic is not even offered."""
    tls = b"\x20\0\x05\x01\0\0\0\0"

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="required", cpe_username="u", cpe_password="p", **BEHIND) as bed:
            plain = await behind(bed, binary("192.0.2.9", 1))
            assert (await plain.post_inform(basic_header("u", "p"))).status == 401
            secured = await behind(bed, binary("192.0.2.9", 2, tls))
            assert (await secured.post_inform(basic_header("u", "p"))).status == 200

    run(scene())


def test_files_and_rest_stand_behind_load_balancers_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A transfer's address is the device's own, with all limits for it; the audit log has the address of the person."""

    async def scene() -> None:
        async with acs(tmp_path / "a") as bed:
            await bed.app.store.flush()
        async with acs(tmp_path / "a", **BEHIND | {"proxy_protocol": ("cwmp_listen", "file_listen")}) as bed:
            await add(bed, "fw.bin", b"content")
            device = await behind(bed, text("192.0.2.9", 1))
            await device.session("1 BOOT")
            _, order = await ordered(bed, device, "Download", {"file": "fw.bin"})
            path = urlsplit(order.url).path
            fetching = await announced(bed.app.file_url, binary("192.0.2.9", 7))
            got = await fetching.request("GET", path)
            assert (got.status, got.body) == (200, b"content")
            await fetching.close()
            assert await is_cut(bed.app.file_url, b"GET / HTTP/1.1\r\n\r\n")
            assert "address=192.0.2.9" in next(x for x in capsys.readouterr().out.splitlines() if "file_given" in x)

    async def rest() -> None:
        app_settings = BEHIND | {"proxy_protocol": ("http_listen",), "trusted_proxies": ("127.0.0.1",)}
        async with acs(tmp_path / "b", **app_settings) as bed:
            connection = await announced(bed.app.http_url, binary("192.0.2.200", 9))
            bed.rest_connection.writer.close()
            bed.rest_connection = connection
            answer: Answer = await bed.rest("POST", "tokens", {"name": "t", "scope": "read"})
            assert answer.status == 201
            [row] = (await bed.rest("GET", "audit")).json["items"]
            assert row["address"] == "192.0.2.200"

    run(scene())
    run(rest())


def test_random_bytes_are_refused_and_hold_nobody_up(tmp_path: Path) -> None:
    """Noise, headers with noise in them, halves of headers: the connection ends, or answers 400; the next device is served."""
    count = int(os.environ.get("HOMEPORT_PROXY_NOISE", "150"))
    chance = random.Random(69)

    async def noise(bed: Bed) -> None:
        good = bytearray(chance.choice((text("192.0.2.9", 9), binary("192.0.2.9", 9), LOCAL)))
        kind = chance.randrange(4)
        if kind == 0:
            good = bytearray(chance.randbytes(chance.randint(1, 300)))
        elif kind == 1:
            good[chance.randrange(len(good))] = chance.randrange(256)
        elif kind == 2:
            good = good[: chance.randrange(len(good))]
        connection = await announced(bed.app.cwmp_url, bytes(good) + chance.randbytes(chance.randint(1, 50)))
        connection.writer.write_eof()
        async with asyncio.timeout(20):
            try:
                answer = await connection.reader.read()
            except OSError:  # reset, or cut before our own end was told
                answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), (bytes(good), answer)
        with contextlib.suppress(OSError):
            await connection.close()

    async def scene() -> None:
        async with acs(tmp_path, **BEHIND) as bed:
            for _ in range(count // 10):
                await asyncio.gather(*(noise(bed) for _ in range(10)))
            device = await behind(bed, binary("192.0.2.9", 9))
            assert (await device.session("1 BOOT")).status == 204
            items = (await bed.rest("GET", "devices")).json["items"]
            assert [d["serial_number"] for d in items] == ["S1"]

    play(scene())


def test_a_system_without_files_for_connections_costs_a_moment_and_not_the_listener(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """EMFILE: the listener rests, says so, and takes the connection that waits when there is room again."""

    class Scarce(socket.socket):
        failures = 1

        def accept(self) -> Any:
            if Scarce.failures:
                Scarce.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def scene() -> None:
        sock = Scarce()
        sock.bind(("127.0.0.1", 0))
        host, port = sock.getsockname()
        listener = ProxiedListener(sock, lambda _: Echo(), trusts=lambda _: True, name="x")
        listener.start(10)
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(LOCAL + b"echo")
        async with asyncio.timeout(10):
            assert await reader.readexactly(4) == b"echo"
        writer.close()
        listener.close()
        listener.close()
        assert "Too many open files" in capsys.readouterr().out

    monkeypatch.setattr("homeport.transport.proxied.REST", 0.01)
    play(scene())


@pytest.mark.parametrize("player", [run, play], ids=["asyncio", "uvloop"])
def test_who_is_silent_is_cut_and_the_end_leaves_nothing(player: Any) -> None:
    """A load balancer without its header has little time, strangers as much as any; a stop cuts both at once."""

    async def scene() -> None:
        for trusted in (True, False):
            seen: list[Origin | None] = []

            def made(origin: Origin | None, seen: list[Origin | None] = seen) -> asyncio.Protocol:
                seen.append(origin)
                return Echo()

            sock = socket.socket()
            sock.bind(("127.0.0.1", 0))
            listener = ProxiedListener(
                sock, made, trusts=lambda _, t=trusted: t, name="x", header_within=0.02, patience=0.02, most=2
            )
            host, port = sock.getsockname()
            listener.start(10)
            for data in (b"", b"PRO") if trusted else (b"",):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(data)
                async with asyncio.timeout(10):
                    assert await reader.read() == b""
                writer.close()
            assert seen == []
            reader, writer = await asyncio.open_connection(host, port)
            writer.write((text("192.0.2.9", 9) if trusted else b"") + b"echo")
            async with asyncio.timeout(10):
                assert await reader.readexactly(4) == b"echo"
            assert seen == [Origin("192.0.2.9", 9) if trusted else None]
            writer.close()
            silent = [await asyncio.open_connection(host, port) for _ in range(3)]
            listener.close()
            await listener.wait_closed()
            assert not listener._arrivals
            for reader, writer in silent:
                try:
                    assert await reader.read() == b""
                except ConnectionResetError:
                    pass  # it had not been accepted yet
                writer.close()

    player(scene())
