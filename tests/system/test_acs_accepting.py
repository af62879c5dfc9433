"""How fast connections are taken under uvloop, which the ACS runs on: a burst is not taken one by one."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from support.acs_wire import acs

uvloop = pytest.importorskip("uvloop", reason="uvloop does not exist for this platform")
pytestmark = pytest.mark.system


def test_a_burst_of_connections_is_taken_in_few_turns(tmp_path: Path) -> None:
    """Sixty devices that come in one moment are connected after a few turns of the loop, and stopping leaves the port free."""

    async def scene() -> None:
        with contextlib.ExitStack() as devices:
            async with acs(tmp_path) as bed:
                [server] = bed.app._cwmp
                port = int(bed.app.cwmp_url.rstrip("/").rpartition(":")[2])
                before = len(server.connections)
                for _ in range(60):
                    devices.enter_context(socket.create_connection(("127.0.0.1", port)))  # the kernel answers
                turns = 0
                while len(server.connections) - before < 60:
                    await asyncio.sleep(0)
                    turns += 1
                    assert turns <= 12
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(("127.0.0.1", port))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())
