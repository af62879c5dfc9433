"""How worker processes are watched: with a work that is easily killed, in a parent of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.ends import wait_for

pytestmark = pytest.mark.system

PARENT = """
import os, sys, time
from pathlib import Path
from homeport.acs import workers
workers.FIRST_WAIT, workers.TICK, workers.STOP_WITHIN = 0.05, 0.02, 1.0
book, plan = Path(sys.argv[1]), sys.argv[2]

def work(number, tether):
    with book.open("a") as out:
        out.write(f"{number} {os.getpid()}\\n")
    if plan == "broken" and number == 1:
        return 7
    if plan == "mute" and number == 1:
        sys.stdout = open("/dev/full", "w")
        print("words for which there is no room")
        return 7
    tether.ready()
    if plan in ("dying", "poor") and number == 1:
        time.sleep(0.05)
        return 3
    if plan == "deaf":
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while not (plan == "faithful" and tether.parent in __import__("select").select([tether.parent], [], [], 0.05)[0]):
        time.sleep(0.05)
    return 0

fork, forks = os.fork, []

def poor_fork():
    forks.append(1)
    if len(forks) in (3, 5):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()

if plan == "poor":
    os.fork = poor_fork

def changed(pids):
    if plan == "poor" and "all" in book.read_text():
        raise OSError(28, "No space left on device")
    with book.open("a") as out:
        out.write("all " + " ".join(map(str, pids)) + "\\n")

sys.exit(workers.supervise(2, work, changed))
"""


def parent(book: Path, plan: str) -> "subprocess.Popen[bytes]":
    """A parent of two workers that do as planned; what happens is in the book."""
    with book.with_suffix(".log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-c", PARENT, str(book), plan], stdout=log, stderr=subprocess.DEVNULL)


def lines(book: Path, first: str) -> list[list[str]]:
    """The entries that begin so."""
    text = book.read_text() if book.exists() else ""
    return [line.split() for line in text.splitlines() if line.split()[0] == first]


def gone(book: Path) -> bool:
    """Whether no worker that ever was lives."""
    return not any(Path(f"/proc/{pid}").exists() for number in "01" for _, pid in lines(book, number))


def test_a_worker_that_keeps_dying_is_started_again_and_again_and_the_other_is_left_alone(tmp_path: Path) -> None:
    """The longer it goes on, the longer the waits; and a stop ends all."""
    book = tmp_path / "book"
    process = parent(book, "dying")
    wait_for(lambda: len(lines(book, "1")) >= 5, "the fifth start")
    assert len(lines(book, "0")) == 1
    told = lines(book, "all")
    assert len({pids[2] for pids in told}) >= 3
    assert len({pids[1] for pids in told}) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    wait_for(lambda: gone(book), "the end of all workers")
    said = [line for line in book.with_suffix(".log").read_text().splitlines() if "worker" in line]
    assert "exit code 3, see the lines before" in said[0]
    waits = [line.partition("again_in=")[2].split()[0] for line in said if "again_in=" in line]
    assert waits[:4] == ["0.0", "0.05", "0.1", "0.2"], "at once, then later and later"
    assert any("dies again and again" in line and "Look at memory, disk and database" in line for line in said)


def test_a_machine_without_memory_and_disk_for_a_moment_does_not_end_the_workers_that_serve(tmp_path: Path) -> None:
    """No process can be made, and nothing written: both is tried again, and the other worker is left alone."""
    book = tmp_path / "book"
    process = parent(book, "poor")
    wait_for(lambda: len(lines(book, "1")) >= 3, "the third start")
    assert len(lines(book, "0")) == len(lines(book, "all")) == 1
    process.terminate()
    assert process.wait(20) == 0
    said = book.with_suffix(".log").read_text()
    assert "cannot be started; it is tried again" in said
    assert "No space left on device" in said


def test_a_worker_that_cannot_even_start_ends_everything_with_its_code(tmp_path: Path) -> None:
    """A wrong setting does not become right by being tried again."""
    book = tmp_path / "book"
    assert parent(book, "broken").wait(20) == 7
    assert not lines(book, "all")
    wait_for(lambda: gone(book), "the end of all workers")


def test_a_worker_whose_last_words_cannot_be_written_ends_all_the_same(tmp_path: Path) -> None:
    """It must not go on in its parent's place: that would end with "Bad file descriptor" and another code."""
    book = tmp_path / "book"
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(book), "mute"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    _, said = process.communicate(timeout=20)
    assert process.returncode == 7
    assert "Bad file descriptor" not in said
    wait_for(lambda: gone(book), "the end of all workers")


def test_workers_that_do_not_listen_are_killed_at_a_stop(tmp_path: Path) -> None:
    """After the time for a clean end."""
    book = tmp_path / "book"
    process = parent(book, "deaf")
    wait_for(lambda: lines(book, "all"), "both workers")
    process.terminate()
    assert process.wait(20) == 0
    assert gone(book)


def test_a_worker_learns_that_its_parent_is_gone(tmp_path: Path) -> None:
    """kill -9 of the parent: nothing is left behind."""
    book = tmp_path / "book"
    process = parent(book, "faithful")
    wait_for(lambda: lines(book, "all"), "both workers")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    wait_for(lambda: gone(book), "the end of all workers")
