"""The two verbs of this room: `fetch` and `put`. Protocols are chosen by scheme and imported when first needed."""

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path

from homeport.transport.files.result import (
    DEFAULT_LIMITS,
    DEFAULT_OPTIONS,
    NO_CREDENTIALS,
    Credentials,
    Fetched,
    FileLimits,
    FileOptions,
    FileTransferError,
    Place,
    Progress,
    Sent,
    Trouble,
    parse_file_url,
    shown_url,
)
from homeport.transport.files.sink import FileBlocks, Pace, Sink, blocks_of, free_space

_NEEDS = {"ftp": "aioftp", "sftp": "asyncssh"}
"""Schemes that need a package which may be absent."""


def supported_schemes(options: FileOptions = DEFAULT_OPTIONS) -> tuple[str, ...]:
    """The schemes of options that can be used here: what an RPC is checked against before it is accepted."""
    return tuple(s for s in options.schemes if s not in _NEEDS or importlib.util.find_spec(_NEEDS[s]) is not None)


async def fetch(
    url: str,
    destination: Path,
    *,
    credentials: Credentials = NO_CREDENTIALS,
    expected_size: int = 0,
    exact_size: bool = False,
    sha256: str = "",
    limits: FileLimits = DEFAULT_LIMITS,
    options: FileOptions = DEFAULT_OPTIONS,
    progress: Progress | None = None,
    free: Callable[[Path], int] = free_space,
) -> Fetched:
    """The file of url under destination: whole, synced and renamed into place, or not there at all.

    expected_size: bytes, 0 for unknown; a hint (TR-069a6 A.3.2.8): space is checked with it before anything is asked for, and a
    shorter body that the server itself never measured counts as cut. exact_size: any other size is refused as corrupt.
    sha256: hexadecimal, "" for unknown. What a cut left is taken up by the next call for the same URL and destination where the
    server can go on in the middle.
    Raises FileTransferError; ConfigError where the scheme's package is missing.
    """
    place = _place(url, options)
    sink = Sink(destination, url, limits=limits, expected=expected_size, progress=progress, free=free)
    keep = False
    try:
        async with asyncio.timeout(limits.total):
            await sink.open()
            final, content_type, resumed = await _fetch(url, place, sink, credentials, limits, options)
            await sink.flush()
            _check(sink, final, expected_size, exact_size, sha256, options)
            await sink.finish()
    except FileTransferError as e:
        keep = e.passing or e.trouble in (Trouble.INCOMPLETE, Trouble.UNREACHABLE)
        raise
    except TimeoutError as e:
        keep = True
        raise FileTransferError(
            Trouble.INCOMPLETE, f"{shown_url(url)} was not complete after {limits.total:g} s ({sink.size} bytes came)"
        ) from e
    except asyncio.CancelledError:
        keep = True  # the device stops: what is here spares bytes after the restart
        raise
    finally:
        await sink.close(keep=keep)
    return Fetched(destination, sink.size, sink.sha256, final, content_type, resumed)


async def put(
    url: str,
    source: Path,
    *,
    credentials: Credentials = NO_CREDENTIALS,
    limits: FileLimits = DEFAULT_LIMITS,
    options: FileOptions = DEFAULT_OPTIONS,
    progress: Progress | None = None,
) -> Sent:
    """What was sent, once the server has taken all of source. Raises FileTransferError; ConfigError as `fetch` does."""
    place = _place(url, options)
    size = 0

    async def open_blocks() -> FileBlocks:
        nonlocal size
        blocks = await blocks_of(source, pace=Pace(limits.rate), progress=progress)
        size = blocks.size
        return blocks

    final = url
    try:
        async with asyncio.timeout(limits.total):
            match place.scheme:
                case "http" | "https":
                    from homeport.transport.files.http import put_http

                    final = await put_http(url, open_blocks, credentials=credentials, limits=limits, options=options)
                case "ftp":
                    from homeport.transport.files.ftp import put_ftp

                    await put_ftp(place, open_blocks, credentials=credentials, limits=limits)
                case "sftp":
                    from homeport.transport.files.sftp import put_sftp

                    await put_sftp(place, open_blocks, credentials=credentials, limits=limits, options=options)
                case _:
                    from homeport.transport.files.tftp import put_tftp

                    await put_tftp(place, open_blocks, limits=limits, options=options)
    except TimeoutError as e:
        raise FileTransferError(
            Trouble.INCOMPLETE, f"{shown_url(url)} had not taken the file after {limits.total:g} s"
        ) from e
    return Sent(size, final)


async def _fetch(
    url: str, place: Place, sink: Sink, credentials: Credentials, limits: FileLimits, options: FileOptions
) -> tuple[str, str, int]:
    match place.scheme:
        case "http" | "https":
            from homeport.transport.files.http import fetch_http

            return await fetch_http(url, sink, credentials=credentials, limits=limits, options=options)
        case "ftp":
            from homeport.transport.files.ftp import fetch_ftp

            return url, "", await fetch_ftp(place, sink, credentials=credentials, limits=limits)
        case "sftp":
            from homeport.transport.files.sftp import fetch_sftp

            await fetch_sftp(place, sink, credentials=credentials, limits=limits, options=options)
        case _:
            from homeport.transport.files.tftp import fetch_tftp

            await fetch_tftp(place, sink, limits=limits, options=options)
    return url, "", 0


def _check(sink: Sink, url: str, expected: int, exact: bool, sha256: str, options: FileOptions) -> None:
    """Raises FileTransferError for a body that cannot be the file."""
    if options.refuse_html:
        head = sink.head().lstrip()[:15].lower()
        if head.startswith((b"<!doctype html", b"<html")):
            raise FileTransferError(Trouble.CORRUPT, f"{shown_url(url)} gave a web page in place of the file")
    if expected and sink.size < expected and sink.total is None:
        raise FileTransferError(Trouble.INCOMPLETE, f"{shown_url(url)} ended after {sink.size} of {expected} bytes")
    if expected and exact and sink.size != expected:
        raise FileTransferError(
            Trouble.CORRUPT, f"{shown_url(url)} has {sink.size} bytes where {expected} were announced"
        )
    if sha256 and sink.sha256 != sha256.lower():
        raise FileTransferError(
            Trouble.CORRUPT, f"{shown_url(url)} has the SHA-256 {sink.sha256}, not {sha256.lower()}"
        )


def _place(url: str, options: FileOptions) -> Place:
    try:
        place = parse_file_url(url)
    except ValueError as e:
        raise FileTransferError(Trouble.SERVER, str(e)) from e
    if place.scheme not in options.schemes:
        raise FileTransferError(Trouble.SCHEME, f"{place.scheme} is not supported, only {', '.join(options.schemes)}")
    return place
