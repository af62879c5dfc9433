"""The same sockets under uvloop, which the agent and the ACS run on: its transports are not asyncio's classes."""

import asyncio

import pytest

from homeport.errors import TransportError
from homeport.transport.acs_client import HttpChannel
from homeport.transport.connection_request import ConnectionRequestListener, request_connection
from homeport.transport.tls import TlsSettings
from system.transport_peers import CLOSE, STALL, Authority, answer, serving

uvloop = pytest.importorskip("uvloop", reason="uvloop does not exist for this platform")
pytestmark = pytest.mark.system


def run(main):
    """main() on a uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_a_session_and_its_failures_under_uvloop(tmp_path):
    """Plain and TLS answers, a silent ACS, one that closes, one that is not there, one that is not trusted."""
    ca = Authority(tmp_path)
    trusted = TlsSettings(ca_file=ca.file)
    ok = answer(200, b"<ok/>")

    async def one(script, *, context=None, tls=None, timeout=5.0):
        async with serving(script, context=context) as server:
            channel = HttpChannel(server.url, tls=tls, timeout=timeout)
            try:
                return (await channel.post(b"<a/>")).body
            except TransportError as e:
                return e.kind
            finally:
                await channel.close()

    async def nowhere():
        channel = HttpChannel("http://127.0.0.1:1/", timeout=5.0)
        with pytest.raises(TransportError) as caught:
            await channel.post(b"")
        return caught.value.kind

    async def main():
        return [
            await one(ok),
            await one(ok, context=ca.server_context(), tls=trusted),
            await one(STALL, timeout=0.05),
            await one(CLOSE),
            await nowhere(),
            await one(ok, context=ca.server_context(), tls=None),
            await one(ok, context=ca.server_context(names=("other.example",)), tls=trusted),
        ]

    assert run(main) == [b"<ok/>", b"<ok/>", "timeout", "closed", "refused", "tls", "tls"]


def test_connection_requests_under_uvloop():
    """Both halves, accepted and refused."""

    async def main():
        listener = ConnectionRequestListener(
            host="127.0.0.1", port=0, path="/p", credentials=lambda: ("a", "b"), accept=lambda: True
        )
        port = await listener.start()
        url = f"http://127.0.0.1:{port}/p"
        results = [await request_connection(url, [pair]) for pair in (("a", "b"), ("a", "c"))]
        await listener.stop()
        return [(r.ok, r.status) for r in results]

    assert run(main) == [(True, 200), (False, 401)]
