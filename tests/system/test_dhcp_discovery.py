"""Real DHCP: three servers hand out the ACS's place, three clients bring it to the agent through our hooks, and the agent asks itself."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpe_support.http_acs import HttpAcs
from homeport.cli.main import run as homeport
from homeport.cpe.control_client import ControlClient
from homeport.cpe.leases.hooks import HOOKS, hook_text
from homeport.cpe.status import AgentStatus, load
from support.dhcp_net import NETWORKD, SERVER, DhcpNet, missing, until
from system.test_stun_nat import enter, in_thread

pytestmark = pytest.mark.system

DKT = """\
authoritative;
ping-check false;
option space tr069;
option tr069.acs-server-url code 1 = text;
option tr069.provisioning-code code 2 = text;
option tr069.retry-min-wait code 3 = text;
option tr069.retry-interval-multipl code 4 = text;
subnet 192.168.10.0 netmask 255.255.255.0 {{
  range 192.168.10.50 192.168.10.199;
  # Encapsulate option space in vendor option (43)
  vendor-option-space          tr069;
  option tr069.acs-server-url   "{url}";
  option tr069.provisioning-code "special-code";
  option tr069.retry-min-wait   "5";
  option tr069.retry-interval-multipl "2000";
}}
"""
"""The server configuration of DKT's document, with the definitions that it leaves out and this network's addresses."""

CODE = "Device.DeviceInfo.ProvisioningCode"


@pytest.fixture
def net(tmp_path: Path) -> Iterator[DhcpNet]:
    """A fresh network; skips with the reason where namespaces cannot be made."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    network = DhcpNet(tmp_path)
    try:
        try:
            network.build()
        except RuntimeError as e:
            pytest.skip(f"this machine makes no network of namespaces: {e}")
        yield network
    finally:
        network.remove()


def need(*programs: str) -> None:
    """Skips where one of them is not installed."""
    reason = missing(*programs)
    if reason:
        pytest.skip(reason)


class Device:
    """The agent process in the device's namespace, without any ACS URL, and what it says of itself."""

    def __init__(self, net: DhcpNet, *flags: str) -> None:
        self.net = net
        self.state = net.directory / "state"
        self.flags = flags

    def start(self) -> None:
        command = (sys.executable, "-m", "homeport", "cpe", "run", "--state-dir", str(self.state), "--no-web")
        port = ("--connection-request-port", "0")
        self.process = self.net.start(self.net.device, *command, *port, *self.flags, log="agent.log")

    @property
    def status(self) -> AgentStatus:
        return load(self.state) or AgentStatus()

    def until(self, state: str) -> None:
        """Wait for a state; a failure shows the agent's log."""
        until(lambda: self.status.state == state, lambda: self.net.said("agent.log"))

    def hook(self, name: str) -> Path:
        """The hook of a client, made for this device, in a file."""
        path = self.net.directory / name
        program = self.net.directory / "homeport"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m homeport "$@"\n')
        program.chmod(0o755)
        script = (
            self.net.directory / "default.script"
        )  # in the place of the machine's, which would write its resolv.conf
        script.write_text('#!/bin/sh\n[ -n "$ip" ] && ip addr add "$ip/24" dev "$interface"\nexit 0\n')
        script.chmod(0o755)
        text = hook_text(HOOKS[name], program=str(program), state_dir=self.state, place=path, following=str(script))
        path.write_text(text)
        path.chmod(0o755)
        return path

    def sourced(self, name: str, bind: str) -> Path:
        """A client's script that sets the address and then sources our hook, as dhclient-script and dhcpcd-run-hooks do."""
        script = self.net.directory / f"{name}-script"
        script.write_text(f"#!/bin/sh\n{bind}\n. {self.hook(name)}\n")
        script.chmod(0o755)
        return script


def informs_at(net: DhcpNet, story) -> None:
    """Runs story(acs): what an HTTP ACS in the server's namespace gets; the story runs in a thread with the loop of the ACS."""
    import asyncio

    async def play() -> None:
        enter(net.server)
        async with HttpAcs(host=SERVER) as acs:
            await asyncio.to_thread(story, acs)

    in_thread(play)


def first_contact(acs: HttpAcs, device: Device, source: str) -> None:
    """The agent has informed: bootstrap, with what DHCP gave."""
    until(lambda: any(p.status == 204 for p in acs.posts), lambda: device.net.said("agent.log"))
    assert acs.events(0) == ["0 BOOTSTRAP", "1 BOOT"]
    device.until("waiting")
    status = device.status
    assert (status.acs_url, status.acs_url_from, status.acs_url_source) == (acs.url, "DHCP", source)
    assert ControlClient(device.state).call("get", paths=[CODE]) == {CODE: "special-code"}


def lines_for(server: str, capsys: pytest.CaptureFixture[str], url: str, option: int = 43) -> str:
    """What `homeport option43 encode --for` prints."""
    capsys.readouterr()
    words = ["option43", "encode", url, "--provisioning-code", "special-code", "--option", str(option), "--for", server]
    assert homeport(words) == 0
    return capsys.readouterr().out


@pytest.mark.case("D01")
@pytest.mark.case("D02")
def test_the_agent_waits_for_the_lease_that_names_its_acs_and_starts_by_it(net: DhcpNet) -> None:
    """DKT's server configuration, ISC dhcpd, udhcpc and our hook: option 43 alone starts the agent; a lease that names another ACS
    moves it there with a new bootstrap."""
    need("dhcpd", "udhcpc")

    def story(acs: HttpAcs) -> None:
        device = Device(net)
        device.start()
        device.until("no ACS URL")
        assert "waiting for a DHCP lease" in device.status.reason
        net.isc_dhcpd(DKT.format(url=acs.url))
        hook = device.hook("udhcpc")
        net.udhcpc(hook)
        first_contact(acs, device, "from DHCP option 43 of eth0")
        assert (
            "eth0: DHCP option 43 names"
            in net.homeport("cpe", "show", "status", "--state-dir", str(device.state)).stdout
        )

        moved = f"http://{SERVER}:{acs.port}/elsewhere"
        said = net.homeport(
            "cpe",
            "lease",
            "--state-dir",
            str(device.state),
            "--interface",
            "eth0",
            "--option",
            f"43=01:{len(moved):x}:{moved.encode().hex()}",
        )
        assert moved in said.stdout
        until(lambda: len(acs.informs) == 2, lambda: net.said("agent.log"))
        assert acs.events(1)[0] == "0 BOOTSTRAP"
        assert acs.posts[-1].path == "/elsewhere"

    informs_at(net, story)


def test_dhclient_hands_over_what_dnsmasq_says(net: DhcpNet, capsys) -> None:
    """dnsmasq with the line that we print, ISC's client, our exit hook; the lease came before the agent did."""
    need("dnsmasq", "dhclient")

    def story(acs: HttpAcs) -> None:
        device = Device(net)
        net.dnsmasq(lines_for("dnsmasq", capsys, acs.url))
        net.dhclient(
            device.sourced("dhclient", '[ -n "$new_ip_address" ] && ip addr add "$new_ip_address/24" dev "$interface"')
        )
        until(lambda: list(device.state.glob("leases/*.json")), lambda: net.said("dhclient.log"))
        device.start()
        first_contact(acs, device, "from DHCP option 43 of eth0")

    informs_at(net, story)


def test_dhcpcd_hands_over_what_kea_says(net: DhcpNet, capsys) -> None:
    """Kea with the lines that we print, dhcpcd and our hook."""
    need("kea-dhcp4", "dhcpcd")

    def story(acs: HttpAcs) -> None:
        device = Device(net)
        device.start()
        net.kea(lines_for("kea", capsys, acs.url))
        device.until("no ACS URL")
        net.dhcpcd(device.sourced("dhcpcd", ":"))
        first_contact(acs, device, "from DHCP option 43 of eth0")

    informs_at(net, story)


@pytest.mark.case("D04")
@pytest.mark.case("D05")
@pytest.mark.parametrize("server", ["isc-dhcpd", "dnsmasq", "kea"])
def test_the_agent_asks_the_server_itself(net: DhcpNet, server: str, capsys) -> None:
    """By DHCPINFORM, without a DHCP client: vendor class dslforum.org, option 125 asked for alone beats the 43 that comes along."""
    need({"isc-dhcpd": "dhcpd", "dnsmasq": "dnsmasq", "kea": "kea-dhcp4"}[server])
    net.give_address()

    def story(acs: HttpAcs) -> None:
        lines = lines_for(server, capsys, acs.url, 125)
        wrong = lines_for(server, capsys, f"http://{SERVER}:1/wrong", 43)
        if server == "isc-dhcpd":
            top, inside = lines.split("# in the subnet, pool, group or class\n")
            net.isc_dhcpd(f"{top}subnet 192.168.10.0 netmask 255.255.255.0 {{\n{inside}}}\n")
        elif server == "dnsmasq":
            net.dnsmasq(lines + wrong.replace("dhcp-option=", "dhcp-option-force="))
        else:
            net.kea(lines)
        device = Device(net, "--dhcp-query", "ipv4", "--dhcp-request", "125")
        device.start()
        first_contact(acs, device, "from DHCP option 125 of eth0")
        if server == "dnsmasq":
            assert "vendor class: dslforum.org" in net.said("dnsmasq.log")

    informs_at(net, story)


@pytest.mark.case("D06")
@pytest.mark.parametrize("server", ["isc-dhcpd", "dnsmasq", "kea"])
def test_the_agent_asks_over_ipv6(net: DhcpNet, server: str, capsys) -> None:
    """By Information-request with vendor class 16: option 17 names the ACS."""
    need({"isc-dhcpd": "dhcpd", "dnsmasq": "dnsmasq", "kea": "kea-dhcp6"}[server])
    net.give_address()

    def story(acs: HttpAcs) -> None:
        lines = lines_for(server, capsys, acs.url, 17)
        if server == "isc-dhcpd":
            top, inside = lines.split("# in the subnet, pool, group or class\n")
            net.isc_dhcpd(f"{top}subnet6 fd00:10::/64 {{\n{inside}}}\n", ipv6=True)
        elif server == "dnsmasq":
            net.dnsmasq(lines)
        else:
            net.kea(lines, ipv6=True)
        device = Device(net, "--dhcp-query", "ipv6")
        device.start()
        first_contact(acs, device, "from DHCPv6 option 17 of eth0 over IPv6")

    informs_at(net, story)


@pytest.mark.parametrize("client", ["dhclient", "dhcpcd"])
def test_the_hooks_hand_over_dhcpv6_too(net: DhcpNet, client: str, capsys) -> None:
    """Option 17 by dnsmasq, through the hook of each client that speaks DHCPv6."""
    need("dnsmasq", client)
    net.give_address()

    def story(acs: HttpAcs) -> None:
        device = Device(net)
        device.start()
        net.dnsmasq(lines_for("dnsmasq", capsys, acs.url, 17) + "enable-ra\nra-param=eth0,1,0\n")
        device.until("no ACS URL")
        if client == "dhclient":
            net.dhclient(device.sourced("dhclient", ":"), ipv6=True)
        else:
            net.dhcpcd(device.sourced("dhcpcd", ":"), ipv6=True)
        first_contact(acs, device, "from DHCPv6 option 17 of eth0 over IPv6")

    informs_at(net, story)


def test_systemd_networkd_hands_over_its_lease(net: DhcpNet, capsys) -> None:
    """Our hook reads networkd's own lease file, where option 43 is VENDOR_SPECIFIC."""
    need("dnsmasq", NETWORKD)

    def story(acs: HttpAcs) -> None:
        device = Device(net)
        device.start()
        net.dnsmasq(lines_for("dnsmasq", capsys, acs.url))
        device.until("no ACS URL")
        networkd = net.networkd(device.hook("networkd"))
        until(
            lambda: any(p.status == 204 for p in acs.posts) or networkd.poll() == 77,
            lambda: net.said("networkd.log") + net.said("agent.log"),
        )
        if networkd.poll() == 77:
            pytest.skip(f"no mount of our own for networkd here: {net.said('networkd.log')}")
        assert device.status.leases[0].said.endswith("handed over by the DHCP client")

    informs_at(net, story)


def test_what_networkmanager_does_not_hand_over_its_hook_asks_for(net: DhcpNet, capsys) -> None:
    """NetworkManager's own client keeps options 43 and 125 to itself: the hook, which runs as root, sends the question."""
    need("dnsmasq")
    net.give_address()

    def story(acs: HttpAcs) -> None:
        device = Device(net)
        device.start()
        net.dnsmasq(lines_for("dnsmasq", capsys, acs.url))
        device.until("no ACS URL")
        net.start(net.device, str(device.hook("networkmanager")), "eth0", "up", log="dispatcher.log")
        first_contact(acs, device, "from DHCP option 43 of eth0")
        assert any(lease.said.endswith("asked for by the agent") for lease in device.status.leases)

    informs_at(net, story)
