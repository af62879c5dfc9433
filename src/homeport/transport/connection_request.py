"""Connection requests over HTTP: the listener of a CPE; the caller of an ACS is in `call_device` and can be had from here too.

The listener answers GET on one path after Digest, and nothing else; what an accepted request leads to is its owner's business.
Source: TR-069a6 3.2.2; the caller's leniency follows netcwmp (no authentication, bare LF) and Orange (folded headers).
"""

import asyncio
import errno
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, cast

from homeport.errors import ConfigError, RemoteProtocolError
from homeport.http.auth import same_text
from homeport.http.digest import DigestAuthority
from homeport.http.headers import Head, end_of_head, parse_head
from homeport.http.limits import HttpLimits
from homeport.transport.call_device import ConnectionRequestResult, request_connection

__all__ = ["ConnectionRequestListener", "ConnectionRequestResult", "request_connection"]

_LIMITS: Final = HttpLimits(max_head=8 * 1024, max_headers=50)
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_MOST_SOURCES: Final = 1024
"""Addresses whose failures are remembered; the one that was quiet longest is forgotten first."""


class ConnectionRequestListener:
    """The CPE's half.

    host: address to bind, "" for all. port: 0 for any free one; port_range: so many ports from `port` on are tried.
    path: of ConnectionRequestURL, with its slash. credentials: (username, password) as they are now; an empty password refuses all.
    accept: True where a session will follow, False while the CPE cannot promise one (503), or the reason as text (503 too).
    limit, period: at most so many accepted requests in so many seconds; more get 503 without Retry-After, as the standard wants.
    failure_limit: refused attempts of one address in a period; beyond it the address gets 503 without any hashing.
    head_timeout: seconds for the whole request. most_connections: beyond it the oldest unanswered one is dropped.
    allowed: which source addresses are heard at all; None for every one. seen: told (source, status, reason) of each answer, for logs.
    """

    def __init__(
        self,
        *,
        host: str = "",
        port: int = 7547,
        path: str,
        credentials: Callable[[], tuple[str, str]],
        accept: Callable[[], bool | str],
        realm: str = "Homeport",
        algorithms: tuple[str, ...] = ("MD5",),
        port_range: int = 1,
        limit: int = 20,
        period: float = 60.0,
        failure_limit: int = 60,
        head_timeout: float = 10.0,
        most_connections: int = 64,
        nonce_lifetime: float = 60.0,
        allowed: Callable[[str], bool] | None = None,
        seen: Callable[[str, int, str], None] | None = None,
        limits: HttpLimits = _LIMITS,
    ) -> None:
        if not path.startswith("/"):
            raise ConfigError(f"the connection request path {path!r} must begin with a slash")
        self.path = path
        self.port = 0
        self._host = host
        self._first_port = port
        self._port_range = max(port_range, 1)
        self._credentials = credentials
        self._accept = accept
        self._limit = limit
        self._period = period
        self._failure_limit = failure_limit
        self._allowed = allowed
        self._seen = seen
        self._authority = DigestAuthority(
            os.urandom(32), realm, algorithms, nonce_lifetime, rfc2069="once", most_nonces=4096
        )
        self._accepted: deque[float] = deque()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._server: asyncio.Server | None = None
        self._waiting: OrderedDict[_Visitor, None] = OrderedDict()
        self._most_connections = most_connections
        self.head_timeout = head_timeout
        self.limits = limits

    async def start(self) -> int:
        """The port that is listened on. Raises ConfigError where none of the range is free."""
        loop = asyncio.get_running_loop()
        ports = [0, 0, 0] if self._first_port == 0 else range(self._first_port, self._first_port + self._port_range)
        for port in ports:
            if port > 65535:
                break
            try:
                self._server = await loop.create_server(lambda: _Visitor(self), self._host or None, port)
                if len({s.getsockname()[1] for s in self._server.sockets}) > 1:
                    # Any free port, on IPv4 and IPv6: the system chose two, but the URL names one.
                    chosen = int(self._server.sockets[0].getsockname()[1])
                    self._server.close()
                    self._server = await loop.create_server(lambda: _Visitor(self), self._host or None, chosen)
            except OSError as e:
                if e.errno == errno.EADDRINUSE or "in use" in str(e):
                    continue
                raise ConfigError(f"cannot listen on {self._host or '*'}:{port}: {e.strerror or e}") from e
            self.port = int(self._server.sockets[0].getsockname()[1])
            return self.port
        raise ConfigError(f"no free port from {self._first_port} on ({self._port_range} tried); set another port")

    async def stop(self) -> None:
        """Closes the port and every open connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for visitor in list(self._waiting):
            visitor.drop()
        if server is not None:
            await server.wait_closed()

    # --- asked by the connections -------------------------------------------------------------------------------------------

    def arrived(self, visitor: "_Visitor") -> bool:
        """Notes a new connection; False where its source is not heard."""
        if self._allowed is not None and not self._allowed(visitor.source):
            return False
        self._waiting[visitor] = None
        if len(self._waiting) > self._most_connections:
            # A slow client must not keep others out: the oldest one that still says nothing goes.
            next(iter(self._waiting)).drop()
        return True

    def left(self, visitor: "_Visitor") -> None:
        """Forgets a connection."""
        self._waiting.pop(visitor, None)

    def answer(self, head: Head, source: str, now: float) -> tuple[int, list[str], str]:
        """(status, extra header lines, reason for the log) of one request. now: monotonic seconds."""
        method, _, rest = head.start.partition(" ")
        target = rest.rpartition(" ")[0] if " " in rest else rest
        if not target:
            return 400, [], "not an HTTP request"
        if method != "GET":
            return 405, ["Allow: GET"], f"method {method[:20]!r}"
        if not same_text(self.path, _path_of(target)):
            return 404, [], "unknown path"
        if self._too_many_failures(source, now):
            return 503, [], "too many refused attempts from this address"
        username, password = self._credentials()
        verdict = self._authority.verify(
            head.get("authorization"), method="GET", uri=target, password=password or None, now=now
        )
        if not verdict.ok or not same_text(username, verdict.username):
            if head.get("authorization") and not verdict.stale:
                self._note_failure(source, now)
            challenges = self._authority.challenges(now, stale=verdict.stale)
            return 401, [f"WWW-Authenticate: {c}" for c in challenges], verdict.reason or "another user name"
        while self._accepted and self._accepted[0] <= now - self._period:
            self._accepted.popleft()
        if len(self._accepted) >= self._limit:
            return 503, [], f"over {self._limit} requests in {self._period:g} s"
        accepted = self._accept()
        if accepted is not True:
            return 503, [], accepted or "busy"
        self._accepted.append(now)
        return 200, [], "accepted"

    def told(self, source: str, status: int, reason: str) -> None:
        """Tells the owner's log."""
        if self._seen is not None:
            self._seen(source, status, reason)

    # --- failures by source ---------------------------------------------------------------------------------------------------

    def _too_many_failures(self, source: str, now: float) -> bool:
        times = self._failures.get(source)
        if times is None:
            return False
        while times and times[0] <= now - self._period:
            times.popleft()
        if not times:
            del self._failures[source]
        return len(times) >= self._failure_limit

    def _note_failure(self, source: str, now: float) -> None:
        self._failures.setdefault(source, deque(maxlen=self._failure_limit)).append(now)
        self._failures.move_to_end(source)
        while len(self._failures) > _MOST_SOURCES:
            self._failures.popitem(last=False)


def _path_of(target: str) -> str:
    """The path of a request target, which may be a whole URL; the query does not count."""
    if "://" in target:
        rest = target.partition("://")[2]
        target = "/" + rest.partition("/")[2]
    return target.partition("?")[0]


class _Visitor(asyncio.Protocol):
    """One connection: reads one head, answers, closes."""

    def __init__(self, listener: ConnectionRequestListener) -> None:
        self._listener = listener
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.source = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's: a cast, not a check.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.source = str(peer[0]) if peer else ""
        if not self._listener.arrived(self):
            self._listener.told(self.source, 0, "source address not allowed")
            self._transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._listener.head_timeout, self._reply, 408, [], "no whole request in time")

    def data_received(self, data: bytes) -> None:
        if self._timer is None:
            return  # answered already; what follows is not read
        self._buffer += data
        end = end_of_head(self._buffer)
        if end is None and len(self._buffer) <= self._listener.limits.max_head:
            return
        try:
            head = parse_head(self._buffer[:end], limits=self._listener.limits)
        except RemoteProtocolError as e:
            self._reply(e.http_status, [], str(e))
            return
        self._reply(*self._listener.answer(head, self.source, asyncio.get_running_loop().time()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.left(self)
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def drop(self) -> None:
        """Closes without an answer."""
        self._listener.left(self)
        if self._transport is not None:
            self._transport.abort()

    def _reply(self, status: int, lines: list[str], reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is None:
            return
        extra = "".join(f"{line}\r\n" for line in lines)
        self._transport.write(
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Refused')}\r\nContent-Length: 0\r\nConnection: close\r\n{extra}\r\n".encode(
                "latin-1", "replace"
            )
        )
        self._listener.told(self.source, status, reason)
        self._listener.left(self)
        self._transport.close()
