"""`homeport token`: bearer tokens of programs, and who is logged in."""

from typing import Annotated

import typer

from homeport.cli import output
from homeport.cli.client import quoted
from homeport.cli.common import Acs, AsJson, Token, Yes, complete_names, confirm, connect, group, tell
from homeport.cli.user import ROLE_HELP
from homeport.cli.when import shown, told

app = group("Bearer tokens for programs, each with a scope: read, operate or admin.")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The token's name.", autocompletion=complete_names("/tokens"))
]


@app.command("list")
def list_tokens(acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """List the tokens that open something: of programs, of the ACS itself, and of users that are logged in."""
    tokens = list(connect(acs, token).items("/tokens"))
    if json:
        output.print_json(tokens)
        return
    rows = [(t["name"], t["scope"], t["user"] or "", shown(t["created"]), told(t["expires"])) for t in tokens]
    output.print_table(("NAME", "SCOPE", "USER", "MADE", "EXPIRES"), rows, empty="no tokens")


@app.command()
def show(name: Name, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Show what a token opens, and until when; the token itself is shown to nobody."""
    found = connect(acs, token).get(f"/tokens/{quoted(name)}")
    if json:
        output.print_json(found)
        return
    fields = [
        ("name", found["name"]),
        ("scope", found["scope"]),
        ("user", found["user"] or ""),
        ("made", told(found["created"])),
        ("expires", told(found["expires"])),
    ]
    output.print_fields([(key, value) for key, value in fields if value])


@app.command()
def make(
    name: Name,
    scope: Annotated[str, typer.Option("--scope", metavar="SCOPE", help=ROLE_HELP)] = "read",
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Make a token; it is shown this once. An older one of the same name ends."""
    made = connect(acs, token).call("POST", "/tokens", body={"name": name, "scope": scope})
    if json:
        output.print_json(made)
        return
    print(made["token"])
    output.note(f"the token {made['name']} opens: {made['scope']}; keep it, it is not shown again")


@app.command()
def revoke(name: Name, yes: Yes = False, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """End a token: from now on it opens nothing."""
    client = connect(acs, token)
    confirm(f"End the token {name}?", yes=yes)
    client.call("DELETE", f"/tokens/{quoted(name)}")
    tell(f"token {name} is ended", {"name": name, "removed": True}, json=json)
