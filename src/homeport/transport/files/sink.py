"""Where the bytes of a download go: a part file beside the destination, in batches, counted, hashed, paced, and renamed when whole.

Memory is constant: at most one batch. Disk work runs in a thread, so that a slow flash does not hold up a session.
"""

import asyncio
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from homeport.transport.files.result import FileLimits, FileTransferError, Progress, Trouble

BATCH: Final = 512 * 1024
"""Bytes gathered before they are written: large enough that the hop into a thread costs nothing, small for memory."""

SPACE_EVERY: Final = 8 << 20
"""Bytes between two looks at the free space."""


def free_space(directory: Path) -> int:
    """Bytes that an ordinary user may still write there."""
    return shutil.disk_usage(directory).free


def sync_directory(directory: Path) -> None:
    """Have a file's new name on the disk: a rename that only the memory knows is undone by a power cut. Raises OSError."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Pace:
    """Holds a transfer to a rate: bytes a second, 0 for none."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._started: float | None = None
        self._count = 0

    async def moved(self, count: int) -> None:
        """Count bytes; waits while they came faster than allowed."""
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        if self._started is None:
            self._started = now
        self._count += count
        ahead = self._count / self._rate - (now - self._started)
        if ahead > 0.005:
            await asyncio.sleep(ahead)


class Sink:
    """One download in the making.

    size: bytes so far. validator: what the server said about the version of the file that the bytes belong to, "" for nothing.
    """

    def __init__(
        self,
        destination: Path,
        url: str,
        *,
        limits: FileLimits,
        expected: int = 0,
        progress: Progress | None = None,
        free: Callable[[Path], int] = free_space,
    ) -> None:
        self.destination = destination
        self.part = destination.with_name(destination.name + ".part")
        self._note = destination.with_name(destination.name + ".part.json")
        self._url = url
        self._limits = limits
        self._expected = expected
        self._progress = progress
        self._free = free
        self._pace = Pace(limits.rate)
        self._fd = -1
        self._hash = hashlib.sha256()
        self._batch: list[bytes] = []
        self._batched = 0
        self._next_look = 0
        self.size = 0
        self.total: int | None = None
        self.validator = ""

    async def open(self) -> None:
        """Take up what an earlier attempt left of the same file, else begin anew. Raises FileTransferError."""
        try:
            await asyncio.to_thread(self._open)
        except OSError as e:
            raise self._local(e) from e
        self._room(self._expected - self.size)

    async def restart(self) -> None:
        """Forget the bytes so far."""
        self._batch.clear()
        self._batched = 0
        self.size = 0
        self.validator = ""
        self._hash = hashlib.sha256()
        self._next_look = 0
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._note.unlink(missing_ok=True)

    def remember(self, validator: str) -> None:
        """Note which version of the file the bytes belong to, so that a restart of the device can go on with them."""
        self.validator = validator
        if validator:
            try:
                self._note.write_text(json.dumps({"url": self._url, "validator": validator}), encoding="utf-8")
            except OSError as e:
                raise self._local(e) from e

    def announce(self, total: int | None) -> None:
        """The server says how large the whole is. Raises FileTransferError where there is no room for it."""
        self.total = total
        if total is not None:
            if total > self._limits.max_size:
                raise FileTransferError(
                    Trouble.SPACE, f"the file has {total} bytes, more than the {self._limits.max_size} allowed"
                )
            self._room(total - self.size)

    async def write(self, data: bytes) -> None:
        """Take the next bytes. Raises FileTransferError where there is no room for them."""
        self._batch.append(data)
        self._batched += len(data)
        self.size += len(data)
        if self.size > self._limits.max_size:
            raise FileTransferError(Trouble.SPACE, f"the file has more than the {self._limits.max_size} bytes allowed")
        if self._batched >= BATCH:
            await self.flush()
        if self._limits.rate:
            await self._pace.moved(len(data))

    async def flush(self) -> None:
        """Bring what was gathered to the file."""
        if self._batch:
            batch, self._batch, self._batched = self._batch, [], 0
            try:
                await asyncio.to_thread(self._write, batch)
            except OSError as e:
                raise self._local(e) from e
            if self.size >= self._next_look:
                self._next_look = self.size + SPACE_EVERY
                self._room(1)
        if self._progress is not None:
            self._progress(self.size, self.total if self.total is not None else self._expected or None)

    @property
    def sha256(self) -> str:
        """Of what was flushed, hexadecimal."""
        return self._hash.hexdigest()

    async def finish(self) -> None:
        """Sync, and put the file under its name."""
        await self.flush()
        try:
            await asyncio.to_thread(self._finish)
        except OSError as e:
            raise self._local(e) from e

    def head(self, count: int = 512) -> bytes:
        """The first bytes that were written."""
        return os.pread(self._fd, count, 0)

    async def close(self, *, keep: bool) -> None:
        """Give up. keep: leave the bytes for a later attempt, where the server lets it go on."""
        if self._fd < 0:
            return
        try:
            if keep and self.validator:
                await self.flush()
        except FileTransferError:
            keep = False
        finally:
            os.close(self._fd)
            self._fd = -1
        if not (keep and self.validator):
            self.part.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def _open(self) -> None:
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            known = str(note["validator"]) if note["url"] == self._url else ""
        except (OSError, ValueError, KeyError, TypeError):
            known = ""  # nothing usable was left: begin anew
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self.part, flags if known else flags | os.O_TRUNC, 0o600)
        if not known:
            return
        self.validator = known
        while block := os.read(self._fd, BATCH):
            self._hash.update(block)
            self.size += len(block)

    def _write(self, batch: list[bytes]) -> None:
        for data in batch:
            self._hash.update(data)
        views = [memoryview(b) for b in batch]
        while views:
            written = os.writev(self._fd, views[:512])
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]

    def _finish(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)
        self._fd = -1
        os.replace(self.part, self.destination)
        self._note.unlink(missing_ok=True)
        sync_directory(self.destination.parent)

    def _room(self, wanted: int) -> None:
        if wanted <= 0:
            return
        free = self._free(self.destination.parent)
        if free < wanted + self._limits.reserve:
            raise FileTransferError(
                Trouble.SPACE,
                f"{self.destination.parent} has {free} bytes free; {wanted} and a reserve of {self._limits.reserve} are needed",
            )

    def _local(self, error: OSError) -> FileTransferError:
        trouble = Trouble.SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else Trouble.LOCAL
        return FileTransferError(trouble, f"cannot write {self.part}: {error.strerror or error}")


async def blocks_of(source: Path, *, pace: Pace, progress: Progress | None, size: int = 256 * 1024) -> "FileBlocks":
    """The content of a file in blocks, for an upload. Raises FileTransferError where it cannot be read."""
    try:
        fd = await asyncio.to_thread(os.open, source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise FileTransferError(Trouble.LOCAL, f"cannot read {source}: {e.strerror or e}") from e
    return FileBlocks(fd, pace=pace, progress=progress, block=size)


class FileBlocks:
    """An asynchronous iterator over an open file, at a pace; closes it at the end."""

    def __init__(self, fd: int, *, pace: Pace, progress: Progress | None, block: int) -> None:
        self._fd = fd
        self._pace = pace
        self._progress = progress
        self._block = block
        self._sent = 0
        self.size = os.fstat(fd).st_size

    def __aiter__(self) -> "FileBlocks":
        return self

    async def __anext__(self) -> bytes:
        data = await self.read(self._block)
        if not data:
            raise StopAsyncIteration
        return data

    async def read(self, count: int) -> bytes:
        """The next bytes, b"" at the end."""
        data = await asyncio.to_thread(os.read, self._fd, count)
        self._sent += len(data)
        await self._pace.moved(len(data))
        if self._progress is not None and data:
            self._progress(self._sent, self.size)
        return data

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
