"""Hostile and broken input over real sockets: each is answered or cut off, and the next device's session is untouched."""

import asyncio
from pathlib import Path

import pytest

from homeport.codec.envelope import Envelope, encode
from homeport.codec.messages import AutonomousTransferComplete, FaultMessage, TransferComplete
from support.acs_wire import Bed, Connection, Device, acs, an_inform, id_of, played, run
from support.hostile import GOOD, HEAD

pytestmark = pytest.mark.system

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


@played
async def test_strangers_keep_no_admitted_device_out(tmp_path: Path) -> None:
    """They have half of the places at most, and hold one no longer than others, whatever they wish for."""
    async with acs(tmp_path) as bed:
        await (await bed.device("KNOWN")).session("1 BOOT")
    async with acs(tmp_path, cpe_auth="quarantine", max_sessions=6, session_timeout=60.0) as bed:
        for serial in ("S1", "S2", "S3", "KNOWN"):
            inform = Envelope(body=an_inform(serial), id="1", urn="urn:dslforum-org:cwmp-1-2", session_timeout=3_000)
            device = await bed.device(serial)
            assert (await device.post(encode(inform))).status == 200
            live = bed.app.door.live.of_device(id_of(serial))
            assert live is not None and live.session.timeout == (60.0 if serial != "KNOWN" else 3_000.0)
        late = await (await bed.device("S4")).inform()
        assert (late.status, "retry-after" in late.headers) == (503, True)
        assert await bed.app.store.device(id_of("S4")) is None


@played
async def test_little_is_kept_of_what_a_stranger_tells(tmp_path: Path) -> None:
    """A megabyte a message, from anybody: the first values that are short, the beginning of the message, no record without bounds."""
    long = "y" * 5_000
    told = {f"Device.X.P{i}": "x" * 100 for i in range(500)}
    told = {"Device.DeviceInfo.HardwareVersion": long, "Device.DeviceInfo.ModelName": "XR"} | told
    for mode, kept in (("quarantine", False), ("open", True)):
        async with acs(tmp_path / mode, cpe_auth=mode) as bed:
            device = await bed.device()
            body = encode(Envelope(body=an_inform("S1", "M Download=k", "1 BOOT", parameters=told), id="1"))
            body = body.replace(b"<CommandKey>k<", b"<CommandKey>" + b"k" * 3_000 + b"<")
            for _ in range(2):  # again, it is no more
                assert (await device.post(body)).status == 200
                assert (await device.post(None)).status == 204
            values = await bed.app.store.values(id_of())
            assert (len(values) > 500, len(values) <= 100) == (kept, not kept)
            assert ("Device.DeviceInfo.HardwareVersion" in values, "Device.X.P1" in values) == (kept, True)
            found = await bed.get_device()
            assert (found["hardware_version"], found["model"]) == ("", "XR")
            events = (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"]
            assert max(len(e["command_key"]) for e in events) == 1_024
            sessions = (await bed.rest("GET", f"devices/{id_of()}/sessions")).json["items"]
            messages = (await bed.rest("GET", f"sessions/{sessions[0]['id']}")).json["messages"]
            assert (len(messages[0]["body"]) > 50_000, len(messages[0]["body"]) < 8_300) == (kept, not kept)


@played
async def test_an_inform_with_events_without_end_is_refused(tmp_path: Path) -> None:
    """Each would be a row; the standard allows 64."""
    async with acs(tmp_path) as bed:
        device = await bed.device()
        event = b"<EventStruct><EventCode>M Download</EventCode><CommandKey>k</CommandKey></EventStruct>"
        answer = await device.post(GOOD.replace(b"<EventStruct>", event * 300 + b"<EventStruct>"))
        assert isinstance(answer.message, FaultMessage) and answer.message.fault_code == 8003
        assert await bed.app.store.device(id_of("S9")) is None
        assert (await device.inform(*[f"M Download={i}" for i in range(64)])).status == 200


@played
async def test_a_stranger_tells_so_much_and_no_more(tmp_path: Path) -> None:
    """What it says of itself is kept in short; behind twenty requests its session holds faults only, and ends like any other."""
    body = encode(Envelope(body=AutonomousTransferComplete("", "http://x/", True, "1 F"), id="1"))
    body = body.replace(b"<TransferURL>http://x/<", b"<TransferURL>http://x/" + b"y" * 50_000 + b"<")
    async with acs(tmp_path, cpe_auth="quarantine") as bed:
        device = await bed.device()
        await device.inform()
        answers = [(await device.post(body)).message for _ in range(22)]
        assert [type(a).__name__ for a in answers[:20]] == ["AutonomousTransferCompleteResponse"] * 20
        assert [a.fault_code for a in answers[20:] if isinstance(a, FaultMessage)] == [8004, 8004]
        assert (await device.post(None)).status == 204
        events = (await bed.rest("GET", f"devices/{id_of()}/events")).json["items"]
        lengths = [len(e["detail"]["transfer_url"]) for e in events if e["code"] == "AutonomousTransferComplete"]
        assert lengths == [1_024] * 20
