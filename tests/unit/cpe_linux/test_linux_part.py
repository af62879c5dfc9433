"""Who confirms a change, and when it is undone: the agent's part beside its sessions, on a virtual clock.

The machine is one of files; the change is that of its name servers, which nobody has to be root for.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cpe_support.virtual_clock import VirtualClock
from homeport.cpe.config import CpeSettings
from homeport.cpe.devices import close_device, device_for
from homeport.cpe.devices.linux.device import LinuxDevice
from homeport.cpe.devices.linux.facts import Fact
from homeport.cpe.devices.plugin_host import PluginHost
from homeport.cpe.parts.linux import BUCKET, LinuxPart
from homeport.cpe.state import Store
from homeport.model.profile import load_profile
from homeport.model.tree import DataModel


class Agent:
    """What the part uses of an agent: its clock, its store, its logs, and the wishes that it hears."""

    def __init__(self, directory: Path, clock: VirtualClock) -> None:
        self.settings = SimpleNamespace(network_trial=60.0)
        self.clock = clock
        self.store = Store(directory / "state")
        self.lines: list[str] = []
        self.config_log = SimpleNamespace(write=lambda text, level=0: self.lines.append(text))
        self.status = SimpleNamespace(connected=True, network="")
        self.contacts = 0
        self.events: list[str] = []
        self.management = SimpleNamespace(device_info="Device.DeviceInfo.", value=lambda path: "00256D")

    def contact(self) -> None:
        self.contacts += 1

    def trigger(self, code: str) -> None:
        self.events.append(code)

    def look_for_changes(self) -> None:
        """Nobody watches anything here."""


class Scene:
    """A part that runs, with its device."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        (self.root / "etc").mkdir(parents=True)
        (self.root / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
        self.clock = VirtualClock()
        self.agent = Agent(directory, self.clock)
        self.device = LinuxDevice(self.clock, directory=directory, root=self.root)
        model = DataModel(load_profile("linux"))
        self.host = PluginHost(self.device.plugins, self.clock)
        self.device.attach(model)
        self.host.attach(model)
        self.part = LinuxPart(self.agent, self.device)  # type: ignore[arg-type]

    def change(self, server: str = "192.0.2.9") -> None:
        """What a SetParameterValues does: in a session, with its commit."""
        self.part.session_opened()
        self.device.changes.do([Fact("dns", [server])])
        self.device.changes.committed()

    @property
    def server(self) -> str:
        return (self.root / "etc/resolv.conf").read_text().split()[-1]


def play(directory: Path, acts: Callable[[Scene], Coroutine[Any, Any, None]]) -> Scene:
    """Runs a scene with the part's background task."""

    async def run() -> Scene:
        scene = Scene(directory)
        await scene.part.start()
        task = asyncio.ensure_future(scene.part.run())
        await scene.clock.settle()
        await acts(scene)
        task.cancel()
        scene.host.close()
        await scene.part.stop()
        scene.agent.store.close()
        return scene

    return asyncio.run(run())


def test_a_change_of_names_counts_when_a_later_session_found_the_acs(tmp_path: Path) -> None:
    """The open connection asks no name server: its next message proves nothing. One session is opened to find out."""

    async def acts(scene: Scene) -> None:
        scene.change()
        scene.part.heard()
        assert scene.device.changes.trial is not None
        assert "On trial until" in scene.agent.status.network
        scene.part.session_closed()
        scene.part.session_closed()
        assert scene.agent.contacts == 1
        await scene.part.acs_reached()
        assert scene.device.changes.trial is None
        await scene.clock.advance(120)

    scene = play(tmp_path, acts)
    assert scene.server == "192.0.2.9"
    assert (scene.agent.events, scene.agent.status.network) == ([], "")
    assert scene.agent.lines[-1].startswith("the ACS was reached, so this counts now: dns")


def test_without_a_session_in_time_it_is_undone_and_told(tmp_path: Path) -> None:
    """At the end of the trial, not before; the ACS gets an event, the people a sentence."""

    async def acts(scene: Scene) -> None:
        scene.change()
        scene.part.session_closed()
        await scene.clock.advance(59)
        assert scene.server == "192.0.2.9"
        await scene.clock.advance(2)

    scene = play(tmp_path, acts)
    assert scene.server == "192.0.2.1"
    assert scene.agent.events == ["X 00256D NetworkChangeUndone"]
    assert "undone, because the ACS was not reached within 60 s: dns 192.0.2.9" in scene.agent.status.network


def test_a_change_that_was_left_on_trial_is_undone_at_the_next_start(tmp_path: Path) -> None:
    """The agent was killed: what is in its store says what was before."""

    async def acts(scene: Scene) -> None:
        scene.change()

    assert play(tmp_path, acts).server == "192.0.2.9"

    async def run() -> None:
        clock = VirtualClock()
        agent = Agent(tmp_path, clock)
        device = LinuxDevice(clock, directory=tmp_path, root=tmp_path / "root")
        model = DataModel(load_profile("linux"))
        host = PluginHost(device.plugins, clock)
        device.attach(model)
        host.attach(model)
        part = LinuxPart(agent, device)  # type: ignore[arg-type]
        await part.start()
        assert agent.store.items(BUCKET) == []
        assert agent.events == ["X 00256D NetworkChangeUndone"]
        host.close()
        await part.stop()
        agent.store.close()

    asyncio.run(run())
    assert (tmp_path / "root/etc/resolv.conf").read_text() == "nameserver 192.0.2.1\n"


def test_where_no_acs_was_reached_a_change_is_no_trial(tmp_path: Path) -> None:
    """A person gives a new box its first name server; nothing is lost by it."""

    async def acts(scene: Scene) -> None:
        scene.agent.status.connected = False
        scene.device.changes.do([Fact("dns", ["192.0.2.9"])])
        scene.device.changes.committed()
        assert scene.device.changes.trial is None
        await scene.clock.advance(120)

    scene = play(tmp_path, acts)
    assert (scene.server, scene.agent.events) == ("192.0.2.9", [])


def test_profiles_whose_name_begins_with_linux_are_this_machine(tmp_path: Path) -> None:
    """A profile of one's own that shows less has the same device behind it."""
    for name, real in (("linux", True), ("linux-gateway", True), ("linuxish", False), ("dkt-797xx", False)):
        device = device_for(name, CpeSettings(state_dir=tmp_path), VirtualClock(), started=0.0)
        below = getattr(device, "below", device)
        assert isinstance(below, LinuxDevice) is real, name
        if isinstance(below, LinuxDevice):
            below.close()
        close_device(device)
