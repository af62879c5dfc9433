"""Whether the file store holds what the database says: each content whole, and nothing besides.

Reads only; the ACS may work meanwhile. What is left over harms nobody but the disk: the ACS itself takes it away at its start.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from homeport.acs.records import FileRecord
from homeport.acs.storage.blobs import Blobs

PIECE: Final = 1_048_576
"""Bytes that are read and told in one go."""


class FileFindings(Struct):
    """What was found.

    files, bytes: contents that are whole. wrong: what is not as its row says, in words. orphans: contents that no row names.
    unfinished: files that nobody writes any more.
    """

    files: int
    bytes: int
    wrong: list[str]
    orphans: list[Path]
    unfinished: list[Path]


def examine(
    blobs: Blobs,
    records: Callable[[], Sequence[FileRecord]],
    tell: Callable[[int], None] = lambda count: None,
    *,
    now: float | None = None,
) -> FileFindings:
    """Read every content. records: the rows as they are now; tell: how many bytes were read since it was called last."""
    found = FileFindings(0, 0, [], [], [])
    sizes: dict[str, int | str] = {}
    doubtful: list[FileRecord] = []
    before = records()
    for row in before:
        if row.sha256 not in sizes:
            size = sizes[row.sha256] = _whole(blobs.path(row.sha256), row.sha256, tell)
            if isinstance(size, int):
                found.files += 1
                found.bytes += size
        if sizes[row.sha256] != row.size:
            doubtful.append(row)
    after = records()  # some may have been added, replaced or deleted while the contents were read
    found.wrong += [f"file {row.name}: {_why(row, sizes[row.sha256])}" for row in doubtful if row in after]
    found.orphans += blobs.strays({row.sha256 for row in (*before, *after)}, now=now)
    found.unfinished += blobs.unwritten(now=now)
    return found


def _why(row: FileRecord, size: int | str) -> str:
    return size if isinstance(size, str) else f"it has {size} bytes, and not {row.size} as its row says"


def _whole(path: Path, sha256: str, tell: Callable[[int], None]) -> int | str:
    """The size of a content that is what it is called; else what is wrong with it."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                digest.update(piece)
                size += len(piece)
                tell(len(piece))
    except FileNotFoundError:
        return f"its content is not there ({path})"
    except OSError as e:
        return f"its content cannot be read ({path}): {e.strerror}"
    return size if digest.hexdigest() == sha256 else f"its content is damaged: {path} has another SHA-256"
