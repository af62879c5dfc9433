"""Packages as tar files, plain or gzip: reading the manifest, and unpacking what a stranger made.

Only directories, plain files and symbolic links that stay inside are taken; a name is created by us, once, never written through a link.
`tarfile` parses; every decision about names, kinds and sizes is made here, and `tarfile.data_filter` is asked as well where there is one.
Blocking: call it in a thread.
"""

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from homeport.cpe.modules.interface import PackageSpec
from homeport.cpe.modules.manifest import MOST_BYTES, NAMES, inside, parse_manifest, unusable
from homeport.errors import Fault
from homeport.terms import FaultCode

MOST_MEMBERS: Final = 10_000
DEEPEST: Final = 24
LONGEST_PART: Final = 200
"""Bytes of one component of a name: file systems take 255, and updates of a file may need a suffix."""

LONGEST_HEADER: Final = 64 << 10
"""Bytes of a header that carries a long name; tarfile reads it into memory before anybody can look at it."""

HEADROOM: Final = 8 << 20
"""Bytes beyond the content that headers and padding may take."""

_BLOCK: Final = 1 << 16
_LONG_HEADERS: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_KINDS: Final = (*tarfile.REGULAR_TYPES[:2], tarfile.DIRTYPE, tarfile.SYMTYPE)


class TooLarge(Exception):
    """More comes out of the archive than is allowed."""


class _Header(tarfile.TarInfo):
    """Refuses what is never taken as soon as its header is read."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Header":
        if len(buf) == tarfile.BLOCKSIZE and not any(buf):
            return super().frombuf(buf, encoding, errors)  # a block of zeros: raises what tarfile knows as the end
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as e:
            # tarfile takes a broken or missing header behind the first member for the end.
            raise unusable(f"it is cut off or damaged ({e})") from e
        if found.type in _LONG_HEADERS:
            if found.size > LONGEST_HEADER:
                raise unusable(f"a header has {found.size} bytes")
        elif found.type not in _KINDS:
            raise unusable(f"{found.name[:80]!r} is neither a file nor a directory nor a symbolic link")
        return found


class _Bounded(io.RawIOBase):
    """A stream that ends in TooLarge after so many bytes."""

    def __init__(self, source: IO[bytes], most: int) -> None:
        self._source = source
        self._left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge
        buffer[: len(data)] = data
        return len(data)


def read_manifest(package: Path, *, max_size: int) -> PackageSpec:
    """What the package says of itself. max_size: bytes of the content. Raises Fault 9018, 9025, 9027."""
    with _members(package, max_size) as members:
        for tar, member, name in members:
            if str(name) in NAMES and member.isreg():
                if member.size > MOST_BYTES:
                    raise unusable(f"{name} has {member.size} bytes, at most {MOST_BYTES} are read")
                content = tar.extractfile(member)
                assert content is not None
                return parse_manifest(content.read(MOST_BYTES + 1), str(name))
    raise Fault(
        FaultCode.DEPLOYMENT_UNIT_MISMATCH,
        f"the package has neither {' nor '.join(NAMES)} at its top; see the documentation",
    )


def unpack(package: Path, directory: Path, *, max_size: int) -> int:
    """Put the content into a new directory, synced; its bytes. Raises Fault 9018, 9027, OSError; the caller removes what is there then."""
    directory.mkdir(parents=True)
    kinds: dict[PurePosixPath, str] = {}
    links: dict[PurePosixPath, str] = {}
    total = 0
    with _members(package, max_size) as members:
        for tar, member, name in members:
            _claim(kinds, name, "link" if member.issym() else "directory" if member.isdir() else "file")
            target = directory / name
            if member.issym():
                links[name] = member.linkname
                continue
            (target if member.isdir() else target.parent).mkdir(mode=0o755, parents=True, exist_ok=True)
            if member.isreg():
                total += _write(tar, member, directory, target)
    for name, text in links.items():
        _check_link(name, text, kinds)
        (directory / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        os.symlink(text, directory / name)
    _sync(directory)
    return total


@contextmanager
def _members(
    package: Path, max_size: int
) -> Iterator[Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, PurePosixPath]]]:
    """Every member with its checked name; errors of the format come out as Fault."""
    try:
        with package.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            plain: Any = gzip.GzipFile(fileobj=raw, mode="rb") if packed else raw
            bounded = io.BufferedReader(_Bounded(plain, max_size + HEADROOM), _BLOCK)
            with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Header, bufsize=_BLOCK) as tar:
                yield _checked(tar, max_size)
                while bounded.read(_BLOCK):
                    pass  # to the end of gzip's checksum
    except TooLarge as e:
        raise Fault(FaultCode.SYSTEM_RESOURCES_EXCEEDED, f"the package holds more than {max_size} bytes") from e
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, RecursionError, UnicodeError, ValueError) as e:
        raise unusable(f"it is not a whole tar file ({type(e).__name__}: {e})") from e
    except OverflowError as e:
        raise unusable("a number in it is out of range") from e


def _checked(tar: tarfile.TarFile, max_size: int) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, PurePosixPath]]:
    count = total = 0
    while (member := tar.next()) is not None:
        count += 1
        if count > MOST_MEMBERS:
            raise unusable(f"it has more than {MOST_MEMBERS} members")
        if member.issparse() or member.size < 0:
            raise unusable(f"{member.name[:80]!r} is a sparse file")
        total += member.size
        if total > max_size:
            raise TooLarge
        if member.name.rstrip("/") in (".", ""):
            if not member.isdir():
                raise unusable("a member has no name")
            continue
        name = inside(member.name, "member")
        if len(name.parts) > DEEPEST or any(len(os.fsencode(part)) > LONGEST_PART for part in name.parts):
            raise unusable(f"the name {str(name)[:80]!r} is too long or too deep")
        yield tar, member, name
        tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has seen: memory for nothing


def _claim(kinds: dict[PurePosixPath, str], name: PurePosixPath, kind: str) -> None:
    """Take a name; every one above it is a directory from here on."""
    before = kinds.get(name)
    if before is not None and not (before == kind == "directory"):
        raise unusable(f"{str(name)[:80]!r} is there twice")
    kinds[name] = kind
    for above in name.parents:
        if above.parts and kinds.setdefault(above, "directory") != "directory":
            raise unusable(f"{str(name)[:80]!r} lies below what is no directory")


def _check_link(name: PurePosixPath, text: str, kinds: dict[PurePosixPath, str]) -> None:
    """Raises Fault where following the link could lead out: it may go through real directories only, so that reading its text is exact."""
    target = PurePosixPath(text)
    if not text or target.is_absolute() or "\0" in text:
        raise unusable(f"the link {str(name)[:80]!r} leads outside")
    here = list(name.parts[:-1])
    for number, part in enumerate(target.parts):
        if part == "..":
            if not here:
                raise unusable(f"the link {str(name)[:80]!r} leads outside")
            here.pop()
            continue
        here.append(part)
        if number < len(target.parts) - 1 and kinds.get(PurePosixPath(*here)) != "directory":
            raise unusable(f"the link {str(name)[:80]!r} leads through what is no directory")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, directory: Path, target: Path) -> int:
    accept = getattr(tarfile, "data_filter", None)
    if accept is not None:
        accept(member, str(directory))  # FilterError is a TarError
    source = tar.extractfile(member)
    assert source is not None
    mode = 0o755 if member.mode & 0o100 else 0o644
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    written = 0
    with open(handle, "wb") as out:
        while block := source.read(_BLOCK):
            out.write(block)
            written += len(block)
        if written != member.size:
            raise unusable(f"{member.name[:80]!r} is cut off")
        out.flush()
        os.fsync(out.fileno())
    return written


def _sync(directory: Path) -> None:
    """The directories, innermost first: the files in them are synced already."""
    for place, _, _ in os.walk(directory, topdown=False):
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
