"""`homeport token`: bearer tokens of programs, and who is logged in."""

from typing import Annotated

import typer

from homeport.cli import output
from homeport.cli.client import quoted
from homeport.cli.common import Acs, AsJson, Token, Yes, confirm, connect, group
from homeport.cli.user import ROLE_HELP
from homeport.cli.when import shown

app = group("Bearer tokens for programs, each with a scope: read, operate or admin.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")]


@app.command("list")
def list_tokens(acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """List the tokens that open something: of programs, of the ACS itself, and of users that are logged in."""
    tokens = list(connect(acs, token).items("/tokens"))
    if json:
        output.print_json(tokens)
        return
    rows = [(t["name"], t["scope"], t["user"] or "", shown(t["created"]), t["expires"] or "never") for t in tokens]
    output.print_table(("NAME", "SCOPE", "USER", "MADE", "EXPIRES"), rows, empty="no tokens")


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
def revoke(name: Name, yes: Yes = False, acs: Acs = None, token: Token = None) -> None:
    """End a token: from now on it opens nothing."""
    client = connect(acs, token)
    confirm(f"End the token {name}?", yes=yes)
    client.call("DELETE", f"/tokens/{quoted(name)}")
    print(f"token {name} is ended")
