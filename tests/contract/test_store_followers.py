"""Tasks that wait for another are found at once when that one will never be done, in every store, and in databases of before."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace

from homeport.acs.records import TaskPhase, TaskRecord, TaskStatus
from homeport.acs.storage.interface import Store, TaskChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.archive import backup, restore
from homeport.acs.storage.sql.fills import offer
from homeport.acs.storage.sql.postgres import MIGRATIONS, PostgresStore
from homeport.acs.storage.sql.queries import QUERIES, migrations
from homeport.acs.storage.sql.sqlite import SqliteStore
from support.postgres import needs_postgres, shared_server
from support.store_rows import Run, a_device, a_task, unit

S1, S2 = "00D0F1-X-S1", "00D0F1-X-S2"
BAD = [TaskStatus.FAILED, TaskStatus.EXPIRED, TaskStatus.CANCELLED]


def new(*tasks: TaskRecord) -> list[TaskChange]:
    return [TaskChange(task, None) for task in tasks]


def ended(task: TaskRecord, status: TaskStatus) -> TaskChange:
    return TaskChange(replace(task, status=status, finished=1.0), frozenset({task.status}))


async def due(store: Store) -> list[str]:
    return sorted(t.id for t in await store.due_tasks(now=5.0, limit=99))


@pytest.mark.parametrize("status", BAD)
def test_who_waits_for_a_task_that_ended_badly_is_found_at_once(store: Store, run: Run, status: TaskStatus) -> None:
    """Also on another device, and with an expiry that is far away; not who waits for others, nor one that waits for a follower."""

    async def scene() -> None:
        first, other = a_task("t1"), a_task("t2")
        followers = [a_task("t3", after="t1"), a_task("t4", device=S2, after="t1", expires=99.0)]
        rest = [a_task("t5", after="t2"), a_task("t6", after="t3"), a_task("t7", after="t1", status=TaskStatus.DONE)]
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")], tasks=new(first, other, *followers, *rest)))
        assert await due(store) == []
        await store.commit(unit(tasks=[ended(first, status)]))
        assert await due(store) == ["t3", "t4"]
        await store.commit(unit(tasks=[ended(t, TaskStatus.FAILED) for t in followers]))
        assert await due(store) == ["t6"]
        await store.commit(unit(tasks=[ended(other, TaskStatus.DONE)]))
        assert "t5" not in await due(store)

    run(scene())


def test_a_task_that_is_made_too_late_is_found_at_once(store: Store, run: Run) -> None:
    """What it waits for has failed, or was deleted, between the look and the commit: also in the same unit."""

    async def scene() -> None:
        failed, fine = a_task("t1", status=TaskStatus.FAILED), a_task("t2", status=TaskStatus.DONE)
        await store.commit(unit(devices=[a_device("S1")], tasks=new(failed, fine, a_task("t3", after="t1"))))
        made = new(a_task("t4", after="t1", expires=99.0), a_task("t5", after="gone"), a_task("t6", after="t2"))
        await store.commit(unit(tasks=made))
        assert await due(store) == ["t3", "t4", "t5"]

    run(scene())


def test_who_waits_for_a_task_of_a_deleted_device_is_found(store: Store, run: Run) -> None:
    """The other device would wait for ever; one whose forerunner was done and is pruned is left alone."""

    async def scene() -> None:
        tasks = new(
            a_task("t1", device=S2),
            a_task("t2", after="t1"),
            a_task("t3", status=TaskStatus.DONE, finished=1.0),
            a_task("t4", after="t3"),
        )
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")], tasks=tasks))
        await store.prune(sessions_before=0.0, tasks_before=2.0)
        assert await store.task("t3") is None
        await store.commit(unit(deleted_devices=[S2]))
        assert await due(store) == ["t2"]

    run(scene())


def test_what_is_looked_at_for_nothing_is_not_looked_at_again(store: Store, run: Run) -> None:
    """A forerunner that ended late after all: its follower is written back, and has its own time again."""

    async def scene() -> None:
        first, follower = a_task("t1"), a_task("t2", after="t1", expires=99.0)
        await store.commit(unit(devices=[a_device("S1")], tasks=new(first, follower)))
        await store.commit(unit(tasks=[ended(first, TaskStatus.FAILED)]))
        late = replace(first, status=TaskStatus.FAILED)
        await store.commit(
            unit(tasks=[ended(late, TaskStatus.DONE), TaskChange(follower, frozenset({follower.status}))])
        )
        assert await due(store) == []
        assert [t.id for t in await store.due_tasks(now=100.0, limit=9)] == ["t2"]

    run(scene())


def test_a_crowd_of_followers_is_found_in_batches(store: Store, run: Run) -> None:
    """More than one statement changes on the event loop of the SQLite store."""

    async def scene() -> None:
        first = a_task("t")
        tasks = new(first, *(a_task(f"t{n:03}", after="t") for n in range(300)))
        await store.commit(unit(devices=[a_device("S1")], tasks=tasks))
        await store.commit(unit(tasks=[ended(first, TaskStatus.FAILED)]))
        assert len(await store.due_tasks(now=5.0, limit=100)) == 100

    run(scene())


def test_followers_are_found_by_an_index(tmp_path: Path, run: Run) -> None:
    """However many tasks there are."""
    path = tmp_path / "acs.db"

    async def make() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.close()

    run(make())
    with closing(sqlite3.connect(path)) as connection:
        for query, given in (("forsake", ("t",)), ("followers", ("t", 9)), ("forsake_all_of", (S1,))):
            plan = " ".join(str(r[3]) for r in connection.execute(f"EXPLAIN QUERY PLAN {QUERIES[query]}", given))
            assert "INDEX task_after (waits_for=?)" in plan


@pytest.mark.postgres
@needs_postgres
def test_two_nodes_that_end_a_task_and_make_one_that_waits_for_it_see_each_other(run: Run) -> None:
    """In the same moment, whichever is first: the follower is always found."""
    url = shared_server().new_database()

    async def scene() -> None:
        a, b = PostgresStore(url, node="n0"), PostgresStore(url, node="n1")
        for store in (a, b):
            await store.open()
        firsts = [a_task(f"t{n:02}0") for n in range(20)]
        await a.commit(unit(devices=[a_device("S1"), a_device("S2")], tasks=new(*firsts)))
        for first in firsts:
            follower = a_task(f"{first.id[:-1]}1", device=S2, after=first.id)
            await asyncio.gather(
                a.commit(unit(tasks=[ended(first, TaskStatus.FAILED)])), b.commit(unit(tasks=new(follower)))
            )
        found = await b.due_tasks(now=5.0, limit=99)
        assert sorted(t.id for t in found) == [f"t{n:02}1" for n in range(20)]
        for store in (a, b):
            await store.close()

    run(scene())


# --- databases of before, and backups ---

BEFORE = [
    a_task("t1", status=TaskStatus.FAILED, finished=1.0),
    a_task("t2", after="t1"),
    a_task("t3"),
    a_task("t4", after="t3"),
    a_task("t5", status=TaskStatus.UNKNOWN, phase=TaskPhase.SENT),
]
FOUND = ["t2", "t5"]


def _old_row(task: TaskRecord) -> tuple[object, ...]:
    return (task.id, task.device, task.status.value, task.phase.value, 0, task.finished, rows.pack_task(task), task.rpc)


async def _found_as_new(store: Store) -> None:
    await store.open()
    assert await due(store) == FOUND
    await store.commit(unit(tasks=[ended(BEFORE[2], TaskStatus.CANCELLED)]))
    assert "t4" in await due(store)
    await store.close()


def test_the_followers_of_an_older_sqlite_database_are_found(tmp_path: Path, run: Run) -> None:
    """Those whose forerunner has failed already, too; and what is unknown gets its time."""
    path = tmp_path / "acs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        offer(old)
        for number, script in migrations():
            if number < 8:
                old.executescript(f"{script} PRAGMA user_version = {number};")
        row = rows.device_row(a_device("S1"))
        old.execute(
            "INSERT INTO device (state, first_seen, last_inform, oui, product_class, serial_number, manufacturer, model,"
            " software_version, hardware_version, provisioning_code, address, tags, rest, id)"
            f" VALUES ({', '.join('?' * len(row))})",
            row,
        )
        old.executemany(
            "INSERT INTO task (id, device, status, phase, priority, finished, record, rpc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            map(_old_row, BEFORE),
        )
    run(_found_as_new(SqliteStore(path)))


@pytest.mark.postgres
@needs_postgres
def test_the_followers_of_an_older_postgresql_database_are_found(run: Run) -> None:
    """The same, in the transaction of the migration."""
    url = shared_server().new_database()

    async def scene() -> None:
        old = await asyncpg.connect(url)
        for number, script in migrations(MIGRATIONS):
            if number < 8:
                await old.execute(script)
                await old.execute("INSERT INTO layout (number) VALUES ($1)", number)
        await old.execute(
            "INSERT INTO device (id, state, first_seen, last_inform, oui, product_class, serial_number, manufacturer, model,"
            " software_version, hardware_version, provisioning_code, address, tags, rest)"
            " VALUES ($1, 'approved', 0, 0, '', '', '', '', '', '', '', '', '', '', $2)",
            S1,
            rows.device_row(a_device("S1"))[-2],
        )
        await old.executemany(
            "INSERT INTO task (id, device, status, phase, priority, finished, record, rpc, attempts, node)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, '')",
            [*map(_old_row, BEFORE)],
        )
        await old.close()
        await _found_as_new(PostgresStore(url))

    run(scene())


def test_a_restored_backup_knows_who_waits_for_whom(tmp_path: Path, run: Run) -> None:
    """The backup holds the records; the columns are made from them."""

    async def scene() -> None:
        store = SqliteStore(tmp_path / "acs.db")
        await store.open()
        await store.commit(unit(devices=[a_device("S1")], tasks=new(*BEFORE)))
        await store.close()
        await backup(tmp_path / "acs.db", tmp_path / "saved")
        await restore(tmp_path / "again.db", tmp_path / "saved")
        await _found_as_new(SqliteStore(tmp_path / "again.db"))

    run(scene())
