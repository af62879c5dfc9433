"""A device's software modules on a bench: real state on disk, a real data model, virtual time, and a network that answers as told."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cpe_support.open_agent import standard_profile
from cpe_support.virtual_clock import VirtualClock
from homeport.codec.messages import ChangeDUState, DUStateChangeComplete, InstallOpStruct, Request
from homeport.cpe.ledger import Ledger
from homeport.cpe.model_store import ModelStore
from homeport.cpe.modules.service import ModuleService
from homeport.cpe.state import Store
from homeport.errors import Fault
from homeport.model.profile import ProfileDef
from homeport.model.tree import DataModel
from homeport.terms import Writer
from homeport.transport.files import Fetched, FileTransferError, Trouble
from support.box_environment import Box

ROOT = "Device.SoftwareModules."


@cache
def profile(model: str) -> ProfileDef:
    """A device with everything that a model has for software modules."""
    return standard_profile(
        model,
        "SoftwareModules.ExecEnv",
        "SoftwareModules.Deploy",
        "SoftwareModules.Execution",
        "DeviceInfo.VendorLogFile",
        "DeviceInfo.VendorConfigFile",
        "ManagementServer.DUStateChangeComplPolicy.",
    )


class Network:
    """URL -> package, or the error that comes instead; `gate` holds every fetch until it is set."""

    def __init__(self) -> None:
        self.content: dict[str, bytes | FileTransferError] = {}
        self.asked: list[tuple[str, str]] = []
        self.gate: asyncio.Event | None = None

    async def fetch(self, url: str, destination: Path, **options: Any) -> Fetched:
        self.asked.append((url, options["credentials"].username))
        if self.gate is not None:
            await self.gate.wait()
        found = self.content.get(url, FileTransferError(Trouble.UNREACHABLE, f"no way to {url}"))
        if isinstance(found, FileTransferError):
            raise found
        destination.write_bytes(found)
        return Fetched(destination, len(found), hashlib.sha256(found).hexdigest(), url)


class Bench:
    """One device. `on()` starts it, `off()` is a power cut, both as often as wanted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = VirtualClock()
        self.network = Network()
        self.environments: list[Any] = [Box()]
        self.options: dict[str, Any] = {}
        self.profile = profile("Device:2.19")
        self.owed = 0
        self.service: ModuleService
        self._run: asyncio.Task[None] | None = None

    @property
    def box(self) -> Box:
        found: Box = self.environments[0]
        return found

    def use(self, model: str) -> str:
        """Have another data model from the next start on; its root."""
        self.profile = profile(model)
        return self.profile.schema.root

    async def on(self) -> ModuleService:
        self.store = Store(self.directory / "state")
        self.ledger = Ledger(self.store)
        self.ledger.boot()
        keeper = ModelStore(self.store, self.ledger, f"{self.profile.schema.root}ManagementServer.URL")
        self.model = DataModel(self.profile, persist=keeper.persist)
        assert keeper.restore(self.model) == []
        self.service = ModuleService(
            facts=self.store,
            outbox=self.ledger,
            model=self.model,
            clock=self.clock,
            directory=self.directory / "packages",
            environments=self.environments,
            on_owed=self._note_owed,
            fetch=self.network.fetch,
            owes=lambda key: self.ledger.owes("DUStateChangeComplete", key),
            **self.options,
        )
        await self.service.start()
        self._run = asyncio.ensure_future(self.service.run())
        await asyncio.sleep(0)
        return self.service

    def _note_owed(self) -> None:
        self.owed += 1

    async def off(self) -> None:
        """A power cut: nothing tidies up."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.gather(self._run, return_exceptions=True)
            self._run = None
        for unit in self.service.estate.running.values():
            if unit._task is not None:
                unit._task.cancel()
                await asyncio.gather(unit._task, return_exceptions=True)
        self.store.close()

    async def again(self) -> ModuleService:
        await self.off()
        return await self.on()

    async def until(self, condition: Callable[[], Any], what: str = "it") -> None:
        """Let the device work until the condition holds; virtual time stands still."""
        for _ in range(4000):
            if condition():
                return
            await asyncio.sleep(0.0005)
        raise AssertionError(f"{what} never happened: {self.tables()}")

    async def idle(self) -> None:
        """Let the device work until nothing is asked of it any more."""
        await self.until(lambda: not self.service.shelf.requests and not self.service.estate._due, "the end")
        await asyncio.sleep(0.002)
        await self.until(lambda: not self.service.shelf.requests and not self.service.estate._due, "the end")

    # --- asking ---------------------------------------------------------------------------------------------------------------------

    async def change(self, *operations: Any, key: str = "k") -> list[Any]:
        """What the ACS is told of a ChangeDUState with these operations; it confirms at once."""
        self.service.handle(ChangeDUState(operations, key))
        await self.until(lambda: self.ledger.owes_requests, "the report")
        request = self.acknowledge()
        assert isinstance(request, DUStateChangeComplete) and request.command_key == key
        await self.idle()
        return list(request.results)

    async def install(self, content: bytes, url: str = "http://files/a", **fields: Any) -> Any:
        """The result of one Install."""
        self.network.content[url] = content
        (result,) = await self.change(InstallOpStruct(url, **fields))
        return result

    def acknowledge(self) -> Request:
        """The ACS confirms the oldest report."""
        self.ledger.take_events()
        request = self.ledger.next_request()
        assert request is not None
        self.ledger.answered(request)
        return request

    def set(self, path: str, text: str, writer: Writer = Writer.ACS) -> None:
        with self.model.transaction(writer) as change:
            change.set(ROOT + path, text)
            change.commit()

    def refused(self, path: str, text: str) -> int:
        """The code with which the ACS's value is refused."""
        try:
            self.set(path, text)
        except Fault as e:
            return int(e.parameters[0].code)
        return 0

    def value(self, path: str) -> str:
        return self.model.value(ROOT + path)

    def tables(self) -> dict[str, str]:
        """DeploymentUnit and ExecutionUnit rows by path: their status and fault."""
        return {
            v.name.removeprefix(ROOT): v.value
            for v in self.model.get(ROOT)
            if v.name.endswith((".Status", "FaultCode")) and "ExecEnv." not in v.name
        }

    @property
    def events(self) -> list[str]:
        return [e.event_code for e in self.ledger.events if e.event_code not in ("0 BOOTSTRAP", "1 BOOT")]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def live(bench: Bench) -> Iterator[Callable[[Callable[[Bench], Awaitable[None]]], None]]:
    """Runs a scene with the bench switched on."""

    def run(scene: Callable[[Bench], Awaitable[None]]) -> None:
        async def main() -> None:
            await bench.on()
            try:
                await scene(bench)
            finally:
                await bench.off()

        asyncio.run(main())

    yield run
