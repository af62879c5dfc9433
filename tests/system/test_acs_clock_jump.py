"""A machine whose clock jumps: no history goes, no task ends or is sent, and the operator is told. Both clocks are the test's."""

from pathlib import Path

import pytest

from support.acs_clock import Clock
from support.acs_wire import Bed, acs, id_of, run

pytestmark = pytest.mark.system

CENTURY = 73 * 365 * 86_400.0


async def histories(bed: Bed) -> tuple[int, int]:
    """How many sessions and finished tasks are kept."""
    store = bed.app.store
    sessions = await store.sessions_of(id_of(), limit=99, cursor=None)
    tasks = await store.tasks_of(id_of(), limit=99, cursor=None)
    return len(sessions.items), len([t for t in tasks.items if t.finished])


async def house_keeping(bed: Bed) -> None:
    await bed.app.worker.prune()
    await bed.app.overdue.sweep()


def test_a_clock_that_jumps_deletes_and_ends_nothing(tmp_path: Path) -> None:
    """In 2099 for a minute, also over a restart; then back. Later the same things go at their time."""
    clock = Clock()
    up = [100.0]

    def pass_by(seconds: float) -> None:
        clock.pass_by(seconds)
        up[0] += seconds

    async def scene() -> None:
        async with acs(tmp_path, clock=clock, steady=lambda: up[0]) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            await bed.task("Reboot")
            await device.session()  # it refuses: finished
            waiting = await bed.task("Reboot", expires_in=3_600)
            await bed.app.store.flush()
            before = await histories(bed)
            assert before[1] == 1
            await bed.app.hub.time.note()
            clock.pass_by(CENTURY)
            pass_by(60)
            await house_keeping(bed)
            assert await histories(bed) == before
            device.heard.clear()
            await device.session()
            assert device.heard == [], "by this clock it is too late for the task"
            assert (await bed.task_now(waiting))["status"] == "queued"
            assert "status" in (health := (await bed.rest("GET", "health")).json)
            assert (health["status"], "ahead of what it can be" in health["trouble"]) == ("degraded", True)
            metrics = (await bed.rest("GET", "/metrics")).body.decode()
            assert "homeport_clock_ahead_seconds 2." in metrics
        up[0] = 1.0
        async with acs(tmp_path, clock=clock, steady=lambda: up[0]) as bed:
            await house_keeping(bed)
            assert (await histories(bed))[1] == 1
            assert (await bed.task_now(waiting))["status"] == "queued"
            clock.pass_by(-CENTURY)
            assert (await bed.rest("GET", "health")).json["status"] == "ok"
            await house_keeping(bed)
            assert (await bed.task_now(waiting))["status"] == "queued"
            pass_by(3_700)
            await house_keeping(bed)
            assert (await bed.task_now(waiting))["status"] == "expired"
            pass_by(100 * 86_400.0)
            await house_keeping(bed)
            assert (await histories(bed))[1] == 0

    run(scene())
