"""What a device's updater can do: two slots, one of them running, the other one free for the next image.

The steps of an update are verify, stage, activate, restart, then confirm or roll_back. Each may be asked again after a crash.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class SlotStatus(StrEnum):
    """Values of DeviceInfo.FirmwareImage.{i}.Status (TR-181 2.12); the ones that an updater itself can tell first."""

    NO_IMAGE = "NoImage"
    ACTIVE = "Active"
    AVAILABLE = "Available"
    ACTIVATION_FAILED = "ActivationFailed"
    DOWNLOADING = "Downloading"
    VALIDATING = "Validating"
    DOWNLOAD_FAILED = "DownloadFailed"
    VALIDATION_FAILED = "ValidationFailed"
    INSTALLATION_FAILED = "InstallationFailed"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image says of itself. model: "" where the format does not name one (the updater has checked that it fits)."""

    version: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """running: the device runs it now. boots_next: the next restart starts it."""

    name: str
    version: str
    status: SlotStatus
    running: bool
    boots_next: bool


class Updater(Protocol):
    """The device's own way to update. Every method but boot_id raises FileTransferError where it fails, with a sentence."""

    async def slots(self) -> tuple[Slot, ...]:
        """All slots, in a stable order."""
        ...

    async def verify(self, image: Path) -> ImageInfo:
        """What the image is, once it is whole and usable for this device; nothing is changed."""
        ...

    async def stage(self, image: Path, info: ImageInfo) -> str:
        """Write the image into a slot that does not run; the slot's name."""
        ...

    async def activate(self, slot: str) -> None:
        """Have the next restart start that slot, on trial where the boot loader can do so."""
        ...

    async def confirm(self) -> None:
        """The running slot stays."""
        ...

    async def roll_back(self) -> None:
        """Have the next restart start the slot that ran before."""
        ...

    def boot_id(self) -> str:
        """Something that changes with every restart of the device, but not with one of the agent."""
        ...


def kernel_boot_id() -> str:
    """Linux's boot id; "" where there is none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # another system: every start of the agent then counts as one of the device


async def running_slot(updater: Updater) -> Slot | None:
    """The slot that runs now."""
    return next((s for s in await updater.slots() if s.running), None)
