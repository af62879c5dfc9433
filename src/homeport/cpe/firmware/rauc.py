"""RAUC by its command line: bundles that RAUC itself verifies (signature, compatible) and writes into the other slot.

Read from RAUC 1.8: `info` and `status` print JSON; `install` also makes the new slot the primary one, unless system.conf forbids it; the
slot that runs is the one whose state is "booted".
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from homeport.cpe.firmware.interface import ImageInfo, Slot, SlotStatus, kernel_boot_id
from homeport.cpe.firmware.program import ProgramFailed, run_program
from homeport.transport.files import FileTransferError, Trouble


class RaucUpdater:
    """command: RAUC and options of its own, such as `--conf`. compatible: "" to leave that check to RAUC alone."""

    def __init__(self, command: Sequence[str] = ("rauc",), *, compatible: str = "", timeout: float = 900.0) -> None:
        self._command = tuple(command)
        self._compatible = compatible
        self._timeout = timeout

    def boot_id(self) -> str:
        return kernel_boot_id()

    async def slots(self) -> tuple[Slot, ...]:
        data = await self._json("status", "--detailed", "--output-format=json")
        primary = str(data.get("boot_primary") or "")
        rows = []
        for entry in data.get("slots", []):
            for name, slot in entry.items():
                if slot.get("bootname"):
                    rows.append(_slot(name, slot, primary))
        return tuple(rows)

    async def verify(self, image: Path) -> ImageInfo:
        data = await self._json("info", "--output-format=json", str(_bundle(image)))
        compatible = str(data.get("compatible", ""))
        if self._compatible and compatible != self._compatible:
            raise FileTransferError(
                Trouble.CORRUPT, f"the bundle is for {compatible!r}; this device is {self._compatible!r}"
            )
        return ImageInfo(str(data.get("version") or ""), compatible)

    async def stage(self, image: Path, info: ImageInfo) -> str:
        await self._run("install", str(_bundle(image)))
        other = next((s.name for s in await self.slots() if not s.running), "")
        if not other:
            raise FileTransferError(Trouble.LOCAL, "RAUC knows no slot beside the running one; see its system.conf")
        return other

    async def activate(self, slot: str) -> None:
        await self._run("status", "mark-active", slot)

    async def confirm(self) -> None:
        await self._run("status", "mark-good", "booted")

    async def roll_back(self) -> None:
        await self._run("status", "mark-bad", "booted")
        await self._run("status", "mark-active", "other")

    async def _json(self, *arguments: str) -> Any:
        try:
            return json.loads(await self._run(*arguments))
        except ValueError as e:
            raise FileTransferError(Trouble.LOCAL, f"rauc {arguments[0]} did not print JSON") from e

    async def _run(self, *arguments: str) -> bytes:
        try:
            return await run_program((*self._command, *arguments), timeout=self._timeout)
        except ProgramFailed as e:
            trouble = Trouble.LOCAL
            if arguments[0] == "info" and e.status is not None:
                text = str(e).lower()
                trouble = Trouble.UNTRUSTED if "verif" in text or "certificate" in text else Trouble.CORRUPT
            raise FileTransferError(trouble, f"rauc {arguments[0]}: {e}") from e


def _slot(name: str, slot: dict[str, Any], primary: str) -> Slot:
    running = slot.get("state") == "booted"
    bundle = (slot.get("slot_status") or {}).get("bundle") or {}
    version = str(bundle.get("version") or "")
    if running:
        status = SlotStatus.ACTIVE
    elif slot.get("boot_status") == "bad" and version:
        status = SlotStatus.ACTIVATION_FAILED
    else:
        status = SlotStatus.AVAILABLE if version else SlotStatus.NO_IMAGE
    return Slot(name, version, status, running, name == primary)


def _bundle(image: Path) -> Path:
    """The file under a name that RAUC takes for a bundle."""
    if image.suffix == ".raucb":
        return image
    link = image.with_name(image.name + ".raucb")
    link.unlink(missing_ok=True)
    os.link(image, link)
    return link
