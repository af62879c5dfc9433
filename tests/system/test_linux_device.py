"""The Linux device against the kernel: what it shows is what `ip` and /proc say, and what it is told to do happens.

Each test runs in a network namespace of its own; the data model, the plug-in host and the netlink socket are real.
"""

import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpe_support.netns import ip, ip_json, needs_namespaces, own_network
from homeport.cpe.clock import SystemClock
from homeport.cpe.devices.linux import machine
from homeport.cpe.devices.linux.device import LinuxDevice
from homeport.cpe.devices.plugin_host import PluginHost
from homeport.errors import Fault
from homeport.model.profile import load_profile
from homeport.model.tree import DataModel
from homeport.terms import Writer

pytestmark = needs_namespaces


class Machine:
    """This machine's device at a data model."""

    def __init__(self, directory: Path, before: "Machine | None" = None) -> None:
        """before: an earlier life of the agent, whose state is taken over."""
        clock = SystemClock()
        self.device = LinuxDevice(clock, directory=directory)
        self.model = DataModel(load_profile("linux"), state=before.model.dump_state() if before is not None else None)
        if before is not None:
            self.device.changes.keep = before.device.changes.keep
            self.device.changes.resume()
        self.host = PluginHost(self.device.plugins, clock)
        self.device.attach(self.model)
        self.host.attach(self.model)
        self.device.settle()

    def value(self, path: str) -> str:
        return self.model.get("Device." + path)[0].value

    def row(self, table: str, **columns: str) -> str:
        """The path of the row with these values, with its trailing dot."""
        for number in self.numbers(table):
            path = f"{table}{number}."
            if all(self.value(path + name) == text for name, text in columns.items()):
                return path
        raise AssertionError(f"no row of {table} has {columns}: {self.model.get('Device.' + table)}")

    def numbers(self, table: str) -> list[int]:
        """Instance numbers, looked up anew."""
        self.model.freshen(["Device." + table])
        return self.model.instances("Device." + table)

    def set(self, **values: str) -> int:
        """SetParameterValues; in the names `__` stands for a dot."""
        with self.model.transaction(Writer.ACS) as change:
            for name, text in values.items():
                change.set("Device." + name.replace("__", "."), text)
            return change.commit()

    def put(self, path: str, text: str) -> int:
        """One value."""
        return self.set(**{path.replace(".", "__"): text})

    def add(self, table: str) -> str:
        """AddObject: the path of the new row."""
        with self.model.transaction(Writer.ACS) as change:
            number = change.add_object("Device." + table)
            change.commit()
        return f"{table}{number}."

    def delete(self, path: str) -> None:
        """DeleteObject."""
        with self.model.transaction(Writer.ACS) as change:
            change.delete_object("Device." + path)
            change.commit()

    def refusals(self, **values: str) -> dict[str, tuple[int, str]]:
        """The faults that a SetParameterValues ends with, by parameter."""
        with pytest.raises(Fault) as refused:
            self.set(**values)
        return {p.name.removeprefix("Device."): (int(p.code), p.text) for p in refused.value.parameters}


@pytest.fixture
def network() -> Iterator[None]:
    """A namespace with eth0 (10.1.0.2/24, its other end peer0), a bridge with one port, and a default route."""
    with own_network():
        ip("link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
        ip("link", "add", "br0", "type", "bridge")
        ip("link", "add", "port0", "type", "veth", "peer", "name", "port1")
        ip("link", "set", "port0", "master", "br0")
        for name in ("eth0", "peer0", "br0", "port0", "port1"):
            ip("link", "set", name, "up")
        ip("address", "add", "10.1.0.2/24", "dev", "eth0")
        ip("address", "add", "fd00:1::2/64", "dev", "eth0", "nodad")
        ip("route", "add", "default", "via", "10.1.0.1", "metric", "10")
        yield


@pytest.fixture
def box(network: None, tmp_path: Path) -> Iterator[Machine]:
    """The device in that namespace."""
    machine_ = Machine(tmp_path)
    yield machine_
    machine_.device.close()
    machine_.host.close()


def addresses(name: str) -> set[str]:
    """`address/prefix` of an interface, as ip has them."""
    return {f"{a['local']}/{a['prefixlen']}" for x in ip_json("address", "show", name) for a in x["addr_info"]}


def test_links_are_what_ip_says(box: Machine) -> None:
    """Name, hardware address, MTU and state of every link, as `ip -j link` has them."""
    for link in ip_json("link"):
        path = box.row("IP.Interface.", Name=link["ifname"]) if "master" not in link else ""
        if path:
            assert box.value(path + "MaxMTUSize") == str(min(link["mtu"], 65535))
            assert box.value(path + "Enable") == str("UP" in link["flags"]).lower()
            assert box.value(path + "Type") == ("Loopback" if link["ifname"] == "lo" else "Normal")
    ports = {link["ifname"]: link for link in ip_json("link") if link["ifname"] not in ("lo", "br0")}
    for name, link in ports.items():
        path = box.row("Ethernet.Interface.", Name=name)
        assert box.value(path + "MACAddress") == link["address"].upper()
        assert box.value(path + "Status") == "Up"
    assert len(box.numbers("Ethernet.Interface.")) == len(ports)
    assert box.value(box.row("Ethernet.Interface.", Name="eth0") + "Upstream") == "true"
    assert box.value(box.row("Ethernet.Interface.", Name="port0") + "Upstream") == "false"


def test_addresses_are_what_ip_says(box: Machine) -> None:
    """`ip -j address`, IPv4 and IPv6, with masks, prefixes and their state."""
    path = box.row("IP.Interface.", Name="eth0")
    v4 = box.row(path + "IPv4Address.", IPAddress="10.1.0.2")
    assert box.value(v4 + "SubnetMask") == "255.255.255.0"
    assert box.value(v4 + "Status") == "Enabled"
    assert box.value(v4 + "AddressingType") == "Static"
    shown = {box.value(f"{path}IPv6Address.{n}.IPAddress") for n in box.numbers(path + "IPv6Address.")}
    assert shown == {a.partition("/")[0] for a in addresses("eth0") if ":" in a}
    v6 = box.row(path + "IPv6Address.", IPAddress="fd00:1::2")
    assert box.value(v6 + "IPAddressStatus") == "Preferred"
    assert box.value(v6 + "Origin") == "Static"
    prefix = box.value(v6 + "Prefix").removeprefix("Device.")
    assert box.value(prefix + ".Prefix") == "fd00:1::/64"


def test_routes_are_what_ip_says(box: Machine) -> None:
    """`ip -j route` and `ip -j -6 route` of the main table."""
    table = "Routing.Router.1.IPv4Forwarding."
    shown = set()
    for n in box.numbers(table):
        row = f"{table}{n}."
        interface = box.value(row + "Interface").removeprefix("Device.")
        shown.add(
            (box.value(row + "DestIPAddress"), box.value(row + "GatewayIPAddress"), box.value(interface + ".Name"))
        )
    said = {
        (r["dst"].partition("/")[0].replace("default", ""), r.get("gateway", ""), r["dev"]) for r in ip_json("route")
    }
    assert shown == said
    default = box.row(table, DestIPAddress="")
    assert box.value(default + "ForwardingMetric") == "10"
    assert box.value(default + "Origin") == "Static"
    v6 = {r["dst"] for r in ip_json("-6", "route") if r.get("type", "unicast") == "unicast"}
    table = "Routing.Router.1.IPv6Forwarding."
    assert {box.value(f"{table}{n}.DestIPPrefix") for n in box.numbers(table)} == {
        d if "/" in d else f"{d}/128" for d in v6
    }


def test_counters_are_what_ip_says(box: Machine) -> None:
    """`ip -j -s link` before and after some packets; the counters move and agree."""
    path = box.row("Ethernet.Interface.", Name="eth0") + "Stats."
    before = int(box.value(path + "BytesSent"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talker:
        talker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(5):
            talker.sendto(b"x" * 100, ("10.1.0.255", 9))
    box.device.network.forget("link")
    counted = ip_json("-s", "link", "show", "eth0")[0]["stats64"]
    shown = {v.name.rpartition(".")[2]: int(v.value) for v in box.model.get("Device." + path)}
    assert shown["BytesSent"] > before
    for ours, side, theirs in (
        ("BytesReceived", "rx", "bytes"),
        ("PacketsReceived", "rx", "packets"),
        ("ErrorsReceived", "rx", "errors"),
        ("DiscardPacketsReceived", "rx", "dropped"),
        ("PacketsSent", "tx", "packets"),
        ("ErrorsSent", "tx", "errors"),
    ):
        assert abs(shown[ours] - counted[side][theirs]) <= (400 if "Bytes" in ours else 3), ours


def test_a_bridge_has_its_ports_and_the_stack_says_who_is_above_whom(box: Machine) -> None:
    """The bridge itself is its management port; IP is on a link, the link on that port, that port on the others."""
    bridge = box.row("Bridging.Bridge.", Name="br0")
    own = box.row(bridge + "Port.", Name="br0")
    member = box.row(bridge + "Port.", Name="port0")
    assert box.value(own + "ManagementPort") == "true"
    assert box.value(own + "LowerLayers") == "Device." + member.rstrip(".")
    assert box.value(member + "LowerLayers") == "Device." + box.row("Ethernet.Interface.", Name="port0").rstrip(".")
    assert box.value(member + "PortState") == "Forwarding"
    pairs = {
        (box.value(f"InterfaceStack.{n}.HigherLayer"), box.value(f"InterfaceStack.{n}.LowerLayer"))
        for n in box.numbers("InterfaceStack.")
    }
    link = box.row("Ethernet.Link.", Name="br0")
    chain = [box.row("IP.Interface.", Name="br0"), link, own, member, box.row("Ethernet.Interface.", Name="port0")]
    paths = ["Device." + p.rstrip(".") for p in chain]
    assert set(itertools.pairwise(paths)) <= pairs


def test_neighbours_become_hosts_but_not_the_way_out(box: Machine) -> None:
    """`ip neigh`: the gateway of the default route is no host of this device."""
    ip("neigh", "add", "10.1.0.50", "lladdr", "02:00:00:00:00:50", "dev", "eth0", "nud", "reachable")
    ip("neigh", "add", "fd00:1::50", "lladdr", "02:00:00:00:00:50", "dev", "eth0", "nud", "stale")
    ip("neigh", "add", "10.1.0.1", "lladdr", "02:00:00:00:00:01", "dev", "eth0", "nud", "reachable")
    assert len(box.numbers("Hosts.Host.")) == 1
    host = box.row("Hosts.Host.", PhysAddress="02:00:00:00:00:50")
    assert box.value(host + "IPAddress") == "10.1.0.50"
    assert box.value(host + "Active") == "true"
    assert box.value(host + "Layer3Interface") == "Device." + box.row("IP.Interface.", Name="eth0").rstrip(".")
    assert [box.value(f"{host}IPv6Address.{n}.IPAddress") for n in box.numbers(host + "IPv6Address.")] == ["fd00:1::50"]


def test_the_machine_is_what_proc_says(box: Machine) -> None:
    """Uptime, memory, processes, host name."""
    assert abs(int(box.value("DeviceInfo.UpTime")) - machine.uptime()) < 5
    total = next(x.split()[1] for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal"))
    assert box.value("DeviceInfo.MemoryStatus.Total") == total
    assert box.value("DeviceInfo.HostName") == os.uname().nodename
    own = box.row("DeviceInfo.ProcessStatus.Process.", PID=str(os.getpid()))
    assert box.value(own + "Command") == Path("/proc/self/comm").read_text().strip()
    assert 0 <= int(box.value("DeviceInfo.ProcessStatus.CPUUsage")) <= 100


def test_an_interface_is_switched_off_and_on(box: Machine) -> None:
    """Enable of either layer reaches the kernel; Status follows."""
    path = box.row("Ethernet.Interface.", Name="eth0")
    assert box.put(path + "Enable", "false") == 0
    assert "UP" not in ip_json("link", "show", "eth0")[0]["flags"]
    assert box.value(path + "Status") == "Down"
    box.put(box.row("IP.Interface.", Name="eth0") + "Enable", "true")
    assert "UP" in ip_json("link", "show", "eth0")[0]["flags"]
    assert box.value(path + "Enable") == "true"


def test_an_address_is_added_changed_and_deleted(box: Machine) -> None:
    """AddObject makes a draft; with its values it is in the kernel, under the same instance number all the time."""
    table = box.row("IP.Interface.", Name="eth0") + "IPv4Address."
    row = box.add(table)
    assert box.value(row + "Status") == "Disabled"
    name = row.replace(".", "__")
    box.set(**{name + "IPAddress": "10.2.0.1", name + "SubnetMask": "255.255.0.0", name + "Enable": "true"})
    assert "10.2.0.1/16" in addresses("eth0")
    assert box.row(table, IPAddress="10.2.0.1", Status="Enabled") == row
    box.set(**{name + "IPAddress": "10.2.0.7", name + "SubnetMask": "255.255.255.0"})
    assert {"10.2.0.7/24", "10.1.0.2/24"} == {a for a in addresses("eth0") if "." in a}
    assert box.row(table, IPAddress="10.2.0.7") == row
    box.put(row + "Enable", "false")
    assert "10.2.0.7/24" not in addresses("eth0")
    assert box.row(table, IPAddress="10.2.0.7", Enable="false", Status="Disabled") == row
    box.put(row + "Enable", "true")
    box.delete(row)
    assert {a for a in addresses("eth0") if "." in a} == {"10.1.0.2/24"}
    assert len(box.numbers(table)) == 1


def test_an_ipv6_address_is_added_and_deleted(box: Machine) -> None:
    """Without a prefix the length is 64; the spelling of the ACS stays."""
    table = box.row("IP.Interface.", Name="eth0") + "IPv6Address."
    row = box.add(table)
    name = row.replace(".", "__")
    box.set(**{name + "IPAddress": "FD00:2:0::9", name + "Enable": "true"})
    assert "fd00:2::9/64" in addresses("eth0")
    assert box.row(table, IPAddress="FD00:2:0::9") == row
    box.delete(row)
    assert "fd00:2::9/64" not in addresses("eth0")


def test_the_address_of_an_interface_is_replaced_and_its_routes_stay(box: Machine) -> None:
    """The default route leads through the same subnet before and after: an address change must not cost it."""
    table = box.row("IP.Interface.", Name="eth0") + "IPv4Address."
    row = box.row(table, IPAddress="10.1.0.2")
    box.put(row + "IPAddress", "10.1.0.200")
    assert {a for a in addresses("eth0") if "." in a} == {"10.1.0.200/24"}
    assert [r["gateway"] for r in ip_json("route", "show", "default")] == ["10.1.0.1"]
    assert box.row(table, IPAddress="10.1.0.200") == row


def test_a_route_is_added_changed_and_deleted(box: Machine) -> None:
    """One transaction for all its values; another gateway; gone."""
    table = "Routing.Router.1.IPv4Forwarding."
    row = box.add(table)
    name = row.replace(".", "__")
    interface = "Device." + box.row("IP.Interface.", Name="eth0")
    box.set(
        **{
            name + "DestIPAddress": "10.50.0.0",
            name + "DestSubnetMask": "255.255.0.0",
            name + "GatewayIPAddress": "10.1.0.1",
            name + "Interface": interface,
            name + "Enable": "true",
        }
    )
    assert [(r["dst"], r["gateway"]) for r in ip_json("route", "show", "10.50.0.0/16")] == [
        ("10.50.0.0/16", "10.1.0.1")
    ]
    assert box.row(table, DestIPAddress="10.50.0.0", Status="Enabled") == row
    box.put(row + "GatewayIPAddress", "10.1.0.9")
    assert [r["gateway"] for r in ip_json("route", "show", "10.50.0.0/16")] == ["10.1.0.9"]
    assert box.row(table, DestIPAddress="10.50.0.0") == row
    box.delete(row)
    assert ip_json("route", "show", "10.50.0.0/16") == []


def test_an_ipv6_route_needs_only_its_gateway(box: Machine) -> None:
    """The interface is the one over which the gateway is reached."""
    table = "Routing.Router.1.IPv6Forwarding."
    row = box.add(table)
    name = row.replace(".", "__")
    box.set(**{name + "DestIPPrefix": "fd00:50::/48", name + "NextHop": "fd00:1::1", name + "Enable": "true"})
    assert [r["gateway"] for r in ip_json("-6", "route", "show", "fd00:50::/48")] == ["fd00:1::1"]
    assert box.row(table, DestIPPrefix="fd00:50::/48", Status="Enabled") == row


def test_a_request_is_done_as_a_whole_or_not_at_all(box: Machine) -> None:
    """TR-069a6 A.3.2.1: the address was in the kernel already when the route was refused; it is taken back."""
    path = box.row("IP.Interface.", Name="eth0")
    address = box.row(path + "IPv4Address.", IPAddress="10.1.0.2").replace(".", "__")
    row = box.add("Routing.Router.1.IPv4Forwarding.").replace(".", "__")
    refused = box.refusals(
        **{
            address + "IPAddress": "10.1.0.77",
            row + "DestIPAddress": "10.60.0.0",
            row + "DestSubnetMask": "255.255.0.0",
            row + "GatewayIPAddress": "172.31.9.9",
            row + "Enable": "true",
        }
    )
    assert {code for code, _ in refused.values()} == {9007}
    assert {a for a in addresses("eth0") if "." in a} == {"10.1.0.2/24"}
    assert [r["gateway"] for r in ip_json("route", "show", "default")] == ["10.1.0.1"]
    assert box.value(address.replace("__", ".") + "IPAddress") == "10.1.0.2"


@pytest.mark.parametrize(
    ("parameter", "text", "code", "words"),
    [
        ("IPv4Address.1.SubnetMask", "255.0.255.0", 9007, "no subnet mask"),
        ("IPv4Address.1.IPAddress", "224.0.0.1", 9007, "cannot be the address of an interface"),
        ("MaxMTUSize", "64", 9007, "the interface eth0 could not be changed"),
        ("LowerLayers", "", 9008, "is read-only"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    box: Machine, parameter: str, text: str, code: int, words: str
) -> None:
    """9007 for a value, 9008 for what the machine decides itself."""
    path = box.row("IP.Interface.", Name="eth0") + parameter
    if parameter == "LowerLayers":
        text = box.value(path).replace("Link.", "Interface.")
    refused = box.refusals(**{path.replace(".", "__"): text})
    assert refused[path][0] == code
    assert words in refused[path][1]


def test_a_route_that_belongs_to_an_address_is_not_touched(box: Machine) -> None:
    """The kernel makes it for the address; deleting it would cut the interface off for nobody's good."""
    row = box.row("Routing.Router.1.IPv4Forwarding.", DestIPAddress="10.1.0.0")
    with pytest.raises(Fault, match="belongs to an address"):
        box.delete(row)
    assert ip_json("route", "show", "10.1.0.0/24")


def test_after_a_restart_rows_are_what_they_were(box: Machine, tmp_path: Path) -> None:
    """Disabled rows stay; what went while the agent was away is gone; what was added is made again; numbers are the same."""
    table = box.row("IP.Interface.", Name="eth0") + "IPv4Address."
    off, on = box.add(table).replace(".", "__"), box.add(table).replace(".", "__")
    box.set(**{off + "IPAddress": "10.3.0.1", off + "SubnetMask": "255.255.255.0"})
    box.set(**{on + "IPAddress": "10.4.0.1", on + "SubnetMask": "255.255.255.0", on + "Enable": "true"})
    route = box.add("Routing.Router.1.IPv4Forwarding.").replace(".", "__")
    box.set(
        **{
            route + "DestIPAddress": "10.90.0.0",
            route + "DestSubnetMask": "255.255.0.0",
            route + "GatewayIPAddress": "10.1.0.1",
        }
    )
    draft = box.add("Routing.Router.1.IPv4Forwarding.")
    ip("address", "add", "10.5.0.1/24", "dev", "eth0")
    lost = box.row(table, IPAddress="10.5.0.1")
    ip("address", "del", "10.5.0.1/24", "dev", "eth0")
    ip("address", "del", "10.4.0.1/24", "dev", "eth0")
    again = Machine(tmp_path, box)
    try:
        assert again.row(table, IPAddress="10.3.0.1", Enable="false") == off.replace("__", ".")
        assert again.row(table, IPAddress="10.4.0.1", Status="Enabled") == on.replace("__", ".")
        assert "10.4.0.1/24" in addresses("eth0")
        path = route.replace("__", ".")
        assert again.row("Routing.Router.1.IPv4Forwarding.", DestIPAddress="10.90.0.0", Status="Disabled") == path
        assert again.model.exists("Device." + draft)
        assert not again.model.exists("Device." + lost)
        again.put(path + "Enable", "true")
        assert ip_json("route", "show", "10.90.0.0/16")
        again.delete(path)
        again.delete(on.replace("__", "."))
        assert list(again.device.changes.held) == ["address eth0 10.3.0.1/24"]
    finally:
        again.device.close()
        again.host.close()


def test_an_interface_that_is_plugged_in_again_gets_its_settings(box: Machine) -> None:
    """A USB adapter, say: what the ACS had asked for is made true when it is back."""
    row = box.row("IP.Interface.", Name="port1")
    box.put(row + "MaxMTUSize", "1300")
    ip("link", "del", "port1")
    ip("link", "add", "port1", "type", "veth", "peer", "name", "port0")
    box.device.network.forget()
    box.device.changes.renew({"port1"})
    assert ip_json("link", "show", "port1")[0]["mtu"] == 1300


def test_rows_follow_what_others_do_to_the_machine(box: Machine) -> None:
    """`ip` in a shell: rows come and go, numbers of what stays are the same."""
    table = box.row("IP.Interface.", Name="eth0") + "IPv4Address."
    kept = box.row(table, IPAddress="10.1.0.2")
    ip("address", "add", "10.7.0.1/24", "dev", "eth0")
    assert len(box.numbers(table)) == 2
    ip("address", "del", "10.7.0.1/24", "dev", "eth0")
    assert box.row(table, IPAddress="10.1.0.2") == kept
    assert len(box.numbers(table)) == 1
    ip("link", "set", "eth0", "down")
    assert box.value(box.row("Ethernet.Interface.", Name="eth0") + "Status") == "Down"
    ip("link", "del", "eth0")
    names = [box.value(f"IP.Interface.{n}.Name") for n in box.numbers("IP.Interface.")]
    assert "eth0" not in names
