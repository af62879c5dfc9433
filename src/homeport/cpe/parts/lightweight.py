"""Lightweight notifications: which changes go out by UDP, when, and what is forgotten then.

Nobody answers them, so nothing waits for an answer: what was sent counts as told, but the changes that also want an Inform (4 and 6) stay
for it. Source: TR-069a6 Annex M; TR-181 2.19 ManagementServer.LightweightNotification*.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from homeport.codec.messages import ParameterValueStruct
from homeport.cpe.journal import LOG
from homeport.cpe.parts.part import Part
from homeport.cpe.schedule import PeriodicTimer
from homeport.cpe.state import AGENT
from homeport.errors import HomeportError
from homeport.model.changes import Change, PendingChange
from homeport.terms import Notification, Writer
from homeport.transport.lightweight import LightweightNotifier, LightweightSettings
from homeport.transport.lightweight_messages import DEFAULT_PORT, LightweightSender

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent

ACTIVE: Final = frozenset({Notification.ACTIVE_LIGHTWEIGHT, Notification.PASSIVE_AND_ACTIVE_LIGHTWEIGHT})
PASSIVE: Final = frozenset({Notification.PASSIVE_LIGHTWEIGHT, Notification.PASSIVE_AND_PASSIVE_LIGHTWEIGHT})
ALONE: Final = frozenset({Notification.PASSIVE_LIGHTWEIGHT, Notification.ACTIVE_LIGHTWEIGHT})
"""Notifications that no Inform carries: told is told."""

_LAST: Final = "lightweight_timestamp"
_IDLE: Final = 300.0
_RETRY: Final = 60.0
"""Seconds between looks at the clock, and before what could not be sent is tried again."""


class LightweightPart(Part):
    """The lightweight notifications of one device."""

    name = "lightweight notifications"

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._waiting: dict[str, None] = {}
        self._due = False
        self._changed = asyncio.Event()
        self._timer = PeriodicTimer(agent.random)
        self._notifier = LightweightNotifier(
            self._settings, last_timestamp=agent.store.get(AGENT, _LAST), wall_clock=agent.clock.now
        )

    def changed(self, changes: Sequence[Change]) -> None:
        paths = {c.path for c in changes if c.writer is not Writer.ACS}
        if not paths:
            return
        for pending in self._agent.model.pending_changes(poll=False):
            if pending.name in paths and pending.notification in ACTIVE | PASSIVE:
                self._waiting[pending.name] = None
                if pending.notification in ACTIVE:
                    self._due = True
        self._changed.set()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        clock, management = self._agent.clock, self._agent.management
        while True:
            self._changed.clear()
            interval = int(management.text("LightweightNotificationTriggerInterval") or 0)
            wall, now = clock.now(), clock.monotonic()
            self._timer.configure(
                interval > 0,
                max(1, interval),
                management.text("LightweightNotificationTriggerTime"),
                wall=wall,
                monotonic=now,
            )
            if self._timer.ticked(wall=wall, monotonic=now):
                self._due = True
            self._due = self._due and bool(self._waiting) and not await self._send()
            longest = now + (_RETRY if self._due else _IDLE)
            deadline = self._timer.deadline(wall=wall, monotonic=now)
            await self._sleep(min(deadline, longest) if deadline is not None else longest)

    async def _sleep(self, deadline: float) -> None:
        waits = (
            asyncio.ensure_future(self._agent.clock.sleep_until(deadline)),
            asyncio.ensure_future(self._changed.wait()),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _send(self) -> bool:
        """Whether all is done that can be; False where it should be tried again."""
        agent = self._agent
        names, self._waiting = self._waiting, {}
        values = [p for p in agent.model.pending_changes(poll=False) if p.name in names]
        try:
            sent = await self._notifier.notify([ParameterValueStruct(p.name, p.value, p.type) for p in values])
            if not sent.datagrams:
                return True
            self._told([p for p in values if p.name not in sent.left_out], sent.last_timestamp)
        except HomeportError as e:
            # A change that nobody was told of must not be forgotten.
            self._waiting = names | self._waiting
            LOG.warning("a lightweight notification was not sent: %s", e)
            return False
        agent.client_log.write(f"-> lightweight notification of {', '.join(p.name for p in values[:6])}")
        return True

    def _told(self, values: list[PendingChange], last_timestamp: int | None) -> None:
        self._agent.model.clear_reported([p for p in values if p.notification in ALONE])
        with self._agent.store.transaction() as transaction:
            transaction.put(AGENT, _LAST, last_timestamp)

    def _settings(self) -> LightweightSettings:
        management = self._agent.management
        device = management.device_id(product_class=self._agent.product_class)
        return LightweightSettings(
            protocols_used=management.text("LightweightNotificationProtocolsUsed"),
            host=management.text("UDPLightweightNotificationHost") or urlsplit(management.url).hostname or "",
            port=int(management.text("UDPLightweightNotificationPort") or DEFAULT_PORT),
            sender=LightweightSender(
                username=management.username,
                password=management.password,
                manufacturer_oui=device.oui,
                product_class=device.product_class,
                serial_number=device.serial_number,
            ),
        )
