"""Thousands of values in one change: prepared before they are written, and kept as any others."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from homeport.acs.records import StoredValue, TaskStatus
from homeport.acs.storage.interface import Page, Store, TaskChange, TaskFilter, UnitOfWork, ValuesChange
from homeport.acs.storage.memory import MemoryStore
from homeport.acs.storage.sql import postgres, sqlite
from homeport.acs.where import parse
from homeport.codec.messages import ParameterValueStruct
from support.store_rows import Run, a_device, a_task, unit

MANY = 5_200


def changed(prefix: str, at: float, count: int = MANY) -> dict[str, StoredValue]:
    return {f"Device.{prefix}.{i}.X": StoredValue(f"{prefix}{i}", "string", None, at) for i in range(count)}


def a_unit(change: ValuesChange) -> UnitOfWork:
    return unit(values=[change])


def test_a_long_change_is_kept(store: Store, run: Run) -> None:
    """Alone, over what is known, with what is gone, and a short one behind it; also what is read of a part of the tree."""
    device = a_device()
    run(store.commit(unit(devices=[device])))
    run(store.commit(a_unit(ValuesChange(device.id, changed("A", 1.0)))))
    assert run(store.values(device.id)) == dict(sorted(changed("A", 1.0).items()))
    run(store.commit(a_unit(ValuesChange(device.id, changed("B", 2.0), ("Device.A.17.", "Device.A.18.X")))))
    found = run(store.values(device.id, "Device.A."))
    assert len(found) == MANY - 2
    store.touch(device.id, {"last_inform": 3.0}, {"Device.B.1.X": StoredValue("told", "string", None, 3.0)})
    run(store.commit(a_unit(ValuesChange(device.id, changed("B", 4.0, 100)))))
    found = run(store.values(device.id))
    assert list(found) == sorted(found)
    assert (len(found), found["Device.B.1.X"].value, found["Device.B.5199.X"].updated) == (2 * MANY - 2, "B1", 2.0)


def test_long_changes_of_one_device_at_once_are_all_kept(store: Store, run: Run) -> None:
    """They are prepared from the same beginning; whichever comes second is merged with the first."""
    device = a_device()
    run(store.commit(unit(devices=[device])))

    async def both() -> None:
        units = [a_unit(ValuesChange(device.id, changed(prefix, 1.0))) for prefix in "ABC"]
        short = a_unit(ValuesChange(device.id, changed("D", 1.0, 50)))
        await asyncio.gather(*map(store.commit, [*units, short]))

    run(both())
    found = run(store.values(device.id))
    assert len(found) == 3 * MANY + 50
    assert found["Device.C.7.X"] == StoredValue("C7", "string", None, 1.0)


@pytest.mark.parametrize("count", [5, 300])
def test_what_is_told_while_a_long_change_is_prepared_stays(store: Store, run: Run, count: int) -> None:
    """It is newer than the values that were read before it, and its access is what these say of it."""
    device = a_device()
    run(store.commit(unit(devices=[device])))
    run(store.commit(a_unit(ValuesChange(device.id, changed("A", 1.0)))))
    read = changed("A", 2.0) | {f"Device.A.{i}.X": StoredValue(None, "string", True, 2.0) for i in range(2)}
    told = {path: replace(value, value="told") for path, value in changed("A", 3.0, count).items()}

    async def both() -> None:
        await asyncio.gather(*(store.commit(a_unit(ValuesChange(device.id, values))) for values in (read, told)))

    run(both())
    found = run(store.values(device.id))
    assert {found[path].value for path in told} == {"told"}
    assert {found[path].updated for path in told} == {3.0}
    assert (found["Device.A.1.X"].writable, found["Device.A.2.X"].writable) == (True, None)
    assert found[f"Device.A.{count}.X"] == StoredValue(f"A{count}", "string", None, 2.0)


@pytest.mark.parametrize("names", [["Device."], [f"Device.P{i}" for i in range(MANY)]])
def test_a_long_result_is_kept(store: Store, run: Run, names: list[str]) -> None:
    """As dictionaries, whatever it was made of."""
    device = a_device()
    task = replace(a_task(), rpc="GetParameterValues", args={"parameter_names": names})
    run(store.commit(unit(devices=[device], tasks=[TaskChange(task, None)])))
    listed = [ParameterValueStruct(f"Device.P{i}", f"v{i}", "string") for i in range(MANY)]
    done = replace(task, status=TaskStatus.DONE, result={"parameter_list": listed})
    run(store.commit(unit(tasks=[TaskChange(done, frozenset({task.status}))])))
    found = run(store.task(task.id))
    assert found is not None
    assert found.result is not None
    assert len(found.result["parameter_list"]) == MANY
    assert found.result["parameter_list"][5] == {"name": "Device.P5", "value": "v5", "type": "string"}


def test_a_long_tree_is_read_page_by_page(store: Store, run: Run) -> None:
    """Each page is what all values have at its place, also of what was told since and while a change is on its way."""
    device = a_device()
    run(store.commit(unit(devices=[device])))
    assert run(store.values_page(device.id, after=None, limit=10)) in (((), None), ([], None))
    run(store.commit(a_unit(ValuesChange(device.id, changed("A", 1.0)))))
    store.touch(device.id, {"last_inform": 3.0}, {"Device.A.7.X": StoredValue("told", "string", None, 3.0)})
    store.touch(device.id, {"last_inform": 3.0}, {"Device.B.": StoredValue("new", "string", None, 3.0)})

    async def pages(under: str) -> list[tuple[str, StoredValue]]:
        found: list[tuple[str, StoredValue]] = []
        after = None
        while True:
            rows, after = await store.values_page(device.id, under, after=after, limit=2_000)
            found += rows
            if after is None:
                return found

    for under in ("", "Device.A.", "Device.A.7.X", "Device.B.", "Device.C."):
        assert dict(run(pages(under))) == run(store.values(device.id, under))

    async def meanwhile() -> None:
        writing = asyncio.create_task(store.commit(a_unit(ValuesChange(device.id, changed("A", 5.0)))))
        while not writing.done():
            assert len(await pages("Device.A.")) == MANY
            await asyncio.sleep(0)
        await writing

    run(meanwhile())
    assert dict(run(pages(""))) == run(store.values(device.id))
    assert run(store.values_page("nobody", after=None, limit=10)) in (((), None), ([], None))


def test_a_page_of_tasks_ends_behind_some_that_are_very_long(store: Store, run: Run) -> None:
    """The pages together hold them all, of one device and of all."""
    device = a_device()
    chance = random.Random(1)
    listed = [ParameterValueStruct(f"Device.P{i}", chance.randbytes(60).hex(), "string") for i in range(MANY)]
    done = [replace(a_task(id=f"{n:020}"), status=TaskStatus.DONE, result={"parameter_list": listed}) for n in range(5)]
    run(store.commit(unit(devices=[device], tasks=[TaskChange(task, None) for task in done])))

    async def pages(ask: Callable[[str | None], Awaitable[Page]]) -> list[int]:
        found: list[str] = []
        sizes, cursor = [], None
        while True:
            page = await ask(cursor)
            assert all(len(task.result["parameter_list"]) == MANY for task in page.items)
            found += [task.id for task in page.items]
            sizes.append(len(page.items))
            cursor = page.next
            if cursor is None:
                assert found == [task.id for task in reversed(done)]
                return sizes

    for which in (TaskFilter(), TaskFilter(frozenset({TaskStatus.DONE, TaskStatus.FAILED}))):
        sizes = run(pages(lambda cursor, of=which: store.tasks(of, limit=10, cursor=cursor)))  # type: ignore[misc]
        assert sizes == ([5] if isinstance(store, MemoryStore) else [2, 2, 1])
    sizes = run(pages(lambda cursor: store.tasks_of(device.id, limit=10, cursor=cursor)))
    assert sizes == ([5] if isinstance(store, MemoryStore) else [2, 2, 1])


def test_a_parameter_of_a_device_with_very_many_is_found_by_conditions(store: Store, run: Run) -> None:
    """As of any other, with what it has told since, and what it does not have."""
    devices = [a_device(f"S{number}") for number in range(3)]
    run(store.commit(unit(devices=devices)))
    few = {"Device.A.7.X": StoredValue("A7", "string", None, 1.0), "Device.B": StoredValue("b", "string", None, 1.0)}
    for device, values in zip(devices, (changed("A", 1.0, 3 * MANY), few, changed("A", 1.0, 40)), strict=True):
        run(store.commit(a_unit(ValuesChange(device.id, values))))
    store.touch(devices[0].id, {"last_inform": 3.0}, {"Device.A.8.X": StoredValue("told", "string", None, 3.0)})

    def found(condition: str) -> list[str]:
        page = run(store.devices(parse(condition, now=0.0), limit=10, cursor=None))
        return [device.serial_number for device in page.items]

    assert found('param("Device.A.7.X") == "A7"') == ["S0", "S1", "S2"]
    assert found('param("Device.A.8.X") == "told"') == ["S0"]
    assert found('param("Device.A.15599.X") == "A15599"') == ["S0"]
    assert found('param("Device.B") == "b"') == ["S1"]
    assert found('param("Device.A.") == "A"') == found('param("Device.A.99999.X") == "x"') == []


def test_a_search_that_takes_long_ends_its_page_early(store: Store, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages together hold all that fit, and nothing twice."""
    for module in (sqlite, postgres):
        monkeypatch.setattr(module, "SEARCH_SECONDS", -1.0)
    run(store.commit(unit(devices=[a_device(f"S{number}", model=f"M{number}") for number in range(9)])))
    few = {"Device.B": StoredValue("b", "string", None, 1.0)}
    for number in (1, 2, 8):
        run(store.commit(a_unit(ValuesChange(a_device(f"S{number}").id, few))))
    where = parse('param("Device.B") == "b"', now=0.0)
    found, pages, cursor = [], 0, None
    while True:
        page = run(store.devices(where, limit=2, cursor=cursor))
        found += [device.serial_number for device in page.items]
        pages, cursor = pages + 1, page.next
        if cursor is None:
            break
    assert found == ["S1", "S2", "S8"]
    assert pages == (2 if isinstance(store, MemoryStore) else 4)
