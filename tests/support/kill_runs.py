"""Kill runs: agents at work, tasks by the hundred, and an ACS that is killed at random points; then what must be true is looked at."""

import asyncio
import contextlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

from support.acs_wire import Connection
from support.agent_load import LoadAgent

KILLS = int(os.environ.get("HOMEPORT_TEST_KILLS", "3"))
"""How often the ACS is killed. From 100 on with the load of the full run."""

FULL = KILLS >= 100
AGENTS, TASKS = (200, 2_000) if FULL else (16, 50)
SETTLE_WITHIN = 300.0 if FULL else 60.0

FINAL = {"done", "failed", "expired", "cancelled"}
ONCE = {"AddObject", "Reboot", "Download"}
"""What a device must not do twice for one task."""

OPTIONS = (
    *("--cpe-auth", "open", "--discover", "never", "--connection-request-credentials", "keep"),
    *("--task-attempts", "1000"),
)
"""task_attempts: with 300 kills a task can lose its session more often than a real one ever will."""


class Operator:
    """Makes tasks over REST and listens to the events, whatever happens to the ACS. ends: how often each task's end was told."""

    def __init__(self, url: Callable[[], str], token: Callable[[], str]) -> None:
        self._url = url
        self._token = token
        self.tasks: dict[str, tuple[str, str]] = {}  # key -> (task id, RPC)
        self.ends: Counter[tuple[str, str]] = Counter()
        self.streams = 0  # how often the event stream was opened
        self.last = b""  # its last line

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        """Status and JSON, asked again until there is an answer that is one."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
                connection = await Connection.to(self._url())
                try:
                    headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
                    headers |= {"Idempotency-Key": key} if key else {}
                    data = json.dumps(body).encode() if body is not None else b""
                    async with asyncio.timeout(10):
                        answer = await connection.request(method, f"/api/v1/{path}", data, headers)
                finally:
                    connection.writer.transport.abort()
                if answer.status < 500:
                    return answer.status, answer.json
            await asyncio.sleep(0.1)

    async def make(self, agent: LoadAgent, rpc: str, key: str) -> None:
        """One task, made once: the idempotency key sees to it that a call repeated after a kill makes no second one."""
        args: dict[str, Any] = {
            "SetParameterValues": {
                "parameter_list": [{"name": "Device.A", "value": key, "type": "string"}],
                "parameter_key": key,
            },
            "SetUntyped": {"parameter_list": [{"name": f"Device.B{key}", "value": key}], "parameter_key": key},
            "AddObject": {"object_name": "Device.Table.", "parameter_key": key},
            "Reboot": {"command_key": key},
            "Download": {"command_key": key, "file_type": "3 Vendor Configuration File", "url": "http://127.0.0.1:1/x"},
            "GetParameterValues": {"parameter_names": ["Device.A", f"Device.C{key}"]},
        }[rpc]
        rpc = "SetParameterValues" if rpc == "SetUntyped" else rpc
        wish = {"rpc": rpc, "args": args, "connection_request": False}
        while True:
            status, made = await self.call("POST", f"devices/{quote(agent.id)}/tasks", wish, key=key)
            if status == 201:
                self.tasks[key] = (made["id"], rpc)
                return
            assert status == 404, made  # the device has not come yet
            await asyncio.sleep(0.1)

    async def all_tasks(self, agents: list[LoadAgent]) -> dict[str, Any]:
        """All tasks of all agents as they stand, by id."""
        found: dict[str, Any] = {}
        for agent in agents:
            _, page = await self.call("GET", f"devices/{quote(agent.id)}/tasks?limit=1000")
            found |= {t["id"]: t for t in page["items"]}
        return found

    async def events_of(self, agent: LoadAgent) -> list[Any]:
        """What the ACS has stored of the agent's events."""
        found: list[Any] = []
        cursor = ""
        while True:
            _, page = await self.call("GET", f"devices/{quote(agent.id)}/events?limit=1000{cursor}")
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    async def listen(self) -> None:
        """Count the ends of tasks that the event stream tells, for ever."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                connection = await Connection.to(self._url())
                try:
                    head = f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._token()}\r\n\r\n"
                    connection.writer.write(head.encode())
                    status = await connection.reader.readuntil(b"\n")
                    self.streams, self.last = self.streams + 1, status
                    if b" 200 " not in status:
                        raise OSError(status)  # a refusal leaves the connection open, and nothing more would come
                    await connection.reader.readuntil(b"\r\n\r\n")
                    async for line in lines(connection.reader):
                        self.last = line
                        if line.startswith(b"data: "):
                            event = json.loads(line[6:])
                            if event.get("status") in FINAL:
                                self.ends[event["task"], event["status"]] += 1
                finally:
                    connection.writer.transport.abort()
            await asyncio.sleep(0.05)


async def lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a body in chunks: a load balancer cuts them anywhere."""
    rest = b""
    while size := int(await reader.readuntil(b"\n"), 16):
        chunk = await reader.readexactly(size + 2)
        *whole, rest = (rest + chunk[:-2]).split(b"\n")
        for line in whole:
            yield line


async def play(
    cwmp: Callable[[], str],
    operator: Operator,
    kill: Callable[[random.Random], Awaitable[None]],
    seed: int,
    progress: Callable[[str], None],
) -> None:
    """The whole run; fails where something was lost or done twice."""
    chance = random.Random(seed)
    agents = [LoadAgent(n, cwmp, random.Random(f"{seed}-{n}")) for n in range(AGENTS)]
    stop = asyncio.Event()
    began = time.monotonic()
    running = [asyncio.create_task(agent.run(stop)) for agent in agents]
    listener = asyncio.create_task(operator.listen())
    kinds = ["SetParameterValues", "SetUntyped", "AddObject", "AddObject", "Reboot", "Download", "GetParameterValues"]
    wishes = [(agents[n % AGENTS], kinds[n % len(kinds)], f"k{n}") for n in range(TASKS)]
    making: list[asyncio.Task[None]] = []
    try:
        for number in range(KILLS):
            batch = wishes[number * TASKS // KILLS : (number + 1) * TASKS // KILLS]
            making += [asyncio.create_task(operator.make(*wish)) for wish in batch]
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            await kill(chance)
            if listener.done():
                listener.result()  # why
            if number % 20 == 19:
                progress(f"{number + 1} kills, {len(operator.tasks)} tasks, {time.monotonic() - began:.0f} s")
        await asyncio.gather(*making)
        async with asyncio.timeout(SETTLE_WITHIN):
            while True:
                found = await operator.all_tasks(agents)
                left = [t for t in found.values() if t["status"] not in FINAL]
                if not left:
                    break
                await asyncio.sleep(0.2)
        await _judge(operator, agents, found)
        sessions, failed, repeated = (sum(getattr(a, n) for a in agents) for n in ("sessions", "failed", "repeated"))
        told = f"{sessions} sessions, {failed} of them lost and begun again, {repeated} messages sent again"
        progress(f"{KILLS} kills, {AGENTS} agents, {len(found)} tasks, {told}, {time.monotonic() - began:.0f} s")
    except TimeoutError:
        raise AssertionError(
            f"tasks that did not end: {[(t['id'], t['rpc'], t['status'], t['phase']) for t in left]}"
        ) from None
    finally:
        stop.set()
        for job in (listener, *making, *running):
            job.cancel()
        await asyncio.gather(listener, *making, *running, return_exceptions=True)
        for agent in agents:
            await agent._disconnect()


async def _judge(operator: Operator, agents: list[LoadAgent], found: dict[str, Any]) -> None:
    """None lost, none made twice, none done twice where that matters, none reported twice."""
    wanted = {id: rpc for id, rpc in operator.tasks.values()}
    assert len(wanted) == TASKS, "two wishes have become one task"
    assert set(found) == set(wanted), f"lost: {set(wanted) - set(found)}; made twice: {set(found) - set(wanted)}"
    other = [t for t in found.values() if t["status"] != "done"]
    assert not other, f"not done: {[(t['id'], t['rpc'], t['status'], t['fault']) for t in other[:5]]}"
    done = sum((agent.done for agent in agents), Counter[tuple[str, str]]())
    twice = {what: n for what, n in done.items() if what[0] in ONCE and n > 1}
    assert not twice, f"done twice: {twice}"
    missing = [
        key for key, (_, rpc) in operator.tasks.items() if rpc in ONCE | {"SetParameterValues"} and not done[rpc, key]
    ]
    assert not missing, f"said to be done, but were not: {missing}"
    again = {what: n for what, n in operator.ends.items() if n > 1}
    assert not again, f"ends told twice: {again}"
    for agent in agents:
        events = await operator.events_of(agent)
        keyed = Counter((e["code"], e["command_key"]) for e in events if e["command_key"])
        doubled = {what: n for what, n in keyed.items() if n > 1}
        assert not doubled, f"events kept twice: {agent.id} {doubled}"
        unheard = [key for key in agent.told if not keyed["TransferComplete", key]]
        assert not unheard, f"acknowledged and lost: {unheard}"
    assert operator.ends, (
        f"the event stream told nothing: opened {operator.streams} times, its last line {operator.last!r}"
    )
