"""Software modules from the request to the confirmed report: what the agent talks to.

    service = ModuleService(facts=store, outbox=ledger, model=model, clock=clock, directory=…, environments=[…], on_owed=…)
    await service.start()              before the first Inform
    answer = service.handle(request)   on disk when it returns
    await service.run()                beside the sessions, until cancelled
    await service.stop()               ends what runs

Nothing is begun before the session that asked for it has ended. Requests are done one after the other, their operations in order; one that
fails does not keep the others from being done. Source: TR-069a6 A.4.1.10, A.3.3.4, A.3.3.5.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from homeport.codec.messages import ChangeDUState, ChangeDUStateResponse
from homeport.cpe.clock import Clock
from homeport.cpe.modules.estate import Entry, Estate
from homeport.cpe.modules.interface import Environment
from homeport.cpe.modules.policy import ChangePolicy, policy_of
from homeport.cpe.modules.records import ChangeRequest, DuStatus, EuStatus, Operation, operation_of
from homeport.cpe.modules.rows import Rows
from homeport.cpe.modules.shelf import Shelf
from homeport.cpe.modules.units import LOG
from homeport.cpe.modules.work import Fetch, OperationWorker, Verify
from homeport.cpe.transfers.queue import Facts, Outbox
from homeport.errors import Fault, HomeportError, StoreError
from homeport.model.changes import Change
from homeport.model.transaction import Transaction
from homeport.model.tree import DataModel
from homeport.terms import FaultCode, Writer
from homeport.transport import files
from homeport.transport.files import Credentials, FileLimits, FileOptions

MOST_REQUESTS: Final = 16
"""Requests of the ACS that may wait or be under way; the 17th is answered 9004."""

MOST_OPERATIONS: Final = 64
LONGEST_KEY: Final = 32
KEPT: Final = 32
"""Finished requests whose results people can still see."""

STOP_GRACE: Final = 2.0
"""Seconds that units have to end by themselves when the agent ends: a service manager waits longer than that."""


async def trust_all(package: Path, url: str, credentials: Credentials) -> None:
    """No signature is asked for."""


class ModuleService:
    """The software modules of one device."""

    def __init__(
        self,
        *,
        facts: Facts,
        outbox: Outbox,
        model: DataModel,
        clock: Clock,
        directory: Path,
        environments: Sequence[Environment],
        on_owed: Callable[[], None],
        limits: FileLimits = files.DEFAULT_LIMITS,
        options: FileOptions = files.DEFAULT_OPTIONS,
        log_size: int = 256 << 10,
        policy: Callable[[], ChangePolicy] | None = None,
        fetch: Fetch = files.fetch,
        verify: Verify = trust_all,
        owes: Callable[[str], bool] = lambda key: False,
    ) -> None:
        """Reads what is on disk. directory: where packages lie while they are under way. on_owed: a report is owed.

        owes: whether the report with a CommandKey waits for the ACS. Raises StoreError.
        """
        self.shelf = Shelf(facts, outbox)
        self.rows = Rows(model)
        self.estate = Estate(self.shelf, self.rows, clock, environments, log_size=log_size)
        self.finished: deque[ChangeRequest] = deque(maxlen=KEPT)
        """The last requests that are over, with their results."""
        self.model = model
        self._on_owed, self._owes = on_owed, owes
        self._worker = OperationWorker(
            estate=self.estate,
            clock=clock,
            directory=directory,
            schemes=lambda: files.supported_schemes(options),
            policy=policy or (lambda: policy_of(model)),
            limits=limits,
            options=options,
            fetch=fetch,
            verify=verify,
            finished=self._note_finished,
        )
        self._fresh: set[int] = set()
        self._in_session = False
        self._wake = asyncio.Event()
        self._wishes: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._granting: set[asyncio.Task[None]] = set()
        self._listen()

    # --- what the ACS asks ------------------------------------------------------------------------------------------------------------

    def handle(self, request: ChangeDUState) -> ChangeDUStateResponse:
        """Accept a request; it is on disk when this returns. Raises Fault 9003, 9004; StoreError.

        One that repeats a request which is not over, or whose report is owed (same key, same operations), is that request: its answer
        was lost. URLs may differ: an ACS that signs them makes new ones.
        """
        if not request.operations:
            raise Fault(FaultCode.INVALID_ARGUMENTS, "the request has no operations")
        if len(request.command_key) > LONGEST_KEY:
            raise Fault(
                FaultCode.INVALID_ARGUMENTS,
                f"CommandKey has {len(request.command_key)} characters, at most {LONGEST_KEY} are allowed",
            )
        operations = tuple(operation_of(o) for o in request.operations)
        key = request.command_key
        open_ones = list(self.shelf.requests.values()) + (list(self.finished) if self._owes(key) else [])
        for before in open_ones:
            same = [_meant(o) for o in before.operations] == [_meant(o) for o in operations]
            if same and key and (before.command_key, before.autonomous) == (key, False):
                return ChangeDUStateResponse()
        number = self._admit(operations, request.command_key, autonomous=False)
        if self._in_session:
            self._fresh.add(number)
        return ChangeDUStateResponse()

    def start_own(self, operations: Sequence[Operation]) -> int:
        """Changes that no ACS asked for; the number of the request. Reported as DUStateChangeComplPolicy says. Raises Fault, StoreError."""
        return self._admit(tuple(operations), "", autonomous=True)

    def _admit(self, operations: tuple[Operation, ...], command_key: str, *, autonomous: bool) -> int:
        waiting = [r for r in self.shelf.requests.values() if r.autonomous is autonomous]
        if len(waiting) >= MOST_REQUESTS or len(operations) > MOST_OPERATIONS:
            raise Fault(
                FaultCode.RESOURCES_EXCEEDED,
                f"at most {MOST_REQUESTS} requests of {MOST_OPERATIONS} operations are accepted at a time",
            )
        request = ChangeRequest(self.shelf.new_request(), operations, command_key, autonomous)
        self.shelf.save(request=request)
        self._wake.set()
        return request.number

    def request_state(self, row: int, *, active: bool) -> None:
        """What RequestedState asks of an execution unit. Raises Fault 9001 where it cannot be asked now."""
        self._check_state(row, active=active)
        self._want(row, active=active)

    # --- sessions ---------------------------------------------------------------------------------------------------------------------

    def session_opened(self) -> None:
        """A session begins: what it asks for waits for its end."""
        self._in_session = True

    def session_closed(self) -> None:
        """The session is over: what it asked for may begin."""
        self._in_session = False
        self._fresh.clear()
        self._wake.set()

    def bootstrapped(self) -> None:
        """The ACS has heard `0 BOOTSTRAP`: what is installed now is what Reset brings back."""
        try:
            self.estate.note_originals()
        except StoreError as e:
            LOG.error("what is installed cannot be written down now: %s", e)

    # --- running ----------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Settle what was under way when the device stopped, and make the rows. Raises StoreError."""
        await self.estate.open()
        try:
            await asyncio.to_thread(self._worker.tidy)
        except OSError as e:
            LOG.error("packages of earlier requests cannot be looked at: %s", e)

    async def run(self) -> None:
        """Start what starts by itself, then do what is asked, until cancelled."""
        for entry in self.estate.entries.values():
            self.estate.start_auto(entry)
        granting = asyncio.ensure_future(self._grant())
        try:
            while True:
                self._wake.clear()
                request = next((r for r in self.shelf.requests.values() if r.number not in self._fresh), None)
                if request is None:
                    await self._wake.wait()
                    continue
                await self._perform(request)
        finally:
            granting.cancel()
            for task in self._granting:
                task.cancel()
            await asyncio.gather(granting, *self._granting, return_exceptions=True)

    async def stop(self) -> None:
        """End everything that runs."""
        await self.estate.close(STOP_GRACE)
        self.estate.show()

    async def _perform(self, request: ChangeRequest) -> None:
        while not request.complete:
            async with self.estate.lock:
                request = await self._worker.do(request)

    def _note_finished(self, request: ChangeRequest) -> None:
        self.finished.append(request)
        self._on_owed()

    # --- what is set in the rows ------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        root = self.rows.root
        self.model.hook(f"{root}ExecutionUnit.*.RequestedState", validate=self._validate_state)
        self.model.hook(root, notify=self._noticed)
        self.model.source(
            f"{root}ExecEnv.*.RequestedRunLevel", read=lambda path: -1
        )  # a command; that is what it reads as
        for name in ("AllocatedDiskSpace", "AvailableDiskSpace", "AllocatedMemory", "AvailableMemory"):
            self.model.source(f"{root}ExecEnv.*.{name}", read_group=self._space)
        for name in ("DiskSpaceInUse", "MemoryInUse", "CPUPercentInUse", "Uptime"):
            self.model.source(f"{root}ExecutionUnit.*.{name}", read_group=self._usage)

    def _validate_state(self, change: Change, view: Transaction) -> None:
        self._check_state(_row_of(change.path), active=change.new == "Active")

    def _check_state(self, row: int, *, active: bool) -> None:
        """Raises Fault 9001 where an execution unit's state cannot be asked for (TR-181 ExecutionUnit.{i}.RequestedState)."""
        unit = self.estate.owner(row)
        entry = self.estate.entries.get(unit.environment) if unit is not None else None
        if unit is None or entry is None or row not in self.estate.running:
            raise Fault(FaultCode.REQUEST_DENIED, "the environment of this execution unit does not work now")
        if not entry.enabled:
            raise Fault(FaultCode.REQUEST_DENIED, f"the environment {entry.facts.name} is disabled")
        if unit.status is not DuStatus.INSTALLED:
            raise Fault(FaultCode.REQUEST_DENIED, f"its deployment unit is {unit.status.value}")
        if active and self.estate.running[row].status is EuStatus.STOPPING:
            raise Fault(FaultCode.REQUEST_DENIED, "it is being stopped; ask again when it is Idle")

    def _noticed(self, changes: Sequence[Change], view: Transaction) -> None:
        """Somebody else than this service has set something."""
        for change in changes:
            if change.writer is Writer.SYSTEM or not change.path.startswith(self.rows.root):
                continue
            table, _, rest = change.path.removeprefix(self.rows.root).partition(".")
            row = int(number) if (number := rest.partition(".")[0]).isdigit() else 0
            name = rest.partition(".")[2]
            if table == "ExecutionUnit" and name == "RequestedState":
                self._want(row, active=change.new == "Active")
            elif table == "ExecEnv":
                self._want_of_environment(row, name, change.new)

    def _want(self, row: int, *, active: bool) -> None:
        unit = self.estate.running.get(row)
        if unit is None:
            return
        if active:
            unit.start()
        else:
            self._wishes.put_nowait(unit.stop)

    def _want_of_environment(self, row: int, name: str, text: str) -> None:
        entry = self.estate.entry_at(row)
        if entry is None:
            return
        if name == "Enable":
            self._wishes.put_nowait(lambda: self.estate.follow_enable(entry))
        elif name == "Reset" and text in ("1", "true"):
            self._wishes.put_nowait(lambda: self.estate.reset(entry))
        elif name == "RequestedRunLevel":
            self._wishes.put_nowait(lambda: self.estate.set_run_level(entry, int(text)))

    async def _grant(self) -> None:
        """Do what was wished for, at once and side by side: one unit that takes its time to end keeps nobody waiting."""
        while True:
            wish = await self._wishes.get()
            task = asyncio.ensure_future(self._granted(wish))
            self._granting.add(task)
            task.add_done_callback(self._granting.discard)

    async def _granted(self, wish: Callable[[], Awaitable[None]]) -> None:
        try:
            await wish()
        except (HomeportError, OSError) as e:
            LOG.error("software modules: %s", e)
        except Exception:
            LOG.exception("software modules: a wish could not be granted")

    # --- what is read -----------------------------------------------------------------------------------------------------------------

    def _space(self, paths: Sequence[str]) -> dict[str, object]:
        """Disk and memory of environments, in kibibytes."""
        values: dict[str, object] = {}
        found: dict[int, dict[str, int]] = {}
        for path in paths:
            row, name = _row_of(path), path.rpartition(".")[2]
            if row not in found:
                found[row] = self._space_of(self.estate.entry_at(row))
            values[path] = found[row].get(name, -1)
        return values

    def _space_of(self, entry: Entry | None) -> dict[str, int]:
        if entry is None or entry.environment is None:
            return {}
        space = entry.environment.space()
        return {
            "AllocatedDiskSpace": space.allocated_disk,
            "AvailableDiskSpace": space.available_disk,
            "AllocatedMemory": space.allocated_memory,
            "AvailableMemory": space.available_memory,
        }

    def _usage(self, paths: Sequence[str]) -> dict[str, object]:
        """What execution units use."""
        values: dict[str, object] = {}
        for path in paths:
            name = path.rpartition(".")[2]
            unit = self.estate.running.get(_row_of(path))
            if unit is None:
                values[path] = 0 if name in ("CPUPercentInUse", "Uptime") else -1
            elif name == "DiskSpaceInUse":
                values[path] = unit.environment.disk(unit.place.duid)
            elif name == "Uptime":
                values[path] = unit.uptime
            else:
                usage = unit.usage()
                values[path] = usage.memory if name == "MemoryInUse" else usage.cpu
        return values

    def log_of(self, row: int) -> tuple[Path, ...] | None:
        """The files of a row of VendorLogFile, oldest first; None where the row is not one of ours."""
        for unit in self.shelf.units.values():
            entry = self.estate.entries.get(unit.environment)
            for mine in unit.units:
                if mine.log == row and row and entry is not None and entry.environment is not None:
                    return entry.environment.logs(unit.duid, mine.name)
        return None

    def configuration_of(self, row: int) -> tuple[Path, ...] | None:
        """The file of a row of VendorConfigFile; None where the row is not one of ours, () where there is no file."""
        for unit in self.shelf.units.values():
            entry = self.estate.entries.get(unit.environment)
            if unit.spec is None or entry is None or entry.environment is None or not row:
                continue
            for number, name in zip(unit.configuration, unit.spec.configuration, strict=False):
                if number == row:
                    place = entry.environment.configuration(unit.duid, name)
                    return () if place is None else (place,)
        return None

    def idle(self) -> bool:
        """Whether nothing is asked for and nothing is on its way from one state to another."""
        moving = (EuStatus.STARTING, EuStatus.STOPPING)
        return not self.shelf.requests and not any(eu.status in moving for eu in self.estate.running.values())


def _meant(operation: Operation) -> tuple[str, ...]:
    return operation.kind, operation.uuid, operation.version, operation.execution_env_ref


def _row_of(path: str) -> int:
    """The instance number in `….ExecutionUnit.3.Name`."""
    part = path.partition("SoftwareModules.")[2].split(".")
    return int(part[1]) if len(part) > 1 and part[1].isdigit() else 0
