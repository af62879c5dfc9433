"""An updater whose slots are two directories: for demonstrations, tests, and devices whose start script picks the directory itself.

ROOT/boot.json          {"active": "a", "next": "b", "previous": "", "failed": ""}
ROOT/a/image, ROOT/b/image, with version in image.json
"""

import asyncio
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from homeport.cpe.firmware.image import read_image
from homeport.cpe.firmware.interface import ImageInfo, Slot, SlotStatus
from homeport.transport.files import FileTransferError, Trouble
from homeport.transport.files.sink import sync_directory

NAMES: Final = ("a", "b")
T = TypeVar("T")


class DirectoryUpdater:
    """Two slots under root. factory_version: of the image that came with the device, in slot a. model: "" to take images for any."""

    def __init__(self, root: Path, *, factory_version: str, model: str = "") -> None:
        self._root = root
        self._factory_version = factory_version
        self._model = model
        self._boot_id = ""

    def boot(self) -> str:
        """Play the boot loader: start the slot that was activated; the version that runs now. Once per start of the device."""
        self._root.mkdir(parents=True, exist_ok=True)
        boot = self._boot()
        if boot["next"]:
            boot = {**boot, "active": boot["next"], "previous": boot["active"], "next": ""}
            self._save(boot)
        self._boot_id = uuid.uuid4().hex
        return self._version(boot["active"])

    def boot_id(self) -> str:
        return self._boot_id

    async def slots(self) -> tuple[Slot, ...]:
        return await self._in_thread(self._slots)

    async def verify(self, image: Path) -> ImageInfo:
        header = await self._in_thread(lambda: read_image(image))
        if header.models and self._model and self._model not in header.models:
            raise FileTransferError(
                Trouble.CORRUPT, f"the image is for {', '.join(header.models)}; this device is a {self._model}"
            )
        return ImageInfo(header.version, self._model if header.models else "")

    async def stage(self, image: Path, info: ImageInfo) -> str:
        return await self._in_thread(lambda: self._stage(image, info))

    async def activate(self, slot: str) -> None:
        await self._in_thread(lambda: self._save({**self._boot(), "next": slot, "failed": ""}))

    async def confirm(self) -> None:
        await self._in_thread(lambda: self._save({**self._boot(), "previous": "", "failed": ""}))

    async def roll_back(self) -> None:
        await self._in_thread(self._roll_back)

    def _roll_back(self) -> None:
        boot = self._boot()
        back = boot["previous"] or self._other(boot["active"])
        self._save({**boot, "next": back, "previous": "", "failed": boot["active"]})

    def _slots(self) -> tuple[Slot, ...]:
        boot = self._boot()
        rows = []
        for name in NAMES:
            version, running = self._version(name), name == boot["active"]
            if running:
                status = SlotStatus.ACTIVE
            elif not version:
                status = SlotStatus.NO_IMAGE
            else:
                status = SlotStatus.ACTIVATION_FAILED if name == boot["failed"] else SlotStatus.AVAILABLE
            rows.append(Slot(name, version, status, running, name == (boot["next"] or boot["active"])))
        return tuple(rows)

    def _stage(self, image: Path, info: ImageInfo) -> str:
        name = self._other(self._boot()["active"])
        place = self._root / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "image.json").unlink(missing_ok=True)  # half an image must not look like a whole one
        shutil.copyfile(image, place / "image")
        with (place / "image").open("rb+") as f:
            os.fsync(f.fileno())
        self._write(place / "image.json", {"version": info.version})
        return name

    def _version(self, name: str) -> str:
        try:
            return str(json.loads((self._root / name / "image.json").read_text(encoding="utf-8"))["version"])
        except (OSError, ValueError, KeyError):
            return self._factory_version if name == NAMES[0] else ""  # nothing was staged there yet

    @staticmethod
    def _other(name: str) -> str:
        return NAMES[1] if name == NAMES[0] else NAMES[0]

    def _boot(self) -> dict[str, str]:
        empty = {"active": NAMES[0], "next": "", "previous": "", "failed": ""}
        try:
            kept = json.loads((self._root / "boot.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return empty  # never written: the factory's image runs
        return {key: str(kept.get(key, value)) for key, value in empty.items()}

    def _save(self, boot: dict[str, str]) -> None:
        self._write(self._root / "boot.json", boot)

    @staticmethod
    def _write(path: Path, data: Any) -> None:
        part = path.with_name(path.name + ".new")
        with part.open("w", encoding="utf-8") as f:
            json.dump(data, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
        sync_directory(path.parent)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as e:
            raise FileTransferError(
                Trouble.LOCAL, f"the firmware directory {self._root} failed: {e.strerror or e}"
            ) from e
