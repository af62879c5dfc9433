"""Device profiles and shipped models: what they hold, and how they are loaded."""

import re
from pathlib import Path

import pytest

from homeport.errors import ConfigError, Fault
from homeport.model.path import generic
from homeport.model.profile import list_profiles, load_profile, load_profile_file, parse_profile
from homeport.model.schema import list_schemas, load_schema
from homeport.model.tree import DataModel
from homeport.terms import Writer

# What the maker's document lists, with the types and access that TR-181 2.9 gives these names: (object, "Name type access ...").
_COUNTERS = " ".join(
    f"{kind}{way}"
    for kind in ("Bytes", "Packets", "UnicastPackets", "MulticastPackets", "BroadcastPackets")
    for way in ("Sent", "Received")
)
_ERRORS = "DiscardPacketsSent DiscardPacketsReceived ErrorsSent ErrorsReceived UnknownProtoPacketsReceived"
_INTERFACE_STATUS = "Up Down Unknown Dormant NotPresent LowerLayerDown Error"
DKT = {
    "DeviceInfo.": {
        "string ro": "Manufacturer ManufacturerOUI ModelName SerialNumber HardwareVersion SoftwareVersion Description",
        "unsignedInt ro": "UpTime",
        "string rw": "ProvisioningCode",
    },
    "ManagementServer.": {
        "string rw": "URL Username Password ConnectionRequestUsername ConnectionRequestPassword",
        "string ro": "ConnectionRequestURL ParameterKey",
        "boolean rw": "PeriodicInformEnable UpgradesManaged",
        "unsignedInt rw": "PeriodicInformInterval CWMPRetryMinimumWaitInterval CWMPRetryIntervalMultiplier",
        "dateTime rw": "PeriodicInformTime",
    },
    "Bridging.": {"unsignedInt ro": "BridgeNumberOfEntries MaxBridgeEntries"},
    "Bridging.Bridge.{i}.": {"boolean rw": "Enable", "string ro": "Status", "unsignedInt ro": "PortNumberOfEntries"},
    "Bridging.Bridge.{i}.Port.{i}.": {"boolean rw": "Enable ManagementPort", "string rw": "Alias LowerLayers", "string ro": "Name Status"},
    "Bridging.Bridge.{i}.Port.{i}.Stats.": {"unsignedLong ro": _COUNTERS, "unsignedInt ro": _ERRORS},
    "Ethernet.": {"unsignedInt ro": "InterfaceNumberOfEntries LinkNumberOfEntries"},
    "Ethernet.Interface.{i}.": {
        "boolean rw": "Enable",
        "string rw": "Alias DuplexMode",
        "string ro": "Status Name MACAddress",
        "int rw": "MaxBitRate",
        "unsignedInt ro": "CurrentBitRate",
        "boolean ro": "Upstream",
    },
    "Ethernet.Interface.{i}.Stats.": {"unsignedLong ro": _COUNTERS, "unsignedInt ro": _ERRORS},
    "Ethernet.Link.{i}.": {"boolean rw": "Enable", "string rw": "Alias LowerLayers", "string ro": "Status Name MACAddress"},
    "Ethernet.Link.{i}.Stats.": {"unsignedLong ro": _COUNTERS, "unsignedInt ro": _ERRORS},
    "Optical.": {"unsignedInt ro": "InterfaceNumberOfEntries"},
    "Optical.Interface.{i}.": {
        "boolean rw": "Enable",
        "string rw": "Alias",
        "string ro": "Name Status",
        "boolean ro": "Upstream",
        "int ro": "OpticalSignalLevel TransmitOpticalLevel",
    },
    "Optical.Interface.{i}.Stats.": {
        "unsignedLong ro": "BytesSent BytesReceived PacketsSent PacketsReceived",
        "unsignedInt ro": "ErrorsSent ErrorsReceived",
    },
}  # fmt: skip


def expected() -> dict[str, str]:
    return {
        f"Device.{head}{name}": kind
        for head, kinds in DKT.items()
        for kind, names in kinds.items()
        for name in names.split()
    }


def dkt() -> DataModel:
    return DataModel(load_profile("dkt-797xx"))


def test_the_dkt_profile_has_exactly_the_parameters_of_its_makers_list() -> None:
    """Each with the type and access of TR-181 2.9."""
    model = dkt()
    found = {}
    for name in model.names("Device.", False):
        if not name.name.endswith("."):
            definition = model.definition(name.name)
            assert definition.writable == name.writable
            found[generic(name.name)] = f"{definition.type} {'rw' if name.writable else 'ro'}"
    assert found == expected()
    assert len(found) == 109


def test_the_dkt_profile_has_the_129_names_of_the_document() -> None:
    """109 parameters and 20 objects, tables and rows counted apart, as the document counts them."""
    names = {re.sub(r"\{i\}", "1", generic(n.name)).removesuffix(".") for n in dkt().names("Device.", False)}
    assert len(names - {"Device"}) == 129


def test_the_dkt_profile_equals_the_document_where_that_is_at_hand() -> None:
    """The names of the seed document itself."""
    folder = Path(__file__).parents[4] / "shared" / "seeds"
    files = sorted(folder.glob("000_*.txt"))
    if not files:
        pytest.skip(f"the maker's document is not in {folder}")
    lines = (
        line.split()[0]
        for line in files[0].read_text(encoding="utf-8").splitlines()
        if re.match(r"Device(\.|\Z)", line.strip())
    )
    document = {re.sub(r"\.(<n>|1)(?=\.|\Z)", ".1", name) for name in lines}
    names = {re.sub(r"\.\d+(?=\.|\Z)", ".1", n.name.removesuffix(".")) for n in dkt().names("Device.", False)}
    assert names == document


def test_the_dkt_device_has_the_instances_that_it_is_sold_with() -> None:
    """One bridge of two ports, two Ethernet interfaces with their links, one optical interface."""
    model = dkt()
    assert model.instances("Device.Bridging.Bridge.") == [1]
    assert model.instances("Device.Bridging.Bridge.1.Port.") == [1, 2]
    assert model.instances("Device.Ethernet.Interface.") == [1, 2]
    assert model.instances("Device.Ethernet.Link.") == [1, 2]
    assert model.instances("Device.Optical.Interface.") == [1]
    assert model.value("Device.Ethernet.Link.1.LowerLayers") == "Device.Ethernet.Interface.1"
    assert model.value("Device.Bridging.Bridge.1.PortNumberOfEntries") == "2"
    assert model.value("Device.Bridging.MaxBridgeEntries") == "1"
    with model.transaction(Writer.ACS) as change, pytest.raises(Fault) as caught:
        change.add_object("Device.Bridging.Bridge.")
    assert caught.value.code == 9001


@pytest.mark.case("N08")
def test_the_dkt_device_lacks_two_forced_inform_parameters() -> None:
    """RootDataModelVersion and AliasBasedAddressing are not in its model, nor is ProductClass."""
    model = dkt()
    assert sorted(model.forced_inform()) == [
        "Device.DeviceInfo.HardwareVersion",
        "Device.DeviceInfo.ProvisioningCode",
        "Device.DeviceInfo.SoftwareVersion",
        "Device.ManagementServer.ConnectionRequestURL",
        "Device.ManagementServer.ParameterKey",
    ]
    assert not model.exists("Device.DeviceInfo.ProductClass")


@pytest.mark.case("R56")
def test_the_dkt_device_takes_no_aliases_in_paths() -> None:
    """It has no AliasBasedAddressing, though its rows have aliases."""
    model = dkt()
    assert model.value("Device.Ethernet.Interface.1.Alias") == "cpe-1"
    with pytest.raises(Fault) as caught:
        model.get("Device.Ethernet.Interface.[cpe-1].Enable")
    assert caught.value.code == 9005


@pytest.mark.case("D11")
def test_every_dkt_value_fits_its_type() -> None:
    """Factory values included; passwords read as empty."""
    model = dkt()
    for found in model.get(""):
        definition = model.definition(found.name)
        assert definition.check(found.value, device=True) == found.value
    assert model.definition("Device.ManagementServer.Password").hidden
    assert model.definition("Device.ManagementServer.ConnectionRequestPassword").hidden


def test_interface_states_are_those_of_the_standard() -> None:
    """Status of ports, interfaces and links."""
    for path in ("Bridging.Bridge.1.Port.1", "Ethernet.Interface.1", "Ethernet.Link.1", "Optical.Interface.1"):
        values = [e.value for e in dkt().definition(f"Device.{path}.Status").syntax.enumeration]
        assert sorted(values) == sorted(_INTERFACE_STATUS.split())


@pytest.mark.case("D11")
@pytest.mark.parametrize("name", ["Device:2.19", "Device:2.9", "Device:2.2", "Device:1", "InternetGatewayDevice:1.14"])
def test_a_device_of_a_whole_model_has_valid_values(name: str) -> None:
    """Every object that is always there, every value of its type."""
    model = DataModel(load_schema(name))
    values = model.get("")
    assert {v.name for v in values} == {n.name for n in model.names("", False) if not n.name.endswith(".")}
    for found in values:
        model.definition(found.name).check(found.value, device=True)


@pytest.mark.case("N09")
def test_an_internet_gateway_informs_of_its_default_connections_address() -> None:
    """The one that DefaultConnectionService names, or else the first; not those of all connections."""
    model = DataModel(load_schema("InternetGatewayDevice:1.14"))
    root = "InternetGatewayDevice."
    with model.transaction(Writer.SYSTEM) as change:
        change.add_object(root + "WANDevice.")
        change.add_object(root + "WANDevice.1.WANConnectionDevice.")
        for _ in range(2):
            change.add_object(root + "WANDevice.1.WANConnectionDevice.1.WANIPConnection.")
        change.commit()
    forced = model.forced_inform()
    for name in (
        "DeviceSummary",
        "DeviceInfo.SpecVersion",
        "DeviceInfo.HardwareVersion",
        "DeviceInfo.ProvisioningCode",
    ):
        assert root + name in forced
    connection = root + "WANDevice.1.WANConnectionDevice.1.WANIPConnection."
    assert [p for p in forced if "External" in p] == [connection + "1.ExternalIPAddress"]
    model.set_local(root + "Layer3Forwarding.DefaultConnectionService", connection + "2")
    assert [p for p in model.forced_inform() if "External" in p] == [connection + "2.ExternalIPAddress"]


@pytest.mark.case("N11")
@pytest.mark.parametrize(
    ("leaf", "text", "fine"),
    [
        ("ParameterName", "Device.DeviceInfo.UpTime", True),
        ("ParameterName", "Device.IP.Interface.*.Status", True),
        ("ParameterName", "Device.DeviceInfo.SoftwareVersion", False),
        ("ParameterName", "not a path", False),
        ("EventList", "2 PERIODIC", True),
        ("EventList", "2 PERIODIC,4 VALUE CHANGE", False),
        ("EventList", "2%20PERIODIC,4%20VALUE%20CHANGE", False),
    ],
)
def test_an_inform_parameter_row_says_only_what_it_may(leaf: str, text: str, fine: bool) -> None:
    """A forced parameter and the event 4 VALUE CHANGE are 9007."""
    model = DataModel(load_schema("Device:2.19"))
    with model.transaction(Writer.ACS) as change:
        change.add_object("Device.ManagementServer.InformParameter.")
        change.commit()
    with model.transaction(Writer.ACS) as change:
        change.set(f"Device.ManagementServer.InformParameter.1.{leaf}", text)
        if fine:
            assert change.commit() == 0
        else:
            with pytest.raises(Fault) as caught:
                change.commit()
            assert [int(p.code) for p in caught.value.parameters] == [9007]


def test_a_service_is_mounted_below_services() -> None:
    """Its table, its NumberOfEntries, and references inside it."""
    schema = load_schema("Device:2.9", "VoiceService:2.0", "STBService:1.4")
    model = DataModel(schema)
    assert model.value("Device.Services.VoiceServiceNumberOfEntries") == "0"
    with model.transaction(Writer.SYSTEM) as change:
        change.add_object("Device.Services.VoiceService.")
        change.add_object("Device.Services.VoiceService.1.SIP.Client.")
        change.add_object("Device.Services.VoiceService.1.CallControl.Line.")
        change.set(
            "Device.Services.VoiceService.1.CallControl.Line.1.Provider", "Device.Services.VoiceService.1.SIP.Client.1"
        )
        change.commit()
    assert model.value("Device.Services.VoiceServiceNumberOfEntries") == "1"
    assert model.value("Device.Services.STBServiceNumberOfEntries") == "0"
    with pytest.raises(ConfigError, match="service model"):
        DataModel(load_schema("VoiceService:2.0"))


def test_a_short_name_means_the_newest_shipped_model() -> None:
    """`Device:2` is 2.19 today, `Device:1` 1.14."""
    assert load_schema("Device:2").name == "Device:2.19"
    assert load_schema("Device:1").name == "Device:1.14"
    assert load_schema("FAPService").name == "FAPService:2.1"
    assert load_schema("Device:2.9") is load_schema("Device:2.9")
    with pytest.raises(ConfigError, match=r"there is no model Device:3\.0; the shipped ones are"):
        load_schema("Device:3.0")
    assert len(list_schemas()) == 10


def test_a_missing_profile_is_said_with_those_that_are_there() -> None:
    """The cure is in the message."""
    assert "dkt-797xx" in list_profiles()
    with pytest.raises(ConfigError, match="dkt-797xx"):
        load_profile("nope")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("=", "not TOML"),
        ('name = "x"\nmodel = "Device:2.9"', "the field parameters is missing"),
        ('name = "x"\nmodel = "Device:2.9"\nparameters = []\ncolour = 1', "colour is not a field"),
        (
            'name = "x"\nmodel = "Device:2.9"\nparameters = ["Device.DeviceInfo.Nope"]',
            "has no parameter Device.DeviceInfo.Nope",
        ),
        ('name = "x"\nmodel = "Device:2.9"\nparameters = "all"', "must be a list"),
        ('name = "x"\nmodel = "Device:2.9"\nparameters = []\nobjects = ["Device.Nope."]', "has no object Device.Nope."),
    ],
)
def test_a_wrong_profile_file_is_said_with_its_field(text: str, complaint: str) -> None:
    """Which file, which field, what is wrong."""
    with pytest.raises(ConfigError, match=re.escape(complaint)) as caught:
        parse_profile(text, origin="mine.toml")
    assert str(caught.value).startswith(("mine.toml", "profile x"))


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ('[values]\n"Device.DeviceInfo.Nope" = 1', "is not a parameter of this profile"),
        ('[values]\n"Device.Ethernet.Interface.1.Enable" = true', "does not exist"),
        ('instances = ["Device.DeviceInfo."]', "is not an instance of a table"),
        ('instances = ["Device.Nope.1."]', "does not exist"),
    ],
)
def test_instances_and_values_that_do_not_fit_are_refused(more: str, complaint: str) -> None:
    """When the first device of the profile is made."""
    text = f'name = "x"\nmodel = "Device:2.9"\nparameters = ["Device.DeviceInfo.UpTime", "Device.Ethernet.Interface.{{i}}.Enable"]\n{more}'
    with pytest.raises(ConfigError, match=complaint):
        DataModel(parse_profile(text, origin="mine.toml"))


def test_a_profile_of_ones_own_is_a_file(tmp_path: Path) -> None:
    """With typed TOML values."""
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\nmodel = "Device:2.19"\nparameters = ["Device.DeviceInfo.UpTime", "Device.Ethernet.Interface.{i}.Enable",'
        ' "Device.Ethernet.InterfaceNumberOfEntries"]\ninstances = ["Device.Ethernet.Interface.3"]\n'
        '[values]\n"Device.Ethernet.Interface.3.Enable" = true\n"Device.DeviceInfo.UpTime" = 12\n',
        encoding="utf-8",
    )
    model = DataModel(load_profile_file(file))
    assert {v.name: v.value for v in model.get("")} == {
        "Device.Ethernet.InterfaceNumberOfEntries": "1",
        "Device.Ethernet.Interface.3.Enable": "true",
        "Device.DeviceInfo.UpTime": "12",
    }
