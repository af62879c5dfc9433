"""Flags made from a settings dataclass: read by hand (fast, for the agent's start) or described to typer (for help and completion).

Both readings accept the same words; a test holds them together. The values go to `homeport.settings.load`, which converts and checks them.
"""

import dataclasses
import difflib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from homeport.cli.exits import CliError, ExitCode
from homeport.settings import Setting, describe, load

if TYPE_CHECKING:
    import typer

T = TypeVar("T")

CONFIG_HELP = "TOML file with settings; its table [{program}] counts, or its top level where there is none."


@dataclasses.dataclass(frozen=True, slots=True)
class ParsedFlags:
    """What a command line said: values by field name (text, or True/False for switches) and the configuration file."""

    values: dict[str, Any]
    config: Path | None


def is_list(row: Setting) -> bool:
    """Whether a flag may be repeated (tuples; a comma-separated value does the same)."""
    return getattr(row.type, "__origin__", row.type) is tuple


def negative(row: Setting) -> str:
    """`--no-web` for the switch `--web`."""
    return "--no-" + row.flag.removeprefix("--")


def parse_flags(cls: type, argv: Sequence[str], *, verb: str) -> ParsedFlags:
    """The flags of argv for this settings class. Raises CliError (usage) that names the nearest flag."""
    rows = describe(cls)
    takers = {row.flag: row for row in rows if row.type is not bool}
    switches = {row.flag: (row, True) for row in rows if row.type is bool}
    switches |= {negative(row): (row, False) for row in rows if row.type is bool}
    values: dict[str, Any] = {}
    config: Path | None = None
    words = list(argv)
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if flag in switches and not equals:
            row, state = switches[flag]
            values[row.name] = state
            continue
        if flag != "--config" and flag not in takers:
            raise _unknown(flag, [*takers, *switches, "--config", "--help"], verb)
        if not equals:
            if not words:
                raise CliError(f"{flag} needs a value; see homeport {verb} --help", ExitCode.USAGE)
            value = words.pop(0)
        if flag == "--config":
            config = Path(value).expanduser()
        elif is_list(takers[flag]) and takers[flag].name in values:
            values[takers[flag].name] += "," + value
        else:
            values[takers[flag].name] = value
    return ParsedFlags(values, config)


def _unknown(word: str, known: Sequence[str], verb: str) -> CliError:
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"see homeport {verb} --help"
    what = "no option" if word.startswith("-") else "no argument"
    return CliError(f"homeport {verb} has {what} {word}; {hint}", ExitCode.USAGE)


def load_settings(cls: type[T], program: str, flags: ParsedFlags) -> T:
    """The settings from flags, environment and configuration file; `HOMEPORT_CONFIG` names the file where --config does not."""
    config = flags.config
    if config is None:
        named = os.environ.get(f"HOMEPORT_{program.upper()}_CONFIG") or os.environ.get("HOMEPORT_CONFIG")
        config = Path(named).expanduser() if named else None
    for name, near in misspelt(cls, program, os.environ):
        print(f"homeport: the environment has {name}, which is no setting; did you mean {near}?", file=sys.stderr)
    return load(cls, program=program, flags=flags.values, environment=os.environ, file=config)


def misspelt(cls: type, program: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """(name, what was meant) of variables of this program that are nearly a setting. Others may be somebody's own."""
    prefix = f"HOMEPORT_{program}_".upper()
    known = {row.environment_name(program) for row in describe(cls)} | {f"{prefix}CONFIG"}
    found = []
    for name in sorted(n for n in names if n.startswith(prefix) and n not in known):
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.9)
        if near:
            found.append((name, near[0]))
    return found


def help_text(row: Setting) -> str:
    """The help of one flag: its sentence, as one."""
    return row.help.rstrip(".") + "."


def default_text(row: Setting) -> str:
    """The default as a person reads it; "" where there is none to show."""
    if row.secret or row.default is None or row.default == "" or row.default == ():
        return ""
    if isinstance(row.default, bool):
        return "on" if row.default else "off"
    if isinstance(row.default, tuple):
        return ",".join(str(item) for item in row.default)
    return str(getattr(row.default, "value", row.default))


def metavar(row: Setting) -> str:
    """The placeholder of a flag's value: its unit, its choices, or what it is: `SECONDS`, `text|json`, `PATH`, `TEXT`."""
    if row.choices:
        return "|".join(row.choices)
    if row.unit:
        return row.unit.upper().replace(" ", "-")
    if row.type is Path:
        return "PATH"
    return {int: "NUMBER", float: "NUMBER"}.get(row.type, "TEXT")


def typer_command(cls: type[T], program: str, act: Callable[[T], int], help: str) -> Callable[..., None]:
    """A function for `typer.command`, whose options are the settings; it loads them and ends with what `act` gives back."""
    import typer

    rows = describe(cls)

    def command(ctx: typer.Context, **given: Any) -> None:
        values: dict[str, Any] = {}
        for row in rows:
            value = given.get(row.name)
            if value is None or value == [] or _from_environment(ctx, row.name):
                continue
            values[row.name] = ",".join(value) if isinstance(value, list) else value
        settings = load_settings(cls, program, ParsedFlags(values, given["config"]))
        raise typer.Exit(act(settings))

    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    # No variable here: load_settings reads HOMEPORT_ACS_CONFIG and HOMEPORT_CONFIG, in this order, for both readings.
    config = typer.Option("--config", metavar="FILE", help=CONFIG_HELP.format(program=program).replace("[", r"\["))
    parameters.append(_keyword("config", Annotated[Path | None, config]))
    for row in rows:
        flag = f"{row.flag}/{negative(row)}" if row.type is bool else row.flag
        option = typer.Option(
            flag,
            envvar=row.environment_name(program),
            metavar=None if row.type is bool else metavar(row),
            show_default=default_text(row) or False,
            help=help_text(row).replace("[", r"\["),
        )
        kind: Any = bool if row.type is bool else list[str] if is_list(row) else str
        parameters.append(_keyword(row.name, Annotated[kind | None, option]))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = help
    return command


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _from_environment(ctx: "typer.Context", name: str) -> bool:
    """Whether typer took the value from the environment: then `settings.load` reads it itself and names the variable in errors."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "ENVIRONMENT"
