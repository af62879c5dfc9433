"""Addresses as values and texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import RemoteProtocolError
from homeport.transport.addresses import Address, address_of, format_address, is_ip, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1:7547", "192.0.2.1", 7547),
        (" cpe.example.org:1 ", "cpe.example.org", 1),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("192.0.2.1", "192.0.2.1", 80),
        ("[2001:db8::1]", "2001:db8::1", 80),
        ("2001:db8::1", "2001:db8::1", 80),
    ],
)
def test_address_is_read(text: str, host: str, port: int) -> None:
    """TR-181: host:port, port left out for 80, brackets around IPv6."""
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    ["", ":80", "host:", "host:0", "host:65536", "host:8o", "host:１２", "[::1", "[::1]80", "[::1]:", "[1.2.3.4]:80", "[]:1",
     "a:b:c", "a b:80", "http://host:80", "host/path:80", "[fe80::1%eth0]:80", "x" * 300],
)  # fmt: skip
def test_other_text_is_refused(text: str) -> None:
    """What cannot be an address is said to be none."""
    with pytest.raises(RemoteProtocolError):
        parse_address(text)


def test_default_port_is_the_callers_where_it_knows_better() -> None:
    """The registry calls 7547 the port of UDP connection requests."""
    assert parse_address("192.0.2.1", default_port=7547).port == 7547


def test_port_is_always_written() -> None:
    """The texts disagree on what its absence means."""
    assert format_address(Address("192.0.2.1", 80)) == "192.0.2.1:80"
    assert str(Address("2001:db8::1", 7547)) == "[2001:db8::1]:7547"


@given(st.ip_addresses().filter(lambda ip: "%" not in str(ip)), st.integers(1, 65535))
def test_written_address_is_read_back(ip: object, port: int) -> None:
    """Writing and reading are each other's opposite."""
    address = Address(str(ip), port)
    assert parse_address(format_address(address)) == address


def test_mapped_ipv4_of_a_dual_socket_is_plain_ipv4() -> None:
    """One device has one address, whatever socket it came in on."""
    assert address_of(("::ffff:192.0.2.1", 5000, 0, 0)) == Address("192.0.2.1", 5000)
    assert address_of(("2001:db8::1", 5000, 0, 0)) == Address("2001:db8::1", 5000)
    assert address_of(("192.0.2.1", 5000)) == Address("192.0.2.1", 5000)


def test_names_and_zones_are_no_ip() -> None:
    """Only literals can be put into a datagram."""
    assert is_ip("192.0.2.1") and is_ip("::1")
    assert not is_ip("example.org") and not is_ip("fe80::1%eth0") and not is_ip("")
