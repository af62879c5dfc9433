"""`homeport user`: people who may log in to an ACS, and the login itself."""

import shlex
from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.client import quoted
from homeport.cli.common import Acs, AsJson, Token, Yes, ask_password, complete_names, confirm, connect, group, tell
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.when import shown, told

app = group("People who may log in to the ACS, each with a role: read, operate or admin.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.", autocompletion=complete_names("/users"))]
Password = Annotated[
    str | None, typer.Option("--password", metavar="TEXT", envvar="HOMEPORT_PASSWORD", help="Default: asked for.")
]
ROLE_HELP = (
    "read: look only; operate: devices, tasks and files; admin: also users, tokens, webhooks and devices' passwords."
)


@app.command("list")
def list_users(acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """List the users."""
    users = list(connect(acs, token).items("/users"))
    if json:
        output.print_json(users)
        return
    rows = [
        (u["name"], u["full_name"], u["role"], "yes" if u["enabled"] else "no", shown(u["last_login"])) for u in users
    ]
    output.print_table(
        ("NAME", "FULL NAME", "ROLE", "ENABLED", "LAST LOGIN"), rows, empty="no users; the admin token opens everything"
    )


@app.command()
def show(name: Name, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Show one user."""
    user = connect(acs, token).get(f"/users/{quoted(name)}")
    if json:
        output.print_json(user)
        return
    fields = [
        ("name", user["name"]),
        ("full name", user["full_name"]),
        ("role", user["role"]),
        ("enabled", "yes" if user["enabled"] else "no"),
        ("made", told(user["created"])),
        ("last login", told(user["last_login"])),
    ]
    output.print_fields([(key, value) for key, value in fields if value])


@app.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help=ROLE_HELP)] = "read",
    full_name: Annotated[str, typer.Option("--full-name", metavar="TEXT")] = "",
    password: Password = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Make a user."""
    client = connect(acs, token)
    chosen = password if password is not None else ask_password(f"Password of {name} (at least 10 characters)")
    body = {"name": name, "password": chosen, "role": role, "full_name": full_name}
    made = client.call("POST", "/users", body=body)
    tell(f"user {made['name']} may log in as {made['role']}: homeport user login {made['name']}", made, json=json)


@app.command()
def change(
    name: Name,
    role: Annotated[str | None, typer.Option("--role", metavar="ROLE", help=ROLE_HELP)] = None,
    full_name: Annotated[str | None, typer.Option("--full-name", metavar="TEXT")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Let the user log in, or no more.")] = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Change a user's role or name, or switch the user off; all logins of a user that may do less end."""
    given = {"role": role, "full_name": full_name, "enabled": enabled}
    body = {key: value for key, value in given.items() if value is not None}
    if not body:
        raise CliError("nothing to change; give --role, --full-name, --enable or --disable", ExitCode.USAGE)
    made = connect(acs, token).call("PATCH", f"/users/{quoted(name)}", body=body)
    tell(f"user {made['name']}: {made['role']}, {'enabled' if made['enabled'] else 'switched off'}", made, json=json)


@app.command()
def passwd(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The user's name; default: whose login it is.")
    ] = None,
    password: Password = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Give yourself another password, or as admin another user; all logins of the user end."""
    client = connect(acs, token)
    if name is None:
        admins = "type it at a terminal, or have an admin do it: homeport user passwd NAME --password TEXT"
        old = ask_password("Your password", otherwise=admins)
        chosen = password if password is not None else ask_password("New password (at least 10 characters)")
        client.call("POST", "/me/password", body={"old_password": old, "password": chosen})
        tell("you have a new password; log in with it", {"changed": True}, json=json)
        return
    chosen = password if password is not None else ask_password(f"New password of {name} (at least 10 characters)")
    changed = client.call("PATCH", f"/users/{quoted(name)}", body={"password": chosen})
    tell(f"user {name} has a new password", changed, json=json)


@app.command()
def remove(name: Name, yes: Yes = False, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Take a user away; all logins end."""
    client = connect(acs, token)
    confirm(f"Remove the user {name}?", yes=yes)
    client.call("DELETE", f"/users/{quoted(name)}")
    tell(f"user {name} is removed", {"name": name, "removed": True}, json=json)


@app.command()
def login(
    name: Name,
    password: Password = None,
    export: Annotated[
        bool, typer.Option("--export", help='Print a line for the shell: eval "$(homeport user login NAME --export)".')
    ] = False,
    acs: Acs = None,
    json: AsJson = False,
) -> None:
    """Log in; the token that it prints opens what the user's role allows, until it ends."""
    client = connect(acs, "none")
    chosen = password if password is not None else ask_password(f"Password of {name}")
    try:
        got: dict[str, Any] = client.call("POST", "/login", body={"name": name, "password": chosen})
    except CliError as e:
        if "does not accept the token" in str(e):
            raise CliError("the name or the password is wrong", ExitCode.REFUSED) from None
        raise
    if json:
        output.print_json(got)
    elif export:
        print(f"export HOMEPORT_ACS={shlex.quote(client.base)} HOMEPORT_TOKEN={shlex.quote(got['token'])}")
    else:
        print(got["token"])
        output.note(f"opens what the role {got['role']} may do, until {told(got['expires'])}")
        output.note("use it with --token, or: export HOMEPORT_TOKEN=...")


@app.command()
def logout(acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """End the login whose token is given by --token or HOMEPORT_TOKEN."""
    connect(acs, token).call("POST", "/logout")
    tell("logged out", {"logged_out": True}, json=json)


@app.command()
def whoami(acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Say who the token belongs to and what it opens."""
    found = connect(acs, token).get("/me")
    if json:
        output.print_json(found)
        return
    kind = "user" if found["user"] else "token"
    fields = [(kind, found["name"]), ("role", found["role"]), ("expires", told(found["expires"]))]
    output.print_fields(fields)
