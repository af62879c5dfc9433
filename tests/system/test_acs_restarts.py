"""Reboot and FactoryReset as tasks: done when the device tells of its restart, and not when it has promised one."""

from pathlib import Path

import pytest
from tests.support.acs_wire import Bed, acs, id_of, run

from homeport.acs.services.devices import credential
from homeport.acs.storage.interface import UnitOfWork
from homeport.codec import messages as m


def answer(request: m.Request) -> m.Message | None:
    """The device accepts a restart."""
    match request:
        case m.Reboot():
            return m.RebootResponse()
        case m.FactoryReset():
            return m.FactoryResetResponse()
    return None


@pytest.mark.parametrize(
    ("rpc", "nothing", "told", "by"),
    [
        ("Reboot", ["2 PERIODIC"], ["1 BOOT", "M Reboot=k"], "M Reboot"),
        ("Reboot", ["4 VALUE CHANGE"], ["1 BOOT"], "1 BOOT"),
        ("FactoryReset", ["1 BOOT"], ["0 BOOTSTRAP", "1 BOOT"], "0 BOOTSTRAP"),
    ],
)
def test_a_restart_is_done_when_its_event_comes(
    tmp_path: Path, rpc: str, nothing: list[str], told: list[str], by: str
) -> None:
    """The response is a promise; sessions before the restart change nothing, its event ends the task, also after the ACS was restarted."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("0 BOOTSTRAP", handler=answer)
            task = await bed.task(rpc, {"command_key": "k"} if rpc == "Reboot" else {})
            follower = await bed.task("GetRPCMethods", after=task["id"])
            await device.session(handler=answer)
            await device.session(*nothing, handler=answer)
            now = await bed.task_now(task)
            assert (now["status"], now["phase"], now["attempts"]) == ("running", "restart", 1)
            assert (await bed.task_now(follower))["status"] == "queued"
        async with acs(tmp_path) as bed:
            assert (await bed.task_now(task))["phase"] == "restart"
            device = await bed.device()
            await device.session(*told, handler=answer)
            now = await bed.task_now(task)
            assert (now["status"], now["result"], now["attempts"]) == ("done", {"confirmed": by}, 1)
            assert (await bed.task_now(follower))[
                "status"
            ] == "failed"  # it was sent now, and this device does not have it

    run(scene())


def test_a_restart_that_is_never_told_of_has_failed_after_its_time(tmp_path: Path) -> None:
    """The task says what is known: accepted, and nothing heard. Where the event comes late after all, it is done."""

    async def scene() -> None:
        async with acs(tmp_path, restart_timeout=0.3) as bed:
            device = await bed.device()
            await device.session("0 BOOTSTRAP", handler=answer)
            lost, late = [await bed.task("Reboot", {"command_key": key}) for key in ("k1", "k2")]
            await device.session(handler=answer)
            ended = (await bed.rest("GET", f"tasks/{lost['id']}?wait=5")).json
            assert ended["status"] == "failed"
            assert "has not told of its restart (M Reboot) within" in ended["fault"]["string"]
            await device.session("M Reboot=k2", handler=answer)
            assert (await bed.task_now(lost))["status"] == "failed"
            assert (await bed.task_now(late))["status"] == "done"

    run(scene())


def test_a_device_that_was_reset_comes_in_with_the_shared_login_again(tmp_path: Path) -> None:
    """A login of its own, given by the ACS, is forgotten by a FactoryReset: until it has a new one the shared one opens."""

    async def own(bed: Bed) -> bool:
        found = await bed.app.store.credential_of(id_of())
        return found is not None and found.pending

    async def scene() -> None:
        async with acs(tmp_path, cpe_username="all", cpe_password="shared-secret", cpe_login="provision") as bed:
            device = await bed.device()
            await device.session("0 BOOTSTRAP", handler=answer)
            unit = UnitOfWork()
            unit.credentials.append(credential("own", "secret", device=id_of()))
            await bed.app.store.commit(unit)
            await bed.task("FactoryReset")
            assert not await own(bed)
            await device.inform()
            await device.post(None)
            assert await own(bed), "it may be reset already, and never answer"
            device.cookie = ""
            await device.session(handler=answer)
            assert await own(bed)
            path = f"devices/{id_of()}/credentials"
            assert (
                await bed.rest("DELETE", path)
            ).status == 204  # after a reset at the device, of which the ACS knows nothing
            assert await bed.app.store.credential_of(id_of()) is None
            assert (await bed.rest("DELETE", path)).status == 404

    run(scene())


def test_a_transfer_that_is_never_told_of_has_failed_after_its_time(tmp_path: Path) -> None:
    """It does not run for ever; a report that comes late after all is the task's."""

    def accept(request: m.Request) -> m.Message | None:
        return m.DownloadResponse(1, m.UNKNOWN_TIME, m.UNKNOWN_TIME) if isinstance(request, m.Download) else None

    async def scene() -> None:
        async with acs(tmp_path, transfer_timeout=0.3) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            what = {"file_type": "1 Firmware Upgrade Image", "url": "http://192.0.2.1/x"}
            late, lost = [await bed.task("Download", what | {"command_key": key}) for key in ("late", "lost")]
            later = await bed.task("Download", what | {"delay_seconds": 3_600})
            await device.session(handler=accept)
            ended = (await bed.rest("GET", f"tasks/{lost['id']}?wait=5")).json
            assert ended["status"] == "failed"
            assert "has not told of the end within 0.3 s" in ended["fault"]["string"]
            await device.inform("7 TRANSFER COMPLETE", "M Download=late")
            await device.post(m.TransferComplete("late", m.FaultStruct(), m.UNKNOWN_TIME, m.UNKNOWN_TIME))
            await device.post(None)
            assert (await bed.task_now(late))["status"] == "done"
            await device.session("2 PERIODIC")
            assert (await bed.task_now(lost))["status"] == "failed"
            assert [t.id for t in await bed.app.store.open_tasks(id_of())] == [later["id"]]

    run(scene())
