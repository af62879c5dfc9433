"""Every state x sender x kind, at both ends: it is in the table and makes the step, or it is refused and nothing changes."""

import itertools
from collections import deque

import msgspec
import pytest

from homeport.codec.envelope import Envelope, encode
from homeport.codec.messages import (
    GetParameterValues,
    GetParameterValuesResponse,
    InformResponse,
    Message,
    TransferComplete,
    TransferCompleteResponse,
)
from homeport.errors import LocalProtocolError, RemoteProtocolError
from homeport.session.session import SecondInform, Session
from homeport.session.states import TABLE, TOLERATED, Kind, State
from homeport.terms import Role
from pair.pair import BOOT, Pair, refusal

# A CPE cannot say RETRY: with any fault code, its fault is a FAULT. What it says about holding requests does not count.
SAID = [c for c in itertools.product(State, Role, Kind) if c[1:] != (Role.CPE, Kind.RETRY)]
HEARD = [c for c in SAID if not (c[1] is Role.CPE and c[2].endswith("_HOLD"))]


def message_for(sender: Role, kind: Kind) -> tuple[Message | None, bool]:
    """A message that is this kind when the sender says it, and whether it holds requests."""
    hold = kind.endswith("_HOLD")
    plain = kind.removesuffix("_HOLD")
    ask = GetParameterValues(("Device.",)) if sender is Role.ACS else TransferComplete("key")
    answer = TransferCompleteResponse() if sender is Role.ACS else GetParameterValuesResponse(())
    return {
        "INFORM": (BOOT, hold),
        "INFORM_RESPONSE": (InformResponse(), hold),
        "REQUEST": (ask, hold),
        "RESPONSE": (answer, hold),
        "FAULT": (refusal(8002 if sender is Role.ACS else 9002), hold),
        "RETRY": (refusal(8005), hold),
        "EMPTY": (None, hold),
    }[plain]


def way_to(goal: State) -> list[tuple[Role, Kind]]:
    """The shortest conversation from START to a state."""
    ways: dict[State, list[tuple[Role, Kind]]] = {State.START: []}
    todo = deque([State.START])
    while todo:
        here = todo.popleft()
        for (state, sender, kind), after in TABLE.items():
            if state is here and after not in ways:
                ways[after] = [*ways[here], (sender, kind)]
                todo.append(after)
    return ways[goal]


def pair_in(state: State) -> Pair:
    """A pair that has talked its way to a state."""
    pair = Pair()
    for sender, kind in way_to(state):
        message, hold = message_for(sender, kind)
        if sender is Role.CPE:
            pair.cpe(message)
        else:
            pair.acs(message, hold=hold)
    assert pair.cpe_session.state is state
    assert pair.acs_session.state is state
    return pair


def snapshot(session: Session) -> dict:
    """All that a session knows."""
    return session.to_record()


@pytest.mark.parametrize(("state", "sender", "kind"), SAID)
def test_what_we_say_is_in_the_table_or_refused(state, sender, kind):
    """LocalProtocolError names the state, and leaves the session as it was."""
    pair = pair_in(state)
    session = pair.cpe_session if sender is Role.CPE else pair.acs_session
    message, hold = message_for(sender, kind)
    before = snapshot(session)
    after = TABLE.get((state, sender, kind))
    # An Inform from the ACS, and a held message from a CPE, are refused by other sentences than the table's.
    if after is None or (sender is Role.ACS and kind is Kind.INFORM):
        with pytest.raises(LocalProtocolError):
            session.send(message, now=1000.0, hold_requests=hold)
        assert snapshot(session) == before
    else:
        body = session.send(message, now=1000.0, hold_requests=hold)
        assert session.state is after
        assert (body == b"") == (message is None)


@pytest.mark.parametrize(("state", "sender", "kind"), HEARD)
def test_what_we_hear_is_in_the_table_or_refused(state, sender, kind):
    """RemoteProtocolError leaves the session as it was, so that its owner can answer and go on, or end it."""
    pair = pair_in(state)
    session = pair.acs_session if sender is Role.CPE else pair.cpe_session
    message, hold = message_for(sender, kind)
    body = encode(Envelope(body=message, id="1", urn=session.urn, hold_requests=hold)) if message is not None else b""
    if sender is Role.ACS and kind is Kind.INFORM:
        kind = Kind.REQUEST  # an ACS that calls Inform calls a method that a CPE does not have
    key = (state, sender, kind)
    after = TABLE.get(key) or (TOLERATED[key][0] if key in TOLERATED else None)
    before = snapshot(session)
    if after is None:
        with pytest.raises(RemoteProtocolError) as caught:
            session.receive(body, now=1000.0)
        assert snapshot(session) == before
        assert (type(caught.value) is SecondInform) == (kind is Kind.INFORM and sender is Role.CPE)
    else:
        assert session.receive(body, now=1000.0)
        assert session.state is after


@pytest.mark.parametrize("state", State)
def test_a_session_comes_back_from_its_record_in_any_state(state):
    """The record is plain, and the session that comes back behaves the same."""
    pair = pair_in(state)
    for session in (pair.cpe_session, pair.acs_session):
        packed = msgspec.msgpack.encode(session.to_record())
        restored = Session.from_record(msgspec.msgpack.decode(packed), now=5000.0)
        assert restored.to_record() == session.to_record()
        assert restored.outstanding == session.outstanding
        assert restored.must_answer == session.must_answer
        waits = state not in (State.START, State.ENDED) and not session.our_turn
        assert restored.next_deadline() == (5000.0 + session.timeout if waits else None)


def test_a_record_of_another_version_is_refused():
    """An older or newer process's record must not be half understood."""
    record = Session(Role.ACS).to_record()
    with pytest.raises(LocalProtocolError, match="version 2"):
        Session.from_record({**record, "v": 2}, now=0.0)
