"""The UDP connection request: its bytes, its signature, and the device's rules."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import LocalProtocolError, MessageRefused
from homeport.transport.addresses import Address
from homeport.transport.source_limits import SourceLimiter
from homeport.transport.udp_connection_request import (
    UdpRequestGate,
    Verdict,
    decode,
    encode,
    next_timestamp,
    sign,
)

DEVICE = Address("198.51.100.7", 40_001)
ACS = Address("192.0.2.1", 3478)


def request(
    *, ts: int = 1000, id: int = 1, un: str = "user", cn: str = "nonce", password: str = "secret", to: Address = DEVICE
) -> bytes:
    """The datagram of one request."""
    return encode(to, timestamp=ts, message_id=id, username=un, cnonce=cn, password=password)


def gate(**options: object) -> UdpRequestGate:
    """A device whose credentials are user and secret."""
    return UdpRequestGate(lambda: ("user", "secret"), **options)  # type: ignore[arg-type]


def by_hand(query: str, *, line: str = "GET http://h:1?{} HTTP/1.1", end: str = "\r\nHost: h:1\r\n\r\n") -> bytes:
    """A datagram with any arguments."""
    return (line.format(query) + end).encode()


def good_query(ts: str = "1000", id: str = "1", un: str = "user", cn: str = "nonce") -> str:
    """Arguments with the right signature, computed here by the text of the rule."""
    sig = hmac.new(b"secret", f"{ts}{id}{un}{cn}".encode(), hashlib.sha1).hexdigest()
    return f"ts={ts}&id={id}&un={un}&cn={cn}&sig={sig}"


def test_request_is_one_get_without_a_path() -> None:
    """Annex G: the arguments stand in the URI of a GET, the host in brackets where it is IPv6."""
    assert request() == by_hand(
        good_query(), line="GET http://198.51.100.7:40001?{} HTTP/1.1", end="\r\nHost: 198.51.100.7:40001\r\n\r\n"
    )
    assert request(to=Address("2001:db8::7", 7547)).startswith(b"GET http://[2001:db8::7]:7547?ts=1000&id=1&")


def test_signature_covers_the_four_values_in_order() -> None:
    """Annex G: HMAC-SHA1 with ConnectionRequestPassword over ts, id, un, cn, values only."""
    expected = hmac.new(b"secret", b"10001usernonce", hashlib.sha1).hexdigest()
    assert sign("1000", "1", b"user", b"nonce", "secret") == expected
    assert decode(request()).signature == expected


@pytest.mark.case("C12")
def test_genuine_request_is_accepted() -> None:
    """Well-formed, right user, right signature, newer: one session."""
    device = gate()
    assert device.look(request(), source=ACS, now=0.0) is Verdict.ACCEPTED
    assert device.last == (1000, 1)


@pytest.mark.case("C13")
def test_copies_of_one_request_count_once() -> None:
    """ACSs send several identical datagrams; ts and id tell that they are one."""
    device = gate()
    verdicts = [device.look(request(), source=ACS, now=0.0) for _ in range(3)]
    assert verdicts == [Verdict.ACCEPTED, Verdict.REPEATED, Verdict.REPEATED]
    assert device.counts[Verdict.ACCEPTED] == 1


@pytest.mark.case("C12")
@pytest.mark.parametrize(
    ("datagram", "verdict"),
    [
        (request(ts=2000, id=2, password="guess"), Verdict.WRONG_SIGNATURE),
        (request(ts=2000, id=2, un="other"), Verdict.WRONG_USERNAME),
        (request(ts=999, id=2), Verdict.NOT_NEWER),
        (request(ts=1000, id=2), Verdict.NOT_NEWER),
        (request(ts=2000, id=1), Verdict.NOT_NEWER),
        (request(ts=1000, id=1), Verdict.REPEATED),
        (b"GET / HTTP/1.1\r\n\r\n", Verdict.MALFORMED),
        (b"", Verdict.MALFORMED),
    ],
)
def test_any_other_request_is_dropped_and_changes_nothing(datagram: bytes, verdict: Verdict) -> None:
    """Annex G: a device ignores it without a word; the reason is counted on its own side, and the window stays."""
    device = gate(last=(1000, 1))
    assert device.look(datagram, source=ACS, now=0.0) is verdict
    assert device.counts == {verdict: 1}
    assert device.last == (1000, 1)


def test_after_a_forged_request_the_genuine_one_still_counts() -> None:
    """A forger with a timestamp of the far future must not lock the device."""
    device = gate()
    device.look(request(ts=4_000_000_000, password="guess"), source=ACS, now=0.0)
    assert device.look(request(), source=ACS, now=0.0) is Verdict.ACCEPTED


def test_device_without_a_password_accepts_nothing() -> None:
    """An empty key would let anyone sign."""
    device = UdpRequestGate(lambda: ("user", ""))
    signature = sign("1000", "1", b"user", b"nonce", "")
    datagram = by_hand(f"ts=1000&id=1&un=user&cn=nonce&sig={signature}")
    assert device.look(datagram, source=ACS, now=0.0) is Verdict.NO_CREDENTIALS


def test_credentials_of_the_moment_count() -> None:
    """The ACS may change them at any time."""
    credentials = [("user", "old")]
    device = UdpRequestGate(lambda: credentials[0])
    assert device.look(request(), source=ACS, now=0.0) is Verdict.WRONG_SIGNATURE
    credentials[0] = ("user", "secret")
    assert device.look(request(), source=ACS, now=0.0) is Verdict.ACCEPTED


def test_flood_is_dropped_before_signatures_are_computed() -> None:
    """Limits per source come before the HMAC."""
    limiter = SourceLimiter(rate=1.0, burst=2)
    device = gate(allows=limiter.allows)
    verdicts = [device.look(request(ts=2000 + n, id=n, password="guess"), source=ACS, now=0.0) for n in range(4)]
    assert verdicts == [Verdict.WRONG_SIGNATURE] * 2 + [Verdict.TOO_OFTEN] * 2
    assert device.look(request(ts=3000, id=9), source=ACS, now=5.0) is Verdict.ACCEPTED


@pytest.mark.parametrize(
    "datagram",
    [
        by_hand(good_query(), line="GET http://h:1/?{} HTTP/1.1"),
        by_hand(good_query(), line="GET /?{} HTTP/1.0"),
        by_hand(good_query(), line="GET ?{} HTTP/1.1"),
        by_hand(good_query(), end="\n\n"),
        by_hand(good_query(), end=""),
        by_hand(good_query() + "&new=1&flag"),
        by_hand("&".join(reversed(good_query().split("&")))),
        by_hand(good_query().replace("sig=", "sig=")).replace(
            good_query()[-40:].encode(), good_query()[-40:].upper().encode()
        ),
    ],
)
def test_other_spellings_of_a_good_request_are_understood(datagram: bytes) -> None:
    """A path, other line ends, another order, more arguments, a signature in capitals."""
    assert gate().look(datagram, source=ACS, now=0.0) is Verdict.ACCEPTED


def test_signature_is_over_the_text_as_sent() -> None:
    """`0001000` is signed as it stands, and means 1000."""
    device = gate()
    assert device.look(by_hand(good_query(ts="0001000")), source=ACS, now=0.0) is Verdict.ACCEPTED
    assert device.last == (1000, 1)


@pytest.mark.parametrize(
    "datagram",
    [
        by_hand(good_query(), line="POST http://h:1?{} HTTP/1.1"),
        by_hand(good_query(), line="GET http://h:1?{}"),
        by_hand(good_query(), line="GET http://h:1?{} FTP/1.1"),
        by_hand(good_query(), line="GET ftp://h:1?{} HTTP/1.1"),
        by_hand("", line="GET http://h:1 HTTP/1.1"),
        by_hand(good_query().replace("cn=nonce&", "")),
        by_hand(good_query() + "&ts=2000"),
        by_hand(good_query()[:-1]),
        by_hand(good_query()[:-1] + "g"),
        by_hand(good_query(ts="-1")),
        by_hand(good_query(ts="1e3")),
        by_hand(good_query(id="")),
        by_hand(good_query(id="9" * 21)),
        by_hand(good_query(cn="n" * 1500)),
    ],
)
def test_broken_request_is_refused(datagram: bytes) -> None:
    """Everything that is not exactly the five arguments in a GET."""
    with pytest.raises(MessageRefused):
        decode(datagram)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Hostile input never gets past the gate and never breaks it."""
    device = gate()
    for datagram in (data, b"GET http://h?" + data + b" HTTP/1.1\r\n\r\n"):
        assert device.look(datagram, source=ACS, now=0.0) is not Verdict.ACCEPTED


@given(
    st.text(max_size=40),
    st.text(max_size=40),
    st.text(min_size=1, max_size=40),
    st.integers(0, 2**40),
    st.integers(0, 2**63),
)
def test_any_credentials_survive_the_wire(un: str, cn: str, password: str, ts: int, number: int) -> None:
    """User names and nonces may hold any character; they are escaped in the URI and signed unescaped."""
    datagram = request(ts=ts, id=number, un=un, cn=cn, password=password)
    read = decode(datagram)
    assert (read.username, read.cnonce, int(read.timestamp), int(read.message_id)) == (
        un.encode(),
        cn.encode(),
        ts,
        number,
    )
    assert read.is_signed_with(password)
    device = UdpRequestGate(lambda: (un, password))
    assert device.look(datagram, source=ACS, now=0.0) is Verdict.ACCEPTED


@pytest.mark.parametrize("wrong", [{"password": ""}, {"ts": -1}, {"id": -1}, {"un": "u" * 1500}])
def test_what_no_device_would_take_is_not_sent(wrong: dict[str, object]) -> None:
    """Our own mistakes are told to our own caller."""
    with pytest.raises(LocalProtocolError):
        request(**wrong)  # type: ignore[arg-type]


def test_two_requests_of_one_second_get_growing_timestamps() -> None:
    """A device takes only newer ones."""
    assert next_timestamp(None, 1000.9) == 1000
    assert next_timestamp(1000, 1000.9) == 1001
    assert next_timestamp(1001, 1000.9) == 1002
    assert next_timestamp(1002, 2000.0) == 2000
