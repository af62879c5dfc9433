"""Parts beside the session loop: they answer, learn and work in the background, and one that fails takes nobody with it."""

import asyncio
import logging
from collections.abc import Mapping

import pytest

from cpe_support.bench import Bench
from cpe_support.bench_profile import bench_profile
from homeport.codec.messages import GetOptions, GetOptionsResponse, GetParameterValues, GetRPCMethods, TransferComplete
from homeport.cpe.handlers import Handlers
from homeport.cpe.parts import part as part_module
from homeport.cpe.parts.choose import parts_of
from homeport.cpe.parts.part import Part, Parts
from homeport.errors import StoreError
from homeport.terms import EventCode, Writer


class Recorder(Part):
    """A part that keeps what it is told, and settles TransferComplete itself."""

    name = "recorder"
    connection_request_method = "PIGEON"

    def __init__(self) -> None:
        self.told: list[str] = []

    def handlers(self) -> Mapping:
        return {GetOptions: lambda request: GetOptionsResponse(())}

    async def start(self) -> None:
        self.told.append("start")

    async def run(self) -> None:
        self.told.append("run")
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self.told.append("stop")

    def session_opened(self) -> None:
        self.told.append("opened")

    def session_closed(self) -> None:
        self.told.append("closed")

    async def acs_reached(self) -> None:
        self.told.append("reached")

    def acknowledged(self, request) -> bool:
        self.told.append(f"acknowledged {request.element}")
        return True

    def changed(self, changes) -> None:
        self.told.append("changed " + ", ".join(c.path for c in changes))


class Failing(Part):
    """A part that fails wherever it can."""

    name = "failing"

    def __init__(self, *, at_start: bool) -> None:
        self._at_start = at_start

    async def start(self) -> None:
        if self._at_start:
            raise StoreError("no room")

    async def run(self) -> None:
        raise ValueError("a defect")

    async def acs_reached(self) -> None:
        raise StoreError("no room")

    async def stop(self) -> None:
        raise StoreError("no room")


def play(tmp_path, scene, *parts: Part, **options):
    """scene(bench, agent) with these parts in the agent."""

    async def run():
        bench = Bench(tmp_path, parts=lambda agent: parts, **options)
        agent = await bench.start()
        await scene(bench, agent)
        await bench.stop()

    asyncio.run(run())


def test_a_part_learns_of_everything_in_order(tmp_path):
    """Start, sessions with their answer, changes, stop; its RPCs are answered and named."""
    part = Recorder()

    async def scene(bench, agent):
        assert part.told == ["start", "opened", "run", "reached", "closed"] or part.told[:2] == ["start", "run"]
        methods, options = await bench.ask(GetRPCMethods(), GetOptions())
        assert "GetOptions" in methods.method_list
        assert options == GetOptionsResponse(())
        agent.model.set_local("Device.WiFi.SSID", "x", Writer.LOCAL)
        assert part.told[-1] == "changed Device.WiFi.SSID"

    play(tmp_path, scene, part)
    assert part.told[-1] == "stop"
    assert part.told.count("opened") == part.told.count("closed") == part.told.count("reached") == 2


def test_a_part_can_settle_a_confirmed_request_itself(tmp_path):
    """The core then leaves it alone."""
    part = Recorder()

    async def scene(bench, agent):
        agent.ledger.owe_request(TransferComplete("fw"), EventCode.M_DOWNLOAD, "fw")
        await bench.ask()
        assert "acknowledged TransferComplete" in part.told
        assert agent.ledger.owes_requests

    play(tmp_path, scene, part)


@pytest.mark.parametrize("at_start", [True, False])
def test_a_failing_part_takes_nobody_with_it(tmp_path, caplog, at_start):
    """It is logged; sessions and the other parts go on."""
    part = Recorder()
    with caplog.at_level(logging.WARNING, logger="homeport.cpe"):

        async def scene(bench, agent):
            await bench.ask()
            assert bench.events() == ["6 CONNECTION REQUEST"]

        play(tmp_path, scene, Failing(at_start=at_start), part)
    assert "failing" in caplog.text
    assert part.told[-1] == "stop"


def test_what_failed_in_the_background_is_begun_anew(tmp_path, caplog, monkeypatch):
    """After a rest: a promise to the ACS must not wait for the next restart of the device."""
    monkeypatch.setattr(part_module, "REST", 0.01)

    class Stumbling(Recorder):
        async def run(self) -> None:
            await super().run() if self.told.count("stumbled") == 2 else self.stumble()

        def stumble(self) -> None:
            self.told.append("stumbled")
            raise ValueError("a defect") if len(self.told) % 2 else StoreError("no room")

        async def prepare(self, paths, *, rows_only=False):
            raise ValueError("a defect")

    part = Stumbling()

    async def scene(bench, agent):
        async with asyncio.timeout(5):
            while "run" not in part.told:
                await asyncio.sleep(0.01)
        await bench.ask()
        assert bench.events() == ["6 CONNECTION REQUEST"]

    play(tmp_path, scene, part)
    assert part.told.count("stumbled") == 2


def test_an_answer_that_cannot_be_written_down_leaves_the_report_owed(tmp_path):
    """A full disk in the moment of the confirmation: the session goes on, and the report is sent once more."""

    class Full(Recorder):
        def acknowledged(self, request) -> bool:
            super().acknowledged(request)
            raise StoreError("no room")

    part = Full()

    async def scene(bench, agent):
        agent.ledger.owe_request(TransferComplete("fw"), EventCode.M_DOWNLOAD, "fw")
        (answer,) = await bench.ask(GetRPCMethods())
        assert answer.method_list and agent.status.connected
        await bench.ask()
        assert part.told.count("acknowledged TransferComplete") == 2

    play(tmp_path, scene, part)


def test_a_defect_in_an_answer_is_9002_and_the_session_goes_on(tmp_path, caplog):
    """The trace is in the log, not on the wire."""

    def boom(request):
        raise ZeroDivisionError

    async def scene(bench, agent):
        agent.handlers = Handlers(agent.model, agent, {GetOptions: boom})
        with caplog.at_level(logging.ERROR, logger="homeport.cpe"):
            fault, after = await bench.ask(GetOptions(), GetParameterValues(("Device.WiFi.SSID",)))
        assert fault.fault_code == 9002
        assert "ZeroDivision" not in fault.fault_string
        assert after.parameter_list[0].value == "home"

    play(tmp_path, scene)
    assert "ZeroDivisionError" in caplog.text


def test_a_device_has_the_parts_whose_parameters_it_has(tmp_path):
    """No STUN parameters, no UDP port, no memory for it."""

    async def plain(bench, agent):
        assert [p.name for p in parts_of(agent)] == ["discovery by DHCP", "file transfers", "the web page"]

    async def reachable(bench, agent):
        assert [p.name for p in parts_of(agent)] == [
            "discovery by DHCP",
            "file transfers",
            "connection requests over UDP",
            "lightweight notifications",
            "the web page",
        ]

    play(tmp_path / "a", plain)
    play(tmp_path / "b", reachable, profile=bench_profile(reachable=True))


def test_the_ways_in_are_named(tmp_path):
    """For SupportedConnReqMethods."""
    assert Parts([Recorder(), Part()]).connection_request_methods == ["HTTP", "PIGEON"]


def test_a_full_disk_leaves_the_agent_reachable_and_is_said_in_the_status(tmp_path):
    """Sessions go on, events wait in memory, and are written when there is room."""

    async def scene(bench, agent):
        db = agent.store._db
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        bench.refuse = True
        for n in range(60):
            agent.ledger.owe_event(EventCode.M_SCHEDULE_INFORM, f"{n}" * 16)
        agent.contact()
        await bench.clock.settle()
        agent.save_status()
        assert "room" in agent.status.storage
        bench.refuse = False
        await bench.clock.advance(20)
        assert "M ScheduleInform" in bench.events()
        db.execute("PRAGMA max_page_count = 1000000")
        agent.contact()
        await bench.clock.settle()
        agent.save_status()
        assert agent.status.storage == "ok"

    play(tmp_path, scene)
