"""Transfers with time windows: when they start, how often, and what is reported of a window that was missed."""

import asyncio

import pytest

from homeport.codec.messages import (
    EventStruct,
)
from homeport.errors import HomeportError

from .conftest import Bench, Live, schedule


@pytest.mark.case("T12")
def test_a_scheduled_download_starts_inside_its_window(live: Live) -> None:
    """Window 5 to 65 s: the request comes at 5 s; `M ScheduleDownload`; the time limit is what is left of the window."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        began = bench.clock.time
        bench.network.content["http://files/a"] = b"x"
        service.handle(schedule((5, 65, "1 At Any Time", 0)))
        await bench.quiet()
        assert bench.network.asked == []
        bench.clock.advance(5)
        await bench.until(lambda: bench.reports)
        assert bench.network.asked == [("http://files/a", began + 5)]
        assert bench.network.limits[0].total == 60
        assert EventStruct("M ScheduleDownload", "s") in bench.events
        assert bench.reports[0].fault_struct.fault_code == 0

    live(scene)


@pytest.mark.case("T14")
def test_retries_stay_inside_their_window_and_the_second_window_is_used(live: Live) -> None:
    """MaxRetries 1 in the first window, 0 in the second: two attempts, then one; then the transfer's fault."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        began = bench.clock.time
        service.handle(schedule((0, 100, "2 Immediately", 1), (200, 300, "2 Immediately", 0)))
        while bench.clock.time < began + 400:
            await bench.quiet()
            bench.clock.advance(10)
        await bench.until(lambda: bench.reports)
        assert [t - began for _, t in bench.network.asked] == [0, 30, 200]
        assert bench.reports[0].fault_struct.fault_code == 9015
        assert len(bench.reports) == 1

    live(scene)


@pytest.mark.case("T14")
def test_windows_that_pass_unused_end_in_9020(live: Live) -> None:
    """A device that was off, or never idle, says that it could not."""

    async def scene(bench: Bench) -> None:
        bench.options["idle"] = lambda: False
        service = await bench.on()
        service.handle(schedule((5, 65, "1 At Any Time", 0), key="off"))
        service.handle(schedule((0, 500, "3 When Idle", 0), key="busy"))
        service = await bench.again(100)
        await bench.until(lambda: len(bench.reports) == 1)
        for _ in range(50):
            bench.clock.advance(10)
            await bench.quiet()
        await bench.until(lambda: len(bench.reports) == 2)
        assert [(r.command_key, r.fault_struct.fault_code) for r in bench.reports] == [("off", 9020), ("busy", 9020)]
        assert bench.network.asked == []

    live(scene)


def test_a_window_that_ends_before_the_file_is_applied_is_missed(live: Live) -> None:
    """Transfer and application have to lie within a window."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        bench.network.gate = asyncio.Event()
        service.handle(schedule((0, 50, "2 Immediately", 3)))
        await bench.until(lambda: bench.network.asked)
        bench.clock.advance(60)
        bench.network.gate.set()
        await bench.until(lambda: bench.reports)
        assert bench.reports[0].fault_struct.fault_code == 9020
        assert bench.installer.content == []

    live(scene)


def test_consent_and_idleness_are_waited_for(live: Live) -> None:
    """Modes 3 and 4: begun only when the device is idle, or its user said yes to the message."""

    async def scene(bench: Bench) -> None:
        idle = [False]
        bench.options.update(asks=True, idle=lambda: idle[0])
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        service.handle(schedule((0, 500, "4 Confirmation Needed", 0), key="ask"))
        bench.clock.advance(10)
        await bench.quiet()
        (shown,) = service.status()
        assert bench.network.asked == [] and shown.question == "please"
        service = await bench.again(10)
        service.answer_user(shown.number, yes=True)
        await bench.until(lambda: len(bench.reports) == 1)
        with pytest.raises(HomeportError, match="asks nobody"):
            service.answer_user(shown.number, yes=True)
        service.handle(schedule((0, 500, "3 When Idle", 0), key="idle"))
        await bench.quiet()
        assert len(bench.network.asked) == 1 and service.status()[-1].waits_for == "idle"
        idle[0] = True
        bench.clock.advance(5)
        await bench.until(lambda: len(bench.reports) == 2)

    live(scene)


def test_a_user_who_does_not_want_it_ends_the_window(live: Live) -> None:
    """9001 at once where there is no other window; a second window may still do it."""

    async def scene(bench: Bench) -> None:
        bench.options["asks"] = True
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        service.handle(schedule((0, 500, "4 Confirmation Needed", 5), key="no"))
        service.answer_user(service.status()[0].number, yes=False)
        await bench.until(lambda: len(bench.reports) == 1)
        assert bench.reports[0].fault_struct.fault_code == 9001
        windows = (0, 50, "4 Confirmation Needed", 5), (60, 90, "1 At Any Time", 0)
        service.handle(schedule(*windows, key="later"))
        service.answer_user(service.status()[-1].number, yes=False)
        bench.clock.advance(55)
        await bench.quiet()
        assert not bench.network.asked
        bench.clock.advance(10)
        await bench.until(lambda: len(bench.reports) == 2)
        assert bench.reports[1].fault_struct.fault_code == 0

    live(scene)
