"""How the two programs start from the command line: addresses, tokens, wrong settings, completion installed for a shell."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

LOOPBACK = ["--cwmp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--file-listen", "127.0.0.1:0"]


def homeport(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")} | environment
    command = [sys.executable, "-m", "homeport", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=clean)


Served = tuple[subprocess.Popen[str], list[str], Path]


@pytest.fixture(scope="module")
def acs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`homeport acs serve` by configuration file and environment, the lines that it prints when it is ready, and where its data is."""
    tmp_path = tmp_path_factory.mktemp("acs")
    (tmp_path / "acs.toml").write_text(
        '[acs]\ncwmp-listen = "127.0.0.1:0"\nhttp-listen = "127.0.0.1:0"\ncpe-auth = "open"\ntftp-listen = "127.0.0.1:0"\n'
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
    environment |= {"HOMEPORT_ACS_DATA_DIR": str(tmp_path / "data"), "HOMEPORT_CONFIG": str(tmp_path / "acs.toml")}
    command = [sys.executable, "-m", "homeport", "acs", "serve", "--file-listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stderr is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "WARNING" in line:
            break
    yield process, lines, tmp_path / "data"
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["acs", "serve", "--cwmp-listen", "nonsense"], "HOST:PORT"),
        (["acs", "serve", "--cpe-auth", "maybe"], "open, quarantine, required"),
        (["acs", "serve", "--body-limit", "many"], "--body-limit"),
        (["acs", "serve", "--config", "/nonexistent.toml"], "/nonexistent.toml"),
        (["cpe", "run", "--session-timeout", "0"], "session_timeout"),
        (["cpe", "run", "--profile", "no-such"], "dkt-797xx"),
        (["cpe", "run", "--config", "/nonexistent.toml"], "/nonexistent.toml"),
    ],
    ids=" ".join,
)
def test_wrong_settings_end_with_code_2_and_the_cure(words: list[str], said: str, tmp_path: Path) -> None:
    """Neither program starts with a setting that does not fit; the line names it and what was expected."""
    done = homeport(*words, HOMEPORT_STATE_DIR=str(tmp_path / "cpe"), HOMEPORT_DATA_DIR=str(tmp_path / "acs"))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(acs: Served, tmp_path: Path) -> None:
    """A second ACS on the same port ends with code 2 and names the setting."""
    port = json.loads((acs[2] / "acs.json").read_text())["cwmp_url"].rstrip("/").rpartition(":")[2]
    done = homeport(
        "acs", "serve", "--data-dir", str(tmp_path / "other"), *LOOPBACK, "--cwmp-listen", f"127.0.0.1:{port}"
    )
    assert done.returncode == 2
    assert "cwmp_listen" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_acs_on_the_same_directory_is_refused(acs: Served) -> None:
    """Two writers on one database would each believe to know all."""
    done = homeport("acs", "serve", "--data-dir", str(acs[2]), *LOOPBACK)
    assert done.returncode == 2
    assert "another ACS" in done.stderr


def test_the_acs_says_where_it_is_and_stops_on_sigterm(acs: Served) -> None:
    """It takes settings from file, environment and flags, prints its addresses and the token's file, warns of open mode, and ends well."""
    process, lines, data = acs
    record = json.loads((data / "acs.json").read_text())
    said = "".join(lines)
    assert record["cwmp_url"] in said
    assert record["http_url"] in said
    assert str(data / "admin.token") in said
    assert re.search(r"^TFTP \(UDP\) {9}127\.0\.0\.1:[1-9]\d+$", said, re.MULTILINE), (
        "the port that was taken for port 0"
    )
    assert "STUN" not in said
    assert "open" in said
    assert record["pid"] == process.pid
    assert homeport("device", "list", HOMEPORT_DATA_DIR=str(data)).returncode == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_completion_is_installed_for_bash(tmp_path: Path) -> None:
    """--install-completion writes the script where the shell looks for it, and the script completes verbs and sub-verbs."""
    environment = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = homeport("--install-completion", "bash", **environment)
    assert done.returncode == 0, done.stderr
    script = next(tmp_path.rglob("homeport.sh"))
    program = tmp_path / "bin" / "homeport"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m homeport "$@"\n')
    program.chmod(0o755)
    ask = (
        f"source {script}; COMP_WORDS=(homeport device fac); COMP_CWORD=2; "
        "$(complete -p homeport | sed 's/.*-F \\([^ ]*\\) .*/\\1/') homeport; echo ${COMPREPLY[@]}"
    )
    path = f"{program.parent}:{os.environ['PATH']}"
    shell = subprocess.run(
        ["bash", "-c", ask], capture_output=True, text=True, check=False, timeout=60, env=os.environ | {"PATH": path}
    )
    assert shell.stdout.split() == ["factory-reset"], shell.stderr
