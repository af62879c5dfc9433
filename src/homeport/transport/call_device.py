"""The ACS's half of a connection request over HTTP: one GET, Digest, and a plain answer to "will it come?".

Its own small client, because devices answer in ways that HTTP libraries refuse: folded and bare-LF headers, no length, no reason.
Source: TR-069a6 3.2.2; the field's habits are those of netcwmp and Orange.
"""

import asyncio
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from homeport.errors import RemoteProtocolError
from homeport.http.auth import basic_header, parse_challenges
from homeport.http.digest import DigestClient, says_stale
from homeport.http.headers import Head, end_of_head, parse_head, parse_status
from homeport.http.limits import HttpLimits
from homeport.http.redirects import Target, parse_url

_LIMITS: Final = HttpLimits(max_head=16 * 1024, max_body=64 * 1024)
_MOST_STALE: Final = 2


@dataclass(frozen=True, slots=True)
class ConnectionRequestResult:
    """What became of a connection request.

    ok: the device will open a session. status: of its last answer, 0 where there was none. reason: a sentence for a person.
    credentials_index: which of the given credentials it took; None where it asked for none, or took none.
    """

    ok: bool
    status: int
    reason: str
    credentials_index: int | None = None

    @property
    def busy(self) -> bool:
        """The device is in a session or was called too often: it may come by itself, else call again later."""
        return self.status == 503


class _Failed(Exception):
    """There was no answer; the text is the reason."""


async def request_connection(
    url: str,
    credentials: Sequence[tuple[str, str]],
    *,
    timeout: float = 10.0,
    allowed: Callable[[str], bool] | None = None,
    allow_basic: bool = False,
) -> ConnectionRequestResult:
    """Asks the device at url to open a session.

    url: ConnectionRequestURL, plain http. credentials: tried in their order against the device's challenges.
    timeout: seconds for all of it. allowed: told the numeric address before anything is sent there; False refuses.
    allow_basic: also answer a Basic challenge, which shows the password to the network. Redirects are not followed.
    Never raises for what the device or the network does.
    """
    try:
        target = parse_url(url)
    except ValueError as e:
        return ConnectionRequestResult(False, 0, f"{e}; the device reported an unusable ConnectionRequestURL")
    if target.secure:
        return ConnectionRequestResult(
            False, 0, "connection requests go over plain http; the device reported an https URL"
        )
    caller = _Caller(target, timeout)
    try:
        async with asyncio.timeout(timeout):
            await caller.resolve(allowed)
            return await _ask(caller, credentials, allow_basic)
    except TimeoutError:
        return ConnectionRequestResult(
            False, 0, f"no answer from {target.authority} in {timeout:g} s; the device may be off or behind NAT"
        )
    except _Failed as e:
        return ConnectionRequestResult(False, 0, str(e))
    finally:
        caller.close()


async def _ask(caller: "_Caller", credentials: Sequence[tuple[str, str]], allow_basic: bool) -> ConnectionRequestResult:
    """First without credentials, then with each of them until the device says something else than 401."""
    status, head = await caller.get(None)
    index, stale = -1, 0
    while status == 401:
        challenges = head.all("www-authenticate")
        if index < 0 or not says_stale(challenges) or stale >= _MOST_STALE:
            index, stale = index + 1, 0
        else:
            stale += 1
        if index >= len(credentials):
            told = "none is known for it" if not credentials else f"refused all {len(credentials)} known for it"
            return ConnectionRequestResult(False, 401, f"the device wants a user name and password and {told}")
        header = _authorization(challenges, credentials[index], caller.target.target, allow_basic)
        if header is None:
            offered = ", ".join(c.scheme for c in parse_challenges(challenges)) or "nothing that can be read"
            return ConnectionRequestResult(False, 401, f"the device asks for {offered}; Digest is supported")
        status, head = await caller.get(header)
    taken = index if index >= 0 else None
    if status in (200, 204):
        return ConnectionRequestResult(True, status, "the device will open a session", taken)
    if status == 503:
        return ConnectionRequestResult(
            False, 503, "the device is busy; it is in a session or was called too often", taken
        )
    if 300 <= status < 400:
        return ConnectionRequestResult(False, status, "the device redirects; connection requests do not follow", taken)
    hint = "; its ConnectionRequestURL may be old" if status == 404 else ""
    return ConnectionRequestResult(False, status, f"the device answered HTTP {status}{hint}", taken)


def _authorization(challenges: list[str], pair: tuple[str, str], uri: str, allow_basic: bool) -> str | None:
    digest = DigestClient(*pair).answer(challenges, method="GET", uri=uri, cnonce=os.urandom(8).hex())
    if digest is not None:
        return digest
    if allow_basic and any(c.scheme == "basic" for c in parse_challenges(challenges)):
        return basic_header(*pair)
    return None


class _Caller:
    """The connection to one device: kept for the second try where the device keeps it, else made anew."""

    def __init__(self, target: Target, timeout: float) -> None:
        self.target = target
        self._addresses: list[str] = []
        self._patience = timeout
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def resolve(self, allowed: Callable[[str], bool] | None) -> None:
        """Finds the numeric addresses that everything is then sent to, so that the name cannot change its mind in between.

        A name may have several, of IPv4 and IPv6: those that are allowed count.
        """
        host, port = self.target.host, self.target.port
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as e:
            raise _Failed(f"the name {host} has no address: {getattr(e, 'strerror', None) or e}") from e
        there = list(dict.fromkeys(_plain(str(entry[4][0])) for entry in found))
        self._addresses = [address for address in there if allowed is None or allowed(address)]
        if not self._addresses:
            raise _Failed(f"connection requests to {', '.join(there)} are not allowed")

    async def get(self, authorization: str | None) -> tuple[int, Head]:
        """(status, head) of one GET. Raises _Failed."""
        request = (
            f"GET {self.target.target} HTTP/1.1\r\nHost: {self.target.authority}\r\nUser-Agent: Homeport\r\nAccept: */*\r\n"
            + (f"Authorization: {authorization}\r\n" if authorization else "")
            + "\r\n"
        ).encode("latin-1", "replace")
        reused = self._writer is not None
        try:
            try:
                head = await self._exchange(request)
            except (OSError, EOFError):
                self.close()
                if not reused:
                    raise
                head = await self._exchange(request)  # the device closed the kept connection; a GET may be said again
            status, _ = parse_status(head.start)
        except (OSError, EOFError) as e:
            raise self._failed(e) from e
        except RemoteProtocolError as e:
            raise _Failed(f"{self.target.authority} does not speak HTTP: {e}") from e
        return status, head

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    def _failed(self, error: Exception) -> _Failed:
        if isinstance(error, EOFError):
            return _Failed(f"{self.target.authority} closed the connection without an answer")
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
        return _Failed(f"{self.target.authority} cannot be reached: {reason}")

    async def _exchange(self, request: bytes) -> Head:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await self._connect()
        self._writer.write(request)
        data = bytearray()
        while (end := end_of_head(data)) is None and len(data) <= _LIMITS.max_head:
            chunk = await self._reader.read(4096)
            if not chunk:
                break
            data += chunk
        if not data:
            raise EOFError
        head = parse_head(data[:end] if end is not None else data, limits=_LIMITS)
        await self._keep_or_close(head, len(data) - (end or len(data)))
        return head

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the first address that takes one, which is the only one from then on. Raises OSError: of the last one."""
        for address in self._addresses[:-1]:
            try:
                async with asyncio.timeout(self._patience / len(self._addresses)):
                    made = await asyncio.open_connection(address, self.target.port)
            except OSError:  # TimeoutError is one, too
                continue
            self._addresses = [address]
            return made
        return await asyncio.open_connection(self._addresses[-1], self.target.port)

    async def _keep_or_close(self, head: Head, already: int) -> None:
        """Keeps the connection only where the end of the body is certain and the device does not close it."""
        length = head.get("content-length")
        keep = (
            head.start.upper().startswith("HTTP/1.1")
            and "close" not in head.get("connection").lower()
            and length.isascii()
            and length.isdigit()
            and len(length) <= 6
            and already <= int(length) <= _LIMITS.max_body
        )
        if not keep:
            self.close()
            return
        assert self._reader is not None
        rest = int(length) - already
        if rest:
            try:
                await self._reader.readexactly(rest)
            except asyncio.IncompleteReadError:
                self.close()


def _plain(address: str) -> str:
    """The address as a socket tells it: `::ffff:192.0.2.7` is 192.0.2.7."""
    mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    return str(mapped) if mapped is not None else address
