"""PROXY protocol headers: both forms, cut anywhere, and everything that is none."""

import random
import struct
from ipaddress import ip_address

import pytest

from homeport.http.proxy_protocol import LONGEST, SIGNATURE, BadHeader, HeaderReader, Origin, crc32c, resembles


def binary(command: int = 1, family: int = 0x11, addresses: bytes | None = None, notes: bytes = b"") -> bytes:
    """A header of version 2."""
    if addresses is None:
        addresses = ip_address("192.0.2.7").packed + ip_address("198.51.100.1").packed + struct.pack("!HH", 4711, 7548)
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(addresses) + len(notes)) + addresses + notes


def note(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


SIX = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed + struct.pack("!HH", 4711, 7548)
MAPPED = ip_address("::ffff:192.0.2.7").packed * 2 + struct.pack("!HH", 4711, 7548)
WITH_TLS = note(0x20, b"\x07\0\0\0\0" + note(0x21, b"TLSv1.3"))
GOOD = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 7548\r\n": Origin("192.0.2.7", 4711),
    b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 7548\r\n": Origin("2001:db8::7", 4711),
    b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 7548\r\n": Origin("192.0.2.7", 4711),
    b"PROXY UNKNOWN\r\n": Origin(),
    b"PROXY UNKNOWN ffff::1 something else\r\n": Origin(),
    binary(): Origin("192.0.2.7", 4711),
    binary(family=0x21, addresses=SIX): Origin("2001:db8::7", 4711),
    binary(family=0x21, addresses=MAPPED): Origin("192.0.2.7", 4711),
    binary(command=0): Origin(),
    binary(command=0, family=0, addresses=b""): Origin(),
    binary(command=0, family=0x7F, addresses=b"whatever"): Origin(),
    binary(family=0, addresses=b""): Origin(),
    binary(family=0x31, addresses=b"/run/x".ljust(216, b"\0")): Origin(),
    binary(notes=WITH_TLS): Origin("192.0.2.7", 4711, True),
    binary(notes=note(0x20, b"\x00\0\0\0\1")): Origin("192.0.2.7", 4711, False),
    binary(notes=note(0xEA, b"x" * 500)): Origin("192.0.2.7", 4711),
}
BAD = (
    b"POST / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\r\n\r\n\0\r\nQUIT ",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 7548\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 4711 7548\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
    b"PROXY TCP4 192.0.2.300 198.51.100.1 4711 7548\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 7548\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 4711 7548\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 7548\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 7548\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 4711 7548\r\n",
    b"PROXY \r\n",
    b"PROXY UNKNOWN " + b"x" * 200,
    binary(command=2),
    SIGNATURE + b"\x11\x11\0\0",
    binary(family=0x12),
    binary(family=0x41, addresses=b"x" * 12),
    binary(addresses=b"x" * 11),
    binary(notes=b"\x01\0"),
    binary(notes=b"\x01\0\x09x"),
    binary(notes=note(0x20, b"\x01")),
    binary(notes=note(0x03, b"\0\0\0\0")),
    binary(notes=note(0xEA, b"x" * LONGEST)),
)


@pytest.mark.parametrize("header", GOOD, ids=range(len(GOOD)))
def test_a_header_is_read_however_it_is_cut(header: bytes) -> None:
    """In one piece with what follows, byte by byte, and in two pieces at every place; not one byte more is taken."""
    following = b"POST / HTTP/1.1\r\n"
    for first in range(1, len(header) + 1):
        reader = HeaderReader()
        if first < len(header):
            assert reader.take(header[:first]) == first
            assert (reader.done, reader.begun) == (False, True)
        rest = header[first:] if first < len(header) else header
        assert reader.take(rest + following) == len(rest)
        assert reader.done
        assert reader.origin == GOOD[header]
    reader = HeaderReader()
    for place in range(len(header)):
        assert not reader.done
        assert reader.take(header[place : place + 1]) == 1
    assert reader.origin == GOOD[header]


@pytest.mark.parametrize("header", BAD, ids=range(len(BAD)))
def test_what_is_no_header_is_refused(header: bytes) -> None:
    """In one piece and byte by byte, with a sentence that names what is wrong."""
    with pytest.raises(BadHeader, match="PROXY header"):
        HeaderReader().take(header + b"POST / HTTP/1.1\r\n")
    reader = HeaderReader()
    with pytest.raises(BadHeader):
        for byte in header + b"\r\n":
            reader.take(bytes((byte,)))


def test_a_checksum_is_checked() -> None:
    """CRC-32C over the header with the checksum's own bytes zero; one changed bit is found."""
    assert crc32c(b"123456789") == 0xE3069283
    empty = binary(notes=note(0x03, b"\0\0\0\0") + WITH_TLS)
    place = empty.index(note(0x03, b"\0\0\0\0")) + 3
    good = empty[:place] + struct.pack("!I", crc32c(empty)) + empty[place + 4 :]
    reader = HeaderReader()
    assert reader.take(good) == len(good)
    assert reader.origin == Origin("192.0.2.7", 4711, True)
    with pytest.raises(BadHeader, match="checksum"):
        HeaderReader().take(good.replace(b"\xc0\0\2\7", b"\xc0\0\2\6"))


def test_nothing_that_a_peer_can_send_breaks_the_reader() -> None:
    """Random bytes, and good headers with some bytes changed: read, refused, or not finished within the limit."""
    chance = random.Random(69)
    good = list(GOOD)
    for _ in range(3_000):
        data = bytearray(chance.choice(good)) if chance.random() < 0.8 else bytearray(chance.randbytes(40))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        reader, sent = HeaderReader(), bytes(data) + chance.randbytes(20)
        try:
            while sent and not reader.done:
                piece = sent[: chance.randint(1, len(sent))]
                taken = reader.take(piece)
                assert taken == len(piece) or (reader.done and 0 <= taken <= len(piece))
                sent = sent[taken:]
        except BadHeader as e:
            assert str(e)


def test_a_request_does_not_resemble_a_header() -> None:
    """Nor does the beginning of a TLS connection."""
    assert all(resembles(header) for header in GOOD)
    assert not any(resembles(data) for data in (b"", b"P", b"POST / HTTP/1.1", b"PROXYX", b"\x16\x03\x01", b"\r\n\r\n"))
