"""Brings plug-ins to a data model: their functions become its sources, hooks and live tables.

A plug-in can fail, hang or talk nonsense: its parameter then shows what it showed last. Where there is nothing of that kind, a request that
names the parameter gets fault 9002 with a sentence, and one that only passes by gets the stored value; the log has the reason.
Threads and limits are `worker`'s, background work (polling, events) is `parts.plugins`'.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from homeport.cpe.clock import Clock
from homeport.cpe.devices.calls import Calls, sentence
from homeport.cpe.devices.live_tables import LiveTable, places
from homeport.cpe.devices.plugin import Declaration, Group, Host, Key, Parameter, Plugin, Reference, Row, Table
from homeport.cpe.devices.worker import Worker
from homeport.cpe.journal import LOG
from homeport.errors import ConfigError, Fault
from homeport.model.changes import Change, ChangeKind
from homeport.model.path import Path, Wildcard, generic
from homeport.model.profile import ProfileDef
from homeport.model.schema import ParameterDef
from homeport.model.sources import Pattern, meet
from homeport.model.transaction import Transaction
from homeport.model.tree import DataModel
from homeport.model.types import to_value
from homeport.terms import FaultCode, Writer

_NOT_TOLD: Final = frozenset({"Alias"})
"""Columns that are the data model's own affair: a plug-in is not asked about them."""


_OUT_OF_USE: Final = frozenset({"deprecated", "obsoleted", "deleted"})


class PluginHost(Host):
    """The plug-ins of one device."""

    def __init__(self, plugins: Sequence[Plugin], clock: Clock) -> None:
        self.plugins = tuple(plugins)
        self.clock = clock
        self.model: DataModel | None = None
        self.all: list[Calls] = []
        """Every declaration that this device has, in the order of registration."""
        self.tables: dict[str, LiveTable] = {}
        """Live tables by the path of their rows, with `{i}`."""
        self.workers: list[Worker] = []
        self.on_changed: Callable[[Sequence[str]], None] = _nobody
        self.on_event: Callable[[str, str], None] = _nobody_owes
        self._last: dict[str, str] = {}
        self._patterns: dict[Calls, Pattern] = {}
        for plugin in self.plugins:
            plugin.host = self

    # --- what plug-ins ask ------------------------------------------------------------------------------------------------------

    def changed(self, *paths: str) -> None:
        self.on_changed(paths)

    def event(self, code: str, command_key: str = "") -> None:
        self.on_event(code, command_key)

    def path_of(self, path: str, key: Key) -> str:
        head = path.removesuffix("{i}.").removesuffix("*.")
        table = self.tables.get(generic(head) + "{i}.")
        number = table.number_of(head, key) if table is not None else None
        return f"{head}{number}" if number is not None else ""

    def fitted(self, profile: ProfileDef) -> ProfileDef:
        """The profile with what plug-ins bring along that the model has and the profile lacks; plug-ins that only serve leave it.

        A table that the profile lacks comes with the columns that its declaration names, or all, and with its number of rows; a group's
        object with all of its parameters.
        """
        parameters: list[str] = []
        for plugin in self.plugins:
            if not plugin.extends:
                continue
            for declaration in plugin.declarations:
                path = generic(declaration.path)
                if not path.startswith(profile.schema.root):
                    continue
                if not path.endswith("."):
                    if profile.schema.parameter(path) is not None:
                        parameters.append(path)
                    continue
                definition = profile.schema.object(path)
                if definition is None:
                    continue
                wanted = getattr(declaration, "columns", ())
                if wanted or not profile.has_object(path):
                    names = wanted or [p.name for p in definition.parameters if p.status not in _OUT_OF_USE]
                    parameters += [path + name for name in names]
                parent = profile.schema.object(definition.parent) if definition.parent else None
                if definition.count and parent is not None and parent.parameter(definition.count) is not None:
                    parameters.append(definition.parent + definition.count)
        return profile.extended(parameters)

    # --- attaching --------------------------------------------------------------------------------------------------------------

    def attach(self, model: DataModel) -> None:
        """Register everything that this device's profile has; what it lacks is passed over.

        Raises ConfigError where a declaration names what no model of this kind has, or writes what is read-only.
        """
        self.model = model
        for plugin in self.plugins:
            worker = Worker(plugin.name)
            self.workers.append(worker)
            for declaration in sorted(plugin.declarations, key=_breadth):
                if self._fits(model, declaration):
                    calls = Calls(declaration, worker, self.clock)
                    self.all.append(calls)
                    self._patterns[calls] = Pattern(declaration.path)
                    self._register(model, declaration, calls)

    def _fits(self, model: DataModel, declaration: Declaration) -> bool:
        """Whether the device has what is declared."""
        path = generic(declaration.path)
        schema, profile = model.schema, model.profile
        if declaration.path.endswith("."):
            found: object = schema.object(path)
            present = profile is None or profile.has_object(path)
        else:
            found = schema.parameter(path)
            head, _, leaf = path.rpartition(".")
            present = profile is None or leaf in profile.parameters_of(head + ".")
        if found is None:
            raise ConfigError(
                f"{declaration.name}: {schema.name} has no {declaration.path}{_nearest(schema.name, path, model)}"
            )
        if not present:
            LOG.debug("%s: this device has no %s; passed over", declaration.name, declaration.path)
        return present

    def _register(self, model: DataModel, declaration: Declaration, calls: Calls) -> None:
        path = declaration.path
        if isinstance(declaration, Table):
            table = LiveTable(declaration, calls, self)
            self.tables[path] = table
            definition = model.schema.object(path)
            count = ""
            if definition is not None and definition.count:
                count = path.removesuffix("{i}.").removesuffix(".").rpartition(".")[0] + "." + definition.count
            model.live(path, table.refresh, count=count)
            model.source(path, read_of=lambda model, paths: self._columns(model, table, paths))
        elif isinstance(declaration, Group):
            model.source(path, read_of=lambda model, paths: self._many(model, calls, paths))
        else:
            model.source(path, read_of=lambda model, paths: self._each(model, calls, paths))
        if declaration.writes or isinstance(declaration, Table):
            hook = _Hook(self, calls)
            model.hook(path, validate=hook.validate, apply=hook.apply, undo=hook.undo, notify=hook.notify)

    # --- reading ----------------------------------------------------------------------------------------------------------------

    def _each(self, model: DataModel, calls: Calls, paths: Sequence[str]) -> Mapping[str, object]:
        """Values of a `@parameter`: one call for each row, one for a parameter without rows."""
        out: dict[str, object] = {}
        for path in paths:
            try:
                value = calls.read(self.row(model, calls.declaration.path, path))
                text = None if value is None else self.text(model.definition(path), value)
            except Exception as e:
                self._failed(model, calls, path, e, out)
                continue
            self._answer(path, text, out)
        return out

    def _many(self, model: DataModel, calls: Calls, paths: Sequence[str]) -> Mapping[str, object]:
        """Values of a `@group`: one call for each row that is concerned."""
        depth = len(Path.parse(calls.declaration.path).segments)
        out: dict[str, object] = {}
        for prefix, mine in _by_prefix(paths, depth).items():
            try:
                values = calls.read(self.row(model, calls.declaration.path, prefix))
                if not isinstance(values, Mapping):
                    raise TypeError(f"a dict of values by name was expected, not {type(values).__name__}")
            except Exception as e:
                for path in mine:
                    self._failed(model, calls, path, e, out)
                continue
            self._take(model, calls, prefix, mine, values, out)
        return out

    def _columns(self, model: DataModel, table: LiveTable, paths: Sequence[str]) -> Mapping[str, object]:
        """Values of the rows of a `@table`, from what its function said last."""
        depth = len(Path.parse(table.declaration.path).segments)
        out: dict[str, object] = {}
        for prefix, mine in _by_prefix(paths, depth).items():
            known = table.rows.get(prefix)
            if known is not None:
                self._take(model, table.calls, prefix, mine, known[1], out)
        return out

    def _take(
        self,
        model: DataModel,
        calls: Calls,
        prefix: str,
        paths: Sequence[str],
        values: Mapping[str, Any],
        out: dict[str, object],
    ) -> None:
        for path in paths:
            value = values.get(path[len(prefix) :])
            if value is None:
                continue
            try:
                self._answer(path, self.text(model.definition(path), value), out)
            except Exception as e:
                self._failed(model, calls, path, e, out)

    def _answer(self, path: str, text: str | None, out: dict[str, object]) -> None:
        if text is not None:
            self._last[path] = text
            out[path] = text

    def _failed(self, model: DataModel, calls: Calls, path: str, error: Exception, out: dict[str, object]) -> None:
        """A value could not be had: what was shown last, or a fault for who named the parameter, or the stored value."""
        calls.complain(path, error)
        last = self._last.get(path)
        if last is not None:
            out[path] = last
        elif path in model.asked:
            if isinstance(error, Fault):
                raise error
            raise Fault(FaultCode.INTERNAL_ERROR, f"{path} cannot be read now: {sentence(error)}") from error

    def text(self, parameter: ParameterDef, value: Any) -> str:
        """The canonical text of what a plug-in gave. Raises Fault where it does not fit the parameter."""
        if isinstance(value, Reference):
            value = self.path_of(value.path, value.key)
        elif isinstance(value, list | tuple) and any(isinstance(item, Reference) for item in value):
            resolved = [self.path_of(v.path, v.key) if isinstance(v, Reference) else v for v in value]
            value = [item for item in resolved if item]
        return parameter.check(parameter.text_of(value), device=True)

    # --- rows -------------------------------------------------------------------------------------------------------------------

    def row(self, model: DataModel, pattern: str, path: str, read: Callable[[str], str] | None = None) -> Row | None:
        """The innermost row of a path that a pattern covers, with the rows around it; None where the pattern has no rows."""
        if "{i}" not in pattern:
            return None
        own, parts = Path.parse(pattern).segments, path.split(".")
        read = read or (lambda name: model.value(name, reveal=True))
        row: Row | None = None
        for at, segment in enumerate(own):
            if isinstance(segment, Wildcard):
                prefix = ".".join(parts[: at + 1]) + "."
                table = self.tables.get(generic(prefix))
                key, values = table.rows.get(prefix, ("", {})) if table is not None else ("", {})
                row = Row(prefix, int(parts[at]), key, values, row, read)
        return row

    def rows_of(self, model: DataModel, calls: Calls) -> list[Row | None]:
        """What a declaration's function is called with: its rows, or None once where it has none."""
        declaration = calls.declaration
        if isinstance(declaration, Table):
            table = self.tables[declaration.path]
            return [table.parent_row(model, path) for path, _ in table.parents(model)]
        if "{i}" not in declaration.path:
            return [None]
        head = declaration.path[: declaration.path.rindex("{i}.") + 4]
        return [self.row(model, head, path) for path, _ in places(model, head)]

    # --- ahead of requests ------------------------------------------------------------------------------------------------------

    async def prepare(self, paths: Sequence[str]) -> None:
        """Call what a request for these paths is going to need, so that the request itself does not hold up the loop."""
        model = self.model
        if model is None:
            return
        wanted = []
        for text in paths:
            try:
                wanted.append(Path.parse(text).segments)
            except Fault:
                continue  # the request itself is refused for it
        tables = {t.pattern.text for t in model.registry.live_for(paths)} if model.registry is not None else set()
        for calls in self.all:
            declaration = calls.declaration
            if declaration.inline:
                continue
            if isinstance(declaration, Table):
                concerned = declaration.path in tables
            else:
                concerned = any(meet(self._patterns[calls].path.segments, segments) for segments in wanted)
            if not concerned:
                continue
            for row in self.rows_of(model, calls):
                if calls.declaration.poll and calls.fresh(row.path if row else "") is not None:
                    continue
                await calls.fetch(row)
            if isinstance(declaration, Table):
                model.freshen([declaration.path.removesuffix("{i}.").replace("{i}", "*")])

    def close(self) -> None:
        """End the threads."""
        for worker in self.workers:
            worker.close()


class _Hook:
    """What a declaration has to say about changes."""

    def __init__(self, host: PluginHost, calls: Calls) -> None:
        self._host = host
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
        if declaration.validator is None or self._name(change) in _NOT_TOLD:
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
                        row = self._host.row(view.model, self._declaration.path, change.path, view.value)
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
            if c.kind is ChangeKind.VALUE and c.writer is not Writer.SYSTEM and self._name(c) not in _NOT_TOLD
        ]
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
        row = self._host.row(view.model, self._declaration.path, path, read)
        return () if row is None else (row,)

    def _value(self, view: Transaction, change: Change) -> tuple[Any, ...]:
        """What `validate` is told of a change: the value, and in a group or table its name before it."""
        meaning = self._meaning(view, change)
        if isinstance(self._declaration, Parameter):
            return (meaning,)
        return (".".join(change.path.split(".")[self._depth :]), meaning)

    @staticmethod
    def _meaning(view: Transaction, change: Change) -> Any:
        return to_value(view.locate(change.path).parameter.syntax, change.new)

    @staticmethod
    def _known(view: Transaction, change: Change) -> bool:
        """Whether the parameter is still there: the row of a change that is taken back may be gone."""
        try:
            view.locate(change.path)
        except Fault:
            return False
        return True

    def _own_row(self, change: Change) -> bool:
        return change.path.count(".") == self._depth

    @staticmethod
    def _name(change: Change) -> str:
        return change.path.rpartition(".")[2]


def _breadth(declaration: Declaration) -> tuple[int, int]:
    """Sorts what covers much before what covers little: of several sources the one that is registered last counts."""
    kind = 0 if isinstance(declaration, Table) else 1 if isinstance(declaration, Group) else 2
    return (kind, declaration.path.count("."))


def _by_prefix(paths: Sequence[str], depth: int) -> dict[str, list[str]]:
    """Paths by their first segments, each prefix with its dot."""
    found: dict[str, list[str]] = {}
    for path in paths:
        prefix = ".".join(path.split(".")[:depth]) + "."
        found.setdefault(prefix, []).append(path)
    return found


def _nearest(model_name: str, path: str, model: DataModel) -> str:
    """What the writer may have meant, as the end of a sentence."""
    import difflib

    head, _, leaf = path.removesuffix(".").rpartition(".")
    definition = model.schema.object(head + ".")
    if definition is None:
        return "; correct the path, `homeport model list` shows what there is"
    names = [p.name for p in definition.parameters] + [c.rstrip(".").rpartition(".")[2] for c in definition.children]
    near = difflib.get_close_matches(leaf, names, n=1)
    return f"; did you mean {head}.{near[0]}?" if near else f"; {head}. has {', '.join(sorted(names)[:8])} ..."


def _nobody(paths: Sequence[str]) -> None:
    """Before the agent runs nobody is to be told."""


def _nobody_owes(code: str, command_key: str) -> None:
    LOG.warning("the event %s came before the agent runs and is lost", code)
