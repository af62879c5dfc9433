"""How a device's names and values are merged, and how they are packed: one blob of values over a shared list of paths.

Thousands of devices of one model have the same paths, types and access; that list is stored once, under its hash, and each device
keeps only its values and times.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from homeport.acs.records import Reading, StoredValue, Told
from homeport.acs.storage.interface import ValuesChange

_encode = msgspec.msgpack.Encoder().encode
_decode_paths = msgspec.msgpack.Decoder(list[tuple[str, str, bool | None]]).decode
_decode_pieces = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_delta = msgspec.msgpack.Decoder(dict[str, StoredValue]).decode


class _Text(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A `StoredValue`, of which only the text is read."""

    value: str | None


_decode_texts = msgspec.msgpack.Decoder(dict[str, _Text]).decode


class _Packed(msgspec.Struct, array_like=True):
    """v: values in the order of the path list. Their times are seconds since 1970.

    kinds, which: the times that there are, and for each value the number of its own; mostly they come from very few messages.
    Empty where base, t hold them: t: seconds after base of each value, None where all are 0.
    """

    v: list[str | None]
    base: float
    t: list[float] | None
    kinds: list[float] = []
    which: bytes = b""

    def times(self) -> list[float]:
        """The time of each value."""
        if self.which:
            kinds = self.kinds
            return [kinds[number] for number in self.which]
        if self.t is None:
            return [self.base] * len(self.v)
        base = self.base
        return [base + offset for offset in self.t]


_decode_values = msgspec.msgpack.Decoder(_Packed).decode

DAMAGED: Final = (ValueError, LookupError, TypeError, msgspec.MsgspecError)
"""What reading a damaged blob raises, or writing a text that is no Unicode."""

PathList = tuple[tuple[str, str, bool | None], ...]
"""(path, type, writable) of everything a device has, sorted by path."""


MOST_TIMES: Final = 256
"""Different times among the values of one device of which one byte can tell which is meant."""

FEW_TIMES: Final = 8
"""Times from which on those that are no value's any more are left out."""

MOST_READINGS: Final = 16
"""Lists of names whose places are remembered with a path list: devices of a model are asked for the same ones again and again."""

MOST_LISTS: Final = 64
"""Path lists that are remembered: one of 200 paths takes about 40 KB."""


PATHS_AT_ONCE: Final = 2_048
"""Rows of a path list in one piece: a real device has fewer, and then one piece."""

_IN_PIECES: Final = b"\xc1"
"""What a path list in pieces begins with; MessagePack does not use it."""


class Paths:
    """A path list with what is asked of it again and again. blob, hash: as it is stored."""

    __slots__ = ("_readings", "blob", "hash", "names", "places", "rows")

    def __init__(self, rows: PathList, blob: bytes) -> None:
        self.rows = rows
        self.names = tuple([row[0] for row in rows])
        self.places = {row[0]: place for place, row in enumerate(rows)}
        self.blob = blob
        self.hash = paths_hash(blob)
        self._readings: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int] | None] = {}

    def places_of(self, names: tuple[str, ...], types: tuple[str, ...]) -> list[int] | None:
        """Where these are in the list; None where one of them is not, or not with this type."""
        key = names, types
        try:
            return self._readings[key]
        except KeyError:
            pass
        found: list[int] | None = [place for name in names if (place := self.places.get(name)) is not None]
        assert found is not None
        if len(found) < len(names) or any(self.rows[p][1] != t for p, t in zip(found, types, strict=True)):
            found = None
        if len(self._readings) >= MOST_READINGS:
            self._readings.clear()
        self._readings[key] = found
        return found


class PackedPaths(Paths):
    """A path list that is only written."""

    __slots__ = ()

    def __init__(self, blob: bytes, hash: bytes) -> None:
        self.rows = ()
        self.places = {}
        self.blob = blob
        self.hash = hash
        self._readings = {}


class Column:
    """The values of one device in the order of its path list, to be changed without unpacking each one.

    A change of values leaves the path list alone, and costs by its own size. Only new paths, types or access make a new list.
    """

    __slots__ = ("_kinds", "_values", "_which", "paths")

    def __init__(self, paths: Paths, blob: bytes | None) -> None:
        self.paths = paths
        self._values: list[str | None]
        self._kinds: list[float]  # times
        # Which of them is each value's: bytes until one changes; a list where a byte is too small.
        self._which: bytes | bytearray | list[int]
        if blob is None:
            self._values, self._kinds, self._which = [], [], b""
            return
        packed = _decode_values(blob)
        self._values = packed.v
        if packed.which:
            self._kinds, self._which = packed.kinds, packed.which
        else:
            self._number(packed.times())

    def __len__(self) -> int:
        return len(self._values)

    def _number(self, times: list[float]) -> None:
        """Take these times, one of each value."""
        numbers = {at: number for number, at in enumerate(dict.fromkeys(times))}
        self._kinds = list(numbers)
        which = [numbers[at] for at in times]
        self._which = bytearray(which) if len(numbers) <= MOST_TIMES else which

    def apply(self, change: ValuesChange) -> None:
        """Bring a change in."""
        if not self.paths.rows and not change.removed:
            self._take(change.changed)
        elif change.removed or not self._placed(change.changed):
            whole = self.unpacked()
            apply_values(whole, change)
            self._take(whole)

    def tell(self, change: ValuesChange) -> None:
        """As `apply`, for the few values that an Inform has."""
        if change.removed:
            self.apply(change)
            return
        others = {path: new for path, new in change.changed.items() if not self._put(path, new)}
        if others:
            self.apply(ValuesChange(change.device, others))

    def _put(self, path: str, new: StoredValue) -> bool:
        """Whether this is only a value of a known path, and is done."""
        place = self.paths.places.get(path)
        if place is None or new.value is None or new.writable is not None or new.type != self.paths.rows[place][1]:
            return False
        self._values[place] = new.value
        which, kinds, at = self._which, self._kinds, new.updated
        number = which[place]
        if which.count(number) == 1:
            kinds[number] = at  # nobody else has the old time
        elif kinds[number] != at:
            if at in kinds or len(kinds) >= MOST_TIMES:
                number = self._time(at)
            else:
                number = len(kinds)
                kinds.append(at)
            self._numbers()[place] = number
        return True

    def _numbers(self) -> bytearray | list[int]:
        """Which time is each value's, to be changed."""
        which = self._which
        if isinstance(which, bytes):
            which = self._which = bytearray(which)
        return which

    def _placed(self, changed: Mapping[str, StoredValue]) -> bool:
        """Whether the change was only of values of known paths, all at one time, and is done; else nothing was changed."""
        if isinstance(changed, Reading):
            return self._read(changed)
        rows, places = self.paths.rows, self.paths.places
        try:
            found = [places[path] for path in changed]
        except KeyError:
            return False
        at: float | None = None
        for place, new in zip(found, changed.values(), strict=True):
            if new.value is None or new.writable is not None or new.type != rows[place][1]:
                return False
            if new.updated != at:
                if at is not None:
                    return False
                at = new.updated
        if at is None:
            return True
        number = self._time(at)
        values, which = self._values, self._numbers()
        for place, new in zip(found, changed.values(), strict=True):
            values[place] = new.value
            which[place] = number
        return True

    def _read(self, told: Reading) -> bool:
        """As `_placed`, without a look at each value."""
        places = self.paths.places_of(told.names, told.types)
        if places is None:
            return False
        number = self._time(told.at)
        values, which = self._values, self._numbers()
        for place, text in zip(places, told.texts, strict=True):
            values[place] = text
            which[place] = number
        return True

    def _time(self, at: float) -> int:
        """The number of a time, which may be a new one."""
        kinds = self._kinds
        if at in kinds:
            return kinds.index(at)
        kinds.append(at)
        if len(kinds) > MOST_TIMES:
            self._which = list(self._which)
        return len(kinds) - 1

    def _take(self, whole: Mapping[str, StoredValue]) -> None:
        if isinstance(whole, Reading) and len(whole) <= LONGEST_MADE:
            self.paths, order = _paths_of_reading(whole.names, whole.types)
            texts = whole.texts
            self._values = [texts[place] for place in order]
            self._kinds, self._which = [whole.at], bytearray(len(order))
            return
        ordered = sorted(whole.items())
        rows = tuple((path, v.type, v.writable) for path, v in ordered)
        self.paths = _paths(rows)
        self._values = [v.value for _, v in ordered]
        self._number([v.updated for _, v in ordered])

    @property
    def texts(self) -> Sequence[str | None]:
        """The values, in the order of the path list."""
        return self._values

    @property
    def told(self) -> Told:
        """The values by path."""
        return Told(self.paths.places, self._values)

    def unpacked(self) -> dict[str, StoredValue]:
        """All values by path."""
        kinds = self._kinds
        return {
            p: StoredValue(v, t, w, kinds[number])
            for (p, t, w), v, number in zip(self.paths.rows, self._values, self._which, strict=True)
        }

    def packed(self) -> bytes:
        """The values as they are stored."""
        if len(self._kinds) > FEW_TIMES:
            self._number([self._kinds[number] for number in self._which])
        kinds, which = self._kinds, self._which
        if len(kinds) <= MOST_TIMES:
            return _encode((self._values, 0.0, None, kinds, which))  # a _Packed, in half the time
        base = min(kinds)
        return _encode(_Packed(self._values, base, [kinds[number] - base for number in which]))


def column_of(values: Mapping[str, StoredValue]) -> Column:
    """These values as a column."""
    column = Column(NO_PATHS, None)
    if values:
        column.apply(ValuesChange("", values))
    return column


LONGEST_MADE: Final = 5_000
"""Rows of a path list that is remembered by its rows."""

_made: dict[PathList, Paths] = {}


def _paths(rows: PathList) -> Paths:
    """The path list of these rows; the devices of a model come to the same one again and again."""
    if len(rows) > LONGEST_MADE:
        return Paths(rows, pack_paths(rows))
    paths = _made.get(rows)
    if paths is None:
        if len(_made) >= MOST_LISTS:
            _made.clear()
        paths = _made[rows] = Paths(rows, pack_paths(rows))
    return paths


@lru_cache(maxsize=MOST_LISTS)
def _paths_of_reading(names: tuple[str, ...], types: tuple[str, ...]) -> tuple[Paths, list[int]]:
    """The path list of what was read, and where in the reading each of its rows is."""
    order = sorted(range(len(names)), key=names.__getitem__)
    return _paths(tuple([(names[place], types[place], None) for place in order])), order


def paths_hash(path_list: bytes) -> bytes:
    """What a path list is found by."""
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


def pack_values(values: list[str | None], times: list[float]) -> bytes:
    """Values with their times, in the order of the path list, as a `Column` has them."""
    column = Column(NO_PATHS, None)
    column._values = values
    column._number(times)
    return column.packed()


def unpack_column(blob: bytes) -> tuple[list[str | None], list[float]]:
    """What `pack_values` packed."""
    packed = _decode_values(blob)
    return packed.v, packed.times()


def pack_delta(delta: Mapping[str, StoredValue]) -> bytes:
    """A small set of values as one blob."""
    return _encode(delta)


def unpack_delta(blob: bytes) -> dict[str, StoredValue]:
    """The values that `pack_delta` packed."""
    intern = sys.intern  # devices of one make tell the same names
    return {intern(path): value for path, value in _decode_delta(blob).items()}


def delta_texts(blob: bytes) -> dict[str, str | None]:
    """Their texts alone."""
    intern = sys.intern
    return {intern(path): one.value for path, one in _decode_texts(blob).items()}


def pack_paths(rows: Sequence[tuple[str, str, bool | None]]) -> bytes:
    """A path list as it is stored; a very long one in pieces, so that it can be read with rests."""
    if len(rows) <= PATHS_AT_ONCE:
        return _encode(rows)
    return join_paths([_encode(rows[at : at + PATHS_AT_ONCE]) for at in range(0, len(rows), PATHS_AT_ONCE)])


def join_paths(packed: list[bytes]) -> bytes:
    """A very long path list, of pieces of PATHS_AT_ONCE rows each, which are packed."""
    return _IN_PIECES + _encode(packed)


def unpack_paths(blob: bytes) -> PathList:
    """A stored path list."""
    rows: list[tuple[str, str, bool | None]] = []
    for piece in unpacked_paths(blob):
        rows += piece
    return tuple(rows)


def unpacked_paths(blob: bytes) -> Iterator[list[tuple[str, str, bool | None]]]:
    """The rows of a stored path list, in the pieces that it has."""
    intern = sys.intern
    for piece in packed_pieces(blob):
        yield [(intern(p), intern(t), w) for p, t, w in piece]


def packed_pieces(blob: bytes) -> Iterator[list[tuple[str, str, bool | None]]]:
    """The same for who looks at each row once and keeps none."""
    return map(_decode_paths, _decode_pieces(blob[1:]) if blob[:1] == _IN_PIECES else (blob,))


def unpack_values(paths: PathList, blob: bytes) -> dict[str, StoredValue]:
    """The values of a `Column`, packed with this path list."""
    packed = _decode_values(blob)
    return {p: StoredValue(v, t, w, at) for (p, t, w), v, at in zip(paths, packed.v, packed.times(), strict=True)}


NO_PATHS: Final = Paths((), _encode(()))
"""Of a device of which nothing is known yet."""
