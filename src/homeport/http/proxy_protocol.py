"""The PROXY protocol, versions 1 and 2: what a load balancer that passes connections on says of them before their first byte.

Only reads; whose word counts, and how long to wait for it, is the listener's business.
Source: haproxy.org, doc/proxy-protocol.txt (2.1 text form, 2.2 binary form).
"""

import struct
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from homeport.errors import RemoteProtocolError

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_LINE: Final = 107
"""Bytes of a text header with its end, the most that its definition allows."""

LONGEST: Final = 2_048
"""Bytes of a binary header. Addresses take 52 at most (232 for Unix sockets); load balancers write some hundred bytes more."""

_WORD: Final = b"PROXY "
_FIXED: Final = 16
_LOCAL, _PROXY = 0, 1
_STREAM: Final = 1
_UNSPECIFIED: Final = 0x00
_ADDRESSES: Final = {1: 12, 2: 36, 3: 216}
"""Bytes of the addresses by their family: IPv4, IPv6, Unix."""

_CRC32C, _TLS, _CLIENT_TLS = 0x03, 0x20, 0x01


class Origin(NamedTuple):
    """Where a connection came from before the load balancer.

    host, port: "" and 0 where the load balancer speaks for itself (a health check) or does not know. secure: it took TLS off.
    """

    host: str = ""
    port: int = 0
    secure: bool = False


class BadHeader(RemoteProtocolError):
    """What came is no PROXY header, or one that must not be."""


def resembles(data: bytes) -> bool:
    """Whether data begins like a PROXY header. No HTTP request and no TLS connection begins so."""
    return data.startswith((_WORD, SIGNATURE))


class HeaderReader:
    """Reads one header, however it is cut. `origin` is known once `done`."""

    __slots__ = ("_read", "done", "origin")

    def __init__(self) -> None:
        self._read = b""
        self.done = False
        self.origin = Origin()

    @property
    def begun(self) -> bool:
        """Whether there was anything yet."""
        return bool(self._read)

    def take(self, data: bytes) -> int:
        """How many bytes of data belong to the header: all of them as long as it is not done. Raises BadHeader.

        data: what follows what was taken before.
        """
        read = self._read + data
        if read[: len(SIGNATURE)] == SIGNATURE[: len(read)]:
            end = self._binary(read)
        elif read[: len(_WORD)] == _WORD[: len(read)]:
            end = self._text(read)
        else:
            raise BadHeader("no PROXY header")
        if not end:
            self._read = read
            return len(data)
        self.done = True
        return end - len(self._read)

    def _text(self, read: bytes) -> int:
        """Where the header ends; 0 while its end is not there."""
        end = read.find(b"\n", 0, LONGEST_LINE) + 1
        if not end:
            if len(read) >= LONGEST_LINE:
                raise BadHeader(f"a PROXY header of more than {LONGEST_LINE} bytes")
            return 0
        line = read[:end]
        words = line[:-2].decode("latin-1").split(" ")
        if not line.endswith(b"\r\n"):
            raise BadHeader("a PROXY header whose line does not end with CR LF")
        if words[1] == "UNKNOWN":
            return end
        if words[1] not in ("TCP4", "TCP6") or len(words) != 6:
            raise BadHeader("a PROXY header of another form than `PROXY TCP4 source destination port port`")
        version = 4 if words[1] == "TCP4" else 6
        source, _ = _address(words[2], version), _address(words[3], version)
        port, _ = _port(words[4]), _port(words[5])
        self.origin = Origin(source, port)
        return end

    def _binary(self, read: bytes) -> int:
        """Where the header ends; 0 while its end is not there."""
        if len(read) < _FIXED:
            return 0
        kind, family = read[12], read[13]
        length = int.from_bytes(read[14:16], "big")
        if kind >> 4 != 2:
            raise BadHeader(f"a PROXY header of version {kind >> 4}")
        command = kind & 15
        if command not in (_LOCAL, _PROXY):
            raise BadHeader(f"a PROXY header with the unknown command {command}")
        end = _FIXED + length
        if end > LONGEST:
            raise BadHeader(f"a PROXY header of more than {LONGEST} bytes")
        if len(read) < end:
            return 0
        size = 0
        if command == _PROXY and family != _UNSPECIFIED:
            if family & 15 != _STREAM or family >> 4 not in _ADDRESSES:
                raise BadHeader(f"a PROXY header for the address family and protocol 0x{family:02x}, which is no TCP")
            size = _ADDRESSES[family >> 4]
            if length < size:
                raise BadHeader("a PROXY header that is too short for its addresses")
        if command == _PROXY:
            secure = _notes(read[:end], _FIXED + size)
            self.origin = _origin(read, family >> 4)._replace(secure=secure)
        return end


def _origin(read: bytes, family: int) -> Origin:
    if family not in (1, 2):
        return Origin()
    wide = 4 if family == 1 else 16
    source = ip_address(read[_FIXED : _FIXED + wide])
    (port,) = struct.unpack_from("!H", read, _FIXED + 2 * wide)
    return Origin(_plain(source), port)


def _notes(header: bytes, at: int) -> bool:
    """Whether the notes behind the addresses tell of TLS; a checksum among them is checked. Raises BadHeader."""
    secure = False
    while at < len(header):
        if at + 3 > len(header):
            raise BadHeader("a PROXY header with a note that is cut off")
        kind, length = struct.unpack_from("!BH", header, at)
        value = header[at + 3 : at + 3 + length]
        if len(value) != length:
            raise BadHeader("a PROXY header with a note that is cut off")
        if kind == _CRC32C:
            clean = header[: at + 3] + b"\0\0\0\0" + header[at + 7 :]
            if length != 4 or int.from_bytes(value, "big") != crc32c(clean):
                raise BadHeader("a PROXY header with a wrong checksum")
        elif kind == _TLS:
            if length < 5:
                raise BadHeader("a PROXY header with a note on TLS that is cut off")
            secure = bool(value[0] & _CLIENT_TLS)
        at += 3 + length
    return secure


def _address(text: str, version: int) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        raise BadHeader("a PROXY header with an address that is none") from None
    if address.version != version or "%" in text:
        raise BadHeader("a PROXY header with an address of the other family")
    return _plain(address)


def _plain(address: object) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65_536):
        raise BadHeader("a PROXY header with a port that is none")
    return int(text)


def _table() -> tuple[int, ...]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = row >> 1 ^ (0x82F63B78 if row & 1 else 0)
        rows.append(row)
    return tuple(rows)


_ROWS: Final = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C of data, 0 to 2**32 - 1. Source: RFC 3720 12.1 and B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _ROWS[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
