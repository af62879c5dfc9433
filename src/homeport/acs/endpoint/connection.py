"""One TCP connection of a device: its bytes to requests, replies to bytes, a limit and a time for everything.

A head of the form that nearly all devices send never sees the parser (`heads`); all else is httptools' to judge. The door behind it
knows nothing of either.
Source: RFC 9112; TR-069a6 3.4.1.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from io import SEEK_END, BytesIO
from typing import TYPE_CHECKING, Any, Final, NoReturn

import httptools
import structlog
from msgspec.structs import replace

from homeport.acs.endpoint.admission import ENOUGH, too_long
from homeport.acs.endpoint.exchange import NO_CONTENT, HttpReply, HttpRequest, later, plain
from homeport.acs.endpoint.gathering import BEHIND
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

LOOK_EVERY: Final = 61
"""Connections between two looks at how many wait to be accepted; no multiple of those that are accepted in a turn."""

AHEAD: Final = "requests came before their answers"

_NEVER: Final = float("inf")
UNEXPECTED: Final = (
    "only addresses in trusted_proxies may send one, and only to a listener that stands in proxy_protocol"
)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LENGTH: Final = b"Content-Length: %d\r\n\r\n"
_CLOSE: Final = b"Connection: close\r\n" + _LENGTH
_KEEP: Final = b"Connection: keep-alive\r\n" + _LENGTH

_log = structlog.get_logger("homeport.acs.http")


class Connection(asyncio.Protocol):
    """One TCP connection. `overdue_at`: loop time at which the sweep ends it."""

    __slots__ = (
        "_asked",
        "_asking",
        "_busy",
        "_certificate",
        "_chunked",
        "_close",
        "_coming",
        "_expected",
        "_fields",
        "_fresh",
        "_head",
        "_headers",
        "_held",
        "_held_for",
        "_host",
        "_keep",
        "_length",
        "_limit",
        "_old",
        "_owes_continue",
        "_parser",
        "_parts",
        "_port",
        "_proxied",
        "_secure",
        "_server",
        "_size",
        "_target",
        "_transport",
        "_unsure",
        "_waiting",
        "_whole",
        "_whole_here",
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
        self._old = False  # a device that speaks HTTP/1.0 and has asked for the connection to stay, which it wants to read in the answer
        self._held = 0  # bytes that are taken of what large bodies may hold together
        self._held_for = ""  # whose, by address
        self._whole: BytesIO | None = None  # what is here of a large body
        self._unsure = False  # whether it may be so large has to be asked
        self._asked = self._asking = False  # and was asked once, is being asked
        self._whole_here: tuple[HttpRequest, bool] | None = None  # a request that is, before that was answered
        self._owes_continue = False

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
        self._chunked = self._expected = False

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
            refusal = plain(503, "too many connections; come back later", later(), close=True)
            server.door.count(refusal)
            self._reply(refusal, False)
            return
        server.connections.add(self)
        server.accepted += 1
        if not server.accepted % LOOK_EVERY:
            server.look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._close = True
        self._server.connections.discard(self)
        self._server.door.live.gone(self._host, self._port)
        if self._busy:
            self._server.door.brake.gone(self._host, self._port)
        self._whole = None
        if self._held and not self._busy:
            self._let_go()
        self._parser = None  # it holds us, as we hold it: without this the connection waits for the garbage collector

    def eof_received(self) -> bool:
        if self._busy:
            # The answer may still be wanted by a peer that has closed its own half. Nothing more comes of it, not even its end.
            if self._waiting:
                self._waiting[-1] = self._waiting[-1][0], False
            else:
                self._close = True
        return self._busy

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
            if not self._busy:  # else its answer is late, not the peer
                self.overdue_at = self._server.arrived_until
        self._parse(data)

    # --- heads of the plain form ---

    def _take(self, head: Head) -> None:
        """Take up a request of which at least the head is here, and nothing that follows it."""
        length, body = head[0], head[1]
        if length > self._server.door.body_limit:
            self._take_large(head)
        elif len(body) == length:
            self._serve(self._request(head, body), True)
        else:
            self._fresh = False
            self.overdue_at = self._server.arrived_until
            self._coming, self._parts, self._size = head, [body], len(body)

    def _request(self, head: Head, body: bytes) -> HttpRequest:
        _, _, cookie, authorization, (target, type, encoding, forwarded_for, forwarded_proto) = head
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
        return self._server.origin(request) if self._proxied else request

    def _go_on(self, head: Head, data: bytes) -> None:
        """More of the body of a request whose head was taken up."""
        missing = head[0] - self._size
        more = data if len(data) <= missing else data[:missing]
        whole = self._whole
        if whole is None:
            self._parts.append(more)
        else:
            whole.write(more)
        self._size += len(more)
        if len(data) < missing:
            if self._unsure:
                self._ask(self._request(head, b""))
        else:
            self._coming, self._fresh = None, True
            if whole is None:
                body, self._parts = b"".join(self._parts), []
            else:
                body, self._whole = whole.getvalue(), None
            if not self._unsure:
                self._serve(self._request(head, body), True)
            elif len(data) > missing:
                self._refuse(plain(400, AHEAD, close=True))
            else:
                self._whole_here = self._request(head, body), True
                self._ask(self._whole_here[0])
                return
            if len(data) > missing:
                self.data_received(data[missing:])

    # --- large bodies ---

    def _take_large(self, head: Head) -> None:
        """Take up a request whose body is longer than a stranger's may be."""
        length, begun = head[0], head[1]
        request = self._request(head, b"")
        try:
            sure = self._admit(length, request)
        except _Refused as e:
            self._refuse(e.reply)
            return
        self._fresh = False
        self.overdue_at = self._server.arrived_until
        self._coming, self._size, self._whole = head, 0, BytesIO()
        self._unsure = not sure
        self._go_on(head, begun)

    def _admit(self, length: int, request: HttpRequest) -> bool:
        """Whether the body may be so long; False where that has to be asked. Raises _Refused.

        request: without its body.
        """
        door = self._server.door
        limit = door.limit_for(request.cookie, request.host, request.port)
        if length > door.session_body_limit:
            raise _Refused(too_long(limit, door.session_body_limit))
        if length > limit:
            return False
        self._hold(length, request.host)
        return True

    def _hold(self, length: int, host: str) -> None:
        """Take room for a large body. Raises _Refused where there is none."""
        door = self._server.door
        if not self._held:
            self._held_for = host
        if not door.held.take(length, self._held_for):
            raise _Refused(replace(door.too_many_large(), close=True))
        self._held += length

    def _let_go(self) -> None:
        """Large bodies of this connection are held no longer."""
        self._server.door.held.give(self._held, self._held_for)
        self._held = 0

    def _ask(self, request: HttpRequest) -> None:
        """Ask whether the body may be so long, with what is here of it; nothing more is read meanwhile.

        The first time with whatever that is, so that most strangers are refused at once.
        """
        here = self._whole_here
        if self._asking or (here is None and self._asked and self._size < ENOUGH):
            return
        if here is not None:
            start = here[0].body[:ENOUGH]
        else:
            assert self._whole is not None
            start = bytes(self._whole.getbuffer()[:ENOUGH])
        self._asking = self._asked = True
        self._transport.pause_reading()
        self._server.finish(self._ask_door(request, start))

    async def _ask_door(self, request: HttpRequest, start: bytes) -> None:
        door = self._server.door
        admitted = await door.admits(request, start)
        self._asking = False
        if self._close or self._transport.is_closing():
            return
        self._transport.resume_reading()  # also where it is refused: what still comes is thrown away
        here, self._whole_here = self._whole_here, None
        owes, self._owes_continue = self._owes_continue, False
        try:
            if not admitted and (here is not None or admitted is False):
                raise _Refused(too_long(door.body_limit, door.session_body_limit))
            if admitted:
                self._unsure = self._asked = False
                if here is not None:
                    self._hold(len(here[0].body), request.host)
                    self._arrived(*here)
                    return
                self._hold(self._coming[0] if self._coming is not None else self._length, request.host)
        except _Refused as e:
            self._refuse(e.reply)
            return
        if owes:
            self._transport.write(_CONTINUE)

    # --- httptools and its callbacks ---

    def _parse(self, data: bytes) -> None:
        """Read what follows no plain form: the parser judges it, and keeps the connection."""
        if self._parser is None:
            self._begin()
            self._parser = httptools.HttpRequestParser(self)
        before = self._size if self._limit else -1
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
            if self._limit and self._size != before:
                self._head = 0  # what comes behind a body, and what stands between its chunks, has the bounds of a head
            elif self._head > MOST_HEAD:
                self._refuse(plain(431, f"the headers are over {MOST_HEAD} bytes", close=True))
                return
            if self._unsure:
                self._ask(self._whole_here[0] if self._whole_here is not None else self._parsed(b""))

    def on_url(self, url: bytes) -> None:
        if self._whole_here is not None:
            self._stop(plain(400, AHEAD, close=True))
        self._target += url
        if len(self._target) > MOST_HEAD:
            self._stop(plain(414, "the address is too long", close=True))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > MOST_HEADERS:
            self._stop(plain(431, f"more than {MOST_HEADERS} headers", close=True))
        if self._limit:
            return  # behind the body, where load balancers look for nothing: nobody's address, login or cookie stands there
        name = name.lower()
        field = WANTED.get(name)
        if field is not None:
            keep(self._fields, field, value.decode("latin-1"))
        elif name == b"content-length":
            self._length = int(value) if value.isdigit() else 0
        elif name == b"transfer-encoding":
            self._chunked = True
        elif name == b"expect" and value.lower() == b"100-continue":
            self._expected = True

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        expected = self._expected and (self._length or self._chunked) and self._parser.get_http_version() != "1.0"
        self._limit = self._server.door.body_limit
        if self._length > self._limit:
            self._unsure = not self._admit(self._length, self._parsed(b""))
            self._limit, self._whole = self._length, BytesIO()
        if expected:
            self._owes_continue = self._unsure
            if not self._unsure:
                self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._limit:
            self._grow()
        if self._whole is not None:
            self._whole.write(body)
        else:
            self._parts.append(body)

    def _grow(self) -> None:
        """A body whose length was not told is longer than a stranger's may be."""
        door = self._server.door
        if self._whole is not None:
            self._stop(too_long(self._limit, self._limit))
        self._unsure = not self._admit(door.session_body_limit, self._parsed(b""))
        self._length = self._limit = door.session_body_limit  # at most, which is what it is admitted for
        self._whole = BytesIO(b"".join(self._parts))
        self._whole.seek(0, SEEK_END)
        self._parts = []

    def _parsed(self, body: bytes) -> HttpRequest:
        assert self._parser is not None
        request = HttpRequest(
            self._parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            body,
            self._host,
            self._port,
            self._secure,
            self._certificate,
            False,
            **self._fields,
        )
        return self._server.origin(request) if self._proxied else request

    def on_message_complete(self) -> None:
        parser, parts, whole = self._parser, self._parts, self._whole
        assert parser is not None
        if whole is not None:
            body, self._whole = whole.getvalue(), None
        else:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
        request = self._parsed(body)
        keep = parser.should_keep_alive()
        self._old = keep and parser.get_http_version() == "1.0"
        self._begin()
        self._fresh = True
        if self._unsure:
            self._whole_here = request, keep
        else:
            self._arrived(request, keep)

    def _arrived(self, request: HttpRequest, keep: bool) -> None:
        """Answer a request that is here whole, after those before it. Raises _Refused."""
        if not self._busy:
            self._serve(request, keep)
            return
        if self._waiting is None:
            self._waiting = deque()
        if len(self._waiting) >= MOST_WAITING:
            self._stop(plain(400, AHEAD, close=True))
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
        self._whole = None
        self._reply(reply, False, linger=True)

    def _serve(self, request: HttpRequest, keep: bool) -> None:
        """Answer at once where nothing has to be waited for, else in a task."""
        self._busy = True
        self._step(self._server.door.handle(request), keep)

    def _step(self, answer: Coroutine[Any, Any, HttpReply], keep: bool) -> None:
        """Go on with an answer as far as it needs not wait."""
        gathering = self._server.gathering
        gathering.by_hand = True
        try:
            first = answer.send(None)
        except StopIteration as stop:
            self._busy = False
            self._reply(stop.value, keep)
            return
        finally:
            gathering.by_hand = False
        self.overdue_at = _NEVER
        if first is BEHIND:
            gathering.add(self._step_behind, answer, keep)
        else:
            self._server.finish(self._later(Started(answer, first), keep))

    def _step_behind(self, answer: Coroutine[Any, Any, HttpReply], keep: bool) -> None:
        """Go on with an answer behind its turn of the loop, where nobody else ends the connection if that fails."""
        try:
            self._step(answer, keep)
        except Exception:
            self._transport.abort()
            raise

    async def _later(self, started: Started, keep: bool) -> None:
        reply = await started
        self._busy = False
        self._reply(reply, keep)

    def _reply(self, reply: HttpReply, keep: bool, *, linger: bool = False) -> None:
        """Write the answer in one piece, then take up the next request that waits.

        linger: the peer may still be sending; closing at once would make its system throw our answer away.
        """
        transport, server = self._transport, self._server
        if self._held and (transport.is_closing() or (self._whole is None and not self._waiting)):
            self._let_go()  # else others that were sent ahead are in memory still
        if transport.is_closing():
            server.door.live.gone(self._host, self._port)  # a session that was only made when the connection had ended
            return
        close = reply.close or not keep or self._close or server.stopping
        self.overdue_at = server.silent_until
        if reply is NO_CONTENT and not close and not self._old:
            transport.write(server.no_content)
        else:
            body = reply.body
            parts = [server.starts.get(reply.status) or server.start_of(reply.status)]
            for name, value in reply.headers:
                parts += (name, b": ", value, b"\r\n")
            # 204 has a length too: a strict reader ignores it, and naive clients wait without it.
            end = _CLOSE if close else _KEEP if self._old else _LENGTH
            parts.append(end % len(body))
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
