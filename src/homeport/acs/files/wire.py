"""HTTP/1.1 of one connection of the file server: heads read with limits, bodies as streams, answers with their length.

Written on asyncio's streams and httptools, not on uvicorn or aiohttp: those have no time limit for a head that trickles in, and with
uvloop neither has sendfile, so a general server would save nothing. The reader's own buffer is what holds a fast sender back.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import httptools

from homeport.http.forwarded import TrustedProxies
from homeport.http.proxy_protocol import Origin

MOST_HEAD: Final = 16_384
MOST_HEADERS: Final = 100
READ: Final = 131_072
LINGER: Final = 2.0
"""Seconds that what a refused sender still sends is thrown away, so that its system does not throw our answer away."""

BUFFER: Final = 131_072
"""Bytes that the kernel keeps for one transfer: enough for 1 MB/s at a round trip of 100 ms, and 200 slow readers cost 50 MB at most."""

Headers = Sequence[tuple[str, str]]


class Gone(Exception):
    """The peer has left, or was so slow that it is cut off."""


class BadRequest(Exception):
    """The head is not acceptable: (status, sentence)."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Request:
    """One request. headers: names in lower case, the last of equal ones. length: of the body, None where it comes in chunks."""

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.headers: dict[str, str] = {}
        self.headers_done = False
        self.complete = False
        self.keep_alive = True
        self.pieces: list[bytes] = []
        self.count = 0
        self.parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)

    @property
    def path(self) -> str:
        """The target without its query, also where it came as a whole URL."""
        path = self.target.decode("latin-1").partition("?")[0].partition("#")[0]
        if path.lower().startswith(("http://", "https://")):
            path = "/" + path.split("//", 1)[1].partition("/")[2]
        return path

    @property
    def length(self) -> int | None:
        """The announced length of the body."""
        if "transfer-encoding" in self.headers:
            return None
        text = self.headers.get("content-length", "0").strip()
        return int(text) if text.isascii() and text.isdigit() else 0

    # httptools' callbacks

    def on_url(self, url: bytes) -> None:
        if self.complete:
            raise BadRequest(400, "a request came before the answer to the last one")
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.count += 1
        if self.count > MOST_HEADERS:
            raise BadRequest(431, f"there are more than {MOST_HEADERS} headers")
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        # Asked here, because the parser forgets it at the end of the message.
        self.method = self.parser.get_method().decode("latin-1")
        self.keep_alive = self.parser.should_keep_alive()
        self.headers_done = True

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = True

    def feed(self, data: bytes) -> None:
        """Take what arrived. Raises BadRequest."""
        assert self.parser is not None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise BadRequest(400, "this server changes to no other protocol") from None
        except httptools.HttpParserError as e:
            cause = e.__context__
            raise (cause if isinstance(cause, BadRequest) else BadRequest(400, "this is not HTTP/1.1")) from None

    def let_go(self) -> None:
        """Part from the parser: each holds the other, and only the garbage collector would end that."""
        self.parser = None


class Wire:
    """One connection.

    read_timeout: seconds for a head. stall: seconds without progress in sending or in a body.
    proxies: the load balancers in front. origin: what one has said of this connection by the PROXY protocol.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        read_timeout: float,
        stall: float,
        proxies: TrustedProxies | None = None,
        origin: Origin | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._read_timeout = read_timeout
        self._stall = stall
        self._request = Request()
        peer = writer.get_extra_info("peername") or ("", 0)
        self.address: str = str(peer[0]).removeprefix("::ffff:")
        if origin is not None and origin.host:
            self.address = origin.host
        unknown = origin is not None and not origin.host  # nobody vouches for what such a peer says of others
        self._proxies = proxies if proxies is not None and not unknown and proxies.trusts(self.address) else None
        self.closing = False
        raw = writer.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        writer.transport.set_write_buffer_limits(high=BUFFER)

    async def request(self, idle: float) -> Request | None:
        """The next request's head; None where the peer has closed or was silent for `idle` seconds. Raises BadRequest, Gone."""
        self._request.let_go()
        request = self._request = Request()
        size = 0
        loop = asyncio.get_running_loop()
        deadline = loop.time() + idle
        while not request.headers_done:
            try:
                async with asyncio.timeout_at(deadline):
                    data = await self._reader.read(MOST_HEAD)
            except TimeoutError:
                if not size:
                    return None
                raise BadRequest(408, "the request did not arrive in time") from None
            except OSError:
                return None
            if not data:
                return None
            if not size:
                deadline = loop.time() + self._read_timeout
            size += len(data)
            request.feed(data)
            if size > MOST_HEAD and not request.headers_done:
                raise BadRequest(431, f"the head of the request is over {MOST_HEAD} bytes")
        if self._proxies is not None:
            self.address = self._proxies.origin(request.headers.get("x-forwarded-for", ""))[0] or self.address
        return request

    async def body(self) -> AsyncIterator[bytes]:
        """The pieces of the request's body. Raises Gone where the peer stops in the middle, BadRequest."""
        request = self._request
        while True:
            pieces, request.pieces = request.pieces, []
            for piece in pieces:
                yield piece
            if request.complete:
                return
            try:
                async with asyncio.timeout(self._stall):
                    data = await self._reader.read(READ)
            except TimeoutError:
                raise BadRequest(408, "the body stopped arriving") from None
            except OSError as e:
                raise Gone from e
            if not data:
                raise Gone
            request.feed(data)

    def go_on(self) -> None:
        """Tell a peer that waits for it to send its body. Raises Gone."""
        if self._request.headers.get("expect", "").lower() == "100-continue":
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _write(self, data: bytes) -> None:
        """Raises Gone where the peer has cut the connection meanwhile: uvloop takes a write to such a one for a defect of ours."""
        if self._writer.transport.is_closing():
            raise Gone
        self._writer.write(data)

    def head(self, status: int, headers: Headers, length: int) -> None:
        """Begin an answer whose body has `length` bytes. Raises Gone."""
        phrase = HTTPStatus(status).phrase
        lines = [f"HTTP/1.1 {status} {phrase}", f"Date: {formatdate(time.time(), usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines.append(f"Content-Length: {length}")
        if self.closing:
            lines.append("Connection: close")
        self._write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Send a piece; waits while the peer is slow. Raises Gone where it takes nothing for the stall time, or is not there any more."""
        transport = self._writer.transport
        self._write(data)
        while True:
            before = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._stall):
                    await self._writer.drain()
                return
            except TimeoutError:
                if transport.get_write_buffer_size() >= before:
                    raise Gone from None
            except OSError as e:
                raise Gone from e

    async def refuse(self, status: int, why: str, headers: Headers = ()) -> None:
        """A whole answer with a sentence; the connection ends where the request's body is still coming."""
        request = self._request
        rest = not request.complete
        if rest:
            self.closing = True
        text = f"{why}\n".encode()
        body = b"" if request.method == "HEAD" else text
        self.head(status, [("Content-Type", "text/plain; charset=utf-8"), *headers], len(text))
        await self.send(body)
        if rest:
            await self._throw_away()

    async def _throw_away(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            async with asyncio.timeout(LINGER):
                while await self._reader.read(READ):
                    pass

    async def close(self, *, at_once: bool = False) -> None:
        """End the connection; at_once: what was not sent is lost."""
        self._request.let_go()
        if at_once:
            self._writer.transport.abort()
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._read_timeout):
                await self._writer.wait_closed()
