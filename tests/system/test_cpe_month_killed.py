"""The scripted month again, with an agent that is a process and cuts that are kill -9 at any instant of its work."""

import asyncio
import os

import pytest

from cpe_support.killed_bench import KilledBench
from cpe_support.month import Month

pytestmark = pytest.mark.system

KILLS = int(os.environ.get("HOMEPORT_TEST_CUTS", "18"))
"""CI kills 500 times; the month is the same, its days are shorter."""


@pytest.mark.case("S28")
def test_a_month_with_real_kills_loses_no_event_and_repeats_none(tmp_path):
    """Killed before it is answered, before the answer arrives, and at a random moment of the milliseconds in which it works on one."""

    async def play() -> None:
        with KilledBench(tmp_path, seed=7) as bench:
            month = Month(bench, seed=7, cuts=KILLS)
            await month.play()
            month.check(between_messages=True)
            await bench.stop()
            assert sum(bench.kills_by_way.values()) == KILLS
            assert set(bench.kills_by_way) == set(bench.ways_to_cut)
            assert bench.most_open_channels == 1

    asyncio.run(play())
