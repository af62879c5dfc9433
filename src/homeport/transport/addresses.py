"""UDP addresses as values and as the texts that TR-069 uses for them. No sockets here.

Source: TR-181 2.19 ManagementServer.UDPConnectionRequestAddress; TR-069a6 Annex G.
"""

import ipaddress
from typing import Final, NamedTuple

from homeport.errors import RemoteProtocolError

DEFAULT_PORT: Final = 80
"""What an address without a port means (TR-181 2.19, ManagementServer.UDPConnectionRequestAddress)."""

_LONGEST: Final = 261  # a name of 253 characters, a colon and a port, with room for the brackets of IPv6


class Address(NamedTuple):
    """One end of a datagram. host: an IP literal without brackets, or a name; port: 0 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_address(self)


def address_of(peer: tuple[object, ...]) -> Address:
    """The address in what asyncio hands over: pairs for IPv4, quadruples for IPv6, mapped IPv4 as plain IPv4."""
    host, port = str(peer[0]), int(str(peer[1]))
    if ":" in host:
        mapped = ipaddress.IPv6Address(host).ipv4_mapped
        if mapped is not None:
            host = str(mapped)
    return Address(host, port)


def is_ip(host: str) -> bool:
    """Whether a host is an IP literal; names and zone indices are not."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def format_address(address: Address) -> str:
    """`host:port`, with brackets around IPv6. The port is always written, for the texts disagree on what its absence means."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, *, default_port: int = DEFAULT_PORT) -> Address:
    """The address in `host:port`, `host`, `[v6]:port`, `[v6]` or bare `v6`, as devices report it.

    Raises RemoteProtocolError where it is none of these.
    """
    text = text.strip()
    if not text or len(text) > _LONGEST:
        raise RemoteProtocolError(f"{text[:80]!r} is not an address; expected host:port")
    port_text = ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise RemoteProtocolError(f"{text!r} is not an address; IPv6 is written [address]:port")
        port_text = rest[1:]
        if rest == ":":
            raise RemoteProtocolError(f"{text!r} names no port after its colon")
        if ":" not in host or not is_ip(host):
            raise RemoteProtocolError(f"{text!r} has no IPv6 address between its brackets")
    elif text.count(":") > 1:
        host = text
        if not is_ip(host):
            raise RemoteProtocolError(f"{text!r} is not an address; IPv6 is written [address]:port")
    else:
        host, colon, port_text = text.partition(":")
        if colon and not port_text:
            raise RemoteProtocolError(f"{text!r} names no port after its colon")
        if not host or any(not (c.isalnum() or c in ".-_") or not c.isascii() for c in host):
            raise RemoteProtocolError(f"{text!r} has no host name that could be looked up")
    return Address(host, _port(port_text, text) if port_text else default_port)


def _port(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        raise RemoteProtocolError(f"{text!r} has no port from 1 to 65535")
    return int(digits)
