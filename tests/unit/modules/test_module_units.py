"""Execution units and their environments: every state that the model names, restarts, run levels, Enable and Reset."""

import asyncio

import pytest

from homeport.codec.messages import UninstallOpStruct, UpdateOpStruct
from homeport.cpe.modules.interface import Ended
from homeport.cpe.modules.records import DU_STEPS, EU_STEPS, DuStatus, EuStatus
from homeport.terms import Writer
from support.box_environment import Air, Box, package

UUID = "11111111-2222-3333-4444-555555555555"
EU = "ExecutionUnit.1."


def unit(**fields):
    return {"units": [{"name": "main", "command": ["main"], **fields}]}


def seen(bench, path=EU + "Status"):
    """The values that a parameter takes from now on, oldest first."""
    found = []
    full = "Device.SoftwareModules." + path
    bench.model.subscribe(lambda changes: found.extend(c.new for c in changes if c.path == full))
    return found


@pytest.mark.case("T22")
def test_a_requested_unit_starts_and_a_crash_is_told(live):
    """RequestedState Active: Starting, Active. A crash: Idle with FailureWhileActive and why. Idle: Stopping, Idle."""

    async def scene(bench):
        await bench.install(package())
        assert bench.value(EU + "Status") == "Idle"
        states = seen(bench)
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        assert states == ["Starting", "Active"]
        assert bench.value("ExecEnv.1.ActiveExecutionUnits") == "Device.SoftwareModules.ExecutionUnit.1"
        bench.box.living[0].end(failed=True, why="it was ended by SIGSEGV")
        await bench.clock.advance(0)
        assert bench.value(EU + "Status") == "Idle"
        assert bench.value(EU + "ExecutionFaultCode") == "FailureWhileActive"
        assert bench.value(EU + "ExecutionFaultMessage") == "it was ended by SIGSEGV"
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        assert bench.value(EU + "ExecutionFaultCode") == "NoFault" and bench.value(EU + "ExecutionFaultMessage") == ""
        bench.set(EU + "RequestedState", "Idle")
        await bench.clock.advance(1)
        assert states == ["Starting", "Active", "Idle", "Starting", "Active", "Stopping", "Idle"]
        assert bench.value("ExecEnv.1.ActiveExecutionUnits") == ""

    live(scene)


def test_the_acs_is_told_of_a_state_that_it_did_not_ask_for(live):
    """Status has active notification from the factory: a crash is a `4 VALUE CHANGE`."""

    async def scene(bench):
        await bench.install(package())
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        bench.model.clear_reported()
        bench.ledger.value_change(False)
        bench.box.living[0].end(failed=True)
        await bench.clock.advance(0)
        assert bench.events == ["4 VALUE CHANGE"]
        (change,) = bench.model.to_inform()
        assert (change.name, change.value) == ("Device.SoftwareModules.ExecutionUnit.1.Status", "Idle")

    live(scene)


@pytest.mark.parametrize("auto", [False, True])
def test_a_unit_that_cannot_be_started_says_so(live, auto):
    """FailureOnStart; FailureOnAutoStart where nobody asked for it."""

    async def scene(bench):
        bench.box.fail["main"] = "no such program"
        await bench.install(package(**unit(auto_start=auto)))
        if not auto:
            bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        fault = "FailureOnAutoStart" if auto else "FailureOnStart"
        assert bench.value(EU + "ExecutionFaultCode") == fault and bench.value(EU + "Status") == "Idle"
        assert bench.value(EU + "ExecutionFaultMessage") == "no such program"

    live(scene)


@pytest.mark.parametrize(("failed", "fault"), [(True, "FailureOnStart"), (False, "NoFault")])
def test_a_unit_that_ends_before_it_counts_as_started(live, failed, fault):
    """With a failure it is FailureOnStart; a unit that was simply done is Idle without fault."""

    async def scene(bench):
        bench.box.at_once["main"] = Ended(failed, "why")
        await bench.install(package(**unit(ready_after=1.0)))
        states = seen(bench)
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(2)
        assert states == ["Starting", "Idle"] and bench.value(EU + "ExecutionFaultCode") == fault

    live(scene)


def test_idle_while_starting_takes_the_wish_back(live):
    """Starting, Stopping, Idle; and the same state once more changes nothing."""

    async def scene(bench):
        await bench.install(package(**unit(ready_after=30.0)))
        states = seen(bench)
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        bench.set(EU + "RequestedState", "Active")
        bench.set(EU + "RequestedState", "Idle")
        await bench.clock.advance(1)
        bench.set(EU + "RequestedState", "Idle")
        await bench.clock.advance(1)
        assert states == ["Starting", "Stopping", "Idle"] and len(bench.box.started) == 1

    live(scene)


def test_idle_and_active_at_once_leave_one_unit_running(live):
    """However fast the wishes come, there is one process of a unit."""

    async def scene(bench):
        await bench.install(package())
        for wish in ("Active", "Idle", "Active", "Idle", "Active"):
            bench.set(EU + "RequestedState", wish)
            await bench.clock.settle()
        await bench.clock.advance(2)
        assert bench.value(EU + "Status") == "Active" and len(bench.box.living) == 1

    live(scene)


def test_a_unit_that_is_being_stopped_cannot_be_started(live, monkeypatch):
    """RequestedState Active while Stopping is refused with 9001; Idle once more is ignored."""

    async def scene(bench):
        gate = asyncio.Event()
        ends = Air.stop

        async def slowly(self, grace):
            await gate.wait()
            await ends(self, grace)

        monkeypatch.setattr(Air, "stop", slowly)
        await bench.install(package())
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        bench.set(EU + "RequestedState", "Idle")
        await bench.clock.settle()
        assert bench.value(EU + "Status") == "Stopping"
        assert bench.refused(EU + "RequestedState", "Active") == 9001
        assert bench.refused(EU + "RequestedState", "Idle") == 0
        gate.set()
        await bench.clock.advance(1)
        assert bench.value(EU + "Status") == "Idle"
        assert bench.refused(EU + "RequestedState", "Active") == 0

    live(scene)


def test_a_unit_that_does_not_end_stays_active(live):
    """FailureOnStop; an Uninstall of it is refused with 9001 and it stays installed."""

    async def scene(bench):
        await bench.install(package(), uuid=UUID)
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        bench.box.immortal.add("main")
        bench.set(EU + "RequestedState", "Idle")
        await bench.clock.advance(1)
        assert (bench.value(EU + "Status"), bench.value(EU + "ExecutionFaultCode")) == ("Active", "FailureOnStop")
        (result,) = await bench.change(UninstallOpStruct(UUID))
        assert (result.current_state, result.fault.fault_code) == ("Failed", 9001)
        assert bench.value("DeploymentUnit.1.Status") == "Installed" and bench.value(EU + "Status") == "Active"
        bench.box.immortal.clear()
        (result,) = await bench.change(UninstallOpStruct(UUID))
        assert result.current_state == "Uninstalled"

    live(scene)


def test_a_unit_that_fails_is_started_again_later_and_later(live):
    """AutoRestart: the wait grows from the minimum by the multiplier to the maximum; MaximumRetryCount ends it."""

    async def scene(bench):
        await bench.install(package(**unit(restart="on-failure")))
        for name, text in (
            ("RetryMinimumWaitInterval", "10"),
            ("RetryMaximumWaitInterval", "30"),
            ("RetryIntervalMultiplier", "2000"),
            ("MaximumRetryCount", "3"),
        ):
            bench.set(f"{EU}AutoRestart.{name}", text)
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        for wait in (10, 20, 30):
            bench.box.living[0].end(failed=True)
            await bench.clock.advance(wait - 1)
            assert bench.value(EU + "Status") == "Idle"
            assert bench.value(EU + "ExecutionFaultCode") == "FailureWhileActive"
            await bench.clock.advance(2)
            assert bench.value(EU + "Status") == "Active"
        assert bench.value(EU + "AutoRestart.RetryCount") == "3"
        bench.box.living[0].end(failed=True)
        await bench.clock.advance(1000)
        assert bench.value(EU + "Status") == "Idle" and len(bench.box.started) == 4

    live(scene)


def test_a_unit_that_ran_long_enough_begins_to_count_anew(live):
    """ResetPeriod: after it, the next wait is the first one again."""

    async def scene(bench):
        await bench.install(package(**unit(restart="on-failure")))
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        for _ in range(3):
            bench.box.living[0].end(failed=True)
            await bench.clock.advance(6)
            assert bench.value(EU + "Status") == "Active"
            await bench.clock.advance(301)

    live(scene)


def test_a_wish_does_not_wait_for_the_restart(live):
    """RequestedState Active starts it at once, Idle ends the waiting."""

    async def scene(bench):
        await bench.install(package(**unit(restart="always")))
        bench.set(EU + "AutoRestart.RetryMinimumWaitInterval", "100")
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        bench.box.living[0].end(failed=False)
        await bench.clock.advance(1)
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        assert bench.value(EU + "Status") == "Active"
        bench.box.living[0].end(failed=True)
        await bench.clock.advance(1)
        bench.set(EU + "RequestedState", "Idle")
        await bench.clock.advance(1000)
        assert bench.value(EU + "Status") == "Idle" and len(bench.box.started) == 2

    live(scene)


def test_auto_start_units_run_after_every_start_of_the_device(live):
    """AutoStart as the ACS set it last; what ran without it is Idle after the restart."""

    async def scene(bench):
        units = [{"name": n, "command": ["x"], "auto_start": n == "auto"} for n in ("auto", "manual")]
        await bench.install(package(units=units))
        await bench.clock.advance(1)
        assert bench.box.started == ["auto"]
        bench.set("ExecutionUnit.2.RequestedState", "Active")
        await bench.clock.advance(1)
        await bench.again()
        await bench.clock.advance(1)
        assert bench.box.started == ["auto", "manual", "auto"]
        assert bench.value("ExecutionUnit.2.Status") == "Idle"
        bench.set("ExecutionUnit.1.AutoStart", "false")
        bench.set("ExecutionUnit.2.AutoStart", "true")
        await bench.again()
        await bench.clock.advance(1)
        assert bench.box.started[3:] == ["manual"]

    live(scene)


def test_a_disabled_environment_runs_nothing_and_takes_no_wishes(live):
    """Enable false: units Idle, Status Disabled, RequestedState refused, deployment units stay. True: AutoStart units run again."""

    async def scene(bench):
        await bench.install(package(**unit(auto_start=True)))
        await bench.clock.advance(1)
        bench.set("ExecEnv.1.Enable", "false")
        await bench.clock.advance(1)
        assert bench.value("ExecEnv.1.Status") == "Disabled" and bench.box.living == []
        assert bench.refused(EU + "RequestedState", "Active") == 9001
        assert bench.value("DeploymentUnit.1.Status") == "Installed" and bench.box.contents
        await bench.again()
        await bench.clock.advance(1)
        assert bench.value("ExecEnv.1.Status") == "Disabled" and bench.box.living == []
        bench.set("ExecEnv.1.Enable", "true")
        await bench.clock.advance(1)
        assert (bench.value("ExecEnv.1.Status"), bench.value(EU + "Status")) == ("Up", "Active")

    live(scene)


def test_run_levels_decide_what_starts_by_itself(live):
    """A unit starts where CurrentRunLevel is at least its RunLevel; InitialRunLevel counts after a start; -1 is no level."""

    async def scene(bench):
        bench.set("ExecEnv.1.InitialExecutionUnitRunLevel", "5")
        units = [{"name": n, "command": ["x"], "auto_start": True} for n in ("default", "late")]
        units[1]["run_level"] = 9
        await bench.install(package(units=units))
        await bench.clock.advance(1)
        assert bench.value("ExecutionUnit.1.RunLevel") == "5" and bench.box.started == []
        bench.set("ExecEnv.1.RequestedRunLevel", "5")
        await bench.clock.advance(1)
        assert bench.box.started == ["default"] and bench.value("ExecEnv.1.CurrentRunLevel") == "5"
        assert bench.value("ExecEnv.1.RequestedRunLevel") == "-1"
        bench.set("ExecEnv.1.RequestedRunLevel", "9")
        await bench.clock.advance(1)
        assert bench.box.started == ["default", "late"]
        bench.set("ExecEnv.1.RequestedRunLevel", "6")
        await bench.clock.advance(1)
        assert [air.name for air in bench.box.living] == ["default"]
        bench.set("ExecEnv.1.InitialRunLevel", "9")
        await bench.again()
        await bench.clock.advance(1)
        assert bench.value("ExecEnv.1.CurrentRunLevel") == "9" and len(bench.box.living) == 2

    live(scene)


def test_an_environment_without_run_levels_ignores_them(bench, live):
    """CurrentRunLevel is -1 and stays so."""
    bench.environments = [Box(run_levels=False)]

    async def scene(bench):
        await bench.install(package(**unit(auto_start=True, run_level=50)))
        bench.set("ExecEnv.1.RequestedRunLevel", "5")
        await bench.clock.advance(1)
        assert bench.value("ExecEnv.1.CurrentRunLevel") == "-1" and bench.box.started == ["main"]

    live(scene)


def test_what_needs_another_module_waits_for_it(live):
    """Resolved false and DependencyFailure; as soon as it is installed, in the version that is needed, the unit starts."""

    async def scene(bench):
        needs = [{"name": "base", "version": "1.5"}]
        result = await bench.install(package(requires=needs, **unit(auto_start=True)))
        assert result.current_state == "Installed" and not result.resolved
        await bench.clock.advance(1)
        assert bench.value("DeploymentUnit.1.Resolved") == "false"
        assert bench.value(EU + "ExecutionFaultCode") == "DependencyFailure"
        assert "base 1.5" in bench.value(EU + "ExecutionFaultMessage")
        await bench.install(package("base", "1.4", units=[]), "http://files/base", uuid=UUID)
        assert bench.value("DeploymentUnit.1.Resolved") == "false"
        bench.network.content["http://files/base"] = package("base", "1.10", units=[])
        await bench.change(UpdateOpStruct(UUID))
        await bench.clock.advance(1)
        assert bench.value("DeploymentUnit.1.Resolved") == "true" and bench.value(EU + "Status") == "Active"
        await bench.change(UninstallOpStruct(UUID))
        assert bench.value("DeploymentUnit.1.Resolved") == "false"

    live(scene)


def test_a_reset_brings_back_what_the_last_bootstrap_knew(live):
    """Later units go with their data, updated ones have their old version, removed ones and settings are there again."""

    async def scene(bench):
        other = UUID.replace("1", "2")
        await bench.install(package("stays", "1.0"), "http://files/a", uuid=UUID)
        await bench.install(package("removed", "1.0", **unit(auto_start=True)), "http://files/b", uuid=other)
        bench.set("ExecEnv.1.InitialExecutionUnitRunLevel", "4")
        bench.service.bootstrapped()
        bench.set("ExecEnv.1.InitialExecutionUnitRunLevel", "7")
        bench.network.content["http://files/a"] = package("stays", "2.0")
        await bench.change(UpdateOpStruct(UUID), UninstallOpStruct(other))
        await bench.install(package("later", "1.0"), "http://files/c")
        await bench.again()
        assert len(bench.box.contents) == 4
        bench.set("ExecEnv.1.Reset", "true")
        await bench.until(lambda: len(bench.box.contents) == 2)
        await bench.until(lambda: bench.service.estate.lock.locked() is False)
        await bench.clock.advance(1)
        rows = bench.model.instances("Device.SoftwareModules.DeploymentUnit.")
        names = {bench.value(f"DeploymentUnit.{n}.{p}") for n in rows for p in ("Name", "Version")}
        assert names == {"stays", "removed", "1.0"}
        assert bench.box.started[-1] == "main" and bench.value("ExecEnv.1.Reset") == "false"
        assert bench.value("ExecEnv.1.InitialExecutionUnitRunLevel") == "4"
        assert bench.box.kept.keys() == {"du-1", "du-2", "du-3"}
        assert not bench.ledger.owes_requests

    live(scene)


def test_an_environment_that_is_gone_keeps_its_rows_and_says_so(bench, live):
    """After a change of the settings: Status Error, nothing starts, operations on its units are refused with 9024."""

    async def scene(bench):
        await bench.install(package(**unit(auto_start=True)), uuid=UUID)
        bench.environments = [Box(name="other")]
        await bench.again()
        assert bench.value("ExecEnv.1.Status") == "Error" and bench.value("ExecEnv.2.Status") == "Up"
        assert bench.refused(EU + "RequestedState", "Active") == 9001
        (result,) = await bench.change(UninstallOpStruct(UUID))
        assert result.fault.fault_code == 9024

    live(scene)


def test_figures_come_from_the_environment(live):
    """Disk and memory of the environment, and of what runs, in kibibytes."""

    async def scene(bench):
        await bench.install(package())
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(61)
        names = ("AllocatedDiskSpace", "AvailableDiskSpace", "AllocatedMemory", "AvailableMemory")
        assert [bench.value(f"ExecEnv.1.{n}") for n in names] == ["1000", "900", "-1", "50"]
        names = ("DiskSpaceInUse", "MemoryInUse", "CPUPercentInUse", "Uptime")
        values = [bench.value(EU + n) for n in names]
        assert values[:3] == ["3", "100", "7"] and 59 <= int(values[3]) <= 61

    live(scene)


def test_a_defect_in_an_environment_spoils_nothing_else(bench, live, monkeypatch):
    """The unit is UnStartable, the operation has 9001; the next ones are done, and no process goes on in secret."""

    async def scene(bench):
        def broken(*args, **fields):
            raise RuntimeError("a defect")

        async def broken_wait(self):
            raise RuntimeError("a defect")

        await bench.install(package(), uuid=UUID)
        with monkeypatch.context() as patch:
            patch.setattr(Air, "wait", broken_wait)
            bench.set(EU + "RequestedState", "Active")
            await bench.clock.advance(1)
        assert (bench.value(EU + "Status"), bench.value(EU + "ExecutionFaultCode")) == ("Idle", "UnStartable")
        assert bench.box.living == []
        bench.network.content["http://files/a"] = package(version="2.0")
        for name in ("inspect", "install"):
            with monkeypatch.context() as patch:
                patch.setattr(bench.box, name, broken)
                (result,) = await bench.change(UpdateOpStruct(UUID))
                assert (result.fault.fault_code, result.version) == (9001, "1.0")
        (result,) = await bench.change(UpdateOpStruct(UUID))
        assert result.version == "2.0"
        bench.set(EU + "RequestedState", "Active")
        await bench.clock.advance(1)
        assert bench.value(EU + "Status") == "Active"

    live(scene)


def test_a_local_person_may_ask_for_a_state_too(live):
    """As with every parameter that is not closed to them."""

    async def scene(bench):
        await bench.install(package())
        bench.set(EU + "RequestedState", "Active", writer=Writer.LOCAL)
        await bench.clock.advance(1)
        assert bench.value(EU + "Status") == "Active"

    live(scene)


def test_the_states_of_the_standard_are_all_in_the_tables():
    """Every state can be reached and left; none leads to itself."""
    assert {b for _, b in DU_STEPS} | {a for a, _ in DU_STEPS if a} == set(DuStatus)
    assert {a for a, _ in EU_STEPS} == {b for _, b in EU_STEPS} == set(EuStatus)
    assert all(a is not b for a, b in [*DU_STEPS, *EU_STEPS])
