"""The answers to the ACS's requests about transfers; what is accepted is on disk when the answer is there.

Source: TR-069a6 A.3.2.8, A.4.1.5 to A.4.1.9.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from homeport.codec.messages import (
    CancelTransfer,
    CancelTransferResponse,
    Download,
    DownloadResponse,
    GetAllQueuedTransfers,
    GetAllQueuedTransfersResponse,
    GetQueuedTransfers,
    GetQueuedTransfersResponse,
    Request,
    Response,
    ScheduleDownload,
    ScheduleDownloadResponse,
    Upload,
    UploadResponse,
)
from homeport.cpe.transfers import admission
from homeport.cpe.transfers.file_types import FileTypes
from homeport.cpe.transfers.queue import TransferQueue
from homeport.cpe.transfers.records import State, Transfer
from homeport.errors import Fault
from homeport.terms import FaultCode


class Desk(Protocol):
    """What takes transfers in and lets them go: the service."""

    queue: TransferQueue
    types: FileTypes

    @property
    def schemes(self) -> tuple[str, ...]:
        """The URL schemes that can be used here."""
        ...

    @property
    def modes(self) -> tuple[str, ...]:
        """The window modes that this device can keep to."""
        ...

    def room(self) -> int:
        """Bytes of the largest file that can be taken now."""
        ...

    def wall(self) -> float | None:
        """The wall clock, None where it is not set."""
        ...

    def admit(self, transfer: Transfer) -> Transfer:
        """Accept it. Raises Fault 9001 or 9004, StoreError."""
        ...

    def drop(self, transfers: tuple[Transfer, ...]) -> None:
        """Forget them, also those under way. Raises StoreError."""
        ...


class Answers:
    """Answers for one device."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.handlers: Mapping[type[Request], Callable[[Any], Response]] = {
            Download: self._download,
            Upload: self._upload,
            ScheduleDownload: self._schedule_download,
            CancelTransfer: self._cancel,
            GetQueuedTransfers: lambda _: GetQueuedTransfersResponse(desk.queue.queued()),
            GetAllQueuedTransfers: lambda _: GetAllQueuedTransfersResponse(desk.queue.all_queued()),
        }

    def _download(self, request: Download) -> DownloadResponse:
        """Accept a Download; always to be done later (Status 1). Raises Fault 9001, 9003, 9004, 9013; StoreError."""
        desk = self._desk
        desk.admit(
            admission.download_of(
                request, types=desk.types, schemes=desk.schemes, largest=desk.room(), accepted=desk.wall()
            )
        )
        return DownloadResponse()

    def _upload(self, request: Upload) -> UploadResponse:
        """Accept an Upload, as _download does."""
        desk = self._desk
        desk.admit(admission.upload_of(request, types=desk.types, schemes=desk.schemes, accepted=desk.wall()))
        return UploadResponse()

    def _schedule_download(self, request: ScheduleDownload) -> ScheduleDownloadResponse:
        """Accept a ScheduleDownload, as _download does."""
        desk = self._desk
        desk.admit(
            admission.schedule_download_of(
                request,
                types=desk.types,
                schemes=desk.schemes,
                largest=desk.room(),
                modes=desk.modes,
                accepted=desk.wall(),
            )
        )
        return ScheduleDownloadResponse()

    def _cancel(self, request: CancelTransfer) -> CancelTransferResponse:
        """Drop all transfers with that key, also one under way; an unknown key is no fault (unverified). Raises Fault 9021, StoreError."""
        found = self._desk.queue.with_key(request.command_key)
        check_may_cancel(found)
        self._desk.drop(found)
        return CancelTransferResponse()


def check_may_cancel(transfers: tuple[Transfer, ...]) -> None:
    """Raises Fault 9021 where one of them is being applied or is over."""
    for transfer in transfers:
        if transfer.state not in (State.QUEUED, State.RUNNING):
            raise Fault(
                FaultCode.CANCEL_NOT_PERMITTED, f"the transfer {transfer.command_key!r} is {transfer.state.value}"
            )
