"""DHCP leases as clients and servers leave them on disk: dhclient, dhcpcd, systemd-networkd, NetworkManager; dnsmasq.

Texts in, records out; `client_leases` and `server_leases` know the files. Times are seconds since 1970, 0 for "never ends".
"""

import calendar
import ipaddress
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from homeport.cpe.devices.linux.machine import assignments


class ClientLease(Struct, frozen=True):
    """What a DHCP client of this machine got. interface: its name. link: index where the file names only that, else 0."""

    interface: str = ""
    link: int = 0
    address: str = ""
    mask: str = ""
    routers: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    server: str = ""
    renew: int = 0
    rebind: int = 0
    expire: int = 0
    client: str = ""


class ServerLease(Struct, frozen=True):
    """What a DHCP server of this machine gave. expire: 0 where the lease does not end. name: "" where the client has none."""

    address: str
    mac: str = ""
    name: str = ""
    expire: int = 0


def client_leases(root: Path = Path("/"), *, now: float) -> list[ClientLease]:
    """The valid leases of all known clients, the newest of each interface. now: seconds since 1970."""
    found: dict[str, ClientLease] = {}
    for lease in _all_client_leases(root):
        if lease.expire and lease.expire < now:
            continue
        key = lease.interface or f"#{lease.link}"
        if key not in found or found[key].expire <= lease.expire:
            found[key] = lease
    return list(found.values())


def _all_client_leases(root: Path) -> Iterable[ClientLease]:
    for pattern in (
        "var/lib/dhcp/dhclient*.leases",
        "var/lib/dhclient/*.lease*",
        "var/lib/NetworkManager/dhclient-*.lease",
    ):
        for file in sorted(root.glob(pattern)):
            yield from parse_dhclient(_text(file))
    for pattern in ("var/lib/dhcpcd/*.lease", "var/lib/dhcpcd5/*.lease"):
        for file in sorted(root.glob(pattern)):
            if file.name.endswith(".lease6"):
                continue
            lease = parse_dhcp_packet(_bytes(file), modified=_modified(file))
            if lease is not None:
                name = file.name.removesuffix(".lease").removeprefix("dhcpcd-").partition("-")[0]
                yield _named(lease, name, 0, "dhcpcd")
    for pattern, client in (
        ("run/systemd/netif/leases/*", "systemd-networkd"),
        ("var/lib/NetworkManager/internal-*.lease", "NetworkManager"),
    ):
        for file in sorted(root.glob(pattern)):
            lease = parse_networkd(_text(file), modified=_modified(file))
            if lease is not None:
                number = int(file.name) if file.name.isdecimal() else 0
                name = "" if number else file.name.removesuffix(".lease").rpartition("-")[2]
                yield _named(lease, name, number, client)


def _named(lease: ClientLease, name: str, link: int, client: str) -> ClientLease:
    fields = {f: getattr(lease, f) for f in lease.__struct_fields__}
    return ClientLease(**{**fields, "interface": name, "link": link, "client": client})


_STATEMENT: Final = re.compile(r'\s*((?:[^;"]|"(?:\\.|[^"\\])*")*);')


def parse_dhclient(text: str) -> list[ClientLease]:
    """The leases of a dhclient.leases file, oldest first; the file is a log, so that the last one of an interface counts."""
    found = []
    for block in re.findall(r"\blease\s*\{(.*?)\n\}", text, re.DOTALL):
        values: dict[str, str] = {}
        for statement in _STATEMENT.findall(block):
            words = statement.split(None, 2 if statement.startswith("option") else 1)
            if not words:
                continue
            values[" ".join(words[:-1])] = words[-1].strip().strip('"')
        if "fixed-address" not in values:
            continue
        found.append(
            ClientLease(
                interface=values.get("interface", ""),
                address=values["fixed-address"],
                mask=values.get("option subnet-mask", ""),
                routers=_addresses(values.get("option routers", "")),
                dns=_addresses(values.get("option domain-name-servers", "")),
                server=values.get("option dhcp-server-identifier", ""),
                renew=_lease_time(values.get("renew", "")),
                rebind=_lease_time(values.get("rebind", "")),
                expire=_lease_time(values.get("expire", "")),
                client="dhclient",
            )
        )
    return found


def _lease_time(text: str) -> int:
    """`4 2026/11/21 10:00:00` (UTC), `epoch 1795000000`, or `never`."""
    words = text.split()
    if len(words) >= 2 and words[0] == "epoch" and words[1].isdecimal():
        return int(words[1])
    if len(words) >= 3:
        with suppress(ValueError):
            return calendar.timegm(time.strptime(f"{words[1]} {words[2]}", "%Y/%m/%d %H:%M:%S"))
    return 0


def parse_networkd(text: str, *, modified: int) -> ClientLease | None:
    """A lease of systemd-networkd or of NetworkManager's own client. modified: when the file was written; lifetimes count from there."""
    values = assignments(text)
    if "ADDRESS" not in values:
        return None
    life, t1, t2 = (values.get(name, "") for name in ("LIFETIME", "T1", "T2"))
    return ClientLease(
        address=values["ADDRESS"],
        mask=values.get("NETMASK", ""),
        routers=_addresses(values.get("ROUTER", "")),
        dns=_addresses(values.get("DNS", "")),
        server=values.get("SERVER_ADDRESS", ""),
        renew=modified + int(t1) if t1.isdecimal() else 0,
        rebind=modified + int(t2) if t2.isdecimal() else 0,
        expire=modified + int(life) if life.isdecimal() and int(life) != 0xFFFFFFFF else 0,
    )


def parse_dhcp_packet(data: bytes, *, modified: int) -> ClientLease | None:
    """A lease of dhcpcd: the server's acknowledgement as it came (RFC 2131). None where it is none."""
    if len(data) < 241 or data[236:240] != b"\x63\x82\x53\x63":
        return None
    options: dict[int, bytes] = {}
    at = 240
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        if at + 1 >= len(data):
            break
        length = data[at + 1]
        options[data[at]] = options.get(data[at], b"") + data[at + 2 : at + 2 + length]
        at += 2 + length

    def seconds(code: int) -> int:
        value = options.get(code, b"")
        return int.from_bytes(value, "big") if len(value) == 4 else 0

    def addresses(code: int) -> tuple[str, ...]:
        value = options.get(code, b"")
        return tuple(str(ipaddress.IPv4Address(value[i : i + 4])) for i in range(0, len(value) // 4 * 4, 4))

    life = seconds(51)
    forever = life in (0, 0xFFFFFFFF)
    return ClientLease(
        address=str(ipaddress.IPv4Address(data[16:20])),
        mask=next(iter(addresses(1)), ""),
        routers=addresses(3),
        dns=addresses(6),
        server=next(iter(addresses(54)), ""),
        renew=0 if forever else modified + (seconds(58) or life // 2),
        rebind=0 if forever else modified + (seconds(59) or life * 7 // 8),
        expire=0 if forever else modified + life,
    )


def server_leases(root: Path = Path("/"), *, now: float) -> list[ServerLease]:
    """The valid leases of dnsmasq, wherever distributions have it keep them. now: seconds since 1970."""
    found: dict[str, ServerLease] = {}
    for name in ("var/lib/misc/dnsmasq.leases", "var/lib/dnsmasq/dnsmasq.leases", "tmp/dhcp.leases"):
        for lease in parse_dnsmasq(_text(root / name)):
            if not lease.expire or lease.expire >= now:
                found[lease.address] = lease
    return list(found.values())


def parse_dnsmasq(text: str) -> list[ServerLease]:
    """The IPv4 leases of a dnsmasq.leases file: `expiry mac address name client-id` per line."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["duid"]:
            break  # what follows are IPv6 leases
        if len(words) < 4 or not words[0].isdecimal() or ":" not in words[1]:
            continue
        # A hardware type other than Ethernet stands before the address: `06-aa:bb:...`.
        mac = words[1].rpartition("-")[2]
        found.append(ServerLease(words[2], mac, "" if words[3] == "*" else words[3], int(words[0])))
    return found


def _addresses(text: str) -> tuple[str, ...]:
    return tuple(re.split(r"[,\s]+", text.strip())) if text.strip() else ()


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace")


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""  # gone since, or not for us


def _modified(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return 0
