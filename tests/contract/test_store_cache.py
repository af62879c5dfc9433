"""What a store shows while units fail beside others: never less than what was told to be written, and in the end what is on the disk."""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from homeport.acs.records import StoredValue, TaskStatus
from homeport.acs.storage.interface import Conflict, TaskChange, ValuesChange
from homeport.acs.storage.sql.postgres import PostgresStore
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.errors import StoreError
from support.postgres import EMPTY, needs_postgres, shared_server
from support.store_rows import a_device, a_task, unit

ROUNDS = int(os.environ.get("HOMEPORT_TEST_CACHE_ROUNDS", "6"))
QUEUED = frozenset({TaskStatus.QUEUED})
NEVER = frozenset({TaskStatus.FAILED})


def test_a_unit_that_fails_does_not_hide_what_was_written_in_the_same_moment(tmp_path: Path) -> None:
    """The device is read between the end of the one and the commit of the other: what was read then does not stay."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db")
        await store.open()
        device = a_device()
        await store.commit(unit(devices=[device], tasks=[TaskChange(a_task(), None)]))
        assert store._writer is not None
        fails = asyncio.ensure_future(store.commit(unit(tasks=[TaskChange(a_task(), NEVER)])))
        while not store._writer._running:
            await asyncio.sleep(0)
        works = asyncio.ensure_future(store.commit(unit(patches=[(device.id, {"tags": ("kept",)})])))
        with pytest.raises(Conflict):
            await fails
        await store.device(device.id)
        await works
        found = await store.device(device.id)
        assert found is not None
        assert found.tags == ("kept",)
        await store.close()

    asyncio.run(scene())


def test_a_unit_that_cannot_be_put_into_rows_leaves_nothing_behind(tmp_path: Path) -> None:
    """Part of it was in the cache already: a task that is on no disk would be sent to the device."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db")
        await store.open()
        await store.commit(unit(devices=[a_device()]))
        device = a_device().id
        good, bad = a_task("good"), replace(a_task("bad"), args={"x": object()})
        with pytest.raises((StoreError, TypeError)):
            await store.commit(
                unit(tasks=[TaskChange(good, None), TaskChange(bad, None)], patches=[(device, {"model": "never"})])
            )
        assert await store.open_tasks(device) == ()
        found = await store.device(device)
        assert found is not None
        assert found.model == ""
        await store.close()

    asyncio.run(scene())


def test_what_a_failed_unit_was_to_write_reaches_the_disk_with_no_other(tmp_path: Path) -> None:
    """Whole rows are written: one that is made while the unit may still fail is made anew when it has failed."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db", write_behind=60)
        await store.open()
        ids = [a_device(f"S{n}").id for n in range(3)]
        await store.commit(unit(devices=[a_device(f"S{n}") for n in range(3)]))
        leak = {"Device.Leak": StoredValue("leak", updated=1.0)}
        fails = [
            store.commit(
                unit(
                    patches=[(id, {"model": "leak"})],
                    values=[ValuesChange(id, leak)],
                    tasks=[TaskChange(a_task("t", id), NEVER)],
                )
            )
            for id in ids
        ]
        jobs = [asyncio.ensure_future(job) for job in fails]
        await asyncio.sleep(0)
        kept = {"Device.Kept": StoredValue("kept", updated=2.0)}
        works = store.commit(unit(patches=[(ids[0], {"tags": ("kept",)})], values=[ValuesChange(ids[0], kept)]))
        jobs.append(asyncio.ensure_future(works))
        store.touch(ids[1], {"last_inform": 2.0}, kept)  # only told
        store.touch(ids[2], {"last_inform": 2.0, "address": "kept"}, kept)
        store._drain(store._working())
        assert [type(e) for e in await asyncio.gather(*jobs, return_exceptions=True)] == [*[Conflict] * 3, type(None)]
        for _ in range(2):
            found = [await store.device(id) for id in ids]
            assert [d.model for d in found if d is not None] == ["", "", ""]
            assert [d.last_inform for d in found if d is not None] == [0.0, 2.0, 2.0]
            assert (found[0].tags, found[2].address) == (("kept",), "kept")  # type: ignore[union-attr]
            for id in ids:
                assert await store.values(id) == kept
            await store.close()
            store = SqliteStore(tmp_path / "acs.db")
            await store.open()
        await store.close()

    asyncio.run(scene())


async def _play(store: Any, chance: random.Random) -> dict[str, Any]:
    """Units, good and bad, readings and touches on three devices, all at once; gives the tags that were last told to be written."""
    ids = [a_device(f"S{n}").id for n in range(3)]
    await store.commit(unit(devices=[a_device(f"S{n}") for n in range(3)]))
    acknowledged: dict[str, Any] = dict.fromkeys(ids, ())
    open_tasks: dict[str, str] = {}
    jobs: list[asyncio.Task[None]] = []

    async def commit(wish: Any, id: str, tags: Any, task: str) -> None:
        try:
            await store.commit(wish)
        except Conflict:
            return
        if tags is not None:
            acknowledged[id] = tags
        if task:
            open_tasks[task] = id

    for number in range(60):
        id = chance.choice(ids)
        made = unit()
        tags: Any = None
        task = ""
        kind = chance.random()
        if kind < 0.3:
            made.tasks.append(TaskChange(a_task(f"no{number}", id), NEVER))
            made.patches.append((id, {"model": f"leak{number}"}))
            made.values.append(ValuesChange(id, {f"Device.L{number}": StoredValue("leak")}))
        elif kind < 0.6:
            tags = (f"{number}",)
            made.patches.append((id, {"tags": tags}))
        elif kind < 0.7:
            task = f"t{number}"
            made.tasks.append(TaskChange(a_task(task, id), None))
        elif kind < 0.8:
            many = {f"Device.P{n}": StoredValue(f"{number}", updated=float(number)) for n in range(40)}
            made.values.append(ValuesChange(id, many))
        else:
            store.touch(id, {"last_inform": float(number)}, {"Device.T": StoredValue(f"{number}", updated=number)})
        if not made.empty:
            jobs.append(asyncio.create_task(commit(made, id, tags, task)))
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(chance.choice([0, 0, 0, 0.001]))
        found = await store.device(chance.choice(ids))
        assert found is not None
    await asyncio.gather(*jobs)
    for id in ids:
        found = await store.device(id)
        assert found.tags == acknowledged[id], "an acknowledged change is not shown"
        assert {t.id for t in await store.open_tasks(id)} == {t for t, owner in open_tasks.items() if owner == id}
    await store.flush()
    return {id: await _seen(store, id) for id in ids}


async def _seen(store: Any, id: str) -> Any:
    return await store.device(id), await store.open_tasks(id), await store.values(id), dict(await store.reported(id))


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, needs_postgres])])
def test_what_is_shown_is_what_is_on_the_disk_whatever_failed_beside_it(kind: str, tmp_path: Path) -> None:
    """Conflicts by the dozen among good units and touches: all that was acknowledged is there, and a new start shows the same."""
    url = shared_server().new_database() if kind == "postgres" else ""

    def store(seed: int) -> Any:
        return PostgresStore(url) if url else SqliteStore(tmp_path / f"{seed}.db", write_behind=0.005)

    async def scene(seed: int) -> None:
        first = store(seed)
        await first.open()
        if url:
            await first._link.fetch(EMPTY)
        shown = await _play(first, random.Random(seed))
        await first.close()
        again = store(seed)
        await again.open()
        assert {id: await _seen(again, id) for id in shown} == shown, f"seed {seed}"
        await again.close()

    for seed in range(ROUNDS if not url else max(1, ROUNDS // 5)):
        asyncio.run(scene(seed))
