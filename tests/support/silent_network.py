"""A network between a program and PostgreSQL that stops carrying without a word: nothing is closed, and nothing arrives any more."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SOCKET = ".s.PGSQL.5432"


class SilentNetwork:
    """Carries between a socket of its own and the server's. url: the database through it."""

    def __init__(self, url: str, directory: Path) -> None:
        parts = urlsplit(url)
        self._server = Path(parse_qs(parts.query)["host"][0]) / SOCKET
        self._here = directory / SOCKET
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}?host={directory}"
        self._carries = asyncio.Event()
        self._carries.set()
        self._jobs: set[asyncio.Task[None] | None] = set()
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """From now on nothing arrives: not on the connections that stand, and no new one gets an answer."""
        self._carries.clear()
        self._dead = set(self._open)

    def mend(self) -> None:
        """New connections work again; the old ones stay dead."""
        for writer in self._dead:
            writer.transport.abort()
        self._carries.set()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self._jobs.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, server = await asyncio.open_unix_connection(str(self._server))
            self._open.add(server)
            await asyncio.gather(self._carry(reader, server), self._carry(there, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._carries.wait()
                writer.write(data)
                await writer.drain()
        if self._carries.is_set():
            writer.close()

    async def __aenter__(self) -> "SilentNetwork":
        self._listener = await asyncio.start_unix_server(self._met, str(self._here))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for writer in self._open:
            writer.transport.abort()
        jobs = [job for job in self._jobs if job is not None]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


@contextlib.asynccontextmanager
async def silent_network(url: str) -> AsyncIterator[SilentNetwork]:
    """One in front of this database."""
    with tempfile.TemporaryDirectory(prefix="hp-net-", dir="/tmp") as directory:  # a socket's path must be short
        async with SilentNetwork(url, Path(directory)) as network:
            yield network
