"""People who log in with a name and a password: made, changed, taken away, and let in.

Passwords are kept as Argon2id hashes; a login gives a bearer token that ends by itself. Guessing is slowed down for the name and for the
address from which it comes, without locking anybody out for longer than a minute.
"""

import asyncio
import secrets
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import structlog
from msgspec.structs import replace

from homeport.acs.records import Scope, TokenRecord, UserRecord
from homeport.acs.services.addresses import blocks
from homeport.acs.services.hub import Hub, Invalid, Refused
from homeport.acs.services.named import Named
from homeport.acs.services.tokens import token_digest
from homeport.acs.storage.interface import Conflict, UnitOfWork
from homeport.errors import HomeportError

SHORTEST_PASSWORD: Final = 10
LONGEST_PASSWORD: Final = 1_000
LOGIN: Final = "login:"
"""How the names of the tokens begin that logins make."""

SLOWEST: Final = 60.0
"""Seconds that a login waits at most after many that failed."""

_log = structlog.get_logger("homeport.acs.audit")

MOST_REMEMBERED: Final = 10_000


class NotLetIn(HomeportError):
    """The name or the password is wrong, or the user is switched off; which of them is not said."""


class TooSoon(HomeportError):
    """Too many logins failed; wait: seconds to wait before the next."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many logins failed; try again in {wait:.0f} s")
        self.wait = wait


class Throttle:
    """Waits that double with every failure and are forgotten after a success. Pure: the time is an argument.

    failures, lock: where they are kept in common with other processes; key -> (count, time).
    """

    def __init__(
        self,
        failures: MutableMapping[str, tuple[int, float]] | None = None,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._failures: MutableMapping[str, tuple[int, float]] = {} if failures is None else failures
        self._lock = lock or nullcontext()

    def attempt(self, keys: tuple[str, ...], now: float) -> float:
        """Seconds to wait; 0 where a login may be tried now, which counts as a failure until it is taken back.

        So of a hundred at once not all get a try.
        """
        with self._lock:
            wait = self.left(keys, now)
            if wait <= 0:
                self.failed(keys, now)
            return wait

    def left(self, keys: tuple[str, ...], now: float) -> float:
        """Seconds until a login with one of these keys is looked at again; 0 where it is now."""
        return max(0.0, *(self._until(key, now) - now for key in keys))

    def _until(self, key: str, now: float) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        if last > now + 1.0:
            return 0.0  # the clock was put back: nobody is to wait until it is there again
        return last + min(SLOWEST, 2.0 ** (count - 3)) if count >= 3 else 0.0

    def failed(self, keys: tuple[str, ...], now: float) -> None:
        """Note a failure for each key; after three the waits begin."""
        for key in keys:
            count, _ = self._failures.pop(key, (0, 0.0))
            self._failures[key] = (min(count + 1, 16), now)
        while len(self._failures) > MOST_REMEMBERED:  # never where they are kept in common: that has fewer places
            del self._failures[next(iter(self._failures))]

    def succeeded(self, keys: tuple[str, ...]) -> None:
        """Forget the failures."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)


class Users:
    """The verbs of users. Made once for each process. throttle: remembers failed logins."""

    def __init__(self, hub: Hub, throttle: Throttle | None = None) -> None:
        from argon2 import PasswordHasher  # only where somebody logs in

        self._hub = hub
        self._store = hub.store
        self._users = Named(hub.store, "user", UserRecord, signs="_.@-")
        self._hasher = PasswordHasher()
        self._pool = ThreadPoolExecutor(1, "argon2")  # one at a time: a hash takes 64 MB and a core
        self._throttle = throttle or Throttle()
        self._nobody = ""

    # --- the list of users ---

    async def all(self) -> list[UserRecord]:
        """All users, by name."""
        return await self._users.all()

    async def get(self, name: str) -> UserRecord:
        """The user. Raises NotFound."""
        return await self._users.get(name)

    async def make(self, name: str, password: str, scope: Scope, full_name: str = "") -> UserRecord:
        """A new user. Raises Refused where the name is taken or the password is none."""
        self._users.check(name)
        hashed = await self._hash(name, password)
        user = UserRecord(name=name, password=hashed, scope=scope, created=self._hub.clock(), full_name=full_name)
        try:
            await self._store.commit(self._users.unit(name, user, expect=b""))
        except Conflict:
            raise Refused(f"there is a user {name!r} already") from None
        return user

    async def change(
        self,
        name: str,
        *,
        password: str | None = None,
        scope: Scope | None = None,
        enabled: bool | None = None,
        full_name: str | None = None,
    ) -> UserRecord:
        """Change what is given; a new password, a smaller role and switching off end the user's logins. Raises NotFound, Refused."""
        hashed = await self._hash(name, password) if password is not None else None
        before: list[Scope] = []

        def changed(old: UserRecord) -> UserRecord:
            before.append(old.scope)
            return replace(
                old,
                password=hashed or old.password,
                scope=scope or old.scope,
                enabled=old.enabled if enabled is None else enabled,
                full_name=old.full_name if full_name is None else full_name,
            )

        new = await self._users.change(name, changed)
        if hashed is not None or new.scope is not before[-1] or not new.enabled:
            await self._end_logins(name)
        return new

    async def remove(self, name: str) -> None:
        """Take the user away, with all logins. Raises NotFound."""
        await self._users.remove(name)
        await self._end_logins(name)

    # --- logging in ---

    async def login(self, name: str, password: str, address: str) -> tuple[TokenRecord, str]:
        """A token for this user, which ends by itself. Raises NotLetIn, TooSoon."""
        now = self._hub.clock()
        keys = _keys(name, address)
        wait = self._throttle.attempt(keys, now)
        if wait > 0:
            raise TooSoon(wait)
        found = await self._users.find(name)
        good = await self._verify(found[0].password if found is not None else await self._nobodys(), password)
        if found is None or not good or not found[0].enabled:
            _log.warning("a login was refused", user=name, peer=address)
            raise NotLetIn("the name or the password is wrong")
        user, stored = found
        self._throttle.succeeded(keys)
        token = secrets.token_urlsafe(32)
        record = TokenRecord(
            digest=token_digest(token),
            name=f"{LOGIN}{secrets.token_hex(8)}",
            created=now,
            scope=user.scope,
            user=name,
            expires=now + self._hub.settings.login_hours * 3600,
        )
        unit = self._users.unit(name, replace(user, last_login=now), expect=stored)
        unit.tokens.append(record)
        try:
            await self._store.commit(unit)
        except Conflict:
            # The user was changed in this moment: with the old password perhaps.
            raise NotLetIn("the name or the password is wrong") from None
        return record, token

    async def change_own(self, name: str, old: str, new: str, address: str) -> None:
        """The user's own change of the password; all logins end. Raises NotLetIn where the old one is wrong, TooSoon, Invalid."""
        keys = _keys(name, address)
        wait = self._throttle.attempt(keys, self._hub.clock())
        if wait > 0:
            raise TooSoon(wait)
        if not await self._verify((await self.get(name)).password, old):
            _log.warning("a change of a password was refused", user=name, peer=address)
            raise NotLetIn("the old password is wrong")
        self._throttle.succeeded(keys)
        await self.change(name, password=new)

    async def logout(self, record: TokenRecord) -> None:
        """End a login."""
        unit = UnitOfWork()
        unit.ended_tokens.append(record.name)
        await self._store.commit(unit)

    async def _end_logins(self, name: str) -> None:
        unit = UnitOfWork()
        unit.ended_tokens += [t.name for t in await self._store.tokens() if t.user == name]
        if unit.ended_tokens:
            await self._store.commit(unit)

    async def sweep(self) -> None:
        """Delete the tokens that have ended by themselves."""
        now = self._hub.sure()
        unit = UnitOfWork()
        unit.ended_tokens += [t.name for t in await self._store.tokens() if t.expires is not None and t.expires <= now]
        if unit.ended_tokens:
            await self._store.commit(unit)

    # --- hashes ---

    async def _hash(self, name: str, password: str) -> str:
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise Invalid(
                f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters, this one has {len(password)}"
            )
        if password.lower() == name:
            raise Invalid("the password must not be the user's name")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hasher.hash, password)

    async def _verify(self, hashed: str, password: str) -> bool:
        from argon2.exceptions import Argon2Error, InvalidHashError

        def check() -> bool:
            try:
                return self._hasher.verify(hashed, password[: LONGEST_PASSWORD + 1])
            except (Argon2Error, InvalidHashError):
                return False

        return await asyncio.get_running_loop().run_in_executor(self._pool, check)

    async def _nobodys(self) -> str:
        """A hash that takes as long to check as a real one, so that the time does not tell which names exist."""
        if not self._nobody:
            self._nobody = await self._hash("", secrets.token_urlsafe(16))
        return self._nobody

    def close(self) -> None:
        """Let go of the thread."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _keys(name: str, address: str) -> tuple[str, str]:
    """What failures are remembered by."""
    return f"name {name}", f"from {blocks(address)[0]}"
