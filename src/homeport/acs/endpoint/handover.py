"""Sessions that come from another process: after a restart, from another worker, from another node.

The cookie names the session and, where several processes share a database, the process that began it. A process that is asked for a
session which it does not have looks for it in the database, or asks the one that has it to write it there. Without a cookie the session
is found by place (`places.py`), and then taken up in the same way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from homeport.acs.endpoint.admission import Admission
from homeport.acs.endpoint.cookies import Cookies, given
from homeport.acs.endpoint.exchange import HttpReply, HttpRequest, plain
from homeport.acs.endpoint.live import Live, LiveSessions
from homeport.acs.endpoint.places import Places, mark_in
from homeport.acs.records import LeaseRecord, MessageTrace
from homeport.acs.services.continuation import SessionState, TooLarge
from homeport.acs.services.hub import Hub
from homeport.acs.services.leases import Leases
from homeport.acs.services.work import Work
from homeport.errors import LocalProtocolError, StoreError, StoreUnavailable
from homeport.session.session import Session

GIVEN, BUSY, UNKNOWN = "given", "busy", "unknown"

AT_ONCE: Final = 200
"""Sessions in one commit when the process stops, and leases that are ended in one go."""

_BUSY: Final = plain(409, "the last message of this session is still being answered")

_log = structlog.get_logger("homeport.acs.cwmp")


class Handover:
    """Gives sessions to other processes and takes them up.

    session_of: the protocol's session from a state; raises LocalProtocolError. told: a session's messages as its history has them.
    give_up: ends a session here. no_cookie: a device was found to send no cookie.
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
        no_cookie: Callable[[Work], Awaitable[None]],
    ) -> None:
        self._hub = hub
        self._leases = leases
        self._live = live
        self._cookies = cookies
        self._session_of = session_of
        self._told = told
        self._give_up = give_up
        self._coming: set[str] = set()
        self._jobs: set[asyncio.Task[None]] = set()
        challenged = hub.settings.cpe_auth != "open"
        self._places = Places(hub, live, self._by_place, give_up, no_cookie, challenged=challenged)
        self.admission = Admission(hub, live, cookies, self._places, self.find)
        if hub.peers is not None:
            hub.peers.serve("give", self._asked)
            hub.peers.on_gap(self._look_around)

    # --- taking up ---

    async def find(self, request: HttpRequest, body: bytes) -> Live | HttpReply | None:
        """The session that the request belongs to, now open here; None where there is none; an answer where it must wait.

        body: as it was before it was compressed. Raises StoreUnavailable.
        """
        named = False
        for cookie in given(request.cookie):
            named = True
            owner = self._cookies.owner(cookie)
            if owner is None:
                continue
            found = await self._claim(cookie, owner, request, by_cookie=True)
            if found is not None:
                return found
        if named:
            # It names a session that is over, or that never was. Where its device has begun another on this connection, that is meant.
            return self._live.by_connection(request.host, request.port)
        return await self._places.find(request, body)

    async def _by_place(self, cookie: str, owner: str, request: HttpRequest) -> Live | HttpReply | None:
        return await self._claim(cookie, owner, request, by_cookie=False)

    async def _claim(
        self, cookie: str, owner: str, request: HttpRequest, *, by_cookie: bool
    ) -> Live | HttpReply | None:
        if cookie in self._coming:
            return _BUSY
        self._coming.add(cookie)
        try:
            return await self._take(cookie, owner, request, by_cookie=by_cookie)
        finally:
            self._coming.discard(cookie)

    async def _take(self, cookie: str, owner: str, request: HttpRequest, *, by_cookie: bool) -> Live | HttpReply | None:
        hub, store = self._hub, self._hub.store
        lease = await store.lease(cookie)
        if lease is not None:
            owner = lease.node
        if hub.peers is not None and owner and owner != store.node and await hub.peers.alive(owner):
            answer = await hub.peers.ask(owner, "give", cookie=cookie)
            if answer == BUSY:
                return _BUSY
            over = answer is None and not await hub.peers.alive(owner)  # it was killed in this moment
            lease = await store.lease(cookie)
            if not (answer == GIVEN or over or (lease is not None and not lease.node)):
                lease = None  # where it was given away, its answer was lost
        if lease is None or lease.until <= hub.clock():
            return None
        return await self._resumed(lease, request, by_cookie=by_cookie)

    async def _resumed(self, lease: LeaseRecord, request: HttpRequest, *, by_cookie: bool) -> Live | None:
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
        live = Live(session, work, lease.cookie, request)
        live.cookie_seen = by_cookie
        live.mark = mark_in(session.id_prefix)
        work.place = "" if by_cookie else request.host
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
        live.work.place = "" if live.cookie_seen else live.host
        try:
            await self._leases.hand_over([(live.work, self._told(live))])
        except TooLarge as e:
            await self._give_up(live, "aborted", str(e))
            return UNKNOWN
        except StoreUnavailable:
            return BUSY
        finally:
            live.busy = False
        self._live.remove(live)
        return GIVEN

    def _look_around(self) -> None:
        """Others may have taken this process for dead, and gone on with its sessions."""
        job = asyncio.get_running_loop().create_task(self.let_go())
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def let_go(self) -> None:
        """Forget the sessions that another process has taken."""
        for live in [live for live in self._live if live.work.leased and not live.busy]:
            try:
                held = await self._leases.held(live.work)
            except StoreUnavailable:
                return  # this comes again with the database
            if not held and not live.busy and not live.over and live.work.leased:
                _log.info("a session has gone on elsewhere", device=live.work.device, session=live.work.id)
                live.work.clear(self._hub.asking)
                self._live.remove(live)

    async def all(self) -> None:
        """Write all sessions down, because this process stops: their devices go on at another one, or after the restart."""
        every = list(self._live)
        batches = [every[at : at + AT_ONCE] for at in range(0, len(every), AT_ONCE)]
        while batches:
            batch = batches.pop()
            for live in batch:
                live.work.place = "" if live.cookie_seen else live.host
            works = [(live.work, self._told(live)) for live in batch if not live.busy]
            try:
                await self._leases.hand_over(works)
            except StoreUnavailable as e:
                self._let_all_go([live for part in (batch, *batches) for live in part], str(e))
                return
            except (TooLarge, StoreError) as e:
                # One of them cannot be written down, and the others need not suffer for it.
                if len(batch) > 1:
                    half = len(batch) // 2
                    batches += [batch[:half], batch[half:]]
                else:
                    await self._give_up(batch[0], "aborted", f"the ACS was stopped; {e}")
                continue
            for live in batch:
                if live.busy:
                    await self._give_up(live, "aborted", "the ACS was stopped")
                else:
                    self._live.remove(live)

    def _let_all_go(self, lives: list[Live], reason: str) -> None:
        """The database is away while this process stops: to try each session would take a time limit each.

        Devices begin anew, and a task that was sent is settled at its device's next contact.
        """
        for live in lives:
            live.work.clear(self._hub.asking)
            self._live.remove(live)
        _log.warning("open sessions could not be written down; devices begin anew", sessions=len(lives), reason=reason)

    async def sweep(self) -> None:
        """End the sessions that were written down and whose device did not come back. Raises StoreUnavailable."""
        while True:
            living = [live.work.id for live in self._live if live.work.leased]
            over = await self._hub.store.expired_leases(now=self._hub.clock(), limit=AT_ONCE, living=living)
            for lease in over:
                await self._leases.abandon(lease)
            if len(over) < AT_ONCE:
                return
