"""A PostgreSQL that is ended, cut off or overtaken under nodes: nobody waits for ever, nothing is lost, what was missed is made good."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from homeport.acs.records import StoredValue, TaskRecord
from homeport.acs.storage.interface import TaskChange, UnitOfWork, ValuesChange
from homeport.acs.storage.sql import (
    all_rows,
    postgres,
    postgres_channel,
    postgres_link,
    postgres_values,
    postgres_writer,
    rows,
)
from homeport.acs.storage.sql.postgres import PostgresStore
from homeport.errors import StoreError, StoreUnavailable
from support.postgres import needs_postgres, shared_server
from support.postgres_stores import open_stores, run, until
from support.silent_network import silent_network
from support.store_rows import a_device, a_task, unit

pytestmark = [pytest.mark.postgres, needs_postgres]

S1 = a_device().id


@pytest.fixture(scope="module")
def url() -> str:
    """One database for all tests here; each has nodes and devices of its own."""
    return shared_server().new_database()


@contextlib.asynccontextmanager
async def nodes(url: str, count: int = 1, **options: Any) -> AsyncIterator[list[PostgresStore]]:
    """So many open stores, which hear each other, and one device."""
    async with open_stores(url, count, write_behind=60, **options) as stores:
        with contextlib.suppress(StoreError):
            await stores[0].commit(unit(deleted_devices=[S1]))
        await stores[0].commit(unit(devices=[a_device()]))
        yield stores


async def backend(store: PostgresStore) -> int:
    """The server's process of the writing connection."""
    assert store._writer is not None
    assert store._writer._connection is not None
    return int(await store._writer._connection.fetchval("SELECT pg_backend_pid()"))


def model(name: str) -> UnitOfWork:
    return unit(patches=[(S1, {"model": name})])


# --- mistakes of ours ---


def test_a_unit_that_cannot_be_written_by_a_mistake_of_ours_holds_nobody_up(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told so; its neighbours in the group are written, and so is who comes later."""
    pack = rows.pack_task

    def broken(task: TaskRecord) -> bytes:
        if task.id == "broken":
            raise KeyError("no such thing")
        return pack(task)

    async def scene() -> None:
        async with nodes(url) as (store,):
            monkeypatch.setattr(rows, "pack_task", broken)
            wishes = [store.commit(unit(tasks=[TaskChange(a_task(id), None)])) for id in ("good", "broken", "fine")]
            outcome = await asyncio.gather(*wishes, return_exceptions=True)
            assert [type(o) for o in outcome] == [type(None), StoreError, type(None)]
            assert "KeyError" in str(outcome[1])
            await store.commit(model("later"))
            assert [t.id for t in await store.open_tasks(S1)] == ["fine", "good"]

    run(scene(), 6)


# --- a server that ends connections ---


@pytest.mark.parametrize("at", ["between", "within", "commit", "standby"])
def test_a_writing_connection_that_is_ended_costs_nobody_an_error(
    url: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an operator's hand, or because a node stood still in a transaction: the group is written once, on another connection."""

    async def scene() -> None:
        async with nodes(url, 2) as (store, other):
            await store.commit(model("first"))
            ended = [await backend(store)]

            async def end() -> None:
                while ended:
                    await other._link.fetch("SELECT pg_terminate_backend($1)", ended.pop())

            transaction, execute = postgres_writer.GroupWriter._fill, asyncpg.Connection.execute

            async def filled(self: Any, *given: Any) -> None:
                await transaction(self, *given)
                if at == "within" and self._node == store.node:
                    await end()

            async def executed(self: Any, query: str, *given: Any, **named: Any) -> Any:
                if at == "commit" and query == "COMMIT" and ended:
                    await execute(self, query)
                    await end()
                    return await execute(
                        self, "SELECT 1"
                    )  # the answer that was lost: the server's last word comes for it
                return await execute(self, query, *given, **named)

            monkeypatch.setattr(postgres_writer.GroupWriter, "_fill", filled)
            monkeypatch.setattr(asyncpg.Connection, "execute", executed)
            if at == "between":
                await end()
            if at == "standby":  # another server has taken over, and this one only reads now
                await store._writer._connection.execute("SET default_transaction_read_only = on")  # type: ignore[union-attr]
                ended.clear()
            task = TaskChange(a_task("once"), None)
            await store.commit(unit(tasks=[task], patches=[(S1, {"model": "second"})]))
            monkeypatch.undo()
            assert not ended
            assert store.trouble is None
            found = await other.fresh(S1)
            assert found is not None
            assert found.model == "second"

    run(scene(), 6)


def test_a_node_that_stands_still_in_a_transaction_does_not_hold_the_others_up(url: str) -> None:
    """The server ends its transaction before those who wait for its rows give up."""
    settings = postgres_link._SETTINGS
    idle, waits = (
        int(settings[name].removesuffix("s")) for name in ("idle_in_transaction_session_timeout", "lock_timeout")
    )
    assert 2 * idle < waits < postgres_link.STATEMENT_TIMEOUT

    async def scene() -> None:
        async with nodes(url) as (store,):
            await store.commit(model("before"))
            assert store._writer is not None
            assert store._writer._connection is not None
            await store._writer._connection.execute("SET idle_in_transaction_session_timeout = '50ms'")
            still = await asyncpg.connect(url, server_settings={"idle_in_transaction_session_timeout": "100ms"})
            await still.execute("BEGIN")
            await still.fetch("SELECT 1 FROM device FOR UPDATE")
            await store.commit(model("after"))
            assert store.trouble is None
            still.terminate()

    run(scene(), 6)


def test_a_commit_that_a_crash_has_lost_is_not_judged_by_another_transactions_number(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not on the disk takes its number with it, and the server gives that to the next one: no answer may rest on it."""

    async def scene() -> None:
        async with nodes(url) as (store,):
            await store.commit(model("before"))
            doomed = [await backend(store)]
            execute = asyncpg.Connection.execute
            crashes = "SELECT stats_reset FROM pg_stat_bgwriter"

            async def executed(self: Any, query: str, *given: Any, **named: Any) -> Any:
                if query != "COMMIT" or not doomed:
                    return await execute(self, query, *given, **named)
                before = await store._link.fetch(crashes)
                os.kill(doomed.pop(), signal.SIGKILL)  # all of the server's memory goes with it
                now = before
                while now == before:
                    with contextlib.suppress(StoreUnavailable):
                        now = await store._link.fetch(crashes)
                for _ in range(3):  # others are quicker: its number is one of theirs
                    await store._link.fetch("SELECT pg_current_xact_id()")
                return await execute(self, "SELECT 1")

            monkeypatch.setattr(asyncpg.Connection, "execute", executed)
            with pytest.raises(StoreUnavailable):
                await store.commit(model("lost"))
            monkeypatch.undo()
            await store.commit(unit(tasks=[TaskChange(a_task("later"), None)]))
            found = await store.fresh(S1)
            assert found is not None
            assert found.model == "before"

    run(scene(), 6)


# --- a network that swallows all ---


def test_a_node_that_was_cut_off_without_a_word_hears_again_and_says_that_it_missed_something(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listening connection seems to stand for ever: only a question on it tells that it is dead."""
    for name in ("PROBE_EVERY", "PROBE_WITHIN", "RELISTEN"):
        monkeypatch.setattr(postgres_channel, name, 0.1)
    for name in ("CONNECT_TIMEOUT", "STATEMENT_TIMEOUT"):
        monkeypatch.setattr(postgres_link, name, 0.2)

    async def scene() -> None:
        async with silent_network(url) as network, nodes(network.url) as (deaf,), nodes(url, 2) as (_, teller):
            heard: list[str] = []
            resumed: list[bool] = []
            deaf.channel.heard = heard.append
            deaf.channel.resumed = lambda: resumed.append(True)
            teller.channel.say("before")
            await until(lambda: heard)
            network.cut()
            teller.channel.say("meanwhile")
            await until(lambda: not deaf.channel.listening)
            network.mend()
            await until(lambda: deaf.channel.listening)
            assert resumed == [True]
            teller.channel.say("after")
            await until(lambda: len(heard) == 2)
            assert heard == ["before", "after"]

    run(scene(), 6)


def test_a_silent_database_is_told_after_one_time_limit_however_many_ask(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who queues behind those who wait gets the same answer, and connections that stood before the cut are tried by nobody after it."""
    for name in ("CONNECT_TIMEOUT", "STATEMENT_TIMEOUT"):
        monkeypatch.setattr(postgres_link, name, 0.3)

    async def scene() -> None:
        async with silent_network(url) as network, nodes(network.url) as (store,):
            await asyncio.gather(*(store.task(f"{n}") for n in range(20)))
            network.cut()
            began = time.monotonic()
            asked = [store.task(f"{n}") for n in range(40)] + [store.commit(model("never"))]
            outcome = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(o, StoreUnavailable) for o in outcome)
            assert time.monotonic() - began < 1.0
            network.mend()
            await store.task("1")
            await store.commit(model("again"))
            assert store.trouble is None

    run(scene(), 6)


def test_a_long_change_of_the_layout_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the node that makes it and by those that start meanwhile: with workers, one that gave up would end them all, and it."""
    short = shared_server().new_database()
    steps = postgres.migrations(postgres.MIGRATIONS)
    monkeypatch.setattr(postgres, "migrations", lambda _: [*steps, (steps[-1][0] + 1, "SELECT pg_sleep(0.3)")])
    monkeypatch.setattr(postgres_link, "STATEMENT_TIMEOUT", 0.2)
    monkeypatch.setitem(postgres_link._SETTINGS, "lock_timeout", "50ms")

    async def scene() -> None:
        stores = [PostgresStore(short, node=f"m{n}") for n in range(2)]
        await asyncio.gather(*(store.open() for store in stores))
        found = await stores[0]._link.fetch("SHOW lock_timeout")
        assert found[0][0] == "50ms"
        await asyncio.gather(*(store.close() for store in stores))

    run(scene(), 6)


def test_a_backup_to_a_slow_disk_is_whole(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces it may wait longer than a node may stand still in a transaction: it holds nobody up."""
    monkeypatch.setattr(all_rows, "BATCH", 1)

    async def scene() -> None:
        async with nodes(url):
            monkeypatch.setitem(postgres_link._SETTINGS, "idle_in_transaction_session_timeout", "20ms")
            tables = set()
            async for table, _ in all_rows.everything(url):
                await asyncio.sleep(0.04)
                tables.add(table)
            assert {"device", "secret"} - tables <= {"secret"}

    run(scene(), 6)


# --- waiting, and going away ---


def test_who_stops_waiting_for_a_write_changes_nothing_of_it(url: str) -> None:
    """A request that is cancelled: the rows are written all the same, and what was read of the device before serves no longer."""

    async def scene() -> None:
        async with nodes(url) as (store,):
            await store.device(S1)
            waiting = asyncio.ensure_future(store.commit(model("written")))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await store.device(S1)  # read in the moment before the commit
            await store._working().submit(postgres_writer.Job())
            found = await store.device(S1)
            assert found is not None
            assert found.model == "written"
            store.touch(S1, {"last_inform": 7.0}, {})
            flush = asyncio.ensure_future(store.flush())
            await asyncio.sleep(0)
            flush.cancel()
            await asyncio.gather(flush, return_exceptions=True)
            assert [f for f, _ in store._behind.of(S1)] == [{"last_inform": 7.0}]
            await store.flush()
            assert store._behind.of(S1) == ()

    run(scene(), 6)


# --- another server under the same name ---


def test_a_server_that_has_taken_over_may_have_given_an_id_to_another_list_of_paths(url: str) -> None:
    """What was remembered of path lists goes with the connections: values are never shown under others' names."""

    async def scene() -> None:
        async with nodes(url) as (store,):
            many = {f"Device.P{n}": StoredValue(str(n)) for n in range(40)}
            await store.commit(unit(values=[ValuesChange(S1, many)]))
            assert (await store.values(S1, "Device.P7"))["Device.P7"].value == "7"
            # The last transactions before the failover are lost, and the number of the list is used again.
            others = msgspec.msgpack.encode([(f"Device.Q{n}", "string", None) for n in range(40)])
            await store._link.fetch("UPDATE path_list SET paths = $1, hash = 'other'", others)
            store._link.drop_idle()
            await asyncio.gather(*(store.task(f"{n}") for n in range(4)))
            assert "Device.P7" not in await store.values(S1)

    run(scene(), 6)


def test_path_lists_of_many_models_are_read_at_once_without_losing_one(url: str) -> None:
    """More lists than are remembered, asked for by several at the same time: each device has all its values each time."""

    async def scene() -> None:
        async with nodes(url) as (store,):
            ids = [f"M{n}" for n in range(3 * postgres_values.MOST_LISTS // 2)]
            made = unit(devices=[a_device()], values=[])
            made.devices[:] = [type(a_device())(id=i, oui="O", product_class="", serial_number=i) for i in ids]
            await store.commit(made)
            changes = [ValuesChange(i, {f"Device.{i}.P{n}": StoredValue("1") for n in range(40)}) for i in ids]
            await store.commit(unit(values=changes))
            for _ in range(2):
                found = await asyncio.gather(*(store.values(i) for i in ids))
                assert {len(f) for f in found} == {40}
            await store.commit(unit(deleted_devices=ids))

    run(scene(), 6)


# --- clocks ---


def test_a_node_whose_clock_is_wrong_goes_by_the_servers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes between two machines would end sessions early and put tasks in the wrong order."""
    now = time.time

    async def scene() -> None:
        async with nodes(url) as (right,):
            assert right.channel.ahead == 0.0
            monkeypatch.setattr(time, "time", lambda: now() - 300)
            async with nodes(url) as (wrong,):
                assert 299 < wrong.channel.ahead < 301
                monkeypatch.undo()
                connection = await wrong._link.connect()
                await wrong.channel.look_at_the_clock(connection)
                wrong._link.give(connection)
                assert wrong.channel.ahead == 0.0, "it was set right meanwhile"

    run(scene(), 6)
