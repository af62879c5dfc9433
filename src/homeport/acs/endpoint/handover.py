"""Sessions that come from another process: after a restart, from another worker, from another node.

The cookie names the session and, where several processes share a database, the process that began it. A process that is asked for a
session which it does not have looks for it in the database, or asks the one that has it to write it there.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from homeport.acs.endpoint.cookies import Cookies, given
from homeport.acs.endpoint.exchange import HttpReply, HttpRequest, plain
from homeport.acs.endpoint.live import Live, LiveSessions
from homeport.acs.records import LeaseRecord, MessageTrace
from homeport.acs.services.continuation import SessionState, TooLarge
from homeport.acs.services.hub import Hub
from homeport.acs.services.leases import Leases
from homeport.errors import LocalProtocolError, StoreUnavailable
from homeport.session.session import Session

GIVEN, BUSY, UNKNOWN = "given", "busy", "unknown"

AT_ONCE: Final = 200
"""Sessions in one commit when the process stops, and leases that are ended in one go."""

_BUSY: Final = plain(409, "the last message of this session is still being answered")

_log = structlog.get_logger("homeport.acs.cwmp")


class Handover:
    """Gives sessions to other processes and takes them up.

    session_of: the protocol's session from a state; raises LocalProtocolError. told: a session's messages as its history has them.
    give_up: ends a session here.
    """

    def __init__(
        self,
        hub: Hub,
        leases: Leases,
        live: LiveSessions,
        cookies: Cookies,
        session_of: Callable[[SessionState], Session],
        told: Callable[[Live], list[MessageTrace]],
        give_up: Callable[[Live, str, str], Awaitable[None]],
    ) -> None:
        self._hub = hub
        self._leases = leases
        self._live = live
        self._cookies = cookies
        self._session_of = session_of
        self._told = told
        self._give_up = give_up
        self._coming: set[str] = set()
        if hub.peers is not None:
            hub.peers.serve("give", self._asked)

    # --- taking up ---

    async def find(self, request: HttpRequest) -> Live | HttpReply | None:
        """The session that the request's cookie names, now open here; None where there is none; an answer where it must wait.

        Raises StoreUnavailable.
        """
        for cookie in given(request.cookie):
            owner = self._cookies.owner(cookie)
            if owner is None:
                continue
            if cookie in self._coming:
                return _BUSY
            self._coming.add(cookie)
            try:
                found = await self._take(cookie, owner, request)
            finally:
                self._coming.discard(cookie)
            if found is not None:
                return found
        return None

    async def _take(self, cookie: str, owner: str, request: HttpRequest) -> Live | HttpReply | None:
        hub, store = self._hub, self._hub.store
        lease = await store.lease(cookie)
        if lease is not None:
            owner = lease.node
        if hub.peers is not None and owner and owner != store.node and await hub.peers.alive(owner):
            answer = await hub.peers.ask(owner, "give", cookie=cookie)
            if answer == BUSY:
                return _BUSY
            lease = await store.lease(cookie) if answer == GIVEN else None
        if lease is None or lease.until <= hub.clock():
            return None
        return await self._resumed(lease, request)

    async def _resumed(self, lease: LeaseRecord, request: HttpRequest) -> Live | None:
        taken = await self._leases.resume(lease)
        if taken is None:
            return None
        work, state = taken
        try:
            session = self._session_of(state)
            if session.our_turn and work.request is not None:
                # It was written before the request left; saying it again leads to the state in which the answer is awaited.
                session.send(work.request, now=0.0)
        except LocalProtocolError as e:
            _log.warning("a session cannot be continued", device=lease.device, reason=str(e))
            work.clear(self._hub.asking)
            return None
        if self._live.of_device(lease.device) is not None:
            work.clear(self._hub.asking)
            return None  # the device has begun another session here meanwhile
        live = Live(session, work, lease.cookie, request.host, request.port)
        live.cookie_seen = True
        live.told = state.messages
        work.record, work.patience = session.to_record, session.timeout
        self._live.add(live)
        self._hub.stats.continued += 1
        _log.info("a session goes on here", device=lease.device, session=lease.session)
        return live

    # --- giving away ---

    async def _asked(self, word: dict[str, Any]) -> str:
        """Another process has got a message of a session: it is its own from now on."""
        live = self._live.named(str(word.get("cookie", "")))
        if live is None:
            return UNKNOWN
        if live.busy:
            return BUSY
        live.busy = True
        try:
            await self._leases.hand_over([(live.work, self._told(live))])
        except TooLarge as e:
            live.busy = False
            await self._give_up(live, "aborted", str(e))
            return UNKNOWN
        except StoreUnavailable:
            live.busy = False
            return BUSY
        self._live.remove(live)
        return GIVEN

    async def all(self) -> None:
        """Write all sessions down, because this process stops: their devices go on at another one, or after the restart."""
        left = list(self._live)
        while left:
            batch, left = left[:AT_ONCE], left[AT_ONCE:]
            works = [(live.work, self._told(live)) for live in batch if not live.busy]
            try:
                await self._leases.hand_over(works)
            except (TooLarge, StoreUnavailable):
                if len(batch) > 1:
                    left = [*batch[1:], *left]
                    batch = batch[:1]
                for live in batch:
                    await self._give_up(live, "aborted", "the ACS was stopped")
                continue
            for live in batch:
                if live.busy:
                    await self._give_up(live, "aborted", "the ACS was stopped")
                else:
                    self._live.remove(live)

    async def sweep(self) -> None:
        """End the sessions that were written down and whose device did not come back. Raises StoreUnavailable."""
        while True:
            living = [live.work.id for live in self._live if live.work.leased]
            over = await self._hub.store.expired_leases(now=self._hub.clock(), limit=AT_ONCE, living=living)
            for lease in over:
                await self._leases.abandon(lease)
            if len(over) < AT_ONCE:
                return
