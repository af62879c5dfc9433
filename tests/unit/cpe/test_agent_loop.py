"""The moments around a session: while it is prepared, when the device itself fails in it, when the agent is told to stop."""

import asyncio

import pytest

from cpe_support.bench import URL, Bench
from homeport.cpe.clock import INFINITE_TIME
from homeport.cpe.loop import Exit
from homeport.cpe.parts.part import Part
from homeport.errors import ConfigError
from homeport.terms import EventCode, Writer

OTHER = "http://other.example:7547/"
URL_NAME = "Device.ManagementServer.URL"


class Busy(Part):
    """Does something while a session is prepared, once."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.deed = None

    async def prepare(self, paths, *, rows_only=False):
        agent = self.bench.agent
        if agent is not None and agent.loop.in_session and self.deed is not None:
            deed, self.deed = self.deed, None
            deed(agent)


def play(tmp_path, story):
    """story(bench, part) on a virtual clock, after the first session."""

    async def run():
        bench = Bench(tmp_path, parts=lambda agent: [part])
        part = Busy(bench)
        await bench.start()
        await story(bench, part)
        if not bench.ended:
            await bench.stop()

    asyncio.run(run())


@pytest.mark.case("R22")
def test_a_url_that_changes_while_a_session_is_prepared_is_news_for_the_new_acs_only(tmp_path):
    """The old one would take `0 BOOTSTRAP`, and the new one would never hear it."""

    async def story(bench: Bench, part: Busy) -> None:
        part.deed = lambda agent: agent.model.set_local(URL_NAME, OTHER, Writer.LOCAL)
        before = len(bench.informs)
        bench.agent.trigger(EventCode.PERIODIC)
        await bench.clock.settle()
        told = list(zip([url for _, url in bench.attempts[before:]], bench.informs[before:], strict=True))
        codes = [(url, [e.event_code for e in inform.event]) for url, inform in told]
        assert codes[0][0] == URL and "0 BOOTSTRAP" not in codes[0][1]
        assert codes[1][0] == OTHER and "0 BOOTSTRAP" in codes[1][1]
        assert len(codes) == 2

    play(tmp_path, story)


def test_a_stop_while_a_session_is_prepared_opens_none(tmp_path):
    """What is owed stays owed, and is told after the next start."""

    async def story(bench: Bench, part: Busy) -> None:
        part.deed = lambda agent: agent.stop()
        before = len(bench.informs)
        bench.agent.trigger(EventCode.PERIODIC)
        await bench.clock.settle()
        assert bench.ended and len(bench.informs) == before
        await bench.start()
        assert "2 PERIODIC" in bench.events()

    play(tmp_path, story)


class Broken:
    """A way to the ACS on which something else fails than the network."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def post(self, body: bytes):
        raise self.error

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RuntimeError("a defect"), "internal"), (ConfigError("the CA file /none.pem cannot be used"), "config")],
)
def test_what_fails_inside_the_device_ends_the_session_and_not_the_agent(tmp_path, error, kind):
    """The agent is the way to repair the device from afar: it says what failed, and tries again."""

    async def story(bench: Bench, part: Busy) -> None:
        agent = bench.agent
        way, agent.loop.channel = agent.loop.channel, lambda url: Broken(error)
        agent.trigger(EventCode.PERIODIC)
        await bench.clock.settle()
        assert not bench.ended and agent.status.last_session.kind == kind
        assert ("/none.pem" if kind == "config" else "RuntimeError") in agent.status.reason
        agent.loop.channel = way
        await bench.clock.advance(15)
        assert "2 PERIODIC" in bench.events() and bench.informs[-1].retry_count == 1
        await bench.stop()
        assert agent.loop.exit is Exit.STOPPED

    play(tmp_path, story)


def test_a_full_disk_before_the_first_contact_does_not_end_the_agent(tmp_path, caplog):
    """What the start wrote may then be told once more; the device stays within reach."""

    async def story(bench: Bench, part: Busy) -> None:
        agent = bench.agent
        agent.model.set_local("Device.ManagementServer.ConnectionRequestURL", "http://192.0.2.7:7547/x", Writer.SYSTEM)
        assert agent.model.pending_changes(poll=False)
        agent.store._db.execute("PRAGMA query_only = 1")
        agent.loop._drop_old_news()
        assert "cannot be written" in caplog.text
        agent.store._db.execute("PRAGMA query_only = 0")
        agent.trigger(EventCode.PERIODIC)
        await bench.clock.settle()
        assert "2 PERIODIC" in bench.events()

    play(tmp_path, story)


def test_the_longest_wait_for_a_retry_can_be_shown(tmp_path):
    """The ACS may set a minimum and a multiplier of 65535 each: the tenth retry then lies beyond every calendar (TR-181)."""

    async def story(bench: Bench, part: Busy) -> None:
        agent = bench.agent
        for name in ("CWMPRetryMinimumWaitInterval", "CWMPRetryIntervalMultiplier"):
            agent.model.set_local(f"Device.ManagementServer.{name}", "65535", Writer.LOCAL)
        bench.refuse = True
        for _ in range(10):
            agent.trigger(EventCode.PERIODIC)
            await bench.clock.settle()
        assert not bench.ended and agent.status.next_contact == INFINITE_TIME
        bench.refuse = False
        agent.connection_requested()
        await bench.clock.settle()
        assert agent.status.connected

    play(tmp_path, story)
