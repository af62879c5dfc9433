"""OpenWrt's configuration as the place where confirmed changes are kept: `uci` is run with argument lists, never through a shell.

The kernel has been changed already when this is asked (by netlink); what is written here makes netifd do the same at the next boot or
reload. Facts that UCI has no place for (a link that none of its interfaces names) are given back and kept by Homeport itself.
Source: OpenWrt's documentation of /etc/config/network and /etc/config/system, and of uci(1).
"""

import ipaddress
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from msgspec import Struct, field

from homeport.cpe.devices.linux import commands, facts
from homeport.cpe.devices.linux.facts import ON, Fact
from homeport.cpe.devices.linux.names import is_posix_zone
from homeport.cpe.devices.linux.netlink import Refused

Values = list[str]


class Section(Struct):
    """One section of a package. options: a list for each, whether it was written as an option or a list."""

    name: str
    kind: str
    options: dict[str, Values] = field(default_factory=dict)

    def get(self, option: str) -> str:
        """The first value of an option, "" where it has none."""
        return next(iter(self.options.get(option, ())), "")


_VALUE: Final = re.compile(r"'((?:[^']|'\\'')*)'")


def parse_show(text: str) -> list[Section]:
    """The output of `uci show PACKAGE`, sections in their order."""
    found: dict[str, Section] = {}
    for line in text.splitlines():
        path, equals, value = line.partition("=")
        parts = path.split(".", 2)
        if not equals or len(parts) < 2:
            continue
        quoted = [v.replace("'\\''", "'") for v in _VALUE.findall(value)]
        values = quoted or [value]
        if len(parts) == 2:
            found[parts[1]] = Section(parts[1], values[0])
        elif parts[1] in found:
            found[parts[1]].options[parts[2]] = values
    return list(found.values())


def backend_of() -> "Uci | None":
    """The back end, where this machine has uci and a network configuration in it; None elsewhere."""
    if not commands.program("uci"):
        return None
    return Uci() if commands.output("uci", "-q", "show", "network") else None


class Uci:
    """The packages network and system."""

    name = "UCI"

    def __init__(self, *, run: Callable[..., str] = commands.run, arguments: Sequence[str] = ()) -> None:
        """run: as `commands.run`. arguments: before each command, such as -c DIRECTORY."""
        self._run = run
        self._arguments = tuple(arguments)
        self._network: list[Section] = []

    def keep(self, facts_: Sequence[Fact], before: dict[str, Any]) -> list[Fact]:
        """Write facts and commit them; gives those without a place. Raises Refused, with nothing written."""
        self._network = parse_show(self._uci("show", "network"))
        left: list[Fact] = []
        touched: set[str] = set()
        try:
            # What goes first leaves its place to what comes.
            for fact in sorted(facts_, key=lambda f: f.value == ON):
                steps = list(self._steps(fact))
                if not steps:
                    left.append(fact)
                for step in steps:
                    if step[0] != "nothing":
                        self._uci(*step)
                        touched.add(step[1].partition(".")[0])
                if steps and fact.kind in ("address", "route", "up", "mtu", "dns"):
                    self._network = parse_show(self._uci("show", "network"))
            for package in sorted(touched):
                self._uci("commit", package)
        except Refused:
            for package in ("network", "system"):
                try:
                    self._uci("revert", package)
                except Refused:
                    continue  # the first refusal is the one to be told
            raise
        return left

    def _uci(self, *arguments: str) -> str:
        return self._run("uci", [*self._arguments, *arguments])

    # --- what a fact is in UCI ----------------------------------------------------------------------------------------------------------

    def _steps(self, fact: Fact) -> Iterable[tuple[str, ...]]:
        """uci's commands for one fact; none where there is no place for it; ("nothing",) where it is so already."""
        kind = fact.kind
        if kind == "address":
            return self._address(fact)
        if kind == "route":
            return self._route(fact)
        if kind == "up":
            name = fact.key.split(" ")[1]
            mine = self._interfaces(name)
            if fact.value:
                steps = [("delete", f"network.{s.name}.disabled") for s in mine if s.get("disabled")]
            else:
                steps = [("set", f"network.{s.name}.disabled=1") for s in mine]
            return steps or ([("nothing",)] if mine else [])
        if kind == "mtu":
            return self._mtu(fact)
        if kind == "dns":
            return self._dns([str(a) for a in fact.value])
        if kind == "host_name":
            return [("set", f"system.@system[0].hostname={fact.value}")]
        if kind == "zone":
            option_name = "timezone" if is_posix_zone(str(fact.value)) else "zonename"
            return [("set", f"system.@system[0].{option_name}={fact.value}")]
        if kind == "ntp":
            had = [s for s in parse_show(self._uci("show", "system")) if s.name == "ntp" and s.options.get("server")]
            steps = [("set", "system.ntp=timeserver"), ("set", "system.ntp.enabled=1")]
            steps += [("delete", "system.ntp.server")] if had else []
            return [*steps, *[("add_list", f"system.ntp.server={a}") for a in fact.value]]
        return []

    def _interfaces(self, link: str) -> list[Section]:
        return [s for s in self._network if s.kind == "interface" and link in (s.get("device"), s.get("ifname"))]

    def _address(self, fact: Fact) -> Iterable[tuple[str, ...]]:
        link, text, prefix = facts.address_of(fact.key)
        option = "ip6addr" if ":" in text else "ipaddr"
        sections = [s for s in self._interfaces(link) if s.get("proto") in ("static", "")]
        holder = next((s for s in sections if f"{text}/{prefix}" in _addresses(s, option)), None)
        if fact.value != ON:
            return [("nothing",)] if holder is None else self._put(holder, option, without=f"{text}/{prefix}")
        if holder is not None:
            return [("nothing",)]
        if sections:
            return self._put(sections[0], option, more=f"{text}/{prefix}")
        if not self._interfaces(link):
            return []
        path = f"network.homeport_{re.sub(r'[^A-Za-z0-9]', '_', link)}"
        return [
            ("set", f"{path}=interface"),
            ("set", f"{path}.proto=static"),
            ("set", f"{path}.device={link}"),
            ("add_list", f"{path}.{option}={text}/{prefix}"),
        ]

    @staticmethod
    def _put(section: Section, option: str, *, more: str = "", without: str = "") -> Iterable[tuple[str, ...]]:
        """The addresses of a section, all in the form address/length, so that there can be several."""
        path = f"network.{section.name}"
        wanted = [a for a in _addresses(section, option) if a != without] + ([more] if more else [])
        steps: list[tuple[str, ...]] = [("delete", f"{path}.{option}")] if section.options.get(option) else []
        if option == "ipaddr" and section.get("netmask"):
            steps.append(("delete", f"{path}.netmask"))
        steps += [("add_list", f"{path}.{option}={a}") for a in wanted]
        return steps or [("nothing",)]

    def _route(self, fact: Fact) -> Iterable[tuple[str, ...]]:
        destination, gateway, link, metric = facts.route_of(fact.key)
        kind = "route6" if ":" in destination else "route"
        holders = [s for s in self._network if s.kind == kind and _route(s) == (destination, gateway, metric)]
        interfaces = self._interfaces(link)
        option = "ip6gw" if kind == "route6" else "gateway"
        default = destination in ("0.0.0.0/0", "::/0")
        owners = [s for s in interfaces if default and gateway and s.get(option) == gateway]
        if fact.value != ON:
            steps = [("delete", f"network.{s.name}") for s in holders]
            return [*steps, *[("delete", f"network.{s.name}.{option}") for s in owners]] or [("nothing",)]
        if holders or owners:
            return [("nothing",)]
        if not interfaces:
            return []
        path = f"network.homeport_{zlib.crc32(fact.key.encode()):08x}"
        steps = [
            ("set", f"{path}={kind}"),
            ("set", f"{path}.interface={interfaces[0].name}"),
            ("set", f"{path}.target={destination}"),
        ]
        if gateway:
            steps.append(("set", f"{path}.gateway={gateway}"))
        if metric:
            steps.append(("set", f"{path}.metric={metric}"))
        return steps

    def _mtu(self, fact: Fact) -> Iterable[tuple[str, ...]]:
        link = fact.key.split(" ")[1]
        device = next((s for s in self._network if s.kind == "device" and s.get("name") == link), None)
        if device is not None:
            return [("set", f"network.{device.name}.mtu={fact.value}")]
        if not self._interfaces(link):
            return []
        path = f"network.homeport_device_{re.sub(r'[^A-Za-z0-9]', '_', link)}"
        return [("set", f"{path}=device"), ("set", f"{path}.name={link}"), ("set", f"{path}.mtu={fact.value}")]

    def _dns(self, servers: Sequence[str]) -> Iterable[tuple[str, ...]]:
        interfaces = [s for s in self._network if s.kind == "interface" and s.get("proto") in ("static", "dhcp")]
        interfaces = [s for s in interfaces if s.get("device") != "lo" and s.name != "loopback"]
        if not interfaces:
            return []
        # The interface that leads out is the one whose servers count.
        out = next((s for s in interfaces if s.get("gateway") or s.get("proto") == "dhcp"), interfaces[0])
        path = f"network.{out.name}"
        steps: list[tuple[str, ...]] = [("set", f"{path}.peerdns=0")]
        if out.options.get("dns"):
            steps.append(("delete", f"{path}.dns"))
        return [*steps, *[("add_list", f"{path}.dns={a}") for a in servers]]


def _addresses(section: Section, option: str) -> Values:
    """The addresses of a section as address/length, whichever of UCI's forms it uses."""
    mask = section.get("netmask") or "255.255.255.255"
    found = []
    for text in section.options.get(option, ()):
        for word in text.split():
            if "/" in word:
                found.append(word)
            elif ":" in word:
                found.append(f"{word}/128")
            else:
                found.append(f"{word}/{ipaddress.IPv4Network((0, mask)).prefixlen}")
    return found


def _route(section: Section) -> tuple[str, str, int]:
    """(destination, gateway, metric) of a route's section."""
    target = section.get("target")
    if "/" not in target:
        length = ipaddress.IPv4Network((0, section.get("netmask") or "255.255.255.255")).prefixlen
        target = f"{target or '0.0.0.0'}/{128 if ':' in target else length}"
    metric = section.get("metric")
    return target, section.get("gateway"), int(metric) if metric.isdecimal() else 0
