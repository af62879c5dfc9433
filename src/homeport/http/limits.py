"""How much HTTP is taken from a peer before it is refused: one setting each, with its reason."""

from dataclasses import dataclass
from typing import Final

from homeport.settings import setting


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits on one HTTP message; each is checked before memory that grows with it is spent."""

    max_head: int = setting(
        16 * 1024,
        "Largest start line and header block: a Digest header, a 4 KB cookie and a proxy's additions stay under 8 KB.",
        unit="bytes",
    )
    max_headers: int = setting(100, "Most header fields in one message: real peers send fewer than 30.", unit="fields")
    max_body: int = setting(
        1024 * 1024,
        "Largest body after decompression: a whole data model of 5,000 parameters is 0.8 MB.",
        unit="bytes",
    )
    max_ratio: int = setting(
        200,
        "Most output for one byte of compressed input, beyond the first 64 KiB: SOAP of a large table reaches 60.",
        unit="times",
    )
    max_redirects: int = setting(5, "Most redirects that are followed in a row (TR-069a6 3.4.1).", unit="redirects")
    max_cookies: int = setting(
        50, "Most cookies kept in one session; an ACS and its load balancer use three.", unit="cookies"
    )
    max_cookie: int = setting(
        4096,
        "Longest name and value of one cookie; the standard asks for 512 bytes in all, RFC 6265 for 4096 each.",
        unit="bytes",
    )


DEFAULT_HTTP_LIMITS: Final = HttpLimits()
