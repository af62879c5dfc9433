"""The hooks with which DHCP clients hand their leases to the agent: which there are, where they go, and their text for this machine."""

import os
import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from homeport.errors import ConfigError

MARK: Final = "Homeport's hook for "
"""Stands in every hook: a file without it is somebody else's and is not written over."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One DHCP client's hook.

    places: directories, the first one that exists is taken, the last one where none does. file: its name there.
    executable: whether the client runs it; otherwise it sources it. then: what else has to be done, lines for a person.
    """

    name: str
    client: str
    places: tuple[str, ...]
    file: str
    executable: bool
    then: tuple[str, ...]


HOOKS: Final = {
    hook.name: hook
    for hook in (
        Hook(
            "udhcpc",
            "udhcpc of BusyBox",
            ("/usr/local/lib/homeport",),
            "udhcpc",
            True,
            ("start udhcpc with: udhcpc -i INTERFACE -V dslforum.org -O 43 -O 125 -O tftp -s {place}",),
        ),
        Hook(
            "openwrt",
            "udhcpc of OpenWrt",
            ("/etc/udhcpc.user.d",),
            "homeport",
            False,
            (
                "let OpenWrt ask for the options:",
                "  uci set network.wan.reqopts='43 125 66'",
                "  uci set network.wan.vendorid='dslforum.org'",
                "  uci commit network && /etc/init.d/network reload",
            ),
        ),
        Hook(
            "dhclient",
            "ISC dhclient",
            ("/etc/dhcp/dhclient-exit-hooks.d",),
            "homeport",
            False,
            (
                "add to /etc/dhcp/dhclient.conf:",
                '  send vendor-class-identifier "dslforum.org";',
                "  also request vendor-encapsulated-options, vivso, tftp-server-name;",
                "  also request dhcp6.vendor-opts;",
            ),
        ),
        Hook(
            "dhcpcd",
            "dhcpcd",
            ("/usr/lib/dhcpcd/dhcpcd-hooks", "/lib/dhcpcd/dhcpcd-hooks", "/usr/libexec/dhcpcd-hooks"),
            "90-homeport",
            False,
            (
                "add to /etc/dhcpcd.conf:",
                "  vendorclassid dslforum.org",
                "  vendclass 3561 dslforum.org",
                "  define 125 binhex homeport_vivso",
                "  define6 17 binhex homeport_vendor_opts",
                "  option vendor_encapsulated_options, homeport_vivso, tftp_server_name",
                "  option dhcp6_homeport_vendor_opts",
            ),
        ),
        Hook(
            "networkd",
            "systemd-networkd with networkd-dispatcher",
            ("/etc/networkd-dispatcher/routable.d",),
            "50-homeport",
            True,
            (
                "add to the interface's .network file:",
                "  [DHCPv4]",
                "  VendorClassIdentifier=dslforum.org",
                "  RequestOptions=43",
            ),
        ),
        Hook(
            "networkmanager",
            "NetworkManager",
            ("/etc/NetworkManager/dispatcher.d",),
            "90-homeport",
            True,
            ("nothing else: what NetworkManager's own DHCP client does not hand over, the hook asks for",),
        ),
    )
}

_UDHCPC_SCRIPTS: Final = ("/etc/udhcpc/default.script", "/usr/share/udhcpc/default.script")


def hook_named(name: str) -> Hook:
    """The hook of that name. Raises ConfigError that lists the names."""
    try:
        return HOOKS[name]
    except KeyError:
        raise ConfigError(f"there is no hook {name!r}; there are {', '.join(HOOKS)}") from None


def place_of(hook: Hook, root: Path = Path("/")) -> Path:
    """Where the hook goes on this machine. root: of a file system that is being built."""
    for place in hook.places:
        if (root / place.lstrip("/")).is_dir():
            return Path(place) / hook.file
    return Path(hook.places[-1]) / hook.file


def default_script() -> str:
    """The script with which udhcpc configures the interface on this machine; our hook runs it first."""
    return next((path for path in _UDHCPC_SCRIPTS if os.path.exists(path)), _UDHCPC_SCRIPTS[-1])


def hook_text(hook: Hook, *, program: str, state_dir: Path, place: Path, following: str = "") -> str:
    """The hook for this machine. program: the command that is `homeport`, absolute. place: where the hook will lie.

    following: what udhcpc's hook runs before it does its own work, `default_script()` unless another is named.
    """
    text = resources.files("homeport.cpe.leases").joinpath("hooks", f"{hook.name}.sh").read_text(encoding="utf-8")
    following = following or default_script()
    for name, value in (
        ("PROGRAM", program),
        ("STATE_DIR", str(state_dir)),
        ("PLACE", str(place)),
        ("NEXT", following),
    ):
        text = text.replace(f"@{name}@", shlex.quote(value))
    return text


def install_hook(hook: Hook, text: str, path: Path, *, force: bool = False) -> None:
    """Put the hook in its place at one stroke. Raises ConfigError where something else is there or the place cannot be written."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace") and not force:
            raise ConfigError(f"{path} is there and is not Homeport's; choose another place with --to, or say --force")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o755 if hook.executable else 0o644)
        os.replace(temporary, path)
    except OSError as e:
        raise ConfigError(f"{path} cannot be written: {e.strerror}; run this as root, or give a place with --to") from e
