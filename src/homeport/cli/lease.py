"""`homeport cpe lease`: hands a DHCP lease to the agent. DHCP clients wait for it, so it starts without typer and without asyncio.

Runs as root in most DHCP clients; what it writes it writes as the owner of the state directory.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import gmtime, strftime
from typing import Any

from homeport.cli.as_owner import as_owner
from homeport.errors import ConfigError, TransportError

NETWORKD = Path("/run/systemd/netif/leases")
INSTALLED, INSTALLED_SOCKET = Path("/var/lib/homeport/cpe"), Path("/run/homeport/cpe.sock")
"""State directory and control socket of the agent that the packages install (cli/cpe_ask.py has them too, behind typer)."""


@dataclass(slots=True)
class Handed:
    """What the command line said. options: code -> hexadecimal."""

    interface: str = ""
    options: dict[str, str] = field(default_factory=dict)
    tftp_server: str = ""
    ipv6: bool = False
    released: bool = False
    networkd: bool = False
    query: bool = False
    quiet: bool = False
    state_dir: Path | None = None


def quick(argv: Sequence[str]) -> int | None:
    """The exit status, or None where typer should say what is wrong with these words."""
    handed = Handed()
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if flag in ("--ipv6", "--released", "--networkd", "--query", "--quiet") and not equals:
            setattr(handed, flag[2:], True)
            continue
        if flag not in ("--interface", "--option", "--tftp-server", "--state-dir"):
            return None
        if not equals:
            if not words:
                return None
            value = words.pop(0)
        if flag == "--option":
            add_option(handed, value)
        elif flag == "--state-dir":
            handed.state_dir = Path(value)
        elif flag == "--interface":
            handed.interface = value
        else:
            handed.tftp_server = value
    for said in hand_over(handed):
        if not handed.quiet:
            print(said)
    return 0


def add_option(handed: Handed, text: str) -> None:
    """Take `43=HEX`; an empty content means that the server sent none. Raises ConfigError."""
    code, equals, content = text.partition("=")
    if not equals or not (code.isascii() and code.isdigit()):
        raise ConfigError(f"--option {text[:60]!r}: expected CODE=HEX, for example 43=0109687474703a2f2f612f")
    if content:
        handed.options[code] = content


def hand_over(handed: Handed) -> list[str]:
    """Sentences about what became of the leases. Raises ConfigError, or StoreError where nobody takes them."""
    import homeport.cpe.control_client  # noqa: F401  # the agent's user may not be able to read Python's own files: all before the change
    from homeport.cpe.config import default_state_dir
    from homeport.cpe.leases.lease import Lease, lease_of

    directory = _state_dir(handed.state_dir) or default_state_dir()
    directory = directory.expanduser().absolute()
    family = 6 if handed.ipv6 else 4
    if handed.released:
        with as_owner(directory):
            return [_release(directory, handed.interface, family)]
    leases: list[Lease] = []
    if handed.networkd:
        leases += networkd_leases(handed.interface)
    if handed.interface and (handed.options or handed.tftp_server or not (handed.networkd or handed.query)):
        options: dict[str, Any] = dict(handed.options)
        if handed.tftp_server and family == 4:
            options.setdefault("66", handed.tftp_server.encode("utf-8", "replace"))
        leases.append(lease_of(handed.interface, family, options))
    said = []
    if handed.query and not any(code in lease.options for lease in leases for code in (43, 125, 17)):
        asked, problems = _ask(handed.interface)
        known = {lease.key for lease in asked}
        leases = [lease for lease in leases if lease.key not in known] + asked
        said += problems
    if not leases and not said:
        raise ConfigError("there is no lease to hand over; name it with --interface, or its options with --option")
    with as_owner(directory):
        return [*said, *(_hand(directory, lease) for lease in leases)]


def networkd_leases(interface: str, directory: Path = NETWORKD) -> list[Any]:
    """The leases that systemd-networkd keeps: of one interface, or of all for "". Those without any option of ours count too.

    Files are named after the interface's number and hold KEY=VALUE lines; option 43 is VENDOR_SPECIFIC in hexadecimal.
    """
    import socket

    from homeport.cpe.leases.lease import lease_of

    found = []
    for number, name in socket.if_nameindex():
        if interface and name != interface:
            continue
        try:
            lines = (directory / str(number)).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        options: dict[int, Any] = {43: values.get("VENDOR_SPECIFIC", "")}
        if values.get("NEXT_SERVER"):
            options[66] = values["NEXT_SERVER"].encode("utf-8", "replace")
        found.append(lease_of(name, 4, options))
    return found


def _ask(interface: str) -> tuple[list[Any], list[str]]:
    import asyncio

    from homeport.cpe.leases.query import Question, ask

    answers = asyncio.run(ask(Question(names=(interface,) if interface else (), waits=(1.0, 2.0))))
    return answers.leases, answers.problems


def _hand(directory: Path, lease: Any) -> str:
    import msgspec

    from homeport.cpe.control_client import ControlClient
    from homeport.cpe.leases.lease import keep_lease

    options = {str(code): content.hex() for code, content in lease.options.items()}
    try:
        answer = ControlClient(_door(directory), timeout=5.0).call(
            "lease",
            interface=lease.interface,
            family=lease.family,
            options=options,
            asked=list(lease.asked),
            origin=lease.origin,
        )
    except TransportError as e:
        keep_lease(directory, msgspec.structs.replace(lease, received=strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())))
        if e.kind == "refused":
            return f"no agent runs; the lease of {lease.where} waits in {directory} for its start"
        return f"{e}; the lease of {lease.where} is in {directory} for its next start"
    return str(answer["said"])


def _release(directory: Path, interface: str, family: int) -> str:
    from homeport.cpe.control_client import ControlClient
    from homeport.cpe.leases.lease import forget_lease

    try:
        return str(
            ControlClient(_door(directory), timeout=5.0).call(
                "lease", interface=interface, family=family, released=True
            )["said"]
        )
    except TransportError:
        gone = forget_lease(directory, interface, family)
    return f"the lease of {interface} is forgotten" if gone else f"there was no lease of {interface}"


def _state_dir(given: Path | None) -> Path | None:
    if given is not None:
        return given
    for name in ("HOMEPORT_CPE_STATE_DIR", "HOMEPORT_STATE_DIR"):
        if os.environ.get(name):
            return Path(os.environ[name])
    return None


def _door(directory: Path) -> Path:
    """The control socket, or the directory with it: the agent of the packages has its socket elsewhere (setting control_socket)."""
    named = os.environ.get("HOMEPORT_CPE_CONTROL_SOCKET")
    if named:
        return Path(named)
    if directory == INSTALLED and not (directory / "control.sock").exists() and INSTALLED_SOCKET.exists():
        return INSTALLED_SOCKET
    return directory
