"""WiFi of the data model, from recorded outputs of the programs; the tables, the plug-in host and the model are real."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cpe_support.wireless_outputs import DEV, PHY, STATIONS, SURVEY
from homeport.cpe.clock import SystemClock
from homeport.cpe.devices.linux.changes import Changes
from homeport.cpe.devices.linux.context import Context
from homeport.cpe.devices.linux.device import has_radio
from homeport.cpe.devices.linux.facts import System
from homeport.cpe.devices.linux.network import Network
from homeport.cpe.devices.linux.radio import Wifi
from homeport.cpe.devices.plugin import Plugin
from homeport.cpe.devices.plugin_host import PluginHost
from homeport.model.profile import load_profile
from homeport.model.tree import DataModel

OUTPUTS = {
    ("iw", "dev"): DEV,
    ("iw", "phy"): PHY,
    ("iw", "dev", "wlan1", "station", "dump"): STATIONS,
    ("iw", "dev", "wlan1", "survey", "dump"): SURVEY,
    ("hostapd_cli", "-i", "wlan1", "status"): "state=ENABLED\nchannel=36\n",
    ("hostapd_cli", "-i", "wlan1", "get_config"): "wpa=2\nkey_mgmt=SAE\n",
}


@pytest.fixture
def model(tmp_path: Path) -> Iterator[DataModel]:
    clock = SystemClock()
    network = Network(clock.monotonic)
    context = Context(network, Changes(System(network), boot="b"), clock, root=tmp_path, directory=tmp_path)
    plugin = Plugin("wifi", extends=False)
    Wifi(context, plugin, run=lambda *command: OUTPUTS.get(command, ""))
    made = DataModel(load_profile("linux"))
    host = PluginHost([plugin], clock)
    host.attach(made)
    made.get("Device.WiFi.")
    yield made
    host.close()
    network.close()


def test_radios_networks_and_access_points_are_rows(model: DataModel) -> None:
    """Two chips, two interfaces, one of which is an access point on channel 36."""
    values = {v.name.removeprefix("Device.WiFi."): v.value for v in model.get("Device.WiFi.")}
    assert values["RadioNumberOfEntries"] == "2"
    assert values["Radio.1.Name"] == "phy0"
    assert values["Radio.1.SupportedFrequencyBands"] == "2.4GHz,5GHz"
    assert values["Radio.2.Status"] == "Up"
    assert values["Radio.2.Channel"] == "36"
    assert values["Radio.2.Stats.Noise"] == "-95"
    assert values["SSID.1.SSID"] == "café"
    assert values["SSID.1.LowerLayers"] == "Device.WiFi.Radio.2"
    assert values["AccessPointNumberOfEntries"] == "1"
    assert values["AccessPoint.1.SSIDReference"] == "Device.WiFi.SSID.1"
    assert values["AccessPoint.1.Security.ModeEnabled"] == "WPA3-Personal"


def test_stations_are_rows_of_their_access_point(model: DataModel) -> None:
    """With their signal, their rates in kbit/s and their counters."""
    model.get("Device.WiFi.")
    path = "Device.WiFi.AccessPoint.1.AssociatedDevice."
    values = {v.name.removeprefix(path): v.value for v in model.get(path)}
    assert values["1.MACAddress"] == "02:00:00:00:02:00"
    assert values["1.SignalStrength"] == "-48"
    assert values["1.LastDataDownlinkRate"] == "866700"
    assert values["1.Stats.BytesSent"] == "5386"
    assert values["2.AuthenticationState"] == "false"


def test_a_machine_without_a_radio_runs_nothing(tmp_path: Path) -> None:
    """Only the kernel is asked; the programs may not even be installed."""
    assert not has_radio(tmp_path)
    (tmp_path / "sys/class/ieee80211/phy0").mkdir(parents=True)
    assert has_radio(tmp_path)
