"""A real agent on a machine of its own (a network namespace), told by an ACS in another one: what it does to its network, and undoes.

The ACS is at 10.9.9.9, which the machine reaches by its default route over eth0; a change may cut that line.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cpe_support.agent_process import AgentProcess
from cpe_support.http_acs import HttpAcs, Post
from cpe_support.netns import Box, ip, needs_namespaces, own_network
from homeport.codec.messages import (
    AddObject,
    DeleteObject,
    GetParameterValues,
    Message,
    ParameterValueStruct,
    Request,
    SetParameterAttributes,
    SetParameterAttributesStruct,
    SetParameterValues,
)
from homeport.cpe.control import ControlClient
from support.ends import Acs, Program, wait_for
from support.nursery import shared_nursery

pytestmark = [pytest.mark.system, needs_namespaces]

TRIAL = 3
"""Seconds of the trial; the agent's own retries take 1 to 2."""

V4 = "Device.Routing.Router.1.IPv4Forwarding."


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


def test_what_tests_fork_from_is_in_no_network_of_a_test() -> None:
    """Also where it is asked for inside for the first time: what was forked from it later could not be reached."""
    with own_network():
        assert not shared_nursery().is_here()
    assert shared_nursery().is_here()


@pytest.fixture
def lab() -> Iterator[Box]:
    """The ACS's side is this process's namespace; the machine is the box, with eth0 and a default route."""
    with own_network():
        box = Box()
        try:
            box.cable("acs0", "eth0")
            ip("address", "add", "10.9.9.9/32", "dev", "lo")
            ip("address", "add", "10.9.0.1/24", "dev", "acs0")
            box.run("ip", "address", "add", "10.9.0.2/24", "dev", "eth0")
            box.run("ip", "route", "add", "default", "via", "10.9.0.1", "metric", "7")
            yield box
        finally:
            box.close()


@asynccontextmanager
async def agent_of(box: Box, directory: Path, acs: HttpAcs, *before: str) -> AsyncIterator[AgentProcess]:
    """A running agent inside the box."""
    agent = AgentProcess(
        directory,
        acs.url,
        *("--profile", "linux", "--network-trial", str(TRIAL), "--session-timeout", "1", "--retry-minimum-wait", "1"),
        *("--no-web", "--serial", "0001"),
        before=[*box.enter, *before],
    )
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


def ask(acs: HttpAcs, *requests: Request) -> None:
    """What the next session is to bring."""
    acs.requests.extend(requests)


async def answer(acs: HttpAcs, request: Request) -> Message:
    """The answer to a request that a session brings."""
    await acs.until(lambda: any(asked == request for asked, _ in acs.answers))
    return next(found for asked, found in acs.answers if asked == request)


def setting(**values: str) -> SetParameterValues:
    """SetParameterValues; in the names `__` stands for a dot."""
    kinds = {"true": "boolean", "false": "boolean"}
    rows = [
        ParameterValueStruct(
            "Device." + n.replace("__", "."), v, "unsignedInt" if v.isdecimal() else kinds.get(v, "string")
        )
        for n, v in values.items()
    ]
    return SetParameterValues(tuple(rows), "")


def default_routes(box: Box) -> list[tuple[str, int]]:
    """(gateway, metric) of the box's default routes."""
    return [(r["gateway"], r.get("metric", 0)) for r in box.json("route", "show", "default")]


async def rings(agent: AgentProcess) -> None:
    """Have a person at the box open a session."""
    await asyncio.to_thread(ControlClient(agent.directory).call, "inform")


async def row_of(acs: HttpAcs, agent: AgentProcess, table: str, column: str, text: str) -> str:
    """The row of a table in which a column has a value, with its trailing dot, asked over the wire."""
    request = GetParameterValues((table,))
    ask(acs, request)
    await rings(agent)
    found = await answer(acs, request)
    acs.answers.clear()
    for value in found.parameter_list:  # type: ignore[union-attr]
        if value.name.endswith("." + column) and value.value == text:
            return value.name.removesuffix(column)
    raise AssertionError(f"{table} has no row with {column} {text}: {found}")


async def until(condition: Callable[[], object], limit: float = 20.0) -> None:
    """Wait for what happens on the box."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.05)


@in_a_loop
async def test_the_whole_tree_is_read_and_an_address_is_written(lab: Box, tmp_path: Path) -> None:
    """GetParameterValues of `Device.`, then an address on eth0 beside its own: in force, kept, and still there after a restart."""
    async with HttpAcs([GetParameterValues(("Device.",))], host="10.9.9.9") as acs:
        async with agent_of(lab, tmp_path / "cpe", acs) as agent:
            tree = await answer(acs, GetParameterValues(("Device.",)))
            values = {v.name: v.value for v in tree.parameter_list}  # type: ignore[union-attr]
            assert len(values) > 250
            name = next(n for n, v in values.items() if n.startswith("Device.IP.Interface.") and v == "eth0")
            table = name.removesuffix("Name") + "IPv4Address."
            assert [v for n, v in values.items() if n.startswith(table) and n.endswith("IPAddress")] == ["10.9.0.2"]
            ask(acs, AddObject(table, ""))
            await rings(agent)
            added = await answer(acs, AddObject(table, ""))
            row = f"{table.removeprefix('Device.')}{added.instance_number}.".replace(".", "__")  # type: ignore[union-attr]
            write = setting(
                **{row + "IPAddress": "10.77.0.1", row + "SubnetMask": "255.255.255.0", row + "Enable": "true"}
            )
            ask(acs, write)
            await rings(agent)
            assert getattr(await answer(acs, write), "status", None) == 0
            assert "10.77.0.1/24" in lab.run("ip", "-4", "address", "show", "dev", "eth0")
            await until(lambda: "the ACS was reached, so this counts now" in agent.log)
        lab.run("ip", "address", "del", "10.77.0.1/24", "dev", "eth0")  # a restart of the machine would take it
        async with agent_of(lab, tmp_path / "cpe", acs):
            await until(lambda: "10.77.0.1/24" in lab.run("ip", "-4", "address", "show", "dev", "eth0"))


def test_a_real_acs_reads_everything_and_adds_a_route(lab: Box, tmp_path: Path) -> None:
    """`homeport acs serve` and the agent as processes: GetParameterValues of the root, then AddObject and SetParameterValues."""
    acs = Acs(tmp_path / "acs", "--cpe-auth", "open")
    acs.cwmp = "10.9.9.9:0"
    agent = Program(tmp_path / "agent.log")
    device = "02486F-Linux-0002"
    try:
        acs.start()
        agent.run(
            *("cpe", "run", "--profile", "linux", "--acs-url", acs.cwmp_url, "--state-dir", str(tmp_path / "cpe")),
            *("--serial", "0002", "--connection-request-port", "0", "--no-web"),
            before=lab.enter,
        )
        wait_for(lambda: acs.device(device), "the first Inform")

        def done(rpc: str, **args: Any) -> Any:
            task = acs.task(device, rpc, args, connection_request=True)
            wait_for(lambda: acs.task_status(task) in ("done", "failed"), rpc)
            found = acs.rest("GET", f"tasks/{task}")
            assert found["status"] == "done", found
            return found["result"]

        tree = done("GetParameterValues", parameter_names=["Device."])
        values = {p["name"]: p["value"] for p in tree["parameter_list"]}
        assert values["Device.Routing.Router.1.IPv4ForwardingNumberOfEntries"] == "2"
        number = done("AddObject", object_name=V4)["instance_number"]
        rows = {"DestIPAddress": "10.50.0.0", "DestSubnetMask": "255.255.0.0", "GatewayIPAddress": "10.9.0.1"}
        parameters = [{"name": f"{V4}{number}.{n}", "value": v} for n, v in (rows | {"Enable": "true"}).items()]
        assert done("SetParameterValues", parameter_list=parameters)["status"] == 0
        assert lab.json("route", "show", "10.50.0.0/16")[0]["gateway"] == "10.9.0.1"
    finally:
        agent.stop()
        acs.stop()


@in_a_loop
async def test_a_change_that_cuts_the_line_is_undone_and_reported(lab: Box, tmp_path: Path) -> None:
    """The ACS deletes the default route, over which it is reached: after the trial it is back, and the ACS learns of it."""
    async with HttpAcs(host="10.9.9.9") as acs, agent_of(lab, tmp_path / "cpe", acs) as agent:
        await acs.sessions(1)
        row = await row_of(acs, agent, V4, "GatewayIPAddress", "10.9.0.1")
        informs = len(acs.informs)
        ask(acs, DeleteObject(row, ""))
        await rings(agent)
        await until(lambda: not default_routes(lab))
        await until(lambda: default_routes(lab) == [("10.9.0.1", 7)], limit=TRIAL + 10)
        await acs.until(lambda: any("NetworkChangeUndone" in c for c in acs.events()) and len(acs.informs) > informs)
        assert "X 02486F NetworkChangeUndone" in acs.events()
        assert "undone, because the ACS was not reached within 3 s: route 0.0.0.0/0 10.9.0.1 eth0 7 gone" in agent.log
        assert agent.log.count("failed: ") <= 8, "the agent tries as its retry policy says, not as fast as it can"
        assert await row_of(acs, agent, V4, "GatewayIPAddress", "10.9.0.1")


@in_a_loop
async def test_a_change_under_way_is_undone_after_kill_9(lab: Box, tmp_path: Path) -> None:
    """The address of the line is replaced by a wrong one; the agent dies before anybody was reached over it. The next one undoes it."""
    async with HttpAcs(host="10.9.9.9") as acs, agent_of(lab, tmp_path / "cpe", acs) as agent:
        await acs.sessions(1)
        row = await row_of(acs, agent, "Device.IP.Interface.", "IPAddress", "10.9.0.2")
        ask(acs, setting(**{row.removeprefix("Device.").replace(".", "__") + "IPAddress": "10.66.0.2"}))
        await rings(agent)
        await until(lambda: "10.66.0.2" in lab.run("ip", "-4", "address", "show", "dev", "eth0"))
        agent.kill()
        await agent.gone()
        assert "10.9.0.2" not in lab.run("ip", "-4", "address", "show", "dev", "eth0")
        seen = len(acs.informs)
        await agent.start()
        await acs.until(lambda: len(acs.informs) > seen)
        assert "10.9.0.2/24" in lab.run("ip", "-4", "address", "show", "dev", "eth0")
        assert "10.66.0.2" not in lab.run("ip", "-4", "address", "show", "dev", "eth0")
        assert default_routes(lab) == [("10.9.0.1", 7)]
        await acs.until(
            lambda: any("NetworkChangeUndone" in c for i in acs.informs[seen:] for c in [e.event_code for e in i.event])
        )


@in_a_loop
async def test_what_happens_to_the_machine_is_told_at_once(lab: Box, tmp_path: Path) -> None:
    """Active notification of a link's status and of a number of addresses: `ip link set down`, `ip address add`."""
    lab.run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    lab.run("ip", "link", "set", "lan0", "up")
    lab.run("ip", "link", "set", "lan1", "up")
    async with HttpAcs(host="10.9.9.9") as acs, agent_of(lab, tmp_path / "cpe", acs) as agent:
        await acs.sessions(1)
        port = await row_of(acs, agent, "Device.Ethernet.Interface.", "Name", "lan0")
        interface = await row_of(acs, agent, "Device.IP.Interface.", "Name", "eth0")
        watched = (port + "Status", interface + "IPv4AddressNumberOfEntries")
        rows = tuple(SetParameterAttributesStruct(n, True, 2, False, ()) for n in watched)
        ask(acs, SetParameterAttributes(rows))
        await rings(agent)
        await answer(acs, SetParameterAttributes(rows))
        ask(acs, GetParameterValues(watched))
        await rings(agent)
        await answer(acs, GetParameterValues(watched))

        def told(name: str, value: str) -> bool:
            return any(
                (p.name, p.value) == (name, value) and "4 VALUE CHANGE" in [e.event_code for e in i.event]
                for i in acs.informs
                for p in i.parameter_list
            )

        lab.run("ip", "link", "set", "lan0", "down")
        await acs.until(lambda: told(watched[0], "Down"), limit=10)
        lab.run("ip", "address", "add", "10.88.0.1/24", "dev", "eth0")
        await acs.until(lambda: told(watched[1], "2"), limit=10)


@in_a_loop
async def test_without_the_capability_everything_is_read_and_a_write_is_told_why_not(lab: Box, tmp_path: Path) -> None:
    """An agent without CAP_NET_ADMIN, as an ordinary user has it: the kernel refuses, and the sentence says what is missing."""
    plain = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    async with HttpAcs(host="10.9.9.9") as acs, agent_of(lab, tmp_path / "cpe", acs, *plain) as agent:
        await acs.sessions(1)
        row = await row_of(acs, agent, "Device.Ethernet.Interface.", "Name", "eth0")
        write = setting(**{row.removeprefix("Device.").replace(".", "__") + "Enable": "false"})
        ask(acs, write)
        await rings(agent)
        fault = await answer(acs, write)
        (refused,) = fault.set_parameter_values_faults  # type: ignore[union-attr]
        assert refused.fault_code == 9002
        assert "CAP_NET_ADMIN" in refused.fault_string


@in_a_loop
async def test_kill_9_at_any_moment_of_a_change_leaves_the_old_network_or_the_new_one(lab: Box, tmp_path: Path) -> None:
    """Killed at the POST that carries the answer: the change is made, told to nobody, and therefore undone."""

    class Killing(HttpAcs):
        agent: AgentProcess | None = None
        armed = False

        def watch(self, number: int, post: Post) -> None:
            if self.armed and b"SetParameterValuesResponse" in post.body and self.agent is not None:
                self.armed = False
                self.agent.kill()
                raise ConnectionAbortedError

    acs = Killing(host="10.9.9.9")
    acs.before_answer = acs.watch
    async with acs, agent_of(lab, tmp_path / "cpe", acs) as agent:
        acs.agent = agent
        await acs.sessions(1)
        row = await row_of(acs, agent, "Device.IP.Interface.", "Name", "eth0")
        acs.armed = True
        ask(acs, setting(**{row.removeprefix("Device.").replace(".", "__") + "MaxMTUSize": "1400"}))
        await rings(agent)
        async with asyncio.timeout(20):
            await agent.gone()
        assert lab.json("link", "show", "eth0")[0]["mtu"] == 1400
        seen = len(acs.informs)
        await agent.start()
        await acs.until(lambda: len(acs.informs) > seen)
        assert lab.json("link", "show", "eth0")[0]["mtu"] == 1500
