"""A second execution environment, as a device maker's plug-in would be: its packages are JSON files, its units are made of air.

A test says with `Box.orders` how the units of a name behave: `fail` to start, `end` by themselves (with a status), or not to `stop`.
"""

import asyncio
import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import msgspec

from homeport.cpe.modules.interface import (
    Ended,
    EnvironmentFacts,
    PackageSpec,
    Place,
    Setup,
    Space,
    UnitSpec,
    Usage,
)
from homeport.errors import Fault
from homeport.terms import FaultCode


def package(name: str = "app", version: str = "1.0", **fields: Any) -> bytes:
    """A package for boxes; fields are those of PackageSpec."""
    fields.setdefault("vendor", "Maker")
    fields.setdefault("units", [{"name": "main", "command": ["main"]}])
    return json.dumps({"box": {"name": name, "version": version, **fields}}).encode()


class Air:
    """A running unit."""

    def __init__(self, box: "Box", name: str) -> None:
        self._box, self.name = box, name
        self._end: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def end(self, *, failed: bool, why: str = "") -> None:
        """It ends by itself."""
        if not self._end.done():
            self._end.set_result(Ended(failed, why))
        self._box.living = [air for air in self._box.living if air is not self]

    async def wait(self) -> Ended:
        return await asyncio.shield(self._end)

    async def stop(self, grace: float) -> None:
        self._box.graces.append(grace)
        if self.name in self._box.immortal:
            raise Fault(FaultCode.REQUEST_DENIED, "it clings to life")
        for _ in range(5):
            await asyncio.sleep(0)  # ending takes a while, though no time
        self.end(failed=False)

    def usage(self) -> Usage:
        return Usage(memory=100, cpu=7)


class Box:
    """Fulfils Environment. contents: place -> version. fail: units that cannot be started. immortal: units that do not end."""

    def __init__(self, setup: Setup | None = None, *, name: str = "box", run_levels: bool = True) -> None:
        self._facts = EnvironmentFacts(name, "boxes of air", "Tests", "1", run_levels)
        self.contents: dict[Place, str] = {}
        self.kept: dict[str, set[int]] = {}
        self.living: list[Air] = []
        self.started: list[str] = []
        self.graces: list[float] = []
        self.fail: dict[str, str] = {}
        self.at_once: dict[str, Ended] = {}
        self.immortal: set[str] = set()
        self.full = False

    @property
    def facts(self) -> EnvironmentFacts:
        return self._facts

    def open(self, keep: Mapping[str, Set[int]]) -> None:
        self.kept = {duid: set(generations) for duid, generations in keep.items()}
        self.contents = {p: v for p, v in self.contents.items() if p.generation in keep.get(p.duid, ())}
        self.living = []

    def inspect(self, package: Path) -> PackageSpec:
        try:
            described = json.loads(package.read_bytes())["box"]
        except (ValueError, KeyError, TypeError) as e:
            raise Fault(FaultCode.DEPLOYMENT_UNIT_MISMATCH, "it is no box") from e
        return msgspec.convert(described, PackageSpec)

    def install(self, package: Path, spec: PackageSpec, place: Place) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.contents[place] = spec.version

    def remove(self, place: Place) -> None:
        self.contents.pop(place, None)

    def purge(self, duid: str) -> None:
        self.contents = {p: v for p, v in self.contents.items() if p.duid != duid}

    async def start(self, place: Place, spec: PackageSpec, unit: UnitSpec) -> Air:
        if unit.name in self.fail:
            raise Fault(FaultCode.REQUEST_DENIED, self.fail[unit.name])
        air = Air(self, unit.name)
        self.started.append(unit.name)
        self.living.append(air)
        if unit.name in self.at_once:
            ended = self.at_once[unit.name]
            air.end(failed=ended.failed, why=ended.why)
        return air

    def logs(self, duid: str, unit: str) -> tuple[Path, ...]:
        return ()

    def configuration(self, duid: str, name: str) -> Path | None:
        return None

    def disk(self, duid: str) -> int:
        return 3

    def space(self) -> Space:
        return Space(1000, 900, -1, 50)


def environment(setup: Setup) -> Box:
    """What the setting module_environments names."""
    return Box(setup)
