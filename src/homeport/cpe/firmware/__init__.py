"""Firmware in two slots: what an updater can do, the updaters that come with Homeport, and the installer that uses them."""

from homeport.cpe.firmware.directory import DirectoryUpdater
from homeport.cpe.firmware.install import FirmwareInstaller, Order
from homeport.cpe.firmware.interface import ImageInfo, Slot, SlotStatus, Updater
from homeport.cpe.firmware.program import ProgramUpdater
from homeport.cpe.firmware.rauc import RaucUpdater
from homeport.cpe.firmware.signature import SignaturePolicy

__all__ = [
    "DirectoryUpdater",
    "FirmwareInstaller",
    "ImageInfo",
    "Order",
    "ProgramUpdater",
    "RaucUpdater",
    "SignaturePolicy",
    "Slot",
    "SlotStatus",
    "Updater",
]
