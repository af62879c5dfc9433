"""The simulated DKT device: what its parameters do while time passes and while ports are switched."""

import pytest

from cpe_support.virtual_clock import VirtualClock
from homeport.cpe.config import CpeSettings
from homeport.cpe.devices import device_for
from homeport.model.profile import load_profile
from homeport.model.tree import DataModel
from homeport.terms import Writer

PORT = "Device.Bridging.Bridge.1.Port.1."
OPTICAL = "Device.Optical.Interface.1."
ETHERNET = "Device.Ethernet.Interface."


class Dkt:
    """The device and its model; `later` lets seconds pass."""

    def __init__(self, serial: str = "4711") -> None:
        self.clock = VirtualClock()
        self.model = DataModel(load_profile("dkt-797xx"))
        self.model.set_local("Device.DeviceInfo.SerialNumber", serial)
        self.device = device_for("dkt-797xx", CpeSettings(), self.clock, started=0.0)
        self.device.attach(self.model)

    def later(self, seconds: float) -> None:
        self.clock._time += seconds

    def read(self, path: str) -> str:
        return self.model.value(path)

    def switch(self, port: str, enable: bool) -> None:
        self.model.set_local(port + "Enable", "true" if enable else "false", Writer.ACS)

    def counters(self, port: str) -> dict[str, int]:
        return {v.name.rpartition(".")[2]: int(v.value) for v in self.model.get(port + "Stats.")}


@pytest.fixture
def dkt():
    return Dkt()


def test_up_time_counts_seconds_since_the_start(dkt):
    """Device.DeviceInfo.UpTime."""
    dkt.later(61.9)
    assert dkt.read("Device.DeviceInfo.UpTime") == "61"


def test_the_product_class_is_known_though_the_model_lacks_it(dkt):
    """DKT's Inform names one."""
    assert dkt.device.product_class == "797xx"


def test_a_disabled_bridge_port_is_down_and_comes_back(dkt):
    """Status follows Enable."""
    assert dkt.read(PORT + "Status") == "Up"
    dkt.switch(PORT, False)
    assert dkt.read(PORT + "Status") == "Down"
    dkt.switch(PORT, True)
    assert dkt.read(PORT + "Status") == "Up"


def test_a_port_over_a_disabled_interface_says_that_the_layer_below_is_down(dkt):
    """The bridge's first port lies on the fibre."""
    dkt.switch(OPTICAL, False)
    assert dkt.read(OPTICAL + "Status") == "Down"
    assert dkt.read(PORT + "Status") == "LowerLayerDown"


def test_a_circle_of_lower_layers_is_an_error_and_no_endless_loop(dkt):
    """An ACS may write anything that exists."""
    other = "Device.Bridging.Bridge.1.Port.2."
    dkt.model.set_local(PORT + "LowerLayers", other.rstrip("."), Writer.ACS)
    dkt.model.set_local(other + "LowerLayers", PORT.rstrip("."), Writer.ACS)
    assert dkt.read(PORT + "Status") in ("Error", "LowerLayerDown")


def test_counters_only_grow_and_fit_each_other(dkt):
    """Unicast, multicast and broadcast make up the packets; bytes go with them."""
    before = dkt.counters(PORT)
    for _ in range(50):
        dkt.later(313.0)
        now = dkt.counters(PORT)
        assert all(now[name] >= before[name] for name in now)
        assert now["PacketsReceived"] > before["PacketsReceived"]
        for way in ("Received", "Sent"):
            assert now[f"Packets{way}"] == sum(
                now[f"{kind}Packets{way}"] for kind in ("Unicast", "Multicast", "Broadcast")
            )
            assert now[f"Bytes{way}"] >= 64 * now[f"Packets{way}"]
        before = now


def test_counters_stand_still_while_a_port_is_down(dkt):
    """And go on from there."""
    dkt.later(1000.0)
    dkt.switch(PORT, False)
    stopped = dkt.counters(PORT)
    dkt.later(1000.0)
    assert dkt.counters(PORT) == stopped
    dkt.switch(PORT, True)
    dkt.later(10.0)
    assert dkt.counters(PORT)["PacketsSent"] > stopped["PacketsSent"]


def test_optical_levels_drift_a_little_and_vanish_without_light(dkt):
    """Around -17.5 and -2 dBm, in 0.001 dBm."""
    levels = set()
    for _ in range(20):
        dkt.later(300.0)
        level = int(dkt.read(OPTICAL + "OpticalSignalLevel"))
        assert -18_000 < level < -17_000
        assert -2_200 < int(dkt.read(OPTICAL + "TransmitOpticalLevel")) < -1_800
        levels.add(level)
    assert len(levels) > 5
    dkt.switch(OPTICAL, False)
    assert dkt.read(OPTICAL + "OpticalSignalLevel") == "-40000"


def test_mac_addresses_come_from_oui_and_serial_number():
    """Different devices, different addresses; a link has its interface's."""
    one, two = Dkt("1"), Dkt("2")
    first = one.read(ETHERNET + "1.MACAddress")
    assert first.replace(":", "").startswith(one.read("Device.DeviceInfo.ManufacturerOUI"))
    assert first == Dkt("1").read(ETHERNET + "1.MACAddress")
    assert len({first, one.read(ETHERNET + "2.MACAddress"), two.read(ETHERNET + "1.MACAddress")}) == 3
    assert one.read("Device.Ethernet.Link.1.MACAddress") == first


def test_the_bit_rate_is_0_on_a_port_that_is_down_and_heeds_the_limit(dkt):
    """CurrentBitRate in Mbit/s."""
    assert dkt.read(ETHERNET + "1.CurrentBitRate") == "1000"
    dkt.model.set_local(ETHERNET + "1.MaxBitRate", "100", Writer.ACS)
    assert dkt.read(ETHERNET + "1.CurrentBitRate") == "100"
    dkt.switch(ETHERNET + "1.", False)
    assert dkt.read(ETHERNET + "1.CurrentBitRate") == "0"


def test_every_lower_layer_of_the_factory_state_resolves(dkt):
    """References point at objects that exist."""
    found = [v for v in dkt.model.get("Device.") if v.name.endswith(".LowerLayers") and v.value]
    assert found
    for reference in found:
        for item in reference.value.split(","):
            assert dkt.model.exists(item + "."), reference.name
