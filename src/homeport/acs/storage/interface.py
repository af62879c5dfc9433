"""What a store promises. Read this first; memory.py is the reference, sql/ the one that keeps.

Two ways to write:
- `commit(unit)`: all of the unit or nothing of it, and on the disk when it returns. For every fact that somebody is then told
  is safe: events of an Inform, tasks, outcomes.
- `touch(...)` and `later(unit)`: soon on the disk, in batches. For what a device repeats anyway (the time of its last Inform, a
  counter in a periodic Inform) and for histories.

Reading sees everything that was written before by either way.
Raises StoreUnavailable when the medium does not work now; nothing of the unit is then written, and a later call may succeed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from homeport.acs.records import (
    CredentialRecord,
    DeviceRecord,
    EventRecord,
    FaultRecord,
    FileRecord,
    MessageTrace,
    SessionRecord,
    StoredValue,
    TaskRecord,
    TaskStatus,
    TokenRecord,
)
from homeport.acs.where import Where
from homeport.errors import StoreError


class Conflict(StoreError):
    """A unit of work found a row in another state than it expects; nothing of the unit was written."""


class TaskChange(Struct, frozen=True):
    """A task as it shall be. expect: the statuses it may have now; None where it is new."""

    record: TaskRecord
    expect: frozenset[TaskStatus] | None


class ValuesChange(Struct, frozen=True):
    """What was learnt of one device's tree.

    changed: path -> value; a None in `value` or `writable` keeps what is known of it.
    removed: object paths (ending with a dot) or parameters that are gone, with everything below.
    """

    device: str
    changed: Mapping[str, StoredValue]
    removed: tuple[str, ...] = ()


class SessionChange(Struct, frozen=True):
    """A session that ended, with its messages."""

    record: SessionRecord
    messages: tuple[MessageTrace, ...] = ()


class UnitOfWork:
    """Rows that are written together. Filled by a service, given to `commit` once."""

    __slots__ = (
        "credentials",
        "deleted_credentials",
        "deleted_devices",
        "deleted_files",
        "devices",
        "events",
        "faults",
        "files",
        "patches",
        "sessions",
        "tasks",
        "tokens",
        "values",
    )

    def __init__(self) -> None:
        self.devices: list[DeviceRecord] = []  # new devices
        self.patches: list[tuple[str, dict[str, Any]]] = []  # fields of known devices: id, field -> value
        self.values: list[ValuesChange] = []
        self.tasks: list[TaskChange] = []
        self.sessions: list[SessionChange] = []
        self.events: list[EventRecord] = []
        self.faults: list[FaultRecord] = []
        self.credentials: list[CredentialRecord] = []
        self.tokens: list[TokenRecord] = []
        self.files: list[FileRecord] = []
        self.deleted_devices: list[str] = []  # with values, tasks, sessions, events, faults and credentials
        self.deleted_credentials: list[str] = []
        self.deleted_files: list[str] = []

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        # Asked several times in every session, so the lists that sessions fill come first.
        return not (
            self.tasks
            or self.values
            or self.patches
            or self.events
            or self.faults
            or self.sessions
            or self.devices
            or self.credentials
            or self.tokens
            or self.files
            or self.deleted_devices
            or self.deleted_credentials
            or self.deleted_files
        )


class Page(Struct, frozen=True):
    """Some rows, and the cursor for the ones behind them; None at the end."""

    items: tuple[Any, ...]
    next: str | None


class Store(Protocol):
    """Everything the services ask of storage. Ids that do not exist give None or an empty answer, not an error."""

    async def open(self) -> None:
        """Make the store ready, bringing an older layout up to date. Raises StoreError that names the cure."""

    async def close(self) -> None:
        """Write what waits, then let go of everything. May be called twice."""

    @property
    def trouble(self) -> str | None:
        """What is wrong with the medium since the last write, or None while it works."""

    # --- writing ---

    async def commit(self, unit: UnitOfWork) -> None:
        """Write the unit, all or nothing, durably. Raises Conflict, StoreUnavailable."""

    def later(self, unit: UnitOfWork) -> None:
        """Write the unit within the write-behind time. Raises StoreUnavailable while the medium does not work."""

    def touch(self, device: str, fields: Mapping[str, Any], changed: Mapping[str, StoredValue]) -> None:
        """Remember fields and values of a known device, to be written within the write-behind time.

        Raises StoreUnavailable while the medium does not work.
        """

    async def flush(self) -> None:
        """Return when everything from `later` and `touch` is on the disk."""

    # --- devices ---

    async def device(self, id: str) -> DeviceRecord | None:
        """The device."""

    async def reported(self, id: str) -> Mapping[str, StoredValue]:
        """The values that changed lately, among them those of the last Inform: small and quick to get."""

    async def devices(self, where: Where | None, *, limit: int, cursor: str | None) -> Page:
        """Devices by id, those that `where` selects."""

    async def device_count(self) -> int:
        """How many devices there are."""

    async def values(self, id: str, path: str = "") -> dict[str, StoredValue]:
        """A device's names and values, in the order of their paths; only the parameter `path`, or what is below `path.`."""

    # --- tasks ---

    async def task(self, id: str) -> TaskRecord | None:
        """The task."""

    async def open_tasks(self, device: str) -> Sequence[TaskRecord]:
        """The device's tasks that are not finished, the next one first: by priority, then by age."""

    async def tasks_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        """The device's tasks, youngest first."""

    async def interrupted_tasks(self, *, limit: int) -> Sequence[TaskRecord]:
        """Tasks that were sent and not answered: asked for at the start, when no session can be alive."""

    # --- histories ---

    async def sessions_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        """The device's sessions, youngest first."""

    async def session(self, id: str) -> SessionChange | None:
        """One session with its messages."""

    async def events_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        """The device's events, youngest first."""

    async def faults(self, *, device: str | None, limit: int, cursor: str | None) -> Page:
        """Faults, youngest first, of one device or of all."""

    async def prune(self, *, sessions_before: float, tasks_before: float) -> int:
        """Delete sessions, events and faults, and finished tasks, that are older; gives how many rows went."""

    # --- access and files ---

    async def credential(self, username: str) -> CredentialRecord | None:
        """The credential with this user name."""

    async def credential_of(self, device: str) -> CredentialRecord | None:
        """The credential that belongs to the device alone."""

    async def token(self, digest: str) -> TokenRecord | None:
        """The token with this SHA-256."""

    async def token_named(self, name: str) -> TokenRecord | None:
        """The token with this name."""

    async def file(self, name: str) -> FileRecord | None:
        """The file's description."""

    async def files(self) -> Sequence[FileRecord]:
        """All files, by name."""

    # --- the house-keeping of secrets ---

    async def secret(self, name: str) -> bytes:
        """32 random bytes under this name, the same for ever: made at the first call, durable when returned."""
