"""`homeport cpe`: run the agent on a device, and see and change what it does.

All but `run` talk to the running agent over the socket in its state directory; the logs and the last known status of an agent that
does not run are read from its files.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, Yes, confirm, group
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.settings_help import command_class
from homeport.cli.settings_options import typer_command
from homeport.cli.when import ago, ahead
from homeport.cpe.config import CpeSettings, default_state_dir
from homeport.errors import HomeportError, TransportError

T = TypeVar("T")

app = group("Run the agent on a device (CPE), and see and change what it does.")
show = group("Show what the agent does: status, configuration, logs, parameters.")
app.add_typer(show, name="show")

RUN_HELP = (
    "Run the agent on this device, until Ctrl-C.\n\n"
    "It finds its ACS by --acs-url, else by DHCP option 43 (--option43), else by its profile. See what it does: homeport cpe show status."
)

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        envvar=["HOMEPORT_CPE_STATE_DIR", "HOMEPORT_STATE_DIR"],
        metavar="DIR",
        help="State directory of the agent; default: where `cpe run` has it.",
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on printing new lines until Ctrl-C.")]

CWMP_SETTINGS = {
    "cwmp.acs_url": "ManagementServer.URL",
    "cwmp.acs_username": "ManagementServer.Username",
    "cwmp.acs_password": "ManagementServer.Password",
    "cwmp.periodicinformenable": "ManagementServer.PeriodicInformEnable",
    "cwmp.periodicinforminterval": "ManagementServer.PeriodicInformInterval",
    "cwmp.con_req_username": "ManagementServer.ConnectionRequestUsername",
    "cwmp.con_req_password": "ManagementServer.ConnectionRequestPassword",
    "cwmp.manage_upgrade": "ManagementServer.UpgradesManaged",
}
"""A Vega gateway's setting names -> parameters below the root. Its con_req_url is set by the stack itself, use_dhcp has no parameter."""


def _run(settings: CpeSettings) -> int:
    from homeport.cpe.process import main

    return main(settings)


app.command("run", cls=command_class(CpeSettings, program="cpe", path="cpe run", help=RUN_HELP))(
    typer_command(CpeSettings, "cpe", _run, RUN_HELP)
)


@show.command()
def status(state_dir: StateDir = None, json: AsJson = False) -> None:
    """Whether the ACS is connected, since when or why not, and when the agent contacts it next."""
    try:
        found, running = ask(state_dir, "status"), True
    except CliError as e:
        if e.code != ExitCode.UNREACHABLE:
            raise
        found, running = _last_status(_directory(state_dir)), False
        if found is None:
            raise
    if json:
        output.print_json(found | {"running": running})
    else:
        output.print_fields(_status_fields(found))
    if not running:
        raise CliError(
            f"no agent runs with {_directory(state_dir)}; this is what the last one wrote", ExitCode.UNREACHABLE
        )


@show.command()
def config(state_dir: StateDir = None, json: AsJson = False) -> None:
    """The configuration in force: in the data model's form and in the program's own."""
    found = ask(state_dir, "config")
    if json:
        output.print_json(found)
        return
    print("as the ACS sees it")
    output.print_table(("PARAMETER", "VALUE"), [(name, value) for name, value in found["parameters"].items()])
    print("\nas the agent was started")
    rows = [(name, _said(value)) for name, value in found["settings"].items() if value not in (None, "", [])]
    output.print_table(("SETTING", "VALUE"), rows)


@show.command("log")
def config_log(state_dir: StateDir = None, follow: Follow = False, json: AsJson = False) -> None:
    """What changed the configuration: when, by whom, to what."""
    _log(state_dir, "config", follow=follow, json=json)


@show.command("client-log")
def client_log(state_dir: StateDir = None, follow: Follow = False, json: AsJson = False) -> None:
    """What the ACS asked for, and what was done."""
    _log(state_dir, "client", follow=follow, json=json)


@show.command()
def support(state_dir: StateDir = None) -> None:
    """Status, configuration and both logs in one JSON document, secrets masked: for whoever helps."""
    output.print_json(ask(state_dir, "support"))


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


@app.command()
def get(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Parameters, or objects (ending with a dot) with all below.")
    ],
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Read parameters on the device itself."""
    values = ask(state_dir, "get", paths=paths)
    if json:
        output.print_json(values)
        return
    output.print_table(("PATH", "VALUE"), list(values.items()), empty="nothing there")


@app.command("set-param")
def set_param(
    values: Annotated[
        list[str], typer.Argument(metavar="PATH=VALUE", help="Parameters and their new values; all or none are set.")
    ],
    state_dir: StateDir = None,
) -> None:
    """Set parameters on the device itself, as the person at the box; the ACS is told if it wants to know."""
    _set(state_dir, dict(_pair(text) for text in values))


@app.command("set")
def set_setting(
    values: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE", help="Settings under the names of a Vega gateway: cwmp.acs_url=URL."),
    ],
    state_dir: StateDir = None,
) -> None:
    """Set the connection to the ACS: URL, credentials, periodic contact."""
    pairs = dict(_pair(text) for text in values)
    for name in pairs:
        if name not in CWMP_SETTINGS:
            raise CliError(f"there is no setting {name}; there are {', '.join(CWMP_SETTINGS)}", ExitCode.USAGE)
    root = next(iter(ask(state_dir, "config")["parameters"]), "Device.").split(".")[0]
    _set(state_dir, {f"{root}.{CWMP_SETTINGS[name]}": value for name, value in pairs.items()})


@app.command()
def inform(state_dir: StateDir = None) -> None:
    """Contact the ACS now instead of at the next periodic time."""
    ask(state_dir, "inform")
    print(f"a session begins; see how it went: {output.program()} cpe show status")


@app.command()
def restart(state_dir: StateDir = None) -> None:
    """Start the agent anew; values and owed events stay."""
    ask(state_dir, "restart")
    print("the agent restarts")


@app.command()
def reboot(yes: Yes = False, state_dir: StateDir = None) -> None:
    """Restart as a person at the power switch does: the ACS is told 1 BOOT."""
    confirm("Reboot this device?", yes=yes)
    ask(state_dir, "reboot")
    print("the device reboots")


@app.command("factory-reset")
def factory_reset(yes: Yes = False, state_dir: StateDir = None) -> None:
    """Restore the factory configuration and restart; the ACS is told 0 BOOTSTRAP, 1 BOOT."""
    confirm("Restore the factory configuration of this device?", yes=yes)
    ask(state_dir, "factory-reset")
    print("the device restores its factory configuration and restarts")


def ask(state_dir: Path | None, verb: str, **args: Any) -> Any:
    """The running agent's answer. Raises CliError: UNREACHABLE where none runs there, FAULT or FAILED where it refuses."""
    from homeport.cpe.control import ControlClient

    return _told(lambda: ControlClient(_directory(state_dir)).call(verb, **args))


def _told(act: Callable[[], T]) -> T:
    try:
        return act()
    except TransportError as e:
        raise CliError(str(e), ExitCode.TIMEOUT if e.kind == "timeout" else ExitCode.UNREACHABLE) from e
    except HomeportError as e:
        code = ExitCode.FAULT if str(e)[:4].isdigit() else ExitCode.FAILED
        raise CliError(str(e), code) from e


def _directory(state_dir: Path | None) -> Path:
    return (state_dir or default_state_dir()).expanduser().absolute()


def _last_status(directory: Path) -> dict[str, Any] | None:
    import msgspec

    from homeport.cpe.status import load

    found = load(directory)
    return msgspec.to_builtins(found) if found is not None else None


def _status_fields(status: dict[str, Any]) -> list[tuple[str, str]]:
    connected = {True: "yes", False: "no", None: "not yet"}[status["connected"]]
    last = status["last_session"] or {}
    fields = [
        ("connected", connected),
        ("state", f"{status['state']}: {status['reason']}"),
        ("device", f"{status['device_id']}, profile {status['profile']}"),
        ("ACS", f"{status['acs_url']} ({status['acs_url_source']})" if status["acs_url"] else "none known"),
        (
            "next contact",
            f"{ahead(status['next_contact'])}, {status['next_contact_reason']}"
            if status["next_contact"]
            else "none planned",
        ),
        ("last success", ago(status["last_success"])),
        ("connection requests at", status["connection_request_url"] or "closed"),
        ("owed events", ", ".join(status["pending_events"]) or "none"),
        (
            "sessions",
            f"{status['sessions_succeeded']} succeeded, {status['sessions_failed']} failed, retry {status['retry_count']}",
        ),
        ("agent", f"started {ago(status['started'])}" + (f", pid {status['pid']}" if status["pid"] else "")),
    ]
    if last:
        events = ", ".join(last["events"]) or "no events"
        fields.insert(5, ("last session", f"{ago(last['ended'])}, {last['outcome']} ({events}): {last['reason']}"))
    if status["storage"] != "ok":
        fields.append(("storage", status["storage"]))
    fields += [("transfer", _transfer(row)) for row in status.get("transfers", ())]
    return fields


def _transfer(row: dict[str, Any]) -> str:
    """One transfer in a line: what it is, how far it is, what came of it."""
    what = f"{row['kind']} of {row['file_type']}, key {row['command_key']!r}, {row['url']}: "
    if row["state"] == "completed":
        result = f"failed, {row['fault_code']} {row['fault_string']}" if row["fault_code"] else "done"
        return f"{what}{result}; the ACS is to be told"
    if row["state"] == "queued" and row["due_in"]:
        return f"{what}begins in {row['due_in']:.0f} s"
    if row["state"] != "running":
        return f"{what}{row['state']}"
    if row["total"]:
        return f"{what}{100 * row['done'] // row['total']} % of {row['total'] / 1e6:.1f} MB"
    return f"{what}{row['done'] / 1e6:.1f} MB so far"


def _log(state_dir: Path | None, name: str, *, follow: bool, json: bool) -> None:
    from homeport.cpe.journal import read

    directory = _directory(state_dir)
    if not directory.is_dir():
        raise CliError(f"no agent has run with {directory}; name its directory with --state-dir", ExitCode.UNREACHABLE)
    lines = read(name, directory)
    if json:
        output.print_json(lines)
        return
    for line in lines:
        print(line)
    while follow:
        sys.stdout.flush()
        time.sleep(0.5)
        now = read(name, directory)
        for line in _new_lines(lines, now):
            print(line)
        lines = now


def _new_lines(before: list[str], now: list[str]) -> list[str]:
    """The lines of now behind the last one of before; all of them where the log was put aside meanwhile."""
    if not before:
        return now
    for i in range(len(now) - 1, -1, -1):
        if now[i] == before[-1] and now[max(0, i - 3) : i] == before[-1 - min(i, 3) : -1]:
            return now[i + 1 :]
    return now


def _set(state_dir: Path | None, values: dict[str, str]) -> None:
    answer = ask(state_dir, "set-param", values=values)
    how = "set" if answer["status"] == 0 else "accepted; in force after the next restart"
    for name, value in values.items():
        print(f"{name} = {'********' if 'password' in name.lower() else value}  {how}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CliError(
            f"{text!r} is not NAME=VALUE; an example that works: Device.DeviceInfo.ProvisioningCode=lab", ExitCode.USAGE
        )
    return name, value


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(str(item) for item in value) if isinstance(value, list) else str(value)
