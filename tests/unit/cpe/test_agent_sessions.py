"""The agent's sessions on a virtual clock: when they open, what the Inform says, what is retried."""

import asyncio
import itertools

import pytest

from cpe_support.bench import URL, Bench
from homeport.codec.messages import (
    FactoryReset,
    FaultMessage,
    GetParameterAttributes,
    GetParameterValues,
    ParameterValueStruct,
    Reboot,
    ScheduleInform,
    SetParameterAttributes,
    SetParameterAttributesStruct,
    SetParameterValues,
    TransferComplete,
)
from homeport.cpe.conversation import describe
from homeport.terms import EventCode, Writer

SERVER = "Device.ManagementServer."


def scene(make):
    """Run an `async def test(bench)` with a bench in the test's directory, which is stopped afterwards."""

    def test(tmp_path):
        async def play():
            bench = Bench(tmp_path)
            await make(bench)
            await bench.stop()
            assert bench.most_open_channels == 1

        asyncio.run(play())

    test.__name__ = make.__name__
    test.__doc__ = make.__doc__
    return test


def setting(**values: str) -> SetParameterValues:
    """SetParameterValues of ManagementServer parameters, each with its type."""
    return SetParameterValues(
        tuple(
            ParameterValueStruct(SERVER + name.replace("__", "."), value, type_of(name))
            for name, value in values.items()
        ),
        "key",
    )


def type_of(name: str) -> str:
    if name.endswith("Time"):
        return "dateTime"
    if "Enable" in name:
        return "boolean"
    return "unsignedInt" if name.endswith(("Interval", "Multiplier", "Throttle")) else "string"


def notify(name: str, value: int) -> SetParameterAttributes:
    return SetParameterAttributes((SetParameterAttributesStruct(name, True, value),))


@pytest.mark.case("S01")
@scene
async def test_a_factory_new_device_says_bootstrap_and_boot(bench):
    """The first Inform ever: 0 and 1, RetryCount 0, MaxEnvelopes 1."""
    await bench.start()
    assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]
    assert (bench.informs[0].retry_count, bench.informs[0].max_envelopes) == (0, 1)
    assert bench.informs[0].current_time == "2027-01-15T08:00:00Z"


@pytest.mark.case("S02")
@scene
async def test_a_power_cycle_says_boot_only(bench):
    """No BOOTSTRAP, no M Reboot, no VALUE CHANGE."""
    await bench.start()
    await bench.power_cut()
    await bench.start()
    assert bench.events() == ["1 BOOT"]


@pytest.mark.case("N08")
@scene
async def test_every_inform_carries_the_forced_parameters_that_the_device_has(bench):
    """Device:2's set; each name once."""
    await bench.start()
    await bench.ask()
    for inform in bench.informs:
        names = [p.name for p in inform.parameter_list]
        assert names == [
            "Device.RootDataModelVersion",
            "Device.DeviceInfo.HardwareVersion",
            "Device.DeviceInfo.SoftwareVersion",
            "Device.DeviceInfo.ProvisioningCode",
            SERVER + "ParameterKey",
            SERVER + "ConnectionRequestURL",
        ]


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


@pytest.mark.case("S53")
@scene
async def test_periodic_informs_are_in_phase(bench):
    """Interval 30, phase of whole minutes: 2 PERIODIC at seconds 0 and 30 of the wall clock."""
    await bench.start()
    await bench.clock.advance(7)
    await bench.ask(
        setting(PeriodicInformEnable="1", PeriodicInformInterval="30", PeriodicInformTime="2000-01-01T00:00:00Z")
    )
    bench.attempts.clear()
    await bench.clock.advance(95)
    assert [(bench.clock.now() - bench.clock.monotonic() + t) % 30 for t, _ in bench.attempts] == [0, 0, 0]
    assert bench.events() == ["2 PERIODIC"]


@pytest.mark.case("S56")
@scene
async def test_a_changed_interval_takes_effect_at_once_and_enable_false_stops(bench):
    """Run-time changes by the ACS."""
    await bench.start()
    await bench.ask(setting(PeriodicInformEnable="1", PeriodicInformInterval="1000"))
    await bench.ask(setting(PeriodicInformInterval="10"))
    before = len(bench.informs)
    await bench.clock.advance(30)
    assert len(bench.informs) == before + 3
    await bench.ask(setting(PeriodicInformEnable="0"))
    before = len(bench.informs)
    await bench.clock.advance(10_000)
    assert len(bench.informs) == before


@pytest.mark.case("S57")
@scene
async def test_a_periodic_interval_of_0_is_refused(bench):
    """9003 with 9007 for the parameter."""
    await bench.start()
    (fault,) = await bench.ask(setting(PeriodicInformInterval="0"))
    assert isinstance(fault, FaultMessage)
    assert [p.fault_code for p in fault.set_parameter_values_faults] == [9007]


@pytest.mark.case("R48")
@pytest.mark.case("R49")
@scene
async def test_reboots_of_one_session_are_reported_after_one_restart(bench):
    """1 BOOT and an M Reboot for each, and UpTime begins again."""
    await bench.start()
    await bench.clock.advance(100)
    await bench.ask(Reboot("a"), Reboot("b"))
    await bench.restarted()
    assert [(e.event_code, e.command_key) for e in bench.informs[-1].event] == [
        ("1 BOOT", ""),
        ("M Reboot", "a"),
        ("M Reboot", "b"),
    ]
    (answer,) = await bench.ask(GetParameterValues(("Device.DeviceInfo.UpTime",)))
    assert answer.parameter_list[0].value == "0"


@pytest.mark.case("R50")
@pytest.mark.case("N07")
@scene
async def test_a_factory_reset_restores_values_attributes_and_the_key(bench):
    """Then 0 BOOTSTRAP, 1 BOOT; the attribute survived the restart before that."""
    await bench.start()
    await bench.ask(
        setting(PeriodicInformInterval="77"),
        SetParameterValues((ParameterValueStruct("Device.WiFi.SSID", "mine"),), "key"),
        notify("Device.WiFi.SSID", 1),
        Reboot(""),
    )
    await bench.restarted()
    values, attributes = await bench.ask(
        GetParameterValues(("Device.WiFi.SSID", SERVER + "ParameterKey")), GetParameterAttributes(("Device.WiFi.SSID",))
    )
    assert [v.value for v in values.parameter_list] == ["mine", "key"]
    assert attributes.parameter_list[0].notification == 1
    await bench.ask(FactoryReset())
    await bench.restarted()
    assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]
    values, attributes = await bench.ask(
        GetParameterValues(("Device.WiFi.SSID", SERVER + "ParameterKey", SERVER + "PeriodicInformInterval")),
        GetParameterAttributes(("Device.WiFi.SSID",)),
    )
    assert [v.value for v in values.parameter_list] == ["home", "", "300"]
    assert attributes.parameter_list[0].notification == 0


@pytest.mark.case("R51")
@pytest.mark.case("R52")
@scene
async def test_scheduled_informs_come_when_asked(bench):
    """After 5 s one session with 3 SCHEDULED and both M entries."""
    await bench.start()
    await bench.ask(ScheduleInform(5, "a"), ScheduleInform(5, "b"))
    before = len(bench.informs)
    await bench.clock.advance(4.9)
    assert len(bench.informs) == before
    await bench.clock.advance(0.2)
    assert [(e.event_code, e.command_key) for e in bench.informs[-1].event] == [
        ("3 SCHEDULED", ""),
        ("M ScheduleInform", "a"),
        ("M ScheduleInform", "b"),
    ]


@pytest.mark.case("R53")
@scene
async def test_a_scheduled_inform_without_delay_is_refused(bench):
    """DelaySeconds 0: 9003."""
    await bench.start()
    (fault,) = await bench.ask(ScheduleInform(0, "a"))
    assert fault.fault_code == 9003


@pytest.mark.case("R22")
@scene
async def test_a_new_url_is_used_after_the_session_with_bootstrap(bench):
    """The session goes on at the old URL; then a new one at the new URL says 0 BOOTSTRAP."""
    await bench.start()
    await bench.ask(setting(URL="http://other.example/"), GetParameterValues((SERVER + "URL",)))
    assert [url for _, url in bench.attempts] == [URL, URL, "http://other.example/"]
    assert bench.acs.answers[-1][1].parameter_list[0].value == "http://other.example/"
    assert bench.events() == ["0 BOOTSTRAP"]
    assert bench.agent.status.acs_url_source == "set by the ACS"
    await bench.power_cut()
    await bench.start()
    assert bench.attempts[-1][1] == "http://other.example/"
    assert bench.events() == ["1 BOOT"]


@pytest.mark.case("E09")
@scene
async def test_a_new_url_that_was_never_reached_still_says_bootstrap_after_a_restart(bench):
    """Also after a power cut."""
    await bench.start()

    def then_be_gone(body: bytes) -> None:
        bench.refuse = b"SetParameterValuesResponse" in body

    bench.on_post = then_be_gone
    await bench.ask(setting(URL="http://other.example/"))
    assert bench.attempts[-1][1] == "http://other.example/"
    await bench.power_cut()
    bench.on_post, bench.refuse = None, False
    await bench.start()
    assert bench.attempts[-1][1] == "http://other.example/"
    assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]


@pytest.mark.case("S52")
@scene
async def test_enable_cwmp_false_silences_the_agent_until_somebody_at_the_device_changes_it(bench):
    """No session, no connection request."""
    await bench.start()
    await bench.ask(setting(EnableCWMP="0"))
    before = len(bench.attempts)
    bench.agent.trigger(EventCode.PERIODIC)
    await bench.clock.advance(1000)
    assert len(bench.attempts) == before
    assert "EnableCWMP" in str(bench.agent.connection_requested())
    assert bench.agent.status.state == "disabled"
    bench.agent.model.set_local(SERVER + "EnableCWMP", "true", Writer.LOCAL)
    await bench.clock.settle()
    assert len(bench.attempts) == before + 1


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


@pytest.mark.case("S40")
@pytest.mark.case("C06")
@scene
async def test_connection_requests_during_a_session_lead_to_one_more(bench):
    """Never two at once (every scene checks it), and never one per request."""
    await bench.start()

    def ring(body: bytes) -> None:
        bench.on_post = None
        for _ in range(3):
            assert bench.agent.connection_requested() is True

    before = len(bench.informs)
    bench.on_post = ring
    await bench.ask()
    assert len(bench.informs) == before + 2
    assert bench.events() == ["6 CONNECTION REQUEST"]


@pytest.mark.case("C05")
@scene
async def test_several_connection_requests_before_the_session_lead_to_one(bench):
    """All are accepted."""
    await bench.start()
    before = len(bench.informs)
    assert [bench.agent.connection_requested() for _ in range(5)] == [True] * 5
    await bench.clock.settle()
    assert len(bench.informs) == before + 1


@pytest.mark.case("S06")
@pytest.mark.case("E05")
@scene
async def test_an_owed_transfer_complete_goes_right_after_the_inform_response(bench):
    """And its events go with its answer."""
    await bench.start()
    complete = TransferComplete("fw", start_time="2027-01-01T00:00:00Z", complete_time="2027-01-01T00:00:09Z")
    bench.agent.ledger.owe_request(complete, EventCode.M_DOWNLOAD, "fw")
    bodies: list[bytes] = []
    bench.on_post = bodies.append
    await bench.ask()
    assert bench.events() == ["6 CONNECTION REQUEST", "7 TRANSFER COMPLETE", "M Download"]
    assert bench.acs.calls == [complete]
    assert [b"TransferComplete>" in b for b in bodies] == [False, True, False]
    await bench.ask()
    assert bench.events() == ["6 CONNECTION REQUEST"]


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
async def test_without_any_url_the_agent_waits_and_says_why(bench):
    """It starts to talk as soon as somebody gives it one."""
    from dataclasses import replace

    bench.settings = replace(bench.settings, acs_url="")
    agent = await bench.start()
    agent.model.set_local(SERVER + "URL", "", Writer.LOCAL)
    await bench.clock.settle()
    before = len(bench.attempts)
    agent.trigger(EventCode.PERIODIC)
    await bench.clock.settle()
    assert len(bench.attempts) == before
    assert agent.status.state == "no ACS URL"
    assert "homeport cpe enable URL" in agent.status.reason
    agent.model.set_local(SERVER + "URL", "http://found.example/", Writer.LOCAL)
    await bench.clock.settle()
    assert bench.attempts[-1][1] == "http://found.example/"


@scene
async def test_before_a_clock_is_set_the_time_is_unknown(bench):
    """CurrentTime of a device that just came up."""
    bench.clock.set_wall(1000.0)
    await bench.start()
    assert bench.informs[0].current_time == "0001-01-01T00:00:00Z"


@scene
async def test_the_status_tells_what_the_last_session_was(bench):
    """For the status page and `homeport cpe show status`."""
    bench.refuse = True
    agent = await bench.start()
    assert agent.status.connected is False
    assert agent.status.reason == "the ACS cannot be reached"
    assert agent.status.last_session.kind == "refused"
    assert agent.status.next_contact_reason == "retry 1 after a failed session"
    assert agent.status.next_contact == "2027-01-15T08:00:07Z"
    bench.refuse = False
    await bench.clock.advance(10)
    assert agent.status.connected is True
    assert agent.status.last_session.outcome == "success"
    assert agent.status.device_id == "00256D-Bench-0001"


@pytest.mark.case("X07")
@scene
async def test_what_the_model_hides_is_not_in_the_log_either(bench):
    """By the model's word, whatever the parameter is called."""
    agent = await bench.start()
    await bench.ask(setting(ConnectionRequestPassword="hunter2", Username="joe"))
    shown = "\n".join(agent.client_log.lines())
    assert "ConnectionRequestPassword=********" in shown
    assert "Username=joe" in shown
    assert "hunter2" not in shown


def test_log_lines_name_what_was_asked_without_secrets():
    """A SetParameterValues of a password shows that it was set, not to what."""
    line = describe(setting(Password="hunter2", URL="http://a/"))
    assert "Password=********" in line
    assert "hunter2" not in line


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


@pytest.mark.parametrize("url", ["ftp://a/", "http://", "nonsense", "http://a b/"])
def test_a_url_that_cannot_be_one_is_refused(tmp_path, url):
    """9007: a slip of the pen does not cut the device off."""

    async def play():
        bench = Bench(tmp_path)
        await bench.start()
        (fault,) = await bench.ask(setting(URL=url))
        await bench.stop()
        return fault

    fault = asyncio.run(play())
    assert [p.fault_code for p in fault.set_parameter_values_faults] == [9007]


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
