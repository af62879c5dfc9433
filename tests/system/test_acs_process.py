"""The process of an ACS that is alone: what systemd hears of it, and how it ends."""

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from support.acs_process import Changed
from support.ends import Acs, wait_for
from support.nursery import shared_nursery

pytestmark = pytest.mark.system


def test_systemd_hears_of_its_start_its_life_and_its_end_and_finds_in_the_log_where_it_hung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the unit asks for it; SIGABRT is what systemd sends to one that is silent. SIGHUP at any time harms nothing."""
    heard: list[str] = []
    acs = Acs(tmp_path / "acs")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{tmp_path}/notify")
        systemd.setblocking(False)

        def hears(word: str) -> bool:
            while True:
                try:
                    heard.append(systemd.recv(100).decode())
                except BlockingIOError:
                    return word in heard

        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        acs.launch()
        assert acs.process is not None
        wait_for((acs.data / "acs.lock").exists, "the data directory")
        acs.process.send_signal(signal.SIGHUP)
        wait_for(lambda: hears("READY=1"), "the word that it serves")
        assert "admin token" in acs.log.read_text()
        acs.process.send_signal(signal.SIGHUP)
        heard.clear()
        wait_for(lambda: hears("WATCHDOG=1"), "a sign of life")
        acs.process.terminate()
        assert acs.process.wait(20) == 0
        assert hears("STOPPING=1")
        acs.start()
        acs.process.send_signal(signal.SIGABRT)
        assert acs.process.wait(20) == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in acs.log.read_text()
    assert "asyncio/runners.py" in acs.log.read_text()


@pytest.mark.skipif(
    shutil.which("logrotate") is None or os.geteuid() != 0, reason="needs logrotate, and root to run it"
)
def test_its_log_file_is_turned_by_logrotate_without_a_word_to_it(tmp_path: Path) -> None:
    """By the package's own rule: each line is in one file or the other; where it cannot be opened anew, the one before has it all."""
    logs = tmp_path / "logs"
    logs.mkdir(0o750)
    log, said = logs / "acs.log", "change asked for"
    rule = (Path(__file__).parents[2] / "packaging/etc/logrotate-acs").read_text()
    rule = re.sub(r"homeport-acs homeport-acs$", "root root", rule, flags=re.MULTILINE)
    (tmp_path / "rule").write_text(rule.replace("/var/log/homeport-acs/", f"{logs}/"))
    (tmp_path / "rule").chmod(0o644)
    acs = Acs(tmp_path / "acs", "--log-file", str(log)).start()
    assert acs.process is not None
    try:
        acs.rest("POST", "tokens", {"name": "first"})
        command = ["logrotate", "--force", "--state", tmp_path / "state", tmp_path / "rule"]
        subprocess.run(command, check=True, capture_output=True)
        acs.rest("POST", "tokens", {"name": "second"})
        assert (log.with_name("acs.log.1").read_text().count(said), log.read_text().count(said)) == (1, 1)
        aside = logs.rename(tmp_path / "aside")
        acs.rest("POST", "tokens", {"name": "third"})
        assert "the log file cannot be opened anew" in (aside / "acs.log").read_text()
        assert (aside / "acs.log").read_text().count(said) == 2
        aside.rename(logs)
        acs.process.send_signal(signal.SIGABRT)
        assert acs.process.wait(20) == -signal.SIGABRT
    finally:
        acs.kill()
    assert "Fatal Python error: Aborted" in log.read_text()
    assert said not in acs.log.read_text()


def test_a_log_file_that_cannot_be_written_is_told_of_where_the_command_was_typed(tmp_path: Path) -> None:
    """So is whatever else stops the start."""
    acs = Acs(tmp_path / "acs", "--log-file", str(tmp_path / "none/acs.log"))
    acs.launch()
    assert acs.process is not None
    assert acs.process.wait(20) == 2
    assert "log_file: cannot write" in acs.log.read_text()
    acs = Acs(tmp_path / "other", "--log-file", str(tmp_path / "acs.log"), "--workers", "2")
    acs.launch()
    assert acs.process is not None
    assert acs.process.wait(20) == 2
    assert acs.log.read_text() == (tmp_path / "acs.log").read_text()


@pytest.mark.parametrize(
    ("limits", "signals", "why"),
    [((0.1, 60.0), 1, "it did not end in time"), ((60.0, 0.0), 2, "the end was asked for a second time")],
)
def test_a_process_whose_end_does_not_come_ends_all_the_same(
    tmp_path: Path, limits: tuple[float, float], signals: int, why: str
) -> None:
    """After a limit, or at once where it is asked for a second time; the log says so."""
    acs = Changed(tmp_path, "endless_stop", limits)
    acs.start()
    assert acs.process is not None
    for _ in range(signals):
        assert acs.process.poll() is None
        acs.process.terminate()
        if signals > 1:
            wait_for(lambda: acs.process.poll() is not None or not pending(acs.pid), "the signal's arrival")  # type: ignore[union-attr]
    assert acs.process.wait(20) == 1
    assert why in acs.log.read_text()


def pending(pid: int) -> bool:
    """Whether a signal waits for the process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("ShdPnd:")[2].split()[0], 16) != 0


@pytest.mark.parametrize("name", ["acs.json", "admin.token"])
def test_a_data_directory_that_takes_no_file_is_told_of_in_a_sentence(tmp_path: Path, name: str) -> None:
    """A full disk passes, so it is no fault of the settings: the exit code 1 lets systemd try again."""
    (tmp_path / "data" / name / "in the way").mkdir(parents=True)
    log = tmp_path / "log"
    here = [o for listener in ("cwmp", "http", "file") for o in (f"--{listener}-listen", "127.0.0.1:0")]
    process = shared_nursery().start("acs", "serve", "--data-dir", str(tmp_path / "data"), *here, log=log)
    assert process.wait(30) == 1
    assert f"homeport acs: cannot write in the data directory {tmp_path / 'data'}: Is a directory" in log.read_text()
    assert "Traceback" not in log.read_text()
