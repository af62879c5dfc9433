"""DHCP leases as clients and servers leave them on disk."""

import os
import struct
from ipaddress import IPv4Address
from pathlib import Path

from homeport.cpe.devices.linux import leases

DHCLIENT = """
lease {
  interface "eth0";
  fixed-address 192.0.2.10;
  option subnet-mask 255.255.255.0;
  option routers 192.0.2.1,192.0.2.2;
  option dhcp-lease-time 3600;
  option domain-name-servers 192.0.2.53;
  option dhcp-server-identifier 192.0.2.1;
  option vendor-encapsulated-options "a;b}c";
  renew 6 2026/11/21 10:00:00;
  rebind 6 2026/11/21 10:20:00;
  expire 6 2026/11/21 10:30:00;
}
lease {
  interface "eth0";
  fixed-address 192.0.2.11;
  option subnet-mask 255.255.255.0;
  renew epoch 1795257000;
  rebind epoch 1795258000;
  expire never;
}
"""


def test_dhclient_leases_are_read_with_strings_that_hold_brackets_and_semicolons() -> None:
    """dhclient.leases(5)."""
    first, second = leases.parse_dhclient(DHCLIENT)
    assert (first.interface, first.address, first.mask) == ("eth0", "192.0.2.10", "255.255.255.0")
    assert first.routers == ("192.0.2.1", "192.0.2.2")
    assert first.dns == ("192.0.2.53",)
    assert first.server == "192.0.2.1"
    assert first.expire - first.rebind == 600
    assert (second.renew, second.expire) == (1795257000, 0)


def test_the_newest_lease_of_an_interface_counts_and_one_that_ended_does_not(tmp_path: Path) -> None:
    """The file is a log: old leases stay in it."""
    file = tmp_path / "var/lib/dhcp/dhclient.leases"
    file.parent.mkdir(parents=True)
    file.write_text(DHCLIENT.replace("expire never", "expire epoch 1795300000"))
    found = leases.client_leases(tmp_path, now=1795290000.0)
    assert [x.address for x in found] == ["192.0.2.11"]
    assert leases.client_leases(tmp_path, now=1795300001.0) == []


def test_a_lease_of_networkd_counts_from_when_its_file_was_written(tmp_path: Path) -> None:
    """systemd-networkd writes lifetimes in seconds, without the time of the lease."""
    file = tmp_path / "run/systemd/netif/leases/3"
    file.parent.mkdir(parents=True)
    file.write_text(
        "# This is private data. Do not parse.\nADDRESS=192.0.2.20\nNETMASK=255.255.255.0\nROUTER=192.0.2.1\n"
        "SERVER_ADDRESS=192.0.2.1\nT1=1800\nT2=3150\nLIFETIME=3600\nDNS=192.0.2.53 192.0.2.54\n"
    )
    os.utime(file, (1000, 1000))
    (lease,) = leases.client_leases(tmp_path, now=1100.0)
    assert (lease.link, lease.address, lease.dns) == (3, "192.0.2.20", ("192.0.2.53", "192.0.2.54"))
    assert (lease.renew, lease.rebind, lease.expire) == (2800, 4150, 4600)


def test_a_lease_of_network_manager_names_its_interface_in_the_file_s_name(tmp_path: Path) -> None:
    """internal-<uuid>-<interface>.lease."""
    file = tmp_path / "var/lib/NetworkManager/internal-4a40c1a5-b4c0-3b1e-9b8f-0c2d5fbe6e5a-wlan0.lease"
    file.parent.mkdir(parents=True)
    file.write_text("ADDRESS=192.0.2.21\n")
    (lease,) = leases.client_leases(tmp_path, now=1100.0)
    assert (lease.interface, lease.address, lease.expire) == ("wlan0", "192.0.2.21", 0)


def packet(**options: bytes) -> bytes:
    """A DHCPACK as dhcpcd keeps it; options by `o51=...`."""
    head = bytearray(236)
    head[16:20] = IPv4Address("192.0.2.30").packed
    coded = b"".join(bytes([int(n[1:]), len(v)]) + v for n, v in options.items())
    return bytes(head) + b"\x63\x82\x53\x63" + coded + b"\xff"


def test_dhcpcd_keeps_the_server_s_packet(tmp_path: Path) -> None:
    """RFC 2131, 2132: without T1 and T2 the usual parts of the lease time count."""
    file = tmp_path / "var/lib/dhcpcd/eth1.lease"
    file.parent.mkdir(parents=True)
    file.write_bytes(
        packet(
            o51=struct.pack(">I", 800),
            o1=b"\xff\xff\xff\0",
            o3=b"\xc0\0\2\1",
            o6=b"\xc0\0\2\5\xc0\0\2\6",
            o54=b"\xc0\0\2\1",
        )
    )
    os.utime(file, (1000, 1000))
    (lease,) = leases.client_leases(tmp_path, now=1100.0)
    assert (lease.interface, lease.address, lease.mask) == ("eth1", "192.0.2.30", "255.255.255.0")
    assert lease.dns == ("192.0.2.5", "192.0.2.6")
    assert (lease.renew, lease.rebind, lease.expire) == (1400, 1700, 1800)


def test_what_is_no_packet_is_no_lease() -> None:
    """A file that was cut off, or something else altogether."""
    assert leases.parse_dhcp_packet(b"", modified=0) is None
    assert leases.parse_dhcp_packet(packet()[:239], modified=0) is None
    assert leases.parse_dhcp_packet(b"x" * 300, modified=0) is None


def test_dnsmasq_leases_are_read_up_to_the_ipv6_ones() -> None:
    """`expiry mac address name client-id`; * where the client has no name; `duid` begins the IPv6 part."""
    text = (
        "1795290000 02:00:00:00:00:01 192.0.2.100 laptop 01:02:00:00:00:00:01\n"
        "0 06-02:00:00:00:00:02 192.0.2.101 * *\n"
        "broken\n"
        "duid 00:01\n"
        "1795290000 1234 2001:db8::1 laptop 00:01\n"
    )
    first, second = leases.parse_dnsmasq(text)
    assert first == leases.ServerLease("192.0.2.100", "02:00:00:00:00:01", "laptop", 1795290000)
    assert second == leases.ServerLease("192.0.2.101", "02:00:00:00:00:02", "", 0)


def test_leases_of_dnsmasq_that_ended_are_not_shown(tmp_path: Path) -> None:
    """dnsmasq takes its time to clean up."""
    file = tmp_path / "tmp/dhcp.leases"
    file.parent.mkdir(parents=True)
    file.write_text("2000 02:00:00:00:00:01 192.0.2.100 laptop *\n")
    assert len(leases.server_leases(tmp_path, now=1999.0)) == 1
    assert leases.server_leases(tmp_path, now=2001.0) == []
