"""By a clock that has jumped nothing ends before its time. Both clocks are the test's."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from homeport.acs.records import Document
from homeport.acs.services.timekeeper import JUMP, KIND, NAME, STANDSTILL, Timekeeper, uptime
from homeport.acs.storage.interface import DocumentChange, UnitOfWork
from homeport.acs.storage.memory import MemoryStore

DAY, YEAR = 86_400.0, 365 * 86_400.0
START = 1_800_000_000.0


class Machine:
    """A clock that somebody sets, and one that only goes on."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.day, self.up = START, 50.0

    def keeper(self, patience: float = DAY) -> Timekeeper:
        return Timekeeper(self.store, lambda: self.day, lambda: self.up, patience)

    def pass_by(self, seconds: float) -> None:
        self.day += seconds
        self.up += seconds

    def restarted(self, seconds: float, patience: float = DAY) -> Timekeeper:
        """The keeper after the machine was off for so long: what counts its seconds begins anew."""
        self.day += seconds
        self.up = 1.0
        made = self.keeper(patience)
        run(made.recall())
        return made


def run(scene: Coroutine[Any, Any, Any]) -> None:
    asyncio.run(scene)


@pytest.mark.parametrize("step", [0.5, -0.5, 3_600.0, -3_600.0, JUMP])
def test_a_clock_that_is_set_a_little_is_believed(step: float) -> None:
    """Summer time that was entered by hand, or a clock that nobody has set for months."""
    machine = Machine()
    keeper = machine.keeper()
    for _ in range(3):
        machine.pass_by(40 * DAY)
        machine.day += step
        assert keeper.sure() == machine.day
    assert keeper.trouble is None


def test_a_minute_in_another_century_ends_nothing() -> None:
    """The time goes on from where it was; when the clock is right again, it counts again."""
    machine = Machine()
    keeper = machine.keeper()
    machine.pass_by(10.0)
    keeper.sure()
    machine.day += 73 * YEAR
    machine.pass_by(60.0)
    assert keeper.sure() == START + 70.0
    assert keeper.ahead == 73 * YEAR
    assert "days ahead of what it can be" in str(keeper.trouble)
    machine.day -= 73 * YEAR
    machine.pass_by(5.0)
    assert keeper.sure() == machine.day == START + 75.0
    assert (keeper.ahead, keeper.trouble) == (0.0, None)


def test_a_clock_that_stays_is_believed_in_the_end() -> None:
    """After the patience, counted from the jump, whatever it told meanwhile."""
    machine = Machine()
    keeper = machine.keeper()
    machine.day += YEAR
    keeper.sure()
    machine.pass_by(DAY - 1)
    assert keeper.sure() < machine.day
    machine.pass_by(1)
    assert keeper.sure() == machine.day
    machine.pass_by(40 * DAY)
    assert keeper.sure() == machine.day


def test_a_clock_that_was_put_back_holds_nothing_up_when_it_is_right_again() -> None:
    """It tells the earlier time meanwhile, by which nothing ends too soon."""
    machine = Machine()
    keeper = machine.keeper()
    machine.day -= 50 * YEAR
    machine.pass_by(60.0)
    assert keeper.sure() == machine.day
    assert keeper.trouble is None
    machine.day += 50 * YEAR
    assert keeper.sure() == START + 60.0 == machine.day


def test_a_jump_is_noticed_over_a_restart_and_its_doubt_goes_on() -> None:
    """The last time that was believed is in the database; so is for how long a clock is doubted that has jumped."""
    machine = Machine()
    run(machine.keeper().note())
    keeper = machine.restarted(12 * 3_600.0)
    assert keeper.sure() == machine.day
    run(keeper.note())
    believed = machine.day
    keeper = machine.restarted(0.0)
    machine.day += YEAR
    assert keeper.sure() == believed
    machine.pass_by(0.75 * DAY)
    run(keeper.note())
    keeper = machine.restarted(1.0)
    machine.pass_by(0.2 * DAY)
    assert keeper.sure() == pytest.approx(believed + 0.95 * DAY)
    machine.pass_by(0.1 * DAY)
    assert keeper.sure() == machine.day
    run(keeper.note())
    assert machine.restarted(1.0).sure() == machine.day


def test_an_acs_that_stood_still_for_long_doubts_its_clock_for_an_hour() -> None:
    """Nobody is alarmed: he knows that it did. By then the clock is set right, where it was wrong."""
    machine = Machine()
    run(machine.keeper().note())
    keeper = machine.restarted(14 * DAY)
    assert keeper.sure() == START
    assert (keeper.ahead, keeper.trouble) == (14 * DAY, None)
    machine.pass_by(STANDSTILL / 2)
    run(keeper.note())
    keeper = machine.restarted(1.0)
    machine.pass_by(STANDSTILL / 2 - 1)
    assert keeper.sure() == pytest.approx(START + STANDSTILL - 1, abs=2)
    machine.pass_by(1)
    assert keeper.sure() == machine.day


def test_a_machine_that_forgets_the_time_is_believed_when_it_has_it_again() -> None:
    """It starts in 1970, with what it knew before in the database; another restart in between changes nothing."""
    machine = Machine()
    run(machine.keeper().note())
    keeper = machine.restarted(-START)
    assert keeper.sure() == machine.day
    run(keeper.note())
    keeper = machine.restarted(1.0)
    machine.day = START + 100.0
    assert keeper.sure() == machine.day
    assert keeper.trouble is None


def test_who_believes_at_once_is_not_held_up() -> None:
    """`clock_doubt` 0; and a note that cannot be read is none."""
    machine = Machine()
    run(machine.keeper().note())
    assert machine.restarted(YEAR, 0.0).sure() == machine.day
    unit = UnitOfWork()
    unit.documents.append(DocumentChange(Document(KIND, NAME, b"\xc1")))
    run(machine.store.commit(unit))
    assert machine.restarted(YEAR).sure() == machine.day


def test_the_machine_s_own_clock_goes_on() -> None:
    """And is the same kind of second."""
    assert 0.0 <= uptime() - uptime() + 1.0 <= 1.0
