"""The brake on guessing devices' passwords."""

import asyncio

from homeport.acs.services.brake import PER_ADDRESS, LoginBrake
from homeport.acs.services.shares import Board


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_the_name_at_the_address_is_braked_and_nobody_else() -> None:
    """Another name from there, and the same name from elsewhere, go on; it is over a minute after the last one too many."""
    time = Time()
    brake = LoginBrake(3, 10, clock=time)
    for _ in range(3):
        brake.failed("192.0.2.1", "boot")
    assert not brake.engaged and not brake.over("192.0.2.1", "boot")
    brake.failed("192.0.2.1", "boot")
    assert brake.engaged and brake.over("192.0.2.1", "boot")
    assert not brake.over("192.0.2.1", "other") and not brake.over("192.0.2.2", "boot")
    time.now += 59.0
    brake.failed("192.0.2.1", "boot")
    time.now += 59.0
    assert brake.over("192.0.2.1", "boot")
    time.now += 2.0
    assert not brake.over("192.0.2.1", "boot") and not brake.engaged


def test_one_address_with_many_names_is_braked_too() -> None:
    """Ten times as many: one password is tried with every name. Of IPv6 the /64 counts."""
    brake = LoginBrake(3, 10, clock=Time())
    for n in range(3 * PER_ADDRESS + 1):
        brake.failed(f"2001:db8::{n:x}", f"user{n}")
    assert brake.over("2001:db8::ffff", "never tried")
    assert not brake.over("2001:db8:0:1::1", "never tried")


def test_a_few_in_each_minute_are_no_guessing() -> None:
    """A device with an old password goes on for ever, and is challenged each time."""
    time = Time()
    brake = LoginBrake(3, 10, clock=time)
    for _ in range(50):
        brake.failed("192.0.2.1", "boot")
        time.now += 21.0
        assert not brake.engaged


def test_a_flood_of_names_keeps_no_memory_and_the_worst_are_not_forgotten() -> None:
    """The places are as many as they are; a place of many failures is not given to one of few."""
    brake = LoginBrake(5, 10, clock=Time())
    for _ in range(6):
        brake.failed("192.0.2.1", "boot")
    for n in range(3_000):
        brake.failed(f"198.51.{n // 250}.{n % 250}", "x")
    assert brake.over("192.0.2.1", "boot")


def test_workers_count_together() -> None:
    """Each gets some of the guesses."""
    board, time = Board(2, 1), Time()
    one, two = (LoginBrake(3, 10, cells=board.logins, clock=time) for _ in range(2))
    for brake in (one, two, one, two):
        brake.failed("192.0.2.1", "boot")
    assert one.over("192.0.2.1", "boot") and two.over("192.0.2.1", "boot")
    board.close()


def test_without_a_limit_nothing_is_counted() -> None:
    """0 in the settings."""
    brake = LoginBrake(0, 10, clock=Time())
    for _ in range(100):
        brake.failed("192.0.2.1", "boot")
    assert not brake.engaged


def test_who_hangs_up_is_not_told_and_keeps_no_place() -> None:
    """Else a guesser would not wait, and would know by the silence; more than there are places for are not held, and not refused."""

    async def scene() -> None:
        brake = LoginBrake(3, 1)
        brake.held_for = 60.0
        held = asyncio.create_task(brake.hold("192.0.2.1", 1))
        await asyncio.sleep(0)
        assert await brake.hold("192.0.2.1", 2), "there is no place for another"
        brake.gone("192.0.2.1", 9)
        brake.gone("192.0.2.1", 1)
        assert await held is False and not brake._held
        held = asyncio.create_task(brake.hold("192.0.2.1", 1))
        await asyncio.sleep(0)
        brake.end()
        assert await held is False and await brake.hold("192.0.2.1", 2), "a stop waits for nobody who is held"

    asyncio.run(scene())
