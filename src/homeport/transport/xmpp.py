"""Connection requests over XMPP: the device's standing connection, and the ACS's, which asks through it.

slixmpp carries the stream; it is an extra (`homeport[xmpp]`) and imported only when a connection is made. What a request means and
when to connect again is decided in xmpp_rules.
Source: TR-069a6 Annex K; RFC 6120.
"""

import asyncio
import logging
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from homeport.errors import ConfigError, LocalProtocolError, TransportError
from homeport.transport import xmpp_rules
from homeport.transport.source_limits import SourceLimiter
from homeport.transport.xmpp_rules import NAMESPACE, XmppAnswer, XmppSettings, XmppStatus

HANDSHAKE_LIMIT = 30.0
"""Seconds from the first byte to a bound session: TLS, authentication and binding on a slow line."""


@dataclass(frozen=True, slots=True)
class XmppState:
    """How a connection stands. jid: as the server bound it, "" while there is none. reason: a sentence where something failed."""

    status: XmppStatus
    jid: str = ""
    tls_established: bool = False
    reason: str = ""


class XmppLink:
    """A connection to an XMPP server that comes back by itself; base of both ends.

    on_state: called with each change; the last jid is worth keeping, for an unchanged one is no news to the ACS.
    sleep, draw: waiting and chance, replaceable in tests. draw gives a float in [0, 1).
    Raises ConfigError where slixmpp is not installed or the identity is not one.
    """

    def __init__(
        self,
        settings: XmppSettings,
        *,
        on_state: Callable[[XmppState], None] = lambda state: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._slixmpp = _import_slixmpp()
        try:
            self._slixmpp.JID(settings.jid)
        except self._slixmpp.InvalidJID as e:
            raise ConfigError(f"{settings.jid!r} is not a JID: {e}; it reads like cpe1@xmpp.example.org/cwmp") from e
        self.settings = settings
        self.state = XmppState(XmppStatus.DISABLED)
        self._on_state = on_state
        self._sleep = sleep
        self._draw = draw
        self._client: Any = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to connect, in the background."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
            self._task.add_done_callback(_report)

    async def stop(self) -> None:
        """Leaves the server; safe more than once."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._tell(XmppState(XmppStatus.DISABLED))

    def _tell(self, state: XmppState) -> None:
        if state != self.state:
            self.state = state
            self._on_state(state)

    async def _run(self) -> None:
        targets = self.settings.targets()
        chosen = failures = 0
        while True:
            self._tell(XmppState(XmppStatus.CONNECTING))
            was_online, ended = await self._connection(targets[chosen % len(targets)])
            self._tell(ended)
            failures = 1 if was_online else failures + 1
            wait = xmpp_rules.retry_wait(
                failures,
                initial=self.settings.server_retry_initial_interval,
                multiplier=self.settings.server_retry_interval_multiplier,
                maximum=self.settings.server_retry_max_interval,
                random=self._draw,
            )
            if failures >= self.settings.server_connect_attempts:
                chosen, failures = chosen + 1, 0
            await self._sleep(wait)

    async def _connection(self, target: tuple[str, int] | None) -> tuple[bool, XmppState]:
        """Whether a session was reached, and how the connection ended; returns only then."""
        try:
            client = self._new_client()
        except (OSError, ssl.SSLError) as e:
            return False, XmppState(XmppStatus.MISCONFIGURED, reason=f"cannot read {self.settings.ca_file}: {e}")
        online = asyncio.Event()
        ended: asyncio.Future[XmppState] = asyncio.get_running_loop().create_future()

        def end(status: XmppStatus, reason: str) -> None:
            if not ended.done():
                ended.set_result(XmppState(status, reason=reason))

        def session_started(_: object) -> None:
            if self.settings.keep_alive_interval == 0:
                client.cancel_schedule("Whitespace Keepalive")  # slixmpp starts it whatever its switch says
            self._client = client
            online.set()
            self._tell(XmppState(XmppStatus.ENABLED, client.boundjid.full, "starttls" in client.features))

        def no_login(_: object) -> None:
            if not client.authenticated:
                end(
                    XmppStatus.AUTHENTICATION_FAILURE,
                    "the server has no way of logging in that we may use, or refuses us",
                )

        def disconnected(why: object) -> None:
            if isinstance(why, ssl.SSLError):
                end(XmppStatus.ERROR, f"TLS with the server failed: {why}")
            else:
                end(XmppStatus.SERVER_NOT_PRESENT, f"the connection ended: {why or 'closed by the server'}")

        client.add_event_handler("session_start", session_started)
        client.add_event_handler("failed_all_auth", no_login)
        client.add_event_handler("stream_negotiated", no_login)
        client.add_event_handler("disconnected", disconnected)
        waiting = asyncio.ensure_future(online.wait())
        try:
            async with asyncio.timeout(HANDSHAKE_LIMIT):
                if await (client.connect() if target is None else client.connect(*target)) is not None:
                    where = "the domain's servers" if target is None else f"{target[0]} port {target[1]}"
                    return False, XmppState(XmppStatus.SERVER_NOT_PRESENT, reason=f"cannot connect to {where}")
                await asyncio.wait((waiting, ended), return_when=asyncio.FIRST_COMPLETED)
            state = await ended
            return online.is_set(), state
        except TimeoutError:
            return False, XmppState(XmppStatus.ERROR, reason=f"no session within {HANDSHAKE_LIMIT:.0f} seconds")
        except (OSError, ValueError) as e:  # a name that no resolver takes, a system without sockets
            return False, XmppState(XmppStatus.ERROR, reason=f"cannot connect to {self.settings.domain}: {e}")
        finally:
            waiting.cancel()
            self._client = None
            await _leave(client)

    def _new_client(self) -> Any:
        settings = self.settings
        context = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
        client = self._slixmpp.ClientXMPP(
            settings.jid,
            settings.password,
            plugin_config={"feature_mechanisms": {"unencrypted_scram": not settings.use_tls}},
            ssl_context=context,
        )
        client.enable_direct_tls = False
        client.enable_starttls = settings.use_tls
        client.enable_plaintext = not settings.use_tls
        if settings.keep_alive_interval > 0:
            client.whitespace_keepalive_interval = settings.keep_alive_interval
        self._prepare(client)
        return client

    def _prepare(self, client: Any) -> None:
        """What an end adds to a new connection."""


class XmppListener(XmppLink):
    """The device's end: answers connection requests.

    allowed: ConnReqAllowedJabberIDs. credentials: ConnectionRequestUsername and -Password. accept: called for a genuine request; True
    means that a session will follow. All three are asked anew for each request.
    """

    def __init__(
        self,
        settings: XmppSettings,
        *,
        allowed: Callable[[], Sequence[str]],
        credentials: Callable[[], tuple[str, str]],
        accept: Callable[[], bool],
        limiter: SourceLimiter | None = None,
        monotonic: Callable[[], float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(settings, **options)
        self._allowed = allowed
        self._credentials = credentials
        self._accept = accept
        # A genuine ACS asks a few times a minute.
        self._limiter = (
            SourceLimiter(rate=1.0, burst=10, sources=256, total_rate=5.0, total_burst=50)
            if limiter is None
            else limiter
        )
        self._monotonic = monotonic
        self.counts: Counter[XmppAnswer] = Counter()

    def _prepare(self, client: Any) -> None:
        from slixmpp.xmlstream.handler import Callback
        from slixmpp.xmlstream.matcher import MatchXPath

        path = f"{{jabber:client}}iq/{{{NAMESPACE}}}connectionRequest"
        client.register_handler(Callback("connection request", MatchXPath(path), self._asked))

    def _asked(self, iq: Any) -> None:
        if iq["type"] not in ("get", "set"):
            return  # answers are not answered
        answer = self._judge(iq)
        self.counts[answer] += 1
        # The error repeats the request, as the standard shows it.
        reply = iq.reply(clear=answer is XmppAnswer.RESULT)
        if answer is not XmppAnswer.RESULT:
            reply["type"] = "error"
            reply["error"]["type"] = answer.error_type
            reply["error"]["condition"] = answer.value
            reply["error"]["code"] = answer.code
        reply.send()

    def _judge(self, iq: Any) -> XmppAnswer:
        sender = str(iq["from"])
        now = (self._monotonic or asyncio.get_running_loop().time)()
        if not self._limiter.allows(sender.partition("/")[0], now):
            return XmppAnswer.SERVICE_UNAVAILABLE
        request = iq.xml.find(f"{{{NAMESPACE}}}connectionRequest")
        known = request is not None and iq["type"] == "get"
        return xmpp_rules.judge(
            sender,
            _text(request, "username") if known else None,
            _text(request, "password") if known else None,
            allowed=self._allowed(),
            credentials=self._credentials(),
            accept=self._accept,
        )


@dataclass(frozen=True, slots=True)
class XmppRequestResult:
    """What became of a connection request. condition: of the error stanza, or `timeout`; "" where it was accepted."""

    ok: bool
    condition: str = ""


class XmppRequester(XmppLink):
    """The ACS's end: asks devices for a session, through the server that both are connected to, or through federation."""

    async def request_connection(
        self, jid: str, *, username: str, password: str, timeout: float = 10.0
    ) -> XmppRequestResult:
        """What the device answered.

        jid: ConnReqJabberID. username, password: the device's ConnectionRequest credentials. timeout: seconds.
        Raises TransportError where we are not connected, LocalProtocolError where jid is no JID.
        """
        client = self._client
        if client is None:
            raise TransportError(
                f"not connected to the XMPP server of {self.settings.domain}: {self.state.reason or self.state.status}",
                kind="closed",
            )
        try:
            to = self._slixmpp.JID(jid)
        except self._slixmpp.InvalidJID as e:
            raise LocalProtocolError(f"{jid!r} is not a JID: {e}") from e
        iq = client.Iq()
        iq["type"] = "get"
        iq["to"] = to
        request = ElementTree.Element(f"{{{NAMESPACE}}}connectionRequest")
        for name, text in (("username", username), ("password", password)):
            ElementTree.SubElement(request, f"{{{NAMESPACE}}}{name}").text = text
        iq.append(request)
        try:
            await iq.send(timeout=timeout)
        except self._slixmpp.exceptions.IqTimeout:
            return XmppRequestResult(False, "timeout")
        except self._slixmpp.exceptions.IqError as e:
            return XmppRequestResult(False, str(e.condition))
        return XmppRequestResult(True)


def _text(request: Any, name: str) -> str | None:
    element = request.find(f"{{{NAMESPACE}}}{name}")
    return None if element is None else element.text or ""


def _import_slixmpp() -> Any:
    try:
        import slixmpp
    except ImportError as e:
        raise ConfigError(
            "XMPP connection requests need slixmpp, which is not installed: pip install homeport[xmpp]"
        ) from e
    # At debug level slixmpp logs every stanza, and connection requests carry a password in clear.
    log = logging.getLogger("slixmpp")
    log.setLevel(max(log.getEffectiveLevel(), logging.INFO))
    return slixmpp


def _report(task: "asyncio.Task[None]") -> None:
    """Tells the loop of a link that ended by a mistake, the owner's callback for one: it must not end in silence."""
    if not task.cancelled() and task.exception() is not None:
        message = "an XMPP link ended unexpectedly"
        task.get_loop().call_exception_handler({"message": message, "exception": task.exception(), "task": task})


async def _leave(client: Any) -> None:
    """Ends a connection in whatever state it is, and the tasks that slixmpp keeps for it."""
    client.cancel_connection_attempt()
    try:
        async with asyncio.timeout(2):
            await client.disconnect(wait=0.5)
    except TimeoutError:
        client.abort()
    # slixmpp ends this task only with the object itself, which the task keeps alive.
    sender = getattr(client, "_run_out_filters", None)
    if sender is not None:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
