"""Two ends of a TFTP transfer joined in memory: order, repetition, and the wrap of block numbers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from homeport.transport.files.tftp_link import Link, PeerSilent
from homeport.transport.files.tftp_packets import Ack, Data, decode


class Wire:
    """What a Link sends, handed to the other Link; `drop` says which packets are lost."""

    def __init__(self, here: str, drop: Callable[[Any], bool]) -> None:
        self.here, self.drop = here, drop
        self.peer: Link | None = None
        self.sent: list[Any] = []

    def sendto(self, data: bytes, _: Any) -> None:
        packet = decode(data)
        self.sent.append(packet)
        if self.peer is not None and not self.drop(packet):
            asyncio.get_running_loop().call_soon(self.peer.datagram_received, data, (self.here, 1))

    def close(self) -> None:
        self.peer = None


def joined(drop: Callable[[Any], bool] = lambda _: False) -> tuple[Link, Link, Wire, Wire]:
    """(sender, receiver, what the sender sends, what the receiver sends)."""
    sender, receiver = Link(timeout=0.01, give_up=0.2), Link(timeout=0.01, give_up=0.2)
    out, back = Wire("sender", drop), Wire("receiver", drop)
    out.peer, back.peer = receiver, sender
    sender.connection_made(out)  # type: ignore[arg-type]
    receiver.connection_made(back)  # type: ignore[arg-type]
    sender.remote, receiver.remote = ("receiver", 1), ("sender", 1)
    return sender, receiver, out, back


async def carried(body: bytes, number: int, drop: Callable[[Any], bool] = lambda _: False) -> tuple[bytes, Wire, Wire]:
    """(what arrived, both wires) of a transfer in blocks of 8 bytes whose first block has that number."""
    sender, receiver, out, back = joined(drop)
    rest = bytearray(body)

    async def read(count: int) -> bytes:
        piece = bytes(rest[:count])
        del rest[:count]
        return piece

    async def collect() -> bytes:
        return b"".join([p async for p in receiver.receive(None, 8, Ack((number - 1) & 0xFFFF), number=number)])

    _, got = await asyncio.gather(sender.transmit(read, 8, number=number), collect())
    return got, out, back


def test_block_numbers_wrap_to_zero() -> None:
    """After 65535 comes 0: files larger than 65,535 blocks are carried."""
    body = bytes(range(100))
    got, out, _ = asyncio.run(carried(body, 65530))
    assert got == body
    assert [p.block for p in out.sent] == [65530, 65531, 65532, 65533, 65534, 65535, 0, 1, 2, 3, 4, 5, 6]


def test_a_server_that_counts_on_from_one_is_understood() -> None:
    """Some servers wrap to 1: whoever expects 0 takes 1 for it."""

    async def main() -> bytes:
        _, receiver, _, back = joined()
        got = b""
        async for piece in receiver.receive(Data(65535, b"a" * 8), 8, Ack(65534), number=65535):
            got += piece
            if back.peer is not None and got == b"a" * 8:
                receiver.datagram_received(b"\0\3\0\1last", ("sender", 1))
        return got

    assert asyncio.run(main()) == b"a" * 8 + b"last"


def test_a_lost_block_and_a_lost_ack_are_sent_again() -> None:
    """RFC 1350: whoever waits repeats."""
    lost: set[str] = set()

    def drop(packet: Any) -> bool:
        if repr(packet) in ("Data(block=2, payload=b'bbbbbbbb')", "Ack(block=1)") and repr(packet) not in lost:
            lost.add(repr(packet))
            return True
        return False

    got, _, _ = asyncio.run(carried(b"a" * 8 + b"b" * 8 + b"c", 1, drop))
    assert got == b"a" * 8 + b"b" * 8 + b"c"
    assert len(lost) == 2


def test_a_doubled_ack_does_not_double_the_data() -> None:
    """The sorcerer's apprentice: an old ACK is not answered."""

    async def main() -> list[Any]:
        sender, receiver, out, _ = joined()
        rest = [b"a" * 8, b"b"]

        async def read(_: int) -> bytes:
            return rest.pop(0)

        async def answer() -> None:
            for packet in (Ack(1), Ack(1), Ack(1), Ack(2)):
                await asyncio.sleep(0)
                receiver.send(packet)

        await asyncio.gather(sender.transmit(read, 8), answer())
        return out.sent

    assert [p.block for p in asyncio.run(main())] == [1, 2]


def test_a_silent_peer_is_given_up() -> None:
    """The packet is repeated a few times, with growing waits, and no longer."""

    async def main() -> int:
        sender, _, out, _ = joined(lambda _: True)
        with pytest.raises(PeerSilent):
            await sender.ask(Data(1, b""), lambda _: True)
        return len(out.sent)

    assert 3 <= asyncio.run(main()) <= 6


def test_a_stranger_is_told_off_and_changes_nothing() -> None:
    """RFC 1350 section 4: a packet from another port gets error 5, the transfer goes on."""

    async def main() -> list[Any]:
        sender, _, out, _ = joined(lambda _: True)
        sender.datagram_received(b"\0\4\0\1", ("receiver", 2))
        with pytest.raises(PeerSilent):
            await sender.ask(Data(1, b""), lambda p: isinstance(p, Ack))
        return out.sent

    assert asyncio.run(main())[0].code == 5
