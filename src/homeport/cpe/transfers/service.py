"""Transfers from acceptance to the confirmed report: what the agent talks to.

    service = TransferService(facts=store, outbox=ledger, clock=clock, directory=…, types=…, on_owed=…, on_restart=…)
    await service.start()              before the first Inform: what the restart means for what was under way
    answer = service.handle(request)   on disk when it returns
    await service.run()                beside the sessions, until cancelled

One transfer runs at a time unless the rules say otherwise. Nothing is begun before the session that asked for it has ended, and exactly one
report follows each accepted transfer, over any number of restarts. Source: TR-069a6 A.3.2.8, A.4.1.5 to A.4.1.9, A.3.3.2, A.3.3.3.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from homeport.codec.messages import ArgStruct, Request, RequestDownload, Response
from homeport.cpe.clock import Clock
from homeport.cpe.transfers import admission
from homeport.cpe.transfers.answers import Answers, check_may_cancel
from homeport.cpe.transfers.file_types import FileTypes, Restart
from homeport.cpe.transfers.policy import AutonomousPolicy
from homeport.cpe.transfers.queue import Facts, Outbox, TransferQueue
from homeport.cpe.transfers.records import Kind, State, Transfer
from homeport.cpe.transfers.results import Results
from homeport.cpe.transfers.resume import Resumption
from homeport.cpe.transfers.rules import TransferRules, TransferStatus
from homeport.cpe.transfers.shown import shown
from homeport.cpe.transfers.timetable import Timetable
from homeport.cpe.transfers.windows import AT_ANY_TIME, CONFIRMATION_NEEDED, IMMEDIATELY, WHEN_IDLE, attempts_in
from homeport.cpe.transfers.work import Fetch, Put, Worker
from homeport.errors import Fault, HomeportError
from homeport.terms import EventCode, FaultCode
from homeport.transport import files
from homeport.transport.files import Credentials, FileLimits, FileOptions
from homeport.transport.files.sink import free_space


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
        idle: Callable[[], bool] | None = None,
        asks: bool = False,
        refuse: Callable[[Transfer], str] = lambda _: "",
        fetch: Fetch = files.fetch,
        put: Put = files.put,
        random: Callable[[], float] = random.random,
    ) -> None:
        """Reads what is on disk.

        directory: where files lie while they are under way. on_owed: a report is owed, a session is wanted. on_restart: restart the
        device now, with the reason; called only while no session is open.
        idle: whether an interruption would hurt nobody (mode `3 When Idle`). asks: a person at the device can be asked
        (mode `4 Confirmation Needed`). refuse: why a transfer is denied (9001), "" where it is not.
        random: floats from 0 to 1; they spread the attempts of a fleet.
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
        self._refuse = refuse
        self._modes: tuple[str, ...] = (AT_ANY_TIME, IMMEDIATELY)
        self._modes += (WHEN_IDLE,) if idle is not None else ()
        self._modes += (CONFIRMATION_NEEDED,) if asks else ()
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()
        self._closed.set()
        self._timetable = Timetable(clock, look=self._rules.look, idle=idle)
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
        self._results = Results(
            queue=self.queue,
            worker=self._worker,
            timetable=self._timetable,
            clock=clock,
            policy=policy,
            on_owed=on_owed,
            wake=self._wake.set,
            retry_wait=self._rules.retry_wait,
            repeats=self._rules.repeats,
            time_limit=limits.total,
            random=random,
        )
        self._resumption = Resumption(
            queue=self.queue, types=types, results=self._results, clock=clock, restarts=self._rules.restarts
        )
        self._fresh: set[int] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leaving = False
        self._answers = Answers(self)

    # --- what the ACS asks ------------------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        """The answer to a request of transfers.answers; everything is on disk when it returns. Raises Fault, StoreError."""
        return self._answers.handlers[type(request)](request)

    def admit(self, transfer: Transfer) -> Transfer:
        """Accept a transfer: on disk when this returns. Raises Fault 9001 or 9004, StoreError."""
        reason = self._refuse(transfer)
        if reason:
            raise Fault(FaultCode.REQUEST_DENIED, reason)
        admitted = self.queue.admit(transfer)
        self._timetable.accept(admitted)
        if not self._closed.is_set() and not admitted.autonomous:
            self._fresh.add(admitted.number)
        self._wake.set()
        return admitted

    def drop(self, transfers: tuple[Transfer, ...]) -> None:
        """Forget them, also those under way; nobody is told. Raises StoreError."""
        self.queue.remove(transfers)
        for transfer in transfers:
            task = self._tasks.get(transfer.number)
            if task is not None:
                task.cancel()
            else:
                self._forget(transfer.number)
        self._wake.set()

    def room(self) -> int:
        """Bytes of the largest file that can be taken now."""
        place = self._directory
        while not place.exists():
            place = place.parent
        return min(self._limits.max_size, max(0, free_space(place) - self._limits.reserve))

    def wall(self) -> float | None:
        """The wall clock, None where it is not set."""
        return self._timetable.wall()

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
        return self.admit(transfer).number

    def answer_user(self, number: int, *, yes: bool) -> None:
        """The person at the device agrees to a transfer that asks, or does not. Raises HomeportError where it asks nothing, StoreError."""
        transfer = self.queue.get(number)
        asked = self._timetable.question(transfer, self._clock.monotonic()) if transfer is not None else None
        if transfer is None or asked is None:
            raise HomeportError(f"transfer {number} asks nobody")
        window = asked[0]
        if yes:
            self.queue.save(msgspec.structs.replace(transfer, consent=window))
        else:
            # The window is used up; a second one may still do it, or ask again.
            self.queue.save(
                msgspec.structs.replace(
                    transfer,
                    window=window,
                    window_attempts=attempts_in(transfer.windows[window]),
                    fault_code=int(FaultCode.REQUEST_DENIED),
                    fault_string="the user of the device did not want it",
                )
            )
        self._wake.set()

    def cancel_own(self, number: int) -> None:
        """The person at the device stops one of the device's own transfers. Raises Fault 9021, HomeportError for the ACS's, StoreError."""
        transfer = self.queue.get(number)
        if transfer is None or not transfer.autonomous:
            what = "asked for by the ACS, which alone may cancel it" if transfer is not None else "not there"
            raise HomeportError(f"transfer {number} is {what}")
        check_may_cancel((transfer,))
        self.drop((transfer,))

    def finished(self, number: int) -> Transfer | None:
        """A transfer of this run that has ended, None where it has not. Raises HomeportError where it is not known."""
        found = next((t for t in reversed(self._results.finished) if t.number == number), None)
        if found is None and self.queue.get(number) is None:
            raise HomeportError(f"there is no transfer {number}; it was cancelled, or ended before the agent restarted")
        return found

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
        await self._resumption.reached()

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
            self._results.wants_restart(found)
            self._wake.set()

    # --- running --------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Settle what was under way when the device stopped. Before the first Inform. Raises StoreError."""
        await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
        await self._resumption.start(self._timetable.resume)
        self._clean()

    async def run(self) -> None:
        """Do what is due, until cancelled; a transfer that is cut off so goes on after the next start."""
        try:
            while True:
                self._wake.clear()
                deadlines = [
                    self._results.save_again(),
                    await self._resumption.look_at_trial(self._closed),
                    self._begin_due(),
                ]
                self._restart_if_due()
                await self._sleep(min((d for d in deadlines if d is not None), default=None))
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def status(self) -> list[TransferStatus]:
        """All transfers, for people."""
        return shown(self.queue, self._timetable, self._worker.progress, self._clock.monotonic())

    # --- starting what is due -----------------------------------------------------------------------------------------------------

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
                self._results.window_missed(transfer)
            elif due > now:
                nearest = due if nearest is None else min(nearest, due)
            elif len(self._tasks) < self._rules.parallel and not (self._results.restart_reason or self._leaving):
                task = asyncio.get_running_loop().create_task(self._perform(transfer))
                self._tasks[transfer.number] = task
        return nearest

    # --- one transfer ---------------------------------------------------------------------------------------------------------------

    async def _perform(self, transfer: Transfer) -> None:
        number = transfer.number
        try:
            done, restart = await self._worker.do(transfer)
            if restart is Restart.BEFORE_REPORT:
                self.queue.save(msgspec.structs.replace(done, state=State.RESTARTING))
                self._results.wants_restart(done)
            else:
                self._results.complete(msgspec.structs.replace(done, restart=restart is Restart.AFTER_REPORT), 0, "")
        except asyncio.CancelledError:
            if self.queue.get(number) is not None:
                raise  # the agent stops; the transfer stays
        except Exception as e:
            self._results.raised(transfer, e)
        finally:
            self._tasks.pop(number, None)
            if self.queue.get(number) is None:
                self._forget(number)
            self._wake.set()

    def _restart_if_due(self) -> None:
        if not self._results.restart_reason or not self._closed.is_set() or not self._results.all_saved:
            return
        if any(t.state is State.INSTALLING and t.number in self._tasks for t in self.queue):
            return
        reason, self._results.restart_reason, self._leaving = self._results.restart_reason, "", True
        self._on_restart(reason)

    # --- small things -----------------------------------------------------------------------------------------------------------------

    def _forget(self, number: int) -> None:
        self._timetable.forget(number)
        self._fresh.discard(number)
        self._results.forget(number)
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
