"""`homeport device watch`: what happens at an ACS, line by line as it happens."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import typer

from homeport.cli import output
from homeport.cli.common import Acs, AsJson, DeviceOrAll, Token, check_known, connect, one_of, resolve
from homeport.cli.when import exact, local

KINDS: Final = ("inform", "request", "task", "session", "values", "device", "file")
"""What can happen: a device has come; it has called a method of the ACS; a task has another status; a session has ended; values were
read; a record was changed; a file was stored or taken away."""


def watch(
    device: DeviceOrAll = None,
    kind: Annotated[list[str] | None, one_of("--kind", "KIND", KINDS, "; given several times, any of them.")] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", min=1, help="Leave after so many events.", show_default=False),
    ] = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Follow what happens, as it happens, until Ctrl-C: devices come, tasks end, values change. Nothing is stopped by leaving."""
    check_known(kind or (), KINDS, "nothing of the kind {} happens")
    client = connect(acs, token)
    whose = None if device is None else resolve(client, device)
    if output.to_person() and not json:
        output.note(f"watching {whose or 'all devices'}; leave with Ctrl-C")
    seen = 0
    for event in client.events({"device": whose}):
        if event["kind"] == "away":
            output.note(f"{event['why']}; waiting for it")
        elif event["kind"] == "gap":
            output.note("some events may be missing here")
        elif not kind or event["kind"] in kind:
            _show(event, one_device=whose is not None, json=json)
            seen += 1
            if seen == count:
                return


def _show(event: Mapping[str, Any], *, one_device: bool, json: bool) -> None:
    """One event, on one line, at once: who pipes it further wants it now."""
    if json:
        print(msgspec.json.encode(event).decode(), flush=True)
        return
    now = time.time()
    at = local(now).split(" ")[1] if output.to_person() else exact(now)
    whose = () if one_device else (str(event.get("device") or ""),)
    output.print_line((at, *whose, str(event["kind"]), said(event)), widths=(8, *(() if one_device else (34,)), 7))


def said(event: Mapping[str, Any]) -> str:
    """What happened, in words."""
    match event["kind"]:
        case "inform":
            new = ", new here" if event.get("new") else ""
            return ", ".join(event.get("events") or ()) + new
        case "request":
            return str(event.get("rpc") or "")
        case "task":
            return f"{event.get('rpc')} {event.get('status')} ({event.get('task')})"
        case "session":
            return f"{event.get('outcome')} ({event.get('session')})"
        case "values":
            paths = [str(path) for path in event.get("paths") or ()]
            more = int(event.get("count") or 0) - len(paths[:3])
            return ", ".join(paths[:3]) + (f" and {more} more" if more > 0 else "")
        case "device":
            return _changed(event)
        case "file":
            return f"{event.get('name')} {event.get('what')}"
    return ""


def _changed(event: Mapping[str, Any]) -> str:
    if event.get("deleted"):
        return f"is {event['into']} now" if event.get("into") else "removed"
    if event.get("was"):
        return f"was {event['was']}"
    if event.get("login_refused"):
        return f"login of the group {event.get('group')} refused: {event['login_refused']}"
    if event.get("claims"):
        return f"its credentials came with {event['claims']}"
    return ", ".join(event.get("fields") or ()) + " changed"
