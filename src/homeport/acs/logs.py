"""The log of an ACS: one event a line on standard error, as name=value pairs or as JSON objects."""

import logging
from typing import TextIO

import structlog


def configure(form: str, level: str, stream: TextIO) -> None:
    """What structlog writes from now on. form: text or json; level: debug to error, the lowest that is written."""
    renderer = (
        structlog.processors.JSONRenderer(default=str)
        if form == "json"
        else structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
