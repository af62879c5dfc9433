"""Rows that cannot be read, in both databases: everything else goes on, and what is asked for alone is told with the cure."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from homeport.acs.records import EventRecord, SessionRecord, StoredValue, TaskPhase, TaskStatus
from homeport.acs.storage.interface import SessionChange, Store, TaskChange, TaskFilter, ValuesChange
from homeport.acs.storage.sql.postgres import PostgresStore
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.storage.sql.writer import Mode, Statement
from homeport.acs.where import parse
from homeport.errors import StoreError
from support.store_rows import Run, a_device, a_task, unit

S1 = a_device("S1").id
Damage = Callable[[str, str], None]


@pytest.fixture
def damage(store: Store, run: Run) -> Damage:
    """Makes the record of a row unreadable: damage(table, id)."""

    def damaged(table: str, id: str) -> None:
        if isinstance(store, SqliteStore):
            run(store._write([Statement(Mode.ONE, f"UPDATE {table} SET record = x'C1' WHERE id = ?", (id,))]))
        elif isinstance(store, PostgresStore):
            run(store._link.fetch(f"UPDATE {table} SET record = $1 WHERE id = $2", b"\xc1", id))
        else:
            pytest.skip("what is in memory alone is not damaged")

    return damaged


def test_a_damaged_task_stops_neither_a_start_nor_the_clock(store: Store, run: Run, damage: Damage) -> None:
    """Others that were interrupted, are due or wait for a call are found."""
    sent = {"status": TaskStatus.RUNNING, "phase": TaskPhase.SENT}
    tasks = [a_task("a", **sent), a_task("b", **sent), a_task("c", expires=5.0), a_task("d", expires=6.0)]
    run(store.commit(unit(devices=[a_device()], tasks=[TaskChange(t, None) for t in tasks])))
    damage("task", "a")
    damage("task", "c")
    if isinstance(store, PostgresStore):
        run(store._link.fetch("UPDATE task SET node = 'gone'"))
    assert [t.id for t in run(store.interrupted_tasks(limit=9, now=0.0))] == ["b"]
    assert [t.id for t in run(store.due_tasks(now=9.0, limit=9))] == ["d"]
    assert [t.id for t in run(store.orphaned_tasks(since="a", limit=9))] == ["d"]


def test_a_damaged_row_is_missing_in_its_list_and_told_where_it_is_asked_for(
    store: Store, run: Run, damage: Damage
) -> None:
    """Pages go on behind it, also where it is the last one of its page."""
    tasks = [TaskChange(a_task(f"t{n}"), None) for n in range(4)]
    ended = [SessionRecord(id=f"s{n}", device=S1, started=0.0, ended=1.0, outcome="success") for n in range(4)]
    events = [EventRecord(id=f"e{n}", device=S1, session="s", at=1.0, code="1 BOOT") for n in range(4)]
    sessions = [SessionChange(record) for record in ended]
    run(store.commit(unit(devices=[a_device()], tasks=tasks, sessions=sessions, events=events)))
    for table, id in (("task", "t2"), ("session", "s2"), ("event", "e2")):
        damage(table, id)
    lists = (
        ("t", lambda cursor: store.tasks(TaskFilter(), limit=2, cursor=cursor)),
        ("t", lambda cursor: store.tasks_of(S1, limit=2, cursor=cursor)),
        ("s", lambda cursor: store.sessions_of(S1, limit=2, cursor=cursor)),
        ("e", lambda cursor: store.events_of(S1, limit=2, cursor=cursor)),
    )
    for letter, asked in lists:
        first = run(asked(None))
        second = run(asked(first.next))
        assert [row.id for row in (*first.items, *second.items)] == [f"{letter}{n}" for n in (3, 1, 0)]
        assert second.next is None
    for asking in (store.task("t2"), store.session("s2")):
        with pytest.raises(StoreError, match=r"2 cannot be read: .*homeport acs db check"):
            run(asking)


def test_what_is_damaged_of_one_device_in_sqlite_keeps_no_other_from_its_turn(tmp_path: Path) -> None:
    """A task is left out, values and the device itself are errors with the cure, for this device alone; searches go on behind it."""

    async def scene() -> None:
        def many(value: str) -> dict[str, StoredValue]:
            return {f"Device.P{n}": StoredValue(value) for n in range(60)}

        store = SqliteStore(tmp_path / "acs.db")
        await store.open()
        async with contextlib.AsyncExitStack() as ends:
            ends.push_async_callback(store.close)

            async def damage(statement: str) -> None:
                await store.flush()
                await store._write([Statement(Mode.ONE, statement, ())])
                store._hots.clear()

            devices = [a_device("S1"), a_device("S2")]
            one, two = (device.id for device in devices)
            tasks = [TaskChange(a_task(name), None) for name in ("t", "u")]
            values = [ValuesChange(id, many("1")) for id in (one, two)]
            await store.commit(unit(devices=devices, tasks=tasks, values=values))
            await damage("UPDATE task SET record = x'C1' WHERE id = 't'")
            assert [t.id for t in await store.open_tasks(one)] == ["u"]
            assert (await store.figures()).open_tasks == 2
            where = f"(SELECT key FROM device WHERE id = '{one}')"
            await damage(f"UPDATE device_values SET vals = x'C1' WHERE device = {where}")
            page = await store.devices(parse('param("Device.P1") == "1"'), limit=9, cursor=None)
            assert [found.id for found in page.items] == [two]
            for deed in (store.values(one), store.commit(unit(values=[ValuesChange(one, many("2"))]))):
                with pytest.raises(StoreError, match=f"values of {one} cannot be read.*homeport acs db check"):
                    await deed
            await store.commit(unit(values=[ValuesChange(two, many("2"))]))
            assert {v.value for v in (await store.values(two)).values()} == {"2"}
            await damage(f"UPDATE device SET rest = x'C1' WHERE id = '{one}'")
            with pytest.raises(StoreError, match=f"device {one} cannot be read.*homeport acs db check"):
                await store.device(one)
            assert await store.device(two) is not None
            assert [d.id for d in (await store.devices(None, limit=9, cursor=None)).items] == [two]
            assert store.trouble is None

    asyncio.run(scene())
