"""`homeport task start` and `homeport task stop`: one wish for all devices that fit a condition, followed to its end, or taken back."""

import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer

from homeport.cli import output
from homeport.cli.client import ENDED, RESTART, RestClient, in_commands, quoted
from homeport.cli.common import RPCS, Acs, AsJson, Later, Token, Yes, complete_from, confirm, connect
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.faults import fault_line
from homeport.cli.rpc_args import parse_args

Where = Annotated[
    str,
    typer.Option("--where", metavar="EXPR", help='Which devices, for example: model == "797xx" and "gold" in tags.'),
]
LONGEST_CALL = 20.0
"""Seconds that one question after a task waits for its end."""

PAUSE = 0.2
"""Seconds between two questions: an ACS that is being stopped answers at once."""


ONLY_RPC: Final = typer.Option(
    "--rpc", metavar="RPC", help="Only tasks of this method.", show_default=False, autocompletion=complete_from(RPCS)
)


def start(
    rpc: Annotated[
        str,
        typer.Argument(
            metavar="RPC",
            help="A method of the standard, or Refresh, which reads a part of the tree anew.",
            autocompletion=complete_from(RPCS),
        ),
    ],
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARG", help="NAME=VALUE with the standard's names in snake_case; or one JSON object."),
    ] = None,
    where: Where = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many devices.")] = 100_000,
    priority: Annotated[int, typer.Option("--priority", metavar="N", help="Higher first.")] = 0,
    expires_in: Annotated[
        float | None,
        typer.Option(
            "--expires-in", metavar="SECONDS", min=1, help="Not sent any more after this.", show_default=False
        ),
    ] = None,
    key: Annotated[
        str,
        typer.Option(
            "--key", metavar="TEXT", help="Names the job: told again within a day, it goes on where it stopped."
        ),
    ] = "",
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="Follow the tasks for so long; 0 only makes them.")
    ] = 600.0,
    later: Later = False,
    yes: Yes = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Ask all devices that fit a condition for the same: `homeport task start --where 'model == "797xx"' GetRPCMethods`."""
    client = _for(where, acs, token)
    body: dict[str, Any] = {"rpc": rpc, "args": parse_args(args or []), "where": where, "limit": limit}
    body |= {"priority": priority, "expires_in": expires_in, "connection_request": not later}
    if not (yes or rpc.startswith("Get") or rpc == "Refresh"):
        confirm(f"Ask {_which(client, where, limit)} for {rpc}?", yes=False)
    key = key or f"job-{secrets.token_hex(6)}"
    made, refused = _make(client, body, key)
    if not json:
        left = f", {output.counted(len(refused), 'device')} could not be given one" if refused else ""
        print(f"job {key}: {output.counted(len(made), 'task')}{left}")
        for line in refused:
            output.note(f"{line['device']}: {line['error']}")
    ended = _follow(client, made, wait, key, _command(where, key)) if wait else []
    counts = Counter(task["status"] for task in ended)
    open_ = len(made) - sum(counts[status] for status in ENDED)
    if json:
        output.print_json({"key": key, "tasks": ended or made, "refused": refused})
    else:
        for task in ended:
            if task["status"] not in ("done", "queued", "running"):
                said = fault_line(task["fault"]) if task.get("fault") else task["status"]
                print(
                    f"{task['device']}: {task['status']}: {said}" if task.get("fault") else f"{task['device']}: {said}"
                )
        if ended:
            print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
        if open_:
            output.note(f"{open_} still open; take them back: {_command(where, key)}")
    if not made and not refused:
        output.note("no device fits the condition")
    if wait and open_:
        raise typer.Exit(ExitCode.TIMEOUT)
    if refused or any(task["status"] != "done" for task in ended):
        raise typer.Exit(ExitCode.FAULT if not refused else ExitCode.FAILED)


def stop(
    where: Where = "",
    rpc: Annotated[str, ONLY_RPC] = "",
    key: Annotated[str, typer.Option("--key", metavar="TEXT", help="Only tasks of this job of `task start`.")] = "",
    yes: Yes = False,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
) -> None:
    """Take the open tasks of all devices that fit a condition out of their queues."""
    client = _for(where, acs, token)
    which = " ".join(
        filter(None, ("the open", rpc, "tasks", f"of job {key}" if key else "", f"of devices with {where}"))
    )
    confirm(f"Cancel {which}?", yes=yes)
    *lines, end = client.lines("/tasks/cancel", {"where": where, "rpc": rpc, "key": key})
    if json:
        output.print_json({**end, "tasks": lines})
    else:
        print(f"{output.counted(end['cancelled'], 'task')} cancelled")
        for line in lines:
            if "error" in line:
                output.note(f"{line['device']}: {line['error']}")
    if not end["complete"]:
        raise CliError(f"not all were reached: {end['error']}; say it again")
    raise typer.Exit(ExitCode.OK if not end["refused"] else ExitCode.FAILED)


def _for(where: str, acs: str | None, token: str | None) -> RestClient:
    """The client, once it is said which devices are meant. Raises CliError: nobody means all of them by saying nothing."""
    if not where:
        raise CliError("say which devices: --where EXPR; all of them: --where True", ExitCode.USAGE)
    return connect(acs, token)


def _which(client: RestClient, where: str, limit: int) -> str:
    """How many devices fit the condition, and some of them, for the question whether to go on."""
    most = min(500, limit)
    page = client.get("/devices", {"where": where, "limit": most})
    ids = [str(device["id"]) for device in page["items"]]
    if not ids:
        raise CliError("no device fits the condition")
    some = ", ".join(ids[:3]) + (" ..." if len(ids) > 3 else "")
    more = "more than " if page["next"] is not None and most < limit else ""
    return f"{more}{len(ids)} device{'s' if len(ids) > 1 else ''} ({some})"


def _make(client: RestClient, body: dict[str, Any], key: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of devices that have their task, and of those that could not be given one."""
    made: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    with _progress("tasks made", None) as shown:
        for line in client.lines("/tasks", body, headers={"Idempotency-Key": key}):
            if "complete" in line:
                if not line["complete"]:
                    cure = f"the same command with --key {key} goes on"
                    raise CliError(f"{len(made)} tasks are made, then: {line['error']}; {cure}")
                return made, refused
            if "error" in line:
                refused.append(line | {"error": in_commands(line["error"])})
            else:
                made.append(line)
            shown(len(made), "")
    raise CliError(
        f"the ACS stopped after {len(made)} tasks; the same command with --key {key} goes on", ExitCode.UNREACHABLE
    )


def _follow(client: RestClient, made: list[dict[str, Any]], wait: float, key: str, cure: str) -> list[dict[str, Any]]:
    """The tasks when they have ended, or as they are when the time is over. An ACS that is restarted meanwhile is waited for."""
    deadline = time.monotonic() + wait
    heard = time.monotonic()
    tasks: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    try:
        with _progress(f"job {key}", len(made)) as shown:
            for line in made:
                while True:
                    left = deadline - time.monotonic()
                    query = {"wait": round(min(LONGEST_CALL, left), 3)} if left > 0 else None
                    try:
                        task = client.get(f"/tasks/{quoted(line['task'])}", query)
                    except CliError as e:
                        if e.code != ExitCode.UNREACHABLE:
                            raise
                        if time.monotonic() > min(deadline, heard + RESTART):
                            raise CliError(f"{e}; the same command with --key {key} goes on", e.code) from None
                    else:
                        heard = time.monotonic()
                        if task["status"] in ENDED or left <= 0:
                            break
                    time.sleep(PAUSE)
                tasks.append(task)
                counts[task["status"]] += 1
                shown(len(tasks), ", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
    except KeyboardInterrupt:
        output.note(f"the job goes on without you; take back what is open: {cure}")
        raise
    return tasks


def _command(where: str, key: str) -> str:
    import shlex

    return f"{output.program()} task stop --where {shlex.quote(where)} --key {key}"


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Any]:
    """A bar on a terminal, told how many there are and what became of them; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda count, text: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, TimeElapsedColumn(), console=output.console(stderr=True), transient=True) as bar:
        row = bar.add_task(what, total=total, said="")
        yield lambda count, text: bar.update(row, completed=count, said=text)
