"""The UDP side of the ACS: a STUN server that keeps devices reachable behind NAT, and connection requests from the same port.

One socket for both, because many NATs let in only what comes from the address that the device itself has sent to.
Source: TR-069a6 Annex G.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from homeport.transport import udp_connection_request
from homeport.transport.addresses import Address
from homeport.transport.stun_server import StunServer
from homeport.transport.udp_sockets import UdpSocket, local_address_towards

COPIES: Final = (0.0, 0.5, 1.5)
"""Seconds after which the same request is sent: nothing tells whether a datagram arrived, and a device ignores copies."""

MOST_REMEMBERED: Final = 10_000


class UdpCalls:
    """The STUN server and the sender of UDP connection requests. clock: seconds since 1970."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.address = Address("", 0)
        self.carry: Callable[[bytes, Address], None] = lambda datagram, to: None
        """Has other processes send the same datagram."""
        self._clock = clock
        self._stun = StunServer()
        self._socket = UdpSocket(self._received)
        self._last: dict[str, int] = {}
        self._id = secrets.randbits(24)
        self._timers: set[asyncio.TimerHandle] = set()
        self._open = False

    async def start(self, host: str, port: int) -> None:
        """Bind. Raises TransportError."""
        self.address = await self._socket.open(host, port)
        self._open = True

    def stop(self) -> None:
        """Close; copies that wait are not sent."""
        for timer in self._timers:
            timer.cancel()
        if self._open:
            self._open = False
            self._socket.close()

    def call(self, device: str, to: Address, username: str, password: str) -> None:
        """Send a connection request. Raises LocalProtocolError where there is no password to sign it with."""
        stamp = udp_connection_request.next_timestamp(self._last.get(device), self._clock())
        self._id = (self._id + 1) & 0x7FFFFFFF
        datagram = udp_connection_request.encode(
            to, timestamp=stamp, message_id=self._id, username=username, cnonce=secrets.token_hex(8), password=password
        )
        self._last.pop(device, None)
        while len(self._last) >= MOST_REMEMBERED:
            self._last.pop(next(iter(self._last)))
        self._last[device] = stamp
        self._send_everywhere(datagram, to)
        loop = asyncio.get_running_loop()
        self._timers = {t for t in self._timers if not t.cancelled() and t.when() > loop.time()}
        for wait in COPIES[1:]:
            self._timers.add(loop.call_later(wait, self._send_everywhere, datagram, to))

    def _send_everywhere(self, datagram: bytes, to: Address) -> None:
        self.send(datagram, to)
        self.carry(datagram, to)

    def send(self, datagram: bytes, to: Address) -> None:
        """Send from here, where the port is ours: of several workers only the first one has it."""
        if self._open:
            self._socket.send(datagram, to)

    def _received(self, datagram: bytes, source: Address) -> None:
        question = self._stun.examine(datagram, source=source, now=asyncio.get_running_loop().time())
        if question is None:
            return
        # The ACS keeps no STUN passwords, so it signs nothing and believes nothing: where a device can be reached is what its own
        # Inform says (UDPConnectionRequestAddress).
        reply = self._stun.answer(question, local=local_address_towards(self.address, source))
        self._socket.send(reply.datagram, reply.to)
