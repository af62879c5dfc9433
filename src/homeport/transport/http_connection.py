"""One TCP or TLS connection of an HTTP/1.1 client: one request at a time, on httptools, with limits and sentences for failures.

No cookies, authentication or redirects here; those are `acs_client`'s. A connection costs about 3 KB, so that a fleet can have many.
"""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast

import httptools

from homeport.errors import TransportError
from homeport.http.limits import DEFAULT_HTTP_LIMITS, HttpLimits
from homeport.transport.proxy import Proxy, Tunnel
from homeport.transport.tls import refusal_sentence

_ADDRESS: Final = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_SLACK: Final = 4096
"""Bytes that a status line and an announcing `100 Continue` may take beside the header block."""

_UNREACHABLE: Final = "check the network, the address and the port, and that the ACS is running"


class RawAnswer(NamedTuple):
    """One HTTP response as it came. headers: names in lower case, every field. keep: the connection can carry another request."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    keep: bool

    def get(self, name: str) -> str:
        """The last value of a field, "" where there is none; name in lower case."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return ""

    def all(self, name: str) -> list[str]:
        """Every value of a field; name in lower case."""
        return [value for key, value in self.headers if key == name]


class HttpConnection(asyncio.Protocol):
    """The protocol object of one connection."""

    __slots__ = (
        "_body",
        "_fed",
        "_framed",
        "_head_size",
        "_headers",
        "_limits",
        "_parser",
        "_size",
        "_status",
        "_timeout",
        "_transport",
        "_waiter",
        "closed",
        "open",
        "peer",
    )

    def __init__(self, limits: HttpLimits = DEFAULT_HTTP_LIMITS) -> None:
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[RawAnswer] | None = None
        self.open = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.peer = ""
        self._timeout = 0.0
        self._parser: Any = httptools.HttpResponseParser(self)
        self._clear()

    @property
    def certificate(self) -> dict[str, Any]:
        """The peer's checked certificate as the ssl module names its parts; {} without TLS."""
        return dict((self._transport and self._transport.get_extra_info("peercert")) or {})

    @property
    def tls_version(self) -> str:
        """Such as TLSv1.3, "" without TLS."""
        ssl_object = self._transport.get_extra_info("ssl_object") if self._transport else None
        return str(ssl_object.version() or "") if ssl_object is not None else ""

    # --- asked by the client ----------------------------------------------------------------------------------------------

    async def exchange(self, head: bytes, body: bytes, timeout: float) -> RawAnswer:
        """The response to one request. head: with its empty line. timeout: seconds for the whole response.

        Raises TransportError; the connection is then closed. Cancelling closes the connection too, since an answer may still be on its way.
        """
        if self._transport is None or not self.open:
            raise TransportError(f"the connection to {self.peer} is closed", kind="closed")
        self._clear()
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiter, self._timeout = waiter, timeout
        timer = loop.call_later(timeout, self._timed_out)
        # One write: clients and servers in the field look for the whole message in their first read.
        self._transport.write(head + body)
        try:
            answer: RawAnswer = await waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._waiter = None
            timer.cancel()
        if not answer.keep:
            self.close()
        return answer

    def close(self) -> None:
        """Closes after what was written is sent."""
        self.open = False
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Closes at once."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # --- called by the event loop -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        # uvloop's transports are not subclasses of asyncio's: a cast, not a check.
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; bytes without a request end the connection."""
        if self._waiter is None or self._waiter.done() or self._parser is None:
            self.abort()  # an answer that nobody asked for must not become the answer to the next request
            return
        try:
            self._fed += len(data)
            self._parser.feed_data(data)
            if not self._status and self._fed > self._limits.max_head + _SLACK:
                # A field without an end never reaches on_header, and would grow in the parser.
                self._fail(f"the header block of {self.peer} is too large", "http")
        except httptools.HttpParserUpgrade:
            self._fail(f"{self.peer} wants to change the protocol", "http")
        except httptools.HttpParserError as e:
            cause = e.__context__
            if isinstance(cause, TransportError):
                self._fail(str(cause), cause.kind)
            else:
                self._fail(f"{self.peer} does not speak HTTP: {e}", "http")

    def eof_received(self) -> bool:
        """The peer has sent all: the end of a body without a length, else the end of the connection."""
        self.open = False
        if self._waiter is not None and self._status and not self._framed:
            self._finish(keep=False)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; a waiting request fails."""
        self.open = False
        self._transport = None
        self._parser = None  # it holds us, so that without this only the garbage collector would free both
        if exc is not None and isinstance(exc, ssl.SSLError):
            self._fail(refusal_sentence(self.peer, exc), "tls")
        else:
            started = "in the middle of its answer" if self._status else "without an answer"
            self._fail(f"{self.peer} closed the connection {started}", "closed")
        if not self.closed.done():
            self.closed.set_result(None)

    # --- called by httptools ------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """One answer for one request: a second one in the same bytes ends the connection."""
        if self._waiter is not None and self._waiter.done():
            raise TransportError(f"{self.peer} sent more than one answer", kind="http")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, bounded in number and size."""
        self._head_size += len(name) + len(value) + 4
        if self._head_size > self._limits.max_head or len(self._headers) >= self._limits.max_headers:
            raise TransportError(f"the header block of {self.peer} is too large", kind="http")
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._status = self._parser.get_status_code()
        self._framed = False
        for name, value in self._headers:
            if name == "content-length":
                self._framed = True
                if value.isascii() and value.isdigit() and int(value[:20]) > self._limits.max_body:
                    raise TransportError(
                        f"the answer of {self.peer} is over {self._limits.max_body} bytes", kind="http"
                    )
            elif name == "transfer-encoding":
                self._framed = True

    def on_body(self, data: bytes) -> None:
        """A piece of the body, bounded in size."""
        self._size += len(data)
        if self._size > self._limits.max_body:
            raise TransportError(f"the answer of {self.peer} is over {self._limits.max_body} bytes", kind="http")
        self._body.append(data)

    def on_message_complete(self) -> None:
        """The answer is whole; `100 Continue` and its like only announce it."""
        if self._status < 200:
            self._clear()
            return
        self._finish(keep=bool(self._parser.should_keep_alive()))

    # --- inside -------------------------------------------------------------------------------------------------------------

    def _clear(self) -> None:
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._head_size = 0
        self._fed = 0
        self._body: list[bytes] = []
        self._size = 0
        self._framed = False

    def _finish(self, *, keep: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(RawAnswer(self._status, self._headers, b"".join(self._body), keep and self.open))

    def _timed_out(self) -> None:
        self._fail(f"no answer from the ACS {self.peer} in {self._timeout:g} s", "timeout")

    def _fail(self, sentence: str, kind: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TransportError(sentence, kind=kind))
        self.abort()


async def connect(
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None,
    timeout: float,
    limits: HttpLimits = DEFAULT_HTTP_LIMITS,
    prefer: str = "",
    proxy: Proxy | None = None,
) -> tuple[HttpConnection, str]:
    """(an open connection, the address that answered).

    proxy: an HTTP proxy to go through; with TLS by a tunnel, else the caller writes absolute request targets.
    context: for TLS, with host checked and sent as SNI; None for plain TCP. timeout: seconds for each address, lookup and handshake
    each counted apart. prefer: an address that answered before, tried first.
    Every address of the name is tried in the system's order, IPv6 and IPv4. Raises TransportError: dns, refused, timeout, tls.
    """
    via_host, via_port = (host, port) if proxy is None else (proxy.host, proxy.port)
    addresses = await _lookup(via_host, via_port, timeout)
    if prefer in addresses:
        addresses.remove(prefer)
        addresses.insert(0, prefer)
    error: TransportError | None = None
    for address in addresses:
        try:
            if proxy is not None and context is not None:
                opened = await _connect_tunnel(proxy, address, host, port, context, timeout, limits)
            else:
                role = "" if proxy is None else "the proxy "
                opened = await _connect_one(via_host, address, via_port, context, timeout, limits, role)
            return opened, address
        except TransportError as e:
            if e.kind in ("tls", "proxy"):
                raise
            error = e
    assert error is not None
    raise error


async def _lookup(host: str, port: int, timeout: float) -> list[str]:
    if ":" in host or (host[-1:].isdigit() and _ADDRESS.fullmatch(host)):
        return [host]
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as e:
        raise TransportError(
            f"the name {host} could not be looked up in {timeout:g} s; check the DNS server", kind="dns"
        ) from e
    except (OSError, UnicodeError) as e:
        reason = getattr(e, "strerror", None) or str(e)
        raise TransportError(
            f"the name {host} has no address: {reason}; check its spelling and the DNS server", kind="dns"
        ) from e
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def _connect_one(
    host: str, address: str, port: int, context: ssl.SSLContext | None, timeout: float, limits: HttpLimits, role: str
) -> HttpConnection:
    loop = asyncio.get_running_loop()
    shown = role + (f"{host}:{port}" if host == address else f"{host} ({address}) port {port}")
    with _told(host, shown, timeout, tls=context is not None):
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_connection(
                lambda: HttpConnection(limits),
                address,
                port,
                ssl=context,
                server_hostname=host if context is not None else None,
            )
    connection.peer = shown
    return connection


async def _connect_tunnel(
    proxy: Proxy, address: str, host: str, port: int, context: ssl.SSLContext, timeout: float, limits: HttpLimits
) -> HttpConnection:
    """A TLS connection to host through the proxy at address; the proxy sees only the name and the port."""
    loop = asyncio.get_running_loop()
    shown = f"the proxy {proxy.host} ({address}) port {proxy.port}"
    with _told(proxy.host, shown, timeout, tls=False):
        async with asyncio.timeout(timeout):
            transport, tunnel = await loop.create_connection(lambda: Tunnel(proxy, host, port), address, proxy.port)
            try:
                await tunnel.ready
            except BaseException:
                transport.abort()
                raise
    shown = f"{host}:{port} (through {proxy.host})"
    connection = HttpConnection(limits)
    with _told(host, shown, timeout, tls=True):
        try:
            async with asyncio.timeout(timeout):
                secured = await loop.start_tls(transport, connection, context, server_hostname=host)
        except BaseException:
            transport.abort()
            raise
    assert secured is not None
    connection.connection_made(secured)
    connection.peer = shown
    return connection


@contextmanager
def _told(host: str, shown: str, timeout: float, *, tls: bool) -> Iterator[None]:
    """Turns what the operating system and OpenSSL say into one TransportError."""
    try:
        yield
    except TimeoutError as e:
        raise TransportError(f"no connection to {shown} in {timeout:g} s; {_UNREACHABLE}", kind="timeout") from e
    except ssl.SSLError as e:
        raise TransportError(refusal_sentence(host, e), kind="tls") from e
    except ssl.CertificateError as e:
        raise TransportError(f"the ACS {host} was not accepted: {e}", kind="tls") from e
    except OSError as e:
        # By the number: asyncio's own words for it are "Connect call failed".
        reason = (os.strerror(e.errno) if e.errno and e.errno > 0 else str(e) or type(e).__name__).lower()
        if tls and isinstance(e, ConnectionResetError | ConnectionAbortedError):
            raise TransportError(
                f"{shown} cut the TLS handshake; it may want another TLS version or a client certificate", kind="tls"
            ) from e
        raise TransportError(f"{shown} cannot be reached: {reason}; {_UNREACHABLE}", kind="refused") from e
