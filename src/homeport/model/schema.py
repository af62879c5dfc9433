"""What a model says: objects, parameters, access, types, keys, defaults, profiles. Immutable; compiled tables load lazily.

A `Schema` keeps the parameters of each object packed until somebody looks at that object, so that a model of 7,000 parameters
costs little to open. `schema_xml` makes schemas from the Broadband Forum's XML; `load_schema` opens the ones that are shipped.
Source: TR-106a7 2 and 3, cwmp-datamodel-1-15.xsd.
"""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from enum import IntEnum
from typing import Final

import msgspec

from homeport.errors import ConfigError, Fault
from homeport.model.path import generic
from homeport.model.tables import (
    ACTIVE_BELOW,
    BELOW,
    COMMAND,
    FORCED_BELOW,
    FORCED_INFORM,
    HIDDEN,
    REFERENCES_BELOW,
    SECURED,
    TABLE,
    WRITABLE,
    WRITE_ONCE,
    ObjectRow,
    ProfileRow,
    Table,
    UniqueKey,
    decode_parameters,
    decode_syntax,
    unpack,
)
from homeport.model.types import Checker, Syntax, checker, first_value
from homeport.model.values import to_text
from homeport.terms import ValueType


class ActiveNotify(IntEnum):
    """What the ACS may ask of a parameter's active notification (TR-106 `activeNotify`)."""

    NORMAL = 0
    CAN_DENY = 1
    FORCE_ENABLED = 2
    FORCE_DEFAULT_ENABLED = 3


class ParameterDef:
    """One parameter of an object: name, type, access and what else the model says. `path` has `{i}` for instances."""

    __slots__ = (
        "name", "path", "syntax", "type", "writable", "since", "status", "active_notify", "forced_inform", "hidden", "secured",
        "command", "write_once", "default_object", "default_factory", "default_implementation", "_checker",
        "_initial",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        syntax: Syntax,
        *,
        path: str = "",
        writable: bool = False,
        since: str = "",
        status: str = "",
        active_notify: ActiveNotify = ActiveNotify.NORMAL,
        forced_inform: bool = False,
        hidden: bool = False,
        secured: bool = False,
        command: bool = False,
        write_once: bool = False,
        default_object: str | None = None,
        default_factory: str | None = None,
        default_implementation: str | None = None,
        initial: str | None = None,
    ) -> None:
        self.name = sys.intern(name)
        self.path = path or name
        self.syntax = syntax
        self.type: str = syntax.wire.value
        """The local name of xsi:type."""
        self.writable = writable
        self.since = since
        self.status = status
        self.active_notify = active_notify
        self.forced_inform = forced_inform
        self.hidden = hidden
        self.secured = secured
        self.command = command
        self.write_once = write_once
        """May be given when its object is created, and not after; CWMP shows it as read-only."""
        self.default_object = default_object
        self.default_factory = default_factory
        self.default_implementation = default_implementation
        self._checker: Checker | None = None
        self._initial = initial

    def __repr__(self) -> str:
        return f"ParameterDef({self.path!r}, {self.type}, {'rw' if self.writable else 'ro'})"

    def closed(self) -> "ParameterDef":
        """The same parameter, read-only."""
        made = copy(self)
        made.writable = False
        return made

    def check(self, text: str, *, device: bool = False) -> str:
        """The canonical text of a value. device: the device itself writes, so values that only it may report are allowed.

        Raises Fault 9006 or 9007 with a message that says what was expected.
        """
        check = self._checker
        if check is None:
            check = self._checker = checker(self.syntax)
        return check(text, device)

    def text_of(self, value: object) -> str:
        """The wire's text for a Python value of this parameter's type."""
        if self.syntax.base is ValueType.BASE64 and isinstance(value, bytes):
            import base64

            return base64.b64encode(value).decode()
        return to_text(value)  # type: ignore[arg-type]

    def first_value(self, *, created: bool) -> str:
        """The value in a new instance (created), or in a device as it leaves the factory.

        The model's default where it has one that its own type allows; else an empty, zero or false value.
        """
        order = (self.default_object, self.default_factory, self.default_implementation)
        if not created:
            order = (self.default_factory, self.default_object, self.default_implementation)
        for text in order:
            if text is not None:
                return text
        return self.initial

    @property
    def initial(self) -> str:
        """What the type alone makes of a parameter without a default."""
        if self._initial is None:
            self._initial = first_value(self.syntax)
        return self._initial

    def usable_default(self, text: str | None) -> str | None:
        """A default's canonical text, or None where its own type refuses it: such defaults are meant for people."""
        try:
            return None if text is None else self.check(text, device=True)
        except Fault:
            return None  # the type's own first value serves instead


class ObjectDef:
    """One object: single (`Device.DeviceInfo.`) or the rows of a table (`Device.Bridging.Bridge.{i}.`).

    access is what `writable` says: AddObject and DeleteObject are allowed. maximum: None is unbounded. count: the parameter of
    the parent that tells the number of rows. enable: the parameter of a row without which functional keys are not compared.
    """

    __slots__ = (
        "name", "path", "table", "writable", "since", "status", "minimum", "maximum", "count", "enable", "keys", "children",
        "below", "_parameters", "_unpack",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        *,
        parameters: Iterable[ParameterDef] | Callable[[], tuple[ParameterDef, ...]] = (),
        below: int = 0,
        children: Iterable[str] = (),
        writable: bool = False,
        since: str = "",
        status: str = "",
        minimum: int | None = None,
        maximum: int | None = -1,
        count: str = "",
        enable: str = "",
        keys: tuple[UniqueKey, ...] = (),
    ) -> None:
        self.path = path
        self.table = path.endswith(".{i}.")
        self.name = sys.intern(path.removesuffix(".{i}.").removesuffix(".").rpartition(".")[2])
        self.writable = writable
        self.since = since
        self.status = status
        self.minimum = minimum if minimum is not None else (0 if self.table else 1)
        self.maximum = maximum if maximum != -1 else (None if self.table else 1)
        self.count = count
        self.enable = enable
        self.keys = keys
        self.children = tuple(children)
        """Paths of the objects directly below, in document order."""
        self.below = below
        """FORCED_BELOW, ACTIVE_BELOW and REFERENCES_BELOW, so that whole branches can be passed over."""
        self._parameters: tuple[ParameterDef, ...] = ()
        self._unpack: Callable[[], tuple[ParameterDef, ...]] | None = None
        if callable(parameters):
            self._unpack = parameters
        else:
            self.parameters = tuple(parameters)

    def __repr__(self) -> str:
        return f"ObjectDef({self.path!r}, {len(self.parameters)} parameters)"

    @property
    def parameters(self) -> tuple[ParameterDef, ...]:
        """In document order; unpacked when first looked at."""
        if self._unpack is not None:
            self._parameters, self._unpack = self._unpack(), None
        return self._parameters

    @parameters.setter
    def parameters(self, parameters: tuple[ParameterDef, ...]) -> None:
        self._unpack = None
        self._parameters = parameters
        for parameter in parameters:
            parameter.path = self.path + parameter.name

    @property
    def fixed(self) -> bool:
        """A table whose rows are always 1..maximum."""
        return self.table and self.maximum is not None and self.minimum == self.maximum

    @property
    def parent(self) -> str:
        """Path of the object above, "" for a root."""
        stem = self.path.removesuffix("{i}.").removesuffix(".")
        head = stem.rpartition(".")[0]
        return head + "." if head else ""

    def parameter(self, name: str) -> ParameterDef | None:
        """The parameter of this name, or None."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        return None


class Schema:
    """A data model. name: `Device:2.19`. root: `Device.`, or "" for a service model that was not mounted under a root."""

    def __init__(self, name: str, objects: Iterable[ObjectDef] = (), *, profiles: Iterable[ProfileRow] = ()) -> None:
        self.name = name
        self._objects: dict[str, ObjectDef] = {}
        self._rows: dict[str, tuple[int, int, tuple[str, ...]]] = {}
        self._syntaxes: dict[int, list[Syntax | None]] = {}
        self._profiles: tuple[ProfileRow, ...] | None = tuple(profiles)
        self._tables: list[Table] = []
        self._order: list[str] = []
        for definition in objects:
            self._objects[definition.path] = definition
            self._order.append(definition.path)
        if self._order:
            self._link()

    def _link(self) -> None:
        """Fills in the children of hand-built objects that name none, and what lies below each."""
        below: dict[str, list[str]] = {}
        for path in self._order:
            if self._objects[path].parent:
                below.setdefault(self._objects[path].parent, []).append(path)
        owner = {d.path.removesuffix("{i}."): d.path for d in self._objects.values()}
        for definition in self._objects.values():
            found = below.get(definition.path)
            if found and not definition.children:
                definition.children = tuple(found)
        for path in reversed(self._order):
            here = self._objects[path]
            here.below |= _flags_of(here)
            above = self._objects.get(owner.get(here.parent, here.parent))
            if above is not None and above is not here:
                above.below |= here.below
        for parent in below:
            if owner.get(parent, parent) not in self._objects:
                raise ConfigError(f"{self.name}: {parent} has objects below it but is not defined; add it")

    @classmethod
    def from_tables(cls, tables: Iterable[Table], *, mount: str = "Services.") -> "Schema":
        """A schema over compiled tables: the first is the model, the others are services mounted at `<root>Services.`."""
        schema = cls.__new__(cls)
        schema._objects, schema._rows, schema._syntaxes = {}, {}, {}
        schema._profiles, schema._tables, schema._order = None, [], []
        for table in tables:
            schema._add_table(table, mount)
        schema.name = schema._tables[0].name
        return schema

    def _add_table(self, table: Table, mount: str) -> None:
        index = len(self._tables)
        self._tables.append(table)
        self._syntaxes[index] = [None] * len(table.syntaxes)
        prefix = "" if index == 0 else self._order[0] + mount
        if prefix and prefix not in self._rows:
            raise ConfigError(
                f"{self._tables[0].name} has no {prefix} where {table.name} could go; import it with a root model"
            )
        paths: list[str] = []
        children: list[list[str]] = []
        for row in table.objects:
            above = paths[row.parent] if row.parent >= 0 else prefix
            path = (above + row.name + ".{i}." if row.flags & TABLE else above + row.name + ".") if row.name else above
            paths.append(path)
            children.append([])
            if row.parent >= 0 and row.name:
                children[row.parent].append(path)
        for at, (path, row) in enumerate(zip(paths, table.objects, strict=True)):
            if index and not row.name:  # the service's own top level: its NumberOfEntries parameters go into Services.
                self._extend(path, index, at, tuple(children[at]))
                continue
            self._rows[path] = (index, at, tuple(children[at]))
            self._order.append(path)

    def _extend(self, path: str, index: int, at: int, children: tuple[str, ...]) -> None:
        base = self.object(path)
        assert base is not None
        more = self._parameters(index, self._tables[index].objects[at], path)
        base.parameters += more
        base.below |= self._tables[index].objects[at].flags & BELOW
        base.children += children

    @property
    def root(self) -> str:
        """`Device.` or `InternetGatewayDevice.`; "" for a service model on its own."""
        first = self._order[0] if self._order else ""
        return first if first and "{i}" not in first else ""

    @property
    def version(self) -> str:
        """`2.19` of `Device:2.19`."""
        return self.name.partition(":")[2]

    def __contains__(self, path: str) -> bool:
        return path in self._objects or path in self._rows

    def __len__(self) -> int:
        return len(self._order)

    def paths(self) -> tuple[str, ...]:
        """Paths of all objects, in document order, a parent before its children."""
        return tuple(self._order)

    def object(self, path: str) -> ObjectDef | None:
        """The object at a path spelled with `{i}`, or None."""
        found = self._objects.get(path)
        if found is None:
            packed = self._rows.get(path)
            if packed is None:
                return None
            index, at, children = packed
            row = self._tables[index].objects[at]
            found = ObjectDef(
                path,
                parameters=functools.partial(self._parameters, index, row, path),
                below=row.flags & BELOW,
                children=children,
                writable=bool(row.flags & WRITABLE),
                since=row.since,
                status=row.status,
                minimum=row.minimum,
                maximum=row.maximum,
                count=row.count,
                enable=row.enable,
                keys=row.keys,
            )
            self._objects[path] = found
        return found

    def _parameters(self, index: int, row: ObjectRow, path: str) -> tuple[ParameterDef, ...]:
        rows = decode_parameters(row.parameters)
        return tuple(
            ParameterDef(
                r.name,
                self._syntax(index, r.syntax),
                path=path + r.name,
                writable=bool(r.flags & WRITABLE),
                since=r.since or row.since,
                status=r.status,
                active_notify=ActiveNotify(r.notify),
                forced_inform=bool(r.flags & FORCED_INFORM),
                hidden=bool(r.flags & HIDDEN),
                secured=bool(r.flags & SECURED),
                command=bool(r.flags & COMMAND),
                write_once=bool(r.flags & WRITE_ONCE),
                default_object=r.default_object,
                default_factory=r.default_factory,
                default_implementation=r.default_implementation,
                initial=r.initial,
            )
            for r in rows
        )

    def _syntax(self, index: int, number: int) -> Syntax:
        known = self._syntaxes[index]
        found = known[number]
        if found is None:
            found = known[number] = decode_syntax(self._tables[index].syntaxes[number])
        return found

    def release(self) -> None:
        """Forget the objects that nobody has asked for: a device has a tenth of its model, and the rest is 1 MB.

        For a process that knows what it needs; whoever asks for more afterwards is told that the model has none.
        """
        for definition in self._objects.values():
            _ = definition.parameters
        self._rows = {path: packed for path, packed in self._rows.items() if path in self._objects}
        self._order = [path for path in self._order if path in self._objects]
        nothing = msgspec.Raw(b"\x90")
        self._tables = [msgspec.structs.replace(t, objects=(), syntaxes=(), profiles=nothing) for t in self._tables]
        _packaged_table.cache_clear()

    def with_parameters(self, more: Iterable[ParameterDef]) -> "Schema":
        """This model with a vendor's own parameters, whose paths say where they stand; their objects are made where they are missing.

        Raises ConfigError where an object is missing that a vendor may not make, because its name is not a vendor's.
        """
        made = copy(self)
        made._objects, made._order = dict(self._objects), list(self._order)
        for parameter in more:
            head = parameter.path.rpartition(".")[0] + "."
            base = copy(made._vendor_object(head))
            base.parameters = (*[p for p in base.parameters if p.name != parameter.name], parameter)
            made._objects[head] = base
        return made

    def _vendor_object(self, path: str) -> ObjectDef:
        found = self.object(path)
        if found is not None:
            return found
        name = path[:-1].rpartition(".")[2]
        if not is_vendor_name(name):
            raise ConfigError(
                f"{self.name} has no object {path}, and {name} is no vendor's name such as X_00256D_{name}"
            )
        parent = copy(self._vendor_object(path[:-1].rpartition(".")[0] + "."))
        parent.children = (*parent.children, path)
        self._objects[parent.path] = parent
        self._objects[path] = ObjectDef(path)
        self._order.append(path)
        return self._objects[path]

    def objects(self) -> Iterator[ObjectDef]:
        """All objects, in document order."""
        for path in self._order:
            found = self.object(path)
            assert found is not None
            yield found

    def parameters(self) -> Iterator[ParameterDef]:
        """All parameters, object by object, in document order."""
        for definition in self.objects():
            yield from definition.parameters

    def parameter(self, path: str) -> ParameterDef | None:
        """The parameter at a path with `{i}` or with instance numbers, or None."""
        head, _, name = path.rpartition(".")
        found = self.object(head + ".") or self.object(generic(head + "."))
        return found.parameter(name) if found else None

    @property
    def profiles(self) -> tuple[ProfileRow, ...]:
        """The profiles of the model, in document order."""
        if self._profiles is None:
            self._profiles = tuple(
                p for table in self._tables for p in msgspec.msgpack.decode(table.profiles, type=tuple[ProfileRow, ...])
            )
        return self._profiles

    def _profiles_by_service(self) -> dict[tuple[str, str], ProfileRow]:
        """The profiles by (service, name): "" and `Baseline:2` for the root model's, `VoiceService` and `Endpoint:1` for a service's."""
        found: dict[tuple[str, str], ProfileRow] = {("", row.name): row for row in self._profiles or ()}
        for index, table in enumerate(self._tables):
            service = table.name.partition(":")[0] if index else ""
            for row in msgspec.msgpack.decode(table.profiles, type=tuple[ProfileRow, ...]):
                found[service, row.name] = row
        return found

    def required_by(self, name: str) -> tuple[dict[str, bool], tuple[str, ...]]:
        """What one of the standard's profiles asks for, with what it includes: parameters with whether they are to be writable, objects.

        name: `Baseline:1`, or `VoiceService/Endpoint:1` for a service's; the service may be left out where one alone has the name.
        Raises ConfigError where the model has none of that name.
        """
        rows = self._profiles_by_service()
        service, _, own = name.rpartition("/")
        if not service and ("", own) not in rows:
            service = next((s for s, n in rows if n == own), "")
        if (service, own) not in rows:
            names = sorted(f"{s}/{n}" if s else n for s, n in rows)
            raise ConfigError(f"{self.name} has no profile {name}; it has {', '.join(names[:12])} ...")
        # A service spells its profiles' paths from its own top.
        prefix = f"{self.root}Services." if service and self.root else ""
        parameters: dict[str, bool] = {}
        objects: dict[str, None] = {}
        waiting, done = [own], set()
        while waiting:
            current = waiting.pop()
            if current in done or (service, current) not in rows:
                continue
            done.add(current)
            row = rows[service, current]
            waiting += row.includes
            for path, writable in row.parameters:
                parameters[prefix + path] = parameters.get(prefix + path, False) or writable
            objects.update(dict.fromkeys([prefix + path for path, _ in row.objects]))
        return parameters, tuple(objects)

    def profiles_with(self, path: str) -> list[str]:
        """Names of the profiles that ask for this object or parameter (path with `{i}`)."""
        services = f"{self.root}Services." if self.root else ""
        return [
            row.name
            for (service, _), row in self._profiles_by_service().items()
            for wanted in [path.removeprefix(services) if service else path]
            if any(q == wanted for q, _ in row.parameters) or any(q == wanted for q, _ in row.objects)
        ]


_VENDOR_NAME: Final = re.compile(r"X_[A-Z0-9-]+_[A-Za-z0-9_-]+\Z")


def is_vendor_name(name: str) -> bool:
    """Whether a vendor may define a parameter or object of this name: X_, its OUI or domain, _ and the name (TR-106a7 3.3)."""
    return _VENDOR_NAME.match(name) is not None


def _flags_of(definition: ObjectDef) -> int:
    flags = 0
    for parameter in definition.parameters:
        flags |= FORCED_BELOW if parameter.forced_inform else 0
        flags |= ACTIVE_BELOW if parameter.active_notify >= ActiveNotify.FORCE_ENABLED else 0
        flags |= REFERENCES_BELOW if parameter.syntax.reference is not None else 0
    return flags


def _file_of(name: str) -> str:
    return name.replace(":", "-") + ".model"


_FOLDER: Final = os.path.join(os.path.dirname(__file__), "schemas")


def list_schemas() -> list[str]:
    """Names of the models that come with Homeport, such as `Device:2.19`."""
    names = (n.removesuffix(".model") for n in os.listdir(_FOLDER) if n.endswith(".model"))
    return sorted("{}:{}".format(*name.rsplit("-", 1)) for name in names)


def _full_name(name: str) -> str:
    """`Device:2.19` for `Device:2` or `Device`: the newest that comes with Homeport."""
    have = list_schemas()
    if name in have:
        return name
    fitting = [h for h in have if h.startswith(f"{name}." if ":" in name else f"{name}:")]
    return max(fitting, key=lambda h: [int(n) for n in h.partition(":")[2].split(".")], default=name)


@functools.cache
def _packaged_table(name: str) -> Table:
    try:
        with open(os.path.join(_FOLDER, _file_of(name)), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise ConfigError(f"there is no model {name}; the shipped ones are {', '.join(list_schemas())}") from None
    return unpack(data, origin=_file_of(name))


def load_schema(name: str, *services: str) -> Schema:
    """A shipped model, with services (`VoiceService:2.0`) mounted below its `Services.`. `Device:2` means the newest Device:2.

    Schemas are shared: the same names give the same object. Raises ConfigError for a name that is not shipped.
    """
    return _load(_full_name(name), tuple(_full_name(s) for s in services))


@functools.cache
def _load(name: str, services: tuple[str, ...]) -> Schema:
    return Schema.from_tables([_packaged_table(n) for n in (name, *services)])
