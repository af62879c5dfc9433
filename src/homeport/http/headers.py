"""Header blocks as devices send them: bare LF, folded lines and stray spaces are read, everything is bounded.

Used where a device's own small HTTP server or client is at the other end (connection requests, UDP connection requests).
Source: RFC 9112 section 5; folded `WWW-Authenticate` and bare LF are seen in Orange's client and netcwmp.
"""

import re
from dataclasses import dataclass
from typing import Final

from homeport.errors import RemoteProtocolError
from homeport.http.limits import DEFAULT_HTTP_LIMITS, HttpLimits

_END: Final = re.compile(rb"\r?\n\r?\n")
_LINE_END: Final = re.compile(r"\r?\n")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Head:
    """A start line and its header fields; names in lower case, in the order of arrival, values without outer blanks."""

    start: str
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """The first value of a field; name in lower case."""
        for key, value in self.fields:
            if key == name:
                return value
        return default

    def all(self, name: str) -> list[str]:
        """Every value of a field; name in lower case."""
        return [value for key, value in self.fields if key == name]


def end_of_head(data: bytes | bytearray) -> int | None:
    """Where the body begins: after the first empty line; None while there is none."""
    found = _END.search(data)
    return None if found is None else found.end()


def parse_head(data: bytes | bytearray, *, limits: HttpLimits = DEFAULT_HTTP_LIMITS) -> Head:
    """The start line and fields of a header block, which may end with its empty line.

    Bytes are read as ISO-8859-1, as HTTP says. A line without a colon is left out. A folded line belongs to the field before it.
    Raises RemoteProtocolError (status 431) beyond the limits, (400) where there is no start line.
    """
    if len(data) > limits.max_head:
        raise RemoteProtocolError(f"the header block is over {limits.max_head} bytes", http_status=431)
    lines = _LINE_END.split(data.decode("latin-1"))
    while lines and not lines[0].strip():
        del lines[0]
    if not lines:
        raise RemoteProtocolError("there is no start line")
    fields: list[tuple[str, str]] = []
    for line in lines[1:]:
        if not line:
            break
        if line[0] in " \t":
            if fields:
                name, value = fields[-1]
                fields[-1] = (name, f"{value} {line.strip()}".strip())
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not _TOKEN.fullmatch(name):
            continue
        if len(fields) >= limits.max_headers:
            raise RemoteProtocolError(f"there are over {limits.max_headers} header fields", http_status=431)
        fields.append((name, value.strip()))
    return Head(lines[0].strip(), tuple(fields))


def parse_status(start: str) -> tuple[int, str]:
    """(status, reason) of a status line such as `HTTP/1.1 503 Service Unvailable`; the reason may be missing or misspelled.

    Raises RemoteProtocolError where it is not one.
    """
    parts = start.split(None, 2)
    if len(parts) < 2 or not parts[0].upper().startswith("HTTP/") or not (parts[1].isascii() and parts[1].isdigit()):
        raise RemoteProtocolError(f"not an HTTP status line: {start[:80]!r}")
    status = int(parts[1][:4])
    if not 100 <= status <= 599:
        raise RemoteProtocolError(f"not an HTTP status: {status}")
    return status, parts[2] if len(parts) > 2 else ""
