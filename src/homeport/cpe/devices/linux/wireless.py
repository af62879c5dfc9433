"""What `iw` and `hostapd_cli` print, as records. Text in, records out; who runs them is `commands`'s matter.

Source: the programs' own output (iw 5.19, hostapd 2.10); lines that are not known are passed over, since every version has others.
"""

import re
from typing import Final

from msgspec import Struct


class Radio(Struct, frozen=True):
    """A wireless chip. bands: `2.4GHz`, `5GHz`, `6GHz`. channels: those that may be used. standards: a, b, g, n, ac, ax."""

    phy: str
    bands: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    standards: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    most_stations: int = 0


class Interface(Struct, frozen=True):
    """A wireless interface. mode: AP, managed ... width: MHz, 0 where it is on no channel. power: dBm, None where unknown."""

    name: str
    phy: str = ""
    index: int = 0
    mac: str = ""
    ssid: str = ""
    mode: str = ""
    channel: int = 0
    frequency: int = 0
    width: int = 0
    power: float | None = None


class Station(Struct, frozen=True):
    """A device that is associated. signal: dBm. rates: kbit/s, as last used. connected: seconds."""

    mac: str
    signal: int = 0
    downlink: int = 0
    uplink: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    received_packets: int = 0
    retries: int = 0
    failed: int = 0
    connected: int = 0
    authorized: bool = False


_BANDS: Final = ((2400, 2500, "2.4GHz"), (4900, 5925, "5GHz"), (5925, 7200, "6GHz"))


def band_of(frequency: int) -> str:
    """The band of a frequency in MHz, "" where it is in none that TR-181 knows."""
    return next((name for low, high, name in _BANDS if low <= frequency < high), "")


def parse_dev(text: str) -> list[Interface]:
    """The output of `iw dev`."""
    found: list[Interface] = []
    phy = ""
    fields: dict[str, object] = {}

    def done() -> None:
        if fields:
            found.append(Interface(phy=phy, **fields))  # type: ignore[arg-type]
            fields.clear()

    for line in text.splitlines():
        head = re.fullmatch(r"phy#(\d+)", line.strip())
        if head:
            done()
            phy = f"phy{head[1]}"
            continue
        word, _, rest = line.strip().partition(" ")
        if word == "Interface":
            done()
            fields["name"] = rest
        elif not fields:
            continue
        elif word == "ifindex" and rest.isdecimal():
            fields["index"] = int(rest)
        elif word == "addr":
            fields["mac"] = rest
        elif word == "ssid":
            fields["ssid"] = _unescaped(rest)
        elif word == "type":
            fields["mode"] = rest
        elif word == "channel":
            match = re.match(r"(\d+) \((\d+) MHz\)(?:, width: (\d+) MHz)?", rest)
            if match:
                fields |= {"channel": int(match[1]), "frequency": int(match[2]), "width": int(match[3] or 0)}
        elif word == "txpower":
            match = re.match(r"(-?[\d.]+) dBm", rest)
            if match:
                fields["power"] = float(match[1])
        elif word.startswith("multicast"):
            continue
    done()
    return found


def _unescaped(text: str) -> str:
    r"""An SSID as iw prints it: bytes that are not printable as \xNN."""
    raw = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda m: bytes([int(m[1], 16)]), text.encode())
    return raw.decode("utf-8", "replace")


def parse_phy(text: str) -> list[Radio]:
    """The output of `iw phy`: one or all radios."""
    found = []
    for part in re.split(r"^(?=Wiphy )", text, flags=re.MULTILINE):
        head = re.match(r"Wiphy (\S+)", part)
        if not head:
            continue
        frequencies = [
            (int(m[1]), int(m[2])) for m in re.finditer(r"\* (\d+)(?:\.\d+)? MHz \[(\d+)\](?!.*disabled)", part)
        ]
        bands = dict.fromkeys(b for f, _ in frequencies if (b := band_of(f)))
        widths = {20}
        if "HT20/HT40" in part or "HT Capability overview" in part or "HT40" in part:
            widths.add(40)
        if "VHT Capabilities" in part or re.search(r"HE40/HE80|HE80/5GHz", part):
            widths.add(80)
        if re.search(r"Supported Channel Width: 160 MHz", part) or "HE160" in part:
            widths.add(160)
        most = re.search(r"Maximum associated stations in AP mode: (\d+)", part)
        found.append(
            Radio(
                phy=head[1],
                bands=tuple(bands),
                channels=tuple(dict.fromkeys(c for _, c in frequencies)),
                standards=_standards(part, bands),
                widths=tuple(sorted(widths)),
                most_stations=int(most[1]) if most else 0,
            )
        )
    return found


def _standards(part: str, bands: dict[str, None]) -> tuple[str, ...]:
    found = []
    if "2.4GHz" in bands:
        found += ["b", "g"]
    if "5GHz" in bands:
        found += ["a"]
    if "HT20" in part or re.search(r"^\s*Capabilities: 0x", part, re.MULTILINE):
        found.append("n")
    if "VHT Capabilities" in part:
        found.append("ac")
    if re.search(r"\bHE (?:Iftypes|MAC Capabilities|PHY Capabilities)", part):
        found.append("ax")
    if re.search(r"\bEHT (?:Iftypes|MAC Capabilities|PHY Capabilities)", part):
        found.append("be")
    return tuple(found)


_STATION_NUMBERS: Final = {
    "rx bytes": "received_bytes",
    "tx bytes": "sent_bytes",
    "rx packets": "received_packets",
    "tx packets": "sent_packets",
    "tx retries": "retries",
    "tx failed": "failed",
    "signal": "signal",
    "connected time": "connected",
}


def parse_stations(text: str) -> list[Station]:
    """The output of `iw dev NAME station dump`. What the access point sends is the station's downlink."""
    found = []
    for part in re.split(r"^(?=Station )", text, flags=re.MULTILINE):
        head = re.match(r"Station ([0-9a-f:]{17})", part)
        if not head:
            continue
        fields: dict[str, object] = {}
        for line in part.splitlines()[1:]:
            name, _, value = line.strip().partition(":")
            value = value.strip()
            number = re.match(r"-?\d+", value)
            if name in _STATION_NUMBERS and number:
                fields[_STATION_NUMBERS[name]] = int(number[0])
            elif name in ("tx bitrate", "rx bitrate"):
                rate = re.match(r"([\d.]+) MBit/s", value)
                if rate:
                    fields["downlink" if name.startswith("tx") else "uplink"] = round(float(rate[1]) * 1000)
            elif name == "authorized":
                fields["authorized"] = value == "yes"
        found.append(Station(mac=head[1], **fields))  # type: ignore[arg-type]
    return found


def parse_noise(text: str) -> int | None:
    """The noise on the channel in use in dBm, of `iw dev NAME survey dump`; None where it says none."""
    for part in re.split(r"^(?=Survey data)", text, flags=re.MULTILINE):
        if "[in use]" in part:
            match = re.search(r"noise:\s*(-?\d+) dBm", part)
            return int(match[1]) if match else None
    return None


class AccessPoint(Struct, frozen=True):
    """What hostapd says of one of its interfaces. mode: as TR-181 names the security. beacon, dtim: 0 where unknown."""

    state: str = ""
    ssid: str = ""
    bssid: str = ""
    channel: int = 0
    beacon: int = 0
    dtim: int = 0
    stations: int = 0
    mode: str = ""
    hidden: bool = False


def parse_status(text: str) -> AccessPoint:
    """The output of `hostapd_cli status`: `name=value` lines; those of the first interface count."""
    values = _pairs(text)
    return AccessPoint(
        state=values.get("state", ""),
        ssid=values.get("ssid[0]", ""),
        bssid=values.get("bssid[0]", ""),
        channel=_number(values.get("channel", "")),
        beacon=_number(values.get("beacon_int", "")),
        dtim=_number(values.get("dtim_period", "")),
        stations=_number(values.get("num_sta[0]", "")),
    )


def parse_config(text: str) -> str:
    """The security of an access point, as TR-181 names it, from `hostapd_cli get_config`. The passphrase in it is not looked at."""
    values = _pairs(text)
    if values.get("wpa", "0") == "0" and "key_mgmt" not in values:
        return "None"
    management = values.get("key_mgmt", values.get("wpa_key_mgmt", ""))
    version = values.get("wpa", "2")
    if "SAE" in management:
        return "WPA3-Personal-Transition" if "WPA-PSK" in management else "WPA3-Personal"
    enterprise = "EAP" in management
    kind = "Enterprise" if enterprise else "Personal"
    return {"1": f"WPA-{kind}", "3": f"WPA-WPA2-{kind}"}.get(version, f"WPA2-{kind}")


def _pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found.setdefault(name.strip(), value.strip())
    return found


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
