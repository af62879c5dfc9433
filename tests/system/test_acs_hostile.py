"""Hostile and broken input over real sockets: each is answered or cut off, and the next device's session is untouched."""

import asyncio
import gzip
import zlib
from pathlib import Path

import pytest

from homeport.codec.envelope import Envelope, encode
from homeport.codec.messages import FaultMessage, Kicked, RebootResponse, TransferComplete
from support.acs_wire import Bed, Connection, Device, acs, an_inform, id_of, run

pytestmark = pytest.mark.system

GOOD = encode(Envelope(body=an_inform("S9"), id="1"))
SOAP = (
    '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" xmlns:cwmp="urn:dslforum-org:cwmp-1-0">'
    "<SOAP-ENV:Body>{}</SOAP-ENV:Body></SOAP-ENV:Envelope>"
)
BOMB = (
    '<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)

BODIES: dict[str, bytes] = {
    "not-xml": b"hello",
    "cut": GOOD[: len(GOOD) // 2],
    "zeros": b"\0" * 1000,
    "random-bytes": bytes(range(256)) * 8,
    "json": b'{"Inform": true}',
    "html": b"<html><body>hi</body></html>",
    "not-soap": b"<Envelope><Nothing/></Envelope>",
    "empty-envelope-body": SOAP.format("").encode(),
    "two-messages": SOAP.format("<cwmp:GetRPCMethods/><cwmp:GetRPCMethods/>").encode(),
    "inform-without-device": SOAP.format("<cwmp:Inform><RetryCount>0</RetryCount></cwmp:Inform>").encode(),
    "inform-with-words-for-numbers": GOOD.replace(b"<RetryCount>0<", b"<RetryCount>zero<"),
    "wrong-serial-length": GOOD.replace(b">S9<", b">" + b"S" * 5000 + b"<"),
    "dtd": b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">' + GOOD,
    "entity-bomb": BOMB.encode() + GOOD.replace(b">S9<", b">&i;<"),
    "external-entity": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + GOOD.replace(b">S9<", b">&e;<"),
    "parameter-entity": b'<!DOCTYPE x [<!ENTITY % e SYSTEM "file:///etc/passwd"> %e;]>' + GOOD,
    "deep": b"<a>" * 50_000,
    "deep-in-soap": SOAP.format("<cwmp:Inform>" + "<a>" * 5_000 + "</a>" * 5_000 + "</cwmp:Inform>").encode(),
    "many-attributes": SOAP.format("<cwmp:Inform " + " ".join(f'a{i}="1"' for i in range(5000)) + "/>").encode(),
    "many-elements": SOAP.format("<cwmp:Inform>" + "<a/>" * 210_000 + "</cwmp:Inform>").encode(),
    "no-serial": GOOD.replace(b">S9<", b"><"),
    "response-first": encode(Envelope(body=RebootResponse(), id="1")),
    "fault-first": encode(Envelope(body=FaultMessage(9000, "x"), id="1")),
    "request-first": encode(Envelope(body=TransferComplete("k"), id="1")),
    "kicked-first": encode(Envelope(body=Kicked("a"), id="1")),
}


TOLERATED: dict[str, bytes] = {
    "utf-16-claim": b'<?xml version="1.0" encoding="utf-16"?>' + GOOD,
    "unknown-encoding": b'<?xml version="1.0" encoding="utf-7"?>' + GOOD,
    "blank-before": b" \r\n" + GOOD,
    "standalone": b'<?xml version="1.0" standalone="no"?>' + GOOD,
    "other-prefix": GOOD.replace(b"SOAP-ENV", b"soap_env"),
    "xsi-of-1999": GOOD.replace(b"2001/XMLSchema", b"1999/XMLSchema"),
    "no-id": GOOD.replace(b'<cwmp:ID SOAP-ENV:mustUnderstand="1">1</cwmp:ID>', b""),
    "unknown-namespace": GOOD.replace(b"urn:dslforum-org:cwmp-1-0", b"urn:example:cwmp"),
    "zero-padded-count": GOOD.replace(b"EventStruct[1]", b"EventStruct[02]"),
    "no-event": GOOD.replace(b"EventStruct[1]", b"EventStruct[0]")[: GOOD.index(b"<EventStruct>")]
    + GOOD[GOOD.index(b"</Event>") :],
    "time-without-zone": GOOD.replace(b"06:00:00Z", b"06:00:00"),
    "unknown-time": GOOD.replace(b"2026-11-21T06:00:00Z", b"0001-01-01T00:00:00Z"),
    "latin-1": GOOD.replace(b">1.0<", b">caf\xe9<"),
    "control-character": GOOD.replace(b">1.0<", b">1\x020<"),
    "empty-type": GOOD.replace(b'xsi:type="xsd:string"', b'xsi:type="xsd:"'),
    "vendor-type": GOOD.replace(b'xsi:type="xsd:string"', b'xsi:type="vendor:thing"'),
    "no-value": GOOD.replace(b'<Value xsi:type="xsd:string">1.0</Value>', b""),
}


@pytest.mark.parametrize("name", TOLERATED)
def test_the_habits_of_real_devices_are_tolerated(tmp_path: Path, name: str) -> None:
    """Rows 3 to 9 and 13 to 15 of the interop list: the Inform is taken, the session ends well."""
    assert name == "no-event" or TOLERATED[name] != GOOD

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device("S9")
            answer = await device.post(TOLERATED[name])
            assert answer.status == 200, answer.body
            assert b"InformResponse" in answer.body
            assert (await device.post(None)).status == 204
            assert (await bed.get_device("S9"))["serial_number"] == "S9"

    run(scene())


async def next_device_is_served(bed: Bed) -> None:
    """A well-behaved device has its session after whatever came before."""
    device = await bed.device("GOOD")
    assert (await device.session("1 BOOT")).status == 204


@pytest.mark.case("X08")
@pytest.mark.case("X10")
@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused_and_nothing_is_stored(tmp_path: Path, name: str) -> None:
    """A SOAP fault or a 4xx, no session, no device, no file read; a device in the middle of its session goes on."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            witness = await bed.device("WITNESS")
            await witness.inform("1 BOOT")
            bad = await bed.device("S9")
            answer = await bad.post(BODIES[name])
            if answer.status == 200:
                assert isinstance(answer.message, FaultMessage)
                assert 8000 <= answer.message.fault_code <= 8899
            else:
                assert 400 <= answer.status < 500
            assert b"root:" not in answer.body
            assert len(bed.app.door.live) == 1
            assert (await witness.post(None)).status == 204
            await next_device_is_served(bed)
            known = {d["serial_number"] for d in (await bed.rest("GET", "devices")).json["items"]}
            assert known == {"WITNESS", "GOOD"}

    run(scene())


@pytest.mark.parametrize("name", [n for n in BODIES if not n.endswith("-first")])
def test_a_bad_body_inside_a_session_harms_that_session_only(tmp_path: Path, name: str) -> None:
    """Either the session goes on after a fault, or it ends with 4xx; the device's next session works."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            await device.inform("2 PERIODIC")
            answer = await device.post(BODIES[name])
            # An envelope without a message is taken for the empty POST that it stands for.
            assert answer.status in (200, 204) or 400 <= answer.status < 500
            await next_device_is_served(bed)
            device.cookie = ""
            assert (await device.session("2 PERIODIC")).status == 204

    run(scene())


async def raw(bed: Bed, data: bytes) -> int:
    """The status of the first answer to raw bytes; 0 where the connection was closed without one."""
    connection = await Connection.to(bed.app.cwmp_url)
    try:
        connection.writer.write(data)
        return (await connection.answer()).status
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    finally:
        await connection.close()


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
RAW: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "not-http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100, (400,)),
    "garbage": (b"garbage\r\n\r\n", (400,)),
    "get": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", (405,)),
    "put": (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", (405,)),
    "delete": (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", (405,)),
    "options": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", (405,)),
    "connect": (b"CONNECT example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n", (400, 405)),
    "upgrade": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        (400, 405),
    ),
    "http2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    "length-not-a-number": (HEAD + b"Content-Length: many\r\n\r\n", (400,)),
    "negative-length": (HEAD + b"Content-Length: -1\r\n\r\n", (400,)),
    "two-lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", (400,)),
    "length-and-chunked": (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    "bad-chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", (400,)),
    "enormous-length": (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", (400, 413)),
    "over-the-limit": (HEAD + b"Content-Length: 1048577\r\n\r\n", (413,)),
    "chunked-over-the-limit": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17,
        (413,),
    ),
    "long-header": (HEAD + b"X-Long: " + b"x" * 20_000 + b"\r\n\r\n", (431, 400)),
    "endless-header": (HEAD + b"X-Long: " + b"x" * 70_000, (431, 400)),
    "many-headers": (HEAD + b"".join(b"X-%d: 1\r\n" % i for i in range(500)) + b"\r\n", (431,)),
    "long-target": (b"POST /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414, 431, 400)),
    "bare-line-feeds-and-nulls": (b"POST / HTTP/1.1\nHost: x\0\n\n", (400,)),
}


@pytest.mark.parametrize("name", RAW)
def test_broken_http_is_answered_and_the_connection_closed(tmp_path: Path, name: str) -> None:
    """A status and an end, never a hang; the next device is served."""
    data, statuses = RAW[name]

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            assert await raw(bed, data) in statuses
            await next_device_is_served(bed)
            assert len(bed.app._cwmp[0].connections) <= 1

    run(scene())


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(GOOD), 200),
        ("deflate", zlib.compress(GOOD), 200),
        ("gzip", gzip.compress(b"x" * 50_000_000), 413),
        ("gzip", gzip.compress(GOOD)[:-10], 400),
        ("gzip", GOOD, 400),
        ("br", GOOD, 415),
        ("compress", GOOD, 415),
        ("gzip, gzip, gzip", GOOD, 400),
    ],
)
def test_compressed_bodies_are_unpacked_within_limits(tmp_path: Path, encoding: str, body: bytes, status: int) -> None:
    """A small body cannot become a huge one; what cannot be unpacked is told with 415, so that the device stops compressing."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device("S9")
            answer = await device.post(body, **{"Content-Encoding": encoding})
            assert answer.status == status
            await next_device_is_served(bed)

    run(scene())


def test_a_body_over_the_limit_is_cut_off_before_it_is_read(tmp_path: Path) -> None:
    """The limit is a setting; the peer learns it from the 413, without having to send everything."""

    async def scene() -> None:
        async with acs(tmp_path, body_limit=2_000) as bed:
            device = await bed.device()
            answer = await device.inform("1 BOOT", parameters={f"Device.P{i}": "x" for i in range(100)})
            assert answer.status == 413
            assert answer.headers["connection"] == "close"
            await next_device_is_served(bed)

    run(scene())


def test_a_peer_that_sends_too_much_still_hears_why(tmp_path: Path) -> None:
    """The whole body is on its way when the limit is found: the 413 arrives all the same, and then the end."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for _ in range(5):
                connection = await Connection.to(bed.app.cwmp_url)
                connection.writer.write(HEAD + b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
                assert (await connection.answer()).status == 413
                assert await connection.reader.read() == b""
                await connection.close()

    run(scene())


def test_slow_senders_are_cut_off_and_delay_nobody(tmp_path: Path) -> None:
    """Headers or a body that do not arrive in time get 408; idle connections are closed; others do not notice."""

    async def scene() -> None:
        async with acs(tmp_path, read_timeout=20.0, keep_alive=40.0) as bed:
            server = bed.app._cwmp[0]
            slow_head = [await Connection.to(bed.app.cwmp_url) for _ in range(50)]
            for c in slow_head:
                c.writer.write(b"POST / HT")
            slow_body = [await Connection.to(bed.app.cwmp_url) for _ in range(50)]
            for c in slow_body:
                c.writer.write(HEAD + b"Content-Length: 1000\r\n\r\n<SOAP")
            silent = [await Connection.to(bed.app.cwmp_url) for _ in range(50)]
            device = await bed.device()
            assert (await device.session("1 BOOT")).status == 204
            assert len(server.connections) == 151
            later = server._loop.time() + 21.0
            for connection in [c for c in server.connections if c.overdue_at <= later]:
                connection.end()
            for c in slow_head + slow_body:
                assert (await c.answer()).status == 408
            for c in silent:
                assert await c.reader.read() == b""
            assert (await device.session("2 PERIODIC")).status == 204
            for c in slow_head + slow_body + silent:
                await c.close()

    run(scene())


def test_requests_sent_ahead_are_answered_in_their_order(tmp_path: Path) -> None:
    """Pipelining has no use in CWMP, and a flood of it ends the connection; a little is served in order."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            connection = await Connection.to(bed.app.cwmp_url)
            inform = HEAD + b"Content-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD
            empty = HEAD + b"Content-Length: 0\r\n\r\n"
            connection.writer.write(inform + empty)
            assert (await connection.answer()).status == 200
            assert (await connection.answer()).status == 204
            connection.writer.write((inform) * 50)
            try:
                for _ in range(50):
                    await connection.answer()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass  # cut off, as it may be
            await connection.close()
            await next_device_is_served(bed)

    run(scene())


def test_expect_100_continue_is_honoured(tmp_path: Path) -> None:
    """A device that waits for leave to send its body gets it (interop row 24), and a wrong Content-Type does not matter."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            connection = await Connection.to(bed.app.cwmp_url)
            connection.writer.write(
                HEAD + b"Expect: 100-continue\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(GOOD)
            )
            assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            connection.writer.write(GOOD)
            assert (await connection.answer()).status == 200
            await connection.close()

    run(scene())


def test_a_body_in_many_pieces_and_chunks_is_put_together(tmp_path: Path) -> None:
    """Byte by byte, or in chunks: the message is the same."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for data in (
                HEAD + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD,
                HEAD
                + b"Transfer-Encoding: chunked\r\n\r\n"
                + b"".join(
                    b"%x\r\n%b\r\n" % (len(GOOD[i : i + 100]), GOOD[i : i + 100]) for i in range(0, len(GOOD), 100)
                )
                + b"0\r\n\r\n",
            ):
                connection = await Connection.to(bed.app.cwmp_url)
                for i in range(0, len(data), 7):
                    connection.writer.write(data[i : i + 7])
                    await connection.writer.drain()
                assert (await connection.answer()).status == 200
                await connection.close()

    run(scene())


def test_two_messages_of_one_session_at_once_are_not_mixed_up(tmp_path: Path) -> None:
    """The second of two simultaneous messages is refused while the first is being answered."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.inform("1 BOOT")
            twin = Device(await Connection.to(bed.app.cwmp_url), cookie=device.cookie)
            answers = await asyncio.gather(device.post(TransferComplete("a")), twin.post(TransferComplete("b")))
            assert sorted(a.status for a in answers) in ([200, 409], [200, 200])
            assert (await device.post(None)).status == 204
            await twin.close()

    run(scene())


def test_a_stolen_or_replayed_cookie_does_not_outlive_its_session(tmp_path: Path) -> None:
    """After the end the cookie opens nothing."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            await device.session("1 BOOT")
            thief = Device(await Connection.to(bed.app.cwmp_url), cookie=device.cookie)
            assert (await thief.post(None)).status == 400
            assert (await thief.post(TransferComplete("x"))).status == 400
            await thief.close()
            assert (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"][0]["code"] == "1 BOOT"

    run(scene())


def test_too_many_sessions_and_connections_are_told_to_come_back(tmp_path: Path) -> None:
    """503 with a Retry-After; those who are inside go on."""

    async def scene() -> None:
        async with acs(tmp_path, max_sessions=2, max_connections=4) as bed:
            inside = [await bed.device(f"IN{i}") for i in range(2)]
            for device in inside:
                await device.inform("1 BOOT")
            late = await bed.device("LATE")
            answer = await late.inform("1 BOOT")
            assert answer.status == 503
            assert 30 <= int(answer.headers["retry-after"]) <= 90
            spare = await bed.device("SPARE")
            assert (await spare.post(None)).status == 400
            crowd = await Connection.to(bed.app.cwmp_url)
            assert (await crowd.answer()).status == 503
            await crowd.close()
            for device in inside:
                assert (await device.post(None)).status == 204
            assert (await late.session("1 BOOT")).status == 204

    run(scene())
