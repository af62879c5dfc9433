"""A change of very many values, merged before it is written, in slices beside the event loop's other work.

What a device has is read, merged with the change and packed while others go on writing; inside the writer's transaction it is only looked
whether the device's row is still the one that was read. Where it is not, the change is merged there, as every short one is, but behind
what was told meanwhile.
"""

from bisect import bisect_right
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from homeport.acs.records import StoredValue, TaskRecord
from homeport.acs.slices import Work
from homeport.acs.storage.interface import ValuesChange
from homeport.acs.storage.long_lists import PIECE, PackedRows
from homeport.acs.storage.sql import rows
from homeport.acs.storage.values import (
    PATHS_AT_ONCE,
    Column,
    PackedPaths,
    Paths,
    apply_values,
    below,
    join_paths,
    merged,
    pack_paths,
    pack_values,
    packed_pieces,
    paths_hash,
    unpack_column,
    unpack_paths,
    unpacked_paths,
)

BULK: Final = 5_000
"""Values of a change that is prepared; merging them takes 10 ms."""

SMALL: Final = 32
"""Values that go to what is told between two readings, however long they are."""

BULK_BYTES: Final = 100_000
"""Values of a device, packed, from which on they are read in slices: some 5,000."""

OVERTAKEN: Final = 600.0
"""Seconds between a change and what was told while it was prepared: what is newer by more has its time of a clock that was set back."""

_AT_ONCE: Final = 1_000
_ROWS_AT_ONCE: Final = 100  # each may have 100 KB
_SORTED_AT_ONCE: Final = 2_048

T = TypeVar("T")
Rests = Generator[None, None, T]


class PreparedChange(ValuesChange, frozen=True):
    """A change with what comes of it where the device's row is still (path_list, vals).

    hash, paths: of the path list then; packed: the values then.
    """

    path_list: int | None = None
    vals: bytes | None = None
    hash: bytes = b""
    paths: bytes = b""
    packed: bytes = b""


class PreparedColumn(Column):
    """The column of a device that a prepared change fits to: what comes of it is known, and nothing of it is unpacked."""

    __slots__ = ("_change",)

    def __init__(self, change: PreparedChange) -> None:
        self._change: PreparedChange | None = change
        super().__init__(PackedPaths(change.paths, change.hash), None)

    def apply(self, change: ValuesChange) -> None:
        prepared = self._change
        if change is prepared:
            return
        if prepared is not None:  # another change of the device in the same transaction
            self._change = None
            super().__init__(Paths(unpack_paths(prepared.paths), prepared.paths), prepared.packed)
        super().apply(change)

    def packed(self) -> bytes:
        return super().packed() if self._change is None else self._change.packed


def behind(change: ValuesChange, known: Mapping[str, StoredValue]) -> ValuesChange:
    """The change as it is brought in where others were written while it was prepared: what is known since then stays.

    known: the values that there are.
    """
    if not isinstance(change, PreparedChange):
        return change
    told: dict[str, StoredValue] = {}
    for path, value in known.items():
        new = change.changed.get(path)
        if new is not None and 0.0 < value.updated - new.updated < OVERTAKEN:
            told[path] = merged(new, value)
    return ValuesChange(change.device, {**change.changed, **told}, change.removed) if told else change


def is_bulk(change: ValuesChange, large: bool = False) -> bool:
    """Whether the change is long enough to be prepared. large: it is of megabytes, as its unit says."""
    return len(change.changed) + len(change.removed) > (SMALL if large else BULK)


def prepared(
    change: ValuesChange, path_list: int | None, paths: bytes | None, vals: bytes | None
) -> Work[PreparedChange]:
    """The change, prepared. path_list, paths, vals: what the device has, None where it has nothing."""
    whole: Mapping[str, StoredValue] = change.changed
    if paths is not None and vals is not None:
        placed = yield from _placed(change, paths, vals)
        if placed is not None:
            known_hash = yield lambda: paths_hash(paths)
            return PreparedChange(
                change.device, change.changed, change.removed, path_list, vals, known_hash, paths, placed
            )
        known = yield from _unpacked(paths, vals)
        yield from _applied(known, change)
        whole = known
    order = yield from sorted_in_parts(list(whole))
    values: list[str | None] = []
    times: list[float] = []
    packed: list[bytes] = []
    for at in range(0, len(order), PATHS_AT_ONCE):
        piece = order[at : at + PATHS_AT_ONCE]
        stored = [whole[path] for path in piece]
        packed.append(pack_paths([(path, s.type, s.writable) for path, s in zip(piece, stored, strict=True)]))
        values += [s.value for s in stored]
        times += [s.updated for s in stored]
        yield None
    list_blob = packed[0] if len(packed) == 1 else join_paths(packed) if packed else pack_paths(())
    yield None
    hash = yield lambda: paths_hash(list_blob)  # without the interpreter
    values_blob = pack_values(values, times)
    yield None
    return PreparedChange(change.device, change.changed, change.removed, path_list, vals, hash, list_blob, values_blob)


def _placed(change: ValuesChange, paths: bytes, vals: bytes) -> Rests[bytes | None]:
    """The values after a change of nothing but values of known paths, as when a tree is read again; None for another change."""
    if change.removed or len(change.changed) < BULK // 10:
        return None
    values, times = unpack_column(vals)
    changed, left, at = change.changed, len(change.changed), 0
    yield
    for piece in packed_pieces(paths):
        for path, type, _ in piece:
            new = changed.get(path)
            if new is not None:
                if new.value is None or new.writable is not None or new.type != type:
                    return None
                values[at], times[at] = new.value, new.updated
                left -= 1
            at += 1
        yield
    return pack_values(values, times) if not left else None


def _unpacked(paths: bytes, vals: bytes) -> Rests[dict[str, StoredValue]]:
    values, times = unpack_column(vals)
    known: dict[str, StoredValue] = {}
    at = 0
    yield
    for piece in unpacked_paths(paths):
        for begin in range(0, len(piece), _AT_ONCE):
            for path, type, writable in piece[begin : begin + _AT_ONCE]:
                known[path] = StoredValue(values[at], type, writable, times[at])
                at += 1
            yield
    return known


def _applied(known: dict[str, StoredValue], change: ValuesChange) -> Rests[None]:
    """Bring the change in."""
    objects = tuple(path for path in change.removed if path.endswith("."))
    if objects:
        yield
        for piece in _in_pieces(list(known)):
            for path in piece:
                if path.startswith(objects):
                    del known[path]
            yield
    for piece in _in_pieces(change.removed):
        for path in piece:
            known.pop(path, None)
        yield
    for piece in _in_pieces(change.changed):
        apply_values(known, ValuesChange(change.device, {path: change.changed[path] for path in piece}))
        yield


def _in_pieces(paths: Any) -> Generator[Sequence[str], None, None]:
    left = iter(paths)
    while piece := list(islice(left, _AT_ONCE)):
        yield piece


def sorted_in_parts(paths: list[str]) -> Rests[list[str]]:
    """The paths, all different, in order, with rests: sorted in short runs, of which two and two are merged."""
    runs: list[list[str]] = []
    for at in range(0, len(paths), _SORTED_AT_ONCE):
        runs.append(sorted(paths[at : at + _SORTED_AT_ONCE]))
        yield
    while len(runs) > 1:
        joined = []
        for at in range(0, len(runs) - 1, 2):
            joined.append((yield from _merged(runs[at], runs[at + 1])))  # noqa: PERF401 - a comprehension cannot yield
        if len(runs) % 2:
            joined.append(runs[-1])
        runs = joined
    return runs[0] if runs else []


def _merged(left: list[str], right: list[str]) -> Rests[list[str]]:
    """One run of two, in stretches that end at the smaller of their last paths; the sort merges what is in order in one go."""
    out: list[str] = []
    i = j = 0
    while i < len(left) and j < len(right):
        end, far = min(i + _SORTED_AT_ONCE, len(left)), min(j + _SORTED_AT_ONCE, len(right))
        last = min(left[end - 1], right[far - 1])
        end, far = bisect_right(left, last, i, end), bisect_right(right, last, j, far)
        out += sorted(left[i:end] + right[j:far])
        i, j = end, far
        yield
    return out + left[i:] + right[j:]


def read_all(
    paths: bytes | None,
    vals: bytes | None,
    delta: Mapping[str, StoredValue],
    changes: Sequence[ValuesChange],
    under: str,
) -> Rests[dict[str, StoredValue]]:
    """All values of a device by path, with rests.

    delta: told since. changes: on their way. under: the parameter or the object that they are of, "" for all.
    """
    known: dict[str, StoredValue] = {}
    if paths is not None and vals is not None:
        known = yield from _unpacked(paths, vals)
    for change in changes:
        yield from _applied(known, change)
    for path, value in delta.items():
        known[path] = merged(known.get(path), value)
    order = yield from sorted_in_parts([p for p in known if below(p, under)])
    found: dict[str, StoredValue] = {}
    for piece in _in_pieces(order):
        found.update((path, known[path]) for path in piece)
        yield
    return found


def is_long(task: TaskRecord, large: bool = False) -> bool:
    """Whether packing the task takes so long that it is done with rests. large: it may have megabytes, as its unit says."""
    return task.result is not None and len(task.result.get("parameter_list", ())) > (0 if large else BULK)


def packed_task(task: TaskRecord) -> Work[bytes]:
    """The task as it is stored, with rests; the rows of its result in pieces that are unpacked each by itself."""
    result = dict(task.result or {})
    listed: Sequence[Any] = result["parameter_list"]
    if isinstance(listed, PackedRows):
        return rows.pack_task(task)
    pieces: list[bytes] = []
    plain: list[bytes] = []
    count = size = 0
    for at in range(0, len(listed), _ROWS_AT_ONCE):
        some = rows.encode(listed[at : at + _ROWS_AT_ONCE])
        number = len(listed[at : at + _ROWS_AT_ONCE])
        plain.append(some[1 if number < 16 else 3 :])
        count, size = count + number, size + len(some)
        if size >= PIECE or at + number == len(listed):
            # MessagePack: an array, and how many entries it has
            whole = b"\xdc" + count.to_bytes(2, "big") + b"".join(plain)
            # A long one is compressed in a thread, which needs no interpreter for it.
            pieces.append(rows.packed(whole) if size < 4 * PIECE else (yield partial(rows.packed, whole)))
            plain, count, size = [], 0, 0
        yield None
    result["parameter_list"] = rows.packed_rows(pieces, len(listed))
    return rows.encode(msgspec.structs.replace(task, result=result))
