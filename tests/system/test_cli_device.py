"""`homeport device` and `homeport task` against a real ACS with a real agent: what each verb does, prints and ends with."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.cli.exits import ExitCode
from homeport.cli.main import run
from support.nursery import Child, shared_nursery

pytestmark = pytest.mark.system

SERIAL = "CLI-1"
PORT = "Device.Bridging.Bridge.1.Port.2.Enable"
INTERVAL = "Device.ManagementServer.PeriodicInformInterval"


def eventually(holds: Callable[[], Any], seconds: float, log: Path) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    pytest.fail(f"it did not happen within {seconds} s:\n{log.read_text()[-2000:]}")


class Site:
    """An ACS and an agent, and the command line pointed at both."""

    def __init__(self, directory: Path) -> None:
        self.acs_dir, self.cpe_dir = directory / "acs", directory / "cpe"
        self.log = directory / "log"
        self.processes: list[Child] = []
        listen = ["--cwmp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--file-listen", "127.0.0.1:0"]
        self.start("acs", "serve", "--data-dir", str(self.acs_dir), *listen)
        record = self.acs_dir / "acs.json"
        eventually(record.exists, 20, self.log)
        self.addresses = json.loads(record.read_text())

    def start(self, *words: str) -> None:
        self.processes.append(shared_nursery().start(*words, log=self.log))

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=20)

    def start_agent(self) -> None:
        listen = [
            "--connection-request-listen",
            "127.0.0.1",
            "--connection-request-port",
            "0",
            "--connection-request-limit",
            "1000",
        ]
        where = ["--acs-url", self.addresses["cwmp_url"], "--state-dir", str(self.cpe_dir), "--serial", SERIAL]
        self.start("cpe", "run", *where, *listen)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both started, the device seen, approved and come again, so that it is managed and can be called."""
    one = Site(tmp_path_factory.mktemp("site"))
    old = {name: os.environ.get(name) for name in ("HOMEPORT_DATA_DIR", "HOMEPORT_STATE_DIR")}
    os.environ |= {"HOMEPORT_DATA_DIR": str(one.acs_dir), "HOMEPORT_STATE_DIR": str(one.cpe_dir)}
    try:
        one.start_agent()
        eventually(lambda: run(["device", "show", SERIAL]) == 0, 20, one.log)
        assert run(["device", "reboot", SERIAL, "--yes"]) == ExitCode.REFUSED  # it is in quarantine
        assert run(["device", "approve", SERIAL]) == 0
        # Queued before the session, which takes it along: were it queued during the session, it could wait for the next one.
        assert run(["device", "refresh", SERIAL, "--no-connection-request", "--wait", "0"]) == 0
        assert run(["cpe", "inform"]) == 0
        eventually(lambda: run(["device", "get", SERIAL, "Device.DeviceInfo.ModelName", "--stored"]) == 0, 20, one.log)
        yield one
    finally:
        one.stop()
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture
def say(site: Site, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line: exit code, stdout, stderr."""

    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(words))
        out = capsys.readouterr()
        return code, out.out, out.err

    return command


Say = Callable[..., tuple[int, str, str]]


def the_id(say: Say) -> str:
    return str(json.loads(say("device", "list", "--json")[1])[0]["id"])


def asked(say: Say) -> bool:
    """One task has been made and done."""
    return say("device", "get", SERIAL, "Device.DeviceInfo.UpTime")[0] == 0


def test_list_shows_the_device_as_a_row_and_as_json(say: Say) -> None:
    """In a pipe one tab-separated line a device; --json gives what REST gives."""
    code, out, _ = say("device", "list")
    header, row = out.splitlines()
    assert code == 0
    assert header.split("\t")[:2] == ["DEVICE", "MODEL"]
    assert row.split("\t")[0] == the_id(say)
    assert "approved" in row


def test_list_where(say: Say) -> None:
    """A condition chooses; one that fits nothing says so; one that is wrong is a usage error with an example."""
    assert say("device", "tag", SERIAL, "gold")[0] == 0
    assert len(say("device", "list", "--where", '"gold" in tags')[1].splitlines()) == 2
    code, out, err = say("device", "list", "--where", '"lead" in tags')
    assert (code, len(out.splitlines())) == (0, 1)
    assert "no device fits" in err
    code, _, err = say("device", "list", "--where", "__import__('os')")
    assert code == ExitCode.USAGE
    assert "model ==" in err


def test_list_by_options_with_columns_and_as_csv(say: Say) -> None:
    """The options choose as a condition does; columns are fields and parameters as last read; a pipe gets times, not ages."""
    say("device", "tag", SERIAL, "silver")
    columns = ("--columns", "serial_number,tags,last_inform,Device.DeviceInfo.ModelName")
    code, out, err = say("device", "list", "--state", "approved", "--tag", "silver", "--online", *columns, "--csv")
    heads, row = (line.split(",") for line in out.splitlines())
    assert (code, err) == (0, "")
    assert heads == ["SERIAL NUMBER", "TAGS", "LAST SEEN", "Device.DeviceInfo.ModelName"]
    assert row[0] == SERIAL
    assert "silver" in row[1].split(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[2])
    assert row[3] == "797xx"
    assert len(say("device", "list", "--offline")[1].splitlines()) == 1
    assert len(say("device", "list", "--where", "True or True", "--state", "refused")[1].splitlines()) == 1
    code, _, err = say("device", "list", "--columns", "id,colour")
    assert code == ExitCode.USAGE
    assert "no column 'colour'" in err
    assert "serial_number" in err


def test_diff_shows_what_has_changed_since_a_reading_was_saved(say: Say, tmp_path: Path) -> None:
    """Against a file and against a device; 1 where something differs, 0 where nothing does."""
    name = "Device.DeviceInfo.ProvisioningCode"
    before = tmp_path / "before.json"
    assert say("device", "set", SERIAL, f"{name}=one")[0] == 0
    before.write_text(say("device", "get", SERIAL, "Device.DeviceInfo.", "--stored", "--json")[1])
    assert say("device", "set", SERIAL, f"{name}=two")[0] == 0
    code, out, _ = say("device", "diff", SERIAL, str(before), name)
    assert (code, out.splitlines()[1]) == (ExitCode.FAILED, f"{name}\tone\ttwo")
    assert say("device", "set", SERIAL, f"{name}=")[0] == 0
    code, out, err = say("device", "diff", SERIAL, SERIAL, "Device.DeviceInfo.")
    assert (code, len(out.splitlines())) == (0, 1)
    assert "no differences" in err
    code, _, err = say("device", "diff", SERIAL, str(tmp_path / "none.json"))
    assert code == ExitCode.FAILED
    assert "is no file, and no device" in err
    before.write_text("{}[")
    assert say("device", "diff", SERIAL, str(before))[0] == ExitCode.USAGE


def test_a_task_is_told_when_it_shall_be_done(say: Say) -> None:
    """Priority, the end of its time, what it waits for; the same key makes no second one."""
    quiet = ("--no-connection-request", "--wait", "0")
    say("device", "get", SERIAL, "Device.DeviceInfo.UpTime", *quiet, "--priority", "3", "--expires-in", "600")
    first = json.loads(say("task", "list", SERIAL, "--limit", "1", "--json")[1])[0]
    assert (first["priority"], first["expires"] is not None) == (3, True)
    again = ("device", "set", SERIAL, f"{PORT}=true", *quiet, "--after", first["id"], "--key", "order-17", "--json")
    second, same = json.loads(say(*again)[1]), json.loads(say(*again)[1])
    assert second["after"] == first["id"]
    assert same["id"] == second["id"]
    out = say("task", "show", second["id"])[1]
    assert f"after\t{first['id']}" in out
    say("task", "cancel", second["id"])
    say("task", "cancel", first["id"])


def test_watch_tells_what_happens(say: Say, site: Site, tmp_path: Path) -> None:
    """Line by line, to the end that is asked for; a kind that there is not is refused with those that there are."""
    there = ("--acs", site.addresses["http_url"], "--token", (site.acs_dir / "admin.token").read_text().strip())
    command = ("device", "watch", SERIAL, "--kind", "task", "--count", "2", *there)
    watching = shared_nursery().start(*command, log=tmp_path / "out")
    eventually(lambda: asked(say) and watching.poll() is not None, 20, site.log)
    out = (tmp_path / "out").read_text()
    assert watching.returncode == 0
    assert [line.split("\t")[1] for line in out.splitlines() if "\t" in line] == ["task", "task"]
    assert "GetParameterValues queued (" in out
    code, _, err = say("device", "watch", "--kind", "weather")
    assert code == ExitCode.USAGE
    assert "inform, request, task" in err


def test_devices_are_approved_by_name_or_by_a_condition(say: Say) -> None:
    """Several at once; by a condition only those that wait; neither or both is a usage error."""
    assert say("device", "approve", SERIAL, the_id(say))[0] == 0
    code, _, err = say("device", "approve", "--where", "True", "--yes")
    assert code == ExitCode.FAILED
    assert "no device" in err
    for words in ((), (SERIAL, "--where", "True")):
        assert say("device", "approve", *words)[0] == ExitCode.USAGE


def test_devices_are_tagged_by_name_or_by_a_condition(say: Say) -> None:
    """The last word is the tag; without a device and a condition nothing is done."""
    assert say("device", "tag", SERIAL, the_id(say), "north")[1].count("has the tag north") == 2
    assert say("device", "untag", "north", "--where", '"north" in tags', "--yes")[1].count("no more") == 1
    code, _, err = say("device", "untag", "north", "--where", '"north" in tags', "--yes")
    assert (code, "no device" in err) == (ExitCode.FAILED, True)
    assert say("device", "tag", "north")[0] == ExitCode.USAGE
    assert say("device", "forget", "--where", "True")[0] == ExitCode.USAGE  # nobody is here to ask


def test_a_switch_that_there_is_not_is_named_with_those_that_there_are(say: Say) -> None:
    """Before anything is asked of the ACS."""
    code, _, err = say("device", "behave", SERIAL, "maxnames=32")
    assert code == ExitCode.USAGE
    assert "no switch 'maxnames'; there are prolog, level_by_level" in err


def test_devices_are_counted_by_what_they_have_in_common(say: Say) -> None:
    """As a table, for a program with the fields' own types, and of those that fit."""
    code, out, err = say("device", "count", "--by", "model,online")
    assert (code, out, err) == (0, "MODEL\tONLINE\tDEVICES\n797xx\tyes\t1\n", "1 device\n")
    assert json.loads(say("device", "count", "--by", "online,state", "--json")[1]) == [
        {"online": True, "state": "approved", "devices": 1}
    ]
    assert say("device", "count", "--state", "refused")[1] == "MODEL\tSOFTWARE VERSION\tDEVICES\n"
    code, _, err = say("device", "count", "--by", "serial_number")
    assert code == ExitCode.USAGE
    assert "not counted by 'serial_number'" in err


def test_a_device_is_named_by_id_serial_or_end_of_id(say: Say) -> None:
    """The whole id, the serial number and an unambiguous end name the same device; nothing fits: said so."""
    whole = the_id(say)
    for name in (whole, SERIAL, whole[-4:]):
        assert json.loads(say("device", "show", name, "--json")[1])["id"] == whole
    code, _, err = say("device", "show", "nobody")
    assert code == ExitCode.FAILED
    assert "homeport device list" in err


def test_the_tab_key_knows_the_devices(
    site: Site, say: Say, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Completion of DEVICE asks the ACS for ids and serial numbers that begin so; without an ACS it offers nothing."""
    whole = the_id(say)
    asked = {"_HOMEPORT_COMPLETE": "complete_bash", "COMP_WORDS": f"homeport device get {whole[:3]}", "COMP_CWORD": "3"}
    done = subprocess.run(  # as the shell does it
        [sys.executable, "-m", "homeport"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | asked | {"HOMEPORT_DATA_DIR": str(site.acs_dir)},
    )
    assert done.stdout.split() == [whole], done.stderr
    for line, offered in (
        (f"homeport device get {whole[:3]}", [whole]),
        (f"homeport task list {SERIAL[:2]}", [SERIAL]),
    ):
        asked = {"_HOMEPORT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        for directory, expected in ((site.acs_dir, offered), (site.cpe_dir, [])):
            with monkeypatch.context() as patch:
                for name, value in (asked | {"HOMEPORT_DATA_DIR": str(directory)}).items():
                    patch.setenv(name, value)
                with pytest.raises(SystemExit):
                    run([])
            assert capsys.readouterr().out.split() == expected


def test_get_asks_the_device(say: Say) -> None:
    """A live read goes through a connection request and gives values with types."""
    code, out, err = say("device", "get", SERIAL, "Device.DeviceInfo.SerialNumber", PORT)
    assert code == 0, err
    assert f"Device.DeviceInfo.SerialNumber\t{SERIAL}\tstring" in out
    code, out, _ = say("device", "get", SERIAL, "Device.DeviceInfo.", "--json")
    assert json.loads(out)["status"] == "done"


def test_get_stored_asks_nobody(say: Say) -> None:
    """--stored gives what the ACS has, with its age."""
    code, out, _ = say("device", "get", SERIAL, "Device.DeviceInfo.SerialNumber", "--stored")
    assert code == 0
    assert f"Device.DeviceInfo.SerialNumber\t{SERIAL}" in out
    assert say("device", "get", SERIAL, "Device.Nothing.", "--stored")[0] == ExitCode.FAILED


def test_set_changes_the_device(say: Say) -> None:
    """Values set through the ACS are then on the device itself."""
    code, out, err = say("device", "set", SERIAL, f"{INTERVAL}=777", f"{PORT}=true")
    assert code == 0, err
    assert f"{INTERVAL} = 777  set" in out
    assert json.loads(say("cpe", "get", INTERVAL, "--json")[1]) == {INTERVAL: "777"}


def test_a_refused_set_names_each_parameter_and_what_to_try(say: Say) -> None:
    """Exit code 5; each refused parameter has its code, its meaning and a cure."""
    code, _, err = say("device", "set", SERIAL, "Device.DeviceInfo.SerialNumber=X", f"{INTERVAL}=-1")
    assert code == ExitCode.FAULT
    assert "Device.DeviceInfo.SerialNumber: 9008" in err
    assert f"{INTERVAL}: 9007" in err
    assert err.count("try: ") == 2


def test_a_wrong_path_is_a_fault_with_its_cure(say: Say) -> None:
    """9005 tells how to find the right name."""
    code, _, err = say("device", "get", SERIAL, "Device.NoSuch.")
    assert code == ExitCode.FAULT
    assert "9005 Invalid parameter name" in err
    assert "homeport device names" in err


def test_names_lists_what_there_is(say: Say) -> None:
    """Objects and parameters with their access; --next-level stops after one floor."""
    code, out, err = say("device", "names", SERIAL, "Device.Bridging.")
    assert code == 0, err
    assert f"{PORT}\twritable" in out
    code, out, _ = say("device", "names", SERIAL, "Device.", "--next-level")
    assert "Device.Bridging.\t" in out
    assert PORT not in out


def test_add_and_delete_an_instance(say: Say) -> None:
    """AddObject gives the number, and sets what was given with it; DeleteObject takes it away again."""
    code, _, err = say("device", "add", SERIAL, "Device.Ethernet.Link.", "Alias=cli-link", "--json")
    assert code == 0, err
    made = err.split(" is made")[0].strip()
    assert made.startswith("Device.Ethernet.Link.")
    assert f"{made}Alias\tcli-link" in say("device", "get", SERIAL, made)[1]
    assert say("device", "delete", SERIAL, made)[0] == 0
    assert say("device", "get", SERIAL, made)[0] == ExitCode.FAULT


def test_rpc_calls_any_method(say: Say) -> None:
    """GetRPCMethods has no verb of its own and is called all the same; an RPC that does not exist is a usage error."""
    code, out, err = say("device", "rpc", SERIAL, "GetRPCMethods")
    assert code == 0, err
    assert "SetParameterValues" in out
    code, _, err = say("device", "rpc", SERIAL, "MakeCoffee")
    assert code == ExitCode.USAGE
    assert "MakeCoffee" in err


def test_reboot_is_done_when_the_device_has_restarted(say: Say) -> None:
    """Reboot asks first; without anybody to ask it wants --yes; it ends when the device is back and says so."""
    code, _, err = say("device", "reboot", SERIAL)
    assert code == ExitCode.USAGE
    assert "--yes" in err
    code, out, err = say("device", "reboot", SERIAL, "--yes", "--command-key", "k1")
    assert code == 0, err
    assert "has restarted" in out
    assert "M Reboot" in say("device", "events", SERIAL, "--limit", "3")[1]


def test_many_devices_are_asked_and_the_job_is_followed_or_taken_back(say: Say) -> None:
    """The sums at the end, a line for each that failed, the exit code of the worst; what is open is taken back by the job's key."""
    everybody = ("--where", "True")
    code, out, err = say("task", "start", *everybody, "GetRPCMethods", "--key", "ask")
    assert (code, out) == (0, "job ask: 1 task\n1 done\n"), err
    code, out, _ = say("task", "start", *everybody, "GetParameterValues", 'parameter_names=["Device.Nope"]')
    assert code == ExitCode.FAULT
    assert "failed: 9005" in out and out.endswith("1 failed\n")
    wish = 'parameter_list=[{"name": "Device.Nope", "value": "1", "type": "string"}]'
    assert "failed: Device.Nope: 9005" in say("task", "start", *everybody, "SetParameterValues", wish, "--yes")[1]
    waiting = (
        "task",
        "start",
        *everybody,
        "GetRPCMethods",
        "--no-connection-request",
        "--key",
        "later",
        "--wait",
        "0.1",
    )
    code, out, err = say(*waiting)
    assert code == ExitCode.TIMEOUT
    assert "task stop --where True --key later" in err
    assert say("task", "stop", *everybody, "--key", "later", "--yes")[1] == "1 task cancelled\n"
    assert say("task", "start", "--where", 'model == "nix"', "GetRPCMethods")[2] == "no device fits the condition\n"
    code, _, err = say("task", "start", "GetRPCMethods")
    assert code == ExitCode.USAGE and "--where" in err
    code, _, err = say("task", "start", *everybody, "Reboot")
    assert code == ExitCode.USAGE
    assert f"Ask 1 device ({the_id(say)}) for Reboot? Nobody is here to ask" in err
    assert say("task", "start", "--where", 'model == "nix"', "Reboot")[0] == ExitCode.FAILED


def test_sessions_become_ladders(say: Say) -> None:
    """The session with the first Inform can be looked at as a ladder, and with its bodies."""
    first = json.loads(say("device", "sessions", SERIAL, "--limit", "500", "--json")[1])[-1]
    code, out, _ = say("device", "session", str(first["id"]))
    assert code == 0
    assert "── Inform ─" in out
    assert "0 BOOTSTRAP, 1 BOOT" in out
    assert "<EventCode>" in say("device", "session", str(first["id"]), "--bodies")[1]


def test_events_and_faults_are_kept(say: Say) -> None:
    """What the device told and what it refused can be looked up afterwards."""
    assert "0 BOOTSTRAP" in say("device", "events", SERIAL)[1]
    assert "Device.DeviceInfo.SerialNumber: 9008" in say("device", "faults", SERIAL)[1]
    head, *rows = say("device", "faults")[1].splitlines()
    assert head.split("\t") == ["WHEN", "DEVICE", "RPC", "FAULT"]
    assert {row.split("\t")[1] for row in rows} == {the_id(say)}
    for words in (
        ("device", "faults"),
        ("device", "events", SERIAL),
        ("device", "sessions", SERIAL),
        ("audit",),
        ("task", "list"),
    ):
        rows = list(csv.reader(say(*words, "--csv")[1].splitlines()))
        assert len(rows) > 1
        assert {len(row) for row in rows} == {len(rows[0])}


def test_a_refused_device_is_shut_out_until_it_is_approved(say: Say) -> None:
    """refuse and approve change the state; tags come and go."""
    assert say("device", "refuse", SERIAL, "--yes")[0] == 0
    assert json.loads(say("device", "show", SERIAL, "--json")[1])["state"] == "refused"
    assert say("device", "reboot", SERIAL, "--yes")[0] == ExitCode.REFUSED
    assert say("device", "approve", SERIAL)[0] == 0
    assert say("device", "tag", SERIAL, "lead")[0] == say("device", "untag", SERIAL, "lead")[0] == 0
    assert "lead" not in json.loads(say("device", "show", SERIAL, "--json")[1])["tags"]


def test_a_queued_task_is_listed_waited_for_and_cancelled(say: Say) -> None:
    """--wait 0 leaves the task in the queue; `task` shows it, times out with 6, cancels it, and tells so with 1."""
    code, out, _ = say("device", "set", SERIAL, f"{INTERVAL}=778", "--no-connection-request", "--wait", "0")
    assert code == 0
    task = out.split()[1]
    assert f"{task}\tSetParameterValues\tqueued" in say("task", "list", SERIAL)[1]
    assert say("task", "wait", task, "--wait", "0.2")[0] == ExitCode.TIMEOUT
    assert say("task", "cancel", task)[0] == 0
    code, _, err = say("task", "wait", task, "--wait", "1")
    assert code == ExitCode.FAILED
    assert "cancelled" in err
    assert "cancelled" in say("task", "show", task)[1]


def test_a_device_that_does_not_come_in_time_is_code_6(say: Say) -> None:
    """The task stays queued and the line says how to follow it."""
    code, _, err = say("device", "get", SERIAL, "Device.", "--no-connection-request", "--wait", "0.2")
    assert code == ExitCode.TIMEOUT
    assert "homeport task wait" in err


def test_a_wrong_token_is_code_4(say: Say, site: Site) -> None:
    """Refused, with the place where the right token is."""
    code, _, err = say("device", "list", "--acs", site.addresses["http_url"], "--token", "wrong")
    assert code == ExitCode.REFUSED
    assert "token" in err


def test_a_login_prints_its_token_alone(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that `TOKEN=$(homeport user login NAME)` works; what it opens, and until when, is said beside it."""
    monkeypatch.setenv("HOMEPORT_PASSWORD", "correct horse")
    assert say("user", "add", "eve", "--role", "read")[0] == 0
    code, token, err = say("user", "login", "eve")
    assert (code, len(token.split())) == (0, 1)
    assert "role read may do, until 20" in err
    code, out, _ = say("user", "whoami", "--token", token.strip())
    assert (code, out.splitlines()[:2]) == (0, ["user\teve", "role\tread"])
    code, _, err = say("device", "tag", SERIAL, "brass", "--token", token.strip())
    assert code == ExitCode.REFUSED
    assert "the user eve may only read" in err


def test_without_address_and_token_the_local_data_directory_is_used(
    say: Say, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No ACS named and none here: code 3 and how to name one; named by option: it works."""
    token = (site.acs_dir / "admin.token").read_text().strip()
    monkeypatch.setenv("HOMEPORT_DATA_DIR", str(tmp_path))
    code, _, err = say("device", "list")
    assert code == ExitCode.UNREACHABLE
    assert "--acs" in err
    assert say("device", "list", "--acs", site.addresses["http_url"], "--token", token)[0] == 0
    monkeypatch.setenv("HOMEPORT_ACS", site.addresses["http_url"])
    monkeypatch.setenv("HOMEPORT_TOKEN", token)
    assert say("device", "list")[0] == 0


def test_the_agents_own_command_line(say: Say) -> None:
    """Status, parameters, configuration and logs of the running agent, and its refusals."""
    code, out, _ = say("cpe", "show", "status")
    assert code == 0
    assert "connected\tyes" in out
    assert "Device.DeviceInfo.ModelName" in say("cpe", "show", "params", "Device.DeviceInfo.")[1]
    assert "as the ACS sees it" in say("cpe", "show", "config")[1]
    assert "Inform" in say("cpe", "show", "client-log")[1]
    code, _, err = say("cpe", "set-param", "Device.DeviceInfo.SerialNumber=X")
    assert code == ExitCode.FAULT
    assert "9008" in err
    assert say("cpe", "set-param", "Device.DeviceInfo.ProvisioningCode=lab")[0] == 0
    assert 'ProvisioningCode: "" -> "lab"' in say("cpe", "show", "log")[1]
    assert say("cpe", "set", "cwmp.periodicinforminterval=600")[0] == 0
    assert json.loads(say("cpe", "get", INTERVAL, "--json")[1]) == {INTERVAL: "600"}


def test_without_an_agent_the_last_status_is_shown(say: Say, site: Site, tmp_path: Path) -> None:
    """No agent: code 3; where one has run, its last status is printed all the same."""
    code, _, err = say("cpe", "show", "status", "--state-dir", str(tmp_path))
    assert code == ExitCode.UNREACHABLE
    assert "homeport cpe run" in err
    (tmp_path / "status.json").write_bytes((site.cpe_dir / "status.json").read_bytes())
    code, out, err = say("cpe", "show", "status", "--state-dir", str(tmp_path))
    assert code == ExitCode.UNREACHABLE
    assert "dkt-797xx" in out
    assert "the last one" in err


def test_a_device_with_credentials_must_log_in(say: Say) -> None:
    """After its credentials are set at the ACS only, the device is turned away, and says so; with them it comes again."""
    assert say("device", "credentials", SERIAL, "cli-user")[0] == ExitCode.USAGE  # nobody to ask for the password
    code, out, err = say("device", "credentials", SERIAL, "cli-user", "--password", "p1")
    assert code == 0, err
    assert "cli-user" in out
    assert say("cpe", "set", "cwmp.acs_username=cli-user", "cwmp.acs_password=p1")[0] == 0
    assert say("device", "get", SERIAL, "Device.DeviceInfo.")[0] == 0
    assert say("device", "credentials", SERIAL, "--forget")[0] == 0
    code, _, err = say("device", "credentials", SERIAL, "--forget")
    assert code == ExitCode.FAILED and "has no login of its own" in err


def test_forget_removes_the_device(say: Say) -> None:
    """The device is gone from the ACS, and comes back as new when it contacts it again."""
    whole = the_id(say)
    assert say("device", "forget", whole, "--yes")[0] == 0
    assert whole not in say("device", "list")[1]
