"""The ACS's STUN server: what it answers, what it tells its owner, and what it cannot be abused for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.transport.addresses import Address
from homeport.transport.source_limits import SourceLimiter
from homeport.transport.stun_messages import (
    MessageType,
    StunMessage,
    decode,
    encode,
    integrity_matches,
)
from homeport.transport.stun_server import BindingReport, Reply, StunServer

DEVICE = Address("198.51.100.7", 40_001)
HERE = Address("192.0.2.1", 3478)
ID = bytes(range(16))


def ask(
    server: StunServer,
    *,
    source: Address = DEVICE,
    key: bytes | None = None,
    password: str | None = None,
    now: float = 0.0,
    **fields: object,
) -> Reply | None:
    """What the server does with one Binding Request; password: of whatever user it wants to know."""
    datagram = encode(StunMessage(MessageType.BINDING_REQUEST, ID, **fields), key=key)  # type: ignore[arg-type]
    question = server.examine(datagram, source=source, now=now)
    if question is None:
        return None
    return server.answer(question, local=HERE, password=password if question.needs_password else None)


def test_binding_request_is_answered_with_the_mapped_address() -> None:
    """RFC 3489 8.1: where it came from and where it came in, under the same transaction id."""
    reply = ask(StunServer())
    assert reply is not None and reply.to == DEVICE and reply.report is None
    answer = decode(reply.datagram)
    assert answer == StunMessage(MessageType.BINDING_RESPONSE, ID, mapped_address=DEVICE, source_address=HERE)


@pytest.mark.case("C14")
def test_connection_request_binding_is_told_to_the_owner() -> None:
    """Annex G: the server learns where a device's connection requests go."""
    reply = ask(StunServer(), connection_request_binding=True, username="user")
    assert reply is not None
    assert reply.report == BindingReport("user", DEVICE, binding_change=False, verified=False)


@pytest.mark.case("C16")
def test_change_of_a_known_user_must_be_signed() -> None:
    """Annex G: 401 makes the device sign; what is signed rightly is told as verified, and the answer is signed too."""
    server = StunServer()
    asked = {"username": "user", "connection_request_binding": True, "binding_change": True, "password": "secret"}
    first = ask(server, **asked)  # type: ignore[arg-type]
    assert first is not None and first.report is None
    assert decode(first.datagram).error == (401, "Unauthorized")
    second = ask(server, key=b"secret", **asked)  # type: ignore[arg-type]
    assert second is not None
    assert second.report == BindingReport("user", DEVICE, binding_change=True, verified=True)
    assert integrity_matches(second.datagram, b"secret")
    wrong = ask(server, key=b"guess", **asked)  # type: ignore[arg-type]
    assert wrong is not None and wrong.report is None
    assert decode(wrong.datagram).error == (431, "Integrity")
    assert (server.counts["401"], server.counts["431"], server.counts["answers"]) == (1, 1, 1)


def test_change_without_a_known_user_is_told_as_not_verified() -> None:
    """A device without STUNUsername, or one that the ACS does not know, cannot sign; its owner decides what to believe."""
    for name in (None, "stranger"):
        reply = ask(StunServer(), username=name, binding_change=True)
        assert reply is not None and reply.report is not None
        assert (reply.report.username, reply.report.verified) == (name or "", False)


def test_keep_alive_needs_no_signature_unless_wanted() -> None:
    """Passwords are not looked up for ordinary keep-alives; the stricter mode asks for a signature on each."""
    datagram = encode(StunMessage(MessageType.BINDING_REQUEST, ID, username="user", connection_request_binding=True))
    relaxed = StunServer().examine(datagram, source=DEVICE, now=0.0)
    strict = StunServer(integrity_always=True).examine(datagram, source=DEVICE, now=0.0)
    assert relaxed is not None and relaxed.needs_password is None
    assert strict is not None and strict.needs_password == "user"


def test_response_address_is_honoured_for_the_same_host_only() -> None:
    """The search for a binding's lifetime needs another port; another host would make the server a reflector."""
    server = StunServer()
    same = ask(server, response_address=Address(DEVICE.host, 50_000))
    assert same is not None and same.to == Address(DEVICE.host, 50_000)
    assert decode(same.datagram).reflected_from == DEVICE
    assert decode(same.datagram).mapped_address == DEVICE
    for victim in (Address("203.0.113.5", 53), Address(DEVICE.host, 0)):
        foreign = ask(server, response_address=victim)
        assert foreign is not None and foreign.to == DEVICE
        assert decode(foreign.datagram).reflected_from is None
    assert server.counts["foreign response address"] == 2


def test_change_request_is_refused() -> None:
    """There is one address: an answer from elsewhere cannot be had. Flags of zero ask for nothing."""
    refused = ask(StunServer(), change_request=6)
    assert refused is not None
    assert decode(refused.datagram).error == (420, "Unknown")
    assert decode(refused.datagram).unknown_attributes == (3,)
    granted = ask(StunServer(), change_request=0)
    assert granted is not None and decode(granted.datagram).error is None


def test_unknown_mandatory_attribute_is_named() -> None:
    """RFC 3489 8.1: 420 with the list, which is kept short."""
    attributes = b"".join(bytes([1, n, 0, 0]) for n in range(1, 10))
    datagram = b"\x00\x01" + len(attributes).to_bytes(2, "big") + ID + attributes
    server = StunServer()
    question = server.examine(datagram, source=DEVICE, now=0.0)
    assert question is not None
    error = decode(server.answer(question, local=HERE).datagram)
    assert error.error == (420, "Unknown")
    assert error.unknown_attributes == (0x101, 0x102, 0x103, 0x104)


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", "malformed"),
        (encode(StunMessage(MessageType.BINDING_RESPONSE, ID)), "not a binding request"),
        (encode(StunMessage(MessageType.SHARED_SECRET_REQUEST, ID)), "not a binding request"),
    ],
)
def test_what_is_no_binding_request_is_dropped_and_counted(datagram: bytes, reason: str) -> None:
    """Silence gives nothing to scanners, and to no victim of a forged source."""
    server = StunServer()
    assert server.examine(datagram, source=DEVICE, now=0.0) is None
    assert server.counts[reason] == 1


def test_source_port_zero_is_not_answered() -> None:
    """Nobody listens there; such datagrams are forged."""
    server = StunServer()
    assert ask(server, source=Address("198.51.100.7", 0)) is None
    assert server.counts["port 0"] == 1


def test_source_that_asks_too_often_is_dropped_before_anything_is_computed() -> None:
    """The limit is per IP, whatever the port, and comes before reading and signatures."""
    server = StunServer(limiter=SourceLimiter(rate=1.0, burst=2))
    replies = [ask(server, source=Address("198.51.100.7", 1000 + n)) is not None for n in range(4)]
    assert replies == [True, True, False, False]
    assert server.counts["rate"] == 2
    assert ask(server, source=Address("198.51.100.8", 1)) is not None
    assert ask(server, now=1.0) is not None


@given(
    st.binary(max_size=120),
    st.sampled_from([DEVICE, Address("2001:db8::7", 40_001)]),
    st.sampled_from([None, "secret"]),
)
def test_no_answer_is_much_longer_than_its_question(data: bytes, source: Address, password: str | None) -> None:
    """One answer per question; with the headers of IP and UDP it stays below two and a half times the question."""
    server = StunServer()
    for datagram in (data, b"\x00\x01" + len(data).to_bytes(2, "big") + ID + data):
        question = server.examine(datagram, source=source, now=0.0)
        if question is None:
            continue
        reply = server.answer(question, local=HERE, password=password)
        headers = 28 if source is DEVICE else 48
        assert len(reply.datagram) + headers < 2.5 * (len(datagram) + headers)
        assert reply.to.host == source.host
