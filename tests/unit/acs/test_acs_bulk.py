"""Long work in slices: others have their turn, and what comes out is what the short way gives."""

import asyncio
import random
import time
import weakref
from collections.abc import Generator
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from homeport.acs.engine.effects import Learnt, learnt, learnt_in_parts
from homeport.acs.records import StoredValue, TaskRecord
from homeport.acs.services.masking import MASK, masked_in_parts, masked_task, without_secrets, without_secrets_in_parts
from homeport.acs.slices import SLICE, in_slices
from homeport.acs.storage.interface import ValuesChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.bulk import packed_task, prepared, read_all, sorted_in_parts
from homeport.acs.storage.values import NO_PATHS, Column, Paths, pack_paths, unpack_paths, unpack_values
from homeport.codec import messages as m
from homeport.errors import StoreError

MANY = 5_500


def done(work: Generator[Any, Any, Any]) -> Any:
    return asyncio.run(in_slices(work))


def an_answer(count: int = MANY, name: str = "Param") -> m.GetParameterValuesResponse:
    return m.GetParameterValuesResponse(
        tuple(m.ParameterValueStruct(f"Device.T.{i}.{name}", f"v{i}", "string") for i in range(count))
    )


def test_others_have_their_turn_between_slices() -> None:
    """A task beside long work runs again after each slice; what is to be called in a thread is, and its value comes back."""
    turns = 0

    def work() -> Generator[Any, Any, int]:
        for _ in range(20):
            until = time.perf_counter() + SLICE / 2
            while time.perf_counter() < until:
                pass
            yield None
        return (yield lambda: 7)  # type: ignore[no-any-return]

    async def scene() -> None:
        nonlocal turns
        job = asyncio.create_task(in_slices(work()))
        while not job.done():
            turns += 1
            await asyncio.sleep(0)
        assert job.result() == 7

    asyncio.run(scene())
    assert turns >= 8


def test_an_error_in_long_work_is_raised() -> None:
    """By the work itself, or by what it has asked for."""

    def work() -> Generator[Any, Any, None]:
        with pytest.raises(ZeroDivisionError):
            yield None
            raise ZeroDivisionError
        raise KeyError("x")

    with pytest.raises(KeyError):
        done(work())


def test_the_work_hears_what_went_wrong_with_what_it_has_asked_for() -> None:
    """As it would, had it called that itself: it may do something else, or say more of it."""

    def work() -> Generator[Any, Any, Any]:
        try:
            yield lambda: 1 // 0
        except ZeroDivisionError:
            return (yield lambda: "another way")
        raise AssertionError("it was not told")

    assert done(work()) == "another way"


def test_an_error_does_not_keep_what_was_read() -> None:
    """It tells where it was raised; the tree of a refused message is gone at once, while somebody still has the error."""

    class Tree:
        pass

    seen: list[weakref.ref[Tree]] = []

    def read() -> None:
        tree = Tree()
        seen.append(weakref.ref(tree))
        try:
            raise KeyError(str(tree))
        except KeyError as e:
            raise ValueError("no message") from e

    def work() -> Generator[Any, Any, None]:
        yield read

    with pytest.raises(ValueError, match="no message") as found:
        done(work())
    assert seen[0]() is None
    assert found.traceback[-1].name == "read"


def test_paths_are_sorted_in_parts() -> None:
    """In any order that they come in."""
    chance = random.Random(5)
    for count in (0, 1, 2_048, 2_049, 9_000):
        paths = [f"Device.{chance.random()}." for _ in range(count)]
        assert done(sorted_in_parts(paths)) == sorted(paths)
        assert done(sorted_in_parts(sorted(paths, reverse=True))) == sorted(paths)


@pytest.mark.parametrize("count", [5_001, MANY, 65_535, 65_536])
def test_a_task_is_packed_in_parts(count: int) -> None:
    """Each part is unpacked by itself, when somebody wants it; rows of any length, and where the task is packed once more."""
    answer = an_answer(count)
    wide = [m.ParameterValueStruct("Device.W", "w" * 100_000, "string")] * (7 if count == MANY else 0)
    listed = [*answer.parameter_list, *wide]
    result = {"parameter_list": listed, "received": "x"}
    task = TaskRecord(
        id="1", device="d", rpc="GetParameterValues", args={"parameter_names": ["Device."]}, result=result
    )
    found = rows.task(done(packed_task(task)))
    assert found.result is not None
    again = rows.task(rows.pack_task(msgspec.structs.replace(found, device="e"))).result
    assert again is not None
    for told in (found.result, again):
        kept = told["parameter_list"]
        assert (told["received"], len(kept)) == ("x", len(listed))
        assert max(map(len, kept.in_pieces())) < 2_000
        assert kept == msgspec.to_builtins(listed)


def test_a_part_of_a_task_that_is_damaged_is_found() -> None:
    """Not by who only asks how the task stands, but by who reads it."""
    answer = an_answer(MANY)
    task = TaskRecord(
        id="1", device="d", rpc="GetParameterValues", args={}, result={"parameter_list": answer.parameter_list}
    )
    blob = done(packed_task(task))
    whole = rows.task(blob).result
    assert whole is not None
    piece = whole["parameter_list"].pieces[1]
    found = rows.task(blob.replace(piece, b"L" + b"\xff" * (len(piece) - 1)))
    assert found.result is not None
    with pytest.raises(StoreError, match=r"what a task has read cannot be read: .*homeport acs db check"):
        list(found.result["parameter_list"])


def test_of_many_works_one_has_a_slice_until_the_others_have_their_turn() -> None:
    """Ten of them hold nobody up for longer than one."""
    turns: list[int] = []

    def work(number: int) -> Generator[Any, Any, None]:
        for _ in range(3):
            until = time.perf_counter() + SLICE
            while time.perf_counter() < until:
                pass
            turns.append(number)
            yield None

    async def scene() -> None:
        over = False
        seen: list[int] = []

        async def other() -> None:
            while not over:
                seen.append(len(turns))
                await asyncio.sleep(0)

        watching = asyncio.create_task(other())
        await asyncio.gather(*(in_slices(work(number)) for number in range(10)))
        over = True
        await watching
        assert max(b - a for a, b in pairwise(seen)) == 1

    asyncio.run(scene())
    assert sorted(turns) == sorted([*range(10)] * 3)


def test_a_long_path_list_is_stored_in_pieces() -> None:
    """It is read again as it was, and the same list has the same hash; a short one is stored as ever."""
    few = tuple((f"Device.P{i}", "string", None) for i in range(10))
    many = tuple((f"Device.P{i}", "string", i % 2 == 0) for i in range(5_000))
    for paths in (few, many):
        assert unpack_paths(pack_paths(paths)) == paths
    assert pack_paths(few) == pack_paths(list(few))
    assert pack_paths(many)[:1] == b"\xc1" != pack_paths(few)[:1]


@pytest.mark.parametrize("known", [0, 200, 6_000])
def test_a_long_change_is_merged_as_a_short_one(known: int) -> None:
    """Over nothing, over a little, over more: names, types, access, times and what is gone are those of the writer's own merging."""
    before = Column(NO_PATHS, None)
    old = {f"Device.T.{i}.Param": StoredValue(f"o{i}", "int", i % 2 == 0, 1.0) for i in range(known)}
    old |= {f"Device.Gone.{i}.X": StoredValue("x", "string", True, 2.0) for i in range(known)}
    before.apply(ValuesChange("d", old))
    changed = {f"Device.T.{i}.Param": StoredValue(f"v{i}", "string", None, 3.0) for i in range(100, MANY)}
    changed |= {f"Device.N.{i}.": StoredValue(None, "object", True, 3.0) for i in range(50)}
    change = ValuesChange("d", changed, ("Device.Gone.", "Device.T.1.Param", "Device.Never"))
    stored = (None, None, None) if not known else (4, before.paths.blob, before.packed())
    made = done(prepared(change, *stored))
    assert (made.path_list, made.vals) == (stored[0], stored[2])
    column = Column(Paths(unpack_paths(stored[1]), stored[1]) if stored[1] else NO_PATHS, stored[2])
    column.apply(change)
    assert unpack_paths(made.paths) == column.paths.rows
    assert made.hash == column.paths.hash
    assert unpack_values(column.paths.rows, made.packed) == column.unpacked()
    read = done(
        read_all(made.paths, made.packed, {"Device.T.100.Param": StoredValue("d", "string", None, 4.0)}, (), "")
    )
    assert list(read) == sorted(column.unpacked())
    assert read["Device.T.100.Param"].value == "d"
    one = done(read_all(made.paths, made.packed, {}, (), "Device.T.100.Par"))
    assert one == {}  # no object, and no parameter of that name
    below = done(read_all(stored[1], stored[2], {}, (change,), "Device.T."))
    assert below == {p: v for p, v in column.unpacked().items() if p.startswith("Device.T.")}


@pytest.mark.parametrize("other", [{}, {"type": "int"}, {"writable": True}, {"value": None}])
def test_a_tree_that_is_read_again_keeps_its_list(other: dict[str, Any]) -> None:
    """The common case, done without unpacking the list; a change of anything but values is merged as ever."""
    from msgspec.structs import replace

    old = {f"Device.T.{i}.Param": StoredValue(f"o{i}", "string", i % 2 == 0, 1.0) for i in range(MANY)}
    before = Column(NO_PATHS, None)
    before.apply(ValuesChange("d", old))
    changed = {f"Device.T.{i}.Param": StoredValue(f"v{i}", "string", None, 3.0) for i in range(MANY - 100)}
    changed["Device.T.7.Param"] = replace(changed["Device.T.7.Param"], **other)
    made = done(prepared(ValuesChange("d", changed), 4, before.paths.blob, before.packed()))
    assert (made.paths == before.paths.blob) is (other in ({}, {"value": None}))
    before.apply(ValuesChange("d", changed))
    assert unpack_values(unpack_paths(made.paths), made.packed) == before.unpacked()
    assert made.hash == before.paths.hash


def test_a_long_answer_teaches_in_parts_what_it_teaches() -> None:
    """Values, secrets left out; names with what is gone below them."""
    secret = m.ParameterValueStruct("Device.X.Password", "secret", "string")
    answer = m.GetParameterValuesResponse(
        (*an_answer().parameter_list, secret, m.ParameterValueStruct("Device.O.", ""))
    )
    asked = m.GetParameterValues(("Device.",))
    assert done(learnt_in_parts(asked, answer, 1.0)) == learnt(asked, answer, 1.0)
    names = m.GetParameterNamesResponse(tuple(m.ParameterInfoStruct(f"Device.T.{i}.Param", False) for i in range(MANY)))
    known = [*(f"Device.T.{i}.Param" for i in range(MANY + 50)), "Device.Gone"]
    for level in (False, True):
        question = m.GetParameterNames("Device.", level)
        found: Learnt = done(learnt_in_parts(question, names, 1.0))
        assert found == learnt(question, names, 1.0)
        assert done(found.gone_in_parts(known)) == found.gone(known)


def test_secrets_in_a_long_answer_are_found_and_masked() -> None:
    """By name, and in URLs: in its rows as in the dictionaries of a short one."""
    rows_ = (
        *an_answer().parameter_list,
        m.ParameterValueStruct("Device.X.Password", "hidden", "string"),
        m.ParameterValueStruct("Device.X.URL", "http://user:pass@host/", "string"),
        m.ParameterValueStruct("Device.Y.Password", "", "string"),
    )
    answer = m.GetParameterValuesResponse(rows_)
    assert done(without_secrets_in_parts(answer)) is without_secrets(answer) is False
    assert done(without_secrets_in_parts(an_answer())) is True
    task = TaskRecord(id="1", device="d", rpc="GetParameterValues", args={"password": "p"})
    for kept in (tuple(rows_), list(rows_)):
        long = done(masked_in_parts(msgspec_replace(task, kept)))
        assert rows.pack_task(long) == rows.pack_task(masked_task(msgspec_replace(task, kept)))
        listed = long.result["parameter_list"]
        assert [row.value for row in listed[-3:]] == [MASK, f"http://user:{MASK}@host/", ""]
        assert long.args == {"password": MASK}


def msgspec_replace(task: TaskRecord, listed: Any) -> TaskRecord:
    from msgspec.structs import replace

    return replace(task, result={"parameter_list": listed})
