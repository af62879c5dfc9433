"""The channel of a CPE session over HTTP and HTTPS, with TR-069's rules on authentication, cookies, redirects and connection reuse.

One channel serves one session: credentials are proved once and then sent along, cookies and redirects hold until `close`.
Source: TR-069a6 3.3, 3.4.
"""

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from time import time as wall_clock
from typing import Final

from homeport._version import __version__
from homeport.errors import MessageRefused, TransportError
from homeport.http.auth import basic_header, parse_challenges
from homeport.http.compression import ACCEPTED, compress, decompress
from homeport.http.cookies import CookieJar
from homeport.http.digest import DigestClient, says_stale
from homeport.http.limits import DEFAULT_HTTP_LIMITS, HttpLimits
from homeport.http.redirects import STATUSES, Target, follow, parse_url
from homeport.transport.driver import HttpAnswer
from homeport.transport.http_connection import HttpConnection, RawAnswer, connect
from homeport.transport.proxy import parse_proxy
from homeport.transport.tls import TlsSettings, client_context

_MOST_CHALLENGES: Final = 3
"""Challenges that are answered for one POST: the first, and stale nonces after it."""

_DEFAULT_TLS: Final = TlsSettings()


class HttpChannel:
    """Where a session's bodies go: one connection, kept alive, opened again where the ACS closed it between two exchanges.

    url: the ACS URL. timeout: seconds for connecting and for each answer; the standard asks for at least 30.
    allow_basic_over_http: send the password readably, for laboratories. compression: "", gzip or deflate for what we send.
    proxy: URL of an HTTP proxy, "" for none. user_agent: the value of User-Agent.
    jar: cookies that outlive a session; session cookies are dropped at `close`. now: seconds since 1970, for cookies.
    """

    __slots__ = (
        "_address",
        "_agent",
        "_allow_basic",
        "_basic",
        "_compression",
        "_connection",
        "_digest",
        "_jar",
        "_limits",
        "_now",
        "_password",
        "_proxy",
        "_target",
        "_timeout",
        "_tls",
        "_username",
        "compression_refused",
        "connections",
    )

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        tls: TlsSettings | None = None,
        timeout: float = 30.0,
        allow_basic_over_http: bool = False,
        limits: HttpLimits = DEFAULT_HTTP_LIMITS,
        compression: str = "",
        jar: CookieJar | None = None,
        proxy: str = "",
        user_agent: str = f"Homeport/{__version__}",
        now: Callable[[], float] = wall_clock,
    ) -> None:
        try:
            self._target = parse_url(url)
        except ValueError as e:
            raise TransportError(f"{e}; an ACS URL is for example http://acs.example.com:7547/", kind="http") from e
        self._username = username
        self._password = password
        self._tls = tls or _DEFAULT_TLS
        self._timeout = timeout
        self._allow_basic = allow_basic_over_http
        self._limits = limits
        self._compression = compression
        self._jar = jar if jar is not None else CookieJar(limits=limits)
        self._agent = user_agent
        self._proxy = parse_proxy(proxy) if proxy else None
        self._now = now
        self._connection: HttpConnection | None = None
        self._address = ""
        self._digest: DigestClient | None = None
        self._basic = False
        self.compression_refused = False
        self.connections = 0

    @property
    def url(self) -> str:
        """Where the next POST goes; differs from the ACS URL after a redirect."""
        return self._target.url

    async def post(self, body: bytes) -> HttpAnswer:
        """The ACS's answer to one body, after challenges and redirects, decompressed.

        Raises TransportError whose kind and sentence say what failed; the session cannot go on then.
        """
        content = compress(body, self._compression) if self._compression and body else body
        challenges = redirects = 0
        while True:
            answer = await self._exchange(content, compressed=content is not body)
            if answer.status == 401:
                challenges += 1
                self._take_challenge(answer, challenges)
            elif answer.status in STATUSES:
                self._go_to(follow(self._target, answer.get("location"), redirects, limits=self._limits))
                redirects += 1
            elif answer.status == 415 and content is not body:
                self.compression_refused = True
                raise TransportError(
                    f"the ACS does not take bodies in {self._compression}; the next session goes without", kind="http"
                )
            elif answer.status == 407 and self._proxy is not None:
                raise TransportError(
                    f"the proxy {self._proxy.host}:{self._proxy.port} wants a user name and password, or refused them",
                    kind="proxy",
                )
            else:
                if self._digest is not None:
                    self._digest.informed(answer.get("authentication-info"))
                return self._plain(answer)

    async def close(self) -> None:
        """Closes the connection and drops what belongs to this session: cookies without expiry, credentials in use."""
        self._jar.clear_session()
        self._digest, self._basic = None, False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            try:
                async with asyncio.timeout(min(self._timeout, 1.0)):
                    await asyncio.shield(connection.closed)
            except TimeoutError:
                connection.abort()  # the ACS does not answer our TLS farewell; nothing is lost

    # --- one exchange -------------------------------------------------------------------------------------------------------

    async def _exchange(self, content: bytes, *, compressed: bool) -> RawAnswer:
        target = self._target
        connection = await self._connected()
        head = self._head(content, compressed)
        answer = await connection.exchange(head, content, self._timeout)
        set_cookies = [value for name, value in answer.headers if name in ("set-cookie", "set-cookie2")]
        if set_cookies:
            self._jar.store(set_cookies, target.host, target.path, target.secure, self._now())
        return answer

    async def _connected(self) -> HttpConnection:
        connection = self._connection
        if connection is not None and connection.open:
            return connection
        target = self._target
        context = client_context(self._tls) if target.secure else None
        self._connection, self._address = await connect(
            target.host,
            target.port,
            context=context,
            timeout=self._timeout,
            limits=self._limits,
            prefer=self._address,
            proxy=self._proxy,
        )
        self.connections += 1
        return self._connection

    def _head(self, content: bytes, compressed: bool) -> bytes:
        target = self._target
        plain_proxy = self._proxy is not None and not target.secure
        lines = [
            f"POST {target.url if plain_proxy else target.target} HTTP/1.1\r\nHost: {target.authority}\r\nUser-Agent: {self._agent}\r\n"
            f"Accept-Encoding: {ACCEPTED}\r\nContent-Length: {len(content)}\r\n"
        ]
        if content:
            # SOAPAction has no value, not even quotes; an empty POST carries neither of the two (TR-069a6 3.4.1).
            lines.append('SOAPAction:\r\nContent-Type: text/xml; charset="utf-8"\r\n')
            if compressed:
                lines.append(f"Content-Encoding: {self._compression}\r\n")
        if len(self._jar):
            cookie = self._jar.header(target.host, target.target, target.secure, self._now())
            if cookie is not None:
                lines.append(f"Cookie: {cookie}\r\n")
        credentials = self._credentials(content)
        if credentials is not None:
            lines.append(f"Authorization: {credentials}\r\n")
        if plain_proxy and self._proxy is not None and self._proxy.authorization:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("latin-1", "replace")

    def _credentials(self, content: bytes) -> str | None:
        if self._digest is not None:
            return self._digest.preempt(method="POST", uri=self._target.target, body=content, cnonce=_cnonce())
        if self._basic:
            return basic_header(self._username, self._password)
        return None

    # --- what an answer leads to --------------------------------------------------------------------------------------------

    def _take_challenge(self, answer: RawAnswer, count: int) -> None:
        """Makes ready the credentials for the same body once more. Raises TransportError of kind auth where there is no use.

        count: challenges to this body so far. The first one is always answered: what was sent along may be a nonce that the ACS
        takes only once. A second one means that the credentials are wrong, unless it says that the nonce was too old.
        """
        offered = answer.all("www-authenticate")
        where = self._target.authority
        if not self._username and not self._password:
            raise TransportError(f"the ACS {where} asks for a user name and password; none is set", kind="auth")
        if (count > 1 and not says_stale(offered)) or count > _MOST_CHALLENGES:
            raise TransportError(
                f"the ACS {where} refused the user name {self._username!r} or its password (HTTP 401 twice)",
                kind="auth",
            )
        client = DigestClient(self._username, self._password)
        if client.accept(offered):
            self._digest, self._basic = client, False
            return
        schemes = [c.scheme for c in parse_challenges(offered)]
        if "basic" not in schemes:
            known = ", ".join(schemes) or "nothing"
            raise TransportError(f"the ACS {where} asks for {known}; Digest and Basic are supported", kind="auth")
        if not self._target.secure and not self._allow_basic:
            raise TransportError(
                f"the ACS {where} asks for the password readably (Basic) without TLS; use an https URL, or allow it for a laboratory",
                kind="auth",
            )
        self._digest, self._basic = None, True

    def _go_to(self, target: Target) -> None:
        """The rest of the session goes to target; credentials are shown there only if it asks."""
        old, self._target = self._target, target
        if (old.secure, old.host, old.port) == (target.secure, target.host, target.port):
            return
        self._digest, self._basic, self._address = None, False, ""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _plain(self, answer: RawAnswer) -> HttpAnswer:
        body = answer.body
        encoding = answer.get("content-encoding")
        if encoding and body:
            try:
                body = decompress(body, encoding, self._limits)
            except MessageRefused as e:
                raise TransportError(f"the answer of the ACS cannot be decompressed: {e}", kind="http") from e
        return HttpAnswer(answer.status, dict(answer.headers), body)


def _cnonce() -> str:
    return b64encode(os.urandom(12)).decode("ascii")
