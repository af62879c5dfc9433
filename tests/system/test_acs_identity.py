"""A device that changes its identity, over real sockets: it is told who it was, and gets in again with all that it had."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.endpoint.cookies import COOKIE
from homeport.codec.messages import (
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterValueStruct,
    Reboot,
    RebootResponse,
    Request,
)
from homeport.http.digest import DigestClient
from support.acs_wire import Bed, Device, acs, id_of, run

pytestmark = pytest.mark.system


async def login(device: Device, username: str, password: str) -> str:
    challenge = await device.post(None)
    client = DigestClient(username, password, algorithms=("SHA-256", "MD5"))
    answer = client.answer(challenge.headers["www-authenticate"].split("\n"), method="POST", uri="/", cnonce="abc")
    assert answer is not None
    return answer


async def homeport(bed: Bed, *args: str) -> str:
    """What the command prints, given to this ACS."""
    env = os.environ | {"HOMEPORT_TOKEN": bed.token, "HOMEPORT_ACS": bed.app.http_url}
    command = [sys.executable, "-m", "homeport", "device", *args]
    done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answering(request: Request) -> Message | None:
    match request:
        case Reboot():
            return RebootResponse()
        case GetParameterValues(parameter_names=names):
            return GetParameterValuesResponse(tuple(ParameterValueStruct(n, "v") for n in names))
    return None


async def start(bed: Bed) -> Any:
    """The device S1, with a tag, a login and a task that waits."""
    await (await bed.device()).session("1 BOOT")
    body = {"username": "one", "password": "secret"}
    assert (await bed.rest("PUT", f"devices/{id_of()}/credentials", body)).status == 204
    assert (await bed.rest("PUT", f"devices/{id_of()}/tags/gold")).status == 200
    return await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})


def test_a_device_that_logs_in_under_another_id_gets_in_after_a_rename(tmp_path: Path) -> None:
    """403 and one event that names both ids; then `device rename`, and the same login opens the session and the task is done."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            task = await start(bed)
        async with acs(tmp_path, cpe_auth="quarantine") as bed:
            device = await bed.device("S9")
            for _ in range(2):
                answer = await device.post_inform(await login(device, "one", "secret"), "1 BOOT")
                assert (answer.status, b"another device" in answer.body) == (403, True)
            told = (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"]
            mistaken = [e["detail"] for e in told if e["code"] == "IDENTITY CHANGED"]
            assert [(d["credentials_of"], d["claims"]) for d in mistaken] == [(id_of("S1"), id_of("S9"))]
            assert id_of("S9") in await homeport(bed, "events", "S1")
            assert id_of("S9") in await homeport(bed, "rename", "S1", "--serial", "S9")
            assert (await bed.rest("GET", f"devices/{id_of('S1')}")).status == 404
            answer = await device.post_inform(await login(device, "one", "secret"), "1 BOOT")
            assert answer.status == 200
            await device.serve(await device.post(None), answering)
            done = await bed.task_now(task)
            assert (done["status"], done["device"]) == ("done", id_of("S9"))
            now = await bed.get_device("S9")
            assert (now["tags"], now["serial_number"], now["state"]) == (["gold"], "S9", "approved")

    run(scene())


def test_a_new_device_takes_over_what_the_old_one_had(tmp_path: Path) -> None:
    """`device merge`: refused while the old one is in a session, then whole; it is still so after a restart of the ACS."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            task = await start(bed)
            await (await bed.device("S2")).session("1 BOOT")
            old = await bed.device()
            assert (await old.inform("2 PERIODIC")).status == 200
            assert COOKIE in old.cookie
            busy = await bed.rest("POST", f"devices/{id_of()}/merge", {"into": id_of("S2")})
            assert (busy.status, "session open" in busy.json["error"]["message"]) == (409, True)
            await old.serve(await old.post(None))  # the task fails with a fault, which belongs to the history
            for path, body, status in (
                (f"devices/{id_of()}/merge", {"into": id_of()}, 409),
                (f"devices/{id_of()}/merge", {"into": "nobody"}, 404),
                (f"devices/{id_of()}/merge", {}, 422),
                (f"devices/{id_of()}/rename", {"serial_number": "S2"}, 409),
                (f"devices/{id_of()}/rename", {}, 409),
                (f"devices/{id_of()}/rename", {"serial_number": " "}, 422),
            ):
                assert (await bed.rest("POST", path, body)).status == status, path
            waiting = await bed.task("Reboot")
            await homeport(bed, "merge", "S1", "S2", "--yes")
            assert (await bed.rest("GET", f"devices/{id_of()}")).status == 404
        async with acs(tmp_path) as bed:
            assert (await bed.get_device("S2"))["tags"] == ["gold"]
            faults = (await bed.rest("GET", f"faults?device={id_of('S2')}")).json["items"]
            assert [f["task"] for f in faults] == [task["id"]]
            assert len((await bed.rest("GET", f"devices/{id_of('S2')}/sessions")).json["items"]) >= 2
            new = await bed.device("S2")
            await new.session("2 PERIODIC", handler=answering)
            assert [type(m) for m in new.heard] == [Reboot]
            assert (await bed.task_now(waiting))["device"] == id_of("S2")
            assert await bed.app.store.credential("one") is not None

    run(scene())
