"""The log of an ACS: one event a line on standard error or in a file, as name=value pairs or as JSON objects.

A file takes the place of standard error in this process and in those that it starts, so that all is in it that is told: what a library
says, and the stacks of a crash. Each process looks before each line whether somebody has put the file aside (logrotate does, by renaming).

A line that cannot be written (the disk is full, nobody reads the pipe any more) is lost, and harms nobody: a device is not refused, and no
process ends, because the log has no room.
"""

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import structlog

from homeport.errors import ConfigError

_MODE = 0o640


def configure(form: str, level: str, stream: TextIO, file: Path | None = None) -> None:
    """What structlog writes from now on. form: text or json; level: debug to error, the lowest that is written.

    file: what takes the place of the stream, which must then be one of the system. Raises ConfigError where it cannot be written.
    """
    global _lines
    renderer = (
        structlog.processors.JSONRenderer(default=str)
        if form == "json"
        else structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])
    )
    lines = _lines = _Lines(stream, file)
    if file is not None:
        try:
            lines.open()
        except OSError as e:
            raise ConfigError(
                f"log_file: cannot write {file}: {e.strerror}; it and its directory must belong to who runs the ACS"
            ) from e
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )


def look() -> None:
    """Notice now, and not with the next line, that the log's file was put aside."""
    if _lines is not None:
        _lines.look()


def tell(text: str) -> None:
    """Print the process's last word to its operator; where nobody reads it, or the disk is full, the exit code tells."""
    (_lines or _Lines(sys.stderr, None)).tell(text)


class _Lines:
    """Writes lines to a stream, as far as it takes them; the first line after a loss is followed by one that tells of it."""

    def __init__(self, stream: TextIO, file: Path | None) -> None:
        self._stream = stream
        self._lines: Any = structlog.PrintLogger(stream)
        self._file = file
        self._before: int | None = None  # where the stream led to without the file
        self._opened: tuple[int, int] | None = None  # device and inode
        self._shut = False  # whether it is known that the file cannot be opened anew
        self._lost = 0

    def open(self) -> None:
        """Have the stream lead into the file. Raises OSError."""
        assert self._file is not None
        fd = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            self._stream.flush()
            if self._before is None:
                self._before = os.dup(self._stream.fileno())
            os.dup2(fd, self._stream.fileno())
            found = os.fstat(fd)
        finally:
            os.close(fd)
        self._opened = found.st_dev, found.st_ino
        self._shut = False

    def look(self) -> None:
        """Open the file anew where it was put aside; where that does not go, the one that is open is written on."""
        if self._opened is None or self._file is None:
            return
        try:
            try:
                found = os.stat(self._file)
                if (found.st_dev, found.st_ino) == self._opened:
                    return
            except FileNotFoundError:
                pass  # renamed, and no new one was made
            self.open()
        except (OSError, ValueError) as e:
            if not self._shut:
                self._shut = True
                _log.error("the log file cannot be opened anew; the one before is written on", reason=str(e))

    def tell(self, text: str) -> None:
        """A word to the operator, who may have typed the command just now: in the log, and where it would go without a file."""
        with contextlib.suppress(OSError, ValueError):
            print(text, file=self._stream, flush=True)
        if self._before is not None:
            with contextlib.suppress(OSError):
                os.write(self._before, f"{text}\n".encode())

    def msg(self, line: str) -> None:
        """Write one line, or count it as lost."""
        self.look()
        try:
            self._lines.msg(line)
        except (OSError, ValueError):  # ValueError: the stream is closed, at the very end of the process
            self._lost += 1
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            _log.warning("lines of the log could not be written", lost=lost, advice="look whether its disk was full")

    debug = info = warning = error = critical = msg


_log = structlog.get_logger("homeport.acs")
_lines: _Lines | None = None
"""Where this process writes its log."""
