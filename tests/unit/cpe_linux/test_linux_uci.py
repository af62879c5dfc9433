"""OpenWrt's configuration as the place where changes are kept, against a real program that keeps real files.

The stand-in (cpe_support/uci_stand_in.py) does what uci does with /etc/config; the files are OpenWrt's own in their form.
"""

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import cpe_support.uci_stand_in as stand_in
from homeport.cpe.devices.linux import commands, facts, uci
from homeport.cpe.devices.linux.facts import GONE, OFF, ON, Fact
from homeport.cpe.devices.linux.netlink import Refused

NETWORK = """
config interface 'loopback'
	option device 'lo'
	option proto 'static'
	option ipaddr '127.0.0.1'
	option netmask '255.0.0.0'

config device
	option name 'br-lan'
	option type 'bridge'
	list ports 'lan1'

config interface 'lan'
	option device 'br-lan'
	option proto 'static'
	option ipaddr '192.168.1.1'
	option netmask '255.255.255.0'

config interface 'wan'
	option device 'eth0'
	option proto 'dhcp'

config route
	option interface 'lan'
	option target '10.0.0.0'
	option netmask '255.0.0.0'
	option gateway '192.168.1.254'
"""

SYSTEM = """
config system
	option hostname 'OpenWrt'
	option timezone 'UTC'

config timeserver 'ntp'
	option enabled '0'
	list server '0.openwrt.pool.ntp.org'
"""


class Router:
    """A directory with OpenWrt's files, and the back end over it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "network").write_text(NETWORK)
        (directory / "system").write_text(SYSTEM)
        self.calls: list[list[str]] = []
        self.refuse = ""
        self.backend = uci.Uci(run=self.run, arguments=["-c", str(directory)])

    def run(self, name: str, arguments: Sequence[str]) -> str:
        """The stand-in's main; that it is a program too is shown by a test of its own."""
        self.calls.append(list(arguments))
        if self.refuse and self.refuse in arguments[-1]:
            raise Refused("uci failed", 5)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert stand_in.main(list(arguments)) == 0, arguments
        return out.getvalue()

    def keep(self, *wanted: Fact) -> list[Fact]:
        return self.backend.keep(wanted, {})

    def section(self, package: str, name: str) -> uci.Section:
        """One committed section."""
        sections = uci.parse_show(self.run("uci", ["-c", str(self.directory), "show", package]))
        assert not (self.directory / ".pending" / package).exists(), "not committed"
        return next(s for s in sections if s.name == name)

    def names(self, package: str) -> set[str]:
        text = self.run("uci", ["-c", str(self.directory), "show", package])
        return {s.name for s in uci.parse_show(text)}


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return Router(tmp_path)


def test_what_show_prints_is_understood() -> None:
    """uci show: sections, options, lists, quotes inside of values."""
    found = uci.parse_show(
        "system.@system[0]=system\nsystem.@system[0].hostname='it'\\''s'\nsystem.ntp=timeserver\nsystem.ntp.server='a' 'b'\n"
    )
    assert [(s.name, s.kind) for s in found] == [("@system[0]", "system"), ("ntp", "timeserver")]
    assert found[0].get("hostname") == "it's"
    assert found[1].options["server"] == ["a", "b"]


def test_an_address_is_added_beside_the_one_that_is_there(router: Router) -> None:
    """One option with a netmask becomes a list of addresses with their lengths."""
    assert router.keep(facts.address("br-lan", "192.168.2.1", 24, ON)) == []
    lan = router.section("network", "lan")
    assert lan.options["ipaddr"] == ["192.168.1.1/24", "192.168.2.1/24"]
    assert "netmask" not in lan.options


def test_an_address_is_replaced(router: Router) -> None:
    """The old one goes before the new one comes."""
    assert (
        router.keep(facts.address("br-lan", "192.168.5.1", 24, ON), facts.address("br-lan", "192.168.1.1", 24, GONE))
        == []
    )
    assert router.section("network", "lan").options["ipaddr"] == ["192.168.5.1/24"]


def test_an_address_beside_dhcp_gets_an_interface_of_its_own(router: Router) -> None:
    """An interface with proto dhcp has no place for a static address."""
    assert (
        router.keep(facts.address("eth0", "198.51.100.2", 30, ON), facts.address("eth0", "2001:db8::2", 64, ON)) == []
    )
    made = router.section("network", "homeport_eth0")
    assert (made.kind, made.get("proto"), made.get("device")) == ("interface", "static", "eth0")
    assert made.options["ipaddr"] == ["198.51.100.2/30"]
    assert made.options["ip6addr"] == ["2001:db8::2/64"]


def test_a_route_comes_and_goes(router: Router) -> None:
    """Its section is found again by what it says, in whichever form."""
    wanted = facts.route("172.16.0.0/12", "192.168.1.254", "br-lan", 5, ON)
    assert router.keep(wanted) == []
    name = next(n for n in router.names("network") if n.startswith("homeport_"))
    made = router.section("network", name)
    assert (made.kind, made.get("interface"), made.get("target")) == ("route", "lan", "172.16.0.0/12")
    assert (made.get("gateway"), made.get("metric")) == ("192.168.1.254", "5")
    assert router.keep(Fact(wanted.key, GONE)) == []
    assert name not in router.names("network")
    assert "@route[0]" in router.names("network")
    assert router.keep(facts.route("10.0.0.0/8", "192.168.1.254", "br-lan", 0, GONE)) == []
    assert "@route[0]" not in router.names("network")


def test_an_interface_is_switched_off_and_on(router: Router) -> None:
    """`option disabled`, as LuCI writes it."""
    router.keep(facts.up("eth0", False))
    assert router.section("network", "wan").get("disabled") == "1"
    router.keep(facts.up("eth0", True))
    assert router.section("network", "wan").get("disabled") == ""


def test_dns_servers_go_to_the_interface_that_leads_out(router: Router) -> None:
    """The servers of DHCP are not asked any more then (peerdns)."""
    router.keep(Fact("dns", ["192.0.2.53", "2001:db8::53"]))
    wan = router.section("network", "wan")
    assert (wan.options["dns"], wan.get("peerdns")) == (["192.0.2.53", "2001:db8::53"], "0")
    router.keep(Fact("dns", ["192.0.2.54"]))
    assert router.section("network", "wan").options["dns"] == ["192.0.2.54"]


def test_name_zone_and_ntp_servers_go_to_the_system(router: Router) -> None:
    """A POSIX rule and a zone's name have options of their own."""
    left = router.keep(Fact("host_name", "box"), Fact("zone", "CET-1CEST,M3.5.0,M10.5.0/3"), Fact("ntp", ["192.0.2.7"]))
    assert left == []
    system = router.section("system", "@system[0]")
    assert (system.get("hostname"), system.get("timezone")) == ("box", "CET-1CEST,M3.5.0,M10.5.0/3")
    ntp = router.section("system", "ntp")
    assert (ntp.options["server"], ntp.get("enabled")) == (["192.0.2.7"], "1")


def test_the_mtu_goes_to_the_device(router: Router) -> None:
    """An interface without a device section gets one."""
    router.keep(facts.mtu("eth0", 1400))
    assert router.section("network", "homeport_device_eth0").get("mtu") == "1400"
    router.keep(facts.mtu("br-lan", 1300))
    assert router.section("network", "@device[0]").get("mtu") == "1300"


def test_what_uci_has_no_place_for_is_given_back(router: Router) -> None:
    """A link that no interface names; Homeport keeps it then."""
    strange = facts.address("dummy0", "192.0.2.9", 32, ON)
    off = Fact("dns_off", ["192.0.2.1"])
    left = router.keep(strange, off, facts.address("br-lan", "192.0.2.10", 32, OFF))
    assert sorted(f.key for f in left) == sorted([strange.key, off.key])


def test_a_failure_leaves_nothing_behind(router: Router) -> None:
    """What was set before it is reverted, and nothing is committed."""
    router.refuse = "ipaddr=192.168.2.1/24"
    with pytest.raises(Refused):
        router.keep(facts.address("br-lan", "192.168.2.1", 24, ON))
    router.refuse = ""
    assert router.section("network", "lan").options == {
        "device": ["br-lan"],
        "proto": ["static"],
        "ipaddr": ["192.168.1.1"],
        "netmask": ["255.255.255.0"],
    }


def test_uci_is_run_as_a_program_without_a_shell(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a router: the program is found in PATH, its arguments are a list, a shell's characters arrive as they are."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "uci"
    program.write_text(f"#!{sys.executable} -S\n" + Path(stand_in.__file__).read_text().partition("\n")[2])
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("UCI_CONFIG_DIR", str(tmp_path))
    backend = uci.backend_of()
    assert backend is not None
    assert backend.keep([Fact("host_name", "a; touch x $(id) 'b'")], {}) == []
    assert router.section("system", "@system[0]").get("hostname") == "a; touch x $(id) 'b'"
    with pytest.raises(Refused, match="Entry not found"):
        commands.run("uci", ["get", "network.nothing"])


def test_without_uci_there_is_no_back_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian, say: Homeport keeps the changes itself."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(commands, "_PATH", str(tmp_path))
    assert uci.backend_of() is None
