"""What the readers of this package give: plain records without a notion of parameters. No IO here."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from msgspec import Struct, field

UP: Final = 0x1
LOOPBACK: Final = 0x8
RUNNING: Final = 0x40
NOARP: Final = 0x80
"""Flags of a link (IFF_*, linux/if.h)."""

ETHER: Final = 1
LOOPBACK_TYPE: Final = 772
"""Hardware types (ARPHRD_*, linux/if_arp.h)."""

PERMANENT: Final = 0x80
TENTATIVE: Final = 0x40
DEPRECATED: Final = 0x20
DAD_FAILED: Final = 0x08
OPTIMISTIC: Final = 0x04
NOPREFIXROUTE: Final = 0x200
"""Flags of an address (IFA_F_*, linux/if_addr.h)."""

FOREVER: Final = 0xFFFFFFFF
"""A lifetime that does not end, in seconds."""

MAIN_TABLE: Final = 254
"""The routing table that a lookup uses (RT_TABLE_MAIN)."""

PROTOCOL_KERNEL: Final = 2
PROTOCOL_BOOT: Final = 3
PROTOCOL_STATIC: Final = 4
PROTOCOL_RA: Final = 9
PROTOCOL_DHCP: Final = 16
PROTOCOL_RIP: Final = 189
PROTOCOL_OSPF: Final = 188
"""Who made a route (RTPROT_*, linux/rtnetlink.h)."""

UNICAST: Final = 1
"""Route type of an ordinary way (RTN_UNICAST)."""

INCOMPLETE: Final = 0x01
REACHABLE: Final = 0x02
STALE: Final = 0x04
DELAY: Final = 0x08
PROBE: Final = 0x10
FAILED: Final = 0x20
NUD_NOARP: Final = 0x40
NUD_PERMANENT: Final = 0x80
"""States of a neighbour (NUD_*, linux/neighbour.h)."""

COUNTERS: Final = (
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_nohandler",
)
"""Counters of a link that are kept, as rtnl_link_stats64 names them."""


class Link(Struct, frozen=True):
    """One network interface. state: operational state as the kernel names it, lower case. kind: "" for hardware, else bridge, vlan, dummy.

    parent: index of the link below (vlan) or of the other end (veth), 0 for none. master: index of the bridge or bond it belongs to.
    mac: twelve digits with colons, lower case. counters: by the names in COUNTERS.
    """

    index: int
    name: str
    hardware: int = ETHER
    flags: int = 0
    state: str = "unknown"
    mtu: int = 0
    mac: str = ""
    kind: str = ""
    slave_kind: str = ""
    master: int = 0
    parent: int = 0
    port_state: int = -1
    port_cost: int = 0
    port_priority: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def up(self) -> bool:
        """Whether it is switched on (not: whether it carries anything)."""
        return bool(self.flags & UP)

    @property
    def loopback(self) -> bool:
        return bool(self.flags & LOOPBACK)


class Address(Struct, frozen=True):
    """One address of a link. family: 4 or 6. flags: IFA_F_*. preferred, valid: seconds left, FOREVER where they do not end."""

    index: int
    family: int
    address: str
    prefix: int
    flags: int = PERMANENT
    scope: int = 0
    preferred: int = FOREVER
    valid: int = FOREVER
    peer: str = ""

    @property
    def key(self) -> tuple[int, str, int]:
        """What makes it this address and no other: (link, address, prefix)."""
        return self.index, self.address, self.prefix


class Route(Struct, frozen=True):
    """One way in the main table. family: 4 or 6. destination: address/prefix, 0.0.0.0/0 or ::/0 for the default. gateway: "" where none.

    link: index of the interface, 0 where the route has none. metric: 0 where none is given.
    """

    family: int
    destination: str
    gateway: str = ""
    link: int = 0
    metric: int = 0
    protocol: int = PROTOCOL_BOOT
    source: str = ""
    expires: int = 0
    kind: int = UNICAST
    scope: int = 0

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What makes it this route and no other: (destination, gateway, link, metric)."""
        return self.destination, self.gateway, self.link, self.metric

    @property
    def network(self) -> IPv4Network | IPv6Network:
        return ip_network(self.destination, strict=False)


class Neighbour(Struct, frozen=True):
    """One entry of the ARP or neighbour table. state: NUD_*. mac: "" while it is not resolved."""

    index: int
    family: int
    address: str
    mac: str = ""
    state: int = 0
    router: bool = False

    @property
    def active(self) -> bool:
        """Whether it was heard of lately, or is being asked."""
        return bool(self.state & (REACHABLE | DELAY | PROBE | STALE | NUD_PERMANENT)) and bool(self.mac)


class Forwarding(Struct, frozen=True):
    """One entry of a bridge's forwarding database. port: index of the bridge port behind which the address was seen."""

    port: int
    bridge: int
    mac: str
    own: bool = False
