"""A small TFTP server: gives files of one directory, and takes files where writing is allowed. For laboratories, tests, and devices
whose only file protocol is TFTP. It has no authentication, so it listens on loopback unless told otherwise."""

import asyncio
import os
from pathlib import Path
from typing import Final

from homeport.transport.files.tftp_link import Address, Link, PeerRefused, PeerSilent
from homeport.transport.files.tftp_packets import (
    DEFAULT_BLOCK,
    Ack,
    Ask,
    ErrorCode,
    OptionAck,
    Packet,
    Refusal,
    decode,
    number,
)

MOST_TRANSFERS: Final = 64
"""Transfers at once; a request beyond is not answered, so that the client asks again later."""


class TftpServer(asyncio.DatagramProtocol):
    """Serves `root`; nothing outside it, no hidden files.

    write: whether files are taken; an existing one is replaced when the new one is whole. max_size: bytes of a file that is taken.
    """

    def __init__(
        self,
        root: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        write: bool = False,
        timeout: float = 1.0,
        give_up: float = 30.0,
        max_size: int = 64 << 20,
        max_block: int = 8192,
    ) -> None:
        self._root = root.resolve()
        self._host, self._port = host, port
        self._write = write
        self._timeout, self._give_up = timeout, give_up
        self._max_size, self._max_block = max_size, max_block
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: dict[Address, Link] = {}

    async def start(self) -> int:
        """Listen; the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(self._host, self._port))
        self._transport = transport
        return int(transport.get_extra_info("sockname")[1])

    async def stop(self) -> None:
        """Stop listening and end the transfers."""
        if self._transport is not None:
            self._transport.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        try:
            packet = decode(data)
        except ValueError:
            return
        begun = self._begun.get(addr)
        if not isinstance(packet, Ask) or (begun is not None and not begun.answered):
            return  # a repeated request: its transfer is on the way
        if len(self._tasks) >= MOST_TRANSFERS:
            return
        # One that has had an answer is asking anew: devices that restart in the middle use the same port again.
        link = self._begun[addr] = Link(timeout=self._timeout, give_up=self._give_up)
        link.remote = addr
        task = asyncio.get_running_loop().create_task(self._serve(packet, link))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, addr, link))

    def _ended(self, task: asyncio.Task[None], addr: Address, link: Link) -> None:
        self._tasks.discard(task)
        if self._begun.get(addr) is link:
            del self._begun[addr]

    async def _serve(self, ask: Ask, link: Link) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: link, local_addr=(self._host, 0))
        try:
            refusal = await (self._take(ask, link) if ask.write else self._give(ask, link))
            if refusal is not None:
                link.send(refusal)
        except (PeerSilent, PeerRefused):
            pass  # the client is gone or changed its mind; it is the one who asks again
        except OSError as e:
            link.send(Refusal(ErrorCode.DISK_FULL if ask.write else ErrorCode.ACCESS, e.strerror or "failed"))
        finally:
            link.close()

    def _path(self, name: str) -> Path | None:
        parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".")]
        if not parts or any(p.startswith(".") or "\0" in p for p in parts):
            return None
        path = self._root.joinpath(*parts)
        return path if path.resolve().is_relative_to(self._root) else None

    def _agree(self, ask: Ask, size: int | None, link: Link) -> tuple[int, dict[str, str]]:
        """(block size, what is granted)."""
        granted: dict[str, str] = {}
        block = DEFAULT_BLOCK
        wanted = number(ask.options.get("blksize"))
        if wanted is not None and wanted >= 8:
            block = min(wanted, self._max_block)
            granted["blksize"] = str(block)
        said = number(ask.options.get("tsize"))
        if said is not None:
            granted["tsize"] = str(size if size is not None else said)
        seconds = number(ask.options.get("timeout"))
        if seconds is not None and 1 <= seconds <= 255:
            link.timeout = min(float(seconds), self._timeout)
            granted["timeout"] = str(seconds)
        return block, granted

    async def _give(self, ask: Ask, link: Link) -> Refusal | None:
        path = self._path(ask.name)
        if ask.mode != "octet":
            return Refusal(ErrorCode.ILLEGAL, "only octet mode")
        if path is None or not path.is_file():
            return Refusal(ErrorCode.NOT_FOUND, "no such file")
        with path.open("rb") as file:
            block, granted = self._agree(ask, os.fstat(file.fileno()).st_size, link)
            if granted:
                await link.ask(OptionAck(granted), lambda p: isinstance(p, Ack) and p.block == 0)

            async def read(count: int) -> bytes:
                return file.read(count)

            await link.transmit(read, block)
        return None

    async def _take(self, ask: Ask, link: Link) -> Refusal | None:
        path = self._path(ask.name)
        if ask.mode != "octet":
            return Refusal(ErrorCode.ILLEGAL, "only octet mode")
        if not self._write or path is None:
            return Refusal(ErrorCode.ACCESS, "writing is not allowed")
        if (number(ask.options.get("tsize")) or 0) > self._max_size:
            return Refusal(ErrorCode.DISK_FULL, "too large")
        block, granted = self._agree(ask, None, link)
        start: Packet = OptionAck(granted) if granted else Ack(0)
        part = path.with_name(f".{path.name}.{id(link):x}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            size = 0
            with part.open("wb") as file:
                async for payload in link.receive(None, block, start):
                    size += len(payload)
                    if size > self._max_size:
                        return Refusal(ErrorCode.DISK_FULL, "too large")
                    file.write(payload)
            os.replace(part, path)
            last = Ack((size // block + 1) & 0xFFFF)
            await link.linger(last, self._timeout * 3)
        finally:
            part.unlink(missing_ok=True)
        return None
