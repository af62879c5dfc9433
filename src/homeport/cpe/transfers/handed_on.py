"""File types that the settings or a plug-in bring: files laid into a directory, given to a program, or to a function of the device.

    transfer_directories = ["4 Tone File=/var/lib/tones"]             kept there under TargetFileName, or the name in the URL
    transfer_programs = ["X 00256D Splash=/usr/lib/device/splash --install"]
                                                     PROGRAM … download FILE NAME      PROGRAM … upload FILE

A program is run without a shell and with a time limit; what it says on standard error is the fault's text. FILE is where the bytes lie, or
where an upload's are to be written; it is gone afterwards. Ends with status 0 where the file is good, else the transfer fails with 9018.
"""

import asyncio
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from homeport.cpe.firmware.program import ProgramFailed, run_program
from homeport.cpe.transfers.file_types import FileTypes, Restart
from homeport.cpe.transfers.records import Transfer
from homeport.errors import ConfigError
from homeport.transport.files import FileTransferError, Trouble
from homeport.transport.files.sink import sync_directory

WEB_CONTENT: Final = "2 Web Content"

PATIENCE: Final = 600.0
"""Seconds that a program may take with one file."""


class FilesInDirectory:
    """Keeps files in a directory. web_pages: HTML is a legitimate content."""

    disturbs = False

    def __init__(self, directory: Path, *, web_pages: bool = False) -> None:
        self._directory = directory
        self.web_pages = web_pages

    async def apply(self, file: Path, transfer: Transfer) -> Restart:
        target = self._directory / name_of(transfer)

        def keep() -> None:
            self._directory.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.new")
            shutil.copyfile(file, part)
            with part.open("rb+") as f:
                os.fsync(f.fileno())
            os.replace(part, target)
            sync_directory(self._directory)

        try:
            await asyncio.to_thread(keep)
        except OSError as e:
            raise FileTransferError(Trouble.LOCAL, f"{target} cannot be written: {e.strerror or e}") from e
        return Restart.NO


class ProgramForFiles:
    """Installer and exporter that is a program. command: it and its first arguments. timeout: seconds."""

    disturbs = False

    def __init__(self, command: Sequence[str], *, web_pages: bool = False, timeout: float = PATIENCE) -> None:
        self._command, self._timeout = tuple(command), timeout
        self.web_pages = web_pages

    async def apply(self, file: Path, transfer: Transfer) -> Restart:
        await self._run("download", str(file), name_of(transfer))
        return Restart.NO

    def has(self, instance: int | None) -> bool:
        return instance is None

    async def write(self, file: Path, transfer: Transfer) -> None:
        await self._run("upload", str(file))
        if not await asyncio.to_thread(file.is_file):
            raise FileTransferError(Trouble.LOCAL, f"{self._command[0]} wrote no file")

    async def _run(self, *arguments: str) -> None:
        try:
            await run_program((*self._command, *arguments), timeout=self._timeout)
        except ProgramFailed as e:
            # A program that says no has looked at the file; one that does not start or end has not.
            raise FileTransferError(Trouble.LOCAL if e.status is None else Trouble.CORRUPT, str(e)) from e


class FunctionForFiles:
    """Installer or exporter that is a plug-in's function, run in a thread: `take(file, name)`, `give(file)`.

    A ValueError means that the file is not usable (9018), an OSError that the device cannot store it (9002).
    """

    disturbs = False

    def __init__(self, function: Callable[..., object], *, web_pages: bool = False) -> None:
        self._function = function
        self.web_pages = web_pages

    async def apply(self, file: Path, transfer: Transfer) -> Restart:
        await self._call(file, name_of(transfer))
        return Restart.NO

    def has(self, instance: int | None) -> bool:
        return instance is None

    async def write(self, file: Path, transfer: Transfer) -> None:
        await self._call(file)

    async def _call(self, *arguments: object) -> None:
        try:
            await asyncio.to_thread(self._function, *arguments)
        except ValueError as e:
            raise FileTransferError(Trouble.CORRUPT, str(e) or "the device does not take the file") from e
        except OSError as e:
            raise FileTransferError(Trouble.LOCAL, str(e)) from e


def name_of(transfer: Transfer) -> str:
    """The file's own name: TargetFileName or the last part of the URL, without any directory."""
    wanted = transfer.target_file_name or unquote(urlsplit(transfer.url).path)
    name = wanted.replace("\\", "/").rstrip("/").rpartition("/")[2]
    # No dot at its beginning, for that hides a file, and no dash, for a program would take it for one of its options.
    name = "".join(c for c in name if c.isprintable()).lstrip(".-")[:200]
    return name or f"file-{transfer.number}"


def check_settings(directories: Sequence[str], programs: Sequence[str]) -> None:
    """Raises ConfigError for a setting that is not `FILE TYPE=WHERE`."""
    for setting, rows in (("transfer_directories", directories), ("transfer_programs", programs)):
        for row in rows:
            _split(setting, row)


def add_handlers(types: FileTypes, directories: Sequence[str], programs: Sequence[str]) -> None:
    """Handle the file types that the settings name. A type that is handled already goes to what the setting says."""
    for row in directories:
        kind, place = _split("transfer_directories", row)
        types.on_download(kind, FilesInDirectory(Path(place).expanduser(), web_pages=kind == WEB_CONTENT))
    for row in programs:
        kind, command = _split("transfer_programs", row)
        program = ProgramForFiles(shlex.split(command), web_pages=kind == WEB_CONTENT)
        types.on_download(kind, program)
        if kind.startswith("X "):
            types.on_upload(kind, program)


def _split(setting: str, row: str) -> tuple[str, str]:
    kind, sign, where = (part.strip() for part in row.partition("="))
    number = kind.partition(" ")[0]
    try:
        usable = bool(sign and shlex.split(where)) and (number.isdigit() or number == "X") and " " in kind
    except ValueError:
        usable = False  # quotation marks that do not close
    if not usable:
        raise ConfigError(f"{setting}: {row!r} is not FILE TYPE=WHERE, for example '4 Tone File=/var/lib/tones'")
    return kind, where
