"""How the ACS reaches the agent: the connection-request listener, and the URL that tells where it is.

Source: TR-069a6 3.2.2; TR-181 ManagementServer.ConnectionRequestURL, HTTPConnectionRequestEnable.
"""

import asyncio
import ipaddress
import secrets
import socket
from typing import Final, Protocol
from urllib.parse import urlsplit

from homeport.cpe.config import CpeSettings
from homeport.cpe.journal import LOG
from homeport.cpe.management import Management
from homeport.cpe.state import AGENT, Store
from homeport.errors import ConfigError, StoreError
from homeport.terms import Writer
from homeport.transport.connection_request import ConnectionRequestListener

NEXT_PORTS: Final = 50
"""How many ports after the wanted one are tried where it is taken: several agents on one machine find their places."""

_PATH: Final = "connection_request_path"
_PORT: Final = "connection_request_port"
_WILDCARDS: Final = ("", "0.0.0.0", "::")


class _Host(Protocol):
    """What the doors need of the agent."""

    @property
    def management(self) -> Management: ...

    def connection_requested(self) -> bool | str: ...


class Doors:
    """The HTTP way in; open while HTTPConnectionRequestEnable is true."""

    def __init__(self, host: _Host, store: Store, settings: CpeSettings) -> None:
        self._host = host
        self._store = store
        self._settings = settings
        self._listener: ConnectionRequestListener | None = None
        self._port = 0
        self._followed = False
        self._path = str(store.get(AGENT, _PATH, ""))
        if not self._path:
            # Random per device, so that a scan of the network does not find it; kept, so that the URL stays the same.
            self._path = f"/{secrets.token_urlsafe(12)}"
            try:
                with store.transaction() as transaction:
                    transaction.put(AGENT, _PATH, self._path)
            except StoreError as e:
                LOG.warning("the connection-request path changes at the next start: %s", e)

    async def open(self) -> None:
        """Listen, and tell where in ConnectionRequestURL. Raises ConfigError where the address cannot be used."""
        if self._host.management.http_connection_request_enabled:
            await self._listen()  # at the start a port that cannot be had is a setting to correct
        await self.follow_address(self._host.management.url)

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None

    @property
    def in_step(self) -> bool:
        """Whether the last look at HTTPConnectionRequestEnable found what it says now."""
        return self._host.management.http_connection_request_enabled == self._followed

    async def follow_address(self, acs_url: str) -> None:
        """Open or close as the model says, and bring ConnectionRequestURL up to date with the address used towards the ACS."""
        enabled = self._followed = self._host.management.http_connection_request_enabled
        if enabled and self._listener is None:
            try:
                await self._listen()
            except ConfigError as e:
                LOG.error("no connection requests: %s", e)
        elif not enabled and self._listener is not None:
            await self.close()
        url = ""
        if self._listener is not None:
            host = await self._address(acs_url)
            url = f"http://{f'[{host}]' if ':' in host else host}:{self._port}{self._path}"
        try:
            self._host.management.set("ConnectionRequestURL", url, Writer.SYSTEM)
        except StoreError as e:
            LOG.warning("ConnectionRequestURL is not brought up to date now: %s", e)

    async def _listen(self) -> None:
        wanted = self._settings.connection_request_port
        last = int(self._store.get(AGENT, _PORT, 0))
        if last and (wanted == 0 or wanted <= last < wanted + NEXT_PORTS):
            try:
                # The port of before the restart, so that ConnectionRequestURL stays the same.
                await self._listen_on(last, 1)
                return
            except ConfigError as e:
                LOG.debug("%s", e)
        await self._listen_on(wanted, NEXT_PORTS if wanted else 1)
        self._remember_port()

    async def _listen_on(self, port: int, ports: int) -> None:
        host = self._settings.connection_request_listen
        listener = ConnectionRequestListener(
            host="" if host in _WILDCARDS and host != "0.0.0.0" else host,
            port=port,
            port_range=ports,
            path=self._path,
            credentials=lambda: self._host.management.connection_request_credentials,
            accept=self._host.connection_requested,
            limit=self._settings.connection_request_limit,
            allowed=self._allowed if self._settings.connection_request_networks else None,
            seen=self._seen,
        )
        self._port = await listener.start()
        self._listener = listener

    def _allowed(self, source: str) -> bool:
        networks = [ipaddress.ip_network(n) for n in self._settings.connection_request_networks]
        try:
            address = ipaddress.ip_address(source.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in networks)

    def _seen(self, source: str, status: int, reason: str) -> None:
        LOG.debug("connection request from %s: %d %s", source, status, reason)

    def _remember_port(self) -> None:
        try:
            with self._store.transaction() as transaction:
                transaction.put(AGENT, _PORT, self._port)
        except StoreError as e:
            LOG.warning("the connection-request port may change at the next start: %s", e)

    async def _address(self, acs_url: str) -> str:
        settings = self._settings
        if settings.connection_request_address:
            return settings.connection_request_address
        if settings.connection_request_listen not in _WILDCARDS:
            return settings.connection_request_listen
        return await address_towards(acs_url) or "127.0.0.1"


async def address_towards(url: str, *, limit: float = 3.0) -> str:
    """This machine's address on the way to a URL's host, "" where it cannot be found out. limit: seconds for the name lookup."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return ""
    if not host:
        return ""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return await _towards_name(host, port, limit)
    # No lookup, no thread for it: the usual case of a box that was given an address.
    return own_address(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))


async def _towards_name(host: str, port: int, limit: float) -> str:
    try:
        async with asyncio.timeout(limit):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError):
        return ""
    return next((own for family, _, _, _, address in found if (own := own_address(family, address))), "")


def own_address(family: int, address: object) -> str:
    """Our address on the route to another, "" where there is no route in that family."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # type: ignore[arg-type]  # a datagram socket: picks the route, sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return ""
