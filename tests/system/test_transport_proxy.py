"""The ACS behind an HTTP proxy: tunnels for TLS, absolute targets without, and a proxy that does not want to."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from homeport.errors import ConfigError, TransportError
from homeport.transport.acs_client import HttpChannel
from homeport.transport.proxy import Proxy, parse_proxy
from homeport.transport.tls import TlsSettings
from system.transport_peers import CLOSE, STALL, Authority, answer, serving

pytestmark = pytest.mark.system

OK = answer(200, b"<ok/>")


@asynccontextmanager
async def tunnelling(wants=None):
    """A proxy that makes tunnels. Gives (port, the heads it was sent)."""
    heads, tasks = [], set()

    async def pump(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # either end is gone; so is the tunnel
        finally:
            writer.close()

    async def connected(reader, writer):
        tasks.add(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head)
        if wants is not None and f"Proxy-Authorization: {wants}\r\n" not in head:
            writer.write(answer(407, b"", 'Proxy-Authenticate: Basic realm="p"'))
            writer.close()
            return
        port = int(head.split(" ")[1].rpartition(":")[2])
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, back), pump(there, writer))

    made = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield made.sockets[0].getsockname()[1], heads
    finally:
        made.close()
        await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)


async def post(url, proxy, **options):
    """The body, or the TransportError, of two POSTs."""
    channel = HttpChannel(url, proxy=proxy, **{"timeout": 5.0, **options})
    try:
        await channel.post(b"<a/>")
        return (await channel.post(b"<b/>")).body
    except TransportError as e:
        return e
    finally:
        await channel.close()


def test_tls_goes_through_a_tunnel(tmp_path):
    """The proxy sees the name and the port, and its own password; the certificate is still the ACS's."""
    ca = Authority(tmp_path)

    async def main():
        async with serving(OK, context=ca.server_context()) as server, tunnelling("Basic dTpwIHc=") as (port, heads):
            tls = TlsSettings(ca_file=ca.file)
            good = await post(server.url, f"http://u:p%20w@127.0.0.1:{port}", tls=tls)
            none = await post(server.url, f"http://127.0.0.1:{port}", tls=tls)
            wrong = await post(server.url, f"http://u:x@127.0.0.1:{port}", tls=tls)
            stranger = await post(server.url, f"http://u:p%20w@127.0.0.1:{port}")
            return good, none, wrong, stranger, heads, server

    good, none, wrong, stranger, heads, server = asyncio.run(main())
    assert good == b"<ok/>"
    assert heads[0].startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n")
    assert len(server.seen) == 2 and "proxy-authorization" not in server.seen[0].headers
    assert (none.kind, "wants a user name" in str(none)) == ("proxy", True)
    assert (wrong.kind, "refused its user name" in str(wrong)) == ("proxy", True)
    assert stranger.kind == "tls"


def test_without_tls_the_request_names_the_whole_url():
    """The proxy fetches for us, and gets its password with each request."""

    async def main():
        async with serving(OK) as proxy:
            got = await post("http://acs.example.com:7547/acs?x", f"http://u:p@127.0.0.1:{proxy.port}")
            return got, proxy

    got, proxy = asyncio.run(main())
    assert got == b"<ok/>"
    assert proxy.seen[0].start == "POST http://acs.example.com:7547/acs?x HTTP/1.1"
    assert proxy.seen[0].headers["host"] == "acs.example.com:7547"
    assert proxy.seen[1].headers["proxy-authorization"] == "Basic dTpw"
    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("step", "kind", "words"),
    [
        (answer(403), "proxy", "HTTP 403"),
        (b"SSH-2.0-x\r\n\r\n", "proxy", "does not speak HTTP"),
        (CLOSE, "proxy", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000, "proxy", "does not speak HTTP"),
        (STALL, "timeout", "the proxy"),
        ((b"HTTP/1.1 200 OK\r\n\r\n", CLOSE), "tls", "cut the TLS handshake"),
    ],
)
def test_a_proxy_that_gives_no_tunnel_is_named(step, kind, words):
    """Not the ACS is at fault."""

    async def main():
        async with serving(step) as proxy:
            return await post("https://acs.example.com/", f"http://127.0.0.1:{proxy.port}", timeout=0.2)

    error = asyncio.run(main())
    assert (error.kind, words in str(error)) == (kind, True), str(error)


def test_a_proxy_that_is_not_there_or_wants_a_password_is_named():
    """Refused, and 407 without TLS."""

    async def main():
        async with serving(answer(407)) as proxy:
            wants = await post("http://acs.example.com/", f"http://127.0.0.1:{proxy.port}")
        return wants, await post("https://acs.example.com/", "http://127.0.0.1:1")

    wants, gone = asyncio.run(main())
    assert wants.kind == "proxy"
    assert (gone.kind, "the proxy 127.0.0.1" in str(gone)) == ("refused", True)


def test_proxy_settings_are_read():
    """The default port is 3128; mistakes are told without the password."""
    assert parse_proxy("http://proxy.example.com") == Proxy("proxy.example.com", 3128)
    assert parse_proxy("http://a%40b:c@[::1]:80/") == Proxy("::1", 80, "Basic YUBiOmM=")
    for url in ("proxy:3128", "https://u:secret@proxy/", "socks://u:secret@proxy/"):
        with pytest.raises(ConfigError) as caught:
            parse_proxy(url)
        assert "secret" not in str(caught.value)
