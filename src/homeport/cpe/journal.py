"""The agent's logs for people: what was exchanged with the ACS (client log) and what changed the configuration (config log).

Lines go to two small files in the state directory, each with one predecessor, and to Python's logging. Secrets are masked before a line
is made: a password never reaches a file, the terminal or the control socket.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from homeport.cpe.clock import Clock, date_time

LOG: Final = logging.getLogger("homeport.cpe")

MAX_BYTES: Final = 256 * 1024
"""Where a log file is put aside as its predecessor: a device's flash is small, and two files hold days of sessions."""

_TAIL: Final = 32 * 1024
"""Bytes of a log that a start reads back: about the lines that are kept in memory."""

MASK: Final = "********"

_SECRET_NAME: Final = re.compile(
    r"(?i)(password|passphrase|secret|presharedkey|wepkey|keypassphrase|sharedkey|privatekey|\.pin$)"
)
_SECRET_ROW: Final = re.compile(
    rb"(?is)(<Name\b[^>]*>[^<]*(?:password|passphrase|secret|presharedkey|wepkey|sharedkey|privatekey|\.pin)\s*</Name>\s*<Value\b[^>]*>)"
    rb"((?:[^<]++|<!\[CDATA\[(?:(?!\]\]>).)*+\]\]>)++)(</Value>)"
)
_SECRET_ELEMENT: Final = re.compile(
    rb"(?is)(<(?:\w+:)?(?:Password|Username)\b[^>]*>)((?:[^<]++|<!\[CDATA\[(?:(?!\]\]>).)*+\]\]>)++)(</)"
)
_URL_CREDENTIALS: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,15}://)[^/?#\s<]+@")
_URL_CREDENTIALS_IN_BODY: Final = re.compile(rb"(?i)\b([a-z][a-z0-9+.-]{0,15}://)[^/?#\s<]+@")
_UNPRINTABLE: Final = dict.fromkeys([*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029], " ")
"""What ends a line, or steers the terminal of whoever reads the log: parts of a line may come from a stranger."""


def is_secret(name: str) -> bool:
    """Whether a parameter of this name holds a secret, by its name: a password, passphrase or key."""
    return bool(_SECRET_NAME.search(name))


def masked(name: str, value: str) -> str:
    """The value as it may be shown."""
    if value and is_secret(name):
        return MASK
    return _URL_CREDENTIALS.sub(r"\1" + MASK + "@", value)


def masked_body(body: bytes) -> bytes:
    """One SOAP body as it may be shown: values of secret parameters, Password and Username elements, and logins in URLs replaced."""
    body = _SECRET_ROW.sub(rb"\1" + MASK.encode() + rb"\3", body)
    body = _SECRET_ELEMENT.sub(rb"\1" + MASK.encode() + rb"\3", body)
    return _URL_CREDENTIALS_IN_BODY.sub(rb"\1" + MASK.encode() + b"@", body)


class Journal:
    """One log: the last lines in memory, more of them on disk."""

    def __init__(self, name: str, directory: Path, clock: Clock, *, keep: int = 200) -> None:
        """name: `client` or `config`; the file is `<name>.log`, whose last lines are taken over. keep: lines in memory."""
        self._name = name
        self._path = directory / f"{name}.log"
        self._clock = clock
        self._lines: deque[str] = deque(_tail(self._path), maxlen=keep)
        self._written = 0
        self._followers: set[asyncio.Event] = set()

    def write(self, text: str, *, level: int = logging.INFO) -> None:
        """Add one line; text must be masked already."""
        text = text.translate(_UNPRINTABLE)
        line = f"{date_time(self._clock.now())} {text}"
        self._lines.append(line)
        self._written += 1
        for follower in self._followers:
            follower.set()
        LOG.log(level, "%s", text)
        try:
            if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
                self._path.replace(self._path.with_suffix(".log.1"))
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError:
            # A log line that finds no room is not worth stopping for; the line is in memory and on stderr.
            pass

    def lines(self) -> list[str]:
        """The lines in memory, oldest first."""
        return list(self._lines)

    @property
    def fresh(self) -> int:
        """How many of the lines in memory are of this run of the agent."""
        return min(self._written, len(self._lines))

    async def follow(self, *, last: int = 0) -> AsyncIterator[tuple[int, str]]:
        """The last lines in memory, and from then on every line that is written, each with its number in this run of the agent.

        last: how many of those in memory, of this run.
        """
        seen = self._written - min(last, self.fresh)
        news = asyncio.Event()
        self._followers.add(news)
        try:
            while True:
                fresh = min(self._written - seen, len(self._lines))
                seen = self._written
                for i, line in enumerate(list(self._lines)[len(self._lines) - fresh :], self._written - fresh + 1):
                    yield i, line
                if seen == self._written:
                    news.clear()
                    await news.wait()
        finally:
            self._followers.discard(news)


def _tail(path: Path) -> list[str]:
    """The last whole lines of a file, without reading all of it."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []  # the first start
    return lines[1:] if size > _TAIL else lines


def read(name: str, directory: Path, *, last: int = 200) -> list[str]:
    """The last lines of a log on disk, also of an agent that is not running; empty where there is none."""
    lines: list[str] = []
    for path in (directory / f"{name}.log.1", directory / f"{name}.log"):
        try:
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue  # the predecessor does not exist in the beginning
    return lines[-last:]
