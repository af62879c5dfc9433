"""What the device remembers of software modules: deployment units, requests to change them, and the words of the standard.

Pure. dateTimes are the wire's text. The numbers of rows are those of the data model's tables.
Source: TR-181 2.19 SoftwareModules; cwmp-1-2.xsd OpResultStruct, AutonOpResultStruct.
"""

from enum import StrEnum
from typing import Final

import msgspec

from homeport.codec.messages import (
    AutonomousDUStateChangeComplete,
    AutonOpResultStruct,
    DUStateChangeComplete,
    InstallOpStruct,
    OpResultStruct,
    Request,
    UninstallOpStruct,
    UpdateOpStruct,
)
from homeport.codec.messages import Operation as WireOperation
from homeport.cpe.modules.interface import PackageSpec, Place
from homeport.terms import UNKNOWN_TIME

NO_UUID: Final = "00000000-0000-0000-0000-000000000000"
"""In a result where no UUID is known: the schema wants one, and says no more (unverified)."""


class Kind(StrEnum):
    """Operations on a deployment unit."""

    INSTALL = "Install"
    UPDATE = "Update"
    UNINSTALL = "Uninstall"


class DuStatus(StrEnum):
    """DeploymentUnit.{i}.Status."""

    INSTALLING = "Installing"
    INSTALLED = "Installed"
    UPDATING = "Updating"
    UNINSTALLING = "Uninstalling"
    UNINSTALLED = "Uninstalled"


DU_STEPS: Final[dict[tuple[DuStatus | None, DuStatus], str]] = {
    (None, DuStatus.INSTALLING): "an Install begins",
    (DuStatus.INSTALLING, DuStatus.INSTALLED): "it is there",
    (DuStatus.INSTALLING, DuStatus.UNINSTALLED): "it could not be installed; the row goes",
    (DuStatus.INSTALLED, DuStatus.UPDATING): "an Update begins",
    (DuStatus.UPDATING, DuStatus.INSTALLED): "the new version is there, or the old one stays",
    (DuStatus.INSTALLED, DuStatus.UNINSTALLING): "an Uninstall begins",
    (DuStatus.UNINSTALLING, DuStatus.UNINSTALLED): "it is gone; the row goes",
    (DuStatus.UNINSTALLING, DuStatus.INSTALLED): "it could not be removed, or the device stopped meanwhile",
    (DuStatus.UNINSTALLED, DuStatus.INSTALLED): "a Reset of its environment brings it back",
}
"""The life of a deployment unit: every step that there is, with its cause (TR-157a3, figure of the deployment unit's states)."""


class EuStatus(StrEnum):
    """ExecutionUnit.{i}.Status."""

    IDLE = "Idle"
    STARTING = "Starting"
    ACTIVE = "Active"
    STOPPING = "Stopping"


EU_STEPS: Final[dict[tuple[EuStatus, EuStatus], str]] = {
    (EuStatus.IDLE, EuStatus.STARTING): "RequestedState Active, AutoStart, or a restart after it ended by itself",
    (EuStatus.STARTING, EuStatus.ACTIVE): "it runs",
    (EuStatus.STARTING, EuStatus.IDLE): "it could not be started, or was done at once",
    (EuStatus.STARTING, EuStatus.STOPPING): "RequestedState Idle before it ran",
    (EuStatus.ACTIVE, EuStatus.STOPPING): "RequestedState Idle, an Update or Uninstall, or its environment ends",
    (EuStatus.ACTIVE, EuStatus.IDLE): "it ended by itself",
    (EuStatus.STOPPING, EuStatus.IDLE): "it has ended",
    (EuStatus.STOPPING, EuStatus.ACTIVE): "it does not end",
}
"""The life of an execution unit."""


class EuFault(StrEnum):
    """ExecutionUnit.{i}.ExecutionFaultCode."""

    NO_FAULT = "NoFault"
    FAILURE_ON_START = "FailureOnStart"
    FAILURE_ON_AUTO_START = "FailureOnAutoStart"
    FAILURE_ON_STOP = "FailureOnStop"
    FAILURE_WHILE_ACTIVE = "FailureWhileActive"
    DEPENDENCY_FAILURE = "DependencyFailure"
    UN_STARTABLE = "UnStartable"


class UnitRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """An execution unit's rows. row: ExecutionUnit. log: VendorLogFile, 0 where there is none."""

    name: str
    row: int
    log: int = 0


class Original(msgspec.Struct, frozen=True):
    """What a deployment unit was when the device last said `0 BOOTSTRAP`; Reset of its environment brings that back."""

    generation: int
    spec: PackageSpec
    url: str


class DeploymentUnit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One deployment unit. number: never used again; row: DeploymentUnit, 0 where it has none. environment: the name of one.

    generation: which content counts. spec: None until the package is known. retired: uninstalled, kept only for its `original`.
    configuration: rows of VendorConfigFile, one for each name in the spec.
    """

    number: int
    environment: str
    row: int = 0
    uuid: str = ""
    status: DuStatus = DuStatus.INSTALLING
    generation: int = 0
    spec: PackageSpec | None = None
    url: str = ""
    username: str = ""
    password: str = ""
    units: tuple[UnitRow, ...] = ()
    configuration: tuple[int, ...] = ()
    installed: str = UNKNOWN_TIME
    updated: str = UNKNOWN_TIME
    original: Original | None = None
    retired: bool = False

    @property
    def duid(self) -> str:
        """DUID."""
        return f"du-{self.number}"

    @property
    def version(self) -> str:
        return self.spec.version if self.spec is not None else ""

    @property
    def place(self) -> Place:
        return Place(self.duid, self.generation)

    @property
    def generations(self) -> frozenset[int]:
        """The contents that must stay."""
        kept = {self.original.generation} if self.original is not None else set()
        if not self.retired and self.generation:
            kept.add(self.generation)
        return frozenset(kept)


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation as it was asked for."""

    kind: Kind
    url: str = ""
    uuid: str = ""
    version: str = ""
    username: str = ""
    password: str = ""
    execution_env_ref: str = ""


class ChangeRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """A ChangeDUState that was accepted, or one that the device wants itself (autonomous).

    at: the operation that is under way or next. targets: deployment units that it is about, once that is settled; done: those of them
    whose result is there. attempts: how often it was begun. results: so far, in the order of the operations.
    """

    number: int
    operations: tuple[Operation, ...]
    command_key: str = ""
    autonomous: bool = False
    at: int = 0
    targets: tuple[int, ...] | None = None
    done: tuple[int, ...] = ()
    attempts: int = 0
    results: tuple[AutonOpResultStruct, ...] = ()

    @property
    def operation(self) -> Operation:
        return self.operations[self.at]

    @property
    def complete(self) -> bool:
        return self.at >= len(self.operations)

    def report(self, results: tuple[AutonOpResultStruct, ...]) -> Request:
        """What the ACS is told."""
        if self.autonomous:
            return AutonomousDUStateChangeComplete(results)
        return DUStateChangeComplete(tuple(plain(r) for r in results), self.command_key)


def plain(result: AutonOpResultStruct) -> OpResultStruct:
    """A result without the operation that led to it."""
    return OpResultStruct(**{name: getattr(result, name) for name in OpResultStruct.__struct_fields__})


def operation_of(wire: WireOperation) -> Operation:
    """The operation in a ChangeDUState."""
    return Operation(_KINDS[type(wire)], **{name: getattr(wire, name) for name in wire.__struct_fields__})


_KINDS: Final[dict[type[WireOperation], Kind]] = {
    InstallOpStruct: Kind.INSTALL,
    UpdateOpStruct: Kind.UPDATE,
    UninstallOpStruct: Kind.UNINSTALL,
}
