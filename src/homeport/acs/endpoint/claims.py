"""Who says that it is which device, beside what its login says.

Source: TR-069a6 3.3, 3.4.4.
"""

import re
from typing import Final

import structlog

from homeport.acs.records import IDENTITY_CHANGED, CredentialRecord, EventRecord, device_id
from homeport.acs.services.hub import Hub
from homeport.acs.storage.interface import Conflict, UnitOfWork
from homeport.codec.messages import DeviceIdStruct

MISTAKEN_AGAIN: Final = 3_600.0
MOST_MISTAKEN: Final = 1_000
"""Seconds after which credentials that come with the same wrong identity are told again, and how many such pairs are remembered."""

_PARTS: Final = [
    re.compile(rb"<%s(?:\s[^<>]{0,200})?>([^<&]{0,80})<" % name) for name in (b"OUI", b"ProductClass", b"SerialNumber")
]
"""Each bounded at every step: whoever sends this has not logged in."""

_HEAD: Final = 4_096
_log = structlog.get_logger("homeport.acs.cwmp")


def claimed_id(body: bytes) -> str:
    """The device whose Inform this seems to be, before anybody has logged in and it may be parsed; "" where a quick look does not tell.

    Nothing but a guess: whoever can gain by it has to be right in another way.
    """
    found = [pattern.search(body, 0, _HEAD) for pattern in _PARTS]
    oui, product_class, serial = (m[1].decode("utf-8", "replace").strip() if m is not None else "" for m in found)
    return device_id(oui, product_class, serial) if oui and serial and "\0" not in oui + product_class + serial else ""


class Claims:
    """What is asked, and told, of identities that do not fit."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._mistakes: dict[tuple[str, str], float] = {}  # (owner, claimed id) -> when it was told

    async def is_short_for(self, certificate: str, device: DeviceIdStruct) -> bool:
        """Whether the name is OUI-SerialNumber, the common name that a device's certificate has by the standard (TR-069a6 3.3).

        With a hyphen in them, what is meant by it may be the id of another device, of which the short name is no part.
        Raises StoreUnavailable.
        """
        if certificate != f"{device.oui}-{device.serial_number}":
            return False
        return certificate.count("-") == 1 or await self._hub.store.device(certificate) is None

    async def mistaken(self, credential: CredentialRecord, id: str, address: str) -> None:
        """Somebody has a device's credentials and another id: told once an hour, for it may be that device with a new identity.

        Raises StoreUnavailable.
        """
        hub, owner, now = self._hub, credential.device, self._hub.clock()
        _log.warning("a device claims to be another", user=credential.username, owner=owner, claims=id, peer=address)
        if self._mistakes.get((owner, id), 0.0) > now - MISTAKEN_AGAIN or await hub.store.device(owner) is None:
            return
        while len(self._mistakes) >= MOST_MISTAKEN:
            del self._mistakes[next(iter(self._mistakes))]
        self._mistakes[owner, id] = now
        unit = UnitOfWork()
        detail = {"claims": id, "credentials_of": owner, "username": credential.username, "address": address}
        unit.events.append(
            EventRecord(id=hub.new_id(), device=owner, session="", at=now, code=IDENTITY_CHANGED, detail=detail)
        )
        try:
            await hub.store.commit(unit)
        except Conflict:
            return  # the owner was deleted in this moment
        if hub.bus.listening:
            hub.bus.publish("device", {"device": owner, "fields": [], "claims": id})
