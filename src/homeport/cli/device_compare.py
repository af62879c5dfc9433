"""`homeport device diff`: what differs between the parameters of two devices, or of one device between then and now."""

import json as json_
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.client import RestClient, quoted
from homeport.cli.common import Acs, AsCsv, AsJson, Device, Token, connect, resolve
from homeport.cli.exits import CliError, ExitCode

Values = dict[str, str]
"""Path -> value as text."""


def diff(
    device: Device,
    other: Annotated[
        str,
        typer.Argument(
            metavar="OTHER|FILE",
            help="Another device; or a file that `homeport device get DEVICE PATH --stored --json` has written before.",
        ),
    ],
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", help="Only what is there or below; everything when left out.", show_default=False
        ),
    ] = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """Show which parameters differ between two devices, or between a saved reading and now. Nobody is asked: what the ACS has read counts.

    From a file to the device the changes read from left to right. The exit code is 1 where there are differences.
    """
    client = connect(acs, token)
    this = resolve(client, device)
    below = paths or [""]
    file = Path(other)
    if file.is_file():
        heads, (old, new) = (other, "now"), (_saved(file, below), _stored(client, this, below))
    else:
        that = _other(client, other)
        heads, (old, new) = (this, that), (_stored(client, this, below), _stored(client, that, below))
    changed = [(p, old.get(p), new.get(p)) for p in sorted(old.keys() | new.keys()) if old.get(p) != new.get(p)]
    if json:
        output.print_json([{"path": path, "old": before, "new": after} for path, before, after in changed])
    else:
        rows = [(path, *("(not there)" if v is None else v for v in values)) for path, *values in changed]
        output.print_table(("PATH", *heads), rows, empty=f"no differences in {len(new)} parameters", csv=csv)
    if changed:
        raise typer.Exit(ExitCode.FAILED)


def _other(client: RestClient, other: str) -> str:
    try:
        return resolve(client, other)
    except CliError as e:
        raise CliError(f"{other!r} is no file, and {e}", e.code) from e


def _stored(client: RestClient, device: str, paths: list[str]) -> Values:
    """What the ACS has of the device, below any of the paths. Raises CliError where it has nothing."""
    found: Values = {}
    for path in paths:
        query = {"path": path or None, "limit": 10_000}
        found |= _values(list(client.items(f"/devices/{quoted(device)}/parameters", query)))
    if not found:
        cure = f"read them: {output.program()} device refresh {device} PATH"
        raise CliError(f"the ACS has no values of {device} there; {cure}")
    return found


def _saved(file: Path, paths: list[str]) -> Values:
    """What the file has below any of the paths. Raises CliError for a file that is none of ours."""
    try:
        found = _values(json_.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as e:
        said = f"{file} holds no parameters ({e}); save some: homeport device get DEVICE PATH --stored --json > FILE"
        raise CliError(said, ExitCode.USAGE) from e
    return {path: value for path, value in found.items() if any(_below(path, of) for of in paths)}


def _below(path: str, of: str) -> bool:
    return path == of or (path.startswith(of) if of.endswith(".") or not of else False)


def _values(items: list[dict[str, Any]]) -> Values:
    """The parameters among items of REST; objects have no value."""
    return {str(i["path"]): str(i["value"]) for i in items if i["value"] is not None}
