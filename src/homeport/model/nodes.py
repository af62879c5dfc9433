"""The tree's material: shapes (what an object may hold), nodes and tables (what it holds), and the blueprint that devices share.

Nodes that belong to a blueprint or to a committed state are never changed. A transaction copies what it touches and marks the copy
with its token (`owner`), so that thousands of devices share every node in which they do not differ, and a rollback is to forget.
"""

from typing import Any, Final

from homeport.errors import ConfigError
from homeport.model.path import Path
from homeport.model.profile import ProfileDef
from homeport.model.schema import ActiveNotify, ObjectDef, ParameterDef, Schema
from homeport.model.types import null_text

_FILLED: Final = frozenset(
    ("parameters", "names", "types", "index", "children", "child_index", "hidden", "counts", "references", "alias", "order", "forced",
     "active", "created")
)  # fmt: skip


class Shape:
    """One object of the model as one kind of device has it: its parameters and child objects, in document order.

    What needs the parameters is filled in when it is first asked for, so that empty tables cost nothing:
    parameters, names, types, index (by name): parameters of the object. children, child_index (by name): shapes below.
    references, forced, active: parameter indices of references, those in every Inform, always-active ones.
    hidden: parameter index of each hidden one, with the text that it reads as.
    counts: (parameter index, child index) of row counts. alias, order: index of the row's alias and precedence, -1 where it has none.
    created: values of a new instance.
    """

    __slots__ = (
        "definition", "path", "table", "growable", "fixed", "_blueprint", "_row",
        "parameters", "names", "types", "index", "children", "child_index", "hidden", "counts", "references", "alias", "order",
        "forced", "active", "created",
    )  # fmt: skip

    parameters: tuple[ParameterDef, ...]
    names: tuple[str, ...]
    types: tuple[str, ...]
    index: dict[str, int]
    children: "tuple[Shape, ...]"
    child_index: dict[str, int]
    hidden: dict[int, str]
    counts: tuple[tuple[int, int], ...]
    references: tuple[int, ...]
    alias: int
    order: int
    forced: tuple[int, ...]
    active: tuple[int, ...]
    created: tuple[str, ...]

    def __init__(self, definition: ObjectDef, blueprint: "Blueprint", fixed: int | None) -> None:
        self.definition = definition
        self.path = definition.path
        self.table = definition.table
        self.fixed = fixed
        """Number of rows of a table whose rows are always 1..fixed; None otherwise."""
        self.growable = definition.table and definition.writable and fixed is None and not blueprint.closes(definition)
        """The ACS may add and delete rows."""
        self._blueprint = blueprint
        self._row: Node | None = None

    def __repr__(self) -> str:
        return f"Shape({self.path!r})"

    def __getattr__(self, name: str) -> Any:
        if name not in _FILLED:
            raise AttributeError(name)
        self._fill()
        return object.__getattribute__(self, name)

    def _fill(self) -> None:
        self.parameters = parameters = self._blueprint.parameters_of(self.definition)
        self.children = children = self._blueprint.shapes_below(self.definition)
        self.names = tuple([p.name for p in parameters])
        self.types = tuple([p.type for p in parameters])
        self.index = index = {name: i for i, name in enumerate(self.names)}
        self.child_index = {c.definition.name: i for i, c in enumerate(children)}
        self.hidden = {i: null_text(p.syntax) for i, p in enumerate(parameters) if p.hidden or p.secured}
        self.counts = tuple(
            [(index[c.definition.count], i) for i, c in enumerate(children) if c.table and c.definition.count in index]
        )
        self.references = tuple([i for i, p in enumerate(parameters) if p.syntax.reference is not None])
        self.alias = index.get("Alias", -1) if self.table else -1
        self.order = next((i for i, p in enumerate(parameters) if self.table and p.syntax.named == "Order"), -1)
        self.forced = tuple([i for i, p in enumerate(parameters) if p.forced_inform])
        self.active = tuple([i for i, p in enumerate(parameters) if p.active_notify >= ActiveNotify.FORCE_ENABLED])
        self.created = tuple([p.first_value(created=True) for p in parameters])

    def new_row(self) -> "Node":
        """The object as it is right after its creation; shared, so copy before changing."""
        if self._row is None:
            self._row = Node(self, self.created, tuple(c.new_child() for c in self.children))
        return self._row

    def new_child(self) -> "Node | Table":
        """What stands at this shape's place in a new parent: the object, or its table with the rows that are always there."""
        if not self.table:
            return self.new_row()
        table = Table(self, {}, 1)
        for number in range(1, (self.fixed or self.definition.minimum) + 1):
            table.rows[number] = self.row_with_alias(number)
            table.next = number + 1
        return table

    def row_with_alias(self, number: int) -> "Node":
        """A new row, named `cpe-<number>` where rows have an alias (TR-106: a CPE's own aliases begin with `cpe-`)."""
        row = self.new_row()
        if self.alias < 0:
            return row
        values = list(row.values)
        values[self.alias] = f"cpe-{number}"
        return Node(self, tuple(values), row.children)


class Node:
    """One object instance: values in the order of its shape's parameters, children in the order of its shape's children."""

    __slots__ = ("shape", "values", "children", "owner")

    def __init__(
        self,
        shape: Shape,
        values: "tuple[str, ...] | list[str]",
        children: "tuple[Node | Table, ...] | list[Node | Table]",
        owner: object = None,
    ) -> None:
        self.shape = shape
        self.values = values
        self.children = children
        self.owner = owner

    def table(self, at: int) -> "Table":
        """The table at a child position that holds one."""
        child = self.children[at]
        assert isinstance(child, Table)
        return child


class Table:
    """The rows of a table by instance number, in order of creation. next: the number that the next row gets; never goes back."""

    __slots__ = ("shape", "rows", "next", "owner")

    def __init__(self, shape: Shape, rows: dict[int, Node], next: int, owner: object = None) -> None:
        self.shape = shape
        self.rows = rows
        self.next = next
        self.owner = owner

    def number_of(self, alias: str) -> int | None:
        """The instance number behind an alias, or None."""
        at = self.shape.alias
        if at >= 0:
            for number, row in self.rows.items():
                if row.values[at] == alias:
                    return number
        return None


CAPABILITIES: Final = ("AliasBasedAddressing", "InstanceWildcardsSupported")
"""Parameters of `ManagementServer.` that say what this engine can do: "true" unless a profile says otherwise."""


class Blueprint:
    """What all devices of one kind share: the shapes, and the tree as it leaves the factory."""

    def __init__(self, source: Schema | ProfileDef) -> None:
        self.profile = source if isinstance(source, ProfileDef) else None
        self.schema: Schema = source.schema if isinstance(source, ProfileDef) else source
        self.name = self.profile.name if self.profile else self.schema.name
        self.root_path = self.schema.root
        if not self.root_path:
            raise ConfigError(
                f"{self.schema.name} is a service model; load it together with a root, as in "
                f'load_schema("Device:2.19", "{self.schema.name}")'
            )
        self.root_name = self.root_path[:-1]
        self.root_shape = self._shape(self.root_path)
        self.factory: Node = self._factory()
        self.factory_state: object = None
        """The state that every new device begins with; `tree` puts it here and shares it."""

    def _shape(self, path: str) -> Shape:
        definition = self.schema.object(path)
        if definition is None:
            raise ConfigError(f"{self.name}: the model {self.schema.name} has no object {path}")
        fixed = definition.maximum if definition.fixed else None
        return Shape(definition, self, self.profile.fixed.get(path, fixed) if self.profile else fixed)

    def parameters_of(self, definition: ObjectDef) -> tuple[ParameterDef, ...]:
        """The parameters that this kind of device has of an object."""
        if self.profile is None:
            return definition.parameters
        wanted, closed = self.profile.parameters_of(definition.path), self.profile.read_only
        return tuple(
            p.closed() if p.writable and p.path in closed else p for p in definition.parameters if p.name in wanted
        )

    def closes(self, definition: ObjectDef) -> bool:
        """Whether this kind of device lets nobody add rows to a table of the model."""
        return self.profile is not None and definition.path in self.profile.read_only

    def shapes_below(self, definition: ObjectDef) -> tuple[Shape, ...]:
        """Shapes of the objects that this kind of device has directly below an object."""
        return tuple(self._shape(c) for c in definition.children if self.profile is None or self.profile.has_object(c))

    def _factory(self) -> Node:
        root = _factory_node(self.root_shape)
        assert isinstance(root, Node)
        values = {}
        for server in self.root_shape.children:
            if server.definition.name == "ManagementServer":
                values = {server.path + n: "true" for n in CAPABILITIES if n in server.index}
        version = self.root_shape.index.get("RootDataModelVersion")
        if version is not None and self.root_shape.parameters[version].default_factory is None:
            values[self.root_path + "RootDataModelVersion"] = self.schema.version
        if self.profile:
            for instance in self.profile.instances:
                _add_factory_row(root, instance, self.name)
            values |= self.profile.values
        for path, text in values.items():
            _set_factory_value(root, path, text, self.name)
        _freeze(root)
        return root


def _factory_node(shape: Shape) -> "Node | Table":
    """An unshared, changeable tree with factory values."""
    if shape.table:
        table = Table(shape, {}, 1)
        for number in range(1, (shape.fixed or shape.definition.minimum) + 1):
            table.rows[number] = _factory_row(shape, number)
            table.next = number + 1
        return table
    return _factory_row(shape, 0)


def _factory_row(shape: Shape, number: int) -> Node:
    values = [p.first_value(created=False) for p in shape.parameters]
    if shape.alias >= 0:
        values[shape.alias] = f"cpe-{number}"
    if shape.order >= 0:
        values[shape.order] = str(number)
    return Node(shape, values, [_factory_node(c) for c in shape.children])


def _freeze(node: Node) -> None:
    node.values = tuple(node.values)
    node.children = tuple(node.children)
    for child in node.children:
        for below in child.rows.values() if isinstance(child, Table) else (child,):
            _freeze(below)


def _descend(root: Node, segments: tuple[object, ...], who: str, text: str) -> "Node | Table":
    place: Node | Table = root
    for segment in segments[1:]:
        below: Node | Table | None = None
        if isinstance(place, Table):
            below = place.rows.get(segment) if isinstance(segment, int) else None
        elif isinstance(segment, str) and segment in place.shape.child_index:
            below = place.children[place.shape.child_index[segment]]
        if below is None:
            raise ConfigError(
                f"profile {who}: {text} does not exist ({segment} is missing); correct it or add its instance first"
            )
        place = below
    return place


def _add_factory_row(root: Node, text: str, who: str) -> None:
    segments = Path.parse(text).segments
    number = segments[-1]
    table = _descend(root, segments[:-1], who, text)
    if not isinstance(table, Table) or not isinstance(number, int):
        raise ConfigError(f"profile {who}: {text} is not an instance of a table, such as Device.Ethernet.Interface.1.")
    table.rows.setdefault(number, _factory_row(table.shape, number))
    table.next = max(table.next, number + 1)


def _set_factory_value(root: Node, path: str, text: str, who: str) -> None:
    head, _, name = path.rpartition(".")
    place = _descend(root, Path.parse(head + ".").segments, who, path)
    if not isinstance(place, Node) or name not in place.shape.index:
        raise ConfigError(
            f"profile {who}: {path} is not a parameter of this profile; correct the name or add it to its parameters"
        )
    at = place.shape.index[name]
    assert isinstance(place.values, list)
    place.values[at] = place.shape.parameters[at].check(text, device=True)


_blueprints: dict[int, tuple[object, Blueprint]] = {}


def blueprint_of(source: Schema | ProfileDef) -> Blueprint:
    """The blueprint of a schema or profile; made once and shared."""
    found = _blueprints.get(id(source))
    if found is None:
        found = _blueprints[id(source)] = (source, Blueprint(source))  # the source is kept, so its id stays its own
    return found[1]
