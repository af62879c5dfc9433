"""Tasks whose time is over, for devices that do not come."""

import asyncio
from pathlib import Path

import pytest

from support.acs_wire import acs, id_of, run

pytestmark = pytest.mark.system


def test_a_task_that_expires_ends_for_who_waits_and_is_no_longer_in_the_way(tmp_path: Path) -> None:
    """The waiter is told when the time is over, not when his own patience is; the next task finds the queue without it."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            old = await bed.task("Reboot", expires_in=0.3)
            async with asyncio.timeout(10):
                ended = (await bed.rest("GET", f"tasks/{old['id']}?wait=60")).json
            assert (ended["status"], ended["finished"]) == ("expired", old["expires"])
            new = await bed.task("Reboot")
            assert [t.id for t in await bed.app.store.open_tasks(id_of())] == [new["id"]]
            assert (await bed.task_now(old))["finished"] == old["expires"]

    run(scene())
