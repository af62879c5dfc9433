"""Connection requests of all ways together: one wish, one session, and never more than the throttle allows."""

import asyncio

import pytest

from cpe_support.bench import Bench
from homeport.cpe.rings import PERIOD, SAME_WISH, Ring, Rings


def test_one_wish_by_three_ways_is_one():
    """An ACS that asks by HTTP, UDP and XMPP at once wants one session."""
    rings = Rings(10)
    assert [rings.judge(way, 0.1 * n, in_session=False) for n, way in enumerate(("HTTP", "UDP", "XMPP"))] == [
        Ring.NEW,
        Ring.SAME_WISH,
        Ring.SAME_WISH,
    ]


def test_the_same_way_again_is_a_new_wish():
    """The ACS has heard the answer to the first one."""
    rings = Rings(10)
    assert rings.judge("HTTP", 0.0, in_session=False) is Ring.NEW
    assert rings.judge("HTTP", 0.1, in_session=True) is Ring.NEW


def test_another_way_later_is_a_new_wish_unless_the_session_still_runs():
    """What the running session does is what the request wants."""
    rings = Rings(10)
    rings.judge("HTTP", 0.0, in_session=False)
    assert rings.judge("UDP", SAME_WISH + 20, in_session=True) is Ring.SAME_WISH
    assert rings.judge("XMPP", SAME_WISH + 60, in_session=False) is Ring.NEW


def test_a_session_of_another_cause_does_not_answer_a_request():
    """The first request ever is new, also while a session runs."""
    assert Rings(10).judge("UDP", 0.0, in_session=False) is Ring.NEW


def test_more_than_the_limit_in_a_minute_are_refused_whatever_way_they_take():
    """A sliding minute."""
    rings = Rings(3)
    found = [rings.judge(way, 10.0 * n, in_session=False) for n, way in enumerate(("HTTP", "UDP", "XMPP", "UDP"))]
    assert found == [Ring.NEW, Ring.NEW, Ring.NEW, Ring.TOO_MANY]
    assert rings.judge("HTTP", PERIOD, in_session=False) is Ring.NEW


def test_refusals_are_logged_once_a_minute():
    """A flood does not fill the log."""
    rings = Rings(1)
    assert [rings.worth_a_line(t) for t in (0.0, 1.0, 59.0, 60.0, 61.0)] == [True, False, False, True, False]


@pytest.mark.case("C05")
@pytest.mark.case("C07")
def test_a_hostile_requester_starts_no_more_sessions_than_the_throttle_allows(tmp_path):
    """Who knows the password and rings a thousand times in ten minutes, by all ways, gets five sessions a minute."""

    async def play():
        bench = Bench(tmp_path, connection_request_limit=5)
        agent = await bench.start()
        begin = len(bench.informs)
        for n in range(1000):
            agent.connection_requested(("HTTP", "UDP", "XMPP")[n % 3])
            await bench.clock.advance(0.6)
        assert len(bench.informs) - begin <= 5 * 10
        assert agent.status.connection_requests_refused > 0
        assert bench.most_open_channels == 1
        assert sum("refused" in line for line in agent.client_log.lines()) <= 10
        await bench.stop()

    asyncio.run(play())
