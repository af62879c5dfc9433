"""One operation being done: fetched, looked at, installed; or stopped and removed. Every step that counts is on disk before the next.

An operation that cannot be done raises `Fault` on its way and has a result all the same; what was installed before stays. An operation
that a crash cut off is done again from its beginning. An operation on several units gives a result for each, in its place among the
operations (unverified).
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec

from homeport.codec.messages import AutonOpResultStruct, FaultStruct
from homeport.cpe.clock import Clock, date_time
from homeport.cpe.modules import operations
from homeport.cpe.modules.estate import Entry, Estate
from homeport.cpe.modules.interface import Environment, PackageSpec, Place
from homeport.cpe.modules.manifest import UUID
from homeport.cpe.modules.policy import ChangePolicy
from homeport.cpe.modules.records import NO_UUID, ChangeRequest, DeploymentUnit, DuStatus, EuStatus, Kind, Operation
from homeport.cpe.modules.units import LOG, stop_all
from homeport.errors import ConfigError, Fault, StoreError
from homeport.terms import FaultCode
from homeport.transport.files import Credentials, Fetched, FileLimits, FileOptions, FileTransferError, shown_url

T = TypeVar("T")
P = ParamSpec("P")

BETWEEN_ATTEMPTS: Final = 30.0
"""Seconds between attempts to write down a result on a disk that is full."""

MOST_ATTEMPTS: Final = 4
"""How often an operation is begun: a package that makes the device fall over must not do so for ever."""


class Fetch(Protocol):
    """`homeport.transport.files.fetch`, or what a test puts in its place."""

    def __call__(
        self, url: str, destination: Path, *, credentials: Credentials, limits: FileLimits, options: FileOptions
    ) -> Awaitable[Fetched]: ...


Verify = Callable[[Path, str, Credentials], Awaitable[None]]
"""(package, its URL, credentials): raises FileTransferError for a package that is not trusted."""


class OperationWorker:
    """Does operations, one at a time."""

    def __init__(
        self,
        *,
        estate: Estate,
        clock: Clock,
        directory: Path,
        schemes: Callable[[], tuple[str, ...]],
        policy: Callable[[], ChangePolicy],
        limits: FileLimits,
        options: FileOptions,
        fetch: Fetch,
        verify: Verify,
        finished: Callable[[ChangeRequest], None],
    ) -> None:
        """directory: where packages lie while they are under way. policy: which autonomous results are reported.

        finished: told of a request whose last result was just written down.
        """
        self._estate, self._shelf, self._rows = estate, estate.shelf, estate.rows
        self._clock, self._directory, self._schemes, self._policy = clock, directory, schemes, policy
        self._limits, self._options, self._fetch, self._verify = limits, options, fetch, verify
        self._finished = finished

    async def do(self, request: ChangeRequest) -> ChangeRequest:
        """The request after its present operation. Its results are on disk; where it was the last, its report is owed instead."""
        started = date_time(self._clock.now())
        operation = request.operation
        if request.attempts >= MOST_ATTEMPTS:
            why = f"the device stopped {request.attempts} times during the operation"
            fault = Fault(FaultCode.DOWNLOAD_INCOMPLETE, why)
            return await self._settled(request, self._failed(operation, None, fault, started))
        request = await self._begun(request)
        try:
            schemes = (*self._schemes(), "file") if request.autonomous else self._schemes()
            operations.check_request(operation, schemes)
            match operation.kind:
                case Kind.INSTALL:
                    return await self._install(request, started)
                case Kind.UPDATE:
                    return await self._each(request, started, self._update)
                case Kind.UNINSTALL:
                    return await self._each(request, started, self._uninstall)
        except Fault as e:
            return await self._settled(request, self._failed(operation, None, e, started))
        except Exception:
            # A defect must not keep the later operations, and the report that the ACS waits for, from being done.
            LOG.exception("an operation on software modules failed inside the agent")
            return await self._settled_after_defect(request, started)
        finally:
            _forget(self._file(request))

    def tidy(self) -> None:
        """Remove packages that no request needs any more."""
        if self._directory.is_dir():
            needed = {self._file(r).name for r in self._shelf.requests.values() if not r.complete}
            for file in self._directory.iterdir():
                if not any(file.name.startswith(name) for name in needed):
                    _forget(file)

    # --- the operations ---------------------------------------------------------------------------------------------------------------

    async def _install(self, request: ChangeRequest, started: str) -> ChangeRequest:
        operation, states = request.operation, self._estate.states()
        chosen = operations.environment_of(operation.execution_env_ref, states, self._rows.root.partition(".")[0] + ".")
        candidates = [chosen] if chosen is not None else [s for s in states if s.enabled and s.works]
        if not candidates:
            raise Fault(FaultCode.DISABLED_EXECUTION_ENVIRONMENT, "there is no execution environment that works now")
        entries = [self._estate.entries[c.name] for c in candidates]
        unit = DeploymentUnit(
            number=self._stored(self._shelf.new_unit),
            environment=entries[0].facts.name,
            uuid=operation.uuid,
            url=operation.url,
            username=operation.username,
            password=operation.password,
        )
        unit = self._stored(lambda: self._rows.added(unit, self._rows.environment(entries[0].row)))
        self._stored(lambda: self._shelf.save(unit))
        environment: Environment | None = None
        meant = unit
        try:
            package = await self._package(request, operation.url, Credentials(operation.username, operation.password))
            entry, spec = await self._inspected(package, entries)
            environment = entry.environment
            assert environment is not None
            uuid = operation.uuid or spec.uuid or operations.derived_uuid(spec.vendor, spec.name)
            meant = msgspec.structs.replace(unit, uuid=uuid, spec=spec)
            operations.check_new(uuid, spec.version, entry.facts.name, self._shelf.units.values())
            place = Place(unit.duid, 1)
            await _asked(environment.install, package, spec, place)
            done = msgspec.structs.replace(
                unit,
                uuid=uuid,
                environment=entry.facts.name,
                generation=place.generation,
                status=DuStatus.INSTALLED,
                installed=date_time(self._clock.now()),
            )
            done = self._with_units(done, spec, entry)
        except Fault as e:
            LOG.warning("%s could not be installed: %d %s", shown_url(operation.url), e.code, e.text)
            told = self._failed(operation, msgspec.structs.replace(meant, row=0), e, started)
            request = await self._settled(request, told, gone=(unit,))
            if environment is not None:
                await self._purge(environment, unit.duid)
            self._estate.show()
            return request
        # Other units may need this one: what is told of it is how things are with it.
        told = self._result(request, done, started, state="Installed", others=(done,))
        request = await self._settled(request, told, done)
        self._estate.build(done)
        self._estate.show()
        self._estate.start_auto(entry, [done])
        self._estate.start_resolved()
        LOG.info("%s %s is installed as %s", spec.name, spec.version, done.duid)
        return request

    async def _update(self, request: ChangeRequest, unit: DeploymentUnit, started: str, last: bool) -> ChangeRequest:
        operation = request.operation
        environment: Environment | None = None
        place = Place(unit.duid, max([unit.generation, *unit.generations]) + 1)
        busy: list[int] = []
        try:
            entry = self._usable(unit)
            environment = entry.environment
            assert environment is not None
            self._begin(unit, DuStatus.UPDATING)
            url = operation.url or unit.url
            own = Credentials(operation.username, operation.password)
            package = await self._package(request, url, own or Credentials(unit.username, unit.password))
            _, spec = await self._inspected(package, [entry])
            operations.check_update(unit, spec, self._shelf.units.values())
            await _asked(environment.install, package, spec, place)
            busy = [eu.row for eu in self._estate.of(unit) if eu.wanted]
            await self._stop(unit)
            unit = self._as_noted(unit)
            done = msgspec.structs.replace(
                unit, url=url, generation=place.generation, updated=date_time(self._clock.now())
            )
            if own:
                done = msgspec.structs.replace(done, username=own.username, password=own.password)
            done = self._with_units(done, spec, entry)
        except Fault as e:
            LOG.warning("%s could not be updated: %d %s", unit.duid, e.code, e.text)
            unit = self._as_noted(unit)
            request = await self._settled(request, self._failed(operation, unit, e, started), unit, last=last)
            if environment is not None:
                await self._remove(environment, place)
            self._restart(unit, busy)
            self._estate.show()
            return request
        told = self._result(request, done, started, state="Installed", others=(done,))
        request = await self._settled(request, told, done, last=last)
        self._estate.build(done)
        self._estate.show()
        self._restart(done, busy)
        before = {r.row for r in unit.units}
        if any(r.row not in before for r in done.units):
            self._estate.start_auto(entry, [done])
        self._estate.start_resolved()
        if unit.generation not in done.generations:
            await self._remove(environment, unit.place)
        LOG.info("%s is updated to %s", done.duid, done.version)
        return request

    async def _uninstall(self, request: ChangeRequest, unit: DeploymentUnit, started: str, last: bool) -> ChangeRequest:
        operation = request.operation
        try:
            entry = self._usable(unit)
            self._begin(unit, DuStatus.UNINSTALLING)
            await self._stop(unit)
        except Fault as e:
            LOG.warning("%s could not be uninstalled: %d %s", unit.duid, e.code, e.text)
            unit = self._as_noted(unit)
            request = await self._settled(request, self._failed(operation, unit, e, started), unit, last=last)
            self._estate.show()
            return request
        unit = self._as_noted(unit)
        told = self._result(request, unit, started, state="Uninstalled")
        kept = msgspec.structs.replace(
            unit, status=DuStatus.UNINSTALLED, retired=True, row=0, units=(), configuration=()
        )
        if unit.original is not None:
            request = await self._settled(request, told, kept, last=last)
        else:
            request = await self._settled(request, told, gone=(unit,), last=last)
        self._estate.build(kept)
        assert entry.environment is not None
        if unit.original is None:
            await self._purge(entry.environment, unit.duid)
        elif unit.generation != unit.original.generation:
            await self._remove(entry.environment, unit.place)
        self._estate.show()
        LOG.info("%s is uninstalled", unit.duid)
        return request

    async def _each(
        self,
        request: ChangeRequest,
        started: str,
        act: Callable[[ChangeRequest, DeploymentUnit, str, bool], Awaitable[ChangeRequest]],
    ) -> ChangeRequest:
        """One operation on every unit that it is about; which they are is settled once, also over a crash."""
        if request.targets is None:
            targets = tuple(u.number for u in self._targets(request.operation))
            request = msgspec.structs.replace(request, targets=targets)
            self._stored(lambda: self._shelf.save(request=request))
        assert request.targets is not None
        left = [n for n in request.targets if n not in request.done]
        for number in left:
            unit = self._shelf.units.get(number)
            last = number == left[-1]
            if unit is None or unit.retired:
                # Only a reset of the environment between two starts can have taken it away.
                fault = Fault(FaultCode.UNKNOWN_DEPLOYMENT_UNIT, "it was removed meanwhile")
                request = await self._settled(
                    request, self._failed(request.operation, unit, fault, started), last=last, number=number
                )
            else:
                request = await act(request, unit, started, last)
        return request

    def _targets(self, operation: Operation) -> list[DeploymentUnit]:
        units = self._shelf.units.values()
        if operation.kind is Kind.UPDATE:
            found = operations.updated_by(operation, units)
            if not found:
                raise Fault(FaultCode.UNKNOWN_DEPLOYMENT_UNIT, "nothing is installed that could be updated")
            return found
        root = self._rows.root.partition(".")[0] + "."
        environment = operations.environment_of(operation.execution_env_ref, self._estate.states(), root)
        return operations.removed_by(operation, environment, units)

    # --- steps --------------------------------------------------------------------------------------------------------------------------

    async def _package(self, request: ChangeRequest, url: str, credentials: Credentials) -> Path:
        """The package, fetched and trusted. Raises Fault."""
        file = self._file(request)
        try:
            await asyncio.to_thread(file.parent.mkdir, parents=True, exist_ok=True)
            if url.startswith("file:///"):
                await asyncio.to_thread(self._copy, Path(unquote(urlsplit(url).path)), file)
            else:
                limits, options = self._limits, self._options
                await self._fetch(url, file, credentials=credentials, limits=limits, options=options)
            await self._verify(file, url, credentials)
        except FileTransferError as e:
            raise Fault(operations.FAULTS[e.trouble], str(e)[:256]) from e
        except ConfigError as e:
            raise Fault(FaultCode.REQUEST_DENIED, str(e)[:256]) from e
        except OSError as e:
            raise _local(e) from e
        return file

    def _copy(self, source: Path, target: Path) -> None:
        try:
            if source.stat().st_size > self._limits.max_size:
                raise Fault(
                    FaultCode.SYSTEM_RESOURCES_EXCEEDED, f"{source} has more than {self._limits.max_size} bytes"
                )
            shutil.copyfile(source, target)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as e:
            raise Fault(FaultCode.FILE_INACCESSIBLE, f"cannot read {source}: {e.strerror}") from e

    async def _inspected(self, package: Path, entries: list[Entry]) -> tuple[Entry, PackageSpec]:
        """The first environment that takes the package. Raises the Fault of one that knows what is wrong with it, else 9025."""
        faults: list[Fault] = []
        for entry in entries:
            assert entry.environment is not None
            try:
                return entry, await _asked(entry.environment.inspect, package)
            except Fault as e:
                faults.append(e)
        raise next((f for f in faults if f.code is not FaultCode.DEPLOYMENT_UNIT_MISMATCH), faults[0])

    async def _stop(self, unit: DeploymentUnit) -> None:
        """Stop its execution units. Raises Fault 9001 where one does not end."""
        await stop_all(self._estate.of(unit))
        left = [eu for eu in self._estate.of(unit) if eu.status is not EuStatus.IDLE]
        if left:
            raise Fault(FaultCode.REQUEST_DENIED, f"the execution unit {left[0].unit.name} does not end")

    def _restart(self, unit: DeploymentUnit, rows: list[int]) -> None:
        for eu in self._estate.of(unit):
            if eu.row in rows:
                eu.start()

    def _usable(self, unit: DeploymentUnit) -> Entry:
        entry = self._estate.entries[unit.environment]
        operations.usable(next(s for s in self._estate.states() if s.name == unit.environment))
        return entry

    def _as_noted(self, unit: DeploymentUnit) -> DeploymentUnit:
        """The unit with what a `0 BOOTSTRAP` made its original while the operation was under way."""
        return msgspec.structs.replace(unit, original=self._shelf.units[unit.number].original)

    def _begin(self, unit: DeploymentUnit, status: DuStatus) -> None:
        self._stored(lambda: self._shelf.save(msgspec.structs.replace(unit, status=status)))
        self._estate.show()

    def _with_units(self, unit: DeploymentUnit, spec: PackageSpec, entry: Entry) -> DeploymentUnit:
        level, size = self._estate.initial_level(entry), self._estate.log_size(entry)
        return self._stored(lambda: self._rows.with_units(unit, spec, level, size))

    async def _purge(self, environment: Environment, duid: str) -> None:
        try:
            await _asked(environment.purge, duid)
        except Fault as e:
            LOG.warning("%s could not be removed wholly; the next start tries again: %s", duid, e.text)

    async def _remove(self, environment: Environment, place: Place) -> None:
        try:
            await _asked(environment.remove, place)
        except Fault as e:
            LOG.warning("%s could not be removed wholly; the next start tries again: %s", place.duid, e.text)

    # --- results ------------------------------------------------------------------------------------------------------------------------

    async def _begun(self, request: ChangeRequest) -> ChangeRequest:
        after = msgspec.structs.replace(request, attempts=request.attempts + 1)
        await self._written(lambda: self._shelf.save(request=after))
        return after

    async def _settled(
        self,
        request: ChangeRequest,
        result: AutonOpResultStruct,
        *units: DeploymentUnit,
        gone: tuple[DeploymentUnit, ...] = (),
        last: bool = True,
        number: int = 0,
    ) -> ChangeRequest:
        """Put a result on disk together with what it says. number: of the unit, where none is among units and gone."""
        number = next((u.number for u in (*units, *gone)), number)
        after = msgspec.structs.replace(request, results=(*request.results, result), done=(*request.done, number))
        if last:
            after = msgspec.structs.replace(after, at=request.at + 1, targets=None, done=(), attempts=0)
        if not after.complete:
            await self._written(lambda: self._shelf.save(*units, request=after, gone=gone))
            return after
        told = after.results
        if after.autonomous:
            policy = self._policy()
            told = tuple(r for r in told if policy.reports(r.operation_performed, r.fault.fault_code))
        await self._written(lambda: self._shelf.finish(after, told, *units, gone=gone))
        self._finished(after)
        return after

    async def _settled_after_defect(self, request: ChangeRequest, started: str) -> ChangeRequest:
        """The request where an operation ended in an error that nobody foresaw: its result stands if it is on disk, else it failed."""
        stored = self._shelf.requests.get(request.number)
        if stored is None:
            return msgspec.structs.replace(request, at=len(request.operations))
        if stored.at != request.at:
            return stored
        fault = Fault(FaultCode.REQUEST_DENIED, "the device failed during the operation; see the agent's log")
        return await self._settled(stored, self._failed(stored.operation, None, fault, started))

    async def _written(self, write: Callable[[], None]) -> None:
        """Write, as often as it takes: a result that was not told must not be lost to a full disk."""
        while True:
            try:
                write()
                return
            except StoreError as e:
                LOG.error("a change of software modules cannot be written down now: %s", e)
                await self._clock.sleep_until(self._clock.monotonic() + BETWEEN_ATTEMPTS)

    def _stored(self, write: Callable[[], T]) -> T:
        try:
            return write()
        except StoreError as e:
            raise Fault(FaultCode.SYSTEM_RESOURCES_EXCEEDED, f"the device cannot store anything now: {e}"[:256]) from e

    def _result(
        self,
        request: ChangeRequest,
        unit: DeploymentUnit,
        started: str,
        *,
        state: str,
        others: tuple[DeploymentUnit, ...] = (),
    ) -> AutonOpResultStruct:
        """The good result of an operation on a unit. others: units that are not on the shelf as they are now."""
        gone = state == "Uninstalled"
        units = self._shelf.units | {u.number: u for u in others}
        return AutonOpResultStruct(
            uuid=unit.uuid,
            deployment_unit_ref="" if gone else self._rows.deployment_unit(unit.row).removesuffix("."),
            version=unit.version,
            current_state=state,
            resolved=not gone and operations.resolved(unit, units),
            execution_unit_ref_list=",".join(self._rows.execution_unit(r.row).removesuffix(".") for r in unit.units),
            start_time=started,
            complete_time=date_time(self._clock.now()),
            operation_performed=request.operation.kind.value,
        )

    def _failed(
        self, operation: Operation, unit: DeploymentUnit | None, fault: Fault, started: str
    ) -> AutonOpResultStruct:
        uuid = unit.uuid if unit is not None else operation.uuid
        return AutonOpResultStruct(
            uuid=uuid if UUID.fullmatch(uuid) else NO_UUID,
            deployment_unit_ref=self._rows.deployment_unit(unit.row).removesuffix(".") if unit and unit.row else "",
            version=(unit.version if unit is not None else operation.version)[:32],
            current_state="Failed",
            resolved=unit is not None and unit.row > 0 and operations.resolved(unit, self._shelf.units),
            execution_unit_ref_list="",
            start_time=started,
            complete_time=date_time(self._clock.now()),
            fault=FaultStruct(int(operations.listed(fault.code)), (fault.text or fault.code.text)[:256]),
            operation_performed=operation.kind.value,
        )

    def _file(self, request: ChangeRequest) -> Path:
        return self._directory / f"{request.number}-{request.at}.package"


async def _asked(call: Callable[P, T], *args: P.args, **fields: P.kwargs) -> T:
    """What an environment answers, called in a thread. Raises Fault: its own, or what its failure becomes."""
    try:
        return await asyncio.to_thread(call, *args, **fields)
    except Fault:
        raise
    except OSError as e:
        raise _local(e) from e
    except Exception as e:
        # A defect in a plug-in must not keep later requests from being done: the ACS gets 9001, the log the trace.
        LOG.exception("an execution environment failed")
        raise Fault(FaultCode.REQUEST_DENIED, "the execution environment failed; see the agent's log") from e


def _forget(file: Path) -> None:
    """Remove a package that was done with; one that cannot be removed is no reason to fail, the next start tries again."""
    try:
        file.unlink(missing_ok=True)
    except OSError as e:
        LOG.warning("%s cannot be removed: %s", file, e.strerror or e)


def _local(error: OSError) -> Fault:
    """What an error of the device's own file system becomes."""
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return Fault(FaultCode.SYSTEM_RESOURCES_EXCEEDED, "the disk is full")
    return Fault(FaultCode.REQUEST_DENIED, f"the device failed: {error.strerror or error}"[:256])
