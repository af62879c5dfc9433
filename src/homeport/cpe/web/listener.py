"""The web page's HTTP/1.1 server: small enough to wait in every agent, strict enough to face a network.

It reads one whole request at a time, hands it on, writes the answer, and closes slow, greedy and odd peers. What a path means is the
handler's matter. Bodies come with Content-Length alone: browsers send forms so.
"""

import asyncio
import errno
import logging
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from homeport.errors import ConfigError, RemoteProtocolError
from homeport.http.headers import Head, end_of_head, parse_head
from homeport.http.limits import HttpLimits

LIMITS: Final = HttpLimits(max_head=16 * 1024, max_headers=64, max_body=64 * 1024)
"""A form of ours has ten fields."""

MOST_CONNECTIONS: Final = 48
"""Beyond it the one that has been idle longest goes; a browser opens six."""

_LOG: Final = logging.getLogger("homeport.cpe.web")
_REASONS: Final = {
    200: "OK",
    303: "See Other",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    421: "Misdirected Request",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. path: as it was sent, before the question mark. source: the peer's address. secure: over TLS."""

    method: str
    path: str
    query: str
    head: Head
    body: bytes
    source: str
    port: int
    secure: bool
    known: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. headers: names and values without line ends; Content-Length and Connection are the listener's."""

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = field(default=())


Handler = Callable[[Request], Awaitable[Answer]]


class PageListener:
    """Listens and reads.

    port: 0 for any free one; port_range: so many ports from `port` on are tried. time_limit: seconds for a whole request, and for the
    peer to take the answer. idle: seconds that a connection may wait for its next request.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        host: str,
        port: int,
        port_range: int = 1,
        tls: ssl.SSLContext | None = None,
        time_limit: float = 10.0,
        idle: float = 30.0,
        limits: HttpLimits = LIMITS,
    ) -> None:
        self.handler = handler
        self.port = 0
        self.secure = tls is not None
        self.time_limit = time_limit
        self.idle = idle
        self.limits = limits
        self.host = host
        self._ports = [0] if port == 0 else range(port, min(port + port_range, 65536))
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._visitors: OrderedDict[_Visitor, None] = OrderedDict()

    async def start(self) -> int:
        """The port that is listened on. Raises ConfigError where none can be had."""
        loop = asyncio.get_running_loop()
        for port in self._ports:
            try:
                self._server = await loop.create_server(
                    lambda: _Visitor(self),
                    self.host or None,
                    port,
                    ssl=self._tls,
                    # A connection is counted from the end of its handshake on, so that one that never ends must not last.
                    ssl_handshake_timeout=self.time_limit if self._tls is not None else None,
                    backlog=64,
                )
            except OSError as e:
                if e.errno == errno.EADDRINUSE or "in use" in str(e):
                    continue
                raise ConfigError(f"web_listen: cannot listen on {self.host}:{port}: {e.strerror or e}") from e
            self.port = int(self._server.sockets[0].getsockname()[1])
            return self.port
        raise ConfigError(f"web_port: no free port from {self._ports[0]} to {self._ports[-1]}; set another")

    async def stop(self) -> None:
        """Closes the port and every connection; answers that were written already still go out."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for visitor in list(self._visitors):
            visitor.close()
        if server is not None:
            await server.wait_closed()

    # --- asked by the connections -------------------------------------------------------------------------------------------

    def arrived(self, visitor: "_Visitor") -> None:
        """Notes a new connection, and drops the one that was quiet longest where there are too many."""
        self._visitors[visitor] = None
        if len(self._visitors) > MOST_CONNECTIONS:
            next(iter(self._visitors)).drop()

    def active(self, visitor: "_Visitor") -> None:
        """A connection asked for something: it is the last to be dropped."""
        if visitor in self._visitors:
            self._visitors.move_to_end(visitor)

    def left(self, visitor: "_Visitor") -> None:
        self._visitors.pop(visitor, None)


class _Visitor(asyncio.Protocol):
    """One connection."""

    def __init__(self, listener: PageListener) -> None:
        self._listener = listener
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head: Head | None = None
        self._need = 0
        self._working: asyncio.Task[None] | None = None
        self._clogged = False
        self._source, self._port = "", 0
        self._known: dict[str, bool] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not subclasses of asyncio's
        peer = transport.get_extra_info("peername")
        self._source, self._port = (str(peer[0]), int(peer[1])) if peer else ("", 0)
        self._wait(self._listener.time_limit)
        self._listener.arrived(self)

    def data_received(self, data: bytes) -> None:
        if not self._buffer and self._head is None and self._working is None and not self._clogged:
            self._wait(self._listener.time_limit)  # a request begins: from here on its whole time counts
        self._buffer += data
        if self._working is None and not self._clogged:
            self._advance()
        elif len(self._buffer) > self._listener.limits.max_head and self._transport is not None:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.left(self)
        self._transport = None
        self._cancel_timer()

    def pause_writing(self) -> None:
        """The peer does not take what it asked for: it has its time, and no further request is looked at."""
        self._clogged = True
        self._wait(self._listener.time_limit)

    def resume_writing(self) -> None:
        self._clogged = False
        if self._working is None and self._transport is not None and not self._transport.is_closing():
            self._go_on()

    def drop(self) -> None:
        """Close at once."""
        self._listener.left(self)
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close once what was written has gone out."""
        self._listener.left(self)
        if self._transport is not None:
            self._transport.close()

    # --- reading ------------------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Read on; a whole request is handed on."""
        try:
            if self._head is None:
                end = end_of_head(self._buffer)
                if end is None:
                    if len(self._buffer) > self._listener.limits.max_head:
                        raise RemoteProtocolError("the header block is too large", http_status=431)
                    return
                self._head = parse_head(self._buffer[:end], limits=self._listener.limits)
                del self._buffer[:end]
                self._need = self._body_length(self._head)
            if len(self._buffer) < self._need:
                return
            request = self._request(self._head, bytes(self._buffer[: self._need]))
        except RemoteProtocolError as e:
            self._refuse(e.http_status or 400, str(e))
            return
        del self._buffer[: self._need]
        self._head, self._need = None, 0
        self._cancel_timer()
        self._listener.active(self)
        self._working = asyncio.ensure_future(self._serve(request))

    def _body_length(self, head: Head) -> int:
        if head.get("transfer-encoding"):
            raise RemoteProtocolError("bodies come with Content-Length here", http_status=501)
        lengths = set(head.all("content-length"))
        if not lengths:
            if head.start.startswith("POST "):
                raise RemoteProtocolError("a POST needs Content-Length", http_status=411)
            return 0
        text = lengths.pop()
        if lengths or not (text.isascii() and text.isdecimal()):
            raise RemoteProtocolError("Content-Length is not one number")
        if len(text) > 9 or int(text) > self._listener.limits.max_body:
            raise RemoteProtocolError(f"at most {self._listener.limits.max_body} bytes are taken", http_status=413)
        return int(text)

    def _request(self, head: Head, body: bytes) -> Request:
        method, _, rest = head.start.partition(" ")
        target, _, version = rest.rpartition(" ")
        if not method.isalpha() or not target:
            raise RemoteProtocolError("this is no HTTP request")
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise RemoteProtocolError("HTTP/1.1 is spoken here", http_status=505)
        if not target.startswith("/") or any(c <= " " or c > "~" for c in target):
            raise RemoteProtocolError("the address must be a path")
        path, _, query = target.partition("?")
        return Request(method, path, query, head, body, self._source, self._port, self._listener.secure, self._known)

    # --- answering ----------------------------------------------------------------------------------------------------------

    async def _serve(self, request: Request) -> None:
        try:
            answer = await self._listener.handler(request)
        except Exception:
            # A defect in a page must not take the agent along, nor tell a stranger about itself.
            _LOG.exception("the page %s failed", request.path[:200])
            answer = Answer(500, b"This page failed; the agent's log says why.\n", [("Content-Type", "text/plain")])
        self._working = None
        stay = request.head.start.endswith("HTTP/1.1") and "close" not in request.head.get("connection").lower()
        self._write(answer, stay=stay, head_only=request.method == "HEAD")
        if stay and self._transport is not None and not self._clogged:
            self._go_on()

    def _go_on(self) -> None:
        """The next request, which may be here already."""
        assert self._transport is not None
        self._transport.resume_reading()
        if self._buffer:
            self._wait(self._listener.time_limit)
            self._advance()
        else:
            self._wait(self._listener.idle)

    def _refuse(self, status: int, reason: str) -> None:
        body = reason.encode("latin-1", "replace") + b"\n"
        self._write(Answer(status, body, [("Content-Type", "text/plain; charset=utf-8")]), stay=False, head_only=False)
        self._buffer.clear()

    def _write(self, answer: Answer, *, stay: bool, head_only: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Answer')}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        lines += [f"Content-Length: {len(answer.body)}", f"Connection: {'keep-alive' if stay else 'close'}", "", ""]
        transport.write("\r\n".join(lines).encode("latin-1", "replace") + (b"" if head_only else answer.body))
        if not stay:
            self._wait(self._listener.time_limit)
            transport.close()

    # --- time -----------------------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._too_late)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        transport = self._transport
        if transport is None:
            return
        begun = bool(self._buffer) or self._head is not None
        if begun and not transport.get_write_buffer_size() and not transport.is_closing():
            self._refuse(408, "the request did not come whole in its time")
        else:
            transport.abort()
