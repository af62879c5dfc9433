"""DeviceInfo.FirmwareImage.{i}, ActiveFirmwareImage and BootFirmwareImage: a picture of the updater's slots, and the choice among them.

One row per slot, in the updater's order; a row's number stays. What the updater says counts; `Available` alone is kept in the model.
Loaded only where the device has the table. Source: TR-181 2.19 DeviceInfo.
"""

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from homeport.cpe.firmware.install import FIRMWARE_TYPES
from homeport.cpe.firmware.interface import Slot, SlotStatus, Updater
from homeport.cpe.journal import LOG
from homeport.cpe.transfers.records import State
from homeport.errors import Fault, StoreError
from homeport.model.changes import Change
from homeport.model.transaction import Transaction
from homeport.terms import FaultCode, Writer
from homeport.transport.files import FileTransferError

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent
    from homeport.cpe.firmware import FirmwareInstaller
    from homeport.cpe.transfers.queue import TransferQueue

FRESH: Final = 5.0
"""Seconds for which the updater's last word counts: a reading of the whole tree must not ask it for every parameter."""

PATIENCE: Final = 20.0
"""Seconds that the updater has to take another slot, while the ACS waits for its answer."""

_BOOTABLE: Final = frozenset({SlotStatus.ACTIVE, SlotStatus.AVAILABLE, SlotStatus.ACTIVATION_FAILED})


class FirmwareRows:
    """The firmware images of one device.

    installer: made when first needed, since it loads the transfers. queue: the transfers, None where none was made yet. trouble: what
    went wrong with the last image that was to be installed.
    """

    def __init__(
        self,
        agent: "Agent",
        updater: Updater,
        *,
        installer: Callable[[], "FirmwareInstaller"],
        queue: Callable[[], "TransferQueue | None"],
        trouble: Callable[[], SlotStatus | None],
    ) -> None:
        self._agent, self._updater = agent, updater
        self._installer, self._queue, self._trouble = installer, queue, trouble
        self._info = agent.management.device_info
        self._table = f"{self._info}FirmwareImage."
        self._slots: tuple[Slot, ...] = ()
        self._asked: float | None = None
        """When the updater spoke last, monotonic seconds."""
        model = agent.model
        model.source(self._table, read_group=self._read)
        model.source(f"{self._info}ActiveFirmwareImage", read=lambda _: self._row_of(_running))
        model.source(f"{self._info}BootFirmwareImage", read=lambda _: self._row_of(_boots_next))
        model.hook(f"{self._info}BootFirmwareImage", validate=self._may_boot, apply=self._boot)
        model.hook(f"{self._table}*.Available", validate=self._may_be_available)

    async def start(self) -> None:
        """Make the rows those of the updater's slots."""
        await self.refresh()
        model = self._agent.model
        try:
            with model.transaction(Writer.SYSTEM) as change:
                rows = sorted(model.instances(self._table))
                for number in rows[len(self._slots) :]:
                    change.delete_object(f"{self._table}{number}.")
                for slot in self._slots[len(rows) :]:
                    self._set_available(change, change.add_object(self._table), slot.status is not SlotStatus.NO_IMAGE)
                change.commit()
        except (Fault, StoreError) as e:
            LOG.warning("the firmware images cannot be shown: %s", e)

    def concerns(self, paths: Sequence[str]) -> bool:
        """Whether what these paths name depends on the slots."""
        return any("FirmwareImage" in p or self._table.startswith(p) for p in paths)

    async def refresh(self) -> None:
        """Ask the updater, unless its last word is fresh."""
        now = self._agent.clock.monotonic()
        if self._asked is not None and now - self._asked < FRESH:
            return
        try:
            self._take(await self._updater.slots())
        except FileTransferError as e:
            LOG.warning("the updater cannot say which firmware images there are: %s", e)
            self._asked = now

    async def installed(self, slot: str) -> None:
        """A new image was written: it may be used from now on."""
        self._take(await self._updater.slots())
        at = next((i for i, s in enumerate(self._slots) if s.name == slot), None)
        rows = sorted(self._agent.model.instances(self._table))
        if at is not None and at < len(rows):
            try:
                with self._agent.model.transaction(Writer.SYSTEM) as change:
                    self._set_available(change, rows[at], True)
                    change.commit()
            except (Fault, StoreError) as e:
                LOG.warning("%s%d.Available cannot be set: %s", self._table, rows[at], e)

    # --- reading ----------------------------------------------------------------------------------------------------------------

    def _read(self, paths: Sequence[str]) -> dict[str, object]:
        shown: dict[str, object] = {}
        for path in paths:
            number, _, name = path.removeprefix(self._table).partition(".")
            slot = self._slot(number)
            if slot is None or name in ("Alias", "Available"):
                continue
            status = self._status(slot)
            named = status in (*_BOOTABLE, SlotStatus.INSTALLATION_FAILED)
            failed = status is SlotStatus.ACTIVATION_FAILED
            shown[path] = {
                "Name": slot.name[:64] if named else "",
                "Version": slot.version[:64] if named else "",
                "Status": status.value,
                "BootFailureLog": self._agent.store.get("transfer", "failure", "") if failed else "",
            }.get(name)
        return shown

    def _status(self, slot: Slot) -> SlotStatus:
        """What the updater says; of the slot that the next image goes to also what is being done with that image."""
        if slot.running or slot is not next((s for s in self._slots if not s.running), None):
            return slot.status
        queue = self._queue()
        states = {t.state for t in queue or () if t.file_type in FIRMWARE_TYPES and t.is_download}
        if State.INSTALLING in states:
            return SlotStatus.VALIDATING
        if State.RUNNING in states:
            return SlotStatus.DOWNLOADING
        trouble = self._trouble()
        if trouble is not None and (trouble is SlotStatus.INSTALLATION_FAILED or slot.status is SlotStatus.NO_IMAGE):
            return trouble  # an earlier image that was not touched is as good as before
        return slot.status

    def _row_of(self, chosen: Callable[[Slot], bool]) -> str | None:
        rows = sorted(self._agent.model.instances(self._table))
        at = next((i for i, s in enumerate(self._slots) if chosen(s)), None)
        return f"{self._table}{rows[at]}" if at is not None and at < len(rows) else None

    def _slot(self, row: str) -> Slot | None:
        rows = sorted(self._agent.model.instances(self._table))
        at = rows.index(int(row)) if row.isdigit() and int(row) in rows else -1
        return self._slots[at] if 0 <= at < len(self._slots) else None

    # --- choosing ---------------------------------------------------------------------------------------------------------------

    def _may_boot(self, change: Change, view: Transaction) -> None:
        row = change.new.removesuffix(".").removeprefix(self._table)
        slot = self._slot(row)
        if slot is None:
            raise _refused("name the row of the image that is to start next; there must be one")
        status = self._status(slot)
        if status not in _BOOTABLE or view.value(f"{self._table}{row}.Available") not in ("1", "true"):
            raise _refused(f"{change.new} cannot be started: its status is {status.value}, or it is not Available")

    def _boot(self, changes: Sequence[Change], view: Transaction) -> None:
        """Have the updater take that slot before the answer leaves; the way back too."""
        slot = self._slot(changes[-1].new.removesuffix(".").removeprefix(self._table))
        if slot is None or slot.boots_next:
            return
        installer = self._installer()
        installer.note_choice(slot)
        try:
            self._take(_wait_for(self._activated(slot.name)))
        except (FileTransferError, TimeoutError) as e:
            installer.note_choice(None)
            raise Fault(FaultCode.INTERNAL_ERROR, f"the updater did not take {slot.name}: {e}") from e

    async def _activated(self, slot: str) -> tuple[Slot, ...]:
        await self._updater.activate(slot)
        return await self._updater.slots()

    def _may_be_available(self, change: Change, view: Transaction) -> None:
        slot = self._slot(change.path.removeprefix(self._table).partition(".")[0])
        if slot is None or change.writer is Writer.SYSTEM:
            return
        if change.new in ("1", "true"):
            if slot.status is SlotStatus.NO_IMAGE:
                raise _refused("there is no image that could be available")
        elif slot.running or slot.boots_next:
            raise _refused("the image that runs, or that starts next, must stay available")

    def _set_available(self, change: Transaction, number: int, available: bool) -> None:
        try:
            change.set(f"{self._table}{number}.Available", "true" if available else "false")
        except Fault as e:
            LOG.debug("this device's images have no Available: %s", e)

    def _take(self, slots: Sequence[Slot]) -> None:
        self._slots, self._asked = tuple(slots), self._agent.clock.monotonic()


def _running(slot: Slot) -> bool:
    return slot.running


def _boots_next(slot: Slot) -> bool:
    return slot.boots_next


def _wait_for(work: Coroutine[Any, Any, tuple[Slot, ...]]) -> tuple[Slot, ...]:
    """What the work gives, done in a loop of its own while this thread waits. Raises what it raises, TimeoutError after PATIENCE."""
    outcome: list[Any] = []

    def do() -> None:
        try:
            outcome.append(asyncio.run(asyncio.wait_for(work, PATIENCE)))
        except BaseException as e:  # it belongs to the thread that waits
            outcome.append(e)

    thread = threading.Thread(target=do, name="firmware-slot")
    thread.start()
    thread.join()
    found = outcome[0]
    if isinstance(found, BaseException):
        raise found
    return tuple(dataclasses.replace(s) for s in found)


def _refused(text: str) -> Fault:
    return Fault(FaultCode.INVALID_PARAMETER_VALUE, text)
