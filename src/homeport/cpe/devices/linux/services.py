"""What runs over the network: DNS.Client, DHCPv4, Hosts, NeighborDiscovery, and the people of this machine (Users).

Files of the services are read when somebody asks; hosts come from the kernel's neighbour tables and the leases of dnsmasq.
Source: TR-181 2.19.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from homeport.cpe.clock import date_time
from homeport.cpe.devices.linux import names
from homeport.cpe.devices.linux.context import INTERFACE, IP, SSID, Context, column, refusing, refusing_group
from homeport.cpe.devices.linux.facts import Fact
from homeport.cpe.devices.linux.leases import ClientLease, client_leases, server_leases
from homeport.cpe.devices.linux.machine import read, setting
from homeport.cpe.devices.linux.records import Neighbour
from homeport.cpe.devices.plugin import Plugin, Row, refer
from homeport.errors import Fault
from homeport.terms import FaultCode

SERVER: Final = "Device.DNS.Client.Server.{i}."
CLIENT: Final = "Device.DHCPv4.Client.{i}."
POOL: Final = "Device.DHCPv4.Server.Pool.{i}."
HOST: Final = "Device.Hosts.Host.{i}."
DISCOVERY: Final = "Device.NeighborDiscovery.InterfaceSetting.{i}."


class Resolver:
    """DNS.Client: the servers that this machine asks."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        plugin.group("Device.DNS.Client.", inline=True)(self.values).validate(refusing_group("Device.DNS.Client."))
        table = plugin.table(SERVER, key="DNSServer", inline=True)(self.servers)
        table.validate(self.check).apply(self.change).undo(self.undo).notify(self.told)
        table.add(self.add).delete(self.delete)

    def values(self) -> Mapping[str, object]:
        """The client is part of the C library and always there."""
        return {"Enable": True, "Status": "Enabled"}

    def servers(self) -> list[dict[str, Any]]:
        """The servers in the order in which they are asked, then those that an ACS switched off."""
        context = self._context
        leased = {a for lease in client_leases(context.root, now=context.clock.now()) for a in lease.dns}
        rows = [
            {"Enable": True, "Status": "Enabled", "DNSServer": a, "Type": "DHCPv4" if a in leased else "Static"}
            for a in names.dns_servers(context.root)
        ]
        off = context.changes.held.get("dns_off") or []
        rows += [{"Enable": False, "Status": "Disabled", "DNSServer": a, "Type": "Static"} for a in off]
        return rows

    def check(self, row: Row, name: str, value: Any) -> None:
        """What the ACS may write."""
        refusing("Enable", "DNSServer")(row, name, value)
        if name == "DNSServer" and value and not names.is_address(str(value)):
            raise ValueError(f"{str(value)!r} is not an address; a DNS server is named by its address")

    def add(self, row: Row) -> None:
        """A new row is a draft until it has an address. Called for a deletion that is taken back, too."""
        self._context.changes.take_back()

    def undo(self, row: Row, values: Mapping[str, Any]) -> None:
        """Take back all of the transaction."""
        self._context.changes.take_back()

    def change(self, row: Row, values: Mapping[str, Any]) -> None:
        """Put a server in, take it out, or put another one in its place."""
        had = str(row.get("DNSServer") or "")
        wanted = str(column(row, values, "DNSServer") or "")
        enabled = column(row, values, "Enable") in (True, "true", "1")
        self._put(had, wanted, enabled)

    def delete(self, row: Row) -> None:
        """Ask a server no more."""
        if row.values:
            self._put(str(row["DNSServer"]), "", False)

    def told(self, row: Row, values: Mapping[str, Any]) -> None:
        """Nothing more to do: the C library reads its file anew."""

    def _put(self, had: str, wanted: str, enabled: bool) -> None:
        changes = self._context.changes
        # A service that keeps the file up to date may not have done so yet for the row before this one.
        used = list(changes.asked("dns") or names.dns_servers(self._context.root))
        off = list(changes.held.get("dns_off") or [])
        at = used.index(had) if had in used else len(used)
        now = [a for a in used if a not in (had, wanted)]
        still_off = [a for a in off if a not in (had, wanted)]
        if wanted and enabled:
            now.insert(min(at, len(now)), wanted)
        elif wanted:
            still_off.append(wanted)
        made = [Fact("dns", now)] if now != used else []
        if still_off != off:
            made.append(Fact("dns_off", still_off))
        changes.do(made)


class Dhcp:
    """DHCPv4: what clients of this machine got, what its server gave."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        self._plugin = plugin
        plugin.table(CLIENT, key="Interface", inline=True)(self.clients).validate(refusing())
        plugin.group("Device.DHCPv4.Server.", inline=True)(self.server).validate(
            refusing_group("Device.DHCPv4.Server.")
        )
        plugin.table(POOL, key=("MinAddress", "MaxAddress"), inline=True)(self.pools).validate(refusing())
        leases = plugin.table(POOL + "Client.{i}.", key="Chaddr", volatile=True, inline=True)(self.leases)
        leases.validate(refusing())
        plugin.table(POOL + "Client.{i}.IPv4Address.{i}.", key="IPAddress", volatile=True, inline=True)(self.leased)

    def clients(self) -> list[dict[str, Any]]:
        """DHCPv4.Client: a row for each lease that holds, and whose address is really in use."""
        context = self._context
        now, found = context.clock.now(), []
        used = {(context.network.name(a.index), a.address) for a in context.network.addresses}
        for lease in client_leases(context.root, now=now):
            name = lease.interface or context.network.name(lease.link)
            interface = self._plugin.path_of(IP, name)
            if interface and (name, lease.address) in used:
                found.append(
                    {
                        "Enable": True,
                        "Interface": interface,
                        "Status": "Enabled",
                        "DHCPStatus": _dhcp_status(lease, now),
                        "IPAddress": lease.address,
                        "SubnetMask": lease.mask,
                        "IPRouters": list(lease.routers),
                        "DNSServers": list(lease.dns),
                        "LeaseTimeRemaining": int(lease.expire - now) if lease.expire else -1,
                        "DHCPServer": lease.server,
                    }
                )
        return found

    def server(self) -> Mapping[str, object]:
        """Whether there is a server of which anything is known."""
        return {"Enable": bool(self.pools())}

    def pools(self) -> list[dict[str, Any]]:
        """The range of dnsmasq, where it has one."""
        root = self._context.root
        text = read(root / "etc/dnsmasq.conf")
        text += "".join("\n" + read(f) for f in sorted((root / "etc/dnsmasq.d").glob("*.conf")))
        match = re.search(
            r"^[ \t]*dhcp-range[ \t]*=[ \t]*(?:(?:set|tag|interface):[^,]*,)*([\d.]+),([\d.]+)", text, re.MULTILINE
        )
        if match is None and not server_leases(root, now=self._context.clock.now()):
            return []
        first, last = (match[1], match[2]) if match else ("", "")
        return [{"Enable": True, "Status": "Enabled", "Order": 1, "MinAddress": first, "MaxAddress": last}]

    def leases(self, pool: Row) -> list[dict[str, Any]]:
        """The clients of the server, by their hardware address."""
        macs = {x.mac for x in server_leases(self._context.root, now=self._context.clock.now()) if x.mac}
        active = {n.mac for n in self._context.network.neighbours if n.active}
        return [{"Chaddr": mac.upper(), "Active": mac in active} for mac in sorted(macs)]

    def leased(self, client: Row) -> list[dict[str, Any]]:
        """The addresses of one client."""
        now = self._context.clock.now()
        return [
            {"IPAddress": x.address, "LeaseTimeRemaining": date_time(x.expire) if x.expire else "9999-12-31T23:59:59Z"}
            for x in server_leases(self._context.root, now=now)
            if x.mac.upper() == client.key
        ]


def _dhcp_status(lease: ClientLease, now: float) -> str:
    if lease.rebind and now >= lease.rebind:
        return "Rebinding"
    return "Renewing" if lease.renew and now >= lease.renew else "Bound"


class Hosts:
    """Hosts: the machines around this one, from the neighbour tables and the leases that were given."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        self._since: dict[str, tuple[bool, str]] = {}
        plugin.table(HOST, key="PhysAddress", volatile=True, inline=True)(self.rows)
        plugin.table(HOST + "IPv4Address.{i}.", key="IPAddress", volatile=True, inline=True)(self.v4)
        plugin.table(HOST + "IPv6Address.{i}.", key="IPAddress", volatile=True, inline=True)(self.v6)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each hardware address; the way out (the gateway of a default route) is no host of ours."""
        context = self._context
        network = context.network
        leases = {x.mac: x for x in server_leases(context.root, now=context.clock.now()) if x.mac}
        behind = {f.mac: f.port for f in network.forwardings if not f.own} if self._bridged() else {}
        by_mac: dict[str, list[Neighbour]] = {}
        for neighbour in self._neighbours():
            by_mac.setdefault(neighbour.mac, []).append(neighbour)
        found = []
        for mac in sorted(by_mac.keys() | leases.keys()):
            mine = by_mac.get(mac, [])
            lease = leases.get(mac)
            first = next((n for n in mine if n.family == 4), mine[0] if mine else None)
            active = any(n.active for n in mine)
            link = network.by_index(behind.get(mac, first.index if first is not None else 0))
            wireless = link is not None and context.port(link).wireless
            layer1: Any = ""
            if link is not None:
                layer1 = refer(SSID if wireless else INTERFACE, link.name)
            found.append(
                {
                    "PhysAddress": mac.upper(),
                    "IPAddress": first.address if first is not None else lease.address if lease is not None else "",
                    "HostName": lease.name if lease is not None else "",
                    "Active": active,
                    "ActiveLastChange": self._changed(mac, active),
                    "Layer1Interface": layer1,
                    "Layer3Interface": refer(IP, network.name(first.index)) if first is not None else "",
                    "InterfaceType": "Wi-Fi" if wireless else "Ethernet",
                }
            )
        self._since = {mac: seen for mac, seen in self._since.items() if mac in by_mac or mac in leases}
        return found

    def v4(self, host: Row) -> list[dict[str, Any]]:
        """The IPv4 addresses of a host."""
        return self._addresses(str(host.key), 4)

    def v6(self, host: Row) -> list[dict[str, Any]]:
        """The IPv6 addresses of a host."""
        return self._addresses(str(host.key), 6)

    def _addresses(self, mac: str, family: int) -> list[dict[str, Any]]:
        found = {n.address for n in self._neighbours() if n.mac.upper() == mac and n.family == family}
        if family == 4:
            leases = server_leases(self._context.root, now=self._context.clock.now())
            found |= {x.address for x in leases if x.mac.upper() == mac}
        return [{"IPAddress": a} for a in sorted(found)]

    def _neighbours(self) -> list[Neighbour]:
        network = self._context.network
        gateways = {(r.link, r.gateway) for r in network.routes if r.gateway and r.destination in ("0.0.0.0/0", "::/0")}
        out = {n.mac for n in network.neighbours if (n.index, n.address) in gateways}
        return [n for n in network.neighbours if n.mac and n.mac not in out and n.mac != "00:00:00:00:00:00"]

    def _bridged(self) -> bool:
        return any(link.kind == "bridge" for link in self._context.network.links)

    def _changed(self, mac: str, active: bool) -> str:
        known = self._since.get(mac)
        if known is None or known[0] != active:
            known = self._since[mac] = (active, date_time(self._context.clock.now()))
        return known[1]


class Discovery:
    """NeighborDiscovery: how the kernel looks for its IPv6 neighbours on each interface."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        self._plugin = plugin
        plugin.group("Device.NeighborDiscovery.", inline=True)(self.values).validate(
            refusing_group("Device.NeighborDiscovery.")
        )
        plugin.table(DISCOVERY, key="Interface", inline=True)(self.rows).validate(refusing())

    def values(self) -> Mapping[str, object]:
        """On wherever there is IPv6."""
        return {"Enable": (self._context.root / "proc/net/if_inet6").exists()}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each interface with IPv6."""
        context, found = self._context, []
        for link in context.carriers():
            conf = f"net/ipv6/conf/{link.name}"
            interface = self._plugin.path_of(IP, link.name)
            if link.loopback or not interface or not setting(f"{conf}/dad_transmits", context.root):
                continue
            on = setting(f"{conf}/disable_ipv6", context.root) != "1"
            solicitations = _number(setting(f"{conf}/router_solicitations", context.root))
            found.append(
                {
                    "Enable": on,
                    "Status": "Enabled" if on else "Disabled",
                    "Interface": interface,
                    "DADTransmits": _number(setting(f"{conf}/dad_transmits", context.root)),
                    "RetransTimer": _number(setting(f"net/ipv6/neigh/{link.name}/retrans_time_ms", context.root)),
                    "RtrSolicitationInterval": 1000
                    * _number(setting(f"{conf}/router_solicitation_interval", context.root)),
                    "MaxRtrSolicitations": max(0, solicitations),
                    "NUDEnable": True,
                    "RSEnable": solicitations != 0,
                }
            )
        return found


class People:
    """Users: the ordinary users of this machine. Nothing here reads a password, and nothing can be changed."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        plugin.table("Device.Users.User.{i}.", key="Username", inline=True)(self.rows).validate(self.check)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each person."""
        return [
            {"Enable": True, "UserID": user.number, "Username": user.name, "StaticUser": True}
            for user in names.users(self._context.root)
        ]

    def check(self, row: Row, name: str, value: Any) -> None:
        """Accounts are the affair of whoever runs the machine."""
        raise Fault(
            FaultCode.NOT_WRITABLE, f"{row.path}{name} cannot be set: this device does not let its users be changed"
        )


def _number(text: str) -> int:
    return int(text) if text.lstrip("-").isdecimal() else 0
