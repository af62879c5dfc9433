"""Wishes for many devices, and wishes that are told twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.records import TaskRecord
from homeport.acs.services.tasks import Tasks
from support.acs_wire import Answer, Bed, Connection, acs, id_of, run

pytestmark = pytest.mark.system

READ = {"rpc": "GetParameterValues", "args": {"parameter_names": ["Device.X"]}, "connection_request": False}


async def told(bed: Bed, path: str, body: Any, key: str = "") -> Answer:
    """A POST with an idempotency key; a streamed answer is read to its end."""
    connection = await Connection.to(bed.app.http_url)
    token = bed.app.token_file.read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Connection": "close"}
    if key:
        headers["Idempotency-Key"] = key
    text = json.dumps(body).encode()
    lines = [f"POST /api/v1/{path} HTTP/1.1", f"Host: {connection.authority}", f"Content-Length: {len(text)}"]
    lines += [f"{k}: {v}" for k, v in headers.items()]
    connection.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + text)
    head, _, rest = (await connection.reader.read()).partition(b"\r\n\r\n")
    connection.writer.close()
    if b"transfer-encoding: chunked" in head.lower():
        parts = []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            parts.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        rest = b"".join(parts)
    return Answer(int(head.split()[1]), {}, rest)


def rows(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]


async def fleet(bed: Bed, count: int) -> None:
    for n in range(count):
        device = await bed.device(f"S{n}")
        await device.session("1 BOOT")
        await device.close()


def test_a_wish_for_many_devices_is_told_device_by_device(tmp_path: Path) -> None:
    """A line per device that the condition selects, and the sums at the end; each device has its task then."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await fleet(bed, 4)
            for n in (1, 3):
                await bed.rest("PUT", f"devices/{id_of(f'S{n}')}/tags/gold")
            *lines, end = rows(await told(bed, "tasks", {**READ, "where": '"gold" in tags'}))
            assert [line["device"] for line in lines] == [id_of("S1"), id_of("S3")]
            assert end == {"created": 2, "refused": 0, "complete": True}
            task = (await bed.rest("GET", f"tasks/{lines[0]['task']}")).json
            assert (task["device"], task["status"]) == (id_of("S1"), "queued")
            assert (await bed.rest("GET", f"devices/{id_of('S0')}/tasks")).json["items"] == []

    run(scene())


def test_devices_that_cannot_have_the_task_are_named(tmp_path: Path) -> None:
    """A refused device gets none, and the others theirs."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await fleet(bed, 2)
            await bed.rest("POST", f"devices/{id_of('S0')}/refuse")
            first, second, end = rows(await told(bed, "tasks", {**READ, "where": 'product_class == "XR500"'}))
            assert "approve it first" in first["error"]
            assert second["task"]
            assert end == {"created": 1, "refused": 1, "complete": True}

    run(scene())


def test_a_wrong_wish_for_many_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """A condition or arguments that are wrong: 422, and no stream."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await fleet(bed, 1)
            assert (await told(bed, "tasks", {**READ, "where": "os.system()"})).status == 422
            wrong = {"rpc": "GetParameterValues", "args": {"names": []}, "where": 'product_class == "XR500"'}
            assert (await told(bed, "tasks", wrong)).status == 422
            assert (await bed.rest("GET", f"devices/{id_of('S0')}/tasks")).json["items"] == []

    run(scene())


def test_a_wish_told_twice_with_one_key_makes_one_task(tmp_path: Path) -> None:
    """Also after a restart, also when the first has ended; another wish under the key is a conflict."""
    path = f"devices/{id_of('S0')}/tasks"

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await fleet(bed, 1)
            first = (await told(bed, path, READ, "k1")).json
            assert (await told(bed, path, READ, "k1")).json["id"] == first["id"]
            assert (await told(bed, path, READ, "k2")).json["id"] != first["id"]
            assert (await told(bed, path, {**READ, "rpc": "Reboot", "args": {}}, "k1")).status == 409
            await bed.rest("DELETE", f"tasks/{first['id']}")
        async with acs(tmp_path) as bed:
            again = (await told(bed, path, READ, "k1")).json
            assert (again["id"], again["status"]) == (first["id"], "cancelled")

    run(scene())


def test_a_fleets_wish_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """The same call with the same key: who has its task keeps it, who has none gets one."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await fleet(bed, 3)
            wish = {**READ, "where": 'product_class == "XR500"'}
            part = rows(await told(bed, "tasks", {**wish, "limit": 2}, "k"))[:-1]
            whole = rows(await told(bed, "tasks", wish, "k"))[:-1]
            assert len(part) == 2
            assert [line["task"] for line in whole[:2]] == [line["task"] for line in part]
            assert len({line["task"] for line in whole}) == 3

    run(scene())


def test_a_fleets_wish_is_taken_back_as_one(tmp_path: Path) -> None:
    """By its key, or all of a method; what a device is working on is named and stays."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await fleet(bed, 3)
            wish = {**READ, "where": 'product_class == "XR500"'}
            job = [line["task"] for line in rows(await told(bed, "tasks", wish, "job"))[:-1]]
            other = await bed.task("Reboot", serial="S1")
            busy = await bed.device("S0")
            await busy.inform()
            await busy.post(None)  # the task of S0 is with the device now
            condition = {"where": 'product_class == "XR500"'}
            *lines, end = rows(await told(bed, "tasks/cancel", condition | {"key": "job"}))
            assert [line["task"] for line in lines] == job
            assert end == {"cancelled": 2, "refused": 1, "complete": True}
            (row,) = (await bed.rest("GET", "audit?path=/api/v1/tasks/cancel")).json["items"]
            assert json.loads(row["what"]) == condition | {"key": "job"}  # the job's name, no secret
            assert "was sent to the device" in lines[0]["error"]
            assert (await bed.task_now(other))["status"] == "queued"
            *_, end = rows(await told(bed, "tasks/cancel", condition | {"rpc": "Reboot"}))
            assert end["cancelled"] == 1
            assert (await bed.task_now(other))["status"] == "cancelled"
            assert (await told(bed, "tasks/cancel", {"where": "model ="})).status == 422

    run(scene())


def test_a_chain_is_taken_back_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task of it is cancelled, and none has failed because the one before it was cancelled first, however soon that is noticed."""
    cancel = Tasks.cancel

    async def noticed(tasks: Tasks, id: str) -> TaskRecord:
        gone = await cancel(tasks, id)
        await tasks.overdue.sweep()
        return gone

    monkeypatch.setattr(Tasks, "cancel", noticed)

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await fleet(bed, 1)
            chain = [await bed.task("Reboot", serial="S0")]
            for _ in range(3):
                chain.append(await bed.task("Reboot", serial="S0", after=chain[-1]["id"]))
            *_, end = rows(await told(bed, "tasks/cancel", {"where": "True"}))
            assert end["cancelled"] == 4
            assert [(await bed.task_now(t))["status"] for t in chain] == ["cancelled"] * 4

    run(scene())
