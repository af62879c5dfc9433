"""Parameters of ManagementServer in words: what a person reads beside the data model's form."""

import re
from collections.abc import Callable
from typing import Any, Final

from homeport.cpe.journal import MASK

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_UNKNOWN: Final = ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00")


def readable(path: str, value: str) -> dict[str, Any]:
    """`{"name": what it is called, "said": its value in words}`."""
    parameter = path.rpartition(".")[2]
    name, say = _KNOWN.get(parameter, (_WORDS.sub(" ", parameter), _plain))
    return {"name": name, "said": _plain(value) if value == MASK else say(value)}


def seconds(value: str) -> str:
    """`900 s (15 min)`."""
    if not value.isdecimal():
        return _plain(value)
    left, parts = int(value), []
    for size, unit in _UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return f"{value} s" + (f" ({' '.join(parts)})" if int(value) >= 60 else "")


def _plain(value: str) -> str:
    if value == MASK:
        return "set (hidden)"
    return {"": "not set", "true": "on", "false": "off"}.get(value, value)


def _switch(value: str) -> str:
    return {"1": "on", "true": "on", "0": "off", "false": "off"}.get(value, _plain(value))


def _thousandths(value: str) -> str:
    return f"times {int(value) / 1000:g} each time" if value.isdecimal() else _plain(value)


def _moment(value: str) -> str:
    return "any moment" if value in _UNKNOWN else _plain(value)


_KNOWN: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "EnableCWMP": ("CWMP", _switch),
    "URL": ("ACS URL", _plain),
    "Username": ("ACS user name", _plain),
    "Password": ("ACS password", _plain),
    "PeriodicInformEnable": ("Regular contact", _switch),
    "PeriodicInformInterval": ("Inform interval", seconds),
    "PeriodicInformTime": ("Reference time of regular contact", _moment),
    "ParameterKey": ("Key of the ACS's last change", _plain),
    "ConnectionRequestURL": ("Connection request URL", _plain),
    "ConnectionRequestUsername": ("Connection request user name", _plain),
    "ConnectionRequestPassword": ("Connection request password", _plain),
    "HTTPConnectionRequestEnable": ("Connection requests over HTTP", _switch),
    "UpgradesManaged": ("Firmware by the ACS alone", _switch),
    "CWMPRetryMinimumWaitInterval": ("First wait before a retry", seconds),
    "CWMPRetryIntervalMultiplier": ("Growth of the wait", _thousandths),
    "DefaultActiveNotificationThrottle": ("Least time between notifications", seconds),
    "KickURL": ("Kick URL", _plain),
    "DownloadProgressURL": ("Download progress URL", _plain),
}
