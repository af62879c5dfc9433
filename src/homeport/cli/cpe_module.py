"""`homeport cpe module`: software modules on the device itself; install, update, start, stop, remove.

The ACS is told of changes made here where its DUStateChangeComplPolicy wants to know.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, Yes, confirm, group
from homeport.cli.cpe_ask import StateDir, ask
from homeport.cli.exits import CliError, ExitCode

module = group("Software modules on this device: install, update, start, stop, remove.")

Name = Annotated[
    str, typer.Argument(metavar="MODULE", help="A deployment unit: its name, DUID or UUID (see `module list`).")
]
Unit = Annotated[
    str, typer.Argument(metavar="UNIT", help="An execution unit: its name, or DUID.NAME (see `module list`).")
]
Env = Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="An execution environment, for example native.")]
Wait = Annotated[float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for the end.")]

DEFAULT_WAIT = 600.0
LOOK = 0.2
"""Seconds between looks whether it is done."""


@module.command("list")
def list_modules(state_dir: StateDir = None, json: AsJson = False) -> None:
    """Execution environments, what is installed in them, and what runs."""
    found = _ask(state_dir, "modules")
    if json:
        output.print_json(found)
        return
    environments = [
        (e["name"], e["status"], str(e["run_level"]), _kib(e.get("available_disk", -1)), e["problem"] or e["type"])
        for e in found["environments"]
    ]
    output.print_table(("ENVIRONMENT", "STATUS", "RUN LEVEL", "DISK LEFT", "TYPE"), environments)
    units = found["deployment_units"]
    print()
    rows = [(u["duid"], u["name"], u["version"], u["status"], u["environment"], u["uuid"]) for u in units]
    output.print_table(("DUID", "MODULE", "VERSION", "STATUS", "ENVIRONMENT", "UUID"), rows, empty="nothing installed")
    running = [_unit_row(row) for u in units for row in u["units"]]
    if running:
        print()
        output.print_table(("UNIT", "STATUS", "SINCE", "MEMORY", "TROUBLE"), running)
    for request in found["requests"]:
        what = ", ".join(f"{o['kind']} {o['url']}".strip() for o in request["operations"])
        who = "asked for here" if request["autonomous"] else f"asked for by the ACS, key {request['command_key']!r}"
        output.note(f"under way: {what} ({who}, {request['at']} of {len(request['operations'])} done)")


@module.command()
def install(
    package: Annotated[str, typer.Argument(metavar="PACKAGE", help="A file on this device, or a URL.")],
    uuid: Annotated[
        str, typer.Option("--uuid", metavar="UUID", help="Its UUID; default the package's own, or one of its name.")
    ] = "",
    environment: Annotated[
        str, typer.Option("--environment", metavar="NAME", help="Where; default the first that takes the package.")
    ] = "",
    username: Annotated[str, typer.Option("--username", metavar="NAME", help="For the file server.")] = "",
    password: Annotated[str, typer.Option("--password", metavar="TEXT", help="For the file server.")] = "",
    wait: Wait = DEFAULT_WAIT,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Install a package: `homeport cpe module install hello.tar.gz`."""
    operation = {
        "kind": "Install",
        "url": _url(package),
        "uuid": uuid,
        "environment": environment,
        "username": username,
        "password": password,
    }
    _change(operation, wait, state_dir, json)


@module.command()
def update(
    name: Annotated[str, typer.Argument(metavar="MODULE", help="Name, DUID or UUID; every module when left out.")] = "",
    package: Annotated[
        str, typer.Option("--from", metavar="PACKAGE", help="A file or URL; default where it came from.")
    ] = "",
    wait: Wait = DEFAULT_WAIT,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Bring a module to a newer version."""
    operation = {"kind": "Update", "name": name, "url": _url(package) if package else ""}
    if package and not name:
        raise CliError("--from updates one module; name it: homeport cpe module update NAME --from ...", ExitCode.USAGE)
    _change(operation, wait, state_dir, json)


@module.command()
def uninstall(
    name: Name, yes: Yes = False, wait: Wait = DEFAULT_WAIT, state_dir: StateDir = None, json: AsJson = False
) -> None:
    """Remove a module with its data."""
    confirm(f"Remove {name} with everything that it has stored?", yes=yes)
    _change({"kind": "Uninstall", "name": name}, wait, state_dir, json)


@module.command()
def start(unit: Unit, state_dir: StateDir = None) -> None:
    """Start an execution unit."""
    _state(unit, True, state_dir)


@module.command()
def stop(unit: Unit, state_dir: StateDir = None) -> None:
    """Stop an execution unit."""
    _state(unit, False, state_dir)


@module.command()
def enable(environment: Env, state_dir: StateDir = None) -> None:
    """Enable an execution environment: what starts by itself is started."""
    _ask(state_dir, "module-environment", environment=environment, enable=True)
    print(f"{environment} is enabled")


@module.command()
def disable(environment: Env, state_dir: StateDir = None) -> None:
    """Disable an execution environment: everything in it is stopped; what is installed stays."""
    _ask(state_dir, "module-environment", environment=environment, enable=False)
    print(f"{environment} is disabled")


@module.command()
def log(unit: Unit, state_dir: StateDir = None) -> None:
    """What an execution unit has printed."""
    for line in _ask(state_dir, "module-log", unit=unit):
        print(line)


def _ask(state_dir: Path | None, verb: str, **args: Any) -> Any:
    """The agent's answer. Raises CliError, also where the agent has no software modules."""
    try:
        return ask(state_dir, verb, **args)
    except CliError as e:
        if not str(e).startswith("unknown verb"):
            raise
        raise CliError(
            "this device has no software modules: its profile lacks SoftwareModules., or module_environments is none "
            "(a profile that has them: module-host)"
        ) from e


def _change(operation: dict[str, str], wait: float, state_dir: Path | None, json: bool) -> None:
    asked = _ask(state_dir, "module-change", operations=[{k: v for k, v in operation.items() if v}])
    results = _results(asked["request"], wait, state_dir)
    if json:
        output.print_json(results)
    failed = False
    for result in results:
        fault = result["fault"]
        failed = failed or bool(fault["fault_code"])
        if not json and not fault["fault_code"]:
            where = f" as {result['deployment_unit_ref']}" if result["deployment_unit_ref"] else ""
            loose = "" if result["resolved"] or not where else "; something that it needs is not installed"
            print(f"{result['uuid']} {result['version']} is {result['current_state'].lower()}{where}{loose}")
    if failed:
        told = [r["fault"] for r in results if r["fault"]["fault_code"]]
        raise CliError("; ".join(f"{f['fault_code']} {f['fault_string']}" for f in told), ExitCode.FAULT)


def _results(request: int, wait: float, state_dir: Path | None) -> list[dict[str, Any]]:
    end = time.monotonic() + wait
    while True:
        results: list[dict[str, Any]] | None = _ask(state_dir, "module-result", request=request)
        if results is not None:
            return results
        if time.monotonic() >= end:
            raise CliError("it is still under way; see: homeport cpe module list", ExitCode.TIMEOUT)
        time.sleep(LOOK)


def _state(unit: str, active: bool, state_dir: Path | None) -> None:
    found = _ask(state_dir, "module-state", unit=unit, active=active)
    if found.get("fault", "NoFault") != "NoFault":
        raise CliError(f"{found['unit']}: {found['fault']}: {found['message']}", ExitCode.FAILED)
    print(f"{found.get('unit', unit)} is {found.get('status', 'gone').lower()}")


def _url(package: str) -> str:
    """A URL as it is; a file as the URL of its absolute path."""
    if "://" in package:
        return package
    path = Path(package).expanduser().absolute()
    if not path.is_file():
        raise CliError(f"there is no file {path}; give a package, or a URL such as https://…", ExitCode.USAGE)
    return path.as_uri()


def _unit_row(row: dict[str, Any]) -> tuple[str, ...]:
    since = f"{row['uptime']} s" if row["status"] == "Active" else ""
    trouble = f"{row['fault']}: {row['message']}" if row["fault"] != "NoFault" else ""
    return row["unit"], row["status"], since, _kib(row["memory"]) if row["memory"] > 0 else "", trouble


def _kib(amount: int) -> str:
    if amount < 0:
        return ""
    return f"{amount / 1024:.1f} MiB" if amount < 1 << 20 else f"{amount / (1 << 20):.1f} GiB"
