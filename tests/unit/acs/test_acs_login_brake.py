"""The brake on guessing devices' passwords."""

import asyncio

from homeport.acs.endpoint.claims import claimed_id
from homeport.acs.services.brake import PER_ADDRESS, LoginBrake
from homeport.acs.services.shares import Board


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def guesses(
    brake: LoginBrake, time: Time, lanes: int = 1, *, seconds: float, tries: int = 7, name: str = "boot"
) -> int:
    """How many guesses at a name are looked at, of so many tries in each second from each of so many addresses."""
    looked_at, ends = 0, time.now + seconds
    while time.now < ends:
        for n in range(lanes):
            lane = brake.lane(f"198.51.{n // 250}.{n % 250}", name)
            for _ in range(tries):
                wait = brake.turn(lane)
                if wait == 0.0:
                    brake.failed(lane)
                looked_at += wait is not None
        time.now += 1.0
    return looked_at


def test_however_many_come_no_more_than_the_limit_are_looked_at_in_a_minute() -> None:
    """The first of them at once, then one after the other; three wait for their turn."""
    for tries in (7, 70):
        time = Time()
        brake = LoginBrake(20, 100, clock=time)
        assert 20 * 10 <= guesses(brake, time, seconds=600.0, tries=tries) <= 20 * 11 + 3


def test_one_name_has_its_limit_from_all_addresses_together() -> None:
    """Ten times that of one address, whoever has a thousand of them."""
    time = Time()
    brake = LoginBrake(20, 100, clock=time)
    looked_at = guesses(brake, time, 500, seconds=120.0, tries=1)
    assert looked_at <= PER_ADDRESS * 20 * 3 + 30
    assert brake.wait(brake.lane("203.0.113.1", "boot")) > 0.0
    assert brake.wait(brake.lane("203.0.113.1", "other")) == 0.0


def test_a_known_device_is_kept_out_by_no_guess_from_elsewhere() -> None:
    """At the address where it was last, and with a new one of the same network; a stranger from there waits as everybody."""
    time = Time()
    brake = LoginBrake(20, 100, clock=time)
    guesses(brake, time, 500, seconds=30.0, tries=1)
    assert brake.wait(brake.lane("203.0.113.1", "boot", known_at="203.0.113.1")) == 0.0
    assert brake.wait(brake.lane("203.0.113.1", "boot", known_at="203.0.7.7")) == 0.0
    assert brake.wait(brake.lane("203.0.113.1", "boot", known_at="192.0.2.1")) > 0.0
    assert brake.wait(brake.lane("203.0.113.1", "boot")) > 0.0
    here = brake.lane("2001:db8:1:2::5", "boot", known_at="2001:db8:1:2::9")
    assert here == brake.lane("2001:db8:1:2::7", "boot", known_at="2001:db8:1:2::9") and len(here) == 1
    assert len(brake.lane("2001:db8:7::5", "boot", known_at="2001:db8:1:2::9")) == 3


def test_behind_one_nat_each_known_device_has_turns_of_its_own() -> None:
    """Also where they share the login that is guessed from behind it; by naming one of them a guesser gets a tenth of the limit."""
    time = Time()
    brake = LoginBrake(20, 100, clock=time)
    nat = "198.51.0.0"
    guesses(brake, time, seconds=60.0)
    lanes = [brake.lane(nat, "boot", known_at=nat, device=f"D{n}") for n in range(300)]
    for lane in lanes:
        assert brake.turn(lane) == 0.0
    for _ in range(2):
        assert brake.turn(lanes[7]) == 0.0
        brake.failed(lanes[7])
    assert brake.turn(lanes[7]) is None and brake.turn(lanes[8]) == 0.0
    for lane in lanes[100:]:
        brake.failed(lane)
    assert brake.wait(lanes[8]) > 0.0, "all of them together have the limit of an address"


def test_a_right_login_uses_nothing_up() -> None:
    """One that waited for its turn was counted before it was looked at, and is not any more."""
    time = Time()
    brake = LoginBrake(20, 100, clock=time)
    lane = brake.lane("192.0.2.1", "boot")
    for _ in range(20):
        brake.failed(lane)
    wait = brake.turn(lane)
    assert wait == 3.0 and brake.wait(lane) == 6.0
    time.now += wait
    brake.forgive(lane)
    assert brake.wait(lane) == 0.0
    assert brake.turn(lane) == 0.0


def test_it_is_over_when_it_is_over() -> None:
    """A minute after the last one too many, or after one that was sent away; a turn is free as soon as nobody else wants it."""
    time = Time()
    brake = LoginBrake(20, 100, clock=time)
    assert not brake.engaged
    guesses(brake, time, seconds=30.0)
    assert brake.engaged
    time.now += 13.0
    assert brake.wait(brake.lane("198.51.0.0", "boot")) == 0.0
    time.now += 47.0
    assert not brake.engaged


def test_one_address_with_many_names_is_braked_too() -> None:
    """Ten times as many: one password is tried with every name. Of IPv6 the /64 counts."""
    brake = LoginBrake(3, 10, clock=Time())
    for n in range(3 * PER_ADDRESS):
        assert brake.wait(brake.lane("2001:db8::ffff", "never tried")) == 0.0
        brake.failed(brake.lane(f"2001:db8::{n:x}", f"user{n}"))
    assert brake.wait(brake.lane("2001:db8::ffff", "never tried")) > 0.0
    assert brake.wait(brake.lane("2001:db8:0:1::1", "never tried")) == 0.0


def test_a_few_in_each_minute_are_no_guessing() -> None:
    """A device with an old password goes on for ever, and is challenged each time."""
    time = Time()
    brake = LoginBrake(3, 10, clock=time)
    for _ in range(50):
        brake.failed(brake.lane("192.0.2.1", "boot"))
        time.now += 21.0
        assert not brake.engaged


def test_a_flood_of_names_keeps_no_memory_and_the_worst_are_not_forgotten() -> None:
    """The places are as many as they are; a place of many failures is not given to one of few."""
    brake = LoginBrake(5, 10, clock=Time())
    for _ in range(6):
        brake.failed(brake.lane("192.0.2.1", "boot"))
    for n in range(3_000):
        brake.failed(brake.lane(f"198.51.{n // 250}.{n % 250}", f"x{n}"))
    assert brake.wait(brake.lane("192.0.2.1", "boot")) > 0.0


def test_workers_count_together() -> None:
    """Each gets some of the guesses."""
    board, time = Board(2, 1), Time()
    one, two = (LoginBrake(3, 10, cells=board.logins, clock=time) for _ in range(2))
    lane = one.lane("192.0.2.1", "boot")
    for brake in (one, two, one):
        brake.failed(lane)
    assert one.engaged and two.engaged and one.turn(lane) is None and two.turn(lane) is None
    board.close()


def test_without_a_limit_nothing_is_counted() -> None:
    """0 in the settings."""
    brake = LoginBrake(0, 10, clock=Time())
    for _ in range(100):
        brake.failed(brake.lane("192.0.2.1", "boot"))
    assert not brake.engaged


def test_who_hangs_up_is_not_told_and_keeps_no_place() -> None:
    """Else a guesser would know by the silence. Where all places are taken nobody gets a turn that he would have to wait for."""

    async def scene() -> None:
        brake = LoginBrake(20, 1, clock=Time())
        lane = brake.lane("192.0.2.1", "boot")
        for _ in range(20):
            brake.failed(lane)
        assert brake.turn(lane) == 3.0
        held = asyncio.create_task(brake.hold("192.0.2.1", 1, 60.0))
        await asyncio.sleep(0)
        assert brake.turn(lane) is None, "there is no place for another"
        await brake.delay("192.0.2.1", 2)
        brake.gone("192.0.2.1", 9)
        brake.gone("192.0.2.1", 1)
        assert await held is False and not brake._held and not brake._waiting
        held = asyncio.create_task(brake.hold("192.0.2.1", 0, 60.0))
        await asyncio.sleep(0)
        brake.end()
        assert await held is False, "a stop waits for nobody who is held"

    asyncio.run(scene())


def test_a_quick_look_tells_which_device_an_inform_seems_to_be_of() -> None:
    """Nothing is parsed for it, and where it is in doubt nothing is told."""
    inform = (
        b"<x:Inform><DeviceId><Manufacturer>M</Manufacturer><OUI>00D0F1</OUI>%s<SerialNumber a='1'> S-1 </SerialNumber>"
    )
    assert claimed_id(inform % b"<ProductClass>X</ProductClass>") == "00D0F1-X-S%2D1"
    assert claimed_id(inform % b"<ProductClass/>") == claimed_id(inform % b"") == "00D0F1-S%2D1"
    hostile = (
        b"<OUI>" + b" " * 5_000,
        b"<OUI " * 900,
        b"<OUI>" + b"<SerialNumber>" * 300,
        b"<OUI>&lt;<SerialNumber>a&b<",
    )
    assert [claimed_id(body) for body in hostile] == [""] * 4
    assert claimed_id(b"") == claimed_id(inform[:60]) == claimed_id(b"\xff" * 5_000) == ""
