"""kill -9 at random points under load: a process on SQLite, and one of two nodes on PostgreSQL behind HAProxy.

`HOMEPORT_TEST_KILLS=300` is the full run, with 200 agents and 2,000 tasks; by default a few kills with a small load.
"""

import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path

import pytest

from support.ends import Acs
from support.haproxy import Haproxy, needs_haproxy
from support.kill_runs import OPTIONS, Operator, play
from support.postgres import needs_postgres, shared_server

pytestmark = pytest.mark.system

SEED = int(os.environ.get("HOMEPORT_TEST_SEED", "20261121"))


def progress(text: str) -> None:
    """For the one who waits for the full run."""
    print(text, file=sys.__stderr__, flush=True)


def token_of(acs: Acs) -> str:
    return (acs.data / "admin.token").read_text().strip()


async def kill_and_start(acs: Acs, chance: random.Random) -> None:
    """Now; and sometimes once more while it starts."""
    acs.kill()
    if chance.random() < 0.15:
        acs.launch()
        await asyncio.sleep(chance.uniform(0.0, 1.5))
        acs.kill()
    await asyncio.to_thread(acs.start, 120.0)  # a full run must not fail on a machine that is busy for a moment


def test_kill_9_of_an_acs_on_sqlite_at_random_points_loses_no_task_and_reports_none_twice(tmp_path: Path) -> None:
    """Tasks are all done, non-repeatable ones once at the device, and each end and each event is told once."""
    acs = Acs(tmp_path / "acs", *OPTIONS)
    try:
        acs.start()
        token = token_of(acs)
        operator = Operator(lambda: acs.http_url, lambda: token)
        asyncio.run(play(lambda: acs.cwmp_url, operator, lambda chance: kill_and_start(acs, chance), SEED, progress))
    finally:
        acs.kill()
    assert "Traceback" not in acs.log.read_text(errors="replace")


@needs_postgres
@needs_haproxy
@pytest.mark.postgres
def test_kill_9_of_one_of_two_nodes_behind_haproxy_loses_no_task_and_reports_none_twice(tmp_path: Path) -> None:
    """The devices of the killed node go on at the other one, through the load balancer of the examples."""
    options = (*OPTIONS, "--database", shared_server().new_database(), "--trusted-proxies", "127.0.0.1")
    nodes = [Acs(tmp_path / name, *options) for name in ("one", "two")]
    with contextlib.ExitStack() as ends:
        for node in nodes:
            ends.callback(node.kill)
            node.start()
        token = token_of(nodes[0])
        front = ends.enter_context(Haproxy(tmp_path / "haproxy", nodes))
        operator = Operator(lambda: front.rest_url, lambda: token)

        async def kill(chance: random.Random) -> None:
            await kill_and_start(chance.choice(nodes), chance)

        asyncio.run(play(lambda: front.cwmp_url, operator, kill, SEED, progress))
    for node in nodes:
        assert "Traceback" not in node.log.read_text(errors="replace")
