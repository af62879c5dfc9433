"""What a person on the device can ask and set, while the agent runs."""

import asyncio
import os

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import SetParameterAttributes, SetParameterAttributesStruct
from homeport.cpe import status as status_file
from homeport.cpe.loop import Exit
from homeport.cpe.verbs import verbs_of
from homeport.errors import Fault, HomeportError

SERVER = "Device.ManagementServer."


def play(tmp_path, scene, **settings):
    async def run():
        bench = Bench(tmp_path, **settings)
        agent = await bench.start()
        verbs = verbs_of(agent)
        result = await scene(bench, lambda name, **args: verbs[name](args))
        await bench.stop()
        return result

    return asyncio.run(run())


def test_status_is_the_same_from_the_socket_and_from_the_file(tmp_path):
    """A stopped agent's last word stays readable."""

    async def scene(bench, ask):
        status = await ask("status")
        assert status["connected"] is True
        assert status["pid"] == os.getpid()
        assert list(status["last_session"]["events"]) == ["0 BOOTSTRAP", "1 BOOT"]
        assert status_file.load(tmp_path).device_id == status["device_id"] == "00256D-Bench-0001"

    play(tmp_path, scene)
    assert status_file.load(tmp_path).state == "stopped"


@pytest.mark.case("X07")
def test_no_verb_shows_a_password(tmp_path):
    """Neither settings nor parameters nor logs nor the support bundle."""

    async def scene(bench, ask):
        await ask("set-param", values={SERVER + "Password": "s3cret-three"})
        shown = [await ask(name) for name in ("status", "config", "params", "log", "client-log", "support")]
        shown.append(await ask("get", paths=[SERVER]))
        return repr(shown)

    shown = play(tmp_path, scene, password="s3cret-one", connection_request_password="s3cret-two")
    assert "s3cret" not in shown
    assert "********" in shown


def test_params_tell_type_access_and_notification(tmp_path):
    """One row per parameter."""

    async def scene(bench, ask):
        return await ask("params", path="Device.WiFi.")

    assert play(tmp_path, scene) == [
        {
            "path": "Device.WiFi.SSID",
            "value": "home",
            "type": "string",
            "writable": True,
            "notification": 0,
            "secret": False,
        },
        {
            "path": "Device.WiFi.Channel",
            "value": "1",
            "type": "unsignedInt",
            "writable": True,
            "notification": 0,
            "secret": False,
        },
    ]


def test_a_persons_write_is_checked_like_the_acs_and_told_to_it(tmp_path):
    """All or nothing; what has active notification opens a session."""

    async def scene(bench, ask):
        await bench.ask(SetParameterAttributes((SetParameterAttributesStruct("Device.WiFi.SSID", True, 2),)))
        with pytest.raises(Fault) as refused:
            await ask("set-param", values={"Device.WiFi.SSID": "x", "Device.WiFi.Channel": "99"})
        assert [(p.name, p.code) for p in refused.value.parameters] == [("Device.WiFi.Channel", 9007)]
        assert await ask("get", paths=["Device.WiFi.SSID"]) == {"Device.WiFi.SSID": "home"}
        assert await ask("set-param", values={"Device.WiFi.SSID": "mine"}) == {"status": 0}
        await bench.clock.settle()
        assert bench.events() == ["4 VALUE CHANGE"]
        assert (await ask("log"))[-1].endswith('a person at the device set Device.WiFi.SSID: "home" -> "mine"')

    play(tmp_path, scene)


def test_inform_contacts_the_acs_now(tmp_path):
    """Also in the middle of a wait."""

    async def scene(bench, ask):
        before = len(bench.informs)
        await ask("inform")
        await bench.clock.settle()
        assert len(bench.informs) == before + 1
        with pytest.raises(HomeportError, match="2 PERIODIC"):
            await ask("inform", event="0 BOOTSTRAP")

    play(tmp_path, scene)


@pytest.mark.parametrize(("verb", "events"), [("reboot", ["1 BOOT"]), ("factory-reset", ["0 BOOTSTRAP", "1 BOOT"])])
def test_a_persons_restart_is_reported_as_a_boot_without_m_event(tmp_path, verb, events):
    """M Reboot is for the ACS's Reboot alone."""

    async def scene(bench, ask):
        await ask("set-param", values={"Device.WiFi.SSID": "mine"})
        await ask(verb)
        agent = await bench.restarted()
        assert bench.events() == events
        assert agent.model.value("Device.WiFi.SSID") == ("mine" if verb == "reboot" else "home")
        agent.stop()
        assert await bench._task is Exit.STOPPED
        bench._task = None

    play(tmp_path, scene)


def test_get_and_set_need_something_to_do(tmp_path):
    """A sentence with an example."""

    async def scene(bench, ask):
        with pytest.raises(HomeportError, match=r"Device\.DeviceInfo"):
            await ask("get")
        with pytest.raises(HomeportError, match="PATH=VALUE"):
            await ask("set-param", values={})

    play(tmp_path, scene)
