"""The demo's processes: whatever happens to the one that started them, they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from homeport.cli.demo_children import ChildDied, Household

pytestmark = pytest.mark.system

STARTER = """
import subprocess, sys, os, time
from homeport.cli.lifeline import ENVIRONMENT, Lifeline
line = Lifeline()
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]], pass_fds=(line.fd,), env=os.environ | {ENVIRONMENT: line.text}, start_new_session=True
)
print(child.pid, flush=True)
time.sleep(60)
"""

HOLD = "import os, signal, sys, time; from homeport.cli import lifeline; "
SLEEP = "lifeline.hold(); print('held', flush=True); time.sleep(60)"
OBEDIENT = HOLD + SLEEP
STUBBORN = HOLD + "signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
AGAIN = (
    HOLD
    + "twice = os.environ.get('TWICE'); os.environ['TWICE'] = '1'; twice or os.execv(sys.executable, sys.orig_argv); "
    + SLEEP
)


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that its new parent has not collected counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def eventually(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return holds()


@pytest.mark.parametrize(
    "child", [OBEDIENT, STUBBORN, AGAIN], ids=["obedient", "ignores SIGTERM", "has executed itself anew"]
)
def test_a_child_ends_when_its_starter_is_killed(child: str) -> None:
    """kill -9 of the starter closes the lifeline; the child ends, also one that ignores SIGTERM or has executed itself anew."""
    starter = subprocess.Popen([sys.executable, "-c", STARTER, child], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert starter.stdout.readline() == "held\n"
    assert not gone(pid)
    starter.kill()
    starter.wait()
    starter.stdout.close()
    assert eventually(lambda: gone(pid), 6.0)


def test_leaving_the_household_ends_the_children_and_removes_the_directory() -> None:
    """Nothing is left: no process, no directory."""
    with Household() as household:
        child = household.start("agent", ["task"])
        directory = household.directory
        child.process.wait(timeout=30)
        with pytest.raises(ChildDied, match="cancel"):
            household.require_alive()
    assert gone(child.process.pid)
    assert not directory.exists()


def test_a_directory_that_was_named_is_kept(tmp_path: Path) -> None:
    """--data-dir keeps everything."""
    with Household(tmp_path / "demo") as household:
        household.start("ACS", ["--version"]).process.wait(timeout=30)
    assert (tmp_path / "demo" / "ACS.log").read_text().startswith("homeport ")


def test_a_dead_child_is_told_with_its_last_words() -> None:
    """When a child dies, its last log lines are in the message."""
    with Household() as household:
        household.start("agent", ["cpe", "run", "--no-such-flag"]).process.wait(timeout=30)
        with pytest.raises(ChildDied, match="no option --no-such-flag"):
            household.require_alive()


def test_sigterm_inside_the_household_leaves_in_order() -> None:
    """SIGTERM becomes SystemExit within, and the old handler is back afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left, Household() as household:
        directory = household.directory
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it goes on")
    assert left.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    assert not directory.exists()
