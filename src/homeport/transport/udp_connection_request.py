"""The UDP connection request: building it, reading it, and the rules by which a device accepts it. No sockets, no clock.

A device never answers one and never says why it ignored one; the reasons are counted on its side only.
Source: TR-069a6 Annex G.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from homeport.errors import LocalProtocolError, MessageRefused
from homeport.transport.addresses import Address, format_address

LARGEST_DATAGRAM: Final = 1500
"""Bytes; a request is one datagram of one frame."""

_SIGNATURE_DIGITS: Final = 40
_LONGEST_NUMBER: Final = 20  # digits; 64 bits


@dataclass(frozen=True, slots=True)
class UdpConnectionRequest:
    """The five arguments, unescaped, as text: the signature is made over the text, so `007` is not `7` there.

    username, cnonce: bytes that need not be UTF-8. signature: 40 hexadecimal digits, either case.
    """

    timestamp: str
    message_id: str
    username: bytes
    cnonce: bytes
    signature: str

    def is_signed_with(self, password: str) -> bool:
        """Whether the signature was made with this password; compares in constant time."""
        expected = sign(self.timestamp, self.message_id, self.username, self.cnonce, password)
        return hmac.compare_digest(expected, self.signature.lower())


def sign(timestamp: str, message_id: str, username: bytes, cnonce: bytes, password: str) -> str:
    """The signature: HMAC-SHA1 over the four values one after the other, as 40 lower-case hexadecimal digits."""
    text = timestamp.encode() + message_id.encode() + username + cnonce
    return hmac.new(password.encode(), text, hashlib.sha1).hexdigest()


def encode(address: Address, *, timestamp: int, message_id: int, username: str, cnonce: str, password: str) -> bytes:
    """The datagram of one connection request; copies of it are the same bytes.

    address: where it goes. timestamp: seconds since 1970-01-01 UTC, greater than in any request before. message_id: not the last one's.
    Raises LocalProtocolError where it would not fit one frame or has no password.
    """
    if not password:
        raise LocalProtocolError("a UDP connection request needs the device's ConnectionRequestPassword; it is empty")
    if timestamp < 0 or message_id < 0:
        raise LocalProtocolError("timestamp and id of a UDP connection request are not negative")
    signature = sign(str(timestamp), str(message_id), username.encode(), cnonce.encode(), password)
    host = format_address(address)
    query = f"ts={timestamp}&id={message_id}&un={quote(username, safe='')}&cn={quote(cnonce, safe='')}&sig={signature}"
    datagram = f"GET http://{host}?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    if len(datagram) > LARGEST_DATAGRAM:
        raise LocalProtocolError(
            f"the UDP connection request would have {len(datagram)} bytes; at most {LARGEST_DATAGRAM} fit"
        )
    return datagram


def next_timestamp(last: int | None, now: float) -> int:
    """A timestamp that the device takes: now, or one more than the last where both fall into one second.

    last: of the request before to the same device, None where there was none. now: seconds since 1970-01-01 UTC.
    """
    return int(now) if last is None else max(int(now), last + 1)


def decode(datagram: bytes) -> UdpConnectionRequest:
    """The request in a datagram. The host in it is not looked at: behind a NAT it is not ours anyway.

    Raises MessageRefused for anything else.
    """
    if len(datagram) > LARGEST_DATAGRAM:
        raise MessageRefused(f"the datagram has {len(datagram)} bytes; at most {LARGEST_DATAGRAM} are read")
    line = datagram.partition(b"\n")[0].rstrip(b"\r")
    words = line.split(b" ")
    if len(words) != 3 or words[0] != b"GET" or not words[2].startswith(b"HTTP/1."):
        raise MessageRefused("the datagram does not begin with the request line of an HTTP GET")
    uri, mark, query = words[1].partition(b"?")
    if not mark or not (uri.startswith((b"/", b"http://")) or not uri):
        raise MessageRefused("the request line has no http URI with arguments")
    arguments = _arguments(query)
    missing = [name for name in ("ts", "id", "un", "cn", "sig") if name not in arguments]
    if missing:
        raise MessageRefused(f"the connection request lacks {', '.join(missing)}")
    signature = arguments["sig"].decode("ascii", errors="replace")
    if len(signature) != _SIGNATURE_DIGITS or any(c not in "0123456789abcdefABCDEF" for c in signature):
        raise MessageRefused("sig is not 40 hexadecimal digits")
    return UdpConnectionRequest(
        _number(arguments["ts"], "ts"), _number(arguments["id"], "id"), arguments["un"], arguments["cn"], signature
    )


def _arguments(query: bytes) -> dict[str, bytes]:
    result: dict[str, bytes] = {}
    for part in query.split(b"&"):
        name, equals, value = part.partition(b"=")
        key = name.decode("ascii", errors="replace")
        if key in result:
            raise MessageRefused(f"the connection request has {key} twice")
        if equals:
            result[key] = unquote_to_bytes(value)
    return result


def _number(value: bytes, name: str) -> str:
    text = value.decode("ascii", errors="replace")
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        raise MessageRefused(f"{name} is not an unsigned number")
    return text


# --- the device's rules -------------------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What became of a datagram; for counters on this side only."""

    ACCEPTED = "accepted"
    MALFORMED = "malformed"
    NO_CREDENTIALS = "no credentials"  # the device has none, and takes nothing unsigned
    WRONG_USERNAME = "wrong username"
    REPEATED = "repeated"  # a copy of the last accepted one
    NOT_NEWER = "not newer"
    WRONG_SIGNATURE = "wrong signature"
    TOO_OFTEN = "too often"


class UdpRequestGate:
    """Lets through each genuine request once.

    credentials: ConnectionRequestUsername and ConnectionRequestPassword of this moment. last: timestamp and id of the last accepted
    request where they were kept; after a restart without them any timestamp is taken (unverified).
    allows: asked before any signature is computed; False drops the datagram.
    """

    def __init__(
        self,
        credentials: Callable[[], tuple[str, str]],
        *,
        last: tuple[int, int] | None = None,
        allows: Callable[[str, float], bool] = lambda source, now: True,
    ) -> None:
        self._credentials = credentials
        self._allows = allows
        self.last = last
        self.counts: Counter[Verdict] = Counter()

    def look(self, datagram: bytes, *, source: Address, now: float) -> Verdict:
        """Whether the datagram is a request to act upon; if so it counts as the last one from now on."""
        verdict = self._judge(datagram, source, now)
        self.counts[verdict] += 1
        return verdict

    def _judge(self, datagram: bytes, source: Address, now: float) -> Verdict:
        try:
            request = decode(datagram)
        except MessageRefused:
            return Verdict.MALFORMED
        username, password = self._credentials()
        if not password:
            return Verdict.NO_CREDENTIALS
        if not hmac.compare_digest(request.username, username.encode()):
            return Verdict.WRONG_USERNAME
        timestamp, message_id = int(request.timestamp), int(request.message_id)
        if self.last is not None:
            if (timestamp, message_id) == self.last:
                return Verdict.REPEATED
            if timestamp <= self.last[0] or message_id == self.last[1]:
                return Verdict.NOT_NEWER
        if not self._allows(source.host, now):
            return Verdict.TOO_OFTEN
        if not request.is_signed_with(password):
            return Verdict.WRONG_SIGNATURE
        self.last = (timestamp, message_id)
        return Verdict.ACCEPTED
