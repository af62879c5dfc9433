"""Recorded traffic to messages: a SOAP body, several one after another, an HTTP dump, a followed TCP stream, or a capture of our agent.

Pure: bytes in, messages out. Lengths are believed where they fit; where a text export has changed line ends, the next start line decides.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from homeport.errors import MessageRefused

MAX_RECORDING: Final = 64 * 1024 * 1024
"""Bytes; a whole day of one device's sessions fits many times."""

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes of one body after decompression."""

# A message begins at the beginning of a line, or right after the last tag of the one before.
_START: Final = re.compile(
    rb"(?:^|(?<=>))(?:(?P<method>POST|GET|PUT|HEAD|OPTIONS) (?P<target>\S+) HTTP/1\.[01]"
    rb"|HTTP/1\.[01] (?P<status>\d{3})(?P<reason>[^\r\n]*))\r?$",
    re.MULTILINE,
)
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_ENVELOPE_END: Final = re.compile(rb"</(?:[\w.-]+:)?Envelope\s*>")
_FOLLOWED: Final = re.compile(rb"\A={10,}\r?\nFollow: [^\r\n]*\r?\n(?:[A-Z][\w ]*: [^\r\n]*\r?\n)*")
_BLOCK: Final = re.compile(rb"\t?(\d{1,9})\r?\n")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?[ \t]*\r?\n")
_CAPTURE: Final = b"homeport capture 1\n"
_CAPTURED: Final = re.compile(rb"(-->|<--) (\S+) (\d{1,9}) bytes ?([^\r\n]*)\r?\n")
_STATUS: Final = re.compile(r"HTTP (\d{3})")
_TRAILER: Final = re.compile(rb"(?:[A-Za-z-]+:[^\r\n]*\r?\n)*\r?\n?")


class Recorded(Struct, frozen=True):
    """One message as it was recorded.

    kind: `request` and `response` of HTTP; `sent` and `received` where the device kept bodies without HTTP's headers; `body` where only
    the envelope was saved. line: the start line. headers: in order. notes: what had to be assumed to cut it out.
    """

    kind: str
    line: str = ""
    method: str = ""
    target: str = ""
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    notes: tuple[str, ...] = ()

    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case; None where there is none."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


def split(data: bytes) -> tuple[Recorded, ...]:
    """The messages of a recording, in their order. Raises MessageRefused for what holds none, or is too large."""
    if len(data) > MAX_RECORDING:
        raise MessageRefused(f"The recording has {len(data)} bytes; at most {MAX_RECORDING} are read.", http_status=413)
    if data.startswith(_CAPTURE):
        return tuple(_captured(data))
    data = _unfollowed(data)
    if _START.search(data) is not None:
        return tuple(_http_messages(data))
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in data[:2]:
        return (Recorded("body", body=data),)
    bodies = tuple(Recorded("body", body=body) for body in _bodies(data))
    if not bodies:
        raise MessageRefused("The file holds no SOAP envelope and no HTTP message.")
    return bodies


def _bodies(data: bytes) -> Iterator[bytes]:
    at = 0
    for match in _ENVELOPE_END.finditer(data):
        yield data[at : match.end()].strip()
        at = match.end()
    rest = data[at:].strip(b" \t\r\n\x00")
    if rest and (at == 0 or rest.startswith(b"<")):
        yield rest


# --- our agent's captures -----------------------------------------------------------------------------------------------------


def of_device(direction: str, body: bytes, note: str, notes: tuple[str, ...] = ()) -> Recorded:
    """A body as the device kept it. direction: sent or received. note: what the device said of it, such as `HTTP 200`."""
    found = _STATUS.match(note)
    status = int(found.group(1)) if found is not None else 0
    return Recorded(direction, note, status=status, body=body, notes=notes)


def capture(sessions: Iterable[tuple[str, Iterable[tuple[str, float, str, bytes]]]]) -> bytes:
    """A text file that `split` reads again, and people too. sessions: (what to say of it, its messages).

    A message is (direction, seconds since the session began, note, body); a direction other than sent or received is a remark.
    """
    parts = [_CAPTURE]
    for title, messages in sessions:
        parts.append(b"\n=== " + _line(title) + b"\n")
        for direction, at, note, body in messages:
            arrow = {"sent": b"-->", "received": b"<--"}.get(direction)
            if arrow is None:
                parts.append(b"--- " + _line(note) + b"\n")
                continue
            parts.append(arrow + f" {at:.3f} {len(body)} bytes ".encode() + _line(note) + b"\n" + body + b"\n")
    return b"".join(parts)


def _line(text: str) -> bytes:
    return " ".join(text.split()).encode("utf-8", "replace")


def _captured(data: bytes) -> Iterator[Recorded]:
    at = len(_CAPTURE)
    while at < len(data):
        head = _CAPTURED.match(data, at)
        if head is None:
            end = data.find(b"\n", at)
            at = len(data) if end < 0 else end + 1
            continue
        body = data[head.end() : head.end() + int(head.group(3))]
        notes = () if len(body) == int(head.group(3)) else ("The recording ends within the body.",)
        yield of_device(
            "sent" if head.group(1) == b"-->" else "received", body, head.group(4).decode("utf-8", "replace"), notes
        )
        at = head.end() + len(body)


# --- followed streams ---------------------------------------------------------------------------------------------------------


def _unfollowed(data: bytes) -> bytes:
    """The stream inside the text that `tshark -z follow,tcp,ascii` prints: blocks, each after a line with its length."""
    head = _FOLLOWED.match(data)
    if head is None:
        return data
    parts = []
    at = head.end()
    while True:
        block = _BLOCK.match(data, at)
        if block is None:
            break
        begin = block.end()
        end = begin + int(block.group(1))
        parts.append(data[begin:end])
        at = end + 1 if data[end : end + 1] == b"\n" else end
    return b"".join(parts)


# --- HTTP ---------------------------------------------------------------------------------------------------------------------


def _http_messages(data: bytes) -> Iterator[Recorded]:
    start = _START.search(data)
    while start is not None:
        head_end = _HEAD_END.search(data, start.end() - 1)
        if head_end is None:
            yield _recorded(start, (), b"", ("The recording ends within the header.",))
            return
        headers = tuple(_headers(data[start.end() : head_end.start()]))
        body, at, notes = _body(data, head_end.end(), headers, int(start.group("status") or 0))
        yield _recorded(start, headers, body, notes)
        start = _START.search(data, at)


def _recorded(
    start: re.Match[bytes], headers: tuple[tuple[str, str], ...], body: bytes, notes: tuple[str, ...]
) -> Recorded:
    line = start.group().decode("latin-1").strip()
    if start.group("method"):
        return Recorded(
            "request",
            line,
            method=start.group("method").decode(),
            target=start.group("target").decode("latin-1"),
            headers=headers,
            body=body,
            notes=notes,
        )
    return Recorded("response", line, status=int(start.group("status")), headers=headers, body=body, notes=notes)


def _headers(block: bytes) -> Iterator[tuple[str, str]]:
    """Name and value of each header; a line that begins with space continues the one before."""
    name, value = "", ""
    for line in block.decode("latin-1").splitlines():
        if line[:1] in (" ", "\t") and name:
            value += " " + line.strip()
            continue
        if name:
            yield name, value
        name, _, value = line.partition(":")
        name, value = name.strip(), value.strip()
    if name:
        yield name, value


def _body(
    data: bytes, at: int, headers: tuple[tuple[str, str], ...], status: int
) -> tuple[bytes, int, tuple[str, ...]]:
    """The body that begins at `at`, where it ends, and what was assumed."""
    fields = {name.lower(): value for name, value in headers}
    following = _START.search(data, at)
    limit = following.start() if following is not None else len(data)
    notes: list[str] = []
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body, end = _unchunked(data, at)
        if end < 0:
            body, end = data[at:limit], limit
            notes.append("The chunks of the body cannot be followed; it was taken up to the next message.")
    elif fields.get("content-length", "").isdecimal():
        end = at + int(fields["content-length"])
        body = data[at:end]
        if data[end:limit].strip() or end > limit:
            body, end = data[at:limit].strip(b"\r\n"), limit
            notes.append("Content-Length does not fit the recording; the body was taken up to the next message.")
    elif status in (204, 304):
        body, end = b"", at
    else:
        body, end = data[at:limit].strip(b"\r\n"), limit
    coding = fields.get("content-encoding", "").strip().lower()
    if coding in ("gzip", "x-gzip", "deflate") and body:
        body = _inflated(body, notes)
    return body, end, tuple(notes)


def _unchunked(data: bytes, at: int) -> tuple[bytes, int]:
    """The body and its end; an end of -1 where the chunks are broken."""
    parts: list[bytes] = []
    while True:
        line = _CHUNK_SIZE.match(data, at)
        if line is None:
            return b"", -1
        size = int(line.group(1), 16)
        at = line.end()
        if size == 0:
            trailer = _TRAILER.match(data, at)
            return b"".join(parts), at if trailer is None else trailer.end()
        parts.append(data[at : at + size])
        at += size
        if data[at : at + 2] == b"\r\n":
            at += 2
        elif data[at : at + 1] == b"\n":
            at += 1
        else:
            return b"", -1


def _inflated(body: bytes, notes: list[str]) -> bytes:
    for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
        try:
            out = zlib.decompressobj(window).decompress(body, MAX_BODY + 1)
        except zlib.error:
            continue
        if len(out) > MAX_BODY:
            raise MessageRefused(f"A body has more than {MAX_BODY} bytes when decompressed.", http_status=413)
        return out
    notes.append("The compressed body cannot be read.")
    return b""
