"""What operators do to devices: admit, refuse, tag, forget, read anew, give credentials."""

import re
from typing import Any, Final

from msgspec.structs import replace

from homeport.acs.records import CredentialRecord, DeviceRecord, DeviceState, Want
from homeport.acs.services.hub import Hub, NotFound, Refused
from homeport.acs.storage.interface import UnitOfWork
from homeport.http.digest import ha1

REALM: Final = "homeport"
"""The realm of device logins. Hashes in the database are made with it: changing it makes all of them useless."""

_TAG: Final = re.compile(r"[A-Za-z0-9_.:@/-]{1,64}")
MOST_TAGS: Final = 32


def credential(username: str, password: str, *, device: str = "", now: float = 0.0) -> CredentialRecord:
    """The record of a login; the password itself is not in it."""
    return CredentialRecord(
        username=username,
        device=device,
        ha1_md5=ha1(username, REALM, password, "MD5"),
        ha1_sha256=ha1(username, REALM, password, "SHA-256"),
        created=now,
    )


class Devices:
    """The verbs of devices."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._store = hub.store

    async def get(self, id: str) -> DeviceRecord:
        """The device. Raises NotFound."""
        record = await self._store.fresh(id)
        if record is None:
            raise NotFound(f"there is no device {id!r}; list them with GET devices")
        return record

    async def _patch(self, id: str, fields: dict[str, Any]) -> DeviceRecord:
        unit = UnitOfWork()
        unit.patches.append((id, fields))
        await self._store.commit(unit)
        if self._hub.bus.listening:
            self._hub.bus.publish("device", {"device": id, "fields": sorted(fields)})
        return await self.get(id)

    async def approve(self, id: str) -> DeviceRecord:
        """The device, admitted: from its next session on it gets tasks. Raises NotFound."""
        await self.get(id)
        return await self._patch(id, {"state": DeviceState.APPROVED})

    async def refuse(self, id: str) -> DeviceRecord:
        """The device, shut out: its sessions are answered with 403. Raises NotFound."""
        await self.get(id)
        return await self._patch(id, {"state": DeviceState.REFUSED})

    async def tag(self, id: str, tag: str) -> DeviceRecord:
        """The device with the tag. Raises NotFound, Refused."""
        if not _TAG.fullmatch(tag):
            raise Refused("a tag is 1 to 64 letters, digits or _.:@/-")
        record = await self.get(id)
        if tag in record.tags:
            return record
        if len(record.tags) >= MOST_TAGS:
            raise Refused(f"a device has at most {MOST_TAGS} tags")
        return await self._patch(id, {"tags": tuple(sorted((*record.tags, tag)))})

    async def untag(self, id: str, tag: str) -> DeviceRecord:
        """The device without the tag. Raises NotFound."""
        record = await self.get(id)
        if tag not in record.tags:
            return record
        return await self._patch(id, {"tags": tuple(t for t in record.tags if t != tag)})

    async def behave(self, id: str, changes: dict[str, Any]) -> DeviceRecord:
        """The device with its switches changed; None in `changes` leaves a switch to the ACS again. Raises NotFound."""
        record = await self.get(id)
        return await self._patch(id, {"behaviour": replace(record.behaviour, **changes)})

    async def refresh(self, id: str) -> DeviceRecord:
        """The device, whose whole tree is read anew in its next session. Raises NotFound."""
        record = await self.get(id)
        wants = tuple(dict.fromkeys((*record.wants, Want.DISCOVER)))
        return await self._patch(id, {"wants": wants})

    async def set_credential(self, id: str, username: str, password: str) -> None:
        """From now on only who knows this password is this device. Raises NotFound, Refused."""
        await self.get(id)
        if not username or not password:
            raise Refused("username and password must not be empty")
        taken = await self._store.credential(username)
        if taken is not None and taken.device != id:
            raise Refused(f"the user name {username!r} belongs to another device")
        unit = UnitOfWork()
        old = await self._store.credential_of(id)
        if old is not None and old.username != username:
            unit.deleted_credentials.append(old.username)
        unit.credentials.append(credential(username, password, device=id, now=self._hub.clock()))
        await self._store.commit(unit)

    async def delete(self, id: str) -> None:
        """Forget the device and all that belongs to it. Raises NotFound."""
        await self.get(id)
        unit = UnitOfWork()
        unit.deleted_devices.append(id)
        await self._store.commit(unit)
        if self._hub.bus.listening:
            self._hub.bus.publish("device", {"device": id, "deleted": True})
