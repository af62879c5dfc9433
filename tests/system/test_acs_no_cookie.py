"""Devices that send no cookie, whose next connection another process accepts: real workers and real nodes, over sockets."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.codec.envelope import Envelope, decode
from homeport.codec.messages import (
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterValueStruct,
    SetParameterValues,
    SetParameterValuesResponse,
)
from support.acs_wire import Connection, Device, acs, id_of, run
from support.acs_workers import connection_to, workers
from support.ends import Acs, wait_for
from support.postgres import needs_postgres, shared_server

pytestmark = [pytest.mark.system, pytest.mark.postgres, needs_postgres]

QUIET = ("--discover", "never", "--connection-request-credentials", "keep")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acs]:
    """An ACS of two workers."""
    options = ("--workers", "2", "--cpe-auth", "open", *QUIET, "--database", shared_server().new_database())
    server = Acs(tmp_path_factory.mktemp("no-cookie"), *options)
    try:
        yield server.start()
    finally:
        server.stop()


class Forgetful(Device):
    """A device without cookies that opens a connection for each message; hop says at which worker."""

    async def at(self, server: Acs, worker: int) -> "Forgetful":
        """Its next message goes to this worker."""
        await self.connection.close()
        self.connection = await connection_to(server.cwmp_url, workers(server)[worker])
        return self


async def forgetful(server: Acs, worker: int, serial: str) -> Forgetful:
    made = await connection_to(server.cwmp_url, workers(server)[worker])
    return Forgetful(made, serial, cookies=False)


def asked(answer: Any) -> Envelope:
    assert answer.status == 200, answer
    return decode(answer.body)


def values(request: Message | None, value: str) -> GetParameterValuesResponse:
    assert isinstance(request, GetParameterValues)
    return GetParameterValuesResponse(tuple(ParameterValueStruct(n, value) for n in request.parameter_names))


READ = ("GetParameterValues", {"parameter_names": ["Device.Name"]})


def result(server: Acs, task: str) -> tuple[str, str]:
    """(status, the value that was read)."""
    found = server.rest("GET", f"tasks/{task}")
    return found["status"], found["result"]["parameter_list"][0]["value"] if found["result"] else ""


def test_each_message_at_another_worker_is_one_session(two: Acs) -> None:
    """The empty POST, and both answers, on connections that the other worker accepts; each task is done once, in one session."""

    async def scene() -> None:
        device = await forgetful(two, 0, "N1")
        assert (await device.session("1 BOOT")).status == 204
        wish = {"parameter_list": [{"name": "Device.Name", "value": "new", "type": "string"}]}
        tasks = [await asyncio.to_thread(two.task, id_of("N1"), *w) for w in (("SetParameterValues", wish), READ)]
        await (await device.at(two, 0)).inform()
        setting = asked(await (await device.at(two, 1)).post(None))
        assert isinstance(setting.body, SetParameterValues)
        reading = asked(await (await device.at(two, 0)).post(SetParameterValuesResponse(0), id=setting.id))
        last = await (await device.at(two, 1)).post(values(reading.body, "new"), id=reading.id)
        assert last.status == 204
        assert setting.id is not None and reading.id is not None
        assert setting.id[:-1] == reading.id[:-1], "the IDs of one session have its mark"
        ended = [two.rest("GET", f"tasks/{t}") for t in tasks]
        assert [(t["status"], t["attempts"]) for t in ended] == [("done", 1)] * 2
        page = wait_for(
            lambda: len(x := two.rest("GET", f"devices/{id_of('N1')}/sessions")["items"]) > 1 and x, "history"
        )
        assert (page[0]["outcome"], page[0]["message_count"]) == ("success", 8)
        assert "no-cookie" in two.device(id_of("N1"))["quirks"]
        await device.close()

    run(scene())


def test_two_devices_behind_one_address_are_never_mixed_up(two: Acs) -> None:
    """Each answer reaches its own session by the ID that it gives back; what shows nothing is refused, and then both are served."""

    async def scene() -> None:
        a, b = await forgetful(two, 0, "M1"), await forgetful(two, 1, "M2")
        for device in (a, b):
            assert (await device.session("1 BOOT")).status == 204
        tasks = [await asyncio.to_thread(two.task, id_of(d.serial), *READ) for d in (a, b)]
        await (await a.at(two, 0)).inform()
        of_a = asked(await a.post(None))
        await (await b.at(two, 1)).inform()
        of_b = asked(await b.post(None))
        await a.at(two, 1)
        await b.at(two, 0)
        stranger = await forgetful(two, 0, "M9")
        assert (await stranger.post(None)).status == 400, "two sessions are open at this address"
        assert (await stranger.post(values(of_a.body, "forged"), id="hp00000000n1")).status == 400
        assert (await b.post(values(of_b.body, "b"), id=of_b.id)).status == 204
        assert (await a.post(values(of_a.body, "a"), id=of_a.id)).status == 204
        assert [result(two, t) for t in tasks] == [("done", "a"), ("done", "b")]
        # Nothing but the address tells whose an empty POST is: neither device gets what is meant for the other.
        tasks = [await asyncio.to_thread(two.task, id_of(d.serial), *READ) for d in (a, b)]
        await a.inform()
        await b.inform()
        await a.at(two, 0)
        await b.at(two, 1)
        assert (await a.post(None)).status == 400
        for device, worker in ((a, 1), (b, 0)):
            await (await device.at(two, worker)).inform()
            again = asked(await (await device.at(two, 1 - worker)).post(None))
            await device.at(two, worker)
            assert (await device.post(values(again.body, device.serial), id=again.id)).status == 204
        assert [result(two, t) for t in tasks] == [("done", "M1"), ("done", "M2")]
        assert "cannot be told apart" in two.log.read_text()
        for device in (a, b, stranger):
            await device.close()

    run(scene())


def test_a_killed_workers_change_goes_on_at_the_other_and_the_worker_is_back_at_once(two: Acs) -> None:
    """kill -9 while a change is on its way: the answer comes without a cookie to the other worker, by address and ID."""

    async def scene() -> None:
        device = await forgetful(two, 1, "K1")
        assert (await device.session("1 BOOT")).status == 204
        wish = {"parameter_list": [{"name": "Device.Name", "value": "new", "type": "string"}]}
        task = await asyncio.to_thread(two.task, id_of("K1"), "SetParameterValues", wish)
        before = workers(two)
        await (await device.at(two, 1)).inform()
        setting = asked(await device.post(None))
        await device.at(two, 0)
        os.kill(before[1], signal.SIGKILL)
        assert (await device.post(SetParameterValuesResponse(0), id=setting.id)).status == 204
        found = two.rest("GET", f"tasks/{task}")
        assert (found["status"], found["attempts"]) == ("done", 1)
        wait_for(lambda: workers(two)[1] != before[1], "the worker's restart")
        await device.close()

    run(scene())


def test_two_nodes_and_devices_that_log_in_with_each_message(tmp_path: Path) -> None:
    """A session goes on at the other node; of two behind one address the user name tells which, even without an ID."""
    url = shared_server().new_database()
    settings = {"database": url, "cpe_auth": "quarantine", "basic_over_http": True}

    async def scene() -> None:
        async with acs(tmp_path / "a", **settings) as a, acs(tmp_path / "b", **settings) as b:
            for bed in (a, b):
                while not bed.app.store.channel.listening:  # type: ignore[union-attr]
                    await asyncio.sleep(0)
            devices = []
            for serial, basic in (("L1", "TDE6TDE="), ("L2", "TDI6TDI=")):
                device = Device(await Connection.to(a.app.cwmp_url), serial, cookies=False)
                assert (await device.session("0 BOOTSTRAP")).status == 204
                login = {"username": serial, "password": serial}
                made = await a.rest("PUT", f"devices/{id_of(serial)}/credentials", login)
                assert made.status == 204, made.body
                device.headers["Authorization"] = f"Basic {basic}"
                devices.append(device)
            for device in devices:
                assert (await device.inform("1 BOOT")).status == 200
                await device.connection.close()
            for device in devices:
                device.connection = await Connection.to(b.app.cwmp_url)
                assert (await device.post(None)).status == 204
                await device.connection.close()
            assert b.app.hub.stats.continued == 2

    run(scene())
