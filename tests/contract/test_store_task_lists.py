"""Tasks found by the clock and by what they are, in every store, and how cheaply."""

import asyncio
import itertools
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from homeport.acs.records import TaskPhase, TaskRecord, TaskStatus
from homeport.acs.storage.interface import CLAIM, Conflict, Store, TaskChange, TaskFilter
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.fills import offer
from homeport.acs.storage.sql.postgres import MIGRATIONS, PostgresStore
from homeport.acs.storage.sql.postgres_link import SQL
from homeport.acs.storage.sql.queries import QUERIES, migrations
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.storage.sql.task_lists import parameters, query_for, rows_of_tasks
from support.postgres import needs_postgres, shared_server
from support.store_rows import Run, a_device, a_task, unit

QUEUED, RUNNING, FAILED = (frozenset({s}) for s in (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.FAILED))
DEVICES = ("00D0F1-X-S1", "00D0F1-X-S2")
RPCS = ("GetParameterValues", "Reboot")
MANY = int(os.environ.get("HOMEPORT_TASK_ROWS", "2000"))
"""Finished tasks in the tests of what a page costs."""


def in_status(*statuses: TaskStatus, **more: Any) -> TaskFilter:
    return TaskFilter(frozenset(statuses), **more)


FILTERS = [
    TaskFilter(),
    in_status(TaskStatus.FAILED),
    in_status(TaskStatus.QUEUED, TaskStatus.FAILED, TaskStatus.EXPIRED),
    in_status(TaskStatus.DONE),
    in_status(TaskStatus.DONE, TaskStatus.CANCELLED),
    TaskFilter(rpc="Reboot"),
    TaskFilter(rpc="Nothing"),
    TaskFilter(device=DEVICES[1]),
    TaskFilter(device="nobody"),
    TaskFilter(since="t10", until="t20"),
    in_status(TaskStatus.FAILED, TaskStatus.UNKNOWN, rpc="Reboot", since="t05"),
    in_status(TaskStatus.DONE, rpc="GetParameterValues", until="t20"),
    in_status(TaskStatus.FAILED, TaskStatus.DONE, rpc="Reboot", device=DEVICES[0], since="t03", until="t27"),
]


def accepted(id: str, **progress: float) -> TaskRecord:
    """A task that the device has accepted."""
    return a_task(id, status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER, progress=progress)


def test_the_tasks_of_all_devices_come_youngest_first_by_what_they_are(store: Store, run: Run) -> None:
    """Each filter gives what it says and nothing else, on pages of any size, each task once."""
    kinds = itertools.cycle(itertools.product(TaskStatus, RPCS, DEVICES))
    made = [
        TaskRecord(id=f"t{n:02}", device=device, rpc=rpc, args={}, status=status)
        for n, (status, rpc, device) in zip(range(30), kinds, strict=False)
    ]
    run(store.commit(unit(devices=[a_device("S1"), a_device("S2")], tasks=[TaskChange(t, None) for t in made])))
    for which in FILTERS:
        expected = sorted((t.id for t in made if which.fits(t)), reverse=True)
        for limit in (1, 4, 100):
            found, cursor = [], None
            while True:
                page = run(store.tasks(which, limit=limit, cursor=cursor))
                found += [t.id for t in page.items]
                cursor = page.next
                if cursor is None:
                    break
                assert len(page.items) == limit
            assert found == expected, (which, limit)
    assert run(store.tasks(TaskFilter(), limit=1, cursor=None)).items == (made[-1],)


def test_a_list_of_tasks_shows_what_was_just_written_and_not_what_is_gone(store: Store, run: Run) -> None:
    """Also what is written later without anybody waiting; a deleted device takes its tasks along."""
    run(store.commit(unit(devices=[a_device("S1"), a_device("S2")])))
    other = a_task("t2", device=DEVICES[1])
    run(store.commit(unit(tasks=[TaskChange(a_task(), None), TaskChange(other, None)])))

    async def soon() -> list[str]:
        store.later(unit(tasks=[TaskChange(a_task(status=TaskStatus.FAILED, finished=1.0), QUEUED)]))
        return [t.id for t in (await store.tasks(in_status(TaskStatus.FAILED), limit=9, cursor=None)).items]

    assert run(soon()) == ["t1"]
    assert run(store.tasks(in_status(TaskStatus.QUEUED), limit=9, cursor=None)).items == (other,)
    run(store.commit(unit(deleted_devices=[DEVICES[1]])))
    assert run(store.tasks(in_status(TaskStatus.QUEUED), limit=9, cursor=None)).items == ()


def test_what_the_clock_may_have_ended_is_found_and_nothing_else(store: Store, run: Run) -> None:
    """An expiry while it waits, an end of patience once it is accepted; not what has no time, what runs, or what has ended."""
    found = [
        a_task("a", expires=20.0),
        accepted("b", accepted=1.0, due=10.0),
        accepted("c", accepted=5.0),  # of a version that did not write down until when it waits
        accepted("d"),
    ]
    others = [
        a_task("e"),
        a_task("f", expires=31.0),
        accepted("g", accepted=1.0, due=31.0),
        a_task("h", expires=1.0, status=TaskStatus.DONE, finished=1.0),
        a_task("i", expires=1.0, status=TaskStatus.RUNNING, phase=TaskPhase.SENT),
        a_task("j", expires=1.0, status=TaskStatus.UNKNOWN, progress={"lost": 1.0, "due": 31.0}),
        a_task("k", status=TaskStatus.FAILED, phase=TaskPhase.OVERDUE, progress={"due": 1.0}, finished=1.0),
    ]
    run(store.commit(unit(devices=[a_device()], tasks=[TaskChange(t, None) for t in (*found, *others)])))
    assert run(store.due_tasks(now=-1.0, limit=10)) in ([], ())
    first = run(store.due_tasks(now=7.0, limit=10))
    assert {t.id for t in first} == {"c", "d"}
    assert sorted(first, key=lambda t: t.id) == found[2:]
    run(store.commit(unit(tasks=[TaskChange(accepted(id, due=99.0), RUNNING) for id in "cd"])))
    assert [t.id for t in run(store.due_tasks(now=30.0, limit=1))] == ["b"]
    ended = a_task("b", status=TaskStatus.FAILED, phase=TaskPhase.OVERDUE, finished=10.0)
    run(store.commit(unit(tasks=[TaskChange(ended, RUNNING)])))
    assert [t.id for t in run(store.due_tasks(now=30.0, limit=10))] == ["a"]
    again = a_task("a", status=TaskStatus.RUNNING, phase=TaskPhase.SENT, expires=20.0)
    run(store.commit(unit(tasks=[TaskChange(again, QUEUED)])))
    assert list(run(store.due_tasks(now=30.0, limit=10))) == []
    with pytest.raises(Conflict):
        run(store.commit(unit(tasks=[TaskChange(a_task("a", status=TaskStatus.EXPIRED), QUEUED)])))


def test_tasks_whose_end_may_come_late_are_found_by_their_device(store: Store, run: Run) -> None:
    """Phase overdue, the oldest first, until the end has come."""
    late = {"status": TaskStatus.FAILED, "phase": TaskPhase.OVERDUE, "finished": 1.0}
    tasks = [a_task("t2", **late), a_task("t1", **late), a_task("t3", status=TaskStatus.FAILED, finished=1.0)]
    tasks.append(a_task("t4", device=DEVICES[1], **late))
    run(store.commit(unit(devices=[a_device("S1"), a_device("S2")], tasks=[TaskChange(t, None) for t in tasks])))
    assert list(run(store.overdue_tasks(DEVICES[0]))) == [tasks[1], tasks[0]]
    run(store.commit(unit(tasks=[TaskChange(a_task("t1", status=TaskStatus.DONE, finished=2.0), FAILED)])))
    assert [t.id for t in run(store.overdue_tasks(DEVICES[0]))] == ["t2"]
    assert list(run(store.overdue_tasks("nobody"))) == []


# --- what it costs ---

RARE = 7
"""Tasks that are not done, among all of `MANY`."""

FILL = """
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {many})
INSERT INTO task (id, device, status, phase, priority, finished, record, rpc, due)
SELECT printf('t%07d', i), '{device}', CASE WHEN i < {rare} THEN 'failed' ELSE 'done' END, '', 0, 1.0, ?, 'GetParameterValues', NULL FROM n
"""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A database with many finished tasks, the few that have failed being the oldest."""

    path = tmp_path_factory.mktemp("crowd") / "acs.db"

    async def make() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
        await store.close()

    asyncio.run(make())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        record = rows.pack_task(TaskRecord(id="x", device=DEVICES[0], rpc=RPCS[0], args={}))
        connection.execute(FILL.format(many=MANY, rare=RARE, device=DEVICES[0]), (record,))
        yield connection


def steps_of(connection: sqlite3.Connection, which: TaskFilter, limit: int) -> int:
    """Hundreds of steps of SQLite's machine that a page takes: a row that is looked at takes some ten."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(step, 100)
    try:
        rows_of_tasks(connection, which, limit, None)
    finally:
        connection.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize(
    "which",
    [
        TaskFilter(),
        in_status(TaskStatus.FAILED),
        in_status(TaskStatus.FAILED, TaskStatus.QUEUED, TaskStatus.EXPIRED, rpc="Reboot"),
        in_status(TaskStatus.DONE),
        TaskFilter(rpc="Reboot"),
        in_status(TaskStatus.DONE, rpc="GetParameterValues"),
        TaskFilter(device=DEVICES[1]),
        TaskFilter(since="t0000003", until="t0000009"),
    ],
)
def test_a_page_costs_sqlite_by_its_own_rows_and_not_by_all(crowd: sqlite3.Connection, which: TaskFilter) -> None:
    """Ten rows out of thousands, or the seven oldest: some hundred steps. HOMEPORT_TASK_ROWS=1000000 asks the same of a million."""
    assert steps_of(crowd, which, 10) < 10
    query = query_for(which)
    given = ["t9", "", "failed", 10, "Reboot", DEVICES[0]][: {"tasks_all": 4, "tasks_of_device": 6}.get(query, 5)]
    plan = " ".join(str(row[3]) for row in crowd.execute(f"EXPLAIN QUERY PLAN {QUERIES[query]}", given))
    assert "SCAN task" not in plan
    index = {"tasks_all": "sqlite_autoindex_task_1 (id"}.get(query, "INDEX task_")
    assert index in plan
    if query != "tasks_in_status":
        assert "TEMP B-TREE" not in plan


def test_the_sweep_costs_sqlite_by_what_is_due(crowd: sqlite3.Connection) -> None:
    """Nothing is due: a look at an index, however many tasks there are."""
    for query, given, index in (
        ("due_tasks", (1.0, 10), "USING INDEX task_due (due<?)"),
        ("overdue_tasks", ("x",), "USING INDEX task_overdue (device=?)"),
    ):
        plan = " ".join(str(row[3]) for row in crowd.execute(f"EXPLAIN QUERY PLAN {QUERIES[query]}", given))
        assert index in plan


@pytest.mark.postgres
@needs_postgres
def test_a_page_costs_postgresql_by_its_own_rows_and_not_by_all(run: Run) -> None:
    """No plan goes through the table, and none sorts more than a page; what is due is found by its index."""
    run(_postgres_plans(shared_server().new_database()))


async def _postgres_plans(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
    await store.close()
    connection = await asyncpg.connect(url)
    try:
        record = rows.pack_task(TaskRecord(id="x", device=DEVICES[0], rpc=RPCS[0], args={}))
        await connection.execute(
            "INSERT INTO task (id, device, status, phase, priority, attempts, finished, node, record, key, rpc)"
            " SELECT 't' || lpad(i::text, 7, '0'), $1, CASE WHEN i < $2 THEN 'failed' ELSE 'done' END, '', 0, 0, 1.0, '', $3, '', $4"
            " FROM generate_series(0, $5 - 1) AS i",
            *(DEVICES[0], RARE, record, RPCS[0], max(MANY, 5_000)),
        )
        await connection.execute("ANALYZE task")
        asked: list[tuple[str, list[Any]]] = []
        for which in (
            TaskFilter(),
            in_status(TaskStatus.FAILED, TaskStatus.QUEUED),
            in_status(TaskStatus.FAILED, rpc="Reboot"),
            TaskFilter(rpc="Reboot"),
            in_status(TaskStatus.DONE),
            TaskFilter(device=DEVICES[1]),
        ):
            query = query_for(which)
            asked.append((SQL[query], parameters(query, which, 10, None)))
        asked += [(SQL["due_tasks"], [1.0, 10, CLAIM]), (SQL["overdue_tasks"], ["x"])]
        for sql, given in asked:
            (text,) = await connection.fetchrow(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *given)
            nodes = list(_nodes(json.loads(text)[0]["Plan"]))
            on_table = [n for n in nodes if n.get("Relation Name") == "task"]
            assert on_table
            assert all(n["Node Type"] != "Seq Scan" for n in nodes), sql
            looked_at = sum(n["Actual Rows"] + n.get("Rows Removed by Filter", 0) for n in on_table)
            assert looked_at <= 30, sql
    finally:
        await connection.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


# --- databases of before ---

BEFORE = [
    a_task("t1", expires=9.0),
    accepted("t2", accepted=5.0),
    TaskRecord(id="t3", device=DEVICES[0], rpc="GetParameterValues", args={}, status=TaskStatus.DONE),
]


def _old_row(task: TaskRecord) -> tuple[Any, ...]:
    return (task.id, task.device, task.status.value, task.phase.value, 0, task.finished, rows.pack_task(task))


async def _found_as_new(store: SqliteStore | PostgresStore) -> None:
    await store.open()
    assert {t.id for t in await store.due_tasks(now=9.0, limit=9)} == {"t1", "t2"}
    found = await store.tasks(TaskFilter(rpc="GetParameterValues"), limit=9, cursor=None)
    assert [t.id for t in found.items] == ["t3"]
    found = await store.tasks(in_status(TaskStatus.RUNNING, rpc="Reboot"), limit=9, cursor=None)
    assert [t.id for t in found.items] == ["t2"]
    await store.close()


def test_the_tasks_of_an_older_sqlite_database_are_found(tmp_path: Path, run: Run) -> None:
    """The migration reads the new columns out of the records; one that is damaged keeps nobody from starting."""
    path = tmp_path / "acs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        offer(old)
        for number, script in migrations():
            if number < 7:
                old.executescript(f"{script} PRAGMA user_version = {number};")
        for id in DEVICES:
            row = rows.device_row(a_device(id[-2:]))
            old.execute(
                "INSERT INTO device (state, first_seen, last_inform, oui, product_class, serial_number, manufacturer, model,"
                " software_version, hardware_version, provisioning_code, address, tags, rest, id)"
                f" VALUES ({', '.join('?' * len(row))})",
                row,
            )
        statement = (
            "INSERT INTO task (id, device, status, phase, priority, finished, record) VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        old.executemany(statement, [_old_row(t) for t in BEFORE])
        old.execute(statement, ("t9", DEVICES[0], "done", "", 0, 1.0, b"\xc1"))
    run(_found_as_new(SqliteStore(path)))


@pytest.mark.postgres
@needs_postgres
def test_the_tasks_of_an_older_postgresql_database_are_found(run: Run) -> None:
    """The same, in the transaction of the migration."""
    url = shared_server().new_database()

    async def scene() -> None:
        old = await asyncpg.connect(url)
        for number, script in migrations(MIGRATIONS):
            if number < 7:
                await old.execute(script)
                await old.execute("INSERT INTO layout (number) VALUES ($1)", number)
        await old.execute(
            "INSERT INTO device (id, state, first_seen, last_inform, oui, product_class, serial_number, manufacturer, model,"
            " software_version, hardware_version, provisioning_code, address, tags, rest)"
            " VALUES ($1, 'approved', 0, 0, '', '', '', '', '', '', '', '', '', '', '')",
            DEVICES[0],
        )
        await old.executemany(
            "INSERT INTO task (id, device, status, phase, priority, finished, record, attempts, node)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, 0, '')",
            [*map(_old_row, BEFORE), ("t9", DEVICES[0], "done", "", 0, 1.0, b"\xc1")],
        )
        await old.close()
        await _found_as_new(PostgresStore(url))

    run(scene())


@pytest.mark.postgres
@needs_postgres
def test_a_task_that_is_due_is_given_to_one_node_at_a_time(run: Run) -> None:
    """Two nodes that look at once get different ones; what the first does not write is the other's after the claim."""
    url = shared_server().new_database()

    async def scene() -> None:
        a, b = stores = [PostgresStore(url, node=f"n{i}") for i in range(2)]
        for store in stores:
            await store.open()
        made = [TaskChange(a_task(f"t{n:02}", expires=float(n)), None) for n in range(20)]
        await a.commit(unit(devices=[a_device()], tasks=made))
        given = await asyncio.gather(*(s.due_tasks(now=100.0, limit=10) for s in stores * 2))
        ids = [t.id for part in given for t in part]
        assert sorted(ids) == [change.record.id for change in made]
        assert list(await b.due_tasks(now=100.0 + CLAIM - 1, limit=99)) == []
        assert len(await b.due_tasks(now=100.0 + CLAIM, limit=99)) == 20
        for store in stores:
            await store.close()

    run(scene())
