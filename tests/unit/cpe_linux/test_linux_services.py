"""Names, leases, users and the clock of a machine made of files, through the data model: what an ACS reads and writes.

Files lie below a directory; only the network is the real one of whoever runs the tests, and is read, not changed.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.cpe.clock import SystemClock
from homeport.cpe.devices.linux.device import LinuxDevice
from homeport.cpe.devices.plugin_host import PluginHost
from homeport.errors import Fault
from homeport.model.profile import load_profile
from homeport.model.tree import DataModel
from homeport.terms import Writer

SERVER = "Device.DNS.Client.Server."


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Box:
    """A machine of files at a data model."""

    def __init__(self, root: Path) -> None:
        put(root, "etc/resolv.conf", "search example.com\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n")
        put(root, "etc/passwd", "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n")
        put(root, "etc/systemd/timesyncd.conf", "[Time]\nNTP=ntp.example.com\n")
        put(root, "proc/sys/kernel/hostname", "old\n")
        put(root, "proc/sys/kernel/osrelease", "6.1.0\n")
        put(root, "proc/uptime", "100.5 20.0\n")
        put(root, "etc/os-release", 'PRETTY_NAME="Example OS 7"\nVERSION_ID=7\n')
        put(root, "etc/dnsmasq.conf", "dhcp-range=set:lan,192.168.1.100,192.168.1.199,12h\n")
        put(root, "var/lib/misc/dnsmasq.leases", "0 02:00:00:00:00:09 192.168.1.109 printer *\n")
        put(
            root,
            "var/lib/dhcp/dhclient.leases",
            'lease {\n  interface "lo";\n  fixed-address 127.0.0.1;\n  option subnet-mask 255.0.0.0;\n'
            "  option domain-name-servers 192.0.2.1;\n  option dhcp-server-identifier 192.0.2.9;\n  expire never;\n}\n",
        )
        put(root, "etc/default/locale", "LANG=de_DE.UTF-8\n")
        clock = SystemClock()
        self.root = root
        self.device = LinuxDevice(clock, directory=root, root=root)
        self.model = DataModel(load_profile("linux"))
        self.host = PluginHost(self.device.plugins, clock)
        self.device.attach(self.model)
        self.host.attach(self.model)
        self.device.settle()

    def value(self, path: str) -> str:
        return self.model.get("Device." + path)[0].value

    def column(self, table: str, name: str) -> list[str]:
        self.model.freshen([table])
        return [self.model.get(f"{table}{n}.{name}")[0].value for n in self.model.instances(table)]

    def set(self, **values: str) -> int:
        with self.model.transaction(Writer.ACS) as change:
            for name, text in values.items():
                change.set("Device." + name.replace("__", "."), text)
            return change.commit()

    def add_server(self) -> str:
        with self.model.transaction(Writer.ACS) as change:
            number = change.add_object(SERVER)
            change.commit()
        return f"DNS__Client__Server__{number}__"

    def resolv_conf(self) -> list[str]:
        return [x for x in (self.root / "etc/resolv.conf").read_text().splitlines() if x.startswith("nameserver")]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.host.close()
    made.device.close()


def test_name_servers_are_rows_in_the_order_in_which_they_are_asked(box: Box) -> None:
    """One of them came by DHCP."""
    assert box.column(SERVER, "DNSServer") == ["192.0.2.1", "192.0.2.2"]
    assert box.column(SERVER, "Type") == ["DHCPv4", "Static"]


def test_name_servers_are_added_replaced_switched_off_and_deleted(box: Box) -> None:
    """Each time the file says what the rows say, and the rest of it stays."""
    row = box.add_server()
    box.set(**{row + "DNSServer": "2001:db8::53", row + "Enable": "true"})
    assert box.resolv_conf() == ["nameserver 192.0.2.1", "nameserver 192.0.2.2", "nameserver 2001:db8::53"]
    box.set(DNS__Client__Server__1__DNSServer="192.0.2.7")
    assert box.resolv_conf()[0] == "nameserver 192.0.2.7"
    box.set(DNS__Client__Server__2__Enable="false")
    assert box.resolv_conf() == ["nameserver 192.0.2.7", "nameserver 2001:db8::53"]
    assert sorted(box.column(SERVER, "DNSServer")) == ["192.0.2.2", "192.0.2.7", "2001:db8::53"]
    assert box.value("DNS.Client.Server.2.Status") == "Disabled"
    with box.model.transaction(Writer.ACS) as change:
        change.delete_object(SERVER + "1.")
        change.commit()
    assert box.resolv_conf() == ["nameserver 2001:db8::53"]
    assert "search example.com" in (box.root / "etc/resolv.conf").read_text()


def test_two_name_servers_of_one_request_are_both_taken(box: Box) -> None:
    """Each row is a change of the same file."""
    box.set(DNS__Client__Server__1__DNSServer="192.0.2.7", DNS__Client__Server__2__DNSServer="192.0.2.8")
    assert box.resolv_conf() == ["nameserver 192.0.2.7", "nameserver 192.0.2.8"]


def test_a_name_server_is_an_address(box: Box) -> None:
    """A name would need a name server; and what hides a line of its own in the zone of an address writes no line into the file."""
    for text in (
        "dns.example.com",
        "fe80::1%eth0\nnameserver 198.51.100.6",
        "192.0.2.9\noptions rotate",
        "fe80::1%a b",
    ):
        with pytest.raises(Fault) as refused:
            box.set(DNS__Client__Server__1__DNSServer=text)
        assert int(refused.value.parameters[0].code) in (9006, 9007)
        assert box.resolv_conf() == ["nameserver 192.0.2.1", "nameserver 192.0.2.2"]
    box.set(DNS__Client__Server__1__DNSServer="fe80::1%eth0")
    assert box.resolv_conf()[0] == "nameserver fe80::1%eth0"


def test_host_name_zone_and_ntp_servers_are_written(box: Box) -> None:
    """And read back; what is none of these is refused with a sentence."""
    box.set(
        DeviceInfo__HostName="new-name",
        Time__LocalTimeZone="CET-1CEST,M3.5.0,M10.5.0/3",
        Time__Client__1__Servers="192.0.2.123,ntp2.example.com",
    )
    assert box.value("DeviceInfo.HostName") == "new-name"
    assert (box.root / "etc/hostname").read_text() == "new-name\n"
    assert box.value("Time.LocalTimeZone") == "CET-1CEST,M3.5.0,M10.5.0/3"
    assert box.value("Time.Client.1.Servers") == "192.0.2.123,ntp2.example.com"
    assert "NTP=192.0.2.123 ntp2.example.com" in (box.root / "etc/systemd/timesyncd.conf").read_text()
    for name, text, words in (
        ("DeviceInfo__HostName", "a b", "no host name"),
        ("Time__LocalTimeZone", "Middle/Earth", "no time zone"),
        ("Time__Client__1__Servers", "ok.example.com,no good", "neither a host name nor an address"),
        ("Time__Client__1__Servers", "fe80::1%x\nFallbackNTP=evil.example", "neither a host name nor an address"),
    ):
        with pytest.raises(Fault) as refused:
            box.set(**{name: text})
        assert words in refused.value.parameters[0].text
        assert int(refused.value.parameters[0].code) == 9007


def test_all_of_a_request_is_taken_back_where_one_of_it_is_refused(box: Box) -> None:
    """The host name was written already when the zone could not be: a directory lies in its place."""
    box.set(DeviceInfo__HostName="first")
    (box.root / "etc/localtime").mkdir()
    with pytest.raises(Fault):
        box.set(DeviceInfo__HostName="second", Time__LocalTimeZone="EST5EDT,M3.2.0,M11.1.0")
    assert (box.root / "etc/hostname").read_text() == "first\n"


def test_leases_users_and_the_system_are_shown(box: Box) -> None:
    """DHCP in both directions, people without their secrets, the release, the language."""
    assert box.column("Device.DHCPv4.Client.", "IPAddress") == ["127.0.0.1"]
    assert box.column("Device.DHCPv4.Client.", "LeaseTimeRemaining") == ["-1"]
    assert box.value("DHCPv4.Server.Pool.1.MinAddress") == "192.168.1.100"
    assert box.value("DHCPv4.Server.Pool.1.Client.1.Chaddr") == "02:00:00:00:00:09"
    assert box.value("DHCPv4.Server.Pool.1.Client.1.IPv4Address.1.IPAddress") == "192.168.1.109"
    assert "printer" in box.column("Device.Hosts.Host.", "HostName")
    assert box.column("Device.Users.User.", "Username") == ["anna"]
    assert box.value("DeviceInfo.UpTime") == "100"
    assert box.value("UserInterface.AvailableLanguages") == "de-DE"
    found = box.device.identity()
    assert (found["SoftwareVersion"], found["Description"]) == ("7", "Example OS 7")
    assert found["AdditionalSoftwareVersion"] == "Linux 6.1.0"
