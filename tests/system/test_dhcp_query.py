"""The agent's question on real sockets: which answer counts, how long it waits, and what it says where it may not ask."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from homeport.errors import RemoteProtocolError, TransportError
from homeport.transport.dhcp import Ends, Interface, ask_options, ask_options6, interfaces
from homeport.transport.dhcp_packets import Reply

pytestmark = pytest.mark.system

MAC = bytes.fromhex("02fc00000001")
LO = Interface("lo", 0, MAC, "127.0.0.1", "::1")
"""Loopback in the place of an Ethernet interface: number 0 lets the kernel choose the way."""


def answer(question: bytes, options: bytes) -> bytes:
    """A DHCPACK to a DHCPINFORM, with these options behind the message type."""
    head = b"\x02" + question[1:8] + bytes(20) + question[28:44] + bytes(192)
    return head + bytes.fromhex("63825363") + b"\x35\x01\x05" + options + b"\xff"


class Server(asyncio.DatagramProtocol):
    """Answers each question with everything that `say` makes of it; keeps the questions."""

    def __init__(self, say) -> None:
        self.say = say
        self.questions: list[bytes] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, source) -> None:
        self.questions.append(data)
        for reply in self.say(data):
            self.transport.sendto(reply, source)


def ask(say, *, waits=(0.3, 0.3), **options) -> tuple[Reply | None, list[bytes]]:
    """What came of asking such a server, and the questions that it got."""

    async def play():
        transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Server(say), local_addr=("127.0.0.1", 0)
        )
        ends = Ends("127.0.0.1", transport.get_extra_info("sockname")[1], 0)
        try:
            wanted = {"requested": (43, 125), "vendor_class": b"dslforum.org", "waits": waits, "ends": ends}
            return await ask_options(LO, **(wanted | options)), server.questions
        finally:
            transport.close()

    return asyncio.run(play())


def names_acs(reply: Reply) -> bool:
    return 43 in reply.options


def test_of_several_answers_the_one_that_names_an_acs_counts() -> None:
    """Noise, another host's answer and a server that knows nothing of us come first."""

    def say(question: bytes) -> list[bytes]:
        other = answer(question[:4] + b"\0\0\0\0" + question[8:], b"\x2b\x01x")
        return [b"noise", other, answer(question, b"\x06\x04\x01\x01\x01\x01"), answer(question, b"\x2b\x02ok")]

    reply, questions = ask(say, enough=names_acs)
    assert reply is not None and reply.options[43] == b"ok"
    assert len(questions) == 1


def test_an_answer_without_an_acs_counts_where_no_better_one_comes() -> None:
    """After the first wait, not after all of them."""
    reply, questions = ask(lambda q: [answer(q, b"\x42\x01t")], waits=(0.05, 60.0), enough=names_acs)
    assert reply is not None and reply.options[66] == b"t"
    assert len(questions) == 1


def test_a_silent_server_is_asked_again_and_then_given_up() -> None:
    """As many times as there are waits, each time the same question."""
    reply, questions = ask(lambda q: [], waits=(0.02, 0.02, 0.02))
    assert reply is None
    assert len(questions) == 3 and len(set(questions)) == 1


def test_a_lost_first_question_costs_one_wait() -> None:
    """The second one is answered."""
    seen: list[bytes] = []

    def say(question: bytes) -> list[bytes]:
        seen.append(question)
        return [answer(question, b"\x2b\x02ok")] if len(seen) > 1 else []

    reply, _ = ask(say, waits=(0.05, 5.0))
    assert reply is not None and reply.options[43] == b"ok"


def test_a_port_that_somebody_holds_for_himself_is_a_sentence() -> None:
    """A DHCP client that does not share: the cure is its hook."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        ends = Ends("127.0.0.1", 9, holder.getsockname()[1])
        with pytest.raises(TransportError, match=r"another program may hold it.*homeport cpe hook list"):
            asyncio.run(ask_options(LO, requested=(43,), vendor_class=b"", ends=ends))


def test_an_ordinary_user_is_told_what_port_68_needs() -> None:
    """CAP_NET_BIND_SERVICE, or a hook; over IPv6 the same."""
    script = """
import asyncio, encodings.idna, os
from homeport.errors import TransportError
from homeport.transport.dhcp import Interface, ask_options, ask_options6
lo = Interface("lo", 0, bytes(6), "127.0.0.1", "::1")
if os.geteuid() == 0:
    os.seteuid(65534)
for ask in (ask_options, ask_options6):
    try:
        asyncio.run(ask(lo, requested=(43,), vendor_class=b""))
    except TransportError as e:
        print(e)
"""
    allowed = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if allowed <= 68:
        pytest.skip(f"ports from {allowed} on are open to everybody on this machine")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done
    assert "port 68" in lines[0] and "port 546" in lines[1]
    assert all("CAP_NET_BIND_SERVICE" in line and "homeport cpe hook list" in line for line in lines)


def test_only_interfaces_that_can_ask_are_listed() -> None:
    """Never loopback; none of a name that is not there."""
    assert "lo" not in [interface.name for interface in interfaces()]
    assert interfaces(("no-such-interface",)) == []
    assert all(len(i.mac) == 6 and (i.ipv4 or i.link_local) for i in interfaces())


def test_errors_of_the_network_are_translated() -> None:
    """An interface that is gone."""
    gone = Interface("gone0", 999_999, MAC, "127.0.0.1", "::1")
    with pytest.raises(TransportError, match="gone0 cannot be asked"):
        asyncio.run(ask_options(gone, requested=(43,), vendor_class=b"", ends=Ends(client_port=0), waits=(0.01,)))
    with pytest.raises((TransportError, RemoteProtocolError)):
        asyncio.run(
            ask_options6(gone, requested=(17,), vendor_class=b"", ends=Ends("ff02::1:2", 547, 0), waits=(0.01,))
        )
