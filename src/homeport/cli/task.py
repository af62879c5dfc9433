"""`homeport task`: what devices were asked to do, and what became of it."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from homeport.acs.records import TaskStatus
from homeport.cli import output
from homeport.cli.client import ENDED, quoted
from homeport.cli.common import (
    DEFAULT_WAIT,
    Acs,
    AsCsv,
    AsJson,
    DeviceOrAll,
    Limit,
    Token,
    check_known,
    connect,
    group,
    one_of,
    outcome,
    resolve,
    tell,
    wait_for,
)
from homeport.cli.faults import fault_line, fault_lines
from homeport.cli.task_fleet import ONLY_RPC, start, stop
from homeport.cli.when import exact, moment, shown, told

app = group("Follow and cancel what devices were asked to do; ask many for the same.")
app.command()(start)
app.command()(stop)

TaskId = Annotated[
    str, typer.Argument(metavar="TASK", help="Task id, as `homeport device ...` and `homeport task list` print it.")
]


@app.command("list")
def list_tasks(
    device: DeviceOrAll = None,
    status: Annotated[
        list[str] | None, one_of("--status", "STATUS", TaskStatus, "; given several times, any of them.")
    ] = None,
    rpc: Annotated[str | None, ONLY_RPC] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="WHEN", help="Only tasks made since: 30min, 2h, 3d (ago), or 2026-11-21T06:00."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Only tasks made before.")] = None,
    limit: Limit = 50,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="TEXT", help="Go on where the page before has ended; it says how.")
    ] = None,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """List the tasks of one device or of all, newest first."""
    check_known(status or (), TaskStatus, "no task has the status {}")
    client = connect(acs, token)
    query: dict[str, Any] = {"rpc": rpc, "cursor": cursor, "status": status or None}
    query |= {name: moment(text) for name, text in (("since", since), ("until", until)) if text}
    if device is not None:
        query["device"] = resolve(client, device)
    tasks, following = client.page("/tasks", query, limit=limit)
    if json:
        output.print_json(tasks)
    else:
        heads = ("TASK", *(() if device else ("DEVICE",)), "RPC", "STATUS", "CREATED", "OUTCOME")
        chosen = any((status, rpc, since, until))
        empty = "no task fits" if chosen else "no tasks"
        rows = [_row(task, exact if csv else shown, of_all=device is None) for task in tasks]
        output.print_table(heads, rows, empty=empty, csv=csv)
    if following is not None:
        output.note(f"there are more: the same again with --cursor {following}, or a greater --limit")


@app.command()
def show(task: TaskId, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Show one task: what was asked, by when, and what came of it."""
    found = connect(acs, token).task(task)
    if json:
        output.print_json(found)
        return
    fields = [(key, told(found[key]) if key in _TIMES and found.get(key) else _text(found.get(key))) for key in _SHOWN]
    if served := found.get("served"):
        fields.append(("bytes sent", f"{served['sent']} of {served['size']}"))
    asked = found.get("connection_request") or {}
    if asked.get("ok") is False and found["status"] not in ENDED:
        fields.append(("connection request", f"not taken: {asked.get('reason')}"))
    more: list[str] = []
    if found.get("fault"):
        first, *more = fault_lines(found["fault"])
        fields.append(("fault", first))
    output.print_fields([(key, value) for key, value in fields if value not in ("", "0")])
    for line in more:
        print(line)


@app.command()
def wait(
    task: TaskId,
    seconds: Annotated[float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long.")] = DEFAULT_WAIT,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Wait until a task has ended; the exit code tells how."""
    client = connect(acs, token)
    ended = wait_for(client, client.task(task), wait=seconds)
    if ended["status"] == "done" and not json:
        print(f"task {ended['id']} ({ended['rpc']}) is done")
    raise typer.Exit(outcome(ended, json=json, wait=seconds or 0.001))


@app.command()
def cancel(task: TaskId, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Take a task out of the queue; one that is running on the device is not stopped."""
    ended = connect(acs, token).call("DELETE", f"/tasks/{quoted(task)}")
    tell(f"task {task} is cancelled", ended, json=json)


_SHOWN = (
    *("id", "device", "rpc", "args", "status", "phase", "priority", "after", "attempts", "created", "started"),
    *("expires", "finished", "result"),
)
_TIMES = ("created", "started", "expires", "finished")


def _row(task: dict[str, Any], time: Callable[[Any], str], *, of_all: bool) -> tuple[str, ...]:
    fault = task.get("fault")
    said = fault_line(fault) if fault else _how(task)
    whose = (str(task["device"]),) if of_all else ()
    return str(task["id"]), *whose, task["rpc"], task["status"], time(task.get("created")), said


def _how(task: dict[str, Any]) -> str:
    """How the end is known, where no answer of the device has told it."""
    result = task.get("result") or {}
    if "cancelled_by" in result:
        return f"called off by the task {result['cancelled_by']}"
    if "settled" in result:
        return f"its answer was lost; settled {result['settled']}"
    return ""


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    import msgspec

    return msgspec.json.encode(value).decode()
