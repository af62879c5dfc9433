"""The bound on devices that nobody has approved."""

import asyncio

import pytest

from homeport.acs.records import DeviceState
from homeport.acs.services.newcomers import LOOKED_AGAIN, TRUSTED_FOR, Newcomers, NoRoom, NoShare
from homeport.acs.storage.memory import MemoryStore
from homeport.http.forwarded import TrustedProxies
from support.store_rows import a_device, unit


class Counting(MemoryStore):
    """A store that knows how often it was asked."""

    asked = 0

    async def unapproved_count(self, limit: int) -> int:
        self.asked += 1
        return await super().unapproved_count(limit)


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def come(newcomers: Newcomers, store: MemoryStore, serial: str, address: str = "") -> None:
    """A stranger comes, with an address of its own where none is given."""
    address = address or serial
    device = a_device(serial, state=DeviceState.QUARANTINED, address=address)
    async with newcomers.one(device.id, address):
        await store.commit(unit(devices=[device]))


async def flood(newcomers: Newcomers, store: MemoryStore, time: Time, *addresses: str, most: int = 300) -> list[int]:
    """How many got in, of each address, while all come again and again."""
    inside = [0] * len(addresses)
    for n in range(most):
        for place, address in enumerate(addresses):
            try:
                await come(newcomers, store, f"{address}-{n}", address)
                inside[place] += 1
            except NoRoom:
                time.now += 0.1
    return inside


def test_strangers_are_stored_up_to_the_bound_and_again_after_cleaning_up() -> None:
    """What was deleted makes room within a second."""

    async def scene() -> None:
        store, time = MemoryStore(), Time()
        newcomers = Newcomers(store, 3, clock=time)
        for n in range(3):
            await come(newcomers, store, f"S{n}")
        with pytest.raises(NoRoom):
            await come(newcomers, store, "S3")
        assert await newcomers.full() and await store.device_count() == 3
        assert "homeport device forget" in (await newcomers.notice() or "")
        await store.commit(unit(deleted_devices=["00D0F1-X-S0"]))
        time.now += LOOKED_AGAIN
        await come(newcomers, store, "S3")
        assert newcomers.refused == 1

    asyncio.run(scene())


def test_several_processes_that_are_flooded_at_once_hardly_exceed_the_bound() -> None:
    """Each counts on its own; all fill up at the same time."""

    async def scene() -> None:
        store, time = Counting(), Time()
        nodes = [Newcomers(store, 500, clock=time) for _ in range(8)]
        for n in range(2_000):
            try:
                await come(nodes[n % 8], store, f"S{n}")
            except NoRoom:
                time.now += 0.001
        assert 500 <= await store.device_count() <= 508

    asyncio.run(scene())


def test_those_who_come_at_once_are_counted_before_they_are_on_the_disk() -> None:
    """A group commit holds many newcomers: none of them can be seen by the others' count."""

    async def scene() -> None:
        store = MemoryStore()
        newcomers = Newcomers(store, 5, clock=Time())
        written = asyncio.Event()

        async def one(n: int) -> bool:
            try:
                async with newcomers.one(f"S{n}", f"S{n}"):
                    await written.wait()
                    await store.commit(unit(devices=[a_device(f"S{n}", state=DeviceState.QUARANTINED)]))
            except NoRoom:
                return False
            return True

        jobs = [asyncio.create_task(one(n)) for n in range(20)]
        await asyncio.sleep(0)
        written.set()
        assert sum(await asyncio.gather(*jobs)) == 5

    asyncio.run(scene())


def test_a_flood_is_not_a_flood_of_counts() -> None:
    """While there is room, and while there is none, the database is asked seldom."""

    async def scene() -> None:
        store, time = Counting(), Time()
        await store.commit(unit(devices=[a_device(f"S{n}", state=DeviceState.QUARANTINED) for n in range(50)]))
        newcomers = Newcomers(store, 50, clock=time)
        for n in range(1_000):
            with pytest.raises(NoRoom):
                await come(newcomers, store, f"T{n}")
        assert store.asked == 1
        roomy = Newcomers(store, 100_000, clock=time)
        for n in range(300):
            await come(roomy, store, f"U{n}")
        assert store.asked == 2
        time.now += TRUSTED_FOR
        await roomy.full()
        assert store.asked == 3

    asyncio.run(scene())


def test_one_address_gets_half_of_the_room_and_several_leave_as_much_as_each_has() -> None:
    """A stranger never keeps newcomers of other addresses out, however long he comes; after a restart what the database holds counts."""

    async def scene() -> None:
        store, time = MemoryStore(), Time()
        assert await flood(Newcomers(store, 100, clock=time), store, time, "192.0.2.1") == [50]
        again = Newcomers(store, 100, clock=time)
        with pytest.raises(NoShare):
            await come(again, store, "one more", "192.0.2.1")
        assert "trusted_proxies" in (await again.notice() or "")
        for n in range(3):
            await come(again, store, f"T{n}", f"198.51.100.{n}")
        assert again.refused == 1
        store, fresh = MemoryStore(), Time()
        inside = await flood(Newcomers(store, 100, clock=fresh), store, fresh, "192.0.2.1", "192.0.2.2", "192.0.2.3")
        assert sum(inside) <= 76 and all(24 <= n <= 26 for n in inside)

    asyncio.run(scene())


def test_of_ipv6_the_64_and_the_48_have_a_share() -> None:
    """Whoever has a /48 has 65,536 networks, and may use another address for each device."""

    async def scene() -> None:
        store, time = MemoryStore(), Time()
        newcomers, inside = Newcomers(store, 60, clock=time), 0
        for n in range(200):
            try:
                await come(newcomers, store, f"S{n}", f"2001:db8:1:{n:x}::1")
                inside += 1
            except NoShare:
                time.now += 0.1
        assert inside == 30
        await come(newcomers, store, "other", "2001:db8:2::1")

    asyncio.run(scene())


def test_a_load_balancer_that_tells_no_address_has_no_share() -> None:
    """Everybody is behind it: only the bound counts."""

    async def scene() -> None:
        store, time = MemoryStore(), Time()
        newcomers = Newcomers(store, 40, proxies=TrustedProxies(["192.0.2.0/28"]), clock=time)
        assert await flood(newcomers, store, time, "192.0.2.1", most=60) == [40]

    asyncio.run(scene())


def test_what_is_on_its_way_to_the_disk_counts_in_its_share() -> None:
    """Those who come at once cannot be seen by the count in the database."""

    async def scene() -> None:
        store = MemoryStore()
        newcomers = Newcomers(store, 40, clock=Time())
        written = asyncio.Event()

        async def one(n: int) -> bool:
            try:
                async with newcomers.one(f"S{n}", "192.0.2.1"):
                    await written.wait()
            except NoShare:
                return False
            return True

        jobs = [asyncio.create_task(one(n)) for n in range(60)]
        await asyncio.sleep(0)
        written.set()
        assert sum(await asyncio.gather(*jobs)) == 20
        assert not newcomers._flying_from

    asyncio.run(scene())


def test_without_a_bound_nothing_is_counted() -> None:
    """0 in the settings, and the modes in which no stranger waits."""

    async def scene() -> None:
        store = Counting()
        newcomers = Newcomers(store, 0, clock=Time())
        await come(newcomers, store, "S1")
        assert store.asked == 0 and await newcomers.notice() is None

    asyncio.run(scene())
