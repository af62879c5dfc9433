"""The REST API of stored files: shapes, names, limits, and its one error shape."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from support.acs_files import CONFIGURATION, FIRMWARE, add, form, held, post_file
from support.acs_wire import Answer, Bed, acs, id_of, run

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
CONTENT = b"\x00\r\n--frontie\r\n" * 1000


def is_error(answer: Answer, status: int, code: str) -> str:
    assert answer.status == status, answer
    error = answer.json["error"]
    assert error["code"] == code
    return str(error["message"])


async def post(bed: Bed, body: bytes, headers: dict[str, str]) -> Answer:
    """The answer to a raw body."""
    return await bed.rest_connection.request(
        "POST", "/api/v1/files", body, {"Authorization": f"Bearer {bed.token}"} | headers
    )


def test_files_are_listed_page_by_page(tmp_path: Path) -> None:
    """As every list; the command line's completion of names asks for 500."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for name in ("a.bin", "b.bin", "c.bin"):
                await add(bed, name, name.encode())
            page = (await bed.rest("GET", "files?limit=2")).json
            assert ([f["name"] for f in page["items"]], page["next"]) == (["a.bin", "b.bin"], "b.bin")
            page = (await bed.rest("GET", "files?limit=500&cursor=b.bin")).json
            assert ([f["name"] for f in page["items"]], page["next"]) == (["c.bin"], None)

    run(scene())


def test_a_file_has_its_shape_and_its_bytes(tmp_path: Path) -> None:
    """name, size, sha256, file_type, version, model, created; the content is what was sent, also where it looks like a boundary."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            made = await add(bed, "fw.bin", CONTENT, version="2.1", model="797xx")
            assert MOMENT.fullmatch(made.pop("created"))
            assert made == {
                "name": "fw.bin",
                "size": len(CONTENT),
                "sha256": hashlib.sha256(CONTENT).hexdigest(),
                "file_type": FIRMWARE,
                "version": "2.1",
                "model": "797xx",
                "device": "",
                "task": "",
            }
            described = (await bed.rest("GET", "files/fw.bin")).json
            assert (await bed.rest("GET", "files")).json == {"items": [described], "next": None}
            content = await bed.rest("GET", "files/fw.bin/content")
            assert (content.body, content.headers["etag"]) == (CONTENT, f'"{made["sha256"]}"')
            assert (await bed.rest("DELETE", "files/fw.bin")).status == 204
            assert (await bed.rest("GET", "files")).json["items"] == []
            assert held(tmp_path) == []

    run(scene())


def test_files_are_kept_over_a_restart(tmp_path: Path) -> None:
    """On the disk, with their description."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            made = await add(bed, "fw.bin", CONTENT)
        async with acs(tmp_path) as bed:
            assert (await bed.rest("GET", "files")).json["items"] == [made]
            assert (await bed.rest("GET", "files/fw.bin/content")).body == CONTENT

    run(scene())


def test_one_content_lies_there_once_and_goes_with_its_last_name(tmp_path: Path) -> None:
    """Two names for the same bytes; replacing and deleting leave nothing behind."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "a.bin", CONTENT)
            await add(bed, "b.bin", CONTENT)
            assert len(held(tmp_path)) == 1
            assert (await post_file(bed, "a.bin", b"new", query="?replace=true")).status == 201
            assert len(held(tmp_path)) == 2
            assert (await bed.rest("DELETE", "files/b.bin")).status == 204
            assert [p.read_bytes() for p in held(tmp_path)] == [b"new"]

    run(scene())


def test_a_taken_name_is_not_given_away(tmp_path: Path) -> None:
    """The same file again is the same; another content or description is refused unless asked for."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            made = await add(bed, "fw.bin", CONTENT)
            assert await add(bed, "fw.bin", CONTENT) == made
            assert "replace" in is_error(await post_file(bed, "fw.bin", b"x", file_type=FIRMWARE), 409, "conflict")
            is_error(await post_file(bed, "fw.bin", CONTENT, file_type="2 Web Content"), 409, "conflict")
            assert (await bed.rest("GET", "files/fw.bin")).json == made

    run(scene())


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../fw.bin",
        "/etc/passwd",
        "a/b",
        "a\\b",
        ".hidden",
        "a..b",
        "a b",
        "ä.bin",
        "a\x00b",
        "-rf",
        "x" * 101,
        "a\nb",
    ],
)
def test_a_name_that_could_be_a_path_is_refused(tmp_path: Path, name: str) -> None:
    """Letters, digits and a few signs: names go into URLs, into TFTP, and into devices."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            is_error(await post_file(bed, name, CONTENT), 422, "invalid")
            assert held(tmp_path) == []

    run(scene())


@pytest.mark.parametrize("way", ["announced", "unannounced"])
def test_a_file_over_the_limit_is_refused(tmp_path: Path, way: str) -> None:
    """413, and nothing is kept of it."""

    async def scene() -> None:
        async with acs(tmp_path, file_size_limit=1000) as bed:
            size = 1_000_000 if way == "announced" else 1001
            assert "1000 bytes" in is_error(await post_file(bed, "fw.bin", b"x" * size), 413, "too_large")
            assert held(tmp_path) == []

    run(scene())


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"raw", {"Content-Type": "application/octet-stream"}),
        (b"", {"Content-Type": "multipart/form-data"}),
        (b"", {"Content-Type": "multipart/form-data; boundary=frontier"}),
        (b"nothing like it", {"Content-Type": "multipart/form-data; boundary=frontier"}),
        (form("a", b"x")[0][:-20], {"Content-Type": "multipart/form-data; boundary=frontier"}),
        (b"--frontier--\r\n", {"Content-Type": "multipart/form-data; boundary=frontier"}),
        form("a", b"x", part="image"),
        form("a", b"x", {"colour": "red"}),
        form("a", b"x", {"version": "x" * 300}),
        form("a", b"x", {"version": "x" * 5000}),
        form("a", b"x", {f"f{n}": "" for n in range(40)}),
        form("a", b"x", {"model": "two\nlines"}),
        (
            form("a", b"x")[0].replace(b"--\r\n", b"\r\n") + form("b", b"y")[0],
            {"Content-Type": "multipart/form-data; boundary=frontier"},
        ),
    ],
)
def test_a_body_that_is_no_such_form_is_refused(tmp_path: Path, body: bytes, headers: dict[str, str]) -> None:
    """422 with a sentence; nothing is left behind, and the next file is taken."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            is_error(await post(bed, body, headers), 422, "invalid")
            assert held(tmp_path) == []
        async with acs(tmp_path) as bed:
            await add(bed, "a", b"x")

    run(scene())


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "files"), ("POST", "files"), ("GET", "files/a"), ("GET", "files/a/content"), ("DELETE", "files/a")],
)
def test_without_the_token_nothing_is_told(tmp_path: Path, method: str, path: str) -> None:
    """401 before a byte of the body is kept."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            is_error(await bed.rest(method, path, token="wrong"), 401, "unauthorized")
            assert held(tmp_path) == []

    run(scene())


@pytest.mark.parametrize("path", ["files/nothing", "files/nothing/content", "files/..%2facs.db", "files/%2e%2e"])
def test_what_is_not_stored_is_not_found(tmp_path: Path, path: str) -> None:
    """404, whatever the name."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            is_error(await bed.rest("GET", path), 404, "not_found")

    run(scene())


@pytest.mark.parametrize(
    ("rpc", "args", "status", "code"),
    [
        ("Download", {"file": "nothing"}, 404, "not_found"),
        ("Download", {"file": "../acs.db"}, 404, "not_found"),
        ("Download", {"file": 7}, 422, "invalid"),
        ("Download", {"file": "fw.bin", "url": "http://x/"}, 422, "invalid"),
        ("Download", {"file": "plain"}, 422, "invalid"),
        ("Download", {"file": "fw.bin", "colour": "red"}, 422, "invalid"),
        ("Upload", {}, 422, "invalid"),
        ("Upload", {"file_type": CONFIGURATION, "file": "fw.bin"}, 409, "conflict"),
        ("Upload", {"file_type": CONFIGURATION, "file": "../x"}, 422, "invalid"),
    ],
)
def test_a_transfer_task_that_cannot_be_is_refused(
    tmp_path: Path, rpc: str, args: dict[str, Any], status: int, code: str
) -> None:
    """At once, not when the device comes."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "fw.bin", CONTENT)
            assert (await post_file(bed, "plain", CONTENT)).status == 201
            await (await bed.device()).session("1 BOOT")
            answer = await bed.rest("POST", f"devices/{id_of()}/tasks", {"rpc": rpc, "args": args})
            is_error(answer, status, code)

    run(scene())


def test_the_description_names_the_form(tmp_path: Path) -> None:
    """OpenAPI: part `file`, fields file_type, version, model."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            description = (await bed.rest("GET", "/api/openapi.json")).json
            operation = description["paths"]["/api/v1/files"]["post"]
            schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
            assert set(schema["properties"]) == {"file", "file_type", "version", "model"}

    run(scene())


def test_the_file_server_has_its_address_in_acs_json(tmp_path: Path) -> None:
    """file_url, beside the others."""
    import json

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            facts = json.loads((tmp_path / "acs.json").read_text())
            assert facts["file_url"] == bed.app.file_url
            assert len({facts["file_url"], facts["http_url"], facts["cwmp_url"]}) == 3

    run(scene())
