"""A month of sessions on the virtual clock with the power cut at hundreds of random points: the books balance at the end."""

import asyncio
import os
import random
import tempfile
from pathlib import Path

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import (
    Inform,
    ParameterValueStruct,
    Reboot,
    ScheduleInform,
    SetParameterAttributes,
    SetParameterAttributesStruct,
    SetParameterValues,
    SetParameterValuesResponse,
)
from homeport.errors import StoreError
from homeport.terms import Writer

SSID = "Device.WiFi.SSID"
CHANNEL = "Device.WiFi.Channel"
CUTS = 500
DAY = 86_400.0


class Month:
    """Plays the month and keeps the books: what was promised, and what the agent knows the ACS to have heard."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        self.dice = random.Random(seed)
        self.heard: list[Inform] = []
        self.promised: set[tuple[str, str]] = set()
        self.cuts = 0
        self._cut_in = 0
        self._number = 0
        bench.on_post = self._watch

    def _watch(self, body: bytes) -> None:
        bench = self.bench
        informs = bench.informs
        if informs and b":Inform>" not in body and (not self.heard or self.heard[-1] is not informs[-1]):
            self.heard.append(informs[-1])  # another POST of the session: the agent has the InformResponse
        for kind, response in (("M Reboot", b"RebootResponse>"), ("M ScheduleInform", b"ScheduleInformResponse>")):
            if response in body:
                # A promise from the moment at which the request was handled, whether or not the response got through.
                self.promised.add((kind, self._asked[kind].pop(0)))
        self._cut_in -= 1
        if self._cut_in == 0:
            bench.silent = self.dice.choice(("before", "after"))

    async def play(self) -> None:
        bench, dice = self.bench, self.dice
        self._asked: dict[str, list[str]] = {"M Reboot": [], "M ScheduleInform": []}
        await bench.start()
        notify = SetParameterAttributes((SetParameterAttributesStruct(SSID, True, 1),))
        periodic = (
            ParameterValueStruct("Device.ManagementServer.PeriodicInformEnable", "1", "boolean"),
            ParameterValueStruct("Device.ManagementServer.PeriodicInformInterval", "21600", "unsignedInt"),
        )
        await bench.ask(notify, SetParameterValues(periodic, ""))
        while self.cuts < CUTS:
            self._cut_in = dice.randrange(1, 8)
            self._number += 1
            deed = dice.randrange(5)
            bench.acs.requests.clear()
            for key_list in self._asked.values():
                key_list.clear()
            if deed == 0:
                self._ask("M Reboot", Reboot(f"r{self._number}"), f"r{self._number}")
            elif deed == 1:
                self._ask(
                    "M ScheduleInform", ScheduleInform(dice.randrange(1, 7200), f"s{self._number}"), f"s{self._number}"
                )
            elif deed == 2:
                bench.acs.requests.append(
                    SetParameterValues(
                        (ParameterValueStruct(CHANNEL, str(dice.randrange(1, 14)), "unsignedInt"),), f"k{self._number}"
                    )
                )
            elif deed == 3:
                bench.agent.model.set_local(SSID, f"net{self._number}", Writer.LOCAL)
            bench.agent.connection_requested()
            await self._pass(dice.uniform(1.0, 2 * DAY * 30 / CUTS))
        bench.acs.requests.clear()
        self._cut_in = -1
        await self._pass(3 * DAY)

    def _ask(self, kind: str, request: Reboot | ScheduleInform, key: str) -> None:
        self._asked[kind].append(key)
        self.bench.acs.requests.append(request)

    async def _pass(self, seconds: float) -> None:
        """Let time pass; whenever the power goes, or a restart is due, start again."""
        bench = self.bench
        end = bench.clock.monotonic() + seconds
        while True:
            await bench.clock.settle()
            if bench.silent:
                self.cuts += 1
                await bench.power_cut()
                bench.silent = ""
                await bench.start()
            elif bench.ended:
                await bench.restarted()
            elif bench.clock.monotonic() >= end:
                return
            else:
                await bench.clock.advance(min(1800.0, end - bench.clock.monotonic()))

    def check(self) -> None:
        told = [(e.event_code, e.command_key) for inform in self.heard for e in inform.event]
        keyed = [t for t in told if t[0].startswith("M ")]
        assert len(keyed) == len(set(keyed)), "an event was told again after its response"
        assert set(keyed) == self.promised, (
            "an accepted command was not reported, or one was reported that was never accepted"
        )
        assert told.count(("0 BOOTSTRAP", "")) == 1
        reported = [p.value for i in self.heard for p in i.parameter_list if p.name == SSID]
        agent = self.bench.agent
        assert agent is not None
        assert reported[-1] == agent.model.value(SSID), "the last local change was not reported"
        last = next((r for r, a in reversed(self.bench.acs.answers) if isinstance(a, SetParameterValuesResponse)), None)
        assert isinstance(last, SetParameterValues)


@pytest.fixture
def memory_directory(tmp_path):
    """A directory in memory where the machine has one: thousands of real fsyncs are what the system tests are for."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as name:
        yield Path(name)


@pytest.mark.parametrize("seed", [1])
def test_a_month_with_500_power_cuts_loses_no_event_and_repeats_none(memory_directory, seed):
    """Reboots, scheduled informs, settings and local changes; each cut right before or right after the ACS answered."""

    async def play() -> None:
        bench = Bench(memory_directory)
        month = Month(bench, seed)
        await month.play()
        month.check()
        await bench.stop()
        assert bench.most_open_channels == 1

    try:
        asyncio.run(play())
    except StoreError as e:
        raise AssertionError(f"the state did not survive a cut: {e}") from e
