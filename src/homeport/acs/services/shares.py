"""Numbers that the worker processes of one machine have in common, so that a limit holds for the machine and not for each of them.

The parent makes a piece of memory before it forks. In it each worker writes how many it has of something (others add that up), and takes
slots that are there once for all. What a worker had when it died is taken back by the parent. Between machines nothing is shared: a
limit protects the memory, the line and the processor of one.
"""

import fcntl
import hashlib
import mmap
import tempfile
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Final, Protocol

from msgspec import Struct

_SERVING, _STARTS, _HUNG = 0, 1, 2
SESSIONS: Final = 3
CONNECTIONS: Final = 4
TLS_CONNECTIONS: Final = 5
FILE_CONNECTIONS: Final = 6
OPEN: Final = (SESSIONS, CONNECTIONS, TLS_CONNECTIONS, FILE_CONNECTIONS)
_ROWS: Final = 7
"""Kinds of cells, of which each worker has one: whether it serves, how often it was started and hung, and what it has open."""

MOST_CALLS: Final = 200
"""Devices that are being called at the same moment; a wish for a whole fleet must not fill the network with calls."""

FAILURES: Final = 1_024
"""Names and addresses of which failed logins are remembered; the oldest goes first."""

LOGIN_CELLS: Final = 1 + 3 * 16_384
"""Cells of the brake on devices' logins (`brake.py`): for so many names and addresses."""

_CELL: Final = 8


class SlotKeeper(Protocol):
    """Things that may be under way at once, of all and per key (an address, a device)."""

    def take(self, key: str) -> bool:
        """Whether there was a slot; it is then taken."""

    def free(self, key: str) -> None:
        """Give a slot back."""


class Slots:
    """Slots of a process that is alone."""

    def __init__(self, most: int, most_per_key: int) -> None:
        self._most = most
        self._most_per_key = most_per_key
        self._taken: Counter[str] = Counter()
        self.count = 0

    def take(self, key: str) -> bool:
        """Whether there was a slot; it is then taken."""
        if self.count >= self._most or self._taken[key] >= self._most_per_key:
            return False
        self.count += 1
        self._taken[key] += 1
        return True

    def free(self, key: str) -> None:
        """Give a slot back."""
        self.count -= 1
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]


def digest(key: str) -> int:
    """A number for a key, never 0: the keys themselves have no fixed length."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest()) + 1


class SharedSlots:
    """Slots of all workers. owners, keys: cells, one of each per slot; 0 where it is free. mine: this worker's number from 1."""

    def __init__(
        self, owners: memoryview, keys: memoryview, lock: AbstractContextManager[None], mine: int, most_per_key: int
    ) -> None:
        self._owners = owners
        self._keys = keys
        self._lock = lock
        self._mine = mine
        self._most_per_key = most_per_key

    def take(self, key: str) -> bool:
        """Whether there was a slot; it is then taken."""
        wanted = digest(key)
        with self._lock:
            owners, keys = self._owners.tolist(), self._keys.tolist()
            if 0 not in owners or sum(k == wanted for k in keys) >= self._most_per_key:
                return False
            place = owners.index(0)
            # The owner first: of one that is killed in this moment the parent finds the slot, and nothing of it stays counted.
            self._owners[place] = self._mine
            self._keys[place] = wanted
            return True

    def free(self, key: str) -> None:
        """Give a slot back."""
        wanted = digest(key)
        with self._lock:
            for place, (owner, taken) in enumerate(zip(self._owners.tolist(), self._keys.tolist(), strict=True)):
                if owner == self._mine and taken == wanted:
                    self._keys[place] = 0
                    self._owners[place] = 0
                    return


class Tally:
    """How many of one kind each worker has."""

    def __init__(self, cells: memoryview, mine: int) -> None:
        self._cells = cells
        self._mine = mine

    def tell(self, count: int) -> None:
        """This worker has so many now."""
        self._cells[self._mine] = count

    def all(self) -> int:
        """How many all workers have together."""
        return sum(self._cells)

    def others(self) -> int:
        """How many the other workers have together."""
        return sum(self._cells) - self._cells[self._mine]


class CountedSet(set[Any]):
    """A set of which the other workers know the size."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def add(self, element: Any) -> None:
        """Add, and tell."""
        super().add(element)
        self._tally.tell(len(self))

    def discard(self, element: Any) -> None:
        """Take away, and tell."""
        super().discard(element)
        self._tally.tell(len(self))


class SharedFailures(MutableMapping[str, tuple[int, float]]):
    """key -> (count, time), for all workers; use it under the lock. Made for few calls: each looks at all entries."""

    def __init__(self, keys: memoryview, counts: memoryview, times: "memoryview[float]") -> None:
        self._keys, self._counts, self._times = keys, counts, times

    def _place(self, key: str) -> int:
        try:
            return self._keys.tolist().index(digest(key))
        except ValueError:
            raise KeyError(key) from None

    def __getitem__(self, key: str) -> tuple[int, float]:
        place = self._place(key)
        return self._counts[place], self._times[place]

    def __setitem__(self, key: str, value: tuple[int, float]) -> None:
        try:
            place = self._place(key)
        except KeyError:
            times = self._times.tolist()  # a free entry has the time 0: it is the oldest
            place = times.index(min(times))
        self._keys[place], self._counts[place], self._times[place] = digest(key), *value

    def __delitem__(self, key: str) -> None:
        place = self._place(key)
        self._keys[place], self._counts[place], self._times[place] = 0, 0, 0.0

    def __len__(self) -> int:
        return sum(key != 0 for key in self._keys)

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("only digests are kept of the keys")


class _Lock:
    """One process at a time; the kernel lets go of it for a process that dies. Not for threads."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)


class WorkerState(Struct, frozen=True):
    """One worker as its parent sees it. starts, hung: how often it was started, and ended because it hung."""

    serving: bool
    starts: int
    hung: int = 0


class Board:
    """The common memory of so many workers. Made by the parent before it forks.

    transfers: how many file transfers there may be at once. directory: where it may make a file. Raises OSError.
    """

    def __init__(self, workers: int, transfers: int, directory: Path | None = None) -> None:
        self.workers = workers
        # For its locks: it has no name and no content, and is open as long as the board.
        self._file = tempfile.TemporaryFile(prefix="locks-", dir=directory)  # noqa: SIM115
        self.lock = _Lock(self._file)
        sizes = (
            workers * _ROWS,
            transfers,
            transfers,
            MOST_CALLS,
            MOST_CALLS,
            FAILURES,
            FAILURES,
            FAILURES,
            1,
            LOGIN_CELLS,
        )
        whole = memoryview(mmap.mmap(-1, sum(sizes) * _CELL))
        pieces, at = [], 0
        for size in sizes:
            pieces.append(whole[at * _CELL : (at + size) * _CELL])
            at += size
        rows, *slots, keys, counts = (piece.cast("q") for piece in pieces[:7])
        self._rows = [rows[kind * workers : (kind + 1) * workers] for kind in range(_ROWS)]
        self._slots = {"transfers": (slots[0], slots[1]), "calls": (slots[2], slots[3])}
        self.failures = SharedFailures(keys, counts, pieces[7].cast("d"))
        self.free_at = pieces[8].cast("d")
        """One cell: when the next bytes of all file transfers may go, on the machine's monotonic clock."""
        self.logins = pieces[9].cast("q")

    def close(self) -> None:
        """Let go of the file of the locks; the memory goes with the process."""
        self._file.close()

    # --- the parent ---

    def started(self, number: int) -> None:
        """The worker serves."""
        self._rows[_SERVING][number] = 1
        self._rows[_STARTS][number] += 1

    def hangs(self, number: int) -> None:
        """The worker does not serve any more, and is being ended."""
        self._rows[_SERVING][number] = 0
        self._rows[_HUNG][number] += 1

    def died(self, number: int) -> None:
        """The worker is gone, and what it had is free.

        Without the lock, which a worker that hangs may have, so that its parent never waits for it: nobody else writes what the dead
        one owned, and a slot is free only when nothing of it is left.
        """
        for kind in (_SERVING, *OPEN):
            self._rows[kind][number] = 0
        for owners, keys in self._slots.values():
            for place, owner in enumerate(owners.tolist()):
                if owner == number + 1:
                    keys[place] = 0
                    owners[place] = 0

    # --- a worker ---

    def states(self) -> list[WorkerState]:
        """All workers, by number."""
        cells = zip(self._rows[_SERVING], self._rows[_STARTS], self._rows[_HUNG], strict=True)
        return [WorkerState(bool(serving), starts, hung) for serving, starts, hung in cells]

    def tally(self, kind: int, number: int) -> Tally:
        """What this worker tells of its SESSIONS, CONNECTIONS or FILE_CONNECTIONS."""
        return Tally(self._rows[kind], number)

    def slots(self, kind: str, number: int, *, most_per_key: int) -> SharedSlots:
        """The slots of "transfers" or "calls", for this worker."""
        owners, keys = self._slots[kind]
        return SharedSlots(owners, keys, self.lock, number + 1, most_per_key)
