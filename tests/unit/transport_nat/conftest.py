"""A line with a NAT in it, on a virtual clock: a STUN client behind it, a STUN server before it, no sockets."""

import itertools
from collections.abc import Callable

import pytest

from homeport.transport.addresses import Address
from homeport.transport.source_limits import SourceLimiter
from homeport.transport.stun_client import Output, StunClient, StunSettings
from homeport.transport.stun_exchange import Port, SendDatagram
from homeport.transport.stun_messages import StunMessage, decode
from homeport.transport.stun_server import BindingReport, StunServer

SERVER = Address("192.0.2.1", 3478)
PUBLIC = "198.51.100.7"


class World:
    """Client, NAT and server; `run` lets virtual time pass.

    lifetime: seconds that the NAT keeps an idle binding; None for a NAT that forgets nothing. nat: False for a plain line.
    lose: called with the direction ("up", "down"), the message and the time; True loses it. passwords: what the server knows.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.nat = True
        self.lifetime: float | None = None
        self.passwords: dict[str, str] = {}
        self.lose: Callable[[str, StunMessage, float], bool] = lambda direction, message, now: False
        self.server = StunServer(limiter=SourceLimiter(rate=1000, burst=1000))
        self.sent: list[tuple[float, Port, StunMessage]] = []
        self.events: list[tuple[float, Output]] = []
        self.reports: list[tuple[float, BindingReport]] = []
        self._bindings: dict[Port, tuple[Address, float]] = {}
        self._ports = itertools.count(40_001)
        self._ids = itertools.count(1)
        self.client: StunClient | None = None

    def connect(self, settings: StunSettings, *, last_reported: Address | None = None) -> StunClient:
        """A client that has sent its first request."""
        self.client = StunClient(
            settings,
            server=SERVER,
            local=Address("192.168.1.2", 7547),
            last_reported=last_reported,
            random_bytes=lambda count: next(self._ids).to_bytes(count, "big"),
        )
        self._carry(self.client.start(self.now))
        return self.client

    def run(self, seconds: float) -> None:
        """Lets time pass, from deadline to deadline."""
        assert self.client is not None
        end = self.now + seconds
        while True:
            deadline = self.client.next_deadline()
            if deadline is None or deadline > end:
                self.now = end
                return
            self.now = max(self.now, deadline)
            self._carry(self.client.deadline_passed(self.now))

    def new_mapping(self) -> None:
        """The NAT restarts: every binding gets another port with its next datagram."""
        self._bindings.clear()

    def requests(self, port: Port = Port.PRIMARY) -> list[tuple[float, StunMessage]]:
        """What left from one port, with the time."""
        return [(at, message) for at, name, message in self.sent if name is port]

    def told(self, kind: type) -> list[Output]:
        """The client's events of one kind."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def _carry(self, outputs: list[Output]) -> None:
        queue = list(outputs)
        while queue:
            output = queue.pop(0)
            if isinstance(output, SendDatagram):
                queue += self._up(output)
            else:
                self.events.append((self.now, output))

    def _up(self, send: SendDatagram) -> list[Output]:
        message = decode(send.datagram)
        self.sent.append((self.now, send.port, message))
        source = self._mapped(send.port)
        if self.lose("up", message, self.now):
            return []
        question = self.server.examine(send.datagram, source=source, now=self.now)
        if question is None:
            return []
        password = self.passwords.get(question.needs_password or "")
        reply = self.server.answer(question, local=SERVER, password=password)
        if reply.report is not None:
            self.reports.append((self.now, reply.report))
        if self.lose("down", decode(reply.datagram), self.now):
            return []
        assert self.client is not None
        port = self._inside(reply.to)
        if port is None:
            return []
        return self.client.receive(reply.datagram, source=SERVER, port=port, now=self.now)

    def _alive(self, since: float) -> bool:
        return self.lifetime is None or self.now - since <= self.lifetime

    def _mapped(self, port: Port) -> Address:
        if not self.nat:
            inside = {Port.PRIMARY: 7547, Port.SECONDARY: 7548, Port.PROBE: 7549}
            self._bindings[port] = (Address("192.168.1.2", inside[port]), self.now)
        elif port in self._bindings and self._alive(self._bindings[port][1]):
            self._bindings[port] = (self._bindings[port][0], self.now)
        else:
            self._bindings[port] = (Address(PUBLIC, next(self._ports)), self.now)
        return self._bindings[port][0]

    def _inside(self, outside: Address) -> Port | None:
        for port, (address, since) in self._bindings.items():
            if address == outside and self._alive(since):
                return port
        return None


@pytest.fixture
def world() -> World:
    """A fresh line."""
    return World()
