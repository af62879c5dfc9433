"""`homeport webhook`: programs that an ACS tells of events."""

from typing import Annotated, Any, Final

import typer

from homeport.cli import output
from homeport.cli.client import RestClient, quoted
from homeport.cli.common import (
    Acs,
    AsJson,
    Token,
    Yes,
    check_known,
    complete_names,
    confirm,
    connect,
    group,
    one_of,
    tell,
)
from homeport.cli.device_watch import KINDS
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.when import ago, ahead, shown, told

app = group("Programs that are told of events by signed POSTs.")

MOST_COUNTED: Final = 10_000
"""How far the ACS counts what waits for a webhook."""

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The webhook's name.", autocompletion=complete_names("/webhooks"))
]
Events = Annotated[list[str] | None, one_of("--event", "KIND", KINDS, "; again for more; none: all kinds.")]


@app.command("list")
def list_webhooks(acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """List the webhooks, with what became of the last delivery."""
    hooks = list(connect(acs, token).items("/webhooks"))
    if json:
        output.print_json(hooks)
        return
    rows = [(h["name"], h["url"], ", ".join(h["events"]) or "all", _waiting(h), _last(h)) for h in hooks]
    output.print_table(("NAME", "URL", "EVENTS", "WAITING", "LAST"), rows, empty="no webhooks")


@app.command()
def show(name: Name, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Show one webhook: what waits for it, what became of the last delivery, and when the next is tried."""
    hook = connect(acs, token).get(f"/webhooks/{quoted(name)}")
    if json:
        output.print_json(hook)
        return
    oldest = f", the oldest {ago(hook['waiting_since'])}" if hook["waiting"] else ""
    fields = [
        ("name", hook["name"]),
        ("url", hook["url"]),
        ("events", ", ".join(hook["events"]) or "all"),
        ("state", "on" if hook["enabled"] else f"switched off; switch it on: homeport webhook enable {name}"),
        ("made", told(hook["created"])),
        ("last delivery", told(hook["last"] and hook["last"]["at"])),
        ("taken", _taken(hook)),
        ("waiting", f"{_waiting(hook)}{oldest}" if oldest else "nothing"),
        ("next try", ahead(hook["next_try"]) if hook["next_try"] else ""),
    ]
    output.print_fields([(key, value) for key, value in fields if value])


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
    check_known(event or (), KINDS, "nobody is told of {}")
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
def change(
    name: Name,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Where to POST from now on.")] = None,
    event: Events = None,
    all_events: Annotated[bool, typer.Option("--all-events", help="Tell of events of all kinds.")] = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Change where a webhook posts to, or which events it is told of; what waits goes to the new address, at once."""
    if event and all_events:
        raise CliError("either --event or --all-events", ExitCode.USAGE)
    check_known(event or (), KINDS, "nobody is told of {}")
    given = {"url": url, "events": [] if all_events else event or None}
    body = {key: value for key, value in given.items() if value is not None}
    if not body:
        raise CliError("nothing to change; give --url, --event or --all-events", ExitCode.USAGE)
    hook = connect(acs, token).call("PATCH", f"/webhooks/{quoted(name)}", body=body)
    tell(f"{name} is told of {', '.join(hook['events']) or 'all events'}, at {hook['url']}", hook, json=json)


@app.command()
def ping(name: Name, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Send a test event now and say what came of it."""
    hook = connect(acs, token).call("POST", f"/webhooks/{quoted(name)}/ping")
    last = hook["last"] or {}
    taken = last and not last.get("trouble")
    if taken or json:
        tell(f"{hook['url']} answered {last.get('status')}", hook, json=json)
    if not taken:
        raise CliError(f"{hook['url']} did not take it: {last.get('trouble')}", ExitCode.FAILED)


@app.command()
def enable(name: Name, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Send to a webhook again, at once; also one that rests after failures."""
    _switch(connect(acs, token), name, True, f"webhook {name} is told of events", json=json)


@app.command()
def disable(name: Name, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Send nothing to a webhook for the time being; events of that time are not kept for it."""
    _switch(connect(acs, token), name, False, f"webhook {name} is switched off", json=json)


@app.command()
def remove(name: Name, yes: Yes = False, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Take a webhook away, with what waits for it."""
    client = connect(acs, token)
    confirm(f"Remove the webhook {name}?", yes=yes)
    client.call("DELETE", f"/webhooks/{quoted(name)}")
    tell(f"webhook {name} is removed", {"name": name, "removed": True}, json=json)


def _taken(hook: dict[str, Any]) -> str:
    """Whether the receiver took the last delivery, in words; "" where there was none."""
    last = hook["last"]
    if last is None:
        return ""
    if 200 <= (last["status"] or 0) < 300:
        return f"yes, it answered {last['status']}"
    again = f", {hook['failures']} times in a row" if hook["failures"] > 1 else ""
    return f"no: {last['trouble'] or 'it answered {}'.format(last['status'])}{again}"


def _switch(client: RestClient, name: str, on: bool, sentence: str, *, json: bool) -> None:
    tell(sentence, client.call("PATCH", f"/webhooks/{quoted(name)}", body={"enabled": on}), json=json)


def _waiting(hook: dict[str, Any]) -> str:
    return output.counted(hook["waiting"], "event") + (" or more" if hook["waiting"] >= MOST_COUNTED else "")


def _last(hook: dict[str, Any]) -> str:
    if not hook["enabled"]:
        return "switched off"
    last, dropped = hook["last"], hook.get("dropped")
    said = "nothing yet" if last is None else f"{shown(last['at'])}: {last['trouble'] or last['status']}"
    if dropped is not None:
        said += f"; {dropped['events']} events dropped, last {shown(dropped['at'])}"
    return said
