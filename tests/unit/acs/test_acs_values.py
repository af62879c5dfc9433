"""Values in the order of a path list: changed in place they are what they would be in a dictionary."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from homeport.acs.engine.effects import learnt, promoted
from homeport.acs.records import Reading, StoredValue, TaskRecord
from homeport.acs.storage.interface import ValuesChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.values import (
    NO_PATHS,
    Column,
    Paths,
    apply_values,
    column_of,
    unpack_paths,
    unpack_values,
)
from homeport.codec import messages as m

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


a_reading = st.builds(
    lambda names, types, at: ValuesChange(
        "S1", Reading(tuple(names), tuple(f"{at}{n}" for n in names), tuple(types[: len(names)]), at)
    ),
    st.lists(st.sampled_from(PATHS), unique=True),
    st.lists(st.sampled_from(["string", "boolean"]), min_size=5, max_size=5),
    st.sampled_from([3.0, 4.0]),
)


@given(st.lists(a_change | a_reading, max_size=8))
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


@given(st.lists(a_change | a_reading, max_size=8))
def test_a_delta_is_what_a_dictionary_would_be(changes: list[ValuesChange]) -> None:
    """One that is told few values at a time. Its texts as well, over packing and unpacking between any two."""
    delta, whole = Column(NO_PATHS, None), dict[str, StoredValue]()
    for change in changes:
        delta.tell(change)
        apply_values(whole, change)
        assert delta.unpacked() == whole
        assert delta.told == {path: value.value for path, value in whole.items()}
        delta = Column(Paths(delta.paths.rows, delta.paths.blob), delta.packed())
        assert delta.unpacked() == whole and len(delta) == len(whole)


def test_a_delta_takes_any_number_of_times() -> None:
    """Each of 300 values with a time of its own, then one after the other changed again."""
    whole = {f"Device.P{n:03}": StoredValue("1", "string", None, float(n)) for n in range(300)}
    delta = column_of(whole)
    for n in range(0, 300, 7):
        whole[f"Device.P{n:03}"] = StoredValue("2", "string", None, 1000.0 + n)
        delta.tell(ValuesChange("S1", {f"Device.P{n:03}": whole[f"Device.P{n:03}"]}))
    assert delta.unpacked() == whole
    few = column_of({path: StoredValue("1", "string", None, 5.0) for path in whole})
    for n, path in enumerate(whole):
        few.tell(ValuesChange("S1", {path: StoredValue(str(n), "string", None, float(n))}))
        few.tell(ValuesChange("S1", {path: StoredValue(str(n), "string", None, float(n + 1))}))
    told = few.unpacked()
    assert [told[path].updated for path in whole] == [n + 1.0 for n in range(300)]
    assert unpack_values(few.paths.rows, few.packed()) == told


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


def test_a_reading_is_a_mapping_of_values() -> None:
    """As which all who do not know columns see it."""
    reading = Reading(("Device.A.B", "Device.D"), ("1", "2"), ("string", "int"), 5.0)
    plain = {"Device.A.B": StoredValue("1", "string", None, 5.0), "Device.D": StoredValue("2", "int", None, 5.0)}
    assert reading == plain and dict(reading) == plain and list(reading.items()) == list(plain.items())
    assert "Device.D" in reading and "Device.A." not in reading and reading.get("x") is None
    assert not Reading((), (), (), 5.0)


ROWS = st.lists(
    st.builds(
        m.ParameterValueStruct,
        st.sampled_from(["Device.A.B", "Device.D", "Device.X", "Device.Password", "Device.Obj.", ""])
        | st.sampled_from(["Device.ManagementServer.PeriodicInformInterval", "Device.DeviceInfo.SoftwareVersion"]),
        st.sampled_from(["", "1", "300"]),
        st.sampled_from(["string", "int", ""]),
    ),
    max_size=6,
)


@given(ROWS)
def test_an_answer_teaches_the_same_as_columns_or_one_by_one(listed: list[m.ParameterValueStruct]) -> None:
    """Also with secrets, objects, names that come twice, and types that are missing."""
    answer = m.GetParameterValuesResponse(tuple(listed))
    found = learnt(m.GetParameterValues(()), answer, 7.0).changed
    expected = {
        row.name: StoredValue("" if row.name == "Device.Password" else row.value, row.type or "string", None, 7.0)
        for row in listed
        if row.name and not row.name.endswith(".")
    }
    assert dict(found) == expected
    assert promoted(found) == promoted(expected)


@given(ROWS, st.booleans(), st.booleans())
def test_a_task_is_read_as_it_was_stored(listed: list[m.ParameterValueStruct], asked: bool, masked: bool) -> None:
    """Its result is kept without the names where they are those in its arguments; who reads it sees them all."""
    names = [row.name for row in listed] if asked else ["Device.A.B", "Device.D"]
    plain = [{"name": row.name, "value": row.value, "type": row.type} for row in listed]
    result = {"parameter_list": plain if masked else listed, "status": 1}
    task = TaskRecord(
        id="t", device="S1", rpc="GetParameterValues", args={"parameter_names": names * 40}, result=result
    )
    wish = TaskRecord(id="t", device="S1", rpc="GetParameterValues", args={"parameter_names": names}, result=result)
    for record in (task, wish):
        found = rows.task(rows.pack_task(record))
        assert found.result == {"parameter_list": plain, "status": 1}
        assert rows.task(rows.pack_task(found)) == found
    if asked and len(listed) > 1:
        assert len(rows.pack_task(wish)) < len(rows.encode(wish))
