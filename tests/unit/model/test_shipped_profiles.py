"""The device profiles that are shipped: they load, their factory values fit, and they have what an Inform needs."""

import pytest

from homeport.cpe.clock import SystemClock
from homeport.cpe.devices.simulated import SimulatedDevice
from homeport.errors import ConfigError
from homeport.model.checking import DumpRow, FindingKind, check_dump
from homeport.model.profile import list_profiles, load_profile, parse_profile
from homeport.model.tree import DataModel

PROFILES = ("dkt-797xx", "igd", "nas", "rdk-stb", "vega-gateway")


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_opens_with_values_that_fit(name: str) -> None:
    """Factory values are checked against the model when the tree is made; identity and management are there."""
    model = DataModel(load_profile(name))
    for leaf in ("DeviceInfo.Manufacturer", "DeviceInfo.ManufacturerOUI", "DeviceInfo.SoftwareVersion"):
        assert model.value(model.root + leaf), leaf
    for leaf in ("URL", "Username", "PeriodicInformInterval", "ConnectionRequestURL", "ParameterKey"):
        assert model.exists(f"{model.root}ManagementServer.{leaf}")
    assert model.value(f"{model.root}ManagementServer.PeriodicInformEnable") == "true"


@pytest.mark.parametrize("name", PROFILES)
def test_all_of_a_profile_reads_with_a_simulated_device(name: str) -> None:
    """GetParameterValues of the root answers every parameter, each with a text that its own type allows, after months as well."""
    model = DataModel(load_profile(name))
    SimulatedDevice(product_class="x", clock=SystemClock(), started=-1e7).attach(model)
    values = model.get(model.root)
    assert len(values) == model.count("") > 100
    for value in values:
        if value.value:
            model.definition(value.name).check(value.value, device=True)


@pytest.mark.parametrize(
    ("name", "model", "paths"),
    [
        ("vega-gateway", "Device:1.14", ("Device.Services.VoiceService.1.VoiceProfile.1.Line.4.SIP.URI",)),
        ("rdk-stb", "Device:2.2", ("Device.Services.STBService.1.Components.HDMI.1.ResolutionMode",)),
        ("nas", "Device:2.9", ("Device.Services.StorageService.1.StorageArray.1.RaidType",)),
        ("igd", "InternetGatewayDevice:1.14", ("InternetGatewayDevice.LANDevice.1.WLANConfiguration.1.SSID",)),
    ],
)
def test_each_kind_of_device_has_its_model(name: str, model: str, paths: tuple[str, ...]) -> None:
    """TR-104, TR-135, TR-140 and TR-098 stand where their standards put them."""
    profile = load_profile(name)
    assert profile.schema.name == model
    assert all(DataModel(profile).exists(path) for path in paths)


def test_every_shipped_profile_is_tested_here() -> None:
    """A profile that is added comes with its row above, or with tests of its own."""
    assert set(PROFILES) <= set(list_profiles())


def test_a_profile_may_name_objects_and_the_standards_own_profiles() -> None:
    """`parameters` with a dot at its end brings all below; `profiles` brings what the standard asks for; `without` takes away."""
    profile = parse_profile(
        'name = "x"\nmodel = "Device:1.14"\nservices = ["VoiceService:1.1"]\n'
        'profiles = ["Baseline:1", "VoiceService/SIPEndpoint:1"]\nparameters = ["Device.Time."]\n'
        'without = ["Device.Time.NTPServer5", "Device.DeviceInfo.DeviceStatus"]\nread_only = ["Device.Time.NTPServer1"]\n',
        origin="x.toml",
    )
    line = "Device.Services.VoiceService.{i}.VoiceProfile.{i}.Line.{i}."
    assert line + "SIP.URI" in profile.parameters and line + "Enable" in profile.parameters, (
        "SIPEndpoint includes Endpoint"
    )
    assert "Device.Time.NTPServer4" in profile.parameters and "Device.Time.NTPServer5" not in profile.parameters
    assert "Device.DeviceInfo.DeviceStatus" not in profile.parameters
    assert not profile.writable("Device.Time.NTPServer1") and profile.writable("Device.Time.NTPServer2")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('profiles = ["Baseline:9"]', "x.toml: Device:1.14 has no profile Baseline:9"),
        ('parameters = ["Device.Nothing."]', "x.toml: Device:1.14 has no object Device.Nothing."),
        ('without = ["Device.Time.Nothing"]', "x.toml: without names Device.Time.Nothing"),
    ],
)
def test_a_wrong_selection_is_refused(line: str, message: str) -> None:
    """A typing error in a profile file is found when it is loaded."""
    text = 'name = "x"\nmodel = "Device:1.14"\n' + (line if "parameters" in line else line + "\nparameters = []") + "\n"
    with pytest.raises(ConfigError) as caught:
        parse_profile(text, origin="x.toml")
    assert message in str(caught.value)


def test_a_services_profile_is_checked_where_the_service_stands() -> None:
    """TR-104 spells its profiles from its own top; a device has them below Services, and what is missing there is found."""
    model = DataModel(load_profile("vega-gateway"))
    rows = [DumpRow(v.name, v.value, v.type, None) for v in model.get("")]
    left_out = "Device.Services.VoiceService.1.VoiceProfile.1.SIP.ProxyServer"
    for name in ("VoiceService/SIPEndpoint:1", "SIPEndpoint:1"):
        assert not check_dump(rows, model.schema, profiles=[name])
        found = check_dump([r for r in rows if r.name != left_out], model.schema, profiles=[name])
        assert [(f.kind, f.path) for f in found] == [(FindingKind.MISSING, left_out)]
    assert "SIPEndpoint:1" in model.schema.profiles_with(left_out.replace(".1.", ".{i}."))
