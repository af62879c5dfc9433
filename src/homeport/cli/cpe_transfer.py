"""`homeport cpe transfer`, `confirm`, `refuse` and `request-download`: file transfers from the device's side.

What is begun here was not asked for by the ACS: it is told of it where its AutonomousTransferCompletePolicy wants to know.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, group
from homeport.cli.cpe_ask import StateDir, ask
from homeport.cli.exits import CliError, ExitCode

transfer = group("File transfers on this device: list, begin, stop.")

Url = Annotated[str, typer.Argument(metavar="URL", help="http, https, ftp, sftp or tftp.")]
FileType = Annotated[
    str, typer.Option("--type", metavar="FILE_TYPE", help="As the RPC names it, for example '4 Vendor Log File 1'.")
]
Username = Annotated[str, typer.Option("--username", metavar="NAME", help="For the file server.")]
Password = Annotated[str, typer.Option("--password", metavar="TEXT", help="For the file server.")]
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for the end; 0: do not wait.")
]
Which = Annotated[
    str, typer.Argument(metavar="TRANSFER", help="Its number or CommandKey; not needed where only one asks.")
]

LOOK = 0.2
"""Seconds between looks whether it is done."""


@transfer.command("list")
def list_transfers(state_dir: StateDir = None, json: AsJson = False) -> None:
    """Transfers that wait, run, or have yet to be reported."""
    rows = ask(state_dir, "status")["transfers"]
    if json:
        output.print_json(rows)
        return
    table = [
        (
            str(r["number"]),
            r["kind"],
            r["file_type"],
            stage(r),
            "here" if r["autonomous"] else r["command_key"],
            r["url"],
        )
        for r in rows
    ]
    output.print_table(("NUMBER", "KIND", "FILE TYPE", "STATE", "KEY", "URL"), table, empty="no transfer is under way")


@transfer.command()
def download(
    url: Url,
    file_type: FileType = "1 Firmware Upgrade Image",
    username: Username = "",
    password: Password = "",
    size: Annotated[int, typer.Option("--size", metavar="BYTES", min=0, help="Its size, 0 for unknown.")] = 0,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="The file's name on the device.")] = "",
    wait: Wait = 600.0,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Fetch a file and put it to use: `homeport cpe transfer download https://files.example.com/image.bin`."""
    args = {"file_type": file_type, "username": username, "password": password, "file_size": size, "name": name}
    _begin("download", url, args, wait, state_dir, json)


@transfer.command()
def upload(
    url: Url,
    file_type: FileType = "3 Vendor Configuration File",
    username: Username = "",
    password: Password = "",
    wait: Wait = 600.0,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Send a file of the device: `homeport cpe transfer upload --type '4 Vendor Log File 1' https://files.example.com/log`."""
    args = {"file_type": file_type, "username": username, "password": password}
    _begin("upload", url, args, wait, state_dir, json)


@transfer.command()
def cancel(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="One that was begun here (see `transfer list`).")],
    state_dir: StateDir = None,
) -> None:
    """Stop a transfer that was begun on this device; the ACS cancels its own."""
    ask(state_dir, "transfer-cancel", transfer=number)
    print(f"transfer {number} is cancelled")


def confirm(which: Which = "", state_dir: StateDir = None) -> None:
    """Agree to a download that waits for you (see `show status`)."""
    found = ask(state_dir, "transfer-answer", transfer=which, yes=True)
    print(f"transfer {found['transfer']} may begin")


def refuse(which: Which = "", state_dir: StateDir = None) -> None:
    """Do not agree to a download that waits for you; the ACS is told."""
    found = ask(state_dir, "transfer-answer", transfer=which, yes=False)
    print(f"transfer {found['transfer']} does not begin in this time window")


def request_download(
    file_type: Annotated[str, typer.Argument(metavar="FILE_TYPE", help="For example '1 Firmware Upgrade Image'.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARG=VALUE", help="What the ACS is told besides: Version=2.0.")
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Ask the ACS to send a file (RequestDownload); it answers with a Download, or not."""
    pairs = {}
    for text in arguments or ():
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise CliError(f"{text!r} is not ARG=VALUE, for example Version=2.0", ExitCode.USAGE)
        pairs[name] = value
    ask(state_dir, "request-download", file_type=file_type, arguments=pairs)
    print(f"the ACS is asked for {file_type}")


def stage(row: dict[str, Any]) -> str:
    """How far a transfer is, in a few words."""
    if row["state"] == "completed":
        result = f"failed, {row['fault_code']} {row['fault_string']}" if row["fault_code"] else "done"
        return f"{result}; the ACS is to be told"
    if row["question"]:
        return f"asks: {row['question']} (homeport cpe confirm {row['number']}, or refuse)"
    if row["waits_for"]:
        return "waits until the device is idle"
    if row["state"] == "queued" and row["due_in"]:
        begins = f"begins in {row['due_in']:.0f} s"
        return f"{begins}, for it failed: {row['fault_code']} {row['fault_string']}" if row["fault_code"] else begins
    if row["state"] != "running":
        return str(row["state"])
    if row["total"]:
        return f"{100 * row['done'] // row['total']} % of {row['total'] / 1e6:.1f} MB"
    return f"{row['done'] / 1e6:.1f} MB so far"


def _begin(direction: str, url: str, args: dict[str, Any], wait: float, state_dir: Path | None, json: bool) -> None:
    """Begin it, and wait for its end."""
    number = ask(state_dir, "transfer-start", direction=direction, url=url, **args)["transfer"]
    result = _ended(number, wait, state_dir) if wait else None
    if json:
        output.print_json({"transfer": number, "result": result})
    if result is None:
        if not json:
            print(f"transfer {number} begins; see: homeport cpe transfer list")
        return
    if result["fault_code"]:
        raise CliError(f"{result['fault_code']} {result['fault_string']}", ExitCode.FAULT)
    if not json:
        print(f"the {direction} is done")


def _ended(number: int, wait: float, state_dir: Path | None) -> dict[str, Any]:
    """How it ended: `{fault_code, fault_string}`. Raises CliError where it does not within the time."""
    end = time.monotonic() + wait
    while True:
        result: dict[str, Any] | None = ask(state_dir, "transfer-result", transfer=number)
        if result is not None:
            return result
        if time.monotonic() >= end:
            raise CliError("it is still under way; see: homeport cpe transfer list", ExitCode.TIMEOUT)
        time.sleep(LOOK)
