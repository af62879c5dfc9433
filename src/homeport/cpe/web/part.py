"""The web page as a part of the agent: a port that waits. What it takes to make pages is imported when the first one is asked for."""

import ipaddress
import ssl
from typing import TYPE_CHECKING, Final

from homeport.cpe.journal import LOG
from homeport.cpe.parts.part import Part
from homeport.cpe.state import AGENT
from homeport.cpe.web.listener import Answer, PageListener, Request
from homeport.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent
    from homeport.cpe.web.app import PageApp

_PORT: Final = "web_port"

NEXT_PORTS: Final = 50
"""How many ports after the wanted one are tried where it is taken: several agents on one machine find their places."""


class WebPart(Part):
    """Serves the page."""

    name = "the web page"

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._listener: PageListener | None = None
        self._app: PageApp | None = None

    async def start(self) -> None:
        """Open the port. Raises ConfigError where it cannot be had; the agent then works without its page."""
        settings = self._agent.settings
        host = "127.0.0.1" if settings.web_listen == "localhost" else settings.web_listen
        listener = self._listener = await self._listen(host, self._tls())
        shown = "localhost" if is_loopback(host) else (f"[{host}]" if ":" in host else host)
        url = f"http{'s' if listener.secure else ''}://{shown}:{listener.port}/"
        self._agent.status.web_url = url
        LOG.info("web page at %s", url)

    async def _listen(self, host: str, tls: ssl.SSLContext | None) -> PageListener:
        """The port of before the restart where it can be had, so that an open page finds the agent again; else the next free one."""
        wanted, store = self._agent.settings.web_port, self._agent.store
        last = int(store.get(AGENT, _PORT, 0))
        if last and last != wanted and (wanted == 0 or wanted < last < wanted + NEXT_PORTS):
            listener = PageListener(self._answer, host=host, port=last, tls=tls)
            try:
                await listener.start()
                return listener
            except ConfigError as e:
                LOG.debug("%s", e)
        listener = PageListener(self._answer, host=host, port=wanted, port_range=NEXT_PORTS if wanted else 1, tls=tls)
        port = await listener.start()
        if port != last:
            try:
                with store.transaction() as transaction:
                    transaction.put(AGENT, _PORT, port)
            except StoreError as e:
                LOG.warning("the web page's port may change at the next start: %s", e)
        return listener

    async def stop(self) -> None:
        """Close it."""
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None
            self._agent.status.web_url = ""

    async def _answer(self, request: Request) -> Answer:
        if self._app is None:
            from homeport.cpe.verbs import verbs_of
            from homeport.cpe.web.app import PageApp

            assert self._listener is not None
            self._app = PageApp(
                verbs_of(self._agent) | self._agent.parts.verbs(),
                directory=self._agent.settings.directory,
                password_hash=self._agent.settings.web_password_hash,
                loopback=is_loopback(self._agent.settings.web_listen),
                port=self._listener.port,
                say=self._agent.config_log.write,
                may_enter=self._may_enter,
            )
        return await self._app.answer(request)

    def _may_enter(self, source: str, port: int) -> bool:
        """Whether the user of this machine who connected from there may steer the agent; true where the machine does not tell."""
        from homeport.cpe.web.local_user import may_steer, user_of

        assert self._listener is not None
        user = user_of((source, port), (self._listener.host, self._listener.port))
        return user is None or may_steer(user, self._agent.settings.control_group)

    def _tls(self) -> ssl.SSLContext | None:
        settings = self._agent.settings
        if settings.web_certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(settings.web_certificate, settings.web_key)
        except (OSError, ssl.SSLError) as e:
            raise ConfigError(f"web_certificate, web_key: {settings.web_certificate} cannot be used: {e}") from e
        return context


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, "" or a wildcard: it may be reached from elsewhere
