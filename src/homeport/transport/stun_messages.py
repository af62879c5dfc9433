"""STUN datagrams as RFC 3489 has them, with the two attributes that TR-069 adds: bytes <-> StunMessage, and signatures.

No sockets, no clock. Later STUN (RFC 5389) is read where a server insists on it (XOR-MAPPED-ADDRESS), never written.
Source: RFC 3489 section 11; TR-069a6 Annex G.
"""

import hashlib
import hmac
import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from homeport.errors import LocalProtocolError, MessageRefused
from homeport.transport.addresses import Address, is_ip

HEADER_LENGTH: Final = 20
TRANSACTION_ID_LENGTH: Final = 16
INTEGRITY_LENGTH: Final = 20
LARGEST_DATAGRAM: Final = 1500
"""Bytes; a STUN message fits one Ethernet frame."""

CONNECTION_REQUEST_BINDING_TEXT: Final = b"dslforum.org/TR-111 "
"""What the attribute CONNECTION-REQUEST-BINDING carries, the space at the end included."""

_MAGIC_COOKIE: Final = b"\x21\x12\xa4\x42"  # RFC 5389; what XOR-MAPPED-ADDRESS is mixed with
_LONGEST_TEXT: Final = 512  # bytes of USERNAME; RFC 5389 allows 513, the data model 256 characters


class MessageType(IntEnum):
    """The message types of RFC 3489; shared secrets are obtained over TLS, which Annex G does not use."""

    BINDING_REQUEST = 0x0001
    BINDING_RESPONSE = 0x0101
    BINDING_ERROR = 0x0111
    SHARED_SECRET_REQUEST = 0x0002
    SHARED_SECRET_RESPONSE = 0x0102
    SHARED_SECRET_ERROR = 0x0112


class Attribute(IntEnum):
    """Attribute types; those from 0x8000 up may be ignored by a reader that does not know them."""

    MAPPED_ADDRESS = 0x0001
    RESPONSE_ADDRESS = 0x0002
    CHANGE_REQUEST = 0x0003
    SOURCE_ADDRESS = 0x0004
    CHANGED_ADDRESS = 0x0005
    USERNAME = 0x0006
    PASSWORD = 0x0007
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    REFLECTED_FROM = 0x000B
    XOR_MAPPED_ADDRESS = 0x0020
    CONNECTION_REQUEST_BINDING = 0xC001
    BINDING_CHANGE = 0xC002


class StunErrorCode(IntEnum):
    """The error codes of RFC 3489."""

    BAD_REQUEST = 400
    UNAUTHORIZED = 401
    UNKNOWN_ATTRIBUTE = 420
    STALE_CREDENTIALS = 430
    INTEGRITY_CHECK_FAILURE = 431
    MISSING_USERNAME = 432
    USE_TLS = 433
    SERVER_ERROR = 500
    GLOBAL_FAILURE = 600

    @property
    def text(self) -> str:
        """A short reason phrase, in our own words; short also because an answer must not be much longer than its question."""
        return _ERROR_TEXT[self]


_ERROR_TEXT: Final[dict[int, str]] = {
    400: "Bad request",
    401: "Unauthorized",
    420: "Unknown",
    430: "Stale",
    431: "Integrity",
    432: "Username",
    433: "Use TLS",
    500: "Server error",
    600: "Failure",
}


@dataclass(frozen=True, slots=True)
class StunMessage:
    """One STUN message.

    transaction_id: 16 bytes. username: without the spaces it is padded with. error: code and reason of a BINDING_ERROR.
    change_request: the flags word; 0x4 asks for another address, 0x2 for another port.
    unknown_attributes: what the peer says that it did not know. not_understood: mandatory attributes here that we do not know.
    integrity: the 20 bytes of MESSAGE-INTEGRITY as read; check with `integrity_matches`, write by `encode(key=...)`.
    """

    type: MessageType
    transaction_id: bytes
    mapped_address: Address | None = None
    response_address: Address | None = None
    change_request: int | None = None
    source_address: Address | None = None
    changed_address: Address | None = None
    username: str | None = None
    error: tuple[int, str] | None = None
    unknown_attributes: tuple[int, ...] = ()
    reflected_from: Address | None = None
    connection_request_binding: bool = False
    binding_change: bool = False
    integrity: bytes | None = None
    not_understood: tuple[int, ...] = ()


def looks_like_stun(datagram: bytes) -> bool:
    """Whether a datagram on a shared port is STUN's: its first byte is 0 or 1, where a connection request begins with text."""
    return len(datagram) >= HEADER_LENGTH and datagram[0] in (0, 1)


# --- writing ------------------------------------------------------------------------------------------------------------------


def encode(message: StunMessage, *, key: bytes | None = None) -> bytes:
    """The datagram of a message; signed with MESSAGE-INTEGRITY as its last attribute where a key is given.

    key: the password's bytes. Raises LocalProtocolError for what the format cannot carry.
    """
    if len(message.transaction_id) != TRANSACTION_ID_LENGTH:
        raise LocalProtocolError(f"a STUN transaction id has 16 bytes, not {len(message.transaction_id)}")
    parts: list[bytes] = []
    for kind, address in (
        (Attribute.MAPPED_ADDRESS, message.mapped_address),
        (Attribute.RESPONSE_ADDRESS, message.response_address),
        (Attribute.SOURCE_ADDRESS, message.source_address),
        (Attribute.CHANGED_ADDRESS, message.changed_address),
        (Attribute.REFLECTED_FROM, message.reflected_from),
    ):
        if address is not None:
            parts.append(_attribute(kind, _address_bytes(address)))
    if message.change_request is not None:
        parts.append(_attribute(Attribute.CHANGE_REQUEST, struct.pack("!I", message.change_request)))
    if message.error is not None:
        code, reason = message.error
        if not 100 <= code <= 699:
            raise LocalProtocolError(f"{code} is not a STUN error code; they run from 100 to 699")
        head = struct.pack("!HBB", 0, code // 100, code % 100)
        parts.append(_attribute(Attribute.ERROR_CODE, head + _padded(reason.encode())))
    if message.unknown_attributes:
        kinds = list(message.unknown_attributes)
        if len(kinds) % 2:
            kinds.append(kinds[-1])  # RFC 3489 11.2.10: an odd list repeats one of its own
        parts.append(_attribute(Attribute.UNKNOWN_ATTRIBUTES, struct.pack(f"!{len(kinds)}H", *kinds)))
    if message.username is not None:
        name = message.username.encode()
        if len(name) > _LONGEST_TEXT:
            raise LocalProtocolError(f"a STUN user name has at most {_LONGEST_TEXT} bytes, not {len(name)}")
        parts.append(_attribute(Attribute.USERNAME, _padded(name)))
    if message.connection_request_binding:
        parts.append(_attribute(Attribute.CONNECTION_REQUEST_BINDING, CONNECTION_REQUEST_BINDING_TEXT))
    if message.binding_change:
        parts.append(_attribute(Attribute.BINDING_CHANGE, b""))
    content = b"".join(parts)
    length = len(content) + (4 + INTEGRITY_LENGTH if key is not None else 0)
    text = struct.pack("!HH", message.type, length) + message.transaction_id + content
    if key is not None:
        text += _attribute(Attribute.MESSAGE_INTEGRITY, integrity(text, key))
    return text


def integrity(text: bytes, key: bytes) -> bytes:
    """The 20 bytes that sign a message: HMAC-SHA1 over all that comes before the attribute, filled up with zeros to 64 bytes.

    text: from the header on, whose length already counts the signature. Source: RFC 3489 11.2.8.
    """
    return hmac.new(key, text + b"\0" * (-len(text) % 64), hashlib.sha1).digest()


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value


def _padded(text: bytes) -> bytes:
    """A text filled up with spaces to a multiple of four bytes: classic STUN has no padding outside an attribute's length."""
    return text + b" " * (-len(text) % 4)


def _address_bytes(address: Address) -> bytes:
    if not is_ip(address.host) or not 0 <= address.port <= 65535:
        raise LocalProtocolError(f"{address} cannot stand in a STUN message: it needs an IP address and a port")
    ip = ipaddress.ip_address(address.host)
    return struct.pack("!BBH", 0, 1 if ip.version == 4 else 2, address.port) + ip.packed


# --- reading ------------------------------------------------------------------------------------------------------------------


def decode(datagram: bytes) -> StunMessage:
    """The message in a datagram.

    Of an attribute that comes twice the first counts; what follows MESSAGE-INTEGRITY is not signed and therefore not read.
    Raises MessageRefused for anything that is not one whole STUN message.
    """
    kind, transaction_id = _header(datagram)
    values: dict[str, object] = {}
    not_understood: list[int] = []
    for attribute, value, _ in _attributes(datagram):
        reader = _READERS.get(attribute)
        if reader is None:
            if attribute < 0x8000 and attribute not in not_understood:
                not_understood.append(attribute)
        else:
            name, read = reader
            if name not in values:
                values[name] = read(value)
        if attribute == Attribute.MESSAGE_INTEGRITY:
            break
    mixed = values.pop("xor_mapped", None)
    if mixed is not None and "mapped_address" not in values:
        assert isinstance(mixed, bytes)
        values["mapped_address"] = _unmixed(mixed, transaction_id)
    values.pop("password", None)
    return StunMessage(type=kind, transaction_id=transaction_id, not_understood=tuple(not_understood), **values)  # type: ignore[arg-type]


def integrity_matches(datagram: bytes, key: bytes) -> bool:
    """Whether the datagram is signed with this key; False too where it has no signature or is no STUN message.

    Two forms count: RFC 3489's, with zeros up to 64 bytes, and RFC 5389's without them, which newer stacks write.
    """
    try:
        _header(datagram)
        for attribute, value, start in _attributes(datagram):
            if attribute == Attribute.MESSAGE_INTEGRITY:
                if len(value) != INTEGRITY_LENGTH:
                    return False
                # The length as it was when the signature was made: attributes behind it (FINGERPRINT) came later.
                length = struct.pack("!H", start - HEADER_LENGTH + 4 + INTEGRITY_LENGTH)
                text = datagram[:2] + length + datagram[4:start]
                plain = hmac.new(key, text, hashlib.sha1).digest()
                # Both are always compared, so that the time taken does not tell which form it was.
                return hmac.compare_digest(integrity(text, key), value) | hmac.compare_digest(plain, value)
    except MessageRefused:
        return False
    return False


def _header(datagram: bytes) -> tuple[MessageType, bytes]:
    if len(datagram) < HEADER_LENGTH:
        raise MessageRefused(f"{len(datagram)} bytes are too few for a STUN message; its header alone has 20")
    if len(datagram) > LARGEST_DATAGRAM:
        raise MessageRefused(
            f"{len(datagram)} bytes are too many for a STUN message; at most {LARGEST_DATAGRAM} are read"
        )
    number, length = struct.unpack_from("!HH", datagram)
    if length != len(datagram) - HEADER_LENGTH:
        raise MessageRefused(f"the STUN header announces {length} bytes, {len(datagram) - HEADER_LENGTH} follow")
    try:
        kind = MessageType(number)
    except ValueError:
        raise MessageRefused(f"0x{number:04x} is not a STUN message type") from None
    return kind, datagram[4:HEADER_LENGTH]


def _attributes(datagram: bytes) -> list[tuple[int, bytes, int]]:
    """Type, value and start of each attribute."""
    # A message whose length is no multiple of four has attributes without padding (some CPEs do not pad USERNAME).
    step = 4 if len(datagram) % 4 == 0 else 1
    result: list[tuple[int, bytes, int]] = []
    at = HEADER_LENGTH
    while at < len(datagram):
        if at + 4 > len(datagram):
            raise MessageRefused("the STUN message ends within an attribute's head")
        kind, length = struct.unpack_from("!HH", datagram, at)
        if at + 4 + length > len(datagram):
            raise MessageRefused(f"the STUN attribute 0x{kind:04x} is longer than its message")
        result.append((kind, datagram[at + 4 : at + 4 + length], at))
        at += 4 + length + (-length % step)
    return result


def _read_address(value: bytes) -> Address:
    if len(value) < 8:
        raise MessageRefused(f"a STUN address has at least 8 bytes, not {len(value)}")
    family, port = struct.unpack_from("!xBH", value)
    size = {1: 4, 2: 16}.get(family)
    if size is None or len(value) != 4 + size:
        raise MessageRefused(f"a STUN address of family {family} with {len(value)} bytes is neither IPv4 nor IPv6")
    return Address(str(ipaddress.ip_address(value[4:])), port)


def _unmixed(value: bytes, transaction_id: bytes) -> Address:
    """XOR-MAPPED-ADDRESS in clear (RFC 5389 15.2)."""
    mask = _MAGIC_COOKIE + transaction_id[4:]
    head = value[:2] + bytes(a ^ b for a, b in zip(value[2:4], mask, strict=False))
    return _read_address(head + bytes(a ^ b for a, b in zip(value[4:], mask, strict=False)))


def _read_text(value: bytes) -> str:
    if len(value) > _LONGEST_TEXT:
        raise MessageRefused(f"a STUN user name has at most {_LONGEST_TEXT} bytes, not {len(value)}")
    try:
        return value.decode().rstrip(" \0")
    except UnicodeDecodeError:
        raise MessageRefused("the STUN user name is not UTF-8") from None


def _read_error(value: bytes) -> tuple[int, str]:
    if len(value) < 4:
        raise MessageRefused(f"a STUN error has at least 4 bytes, not {len(value)}")
    hundreds, rest = value[2] & 0x07, value[3]
    if not 1 <= hundreds <= 6 or rest > 99:
        raise MessageRefused(f"class {hundreds} and number {rest} make no STUN error code")
    return hundreds * 100 + rest, value[4:260].decode(errors="replace").rstrip(" \0")


def _read_kinds(value: bytes) -> tuple[int, ...]:
    if len(value) % 2:
        raise MessageRefused("a list of STUN attribute types has an odd number of bytes")
    return tuple(dict.fromkeys(struct.unpack(f"!{len(value) // 2}H", value)))


def _read_flags(value: bytes) -> int:
    if len(value) != 4:
        raise MessageRefused(f"a STUN CHANGE-REQUEST has 4 bytes, not {len(value)}")
    return int.from_bytes(value, "big")


def _read_signature(value: bytes) -> bytes:
    if len(value) != INTEGRITY_LENGTH:
        raise MessageRefused(f"a STUN MESSAGE-INTEGRITY has 20 bytes, not {len(value)}")
    return value


def _read_binding(value: bytes) -> bool:
    # Devices are seen without the last space, or with another filler in its place; what counts is the name.
    return value.rstrip(b" \0") == CONNECTION_REQUEST_BINDING_TEXT.rstrip()


_READERS: Final[dict[int, tuple[str, Callable[[bytes], object]]]] = {
    Attribute.MAPPED_ADDRESS: ("mapped_address", _read_address),
    Attribute.RESPONSE_ADDRESS: ("response_address", _read_address),
    Attribute.CHANGE_REQUEST: ("change_request", _read_flags),
    Attribute.SOURCE_ADDRESS: ("source_address", _read_address),
    Attribute.CHANGED_ADDRESS: ("changed_address", _read_address),
    Attribute.USERNAME: ("username", _read_text),
    Attribute.PASSWORD: ("password", bytes),
    Attribute.MESSAGE_INTEGRITY: ("integrity", _read_signature),
    Attribute.ERROR_CODE: ("error", _read_error),
    Attribute.UNKNOWN_ATTRIBUTES: ("unknown_attributes", _read_kinds),
    Attribute.REFLECTED_FROM: ("reflected_from", _read_address),
    Attribute.XOR_MAPPED_ADDRESS: ("xor_mapped", bytes),
    Attribute.CONNECTION_REQUEST_BINDING: ("connection_request_binding", _read_binding),
    Attribute.BINDING_CHANGE: ("binding_change", lambda value: True),
}
"""Attribute type -> field of StunMessage and its reader."""
