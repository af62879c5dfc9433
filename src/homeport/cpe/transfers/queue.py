"""The transfers that a device has accepted: on disk before the response leaves, gone when the ACS has confirmed the report.

Knows nothing of bytes and time. The storage is a small protocol that `cpe.ledger.Ledger` and `cpe.state.Store` fulfil: one commit holds a
transfer's record and the report that it causes.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import msgspec

from homeport.codec.messages import AllQueuedTransferStruct, QueuedTransferStruct, Request
from homeport.cpe.transfers.records import EVENTS, State, Transfer
from homeport.errors import Fault, StoreError
from homeport.terms import EventCode, FaultCode

TRANSFER: Final = "transfer"
"""The bucket of the state that holds the transfers; a factory reset empties it."""

MAX_TRANSFERS: Final = 16
"""Transfers of the ACS that may be remembered at once: as many as GetQueuedTransfers can list (cwmp-1-0.xsd)."""


class Changes(Protocol):
    """Changes of one commit."""

    def put(self, bucket: str, key: str, value: Any) -> None: ...

    def remove(self, bucket: str, key: str) -> None: ...


class Facts(Protocol):
    """What is on disk."""

    def items(self, bucket: str) -> list[tuple[str, Any]]: ...


class Outbox(Protocol):
    """Requests owed to the ACS, kept with everything else in one commit. Each raises StoreError where the disk does not take it."""

    def promise(self) -> AbstractContextManager[Changes]:
        """Changes that count only if they are on disk when the block ends."""
        ...

    def owe_request(self, request: Request, event: EventCode, command_key: str = "") -> None: ...

    def answered(self, request: Request) -> None: ...


class TransferQueue:
    """Records by number, in the order of acceptance."""

    def __init__(self, facts: Facts, outbox: Outbox) -> None:
        """Raises StoreError where the state cannot be read."""
        self._outbox = outbox
        self._records: dict[int, Transfer] = {}
        self._next = 1
        for key, value in facts.items(TRANSFER):
            if key.isdigit():
                try:
                    record = msgspec.convert(value, Transfer)
                except msgspec.ValidationError as e:
                    raise StoreError(
                        f"transfer {int(key)} cannot be read ({e}); install the release that wrote it, or restore the factory settings"
                    ) from e
                self._records[record.number] = record
                self._next = max(self._next, record.number + 1)

    def __iter__(self) -> Iterator[Transfer]:
        return iter(tuple(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def get(self, number: int) -> Transfer | None:
        return self._records.get(number)

    def of_acs(self) -> tuple[Transfer, ...]:
        return tuple(r for r in self._records.values() if not r.autonomous)

    def queued(self) -> tuple[QueuedTransferStruct, ...]:
        """For GetQueuedTransfers: what the ACS asked for."""
        return tuple(r.queued for r in self.of_acs())

    def all_queued(self) -> tuple[AllQueuedTransferStruct, ...]:
        """For GetAllQueuedTransfers: the device's own too."""
        return tuple(r.all_queued for r in self._records.values())

    def admit(self, transfer: Transfer) -> Transfer:
        """Accept a transfer under the next number. Raises Fault 9004 where the queue is full, StoreError."""
        if sum(r.autonomous is transfer.autonomous for r in self._records.values()) >= MAX_TRANSFERS:
            raise Fault(FaultCode.RESOURCES_EXCEEDED, f"{MAX_TRANSFERS} transfers are queued already")
        record = msgspec.structs.replace(transfer, number=self._next)
        self.save(record)
        self._next += 1
        return record

    def save(self, record: Transfer) -> Transfer:
        """Put a record on disk. Raises StoreError; memory is unchanged then."""
        with self._outbox.promise() as changes:
            changes.put(TRANSFER, _key(record), msgspec.to_builtins(record))
        self._records[record.number] = record
        return record

    def hold(self, record: Transfer) -> None:
        """Remember in memory what the disk did not take."""
        self._records[record.number] = record

    def remove(self, records: tuple[Transfer, ...]) -> None:
        """Forget records, all in one commit. Raises StoreError."""
        with self._outbox.promise() as changes:
            for record in records:
                changes.remove(TRANSFER, _key(record))
        for record in records:
            self._records.pop(record.number, None)

    def complete(self, record: Transfer, *, instead_of: Transfer | None = None) -> None:
        """Put a completed record on disk and owe its report, in one commit. instead_of: whose report is withdrawn. Raises StoreError."""
        with self._outbox.promise() as changes:
            if instead_of is not None:
                self._outbox.answered(instead_of.report)
            changes.put(TRANSFER, _key(record), msgspec.to_builtins(record))
            if record.autonomous:
                self._outbox.owe_request(record.report, EventCode.AUTONOMOUS_TRANSFER_COMPLETE)
            else:
                self._outbox.owe_request(record.report, EVENTS[record.kind], record.command_key)
        self._records[record.number] = record

    def reported_by(self, request: Request) -> Transfer | None:
        """The completed transfer whose report this is, None where it is nobody's."""
        return next((r for r in self._records.values() if r.state is State.COMPLETED and r.report == request), None)

    def acknowledged(self, request: Request) -> Transfer | None:
        """Forget the transfer whose report the ACS has confirmed, and the report, in one commit; None where it is nobody's."""
        found = self.reported_by(request)
        with self._outbox.promise() as changes:
            self._outbox.answered(request)
            if found is not None:
                changes.remove(TRANSFER, _key(found))
        if found is not None:
            del self._records[found.number]
        return found

    def with_key(self, command_key: str) -> tuple[Transfer, ...]:
        """The ACS's transfers with that CommandKey; several may share it."""
        return tuple(r for r in self.of_acs() if r.command_key == command_key)

    def owes(self) -> tuple[Request, ...]:
        """The reports that wait for the ACS, oldest first."""
        return tuple(r.report for r in self._records.values() if r.state is State.COMPLETED)


def _key(record: Transfer) -> str:
    return f"{record.number:09d}"
