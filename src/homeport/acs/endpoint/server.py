"""The HTTP server of the CWMP listener: an asyncio protocol of its own, with a limit and a time for everything.

A general server was measured first (uvicorn, raw ASGI): it writes head and body apart, where some devices want them in one piece
(interop row 25), makes a task per request, and lets a peer take for ever over its headers. This one costs a third of it per session.
Source: RFC 9112; TR-069a6 3.4.1.
"""

import asyncio
import ssl
import struct
import sys
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from socket import IPPROTO_TCP, socket
from typing import Any, Final

import structlog
from msgspec.structs import replace

from homeport.acs.endpoint.connection import LOOK_EVERY, Connection
from homeport.acs.endpoint.door import Door
from homeport.acs.endpoint.exchange import HttpRequest
from homeport.acs.endpoint.heads import Heads
from homeport.http.forwarded import TrustedProxies
from homeport.http.proxy_protocol import Origin
from homeport.transport.proxied import ProxiedListener

SWEEP_EVERY: Final = 1.0
"""Seconds between two looks at who is overdue: one timer for all connections, because a timer per request costs more than it saves."""

BACKLOG: Final = 4_096
"""Connections that wait to be accepted."""

ACCEPTED_AT_ONCE: Final = 16
"""Connections that are accepted in one turn of a busy loop, at most. libuv takes one for each handle that watches a listening socket:
with a single handle each turn of a busy loop has one new session in it, which then costs a third more and waits in the kernel. Handles
beyond the connections that wait look in vain, at every turn."""

STEP: Final = 4
"""How many times as many are accepted after a step up: 1, 4, 16."""

MANY_WAIT: Final = 2.0
"""Connections that wait to be accepted, lately on average, for each one that is accepted in a turn, from which on more are accepted."""

FEW_WAIT: Final = 0.25
"""The same below which fewer are enough."""

_log = structlog.get_logger("homeport.acs.http")


class _Announced(Connection):
    """A connection that a load balancer has announced by the PROXY protocol."""

    __slots__ = ("_origin",)

    def __init__(self, server: "CwmpServer", origin: Origin) -> None:
        super().__init__(server)
        self._origin = origin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        origin = self._origin
        if origin.host:
            self._host, self._port = origin.host, origin.port
        # A load balancer that speaks for itself, or for somebody whom it does not know, vouches for no X-Forwarded-For.
        self._proxied = bool(origin.host) and self._server.proxies.trusts(origin.host)
        self._secure = self._secure or origin.secure


class CwmpServer:
    """Listens for devices.

    read_timeout, keep_alive: seconds, for a whole request and for silence between two. client_certificates: those that a device
    shows were verified, and log it in. proxies: the load balancers in front. connections: the set to keep those of this listener in.
    others: how many there are elsewhere that count towards the same limit. accepted_at_once: connections in a turn of the loop.
    """

    def __init__(
        self,
        door: Door,
        *,
        read_timeout: float,
        keep_alive: float,
        max_connections: int,
        secure: bool = False,
        client_certificates: bool = False,
        proxies: TrustedProxies | None = None,
        connections: "set[Connection] | None" = None,
        others: Callable[[], int] | None = None,
        accepted_at_once: int = ACCEPTED_AT_ONCE,
    ) -> None:
        self.door = door
        self.gathering = door.gathering
        self.read_timeout = read_timeout
        self.keep_alive = keep_alive
        self.max_connections = max_connections
        self.secure = secure
        self.client_certificates = client_certificates
        self.connections: set[Connection] = set() if connections is None else connections
        self.others = others
        self.accepted_at_once = accepted_at_once
        self.proxies = proxies or TrustedProxies()
        self.behind = bool(proxies)
        self.heads = Heads()
        self.stopping = False
        self.now = self.arrived_until = self.silent_until = 0.0
        self.date = self.no_content = b""
        self.starts: dict[int, bytes] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server | ProxiedListener | None = None
        self._others: list[asyncio.Server] = []  # what accepts beside it while the loop is busy
        self._listen: Callable[[socket], Coroutine[Any, Any, asyncio.Server]] | None = None
        self._listening: socket
        self.accepted = 0
        self._accepted_before = 0
        self._wait = 0.0  # connections that wait, lately on average
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, listening: socket, tls: ssl.SSLContext | None = None, *, announced: str = "") -> None:
        """Take connections on a bound socket.

        announced: where load balancers announce them by the PROXY protocol, the setting that says where this listens.
        """
        self._loop = asyncio.get_running_loop()
        self._sweep()
        if announced:
            self._server = ProxiedListener(
                listening,
                lambda origin: Connection(self) if origin is None else _Announced(self, origin),
                trusts=self.proxies.trusts,
                name=announced,
                tls=tls,
                most=self.max_connections,
                patience=self.read_timeout,
            )
            self._server.start(BACKLOG)
            return

        async def listen(sock: socket) -> asyncio.Server:
            return await self._loop.create_server(
                partial(Connection, self),
                sock=sock,
                ssl=tls,
                backlog=BACKLOG,
                # Until its handshake is done nobody counts a connection: one that never begins it must not stay for a minute.
                ssl_handshake_timeout=self.read_timeout if tls is not None else None,
            )

        self._server = await listen(listening)
        if not isinstance(self._loop, asyncio.BaseEventLoop):  # asyncio's own accepts all that wait
            self._listen, self._listening = listen, listening

    def full(self) -> bool:
        """Whether there are as many connections as there may be, with those elsewhere."""
        elsewhere = self.others() if self.others is not None else 0
        return len(self.connections) + elsewhere >= self.max_connections

    def origin(self, request: HttpRequest) -> HttpRequest:
        """The request as its device has sent it to the load balancer that we have it from.

        Its port is 0 where that is not told: then nothing shows which requests come from the same connection of a device.
        """
        host, port = self.proxies.origin(request.forwarded_for)
        secure = request.secure or request.forwarded_proto.strip().lower() == "https"
        return replace(request, host=host or request.host, port=port, secure=secure, relayed=True)

    def finish(self, answer: Coroutine[Any, Any, None]) -> None:
        """Bring an answer that has to wait to its end."""
        task = self._loop.create_task(answer)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def tick(self, now: float, date: float) -> None:
        """Keep what needs to be right to a second: the times at which what begins now is overdue, and what holds the date."""
        self.now = now
        self.arrived_until, self.silent_until = now + self.read_timeout, now + self.keep_alive
        self.date = f"Date: {formatdate(date, usegmt=True)}\r\n".encode()
        self.starts.clear()
        self.no_content = self.start_of(204) + b"Content-Length: 0\r\n\r\n"

    def start_of(self, status: int) -> bytes:
        """The status line and the date of an answer."""
        start = self.starts[status] = b"HTTP/1.1 %d %b\r\n%b" % (status, HTTPStatus(status).phrase.encode(), self.date)
        return start

    def _sweep(self) -> None:
        """End what is overdue."""
        self.tick(self._loop.time(), time.time())
        for connection in [c for c in self.connections if c.overdue_at <= self.now]:
            connection.end()
        if self.accepted - self._accepted_before < LOOK_EVERY:
            self._wait = 0.0
            self.accept_fewer(1)
        self._accepted_before = self.accepted
        self._timer = self._loop.call_later(SWEEP_EVERY, self._sweep)

    def look(self) -> None:
        """See whether it is time to accept more connections in a turn, or fewer."""
        if self._listen is None:
            return
        self._wait += (waiting(self._listening) - self._wait) / 4
        count = now = len(self._others) + 1
        while self._wait >= MANY_WAIT * count and count < self.accepted_at_once:
            count *= STEP
        if count > now:
            self.finish(self.accept_more(min(count, self.accepted_at_once)))
        elif self._wait < FEW_WAIT * now:
            self.accept_fewer(now // STEP)

    async def accept_more(self, count: int) -> None:
        """Accept so many connections in each turn of the loop, from now on."""
        while self._listen is not None and len(self._others) + 1 < count and not self.stopping:
            try:
                other = await self._listen(self._listening.dup())
            except OSError as e:
                _log.warning("no more connections are accepted in a turn than now", reason=e.strerror)
                return
            self._others.append(other)

    def accept_fewer(self, count: int) -> None:
        """Accept no more than so many connections in each turn of the loop, from now on; one at least."""
        while len(self._others) >= max(1, count):
            self._others.pop().close()

    async def stop(self, grace: float = 3.0) -> None:
        """Take no more connections, let running answers out, close."""
        self.stopping = True
        if self._timer is not None:
            self._timer.cancel()
        self.accept_fewer(1)
        if self._server is not None:
            self._server.close()
        await self.gathering.finish(grace)
        if self._answers:
            await asyncio.wait(self._answers, timeout=grace)
        self.accept_fewer(1)  # of what was being begun
        for connection in list(self.connections):
            connection.end()
        for task in self._answers:
            task.cancel()
        if self._server is not None:
            await self._server.wait_closed()


def waiting(listening: socket) -> int:
    """How many connections wait to be accepted; 0 where the system does not tell.

    Source: Linux, `tcpi_unacked` of a listening socket.
    """
    if sys.platform != "linux":
        return 0
    from socket import TCP_INFO  # other systems have none, or another one

    (count,) = struct.unpack_from("=I", listening.getsockopt(IPPROTO_TCP, TCP_INFO, 28), 24)
    return int(count)
