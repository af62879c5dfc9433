"""The HTTP server of the REST API: uvicorn, run by the application's own clock and signals, also behind the PROXY protocol."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from homeport.http.proxy_protocol import Origin
from homeport.transport.proxied import ProxiedListener


class RestServer(uvicorn.Server):
    """uvicorn without its own signal handling: the application stops its servers in its own order."""

    listener: ProxiedListener | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, let running answers out, close."""
        if self.listener is not None:
            self.listener.close()
            await self.listener.wait_closed()
        await super().shutdown(sockets)


class _Announced(HttpToolsProtocol):
    """A connection whose client is the one that the load balancer has named."""

    origin = Origin()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.origin.host:
            self.client = (self.origin.host, self.origin.port)
        if self.origin.secure:
            self.scheme = "https"


async def serve(app: Any, listening: socket.socket, *, trusts: Callable[[str], bool], announced: str) -> RestServer:
    """A server that takes connections on the bound socket; its `main_loop` is to be run.

    announced: where load balancers announce connections by the PROXY protocol, the setting that says where this listens; trusts: whether
    an address is theirs.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=30,
    )
    config.load()
    server = RestServer(config)
    server.lifespan = config.lifespan_class(config)
    if not announced:
        await server.startup(sockets=[listening])
        return server

    def made(origin: Origin | None) -> asyncio.Protocol:
        protocol = _Announced(config, server.server_state, server.lifespan.state)
        protocol.origin = origin or Origin()
        return protocol

    await server.startup(sockets=[])
    server.listener = ProxiedListener(listening, made, trusts=trusts, name=announced)
    server.listener.start(2_048)
    return server
