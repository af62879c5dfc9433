"""The counters of all workers of one ACS, for whichever of them is asked: each writes its own into a small file every second."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from homeport.acs.services.hub import Stats

_log = structlog.get_logger("homeport.acs.workers")


def forget(directory: Path, number: int | None = None) -> None:
    """Delete what a worker that has ended has left, or all that an earlier start has left."""
    for file in [_file(directory, number)] if number is not None else list(directory.glob("worker-*.stats")):
        with contextlib.suppress(OSError):  # then old counters are shown, and the workers go on
            file.unlink(missing_ok=True)


def _file(directory: Path, number: int) -> Path:
    return directory / f"worker-{number + 1}.stats"


class Snapshot(msgspec.Struct, frozen=True):
    """One worker's counters. open: sessions. tables: by name, then by key."""

    open: int
    counts: dict[str, int]
    tables: dict[str, dict[str, int]]


def taken(stats: Stats, open: int) -> Snapshot:
    """The counters as they are now."""
    values = {name: getattr(stats, name) for name in Stats.__slots__}
    counts = {name: v for name, v in values.items() if isinstance(v, int)}
    tables = {name: {str(k): n for k, n in v.items()} for name, v in values.items() if isinstance(v, dict)}
    return Snapshot(open, counts, tables)


class Snapshots:
    """directory: common to the workers. number: of this one, from 0, and how many there are."""

    def __init__(self, directory: Path, number: int, count: int, now: Callable[[], Snapshot]) -> None:
        self._directory = directory
        self._number = number
        self._count = count
        self._now = now
        self._failed = False

    async def writing(self) -> None:
        """`write`, for the clockwork."""
        self.write()

    def write(self) -> None:
        """Leave the counters for the others."""
        file = _file(self._directory, self._number)
        new = file.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(self._now()))
            new.replace(file)
        except OSError as e:
            if not self._failed:  # told once, and not every second: a full disk would have no room for that either
                _log.warning("the counters of this worker cannot be seen by the others", reason=str(e))
            self._failed = True
        else:
            self._failed = False

    def all(self) -> list[tuple[str, Snapshot]]:
        """(worker's number from 1, its counters): this one's as they are, the others' as they were a moment ago."""
        out: list[tuple[str, Snapshot]] = []
        for number in range(self._count):
            if number == self._number:
                out.append((str(number + 1), self._now()))
                continue
            try:
                found: Any = msgspec.json.decode(_file(self._directory, number).read_bytes(), type=Snapshot)
            except (OSError, msgspec.MsgspecError):
                continue  # it has not started yet
            out.append((str(number + 1), found))
        return out
