"""kill -9 of the ACS between any two steps: no acknowledged event and no accepted task is lost, and nothing is done twice."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeport.codec.envelope import decode
from homeport.codec.messages import (
    AddObject,
    AddObjectResponse,
    DownloadResponse,
    FaultStruct,
    GetParameterNames,
    GetParameterNamesResponse,
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterValueStruct,
    Request,
    TransferComplete,
)
from support.acs_wire import Connection, Device, an_inform, id_of, run
from support.ends import Acs

pytestmark = pytest.mark.system

OPTIONS = ("--cpe-auth", "open", "--discover", "never", "--connection-request-credentials", "keep")


class Process:
    """An ACS of its own process. It can be killed and started again on the same data."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = Acs(directory, *OPTIONS)
        self.rest: Connection

    async def start(self) -> None:
        self.program.cwmp = self.program.http = self.program.files = "127.0.0.1:0"
        await asyncio.to_thread(self.program.start)
        self.addresses = json.loads((self.program.data / "acs.json").read_text())
        assert self.addresses["pid"] == self.program.pid
        self.rest = await Connection.to(self.addresses["http_url"])

    async def kill(self) -> None:
        self.program.kill()
        await self.rest.close()

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        token = (self.program.data / "admin.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else b""
        answer = await self.rest.request(method, f"/api/v1/{path}", data, headers)
        assert answer.status < 300, answer.body
        return answer.json

    async def device(self) -> Device:
        return Device(await Connection.to(self.addresses["cwmp_url"]))

    async def task(self, rpc: str, args: dict[str, Any]) -> Any:
        body = {"rpc": rpc, "args": args, "connection_request": False}
        return await self.call("POST", f"devices/{id_of()}/tasks", body)

    async def status(self, task: Any) -> str:
        return str((await self.call("GET", f"tasks/{task['id']}"))["status"])


@contextlib.asynccontextmanager
async def acs_process(directory: Path) -> AsyncIterator[Process]:
    process = Process(directory)
    await process.start()
    try:
        yield process
    finally:
        await process.kill()


def reading(request: Request) -> Message | None:
    assert isinstance(request, GetParameterValues)
    return GetParameterValuesResponse(tuple(ParameterValueStruct(n, "v") for n in request.parameter_names))


def test_a_kill_between_any_two_steps_loses_nothing(tmp_path: Path) -> None:
    """The process is killed after every answer that it gives; each time the next one goes on from what was promised."""

    async def scene() -> None:
        async with acs_process(tmp_path) as acs:
            device = await acs.device()
            # After the InformResponse: the device has forgotten its events, so they are in the database.
            assert (await device.post(an_inform("S1", "0 BOOTSTRAP", "1 BOOT"))).status == 200
            await device.close()
            await acs.restart()
            events = await acs.call("GET", f"devices/{id_of()}/events")
            assert {e["code"] for e in events["items"]} == {"0 BOOTSTRAP", "1 BOOT"}

            # The old cookie opens nothing; a new Inform begins anew.
            stale = await acs.device()
            stale.cookie = device.cookie
            assert (await stale.post(None)).status == 400
            await stale.close()

            # After the task was accepted.
            task = await acs.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            await acs.restart()
            assert await acs.status(task) == "queued"

            # After the RPC went out: one that only reads is simply asked again, so its sending needs no row of its own.
            device = await acs.device()
            await device.inform()
            assert (await device.post(None)).status == 200
            await device.close()
            await acs.restart()
            assert await acs.status(task) == "queued"

            # After the answer came, before the end of the session.
            more = await acs.task("GetParameterValues", {"parameter_names": ["Device.Y"]})
            device = await acs.device()
            await device.inform()
            asked = await device.post(None)
            envelope = decode(asked.body)
            assert isinstance(envelope.body, GetParameterValues)
            assert (await device.post(reading(envelope.body), id=envelope.id)).status == 200
            await device.close()
            await acs.restart()
            assert await acs.status(task) == "done"
            assert await acs.status(more) == "queued"
            values = await acs.call("GET", f"devices/{id_of()}/parameters?path=Device.X")
            assert [v["value"] for v in values["items"]] == ["v"]

            # A transfer that was accepted is waited for over the kill, and its end is not lost either.
            download = await acs.task("Download", {"file_type": "3 Vendor Configuration File", "url": "http://x/"})
            device = await acs.device()
            await device.session(handler=lambda r: DownloadResponse(1) if r.element == "Download" else reading(r))
            assert [type(m).__name__ for m in device.heard] == ["GetParameterValues", "Download"]
            await device.close()
            await acs.restart()
            assert await acs.status(more) == "done"
            assert await acs.status(download) == "running"
            device = await acs.device()
            await device.inform("7 TRANSFER COMPLETE")
            key = download["args"]["command_key"]
            assert (await device.post(TransferComplete(key, FaultStruct()))).status == 200
            await device.close()
            await acs.restart()
            assert await acs.status(download) == "done"

    run(scene())


def test_kills_at_chance_moments_under_load_lose_nothing(tmp_path: Path) -> None:
    """Devices and an operator at work while the process is killed again and again: what was acknowledged is there at the end."""

    async def scene() -> None:
        acs = Process(tmp_path)
        await acs.start()
        acknowledged: set[tuple[str, str]] = set()
        stop = asyncio.Event()

        async def work(number: int) -> None:
            serial, count = f"D{number}", 0
            while not stop.is_set():
                try:
                    device = Device(await Connection.to(acs.addresses["cwmp_url"]), serial)
                except OSError:
                    await asyncio.sleep(0)
                    continue
                try:
                    while not stop.is_set():
                        count += 1
                        key = f"{serial}-{count}"
                        answer = await device.inform("1 BOOT", f"M Reboot={key}")
                        if answer.status == 200:
                            acknowledged.add((id_of(serial), key))
                        await device.post(None)
                except (OSError, asyncio.IncompleteReadError):
                    pass  # the ACS was killed
                finally:
                    await device.close()

        workers = [asyncio.create_task(work(n)) for n in range(8)]
        for _ in range(4):
            goal = len(acknowledged) + 60
            async with asyncio.timeout(60):
                while len(acknowledged) < goal:
                    await asyncio.sleep(0)
            await acs.restart()
        stop.set()
        await asyncio.gather(*workers)
        found: set[tuple[str, str]] = set()
        for number in range(8):
            cursor = ""
            while True:
                page = await acs.call("GET", f"devices/{id_of(f'D{number}')}/events?limit=1000{cursor}")
                found |= {(e["device"], e["command_key"]) for e in page["items"]}
                if page["next"] is None:
                    break
                cursor = f"&cursor={page['next']}"
        assert acknowledged <= found
        assert len(acknowledged) >= 240
        await acs.kill()

    run(scene())


def test_sigterm_stops_cleanly_and_open_sessions_go_on_after_the_restart(tmp_path: Path) -> None:
    """The exit code is 0, a second ACS on the same directory is refused while the first one runs, and a cookie outlives the process."""

    async def scene() -> None:
        acs = Process(tmp_path)
        await acs.start()
        second = Acs(tmp_path, *OPTIONS)
        second.log = tmp_path / "second.log"
        second.run("acs", "serve", "--data-dir", str(second.data), *OPTIONS)
        assert second.process is not None
        assert second.process.wait(20) == 2
        assert "another ACS works in" in second.said()
        device = await acs.device()
        await device.inform("1 BOOT")
        assert acs.program.process is not None
        acs.program.process.terminate()
        assert acs.program.process.wait(20) == 0
        await acs.rest.close()
        await device.close()
        await acs.start()
        device.connection = await Connection.to(acs.addresses["cwmp_url"])
        assert (await device.post(None)).status == 204
        await device.close()
        [session] = (await acs.call("GET", f"devices/{id_of()}/sessions"))["items"]
        assert (session["outcome"], session["message_count"]) == ("success", 4)
        await acs.kill()

    run(scene())


def test_an_answer_that_comes_after_a_kill_ends_its_task(tmp_path: Path) -> None:
    """A change was on its way when the process was killed: the next process takes the device's answer, and nothing is asked twice."""

    async def scene() -> None:
        async with acs_process(tmp_path) as acs:
            device = await acs.device()
            await device.session("0 BOOTSTRAP")
            await device.close()
            change = await acs.task("AddObject", {"object_name": "Device.X."})
            read = await acs.task("GetParameterValues", {"parameter_names": ["Device.Y"]})
            device = await acs.device()
            await device.inform()
            names = decode((await device.post(None)).body)
            assert isinstance(names.body, GetParameterNames)
            add = decode((await device.post(GetParameterNamesResponse(()), id=names.id)).body)
            assert isinstance(add.body, AddObject)
            await device.close()
            await acs.restart()
            assert await acs.status(change) == "running", "its session may still be continued"
            device.connection = await Connection.to(acs.addresses["cwmp_url"])
            await device.serve(await device.post(AddObjectResponse(7, 0), id=add.id), reading)
            assert [type(m).__name__ for m in device.heard] == ["GetParameterValues"]
            assert [await acs.status(t) for t in (change, read)] == ["done", "done"]
            done = await acs.call("GET", f"tasks/{change['id']}")
            assert (done["attempts"], done["result"]["instance_number"]) == (1, 7)
            assert (await device.post(None)).status == 400, "a session that is over is not continued"
            await device.close()

    run(scene())


def test_a_device_that_was_to_be_called_is_called_after_a_kill(tmp_path: Path) -> None:
    """The operator had his task accepted; the process died before the device was reached: the next one calls it."""

    async def scene() -> None:
        rings: asyncio.Queue[bytes] = asyncio.Queue()
        deaf = True

        async def ring(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            rings.put_nowait(await reader.readuntil(b"\r\n\r\n"))
            status = b"503 Busy" if deaf else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()

        bell = await asyncio.start_server(ring, "127.0.0.1", 0)
        place = f"http://127.0.0.1:{bell.sockets[0].getsockname()[1]}/"
        async with acs_process(tmp_path) as acs:
            device = await acs.device()
            await device.session("0 BOOTSTRAP", parameters={"Device.ManagementServer.ConnectionRequestURL": place})
            await device.close()
            quiet = await acs.task("GetParameterValues", {"parameter_names": ["Device.X"]})
            wish = {"rpc": "GetParameterValues", "args": {"parameter_names": ["Device.X"]}}
            loud = await acs.call("POST", f"devices/{id_of()}/tasks", wish)
            async with asyncio.timeout(20):
                await rings.get()
                deaf = False
                await acs.restart()
                await rings.get()
            assert (await acs.call("GET", f"tasks/{loud['id']}"))["status"] == "queued"
            assert (await acs.call("GET", f"tasks/{quiet['id']}"))["connection_request"] is None
        bell.close()

    run(scene())
