"""Transfers from acceptance to the confirmed report: what the agent talks to.

    service = TransferService(facts=store, outbox=ledger, clock=clock, directory=…, types=…, on_owed=…, on_restart=…)
    await service.start()              before the first Inform: what the restart means for what was under way
    answer = service.handle(request)   on disk when it returns
    await service.run()                beside the sessions, until cancelled

One transfer runs at a time unless the rules say otherwise. Nothing is begun before the session that asked for it has ended, and exactly one
report follows each accepted transfer, over any number of restarts. Source: TR-069a6 A.3.2.8, A.4.1.5 to A.4.1.9, A.3.3.2, A.3.3.3.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from homeport.codec.messages import (
    ArgStruct,
    CancelTransfer,
    CancelTransferResponse,
    Download,
    DownloadResponse,
    GetAllQueuedTransfers,
    GetAllQueuedTransfersResponse,
    GetQueuedTransfers,
    GetQueuedTransfersResponse,
    Request,
    RequestDownload,
    Response,
    ScheduleDownload,
    ScheduleDownloadResponse,
    Upload,
    UploadResponse,
)
from homeport.cpe.clock import Clock, date_time
from homeport.cpe.transfers import admission
from homeport.cpe.transfers.file_types import FileTypes, Restart, TrialState
from homeport.cpe.transfers.policy import AutonomousPolicy
from homeport.cpe.transfers.queue import Facts, Outbox, TransferQueue
from homeport.cpe.transfers.records import Kind, State, Transfer
from homeport.cpe.transfers.rules import TransferRules, TransferStatus
from homeport.cpe.transfers.timetable import Timetable
from homeport.cpe.transfers.windows import AT_ANY_TIME, CONFIRMATION_NEEDED, IMMEDIATELY, WHEN_IDLE
from homeport.cpe.transfers.work import LOG, Fetch, Put, Worker
from homeport.errors import ConfigError, Fault, StoreError
from homeport.terms import CwmpVersion, EventCode, FaultCode
from homeport.transport import files
from homeport.transport.files import Credentials, FileLimits, FileOptions, FileTransferError, Trouble
from homeport.transport.files.sink import free_space

BETWEEN_ATTEMPTS: Final = 30.0
"""Seconds between looks at what cannot be done now: a disk without room for a report."""


class TransferService:
    """The transfers of one device."""

    def __init__(
        self,
        *,
        facts: Facts,
        outbox: Outbox,
        clock: Clock,
        directory: Path,
        types: FileTypes,
        on_owed: Callable[[], None],
        on_restart: Callable[[str], None],
        limits: FileLimits = files.DEFAULT_LIMITS,
        options: FileOptions = files.DEFAULT_OPTIONS,
        rules: TransferRules | None = None,
        policy: Callable[[], AutonomousPolicy] = AutonomousPolicy,
        version: Callable[[], CwmpVersion] = lambda: CwmpVersion.V1_4,
        idle: Callable[[], bool] | None = None,
        consent: Callable[[Transfer, str], bool | None] | None = None,
        refuse: Callable[[Transfer], str] = lambda _: "",
        fetch: Fetch = files.fetch,
        put: Put = files.put,
    ) -> None:
        """Reads what is on disk.

        directory: where files lie while they are under way. on_owed: a report is owed, a session is wanted. on_restart: restart the
        device now, with the reason; called only while no session is open. version: of the ACS spoken to last, for the fault codes.
        idle: whether an interruption would hurt nobody (mode `3 When Idle`). consent: what the user said to the UserMessage,
        None while nothing (mode `4 Confirmation Needed`). refuse: why a transfer is denied (9001), "" where it is not.
        Raises StoreError.
        """
        self.queue = TransferQueue(facts, outbox)
        self.types = types
        self._outbox = outbox
        self._directory = directory
        self._clock = clock
        self._on_owed, self._on_restart = on_owed, on_restart
        self._limits, self._options = limits, options
        self._rules = rules or TransferRules()
        self._policy, self._version, self._refuse = policy, version, refuse
        self._modes: tuple[str, ...] = (AT_ANY_TIME, IMMEDIATELY)
        self._modes += (WHEN_IDLE,) if idle is not None else ()
        self._modes += (CONFIRMATION_NEEDED,) if consent is not None else ()
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()
        self._closed.set()
        self._timetable = Timetable(clock, look=self._rules.look, idle=idle, consent=consent)
        self._worker = Worker(
            queue=self.queue,
            types=types,
            timetable=self._timetable,
            clock=clock,
            directory=directory,
            closed=self._closed,
            limits=limits,
            options=options,
            exact_size=self._rules.exact_size,
            fetch=fetch,
            put=put,
        )
        self._fresh: set[int] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._unsaved: set[int] = set()
        self._save_at = 0.0
        self._restart_reason = ""
        self._leaving = False
        self._handlers: Final[dict[type[Request], Callable[[Any], Response]]] = {
            Download: self.handle_download,
            Upload: self.handle_upload,
            ScheduleDownload: self.handle_schedule_download,
            CancelTransfer: self.handle_cancel,
            GetQueuedTransfers: lambda _: GetQueuedTransfersResponse(self.queued()),
            GetAllQueuedTransfers: lambda _: GetAllQueuedTransfersResponse(self.all_queued()),
        }

    # --- what the ACS asks ------------------------------------------------------------------------------------------------------

    @property
    def handlers(self) -> dict[type[Request], Callable[[Any], Response]]:
        """The answers to the requests of this room, by request class: to be added to the agent's table."""
        return dict(self._handlers)

    def handle(self, request: Request) -> Response:
        """The answer to one of them; everything is on disk when it returns. Raises Fault, StoreError."""
        return self._handlers[type(request)](request)

    def handle_download(self, request: Download) -> DownloadResponse:
        """Accept a Download; always to be done later (Status 1). Raises Fault 9001, 9003, 9004, 9013; StoreError."""
        self._admit(
            admission.download_of(
                request, types=self.types, schemes=self.schemes, largest=self._room(), accepted=self._timetable.wall()
            )
        )
        return DownloadResponse()

    def handle_upload(self, request: Upload) -> UploadResponse:
        """Accept an Upload, as handle_download does."""
        self._admit(
            admission.upload_of(request, types=self.types, schemes=self.schemes, accepted=self._timetable.wall())
        )
        return UploadResponse()

    def handle_schedule_download(self, request: ScheduleDownload) -> ScheduleDownloadResponse:
        """Accept a ScheduleDownload, as handle_download does."""
        self._admit(
            admission.schedule_download_of(
                request,
                types=self.types,
                schemes=self.schemes,
                largest=self._room(),
                modes=self.modes,
                accepted=self._timetable.wall(),
            )
        )
        return ScheduleDownloadResponse()

    def handle_cancel(self, request: CancelTransfer) -> CancelTransferResponse:
        """Drop all transfers with that key, also one under way; an unknown key is no fault (unverified).

        Raises Fault 9021, with nothing dropped, where one of them is being applied or is over.
        """
        found = self.queue.with_key(request.command_key)
        for transfer in found:
            if transfer.state not in (State.QUEUED, State.RUNNING):
                raise Fault(
                    FaultCode.CANCEL_NOT_PERMITTED, f"the transfer {request.command_key!r} is {transfer.state.value}"
                )
        self.queue.remove(found)
        for transfer in found:
            task = self._tasks.get(transfer.number)
            if task is not None:
                task.cancel()
            else:
                self._forget(transfer.number)
        self._wake.set()
        return CancelTransferResponse()

    def queued(self) -> tuple[Any, ...]:
        """For GetQueuedTransfers: what the ACS asked for."""
        return tuple(t.queued for t in self.queue.of_acs())

    def all_queued(self) -> tuple[Any, ...]:
        """For GetAllQueuedTransfers: the device's own too."""
        return tuple(t.all_queued for t in self.queue)

    @property
    def schemes(self) -> tuple[str, ...]:
        """The URL schemes that can be used here."""
        return files.supported_schemes(self._options)

    @property
    def modes(self) -> tuple[str, ...]:
        """The window modes that this device can keep to."""
        return self._modes

    # --- what the device itself wants ---------------------------------------------------------------------------------------------

    def start_own(
        self,
        kind: Kind,
        file_type: str,
        url: str,
        *,
        credentials: Credentials = files.NO_CREDENTIALS,
        file_size: int = 0,
        target_file_name: str = "",
        announce_url: str = "",
    ) -> int:
        """A transfer that no ACS asked for (a person at the device, an announcement); its number. Reported as the policy says.

        Raises Fault as for the ACS, StoreError.
        """
        known = self.types.exporter(file_type) if kind is Kind.UPLOAD else self.types.installer(file_type)
        if known is None:
            raise Fault(FaultCode.INVALID_ARGUMENTS, f"the file type {file_type!r} is not supported")
        admission.check_url(url, self.schemes)
        transfer = Transfer(
            number=0,
            kind=kind,
            command_key="",
            file_type=file_type,
            url=url,
            username=credentials.username,
            password=credentials.password,
            file_size=file_size,
            target_file_name=target_file_name,
            accepted=self._timetable.wall(),
            autonomous=True,
            announce_url=announce_url,
        )
        return self._admit(transfer).number

    def request_download(self, file_type: str, arguments: dict[str, str] | None = None) -> None:
        """Ask the ACS for a Download of that type (`9 REQUEST DOWNLOAD`)."""
        args = tuple(ArgStruct(name, value) for name, value in (arguments or {}).items())
        self._outbox.owe_request(RequestDownload(file_type, args), EventCode.REQUEST_DOWNLOAD)
        self._on_owed()

    # --- sessions -----------------------------------------------------------------------------------------------------------------

    def session_opened(self) -> None:
        """A session begins: what it asks for waits for its end."""
        self._closed.clear()

    def session_closed(self) -> None:
        """The session is over: what it asked for may begin, and a restart that waited for it."""
        self._fresh.clear()
        self._closed.set()
        self._wake.set()

    async def acs_reached(self) -> None:
        """The ACS answered an Inform: an update on trial has proved itself. Raises StoreError."""
        trial = self.types.trial
        if trial is not None and trial.deadline is not None:
            try:
                await trial.confirm()
            except FileTransferError as e:
                LOG.error("the new firmware could not be confirmed; it is tried again in the next session: %s", e)
            else:
                LOG.info("the new firmware has reached the ACS and stays")

    def owed_results(self) -> tuple[Request, ...]:
        """The reports that the ACS has not confirmed; the outbox sends them."""
        return self.queue.owes()

    def acknowledged(self, request: Request) -> None:
        """The ACS confirmed a TransferComplete or AutonomousTransferComplete; in place of the outbox's own `answered`.

        Raises StoreError; the report stays owed then.
        """
        found = self.queue.acknowledged(request)
        if found is None:
            return
        self._forget(found.number)
        if found.restart:
            self._restart_reason = f"{found.file_type} was applied"
            self._wake.set()

    # --- running --------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Settle what was under way when the device stopped. Before the first Inform. Raises StoreError."""
        await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
        trial, state, why, tried = self.types.trial, TrialState.NONE, "", None
        if trial is not None:
            tried = trial.transfer
            try:
                state, why = await trial.begin(self._clock.monotonic())
            except FileTransferError as e:
                # Nobody can tell what runs now; a result that nobody knows is not reported as a success.
                state, why = TrialState.FAILED, f"the device cannot say which firmware runs: {e}"
                tried = trial.transfer
            if why:
                LOG.error("%s", why)
        for transfer in self.queue:
            self._timetable.resume(transfer)
            if transfer.number != tried or not self._settle_trial(transfer, state, why):
                self._resume(transfer)
        if why and trial is not None and trial.transfer is not None:
            trial.settled(why)
        waiting = any(t.number == tried and t.state in (State.INSTALLING, State.COMPLETED) for t in self.queue)
        if state is TrialState.GIVEN_UP or (state is TrialState.NOT_RESTARTED and not waiting):
            # Only the agent was restarted; the device still has to. Before the report where that is the order.
            self._restart_reason = why or "an update waits for a restart"
        self._clean()

    async def run(self) -> None:
        """Do what is due, until cancelled; a transfer that is cut off so goes on after the next start."""
        try:
            while True:
                self._wake.clear()
                deadlines = [self._save_again(), await self._trial(), self._begin_due()]
                self._restart_if_due()
                await self._sleep(min((d for d in deadlines if d is not None), default=None))
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def poke(self) -> None:
        """Something outside may have changed: consent, idleness, the clock."""
        self._wake.set()

    def status(self) -> list[TransferStatus]:
        """All transfers, for people."""
        now = self._clock.monotonic()
        rows = []
        for t in self.queue:
            done, total = self._worker.progress.get(t.number, (0, t.file_size or None))
            due = self._timetable.due(t, now) if t.state is State.QUEUED else None
            rows.append(
                TransferStatus(
                    number=t.number,
                    kind=t.kind.value,
                    command_key=t.command_key,
                    file_type=t.file_type,
                    url=t.url,
                    state=t.state.value,
                    done=done,
                    total=total,
                    due_in=None if due is None else max(0.0, due - now),
                    fault_code=t.fault_code,
                    fault_string=t.fault_string,
                )
            )
        return rows

    # --- starting what is due -----------------------------------------------------------------------------------------------------

    def _admit(self, transfer: Transfer) -> Transfer:
        reason = self._refuse(transfer)
        if reason:
            raise Fault(FaultCode.REQUEST_DENIED, reason)
        admitted = self.queue.admit(transfer)
        self._timetable.accept(admitted)
        if not self._closed.is_set() and not admitted.autonomous:
            self._fresh.add(admitted.number)
        self._wake.set()
        return admitted

    def _begin_due(self) -> float | None:
        """Begin what may begin now; when to look again, monotonic seconds."""
        now = self._clock.monotonic()
        nearest: float | None = None
        for transfer in self.queue:
            waits = transfer.state in (State.QUEUED, State.INSTALLING) and transfer.number not in self._tasks
            if not waits or transfer.number in self._fresh:
                continue
            due = now if transfer.state is State.INSTALLING else self._timetable.due(transfer, now)
            if due is None:
                self._window_missed(transfer)
            elif due > now:
                nearest = due if nearest is None else min(nearest, due)
            elif len(self._tasks) < self._rules.parallel and not (self._restart_reason or self._leaving):
                task = asyncio.get_running_loop().create_task(self._perform(transfer))
                self._tasks[transfer.number] = task
        return nearest

    def _window_missed(self, transfer: Transfer) -> None:
        if transfer.attempts and transfer.fault_code:
            self._complete(transfer, transfer.fault_code, transfer.fault_string)
        else:
            self._complete(
                transfer, FaultCode.WINDOW_MISSED, "the time windows passed before the file was there and applied"
            )

    # --- one transfer ---------------------------------------------------------------------------------------------------------------

    async def _perform(self, transfer: Transfer) -> None:
        number = transfer.number
        try:
            done, restart = await self._worker.do(transfer)
            if restart is Restart.BEFORE_REPORT:
                self.queue.save(msgspec.structs.replace(done, state=State.RESTARTING))
                self._restart_reason = f"{done.file_type} was applied"
            else:
                self._complete(msgspec.structs.replace(done, restart=restart is Restart.AFTER_REPORT), 0, "")
        except asyncio.CancelledError:
            if self.queue.get(number) is not None:
                raise  # the agent stops; the transfer stays
        except FileTransferError as e:
            self._failed(
                number,
                int(files.fault_code(e.trouble, upload=not transfer.is_download, version=self._version())),
                str(e),
            )
        except ConfigError as e:
            self._failed(number, FaultCode.INTERNAL_ERROR, str(e))
        except StoreError as e:
            self._failed(number, FaultCode.INTERNAL_ERROR, f"the device cannot store anything now: {e}")
        except Exception:
            # A defect in a device's plug-in must not end the service: the ACS gets 9002, the log the trace.
            LOG.exception("the transfer %s (%s) failed inside the device", number, transfer.file_type)
            self._failed(number, FaultCode.INTERNAL_ERROR, "the device failed while it handled the file")
        finally:
            self._tasks.pop(number, None)
            if self.queue.get(number) is None:
                self._forget(number)
            self._wake.set()

    def _failed(self, number: int, code: int, text: str) -> None:
        transfer = self.queue.get(number)
        if transfer is None:
            return  # cancelled at the same moment
        LOG.warning("%s %r of %s failed: %d %s", transfer.kind.value, transfer.command_key, transfer.url, code, text)
        if not transfer.windows:
            self._complete(transfer, code, text)
            return
        if self._timetable.window_left(transfer) <= 0:
            code, text = FaultCode.WINDOW_MISSED, "the time window ended before the file was there and applied"
        again = msgspec.structs.replace(transfer, state=State.QUEUED, fault_code=int(code), fault_string=text[:256])
        self._timetable.put_off(number, self._rules.retry_wait)
        try:
            self.queue.save(again)
        except StoreError:
            self.queue.hold(again)  # a restart would find it running and count the attempt just the same

    def _complete(self, transfer: Transfer, code: int, text: str, *, instead_of: Transfer | None = None) -> None:
        """The transfer is over: report it, or forget it where nobody wants to know."""
        text = text[:256]
        over = msgspec.structs.replace(
            transfer,
            state=State.COMPLETED,
            fault_code=int(code),
            fault_string=text if code else "",
            completed=date_time(self._clock.now()),
        )
        wanted = not transfer.autonomous or self._policy().reports(
            is_download=transfer.is_download, success=not code, file_type=transfer.queue_file_type
        )
        try:
            if wanted:
                self.queue.complete(over, instead_of=instead_of)
            else:
                self.queue.remove((over,))
        except StoreError as e:
            LOG.error("the result of transfer %d is kept in memory only: %s", transfer.number, e)
            self.queue.hold(over)
            self._unsaved.add(over.number)
            self._save_at = self._clock.monotonic() + BETWEEN_ATTEMPTS
            self._wake.set()
            return
        self._worker.forget(over.number)
        if wanted:
            self._on_owed()
        elif over.restart:
            self._restart_reason = f"{over.file_type} was applied"

    def _save_again(self) -> float | None:
        """Try again to report what the disk did not take; when to look again."""
        if not self._unsaved or self._clock.monotonic() < self._save_at:
            return self._save_at if self._unsaved else None
        for number in sorted(self._unsaved):
            transfer = self.queue.get(number)
            self._unsaved.discard(number)
            if transfer is not None:
                self._complete(transfer, transfer.fault_code, transfer.fault_string)
        return self._save_at if self._unsaved else None

    # --- restarts and trials ----------------------------------------------------------------------------------------------------------

    def _resume(self, transfer: Transfer) -> None:
        """What a start means for a transfer."""
        match transfer.state:
            case State.RUNNING if transfer.windows:
                self.queue.save(msgspec.structs.replace(transfer, state=State.QUEUED))
            case State.RUNNING | State.INSTALLING if transfer.attempts > self._rules.restarts:
                upload = not transfer.is_download
                code = FaultCode.UPLOAD_FAILURE if upload else FaultCode.DOWNLOAD_FAILURE
                self._complete(transfer, code, f"the device restarted {transfer.attempts} times during the transfer")
            case State.RUNNING:
                self.queue.save(msgspec.structs.replace(transfer, state=State.QUEUED))
            case State.INSTALLING:
                # A file that makes the device fall over must not do so for ever.
                self.queue.save(msgspec.structs.replace(transfer, attempts=transfer.attempts + 1))
            case State.RESTARTING:
                self._complete(transfer, 0, "")
            case State.COMPLETED if transfer.restart:
                self.queue.save(msgspec.structs.replace(transfer, restart=False))
            case _:
                pass

    def _settle_trial(self, transfer: Transfer, state: TrialState, why: str) -> bool:
        """What the start means for the transfer whose update is on trial; False where it means no more than for others."""
        installing = transfer.state is State.INSTALLING  # the agent fell between the installer and its own note
        match state:
            case TrialState.FAILED | TrialState.GIVEN_UP if not (installing and state is TrialState.FAILED):
                self._fail_trial(transfer, why)
            case TrialState.NOT_RESTARTED if not installing:
                pass  # its restart is still to come
            case TrialState.RUNNING if installing:
                self._complete(transfer, 0, "")
            case _:
                return False
        return True

    def _fail_trial(self, transfer: Transfer, why: str) -> None:
        """An update that was reported as a success, or was about to be, has failed."""
        told = transfer if transfer.state is State.COMPLETED else None
        failed = msgspec.structs.replace(transfer, restart=False)
        code = files.fault_code(Trouble.SERVER, version=self._version())
        self._complete(failed, code, why, instead_of=told)

    async def _trial(self) -> float | None:
        """Give up an update that did not reach the ACS in time; when to look again."""
        trial = self.types.trial
        if trial is None or trial.deadline is None:
            return None
        if self._clock.monotonic() < trial.deadline or not self._closed.is_set():
            return trial.deadline if self._closed.is_set() else None
        number = trial.transfer
        try:
            why = await trial.give_up()
        except FileTransferError as e:
            LOG.error("the new firmware did not reach the ACS and cannot be given up: %s", e)
            return self._clock.monotonic() + BETWEEN_ATTEMPTS
        LOG.error("%s", why)
        transfer = self.queue.get(number) if number is not None else None
        if transfer is not None and transfer.state is State.COMPLETED:
            self._fail_trial(transfer, why)
        trial.settled(why)
        self._restart_reason = why
        return None

    def _restart_if_due(self) -> None:
        if not self._restart_reason or not self._closed.is_set() or self._unsaved:
            return
        if any(t.state is State.INSTALLING and t.number in self._tasks for t in self.queue):
            return
        reason, self._restart_reason, self._leaving = self._restart_reason, "", True
        self._on_restart(reason)

    # --- small things -----------------------------------------------------------------------------------------------------------------

    def _room(self) -> int:
        """The largest file that can be taken."""
        place = self._directory
        while not place.exists():
            place = place.parent
        return min(self._limits.max_size, max(0, free_space(place) - self._limits.reserve))

    def _forget(self, number: int) -> None:
        self._timetable.forget(number)
        self._fresh.discard(number)
        self._unsaved.discard(number)
        self._worker.forget(number)

    def _clean(self) -> None:
        """Remove files that no transfer needs any more."""
        for file in self._directory.glob("*.file*"):
            number = file.name.partition(".")[0]
            transfer = self.queue.get(int(number)) if number.isdigit() else None
            if transfer is None or transfer.state in (State.COMPLETED, State.RESTARTING):
                file.unlink(missing_ok=True)

    async def _sleep(self, deadline: float | None) -> None:
        if self._wake.is_set():
            return
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._wake.wait())]
        if deadline is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep_until(deadline)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
