"""Who may say what, and what comes of it: one table for both ends, from which the diagram in the documentation is drawn.

A session has one state that both ends can follow, because CWMP never lets both speak at once: each HTTP request is the CPE's turn,
each HTTP response the ACS's. What a message means is in `cpe_side` and `acs_side`; here is only whether it may be said.
Source: TR-069a6 3.7.1.4 and 3.7.2.4; the meaning of a released hold follows catawampus (unverified).
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

from homeport.terms import Role


class State(StrEnum):
    """Where a session stands. `_HELD`: the ACS holds the CPE's requests. `_OWED`: it did, and the CPE may still have some."""

    START = "START"
    INFORMED = "INFORMED"
    CPE_TURN = "CPE_TURN"
    CPE_TURN_HELD = "CPE_TURN_HELD"
    CPE_ASKED = "CPE_ASKED"
    ACS_TURN = "ACS_TURN"
    ACS_TURN_HELD = "ACS_TURN_HELD"
    ACS_TURN_OWED = "ACS_TURN_OWED"
    ACS_ASKED = "ACS_ASKED"
    ACS_ASKED_HELD = "ACS_ASKED_HELD"
    ACS_ASKED_OWED = "ACS_ASKED_OWED"
    LAST_CALL = "LAST_CALL"
    ENDED = "ENDED"


MEANING: Final[Mapping[State, str]] = {
    State.START: "Nothing was said, or the Inform is to be sent again.",
    State.INFORMED: "The Inform waits for its answer.",
    State.CPE_TURN: "The CPE may call the ACS, or say with an empty POST that it has no more requests.",
    State.CPE_TURN_HELD: "The ACS holds requests: the CPE may only post empty.",
    State.CPE_ASKED: "A request of the CPE waits for its answer.",
    State.ACS_TURN: "The CPE has no more requests: the ACS may call it, or end with an empty response.",
    State.ACS_TURN_HELD: "As ACS_TURN, but the CPE has requests held back.",
    State.ACS_TURN_OWED: "As ACS_TURN, but the hold is over and the CPE has not said that it has no more requests.",
    State.ACS_ASKED: "A request of the ACS waits for its answer.",
    State.ACS_ASKED_HELD: "As ACS_ASKED, while the CPE's requests are held.",
    State.ACS_ASKED_OWED: "As ACS_ASKED, after a hold was released.",
    State.LAST_CALL: "The ACS has no more requests; the CPE may send those that were held, or end.",
    State.ENDED: "The session is over; nothing may be said.",
}
"""What each state means, for the documentation."""


class Kind(StrEnum):
    """What a message is to the session. `_HOLD`: its header says HoldRequests; only the ACS can say that."""

    INFORM = "INFORM"
    INFORM_RESPONSE = "INFORM_RESPONSE"
    INFORM_RESPONSE_HOLD = "INFORM_RESPONSE_HOLD"
    REQUEST = "REQUEST"
    REQUEST_HOLD = "REQUEST_HOLD"
    RESPONSE = "RESPONSE"
    RESPONSE_HOLD = "RESPONSE_HOLD"
    FAULT = "FAULT"
    FAULT_HOLD = "FAULT_HOLD"
    RETRY = "RETRY"  # fault 8005: send the same request again
    EMPTY = "EMPTY"


HELD: Final[Mapping[Kind, Kind]] = {
    Kind.INFORM_RESPONSE: Kind.INFORM_RESPONSE_HOLD,
    Kind.REQUEST: Kind.REQUEST_HOLD,
    Kind.RESPONSE: Kind.RESPONSE_HOLD,
    Kind.FAULT: Kind.FAULT_HOLD,
}
"""The kind that a message becomes when it carries HoldRequests; others are what they are (8005 asks for a request by itself)."""

_CPE, _ACS = Role.CPE, Role.ACS

TABLE: Final[Mapping[tuple[State, Role, Kind], State]] = {
    (State.START, _CPE, Kind.INFORM): State.INFORMED,
    (State.INFORMED, _ACS, Kind.INFORM_RESPONSE): State.CPE_TURN,
    (State.INFORMED, _ACS, Kind.INFORM_RESPONSE_HOLD): State.CPE_TURN_HELD,
    (State.INFORMED, _ACS, Kind.RETRY): State.START,
    (State.INFORMED, _ACS, Kind.FAULT): State.ENDED,
    (State.INFORMED, _ACS, Kind.FAULT_HOLD): State.ENDED,
    (State.CPE_TURN, _CPE, Kind.REQUEST): State.CPE_ASKED,
    (State.CPE_TURN, _CPE, Kind.EMPTY): State.ACS_TURN,
    (State.CPE_TURN_HELD, _CPE, Kind.EMPTY): State.ACS_TURN_HELD,
    (State.CPE_ASKED, _ACS, Kind.RESPONSE): State.CPE_TURN,
    (State.CPE_ASKED, _ACS, Kind.RESPONSE_HOLD): State.CPE_TURN_HELD,
    (State.CPE_ASKED, _ACS, Kind.FAULT): State.CPE_TURN,
    (State.CPE_ASKED, _ACS, Kind.FAULT_HOLD): State.CPE_TURN_HELD,
    (State.CPE_ASKED, _ACS, Kind.RETRY): State.CPE_TURN,
    # Once the CPE has said that it has no more requests, a hold has nothing left to hold.
    (State.ACS_TURN, _ACS, Kind.REQUEST): State.ACS_ASKED,
    (State.ACS_TURN, _ACS, Kind.REQUEST_HOLD): State.ACS_ASKED,
    (State.ACS_TURN, _ACS, Kind.EMPTY): State.ENDED,
    (State.ACS_ASKED, _CPE, Kind.RESPONSE): State.ACS_TURN,
    (State.ACS_ASKED, _CPE, Kind.FAULT): State.ACS_TURN,
    (State.ACS_TURN_HELD, _ACS, Kind.REQUEST): State.ACS_ASKED_OWED,
    (State.ACS_TURN_HELD, _ACS, Kind.REQUEST_HOLD): State.ACS_ASKED_HELD,
    (State.ACS_TURN_HELD, _ACS, Kind.EMPTY): State.ENDED,
    (State.ACS_ASKED_HELD, _CPE, Kind.RESPONSE): State.ACS_TURN_HELD,
    (State.ACS_ASKED_HELD, _CPE, Kind.FAULT): State.ACS_TURN_HELD,
    (State.ACS_TURN_OWED, _ACS, Kind.REQUEST): State.ACS_ASKED_OWED,
    (State.ACS_TURN_OWED, _ACS, Kind.REQUEST_HOLD): State.ACS_ASKED_HELD,
    (State.ACS_TURN_OWED, _ACS, Kind.EMPTY): State.LAST_CALL,
    (State.ACS_ASKED_OWED, _CPE, Kind.RESPONSE): State.ACS_TURN_OWED,
    (State.ACS_ASKED_OWED, _CPE, Kind.FAULT): State.ACS_TURN_OWED,
    (State.LAST_CALL, _CPE, Kind.REQUEST): State.CPE_ASKED,
}
"""(state, who speaks, what) -> next state. What is not here may not be said."""

EMPTY_ANSWER: Final = "empty-answer"
"""Quirk: the CPE answers a request with an empty POST (netcwmp, where it does not understand the envelope's prefix)."""

EMPTY_AFTER_END: Final = "empty-after-end"
"""Quirk: the CPE posts empty once more after the ACS had nothing left."""

TOLERATED: Final[Mapping[tuple[State, Role, Kind], tuple[State, str]]] = {
    (State.ACS_ASKED, _CPE, Kind.EMPTY): (State.ACS_TURN, EMPTY_ANSWER),
    (State.ACS_ASKED_HELD, _CPE, Kind.EMPTY): (State.ACS_TURN_HELD, EMPTY_ANSWER),
    (State.ACS_ASKED_OWED, _CPE, Kind.EMPTY): (State.ACS_TURN_OWED, EMPTY_ANSWER),
    (State.LAST_CALL, _CPE, Kind.EMPTY): (State.ACS_TURN, EMPTY_AFTER_END),
}
"""What a peer may say although the standard does not let it, with the quirk's name. We never say it ourselves."""

MAY_REQUEST: Final[Mapping[Role, frozenset[State]]] = {
    role: frozenset(state for state, sender, kind in TABLE if sender is role and kind is Kind.REQUEST) for role in Role
}
"""The states in which a role may call its peer."""

WAITS_FOR: Final[Mapping[State, Role]] = {state: sender for state, sender, _ in TABLE}
"""Whose turn it is in each state; ENDED is nobody's."""


def transitions() -> Iterator[tuple[State, Role, Kind, State, str]]:
    """Every row of both tables in their order: (state, sender, kind, next state, quirk name or "")."""
    for (state, sender, kind), after in TABLE.items():
        yield state, sender, kind, after, ""
    for (state, sender, kind), (after, quirk) in TOLERATED.items():
        yield state, sender, kind, after, quirk


def mermaid() -> str:
    """The table as a Mermaid state diagram; arrows of the same two states share one label."""
    labels: dict[tuple[State, State], list[str]] = {}
    for state, sender, kind, after, quirk in transitions():
        labels.setdefault((state, after), []).append(f"{sender.upper()} {kind}{' (quirk)' if quirk else ''}")
    lines = ["stateDiagram-v2", f"    [*] --> {State.START}"]
    lines += [f"    {state} --> {after}: {', '.join(said)}" for (state, after), said in labels.items()]
    lines += [f"    {State.LAST_CALL} --> {State.ENDED}: CPE has nothing left", f"    {State.ENDED} --> [*]"]
    return "\n".join(lines)


def reference_page() -> str:
    """docs/reference/session-states.md, whole; a test holds the committed page to it."""
    lines = [
        "# Session states",
        "",
        "`homeport.session.states.reference_page()` gives this page back, and a test holds it to that: edit the table.",
        "",
        "One table serves both ends. A message that the table does not hold is refused and leaves the state as it was:",
        "`LocalProtocolError` where our own side asked for it, `RemoteProtocolError` where the peer sent it.",
        "Any state also ends at a time limit, at a lost connection, or when the owner gives up.",
        "",
        "```mermaid",
        mermaid(),
        "```",
        "",
        "## States",
        "",
        "| State | Whose turn | Meaning |",
        "|---|---|---|",
    ]
    turn = {state: role.upper() for state, role in WAITS_FOR.items()}
    lines += [f"| `{state}` | {turn.get(state, '-')} | {meaning} |" for state, meaning in MEANING.items()]
    lines += ["", "## Transitions", "", "| State | Sender | Message | Next state | Quirk |", "|---|---|---|---|---|"]
    lines += [
        f"| `{state}` | {sender.upper()} | `{kind}` | `{after}` | {f'`{quirk}`' if quirk else ''} |"
        for state, sender, kind, after, quirk in transitions()
    ]
    lines += [
        "",
        "A message ending in `_HOLD` carries the header `HoldRequests` with the value true. `RETRY` is the fault 8005.",
        "A quirk is accepted from a peer and never sent by Homeport.",
    ]
    return "\n".join(lines) + "\n"
