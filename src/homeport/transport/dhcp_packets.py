"""The two DHCP messages that a host with an address asks for options with, and their answers: bytes, no sockets.

DHCPINFORM (DHCPv4) and Information-request (DHCPv6) ask for configuration without asking for an address, so they disturb no DHCP client.
What the options mean is not known here. Source: RFC 2131, RFC 2132, RFC 3396 (long options), RFC 8415.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from homeport.errors import RemoteProtocolError

INFORM: Final = 8
ACK: Final = 5
INFORMATION_REQUEST: Final = 11
REPLY: Final = 7

_COOKIE: Final = b"\x63\x82\x53\x63"
_LEAST: Final = 300
"""Bytes that BOOTP relays expect at least."""

_HEAD: Final = 236
_SNAME, _FILE = slice(44, 108), slice(108, 236)

_PAD, _OVERLOAD, _TYPE, _SERVER, _REQUESTED, _MAX_SIZE, _CLASS, _END = 0, 52, 53, 54, 55, 57, 60, 255
_V6_CLIENT_ID, _V6_SERVER_ID, _V6_REQUESTED, _V6_ELAPSED, _V6_STATUS, _V6_VENDOR_CLASS = 1, 2, 6, 8, 13, 16


class Reply(NamedTuple):
    """What a server answered. options: content by code; a code that came several times in DHCPv6 has the first content that `several`
    does not hold. several: DHCPv6 code -> all its contents. server: who it was, as it names itself, "" where it does not.
    """

    options: dict[int, bytes]
    several: dict[int, list[bytes]]
    server: str
    next_server: str = ""


def encode_inform(
    *, address: str, mac: bytes, xid: int, requested: Iterable[int], vendor_class: bytes, others: Mapping[int, bytes]
) -> bytes:
    """A DHCPINFORM. address: the host's own IPv4 address; mac: 6 bytes; xid: 32 bits. requested: codes of the parameter request list.

    vendor_class: option 60. others: further options by code.
    """
    head = bytes((1, 1, 6, 0)) + xid.to_bytes(4, "big") + bytes(4) + ipaddress.IPv4Address(address).packed
    head += bytes(12) + mac.ljust(16, b"\0") + bytes(64 + 128) + _COOKIE
    options = {
        _TYPE: bytes((INFORM,)),
        _MAX_SIZE: (1500).to_bytes(2, "big"),
        _CLASS: vendor_class,
        **others,
        _REQUESTED: bytes(requested),
    }
    body = b"".join(bytes((code, len(content))) + content for code, content in options.items())
    return (head + body + bytes((_END,))).ljust(_LEAST, b"\0")


def decode_reply(packet: bytes, *, xid: int, mac: bytes) -> Reply:
    """The DHCPACK to our DHCPINFORM. Raises RemoteProtocolError where it is none, or for somebody else."""
    if len(packet) < _HEAD + 4 or packet[0] != 2 or packet[_HEAD : _HEAD + 4] != _COOKIE:
        raise RemoteProtocolError("a datagram on the DHCP port is no DHCP answer")
    if int.from_bytes(packet[4:8], "big") != xid or packet[28 : 28 + len(mac)] != mac:
        raise RemoteProtocolError("a DHCP answer is for another host")
    options = _options(packet[_HEAD + 4 :])
    overload = options.get(_OVERLOAD, b"\0")[0] if options.get(_OVERLOAD) else 0
    for bit, area in ((1, _FILE), (2, _SNAME)):
        if overload & bit:
            for code, content in _options(packet[area]).items():
                options[code] = options.get(code, b"") + content
    if options.get(_TYPE) != bytes((ACK,)):
        raise RemoteProtocolError("a DHCP answer is no acknowledgement")
    server = options.get(_SERVER, b"")
    following = packet[20:24]
    return Reply(
        options,
        {},
        str(ipaddress.IPv4Address(server)) if len(server) == 4 else "",
        str(ipaddress.IPv4Address(following)) if any(following) else "",
    )


def encode_information_request(
    *, mac: bytes, xid: int, requested: Iterable[int], vendor_class: bytes, elapsed: float = 0.0
) -> bytes:
    """An Information-request. mac: makes the client's DUID-LL; xid: 24 bits. vendor_class: content of option 16. elapsed: seconds."""
    wanted = b"".join(code.to_bytes(2, "big") for code in requested)
    options = (
        (_V6_CLIENT_ID, b"\0\x03\0\x01" + mac),
        (_V6_REQUESTED, wanted),
        (_V6_ELAPSED, min(65535, round(elapsed * 100)).to_bytes(2, "big")),
        (_V6_VENDOR_CLASS, vendor_class),
    )
    body = b"".join(code.to_bytes(2, "big") + len(c).to_bytes(2, "big") + c for code, c in options)
    return bytes((INFORMATION_REQUEST,)) + xid.to_bytes(3, "big") + body


def decode_reply6(packet: bytes, *, xid: int) -> Reply:
    """The Reply to our Information-request. Raises RemoteProtocolError where it is none, is for another, or says that it failed."""
    if len(packet) < 4 or packet[0] != REPLY:
        raise RemoteProtocolError("a datagram on the DHCPv6 port is no answer")
    if int.from_bytes(packet[1:4], "big") != xid:
        raise RemoteProtocolError("a DHCPv6 answer is for another host")
    several: dict[int, list[bytes]] = {}
    position = 4
    while position + 4 <= len(packet):
        code = int.from_bytes(packet[position : position + 2], "big")
        length = int.from_bytes(packet[position + 2 : position + 4], "big")
        position += 4
        if position + length > len(packet):
            raise RemoteProtocolError(f"a DHCPv6 answer ends inside its option {code}")
        several.setdefault(code, []).append(packet[position : position + length])
        position += length
    status = several.get(_V6_STATUS, [b""])[0]
    if len(status) >= 2 and status[:2] != b"\0\0":
        raise RemoteProtocolError(f"the DHCPv6 server refused, status {int.from_bytes(status[:2], 'big')}")
    server = several.get(_V6_SERVER_ID, [b""])[0].hex(":")
    return Reply({code: contents[0] for code, contents in several.items()}, several, server)


def _options(data: bytes) -> dict[int, bytes]:
    """Options by code; one that came in pieces is put together (RFC 3396). What is cut off is left out."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        code = data[position]
        if code == _END:
            break
        if code == _PAD:
            position += 1
            continue
        if position + 2 > len(data) or position + 2 + data[position + 1] > len(data):
            break
        length = data[position + 1]
        found[code] = found.get(code, b"") + data[position + 2 : position + 2 + length]
        position += 2 + length
    return found
