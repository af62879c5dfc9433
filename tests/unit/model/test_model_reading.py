"""GetParameterValues and GetParameterNames on a small tree."""

import pytest

from homeport.errors import Fault
from homeport.model.tree import DataModel
from homeport.terms import Writer


def add(model: DataModel, *tables: str) -> list[int]:
    with model.transaction(Writer.ACS) as change:
        numbers = [change.add_object(t) for t in tables]
        change.commit()
    return numbers


def code_of(call: object, *arguments: object, **named: object) -> int:
    with pytest.raises(Fault) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return int(caught.value.code)


@pytest.mark.case("R05")
def test_a_full_name_gives_its_value_and_type(model: DataModel) -> None:
    """One entry, typed as the model says."""
    (found,) = model.get("Device.ManagementServer.PeriodicInformInterval")
    assert (found.name, found.value, found.type) == (
        "Device.ManagementServer.PeriodicInformInterval",
        "1",
        "unsignedInt",
    )


@pytest.mark.case("R06")
def test_a_partial_path_gives_all_leaves_and_no_objects(model: DataModel) -> None:
    """Values only, in the order of the model."""
    names = [v.name for v in model.get("Device.DeviceInfo.")]
    assert names == [
        f"Device.DeviceInfo.{n}" for n in ("Manufacturer", "SoftwareVersion", "ProvisioningCode", "UpTime")
    ]


@pytest.mark.case("R07")
def test_the_empty_path_gives_everything(model: DataModel) -> None:
    """The same as the root object."""
    assert model.get("") == model.get("Device.")
    assert len(model.get("")) > 20


@pytest.mark.case("R08")
@pytest.mark.case("R12")
@pytest.mark.parametrize(
    "path",
    [
        "Device.DeviceInfo",
        "device.DeviceInfo.",
        "Device.DeviceInfo.uptime",
        "Device",
        "Device.DeviceInfo.UpTime.",
        "Device.Net.Interface.1.",
        "Device.Net.Interface",
        "Device.Net.{i}.",
        "Device.Net.Interface.{i}.Enable",
        "InternetGatewayDevice.",
        "Nothing",
    ],
)
def test_a_name_that_is_not_there_is_9005(model: DataModel, path: str) -> None:
    """An object without its dot, a wrong case, a missing row, a placeholder: all unknown names."""
    assert code_of(model.get, path) == 9005
    assert code_of(model.names, path, False) == 9005


@pytest.mark.case("R09")
def test_one_wrong_name_spoils_the_whole_read(model: DataModel) -> None:
    """All or nothing."""
    assert code_of(model.get_many, ["Device.DeviceInfo.UpTime", "Device.Nope"]) == 9005


@pytest.mark.case("R10")
@pytest.mark.case("X07")
def test_a_hidden_value_reads_as_empty_but_not_to_the_device(model: DataModel) -> None:
    """Passwords never leave; the agent itself can use them."""
    model.set_local("Device.ManagementServer.Password", "secret")
    assert model.get("Device.ManagementServer.Password")[0].value == ""
    assert [v.value for v in model.get("Device.ManagementServer.") if v.name.endswith("Password")] == [""]
    assert model.value("Device.ManagementServer.Password", reveal=True) == "secret"


@pytest.mark.case("R11")
def test_an_empty_table_gives_an_empty_list(model: DataModel) -> None:
    """No rows is no fault."""
    assert model.get("Device.Net.Interface.") == []


@pytest.mark.case("R26")
def test_next_level_of_an_object_gives_its_direct_children_only(model: DataModel) -> None:
    """Parameters and objects one level down, tables with their dot, the object itself left out."""
    names = [n.name for n in model.names("Device.", True)]
    assert names == ["Device.RootDataModelVersion", "Device.DeviceInfo.", "Device.ManagementServer.", "Device.Net."]


def test_next_level_of_a_table_gives_its_rows(model: DataModel) -> None:
    """Instances, not what is in them."""
    add(model, "Device.Net.Interface.", "Device.Net.Interface.")
    assert [n.name for n in model.names("Device.Net.Interface.", True)] == [
        "Device.Net.Interface.1.",
        "Device.Net.Interface.2.",
    ]


@pytest.mark.case("R27")
def test_all_levels_give_the_object_itself_and_everything_below(model: DataModel) -> None:
    """Empty tables are listed too."""
    names = [n.name for n in model.names("Device.Net.", False)]
    assert names[0] == "Device.Net."
    assert "Device.Net.Interface." in names
    assert "Device.Net.Slot.2.Name" in names
    assert len(names) == len(set(names))


@pytest.mark.case("R28")
def test_a_parameter_is_listed_alone_and_has_no_next_level(model: DataModel) -> None:
    """NextLevel with a parameter is 9003."""
    assert [n.name for n in model.names("Device.DeviceInfo.UpTime", False)] == ["Device.DeviceInfo.UpTime"]
    assert code_of(model.names, "Device.DeviceInfo.UpTime", True) == 9003


@pytest.mark.case("R29")
def test_the_empty_path_lists_the_root_or_everything(model: DataModel) -> None:
    """With NextLevel the root object alone."""
    assert [n.name for n in model.names("", True)] == ["Device."]
    assert model.names("", False) == model.names("Device.", False)


@pytest.mark.case("R31")
def test_writable_says_what_may_be_done_with_each_name(model: DataModel) -> None:
    """Parameters: settable; tables: rows may be added; instances: they may be deleted."""
    add(model, "Device.Net.Interface.")
    writable = {n.name: n.writable for n in model.names("Device.", False)}
    assert writable["Device.DeviceInfo.ProvisioningCode"]
    assert not writable["Device.DeviceInfo.UpTime"]
    assert writable["Device.Net.Interface."]
    assert writable["Device.Net.Interface.1."]
    assert not writable["Device.Net.Host."]
    assert not writable["Device.Net.Slot."]
    assert not writable["Device.Net.Slot.1."]
    assert writable["Device.Net.Slot.1.Name"]
    assert not writable["Device."]


@pytest.mark.case("D11")
def test_every_name_has_a_value_of_its_type(model: DataModel) -> None:
    """What GetParameterNames lists, GetParameterValues gives, and it fits the model."""
    add(model, "Device.Net.Interface.", "Device.Net.Route.", "Device.Net.Interface.1.Address.")
    values = {v.name: v for v in model.get("")}
    leaves = [n.name for n in model.names("", False) if not n.name.endswith(".")]
    assert sorted(values) == sorted(leaves)
    for name, found in values.items():
        definition = model.definition(name)
        assert definition.type == found.type
        assert definition.hidden or definition.check(found.value, device=True) == found.value


@pytest.mark.case("R56")
def test_an_alias_stands_for_its_row_where_the_device_takes_aliases(model: DataModel) -> None:
    """AliasBasedAddressing decides; without it such a path is unknown."""
    add(model, "Device.Net.Interface.[wan].")
    assert model.get("Device.Net.Interface.[wan].MTU")[0].name == "Device.Net.Interface.1.MTU"
    assert [v.value for v in model.get("Device.Net.Interface.[wan].")][2] == "wan"
    assert code_of(model.get, "Device.Net.Interface.[lan].MTU") == 9005
    model.set_local("Device.ManagementServer.AliasBasedAddressing", "false")
    assert code_of(model.get, "Device.Net.Interface.[wan].MTU") == 9005


@pytest.mark.case("R57")
def test_instance_mode_decides_how_paths_are_spelled(model: DataModel) -> None:
    """InstanceAlias: brackets everywhere a row has an alias, in names, values, attributes and references."""
    add(model, "Device.Net.Interface.[wan].", "Device.Net.Interface.1.Address.", "Device.Net.Route.[default].")
    with model.transaction(Writer.ACS) as change:
        change.set("Device.Net.Route.1.Interface", "Device.Net.Interface.1")
        change.set("Device.ManagementServer.InstanceMode", "InstanceAlias")
        change.commit()
    assert "Device.Net.Interface.[wan].Address.1.IP" in [v.name for v in model.get("Device.Net.")]
    assert model.get("Device.Net.Route.1.Interface")[0].value == "Device.Net.Interface.[wan]"
    assert model.get("Device.Net.Route.1.Interface")[0].name == "Device.Net.Route.[default].Interface"
    assert [n.name for n in model.names("Device.Net.Route.", True)] == ["Device.Net.Route.[default]."]
    assert "Device.Net.Route.[default]." in [n.name for n in model.names("", False)]
    assert model.attributes(["Device.Net.Route.1.Enable"])[0].name == "Device.Net.Route.[default].Enable"
    model.set_local("Device.ManagementServer.InstanceMode", "InstanceNumber")
    assert model.get("Device.Net.Route.1.Interface")[0].value == "Device.Net.Interface.1"


@pytest.mark.case("R60")
def test_a_wildcard_names_every_row(model: DataModel) -> None:
    """One entry per row; no rows give an empty list; but what no row could have is unknown all the same."""
    assert model.get("Device.Net.Interface.*.MTU") == []
    assert code_of(model.get, "Device.Net.Interface.*.Nope") == 9005
    assert code_of(model.get, "Device.Net.Interface.*.Address.*.Nope") == 9005
    assert code_of(model.get, "Device.Net.Interface.*.Address.Nope.IP") == 9005
    assert code_of(model.get, "Device.Net.Interface.*") == 9005
    add(model, "Device.Net.Interface.", "Device.Net.Interface.", "Device.Net.Interface.2.Address.")
    assert [v.name for v in model.get("Device.Net.Interface.*.MTU")] == [
        "Device.Net.Interface.1.MTU",
        "Device.Net.Interface.2.MTU",
    ]
    assert [v.name for v in model.get("Device.Net.Interface.*.Address.*.")] == ["Device.Net.Interface.2.Address.1.IP"]
    assert code_of(model.get, "Device.*.Manufacturer") == 9005
    model.set_local("Device.ManagementServer.InstanceWildcardsSupported", "false")
    assert code_of(model.get, "Device.Net.Interface.*.MTU") == 9005


@pytest.mark.case("D08")
def test_the_number_of_entries_is_the_number_of_rows(model: DataModel) -> None:
    """Whether read alone, with its object or with everything."""
    assert model.value("Device.Net.InterfaceNumberOfEntries") == "0"
    add(model, "Device.Net.Interface.", "Device.Net.Interface.", "Device.Net.Interface.1.Address.")
    assert model.value("Device.Net.InterfaceNumberOfEntries") == "2"
    assert model.value("Device.Net.Interface.1.AddressNumberOfEntries") == "1"
    assert {v.name: v.value for v in model.get("")}["Device.Net.InterfaceNumberOfEntries"] == "2"
    with model.transaction(Writer.ACS) as change:
        change.delete_object("Device.Net.Interface.1.")
        change.commit()
    assert model.value("Device.Net.InterfaceNumberOfEntries") == "1"


def test_a_fixed_table_always_has_its_rows(model: DataModel) -> None:
    """minEntries = maxEntries: rows 1 to n."""
    assert model.instances("Device.Net.Slot.") == [1, 2]


@pytest.mark.case("N08")
def test_forced_inform_parameters_are_those_the_device_has(model: DataModel) -> None:
    """In document order, with their real paths."""
    assert model.forced_inform() == [
        "Device.RootDataModelVersion",
        "Device.DeviceInfo.SoftwareVersion",
        "Device.ManagementServer.ParameterKey",
    ]


def test_the_root_data_model_version_is_that_of_the_schema(model: DataModel) -> None:
    """A device of Device:9.9 says 9.9."""
    assert model.value("Device.RootDataModelVersion") == "9.9"
