"""A clean stop while people and programs are waiting: they get an answer, and nobody is kept."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from homeport.errors import StoreUnavailable
from support.acs_wire import Connection, Device, acquainted, acs, id_of, run

pytestmark = pytest.mark.system


def test_a_stop_answers_those_who_wait_for_a_task(tmp_path: Path) -> None:
    """`?wait=` gives the task as it stands, and not an error; the stop does not wait for the time that was asked for."""

    async def scene() -> None:
        async with acquainted(tmp_path) as (bed, device):
            await device.close()
            wish = {"rpc": "GetRPCMethods", "connection_request": False}
            waiting = asyncio.create_task(bed.rest("POST", f"devices/{id_of()}/tasks?wait=60", wish))
            async with asyncio.timeout(10):
                while not bed.app.hub.bus._waiters:
                    await asyncio.sleep(0.01)
                began = asyncio.get_running_loop().time()
                await bed.app.stop()
                answer = await waiting
            assert asyncio.get_running_loop().time() - began < 2.5
            assert (answer.status, answer.json["status"]) == (201, "queued")

    run(scene())


def test_a_stop_ends_the_event_stream_in_an_orderly_way(tmp_path: Path) -> None:
    """The last chunk comes, so that the listener knows that nothing was cut off."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            stream = await Connection.to(bed.app.http_url)
            token = bed.app.token_file.read_text().strip()
            head = f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
            stream.writer.write(head.encode())
            async with asyncio.timeout(10):
                await stream.reader.readuntil(b"listening")
                await bed.app.stop()
                rest = await stream.reader.read()
            assert rest.endswith(b"0\r\n\r\n")
            await stream.close()

    run(scene())


def test_a_stop_without_a_database_does_not_try_each_open_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each try takes a time limit, the first tells enough: devices begin anew."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="open") as bed:
            devices = [Device(await Connection.to(bed.app.cwmp_url), f"S{n}") for n in range(20)]
            for device in devices:
                assert (await device.inform("1 BOOT")).status == 200
            tries = []

            async def away(unit: object) -> None:
                tries.append(unit)
                raise StoreUnavailable("the database server does not answer")

            monkeypatch.setattr(bed.app.store, "commit", away)
            with capture_logs() as said:
                await bed.app.stop()
            assert len(tries) == 1
            (line,) = [line for line in said if "could not be written down" in line["event"]]
            assert line["sessions"] == 20
            assert len(bed.app.door.live) == 0
            for device in devices:
                await device.close()

    run(scene())
