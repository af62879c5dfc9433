"""Outputs of iw and hostapd_cli, recorded, and what becomes of them."""

from cpe_support.wireless_outputs import DEV, PHY, STATIONS, SURVEY
from homeport.cpe.devices.linux import wireless


def test_interfaces_are_read_with_their_radio_and_escaped_names() -> None:
    """`iw dev`: bytes of an SSID that are not ASCII are escaped; an interface without a network device has no name and is left out."""
    first, second = wireless.parse_dev(DEV)
    assert (first.name, first.phy, first.mode, first.ssid) == ("wlan1", "phy1", "AP", "café")
    assert (first.channel, first.frequency, first.width, first.power) == (36, 5180, 80, 20.0)
    assert (second.name, second.phy, second.mode, second.channel) == ("wlan0", "phy0", "managed", 0)


def test_radios_are_read_with_bands_channels_and_standards() -> None:
    """`iw phy`: a disabled channel cannot be used; radar channels can."""
    first, second = wireless.parse_phy(PHY)
    assert first.phy == "phy0"
    assert first.bands == ("2.4GHz", "5GHz")
    assert first.channels == (1, 6, 36, 52)
    assert first.standards == ("b", "g", "a", "n", "ac")
    assert first.widths == (20, 40, 80)
    assert first.most_stations == 32
    assert (second.phy, second.channels, second.standards) == ("phy1", (1,), ("b", "g"))


def test_stations_are_read_with_what_they_say_of_the_air() -> None:
    """`iw dev NAME station dump`: what the access point sends is the station's downlink, in kbit/s."""
    first, second = wireless.parse_stations(STATIONS)
    assert (first.mac, first.signal, first.downlink, first.uplink) == ("02:00:00:00:02:00", -48, 866_700, 6_000)
    assert (first.sent_bytes, first.received_bytes, first.retries, first.failed) == (5386, 18816, 4, 1)
    assert (first.authorized, first.connected) == (True, 1029)
    assert (second.mac, second.authorized) == ("02:00:00:00:03:00", False)


def test_the_noise_is_that_of_the_channel_in_use() -> None:
    """`iw dev NAME survey dump` has a block for each channel."""
    assert wireless.parse_noise(SURVEY) == -95
    assert wireless.parse_noise("") is None


def test_hostapd_s_status_is_read() -> None:
    """`hostapd_cli status`."""
    text = "state=ENABLED\nchannel=36\nbeacon_int=100\ndtim_period=2\nbss[0]=wlan1\nssid[0]=home\nnum_sta[0]=2\n"
    found = wireless.parse_status(text)
    assert (found.state, found.ssid, found.channel, found.stations, found.beacon) == ("ENABLED", "home", 36, 2, 100)


def test_the_security_is_named_as_tr_181_names_it() -> None:
    """`hostapd_cli get_config`; the passphrase that it shows is not looked at."""
    assert wireless.parse_config("wpa=2\nkey_mgmt=WPA-PSK\npassphrase=secret\n") == "WPA2-Personal"
    assert wireless.parse_config("wpa=3\nkey_mgmt=WPA-PSK\n") == "WPA-WPA2-Personal"
    assert wireless.parse_config("wpa=2\nkey_mgmt=WPA-PSK SAE\n") == "WPA3-Personal-Transition"
    assert wireless.parse_config("wpa=2\nkey_mgmt=SAE\n") == "WPA3-Personal"
    assert wireless.parse_config("wpa=2\nkey_mgmt=WPA-EAP\n") == "WPA2-Enterprise"
    assert wireless.parse_config("wpa=0\n") == "None"


def test_nothing_comes_of_nothing() -> None:
    """A program that is missing, or fails, prints nothing."""
    assert wireless.parse_dev("") == []
    assert wireless.parse_phy("command failed: No such device (-19)") == []
    assert wireless.parse_stations("") == []
