"""What is done with a file once it is here, and where the content of an upload comes from: one plug-in per file type.

A device registers what it can handle; an RPC for any other file type is answered 9003.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import Protocol, cast

from homeport.cpe.transfers.records import Transfer


class Restart(Enum):
    """Whether applying a file is complete only after a restart, and which comes first: the restart or the report."""

    NO = "no"
    AFTER_REPORT = "after report"
    BEFORE_REPORT = "before report"


class Installer(Protocol):
    """Applies one type of downloaded files.

    disturbs: a session that is open is waited for before `apply` begins (values would change under its hands).
    web_pages: HTML is a legitimate content.
    """

    disturbs: bool
    web_pages: bool

    async def apply(self, file: Path, transfer: Transfer) -> Restart:
        """Put the file to use; may run again with the same file after a crash. Raises FileTransferError where it is not usable."""
        ...


class TrialState(Enum):
    """What the start of the device found of an update on trial."""

    NONE = "none"  # nothing is on trial
    NOT_RESTARTED = "not restarted"  # only the agent was restarted: the device still has to
    RUNNING = "running"  # the new image runs and has yet to reach the ACS
    FAILED = "failed"  # the device did not start the new image
    GIVEN_UP = "given up"  # the new image has been started too often: the device goes back at its next restart


class Trial(Protocol):
    """An update that counts only once the ACS was reached with it; an Installer may be one.

    transfer: number of the transfer that brought it, None where nothing is on trial. deadline: monotonic seconds, None for none.
    """

    transfer: int | None
    deadline: float | None

    async def begin(self, now: float) -> tuple[TrialState, str]:
        """Called once at the start; the sentence says why it FAILED or is GIVEN_UP. Raises StoreError."""
        ...

    async def confirm(self) -> None:
        """The ACS was reached."""
        ...

    async def give_up(self) -> str:
        """The ACS was not reached by the deadline: go back; a sentence that says so. The caller restarts the device."""
        ...

    def settled(self, why: str) -> None:
        """The failure is reported: forget the trial, keep the reason. Until then every start finds it again. Raises StoreError."""
        ...


class Exporter(Protocol):
    """Gives the content of one type of uploads."""

    def has(self, instance: int | None) -> bool:
        """Whether there is such a file; None where the request names no row."""
        ...

    async def write(self, file: Path, transfer: Transfer) -> None:
        """Write the content. Raises FileTransferError where it cannot be had."""
        ...


class StoredFile:
    """An installer that keeps the file under a fixed name: tones, ringers, web content, vendor files.

    then: called with the file's place once it is there.
    """

    disturbs = False

    def __init__(
        self, target: Path, *, web_pages: bool = False, then: Callable[[Path], Awaitable[None]] | None = None
    ) -> None:
        self._target = target
        self._then = then
        self.web_pages = web_pages

    async def apply(self, file: Path, transfer: Transfer) -> Restart:
        def keep() -> None:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            part = self._target.with_name(self._target.name + ".new")
            shutil.copyfile(file, part)
            with part.open("rb+") as f:
                os.fsync(f.fileno())
            os.replace(part, self._target)

        await asyncio.to_thread(keep)
        if self._then is not None:
            await self._then(self._target)
        return Restart.NO


class FileTypes:
    """The plug-ins of one device."""

    def __init__(self) -> None:
        self._installers: dict[str, Installer] = {}
        self._exporters: dict[str, Exporter] = {}

    def on_download(self, file_type: str, installer: Installer) -> None:
        """Handle downloads of this type, such as `4 Tone File` or `X 00256D Splash Screen`."""
        self._installers[file_type] = installer

    def on_upload(self, file_type: str, exporter: Exporter) -> None:
        """Handle uploads of this type; `3 Vendor Configuration File` without a number covers all its rows."""
        self._exporters[file_type] = exporter

    def installer(self, file_type: str) -> Installer | None:
        return self._installers.get(file_type)

    def exporter(self, file_type: str) -> Exporter | None:
        found = self._exporters.get(file_type)
        if found is None:
            name, _, number = file_type.rpartition(" ")
            if number.isdigit() and not number.startswith("0"):
                found = self._exporters.get(name)
        return found

    @property
    def downloads(self) -> tuple[str, ...]:
        return tuple(self._installers)

    @property
    def uploads(self) -> tuple[str, ...]:
        return tuple(self._exporters)

    @property
    def installers(self) -> tuple[Installer, ...]:
        return tuple(dict.fromkeys(self._installers.values()))

    @property
    def trial(self) -> Trial | None:
        """The installer whose updates are on trial, where the device has one."""
        for installer in self.installers:
            if hasattr(installer, "give_up"):
                return cast(Trial, installer)
        return None
