"""Ways: Routing.Router.1, the main table of the kernel, live from netlink.

A row that an ACS adds is a draft until Enable is set; then it is made true. Routes that the kernel makes for an address are shown and not
changed. A default route has an empty destination and mask. Source: TR-181 2.19.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from homeport.cpe.clock import date_time
from homeport.cpe.devices.linux import facts, records
from homeport.cpe.devices.linux.context import IP, Context, column, refusing
from homeport.cpe.devices.linux.facts import GONE, OFF, ON, Fact
from homeport.cpe.devices.linux.records import Route
from homeport.cpe.devices.plugin import Plugin, Row
from homeport.errors import Fault
from homeport.terms import FaultCode

ROUTER: Final = "Device.Routing.Router.{i}."
V4: Final = ROUTER + "IPv4Forwarding.{i}."
V6: Final = ROUTER + "IPv6Forwarding.{i}."

_V4_KEY: Final = ("DestIPAddress", "DestSubnetMask", "GatewayIPAddress", "Interface", "ForwardingMetric")
_V6_KEY: Final = ("DestIPPrefix", "NextHop", "Interface", "ForwardingMetric")

ENDLESS: Final = "9999-12-31T23:59:59Z"
"""A time that never comes (TR-106 3.2.2)."""

_NO_METRIC: Final = -1
"""ForwardingMetric of a route without one."""


_V6_METRIC: Final = 1024
"""What the kernel makes of an IPv6 route without a metric (IP6_RT_PRIO_USER)."""


class Routes:
    """The router of this machine."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        self._plugin = plugin
        plugin.group(ROUTER, inline=True)(self.router)
        table = plugin.table(V4, key=_V4_KEY, inline=True)(self.v4)
        table.validate(self.check).apply(self.change_v4).undo(self.undo)
        table.add(self.add).delete(self.delete_v4)
        table = plugin.table(V6, key=_V6_KEY, inline=True)(self.v6)
        table.validate(self.check).apply(self.change_v6).undo(self.undo)
        table.add(self.add).delete(self.delete_v6)

    # --- rows ---------------------------------------------------------------------------------------------------------------------------

    def router(self, row: Row) -> Mapping[str, object]:
        """There is one, which the profile has from the factory: the kernel's main table."""
        return {"Enable": True, "Status": "Enabled"}

    def v4(self, router: Row) -> list[dict[str, Any]]:
        """IPv4 routes."""
        found = []
        for key, route, value in self._of(4):
            destination, gateway, name, metric = facts.route_of(key)
            network = ipaddress.IPv4Network(destination)
            default = destination == "0.0.0.0/0"
            found.append(
                {
                    **self._common(route, value, name, metric),
                    "DestIPAddress": "" if default else str(network.network_address),
                    "DestSubnetMask": "" if default else str(network.netmask),
                    "GatewayIPAddress": gateway,
                    "StaticRoute": route is None or route.protocol in (records.PROTOCOL_STATIC, records.PROTOCOL_BOOT),
                    "Origin": _V4_ORIGINS.get(route.protocol, "Static") if route is not None else "Static",
                    **self._context.changes.spelled.get(key, {}),
                }
            )
        return found

    def v6(self, router: Row) -> list[dict[str, Any]]:
        """IPv6 routes."""
        now, found = self._context.clock.now(), []
        for key, route, value in self._of(6):
            destination, gateway, name, metric = facts.route_of(key)
            origin = "Static"
            if route is not None and route.protocol == records.PROTOCOL_RA:
                origin = "RA"
            found.append(
                {
                    **self._common(route, value, name, metric),
                    "DestIPPrefix": destination,
                    "NextHop": gateway,
                    "Origin": origin,
                    "ExpirationTime": date_time(now + route.expires)
                    if route is not None and route.expires
                    else ENDLESS,
                    **self._context.changes.spelled.get(key, {}),
                }
            )
        return found

    def _common(self, route: Route | None, value: str, name: str, metric: int) -> dict[str, Any]:
        status = "Disabled" if value != ON else "Enabled" if route is not None else "Error"
        return {
            "Enable": value == ON,
            "Status": status,
            "Interface": self._plugin.path_of(IP, name),
            "ForwardingMetric": metric or _NO_METRIC,
        }

    def _of(self, family: int) -> list[tuple[str, Route | None, str]]:
        """(fact, route in the kernel or None, what is wanted): what is there, and what was asked for and is not."""
        network = self._context.network
        rows: dict[str, tuple[str, Route | None, str]] = {}
        for route in network.routes:
            if route.family == family:
                key = facts.route(route.destination, route.gateway, network.name(route.link), route.metric, ON).key
                rows[key] = (key, route, ON)
        for key, value in self._context.changes.held.items():
            if key.startswith("route ") and value in (ON, OFF):
                v6 = ":" in facts.route_of(key)[0]
                if v6 == (family == 6) and key not in rows:
                    rows[key] = (key, None, value)
        return list(rows.values())

    # --- writes -------------------------------------------------------------------------------------------------------------------------

    def add(self, row: Row) -> None:
        """A new row is a draft: it gets its values later. Called for a deletion that is taken back, too."""
        self._context.changes.take_back()

    def undo(self, row: Row, values: Mapping[str, Any]) -> None:
        """Take back all of the transaction; once is enough."""
        self._context.changes.take_back()

    def check(self, row: Row, name: str, value: Any) -> None:
        """What the ACS may write; the kernel's own routes go with their address."""
        refusing("Enable", *_V4_KEY, *_V6_KEY)(row, name, value)
        self._check_own(row)
        if name == "DestSubnetMask" and value:
            _length(str(value))
        if name == "Interface" and value and not self._name(str(value)):
            raise ValueError(
                f"{value} is not an IP interface of this device; expected for example Device.IP.Interface.2"
            )

    def change_v4(self, row: Row, values: Mapping[str, Any]) -> None:
        """Make a route, take it out of the table, or put another one in its place."""
        columns = {name: column(row, values, name) for name in _V4_KEY}
        destination = "0.0.0.0/0"
        if columns["DestIPAddress"]:
            length = _length(str(columns["DestSubnetMask"] or "255.255.255.255"))
            network = ipaddress.IPv4Network((str(columns["DestIPAddress"]), length), strict=False)
            if str(network.network_address) != str(columns["DestIPAddress"]):
                raise ValueError(f"{columns['DestIPAddress']} is not the first address of its network, {network}")
            destination = str(network)
        hop = str(columns["GatewayIPAddress"] or "")
        gateway = str(ipaddress.IPv4Address(hop)) if hop and hop != "0.0.0.0" else ""
        self._change(row, values, destination, gateway, columns)

    def change_v6(self, row: Row, values: Mapping[str, Any]) -> None:
        """The same for IPv6."""
        columns = {name: column(row, values, name) for name in _V6_KEY}
        destination = str(ipaddress.IPv6Network(str(columns["DestIPPrefix"] or "::/0")))
        hop = str(columns["NextHop"] or "")
        gateway = str(_v6(hop)) if hop and hop != "::" else ""
        self._change(row, values, destination, gateway, columns)

    def _change(
        self, row: Row, values: Mapping[str, Any], destination: str, gateway: str, columns: dict[str, Any]
    ) -> None:
        self._check_own(row)
        enabled = column(row, values, "Enable") in (True, "true", "1")
        had = self._fact(row)
        if had is None and not enabled and not gateway and not columns["Interface"]:
            return  # still a draft
        metric = max(0, int(columns["ForwardingMetric"] or 0))
        if not metric and ":" in destination:
            metric = _V6_METRIC
        link = self._name(str(columns["Interface"] or ""))
        if not link and gateway:
            way = self._context.network.netlink.route_to(gateway)
            link = self._context.network.name(way.link) if way is not None and not way.gateway else ""
        if not link and not gateway:
            raise ValueError("a route needs a gateway, an interface, or both")
        wanted = facts.route(destination, gateway, link, metric, ON if enabled else OFF)
        made: list[Fact] = []
        if had is not None and had != wanted.key:
            made.append(Fact(had, GONE))
        made.append(wanted)
        self._context.changes.do(made, spelled=self._spelled(wanted.key, columns))

    def _spelled(self, key: str, columns: dict[str, Any]) -> dict[str, dict[str, Any]]:
        destination, gateway, name, metric = facts.route_of(key)
        if ":" in destination:
            usual: dict[str, Any] = {"DestIPPrefix": destination, "NextHop": gateway}
        else:
            network = ipaddress.IPv4Network(destination)
            default = destination == "0.0.0.0/0"
            usual = {
                "DestIPAddress": "" if default else str(network.network_address),
                "DestSubnetMask": "" if default else str(network.netmask),
                "GatewayIPAddress": gateway,
            }
        usual |= {"Interface": self._plugin.path_of(IP, name), "ForwardingMetric": metric or _NO_METRIC}
        return (
            {key: columns} if {k: str(v) for k, v in columns.items()} != {k: str(v) for k, v in usual.items()} else {}
        )

    def delete_v4(self, row: Row) -> None:
        """Take a route out of the table."""
        self._check_own(row)
        key = self._fact(row)
        if key is not None:
            self._context.changes.do([Fact(key, GONE)])

    delete_v6 = delete_v4

    def _fact(self, row: Row) -> str | None:
        """The fact behind a row that is there, None for a draft."""
        if not row.values:
            return None
        names = _V6_KEY if "DestIPPrefix" in row.values else _V4_KEY
        family = 6 if names is _V6_KEY else 4
        rows = self.v6(row) if family == 6 else self.v4(row)
        for (key, _, _), values in zip(self._of(family), rows, strict=True):
            if all(str(values[n]) == str(row.values[n]) for n in names):
                return key
        return None

    def _check_own(self, row: Row) -> None:
        key = self._fact(row)
        route = next((r for k, r, _ in self._of(6 if "DestIPPrefix" in row.values else 4) if k == key), None)
        if route is not None and route.protocol == records.PROTOCOL_KERNEL:
            raise Fault(
                FaultCode.REQUEST_DENIED, f"the route to {route.destination} belongs to an address and goes with it"
            )

    def _name(self, path: str) -> str:
        """The link behind the path of an IP interface, "" where there is none."""
        wanted = path.rstrip(".")
        return next(
            (x.name for x in self._context.carriers() if wanted and self._plugin.path_of(IP, x.name) == wanted), ""
        )


_V4_ORIGINS: Final = {
    records.PROTOCOL_DHCP: "DHCPv4",
    records.PROTOCOL_RIP: "RIP",
    records.PROTOCOL_OSPF: "OSPF",
}


def _v6(text: str) -> ipaddress.IPv6Address:
    """Raises ValueError, also for a zone: which link it is, the row says elsewhere."""
    if "%" in text:
        raise ValueError(f"{text!r} has a zone; name the interface in Interface")
    return ipaddress.IPv6Address(text)


def _length(mask: str) -> int:
    bits = int(ipaddress.IPv4Address(mask))
    if bits != (0xFFFFFFFF << (32 - bits.bit_count())) & 0xFFFFFFFF:
        raise ValueError(f"{mask} is no subnet mask: its ones are not together, as in 255.255.255.0")
    return bits.bit_count()
