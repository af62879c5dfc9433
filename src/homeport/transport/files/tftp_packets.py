"""TFTP's packets, bytes <-> values. Pure. Source: RFC 1350, RFC 2347 (options), RFC 2348 (blksize), RFC 2349 (timeout, tsize)."""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

DEFAULT_BLOCK: Final = 512


class ErrorCode(IntEnum):
    """What an ERROR packet says."""

    UNDEFINED = 0
    NOT_FOUND = 1
    ACCESS = 2
    DISK_FULL = 3
    ILLEGAL = 4
    UNKNOWN_TRANSFER = 5
    EXISTS = 6
    NO_USER = 7
    OPTIONS_REFUSED = 8


@dataclass(frozen=True, slots=True)
class Ask:
    """RRQ (write False) or WRQ. options: names in lower case."""

    write: bool
    name: str
    mode: str = "octet"
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Data:
    """block: 0 to 65535, wrapped."""

    block: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    block: int


@dataclass(frozen=True, slots=True)
class Refusal:
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class OptionAck:
    options: dict[str, str]


Packet = Ask | Data | Ack | Refusal | OptionAck


def number(text: str | None) -> int | None:
    """The number that an option's value is; None for one that is not there or is none: it is then not granted (RFC 2347)."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 18:
        return None
    return int(text)


def decode(packet: bytes) -> Packet:
    """What a datagram says. Raises ValueError where it is not TFTP."""
    if len(packet) < 4:
        raise ValueError("shorter than any TFTP packet")
    (op,) = struct.unpack_from("!H", packet)
    if op == 3:
        return Data(int.from_bytes(packet[2:4], "big"), packet[4:])
    if op == 4:
        return Ack(int.from_bytes(packet[2:4], "big"))
    if op in (1, 2):
        words = _words(packet[2:])
        if len(words) < 2 or not words[0]:
            raise ValueError("a request without a name or a mode")
        return Ask(op == 2, words[0], words[1].lower(), _pairs(words[2:]))
    if op == 5:
        text = packet[4:].split(b"\0", 1)[0]
        return Refusal(int.from_bytes(packet[2:4], "big"), text.decode("utf-8", "replace"))
    if op == 6:
        return OptionAck(_pairs(_words(packet[2:])))
    raise ValueError(f"opcode {op} is not TFTP's")


def encode(packet: Packet) -> bytes:
    """A datagram that says it."""
    match packet:
        case Data(block, payload):
            return struct.pack("!HH", 3, block) + payload
        case Ack(block):
            return struct.pack("!HH", 4, block)
        case Ask(write, name, mode, options):
            return struct.pack("!H", 2 if write else 1) + _texts([name, mode]) + _options(options)
        case Refusal(code, text):
            return struct.pack("!HH", 5, code) + _texts([text])
        case OptionAck(options):
            return struct.pack("!H", 6) + _options(options)


def _options(options: dict[str, str]) -> bytes:
    return _texts([word for pair in options.items() for word in pair])


def _texts(words: list[str]) -> bytes:
    return b"".join(w.replace("\0", "").encode("utf-8") + b"\0" for w in words)


def _words(data: bytes) -> list[str]:
    return [w.decode("utf-8", "replace") for w in data.removesuffix(b"\0").split(b"\0")] if data else []


def _pairs(words: list[str]) -> dict[str, str]:
    return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=False)}
