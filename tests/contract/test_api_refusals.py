"""Refusals of the REST API: the one error shape, what is wrong named, and who may not."""

import re
from pathlib import Path
from typing import Any

import pytest

from support.acs_wire import Connection, acs, id_of, run
from support.api_errors import is_error


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "devices/nobody", None, 404, "not_found"),
        ("GET", "devices/nobody/tasks", None, 404, "not_found"),
        ("GET", "devices/nobody/sessions", None, 404, "not_found"),
        ("GET", "devices/nobody/parameters", None, 404, "not_found"),
        ("DELETE", "devices/nobody", None, 404, "not_found"),
        ("POST", "devices/nobody/approve", None, 404, "not_found"),
        ("GET", "tasks/nothing", None, 404, "not_found"),
        ("DELETE", "tasks/nothing", None, 404, "not_found"),
        ("GET", "sessions/nothing", None, 404, "not_found"),
        ("GET", "nothing", None, 404, "not_found"),
        ("PATCH", "devices", None, 405, "method_not_allowed"),
        ("GET", "devices?limit=0", None, 422, "invalid"),
        ("GET", "devices?limit=many", None, 422, "invalid"),
        ("GET", "devices?where=import%20os", None, 422, "invalid"),
        ("POST", "devices/ID/tasks", {}, 422, "invalid"),
        ("POST", "devices/ID/tasks", {"rpc": "Inform"}, 422, "invalid"),
        ("POST", "devices/ID/tasks", {"rpc": "Reboot", "colour": "red"}, 422, "invalid"),
        ("POST", "devices/ID/tasks", {"rpc": "GetParameterValues", "args": {"names": []}}, 422, "invalid"),
        ("POST", "devices/ID/tasks", {"rpc": "Reboot", "after": "nothing"}, 404, "not_found"),
        ("POST", "devices/ID/tasks", {"rpc": "Reboot", "expires_in": -1}, 422, "invalid"),
        ("POST", "devices/nobody/tasks", {"rpc": "Reboot"}, 404, "not_found"),
        ("POST", "devices/ID/tasks?wait=-1", {"rpc": "Reboot"}, 422, "invalid"),
        ("PUT", "devices/ID/credentials", {"username": "", "password": ""}, 422, "invalid"),
        ("PUT", "devices/ID/credentials", {"username": "a:b", "password": "p"}, 422, "invalid"),
        ("PUT", "devices/ID/credentials", {"username": "a\nb", "password": "p"}, 422, "invalid"),
        ("POST", "devices/ID/tasks", {"rpc": "Reboot", "args": {"command_key": "\ud800"}}, 422, "invalid"),
    ],
)
def test_every_error_has_the_one_shape(
    tmp_path: Path, method: str, path: str, body: Any, status: int, code: str
) -> None:
    """A code for programs, a sentence for people."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            is_error(await bed.rest(method, path.replace("ID", id_of()), body), status, code)

    run(scene())


@pytest.mark.parametrize("framing", ["Content-Length: 4194305", "Transfer-Encoding: chunked"])
def test_a_body_that_is_too_long_is_refused_before_it_is_kept(tmp_path: Path, framing: str) -> None:
    """Also of somebody without a token: otherwise anybody could fill the memory."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            connection = await Connection.to(bed.app.http_url)
            head = f"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
            connection.writer.write(head.encode())
            if "chunked" in framing:
                connection.writer.write(b"400001\r\n" + b" " * 0x400001 + b"\r\n")
            is_error(await connection.answer(), 413, "too_large")
            await connection.close()
            is_error(await bed.rest("GET", "devices/nobody"), 404, "not_found")

    run(scene())


def test_a_parameter_that_a_call_does_not_know_is_refused(tmp_path: Path) -> None:
    """A filter that is misspelt must not give everything; the answer names what there is."""
    wrong = {
        "devices?were=online": "cursor, limit, where",
        "faults?satus=1": "device",
        "tokens?limit=2": "none",
        "devices?limit=1&limit=2": "more than once",
    }

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for path, names in wrong.items():
                answer = await bed.rest("GET", path)
                is_error(answer, 422, "invalid")
                assert names in answer.json["error"]["message"]
                assert answer.json["error"]["details"][0]["where"].startswith("query.")

    run(scene())


def test_what_is_wrong_in_itself_is_told_as_such(tmp_path: Path) -> None:
    """422 names the field, also where the device is not there: nothing that is done first would make the wish right."""
    wrong: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "users", {"name": "eve", "password": "long enough to be one", "full_name": "a\x1b[2Jb"}),
        ("POST", "webhooks", {"name": "hook", "url": "https://x.example/", "secret": "short"}),
        ("POST", "groups", {"name": "lot", "note": "\x00"}),
        ("POST", "login", {"name": "eve", "password": "x", "otp": "1"}),
        ("PUT", "devices/X/credentials", {"username": "u", "password": "p", "user": "u"}),
        ("POST", "devices/X/rename", {"oui": ""}),
    ]

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for method, path, body in wrong:
                answer = await bed.rest(method, path, body)
                is_error(answer, 422, "invalid")
                assert list(body)[-1] in answer.json["error"]["message"]

    run(scene())


def test_the_description_says_which_scope_each_call_needs_and_it_is_so(tmp_path: Path) -> None:
    """Without a token 401, with a lesser one 403, for every call that is described; the errors have the shape that is described."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            described = (await bed.rest("GET", "/api/openapi.json")).json
            assert described["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
            tokens = {}
            for scope in ("read", "operate"):
                tokens[scope] = (await bed.rest("POST", "tokens", {"name": scope, "scope": scope})).json["token"]
            lesser = {"": (), "any": (), "read": (), "operate": ("read",), "admin": ("read", "operate")}
            for path, calls in described["paths"].items():
                for method, call in calls.items():
                    assert set(call["responses"]) >= {"default"}
                    where = re.sub(r"{\w+}", "x", path)
                    if call["x-scope"]:
                        is_error(await bed.rest(method.upper(), where, token="none"), 401, "unauthorized")
                    for scope in lesser[call["x-scope"]]:
                        is_error(await bed.rest(method.upper(), where, token=tokens[scope]), 403, "forbidden")

    run(scene())


def test_a_method_that_does_not_go_is_told_with_all_that_do(tmp_path: Path) -> None:
    """RFC 9110 15.5.6: Allow lists every method of the address."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            answer = await bed.rest("POST", f"devices/{id_of()}")
            is_error(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "DELETE, GET, PATCH"
            assert "it takes DELETE, GET, PATCH" in answer.json["error"]["message"]

    run(scene())


def test_a_body_that_is_no_json_is_told_as_such(tmp_path: Path) -> None:
    """Without its header, as curl -d sends it, and with a mistake in it, at its place."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for kind, body, says in (
                (
                    "application/x-www-form-urlencoded",
                    b'{"name": "x"}',
                    "Content-Type: application/json (not application/x-www",
                ),
                ("", b'{"name": "x"}', "none was sent"),
                ("application/json", b'{"name" "x"}', "not JSON, at character 9"),
            ):
                headers = {"Authorization": f"Bearer {bed.token}"} | ({"Content-Type": kind} if kind else {})
                answer = await bed.rest_connection.request("POST", "/api/v1/tokens", body, headers)
                is_error(answer, 422, "invalid")
                assert says in answer.json["error"]["message"]

    run(scene())
