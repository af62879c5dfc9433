"""A device behind a real NAT: three network namespaces of Linux, the middle one translating, nothing virtual but the cable."""

import asyncio
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest

from homeport.transport.addresses import Address
from homeport.transport.stun import StunEndpoint, UdpRequestListener, request_connection_by_udp
from homeport.transport.stun_client import BindingKnown, StunSettings
from homeport.transport.stun_server import BindingReport
from homeport.transport.udp_connection_request import Verdict

pytestmark = pytest.mark.system

ACS, PUBLIC = "198.51.100.1", "198.51.100.2"
DEVICE, ROUTER = "192.168.77.2", "192.168.77.1"


def run(*command: str, input: str = "") -> None:
    """Runs one administrative command; raises with what it said."""
    done = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


class Nat:
    """Namespaces of the ACS, the router and the device, with cables between them."""

    def __init__(self) -> None:
        self.acs, self.router, self.device = (f"hp{os.getpid()}{role}" for role in "ard")

    def build(self) -> None:
        for name in (self.acs, self.router, self.device):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for name, here, peer in ((self.acs, ACS, PUBLIC), (self.device, DEVICE, ROUTER)):
            outer = "pub" if name == self.acs else "lan"
            run("ip", "link", "add", "eth", "netns", name, "type", "veth", "peer", "name", outer, "netns", self.router)
            run("ip", "-n", name, "addr", "add", f"{here}/24", "dev", "eth")
            run("ip", "-n", self.router, "addr", "add", f"{peer}/24", "dev", outer)
            run("ip", "-n", name, "link", "set", "eth", "up")
            run("ip", "-n", self.router, "link", "set", outer, "up")
        run("ip", "-n", self.device, "route", "add", "default", "via", ROUTER)
        run("ip", "netns", "exec", self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.translate_to(40_000)

    def translate_to(self, first: int) -> None:
        """New bindings get ports from `first` on; those in use stay until they are forgotten."""
        chain = "type nat hook postrouting priority 100;"
        rule = f'oifname "pub" meta l4proto udp masquerade to :{first}-{first + 99};'
        rules = f"table ip nat {{\n chain out {{\n {chain}\n {rule}\n }}\n}}\n"
        run("ip", "netns", "exec", self.router, "nft", "flush", "ruleset")
        run("ip", "netns", "exec", self.router, "nft", "-f", "-", input=rules)

    def forget_after(self, seconds: int) -> None:
        """How long an idle binding lives."""
        for name in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
            run("ip", "netns", "exec", self.router, "sysctl", "-qw", f"net.netfilter.{name}={seconds}")

    def remove(self) -> None:
        for name in (self.acs, self.router, self.device):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def nat() -> Iterator[Nat]:
    """A fresh NAT; skips with the reason where namespaces cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for program, package in (("ip", "iproute2"), ("nft", "nftables"), ("sysctl", "procps")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt-get install {package})")
    line = Nat()
    try:
        try:
            line.build()
        except RuntimeError as e:
            pytest.skip(f"this machine makes no NAT of namespaces: {e}")
        yield line
    finally:
        line.remove()


def enter(namespace: str) -> None:
    """The calling thread's sockets are made in this namespace from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{namespace}").open("rb") as handle:
        if libc.setns(handle.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def in_thread(story: Callable[[], Coroutine[object, object, None]]) -> None:
    """Runs a story in a thread of its own, which takes its namespaces with it when it ends."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(story())
        except BaseException as e:
            failures.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that comes within seconds."""
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.case("C14")
@pytest.mark.case("C15")
@pytest.mark.case("C20")
def test_device_behind_a_nat_is_found_and_reached(nat: Nat) -> None:
    """The mapped address is the router's; a request from the STUN port passes the NAT, one from elsewhere does not; a binding that
    the NAT replaced is told at once with BINDING-CHANGE, signed, and the new address works."""
    bindings: list[BindingKnown] = []
    reports: list[BindingReport] = []
    requests: list[int] = []

    async def password_of(username: str) -> str | None:
        return "stun-secret" if username == "stun" else None

    async def story() -> None:
        acs = StunEndpoint(password_of=password_of, on_binding=reports.append, host=ACS, port=0)
        device = UdpRequestListener(
            credentials=lambda: ("user", "secret"),
            on_request=lambda: requests.append(1),
            on_binding=bindings.append,
            host=DEVICE,
        )
        enter(nat.acs)
        server = await acs.start()
        enter(nat.device)
        local = await device.start()
        try:
            settings = StunSettings("stun", "stun-secret", 2, 2)
            await device.use_stun(settings, server_host=server.host, server_port=server.port)
            await until(lambda: bindings)
            mapped = bindings[0].mapped
            assert (mapped.host, bindings[0].local, bindings[0].nat_detected) == (PUBLIC, local, True)
            assert 40_000 <= mapped.port < 40_100
            assert reports[0].address == mapped

            acs.request_connection(mapped, username="user", password="secret", copies=3)
            await until(lambda: device.gate.counts[Verdict.REPEATED] == 2)
            assert len(requests) == 1

            enter(nat.acs)
            await request_connection_by_udp(mapped, username="user", password="secret", copies=1)
            enter(nat.device)

            nat.translate_to(41_000)
            nat.forget_after(1)
            await until(lambda: [b for b in bindings if b.changed])
            moved = next(b for b in bindings if b.changed).mapped
            assert 41_000 <= moved.port < 41_100
            await until(lambda: [r for r in reports if r.binding_change])
            change = next(r for r in reports if r.binding_change)
            assert change == BindingReport("stun", change.address, binding_change=True, verified=True)
            assert change.address.host == PUBLIC
            assert len(requests) == 1, "the NAT let a stranger's datagram through"

            acs.request_connection(change.address, username="user", password="secret", copies=1)
            await until(lambda: len(requests) == 2)
        finally:
            await device.stop()
            await acs.stop()

    in_thread(story)


def test_lifetime_is_tested_through_the_nat(nat: Nat) -> None:
    """A binding that the NAT keeps for two seconds is found to live that long: RESPONSE-ADDRESS leads back through it."""
    bindings: list[BindingKnown] = []

    async def story() -> None:
        async def password_of(username: str) -> str | None:
            return None

        acs = StunEndpoint(password_of=password_of, on_binding=lambda report: None, host=ACS, port=0)
        device = UdpRequestListener(
            credentials=lambda: ("user", "secret"), on_request=lambda: None, on_binding=bindings.append, host=DEVICE
        )
        enter(nat.acs)
        server: Address = await acs.start()
        enter(nat.device)
        await device.start()
        try:
            await device.use_stun(StunSettings("", "", 1, 2), server_host=server.host, server_port=server.port)
            await until(lambda: device.binding is not None and device.binding.searching)
            await until(lambda: device.binding is not None and not device.binding.searching)
            assert device.binding is not None and device.binding.period == 2.0
        finally:
            await device.stop()
            await acs.stop()

    in_thread(story)
