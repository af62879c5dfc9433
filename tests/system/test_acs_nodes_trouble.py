"""Nodes that lose words, their connection or some minutes: what they missed is made good, and nothing of theirs undoes others' work."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from homeport.acs.endpoint.handover import GIVEN
from homeport.acs.records import TaskStatus
from homeport.acs.services import tasks as task_verbs
from homeport.acs.storage.interface import TaskChange, UnitOfWork
from homeport.acs.storage.sql import postgres_channel
from homeport.codec.envelope import decode
from homeport.codec.messages import GetParameterValues, Reboot, RebootResponse
from support.acs_nodes import a_hopping_device, nodes, stream
from support.acs_wire import Bed, acs, id_of, values
from support.postgres import needs_postgres, shared_server

pytestmark = [pytest.mark.system, pytest.mark.postgres, needs_postgres]


class Pair:
    """Two nodes on one database for all tests here; each test has a device of its own."""

    def __init__(self, runner: asyncio.Runner, a: Bed, b: Bed) -> None:
        self._runner = runner
        self.a, self.b = a, b

    def play(self, scene: Callable[[Bed, Bed], Coroutine[Any, Any, None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await scene(self.a, self.b)

        self._runner.run(limited())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        both = nodes(tmp_path_factory.mktemp("pair"), shared_server().new_database())
        yield Pair(runner, *runner.run(stack.enter_async_context(both)))
        runner.run(stack.aclose())


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_channel, "RELISTEN", 0.01)


async def deafened(bed: Bed, teller: Bed, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """The server ends the connection on which the node listens; it makes no other before the event is set."""
    store: Any = bed.app.store
    link, go = store._link, asyncio.Event()

    async def connect() -> Any:
        await go.wait()
        return await link.connect()

    monkeypatch.setattr(store.channel, "_link", SimpleNamespace(connect=connect, fetch=link.fetch))
    await teller.app.store._link.fetch(  # type: ignore[attr-defined]
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        " AND objid = (hashtext($1)::bigint & 4294967295)::oid",
        store.node,
    )
    async with asyncio.timeout(5):
        while store.channel.listening or await teller.app.store.channel.alive(store.node):  # type: ignore[union-attr]
            await asyncio.sleep(0)
    return go


async def told(reader: asyncio.StreamReader, kind: str) -> Any:
    """The next event of this kind."""
    async with asyncio.timeout(10):
        while True:
            line = await reader.readuntil(b"\n")
            if line.startswith(b"data: ") and json.loads(line[6:])["kind"] == kind:
                return json.loads(line[6:])


def test_an_event_stream_that_missed_something_says_so_and_goes_on(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node was deaf for a while, or another one could not speak: the listener reads anew what he shows, and is told what comes."""

    async def scene(a: Bed, b: Bed) -> None:
        reader = await stream(b)
        async with asyncio.timeout(10):
            while not a.app.hub.bus.listening:
                await asyncio.sleep(0)
        go = await deafened(b, a, monkeypatch)
        await (await a.device("S0")).session("0 BOOTSTRAP")  # nobody hears of this one
        go.set()
        await told(reader, "gap")
        await (await a.device("N00")).session("0 BOOTSTRAP")
        assert (await told(reader, "inform"))["device"] == id_of("N00")
        channel: Any = a.app.store.channel
        channel.lost()  # what a node could not say it owns up to as soon as it can speak again
        a.app.hub.peers.own_up()  # type: ignore[union-attr]
        await told(reader, "gap")

    pair.play(scene)


def test_a_node_that_has_just_started_tells_its_events_at_once(pair: Pair, tmp_path: Path) -> None:
    """It asks who reads the stream, and does not wait until that is told anew: restarted every few seconds it would never speak."""

    async def scene(a: Bed, b: Bed) -> None:
        reader = await stream(b)
        async with acs(tmp_path, database=a.app.settings.database) as young:
            assert young.app.store.channel.listening  # type: ignore[union-attr]
            async with asyncio.timeout(1):
                while not young.app.hub.bus.listening:
                    await asyncio.sleep(0)
            await (await young.device("N10")).session("0 BOOTSTRAP")
            assert (await told(reader, "inform"))["device"] == id_of("N10")

    pair.play(scene)


def test_a_node_that_was_taken_for_dead_lets_go_of_the_session_that_went_on_elsewhere(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device's answer came to another node meanwhile: the first one neither goes on nor says that the answer was lost."""

    async def scene(a: Bed, b: Bed) -> None:
        await (await a.device("N1")).session("0 BOOTSTRAP")
        task = await a.task("Reboot", serial="N1")
        device = await a_hopping_device([b, a], "N1")
        await device.inform()
        device.beds = [b, a]
        asked = decode((await device.post(None)).body)
        assert isinstance(asked.body, Reboot)
        old = a.app.door.live.of_device(id_of("N1"))
        assert old is not None
        sent = old.work.task
        go = await deafened(a, b, monkeypatch)
        assert (await device.post(RebootResponse(), id=asked.id)).status == 204
        before = await b.task_now(task)
        assert (before["status"], before["phase"]) == ("running", "restart")
        go.set()
        async with asyncio.timeout(5):
            while a.app.door.live.of_device(id_of("N1")) is not None:
                await asyncio.sleep(0)
        # Where it finds out only at the end of its patience, it does no harm either.
        a.app.door.live.add(old)
        old.over, old.work.task, old.work.leased = False, sent, True
        await a.app.door._give_up(old, "aborted", "the device was silent")
        assert await b.task_now(task) == before
        await device.close()

    pair.play(scene)


def test_a_node_that_stood_still_begins_nothing_in_a_session_that_was_overtaken(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device has come to another node meanwhile; an old answer that lay in the first one's socket leads to no new request."""

    async def scene(a: Bed, b: Bed) -> None:
        await (await a.device("N2")).session("0 BOOTSTRAP")
        for name in ("Device.First", "Device.Second"):
            await a.task("GetParameterValues", {"parameter_names": [name]}, serial="N2")
        stuck = await a.device("N2")
        await stuck.inform()
        asked = decode((await stuck.post(None)).body)
        assert isinstance(asked.body, GetParameterValues)
        for node in (a, b):
            monkeypatch.setattr(node.app.hub, "clock", lambda: time.time() + 30)  # so much later
        device = await b.device("N2")
        await device.inform()
        await b.app.store.flush()
        a.app.store._views.clear()  # type: ignore[attr-defined]
        answer = await stuck.post(values(asked.body), id=asked.id)
        assert answer.status == 204, answer.message
        await device.serve(await device.post(None), values)
        heard = [m.parameter_names for m in device.heard if isinstance(m, GetParameterValues)]
        assert heard == [("Device.Second",)]

    pair.play(scene)


def test_a_session_that_was_given_away_goes_on_where_the_word_of_it_is_lost(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row says so, too. What goes wrong while it is written leaves the session where it was."""

    async def scene(a: Bed, b: Bed) -> None:
        await (await a.device("N3")).session("0 BOOTSTRAP")
        task = await a.task("GetParameterValues", {"parameter_names": ["Device.X"]}, serial="N3")
        peers: Any = b.app.hub.peers
        ask, answers = peers.ask, []

        async def unheard(*given: Any, **named: Any) -> None:
            answers.append(await ask(*given, **named))

        device = await a_hopping_device([a, b], "N3")
        device.beds = [b, a]
        await device.inform()
        live = a.app.door.live.of_device(id_of("N3"))
        assert live is not None

        async def broken(works: Any) -> None:
            raise RuntimeError("a mistake of ours")

        with monkeypatch.context() as patch:
            patch.setattr(a.app.door.handover._leases, "hand_over", broken)
            with pytest.raises(RuntimeError):
                await a.app.door.handover._asked({"cookie": live.cookie})
        assert not live.busy
        monkeypatch.setattr(peers, "ask", unheard)
        await device.serve(await device.post(None), values)
        assert answers[:1] == [GIVEN]
        assert (await b.task_now(task))["status"] == "done"
        await device.close()

    pair.play(scene)


def test_who_waits_for_a_task_looks_for_himself_where_no_word_comes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task ends at another node, whose notice is lost: the answer does not wait for the time limit."""
    monkeypatch.setattr(task_verbs, "LOOK_EVERY", 0.1)

    async def scene(a: Bed, b: Bed) -> None:
        await (await a.device("N4")).session("0 BOOTSTRAP")
        monkeypatch.setattr(b.app.store, "on_change", None)
        task = await b.task("GetParameterValues", {"parameter_names": ["Device.X"]}, serial="N4")
        waiting = asyncio.create_task(b.rest("GET", f"tasks/{task['id']}?wait=30"))
        await (await a.device("N4")).session(handler=values)
        async with asyncio.timeout(5):
            assert (await waiting).json["status"] == "done"

    pair.play(scene)


async def nothing(**_: Any) -> list[Any]:
    return []


def test_of_many_tasks_of_a_dead_node_one_that_has_just_ended_does_not_keep_the_others(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes them up has them for himself: nobody else would look at the rest of them again."""

    async def scene(a: Bed, b: Bed) -> None:
        await (await a.device("N5")).session("0 BOOTSTRAP")
        made = [await a.task("Reboot", serial="N5") for _ in range(3)]
        store: Any = b.app.store
        unit = UnitOfWork()
        for task in made:
            queued = await store.task(task["id"])
            unit.tasks.append(TaskChange(replace(queued, status=TaskStatus.RUNNING), frozenset({queued.status})))
        await store.commit(unit)
        monkeypatch.setattr(a.app.store, "interrupted_tasks", nothing)
        await store._link.fetch("UPDATE task SET node = 'dead' WHERE device = $1", id_of("N5"))
        commit = store.commit

        async def met(unit: UnitOfWork) -> None:
            if len(unit.tasks) > 1:
                await store._link.fetch("UPDATE task SET status = 'done' WHERE id = $1", made[0]["id"])
            await commit(unit)

        monkeypatch.setattr(store, "commit", met)
        await b.app.worker.mend()
        rows = await store._link.fetch("SELECT status FROM task WHERE device = $1 ORDER BY id", id_of("N5"))
        assert [r[0] for r in rows] == ["done", "unknown", "unknown"]

    pair.play(scene)


def test_a_session_elsewhere_ends_an_old_one_here_whatever_the_clocks_say(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other node's clock is behind: a word of it is of now all the same."""

    async def scene(a: Bed, b: Bed) -> None:
        stuck = await a.device("N6")
        await stuck.inform("0 BOOTSTRAP")
        clock = a.app.hub.clock
        monkeypatch.setattr(a.app.hub, "clock", lambda: clock() + 6)
        monkeypatch.setattr(b.app.hub, "clock", lambda: clock() - 120)
        await (await b.device("N6")).inform("1 BOOT")
        async with asyncio.timeout(5):
            while a.app.door.live.of_device(id_of("N6")) is not None:
                await asyncio.sleep(0)

    pair.play(scene)
