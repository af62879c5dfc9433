"""Stored files by TFTP, for devices that know nothing else (Sangoma Vega). Off unless asked for: TFTP has no authentication.

The server of transport/files gives one directory; this keeps it filled with links to the contents, under the files' names. What devices
have sent is not given: it may hold their secrets.
"""

import asyncio
import os
from pathlib import Path

import structlog

from homeport.acs.ports import why_not
from homeport.acs.records import FileRecord
from homeport.acs.services.files import Files
from homeport.errors import ConfigError
from homeport.transport.files.tftp_server import TftpServer

_log = structlog.get_logger("homeport.acs.tftp")


class TftpDoor:
    """Gives the stored files, read-only. directory: for the links; it is emptied."""

    def __init__(self, files: Files, directory: Path, host: str, port: int) -> None:
        self._files = files
        self._directory = directory
        self._server = TftpServer(directory, host=host, port=port)
        self._where = f"{host}:{port}"
        self._wanted = asyncio.Event()
        self._job: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises ConfigError where that cannot be."""
        try:
            await asyncio.to_thread(self._directory.mkdir, mode=0o700, parents=True, exist_ok=True)
            await self.refresh()
            self.port = await self._server.start()
        except OSError as e:
            raise ConfigError(f"tftp_listen: cannot serve on {self._where}: {why_not(e)}") from e
        self._files.changed = self._wanted.set
        self._job = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop listening."""
        if self._job is not None:
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)
        await self._server.stop()

    async def refresh(self) -> None:
        """Make the links those of the files that are stored now."""
        records = [f async for f in self._files.all() if not f.device]
        await asyncio.to_thread(self._link, records)

    async def _follow(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.refresh()
            except OSError as e:
                _log.error("tftp_directory", error=str(e))

    def _link(self, records: list[FileRecord]) -> None:
        wanted = {f.name: self._files.blobs.path(f.sha256) for f in records}
        for path in self._directory.iterdir():
            if path.name not in wanted:
                path.unlink()
        for name, content in wanted.items():
            link = self._directory / name
            if content.exists() and not (link.exists() and link.samefile(content)):
                new = self._directory / f".{name}.new"
                new.unlink(missing_ok=True)
                os.link(content, new)
                new.replace(link)
