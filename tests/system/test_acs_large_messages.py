"""Devices that send their whole tree in one message: what becomes of it, who may do so, and what others notice of it.

HOMEPORT_LARGE_ROWS=200000 asks for as many rows (30 MB), and then measures closely.
"""

import asyncio
import gzip
import os
import random
import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.messages import (
    GetParameterNamesResponse,
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterInfoStruct,
    ParameterValueStruct,
)
from support.acs_wire import Answer, Bed, Connection, Device, acquainted, acs, id_of, played, values
from support.ends import Acs

pytestmark = pytest.mark.system

ROWS = int(os.environ.get("HOMEPORT_LARGE_ROWS", "7000"))
WITHIN = 0.05 if ROWS >= 200_000 else 0.5
"""Seconds in which another device has its first reply meanwhile, beyond what it takes on this machine without; where the rows are few,
a machine with other work must not decide the test."""


def many_values(count: int = ROWS) -> Message:
    return GetParameterValuesResponse(
        tuple(
            ParameterValueStruct(f"Device.X_LOAD_Group.{i // 20 + 1}.Param{i % 20 + 1}", f"value number {i}", "string")
            for i in range(count)
        )
    )


def many_names(count: int = ROWS) -> Message:
    return GetParameterNamesResponse(
        tuple(ParameterInfoStruct(f"Device.X_LOAD_Group.{i // 20 + 1}.Param{i % 20 + 1}", True) for i in range(count))
    )


def wide_values() -> Message:
    """A body of 1.5 MB in few rows."""
    return GetParameterValuesResponse(
        tuple(ParameterValueStruct(f"Device.P{i}", "x" * 10_000, "string") for i in range(150))
    )


async def asked(device: Device) -> str:
    """The ID of what the ACS asks the device in a session that it opens."""
    await device.inform()
    return id_in(await device.post(None))


def id_in(answer: Answer) -> str:
    assert answer.status == 200, answer
    envelope = decode(answer.body)
    assert envelope.id is not None
    return envelope.id


def body_of(message: Message, id: str, urn: str = "urn:dslforum-org:cwmp-1-0") -> bytes:
    return encode(Envelope(body=message, id=id, urn=urn))


async def wait_for(bed: Bed, task: Any) -> Any:
    """The task once it has ended."""
    async with asyncio.timeout(20):
        while (now := await bed.task_now(task))["status"] in ("queued", "running"):
            await asyncio.sleep(0)
    return now


ASKS: dict[str, tuple[str, dict[str, Any], Callable[[], Message]]] = {
    "values": ("GetParameterValues", {"parameter_names": ["Device."]}, many_values),
    "names": ("GetParameterNames", {"parameter_path": "Device.", "next_level": False}, many_names),
}


@pytest.mark.parametrize(("kind", "packed"), [("values", False), ("values", True), ("names", False)])
@played
async def test_a_whole_tree_in_one_answer_is_kept_and_holds_nobody_up(tmp_path: Path, kind: str, packed: bool) -> None:
    """Its rows are the task's result and the device's parameters; another device opens sessions all the time meanwhile."""
    rpc, arguments, make = ASKS[kind]
    async with acquainted(tmp_path) as (bed, device):
        other = await bed.device("S2")
        await other.session("1 BOOT")
        for _ in range(2):
            task = await bed.task(rpc, arguments)
            body = body_of(make(), await asked(device))
            sent = gzip.compress(body, 1) if packed else body
            headers = {"Content-Encoding": "gzip"} if packed else {}
            answering = asyncio.create_task(device.post(sent, **headers))
            while not answering.done():
                assert (await other.session()).status == 204
            assert answering.result().status == 204
            ended = await wait_for(bed, task)
            assert (ended["status"], len(ended["result"]["parameter_list"])) == ("done", ROWS)
        stored = await bed.app.store.values(id_of(), "Device.X_LOAD_Group.")
        assert len(stored) == ROWS
        first = stored["Device.X_LOAD_Group.1.Param1"]
        assert (first.value, first.writable) == (("value number 0", None) if kind == "values" else (None, True))
        assert bed.app.door.held.bytes == 0


def test_the_first_replies_of_others_do_not_wait_for_a_whole_tree(tmp_path: Path) -> None:
    """An ACS in its own process: the longest of them while the answer is sent, read, learnt and stored, beside the longest before."""
    body = body_of(many_values(), "ID")
    options = ("--cpe-auth", "open", "--discover", "never", "--connection-request-credentials", "keep")
    program = Acs(tmp_path, *options).start()

    async def longest_until(device: Device, over: Callable[[], bool]) -> float:
        longest = 0.0
        while not over():
            began = time.perf_counter()
            assert (await device.inform()).status == 200
            longest = max(longest, time.perf_counter() - began)
            assert (await device.post(None)).status == 204
        return longest

    async def scene() -> None:
        other, device = [Device(await Connection.to(program.cwmp_url), serial) for serial in ("S2", "S1")]
        assert (await device.session("1 BOOT")).status == (await other.session("1 BOOT")).status == 204
        task = program.task(id_of(), "GetParameterValues", {"parameter_names": ["Device."]}, connection_request=False)
        id = await asked(device)
        sent = body.replace(b">ID<", f">{id}<".encode(), 1)
        head = f"POST / HTTP/1.1\r\nHost: a\r\nCookie: {device.cookie}\r\nContent-Length: {len(sent)}\r\n\r\n"
        began = time.perf_counter()
        before = await longest_until(other, lambda: time.perf_counter() > began + 0.2)
        answers: list[bytes] = []

        def send() -> None:
            with socket.create_connection(urlsplit(program.cwmp_url).netloc.split(":")) as wire:  # type: ignore[arg-type]
                wire.sendall(head.encode())
                wire.sendall(sent)
                answers.append(wire.recv(100))

        sending = asyncio.create_task(asyncio.to_thread(send))
        meanwhile = await longest_until(other, sending.done)
        await sending
        assert answers[0].startswith(b"HTTP/1.1 204")
        assert meanwhile < before + WITHIN
        assert program.task_status(task) == "done"
        for each in (other, device):
            await each.close()

    try:
        asyncio.run(scene())
    finally:
        program.stop()


@played
async def test_secrets_of_a_whole_tree_are_not_kept(tmp_path: Path) -> None:
    """Neither in the task's result nor in the parameters."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
        answer = many_values(6_000)
        assert isinstance(answer, GetParameterValuesResponse)
        secret = ParameterValueStruct("Device.X.Password", "hidden-away", "string")
        whole = GetParameterValuesResponse((*answer.parameter_list, secret))
        assert (await device.post(body_of(whole, await asked(device)))).status == 204
        await wait_for(bed, task)
        assert b"hidden-away" not in (await bed.rest("GET", f"tasks/{task['id']}")).body
        assert (await bed.app.store.values(id_of(), "Device.X."))["Device.X.Password"].value == ""
        assert b"hidden-away" not in b"".join(
            file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".log"
        )


@played
async def test_what_is_no_list_is_refused_and_the_next_session_works(tmp_path: Path) -> None:
    """A single value of many megabytes: 413, and the task is asked again."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]})
        one = GetParameterValuesResponse((ParameterValueStruct("Device.X", "x" * 5_000_000, "string"),))
        assert (await device.post(body_of(one, await asked(device)))).status == 413
        await device.reconnect()
        assert (await device.session(handler=values)).status == 204
        assert (await wait_for(bed, task))["status"] == "done"


@played
async def test_the_history_tells_how_long_a_whole_tree_was(tmp_path: Path) -> None:
    """Of its text only the beginning is kept."""
    async with acquainted(tmp_path) as (bed, device):
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
        body = body_of(wide_values(), await asked(device))
        assert (await device.post(body)).status == 204
        await wait_for(bed, task)
        sessions = (await bed.rest("GET", f"devices/{id_of()}/sessions")).json["items"]
        messages = (await bed.rest("GET", f"sessions/{sessions[0]['id']}")).json["messages"]
        [told] = [m for m in messages if m["element"] == "GetParameterValuesResponse"]
        assert told["size"] == len(body)
        assert told["body"].endswith(f"[cut: {len(body)} bytes]")


@pytest.mark.parametrize("when", ["waits", "is read", "is learnt"])
@played
async def test_a_session_that_is_over_before_its_answer_is_read_takes_nothing_up(tmp_path: Path, when: str) -> None:
    """The device has begun another meanwhile: that one does what is to be done, and the old one does not begin it, too."""
    async with acquainted(tmp_path) as (bed, device):
        door = bed.app.door
        read = await bed.task("GetParameterValues", {"parameter_names": ["Device.P"]})
        change = {"name": "Device.A", "value": "1", "type": "string"}
        written = await bed.task("SetParameterValues", {"parameter_list": [change]})
        body = body_of(many_values(20_000), await asked(device))
        again = await bed.device()
        if when == "waits":
            await door._large.acquire()
            await door._large.acquire()
        answering = asyncio.create_task(device.post(body))
        live = door.live.of_device(id_of())
        assert live is not None
        traced = len(live.trace)
        async with asyncio.timeout(5):
            while not live.busy or (when == "is learnt" and len(live.trace) == traced):
                await asyncio.sleep(0)
        assert (await again.inform()).status == 200
        if when == "waits":
            door._large.release()
            door._large.release()
        assert (await answering).status == 400
        assert [(await bed.task_now(task))["status"] for task in (read, written)] == ["queued", "queued"]
        assert not bed.app.hub.asking
        assert (await again.serve(await again.post(None), values)).status == 204
        assert [(await wait_for(bed, task))["status"] for task in (read, written)] == ["done", "done"]
        assert [m.element for m in again.heard] == ["GetParameterValues", "SetParameterValues"]


# --- who may ---


@played
async def test_a_device_without_cookies_may_send_its_whole_tree(tmp_path: Path) -> None:
    """Known by its connection, or on another one by the mark in its answer; nobody else at its address may, with or without a mark."""
    async with acs(tmp_path) as bed:
        device = await bed.device(cookies=False)
        assert (await device.session("1 BOOT")).status == 204
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
        id = await asked(device)
        assert (await device.post(body_of(wide_values(), id))).status == 204
        assert (await wait_for(bed, task))["status"] == "done"
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
        id = await asked(device)
        stranger = await bed.device("S2", cookies=False)
        for wrong in ("1", id.replace("hp", "hq"), f"hp00000000n{id[-1]}"):
            assert (await stranger.post(body_of(wide_values(), wrong))).status == 413
            await stranger.reconnect()
        await device.reconnect()
        assert (await device.post(body_of(wide_values(), id))).status == 204
        assert (await wait_for(bed, task))["status"] == "done"
        assert bed.app.door.held.bytes == 0


def raw_deflate(body: bytes) -> bytes:
    worker = zlib.compressobj(wbits=-15)
    return worker.compress(body) + worker.flush()


FORMS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "chunked": ("", bytes),
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without its wrapper": ("Deflate", raw_deflate),
    "twice compressed": ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
}


def on_the_wire(body: bytes, coding: str, *, chunked: bool) -> bytes:
    head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\n"
    head += f"Content-Encoding: {coding}\r\n" if coding else ""
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    pieces = [body[at : at + 3_000] for at in range(0, len(body), 3_000)]
    return (
        f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)
        + b"0\r\n\r\n"
    )


def random_values(count: int) -> Message:
    """A body that compression does not make much smaller: 130 bytes and more for a row."""
    chance = random.Random(1)
    return GetParameterValuesResponse(
        tuple(ParameterValueStruct(f"Device.P{i}", chance.randbytes(60).hex(), "string") for i in range(count))
    )


@played
async def test_a_device_without_cookies_may_send_its_whole_tree_compressed_or_in_chunks(tmp_path: Path) -> None:
    """Over a new connection, where the length is told only by the end: by the mark, too, and nobody else at its address may."""
    async with acs(tmp_path, body_limit=20_000) as bed:
        device = await bed.device(cookies=False)
        assert (await device.session("1 BOOT")).status == 204
        stranger = await bed.device("S2", cookies=False)
        # Longer than a stranger may send as compressed too, and only when decompressed.
        ways = [(random_values(300), name, True) for name in FORMS]
        ways += [(random_values(300), "deflate", False), (many_values(400), "gzip", False)]
        for answer, name, chunked in ways:
            coding, packed = FORMS[name]
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
            id = await asked(device)
            for sender, given, status in ((stranger, f"hp00000000n{id[-1]}", 413), (device, id, 204)):
                await sender.reconnect()
                sender.connection.writer.write(on_the_wire(packed(body_of(answer, given)), coding, chunked=chunked))
                got = await sender.connection.answer()
                assert (got.status, b"cookie" in got.body) == (status, status == 413), (name, chunked)
            assert (await wait_for(bed, task))["status"] == "done"
        assert bed.app.door.held.bytes == 0


@played
async def test_a_stranger_s_endless_chunks_are_no_longer_read_than_a_stranger_s_body(tmp_path: Path) -> None:
    """While it is asked whose they are nothing more is read, and the answer comes after little more than the limit."""
    async with acs(tmp_path, body_limit=20_000) as bed:
        device = await bed.device(cookies=False)
        assert (await device.session("1 BOOT")).status == 204
        await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
        await asked(device)
        await device.reconnect()
        for start in (b"<a>", b""):
            stranger = await Connection.to(bed.app.cwmp_url)
            stranger.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            stranger.writer.write((b"1000\r\n" + start.ljust(4_096, b" ") + b"\r\n") * 5)
            assert (await stranger.answer()).status == 413
            await stranger.close()
        assert bed.app.door.held.bytes == 0


@played
async def test_a_stranger_is_refused_by_the_head_alone(tmp_path: Path) -> None:
    """Nobody at its address has a session without a cookie: no byte of its body is waited for, nor 100-continue said."""
    async with acs(tmp_path) as bed:
        for extra in ("", "Expect: 100-continue\r\n"):
            connection = await Connection.to(bed.app.cwmp_url)
            head = f"POST / HTTP/1.1\r\nHost: a\r\n{extra}Content-Length: 2000000\r\n\r\n"
            connection.writer.write(head.encode())
            assert (await connection.answer()).status == 413
            await connection.close()


@played
async def test_a_session_goes_on_after_a_restart_with_a_whole_tree(tmp_path: Path) -> None:
    """With its cookie and without one: what is written down says whose the body is, before it is read."""
    for cookies in (True, False):
        async with acs(tmp_path) as bed:
            device = await bed.device(cookies=cookies)
            assert (await device.session("1 BOOT")).status == 204
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
            id = await asked(device)
            cookie = device.cookie
        async with acs(tmp_path) as bed:
            device = await bed.device(cookies=cookies)
            device.cookie = cookie
            stranger = await bed.device("S2", cookies=False)
            assert (await stranger.post(body_of(wide_values(), "1"))).status == 413
            expected = {"Expect": "100-continue"} if not cookies else {}
            if expected:
                # The parser's way: the body is sent when the ACS asks for it, and not before.
                body = body_of(wide_values(), id)
                head = f"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
                device.connection.writer.write(head.encode())
                assert (await device.connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
                device.connection.writer.write(body)
                assert (await device.connection.answer()).status == 204
            else:
                assert (await device.post(body_of(wide_values(), id))).status == 204
            assert bed.app.hub.stats.continued == 1
            assert (await wait_for(bed, task))["status"] == "done"


@pytest.mark.parametrize("expected", ["", "Expect: 100-continue\r\n"])
@played
async def test_a_body_that_is_here_before_it_is_admitted_is_answered(tmp_path: Path, expected: str) -> None:
    """Where strangers may send so little that a large body comes in one piece: nothing that follows would bring it on."""
    async with acs(tmp_path, body_limit=8_192) as bed:
        device = await bed.device(cookies=False)
        assert (await device.session("1 BOOT")).status == 204
        task = await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
        body = body_of(many_values(100), await asked(device))
        await device.reconnect()
        head = f"POST / HTTP/1.1\r\nHost: a\r\n{expected}Content-Length: {len(body)}\r\n\r\n"
        device.connection.writer.write(head.encode() + body)
        async with asyncio.timeout(5):
            answer = await device.connection.answer()
            if answer.status == 100:
                answer = await device.connection.answer()
        assert answer.status == 204
        assert (await wait_for(bed, task))["status"] == "done"
        assert bed.app.door.held.bytes == 0


@played
async def test_large_bodies_that_are_sent_ahead_are_counted_until_they_are_answered(tmp_path: Path) -> None:
    """The answer to the first gives back no room that the second still takes."""
    async with acquainted(tmp_path) as (bed, device):
        await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
        held = bed.app.door.held
        body = body_of(wide_values(), await asked(device))
        head = f"POST / HTTP/1.1\r\nHost: a\r\nCookie: {device.cookie}\r\nContent-Length: {len(body)}\r\n\r\n"
        device.connection.writer.write(head.encode() + body + head.encode() + body[:100_000])
        assert (await device.connection.answer()).status == 204
        async with asyncio.timeout(5):
            while not any(c._whole is not None for server in bed.app._cwmp for c in server.connections):
                await asyncio.sleep(0)
        assert held.bytes >= len(body)
        device.connection.writer.write(body[100_000:])
        assert (await device.connection.answer()).status == 400
        assert held.bytes == 0


@played
async def test_only_so_many_large_bodies_are_read_at_once(tmp_path: Path) -> None:
    """Further ones are told to come back; when one is done, or its connection is gone, there is room again."""
    async with acquainted(tmp_path) as (bed, device):
        await bed.task("GetParameterValues", {"parameter_names": ["Device."]})
        body = body_of(wide_values(), await asked(device))
        bed.app.door.held._most = len(body) + 1_000
        half = Connection(device.connection.reader, device.connection.writer, device.connection.authority)
        head = f"POST / HTTP/1.1\r\nHost: a\r\nCookie: {device.cookie}\r\nContent-Length: {len(body)}\r\n\r\n"
        half.writer.write(head.encode() + body[:100_000])
        async with asyncio.timeout(5):
            while not bed.app.door.held.bytes:
                await asyncio.sleep(0)
        second = await bed.device("S2")
        await second.session("1 BOOT")
        await bed.task("GetParameterValues", {"parameter_names": ["Device."]}, serial="S2")
        refused = await second.post(body_of(wide_values(), await asked(second)))
        assert (refused.status, "retry-after" in refused.headers) == (503, True)
        half.writer.transport.abort()
        async with asyncio.timeout(5):
            while bed.app.door.held.bytes:
                await asyncio.sleep(0)
        await second.reconnect()
        answered = await second.post(body_of(wide_values(), await asked(second)))
        assert answered.status == 204
        assert bed.app.door.held.bytes == 0


@played
async def test_one_device_that_sends_many_large_bodies_keeps_no_other_out(tmp_path: Path) -> None:
    """Heads that promise one, and nothing more, on as many connections as it likes: half of the room is for other addresses."""
    async with acs(tmp_path, body_limit=10_000, session_body_limit=100_000) as bed:
        device, other = await bed.device(), await bed.device("S2")
        other.connection.writer.close()
        mine = await asyncio.open_connection(*urlsplit(bed.app.cwmp_url).netloc.split(":"), local_addr=("127.0.0.2", 0))
        other.connection = Connection(*mine, other.connection.authority)
        for each in (device, other):
            assert (await each.session("1 BOOT")).status == 204
            await bed.task("GetParameterValues", {"parameter_names": ["Device."]}, serial=each.serial)
        await device.inform()
        greedy = [await Connection.to(bed.app.cwmp_url) for _ in range(6)]
        for connection in greedy:
            head = f"POST / HTTP/1.1\r\nHost: a\r\nCookie: {device.cookie}\r\nContent-Length: 100000\r\n\r\n<"
            connection.writer.write(head.encode())
        assert [(await connection.answer()).status for connection in greedy[4:]] == [503, 503]
        body = body_of(many_values(500), await asked(other))
        assert len(body) > 50_000
        assert (await other.post(body)).status == 204
        for connection in greedy:
            connection.writer.transport.abort()
        async with asyncio.timeout(5):
            while bed.app.door.held.bytes:
                await asyncio.sleep(0)
        assert not bed.app.door.held._of


# --- set up without a bootstrap ---


def tree(request: Message) -> Message | None:
    if isinstance(request, GetParameterValues):
        return values(request)
    return GetParameterNamesResponse((ParameterInfoStruct("Device.A", False),))


@pytest.mark.parametrize("discover", ["bootstrap", "first-contact"])
@played
async def test_a_device_that_is_approved_is_read_whatever_its_first_event_was(tmp_path: Path, discover: str) -> None:
    """Once: not again at the next approval, nor by its later sessions."""
    async with acs(tmp_path, cpe_auth="quarantine", discover=discover) as bed:
        device = await bed.device()
        assert (await device.session("2 PERIODIC", handler=tree)).status == 204
        assert device.heard == []
        for _ in range(2):
            assert (await bed.rest("POST", f"devices/{id_of()}/approve")).json["state"] == "approved"
            assert (await device.session("2 PERIODIC", handler=tree)).status == 204
        assert [m.element for m in device.heard] == ["GetParameterNames", "GetParameterValues"]
        assert (await bed.get_device())["wanted"] == []


@pytest.mark.parametrize(("discover", "read"), [("bootstrap", False), ("first-contact", True), ("never", False)])
@played
async def test_a_new_device_without_a_bootstrap_is_read_where_that_is_wished(
    tmp_path: Path, discover: str, read: bool
) -> None:
    """One that another ACS has managed, let in without a person: at its first contact, once."""
    async with acs(tmp_path, discover=discover) as bed:
        device = await bed.device()
        for _ in range(2):
            assert (await device.session("2 PERIODIC", handler=tree)).status == 204
        assert [m.element for m in device.heard] == (["GetParameterNames", "GetParameterValues"] if read else [])


@played
async def test_an_inform_of_a_megabyte_is_read_in_slices_too(tmp_path: Path) -> None:
    """Anybody may send one; its values are kept, and others go on meanwhile."""
    told = {f"Device.X_LOAD_Group.{i}.Parameter": "x" * 40 for i in range(5_000)}
    async with acquainted(tmp_path) as (bed, device):
        other = await bed.device("S2")
        informing = asyncio.create_task(device.inform("1 BOOT", parameters=told))
        while not informing.done():
            assert (await other.inform()).status == 200
        assert informing.result().status == 200
        assert (await device.post(None)).status == 204
        assert len(await bed.app.store.values(id_of(), "Device.X_LOAD_Group.")) == 5_000
