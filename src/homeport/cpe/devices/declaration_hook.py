"""What a plug-in's declaration has to say about changes: its validate, apply, undo and notify functions as a hook of the data model.

Changes that the device itself makes (SYSTEM) are no wish of anybody: the plug-in is not asked about them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from homeport.cpe.devices.calls import Calls
from homeport.cpe.devices.declarations import Bundle, Parameter, Table
from homeport.errors import Fault
from homeport.model.changes import Change, ChangeKind
from homeport.model.path import Path, generic
from homeport.model.sources import Pattern
from homeport.model.transaction import Transaction
from homeport.model.types import to_value
from homeport.terms import FaultCode, Writer

if TYPE_CHECKING:
    from homeport.cpe.devices.plugin_host import PluginHost

_NOT_TOLD: Final = frozenset({"Alias"})
"""Columns that are the data model's own affair: a plug-in is not asked about them."""


class DeclarationHook:
    """What a declaration has to say about changes."""

    def __init__(self, host: "PluginHost", calls: Calls, patterns: Sequence[Pattern]) -> None:
        self._host = host
        self._patterns = patterns
        self._calls = calls
        self._declaration = calls.declaration
        self._depth = len(Path.parse(calls.declaration.path).segments)

    def validate(self, change: Change, view: Transaction) -> None:
        if change.writer is Writer.SYSTEM:
            return
        declaration = self._declaration
        if change.kind is not ChangeKind.VALUE:
            if isinstance(declaration, Table) and self._own_row(change):
                allowed = declaration.adder if change.kind is ChangeKind.ADD else declaration.deleter
                if allowed is None:
                    raise Fault(FaultCode.REQUEST_DENIED, f"the rows of {declaration.path} come from the device itself")
            return
        if declaration.validator is None or not self._concerns(change) or not self._settable(view, change):
            return
        self._calls.do(
            declaration.validator, *self._arguments(change.path, view, view.value), *self._value(view, change)
        )

    def apply(self, changes: Sequence[Change], view: Transaction) -> int:
        return self._act(changes, view, self._declaration.applier)

    def undo(self, changes: Sequence[Change], view: Transaction) -> int:
        return self._act(changes, view, self._declaration.undoer or self._declaration.applier)

    def notify(self, changes: Sequence[Change], view: Transaction) -> None:
        if self._declaration.notifier is not None:
            for arguments in self._batches(changes, view):
                self._calls.later(self._declaration.notifier, *arguments)

    def _act(self, changes: Sequence[Change], view: Transaction, function: Callable[..., Any] | None) -> int:
        status = 0
        if isinstance(self._declaration, Table):
            for change in changes:
                if change.kind is not ChangeKind.VALUE and change.writer is not Writer.SYSTEM and self._own_row(change):
                    deed = self._declaration.adder if change.kind is ChangeKind.ADD else self._declaration.deleter
                    if deed is not None:
                        # What is being deleted is no longer in the request's view; the model still has it.
                        read = view.value if change.kind is ChangeKind.ADD else None
                        row = self._host.row(view.model, self._declaration.path, change.path, read)
                        status = max(status, int(self._calls.do(deed, row) or 0))
        if function is not None:
            for arguments in self._batches(changes, view):
                status = max(status, int(self._calls.do(function, *arguments) or 0))
        self._calls.forget_all()
        return status

    def _batches(self, changes: Sequence[Change], view: Transaction) -> list[tuple[Any, ...]]:
        """The arguments of each call that these changes need."""
        mine = [
            c
            for c in changes
            if c.kind is ChangeKind.VALUE
            and c.writer is not Writer.SYSTEM
            and self._concerns(c)
            and self._settable(view, c)
        ]
        if isinstance(self._declaration, Bundle):
            return [({c.path: self._meaning(view, c) for c in mine if self._known(view, c)},)] if mine else []
        if isinstance(self._declaration, Parameter):
            return [
                (*self._arguments(c.path, view, view.value), self._meaning(view, c))
                for c in mine
                if self._known(view, c)
            ]
        rows: dict[str, dict[str, Any]] = {}
        for change in mine:
            if self._known(view, change):
                prefix = ".".join(change.path.split(".")[: self._depth]) + "."
                rows.setdefault(prefix, {})[change.path[len(prefix) :]] = self._meaning(view, change)
        return [(*self._arguments(prefix, view, view.value), values) for prefix, values in rows.items()]

    def _arguments(self, path: str, view: Transaction, read: Callable[[str], str]) -> tuple[Any, ...]:
        if isinstance(self._declaration, Bundle):
            return ()
        row = self._host.row(view.model, self._declaration.path, path, read)
        return () if row is None else (row,)

    def _value(self, view: Transaction, change: Change) -> tuple[Any, ...]:
        """What `validate` is told of a change: the value, and in a group or table its name before it."""
        meaning = self._meaning(view, change)
        if isinstance(self._declaration, Parameter):
            return (meaning,)
        if isinstance(self._declaration, Bundle):
            return (change.path, meaning)
        return (".".join(change.path.split(".")[self._depth :]), meaning)

    def _meaning(self, view: Transaction, change: Change) -> Any:
        parameter = view.locate(change.path).parameter
        return self._host.mapper.outward(parameter, to_value(parameter.syntax, change.new))

    @staticmethod
    def _known(view: Transaction, change: Change) -> bool:
        """Whether the parameter is still there: the row of a change that is taken back may be gone."""
        try:
            view.locate(change.path)
        except Fault:
            return False
        return True

    @staticmethod
    def _settable(view: Transaction, change: Change) -> bool:
        """Whether somebody can have asked for the change: a number of entries follows from the rows that were added."""
        try:
            parameter = view.locate(change.path).parameter
        except Fault:
            return True  # its row is gone, which is found out later
        return parameter.writable or parameter.write_once

    def _own_row(self, change: Change) -> bool:
        return change.path.count(".") == self._depth

    def _concerns(self, change: Change) -> bool:
        """Whether the plug-in is asked about a change."""
        if change.path.rpartition(".")[2] in _NOT_TOLD:
            return False
        parts = change.path.split(".")
        below = [at for at in range(self._depth, len(parts)) if parts[at].isdigit()]
        if below:
            row = generic(".".join(parts[: below[-1] + 1]) + ".")
            if any(calls.declaration.path == row for calls in self._host.all):
                return False  # a row further down, which has a declaration of its own
        if not isinstance(self._declaration, Bundle):
            return True
        segments = Path.parse(change.path).segments
        return any(pattern.covers(segments) for pattern in self._patterns)
