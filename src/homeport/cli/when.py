"""Times as people say them."""

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
