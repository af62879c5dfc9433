"""Bearer tokens of people and programs: made, looked up, taken back. What is stored of one is its hash."""

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from homeport.acs.records import Scope, TokenRecord
from homeport.acs.services.hub import Hub, Invalid, NotFound, Refused
from homeport.acs.storage.interface import Store, UnitOfWork
from homeport.errors import StoreUnavailable

ADMIN: Final = "admin"
"""The name of the token in DIR/admin.token, and how the names of those begin that the ACS makes for itself."""

REMEMBERED: Final = 86_400.0
"""Seconds for which a token that watches is remembered: longer than people need to bring a database back."""

MOST_REMEMBERED: Final = 64

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_REVOKED: Final = "revoked:"


def token_digest(token: str) -> str:
    """What is stored of a token. A token is 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


async def make_token(store: Store, name: str, now: float, scope: Scope = Scope.ADMIN) -> str:
    """A new token under this name; an older one of the same name ends. The token is only known from here."""
    token = secrets.token_urlsafe(32)
    unit = UnitOfWork()
    unit.tokens.append(TokenRecord(digest=token_digest(token), name=name, created=now, scope=scope))
    await store.commit(unit)
    return token


async def token_holder(store: Store, header: str | None, now: float) -> TokenRecord | None:
    """The token that an `Authorization: Bearer` header carries; None where it is not a good one."""
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    found = await store.token(token_digest(token.strip()))
    return None if found is None or (found.expires is not None and found.expires <= now) else found


class Watchers:
    """Whose token opens what tells whether the ACS works, also while no token can be looked up because the database is away.

    Such a token counts if it was good here within the last `REMEMBERED` seconds; one that was found to be none any more does not.
    """

    def __init__(self, ask: Callable[[str | None], Awaitable[TokenRecord | None]], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._good: dict[str, tuple[float, TokenRecord]] = {}

    async def holder(self, header: str | None) -> TokenRecord | None:
        """The token in an `Authorization` header; None where it is not a good one. Raises StoreUnavailable for one not known here."""
        digest = token_digest(header or "")
        now = self._clock()
        try:
            found = await self._ask(header)
        except StoreUnavailable:
            at, found = self._good.get(digest, (-REMEMBERED, None))
            if found is None or now - at > REMEMBERED:
                raise
            return None if found.expires is not None and found.expires <= now else found
        self._good.pop(digest, None)
        if found is not None:
            self._good[digest] = (now, found)
            while len(self._good) > MOST_REMEMBERED:
                del self._good[next(iter(self._good))]  # the one that was looked up longest ago
        return found


class Tokens:
    """The verbs of tokens."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._store = hub.store

    async def make(self, name: str, scope: Scope) -> tuple[TokenRecord, str]:
        """The record, and the token itself, which nobody can read again. Raises Refused."""
        if not _NAME.fullmatch(name) or name.startswith(ADMIN):
            raise Invalid(
                f"a token's name is 1 to 64 small letters, digits or _.- and does not begin with {ADMIN}: those are the ACS's own"
            )
        token = await make_token(self._store, name, self._hub.clock(), scope)
        return await self.get(name), token

    async def all(self) -> list[TokenRecord]:
        """Tokens that open something, by name."""
        now = self._hub.clock()
        found = await self._store.tokens()
        return [t for t in found if not t.digest.startswith(_REVOKED) and (t.expires is None or t.expires > now)]

    async def get(self, name: str) -> TokenRecord:
        """The token's record. Raises NotFound."""
        found = await self._store.token_named(name)
        if found is None or found.digest.startswith(_REVOKED):
            raise NotFound(f"there is no token {name!r}; list them with GET tokens")
        return found

    async def revoke(self, name: str) -> None:
        """End a token: from now on it opens nothing. Raises NotFound, Refused."""
        if name.startswith(ADMIN):
            raise Refused(f"the token {name} is the ACS's own; delete its file and restart the ACS to have a new one")
        found = await self.get(name)
        unit = UnitOfWork()
        digest = _REVOKED + secrets.token_hex(16)  # no hash of anything
        unit.tokens.append(TokenRecord(digest=digest, name=name, created=found.created, scope=found.scope))
        await self._store.commit(unit)
