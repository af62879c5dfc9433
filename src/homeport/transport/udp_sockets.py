"""Small things that every UDP driver here needs: timers that tests can replace, a datagram socket, local addresses."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

from homeport.errors import TransportError
from homeport.transport.addresses import Address, address_of


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """Takes it back; safe more than once."""
        ...


class Timers(Protocol):
    """The part of an event loop that knows time; tests put a virtual one in its place."""

    def time(self) -> float:
        """Seconds, monotonic."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Calls back at that time."""
        ...


class UdpSocket(asyncio.DatagramProtocol):
    """One bound socket; gives each datagram to `receive(datagram, source)`.

    A receiver's mistake is the driver's to handle; errors that the network reports for datagrams already sent say nothing we need.
    """

    def __init__(self, receive: Callable[[bytes, Address], None]) -> None:
        self._receive = receive
        self._transport: asyncio.DatagramTransport | None = None
        self._mapped_ipv4 = False
        self.local = Address("", 0)

    async def open(self, host: str, port: int) -> Address:
        """The address that was bound. port: 0 for any free one. Raises TransportError where it is taken or not ours."""
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        except OSError as e:
            raise TransportError(f"cannot listen on UDP {host}:{port}: {e.strerror or e}", kind="refused") from e
        self._transport = transport
        name = transport.get_extra_info("sockname")
        self._mapped_ipv4 = len(name) == 4
        self.local = address_of(name)
        return self.local

    @property
    def family(self) -> socket.AddressFamily:
        """Of the addresses that this socket can send to."""
        return socket.AF_INET6 if self._mapped_ipv4 else socket.AF_INET

    def send(self, datagram: bytes, to: Address) -> None:
        """Sends, or drops when the socket is closed or the system refuses: UDP promises nothing."""
        if self._transport is None or self._transport.is_closing():
            return
        host = to.host
        if self._mapped_ipv4 and ":" not in host:
            host = f"::ffff:{host}"
        try:
            self._transport.sendto(datagram, (host, to.port))
        except (OSError, ValueError):
            pass  # no route, or a host name in place of an address: as good as lost on the way

    def close(self) -> None:
        """Closes the socket; safe more than once."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._receive(data, address_of(addr))

    def error_received(self, exc: Exception) -> None:
        pass  # an ICMP error about an earlier datagram; the timetable of repetitions covers it


async def resolve(host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> Address:
    """The first address of a host. Raises TransportError (dns) where it has none."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as e:
        raise TransportError(f"cannot find an address for {host}: {e}", kind="dns") from e
    if not found:
        raise TransportError(f"cannot find an address for {host}", kind="dns")
    return address_of(found[0][4])


def local_address_towards(bound: Address, peer: Address) -> Address:
    """The address that the peer would see if nothing on the way changed it.

    bound: of our socket; where it is bound to all addresses, the system's routing says which one is used. Sends nothing.
    """
    if bound.host not in ("0.0.0.0", "::"):
        return bound
    family = socket.AF_INET6 if ":" in peer.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer.host, peer.port or 9))
        except OSError:
            return bound  # no route: nothing better is known
        return Address(address_of(probe.getsockname()).host, bound.port)
