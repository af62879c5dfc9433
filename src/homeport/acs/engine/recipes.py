"""Programs that can be taken up by another process: what each was made from, and what it was told so far.

A program is a generator and cannot be written down; but it decides by nothing else than its recipe and the answers, so that whoever has
both brings a new one to the same point.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from homeport.acs.engine import programs
from homeport.acs.engine.args import REFRESH, Call
from homeport.acs.engine.steps import Program, Reply, Result, Step
from homeport.acs.records import NO_HABITS, Behaviour, StoredValue, TaskRecord
from homeport.codec import messages as m
from homeport.session.record import freeze, thaw


class Kind(StrEnum):
    """Which program it is."""

    TASK = "task"
    SETTLE_ADD_OBJECT = "settle_add_object"
    SETTLE_TRANSFER = "settle_transfer"
    SETTLE_MODULES = "settle_modules"
    REFUSED = "refused"
    DISCOVER = "discover"
    CREDENTIALS = "credentials"
    LOGIN = "login"


class Recipe(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a program is made from; which fields count depends on the kind.

    task: as it is sent, with URLs filled in. known, habits: of the device, at the program's start. why: of a refusal.
    root, username, password, keep: what the ACS's own wants need.
    """

    kind: Kind
    task: TaskRecord | None = None
    known: dict[str, StoredValue] = {}
    habits: Behaviour = NO_HABITS
    why: str = ""
    root: str = ""
    username: str = ""
    password: str = ""
    keep: tuple[str, ...] = ()

    def program(self) -> Program:
        """A new program."""
        match self.kind:
            case Kind.REFUSED:
                return programs.refused(self.why)
            case Kind.DISCOVER:
                return programs.discover(self.root, self.habits)
            case Kind.LOGIN:
                return programs.set_login(self.root, self.username, self.password)
            case Kind.CREDENTIALS:
                return programs.set_credentials(self.root, self.username, self.password, frozenset(self.keep))
        assert self.task is not None
        if self.kind is Kind.SETTLE_ADD_OBJECT:
            return programs.settle_add_object(self.task)
        if self.kind is Kind.SETTLE_TRANSFER:
            return programs.settle_transfer(self.task)
        if self.kind is Kind.SETTLE_MODULES:
            return programs.settle_modules(self.task, self.root)
        return programs.program(self.task, self.known, self.habits)


class Run:
    """A program under way. request: the last one that it gave, None before the first and after the end."""

    __slots__ = ("_program", "recipe", "replies", "request")

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.replies: list[Reply] = []
        self.request: Call | None = None
        self._program = recipe.program()

    def advance(self, reply: Reply | None) -> Step | Result:
        """What comes next after the device's answer (None: at the start): a request, or the end.

        Raises ArgumentsError where the task cannot be sent at all.
        """
        try:
            if reply is None:
                step = next(self._program)
            else:
                self.replies.append(self._kept(reply))
                step = self._program.send(reply)
        except StopIteration as stop:
            self.request = None
            result: Result = stop.value
            return result
        self.request = step.request
        return step

    def _kept(self, reply: Reply) -> Reply:
        """The answer as far as the program looks at it: of a whole tree's values only that they came."""
        task = self.recipe.task
        reads = self.recipe.kind is Kind.DISCOVER or (task is not None and task.rpc == REFRESH)
        if reads and isinstance(reply, m.GetParameterValuesResponse):
            return _VALUES_CAME
        return reply

    def close(self) -> None:
        """End the program where it stands."""
        self._program.close()

    @property
    def rows(self) -> int:
        """Rows of lists in the answers so far."""
        return sum(len(getattr(reply, "parameter_list", ())) for reply in self.replies)

    def told(self) -> list[Any]:
        """The answers so far as plain values, for `resumed`."""
        return [freeze(reply) for reply in self.replies]


_VALUES_CAME = m.GetParameterValuesResponse(())


def resumed(recipe: Recipe, told: list[Any]) -> Run:
    """The program where it was, its last request in `request`.

    Raises ValueError where the answers do not lead there: they are of another version's program.
    """
    run = Run(recipe)
    step = run.advance(None)
    for plain in told:
        if not isinstance(step, Step):
            break
        try:
            step = run.advance(thaw(plain, m))
        except (KeyError, TypeError, AssertionError) as e:
            raise ValueError(f"an answer cannot be read: {e}") from e
    if not isinstance(step, Step):
        raise ValueError("the program ended before the last answer")
    return run
