"""One STUN request on its way: sent, repeated and given up by RFC 3489's timetable. No sockets, no clock.

Also here: what the machines around it hand to their driver.
Source: RFC 3489 section 9.3.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from homeport.transport.addresses import Address
from homeport.transport.stun_messages import StunMessage, encode

TRIES: Final = 9
"""How often one request is sent in all."""

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 1.6
"""Seconds between two tries: the first wait, doubled each time up to the longest; the longest also follows the last try."""


class Port(Enum):
    """The device's UDP ports: the one for connection requests, and two for finding out how long a binding lives."""

    PRIMARY = "primary"
    SECONDARY = "secondary"  # its binding is left alone until it is tested
    PROBE = "probe"  # asks the server to answer to the secondary port


@dataclass(frozen=True, slots=True)
class SendDatagram:
    """To be sent now, from the named port."""

    port: Port
    datagram: bytes
    to: Address


@dataclass(slots=True)
class Exchange:
    """A request under way.

    started: when it was first sent, seconds, monotonic. sent: tries so far. deadline: when to send again, or to give up.
    """

    port: Port
    request: StunMessage
    datagram: bytes
    to: Address
    started: float
    sent: int = 0
    deadline: float = 0.0
    _wait: float = field(default=FIRST_WAIT)

    @classmethod
    def begin(
        cls, request: StunMessage, *, port: Port, to: Address, now: float, key: bytes | None = None
    ) -> "tuple[Exchange, SendDatagram]":
        """The exchange and its first datagram. key: signs the request where given."""
        exchange = cls(port, request, encode(request, key=key), to, now, deadline=now)
        send = exchange.due(now)
        assert send is not None
        return exchange, send

    def due(self, now: float) -> SendDatagram | None:
        """The next copy to send once the deadline has passed; None when all tries are spent and the server stays silent."""
        if self.sent >= TRIES:
            return None
        self.sent += 1
        self.deadline = max(self.deadline, now) + (LONGEST_WAIT if self.sent == TRIES else self._wait)
        self._wait = min(LONGEST_WAIT, self._wait * 2)
        return SendDatagram(self.port, self.datagram, self.to)
