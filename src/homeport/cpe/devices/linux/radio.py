"""WiFi: radios, networks and access points as `iw` and hostapd tell of them, where the machine has any.

The programs are run in a thread, every half a minute. Hardware that is plugged in later shows up after the agent's next start. Everything
here is to be read; what a network is called and who may join it is hostapd's configuration. Source: TR-181 2.19.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from homeport.cpe.devices.linux import wireless
from homeport.cpe.devices.linux.commands import output
from homeport.cpe.devices.linux.context import RADIO, SSID, Context, refusing
from homeport.cpe.devices.linux.machine import read
from homeport.cpe.devices.plugin import Plugin, Row, refer

ACCESS_POINT: Final = "Device.WiFi.AccessPoint.{i}."
STATION: Final = ACCESS_POINT + "AssociatedDevice.{i}."

EVERY: Final = 30.0
"""Seconds between looks."""

Run = Callable[..., str]


class Wifi:
    """The wireless side of one machine. run: `output(program, *arguments)`."""

    def __init__(self, context: Context, plugin: Plugin, *, run: Run = output) -> None:
        self._context = context
        self._plugin = plugin
        self._run = run
        plugin.table(RADIO, key="Name", poll=EVERY)(self.radios).validate(refusing())
        plugin.table(SSID, key="Name", poll=EVERY)(self.networks).validate(refusing())
        plugin.group(SSID + "Stats.", inline=True)(self.statistics)
        plugin.table(ACCESS_POINT, key="SSIDReference", poll=EVERY)(self.access_points).validate(refusing())
        plugin.table(STATION, key="MACAddress", volatile=True, poll=EVERY)(self.stations)

    def radios(self) -> list[dict[str, Any]]:
        """WiFi.Radio: a row for each chip."""
        interfaces = wireless.parse_dev(self._run("iw", "dev"))
        found = []
        for radio in wireless.parse_phy(self._run("iw", "phy")):
            mine = [x for x in interfaces if x.phy == radio.phy]
            on = next((x for x in mine if x.channel), None)
            row: dict[str, Any] = {
                "Enable": bool(mine),
                "Status": "Up" if on is not None else "Down",
                "Name": radio.phy,
                "SupportedFrequencyBands": list(radio.bands),
                "SupportedStandards": list(radio.standards),
                "OperatingStandards": list(radio.standards),
                "PossibleChannels": [str(c) for c in radio.channels],
                "MaxSupportedAssociations": radio.most_stations,
                "SupportedOperatingChannelBandwidths": [f"{w}MHz" for w in radio.widths],
            }
            if on is not None:
                row |= {
                    "OperatingFrequencyBand": wireless.band_of(on.frequency),
                    "Channel": on.channel,
                    "ChannelsInUse": [str(on.channel)],
                    "CurrentOperatingChannelBandwidth": f"{on.width or 20}MHz",
                }
                noise = wireless.parse_noise(self._run("iw", "dev", on.name, "survey", "dump"))
                if noise is not None:
                    row["Stats.Noise"] = noise
            found.append(row)
        return found

    def networks(self) -> list[dict[str, Any]]:
        """WiFi.SSID: a row for each wireless interface."""
        return [
            {
                "Enable": self._up(x.name),
                "Status": "Up" if x.channel and self._up(x.name) else "Down",
                "Name": x.name,
                "LowerLayers": refer(RADIO, x.phy),
                "BSSID": x.mac.upper(),
                "MACAddress": x.mac.upper(),
                "SSID": x.ssid[:32],
            }
            for x in wireless.parse_dev(self._run("iw", "dev"))
            if x.name
        ]

    def access_points(self) -> list[dict[str, Any]]:
        """WiFi.AccessPoint: a row for each interface that is one."""
        found = []
        for x in wireless.parse_dev(self._run("iw", "dev")):
            reference = self._plugin.path_of(SSID, x.name)
            if x.mode != "AP" or not reference:
                continue
            told = wireless.parse_status(self._run("hostapd_cli", "-i", x.name, "status"))
            mode = wireless.parse_config(self._run("hostapd_cli", "-i", x.name, "get_config")) if told.state else "None"
            found.append(
                {
                    "Enable": True,
                    "Status": "Enabled" if x.channel else "Disabled",
                    "SSIDReference": reference,
                    "Security.ModeEnabled": mode,
                }
            )
        return found

    def stations(self, point: Row) -> list[dict[str, Any]]:
        """WiFi.AccessPoint.{i}.AssociatedDevice: who is associated."""
        name = self._name(str(point.key))
        if not name:
            return []
        return [
            {
                "MACAddress": s.mac.upper(),
                "AuthenticationState": s.authorized,
                "LastDataDownlinkRate": max(1000, min(s.downlink, 600_000_000)) if s.downlink else None,
                "LastDataUplinkRate": max(1000, min(s.uplink, 600_000_000)) if s.uplink else None,
                "SignalStrength": max(-200, min(0, s.signal)),
                "Retransmissions": min(s.retries, 100),
                "Active": True,
                "Stats.BytesSent": s.sent_bytes,
                "Stats.BytesReceived": s.received_bytes,
                "Stats.PacketsSent": s.sent_packets,
                "Stats.PacketsReceived": s.received_packets,
                "Stats.RetransCount": s.retries,
            }
            for s in wireless.parse_stations(self._run("iw", "dev", name, "station", "dump"))
        ]

    def statistics(self, row: Row) -> Mapping[str, int]:
        """WiFi.SSID.{i}.Stats, from netlink as for every link."""
        return self._context.statistics(str(row.key))

    def _up(self, name: str) -> bool:
        # Not from netlink: this runs in a thread of its own, and the socket is the loop's.
        return read(self._context.root / "sys/class/net" / name / "operstate") not in ("", "down")

    def _name(self, path: str) -> str:
        """The interface behind the path of a row of WiFi.SSID, "" where it is gone."""
        names = [x.name for x in wireless.parse_dev(self._run("iw", "dev"))]
        return next((n for n in names if self._plugin.path_of(SSID, n) == path), "")
