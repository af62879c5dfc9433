"""Several processes that keep files in one directory."""

import asyncio
import threading
from pathlib import Path

from homeport.acs.config import AcsSettings
from homeport.acs.records import FileRecord
from homeport.acs.services.files import Files
from homeport.acs.services.hub import Hub
from homeport.acs.storage.blobs import Blobs
from homeport.acs.storage.memory import MemoryStore


class Late(Blobs):
    """Contents of a process that stands still for a moment before it gives one up."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.about_to = threading.Event()
        self.go_on = threading.Event()

    def remove(self, sha256: str) -> None:
        self.about_to.set()
        self.go_on.wait(0.2)
        super().remove(sha256)


async def added(files: Files, name: str) -> FileRecord:
    async with await files.receive(1_000) as incoming:
        await incoming.write(b"firmware")
        return await files.add(incoming, FileRecord(name=name, size=0, sha256=""))


def test_a_content_that_one_process_gives_up_and_another_adds_is_there(tmp_path: Path) -> None:
    """The same firmware is deleted under one name and stored under another in the same moment."""

    async def scene() -> None:
        store, late = MemoryStore(), Late(tmp_path)
        hub = Hub(store, AcsSettings())
        one, two = (Files(hub, blobs, b"key", lambda address: "http://acs") for blobs in (late, Blobs(tmp_path)))
        await one.open()
        await added(one, "old.bin")
        deleting = asyncio.create_task(one.delete("old.bin"))
        await asyncio.to_thread(late.about_to.wait)
        adding = asyncio.create_task(added(two, "new.bin"))
        adding.add_done_callback(lambda _: late.go_on.set())
        await asyncio.gather(deleting, adding)
        assert two.blobs.path(adding.result().sha256).read_bytes() == b"firmware"
        for files in (one, two):
            files.close()

    asyncio.run(scene())


def test_who_goes_away_while_he_waits_for_another_process_holds_nobody_up(tmp_path: Path) -> None:
    """An upload whose sender hangs up: the next one is taken as soon as the other process is done."""

    async def scene() -> None:
        blobs = Blobs(tmp_path)
        files = Files(Hub(MemoryStore(), AcsSettings()), blobs, b"key", lambda address: "http://acs")
        await files.open()
        with blobs.alone():
            gone = asyncio.create_task(added(files, "a.bin"))
            while not files._writing.locked():
                await asyncio.sleep(0)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        async with asyncio.timeout(5):
            await added(files, "b.bin")
        assert (await files.get("b.bin")).size == len(b"firmware")
        files.close()

    asyncio.run(scene())
