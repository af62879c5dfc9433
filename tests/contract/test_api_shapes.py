"""The REST API as it is promised: paths, shapes, pages, and its description."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.codec.messages import (
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterValueStruct,
    Request,
)
from support.acs_wire import Bed, Connection, acs, id_of, run
from support.api_errors import is_error
from support.postgres import needs_postgres, shared_server

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

PROMISED = {
    ("get", "/api/v1/health"),
    ("get", "/api/v1/devices"),
    ("get", "/api/v1/devices/{id}"),
    ("delete", "/api/v1/devices/{id}"),
    ("put", "/api/v1/devices/{id}/tags/{tag}"),
    ("post", "/api/v1/devices/{id}/approve"),
    ("post", "/api/v1/devices/{id}/merge"),
    ("post", "/api/v1/devices/{id}/rename"),
    ("get", "/api/v1/devices/{id}/parameters"),
    ("post", "/api/v1/devices/{id}/tasks"),
    ("post", "/api/v1/tasks"),
    ("get", "/api/v1/tasks"),
    ("patch", "/api/v1/devices/{id}"),
    ("get", "/api/v1/devices/{id}/tasks"),
    ("get", "/api/v1/tasks/{id}"),
    ("delete", "/api/v1/tasks/{id}"),
    ("get", "/api/v1/devices/{id}/sessions"),
    ("get", "/api/v1/sessions/{id}"),
    ("get", "/api/v1/faults"),
    ("get", "/api/v1/events"),
    ("get", "/metrics"),
    ("get", "/api/v1/users"),
    ("get", "/api/v1/groups"),
    ("post", "/api/v1/groups/{name}/rotate"),
    ("post", "/api/v1/login"),
    ("get", "/api/v1/tokens"),
    ("get", "/api/v1/audit"),
    ("post", "/api/v1/webhooks"),
}


def reading(request: Request) -> Message | None:
    return GetParameterValuesResponse((ParameterValueStruct("Device.X", "v", "int"),))


def test_every_promised_path_is_described(tmp_path: Path) -> None:
    """OpenAPI at /api/openapi.json, each route with a summary for people."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            description = (await bed.rest("GET", "/api/openapi.json")).json
            found = {(method, path) for path, verbs in description["paths"].items() for method in verbs}
            assert found >= PROMISED
            for verbs in description["paths"].values():
                for operation in verbs.values():
                    assert operation["description"]

    run(scene())


def test_every_answer_is_described(tmp_path: Path) -> None:
    """With what it holds, so that a client can be made from the description; the calls have plain names, each its own."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            described = (await bed.rest("GET", "/api/openapi.json")).json
            shapes = described["components"]["schemas"]
            names = []
            for calls in described["paths"].values():
                for call in calls.values():
                    names.append(call["operationId"])
                    for status, answer in call["responses"].items():
                        for content in answer.get("content", {}).values():
                            schema = content["schema"]
                            assert schema.get("type") == "string" or schema["$ref"].rpartition("/")[2] in shapes
                        assert status == "204" or answer["content"]
            assert sorted(names) == sorted(set(names))
            assert {"list_devices", "create_task", "get_task"} <= set(names)
            for name, shape in shapes.items():
                assert "description" in shape or "enum" in shape or name == "Error", name
            assert set(shapes["TaskPage"]["required"]) == {"items", "next"}
            assert shapes["Task"]["properties"]["created"]["format"] == "date-time"

    run(scene())


def test_answers_hold_what_is_described(tmp_path: Path) -> None:
    """With something in each of them: of a device that has been read, has faulted, was called, and has sent events."""
    jsonschema_rs = pytest.importorskip("jsonschema_rs")

    def answering(request: Request) -> Message | None:
        return reading(request) if isinstance(request, GetParameterValues) else None  # else a fault

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            described = (await bed.rest("GET", "/api/openapi.json")).json

            async def check(method: str, path: str, body: Any = None) -> Any:
                answer = await bed.rest(method, path, body)
                assert answer.status in (200, 201), answer.body
                plain = "/api/v1/" + path.partition("?")[0]
                for template, calls in described["paths"].items():
                    if method.lower() in calls and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), plain):
                        content = calls[method.lower()]["responses"][str(answer.status)]["content"]
                        schema = content["application/json"]["schema"] | {"components": described["components"]}
                        jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(answer.json)
                        return answer.json
                raise AssertionError(plain)

            device = await bed.device()
            await device.session("0 BOOTSTRAP", "1 BOOT")
            id = id_of()
            tasks = [await check("POST", f"devices/{id}/tasks", {"rpc": rpc, "args": args}) for rpc, args in CALLS]
            await check("POST", f"devices/{id}/tasks?wait=0.2", {"rpc": "Reboot", "expires_in": 600})
            await device.session(handler=answering)
            assert (await check("GET", f"tasks/{tasks[0]['id']}"))["result"]["parameter_list"]
            assert (await check("GET", f"tasks/{tasks[1]['id']}"))["fault"]["code"] == 9000
            group = {"name": "lot", "ouis": ["00D0F1"], "tags": ["new"]}
            await check("POST", "groups", group)
            await check("POST", "users", {"name": "eve", "password": "a-long-password"})
            await check("POST", "login", {"name": "eve", "password": "a-long-password"})
            await check("POST", "tokens", {"name": "dash"})
            await check("POST", "webhooks", {"name": "hook", "url": "http://127.0.0.1:1/"})
            assert (await check("POST", "webhooks/hook/ping"))["last"]["trouble"]
            await check("PUT", f"devices/{id}/tags/gold")
            lists = ["devices", f"devices/{id}/parameters", f"devices/{id}/tasks", "tasks", f"devices/{id}/sessions"]
            lists += [f"devices/{id}/events", "faults", "tokens", "groups", "users", "webhooks", "audit"]
            for path in lists:
                assert (await check("GET", path))["items"], path
            [session, *_] = (await check("GET", f"devices/{id}/sessions"))["items"]
            assert (await check("GET", f"sessions/{session['id']}"))["messages"]
            for path in ("health", "me", f"devices/{id}", "files", "groups/lot", "users/eve", "tokens/dash"):
                await check("GET", path)

    run(scene())


CALLS = [
    ("GetParameterValues", {"parameter_names": ["Device.X"]}),
    ("SetParameterValues", {"parameter_list": [{"name": "Device.X", "value": "1", "type": "int"}]}),
]


def test_a_device_and_its_parameters_have_their_shapes(tmp_path: Path) -> None:
    """Times are ISO 8601 in UTC; parameters tell path, value, type, writable, updated."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            device = await bed.get_device()
            assert device["id"] == id_of()
            assert all(MOMENT.fullmatch(device[k]) for k in ("first_seen", "last_inform", "last_boot"))
            assert (device["online"], device["last_bootstrap"], device["tags"]) == (True, None, [])
            assert "password" not in json.dumps(device)
            answer = (await bed.rest("GET", f"devices/{id_of()}/parameters?path=Device.DeviceInfo.")).json
            assert answer["next"] is None
            (item,) = answer["items"]
            assert set(item) == {"path", "value", "type", "writable", "updated"}
            assert MOMENT.fullmatch(item["updated"])

    run(scene())


def test_a_task_has_its_shape(tmp_path: Path) -> None:
    """What design.md promises, and how it went."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            assert {"id", "device", "rpc", "args", "status", "result", "fault", "created", "finished"} <= set(task)
            assert (task["status"], task["finished"], task["result"], task["fault"]) == ("queued", None, None, None)
            await device.session(handler=reading)
            done = await bed.task_now(task)
            assert (done["status"], MOMENT.fullmatch(done["finished"]) is not None) == ("done", True)
            listed = (await bed.rest("GET", f"devices/{id_of()}/tasks")).json
            assert listed == {"items": [done], "next": None}

    run(scene())


def test_pages_follow_their_cursor(tmp_path: Path) -> None:
    """limit and next, for devices, parameters and tasks."""

    async def pages(bed: Bed, path: str) -> Iterator[Any]:
        items, cursor = [], None
        while True:
            more = f"&cursor={cursor}" if cursor else ""
            page = (await bed.rest("GET", f"{path}limit=2{more}")).json
            assert len(page["items"]) <= 2
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return iter(items)

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for n in range(5):
                device = await bed.device(f"S{n}")
                await device.session("1 BOOT", parameters={f"Device.P{i}": "x" for i in range(5)})
            assert [d["serial_number"] for d in await pages(bed, "devices?")] == [f"S{n}" for n in range(5)]
            wanted = "devices?where=serial_number%20!=%20'S2'&"
            assert [d["serial_number"] for d in await pages(bed, wanted)] == ["S0", "S1", "S3", "S4"]
            assert len(list(await pages(bed, f"devices/{id_of()}/parameters?"))) == 7
            made = [await bed.task("Reboot") for _ in range(3)]
            assert [t["id"] for t in await pages(bed, f"devices/{id_of()}/tasks?")] == [t["id"] for t in made][::-1]

    run(scene())


def test_tags_are_put_found_and_taken(tmp_path: Path) -> None:
    """A tag is a word that conditions can ask for."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            for _ in range(2):
                assert (await bed.rest("PUT", f"devices/{id_of()}/tags/gold")).json["tags"] == ["gold"]
            found = (await bed.rest("GET", "devices?where=%22gold%22%20in%20tags")).json["items"]
            assert [d["id"] for d in found] == [id_of()]
            assert (await bed.rest("DELETE", f"devices/{id_of()}/tags/gold")).json["tags"] == []
            is_error(await bed.rest("PUT", f"devices/{id_of()}/tags/a%7Cb"), 422, "invalid")

    run(scene())


@pytest.mark.postgres
@needs_postgres
def test_tags_that_are_given_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    """Each over a connection of its own, at an ACS that asks its database each time."""
    place = shared_server().new_database()

    async def scene() -> None:
        async with acs(tmp_path, database=place) as bed:
            await (await bed.device()).session("1 BOOT")

            async def put(tag: str) -> None:
                connection = await Connection.to(bed.app.http_url)
                path = f"/api/v1/devices/{id_of()}/tags/{tag}"
                answer = await connection.request("PUT", path, b"", {"Authorization": f"Bearer {bed.token}"})
                assert answer.status == 200
                await connection.close()

            tags = [f"t{number}" for number in range(9)]
            await asyncio.gather(*map(put, tags))
            assert (await bed.get_device())["tags"] == tags

    run(scene())


def test_a_deleted_device_is_gone_and_may_come_back(tmp_path: Path) -> None:
    """DELETE forgets it; its next Inform makes it anew."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            await device.inform()
            assert (await bed.rest("DELETE", f"devices/{id_of()}")).status == 204
            assert (await device.post(None)).status == 204
            is_error(await bed.rest("GET", f"devices/{id_of()}"), 404, "not_found")
            await device.session("1 BOOT")
            assert (await bed.get_device())["id"] == id_of()

    run(scene())


def test_a_device_with_odd_characters_in_its_name_has_an_address(tmp_path: Path) -> None:
    """The id is percent-encoded once as a key and once more in the URL."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device("A/B c-d")
            await device.session("1 BOOT")
            (found,) = (await bed.rest("GET", "devices")).json["items"]
            assert found["id"] == "00D0F1-XR500-A%2FB%20c%2Dd"
            again = (await bed.rest("GET", "devices/" + found["id"].replace("%", "%25"))).json
            assert again["serial_number"] == "A/B c-d"

    run(scene())


def test_a_wait_ends_when_the_task_does_or_the_time_is_over(tmp_path: Path) -> None:
    """POST tasks?wait= answers with the outcome, or with the task as it stands."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            body = {"rpc": "GetParameterValues", "args": {"parameter_names": ["Device.X"]}, "connection_request": False}
            late = (await bed.rest("POST", f"devices/{id_of()}/tasks?wait=0.05", body)).json
            assert late["status"] == "queued"

            waiting = asyncio.create_task(bed.rest("POST", f"devices/{id_of()}/tasks?wait=20", body))
            async with asyncio.timeout(20):
                while len(await bed.app.store.open_tasks(id_of())) < 2:
                    await asyncio.sleep(0)
            await device.session(handler=reading)
            assert (await waiting).json["status"] == "done"

    run(scene())


def test_the_stream_tells_what_happens(tmp_path: Path) -> None:
    """Server-sent events of Informs, tasks, values and sessions, after they were stored; one device's alone on request."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            stream = bed.rest_connection
            stream.writer.write(
                f"GET /api/v1/events?device={id_of()} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bed.token}\r\n\r\n".encode()
            )
            async with asyncio.timeout(20):
                assert b"text/event-stream" in await stream.reader.readuntil(b"\r\n\r\n")
                await stream.reader.readuntil(b": listening")
                await (await bed.device("OTHER")).session("1 BOOT")
                await (await bed.device()).session("1 BOOT")
                seen = b""
                while b'"kind":"session"' not in seen:
                    seen += await stream.reader.readuntil(b"\n\n")
            assert b"OTHER" not in seen
            assert b"event: inform" in seen
            assert b'"events":["1 BOOT"]' in seen

    run(scene())


def test_a_listener_who_comes_back_gets_what_he_has_missed(tmp_path: Path) -> None:
    """Last-Event-ID, as browsers send it; where it is not known any more the stream says so, and what is shown must be read anew."""

    async def heard(bed: Bed, last: str, until: bytes) -> bytes:
        stream = await Connection.to(bed.app.http_url)
        head = f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bed.token}\r\n{last}\r\n"
        stream.writer.write(head.encode())
        async with asyncio.timeout(20):
            seen = await stream.reader.readuntil(b": listening\n\n")
            while until not in seen:
                seen += await stream.reader.readuntil(b"\n\n")
        await stream.close()
        return seen

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            first = asyncio.create_task(heard(bed, "", b"event: inform"))
            while not bed.app.hub.bus.listening:
                await asyncio.sleep(0)
            await (await bed.device("S1")).session("1 BOOT")
            (number,) = re.findall(rb"id: (\S+)\nevent: inform", await first)
            await (await bed.device("S2")).session("1 BOOT")
            seen = await heard(bed, f"Last-Event-ID: {number.decode()}\r\n", b"event: inform")
            assert b"gap" not in seen and id_of("S2").encode() in seen
            assert number not in seen
            assert b"event: gap" in await heard(bed, "Last-Event-ID: other-7\r\n", b"event: gap")

    run(scene())


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    """Prometheus's text format, with sessions by outcome and answers by status."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            await device.post(None)
            text = (await bed.rest("GET", "/metrics")).body.decode()
            assert "homeport_devices 1.0" in text
            assert 'homeport_sessions_total{outcome="success"} 1.0' in text
            assert 'homeport_http_responses_total{status="400"} 1.0' in text
            assert "homeport_store_up 1.0" in text
            assert "homeport_tasks_open 0.0" in text and "homeport_oldest_open_task_age_seconds 0.0" in text
            await bed.task("Reboot")
            figures = dict(
                line.rsplit(" ", 1)
                for line in (await bed.rest("GET", "/metrics")).body.decode().splitlines()
                if line[0] != "#"
            )
            assert figures["homeport_tasks_open"] == "1.0"
            assert 0 < float(figures["homeport_oldest_open_task_age_seconds"]) < 20
            assert float(figures["homeport_store_size_bytes"]) > 4_096
            assert float(figures["homeport_data_dir_free_bytes"]) > 0
            assert (
                figures['homeport_answer_seconds_bucket{le="+Inf"}']
                == figures["homeport_answer_seconds_count"]
                == "3.0"
            )
            assert float(figures["homeport_answer_seconds_sum"]) > 0
            assert figures["homeport_session_seconds_count"] == "1.0"

    run(scene())


def test_a_tag_may_hold_a_slash(tmp_path: Path) -> None:
    """As its rule says; in the address it is written as it is, or as %2F."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            assert (await bed.rest("PUT", f"devices/{id_of()}/tags/site%2F7")).json["tags"] == ["site/7"]
            assert (await bed.rest("DELETE", f"devices/{id_of()}/tags/site/7")).json["tags"] == []

    run(scene())
