"""The fast way to read a request's head: what nearly all devices send, recognized by what is the same each time.

httptools calls Python for every header. Devices of one make send the same head again and again, but for three values: the length of the
body, the cookie, the login. These are cut out, and what is left is looked up. It was read line by line when it came first, by rules
that are stricter than the parser's; whatever does not fit them is the parser's to judge, from its first byte on. So here nothing is
refused, and nothing is taken that the parser would not take with the same meaning: a test gives both the same bytes and compares.
Source: RFC 9112 2.1, 5, 6.3.
"""

import re
from typing import Final

MOST_HEAD: Final = 4_096
"""Bytes of a head that is read here."""

MOST_LINES: Final = 64
MOST_KNOWN: Final = 1_024
PATIENCE: Final = 20 * MOST_KNOWN
"""How many heads are known at most, and how many others have to come before the known ones make room: a fleet in which every device
sends a head of its own is not worth learning."""

MOST_DIGITS: Final = 9

WANTED: Final = {
    b"cookie": "cookie",
    b"authorization": "authorization",
    b"content-type": "content_type",
    b"content-encoding": "content_encoding",
    b"x-forwarded-for": "forwarded_for",
    b"x-forwarded-proto": "forwarded_proto",
}
"""The headers that a request is told with."""

_JOINED: Final = {"cookie": "; ", "forwarded_for": ", "}
_START: Final = re.compile(rb"POST (/[\w./~%?&=+:;,@!$'()*-]*) HTTP/1\.1", re.ASCII)
_LINE: Final = re.compile(rb"([A-Za-z0-9_-]+): ?((?:[!-~](?:[ -~]*[!-~])?)?)")
_CHANGING: Final = frozenset(
    (
        b"content-length",
        b"cookie",
        b"authorization",
        b"transfer-encoding",
        b"expect",
        b"upgrade",
        b"proxy-connection",
        b"http2-settings",
    )
)
"""Left for the parser: what changes how the body is read, and another line or spelling of what was cut out."""


Rest = tuple[str, str, str, str, str]
"""(target, content_type, content_encoding, forwarded_for, forwarded_proto), the fields "" where they were not sent."""

Head = tuple[int, bytes, str, str, Rest]
"""(the body's length, what of it is here, cookie, authorization, what the other lines say)."""


_NEW: Final[Rest] = ("", "", "", "", "")
"""No head's: its target is never empty."""


def keep(fields: dict[str, str], field: str, text: str) -> None:
    """Take a header's text to those of its request. Of several the last counts, but cookies and addresses are joined."""
    fields[field] = f"{fields[field]}{_JOINED[field]}{text}" if field in fields and field in _JOINED else text


class Heads:
    """The heads that were seen lately."""

    __slots__ = ("_known", "_missed")

    def __init__(self) -> None:
        self._known: dict[bytes, Rest | None] = {}
        self._missed = 0

    def read(self, data: bytes) -> Head | None:
        """The head that the data begin with; None where it is not all here, or not of the form that is read here."""
        # partition, because bytes.find costs twice as much where it is told from where to look
        head, whole, body = data.partition(b"\r\n\r\n")
        rest, found, after = head.partition(b"\r\nContent-Length: ")
        if not whole or not found or len(head) > MOST_HEAD:
            return None
        digits, line, after = after.partition(b"\r\n")
        if line:
            rest += line + after
        if digits == b"0":
            length = 0
        elif digits.isdigit() and len(digits) <= MOST_DIGITS:
            length = int(digits)
        else:
            return None
        cookie = authorization = ""
        known = self._known.get(rest, _NEW)
        if known is _NEW:
            rest, cookie = _cut(rest, b"\r\nCookie: ")
            known = self._known.get(rest, _NEW)
            if known is _NEW:
                rest, authorization = _cut(rest, b"\r\nAuthorization: ")
                known = self._known.get(rest, _NEW)
                if known is _NEW:
                    known = self._learn(rest)
        return None if known is None else (length, body, cookie, authorization, known)

    def _learn(self, rest: bytes) -> Rest | None:
        """What the lines say, remembered for the next time; None where they are for the parser."""
        if len(self._known) >= MOST_KNOWN:
            self._missed += 1
            if self._missed < PATIENCE:
                return None
            self._missed = 0
            self._known.clear()
        known = self._known[rest] = _lines(rest)
        return known


def _cut(head: bytes, start: bytes) -> tuple[bytes, str]:
    """(the head without the line that begins so, the line's value).

    The line stays where its value is not one that every reader takes as it is: of printable ASCII, with no space around it.
    """
    before, found, after = head.partition(start)
    if not found:
        return head, ""
    value, line, after = after.partition(b"\r\n")
    text = value.decode("latin-1")
    if not (text.isascii() and text.isprintable()) or text.strip() != text or not text:
        return head, ""
    return before + line + after, text


def _lines(head: bytes) -> Rest | None:
    """What a head without its changing values says; None where the parser has to read it."""
    first, *lines = head.split(b"\r\n")
    start = _START.fullmatch(first)
    if start is None or len(lines) > MOST_LINES:
        return None
    fields: dict[str, str] = {}
    for line in lines:
        header = _LINE.fullmatch(line)
        if header is None:
            return None
        name, value = header[1].lower(), header[2]
        if name in _CHANGING or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
        field = WANTED.get(name)
        if field is not None:
            keep(fields, field, value.decode("latin-1"))
    get = fields.get
    return (
        start[1].decode("latin-1"),
        get("content_type", ""),
        get("content_encoding", ""),
        get("forwarded_for", ""),
        get("forwarded_proto", ""),
    )
