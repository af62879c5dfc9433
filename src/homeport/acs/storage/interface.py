"""What a store promises. Read this first; memory.py is the reference, sql/ the one that keeps.

Two ways to write:
- `commit(unit)`: all of the unit or nothing of it, and on the disk when it returns. For every fact that somebody is then told
  is safe: events of an Inform, tasks, outcomes.
- `touch(...)` and `later(unit)`: soon on the disk, in batches. For what a device repeats anyway (the time of its last Inform, a
  counter in a periodic Inform), for histories, and for what can be asked again, such as values that were read.

Reading sees everything that was written before by either way.
A unit that moves a device conflicts where one of the two is missing, and where the old one has a lease or a task that was sent and not
answered. A task's change conflicts where the task belongs to another device by now.
Raises StoreUnavailable when the medium does not work now; nothing of the unit is then written, and a later call may succeed.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from homeport.acs.records import (
    CredentialRecord,
    DeviceRecord,
    Document,
    EventRecord,
    FaultRecord,
    FileRecord,
    LeaseRecord,
    MessageTrace,
    SessionRecord,
    StoredValue,
    TaskRecord,
    TaskStatus,
    TokenRecord,
    Told,
)
from homeport.acs.where import Where
from homeport.errors import StoreError

Done = Callable[[BaseException | None], None]
"""Told what became of a unit: None, or what went wrong."""

KEY_LIFETIME: Final = 86_400.0
"""Seconds for which an idempotency key is remembered: who repeats a wish that got lost does so within minutes."""


MOST_BYTES: Final = 1_000_000
"""Stored bytes of tasks in a page, beyond which it ends: a single one may have read a whole tree of 30 MB."""

SEARCH_SECONDS: Final = 1.0
"""Seconds after which a page of devices ends, where few of very many fit: others wait for their searches."""

CLAIM: Final = 30.0
"""Seconds for which a task that is due, or was interrupted, is left to the process that was given it."""


class Conflict(StoreError):
    """A unit of work found a row in another state than it expects; nothing of the unit was written."""


class TaskChange(Struct, frozen=True):
    """A task as it shall be. expect: the statuses it may have now; None where it is new.

    Where several processes share a database, a new one conflicts with another of its device under the same idempotency key.
    packed: the record as the store writes it, where the store has made that beforehand.
    """

    record: TaskRecord
    expect: frozenset[TaskStatus] | None
    packed: bytes = b""


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


class DocumentChange(Struct, frozen=True):
    """A document as it shall be, or gone. expect: its record as it must be now; b"" for none at all; None for whatever there is."""

    document: Document
    gone: bool = False
    expect: bytes | None = None


class TaskFilter(Struct, frozen=True):
    """Which tasks: those that fit all that is given. statuses: one of these, as stored; empty for any.

    since, until: ids: the first of them or younger, older than the second. "" for no bound.
    """

    statuses: frozenset[TaskStatus] = frozenset()
    rpc: str = ""
    device: str = ""
    since: str = ""
    until: str = ""

    def fits(self, task: TaskRecord) -> bool:
        """Whether the task is one of these."""
        return (
            (not self.statuses or task.status in self.statuses)
            and self.rpc in ("", task.rpc)
            and self.device in ("", task.device)
            and task.id >= self.since
            and (not self.until or task.id < self.until)
        )

    def before(self, cursor: str | None, last: str) -> str:
        """The id that all tasks behind the cursor are smaller than. last: sorts behind every id."""
        return min(cursor or last, self.until or last)


Patch = dict[str, Any] | Callable[[DeviceRecord], dict[str, Any]]
"""Fields of a device and their new values; or what makes them of the device as it is when it is written, whoever has changed it before."""


class UnitOfWork:
    """Rows that are written together. Filled by a service, given to `commit` once."""

    __slots__ = (
        "credentials",
        "deleted_credentials",
        "deleted_devices",
        "deleted_files",
        "devices",
        "documents",
        "ended_tokens",
        "events",
        "faults",
        "files",
        "large",
        "leases",
        "moved",
        "patches",
        "released",
        "sessions",
        "tasks",
        "tokens",
        "values",
    )

    def __init__(self) -> None:
        self.large = False  # megabytes: to be made ready with rests
        self.devices: list[DeviceRecord] = []  # new devices
        self.patches: list[tuple[str, Patch]] = []  # fields of known devices, by id
        self.values: list[ValuesChange] = []
        self.tasks: list[TaskChange] = []
        self.sessions: list[SessionChange] = []
        self.events: list[EventRecord] = []
        self.faults: list[FaultRecord] = []
        self.credentials: list[CredentialRecord] = []
        self.tokens: list[TokenRecord] = []
        self.ended_tokens: list[str] = []  # by name
        self.files: list[FileRecord] = []
        self.documents: list[DocumentChange] = []
        self.leases: list[LeaseRecord] = []  # each replaces the one of its device
        self.released: list[tuple[str, str]] = []  # leases that are over: device, session
        self.moved: list[
            tuple[str, str]
        ] = []  # old id, new id: all that belongs to the old device goes to the new one (moves.py)
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
            or self.ended_tokens
            or self.files
            or self.documents
            or self.leases
            or self.released
            or self.moved
            or self.deleted_devices
            or self.deleted_credentials
            or self.deleted_files
        )


class Page(Struct, frozen=True):
    """Some rows, and the cursor for the ones behind them; None at the end."""

    items: tuple[Any, ...]
    next: str | None


ValuePage = tuple[Sequence[tuple[str, StoredValue]], str | None]
"""Some of a device's paths and values, in order, and the path behind which the others stand; None at the end."""


class Channel(Protocol):
    """How the processes on one database speak with each other. Nothing said is kept: it is for those who listen now."""

    heard: Callable[[str], None] | None
    """Called with what another process has said."""

    resumed: Callable[[], None] | None
    """Called when this process hears the others again, and what was said meanwhile is lost to it."""

    lost: Callable[[], None] | None
    """Called when something of `say` reached nobody."""

    ahead: float
    """Seconds to add to this machine's clock to have the database's, which all processes go by; 0.0 where they agree to a second."""

    def say(self, text: str) -> None:
        """Tell all other processes: one line, at most `LONGEST_WORD` bytes, soon. What cannot be said now is lost."""

    async def alive(self, node: str) -> bool:
        """Whether the process with this name works on the database now. Raises StoreUnavailable."""

    async def others(self) -> tuple[list[str], bool]:
        """The other processes that work on the database now, and whether one has ended lately without a goodbye.

        Raises StoreUnavailable.
        """


LONGEST_WORD: Final = 7_000


class Figures(Struct, frozen=True):
    """open_tasks: of all devices. oldest_task: when the oldest of them was made, seconds since 1970. size: of the database, bytes."""

    open_tasks: int = 0
    oldest_task: float = 0.0
    size: int = 0


class Store(Protocol):
    """Everything the services ask of storage. Ids that do not exist give None or an empty answer, not an error."""

    @property
    def node(self) -> str:
        """The name of this process among those on one database: letters and digits; "" where it is always alone."""

    @property
    def channel(self) -> Channel | None:
        """The way to the other processes; None where there are none."""

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

    def later(self, unit: UnitOfWork, done: Done | None = None) -> None:
        """Write the unit within the write-behind time. Raises StoreUnavailable while the medium does not work.

        done: called with None once it is on the disk, else with what went wrong.
        """

    def touch(self, device: str, fields: Mapping[str, Any], changed: Mapping[str, StoredValue]) -> None:
        """Remember fields and values of a known device, to be written within the write-behind time.

        Raises StoreUnavailable while the medium does not work.
        """

    async def flush(self) -> None:
        """Return when everything from `later` and `touch` is on the disk."""

    # --- devices ---

    def absent(self, id: str) -> bool:
        """Whether `read_ahead` would spare who asks for this device now a look at the disk."""

    def read_ahead(self, ids: Sequence[str], ready: Callable[[], None]) -> None:
        """Read these devices in one step and call `ready`, at once or later: who asks for one of them inside that need not wait.

        What went wrong is told to who asks for the device.
        """

    async def device(self, id: str) -> DeviceRecord | None:
        """The device."""

    async def fresh(self, id: str) -> DeviceRecord | None:
        """The device with all that any process has committed: for people, who ask one process right after they told another one."""

    async def reported(self, id: str) -> Told:
        """The texts of values that changed lately, among them those of the last Inform: small and quick to get."""

    async def devices(self, where: Where | None, *, limit: int, cursor: str | None) -> Page:
        """Devices by id, those that `where` selects. A page may end early, after SEARCH_SECONDS of looking among others."""

    async def device_count(self) -> int:
        """How many devices there are."""

    async def unapproved_count(self, limit: int) -> int:
        """How many devices wait or were refused; counted no further than to the limit, and by an index."""

    async def unapproved_addresses(self) -> Mapping[str, int]:
        """How many of these come from each address, by an index; what `touch` has on its way is not looked at."""

    async def figures(self) -> Figures:
        """How much there is, for the operator."""

    async def values(self, id: str, path: str = "") -> dict[str, StoredValue]:
        """A device's names and values, in the order of their paths; only the parameter `path`, or what is below `path.`."""

    async def values_page(self, id: str, path: str = "", *, after: str | None, limit: int) -> ValuePage:
        """At most `limit` of a device's `values`, those behind the path `after`; of many, only these are unpacked."""

    # --- tasks ---

    async def task(self, id: str) -> TaskRecord | None:
        """The task. A long list in its result may be one of `long_lists.PackedRows`."""

    async def open_tasks(self, device: str) -> Sequence[TaskRecord]:
        """The device's tasks that are not finished, the next one first: by priority, then by age."""

    async def tasks_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        """The device's tasks, youngest first. A page may end early, behind MOST_BYTES."""

    async def tasks(self, which: TaskFilter, *, limit: int, cursor: str | None) -> Page:
        """Tasks of all devices, youngest first: cheap however many there are that have ended; as `tasks_of`."""

    async def due_tasks(self, *, now: float, limit: int) -> Sequence[TaskRecord]:
        """Tasks that the clock may have ended by now (`records.due`), the longest overdue first: found by an index.

        Among them, at once, those that wait for a task which has ended otherwise than done, or has gone with its device: whoever
        writes that end has them found here.
        Processes that share a database are given each of them in turn, not both at once: one whose task is written by nobody
        within CLAIM is given to the next who asks. What `later` has on its way is not waited for: this is asked all the time, and who
        ends such a task meets a Conflict.
        """

    async def overdue_tasks(self, device: str) -> Sequence[TaskRecord]:
        """The device's tasks of phase `overdue`, the oldest first."""

    async def interrupted_tasks(self, *, limit: int, now: float) -> Sequence[TaskRecord]:
        """Tasks that were sent and not answered by processes that have ended, but for those whose session may still be continued.

        Asked for at the start, when this process has no session; by processes that share a database at any time. Each is given to
        one of them, and to the next who asks where it is written by nobody within CLAIM.
        """

    async def orphaned_tasks(self, *, since: str, limit: int) -> Sequence[TaskRecord]:
        """Queued tasks with this id or a younger one that were made by processes that have ended: nobody calls their devices now.

        Asked for at the start; by processes that share a database at any time, and each is given to one of them.
        """

    # --- sessions that another process may continue ---

    async def lease(self, cookie: str) -> LeaseRecord | None:
        """The lease of the session with this cookie."""

    async def leases_at(self, host: str) -> Sequence[LeaseRecord]:
        """The leases of sessions whose devices come from this address and have not given the cookie back."""

    async def take_lease(self, lease: LeaseRecord) -> bool:
        """Whether the session is this process's from now on; False where the lease is no longer as it was read."""

    async def expired_leases(self, *, now: float, limit: int, living: Collection[str]) -> Sequence[LeaseRecord]:
        """Leases whose time is over, taken away; each is given to one process only.

        living: sessions that are open here. A lease that another living process has is its own business.
        """

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

    async def tokens(self) -> Sequence[TokenRecord]:
        """All tokens, by name."""

    async def document(self, kind: str, name: str) -> Document | None:
        """The document."""

    async def documents(
        self, kind: str, *, limit: int, cursor: str | None = None, youngest: bool = False, due: float | None = None
    ) -> Page:
        """Documents of a kind by name, or the other way round. due: only those that are due at this time, the most urgent first."""

    async def document_count(self, kind: str, limit: int) -> int:
        """How many documents of a kind there are; counted no further than to the limit."""

    async def forget_documents(self, kind: str, *, due_before: float) -> int:
        """Delete documents of a kind that were due before; gives how many."""

    async def due_since(self, kind: str, count: int) -> float | None:
        """When the oldest of the `count` youngest documents of a kind was due; None where there are no more than so many.

        By an index, of documents that are due at some time.
        """

    async def file(self, name: str) -> FileRecord | None:
        """The file's description."""

    async def files(self, *, limit: int, cursor: str | None = None) -> Page:
        """Files by name."""

    # --- the house-keeping of secrets ---

    async def secret(self, name: str) -> bytes:
        """32 random bytes under this name, the same for ever: made at the first call, durable when returned."""
