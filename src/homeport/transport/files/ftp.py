"""Files over FTP, through aioftp (imported when first needed): passive mode, REST to go on after a cut.

Source: RFC 959, RFC 2428, RFC 3659 (SIZE, REST STREAM); RFC 1738 3.2.2 for the path: relative to the login directory.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from homeport.errors import ConfigError
from homeport.transport.files.result import Credentials, FileLimits, FileTransferError, Place, Trouble
from homeport.transport.files.sink import FileBlocks, Sink

if TYPE_CHECKING:
    import aioftp
    from aioftp.client import ConnType

BLOCK: Final = 64 * 1024


async def fetch_ftp(place: Place, sink: Sink, *, credentials: Credentials, limits: FileLimits) -> int:
    """How often a cut was mended; the bytes are in the sink. Raises FileTransferError."""
    resumed = 0
    while True:
        before = sink.size
        try:
            async with _connection(place, credentials, limits) as client:
                await _retrieve(client, place, sink)
            return resumed
        except FileTransferError as e:
            may_go_on = e.trouble is Trouble.INCOMPLETE and bool(sink.validator) and sink.size > before
            if not may_go_on or resumed >= limits.resumes:
                raise
            resumed += 1


async def put_ftp(
    place: Place, open_blocks: Callable[[], Awaitable[FileBlocks]], *, credentials: Credentials, limits: FileLimits
) -> None:
    """Store the file. Raises FileTransferError."""
    blocks = await open_blocks()
    try:
        async with _connection(place, credentials, limits) as client:
            stream = await client.upload_stream(_path(place))
            async for data in blocks:
                await stream.write(data)
            await stream.finish()
    finally:
        blocks.close()


async def _retrieve(client: "aioftp.Client", place: Place, sink: Sink) -> None:
    path = _path(place)
    size = await _size(client, path)
    stamp = await _modified(client, path)
    # Size and time of change together say whether the file is still the same one.
    version = f"{size}/{stamp}" if size is not None and stamp else ""
    if sink.size and sink.validator != version:
        await sink.restart()
    sink.remember(version)
    sink.announce(size)
    stream = await client.download_stream(path, offset=sink.size)
    try:
        async for data in stream.iter_by_block(BLOCK):
            await sink.write(data)
        await stream.finish()
    except BaseException:
        stream.close()
        await sink.flush()
        raise
    if size is not None and sink.size < size:
        await sink.flush()
        raise FileTransferError(Trouble.INCOMPLETE, f"{place.host} sent {sink.size} of {size} bytes")


async def _size(client: "aioftp.Client", path: str) -> int | None:
    """What SIZE says; None where the server does not know it. A missing file is left to RETR."""
    await client.command("TYPE I", "200")
    code, info = await client.command(f"SIZE {path}", ("2xx", "5xx"))
    text = info[-1].strip().split(" ")[-1]
    return int(text) if code.matches("213") and text.isascii() and text.isdigit() else None


async def _modified(client: "aioftp.Client", path: str) -> str:
    code, info = await client.command(f"MDTM {path}", ("2xx", "5xx"))
    return info[-1].strip() if code.matches("213") else ""


def _path(place: Place) -> str:
    path = place.path[1:]
    if not path or path.endswith("/"):
        raise FileTransferError(Trouble.NOT_ACCESSIBLE, "the FTP URL names a directory, not a file")
    return path


@asynccontextmanager
async def _connection(place: Place, credentials: Credentials, limits: FileLimits) -> AsyncIterator["aioftp.Client"]:
    try:
        import aioftp
    except ImportError as e:
        raise ConfigError("transfers over ftp need aioftp: pip install aioftp") from e

    data_connections: list[asyncio.StreamWriter] = []

    class Client(aioftp.Client):
        """Remembers its data connections: aioftp 0.28 forgets the one whose command the server refuses."""

        async def get_passive_connection(
            self, conn_type: "ConnType" = "I", commands: Sequence[str] | None = None
        ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await super().get_passive_connection(conn_type, commands)
            data_connections.append(writer)
            return reader, writer

    client = Client(socket_timeout=limits.stall, connection_timeout=limits.connect, path_timeout=limits.stall)
    try:
        await client.connect(place.host, place.port or 21)
    except (OSError, TimeoutError, aioftp.StatusCodeError) as e:
        client.close()
        raise FileTransferError(Trouble.UNREACHABLE, f"cannot reach the FTP server {place.host}: {e}") from e
    try:
        await client.login(credentials.username or "anonymous", credentials.password or "anonymous@")
        yield client
    except aioftp.StatusCodeError as e:
        code = str(e.received_codes[-1])
        if code in ("430", "530", "532"):
            trouble = Trouble.CREDENTIALS
        elif code in ("550", "553", "501"):
            trouble = Trouble.NOT_ACCESSIBLE
        elif code in ("425", "426", "421", "451"):
            trouble = Trouble.INCOMPLETE
        else:
            trouble = Trouble.SERVER
        raise FileTransferError(trouble, f"the FTP server {place.host} answered {_said(e)}") from e
    except (OSError, TimeoutError, aioftp.AIOFTPException) as e:
        raise FileTransferError(Trouble.INCOMPLETE, f"the FTP server {place.host} was lost: {e or 'no answer'}") from e
    finally:
        for writer in data_connections:
            writer.close()
        client.close()


def _said(error: "aioftp.StatusCodeError") -> str:
    info = error.info[-1] if isinstance(error.info, list) else str(error.info)
    return f"{error.received_codes[-1]} {info.strip()}"[:200]
