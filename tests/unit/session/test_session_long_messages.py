"""A message that is read in parts is to its session what it is when it is read at once."""

import asyncio
from collections.abc import Callable

import pytest

from homeport.acs.slices import in_slices
from homeport.codec.envelope import Envelope, encode
from homeport.codec.messages import (
    GetParameterValues,
    GetParameterValuesResponse,
    InformResponse,
    Message,
    ParameterValueStruct,
    TransferComplete,
)
from homeport.errors import RemoteProtocolError
from homeport.session.events import Event
from homeport.session.session import Session
from homeport.terms import Role
from pair.pair import BOOT

Way = Callable[[Session, bytes], list[Event]]


def sent(message: Message) -> bytes:
    return encode(Envelope(body=message, id="7", urn="urn:dslforum-org:cwmp-1-2"))


def values(count: int) -> bytes:
    return sent(GetParameterValuesResponse(tuple(ParameterValueStruct(f"Device.P{i}", "v") for i in range(count))))


def long_row(text: str) -> bytes:
    """A list with a row so long that it is read elsewhere."""
    rows = (ParameterValueStruct("Device.P", text), *(ParameterValueStruct(f"Device.P{i}", "v") for i in range(900)))
    return sent(GetParameterValuesResponse(rows))


TRANSFER = sent(TransferComplete("key")).replace(b"<FaultCode>0<", b"<FaultCode>none<")

BODIES = {
    "values": values(2_000),
    "a call that cannot be read": TRANSFER,
    "a list that cannot be read": values(2_000).replace(b"</Name>", b"</name>", 1),
    "a long row": long_row("x" * 300_000),
    "a long row that cannot be read": long_row("x" * 300_000).replace(b"xxx", b"<x>", 1),
    "nothing but space": b" \r\n" * 1_000,
    "no XML": b"x" * 1_000,
}


def at_once(session: Session, body: bytes) -> list[Event]:
    return session.receive(body, now=0.0)


def in_parts(session: Session, body: bytes) -> list[Event]:
    return asyncio.run(in_slices(session.receive_in_parts(body, now=0.0)))


def outcome(way: Way, body: bytes, *, asked: bool) -> tuple[object, ...]:
    """What the message is to an ACS in a session: events, or the refusal and the answer that the device gets."""
    session = Session(Role.ACS)
    session.receive(sent(BOOT), now=0.0)
    session.send(InformResponse(), now=0.0)
    if asked:
        session.receive(b"", now=0.0)
        session.send(GetParameterValues(("Device.",)), now=0.0)
    try:
        return way(session, body), session.state
    except RemoteProtocolError as e:
        return type(e), str(e), e.http_status, e.fault_code, session.refusal(e, now=0.0), session.state


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("asked", [False, True])
def test_a_session_takes_a_message_in_parts_as_at_once(name: str, asked: bool) -> None:
    """The same events and state; of a refusal the same words, fault code, and ID in the fault that the device gets."""
    assert outcome(in_parts, BODIES[name], asked=asked) == outcome(at_once, BODIES[name], asked=asked)
