"""One DHCP lease as far as TR-069 needs it, checked like any hostile input, and its place on disk.

A DHCP client's hook hands a lease to the running agent; where none runs, it lies in `STATE_DIR/leases/` until one starts.
No asyncio here: `homeport cpe lease` starts inside of DHCP clients and must be quick.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from homeport.cpe.discovery import Discovered, decode_option17, decode_option43, decode_option125, option_bytes, prefer
from homeport.errors import ConfigError, RemoteProtocolError, StoreError

DIRECTORY: Final = "leases"

HOOK, QUERY, SETTING = "hook", "query", "setting"
"""How a lease came: from a DHCP client's hook, by our own question, by the setting option43."""

ORIGINS: Final = {
    HOOK: "handed over by the DHCP client",
    QUERY: "asked for by the agent",
    SETTING: "given by the setting option43",
}

KNOWN: Final = {4: frozenset({43, 66, 67, 125, 150}), 6: frozenset({17})}
"""Options that are kept, by address family: what names the ACS, and where the TFTP server is (66, 67, 150)."""

MAX_OPTION: Final = 4096
MAX_LEASES: Final = 64
"""Leases that are kept: an interface has two, and a machine with more than 32 of them has no use for all of their options."""

_INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,31}")


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What a DHCP server said on one interface.

    family: 4 or 6. options: content by code, without code and length. asked: the client's parameter request list, () where unknown.
    received: dateTime in UTC of the first time that these options came.
    """

    interface: str
    family: int = 4
    options: dict[int, bytes] = {}
    asked: tuple[int, ...] = ()
    origin: str = HOOK
    received: str = ""

    @property
    def key(self) -> str:
        """Names the lease among all of this machine."""
        return f"{self.interface}-{self.family}"

    @property
    def where(self) -> str:
        """For people: `eth0`, `eth0 over IPv6`."""
        return (self.interface or "the settings") + (" over IPv6" if self.family == 6 else "")

    @property
    def tftp_server(self) -> str:
        """Name or address of the TFTP server that the lease names (option 150, else 66), "" where it names none that can be one."""
        if len(self.options.get(150, b"")) >= 4:
            return ".".join(str(n) for n in self.options[150][:4])
        name = self.options.get(66, b"").strip(b"\0 ").decode("ascii", "replace")
        return name if re.fullmatch(r"[A-Za-z0-9.:_-]{1,253}", name) else ""


class Facts(msgspec.Struct, frozen=True):
    """What a lease says about the ACS. option: which one said it, such as `DHCP option 43`; found: None where it says nothing.

    warnings: sentences for the log.
    """

    option: str
    found: Discovered | None
    warnings: tuple[str, ...]


class LeaseSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A lease for people. url: the ACS that it names, "" for none. said: a sentence about it."""

    interface: str
    family: int
    url: str
    received: str
    said: str


def lease_of(
    interface: str,
    family: int,
    options: Mapping[Any, Any],
    *,
    asked: tuple[int, ...] = (),
    origin: str = HOOK,
    received: str = "",
) -> Lease:
    """A checked lease. options: code -> content as bytes, or as hexadecimal text; codes that are not KNOWN and empty ones are left out.

    Raises ConfigError where the interface's name, the family or a content cannot be one.
    """
    if not _INTERFACE.fullmatch(interface):
        raise ConfigError(f"{interface[:40]!r} is no name of a network interface; expected for example eth0")
    if family not in KNOWN:
        raise ConfigError(f"address family {family!r}: expected 4 or 6")
    kept: dict[int, bytes] = {}
    for code, content in options.items():
        number = int(code) if str(code).isascii() and str(code).isdigit() else -1
        if number not in KNOWN[family] or not content:
            continue
        data = content if isinstance(content, bytes) else option_bytes(str(content))
        if len(data) > MAX_OPTION:
            raise ConfigError(f"option {number} has {len(data)} bytes, more than {MAX_OPTION}")
        if data:
            kept[number] = data
    return Lease(interface=interface, family=family, options=kept, asked=asked, origin=origin, received=received)


def facts_of(lease: Lease, form: str = "standard") -> Facts:
    """What a lease says about the ACS, with whatever is wrong with it as warnings. form: how the codes of option 43 are read."""
    warnings: list[str] = []

    def read(code: int, decode: Any) -> Discovered | None:
        if code not in lease.options:
            return None
        try:
            found: Discovered = decode(lease.options[code])
        except RemoteProtocolError as e:
            warnings.append(f"{e}; the option is ignored")
            return None
        warnings.extend(f"DHCP option {code}: {sentence}" for sentence in found.warnings)
        return found

    if lease.family == 6:
        return Facts("DHCPv6 option 17", read(17, decode_option17), tuple(warnings))
    first = read(43, lambda data: decode_option43(data, form="vega" if form == "vega" else "standard"))
    second = read(125, decode_option125)
    found = prefer(first, second, lease.asked)
    url = found.url if found else None
    by_second = second is not None and (first is None or (url == second.url != first.url))
    return Facts("DHCP option 125" if by_second else "DHCP option 43", found, tuple(warnings))


# --- on disk ------------------------------------------------------------------------------------------------------------------


def keep_lease(directory: Path, lease: Lease) -> None:
    """Write a lease into a state directory, in place of the interface's last one. Raises StoreError."""
    folder = directory / DIRECTORY
    temporary = folder / f".{lease.key}.{os.getpid()}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if len(list(folder.glob("*.json"))) >= MAX_LEASES and not (folder / f"{lease.key}.json").exists():
            raise StoreError(f"{folder} holds {MAX_LEASES} leases already; remove those of interfaces that are gone")
        temporary.write_bytes(msgspec.json.encode(lease))
        os.replace(temporary, folder / f"{lease.key}.json")
    except OSError as e:
        raise StoreError(f"the lease cannot be kept in {folder}: {e.strerror}; check the directory's owner") from e


def forget_lease(directory: Path, interface: str, family: int) -> bool:
    """Remove an interface's lease; whether there was one."""
    if not _INTERFACE.fullmatch(interface):
        return False
    try:
        (directory / DIRECTORY / f"{interface}-{family}.json").unlink()
    except OSError:
        return False
    return True


def kept_leases(directory: Path) -> list[Lease]:
    """The leases in a state directory, in the order of their names; what cannot be read is left out."""
    found = []
    try:
        paths = sorted((directory / DIRECTORY).glob("*.json"))[:MAX_LEASES]
    except OSError:
        return []
    for path in paths:
        try:
            raw = msgspec.json.decode(path.read_bytes(), type=Lease)
            lease = lease_of(
                raw.interface, raw.family, raw.options, asked=raw.asked, origin=raw.origin, received=raw.received
            )
        except (OSError, msgspec.MsgspecError, ConfigError):
            continue  # torn by a power cut: the next renewal brings it again
        if f"{lease.key}.json" == path.name:
            found.append(lease)
    return found
