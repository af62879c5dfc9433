"""A month of sessions on the virtual clock with the power cut at hundreds of random points: the books balance at the end."""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from cpe_support.bench import Bench
from cpe_support.month import Month
from homeport.errors import StoreError


@pytest.fixture
def memory_directory(tmp_path):
    """A directory in memory where the machine has one: thousands of real fsyncs are what the system tests are for."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as name:
        yield Path(name)


@pytest.mark.parametrize("seed", [1])
def test_a_month_with_150_power_cuts_loses_no_event_and_repeats_none(memory_directory, seed):
    """Every event code there is, vendors' too, and every request that a device owes; each cut right before or after the ACS answered."""

    async def play() -> None:
        bench = Bench(memory_directory)
        month = Month(bench, seed)
        await month.play()
        month.check()
        await bench.stop()
        assert bench.most_open_channels == 1

    try:
        asyncio.run(play())
    except StoreError as e:
        raise AssertionError(f"the state did not survive a cut: {e}") from e
