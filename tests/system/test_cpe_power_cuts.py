"""kill -9 of a real agent between any two steps of its sessions: no event is lost, none is told twice after its response."""

import asyncio
from pathlib import Path

import pytest

from cpe_support.agent_process import AgentProcess
from cpe_support.http_acs import HttpAcs, Post
from homeport.codec.messages import (
    AddObject,
    GetParameterValues,
    Inform,
    ParameterValueStruct,
    Reboot,
    ScheduleInform,
    SetParameterValues,
    SetParameterValuesResponse,
)

pytestmark = pytest.mark.system

ALIAS = "Device.Ethernet.Link.1.Alias"
KEY = "Device.ManagementServer.ParameterKey"


class CutAcs(HttpAcs):
    """Kills the agent when its POST number `cut` arrives, before it is answered, and notes which Informs the agent saw answered."""

    def __init__(self, cut: int) -> None:
        super().__init__(
            [
                SetParameterValues((ParameterValueStruct(ALIAS, "uplink"),), "set"),
                ScheduleInform(1, "sch"),
                Reboot("rb"),
            ],
            before_answer=self._watch,
        )
        self._cut = cut
        self.agent: AgentProcess | None = None
        self.heard: list[Inform] = []
        self.was_cut = asyncio.Event()

    def _watch(self, number: int, post: Post) -> None:
        if self.informs and b":Inform>" not in post.body and (not self.heard or self.heard[-1] is not self.informs[-1]):
            self.heard.append(self.informs[-1])  # a further POST of the session: its InformResponse has arrived
        if number == self._cut:
            assert self.agent is not None
            self.agent.kill()
            self.was_cut.set()
            raise ConnectionAbortedError

    def heard_events(self) -> list[tuple[str, str]]:
        """(code, key) of every event whose InformResponse the agent received."""
        return [(e.event_code, e.command_key) for inform in self.heard for e in inform.event]


async def cut_at(number: int, directory: Path) -> None:
    acs = CutAcs(number)
    async with acs:
        agent = acs.agent = AgentProcess(directory, acs.url, "--reboot", "restart")
        await agent.start()
        async with asyncio.timeout(30):
            await acs.was_cut.wait()
        await agent.gone()
        await agent.start()

        def told() -> bool:
            return {("M Reboot", "rb"), ("M ScheduleInform", "sch")} <= set(acs.heard_events())

        # Reboot and ScheduleInform are promises from the moment at which their request was handled, so both must be reported, also
        # where the cut swallowed the response.
        await acs.until(told, limit=30)
        acs.requests.append(GetParameterValues((ALIAS, KEY)))
        done = len(acs.answers)
        await agent.stop()
        await agent.start()
        await acs.until(lambda: len(acs.answers) > done, limit=30)
        await agent.stop()
        values = {p.name: p.value for p in acs.answers[-1][1].parameter_list}
        assert values == {ALIAS: "uplink", KEY: "set"}, number
        events = acs.heard_events()
        for event in (("0 BOOTSTRAP", ""), ("M Reboot", "rb"), ("M ScheduleInform", "sch"), ("3 SCHEDULED", "")):
            assert events.count(event) == 1, (number, event, events)


@pytest.mark.case("S28")
@pytest.mark.case("R48")
@pytest.mark.case("R51")
def test_kill_9_at_any_message_loses_no_event_and_repeats_none(tmp_path):
    """Seven messages: the first contact with its three requests, then the report of the reboot. One agent is killed at each.

    The scheduled session may come by itself or ride along with the report, as fast as this machine is.
    """

    async def all_of_them() -> None:
        few = asyncio.Semaphore(2)

        async def one(number: int) -> None:
            async with few:
                await cut_at(number, tmp_path / str(number))

        await asyncio.gather(*(one(n) for n in range(1, 8)))

    asyncio.run(all_of_them())


def test_a_value_whose_response_arrived_survives_kill_9(tmp_path):
    """Disk before reply: the moment the ACS has the SetParameterValuesResponse, the value and its key are safe."""

    async def play() -> dict[str, str]:
        acs = HttpAcs(
            [
                SetParameterValues((ParameterValueStruct(ALIAS, "uplink"),), "set"),
                AddObject("Device.Ethernet.Link.", "row"),
            ]
        )
        agent = AgentProcess(tmp_path)
        async with acs:
            agent = AgentProcess(tmp_path, acs.url)

            def kill_after_the_second_answer(number: int, post: Post) -> None:
                if b"AddObjectResponse" in post.body:
                    agent.kill()

            acs.before_answer = kill_after_the_second_answer
            await agent.start()
            await agent.gone()
            acs.before_answer = None
            acs.requests.append(GetParameterValues((ALIAS, KEY, "Device.Ethernet.LinkNumberOfEntries")))
            await agent.start()
            await acs.until(lambda: any(isinstance(r, GetParameterValues) for r, _ in acs.answers))
            await agent.stop()
        assert any(isinstance(a, SetParameterValuesResponse) for _, a in acs.answers)
        return {p.name: p.value for p in acs.answers[-1][1].parameter_list}

    assert asyncio.run(play()) == {ALIAS: "uplink", KEY: "row", "Device.Ethernet.LinkNumberOfEntries": "3"}
