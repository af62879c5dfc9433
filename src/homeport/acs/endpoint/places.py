"""Whose a message is that comes without a cookie, over a connection that no session is known by.

Two things tell it. The IDs of our requests to a device without a cookie hold a mark that no other session has, and the device's answer
gives it back: that is sure. What has no such ID (the empty POST after the Inform, a request of the device) belongs to the only session
without a cookie at its address, wherever that is open; to none where there are two, or where one may have been lost with its process.
A wrong guess would give one subscriber's settings to another's device, so in doubt the device is sent away, and begins again.
Where its session began with a login, only the same login goes on: everybody behind the same address could else have what it is told.
Source: TR-069a6 3.4.1 asks devices to keep cookies; those that do not: interop rows 20 and 21.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import structlog

from homeport.acs.endpoint.exchange import HttpReply, HttpRequest
from homeport.acs.endpoint.live import Live, LiveSessions
from homeport.acs.records import LeaseRecord
from homeport.acs.services.continuation import unpack
from homeport.acs.services.hub import Hub
from homeport.acs.services.work import Work
from homeport.http.auth import basic_credentials, parse_credentials

NO_COOKIE: Final = "no-cookie"
"""Quirk: the device does not give our cookie back."""

WITHIN: Final = 1.0
"""Seconds in which another process tells which sessions it has at an address."""

MOST_SEEKING: Final = 64
"""Messages whose session is being looked for at the other processes; of further ones it is not known."""

MOST_TOLD: Final = 20
"""Sessions that a process tells of: two are as many as a thousand."""

TOLD_AGAIN: Final = 60.0
"""Seconds after which the log says again that devices cannot be told apart."""

_MARK: Final = re.compile(r"hp[0-9a-f]{8}n")
_MARKED: Final = re.compile(rb"<(?:[\w.-]+:)?ID(?:\s[^<>]*)?>\s*[^<\s]{0,200}?(hp[0-9a-f]{8}n)\d+\s*<")

_log = structlog.get_logger("homeport.acs.cwmp")


def new_mark() -> str:
    """What the IDs of one session's requests begin with: short, of letters and digits, as device stacks know it from other servers."""
    return f"hp{secrets.token_hex(4)}n"


def mark_in(prefix: str) -> str:
    """The mark in what stands before the number of an ID; "" where there is none."""
    found = _MARK.search(prefix)
    return found[0] if found is not None else ""


class Said(NamedTuple):
    """What a message tells of its session. mark: of the ID that it answers; user: who it is by its Authorization, "" for nobody.

    Where devices log in, only what was proved is told here; else nothing is known of it.
    """

    mark: str
    user: str
    certificate: str


def said(request: HttpRequest, body: bytes) -> Said:
    """What this message tells."""
    marked = _MARKED.search(body, 0, 4096)
    mark = marked[1].decode() if marked is not None else ""
    return Said(mark, user_of(request.authorization), request.certificate)


def user_of(authorization: str) -> str:
    """The user name that an Authorization header claims; "" where it has none. Nothing is proved by it."""
    if not authorization:
        return ""
    basic = basic_credentials(authorization)
    if basic is not None:
        return basic[0]
    read = parse_credentials(authorization)
    return read.params.get("username", "") if read is not None else ""


class _Candidate(NamedTuple):
    cookie: str
    node: str  # "" where it is open here
    mark: str
    away: bool


Take = Callable[[str, str, HttpRequest], Awaitable[Live | HttpReply | None]]
"""(cookie, process, request) -> the session, taken up here."""


class Places:
    """Finds sessions by place. challenged: a device that is not known is asked to log in, and then tells who it is."""

    def __init__(
        self,
        hub: Hub,
        live: LiveSessions,
        take: Take,
        give_up: Callable[[Live, str, str], Awaitable[None]],
        noted: Callable[[Work], Awaitable[None]],
        *,
        challenged: bool,
    ) -> None:
        self._hub = hub
        self._live = live
        self._take = take
        self._give_up = give_up
        self._noted = noted
        self._challenged = challenged
        self._seeking = 0
        self._told = ("", 0.0)
        self._jobs: set[asyncio.Task[None]] = set()
        if hub.peers is not None:
            hub.peers.serve("place", self._asked)
            hub.peers.on("muddle", self._muddle_elsewhere)

    async def find(self, request: HttpRequest, body: bytes) -> Live | HttpReply | None:
        """The session, open here from now on; None where it cannot be told; an answer where it must wait. Raises StoreUnavailable."""
        live: Live | HttpReply | None = self._live.by_connection(request.host, request.port)
        if live is None:
            told = said(request, body)
            live = next((x for x in self._here(request.host, told) if told.mark), None)
            if live is None and self._seeking < MOST_SEEKING:
                self._seeking += 1
                try:
                    live = await self._seek(request, told)
                finally:
                    self._seeking -= 1
        if isinstance(live, Live):
            self._live.moved(live, request)
            await self._mark(live, request)
        return live

    async def _mark(self, live: Live, request: HttpRequest) -> None:
        """From now on the IDs of our requests tell whose the answers are."""
        if live.mark or live.cookie_seen:
            return
        live.mark = new_mark()
        live.work.place = request.host
        live.session.adapt(id_prefix=live.session.id_prefix + live.mark)
        await self._noted(live.work)

    # --- looking ---

    def _here(self, host: str, told: Said) -> list[Live]:
        """The sessions here that the message may belong to.

        One whose device has said nothing since its Inform, and whose connection stands, is left out: most are devices with cookies.
        """
        return [
            live
            for live in self._live.at(host)
            if (live.away or live.mark) and self._fits(live.first, told) and (not told.mark or told.mark == live.mark)
        ]

    async def _seek(self, request: HttpRequest, told: Said) -> Live | HttpReply | None:
        host, peers, store = request.host, self._hub.peers, self._hub.store
        answered: set[str] = {store.node} - {""}
        known = True
        found: dict[str, _Candidate] = {}
        if peers is not None:
            others, lost = await peers.others()
            answers = await peers.ask_all(others, "place", within=WITHIN, host=host, **told._asdict())
            known = not lost and None not in answers
            for node, answer in zip(others, answers, strict=True):
                if answer is not None:
                    answered.add(node)
                    found |= {cookie: _Candidate(cookie, node, mark, away) for cookie, mark, away in answer}
        now = self._hub.clock()
        for lease in await store.leases_at(host):
            if lease.until > now and lease.node not in answered:
                mark = _mark_of(lease.state)
                if (not told.mark or mark == told.mark) and await self._may_be(lease, told):
                    found.setdefault(lease.cookie, _Candidate(lease.cookie, lease.node, mark, True))
        for live in self._here(host, told):
            found[live.cookie] = _Candidate(live.cookie, "", live.mark, live.away)
        if len(found) > 1:
            await self._muddled(request, len(found))
            return None
        if not found or not (told.mark or known):
            return None
        [only] = found.values()
        if not (told.mark or only.away):
            return None
        return self._live.named(only.cookie) or await self._take(only.cookie, only.node, request)

    def _fits(self, first: HttpRequest, told: Said) -> bool:
        """Whether a message may be of the session that began with this request."""
        if told.certificate != first.certificate:
            return False
        user = user_of(first.authorization)
        if self._challenged and not told.mark:
            return user in (
                "",
                told.user,
            )  # whoever logged in says by that who it is, and nobody else at its address is
        return not (told.user and user and told.user != user)

    async def _may_be(self, lease: LeaseRecord, told: Said) -> bool:
        """The same of a session that is written down, of which only the device is known."""
        if not self._challenged or told.mark or told.certificate:
            return True
        own = await self._hub.store.credential_of(lease.device)
        if own is not None and not own.pending:
            return told.user == own.username
        return bool(told.user) or self._hub.settings.cpe_auth != "required"

    async def elsewhere(self, request: HttpRequest, told: Said) -> list[str]:
        """The cookies of the sessions with this mark that other processes have open at the address."""
        peers = self._hub.peers
        if peers is None or not told.mark or self._seeking >= MOST_SEEKING:
            return []
        self._seeking += 1
        try:
            others, _ = await peers.others()
            answers = await peers.ask_all(others, "place", within=WITHIN, host=request.host, **told._asdict())
        finally:
            self._seeking -= 1
        return [cookie for answer in answers if answer is not None for cookie, mark, _ in answer if mark == told.mark]

    @staticmethod
    def mark_of(lease: LeaseRecord) -> str:
        """The mark of a session that is written down; "" where its device has sent cookies."""
        return _mark_of(lease.state)

    async def _asked(self, word: dict[str, Any]) -> list[tuple[str, str, bool]]:
        """Another process looks for a session."""
        told = Said(str(word["mark"]), str(word["user"]), str(word["certificate"]))
        return [(live.cookie, live.mark, live.away) for live in self._here(str(word["host"]), told)[:MOST_TOLD]]

    # --- in doubt ---

    async def _muddled(self, request: HttpRequest, count: int) -> None:
        """Nothing shows which session it is: those that will not be found again end, so that their devices' next ones work."""
        host, now = request.host, self._hub.clock()
        if self._told[0] != host or self._told[1] < now - TOLD_AGAIN:
            self._told = (host, now)
            _log.warning(
                "several devices without cookies at one address cannot be told apart; they are sent away and come again",
                address=host,
                sessions=count,
            )
        if self._challenged and not request.authorization:
            return  # the device is asked to log in, and may then be known by its user name
        await self._let_go(host)
        if self._hub.peers is not None:
            self._hub.peers.say("muddle", host=host)

    def _muddle_elsewhere(self, word: dict[str, Any]) -> None:
        job = asyncio.get_running_loop().create_task(self._let_go(str(word.get("host", ""))))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _let_go(self, host: str) -> None:
        """End the sessions at this address whose device is known to send no cookie and has no request of ours to answer."""
        for live in self._live.at(host):
            if (live.away or live.mark) and not live.busy and live.session.outstanding is None:
                record = await self._hub.store.device(live.work.device)
                if record is not None and NO_COOKIE in record.quirks:
                    reason = "several devices without cookies came from one address; nothing showed whose messages were whose"
                    await self._give_up(live, "aborted", reason)


def _mark_of(state: bytes) -> str:
    try:
        return mark_in(str(unpack(state).session.get("id_prefix", "")))
    except ValueError:
        return ""  # of another version: whoever takes it up says so
