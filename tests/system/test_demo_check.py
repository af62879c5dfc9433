"""`homeport demo` as a person and as CI runs it: the whole tour, and nothing left of it however it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

LIMIT = 30.0
"""Seconds within which the whole tour must be over, start of all processes included."""

STEPS = 8

MORE = [(signal.SIGHUP, 2), (signal.SIGKILL, 1), (signal.SIGKILL, 5)] if "HOMEPORT_TEST_CUTS" in os.environ else []
"""Further ways to end it, where there is time for them."""


def processes_of(directory: Path) -> dict[int, str]:
    """The running processes whose command line names the directory: pid -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        if any(str(directory).encode() in word for word in words):
            found[int(entry.name)] = b" ".join(words).decode()
    return found


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


class Demo:
    """A running `homeport demo` whose output is read line by line."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")} | {"COLUMNS": "100"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "homeport", "demo", "--data-dir", str(directory), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.seen: list[str] = []

    def read_until(self, pattern: str) -> str:
        """Read to the first line that fits. Fails where the output ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append(line)
            if re.search(pattern, line):
                return line
        pytest.fail(f"{pattern!r} never came; the demo said:\n{''.join(self.seen)}")

    def rest(self) -> str:
        """Wait for the end; all that was said."""
        assert self.process.stdout is not None
        self.seen += list(self.process.stdout)
        self.process.wait(timeout=LIMIT)
        return "".join(self.seen)

    def child(self, verb: str) -> int:
        """The pid of `homeport VERB` of this demo."""
        return next(pid for pid, line in processes_of(self.directory).items() if f"homeport {verb}" in line)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    running: list[Demo] = []

    def start(*options: str) -> Demo:
        running.append(Demo(tmp_path / "demo", *options))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        if one.process.stdout is not None:
            one.process.stdout.close()
    assert eventually(lambda: not processes_of(tmp_path), 6.0), processes_of(tmp_path)


def test_check_plays_the_whole_tour(demo: Callable[..., Demo]) -> None:
    """Every step holds, one line each, exit code 0, in time; nothing is left running."""
    begin = time.monotonic()
    one = demo("--check")
    said = one.rest()
    assert one.process.returncode == 0, said
    assert time.monotonic() - begin < LIMIT
    lines = said.splitlines()
    assert [line[:8] for line in lines[:-1]] == [f"ok   {n}/{STEPS}" for n in range(1, STEPS + 1)]
    assert lines[-1].startswith(f"all {STEPS} steps hold")
    assert not processes_of(one.directory)


def test_what_a_person_sees(demo: Callable[..., Demo]) -> None:
    """The ladders, the addresses and the next commands are shown, both stay up, and Ctrl-C ends them with success."""
    one = demo()
    one.read_until("Ctrl-C ends both")
    said = "".join(one.seen)
    for word in (
        "01 ",
        "0 BOOTSTRAP, 1 BOOT",
        "6 CONNECTION REQUEST",
        "1 BOOT, M Reboot",
        "7 TRANSFER COMPLETE, M Download",
        "1 BOOT, 4 VALUE CHANGE",
        "── Inform ─",
        "HOMEPORT_DATA_DIR",
        "device list",
    ):
        assert word in said
    assert len(processes_of(one.directory)) == 3
    one.process.send_signal(signal.SIGINT)
    assert "Traceback" not in one.rest()
    assert one.process.returncode == 0
    assert not processes_of(one.directory)


@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGINT, 3), (signal.SIGTERM, 4), (signal.SIGKILL, 3), *MORE],
    ids=lambda value: getattr(value, "name", value),
)
def test_nothing_is_left_when_it_is_ended_on_the_way(
    demo: Callable[..., Demo], number: signal.Signals, step: int
) -> None:
    """Ended after any step, by whatever signal, kill -9 included: no process of it survives, and there is no traceback."""
    one = demo("--check")
    one.read_until(rf"^ok   {step}/")
    one.process.send_signal(number)
    assert "Traceback" not in one.rest()
    assert one.process.returncode != 0
    assert eventually(lambda: not processes_of(one.directory), 6.0), processes_of(one.directory)


@pytest.mark.parametrize("verb", ["acs serve", "cpe run"])
def test_a_child_that_dies_is_told_with_its_last_lines(demo: Callable[..., Demo], verb: str) -> None:
    """When the ACS or the agent is killed, the demo says which, shows its log's end, ends the other and fails."""
    one = demo()
    one.read_until("Ctrl-C ends both")
    os.kill(one.child(verb), signal.SIGKILL)
    said = one.rest()
    assert one.process.returncode == 1
    assert f"the {'ACS' if verb.startswith('acs') else 'agent'} ended (signal SIGKILL); its last lines:" in said
    assert "Traceback" not in said
    assert not processes_of(one.directory)


def test_a_directory_that_exists_is_not_touched(demo: Callable[..., Demo], tmp_path: Path) -> None:
    """--data-dir takes only a new directory."""
    (tmp_path / "demo").mkdir()
    one = demo("--check")
    assert "exists already" in one.rest()
    assert one.process.returncode == 2
    assert not list((tmp_path / "demo").iterdir())
