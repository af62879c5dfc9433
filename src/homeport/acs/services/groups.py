"""Logins that groups of devices share: made, changed, rotated, taken away; and who came with one and was none of the group's.

The row that a login is looked up by (`credential`) holds all that is needed to let a device in, so that this costs one read. The document
of the same content is what the list is made of, and what makes two changes at the same time one after the other; both are written together.
"""

import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
from msgspec.structs import replace

from homeport.acs.engine.groups import pattern_problem
from homeport.acs.records import (
    LOGIN_REFUSED,
    CredentialRecord,
    DeviceRecord,
    DeviceState,
    Document,
    EventRecord,
    GroupLogin,
    RefusalRecord,
)
from homeport.acs.services.devices import check_username, checked_tags, credential
from homeport.acs.services.hub import Hub, Invalid, NotFound, Refused
from homeport.acs.services.named import Named
from homeport.acs.storage.interface import Conflict, DocumentChange, UnitOfWork

USERS: Final = "group-user"
"""Documents by user name: two groups made at the same time cannot have the same."""

REFUSALS: Final = "group-refusals"
MOST_PATTERNS: Final = 100
MOST_REFUSALS: Final = 20
"""Refusals that are kept of each group, youngest first."""

AGAIN: Final = 3_600.0
MOST_REMEMBERED: Final = 1_000
"""Seconds after which a device that comes again with a group's login is told again, and how many such devices are remembered."""

LONGEST_OVERLAP: Final = 366 * 86_400.0

_PATTERNS: Final = ("ouis", "product_classes", "serial_numbers", "ids")
_encode = msgspec.msgpack.Encoder().encode
_refusals = msgspec.msgpack.Decoder(tuple[RefusalRecord, ...]).decode
_log = structlog.get_logger("homeport.acs.cwmp")


def group_of(login: CredentialRecord) -> GroupLogin:
    """The group of a login that is one's."""
    assert login.group is not None
    return login.group


class Groups:
    """The verbs of groups' logins."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._store = hub.store
        self._groups = Named(hub.store, "group", CredentialRecord)
        self._told: dict[tuple[str, str], float] = {}

    # --- the list ---

    async def all(self) -> list[CredentialRecord]:
        """All groups' logins, by the group's name."""
        return await self._groups.all()

    async def get(self, name: str) -> CredentialRecord:
        """The group's login. Raises NotFound."""
        return await self._groups.get(name)

    async def refusals(self, name: str) -> tuple[RefusalRecord, ...]:
        """Devices that came with the group's login lately and were none of the group's, youngest first."""
        found = await self._store.document(REFUSALS, name)
        return _refusals(found.record) if found is not None else ()

    # --- changes ---

    async def make(
        self, name: str, *, username: str = "", password: str = "", state: DeviceState, **given: Any
    ) -> tuple[CredentialRecord, str]:
        """A new group's login, and its password, which nobody can read again. Raises Refused.

        username: the name where it is "". password: one is made where it is "". given: further fields of GroupLogin.
        """
        self._groups.check(name)
        username = username or name
        check_username(username)
        if username == self._hub.settings.cpe_username:
            raise Refused(f"the user name {username!r} is the shared one of the settings (cpe_username)")
        taken = await self._store.credential(username)
        if taken is not None:
            raise Refused(f"the user name {username!r} belongs to {owner(taken)}")
        password = password or secrets.token_urlsafe(18)
        now = self._hub.clock()
        group = _checked(GroupLogin(name=name, state=state, made=now), given)
        record = replace(credential(username, password, now=now), group=group)
        unit = self._groups.unit(name, record, expect=b"")
        unit.credentials.append(record)
        unit.documents.append(DocumentChange(Document(USERS, username, name.encode()), expect=b""))
        try:
            await self._store.commit(unit)
        except Conflict:
            raise Refused(f"there is a group {name!r}, or one with the user name {username!r}, already") from None
        return record, password

    async def change(self, name: str, **given: Any) -> CredentialRecord:
        """The group's login with the given fields of GroupLogin changed; counts from the next session on. Raises NotFound, Refused."""
        return await self._rewrite(name, lambda old: replace(old, group=_checked(group_of(old), given)))

    async def rotate(self, name: str, *, password: str = "", overlap: float) -> tuple[CredentialRecord, str]:
        """The group's login with another password, and that password. Raises NotFound, Refused.

        overlap: seconds for which the password before opens, too.
        """
        password = password or secrets.token_urlsafe(18)

        def rotated(old: CredentialRecord) -> CredentialRecord:
            now = self._hub.clock()
            new = credential(old.username, password, now=now)
            if new.ha1_sha256 == old.ha1_sha256:
                raise Refused(f"this is the password that the group {name!r} has already")
            before = {"old_md5": old.ha1_md5, "old_sha256": old.ha1_sha256, "old_until": now + overlap}
            if overlap <= 0:
                before = {"old_md5": "", "old_sha256": "", "old_until": 0.0}
            return replace(new, group=replace(group_of(old), **before))

        return await self._rewrite(name, rotated), password

    async def remove(self, name: str) -> None:
        """Take the group's login away: nobody comes in by it any more; devices that came by it stay. Raises NotFound."""
        record = await self.get(name)
        unit = UnitOfWork()
        unit.documents.append(self._groups.gone(name))
        for kind, key in ((USERS, record.username), (REFUSALS, name)):
            unit.documents.append(DocumentChange(Document(kind, key, b""), gone=True))
        unit.deleted_credentials.append(record.username)
        await self._store.commit(unit)

    async def sweep(self) -> None:
        """Forget the hashes of passwords whose overlap is over."""
        now = self._hub.sure()
        for login in await self.all():
            group = group_of(login)
            if 0.0 < group.old_until <= now:
                try:
                    await self._rewrite(group.name, lambda old: _settled(old, now))
                except NotFound:
                    continue  # taken away in this moment

    async def _rewrite(self, name: str, changed: Callable[[CredentialRecord], CredentialRecord]) -> CredentialRecord:
        return await self._groups.change(name, changed, lambda unit, new: unit.credentials.append(new))

    # --- at the door ---

    async def refused(
        self, login: CredentialRecord, id: str, known: DeviceRecord | None, *, address: str, why: str
    ) -> None:
        """A device came with the login of a group that is not its own: told once an hour, to the log, to listeners, to its group, and
        as an event of the device where it is known. Raises StoreUnavailable.
        """
        group, now = group_of(login), self._hub.clock()
        if self._told.get((group.name, id), 0.0) > now - AGAIN:
            return
        while len(self._told) >= MOST_REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[group.name, id] = now
        _log.warning(
            "a device came with the login of a group that it is not in",
            group=group.name,
            user=login.username,
            device=id,
            peer=address,
            reason=why,
        )
        rest = [r for r in await self.refusals(group.name) if r.device != id]
        kept = (RefusalRecord(device=id, address=address, at=now, why=why), *rest)[:MOST_REFUSALS]
        unit = UnitOfWork()
        unit.documents.append(DocumentChange(Document(REFUSALS, group.name, _encode(kept))))
        self._store.later(unit)
        if known is not None:
            told = UnitOfWork()
            detail = {"group": group.name, "username": login.username, "address": address, "why": why}
            told.events.append(
                EventRecord(id=self._hub.new_id(), device=id, session="", at=now, code=LOGIN_REFUSED, detail=detail)
            )
            try:
                await self._store.commit(told)
            except Conflict:
                pass  # the device was deleted in this moment
        if self._hub.bus.listening:
            self._hub.bus.publish("device", {"device": id, "fields": [], "login_refused": why, "group": group.name})


def owner(login: CredentialRecord) -> str:
    """Whose login it is, in words."""
    if login.group is not None:
        return f"the group {login.group.name!r}"
    return f"the device {login.device}"


def _settled(old: CredentialRecord, now: float) -> CredentialRecord:
    group = group_of(old)
    over = 0.0 < group.old_until <= now
    return replace(old, group=replace(group, old_md5="", old_sha256="", old_until=0.0)) if over else old


def _checked(old: GroupLogin, given: dict[str, Any]) -> GroupLogin:
    """The group with the given fields. Raises Refused."""
    fields = dict(given)
    for name in _PATTERNS:
        if name not in fields:
            continue
        patterns = tuple(dict.fromkeys(fields[name]))
        if name == "ouis":
            patterns = tuple(dict.fromkeys(p.upper() for p in patterns))
        if len(patterns) > MOST_PATTERNS:
            raise Invalid(f"a group has at most {MOST_PATTERNS} patterns of each kind")
        for pattern in patterns:
            problem = pattern_problem(pattern)
            if problem:
                raise Invalid(f"{pattern!r}: {problem}")
        fields[name] = patterns
    if "tags" in fields:
        fields["tags"] = checked_tags(fields["tags"])
    return replace(old, **fields)
