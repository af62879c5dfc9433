"""Both real programs killed and started again in the middle of everything: what the ACS says is what the device did.

`HOMEPORT_TEST_KILLS=300` is the full run; by default a few kills. A walk that fails names its seed: HOMEPORT_TEST_SEED repeats it as the
first one (the wishes and the kinds of kills are the same; the instants depend on the machine).
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.acs_workers import workers
from support.ends import Acs
from support.kill_runs import KILLS, Operator
from support.pair_runs import ACS_OPTIONS, Pair, play
from support.postgres import needs_postgres, shared_server

pytestmark = pytest.mark.system

SEED = int(os.environ.get("HOMEPORT_TEST_SEED", "20261121"))
POINTS = min(KILLS, 10)
"""Kills in the life of one device."""


def run(acs: Acs, folder: Path, kill: Callable[[], None], restart: Callable[[], None]) -> None:
    """The walks, each with a device of its own."""
    token = (acs.data / "admin.token").read_text().strip()
    operator = Operator(lambda: acs.http_url, lambda: token)

    def make(number: int) -> Pair:
        seed = SEED + number
        return Pair(folder, f"P{seed}", operator, cwmp=acs.cwmp_url, kill=kill, restart=restart, seed=seed)

    asyncio.run(play(-(-KILLS // POINTS), POINTS, SEED, make, operator, progress))
    assert "Traceback" not in acs.log.read_text(errors="replace")


def test_what_the_acs_says_is_what_the_device_did_whoever_was_killed(tmp_path: Path) -> None:
    """Every task has a true end, nothing that may not be repeated was done twice, no event is lost or kept twice."""
    acs = Acs(tmp_path / "acs", *ACS_OPTIONS)

    def restart() -> None:
        if acs.process is None:
            acs.start(60.0)

    try:
        run(acs.start(), tmp_path, acs.kill, restart)
    finally:
        acs.kill()


@needs_postgres
@pytest.mark.postgres
@pytest.mark.skipif(KILLS <= 10, reason="a long one: HOMEPORT_TEST_KILLS=100")
def test_the_same_where_one_of_two_workers_on_postgresql_is_killed(tmp_path: Path) -> None:
    """The other one goes on with what the killed one had, and sometimes both and their parent go at once."""
    chance = random.Random(SEED)
    options = ("--workers", "2", "--database", shared_server().new_database())
    acs = Acs(tmp_path / "acs", *ACS_OPTIONS, *options)

    def kill() -> None:
        if chance.random() < 0.2:
            acs.kill()
            return
        with contextlib.suppress(
            ProcessLookupError
        ):  # it was killed a moment ago, and its successor is not told of yet
            os.kill(chance.choice(workers(acs)), signal.SIGKILL)

    def restart() -> None:
        if acs.process is None:
            acs.start(60.0)

    try:
        run(acs.start(), tmp_path, kill, restart)
    finally:
        acs.kill()


def progress(text: str) -> None:
    """For the one who waits for the full run."""
    print(text, file=sys.__stderr__, flush=True)
