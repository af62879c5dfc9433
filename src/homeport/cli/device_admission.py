"""Verbs of `homeport device` that say which devices are managed, and as what: approve, refuse, tag, credentials, merge, rename, forget."""

from typing import Annotated

import typer

from homeport.cli import output
from homeport.cli.client import RestClient, quoted
from homeport.cli.common import (
    Acs,
    AsJson,
    Device,
    Token,
    Yes,
    ask_password,
    check_known,
    complete_device,
    confirm,
    connect,
    resolve,
    tell,
)
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
    json: AsJson = False,
) -> None:
    """Let devices out of quarantine: from their next contact on they are managed. By name, or all that wait there and fit a condition."""
    client = connect(acs, token)
    if where is not None:
        where = f"({where}) and state == 'quarantined'"
    found = _chosen(client, devices or [], where, "Approve", yes=yes)
    _each(client, found, "POST", "/approve", "is approved", json=json)
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
    confirm(
        f"{what} {output.counted(len(found), 'device')}, {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}?",
        yes=yes,
    )
    return found


def _each(client: RestClient, ids: list[str], method: str, path: str, said: str, *, json: bool) -> None:
    """Call the same for each device: a line for each that is done, or what the ACS has answered for all as one JSON."""
    answers = []
    try:
        for id in ids:
            answer = client.call(method, f"/devices/{quoted(id)}{path}")
            if json:
                answers.append(answer or {"id": id, "removed": True})
            else:
                print(f"{id} {said}")
    finally:
        if json:  # also where one in the middle has failed: those before it are done
            output.print_json(answers)


def tag(
    words: TagWords, where: Where = None, yes: Yes = False, acs: Acs = None, token: Token = None, json: AsJson = False
) -> None:
    """Give devices a tag, for use in --where: `homeport device tag DEVICE gold`, or `homeport device tag gold --where EXPR`."""
    client = connect(acs, token)
    *devices, name = words
    found = _chosen(client, devices, where, f"Give the tag {name} to", yes=yes)
    _each(client, found, "PUT", f"/tags/{quoted(name)}", f"has the tag {name}", json=json)


def forget(
    devices: Devices = None,
    where: Where = None,
    yes: Yes = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Remove devices and their history from the ACS; one that contacts the ACS again comes back as new."""
    client = connect(acs, token)
    found = _chosen(client, devices or [], where, "Remove, with values, tasks and sessions,", yes=yes)
    if where is None:
        confirm(f"Remove {', '.join(found)} with values, tasks and sessions?", yes=yes)
    _each(client, found, "DELETE", "", "is removed", json=json)


def merge(
    device: Device,
    into: Annotated[
        str, typer.Argument(metavar="NEW", help="The device that it has become: its id, or what is unique of it.")
    ],
    yes: Yes = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Give a device's history, tasks, tags and credentials to the one that it has become, and forget it."""
    client = connect(acs, token)
    old, new = resolve(client, device), resolve(client, into)
    confirm(f"Give all that belongs to {old} to {new} and forget {old}?", yes=yes)
    merged = client.call("POST", f"/devices/{quoted(old)}/merge", body={"into": new})
    tell(f"{old} is merged into {new}", merged, json=json)


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
    json: AsJson = False,
) -> None:
    """Tell the identity under which a device will come from now on; what is left out stays as it is."""
    given = {"serial_number": serial, "oui": oui, "product_class": product_class}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise typer.BadParameter("say what changes: --serial, --oui or --product-class")
    client = connect(acs, token)
    found = resolve(client, device)
    moved = client.call("POST", f"/devices/{quoted(found)}/rename", body=changes)
    tell(f"{found} is {moved['id']} from now on", moved, json=json)


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
    json: AsJson = False,
) -> None:
    """Change how the ACS speaks with a device that does not keep to the standard."""
    client = connect(acs, token)
    changes: dict[str, object] = {}
    for switch in switches:
        name, equals, value = switch.partition("=")
        if not equals:
            raise typer.BadParameter(f"{switch!r} is not SWITCH=VALUE, such as max_names=32")
        check_known([name], SWITCHES, "there is no switch {}")
        known: dict[str, object] = {"auto": None, "true": True, "false": False}
        changes[name] = (
            known[value] if value in known else int(value) if name == "max_names" and value.isdigit() else value
        )
    found = resolve(client, device)
    changed = client.call("PATCH", f"/devices/{quoted(found)}", body={"behaviour": changes})
    tell(f"{found} is spoken to as you say from its next session on", changed, json=json)


def untag(
    words: TagWords, where: Where = None, yes: Yes = False, acs: Acs = None, token: Token = None, json: AsJson = False
) -> None:
    """Take a tag from devices."""
    client = connect(acs, token)
    *devices, name = words
    found = _chosen(client, devices, where, f"Take the tag {name} from", yes=yes)
    _each(client, found, "DELETE", f"/tags/{quoted(name)}", f"has the tag {name} no more", json=json)


def refuse(
    devices: Devices = None,
    where: Where = None,
    yes: Yes = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Shut devices out: their sessions are refused until they are approved again."""
    client = connect(acs, token)
    found = _chosen(client, devices or [], where, "Refuse all sessions of", yes=yes)
    if where is None:
        confirm(f"Refuse all sessions of {', '.join(found)}?", yes=yes)
    _each(client, found, "POST", "/refuse", "is refused", json=json)


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
    json: AsJson = False,
) -> None:
    """Set what a device logs in with at this ACS; from then on it must."""
    if bool(username) == forget:
        raise CliError("give the USERNAME that the device logs in as, or --forget", ExitCode.USAGE)
    client = connect(acs, token)
    found = resolve(client, device)
    if forget:
        client.call("DELETE", f"/devices/{quoted(found)}/credentials")
        tell(f"{found} has no login of its own any more", {"id": found, "username": None}, json=json)
        return
    secret = password or ask_password(f"Password of {username}")
    client.call("PUT", f"/devices/{quoted(found)}/credentials", body={"username": username, "password": secret})
    tell(f"{found} logs in as {username} from now on", {"id": found, "username": username}, json=json)
