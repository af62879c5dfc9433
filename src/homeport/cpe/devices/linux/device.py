"""This machine as a device: its tables on the plug-in core, its changes, and the events of its kernel.

`LinuxDevice` is made for the profile `linux`; `parts.linux` gives it the agent's disk and watches over changes that are on trial.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from homeport.cpe.clock import Clock
from homeport.cpe.devices.device import Device
from homeport.cpe.devices.linux import machine
from homeport.cpe.devices.linux.addressing import Addresses
from homeport.cpe.devices.linux.changes import Backend, Changes
from homeport.cpe.devices.linux.commands import program
from homeport.cpe.devices.linux.context import Context
from homeport.cpe.devices.linux.facts import System
from homeport.cpe.devices.linux.info import Info, Interface, TimeOfDay, identity
from homeport.cpe.devices.linux.interfaces import Capabilities, Interfaces, Stack
from homeport.cpe.devices.linux.network import Network
from homeport.cpe.devices.linux.routing import Routes
from homeport.cpe.devices.linux.services import Dhcp, Discovery, Hosts, People, Resolver
from homeport.cpe.devices.plugin import Plugin
from homeport.cpe.devices.plugin_host import PluginHost
from homeport.errors import Fault
from homeport.model.tree import DataModel
from homeport.terms import Writer

PRODUCT_CLASS: Final = "Linux"
"""ProductClass of a machine that does not say what model it is."""

QUIET: Final = 0.05
"""Seconds in which further messages of the kernel are waited for: one `ip link set down` brings a dozen."""

REST: Final = 0.5
"""Seconds between looks: a router that learns routes tells of them a hundred times a second."""

_CONCERNED: Final[Mapping[str, tuple[str, ...]]] = {
    "link": (
        "Device.Ethernet.",
        "Device.IP.",
        "Device.Bridging.",
        "Device.InterfaceStack.",
        "Device.NeighborDiscovery.",
    ),
    "address": ("Device.IP.",),
    "route": ("Device.Routing.", "Device.Ethernet.Interface."),
    "neighbour": ("Device.Hosts.",),
}
"""What a message of the kernel can change."""

_MARK: Final = {
    "Device.IP.Interface.{i}.IPv4Address.{i}.": ("SubnetMask",),
    "Device.IP.Interface.{i}.IPv6Address.{i}.": ("IPAddress",),
    "Device.Routing.Router.{i}.IPv4Forwarding.{i}.": ("GatewayIPAddress", "Interface"),
    "Device.Routing.Router.{i}.IPv6Forwarding.{i}.": ("NextHop", "Interface"),
    "Device.DNS.Client.Server.{i}.": ("DNSServer",),
}
"""Tables to which an ACS adds rows, and the columns of which a row that is no draft any more has one."""


class LinuxDevice(Device):
    """The machine that the agent runs on. plugins: its tables, for the host of the agent's plug-ins."""

    def __init__(self, clock: Clock, *, directory: Path, root: Path = Path("/")) -> None:
        """directory: of the agent's state. root: "/" but in tests.

        Raises ConfigError where pyroute2 is missing, HomeportError where the kernel gives no netlink socket.
        """
        self.network = Network(clock.monotonic)
        self.changes = Changes(System(self.network, root), boot=machine.boot_id(root), backend=_backend())
        self.context = context = Context(self.network, self.changes, clock, root=root, directory=directory)
        self.plugin = Plugin("linux", extends=False)
        interfaces = Interfaces(context, self.plugin)
        Addresses(context, self.plugin)
        Routes(context, self.plugin)
        for make in (Info, TimeOfDay, Interface, Capabilities, Resolver, Dhcp, Hosts, Discovery, People):
            make(context, self.plugin)
        if has_radio(root):
            from homeport.cpe.devices.linux.radio import Wifi

            Wifi(context, self.plugin)
        self.plugin.listen(self.events)
        stack = Plugin("linux stack", extends=False)
        Stack(context, interfaces, self.plugin, stack)
        self.plugins = (self.plugin, stack)
        self._model: DataModel | None = None
        self._known = {link.name for link in self.network.links}

    @property
    def product_class(self) -> str:
        return PRODUCT_CLASS

    def identity(self) -> Mapping[str, str]:
        """Parameters of DeviceInfo by which this machine is known."""
        return identity(self.context.root)

    def attach(self, model: DataModel) -> None:
        """Take note of the model; its tables come with `plugins`, and their rows with `settle`."""
        self._model = model
        model.subscribe(lambda changes: self.changes.committed())

    def settle(self) -> None:
        """At the start: rows as the machine has them now. What an earlier life showed and is gone since goes; drafts stay."""
        model, host = self._model, self.plugin.host
        assert model is not None and isinstance(host, PluginHost), "a device is attached before it settles"
        model.freshen([model.root])
        gone = []
        for path, columns in _MARK.items():
            table = host.tables.get(path)
            for head, rows in table.parents(model) if table is not None else ():
                at = [rows.shape.index[name] for name in columns if name in rows.shape.index]
                for number, row in rows.rows.items():
                    if f"{head}{number}." not in table.rows and any(row.values[i] for i in at):  # type: ignore[union-attr]
                        gone.append(f"{head}{number}.")
        if gone:
            change = model.transaction(Writer.SYSTEM)
            change.reports = True
            for path in gone:
                change.delete_object(path)
            change.commit()
        model.freshen([model.root])  # rows that refer to others find them now

    async def events(self) -> AsyncIterator[tuple[str, ...]]:
        """The paths of what the kernel says has changed, for as long as the agent runs."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        number = self.network.events.fileno()
        loop.add_reader(number, woken.set)
        self.network.on_change = woken.set
        try:
            while True:
                await woken.wait()
                woken.clear()
                await asyncio.sleep(QUIET)
                kinds = self.network.listen()
                if "link" in kinds:
                    self._plugged_in()
                paths = tuple(path for kind in sorted(kinds) for path in _CONCERNED[kind])
                if paths and self._model is not None:
                    if kinds & {"link", "address"}:
                        self._follow(self._model, paths)
                    yield paths
                    await asyncio.sleep(REST)
        finally:
            loop.remove_reader(number)

    def _plugged_in(self) -> None:
        """A link that was not there before gets what an ACS asked for earlier."""
        names = {link.name for link in self.network.links}
        new, self._known = names - self._known, names
        if new:
            self.changes.renew(new)

    def _follow(self, model: DataModel, paths: Sequence[str]) -> None:
        """Rows come and go at once, not with the next look, so that LastChange counts from the event."""
        try:
            model.freshen(paths)
        except Fault:
            pass  # this device's profile lacks the object; there is nothing to follow

    def close(self) -> None:
        self.network.close()


def has_radio(root: Path) -> bool:
    """Whether the kernel knows of wireless hardware. Without any, what reads it is neither loaded nor run."""
    try:
        return any((root / "sys/class/ieee80211").iterdir())
    except OSError:
        return False


def _backend() -> Backend | None:
    """What keeps confirmed changes so that the machine itself makes them: UCI where it is installed. None: Homeport does."""
    if not program("uci"):
        return None
    from homeport.cpe.devices.linux.uci import backend_of

    return backend_of()
