"""The sessions that are open now, and how a request finds its own: by cookie, or without one by its connection.

What a message without a cookie on another connection belongs to is said in `places.py`.
"""

from collections.abc import Iterator
from typing import Final

from homeport.acs.endpoint.cookies import COOKIE, PATTERN
from homeport.acs.endpoint.exchange import HttpRequest
from homeport.acs.records import MessageTrace
from homeport.acs.services.shares import Tally
from homeport.acs.services.work import Work
from homeport.codec.messages import Inform
from homeport.session.session import Session

Traced = tuple[float, str, str, bytes, int, bool | Inform]
"""(time, who sent it: cpe or acs, element, body or its beginning, bytes of the whole, whether it surely holds no secret: of an Inform
that is found out where it is kept)."""

_NAME: Final = f"{COOKIE}="
_NAMED: Final = len(_NAME)


class Live:
    """An open session.

    busy: a message of it is being worked on. cookie_seen: the device gives our cookie back. first: the request that began it here.
    host, port: where the device's last message came from that told it. away: that connection is gone, or nobody here can see whether
    it is. mark: what the IDs of our requests hold where the device sends no cookie. told: messages that other processes have had,
    before trace.
    """

    __slots__ = (
        *("away", "busy", "cookie", "cookie_seen", "first", "host", "mark", "over", "port", "session", "told", "trace"),
        "work",
    )

    def __init__(self, session: Session, work: Work, cookie: str, first: HttpRequest) -> None:
        self.session = session
        self.work = work
        self.cookie = cookie
        self.cookie_seen = False
        self.first = first
        self.host = first.host
        self.port = first.port
        self.mark = ""
        self.away = first.relayed
        self.busy = False
        self.over = False
        self.told: tuple[MessageTrace, ...] = ()
        self.trace: list[Traced] = []


class LiveSessions:
    """All open sessions of this process.

    A device that does not give the cookie back is found by its connection, but for its Inform, which always begins a session of its
    own.
    """

    def __init__(self) -> None:
        self._by_cookie: dict[str, Live] = {}
        self._by_device: dict[str, Live] = {}
        self._by_peer: dict[tuple[str, int], Live] = {}
        self._by_host: dict[str, dict[str, Live]] = {}

    def __len__(self) -> int:
        return len(self._by_cookie)

    def full(self, most: int) -> bool:
        """Whether there are so many."""
        return len(self._by_cookie) >= most

    def crowded(self, most: int) -> bool:
        """Whether devices that are not admitted have so many of these that another would keep the admitted ones out."""
        if not self.full(most // 2):
            return False
        return 2 * sum([not live.work.manage for live in self._by_cookie.values()]) >= max(len(self._by_cookie), 1)

    def __iter__(self) -> Iterator[Live]:
        return iter(list(self._by_cookie.values()))

    def add(self, live: Live) -> None:
        """Keep a new session."""
        self._by_cookie[live.cookie] = live
        self._by_device[live.work.device] = live
        if not live.cookie_seen:
            self._by_host.setdefault(live.host, {})[live.cookie] = live
            if live.port:
                self._by_peer[live.host, live.port] = live

    def remove(self, live: Live) -> None:
        """Forget a session that is over."""
        live.over = True
        self._by_cookie.pop(live.cookie, None)
        if self._by_device.get(live.work.device) is live:
            del self._by_device[live.work.device]
        if not live.cookie_seen:
            self._forget_place(live)

    def _forget_place(self, live: Live) -> None:
        if self._by_peer.get((live.host, live.port)) is live:
            del self._by_peer[live.host, live.port]
        there = self._by_host.get(live.host)
        if there is not None:
            there.pop(live.cookie, None)
            if not there:
                del self._by_host[live.host]

    def of_device(self, device: str) -> Live | None:
        """The open session of a device."""
        return self._by_device.get(device)

    def by_cookie(self, header: str) -> Live | None:
        """The session whose cookie is in a Cookie header; several of ours may be there, the first that lives counts."""
        live = self._by_cookie.get(header[_NAMED:]) if header[:_NAMED] == _NAME else None  # nearly all send ours alone
        match = PATTERN.search(header) if live is None else None
        while match is not None and live is None:
            live = self._by_cookie.get(match[1])
            match = PATTERN.search(header, match.end())
        if live is not None and not live.cookie_seen:
            live.cookie_seen = True
            self._forget_place(live)
        return live

    def named(self, cookie: str) -> Live | None:
        """The session with exactly this cookie."""
        return self._by_cookie.get(cookie)

    def by_connection(self, host: str, port: int) -> Live | None:
        """The session whose device has not given the cookie back and last spoke from there.

        port: 0 where a load balancer has not told it: then nothing is found.
        """
        return self._by_peer.get((host, port)) if port else None

    def at(self, host: str) -> list[Live]:
        """The sessions of devices at this address that have not given the cookie back."""
        return list(self._by_host.get(host, {}).values())

    def moved(self, live: Live, request: HttpRequest) -> None:
        """A device without a cookie goes on over another connection."""
        if live.cookie_seen or (live.host, live.port) == (request.host, request.port):
            return
        self._forget_place(live)
        live.host, live.port, live.away = request.host, request.port, request.relayed
        self._by_host.setdefault(live.host, {})[live.cookie] = live
        if live.port:
            self._by_peer[live.host, live.port] = live

    def gone(self, host: str, port: int) -> None:
        """The connection from there has ended."""
        live = self._by_peer.pop((host, port), None)
        if live is not None:
            live.away = True


class CountedSessions(LiveSessions):
    """The open sessions of one of several workers, which know of each other how many they have."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def add(self, live: Live) -> None:
        super().add(live)
        self._tally.tell(len(self))

    def remove(self, live: Live) -> None:
        super().remove(live)
        self._tally.tell(len(self))

    def full(self, most: int) -> bool:
        """Whether all workers have so many together."""
        return len(self) + self._tally.others() >= most
