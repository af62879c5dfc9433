"""How long the NAT keeps an idle UDP binding: a search on two ports of its own, without sockets or clock.

A test pins a binding by one request from the secondary port, leaves it alone for the time in question, and then asks the server from
a third port to answer to the pinned address. An answer on the secondary port means that the binding still lives. The primary port
is never the one under test, so a connection request gets through all the while. What is certain grows by doubling; the first
failure turns doubling into halving the gap.
Source: RFC 3489 section 10.2; TR-069a6 Annex G.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

from homeport.transport.addresses import Address
from homeport.transport.stun_exchange import Exchange, Port, SendDatagram
from homeport.transport.stun_messages import TRANSACTION_ID_LENGTH, MessageType, StunMessage

_RESOLUTION: Final = 0.1
"""Search ends when the gap is at most this part of what is certain: keep-alives then come at most a tenth too often."""


class SearchState(Enum):
    """What the search is doing, or how it ended."""

    PINNING = "pinning"
    WAITING = "waiting"
    PROBING = "probing"
    FOUND = "found"
    UNSUPPORTED = "unsupported"  # the server does not answer to another port: the minimum period must do
    SERVER_SILENT = "server silent"  # nothing can be said; worth trying again later

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (SearchState.FOUND, SearchState.UNSUPPORTED, SearchState.SERVER_SILENT)


class LifetimeSearch:
    """Finds the longest period at which keep-alives still keep a binding.

    low: seconds that count as certain from the start (the configured minimum). high: seconds beyond which there is no need to look.
    good: the longest time, of low and those tested, that a binding lived.
    """

    def __init__(self, *, low: float, high: float, server: Address, random_bytes: Callable[[int], bytes]) -> None:
        self.good = low
        self.state = SearchState.PINNING if high > low else SearchState.FOUND
        self._bad: float | None = None
        self._high = high
        self._server = server
        self._random_bytes = random_bytes
        self._exchange: Exchange | None = None
        self._pinned: Address | None = None
        self._testing = 0.0
        self._wake = 0.0

    def start(self, now: float) -> list[SendDatagram]:
        """The first datagram of the search."""
        return [] if self.state.ended else self._pin(now)

    def next_deadline(self) -> float | None:
        """When `deadline_passed` is to be called, on the clock of `now`; None when the search has ended."""
        if self._exchange is not None:
            return self._exchange.deadline
        return self._wake if self.state is SearchState.WAITING else None

    def deadline_passed(self, now: float) -> list[SendDatagram]:
        """What is to be sent now that a deadline passed; nothing where none did."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return []
        if self.state is SearchState.WAITING:
            return self._probe(now)
        assert self._exchange is not None
        again = self._exchange.due(now)
        if again is not None:
            return [again]
        self._exchange = None
        if self.state is SearchState.PINNING:
            self.state = SearchState.SERVER_SILENT
            return []
        # Silence after a probe: the binding is gone, or the server. The next pinning tells which.
        self._bad = self._testing
        return self._next(now)

    def receive(self, message: StunMessage, port: Port, now: float) -> list[SendDatagram]:
        """What is to be sent after the server's message on one of the search's ports."""
        exchange = self._exchange
        if exchange is None or message.transaction_id != exchange.request.transaction_id:
            return []
        if message.type is MessageType.BINDING_ERROR:
            # A server that wants credentials here, or does not know RESPONSE-ADDRESS.
            return self._end(SearchState.UNSUPPORTED)
        if message.type is not MessageType.BINDING_RESPONSE:
            return []
        if self.state is SearchState.PINNING and port is Port.SECONDARY and message.mapped_address is not None:
            self._exchange = None
            self._pinned = message.mapped_address
            self._wake = now + self._testing
            self.state = SearchState.WAITING
            return []
        if self.state is SearchState.PROBING:
            if port is not Port.SECONDARY:
                return self._end(SearchState.UNSUPPORTED)
            self._exchange = None
            self.good = self._testing
            return self._next(now)
        return []

    def _next(self, now: float) -> list[SendDatagram]:
        if self._bad is None:
            done = self.good >= self._high
        else:
            done = self._bad - self.good <= max(1.0, self.good * _RESOLUTION)
        return self._end(SearchState.FOUND) if done else self._pin(now)

    def _end(self, state: SearchState) -> list[SendDatagram]:
        self.state = state
        self._exchange = None
        return []

    def _pin(self, now: float) -> list[SendDatagram]:
        self._testing = min(self._high, self.good * 2) if self._bad is None else (self.good + self._bad) / 2
        self.state = SearchState.PINNING
        return self._begin(Port.SECONDARY, now, response_address=None)

    def _probe(self, now: float) -> list[SendDatagram]:
        self.state = SearchState.PROBING
        return self._begin(Port.PROBE, now, response_address=self._pinned)

    def _begin(self, port: Port, now: float, *, response_address: Address | None) -> list[SendDatagram]:
        # No USERNAME here: a server could take these ports for the one that connection requests go to.
        request = StunMessage(
            MessageType.BINDING_REQUEST,
            self._random_bytes(TRANSACTION_ID_LENGTH),
            response_address=response_address,
        )
        self._exchange, send = Exchange.begin(request, port=port, to=self._server, now=now)
        return [send]
