"""How a device's names and values are merged, and how they are packed: one blob of values over a shared list of paths.

Thousands of devices of one model have the same paths, types and access; that list is stored once, under its hash, and each device
keeps only its values and times.
"""

import hashlib
import sys
from collections.abc import Mapping, MutableMapping

import msgspec

from homeport.acs.records import StoredValue
from homeport.acs.storage.interface import ValuesChange

_encode = msgspec.msgpack.Encoder().encode
_decode_paths = msgspec.msgpack.Decoder(list[tuple[str, str, bool | None]]).decode
_decode_delta = msgspec.msgpack.Decoder(dict[str, tuple[str | None, str, bool | None, float]]).decode


class _Packed(msgspec.Struct, array_like=True):
    """v: values in the order of the path list. base: seconds. t: seconds after base of each value, None where all are 0."""

    v: list[str | None]
    base: float
    t: list[float] | None


_decode_values = msgspec.msgpack.Decoder(_Packed).decode

PathList = tuple[tuple[str, str, bool | None], ...]
"""(path, type, writable) of everything a device has, sorted by path."""


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
    return _encode({p: (v.value, v.type, v.writable, v.updated) for p, v in delta.items()})


def unpack_delta(blob: bytes) -> dict[str, StoredValue]:
    """The values that `pack_delta` packed. Paths are interned: all devices of a model share them in memory."""
    intern = sys.intern
    return {intern(p): StoredValue(v, intern(t), w, u) for p, (v, t, w, u) in _decode_delta(blob).items()}


def pack_values(values: Mapping[str, StoredValue]) -> tuple[bytes, bytes, bytes]:
    """(hash of the path list, path list, values) of a whole device."""
    paths = sorted(values)
    path_list = _encode([(p, values[p].type, values[p].writable) for p in paths])
    times = [values[p].updated for p in paths]
    base = min(times, default=0.0)
    offsets = None if all(t == base for t in times) else [t - base for t in times]
    blob = _encode(_Packed([values[p].value for p in paths], base, offsets))
    return hashlib.blake2b(path_list, digest_size=16).digest(), path_list, blob


def unpack_paths(blob: bytes) -> PathList:
    """The path list that `pack_values` packed."""
    intern = sys.intern
    return tuple((intern(p), intern(t), w) for p, t, w in _decode_paths(blob))


def unpack_values(paths: PathList, blob: bytes) -> dict[str, StoredValue]:
    """The values that `pack_values` packed, with their path list."""
    packed = _decode_values(blob)
    if packed.t is None:
        return {p: StoredValue(v, t, w, packed.base) for (p, t, w), v in zip(paths, packed.v, strict=True)}
    return {
        p: StoredValue(v, t, w, packed.base + offset)
        for (p, t, w), v, offset in zip(paths, packed.v, packed.t, strict=True)
    }
