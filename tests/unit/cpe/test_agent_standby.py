"""Standby and heartbeats: what the ACS hears when the machine slept, and of a device that has nothing to say."""

import asyncio

import pytest

from cpe_support.bench import Bench
from cpe_support.bench_profile import bench_profile
from cpe_support.virtual_clock import VirtualClock
from homeport.codec.messages import ParameterValueStruct, ScheduleInform, SetParameterValues
from homeport.cpe.clock import SystemClock
from homeport.cpe.standby import StandbyPolicy, StandbyWatch
from homeport.terms import EventCode

SERVER = "Device.ManagementServer."
HEARTBEAT = {
    "HeartbeatPolicy.Enable": ("1", "boolean"),
    "HeartbeatPolicy.ReportingInterval": ("30", "unsignedInt"),
    "HeartbeatPolicy.InitiationTime": ("2000-01-01T00:00:00Z", "dateTime"),
}


def play(tmp_path, story) -> None:
    """story(bench) with a started agent that the ACS has met."""

    async def run() -> None:
        bench = Bench(tmp_path, profile=bench_profile(reachable=True))
        await bench.start()
        await story(bench)
        await bench.stop()
        assert bench.most_open_channels == 1

    asyncio.run(run())


def setting(values: dict[str, tuple[str, str]]) -> SetParameterValues:
    return SetParameterValues(tuple(ParameterValueStruct(SERVER + n, v, t) for n, (v, t) in values.items()), "")


async def sleep(bench: Bench, seconds: float) -> None:
    """The machine is in standby for so long; the agent notices within the time between two looks at the clock."""
    bench.clock.standby(seconds)
    await bench.clock.advance(300)


@pytest.mark.parametrize(("slept", "events"), [(3601, ["13 WAKEUP"]), (3599, None)])
def test_a_standby_that_was_longer_than_the_acs_wants_is_told(tmp_path, slept, events):
    """CRUnawarenessMaxDuration: more than so many seconds without hearing connection requests (Annex L)."""

    async def story(bench: Bench) -> None:
        await bench.ask(setting({"StandbyPolicy.CRUnawarenessMaxDuration": ("3600", "int")}))
        before = len(bench.informs)
        await sleep(bench, slept)
        assert [bench.events(n) for n in range(before, len(bench.informs))] == ([events] if events else [])

    play(tmp_path, story)


def test_missed_periodic_contacts_are_told_where_they_were_too_many(tmp_path):
    """MaxMissedPeriodic 2: three missed ones wake the ACS; the missed contact itself is made up for once."""

    async def story(bench: Bench) -> None:
        await bench.ask(
            setting(
                {
                    "StandbyPolicy.MaxMissedPeriodic": ("2", "int"),
                    "PeriodicInformEnable": ("1", "boolean"),
                    "PeriodicInformInterval": ("600", "unsignedInt"),
                    "PeriodicInformTime": ("2000-01-01T00:00:00Z", "dateTime"),
                }
            )
        )
        before = len(bench.informs)
        await sleep(bench, 1300)
        assert [bench.events(n) for n in range(before, len(bench.informs))] == [["2 PERIODIC"]]
        before = len(bench.informs)
        await sleep(bench, 1900)
        assert bench.events(before) == ["2 PERIODIC", "13 WAKEUP"]

    play(tmp_path, story)


@pytest.mark.parametrize(("wanted", "first"), [("1", ["3 SCHEDULED", "13 WAKEUP", "M ScheduleInform"]), ("0", None)])
def test_a_scheduled_contact_that_was_slept_through_comes_at_once(tmp_path, wanted, first):
    """Its delay counts the time asleep; NotifyMissedScheduled adds 13 WAKEUP."""

    async def story(bench: Bench) -> None:
        await bench.ask(
            setting({"StandbyPolicy.NotifyMissedScheduled": (wanted, "boolean")}), ScheduleInform(5000, "k")
        )
        before = len(bench.informs)
        await sleep(bench, 6000)
        assert bench.events(before) == (first or ["3 SCHEDULED", "M ScheduleInform"])
        assert len(bench.informs) == before + 1

    play(tmp_path, story)


def test_without_a_policy_no_standby_is_told(tmp_path):
    """-1, -1, false are the factory values."""

    async def story(bench: Bench) -> None:
        before = len(bench.informs)
        await sleep(bench, 1e6)
        assert len(bench.informs) == before
        assert any("out of standby" in line for line in bench.agent.client_log.lines())

    play(tmp_path, story)


def test_a_wakeup_is_retried_until_it_was_heard(tmp_path):
    """It must be; a failed session keeps it."""

    async def story(bench: Bench) -> None:
        await bench.ask(setting({"StandbyPolicy.CRUnawarenessMaxDuration": ("0", "int")}))
        bench.refuse = True
        bench.clock.standby(50)
        bench.agent.loop.wake.set()
        await bench.clock.settle()
        bench.refuse = False
        await bench.clock.advance(10)
        assert bench.events() == ["13 WAKEUP"]
        assert bench.informs[-1].retry_count == 1

    play(tmp_path, story)


def test_a_sleep_is_counted_once_and_errors_of_measurement_not_at_all():
    """From the growing sum of all sleeps."""
    watch = StandbyWatch(100.0)
    assert [watch.slept(x) for x in (100.4, 100.9, 107.0, 107.0)] == [0.0, 0.0, 7.0, 0.0]


def test_the_machines_clock_knows_how_long_it_slept():
    """CLOCK_BOOTTIME less CLOCK_MONOTONIC: never negative, and it does not grow while we are awake."""
    clock = SystemClock()
    first = clock.asleep()
    assert first > -0.01
    assert clock.asleep() - first < 0.1


@pytest.mark.parametrize("policy", [StandbyPolicy(), StandbyPolicy(10, 3, False)])
def test_limits_are_exceeded_by_more_only(policy):
    """More than, not as much as."""
    assert not policy.wants_wakeup(10, missed_periodic=3, missed_scheduled=5)


@pytest.mark.case("E12")
def test_a_heartbeat_that_fails_is_not_retried_and_does_not_count(tmp_path):
    """RetryCount stays 0, and the next one comes when it is due."""

    async def story(bench: Bench) -> None:
        await bench.ask(setting(HEARTBEAT))
        bench.refuse = True
        bench.attempts.clear()
        await bench.clock.advance(31)
        bench.refuse = False
        assert len(bench.attempts) == 1
        assert bench.agent.policy.retry_count == 0
        before = len(bench.informs)
        await bench.clock.advance(30)
        assert [bench.events(n) for n in range(before, len(bench.informs))] == [["14 HEARTBEAT"]]
        assert bench.informs[-1].retry_count == 0

    play(tmp_path, story)


@pytest.mark.case("E12")
def test_no_heartbeat_while_another_inform_waits_for_its_retry(tmp_path):
    """Only the retries are tried then."""

    async def story(bench: Bench) -> None:
        await bench.ask(
            setting(HEARTBEAT | {"CWMPRetryMinimumWaitInterval": ("60000", "unsignedInt")}),
        )
        bench.refuse = True
        bench.agent.trigger(EventCode.PERIODIC)
        await bench.clock.settle()
        bench.attempts.clear()
        await bench.clock.advance(1000)
        assert bench.attempts == []

    play(tmp_path, story)


def test_a_heartbeat_begins_where_its_initiation_time_says(tmp_path):
    """The same arithmetic as PeriodicInformTime: whole half minutes of the wall clock."""

    async def run() -> None:
        bench = Bench(tmp_path, clock=VirtualClock(1_800_000_007.0))
        await bench.start()
        await bench.ask(setting(HEARTBEAT))
        bench.attempts.clear()
        await bench.clock.advance(61)
        assert [t for t, _ in bench.attempts] == [23.0, 53.0]
        await bench.stop()

    asyncio.run(run())
