"""Names and clocks as /etc has them: DNS servers, host name, NTP servers, time zone, users. Texts in, records and texts out.

The functions that write give the new text of a file; who writes it, and how it is undone, is `changes`'s.
Sources: resolv.conf(5), timesyncd.conf(5), chrony.conf(5), ntp.conf(5), tzfile(5), passwd(5).
"""

import ipaddress
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from homeport.cpe.devices.linux.machine import read

RESOLV_CONF: Final = "etc/resolv.conf"
STUB: Final = "127.0.0.53"
"""Where systemd-resolved listens; the servers that it asks are in a file of its own."""
RESOLVED: Final = "run/systemd/resolve/resolv.conf"

ORDINARY: Final = range(1000, 60000)
"""User ids of people (login.defs UID_MIN, UID_MAX as distributions ship them)."""


def dns_servers(root: Path = Path("/")) -> list[str]:
    """The DNS servers that are asked, in order; behind systemd-resolved those that it asks."""
    found = parse_resolv_conf(read(root / RESOLV_CONF))
    if found == [STUB]:
        return parse_resolv_conf(read(root / RESOLVED)) or found
    return found


def parse_resolv_conf(text: str) -> list[str]:
    """The name servers, in order, each once; a zone (%eth0) stays with its address."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            found[words[1]] = None
    return list(found)


def with_dns_servers(text: str, servers: Sequence[str]) -> str:
    """A resolv.conf with other name servers; search list and options stay as they are."""
    kept = [line for line in text.splitlines() if line.split()[:1] != ["nameserver"]]
    return "\n".join([*kept, *(f"nameserver {s}" for s in servers)]) + "\n"


# --- NTP ------------------------------------------------------------------------------------------------------------------------------


class TimeService(Struct, frozen=True):
    """The NTP client of this machine. name: "chrony", "ntp", "systemd-timesyncd", or "" where there is none. file: its configuration."""

    name: str = ""
    file: str = ""
    servers: tuple[str, ...] = ()


_CHRONY: Final = ("etc/chrony/chrony.conf", "etc/chrony.conf")
_NTP: Final = ("etc/ntpsec/ntp.conf", "etc/ntp.conf")
_TIMESYNCD: Final = "etc/systemd/timesyncd.conf"


def time_service(root: Path = Path("/")) -> TimeService:
    """The client that is installed; where there are several, the one that replaces the others."""
    for name, files, word in (("chrony", _CHRONY, _SERVER), ("ntp", _NTP, _SERVER)):
        for file in files:
            if (root / file).is_file():
                texts = [read(root / file), *(_drop_ins(root / file) if name == "chrony" else ())]
                return TimeService(name, file, tuple(s for t in texts for s in word.findall(t)))
    if (root / _TIMESYNCD).is_file() or (root / "usr/lib/systemd/systemd-timesyncd").exists():
        return TimeService("systemd-timesyncd", _TIMESYNCD, tuple(_timesyncd(root)))
    return TimeService()


_SERVER: Final = re.compile(r"^[ \t]*(?:server|pool|peer)[ \t]+(?:-\w+[ \t]+)*(\S+)", re.MULTILINE)


def _drop_ins(file: Path) -> list[str]:
    folders = (file.parent / "conf.d", file.parent / "sources.d")
    return [read(f) for folder in folders for f in sorted((*folder.glob("*.conf"), *folder.glob("*.sources")))]


def _timesyncd(root: Path) -> list[str]:
    texts = [read(root / _TIMESYNCD)]
    folder = root / "etc/systemd/timesyncd.conf.d"
    texts += [read(f) for f in sorted(folder.glob("*.conf"))]
    found: list[str] = []
    for text in texts:
        for value in re.findall(r"^[ \t]*NTP[ \t]*=(.*)$", text, re.MULTILINE):
            # An empty assignment takes back what came before it (systemd.syntax(7)).
            found = [*found, *value.split()] if value.strip() else []
    return found


def with_ntp_servers(service: TimeService, text: str, servers: Sequence[str]) -> str:
    """The service's configuration with other servers; everything else stays as it is."""
    if service.name == "systemd-timesyncd":
        kept = re.sub(r"^[ \t]*NTP[ \t]*=.*\n?", "", text, flags=re.MULTILINE)
        head, section, rest = kept.partition("[Time]")
        line = f"\nNTP={' '.join(servers)}"
        return f"{head}[Time]{line}{rest}" if section else f"{kept.rstrip()}\n\n[Time]{line}\n".lstrip("\n")
    kept = re.sub(r"^[ \t]*(?:server|pool|peer)[ \t].*\n?", "", text, flags=re.MULTILINE)
    return kept.rstrip("\n") + "\n" + "".join(f"server {s} iburst\n" for s in servers)


# --- time zone ------------------------------------------------------------------------------------------------------------------------

_POSIX_ZONE: Final = re.compile(
    r"""(?P<name>[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)
        (?P<offset>[+-]?\d{1,2}(?::\d{2}){0,2})
        (?:(?P<summer>[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)(?P<summer_offset>[+-]?\d{1,2}(?::\d{2}){0,2})?
           (?:,(?P<from>[MJ]?[\d.]+(?:/[+-]?\d{1,3}(?::\d{2}){0,2})?),(?P<to>[MJ]?[\d.]+(?:/[+-]?\d{1,3}(?::\d{2}){0,2})?))?)?""",
    re.VERBOSE,
)


def is_posix_zone(text: str) -> bool:
    """Whether a text is a time zone as POSIX writes it, such as CET-1CEST,M3.5.0,M10.5.0/3."""
    return _POSIX_ZONE.fullmatch(text) is not None


def time_zone(root: Path = Path("/")) -> str:
    """The time zone in POSIX form, from the file that the C library uses; UTC0 where there is none."""
    try:
        with (root / "etc/localtime").open("rb") as file:
            data = file.read(1 << 16)
    except OSError:
        text = read(root / "etc/TZ")
        return text if is_posix_zone(text) else "UTC0"
    return zone_of_file(data) or "UTC0"


def zone_of_file(data: bytes) -> str:
    """The rule in the last line of a TZif file, "" where it has none (version 1 has none)."""
    if data[:4] != b"TZif" or data[4:5] < b"2" or not data.endswith(b"\n"):
        return ""
    return data[:-1].rpartition(b"\n")[2].decode("ascii", "replace")


def zone_file(rule: str) -> bytes:
    """A TZif file with nothing but a POSIX rule: what /etc/localtime can be where no zone of the data base fits (RFC 8536)."""
    match = _POSIX_ZONE.fullmatch(rule)
    if match is None:
        raise ValueError(f"{rule!r} is no POSIX time zone; expected for example CET-1CEST,M3.5.0,M10.5.0/3")
    name = match["name"].strip("<>").encode()
    sign = -1 if not match["offset"].startswith("-") else 1
    parts = [int(p) for p in match["offset"].lstrip("+-").split(":")]
    offset = sign * sum(n * unit for n, unit in zip(parts, (3600, 60, 1), strict=False))
    head = struct.pack(">4s1s15x6I", b"TZif", b"2", 0, 0, 0, 0, 1, len(name) + 1)
    body = struct.pack(">iBB", offset, 0, 0) + name + b"\0"
    return head + body + head + body + b"\n" + rule.encode() + b"\n"


def zone_by_name(name: str, root: Path = Path("/")) -> Path | None:
    """The file of a zone of the data base, such as Europe/Berlin, None where there is none."""
    base = root / "usr/share/zoneinfo"
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", name):
        return None
    path = base / name
    return path if path.is_file() else None


# --- users ----------------------------------------------------------------------------------------------------------------------------


class User(Struct, frozen=True):
    """An ordinary user. groups: names of the groups that it is in. No password is ever read."""

    name: str
    number: int
    shell: str = ""
    groups: tuple[str, ...] = ()


def users(root: Path = Path("/")) -> list[User]:
    """The people that have an account, not the accounts of services."""
    members: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for line in read(root / "etc/group").splitlines():
        fields = line.split(":")
        if len(fields) >= 4:
            names[fields[2]] = fields[0]
            for member in fields[3].split(","):
                members.setdefault(member, []).append(fields[0])
    found = []
    for line in read(root / "etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) >= 7 and fields[2].isdecimal() and int(fields[2]) in ORDINARY:
            own = [names[fields[3]]] if fields[3] in names else []
            groups = dict.fromkeys([*own, *members.get(fields[0], ())])
            found.append(User(fields[0], int(fields[2]), fields[6], tuple(groups)))
    return found


def host_name(root: Path = Path("/")) -> str:
    """The name of this machine."""
    return read(root / "proc/sys/kernel/hostname")


def is_host_name(text: str) -> bool:
    """Whether a text can be a host name: labels of letters, digits and hyphens (RFC 1123)."""
    label = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    return len(text) <= 64 and re.fullmatch(rf"{label}(?:\.{label})*", text) is not None


_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,15})?")


def is_address(text: str) -> bool:
    """Whether a text is an IP address, with or without a zone; Python's own reading takes anything for a zone, a line end too."""
    if _ADDRESS.fullmatch(text) is None:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_link(path: Path) -> bool:
    """Whether a file stands for another one, which somebody else may keep up to date."""
    return os.path.islink(path)
