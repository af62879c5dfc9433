"""Times as people say them, and as programs read them."""

import sys
import time
from datetime import UTC, datetime
from typing import Any

from homeport.cli.exits import CliError, ExitCode

_STEPS = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (86400.0, 3600.0, "h"), (float("inf"), 86400.0, "d"))


def ago(moment: Any, *, now: float | None = None) -> str:
    """`12 s ago` for a moment of the REST API (ISO 8601 text, or seconds since 1970); "never" where there is none."""
    if not moment:
        return "never"
    seconds = (time.time() if now is None else now) - seconds_of(moment)
    if seconds < 1:
        return "now"
    for limit, unit, name in _STEPS:
        if seconds < limit:
            return f"{seconds / unit:.0f} {name} ago"
    raise AssertionError("unreachable")


def shown(moment: Any, *, now: float | None = None) -> str:
    """A moment in a table: for a person how long ago it was, and after an hour the local time; in a pipe or a file the time itself."""
    if not moment:
        return "never"
    at = seconds_of(moment)
    if not sys.stdout.isatty():
        return exact(moment)
    return ago(at, now=now) if (time.time() if now is None else now) - at < 3600 else local(at)


def told(moment: Any, *, now: float | None = None) -> str:
    """A moment among the fields of one thing: the local time and how long ago that is; in a pipe or a file the time itself."""
    if not moment:
        return "never"
    if not sys.stdout.isatty():
        return exact(moment)
    now = time.time() if now is None else now
    at = seconds_of(moment)
    return f"{local(at)} ({ahead(at, now=now) if at > now else ago(at, now=now)})"


def exact(moment: Any) -> str:
    """A moment of the REST API for programs: ISO 8601 in UTC, to the second; "" where there is none."""
    if not moment:
        return ""
    return datetime.fromtimestamp(seconds_of(moment), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def local(seconds: float) -> str:
    """`2026-11-21 06:00:00` where the person is. seconds: since 1970."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ahead(moment: Any, *, now: float | None = None) -> str:
    """`in 12 s` for a moment to come; "now" for one that has come."""
    seconds = seconds_of(moment) - (time.time() if now is None else now)
    if seconds < 1:
        return "now"
    for limit, unit, name in _STEPS:
        if seconds < limit:
            return f"in {seconds / unit:.0f} {name}"
    raise AssertionError("unreachable")


def moment(text: str, *, now: float | None = None) -> str:
    """What a person types for a time, as the REST API takes it: `90s`, `30min`, `2h`, `3d` ago; or a date, with or without a time.

    Local time where no zone is named. Raises CliError with examples.
    """
    ages = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(number) :]
    try:
        if unit in ages:
            at = datetime.fromtimestamp((time.time() if now is None else now) - float(number) * ages[unit], UTC)
        else:
            at = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        examples = "say how long ago (90s, 30min, 2h, 3d) or when (2026-11-21, 2026-11-21T06:00, 2026-11-21T06:00Z)"
        raise CliError(f"{text!r} is no time: {examples}", ExitCode.USAGE) from None
    return at.isoformat().replace("+00:00", "Z")


def seconds_of(moment: Any) -> float:
    """Seconds since 1970 of a moment of the REST API; 0.0 for what cannot be read."""
    if isinstance(moment, int | float):
        return float(moment)
    try:
        parsed = datetime.fromisoformat(str(moment))
    except ValueError:
        return 0.0
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
