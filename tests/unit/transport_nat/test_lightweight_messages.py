"""Lightweight notifications on the wire: format, signature, splitting, liberal reading, the ACS's rules."""

import hashlib
import hmac
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from homeport.codec.messages import ParameterValueStruct
from homeport.errors import LocalProtocolError, MessageRefused
from homeport.transport.addresses import Address
from homeport.transport.lightweight_messages import (
    FRAME,
    LARGEST_DATAGRAM,
    LightweightSender,
    LightweightVerdict,
    decode,
    encode,
    judge,
    sign,
)

ACS = Address("192.0.2.1", 7547)
SENDER = LightweightSender("user", "secret", "00256D", "797xx", "S1")
XSD = Path(__file__).resolve().parents[4] / "shared" / "data-models" / "cwmp-UDPLightweightNotification-1-0.xsd"


def value(name: str, text: str = "1", type: str = "string") -> ParameterValueStruct:
    """One changed parameter."""
    return ParameterValueStruct(name=name, value=text, type=type)


def datagrams(*values: ParameterValueStruct, sender: LightweightSender = SENDER, ts: int = 1000) -> tuple[bytes, ...]:
    """The datagrams for some values, with countable nonces."""
    numbers = itertools.count()
    return encode(values, sender=sender, to=ACS, timestamp=ts, cnonce=lambda: f"nonce{next(numbers)}").datagrams


def wild(
    body: bytes, *, head: str = "POST /HTTPS/1.1\r\nHOST: x\r\nContent-Type: test/xml\r\n", signature: str = ""
) -> bytes:
    """A datagram as strange devices send it."""
    return f"{head}Signature: {signature or sign(body, 'secret')}\r\n\r\n".encode() + body


BODY = (
    b'<Notification xmlns="urn:broadband-forum-org:cwmp:lwnotif-1-0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    b"<TS>1000</TS><UN>user</UN><CN>n</CN><OUI>00256D</OUI><ProductClass>797xx</ProductClass><SerialNumber>S1</SerialNumber>"
    b'<Param><Name>Device.A</Name><Value xsi:type="xsd:unsignedInt">5</Value></Param></Notification>'
)


def test_notification_is_a_post_with_a_signature_of_its_body() -> None:
    """Annex M: request line, Host, Content-Type, Content-Length, Signature = HMAC-SHA1 of the body with Password."""
    (datagram,) = datagrams(value("Device.A", "x & <y>"))
    head, _, body = datagram.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST / HTTP/1.1"
    assert lines[1:4] == [
        "Host: 192.0.2.1:7547",
        "Content-Type: text/xml; charset=utf-8",
        f"Content-Length: {len(body)}",
    ]
    assert lines[4] == "Signature: " + hmac.new(b"secret", body, hashlib.sha1).hexdigest().upper()


def test_body_says_who_when_and_what() -> None:
    """The schema's elements in the schema's order; values with their types."""
    (datagram,) = datagrams(value("Device.A", "x & <y>\r"), value("Device.B", "AQI=", "base64"))
    notification = decode(datagram).notification
    assert (notification.timestamp, notification.username, notification.cnonce) == (1000, "user", "nonce1")
    assert (notification.manufacturer_oui, notification.product_class, notification.serial_number) == (
        "00256D",
        "797xx",
        "S1",
    )
    assert notification.parameters == (value("Device.A", "x & <y>\r"), value("Device.B", "AQI=", "base64Binary"))


def test_body_is_valid_by_the_published_schema() -> None:
    """cwmp-UDPLightweightNotification-1-0.xsd, with its two imports of SOAP schemas left out (nothing of them is used)."""
    if not XSD.exists():
        pytest.skip("the Broadband Forum's schemas are not beside this checkout")
    tree = etree.parse(XSD)
    for node in tree.getroot().findall("{http://www.w3.org/2001/XMLSchema}import"):
        tree.getroot().remove(node)
    schema = etree.XMLSchema(tree)
    for datagram in datagrams(value("Device.A"), *(value(f"Device.X.{n}.Y", "z" * 50) for n in range(100))):
        schema.assertValid(etree.fromstring(datagram.partition(b"\r\n\r\n")[2]))


def test_many_values_are_split_over_frames_with_growing_timestamps() -> None:
    """Each datagram fits a frame and is newer than the one before, or a receiver would drop it."""
    values = [value(f"Device.Hosts.Host.{n}.Active", "true", "boolean") for n in range(200)]
    numbers = itertools.count()
    batch = encode(values, sender=SENDER, to=ACS, timestamp=1000, cnonce=lambda: str(next(numbers)))
    assert len(batch.datagrams) > 5
    assert max(map(len, batch.datagrams)) <= FRAME
    assert min(map(len, batch.datagrams[:-1])) > FRAME * 0.8
    read = [decode(d).notification for d in batch.datagrams]
    assert [n.timestamp for n in read] == list(range(1000, 1000 + len(read)))
    assert batch.last_timestamp == read[-1].timestamp
    assert [p for n in read for p in n.parameters] == values
    assert len({n.cnonce for n in read}) == len(read)


def test_long_value_goes_alone_and_an_impossible_one_is_named() -> None:
    """A value over a frame is left to IP's fragments; one over a datagram cannot go at all."""
    long, impossible = value("Device.Log", "l" * 5000), value("Device.Huge", "h" * LARGEST_DATAGRAM)
    batch = encode(
        [value("Device.A"), long, impossible, value("Device.B")], sender=SENDER, to=ACS, timestamp=5, cnonce=lambda: "n"
    )
    assert [[p.name for p in decode(d).notification.parameters] for d in batch.datagrams] == [
        ["Device.A"], ["Device.Log"], ["Device.B"],
    ]  # fmt: skip
    assert batch.left_out == ("Device.Huge",)
    assert max(map(len, batch.datagrams)) <= LARGEST_DATAGRAM


def test_nothing_to_say_makes_no_datagram() -> None:
    """The timestamp is then not used up beyond itself."""
    batch = encode([], sender=SENDER, to=ACS, timestamp=5, cnonce=lambda: "n")
    assert batch.datagrams == () and batch.last_timestamp == 5


def test_characters_that_xml_cannot_carry_are_our_own_mistake() -> None:
    """Nothing broken leaves the house."""
    with pytest.raises(LocalProtocolError):
        datagrams(value("Device.A", "\0"))


@pytest.mark.parametrize(
    "datagram",
    [
        wild(BODY),
        wild(BODY, head="POST / HTTP/1.1\r\n"),
        wild(BODY, signature=sign(BODY, "secret").lower()),
        wild(BODY, head=f"POST / HTTP/1.1\r\nContent-Lenght: {len(BODY)}\r\n") + b"\0\0",
        wild(BODY, head=f"POST / HTTP/1.1\r\nContent-Length: {len(BODY)}\r\nno header at all\r\n") + b"\n",
        wild(BODY, head="POST / HTTP/1.1\r\nContent-Length: many\r\n"),
        wild(BODY).replace(b"\r\n", b"\n"),
    ],
)
def test_wild_spellings_are_understood(datagram: bytes) -> None:
    """Known devices misspell the request line, Content-Type and Content-Length; line ends and capitals differ."""
    received = decode(datagram)
    assert received.is_signed_with("secret")
    assert not received.is_signed_with("guess")
    assert received.notification.parameters == (value("Device.A", "5", "unsignedInt"),)


def test_value_without_a_type_is_a_string() -> None:
    """xsi:type may be missing; elements may have any prefix, none, or another namespace."""
    body = BODY.replace(b' xsi:type="xsd:unsignedInt"', b"").replace(
        b"urn:broadband-forum-org:cwmp:lwnotif-1-0", b"urn:other"
    )
    assert decode(wild(body)).notification.parameters == (value("Device.A", "5"),)


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "head and body"),
        (b"POST / HTTP/1.1\r\n" + b"x" * 5000 + b"\r\n\r\n", "head and body"),
        (wild(BODY, head="GET / HTTP/1.1\r\n"), "POST"),
        (wild(BODY, signature="12"), "Signature"),
        (wild(BODY, signature="g" * 40), "Signature"),
        (b"POST / HTTP/1.1\r\n\r\n" + BODY, "Signature"),
        (wild(BODY, head="POST / HTTP/1.1\r\nContent-Length: 9999\r\n"), "announces 9999"),
        (wild(b"not XML"), "well-formed"),
        (wild(b""), "well-formed"),
        (wild(b'<!DOCTYPE n [<!ENTITY a "b">]>' + BODY), "DTD"),
        (wild('<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE n [<!ENTITY a "b">]><n/>'.encode("utf-16")), "UTF-8"),
        (wild(BODY.replace(b"Notification", b"Envelope")), "Envelope"),
        (wild(BODY.replace(b"<CN>n</CN>", b"")), "lacks CN"),
        (wild(BODY[: BODY.index(b"<Param>")] + b"</Notification>"), "lacks Param"),
        (wild(BODY.replace(b"<Name>Device.A</Name>", b"")), "lacks Name"),
        (wild(BODY.replace(b"<TS>1000", b"<TS>-5")), "TS"),
        (wild(BODY.replace(b"<TS>1000", b"<TS>99999999999")), "TS"),
        (
            wild(
                BODY.replace(b"</Notification>", b"<Param><Name>a</Name><Value/></Param>" * 2000 + b"</Notification>")
            ),
            "2000",
        ),
    ],
)
def test_broken_notification_is_refused_with_the_reason(datagram: bytes, reason: str) -> None:
    """Nothing is answered, so the reason is for counters and logs here."""
    with pytest.raises(MessageRefused, match=reason):
        decode(datagram)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Hostile input causes nothing but a refusal."""
    for datagram in (data, wild(data), wild(BODY[: len(data)] + data)):
        try:
            decode(datagram)
        except MessageRefused:
            continue


@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), max_size=50
    )
)
def test_any_value_survives_the_wire(text: str) -> None:
    """What the device says is what the ACS reads."""
    (datagram,) = datagrams(value("Device.A", text), sender=LightweightSender(text, text or "p", "00256D", text, text))
    received = decode(datagram)
    assert received.notification.parameters[0].value == text
    assert (received.notification.username, received.notification.serial_number) == (text, text)
    assert received.is_signed_with(text or "p")


@pytest.mark.case("N14")
@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        ({}, LightweightVerdict.ACCEPTED),
        ({"last_timestamp": 999}, LightweightVerdict.ACCEPTED),
        ({"last_timestamp": 1000}, LightweightVerdict.NOT_NEWER),
        ({"last_timestamp": 2000}, LightweightVerdict.NOT_NEWER),
        ({"password": "guess"}, LightweightVerdict.WRONG_SIGNATURE),
        ({"password": ""}, LightweightVerdict.NO_PASSWORD),
        ({"username": "other"}, LightweightVerdict.WRONG_USERNAME),
    ],
)
def test_only_a_signed_and_newer_notification_is_believed(
    known: dict[str, object], verdict: LightweightVerdict
) -> None:
    """Annex M: signature with the device's own credentials, timestamps that grow; all else is dropped silently."""
    (datagram,) = datagrams(value("Device.A"))
    facts = {"username": "user", "password": "secret", "last_timestamp": None} | known
    assert judge(decode(datagram), **facts) is verdict  # type: ignore[arg-type]
