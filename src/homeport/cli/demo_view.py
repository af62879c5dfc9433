"""What a person sees of the demo: a headline per step, a line that says what is being waited for, the ladder, what it showed."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import ROUNDED
from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from homeport.cli.demo_tour import Shown, Step
from homeport.cli.ladder import STYLES, ladder

MAX_RUNGS = 16
"""A longer session is shown with its middle left out: the demo is to be read as it runs."""


class TourView:
    """Prints the tour on a console, step after step; nothing is ever erased, so that it can be scrolled back."""

    def __init__(self, console: Console, total: int, *, moving: bool = True) -> None:
        """total: how many steps there are. moving: whether a line moves while a step lasts (not for a picture)."""
        self.console = console
        self.moving = moving
        self.total = total
        self.started = time.monotonic()

    def opening(self) -> None:
        """What is going to happen."""
        words = Text.assemble(
            ("Homeport", "bold"),
            " speaks TR-069 (CWMP), the protocol by which operators manage the routers in our homes. "
            "Here two real processes talk it over HTTP on this machine: a server ",
            ("(ACS)", STYLES["acs"]),
            " and a device ",
            ("(CPE)", STYLES["cpe"]),
            ". Every message below has just been sent.",
        )
        self.console.print(Panel(words, box=ROUNDED, border_style="dim", padding=(0, 1)))

    def step(self, number: int, step: Step, *, brief: bool = False) -> Shown:
        """Run one step under its headline, with elapsed time while it lasts; brief: without its details. Passes on what it raises."""
        self.console.print()
        self.console.print(Text.assemble((f" {number}/{self.total} ", "reverse"), " ", (step.title, "bold")))
        self.console.print(Padding(Text(step.story, style="italic dim"), (0, 0, 0, 5)))
        begin = time.monotonic()
        if self.moving and self.console.is_terminal:
            with Live(_Waiting(step.waiting, begin), console=self.console, transient=True, refresh_per_second=12):
                shown = step.act()
        else:
            shown = step.act()
        took = time.monotonic() - begin
        if not brief:
            self._details(shown)
        checks = Text.assemble(("✓ ", "bold green"), _held(len(shown.checks)), (f"  {took:.2f} s", "dim"))
        self.console.print(Padding(checks, (0, 0, 0, 5)))
        return shown

    def _details(self, shown: Shown) -> None:
        for i, session in enumerate(shown.sessions):
            if i:
                self.console.print(Text(f"     {shown.between[i - 1]}", style="italic dim"))
            self.console.print(Padding(ladder(session, most=MAX_RUNGS), (0, 0, 0, 5)))
        if shown.facts:
            self.console.print(Padding(_facts(shown.facts), (0, 0, 0, 5)))

    def session(self, session: Mapping[str, Any]) -> None:
        """A session that happened after the tour."""
        events = ", ".join(session.get("events") or ()) or "no events"
        self.console.print()
        self.console.print(
            Text.assemble((" session ", "reverse"), " ", (events, "bold"), (f"  {session['outcome']}", "dim"))
        )
        self.console.print(Padding(ladder(session, most=MAX_RUNGS), (0, 0, 0, 5)))

    def closing(
        self, urls: Sequence[tuple[str, str]], commands: Sequence[tuple[str, str]], exports: Sequence[str]
    ) -> None:
        """Where the two are, and what to try next in another terminal: lines that can be copied as they stand."""
        took = time.monotonic() - self.started
        title = f"Both keep running ({took:.0f} s so far)"
        self.console.print()
        self.console.print(Panel(_facts(urls), title=title, title_align="left", box=ROUNDED, border_style="green"))
        self.console.print("In another terminal:", style="dim")
        for export in exports:
            self.console.print(Text(export), soft_wrap=True)
        for command, why in commands:
            remark = f"   # {why}" if len(command) + len(why) + 5 <= self.console.width else ""
            self.console.print(Text.assemble((command, "bold"), (remark, "dim")), soft_wrap=True)
        self.console.print()
        self.console.print(
            Text("Each new session is shown here. Ctrl-C ends both and leaves nothing behind.", style="dim")
        )


def _facts(pairs: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value)
    return table


def _held(count: int) -> str:
    return (
        "one check on the wire or in the store holds"
        if count == 1
        else f"{count} checks on the wire and in the store hold"
    )


class _Waiting:
    """A spinner with what is being waited for and for how long."""

    def __init__(self, what: str, begin: float) -> None:
        self._spinner = Spinner("dots", style="yellow")
        self._what = what
        self._begin = begin

    def __rich__(self) -> Padding:
        self._spinner.update(text=Text(f"{self._what} ... {time.monotonic() - self._begin:.1f} s", style="yellow"))
        return Padding(self._spinner, (0, 0, 0, 5))
