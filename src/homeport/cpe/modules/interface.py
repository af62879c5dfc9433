"""What an execution environment must be able to do: the interface for plug-ins, and what a package says of itself.

    def environment(setup: Setup) -> Environment          what the setting module_environments names as `package.module:environment`

The service decides what is installed and what runs; an environment does it. It fails by raising `Fault` with one of the codes that a
DUStateChangeComplete may carry (9018 the package is no good, 9025 it is not for this environment, 9027 there is no room).
Source: TR-181 2.19 SoftwareModules; cwmp-1-2.xsd DeploymentUnitCPEFaultCodeType.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec


class Restarts(StrEnum):
    """What becomes of a unit that ended by itself."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one execution unit may use; 0 sets no limit.

    memory: bytes of address space. cpu_seconds: of all its life. files: open at once. processes: at once, beside those that its user
    has already. file_size: bytes of one file that it writes.
    """

    memory: int = 0
    cpu_seconds: int = 0
    files: int = 0
    processes: int = 0
    file_size: int = 0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 0:
                raise ValueError(f"the limit {name} is negative")


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Another deployment unit that must be installed in the same environment. version: at least that one, "" for any."""

    name: str
    vendor: str = ""
    version: str = ""


class UnitSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One execution unit as its package describes it.

    command: program and arguments, never run by a shell. ready_after: seconds that it must live to count as started. stop_after: seconds
    that it has to end by itself. auto_start, run_level, restart: the factory values of its row.
    """

    name: str
    command: tuple[str, ...]
    description: str = ""
    auto_start: bool = False
    run_level: int | None = None
    restart: Restarts = Restarts.NEVER
    ready_after: float = 0.2
    stop_after: float = 5.0
    environment: dict[str, str] = {}
    limits: Limits = Limits()


class PackageSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a package says of itself. uuid: "" where the device is to derive one. configuration: files below its data directory."""

    name: str
    vendor: str
    version: str
    uuid: str = ""
    description: str = ""
    requires: tuple[Requirement, ...] = ()
    configuration: tuple[str, ...] = ()
    units: tuple[UnitSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deployment unit lives in its environment: an id that is never used again, and which of its installed contents."""

    duid: str
    generation: int


@dataclass(frozen=True, slots=True)
class EnvironmentFacts:
    """name: unique on the device; letters, digits, dot, hyphen. type, vendor, version: for people. run_levels: whether it has them."""

    name: str
    type: str
    vendor: str
    version: str
    run_levels: bool = True


@dataclass(frozen=True, slots=True)
class Space:
    """Kibibytes; -1 where there is no limit or it does not apply."""

    allocated_disk: int = -1
    available_disk: int = -1
    allocated_memory: int = -1
    available_memory: int = -1


@dataclass(frozen=True, slots=True)
class Usage:
    """memory: kibibytes, -1 where it cannot be told. cpu: percent of one processor since the last look, 0 to 100."""

    memory: int = -1
    cpu: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How an execution unit ended by itself. failed: not as it should. why: a sentence, "" where there is nothing to say."""

    failed: bool
    why: str = ""


class Running(Protocol):
    """One execution unit that was started."""

    async def wait(self) -> Ended:
        """How it ended; may be awaited more than once."""
        ...

    async def stop(self, grace: float) -> None:
        """End it, with everything that it started. grace: seconds before it is ended by force. Raises Fault where it cannot be ended."""
        ...

    def usage(self) -> Usage:
        """What it uses now; must be quick."""
        ...


class Environment(Protocol):
    """Where deployment units live. Methods that are not async may take long and are called in a thread, one at a time."""

    @property
    def facts(self) -> EnvironmentFacts: ...

    def open(self, keep: Mapping[str, Set[int]]) -> None:
        """Before the first use: end what still runs from before a crash, and remove every content that is not kept.

        keep: generations by duid. Raises OSError where the environment cannot work.
        """
        ...

    def inspect(self, package: Path) -> PackageSpec:
        """What the package is, without installing it. Raises Fault 9018, 9025."""
        ...

    def install(self, package: Path, spec: PackageSpec, place: Place) -> None:
        """Put its content at a new place, on the disk when this returns; may be repeated after a crash. Raises Fault, OSError."""
        ...

    def remove(self, place: Place) -> None:
        """Remove one content; one that is not there is no error."""
        ...

    def purge(self, duid: str) -> None:
        """Remove everything of a deployment unit: contents, data, logs."""
        ...

    async def start(self, place: Place, spec: PackageSpec, unit: UnitSpec) -> Running:
        """Start one execution unit. Raises Fault with a sentence where it cannot be started."""
        ...

    def logs(self, duid: str, unit: str) -> tuple[Path, ...]:
        """The files with what the unit printed, oldest first; () where the environment keeps none."""
        ...

    def configuration(self, duid: str, name: str) -> Path | None:
        """A file with the content of a configuration file, which no unit can change or exchange any more; None where there is none."""
        ...

    def disk(self, duid: str) -> int:
        """Kibibytes that a deployment unit takes, -1 where it cannot be told; must be quick."""
        ...

    def space(self) -> Space:
        """What it has in all and what is left; must be quick."""
        ...


@dataclass(frozen=True, slots=True)
class Setup:
    """What a plug-in is given. directory: its own, it may not exist yet. user: as whom units run, "" for the agent's own.

    max_size, disk, memory, log_size: the settings' bytes, 0 for no limit.
    """

    directory: Path
    max_size: int = 64 << 20
    disk: int = 0
    memory: int = 0
    log_size: int = 256 << 10
    user: str = ""
