"""Options and deeds that the verbs `device` and `task` share: which ACS, which device, wait for a task, show its outcome."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Final

import typer

from homeport.cli import output
from homeport.cli.client import ENDED, RestClient, find_acs, quoted
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.faults import fault_lines, of_the_device
from homeport.cli.schedule import schedule

_COMMON = "Common options"

Acs = Annotated[
    str | None,
    typer.Option(
        "--acs",
        envvar="HOMEPORT_ACS",
        metavar="URL",
        help="REST address of the ACS; default: the one running here.",
        rich_help_panel=_COMMON,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="HOMEPORT_TOKEN",
        metavar="TOKEN",
        help="Bearer token; default: admin.token of the ACS running here.",
        rich_help_panel=_COMMON,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to go on.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.", rich_help_panel=_COMMON)]
AsCsv = Annotated[
    bool, typer.Option("--csv", help="Print comma-separated values, for a spreadsheet.", rich_help_panel=_COMMON)
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait", metavar="SECONDS", help="How long to wait for the outcome; 0 queues the task and leaves.", min=0
    ),
]
Later = Annotated[
    bool,
    typer.Option("--no-connection-request", help="Do not ask the device to come; the task waits for its next contact."),
]


def complete_device(incomplete: str) -> list[str]:
    """Ids and serial numbers that begin so, for the TAB key; nothing where the ACS cannot be asked quickly."""
    try:
        client = find_acs(os.environ.get("HOMEPORT_ACS"), os.environ.get("HOMEPORT_TOKEN"))
        where = f"startswith(id, {incomplete!r}) or startswith(serial_number, {incomplete!r})" if incomplete else None
        found = list(client.items("/devices", {"where": where}, limit=50))
    except CliError:
        return []  # a shell that completes has no place for an error
    ids = [str(d["id"]) for d in found if str(d["id"]).startswith(incomplete)]
    return ids or [str(d["serial_number"]) for d in found]


def complete_names(listing: str) -> Callable[[str], list[str]]:
    """Names in a listing of the ACS, such as `/files`, that begin so, for the TAB key."""

    def complete(incomplete: str) -> list[str]:
        try:
            client = find_acs(os.environ.get("HOMEPORT_ACS"), os.environ.get("HOMEPORT_TOKEN"))
            found = client.items(listing, limit=500 if listing == "/files" else None)
            return [str(row["name"]) for row in found if str(row["name"]).startswith(incomplete)]
        except CliError:
            return []

    return complete


def complete_from(words: Iterable[str]) -> Callable[[str], list[str]]:
    """What of these words begins so, for the TAB key."""
    known = tuple(words)
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def one_of(flag: str, metavar: str, words: Iterable[str], more: str = ".") -> Any:
    """An option that takes one of these words: its help and the TAB key name them. more: how the help goes on."""
    known = tuple(words)
    said = f"One of {', '.join(known)}{more}"
    return typer.Option(flag, metavar=metavar, help=said, show_default=False, autocompletion=complete_from(known))


def check_known(given: Iterable[str], known: Iterable[str], refusal: str) -> None:
    """Raise CliError for the first word that is not known. refusal: the sentence, with {} where the word stands."""
    there = tuple(known)
    for word in given:
        if word not in there:
            raise CliError(f"{refusal.format(repr(word))}; there are {', '.join(there)}", ExitCode.USAGE)


RPCS: Final = (
    *("GetRPCMethods", "SetParameterValues", "GetParameterValues", "GetParameterNames", "SetParameterAttributes"),
    *("GetParameterAttributes", "AddObject", "DeleteObject", "Reboot", "Download", "Upload", "ScheduleInform"),
    *("FactoryReset", "GetQueuedTransfers", "GetAllQueuedTransfers", "ScheduleDownload", "CancelTransfer"),
    *("ChangeDUState", "SetVouchers", "GetOptions", "Refresh"),
)
"""What a device can be asked for, for the TAB key; the ACS decides."""

Device = Annotated[
    str,
    typer.Argument(
        metavar="DEVICE",
        help="Device id, its serial number, or an unambiguous end of the id.",
        autocompletion=complete_device,
    ),
]
DeviceOrAll = Annotated[
    str | None,
    typer.Argument(
        metavar="DEVICE",
        help="Device id, its serial number, or an unambiguous end of the id; all devices where left out.",
        autocompletion=complete_device,
        show_default=False,
    ),
]

Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many, newest first.")]

DEFAULT_WAIT = 60.0


def group(help: str) -> typer.Typer:
    """A typer application for one verb with sub-verbs; alone it prints its help."""
    return typer.Typer(
        no_args_is_help=True, help=help, rich_markup_mode="rich", add_completion=False, pretty_exceptions_enable=False
    )


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the person says yes. Raises CliError where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{question} Nobody is here to ask; say --yes to go on", ExitCode.USAGE)
    if not typer.confirm(question):
        raise CliError("nothing was done")


def tell(sentence: str, result: Any, *, json: bool) -> None:
    """What a command has done: in a sentence, or on request the thing as it is now, as JSON."""
    if json:
        output.print_json(result)
    else:
        print(sentence)


def ask_password(question: str, *, otherwise: str = "give it with --password or its variable") -> str:
    """What the person types, unseen. otherwise: what to do where nobody can be asked. Raises CliError with that."""
    if not sys.stdin.isatty():
        raise CliError(f"{question}: nobody is here to ask; {otherwise}", ExitCode.USAGE)
    return str(typer.prompt(question, hide_input=True))


def connect(acs: str | None, token: str | None) -> RestClient:
    """The client for the options --acs and --token."""
    return find_acs(acs, token)


def resolve(client: RestClient, text: str) -> str:
    """The id of the one device that text names: its id, its serial number, or an unambiguous end of its id.

    Raises CliError with the candidates where there are several.
    """
    try:
        return str(client.get(f"/devices/{quoted(text)}")["id"])
    except CliError as e:
        if e.code != ExitCode.FAILED:
            raise
    where = f"serial_number == {text!r} or endswith(id, {text!r})"
    candidates = list(client.items("/devices", {"where": where}, limit=6))
    exact = [c for c in candidates if c.get("serial_number") == text]
    chosen = [str(c["id"]) for c in (exact if len(exact) == 1 else candidates)]
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        alike = [str(d["id"]) for d in client.items("/devices", {"where": f"contains(id, {text!r})"}, limit=3)]
        hint = f" (with {text!r} in its id there is {', '.join(alike)})" if alike else ""
        raise CliError(f"no device {text!r}{hint}; see which there are: homeport device list")
    shown = ", ".join(chosen[:5]) + (" ..." if len(chosen) > 5 else "")
    raise CliError(f"{text!r} fits several devices: {shown}; give more of the id", ExitCode.USAGE)


def run_task(
    client: RestClient, device: str, rpc: str, args: dict[str, Any], *, wait: float, knock: bool
) -> dict[str, Any]:
    """The task after waiting for its outcome; with wait=0 as it was queued. When it is done, `schedule()` says."""
    when = schedule()
    task = client.start_task(device, rpc, args, key=when.key, connection_request=knock, **when.wishes())
    return wait_for(client, task, wait=wait, knocked=knock)


def wait_for(client: RestClient, task: dict[str, Any], *, wait: float, knocked: bool = True) -> dict[str, Any]:
    """The task when it has ended or the time is over; on a terminal a line says what is being waited for."""
    started = time.monotonic()
    try:
        with _spinner() as status:
            for latest in client.follow(task, seconds=wait):
                task = latest
                if status is not None:
                    status.update(f"{_waiting_for(task, knocked)} ({time.monotonic() - started:.0f} s)")
    except KeyboardInterrupt:
        output.note(
            f"task {task['id']} stays queued; follow it: homeport task wait {task['id']} - or drop it: homeport task cancel {task['id']}"
        )
        raise
    return task


def _spinner() -> AbstractContextManager[Any]:
    if not sys.stderr.isatty():
        return nullcontext(None)
    return output.console(stderr=True).status("queued")


def _waiting_for(task: dict[str, Any], knocked: bool) -> str:
    rpc, device = task["rpc"], task["device"]
    if task["status"] == "running":
        if served := task.get("served"):
            return f"{rpc}: {device} {_fetched(served)}"
        ends = {"transfer": "its report of the end", "restart": "it to come back"}.get(str(task.get("phase")))
        return f"{rpc}: accepted by {device}, waiting for {ends}" if ends else f"{rpc}: running on {device}"
    asked = task.get("connection_request")
    if isinstance(asked, dict) and asked.get("ok") is False:
        reason = asked.get("reason") or "no reason known"
        return f"{rpc}: queued; the device did not take the connection request ({reason}), waiting for it to come"
    if knocked:
        return f"{rpc}: queued, connection request sent, waiting for {device} to come"
    return f"{rpc}: queued, waiting for the next contact of {device}"


def _fetched(served: dict[str, int]) -> str:
    """How far it is with the file."""
    sent, size = served["sent"], served["size"]
    if sent >= size:
        return f"has all {size} bytes, waiting for its report of the end"
    return f"fetches the file: {sent} of {size} bytes ({100 * sent // max(1, size)} %)"


def outcome(task: dict[str, Any], *, json: bool, wait: float) -> int:
    """The exit code for a task; prints the task as JSON on request, else what went wrong, if anything did."""
    if json:
        output.print_json(task)
    status = task["status"]
    code = ExitCode.OK if status == "done" else ExitCode.FAILED
    if status == "failed" and task.get("fault") and of_the_device(task["fault"]):
        code = ExitCode.FAULT
    if status not in ENDED:
        if wait > 0:
            code = ExitCode.TIMEOUT
        else:
            code = ExitCode.OK
            if not json:
                print(f"task {task['id']} is {status}; follow it: {output.program()} task wait {task['id']}")
    if code != ExitCode.OK and not json:
        _complain(task, wait)
    return int(code)


def _complain(task: dict[str, Any], wait: float) -> None:
    status, fault = task["status"], task.get("fault")
    if status == "failed" and fault:
        first, *more = fault_lines(fault)
        if of_the_device(fault):
            output.error(f"{task['device']} answered {task['rpc']} with {first}")
        else:
            output.error(f"{task['rpc']} of {task['device']} has failed: {first}; see homeport task show {task['id']}")
        for line in more:
            output.note(line)
        return
    say = {
        "unknown": "the session broke after the request was sent; the ACS finds out at the next contact whether it was done",
        "expired": "the device did not come before the task expired",
        "cancelled": "somebody cancelled it",
        "failed": "it failed without a fault from the device",
    }
    if status in say:
        output.error(
            f"task {task['id']} ({task['rpc']}) is {status}: {say[status]}; see homeport task show {task['id']}"
        )
    else:
        asked = task.get("connection_request") or {}
        why = (
            f" (the device did not take the connection request: {asked.get('reason')})"
            if asked.get("ok") is False
            else ""
        )
        cure = f"follow it: homeport task wait {task['id']}"
        output.error(f"task {task['id']} ({task['rpc']}) is still {status} after {wait:g} s{why}; {cure}")
