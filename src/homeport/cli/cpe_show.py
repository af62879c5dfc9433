"""`homeport cpe show`: what the agent does, in words a person at the box can use; `--json` for scripts."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, group
from homeport.cli.cpe_ask import Follow, StateDir, ask, directory, follow
from homeport.cli.cpe_transfer import stage
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.when import ago, ahead

show = group("Show what the agent does: status, configuration, logs, parameters, sessions.")

AGAIN = 1.0
"""Seconds between attempts to reach an agent that restarts, while a log is followed."""


@show.command()
def status(state_dir: StateDir = None, json: AsJson = False) -> None:
    """Whether the ACS is connected, since when or why not, and when the agent contacts it next."""
    try:
        found, running = ask(state_dir, "status"), True
    except CliError as e:
        if e.code != ExitCode.UNREACHABLE:
            raise
        found, running = _last_status(directory(state_dir)), False
        if found is None:
            raise
    if json:
        output.print_json(found | {"running": running})
    else:
        output.print_fields(_status_fields(found, running=running))
    if not running:
        raise CliError(
            f"no agent runs with {directory(state_dir)}; this is what the last one wrote", ExitCode.UNREACHABLE
        )


@show.command()
def config(state_dir: StateDir = None, json: AsJson = False) -> None:
    """The configuration in force: the data model's form and the readable form side by side, then the agent's own settings."""
    found = ask(state_dir, "config")
    if json:
        output.print_json(found)
        return
    print("as the ACS sees it, and in words")
    pairs = [(row["path"], row["value"], row["name"], row["said"]) for row in found["readable"]]
    output.print_table(("PARAMETER", "VALUE", "MEANS", "IS"), pairs)
    print("\nas `cpe set` and `cwmp` name it")
    _print_settings(ask(state_dir, "settings"))
    print("\nas the agent was started")
    rows = [(name, _said(value)) for name, value in found["settings"].items() if value not in (None, "", [])]
    output.print_table(("SETTING", "VALUE"), rows)


@show.command()
def cwmp(state_dir: StateDir = None, json: AsJson = False) -> None:
    """The connection to the ACS under a Vega gateway's names; `cpe set` takes the same."""
    rows = ask(state_dir, "settings")
    if json:
        output.print_json(rows)
        return
    _print_settings(rows)


@show.command()
def plugins(state_dir: StateDir = None, json: AsJson = False) -> None:
    """What gives the device's parameters their life: plug-ins and providers, what they serve, and what fails in them."""
    rows = ask(state_dir, "plugins")
    if json:
        output.print_json(rows)
        return
    table = [
        (
            row["name"],
            str(len(row["serves"])),
            str(len(row["failing"])) if row["failing"] else "none",
            "" if row["restarts"] is None else str(row["restarts"]),
        )
        for row in rows
    ]
    output.print_table(("PLUG-IN", "SERVES", "FAILING", "RESTARTS"), table, empty="the device has no plug-ins")
    for row in rows:
        for failing in row["failing"]:
            print(f"{row['name']}: {failing['path']}: {failing['error']}")


def _print_settings(rows: list[dict[str, Any]]) -> None:
    table = [(row["name"], _setting(row), row["label"], row["parameter"].rpartition(".")[2]) for row in rows]
    output.print_table(("SETTING", "VALUE", "NAME", "PARAMETER"), table)


@show.command("log")
def config_log(state_dir: StateDir = None, follow: Follow = False, json: AsJson = False) -> None:
    """What changed the configuration: when, who, which parameter, from what to what."""
    _log(state_dir, "config", follow=follow, json=json)


@show.command("client-log")
def client_log(state_dir: StateDir = None, follow: Follow = False, json: AsJson = False) -> None:
    """What the ACS asked for, and what was done."""
    _log(state_dir, "client", follow=follow, json=json)


@show.command()
def sessions(
    number: Annotated[
        int | None,
        typer.Argument(metavar="NUMBER", help="The session to show message by message; all in short when left out."),
    ] = None,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """The last sessions with the ACS, or one of them as a ladder."""
    if number is None:
        rows = ask(state_dir, "sessions")
        if json:
            output.print_json(rows)
            return
        table = [
            (
                str(r["number"]),
                ago(r["started"]),
                ", ".join(r["events"]) or "no events",
                str(r["messages"]),
                r["outcome"],
                r["reason"],
            )
            for r in rows
        ]
        output.print_table(
            ("NUMBER", "WHEN", "EVENTS", "MESSAGES", "OUTCOME", "BECAUSE"), table, empty="no session yet"
        )
        return
    record = ask(state_dir, "session", number=number)
    if json:
        output.print_json(record)
        return
    from homeport.cli.decode import show as show_messages
    from homeport.cpe.support import ladder_of

    show_messages((ladder_of(record)[0],), output.console())
    print(f"{record['outcome']}: {record['reason']}")


@show.command()
def support(
    state_dir: StateDir = None,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where the archive goes; - for standard output."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Everything in one archive for whoever helps: status, configuration, logs, parameters, the last sessions; secrets masked."""
    from homeport.cpe.support import CONTENTS, archive, folder, left_behind, written

    rows: list[dict[str, Any]] = []
    try:
        found = ask(state_dir, "support")
        records = [ask(state_dir, "session", number=row["number"]) for row in reversed(found["sessions"])]
        rows = ask(state_dir, "params")
    except CliError as e:
        left = left_behind(directory(state_dir)) if e.code == ExitCode.UNREACHABLE else None
        if left is None:
            raise
        found, records = left
        output.note("no agent runs: this is what the last one left, without configuration and parameters")
    if json:
        output.print_json(found)
        return
    content = archive(found, rows, records)
    if str(out) == "-":
        sys.stdout.buffer.write(content)
        return
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = out or Path(f"{folder(found['status']['device_id'] or 'device')}-{stamp}.tar.gz")
    try:
        written(path, content)
    except OSError as e:
        raise CliError(f"cannot write {path}: {e.strerror}; name another place with --output") from e
    print(f"{path}  {len(content) / 1000:.0f} kB, secrets masked. In it:")
    for name, what in CONTENTS[1:]:
        print(f"  {name:<18} {what}")


@show.command()
def params(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="An object (ending with a dot) or a parameter; everything when left out."),
    ] = "",
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """The device's parameters with type, access and notification."""
    rows = ask(state_dir, "params", path=path)
    if json:
        output.print_json(rows)
        return
    notes = {0: "", 1: "passive", 2: "active"}
    table = [
        (
            r["path"],
            r["value"],
            r["type"],
            "writable" if r["writable"] else "",
            notes.get(r["notification"], str(r["notification"])),
        )
        for r in rows
    ]
    output.print_table(("PATH", "VALUE", "TYPE", "ACCESS", "NOTIFIES"), table, empty="nothing there")


def _last_status(place: Path) -> dict[str, Any] | None:
    import msgspec

    from homeport.cpe.status import load

    found = load(place)
    return msgspec.to_builtins(found) if found is not None else None


def _status_fields(status: dict[str, Any], *, running: bool = True) -> list[tuple[str, str]]:
    connected = {True: "yes", False: "no", None: "not yet"}[status["connected"]]
    if not running:
        connected = f"no agent runs; when it ended: {connected}"
    since = f", since {status['since']} ({ago(status['since'])})" if status.get("since") else ""
    last = status["last_session"] or {}
    fields = [
        ("connected", connected + since),
        ("state", f"{status['state']}: {status['reason']}"),
        ("device", f"{status['device_id']}, profile {status['profile']}"),
        ("ACS", status["acs_url"] or "none known"),
        ("ACS URL from", _url_from(status)),
        (
            "next contact",
            f"{ahead(status['next_contact'])}, {status['next_contact_reason']}"
            if status["next_contact"]
            else "none planned",
        ),
        ("last success", ago(status["last_success"])),
        ("connection requests at", status["connection_request_url"] or "closed"),
        (
            "connection requests",
            f"{status['connection_requests_accepted']} accepted, {status['connection_requests_refused']} refused",
        ),
        ("owed events", ", ".join(status["pending_events"]) or "none"),
        (
            "sessions",
            f"{status['sessions_succeeded']} succeeded, {status['sessions_failed']} failed, retry {status['retry_count']}",
        ),
        ("web page", status.get("web_url") or "not served"),
        ("agent", f"started {ago(status['started'])}" + (f", pid {status['pid']}" if status["pid"] else "")),
    ]
    if last:
        events = ", ".join(last["events"]) or "no events"
        fields.insert(6, ("last session", f"{ago(last['ended'])}, {last['outcome']} ({events}): {last['reason']}"))
    fields += [("DHCP lease", _lease(row)) for row in status.get("leases", ())]
    if status["storage"] != "ok":
        fields.append(("storage", status["storage"]))
    if status.get("network"):
        fields.append(("network", status["network"]))
    fields += [("transfer", _transfer(row)) for row in status.get("transfers", ())]
    return fields


def _url_from(status: dict[str, Any]) -> str:
    """`stored (set by the ACS)`, `DHCP (option 43 of eth0)`, `factory (the factory value of the profile)`."""
    if not status["acs_url"]:
        return "nowhere yet"
    detail = str(status["acs_url_source"]).removeprefix("from ").removeprefix("DHCP ")
    return f"{status.get('acs_url_from') or 'unknown'} ({detail})"


def _lease(row: dict[str, Any]) -> str:
    """One lease in a line: where, what it says, how it came and when."""
    family = " (IPv6)" if row["family"] == 6 else ""
    return f"{row['interface']}{family}: {row['said']}" + (f" {ago(row['received'])}" if row["received"] else "")


def _transfer(row: dict[str, Any]) -> str:
    """One transfer in a line: what it is, how far it is, what came of it."""
    what = f"{row['kind']} of {row['file_type']}, key {row['command_key']!r}, {row['url']}: "
    return what + stage(row)


def _log(state_dir: Path | None, name: str, *, follow: bool, json: bool) -> None:
    """The log on disk; where the directory is another user's, what the agent itself still has of it."""
    from homeport.cpe.journal import read

    place = directory(state_dir)
    lines = read(name, place)
    if follow:
        _follow(state_dir, name, lines, json=json)
        return
    if not lines:
        try:
            lines = ask(state_dir, "log" if name == "config" else "client-log")
        except CliError as e:
            if e.code == ExitCode.UNREACHABLE and not place.is_dir():
                raise CliError(
                    f"no agent has run with {place}; name its directory with --state-dir", ExitCode.UNREACHABLE
                ) from e
            if e.code != ExitCode.UNREACHABLE:
                raise
    if json:
        from homeport.cpe.change_log import entry

        output.print_json([entry(line) for line in lines] if name == "config" else lines)
        return
    for line in lines:
        print(line)


def _follow(state_dir: Path | None, name: str, lines: list[str], *, json: bool) -> None:
    """What is on disk and then every new line, over restarts of the agent, until Ctrl-C. lines: those on disk."""
    run, last, waiting = "", 0, False
    while True:
        try:
            for item in follow(state_dir, "follow", log=name, last=200):
                if "run" in item:
                    if not run:
                        # What this run of the agent wrote comes in a moment.
                        _print_lines(lines[: max(0, len(lines) - item["lines"])], json)
                    if item["run"] != run:
                        run, last = item["run"], 0
                    waiting = False
                elif item["n"] > last:
                    last = item["n"]
                    _print_lines([item["line"]], json)
        except CliError as e:
            if e.code != ExitCode.UNREACHABLE:
                raise
            if not run and not waiting:
                _print_lines(lines, json)
                lines = []
            if not waiting:
                output.note(f"{e}; waiting for it")
            waiting = True
        time.sleep(AGAIN)


def _print_lines(lines: list[str], json: bool) -> None:
    for line in lines:
        if json:
            import msgspec

            from homeport.cpe.change_log import entry

            line = msgspec.json.encode(entry(line)).decode()
        print(line)
    sys.stdout.flush()


def _setting(row: dict[str, Any]) -> str:
    if row["missing"]:
        return "(not on this device)"
    if row["kind"] == "secret":
        return "********" if row["is_set"] else ""
    return str(row["value"])


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(str(item) for item in value) if isinstance(value, list) else str(value)
