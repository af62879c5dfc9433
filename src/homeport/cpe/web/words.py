"""Facts in words, for the templates."""

import time
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from homeport.cpe.readable import seconds

_STEPS: Final = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (86400.0, 3600.0, "h"), (float("inf"), 86400.0, "d"))

SAID: Final = {
    "applied": "The changes are in force.",
    "later": "The changes are accepted; they are in force after the next restart.",
    "submitted": "The values are checked and wait for Apply. Nothing has changed yet.",
    "same": "Nothing was changed: the values are those in force.",
    "discarded": "The submitted values are dropped.",
    "inform": "The device contacts its ACS now; how it goes is below.",
    "restart": "The agent restarts; this takes a few seconds.",
    "reboot": "The device reboots.",
    "factory-reset": "The device restores its factory configuration and restarts.",
    "set": "The parameter is set.",
    "set-later": "The value is accepted; it is in force after the next restart.",
    "out": "You are logged out.",
}
"""Messages after a form was taken, by the word that the next address carries: a stranger's link can say nothing else."""

HINTS: Final = {
    "dns": "The ACS's name cannot be found. Look whether the name in the ACS URL is right and whether the device has a DNS server.",
    "refused": "Nothing answers at the ACS URL. Look whether host and port are right and whether the ACS runs.",
    "timeout": "The ACS does not answer in time. Look whether this device reaches the network, and for a firewall in between.",
    "tls": "The secure connection does not come about. Look at the device's clock, the ACS's certificate, and the setting ca_file.",
    "auth": "The ACS does not accept this device's user name or password. Correct them under Configuration.",
    "http": "Something answers at the ACS URL, but not as an ACS does. Look whether its path is right.",
    "redirect": "The ACS sends the device elsewhere in a way that cannot be followed. Ask its operator.",
    "proxy": "The HTTP proxy does not let the device through. Look at the setting proxy.",
    "closed": "The ACS closed the connection in the middle of a session. If it happens again, ask its operator.",
    "protocol": "The ACS said something that breaks the protocol; the session under Sessions shows it.",
    "fault": "The ACS answered with a fault; the session under Sessions shows it.",
}
"""What to do about a session that failed, by its kind."""


def moment(text: Any) -> float:
    """Seconds since 1970 of a dateTime; 0.0 for what cannot be read."""
    try:
        parsed = datetime.fromisoformat(str(text))
    except ValueError:
        return 0.0
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def ago(text: Any) -> str:
    """`12 s ago`; "never" where there is no moment."""
    return _words(time.time() - moment(text), "{} ago") if text else "never"


def ahead(text: Any) -> str:
    """`in 12 s`; "now" for a moment that has come."""
    return _words(moment(text) - time.time(), "in {}") if text else "not planned"


def _words(distance: float, form: str) -> str:
    if distance < 1:
        return "now"
    for limit, unit, name in _STEPS:
        if distance < limit:
            return form.format(f"{distance / unit:.0f} {name}")
    raise AssertionError("unreachable")


def size(number: Any) -> str:
    """`1.4 MB`"""
    value = float(number or 0)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit != "MB" else f"{value:.1f} MB"
        value /= 1000
    return f"{value:.1f} GB"


def clock(text: Any) -> str:
    """`2026-11-21 09:15:02` of a dateTime, UTC."""
    return str(text)[:19].replace("T", " ") if text else ""


def notification(number: Any) -> str:
    """What the ACS is told of a change."""
    names = {0: "", 1: "passive", 2: "active", 3: "passive lightweight", 4: "passive + passive lightweight"}
    names |= {5: "active lightweight", 6: "passive + active lightweight"}
    return names.get(number, str(number))


def direction(line: Any) -> str:
    """Which way a line of the client log went: `sent`, `received` or `note`."""
    return {"->": "sent", "<-": "received"}.get(str(line).partition(" ")[0], "note")


def rest(line: Any) -> str:
    """A line of the client log without its arrow."""
    text = str(line)
    return text[3:] if text[:3] in ("-> ", "<- ") else text


def breaks(path: Any) -> Markup:
    """A path that a narrow page breaks behind its dots."""
    return Markup(".<wbr>").join(escape(part) for part in str(path).split("."))


FILTERS: Final = {
    "breaks": breaks,
    "ago": ago,
    "ahead": ahead,
    "size": size,
    "clock": clock,
    "notification": notification,
    "direction": direction,
    "rest": rest,
    "seconds": seconds,
}
