"""Two real workers of one ACS, over connections that one or the other has accepted: calls, limits, events, health, lost cookies."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from homeport.codec.envelope import Envelope, decode
from homeport.codec.messages import (
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterValueStruct,
    Request,
    SetParameterValues,
    SetParameterValuesResponse,
)
from homeport.transport.xmpp import XmppListener
from homeport.transport.xmpp_rules import XmppStatus
from support.acs_files import FIRMWARE, Orders, form
from support.acs_wire import Answer, Connection, Device, id_of, run
from support.acs_workers import connection_to, workers
from support.ends import Acs, wait_for
from support.haproxy import free_ports
from support.postgres import needs_postgres, shared_server
from system import test_xmpp_prosody
from system.test_xmpp_prosody import ACCOUNTS, DOMAIN, Prosody

pytestmark = [pytest.mark.system, pytest.mark.postgres, needs_postgres]

prosody = test_xmpp_prosody.prosody

SESSIONS, CONNECTIONS, TRANSFERS = 3, 24, 2
LOGIN = ("ring", "bell")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Acs]:
    """An ACS of two workers with small limits; the first has STUN and, where Prosody is installed, XMPP."""
    options = [
        "--workers",
        "2",
        "--cpe-auth",
        "open",
        "--discover",
        "never",
        "--connection-request-credentials",
        "keep",
    ]
    options += ["--max-sessions", str(SESSIONS), "--max-connections", str(CONNECTIONS)]
    options += [
        "--file-max-transfers",
        str(TRANSFERS),
        "--file-rate",
        "100000",
        "--connection-request-users",
        ":".join(LOGIN),
    ]
    options += ["--stun-listen", f"127.0.0.1:{free_ports(1)[0]}", "--database", shared_server().new_database()]
    if shutil.which("prosody") is not None:
        server: Prosody = request.getfixturevalue("prosody")
        options += ["--xmpp-jid", f"acs@{DOMAIN}", "--xmpp-password", ACCOUNTS["acs"]]
        options += ["--xmpp-server", f"127.0.0.1:{server.port}", "--xmpp-ca", str(server.certificate)]
    acs = Acs(tmp_path_factory.mktemp("pair"), *options)
    try:
        yield acs.start()
    finally:
        acs.stop()


class Rest:
    """One worker's REST API."""

    def __init__(self, acs: Acs, connection: Connection) -> None:
        self._authorization = {"Authorization": f"Bearer {(acs.data / 'admin.token').read_text().strip()}"}
        self.connection = connection

    @classmethod
    async def at(cls, acs: Acs, worker: int) -> "Rest":
        return cls(acs, await connection_to(f"{acs.http_url}/", workers(acs)[worker]))

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        given = self._authorization | ({"Content-Type": "application/json"} if data else {}) | headers
        target = path if path.startswith("/") else f"/api/v1/{path}"
        return await self.connection.request(method, target, data, given)


async def device_at(acs: Acs, worker: int, serial: str) -> Device:
    return Device(await connection_to(acs.cwmp_url, workers(acs)[worker]), serial)


def values(request: Request) -> Message | None:
    if isinstance(request, GetParameterValues):
        return GetParameterValuesResponse(tuple(ParameterValueStruct(n, "7") for n in request.parameter_names))
    return None


def read(serial: str, wait: int) -> tuple[str, str, dict[str, Any]]:
    """A task that reads, with a connection request; who asks waits for its end."""
    body = {"rpc": "GetParameterValues", "args": {"parameter_names": ["Device.Name"]}, "connection_request": True}
    return "POST", f"devices/{id_of(serial)}/tasks?wait={wait}", body


def test_a_udp_connection_request_asked_for_at_either_worker_leaves_from_the_stun_port(pair: Acs) -> None:
    """The device hears it from the address that it sends its STUN packets to, and the operator's wait ends with the session."""
    port = int(pair.options[pair.options.index("--stun-listen") + 1].rpartition(":")[2])

    async def scene() -> None:
        heard: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue()
        known: set[bytes] = set()

        class Line(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                heard.put_nowait((data, addr[1]))

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Line, local_addr=("127.0.0.1", 0))
        at = f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
        place = {
            "Device.ManagementServer.ConnectionRequestURL": "",
            "Device.ManagementServer.UDPConnectionRequestAddress": at,
        }
        device = await device_at(pair, 0, "U1")
        await device.session("1 BOOT", parameters=place)
        for worker in (1, 0):
            rest = await Rest.at(pair, worker)
            asked = asyncio.create_task(rest(*read("U1", 15)))
            async with asyncio.timeout(15):
                while (datagram := await heard.get())[0] in known:
                    pass  # each request is sent three times
            known.add(datagram[0])
            assert datagram[1] == port
            await device.session("6 CONNECTION REQUEST", parameters=place, handler=values)
            done = (await asked).json
            assert (done["status"], done["connection_request"]["way"]) == ("done", "udp"), done
            await rest.connection.close()
        await device.close()
        transport.close()

    run(scene())


def test_an_xmpp_connection_request_asked_for_at_either_worker_reaches_the_device(pair: Acs, prosody: Prosody) -> None:
    """Only the first worker is connected to the server; the other has it send."""
    pytest.importorskip("slixmpp")

    async def scene() -> None:
        called = asyncio.Event()

        def accept() -> bool:
            called.set()
            return True

        on = asyncio.Event()
        listener = XmppListener(
            prosody.settings("cpe"),
            allowed=lambda: [f"acs@{DOMAIN}"],
            credentials=lambda: LOGIN,
            accept=accept,
            on_state=lambda state: on.set() if state.status is XmppStatus.ENABLED else None,
        )
        listener.start()
        try:
            async with asyncio.timeout(20):
                await on.wait()
            place = {
                "Device.ManagementServer.ConnectionRequestURL": "",
                "Device.ManagementServer.ConnReqJabberID": f"cpe@{DOMAIN}/r",
            }
            device = await device_at(pair, 1, "X1")
            await device.session("1 BOOT", parameters=place)
            for worker in (1, 0):
                rest = await Rest.at(pair, worker)
                async with asyncio.timeout(20):
                    while "homeport_xmpp_connected 1.0" not in (await rest("GET", "/metrics")).body.decode():
                        await asyncio.sleep(0.02)
                called.clear()
                asked = asyncio.create_task(rest(*read("X1", 15)))
                async with asyncio.timeout(15):
                    await called.wait()
                await device.session("6 CONNECTION REQUEST", parameters=place, handler=values)
                done = (await asked).json
                assert done["status"] == "done"
                async with asyncio.timeout(10):  # the device may be done before its server's answer is here
                    while (said := (await rest("GET", f"tasks/{done['id']}")).json["connection_request"]) is None:
                        await asyncio.sleep(0.02)
                assert (said["ok"], said["way"]) == (True, "xmpp"), said
                await rest.connection.close()
            await device.close()
        finally:
            await listener.stop()

    run(scene())


def test_sessions_and_connections_are_counted_over_both_workers(pair: Acs) -> None:
    """Whichever worker has them: one more than the operator's number is sent away, and one that ends makes room at once."""

    async def scene() -> None:
        devices = [await device_at(pair, worker, f"C{n}") for n, worker in enumerate((0, 0, 1))]
        for device in devices:
            assert (await device.inform("1 BOOT")).status == 200
        late = [await device_at(pair, worker, f"L{worker}") for worker in (0, 1)]
        for device in late:
            refused = await device.inform("1 BOOT")
            assert refused.status == 503
            assert "too many sessions" in refused.body.decode()
        assert (await devices[0].post(None)).status == 204
        assert (await late[1].inform("1 BOOT")).status == 200, "the other worker has room again"
        for device in (*devices[1:], late[1]):
            assert (await device.post(None)).status == 204
        for device in (*devices, *late):
            await device.close()
        idle: list[Connection] = []
        full = 0
        async with asyncio.timeout(20):
            while full < 3:  # what was closed a moment ago may still count
                idle.append(await Connection.to(pair.cwmp_url))
                try:
                    async with asyncio.timeout(0.05):
                        assert (await idle[-1].answer()).status == 503
                    full += 1
                    await idle.pop().close()
                except TimeoutError:
                    full = 0
        assert len(idle) == CONNECTIONS
        for connection in idle:
            await connection.close()

    run(scene())


def test_file_transfers_are_counted_over_both_workers(pair: Acs) -> None:
    """As many as the operator allows the machine, wherever they are under way."""

    async def scene() -> None:
        rest = await Rest.at(pair, 0)
        body, headers = form("fw.bin", os.urandom(1_000_000), {"file_type": FIRMWARE})
        made = await rest("POST", "files", body, **headers)
        assert made.status == 201, made
        device = await device_at(pair, 1, "F1")
        await device.session("1 BOOT")
        wish = {"rpc": "Download", "args": {"file": "fw.bin"}, "connection_request": False}
        assert (await rest("POST", f"devices/{id_of('F1')}/tasks", wish)).status == 201
        orders = Orders()
        async with asyncio.timeout(10):
            while not orders.given:  # what another worker has just written is known within milliseconds, not at once
                await device.session(handler=orders)
        url = urlsplit(orders.given[0].url)
        base = f"{url.scheme}://{url.netloc}/"

        async def begun(worker: int) -> tuple[Connection, int]:
            """A transfer that is not read further than its head, and its status."""
            connection = await connection_to(base, workers(pair)[worker])
            connection.writer.write(f"GET {url.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await connection.reader.readuntil(b"\r\n\r\n")
            return connection, int(head.split()[1])

        running = [await begun(worker) for worker in (0, 1)]
        assert [status for _, status in running] == [200] * 2
        for worker in (0, 1):
            more, status = await begun(worker)
            assert status == 503
            await more.close()
        running[0][0].writer.transport.abort()
        status = 0
        async with asyncio.timeout(10):
            while status != 200:
                more, status = await begun(1)
                more.writer.transport.abort()
        running[1][0].writer.transport.abort()
        await device.close()
        await rest.connection.close()

    run(scene())


def test_failed_logins_count_at_both_workers(pair: Acs) -> None:
    """Three at one, and the other one waits, too; an address and a name are throttled on the machine."""

    async def scene() -> None:
        first, second = await Rest.at(pair, 0), await Rest.at(pair, 1)
        wrong = {"name": "nobody", "password": "a wrong password"}
        statuses = [(await first("POST", "login", wrong)).status for _ in range(3)]
        assert statuses == [401] * 3
        refused = await second("POST", "login", wrong)
        assert refused.status == 429, refused
        for rest in (first, second):
            await rest.connection.close()

    run(scene())


# --- devices that send no cookie, whose next connection the other worker accepts; what kills a worker comes last ---


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


def named(request: Message | None, value: str) -> GetParameterValuesResponse:
    assert isinstance(request, GetParameterValues)
    return GetParameterValuesResponse(tuple(ParameterValueStruct(n, value) for n in request.parameter_names))


READ = ("GetParameterValues", {"parameter_names": ["Device.Name"]})


def result(server: Acs, task: str) -> tuple[str, str]:
    """(status, the value that was read)."""
    found = server.rest("GET", f"tasks/{task}")
    return found["status"], found["result"]["parameter_list"][0]["value"] if found["result"] else ""


def test_each_message_at_another_worker_is_one_session(pair: Acs) -> None:
    """The empty POST, and both answers, on connections that the other worker accepts; each task is done once, in one session."""

    async def scene() -> None:
        device = await forgetful(pair, 0, "N1")
        assert (await device.session("1 BOOT")).status == 204
        wish = {"parameter_list": [{"name": "Device.Name", "value": "new", "type": "string"}]}
        tasks = [await asyncio.to_thread(pair.task, id_of("N1"), *w) for w in (("SetParameterValues", wish), READ)]
        await (await device.at(pair, 0)).inform()
        setting = asked(await (await device.at(pair, 1)).post(None))
        assert isinstance(setting.body, SetParameterValues)
        reading = asked(await (await device.at(pair, 0)).post(SetParameterValuesResponse(0), id=setting.id))
        last = await (await device.at(pair, 1)).post(named(reading.body, "new"), id=reading.id)
        assert last.status == 204
        assert setting.id is not None and reading.id is not None
        assert setting.id[:-1] == reading.id[:-1], "the IDs of one session have its mark"
        ended = [pair.rest("GET", f"tasks/{t}") for t in tasks]
        assert [(t["status"], t["attempts"]) for t in ended] == [("done", 1)] * 2
        page = wait_for(
            lambda: len(x := pair.rest("GET", f"devices/{id_of('N1')}/sessions")["items"]) > 1 and x, "history"
        )
        assert (page[0]["outcome"], page[0]["message_count"]) == ("success", 8)
        assert "no-cookie" in pair.device(id_of("N1"))["quirks"]
        await device.close()

    run(scene())


def test_two_devices_behind_one_address_are_never_mixed_up(pair: Acs) -> None:
    """Each answer reaches its own session by the ID that it gives back; what shows nothing is refused, and then both are served."""

    async def scene() -> None:
        a, b = await forgetful(pair, 0, "M1"), await forgetful(pair, 1, "M2")
        for device in (a, b):
            assert (await device.session("1 BOOT")).status == 204
        tasks = [await asyncio.to_thread(pair.task, id_of(d.serial), *READ) for d in (a, b)]
        await (await a.at(pair, 0)).inform()
        of_a = asked(await a.post(None))
        await (await b.at(pair, 1)).inform()
        of_b = asked(await b.post(None))
        await a.at(pair, 1)
        await b.at(pair, 0)
        stranger = await forgetful(pair, 0, "M9")
        assert (await stranger.post(None)).status == 400, "two sessions are open at this address"
        assert (await stranger.post(named(of_a.body, "forged"), id="hp00000000n1")).status == 400
        assert (await b.post(named(of_b.body, "b"), id=of_b.id)).status == 204
        assert (await a.post(named(of_a.body, "a"), id=of_a.id)).status == 204
        assert [result(pair, t) for t in tasks] == [("done", "a"), ("done", "b")]
        # Nothing but the address tells whose an empty POST is: neither device gets what is meant for the other.
        tasks = [await asyncio.to_thread(pair.task, id_of(d.serial), *READ) for d in (a, b)]
        await a.inform()
        await b.inform()
        await a.at(pair, 0)
        await b.at(pair, 1)
        assert (await a.post(None)).status == 400
        for device, worker in ((a, 1), (b, 0)):
            await (await device.at(pair, worker)).inform()
            again = asked(await (await device.at(pair, 1 - worker)).post(None))
            await device.at(pair, worker)
            assert (await device.post(named(again.body, device.serial), id=again.id)).status == 204
        assert [result(pair, t) for t in tasks] == [("done", "M1"), ("done", "M2")]
        assert "cannot be told apart" in pair.log.read_text()
        for device in (a, b, stranger):
            await device.close()

    run(scene())


def test_a_killed_workers_change_goes_on_at_the_other_and_the_worker_is_back_at_once(pair: Acs) -> None:
    """kill -9 while a change is on its way: the answer comes without a cookie to the other worker, by address and ID."""

    async def scene() -> None:
        device = await forgetful(pair, 1, "K1")
        assert (await device.session("1 BOOT")).status == 204
        wish = {"parameter_list": [{"name": "Device.Name", "value": "new", "type": "string"}]}
        task = await asyncio.to_thread(pair.task, id_of("K1"), "SetParameterValues", wish)
        before = workers(pair)
        await (await device.at(pair, 1)).inform()
        setting = asked(await device.post(None))
        await device.at(pair, 0)
        os.kill(before[1], signal.SIGKILL)
        assert (await device.post(SetParameterValuesResponse(0), id=setting.id)).status == 204
        found = pair.rest("GET", f"tasks/{task}")
        assert (found["status"], found["attempts"]) == ("done", 1)
        # Whose an empty POST is cannot be known now: its session may have died with the worker.
        assert (await device.inform()).status == 200
        assert (await (await device.at(pair, 0)).post(None)).status == 400
        assert (await device.session()).status == 204, "on one connection there is no doubt"
        wait_for(lambda: workers(pair)[1] != before[1], "the worker's restart")
        await device.close()

    run(scene())


def test_events_metrics_and_health_are_those_of_both_workers(pair: Acs) -> None:
    """Somebody who reads the stream at one worker hears of sessions at the other; a killed worker is missed, and back at once."""

    async def scene() -> None:
        stream, rest = await Rest.at(pair, 0), await Rest.at(pair, 0)
        stream.connection.writer.write(
            f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: {stream._authorization['Authorization']}\r\n\r\n".encode()
        )
        await stream.connection.reader.readuntil(b": listening")
        heard: set[str] = set()
        async with asyncio.timeout(20):
            n = 0
            while not {"E0", "E1"} <= heard:
                for worker in (0, 1):
                    device = await device_at(pair, worker, f"E{worker}")
                    await device.session("1 BOOT" if n else "0 BOOTSTRAP")
                    await device.close()
                    line = b""
                    try:
                        async with asyncio.timeout(1):
                            while b'"inform"' not in line:
                                line = await stream.connection.reader.readuntil(b"\n")
                        heard |= {s for s in ("E0", "E1") if f'-{s}"'.encode() in line}
                    except TimeoutError:
                        pass  # it was not known yet at that worker that somebody listens
                n += 1
        await stream.connection.close()

        async def metrics() -> dict[str, float]:
            lines = (await rest("GET", "/metrics")).body.decode().splitlines()
            return {k: float(v) for k, _, v in (x.rpartition(" ") for x in lines if x[0] != "#")}

        assert (await rest("GET", "health")).json["workers"] == {"wanted": 2, "serving": 2}
        async with asyncio.timeout(10):
            before = await metrics()
            while not all(before.get(f'homeport_informs_total{{worker="{n}"}}') for n in (1, 2)):
                await asyncio.sleep(0.05)  # the other's counters are up to a second old
                before = await metrics()
        assert (before["homeport_workers"], before["homeport_workers_serving"]) == (2, 2)
        killed = workers(pair)
        os.kill(killed[1], signal.SIGKILL)
        async with asyncio.timeout(20):
            while (told := (await rest("GET", "health")).json)["status"] == "ok":
                await asyncio.sleep(0.01)
            assert told["trouble"] == "1 of 2 worker processes serve; the log of the ACS says why"
            while (await rest("GET", "health")).json["status"] != "ok":
                await asyncio.sleep(0.02)
        after = await metrics()
        assert (
            after['homeport_worker_starts_total{worker="2"}'] == before['homeport_worker_starts_total{worker="2"}'] + 1
        )
        assert "killed (SIGKILL), by hand or by the kernel for want of memory" in pair.log.read_text()
        wait_for(lambda: workers(pair)[1] != killed[1], "the new worker in acs.json")
        await rest.connection.close()

    run(scene())
