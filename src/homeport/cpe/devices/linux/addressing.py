"""Addresses: IP.Interface.{i}.IPv4Address, IPv6Address and IPv6Prefix, live from netlink.

A row that an ACS adds is a draft until it has an address; then it is made true. One that is switched off (Enable false) is known here
and to nobody else on the machine. Addresses of a DHCP client are shown and not changed. Source: TR-181 2.19.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from homeport.cpe.clock import date_time
from homeport.cpe.devices.linux import facts, records
from homeport.cpe.devices.linux.context import IP, Context, column, refusing
from homeport.cpe.devices.linux.facts import GONE, OFF, ON, Fact
from homeport.cpe.devices.linux.leases import client_leases
from homeport.cpe.devices.linux.records import Address
from homeport.cpe.devices.plugin import Plugin, Row, refer
from homeport.errors import Fault
from homeport.terms import FaultCode

V4: Final = IP + "IPv4Address.{i}."
V6: Final = IP + "IPv6Address.{i}."
PREFIX: Final = IP + "IPv6Prefix.{i}."

ENDLESS: Final = "9999-12-31T23:59:59Z"
"""A time that never comes (TR-106 3.2.2)."""

_V6_PREFIX: Final = 64
"""Prefix length of an IPv6 address that an ACS adds without naming a prefix: what every link has (RFC 4291 2.5.4)."""


class Addresses:
    """The addresses of all interfaces."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        self._plugin = plugin
        table = plugin.table(V4, key=("IPAddress", "SubnetMask"), inline=True)(self.v4)
        table.validate(self.check_v4).apply(self.change_v4).undo(self.undo)
        table.add(self.add).delete(self.delete_v4)
        table = plugin.table(PREFIX, key="Prefix", inline=True)(self.prefixes)
        table.validate(refusing())
        table = plugin.table(V6, key="IPAddress", inline=True)(self.v6)
        table.validate(self.check_v6).apply(self.change_v6).undo(self.undo)
        table.add(self.add).delete(self.delete_v6)

    # --- rows ---------------------------------------------------------------------------------------------------------------------------

    def v4(self, interface: Row) -> list[dict[str, Any]]:
        """The IPv4 addresses of an interface."""
        leased = {(x.interface, x.address) for x in client_leases(self._context.root, now=self._context.clock.now())}
        names = {name for name, _ in leased}
        found = []
        for key, address, value in self._of(str(interface.key), 4):
            kind = "Static"
            if address is not None:
                if (interface.key, address.address) in leased or (not names and not address.flags & records.PERMANENT):
                    kind = "DHCP"
                elif address.address.startswith("169.254."):
                    kind = "AutoIP"
            _, text, prefix = facts.address_of(key)
            found.append(
                {
                    "Enable": value == ON,
                    "Status": _status(value, address is not None),
                    "IPAddress": text,
                    "SubnetMask": str(ipaddress.IPv4Network((0, prefix)).netmask),
                    "AddressingType": kind,
                    **self._context.changes.spelled.get(key, {}),
                }
            )
        return found

    def v6(self, interface: Row) -> list[dict[str, Any]]:
        """The IPv6 addresses of an interface, the link-local one too."""
        network, clock = self._context.network, self._context.clock
        read_at = clock.now() - (clock.monotonic() - network.addresses_at)
        found = []
        for key, address, value in self._of(str(interface.key), 6):
            _, text, prefix = facts.address_of(key)
            flags = address.flags if address is not None else records.PERMANENT
            found.append(
                {
                    "Enable": value == ON,
                    "Status": _status(value, address is not None),
                    "IPAddressStatus": _v6_status(address),
                    "IPAddress": text,
                    "Origin": _v6_origin(text, flags),
                    "Prefix": refer(f"{interface.path}IPv6Prefix.{{i}}.", _prefix(text, prefix)),
                    "PreferredLifetime": _until(read_at, address.preferred if address else records.FOREVER),
                    "ValidLifetime": _until(read_at, address.valid if address else records.FOREVER),
                    **self._context.changes.spelled.get(key, {}),
                }
            )
        return found

    def prefixes(self, interface: Row) -> list[dict[str, Any]]:
        """The IPv6 prefixes that are on the link of an interface: those of its addresses and those of router advertisements."""
        context = self._context
        link = context.network.find(str(interface.key))
        if link is None:
            return []
        found: dict[str, dict[str, Any]] = {}
        for route in context.network.routes:
            if route.family == 6 and route.link == link.index and not route.gateway and route.destination != "::/0":
                advertised = route.protocol == records.PROTOCOL_RA
                found[route.destination] = self._prefix_row(route.destination, advertised)
        for key, _, value in self._of(link.name, 6):
            _, text, prefix = facts.address_of(key)
            if value == ON:
                found.setdefault(_prefix(text, prefix), self._prefix_row(_prefix(text, prefix), False))
        return list(found.values())

    @staticmethod
    def _prefix_row(prefix: str, advertised: bool) -> dict[str, Any]:
        origin = "WellKnown" if prefix.startswith("fe80:") else "RouterAdvertisement" if advertised else "Static"
        return {
            "Enable": True,
            "Status": "Enabled",
            "PrefixStatus": "Preferred",
            "Prefix": prefix,
            "Origin": origin,
            "OnLink": True,
        }

    def _of(self, name: str, family: int) -> list[tuple[str, Address | None, str]]:
        """(fact, address in the kernel or None, what is wanted) of one link: what is there, and what was asked for and is not."""
        network = self._context.network
        link = network.find(name)
        rows: dict[str, tuple[str, Address | None, str]] = {}
        for address in network.addresses:
            if link is not None and address.index == link.index and address.family == family:
                key = facts.address(name, address.address, address.prefix, ON).key
                rows[key] = (key, address, ON)
        for key, value in self._context.changes.held.items():
            if key.startswith(f"address {name} ") and value in (ON, OFF):
                v6 = ":" in facts.address_of(key)[1]
                if v6 == (family == 6) and key not in rows:
                    rows[key] = (key, None, value)
        return list(rows.values())

    # --- writes -------------------------------------------------------------------------------------------------------------------------

    def add(self, row: Row) -> None:
        """A new row is a draft: it gets its address later. Called for a deletion that is taken back, too."""
        self._context.changes.take_back()

    def undo(self, row: Row, values: Mapping[str, Any]) -> None:
        """Take back all of the transaction; once is enough."""
        self._context.changes.take_back()

    def check_v4(self, row: Row, name: str, value: Any) -> None:
        """What the ACS may write, and that it can be an address of an interface."""
        refusing("Enable", "IPAddress", "SubnetMask")(row, name, value)
        if row.get("AddressingType") == "DHCP":
            raise Fault(FaultCode.REQUEST_DENIED, f"{row.get('IPAddress')} comes from DHCP and cannot be changed here")
        if name == "IPAddress" and value:
            address = ipaddress.IPv4Address(str(value))
            if address.is_multicast or address.is_unspecified or int(address) >= 0xF0000000:
                raise ValueError(f"{value} cannot be the address of an interface")
        if name == "SubnetMask" and value:
            _prefix_length(str(value))

    def check_v6(self, row: Row, name: str, value: Any) -> None:
        """The same for IPv6."""
        refusing("Enable", "IPAddress", "Prefix")(row, name, value)
        if name == "IPAddress" and value:
            if "%" in str(value):
                raise ValueError(f"{str(value)!r} has a zone; the row's interface is its link")
            address = ipaddress.IPv6Address(str(value))
            if address.is_multicast or address.is_unspecified:
                raise ValueError(f"{value} cannot be the address of an interface")

    def change_v4(self, row: Row, values: Mapping[str, Any]) -> None:
        """Bring an address into force, take it out of force, or put another one in its place."""
        text, mask = str(column(row, values, "IPAddress")), str(column(row, values, "SubnetMask"))
        prefix = _prefix_length(mask) if mask else 0
        wanted = (text, prefix) if text and mask else None
        had = (str(row["IPAddress"]), _prefix_length(str(row["SubnetMask"]))) if row.values else None
        self._change(row, values, had, wanted, {"IPAddress": text, "SubnetMask": mask})

    def change_v6(self, row: Row, values: Mapping[str, Any]) -> None:
        """The same for IPv6."""
        text = str(column(row, values, "IPAddress"))
        had = None
        if row.values:
            had = (str(row["IPAddress"]), self._v6_length(row))
        wanted = None
        if text:
            prefix = self._named_prefix(values)
            wanted = (str(ipaddress.IPv6Address(text)), prefix or (had[1] if had else _V6_PREFIX))
        self._change(row, values, had, wanted, {"IPAddress": text})

    def _change(
        self,
        row: Row,
        values: Mapping[str, Any],
        had: tuple[str, int] | None,
        wanted: tuple[str, int] | None,
        columns: dict[str, str],
    ) -> None:
        link = _link_of(row)
        enabled = column(row, values, "Enable") in (True, "true", "1")
        made: list[Fact] = []
        if had is not None and had != wanted:
            made.append(facts.address(link, had[0], had[1], GONE))
        if wanted is not None:
            made.append(facts.address(link, wanted[0], wanted[1], ON if enabled else OFF))
        if wanted is None or wanted[0] == columns["IPAddress"]:
            self._context.changes.do(made)
        else:
            self._context.changes.do(made, spelled={made[-1].key: columns})

    def delete_v4(self, row: Row) -> None:
        """Take an address off its interface."""
        if row.values:
            if row.get("AddressingType") == "DHCP":
                raise Fault(FaultCode.REQUEST_DENIED, f"{row['IPAddress']} comes from DHCP and cannot be deleted here")
            prefix = _prefix_length(str(row["SubnetMask"]))
            self._context.changes.do([facts.address(_link_of(row), str(row["IPAddress"]), prefix, GONE)])

    def delete_v6(self, row: Row) -> None:
        """The same for IPv6."""
        if row.values:
            text = str(ipaddress.IPv6Address(str(row["IPAddress"])))
            self._context.changes.do([facts.address(_link_of(row), text, self._v6_length(row), GONE)])

    def _v6_length(self, row: Row) -> int:
        """The prefix length of a row that is there."""
        text = str(ipaddress.IPv6Address(str(row["IPAddress"])))
        return next(
            (facts.address_of(k)[2] for k, _, _ in self._of(_link_of(row), 6) if facts.address_of(k)[1] == text),
            _V6_PREFIX,
        )

    def _named_prefix(self, values: Mapping[str, Any]) -> int:
        """The length of the prefix that an ACS names by its row, 0 where it names none."""
        path = str(values.get("Prefix") or "").rstrip(".")
        if not path:
            return 0
        for name in [link.name for link in self._context.carriers()]:
            interface = self._plugin.path_of(IP, name)
            for found in self.prefixes(Row(interface + ".", 0, name)) if interface else ():
                if self._plugin.path_of(f"{interface}.IPv6Prefix.{{i}}.", found["Prefix"]) == path:
                    return int(str(found["Prefix"]).partition("/")[2])
        raise ValueError(f"{path} is not a prefix that this device has")


def _link_of(row: Row) -> str:
    assert row.parent is not None, "an address has an interface around it"
    return str(row.parent.key)


def _prefix_length(mask: str) -> int:
    """24 for 255.255.255.0. Raises ValueError with a sentence."""
    bits = int(ipaddress.IPv4Address(mask))
    length = bits.bit_count()
    if bits != (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF:
        raise ValueError(f"{mask} is no subnet mask: its ones are not together, as in 255.255.255.0")
    return length


def _prefix(text: str, length: int) -> str:
    return str(ipaddress.IPv6Network((text, length), strict=False))


def _status(value: str, present: bool) -> str:
    if value != ON:
        return "Disabled"
    return "Enabled" if present else "Error"


def _v6_status(address: Address | None) -> str:
    if address is None:
        return "Invalid"
    for flag, name in (
        (records.DAD_FAILED, "Duplicate"),
        (records.OPTIMISTIC, "Optimistic"),
        (records.TENTATIVE, "Tentative"),
        (records.DEPRECATED, "Deprecated"),
    ):
        if address.flags & flag:
            return name
    return "Preferred"


def _v6_origin(text: str, flags: int) -> str:
    if text.startswith("fe80:"):
        return "AutoConfigured"
    if text == "::1":
        return "WellKnown"
    if flags & records.PERMANENT:
        return "Static"
    return "DHCPv6" if flags & records.NOPREFIXROUTE else "AutoConfigured"


def _until(read_at: float, seconds: int) -> str:
    return ENDLESS if seconds == records.FOREVER else date_time(read_at + seconds)
