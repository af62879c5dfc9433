"""What is done with `1 Firmware Upgrade Image`: check, stage, activate, restart, and the trial that ends when the ACS was reached.

The order of report and restart is the device's: DKT's reports first and restarts after the TransferCompleteResponse; the standard's way is
to restart first and report from the new image. Source: TR-069a6 A.3.2.8, A.3.3.2.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from homeport.cpe.clock import Clock
from homeport.cpe.firmware.interface import Slot, SlotStatus, Updater, running_slot
from homeport.cpe.firmware.signature import SIGNATURE_SIZE, SignaturePolicy, has_trailer, signature_url
from homeport.cpe.transfers.file_types import Restart, TrialState
from homeport.cpe.transfers.queue import TRANSFER, Facts, Outbox
from homeport.cpe.transfers.records import Transfer
from homeport.errors import Fault
from homeport.terms import FaultCode
from homeport.transport import files
from homeport.transport.files import Credentials, FileLimits, FileOptions, FileTransferError, Trouble

MOST_STARTS: Final = 3
"""Restarts of an image on trial before it is given up, even if none of them lasted until the deadline."""

UPGRADE: Final = "1 Firmware Upgrade Image"
STORED: Final = "6 Stored Firmware Image"
FIRMWARE_TYPES: Final = (UPGRADE, STORED)

_TRIAL: Final = "trial"
_FAILURE: Final = "failure"

FetchSignature = Callable[[str, Path, Credentials], Awaitable[bytes]]


class Order(StrEnum):
    """What comes first once an image is ready."""

    REPORT_FIRST = "report-first"  # DKT: TransferComplete, its response, end of the session, restart
    RESTART_FIRST = "restart-first"  # 1 BOOT, 7 TRANSFER COMPLETE and M Download from the new image


async def fetch_signature(
    url: str, place: Path, credentials: Credentials, *, options: FileOptions = files.DEFAULT_OPTIONS
) -> bytes:
    """The 64 bytes beside an image, from the same server with the same credentials. Raises FileTransferError.

    options: the device's own, whom it trusts among them.
    """
    limits = FileLimits(connect=30, stall=30, total=60, max_size=4 * SIGNATURE_SIZE, reserve=0)
    try:
        fetched = await files.fetch(signature_url(url), place, credentials=credentials, limits=limits, options=options)
    except FileTransferError as e:
        raise FileTransferError(Trouble.UNTRUSTED, f"the firmware image is not signed, and {e}") from e
    data = await asyncio.to_thread(fetched.path.read_bytes)
    await asyncio.to_thread(fetched.path.unlink)
    return data


class FirmwareInstaller:
    """Installer and Trial for one device.

    limit: seconds after the start of a new image within which the ACS must be reached. order: see Order. signature: which keys count.
    on_staged: told the slot that has a new image. An image of the type `6 Stored Firmware Image` is written and no more (unverified).
    """

    disturbs = False
    web_pages = False

    def __init__(
        self,
        updater: Updater,
        *,
        facts: Facts,
        outbox: Outbox,
        clock: Clock,
        order: Order = Order.RESTART_FIRST,
        signature: SignaturePolicy | None = None,
        limit: float = 600.0,
        fetch_signature: FetchSignature = fetch_signature,
        on_staged: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """Raises StoreError where the state cannot be read."""
        self.updater = updater
        self.images: tuple[Slot, ...] = ()
        self.transfer: int | None = None
        self.deadline: float | None = None
        self._outbox = outbox
        self._clock = clock
        self._order = order
        self._signature = signature or SignaturePolicy()
        self._limit = limit
        self._fetch_signature = fetch_signature
        self._on_staged = on_staged
        self._chosen = False
        self.trouble: SlotStatus | None = None
        """What became of the last image where it was not installed, for FirmwareImage.{i}.Status."""
        kept = dict(facts.items(TRANSFER))
        self.failure = str(kept.get(_FAILURE, ""))
        """Why the last update was given up, for BootFailureLog and status pages; "" where none was."""
        self._kept: Mapping[str, Any] = kept.get(_TRIAL) or {}
        if self._kept:
            self.transfer = int(self._kept["transfer"])

    async def apply(self, file: Path, transfer: Transfer) -> Restart:
        """Check the image, write it and have it start next. Raises FileTransferError; what ran before goes on running then."""
        self.trouble = SlotStatus.VALIDATION_FAILED
        await self._check_signature(file, transfer)
        info = await self.updater.verify(file)
        self.trouble = SlotStatus.INSTALLATION_FAILED
        slot = await self.updater.stage(file, info)
        self.trouble = None
        if self._on_staged is not None:
            await self._on_staged(slot)
        if transfer.file_type == STORED:
            await self.refresh()
            return Restart.NO
        before = await running_slot(self.updater)
        # The note comes first: a crash between the two leaves a trial of an image that does not run, which the next start reports.
        self._note(transfer.number, slot, info.version, before)
        await self.updater.activate(slot)
        await self.refresh()
        return Restart.AFTER_REPORT if self._order is Order.REPORT_FIRST else Restart.BEFORE_REPORT

    def not_fetched(self) -> None:
        """The image did not arrive."""
        self.trouble = SlotStatus.DOWNLOAD_FAILED

    def note_choice(self, slot: Slot | None) -> None:
        """The ACS wants that slot to start next (DeviceInfo.BootFirmwareImage); None: it does not. Its start is on trial like an update's.

        Raises Fault 9001 while an update waits for its restart, StoreError.
        """
        if self._kept.get("transfer"):
            raise Fault(FaultCode.REQUEST_DENIED, "an update is on trial, or waits for its restart")
        self._chosen = True
        if slot is None or slot.running:
            self._keep(None)
        else:
            self._note(0, slot.name, slot.version, next((s for s in self.images if s.running), None))

    def _note(self, transfer: int, slot: str, version: str, before: Slot | None) -> None:
        self._keep(
            {
                "transfer": transfer,
                "slot": slot,
                "version": version,
                "before": before.version if before else "",
                "boot_id": self.updater.boot_id(),
                "starts": 0,
            }
        )
        self.transfer = transfer

    async def begin(self, now: float) -> tuple[TrialState, str]:
        """What the start of the device found."""
        kept = self._kept
        await self.refresh()
        if not kept or self._chosen:
            return TrialState.NONE, ""
        if kept["boot_id"] and kept["boot_id"] == self.updater.boot_id():
            # A slot that the ACS chose waits for whichever restart comes; an update wants one.
            return (TrialState.NOT_RESTARTED if kept["transfer"] else TrialState.NONE), ""
        running = next((s for s in self.images if s.running), None)
        if running is None or running.name != kept["slot"]:
            version = running.version if running else "the one before"
            return TrialState.FAILED, f"the device did not start firmware {kept['version']}; it runs {version}"
        starts = int(kept["starts"]) + 1
        if starts > MOST_STARTS:
            return TrialState.GIVEN_UP, await self._back(f"it was restarted {starts - 1} times")
        self._keep({**kept, "boot_id": "", "starts": starts})
        self.deadline = now + self._limit
        return TrialState.RUNNING, ""

    async def confirm(self) -> None:
        await self.updater.confirm()
        self._keep(None)
        self.deadline = None
        await self.refresh()

    async def give_up(self) -> str:
        why = await self._back(f"the ACS was not reached within {self._limit:g} s")
        self.deadline = None
        return why

    def settled(self, why: str) -> None:
        self._keep(None, failure=why)

    async def refresh(self) -> None:
        """Look at the slots again: `images` is what FirmwareImage.{i} shows."""
        self.images = await self.updater.slots()

    async def _back(self, why: str) -> str:
        kept = self._kept
        await self.updater.roll_back()
        await self.refresh()
        before = kept["before"] or "the one before"
        return f"firmware {kept['version']} was given up, {why}; the device goes back to {before}"

    async def _check_signature(self, file: Path, transfer: Transfer) -> None:
        if not self._signature.required:
            return
        detached = None
        if not await asyncio.to_thread(has_trailer, file):
            place = file.with_name(file.name + ".sig")
            detached = await self._fetch_signature(
                transfer.url, place, Credentials(transfer.username, transfer.password)
            )
        await self._signature.check(file, detached)

    def _keep(self, trial: dict[str, Any] | None, *, failure: str | None = None) -> None:
        with self._outbox.promise() as changes:
            if failure is not None:
                changes.put(TRANSFER, _FAILURE, failure)
                self.failure = failure
            if trial is None:
                changes.remove(TRANSFER, _TRIAL)
            else:
                changes.put(TRANSFER, _TRIAL, trial)
        self._kept = trial or {}
        if trial is None:
            self.transfer = None
