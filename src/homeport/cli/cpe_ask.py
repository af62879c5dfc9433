"""How the command line reaches the running agent: where its socket is, what it answers, and what to say where it does not."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from homeport.cli.exits import CliError, ExitCode
from homeport.cpe.config import default_state_dir
from homeport.errors import HomeportError, TransportError

T = TypeVar("T")

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        envvar=["HOMEPORT_CPE_STATE_DIR", "HOMEPORT_STATE_DIR"],
        metavar="DIR",
        help="State directory of the agent; default: where `cpe run` has it.",
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on printing new lines until Ctrl-C.")]

INSTALLED: Final = (Path("/run/homeport/cpe.sock"), Path("/var/lib/homeport/cpe"))
"""Where the agent of the Debian and OpenWrt packages is asked: found without any option."""


def ask(state_dir: Path | None, verb: str, *, timeout: float = 10.0, **args: Any) -> Any:
    """The running agent's answer, within timeout seconds.

    Raises CliError: UNREACHABLE where none runs there, FAULT or FAILED where it refuses.
    """
    from homeport.cpe.control_client import ControlClient

    return told(lambda: ControlClient(door(state_dir), timeout=timeout).call(verb, **args))


def follow(state_dir: Path | None, verb: str, **args: Any) -> Iterator[Any]:
    """What a verb that goes on says, until the agent ends. Raises CliError as `ask` does."""
    from homeport.cpe.control_client import ControlClient

    items = ControlClient(door(state_dir)).follow(verb, **args)
    end = object()
    while (item := told(lambda: next(items, end))) is not end:
        yield item


def told(act: Callable[[], T]) -> T:
    """What act gives; its errors as CliError with the exit code that belongs to them."""
    try:
        return act()
    except TransportError as e:
        raise CliError(str(e), ExitCode.TIMEOUT if e.kind == "timeout" else ExitCode.UNREACHABLE) from e
    except CliError:
        raise
    except HomeportError as e:
        code = ExitCode.FAULT if str(e)[:4].isdigit() else ExitCode.FAILED
        raise CliError(str(e), code) from e


def directory(state_dir: Path | None) -> Path:
    """The state directory that is meant."""
    return (state_dir or default_state_dir()).expanduser().absolute()


def door(state_dir: Path | None) -> Path:
    """The socket or the directory with it: what the option or HOMEPORT_CPE_CONTROL_SOCKET say, else the first place that has one."""
    named = os.environ.get("HOMEPORT_CPE_CONTROL_SOCKET")
    if state_dir is not None or not named:
        home = directory(state_dir)
        if state_dir is None and not _has_socket(home):
            return next((place for place in INSTALLED if _has_socket(place)), home)
        return home
    return Path(named)


def _has_socket(place: Path) -> bool:
    try:
        return place.is_socket() or (place / "control.sock").is_socket()
    except OSError:
        return False  # a directory of another user: not ours to ask
