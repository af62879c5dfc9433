"""The file server's answers: a file by a download URL, a place for a file by an upload URL, a sentence for everything else.

A hundred slow readers hold one piece of their file each; nobody waits for them.
Source: RFC 9110; TR-069a6 A.3.2.8, A.4.1.5.
"""

import asyncio
import contextlib
import errno
import os
import random
import ssl
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from socket import socket
from typing import Final

import structlog

from homeport.acs.config import AcsSettings
from homeport.acs.files.limits import Pace, spend
from homeport.acs.files.ranges import Unsatisfiable, names_tag, range_applies, still_is, wanted_range
from homeport.acs.files.wire import BadRequest, Gone, Request, Wire
from homeport.acs.records import FileRecord, TaskRecord
from homeport.acs.services.file_links import Direction, Flaw, Grant
from homeport.acs.services.files import Ended, Files
from homeport.acs.services.hub import Hub, NotFound
from homeport.acs.services.multipart import BadForm, read_form
from homeport.acs.services.shares import FILE_CONNECTIONS, Board, CountedSet, SlotKeeper, Slots, Tally
from homeport.acs.storage.blobs import TooLarge
from homeport.errors import HomeportError, StoreError
from homeport.http.forwarded import TrustedProxies
from homeport.http.proxy_protocol import Origin
from homeport.transport.proxied import ProxiedListener

MOST_SERVED: Final = 10_000
"""Tasks of which is remembered how far their file was sent."""

PIECE: Final = 131_072
"""Bytes of a file that one transfer holds in memory."""


_STATUS: Final = {Flaw.UNKNOWN: 404, Flaw.UNSIGNED: 401, Flaw.FORGED: 403, Flaw.EXPIRED: 410}
_ERRORS: Final[tuple[tuple[type[HomeportError], int], ...]] = (
    (NotFound, 404),
    (Ended, 410),
    (TooLarge, 413),
    (BadForm, 400),
    (StoreError, 503),
)
_METHODS: Final = {Direction.DOWN: ("GET", "HEAD"), Direction.UP: ("PUT", "POST")}

_log = structlog.get_logger("homeport.acs.files")


def _later() -> list[tuple[str, str]]:
    """When to come back, spread: else all who were sent away would come back together."""
    return [("Retry-After", str(random.randint(30, 90)))]


class FileServer:
    """Listens for transfers of devices. board, number: what it shares with other workers, and which of them this one is."""

    def __init__(self, files: Files, hub: Hub, board: Board | None = None, number: int = 0) -> None:
        self._files = files
        self._hub = hub
        settings = hub.settings
        self._settings: AcsSettings = settings
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._board = board
        self._slots: SlotKeeper = Slots(settings.file_max_transfers, settings.file_max_per_address)
        self._server: asyncio.Server | ProxiedListener | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._tally: Tally | None = None
        if board is not None:
            self._slots = board.slots("transfers", number, most_per_key=settings.file_max_per_address)
            self._tally = board.tally(FILE_CONNECTIONS, number)
            self._connections = CountedSet(self._tally)
        self._total: Pace

    async def start(self, listening: socket, tls: ssl.SSLContext | None = None, *, announced: str = "") -> None:
        """Take connections on a bound socket.

        announced: where load balancers announce them by the PROXY protocol, the setting that says where this listens.
        """
        loop = asyncio.get_running_loop()
        self._total = Pace(self._settings.file_total_rate, loop.time)
        if self._board is not None:
            self._total = Pace(self._settings.file_total_rate, time.monotonic, self._board.free_at, self._board.lock)
        if announced:
            self._server = ProxiedListener(
                listening,
                self._made,
                trusts=self._proxies.trusts,
                name=announced,
                tls=tls,
                most=self._settings.max_connections,
                patience=self._settings.read_timeout,
            )
            self._server.start(1_024)
            return
        self._server = await asyncio.start_server(
            self._connected,
            sock=listening,
            ssl=tls,
            backlog=1_024,
            ssl_handshake_timeout=self._settings.read_timeout if tls is not None else None,
        )

    async def stop(self) -> None:
        """Take no more connections and cut those that are open: a device asks again, and goes on where it was."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def _made(self, origin: Origin | None) -> asyncio.Protocol:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._connected(reader, writer, origin)

        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), connected)

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, origin: Origin | None = None
    ) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, origin))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, origin: Origin | None) -> None:
        settings = self._settings
        wire = Wire(
            reader,
            writer,
            read_timeout=settings.read_timeout,
            stall=settings.file_stall,
            proxies=self._proxies,
            origin=origin,
        )
        at_once = True
        try:
            elsewhere = self._tally.others() if self._tally is not None else 0
            if len(self._connections) + elsewhere > settings.max_connections:
                await wire.refuse(503, "too many connections; come back later", _later())
                return
            while not wire.closing:
                request = await wire.request(settings.keep_alive)
                if request is None:
                    break
                wire.closing = not request.keep_alive
                await self._answer(wire, request)
            at_once = False
        except BadRequest as e:
            with contextlib.suppress(Gone):
                wire.closing = True
                await wire.refuse(e.status, str(e))
                at_once = False
        except Gone:
            self._count("cut")
        finally:
            await wire.close(at_once=at_once)

    async def _answer(self, wire: Wire, request: Request) -> None:
        """One request, answered in full."""
        try:
            allowed = await self._files.allowed(request.path)
            if isinstance(allowed, Flaw):
                headers = [("WWW-Authenticate", 'Signed-URL realm="files"')] if allowed is Flaw.UNSIGNED else []
                await self._refuse(wire, _STATUS[allowed], allowed.value, headers)
                return
            grant, task = allowed
            if request.method not in _METHODS[grant.direction]:
                methods = ", ".join(_METHODS[grant.direction])
                await self._refuse(wire, 405, f"this address is for {methods}", [("Allow", methods)])
            elif not self._slots.take(wire.address):
                await self._refuse(wire, 503, "too many transfers are under way; come back later", _later())
            else:
                try:
                    if grant.direction is Direction.DOWN:
                        await self._give(wire, request, await self._files.wanted(grant), task.id)
                    else:
                        await self._take(wire, request, grant, task)
                finally:
                    self._slots.free(wire.address)
        except HomeportError as e:
            status = next((s for kind, s in _ERRORS if isinstance(e, kind)), 500)
            await self._refuse(wire, status, str(e), _later() if status == 503 else [])

    async def _refuse(self, wire: Wire, status: int, why: str, headers: list[tuple[str, str]]) -> None:
        self._count(f"refused_{status}")
        _log.info("file_refused", address=wire.address, status=status, why=why)
        await wire.refuse(status, why, headers)

    # --- downloads ---

    async def _give(self, wire: Wire, request: Request, record: FileRecord, task: str) -> None:
        try:
            number = os.open(self._files.blobs.path(record.sha256), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as e:
            _log.error("file_content_missing", name=record.name, error=str(e))
            raise StoreError(f"the content of {record.name!r} cannot be read here: {e.strerror}") from e
        try:
            await self._give_open(wire, request, record, number, task)
        finally:
            os.close(number)

    async def _give_open(self, wire: Wire, request: Request, record: FileRecord, number: int, task: str) -> None:
        tag, modified = f'"{record.sha256}"', formatdate(record.created, usegmt=True)
        about = [("ETag", tag), ("Last-Modified", modified), ("Accept-Ranges", "bytes"), ("Cache-Control", "no-store")]
        asked = request.headers
        if not still_is(asked.get("if-match"), tag):
            await self._refuse(wire, 412, "the file is another one by now", about)
            return
        if names_tag(asked.get("if-none-match"), tag):
            await self._drop_body(wire)
            wire.head(304, about, record.size)
            return
        status, first, length = 200, 0, record.size
        if request.method == "GET" and range_applies(asked.get("if-range"), tag, modified):
            try:
                part = wanted_range(asked.get("range"), record.size)
            except Unsatisfiable:
                nothing = [*about, ("Content-Range", f"bytes */{record.size}")]
                await self._refuse(
                    wire, 416, f"the file has {record.size} bytes; the range begins behind them", nothing
                )
                return
            if part is not None:
                status, (first, length) = 206, part
                about.append(("Content-Range", f"bytes {first}-{first + length - 1}/{record.size}"))
        about.append(("Content-Type", "application/octet-stream"))
        await self._drop_body(wire)
        wire.head(status, about, length)
        if request.method == "HEAD":
            await wire.send(b"")
            return
        pace = Pace(self._settings.file_rate, asyncio.get_running_loop().time)
        paces = (pace, self._total)
        most = min(p.chunk(PIECE) for p in paces)
        end = first + length
        served = self._hub.served
        served.pop(task, None)
        while len(served) >= MOST_SERVED:
            del served[next(iter(served))]
        while first < end:
            served[task] = first, record.size
            data = await self._read(number, min(most, end - first), first)
            if not data:
                _log.error("file_content_short", name=record.name)
                raise Gone
            await spend(len(data), *paces)
            await wire.send(data)
            first += len(data)
        served[task] = first, record.size
        self._count("given")
        _log.info("file_given", name=record.name, address=wire.address, bytes=length, status=status)

    @staticmethod
    async def _drop_body(wire: Wire) -> None:
        """Read past a body that a GET had: otherwise it would be taken for the next request."""
        dropped = 0
        async for piece in wire.body():
            dropped += len(piece)
            if dropped > PIECE:
                raise BadRequest(413, "a request for a file has no body")

    async def _read(self, number: int, count: int, at: int) -> bytes:
        """A piece of the file: at once where the kernel has it in memory, else by a thread, so that a slow disk holds up nobody."""
        buffer = bytearray(count)
        try:
            got = os.preadv(number, [buffer], at, os.RWF_NOWAIT)
            if got:
                return bytes(buffer[:got]) if got < count else bytes(buffer)
        except OSError as e:
            if e.errno not in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL):
                raise Gone from e
        try:
            return await asyncio.get_running_loop().run_in_executor(self._files.pool, os.pread, number, count, at)
        except OSError as e:
            raise Gone from e

    # --- uploads ---

    async def _take(self, wire: Wire, request: Request, grant: Grant, task: TaskRecord) -> None:
        limit = self._settings.upload_size_limit
        form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
        if (request.length or 0) > limit + (65_536 if form else 0):
            raise TooLarge(f"the file is longer than {limit} bytes, the most that is taken here")
        if request.method == "PUT" and "content-range" in request.headers:
            raise BadRequest(400, "a file is taken in one piece; send it without Content-Range")
        wire.go_on()
        async with await self._files.receive(limit) as incoming:
            body = self._paced(wire)
            if form:
                await read_form(request.headers["content-type"], body, incoming.write, file_part=None)
            else:
                async for piece in body:
                    await incoming.write(piece)
            record = await self._files.take(grant, task, incoming)
        self._count("taken")
        _log.info("file_taken", name=record.name, address=wire.address, bytes=record.size)
        text = f"{record.size} bytes are stored as {record.name}\n".encode()
        wire.head(201, [("Content-Type", "text/plain; charset=utf-8"), ("ETag", f'"{record.sha256}"')], len(text))
        await wire.send(text)

    async def _paced(self, wire: Wire) -> AsyncIterator[bytes]:
        pace = Pace(self._settings.file_rate, asyncio.get_running_loop().time)
        async for piece in wire.body():
            await spend(len(piece), pace, self._total)
            yield piece

    def _count(self, outcome: str) -> None:
        self._hub.stats.count(self._hub.stats.file_transfers, outcome)
