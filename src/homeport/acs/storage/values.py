"""How a device's names and values are merged, and how they are packed: one blob of values over a shared list of paths.

Thousands of devices of one model have the same paths, types and access; that list is stored once, under its hash, and each device
keeps only its values and times.
"""

import hashlib
import sys
from collections.abc import Mapping, MutableMapping
from typing import Final

import msgspec

from homeport.acs.records import StoredValue
from homeport.acs.storage.interface import ValuesChange

_encode = msgspec.msgpack.Encoder().encode
_decode_paths = msgspec.msgpack.Decoder(list[tuple[str, str, bool | None]]).decode
_decode_delta = msgspec.msgpack.Decoder(dict[str, StoredValue]).decode


class _Packed(msgspec.Struct, array_like=True):
    """v: values in the order of the path list. base: seconds. t: seconds after base of each value, None where all are 0."""

    v: list[str | None]
    base: float
    t: list[float] | None


_decode_values = msgspec.msgpack.Decoder(_Packed).decode

PathList = tuple[tuple[str, str, bool | None], ...]
"""(path, type, writable) of everything a device has, sorted by path."""


MOST_LISTS: Final = 64
"""Path lists that are remembered: one of 200 paths takes about 40 KB."""


class Paths:
    """A path list with what is asked of it again and again. blob, hash: as it is stored."""

    __slots__ = ("blob", "hash", "places", "rows")

    def __init__(self, rows: PathList, blob: bytes) -> None:
        self.rows = rows
        self.places = {row[0]: place for place, row in enumerate(rows)}
        self.blob = blob
        self.hash = _hash(blob)


class Column:
    """The values of one device in the order of its path list, to be changed without unpacking each one.

    A change of values leaves the path list alone, and costs by its own size. Only new paths, types or access make a new list.
    """

    __slots__ = ("_times", "_values", "paths")

    def __init__(self, paths: Paths, blob: bytes | None) -> None:
        self.paths = paths
        self._values: list[str | None] = []
        self._times: list[float] = []
        if blob is not None:
            packed = _decode_values(blob)
            self._values, base = packed.v, packed.base
            self._times = [base] * len(packed.v) if packed.t is None else [base + offset for offset in packed.t]

    def apply(self, change: ValuesChange) -> None:
        """Bring a change in."""
        if not self.paths.rows and not change.removed:
            self._take(change.changed)
        elif change.removed or not self._placed(change.changed):
            whole = self.unpacked()
            apply_values(whole, change)
            self._take(whole)

    def _placed(self, changed: Mapping[str, StoredValue]) -> bool:
        """Whether the change was only of values of known paths, and is done; else nothing was changed."""
        rows, places = self.paths.rows, self.paths.places
        try:
            found = [places[path] for path in changed]
        except KeyError:
            return False
        news = changed.values()
        if any(
            [
                n.value is None or n.writable is not None or n.type != rows[i][1]
                for i, n in zip(found, news, strict=True)
            ]
        ):
            return False
        values, times = self._values, self._times
        for place, new in zip(found, news, strict=True):
            values[place] = new.value
            times[place] = new.updated
        return True

    def _take(self, whole: Mapping[str, StoredValue]) -> None:
        ordered = sorted(whole.items())
        rows = tuple((path, v.type, v.writable) for path, v in ordered)
        self.paths = _paths(rows)
        self._values = [v.value for _, v in ordered]
        self._times = [v.updated for _, v in ordered]

    def unpacked(self) -> dict[str, StoredValue]:
        """All values by path."""
        return {
            p: StoredValue(v, t, w, at)
            for (p, t, w), v, at in zip(self.paths.rows, self._values, self._times, strict=True)
        }

    def packed(self) -> bytes:
        """The values as they are stored."""
        times = self._times
        base = min(times, default=0.0)
        offsets = None if times.count(base) == len(times) else [t - base for t in times]
        return _encode(_Packed(self._values, base, offsets))


_made: dict[PathList, Paths] = {}


def _paths(rows: PathList) -> Paths:
    """The path list of these rows; the devices of a model come to the same one again and again."""
    paths = _made.get(rows)
    if paths is None:
        if len(_made) >= MOST_LISTS:
            _made.clear()
        paths = _made[rows] = Paths(rows, _encode(rows))
    return paths


def _hash(path_list: bytes) -> bytes:
    return hashlib.blake2b(path_list, digest_size=16).digest()


def below(path: str, under: str) -> bool:
    """Whether the path is `under` itself, or lies below the object `under` (`""` is everything)."""
    return not under or path == under or (under.endswith(".") and path.startswith(under))


def merged(old: StoredValue | None, new: StoredValue) -> StoredValue:
    """What is known after `new`: a None in it keeps the old knowledge, and a writability that was known stays known."""
    if old is None:
        return new
    value_known, writable_known = new.value is not None, new.writable is not None
    if value_known and writable_known:
        return new
    return StoredValue(
        value=new.value if value_known else old.value,
        type=new.type if value_known or old.value is None else old.type,
        writable=new.writable if writable_known else old.writable,
        updated=new.updated if value_known or old.value is None else old.updated,
    )


def apply_values(values: MutableMapping[str, StoredValue], change: ValuesChange) -> None:
    """Bring a change into a device's values."""
    if change.removed:
        exact = frozenset(change.removed)
        objects = tuple(p for p in change.removed if p.endswith("."))
        for path in [p for p in values if p in exact or p.startswith(objects)]:
            del values[path]
    for path, new in change.changed.items():
        old = values.get(path)
        if old is None or (old.writable is None and new.value is not None):
            values[path] = new
        else:
            values[path] = merged(old, new)


def pack_delta(delta: Mapping[str, StoredValue]) -> bytes:
    """A small set of values as one blob."""
    return _encode(delta)


def unpack_delta(blob: bytes) -> dict[str, StoredValue]:
    """The values that `pack_delta` packed."""
    return _decode_delta(blob)


def unpack_paths(blob: bytes) -> PathList:
    """A stored path list."""
    intern = sys.intern
    return tuple((intern(p), intern(t), w) for p, t, w in _decode_paths(blob))


def unpack_values(paths: PathList, blob: bytes) -> dict[str, StoredValue]:
    """The values of a `Column`, packed with this path list."""
    packed = _decode_values(blob)
    if packed.t is None:
        return {p: StoredValue(v, t, w, packed.base) for (p, t, w), v in zip(paths, packed.v, strict=True)}
    return {
        p: StoredValue(v, t, w, packed.base + offset)
        for (p, t, w), v, offset in zip(paths, packed.v, packed.t, strict=True)
    }


NO_PATHS: Final = Paths((), _encode(()))
"""Of a device of which nothing is known yet."""
