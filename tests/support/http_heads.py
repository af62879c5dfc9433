"""The two ways in which the ACS reads requests, the fast one and httptools, side by side on the same bytes."""

from collections.abc import Coroutine, Iterable
from typing import Any

from homeport.acs.endpoint.admission import Held
from homeport.acs.endpoint.connection import Connection
from homeport.acs.endpoint.exchange import NO_CONTENT, HttpReply, HttpRequest
from homeport.acs.endpoint.gathering import Gathering
from homeport.acs.endpoint.heads import Heads
from homeport.acs.endpoint.live import LiveSessions
from homeport.acs.endpoint.server import CwmpServer

PLAIN = b"POST /cwmp HTTP/1.1\r\nHost: acs:7547\r\nContent-Length: 4\r\nCookie: hp=0123456789abcdef\r\nSOAPAction: \r\n\r\nbody"


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.1", 40_000) if name == "peername" else default

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closed = True

    close = abort = write_eof

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    resume_reading = pause_reading


class Porter:
    """A door that keeps the requests and answers each with its number."""

    body_limit = 1_000
    session_body_limit = 2_000

    def __init__(self) -> None:
        self.held = Held(10_000)
        self.live = LiveSessions()
        self.requests: list[HttpRequest] = []
        self.gathering = Gathering(lambda ids, ready: None, lambda go_on: None)

    def limit_for(self, cookie: str, host: str, port: int) -> int:
        return 2_000 if "hp=" in cookie else self.body_limit

    async def admits(self, request: HttpRequest, start: bytes) -> bool:
        return False

    def too_many_large(self) -> HttpReply:
        return HttpReply(503)

    def count(self, reply: HttpReply) -> None:
        """Counts nothing."""

    async def handle(self, request: HttpRequest) -> HttpReply:
        self.requests.append(request)
        if not request.body:
            return NO_CONTENT
        return HttpReply(200, b"%d" % len(self.requests), ((b"Set-Cookie", b"hp=0123456789abcdef"),))


class Never(Heads):
    """Leaves all to the parser."""

    def read(self, data: bytes) -> None:
        return None


def _at_once(answer: Coroutine[Any, Any, None]) -> None:
    """Nothing here waits for anything."""
    try:
        answer.send(None)
    except StopIteration:
        return
    raise AssertionError("an answer waits")


def outcome(pieces: Iterable[bytes], heads: Heads) -> tuple[list[HttpRequest], bytes, bool]:
    """What has become of the bytes: (requests, answers, whether the connection is closed)."""
    porter, wire = Porter(), Wire()
    door: Any = porter
    server = CwmpServer(door, read_timeout=30.0, keep_alive=60.0, max_connections=10)
    server.heads = heads
    at_once: Any = _at_once
    server.finish = at_once  # type: ignore[method-assign]
    server.tick(0.0, 0.0)
    connection = Connection(server)
    transport: Any = wire
    connection.connection_made(transport)
    for piece in pieces:
        if not wire.closed:
            connection.data_received(piece)
    return porter.requests, wire.written, wire.closed


def both(pieces: list[bytes]) -> None:
    """Both ways agree, and the fast one agrees with itself when it has seen it all before."""
    heads = Heads()
    slow, first = outcome(pieces, Never()), outcome(pieces, heads)
    assert first == slow
    assert outcome(pieces, heads) == slow
