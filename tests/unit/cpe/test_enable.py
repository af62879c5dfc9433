"""DKT's three ways to start: what a person typed, and what it does to a running agent or to one that starts later."""

import asyncio
import json
from dataclasses import replace

import pytest

from cpe_support.bench import Bench
from homeport.cpe.discovery import encode_option43
from homeport.cpe.enable import (
    Order,
    carry_out,
    check,
    leave,
    order_of_file,
    order_of_url,
    stored_model,
)
from homeport.cpe.leases.lease import lease_of
from homeport.cpe.state import AGENT, Store
from homeport.cpe.transfers.vendor_files import export_configuration
from homeport.cpe.verbs import verbs_of
from homeport.errors import ConfigError, HomeportError

SERVER = "Device.ManagementServer."
URL = "http://acs2.example:7547/"


def play(tmp_path, scene, *, bench_model=True, **settings):
    """bench_model: whether the device has the model of the bench, else that of the setting profile."""

    async def run():
        bench = Bench(tmp_path, **{k: v for k, v in settings.items() if k != "profile"})
        if not bench_model:
            bench.settings = replace(bench.settings, profile=settings["profile"])
            bench.profile = None
        agent = await bench.start()
        await scene(bench, agent)
        await bench.stop()

    asyncio.run(run())


# --- what a person typed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "url"),
    [
        (("http://a/",), "http://a/"),
        (("http://a/cwmp", "u", "p", 7547), "http://a:7547/cwmp"),
        (("http://a:7547/", "u", "p", 7547), "http://a:7547/"),
        (("https://[2001:db8::1]/", "u", "", 8443), "https://[2001:db8::1]:8443/"),
    ],
)
def test_the_port_goes_into_the_url(words, url):
    """DKT's fourth word."""
    assert order_of_url(*words).server["URL"] == url


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("acs.example.net",), "absolute http"),
        (("http://a:80/", "u", "p", 7547), "leave one of them out"),
        (("http://a/", "u", "p", 0), "1 to 65535"),
        (("http://a:x/", "u"), "cannot be read"),
        (("http://a/", "u" * 257), "at most 256"),
    ],
)
def test_a_wrong_url_or_port_is_a_sentence(words, sentence):
    """Before anything is changed."""
    with pytest.raises(ConfigError, match=sentence):
        order_of_url(*words)


def test_a_configuration_file_has_a_path_and_a_value_in_each_line():
    """As DKT's document lists its model; headings, comments, quotes and equals signs are understood."""
    order = order_of_file(
        b"\xef\xbb\xbf# saved configuration\r\n\r\nDevice.ManagementServer\r\n"
        b"Device.ManagementServer.URL http://a/\r\n"
        b'  Device.ManagementServer.Password "two words"\n'
        b"Device.ManagementServer.Username=joe\n"
        b'Device.DeviceInfo.ProvisioningCode ""\n'
        b"Device.ManagementServer.ParameterKey a # b\n"
    )
    assert {e.path.rpartition(".")[2]: (e.line, e.value) for e in order.entries} == {
        "URL": (4, "http://a/"),
        "Password": (5, "two words"),
        "Username": (6, "joe"),
        "ProvisioningCode": (7, ""),
        "ParameterKey": (8, "a # b"),
    }


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "names no parameter"),
        (b"# only a comment\n", "names no parameter"),
        (b"Device.A.B\n", "line 1: Device.A.B has no value"),
        (b"Device.A.B 1\n$(reboot) now\n", "line 2"),
        (b"Device.A.B 1\nDevice.A.B 2\n", "line 2: Device.A.B is in line 1 already"),
        (b"Device.A.B \xff\n", "UTF-8"),
        (b"Device.A.B " + b"x" * (1 << 20), "at most"),
    ],
)
def test_a_file_that_cannot_be_read_says_which_line(data, sentence):
    """All of it is checked before anything is done."""
    with pytest.raises(ConfigError, match=sentence):
        order_of_file(data)


# --- a running agent ---------------------------------------------------------------------------------------------------------------


def test_a_url_by_hand_moves_the_agent_and_is_a_persons_word(tmp_path):
    """Also where DHCP had named the same one: from then on no lease moves the agent."""

    async def scene(bench, agent):
        agent.leases.take(lease_of("eth0", 4, {43: encode_option43(url=URL)}))
        assert agent.status.acs_url_from != "stored" or agent.management.url == URL
        answer = await verbs_of(agent)["enable"]({"server": {"URL": URL}})
        await bench.clock.settle()
        assert answer["url"] == URL
        assert bench.attempts[-1][1] == URL
        agent.leases.take(lease_of("eth0", 4, {43: encode_option43(url="http://forged.example/")}))
        assert (agent.management.url, agent.status.acs_url_from) == (URL, "stored")

    play(tmp_path, scene, acs_url="")


def test_disable_silences_and_enable_contacts_with_what_is_stored(tmp_path):
    """EnableCWMP follows where the device has it."""

    async def scene(bench, agent):
        ask = verbs_of(agent)["enable"]
        await ask({"on": False})
        before = len(bench.informs)
        agent.trigger("2 PERIODIC")
        await bench.clock.settle()
        assert (len(bench.informs), agent.status.state) == (before, "disabled")
        assert agent.management.text("EnableCWMP") == "false"
        assert "homeport cpe enable" in str(agent.connection_requested())
        await ask({})
        await bench.clock.settle()
        assert len(bench.informs) == before + 1
        assert agent.management.text("EnableCWMP") == "true"

    play(tmp_path, scene)


def test_a_file_is_applied_whole_or_not_at_all(tmp_path):
    """The faults name their lines; nothing is changed where one value does not fit."""

    async def scene(bench, agent):
        good = f"{SERVER}URL {URL}\nDevice.WiFi.SSID guests\n"
        bad = good + "Device.WiFi.Channel 99\nDevice.Nothing.There 1\n"
        with pytest.raises(
            HomeportError, match=r"line 3: Device\.WiFi\.Channel: 9007.*line 4: Device\.Nothing\.There: 9005"
        ):
            carry_out(order_of_file(bad.encode()), agent.model, agent.store, lambda text: None)
        assert agent.management.value("Device.WiFi.SSID") == "home"
        carry_out(order_of_file(good.encode()), agent.model, agent.store, lambda text: None)
        await bench.clock.settle()
        assert agent.management.value("Device.WiFi.SSID") == "guests"
        assert bench.attempts[-1][1] == URL

    play(tmp_path, scene)


def test_what_a_device_uploads_as_its_configuration_can_be_enabled(tmp_path):
    """The JSON form; one of another device is refused before anything is changed."""

    async def scene(bench, agent):
        data = export_configuration(agent.model)
        document = json.loads(data)
        document["values"][SERVER + "URL"] = URL
        order = order_of_file(json.dumps(document).encode())
        wrong = dict(document, values={**document["values"], "Device.Other.Thing": "1"})
        with pytest.raises(HomeportError, match=r"Device\.Other\.Thing"):
            carry_out(order_of_file(json.dumps(wrong).encode()), agent.model, agent.store, lambda text: None)
        assert agent.management.url != URL
        carry_out(order, agent.model, agent.store, lambda text: None)
        await bench.clock.settle()
        assert (agent.management.url, agent.status.acs_url_from) == (URL, "stored")

    play(tmp_path, scene)


def test_a_file_that_leads_to_no_acs_is_refused(tmp_path):
    """`enable` is for contacting one."""

    async def scene(bench, agent):
        agent.model.set_local(SERVER + "URL", "")
        with pytest.raises(ConfigError, match="names no ACS"):
            carry_out(order_of_file(b"Device.WiFi.SSID guests\n"), agent.model, agent.store, lambda text: None)
        assert agent.management.value("Device.WiFi.SSID") == "home"
        with pytest.raises(ConfigError, match="absolute http"):
            carry_out(order_of_file(f"{SERVER}URL nonsense\n".encode()), agent.model, agent.store, lambda text: None)

    play(tmp_path, scene)


def test_nonsense_over_the_socket_is_refused(tmp_path):
    """Whoever may open the socket may still be wrong."""

    async def scene(bench, agent):
        with pytest.raises(HomeportError, match="no order"):
            await verbs_of(agent)["enable"]({"server": 7})

    play(tmp_path, scene)


# --- an agent that starts later ------------------------------------------------------------------------------------------------------


def test_what_was_left_is_done_at_the_next_start_and_only_once(tmp_path):
    """What the ACS sets afterwards stays."""
    store = Store(tmp_path)
    leave(order_of_url(URL, "joe", "s3cret"), store)
    leave(Order(on=False), store)
    leave(Order(), store)
    store.close()

    async def scene(bench, agent):
        assert (agent.management.url, agent.management.username) == (URL, "joe")
        assert agent.status.acs_url_from == "stored"
        assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]
        agent.model.set_local(SERVER + "Username", "other")
        await bench.power_cut()
        agent = await bench.start()
        assert agent.management.username == "other"

    play(tmp_path, scene, acs_url="")


def test_an_agent_that_was_switched_off_starts_silent(tmp_path):
    """Until somebody enables it."""
    store = Store(tmp_path)
    leave(Order(on=False), store)
    store.close()

    async def scene(bench, agent):
        assert bench.attempts == []
        assert agent.status.state == "disabled"
        await verbs_of(agent)["enable"]({})
        await bench.clock.settle()
        assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]

    play(tmp_path, scene)


def test_an_order_that_no_longer_fits_is_said_and_forgotten(tmp_path):
    """Another profile than the one that it was checked against."""
    store = Store(tmp_path)
    leave(order_of_file(f"{SERVER}URL {URL}\nDevice.Other.Thing 1\n".encode()), store)
    store.close()

    async def scene(bench, agent):
        assert agent.management.url != URL
        assert any("Device.Other.Thing" in line for line in agent.config_log.lines())
        assert agent.store.get(AGENT, "order") is None

    play(tmp_path, scene)


def test_an_order_is_checked_against_the_stored_model(tmp_path):
    """With the profile that the agent ran with, also one from a file; the copy is spoilt, the state is not."""
    profile = tmp_path / "box.toml"
    profile.write_text(
        'name = "box"\nmodel = "Device:2.9"\nparameters = ["Device.ManagementServer.", "Device.DeviceInfo."]\n[values]\n'
        '"Device.DeviceInfo.ManufacturerOUI" = "00256D"\n"Device.ManagementServer.URL" = "http://fixed.example/"\n'
    )

    async def scene(bench, agent):
        assert (agent.management.url, agent.status.acs_url_from) == ("http://fixed.example/", "factory")

    home = tmp_path / "state"
    play(home, scene, acs_url="", profile=str(profile), bench_model=False)
    store = Store(home)
    assert stored_model(store, "no-such-profile") is None
    known = stored_model(store)
    assert known is not None and known[1] == "box"
    before = store.items("model")
    check(order_of_file(f"{SERVER}URL {URL}\n".encode()), known[0])
    with pytest.raises(ConfigError, match="line 1"):
        check(order_of_file(b"Device.Services 1\n"), known[0])
    assert store.items("model") == before
    store.close()
