"""State as plain values: dumps, records done again, other firmware, many devices."""

import sys
import tracemalloc
from collections.abc import Iterable

import msgspec
import pytest

from homeport.errors import StoreError
from homeport.model.changes import CommitRecord
from homeport.model.nodes import blueprint_of
from homeport.model.profile import load_profile
from homeport.model.schema import ObjectDef, ParameterDef, Schema
from homeport.model.tree import DataModel
from homeport.model.types import UNSIGNED_INT, Range, Syntax
from homeport.terms import ValueType, Writer

CODE = "Device.DeviceInfo.ProvisioningCode"


def busy(schema: Schema) -> tuple[DataModel, list[CommitRecord]]:
    """A device with some history, and its records."""
    records: list[CommitRecord] = []
    model = DataModel(schema, persist=records.append)
    with model.transaction(Writer.ACS) as change:
        for table in ("Interface.[wan].", "Interface.", "Route.", "Route.[b].", "Interface.1.Address."):
            change.add_object(f"Device.Net.{table}")
        change.set("Device.Net.Route.2.Order", "1")
        change.set("Device.Net.Route.1.Interface", "Device.Net.Interface.[wan]")
        change.set_attributes(CODE, 2, ["Subscriber"])
        change.parameter_key("k")
        change.commit()
    model.set_local(CODE, "x", Writer.LOCAL)
    model.set_local("Device.Net.Slot.2.Name", "second", Writer.LOCAL)
    model.poll()
    with model.transaction(Writer.ACS) as change:
        change.delete_object("Device.Net.Interface.1.")
        change.commit()
    return model, records


def test_a_dump_is_plain_and_brings_everything_back(schema: Schema) -> None:
    """Through msgpack and through JSON."""
    model, _ = busy(schema)
    state = model.dump_state()
    for codec in (msgspec.msgpack, msgspec.json):
        again = DataModel(schema, state=codec.decode(codec.encode(state)))
        assert again.dump_state() == state
        assert again.get("") == model.get("")
        assert again.pending_changes() == model.pending_changes()


def test_records_done_again_lead_to_the_same_state(schema: Schema) -> None:
    """From the factory, and from a dump taken anywhere on the way: what it contains already is passed over."""
    model, records = busy(schema)
    plain = [msgspec.json.decode(msgspec.json.encode(r)) for r in records]
    again = DataModel(schema)
    for record in plain:
        assert again.replay(record) == []
        half = DataModel(schema, state=again.dump_state())
        for later in plain:
            half.replay(later)
        assert half.dump_state() == model.dump_state()
    assert again.dump_state() == model.dump_state()


def test_a_factory_reset_is_a_record_too(schema: Schema) -> None:
    """Replaying it forgets what came before."""
    model, records = busy(schema)
    model.factory_reset()
    model.set_local(CODE, "after")
    again = DataModel(schema)
    for record in records:
        again.replay(record)
    assert again.dump_state() == model.dump_state()
    assert again.value(CODE) == "after"


def test_a_dump_of_the_factory_is_empty(schema: Schema) -> None:
    """Only what differs is written."""
    state = DataModel(schema).dump_state()
    assert not any(state[k] for k in ("rows", "values", "attributes", "pending", "baseline"))


def test_a_firmware_that_lost_or_gained_parameters_opens_the_old_state(schema: Schema) -> None:
    """What is no longer there or no longer allowed is left out and said; what is new has its factory value."""
    model, records = busy(schema)
    newer = Schema("Device:10.0", list(_newer(schema)))
    for again in (DataModel(newer), DataModel(newer)):
        said = again.load_state(model.dump_state())
        assert "Device.Net.Interface. is no longer a table; its rows are gone" in said
        assert any("keeps its factory value" in s and "URL" in s for s in said) is False
        assert again.value("Device.DeviceInfo.New") == "7"
        assert again.value(CODE) == "x"
        assert again.value("Device.Net.Route.2.Order") == "1"
        assert again.instances("Device.Net.Route.") == [1, 2]
    replayed = DataModel(newer)
    for record in records:
        replayed.replay(record)
    assert replayed.value(CODE) == "x"


def _newer(schema: Schema) -> Iterable[ObjectDef]:
    for definition in schema.objects():
        if definition.path.startswith("Device.Net.Interface."):
            continue
        parameters = list(definition.parameters)
        if definition.name == "DeviceInfo":
            parameters.append(ParameterDef("New", UNSIGNED_INT, default_factory="7"))
        yield ObjectDef(
            definition.path,
            parameters=[_copy(p) for p in parameters],
            writable=definition.writable,
            minimum=definition.minimum,
            maximum=definition.maximum,
            count=definition.count,
        )


def _copy(p: ParameterDef) -> ParameterDef:
    return ParameterDef(p.name, p.syntax, writable=p.writable, hidden=p.hidden, default_factory=p.default_factory)


def test_a_value_that_the_new_model_forbids_becomes_its_factory_value() -> None:
    """A narrower range in the next firmware."""

    def model_of(most: int) -> Schema:
        size = Syntax(ValueType.UNSIGNED_INT, ranges=(Range(0, most),))
        return Schema("Device:1.0", [ObjectDef("Device.", parameters=[ParameterDef("Size", size, writable=True)])])

    before = DataModel(model_of(100))
    before.set_local("Device.Size", "50")
    after = DataModel(model_of(10))
    (said,) = after.load_state(before.dump_state())
    assert said.startswith("Device.Size keeps its factory value")
    assert after.value("Device.Size") == "0"


def test_a_state_or_record_of_an_unknown_format_is_refused(schema: Schema) -> None:
    """With the cure in the message."""
    model = DataModel(schema)
    with pytest.raises(StoreError, match="format 99"):
        model.load_state({"format": 99})
    with pytest.raises(StoreError, match="'jump'"):
        model.replay([1, "acs", True, [["jump", "x"]]])


def test_devices_share_what_they_do_not_change() -> None:
    """A device of a profile costs at most 2 KB until it differs, and little more when it has its own identity."""
    profile = load_profile("dkt-797xx")
    blueprint = blueprint_of(profile)
    DataModel(blueprint).get("")
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    devices = [DataModel(blueprint) for _ in range(1000)]
    untouched = (tracemalloc.get_traced_memory()[0] - before) / 1000
    for n, device in enumerate(devices):
        with device.transaction(Writer.SYSTEM) as change:
            change.set("Device.DeviceInfo.SerialNumber", f"{n:09}")
            change.parameter_key(f"key-{n}")
            change.commit()
    own = (tracemalloc.get_traced_memory()[0] - before) / 1000
    tracemalloc.stop()
    assert untouched <= 2048
    assert own <= 2048
    assert sys.getsizeof(devices) > 0


def test_a_device_that_changes_leaves_its_sisters_alone() -> None:
    """Copies are made on the way to what changes, and nowhere else."""
    profile = load_profile("dkt-797xx")
    one, other = DataModel(profile), DataModel(profile)
    factory = other.get("")
    one.set_local("Device.Bridging.Bridge.1.Port.2.Enable", "false", Writer.ACS)
    with one.transaction(Writer.ACS) as change:
        change.add_object("Device.Bridging.Bridge.1.Port.")
        change.delete_object("Device.Ethernet.Link.1.")
        change.commit()
    assert other.get("") == factory
    assert DataModel(profile).get("") == factory
