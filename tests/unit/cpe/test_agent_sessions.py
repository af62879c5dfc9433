"""The agent's sessions on a virtual clock: when they open, what the Inform says, what is retried."""

import asyncio

import pytest

from cpe_support.bench import URL, Bench
from cpe_support.scenes import SERVER, notify, scene, setting
from homeport.codec.messages import (
    FactoryReset,
    FaultMessage,
    GetParameterAttributes,
    GetParameterValues,
    ParameterValueStruct,
    Reboot,
    ScheduleInform,
    SetParameterValues,
    TransferComplete,
)
from homeport.cpe.conversation import describe
from homeport.terms import EventCode, Writer


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
