"""`homeport cpe doctor`: what keeps the device from its ACS, and what to do about it."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.as_owner import as_owner
from homeport.cli.common import AsJson
from homeport.cli.cpe_ask import StateDir, ask, directory
from homeport.cli.exits import CliError, ExitCode

WAIT = 60.0
"""Seconds for the agent's own look at everything."""


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The agent's configuration file, where none runs.")
    ] = None,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Check what a device needs to reach its ACS: state, disk, clock, DHCP, name, route, TLS, credentials, connection requests.

    A running agent looks itself, with its own settings and rights; no CWMP session is opened. Exit status 0 where nothing failed.
    """
    from homeport.cpe.doctor.local import check_clock

    findings = _found(config, state_dir)
    findings.insert(3, _row(check_clock()))
    good = not any(f["mark"] == "fail" for f in findings)
    if json:
        output.print_json({"ok": good, "findings": findings})
    else:
        for found in findings:
            print(f"{found['mark']:<8}{found['check']:<21}{found['said']}")
            if found["do"]:
                print(f"{'':<29}-> {found['do']}")
    if not good:
        names = ", ".join(f["check"] for f in findings if f["mark"] == "fail")
        raise CliError(f"this device has a problem: {names}", ExitCode.FAILED)


def _found(config: Path | None, state_dir: Path | None) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = ask(state_dir, "doctor", timeout=WAIT)
    except CliError as e:
        if e.code not in (ExitCode.UNREACHABLE, ExitCode.TIMEOUT):
            raise
        silent = str(e) if e.code == ExitCode.TIMEOUT else ""
    else:
        return rows
    from homeport.cli.settings_options import ParsedFlags, load_settings
    from homeport.cpe.config import CpeSettings
    from homeport.cpe.doctor.case import case_of_directory, with_texts
    from homeport.cpe.doctor.examine import examine

    given = {"state_dir": str(directory(state_dir))} if state_dir is not None or config is None else {}
    settings = load_settings(CpeSettings, "cpe", ParsedFlags(given, config))
    with as_owner(settings.directory):
        case = case_of_directory(settings)
    if silent:
        case = with_texts(case, trouble=silent)
    return [_row(finding) for finding in asyncio.run(examine(case))]


def _row(finding: Any) -> dict[str, Any]:
    import msgspec

    row: dict[str, Any] = msgspec.to_builtins(finding)
    return row
