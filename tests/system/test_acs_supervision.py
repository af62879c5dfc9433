"""How worker processes are watched: with a work that is easily killed, in a parent of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.ends import wait_for

pytestmark = pytest.mark.system

PARENT = """
import os, signal, sys, time
from pathlib import Path
from homeport.acs import logs, pulse, workers
workers.FIRST_WAIT, workers.TICK, workers.STOP_WITHIN = 0.05, 0.02, 1.0
book, plan = Path(sys.argv[1]), sys.argv[2]
if plan in ("hanging", "fine"):
    pulse.HUNG_AFTER, pulse.LOOK_CLOSER, pulse.LONGEST_LOOK, pulse.STACKS_WITHIN = 1.0, 0.2, 0.1, 0.1
    workers.HUNG_ENDS_WITHIN = 0.2
if plan == "unheard":
    logs.configure("text", "info", sys.stderr)

def work(number, tether):
    with book.open("a") as out:
        out.write(f"{number} {os.getpid()}\\n")
    first = book.read_text().count(f"{number} ") == 1
    if plan == "broken" and number == 1:
        return 7
    if plan == "mute" and number == 1:
        sys.stdout = open("/dev/full", "w")
        print("words for which there is no room")
        return 7
    tether.ready()
    if plan in ("dying", "poor", "unheard") and number == 1:
        time.sleep(0.05)
        return 3
    hanging = plan == "hanging" and first
    if plan in ("deaf", "slow") or (hanging and number == 1):
        signal.signal(signal.SIGTERM, lambda *_: None)
    if hanging and number == 1:
        sum(range(10**12))
    if hanging and number == 2:
        os.kill(os.getpid(), signal.SIGSTOP)
    while not (plan == "faithful" and tether.parent in __import__("select").select([tether.parent], [], [], 0.05)[0]):
        time.sleep(0.05)
        tether.beat()
    return 0

fork, forks, pipe, pipes = os.fork, [], os.pipe, []

def poor_pipe():
    pipes.append(1)
    if len(pipes) == 7:
        raise OSError(24, "Too many open files")
    return pipe()

def poor_fork():
    forks.append(1)
    if len(forks) in (3, 5):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    with book.open("a") as out:
        out.write(f"files {len(os.listdir('/proc/self/fd'))}\\n")
    return fork()

if plan == "poor":
    os.fork, os.pipe = poor_fork, poor_pipe

def changed(pids):
    if plan == "poor" and "all" in book.read_text():
        raise OSError(28, "No space left on device")
    with book.open("a") as out:
        out.write("all " + " ".join(map(str, pids)) + "\\n")

def told(number, news):
    with book.open("a") as out:
        out.write(f"{news.name} {number}\\n")

if plan == "slow":
    workers.STOP_WITHIN, workers.AGAIN_AFTER = 60.0, 0.0
sys.exit(workers.supervise(3 if plan == "hanging" else 2, work, changed, told, stopping=lambda: book.with_suffix(".stopping").touch()))
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
    assert said.count("cannot be started; it is tried again") >= 2
    assert "Too many open files" in said
    assert len({words[1] for words in lines(book, "files")[1:]}) == 1, "no file stays open in the parent"
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
    assert process.wait(20) == 1, "not a clean end"
    assert gone(book)
    assert "workers are killed" in book.with_suffix(".log").read_text()


def test_a_second_signal_ends_workers_at_once(tmp_path: Path) -> None:
    """Who stops it a second time has seen that the first takes too long."""
    book = tmp_path / "book"
    process = parent(book, "slow")
    wait_for(lambda: lines(book, "all"), "both workers")
    process.terminate()
    wait_for(book.with_suffix(".stopping").exists, "the stop")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1
    assert gone(book)
    assert "asked for a second time" in book.with_suffix(".log").read_text()


def test_workers_that_hang_are_ended_one_after_the_other_and_started_again(tmp_path: Path) -> None:
    """One computes and does not come back, one was stopped: told to end, then killed. The log says what they did, and where."""
    book = tmp_path / "book"
    process = parent(book, "hanging")
    wait_for(lambda: len(lines(book, "all")) == 3, "both restarts")
    assert len(lines(book, "0")) == 1, "it is left alone"
    told = [words for news in ("HANGS", "ENDED") for words in lines(book, news)]
    assert sorted(told) == [["ENDED", "1"], ["ENDED", "2"], ["HANGS", "1"], ["HANGS", "2"]]
    said = book.with_suffix(".log").read_text()
    hangs = {line.partition("worker=")[2][0]: line for line in said.splitlines() if "hangs and is ended" in line}
    assert "state=computing" in hangs["2"].replace("'", "")
    assert "in work" in hangs["2"]
    assert "stopped by a signal (SIGSTOP)" in hangs["3"]
    assert "it did not tell where it is" in hangs["3"]
    assert "it hung, see the lines before" in said
    process.terminate()
    assert process.wait(20) == 0
    assert gone(book)


def test_a_machine_that_was_paused_loses_no_worker(tmp_path: Path) -> None:
    """A laptop that slept, a virtual machine that was moved: all have stood still, so nobody hangs."""
    book = tmp_path / "book"
    process = parent(book, "fine")
    wait_for(lambda: lines(book, "all"), "both workers")
    everybody = [process.pid, *map(int, lines(book, "all")[0][1:])]
    for seconds in (0.05, 0.05, 1.1):  # twice for a moment, then beyond the limit
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + seconds
        wait_for(lambda until=until: time.monotonic() > until, "a while")
        for pid in reversed(everybody):
            os.kill(pid, signal.SIGCONT)
        until = time.monotonic() + 0.1  # a look or two of the parent
        wait_for(lambda until=until: time.monotonic() > until, "a while")
    assert process.poll() is None, "it goes on"
    assert not book.with_suffix(".stopping").exists()
    assert not lines(book, "HANGS")
    assert len(lines(book, "0")) == len(lines(book, "1")) == 1
    process.terminate()
    assert process.wait(20) == 0


def test_a_log_on_a_full_disk_does_not_end_the_workers(tmp_path: Path) -> None:
    """The parent, whose log cannot be written, starts what dies all the same."""
    book = tmp_path / "book"
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen([sys.executable, "-c", PARENT, str(book), "unheard"], stdout=full, stderr=full)
    wait_for(lambda: len(lines(book, "1")) >= 3, "the third start")
    assert len(lines(book, "0")) == 1
    process.terminate()
    assert process.wait(20) == 0
    wait_for(lambda: gone(book), "the end of all workers")


def test_a_worker_learns_that_its_parent_is_gone(tmp_path: Path) -> None:
    """kill -9 of the parent: nothing is left behind."""
    book = tmp_path / "book"
    process = parent(book, "faithful")
    wait_for(lambda: lines(book, "all"), "both workers")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    wait_for(lambda: gone(book), "the end of all workers")
