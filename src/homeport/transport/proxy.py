"""HTTP proxies on the way to the ACS: where one is, how it is asked for a tunnel, and what it answers.

Source: RFC 9110 9.3.6 (CONNECT); Basic is the scheme that proxies of offices and laboratories ask for.
"""

import asyncio
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote, urlsplit

from homeport.errors import ConfigError, RemoteProtocolError, TransportError
from homeport.http.auth import basic_header
from homeport.http.headers import end_of_head, parse_head, parse_status
from homeport.http.limits import DEFAULT_HTTP_LIMITS
from homeport.http.redirects import parse_url


@dataclass(frozen=True, slots=True)
class Proxy:
    """One HTTP proxy. authorization: the value of Proxy-Authorization, "" for none."""

    host: str
    port: int
    authorization: str = ""


def parse_proxy(url: str) -> Proxy:
    """The proxy that `http://user:password@host:3128` names; without a port 3128 counts.

    Raises ConfigError that does not repeat the password.
    """
    try:
        target = parse_url(url)
        parts = urlsplit(url)
    except ValueError as e:
        raise ConfigError("the proxy must be a URL such as http://proxy.example.com:3128") from e
    if target.secure:
        raise ConfigError(f"the proxy {target.host} must be an http URL; https proxies are not supported")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(target.host, parts.port or 3128, basic_header(user, password) if user else "")


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel. ready: done once the tunnel stands, fails with TransportError of kind proxy."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._buffer = bytearray()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends CONNECT."""
        lines = [f"CONNECT {self._authority} HTTP/1.1", f"Host: {self._authority}"]
        if self._proxy.authorization:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        cast(asyncio.Transport, transport).write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def data_received(self, data: bytes) -> None:
        """Waits for the whole head of the answer, within its limit."""
        self._buffer += data
        end = end_of_head(self._buffer)
        if self.ready.done() or (end is None and len(self._buffer) <= DEFAULT_HTTP_LIMITS.max_head):
            return
        try:
            status, _ = parse_status(parse_head(self._buffer[:end]).start)
        except RemoteProtocolError as e:
            self._fail(f"does not speak HTTP: {e}")
            return
        if status == 407:
            known = (
                "refused its user name or password" if self._proxy.authorization else "wants a user name and password"
            )
            self._fail(known)
        elif status != 200:
            self._fail(f"answered HTTP {status} to the wish for a tunnel to {self._authority}")
        else:
            self.ready.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy hung up before the tunnel stood."""
        self._fail("closed the connection without an answer")

    def _fail(self, what: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(
                TransportError(
                    f"the proxy {self._proxy.host}:{self._proxy.port} {what}; check the proxy setting", kind="proxy"
                )
            )
