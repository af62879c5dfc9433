"""Cookies for both ends: a CPE's jar, and a lenient reading of the Cookie header for an ACS.

Understood are RFC 6265 and the older forms of RFC 2109 and 2965 (quoted values, Version, several cookies in one header, Set-Cookie2).
No clock: `now` is seconds since 1970 in UTC and is only compared with Max-Age and Expires.
Source: RFC 6265 section 5, TR-069a6 3.4.2; devices that lose cookies are one of the most frequent failures in the field.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from homeport.http.limits import DEFAULT_HTTP_LIMITS, HttpLimits

_NEXT_COOKIE: Final = re.compile(r',(?=\s*[^\s=;,"]+\s*=)')
_TIME: Final = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie as the jar keeps it.

    domain: lower case; host_only: sent to exactly this host. expires: seconds since 1970, None for the session only.
    """

    name: str
    value: str
    domain: str
    path: str
    host_only: bool = True
    secure: bool = False
    expires: float | None = None


class CookieJar:
    """The cookies of one CPE. Those without an expiry go with `clear_session`, as TR-069 asks at the end of a session."""

    __slots__ = ("_cookies", "_limits")

    def __init__(self, *, limits: HttpLimits = DEFAULT_HTTP_LIMITS) -> None:
        self._limits = limits
        self._cookies: dict[tuple[str, str, str], Cookie] = {}

    def __len__(self) -> int:
        return len(self._cookies)

    def store(self, set_cookie_headers: list[str], host: str, path: str, secure: bool, now: float) -> None:
        """Takes what a response set.

        set_cookie_headers: the values of Set-Cookie and Set-Cookie2. host, path: of the request; secure: it went over TLS.
        What cannot be read, is too large, or belongs to another host is left out.
        """
        host = host.lower()
        for header in set_cookie_headers:
            for text in _split(header):
                cookie = _parse(text, host, path, now)
                if cookie is None or (cookie.secure and not secure):
                    continue
                if len(cookie.name) + len(cookie.value) > self._limits.max_cookie:
                    continue
                key = (cookie.domain, cookie.path, cookie.name)
                if cookie.expires is not None and cookie.expires <= now:
                    self._cookies.pop(key, None)
                elif key in self._cookies or len(self._cookies) < self._limits.max_cookies:
                    self._cookies[key] = cookie

    def header(self, host: str, path: str, secure: bool, now: float) -> str | None:
        """The value of Cookie for a request; None where no cookie applies. Longer paths stand first, then older cookies."""
        if not self._cookies:
            return None
        host = host.lower()
        path = path.partition("?")[0] or "/"
        fitting = [
            c
            for c in self._cookies.values()
            if (c.expires is None or c.expires > now)
            and (secure or not c.secure)
            and (host == c.domain or (not c.host_only and _in_domain(host, c.domain)))
            and _in_path(path, c.path)
        ]
        fitting.sort(key=lambda c: -len(c.path))
        return "; ".join(f"{c.name}={c.value}" for c in fitting) or None

    def clear_session(self) -> None:
        """Drops every cookie without an expiry."""
        self._cookies = {key: c for key, c in self._cookies.items() if c.expires is not None}


def set_cookie(name: str, value: str) -> str:
    """The value of Set-Cookie in the form that every CPE in the field gives back: short, `Path=/`, nothing else."""
    return f"{name}={value}; Path=/"


def _split(header: str) -> list[str]:
    """The cookies of one header: a comma divides only the older forms, since a value or a date may hold one."""
    if re.search(r";\s*version\s*=", header, re.IGNORECASE) is None:
        return [header]
    return _NEXT_COOKIE.split(header)


def _parse(text: str, host: str, request_path: str, now: float) -> Cookie | None:
    """One cookie with its attributes (RFC 6265 5.2 and 5.3); None where it must be ignored."""
    if _CONTROLS.search(text):
        return None
    pair, *attributes = text.split(";")
    name, equals, value = pair.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name:
        return None
    domain, host_only, path, secure = host, True, "", False
    max_age = expires = None
    for attribute in attributes:
        key, _, word = attribute.partition("=")
        key, word = key.strip().lower(), word.strip().strip('"')
        if key == "path" and word.startswith("/"):
            path = word
        elif key == "secure":
            secure = True
        elif key == "max-age" and re.fullmatch(r"-?\d{1,12}", word):
            max_age = now + int(word) if int(word) > 0 else float("-inf")
        elif key == "expires":
            expires = _date(word)
        elif key == "domain" and word.lstrip("."):
            wanted = word.lstrip(".").lower()
            if wanted == host:
                # The same host: subdomains get it too, except where the host is an address, which has none.
                domain, host_only = host, _is_address(host)
            elif _in_domain(host, wanted) and "." in wanted:
                domain, host_only = wanted, False
            else:
                return None
    path = path or _default_path(request_path)
    return Cookie(name, value, domain, path, host_only, secure, max_age if max_age is not None else expires)


def _default_path(request_path: str) -> str:
    path = request_path.partition("?")[0]
    slash = path.rfind("/")
    return path[:slash] if path.startswith("/") and slash > 0 else "/"


def _in_path(path: str, allowed: str) -> bool:
    if path == allowed:
        return True
    return path.startswith(allowed) and (allowed.endswith("/") or path[len(allowed)] == "/")


def _in_domain(host: str, domain: str) -> bool:
    return host.endswith("." + domain) and not _is_address(host)


def _is_address(host: str) -> bool:
    return ":" in host or re.fullmatch(r"[\d.]+", host) is not None


def _date(text: str) -> float | None:
    """An Expires date as RFC 6265 5.1.1 reads it, in seconds since 1970; None where it is none."""
    clock = _TIME.search(text)
    if clock is None:
        return None
    day = month = year = None
    for word in re.split(r"[^0-9A-Za-z:]+", text):
        if month is None and word[:3].lower() in _MONTHS:
            month = _MONTHS.index(word[:3].lower()) + 1
        elif day is None and re.fullmatch(r"\d{1,2}", word):
            day = int(word)
        elif year is None and re.fullmatch(r"\d{2,4}", word):
            year = int(word)
            year += 1900 if 70 <= year <= 99 else 2000 if year < 70 else 0
    if day is None or month is None or year is None:
        return None
    hour, minute, second = (int(n) for n in clock.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
