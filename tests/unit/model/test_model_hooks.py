"""Sources and hooks: values that are computed, and what a device does about changes."""

from collections.abc import Mapping, Sequence

import pytest

from homeport.errors import Fault, LocalProtocolError, StoreError
from homeport.model.changes import Change, ChangeKind, CommitRecord
from homeport.model.schema import Schema
from homeport.model.sources import Registry
from homeport.model.transaction import Transaction
from homeport.model.tree import DataModel
from homeport.terms import FaultCode, Writer

UPTIME = "Device.DeviceInfo.UpTime"
CODE = "Device.DeviceInfo.ProvisioningCode"
INTERVAL = "Device.ManagementServer.PeriodicInformInterval"


def write(model: DataModel, *items: tuple[str, str]) -> int:
    with model.transaction(Writer.ACS) as change:
        for path, text in items:
            change.set(path, text)
        return change.commit()


def two_interfaces(model: DataModel) -> None:
    with model.transaction(Writer.ACS) as change:
        change.add_object("Device.Net.Interface.")
        change.add_object("Device.Net.Interface.")
        change.commit()


def test_a_computed_value_is_read_when_it_is_asked_for(model: DataModel) -> None:
    """Alone, with its object, and with everything; Python values become the parameter's text."""
    clock = iter(range(10, 20))
    model.source(UPTIME, read=lambda path: next(clock))
    assert model.value(UPTIME) == "10"
    assert {v.name: v.value for v in model.get("Device.DeviceInfo.")}[UPTIME] == "11"
    assert {v.name: v.value for v in model.get("")}[UPTIME] == "12"


def test_one_rpc_asks_a_source_once(model: DataModel) -> None:
    """All paths of a request that a grouped source answers come in one call."""
    calls: list[list[str]] = []

    def read(paths: Sequence[str]) -> Mapping[str, object]:
        calls.append(list(paths))
        return {p: (p.endswith("1.Status") and "Up") or "Down" for p in paths}

    two_interfaces(model)
    model.source("Device.Net.Interface.*.Status", read_group=read)
    values = model.get_many(
        ["Device.Net.Interface.1.", "Device.Net.Interface.2.Status", "Device.DeviceInfo.Manufacturer"]
    )
    assert calls == [["Device.Net.Interface.1.Status", "Device.Net.Interface.2.Status"]]
    assert {v.name: v.value for v in values}["Device.Net.Interface.1.Status"] == "Up"
    model.get("Device.DeviceInfo.Manufacturer")
    assert len(calls) == 1


def test_the_later_source_counts_and_one_instance_may_have_its_own(model: DataModel) -> None:
    """Patterns name parameters, branches, or single instances; None falls back to the stored value."""
    two_interfaces(model)
    model.source("Device.Net.Interface.", read=lambda path: 700 if path.endswith("MTU") else None)
    model.source("Device.Net.Interface.2.MTU", read=lambda path: 800)
    assert [v.value for v in model.get("Device.Net.Interface.*.MTU")] == ["700", "800"]
    assert model.value("Device.Net.Interface.1.Alias") == "cpe-1"
    model.source("Device.Net.Interface.{i}.MTU", read=lambda path: 900)
    assert [v.value for v in model.get("Device.Net.Interface.")][3] == "900"


def test_a_source_that_breaks_is_an_internal_error(model: DataModel) -> None:
    """9002 with the reason; a Fault of its own passes."""

    def broken(path: str) -> object:
        raise OSError("no such sensor")

    model.source(UPTIME, read=broken)
    with pytest.raises(Fault, match="no such sensor") as caught:
        model.get("Device.DeviceInfo.")
    assert caught.value.code == 9002
    with pytest.raises(TypeError):
        model.source(UPTIME)


def test_a_hidden_computed_value_is_not_even_asked_for(model: DataModel) -> None:
    """A password from a vault reads as empty to the ACS."""
    asked: list[str] = []
    model.source("Device.ManagementServer.Password", read=lambda path: asked.append(path) or "secret")
    assert model.get("Device.ManagementServer.Password")[0].value == ""
    assert {v.name: v.value for v in model.get("Device.ManagementServer.")}["Device.ManagementServer.Password"] == ""
    assert asked == []
    assert model.value("Device.ManagementServer.Password", reveal=True) == "secret"


def test_one_registry_serves_many_devices(schema: Schema) -> None:
    """A shared source is told which device is read."""
    registry = Registry()
    serials: dict[int, str] = {}
    registry.source(
        "Device.DeviceInfo.Manufacturer", read_of=lambda model, paths: {p: serials[id(model)] for p in paths}
    )
    devices = [DataModel(schema, registry=registry) for _ in range(2)]
    serials.update({id(d): f"maker {n}" for n, d in enumerate(devices)})
    assert [d.value("Device.DeviceInfo.Manufacturer") for d in devices] == ["maker 0", "maker 1"]


def test_validate_refuses_with_its_own_code_and_sees_how_things_will_be(model: DataModel) -> None:
    """It runs before anything is done, for each change, with the whole request staged."""

    def check(change: Change, view: Transaction) -> None:
        if change.new == "Requested" and view.value(CODE) == "":
            raise Fault(FaultCode.INVALID_PARAMETER_VALUE, "set the code first")

    applied: list[object] = []
    model.hook("Device.Net.PingState", validate=check, apply=lambda changes, view: applied.append(changes))
    with pytest.raises(Fault) as caught:
        write(model, ("Device.Net.PingState", "Requested"))
    assert [(p.name, int(p.code), p.text) for p in caught.value.parameters] == [
        ("Device.Net.PingState", 9007, "set the code first")
    ]
    assert applied == []
    write(model, ("Device.Net.PingState", "Requested"), (CODE, "x"))
    assert len(applied) == 1


def test_apply_runs_once_per_transaction_with_all_its_changes(model: DataModel) -> None:
    """So that a device can switch an interface and its settings together; Status 1 where it takes effect later."""
    batches: list[list[str]] = []

    def apply(changes: Sequence[Change], view: Transaction) -> int:
        batches.append([c.path for c in changes])
        return 1

    two_interfaces(model)
    model.hook("Device.Net.Interface.", apply=apply)
    assert write(model, ("Device.Net.Interface.1.MTU", "900"), (CODE, "x"), ("Device.Net.Interface.2.Enable", "1")) == 1
    assert batches == [["Device.Net.Interface.1.MTU", "Device.Net.Interface.2.Enable"]]
    assert write(model, (CODE, "y")) == 0


def test_what_was_applied_is_undone_in_reverse_when_a_later_hook_refuses(model: DataModel) -> None:
    """Nothing is changed, the fault names the parameter, and every hook saw its changes taken back."""
    deeds: list[str] = []

    def note(name: str) -> object:
        return lambda changes, view: deeds.append(f"{name} {changes[0].old}->{changes[0].new}")

    def refuse(changes: Sequence[Change], view: Transaction) -> None:
        raise Fault(FaultCode.REQUEST_DENIED, "not now")

    model.hook(CODE, apply=note("first"))  # type: ignore[arg-type]
    model.hook(INTERVAL, apply=note("second"), undo=note("undo second"))  # type: ignore[arg-type]
    model.hook("Device.", apply=refuse, undo=lambda changes, view: deeds.append("undo third"))
    before = model.dump_state()
    with pytest.raises(Fault) as caught:
        write(model, (CODE, "x"), (INTERVAL, "60"))
    assert caught.value.code == 9003
    assert {(p.name, int(p.code)) for p in caught.value.parameters} == {(CODE, 9001), (INTERVAL, 9001)}
    assert deeds == ["first ->x", "second 1->60", "undo third", "undo second 60->1", "first x->"]
    assert model.dump_state() == before


def test_a_hook_that_breaks_is_an_internal_error_and_changes_nothing(model: DataModel) -> None:
    """9002 for its parameter; an undo that breaks as well does not hide it."""

    def broken(changes: Sequence[Change], view: Transaction) -> None:
        raise RuntimeError("driver")

    model.hook(CODE, apply=broken, undo=broken)
    with pytest.raises(Fault) as caught:
        write(model, (CODE, "x"))
    assert [(p.name, int(p.code)) for p in caught.value.parameters] == [(CODE, 9002)]
    assert model.value(CODE) == ""


def test_what_was_applied_is_undone_when_the_disk_refuses(schema: Schema) -> None:
    """The device must not do what it will not remember."""
    deeds: list[str] = []

    def full(record: CommitRecord) -> None:
        raise StoreError("disk full")

    model = DataModel(schema, persist=full)
    model.hook(CODE, apply=lambda changes, view: deeds.append(changes[0].new))
    with pytest.raises(StoreError):
        write(model, (CODE, "x"))
    assert deeds == ["x", ""]


def test_a_refused_row_is_not_added(model: DataModel) -> None:
    """AddObject answers with the hook's own code, and undo sees a deletion."""
    kinds: list[ChangeKind] = []

    def refuse(changes: Sequence[Change], view: Transaction) -> None:
        kinds.append(changes[0].kind)
        if changes[0].kind is ChangeKind.ADD:
            raise Fault(FaultCode.RESOURCES_EXCEEDED, "no memory")

    model.hook("Device.Net.Interface.", apply=refuse)
    with model.transaction(Writer.ACS) as change, pytest.raises(Fault) as caught:
        change.add_object("Device.Net.Interface.")
        change.commit()
    assert caught.value.code == 9004
    assert caught.value.parameters == ()
    assert kinds == [ChangeKind.ADD, ChangeKind.DELETE]
    assert model.instances("Device.Net.Interface.") == []


def test_a_hook_adds_the_devices_own_values_to_the_same_commit(schema: Schema) -> None:
    """Enable goes up with Status: one commit, one notice, and the status is the device's doing."""
    records: list[CommitRecord] = []
    model = DataModel(schema, persist=records.append)
    two_interfaces(model)
    told: list[Change] = []
    model.subscribe(told.extend)

    def switch(changes: Sequence[Change], view: Transaction) -> None:
        for change in changes:
            if change.path.endswith(".Enable"):
                view.also(change.path.replace("Enable", "Status"), "Up" if change.new == "true" else "Down")

    model.hook("Device.Net.Interface.*.Enable", apply=switch)
    write(model, ("Device.Net.Interface.2.Enable", "true"))
    assert model.value("Device.Net.Interface.2.Status") == "Up"
    assert len(records) == 2
    assert [(c.path.rpartition(".")[2], c.writer) for c in told] == [("Enable", Writer.ACS), ("Status", Writer.SYSTEM)]


def test_notify_comes_after_the_commit_and_cannot_undo_it(model: DataModel, caplog: pytest.LogCaptureFixture) -> None:
    """It may write again; when it breaks, others still learn of the change and the log says so."""
    seen: list[str] = []

    def broken(changes: Sequence[Change], view: Transaction) -> None:
        seen.append(model.value(CODE))
        raise RuntimeError("listener")

    model.hook(CODE, notify=broken)
    model.hook(CODE, notify=lambda changes, view: model.set_local(UPTIME, "77") and None)
    model.subscribe(lambda changes: seen.append(changes[0].path))
    write(model, (CODE, "x"))
    assert seen == ["x", UPTIME, CODE]
    assert model.value(UPTIME) == "77"
    assert "commit stands" in caplog.text


def test_an_apply_hook_that_commits_by_itself_is_told_how_to_do_it(model: DataModel) -> None:
    """Its own commit would be lost under the one that is on its way; that is a bug of the hook, and nothing of it stays hidden."""
    model.hook(CODE, apply=lambda changes, view: model.set_local(UPTIME, "5"), undo=lambda changes, view: None)
    with pytest.raises(LocalProtocolError, match=r"view\.also"):
        write(model, (CODE, "x"))
    assert model.value(CODE) == ""
    assert model.value(UPTIME) == "5"


def test_a_validate_hook_that_breaks_is_an_internal_error(model: DataModel, caplog: pytest.LogCaptureFixture) -> None:
    """9002 for its parameter, with the traceback in the log."""

    def broken(change: Change, view: Transaction) -> None:
        raise KeyError("oops")

    model.hook(CODE, validate=broken)
    with pytest.raises(Fault) as caught:
        write(model, (CODE, "x"))
    assert [(p.name, int(p.code)) for p in caught.value.parameters] == [(CODE, 9002)]
    assert "validate hook" in caplog.text
