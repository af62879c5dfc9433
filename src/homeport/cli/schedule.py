"""When a device does what is asked: the options that all commands share which give a device a task.

A command is marked `@scheduled`; its options are told by `schedule()` to whatever makes the task, so that no command repeats them.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, NamedTuple, ParamSpec, TypeVar, get_type_hints

import typer

P = ParamSpec("P")
R = TypeVar("R")

_PANEL = "When it is done"

Priority = Annotated[
    int,
    typer.Option("--priority", metavar="N", help="Higher first among the device's tasks.", rich_help_panel=_PANEL),
]
ExpiresIn = Annotated[
    float | None,
    typer.Option(
        "--expires-in",
        metavar="SECONDS",
        min=1,
        help="Not sent any more after this.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
After = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="TASK",
        help="Not before this task is done; where that one fails, so does this.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="TEXT",
        help="The same command with the same key within a day makes no second task.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]


class Schedule(NamedTuple):
    """What a person said of the time of a task. expires_in: seconds. after: a task's id. key: of idempotency."""

    priority: int = 0
    expires_in: float | None = None
    after: str | None = None
    key: str | None = None

    def wishes(self) -> dict[str, Any]:
        """The fields of the task's body in REST; what was not said is not among them."""
        said = {"priority": self.priority or None, "expires_in": self.expires_in, "after": self.after}
        return {name: value for name, value in said.items() if value is not None}


_SAID: ContextVar[Schedule] = ContextVar("schedule", default=Schedule())  # noqa: B039  # it is immutable


def schedule() -> Schedule:
    """What the command line said of the time, within a command marked `@scheduled`."""
    return _SAID.get()


@contextmanager
def _said(what: Schedule) -> Iterator[None]:
    token = _SAID.set(what)
    try:
        yield
    finally:
        _SAID.reset(token)


def scheduled(command: Callable[P, R]) -> Callable[P, R]:
    """The command with the options --priority, --expires-in, --after and --key beside its own."""
    options = {"priority": (Priority, 0), "expires_in": (ExpiresIn, None), "after": (After, None), "key": (Key, None)}

    @functools.wraps(command)
    def with_options(*args: P.args, **kwargs: P.kwargs) -> R:
        given: Any = {name: kwargs.pop(name, default) for name, (_, default) in options.items()}
        with _said(Schedule(**given)):
            return command(*args, **kwargs)

    signature = inspect.signature(command)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
    with_options.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *more])  # type: ignore[attr-defined]
    with_options.__annotations__ = get_type_hints(command, include_extras=True) | {
        name: annotation for name, (annotation, _) in options.items()
    }
    return with_options
