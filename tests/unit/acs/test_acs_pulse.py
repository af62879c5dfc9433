"""When a worker counts as hanging, by a clock that the test turns."""

import os
import signal
import threading

import pytest

from homeport.acs.pulse import HUNG_AFTER, Beats, Doing, Silence, be_ready_to_tell, doing, stacks

TICK = 0.2


def silent(doing_what: Doing | None, seconds: float = HUNG_AFTER + 1.0) -> Silence:
    """A worker without a beat for so long that does this all the time."""
    silence = Silence(7)
    for _ in range(round(seconds / TICK)):
        silence.look(7, TICK, doing_what if silence.suspicious else None)
    return silence


@pytest.mark.parametrize("state", ["S", "D", "T"])
def test_a_worker_without_a_beat_hangs_after_the_limit(state: str) -> None:
    """Whether it waits, or was stopped; a second before it does not."""
    assert not silent(Doing(state, 5.0), HUNG_AFTER - 1.0).hangs
    assert silent(Doing(state, 5.0)).hangs


def test_a_worker_of_which_the_system_tells_nothing_hangs_by_the_clock_alone() -> None:
    """Not every system has /proc."""
    assert silent(None).hangs


def test_a_worker_that_computes_hangs_and_one_that_gets_no_processor_does_not() -> None:
    """On a busy machine it is the machine that is slow."""
    computing, starving = Silence(1), Silence(1)
    for n in range(200):
        computing.look(1, TICK, Doing("R", n * TICK))
        starving.look(1, TICK, Doing("R", n * 0.001))
    assert computing.hangs
    assert not starving.hangs


def test_a_worker_that_a_debugger_holds_does_not_hang() -> None:
    """Somebody is looking at it."""
    assert not silent(Doing("t", 5.0), 10 * HUNG_AFTER).hangs


def test_a_beat_begins_the_count_anew() -> None:
    """However late it came."""
    silence = silent(Doing("S", 5.0), HUNG_AFTER - 1.0)
    silence.look(8, TICK, Doing("S", 5.0))
    assert silence.seconds == 0.0
    silence.look(8, TICK, Doing("S", 5.0))
    assert silence.seconds == TICK


def test_time_in_which_the_parent_stood_still_does_not_count() -> None:
    """A machine that slept for an hour, ten times."""
    silence = Silence(1)
    for _ in range(10):
        silence.look(1, 3_600.0, None)
    assert not silence.hangs


def test_who_may_have_waited_for_another_gets_more_time() -> None:
    """And hangs after that; who was not silent for long gets none."""
    silence = silent(Doing("S", 5.0))
    silence.spare(5.0)
    assert silence.seconds == HUNG_AFTER - 5.0
    silence.seconds = 3.0
    silence.spare(5.0)
    assert silence.seconds == 3.0


def test_a_process_tells_what_it_does_and_where_even_where_no_python_runs() -> None:
    """Its threads' stacks come over a pipe; of one that is stopped only the kernel tells."""
    reading, writing = os.pipe()
    beats = Beats(2)
    pid = os.fork()
    if pid == 0:
        be_ready_to_tell(writing)
        beats.beat(1)
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    try:
        while not beats.count(1):
            pass
        told = stacks(pid, reading)
        assert "in test_a_process_tells_what_it_does" in told
        now = doing(pid)
        assert now is not None
        assert now.words() == "waiting for something that does not come"
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        now = doing(pid)
        assert now is not None
        assert now.words() == "stopped by a signal (SIGSTOP)"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
    assert beats.count(0) == 0
    assert doing(pid) is None
