"""What the tables of this package share: the machine's files, its network, its changes, the time; and how a write is refused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from homeport.cpe.clock import Clock
from homeport.cpe.devices.linux.changes import Changes
from homeport.cpe.devices.linux.machine import Port, port
from homeport.cpe.devices.linux.network import Network
from homeport.cpe.devices.linux.records import ETHER, Link
from homeport.cpe.devices.plugin import Row
from homeport.errors import Fault
from homeport.terms import FaultCode

INTERFACE: Final = "Device.Ethernet.Interface.{i}."
LINK: Final = "Device.Ethernet.Link.{i}."
IP: Final = "Device.IP.Interface.{i}."
BRIDGE: Final = "Device.Bridging.Bridge.{i}."
RADIO: Final = "Device.WiFi.Radio.{i}."
SSID: Final = "Device.WiFi.SSID.{i}."
"""Tables that others refer to, each by the name of its interface."""

_PORTS: Final = frozenset({"", "veth", "dummy", "tun", "ifb", "dsa", "netdevsim"})
"""Kinds of links that stand for a port: hardware, and what plays that part in a container or a laboratory."""


class Context:
    """One machine."""

    def __init__(self, network: Network, changes: Changes, clock: Clock, *, root: Path, directory: Path) -> None:
        """root: "/" on a real machine. directory: of the agent's state, for what is kept on the flash."""
        self.network = network
        self.changes = changes
        self.clock = clock
        self.root = root
        self.directory = directory
        self._since: dict[str, tuple[str, float]] = {}
        self._ports: dict[str, Port] = {}
        self._ports_of = -1

    # --- links ------------------------------------------------------------------------------------------------------------------------

    def ports(self) -> list[Link]:
        """Links that are an Ethernet port."""
        return [x for x in self.network.links if self.is_port(x)]

    def is_port(self, link: Link) -> bool:
        return link.hardware == ETHER and link.kind in _PORTS and not self.port(link).wireless

    def carriers(self) -> list[Link]:
        """Links that carry IP: those that are not themselves part of another one."""
        return [x for x in self.network.links if not x.master]

    def port(self, link: Link) -> Port:
        """What /sys says of a link; it is read anew when the kernel has told of links since."""
        if self._ports_of != self.network.link_events:
            self._ports_of = self.network.link_events
            self._ports.clear()
        found = self._ports.get(link.name)
        if found is None:
            found = self._ports[link.name] = port(link.name, self.root)
        return found

    def status(self, link: Link) -> str:
        """A link's Status as TR-181 names it."""
        if not link.up:
            return "Down"
        named = {"lowerlayerdown": "LowerLayerDown", "dormant": "Dormant", "notpresent": "NotPresent", "down": "Down"}
        if link.state in named:
            return named[link.state]
        return "Up"

    def last_change(self, link: Link) -> int:
        """Seconds since the status changed, or since the agent first saw it."""
        now, status = self.clock.monotonic(), self.status(link)
        known = self._since.get(link.name)
        if known is None or known[0] != status:
            known = self._since[link.name] = (status, now)
        return int(now - known[1])

    def upstream(self) -> set[str]:
        """Names of the links over which a default route leads."""
        return {self.network.name(r.link) for r in self.network.routes if r.destination in ("0.0.0.0/0", "::/0")}

    def statistics(self, name: str) -> dict[str, int]:
        """The Stats object of a link; what the kernel does not count is left out."""
        counted = self.network.counters(name)
        return {ours: counted[theirs] for ours, theirs in _STATISTICS.items() if theirs in counted}


_STATISTICS: Final = {
    "BytesSent": "tx_bytes",
    "BytesReceived": "rx_bytes",
    "PacketsSent": "tx_packets",
    "PacketsReceived": "rx_packets",
    "ErrorsSent": "tx_errors",
    "ErrorsReceived": "rx_errors",
    "DiscardPacketsSent": "tx_dropped",
    "DiscardPacketsReceived": "rx_dropped",
    "MulticastPacketsReceived": "multicast",
    "UnknownProtoPacketsReceived": "rx_nohandler",
}


def refusing(*writable: str) -> Callable[[Row, str, Any], None]:
    """A validator for a table: only these columns take a value; the others are what the machine says they are."""

    def check(row: Row, name: str, value: Any) -> None:
        if name not in writable:
            raise Fault(FaultCode.NOT_WRITABLE, f"{row.path}{name} follows the system and cannot be set")

    return check


def refusing_group(path: str, *writable: str) -> Callable[[str, Any], None]:
    """The same for an object without rows."""

    def check(name: str, value: Any) -> None:
        if name not in writable:
            raise Fault(FaultCode.NOT_WRITABLE, f"{path}{name} follows the system and cannot be set")

    return check


def column(row: Row, values: Mapping[str, Any], name: str) -> Any:
    """What a column of a row is going to be: what was asked for, what the machine says, or what the ACS wrote earlier."""
    if name in values:
        return values[name]
    return row.values[name] if name in row.values else row.stored(name)
