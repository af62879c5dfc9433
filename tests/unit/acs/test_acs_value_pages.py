"""A page of a device's values, taken from what is stored without unpacking the rest."""

import asyncio
import random
from collections.abc import Generator
from typing import Any

import pytest

from homeport.acs.records import StoredValue
from homeport.acs.slices import in_slices
from homeport.acs.storage.value_pages import page_of
from homeport.acs.storage.values import PATHS_AT_ONCE, below, merged, pack_paths, pack_values


def done(work: Generator[Any, Any, Any]) -> Any:
    return asyncio.run(in_slices(work))


def stored(values: dict[str, StoredValue]) -> tuple[bytes, bytes]:
    """(path list, values) as they are stored."""
    order = sorted(values)
    paths = pack_paths([(p, values[p].type, values[p].writable) for p in order])
    return paths, pack_values([values[p].value for p in order], [values[p].updated for p in order])


def pages(values: dict[str, StoredValue], told: dict[str, StoredValue], under: str, limit: int) -> list[Any]:
    """All pages, one after the other."""
    paths, vals = stored(values)
    found: list[Any] = []
    after = None
    while True:
        rows, after = done(page_of(paths, vals, told, under=under, after=after, limit=limit))
        assert len(rows) <= limit
        found += rows
        if after is None:
            return found
        assert after == rows[-1][0]


def a_tree(chance: random.Random, count: int, times: int) -> dict[str, StoredValue]:
    """Texts of every length that MessagePack has a form for, none for objects."""
    lengths = (0, 5, 31, 32, 255, 256, 65_535, 65_536)
    made = {}
    for i in range(count):
        path = f"Device.{chance.choice('ABCé')}.{i}.X"
        text = "ü" * (chance.choice(lengths[:6]) // 2) if chance.random() < 0.9 else None
        made[path] = StoredValue(text, "string", None if i % 3 else True, float(chance.randrange(times)))
    made["Device.A."] = StoredValue(None, "object", True, 1.0)
    made["Device.A.long"] = StoredValue("x" * lengths[-1], "string", None, 1.0)
    made["Device.A.longer"] = StoredValue("x" * lengths[-2], "string", None, 1.0)
    return made


@pytest.mark.parametrize(("count", "times"), [(3, 1), (PATHS_AT_ONCE - 3, 9), (2 * PATHS_AT_ONCE + 7, 3), (5_000, 700)])
def test_pages_hold_what_all_values_hold(count: int, times: int) -> None:
    """Whatever they are of, however long they are, with what was told since, in known and in new places."""
    chance = random.Random(count)
    values = a_tree(chance, count, times)
    told = {path: StoredValue("told", "string", None, 9_999.0) for path in chance.sample(sorted(values), 3)}
    told |= {f"Device.{c}.{n}.New": StoredValue("new", "string", None, 9_999.0) for c in "0AZ" for n in (1, 7_000)}
    whole = {p: merged(values.get(p), told[p]) if p in told else values[p] for p in {**values, **told}}
    for under in ("", "Device.A.", "Device.B.", "Device.A.long", "Device.A.1.", "Device.None.", "Device.Z.1.New", "Z"):
        expected = [(p, whole[p]) for p in sorted(whole) if below(p, under)]
        for limit in (1_000, 100_000) if under != "Device.A.1." else (1, 2):
            assert pages(values, told, under, limit) == expected


def test_a_cursor_that_is_no_path_any_more_goes_on_behind_its_place() -> None:
    """Rows may go between two pages."""
    values = {f"Device.{n:04}": StoredValue("v", "string", None, 1.0) for n in range(3_000)}
    rows, following = done(page_of(*stored(values), {}, under="", after="Device.1499x", limit=2))
    assert ([path for path, _ in rows], following) == (["Device.1500", "Device.1501"], "Device.1501")
    assert done(page_of(*stored(values), {}, under="Device.0007", after="Device.0008", limit=2)) == ([], None)
    assert done(page_of(*stored({}), {}, under="", after=None, limit=2)) == ([], None)
    assert done(page_of(None, None, values, under="", after="Device.2998", limit=2))[1] is None


def test_values_that_are_damaged_are_told() -> None:
    """As what they are, not as others' values."""
    paths, vals = stored({f"Device.{n}": StoredValue("v", "string", None, 1.0) for n in range(10)})
    broken = vals[:2] + b"\x07" + vals[3:]
    with pytest.raises(ValueError, match="damaged"):
        done(page_of(paths, broken, {}, under="", after=None, limit=5))
