"""The bound on devices that nobody has approved."""

import asyncio

import pytest

from homeport.acs.records import DeviceState
from homeport.acs.services.newcomers import LOOKED_AGAIN, TRUSTED_FOR, Newcomers, NoRoom
from homeport.acs.storage.memory import MemoryStore
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


async def come(newcomers: Newcomers, store: MemoryStore, serial: str) -> None:
    device = a_device(serial, state=DeviceState.QUARANTINED)
    async with newcomers.one(device.id, "192.0.2.1"):
        await store.commit(unit(devices=[device]))


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
                async with newcomers.one(f"S{n}", ""):
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


def test_without_a_bound_nothing_is_counted() -> None:
    """0 in the settings, and the modes in which no stranger waits."""

    async def scene() -> None:
        store = Counting()
        newcomers = Newcomers(store, 0, clock=Time())
        await come(newcomers, store, "S1")
        assert store.asked == 0 and await newcomers.notice() is None

    asyncio.run(scene())
