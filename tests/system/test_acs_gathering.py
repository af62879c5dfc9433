"""Informs that arrive together: the rows of devices that are not in memory are read in one step, and each is answered all the same."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.storage.sql.postgres_link import SQL
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.storage.sql.writer import Mode, Statement
from homeport.errors import StoreUnavailable
from support.acs_nodes import nodes
from support.acs_wire import Answer, Bed, Device, acs, id_of, played
from support.postgres import needs_postgres, shared_server

pytestmark = pytest.mark.system

FLEET = tuple(f"F{n}" for n in range(10))


async def known_and_forgotten(bed: Bed) -> tuple[SqliteStore, list[Device]]:
    """The store and the fleet: known, connected, and not in memory."""
    store: Any = bed.app.store
    devices = [await bed.device(serial) for serial in FLEET]
    for device in devices:
        await device.session("1 BOOT")
    await store.flush()
    store._hots.clear()
    return store, devices


async def together(devices: Sequence[Device]) -> list[Answer]:
    """The answers to Informs that are written before the ACS takes its next turn."""
    return await asyncio.gather(*[device.inform() for device in devices])


def reads(store: SqliteStore) -> list[str]:
    """The statements that read devices, from now on."""
    said: list[str] = []
    store._rows.set_trace_callback(lambda sql: said.append(sql) if "FROM device" in sql else None)
    return said


@played
async def test_the_rows_of_devices_that_come_together_are_read_in_one_step(tmp_path: Path) -> None:
    """Also where one of them is unknown, and one comes twice."""
    async with acs(tmp_path) as bed:
        store, devices = await known_and_forgotten(bed)
        said = reads(store)
        newcomer, twin = await bed.device("NEW"), await bed.device(FLEET[3])
        answers = await together([*devices, newcomer, twin])
        assert [a.status for a in answers] == [200] * 12
        assert len(said) <= 3  # all of them, and once more for the one that is not there, which is then made
        for device in (*(d for d in devices if d.serial != twin.serial), newcomer):
            assert (await device.post(None)).status == 204
        assert (await twin.post(None)).status in (204, 400)  # the one of two that was first is over
        for serial in (*FLEET, "NEW"):
            assert (await bed.get_device(serial))["online"]


@played
async def test_a_task_is_heard_of_by_who_comes_with_others(tmp_path: Path) -> None:
    """Each has its own row, its own values and its own tasks."""
    async with acs(tmp_path) as bed:
        store, devices = await known_and_forgotten(bed)
        task = await bed.task("Reboot", serial=FLEET[4])
        await store.flush()
        store._hots.clear()
        await together(devices)
        for device in devices:
            answer = await device.post(None)
            assert answer.status == (200 if device.serial == FLEET[4] else 204)
        assert (await bed.task_now(task))["status"] == "running"


@played
async def test_one_that_hangs_up_and_one_with_a_damaged_row_hold_nobody_up(tmp_path: Path) -> None:
    """Whoever waits beside them is answered."""
    async with acs(tmp_path) as bed:
        store, devices = await known_and_forgotten(bed)
        damage = "UPDATE device SET rest = x'C1', state = 'none' WHERE id = ?"
        await store._write([Statement(Mode.ONE, damage, (id_of(FLEET[0]),))])
        gone = asyncio.ensure_future(devices[1].inform())
        await asyncio.sleep(0)
        devices[1].connection.writer.transport.abort()
        answers = await together([devices[0], *devices[2:]])
        assert [a.status for a in answers] == [500, *[200] * 8]
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await gone
        for device in devices[2:]:
            assert (await device.post(None)).status == 204


@played
async def test_where_they_cannot_be_read_together_each_is_read_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not answer in one moment is asked again in the next."""

    def fails(ids: Sequence[str]) -> None:
        raise StoreUnavailable("the database does not answer now")

    async with acs(tmp_path) as bed:
        store, devices = await known_and_forgotten(bed)
        monkeypatch.setattr(store, "_load_all", fails)
        assert [a.status for a in await together(devices)] == [200] * 10


@played
async def test_a_stop_answers_who_waits(tmp_path: Path) -> None:
    """An Inform that has arrived when the ACS ends is answered before."""
    async with acs(tmp_path) as bed:
        store, devices = await known_and_forgotten(bed)
        gathering = bed.app.door.gathering
        monkey: list[Any] = []
        gathering._soon = monkey.append  # nothing is done behind the turn
        waiting = [asyncio.ensure_future(d.inform()) for d in devices]
        while len(gathering._waiting) < len(devices):
            await asyncio.sleep(0)
        [server] = bed.app._cwmp
        await server.stop()
        assert [a.status for a in await asyncio.gather(*waiting)] == [200] * 10
        assert not gathering._waiting
        assert store.trouble is None


# --- on PostgreSQL: one query for those who come while the answer to the last is on its way ---


@pytest.fixture
def url() -> str:
    return shared_server().new_database()


async def known_on_postgres(bed: Bed) -> list[Device]:
    """The fleet: known, connected, and with nothing of it on the way to the disk."""
    devices = [await bed.device(serial) for serial in FLEET]
    for device in devices:
        await device.session("1 BOOT")
    await bed.app.store.flush()
    return devices


@pytest.mark.postgres
@needs_postgres
@played
async def test_devices_that_come_together_share_a_query_in_which_all_is_seen_that_was_committed(
    tmp_path: Path, url: str
) -> None:
    """Also by another node, whose notice of it has not come yet. A newcomer, one that hangs up and a damaged row hold nobody up."""
    async with nodes(tmp_path, url) as (bed, other):
        devices = await known_on_postgres(bed)
        store: Any = bed.app.store
        read, queries = store._link.fetch, []

        async def fetch(sql: str, *values: Any) -> Any:
            if sql == SQL["views"]:
                queries.append(values[0])
            return await read(sql, *values)

        store._link.fetch = fetch
        store.channel._noted = lambda subjects: None
        refused = await other.rest("POST", f"devices/{id_of(FLEET[1])}/refuse")
        assert refused.status == 200
        await read("UPDATE device SET rest = '\\xc1' WHERE id = $1", id_of(FLEET[0]))
        gone = asyncio.ensure_future(devices[2].inform())
        await asyncio.sleep(0)
        devices[2].connection.writer.transport.abort()
        newcomer = await bed.device("NEW")
        answers = await together([*devices[:2], *devices[3:], newcomer])
        assert [a.status for a in answers] == [500, 403, *[200] * 8]
        assert len(queries) <= 4 and sorted(map(len, queries))[-1] > 2
        assert [(await device.post(None)).status for device in (*devices[3:], newcomer)] == [204] * 8
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await gone


@pytest.mark.postgres
@needs_postgres
@played
async def test_devices_that_come_together_are_sent_away_while_the_database_is_away(tmp_path: Path, url: str) -> None:
    """Each with 503; when it is back they are served without anybody's help, and a stop answers who waits."""
    server = shared_server()
    async with acs(tmp_path, database=url) as bed:
        devices = await known_on_postgres(bed)
        server.stop(hard=True)
        try:
            assert [a.status for a in await together(devices)] == [503] * 10
        finally:
            server.start()
        async with asyncio.timeout(20):
            while bed.app.store.trouble is not None or not bed.app.store.channel.listening:  # type: ignore[union-attr]
                await asyncio.sleep(0.02)
        assert [a.status for a in await together(devices)] == [200] * 10
        waiting = [asyncio.ensure_future(d.inform()) for d in devices]
        while not bed.app.door.gathering._readings:
            await asyncio.sleep(0)
        [cwmp] = bed.app._cwmp
        await cwmp.stop()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert 200 in [a.status for a in answers if isinstance(a, Answer)]
        assert not bed.app.door.gathering._readings
