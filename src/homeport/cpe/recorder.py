"""The last sessions, message by message, for the web page's ladders and the support archive.

Kept in memory, compressed and with secrets masked, and written to the state directory when the agent ends, so that the session which
asked for a reboot can still be looked at after it. Flash is spared: nothing is written while the agent runs.
"""

import os
import re
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from homeport.cpe.journal import is_secret, masked, masked_body
from homeport.cpe.status import SessionReport

FILE: Final = "sessions.bin"

KEEP: Final = 12
"""Sessions that are remembered."""

MOST_BYTES: Final = 256 * 1024
"""Compressed bytes of all sessions together; the oldest go first."""

MOST_OF_SESSION: Final = 1024 * 1024
"""Bytes of one session's bodies that are kept; what comes later is told with its size alone."""

MOST_OF_BODY: Final = 512 * 1024
"""Bytes of one body: a whole data model of 3,000 parameters."""

_PAIR: Final = re.compile(
    rb"(?s)(<Name\b[^>]*>\s*([^<]+?)\s*</Name>\s*<Value\b[^>]*>)((?:[^<]++|<!\[CDATA\[(?:(?!\]\]>).)*+\]\]>)++)(?=</Value>)"
)
_URL_QUERY: Final = re.compile(rb"(?s)(<(?:\w+:)?\w*URL\b[^>]*>(?:<!\[CDATA\[)?[^<?]*\?)[^<\]]+")


class RecordedMessage(msgspec.Struct, frozen=True, array_like=True):
    """One message. at: seconds since the session began. direction: sent, received or note. note: one line. size: bytes of the body.

    packed: the body, masked and compressed; b"" where it was empty or is not kept.
    """

    at: float
    direction: str
    note: str
    size: int
    packed: bytes = b""

    @property
    def body(self) -> bytes:
        """The body as it may be shown; b"" where there is none."""
        return zlib.decompress(self.packed) if self.packed else b""


class SessionRecord(msgspec.Struct, frozen=True):
    """One session. number: counts up over restarts."""

    number: int
    report: SessionReport
    messages: tuple[RecordedMessage, ...] = ()


class Tape:
    """What one running session said so far, unmasked and in memory only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._room = MOST_OF_SESSION
        self.messages: list[tuple[float, str, str, int, bytes]] = []

    def add(self, direction: str, body: bytes, note: str) -> None:
        """One message as the driver tells it."""
        kept = body if len(body) <= min(self._room, MOST_OF_BODY) else b""
        self._room -= len(kept)
        self.messages.append((self._clock() - self._began, direction, note, len(body), kept))


class Recorder:
    """The last sessions of one agent."""

    def __init__(self, directory: Path, clock: Callable[[], float]) -> None:
        """Takes over what the last run of the agent left. clock: seconds, monotonic."""
        self._path = directory / FILE
        self._clock = clock
        self._sessions: deque[SessionRecord] = deque(_load(self._path), maxlen=KEEP)
        self._shrink()

    def tape(self) -> Tape:
        """For a session that begins."""
        return Tape(self._clock)

    def finished(self, tape: Tape, report: SessionReport, *, secret: Callable[[str], bool] = is_secret) -> None:
        """Keep a session that ended. secret: whether the value of a parameter of that name must not be shown."""
        number = self._sessions[-1].number + 1 if self._sessions else 1
        messages = tuple(
            RecordedMessage(
                round(at, 4), direction, note, size, zlib.compress(_shown(body, secret), 6) if body else b""
            )
            for at, direction, note, size, body in tape.messages
        )
        self._sessions.append(SessionRecord(number, report, messages))
        self._shrink()

    def _shrink(self) -> None:
        while len(self._sessions) > 1 and sum(len(m.packed) for s in self._sessions for m in s.messages) > MOST_BYTES:
            self._sessions.popleft()

    @property
    def sessions(self) -> tuple[SessionRecord, ...]:
        """Oldest first."""
        return tuple(self._sessions)

    def session(self, number: int) -> SessionRecord | None:
        """The session of that number, None where it is not remembered (any more)."""
        return next((s for s in self._sessions if s.number == number), None)

    def save(self) -> None:
        """Leave the sessions to the next run. A full disk is no error: they inform people and are no fact that must survive."""
        if not self._sessions:
            return
        temporary = self._path.with_suffix(".new")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.msgpack.encode(list(self._sessions)))
            temporary.replace(self._path)
        except OSError:
            pass  # said above


def session_in_short(record: SessionRecord) -> dict[str, Any]:
    """A session without its messages: `{number, messages, ...}` and all of a SessionReport."""
    count = sum(m.direction != "note" for m in record.messages)
    return {"number": record.number, "messages": count, **msgspec.to_builtins(record.report)}


def session_as_data(record: SessionRecord) -> dict[str, Any]:
    """A session with its messages `{at, direction, note, size, body}`."""
    messages = [
        {
            "at": m.at,
            "direction": m.direction,
            "note": m.note,
            "size": m.size,
            "body": m.body.decode("utf-8", "replace"),
        }
        for m in record.messages
    ]
    return {"number": record.number, **msgspec.to_builtins(record.report), "messages": messages}


def _load(path: Path) -> list[SessionRecord]:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=list[SessionRecord])
    except (OSError, msgspec.MsgspecError):
        return []  # none was written yet, or by a release whose sessions look different


def _shown(body: bytes, secret: Callable[[str], bool]) -> bytes:
    """A body without secrets: by their names, by what the model says of them, and the keys in a file's address."""
    body = masked_body(body)
    if b"SetParameterValues>" in body:
        # Elsewhere the model has blanked its hidden values already; what the ACS sets comes in clear.
        body = _PAIR.sub(lambda found: _pair(found, secret), body)
    return _URL_QUERY.sub(rb"\1********", body)


def _pair(found: re.Match[bytes], secret: Callable[[str], bool]) -> bytes:
    name, value = found.group(2).decode("utf-8", "replace"), found.group(3).decode("utf-8", "replace")
    return found.group(1) + (b"********" if secret(name) else masked(name, value).encode())
