"""One transfer being done: bytes, then the installer or before them the exporter. Each step is on disk before the next one begins.

What a result means (report, retry, restart) is the service's matter; here failures are raised.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import msgspec

from homeport.cpe.clock import Clock, date_time
from homeport.cpe.transfers.file_types import FileTypes, Restart
from homeport.cpe.transfers.queue import TransferQueue
from homeport.cpe.transfers.records import State, Transfer
from homeport.cpe.transfers.timetable import Timetable
from homeport.transport.files import (
    Credentials,
    Fetched,
    FileLimits,
    FileOptions,
    FileTransferError,
    Sent,
    Trouble,
    shown_url,
)

LOG: Final = logging.getLogger("homeport.cpe.transfers")


class Fetch(Protocol):
    """`homeport.transport.files.fetch`, or what a test puts in its place."""

    def __call__(
        self,
        url: str,
        destination: Path,
        *,
        credentials: Credentials,
        expected_size: int,
        exact_size: bool,
        limits: FileLimits,
        options: FileOptions,
        progress: Callable[[int, int | None], None],
    ) -> Awaitable[Fetched]: ...


class Put(Protocol):
    """`homeport.transport.files.put`, or what a test puts in its place."""

    def __call__(
        self,
        url: str,
        source: Path,
        *,
        credentials: Credentials,
        limits: FileLimits,
        options: FileOptions,
        progress: Callable[[int, int | None], None],
    ) -> Awaitable[Sent]: ...


class Worker:
    """Does transfers, one call of `do` each.

    closed: set while no session is open. progress: bytes so far and the whole size by transfer, for status pages.
    """

    def __init__(
        self,
        *,
        queue: TransferQueue,
        types: FileTypes,
        timetable: Timetable,
        clock: Clock,
        directory: Path,
        closed: asyncio.Event,
        limits: FileLimits,
        options: FileOptions,
        exact_size: bool,
        fetch: Fetch,
        put: Put,
    ) -> None:
        self._queue, self._types, self._timetable, self._clock = queue, types, timetable, clock
        self._directory, self._closed = directory, closed
        self._limits, self._options, self._exact_size = limits, options, exact_size
        self._fetch, self._put = fetch, put
        self.progress: dict[int, tuple[int, int | None]] = {}

    async def do(self, transfer: Transfer) -> tuple[Transfer, Restart]:
        """The record as it is now, and what restart its result wants.

        Raises FileTransferError, ConfigError, StoreError; the record on disk then says how far it came.
        """
        if not transfer.is_download:
            return await self._upload(transfer), Restart.NO
        fetched = transfer if transfer.state is State.INSTALLING else await self._download(transfer)
        return fetched, await self._install(fetched)

    def spent(self, transfer: Transfer) -> float:
        """Seconds of the time limit that earlier attempts and the waits between them took; a window's attempts have the limit each."""
        return 0.0 if transfer.windows else self._timetable.begun(transfer.number)

    def file(self, transfer: Transfer) -> Path:
        """Where its bytes lie."""
        return self._directory / f"{transfer.number}.file"

    def forget(self, number: int) -> None:
        """Remove what is left of it."""
        self.progress.pop(number, None)
        for file in self._directory.glob(f"{number}.file*"):
            try:
                file.unlink(missing_ok=True)
            except OSError as e:
                # The result is written down already, and must not become a failure by this; the next start tries again.
                LOG.warning("%s cannot be removed: %s", file, e.strerror or e)

    def _begun(self, transfer: Transfer) -> Transfer:
        """The record of another attempt, on disk."""
        window, used = transfer.window, transfer.window_attempts
        if transfer.windows:
            index = self._timetable.moment(transfer, self._clock.monotonic()).window
            window, used = index, (used if index == window else 0) + 1
        return self._queue.save(
            msgspec.structs.replace(
                transfer,
                state=State.RUNNING,
                attempts=transfer.attempts + 1,
                window=window,
                window_attempts=used,
                started=transfer.started if transfer.repeats else date_time(self._clock.now()),
            )
        )

    async def _download(self, transfer: Transfer) -> Transfer:
        installer = self._types.installer(transfer.file_type)
        if installer is None:
            raise FileTransferError(Trouble.LOCAL, f"this firmware does not handle {transfer.file_type!r} any more")
        transfer = self._begun(transfer)
        left = min(self._limits.total - self.spent(transfer), self._timetable.window_left(transfer))
        limits = replace(self._limits, total=max(0.001, left))
        try:
            fetched = await self._fetch(
                transfer.url,
                self.file(transfer),
                credentials=Credentials(transfer.username, transfer.password),
                expected_size=transfer.file_size,
                exact_size=self._exact_size,
                limits=limits,
                options=replace(self._options, refuse_html=self._options.refuse_html and not installer.web_pages),
                progress=lambda done, total: self.progress.__setitem__(transfer.number, (done, total)),
            )
        except FileTransferError:
            if (note := getattr(installer, "not_fetched", None)) is not None:
                note()
            raise
        if transfer.file_size and fetched.size != transfer.file_size:
            LOG.warning(
                "%s has %d bytes; FileSize had said %d", shown_url(transfer.url), fetched.size, transfer.file_size
            )
        size = fetched.size if transfer.autonomous else transfer.file_size
        return self._queue.save(
            msgspec.structs.replace(transfer, state=State.INSTALLING, sha256=fetched.sha256, file_size=size)
        )

    async def _install(self, transfer: Transfer) -> Restart:
        installer = self._types.installer(transfer.file_type)
        if installer is None:
            raise FileTransferError(Trouble.LOCAL, f"this firmware does not handle {transfer.file_type!r} any more")
        if installer.disturbs:
            await self._closed.wait()
        if self._timetable.window_left(transfer) <= 0:
            raise FileTransferError(Trouble.INCOMPLETE, "the time window ended before the file could be applied")
        file = self.file(transfer)
        if not await asyncio.to_thread(file.exists):
            raise FileTransferError(Trouble.LOCAL, "the file was lost before it could be applied")
        return await installer.apply(file, transfer)

    async def _upload(self, transfer: Transfer) -> Transfer:
        exporter = self._types.exporter(transfer.file_type)
        if exporter is None or not exporter.has(transfer.instance):
            raise FileTransferError(Trouble.LOCAL, f"there is no file for {transfer.file_type!r} any more")
        transfer = self._begun(transfer)
        file = self.file(transfer)
        await exporter.write(file, transfer)
        sent = await self._put(
            transfer.url,
            file,
            credentials=Credentials(transfer.username, transfer.password),
            limits=replace(self._limits, total=max(0.001, self._limits.total - self.spent(transfer))),
            options=self._options,
            progress=lambda done, total: self.progress.__setitem__(transfer.number, (done, total)),
        )
        return msgspec.structs.replace(transfer, file_size=sent.size if transfer.autonomous else 0)
