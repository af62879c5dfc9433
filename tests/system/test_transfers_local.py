"""What a person at the device does with transfers, and the file types that settings and plug-ins bring, by the real programs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.errors import HomeportError
from support.ends import Acs, wait_for
from support.kills import finished
from support.transfer_place import Place

pytestmark = pytest.mark.system

PLUGIN = """
from pathlib import Path
from homeport.cpe.devices.plugin import downloaded, idle, uploaded

HERE = Path(__file__).parent

@idle
def nobody_calls():
    return (HERE / "idle").exists()

@downloaded("5 Ringer File")
def ring(file, name):
    if file.read_bytes() == b"noise":
        raise ValueError("this is no ringer")
    (HERE / name).write_bytes(file.read_bytes())

@uploaded("X 00256D Calls")
def calls(file):
    file.write_text("nobody called")
"""
PROGRAM = """#!/bin/sh
[ "$2" = upload ] && { echo "by $1" > "$3"; exit 0; }
grep -q good "$3" || { echo "a splash must be good" >&2; exit 1; }
cp "$3" "$(dirname "$0")/$4.$1"
"""
POLICY = "Device.ManagementServer.AutonomousTransferCompletePolicy."


@pytest.fixture
def place(open_acs: Acs, tmp_path: Path) -> Iterator[Callable[..., Place]]:
    made: list[Place] = []

    def start(*options: str) -> Place:
        made.append(Place(open_acs, tmp_path, *options))
        return made[-1]

    yield start
    for one in made:
        one.end()


@pytest.mark.case("T17")
def test_a_person_at_the_device_fetches_and_sends_files(place: Callable[..., Place]) -> None:
    """By the command line; AutonomousTransferComplete as the policy says; a request for a download reaches the ACS."""
    here = place("--profile", "module-host")
    types = "3 Vendor Configuration File,4 Vendor Log File"
    here.ask("set-param", values={POLICY + "Enable": "1", POLICY + "FileTypeFilter": types})
    here.ask("set-param", values={POLICY + "TransferTypeFilter": "Both", POLICY + "ResultTypeFilter": "Both"})
    done = here.cli("transfer", "upload", here.store.url("/c"))
    assert (done.returncode, done.stdout) == (0, "the upload is done\n"), done.stderr
    assert b"homeport-configuration" in here.store.files["/c"]
    failed = here.cli("transfer", "download", here.store.url("/none"), "--type", "3 Vendor Configuration File")
    assert failed.returncode != 0 and "9016" in failed.stderr
    unknown = here.cli("transfer", "download", here.store.url("/c"), "--type", "4 Tone File")
    assert unknown.returncode != 0 and "4 Tone File" in unknown.stderr
    wait_for(lambda: len(here.sent("AutonomousTransferComplete")) == 2, "both reports")
    up, down = here.sent("AutonomousTransferComplete")
    assert "<FaultCode>0<" in up and "<IsDownload>0<" in up and "<FaultCode>9016<" in down and "<IsDownload>1<" in down
    here.store.files["/slow"], here.store.pause = bytes(100), 2.0
    slow = here.cli("transfer", "download", here.store.url("/slow"), "--wait", "0")
    assert slow.returncode == 0, slow.stderr
    number = slow.stdout.split()[1]
    listed = here.cli("transfer", "list")
    assert "/slow" in listed.stdout and "here" in listed.stdout
    assert here.cli("transfer", "cancel", number).returncode == 0
    assert "no transfer" in here.cli("transfer", "list").stdout + here.cli("transfer", "list").stderr
    assert here.cli("request-download", "1 Firmware Upgrade Image", "Version=2.0").returncode == 0
    wait_for(lambda: here.sent("RequestDownload"), "the request")
    (asked,) = here.sent("RequestDownload")
    assert "<Name>Version</Name>" in asked and "1 Firmware Upgrade Image" in asked
    wait_for(lambda: any("9 REQUEST DOWNLOAD" in i for i in here.sent("Inform")), "its event")


@pytest.mark.case("T12")
@pytest.mark.case("T13")
def test_a_scheduled_download_waits_for_idleness_or_for_a_person(place: Callable[..., Place], tmp_path: Path) -> None:
    """The question is in the status; yes begins it, no is told to the ACS; the plug-in says when the device is idle."""
    (tmp_path / "phone.py").write_text(PLUGIN)
    here = place("--plugins", str(tmp_path / "phone.py"))
    here.store.files["/ring"] = b"tune"

    def schedule(key: str, mode: str) -> str:
        window = {"window_start": 0, "window_end": 600, "window_mode": mode, "user_message": "Now?", "max_retries": 0}
        url = here.store.url("/ring")
        return here.task(
            "ScheduleDownload", command_key=key, file_type="5 Ringer File", url=url, time_window_list=[window]
        )

    yes, no, quiet = (
        schedule("yes", "4 Confirmation Needed"),
        schedule("no", "4 Confirmation Needed"),
        schedule("quiet", "3 When Idle"),
    )
    wait_for(lambda: len(here.ask("status")["transfers"]) == 3, "the three transfers")
    shown = here.cli("show", "status").stdout
    assert "asks: Now?" in shown and "idle" in shown
    assert here.cli("confirm").returncode != 0  # two of them ask
    assert not here.store.asked
    assert here.cli("confirm", "yes").returncode == 0 and here.cli("refuse", "no").returncode == 0
    assert finished(here.acs, [yes, no]) == ["done", "failed"]
    assert here.acs.rest("GET", f"tasks/{no}")["fault"]["code"] == 9001
    assert len(here.store.asked) == 1 and (tmp_path / "ring").read_bytes() == b"tune"
    (tmp_path / "idle").touch()
    here.store.files["/noise"] = b"noise"
    assert here.code("Download", command_key="n", file_type="5 Ringer File", url=here.store.url("/noise")) == 9018
    assert here.code("Upload", command_key="c", file_type="X 00256D Calls", url=here.store.url("/calls")) == 0
    assert here.store.files["/calls"] == b"nobody called"
    assert finished(here.acs, [quiet]) == ["done"]


@pytest.mark.case("T06")
@pytest.mark.case("T13")
def test_file_types_go_where_the_settings_say(place: Callable[..., Place], tmp_path: Path) -> None:
    """A directory or a program without a shell; what nobody handles is refused with 9003, as are modes that are switched off."""
    program = tmp_path / "splash program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    here = place(
        *("--transfer-directories", f"2 Web Content={tmp_path / 'www'}"),
        *("--transfer-programs", f"X 00256D Splash='{program}' $HOME;id", "--idle-after", "0"),
        "--no-transfer-confirmation",
    )
    here.store.files |= {"/a/index.html": b"<!DOCTYPE html><html></html>", "/good": b"good", "/bad": b"evil"}

    def code(kind: str, path: str, **more: Any) -> int:
        return here.code("Download", command_key="k", file_type=kind, url=here.store.url(path), **more)

    assert code("2 Web Content", "/a/index.html") == 0
    assert (tmp_path / "www" / "index.html").read_bytes() == here.store.files["/a/index.html"]
    assert code("2 Web Content", "/a/index.html", target_file_name="../../etc/start.html") == 0
    assert (tmp_path / "www" / "start.html").exists()
    assert code("X 00256D Splash", "/good", target_file_name="logo") == 0
    assert (tmp_path / "logo.$HOME;id").read_bytes() == b"good"
    assert code("X 00256D Splash", "/good", target_file_name="--option") == 0
    assert (tmp_path / "option.$HOME;id").exists()
    assert code("X 00256D Splash", "/bad") == 9018
    assert "a splash must be good" in here.sent("TransferComplete")[-1]
    assert here.code("Upload", command_key="u", file_type="X 00256D Splash", url=here.store.url("/up")) == 0
    assert here.store.files["/up"] == b"by $HOME;id\n"
    assert code("4 Tone File", "/good") == 9003
    for mode in ("3 When Idle", "4 Confirmation Needed"):
        window = {"window_start": 0, "window_end": 60, "window_mode": mode, "user_message": "", "max_retries": 0}
        args = {"file_type": "2 Web Content", "url": here.store.url("/good"), "time_window_list": [window]}
        assert here.code("ScheduleDownload", command_key=mode[:1], **args) == 9003


def test_a_question_without_an_answer_is_told_by_the_control_socket(place: Callable[..., Place]) -> None:
    """Nothing asks, nothing is there: each refusal names what is wrong."""
    here = place()
    for verb, args, words in (
        ("transfer-answer", {"yes": True}, "no transfer asks"),
        ("transfer-cancel", {"transfer": "7"}, "no transfer is under way"),
        ("transfer-result", {"transfer": 7}, "there is no transfer 7"),
        ("transfer-start", {"url": "http://h/x"}, "download or upload"),
        (
            "transfer-start",
            {"direction": "download", "url": "gopher://h/x", "file_type": "3 Vendor Configuration File"},
            "gopher",
        ),
        ("request-download", {"file_type": ""}, "name the file type"),
    ):
        with pytest.raises(HomeportError, match=words):
            here.ask(verb, **args)
