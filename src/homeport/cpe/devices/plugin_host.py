"""Brings plug-ins to a data model: their functions become its sources, hooks and live tables.

A plug-in can fail, hang or talk nonsense: its parameter then shows what it showed last. Where there is nothing of that kind, a request that
names the parameter gets fault 9002 with a sentence, and one that only passes by gets the stored value; the log has the reason.
Threads and limits are `worker`'s, background work (polling, events) is `parts.plugins`'.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from homeport.cpe.clock import Clock
from homeport.cpe.devices.calls import Calls, sentence
from homeport.cpe.devices.declaration_hook import DeclarationHook
from homeport.cpe.devices.declarations import Bundle, Declaration, Group, Key, Reference, Row, Table
from homeport.cpe.devices.live_tables import LiveTable, places
from homeport.cpe.devices.mapper import Mapper
from homeport.cpe.devices.plugin import Host, Plugin
from homeport.cpe.devices.worker import Worker
from homeport.cpe.journal import LOG
from homeport.errors import ConfigError, Fault
from homeport.model.nodes import Node
from homeport.model.path import Path, Wildcard, generic
from homeport.model.profile import ProfileDef
from homeport.model.schema import ParameterDef, is_vendor_name
from homeport.model.sources import Pattern, ReadOf, meet
from homeport.model.tree import DataModel
from homeport.model.types import Syntax
from homeport.terms import FaultCode, ValueType

_OUT_OF_USE: Final = frozenset({"deprecated", "obsoleted", "deleted"})


_ROOTS: Final = ("Device.", "InternetGatewayDevice.")

MOST_SHOWN: Final = 20
"""Failing parameters of one plug-in that a person is shown."""


class PluginHost(Host):
    """The plug-ins of one device."""

    def __init__(self, plugins: Sequence[Plugin], clock: Clock, mapper: Mapper | None = None) -> None:
        """mapper: what is shown of the device in another way than the plug-ins say it."""
        self.plugins = tuple(plugins)
        self.mapper = mapper or Mapper()
        self._declared = [
            (plugin, [self.mapper.renamed(d) for d in sorted(plugin.declarations, key=_breadth)]) for plugin in plugins
        ]
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
        self._patterns: dict[Calls, list[Pattern]] = {}
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
        own: list[ParameterDef] = []
        for plugin, declarations in self._declared:
            if not plugin.extends:
                continue
            for declaration, declared in [(d, p) for d in declarations for p in d.paths]:
                path = generic(declared)
                if not path.startswith(profile.schema.root):
                    continue
                if not path.endswith("."):
                    if profile.schema.parameter(path) is not None:
                        parameters.append(path)
                    elif any(map(is_vendor_name, path.split("."))):
                        own.append(_of_vendor(declaration, path))
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
        return self.mapper.fitted(profile.extended(parameters, own=own))

    # --- attaching --------------------------------------------------------------------------------------------------------------

    def attach(self, model: DataModel) -> None:
        """Register everything that this device's profile has; what it lacks is passed over.

        Raises ConfigError where a declaration names what no model of this kind has, or writes what is read-only.
        """
        self.model = model
        self.mapper.check_served(p for _, declarations in self._declared for d in declarations for p in d.paths)
        for plugin, declarations in self._declared:
            worker = Worker(plugin.name)
            self.workers.append(worker)
            for declaration in declarations:
                present = [path for path in declaration.paths if self._has(model, declaration, path)]
                if present:
                    calls = Calls(declaration, worker, self.clock)
                    self.all.append(calls)
                    self._patterns[calls] = [Pattern(path) for path in present]
                    self._register(model, declaration, calls)
        self.mapper.attach(model)

    @staticmethod
    def _has(model: DataModel, declaration: Declaration, declared: str) -> bool:
        """Whether the device has what is declared."""
        path = generic(declared)
        schema, profile = model.schema, model.profile
        if not path.startswith(schema.root) and path.startswith(_ROOTS):
            return False  # a plug-in for devices of both roots, or installed for another device on this machine
        if path.endswith("."):
            found: object = schema.object(path)
            present = profile is None or profile.has_object(path)
        else:
            found = schema.parameter(path)
            head, _, leaf = path.rpartition(".")
            present = profile is None or leaf in profile.parameters_of(head + ".")
        if found is None:
            raise ConfigError(f"{declaration.name}: {schema.name} has no {declared}{_nearest(path, model)}")
        if not present:
            LOG.debug("%s: this device has no %s; passed over", declaration.name, declared)
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
        elif isinstance(declaration, Bundle):
            read_of: ReadOf = lambda model, paths: self._bundle(model, calls, paths)  # noqa: E731
            for pattern in self._patterns[calls]:
                model.source(pattern.text, read_of=read_of)
            path = model.root  # one hook, so that one request is one call
        else:
            model.source(path, read_of=lambda model, paths: self._each(model, calls, paths))
        if declaration.writes or isinstance(declaration, Table):
            hook = DeclarationHook(self, calls, self._patterns[calls])
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
            self._answer(calls, path, text, out)
        return out

    def _bundle(self, model: DataModel, calls: Calls, paths: Sequence[str]) -> Mapping[str, object]:
        """Values of a `@bundle`: one call for all of them."""
        out: dict[str, object] = {}
        for path, outcome in calls.read_many(paths).items():
            try:
                value = outcome.get()
                text = None if value is None else self.text(model.definition(path), value)
            except Exception as e:
                self._failed(model, calls, path, e, out)
                continue
            self._answer(calls, path, text, out)
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
        shape = model.shape_at(prefix)
        for path in paths:
            name = path[len(prefix) :]
            value = values.get(name)
            if value is None:
                continue
            try:
                # A name below a child object is looked up by its path; most are the object's own.
                at = shape.index.get(name) if shape is not None else None
                definition = model.definition(path) if at is None or shape is None else shape.parameters[at]
                self._answer(calls, path, self.text(definition, value), out)
            except Exception as e:
                self._failed(model, calls, path, e, out)

    def _answer(self, calls: Calls, path: str, text: str | None, out: dict[str, object]) -> None:
        if calls.failing:
            calls.failing.pop(path, None)
        if text is not None:
            if not isinstance(calls.declaration, Table):
                self._last[path] = text  # a table's rows are kept themselves; their paths change as they come and go
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
        value = self.mapper.inward(parameter, value)
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

    def paths_of(self, model: DataModel, calls: Calls) -> list[str]:
        """Every parameter of a bundle, with instance numbers."""
        found = []
        for pattern in self._patterns[calls]:
            head, _, name = pattern.text.rpartition(".")
            found += [path + name for path, place in places(model, head + ".") if isinstance(place, Node)]
        return found

    def report(self) -> list[dict[str, Any]]:
        """The plug-ins for people: `{name, serves, failing: [{path, error}], restarts}`; restarts None where there is no process."""
        rows = []
        for plugin, declarations in self._declared:
            mine = {id(d) for d in declarations}
            calls = [c for c in self.all if id(c.declaration) in mine]
            failing = [{"path": path, "error": error} for c in calls for path, error in c.failing.items()]
            rows.append(
                {
                    "name": plugin.name,
                    "serves": [path for c in calls for path in c.declaration.paths],
                    "failing": failing[:MOST_SHOWN],
                    "restarts": plugin.restarts() if plugin.restarts is not None else None,
                }
            )
        return rows

    # --- ahead of requests ------------------------------------------------------------------------------------------------------

    async def prepare(self, paths: Sequence[str], *, rows_only: bool = False) -> None:
        """Call what a request for these paths is going to need, so that the request itself does not hold up the loop.

        rows_only: the request asks which rows there are, and for no values.
        """
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
            if declaration.inline or (rows_only and not isinstance(declaration, Table)):
                continue
            if isinstance(declaration, Table):
                concerned = declaration.path in tables
            else:
                concerned = any(meet(p.path.segments, s) for p in self._patterns[calls] for s in wanted)
            if concerned:
                await self.fetch(calls, wanted)
            if concerned and isinstance(declaration, Table):
                model.freshen([declaration.path.removesuffix("{i}.").replace("{i}", "*")])

    async def fetch(
        self, calls: Calls, wanted: Sequence[tuple[object, ...]] | None = None, *, again: bool = False
    ) -> bool:
        """Ask a declaration's function without blocking the loop; whether it said anything new.

        wanted: segments of paths that are going to be read, None for everything. again: also what polling found out lately.
        """
        model = self.model
        assert model is not None

        def stale(key: str) -> bool:
            return again or not calls.declaration.poll or calls.fresh(key) is None

        if isinstance(calls.declaration, Bundle):
            paths = [
                p
                for p in self.paths_of(model, calls)
                if stale(p) and (wanted is None or any(meet(Path.parse(p).segments, s) for s in wanted))
            ]
            return bool(paths) and await calls.fetch_many(paths)
        news = False
        for row in self.rows_of(model, calls):
            if stale(row.path if row else ""):
                news = await calls.fetch(row) or news
        return news

    def close(self) -> None:
        """End the threads, and what plug-ins opened."""
        for worker in self.workers:
            worker.close()
        for plugin in self.plugins:
            for closer in plugin.closers:
                closer()


def _of_vendor(declaration: Declaration, path: str) -> ParameterDef:
    """The definition of a vendor's own parameter, as its declaration says it: writable where it has an `apply`."""
    syntax = Syntax(ValueType(declaration.type_of(path)))
    name = path.rpartition(".")[2]
    return ParameterDef(name, syntax, path=path, writable=declaration.applier is not None)


def _breadth(declaration: Declaration) -> tuple[int, int]:
    """Sorts what covers much before what covers little: of several sources the one that is registered last counts."""
    kind = 0 if isinstance(declaration, Table) else 1 if isinstance(declaration, Group) else 2
    return (declaration.path.count("."), kind)


def _by_prefix(paths: Sequence[str], depth: int) -> dict[str, list[str]]:
    """Paths by their first segments, each prefix with its dot."""
    found: dict[str, list[str]] = {}
    for path in paths:
        prefix = ".".join(path.split(".")[:depth]) + "."
        found.setdefault(prefix, []).append(path)
    return found


def _nearest(path: str, model: DataModel) -> str:
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
