"""Where a redirect leads, and which ones are followed: POST and body stay, never from https to http, at most five in a row.

Source: TR-069a6 3.4.1 (302 and 307); 301 and 308 are seen in the field.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urljoin, urlsplit

from homeport.errors import TransportError
from homeport.http.limits import DEFAULT_HTTP_LIMITS, HttpLimits

STATUSES: Final = frozenset({301, 302, 307, 308})
"""Followed with the same method and body. 303 asks for a GET, which CWMP does not have."""


@dataclass(frozen=True, slots=True)
class Target:
    """An http or https URL in the parts that a client needs.

    host: lower case, without the brackets of IPv6. port: always set. target: the request target, path and query.
    """

    secure: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of Host: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL again."""
        return f"{'https' if self.secure else 'http'}://{self.authority}{self.target}"

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@lru_cache(maxsize=256)
def parse_url(url: str) -> Target:
    """The parts of an absolute http or https URL; user information and fragment are left out.

    Raises ValueError with a sentence that says what is wrong with it.
    """
    if any(c <= " " or c == "\x7f" for c in url):
        raise ValueError(f"the URL {url!r} holds blanks or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise ValueError(f"the URL {url!r} cannot be read: {e}") from e
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"the URL {url!r} does not begin with http:// or https://")
    if not parts.hostname:
        raise ValueError(f"the URL {url!r} names no host")
    if port == 0:
        raise ValueError(f"the URL {url!r} has the port 0")
    secure = parts.scheme == "https"
    path = "".join(c if c.isascii() else "".join(f"%{b:02X}" for b in c.encode()) for c in parts.path or "/")
    query = "".join(c if c.isascii() else "".join(f"%{b:02X}" for b in c.encode()) for c in parts.query)
    host = parts.hostname
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as e:
            raise ValueError(f"the host name of {url!r} cannot be written in ASCII: {e}") from e
    return Target(secure, host, port or (443 if secure else 80), f"{path}?{query}" if query else path)


def follow(current: Target, location: str, followed: int, *, limits: HttpLimits = DEFAULT_HTTP_LIMITS) -> Target:
    """Where the same POST goes next.

    location: the value of Location, absolute or relative to current. followed: redirects followed in a row before this one.
    Raises TransportError of kind redirect where it must not be followed.
    """
    if followed >= limits.max_redirects:
        raise TransportError(
            f"gave up after {followed} redirects, the last one to {location[:200]}; check the ACS URL", kind="redirect"
        )
    if not location:
        raise TransportError(f"{current.url} redirects without saying where to (no Location)", kind="redirect")
    try:
        target = parse_url(urljoin(current.url, location.strip()))
    except ValueError as e:
        raise TransportError(f"{current.url} redirects to a URL that cannot be used: {e}", kind="redirect") from e
    if current.secure and not target.secure:
        raise TransportError(
            f"{current.url} redirects to {target.url}, without TLS; this is never followed", kind="redirect"
        )
    return target


def shown_url(url: str) -> str:
    """A URL as logs and reports show it: without its query, which may hold a key, and without a login."""
    plain = url.partition("?")[0].partition("#")[0]
    scheme, mark, rest = plain.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
