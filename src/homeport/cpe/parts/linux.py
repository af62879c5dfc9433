"""Watches over changes of this machine's network that an ACS made: confirmed when the ACS is reached over them, undone when it is not.

A change is confirmed by the next message of the ACS after the answer that told it of the change, by the end of that session, or by a later
session. One that concerns names (the DNS servers) needs a later session, since an open connection asks no server.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from homeport.cpe.clock import date_time
from homeport.cpe.devices.linux import commands, names
from homeport.cpe.devices.linux.changes import Record
from homeport.cpe.devices.linux.device import LinuxDevice
from homeport.cpe.devices.linux.netlink import Refused
from homeport.cpe.journal import LOG
from homeport.cpe.parts.part import Part
from homeport.cpe.state import Store
from homeport.errors import StoreError

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent

BUCKET: Final = "linux"
"""The device's bucket in the agent's store; a factory reset empties it."""

EVENT: Final = "NetworkChangeUndone"
"""The vendor's event that tells the ACS: `X <OUI> NetworkChangeUndone`."""


class StoreKeep:
    """The agent's store as the place where the device keeps what outlives a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> Any:
        return self._store.get(BUCKET, key)

    def put(self, changes: dict[str, Any]) -> None:
        """All of them in one commit. Raises StoreError."""
        with self._store.transaction() as transaction:
            for key, value in changes.items():
                if value is None:
                    transaction.remove(BUCKET, key)
                else:
                    transaction.put(BUCKET, key, value)


class LinuxPart(Part):
    """The part of the agent that belongs to a LinuxDevice."""

    name = "changes of this machine"

    def __init__(self, agent: "Agent", device: LinuxDevice) -> None:
        self._agent = agent
        self._device = device
        self._changes = device.changes
        self._changes.keep = StoreKeep(agent.store)
        self._changes.on_trial = self._on_trial
        self._changes.on_trouble = lambda text: agent.config_log.write(text, level=logging.WARNING)
        self._changes.on_made = self._on_made
        self._deadline: float | None = None
        self._news = asyncio.Event()
        self._in_session = False
        self._unasked = False
        self._stale: set[str] = set()

    async def start(self) -> None:
        """Undo what an earlier life left on trial, make true again what the ACS had asked for, and find the rows."""
        undone = self._changes.resume()
        if undone is not None:
            self._tell(undone, "the agent ended before the ACS was reached over it")
        self._settle()

    def _settle(self) -> None:
        """Bring all rows up to date with one write to the disk."""
        with self._agent.store.transaction():
            self._device.settle()

    async def stop(self) -> None:
        self._device.close()

    async def run(self) -> None:
        """Undo what was not confirmed in time; have services read their files anew."""
        clock = self._agent.clock
        while True:
            if self._stale:
                await self._refresh_services()
            deadline = self._deadline
            if deadline is not None and clock.monotonic() >= deadline:
                self._roll_back()
                continue
            self._news.clear()
            wake = asyncio.ensure_future(self._news.wait())
            sleep = asyncio.ensure_future(clock.sleep_until(deadline)) if deadline is not None else None
            try:
                await asyncio.wait([wake, *([sleep] if sleep is not None else [])], return_when=asyncio.FIRST_COMPLETED)
            finally:
                wake.cancel()
                if sleep is not None:
                    sleep.cancel()

    # --- sessions -------------------------------------------------------------------------------------------------------------------------

    def session_opened(self) -> None:
        self._in_session = True

    def session_closed(self) -> None:
        self._in_session = False
        if self._changes.trial is not None and self._unasked:
            # Whether the ACS can still be reached is found out now, not at the next periodic contact; later tries are the retry policy's.
            self._unasked = False
            self._agent.contact()

    def heard(self) -> None:
        """The ACS spoke after our last answer had gone out."""
        trial = self._changes.trial
        if trial is not None and "dns" not in trial.kinds:
            self._confirm()

    async def acs_reached(self) -> None:
        """A session began: the ACS was found and answered."""
        self._confirm()

    # --- trials ---------------------------------------------------------------------------------------------------------------------------

    def _on_trial(self, record: Record) -> bool:
        """Whether a change can cut a line that there is. Where the ACS was not reached before, nothing is lost by it."""
        agent = self._agent
        if not self._in_session and not agent.status.connected:
            return False
        seconds = agent.settings.network_trial
        self._deadline = agent.clock.monotonic() + seconds
        until = date_time(agent.clock.now() + seconds)
        agent.status.network = f"On trial until {until}: {record.describe()}."
        agent.config_log.write(f"on trial for {seconds:g} s, until the ACS is reached: {record.describe()}")
        self._unasked = self._in_session
        if not self._in_session:
            agent.contact()
        self._news.set()
        return True

    def _confirm(self) -> None:
        record = self._changes.confirm()
        if record is None:
            return
        self._deadline = None
        self._agent.status.network = ""
        self._agent.config_log.write(f"the ACS was reached, so this counts now: {record.describe()}")
        self._news.set()

    def _roll_back(self) -> None:
        self._deadline = None
        record = self._changes.roll_back()
        if record is not None:
            self._tell(record, f"the ACS was not reached within {self._agent.settings.network_trial:g} s")
            try:
                self._settle()
            except StoreError as e:
                LOG.warning("the rows of this machine are not brought up to date now: %s", e)
            self._agent.look_for_changes()
            self._agent.contact()

    def _tell(self, record: Record, why: str) -> None:
        agent = self._agent
        text = f"undone, because {why}: {record.describe()}"
        agent.config_log.write(text, level=logging.WARNING)
        agent.status.network = f"At {date_time(agent.clock.now())} a change was {text}."
        oui = agent.management.value(agent.management.device_info + "ManufacturerOUI")
        agent.trigger(f"X {oui} {EVENT}")

    # --- services -------------------------------------------------------------------------------------------------------------------------

    def _on_made(self, kinds: set[str]) -> None:
        self._stale |= kinds & {"ntp", "dns"}
        self._news.set()

    async def _refresh_services(self) -> None:
        """Have the services whose files were written read them; the C library needs no telling."""
        kinds, self._stale = self._stale, set()
        root = self._device.context.root
        services = []
        if "ntp" in kinds:
            services.append(names.time_service(root).name)
        if "dns" in kinds and names.is_link(root / names.RESOLV_CONF) and (root / names.RESOLVED).exists():
            services.append("systemd-resolved")
        for service in filter(None, services):
            try:
                await asyncio.to_thread(_restart, service)
            except Refused as e:
                LOG.warning("%s was given another configuration, but not restarted: %s", service, e)


def _restart(service: str) -> None:
    """Raises Refused."""
    if commands.program("systemctl"):
        commands.run("systemctl", ["try-reload-or-restart", service], limit=20.0)
    else:
        commands.run(f"/etc/init.d/{service}", ["restart"], limit=20.0)
