"""Devices fetch stored files from the ACS: signed URLs, ranges, limits, slow readers, and who else may not."""

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from homeport.codec.messages import FaultStruct, TransferComplete
from support.acs_files import FIRMWARE, a_download, add, ask, blunt, ordered
from support.acs_wire import Bed, acs, id_of, run

CONTENT = bytes(range(256)) * 40
UNKNOWN_TIME = "0001-01-01T00:00:00Z"


def complete(key: str, code: int = 0) -> TransferComplete:
    return TransferComplete(
        key, FaultStruct(code, "broken" if code else ""), "2026-11-21T06:00:00Z", "2026-11-21T06:01:00Z"
    )


def test_a_download_task_gives_the_device_url_size_and_type_of_the_stored_file(tmp_path: Path) -> None:
    """design.md 3: `file` in place of `url`; the URL is good and under the standard's 256 characters, the task keeps the name."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "fw-2.1+b7.bin", CONTENT, version="2.1")
            device = await bed.device()
            await device.session("1 BOOT")
            task, order = await ordered(bed, device, "Download", {"file": "fw-2.1+b7.bin"})
            assert (order.file_size, order.file_type, order.command_key) == (len(CONTENT), FIRMWARE, task["id"])
            assert order.url.startswith(bed.app.file_url)
            assert len(order.url) < 256
            answer = await ask(order.url)
            assert (answer.status, answer.body) == (200, CONTENT)
            assert answer.headers["content-length"] == str(len(CONTENT))
            assert answer.headers["etag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
            assert "url" not in (await bed.task_now(task))["args"]

    run(scene())


def test_a_task_tells_how_much_of_its_file_was_sent(tmp_path: Path) -> None:
    """While the device fetches it, and until its report comes; not any more when the task has ended."""

    async def scene() -> None:
        async with acs(tmp_path, file_rate=2_000_000) as bed:
            whole = bytes(1_000_000)
            await add(bed, "fw.bin", whole)
            device = await bed.device()
            await device.session("1 BOOT")
            task, order = await ordered(bed, device, "Download", {"file": "fw.bin"})
            assert (await bed.task_now(task))["served"] is None
            fetching = asyncio.create_task(ask(order.url))
            seen = set()
            while not fetching.done():
                served = (await bed.task_now(task))["served"]
                if served is not None:
                    assert served["size"] == len(whole)
                    seen.add(served["sent"])
                await asyncio.sleep(0.01)
            assert any(0 < sent < len(whole) for sent in seen)
            assert (await bed.task_now(task))["served"] == {"sent": len(whole), "size": len(whole)}
            await device.inform("7 TRANSFER COMPLETE", "M Download")
            await device.post(complete(order.command_key))
            assert (await bed.task_now(task))["served"] is None
            assert not bed.app.hub.served

    run(scene())


@pytest.mark.case("T17")
@pytest.mark.parametrize("order", ["report first", "boot first"])
def test_transfer_complete_ends_the_task_before_or_after_the_reboot(tmp_path: Path, order: str) -> None:
    """Matched by CommandKey alone: DKT's devices report and then reboot, the standard's reboot and then report."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "fw.bin", CONTENT)
            device = await bed.device()
            await device.session("1 BOOT")
            task, given = await ordered(bed, device, "Download", {"file": "fw.bin"})
            assert (await bed.task_now(task))["status"] == "running"
            if order == "report first":
                await device.inform("7 TRANSFER COMPLETE", f"M Download={given.command_key}")
                await device.post(complete(given.command_key))
                await device.serve(await device.post(None))
                assert (await bed.task_now(task))["status"] == "done"
                await device.session("1 BOOT")
            else:
                await device.inform("1 BOOT", "7 TRANSFER COMPLETE", f"M Download={given.command_key}")
                await device.post(complete(given.command_key))
                await device.serve(await device.post(None))
            ended = await bed.task_now(task)
            assert (ended["status"], ended["fault"]) == ("done", None)
            assert ended["result"]["start_time"] == "2026-11-21T06:00:00Z"
            assert (await ask(given.url)).status == 410

    run(scene())


def test_a_failed_transfer_fails_its_task_with_the_devices_fault(tmp_path: Path) -> None:
    """The code and words of TransferComplete are the task's."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "fw.bin", CONTENT)
            device = await bed.device()
            await device.session("1 BOOT")
            task, given = await ordered(bed, device, "Download", {"file": "fw.bin"})
            await device.inform("7 TRANSFER COMPLETE", f"M Download={given.command_key}")
            await device.post(complete(given.command_key, 9018))
            await device.serve(await device.post(None))
            ended = await bed.task_now(task)
            assert (ended["status"], ended["fault"]["code"], ended["fault"]["string"]) == ("failed", 9018, "broken")

    run(scene())


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=0-99", 206, 0, 99),
        ("bytes=100-", 206, 100, 10239),
        ("bytes=-5", 206, 10235, 10239),
        ("bytes=10000-99999", 206, 10000, 10239),
        ("bytes=5-2", 200, 0, 10239),
        ("bytes=0-1,5-9", 200, 0, 10239),
        ("lines=1-2", 200, 0, 10239),
    ],
)
def test_a_part_of_a_file_can_be_fetched(tmp_path: Path, asked: str, status: int, first: int, last: int) -> None:
    """RFC 9110 14: one range is answered by it, anything else by the whole file."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "fw.bin", CONTENT)
            _, url = await a_download(bed)
            answer = await ask(url, headers={"Range": asked})
            assert (answer.status, answer.body) == (status, CONTENT[first : last + 1])
            told = f"bytes {first}-{last}/{len(CONTENT)}" if status == 206 else None
            assert answer.headers.get("content-range") == told

    run(scene())


def test_conditions_and_head_are_answered(tmp_path: Path) -> None:
    """HEAD tells the length and no byte more; If-None-Match 304; If-Range of another content the whole file; behind the end 416."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "fw.bin", CONTENT)
            _, url = await a_download(bed)
            head = await ask(url, "HEAD")
            assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(CONTENT)))
            assert head.headers["accept-ranges"] == "bytes"
            tag = head.headers["etag"]
            same = await ask(url, headers={"If-None-Match": f'"other", W/{tag}'})
            assert (same.status, same.body) == (304, b"")
            part = {"Range": "bytes=1-2"}
            assert (await ask(url, headers=part | {"If-Range": tag})).status == 206
            assert (await ask(url, headers=part | {"If-Range": '"other"'})).status == 200
            for asked in ("bytes=1-2", "bytes=10240-"):  # RFC 9110 14.2: ranges are GET's alone
                head = await ask(url, "HEAD", headers={"Range": asked})
                assert (head.status, head.headers["content-length"]) == (200, str(len(CONTENT)))
            assert (await ask(url, headers={"If-Match": f'"other", {tag}'})).status == 200
            for other in ('"other"', f"W/{tag}"):
                gone = await ask(url, headers={"If-Match": other})
                assert (gone.status, gone.headers["etag"]) == (412, tag)
            behind = await ask(url, headers={"Range": "bytes=10240-"})
            assert (behind.status, behind.headers["content-range"]) == (416, "bytes */10240")
            assert "10240 bytes" in behind.body.decode()

    run(scene())


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    """Length 0; no range of it can be had."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "empty", b"")
            _, url = await a_download(bed, "empty")
            assert ((await ask(url)).status, (await ask(url)).body) == (200, b"")
            assert (await ask(url, headers={"Range": "bytes=0-"})).status == 416

    run(scene())


def test_only_the_signed_address_opens(tmp_path: Path) -> None:
    """Any other name, task, time, direction or signature is refused with a sentence; nothing outside the store can be named."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "fw.bin", CONTENT)
            await add(bed, "other.bin", b"other")
            _, url = await a_download(bed)
            path = urlsplit(url).path
            expires, rest = path[3:].split("-", 1)
            changed = {
                path[:-6] + "other.bin": 403,
                f"/d/{int(expires, 16) + 9999:x}-{rest}": 403,
                "/u/" + path[3:]: 403,
                path.replace("-", "-f", 1): 403,
                path.replace("/fw.bin", "/../fw.bin"): 401,
                "/d/fw.bin": 401,
                "/fw.bin": 401,
                "/": 404,
                "/../../../../etc/passwd": 404,
                "/d/..%2f..%2facs.db": 401,
                "/%2e%2e/admin.token": 404,
                path + "/../../../acs.db": 401,
                path + "%00": 401,
            }
            letter = path.rindex("/") - 1
            changed[path[:letter] + ("a" if path[letter] != "a" else "b") + path[letter + 1 :]] = 403
            for target, status in changed.items():
                answer = await blunt(url, target)
                assert answer.status == status, (target, answer)
                assert len(answer.body.decode().split()) > 3
                assert CONTENT not in answer.body
            wrong = await blunt(url, "/d/x/fw.bin")
            assert "www-authenticate" in wrong.headers
            assert (await ask(url, "DELETE")).status == 405
            assert (await ask(url, "PUT", b"new")).status == 405
            assert (await ask(url)).body == CONTENT

    run(scene())


def test_an_address_ends_with_its_time_its_task_and_its_file(tmp_path: Path) -> None:
    """410 after the lifetime, after the task was cancelled, after the content was replaced; 404 after the file was deleted."""
    now = [1_800_000_000.0]

    async def scene() -> None:
        async with acs(tmp_path, file_url_lifetime=600.0) as bed:
            bed.app.hub.clock = lambda: now[0]
            for name in ("a.bin", "b.bin", "c.bin"):
                await add(bed, name, CONTENT + name.encode())
            (_, a), (tb, b), (_, c) = [await a_download(bed, f"{n}.bin", serial=n) for n in "abc"]
            assert [(await ask(u)).status for u in (a, b, c)] == [200, 200, 200]
            assert (await bed.rest("DELETE", f"tasks/{tb['id']}")).status == 200
            assert (await ask(b)).status == 410
            assert (await bed.rest("DELETE", "files/c.bin")).status == 204
            assert (await ask(c)).status == 404
            await add(bed, "c.bin", b"something else")
            assert (await ask(c)).status == 410
            now[0] += 601
            assert (await ask(a)).status == 410

    run(scene())


def test_a_task_whose_file_has_gone_fails_when_it_is_due(tmp_path: Path) -> None:
    """The device is not sent to an address where there is nothing; the next task goes on."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "fw.bin", CONTENT)
            device = await bed.device()
            await device.session("1 BOOT")
            task = await bed.task("Download", {"file": "fw.bin"})
            await bed.rest("DELETE", "files/fw.bin")
            await device.session()
            assert device.heard == []
            ended = await bed.task_now(task)
            assert ended["status"] == "failed"
            assert "fw.bin" in ended["fault"]["string"]

    run(scene())


def test_the_signature_is_masked_in_the_history(tmp_path: Path) -> None:
    """A person who may read sessions gets no key to files from them."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await add(bed, "fw.bin", CONTENT)
            _, url = await a_download(bed)
            signature = urlsplit(url).path.split("/")[2].rsplit("-", 1)[1]
            await bed.app.store.flush()
            sessions = (await bed.rest("GET", f"devices/{id_of()}/sessions")).json["items"]
            texts = [(await bed.rest("GET", f"sessions/{s['id']}")).body.decode() for s in sessions]
            assert any("fw.bin" in t for t in texts)
            assert not any(signature in t for t in texts)

    run(scene())


def test_slow_readers_hold_up_nobody(tmp_path: Path) -> None:
    """A hundred devices that take nothing of a large file, and another fetches it meanwhile, in constant memory."""
    large = os.urandom(1 << 20) * 16

    async def scene() -> None:
        async with acs(tmp_path, file_max_transfers=200, file_max_per_address=200) as bed:
            await add(bed, "fw.bin", large)
            _, url = await a_download(bed)
            parts = urlsplit(url)
            slow = []
            for _ in range(100):
                raw = socket.socket()
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                raw.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(raw, (parts.hostname, parts.port))
                await loop.sock_sendall(raw, f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert (await loop.sock_recv(raw, 12)).startswith(b"HTTP/1.1 200")
                slow.append(raw)
            before = _resident()
            began = time.monotonic()
            answer = await ask(url)
            assert hashlib.sha256(answer.body).digest() == hashlib.sha256(large).digest()
            assert time.monotonic() - began < 10
            began = time.monotonic()
            assert (await bed.rest("GET", "health")).status == 200
            assert time.monotonic() - began < 1
            assert _resident() - before < 3 * len(large) + (60 << 20)  # our own copies, and a piece for each reader
            for raw in slow:
                raw.close()

    run(scene())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_reader_that_takes_nothing_is_cut(tmp_path: Path) -> None:
    """After file_stall seconds without progress its slot is free again."""

    async def scene() -> None:
        async with acs(tmp_path, file_stall=0.3, file_max_transfers=1) as bed:
            await add(bed, "fw.bin", os.urandom(1 << 20) * 12)
            _, url = await a_download(bed)
            parts = urlsplit(url)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1024)
            writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await reader.read(10)
            assert (await ask(url)).status == 503
            async with asyncio.timeout(20):
                while bed.app.hub.stats.file_transfers.get("cut") is None:
                    await asyncio.sleep(0.05)
            assert (await ask(url, "HEAD")).status == 200
            writer.close()

    run(scene())


def test_more_transfers_than_allowed_are_told_to_come_back(tmp_path: Path) -> None:
    """503 with Retry-After, of all and of one address; the ones under way go on."""

    async def scene() -> None:
        async with acs(tmp_path, file_max_per_address=2, file_rate=400_000) as bed:
            content = os.urandom(200_000)
            await add(bed, "fw.bin", content)
            _, url = await a_download(bed)
            running = [asyncio.create_task(ask(url)) for _ in range(2)]
            async with asyncio.timeout(10):
                while (refused := await ask(url, "HEAD")).status != 503:
                    await asyncio.sleep(0.01)
            assert int(refused.headers["retry-after"]) > 0
            assert [(await t).body == content for t in running] == [True, True]

    run(scene())


def test_the_rate_limit_is_kept(tmp_path: Path) -> None:
    """file_rate for one transfer: no faster than told, and not much slower."""

    async def scene() -> None:
        async with acs(tmp_path, file_rate=200_000) as bed:
            content = os.urandom(200_000)
            await add(bed, "fw.bin", content)
            _, url = await a_download(bed)
            began = time.monotonic()
            assert (await ask(url)).body == content
            assert 0.6 < time.monotonic() - began < 5

    run(scene())


def test_curl_fetches_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """A client of the world: whole, the rest of a half, and the head."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed (Debian package curl)")

    async def scene() -> None:
        async with acs(tmp_path / "acs") as bed:
            content = os.urandom(3_000_000)
            await add(bed, "fw.bin", content)
            _, url = await a_download(bed)
            target = tmp_path / "got"
            target.write_bytes(content[:1_000_000])
            for options in (["-C", "-", "-o", str(target)], ["-o", str(tmp_path / "whole")]):
                done = await asyncio.to_thread(
                    subprocess.run, [curl, "-sSf", *options, url], capture_output=True, timeout=30
                )
                assert done.returncode == 0, done.stderr
            assert target.read_bytes() == content == (tmp_path / "whole").read_bytes()

    run(scene())


async def _raw(bed: Bed, data: bytes) -> bytes:
    parts = urlsplit(bed.app.file_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(data)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"a" * 40_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 408),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused(tmp_path: Path, data: bytes, status: int) -> None:
    """Answered, never fatal; a head that trickles in has a time limit."""

    async def scene() -> None:
        async with acs(tmp_path, read_timeout=0.3) as bed:
            answer = await _raw(bed, data)
            assert answer.split(b" ")[1] == str(status).encode(), answer
            assert (await ask(bed.app.file_url + "x")).status == 401

    run(scene())
