"""`homeport device`: look at devices and change them, through an ACS.

Every deed is one RPC of the standard, given to the ACS as a task; the command waits for its outcome and shows it.
"""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.client import RestClient, quoted
from homeport.cli.common import (
    DEFAULT_WAIT,
    RPCS,
    Acs,
    AsCsv,
    AsJson,
    Device,
    Later,
    Token,
    Wait,
    Yes,
    complete_from,
    complete_names,
    confirm,
    connect,
    group,
    outcome,
    resolve,
    run_task,
)
from homeport.cli.device_admission import approve, behave, credentials, forget, merge, refuse, rename, tag, untag
from homeport.cli.device_compare import diff
from homeport.cli.device_count import count_devices
from homeport.cli.device_history import events, faults, session, session_row, sessions
from homeport.cli.device_list import list_devices
from homeport.cli.device_watch import watch
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.rpc_args import parse_args
from homeport.cli.schedule import scheduled
from homeport.cli.when import exact, shown, told

RESTART_WAIT = 300.0
"""Seconds: a router takes a minute or three to start."""

app = group("Look at devices and change them, through an ACS.")

ObjectPath = Annotated[str, typer.Argument(metavar="OBJECT", help="Path of an object; it ends with a dot.")]
ParameterKey = Annotated[
    str, typer.Option("--parameter-key", metavar="TEXT", help="Kept by the device in ManagementServer.ParameterKey.")
]
FileUser = Annotated[str, typer.Option("--username", metavar="TEXT", help="For the file server.")]
FilePassword = Annotated[
    str, typer.Option("--password", metavar="TEXT", help="For the file server.", envvar="HOMEPORT_FILE_PASSWORD")
]
Delay = Annotated[int, typer.Option("--delay", metavar="SECONDS", min=0, help="Begin so much later.")]
CommandKey = Annotated[
    str, typer.Option("--command-key", metavar="TEXT", help="Comes back with the event that tells of the end.")
]


app.command("list")(list_devices)
app.command("count")(count_devices)


@app.command()
def show(device: Device, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Show what the ACS knows of one device, with its open tasks and last sessions."""
    client = connect(acs, token)
    found = client.get(f"/devices/{quoted(resolve(client, device))}")
    if json:
        output.print_json(found)
        return
    output.print_fields(
        [(key.replace("_", " "), _field(key, value)) for key, value in found.items() if value not in (None, "", [], {})]
    )
    path = f"/devices/{quoted(found['id'])}"
    tasks = [t for t in client.items(f"{path}/tasks", limit=20) if t["status"] in ("queued", "running", "unknown")]
    if tasks:
        print("\nopen tasks")
        output.print_table(("TASK", "RPC", "STATUS"), [(str(t["id"]), t["rpc"], t["status"]) for t in tasks])
    sessions = list(client.items(f"{path}/sessions", limit=5))
    if sessions:
        print("\nlast sessions")
        output.print_table(("SESSION", "WHEN", "EVENTS", "OUTCOME"), [session_row(s) for s in sessions])
        output.note(f"see one as a ladder: {output.program()} device session {sessions[0]['id']}")


_ADMISSION: tuple[Callable[..., None], ...] = (approve, refuse, tag, untag, behave, credentials, merge, rename, forget)
for verb in _ADMISSION:
    app.command(rich_help_panel="Which devices are managed")(verb)


@app.command()
@scheduled
def get(
    device: Device,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Parameters, or objects (ending with a dot) with all below.")
    ],
    stored: Annotated[
        bool, typer.Option("--stored", help="Show what the ACS has, with its age, without asking the device.")
    ] = False,
    wait: Wait = DEFAULT_WAIT,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """Read parameters from the device."""
    client = connect(acs, token)
    found = resolve(client, device)
    if not stored:
        task = run_task(client, found, "GetParameterValues", {"parameter_names": paths}, wait=wait, knock=not later)
        if json or task["status"] != "done":
            raise typer.Exit(outcome(task, json=json, wait=wait))
        values = (task["result"] or {}).get("parameter_list", [])
        output.print_table(
            ("PATH", "VALUE", "TYPE"),
            [(v["name"], v["value"], v.get("type") or "") for v in values],
            empty="nothing there",
            csv=csv,
        )
        return
    items = [item for path in paths for item in client.items(f"/devices/{quoted(found)}/parameters", {"path": path})]
    if json:
        output.print_json(items)
        return
    rows = [
        (i["path"], i["value"] or "", i.get("type") or "", exact(i.get("updated")) if csv else shown(i.get("updated")))
        for i in items
        if i["value"] is not None
    ]
    output.print_table(
        ("PATH", "VALUE", "TYPE", "READ"),
        rows,
        empty="the ACS has no values there; read them: homeport device refresh DEVICE PATH",
        csv=csv,
    )
    if not items:
        raise typer.Exit(ExitCode.FAILED)


@app.command("set")
@scheduled
def set_values(
    device: Device,
    values: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH=VALUE",
            help="Parameters and their new values; one that the device refuses does not hold up the others.",
        ),
    ],
    parameter_key: ParameterKey = "",
    wait: Wait = DEFAULT_WAIT,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Set parameters on the device; the types are looked up."""
    pairs = [_pair(text) for text in values]
    client = connect(acs, token)
    args: dict[str, Any] = {"parameter_list": [{"name": name, "value": value} for name, value in pairs]}
    if parameter_key:
        args["parameter_key"] = parameter_key
    task = run_task(client, resolve(client, device), "SetParameterValues", args, wait=wait, knock=not later)
    result = task["result"] or {}
    if not json and (task["status"] == "done" or "applied" in result):
        status = result.get("status", 0)
        how = "set" if status == 0 else "accepted; the device applies it later, at the latest with its next restart"
        for name, value in pairs:
            if name in result.get("applied", (name,)):
                print(f"{name} = {value}  {how}")
    raise typer.Exit(outcome(task, json=json, wait=wait))


@app.command()
@scheduled
def names(
    device: Device,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Where to begin; everything when left out.")] = "",
    next_level: Annotated[bool, typer.Option("--next-level", help="Only what is directly below.")] = False,
    wait: Wait = DEFAULT_WAIT,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """List what the device has: parameters and objects, and which are writable."""
    client = connect(acs, token)
    found = resolve(client, device)
    args = {"parameter_path": path or _root(client, found), "next_level": next_level}
    task = run_task(client, found, "GetParameterNames", args, wait=wait, knock=not later)
    if json or task["status"] != "done":
        raise typer.Exit(outcome(task, json=json, wait=wait))
    rows = [(n["name"], "writable" if n["writable"] else "") for n in (task["result"] or {}).get("parameter_list", [])]
    output.print_table(("PATH", "ACCESS"), rows, empty="nothing there")


@app.command()
@scheduled
def add(
    device: Device,
    object_name: ObjectPath,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Parameters of the new instance, set at once.")
    ] = None,
    parameter_key: ParameterKey = "",
    wait: Wait = DEFAULT_WAIT,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Make a new instance of a table on the device: `homeport device add DEVICE Device.Bridging.Bridge.`"""
    pairs = [_pair(text) for text in values or []]
    client = connect(acs, token)
    found = resolve(client, device)
    task = run_task(client, found, "AddObject", _object(object_name, parameter_key), wait=wait, knock=not later)
    if task["status"] != "done" or not pairs:
        if task["status"] == "done" and not json:
            print(f"{object_name}{task['result']['instance_number']}. is made")
        raise typer.Exit(outcome(task, json=json, wait=wait))
    made = f"{object_name}{task['result']['instance_number']}."
    output.note(f"{made} is made")
    set_values(found, [f"{made}{n}={v}" for n, v in pairs], parameter_key, wait, later, acs, token, json)


@app.command()
@scheduled
def delete(
    device: Device,
    object_name: ObjectPath,
    parameter_key: ParameterKey = "",
    wait: Wait = DEFAULT_WAIT,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Delete an instance on the device: `homeport device delete DEVICE Device.Bridging.Bridge.2.` (see also: forget)"""
    client = connect(acs, token)
    _deed(
        client,
        device,
        "DeleteObject",
        _object(object_name, parameter_key),
        f"{object_name} is deleted",
        wait,
        later,
        json,
    )


@app.command()
@scheduled
def refresh(
    device: Device,
    path: Annotated[str, typer.Argument(metavar="PATH", help="What to read; everything when left out.")] = "",
    wait: Wait = DEFAULT_WAIT,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Read parameters from the device into the ACS, so that lists and conditions show the present state."""
    client = connect(acs, token)
    found = resolve(client, device)
    task = run_task(client, found, "Refresh", {"path": path} if path else {}, wait=wait, knock=not later)
    if task["status"] == "done" and not json:
        told = task["result"] or {}
        print(f"{told.get('names', 0) - len(told.get('refused', ()))} parameters of {found} are up to date")
        for name in told.get("refused", ()):
            output.note(f"the device lists {name}, but does not give its value")
    raise typer.Exit(outcome(task, json=json, wait=wait))


@app.command()
@scheduled
def reboot(
    device: Device,
    command_key: CommandKey = "",
    yes: Yes = False,
    wait: Wait = RESTART_WAIT,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Reboot the device; done means that it has told of its restart."""
    client = connect(acs, token)
    found = resolve(client, device)
    confirm(f"Reboot {found}?", yes=yes)
    _deed(client, found, "Reboot", {"command_key": command_key}, f"{found} has restarted", wait, later, json)


@app.command("factory-reset")
@scheduled
def factory_reset(
    device: Device,
    yes: Yes = False,
    wait: Wait = RESTART_WAIT,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Set the device back to its factory configuration, which may lose its way to this ACS; done means that it has told of it."""
    client = connect(acs, token)
    found = resolve(client, device)
    confirm(f"Reset {found} to its factory configuration?", yes=yes)
    _deed(client, found, "FactoryReset", {}, f"{found} has its factory configuration", wait, later, json)


@app.command()
@scheduled
def rpc(
    device: Device,
    name: Annotated[
        str,
        typer.Argument(
            metavar="RPC",
            help="A method of the standard, for example GetParameterAttributes.",
            autocompletion=complete_from(RPCS),
        ),
    ],
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARG",
            help="NAME=VALUE with the standard's names in snake_case, values as JSON or text; or one JSON object.",
        ),
    ] = None,
    wait: Wait = DEFAULT_WAIT,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Call any method of the device: `homeport device rpc DEVICE ScheduleInform delay_seconds=60 command_key=later`."""
    arguments = parse_args(args or [])
    client = connect(acs, token)
    task = run_task(client, resolve(client, device), name, arguments, wait=wait, knock=not later)
    told = task["result"] or {}
    if not json and (task["status"] == "done" or "results" in told):  # of several operations some may have gone well
        output.print_json(task["result"])
    raise typer.Exit(outcome(task, json=json, wait=wait))


@app.command()
@scheduled
def download(
    device: Device,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL",
            help="Name of a file stored at the ACS, or a URL that the device can reach.",
            autocompletion=complete_names("/files"),
        ),
    ],
    file_type: Annotated[
        str,
        typer.Option(
            "--file-type",
            metavar="TYPE",
            help="As the standard names it; default: the stored file's, else 1 Firmware Upgrade Image.",
            show_default=False,
        ),
    ] = "",
    target_file_name: Annotated[
        str, typer.Option("--target-file-name", metavar="NAME", help="Name on the device.")
    ] = "",
    username: FileUser = "",
    password: FilePassword = "",
    delay_seconds: Delay = 0,
    command_key: CommandKey = "",
    wait: Wait = 600.0,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Have the device fetch a file: firmware, configuration, ...; done means that the device has reported the end."""
    stored = "://" not in source
    arguments: dict[str, Any] = {"file" if stored else "url": source}
    client = connect(acs, token)
    if not file_type:
        kept = client.get(f"/files/{quoted(source)}")["file_type"] if stored else ""
        file_type = kept or "1 Firmware Upgrade Image"
    given = {
        "file_type": file_type,
        "target_file_name": target_file_name,
        "username": username,
        "password": password,
        "delay_seconds": delay_seconds,
    }
    arguments |= {key: value for key, value in (given | {"command_key": command_key}).items() if value}
    _deed(client, device, "Download", arguments, f"{source} is on the device", wait, later, json)


@app.command()
@scheduled
def upload(
    device: Device,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="Where the device shall send the file (HTTP PUT); default: to the ACS, which keeps it.",
        ),
    ] = "",
    name: Annotated[
        str,
        typer.Option("--name", metavar="NAME", help="How the ACS shall call the file; default: after device and time."),
    ] = "",
    file_type: Annotated[
        str, typer.Option("--file-type", metavar="TYPE", help="As the standard names it.")
    ] = "2 Vendor Log File",
    username: FileUser = "",
    password: FilePassword = "",
    delay_seconds: Delay = 0,
    command_key: CommandKey = "",
    wait: Wait = 600.0,
    later: Later = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Have the device send a file: its configuration or its log; done means that the device has reported the end."""
    given: dict[str, Any] = {
        "username": username,
        "password": password,
        "delay_seconds": delay_seconds,
        "command_key": command_key,
    }
    if name and url:
        raise CliError("--name is for files that the ACS keeps; leave out the URL, or the name", ExitCode.USAGE)
    given |= {"url": url, "file": name}
    arguments = {"file_type": file_type} | {key: value for key, value in given.items() if value}
    client = connect(acs, token)
    task = run_task(client, resolve(client, device), "Upload", arguments, wait=wait, knock=not later)
    if task["status"] == "done" and not json:
        print(_sent(task["result"] or {}, url))
    raise typer.Exit(outcome(task, json=json, wait=wait))


_HISTORY: tuple[Callable[..., None], ...] = (watch, diff, sessions, session, events, faults)
for verb in _HISTORY:
    app.command(rich_help_panel="What has happened")(verb)


def _root(client: RestClient, device: str) -> str:
    """Where the device's tree begins: the empty path, which means the same, makes some devices crash."""
    root = client.get(f"/devices/{quoted(device)}").get("root")
    if not root:
        raise CliError(
            "the device has not told of which kind its tree is; give PATH: Device. or InternetGatewayDevice."
        )
    return str(root)


def _deed(
    client: RestClient, device: str, rpc: str, args: dict[str, Any], done: str, wait: float, later: bool, json: bool
) -> None:
    task = run_task(client, resolve(client, device), rpc, args, wait=wait, knock=not later)
    if task["status"] == "done" and not json:
        print(done)
    raise typer.Exit(outcome(task, json=json, wait=wait))


def _sent(result: dict[str, Any], url: str) -> str:
    if url:
        return f"the device has sent its file to {url}"
    if result.get("file"):
        return f"stored as {result['file']}; fetch it: homeport file get {result['file']}"
    return "the device reports success, but no file has come; see its log, or homeport device events"


def _object(name: str, parameter_key: str) -> dict[str, Any]:
    if not name.endswith("."):
        raise CliError(f"{name} is not an object's path; an object ends with a dot: {name}.", ExitCode.USAGE)
    return {"object_name": name} | ({"parameter_key": parameter_key} if parameter_key else {})


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CliError(
            f"{text!r} is not PATH=VALUE; an example that works: Device.ManagementServer.PeriodicInformInterval=900",
            ExitCode.USAGE,
        )
    return name, value


def _field(key: str, value: Any) -> str:
    if key in ("first_seen", "last_inform", "last_boot", "last_bootstrap"):
        return told(value)
    if key == "inform_interval":
        return f"{value} s"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {_field(k, v)}" for k, v in value.items() if v is not None) or "as the standard says"
    return str(value)
