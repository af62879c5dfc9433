"""Verbs of `homeport device` that look back: sessions, one session as a ladder, events, faults."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.client import quoted
from homeport.cli.common import Acs, AsCsv, AsJson, Device, DeviceOrAll, Limit, Token, connect, resolve
from homeport.cli.faults import fault_lines
from homeport.cli.when import exact, shown


def sessions(
    device: Device,
    limit: Limit = 20,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List the sessions that a device has had."""
    client = connect(acs, token)
    found = list(client.items(f"/devices/{quoted(resolve(client, device))}/sessions", limit=limit))
    if json:
        output.print_json(found)
        return
    output.print_table(
        ("SESSION", "WHEN", "EVENTS", "OUTCOME"),
        [session_row(s, exact if csv else shown) for s in found],
        empty="no sessions yet",
        csv=csv,
    )


def session(
    session: Annotated[
        str, typer.Argument(metavar="SESSION", help="Session id, as `homeport device sessions` prints it.")
    ],
    bodies: Annotated[bool, typer.Option("--bodies", help="Print the messages themselves, too.")] = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Show one session as a ladder: who sent what, when."""
    found = connect(acs, token).get(f"/sessions/{quoted(session)}")
    if json:
        output.print_json(found)
        return
    from homeport.cli.ladder import print_session

    print_session(found, bodies=bodies)


def events(
    device: Device,
    limit: Limit = 50,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List what a device has told: the events of its Informs, and its own requests."""
    client = connect(acs, token)
    found = list(client.items(f"/devices/{quoted(resolve(client, device))}/events", limit=limit))
    if json:
        output.print_json(found)
        return
    when = exact if csv else shown
    rows = [(when(e["at"]), _told(e), e.get("command_key") or "", str(e["session"])) for e in found]
    output.print_table(("WHEN", "EVENT", "COMMAND KEY", "SESSION"), rows, empty="no events yet", csv=csv)


def _told(event: dict[str, Any]) -> str:
    """The event's code; for what the ACS itself has seen at the door, what that was."""
    detail = event.get("detail") or {}
    if detail.get("claims"):
        return f"{event['code']}: its credentials came with {detail['claims']}"
    if event["code"] == "LOGIN REFUSED":
        return f"{event['code']}: it came with the login of the group {detail.get('group')}: {detail.get('why')}"
    return str(event["code"])


def faults(
    device: DeviceOrAll = None,
    limit: Limit = 50,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List the faults that a device has answered, or all devices."""
    client = connect(acs, token)
    whose = None if device is None else resolve(client, device)
    found = list(client.items("/faults", {"device": whose}, limit=limit))
    if json:
        output.print_json(found)
        return
    when = exact if csv else shown
    rows = []
    for f in found:
        said = "; ".join(line.strip() for line in fault_lines(f) if "try: " not in line)
        rows.append((when(f["at"]), *((f["device"],) if whose is None else ()), f["rpc"], said))
    heads = ("WHEN", *(("DEVICE",) if whose is None else ()), "RPC", "FAULT")
    output.print_table(heads, rows, empty="no faults", csv=csv)


def session_row(session: dict[str, Any], when: Callable[[Any], str] = shown) -> tuple[str, ...]:
    """The cells of one session in a table: id, when, events, outcome."""
    said = session["outcome"] + (
        f": {session['reason']}" if session.get("reason") and session["outcome"] != "success" else ""
    )
    return str(session["id"]), when(session.get("started")), ", ".join(session.get("events") or ()) or "(none)", said
