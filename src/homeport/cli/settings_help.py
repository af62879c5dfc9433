"""The `--help` of commands whose options are a settings dataclass: one option a paragraph, with default and environment variable.

There are dozens of options with long names; typer's four columns would leave 20 characters for the sentences at 80 columns.
"""

from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text
from typer.core import TyperCommand

from homeport.cli.settings_options import CONFIG_HELP, default_text, help_text, metavar, negative
from homeport.settings import Setting, describe


def print_help(cls: type, *, program: str, path: str, help: str, console: Console | None = None) -> None:
    """The help of `homeport PATH` on the console (stdout by default), in the look of the other commands."""
    out = console or Console(highlight=False)
    out.print(Padding(f"[bold yellow]Usage:[/] [bold]homeport {escape(path)} \\[OPTIONS][/]", 1))
    out.print(Padding(escape(help), (0, 1, 1, 1)))
    prefix = f"HOMEPORT_{program.upper()}_"
    out.print(
        Padding(
            f"Each option can also be set in the environment ({prefix}...) or in the configuration file (the option's name without"
            " the dashes). The command line counts first, then the environment, then the file.",
            (0, 1, 1, 1),
        )
    )
    lines = _option("--config", "FILE", CONFIG_HELP.format(program=program), "", f"HOMEPORT_CONFIG or {prefix}CONFIG")
    for row in describe(cls):
        value = "" if row.type is bool else metavar(row)
        lines += _option(_flags(row), value, help_text(row), default_text(row), row.environment_name(program))
    lines += _option("--help", "", "Show this message and exit.", "", "")
    out.print(Panel(Group(*lines), title="Options", title_align="left", border_style="dim", box=box.ROUNDED))


def _flags(row: Setting) -> str:
    return f"{row.flag} / {negative(row)}" if row.type is bool else row.flag


def _option(flag: str, value: str, help: str, default: str, environment: str) -> list[RenderableType]:
    """The line with the flag, and the lines that are indented below it."""
    below = Text(help)
    extras = " · ".join(part for part in (f"default: {default}" if default else "", environment) if part)
    if extras:
        below.append("\n" + extras, style="dim")
    head = Text.assemble((flag, "bold cyan"), (f" {value}" if value else "", "bold yellow"))
    return [head, Padding(below, (0, 0, 0, 4), expand=False)]


def command_class(cls: type, *, program: str, path: str, help: str) -> type[TyperCommand]:
    """A typer command class that prints this help."""

    class SettingsCommand(TyperCommand):
        def format_help(self, ctx: Any, formatter: Any) -> None:
            print_help(cls, program=program, path=path, help=help)

    return SettingsCommand
