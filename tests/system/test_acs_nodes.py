"""Several ACS processes on one PostgreSQL, as devices and operators meet them: sessions that hop, wake-ups, what one tells the other.

The nodes run in this process, each with its own loop of everything but the sockets and the database, which are real.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from homeport.codec.envelope import decode
from homeport.codec.messages import (
    AddObject,
    AddObjectResponse,
    GetParameterNames,
    GetParameterNamesResponse,
    GetParameterValues,
    GetParameterValuesResponse,
    Message,
    ParameterInfoStruct,
    ParameterValueStruct,
    RebootResponse,
    Request,
    SetParameterValuesResponse,
)
from homeport.transport.addresses import Address
from support.acs_nodes import a_hopping_device, nodes, stream
from support.acs_wire import Bed, Connection, Device, acs, an_inform, id_of, run
from support.postgres import needs_postgres, shared_server

pytestmark = [pytest.mark.system, pytest.mark.postgres, needs_postgres]


@pytest.fixture
def url() -> str:
    return shared_server().new_database()


def tree(request: Request) -> Message | None:
    """A device with 600 parameters, a table, and no objections."""
    match request:
        case GetParameterNames(parameter_path="Device.", next_level=False):
            return GetParameterNamesResponse(tuple(ParameterInfoStruct(f"Device.P{n}", True) for n in range(600)))
        case GetParameterNames():
            return GetParameterNamesResponse(())
        case GetParameterValues(parameter_names=names):
            return GetParameterValuesResponse(tuple(ParameterValueStruct(n, "7", "int") for n in names))
        case AddObject():
            return AddObjectResponse(3, 0)
    return {"SetParameterValues": SetParameterValuesResponse(0), "Reboot": RebootResponse()}.get(request.element)


async def sessions(bed: Bed, count: int) -> list[tuple[str, int]]:
    """(outcome, messages) of the device's sessions, youngest first, once there are so many: histories come within a second."""
    async with asyncio.timeout(10):
        while True:
            found = (await bed.rest("GET", f"devices/{id_of()}/sessions")).json["items"]
            if len(found) >= count:
                return [(s["outcome"], s["message_count"]) for s in found]


def test_a_session_whose_every_message_meets_another_node_is_one_session(tmp_path: Path, url: str) -> None:
    """Discovery, changes and reads, each answer at another node than its request: everything is asked once, and the history is whole."""

    async def scene() -> None:
        async with nodes(tmp_path, url, 3, discover="bootstrap") as beds:
            device = await a_hopping_device(beds)
            await device.session("0 BOOTSTRAP", handler=tree)
            assert [type(m).__name__ for m in device.heard] == ["GetParameterNames"] + 3 * ["GetParameterValues"]
            shown = (await beds[0].rest("GET", f"devices/{id_of()}/parameters?path=Device.P599")).json["items"]
            assert [v["value"] for v in shown] == ["7"]
            wishes = [
                ("SetParameterValues", {"parameter_list": [{"name": "Device.New", "value": 1}]}),
                ("AddObject", {"object_name": "Device.T."}),
                ("GetParameterValues", {"parameter_names": [f"Device.P{n}" for n in range(500)]}),
                ("Reboot", {}),
            ]
            tasks = [await beds[n % 3].task(rpc, args) for n, (rpc, args) in enumerate(wishes)]
            device.heard.clear()
            await device.session("2 PERIODIC", handler=tree)
            assert [type(m).__name__ for m in device.heard] == [
                *("GetParameterValues", "SetParameterValues", "GetParameterNames", "AddObject"),
                *("GetParameterValues", "GetParameterValues", "Reboot"),
            ]
            assert await sessions(beds[1], 2) == [("success", 18), ("success", 12)]
            await device.session("1 BOOT", f"M Reboot={tasks[3]['id']}", handler=tree)
            ended = [await beds[0].task_now(t) for t in tasks]
            assert [(t["status"], t["attempts"]) for t in ended] == 4 * [("done", 1)], ended
            assert len(ended[2]["result"]["parameter_list"]) == 500
            assert sum(bed.app.hub.stats.continued for bed in beds) >= 12
            await device.connection.close()

    run(scene())


def test_a_new_inform_at_another_node_takes_over_at_once(tmp_path: Path, url: str) -> None:
    """S39's other side: the first node lets go of its session, its task goes on, and its late answer is refused."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            await (await a.device()).session("0 BOOTSTRAP")
            task = await a.task("AddObject", {"object_name": "Device.T."})
            stuck = await a.device()
            await stuck.inform()
            names = decode((await stuck.post(None)).body)
            add = decode((await stuck.post(tree(names.body), id=names.id)).body)  # type: ignore[arg-type]
            assert isinstance(add.body, AddObject)
            device = await b.device()
            await device.session(handler=tree)
            assert [type(m).__name__ for m in device.heard] == [
                "GetParameterNames",
                "GetParameterNames",
                "AddObject",
            ], "the table is read back, and the object made as it was not there"
            while a.app.door.live.of_device(id_of()) is not None:
                await asyncio.sleep(0)
            assert (await stuck.post(AddObjectResponse(9, 0), id=add.id)).status == 400
            ended = await a.task_now(task)
            assert (ended["status"], ended["attempts"], ended["result"]["instance_number"]) == ("done", 2, 3)
            assert await sessions(b, 3) == [("success", 10), ("replaced", 6), ("success", 4)]

    run(scene())


def test_what_a_node_cannot_hand_over_is_refused_and_a_forged_cookie_makes_nobody_look(
    tmp_path: Path, url: str
) -> None:
    """A session that is being answered is busy (409); one that is over, and one that never was, are unknown (400)."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            device = await a.device()
            await device.session("0 BOOTSTRAP")
            other = await b.device()
            other.cookie = device.cookie
            assert (await other.post(None)).status == 400
            device = await a.device()
            await device.inform()
            live = a.app.door.live.of_device(id_of())
            assert live is not None
            other.cookie, live.busy = device.cookie, True
            assert (await other.post(None)).status == 409
            live.busy = False
            looked = b.app.store._link.fetch  # type: ignore[attr-defined]

            async def nobody(*_: Any) -> Any:
                raise AssertionError("a forged cookie was looked for")

            b.app.store._link.fetch = nobody  # type: ignore[attr-defined]
            other.cookie = device.cookie[:-1] + ("A" if device.cookie[-1] != "A" else "B")
            assert (await other.post(None)).status == 400
            b.app.store._link.fetch = looked  # type: ignore[attr-defined]
            other.cookie = device.cookie
            link = b.app.store._link  # type: ignore[attr-defined]
            while link._idle:
                link._idle.pop().terminate()
            assert (await other.post(None)).status == 204, (
                "a request that needs a new connection to the database has one"
            )

    run(scene())


def test_a_session_that_nobody_goes_on_with_ends_by_the_clock(tmp_path: Path, url: str) -> None:
    """A node stops with a change on its way and the device stays away: another node ends the session, the task is settled later."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            await (await a.device()).session("0 BOOTSTRAP")
            task = await a.task(
                "SetParameterValues", {"parameter_list": [{"name": "D.a", "value": "1", "type": "string"}]}
            )
            device = await a.device()
            await device.inform()
            assert (await device.post(None)).status == 200
            await a.app.stop()
            assert (await b.task_now(task))["status"] == "running", "the device may still come with its answer"
            b.app.hub.clock = later(b.app.hub.clock, 3_600)
            await b.app.door.handover.sweep()
            assert (await b.task_now(task))["status"] == "unknown"
            assert await sessions(b, 2) == [("aborted", 4), ("success", 4)]
            device = await b.device()
            await device.session(handler=tree)
            assert (await b.task_now(task))["status"] == "done"

    run(scene())


def later(clock: Any, seconds: float) -> Any:
    """A clock that is ahead."""
    return lambda: clock() + seconds


def test_a_dead_nodes_running_tasks_are_settled_by_a_living_one(tmp_path: Path, url: str) -> None:
    """Its sign of life is too old and no session can be continued: the clockwork of another node takes its tasks up, once."""

    async def scene() -> None:
        async with nodes(tmp_path, url, 3) as (a, b, c):
            await (await a.device()).session("0 BOOTSTRAP")
            task = await a.task("Reboot")
            device = await a.device()
            await device.inform()
            assert (await device.post(None)).status == 200
            await b.app.worker.mend()
            assert (await b.task_now(task))["status"] == "running", "its node lives"
            store = a.app.store
            store._timer.cancel()  # type: ignore[attr-defined]
            await store._link.fetch("UPDATE node SET seen = now() - interval '1 hour' WHERE name = $1", store.node)  # type: ignore[attr-defined]
            await store._link.fetch("DELETE FROM lease")  # type: ignore[attr-defined]
            await asyncio.gather(b.app.worker.mend(), c.app.worker.mend())
            assert (await b.task_now(task))["status"] == "unknown"

    run(scene())


def test_tags_states_tokens_and_values_are_the_same_at_every_node_at_once(tmp_path: Path, url: str) -> None:
    """What one node has just answered is what the next question gets at another, whatever either had read before."""

    async def scene() -> None:
        async with nodes(tmp_path, url, cpe_auth="quarantine") as (a, b):
            device = await a.device()
            await device.session("0 BOOTSTRAP")
            for n in range(20):
                await asyncio.gather(a.get_device(), b.get_device())
                writer, reader = (a, b) if n % 2 else (b, a)
                await writer.rest("PUT", f"devices/{id_of()}/tags/t{n}")
                assert f"t{n}" in (await reader.get_device())["tags"]
            assert (await b.get_device())["state"] == "quarantined"
            assert (await a.rest("POST", f"devices/{id_of()}/approve")).status == 200
            assert (await b.get_device())["state"] == "approved"
            task = await b.task("GetParameterValues", {"parameter_names": ["Device.P1"]})
            await device.session(handler=tree)
            await done(b, task)
            made = await a.rest("POST", "tokens", {"name": "viewer", "scope": "read"})
            token = made.json["token"]
            assert (await b.rest("GET", "devices", token=token)).status == 200
            assert (await b.rest("DELETE", "tokens/viewer")).status == 204
            assert (await a.rest("GET", "devices", token=token)).status == 401
            assert (await a.rest("POST", f"devices/{id_of()}/refuse")).status == 200
            assert (await (await b.device()).inform()).status == 403

    run(scene())


def test_a_task_is_in_the_next_session_wherever_that_is_and_however_late_the_news(tmp_path: Path, url: str) -> None:
    """A device that is called comes within milliseconds, to a node that has just spoken with it and has not heard of the task yet."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            device = await a.device()
            await device.session("0 BOOTSTRAP")
            a.app.store.channel._noted = lambda lines: None  # type: ignore[union-attr]
            for _ in range(3):
                await device.session(handler=tree)
                task = await b.task("GetParameterValues", {"parameter_names": ["Device.P1"]})
                await device.session(handler=tree)
                await done(b, task)

    run(scene())


async def done(bed: Bed, task: Any) -> None:
    """Wait until the task is done: what was only read is written soon, and then known at the other nodes."""
    async with asyncio.timeout(10):
        while (await bed.task_now(task))["status"] != "done":
            await asyncio.sleep(0.01)


def test_the_event_stream_of_a_node_tells_what_happens_at_the_others(tmp_path: Path, url: str) -> None:
    """Each event once, whichever node it comes from; and nobody tells anything while nobody listens."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            assert not a.app.hub.bus.listening
            reader = await stream(b)
            async with asyncio.timeout(10):
                while not a.app.hub.bus.listening:
                    await asyncio.sleep(0)
            await (await a.device()).session("0 BOOTSTRAP", handler=tree)
            long = [f"Device.{n:03d}.{'x' * 200}" for n in range(60)]
            task = await b.task("GetParameterValues", {"parameter_names": long})
            async with asyncio.timeout(10):
                while not await a.app.store.open_tasks(id_of()):  # a session before it has heard has nothing to do
                    await asyncio.sleep(0)
            await (await a.device()).session(handler=tree)
            seen: list[dict[str, Any]] = []
            async with asyncio.timeout(10):
                while not {"inform", "session"} <= {e["kind"] for e in seen} or not (
                    any(e.get("status") == "done" for e in seen) and any(e.get("count") == 60 for e in seen)
                ):
                    line = await reader.readuntil(b"\n")
                    if line.startswith(b"data: "):
                        seen.append(json.loads(line[6:]))
            assert [e["events"] for e in seen if e["kind"] == "inform"] == [["0 BOOTSTRAP"], ["2 PERIODIC"]]
            assert [e["status"] for e in seen if e["kind"] == "task" and e["task"] == task["id"]] == ["queued", "done"]
            assert 60 in [e["count"] for e in seen if e["kind"] == "values"]

    run(scene())


def test_a_task_posted_at_one_node_waits_for_the_call_and_the_session_at_another(tmp_path: Path, url: str) -> None:
    """The operator's `wait` at one node ends with the session at the other; how the call went is known to both."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            device = await b.device()
            called = asyncio.Event()

            async def ring(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                writer.close()
                called.set()

            bell = await asyncio.start_server(ring, "127.0.0.1", 0)
            port = bell.sockets[0].getsockname()[1]
            place = {"Device.ManagementServer.ConnectionRequestURL": f"http://127.0.0.1:{port}/"}
            await device.post(an_inform("S1", "0 BOOTSTRAP", parameters=place))
            await device.post(None)

            async def answers() -> None:
                await called.wait()
                second = await b.device()
                await second.post(an_inform("S1", "6 CONNECTION REQUEST", parameters=place))
                await second.serve(await second.post(None), tree)

            session = asyncio.create_task(answers())
            body = {"rpc": "GetParameterValues", "args": {"parameter_names": ["Device.P1"]}}
            made = (await a.rest("POST", f"devices/{id_of()}/tasks?wait=15", body)).json
            await session
            bell.close()
            assert made["status"] == "done"
            assert made["connection_request"]["ok"]
            shown = (await b.task_now(made))["connection_request"]
            assert (shown["ok"], shown["status"]) == (True, 200)

    run(scene())


def test_a_udp_connection_request_leaves_from_the_node_that_the_device_knows(tmp_path: Path, url: str) -> None:
    """A NAT lets in only what comes from the STUN server that the device speaks with: the others have that node send it."""

    async def scene() -> None:
        async with nodes(tmp_path, url, stun_listen="127.0.0.1:0") as (a, b):
            assert a.app.udp is not None
            assert b.app.udp is not None
            loop, heard = asyncio.get_running_loop(), asyncio.Queue[tuple[bytes, int]]()

            class Line(asyncio.DatagramProtocol):
                def datagram_received(self, data: bytes, addr: Any) -> None:
                    heard.put_nowait((data, addr[1]))

            transport, _ = await loop.create_datagram_endpoint(Line, local_addr=("127.0.0.1", 0))
            try:
                to = Address(*transport.get_extra_info("sockname")[:2])
                a.app.udp.call(id_of(), to, "user", "password")
                async with asyncio.timeout(10):
                    came = [await heard.get() for _ in range(2)]
                assert {port for _, port in came} == {a.app.udp.address.port, b.app.udp.address.port}
                assert len({data for data, _ in came}) == 1, "one request, which a device that hears both counts once"
            finally:
                transport.close()

    run(scene())


def test_one_wish_told_to_two_nodes_at_once_is_one_task(tmp_path: Path, url: str) -> None:
    """The same idempotency key in the same moment: both answer with the same task; another wish under it is refused."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            await (await a.device()).session("0 BOOTSTRAP")

            async def wish(bed: Bed, key: str, rpc: str = "Reboot") -> Any:
                body = json.dumps({"rpc": rpc, "args": {}, "connection_request": False}).encode()
                connection = await Connection.to(bed.app.http_url)
                headers = {
                    "Authorization": f"Bearer {bed.token}",
                    "Content-Type": "application/json",
                    "Idempotency-Key": key,
                }
                answer = await connection.request("POST", f"/api/v1/devices/{id_of()}/tasks", body, headers)
                await connection.close()
                return answer

            for n in range(10):
                made = await asyncio.gather(*(wish(bed, f"key-{n}") for bed in (a, b, a, b)))
                assert len({answer.json["id"] for answer in made}) == 1
            assert len((await a.rest("GET", f"devices/{id_of()}/tasks")).json["items"]) == 10
            assert (await wish(b, "key-1", "FactoryReset")).status == 409

    run(scene())


def test_a_node_that_stops_hands_its_sessions_to_whoever_their_devices_speak_with_next(
    tmp_path: Path, url: str
) -> None:
    """One waits in the middle of a change, one has said nothing but its Inform: both go on at the other node."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            for serial in ("S1", "S2"):
                await (await a.device(serial)).session("0 BOOTSTRAP")
            task = await a.task("AddObject", {"object_name": "Device.T."})
            changing, silent = await a.device("S1"), await a.device("S2")
            await changing.inform()
            names = decode((await changing.post(None)).body)
            add = decode((await changing.post(tree(names.body), id=names.id)).body)  # type: ignore[arg-type]
            assert isinstance(add.body, AddObject)
            await silent.inform()
            await a.app.stop()
            for device in (changing, silent):
                await device.close()
                device.connection = await Connection.to(b.app.cwmp_url)
            assert (await changing.post(AddObjectResponse(5, 0), id=add.id)).status == 204
            assert (await silent.post(None)).status == 204
            ended = await b.task_now(task)
            assert (ended["status"], ended["attempts"], ended["result"]["instance_number"]) == ("done", 1, 5)
            assert await sessions(b, 2) == [("success", 8), ("success", 4)]

    run(scene())


def test_two_nodes_and_devices_that_log_in_with_each_message(tmp_path: Path, url: str) -> None:
    """A session goes on at the other node; of two behind one address the user name tells which, even without an ID."""
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


def test_what_is_over_is_ended_by_one_node_and_told_at_all(tmp_path: Path, url: str) -> None:
    """Two nodes sweep at once: each task ends once, and who waits for it at the other node hears of it."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            await (await a.device()).session("0 BOOTSTRAP")
            tasks = [await a.task("Reboot", expires_in=60) for _ in range(6)]
            waiters = [asyncio.create_task(bed.app.hub.bus.wait(tasks[0]["id"], 20)) for bed in (a, b)]
            for bed in (a, b):
                while tasks[0]["id"] not in bed.app.hub.bus._waiters:
                    await asyncio.sleep(0)
                bed.app.hub.clock = later(bed.app.hub.clock, 100)
            await asyncio.gather(a.app.overdue.sweep(), b.app.overdue.sweep())
            assert await asyncio.gather(*waiters) == [True, True]
            for task in tasks:
                found = await b.app.store.task(task["id"])
                assert found is not None
                assert found.status == "expired"
            assert sum(bed.app.hub.stats.tasks.get("expired", 0) for bed in (a, b)) == len(tasks)

    run(scene())


def test_a_read_that_expires_at_one_node_while_another_asks_it_is_left_to_its_session(tmp_path: Path, url: str) -> None:
    """Other nodes see that it runs: what the device answers counts."""

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            device = await a.device()
            await device.session("0 BOOTSTRAP")
            task = await b.task("GetParameterValues", {"parameter_names": ["Device.P1"]}, expires_in=60)
            await device.inform()
            asked = await device.post(None)
            b.app.hub.clock = later(b.app.hub.clock, 100)
            assert (await b.task_now(task))["status"] == "running"
            await b.app.overdue.sweep()
            await device.serve(asked, tree)
            await done(b, task)

    run(scene())


def test_a_whole_tree_is_taken_at_another_node(tmp_path: Path, url: str) -> None:
    """More than a stranger may send: the cookie, or the mark in the answer, says whose it is before it is read. A stranger has neither."""
    wide = GetParameterValuesResponse(
        tuple(ParameterValueStruct(f"Device.P{i}", "x" * 10_000, "string") for i in range(150))
    )

    async def scene() -> None:
        async with nodes(tmp_path, url) as (a, b):
            for number, cookies in enumerate((True, False), 1):
                device = Device(await Connection.to(a.app.cwmp_url), "S1", cookies=cookies)
                assert (await device.session("1 BOOT")).status == 204
                task = await a.task("GetParameterValues", {"parameter_names": ["Device."]})
                await device.inform()
                id = decode((await device.post(None)).body).id
                await device.connection.close()
                for wrong in (b"<ID>hp00000000n1</ID>", b"<ID>1</ID>"):
                    stranger = Device(await Connection.to(b.app.cwmp_url), "S2", cookies=False)
                    assert (await stranger.post(wrong + b"x" * 2_000_000)).status == 413
                    await stranger.connection.close()
                device.connection = await Connection.to(b.app.cwmp_url)
                assert (await device.post(wide, id=id)).status == 204
                assert b.app.hub.stats.continued == number
                assert (await b.task_now(task))["status"] == "done"
                await device.connection.close()
                if cookies:
                    # Signed by us, and worth nothing any more.
                    replayed = Device(await Connection.to(b.app.cwmp_url), "S3", cookie=device.cookie)
                    assert (await replayed.post(wide, id=id)).status == 413
                    await replayed.connection.close()

    run(scene())
