"""Plug-ins in a running agent: asked without holding it up, polled, listened to, and reported to the ACS."""

import asyncio
import functools
import json
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

import cpe_support.provider_peer as peer
from cpe_support.http_acs import HttpAcs
from cpe_support.open_agent import open_agent, until
from homeport.codec.messages import (
    FaultMessage,
    GetParameterValues,
    GetParameterValuesResponse,
    ParameterValueStruct,
    SetParameterAttributes,
    SetParameterAttributesStruct,
    SetParameterValues,
    SetParameterValuesResponse,
)
from homeport.errors import ConfigError

pytestmark = pytest.mark.system

CODE = "Device.DeviceInfo.ProvisioningCode"
LOAD = "Device.DeviceInfo.ProcessStatus.CPUUsage"


def on_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """An async test, run to its end."""

    @functools.wraps(test)
    def run(*arguments: object, **named: object) -> None:
        asyncio.run(test(*arguments, **named))

    return run


def notify(*names: str) -> SetParameterAttributes:
    """Active notification for some parameters."""
    return SetParameterAttributes(
        tuple(
            SetParameterAttributesStruct(
                name=n, notification_change=True, notification=2, access_list_change=False, access_list=()
            )
            for n in names
        )
    )


def write(folder: Path, text: str) -> str:
    """A plug-in in a file, as the setting `plugins` names it."""
    file = folder / "box.py"
    file.write_text(
        "from pathlib import Path\nfrom homeport.cpe.devices.plugin import *\nhere = Path(__file__).parent\n" + text
    )
    return str(file)


@on_loop
async def test_a_polled_value_that_changes_is_reported_to_the_acs(tmp_path: Path) -> None:
    """`poll` finds the change; with active notification the ACS hears `4 VALUE CHANGE` with the new value at once."""
    plugin = write(
        tmp_path,
        f"@parameter('{LOAD}', poll=0.05)\ndef load() -> int:\n    return int((here / 'load').read_text())\n",
    )
    (tmp_path / "load").write_text("10")
    async with (
        HttpAcs([notify(LOAD)]) as acs,
        open_agent(tmp_path / "state", acs.url, plugins=(plugin,), notice_every=1e9),
    ):
        await acs.sessions(1)
        await asyncio.sleep(0)
        (tmp_path / "load").write_text("90")
        await acs.until(lambda: len(acs.informs) >= 2 and "4 VALUE CHANGE" in acs.events())
        assert (LOAD, "90") in [(p.name, p.value) for p in acs.informs[-1].parameter_list]


@on_loop
async def test_a_listener_says_what_changed(tmp_path: Path) -> None:
    """An async generator waits for the system; what it yields is looked at, and reported where the ACS asked for it."""
    plugin = write(
        tmp_path,
        "import asyncio\n"
        f"@parameter('{LOAD}')\ndef load() -> int:\n    return int((here / 'load').read_text())\n"
        "@listen\nasync def events():\n"
        "    yield 'Device.DeviceInfo.'\n"
        "    while not (here / 'go').exists():\n        await asyncio.sleep(0.02)\n"
        f"    yield ['{LOAD}']\n    await asyncio.sleep(100)\n",
    )
    (tmp_path / "load").write_text("10")
    async with (
        HttpAcs([notify(LOAD)]) as acs,
        open_agent(tmp_path / "state", acs.url, plugins=(plugin,), notice_every=1e9) as agent,
    ):
        await acs.sessions(1)
        agent.look_for_changes()
        (tmp_path / "load").write_text("90")
        (tmp_path / "go").touch()
        await acs.until(lambda: len(acs.informs) >= 2 and "4 VALUE CHANGE" in acs.events())


@on_loop
async def test_a_plug_in_raises_an_event_from_its_thread(tmp_path: Path) -> None:
    """A vendor's event reaches the ACS in a session of its own; what is not a plug-in's to raise does not."""
    plugin = write(
        tmp_path,
        "box = Plugin('box')\n"
        "@box.parameter('Device.DeviceInfo.ProvisioningCode')\ndef code():\n    return None\n"
        "@code.apply\ndef code(value):\n"
        "    box.event('0 BOOTSTRAP')\n    box.event('X 00256D Button')\n",
    )
    order = SetParameterValues((ParameterValueStruct(CODE, "press", "string"),), "")
    async with HttpAcs([order]) as acs, open_agent(tmp_path / "state", acs.url, plugins=(plugin,)):
        await acs.until(lambda: len(acs.informs) >= 2)
        assert acs.events() == ["X 00256D Button"]


@on_loop
async def test_a_slow_plug_in_does_not_hold_up_the_agent(tmp_path: Path) -> None:
    """While one function takes its time for a request, the loop serves the others; the answer carries the value."""
    plugin = write(
        tmp_path,
        f"import time\n@parameter('{LOAD}', limit=5)\ndef load() -> int:\n    time.sleep(1.0)\n    return 7\n",
    )
    async with (
        HttpAcs([GetParameterValues((LOAD,))]) as acs,
        open_agent(tmp_path / "state", acs.url, plugins=(plugin,), notice_every=1e9),
    ):
        longest, before = 0.0, time.monotonic()
        while not acs.answers:
            await asyncio.sleep(0.005)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        answer = acs.answers[0][1]
        assert isinstance(answer, GetParameterValuesResponse) and answer.parameter_list[0].value == "7"
        assert longest < 0.9, "the loop stood still"


@on_loop
async def test_a_plug_in_that_hangs_or_fails_gives_a_fault_and_the_session_goes_on(tmp_path: Path) -> None:
    """9002 with the sentence for that parameter, and the next request of the same session is answered."""
    plugin = write(
        tmp_path,
        "import time\n"
        f"@parameter('{LOAD}', limit=0.1)\ndef load() -> int:\n    time.sleep(1.5)\n    return 7\n"
        "@parameter('Device.DeviceInfo.UpTime')\ndef up():\n    raise OSError('no clock')\n"
        "@start\ndef begin():\n    raise RuntimeError('not ready')\n"
        "@listen\nasync def broken():\n    raise RuntimeError('no socket')\n    yield\n",
    )
    names = (LOAD, "Device.DeviceInfo.UpTime", "Device.DeviceInfo.ModelName")
    async with (
        HttpAcs([GetParameterValues((n,)) for n in names]) as acs,
        open_agent(tmp_path / "state", acs.url, plugins=(plugin,), notice_every=1e9),
    ):
        await acs.sessions(1)
        hung, failed, fine = [answer for _, answer in acs.answers]
        assert isinstance(hung, FaultMessage) and hung.fault_code == 9002
        assert isinstance(failed, FaultMessage) and "no clock" in failed.fault_string
        assert isinstance(fine, GetParameterValuesResponse)


@on_loop
async def test_a_provider_and_a_mapper_in_a_running_agent(tmp_path: Path) -> None:
    """A provider's parameter under a mapped name is read and written by the ACS; the process ends with the agent."""
    hello = {"parameters": [{"path": "Board.Code", "set": True}]}
    (tmp_path / "state.json").write_text(json.dumps({"hello": hello, "values": {"Board.Code": "north"}}))
    command = json.dumps([sys.executable, str(Path(str(peer.__file__)).absolute()), "state.json"])
    (tmp_path / "board.toml").write_text(f"command = {command}\n")
    (tmp_path / "map.toml").write_text(f'["{CODE}"]\nfrom = "Board.Code"\nvalues = {{ north = "N", south = "S" }}\n')
    requests = [
        GetParameterValues((CODE,)),
        SetParameterValues((ParameterValueStruct(CODE, "S", "string"),), "k"),
        GetParameterValues((CODE,)),
    ]
    async with (
        HttpAcs(requests) as acs,
        open_agent(
            tmp_path / "state",
            acs.url,
            plugins=(str(tmp_path / "board.toml"),),
            mapper=(tmp_path / "map.toml",),
        ) as agent,
    ):
        await acs.sessions(1)
        before, done, after = [answer for _, answer in acs.answers]
        assert isinstance(before, GetParameterValuesResponse) and before.parameter_list[0].value == "N"
        assert isinstance(done, SetParameterValuesResponse) and done.status == 0
        assert isinstance(after, GetParameterValuesResponse) and after.parameter_list[0].value == "S"
        process = agent.device.host.plugins[0].closers[0].__self__._process  # type: ignore[union-attr, attr-defined]
    assert json.loads((tmp_path / "state.json").read_text())["values"] == {"Board.Code": "south"}
    await until(lambda: process.poll() is not None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "line 4: SyntaxError"),
        ("import nothing_like_that\n", "line 4: ModuleNotFoundError"),
        ("x = 1\n", "declares nothing"),
        ("@parameter('Device.DeviceInfo.Uptime')\ndef f(): pass\n", "did you mean Device.DeviceInfo.UpTime?"),
    ],
)
@on_loop
async def test_a_broken_plug_in_file_ends_the_start_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """What is wrong with a plug-in is said when the agent starts, with file and line."""
    with pytest.raises(ConfigError) as caught:
        async with open_agent(tmp_path / "state", "", plugins=(write(tmp_path, text),)):
            pass
    assert message in str(caught.value)
