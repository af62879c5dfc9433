"""Who is at the page: logins, their cookies, the tokens that make a form ours, and how often somebody may guess.

Pure but for the random source: time is an argument. Logins live in memory and end with the agent.
"""

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from typing import Final

from homeport.transport.source_limits import SourceLimiter

IDLE: Final = 30 * 60.0
"""Seconds without a request after which a login ends."""

LONGEST: Final = 12 * 3600.0
"""Seconds after which a login ends in any case."""

MOST: Final = 32
"""Logins at a time; the one that was idle longest ends first."""


@dataclass(slots=True)
class _Login:
    began: float
    last: float
    password: str


class Logins:
    """The logins of one page."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._open: dict[bytes, _Login] = {}
        # Five guesses at once, then one in half a minute; all sources together thirty, then one in two seconds.
        self._guesses = SourceLimiter(rate=1 / 30, burst=5, sources=1024, total_rate=0.5, total_burst=30)

    def may_guess(self, source: str, now: float) -> bool:
        """Whether this source may try a password now; it is counted."""
        return self._guesses.allows(_network(source), now)

    def open(self, password_hash: str, now: float) -> str:
        """A fresh cookie for somebody who gave the right password. password_hash: a new password ends the login."""
        cookie = new_cookie()
        if len(self._open) >= MOST:
            del self._open[min(self._open, key=lambda k: self._open[k].last)]
        self._open[_digest(cookie)] = _Login(now, now, password_hash)
        return cookie

    def known(self, cookie: str, password_hash: str, now: float) -> bool:
        """Whether this cookie is of a login that goes on; it is then used."""
        found = self._open.get(_digest(cookie)) if cookie else None
        if found is None:
            return False
        if now - found.last > IDLE or now - found.began > LONGEST or found.password != password_hash:
            del self._open[_digest(cookie)]
            return False
        found.last = now
        return True

    def close(self, cookie: str) -> None:
        """Log out."""
        self._open.pop(_digest(cookie), None)

    def token(self, cookie: str) -> str:
        """What a form of ours carries for this cookie."""
        return hmac.new(self._key, cookie.encode(), hashlib.sha256).hexdigest()

    def token_fits(self, cookie: str, token: str) -> bool:
        """Whether a form came from a page of ours that was given to this cookie."""
        return bool(cookie) and hmac.compare_digest(self.token(cookie).encode(), token.encode("utf-8", "replace"))


def new_cookie() -> str:
    """A value that nobody guesses."""
    return secrets.token_urlsafe(32)


def _digest(cookie: str) -> bytes:
    """What is kept of a cookie: the memory of the agent does not hold the key to its page."""
    return hashlib.sha256(cookie.encode("utf-8", "replace")).digest()


def _network(source: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one: a host chooses the rest freely."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if address.version == 6 and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
