"""What PostgreSQL adds to the contract: several nodes on one database, and a server that goes away and comes back."""

import asyncio
from typing import Any

import pytest

from homeport.acs.records import (
    CredentialRecord,
    DeviceRecord,
    EventRecord,
    LeaseRecord,
    StoredValue,
    TaskPhase,
    TaskRecord,
    TaskStatus,
)
from homeport.acs.storage.interface import Conflict, TaskChange, ValuesChange
from homeport.acs.storage.sql import postgres, postgres_lookups
from homeport.acs.storage.sql.postgres import MIGRATIONS, PostgresStore
from homeport.acs.storage.sql.postgres_link import SQL, safe_url
from homeport.acs.storage.sql.postgres_writer import NOTE_MOST, notes
from homeport.acs.storage.sql.queries import migrations
from homeport.acs.where import parse
from homeport.errors import StoreError, StoreUnavailable
from support.postgres import needs_postgres, shared_server
from support.postgres_stores import open_stores, run, until, without_an_answer
from support.store_rows import unit

pytestmark = [pytest.mark.postgres, needs_postgres]

QUEUED, RUNNING = frozenset({TaskStatus.QUEUED}), frozenset({TaskStatus.RUNNING})


@pytest.fixture
def url() -> str:
    return shared_server().new_database()


def a_device(serial: str = "S1") -> DeviceRecord:
    return DeviceRecord(id=serial, oui="00D0F1", product_class="", serial_number=serial)


def a_task(id: str = "t", **fields: Any) -> TaskRecord:
    return TaskRecord(id=id, device="S1", rpc="Reboot", args={}, **fields)


def test_nodes_that_open_at_once_share_one_layout(url: str) -> None:
    """The migrations run once, whoever comes first."""

    async def scene() -> None:
        async with open_stores(url, 4) as (first, *_):
            applied = (await first._link.fetch("SELECT count(*) FROM layout"))[0][0]
            assert applied == len(migrations(MIGRATIONS))

    run(scene(), 40)


def test_two_nodes_do_not_undo_each_other(url: str) -> None:
    """Fields and values that two nodes change in the same moment are all there, however often both read before."""

    async def scene() -> None:
        async with open_stores(url) as (a, b):
            await a.commit(unit(devices=[a_device()]))
            for i in range(40):
                await asyncio.gather(a.device("S1"), b.device("S1"))
                await asyncio.gather(
                    a.commit(unit(patches=[("S1", {"model": f"m{i}"})], values=[_value("S1", f"A{i}")])),
                    b.commit(unit(patches=[("S1", {"provisioning_code": f"p{i}"})], values=[_value("S1", f"B{i}")])),
                )
                if i % 10 == 9:
                    many = ValuesChange("S1", {f"Device.M{n}": StoredValue(str(i)) for n in range(50)})
                    await asyncio.gather(a.commit(unit(values=[many])), b.commit(unit(values=[_value("S1", f"C{i}")])))
            for store in (a, b):
                found = await store.device("S1")
                assert found is not None
                assert (found.model, found.provisioning_code) == ("m39", "p39")
                assert len(await store.values("S1")) == 40 + 40 + 50 + 4

    run(scene(), 40)


def _value(device: str, name: str) -> ValuesChange:
    return ValuesChange(device, {f"Device.{name}": StoredValue(name)})


def test_a_device_that_two_nodes_meet_at_once_is_made_once(url: str) -> None:
    """One of them is told of the conflict, and neither spoils the other units of its group."""

    async def scene() -> None:
        async with open_stores(url) as (a, b):
            for i in range(10):
                jobs = [s.commit(unit(devices=[a_device(f"{i}")])) for s in (a, b)]
                jobs += [s.commit(unit(devices=[a_device(f"{i}-{s.node}")])) for s in (a, b)]
                outcome = await asyncio.gather(*jobs, return_exceptions=True)
                assert sorted(type(o).__name__ for o in outcome[:2]) == ["Conflict", "NoneType"]
                assert outcome[2:] == [None, None]
            assert await a.device_count() == 30

    run(scene(), 40)


def test_a_commit_is_seen_at_the_other_node_which_is_told_of_it(url: str) -> None:
    """What a node has read is dropped when another changes it, and who waits there for the task is woken."""

    async def scene() -> None:
        async with open_stores(url) as (a, b):
            await a.commit(unit(devices=[a_device()]))
            told: list[tuple[str, str]] = []
            b.on_change = lambda task, device: told.append((task, device))
            assert await b.open_tasks("S1") == ()
            await a.commit(unit(tasks=[TaskChange(a_task(), None)]))
            await until(lambda: ("t", "S1") in told)
            assert [t.id for t in await b.open_tasks("S1")] == ["t"]
            told.clear()  # the word of the device's making may have come only after `on_change` was set
            await a.commit(unit(deleted_devices=["S1"]))
            await until(lambda: ("", "S1") in told)
            assert await b.device("S1") is None

    run(scene(), 40)


def test_a_device_under_another_id_is_seen_at_the_other_node(url: str) -> None:
    """Both ids are told: the tasks that a node has read under the old one are not done there any more."""

    async def scene() -> None:
        async with open_stores(url) as (a, b):
            told: list[tuple[str, str]] = []
            b.on_change = lambda task, device: told.append((task, device))
            await a.commit(unit(devices=[a_device(), a_device("S2")], tasks=[TaskChange(a_task(), None)]))
            await until(lambda: {("t", "S1"), ("", "S1"), ("", "S2")} <= set(told))
            assert [t.id for t in await b.open_tasks("S1")] == ["t"]
            assert await b.open_tasks("S2") == ()
            told.clear()
            await a.commit(unit(moved=[("S1", "S2")]))
            await until(lambda: {("", "S1"), ("", "S2")} <= set(told))
            assert await b.device("S1") is None
            assert [t.device for t in await b.open_tasks("S2")] == ["S2"]
            with pytest.raises(Conflict, match="belongs to the device S2"):
                await b.commit(unit(tasks=[TaskChange(a_task(status=TaskStatus.RUNNING), QUEUED)]))

    run(scene(), 40)


def test_a_node_that_was_overtaken_cannot_end_the_next_attempt(url: str) -> None:
    """Its session is dead without its knowing; the task runs at another node, and only that one may say how it ends."""

    async def scene() -> None:
        async with open_stores(url) as (a, b):
            await a.commit(unit(devices=[a_device()], tasks=[TaskChange(a_task(), None)]))
            first = a_task(status=TaskStatus.RUNNING, phase=TaskPhase.SENT, attempts=1)
            await a.commit(unit(tasks=[TaskChange(first, QUEUED)]))
            await b.commit(unit(tasks=[TaskChange(a_task(attempts=1), RUNNING)]))
            second = a_task(status=TaskStatus.RUNNING, phase=TaskPhase.SENT, attempts=2)
            await b.commit(unit(tasks=[TaskChange(second, QUEUED)]))
            with pytest.raises(Conflict, match="sent again"):
                await a.commit(unit(tasks=[TaskChange(a_task(status=TaskStatus.UNKNOWN, attempts=1), RUNNING)]))
            await b.commit(unit(tasks=[TaskChange(a_task(status=TaskStatus.DONE, attempts=2), RUNNING)]))
            assert (await a.task("t")) == a_task(status=TaskStatus.DONE, attempts=2)

    run(scene(), 40)


def test_a_starting_node_leaves_the_tasks_of_living_nodes_alone(url: str) -> None:
    """Only tasks of nodes that gave no sign of life for a while were interrupted, and only one node takes them over."""

    async def scene() -> None:
        async with open_stores(url, 3) as (a, b, c):
            await a.commit(unit(devices=[a_device()], tasks=[TaskChange(a_task(), None)]))
            await a.commit(unit(tasks=[TaskChange(a_task(status=TaskStatus.RUNNING, attempts=1), QUEUED)]))
            assert await b.interrupted_tasks(limit=10, now=0.0) == []
            assert a._timer is not None
            a._timer.cancel()  # it gives no more signs of life
            await a.flush()
            await b._link.fetch("UPDATE node SET seen = now() - interval '1 minute' WHERE name = 'n0'")
            taken = await asyncio.gather(b.interrupted_tasks(limit=10, now=0.0), c.interrupted_tasks(limit=10, now=0.0))
            assert sorted(len(t) for t in taken) == [0, 1]

    run(scene(), 40)


def test_a_server_that_goes_away_is_told_and_service_resumes_by_itself(url: str) -> None:
    """Each call fails with StoreUnavailable, nothing is half-written, what waited is kept, and no one has to restart us."""

    async def scene() -> None:
        server = shared_server()
        async with open_stores(url, 1, write_behind=0.02) as (store,):
            await store.commit(unit(devices=[a_device()]))
            store.touch("S1", {"last_inform": 5.0}, {"Device.X": StoredValue("1")})
            server.stop(hard=True)
            try:
                with pytest.raises(StoreUnavailable):
                    await store.commit(unit(patches=[("S1", {"model": "never"})]))
                assert store.trouble is not None
                for reading in (store.device("S1"), store.values("S1"), store.devices(None, limit=1, cursor=None)):
                    with pytest.raises(StoreUnavailable):
                        await reading
                with pytest.raises(StoreUnavailable):
                    store.touch("S1", {"last_inform": 6.0}, {})
                with pytest.raises(StoreUnavailable):
                    store.later(unit())
            finally:
                server.start()
            await until(lambda: store.trouble is None)
            await store.commit(unit(values=[_value("S1", "Y")]))
            found = await store.device("S1")
            assert found is not None
            assert (found.model, found.last_inform) == ("", 5.0)
            assert list(await store.values("S1")) == ["Device.X", "Device.Y"]
            await until(lambda: store.channel.listening)

    run(scene(), 40)


def test_while_the_server_is_away_nobody_queues(url: str) -> None:
    """However many ask, all are answered at the first failed try to connect, and the writer's queue stays empty."""

    async def scene() -> None:
        server = shared_server()
        async with open_stores(url, 1, write_behind=0.01) as (store,):
            await store.commit(unit(devices=[a_device()]))
            assert store._writer is not None
            server.stop(hard=True)
            try:
                for _ in range(3):
                    jobs = [store.commit(unit(patches=[("S1", {"model": "m"})])) for _ in range(600)]
                    outcome = await asyncio.gather(*jobs, return_exceptions=True)
                    assert all(isinstance(o, StoreUnavailable) for o in outcome)
                    assert len(store._writer._jobs) <= 1
            finally:
                server.start()
            await until(lambda: store.trouble is None)
            assert await store.device("S1") == a_device()

    run(scene(), 40)


def test_connections_that_broke_unused_are_not_felt(url: str) -> None:
    """A server that was restarted between two calls costs nobody an error."""

    async def scene() -> None:
        server = shared_server()
        async with open_stores(url, 1, write_behind=60) as (store,):
            await store.commit(unit(devices=[a_device()]))
            await store.task("t")
            server.stop()
            server.start()
            assert await store.device("S1") == a_device()
            await store.commit(unit(patches=[("S1", {"model": "m"})]))
            assert store.trouble is None

    run(scene(), 40)


def test_a_commit_whose_answer_is_lost_is_asked_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks just after the server took the COMMIT: the unit is written, so nobody is told that it failed."""

    async def scene() -> None:
        async with open_stores(url, 1, write_behind=60) as (store,):
            await without_an_answer(store, monkeypatch, store.commit(unit(devices=[a_device()])))
            assert await store.device("S1") == a_device()

    run(scene(), 40)


def test_commits_of_the_same_moment_share_a_transaction(url: str) -> None:
    """Group commit: many units, few transactions."""

    async def scene() -> None:
        async with open_stores(url, 1) as (store,):
            await store.commit(unit(devices=[a_device(f"S{i}") for i in range(200)]))
            before = store.group_commits
            await asyncio.gather(*(store.commit(unit(patches=[(f"S{i}", {"model": "m"})])) for i in range(200)))
            groups, units = (after - b for after, b in zip(store.group_commits, before, strict=True))
            assert units >= 200
            assert groups <= 10

    run(scene(), 40)


def test_texts_that_postgresql_cannot_hold_do_no_harm(url: str) -> None:
    """A NUL or half a surrogate pair is found nowhere, is replaced in a column, and stands only against its own unit."""

    async def scene() -> None:
        async with open_stores(url, 1) as (store,):
            await store.commit(unit(devices=[a_device()]))
            for text in ("S1\0", "\ud800"):
                assert await store.device(text) is None
                assert await store.task(text) is None
                assert await store.values(text) == {}
                outcome = await asyncio.gather(
                    store.commit(unit(devices=[a_device(text)])),
                    store.commit(unit(patches=[("S1", {"model": f"m{text}"})])),
                    return_exceptions=True,
                )
                assert isinstance(outcome[0], StoreError)
                assert outcome[1] is None
            found = await store.device("S1")
            assert found is not None
            assert found.model == "m\ufffd"
            assert (await store.devices(parse(r'model == "a\0b"'), limit=5, cursor=None)).items == ()
            event = EventRecord(id="e", device="S1", session="s", at=1.0, code="x\0y")
            await store.commit(unit(events=[event]))
            assert (await store.events_of("S1", limit=1, cursor=None)).items == (event,)

    run(scene(), 40)


def test_a_database_of_a_newer_homeport_is_left_alone(url: str) -> None:
    """An unknown layout is refused with the cure, not guessed at."""

    async def scene() -> None:
        async with open_stores(url, 1) as (store,):
            await store._link.fetch("INSERT INTO layout (number) VALUES (999)")
        with pytest.raises(StoreError, match="newer Homeport"):
            await PostgresStore(url).open()

    run(scene(), 40)


def test_a_database_that_is_not_there_is_named_without_the_password() -> None:
    """The message says which setting to correct."""
    with pytest.raises(StoreError, match="correct the setting database"):
        asyncio.run(PostgresStore(shared_server().url("nowhere")).open())
    assert safe_url("postgresql://u:secret@db.example/acs?x=y") == "postgresql://u@db.example/acs"


def test_notices_are_cut_to_what_the_server_takes() -> None:
    """Each begins with the node's name and holds whole lines."""
    subjects = [f"t {i:020} 00D0F1-X-S{i}" for i in range(1000)]
    cut = notes("n0", [*subjects, *subjects])
    assert all(note.startswith("n0\n") and len(note.encode()) <= NOTE_MOST for note in cut)
    assert [line for note in cut for line in note.split("\n")[1:]] == subjects


def test_a_word_reaches_all_other_nodes_and_a_node_that_has_gone_is_known_to_be_gone(url: str) -> None:
    """Words are heard in their order, not by who said them; a node lives as long as its connection stands."""

    async def scene() -> None:
        heard: list[tuple[str, str]] = []
        async with open_stores(url, 3) as (a, b, c):
            for store in (a, b, c):
                store.channel.heard = lambda text, node=store.node: heard.append((node, text))
            words = [f"word {n} " + "x" * 100 for n in range(200)]
            for word in words:
                a.channel.say(word)
            a.channel.say("y" * 10_000)  # longer than a notification: nobody hears it, and nothing breaks
            await until(lambda: len(heard) == 400)
            assert [w for n, w in heard if n == "n1"] == [w for n, w in heard if n == "n2"] == words
            assert [await a.channel.alive(n) for n in ("n0", "n1", "n2", "n3")] == [True, True, True, False]
            await b.close()
            async with asyncio.timeout(10):
                while await a.channel.alive("n1"):
                    await asyncio.sleep(0)

    run(scene(), 40)


def test_two_nodes_that_want_one_session_do_not_both_get_it(url: str) -> None:
    """The lease is taken by one; the other is told that it came too late."""

    async def scene() -> None:
        async with open_stores(url) as (a, b):
            lease = LeaseRecord(device="S1", session="s", cookie="c", node="gone", until=1.0, state=b"")
            await a.commit(unit(devices=[a_device()], leases=[lease]))
            taken = await asyncio.gather(a.take_lease(lease), b.take_lease(lease))
            assert sorted(taken) == [False, True]
            found = await a.lease("c")
            assert found is not None
            assert found.node == ("n0" if taken[0] else "n1")
            await a.commit(unit(leases=[lease]))
            over = await asyncio.gather(*(s.expired_leases(now=2.0, limit=9, living=[]) for s in (a, b)))
            assert sorted(map(len, over)) == [0, 1]

    run(scene(), 40)


def test_who_asks_for_a_device_anew_sees_what_another_node_has_just_committed(url: str) -> None:
    """The notice of it may still be on its way; a session may go by what was read a moment ago, a person may not."""

    async def scene() -> None:
        async with open_stores(url) as (a, b):
            await a.commit(unit(devices=[a_device()]))
            while await b.device("S1") is None:
                await asyncio.sleep(0)
            b.channel._noted = lambda subjects: None
            await b.fresh("S1")
            await a.commit(unit(patches=[("S1", {"tags": ("new",)})]))
            found = await b.fresh("S1")
            assert found is not None
            assert found.tags == ("new",)

    run(scene(), 40)


# --- logins ---


def test_logins_that_are_asked_for_together_share_a_query_and_are_as_they_are_now(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another node has committed before somebody asked is in the answer. What goes wrong is told to each."""

    async def scene() -> None:
        async with open_stores(url) as (a, b):
            logins = [
                CredentialRecord(username=f"u{n}", device=f"D{n}" if n % 2 else "", ha1_md5="", ha1_sha256="")
                for n in range(20)
            ]
            await b.commit(unit(credentials=logins))
            fetch, queries = a._link.fetch, []

            async def noted(sql: str, *values: Any) -> Any:
                queries.append(sql)
                return await fetch(sql, *values)

            monkeypatch.setattr(a._link, "fetch", noted)
            names = [f"u{n}" for n in range(20)]
            found = await asyncio.gather(*map(a.credential, [*names, "u3", "none", "nul\0"]))
            assert list(found) == [*logins, logins[3], None, None]
            own = await asyncio.gather(*(a.credential_of(f"D{n}") for n in range(20)))
            assert list(own) == [login if login.device else None for login in logins]
            assert await a.credential_of("") is None
            assert len(queries) <= 4
            first = asyncio.ensure_future(a.credential("u1"))
            while not a._logins._reading or a._logins._wanted:
                await asyncio.sleep(0)  # its query is on the way
            await b.commit(unit(deleted_credentials=["u1"]))
            assert await a.credential("u1") is None
            assert await first in (logins[1], None)
            await fetch("ALTER TABLE credential RENAME TO elsewhere")
            outcomes = await asyncio.gather(*map(a.credential, names), return_exceptions=True)
            assert all(isinstance(outcome, StoreError) for outcome in outcomes)
            await fetch("ALTER TABLE elsewhere RENAME TO credential")
            assert await a.credential("u2") == logins[2]

    run(scene(), 40)


# --- searches ---


def test_a_search_reads_no_more_values_at_once_than_memory_has_room_for(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes, with the lists of their paths; a device with more is read alone. What is found is the same, page by page."""

    async def scene() -> None:
        async with open_stores(url, 1) as (store,):
            sizes = {"A": 10, "B": 300, "C": 10, "D": 8_000, "E": 10, "F": 10}
            for name, count in sizes.items():
                change = ValuesChange(
                    name, {f"Device.X.{n}": StoredValue(f"{name} {n % 2}" * 10) for n in range(count)}
                )
                await store.commit(unit(devices=[a_device(name)], values=[change]))
            store.touch("C", {"last_inform": 1.0}, {"Device.X.3": StoredValue("told")})
            where = parse("param('Device.X.3') != 'told'")
            fetch, asked = store._link.fetch, []

            async def noted(sql: str, *values: Any) -> Any:
                if sql == SQL["values"]:
                    asked.append(list(values[0]))
                return await fetch(sql, *values)

            monkeypatch.setattr(store._link, "fetch", noted)
            monkeypatch.setattr(postgres_lookups, "MOST_AT_ONCE", 2_000)
            whole = await store.devices(where, limit=9, cursor=None)
            assert [d.id for d in whole.items] == ["A", "B", "D", "E", "F"]
            assert asked == [["A"], ["B"], ["C"], ["D"], ["E", "F"]]
            found: list[str] = []
            page = await store.devices(where, limit=2, cursor=None)
            while True:
                found += [d.id for d in page.items]
                if page.next is None:
                    break
                page = await store.devices(where, limit=2, cursor=page.next)
            assert found == [d.id for d in whole.items]
            monkeypatch.setattr(postgres, "SEARCH_SECONDS", -1.0)
            ended = await store.devices(where, limit=9, cursor=None)
            assert ([d.id for d in ended.items], ended.next) == (["A"], "A")

    run(scene(), 40)
