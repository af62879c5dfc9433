"""The XMPP side of the ACS: one standing connection to an XMPP server, and connection requests through it.

Of several processes on one database only those with a connection send; the others ask one of them. What is asked names the device
only: passwords stay in the database.
Source: TR-069a6 Annex K.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import structlog

from homeport.acs.config import AcsSettings
from homeport.acs.records import DeviceRecord
from homeport.acs.services.hub import Hub
from homeport.errors import HomeportError, LocalProtocolError, StoreUnavailable
from homeport.transport.xmpp import XmppRequestResult, XmppState
from homeport.transport.xmpp_rules import XmppAnswer, XmppServer, XmppSettings, XmppStatus

ANNOUNCE_EVERY: Final = 5.0
"""Seconds between two signs to the other processes that the connection stands."""

HEARD_FOR: Final = 2.5 * ANNOUNCE_EVERY

RETRY_FIRST: Final = 4
RETRY_MOST: Final = 60
"""Seconds: the longest wait before the first and before any later attempt to connect again. A device's hours would be too many."""

_log = structlog.get_logger("homeport.acs.xmpp")

_ADVICE: Final = {
    XmppStatus.AUTHENTICATION_FAILURE: "check xmpp_jid, xmpp_password and xmpp_tls against the account at the server",
    XmppStatus.SERVER_NOT_PRESENT: "check that the server runs, and xmpp_server where DNS does not name it",
    XmppStatus.MISCONFIGURED: "check xmpp_ca",
    XmppStatus.ERROR: "where the server's certificate is not known here, name its authority's file in xmpp_ca",
}


class XmppOutcome(NamedTuple):
    """How a request went. status: as HTTP would say it, 0 where nothing was answered. again: whether later may help."""

    ok: bool
    status: int
    reason: str
    again: bool = False


class Link(Protocol):
    """The connection, as XmppRequester has it."""

    @property
    def state(self) -> XmppState: ...
    def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def request_connection(
        self, jid: str, *, username: str, password: str, timeout: float = 10.0
    ) -> XmppRequestResult: ...


def link_settings(settings: AcsSettings) -> XmppSettings:
    """The connection that the settings describe. Raises ConfigError."""
    bare, _, resource = settings.xmpp_jid.partition("/")
    username, _, domain = bare.partition("@")
    servers: tuple[XmppServer, ...] = ()
    if settings.xmpp_server:
        host, _, port = settings.xmpp_server.rpartition(":")
        servers = (XmppServer(host.strip("[]"), int(port)),)
    return XmppSettings(
        username,
        domain,
        settings.xmpp_password,
        resource,
        use_tls=settings.xmpp_tls,
        server_connect_algorithm="ServerTable" if servers else "DNS-SRV",
        servers=servers,
        server_retry_initial_interval=RETRY_FIRST,
        server_retry_max_interval=RETRY_MOST,
        ca_file=settings.xmpp_ca,
    )


def login(record: DeviceRecord, users: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """What to send to the device: its own, else the only or the fitting one of the settings.

    The request carries the password itself, so no device is told what may be another's.
    """
    if record.connection_request_username and record.connection_request_password:
        return record.connection_request_username, record.connection_request_password
    fitting = [pair for pair in users if pair[0] == record.connection_request_username] or users
    return fitting[0] if len(fitting) == 1 else None


class XmppCalls:
    """Sends connection requests by XMPP. make: the connection of this process, None where others have it.

    make is given what is to be told of each change. Raises ConfigError where make does.
    """

    def __init__(
        self,
        hub: Hub,
        make: Callable[[Callable[[XmppState], None]], Link] | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = hub
        self._monotonic = monotonic
        settings = hub.settings
        self._jid = settings.xmpp_jid.partition("/")[0]
        self._domains = {d.lower() for d in (self._jid.partition("@")[2], *settings.xmpp_domains)}
        self._users = tuple((u, p) for u, _, p in (x.partition(":") for x in settings.connection_request_users))
        self._told = ""
        self._elsewhere: dict[str, float] = {}
        self._link = make(self._changed) if make is not None else None
        peers = hub.peers
        if peers is not None:
            peers.on("xmpp-here", self._heard)
            if self._link is not None:
                peers.serve("xmpp", self._asked)

    def start(self) -> None:
        """Begin to connect, in the background."""
        if self._link is not None:
            self._link.start()

    async def stop(self) -> None:
        """Leave the server."""
        if self._link is not None:
            await self._link.stop()

    @property
    def connected(self) -> bool:
        """Whether this process has the connection now."""
        return self._link is not None and self._link.state.status is XmppStatus.ENABLED

    async def announce(self) -> None:
        """Tell the other processes that the connection is here; called every `ANNOUNCE_EVERY` seconds."""
        if self.connected and self._hub.peers is not None:
            self._hub.peers.say("xmpp-here", node=self._hub.peers.node)

    async def call(self, record: DeviceRecord) -> XmppOutcome:
        """Ask the device for a session, through this process's connection or another's."""
        if not self.connected and self._hub.peers is not None:
            now = self._monotonic()
            node = next((n for n, until in self._elsewhere.items() if until > now), None)
            if node is not None:
                within = self._hub.settings.connection_request_timeout + 3.0
                answer = await self._hub.peers.ask(node, "xmpp", within=within, device=record.id)
                if answer is not None:
                    return XmppOutcome(*answer)
                return XmppOutcome(False, 0, "the process that has the XMPP connection gives no answer", True)
        return await self._here(record)

    async def _here(self, record: DeviceRecord) -> XmppOutcome:
        jid = record.jabber_id
        domain = jid.partition("/")[0].rpartition("@")[2].lower()
        if domain not in self._domains:
            return XmppOutcome(
                False,
                0,
                f"the device's ConnReqJabberID {jid} is of another domain; name {domain} in xmpp_domains to allow it",
            )
        pair = login(record, self._users)
        if pair is None:
            return XmppOutcome(
                False, 0, "no connection request password of this device is known, and by XMPP no other's is sent; "
                "set ManagementServer.ConnectionRequestUsername and -Password, or connection_request_users"
            )  # fmt: skip
        if self._link is None:
            return XmppOutcome(False, 0, "no process of this ACS is connected to the XMPP server; see its log", True)
        timeout = self._hub.settings.connection_request_timeout
        try:
            result = await self._link.request_connection(jid, username=pair[0], password=pair[1], timeout=timeout)
        except LocalProtocolError as e:
            return XmppOutcome(False, 0, f"the device's ConnReqJabberID cannot be used: {e}")
        except HomeportError as e:
            return XmppOutcome(False, 0, str(e), True)
        return self._outcome(jid, result, timeout)

    def _outcome(self, jid: str, result: XmppRequestResult, timeout: float) -> XmppOutcome:
        if result.ok:
            return XmppOutcome(True, 200, f"{jid} accepted by XMPP")
        match result.condition:
            case XmppAnswer.NOT_AUTHORIZED:
                return XmppOutcome(False, 401, f"{jid} refuses the user name or password (XMPP: not-authorized)")
            case XmppAnswer.SERVICE_UNAVAILABLE:
                reason = (
                    f"{jid} is not connected to its XMPP server, is busy, or does not list {self._jid}"
                    " in its ConnReqAllowedJabberIDs (XMPP: service-unavailable)"
                )
                return XmppOutcome(False, 503, reason, True)
            case XmppAnswer.BAD_REQUEST:
                return XmppOutcome(False, 400, f"{jid} does not understand the request (XMPP: bad-request)")
            case "timeout":
                return XmppOutcome(False, 0, f"{jid} gave no answer by XMPP within {timeout:g} s", True)
            case "remote-server-not-found" | "remote-server-timeout":
                reason = f"our XMPP server cannot reach the device's (XMPP: {result.condition})"
                return XmppOutcome(False, 0, reason, True)
            case other:
                return XmppOutcome(False, 0, f"{jid} cannot be asked (XMPP: {other})")

    def _changed(self, state: XmppState) -> None:
        """A line in the log for each change that is news, and the gauge."""
        online = state.status is XmppStatus.ENABLED
        self._hub.stats.xmpp_connected = int(online)
        if online:
            self._told = ""
            _log.info("connected to the XMPP server", jid=state.jid, tls=state.tls_established)
            if self._hub.peers is not None:
                self._hub.peers.say("xmpp-here", node=self._hub.peers.node)
        elif state.reason and state.reason != self._told:
            self._told = state.reason
            advice = _ADVICE.get(state.status, "")
            _log.warning("no XMPP connection; tried again and again", reason=state.reason, advice=advice)

    def _heard(self, word: dict[str, Any]) -> None:
        self._elsewhere.pop(word["node"], None)
        self._elsewhere = {word["node"]: self._monotonic() + HEARD_FOR, **self._elsewhere}
        while len(self._elsewhere) > 100:
            self._elsewhere.popitem()

    async def _asked(self, word: dict[str, Any]) -> XmppOutcome:
        try:
            record = await self._hub.store.device(str(word["device"]))
        except StoreUnavailable as e:
            return XmppOutcome(False, 0, str(e), True)
        return XmppOutcome(False, 0, "the device is gone") if record is None else await self._here(record)
