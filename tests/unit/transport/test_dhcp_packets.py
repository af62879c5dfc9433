"""DHCPINFORM and Information-request, and their answers, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import RemoteProtocolError
from homeport.transport.dhcp_packets import decode_reply, decode_reply6, encode_inform, encode_information_request

MAC = bytes.fromhex("02fc00000001")
COOKIE = bytes.fromhex("63825363")


def reply(
    options: bytes, *, xid: int = 7, op: int = 2, mac: bytes = MAC, sname: bytes = b"", file: bytes = b""
) -> bytes:
    """A server's BOOTP reply."""
    head = bytes((op, 1, 6, 0)) + xid.to_bytes(4, "big") + bytes(12) + bytes((192, 0, 2, 1)) + bytes(4)
    return head + mac.ljust(16, b"\0") + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + COOKIE + options


ACK = b"\x35\x01\x05"


def test_the_question_is_a_dhcpinform_of_the_hosts_own_address():
    """RFC 2131 3.4: ciaddr is set, no address is asked for, BOOTP relays get their 300 bytes."""
    packet = encode_inform(
        address="192.0.2.7", mac=MAC, xid=7, requested=(43,), vendor_class=b"dslforum.org", others={}
    )
    assert len(packet) >= 300
    assert packet[0] == 1 and packet[12:16] == bytes((192, 0, 2, 7)) and packet[28:34] == MAC
    assert b"\x35\x01\x08" in packet
    assert packet[236:240] == COOKIE


def test_an_answer_gives_its_options_server_and_next_server():
    """Also options that came in pieces (RFC 3396) and those that overflowed into the file and server name fields."""
    options = ACK + b"\x36\x04\xc0\x00\x02\x01" + b"\x2b\x02ab\x00\x2b\x01c" + b"\x34\x01\x03" + b"\xff"
    found = decode_reply(reply(options, file=b"\x42\x04tftp\xff", sname=b"\x43\x01x\xff"), xid=7, mac=MAC)
    assert (found.options[43], found.options[66], found.options[67]) == (b"abc", b"tftp", b"x")
    assert (found.server, found.next_server) == ("192.0.2.1", "192.0.2.1")


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        reply(ACK)[:200],
        reply(ACK, xid=8),
        reply(ACK, op=1),
        reply(ACK, mac=b"\0" * 6),
        reply(b"\x35\x01\x06"),
        reply(b""),
        reply(ACK).replace(COOKIE, b"none"),
    ],
)
def test_what_is_no_acknowledgement_for_us_is_refused(packet):
    """Other hosts' answers, refusals, other protocols."""
    with pytest.raises(RemoteProtocolError):
        decode_reply(packet, xid=7, mac=MAC)


def test_the_ipv6_question_asks_for_its_options_with_a_duid():
    """RFC 8415 18.2.6: no address, option 6 names what is wanted, 16 is the vendor class."""
    packet = encode_information_request(mac=MAC, xid=0x010203, requested=(17, 32), vendor_class=b"vc", elapsed=1.5)
    assert packet[:4] == b"\x0b\x01\x02\x03"
    assert b"\x00\x06\x00\x04\x00\x11\x00\x20" in packet
    assert b"\x00\x01\x00\x0a\x00\x03\x00\x01" + MAC in packet
    assert b"\x00\x08\x00\x02\x00\x96" in packet


def test_the_ipv6_answer_keeps_options_that_come_several_times():
    """Option 17 comes once per enterprise."""
    body = b"\x00\x11\x00\x04aaaa" + b"\x00\x11\x00\x04bbbb" + b"\x00\x02\x00\x02\x01\x02"
    found = decode_reply6(b"\x07\x01\x02\x03" + body, xid=0x010203)
    assert found.several[17] == [b"aaaa", b"bbbb"]
    assert found.server == "01:02"
    for wrong in (b"\x07\x01\x02\x04", b"\x02\x01\x02\x03", b"\x07\x01\x02\x03\x00\x11\x00\x09a", b""):
        with pytest.raises(RemoteProtocolError):
            decode_reply6(wrong, xid=0x010203)
    with pytest.raises(RemoteProtocolError, match="status 1"):
        decode_reply6(b"\x07\x01\x02\x03\x00\x0d\x00\x02\x00\x01", xid=0x010203)


@given(st.binary(max_size=400), st.booleans())
def test_any_datagram_is_read_or_refused(data, headed):
    """Anybody on the network can send to the port."""
    packet = reply(data) if headed else data
    for decode in (lambda: decode_reply(packet, xid=7, mac=MAC), lambda: decode_reply6(b"\x07\0\0\x07" + data, xid=7)):
        try:
            decode()
        except RemoteProtocolError:
            continue
