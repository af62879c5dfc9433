"""An agent in this process with all its doors open, for tests over real sockets."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from homeport.codec.messages import ParameterValueStruct, SetParameterValues
from homeport.cpe.agent import Agent
from homeport.cpe.clock import SystemClock
from homeport.cpe.config import CpeSettings
from homeport.cpe.loop import NOTICE_EVERY
from homeport.cpe.parts.udp import UdpPart
from homeport.model.profile import ProfileDef
from homeport.model.schema import load_schema
from homeport.transport.udp_connection_request import Verdict

RING = ("ring", "bell")
"""What a connection request to the agent must give."""

SERVER = "Device.ManagementServer."


class UnsetClock(SystemClock):
    """The clock of a device that just came up and knows no time."""

    def now(self) -> float:
        return self.monotonic() % 1e6


@asynccontextmanager
async def open_agent(
    directory: Path,
    acs_url: str,
    *,
    profile: ProfileDef | None = None,
    clock: SystemClock | None = None,
    notice_every: float = NOTICE_EVERY,
    **settings: object,
) -> AsyncIterator[Agent]:
    """A running agent; afterwards it is stopped, and what it raised comes through."""
    wanted: dict[str, object] = {
        "state_dir": directory,
        "acs_url": acs_url,
        "connection_request_listen": "127.0.0.1",
        "connection_request_port": 0,
        "udp_connection_request_port": 0,
        "connection_request_username": RING[0],
        "connection_request_password": RING[1],
    }
    agent = Agent(CpeSettings(**(wanted | settings)), profile=profile, clock=clock, notice_every=notice_every)  # type: ignore[arg-type]
    task = asyncio.ensure_future(agent.run())
    try:
        yield agent
    finally:
        agent.stop()
        await task


async def until(condition: Callable[[], object], *, limit: float = 15.0) -> None:
    """Wait for what happens in the background."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.01)


def verdicts(agent: Agent) -> Counter[Verdict]:
    """How often UDP connection requests were taken, and dropped for which reason."""
    (part,) = (p for p in agent.parts._parts if isinstance(p, UdpPart))
    return part._listener.gate.counts


def setting(**values: tuple[str, str]) -> SetParameterValues:
    """SetParameterValues of ManagementServer parameters: name=(text, type)."""
    return SetParameterValues(
        tuple(ParameterValueStruct(SERVER + n, text, kind) for n, (text, kind) in values.items()), ""
    )


def standard_profile(
    version: str, *prefixes: str, instances: tuple[str, ...] = (), others: dict[str, str] | None = None, **values: str
) -> ProfileDef:
    """A device with the standard's own objects: DeviceInfo's identity, all of ManagementServer outside its tables, and these prefixes.

    version: such as Device:2.9. instances: rows that are there from the factory, below the root. values: of ManagementServer
    parameters, others: of any, below the root.
    """
    schema = load_schema(version)
    root = schema.root
    identity = ("Manufacturer", "ManufacturerOUI", "ProductClass", "SerialNumber", "HardwareVersion", "SoftwareVersion")
    info = f"{root}DeviceInfo."
    server = f"{root}ManagementServer."
    names = tuple(
        p.path
        for p in schema.parameters()
        if p.path in {info + n for n in (*identity, "ProvisioningCode", "SpecVersion")}
        or p.path in (root + "RootDataModelVersion", root + "DeviceSummary")
        or (p.path.startswith(server) and "{i}" not in p.path and "." not in p.path.removeprefix(server))
        or p.path.startswith(tuple(root + prefix for prefix in prefixes))
    )
    given = dict(zip(identity, ("Homeport", "00256D", "Box", "0001", "A", "1.0"), strict=True))
    return ProfileDef(
        version.replace(":", "-"),
        schema,
        names,
        instances=tuple(root + i for i in instances),
        values={info + n: v for n, v in given.items() if info + n in names}
        | {server + n: v for n, v in values.items()}
        | {root + n: v for n, v in (others or {}).items()},
    )
