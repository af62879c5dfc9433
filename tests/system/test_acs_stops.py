"""A clean stop while people and programs are waiting: they get an answer, and nobody is kept."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from homeport.acs.services.continuation import MOST_BYTES
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


def test_a_session_that_cannot_be_written_down_at_a_stop_costs_no_other(tmp_path: Path) -> None:
    """One has heard too much; the devices of the others go on after the restart where they were."""

    async def scene() -> None:
        devices = []
        async with acs(tmp_path, cpe_auth="open", discover="never") as bed:
            for n in range(7):
                devices.append(Device(await Connection.to(bed.app.cwmp_url), f"S{n}"))
                assert (await devices[-1].inform("1 BOOT")).status == 200
            (large,) = [live for live in bed.app.door.live if live.work.device == id_of("S3")]
            large.work.secret = "x" * MOST_BYTES
            await bed.app.stop()
            for device in devices:
                await device.close()
        async with acs(tmp_path, cpe_auth="open", discover="never") as bed:
            said = []
            for device in devices:
                device.connection = await Connection.to(bed.app.cwmp_url)
                said.append((await device.post(None)).status)
                await device.close()
            assert said == [204, 204, 204, 400, 204, 204, 204]

    run(scene())


def test_a_stop_that_fails_on_the_way_still_writes_what_waits_and_frees_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect in one part must not cost what the others have to write; another ACS can begin in its place."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = Device(await Connection.to(bed.app.cwmp_url))
            assert (await device.session("1 BOOT")).status == 204
            assert (await device.session("2 PERIODIC")).status == 204
            await device.close()
            last = (await bed.rest("GET", f"devices/{id_of()}")).json["last_inform"]

            async def broken() -> None:
                raise RuntimeError("a defect")

            with monkeypatch.context() as patched:
                patched.setattr(bed.app.contacts, "stop", broken)
                with pytest.raises(RuntimeError, match="a defect"):
                    await bed.app.stop()
            async with acs(tmp_path) as again:
                assert (await again.rest("GET", f"devices/{id_of()}")).json["last_inform"] == last

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
