"""Files over http and https, through aiohttp (imported when first needed): Basic and Digest, redirects, ranges, PUT.

Authentication uses the credentials of the transfer, never those towards the ACS, and only with the origin that the RPC named.
Source: TR-069a6 A.3.2.8, A.4.1.5; RFC 9110, RFC 7616.
"""

import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from homeport.errors import TransportError
from homeport.http.auth import basic_header, parse_challenges
from homeport.http.digest import DigestClient
from homeport.http.redirects import Target, follow, parse_url
from homeport.transport.files.result import (
    Credentials,
    FileLimits,
    FileOptions,
    FileTransferError,
    Trouble,
    shown_url,
)
from homeport.transport.files.sink import FileBlocks, Sink

if TYPE_CHECKING:
    import aiohttp

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
TAKEN: Final = frozenset({200, 201, 202, 204})
"""What a server says when it has taken an upload."""

PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Refusals of a moment: a server that starts, stops, has too much to do, or stands behind a proxy that lost it."""

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_NOTHING_LEFT: Final = re.compile(r"bytes \*/(\d+)")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_USER_AGENT: Final = "homeport"


async def fetch_http(
    url: str, sink: Sink, *, credentials: Credentials, limits: FileLimits, options: FileOptions
) -> tuple[str, str, int]:
    """(final URL, Content-Type, how often a cut was mended); the bytes are in the sink. Raises FileTransferError."""
    async with _client(url, credentials, limits, options) as client:
        resumed = 0
        while True:
            before = sink.size
            try:
                final, content_type = await client.get(sink)
                return final, content_type, resumed
            except FileTransferError as e:
                may_go_on = e.trouble is Trouble.INCOMPLETE and bool(sink.validator) and sink.size > before
                if not may_go_on or resumed >= limits.resumes:
                    raise
                resumed += 1


async def put_http(
    url: str,
    open_blocks: Callable[[], Awaitable[FileBlocks]],
    *,
    credentials: Credentials,
    limits: FileLimits,
    options: FileOptions,
) -> str:
    """The URL that took the file by PUT. Raises FileTransferError."""
    async with _client(url, credentials, limits, options) as client:
        return await client.put(open_blocks)


@asynccontextmanager
async def _client(
    url: str, credentials: Credentials, limits: FileLimits, options: FileOptions
) -> AsyncIterator["_HttpFile"]:
    import aiohttp

    try:
        origin = parse_url(url)
    except ValueError as e:
        raise FileTransferError(Trouble.SERVER, str(e)) from e
    timeout = aiohttp.ClientTimeout(total=None, connect=limits.connect, sock_read=limits.stall)
    connector = aiohttp.TCPConnector(ssl=options.tls if options.tls is not None else True, limit=1)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, trust_env=False, read_bufsize=1 << 18
    ) as session:
        yield _HttpFile(session, origin, credentials, options)


class _HttpFile:
    """One transfer over one session of aiohttp."""

    def __init__(
        self, session: "aiohttp.ClientSession", origin: Target, credentials: Credentials, options: FileOptions
    ) -> None:
        self._session = session
        self._origin = origin
        self._credentials = credentials
        self._options = options
        self._digest = DigestClient(credentials.username, credentials.password)
        self._basic = False

    async def get(self, sink: Sink) -> tuple[str, str]:
        """Fetch what is missing; (final URL, Content-Type)."""
        headers = {"Accept-Encoding": "identity"}
        if sink.size and sink.validator:
            headers |= {"Range": f"bytes={sink.size}-", "If-Range": sink.validator}
        async with self._exchange("GET", headers, None) as (target, response):
            content_type = response.headers.get("Content-Type", "")
            if response.status == 416 and "Range" in headers:
                whole = _NOTHING_LEFT.match(response.headers.get("Content-Range", ""))
                if whole and int(whole[1]) == sink.size:
                    return target.url, content_type
                await sink.restart()
                raise FileTransferError(
                    Trouble.INCOMPLETE, f"{shown_url(target.url)} has changed while it was fetched; try again"
                )
            await self._begin(response, sink, target)
            await self._body(response, sink, target)
            return target.url, content_type

    async def put(self, open_blocks: Callable[[], Awaitable[FileBlocks]]) -> str:
        """Send the file; the URL that took it."""
        async with self._exchange("PUT", {"Content-Type": "application/octet-stream"}, open_blocks) as (target, _):
            return target.url

    async def _begin(self, response: "aiohttp.ClientResponse", sink: Sink, target: Target) -> None:
        """Settle where the body starts and how large the whole is."""
        length = response.content_length
        if response.status == 206:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != sink.size:
                raise FileTransferError(
                    Trouble.SERVER, f"{shown_url(target.url)} answered another range than was asked for"
                )
            sink.announce(None if found[3] == "*" else int(found[3]))
            return
        if sink.size:
            await sink.restart()
        etag = response.headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
        if response.headers.get("Accept-Ranges", "").lower() == "bytes":
            sink.remember(strong)
        sink.announce(length)

    async def _body(self, response: "aiohttp.ClientResponse", sink: Sink, target: Target) -> None:
        import aiohttp

        try:
            async for data in response.content.iter_any():
                await sink.write(data)
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError) as e:
            stalled = isinstance(e, TimeoutError)
            await sink.flush()
            said = f" of {sink.total}" if sink.total is not None else ""
            what = "sent nothing more" if stalled else "closed the connection"
            raise FileTransferError(
                Trouble.INCOMPLETE, f"{shown_url(target.url)} {what} after {sink.size}{said} bytes"
            ) from e
        except TimeoutError as e:
            await sink.flush()
            raise FileTransferError(
                Trouble.INCOMPLETE, f"{shown_url(target.url)} sent nothing more after {sink.size} bytes"
            ) from e
        if sink.total is not None and sink.size < sink.total:
            # A server may give less of a range than was asked for (RFC 9110 15.3.7): half a file must not pass for a whole one.
            await sink.flush()
            raise FileTransferError(
                Trouble.INCOMPLETE, f"{shown_url(target.url)} gave {sink.size} of {sink.total} bytes"
            )

    @asynccontextmanager
    async def _exchange(
        self, method: str, headers: dict[str, str], open_blocks: Callable[[], Awaitable[FileBlocks]] | None
    ) -> AsyncIterator[tuple[Target, "aiohttp.ClientResponse"]]:
        """The answer that counts, after challenges and redirects. Raises FileTransferError for every other."""
        target, followed, challenged = self._origin, 0, False
        while True:
            response = await self._send(method, target, headers, open_blocks)
            try:
                if response.status in REDIRECTS:
                    target = self._follow(target, response.headers.get("Location", ""), followed)
                    followed += 1
                    continue
                if response.status == 401 and not challenged and self._may_identify(target):
                    challenged = True
                    if self._learn(response.headers.getall("WWW-Authenticate", []), method, target):
                        continue
                self._check(response, target, upload=open_blocks is not None, ranged="Range" in headers)
                yield target, response
                return
            finally:
                response.close()

    async def _send(
        self,
        method: str,
        target: Target,
        headers: dict[str, str],
        open_blocks: Callable[[], Awaitable[FileBlocks]] | None,
    ) -> "aiohttp.ClientResponse":
        import aiohttp
        from yarl import URL

        sent = {"User-Agent": _USER_AGENT, "Host": target.authority, **headers}
        if self._may_identify(target):
            authorization = self._authorization(method, target)
            if authorization:
                sent["Authorization"] = authorization
        blocks = await open_blocks() if open_blocks is not None else None
        if blocks is not None:
            sent["Content-Length"] = str(blocks.size)
        try:
            return await self._session.request(
                method, URL(target.url, encoded=True), headers=sent, data=blocks, allow_redirects=False
            )
        except aiohttp.ClientSSLError as e:  # before its parent, the error of a connection
            # A certificate that does not hold will not hold in a minute either.
            raise FileTransferError(
                Trouble.UNREACHABLE, f"no TLS connection to {target.authority}: {e}", passing=False
            ) from e
        except aiohttp.ClientConnectorError as e:
            raise FileTransferError(Trouble.UNREACHABLE, f"cannot reach {target.authority}: {e.os_error or e}") from e
        except aiohttp.ConnectionTimeoutError as e:
            raise FileTransferError(
                Trouble.UNREACHABLE, f"{target.authority} did not accept a connection in time"
            ) from e
        except TimeoutError as e:
            raise FileTransferError(Trouble.INCOMPLETE, f"{shown_url(target.url)} did not answer in time") from e
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as e:
            raise FileTransferError(
                Trouble.INCOMPLETE, f"{shown_url(target.url)} closed the connection without an answer"
            ) from e
        except aiohttp.ClientError as e:
            raise FileTransferError(
                Trouble.SERVER, f"{shown_url(target.url)} does not speak HTTP as it should: {e}"
            ) from e
        finally:
            if blocks is not None:
                blocks.close()

    def _follow(self, current: Target, location: str, followed: int) -> Target:
        try:
            return follow(current, location, followed)
        except TransportError as e:
            raise FileTransferError(Trouble.SERVER, str(e)) from e

    def _may_identify(self, target: Target) -> bool:
        """The transfer's password is for the server that the RPC named, also where that one moves on to TLS."""
        if not self._credentials or target.host != self._origin.host:
            return False
        same = target.port == self._origin.port and target.secure == self._origin.secure
        return same or (target.secure and not self._origin.secure)

    def _learn(self, challenges: list[str], method: str, target: Target) -> bool:
        """Take up a challenge; False where none can be answered."""
        if self._digest.answer(challenges, method=method, uri=target.target, cnonce=secrets.token_hex(8)) is not None:
            return True
        asks_basic = any(c.scheme == "basic" for c in parse_challenges(challenges))
        self._basic = asks_basic and (target.secure or self._options.basic_over_http)
        return self._basic

    def _authorization(self, method: str, target: Target) -> str | None:
        if self._basic:
            return basic_header(self._credentials.username, self._credentials.password)
        header = self._digest.preempt(method=method, uri=target.target, cnonce=secrets.token_hex(8))
        # The header is given as the latin-1 reading of its bytes; aiohttp writes headers as UTF-8.
        return header.encode("latin-1").decode("utf-8", "replace") if header is not None else None

    def _check(self, response: "aiohttp.ClientResponse", target: Target, *, upload: bool, ranged: bool) -> None:
        """Raises FileTransferError for an answer that is no success."""
        status = response.status
        if status in (TAKEN if upload else (200, 206)) or (status == 416 and ranged):
            return
        if status == 401 or (status == 403 and self._credentials):
            who = (
                f"the user name {self._credentials.username!r}"
                if self._credentials
                else "a request without credentials"
            )
            raise FileTransferError(Trouble.CREDENTIALS, f"{shown_url(target.url)} refused {who} (HTTP {status})")
        passing = status in PASSING
        wait = retry_after(response.headers.get("Retry-After", ""), now=time.time()) if passing else 0.0
        trouble, what = Trouble.SERVER, "answered"
        if 400 <= status < 500:
            trouble, what = Trouble.NOT_ACCESSIBLE, "is not accessible:"
        raise FileTransferError(
            trouble, f"{shown_url(target.url)} {what} HTTP {status}", passing=passing, retry_after=wait
        )


def retry_after(text: str, *, now: float) -> float:
    """Seconds that a Retry-After header asks for, from now on; 0.0 for none, a past or an unreadable one. Source: RFC 9110 10.2.3."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    # A date without a zone is in UTC, as all dates of HTTP are.
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)
