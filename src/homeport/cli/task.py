"""`homeport task`: what devices were asked to do, and what became of it."""

from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.client import quoted
from homeport.cli.common import DEFAULT_WAIT, Acs, AsJson, Device, Token, connect, group, outcome, resolve, wait_for
from homeport.cli.faults import fault_lines
from homeport.cli.task_fleet import start, stop
from homeport.cli.when import ago

app = group("Follow and cancel what devices were asked to do; ask many for the same.")
app.command()(start)
app.command()(stop)

TaskId = Annotated[
    str, typer.Argument(metavar="TASK", help="Task id, as `homeport device ...` and `homeport task list` print it.")
]


@app.command("list")
def list_tasks(
    device: Device,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many, newest first.")] = 50,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """List the tasks of one device."""
    client = connect(acs, token)
    tasks = list(client.items(f"/devices/{quoted(resolve(client, device))}/tasks", limit=limit))
    if json:
        output.print_json(tasks)
        return
    output.print_table(
        ("TASK", "RPC", "STATUS", "CREATED", "OUTCOME"), [_row(task) for task in tasks], empty="no tasks"
    )


@app.command()
def show(task: TaskId, acs: Acs = None, token: Token = None, json: AsJson = False) -> None:
    """Show one task: what was asked, by when, and what came of it."""
    found = connect(acs, token).task(task)
    if json:
        output.print_json(found)
        return
    fields = [
        (key, _text(found.get(key)))
        for key in ("id", "device", "rpc", "args", "status", "created", "finished", "result")
    ]
    output.print_fields([(key, value) for key, value in fields if value])
    if found.get("fault"):
        for line in fault_lines(found["fault"]):
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
def cancel(task: TaskId, acs: Acs = None, token: Token = None) -> None:
    """Take a task out of the queue; one that is running on the device is not stopped."""
    connect(acs, token).call("DELETE", f"/tasks/{quoted(task)}")
    print(f"task {task} is cancelled")


def _row(task: dict[str, Any]) -> tuple[str, ...]:
    fault = task.get("fault")
    said = fault_lines(fault)[0] if fault else ""
    return str(task["id"]), task["rpc"], task["status"], ago(task.get("created")), said


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    import msgspec

    return msgspec.json.encode(value).decode()
