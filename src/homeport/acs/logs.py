"""The log of an ACS: one event a line on standard error, as name=value pairs or as JSON objects.

A line that cannot be written (the disk is full, nobody reads the pipe any more) is lost, and harms nobody: a device is not refused, and no
process ends, because the log has no room.
"""

import logging
from typing import Any, TextIO

import structlog


def configure(form: str, level: str, stream: TextIO) -> None:
    """What structlog writes from now on. form: text or json; level: debug to error, the lowest that is written."""
    renderer = (
        structlog.processors.JSONRenderer(default=str)
        if form == "json"
        else structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])
    )
    lines = _Lines(stream)
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


class _Lines:
    """Writes lines to a stream, as far as it takes them; the first line after a loss is followed by one that tells of it."""

    def __init__(self, stream: TextIO) -> None:
        self._lines: Any = structlog.PrintLogger(stream)
        self._lost = 0

    def msg(self, line: str) -> None:
        """Write one line, or count it as lost."""
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
