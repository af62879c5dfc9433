"""An updater that is the device maker's own program, called without a shell and with a time limit.

    PROGRAM status                 -> {"slots": [{"name": "a", "version": "1.0", "running": true, "boots_next": true}, …]}
    PROGRAM verify FILE            -> {"version": "2.0"}
    PROGRAM stage FILE             -> {"slot": "b"}
    PROGRAM activate SLOT · confirm · roll-back

JSON on standard output; a failure is an exit status other than 0 with a sentence on standard error. Status 3 of `verify` means that the
signature is not accepted.
"""

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from homeport.cpe.firmware.interface import ImageInfo, Slot, SlotStatus, kernel_boot_id
from homeport.transport.files import FileTransferError, Trouble

NOT_TRUSTED: Final = 3
MOST_OUTPUT: Final = 1 << 20
"""Bytes that are read of a program's output."""


class ProgramFailed(Exception):
    """status: the exit status, None where it did not end in time or could not be started."""

    def __init__(self, text: str, status: int | None) -> None:
        super().__init__(text)
        self.status = status


async def run_program(command: Sequence[str], *, timeout: float) -> bytes:
    """Standard output of a program. timeout: seconds; its whole process group is ended then. Raises ProgramFailed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as e:
        raise ProgramFailed(f"cannot start {command[0]}: {e.strerror or e}", None) from e
    assert process.stdout is not None and process.stderr is not None
    ended = False
    try:
        async with asyncio.timeout(timeout):
            out, err = await asyncio.gather(_some(process.stdout), _some(process.stderr))
            status = await process.wait()
            ended = True
    except TimeoutError as e:
        raise ProgramFailed(f"{command[0]} did not end within {timeout:g} s", None) from e
    finally:
        if not ended:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended at this very moment
            await process.wait()
    if status != 0:
        said = err.decode("utf-8", "replace").strip().splitlines()
        raise ProgramFailed(said[-1][:200] if said else f"{command[0]} ended with status {status}", status)
    return out


async def _some(stream: asyncio.StreamReader) -> bytes:
    """At most MOST_OUTPUT bytes; what comes after is read and dropped, so that the program does not hang."""
    kept = bytearray()
    while block := await stream.read(1 << 16):
        kept += block[: MOST_OUTPUT - len(kept)]
    return bytes(kept)


class ProgramUpdater:
    """command: the program and its first arguments. timeout: seconds for each call; staging writes flash and may take long."""

    def __init__(self, command: Sequence[str], *, timeout: float = 600.0) -> None:
        self._command = tuple(command)
        self._timeout = timeout

    def boot_id(self) -> str:
        return kernel_boot_id()

    async def slots(self) -> tuple[Slot, ...]:
        data = await self._ask("status")
        try:
            return tuple(_slot(row) for row in data["slots"])
        except (KeyError, TypeError, ValueError) as e:
            raise self._odd("status") from e

    async def verify(self, image: Path) -> ImageInfo:
        data = await self._ask("verify", str(image))
        try:
            return ImageInfo(str(data["version"]), str(data.get("model", "")))
        except (KeyError, TypeError) as e:
            raise self._odd("verify") from e

    async def stage(self, image: Path, info: ImageInfo) -> str:
        data = await self._ask("stage", str(image))
        try:
            return str(data["slot"])
        except (KeyError, TypeError) as e:
            raise self._odd("stage") from e

    async def activate(self, slot: str) -> None:
        await self._run("activate", slot)

    async def confirm(self) -> None:
        await self._run("confirm")

    async def roll_back(self) -> None:
        await self._run("roll-back")

    async def _ask(self, *arguments: str) -> Any:
        try:
            return json.loads(await self._run(*arguments))
        except ValueError as e:
            raise self._odd(arguments[0]) from e

    async def _run(self, *arguments: str) -> bytes:
        try:
            return await run_program((*self._command, *arguments), timeout=self._timeout)
        except ProgramFailed as e:
            if arguments[0] != "verify" or e.status is None:
                trouble = Trouble.LOCAL
            else:
                trouble = Trouble.UNTRUSTED if e.status == NOT_TRUSTED else Trouble.CORRUPT
            raise FileTransferError(trouble, f"{arguments[0]}: {e}") from e

    def _odd(self, verb: str) -> FileTransferError:
        return FileTransferError(
            Trouble.LOCAL, f"{self._command[0]} {verb} did not print what it should; see its documentation"
        )


def _slot(row: dict[str, Any]) -> Slot:
    running, version = bool(row["running"]), str(row.get("version", ""))
    if "status" in row:
        status = SlotStatus(row["status"])
    elif running:
        status = SlotStatus.ACTIVE
    else:
        status = SlotStatus.AVAILABLE if version else SlotStatus.NO_IMAGE
    return Slot(str(row["name"]), version, status, running, bool(row.get("boots_next", running)))
