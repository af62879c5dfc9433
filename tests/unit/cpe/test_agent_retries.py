"""Sessions of the agent that fail: when they are tried again, and what the Inform then says; on a virtual clock."""

import itertools

import pytest

from cpe_support.scenes import notify, scene, setting
from homeport.codec.messages import (
    TransferComplete,
)
from homeport.terms import EventCode, Writer


@pytest.mark.case("S24")
@pytest.mark.case("S29")
@scene
async def test_an_unreachable_acs_is_tried_by_the_retry_table(bench):
    """m=5, k=2000: the waits double; the count goes on in the Inform and is 0 again after a success."""
    bench.refuse = True
    await bench.start()
    for _ in range(7):
        await bench.clock.advance(5 * 2**7)
    times = [t for t, _ in bench.attempts]
    waits = [b - a for a, b in itertools.pairwise(times)]
    for n, wait in enumerate(waits, 1):
        assert 5 * 2 ** (n - 1) <= wait <= 5 * 2**n
    assert len(waits) >= 7
    failures = len(times)
    bench.refuse = False
    await bench.clock.advance(5 * 2**10)
    assert bench.informs[0].retry_count == failures
    assert bench.events(0) == ["0 BOOTSTRAP", "1 BOOT"]
    await bench.ask()
    assert bench.informs[1].retry_count == 0


@pytest.mark.case("S25")
@scene
async def test_the_retry_parameters_of_the_model_count(bench):
    """m=2, k=1500: first waits in 2-3, 3-4.5 and 4.5-6.75 s."""
    await bench.start()
    await bench.ask(setting(CWMPRetryMinimumWaitInterval="2", CWMPRetryIntervalMultiplier="1500"))
    bench.refuse = True
    bench.attempts.clear()
    bench.agent.trigger(EventCode.PERIODIC)
    await bench.clock.advance(20)
    times = [t for t, _ in bench.attempts]
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([2.5, 3.75, 5.625])


@pytest.mark.case("S26")
@scene
async def test_with_multiplier_1000_every_wait_is_the_minimum(bench):
    """k=1000."""
    await bench.start()
    await bench.ask(setting(CWMPRetryMinimumWaitInterval="7", CWMPRetryIntervalMultiplier="1000"))
    bench.refuse = True
    bench.attempts.clear()
    bench.agent.trigger(EventCode.PERIODIC)
    await bench.clock.advance(28)
    assert [t - bench.attempts[0][0] for t, _ in bench.attempts] == [0, 7, 14, 21, 28]


@pytest.mark.case("S27")
@scene
async def test_a_new_event_during_the_wait_is_tried_at_once(bench):
    """With the count as it is."""
    await bench.start()
    await bench.ask(notify("Device.WiFi.SSID", 2))
    bench.refuse = True
    bench.agent.trigger(EventCode.PERIODIC)
    await bench.clock.advance(1)
    before = len(bench.attempts)
    bench.refuse = False
    bench.agent.model.set_local("Device.WiFi.SSID", "new", Writer.LOCAL)
    await bench.clock.settle()
    assert len(bench.attempts) == before + 1
    assert bench.informs[-1].retry_count == 1
    assert bench.events() == ["2 PERIODIC", "4 VALUE CHANGE"]


@pytest.mark.case("S28")
@scene
async def test_a_restart_during_the_wait_sets_the_count_to_0_and_keeps_events(bench):
    """Lasting events are still there."""
    await bench.start()
    bench.refuse = True
    bench.agent.trigger(EventCode.PERIODIC)
    await bench.clock.advance(30)
    await bench.power_cut()
    bench.refuse = False
    await bench.start()
    assert bench.informs[-1].retry_count == 0
    assert bench.events() == ["1 BOOT", "2 PERIODIC"]


@pytest.mark.case("E02")
@scene
async def test_a_failed_connection_request_session_is_retried_without_event_6(bench):
    """The next Inform carries no event (E16 allows it), and no 6."""
    await bench.start()
    bench.refuse = True
    bench.agent.connection_requested()
    await bench.clock.settle()
    bench.refuse = False
    await bench.clock.advance(10)
    assert bench.events() == []


@pytest.mark.case("S30")
@pytest.mark.case("E04")
@scene
async def test_events_acknowledged_before_a_loss_are_not_repeated(bench):
    """The ACS falls silent after the InformResponse: 2 PERIODIC is done, 7 and its entry come again."""
    from homeport.errors import TransportError

    await bench.start()
    bench.agent.ledger.owe_request(TransferComplete("fw"), EventCode.M_DOWNLOAD, "fw")
    posts: list[bytes] = []

    def lose_the_second(body: bytes) -> None:
        posts.append(body)
        if len(posts) == 2:
            raise TransportError("connection reset", kind="closed")

    bench.on_post = lose_the_second
    bench.agent.trigger(EventCode.PERIODIC)
    await bench.clock.settle()
    assert bench.events() == ["2 PERIODIC", "7 TRANSFER COMPLETE", "M Download"]
    await bench.clock.advance(10)
    assert bench.events() == ["7 TRANSFER COMPLETE", "M Download"]
    assert bench.informs[-1].retry_count == 1


@scene
async def test_a_way_to_the_acs_that_cannot_be_made_counts_as_a_failed_session(bench):
    """A CA file that is gone, say: said in the status, retried, and never the end of the agent."""
    from homeport.errors import ConfigError

    agent = await bench.start()

    def broken(url: str):
        raise ConfigError("cannot read the CA file /none.pem")

    agent.loop.channel = broken
    agent.trigger(EventCode.PERIODIC)
    await bench.clock.settle()
    assert agent.status.connected is False
    assert "/none.pem" in agent.status.reason
    agent.loop.channel = bench._channel
    await bench.clock.advance(10)
    assert bench.events() == ["2 PERIODIC"]
    assert bench.informs[-1].retry_count == 1
