"""`homeport demo`: an ACS and a device that talk real CWMP, in one terminal."""

import io
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from homeport.cli import output
from homeport.cli.demo_children import ChildDied, Household
from homeport.cli.demo_tour import SERIAL, Tour, data_paths
from homeport.cli.exits import CliError, ExitCode

if TYPE_CHECKING:
    from homeport.cli.demo_view import TourView

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

READING_PAUSE = 1.0
"""Seconds between two steps, so that a person can follow."""

PICTURE_WIDTH = 100
"""Columns of the picture for the documentation."""

PICTURE_STEPS = (2, 3, 5, 6, 8)
"""The steps that the picture shows with their details."""


@app.command()
def demo(
    check: Annotated[
        bool, typer.Option("--check", help="Play the tour without a person, one line per step; exit code 0 or 1.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Keep the data of both there; must not exist yet.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.svg", hidden=True, help="Save the tour as a picture.")
    ] = None,
) -> None:
    """Start an ACS and a device here and watch them talk: the quickest way to see what this is.

    Two real processes on free loopback ports: a server with SQLite, and an agent with the data model of a DKT 797xx fibre terminal. The
    device finds its ACS by DHCP option 43, is approved, read, set, called, rebooted and upgraded. Then both stay up for you. Ctrl-C
    ends both.
    """
    if data_dir is not None and data_dir.exists():
        raise CliError(
            f"{data_dir} exists already; name a directory that does not, so that nothing of yours is touched",
            ExitCode.USAGE,
        )
    with Household(data_dir.absolute() if data_dir else None) as household:
        tour = Tour(household)
        if check:
            raise typer.Exit(_check(tour))
        view = _show(tour, picture)
        if picture is None:
            try:
                _stay(tour, view)
            except KeyboardInterrupt:
                output.note("\nBoth are being ended.")


def _check(tour: Tour) -> int:
    """One line per step; the first one that fails ends the tour."""
    started = time.monotonic()
    steps = tour.steps()
    for number, step in enumerate(steps, 1):
        begin = time.monotonic()
        try:
            shown = step.act()
        except CliError as e:
            print(f"FAIL {number}/{len(steps)} {step.title}: {e}", flush=True)
            return int(ExitCode.FAILED)
        print(
            f"ok   {number}/{len(steps)} {step.title}: {_told(shown.checks)} ({time.monotonic() - begin:.2f} s)",
            flush=True,
        )
    print(f"all {len(steps)} steps hold, {time.monotonic() - started:.1f} s", flush=True)
    return int(ExitCode.OK)


def _told(checks: list[str]) -> str:
    return f"{checks[0]}; {len(checks)} checks hold" if len(checks) > 1 else checks[0]


def _show(tour: Tour, picture: Path | None) -> "TourView":
    """Play the tour for a person, or for a picture of it."""
    from rich.console import Console

    from homeport.cli.demo_view import TourView

    console = Console(highlight=False)
    if picture is not None:
        nowhere = io.StringIO()
        console = Console(
            file=nowhere,
            record=True,
            width=PICTURE_WIDTH,
            highlight=False,
            force_terminal=True,
            color_system="truecolor",
        )
    steps = tour.steps()
    view = TourView(console, len(steps), moving=picture is None)
    view.opening()
    for number, step in enumerate(steps, 1):
        try:
            view.step(number, step, brief=picture is not None and number not in PICTURE_STEPS)
        except ChildDied:
            raise
        except CliError as e:
            raise CliError(f"step {number} ({step.title}) failed: {e}", ExitCode.FAILED) from e
        if picture is None and sys.stdout.isatty():
            time.sleep(READING_PAUSE)
    if picture is not None:
        console.save_svg(str(picture), title="homeport demo", code_format=_svg_format())
    return view


def _svg_format() -> str:
    """rich's picture frame without its web fonts: a picture in a repository loads nothing, and every system has a monospaced font."""
    import re

    from rich._export_format import CONSOLE_SVG_FORMAT

    return re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code,", "")


def _stay(tour: Tour, view: "TourView") -> None:
    """Say what to try next, and show each new session until the person has enough."""
    environment = [f"export {name}={path}" for name, path in data_paths(tour.household.directory).items()]
    view.closing(_urls(tour), _commands(), [line for line in (output.path_export(), *environment) if line])
    while True:
        time.sleep(0.5)
        tour.household.require_alive()
        for session in tour.new_sessions():
            view.session(session)


def _urls(tour: Tour) -> list[tuple[str, str]]:
    return [
        ("devices call", tour.cwmp_url),
        ("REST API", f"{tour.http_url}/api/v1"),
        ("its description", f"{tour.http_url}/api/openapi.json"),
        ("the device's page", tour.page_url),
        ("logs", f"{tour.household.directory}/*.log"),
    ]


def _commands() -> list[tuple[str, str]]:
    """Commands that work in another terminal, with what they show."""
    return [
        ("homeport device list", "what the ACS knows"),
        (f"homeport device get {SERIAL} Device.Optical.", "ask the device, live"),
        (f"homeport device set {SERIAL} Device.DeviceInfo.ProvisioningCode=gold", "watch this terminal"),
        (f"homeport device set {SERIAL} Device.DeviceInfo.UpTime=1", "see a refusal"),
        (f"homeport device show {SERIAL}", "its tasks and sessions"),
        ("homeport cpe show status", "the device's own view"),
    ]
