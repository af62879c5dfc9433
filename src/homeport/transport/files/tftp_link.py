"""Half a TFTP transfer: sending and receiving blocks over one socket with one peer, with repetition. Client and server share it.

Source: RFC 1350 (a lost packet is repeated by whoever waits; a doubled ACK is never answered with a doubled DATA).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, cast

from homeport.transport.files.tftp_packets import Ack, Data, ErrorCode, Packet, Refusal, decode, encode

REPEATS: Final = 5
"""How often a packet is sent again before the peer is given up."""

Address = tuple[Any, ...]


class PeerSilent(Exception):
    """The peer did not answer the last packet, however often it was sent."""


class PeerRefused(Exception):
    """The peer sent an ERROR packet."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text or 'no reason'} (TFTP error {code})")
        self.code = code


class Link(asyncio.DatagramProtocol):
    """One socket and one peer.

    remote: None until the peer's first packet names its port (RFC 1350 section 4); host limits who that may be.
    timeout: seconds before the first repetition; it doubles, up to give_up seconds of silence in all.
    answered: whether the peer has said anything that was waited for.
    """

    def __init__(self, *, timeout: float, give_up: float) -> None:
        self.remote: Address | None = None
        self.hosts: frozenset[str] = frozenset()
        self.timeout = timeout
        self.answered = False
        self._give_up = give_up
        self._packets: asyncio.Queue[bytes] = asyncio.Queue(maxsize=64)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if self.hosts and addr[0] not in self.hosts:
            return
        if self.remote is None:
            self.remote = addr
        elif addr[:2] != self.remote[:2]:
            self._send(Refusal(ErrorCode.UNKNOWN_TRANSFER, "unknown transfer"), addr)
            return
        if not self._packets.full():
            self._packets.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        """An ICMP message (port unreachable): silence will say the same, and cannot be forged."""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def send(self, packet: Packet) -> None:
        """Send to the peer."""
        assert self.remote is not None
        self._send(packet, self.remote)

    def _send(self, packet: Packet, address: Address) -> None:
        assert self._transport is not None
        self._transport.sendto(encode(packet), address)

    async def ask(self, packet: Packet, accept: Callable[[Packet], bool], *, to: Address | None = None) -> Packet:
        """The first answer to packet that is accepted; packet is repeated meanwhile.

        to: an address for a peer that has not answered yet. Raises PeerSilent, PeerRefused.
        """
        wait, silence = self.timeout, 0.0
        for _ in range(REPEATS + 1):
            self._send(packet, to if to is not None and self.remote is None else self.remote or to or ())
            wait = min(wait, self._give_up - silence)
            try:
                async with asyncio.timeout(wait):
                    return await self._accepted(accept)
            except TimeoutError:
                silence += wait
                wait *= 2
            if silence >= self._give_up:
                break
        raise PeerSilent(f"no answer for {silence:.0f} s")

    async def _accepted(self, accept: Callable[[Packet], bool]) -> Packet:
        while True:
            try:
                packet = decode(await self._packets.get())
            except ValueError:
                continue  # not TFTP: as good as lost
            if isinstance(packet, Refusal):
                raise PeerRefused(packet.code, packet.text)
            if accept(packet):
                self.answered = True
                return packet

    async def receive(
        self, first: Data | None, block_size: int, start: Packet, *, number: int = 1
    ) -> AsyncIterator[bytes]:
        """The peer's blocks in order.

        first: block 1, where it has come already as the answer to the request. start: what asks for block 1 otherwise.
        number: of the first block that is still to come or is given as first.
        The number wraps from 65535 to 0, or to 1 with servers that count so.
        """
        expected, packet, reply = number, first, start
        while True:
            if packet is None:
                allowed = {expected, 1} if expected == 0 else {expected}
                answer = await self.ask(reply, lambda p, a=allowed: isinstance(p, Data) and p.block in a)  # type: ignore[misc]
                assert isinstance(answer, Data)
                packet = answer
            reply = Ack(packet.block)
            last = len(packet.payload) < block_size
            expected = (packet.block + 1) & 0xFFFF
            if last:
                self.send(reply)
            if packet.payload:
                yield packet.payload
            if last:
                return
            packet = None

    async def linger(self, last: Packet, seconds: float) -> None:
        """Repeat the last ACK for a peer that has not heard it."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._accepted(lambda p: isinstance(p, Data))
                    self.send(last)
        except (TimeoutError, PeerRefused):
            return  # the peer is content, or gone: the file is here either way

    async def transmit(self, read: Callable[[int], Awaitable[bytes]], block_size: int, *, number: int = 1) -> None:
        """Send what read(count) gives until it gives less than a block. number: of the first. Raises PeerSilent, PeerRefused."""
        while True:
            payload = await read(block_size)
            await self.ask(Data(number, payload), lambda p, n=number: isinstance(p, Ack) and p.block == n)  # type: ignore[misc]
            number = (number + 1) & 0xFFFF
            if len(payload) < block_size:
                return
