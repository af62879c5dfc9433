"""How a transfer ends: reported to the ACS, kept for another attempt in its time window, or forgotten where nobody wants to know.

A result is on disk together with the report that it owes, or is tried again until it is. Source: TR-069a6 A.3.3.2, A.3.3.3.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from homeport.cpe.clock import Clock, date_time
from homeport.cpe.transfers.policy import AutonomousPolicy
from homeport.cpe.transfers.queue import TransferQueue
from homeport.cpe.transfers.records import LONGEST_FAULT_STRING, State, Transfer
from homeport.cpe.transfers.repeats import Repeats
from homeport.cpe.transfers.timetable import Timetable
from homeport.cpe.transfers.work import LOG, Worker
from homeport.errors import ConfigError, StoreError
from homeport.terms import FaultCode
from homeport.transport import files
from homeport.transport.files import FileTransferError

MOST_FINISHED: Final = 16

BETWEEN_ATTEMPTS: Final = 30.0
"""Seconds between looks at what cannot be done now: a disk without room for a report."""


class Results:
    """The ends of the transfers of one device.

    restart_reason: why the device has to restart once no session is open, "" for no restart. on_owed: a report is owed.
    retry_wait: seconds between two attempts in a time window. repeats: of other transfers, all of whose attempts lie within time_limit
    (seconds). random: floats from 0 to 1.
    """

    def __init__(
        self,
        *,
        queue: TransferQueue,
        worker: Worker,
        timetable: Timetable,
        clock: Clock,
        policy: Callable[[], AutonomousPolicy],
        on_owed: Callable[[], None],
        wake: Callable[[], None],
        retry_wait: float,
        repeats: Repeats,
        time_limit: float,
        random: Callable[[], float],
    ) -> None:
        self.restart_reason = ""
        self.finished: deque[Transfer] = deque(maxlen=MOST_FINISHED)
        """The last ones that ended in this run, for whoever waits at the device."""
        self._queue, self._worker, self._timetable, self._clock = queue, worker, timetable, clock
        self._policy, self._on_owed, self._wake = policy, on_owed, wake
        self._retry_wait = retry_wait
        self._repeats, self._time_limit, self._random = repeats, time_limit, random
        self._unsaved: set[int] = set()
        self._save_at = 0.0

    @property
    def all_saved(self) -> bool:
        """Whether the disk has every result."""
        return not self._unsaved

    def forget(self, number: int) -> None:
        """The transfer is gone."""
        self._unsaved.discard(number)

    def raised(self, transfer: Transfer, error: Exception) -> None:
        """Doing the transfer failed with this error."""
        number = transfer.number
        match error:
            case FileTransferError():
                self.failed(
                    number, int(files.fault_code(error.trouble, upload=not transfer.is_download)), str(error), error
                )
            case ConfigError():
                self.failed(number, FaultCode.INTERNAL_ERROR, str(error))
            case StoreError():
                self.failed(number, FaultCode.INTERNAL_ERROR, f"the device cannot store anything now: {error}")
            case _:
                # A defect in a device's plug-in must not end the service: the ACS gets 9002, the log the trace.
                LOG.error("the transfer %s (%s) failed inside the device", number, transfer.file_type, exc_info=error)
                self.failed(number, FaultCode.INTERNAL_ERROR, "the device failed while it handled the file")

    def failed(self, number: int, code: int, text: str, error: FileTransferError | None = None) -> None:
        """The attempt failed: the end of the transfer, or of this attempt where its windows or a passing error allow others."""
        transfer = self._queue.get(number)
        if transfer is None:
            return  # cancelled at the same moment
        shown = files.shown_url(transfer.url)
        LOG.warning("%s %r of %s failed: %d %s", transfer.kind.value, transfer.command_key, shown, code, text)
        asked = error.retry_after if error is not None else 0.0
        if not transfer.windows:
            if error is None or not error.passing or not self._repeat(transfer, code, text, asked):
                tried = f" (tried {transfer.repeats + 1} times)" if transfer.repeats else ""
                self.complete(transfer, code, text[: LONGEST_FAULT_STRING - len(tried)] + tried)
            return
        if self._timetable.window_left(transfer) <= 0:
            code, text = FaultCode.WINDOW_MISSED, "the time window ended before the file was there and applied"
        self._again(transfer, code, text, max(self._retry_wait, asked))

    def _repeat(self, transfer: Transfer, code: int, text: str, asked: float) -> bool:
        """Begin a transfer without windows again later; False where that has been done often enough or its time is over.

        asked: see `Repeats.wait`. A person who began it at the device waits for its end and decides himself.
        """
        number = transfer.repeats + 1
        own = transfer.autonomous and not transfer.announce_url
        if own or number > self._repeats.most:
            return False
        wait = self._repeats.wait(number, asked=asked, random=self._random)
        if self._timetable.begun(transfer.number) + wait >= self._time_limit:
            return False
        LOG.info("transfer %d is begun again in %.0f s (%d of %d)", transfer.number, wait, number, self._repeats.most)
        # Its record holds no begun attempt then: the queue may be asked to cancel it, and other transfers have their turn.
        self._again(msgspec.structs.replace(transfer, repeats=number), code, text, wait)
        return True

    def _again(self, transfer: Transfer, code: int, text: str, wait: float) -> None:
        again = msgspec.structs.replace(
            transfer, state=State.QUEUED, fault_code=int(code), fault_string=text[:LONGEST_FAULT_STRING]
        )
        self._timetable.put_off(transfer.number, wait)
        try:
            self._queue.save(again)
        except StoreError:
            self._queue.hold(again)  # a restart would find it running and count the attempt just the same

    def window_missed(self, transfer: Transfer) -> None:
        """No window is left for it."""
        if transfer.fault_code:
            self.complete(transfer, transfer.fault_code, transfer.fault_string)
        else:
            self.complete(
                transfer, FaultCode.WINDOW_MISSED, "the time windows passed before the file was there and applied"
            )

    def complete(self, transfer: Transfer, code: int, text: str, *, instead_of: Transfer | None = None) -> None:
        """The transfer is over: report it, or forget it where nobody wants to know. instead_of: whose report is withdrawn."""
        over = msgspec.structs.replace(
            transfer,
            state=State.COMPLETED,
            fault_code=int(code),
            fault_string=text[:LONGEST_FAULT_STRING] if code else "",
            completed=date_time(self._clock.now()),
        )
        self.finished.append(over)
        wanted = not transfer.autonomous or self._policy().reports(
            is_download=transfer.is_download, success=not code, file_type=transfer.queue_file_type
        )
        try:
            if wanted:
                self._queue.complete(over, instead_of=instead_of)
            else:
                self._queue.remove((over,))
        except StoreError as e:
            LOG.error("the result of transfer %d is kept in memory only: %s", transfer.number, e)
            self._queue.hold(over)
            self._unsaved.add(over.number)
            self._save_at = self._clock.monotonic() + BETWEEN_ATTEMPTS
            self._wake()
            return
        self._worker.forget(over.number)
        if wanted:
            self._on_owed()
        elif over.restart:
            self.wants_restart(over)

    def wants_restart(self, transfer: Transfer) -> None:
        """The device has to restart for what this transfer brought."""
        self.restart_reason = f"{transfer.file_type} was applied"

    def save_again(self) -> float | None:
        """Try again to report what the disk did not take; when to look again, monotonic seconds."""
        if not self._unsaved or self._clock.monotonic() < self._save_at:
            return self._save_at if self._unsaved else None
        for number in sorted(self._unsaved):
            transfer = self._queue.get(number)
            self._unsaved.discard(number)
            if transfer is not None:
                self.complete(transfer, transfer.fault_code, transfer.fault_string)
        return self._save_at if self._unsaved else None
