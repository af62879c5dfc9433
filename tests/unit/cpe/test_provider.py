"""Providers: processes in any language that give parameters a life over JSON lines, and what happens when they fail."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cpe_support.provider_peer as peer
from cpe_support.plugged import Plugged
from homeport.cpe.devices import provider_process
from homeport.cpe.devices.provider import provider_from_file
from homeport.errors import ConfigError
from homeport.terms import FaultCode, Writer

UPTIME = "Device.DeviceInfo.UpTime"
CODE = "Device.DeviceInfo.ProvisioningCode"
VERSION = "Device.DeviceInfo.SoftwareVersion"
HOSTS = "Device.Hosts.Host.{i}."


class Box:
    """One provider, the file that it serves, and a model that it is attached to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: dict[str, object] = {
            "hello": {
                "parameters": [UPTIME, {"path": CODE, "set": True}, VERSION],
                "tables": [{"path": HOSTS, "key": "PhysAddress", "columns": ["PhysAddress", "IPAddress"]}],
            },
            "values": {UPTIME: 77, CODE: "north"},
            "rows": {HOSTS: [{"PhysAddress": "02:00:00:00:00:01", "IPAddress": "192.0.2.1"}]},
        }
        self.save()
        self.description = folder / "box.toml"
        command = [sys.executable, os.path.abspath(str(peer.__file__)), "state.json"]
        self.describe(command=command, limit=5.0, start_limit=30.0)
        self.plugged: Plugged | None = None

    def describe(self, **fields: object) -> None:
        self.description.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in fields.items()))

    def save(self, **fields: object) -> None:
        """Change what the provider reads before each answer."""
        self.state |= fields
        new = self.folder / "state.new"
        new.write_text(json.dumps(self.state))
        new.replace(self.folder / "state.json")

    def start(self) -> Plugged:
        self.plugged = Plugged(provider_from_file(self.description, self.folder / "memory"))
        return self.plugged

    @property
    def asked(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / "state.json.log").read_text().splitlines()]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setattr(provider_process, "FIRST_WAIT", 0.02)
    made = Box(tmp_path)
    yield made
    if made.plugged is not None:
        made.plugged.host.close()


def until(condition: Callable[[], object]) -> None:
    """Wait for a process, with a limit."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def test_one_request_asks_for_all_values_at_once(box: Box) -> None:
    """GetParameterValues of an object costs one `get`, and numbers are as good as texts; what is left out keeps its stored value."""
    plugged = box.start()
    found = plugged.values("Device.DeviceInfo.")
    assert (found["UpTime"], found["ProvisioningCode"], found["SoftwareVersion"]) == ("77", "north", "1.0.0")
    assert [r["do"] for r in box.asked] == ["hello", "get"]
    assert set(box.asked[1]["paths"]) == {CODE, VERSION, UPTIME}  # type: ignore[call-overload]


def test_a_write_is_checked_and_then_done(box: Box) -> None:
    """`check` comes before anything is done, `set` does it; both carry the values as texts."""
    plugged = box.start()
    plugged.set(DeviceInfo__ProvisioningCode="south")
    told = [(r["do"], r.get("values")) for r in box.asked if r["do"] not in ("hello", "get")]
    assert told == [("check", {CODE: "south"}), ("set", {CODE: "south"})]
    assert plugged.value(CODE) == "south"


def test_a_refusal_of_the_provider_is_9007_with_its_sentence(box: Box) -> None:
    """What `check` refuses is refused to the ACS with the provider's words, and nothing is changed."""
    plugged = box.start()
    box.save(behave="refuse")
    fault = plugged.refusal(lambda: plugged.set(DeviceInfo__ProvisioningCode="odd"))
    assert [(p.name, p.code, p.text) for p in fault.parameters] == [
        (CODE, FaultCode.INVALID_PARAMETER_VALUE, f"{CODE}: not odd")
    ]


def test_later_becomes_status_1(box: Box) -> None:
    """A provider whose change takes effect later says so, and the ACS sees Status 1."""
    plugged = box.start()
    box.save(more={"later": True})
    assert plugged.set(DeviceInfo__ProvisioningCode="south") == 1


def test_rows_come_from_the_provider(box: Box) -> None:
    """Tables follow what `rows` answers; their keys keep their instance numbers."""
    plugged = box.start()
    assert plugged.values("Device.Hosts.") == {
        "HostNumberOfEntries": "1",
        "Host.1.PhysAddress": "02:00:00:00:00:01",
        "Host.1.IPAddress": "192.0.2.1",
    }
    rows = [{"PhysAddress": f"02:00:00:00:00:0{n}", "IPAddress": f"192.0.2.{n}"} for n in (2, 1)]
    box.save(rows={HOSTS: rows})
    assert plugged.values("Device.Hosts.Host.")["2.PhysAddress"] == "02:00:00:00:00:02"
    assert plugged.value("Device.Hosts.Host.1.IPAddress") == "192.0.2.1"


def test_a_provider_that_dies_is_started_again(box: Box) -> None:
    """Its parameters show their last values meanwhile; after the restart they live again."""
    plugged = box.start()
    assert plugged.value(UPTIME) == "77"
    box.save(behave="die", values={UPTIME: 78})
    assert plugged.value(UPTIME) == "77"
    box.save(behave="")
    until(lambda: plugged.value(UPTIME) == "78")
    until(lambda: [r["do"] for r in box.asked].count("hello") >= 2)  # a value may be asked for before it


def test_a_provider_that_hangs_is_killed_and_started_again(box: Box) -> None:
    """Each request has its limit, and after three in a row without an answer the process is replaced."""
    box.describe(command=[sys.executable, os.path.abspath(str(peer.__file__)), "state.json"], limit=0.2)
    plugged = box.start()
    box.save(behave="hang")
    fault = plugged.refusal(lambda: plugged.model.get(UPTIME))
    assert fault.code is FaultCode.INTERNAL_ERROR and "did not answer get within 0.2 s" in fault.text
    for _ in range(2):
        plugged.refusal(lambda: plugged.model.get(UPTIME))
    box.save(behave="")
    until(lambda: plugged.values("Device.DeviceInfo.")["UpTime"] == "77")


@pytest.mark.parametrize("behave", ["garbage", "huge"])
def test_nonsense_between_answers_is_passed_over(box: Box, behave: str) -> None:
    """Lines that are no JSON, no object, of unknown ids or without end harm nothing; the answer behind them counts."""
    plugged = box.start()
    box.save(behave=behave)
    assert plugged.value(UPTIME) == "77"


def test_a_flood_of_nonsense_ends_the_process(box: Box) -> None:
    """A provider that prints nothing but nonsense is replaced before it costs the device its time."""
    plugged = box.start()
    box.save(behave="flood")
    plugged.refusal(lambda: plugged.model.get(UPTIME))
    box.save(behave="")
    until(lambda: plugged.values("Device.DeviceInfo.")["UpTime"] == "77")


def test_one_value_may_fail_alone(box: Box) -> None:
    """`errors` names the parameters that cannot be read; the others are answered."""
    plugged = box.start()
    box.save(errors={VERSION: "flash is busy"})
    assert plugged.value(UPTIME) == "77"
    fault = plugged.refusal(lambda: plugged.model.get(VERSION))
    assert "flash is busy" in fault.text


def test_a_secret_that_a_provider_was_given_is_masked_in_what_it_says(box: Box) -> None:
    """A provider that repeats the password it was given does not bring it into a fault or the agent's log."""
    password = "Device.ManagementServer.Password"
    hello = {"parameters": [{"path": password, "set": True}]}
    box.save(hello=hello, more={"errors": {password: "cannot store hunter22"}})
    plugged = box.start()
    fault = plugged.refusal(lambda: plugged.set(Writer.ACS, ManagementServer__Password="hunter22"))
    assert "hunter22" not in str(fault.parameters) and "cannot store" in str(fault.parameters)


def test_a_program_that_is_not_there_is_said_at_the_start(box: Box) -> None:
    """A wrong command is a mistake of the configuration and ends the start with the cure."""
    box.describe(command=["/no/such/program"])
    with pytest.raises(ConfigError, match=r"/no/such/program: No such file.*correct its command"):
        box.start()


def test_no_shell_reads_the_command(box: Box) -> None:
    """Arguments are given to the program as they are, whatever a shell would make of them."""
    box.describe(command=["/bin/echo", "$(touch hacked); touch hacked"], start_limit=0.3)
    box.start()
    assert not (box.folder / "hacked").exists()


def test_a_provider_that_is_silent_at_the_start_keeps_its_parameters(box: Box) -> None:
    """The device is managed even when its provider is late: what it served the last time is shown with stored values."""
    first = box.start()
    first.host.close()
    box.save(mute=True)
    box.describe(
        command=[sys.executable, os.path.abspath(str(peer.__file__)), "state.json"], start_limit=0.2, limit=0.1
    )
    again = box.start()
    assert again.model.exists("Device.Hosts.HostNumberOfEntries")
    assert again.values("Device.DeviceInfo.")["SoftwareVersion"] == "1.0.0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("command = 3", "Expected `array`"),
        ("name = 'x'", "command"),
        ("command = []", "must name a program"),
        ("command = ['x']\ncomand = 1", "comand"),
        ("command = [", "not TOML"),
    ],
)
def test_a_description_that_is_wrong_is_refused_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    """A description is checked as a whole before anything is started."""
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
        provider_from_file(file)


def test_what_it_prints_by_itself_is_heard(box: Box) -> None:
    """`changed` and `event` lines reach the agent, from the thread that reads them."""
    heard: list[object] = []
    plugged = box.start()
    plugged.host.on_changed = lambda paths: heard.append(tuple(paths))
    plugged.host.on_event = lambda code, key: heard.append(code)
    process = plugged.host.plugins[0].closers[0].__self__  # type: ignore[attr-defined]
    process._said({"changed": [UPTIME]})
    process._said({"event": "X 00256D Button"})
    assert heard == [(UPTIME,), "X 00256D Button"]


def test_a_provider_defines_a_vendors_own_parameter(box: Box) -> None:
    """With its type in `hello`, a parameter that no model has is there."""
    path = "Device.DeviceInfo.X_00256D_BoardTemperature"
    box.save(hello={"parameters": [{"path": path, "type": "int"}]}, values={path: 41})
    plugged = box.start()
    (value,) = plugged.model.get(path)
    assert (value.value, value.type) == ("41", "int")
