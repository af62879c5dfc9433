"""Connection requests over UDP, with STUN where the model enables it: what the parameters say, and what they are to show.

The protocol is transport/stun.py's. Source: TR-069a6 Annex G; TR-181 2.19 ManagementServer.STUN*, UDPConnectionRequestAddress.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from homeport.cpe.journal import LOG
from homeport.cpe.parts.part import Part
from homeport.cpe.state import AGENT
from homeport.errors import Fault, HomeportError, StoreError, TransportError
from homeport.model.changes import Change
from homeport.terms import Writer
from homeport.transport.addresses import parse_address
from homeport.transport.stun import UdpRequestListener
from homeport.transport.stun_client import BindingKnown, StunSettings

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent

_LAST: Final = "udp_last_request"
_TRUE: Final = ("1", "true")
_NOWHERE: Final = ("0.0.0.0", "::")

LOOK_LIMIT: Final = 3.0
"""Seconds that a session waits for the lookup of the address that it is to tell."""


class UdpPart(Part):
    """The UDP port of one device."""

    name = "connection requests over UDP"
    connection_request_method = "STUN"

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._changed = asyncio.Event()
        self._listens = self._look = False
        last = agent.store.get(AGENT, _LAST)
        self._listener = UdpRequestListener(
            credentials=lambda: agent.management.connection_request_credentials,
            on_request=self._asked,
            on_binding=self._known,
            on_trouble=lambda sentence: agent.client_log.write(sentence),
            host=agent.settings.connection_request_listen,
            port=agent.settings.udp_connection_request_port,
            last_request=(int(last[0]), int(last[1])) if last else None,
        )

    async def start(self) -> None:
        """Bind the port. Raises TransportError where it is taken."""
        await self._listener.start()
        self._listens = True

    def session_opened(self) -> None:
        self._look = self._listens

    async def prepare(self, paths: Sequence[str], *, rows_only: bool = False) -> None:
        """Before an Inform: without STUN nobody else finds out that this machine has another address by now."""
        if self._look and self._agent.management.text("STUNEnable", "0") not in _TRUE:
            self._look = False
            try:
                async with asyncio.timeout(LOOK_LIMIT):
                    await self._follow()
            except TimeoutError:
                pass  # a name server that does not answer: the address that is known stays

    async def run(self) -> None:
        """Follow the parameters."""
        while True:
            self._changed.clear()
            await self._follow()
            await self._changed.wait()

    async def stop(self) -> None:
        await self._listener.stop()

    def changed(self, changes: Sequence[Change]) -> None:
        prefix = self._agent.management.prefix
        if any(c.path == prefix + "URL" or c.path.startswith(prefix + "STUN") for c in changes):
            self._changed.set()

    async def _follow(self) -> None:
        management = self._agent.management
        acs = urlsplit(management.url).hostname or ""
        if management.text("STUNEnable", "0") not in _TRUE:
            await self._listener.without_stun(towards=acs)
            return
        server = management.text("STUNServerAddress") or acs
        if not server:
            LOG.warning("STUN has no server: set STUNServerAddress, or an ACS URL")
            return
        try:
            settings = StunSettings(
                username=management.text("STUNUsername"),
                password=management.text("STUNPassword"),
                minimum_keep_alive_period=int(management.text("STUNMinimumKeepAlivePeriod") or 30),
                maximum_keep_alive_period=int(management.text("STUNMaximumKeepAlivePeriod") or -1),
            )
            known = management.text("UDPConnectionRequestAddress")
            await self._listener.use_stun(
                settings,
                server_host=server,
                server_port=int(management.text("STUNServerPort") or 3478),
                last_reported=parse_address(known) if known else None,
            )
        except (HomeportError, ValueError) as e:
            LOG.warning("STUN cannot be used: %s", e)

    def _asked(self) -> None:
        last = self._listener.gate.last
        try:
            # A copy of this request that arrives after a restart must not open another session.
            with self._agent.store.transaction() as transaction:
                transaction.put(AGENT, _LAST, list(last) if last else None)
        except StoreError as e:
            LOG.warning("the last UDP connection request is not kept: %s", e)
        self._agent.connection_requested("UDP")

    def _known(self, binding: BindingKnown) -> None:
        if binding.mapped.host in _NOWHERE:
            return  # no way out yet, and so no address: the next session looks again
        management = self._agent.management
        try:
            management.set("UDPConnectionRequestAddress", str(binding.mapped), Writer.SYSTEM)
            management.set("NATDetected", "true" if binding.nat_detected else "false", Writer.SYSTEM)
        except (Fault, StoreError, TransportError) as e:
            LOG.warning("UDPConnectionRequestAddress is not brought up to date: %s", e)
