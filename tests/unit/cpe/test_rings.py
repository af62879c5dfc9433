"""Connection requests of all ways together: one wish, one session, and never more than the throttle allows."""

import asyncio

import pytest

from cpe_support.bench import Bench
from homeport.cpe.parts.part import Part
from homeport.cpe.rings import PERIOD, Ring, Rings
from homeport.errors import ConfigError
from homeport.terms import EventCode

WAYS = ("HTTP", "UDP", "XMPP")


def test_a_request_while_another_waits_for_its_inform_is_answered_with_it():
    """By whatever way it comes, and it does not count against the throttle: no session is opened for it."""
    rings = Rings(1)
    assert rings.judge(0.0, waits=False) is Ring.NEW
    assert [rings.judge(0.1, waits=True) for _ in range(5)] == [Ring.ANSWERED_SOON] * 5


def test_a_request_after_the_inform_is_a_new_wish():
    """However soon it comes: the session may be over, and what is asked for after it would wait."""
    rings = Rings(10)
    assert [rings.judge(0.01 * n, waits=False) for n in range(3)] == [Ring.NEW] * 3


def test_more_than_the_limit_in_a_minute_are_refused():
    """A sliding minute."""
    rings = Rings(3)
    found = [rings.judge(10.0 * n, waits=False) for n in range(4)]
    assert found == [Ring.NEW, Ring.NEW, Ring.NEW, Ring.TOO_MANY]
    assert rings.judge(PERIOD, waits=False) is Ring.NEW


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
            agent.connection_requested(WAYS[n % 3])
            await bench.clock.advance(0.6)
        assert len(bench.informs) - begin <= 5 * 10
        assert agent.status.connection_requests_refused > 0
        assert bench.most_open_channels == 1
        assert sum("refused" in line for line in agent.client_log.lines()) <= 10
        await bench.stop()

    asyncio.run(play())


@pytest.mark.case("C05")
def test_requests_by_several_ways_before_the_session_lead_to_one(tmp_path):
    """An ACS that rings by every way at once is called back once."""

    async def play():
        bench = Bench(tmp_path)
        agent = await bench.start()
        before = len(bench.informs)
        assert [agent.connection_requested(way) for way in WAYS] == [True] * 3
        await bench.clock.settle()
        assert [bench.events(n) for n in range(before, len(bench.informs))] == [["6 CONNECTION REQUEST"]]
        await bench.stop()

    asyncio.run(play())


@pytest.mark.case("C05")
def test_a_request_by_another_way_after_the_session_opens_another(tmp_path):
    """A session is over within a tenth of a second; a task that the ACS queues then must not wait for the next periodic contact."""

    async def play():
        bench = Bench(tmp_path)
        agent = await bench.start()
        before = len(bench.informs)
        for way in WAYS:
            assert agent.connection_requested(way) is True
            await bench.clock.advance(0.1)
        assert [bench.events(n) for n in range(before, len(bench.informs))] == [["6 CONNECTION REQUEST"]] * 3
        await bench.stop()

    asyncio.run(play())


@pytest.mark.case("C06")
def test_a_request_by_another_way_during_the_session_opens_another(tmp_path):
    """It may have overtaken the answer with which the ACS ends the session, and then it is about something newer."""

    async def play():
        bench = Bench(tmp_path)
        agent = await bench.start()

        def ring(body: bytes) -> None:
            if not body:  # the empty POST: the ACS has nothing more
                bench.on_post = None
                assert agent.connection_requested("UDP") is True

        before = len(bench.informs)
        bench.on_post = ring
        agent.connection_requested("HTTP")
        await bench.clock.settle()
        assert [bench.events(n) for n in range(before, len(bench.informs))] == [["6 CONNECTION REQUEST"]] * 2
        await bench.stop()

    asyncio.run(play())


def test_a_request_while_the_session_is_prepared_is_answered_by_it(tmp_path):
    """What takes its time before the Inform (a plug-in that is asked) is no session yet; nothing empty comes after it."""

    class Slow(Part):
        """Asked before each Inform; somebody rings meanwhile."""

        async def prepare(self, paths, *, rows_only=False):
            if bench.agent is not None and bench.agent.loop.in_session and wishes:
                assert bench.agent.connection_requested(wishes.pop()) is True

    wishes: list[str] = []
    bench = Bench(tmp_path, parts=lambda agent: [Slow()])

    async def play():
        agent = await bench.start()
        before = len(bench.informs)
        wishes.extend(["UDP", "XMPP"])
        agent.trigger(EventCode.PERIODIC)
        await bench.clock.settle()
        assert bench.events(before) == ["2 PERIODIC", "6 CONNECTION REQUEST"]
        assert len(bench.informs) == before + 1
        await bench.stop()

    asyncio.run(play())


def test_a_request_hastens_the_retry_of_a_session_for_which_there_was_no_way(tmp_path):
    """A new event starts an attempt at once, also where the one before could not even begin (TR-069a6 3.2.1.1)."""

    async def play():
        bench = Bench(tmp_path)
        agent = await bench.start()

        def broken(url: str):
            raise ConfigError("cannot read the CA file /none.pem")

        way, agent.loop.channel = agent.loop.channel, broken
        agent.connection_requested("HTTP")
        await bench.clock.settle()
        agent.loop.channel = way
        before = len(bench.informs)
        assert agent.connection_requested("UDP") is True
        await bench.clock.settle()
        assert [bench.events(n) for n in range(before, len(bench.informs))] == [["6 CONNECTION REQUEST"]]
        await bench.stop()

    asyncio.run(play())
