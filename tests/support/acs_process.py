"""ACS processes with limits of the test's, and one whose end never comes. Run by the nursery."""

import asyncio
import sys
from pathlib import Path

from homeport.acs import process, pulse, workers
from homeport.acs.app import AcsApp
from homeport.cli.main import run
from support.ends import Acs
from support.nursery import shared_nursery


def endless_stop(arguments: list[str], stop_within: float, again_after: float) -> object:
    """`homeport ARGUMENTS`, whose services never end."""

    async def stop(self: AcsApp) -> None:
        await asyncio.Event().wait()

    AcsApp.stop = stop  # type: ignore[method-assign]
    process.STOP_WITHIN, process.AGAIN_AFTER = stop_within, again_after  # type: ignore[misc]
    sys.argv = ["homeport", *arguments]
    return run()


def impatient(arguments: list[str], hung_after: float) -> object:
    """`homeport ARGUMENTS`, whose workers hang when they are silent for so many seconds."""
    pulse.HUNG_AFTER, pulse.LOOK_CLOSER, process.BEAT_EVERY = hung_after, hung_after / 2, hung_after / 20  # type: ignore[misc]
    workers.HUNG_ENDS_WITHIN = 0.2  # type: ignore[misc]
    sys.argv = ["homeport", *arguments]
    return run()


class Changed(Acs):
    """An ACS that one of the functions above runs. limits: what it takes beside the arguments."""

    def __init__(self, folder: Path, target: str, limits: tuple[float, ...], *options: str) -> None:
        super().__init__(folder, *options)
        self._target = f"support.acs_process:{target}"
        self._limits = limits

    def run(self, *arguments: str, before: object = ()) -> None:
        self.process = shared_nursery().start(list(arguments), *self._limits, target=self._target, log=self.log)
