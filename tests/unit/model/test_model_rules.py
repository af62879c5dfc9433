"""Rules between values: unique keys, references, order of precedence."""

import pytest

from homeport.errors import Fault
from homeport.model.schema import load_schema
from homeport.model.tree import DataModel
from homeport.terms import Writer


def write(model: DataModel, *items: tuple[str, str], writer: Writer = Writer.ACS) -> None:
    with model.transaction(writer) as change:
        for path, text in items:
            change.set(path, text)
        change.commit()


def refused(model: DataModel, *items: tuple[str, str]) -> list[tuple[str, int]]:
    before = model.dump_state()
    with pytest.raises(Fault) as caught:
        write(model, *items)
    assert model.dump_state() == before
    return [(p.name, int(p.code)) for p in caught.value.parameters]


def rows(model: DataModel, table: str, count: int) -> None:
    with model.transaction(Writer.ACS) as change:
        for _ in range(count):
            change.add_object(table)
        change.commit()


def orders(model: DataModel) -> dict[int, str]:
    return {n: model.value(f"Device.Net.Route.{n}.Order") for n in model.instances("Device.Net.Route.")}


@pytest.mark.case("D10")
def test_a_functional_key_counts_among_enabled_rows(model: DataModel) -> None:
    """Disabled rows may have the same key; enabling the second one is refused, and so is giving it the key while enabled."""
    rows(model, "Device.Net.Route.", 2)
    same = [(f"Device.Net.Route.{n}.Destination", "10.0.0.0/8") for n in (1, 2)]
    write(model, *same, ("Device.Net.Route.1.Enable", "true"))
    assert refused(model, ("Device.Net.Route.2.Enable", "true")) == [("Device.Net.Route.2.Enable", 9007)]
    write(model, ("Device.Net.Route.2.Enable", "true"), ("Device.Net.Route.2.Metric", "5"))
    assert refused(model, ("Device.Net.Route.2.Metric", "0")) == [("Device.Net.Route.2.Metric", 9007)]


def test_a_clash_with_an_older_row_blames_the_one_that_was_written(model: DataModel) -> None:
    """The row of the request is at fault, wherever it stands."""
    rows(model, "Device.Net.Route.", 2)
    write(
        model,
        ("Device.Net.Route.2.Destination", "x"),
        ("Device.Net.Route.2.Enable", "true"),
        ("Device.Net.Route.1.Enable", "true"),
    )
    assert refused(model, ("Device.Net.Route.1.Destination", "x")) == [("Device.Net.Route.1.Destination", 9007)]


@pytest.mark.case("R24")
def test_a_strong_reference_needs_its_target_and_loses_it_with_it(model: DataModel) -> None:
    """Missing row: 9007. Existing: taken. Deleted: it reads empty, and a list loses only that item."""
    assert refused(model, ("Device.ManagementServer.URL", "x"), ("Device.Net.Route.1.Interface", "y"))[0][1] == 9005
    rows(model, "Device.Net.Interface.", 2)
    rows(model, "Device.Net.Route.", 1)
    here = "Device.Net.Route.1."
    for wrong in (
        "Device.Net.Interface.7",
        "Device.Net.Slot.1",
        "Device.Net",
        "Device.Net.Interface",
        "Device.Net.PingState",
        "x y",
    ):
        assert refused(model, (here + "Interface", wrong)) == [(here + "Interface", 9007)]
    write(
        model,
        (here + "Interface", "Device.Net.Interface.1."),
        (here + "Backups", "Device.Net.Interface.1, Device.Net.Interface.2"),
        (here + "Seen", "Device.Net.Interface.1"),
    )
    assert model.value(here + "Interface") == "Device.Net.Interface.1"
    with model.transaction(Writer.LOCAL) as change:
        change.delete_object("Device.Net.Interface.1.")
        change.commit()
    assert model.value(here + "Interface") == ""
    assert model.value(here + "Backups") == "Device.Net.Interface.2"
    assert model.value(here + "Seen") == "Device.Net.Interface.1"


def test_a_row_may_be_pointed_at_in_the_transaction_that_makes_it(model: DataModel) -> None:
    """References are checked after everything is staged, and written with an alias they are kept by number."""
    with model.transaction(Writer.ACS) as change:
        change.add_object("Device.Net.Route.")
        change.add_object("Device.Net.Interface.[wan].")
        change.set("Device.Net.Route.1.Interface", "Device.Net.Interface.[wan]")
        change.commit()
    assert model.value("Device.Net.Route.1.Interface") == "Device.Net.Interface.1"


def test_a_row_number_is_not_taken_for_a_longer_one(model: DataModel) -> None:
    """Deleting row 1 leaves a reference to row 10 alone."""
    for _ in range(9):
        with model.transaction(Writer.ACS) as change:
            number = change.add_object("Device.Net.Interface.")
            if number > 1:
                change.delete_object(f"Device.Net.Interface.{number}.")
            change.commit()
    rows(model, "Device.Net.Interface.", 1)
    rows(model, "Device.Net.Route.", 1)
    write(model, ("Device.Net.Route.1.Interface", "Device.Net.Interface.10"))
    with model.transaction(Writer.ACS) as change:
        change.delete_object("Device.Net.Interface.1.")
        change.commit()
    assert model.value("Device.Net.Route.1.Interface") == "Device.Net.Interface.10"


def test_a_weak_reference_only_has_to_be_a_path(model: DataModel) -> None:
    """It may dangle."""
    rows(model, "Device.Net.Route.", 1)
    write(model, ("Device.Net.Route.1.Seen", "Device.Net.Interface.99"))
    assert refused(model, ("Device.Net.Route.1.Seen", "not a path")) == [("Device.Net.Route.1.Seen", 9007)]


@pytest.mark.case("D12")
def test_an_order_that_is_taken_moves_the_others_down(model: DataModel) -> None:
    """Insertion at a place shifts that row and those after it; the numbers stay 1 to n."""
    rows(model, "Device.Net.Route.", 4)
    assert orders(model) == {1: "1", 2: "2", 3: "3", 4: "4"}
    write(model, ("Device.Net.Route.4.Order", "2"))
    assert orders(model) == {1: "1", 4: "2", 2: "3", 3: "4"}
    with model.transaction(Writer.ACS) as change:
        change.delete_object("Device.Net.Route.4.")
        change.commit()
    assert orders(model) == {1: "1", 2: "2", 3: "3"}


@pytest.mark.case("D12")
def test_moving_down_counts_before_the_gap_is_closed(model: DataModel) -> None:
    """Row 1 written to 3 of 3 stands before the row that had 3, so it reads 2; past the end it becomes the last."""
    rows(model, "Device.Net.Route.", 3)
    write(model, ("Device.Net.Route.1.Order", "3"))
    assert orders(model) == {2: "1", 1: "2", 3: "3"}
    write(model, ("Device.Net.Route.2.Order", "9"))
    assert orders(model) == {1: "1", 3: "2", 2: "3"}


def test_an_order_of_zero_is_refused(model: DataModel) -> None:
    """Order begins at 1."""
    rows(model, "Device.Net.Route.", 1)
    assert refused(model, ("Device.Net.Route.1.Order", "0")) == [("Device.Net.Route.1.Order", 9007)]


def test_a_value_must_be_in_the_list_that_the_device_supports() -> None:
    """enumerationRef: the parameter of the same row that lists the allowed values decides; an empty one says nothing."""
    model = DataModel(load_schema("Device:2.19"))
    with model.transaction(Writer.SYSTEM) as change:
        for _ in range(2):
            change.add_object("Device.WiFi.Radio.")
        change.commit()
    write(model, ("Device.WiFi.Radio.2.OperatingStandards", "ax"))
    model.set_local("Device.WiFi.Radio.2.SupportedStandards", "g,n")
    write(model, ("Device.WiFi.Radio.1.OperatingStandards", "ax"), ("Device.WiFi.Radio.2.OperatingStandards", "g,n"))
    assert refused(model, ("Device.WiFi.Radio.2.OperatingStandards", "g,ax")) == [
        ("Device.WiFi.Radio.2.OperatingStandards", 9007)
    ]
