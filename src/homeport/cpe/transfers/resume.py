"""What a start of the device means for its transfers: what was cut off, and the update that is on trial until the ACS was reached."""

import asyncio
from collections.abc import Callable

import msgspec

from homeport.cpe.clock import Clock
from homeport.cpe.transfers.file_types import FileTypes, TrialState
from homeport.cpe.transfers.queue import TransferQueue
from homeport.cpe.transfers.records import State, Transfer
from homeport.cpe.transfers.results import BETWEEN_ATTEMPTS, Results
from homeport.cpe.transfers.work import LOG
from homeport.terms import FaultCode
from homeport.transport import files
from homeport.transport.files import FileTransferError, Trouble


class Resumption:
    """Takes up the transfers of one device after a start. restarts: how often a transfer that a restart interrupted is begun again."""

    def __init__(
        self, *, queue: TransferQueue, types: FileTypes, results: Results, clock: Clock, restarts: int
    ) -> None:
        self._queue, self._types, self._results, self._clock = queue, types, results, clock
        self._restarts = restarts

    async def start(self, resume_time: Callable[[Transfer], None]) -> None:
        """Settle what was under way when the device stopped. resume_time: its delay or windows go on. Raises StoreError."""
        trial, state, why, tried = self._types.trial, TrialState.NONE, "", None
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
        for transfer in self._queue:
            resume_time(transfer)
            if transfer.number != tried or not self._settle_trial(transfer, state, why):
                self._resume(transfer)
        if why and trial is not None and trial.transfer is not None:
            trial.settled(why)
        waiting = any(t.number == tried and t.state in (State.INSTALLING, State.COMPLETED) for t in self._queue)
        if state is TrialState.GIVEN_UP or (state is TrialState.NOT_RESTARTED and not waiting):
            # Only the agent was restarted; the device still has to. Before the report where that is the order.
            self._results.restart_reason = why or "an update waits for a restart"

    async def reached(self) -> None:
        """The ACS answered an Inform: an update on trial has proved itself. Raises StoreError."""
        trial = self._types.trial
        if trial is not None and trial.deadline is not None:
            try:
                await trial.confirm()
            except FileTransferError as e:
                LOG.error("the new firmware could not be confirmed; it is tried again in the next session: %s", e)
            else:
                LOG.info("the new firmware has reached the ACS and stays")

    async def look_at_trial(self, closed: asyncio.Event) -> float | None:
        """Give up an update that did not reach the ACS in time; when to look again, monotonic seconds. closed: no session is open."""
        trial = self._types.trial
        if trial is None or trial.deadline is None:
            return None
        if self._clock.monotonic() < trial.deadline or not closed.is_set():
            return trial.deadline if closed.is_set() else None
        number = trial.transfer
        try:
            why = await trial.give_up()
        except FileTransferError as e:
            LOG.error("the new firmware did not reach the ACS and cannot be given up: %s", e)
            return self._clock.monotonic() + BETWEEN_ATTEMPTS
        LOG.error("%s", why)
        transfer = self._queue.get(number) if number is not None else None
        if transfer is not None and transfer.state is State.COMPLETED:
            self._fail_trial(transfer, why)
        trial.settled(why)
        self._results.restart_reason = why
        return None

    def _resume(self, transfer: Transfer) -> None:
        """What a start means for a transfer."""
        match transfer.state:
            case State.RUNNING if transfer.windows:
                self._queue.save(msgspec.structs.replace(transfer, state=State.QUEUED))
            case State.RUNNING | State.INSTALLING if transfer.attempts - transfer.repeats > self._restarts:
                upload = not transfer.is_download
                code = FaultCode.UPLOAD_FAILURE if upload else FaultCode.DOWNLOAD_FAILURE
                self._results.complete(
                    transfer,
                    code,
                    f"the device restarted {transfer.attempts - transfer.repeats} times during the transfer",
                )
            case State.RUNNING:
                self._queue.save(msgspec.structs.replace(transfer, state=State.QUEUED))
            case State.INSTALLING:
                # A file that makes the device fall over must not do so for ever.
                self._queue.save(msgspec.structs.replace(transfer, attempts=transfer.attempts + 1))
            case State.RESTARTING:
                self._results.complete(transfer, 0, "")
            case State.COMPLETED if transfer.restart:
                self._queue.save(msgspec.structs.replace(transfer, restart=False))
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
                self._results.complete(transfer, 0, "")
            case _:
                return False
        return True

    def _fail_trial(self, transfer: Transfer, why: str) -> None:
        """An update that was reported as a success, or was about to be, has failed."""
        told = transfer if transfer.state is State.COMPLETED else None
        failed = msgspec.structs.replace(transfer, restart=False)
        self._results.complete(failed, files.fault_code(Trouble.SERVER), why, instead_of=told)
