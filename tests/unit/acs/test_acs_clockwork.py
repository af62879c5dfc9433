"""What the ACS does by itself goes on after whatever went wrong once: the clockwork, calls, words, webhooks."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.config import AcsSettings
from homeport.acs.records import ConnectionRequestDetail, DeviceRecord, Document, TaskRecord, TaskStatus
from homeport.acs.services import hub as hubs
from homeport.acs.services.contacts import Contacts
from homeport.acs.services.hub import Hub, keep_detail
from homeport.acs.services.peers import Peers
from homeport.acs.services.tasks import Tasks
from homeport.acs.services.webhooks import Webhooks
from homeport.acs.storage.interface import DocumentChange, TaskChange, UnitOfWork
from homeport.acs.storage.memory import MemoryStore
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.worker import Worker
from homeport.errors import StoreUnavailable

DEVICE = DeviceRecord(
    id="O-P-S", oui="O", product_class="P", serial_number="S", connection_request_url="http://192.0.2.7/x"
)


async def a_store(**rows: Any) -> MemoryStore:
    """An open store with a device and these rows."""
    store = MemoryStore()
    await store.open()
    unit = UnitOfWork()
    unit.devices.append(DEVICE)
    for name, made in rows.items():
        getattr(unit, name).extend(made)
    await store.commit(unit)
    return store


def test_what_is_done_by_the_clock_is_done_again_after_it_has_failed() -> None:
    """A mistake in one look must not be the last one: sessions would never end any more."""

    async def scene() -> None:
        done: list[int] = []

        async def work() -> None:
            done.append(len(done))
            if len(done) < 3:
                raise ValueError("a mistake of ours") if done[-1] else StoreUnavailable("away")

        async def nothing() -> None:
            pass

        async def at_once(_: float) -> None:
            await asyncio.sleep(0)

        hub = Hub(await a_store(), AcsSettings())
        worker = Worker(hub, nothing, nothing, lambda *_: None, sleep=at_once)
        worker.also(work, every=1.0)
        worker.start()
        async with asyncio.timeout(5):
            while len(done) < 5:
                await asyncio.sleep(0)
        await worker.stop()

    asyncio.run(scene())


class Called:
    """A device that accepts each call, and says so."""

    def __init__(self, hub: Hub) -> None:
        self.count = 0
        self._hub = hub

    async def request(self, *_: Any) -> Any:
        self.count += 1
        await asyncio.sleep(0)
        self._hub.bus.wake(f"contact:{DEVICE.id}")
        return ConnectionRequestDetail(ok=True, status=200, reason="", at=0.0)


async def ended(contacts: Contacts) -> None:
    async with asyncio.timeout(5):
        while contacts._running:
            await asyncio.sleep(0)


@pytest.mark.parametrize("left_out", [True, False])
def test_a_device_is_called_where_its_session_has_ended_without_the_task(left_out: bool) -> None:
    """The task came with the session's last message: nobody else would call the device before its next periodic session."""

    async def scene() -> None:
        task = TaskRecord(id="t", device=DEVICE.id, rpc="Reboot", args={})
        hub = Hub(await a_store(tasks=[TaskChange(task, None)] if left_out else []), AcsSettings())
        here = [True, True, True, False, False]
        device = Called(hub)

        async def in_session(_: str) -> bool:
            return here.pop(0) if here else False

        async def at_once(_: float) -> None:
            await asyncio.sleep(0)

        contacts = Contacts(hub, device.request, in_session=in_session, sleep=at_once)
        contacts.ask(DEVICE.id, "t")
        await ended(contacts)
        assert device.count == left_out

    asyncio.run(scene())


def test_a_call_that_met_a_database_that_was_away_is_made_when_it_is_back() -> None:
    """The task is on the disk; its device must not have to wait for its next periodic session."""

    async def scene() -> None:
        store = await a_store()
        hub = Hub(store, AcsSettings())
        device, asked = Called(hub), []
        find = store.device

        async def away(id: str) -> Any:
            asked.append(id)
            if len(asked) < 3:
                raise StoreUnavailable("the database does not answer")
            return await find(id)

        store.device = away  # type: ignore[method-assign]

        async def in_session(id: str) -> bool:
            return await store.device(id) is None

        async def at_once(_: float) -> None:
            await asyncio.sleep(0)

        contacts = Contacts(hub, device.request, in_session=in_session, sleep=at_once)
        contacts.ask(DEVICE.id, "t")
        await asyncio.sleep(0)
        await ended(contacts)
        assert device.count == 1
        assert hub.connection_request_details["t"].ok

    asyncio.run(scene())


class Line:
    """A channel between processes: what is said is kept."""

    heard: Any = None
    resumed: Any = None
    lost: Any = None
    ahead = 0.0

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_a_word_that_is_not_understood_does_not_keep_the_next_ones_from_being_heard() -> None:
    """Another version may say something else under the same name; and an answer that fails is missing to who asked alone."""

    async def scene() -> None:
        line = Line()
        peers = Peers(line, "n0")  # type: ignore[arg-type]
        heard: list[Any] = []
        gaps: list[bool] = []
        peers.on("detail", lambda word: heard.append(word["task"]))
        peers.on_gap(lambda: gaps.append(True))
        line.heard('{"k":"detail"}')
        line.heard('{"k":"detail","task":"t"}')
        assert heard == ["t"]

        async def fails(word: Any) -> None:
            raise StoreUnavailable("away")

        peers.serve("give", fails)
        line.heard('{"k":"give","to":"n0","by":"n1","n":1}')
        await asyncio.gather(*peers._jobs)
        assert line.said == []
        peers.own_up()
        assert line.said == []
        line.lost()
        peers.own_up()
        peers.own_up()
        assert line.said == ['{"k":"gap"}']
        line.heard(line.said[0])
        line.resumed()
        assert gaps == [True, True]

    asyncio.run(scene())


def test_how_calls_went_at_other_processes_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that calls nobody itself hears of every call of the others."""
    monkeypatch.setattr(hubs, "MOST_DETAILS", 3)
    details: dict[str, ConnectionRequestDetail] = {}
    for n in range(10):
        keep_detail(details, f"t{n}", ConnectionRequestDetail(ok=True, status=200, reason="", at=0.0))
    assert list(details) == ["t7", "t8", "t9"]


def test_a_slow_webhook_is_left_to_the_process_that_has_taken_it_over() -> None:
    """Fifty slow answers take longer than the sender's lease: it looks between them whether it still is the sender."""

    async def scene() -> None:
        store = await a_store()
        store.channel, store.node = Line(), "n0"  # type: ignore[assignment]
        hub = Hub(store, AcsSettings())
        now = [0.0]
        posted: list[bytes] = []

        async def post(url: str, body: bytes, headers: Any) -> int:
            posted.append(body)
            now[0] += 10.0
            if len(posted) == 3:
                unit = UnitOfWork()
                other = Document("webhook-sender", "slow", b"another", hub.clock() + 30)
                unit.documents.append(DocumentChange(other))
                await store.commit(unit)
            return 200

        hooks = Webhooks(hub, post, monotonic=lambda: now[0])
        hook = await hooks.make("slow", "http://192.0.2.7/", ())
        for n in range(10):
            hooks._happened({"kind": "inform", "n": n})
        await hooks._send_all(hook)
        assert 3 <= len(posted) <= 5, "it stops within half its lease"

    asyncio.run(scene())


def test_one_wish_told_three_times_is_one_task_also_where_the_first_failed(tmp_path: Path) -> None:
    """The second waits for the first, and the third must wait for the second, though the first has gone with an error."""

    async def scene() -> None:
        store: Any = SqliteStore(tmp_path / "acs.db")
        await store.open()
        unit = UnitOfWork()
        unit.devices.append(DEVICE)
        await store.commit(unit)
        tasks = Tasks(Hub(store, AcsSettings()), lambda *_: None, NoFiles())  # type: ignore[arg-type]
        commit = store.commit
        tries: list[int] = []
        entered = asyncio.Event()

        async def slow(unit: UnitOfWork) -> None:
            tries.append(1)
            if len(tries) == 1:
                await asyncio.sleep(0.01)
                raise StoreUnavailable("away for a moment")
            entered.set()
            for _ in range(10):
                await asyncio.sleep(0)
            await commit(unit)

        store.commit = slow
        wishes = [asyncio.ensure_future(tasks.create(DEVICE.id, "Reboot", {}, key="k")) for _ in range(2)]
        await entered.wait()
        wishes.append(asyncio.ensure_future(tasks.create(DEVICE.id, "Reboot", {}, key="k")))
        failed, *made = await asyncio.gather(*wishes, return_exceptions=True)
        assert isinstance(failed, StoreUnavailable)
        assert len({task.id for task in made if isinstance(task, TaskRecord)}) == 1
        assert len(await store.open_tasks(DEVICE.id)) == 1
        await store.close()

    asyncio.run(scene())


def test_who_waits_for_a_task_is_answered_in_time_though_the_clock_was_put_back() -> None:
    """The time to wait is the caller's, who knows nothing of our time of day."""

    async def scene() -> None:
        now = [1e9]
        task = TaskRecord(id="t", device=DEVICE.id, rpc="Reboot", args={})
        hub = Hub(await a_store(tasks=[TaskChange(task, None)]), AcsSettings(), clock=lambda: now[0])
        tasks = Tasks(hub, lambda *_: None, NoFiles())  # type: ignore[arg-type]
        waiting = asyncio.ensure_future(tasks.wait("t", 0.05))
        await asyncio.sleep(0)
        now[0] -= 3_600.0
        async with asyncio.timeout(5):
            assert (await waiting).status is TaskStatus.QUEUED

    asyncio.run(scene())


def test_who_waits_for_a_task_that_is_being_settled_waits_for_its_session() -> None:
    """The clock leaves it alone, though its time is over: to look again and again would hold up everybody."""

    async def scene() -> None:
        lost = {"lost": 1.0, "due": 2.0}
        task = TaskRecord(id="t", device=DEVICE.id, rpc="Download", args={}, status=TaskStatus.UNKNOWN, progress=lost)
        hub = Hub(await a_store(tasks=[TaskChange(task, None)]), AcsSettings())
        tasks = Tasks(hub, lambda *_: None, NoFiles())  # type: ignore[arg-type]
        hub.asking["t"] = task
        looks: list[float] = []
        wait = hub.bus.wait

        async def counted(subject: str, seconds: float) -> bool:
            looks.append(seconds)
            return await wait(subject, seconds)

        hub.bus.wait = counted  # type: ignore[method-assign]
        assert (await tasks.wait("t", 0.05)).status is TaskStatus.UNKNOWN
        assert len(looks) <= 2

    asyncio.run(scene())


class NoFiles:
    """Tasks without files."""

    async def checked(self, rpc: str, args: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return args, args
