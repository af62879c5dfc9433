"""Several ACS nodes on one PostgreSQL in the test's process, a device that hops between them, and a node's event stream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from support.acs_wire import Bed, Connection, Device, acs


@contextlib.asynccontextmanager
async def nodes(directory: Path, url: str, count: int = 2, **settings: Any) -> AsyncIterator[list[Bed]]:
    """So many ACS nodes on one database, which hear each other."""
    async with contextlib.AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(acs(directory / f"n{n}", database=url, **settings)) for n in range(count)
        ]
        for bed in made:
            while not bed.app.store.channel.listening:  # type: ignore[union-attr]
                await asyncio.sleep(0)
        yield made


class Hopping(Device):
    """A device each of whose messages goes to another node, as over a load balancer that knows nothing of sessions."""

    beds: list[Bed]

    async def post(self, *args: Any, **more: Any) -> Any:
        self.beds.append(self.beds.pop(0))
        await self.connection.close()
        self.connection = await Connection.to(self.beds[0].app.cwmp_url)
        return await super().post(*args, **more)


async def a_hopping_device(beds: list[Bed], serial: str = "S1") -> Hopping:
    device = Hopping(await Connection.to(beds[0].app.cwmp_url), serial)
    device.beds = list(beds)
    return device


async def stream(bed: Bed) -> asyncio.StreamReader:
    """The event stream of a node, from its first line on."""
    connection = await Connection.to(bed.app.http_url)
    bed.devices.append(Device(connection))
    head = f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bed.token}\r\n\r\n"
    connection.writer.write(head.encode())
    await connection.reader.readuntil(b": listening")
    return connection.reader
