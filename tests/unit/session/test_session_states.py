"""The state table by itself, and the page that is made from it."""

from itertools import product
from pathlib import Path

import pytest

from homeport.session.states import HELD, MAY_REQUEST, MEANING, TABLE, TOLERATED, WAITS_FOR, Kind, State, reference_page
from homeport.terms import Role

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "session-states.md"


def test_the_committed_page_is_what_the_table_says():
    """docs/reference/session-states.md is generated; `homeport.session.states.reference_page` is its source."""
    assert PAGE.read_text(encoding="utf-8") == reference_page()


def test_only_one_end_may_speak_in_any_state():
    """CWMP is half-duplex: an HTTP request is the CPE's turn, a response the ACS's."""
    for state in State:
        senders = {sender for s, sender, _ in TABLE if s is state}
        assert senders == ({WAITS_FOR[state]} if state is not State.ENDED else set())


def test_every_state_can_be_reached_and_left():
    """A session that cannot end would never be freed."""
    reached, frontier = {State.START}, [State.START]
    while frontier:
        here = frontier.pop()
        for (state, _, _), after in TABLE.items():
            if state is here and after not in reached:
                reached.add(after)
                frontier.append(after)
    assert reached == set(State)
    can_end = {State.ENDED, State.LAST_CALL}
    for _ in State:
        can_end |= {state for (state, _, _), after in TABLE.items() if after in can_end}
    assert can_end == set(State)


def test_every_state_is_explained():
    """The generated page has a sentence for each state."""
    assert set(MEANING) == set(State)


def test_only_the_acs_can_hold_requests():
    """HoldRequests travels from the ACS to the CPE only."""
    assert all(sender is Role.ACS for _, sender, kind in TABLE if kind in HELD.values())


def test_held_cpe_can_send_no_request():
    """While HoldRequests is true the CPE may only post empty or answer."""
    held = [s for s in State if s.endswith("_HELD")]
    assert not any((s, Role.CPE, Kind.REQUEST) in TABLE for s in held)


def test_an_acs_never_asks_before_the_cpe_has_posted_empty():
    """The ACS's turn begins only where the CPE has sent an empty POST or an answer."""
    entries = {(sender, kind) for (_, sender, kind), after in TABLE.items() if after in MAY_REQUEST[Role.ACS]}
    assert entries == {(Role.CPE, Kind.EMPTY), (Role.CPE, Kind.RESPONSE), (Role.CPE, Kind.FAULT)}


@pytest.mark.parametrize(("state", "sender", "kind"), list(product(State, Role, Kind)))
def test_what_is_tolerated_is_not_allowed(state, sender, kind):
    """A quirk is outside of the standard's table, so that we never send it ourselves."""
    assert not ((state, sender, kind) in TABLE and (state, sender, kind) in TOLERATED)
