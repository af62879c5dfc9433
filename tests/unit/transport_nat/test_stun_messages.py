"""STUN messages on the wire: RFC 3489's format, TR-069's attributes, signatures, and refusals."""

import hashlib
import hmac
import struct

import pytest
from aioice import stun as aioice_stun
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import LocalProtocolError, MessageRefused
from homeport.transport.addresses import Address
from homeport.transport.stun_messages import (
    MessageType,
    StunErrorCode,
    StunMessage,
    decode,
    encode,
    integrity_matches,
    looks_like_stun,
)

ID = bytes(range(16))


def request(**fields: object) -> StunMessage:
    """A Binding Request with a known transaction id."""
    return StunMessage(MessageType.BINDING_REQUEST, ID, **fields)  # type: ignore[arg-type]


def raw(attributes: bytes, kind: int = 0x0001) -> bytes:
    """A datagram around hand-made attributes."""
    return struct.pack("!HH", kind, len(attributes)) + ID + attributes


def test_plain_binding_request_is_twenty_bytes() -> None:
    """RFC 3489 11.1: type, length, transaction id."""
    assert encode(request()) == bytes.fromhex("00010000") + ID


def test_connection_request_attributes_have_the_registered_bytes() -> None:
    """TR-069 Annex G: 0xC001 carries the text with its last space, 0xC002 carries nothing."""
    datagram = encode(request(connection_request_binding=True, binding_change=True))
    assert datagram[20:] == b"\xc0\x01\x00\x14dslforum.org/TR-111 \xc0\x02\x00\x00"


@pytest.mark.parametrize(("name", "padded"), [("u", b"u   "), ("user", b"user"), ("users", b"users   ")])
def test_username_is_padded_with_spaces_within_its_length(name: str, padded: bytes) -> None:
    """Annex G: the value's length is a multiple of four, filled with trailing spaces."""
    datagram = encode(request(username=name))
    assert datagram[20:] == struct.pack("!HH", 0x0006, len(padded)) + padded
    assert decode(datagram).username == name


def test_mapped_address_has_family_port_and_address() -> None:
    """RFC 3489 11.2.1: a zero byte, family 1, port, four bytes."""
    message = StunMessage(MessageType.BINDING_RESPONSE, ID, mapped_address=Address("192.0.2.5", 0x1234))
    assert encode(message)[20:] == bytes.fromhex("0001000800011234c0000205")


def test_integrity_is_computed_over_zeros_up_to_sixty_four_bytes() -> None:
    """RFC 3489 11.2.8: HMAC-SHA1 of header and attributes filled with zeros; the length counts the signature; it comes last."""
    datagram = encode(request(username="user"), key=b"secret")
    before, signature = datagram[:-24], datagram[-20:]
    assert datagram[-24:-20] == b"\x00\x08\x00\x14"
    assert before[2:4] == struct.pack("!H", len(datagram) - 20)
    assert len(before) == 28
    assert signature == hmac.new(b"secret", before + bytes(36), hashlib.sha1).digest()


def test_integrity_of_exactly_sixty_four_bytes_gets_no_padding() -> None:
    """RFC 3489 11.2.8: a multiple of 64 is complete as it is."""
    datagram = encode(request(username="u" * 40), key=b"k")
    before = datagram[:-24]
    assert len(before) == 64
    assert datagram[-20:] == hmac.new(b"k", before, hashlib.sha1).digest()


def test_integrity_is_checked_with_the_right_password_only() -> None:
    """A signature fits its key and its text."""
    datagram = encode(request(username="user", binding_change=True), key=b"secret")
    assert integrity_matches(datagram, b"secret")
    assert not integrity_matches(datagram, b"Secret")
    assert not integrity_matches(datagram[:24] + b"U" + datagram[25:], b"secret")
    assert not integrity_matches(encode(request(username="user")), b"secret")
    assert not integrity_matches(b"GET / HTTP/1.1", b"secret")


def test_integrity_of_newer_stacks_is_understood() -> None:
    """aioice signs by RFC 5389, without zeros and with FINGERPRINT behind; both count as signed."""
    message = aioice_stun.Message(aioice_stun.Method.BINDING, aioice_stun.Class.REQUEST)
    message.attributes["USERNAME"] = "user"
    message.add_message_integrity(b"secret")
    datagram = bytes(message)
    assert integrity_matches(datagram, b"secret")
    assert not integrity_matches(datagram, b"other")
    assert decode(datagram).username == "user"


def test_what_is_written_is_read_by_another_implementation() -> None:
    """aioice understands our requests, answers and errors (with a transaction id of the newer form)."""
    cookie_id = bytes.fromhex("2112a442") + ID[4:]
    response = StunMessage(
        MessageType.BINDING_RESPONSE,
        cookie_id,
        mapped_address=Address("192.0.2.5", 4660),
        source_address=Address("192.0.2.1", 3478),
    )
    parsed = aioice_stun.parse_message(encode(response))
    assert parsed.transaction_id == ID[4:]
    assert parsed.attributes["MAPPED-ADDRESS"] == ("192.0.2.5", 4660)
    assert parsed.attributes["SOURCE-ADDRESS"] == ("192.0.2.1", 3478)
    error = StunMessage(MessageType.BINDING_ERROR, cookie_id, error=(401, "Unauthorized"))
    assert aioice_stun.parse_message(encode(error)).attributes["ERROR-CODE"] == (401, "Unauthorized")


def test_xor_mapped_address_is_read_where_the_plain_one_is_missing() -> None:
    """Servers of RFC 5389 may send only the mixed form; the plain one wins where both are there."""
    message = aioice_stun.Message(aioice_stun.Method.BINDING, aioice_stun.Class.RESPONSE)
    message.attributes["XOR-MAPPED-ADDRESS"] = ("203.0.113.9", 5000)
    assert decode(bytes(message)).mapped_address == Address("203.0.113.9", 5000)
    message.attributes["MAPPED-ADDRESS"] = ("203.0.113.10", 5001)
    assert decode(bytes(message)).mapped_address == Address("203.0.113.10", 5001)
    six = aioice_stun.Message(aioice_stun.Method.BINDING, aioice_stun.Class.RESPONSE)
    six.attributes["XOR-MAPPED-ADDRESS"] = ("2001:db8::9", 5000)
    assert decode(bytes(six)).mapped_address == Address("2001:db8::9", 5000)


def test_every_field_survives_the_wire() -> None:
    """Reading gives back what was written."""
    message = StunMessage(
        MessageType.BINDING_ERROR,
        ID,
        mapped_address=Address("192.0.2.5", 1),
        response_address=Address("192.0.2.6", 2),
        change_request=6,
        source_address=Address("192.0.2.7", 3),
        changed_address=Address("2001:db8::8", 4),
        username="Jürgen",
        error=(420, "Unknown"),
        unknown_attributes=(0x0003, 0x7777),
        reflected_from=Address("192.0.2.9", 65535),
        connection_request_binding=True,
        binding_change=True,
    )
    assert decode(encode(message)) == message


def test_odd_list_of_unknown_attributes_repeats_one() -> None:
    """RFC 3489 11.2.10: an odd number is filled up by repetition, which the reader takes out."""
    datagram = encode(StunMessage(MessageType.BINDING_ERROR, ID, unknown_attributes=(3,)))
    assert datagram[20:] == bytes.fromhex("000a000400030003")
    assert decode(datagram).unknown_attributes == (3,)


def test_first_of_two_equal_attributes_counts() -> None:
    """RFC 3489 11.2: later ones of the same type are ignored."""
    one, two = bytes.fromhex("0001000800010001c0000201"), bytes.fromhex("0001000800010002c0000202")
    assert decode(raw(one + two)).mapped_address == Address("192.0.2.1", 1)


def test_attributes_behind_the_signature_are_not_read() -> None:
    """What is not signed must not look signed."""
    datagram = encode(request(username="user"), key=b"k")
    longer = datagram[:2] + struct.pack("!H", len(datagram) - 20 + 4) + datagram[4:] + b"\xc0\x02\x00\x00"
    assert not decode(longer).binding_change


def test_unknown_attributes_are_named_or_ignored_by_their_number() -> None:
    """RFC 3489 11.2: below 0x8000 they must be understood, above they may be ignored."""
    message = decode(raw(bytes.fromhex("0777000000000000 80220004 41424344 07780000")))
    assert message.not_understood == (0x0777, 0x0000, 0x0778)


def test_username_without_padding_is_read() -> None:
    """Some devices count and send only the name itself."""
    name = b"\x00\x06\x00\x05users"
    assert decode(raw(name)).username == "users"
    assert decode(raw(b"\x00\x06\x00\x05users\x00\x00\x00\xc0\x02\x00\x00")).binding_change


def test_binding_attribute_with_other_text_does_not_count() -> None:
    """Only TR-111's text makes a port the one for connection requests; a missing last space is forgiven."""
    assert not decode(raw(b"\xc0\x01\x00\x14example.org/SOMETHIN")).connection_request_binding
    assert decode(raw(b"\xc0\x01\x00\x14dslforum.org/TR-111\x00")).connection_request_binding


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "too few"),
        (b"\x00\x01\x00\x00" + ID[:15], "too few"),
        (raw(b"") + bytes(1500), "too many"),
        (struct.pack("!HH", 1, 4) + ID, "announces"),
        (raw(b"") + b"\0", "announces"),
        (raw(b"", kind=0x0003), "not a STUN message type"),
        (raw(b"\x00\x06"), "attribute's head"),
        (raw(b"\x00\x06\x00\x08abcd"), "longer than"),
        (raw(b"\x00\x06\x00\x04\xff\xff\xff\xff"), "UTF-8"),
        (raw(b"\x00\x06\x02\x04" + b"a" * 516), "at most 512"),
        (raw(b"\x00\x01\x00\x04\x00\x01\x00\x01"), "at least 8"),
        (raw(b"\x00\x01\x00\x08\x00\x03\x00\x01\x01\x02\x03\x04"), "family 3"),
        (raw(b"\x00\x01\x00\x08\x00\x02\x00\x01\x01\x02\x03\x04"), "family 2"),
        (raw(b"\x00\x03\x00\x00"), "CHANGE-REQUEST"),
        (raw(b"\x00\x08\x00\x04abcd"), "MESSAGE-INTEGRITY"),
        (raw(b"\x00\x09\x00\x00"), "at least 4"),
        (raw(b"\x00\x09\x00\x04\x00\x00\x00\x01"), "no STUN error code"),
        (raw(b"\x00\x09\x00\x04\x00\x00\x04\x64"), "no STUN error code"),
        (raw(b"\x00\x0a\x00\x03\x00\x01\x02\x00"), "odd number"),
    ],
)
def test_broken_datagram_is_refused_with_the_reason(datagram: bytes, reason: str) -> None:
    """Every refusal says what is wrong."""
    with pytest.raises(MessageRefused, match=reason):
        decode(datagram)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Hostile input causes nothing but a refusal."""
    for datagram in (data, raw(data), raw(data, kind=0x0111)):
        try:
            message = decode(datagram)
        except MessageRefused:
            continue
        assert len(message.transaction_id) == 16
        assert not integrity_matches(datagram, b"nobody's key")


@given(
    st.text(max_size=60).filter(lambda s: s == s.rstrip(" \0")),
    st.ip_addresses(),
    st.integers(0, 65535),
    st.booleans(),
    st.binary(min_size=1, max_size=80),
)
def test_any_message_survives_the_wire_and_is_signed(name: str, ip: object, port: int, flag: bool, key: bytes) -> None:
    """Writing and reading are each other's opposite; the signature fits its key."""
    message = request(username=name, response_address=Address(str(ip), port), binding_change=flag)
    datagram = encode(message, key=key)
    read = decode(datagram)
    assert (read.username, read.response_address, read.binding_change) == (name, message.response_address, flag)
    assert integrity_matches(datagram, key)
    assert len(datagram) % 4 == 0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (StunMessage(MessageType.BINDING_REQUEST, b"short"), "16 bytes"),
        (request(mapped_address=Address("example.org", 80)), "IP address"),
        (request(mapped_address=Address("192.0.2.1", 65536)), "IP address"),
        (request(error=(99, "")), "not a STUN error code"),
        (request(username="u" * 513), "at most 512"),
    ],
)
def test_what_the_format_cannot_carry_is_our_own_mistake(message: StunMessage, reason: str) -> None:
    """Nothing wrong leaves the house."""
    with pytest.raises(LocalProtocolError, match=reason):
        encode(message)


def test_stun_is_told_from_a_connection_request_by_its_first_byte() -> None:
    """Both come in on one port."""
    assert looks_like_stun(encode(request()))
    assert not looks_like_stun(b"GET http://192.0.2.1:7547?ts=1 HTTP/1.1\r\n\r\n")
    assert not looks_like_stun(b"\x00\x01")


def test_each_error_code_has_a_short_text() -> None:
    """An answer must not be much longer than its question."""
    assert all(0 < len(code.text) <= 12 for code in StunErrorCode)
