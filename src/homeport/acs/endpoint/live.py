"""The sessions that are open now, and how a request finds its own: by cookie, or without one by where it comes from."""

from collections.abc import Iterator

from homeport.acs.endpoint.cookies import PATTERN
from homeport.acs.records import MessageTrace
from homeport.acs.services.work import Work
from homeport.session.session import Session

Traced = tuple[float, str, str, bytes, bool]
"""(time, who sent it: cpe or acs, element, body, whether it surely holds no secret)."""


class Live:
    """An open session.

    busy: a message of it is being worked on. cookie_seen: the device gives our cookie back. away: the connection on which it sent
    its Inform is gone. told: messages that other processes have had, before trace.
    """

    __slots__ = ("away", "busy", "cookie", "cookie_seen", "host", "over", "port", "session", "told", "trace", "work")

    def __init__(self, session: Session, work: Work, cookie: str, host: str, port: int) -> None:
        self.session = session
        self.work = work
        self.cookie = cookie
        self.cookie_seen = False
        self.host = host
        self.port = port
        self.away = False
        self.busy = False
        self.over = False
        self.told: tuple[MessageTrace, ...] = ()
        self.trace: list[Traced] = []


class LiveSessions:
    """All open sessions of this process.

    A device that does not give the cookie back is found by its connection; or, once that is gone, by its address, while only one
    such session is open there. Neither serves for an Inform, which always begins a session of its own. A neighbour behind the same
    address cannot reach a session whose connection is still open.
    """

    def __init__(self) -> None:
        self._by_cookie: dict[str, Live] = {}
        self._by_device: dict[str, Live] = {}
        self._by_peer: dict[tuple[str, int], Live] = {}
        self._by_host: dict[str, dict[str, Live]] = {}
        self._away = 0  # sessions without a cookie whose connection is gone

    def __len__(self) -> int:
        return len(self._by_cookie)

    def __iter__(self) -> Iterator[Live]:
        return iter(list(self._by_cookie.values()))

    def add(self, live: Live) -> None:
        """Keep a new session."""
        self._by_cookie[live.cookie] = live
        self._by_device[live.work.device] = live
        if not live.cookie_seen and live.port:
            self._by_peer[live.host, live.port] = live
            self._by_host.setdefault(live.host, {})[live.cookie] = live

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
            if there.pop(live.cookie, None) is not None and live.away:
                self._away -= 1
            if not there:
                del self._by_host[live.host]

    def of_device(self, device: str) -> Live | None:
        """The open session of a device."""
        return self._by_device.get(device)

    def by_cookie(self, header: str) -> Live | None:
        """The session whose cookie is in a Cookie header; several of ours may be there, the first that lives counts."""
        match = PATTERN.search(header)
        while match is not None:
            live = self._by_cookie.get(match[1])
            if live is not None:
                if not live.cookie_seen:
                    live.cookie_seen = True
                    self._forget_place(live)
                return live
            match = PATTERN.search(header, match.end())
        return None

    def named(self, cookie: str) -> Live | None:
        """The session with exactly this cookie."""
        return self._by_cookie.get(cookie)

    def by_place(self, host: str, port: int) -> Live | None:
        """The session of a device that sends no cookie, where it can be told. port: 0 where a load balancer has not told it."""
        if not port:
            return None
        live = self._by_peer.get((host, port))
        if live is None and self._away:
            away = [other for other in self._by_host.get(host, {}).values() if other.away]
            if len(away) == 1:
                live = away[0]
        return live

    def gone(self, host: str, port: int) -> None:
        """The connection from there has ended."""
        live = self._by_peer.pop((host, port), None)
        if live is not None:
            live.away = True
            self._away += 1
