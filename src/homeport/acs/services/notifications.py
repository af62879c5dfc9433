"""Lightweight notifications: what devices tell by UDP between two sessions, believed where it is signed, and kept like an Inform's values.

They are signed with the password that the device logs in with. Of a device's own password the ACS has only a hash, so only devices
that log in with the shared one (cpe_username) can be believed.
Source: TR-069a6 Annex M.
"""

from typing import Final

from homeport.acs.config import AcsSettings, host_port
from homeport.acs.engine.effects import promoted, values_of
from homeport.acs.records import DeviceRecord, DeviceState, device_id
from homeport.acs.services.hub import Hub
from homeport.transport.addresses import Address
from homeport.transport.lightweight import LightweightCredentials, LightweightReceiver
from homeport.transport.lightweight_messages import LightweightNotification

_NO_PASSWORD: Final = LightweightCredentials("", "")


class Notifications:
    """The receiver on `lightweight_listen`. Raises ConfigError for an address that is none."""

    def __init__(self, hub: Hub, settings: AcsSettings) -> None:
        self._hub = hub
        self._login = (settings.cpe_username, settings.cpe_password)
        host, port = host_port(settings.lightweight_listen, "lightweight_listen")
        self._receiver = LightweightReceiver(credentials=self._known, deliver=self._keep, host=host, port=port)
        hub.stats.notifications = self._receiver.counts

    async def start(self) -> Address:
        """The address bound. Raises TransportError."""
        return await self._receiver.start()

    async def stop(self) -> None:
        """Close; safe more than once."""
        await self._receiver.stop()

    async def _device(self, told: LightweightNotification) -> DeviceRecord | None:
        id = device_id(told.manufacturer_oui, told.product_class, told.serial_number)
        record = await self._hub.store.device(id)
        return record if record is not None and record.state is DeviceState.APPROVED else None

    async def _known(self, told: LightweightNotification) -> LightweightCredentials | None:
        record = await self._device(told)
        if record is None:
            return None
        if await self._hub.store.credential_of(record.id) is not None:
            return _NO_PASSWORD  # whoever knows the shared password must not speak for a device with its own
        return LightweightCredentials(*self._login, last_timestamp=record.notified or None)

    async def _keep(self, told: LightweightNotification) -> None:
        record = await self._device(told)
        if record is None:
            return
        changed = values_of(told.parameters, self._hub.clock())
        self._hub.store.touch(record.id, {"notified": told.timestamp, **promoted(changed)}, changed)
        if self._hub.bus.listening and changed:
            paths = list(changed)
            self._hub.bus.publish("values", {"device": record.id, "count": len(paths), "paths": paths[:50]})
