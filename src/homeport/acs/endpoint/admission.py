"""Which bodies may be large: those of admitted devices in their sessions, and only so many bytes of them at once.

It is decided before such a body is read. A cookie tells at once, and so does the connection of a device that keeps none. Where neither
does (another connection, another process, a restart), the sessions that are written down or open elsewhere are asked for; a device
without a cookie shows by the mark in its first bytes that it answers a request of its session, which a stranger at the same address
cannot. A body whose length is not told (chunked, compressed) is asked about when it reaches a stranger's limit.

A device that gives back neither the cookie nor the IDs of requests may send no large body over a new connection: nothing there tells it
from its neighbours behind the same address.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from homeport.acs.endpoint.cookies import COOKIE, Cookies, given
from homeport.acs.endpoint.exchange import HttpReply, HttpRequest, plain
from homeport.acs.endpoint.live import Live, LiveSessions
from homeport.acs.endpoint.places import Places, said
from homeport.acs.records import LeaseRecord
from homeport.acs.services.continuation import unpack
from homeport.acs.services.hub import Hub
from homeport.http.compression import beginning

ENOUGH: Final = 4_096
"""Bytes of a body in which its ID stands."""

LARGE_TOGETHER: Final = 8
"""Bodies of the largest size that are read and worked on at once, in bytes together: further ones are told to come back."""


def too_long(limit: int, most: int, *, close: bool = True) -> HttpReply:
    """The answer to a body that is longer than its sender may send: limit; most: than anybody may."""
    text = f"the body is over {limit} bytes"
    if limit < most:
        text += (
            f"; up to {most} are read in the session of an admitted device alone, which the session's cookie has to show, or the"
            f" connection, or the ID of our request in the first {ENOUGH} bytes of the answer"
        )
    return plain(413, text, close=close)


class Held:
    """Bytes of large bodies that are in memory, or may soon be. most: together.

    The devices at one address have half of that, so that none keeps all others out; a first body always has room there.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: dict[str, int] = {}
        self.bytes = 0

    def take(self, count: int, host: str) -> bool:
        """Whether there is room for so many more, which is then taken. host: the sender's address."""
        here = self._of.get(host, 0)
        if self.bytes + count > self._most or (here and here + count > self._most // 2):
            return False
        self.bytes += count
        self._of[host] = here + count
        return True

    def give(self, count: int, host: str) -> None:
        """They are in memory no longer."""
        self.bytes -= count
        left = self._of.get(host, 0) - count
        if left > 0:
            self._of[host] = left
        else:
            self._of.pop(host, None)


Find = Callable[[HttpRequest, bytes], Awaitable[Live | HttpReply | None]]
"""(request, body) -> its session, taken up here."""


class Admission:
    """Says which bodies may be large, where that cannot be seen at once. find: has the session that a cookie names."""

    def __init__(self, hub: Hub, live: LiveSessions, cookies: Cookies, places: Places, find: Find) -> None:
        self._hub = hub
        self._live = live
        self._cookies = cookies
        self._places = places
        self._find = find

    async def admits(self, request: HttpRequest, start: bytes) -> bool | None:
        """Whether the body belongs to the session of an admitted device; None where more of it has to be seen.

        request: without its body, of which start is what is here. Raises StoreUnavailable.
        """
        if any(self._cookies.owner(cookie) is not None for cookie in given(request.cookie)):
            # The cookie of a session that is over says nothing more, so the session itself is had, wherever it is.
            found = await self._find(request, b"")
            return isinstance(found, Live) and found.work.manage
        leases = await self._hub.store.leases_at(request.host)
        here = self._live.at(request.host)
        if self._hub.peers is None and not leases and not any(live.mark for live in here):
            return False
        text = beginning(start, request.content_encoding, ENOUGH)
        told = said(request, text)
        if not told.mark:
            return None if len(text) < ENOUGH and len(start) < ENOUGH else False
        for live in here:
            if live.mark == told.mark:
                return live.work.manage
        for lease in leases:
            if self._places.mark_of(lease) == told.mark:
                return _managed(lease)
        return any(
            self._cookies.managed(f"{COOKIE}={cookie}") for cookie in await self._places.elsewhere(request, told)
        )


def _managed(lease: LeaseRecord) -> bool:
    try:
        return unpack(lease.state).manage
    except ValueError:
        return False  # of another version: its device begins anew
