"""`homeport file ...` and the two transfer verbs of `homeport device`, against a real ACS and a real agent."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.cli.main import run
from support.ends import Acs, Agent
from support.kills import known

SERIAL = "DKT0042"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Acs]:
    """An ACS that takes at most 3 MB from an operator, named in the environment."""
    made = Acs(tmp_path / "acs", "--cpe-auth", "open", "--file-size-limit", "3000000")
    try:
        made.start()
        monkeypatch.setenv("HOMEPORT_ACS", made.http_url)
        monkeypatch.setenv("HOMEPORT_TOKEN", (made.data / "admin.token").read_text().strip())
        yield made
    finally:
        made.kill()


@pytest.fixture
def agent(tmp_path: Path, server: Acs) -> Iterator[str]:
    """The id of a device whose agent runs."""
    made = Agent(tmp_path / "agent", server.cwmp_url, SERIAL)
    try:
        made.start()
        yield known(server, SERIAL)
    finally:
        made.kill()


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that succeeds prints."""
    capsys.readouterr()
    code = run(words)
    printed = capsys.readouterr()
    assert code == 0, printed
    return printed.out


def test_a_file_is_stored_listed_fetched_and_deleted(
    server: Acs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The life of a file on the command line; --json where data is printed."""
    source = tmp_path / "fw.bin"
    source.write_bytes(os.urandom(2_000_000))
    added = json.loads(said(capsys, "file", "add", str(source), "--version", "2.1", "--model", "797xx", "--json"))
    assert (added["name"], added["size"], added["version"], added["model"]) == ("fw.bin", 2_000_000, "2.1", "797xx")
    assert added["sha256"] in said(capsys, "file", "add", str(source), "--name", "again.bin")
    assert [f["name"] for f in json.loads(said(capsys, "file", "list", "--json"))] == ["again.bin", "fw.bin"]
    assert "797xx" in said(capsys, "file", "list")
    assert json.loads(said(capsys, "file", "show", "fw.bin", "--json")) == added
    assert "2000000" in said(capsys, "file", "show", "fw.bin")
    target = tmp_path / "copy"
    said(capsys, "file", "get", "fw.bin", "--output", str(target))
    assert target.read_bytes() == source.read_bytes()
    assert "is deleted" in said(capsys, "file", "delete", "fw.bin", "--yes")
    assert [f["name"] for f in json.loads(said(capsys, "file", "list", "--json"))] == ["again.bin"]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["file", "add", "absent.bin"], 2, "cannot read"),
        (["file", "add", "fw.bin", "--name", "../up"], 2, "cannot be the name"),
        (["file", "add", "huge.bin"], 2, "3000000 bytes"),
        (["file", "show", "nothing"], 1, "no file 'nothing'"),
        (["file", "get", "nothing"], 1, "no file 'nothing'"),
        (["file", "delete", "nothing", "--yes"], 1, "no file 'nothing'"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    server: Acs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    part: str,
) -> None:
    """The fact, the name, and an exit code; nothing is left behind."""
    (tmp_path / "fw.bin").write_bytes(b"x")
    (tmp_path / "huge.bin").write_bytes(bytes(30_000_000))
    monkeypatch.chdir(tmp_path)
    assert run(words) == code
    printed = capsys.readouterr()
    assert part in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not list(tmp_path.glob("*.part"))


def test_another_content_under_a_taken_name_is_refused(
    server: Acs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless the operator says --replace."""
    source = tmp_path / "fw.bin"
    source.write_bytes(b"one")
    said(capsys, "file", "add", str(source))
    said(capsys, "file", "add", str(source))
    source.write_bytes(b"other")
    assert run(["file", "add", str(source)]) == 4
    assert "replace" in capsys.readouterr().err
    assert '"size": 5' in said(capsys, "file", "add", str(source), "--replace", "--json")


def test_a_device_sends_its_configuration_and_gets_it_back(
    server: Acs, agent: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Upload into the ACS's store and Download out of it, by a real agent, each until the device has reported the end."""
    upload = said(capsys, "device", "upload", SERIAL, "--file-type", "1 Vendor Configuration File", "--name", "dkt.cfg")
    assert "stored as dkt.cfg" in upload
    assert "DKT0042" in said(capsys, "file", "list")
    said(capsys, "file", "get", "dkt.cfg", "--output", str(tmp_path / "dkt.cfg"))
    assert (tmp_path / "dkt.cfg").stat().st_size
    said(
        capsys,
        "file",
        "add",
        str(tmp_path / "dkt.cfg"),
        "--name",
        "golden.cfg",
        "--file-type",
        "3 Vendor Configuration File",
    )
    task = json.loads(said(capsys, "device", "download", SERIAL, "golden.cfg", "--json"))
    assert (task["status"], task["args"]["file_type"]) == ("done", "3 Vendor Configuration File")
