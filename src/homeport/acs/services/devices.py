"""What operators do to devices: admit, refuse, tag, forget, read anew, give credentials, bring under another id."""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from msgspec.structs import replace

from homeport.acs.config import AcsSettings
from homeport.acs.records import CredentialRecord, DeviceRecord, DeviceState, TaskPhase, TaskStatus, Want, device_id
from homeport.acs.services.hub import Hub, Invalid, NotFound, Refused
from homeport.acs.storage.interface import Conflict, UnitOfWork
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


def check_username(username: str) -> None:
    """Raises Invalid where a device could not log in so."""
    if any(c in ":" or not c.isprintable() for c in username):
        raise Invalid("a user name has only characters that can be printed, and no colon, which Basic cannot carry")


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags as a device has them: sorted, each once. Raises Refused."""
    clean = tuple(sorted(set(tags)))
    if not all(_TAG.fullmatch(tag) for tag in clean):
        raise Invalid("a tag is 1 to 64 letters (a to z, A to Z), digits or _.:@/-")
    if len(clean) > MOST_TAGS:
        raise Refused(f"a device has at most {MOST_TAGS} tags")
    return clean


def wants_of(settings: AcsSettings) -> tuple[Want, ...]:
    """What a device that begins anew is wanted for."""
    wants: tuple[Want, ...] = ()
    if settings.connection_request_credentials == "provision":
        wants += (Want.CREDENTIALS,)
    if settings.discover != "never":
        wants += (Want.DISCOVER,)
    return wants


class Devices:
    """The verbs of devices. in_session: whether a device has a session open. ask: has a device called, for a task or, with "", as such."""

    def __init__(
        self,
        hub: Hub,
        in_session: Callable[[str], Awaitable[bool]],
        ask: Callable[[str, str], None] = lambda device, task: None,
    ) -> None:
        self._hub = hub
        self._ask = ask
        self._in_session = in_session
        self._store = hub.store

    async def get(self, id: str) -> DeviceRecord:
        """The device. Raises NotFound."""
        record = await self._store.fresh(id)
        if record is None:
            raise NotFound(f"there is no device {id!r}; list them with GET devices")
        return record

    async def _change(self, id: str, change: Callable[[DeviceRecord], dict[str, Any]]) -> DeviceRecord:
        """The device, changed. change: the new fields of the device as it is then; others may be changing it, too."""
        fields: set[str] = set()

        def changed(record: DeviceRecord) -> dict[str, Any]:
            new = change(record)
            fields.update(new)
            return new

        unit = UnitOfWork()
        unit.patches.append((id, changed))
        await self._store.commit(unit)
        if self._hub.bus.listening:
            self._hub.bus.publish("device", {"device": id, "fields": sorted(fields)})
        return await self.get(id)

    async def approve(self, id: str) -> DeviceRecord:
        """The device, admitted: it is called, and gets tasks from now on. Raises NotFound.

        It is set up as after a 0 BOOTSTRAP. In quarantine nothing was done about one, and perhaps none came (another ACS has managed it);
        of what a refused device told nothing was heard.
        """
        record = await self.get(id)
        if record.state is DeviceState.APPROVED:
            return record
        more = wants_of(self._hub.settings) if self._hub.settings.discover != "never" else ()

        def admit(now: DeviceRecord) -> dict[str, Any]:
            wants = {"wants": tuple(dict.fromkeys((*now.wants, *more)))} if more else {}
            return {"state": DeviceState.APPROVED, **wants}

        admitted = await self._change(id, admit)
        if admitted.wants:
            self._ask(id, "")
        return admitted

    async def refuse(self, id: str) -> DeviceRecord:
        """The device, shut out: its sessions are answered with 403. Raises NotFound."""
        await self.get(id)
        return await self._change(id, lambda now: {"state": DeviceState.REFUSED})

    async def tag(self, id: str, tag: str) -> DeviceRecord:
        """The device with the tag. Raises NotFound, Refused."""
        checked_tags((tag,))
        record = await self.get(id)
        if tag in record.tags:
            return record
        checked_tags((*record.tags, tag))
        return await self._change(id, lambda now: {"tags": tuple(sorted({*now.tags, tag}))})

    async def untag(self, id: str, tag: str) -> DeviceRecord:
        """The device without the tag. Raises NotFound."""
        record = await self.get(id)
        if tag not in record.tags:
            return record
        return await self._change(id, lambda now: {"tags": tuple(t for t in now.tags if t != tag)})

    async def behave(self, id: str, changes: dict[str, Any]) -> DeviceRecord:
        """The device with its switches changed; None in `changes` leaves a switch to the ACS again. Raises NotFound."""
        await self.get(id)
        return await self._change(id, lambda now: {"behaviour": replace(now.behaviour, **changes)})

    async def refresh(self, id: str) -> DeviceRecord:
        """The device, whose whole tree is read anew in its next session. Raises NotFound."""
        await self.get(id)
        return await self._change(id, lambda now: {"wants": tuple(dict.fromkeys((*now.wants, Want.DISCOVER)))})

    async def set_credential(self, id: str, username: str, password: str) -> None:
        """From now on only who knows this password is this device. Raises NotFound, Refused."""
        await self.get(id)
        if not username or not password:
            raise Invalid("username and password must not be empty")
        check_username(username)
        taken = await self._store.credential(username)
        if taken is not None and taken.device != id:
            other = "another device" if taken.group is None else f"the group {taken.group.name!r}"
            raise Refused(f"the user name {username!r} belongs to {other}")
        if username == self._hub.settings.cpe_username:
            raise Refused(f"the user name {username!r} is the shared one of the settings (cpe_username)")
        unit = UnitOfWork()
        old = await self._store.credential_of(id)
        if old is not None and old.username != username:
            unit.deleted_credentials.append(old.username)
        unit.credentials.append(credential(username, password, device=id, now=self._hub.clock()))
        await self._store.commit(unit)

    async def forget_credential(self, id: str) -> None:
        """From now on the device comes in as one that has no login of its own. Raises NotFound."""
        await self.get(id)
        old = await self._store.credential_of(id)
        if old is None:
            raise NotFound(f"the device {id} has no login of its own")
        unit = UnitOfWork()
        unit.deleted_credentials.append(old.username)
        await self._store.commit(unit)

    async def merge(self, id: str, into: str) -> DeviceRecord:
        """The device `into`, to which all that belongs to the device `id` has gone, which is no more. Raises NotFound, Refused."""
        if id == into:
            raise Refused(f"{id} is one device, there is nothing to merge")
        old, new = await self.get(id), await self.get(into)
        if len({*old.tags, *new.tags}) > MOST_TAGS:
            raise Refused(f"together they have more than {MOST_TAGS} tags; take some away first")
        return await self._move(id, into, UnitOfWork())

    async def rename(
        self, id: str, *, oui: str | None = None, product_class: str | None = None, serial_number: str | None = None
    ) -> DeviceRecord:
        """The device under the id of its new identity, None where a part stays as it is. Raises NotFound, Refused."""
        old = await self.get(id)
        given = (oui, product_class, serial_number)
        parts = [
            a if b is None else b for a, b in zip((old.oui, old.product_class, old.serial_number), given, strict=True)
        ]
        new = device_id(*parts)
        if new == id:
            raise Refused(f"{id} has this identity already")
        if await self._store.fresh(new) is not None:
            raise Refused(f"there is a device {new} already; merge {id} into it")
        unit = UnitOfWork()
        unit.devices.append(
            DeviceRecord(
                id=new, oui=parts[0], product_class=parts[1], serial_number=parts[2], state=DeviceState.QUARANTINED
            )
        )
        return await self._move(id, new, unit)

    async def _move(self, old: str, new: str, unit: UnitOfWork) -> DeviceRecord:
        if await self._in_session(old):
            raise Refused(f"the device {old} has a session open; wait for its end")
        for task in await self._store.open_tasks(old):
            if task.status is TaskStatus.RUNNING and task.phase is not TaskPhase.TRANSFER:
                raise Refused(f"the task {task.id} was sent to the device {old}; wait for its answer")
        unit.moved.append((old, new))
        try:
            await self._store.commit(unit)
        except Conflict as e:
            raise Refused(str(e)) from e
        if self._hub.bus.listening:
            self._hub.bus.publish("device", {"device": old, "deleted": True, "into": new})
            self._hub.bus.publish("device", {"device": new, "fields": [], "was": old})
        return await self.get(new)

    async def delete(self, id: str) -> None:
        """Forget the device and all that belongs to it. Raises NotFound."""
        await self.get(id)
        unit = UnitOfWork()
        unit.deleted_devices.append(id)
        await self._store.commit(unit)
        if self._hub.bus.listening:
            self._hub.bus.publish("device", {"device": id, "deleted": True})
