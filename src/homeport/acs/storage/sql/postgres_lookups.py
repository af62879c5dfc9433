"""What single parameters of PostgreSQL's devices are, for conditions: a search asks many devices for a few.

Their values are read for some devices at once, and no more of them than memory has room for.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog

from homeport.acs.records import StoredValue
from homeport.acs.slices import Work, in_slices
from homeport.acs.storage.sql.bulk import BULK_BYTES
from homeport.acs.storage.sql.damage import DAMAGED
from homeport.acs.storage.sql.plain_reads import Row
from homeport.acs.storage.sql.postgres_link import SQL, facts
from homeport.acs.storage.sql.postgres_values import TOO_FAST, TRIES, PathLists, column, stored_rows, told
from homeport.acs.storage.value_pages import value_of
from homeport.acs.storage.values import NO_PATHS, Column, Paths
from homeport.errors import StoreError, StoreUnavailable

MOST_AT_ONCE: Final = 1_048_576
"""Bytes of values and path lists, as they are stored, that are read at once; in memory they take some five times that. Some 250 devices
of 200 parameters; one device may have more."""

LOOKUPS_AT_ONCE: Final = 16
"""Devices in one piece of work: a millisecond."""

Lookup = Callable[[str], str | None]
"""path -> value."""

_log = structlog.get_logger("homeport.acs.store")


async def portions(fetch: Callable[..., Any], found: Sequence[Row]) -> list[Sequence[Row]]:
    """The rows of `devices`, in order, in parts of which the values may be in memory together."""
    known = {row[0]: row[1:] for row in await fetch(SQL["values_sizes"], [row[1] for row in found])}
    out: list[Sequence[Row]] = []
    begun, size, lists = 0, 0, set[int]()
    for place, row in enumerate(found):
        own, path_list, length = known.get(row[1], (0, None, 0))
        more = own + (length if path_list not in lists else 0)
        if size + more > MOST_AT_ONCE and place > begun:
            out.append(found[begun:place])
            begun, size, lists = place, 0, set()
            more = own + length
        size += more
        lists.add(path_list)
    return [*out, found[begun:]]


async def lookups(fetch: Callable[..., Any], ids: Sequence[str], lists: PathLists) -> dict[str, Lookup]:
    """For each of the devices, what gives the value of a path: for conditions, which ask many devices for a few.

    What is damaged has no values: a search must not end at one device.
    """
    for _ in range(TRIES):
        found, paths = await stored_rows(fetch, ids, lists, BULK_BYTES)
        large = {row[1] for row in found if row[1] is not None and len(row[2]) > BULK_BYTES}
        packed = facts(await fetch(SQL["path_lists"], list(large))) if large else {}
        if len(packed) == len(large):
            return await in_slices(_lookups(found, paths, packed))
    raise StoreUnavailable(TOO_FAST)


def _lookups(found: Sequence[Any], paths: Mapping[int, Paths], packed: Mapping[int, bytes]) -> Work[dict[str, Lookup]]:
    """packed: the path lists of devices with very many values, which are not unpacked."""
    out: dict[str, Lookup] = {}
    for number, (id, path_list, blob, delta) in enumerate(found, 1):
        if number % LOOKUPS_AT_ONCE == 0:
            yield None
        if path_list in packed and len(blob) > BULK_BYTES:
            out[id] = LongLookup(partial(_looked_up_among_many, id, packed[path_list], blob, told(id, delta)))
            continue
        try:
            stored = column(id, paths.get(path_list), blob)
        except StoreError as e:
            _log.error("a search goes on without the values of a device", device=id, reason=str(e))
            stored = Column(NO_PATHS, None)
        out[id] = partial(_looked_up, stored.paths.places, stored.texts, told(id, delta))
    return out


class LongLookup:
    """One that takes milliseconds, so that others should have their turn after it."""

    def __init__(self, look: Lookup) -> None:
        self._look = look

    def __call__(self, path: str) -> str | None:
        return self._look(path)


def _looked_up_among_many(
    id: str, paths: bytes, values: bytes, since: Mapping[str, StoredValue], path: str
) -> str | None:
    new = since.get(path)
    if new is not None and new.value is not None:
        return new.value
    try:
        return value_of(paths, values, path)
    except DAMAGED as e:
        _log.error("a search goes on without the values of a device", device=id, reason=str(e))
        return None


def _looked_up(
    places: Mapping[str, int], values: Sequence[str | None], since: Mapping[str, StoredValue], path: str
) -> str | None:
    new = since.get(path)
    if new is not None and new.value is not None:
        return new.value
    place = places.get(path)
    return values[place] if place is not None and place < len(values) else None
