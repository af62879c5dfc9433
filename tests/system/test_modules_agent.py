"""Software modules on the real agent process, asked for by the real ACS and by the person at the box; units are real processes."""

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from homeport.cli.main import run
from homeport.cpe.control import ControlClient
from homeport.errors import TransportError
from support.box_environment import package as box
from support.ends import Acs, Agent, wait_for
from support.file_store import FileStore
from support.kills import finished, known
from support.module_package import STEADY, native_package
from support.tap import CPE, Tap

pytestmark = pytest.mark.system

ROOT = "Device.SoftwareModules."
POLICY = "Device.ManagementServer.DUStateChangeComplPolicy."
UUID = "11111111-2222-3333-4444-555555555555"
PLUGIN = Path(__file__).parents[1] / "support" / "box_environment.py"


class Box:
    """An agent with the module profile, its ACS, the line between them, and a file server."""

    def __init__(self, folder: Path, acs: Acs, line: Tap, store: FileStore, serial: str, *options: str) -> None:
        self.acs, self.line, self.store = acs, line, store
        self.before = 0
        always = ("--profile", "module-host", "--web-port", "0", "--connection-request-limit", "1000")
        self.agent = Agent(folder / "agent", line.url, serial, *always, *options)
        self.agent.start()
        self.id = known(acs, serial)
        wait_for(lambda: self.ask("status")["sessions_succeeded"], "the end of the first session")

    def ask(self, verb: str, **args: Any) -> Any:
        return ControlClient(self.agent.state).call(verb, **args)

    def task(self, rpc: str, **args: Any) -> dict[str, Any]:
        """A task that has come to its end."""
        id = self.acs.task(self.id, rpc, args, connection_request=True)
        finished(self.acs, [id])
        found: dict[str, Any] = self.acs.rest("GET", f"tasks/{id}")
        return found

    def change(self, *operations: dict[str, str], key: str = "") -> dict[str, Any]:
        return self.task("ChangeDUState", operations=list(operations), **({"command_key": key} if key else {}))

    def set(self, path: str, value: str) -> dict[str, Any]:
        return self.task("SetParameterValues", parameter_list=[{"name": path, "value": value}])

    def get(self, path: str) -> str:
        """A parameter at the device itself."""
        return str(self.ask("get", paths=[path])[path])

    def stored(self, path: str) -> str:
        """What the ACS has stored of a parameter."""
        items = self.acs.rest("GET", f"devices/{quote(self.id, safe='')}/parameters?path={quote(path)}")["items"]
        return str(items[0]["value"]) if items else ""

    def sent(self, element: str) -> list[str]:
        """The bodies with this RPC that the device sent."""
        tag = f":{element}>".encode()
        return [m.body.decode() for m in self.line.soap()[self.before :] if m.sender == CPE and tag in m.body]

    def processes(self) -> list[int]:
        """The processes of the device's units: those with our mark and its state directory in their environment."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                continue
            if b"HOMEPORT_RUN=" in environment and str(self.agent.state).encode() in environment:
                found.append(int(entry))
        return found

    def install(self, package: bytes, **fields: Any) -> dict[str, Any]:
        """The result of one Install by the ACS."""
        self.store.files["/app"] = package
        task = self.change({"type": "Install", "url": self.store.url("/app"), **fields})
        assert task["status"] == "done", task
        result: dict[str, Any] = task["result"]["results"][0]
        return result

    def done_here(self, operation: dict[str, str]) -> None:
        """A change by the person at the box, to its end."""
        number = self.ask("module-change", operations=[operation])["request"]
        wait_for(lambda: self.ask("module-result", request=number), f"{operation}")


def cli(capsys: pytest.CaptureFixture[str], box: Box, *arguments: str) -> tuple[int, str, str]:
    """Status, output and errors of `homeport cpe module ARGUMENTS`."""
    code = run(["cpe", "module", *arguments, "--state-dir", str(box.agent.state)])
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture(scope="module")
def one_acs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acs]:
    """One ACS for all devices of this module."""
    server = Acs(tmp_path_factory.mktemp("acs"), "--cpe-auth", "open")
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def one_box(tmp_path_factory: pytest.TempPathFactory, one_acs: Acs) -> Iterator[Box]:
    """One device with the settings of the profile."""
    with FileStore() as store, Tap(one_acs.cwmp_url) as line:
        made = Box(tmp_path_factory.mktemp("box"), one_acs, line, store, "MODS0001")
        yield made
        made.agent.stop()
        assert made.processes() == []


@pytest.fixture
def made(one_box: Box) -> Iterator[Box]:
    """That device with nothing installed, and nothing of what it sent before in sight."""
    one_box.before = len(one_box.line.soap())
    yield one_box
    for unit in one_box.ask("modules")["deployment_units"]:
        one_box.done_here({"kind": "Uninstall", "name": unit["duid"]})


@pytest.fixture
def device(tmp_path: Path, one_acs: Acs) -> Iterator[Callable[..., Box]]:
    """Starts a device with options."""
    running: list[Box] = []
    with FileStore() as store, Tap(one_acs.cwmp_url) as line:

        def start(*options: str, serial: str) -> Box:
            running.append(Box(tmp_path, one_acs, line, store, serial, *options))
            return running[-1]

        yield start
        for box in running:
            box.agent.stop()
            assert box.processes() == []


def events(inform: str) -> list[str]:
    return re.findall(r"<EventCode>([^<]*)<", inform)


@pytest.mark.case("T19")
@pytest.mark.case("T21")
def test_an_acs_installs_updates_and_removes_a_module(made: Box) -> None:
    """Each operation has its result in the task; events 11 and M; the unit runs as a process, and goes with its module."""
    made.store.files["/app"] = native_package(unit={"auto_start": True})
    task = made.change(
        {"type": "Install", "url": made.store.url("/nothing")},
        {"type": "Install", "url": made.store.url("/app"), "username": "u", "password": "hidden"},
        key="first",
    )
    assert task["status"] == "failed" and task["fault"]["code"] == 9016
    bad, good = task["result"]["results"]
    assert (bad["current_state"], bad["fault"]["fault_code"]) == ("Failed", 9016)
    assert (good["current_state"], good["version"], good["fault"]["fault_code"]) == ("Installed", "1.0", 0)
    told = next(i for i in made.sent("Inform") if "11 DU STATE CHANGE COMPLETE" in events(i))
    assert "M ChangeDUState" in events(told) and "<CommandKey>first</CommandKey>" in told
    (report,) = made.sent("DUStateChangeComplete")
    assert re.search(r"<StartTime>\S+Z</StartTime><CompleteTime>\S+Z</CompleteTime>", report)
    unit = good["execution_unit_ref_list"]
    wait_for(lambda: made.stored(f"{unit}.Status") == "Active", "the unit's start at the ACS")
    assert len(made.processes()) >= 1 and made.get(f"{unit}.MemoryInUse") != "0"
    again = made.change({"type": "Install", "url": made.store.url("/app")})
    assert again["fault"]["code"] == 9026 and again["result"]["results"][0]["uuid"] == good["uuid"]
    made.store.files["/app"] = native_package(version="1.1", unit={"auto_start": True})
    updated = made.change({"type": "Update", "uuid": good["uuid"]})
    assert updated["status"] == "done" and updated["result"]["results"][0]["version"] == "1.1"
    wait_for(lambda: made.get(f"{unit}.Status") == "Active", "the new version's start")
    removed = made.change({"type": "Uninstall", "uuid": good["uuid"]})
    assert removed["result"]["results"][0]["current_state"] == "Uninstalled"
    assert made.get(f"{ROOT}DeploymentUnitNumberOfEntries") == "0" and made.processes() == []
    assert not any((made.agent.state / "modules" / "native").glob("du-*"))
    assert "hidden" not in made.agent.said()


def test_an_operator_installs_a_stored_package_from_the_command_line(
    made: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`file add`, then ChangeDUState with its name: the ACS fills in an address that is good for this task; each result is shown."""
    name = f"app-{os.getpid()}.tar.gz"
    (tmp_path / name).write_bytes(native_package("stored"))
    acs = ("--acs", made.acs.http_url, "--token", (made.acs.data / "admin.token").read_text().strip())
    assert run(["file", "add", str(tmp_path / name), *acs]) == 0
    capsys.readouterr()
    operations = [{"type": "Install", "file": name}, {"type": "Uninstall", "uuid": UUID}]
    code = run(["device", "rpc", made.id, "ChangeDUState", f"operations={json.dumps(operations)}", *acs])
    told = capsys.readouterr()
    results = json.loads(told.out)["results"]
    assert code == 5 and "9028" in told.err
    assert [(r["current_state"], r["fault"]["fault_code"]) for r in results] == [("Installed", 0), ("Failed", 9028)]
    assert made.get(f"{results[0]['deployment_unit_ref']}.URL").endswith(name)
    both = {"operations": [{"type": "Install", "file": name, "url": "http://x/"}]}
    assert run(["device", "rpc", made.id, "ChangeDUState", json.dumps(both), *acs]) == 2
    assert "not both" in capsys.readouterr().err


@pytest.mark.case("T22")
def test_a_crash_of_a_unit_reaches_the_acs_at_once(made: Box) -> None:
    """RequestedState by the ACS; the process is killed: `4 VALUE CHANGE` with Idle, and FailureWhileActive at the device."""
    unit = made.install(native_package())["execution_unit_ref_list"]
    assert made.set(f"{unit}.RequestedState", "Active")["status"] == "done"
    wait_for(lambda: made.stored(f"{unit}.Status") == "Active", "Active at the ACS")
    (note,) = (made.agent.state / "modules" / "native" / "run").iterdir()
    os.kill(json.loads(note.read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: made.stored(f"{unit}.Status") == "Idle", "Idle at the ACS")
    assert made.get(f"{unit}.ExecutionFaultCode") == "FailureWhileActive"
    assert "SIGKILL" in made.get(f"{unit}.ExecutionFaultMessage")
    made.ask("module-environment", environment="native", enable=False)
    refused = made.set(f"{unit}.RequestedState", "Active")
    made.ask("module-environment", environment="native", enable=True)
    assert refused["fault"]["code"] == 9003 and refused["fault"]["parameters"][0]["code"] == 9001


@pytest.mark.case("T23")
@pytest.mark.case("E13")
def test_a_person_at_the_box_installs_and_the_acs_hears_it_if_it_wants(
    made: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`homeport cpe module`: install, list, log, stop, start, update, uninstall; event 12 only once the policy is set."""
    package = tmp_path / "app.tar.gz"
    package.write_bytes(native_package(unit={"auto_start": True}))
    code, out, _ = cli(capsys, made, "install", str(package))
    assert code == 0 and "1.0 is installed as Device.SoftwareModules.DeploymentUnit." in out
    wait_for(lambda: ".main\tActive" in cli(capsys, made, "list")[1], "the unit in the list")
    wait_for(lambda: "steady" in cli(capsys, made, "log", "main")[1], "its log")
    assert "is idle" in cli(capsys, made, "stop", "main")[1] and made.processes() == []
    assert "is active" in cli(capsys, made, "start", "main")[1]
    filters = {"Enable": "true", "OperationTypeFilter": "Install,Update,Uninstall", "FaultCodeFilter": "9026"}
    values = [{"name": POLICY + name, "value": text} for name, text in filters.items()]
    assert made.task("SetParameterValues", parameter_list=values)["status"] == "done"
    assert not made.sent("AutonomousDUStateChangeComplete")
    code, _, err = cli(capsys, made, "install", str(package))
    assert code == 5 and "9026" in err
    package.write_bytes(native_package(version="1.1"))
    assert "1.1 is installed" in cli(capsys, made, "update", "app")[1]
    code, _, err = cli(capsys, made, "update", "other")
    assert code == 1 and "(app 1.1)" in err
    assert "is uninstalled" in cli(capsys, made, "uninstall", "app", "--yes")[1]
    wait_for(lambda: len(made.sent("AutonomousDUStateChangeComplete")) == 3, "three reports")
    kinds = [
        re.findall(r"<CurrentState>(\w+)<.*<OperationPerformed>(\w+)<", r, re.DOTALL)
        for r in made.sent("AutonomousDUStateChangeComplete")
    ]
    assert kinds == [[("Failed", "Install")], [("Installed", "Update")], [("Uninstalled", "Uninstall")]]
    informs = [i for i in made.sent("Inform") if "12 AUTONOMOUS DU STATE CHANGE COMPLETE" in events(i)]
    assert informs and all("M ChangeDUState" not in events(i) for i in informs)
    assert made.set(POLICY + "Enable", "false")["status"] == "done"


def test_a_unit_s_log_and_configuration_are_fetched_by_upload(made: Box) -> None:
    """Their rows in VendorLogFile and VendorConfigFile are those that Upload names; the device's own rows stay what they were."""
    script = '#!/bin/sh\necho this is my log\necho answer=42 > "$HOMEPORT_DATA/app.conf"\n' + STEADY[10:]
    good = made.install(native_package(script=script, unit={"auto_start": True}, configuration=["app.conf"]))
    log = made.get(good["execution_unit_ref_list"] + ".VendorLogList")
    configuration = made.get(good["deployment_unit_ref"] + ".VendorConfigList")
    assert made.get(log + ".Name").startswith("module/du-")
    wait_for(lambda: "steady" in "".join(made.ask("module-log", unit="main")), "the unit's output")
    wanted = {
        f"4 Vendor Log File {log.rpartition('.')[2]}": "/log",
        f"3 Vendor Configuration File {configuration.rpartition('.')[2]}": "/conf",
        "4 Vendor Log File 1": "/own",
    }
    for kind, place in wanted.items():
        done = made.task("Upload", file_type=kind, url=made.store.url(place), command_key=place)
        assert done["status"] == "done", done
    assert b"this is my log" in made.store.files["/log"] and made.store.files["/conf"] == b"answer=42\n"
    assert b"Inform" in made.store.files["/own"]
    missing = made.task("Upload", file_type="4 Vendor Log File 99", url=made.store.url("/x"), command_key="x")
    assert missing["fault"]["code"] == 9003


def test_a_killed_agent_leaves_nothing_running_and_starts_its_units_again(made: Box) -> None:
    """AutoStart units are there after the restart, once; a child that had escaped is gone."""
    script = "#!/bin/sh\nsetsid sh -c 'echo escaped; exec sleep 1000' &\n" + STEADY[10:]
    unit = made.install(native_package(script=script, unit={"auto_start": True}))["execution_unit_ref_list"]
    wait_for(lambda: "escaped" in "".join(made.ask("module-log", unit="main")), "the escaped child")
    before = set(made.processes())
    made.agent.kill()
    made.agent.start()

    def anew() -> bool:
        now = set(made.processes())
        return bool(now) and not now & before

    wait_for(anew, "new processes in place of the old ones")
    wait_for(lambda: answers(made) and made.get(f"{unit}.Status") == "Active", "Active after the restart")


def test_a_factory_reset_removes_every_module(made: Box) -> None:
    """Rows, contents and processes are gone; nothing is reported of them."""
    made.install(native_package(unit={"auto_start": True}))
    assert made.task("FactoryReset")["status"] == "done"
    wait_for(lambda: any("0 BOOTSTRAP" in events(i) for i in made.sent("Inform")), "the start after the reset")
    wait_for(lambda: answers(made), "the agent's door")
    assert made.get(f"{ROOT}DeploymentUnitNumberOfEntries") == "0" and made.processes() == []
    assert not any((made.agent.state / "modules" / "native").glob("du-*"))
    assert len(made.sent("DUStateChangeComplete")) == 1


def test_a_second_environment_and_trusted_packages_come_from_the_settings(
    device: Callable[..., Box], tmp_path: Path
) -> None:
    """A file with an environment: packages go where they fit. Keys and checksums: everything that is not signed and listed is 9018."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = ed25519.Ed25519PrivateKey.generate()
    public = tmp_path / "key.pub"
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(*form))
    package, other, air = native_package(), native_package("other"), box()
    sums = ",".join(hashlib.sha256(p).hexdigest() for p in (package, other, air))
    made = device(
        *("--module-environments", f"native,{PLUGIN}:environment"),
        *("--module-keys", str(public), "--module-checksums", sums),
        serial="MODS0002",
    )
    assert [made.get(f"{ROOT}ExecEnv.{n}.Name") for n in (1, 2)] == ["native", "box"]
    signed = {"/app.sig": key.sign(package), "/air.sig": key.sign(air), "/other.sig": key.sign(b"something else")}
    made.store.files |= {"/app": package, "/air": air, "/other": other, "/third": native_package("third"), **signed}
    task = made.change(
        *({"type": "Install", "url": made.store.url(p)} for p in ("/app", "/air", "/other", "/third")),
        {"type": "Install", "url": made.store.url("/app"), "execution_env_ref": f"{ROOT}ExecEnv.2.", "uuid": UUID},
    )
    results = task["result"]["results"]
    assert [r["fault"]["fault_code"] for r in results] == [0, 0, 9018, 9018, 9025]
    assert "key that this device trusts" in results[2]["fault"]["fault_string"]
    refs = [made.get(f"{r['deployment_unit_ref']}.ExecutionEnvRef") for r in results[:2]]
    assert refs == [f"{ROOT}ExecEnv.1", f"{ROOT}ExecEnv.2"]
    unit = results[1]["execution_unit_ref_list"]
    made.set(f"{unit}.RequestedState", "Active")
    wait_for(lambda: made.get(f"{unit}.Status") == "Active", "its start")


def test_a_device_without_modules_says_so(one_acs: Acs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The DKT profile has none: the sentence says why, not that a verb is unknown."""
    agent = Agent(tmp_path / "dkt", one_acs.cwmp_url, "MODS0003", "--web-port", "0").start()
    try:
        wait_for(lambda: (agent.state / "control.sock").exists(), "the agent's door")
        assert run(["cpe", "module", "list", "--state-dir", str(agent.state)]) == 1
        assert "its profile lacks SoftwareModules" in capsys.readouterr().err
    finally:
        agent.stop()


def answers(box: Box) -> bool:
    """Whether the agent's door is open."""
    try:
        return bool(box.ask("status"))
    except TransportError:
        return False
