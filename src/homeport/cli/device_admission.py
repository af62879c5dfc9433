"""Verbs of `homeport device` that say which devices are managed, and as what: approve, refuse, tag, credentials, merge, rename, forget."""

from typing import Annotated

import typer

from homeport.cli import output
from homeport.cli.client import RestClient, quoted
from homeport.cli.common import Acs, Device, Token, Yes, ask_password, complete_device, confirm, connect, resolve
from homeport.cli.exits import CliError, ExitCode

Devices = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DEVICE",
        help="Device ids, serial numbers, or unambiguous ends of ids.",
        autocompletion=complete_device,
        show_default=False,
    ),
]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help='All that fit, for example: model == "797xx".', show_default=False),
]
SWITCHES = ("prolog", "level_by_level", "partial_paths", "max_names", "id_prefix")

TagWords = Annotated[
    list[str],
    typer.Argument(
        metavar="[DEVICE...] TAG",
        help="Devices, and last the tag, a word to find devices by.",
        autocompletion=complete_device,
        show_default=False,
    ),
]


def approve(
    devices: Devices = None,
    where: Where = None,
    yes: Yes = False,
    acs: Acs = None,
    token: Token = None,
) -> None:
    """Let devices out of quarantine: from their next contact on they are managed. By name, or all that wait there and fit a condition."""
    client = connect(acs, token)
    if where is not None:
        where = f"({where}) and state == 'quarantined'"
    for found in _chosen(client, devices or [], where, "Approve", yes=yes):
        client.call("POST", f"/devices/{quoted(found)}/approve")
        print(f"{found} is approved")
    output.note(
        "managed from the next contact on; the ACS calls now, which works where a password is known: else restart the device"
    )


def _chosen(client: RestClient, devices: list[str], where: str | None, what: str, *, yes: bool) -> list[str]:
    """The ids of the devices that are named, or that fit the condition. Raises CliError for none, or both ways at once."""
    if bool(devices) == (where is not None):
        raise CliError("name the devices, or give --where EXPR", ExitCode.USAGE)
    if where is None:
        return [resolve(client, device) for device in devices]
    found = [str(d["id"]) for d in client.items("/devices", {"where": where})]
    if not found:
        raise CliError("no device fits the condition")
    confirm(f"{what} {len(found)} devices, {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}?", yes=yes)
    return found


def tag(words: TagWords, where: Where = None, yes: Yes = False, acs: Acs = None, token: Token = None) -> None:
    """Give devices a tag, for use in --where: `homeport device tag DEVICE gold`, or `homeport device tag gold --where EXPR`."""
    client = connect(acs, token)
    *devices, name = words
    for found in _chosen(client, devices, where, f"Give the tag {name} to", yes=yes):
        client.call("PUT", f"/devices/{quoted(found)}/tags/{quoted(name)}")
        print(f"{found} has the tag {name}")


def forget(
    devices: Devices = None, where: Where = None, yes: Yes = False, acs: Acs = None, token: Token = None
) -> None:
    """Remove devices and their history from the ACS; one that contacts the ACS again comes back as new."""
    client = connect(acs, token)
    found = _chosen(client, devices or [], where, "Remove, with values, tasks and sessions,", yes=yes)
    if where is None:
        confirm(f"Remove {', '.join(found)} with values, tasks and sessions?", yes=yes)
    for one in found:
        client.call("DELETE", f"/devices/{quoted(one)}")
        print(f"{one} is removed")


def merge(
    device: Device,
    into: Annotated[
        str, typer.Argument(metavar="NEW", help="The device that it has become: its id, or what is unique of it.")
    ],
    yes: Yes = False,
    acs: Acs = None,
    token: Token = None,
) -> None:
    """Give a device's history, tasks, tags and credentials to the one that it has become, and forget it."""
    client = connect(acs, token)
    old, new = resolve(client, device), resolve(client, into)
    confirm(f"Give all that belongs to {old} to {new} and forget {old}?", yes=yes)
    client.call("POST", f"/devices/{quoted(old)}/merge", body={"into": new})
    print(f"{old} is merged into {new}")


def rename(
    device: Device,
    serial: Annotated[
        str | None, typer.Option("--serial", metavar="TEXT", help="SerialNumber.", show_default=False)
    ] = None,
    oui: Annotated[
        str | None, typer.Option("--oui", metavar="HEX", help="ManufacturerOUI.", show_default=False)
    ] = None,
    product_class: Annotated[
        str | None,
        typer.Option("--product-class", metavar="TEXT", help="ProductClass; may be empty.", show_default=False),
    ] = None,
    acs: Acs = None,
    token: Token = None,
) -> None:
    """Tell the identity under which a device will come from now on; what is left out stays as it is."""
    given = {"serial_number": serial, "oui": oui, "product_class": product_class}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise typer.BadParameter("say what changes: --serial, --oui or --product-class")
    client = connect(acs, token)
    found = resolve(client, device)
    moved = client.call("POST", f"/devices/{quoted(found)}/rename", body=changes)
    print(f"{found} is {moved['id']} from now on")


def behave(
    device: Device,
    switches: Annotated[
        list[str],
        typer.Argument(
            metavar="SWITCH=VALUE",
            help="prolog, level_by_level or partial_paths (true, false), max_names (1 to 256), id_prefix; auto: the ACS learns it.",
        ),
    ],
    acs: Acs = None,
    token: Token = None,
) -> None:
    """Change how the ACS speaks with a device that does not keep to the standard."""
    client = connect(acs, token)
    changes: dict[str, object] = {}
    for switch in switches:
        name, equals, value = switch.partition("=")
        if not equals:
            raise typer.BadParameter(f"{switch!r} is not SWITCH=VALUE, such as max_names=32")
        if name not in SWITCHES:
            raise CliError(f"there is no switch {name!r}; there are {', '.join(SWITCHES)}", ExitCode.USAGE)
        known: dict[str, object] = {"auto": None, "true": True, "false": False}
        changes[name] = (
            known[value] if value in known else int(value) if name == "max_names" and value.isdigit() else value
        )
    found = resolve(client, device)
    client.call("PATCH", f"/devices/{quoted(found)}", body={"behaviour": changes})
    print(f"{found} is spoken to as you say from its next session on")


def untag(words: TagWords, where: Where = None, yes: Yes = False, acs: Acs = None, token: Token = None) -> None:
    """Take a tag from devices."""
    client = connect(acs, token)
    *devices, name = words
    for found in _chosen(client, devices, where, f"Take the tag {name} from", yes=yes):
        client.call("DELETE", f"/devices/{quoted(found)}/tags/{quoted(name)}")
        print(f"{found} has the tag {name} no more")


def refuse(
    devices: Devices = None, where: Where = None, yes: Yes = False, acs: Acs = None, token: Token = None
) -> None:
    """Shut devices out: their sessions are refused until they are approved again."""
    client = connect(acs, token)
    found = _chosen(client, devices or [], where, "Refuse all sessions of", yes=yes)
    if where is None:
        confirm(f"Refuse all sessions of {', '.join(found)}?", yes=yes)
    for one in found:
        client.call("POST", f"/devices/{quoted(one)}/refuse")
        print(f"{one} is refused")


def credentials(
    device: Device,
    username: Annotated[str, typer.Argument(metavar="USERNAME", help="What the device logs in as.")] = "",
    password: Annotated[
        str | None,
        typer.Option(
            "--password",
            metavar="TEXT",
            envvar="HOMEPORT_DEVICE_PASSWORD",
            help="Asked for when left out.",
            show_default=False,
        ),
    ] = None,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Take its login away: it comes in with a shared one again, after a factory reset."
        ),
    ] = False,
    acs: Acs = None,
    token: Token = None,
) -> None:
    """Set what a device logs in with at this ACS; from then on it must."""
    if bool(username) == forget:
        raise CliError("give the USERNAME that the device logs in as, or --forget", ExitCode.USAGE)
    client = connect(acs, token)
    found = resolve(client, device)
    if forget:
        client.call("DELETE", f"/devices/{quoted(found)}/credentials")
        print(f"{found} has no login of its own any more")
        return
    secret = password or ask_password(f"Password of {username}")
    client.call("PUT", f"/devices/{quoted(found)}/credentials", body={"username": username, "password": secret})
    print(f"{found} logs in as {username} from now on")
