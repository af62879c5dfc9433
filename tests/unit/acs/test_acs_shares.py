"""What workers of one machine have in common: slots, sums, failed logins, a rate."""

import os
import signal

import pytest

from homeport.acs.files.limits import Pace
from homeport.acs.services.shares import MOST_CALLS, SESSIONS, Board, CountedSet, WorkerState
from homeport.acs.services.users import Throttle


def test_slots_are_there_once_for_all_workers() -> None:
    """The last one goes to one worker, a key has no more than its own number, and what is given back is there for all."""
    board = Board(2, 3)
    one, two = (board.slots("transfers", n, most_per_key=2) for n in (0, 1))
    assert [one.take("a"), two.take("a"), one.take("a"), two.take("b"), one.take("c")] == [
        True,
        True,
        False,
        True,
        False,
    ]
    two.free("a")
    assert one.take("c")
    one.free("never taken")
    assert not two.take("d")
    board.close()


def test_what_a_dead_worker_had_is_free() -> None:
    """Its slots and its share of the sums; what the other has stays."""
    board = Board(2, 2)
    dead, living = (board.slots("transfers", n, most_per_key=9) for n in (0, 1))
    assert dead.take("a") and living.take("b")
    sessions = [board.tally(SESSIONS, n) for n in (0, 1)]
    sessions[0].tell(5)
    sessions[1].tell(7)
    assert (sessions[0].others(), sessions[1].others(), sessions[0].all()) == (7, 5, 12)
    board.started(0)
    board.started(1)
    board.died(0)
    assert board.states() == [WorkerState(False, 1), WorkerState(True, 1)]
    assert sessions[1].others() == 0
    assert [living.take("c"), living.take("d")] == [True, False]
    board.close()


def test_a_worker_that_is_killed_while_it_takes_or_gives_back_a_slot_leaves_nothing_of_it() -> None:
    """At whichever of the two writes: neither the slot is lost nor does its key stay counted."""
    for action in ("take", "free"):
        board = Board(2, 1)
        dying, living = (board.slots("transfers", n, most_per_key=1) for n in (0, 1))
        if action == "free":
            assert dying.take("a")
        writes = Writes()
        dying._owners, dying._keys = (Cells(cells, writes) for cells in (dying._owners, dying._keys))  # type: ignore[assignment]
        with pytest.raises(Killed):
            getattr(dying, action)("a")
        board.died(0)
        assert living.take("a")
        board.close()


def test_the_parent_waits_for_no_lock_that_a_hanging_worker_may_have() -> None:
    """Else it would watch over nobody any more."""
    board = Board(2, 1)
    assert board.slots("transfers", 0, most_per_key=1).take("a")
    reading, writing = os.pipe()
    gone, here = os.pipe()
    holder = os.fork()
    if holder == 0:
        os.close(here)
        with board.lock:
            os.write(writing, b"!")
            os.read(gone, 1)  # until the test is over, however it ends
            os._exit(0)
    os.read(reading, 1)
    signal.alarm(10)  # where it waits this ends the test
    try:
        board.died(0)
    finally:
        signal.alarm(0)
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    assert board.slots("transfers", 1, most_per_key=1).take("a")
    board.close()


class Killed(Exception):
    """In place of SIGKILL."""


class Writes:
    """How many there were."""

    count = 0


class Cells:
    """Cells whose user is killed after the first write."""

    def __init__(self, cells: "memoryview[int]", writes: Writes) -> None:
        self._cells = cells
        self._writes = writes

    def tolist(self) -> list[int]:
        return self._cells.tolist()

    def __setitem__(self, place: int, value: int) -> None:
        if self._writes.count:
            raise Killed
        self._writes.count += 1
        self._cells[place] = value


def test_processes_take_each_slot_once() -> None:
    """Four processes that take as fast as they can: as many slots as there are, none twice."""
    board = Board(4, 1)
    readers = []
    for number in range(4):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            calls = board.slots("calls", number, most_per_key=1)
            got = sum(calls.take(f"device {n}") for n in range(MOST_CALLS))
            os.write(writing, got.to_bytes(2))
            os._exit(0)
        os.close(writing)
        readers.append((pid, reading))
    counts = []
    for pid, reading in readers:
        counts.append(int.from_bytes(os.read(reading, 2)))
        os.close(reading)
        os.waitpid(pid, 0)
    assert sum(counts) == MOST_CALLS
    board.close()


def test_failed_logins_count_wherever_they_come() -> None:
    """The fourth waits at any worker; a success forgets; the oldest entry makes room for a new one."""
    board = Board(2, 1)
    one, two = (Throttle(board.failures, board.lock) for _ in range(2))
    assert [x.attempt(("name a",), 100.0) for x in (one, two, one)] == [0.0] * 3
    assert two.attempt(("name a",), 100.0) > 0
    two.succeeded(("name a",))
    assert one.attempt(("name a",), 100.0) == 0.0
    for n in range(1_100):
        one.attempt((f"name {n}",), 200.0 + n)
    assert len(board.failures) == 1_024
    board.close()


def test_one_rate_is_spent_by_all() -> None:
    """Each waits for what the others have sent, too."""
    board = Board(2, 1)
    now = 50.0
    one, two = (Pace(1_000, lambda: now, board.free_at, board.lock) for _ in range(2))
    assert one.wait(1_000) == 0.75
    assert two.wait(1_000) == 1.75
    board.close()


def test_a_counted_set_tells_its_size() -> None:
    """Whatever is added twice counts once, and what is not there cannot go."""
    board = Board(2, 1)
    kept, other = CountedSet(board.tally(SESSIONS, 0)), board.tally(SESSIONS, 1)
    for element in (1, 2, 2):
        kept.add(element)
    kept.discard(9)
    assert other.others() == 2
    kept.discard(1)
    assert other.others() == 1
    board.close()
