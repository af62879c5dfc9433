"""Asking a DHCP server for options without being a DHCP client: DHCPINFORM over IPv4, Information-request over IPv6.

The host keeps the address that it has, whoever gave it. The answer comes to port 68 (546), which an ordinary user may not open: the error
then says what to do. Source: RFC 2131 3.4, RFC 8415 18.2.6.
"""

import asyncio
import ipaddress
import secrets
import socket
import struct
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from homeport.errors import RemoteProtocolError, TransportError
from homeport.transport.dhcp_packets import (
    Reply,
    decode_reply,
    decode_reply6,
    encode_inform,
    encode_information_request,
)

SERVER_PORT, CLIENT_PORT = 67, 68
SERVER_PORT6, CLIENT_PORT6 = 547, 546
ALL_SERVERS6: Final = "ff02::1:2"

WAITS: Final = (1.0, 2.0, 2.0)
"""Seconds to wait after each of the three times that a question is sent."""

_IFF_UP, _IFF_LOOPBACK, _IFF_POINTTOPOINT = 0x1, 0x8, 0x10
_SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFHWADDR = 0x8913, 0x8915, 0x8927
_ETHERNET: Final = 1
_IP_PKTINFO: Final = 8
"""Linux's; the socket module of Python 3.11 does not name it."""


class Interface(NamedTuple):
    """A network interface that can ask. number: the kernel's. mac: 6 bytes.

    ipv4: its first address, link_local: its fe80 address; "" where it has none.
    """

    name: str
    number: int
    mac: bytes
    ipv4: str = ""
    link_local: str = ""


class Ends(NamedTuple):
    """Where a question goes and where its answer is awaited; the standard's places unless a test has others."""

    server: str = "255.255.255.255"
    server_port: int = SERVER_PORT
    client_port: int = CLIENT_PORT


STANDARD_ENDS: Final = Ends()
STANDARD_ENDS6: Final = Ends(ALL_SERVERS6, SERVER_PORT6, CLIENT_PORT6)


def interfaces(names: Collection[str] = ()) -> list[Interface]:
    """The Ethernet-like interfaces of this machine that are up and have an address. names: only these, () for all."""
    link_locals = _link_locals()
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for index, name in socket.if_nameindex():
            if names and name not in names:
                continue
            flags = struct.unpack_from("H", _ioctl(probe, name, _SIOCGIFFLAGS), 16)[0]
            if not flags & _IFF_UP or flags & (_IFF_LOOPBACK | _IFF_POINTTOPOINT):
                continue
            hardware = _ioctl(probe, name, _SIOCGIFHWADDR)
            if struct.unpack_from("H", hardware, 16)[0] != _ETHERNET:
                continue
            address = _ioctl(probe, name, _SIOCGIFADDR)[20:24]
            ipv4 = str(ipaddress.IPv4Address(address)) if any(address) else ""
            link_local = link_locals.get(name, "")
            if ipv4 or link_local:
                found.append(Interface(name, index, hardware[18:24], ipv4, link_local))
    return found


async def ask_options(
    interface: Interface,
    *,
    requested: Collection[int],
    vendor_class: bytes,
    others: Mapping[int, bytes] | None = None,
    enough: Callable[[Reply], bool] = lambda reply: True,
    waits: Collection[float] = WAITS,
    ends: Ends = STANDARD_ENDS,
) -> Reply | None:
    """What a DHCP server answers to a DHCPINFORM on this interface; None where none answers.

    enough: whether an answer settles it; where several servers answer, a later one may be the better, and the first counts otherwise.
    Raises TransportError where the port cannot be opened or the network not be used; its sentence says what to do.
    """
    xid = secrets.randbits(32)
    packet = encode_inform(
        address=interface.ipv4,
        mac=interface.mac,
        xid=xid,
        requested=requested,
        vendor_class=vendor_class,
        others=others or {},
    )
    with _socket(socket.AF_INET, (interface.ipv4, ends.client_port), f"IPv4 on {interface.name}") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        # The interface goes with each packet: a broadcast has no route of its own, and binding to a device wants a privilege.
        way = struct.pack("I", interface.number) + socket.inet_aton(interface.ipv4) + bytes(4)

        def send(elapsed: float) -> None:
            control = [] if not interface.number else [(socket.IPPROTO_IP, _IP_PKTINFO, way)]
            sock.sendmsg([packet], control, 0, (ends.server, ends.server_port))

        return await _ask(
            sock, send, lambda data: decode_reply(data, xid=xid, mac=interface.mac), enough, waits, interface.name
        )


async def ask_options6(
    interface: Interface,
    *,
    requested: Collection[int],
    vendor_class: bytes,
    enough: Callable[[Reply], bool] = lambda reply: True,
    waits: Collection[float] = WAITS,
    ends: Ends = STANDARD_ENDS6,
) -> Reply | None:
    """What a DHCPv6 server answers to an Information-request on this interface; vendor_class: content of option 16. Else `ask_options`."""
    xid = secrets.randbits(24)
    here = (interface.link_local, ends.client_port, 0, interface.number)
    with _socket(socket.AF_INET6, here, f"IPv6 on {interface.name}") as sock:

        def send(elapsed: float) -> None:
            packet = encode_information_request(
                mac=interface.mac, xid=xid, requested=requested, vendor_class=vendor_class, elapsed=elapsed
            )
            sock.sendto(packet, (ends.server, ends.server_port, 0, interface.number))

        return await _ask(sock, send, lambda data: decode_reply6(data, xid=xid), enough, waits, interface.name)


async def _ask(
    sock: socket.socket,
    send: Callable[[float], None],
    decode: Callable[[bytes], Reply],
    enough: Callable[[Reply], bool],
    waits: Collection[float],
    where: str,
) -> Reply | None:
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    replies: list[Reply] = []

    def readable() -> None:
        try:
            reply = decode(sock.recv(65535))
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, RemoteProtocolError):
            return  # somebody else's datagram, or an ICMP error for an earlier question: the next try tells
        replies.append(reply)
        news.set()

    loop.add_reader(sock, readable)
    started = loop.time()
    try:
        for wait in waits:
            try:
                send(loop.time() - started)
            except OSError as e:
                raise TransportError(
                    f"{where} cannot be asked by DHCP: {e.strerror or e}; check that it is up and has an address",
                    kind="refused",
                ) from e
            try:
                async with asyncio.timeout(wait):
                    while not any(enough(reply) for reply in replies):
                        news.clear()
                        await news.wait()
            except TimeoutError:
                if replies:
                    return replies[0]
                continue
            return next(reply for reply in replies if enough(reply))
    finally:
        loop.remove_reader(sock)
    return None


def _socket(family: int, address: tuple[object, ...], where: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        # The machine's DHCP client may have the port open too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except PermissionError as e:
        sock.close()
        raise TransportError(
            f"asking DHCP over {where} needs port {address[1]}, which an ordinary user may not open; give the program "
            "CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or let the DHCP client hand its leases over "
            "(homeport cpe hook list)",
            kind="refused",
        ) from e
    except OSError as e:
        sock.close()
        raise TransportError(
            f"asking DHCP over {where} needs port {address[1]}: {e.strerror or e}; another program may hold it; let the DHCP client "
            "hand its leases over (homeport cpe hook list)",
            kind="refused",
        ) from e
    return sock


def _ioctl(probe: socket.socket, name: str, request: int) -> bytes:
    """The 40 bytes of `struct ifreq` that the kernel gives back; zeros where the interface has no such thing."""
    import fcntl

    try:
        return fcntl.ioctl(probe.fileno(), request, struct.pack("16s24x", name.encode()[:15]))
    except OSError:
        return bytes(40)


def _link_locals() -> dict[str, str]:
    """Interface name -> its link-local IPv6 address, of those that are ready for use."""
    try:
        text = Path("/proc/net/if_inet6").read_text(encoding="ascii")
    except OSError:
        return {}  # no IPv6 in this kernel
    found = {}
    for line in text.splitlines():
        digits, _, _, scope, flags, name = line.split()
        # Scope 20 is the link; flag 40 is an address that is still being checked for duplicates.
        if scope == "20" and not int(flags, 16) & 0x40:
            found[name] = str(ipaddress.IPv6Address(bytes.fromhex(digits)))
    return found
