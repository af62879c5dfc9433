"""Values in the order of a path list: changed in place they are what they would be in a dictionary."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from homeport.acs.records import StoredValue
from homeport.acs.storage.interface import ValuesChange
from homeport.acs.storage.values import NO_PATHS, Column, Paths, apply_values, unpack_paths, unpack_values

PATHS = ("Device.", "Device.A.", "Device.A.B", "Device.A.C", "Device.D")

a_value = st.builds(
    StoredValue,
    value=st.none() | st.sampled_from(["", "1", "x"]),
    type=st.sampled_from(["string", "boolean"]),
    writable=st.none() | st.booleans(),
    updated=st.sampled_from([1.0, 2.0, 1e9]),
)
a_change = st.builds(
    ValuesChange,
    device=st.just("S1"),
    changed=st.dictionaries(st.sampled_from(PATHS), a_value),
    removed=st.lists(st.sampled_from(PATHS), max_size=1).map(tuple),
)


@given(st.lists(a_change, max_size=8))
def test_a_column_is_what_a_dictionary_would_be(changes: list[ValuesChange]) -> None:
    """Whether a change is only of values or makes a new path list, and over packing and unpacking between any two."""
    column, whole = Column(NO_PATHS, None), dict[str, StoredValue]()
    for change in changes:
        column.apply(change)
        apply_values(whole, change)
        assert column.unpacked() == whole
        stored = unpack_paths(column.paths.blob)
        assert unpack_values(stored, column.packed()) == whole
        column = Column(Paths(stored, column.paths.blob), column.packed())


def test_a_change_of_values_leaves_the_path_list_alone() -> None:
    """Thousands of devices share it: what a device repeats every hour must not make a new one."""
    column = Column(NO_PATHS, None)
    column.apply(ValuesChange("S1", {p: StoredValue("1", "string", True, 1.0) for p in PATHS}))
    paths = column.paths
    column.apply(ValuesChange("S1", {p: StoredValue("2", "string", None, 2.0) for p in PATHS}))
    assert column.paths is paths
    assert {v.value for v in column.unpacked().values()} == {"2"}
    column.apply(ValuesChange("S1", {"Device.D": StoredValue("2", "string", False, 3.0)}))
    assert column.paths.hash != paths.hash


def test_devices_of_one_model_come_to_one_path_list_in_memory() -> None:
    """It is made once, not for every device."""
    columns = [Column(NO_PATHS, None) for _ in range(2)]
    for column in columns:
        column.apply(ValuesChange("S1", {p: StoredValue("1") for p in reversed(PATHS)}))
    assert columns[0].paths is columns[1].paths


def test_each_value_keeps_its_own_time_however_many_there_are() -> None:
    """A parameter is read alone now and then; a byte numbers 256 of such times, and more are written out."""
    names = [f"Device.P{n:03d}" for n in range(300)]
    column, whole = Column(NO_PATHS, None), {n: StoredValue("", "string", None, 0.0) for n in names}
    column.apply(ValuesChange("S1", whole))
    for at, name in enumerate(names, 1):
        news = {name: StoredValue(str(at), "string", None, at + 0.25)}
        column.apply(ValuesChange("S1", news))
        whole |= news
        if at in (1, 255, 256, 257, 299, 300):
            assert unpack_values(column.paths.rows, column.packed()) == whole
            column = Column(column.paths, column.packed())
    again = {n: StoredValue("x", "string", None, 1e9) for n in names}
    column.apply(ValuesChange("S1", again))
    assert unpack_values(column.paths.rows, column.packed()) == again
    assert len(column.packed()) < 1_000


def test_values_of_an_older_layout_are_read_and_written_anew() -> None:
    """Times were offsets from the oldest one."""
    rows = unpack_paths(msgspec.msgpack.encode([(p, "string", None) for p in PATHS]))
    paths = Paths(rows, b"")
    for times in (None, [0.0, 0.0, 5.0, 0.0, 7.5]):
        blob = msgspec.msgpack.encode([[None, None, "1", "2", "3"], 100.0, times])
        column = Column(paths, blob)
        assert column.unpacked() == unpack_values(rows, blob) == unpack_values(rows, column.packed())
        assert column.unpacked()["Device.A.C"].updated == 100.0
