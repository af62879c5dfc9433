"""Reading a device's values from PostgreSQL: the path lists that are remembered, and what a damaged row gives."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import structlog

from homeport.acs.records import StoredValue, Told
from homeport.acs.storage.sql.damage import unreadable
from homeport.acs.storage.sql.postgres_link import SQL, facts
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
from homeport.errors import StoreUnavailable

TRIES: Final = 8
"""How often values are read while their lists change, or the connections are made anew: at a start each reading may make one."""

TOO_FAST: Final = "the lists of the devices' parameters change too fast to be read; try again"

T = TypeVar("T")

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
