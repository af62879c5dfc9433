"""The HTTP server of the CWMP listener: an asyncio protocol on httptools, with a limit and a time for everything.

A general server was measured first (uvicorn, raw ASGI): it writes head and body apart, where some devices want them in one piece
(interop row 25), makes a task per request, and lets a peer take for ever over its headers. This one costs a third of it per session.
The door behind it knows nothing of it.
Source: RFC 9112; TR-069a6 3.4.1.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Coroutine, Generator
from email.utils import formatdate
from http import HTTPStatus
from socket import socket
from typing import Any, Final, NoReturn

import httptools
import structlog

from homeport.acs.endpoint.door import Door
from homeport.acs.endpoint.exchange import HttpReply, HttpRequest, plain
from homeport.acs.tls import common_name
from homeport.http.forwarded import TrustedProxies
from homeport.http.proxy_protocol import Origin, resembles
from homeport.transport.proxied import ProxiedListener

MOST_HEAD: Final = 16_384
"""Bytes of request line and headers: a Digest header, a 4 KB cookie and a proxy's additions stay under 8 KB."""

MOST_HEADERS: Final = 100
MOST_WAITING: Final = 4
"""Requests that a peer may send ahead of our answers; CWMP has no use for any."""

LINGER: Final = 2.0
"""Seconds that what a refused peer still sends is thrown away before its connection is cut."""

SWEEP_EVERY: Final = 1.0
"""Seconds between two looks at who is overdue: one timer for all connections, because a timer per request costs more than it saves."""

_WANTED: Final = {
    b"cookie": "cookie",
    b"authorization": "authorization",
    b"content-type": "content_type",
    b"content-encoding": "content_encoding",
    b"x-forwarded-for": "forwarded_for",
    b"x-forwarded-proto": "forwarded_proto",
}
_JOINED: Final = {"cookie": "; ", "forwarded_for": ", "}
_REASONS: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
UNEXPECTED: Final = (
    "only addresses in trusted_proxies may send one, and only to a listener that stands in proxy_protocol"
)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_log = structlog.get_logger("homeport.acs.http")


class _Started:
    """A coroutine that has taken its first step by hand, for a task to bring to its end.

    Most answers never wait: those cost no task. One that waits has given out its future, which is given out again here.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, HttpReply], first: Any) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, HttpReply]:
        given: Any = self._first
        while True:
            try:
                value = yield given
            except BaseException as e:
                try:
                    given = self._coroutine.throw(e)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]
            else:
                try:
                    given = self._coroutine.send(value)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]


class Connection(asyncio.Protocol):
    """One TCP connection. `overdue_at`: loop time at which the sweep ends it."""

    __slots__ = (
        "_busy",
        "_close",
        "_certificate",
        "_complete",
        "_fields",
        "_fresh",
        "_head",
        "_headers",
        "_host",
        "_keep",
        "_length",
        "_limit",
        "_parser",
        "_parts",
        "_port",
        "_proxied",
        "_secure",
        "_server",
        "_size",
        "_target",
        "_transport",
        "_waiting",
        "overdue_at",
    )

    def __init__(self, server: "CwmpServer") -> None:
        self._server = server
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[HttpRequest, bool]] | None = None
        self._busy = False
        self._close = False
        self._fresh = True
        self._begin()

    def _begin(self) -> None:
        """Nothing of the next request is here."""
        self._target = b""
        self._fields: dict[str, str] = {}
        self._headers = 0
        self._head = 0
        self._length = 0
        self._size = 0
        self._limit = 0
        self._parts: list[bytes] = []
        self._complete = False

    # --- the connection ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername") or ("", 0)
        host = peer[0]
        self._host: str = host[7:] if host.startswith("::ffff:") else host
        self._port: int = peer[1]
        self._secure = self._server.secure
        server = self._server
        self._certificate = ""
        if server.client_certificates:
            self._certificate = common_name(transport.get_extra_info("peercert"))
        self._proxied = bool(server.proxies) and server.proxies.trusts(self._host)
        self.overdue_at = server.now + server.read_timeout
        if len(server.connections) >= server.max_connections:
            self._reply(plain(503, "too many connections; come back later", (b"Retry-After", b"30"), close=True), False)
            return
        server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._close = True
        self._server.connections.discard(self)
        self._server.door.live.gone(self._host, self._port)
        del self._parser  # it holds us, as we hold it: without this every connection waits for the garbage collector

    def eof_received(self) -> bool:
        return self._busy  # the answer may still be wanted by a peer that has closed its own half

    def data_received(self, data: bytes) -> None:
        if self._close:
            return
        if self._fresh:
            self._fresh = False
            self.overdue_at = self._server.now + self._server.read_timeout
        if not self._limit:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(plain(400, "this server changes to no other protocol", close=True))
        except httptools.HttpParserError as e:
            cause = e.__context__
            if resembles(data):
                _log.warning("a PROXY header was refused", peer=self._host, reason=UNEXPECTED)
            self._refuse(cause.reply if isinstance(cause, _Refused) else plain(400, "this is not HTTP/1.1", close=True))
        else:
            if not self._limit and self._head > MOST_HEAD:
                self._refuse(plain(431, f"the headers are over {MOST_HEAD} bytes", close=True))

    def _refuse(self, reply: HttpReply) -> None:
        self._server.door.count(reply)
        if self._busy:
            # The peer waits for another answer, which this one must not overtake.
            self._close = True
            return
        self._reply(reply, False, linger=True)

    # --- httptools' callbacks ---

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > MOST_HEAD:
            self._stop(plain(414, "the address is too long", close=True))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > MOST_HEADERS:
            self._stop(plain(431, f"more than {MOST_HEADERS} headers", close=True))
        name = name.lower()
        field = _WANTED.get(name)
        if field is not None:
            text = value.decode("latin-1")
            fields = self._fields
            fields[field] = f"{fields[field]}{_JOINED[field]}{text}" if field in fields and field in _JOINED else text
        elif name == b"content-length":
            self._length = int(value) if value.isdigit() else 0
        elif name == b"expect" and value.lower() == b"100-continue":
            self._fields["expect"] = "1"

    def on_headers_complete(self) -> None:
        limit = self._limit = self._server.door.limit_for(self._fields.get("cookie", ""))
        if self._length > limit:
            self._stop(plain(413, f"the body is over {limit} bytes", close=True))
        if self._fields.pop("expect", "") and self._length:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._limit:
            self._stop(plain(413, f"the body is over {self._limit} bytes", close=True))
        self._parts.append(body)

    def on_message_complete(self) -> None:
        parser, parts = self._parser, self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        request = HttpRequest(
            parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            body,
            self._host,
            self._port,
            self._secure,
            self._certificate,
            False,
            **self._fields,
        )
        if self._proxied:
            request = self._server.origin(request)
        keep = parser.should_keep_alive()
        self._begin()
        self._fresh = True
        if not self._busy:
            self._serve(request, keep)
            return
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= MOST_WAITING:
            self._stop(plain(400, "requests came before their answers", close=True))
        self._waiting.append((request, keep))

    @staticmethod
    def _stop(reply: HttpReply) -> NoReturn:
        raise _Refused(reply)

    # --- answers ---

    def _serve(self, request: HttpRequest, keep: bool) -> None:
        """Answer at once where nothing has to be waited for, else in a task."""
        self._busy = True
        self.overdue_at = float("inf")
        coroutine = self._server.door.handle(request)
        try:
            first = coroutine.send(None)
        except StopIteration as stop:
            self._busy = False
            self._reply(stop.value, keep)
            return
        self._server.finish(self._later(_Started(coroutine, first), keep))

    async def _later(self, started: _Started, keep: bool) -> None:
        reply = await started
        self._busy = False
        self._reply(reply, keep)

    def _reply(self, reply: HttpReply, keep: bool, *, linger: bool = False) -> None:
        """Write the answer in one piece, then take up the next request that waits.

        linger: the peer may still be sending; closing at once would make its system throw our answer away.
        """
        transport, server = self._transport, self._server
        if transport.is_closing():
            return
        body = reply.body
        close = reply.close or not keep or self._close or server.stopping
        parts = [_REASONS[reply.status], server.date]
        parts += [b"%b: %b\r\n" % header for header in reply.headers]
        # 204 has a length too: a strict reader ignores it, and naive clients wait without it.
        parts.append(b"Content-Length: %d\r\n%b\r\n" % (len(body), b"Connection: close\r\n" if close else b""))
        parts.append(body)
        transport.write(b"".join(parts))
        self.overdue_at = server.now + server.keep_alive
        if close:
            self._close = True
            if linger and transport.can_write_eof():
                transport.write_eof()
                self.overdue_at = server.now + LINGER
            else:
                transport.close()
        elif self._waiting:
            self._serve(*self._waiting.popleft())

    def end(self) -> None:
        """Close an idle connection, or one whose time is over."""
        if self._fresh or self._close:
            self._transport.abort() if self._close else self._transport.close()
        else:
            self._reply(plain(408, "the request did not arrive in time", close=True), False)
        self._close = True

    @property
    def idle(self) -> bool:
        """Whether no answer is being made."""
        return not self._busy


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


class _Refused(Exception):
    """The request is refused while it is read."""

    def __init__(self, reply: HttpReply) -> None:
        self.reply = reply


class CwmpServer:
    """Listens for devices.

    read_timeout, keep_alive: seconds, for a whole request and for silence between two. client_certificates: those that a device
    shows were verified, and log it in. proxies: the load balancers in front.
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
    ) -> None:
        self.door = door
        self.read_timeout = read_timeout
        self.keep_alive = keep_alive
        self.max_connections = max_connections
        self.secure = secure
        self.client_certificates = client_certificates
        self.connections: set[Connection] = set()
        self.proxies = proxies or TrustedProxies()
        self.stopping = False
        self.now = 0.0
        self.date = b""
        self._answers: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server | ProxiedListener | None = None
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
            self._server.start(4_096)
            return
        self._server = await self._loop.create_server(lambda: Connection(self), sock=listening, ssl=tls, backlog=4_096)

    def origin(self, request: HttpRequest) -> HttpRequest:
        """The request as its device has sent it to the load balancer that we have it from.

        Its port is 0 where that is not told: then nothing shows which requests come from the same connection of a device.
        """
        host, port = self.proxies.origin(request.forwarded_for)
        secure = request.secure or request.forwarded_proto.strip().lower() == "https"
        return request._replace(host=host or request.host, port=port, secure=secure, relayed=True)

    def finish(self, answer: Coroutine[Any, Any, None]) -> None:
        """Bring an answer that has to wait to its end."""
        task = self._loop.create_task(answer)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    def _sweep(self) -> None:
        """End what is overdue; keep the clock and the Date header, which need to be right to a second."""
        self.now = self._loop.time()
        self.date = f"Date: {formatdate(time.time(), usegmt=True)}\r\n".encode()
        for connection in [c for c in self.connections if c.overdue_at <= self.now]:
            connection.end()
        self._timer = self._loop.call_later(SWEEP_EVERY, self._sweep)

    async def stop(self, grace: float = 3.0) -> None:
        """Take no more connections, let running answers out, close."""
        self.stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        if self._answers:
            await asyncio.wait(self._answers, timeout=grace)
        for connection in list(self.connections):
            connection.end()
        for task in self._answers:
            task.cancel()
        if self._server is not None:
            await self._server.wait_closed()
