"""Where the bytes of stored files lie: one directory, each content under its SHA-256. What a file is called is a row of the store.

A file is written beside its place under a lock and moved when it is whole, so that a place holds all of a content or does not exist.
What a killed process left unfinished is known by its lock being free, also when several processes share the directory.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import IO, Final

from homeport.errors import HomeportError, StoreUnavailable
from homeport.transport.files.sink import sync_directory

YOUNG: Final = 3_600.0
"""Seconds for which a content without a row is left alone: another process may be about to write its row."""


BEGUN: Final = 60.0
"""Seconds since its last byte for which a part is not told to be left: its writer may be about to lock it."""


class TooLarge(HomeportError):
    """The file is longer than the limit."""


class Blobs:
    """The contents in one directory. Blocking: call it from a thread, except for `path`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._parts = directory / "parts"

    def prepare(self) -> int:
        """Make the directories and delete what killed processes left unfinished; how many such files there were.

        Raises StoreUnavailable.
        """
        try:
            self._parts.mkdir(mode=0o700, parents=True, exist_ok=True)
            return sum(_if_unlocked(path, path.unlink) for path in self._parts.iterdir())
        except OSError as e:
            raise _unavailable(self.directory, e) from e

    def unwritten(self, *, now: float | None = None) -> list[Path]:
        """What killed processes left unfinished. Raises OSError where that cannot be looked at."""
        before = (time.time() if now is None else now) - BEGUN
        found = sorted(self._parts.iterdir()) if self._parts.exists() else []
        return [path for path in found if _if_unlocked(path, lambda: None) and _older(path, before)]

    def strays(self, wanted: Iterable[str], *, now: float | None = None) -> list[Path]:
        """Contents that no row names, but for young ones. wanted: the SHA-256 of all rows."""
        keep = set(wanted)
        before = (time.time() if now is None else now) - YOUNG
        found = sorted(self.directory.glob("??/" + "?" * 64))
        return [path for path in found if path.name not in keep and _older(path, before)]

    def sweep(self, wanted: Iterable[str], *, now: float | None = None) -> int:
        """Delete contents that no row names, unless they are young; how many. wanted: the SHA-256 of all rows."""
        gone = 0
        for path in self.strays(wanted, now=now):
            with contextlib.suppress(OSError):  # another process was quicker
                path.unlink()
                gone += 1
        return gone

    def path(self, sha256: str) -> Path:
        """Where the content with this hash lies, if it is here."""
        return self.directory / sha256[:2] / sha256

    def begin(self, limit: int) -> "Part":
        """A new content to be written. limit: bytes. Raises StoreUnavailable."""
        while True:
            part = Part(self._parts / secrets.token_hex(16), limit)
            if not part.lost:
                return part
            part.drop()

    def place(self, part: "Part") -> None:
        """Move a finished part to its place, durably. Raises StoreUnavailable; where it is not moved it can still be dropped."""
        path = self.path(part.sha256)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            os.replace(part.path, path)
            part.close()
            for directory in (path.parent, self.directory):
                sync_directory(directory)
        except OSError as e:
            raise _unavailable(path, e) from e

    def alone(self) -> IO[bytes]:
        """A lock that one process has at a time, for who adds and takes away contents; whoever closes it gives it back.

        Raises StoreUnavailable.
        """
        path = self.directory / "lock"
        try:
            lock = path.open("ab")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as e:
            raise _unavailable(path, e) from e
        return lock

    def remove(self, sha256: str) -> None:
        """Delete a content; readers that have it open read on. Deleting one that is not there does nothing."""
        with contextlib.suppress(FileNotFoundError):
            self.path(sha256).unlink()


class Part:
    """A content that is being written, in threads. sha256, size: of what was written so far.

    It may be dropped while a thread is writing, by whoever waited for that and has gone. The file is then closed behind the thread: its
    number may be another file's in the next moment, or a connection's.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.size = 0
        self._limit = limit
        self._hash = hashlib.sha256()
        self._used = threading.Lock()
        self._dropped = False
        try:
            self._file = path.open("xb", buffering=0)
        except OSError as e:
            raise _unavailable(path, e) from e
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)  # whoever has it clears the directory, and is done in a moment
        except OSError as e:
            self.drop()
            raise _unavailable(path, e) from e

    @property
    def lost(self) -> bool:
        """Whether a process that clears the directory has deleted the file: it was quicker than our lock."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append. Raises TooLarge, StoreUnavailable."""
        self.size += len(data)
        if self.size > self._limit:
            raise TooLarge(f"the file is longer than {self._limit} bytes, the most that is taken here")
        self._hash.update(data)
        view = memoryview(data)
        with self._writing() as file:
            while view:
                view = view[file.write(view) :]

    def finish(self) -> None:
        """Everything is on the disk, not yet in its place. Raises StoreUnavailable."""
        with self._writing() as file:
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[FileIO]:
        try:
            with self._used:
                if self._dropped:
                    raise StoreUnavailable("the file was given up while it was being received; send it again")
                yield self._file
        except OSError as e:
            raise _unavailable(self.path, e) from e
        finally:
            if self._dropped:
                self._let_go()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def drop(self) -> None:
        """Delete what was written. After `place` it does nothing."""
        if not self._file.closed:
            self.path.unlink(missing_ok=True)
            self._dropped = True
            self._let_go()

    def _let_go(self) -> None:
        if self._used.acquire(blocking=False):  # else the thread that is writing does it
            self._file.close()
            self._used.release()


def _if_unlocked(path: Path, deed: Callable[[], None]) -> bool:
    """Whether nobody writes the file, and the deed is done while nobody can begin to."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            deed()
    except (BlockingIOError, FileNotFoundError):
        return False  # it is being written, or its writer has just finished with it
    return True


def _older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return False


def _unavailable(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"the file store cannot write {path}: {error.strerror}; free space or mend the disk")
