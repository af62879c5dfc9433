"""Devices send files to the ACS: signed URLs, one file each, whole or not at all, on full disks and under kill -9."""

import asyncio
import hashlib
import itertools
import os
import resource
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from homeport.codec.messages import FaultStruct, TransferComplete, Upload, UploadResponse
from support.acs_files import CONFIGURATION, a_download, add, ask, form, held, ordered, post_file
from support.acs_wire import Bed, Device, acs, id_of, run
from support.ends import Acs, wait_for

CONTENT = b"[system]\nname=XR500\n" * 500


async def an_upload(bed: Bed, **args: str) -> tuple[Device, dict[str, object], str]:
    """(device, task, URL) of an Upload that a device was ordered to do."""
    device = await bed.device()
    await device.session("1 BOOT")
    task, order = await ordered(bed, device, "Upload", {"file_type": CONFIGURATION} | args)
    return device, task, order.url


async def reported(device: Device, task: dict[str, object], code: int = 0) -> None:
    """The device says that its transfer has ended."""
    key = str(task["id"])
    await device.inform("7 TRANSFER COMPLETE", f"M Upload={key}")
    await device.post(TransferComplete(key, FaultStruct(code, ""), "2026-11-21T06:00:00Z", "2026-11-21T06:01:00Z"))
    await device.serve(await device.post(None))


@pytest.mark.parametrize("way", ["PUT", "POST", "chunked", "form", "expect"])
def test_an_upload_task_brings_the_devices_file_into_the_store(tmp_path: Path, way: str) -> None:
    """Without a url the ACS gives one; PUT, POST, chunks, a form or 100-continue; the result names the stored file."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device, task, url = await an_upload(bed)
            if way == "chunked":
                body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (CONTENT[:7], CONTENT[7:])) + b"0\r\n\r\n"
                answer = await ask(url, "PUT", body, {"Transfer-Encoding": "chunked"})
            elif way == "form":
                body, headers = form("running.cfg", CONTENT, part="upload")
                answer = await ask(url, "POST", body, headers)
            elif way == "expect":
                answer = await ask(url, "PUT", CONTENT, {"Expect": "100-continue"})
                assert answer.status == 100
                assert answer.body.startswith(b"HTTP/1.1 201 ")
            else:
                answer = await ask(url, way, CONTENT)
            assert answer.status in (100, 201), answer
            await reported(device, task)
            ended = await bed.task_now(task)
            assert ended["status"] == "done"
            name = ended["result"]["file"]
            described = (await bed.rest("GET", f"files/{name}")).json
            assert (described["size"], described["device"], described["task"]) == (len(CONTENT), id_of(), task["id"])
            assert described["file_type"] == CONFIGURATION
            assert (await bed.rest("GET", f"files/{name}/content")).body == CONTENT

    run(scene())


def test_a_device_may_finish_in_the_session_itself(tmp_path: Path) -> None:
    """Status 0: the file is here when the response comes; the task is done and names it."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("Upload", {"file_type": CONFIGURATION, "file": "S1.cfg"})
            await device.inform()
            answer = await device.post(None)
            order = answer.message
            assert isinstance(order, Upload)
            assert (await ask(order.url, "PUT", CONTENT)).status == 201
            await device.serve(await device.post(UploadResponse(0, "2026-11-21T06:00:00Z", "2026-11-21T06:01:00Z")))
            ended = await bed.task_now(task)
            assert (ended["status"], ended["result"]["file"]) == ("done", "S1.cfg")

    run(scene())


def test_a_transfer_without_a_file_says_so(tmp_path: Path) -> None:
    """A device that reports success and sent nothing is not believed to have sent it."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device, task, _ = await an_upload(bed)
            await reported(device, task)
            assert (await bed.task_now(task))["result"]["file"] is None

    run(scene())


def test_an_address_holds_one_file(tmp_path: Path) -> None:
    """Once more, as after a lost answer, is taken, and the last content counts; after the transfer nothing is taken.

    An empty one gives way: curl with a login asks so whether one is wanted.
    """

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device, task, url = await an_upload(bed)
            assert (await ask(url, "PUT", b"")).status == 201
            assert (await ask(url, "PUT", CONTENT)).status == 201
            assert (await ask(url, "PUT", CONTENT)).status == 201
            assert (await ask(url, "PUT", b"a log that has grown")).status == 201
            assert (await ask(url, "PUT", CONTENT)).status == 201
            assert (await ask(url, "GET")).status == 405
            assert len(held(tmp_path)) == 1
            await reported(device, task)
            assert (await ask(url, "PUT", CONTENT)).status == 410
            name = (await bed.task_now(task))["result"]["file"]
            assert (await bed.rest("GET", f"files/{name}/content")).body == CONTENT

    run(scene())


@pytest.mark.parametrize("way", ["announced", "chunked", "form"])
def test_a_file_that_is_too_long_is_refused(tmp_path: Path, way: str) -> None:
    """413, before the body where its length was announced; nothing is left of it."""

    async def scene() -> None:
        async with acs(tmp_path, upload_size_limit=1000) as bed:
            _, _, url = await an_upload(bed)
            if way == "chunked":
                piece = b"100\r\n" + b"x" * 256 + b"\r\n"
                answer = await ask(url, "PUT", piece * 100 + b"0\r\n\r\n", {"Transfer-Encoding": "chunked"})
            elif way == "form":
                answer = await ask(url, "POST", *form("a", CONTENT))
            else:
                answer = await ask(url, "PUT", b"x" * 1001)
            assert answer.status == 413
            assert "1000 bytes" in answer.body.decode()
            assert held(tmp_path) == []
            assert (await ask(url, "PUT", b"x" * 1000)).status == 201

    run(scene())


@pytest.mark.parametrize("end", ["cut", "silence"])
def test_half_a_file_is_no_file(tmp_path: Path, end: str) -> None:
    """A device that stops in the middle leaves nothing, and may begin again."""

    async def scene() -> None:
        async with acs(tmp_path, file_stall=0.3) as bed:
            _, _, url = await an_upload(bed)
            parts = urlsplit(url)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(f"PUT {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nhalf".encode())
            async with asyncio.timeout(10):
                while not held(tmp_path):
                    await asyncio.sleep(0.01)
                if end == "cut":
                    writer.close()
                    while held(tmp_path):
                        await asyncio.sleep(0.01)
                else:
                    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
            assert held(tmp_path) == []
            assert (await bed.rest("GET", "files")).json["items"] == []
            assert (await ask(url, "PUT", CONTENT)).status == 201
            writer.close()

    run(scene())


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """503 to devices and to operators while the medium takes no more; small files and running downloads are served on."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def scene() -> None:
        async with acs(tmp_path, database="memory:") as bed:
            await add(bed, "small.bin", b"small")
            _, down = await a_download(bed, "small.bin", serial="D1")
            _, _, url = await an_upload(bed)
            resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, limit[1]))
            try:
                answer = await ask(url, "PUT", os.urandom(1_500_000))
                assert answer.status == 503, answer
                assert "retry-after" in answer.headers
                refused = await post_file(bed, "large.bin", os.urandom(1_500_000))
                assert (refused.status, refused.json["error"]["code"]) == (503, "unavailable")
                assert (await ask(down)).body == b"small"
                assert len(held(tmp_path)) == 1
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            assert (await ask(url, "PUT", os.urandom(1_500_000))).status == 201

    run(scene())


def unfinished(server: Acs) -> list[Path]:
    """What is being written."""
    return [p for p in held(server.data) if p.parent.name == "parts"]


def send_by_rest(server: Acs, name: str, content: bytes) -> bytes:
    """What the ACS says to a new file; nothing where it dies over it."""
    token = (server.data / "admin.token").read_text().strip()
    body, headers = form(name, content)
    pairs = {"Authorization": f"Bearer {token}", **headers}
    given = [word for k, v in pairs.items() for word in ("-H", f"{k}: {v}")]
    command = ["curl", "-sS", *given, "--data-binary", "@-", f"{server.http_url}/api/v1/files"]
    return subprocess.run(command, input=body, capture_output=True, check=False).stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Acs]:
    """A real ACS process."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (Debian package curl)")
    made = Acs(tmp_path, "--cpe-auth", "open")
    try:
        yield made.start()
    finally:
        made.kill()


def test_kill_9_while_a_file_comes_leaves_no_half_file(server: Acs) -> None:
    """What was being received is cleared away at the next start; files that were acknowledged are there, whole."""
    for count in range(3):
        body, headers = form(f"half{count}.bin", os.urandom(4_000_000))
        headers["Authorization"] = f"Bearer {(server.data / 'admin.token').read_text().strip()}"
        headers |= {"Host": "x", "Content-Length": str(len(body))}
        head = "POST /api/v1/files HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
        at = urlsplit(server.http_url)
        with socket.create_connection((str(at.hostname), at.port or 0)) as raw:
            raw.sendall(head.encode() + body[: 1_000_000 * (count + 1)])
            wait_for(lambda: any(p.stat().st_size for p in unfinished(server)), "the first bytes on the disk")
            server.kill()
        assert unfinished(server)
        server.start()
        assert not unfinished(server)
        assert b'"sha256"' in send_by_rest(server, f"whole{count}.bin", CONTENT + bytes([count]))
        server.kill()
        server.start()
        listed = server.rest("GET", "files")["items"]
        assert [f["name"] for f in listed] == [f"whole{n}.bin" for n in range(count + 1)]
        assert sorted(p.name for p in held(server.data)) == sorted(f["sha256"] for f in listed)


def test_a_listed_file_is_always_whole_however_the_server_dies(server: Acs) -> None:
    """Killed at several moments while files come one after the other: every listed file has its content."""
    for count in range(4):
        stop = threading.Event()

        def send(prefix: str, stop: threading.Event) -> None:
            for n in itertools.count():
                if stop.is_set():
                    return
                send_by_rest(server, f"{prefix}-{n}.bin", os.urandom(300_000))

        sender = threading.Thread(target=send, args=(f"r{count}", stop))
        before = len(held(server.data))
        sender.start()
        wait_for(lambda before=before: len(held(server.data)) > before + 1, "the first files")
        time.sleep(0.017 * count)  # another moment in each round
        server.kill()
        stop.set()
        sender.join()
        server.start()
        contents = {p.name: p for p in held(server.data)}
        for item in server.rest("GET", "files")["items"]:
            assert hashlib.sha256(contents[item["sha256"]].read_bytes()).hexdigest() == item["sha256"]


def test_curl_uploads(tmp_path: Path) -> None:
    """A client of the world: -T sends a PUT with 100-continue, -F a form."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed (Debian package curl)")

    async def scene() -> None:
        async with acs(tmp_path / "acs") as bed:
            device, task, url = await an_upload(bed)
            source = tmp_path / "source"
            source.write_bytes(os.urandom(2_000_000))
            for options in (["-T", str(source)], ["-F", f"file=@{source}"]):
                done = await asyncio.to_thread(
                    subprocess.run, [curl, "-sSf", *options, url], capture_output=True, timeout=30
                )
                assert done.returncode == 0, done.stderr
            await reported(device, task)
            name = (await bed.task_now(task))["result"]["file"]
            assert (await bed.rest("GET", f"files/{name}/content")).body == source.read_bytes()

    run(scene())
