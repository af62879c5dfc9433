"""Homeport's plain image format, for devices without one of their own, for demonstrations and tests.

One line, `HOMEPORT-FIRMWARE ` and a JSON object with version, models, size and sha256 of the payload; then the payload. What follows the
payload (a signature) is not part of the image.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from homeport.transport.files import FileTransferError, Trouble

MAGIC: Final = b"HOMEPORT-FIRMWARE "
LONGEST_HEADER: Final = 4096


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """models: product classes that the image is for, empty for all. start, size: of the payload, bytes."""

    version: str
    models: tuple[str, ...]
    start: int
    size: int
    sha256: str


def build_image(payload: bytes, *, version: str, models: Sequence[str] = ()) -> bytes:
    """An image with that payload."""
    header = {
        "version": version,
        "models": list(models),
        "size": len(payload),
        "sha256": hashlib.sha256(payload).hexdigest(),
    }
    return MAGIC + json.dumps(header).encode("utf-8") + b"\n" + payload


def read_image(file: Path) -> ImageHeader:
    """The header of an image whose payload is whole. Raises FileTransferError (corrupt) where it is no such image."""
    with file.open("rb") as f:
        line = f.readline(LONGEST_HEADER)
        if not line.startswith(MAGIC) or not line.endswith(b"\n"):
            raise _corrupt("it does not begin with a firmware header")
        try:
            data = json.loads(line[len(MAGIC) :])
            header = ImageHeader(
                str(data["version"]),
                tuple(str(m) for m in data["models"]),
                len(line),
                int(data["size"]),
                str(data["sha256"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as e:
            raise _corrupt("its firmware header cannot be read") from e
        if header.size < 0:
            raise _corrupt("its firmware header names no size")
        digest, left = hashlib.sha256(), header.size
        while left > 0:
            block = f.read(min(left, 1 << 18))
            if not block:
                raise _corrupt(f"{left} bytes of its payload are missing")
            digest.update(block)
            left -= len(block)
    if digest.hexdigest() != header.sha256:
        raise _corrupt("the payload does not have the checksum of its header")
    return header


def _corrupt(why: str) -> FileTransferError:
    return FileTransferError(Trouble.CORRUPT, f"the file is not a usable firmware image: {why}")
