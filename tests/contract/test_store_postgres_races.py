"""What PostgreSQL's store shows and keeps when readings, groups and damaged rows come together in one moment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from homeport.acs.records import CredentialRecord, SessionRecord, StoredValue, TaskStatus
from homeport.acs.storage.interface import Conflict, SessionChange, TaskChange, ValuesChange
from homeport.acs.storage.sql import postgres_tasks
from homeport.acs.storage.sql.postgres import PostgresStore
from homeport.acs.storage.sql.postgres_link import SQL
from homeport.acs.storage.sql.postgres_sheet import Job
from homeport.acs.where import parse
from homeport.errors import StoreError, StoreUnavailable
from support.postgres import needs_postgres, shared_server
from support.postgres_stores import open_stores, run, without_an_answer
from support.store_rows import a_device, a_task, unit

pytestmark = [pytest.mark.postgres, needs_postgres]

S1, S2 = a_device("S1").id, a_device("S2").id
DONE = frozenset({TaskStatus.DONE})


@pytest.fixture(scope="module")
def url() -> str:
    return shared_server().new_database()


@contextlib.asynccontextmanager
async def a_store(url: str, **options: Any) -> AsyncIterator[PostgresStore]:
    """An open store with two devices, which writes nothing by itself."""
    async with open_stores(url, 1, write_behind=60, **options) as (store,):
        await store.commit(unit(deleted_devices=[S1, S2]))
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
        yield store


def after_statements(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, deed: Callable[[], Awaitable[Any]], times: int
) -> None:
    """Let the deed come between the answer of the server and its reader, at the next statements."""
    fetch, left = store._link.fetch, [deed] * times

    async def delayed(sql: str, *values: Any) -> Any:
        found = await fetch(sql, *values)
        if left:
            await left.pop()()
        return found

    monkeypatch.setattr(store._link, "fetch", delayed)


def many(text: str, count: int = 40, name: str = "P") -> dict[str, StoredValue]:
    return {f"Device.{name}{n}": StoredValue(text) for n in range(count)}


# --- readings beside writes ---


@pytest.mark.parametrize("count", [3, 6_000])
def test_what_was_touched_is_shown_also_while_it_is_written(
    url: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading is older than the write, and its answer comes later: neither of the two alone shows it."""

    async def scene() -> None:
        async with a_store(url) as store:
            await store.commit(unit(values=[ValuesChange(S1, many("0" * 20, count))]))

            async def model() -> Any:
                found = await store.device(S1)
                return found.model if found is not None else None

            async def told() -> Any:
                return (await store.reported(S1))["Device.P1"]

            async def known() -> Any:
                return (await store.values(S1))["Device.P1"].value

            for text, ask in (("a", model), ("b", told), ("c", known)):
                store.touch(S1, {"model": text}, {"Device.P1": StoredValue(text)})
                after_statements(store, monkeypatch, store.flush, 2)
                assert await ask() == text
                monkeypatch.undo()

    run(scene())


def test_histories_that_are_on_their_way_are_waited_for(url: str) -> None:
    """Given to the writer by the clock, and not on the disk yet."""

    async def scene() -> None:
        async with a_store(url) as store:
            for number in range(5):
                ended = SessionRecord(id=f"s{number}", device=S1, started=1.0, ended=2.0, outcome="success")
                store.later(unit(sessions=[SessionChange(ended)]))
                store._tick()
                assert len((await store.sessions_of(S1, limit=99, cursor=None)).items) == number + 1

    run(scene())


def test_many_values_are_read_whole_while_the_device_gets_other_paths(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their list of paths is pruned as soon as no device has it: values without it would be none at all."""

    async def scene() -> None:
        async with a_store(url) as store, a_store_beside(url) as other:
            names = iter("ABCD")

            async def changed() -> None:
                await other.commit(unit(values=[ValuesChange(S1, many("1" * 20, 6_000, next(names)), ("Device.",))]))
                await other.prune(sessions_before=0.0, tasks_before=0.0)

            await changed()
            after_statements(store, monkeypatch, changed, 2)
            assert len(await store.values(S1)) == 6_000

    run(scene())


@contextlib.asynccontextmanager
async def a_store_beside(url: str) -> AsyncIterator[PostgresStore]:
    """Another node."""
    store = PostgresStore(url, write_behind=60)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def test_values_are_not_shown_under_the_names_of_the_server_before(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one has taken over, and the reading itself is what first meets it."""

    async def scene() -> None:
        async with a_store(url) as store:
            await store.prune(sessions_before=0.0, tasks_before=0.0)
            await store.commit(unit(values=[ValuesChange(S1, many("1"))]))
            where = parse('param("Device.P7") == "1"')
            assert len((await store.devices(where, limit=9, cursor=None)).items) == 1
            renamed = bytes((await store._link.fetch("SELECT paths FROM path_list"))[0][0]).replace(b".P", b".Q")
            await store._link.fetch("UPDATE path_list SET paths = $1, hash = 'other'", renamed)

            async def cut() -> None:
                store._link.drop_idle()

            after_statements(store, monkeypatch, cut, 1)
            assert (await store.devices(where, limit=9, cursor=None)).items == ()
            monkeypatch.undo()
            await store._link.fetch("DELETE FROM device_values")
            await store._link.fetch("DELETE FROM path_list")

    run(scene())


def test_what_was_told_last_is_written_however_often_it_could_not_be_before(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several batches were on their way when the database went; what waits again is the newest of them all."""

    async def away() -> None:
        raise StoreUnavailable("away")

    async def scene() -> None:
        async with a_store(url) as store:
            assert store._writer is not None
            monkeypatch.setattr(store._link, "connect", away)
            store._writer._drop()
            for number in range(3):
                told = {"Device.A": StoredValue(f"{number}"), f"Device.B{number}": StoredValue("once")}
                store.touch(S1, {"last_inform": 5.0 + number, "model": f"m{number}"}, told)
                store._behind.drain(store._writer)
            store.touch(S1, {"provisioning_code": "p"}, {})
            with pytest.raises(StoreUnavailable):
                await store.flush()
            monkeypatch.undo()
            await store._working().submit(Job())
            await store.flush()
            assert store._behind.of(S1) == ()
            found = await store.device(S1)
            assert found is not None
            assert (found.last_inform, found.model, found.provisioning_code) == (7.0, "m2", "p")
            shown = await store.reported(S1)
            assert shown["Device.A"] == "2"
            assert len(shown) == 4

    run(scene())


# --- groups ---


def test_a_lost_answer_to_a_commit_makes_no_conflict_a_success(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group was written, as the server says when it is asked; the unit that did not fit was not in it."""

    async def scene() -> None:
        async with a_store(url) as store:
            await store.commit(unit(tasks=[TaskChange(a_task("t"), None)]))
            units = [
                unit(patches=[(S1, {"model": "written"})]),
                unit(tasks=[TaskChange(a_task("t", status=TaskStatus.RUNNING), DONE)]),
            ]
            commits = asyncio.gather(*(store.commit(u) for u in units), return_exceptions=True)
            outcomes = await without_an_answer(store, monkeypatch, commits)
            assert [type(outcome) for outcome in outcomes] == [type(None), Conflict]
            found = await store.fresh(S1)
            assert found is not None and found.model == "written"

    run(scene())


def test_a_unit_that_does_not_fit_takes_no_idempotency_key_with_it(url: str) -> None:
    """The wish beside it in the group is the first one under the key that is written."""

    async def scene() -> None:
        async with a_store(url) as store:
            wish = a_task("a", idempotency_key="key", created=1.0)
            refused = unit(tasks=[TaskChange(wish, None), TaskChange(a_task("gone"), DONE)])
            again = unit(tasks=[TaskChange(a_task("b", idempotency_key="key", created=2.0), None)])
            outcome = await asyncio.gather(store.commit(refused), store.commit(again), return_exceptions=True)
            assert [type(o) for o in outcome] == [Conflict, type(None)]
            assert [t.id for t in await store.open_tasks(S1)] == ["b"]

    run(scene())


def test_what_one_device_told_and_cannot_be_stored_takes_nothing_of_the_others_with_it(url: str) -> None:
    """All that was touched within a second goes as one job, and so do the histories."""

    async def scene() -> None:
        async with a_store(url) as store:
            wrong = "\ud800"
            store.touch(S1, {"last_inform": 5.0}, {"Device.A": StoredValue(wrong)})
            store.touch(S2, {"last_inform": 6.0}, {"Device.A": StoredValue("1")})
            for number, reason in enumerate(("", wrong, "")):
                ended = SessionRecord(
                    id=f"h{number}", device=S2, started=1.0, ended=2.0, outcome="success", reason=reason
                )
                store.later(unit(sessions=[SessionChange(ended)]))
            assert len((await store.sessions_of(S2, limit=9, cursor=None)).items) == 2
            first, second = await store.fresh(S1), await store.fresh(S2)
            assert first is not None and second is not None
            assert (first.last_inform, second.last_inform) == (0.0, 6.0)
            assert await store.reported(S2) == {"Device.A": "1"}
            assert store.trouble is None

    run(scene())


def test_what_is_wrong_for_all_is_not_tried_for_each(url: str) -> None:
    """A table is gone, or has another layout: thousands of devices a second would be as many transactions that fail."""

    async def scene() -> None:
        async with a_store(url) as store:
            await store._link.fetch("ALTER TABLE device_delta RENAME TO gone")
            for id in (S1, S2):
                store.touch(id, {"last_inform": 5.0}, {"Device.A": StoredValue("1")})
            with capture_logs() as told:
                await store.flush()
            assert [line["devices"] for line in told] == [2]
            await store._link.fetch("ALTER TABLE gone RENAME TO device_delta")

    run(scene())


# --- tasks that nobody has any more ---


def test_an_interrupted_task_that_was_given_to_somebody_who_could_not_write_it_is_given_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database went away between the two, or the answer never came: it would be running until that process ends."""

    async def scene() -> None:
        async with a_store(url) as store, a_store_beside(url) as other:
            running = a_task("t", status=TaskStatus.RUNNING, attempts=1)
            await store.commit(unit(tasks=[TaskChange(running, None)]))
            await store._link.fetch("UPDATE task SET node = 'dead'")
            assert await other.interrupted_tasks(limit=9, now=0.0) == [running]
            for asked in (store, other):
                assert await asked.interrupted_tasks(limit=9, now=0.0) == []
            monkeypatch.setattr(postgres_tasks, "CLAIM", -9.0)  # its time has passed
            assert await store.interrupted_tasks(limit=9, now=0.0) == [running]
            lost = a_task("t", status=TaskStatus.UNKNOWN, attempts=1)
            await store.commit(unit(tasks=[TaskChange(lost, frozenset({TaskStatus.RUNNING}))]))
            assert await other.interrupted_tasks(limit=9, now=0.0) == []

    run(scene())


def test_a_node_whose_sign_of_life_is_late_does_not_take_its_own_tasks(url: str) -> None:
    """The database was away for longer than others wait; the sessions here are as alive as before."""

    async def scene() -> None:
        async with a_store(url) as store:
            await store.commit(unit(tasks=[TaskChange(a_task("t", status=TaskStatus.RUNNING, attempts=1), None)]))
            await store._link.fetch("UPDATE node SET seen = now() - interval '1 minute'")
            assert await store.interrupted_tasks(limit=9, now=0.0) == []

    run(scene())


def test_what_is_written_while_devices_are_read_ahead_is_seen_by_who_goes_on(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query may have looked before the commit: such a device is read anew, the others are not."""

    async def scene() -> None:
        async with a_store(url) as store:
            await store.flush()
            fetch, queries = store._link.fetch, []

            async def late(sql: str, *values: Any) -> Any:
                found = await fetch(sql, *values)
                if sql == SQL["views"]:
                    queries.append(sorted(values[0]))
                    if len(queries) == 1:
                        await store.commit(unit(patches=[(S1, {"tags": ("new",)})]))
                return found

            monkeypatch.setattr(store._link, "fetch", late)
            seen: list[Any] = []
            done = asyncio.Event()

            def ready() -> None:
                for id in (S1, S2, "S9"):
                    looking = store.fresh(id)
                    try:
                        looking.send(None)
                    except StopIteration as stop:
                        seen.append(stop.value)
                    else:
                        looking.close()
                        seen.append(asyncio.ensure_future(store.fresh(id)))
                done.set()

            store.read_ahead([S1, S2, "S9", S1], ready)
            await done.wait()
            assert isinstance(seen[0], asyncio.Future)
            assert (await seen[0]).tags == ("new",)
            assert seen[1].id == S2 and seen[2] is None
            assert queries[0] == [S1, S2, "S9"]
            assert all(asked == [S1] for asked in queries[1:])
            await store.fresh(S2)
            assert queries[-1] == [S2]  # what was read ahead is for those who waited for it

    run(scene())


def test_the_login_of_a_device_that_is_read_ahead_comes_with_it(url: str) -> None:
    """As another node has just committed it, for the one who goes on and for nobody after him."""

    async def scene() -> None:
        async with a_store(url) as store:
            login = CredentialRecord(username="u1", device=S1, ha1_md5="m", ha1_sha256="s")
            await store.commit(unit(credentials=[login, replace(login, username="u9", device="S9")]))
            seen: dict[str, Any] = {}
            done = asyncio.Event()

            def ready() -> None:
                for id in (S1, S2):
                    with pytest.raises(StopIteration) as stop:
                        store.credential_of(id).send(None)
                    seen[id] = stop.value.value
                done.set()

            store.read_ahead([S1, S2, "S9"], ready)
            await done.wait()
            assert seen == {S1: login, S2: None}
            await store._link.fetch("DELETE FROM credential WHERE username = 'u1'")
            assert await store.credential_of(S1) is None
            assert await store.credential_of("S9") == replace(login, username="u9", device="S9")

    run(scene())


# --- damaged rows ---


def test_what_is_damaged_of_one_device_keeps_no_other_from_its_turn(url: str) -> None:
    """What it told lately is told again, a task that cannot be read is left out; only its hot row is an error, for it alone."""

    async def scene() -> None:
        async with a_store(url) as store:
            await store.commit(unit(values=[ValuesChange(id, {"Device.A": StoredValue("1")}) for id in (S1, S2)]))
            await store._link.fetch(
                "UPDATE device_delta SET vals = '\\xc1' WHERE device = (SELECT key FROM device WHERE id = $1)", S1
            )
            store._views.clear()
            found = await asyncio.gather(store.reported(S1), store.reported(S2))
            assert found == [{}, {"Device.A": "1"}]
            for id in (S1, S2):
                store.touch(id, {"last_inform": 7.0}, {"Device.A": StoredValue("2")})
            await store.flush()
            assert [await store.reported(id) for id in (S1, S2)] == [{"Device.A": "2"}] * 2
            await store.commit(unit(tasks=[TaskChange(a_task(id), None) for id in ("t", "u")]))
            await store._link.fetch("UPDATE task SET record = '\\xc1' WHERE id = 't'")
            store._views.clear()
            assert [t.id for t in await store.open_tasks(S1)] == ["u"]
            assert (await store.figures()).open_tasks == 2
            await store._link.fetch("UPDATE device SET rest = '\\xc1' WHERE id = $1", S1)
            store._views.clear()
            outcome = await asyncio.gather(store.device(S1), store.device(S2), return_exceptions=True)
            assert isinstance(outcome[0], StoreError) and "homeport acs db check" in str(outcome[0])
            assert not isinstance(outcome[1], BaseException)
            assert [d.id for d in (await store.devices(None, limit=9, cursor=None)).items] == [S2]

    run(scene())


def test_damaged_rows_come_along_with_their_device(url: str) -> None:
    """A router is exchanged: its history is worth no less for a row in it that cannot be read."""

    async def scene() -> None:
        async with a_store(url) as store:
            await store.commit(unit(tasks=[TaskChange(a_task(id), None) for id in ("t", "u")]))
            await store._link.fetch("UPDATE task SET record = '\\xc1' WHERE id = 't'")
            await store.commit(unit(moved=[(S1, S2)]))
            assert [t.id for t in await store.open_tasks(S2)] == ["u"]
            assert (await store._link.fetch("SELECT device FROM task WHERE id = 't'"))[0][0] == S2

    run(scene())


def test_values_that_cannot_be_read_are_told_with_the_cure_and_leave_no_transaction_open(url: str) -> None:
    """The next unit is written at once."""

    async def scene() -> None:
        async with a_store(url) as store:
            for id in (S1, S2):
                await store.commit(unit(values=[ValuesChange(id, many("1"))]))
            await store._link.fetch(
                "UPDATE device_values SET vals = '\\xc1' WHERE device = (SELECT key FROM device WHERE id = $1)", S1
            )
            page = await store.devices(parse('param("Device.P1") == "1"'), limit=9, cursor=None)
            assert [found.id for found in page.items] == [S2]
            for deed in (store.values(S1), store.commit(unit(values=[ValuesChange(S1, many("2"))]))):
                with pytest.raises(StoreError, match=f"values of {S1} cannot be read.*homeport acs db check"):
                    await deed
            assert store._writer is not None and store._writer._connection is not None
            assert not store._writer._connection.is_in_transaction()
            await store.commit(unit(values=[ValuesChange(S2, many("2"))]))
            assert {v.value for v in (await store.values(S2)).values()} == {"2"}
            assert store.trouble is None

    run(scene())


# --- the start ---


def test_a_user_who_may_not_make_tables_is_told_what_he_needs(url: str) -> None:
    """The most common mistake with a database that somebody else has made."""
    stranger = url.replace("://homeport@", "://stranger@")

    async def scene() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE ROLE stranger LOGIN")
        await connection.close()
        with pytest.raises(StoreError, match=r"permission denied.* must own that database"):
            await PostgresStore(stranger).open()

    run(scene())


def test_a_start_that_fails_leaves_nothing_running(url: str) -> None:
    """The database is there and says that it is up to date, but a table of it is gone."""

    async def scene() -> None:
        before = asyncio.all_tasks()
        connection = await asyncpg.connect(url)
        await connection.execute("ALTER TABLE node RENAME TO gone")
        with pytest.raises(StoreError):
            await PostgresStore(url).open()
        await connection.execute("ALTER TABLE gone RENAME TO node")
        await connection.close()
        assert asyncio.all_tasks() == before

    run(scene())
