"""`homeport webhook`: programs that an ACS tells of events."""

from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.client import quoted
from homeport.cli.common import Acs, AsJson, Token, Yes, confirm, connect, group
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.when import shown

app = group("Programs that are told of events by signed POSTs.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The webhook's name.")]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        metavar="KIND",
        help="device, file, inform, request, session, task or values; again for more; none: all.",
    ),
]


@app.command("list")
def list_webhooks(acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """List the webhooks, with what became of the last delivery."""
    hooks = list(connect(acs, token).items("/webhooks"))
    if json:
        output.print_json(hooks)
        return
    rows = [(h["name"], h["url"], ", ".join(h["events"]) or "all", _last(h)) for h in hooks]
    output.print_table(("NAME", "URL", "EVENTS", "LAST"), rows, empty="no webhooks")


@app.command()
def add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to POST.")],
    event: Events = None,
    secret: Annotated[
        str,
        typer.Option(
            "--secret", metavar="TEXT", help="Key of the signature, 16 characters or more; default: one is made."
        ),
    ] = "",
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Make a webhook; the key of its signatures is shown this once."""
    body = {"name": name, "url": url, "events": event or [], "secret": secret}
    made = connect(acs, token).call("POST", "/webhooks", body=body)
    if json:
        output.print_json(made)
        return
    print(made["secret"])
    output.note(
        f"{made['name']} is told of {', '.join(made['events']) or 'all events'}; keep the key, it is not shown again"
    )


@app.command()
def ping(name: Name, acs: Acs = None, token: Token = None) -> None:
    """Send a test event now and say what came of it."""
    hook = connect(acs, token).call("POST", f"/webhooks/{quoted(name)}/ping")
    last = hook["last"] or {}
    if last.get("trouble") or not last:
        raise CliError(f"{hook['url']} did not take it: {last.get('trouble')}", ExitCode.FAILED)
    print(f"{hook['url']} answered {last['status']}")


@app.command()
def enable(name: Name, acs: Acs = None, token: Token = None) -> None:
    """Send to a webhook again, at once; also one that rests after failures."""
    connect(acs, token).call("PATCH", f"/webhooks/{quoted(name)}", body={"enabled": True})
    print(f"webhook {name} is told of events")


@app.command()
def disable(name: Name, acs: Acs = None, token: Token = None) -> None:
    """Send nothing to a webhook for the time being; events of that time are not kept for it."""
    connect(acs, token).call("PATCH", f"/webhooks/{quoted(name)}", body={"enabled": False})
    print(f"webhook {name} is switched off")


@app.command()
def remove(name: Name, yes: Yes = False, acs: Acs = None, token: Token = None) -> None:
    """Take a webhook away, with what waits for it."""
    client = connect(acs, token)
    confirm(f"Remove the webhook {name}?", yes=yes)
    client.call("DELETE", f"/webhooks/{quoted(name)}")
    print(f"webhook {name} is removed")


def _last(hook: dict[str, Any]) -> str:
    if not hook["enabled"]:
        return "switched off"
    last = hook["last"]
    if last is None:
        return "nothing yet"
    return f"{shown(last['at'])}: {last['trouble'] or last['status']}"
