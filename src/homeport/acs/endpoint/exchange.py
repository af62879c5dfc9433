"""One HTTP exchange as the door sees it, whatever server carries it."""

import random
from typing import Final

from msgspec import Struct


class HttpRequest(Struct, frozen=True, gc=False):
    """A request with its whole body. host, port: of the peer. certificate: the common name of a verified
    client certificate. The header fields are "" where they were not sent. relayed: it came by a trusted load balancer, so that nobody
    here sees the device's own connection end.
    """

    method: str
    target: str
    body: bytes
    host: str
    port: int
    secure: bool = False
    certificate: str = ""
    relayed: bool = False
    cookie: str = ""
    authorization: str = ""
    content_type: str = ""
    content_encoding: str = ""
    forwarded_for: str = ""
    forwarded_proto: str = ""


class HttpReply(Struct, frozen=True, gc=False):
    """An answer. headers: beside Content-Length, which every answer has; close: end the connection after it."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    close: bool = False


XML: Final = ((b"Content-Type", b'text/xml; charset="utf-8"'),)
NO_CONTENT: Final = HttpReply(204)
TEXT: Final = ((b"Content-Type", b"text/plain; charset=utf-8"),)


def plain(status: int, text: str, *headers: tuple[bytes, bytes], close: bool = False) -> HttpReply:
    """An answer with one sentence for the person who reads a trace."""
    return HttpReply(status, f"{text}\n".encode(), TEXT + headers, close)


def later() -> tuple[bytes, bytes]:
    """The header that says when to come back: spread, so that those who were sent away do not come back together."""
    return b"Retry-After", str(random.randint(30, 90)).encode()


def busy(why: str) -> HttpReply:
    """The answer to who has to come back later."""
    return plain(503, f"{why}; come back later", later())
