"""`homeport`: chooses the verb, imports only that verb's module, and turns what went wrong into one line and an exit code.

`homeport cpe run` starts without typer and rich: a device has 40 MB to spend, and none of it on help texts.
"""

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from homeport.cli import lifeline
from homeport.cli.exits import CliError, ExitCode
from homeport.errors import ConfigError, HomeportError

if TYPE_CHECKING:
    import typer


class Verb(NamedTuple):
    """A first word of the command line: the module that holds its `app`, and its line in `homeport --help`."""

    module: str
    help: str
    hidden: bool = False


VERBS: dict[str, Verb] = {
    "demo": Verb(
        "homeport.cli.demo", "Start an ACS and a device here and watch them talk: the quickest way to see what this is."
    ),
    "acs": Verb("homeport.cli.acs", "Run the server that manages devices (ACS)."),
    "device": Verb("homeport.cli.device", "Look at devices and change them, through an ACS."),
    "task": Verb("homeport.cli.task", "Follow and cancel what devices were asked to do."),
    "file": Verb(
        "homeport.cli.file", "Keep files for devices (firmware, configurations), and see what devices have sent."
    ),
    "group": Verb("homeport.cli.group", "Logins that groups of devices share, and which devices they are for."),
    "user": Verb("homeport.cli.user", "People who may log in to an ACS, and the login itself."),
    "token": Verb("homeport.cli.token", "Bearer tokens for programs that use an ACS."),
    "webhook": Verb("homeport.cli.webhook", "Programs that an ACS tells of events."),
    "audit": Verb("homeport.cli.audit", "Who changed what at an ACS."),
    "cpe": Verb("homeport.cli.cpe", "Run the agent on a device (CPE), and see and change what it does."),
    "decode": Verb("homeport.cli.decode", "Pretty-print and check one SOAP body or a saved session."),
    "option43": Verb(
        "homeport.cli.option43", "Encode and decode the DHCP option that tells a device where its ACS is."
    ),
    "model": Verb("homeport.cli.model", "Look into data models and device profiles, and import new ones."),
    "docs-reference": Verb("homeport.cli.docs_reference", "Write the generated reference pages.", hidden=True),
}

EPILOG = (
    "New here? Run: homeport demo. Exit codes: "
    + ", ".join(f"{int(c)} {c.meaning.split(':')[0].split(';')[0]}" for c in ExitCode)
    + "."
)


def run(argv: Sequence[str] | None = None) -> int:
    """The exit status of `homeport ARGV`; never raises, except for bugs when HOMEPORT_DEBUG=1 asks for the traceback."""
    args = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(args))


def run_cwmp(argv: Sequence[str] | None = None) -> int:
    """The exit status of `cwmp ARGV`: the Vega spellings of `homeport cpe ...`."""
    args = list(sys.argv[1:] if argv is None else argv)

    def act() -> int:
        from homeport.cli.cwmp import help_text, translate

        if not args or args[0] in ("--help", "-h", "help"):
            print(help_text())
            return int(ExitCode.OK if args else ExitCode.USAGE)
        return _dispatch(translate(args))

    return guarded(act)


def guarded(act: Callable[[], int]) -> int:
    """What act gives back, or the exit status of what it raised, said in one line on stderr."""
    lifeline.hold()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no arrows shows question marks, not an error
    debug = os.environ.get("HOMEPORT_DEBUG", "") not in ("", "0")
    try:
        code = act()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `homeport ... | head`: the reader has enough. Python would complain about it again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.FAILED)
    except CliError as e:
        if debug:
            raise
        _say(str(e))
        return int(e.code)
    except ConfigError as e:
        if debug:
            raise
        _say(str(e))
        return int(ExitCode.USAGE)
    except HomeportError as e:
        if debug:
            raise
        _say(str(e))
        return int(ExitCode.FAILED)
    except ModuleNotFoundError as e:
        if debug or (e.name or "homeport").startswith("homeport"):
            raise
        _say(f"this needs the package {e.name}, which is not installed; install it with: pip install 'homeport[acs]'")
        return int(ExitCode.FAILED)
    except UnicodeEncodeError as e:
        if debug:
            raise
        near = e.object[max(0, e.start - 20) : e.end + 20].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        _say(
            f"{near!r} has bytes that are not UTF-8; set the terminal and its locale (LANG) to UTF-8, or write it otherwise"
        )
        return int(ExitCode.USAGE)
    except Exception as e:
        if debug:
            raise
        _say(f"internal error: {type(e).__name__}: {e}; run it again with HOMEPORT_DEBUG=1 and report what it prints")
        return int(ExitCode.FAILED)


def _say(text: str) -> None:
    from homeport.cli.output import error

    error(text)


def _dispatch(args: list[str]) -> int:
    if args[:2] == ["cpe", "run"] and "--help" not in args:
        return _agent(args[2:])
    if args[:2] == ["cpe", "lease"]:
        from homeport.cli.lease import quick

        code = quick(args[2:])
        if code is not None:
            return code
    if args == ["--version"]:
        from homeport._version import __version__

        print(f"homeport {__version__}")
        return 0
    return _typer(args)


def _agent(args: list[str]) -> int:
    """`cpe run` without typer."""
    from homeport.cli.settings_options import load_settings, parse_flags
    from homeport.cpe.config import CpeSettings

    settings = load_settings(CpeSettings, "cpe", parse_flags(CpeSettings, args, verb="cpe run"))
    from homeport.cpe.process import main

    return main(settings)


def load_verb(name: str) -> "typer.Typer":
    """The typer application of one verb."""
    module = importlib.import_module(VERBS[name].module)
    app: typer.Typer = module.app
    return app


def application() -> "typer.Typer":
    """The whole command; a verb's module is imported when its name is met, so that help and completion stay quick."""
    import typer
    from typer.core import TyperGroup

    class LazyGroup(TyperGroup):
        def resolve_command(self, ctx, args):  # type: ignore[no-untyped-def]  # click's types are private in typer
            if args and args[0] in VERBS:
                command = typer.main.get_command(load_verb(args[0]))
                command.name = args[0]
                self.commands[args[0]] = command
                _without_placeholders(command)
            return super().resolve_command(ctx, args)

    app = typer.Typer(cls=LazyGroup, rich_markup_mode="rich", pretty_exceptions_enable=False, epilog=EPILOG)

    @app.callback(invoke_without_command=True)
    def homeport(
        ctx: typer.Context,
        version: bool = typer.Option(False, "--version", help="Print the version and leave."),
    ) -> None:
        """TR-069 (CWMP) for both ends of the line: the agent on a device and the ACS that manages a fleet."""
        if version:
            from homeport._version import __version__

            print(f"homeport {__version__}")
            raise typer.Exit
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help(), nl=False)

    for name, verb in VERBS.items():
        app.command(name, help=verb.help, hidden=verb.hidden)(_stand_in)
    return app


def _without_placeholders(command: Any) -> None:
    """Let the help of switches show no `<bool>` behind them: it reads as if they took a value."""
    import typer

    for parameter in [*command.params, command.get_help_option(typer.Context(command))]:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    for sub in getattr(command, "commands", {}).values():
        _without_placeholders(sub)


def _stand_in() -> None:
    """Holds a verb's place in the list of commands until `LazyGroup` loads the real one."""
    raise AssertionError("a verb ran without having been loaded")


def _typer(args: list[str]) -> int:
    """Run typer so that a wrong command line is one line too: typer's own box repeats the usage at length."""
    import typer

    app = application()
    program = "homeport"
    try:
        command = typer.main.get_command(app)
        _without_placeholders(command)
        result = command.main(args, prog_name=program, standalone_mode=False)
    except Exception as e:
        format_message, code = getattr(e, "format_message", None), getattr(e, "exit_code", None)
        if type(e).__name__ == "Abort":
            return 130
        if format_message is None or code is None:
            raise
        context = getattr(e, "ctx", None)
        if type(e).__name__ == "NoArgsIsHelpError":
            print(format_message(), end="")
            return int(ExitCode.USAGE)
        path = context.command_path if context is not None else program
        message = format_message().strip().rstrip(".").replace("\n", " ")
        raise CliError(f"{message}; see {path} --help", ExitCode.USAGE) from e
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(run())
