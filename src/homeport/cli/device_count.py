"""`homeport device count`: what a fleet is made of."""

from collections import Counter
from typing import Annotated, Any, Final

import typer

from homeport.cli import output
from homeport.cli.common import Acs, AsCsv, AsJson, Token, check_known, complete_from, connect
from homeport.cli.device_list import COLUMNS, Offline, State, Tags, Where, all_devices, condition, listed
from homeport.cli.exits import CliError, ExitCode

_OWN: Final = (
    "id",
    "serial_number",
    "connection_request_url",
    "first_seen",
    "last_inform",
    "last_boot",
    "last_bootstrap",
)
BY: Final = tuple(name for name in COLUMNS if name not in _OWN)
"""What devices can be counted by: fields that many have in common."""


def count_devices(
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="A,B,...",
            help="Fields that make a group, such as model,software_version or state,online.",
            autocompletion=complete_from(BY),
        ),
    ] = "model,software_version",
    where: Where = None,
    state: State = None,
    tag: Tags = None,
    online: Offline = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """Count devices by what they have in common, the most frequent first."""
    names = _fields(by)
    chosen = condition(where, state=state, tags=tag or (), online=online)
    client = connect(acs, token)
    counts: Counter[tuple[Any, ...]] = Counter()
    for device in all_devices(client, chosen):
        counts[tuple(_kept(device.get(name)) for name in names)] += 1
    rows = sorted(counts.items(), key=lambda row: (-row[1], [_word(value) for value in row[0]]))
    if json:
        output.print_json([{**dict(zip(names, group, strict=True)), "devices": n} for group, n in rows])
        return
    heads = [*(name.upper().replace("_", " ") for name in names), "DEVICES"]
    empty = "no devices" if chosen is None else "no device fits the condition"
    output.print_table(heads, [(*map(_word, group), str(n)) for group, n in rows], empty=empty, csv=csv)
    if not csv and rows:
        output.note(output.counted(counts.total(), "device"))


def _fields(text: str) -> tuple[str, ...]:
    """The names that --by lists. Raises CliError for one that makes no groups."""
    names = listed(text)
    check_known(names, BY, "devices are not counted by {}")
    if not names:
        raise CliError("say by what: --by model", ExitCode.USAGE)
    return names


def _kept(value: Any) -> Any:
    """A value of a field as part of a key."""
    return tuple(sorted(value)) if isinstance(value, list) else value


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(value)
    return "" if value is None else str(value)
