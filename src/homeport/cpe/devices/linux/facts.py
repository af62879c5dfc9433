"""Facts that an ACS can change on this machine, and how each is made true: links, addresses, routes, DNS, host name, NTP, time zone.

A fact is a key and a value; `System` reads what is true now and makes another value true. Setting the value that was read before takes
a change back, which is all that a trial needs. Keys are texts, so that they can be kept on disk:

    up eth0                                   True, False
    mtu eth0                                  octets
    address eth0 192.0.2.1/24                 "on", "off" (known, but not in force), "gone"
    route 0.0.0.0/0 192.0.2.254 eth0 100      the same; "-" where it has no gateway or no interface
    dns                                       list of addresses
    dns_off                                   the same: known, but not asked
    host_name, zone                           text
    ntp                                       list of names
"""

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from homeport.cpe.devices.linux import names
from homeport.cpe.devices.linux.machine import read
from homeport.cpe.devices.linux.netlink import Refused
from homeport.cpe.devices.linux.network import Network
from homeport.cpe.devices.linux.records import PROTOCOL_KERNEL, PROTOCOL_STATIC, Address, Route

ON: Final = "on"
OFF: Final = "off"
GONE: Final = "gone"

KEPT: Final = frozenset({"up", "mtu", "address", "route", "dns", "dns_off"})
"""Kinds of facts that Homeport keeps where no back end does; the others are in files of the machine's own."""

RISKY: Final = frozenset({"up", "mtu", "address", "route", "dns"})
"""Kinds of facts that can cut the line to the ACS."""

_NONE: Final = "-"

RESOLVED_DROP_IN: Final = "etc/systemd/resolved.conf.d/homeport.conf"


class Fact(Struct, frozen=True):
    """What is to be true."""

    key: str
    value: Any

    @property
    def kind(self) -> str:
        return self.key.partition(" ")[0]


def up(link: str, value: bool) -> Fact:
    """Whether a link is switched on."""
    return Fact(f"up {link}", value)


def mtu(link: str, octets: int) -> Fact:
    """The largest packet of a link."""
    return Fact(f"mtu {link}", octets)


def address(link: str, text: str, prefix: int, value: str) -> Fact:
    """One address of a link."""
    return Fact(f"address {link} {text}/{prefix}", value)


def route(destination: str, gateway: str, link: str, metric: int, value: str) -> Fact:
    """One way of the main table."""
    return Fact(f"route {destination} {gateway or _NONE} {link or _NONE} {metric}", value)


def route_of(key: str) -> tuple[str, str, str, int]:
    """(destination, gateway, link, metric) of a route's key; "" where it has none."""
    _, destination, gateway, link, metric = key.split(" ")
    return destination, gateway.replace(_NONE, ""), "" if link == _NONE else link, int(metric)


def address_of(key: str) -> tuple[str, str, int]:
    """(link, address, prefix) of an address's key."""
    _, link, text = key.split(" ")
    value, _, prefix = text.partition("/")
    return link, value, int(prefix)


class Picture(Struct, frozen=True):
    """Addresses and routes at one moment, each link by its name, to bring back what a change took away in passing."""

    addresses: tuple[tuple[str, Address], ...] = ()
    routes: tuple[tuple[str, Route], ...] = ()


class System:
    """The machine, as far as facts go. Raises Refused with a sentence where it does not let itself be changed."""

    def __init__(self, network: Network, root: Path = Path("/")) -> None:
        self.network = network
        self._root = root

    # --- reading --------------------------------------------------------------------------------------------------------------------

    def value(self, key: str) -> Any:
        """What is true now. Raises Refused where the subject does not exist."""
        kind, _, rest = key.partition(" ")
        if kind in ("up", "mtu"):
            link = self.network.link_named(rest)
            return link.up if kind == "up" else link.mtu
        if kind == "address":
            name, text, prefix = address_of(key)
            link = self.network.link_named(name)
            return ON if any(a.key == (link.index, text, prefix) for a in self.network.addresses) else GONE
        if kind == "route":
            return ON if self._route(key) is not None else GONE
        if kind == "dns":
            return names.dns_servers(self._root)
        if kind == "host_name":
            return names.host_name(self._root)
        if kind == "ntp":
            return list(names.time_service(self._root).servers)
        if kind == "zone":
            return names.time_zone(self._root)
        if kind == "dns_off":
            return []
        raise ValueError(f"no fact has the key {key!r}")

    def _route(self, key: str) -> Route | None:
        destination, gateway, name, metric = route_of(key)
        index = self.network.link_named(name).index if name else 0
        for found in self.network.routes:
            same = (found.destination, found.gateway) == (destination, gateway)
            if (
                same
                and found.link in (index, 0 if index else found.link)
                and found.metric in (metric, metric or _v6(found))
            ):
                return found
        return None

    def picture(self) -> Picture:
        """Addresses and routes as they are now, without what the kernel makes by itself."""
        network = self.network
        return Picture(
            tuple((network.name(a.index), a) for a in network.addresses if not a.address.startswith("fe80:")),
            tuple((network.name(r.link), r) for r in network.routes if r.protocol != PROTOCOL_KERNEL),
        )

    # --- writing --------------------------------------------------------------------------------------------------------------------

    def make(self, facts: Iterable[Fact]) -> None:
        """Make them true, what is added before what is removed: a link that loses its last address loses its routes too.

        Raises Refused at the first that cannot be; what was done before it stays.
        """
        wanted = list(facts)
        going = {fact.key for fact in wanted if fact.kind == "route" and fact.value != ON}
        kernel = self.network.netlink
        for fact in sorted(wanted, key=_order):
            kind, _, rest = fact.key.partition(" ")
            if kind == "up":
                kernel.set_link(self.network.link_named(rest).index, rest, up=bool(fact.value))
            elif kind == "mtu":
                kernel.set_link(self.network.link_named(rest).index, rest, mtu=int(fact.value))
            elif kind == "address":
                self._make_address(fact)
            elif kind == "route":
                self._make_route(fact, going)
            elif kind == "dns":
                self._write_dns(list(fact.value))
            elif kind == "host_name":
                self._write_host_name(str(fact.value))
            elif kind == "ntp":
                self._write_ntp(list(fact.value))
            elif kind == "zone":
                self._write_zone(str(fact.value))
            self.network.forget()
        for fact in wanted:
            # Where the primary address of a subnet goes, the kernel may take its secondary ones along.
            if fact.kind == "address" and fact.value == ON and self.value(fact.key) != ON:
                self._make_address(fact)
                self.network.forget()

    def restore(self, picture: Picture, *, addresses: bool, besides: Iterable[str] = ()) -> list[str]:
        """Bring back addresses and routes that a change took away in passing; a sentence for each that could not be.

        addresses: False brings back routes only. besides: keys that were changed on purpose.
        """
        kept = set(besides)
        failed = []
        if addresses:
            present = {a.key for a in self.network.addresses}
            for name, found in picture.addresses:
                with contextlib.suppress(Refused):  # the link itself is gone
                    index = self.network.link_named(name).index
                    if (index, *found.key[1:]) in present or address(name, found.address, found.prefix, ON).key in kept:
                        continue
                    try:
                        self.network.netlink.add_address(index, found.address, found.prefix)
                    except Refused as e:
                        failed.append(str(e))
            self.network.forget()
        # Ways without a gateway first: the others lead over them.
        for name, way in sorted(picture.routes, key=lambda pair: bool(pair[1].gateway)):
            key = route(way.destination, way.gateway, name, way.metric, ON).key
            with contextlib.suppress(Refused):
                if key in kept or self._route(key) is not None:
                    continue
                index = self.network.link_named(name).index if name else 0
                try:
                    self.network.netlink.add_route(
                        Route(way.family, way.destination, way.gateway, index, way.metric, way.protocol, way.source)
                    )
                except Refused as e:
                    failed.append(str(e))
        self.network.forget()
        return failed

    def _make_address(self, fact: Fact) -> None:
        name, text, prefix = address_of(fact.key)
        kernel = self.network.netlink
        if fact.value == ON:
            kernel.add_address(self.network.link_named(name).index, text, prefix)
        else:
            with contextlib.suppress(ValueError):
                kernel.delete_address(self.network.link_named(name).index, text, prefix)

    def _make_route(self, fact: Fact, going: set[str]) -> None:
        """going: routes that are to be removed at the same time; IPv4 has one for a destination and metric, which is replaced then."""
        destination, gateway, name, metric = route_of(fact.key)
        index = self.network.link_named(name).index if name else 0
        family = 6 if ":" in destination else 4
        way = Route(family, destination, gateway, index, metric, PROTOCOL_STATIC)
        if fact.value == ON:
            if self._route(fact.key) is not None:
                return
            rival = family == 4 and any((other[0], other[3]) == (destination, metric) for other in map(route_of, going))
            self.network.netlink.add_route(way, replace=rival)
        else:
            present = self._route(fact.key)
            self.network.netlink.delete_route(present or way)

    def _write_dns(self, servers: Sequence[str]) -> None:
        conf = self._root / names.RESOLV_CONF
        if names.parse_resolv_conf(read(conf)) == [names.STUB]:
            text = f"# Written by Homeport for its ACS.\n[Resolve]\nDNS={' '.join(servers)}\nDomains=~.\n"
            write_file(self._root / RESOLVED_DROP_IN, text.encode(), "the DNS servers")
        else:
            write_file(conf, names.with_dns_servers(read(conf), servers).encode(), "the DNS servers")

    def _write_host_name(self, name: str) -> None:
        write_file(self._root / "etc/hostname", f"{name}\n".encode(), "the host name")
        if self._root == Path("/"):
            try:
                socket.sethostname(name)
            except OSError as e:
                raise Refused("the host name could not be set", e.errno or 0) from e
        else:
            write_file(self._root / "proc/sys/kernel/hostname", f"{name}\n".encode(), "the host name")

    def _write_ntp(self, servers: Sequence[str]) -> None:
        service = names.time_service(self._root)
        if not service.name:
            raise Refused("the NTP servers could not be set", 0)
        file = self._root / service.file
        write_file(file, names.with_ntp_servers(service, _all_of(file), servers).encode(), "the NTP servers")

    def _write_zone(self, zone: str) -> None:
        path = self._root / "etc/localtime"
        known = names.zone_by_name(zone, self._root)
        if known is not None:
            data = known.read_bytes()
        elif names.is_posix_zone(zone):
            data = names.zone_file(zone)
        else:
            raise Refused("the time zone could not be set", 22)
        if path.is_symlink():
            path.unlink()
        write_file(path, data, "the time zone")
        time.tzset()


def _order(fact: Fact) -> tuple[int, int]:
    """Links first, then additions, then removals; routes after the addresses that they lead over, and before those that they lose."""
    kinds = ("up", "mtu", "address", "route", "dns")
    place = kinds.index(fact.kind) if fact.kind in kinds else len(kinds)
    removal = fact.value in (OFF, GONE) if fact.kind in ("address", "route") else fact.kind == "up" and not fact.value
    return (1, -place) if removal else (0, place)


def _v6(route: Route) -> int:
    """The metric that the kernel gives an IPv6 route without one; what is asked for with 0 is found with that."""
    return route.metric if route.family == 6 else 0


def _all_of(file: Path) -> str:
    """A configuration with its white space, "" where there is none yet."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def write_file(path: Path, data: bytes, what: str) -> None:
    """Replace a file at one stroke, with its mode kept; where only the file itself can be written (a bind mount), in place.

    Raises Refused with a sentence.
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        number, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, mode)
            os.replace(temporary, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            target.write_bytes(data)
    except OSError as e:
        raise Refused(f"{what} could not be written to {path}", e.errno or 0) from e
