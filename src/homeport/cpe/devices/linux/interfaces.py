"""Links: Ethernet.Interface, Ethernet.Link, IP.Interface, Bridging and the InterfaceStack, live from netlink.

One Linux link shows up in several layers: eth0 is an Ethernet.Interface, has an Ethernet.Link above it and an IP.Interface on top. A
bridge br0 is a Bridging.Bridge whose management port (the bridge itself) carries the Ethernet.Link. Rows are known by the link's name.
Source: TR-181 2.19, interface stack in its Appendix I.
"""

from collections.abc import Mapping
from typing import Any, Final

from homeport.cpe.devices.linux import facts
from homeport.cpe.devices.linux.context import BRIDGE, INTERFACE, IP, LINK, SSID, Context, refusing
from homeport.cpe.devices.linux.machine import read, setting
from homeport.cpe.devices.linux.records import ETHER, Link
from homeport.cpe.devices.plugin import Plugin, Reference, Row, refer

PORT: Final = BRIDGE + "Port.{i}."

_PORT_STATES: Final = {0: "Disabled", 1: "Listening", 2: "Learning", 3: "Forwarding", 4: "Blocking"}
"""BR_STATE_* (linux/if_bridge.h)."""


class Interfaces:
    """The layers of the interface stack."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        self._plugin = plugin
        for path, rows in ((INTERFACE, self.interfaces), (LINK, self.links)):
            table = plugin.table(path, key="Name", inline=True)(rows)
            table.validate(refusing("Enable")).apply(self.change).undo(self.undo)
            plugin.group(path + "Stats.", inline=True)(self.statistics)
        table = plugin.table(IP, key="Name", inline=True)(self.ip_interfaces)
        table.validate(refusing("Enable", "MaxMTUSize")).apply(self.change).undo(self.undo)
        plugin.group(IP + "Stats.", inline=True)(self.statistics)
        table = plugin.table(BRIDGE, key="Name", inline=True)(self.bridges)
        table.validate(refusing("Enable")).apply(self.change).undo(self.undo)
        table = plugin.table(PORT, key="Name", inline=True)(self.bridge_ports)
        table.validate(refusing("Enable")).apply(self.change).undo(self.undo)
        plugin.group(PORT + "Stats.", inline=True)(self.statistics)

    # --- rows ---------------------------------------------------------------------------------------------------------------------------

    def interfaces(self) -> list[dict[str, Any]]:
        """Ethernet.Interface: the ports."""
        context, upstream = self._context, self._context.upstream()
        found = []
        for link in context.ports():
            port = context.port(link)
            found.append(
                {
                    **self._common(link),
                    "LowerLayers": "",
                    "Upstream": link.name in upstream or context.network.name(link.master) in upstream,
                    "MACAddress": link.mac.upper(),
                    "CurrentBitRate": port.speed if context.status(link) == "Up" else 0,
                    "CurrentDuplexMode": port.duplex.capitalize() or "Unknown",
                }
            )
        return found

    def links(self) -> list[dict[str, Any]]:
        """Ethernet.Link: the layer that carries IP, over a port, a bridge or a wireless network."""
        return [
            {
                **self._common(link),
                "LowerLayers": self._below_link(link),
                "MACAddress": link.mac.upper(),
                "MTU": link.mtu,
            }
            for link in self._context.carriers()
            if link.hardware == ETHER and link.mac
        ]

    def ip_interfaces(self) -> list[dict[str, Any]]:
        """IP.Interface: everything that can have an address."""
        found = []
        for link in self._context.carriers():
            ether = link.hardware == ETHER and bool(link.mac)
            if link.loopback:
                kind = "Loopback"
            else:
                kind = "Normal" if ether or link.kind in ("ppp", "wireguard", "") else "Tunnel"
            found.append(
                {
                    **self._common(link),
                    "LowerLayers": refer(LINK, link.name) if ether else "",
                    "Type": kind,
                    "MaxMTUSize": min(link.mtu, 65535),
                }
            )
        return found

    def bridges(self) -> list[dict[str, Any]]:
        """Bridging.Bridge."""
        return [
            {
                "Enable": link.up,
                "Status": "Enabled" if link.up else "Disabled",
                "Name": link.name,
                "Standard": "802.1Q-2011" if self._filters(link.name) else "802.1D-2004",
            }
            for link in self._context.network.links
            if link.kind == "bridge"
        ]

    def bridge_ports(self, bridge: Row) -> list[dict[str, Any]]:
        """Bridging.Bridge.{i}.Port: the bridge itself as its management port, then what belongs to it."""
        network = self._context.network
        own = network.find(str(bridge.key))
        if own is None:
            return []
        table = f"{bridge.path}Port.{{i}}."
        members = [link for link in network.links if link.master == own.index]
        rows = [
            {
                **self._common(own),
                "LowerLayers": [refer(table, link.name) for link in members],
                "ManagementPort": True,
                "PortState": "Forwarding" if own.up else "Disabled",
            }
        ]
        rows += [
            {
                **self._common(link),
                "LowerLayers": self._port_below(link),
                "ManagementPort": False,
                "PortState": _PORT_STATES.get(link.port_state, "Disabled"),
                "PathCost": link.port_cost,
                "Priority": link.port_priority,
            }
            for link in members
        ]
        return rows

    def statistics(self, row: Row) -> Mapping[str, int]:
        """Stats of a link, whichever layer the row belongs to."""
        return self._context.statistics(str(row.key))

    # --- writes -------------------------------------------------------------------------------------------------------------------------

    def change(self, row: Row, values: Mapping[str, Any]) -> None:
        """Switch a link on or off, or set its MTU."""
        name = str(row.key)
        wanted = []
        if "Enable" in values:
            wanted.append(facts.up(name, bool(values["Enable"])))
        if "MaxMTUSize" in values:
            wanted.append(facts.mtu(name, int(values["MaxMTUSize"])))
        self._context.changes.do(wanted)

    def undo(self, row: Row, values: Mapping[str, Any]) -> None:
        """Take back all of the transaction; once is enough."""
        self._context.changes.take_back()

    # --- helpers ------------------------------------------------------------------------------------------------------------------------

    def _common(self, link: Link) -> dict[str, Any]:
        context = self._context
        return {
            "Enable": link.up,
            "Status": context.status(link),
            "Name": link.name,
            "LastChange": context.last_change(link),
        }

    def _filters(self, name: str) -> bool:
        return read(self._context.root / "sys/class/net" / name / "bridge/vlan_filtering") == "1"

    def _below_link(self, link: Link) -> Reference | str:
        context = self._context
        if link.kind == "bridge":
            number = self._plugin.path_of(BRIDGE, link.name)
            return refer(f"{number}.Port.{{i}}.", link.name) if number else ""
        if context.port(link).wireless:
            return refer(SSID, link.name)
        if context.is_port(link):
            return refer(INTERFACE, link.name)
        parent = context.network.by_index(link.parent)
        return refer(INTERFACE, parent.name) if parent is not None and context.is_port(parent) else ""

    def _port_below(self, link: Link) -> Reference | str:
        if self._context.port(link).wireless:
            return refer(SSID, link.name)
        if self._context.is_port(link):
            return refer(INTERFACE, link.name)
        parent = self._context.network.by_index(link.parent)
        return refer(INTERFACE, parent.name) if parent is not None and self._context.is_port(parent) else ""


class Stack:
    """InterfaceStack: who is above whom. A plug-in of its own, so that its rows are found after those that they speak of."""

    def __init__(self, context: Context, interfaces: Interfaces, layers: Plugin, plugin: Plugin) -> None:
        """layers: the plug-in whose tables the stack is about."""
        self._context = context
        self._interfaces = interfaces
        self._layers = layers
        plugin.table("Device.InterfaceStack.{i}.", key=("HigherLayer", "LowerLayer"), inline=True)(self.rows)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each entry of each LowerLayers."""
        found = []
        for higher, below in self._pairs():
            for lower in below if isinstance(below, list) else [below]:
                path = self._layers.path_of(lower.path, lower.key) if isinstance(lower, Reference) else lower
                if higher and path:
                    found.append({"HigherLayer": higher, "LowerLayer": path})
        return found

    def _pairs(self) -> list[tuple[str, Any]]:
        layers, interfaces = self._layers, self._interfaces
        pairs = [(layers.path_of(IP, r["Name"]), r["LowerLayers"]) for r in interfaces.ip_interfaces()]
        pairs += [(layers.path_of(LINK, r["Name"]), r["LowerLayers"]) for r in interfaces.links()]
        for values in interfaces.bridges():
            path = layers.path_of(BRIDGE, values["Name"])
            if path:
                bridge = Row(path + ".", int(path.rpartition(".")[2]), values["Name"], values)
                table = f"{path}.Port.{{i}}."
                pairs += [(layers.path_of(table, r["Name"]), r["LowerLayers"]) for r in interfaces.bridge_ports(bridge)]
        return pairs


class Capabilities:
    """IP: what this machine can do at all."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        plugin.group("Device.IP.", inline=True)(self.values)
        plugin.parameter("Device.Bridging.MaxBridgeEntries", inline=True)(self.most_bridges)

    def values(self) -> Mapping[str, object]:
        """IPv4 always, IPv6 where the kernel has it and it is not switched off."""
        v6 = (self._context.root / "proc/net/if_inet6").exists()
        off = setting("net/ipv6/conf/all/disable_ipv6", self._context.root) == "1"
        return {
            "IPv4Capable": True,
            "IPv4Status": "Enabled",
            "IPv6Capable": v6,
            "IPv6Status": "Enabled" if v6 and not off else "Disabled",
        }

    def most_bridges(self) -> int:
        """As many as the data model shows rows."""
        return 256
