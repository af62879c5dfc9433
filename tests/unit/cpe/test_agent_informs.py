"""What an Inform says: identity, forced parameters by root model, and each event code from its cause to its end."""

import asyncio

import pytest

from cpe_support.bench import Bench
from cpe_support.open_agent import standard_profile
from homeport.codec.messages import (
    AutonomousDUStateChangeComplete,
    AutonomousTransferComplete,
    AutonOpResultStruct,
    DeviceIdStruct,
    DUStateChangeComplete,
    Kicked,
    OpResultStruct,
    RequestDownload,
    TransferComplete,
)
from homeport.cpe.event_queue import RULES, OnFailure
from homeport.errors import TransportError
from homeport.model.profile import ProfileDef
from homeport.terms import EventCode, RpcName, Writer

WAN = "WANDevice.1.WANConnectionDevice.1.WANIPConnection."


def play(tmp_path, story, profile: ProfileDef | None = None, **settings: object) -> None:
    """story(bench) with a started agent."""

    async def run() -> None:
        bench = Bench(tmp_path, profile=profile, **settings)
        await bench.start()
        await story(bench)
        await bench.stop()

    asyncio.run(run())


def device_2() -> ProfileDef:
    return standard_profile("Device:2.19")


def device_1() -> ProfileDef:
    return standard_profile(
        "Device:1.14", "LAN.", others={"LAN.IPAddress": "192.0.2.7", "DeviceSummary": "Device:1.14[]()"}
    )


def gateway() -> ProfileDef:
    return standard_profile(
        "InternetGatewayDevice:1.14",
        "Layer3Forwarding.DefaultConnectionService",
        "WANDevice.{i}.WANConnectionDevice.{i}.WANIPConnection.{i}.ExternalIPAddress",
        instances=("WANDevice.1.", "WANDevice.1.WANConnectionDevice.1.", WAN + "1.", WAN + "2."),
        others={
            "DeviceInfo.SpecVersion": "1.0",
            "DeviceSummary": "InternetGatewayDevice:1.14[](Baseline:1)",
            "Layer3Forwarding.DefaultConnectionService": "InternetGatewayDevice." + WAN + "2",
            WAN + "1.ExternalIPAddress": "198.51.100.1",
            WAN + "2.ExternalIPAddress": "198.51.100.2",
        },
    )


@pytest.mark.case("N08")
@pytest.mark.case("N09")
@pytest.mark.parametrize(
    ("make", "root", "names"),
    [
        (
            device_2,
            "Device.",
            {
                "RootDataModelVersion",
                "DeviceInfo.HardwareVersion",
                "DeviceInfo.SoftwareVersion",
                "DeviceInfo.ProvisioningCode",
                "ManagementServer.ParameterKey",
                "ManagementServer.ConnectionRequestURL",
                "ManagementServer.AliasBasedAddressing",
            },
        ),
        (
            device_1,
            "Device.",
            {
                "DeviceSummary",
                "DeviceInfo.HardwareVersion",
                "DeviceInfo.SoftwareVersion",
                "ManagementServer.ParameterKey",
                "ManagementServer.ConnectionRequestURL",
                "ManagementServer.AliasBasedAddressing",
                "LAN.IPAddress",
            },
        ),
        (
            gateway,
            "InternetGatewayDevice.",
            {
                "DeviceSummary",
                "DeviceInfo.SpecVersion",
                "DeviceInfo.HardwareVersion",
                "DeviceInfo.SoftwareVersion",
                "DeviceInfo.ProvisioningCode",
                "ManagementServer.ParameterKey",
                "ManagementServer.ConnectionRequestURL",
                "ManagementServer.AliasBasedAddressing",
                WAN + "2.ExternalIPAddress",
            },
        ),
    ],
)
def test_each_root_model_has_its_own_forced_parameters(tmp_path, make, root, names):
    """Exactly the standard's set, in the first Inform and in every other, each once; the identity with it."""

    async def story(bench: Bench) -> None:
        await bench.ask()
        await bench.ask()
        assert len(bench.informs) == 3
        for inform in bench.informs:
            found = [p.name for p in inform.parameter_list]
            assert len(found) == len(set(found))
            assert set(found) == {root + name for name in names}
            assert inform.device_id == DeviceIdStruct("Homeport", "00256D", "Box", "0001")
        values = bench.values()
        if root == "InternetGatewayDevice.":
            assert values[root + WAN + "2.ExternalIPAddress"] == "198.51.100.2"

    play(tmp_path, story, make())


@pytest.mark.case("N11")
def test_the_standards_inform_parameter_table_counts(tmp_path):
    """Event codes stand in a list with their blanks escaped; wildcards stand for instances; without a list all events but 4 count."""
    profile = standard_profile("Device:2.19", "ManagementServer.InformParameter.", "Time.", "Ethernet.Interface.")
    table = "Device.ManagementServer.InformParameter."

    async def story(bench: Bench) -> None:
        model = bench.agent.model
        with model.transaction(Writer.SYSTEM) as change:
            change.add_object("Device.Ethernet.Interface.")
            change.commit()
        rows = (("Device.Ethernet.Interface.*.Enable", "2 PERIODIC, 3 SCHEDULED"), ("Device.Time.Enable", ""))
        with model.transaction(Writer.ACS) as change:
            for name, events in rows:
                row = f"{table}{change.add_object(table)}."
                change.set(row + "ParameterName", name)
                change.set(row + "EventList", events)
                change.set(row + "Enable", "true")
            change.commit()
        await bench.ask()
        assert "Device.Time.Enable" in bench.values()
        assert not [n for n in bench.values() if "Ethernet" in n]
        bench.agent.trigger(EventCode.PERIODIC)
        await bench.clock.settle()
        assert {"Device.Time.Enable", "Device.Ethernet.Interface.1.Enable"} <= set(bench.values())
        model.set_local("Device.DeviceInfo.ProvisioningCode", "news", Writer.LOCAL)
        await bench.clock.settle()
        assert bench.events() == ["4 VALUE CHANGE"]
        assert "Device.Time.Enable" not in bench.values()

    play(tmp_path, story, profile)


def test_a_model_without_product_class_takes_it_from_the_settings(tmp_path):
    """TR-098 devices have the parameter only in later versions; the DeviceId needs it all the same."""
    full = standard_profile("InternetGatewayDevice:1.14")
    lacking = tuple(p for p in full.parameters if not p.endswith(".ProductClass"))
    values = {k: v for k, v in full.values.items() if not k.endswith(".ProductClass")}
    profile = ProfileDef("old", full.schema, lacking, values=values)

    async def story(bench: Bench) -> None:
        assert bench.informs[0].device_id.product_class == "OldBox"

    play(tmp_path, story, profile, product_class="OldBox")


DONE = (
    "0" * 8,
    "Device.SoftwareModules.DeploymentUnit.1.",
    "1",
    "Installed",
    True,
    "",
    "2027-01-01T00:00:00Z",
    "2027-01-01T00:00:01Z",
)

OWED = {
    EventCode.KICKED: (Kicked("c", "referer", "arg", "http://next.example/"), ""),
    EventCode.REQUEST_DOWNLOAD: (RequestDownload("1 Firmware Upgrade Image", ()), ""),
    EventCode.M_DOWNLOAD: (TransferComplete("key"), "key"),
    EventCode.M_SCHEDULE_DOWNLOAD: (TransferComplete("key"), "key"),
    EventCode.M_UPLOAD: (TransferComplete("key"), "key"),
    EventCode.M_CHANGE_DU_STATE: (DUStateChangeComplete((OpResultStruct(*DONE),), "key"), "key"),
    EventCode.AUTONOMOUS_TRANSFER_COMPLETE: (
        AutonomousTransferComplete("", "http://files.example/", False, "1 Firmware Upgrade Image", 10, "f"),
        "",
    ),
    EventCode.AUTONOMOUS_DU_STATE_CHANGE_COMPLETE: (
        AutonomousDUStateChangeComplete((AutonOpResultStruct(*DONE, operation_performed="Install"),)),
        "",
    ),
}
"""Events that only the answer to their own request clears."""

SIMPLE = [code for code, rule in RULES.items() if rule.cleared_by is RpcName.INFORM]


def test_the_two_kinds_of_events_are_all_there_are():
    """Each code of the table is in one of the tests below; 7 and 11 go with their M events."""
    companions = {EventCode.TRANSFER_COMPLETE, EventCode.DU_STATE_CHANGE_COMPLETE}
    assert set(SIMPLE) | set(OWED) | companions == set(EventCode)
    assert len(EventCode) == 21


ELSEWHERE = (EventCode.BOOTSTRAP, EventCode.BOOT, EventCode.VALUE_CHANGE)
"""These arise from the device's state and not by a call: test_agent_sessions has them."""


@pytest.mark.parametrize("code", [c for c in SIMPLE if c not in ELSEWHERE])
def test_an_event_that_the_inform_response_clears(tmp_path, code):
    """Told once; after a failed session told again exactly where the table says so; after a restart too."""
    rule = RULES[code]

    async def story(bench: Bench) -> None:
        agent = bench.agent
        key = "key" if rule.multiple else ""
        agent.trigger(code, key)
        await bench.clock.settle()
        told = [(e.event_code, e.command_key) for e in bench.informs[-1].event]
        assert told[-1] == (code, key)
        agent.contact()
        await bench.clock.settle()
        assert code not in bench.events()

        bench.refuse = True
        agent.trigger(code, key)
        await bench.clock.settle()
        bench.refuse = False
        agent.contact()
        await bench.clock.settle()
        assert (code in bench.events()) is (rule.on_failure is OnFailure.RETRY)

        bench.refuse = True
        agent.trigger(code, key)
        await bench.clock.settle()
        await bench.power_cut()
        bench.refuse = False
        await bench.start()
        assert (code in bench.events()) is rule.over_reboot
        bench.agent.contact()
        await bench.clock.settle()
        assert bench.events() == []

    play(tmp_path, story)


@pytest.mark.case("E04")
@pytest.mark.case("E05")
@pytest.mark.case("E08")
@pytest.mark.parametrize("code", list(OWED))
def test_an_event_that_only_the_answer_to_its_request_clears(tmp_path, code):
    """InformResponse is not enough, a fault neither, nor a restart; the response to its own request is."""
    request, key = OWED[code]
    numbered = RULES[code].numbered

    async def story(bench: Bench) -> None:
        def lost(body: bytes) -> None:
            if f":{request.element}>".encode() in body:
                raise TransportError("connection reset", kind="closed")

        bench.on_post = lost
        bench.agent.ledger.owe_request(request, code, key)
        bench.agent.contact()
        await bench.clock.settle()
        expected = [(str(numbered), "")] if numbered else []
        expected.append((str(code), key))
        assert [(e.event_code, e.command_key) for e in bench.informs[-1].event] == expected
        await bench.power_cut()
        await bench.start()
        assert [(e.event_code, e.command_key) for e in bench.informs[-1].event] == [("1 BOOT", ""), *expected]
        bench.on_post = None
        await bench.clock.advance(30)
        assert [(e.event_code, e.command_key) for e in bench.informs[-1].event] == expected
        assert bench.acs.calls[-1] == request
        await bench.ask()
        assert bench.events() == ["6 CONNECTION REQUEST"]

    play(tmp_path, story)


@pytest.mark.case("E07")
def test_finished_diagnostics_are_told_and_cancelled_ones_are_not(tmp_path):
    """`8 DIAGNOSTICS COMPLETE` comes when the device says that a test ended, well or not; it is forgotten by a restart, and nothing is
    told of what nobody triggered. Which ends are told is the diagnostics' own matter."""

    async def story(bench: Bench) -> None:
        bench.agent.trigger(EventCode.DIAGNOSTICS_COMPLETE)
        await bench.clock.settle()
        assert bench.events() == ["8 DIAGNOSTICS COMPLETE"]
        before = len(bench.informs)
        await bench.clock.advance(1000)
        assert len(bench.informs) == before

    play(tmp_path, story)


def test_a_lightly_changed_clock_shows_in_the_next_inform(tmp_path):
    """Unknown time until a clock is set, the time in UTC from then on."""

    async def run() -> None:
        bench = Bench(tmp_path)
        bench.clock.set_wall(30.0)
        await bench.start()
        bench.clock.set_wall(1_800_000_000.0)
        await bench.ask()
        assert [i.current_time for i in bench.informs] == ["0001-01-01T00:00:00Z", "2027-01-15T08:00:00Z"]
        await bench.stop()

    asyncio.run(run())
