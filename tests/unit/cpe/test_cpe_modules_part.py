"""The seam between the agent and its software modules: who has them, what is loaded, what the settings may say."""

import asyncio
import subprocess
import sys

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import (
    AutonomousDUStateChangeComplete,
    AutonOpResultStruct,
    ChangeDUState,
    FaultMessage,
    FaultStruct,
    GetRPCMethods,
    InstallOpStruct,
    UninstallOpStruct,
)
from homeport.cpe.config import CpeSettings
from homeport.cpe.conversation import describe
from homeport.cpe.modules.interface import Setup
from homeport.cpe.modules.load import load_environments
from homeport.cpe.parts.choose import parts_of
from homeport.errors import ConfigError, StoreError
from homeport.model.profile import load_profile

FETCH = ChangeDUState((InstallOpStruct("http://files.example/app?key=secret"),), "k")


def play(tmp_path, profile, scene, **settings):
    async def run():
        bench = Bench(tmp_path, profile=load_profile(profile), parts=parts_of, **settings)
        agent = await bench.start()
        for _ in range(1000):
            if bench.informs:
                break
            await asyncio.sleep(0.01)  # the start opens environments in a thread, which the virtual clock does not know
        await bench.clock.settle()
        await scene(bench, agent)
        await bench.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("profile", "settings"), [("dkt-797xx", {}), ("module-host", {"module_environments": ("none",)})]
)
def test_a_device_without_modules_refuses_them(tmp_path, profile, settings):
    """9000, and GetRPCMethods does not name ChangeDUState: the profile has no SoftwareModules, or the settings no environment."""

    async def scene(bench, agent):
        methods, answer = await bench.ask(GetRPCMethods(), FETCH)
        assert "ChangeDUState" not in methods.method_list
        assert isinstance(answer, FaultMessage) and answer.fault_code == 9000

    play(tmp_path, profile, scene, oui="00256D", **settings)


def test_a_device_with_modules_names_the_method(tmp_path):
    """And has a row for its environment, which is Up."""

    async def scene(bench, agent):
        (methods,) = await bench.ask(GetRPCMethods())
        assert "ChangeDUState" in methods.method_list
        assert agent.model.value("Device.SoftwareModules.ExecEnv.1.Status") == "Up"

    play(tmp_path, "module-host", scene)


def test_modules_that_cannot_be_taken_up_are_refused_not_forgotten(tmp_path, monkeypatch):
    """A state that cannot be read at the start: changes are answered 9002, the sessions go on."""
    from homeport.cpe.modules.service import ModuleService

    async def broken(self):
        raise StoreError("the disk fails")

    monkeypatch.setattr(ModuleService, "start", broken)

    async def scene(bench, agent):
        (answer,) = await bench.ask(FETCH)
        assert isinstance(answer, FaultMessage) and answer.fault_code == 9002

    play(tmp_path, "module-host", scene)


def test_a_device_without_modules_does_not_pay_for_them():
    """Not one of their Python modules is loaded with the DKT profile: memory is for what is used."""
    code = (
        "import sys, tempfile; from pathlib import Path\n"
        "from homeport.cpe.agent import Agent\n"
        "from homeport.cpe.config import CpeSettings\n"
        "Agent(CpeSettings(state_dir=Path(tempfile.mkdtemp()))).store.close()\n"
        "print([n for n in sys.modules if n.startswith('homeport.cpe.modules') or n == 'tarfile'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("containers",), "there is no environment 'containers'"),
        (("no.such.module:environment",), "cannot be loaded"),
        (("json:no_such_name",), "cannot be loaded"),
        (("/no/such/file.py:environment",), "is not there"),
        (("string:digits",), "not something that makes an environment"),
        (("builtins:id",), "gave no environment"),
        (("native", "native"), "two environments are called native"),
    ],
)
def test_an_environment_that_cannot_be_had_is_a_mistake_in_the_settings(tmp_path, names, said):
    """ConfigError that names it."""
    with pytest.raises(ConfigError, match=said):
        load_environments(names, tmp_path, Setup(tmp_path))


def test_an_installed_package_offers_an_environment_by_name(tmp_path, monkeypatch):
    """An entry point of the group homeport.environments, named in the settings like `native`."""
    plugin = tmp_path / "acme_boxes.py"
    plugin.write_text(
        "from support.box_environment import Box\n\ndef make(setup):\n    return Box(setup, name='acme')\n"
    )
    facts = tmp_path / "acme_boxes-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-boxes\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[homeport.environments]\nboxes = acme_boxes:make\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = load_environments(("native", "boxes"), tmp_path, Setup(tmp_path))
    assert [e.facts.name for e in made] == ["native", "acme"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"module_user": "nobody"}, "module_directory"),
        ({"module_checksums": ("abc",)}, "64 hexadecimal digits"),
        ({"module_max_size": 0}, "module_max_size"),
        ({"module_disk": -1}, "module_disk"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
    """With the name of the setting and what it should be."""
    with pytest.raises(ConfigError, match=said):
        CpeSettings(**settings)


def test_the_log_says_what_was_asked_without_its_secrets():
    """The operations by kind and URL without its query; results by their state and fault."""
    request = ChangeDUState((*FETCH.operations, UninstallOpStruct("some-uuid")), "k")
    assert describe(request) == "ChangeDUState Install http://files.example/app, Uninstall some-uuid, key 'k'"
    results = [("Installed", 0), ("Failed", 9015)]
    report = AutonomousDUStateChangeComplete(
        tuple(AutonOpResultStruct("u", "", "", state, True, "", "", "", FaultStruct(code)) for state, code in results)
    )
    assert describe(report) == "AutonomousDUStateChangeComplete Installed, Failed 9015"
