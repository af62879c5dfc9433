"""A device's transfers on a bench: real state on disk, virtual time, and a network that answers as told."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.codec.messages import Download, EventStruct, Request, ScheduleDownload, TimeWindowStruct
from homeport.cpe.ledger import Ledger
from homeport.cpe.state import Store
from homeport.cpe.transfers.file_types import FileTypes, Restart
from homeport.cpe.transfers.queue import TRANSFER
from homeport.cpe.transfers.records import State, Transfer
from homeport.cpe.transfers.repeats import Repeats
from homeport.cpe.transfers.rules import TransferRules
from homeport.cpe.transfers.service import TransferService
from homeport.transport.files import Fetched, FileTransferError, Sent, Trouble

START = 1_800_000_000.0
SPLASH = "X 00256D Splash"
ONCE = TransferRules(repeats=Repeats(most=0))
"""A device that takes the first trouble for the end."""


class VirtualClock:
    """Stands still until a test moves it; with `creep` every reading is a little later than the one before, as on a real clock."""

    creep = 0.0

    def __init__(self) -> None:
        self.time = 1000.0
        self.offset = START - 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time + self.offset

    def monotonic(self) -> float:
        self.time += self.creep
        return self.time

    async def sleep_until(self, deadline: float) -> None:
        if deadline > self.time:
            future = asyncio.get_running_loop().create_future()
            self._sleepers.append((deadline, future))
            await future

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for deadline, future in self._sleepers:
            if deadline <= self.time and not future.done():
                future.set_result(None)
        self._sleepers = [(d, f) for d, f in self._sleepers if d > self.time and not f.done()]


class Network:
    """URL -> content, or the error that comes instead; `gate` holds every transfer until it is set."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.content: dict[str, bytes | FileTransferError] = {}
        self.asked: list[tuple[str, float]] = []
        self.limits: list[Any] = []
        self.taken: dict[str, bytes] = {}
        self.gate: asyncio.Event | None = None

    async def fetch(self, url: str, destination: Path, **options: Any) -> Fetched:
        self.asked.append((url, self.clock.time))
        self.limits.append(options["limits"])
        if self.gate is not None:
            await self.gate.wait()
        found = self.content.get(url, FileTransferError(Trouble.UNREACHABLE, f"no way to {url}"))
        if isinstance(found, FileTransferError):
            raise found
        destination.write_bytes(found)
        options["progress"](len(found), len(found))
        return Fetched(destination, len(found), hashlib.sha256(found).hexdigest(), url)

    async def put(self, url: str, source: Path, **options: Any) -> Sent:
        self.asked.append((url, self.clock.time))
        if self.gate is not None:
            await self.gate.wait()
        found = self.content.get(url)
        if isinstance(found, FileTransferError):
            raise found
        self.taken[url] = source.read_bytes()
        return Sent(len(self.taken[url]), url)


class Applied:
    """An installer that remembers what it applied."""

    def __init__(self, restart: Restart = Restart.NO, *, disturbs: bool = False) -> None:
        self.restart, self.disturbs, self.web_pages = restart, disturbs, False
        self.content: list[bytes] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def apply(self, file: Path, transfer: Transfer) -> Restart:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.content.append(file.read_bytes())
        return self.restart


class Text:
    """An exporter of one text under row 1."""

    def __init__(self, text: str) -> None:
        self.text = text

    def has(self, instance: int | None) -> bool:
        return instance in (None, 1)

    async def write(self, file: Path, transfer: Transfer) -> None:
        file.write_text(self.text)


class Bench:
    """One device. `on()` starts it, `off()` is a power cut, both as often as wanted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = VirtualClock()
        self.network = Network(self.clock)
        self.installer: Any = Applied()
        self.options: dict[str, Any] = {}
        self.ledger_class: Callable[[Store], Ledger] = Ledger
        self.add_types: Callable[[FileTypes, Store, Ledger], None] = self._types
        self.owed = 0
        self.restarts: list[str] = []
        self.service: TransferService
        self.store: Store
        self._run: asyncio.Task[None] | None = None

    def _types(self, types: FileTypes, store: Store, ledger: Ledger) -> None:
        types.on_download("1 Firmware Upgrade Image", self.installer)
        types.on_download("X 00256D Splash", self.installer)
        types.on_upload("3 Vendor Configuration File", Text("configuration"))
        types.on_upload("4 Vendor Log File", Text("log"))

    async def on(self, *, run: bool = True) -> TransferService:
        self.store = Store(self.directory / "state")
        self.ledger = self.ledger_class(self.store)
        self.ledger.boot()
        types = FileTypes()
        self.add_types(types, self.store, self.ledger)
        self.service = TransferService(
            facts=self.store,
            outbox=self.ledger,
            clock=self.clock,
            directory=self.directory / "files",
            types=types,
            on_owed=self._note_owed,
            on_restart=self.restarts.append,
            fetch=self.network.fetch,
            put=self.network.put,
            **self.options,
        )
        await self.service.start()
        if run:
            self._run = asyncio.get_running_loop().create_task(self.service.run())
        return self.service

    def _note_owed(self) -> None:
        self.owed += 1

    async def off(self) -> None:
        if self._run is not None:
            self._run.cancel()
            await asyncio.gather(self._run, return_exceptions=True)
            self._run = None
        self.store.close()

    async def again(self, seconds: float = 0.0) -> TransferService:
        """A power cut that lasts so long."""
        await self.off()
        self.clock.advance(seconds)
        return await self.on()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Let the device work until the condition holds; virtual time stands still."""
        for _ in range(4000):
            if condition():
                return
            await asyncio.sleep(0.0005)
        raise AssertionError(f"never: {[(t.command_key, t.state, t.fault_string) for t in self.service.queue]}")

    async def quiet(self) -> None:
        """Let the device work until it has nothing more to do now."""
        for _ in range(12):
            await asyncio.sleep(0.0005)

    @property
    def reports(self) -> list[Any]:
        return [r for r in self.service.owed_results()]

    @property
    def events(self) -> list[EventStruct]:
        return [e for e in self.ledger.events if e.event_code not in ("0 BOOTSTRAP", "1 BOOT")]

    def state_of(self, key: str) -> State:
        return self.service.queue.with_key(key)[0].state

    def on_disk(self) -> list[str]:
        return [k for k, _ in self.store.items(TRANSFER)]

    def acknowledge(self) -> Request:
        """The ACS confirms the oldest owed report, in a session."""
        request = self.ledger.next_request()
        if request is None:
            self.ledger.take_events()
            request = self.ledger.next_request()
        assert request is not None
        self.service.acknowledged(request)
        return request


def download(key: str = "k", **fields: Any) -> Download:
    """A Download of a splash screen."""
    fields.setdefault("file_type", SPLASH)
    fields.setdefault("url", "http://files/a")
    return Download(command_key=key, **fields)


def schedule(*windows: tuple[int, int, str, int], key: str = "s") -> ScheduleDownload:
    """A ScheduleDownload of one, with windows (start, end, mode, retries)."""
    listed = tuple(TimeWindowStruct(s, e, mode, "please", n) for s, e, mode, n in windows)
    return ScheduleDownload(key, SPLASH, "http://files/a", time_window_list=listed)


Live = Callable[[Callable[[Bench], Awaitable[None]]], None]
"""What the fixture `live` is."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path)


@pytest.fixture
def live(bench: Bench) -> Live:
    """Runs a scene with the bench and ends it cleanly."""

    def run(scene: Callable[[Bench], Awaitable[None]]) -> None:
        async def main() -> None:
            try:
                await scene(bench)
            finally:
                if hasattr(bench, "store"):
                    await bench.off()

        asyncio.run(main())

    return run
