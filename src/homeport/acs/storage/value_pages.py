"""A few of the values of a device that has very many, without unpacking the others.

Both blobs are walked here as MessagePack: the path list in its pieces (`values.join_paths`), the values as one array, their times
behind it (`values.Column.packed`). To find where a page begins takes a look at the first paths of some pieces, and a step over each value.
"""

from bisect import bisect_left, insort
from collections.abc import Generator, Mapping
from typing import Final, TypeVar

import msgspec

from homeport.acs.records import StoredValue
from homeport.acs.storage.interface import ValuePage
from homeport.acs.storage.values import below, merged

T = TypeVar("T")
Rests = Generator[None, None, T]
Path = tuple[str, str, bool | None]
"""(path, type, writable)."""

PAGED_BYTES: Final = 25_000
"""Bytes of a device's values, packed, from which on a page is cheaper than all of them: some 1,000 values."""

STEPS: Final = 10_000
"""Values that are stepped over in one go: a millisecond."""

ROWS: Final = 2_000
_IN_PIECES: Final = 0xC1  # what `values.join_paths` begins with


class _Times(msgspec.Struct, array_like=True):
    """What stands behind the values; see `values._Packed`."""

    base: float
    t: list[float] | None
    kinds: list[float] = []
    which: bytes = b""


_paths = msgspec.msgpack.Decoder(list[Path]).decode
_text = msgspec.msgpack.Decoder(str).decode
_texts = msgspec.msgpack.Decoder(list[str | None]).decode
_times = msgspec.msgpack.Decoder(_Times).decode


def page_of(
    paths: bytes | None,
    vals: bytes | None,
    told: Mapping[str, StoredValue],
    *,
    under: str,
    after: str | None,
    limit: int,
) -> Rests[ValuePage]:
    """The page of a device's values, with rests.

    told: since the values were written. under: the parameter or the object that they are of, "" for all. after: only behind this path.
    Raises what `values.DAMAGED` names where a blob is damaged.
    """
    if paths is None or vals is None:
        return cut(told, under=under, after=after, limit=limit)
    rows, first, over = yield from _rows_of(paths, under, after, limit + 1)
    found: list[tuple[str, StoredValue]] = []
    if rows:
        texts, times = yield from _values_of(vals, first, len(rows))
        for at in range(0, len(rows), ROWS):
            columns = rows[at : at + ROWS], texts[at : at + ROWS], times[at : at + ROWS]
            found += [(path, StoredValue(v, t, w, time)) for (path, t, w), v, time in zip(*columns, strict=True)]
            yield
    for path, value in told.items():
        if below(path, under) and (after is None or path > after):
            place = bisect_left(found, path, key=_path_of)
            if place < len(found) and found[place][0] == path:
                found[place] = path, merged(found[place][1], value)
            elif over or place < len(
                found
            ):  # what stands behind the last may belong behind more that was not looked at
                insort(found, (path, value), key=_path_of)
    return found[:limit], found[limit - 1][0] if len(found) > limit else None


def value_of(paths: bytes, vals: bytes, path: str) -> str | None:
    """The value of one path, None where there is none; some milliseconds where it stands behind 100,000 others."""
    work = _rows_of(paths, path, None, 1)
    try:
        while True:
            next(work)
    except StopIteration as end:
        rows, place, _ = end.value
    if not rows or rows[0][0] != path:
        return None
    at = _stepped(vals, _length(vals, 1)[1], place)
    (text,) = _texts(b"\x91" + vals[at : _stepped(vals, at, 1)])
    return text


def cut(values: Mapping[str, StoredValue], *, under: str, after: str | None, limit: int) -> ValuePage:
    """The page of values that are all at hand."""
    order = sorted(p for p in values if below(p, under) and (after is None or p > after))
    return [(p, values[p]) for p in order[:limit]], order[limit - 1] if len(order) > limit else None


def _path_of(row: tuple[str, StoredValue]) -> str:
    return row[0]


def _rows_of(paths: bytes, under: str, after: str | None, most: int) -> Rests[tuple[list[Path], int, bool]]:
    """(paths of the page, the place of the first among all, whether nothing that is wanted comes behind them)."""
    start = under if after is None or after < under else f"{after}\0"  # the next text that there can be
    pieces = _pieces(paths)
    if not _length(paths, pieces[0][0])[0]:
        return [], 0, True
    low = max(0, bisect_left(range(len(pieces)), True, key=lambda n: _first(paths, pieces[n][0]) > start) - 1)
    place = sum(_length(paths, at)[0] for at, _ in pieces[:low])
    found: list[Path] = []
    first = 0
    for at, end in pieces[low:]:
        rows = _paths(paths[at:end])
        begin = bisect_left(rows, start, key=lambda row: row[0])
        over = bisect_left(rows, True, begin, key=lambda row: not below(row[0], under))
        if begin < over and not found:
            first = place + begin
        found += rows[begin:over]
        if len(found) >= most:
            return found[:most], first, False
        if over < len(rows):
            return found, first, True
        place += len(rows)
        yield
    return found, first, True


def _values_of(vals: bytes, first: int, count: int) -> Rests[tuple[list[str | None], list[float]]]:
    """`count` values and their times, from the place `first` on."""
    fields = _length(vals, 0)[0]
    total, at = _length(vals, 1)
    bounds = []
    for begin, end in ((0, first), (first, first + count), (first + count, total)):
        for place in range(begin, end, STEPS):
            at = _stepped(vals, at, min(STEPS, end - place))
            yield
        bounds.append(at)
    texts = _texts(b"\xdd" + count.to_bytes(4, "big") + vals[bounds[0] : bounds[1]])
    rest = _times(bytes([0x90 + fields - 1]) + vals[bounds[2] :])
    yield
    if rest.which:
        kinds = rest.kinds
        return texts, [kinds[number] for number in rest.which[first : first + count]]
    if rest.t is None:
        return texts, [rest.base] * count
    return texts, [rest.base + offset for offset in rest.t[first : first + count]]


def _stepped(blob: bytes, at: int, count: int) -> int:
    """Where what stands behind so many texts or nils begins."""
    for _ in range(count):
        mark = blob[at]
        if 0xA0 <= mark < 0xC0:
            at += mark - 0x9F
        elif mark == 0xC0:
            at += 1
        elif mark == 0xD9:
            at += 2 + blob[at + 1]
        elif mark == 0xDA:
            at += 3 + int.from_bytes(blob[at + 1 : at + 3], "big")
        elif mark == 0xDB:
            at += 5 + int.from_bytes(blob[at + 1 : at + 5], "big")
        else:
            raise ValueError("a device's values are damaged")
    return at


def _length(blob: bytes, at: int) -> tuple[int, int]:
    """(entries of the array that begins here, where the first of them begins)."""
    mark = blob[at]
    if 0x90 <= mark < 0xA0:
        return mark - 0x90, at + 1
    if mark == 0xDC:
        return int.from_bytes(blob[at + 1 : at + 3], "big"), at + 3
    if mark == 0xDD:
        return int.from_bytes(blob[at + 1 : at + 5], "big"), at + 5
    raise ValueError("a device's values are damaged")


def _pieces(paths: bytes) -> list[tuple[int, int]]:
    """Where each piece of a path list begins and ends; of a short list, itself."""
    if paths[0] != _IN_PIECES:
        return [(0, len(paths))]
    count, at = _length(paths, 1)
    found = []
    for _ in range(count):
        begin = at + 1 + {0xC4: 1, 0xC5: 2, 0xC6: 4}[paths[at]]
        at = begin + int.from_bytes(paths[at + 1 : begin], "big")
        found.append((begin, at))
    return found


def _first(paths: bytes, piece: int) -> str:
    """The first path of the piece that begins here."""
    _, row = _length(paths, piece)
    _, text = _length(paths, row)
    return _text(paths[text : _stepped(paths, text, 1)])
