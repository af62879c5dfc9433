"""Reading a device's values from PostgreSQL: the path lists that are remembered, and what a damaged row gives."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from homeport.acs.records import StoredValue, Told
from homeport.acs.slices import Work, in_slices
from homeport.acs.storage.sql.bulk import BULK_BYTES
from homeport.acs.storage.sql.damage import unreadable
from homeport.acs.storage.sql.postgres_link import SQL, facts
from homeport.acs.storage.value_pages import value_of
from homeport.acs.storage.values import (
    DAMAGED,
    MOST_LISTS,
    NO_PATHS,
    Column,
    Paths,
    delta_texts,
    merged,
    unpack_delta,
    unpack_paths,
    unpack_values,
)
from homeport.errors import StoreError, StoreUnavailable

TRIES: Final = 8
"""How often values are read while their lists change, or the connections are made anew: at a start each reading may make one."""

TOO_FAST: Final = "the lists of the devices' parameters change too fast to be read; try again"

LOOKUPS_AT_ONCE: Final = 16
"""Devices in one piece of work: a millisecond."""

T = TypeVar("T")

Lookup = Callable[[str], str | None]
"""path -> value."""

_log = structlog.get_logger("homeport.acs.store")


class PathLists:
    """Path lists by their ids, which are never used twice, even where their transaction is taken back."""

    def __init__(self) -> None:
        self.known: dict[int, Paths] = {}

    def forget(self) -> None:
        """The server may be another one now, where the same id may name another list.

        Who is reading keeps what it began with, and finds that it is not the same any more.
        """
        self.known = {}


async def stored_rows(
    fetch: Callable[..., Any], ids: Sequence[str], lists: PathLists, most: int | None = None
) -> tuple[Sequence[Any], Mapping[int, Paths]]:
    """(id, path list, values, delta) of some devices, and the path lists that these rows name. Raises StoreUnavailable.

    most: the lists of longer values are left out.
    """
    for _ in range(TRIES):
        known = lists.known
        found: Sequence[Any] = await fetch(SQL["values"], list(ids))
        wanted = [row for row in found if row[1] is not None and (most is None or len(row[2]) <= most)]
        named = {row[1]: known.get(row[1]) for row in wanted}
        missing = [id for id, paths in named.items() if paths is None]
        if missing:
            if len(known) > MOST_LISTS:
                known.clear()
            for id, blob in facts(await fetch(SQL["path_lists"], missing)).items():
                named[id] = known[id] = Paths(unpack_paths(blob), blob)
        whole = {id: paths for id, paths in named.items() if paths is not None}
        if len(whole) == len(named) and known is lists.known:
            return found, whole
        # A device got another list between the two questions and its old one was pruned, or another server may have answered.
    raise StoreUnavailable(TOO_FAST)


async def stored_values(
    fetch: Callable[..., Any], ids: Sequence[str], lists: PathLists
) -> dict[str, dict[str, StoredValue]]:
    """All values of those of the devices that there are. Raises StoreError where they cannot be read."""
    out: dict[str, dict[str, StoredValue]] = {}
    found, paths = await stored_rows(fetch, ids, lists)
    for id, path_list, values, delta in found:
        full: dict[str, StoredValue] = {}
        if path_list is not None:
            try:
                full = unpack_values(paths[path_list].rows, values)
            except DAMAGED as e:
                raise unreadable(f"the values of {id}", e) from e
        for path, value in told(id, delta).items():
            full[path] = merged(full.get(path), value)
        out[id] = full
    return out


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


def column(id: str, paths: Paths | None, values: bytes | None) -> Column:
    """The values of a device, to be changed. Raises StoreError where they cannot be read."""
    if paths is None or values is None:
        return Column(NO_PATHS, None)
    try:
        return Column(paths, values)
    except DAMAGED as e:
        raise unreadable(f"the values of {id}", e) from e


def told(id: str, delta: bytes | None) -> dict[str, StoredValue]:
    """What the device told since its values were written. What is damaged is empty: the device tells it again."""
    return _of_delta(unpack_delta, id, delta) if delta else {}


def told_texts(id: str, delta: bytes) -> Told:
    """The texts of the same."""
    return Told.of(_of_delta(delta_texts, id, delta))


def _of_delta(unpack: Callable[[bytes], dict[str, T]], id: str, delta: bytes) -> dict[str, T]:
    try:
        return unpack(delta)
    except DAMAGED as e:
        _log.error(
            "what a device told lately cannot be read; run homeport acs db check",
            device=id,
            reason=str(e),
        )
        return {}
