"""A network of two namespaces with a DHCP server in the one and a device in the other: real servers, real clients, a real cable."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SERVER, SERVER6 = "192.168.10.1", "fd00:10::1"
POOL = "192.168.10.50", "192.168.10.199"
VENDOR = "dslforum.org"

LEAST_WAIT = 0.02
"""Seconds between looks at something that another process does."""


def run(*command: str) -> None:
    """Runs one administrative command; raises with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


def until(condition: Callable[[], object], what: Callable[[], str] = lambda: "", limit: float = 15.0) -> None:
    """Wait for what another process does; after the limit fail with what `what` says."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"it did not happen within {limit:g} s: {what()}")
        time.sleep(LEAST_WAIT)


class DhcpNet:
    """Namespaces `server` (192.168.10.1, fd00:10::1) and `device` (no address), interface eth0 at both ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server, self.device = (f"hp{os.getpid()}{role}" for role in ("ds", "dd"))
        self._processes: list[subprocess.Popen[bytes]] = []

    def build(self) -> None:
        for name in (self.server, self.device):
            # `ip netns exec` puts these in the place of the machine's own: no client can ever write there.
            private = Path("/etc/netns") / name
            private.mkdir(parents=True, exist_ok=True)
            (private / "resolv.conf").touch()
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            self.server,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.device,
        )
        run("ip", "-n", self.server, "addr", "add", f"{SERVER}/24", "dev", "eth0")
        run("ip", "-n", self.server, "-6", "addr", "add", f"{SERVER6}/64", "dev", "eth0", "nodad")
        for name in (self.server, self.device):
            # Addresses are for use at once: nothing else is on this cable.
            run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
        until(lambda: "fe80" in self.addresses())

    def remove(self) -> None:
        for process in reversed(self._processes):
            self.stop(process)
        for name in (self.server, self.device):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            Path("/etc/netns").rmdir()  # only where it is empty: other tests may run beside

    def addresses(self) -> str:
        """What `ip addr` says in the device's namespace."""
        command = ["ip", "-n", self.device, "addr", "show", "dev", "eth0"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def give_address(self, address: str = "192.168.10.20") -> None:
        """An address that nobody leased, for asking by DHCPINFORM."""
        run("ip", "-n", self.device, "addr", "add", f"{address}/24", "dev", "eth0")

    def take_addresses(self) -> None:
        """No IPv4 address any more."""
        run("ip", "-n", self.device, "-4", "addr", "flush", "dev", "eth0")

    def start(self, namespace: str, *command: str, log: str, **environment: str) -> "subprocess.Popen[bytes]":
        """A program in a namespace; what it prints goes to the file log."""
        with (self.directory / log).open("ab") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env={**_clean_environment(), **environment},
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        """End a program and what it started."""
        if process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(3)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(3)
        if process in self._processes:
            self._processes.remove(process)

    def said(self, log: str) -> str:
        """What a program has printed so far."""
        path = self.directory / log
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def homeport(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A `homeport` command in the device's namespace."""
        command = ["ip", "netns", "exec", self.device, sys.executable, "-m", "homeport", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=_clean_environment())

    # --- the servers --------------------------------------------------------------------------------------------------------------

    def isc_dhcpd(self, config: str, *, ipv6: bool = False) -> None:
        """ISC dhcpd, ready."""
        name = "dhcpd6" if ipv6 else "dhcpd"
        file = self.directory / f"{name}.conf"
        file.write_text(config)
        leases = self.directory / f"{name}.leases"
        leases.touch()
        family = "-6" if ipv6 else "-4"
        pid = str(self.directory / f"{name}.pid")
        self.start(
            self.server,
            "dhcpd",
            family,
            "-f",
            "-d",
            "-cf",
            str(file),
            "-lf",
            str(leases),
            "-pf",
            pid,
            "eth0",
            log=f"{name}.log",
        )
        until(lambda: "Server starting service" in self.said(f"{name}.log"), lambda: self.said(f"{name}.log"))

    def dnsmasq(self, lines: str) -> None:
        """dnsmasq, ready, for both families."""
        file = self.directory / "dnsmasq.conf"
        file.write_text(
            "port=0\ninterface=eth0\nbind-interfaces\nno-ping\nno-resolv\nno-hosts\nlog-dhcp\nuser=root\n"
            f"dhcp-range={POOL[0]},{POOL[1]},1h\ndhcp-range=fd00:10::50,fd00:10::99,64,1h\n"
            f"dhcp-leasefile={self.directory / 'dnsmasq.leases'}\npid-file={self.directory / 'dnsmasq.pid'}\n{lines}"
        )
        self.start(self.server, "dnsmasq", "-d", "-C", str(file), log="dnsmasq.log")
        until(lambda: "bound exclusively to interface" in self.said("dnsmasq.log"), lambda: self.said("dnsmasq.log"))

    def kea(self, option_data: str, *, ipv6: bool = False) -> None:
        """Kea, ready. option_data: `"option-data": [...]`, comments allowed."""
        kind = "6" if ipv6 else "4"
        where = (
            '{"subnet": "fd00:10::/64", "id": 1, "interface": "eth0", "pools": [{"pool": "fd00:10::50-fd00:10::99"}],'
            if ipv6
            else '{"subnet": "192.168.10.0/24", "id": 1, "pools": [{"pool": "' + "-".join(POOL) + '"}],'
        )
        server_id = '"server-id": {"type": "LL", "persist": false},' if ipv6 else ""
        file = self.directory / f"kea{kind}.json"
        file.write_text(
            f'{{"Dhcp{kind}": {{"interfaces-config": {{"interfaces": ["eth0"]}}, {server_id}\n'
            '"lease-database": {"type": "memfile", "persist": false}, "valid-lifetime": 3600,\n'
            f'"loggers": [{{"name": "kea-dhcp{kind}", "severity": "INFO", "output_options": [{{"output": "stdout"}}]}}],\n'
            f'"subnet{kind}": [{where}\n{option_data}\n}}]}}}}\n'
        )
        place = {
            "KEA_PIDFILE_DIR": str(self.directory),
            "KEA_LOCKFILE_DIR": "none",
            "KEA_DHCP_DATA_DIR": str(self.directory),
        }
        self.start(self.server, f"kea-dhcp{kind}", "-c", str(file), log=f"kea{kind}.log", **place)
        until(lambda: f"DHCP{kind}_STARTED" in self.said(f"kea{kind}.log"), lambda: self.said(f"kea{kind}.log"))

    # --- the clients --------------------------------------------------------------------------------------------------------------

    def udhcpc(self, hook: Path) -> None:
        """BusyBox's client takes a lease, with our hook."""
        self.start(
            self.device,
            *("udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-A", "1", "-V", VENDOR),
            *("-O", "43", "-O", "125", "-O", "tftp", "-s", str(hook)),
            log="udhcpc.log",
        )

    def dhclient(self, script: Path, *, ipv6: bool = False) -> None:
        """ISC's client takes a lease with this script."""
        config = self.directory / "dhclient.conf"
        config.write_text(
            f'send vendor-class-identifier "{VENDOR}";\ninitial-interval 1;\nbackoff-cutoff 1;\n'
            "also request vendor-encapsulated-options, vivso, tftp-server-name;\nalso request dhcp6.vendor-opts;\n"
        )
        leases = self.directory / "dhclient.leases"
        leases.touch()
        kind = ("-6", "-S") if ipv6 else ("-4", "-1")
        self.start(
            self.device,
            *("dhclient", *kind, "-d", "-v", "-cf", str(config), "-lf", str(leases)),
            *("-pf", str(self.directory / "dhclient.pid"), "-sf", str(script), "eth0"),
            log="dhclient.log",
        )

    def dhcpcd(self, script: Path, *, ipv6: bool = False) -> None:
        """dhcpcd takes a lease with this script in place of its dhcpcd-run-hooks."""
        config = self.directory / "dhcpcd.conf"
        config.write_text(
            f"vendorclassid {VENDOR}\nvendclass 3561 {VENDOR}\ndefine 125 binhex homeport_vivso\n"
            "define6 17 binhex homeport_vendor_opts\n"
            "option vendor_encapsulated_options, homeport_vivso, tftp_server_name\noption dhcp6_homeport_vendor_opts\nnoarp\n"
        )
        # Its leases and sockets have fixed places; `ip netns exec` made the mounts ours, so these cover the machine's.
        fresh = 'for d in /var/lib/dhcpcd /run/dhcpcd; do [ -d $d ] && mount -t tmpfs none $d; done; exec "$@"'
        self.start(
            self.device,
            *("sh", "-c", fresh, "sh"),
            *("dhcpcd", "-6" if ipv6 else "-4", "-B", "-f", str(config), "-c", str(script), "--nodelay", "eth0"),
            log="dhcpcd.log",
        )

    def networkd(self, hook: Path) -> "subprocess.Popen[bytes]":
        """systemd-networkd takes a lease, and the hook runs once it is there, as networkd-dispatcher runs it.

        The process ends with 77 where this machine lets nobody change mounts.
        """
        unit = (
            "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n[DHCPv4]\n"
            f"VendorClassIdentifier={VENDOR}\nRequestOptions=43\n"
        )
        (self.directory / "10-eth0.network").write_text(unit)
        # A read-only /sys tells networkd that no udev will ever announce the interface; all mounts here are our own.
        script = f"""
            mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mount -o remount,ro /sys || exit 77
            mkdir -p /run/systemd/network /run/systemd/netif
            chown systemd-network:systemd-network /run/systemd/netif
            cp {self.directory}/10-eth0.network /run/systemd/network
            {NETWORKD} &
            for i in $(seq 500); do
                if grep -qs VENDOR_SPECIFIC /run/systemd/netif/leases/*; then IFACE=eth0 {hook}; break; fi
                sleep 0.02
            done
            wait
        """
        return self.start(self.device, "sh", "-c", script, log="networkd.log")


NETWORKD = "/lib/systemd/systemd-networkd"


def missing(*programs: str) -> str:
    """Why such a network cannot be made here, "" where it can. programs: those that the test needs, each with its Debian package."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    packages = {"ip": "iproute2", "sysctl": "procps", **_PACKAGES}
    for program in ("ip", "sysctl", *programs):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: apt-get install {packages.get(program, program)})"
    return ""


_PACKAGES = {
    "dhcpd": "isc-dhcp-server",
    "dnsmasq": "dnsmasq-base",
    "kea-dhcp4": "kea-dhcp4-server",
    "kea-dhcp6": "kea-dhcp6-server",
    "udhcpc": "udhcpc",
    "dhclient": "isc-dhcp-client",
    "dhcpcd": "dhcpcd-base",
    NETWORKD: "systemd",
}


def _clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
