"""One transfer as the device remembers it: what was asked, how far it is, what came of it; and how it looks on the wire.

Pure. Times: `accepted` is the wall clock (seconds since 1970) or None where the clock was not set; dateTimes are the wire's text.
Source: TR-069a6 A.3.2.8, A.4.1.5, A.4.1.7, A.4.1.8, A.4.1.9; TransferFileType in cwmp-1-2.xsd.
"""

import re
from enum import StrEnum
from typing import Final

import msgspec

from homeport.codec.messages import (
    AllQueuedTransferStruct,
    AutonomousTransferComplete,
    FaultStruct,
    QueuedTransferStruct,
    Request,
    TimeWindowStruct,
    TransferComplete,
)
from homeport.terms import UNKNOWN_TIME, EventCode

LONGEST_FAULT_STRING: Final = 256


class Kind(StrEnum):
    """Which RPC asked for it."""

    DOWNLOAD = "Download"
    UPLOAD = "Upload"
    SCHEDULE_DOWNLOAD = "ScheduleDownload"


class State(StrEnum):
    """How far a transfer is."""

    QUEUED = "queued"  # waits for its time
    RUNNING = "running"  # bytes are on the way
    INSTALLING = "installing"  # the file is here and is being applied
    RESTARTING = "restarting"  # applied; the device restarts before it reports
    COMPLETED = "completed"  # over; the ACS has not confirmed the report


QUEUED_STATE: Final = {
    State.QUEUED: 1,
    State.RUNNING: 2,
    State.INSTALLING: 2,
    State.RESTARTING: 3,
    State.COMPLETED: 3,
}
"""State as GetQueuedTransfers gives it."""

EVENTS: Final = {
    Kind.DOWNLOAD: EventCode.M_DOWNLOAD,
    Kind.UPLOAD: EventCode.M_UPLOAD,
    Kind.SCHEDULE_DOWNLOAD: EventCode.M_SCHEDULE_DOWNLOAD,
}

_UPLOAD_TYPE: Final = re.compile(r"([1-4]) (Vendor (?:Configuration|Log) File)(?: ([1-9][0-9]*))?")
_QUEUE_NUMBER: Final = {"1": "3", "2": "4", "3": "6", "4": "7"}


class Transfer(msgspec.Struct, frozen=True):
    """number: grows with every transfer of this device. delay: seconds after acceptance. windows: of a ScheduleDownload.

    attempts: starts so far; window, window_attempts: the window in which the last ones were made, and how many.
    fault_code 0 is success. restart: the device must restart once the report is confirmed. autonomous: not asked by the ACS.
    repeats: those of the starts that followed a passing trouble of the file server, outside of windows.
    sha256: of the file that was fetched. consent: the window to whose question the user of the device said yes, -1 for none.
    """

    number: int
    kind: Kind
    command_key: str
    file_type: str
    url: str
    username: str = ""
    password: str = ""
    file_size: int = 0
    target_file_name: str = ""
    delay: int = 0
    windows: tuple[TimeWindowStruct, ...] = ()
    accepted: float | None = None
    state: State = State.QUEUED
    attempts: int = 0
    window: int = -1
    window_attempts: int = 0
    started: str = UNKNOWN_TIME
    completed: str = UNKNOWN_TIME
    fault_code: int = 0
    fault_string: str = ""
    restart: bool = False
    autonomous: bool = False
    announce_url: str = ""
    sha256: str = ""
    consent: int = -1
    repeats: int = 0

    @property
    def is_download(self) -> bool:
        return self.kind is not Kind.UPLOAD

    @property
    def instance(self) -> int | None:
        """The row of VendorConfigFile or VendorLogFile that an Upload names, None where it names none."""
        found = _UPLOAD_TYPE.fullmatch(self.file_type)
        return int(found[3]) if found and found[3] else None

    @property
    def queue_file_type(self) -> str:
        """The file type in the numbering of transfer lists, where Upload's `3 Vendor Configuration File 1` is a 6 (cwmp-1-2.xsd)."""
        found = None if self.is_download else _UPLOAD_TYPE.fullmatch(self.file_type)
        if found is None:
            return self.file_type
        if found[3] is None:  # without a row, the older and the newer number mean the same
            return f"{'3' if 'Configuration' in found[2] else '4'} {found[2]}"
        return f"{_QUEUE_NUMBER['3' if 'Configuration' in found[2] else '4']} {found[2]} {found[3]}"

    @property
    def report(self) -> Request:
        """What the ACS is told when it is over."""
        fault = FaultStruct(self.fault_code, self.fault_string[:LONGEST_FAULT_STRING])
        if not self.autonomous:
            return TransferComplete(self.command_key, fault, self.started, self.completed)
        return AutonomousTransferComplete(
            announce_url=self.announce_url,
            transfer_url=self.url,
            is_download=self.is_download,
            file_type=self.queue_file_type,
            file_size=self.file_size,
            target_file_name=self.target_file_name,
            fault_struct=fault,
            start_time=self.started,
            complete_time=self.completed,
        )

    @property
    def queued_state(self) -> int:
        """State as GetQueuedTransfers gives it; one that waits for its file server to come back is in progress."""
        return QUEUED_STATE[State.RUNNING if self.state is State.QUEUED and self.repeats else self.state]

    @property
    def queued(self) -> QueuedTransferStruct:
        return QueuedTransferStruct(self.command_key, self.queued_state)

    @property
    def all_queued(self) -> AllQueuedTransferStruct:
        return AllQueuedTransferStruct(
            command_key=self.command_key,
            state=self.queued_state,
            is_download=self.is_download,
            file_type=self.queue_file_type,
            file_size=self.file_size,
            target_file_name=self.target_file_name,
        )
