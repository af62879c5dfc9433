"""`homeport device list`: which devices, and what of them, as a table, CSV or JSON."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final

import typer

from homeport.cli import output
from homeport.cli.client import RestClient, quoted
from homeport.cli.common import Acs, AsCsv, AsJson, Token, complete_from, connect
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.when import ago, exact

Row = dict[str, Any]

_TIMES: Final = ("first_seen", "last_inform", "last_boot", "last_bootstrap")
_HEADS: Final = {"id": "DEVICE", "software_version": "SOFTWARE", "last_inform": "LAST SEEN"}
"""What a column is called where that is not its field's name."""

STATES: Final = ("quarantined", "approved", "refused")

_USUAL: Final = ("id", "model", "software_version", "state", "online", "last_inform", "tags", "address")
COLUMNS: Final = (
    *("id", "oui", "product_class", "serial_number", "manufacturer", "model", "hardware_version", "software_version"),
    *("provisioning_code", "state", "online", "tags", "address", *_TIMES, "inform_interval", "connection_request_url"),
    *("connection_request_way", "quirks"),
)
"""The fields of a device that can be a column; parameters can, too, by their paths."""


Where = Annotated[
    str | None,
    typer.Option(
        "--where", metavar="EXPR", help='For example: model == "797xx" and "gold" in tags.', show_default=False
    ),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help=f"One of {', '.join(STATES)}.",
        show_default=False,
        autocompletion=complete_from(STATES),
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="With this tag; given several times, with all of them."),
]
Offline = Annotated[
    bool | None, typer.Option("--online/--offline", help="Heard of lately, or not.", show_default=False)
]


def list_devices(
    where: Where = None,
    state: State = None,
    tag: Tags = None,
    online: Offline = None,
    columns: Annotated[
        str,
        typer.Option(
            "--columns",
            metavar="A,B,...",
            help="Fields and paths of parameters (as last read), such as id,tags,Device.DeviceInfo.UpTime.",
            show_default=False,
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 100,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List the devices that the ACS knows."""
    chosen = _columns(columns)
    where = condition(where, state=state, tags=tag or (), online=online)
    client = connect(acs, token)
    devices = list(client.items("/devices", {"where": where}, limit=limit))
    if json:
        output.print_json(devices)
    else:
        names = chosen or _USUAL
        if not chosen and not csv and output.to_person() and not any(d.get("tags") for d in devices):
            names = tuple(name for name in _USUAL if name != "tags")  # room for what there is
        show: Callable[[Any], str] = exact if csv or not output.to_person() else ago
        heads = [_HEADS.get(name, name if "." in name else name.upper().replace("_", " ")) for name in names]
        empty = (
            "no devices yet: they come when they are told the address that the ACS printed at its start"
            if where is None
            else "no device fits the condition"
        )
        output.print_table(heads, [_cells(client, d, names, show) for d in devices], empty=empty, csv=csv)
        waiting = [d["id"] for d in devices if d.get("state") == "quarantined"]
        if waiting and not csv:
            output.note(f"{len(waiting)} in quarantine; let one in: {output.program()} device approve {waiting[0]}")
    if len(devices) == limit:
        output.note(f"the first {limit}; more with --limit, fewer with --where")


def condition(where: str | None, *, state: str | None, tags: Iterable[str], online: bool | None) -> str | None:
    """The condition of REST that the options say together; None for all devices."""
    parts = [f"({where})"] if where else []
    if state is not None:
        parts.append(f"state == {state!r}")
    parts += [f"{tag!r} in tags" for tag in tags]
    if online is not None:
        parts.append("online" if online else "not online")
    return where if len(parts) == 1 and where else " and ".join(parts) or None


def _columns(text: str) -> tuple[str, ...]:
    """The names that --columns lists; () where it was not given. Raises CliError for a field that there is not."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if "." not in name and name not in COLUMNS:
            there = ", ".join(COLUMNS)
            said = f"there is no column {name!r}; there are {there}, and parameters by their paths"
            raise CliError(said, ExitCode.USAGE)
    return names


def _cells(client: RestClient, device: Row, names: Sequence[str], show: Callable[[Any], str]) -> list[str]:
    return [_parameter(client, device, n) if "." in n else _cell(n, device.get(n), show) for n in names]


def _cell(name: str, value: Any, show: Callable[[Any], str]) -> str:
    if name in _TIMES:
        return show(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return "" if value is None else str(value)


def _parameter(client: RestClient, device: Row, path: str) -> str:
    found = client.get(f"/devices/{quoted(device['id'])}/parameters", {"path": path, "limit": 1})["items"]
    return "" if not found or found[0]["path"] != path else str(found[0]["value"] or "")
