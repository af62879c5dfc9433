"""Small things that every UDP driver here needs: timers that tests can replace, a datagram socket, local addresses."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol, cast

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
        self._closed = False
        self.local = Address("", 0)

    async def open(self, host: str, port: int) -> Address:
        """The address that was bound. port: 0 for any free one. Raises TransportError where it is taken or not ours."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
            bound = _bound(found[0][0], found[0][4])
        except (OSError, UnicodeError) as e:
            reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
            raise TransportError(f"cannot listen on UDP {host}:{port}: {reason}", kind="refused") from e
        name = bound.getsockname()
        self._mapped_ipv4 = len(name) == 4
        self.local = address_of(name)
        try:
            await loop.create_datagram_endpoint(lambda: self, sock=bound)
        except BaseException:
            # A cancelled caller: uvloop would leave the transport open, and may never finish closing the loop then.
            self.close()
            raise
        return self.local

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._closed:
            transport.close()
        else:
            self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is one by its methods only

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
        """Closes the socket for good; safe more than once, and while it is being opened."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._receive(data, address_of(addr))

    def error_received(self, exc: Exception) -> None:
        pass  # an ICMP error about an earlier datagram; the timetable of repetitions covers it


def _bound(family: int, where: tuple[Any, ...]) -> socket.socket:
    """A bound socket; one for IPv6 takes IPv4 too, whatever the system's default is. Bound here, for uvloop leaks what fails to."""
    result = socket.socket(family, socket.SOCK_DGRAM)
    try:
        result.setblocking(False)
        if family == socket.AF_INET6:
            result.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        result.bind(where)
    except OSError:
        result.close()
        raise
    return result


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
