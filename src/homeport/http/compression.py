"""Content codings of HTTP bodies: gzip and deflate, with limits on size and ratio so that a small body cannot become a huge one.

Source: RFC 9110 8.4.1; ManagementServer.HTTPCompression. `compress` (LZW) is refused: nobody was seen to send it.
"""

import io
import zlib
from collections.abc import Generator
from typing import Final

from homeport.errors import LocalProtocolError, MessageRefused
from homeport.http.limits import DEFAULT_HTTP_LIMITS, HttpLimits

ACCEPTED: Final = "gzip, deflate"
"""For Accept-Encoding."""

_FREE: Final = 64 * 1024
"""Bytes of output below which the ratio does not count: short bodies of one character compress a thousandfold."""

_MOST_CODINGS: Final = 2

_AT_ONCE: Final = 262_144
"""Bytes that are decompressed in one piece of work."""


def decompress(body: bytes, encoding: str, limits: HttpLimits = DEFAULT_HTTP_LIMITS) -> bytes:
    """The body without its content codings.

    encoding: the value of Content-Encoding, "" or identity for none; several codings are undone from the last to the first.
    Raises MessageRefused: status 415 for an unknown coding, 413 beyond the limits, 400 for a broken or cut stream.
    """
    parts = decompress_in_parts(body, encoding, limits)
    while True:
        try:
            next(parts)
        except StopIteration as stop:
            return bytes(stop.value)


def decompress_in_parts(
    body: bytes, encoding: str, limits: HttpLimits = DEFAULT_HTTP_LIMITS
) -> Generator[None, None, bytes]:
    """As `decompress`, with rests between pieces of work that take a millisecond."""
    codings = _codings(encoding)
    if len(codings) > _MOST_CODINGS:
        raise MessageRefused(f"the body has {len(codings)} content codings; at most {_MOST_CODINGS} are undone")
    for coding in reversed(codings):
        window = _window(coding, body)
        if window is None:
            raise MessageRefused(
                f"the content coding {coding[:40]!r} is not supported; gzip and deflate are", http_status=415
            )
        body = yield from _inflate(body, window, limits)
    if len(body) > limits.max_body:
        raise MessageRefused(f"the body is over {limits.max_body} bytes", http_status=413)
    return body


def beginning(body: bytes, encoding: str, most: int) -> bytes:
    """The first bytes of a body without its content codings, at most `most`; b"" where that cannot be told.

    body: its first bytes, as they are on the wire.
    """
    codings = _codings(encoding)
    if len(codings) > _MOST_CODINGS:
        return b""
    try:
        for coding in reversed(codings):
            window = _window(coding, body)
            if window is None:
                return b""
            body = zlib.decompressobj(window).decompress(body, most)
    except zlib.error:
        return b""
    return body[:most]


def compress(body: bytes, encoding: str) -> bytes:
    """The body in one content coding, gzip or deflate. The same body gives the same bytes.

    Raises LocalProtocolError for any other coding.
    """
    if encoding == "gzip":
        return _deflate(body, 31)
    if encoding == "deflate":
        return _deflate(body, 15)
    raise LocalProtocolError(f"the content coding {encoding!r} is not supported; gzip and deflate are")


def _codings(encoding: str) -> list[str]:
    return [c for c in (word.strip().lower() for word in encoding.split(",")) if c and c != "identity"]


def _window(coding: str, body: bytes) -> int | None:
    """What zlib calls the form of the body; None for a coding that is not supported."""
    if coding in ("gzip", "x-gzip"):
        return 31
    if coding == "deflate":
        # Some senders leave out the zlib wrapper, which the standard asks for: its first byte tells.
        wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return 15 if wrapped else -15
    return None


def _deflate(body: bytes, window: int) -> bytes:
    worker = zlib.compressobj(6, zlib.DEFLATED, window)
    return worker.compress(body) + worker.flush()


def _inflate(body: bytes, window: int, limits: HttpLimits) -> Generator[None, None, bytes]:
    allowed = min(limits.max_body, max(_FREE, len(body) * limits.max_ratio))
    worker = zlib.decompressobj(window)
    out = io.BytesIO()
    size = 0
    try:
        for at in range(0, len(body), _AT_ONCE):
            left = body[at : at + _AT_ONCE]
            while left and not worker.eof:
                size += out.write(worker.decompress(left, min(_AT_ONCE, allowed + 1 - size)))
                if size > allowed:
                    raise _grown(allowed)
                left = worker.unconsumed_tail
                if size >= _AT_ONCE:
                    yield
        while (
            not worker.eof and size <= allowed and (more := worker.decompress(b"", min(_AT_ONCE, allowed + 1 - size)))
        ):
            size += out.write(more)
            yield
    except zlib.error as e:
        raise MessageRefused(f"the compressed body is broken: {e}") from e
    if size > allowed:
        raise _grown(allowed)
    if not worker.eof:
        raise MessageRefused("the compressed body is cut off")
    return out.getvalue()


def _grown(allowed: int) -> MessageRefused:
    return MessageRefused(
        f"the body grows beyond {allowed} bytes when decompressed (limits max_body, max_ratio)", http_status=413
    )
