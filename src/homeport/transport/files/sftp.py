"""Files over SFTP, through asyncssh (the extra `sftp`, imported when first needed).

A server is trusted only by its key in `known_hosts`; nothing is learned on first use, and no agent or key
that happens to lie about is tried.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from homeport.errors import ConfigError
from homeport.transport.files.result import Credentials, FileLimits, FileOptions, FileTransferError, Place, Trouble
from homeport.transport.files.sink import FileBlocks, Sink

if TYPE_CHECKING:
    import asyncssh

BLOCK: Final = 256 * 1024


async def fetch_sftp(
    place: Place, sink: Sink, *, credentials: Credentials, limits: FileLimits, options: FileOptions
) -> None:
    """The bytes are in the sink. Raises FileTransferError, ConfigError where asyncssh is missing."""
    import asyncio

    async with _client(place, credentials, limits, options) as client, client.open(place.path, "rb") as file:
        attributes = await file.stat()
        version = f"{attributes.size}/{attributes.mtime}" if attributes.mtime else ""
        if sink.size and sink.validator != version:
            await sink.restart()
        sink.remember(version)
        sink.announce(attributes.size)
        offset = sink.size
        while True:
            async with asyncio.timeout(limits.stall):
                data = await file.read(BLOCK, offset)
            if not data:
                break
            offset += len(data)
            await sink.write(cast(bytes, data))
        if attributes.size is not None and offset < attributes.size:
            raise FileTransferError(Trouble.INCOMPLETE, f"{place.host} sent {offset} of {attributes.size} bytes")


async def put_sftp(
    place: Place,
    open_blocks: Callable[[], Awaitable[FileBlocks]],
    *,
    credentials: Credentials,
    limits: FileLimits,
    options: FileOptions,
) -> None:
    """Store the file. Raises FileTransferError, ConfigError where asyncssh is missing."""
    import asyncio

    blocks = await open_blocks()
    try:
        async with _client(place, credentials, limits, options) as client, client.open(place.path, "wb") as file:
            async for data in blocks:
                async with asyncio.timeout(limits.stall):
                    await file.write(data)
    finally:
        blocks.close()


@asynccontextmanager
async def _client(
    place: Place, credentials: Credentials, limits: FileLimits, options: FileOptions
) -> AsyncIterator["asyncssh.SFTPClient"]:
    try:
        import asyncssh
    except ImportError as e:
        raise ConfigError("transfers over sftp need asyncssh: pip install homeport[sftp]") from e

    known: Any = str(options.known_hosts) if options.known_hosts else ((), (), ())
    try:
        connection = await asyncssh.connect(
            place.host,
            place.port or 22,
            username=credentials.username or "anonymous",
            password=credentials.password,
            known_hosts=known,
            client_keys=[str(k) for k in options.ssh_keys] or None,
            agent_path=None,
            config=None,
            connect_timeout=limits.connect,
            login_timeout=limits.connect,
        )
    except asyncssh.PermissionDenied as e:
        raise FileTransferError(Trouble.CREDENTIALS, f"the SFTP server {place.host} refused the credentials") from e
    except asyncssh.HostKeyNotVerifiable as e:
        raise FileTransferError(
            Trouble.UNREACHABLE,
            f"the key of {place.host} is not among the known hosts; add it to the known-hosts file",
            passing=False,
        ) from e
    except (OSError, TimeoutError, asyncssh.Error) as e:
        raise FileTransferError(Trouble.UNREACHABLE, f"cannot reach the SFTP server {place.host}: {e}") from e
    try:
        async with connection, connection.start_sftp_client() as client:
            yield client
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPPermissionDenied, asyncssh.SFTPNoSuchPath) as e:
        raise FileTransferError(Trouble.NOT_ACCESSIBLE, f"{place.path} on {place.host} is not accessible: {e}") from e
    except asyncssh.SFTPConnectionLost as e:
        raise FileTransferError(Trouble.INCOMPLETE, f"the SFTP server {place.host} was lost: {e}") from e
    except asyncssh.SFTPError as e:
        raise FileTransferError(Trouble.SERVER, f"the SFTP server {place.host} failed: {e}") from e
    except (OSError, TimeoutError, asyncssh.Error) as e:
        raise FileTransferError(Trouble.INCOMPLETE, f"the SFTP server {place.host} was lost: {e or 'no answer'}") from e
