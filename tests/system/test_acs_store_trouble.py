"""A full or locked disk: devices are told to come back, nothing is half-written, service resumes by itself."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from homeport.acs.storage.sql.sqlite import SqliteStore
from support.acs_wire import acs, id_of, run

pytestmark = pytest.mark.system


async def until_well(store: SqliteStore) -> None:
    """Return when the store has found out by itself that the medium works again."""
    async with asyncio.timeout(20):
        while store.trouble is not None:
            await asyncio.sleep(0)


def test_devices_get_503_while_the_disk_does_not_work(tmp_path: Path) -> None:
    """A new device, a boot event, a transfer's end: none is acknowledged that could not be stored; then all works again."""

    async def scene() -> None:
        async with acs(tmp_path, write_behind=0.01) as bed:
            store = bed.app.store
            assert isinstance(store, SqliteStore)
            known = await bed.device("KNOWN")
            await known.session("1 BOOT")
            await known.inform("7 TRANSFER COMPLETE")
            other = sqlite3.connect(tmp_path / "acs.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            new = await bed.device("NEW")
            answer = await new.inform("0 BOOTSTRAP")
            assert answer.status == 503
            assert 30 <= int(answer.headers["retry-after"]) <= 90
            known.cookie = ""
            assert (await known.inform("2 PERIODIC")).status == 503
            assert (await bed.rest("GET", "health")).json["status"] == "degraded"
            body = {"rpc": "Reboot", "connection_request": False}
            failed = await bed.rest("POST", f"devices/{id_of('KNOWN')}/tasks", body)
            assert (failed.status, failed.json["error"]["code"]) == (503, "unavailable")
            other.execute("ROLLBACK")
            other.close()
            await until_well(store)
            assert (await bed.rest("GET", f"devices/{id_of('NEW')}")).status == 404
            assert (await new.session("0 BOOTSTRAP")).status == 204
            assert (await known.session("2 PERIODIC")).status == 204
            assert (await bed.rest("GET", "health")).json["status"] == "ok"
            assert (await bed.rest("GET", f"devices/{id_of('KNOWN')}/tasks")).json["items"] == []

    run(scene())
