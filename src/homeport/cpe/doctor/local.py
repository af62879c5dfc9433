"""Checks of the machine itself: state directory, disk, configuration, clock, DHCP leases. No network."""

import ctypes
import os
import shutil
import time
from typing import Final

from homeport.cpe.clock import CLOCK_IS_SET, date_time
from homeport.cpe.doctor.case import Case, Finding, Mark

LEAST_FREE: Final = 1 << 20
LITTLE_FREE: Final = 16 << 20
"""Bytes on the disk below which nothing can be written safely, and below which a firmware or a log soon finds no room."""

_TIME_ERROR: Final = 5
"""adjtimex: the kernel's clock is not synchronised."""


def check_agent(case: Case) -> Finding:
    """Whether it runs, and what it says itself."""
    if case.trouble:
        return Finding("agent", Mark.FAIL, case.trouble, "see homeport cpe show status")
    if not case.running:
        return Finding("agent", Mark.WARN, f"No agent runs with {case.directory}.", "start it: homeport cpe run")
    if case.last_failure:
        return Finding(
            "agent", Mark.WARN, f"It runs; its last session failed: {case.last_failure}.", "see the checks below"
        )
    return Finding("agent", Mark.OK, f"It runs as process {os.getpid()}.")


def check_state(case: Case) -> Finding:
    """The state directory."""
    name, place = "state directory", case.directory
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return Finding(name, Mark.WARN, f"{place} does not exist yet.", "the agent makes it at its first start")
    except OSError as e:
        return Finding(name, Mark.FAIL, f"{place}: {e.strerror}.", "run this as the agent's user, or as root")
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            name, Mark.FAIL, f"{place} cannot be written by this user.", f"chown it to the agent's user: {place}"
        )
    if case.state not in ("", "ok"):
        return Finding(name, Mark.FAIL, case.state, "move state.db away to start with factory defaults")
    if mode & 0o007:
        return Finding(
            name, Mark.WARN, f"{place} is open to every user, and passwords are in it.", f"chmod o-rwx {place}"
        )
    whole = " and its database is whole" if case.state else ""
    return Finding(name, Mark.OK, f"{place} can be written{whole}.")


def check_disk(case: Case) -> Finding:
    """Room where the state is."""
    place = case.directory
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
        entries = os.statvfs(place)
    except OSError as e:
        return Finding("disk space", Mark.SKIPPED, f"{place}: {e.strerror}.")
    said = f"{free / 1e6:.0f} MB are free at {place}."
    if entries.f_files and not entries.f_favail:
        return Finding("disk space", Mark.FAIL, f"No more files can be made at {place}.", "remove files there")
    if free < LEAST_FREE:
        return Finding("disk space", Mark.FAIL, said, "make room; the agent accepts nothing that it cannot keep")
    if free < LITTLE_FREE:
        return Finding("disk space", Mark.WARN, said, "make room before a firmware or a configuration comes")
    return Finding("disk space", Mark.OK, said)


def check_configuration(case: Case) -> Finding:
    """Whether there is an ACS to contact, and leave to do so."""
    name = "configuration"
    if not case.enabled:
        return Finding(name, Mark.FAIL, "CWMP is switched off on this device.", "switch it on: homeport cpe enable")
    if not case.url:
        asks = "the agent asks for one itself" if case.settings.dhcp_query != "off" else "a hook brings one"
        return Finding(
            name,
            Mark.FAIL,
            f"No ACS URL is known; a DHCP lease has to name one ({asks}).",
            "give one: homeport cpe enable URL USER, or see homeport cpe hook list",
        )
    said = f"The ACS is {case.url}; that is its {case.url_from} URL."
    if case.settings.allow_basic_over_http and case.url.startswith("http:"):
        return Finding(
            name, Mark.WARN, f"{said} The password may go there readably.", "use https, or leave allow_basic_over_http"
        )
    if case.running and not case.periodic:
        return Finding(name, Mark.WARN, f"{said} There is no periodic contact.", "let the ACS set PeriodicInformEnable")
    every = f" The agent contacts it every {case.periodic} s." if case.periodic else ""
    return Finding(name, Mark.OK, said + every)


def check_dhcp(case: Case) -> Finding:
    """What DHCP said."""
    name = "DHCP options"
    rows = [f"{lease.interface}{' (IPv6)' if lease.family == 6 else ''}: {lease.said}" for lease in case.leases]
    if any(lease.url for lease in case.leases):
        return Finding(name, Mark.OK, "; ".join(rows) + ".")
    if rows:
        mark = Mark.OK if case.url else Mark.FAIL
        return Finding(
            name, mark, "; ".join(rows) + ".", "" if case.url else "see the guide to discovery by DHCP, for operators"
        )
    if case.url_from == "stored" or (case.url and case.settings.option43):
        return Finding(name, Mark.OK, "No lease has been seen, and none is needed: the ACS URL is known without.")
    return Finding(
        name,
        Mark.WARN,
        "No lease has been seen.",
        "install the hook of your DHCP client (homeport cpe hook list), or let the agent ask: --dhcp-query both",
    )


def check_clock(now: float | None = None) -> Finding:
    """Whether the clock can be true, and whether something keeps it so. Not from inside the agent: its sandbox may forbid to ask."""
    wall = time.time() if now is None else now
    said = f"The clock says {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(wall))} UTC"
    if wall < CLOCK_IS_SET:
        return Finding(
            "clock",
            Mark.FAIL,
            f"{said}, which cannot be.",
            "let NTP set it; until then certificates are taken whatever their dates",
        )
    state = _kernel_clock()
    if state is None:
        return Finding("clock", Mark.OK, f"{said}; whether NTP keeps it cannot be seen here.")
    if state == _TIME_ERROR:
        return Finding(
            "clock",
            Mark.WARN,
            f"{said}, and nothing keeps it.",
            "start an NTP client, such as systemd-timesyncd or chrony",
        )
    return Finding("clock", Mark.OK, f"{said}, kept by NTP.")


def clock_against(server_date: str, now: float) -> Finding | None:
    """What the ACS's Date header says about our clock; None where it says nothing. now: seconds since 1970."""
    from email.utils import parsedate_to_datetime

    try:
        off = now - parsedate_to_datetime(server_date).timestamp()
    except (TypeError, ValueError):
        return None
    if abs(off) < 300:
        return None
    way = "ahead of" if off > 0 else "behind"
    return Finding(
        "clock of the ACS",
        Mark.WARN,
        f"This clock ({date_time(now)}) is {abs(off):.0f} s {way} the ACS's.",
        "let NTP set it; certificates and times in reports depend on it",
    )


def _kernel_clock() -> int | None:
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = adjtimex(ctypes.create_string_buffer(512))  # modes = 0: only asks
    return state if isinstance(state, int) and state >= 0 else None
