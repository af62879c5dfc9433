"""What the agent reports of changed values, and when; on a virtual clock."""

import pytest

from cpe_support.scenes import SERVER, notify, scene, setting
from homeport.codec.messages import (
    ParameterValueStruct,
    SetParameterValues,
)
from homeport.terms import EventCode, Writer


@pytest.mark.case("N01")
@pytest.mark.case("E06")
@scene
async def test_a_passive_change_waits_for_another_cause(bench):
    """No session of its own; the next Inform has the value and 4 VALUE CHANGE, the one after it does not."""
    await bench.start()
    await bench.ask(notify("Device.WiFi.SSID", 1))
    before = len(bench.informs)
    bench.agent.model.set_local("Device.WiFi.SSID", "new", Writer.LOCAL)
    await bench.clock.advance(1000)
    assert len(bench.informs) == before
    await bench.ask()
    assert bench.events() == ["4 VALUE CHANGE", "6 CONNECTION REQUEST"]
    assert bench.values()["Device.WiFi.SSID"] == "new"
    await bench.ask()
    assert bench.events() == ["6 CONNECTION REQUEST"]
    assert "Device.WiFi.SSID" not in bench.values()


@pytest.mark.case("N02")
@pytest.mark.case("N05")
@scene
async def test_an_active_change_opens_a_session_with_the_last_value(bench):
    """Two changes before the session: one Inform."""
    await bench.start()
    await bench.ask(notify("Device.WiFi.SSID", 2))
    before = len(bench.informs)
    bench.agent.model.set_local("Device.WiFi.SSID", "new", Writer.LOCAL)
    bench.agent.model.set_local("Device.WiFi.SSID", "newer", Writer.LOCAL)
    await bench.clock.settle()
    assert len(bench.informs) == before + 1
    assert bench.events() == ["4 VALUE CHANGE"]
    assert bench.values()["Device.WiFi.SSID"] == "newer"


@pytest.mark.case("N03")
@scene
async def test_what_the_acs_changes_itself_is_not_reported(bench):
    """Neither at once nor later."""
    await bench.start()
    await bench.ask(notify("Device.WiFi.SSID", 2))
    await bench.ask(SetParameterValues((ParameterValueStruct("Device.WiFi.SSID", "acs"),), ""))
    before = len(bench.informs)
    await bench.clock.advance(1000)
    assert len(bench.informs) == before
    await bench.ask()
    assert bench.events() == ["6 CONNECTION REQUEST"]


@pytest.mark.case("N04")
@scene
async def test_the_throttle_delays_active_notifications(bench):
    """60 s after the last session, unless another cause comes first."""
    await bench.start()
    await bench.ask(notify("Device.WiFi.SSID", 2), setting(DefaultActiveNotificationThrottle="60"))
    await bench.clock.advance(5)
    before = len(bench.informs)
    bench.agent.model.set_local("Device.WiFi.SSID", "new", Writer.LOCAL)
    await bench.clock.advance(54)
    assert len(bench.informs) == before
    await bench.clock.advance(2)
    assert bench.events() == ["4 VALUE CHANGE"]
    bench.agent.model.set_local("Device.WiFi.SSID", "newer", Writer.LOCAL)
    await bench.clock.advance(1)
    await bench.ask()
    assert bench.events() == ["4 VALUE CHANGE", "6 CONNECTION REQUEST"]


@pytest.mark.case("N06")
@scene
async def test_a_change_during_a_session_opens_another_one(bench):
    """The running Inform does not cover it."""
    await bench.start()
    await bench.ask(notify("Device.WiFi.SSID", 2))

    def change_once(body: bytes) -> None:
        bench.on_post = None
        bench.agent.model.set_local("Device.WiFi.SSID", "meanwhile", Writer.LOCAL)

    before = len(bench.informs)
    bench.on_post = change_once
    await bench.ask()
    await bench.clock.settle()
    assert [bench.events(n) for n in range(before, len(bench.informs))] == [
        ["6 CONNECTION REQUEST"],
        ["4 VALUE CHANGE"],
    ]


@scene
async def test_a_change_is_reported_after_a_power_cut(bench):
    """It is on disk with the value."""
    await bench.start()
    await bench.ask(notify("Device.WiFi.SSID", 1))
    bench.agent.model.set_local("Device.WiFi.SSID", "new", Writer.LOCAL)
    await bench.power_cut()
    await bench.start()
    assert bench.events() == ["1 BOOT", "4 VALUE CHANGE"]
    assert bench.values()["Device.WiFi.SSID"] == "new"


@pytest.mark.case("E12")
@scene
async def test_heartbeats_are_alone_in_their_inform(bench):
    """Event 14 every 30 s, forced parameters only."""
    await bench.start()
    await bench.ask(
        setting(
            HeartbeatPolicy__Enable="1",
            HeartbeatPolicy__ReportingInterval="30",
            HeartbeatPolicy__InitiationTime="2000-01-01T00:00:00Z",
        )
    )
    before = len(bench.informs)
    await bench.clock.advance(61)
    assert [bench.events(n) for n in range(before, len(bench.informs))] == [["14 HEARTBEAT"], ["14 HEARTBEAT"]]
    assert len(bench.values()) == 6


@pytest.mark.case("N11")
@scene
async def test_inform_parameters_come_with_the_events_that_they_name(bench):
    """A row for 2 PERIODIC: in periodic Informs, not in others."""
    await bench.start()
    model = bench.agent.model
    with model.transaction(Writer.LOCAL) as change:
        number = change.add_object(SERVER + "InformParameter.")
        row = f"{SERVER}InformParameter.{number}."
        change.set(row + "Enable", "true")
        change.set(row + "ParameterName", "Device.WiFi.SSID")
        change.set(row + "EventList", "2 PERIODIC")
        change.commit()
    await bench.ask()
    assert "Device.WiFi.SSID" not in bench.values()
    bench.agent.trigger(EventCode.PERIODIC)
    await bench.clock.settle()
    assert bench.values()["Device.WiFi.SSID"] == "home"


@scene
async def test_a_minimal_inform_leaves_out_what_the_acs_knows(bench):
    """By setting: all forced parameters at a boot, afterwards only those that changed."""
    from dataclasses import replace

    bench.settings = replace(bench.settings, minimal_inform=True)
    await bench.start()
    assert len(bench.values()) == 6
    await bench.ask()
    assert bench.values() == {}
    await bench.ask(setting(PeriodicInformInterval="77"))
    await bench.ask()
    assert bench.values() == {SERVER + "ParameterKey": "key"}


@scene
async def test_a_computed_parameter_with_notification_is_watched(bench):
    """UpTime with passive notification: the next Inform has it, though nobody wrote it."""
    await bench.start()
    await bench.ask(notify("Device.DeviceInfo.UpTime", 1))
    bench.agent.look_for_changes()
    await bench.clock.advance(100)
    await bench.ask()
    assert bench.events() == ["4 VALUE CHANGE", "6 CONNECTION REQUEST"]
    assert bench.values()["Device.DeviceInfo.UpTime"] == "100"
