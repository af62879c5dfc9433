"""How connections are taken under uvloop, which the ACS runs on: where it is busy, a burst is not taken one by one."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.endpoint.connection import LOOK_EVERY
from homeport.acs.endpoint.server import ACCEPTED_AT_ONCE, FEW_WAIT, MANY_WAIT, STEP, CwmpServer
from support.acs_wire import acs

uvloop = pytest.importorskip("uvloop", reason="uvloop does not exist for this platform")
pytestmark = pytest.mark.system


async def turns_for(server: CwmpServer, devices: contextlib.ExitStack, port: int, count: int) -> int:
    """Turns of the loop until so many devices that come at once are connected."""
    before = server.accepted
    for _ in range(count):
        devices.enter_context(socket.create_connection(("127.0.0.1", port)))  # the kernel answers
    turns = 0
    while server.accepted - before < count:
        await asyncio.sleep(0)
        turns += 1
        assert turns <= 10 * count
    return turns


def run(scene: Coroutine[Any, Any, None]) -> None:
    """Play a scene on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene)


def test_a_burst_of_connections_is_taken_in_few_turns(tmp_path: Path) -> None:
    """Sixty devices that come in one moment are connected after a few turns of a busy loop, and stopping leaves the port free."""

    async def scene() -> None:
        with contextlib.ExitStack() as devices:
            async with acs(tmp_path) as bed:
                [server] = bed.app._cwmp
                port = int(bed.app.cwmp_url.rstrip("/").rpartition(":")[2])
                assert await turns_for(server, devices, port, 20) >= 20
                await server.accept_more(ACCEPTED_AT_ONCE)
                assert await turns_for(server, devices, port, 60) <= 12
                server.accept_fewer(1)
                assert await turns_for(server, devices, port, 20) >= 20
                await server.accept_more(ACCEPTED_AT_ONCE)
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(("127.0.0.1", port))

    run(scene())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells how many connections wait")
def test_where_many_wait_many_are_taken_until_few_do(tmp_path: Path) -> None:
    """Looked at every so many connections: one crowd is enough to begin; it ends by steps when few wait, or when nobody comes."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            [server] = bed.app._cwmp
            port = int(bed.app.cwmp_url.rstrip("/").rpartition(":")[2])

            async def come(count: int, *, at_once: bool) -> None:
                with contextlib.ExitStack() as devices:
                    for _ in range(1 if at_once else count):
                        await turns_for(server, devices, port, count if at_once else 1)

            await come(LOOK_EVERY, at_once=False)
            assert not server._others
            await come(2 * LOOK_EVERY, at_once=True)
            assert len(server._others) == ACCEPTED_AT_ONCE - 1
            await come(LOOK_EVERY, at_once=False)
            assert len(server._others) == ACCEPTED_AT_ONCE - 1
            server._wait = FEW_WAIT * ACCEPTED_AT_ONCE
            await come(LOOK_EVERY, at_once=False)
            assert len(server._others) == ACCEPTED_AT_ONCE // STEP - 1
            await come(9 * LOOK_EVERY, at_once=False)
            assert not server._others
            server._wait = MANY_WAIT + 3
            server.look()  # and nobody waits in this moment
            await asyncio.gather(*server._answers)
            assert len(server._others) == STEP - 1
            await server.accept_more(ACCEPTED_AT_ONCE)
            server._timer.cancel()
            server._sweep()  # many have come since the last one
            assert server._others
            server._timer.cancel()
            server._sweep()
            assert not server._others

    run(scene())
