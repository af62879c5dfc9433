"""`homeport device list`: which devices, in which order, and what of them, as a table, CSV or JSON."""

import heapq
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, Final

import typer

from homeport.cli import output
from homeport.cli.client import RestClient, quoted
from homeport.cli.common import Acs, AsCsv, AsJson, Token, check_known, complete_from, connect, one_of
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
State = Annotated[str | None, one_of("--state", "STATE", STATES)]
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
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="A,B,...",
            help="Order by these fields, such as last_inform or state,model; -last_inform begins with the latest."
            " All devices that fit are read for it. Default: by id.",
            show_default=False,
            autocompletion=complete_from((*COLUMNS, *(f"-{name}" for name in COLUMNS))),
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 100,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List the devices that the ACS knows."""
    chosen, order = _columns(columns), _order(sort)
    where = condition(where, state=state, tags=tag or (), online=online)
    client = connect(acs, token)
    if order:
        devices = heapq.nsmallest(limit, all_devices(client, where), key=lambda device: _Place(device, order))
    else:
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


def all_devices(client: RestClient, where: str | None) -> Iterator[Row]:
    """Every device that fits, in the order of their ids; a person is told that this takes its time."""
    waiting = output.console(stderr=True).status("reading the devices") if sys.stderr.isatty() else nullcontext()
    with waiting:
        yield from client.items("/devices", {"where": where, "limit": 500})


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
    names = listed(text)
    check_known(
        (name for name in names if "." not in name), COLUMNS, "there is no column {} (parameters go by their paths)"
    )
    return names


def _order(text: str) -> tuple[tuple[str, bool], ...]:
    """The fields that --sort lists, each with whether it goes backwards. Raises CliError for one that devices have not."""
    order = tuple((name.removeprefix("-"), name.startswith("-")) for name in listed(text))
    check_known((name for name, _ in order), COLUMNS, "devices are not sorted by {}")
    return order


def listed(text: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


class _Place:
    """Where a device stands in an order: field by field, numbers in texts as numbers (2.10 behind 2.9), nothing before anything."""

    __slots__ = ("_keys",)

    def __init__(self, device: Row, order: Sequence[tuple[str, bool]]) -> None:
        self._keys = [(_natural(_cell(name, device.get(name), _as_it_is)), backwards) for name, backwards in order]

    def __lt__(self, other: "_Place") -> bool:
        for (mine, backwards), (theirs, _) in zip(self._keys, other._keys, strict=True):
            if mine != theirs:
                return (theirs < mine) if backwards else (mine < theirs)
        return False


def _as_it_is(moment: Any) -> str:
    """A time with all that REST tells of it; nothing for never."""
    return str(moment or "")


def _natural(text: str) -> tuple[str | int, ...]:
    """A text to sort by: what is between numbers, a number, and so on, so that like is compared with like."""
    return tuple(int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", text))


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
