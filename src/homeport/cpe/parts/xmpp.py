"""Connection requests over XMPP: a standing connection as the model's XMPP objects describe it, and what they are to show.

The protocol is transport/xmpp.py's, which needs the extra `homeport[xmpp]`. Source: TR-069a6 Annex K; TR-181 2.19 XMPP.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from homeport.cpe.clock import date_time
from homeport.cpe.journal import LOG
from homeport.cpe.management import Management
from homeport.cpe.parts.part import Part
from homeport.errors import ConfigError, Fault, StoreError
from homeport.model.changes import Change
from homeport.model.tree import DataModel
from homeport.model.values import split_list
from homeport.terms import Writer
from homeport.transport.xmpp_rules import XmppServer, XmppSettings, XmppStatus

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent
    from homeport.transport.xmpp import XmppListener, XmppState

_TRUE = ("1", "true")


class XmppPart(Part):
    """The XMPP connection of one device."""

    name = "connection requests over XMPP"
    connection_request_method = "XMPP"

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._changed = asyncio.Event()
        self._listener: XmppListener | None = None
        self._row = ""

    async def start(self) -> None:
        """Say in the model which ways to find the server there are. Raises StoreError."""
        offer_algorithms(self._agent.management)

    async def run(self) -> None:
        """Follow the parameters: connect, and begin anew where they change."""
        while True:
            self._changed.clear()
            await self._connect()
            await self._changed.wait()
            await self.stop()

    async def stop(self) -> None:
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None

    def changed(self, changes: Sequence[Change]) -> None:
        ours = (f"{self._agent.model.root}XMPP.", f"{self._agent.management.prefix}ConnReqXMPPConnection")
        if any(c.writer is not Writer.SYSTEM and c.path.startswith(ours) for c in changes):
            self._changed.set()

    async def _connect(self) -> None:
        management = self._agent.management
        self._row = management.text("ConnReqXMPPConnection").removesuffix(".") + "."
        try:
            settings = settings_of(self._agent.model, management, self._row, ca_file=self._agent.settings.ca_file)
            if settings is None:
                return
            from homeport.transport.xmpp import XmppListener

            self._listener = XmppListener(
                settings,
                allowed=lambda: split_ids(management.text("ConnReqAllowedJabberIDs")),
                credentials=lambda: management.connection_request_credentials,
                accept=lambda: self._agent.connection_requested("XMPP") is True,
                on_state=self._show,
            )
        except ConfigError as e:
            LOG.warning("XMPP cannot be used: %s", e)
            self._write(self._row + "Status", XmppStatus.MISCONFIGURED)
            return
        self._listener.start()

    def _show(self, state: "XmppState") -> None:
        self._write(self._row + "Status", state.status)
        self._write(self._row + "TLSEstablished", "true" if state.tls_established else "false")
        self._write(self._row + "LastChangeDate", date_time(self._agent.clock.now()))
        if state.jid:
            # Kept while the connection is lost: an address that comes back unchanged is no news to the ACS.
            self._write(self._row + "JabberID", state.jid)
            self._write(self._agent.management.prefix + "ConnReqJabberID", state.jid)
        if state.reason:
            self._agent.client_log.write(f"XMPP: {state.reason}")

    def _write(self, path: str, value: str) -> None:
        try:
            self._agent.management.set_path(path, str(value))
        except (Fault, StoreError) as e:
            LOG.warning("%s is not brought up to date: %s", path, e)


def offer_algorithms(management: Management) -> None:
    """The values that ServerConnectAlgorithm may have."""
    root = management.prefix.removesuffix("ManagementServer.")
    management.set_path(f"{root}XMPP.SupportedServerConnectAlgorithms", "DNS-SRV,DNS,ServerTable")


def settings_of(
    model: DataModel, management: Management, row: str, *, ca_file: Path | None = None
) -> XmppSettings | None:
    """The connection that a row of XMPP.Connection describes; None where there is no such row or it is not enabled.

    ca_file: PEM certificates that the server's must lead to; default the system's.

    Raises ConfigError for values that lead nowhere.
    """
    if row == "." or not model.exists(row) or management.value(row + "Enable", "0") not in _TRUE:
        return None

    def number(name: str, default: int) -> int:
        text = management.value(row + name)
        return int(text) if text.lstrip("-").isdecimal() else default

    servers = []
    table = row + "Server."
    for instance in model.instances(table) if model.exists(table) else ():
        server = f"{table}{instance}."
        if management.value(server + "Enable", "0") in _TRUE and management.value(server + "ServerAddress"):
            servers.append(
                XmppServer(
                    address=management.value(server + "ServerAddress"),
                    port=int(management.value(server + "Port") or 5222),
                    priority=int(management.value(server + "Priority") or 0),
                    weight=int(management.value(server + "Weight") or -1),
                )
            )
    return XmppSettings(
        username=management.value(row + "Username"),
        domain=management.value(row + "Domain"),
        password=management.value(row + "Password"),
        resource=management.value(row + "Resource"),
        use_tls=management.value(row + "UseTLS", "0") in _TRUE,
        server_connect_algorithm=management.value(row + "ServerConnectAlgorithm") or "DNS-SRV",
        servers=tuple(servers),
        keep_alive_interval=number("KeepAliveInterval", -1),
        server_connect_attempts=number("ServerConnectAttempts", 16),
        server_retry_initial_interval=number("ServerRetryInitialInterval", 60),
        server_retry_interval_multiplier=number("ServerRetryIntervalMultiplier", 2000),
        server_retry_max_interval=number("ServerRetryMaxInterval", 30720),
        ca_file=ca_file,
    )


def split_ids(text: str) -> list[str]:
    """The JIDs of ConnReqAllowedJabberIDs; empty means everybody."""
    return [item for item in split_list(text) if item]
