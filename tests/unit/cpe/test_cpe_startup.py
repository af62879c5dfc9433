"""Whose word counts at a start: settings that appear or change, the ACS, DHCP, the factory."""

import asyncio
from dataclasses import replace

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import FactoryReset, ParameterValueStruct, SetParameterValues
from homeport.cpe.discovery import encode_option43
from homeport.errors import ConfigError
from homeport.terms import Writer

SERVER = "Device.ManagementServer."
FACTORY = "http://factory.example/"
DHCP = "http://dhcp.example/"


def option43(url: str = DHCP, **facts: object) -> str:
    return encode_option43(url=url, **facts).hex()  # type: ignore[arg-type]


async def start(bench: Bench, **settings: object):
    """Start with changed settings."""
    bench.settings = replace(bench.settings, **settings)  # type: ignore[arg-type]
    return await bench.start()


def play(tmp_path, scene, **settings):
    async def run():
        bench = Bench(tmp_path, **{"acs_url": "", **settings})
        await scene(bench)
        await bench.stop()

    asyncio.run(run())


def test_without_anything_the_profiles_url_counts(tmp_path):
    """The factory value."""

    async def scene(bench):
        agent = await bench.start()
        assert (agent.status.acs_url, agent.status.acs_url_source) == (FACTORY, "the factory value of the profile")

    play(tmp_path, scene)


def test_dhcp_beats_the_factory_and_brings_its_other_facts(tmp_path):
    """Option 43: URL, provisioning code, retry values."""

    async def scene(bench):
        agent = await bench.start()
        management = agent.management
        assert (management.url, agent.status.acs_url_source) == (DHCP, "from DHCP option 43")
        assert management.retry == (7, 3000)
        assert management.value("Device.DeviceInfo.ProvisioningCode") == "gold"
        assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]

    play(
        tmp_path,
        scene,
        option43=option43(provisioning_code="gold", retry_minimum_wait=7, retry_multiplier=3000),
    )


@pytest.mark.case("D01")
def test_a_new_dhcp_url_means_bootstrap_and_the_same_one_does_not(tmp_path):
    """As long as nobody else has set the URL."""

    async def scene(bench):
        await bench.start()
        await bench.power_cut()
        await bench.start()
        assert bench.events() == ["1 BOOT"]
        await bench.power_cut()
        await start(bench, option43=option43("http://moved.example/"))
        assert bench.attempts[-1][1] == "http://moved.example/"
        assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]

    play(tmp_path, scene, option43=option43())


@pytest.mark.case("D07")
def test_what_the_acs_set_beats_dhcp_for_good(tmp_path):
    """Also after a restart."""

    async def scene(bench):
        await bench.start()
        await bench.ask(SetParameterValues((ParameterValueStruct(SERVER + "URL", "http://set.example/"),), ""))
        await bench.power_cut()
        agent = await bench.start()
        assert (agent.management.url, agent.status.acs_url_source) == ("http://set.example/", "set by the ACS")

    play(tmp_path, scene, option43=option43())


def test_what_a_person_set_beats_dhcp(tmp_path):
    """--acs-url, or set-param at the device."""

    async def scene(bench):
        agent = await bench.start()
        assert (agent.management.url, agent.status.acs_url_source) == ("http://mine.example/", "set on this device")

    play(tmp_path, scene, option43=option43(), acs_url="http://mine.example/")


def test_an_unchanged_setting_does_not_undo_what_the_acs_set(tmp_path):
    """But a changed one counts, at the next start."""

    async def scene(bench):
        await bench.start()
        await bench.ask(
            SetParameterValues(
                (
                    ParameterValueStruct(SERVER + "URL", "http://set.example/"),
                    ParameterValueStruct(SERVER + "PeriodicInformInterval", "60", "unsignedInt"),
                ),
                "",
            )
        )
        await bench.power_cut()
        agent = await bench.start()
        assert agent.management.url == "http://set.example/"
        assert agent.management.periodic[1] == 60
        await bench.power_cut()
        agent = await start(bench, acs_url="http://new.example/")
        assert agent.management.url == "http://new.example/"
        assert agent.management.periodic[1] == 60

    play(tmp_path, scene, acs_url="http://mine.example/", periodic_inform_interval=900)


def test_after_a_factory_reset_settings_count_as_factory_values(tmp_path):
    """The person who runs the agent still wants that ACS."""

    async def scene(bench):
        agent = await bench.start()
        await bench.ask(SetParameterValues((ParameterValueStruct(SERVER + "Username", "by-acs"),), ""), FactoryReset())
        agent = await bench.restarted()
        assert agent.management.url == "http://mine.example/"
        assert agent.management.username == "mine"

    play(tmp_path, scene, acs_url="http://mine.example/", username="mine")


def test_a_broken_option_43_is_a_warning_and_no_obstacle(tmp_path):
    """DHCP is not to be trusted, and not to be depended on."""

    async def scene(bench):
        agent = await bench.start()
        assert agent.management.url == FACTORY
        assert any("option 43" in line for line in agent.config_log.lines())

    play(tmp_path, scene, option43="0601aa")


def test_the_user_name_is_the_device_id_unless_given(tmp_path):
    """OUI-ProductClass-SerialNumber, which an ACS can look up."""

    async def scene(bench):
        agent = await bench.start()
        assert agent.management.username == "00256D-Bench-0001"

    play(tmp_path, scene)


def test_a_device_without_serial_number_chooses_one_and_keeps_it(tmp_path):
    """Over restarts and a factory reset."""

    async def scene(bench):
        agent = await bench.start()
        first = agent.status.device_id
        await bench.ask(FactoryReset())
        agent = await bench.restarted()
        assert agent.status.device_id == first
        assert first.startswith("00256D-Bench-HP")

    from cpe_support.bench_profile import bench_profile
    from homeport.model.profile import ProfileDef

    known = bench_profile()
    nameless = ProfileDef(
        "nameless",
        known.schema,
        known.parameters,
        values={k: v for k, v in known.values.items() if not k.endswith("SerialNumber")},
    )
    play(tmp_path, scene, profile=nameless)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"acs_url": "ftp://a/"}, "http or https"),
        ({"option43": "xyz"}, "hexadecimal"),
        ({"profile": "none"}, "no profile"),
    ],
)
def test_wrong_settings_are_refused_at_the_start(tmp_path, wrong, words):
    """With a sentence, and the state directory is free again."""
    from homeport.cpe.agent import Agent
    from homeport.cpe.config import CpeSettings

    for _ in range(2):
        with pytest.raises(ConfigError, match=words):
            Agent(CpeSettings(state_dir=tmp_path, **wrong), doors=False)


def test_a_profile_can_be_a_file(tmp_path):
    """For a device maker's own model."""
    from homeport.cpe.agent import profile_of

    with pytest.raises(ConfigError, match=r"mine\.toml"):
        profile_of(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nmodel = "Device:2.9"\nparameters = ["Device.DeviceInfo.Manufacturer", "Device.DeviceInfo.SerialNumber"]\n'
    )
    assert profile_of(str(tmp_path / "mine.toml")).name == "mine"


def test_a_local_write_of_the_url_is_followed_at_once(tmp_path):
    """set-param at the device: a session at the new ACS, with BOOTSTRAP."""

    async def scene(bench):
        agent = await bench.start()
        agent.model.set_local(SERVER + "URL", "http://local.example/", Writer.LOCAL)
        await bench.clock.settle()
        assert bench.attempts[-1][1] == "http://local.example/"
        assert bench.events() == ["0 BOOTSTRAP"]
        assert agent.status.acs_url_source == "set on this device"

    play(tmp_path, scene)
