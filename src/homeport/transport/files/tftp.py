"""Files over TFTP: the client, get and put, with the options blksize, tsize and timeout.

Source: RFC 1350, RFC 2347, RFC 2348, RFC 2349. Some devices (Vega) have no other protocol for their configuration.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from homeport.transport.files.result import FileLimits, FileOptions, FileTransferError, Place, Trouble
from homeport.transport.files.sink import FileBlocks, Sink
from homeport.transport.files.tftp_link import Address, Link, PeerRefused, PeerSilent
from homeport.transport.files.tftp_packets import (
    DEFAULT_BLOCK,
    Ack,
    Ask,
    Data,
    ErrorCode,
    OptionAck,
    Packet,
    Refusal,
    number,
)

PORT: Final = 69

_TROUBLES: Final = {
    ErrorCode.NOT_FOUND: Trouble.NOT_ACCESSIBLE,
    ErrorCode.ACCESS: Trouble.NOT_ACCESSIBLE,
    ErrorCode.EXISTS: Trouble.NOT_ACCESSIBLE,
    ErrorCode.NO_USER: Trouble.CREDENTIALS,
}


async def fetch_tftp(place: Place, sink: Sink, *, limits: FileLimits, options: FileOptions) -> None:
    """The bytes are in the sink. Raises FileTransferError."""
    await _translated(place, _get(place, sink, limits, options))


async def put_tftp(
    place: Place, open_blocks: Callable[[], Awaitable[FileBlocks]], *, limits: FileLimits, options: FileOptions
) -> None:
    """Store the file. Raises FileTransferError."""
    await _translated(place, _put(place, open_blocks, limits, options))


async def _get(place: Place, sink: Sink, limits: FileLimits, options: FileOptions) -> None:
    async with _linked(place, limits, options) as (link, server):
        if sink.size:
            await sink.restart()  # TFTP cannot go on in the middle
        asked = {
            "blksize": str(options.tftp_block_size),
            "tsize": "0",
            "timeout": str(max(1, round(options.tftp_timeout))),
        }
        answer = await _request(link, Ask(False, _name(place), options=asked), server, limits)
        block_size, first = DEFAULT_BLOCK, None
        start: Packet = Ack(0)
        if isinstance(answer, OptionAck):
            try:
                block_size = _granted(answer, options.tftp_block_size)
                sink.announce(number(answer.options.get("tsize")))
            except (ValueError, FileTransferError) as e:
                link.send(Refusal(ErrorCode.OPTIONS_REFUSED, str(e)[:100]))
                raise
        elif isinstance(answer, Data):
            first = answer
        try:
            count = 0
            async for payload in link.receive(first, block_size, start):
                await sink.write(payload)
                count += 1
        except FileTransferError:
            link.send(Refusal(ErrorCode.DISK_FULL, "no room"))
            raise
        if sink.total is not None and sink.size != sink.total:
            raise FileTransferError(
                Trouble.INCOMPLETE, f"{place.host} sent {sink.size} bytes and had said {sink.total}"
            )
        # The file is whole; a server that missed the last ACK fails on its own side only, so nobody waits here.


async def _put(
    place: Place, open_blocks: Callable[[], Awaitable[FileBlocks]], limits: FileLimits, options: FileOptions
) -> None:
    blocks = await open_blocks()
    try:
        async with _linked(place, limits, options) as (link, server):
            asked = {
                "blksize": str(options.tftp_block_size),
                "tsize": str(blocks.size),
                "timeout": str(max(1, round(options.tftp_timeout))),
            }
            answer = await _request(link, Ask(True, _name(place), options=asked), server, limits)
            block_size = DEFAULT_BLOCK
            if isinstance(answer, OptionAck):
                block_size = _granted(answer, options.tftp_block_size)
            await link.transmit(blocks.read, block_size)
    finally:
        blocks.close()


async def _request(link: Link, ask: Ask, server: Address, limits: FileLimits) -> Packet:
    """The server's first answer; asked again without options where it refuses those."""

    def accept(packet: Packet) -> bool:
        if isinstance(packet, OptionAck):
            return bool(ask.options)
        return (
            packet.block == 0
            if ask.write and isinstance(packet, Ack)
            else isinstance(packet, Data) and packet.block == 1
        )

    try:
        return await link.ask(ask, accept, to=server)
    except PeerRefused as e:
        if e.code != ErrorCode.OPTIONS_REFUSED or not ask.options:
            raise
        link.remote = None
        return await _request(link, Ask(ask.write, ask.name), server, limits)
    except PeerSilent as e:
        if link.remote is not None:
            raise
        raise FileTransferError(Trouble.UNREACHABLE, f"the TFTP server {server[0]} does not answer ({e})") from e


def _granted(answer: OptionAck, asked: int) -> int:
    """The block size that the server grants. Raises ValueError where it grants more than was asked for."""
    size = int(answer.options.get("blksize", DEFAULT_BLOCK))
    if not 8 <= size <= max(asked, DEFAULT_BLOCK):
        raise ValueError(f"block size {size} was not asked for")
    return size


def _name(place: Place) -> str:
    name = place.path[1:]
    if not name:
        raise FileTransferError(Trouble.NOT_ACCESSIBLE, "the TFTP URL names no file")
    return name.split(";mode=", 1)[0]


@asynccontextmanager
async def _linked(place: Place, limits: FileLimits, options: FileOptions) -> AsyncIterator[tuple[Link, Address]]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(place.host, place.port or PORT, type=socket.SOCK_DGRAM)
    except OSError as e:
        raise FileTransferError(Trouble.UNREACHABLE, f"there is no address for {place.host}: {e.strerror or e}") from e
    family, _, _, _, server = found[0]
    give_up = min(limits.stall, limits.connect)
    link = Link(timeout=min(float(options.tftp_timeout), give_up / 4), give_up=give_up)
    link.hosts = frozenset({str(server[0])})
    try:
        await loop.create_datagram_endpoint(
            lambda: link, family=family, local_addr=("::" if family == socket.AF_INET6 else "0.0.0.0", 0)
        )
    except OSError as e:
        raise FileTransferError(Trouble.UNREACHABLE, f"no socket towards {place.host}: {e}") from e
    try:
        yield link, server
    finally:
        link.close()


async def _translated(place: Place, work: Awaitable[None]) -> None:
    try:
        await work
    except PeerRefused as e:
        trouble = _TROUBLES.get(ErrorCode(e.code) if e.code in set(ErrorCode) else ErrorCode.UNDEFINED, Trouble.SERVER)
        raise FileTransferError(trouble, f"the TFTP server {place.host} refused: {e}") from e
    except PeerSilent as e:
        raise FileTransferError(Trouble.INCOMPLETE, f"the TFTP server {place.host} fell silent: {e}") from e
    except ValueError as e:
        raise FileTransferError(Trouble.SERVER, f"the TFTP server {place.host} answers against the rules: {e}") from e
