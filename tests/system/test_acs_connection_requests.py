"""The ACS calls devices: with the login that it gave them, only where it may, and tells how it went."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.services import contacts
from homeport.codec.messages import (
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterValueStruct,
    Request,
    SetParameterValues,
    SetParameterValuesResponse,
)
from homeport.transport.addresses import Address
from homeport.transport.connection_request import ConnectionRequestListener
from homeport.transport.stun_messages import MessageType, StunMessage
from homeport.transport.stun_messages import decode as stun_decode
from homeport.transport.stun_messages import encode as stun_encode
from homeport.transport.udp_connection_request import UdpRequestGate, Verdict
from homeport.transport.udp_sockets import UdpSocket
from support.acs_wire import Bed, acs, id_of, run

pytestmark = pytest.mark.system


class Callable:
    """A device that can be called: it holds the login that the ACS set, and opens a session when it is called."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.tree = {"Device.ManagementServer.ConnectionRequestUsername": ""}
        self.calls = 0
        self.accepts: bool | str = True
        self.called = asyncio.Event()
        self.listener = ConnectionRequestListener(
            host="127.0.0.1", port=0, path="/call", credentials=self.login, accept=self.accept
        )

    def login(self) -> tuple[str, str]:
        base = "Device.ManagementServer.ConnectionRequest"
        return self.tree.get(f"{base}Username", ""), self.tree.get(f"{base}Password", "")

    def accept(self) -> bool | str:
        self.calls += 1
        if self.accepts is True:
            self.called.set()
        return self.accepts

    async def start(self) -> None:
        port = await self.listener.start()
        self.url = f"http://127.0.0.1:{port}/call"
        self.device = await self.bed.device()

    def handler(self, request: Request) -> Message | None:
        match request:
            case GetParameterValues(parameter_names=names):
                return GetParameterValuesResponse(tuple(ParameterValueStruct(n, self.tree.get(n, "v")) for n in names))
            case SetParameterValues(parameter_list=rows):
                self.tree.update((r.name, r.value) for r in rows)
                return SetParameterValuesResponse(0)
        return None

    async def session(self, *events: str) -> None:
        url = {"Device.ManagementServer.ConnectionRequestURL": self.url}
        await self.device.session(*events, handler=self.handler, parameters=url)


async def task_with_call(bed: Bed, wait: float) -> Any:
    answer = await bed.rest(
        "POST",
        f"devices/{id_of()}/tasks?wait={wait}",
        {"rpc": "GetParameterValues", "args": {"parameter_names": ["Device.X"]}},
    )
    assert answer.status == 201
    return answer.json


async def told(bed: Bed, task: Any) -> Any:
    """How the connection request for the task went."""
    async with asyncio.timeout(20):
        while True:
            now = await bed.task_now(task)
            if now["connection_request"] is not None:
                return now["connection_request"]


def test_a_task_calls_the_device_and_waits_for_its_end(tmp_path: Path) -> None:
    """The login was set after the bootstrap; the call is answered, the session comes, the result is in the answer."""

    async def scene() -> None:
        async with acs(tmp_path, connection_request_credentials="provision") as bed:
            me = Callable(bed)
            await me.start()
            await me.session("0 BOOTSTRAP", "1 BOOT")
            assert me.login()[0] == id_of()

            async def come() -> None:
                await me.called.wait()
                await me.session("6 CONNECTION REQUEST")

            coming = asyncio.create_task(come())
            task = await task_with_call(bed, 20)
            await coming
            assert (task["status"], task["result"]["parameter_list"][0]["value"]) == ("done", "v")
            assert task["connection_request"]["ok"] is True
            assert me.calls == 1
            await me.listener.stop()

    run(scene())


@pytest.mark.case("C19")
def test_a_busy_device_is_called_again_and_a_wrong_login_is_not_repeated(tmp_path: Path) -> None:
    """503 means later; 401 with all that we know means that calling on would only lock the device."""

    async def scene() -> None:
        async with acs(tmp_path, connection_request_credentials="provision") as bed:
            waits: list[float] = []

            async def sleep(seconds: float) -> None:
                waits.append(seconds)
                me.accepts = True

            bed.app.contacts._sleep = sleep
            me = Callable(bed)
            await me.start()
            await me.session("0 BOOTSTRAP")
            me.accepts = "busy"

            async def come() -> None:
                await me.called.wait()
                await me.session("6 CONNECTION REQUEST")

            coming = asyncio.create_task(come())
            task = await task_with_call(bed, 20)
            await coming
            assert task["status"] == "done"
            assert (me.calls, len(waits)) == (2, 1)

            me.tree["Device.ManagementServer.ConnectionRequestPassword"] = "changed behind our back"
            body = {"rpc": "GetParameterValues", "args": {"parameter_names": ["Device.X"]}}
            task = (await bed.rest("POST", f"devices/{id_of()}/tasks", body)).json
            said = await told(bed, task)
            assert (said["ok"], said["status"]) == (False, 401)
            assert len(waits) == 1
            await me.listener.stop()

    run(scene())


@pytest.mark.case("C19")
def test_a_device_that_promises_to_come_and_does_not_is_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 30 s its session has to be here (TR-069a6 3.2.2.2); the task says meanwhile what is missing."""
    assert contacts.SESSION_WITHIN == 30.0
    monkeypatch.setattr(contacts, "SESSION_WITHIN", 0.1)

    async def scene() -> None:
        async with acs(tmp_path, connection_request_credentials="provision") as bed:
            pause = asyncio.Event()

            async def sleep(seconds: float) -> None:
                await pause.wait()

            bed.app.contacts._sleep = sleep
            me = Callable(bed)
            await me.start()
            await me.session("0 BOOTSTRAP")
            task = await bed.task("GetParameterValues", {"parameter_names": ["Device.X"]}, connection_request=True)
            async with asyncio.timeout(10):
                while "no session within" not in ((said := await told(bed, task))["reason"]):
                    await asyncio.sleep(0.01)
            assert (said["ok"], me.calls, (await bed.task_now(task))["status"]) == (False, 1, "queued")
            me.called.clear()
            pause.set()
            async with asyncio.timeout(10):
                await me.called.wait()
            await me.session("6 CONNECTION REQUEST")
            assert (await bed.task_now(task))["status"] == "done"
            assert me.calls == 2
            await me.listener.stop()

    run(scene())


def test_only_the_device_s_own_address_is_called(tmp_path: Path) -> None:
    """A device cannot make the ACS send requests into other networks."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            device = await bed.device()
            url = "Device.ManagementServer.ConnectionRequestURL"
            for target in (
                "http://127.0.0.2:9/x",
                "http://169.254.169.254/latest",
                "https://127.0.0.1/",
                "http://127.0.0.1@127.0.0.2:9/",
                "http://2130706434:9/",
                "http://0x7f.2:9/",
                "http://[::ffff:127.0.0.2]:9/",
                "http://[::1]:9/",
                "http://127.0.0.1:0/",
                "nonsense",
                "",
            ):
                await device.session("1 BOOT", parameters={url: target})
                task = await bed.task("Reboot", connection_request=True)
                said = await told(bed, task)
                assert (said["ok"], said["status"]) == (False, None), target
                assert said["reason"]
                if target == "http://127.0.0.2:9/x":
                    assert "comes from 127.0.0.1" in said["reason"] and "connection_request_networks" in said["reason"]
                await bed.rest("DELETE", f"tasks/{task['id']}")

    run(scene())


@pytest.mark.case("C20")
def test_a_device_behind_nat_is_called_by_udp(tmp_path: Path) -> None:
    """Its URL leads nowhere, its UDPConnectionRequestAddress does: called there from the STUN port, and first there the next time."""

    async def scene() -> None:
        async with acs(tmp_path, connection_request_credentials="provision", stun_listen="127.0.0.1:0") as bed:
            me = Callable(bed)
            await me.start()
            await me.listener.stop()
            arrived: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
            socket = UdpSocket(lambda datagram, source: arrived.put_nowait((datagram, source)))
            mine = await socket.open("127.0.0.1", 0)
            assert bed.app.udp is not None
            socket.send(stun_encode(StunMessage(MessageType.BINDING_REQUEST, b"0123456789abcdef")), bed.app.udp.address)
            answer = stun_decode((await arrived.get())[0])
            assert answer.mapped_address == mine

            async def session(*events: str) -> None:
                told = {
                    "Device.ManagementServer.ConnectionRequestURL": me.url,
                    "Device.ManagementServer.UDPConnectionRequestAddress": str(mine),
                }
                await me.device.session(*events, handler=me.handler, parameters=told)

            gate = UdpRequestGate(me.login)

            async def come() -> None:
                while True:
                    datagram, source = await arrived.get()
                    if gate.look(datagram, source=source, now=0.0) is Verdict.ACCEPTED:
                        assert source == bed.app.udp.address
                        await session("6 CONNECTION REQUEST")

            await session("0 BOOTSTRAP", "1 BOOT")
            coming = asyncio.create_task(come())
            for _ in range(2):
                task = await task_with_call(bed, 20)
                assert (task["status"], task["connection_request"]["way"]) == ("done", "udp")
            assert (await bed.get_device())["connection_request_way"] == "udp"
            coming.cancel()
            socket.close()

    run(scene())


def test_udp_goes_to_the_device_s_own_address_only(tmp_path: Path) -> None:
    """A device cannot make the ACS send datagrams to others."""

    async def scene() -> None:
        async with acs(tmp_path, stun_listen="127.0.0.1:0", connection_request_users=("u:p",)) as bed:
            socket = UdpSocket(lambda datagram, source: pytest.fail("a stranger was called"))
            other = await socket.open("127.0.0.2", 0)
            device = await bed.device()
            told_address = {"Device.ManagementServer.UDPConnectionRequestAddress": str(other)}
            await device.session("1 BOOT", parameters=told_address)
            task = await bed.task("Reboot", connection_request=True)
            assert (await told(bed, task))["ok"] is False
            socket.close()

    run(scene())
