"""How devices may write one HTTP request to the ACS: versions, chunks, trailers, targets, spellings; and what none may slip in by it."""

import asyncio
from pathlib import Path

import pytest

from homeport.codec.messages import TransferComplete
from support.acs_wire import Bed, Connection, Device, acs, played
from support.hostile import GOOD, HEAD

pytestmark = pytest.mark.system


async def exchanged(bed: Bed, *requests: bytes) -> list[int]:
    """The statuses of requests that are sent on one connection, each after the answer to the one before."""
    connection = await Connection.to(bed.app.cwmp_url)
    statuses = []
    for request in requests:
        connection.writer.write(request)
        statuses.append((await connection.answer()).status)
    await connection.close()
    return statuses


def with_length(start: bytes, body: bytes = GOOD) -> bytes:
    return start + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_a_chunk(body: bytes, trailers: bytes = b"", *, start: bytes = HEAD) -> bytes:
    return start + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)


EMPTY = with_length(HEAD, b"")

FORMS: dict[str, tuple[bytes, bytes]] = {
    "the target is a whole address": (with_length(b"POST http://acs.example/acs HTTP/1.1\r\nHost: x\r\n"), EMPTY),
    "names of headers in any case": (with_length(b"POST / HTTP/1.1\r\nhOST: x\r\ncONTENT-tYPE: TEXT/XML\r\n"), EMPTY),
    "no Host": (with_length(b"POST / HTTP/1.1\r\n"), EMPTY),
    "empty lines before the request": (b"\r\n\r\n" + with_length(HEAD), b"\r\n" + EMPTY),
    "an end behind the length that is told": (with_length(HEAD) + b"\r\n", EMPTY),
    "a NUL and blanks behind the envelope": (with_length(HEAD, GOOD + b"\r\n \0"), EMPTY),
    "as many headers as there may be": (with_length(HEAD + b"X-A: 1\r\n" * 98), EMPTY),
    "a chunk with extensions and a trailer": (
        in_a_chunk(GOOD, b"X-Sum: 1\r\n").replace(b"\r\n0\r\n", b"\r\n0;a=b\r\n"),
        EMPTY,
    ),
    "blanks in the empty POST": (with_length(HEAD), with_length(HEAD, b" \r\n ")),
    "an empty POST without a length": (with_length(HEAD), HEAD + b"\r\n"),
    "an empty POST in no chunk": (with_length(HEAD), HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "an empty POST that names its coding": (with_length(HEAD), with_length(HEAD + b"Content-Encoding: gzip\r\n", b"")),
}


@played
async def test_a_session_is_written_in_any_of_these_forms(tmp_path: Path) -> None:
    """Each is an Inform and the empty POST of a device without cookies."""
    async with acs(tmp_path) as bed:
        for name, requests in FORMS.items():
            assert (name, await exchanged(bed, *requests)) == (name, [200, 204])


@played
async def test_a_device_of_http_1_0_reads_in_the_answer_whether_the_connection_stays(tmp_path: Path) -> None:
    """It stays where the device has asked for that (RFC 9112 9.3), and 100 Continue is not for it (RFC 9110 10.1.1)."""
    async with acs(tmp_path) as bed:
        connection = await Connection.to(bed.app.cwmp_url)
        old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n"
        for request, status in (
            (with_length(old + b"Connection: Keep-Alive\r\n"), 200),
            (with_length(old + b"Connection: Keep-Alive\r\n", b""), 204),
        ):
            connection.writer.write(request)
            answer = await connection.answer()
            assert (answer.status, answer.headers["connection"]) == (status, "keep-alive")
        connection.writer.write(with_length(old))
        answer = await connection.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await connection.reader.read() == b""
        await connection.close()


@played
async def test_leave_to_send_is_given_for_chunks_too(tmp_path: Path) -> None:
    """A device that waits for it would else wait for ever: its chunks have no length that could be looked at."""
    async with acs(tmp_path) as bed:
        connection = await Connection.to(bed.app.cwmp_url)
        head, _, chunks = in_a_chunk(GOOD, start=HEAD + b"Expect: 100-Continue\r\n").partition(b"\r\n\r\n")
        connection.writer.write(head + b"\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        connection.writer.write(chunks)
        assert (await connection.answer()).status == 200
        await connection.close()


@played
async def test_what_stands_behind_a_body_is_nobody_s_address_login_or_cookie(tmp_path: Path) -> None:
    """A load balancer adds its header in front and hands trailers on: a device must not name its own address there."""
    async with acs(tmp_path, trusted_proxies=("127.0.0.1",)) as bed:
        told = HEAD + b"X-Forwarded-For: 192.0.2.%d\r\n"
        spoofed = in_a_chunk(GOOD, b"X-Forwarded-For: 198.51.100.9\r\n", start=told % 1)
        assert await exchanged(bed, spoofed) == [200]
        assert (await bed.get_device("S9"))["address"] == "192.0.2.1"
        victim = await bed.device("S1", headers={"X-Forwarded-For": "192.0.2.2"})
        await victim.inform()
        stolen = in_a_chunk(b"", f"Cookie: {victim.cookie}\r\n".encode(), start=told % 3)
        assert await exchanged(bed, stolen) == [400]
        assert (await victim.post(TransferComplete("k"))).status == 200


@played
async def test_a_trailer_may_not_be_longer_than_a_head(tmp_path: Path) -> None:
    """It would be collected in memory until the time for a request is over."""
    async with acs(tmp_path) as bed:
        endless = in_a_chunk(GOOD)[:-2] + b"X-T: " + b"x" * 1_000_000
        assert await exchanged(bed, endless) == [431]
        device: Device = await bed.device()
        assert (await device.session()).status == 204


@played
async def test_the_answer_to_head_has_no_body(tmp_path: Path) -> None:
    """The health check of a load balancer: what follows on its connection is read right."""
    async with acs(tmp_path) as bed:
        connection = await Connection.to(bed.app.cwmp_url)
        connection.writer.write(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + with_length(HEAD))
        refused, answer = await connection.answer(), await connection.answer()
        assert (refused.status, refused.headers["content-length"], answer.status) == (405, "0", 200)
        await connection.close()
