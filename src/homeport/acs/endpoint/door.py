"""What becomes of one HTTP request of a device: whose session it is, whether it may come in, what the answer is.

Authenticate, then parse, then do. A peer's mistake is answered with a SOAP fault or a 4xx and touches no other session.
Source: TR-069a6 3.4, 3.7; the habits of real devices in the interop list (rows 1, 16 to 22).
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from msgspec.structs import replace

from homeport.acs.auth import NO_LOGIN, CpeAuth, Login
from homeport.acs.endpoint.admission import ENOUGH, LARGE_TOGETHER, Held, too_long
from homeport.acs.endpoint.claims import Claims
from homeport.acs.endpoint.cookies import COOKIE, Cookies, given
from homeport.acs.endpoint.exchange import NO_CONTENT, TEXT, XML, HttpReply, HttpRequest, busy, plain
from homeport.acs.endpoint.gathering import Gathering
from homeport.acs.endpoint.handover import Handover
from homeport.acs.endpoint.live import Live, LiveSessions
from homeport.acs.endpoint.logins import Logins
from homeport.acs.endpoint.places import NO_COOKIE
from homeport.acs.engine.groups import outside
from homeport.acs.engine.inform import identity, identity_problem
from homeport.acs.engine.settle import REPEATABLE
from homeport.acs.records import NO_HABITS, DeviceState, MessageTrace
from homeport.acs.services.brake import LoginBrake
from homeport.acs.services.continuation import SessionState
from homeport.acs.services.groups import Groups
from homeport.acs.services.hub import Hub
from homeport.acs.services.leases import Leases
from homeport.acs.services.masking import fault_body, shown, without_echo, without_secrets, without_secrets_in_parts
from homeport.acs.services.newcomers import NoRoom, NoShare
from homeport.acs.services.sessions import Sessions, contact
from homeport.acs.services.work import Work
from homeport.acs.slices import in_slices
from homeport.codec.limits import CodecLimits
from homeport.codec.messages import FaultMessage, Inform, InformResponse, Message, Request, VendorMessage
from homeport.codec.xml_write import WireStyle
from homeport.errors import LocalProtocolError, RemoteProtocolError, StoreUnavailable
from homeport.http.compression import decompress_in_parts
from homeport.http.cookies import set_cookie
from homeport.http.limits import HttpLimits
from homeport.session.events import (
    Event,
    FaultReceived,
    InformReceived,
    PeerIdle,
    QuirksSeen,
    RequestReceived,
    ResponseReceived,
    RetryDemanded,
    SessionEnded,
    name_of,
)
from homeport.session.session import SecondInform, Session
from homeport.terms import FaultCode, Role

MOST_TRACED: Final = 200
"""Messages of one session that are kept for its history."""

STRANGERS_TRACE: Final = 8_192
"""Characters of each that are kept of a device that is not admitted."""

LARGE: Final = 131_072
"""Bytes of a message that is read in slices: 32 MB take a second, in which the other devices must not wait."""

LARGE_AT_ONCE: Final = 2
"""Large messages that are worked on at once; the others wait with their bodies, which are a tenth of what the work takes."""

MOST_QUIRKS: Final = 32

WORDS_TAKE: Final = 5.0
"""Seconds within which a word of another process is here; clocks may differ."""

_INFORM: Final = re.compile(rb"<(?:[\w.-]+:)?Inform[\s>]")
_INFORM_RESPONSE: Final = InformResponse()
_ANOTHER: Final = "the device has begun another session meanwhile"

_log = structlog.get_logger("homeport.acs.cwmp")


class Door:
    """Answers devices. key: a secret of all processes on the database. live: the place for the open sessions.

    brake: slows down who guesses passwords. clock: monotonic seconds.
    """

    def __init__(
        self,
        hub: Hub,
        sessions: Sessions,
        leases: Leases,
        auth: CpeAuth,
        key: bytes,
        *,
        live: LiveSessions | None = None,
        brake: LoginBrake | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = hub.settings
        self._hub = hub
        self._sessions = sessions
        self._clock = clock
        self._mode = settings.cpe_auth
        self._certificates = settings.tls_client_identity
        self._timeout = settings.session_timeout
        self._most = settings.max_sessions
        self.body_limit = settings.body_limit
        self.session_body_limit = max(settings.session_body_limit, settings.body_limit)
        self._trace_limit = settings.trace_limit
        self._style = WireStyle(prolog=settings.xml_prolog)
        # Which bodies may be that large is decided before they are read, by `limit_for`.
        self._limits = CodecLimits(
            max_body=self.session_body_limit,
            max_elements=max(200_000, self.session_body_limit // 16),
            max_list=max(50_000, self.session_body_limit // 64),
        )
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._large_informs = asyncio.Semaphore(1)  # of anybody: they do not stand in the way of admitted devices
        self.held = Held(LARGE_TOGETHER * self.session_body_limit)
        self.live = live if live is not None else LiveSessions()
        self.brake = brake or LoginBrake(settings.cpe_login_failures, 100, clock=clock)
        self._logins = Logins(hub, auth, self.brake, clock)
        self._claims = Claims(hub)
        self._groups = Groups(hub)
        self._cookies = Cookies(hub.store.node, key)
        self.handover = Handover(
            *(hub, leases, self.live, self._cookies, self._restored, self._messages, self._give_up, self._no_cookie)
        )
        self.gathering = Gathering(hub.store.read_ahead, lambda go_on: asyncio.get_running_loop().call_soon(go_on))
        self._elsewhere: set[asyncio.Task[None]] = set()
        if hub.peers is not None:
            hub.peers.on("session", self._begun_elsewhere)

    async def in_session(self, device: str) -> bool:
        """Whether the device has a session open here. One that it has left for another process does not count."""
        live = self.live.of_device(device)
        if live is None or self._hub.peers is None:
            return live is not None
        record = await self._hub.store.device(device)
        return record is not None and record.last_inform <= live.work.started

    def _begun_elsewhere(self, word: dict[str, Any]) -> None:
        """The device has begun a session at another process: one that it had here is over."""
        device = str(word.get("device", ""))
        self._hub.bus.wake(contact(device))
        live = self.live.of_device(device)
        older = live is not None and (
            live.work.started < float(word.get("at", 0.0)) or self._hub.clock() - live.work.started > WORDS_TAKE
        )
        if live is not None and older and not live.busy:
            job = asyncio.get_running_loop().create_task(
                self._give_up(live, "replaced", "the device has begun a new session at another process")
            )
            self._elsewhere.add(job)
            job.add_done_callback(self._elsewhere.discard)

    def _restored(self, state: SessionState) -> Session:
        """The protocol's session of a state. Raises LocalProtocolError."""
        return Session.from_record(state.session, now=self._clock(), limits=self._limits, style=self._style)

    async def _no_cookie(self, work: Work) -> None:
        await self._sessions.quirks(work, [NO_COOKIE], most=MOST_QUIRKS)

    def limit_for(self, cookie: str, host: str, port: int) -> int:
        """How many bytes of body to read: an admitted device may dump its whole tree, a stranger may not.

        host, port: of the device. Where its session cannot be seen from this it is still to be asked for: see `Admission`.
        """
        live = self.live.by_cookie(cookie) if cookie else None
        live = live or self.live.by_connection(host, port)
        return self.session_body_limit if live is not None and live.work.manage else self.body_limit

    async def admits(self, request: HttpRequest, start: bytes) -> bool | None:
        """Whether a body may be as long as in an admitted device's session; None where more of it has to be seen.

        request: without the body, of which start is what is here.
        """
        try:
            return await self.handover.admission.admits(request, start)
        except StoreUnavailable:
            return False

    async def handle(self, request: HttpRequest) -> HttpReply:
        """The answer to one request. Never raises for what the peer does."""
        began = self._clock()
        try:
            if request.content_encoding or request.method != "POST":
                reply = await self._other(request)
            else:
                reply = await self._message(request, request.body)
        except StoreUnavailable as e:
            _log.warning("not stored, told to come back", peer=request.host, reason=str(e))
            reply = busy("the ACS cannot store anything now")
        except NoRoom as e:
            self._hub.stats.newcomers_refused += 1
            self._hub.stats.newcomers_over_share += isinstance(e, NoShare)
            reply = busy(str(e))
        except Exception:
            # The rim: a mistake of ours must not take the connection's other users with it.
            _log.exception("a message was not handled", peer=request.host)
            reply = plain(500, "internal error")
        stats = self._hub.stats
        stats.http[reply.status] = stats.http.get(reply.status, 0) + 1
        stats.answered(self._clock() - began)
        return reply

    def count(self, reply: HttpReply) -> None:
        """Count an answer to a device, also one that was given before it came here."""
        self._hub.stats.count(self._hub.stats.http, reply.status)

    async def _other(self, request: HttpRequest) -> HttpReply:
        """The answer to a request whose body is compressed, or that is no device's."""
        if request.method != "POST":
            text = "" if request.method == "HEAD" else "this address is for CWMP devices; they use POST\n"
            return HttpReply(405, text.encode(), (*TEXT, (b"Allow", b"POST")))
        if not request.body:
            return await self._message(request, b"")  # some name their coding on the empty POST, too
        limit = self.limit_for(request.cookie, request.host, request.port)
        while True:
            held = min(limit, len(request.body) * HttpLimits().max_ratio)
            if held <= self.body_limit:
                held = 0
            elif not self.held.take(held, request.host):
                return self.too_many_large()
            try:
                work = decompress_in_parts(request.body, request.content_encoding, HttpLimits(max_body=limit))
                try:
                    body = await in_slices(work)
                except RemoteProtocolError as e:
                    if e.http_status != 413 or limit >= self.session_body_limit:
                        return plain(e.http_status, str(e))
                    if not await self.admits(request, request.body[:ENOUGH]):
                        return too_long(limit, self.session_body_limit, close=False)
                    limit = self.session_body_limit
                else:
                    return await self._message(request, body)
            finally:
                self.held.give(held, request.host)

    def too_many_large(self) -> HttpReply:
        """The answer to a large body where there are too many."""
        return busy("too many large messages at once")

    async def _message(self, request: HttpRequest, body: bytes) -> HttpReply:
        """The answer to a request. body: as it was before it was compressed."""
        self._hub.stats.messages += 1
        login: Login | None = None
        live = self.live.by_cookie(request.cookie) if request.cookie else None
        # The quick look is for nearly every Inform; the exact one for the prefixes and the answers that it does not know.
        if live is None and (request.cookie or b":Inform>" not in body[:4096]) and not _INFORM.search(body, 0, 4096):
            proven = request
            if self._mode != "open" and request.authorization and next(given(request.cookie), None) is None:
                login = await self._logins.check(request, body)
                if login.credential is None:
                    proven = replace(request, authorization="")
            found = await self.handover.find(proven, body)
            if isinstance(found, HttpReply):
                return found
            live = found
        if live is None:
            return await self._begin(request, body, login)
        if live.first.secure and not request.secure:
            return plain(403, "this session began over TLS, and goes on over TLS only")
        if live.busy:
            return plain(409, "the last message of this session is still being answered")
        live.busy, spoilt = True, False
        try:
            if len(body) < LARGE:
                return await self._go_on(live, request, body)
            async with self._large:
                return await self._go_on(live, request, body)
        except asyncio.CancelledError:
            # What it has come to is not known: it is not given to another process, but ends with this one.
            spoilt = True
            raise
        except Exception as e:
            # What the session has come to is not known for sure: the device begins a new one, and lost answers are settled there.
            why = str(e) if isinstance(e, StoreUnavailable) else "internal error"
            await self._give_up(live, "aborted", why)
            raise
        finally:
            live.busy = spoilt

    # --- a new session ---

    async def _begin(self, request: HttpRequest, body: bytes, checked: Login | None = None) -> HttpReply:
        """The answer to what belongs to no session. checked: what its Authorization proves, where that is known."""
        if not body.strip():
            # netcwmp and Orange fetch the challenge with an empty POST before their Inform.
            return (
                self._logins.challenge(request)
                if self._mode != "open"
                else plain(400, "a session begins with an Inform")
            )
        login = NO_LOGIN
        if self._mode != "open":
            login = checked or await self._logins.check(request, body)
            if request.certificate and not login.refused:
                login = replace(login, certificate=request.certificate)
            if login.refused or (not login.trusted and self._mode == "required"):
                return self._logins.challenge(request, login)
        if self.live.full(self._most):
            return busy("too many sessions at once")
        session = Session(Role.ACS, timeout=self._timeout, limits=self._limits, style=self._style)
        now = self._clock()
        try:
            if len(body) < LARGE:
                events = session.receive(body, now=now, content_type=request.content_type)
            else:
                async with self._large_informs:
                    events = await in_slices(session.receive_in_parts(body, now=now, content_type=request.content_type))
        except RemoteProtocolError as e:
            return self._refused(session, e, request, now)
        return await self._inform(session, events, login, request, body)

    async def _inform(
        self, session: Session, events: list[Event], login: Login, request: HttpRequest, body: bytes
    ) -> HttpReply:
        received = events[-1]
        assert isinstance(received, InformReceived)
        problem = identity_problem(received.inform)
        if problem:
            return self._fault(session, FaultCode.ACS_INVALID_ARGUMENTS, problem)
        id = identity(received.inform)
        if self.gathering.by_hand and self._hub.store.absent(id):
            await self.gathering.row(id)
        known = await self._sessions.known(id)
        credential = login.credential
        if credential is not None and credential.device and credential.device != id:
            await self._claims.mistaken(credential, id, request.host)
            return plain(403, "these credentials belong to another device")
        group = credential.group if credential is not None else None
        if credential is not None and group is not None:
            device = received.inform.device_id
            why = outside(
                group, id=id, oui=device.oui, product_class=device.product_class, serial_number=device.serial_number
            )
            if why:
                await self._groups.refused(credential, id, known, address=request.host, why=why)
                return plain(403, "this login is not for this device")
        pinned = bool(login.certificate) and self._certificates == "device"
        if (
            pinned
            and login.certificate != id
            and not await self._claims.is_short_for(login.certificate, received.inform.device_id)
        ):
            _log.warning("a device claims to be another", certificate=login.certificate, claims=id, peer=request.host)
            return plain(403, "this certificate belongs to another device")
        if self._mode != "open" and not pinned and (credential is None or not credential.device):
            own = await self._hub.store.credential_of(id)
            if own is not None and not own.pending:
                return self._logins.challenge(request)
        if credential is not None and credential.pending:
            await self._sessions.login_used(credential)
        if known is not None and known.state is DeviceState.REFUSED:
            return plain(403, "this device is not wanted here")
        if received.refuse is not None:
            return self._fault(session, received.refuse, received.refuse.text)
        trusted = self._mode == "open" or login.trusted
        if (known is None or known.state is not DeviceState.APPROVED) and not trusted and self.live.crowded(self._most):
            return busy("too many devices that are not admitted")
        old = self.live.of_device(id)
        if old is not None:
            await self._give_up(old, "replaced", "the device has begun a new session")
        work = await self._sessions.inform(
            received.inform,
            known,
            urn=received.envelope.urn,
            address=request.host,
            trusted=trusted,
            shared=credential is not None and not credential.device,
            group=group,
        )
        if group is not None:
            self._hub.stats.count(self._hub.stats.group_logins, f"{group.name}/old" if login.old else group.name)
        if known is not None and known.behaviour is not NO_HABITS:
            habits = known.behaviour
            style = None if habits.prolog is None else WireStyle(prolog=habits.prolog)
            session.adapt(style=style, id_prefix=habits.id_prefix)
        if not work.manage:
            session.timeout = min(session.timeout, self._timeout)  # its own wish would hold its place for an hour
        answer = session.send(_INFORM_RESPONSE, now=self._clock())
        live = Live(session, work, self._cookies.new(work.manage), request)
        work.cookie, work.patience, work.record = live.cookie, session.timeout, session.to_record
        other = self.live.of_device(id)
        if other is not None:
            await self._give_up(other, "replaced", "the device has begun a new session")
        self.live.add(live)
        at = work.started
        live.trace += [
            (at, "cpe", "Inform", body, len(body), received.inform),
            (at, "acs", "InformResponse", answer, len(answer), True),
        ]
        if len(events) > 1:
            await self._quirks(live, events)
        return HttpReply(200, answer, (*XML, (b"Set-Cookie", set_cookie(COOKIE, live.cookie).encode())))

    def _fault(self, session: Session, code: FaultCode, text: str) -> HttpReply:
        """The Inform is refused with a SOAP fault, which also ends the session."""
        fault = session.send(FaultMessage(int(code), text, side=code.side), now=self._clock())
        return HttpReply(200, fault, XML)

    def _refused(self, session: Session, e: RemoteProtocolError, request: HttpRequest, now: float) -> HttpReply:
        _log.warning("a message was refused", peer=request.host, reason=str(e), size=len(request.body))
        fault = session.refusal(e, now=now)
        return HttpReply(200, fault, XML) if fault is not None else plain(e.http_status, str(e))

    # --- an open session ---

    async def _go_on(self, live: Live, request: HttpRequest, body: bytes) -> HttpReply:
        session, now = live.session, self._clock()
        try:
            if len(body) < LARGE:
                events = session.receive(body, now=now, content_type=request.content_type)
            else:
                events = await in_slices(session.receive_in_parts(body, now=now, content_type=request.content_type))
        except SecondInform:
            # A device that gave its session up and kept the cookie. Whoever it is now, it logs in anew.
            await self._give_up(live, "replaced", "the device has begun a new session")
            return await self._begin(request, body)
        except RemoteProtocolError as e:
            self._trace(live, "cpe", "(refused)", body)
            reply = self._refused(session, e, request, now)
            if reply.status != 200:
                await self._give_up(live, "failed", str(e))
            return reply
        # Another may have begun while this message waited, or was read: then nothing comes of it.
        reply = await self._react(live, events, body) if not live.over else plain(400, _ANOTHER)
        if live.over and reply.status == 200:
            return plain(400, _ANOTHER)
        return reply

    async def _react(self, live: Live, events: list[Event], body: bytes) -> HttpReply:
        event = events[-1]
        if len(events) > 1:
            await self._quirks(live, events)
        work = live.work
        match event:
            case PeerIdle():
                self._trace(live, "cpe", "", b"")
                return await self._our_turn(live, await self._sessions.turn(work))
            case ResponseReceived(response=response):
                if len(body) < LARGE:
                    clean = self._trace(live, "cpe", response, body)
                    return await self._our_turn(live, await self._sessions.turn(work, response, clean=clean))
                clean = await in_slices(without_secrets_in_parts(response))
                self._trace(live, "cpe", response, body, clean=clean)
                return await self._our_turn(live, await self._sessions.turn(work, response, clean=clean, large=True))
            case FaultReceived(request=refused, fault=told):
                fault = without_echo(told, refused, work.task)
                if fault is not told:
                    body = fault_body(fault, live.session.urn)
                self._trace(live, "cpe", "Fault", body)
                return await self._our_turn(live, await self._sessions.turn(work, fault))
            case RequestReceived(request=request, refuse=refuse):
                if refuse is not None:
                    self._trace(live, "cpe", request, body)
                    return self._sent(live, FaultMessage(int(refuse), refuse.text, side=refuse.side))
                try:
                    answer = await self._sessions.request(work, request)
                finally:
                    # Only now is known which of its words are secrets that it was told.
                    if work.unechoed is not None and work.unechoed != request:
                        body = fault_body(work.unechoed, live.session.urn)
                    self._trace(live, "cpe", request, body)
                return self._sent(live, answer)
            case RetryDemanded(request=request):
                # The CPE answered with an empty POST: what may be repeated is asked once more, then the session ends the game.
                self._trace(live, "cpe", "", body)
                if name_of(request) in REPEATABLE:
                    return self._sent(live, request)
                reason = f"the device answered {name_of(request)} with an empty POST; whether it did it is not known"
                live.session.send(None, now=self._clock())
                self._trace(live, "acs", "", b"")
                await self._give_up(live, "failed", reason, unanswered=True)
                return NO_CONTENT
            case SessionEnded(outcome=outcome, reason=reason):
                await self._give_up(live, outcome.value, reason)
                return NO_CONTENT
        raise AssertionError(f"no reaction to {event!r}")

    async def _our_turn(self, live: Live, request: Request | VendorMessage | None) -> HttpReply:
        """The next request to the device, or the end."""
        if live.over:
            return plain(400, _ANOTHER)
        while request is not None:
            try:
                return self._sent(live, request)
            except LocalProtocolError as e:
                request = await self._sessions.unsendable(live.work, str(e))
        live.session.send(None, now=self._clock())
        self._trace(live, "acs", "", b"")
        if live.session.ended:
            await self._give_up(live, "success", "")
        return NO_CONTENT

    def _sent(self, live: Live, message: Message) -> HttpReply:
        body = live.session.send(message, now=self._clock())
        self._trace(live, "acs", message, body)
        return HttpReply(200, body, XML)

    # --- history and end ---

    def _trace(
        self, live: Live, direction: str, message: Message | str, body: bytes, *, clean: bool | None = None
    ) -> bool:
        """Keep a message for the session's history; whether it surely holds no secret. clean: the same, where it is known."""
        if len(live.trace) >= MOST_TRACED:
            return False
        if isinstance(message, str):
            element, clean = message, not body
        else:
            element = name_of(message)
            if clean is None:
                clean = without_secrets(message)
        live.trace.append((self._hub.clock(), direction, element, body[: 4 * self._trace_limit], len(body), clean))
        return clean

    async def _quirks(self, live: Live, events: list[Event]) -> None:
        """Keep the habits that were seen for the first time."""
        seen = [name for event in events if isinstance(event, QuirksSeen) for name in event.names]
        if seen:
            await self._sessions.quirks(live.work, seen, most=MOST_QUIRKS)

    async def _give_up(self, live: Live, outcome: str, reason: str, *, unanswered: bool = False) -> None:
        """The session is over, well or not. unanswered: an RPC was lost, beside one that is still out."""
        if live.over:
            return
        self.live.remove(live)
        unanswered = unanswered or live.session.outstanding is not None
        work = live.work
        keep = work.weighty or work.leased or outcome != "success"
        messages = self._messages(live) if keep else []
        try:
            await self._sessions.ended(work, outcome=outcome, reason=reason, unanswered=unanswered, messages=messages)
        except StoreUnavailable as e:
            # The task says running, with no session: it is settled at the device's next contact.
            _log.warning("the end of a session was not stored", device=work.device, reason=str(e))

    async def expire(self) -> None:
        """End the sessions whose device has been silent for too long; called every few seconds."""
        now = self._clock()
        for live in self.live:
            deadline = live.session.next_deadline()
            if deadline is not None and deadline <= now and not live.busy:
                for event in live.session.deadline_passed(now=now):
                    if isinstance(event, SessionEnded):
                        await self._give_up(live, event.outcome.value, event.reason)

    def _messages(self, live: Live) -> list[MessageTrace]:
        """The session's messages so far, secrets masked."""
        messages, limit = [*live.told], self._trace_limit
        if not live.work.manage:
            limit = min(limit, STRANGERS_TRACE)
        for at, who, element, body, size, clean in live.trace:
            if not body:
                text = ""
            elif isinstance(clean, Inform):
                text = shown(body, limit, clean=without_secrets(clean), size=size)
            else:
                text = shown(body, limit, clean=clean, size=size)
            messages.append(MessageTrace(at, who, element, size, text))
        return messages
