"""A process that is nothing but a device's transfers, for tests that kill it: state directory, URL, command key, and whether to accept.

Prints `accepted`, then each report as it is owed (JSON), and `confirmed` when the line `ack` on standard input has been settled.
"""

import asyncio
import json
import sys
from pathlib import Path

import msgspec

from homeport.codec.messages import Download
from homeport.cpe.clock import SystemClock
from homeport.cpe.ledger import Ledger
from homeport.cpe.state import Store
from homeport.cpe.transfers.file_types import FileTypes, StoredFile
from homeport.cpe.transfers.service import TransferService


def say(line: str) -> None:
    """One line to whoever started this process."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(directory: Path, url: str, key: str, accept: bool) -> None:
    store = Store(directory / "state")
    ledger = Ledger(store)
    ledger.boot()
    types = FileTypes()
    types.on_download("X 00256D Splash", StoredFile(directory / "splash"))
    owed = asyncio.Event()
    service = TransferService(
        facts=store,
        outbox=ledger,
        clock=SystemClock(),
        directory=directory / "files",
        types=types,
        on_owed=owed.set,
        on_restart=lambda _: None,
    )
    await service.start()
    if accept and not service.queue.queued() and not ledger.owes_requests:
        service.handle(Download(key, "X 00256D Splash", url))
    if service.queue.queued():
        say("accepted")
        run = asyncio.ensure_future(service.run())
        while not ledger.owes_requests:
            waiting = asyncio.ensure_future(owed.wait())
            done, _ = await asyncio.wait({run, waiting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            assert waiting in done, (run, service.status(), asyncio.all_tasks())
        request = ledger.next_request()
        assert request is not None
        say(json.dumps(msgspec.to_builtins(request)))
        assert await asyncio.to_thread(sys.stdin.readline) == "ack\n"
        service.acknowledged(request)
        run.cancel()
    assert not service.queue.queued() and not ledger.owes_requests
    say("confirmed")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "accept"))
