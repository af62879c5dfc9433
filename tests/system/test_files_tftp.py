"""TFTP over loopback: our client with our server, with lost and doubled packets, and with a server that breaks the rules."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from homeport.transport.files import Credentials, FileLimits, FileOptions, FileTransferError, Trouble, fetch, put
from homeport.transport.files.tftp_packets import Ack, Ask, Data, OptionAck, Packet, Refusal, decode, encode
from homeport.transport.files.tftp_server import TftpServer
from support.file_servers import free_port

pytestmark = pytest.mark.system

FAST = FileLimits(connect=1.0, stall=1.0, total=20.0, reserve=0)


def with_server(root: Path, work: Callable[[str], Awaitable[Any]], **options: Any) -> Any:
    """The result of work(base URL) with our server."""

    async def main() -> Any:
        server = TftpServer(root, timeout=0.05, give_up=1.0, **options)
        port = await server.start()
        try:
            return await work(f"tftp://127.0.0.1:{port}")
        finally:
            await server.stop()

    return asyncio.run(main())


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1427, 1428, 1429, 100_000])
def test_files_of_every_length_arrive(tmp_path: Path, size: int) -> None:
    """Also those whose last block is empty; blksize and tsize are agreed on."""
    body = random.Random(size).randbytes(size)
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "a.bin").write_bytes(body)
    fetched = with_server(tmp_path / "srv", lambda base: fetch(base + "/a.bin", tmp_path / "got", limits=FAST))
    assert fetched.path.read_bytes() == body


@pytest.mark.parametrize("size", [0, 1428, 5000])
def test_an_upload_is_stored_when_it_is_whole(tmp_path: Path, size: int) -> None:
    """WRQ with tsize; the file appears under its name only at the end."""
    body = random.Random(size).randbytes(size)
    (tmp_path / "srv").mkdir()
    (tmp_path / "up").write_bytes(body)
    sent = with_server(tmp_path / "srv", lambda base: put(base + "/d/x", tmp_path / "up", limits=FAST), write=True)
    assert sent.size == size
    assert (tmp_path / "srv" / "d" / "x").read_bytes() == body
    assert [p.name for p in (tmp_path / "srv" / "d").iterdir()] == ["x"]


class LossyLine(asyncio.DatagramProtocol):
    """Forwards between one client and a server's ports; a seeded share of packets is lost, another doubled."""

    def __init__(self, server: int, seed: int, share: float) -> None:
        self.server, self.share = server, share
        self.random = random.Random(seed)
        self.client: Any = None
        self.lost = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.client is None:
            self.client = addr
        if addr == self.client:
            target = (addr[0], self.server)
        else:
            self.server = addr[1]
            target = self.client
        dice = self.random.random()
        if dice < self.share:
            self.lost += 1
            return
        self.transport.sendto(data, target)
        if dice > 1 - self.share:
            self.transport.sendto(data, target)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("upload", [False, True])
def test_lost_and_doubled_packets_do_no_harm(tmp_path: Path, seed: int, upload: bool) -> None:
    """One packet in ten is lost and one in ten doubled, both ways."""
    body = random.Random(seed).randbytes(40_000)
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "f").write_bytes(b"" if upload else body)
    (tmp_path / "up").write_bytes(body)
    quick = FileLimits(connect=4.0, stall=4.0, total=20.0, reserve=0)

    async def work(base: str) -> int:
        line = LossyLine(int(base.rsplit(":", 1)[1]), seed, 0.1)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: line, local_addr=("127.0.0.1", 0)
        )
        url = f"tftp://127.0.0.1:{transport.get_extra_info('sockname')[1]}/f"
        options = FileOptions(tftp_timeout=0.03)
        if upload:
            await put(url, tmp_path / "up", limits=quick, options=options)
        else:
            await fetch(url, tmp_path / "got", limits=quick, options=options)
        transport.close()
        return line.lost

    assert with_server(tmp_path / "srv", work, write=True) > 0
    assert (tmp_path / ("srv/f" if upload else "got")).read_bytes() == body


@pytest.mark.case("T04")
def test_refusals_are_told_apart(tmp_path: Path) -> None:
    """No such file is 9016; writing where it is not allowed too; a way out of the directory leads nowhere."""
    (tmp_path / "srv").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "srv" / ".hidden").write_text("x")

    async def work(base: str) -> None:
        for name in ("/nothing", "/../secret", "/a/../../secret", "/.hidden", "/%5c..%5csecret"):
            with pytest.raises(FileTransferError) as caught:
                await fetch(base + name, tmp_path / "got", limits=FAST)
            assert caught.value.trouble is Trouble.NOT_ACCESSIBLE
        with pytest.raises(FileTransferError) as caught:
            await put(base + "/new", tmp_path / "secret", limits=FAST)
        assert caught.value.trouble is Trouble.NOT_ACCESSIBLE

    with_server(tmp_path / "srv", work)


@pytest.mark.case("T04")
def test_a_server_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    """Silence from the beginning is 9015."""
    import socket

    quick = FileLimits(connect=0.3, stall=0.3, reserve=0)
    with pytest.raises(FileTransferError) as caught:
        asyncio.run(fetch(f"tftp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}/f", tmp_path / "f", limits=quick))
    assert caught.value.trouble is Trouble.UNREACHABLE


FENCE = b"nothing comes after this"


class Script(asyncio.DatagramProtocol):
    """A server that answers each packet as `reply` says."""

    def __init__(self, reply: Callable[[Packet], list[Packet]]) -> None:
        self.reply = reply
        self.heard: list[Packet] = []
        self.fenced = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data == FENCE:
            self.fenced.set()
            return
        packet = decode(data)
        self.heard.append(packet)
        for answer in self.reply(packet):
            self.transport.sendto(encode(answer), addr)


def scripted(
    reply: Callable[[Packet], list[Packet]], work: Callable[[str], Awaitable[Any]]
) -> tuple[Any, list[Packet]]:
    """(result of work(url) or its FileTransferError, packets that the server heard)."""

    async def main() -> tuple[Any, list[Packet]]:
        script = Script(reply)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: script, local_addr=("127.0.0.1", 0)
        )
        try:
            return await work(f"tftp://127.0.0.1:{transport.get_extra_info('sockname')[1]}/f"), script.heard
        except FileTransferError as e:
            return e, script.heard
        finally:
            # What the client sent last stands in the socket's queue already, before this.
            transport.sendto(FENCE, transport.get_extra_info("sockname"))
            async with asyncio.timeout(10):
                await script.fenced.wait()
            transport.close()

    return asyncio.run(main())


def test_a_server_that_ignores_options_is_understood(tmp_path: Path) -> None:
    """RFC 2347: without an OACK the first DATA is the answer, in blocks of 512 bytes."""

    def reply(packet: Packet) -> list[Packet]:
        if isinstance(packet, Ask):
            return [Data(1, b"a" * 512)]
        return [Data(2, b"b")] if packet == Ack(1) else []

    result, _ = scripted(reply, lambda url: fetch(url, tmp_path / "f", limits=FAST))
    assert result.path.read_bytes() == b"a" * 512 + b"b"


def test_a_server_that_refuses_options_is_asked_without(tmp_path: Path) -> None:
    """RFC 2347: error 8 means that the transfer may be tried without options."""

    def reply(packet: Packet) -> list[Packet]:
        if isinstance(packet, Ask):
            return [Refusal(8, "no options here")] if packet.options else [Data(1, b"short")]
        return []

    result, heard = scripted(reply, lambda url: fetch(url, tmp_path / "f", limits=FAST))
    assert result.size == 5
    assert [bool(p.options) for p in heard if isinstance(p, Ask)] == [True, False]


def test_a_block_size_that_was_not_asked_for_is_refused(tmp_path: Path) -> None:
    """RFC 2348: the server may only lower it."""
    result, heard = scripted(
        lambda p: [OptionAck({"blksize": "60000"})] if isinstance(p, Ask) else [],
        lambda url: fetch(url, tmp_path / "f", limits=FAST),
    )
    assert result.trouble is Trouble.SERVER
    assert isinstance(heard[-1], Refusal)


def test_a_server_that_falls_silent_is_incomplete(tmp_path: Path) -> None:
    """Silence in the middle is 9017."""
    quick = FileLimits(connect=0.3, stall=0.3, reserve=0)
    result, _ = scripted(
        lambda p: [Data(1, b"a" * 512)] if isinstance(p, Ask) else [],
        lambda url: fetch(url, tmp_path / "f", limits=quick),
    )
    assert result.trouble is Trouble.INCOMPLETE


def test_a_file_shorter_than_tsize_is_incomplete(tmp_path: Path) -> None:
    """RFC 2349: tsize is the size of the file; less came."""

    def reply(packet: Packet) -> list[Packet]:
        if isinstance(packet, Ask):
            return [OptionAck({"tsize": "5000", "blksize": "1024"})]
        return [Data(1, b"short")] if packet == Ack(0) else []

    result, _ = scripted(reply, lambda url: fetch(url, tmp_path / "f", limits=FAST))
    assert result.trouble is Trouble.INCOMPLETE


def test_a_file_without_room_is_refused_at_tsize(tmp_path: Path) -> None:
    """The server says the size first, so no byte has to come."""
    result, heard = scripted(
        lambda p: [OptionAck({"tsize": "5000000"})] if isinstance(p, Ask) else [],
        lambda url: fetch(url, tmp_path / "f", limits=FAST, free=lambda _: 1000),
    )
    assert result.trouble is Trouble.SPACE
    assert isinstance(heard[-1], Refusal)


def test_credentials_are_no_hindrance(tmp_path: Path) -> None:
    """TFTP has none; an RPC that carries some works all the same."""
    (tmp_path / "a").write_bytes(b"x")
    who = Credentials("u", "p")
    got = with_server(tmp_path, lambda base: fetch(base + "/a", tmp_path / "b", credentials=who, limits=FAST))
    assert got.size == 1


class Client(asyncio.DatagramProtocol):
    """A device's own port. heard: packets, with the port of the server that sent each."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[Packet, int]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.put_nowait((decode(data), addr[1]))


async def a_client(base: str) -> tuple[Client, asyncio.DatagramTransport, Callable[[Packet, int], None]]:
    """(the client, its socket, how it sends to a port of the server; 0: to the server's own)."""
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(Client, local_addr=("127.0.0.1", 0))
    server = int(base.rpartition(":")[2])
    return client, transport, lambda packet, port=0: transport.sendto(encode(packet), ("127.0.0.1", port or server))


@pytest.mark.parametrize("value", ["²", "9" * 5_000, "-8", "", "0x200", "7"])
def test_an_option_that_is_no_number_is_not_granted(tmp_path: Path, value: str) -> None:
    """RFC 2347: the transfer goes on without it."""
    (tmp_path / "a").write_bytes(b"x")

    async def ask(base: str) -> Packet:
        client, transport, send = await a_client(base)
        send(Ask(False, "a", "octet", {"blksize": value, "timeout": value if value != "7" else "0"}), 0)
        async with asyncio.timeout(5):
            packet, _ = await client.heard.get()
        transport.close()
        return packet

    assert with_server(tmp_path, ask) == Data(1, b"x")


def test_a_device_that_restarts_in_the_middle_is_served_from_its_old_port(tmp_path: Path) -> None:
    """Its old transfer is still waited for; a request that is only told twice begins no second one."""
    (tmp_path / "a").write_bytes(bytes(2_000))

    async def scene(base: str) -> tuple[Packet, bool]:
        client, transport, send = await a_client(base)
        async with asyncio.timeout(5):
            send(Ask(False, "a"), 0)
            send(Ask(False, "a"), 0)
            _, port = await client.heard.get()
            send(Ack(1), port)
            while (await client.heard.get())[0] != Data(2, bytes(512)):
                pass
            send(Ask(False, "a"), 0)
            while (heard := await client.heard.get())[0] == Data(2, bytes(512)):
                pass
        transport.close()
        return heard[0], heard[1] != port

    assert with_server(tmp_path, scene) == (Data(1, bytes(512)), True)
