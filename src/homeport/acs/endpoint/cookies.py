"""The cookies that name sessions.

In a process that is alone: 16 characters of chance. Where several share a database the name of the process that began the session
follows, whether the device may be managed, and a signature: so that nobody can make this process look for sessions that never were.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from typing import Final

COOKIE: Final = "hp"
PATTERN: Final = re.compile(rf'(?:^|[;,\s]){COOKIE}="?([A-Za-z0-9_-]{{16,64}})')
_CHANCE: Final = 16
_SIGNED: Final = 8
MANAGED, WAITING = "m", "w"


MOST_GIVEN: Final = 4
"""Cookies of ours that are looked for; a device that kept an old one sends two. Each may be a question to the database."""


def given(header: str) -> Iterator[str]:
    """The cookies of ours in a Cookie header, the first ones where there are many."""
    match = PATTERN.search(header)
    for _ in range(MOST_GIVEN):
        if match is None:
            return
        yield match[1]
        match = PATTERN.search(header, match.end())


def _chances() -> Iterator[str]:
    """96 random bits each, taken from the system in large pieces because a system call costs more than all else here."""
    while True:
        text = secrets.token_urlsafe(12 * 256)
        for at in range(0, len(text), _CHANCE):
            yield text[at : at + _CHANCE]


_chance = _chances()


class Cookies:
    """Makes and reads them. node: this process's name, "" where it is alone; key: a secret of all processes on the database."""

    def __init__(self, node: str = "", key: bytes = b"") -> None:
        self._node = node
        self._key = key

    def new(self, managed: bool) -> str:
        """A new session's cookie."""
        chance = next(_chance)
        if not self._node:
            return chance
        named = f"{chance}{self._node}{MANAGED if managed else WAITING}"
        return named + self._signature(named)

    def owner(self, cookie: str) -> str | None:
        """The process that began the session, "" where there is only one; None where no process has made this cookie."""
        if not self._node:
            return "" if len(cookie) == _CHANCE else None
        if len(cookie) < _CHANCE + 2 + _SIGNED:
            return None
        named, signature = cookie[:-_SIGNED], cookie[-_SIGNED:]
        if not hmac.compare_digest(signature, self._signature(named)):
            return None
        return named[_CHANCE:-1]

    def managed(self, header: str) -> bool:
        """Whether the header names a session of a managed device, wherever that is."""
        if not self._node:
            return False
        return any(self.owner(c) is not None and c[-_SIGNED - 1] == MANAGED for c in given(header))

    def _signature(self, named: str) -> str:
        digest = hashlib.blake2b(named.encode(), key=self._key, digest_size=6).digest()
        return base64.urlsafe_b64encode(digest).decode()
