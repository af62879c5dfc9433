"""`homeport group`: logins that groups of devices share."""

from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.client import quoted
from homeport.cli.common import Acs, AsJson, Token, Yes, ask_password, complete_names, confirm, connect, group, tell
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.when import ahead, shown, told

app = group("Logins that groups of devices share: for which devices, and what those get that were never seen before.")

_MATCH = "Which devices (* is any text, ? one character; again for more; '' for any)"
_GIVES = "What a device gets that was never seen before"

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The group's name.", autocompletion=complete_names("/groups"))
]
Ouis = Annotated[
    list[str] | None, typer.Option("--oui", metavar="PATTERN", help="OUI: 00D0F1.", rich_help_panel=_MATCH)
]
Classes = Annotated[
    list[str] | None,
    typer.Option("--product-class", metavar="PATTERN", help="ProductClass: 797xx.", rich_help_panel=_MATCH),
]
Serials = Annotated[
    list[str] | None, typer.Option("--serial", metavar="PATTERN", help="SerialNumber: DKT00*.", rich_help_panel=_MATCH)
]
Ids = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="PATTERN", help="The device's id: 00D0F1-*-DKT*.", rich_help_panel=_MATCH),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="Again for more; '' for none.", rich_help_panel=_GIVES),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state", metavar="STATE", help="approved, or quarantined until a person approves it.", rich_help_panel=_GIVES
    ),
]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="For those who read the list.")]
Password = Annotated[
    str | None,
    typer.Option(
        "--password",
        metavar="TEXT",
        envvar="HOMEPORT_DEVICE_PASSWORD",
        help="Default: one is made, and shown this once.",
    ),
]
Ask = Annotated[bool, typer.Option("--ask", help="Ask for the password.")]


@app.command("list")
def list_groups(acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """List the groups' logins."""
    groups = list(connect(acs, token).items("/groups"))
    if json:
        output.print_json(groups)
        return
    rows = [(g["name"], g["username"], _devices(g), ", ".join(g["tags"]), _state(g)) for g in groups]
    empty = "no groups; make one: homeport group add NAME --oui 00D0F1"
    output.print_table(("NAME", "USER NAME", "DEVICES", "TAGS", "STATE"), rows, empty=empty)


@app.command()
def show(name: Name, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Show one group's login, and the devices that it was refused to lately."""
    found = connect(acs, token).get(f"/groups/{quoted(name)}")
    if json:
        output.print_json(found)
        return
    until = found["old_password_until"]
    fields = [
        ("name", found["name"]),
        ("user name", found["username"]),
        ("devices", _devices(found)),
        ("tags", ", ".join(found["tags"]) or "none"),
        ("state", _state(found)),
        ("note", found["note"]),
        ("made", told(found["created"])),
        ("password set", told(found["password_set"])),
        ("the one before", f"ends {ahead(until)}" if until else ""),
    ]
    output.print_fields([(key, value) for key, value in fields if value])
    if found["refused"]:
        print("\nrefused lately")
        rows = [(r["device"], r["address"], shown(r["at"]), r["why"]) for r in found["refused"]]
        output.print_table(("DEVICE", "ADDRESS", "WHEN", "WHY"), rows)


@app.command()
def add(
    name: Name,
    username: Annotated[
        str, typer.Option("--username", metavar="TEXT", help="What the devices log in as; default: the name.")
    ] = "",
    password: Password = None,
    ask: Ask = False,
    oui: Ouis = None,
    product_class: Classes = None,
    serial: Serials = None,
    id: Ids = None,
    tag: Tags = None,
    state: State = None,
    note: Note = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Make a login for a group of devices."""
    client = connect(acs, token)
    body = _fields(oui, product_class, serial, id, tag, state, note)
    body |= {"name": name, "username": username, "password": _chosen(password, ask, name)}
    made = client.call("POST", "/groups", body=body)
    if json:
        output.print_json(made)
        return
    _shown_once(made)
    output.note(f"devices log in as {made['username']}: {_devices(made)}")


@app.command()
def change(
    name: Name,
    oui: Ouis = None,
    product_class: Classes = None,
    serial: Serials = None,
    id: Ids = None,
    tag: Tags = None,
    state: State = None,
    note: Note = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Let devices in by this login, or no more.")
    ] = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Change which devices a group's login is for and what newcomers get, or switch it off."""
    body = _fields(oui, product_class, serial, id, tag, state, note)
    if enabled is not None:
        body["enabled"] = enabled
    if not body:
        raise CliError("nothing to change; see homeport group change --help", ExitCode.USAGE)
    made = connect(acs, token).call("PATCH", f"/groups/{quoted(name)}", body=body)
    newcomers = ", ".join((*made["tags"], _state(made)))
    tell(f"group {made['name']}: {_devices(made)}; newcomers: {newcomers}", made, json=json)


@app.command()
def rotate(
    name: Name,
    password: Password = None,
    ask: Ask = False,
    overlap: Annotated[
        float,
        typer.Option("--overlap-days", metavar="DAYS", min=0, help="How long the password before opens, too; 0: not."),
    ] = 7.0,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Give a group's login another password."""
    client = connect(acs, token)
    body = {"password": _chosen(password, ask, name), "overlap": overlap * 86_400}
    made = client.call("POST", f"/groups/{quoted(name)}/rotate", body=body)
    if json:
        output.print_json(made)
        return
    _shown_once(made)
    until = made["old_password_until"]
    output.note(f"the password before opens until {until}" if until else "the password before opens no more")


@app.command()
def remove(name: Name, yes: Yes = False, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Take a group's login away; the devices that came by it stay, but come in by it no more."""
    client = connect(acs, token)
    confirm(f"Remove the login of the group {name}?", yes=yes)
    client.call("DELETE", f"/groups/{quoted(name)}")
    tell(f"group {name} is removed", {"name": name, "removed": True}, json=json)


def _chosen(password: str | None, ask: bool, name: str) -> str:
    return password or (ask_password(f"Password of the group {name}") if ask else "")


def _shown_once(made: dict[str, Any]) -> None:
    if made["password"] is None:
        print(f"the group {made['name']} has the password that was given")
    else:
        print(made["password"])
        output.note("that is the password; keep it, it is not shown again")


def _fields(
    oui: list[str] | None,
    product_class: list[str] | None,
    serial: list[str] | None,
    id: list[str] | None,
    tag: list[str] | None,
    state: str | None,
    note: str | None,
) -> dict[str, Any]:
    lists = {"ouis": oui, "product_classes": product_class, "serial_numbers": serial, "ids": id, "tags": tag}
    body: dict[str, Any] = {key: [text for text in given if text] for key, given in lists.items() if given}
    return body | {key: text for key, text in (("state", state), ("note", note)) if text is not None}


def _devices(found: dict[str, Any]) -> str:
    """Which devices, in words."""
    kinds = (("OUI", "ouis"), ("ProductClass", "product_classes"), ("SerialNumber", "serial_numbers"), ("id", "ids"))
    parts = [f"{word} {' or '.join(found[key])}" for word, key in kinds if found[key]]
    return ", ".join(parts) or "any"


def _state(found: dict[str, Any]) -> str:
    return str(found["state"]) if found["enabled"] else f"{found['state']} (login switched off)"
