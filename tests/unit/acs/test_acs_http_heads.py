"""The two ways to read a request at the ACS, the fast one and httptools, say the same of any bytes."""

import os
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from homeport.acs.endpoint.connection import Connection
from homeport.acs.endpoint.heads import MOST_KNOWN, PATIENCE, Heads
from homeport.acs.endpoint.server import CwmpServer
from support.http_heads import PLAIN, Porter, Wire, both

RUNS = int(os.environ.get("HOMEPORT_HEAD_RUNS", "250"))


def taken(data: bytes) -> bool:
    """Whether the fast way reads the head."""
    return Heads().read(data) is not None


LINES = (
    b"Host: acs.example.com",
    b'Content-Type: text/xml; charset="utf-8"',
    b"Content-Type: text/xml",
    b"content-type:text/xml",
    b'SOAPAction: ""',
    b"SOAPAction:",
    b"SOAPAction: ",
    b"User-Agent: HNAP/1.0 (x; y)",
    b"Cookie: hp=0123456789abcdef",
    b"Cookie: hp=0123456789abcdef; other=1",
    b'Cookie: $Version="1"; hp="0123456789abcdef"',
    b"cookie: hp=fedcba9876543210",
    b"Cookie: ",
    b"Cookie:  hp=0123456789abcdef ",
    b"Authorization: Basic Y3BlOnNlY3JldA==",
    b'Authorization: Digest username="cpe", nonce="n", uri="/"',
    b"authorization: x",
    b"Connection: keep-alive",
    b"Connection: Keep-Alive",
    b"Connection: close",
    b"Connection: keep-alive, close",
    b"Connection: upgrade",
    b"Proxy-Connection: close",
    b"Upgrade: h2c",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Expect: 100-continue",
    b"Content-Encoding: gzip",
    b"X-Forwarded-For: 198.51.100.7",
    b"X-Forwarded-For: 203.0.113.9:4711",
    b"X-Forwarded-Proto: https",
    b"Content-Length: 0",
    b"Content-Length: 4",
    b"Content-Length: 04",
    b"Content-Length: +4",
    b"Content-Length: 4 ",
    b"Content-Length: 4, 4",
    b"Content-Length: 1500",
    b"Content-Length: 99999999999999999999999",
    b"Content-Length: ",
    b"content-length: 4",
    b"Content-Length : 4",
    b" folded",
    b"\tfolded",
    b": empty name",
    b"no colon",
    b"",
)
STARTS = (
    b"POST / HTTP/1.1",
    b"POST /cwmp?x=1&y=%20 HTTP/1.1",
    b"POST http://acs.example.com/ HTTP/1.1",
    b"POST //a HTTP/1.1",
    b"POST /#a HTTP/1.1",
    b"POST / HTTP/1.0",
    b"POST / HTTP/2.0",
    b"POST /  HTTP/1.1",
    b"POST /a b HTTP/1.1",
    b" POST / HTTP/1.1",
    b"\r\nPOST / HTTP/1.1",
    b"post / HTTP/1.1",
    b"GET / HTTP/1.1",
    b"POST * HTTP/1.1",
    b"POST / RTSP/1.0",
)
ENDS = (b"\r\n",) * 12 + (b"\n", b"\r", b"\r\r\n", b"\n\r\n")


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """What a peer may send: requests, well formed or not, torn and cut into pieces."""
    data = b""
    for _ in range(draw(st.integers(1, 3))):
        lines = [draw(st.sampled_from(STARTS[:2] if draw(st.booleans()) else STARTS))]
        lines += draw(st.lists(st.sampled_from(LINES), max_size=6))
        body = draw(
            st.sampled_from((b"", b"body", b"body", b"4\r\nbody\r\n0\r\n\r\n", b"x" * 1_500, b"GET / HTTP/1.1\r\n\r\n"))
        )
        if draw(st.integers(0, 3)):
            lines.insert(draw(st.integers(1, len(lines))), b"Content-Length: %d" % len(body))
        data += b"".join(line + draw(st.sampled_from(ENDS)) for line in lines) + b"\r\n" + body
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 2)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [piece for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if (piece := data[a:b])]


@settings(max_examples=RUNS, deadline=None)
@example([PLAIN])
@example([PLAIN, PLAIN])
@example([PLAIN + PLAIN[:60], PLAIN[60:]])
@example([PLAIN[:-2], PLAIN[-2:] + PLAIN])
@given(streams())
def test_both_ways_to_read_requests_agree(pieces: list[bytes]) -> None:
    """The same requests, answers and end, however the bytes are cut."""
    both(pieces)


@settings(max_examples=RUNS, deadline=None)
@given(st.integers(0, len(PLAIN)), st.binary(max_size=2), st.integers(0, 2))
def test_both_ways_agree_on_a_plain_request_with_a_byte_changed(at: int, put: bytes, gone: int) -> None:
    """Anything at any place of a request that the fast way takes."""
    both([PLAIN[:at] + put + PLAIN[at + gone :]])


def test_every_byte_at_every_place_of_a_value_is_judged_alike() -> None:
    """Control characters, NUL, spaces, bytes over 127, in a value that is cut out and in one that is not."""
    for line in (
        b"Cookie: a%sb",
        b"Cookie: %sb",
        b"Cookie: a%s",
        b"Host: a%sb",
        b"Host: a%s",
        b"Host%s: b",
        b"Content-Length: %s4",
    ):
        for byte in range(256):
            sent = line.replace(b"%s", bytes([byte]))
            length = b"" if line.startswith(b"Content") else b"Content-Length: 4\r\n"
            both([b"POST / HTTP/1.1\r\n" + length + sent + b"\r\n\r\nbody"])


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: 10.0.0.1:7547\r\nContent-Type: text/xml; charset=utf-8\r\nSOAPAction: \"\"\r\nContent-Length: 4",
        b"POST /acs HTTP/1.1\r\nHost: a\r\nUser-Agent: gSOAP/2.8\r\nContent-Length: 0\r\nConnection: keep-alive\r\nSOAPAction:",
        b"POST / HTTP/1.1\r\nCookie: hp=1; b=2\r\nAuthorization: Digest username=\"a\", nc=00000001\r\nContent-Length: 12",
    ],
)  # fmt: skip
def test_what_devices_send_is_read_the_fast_way(head: bytes) -> None:
    """The form of gSOAP, libcurl and easycwmp."""
    assert taken(head + b"\r\n\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"Connection: close",
        b"Cookie: a=1\r\nCookie: b=2",
        b"cookie: a=1",
        b"Content-Length: 4",
        b"content-length: 4",
        b"Content-Length : 4",
        b"A: b\r\n folded",
        b"A : b",
        b"A: b\nB: c",
        b"A: b\rc",
        b"A: b\0",
        b"A: \xe9",
        b"A: " + b"x" * 5_000,
        b"\r\n".join(b"A%d: b" % n for n in range(101)),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(line: bytes) -> None:
    """Everything that changes how the body is read, that has a second form, or that the parser may refuse."""
    assert not taken(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n" + line + b"\r\n\r\nbody")


def test_a_fleet_of_heads_that_never_come_again_is_not_learned_for_ever() -> None:
    """So many heads are known; more make room for others only after many, and no request is lost to it."""
    heads = Heads()

    def head(n: int) -> bytes:
        return b"POST / HTTP/1.1\r\nUser-Agent: device-%d\r\nContent-Length: 0\r\n\r\n" % n

    for n in range(MOST_KNOWN):
        assert heads.read(head(n)) is not None
    for n in range(MOST_KNOWN, MOST_KNOWN + PATIENCE - 1):
        assert heads.read(head(n)) is None
    assert heads.read(head(0)) is not None
    assert heads.read(head(MOST_KNOWN)) is not None
    assert len(heads._known) == 1
    both([head(n) for n in range(5)])


def test_an_idle_connection_needs_no_parser_and_leaves_no_garbage() -> None:
    """A connection that sends plain requests is freed when it ends, without the garbage collector."""
    import gc
    import weakref

    porter: Any = Porter()
    server = CwmpServer(porter, read_timeout=30.0, keep_alive=60.0, max_connections=10)
    server.tick(0.0, 0.0)
    gc.collect()
    gc.disable()
    try:
        for data in (PLAIN, PLAIN.replace(b"POST", b"PUT")):
            wire: Any = Wire()
            connection = Connection(server)
            connection.connection_made(wire)
            connection.data_received(data)
            assert (connection._parser is None) == (data is PLAIN)
            connection.connection_lost(None)
            ended = weakref.ref(wire)
            del connection, wire
            assert ended() is None
    finally:
        gc.enable()
