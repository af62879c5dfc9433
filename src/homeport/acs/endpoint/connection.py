"""One TCP connection of a device: its bytes to requests, replies to bytes, a limit and a time for everything.

A head of the form that nearly all devices send never sees the parser (`heads`); all else is httptools' to judge. The door behind it
knows nothing of either.
Source: RFC 9112; TR-069a6 3.4.1.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

import httptools
import structlog

from homeport.acs.endpoint.exchange import NO_CONTENT, HttpReply, HttpRequest, later, plain
from homeport.acs.endpoint.heads import WANTED, Head, keep
from homeport.acs.endpoint.started import Started
from homeport.acs.tls import common_name
from homeport.http.proxy_protocol import resembles

if TYPE_CHECKING:
    from homeport.acs.endpoint.server import CwmpServer

MOST_HEAD: Final = 16_384
"""Bytes of request line and headers: a Digest header, a 4 KB cookie and a proxy's additions stay under 8 KB."""

MOST_HEADERS: Final = 100
MOST_WAITING: Final = 4
"""Requests that a peer may send ahead of our answers; CWMP has no use for any."""

LINGER: Final = 2.0
"""Seconds that what a refused peer still sends is thrown away before its connection is cut."""

_NEVER: Final = float("inf")
UNEXPECTED: Final = (
    "only addresses in trusted_proxies may send one, and only to a listener that stands in proxy_protocol"
)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_log = structlog.get_logger("homeport.acs.http")


class Connection(asyncio.Protocol):
    """One TCP connection. `overdue_at`: loop time at which the sweep ends it."""

    __slots__ = (
        "_busy",
        "_certificate",
        "_close",
        "_coming",
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
        self._parser: httptools.HttpRequestParser | None = None  # made for what comes in no plain form, then kept
        self._coming: Head | None = None  # what was read without it, while its body is not all here
        self._waiting: deque[tuple[HttpRequest, bool]] | None = None
        self._busy = False
        self._close = False
        self._fresh = True

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
        self._proxied = server.behind and server.proxies.trusts(self._host)
        self.overdue_at = server.arrived_until
        if len(server.connections) >= server.max_connections or (server.others is not None and server.full()):
            self._reply(plain(503, "too many connections; come back later", later(), close=True), False)
            return
        server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._close = True
        self._server.connections.discard(self)
        self._server.door.live.gone(self._host, self._port)
        self._parser = None  # it holds us, as we hold it: without this the connection waits for the garbage collector

    def eof_received(self) -> bool:
        return self._busy  # the answer may still be wanted by a peer that has closed its own half

    def data_received(self, data: bytes) -> None:
        if self._close:
            return
        if self._coming is not None:
            self._go_on(self._coming, data)
            return
        if self._fresh:
            if self._parser is None and not self._busy:
                head = self._server.heads.read(data)
                if head is not None and len(head[1]) <= head[0]:
                    self._take(head)
                    return
            self._fresh = False
            self.overdue_at = self._server.arrived_until
        self._parse(data)

    # --- heads of the plain form ---

    def _take(self, head: Head) -> None:
        """Take up a request of which at least the head is here, and nothing that follows it."""
        length, body, cookie, authorization, (target, type, encoding, forwarded_for, forwarded_proto) = head
        server = self._server
        if length > server.door.body_limit and length > (limit := server.door.limit_for(cookie)):
            self._refuse(plain(413, f"the body is over {limit} bytes", close=True))
        elif len(body) == length:
            request = HttpRequest(
                "POST",
                target,
                body,
                self._host,
                self._port,
                self._secure,
                self._certificate,
                False,
                cookie,
                authorization,
                type,
                encoding,
                forwarded_for,
                forwarded_proto,
            )
            self._serve(server.origin(request) if self._proxied else request, True)
        else:
            self._fresh = False
            self.overdue_at = server.arrived_until
            self._coming, self._parts, self._size = head, [body], len(body)

    def _go_on(self, head: Head, data: bytes) -> None:
        """More of the body of a request whose head was taken up."""
        missing = head[0] - self._size
        self._parts.append(data[:missing])
        self._size += len(data)
        if len(data) >= missing:
            self._coming, self._fresh = None, True
            body, self._parts = b"".join(self._parts), []
            self._take((head[0], body, *head[2:]))
            if len(data) > missing:
                self.data_received(data[missing:])

    # --- httptools and its callbacks ---

    def _parse(self, data: bytes) -> None:
        """Read what follows no plain form: the parser judges it, and keeps the connection."""
        if self._parser is None:
            self._begin()
            self._parser = httptools.HttpRequestParser(self)
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

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > MOST_HEAD:
            self._stop(plain(414, "the address is too long", close=True))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > MOST_HEADERS:
            self._stop(plain(431, f"more than {MOST_HEADERS} headers", close=True))
        name = name.lower()
        field = WANTED.get(name)
        if field is not None:
            keep(self._fields, field, value.decode("latin-1"))
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
        assert parser is not None
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

    def _refuse(self, reply: HttpReply) -> None:
        self._server.door.count(reply)
        if self._busy:
            # The peer waits for another answer, which this one must not overtake.
            self._close = True
            return
        self._reply(reply, False, linger=True)

    def _serve(self, request: HttpRequest, keep: bool) -> None:
        """Answer at once where nothing has to be waited for, else in a task."""
        self._busy = True
        coroutine = self._server.door.handle(request)
        try:
            first = coroutine.send(None)
        except StopIteration as stop:
            self._busy = False
            self._reply(stop.value, keep)
            return
        self.overdue_at = _NEVER
        self._server.finish(self._later(Started(coroutine, first), keep))

    async def _later(self, started: Started, keep: bool) -> None:
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
        close = reply.close or not keep or self._close or server.stopping
        self.overdue_at = server.silent_until
        if reply is NO_CONTENT and not close:
            transport.write(server.no_content)
        else:
            body = reply.body
            parts = [server.starts.get(reply.status) or server.start_of(reply.status)]
            for name, value in reply.headers:
                parts += (name, b": ", value, b"\r\n")
            # 204 has a length too: a strict reader ignores it, and naive clients wait without it.
            parts.append(
                (b"Content-Length: %d\r\nConnection: close\r\n\r\n" if close else b"Content-Length: %d\r\n\r\n")
                % len(body)
            )
            parts.append(body)
            transport.write(b"".join(parts))
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


class _Refused(Exception):
    """The request is refused while it is read."""

    def __init__(self, reply: HttpReply) -> None:
        self.reply = reply
