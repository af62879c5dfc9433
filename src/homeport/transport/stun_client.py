"""The device's half of STUN as TR-069 uses it: datagrams and the time in, datagrams and facts out. No sockets, no clock.

It keeps the binding of the UDP port for connection requests alive, learns the address under which the ACS reaches it, tells the STUN
server of a change at once, and searches for the longest keep-alive period in the background.
Source: TR-069a6 Annex G; RFC 3489; TR-181 2.19 ManagementServer.STUN*.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from homeport.errors import ConfigError, MessageRefused
from homeport.transport.addresses import Address
from homeport.transport.stun_exchange import Exchange, Port, SendDatagram
from homeport.transport.stun_lifetime import LifetimeSearch, SearchState
from homeport.transport.stun_messages import (
    TRANSACTION_ID_LENGTH,
    MessageType,
    StunErrorCode,
    StunMessage,
    decode,
    integrity_matches,
)

LONGEST_PERIOD: Final = 900
"""Seconds between keep-alives where the ACS sets no maximum (-1). NATs forget UDP after 30 to 300 s; a NAT that appears later is
noticed within this time."""


@dataclass(frozen=True, slots=True)
class StunSettings:
    """What the data model says about STUN, under its parameters' names.

    minimum_keep_alive_period: seconds, at least 1 counts. maximum_keep_alive_period: seconds, or -1 for no maximum; one below the
    minimum counts as the minimum. username: "" where no credentials are used; password counts only beside a username.
    """

    username: str = ""
    password: str = ""
    minimum_keep_alive_period: int = 30
    maximum_keep_alive_period: int = -1

    def __post_init__(self) -> None:
        if self.maximum_keep_alive_period < -1:
            raise ConfigError("STUNMaximumKeepAlivePeriod is -1 for no maximum, or seconds, for example 300")
        if self.minimum_keep_alive_period < 0:
            raise ConfigError("STUNMinimumKeepAlivePeriod must be 0 or more seconds, for example 30")

    @property
    def shortest(self) -> float:
        """Seconds between keep-alives until more is known."""
        return float(max(1, self.minimum_keep_alive_period))

    @property
    def longest(self) -> float:
        """Seconds between keep-alives at most."""
        most = LONGEST_PERIOD if self.maximum_keep_alive_period == -1 else self.maximum_keep_alive_period
        return max(self.shortest, float(most))


@dataclass(frozen=True, slots=True)
class BindingKnown:
    """The server answered: this is how the port is seen from outside.

    mapped: what UDPConnectionRequestAddress says. nat_detected: mapped is not the local address.
    changed: mapped is not what this event, or the state kept from before, said last.
    """

    mapped: Address
    local: Address
    nat_detected: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class BindingRefused:
    """The server answered with an error; the next keep-alive tries again."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ServerSilent:
    """No answer to any of `tries` copies of a request; the next keep-alive tries again. The name may be worth another lookup."""

    tries: int


@dataclass(frozen=True, slots=True)
class LifetimeKnown:
    """The search for the binding's lifetime ended; `period` is now the time between keep-alives, seconds."""

    period: float
    outcome: SearchState


Output = SendDatagram | BindingKnown | BindingRefused | ServerSilent | LifetimeKnown


class StunClient:
    """One device's binding with one STUN server.

    last_reported: the mapped address that the ACS was last told, as kept over a restart; None where there is none, and then the first
    answer is no change. Every method gives back what is to be done, in order.
    """

    def __init__(
        self,
        settings: StunSettings,
        *,
        server: Address,
        local: Address,
        last_reported: Address | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.settings = settings
        self.server = server
        self.local = local
        self.mapped: Address | None = None
        self.period = settings.shortest
        self._reported = last_reported
        self._told = last_reported
        self._random_bytes = random_bytes
        self._exchange: Exchange | None = None
        self._signed = False
        self._next_keep_alive: float | None = None
        self._search: LifetimeSearch | None = None
        self._search_wanted = settings.longest > settings.shortest

    @property
    def nat_detected(self) -> bool:
        """Whether the last answer showed another address than the local one; False before any answer."""
        return self.mapped is not None and self.mapped != self.local

    @property
    def searching(self) -> bool:
        """Whether the ports besides the primary one are in use."""
        return self._search is not None

    def start(self, now: float) -> list[Output]:
        """The first Binding Request. now: seconds, monotonic."""
        return self._request(now, binding_change=False)

    def server_moved(self, server: Address) -> None:
        """The server's name leads to another address: counts from the next request on."""
        if server != self.server:
            self.server = server
            self._search = None
            self._search_wanted = self.settings.longest > self.settings.shortest

    def next_deadline(self) -> float | None:
        """When `deadline_passed` is to be called; None before `start`."""
        first = self._exchange.deadline if self._exchange is not None else self._next_keep_alive
        second = self._search.next_deadline() if self._search is not None else None
        return min((d for d in (first, second) if d is not None), default=None)

    def deadline_passed(self, now: float) -> list[Output]:
        """What is due at `now`: repetitions, the next keep-alive, the next step of the search."""
        outputs: list[Output] = []
        if self._exchange is not None:
            if now >= self._exchange.deadline:
                outputs += self._repeat(self._exchange, now)
        elif self._next_keep_alive is not None and now >= self._next_keep_alive:
            outputs += self._request(now, binding_change=False)
        if self._search is not None:
            outputs += self._search.deadline_passed(now)
            outputs += self._after_search(now)
        return outputs

    def receive(self, datagram: bytes, *, source: Address, port: Port, now: float) -> list[Output]:
        """What follows from a datagram on one of our ports; nothing where it is not the server's answer to what we asked."""
        try:
            message = decode(datagram)
        except MessageRefused:
            return []
        if port is not Port.PRIMARY:
            if self._search is None or source != self.server:
                return []
            return [*self._search.receive(message, port, now), *self._after_search(now)]
        exchange = self._exchange
        if exchange is None or source != exchange.to or message.transaction_id != exchange.request.transaction_id:
            return []
        if self._signed and message.integrity is not None and not integrity_matches(datagram, self._key):
            return []  # forged on the way: as good as lost
        if message.type is MessageType.BINDING_ERROR:
            return self._refused(exchange, message, now)
        if message.type is not MessageType.BINDING_RESPONSE or message.mapped_address is None:
            return []
        return self._answered(exchange, message.mapped_address, now)

    # --- the primary port -----------------------------------------------------------------------------------------------------

    @property
    def _key(self) -> bytes:
        return self.settings.password.encode()

    def _request(self, now: float, *, binding_change: bool, signed: bool = False) -> list[Output]:
        request = StunMessage(
            MessageType.BINDING_REQUEST,
            self._random_bytes(TRANSACTION_ID_LENGTH),
            username=self.settings.username or None,
            connection_request_binding=True,
            binding_change=binding_change,
        )
        return self._begin(request, now, signed=signed)

    def _begin(self, request: StunMessage, now: float, *, signed: bool) -> list[Output]:
        self._signed = signed
        self._exchange, send = Exchange.begin(
            request, port=Port.PRIMARY, to=self.server, now=now, key=self._key if signed else None
        )
        return [send]

    def _repeat(self, exchange: Exchange, now: float) -> list[Output]:
        again = exchange.due(now)
        if again is not None:
            return [again]
        self._ended(exchange, now)
        return [ServerSilent(exchange.sent)]

    def _ended(self, exchange: Exchange, now: float) -> None:
        self._exchange = None
        # From the moment of the last request, so that equal minimum and maximum give an exact rhythm.
        self._next_keep_alive = max(now, exchange.started + self.period)

    def _refused(self, exchange: Exchange, message: StunMessage, now: float) -> list[Output]:
        code, reason = message.error or (StunErrorCode.SERVER_ERROR.value, "")
        if code == StunErrorCode.UNAUTHORIZED and self.settings.username and not self._signed:
            request = replace(exchange.request, transaction_id=self._random_bytes(TRANSACTION_ID_LENGTH))
            return self._begin(request, now, signed=True)
        self._ended(exchange, now)
        return [BindingRefused(code, reason)]

    def _answered(self, exchange: Exchange, mapped: Address, now: float) -> list[Output]:
        self._ended(exchange, now)
        self.mapped = mapped
        changed = self._told is not None and mapped != self._told
        self._told = mapped
        outputs: list[Output] = [BindingKnown(mapped, self.local, self.nat_detected, changed)]
        if exchange.request.binding_change or self._reported is None:
            # The server knows now. Where the mapping moved yet again meanwhile, the next keep-alive says so: a server that shows
            # another address each time must not make us send without pause.
            self._reported = mapped
        elif mapped != self._reported:
            outputs += self._request(now, binding_change=True)
        if changed:
            self.period = self.settings.shortest  # perhaps another NAT: what was found out no longer holds
            self._search = None
            self._search_wanted = self.settings.longest > self.settings.shortest
        if self._search_wanted and self._search is None:
            self._search_wanted = False
            self._search = LifetimeSearch(
                low=self.settings.shortest,
                high=self.settings.longest,
                server=self.server,
                random_bytes=self._random_bytes,
            )
            outputs += self._search.start(now)
        return outputs

    # --- the search -----------------------------------------------------------------------------------------------------------

    def _after_search(self, now: float) -> list[Output]:
        """Uses what the search has found so far, and puts it away when it has ended."""
        search = self._search
        if search is None:
            return []
        self.period = max(self.settings.shortest, search.good)
        if not search.state.ended:
            return []
        self._search = None
        if search.state is SearchState.SERVER_SILENT:
            self._search_wanted = True  # again after the next answer on the primary port
        return [LifetimeKnown(self.period, search.state)]
