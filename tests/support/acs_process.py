"""An ACS whose end never comes, for tests of how its process ends all the same. Run by the nursery."""

import asyncio

from homeport.acs import process
from homeport.acs.app import AcsApp
from homeport.cli.main import run


def endless_stop(arguments: list[str], stop_within: float, again_after: float) -> object:
    """`homeport ARGUMENTS`, with limits of the test's."""

    async def stop(self: AcsApp) -> None:
        await asyncio.Event().wait()

    AcsApp.stop = stop  # type: ignore[method-assign]
    process.STOP_WITHIN, process.AGAIN_AFTER = stop_within, again_after  # type: ignore[misc]
    import sys

    sys.argv = ["homeport", *arguments]
    return run()
