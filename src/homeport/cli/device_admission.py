"""Verbs of `homeport device` that say which devices are managed, and as what: approve, refuse, tag, credentials, forget."""

from typing import Annotated

import typer

from homeport.cli.client import quoted
from homeport.cli.common import Acs, Device, Token, Yes, ask_password, confirm, connect, resolve

Tag = Annotated[str, typer.Argument(metavar="TAG", help="A word to find devices by.")]


def approve(device: Device, acs: Acs = None, token: Token = None) -> None:
    """Let a device out of quarantine: from its next contact on it is managed."""
    client = connect(acs, token)
    found = resolve(client, device)
    client.call("POST", f"/devices/{quoted(found)}/approve")
    print(f"{found} is approved")


def tag(
    device: Device,
    tag: Tag,
    acs: Acs = None,
    token: Token = None,
) -> None:
    """Give a device a tag, for use in --where."""
    client = connect(acs, token)
    found = resolve(client, device)
    client.call("PUT", f"/devices/{quoted(found)}/tags/{quoted(tag)}")
    print(f"{found} has the tag {tag}")


def forget(device: Device, yes: Yes = False, acs: Acs = None, token: Token = None) -> None:
    """Remove a device and its history from the ACS; it comes back as new when it contacts the ACS again."""
    client = connect(acs, token)
    found = resolve(client, device)
    confirm(f"Remove {found} with its values, tasks and sessions?", yes=yes)
    client.call("DELETE", f"/devices/{quoted(found)}")
    print(f"{found} is removed")


def untag(device: Device, tag: Tag, acs: Acs = None, token: Token = None) -> None:
    """Take a tag from a device."""
    client = connect(acs, token)
    found = resolve(client, device)
    client.call("DELETE", f"/devices/{quoted(found)}/tags/{quoted(tag)}")
    print(f"{found} has the tag {tag} no more")


def refuse(device: Device, yes: Yes = False, acs: Acs = None, token: Token = None) -> None:
    """Shut a device out: its sessions are refused until it is approved again."""
    client = connect(acs, token)
    found = resolve(client, device)
    confirm(f"Refuse all sessions of {found}?", yes=yes)
    client.call("POST", f"/devices/{quoted(found)}/refuse")
    print(f"{found} is refused")


def credentials(
    device: Device,
    username: Annotated[str, typer.Argument(metavar="USERNAME", help="What the device logs in as.")],
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
    acs: Acs = None,
    token: Token = None,
) -> None:
    """Set what a device logs in with at this ACS; from then on it must."""
    client = connect(acs, token)
    found = resolve(client, device)
    secret = password or ask_password(f"Password of {username}")
    client.call("PUT", f"/devices/{quoted(found)}/credentials", body={"username": username, "password": secret})
    print(f"{found} logs in as {username} from now on")
