"""Broadband Forum XML -> Schema: full files, files in parts, and vendors' own device types and extensions.

    schema = import_model(FilePath("tr-181-2-19-1-cwmp.xml"))
    table = compile_schema(schema)        # what `pack` writes to a file

Facts only are taken over: names, types, access, facets, versions, profiles. Errors name file, line and element, and say the cure.
Source: cwmp-datamodel-1-15.xsd, TR-106a7 Annex A.
"""

from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

import msgspec

from homeport.errors import ConfigError
from homeport.model import tables
from homeport.model.schema import ActiveNotify, ObjectDef, ParameterDef, Schema
from homeport.model.tables import ObjectRow, ParameterRow, ProfileRow, Table, UniqueKey
from homeport.model.types import Syntax
from homeport.model.xml_files import Document, Element, Library
from homeport.model.xml_syntax import Declared, Place, read_syntax
from homeport.terms import ValueType

_NOTIFY: Final = {
    "normal": ActiveNotify.NORMAL,
    "canDeny": ActiveNotify.CAN_DENY,
    "forceEnabled": ActiveNotify.FORCE_ENABLED,
    "forceDefaultEnabled": ActiveNotify.FORCE_DEFAULT_ENABLED,
}
_VERSION_REPORT: Final = "{urn:broadband-forum-org:cwmp:datamodel-report-1-0}version"
_MAX_DEPTH: Final = 40  # components that refer to each other in a circle end here


@dataclass(slots=True)
class _Parameter:
    name: str
    element: Element
    access: str = "readOnly"
    since: str = ""
    status: str = ""
    notify: str = "normal"
    forced: bool = False
    declared: Declared | None = None


@dataclass(slots=True)
class _Object:
    path: str
    element: Element
    access: str = "readOnly"
    since: str = ""
    status: str = ""
    minimum: int = 1
    maximum: int | None = 1
    count: str = ""
    enable: str = ""
    keys: list[UniqueKey] = field(default_factory=list)
    parameters: dict[str, _Parameter] = field(default_factory=dict)


def list_models(file: FilePath) -> list[str]:
    """Names of the models in a file, in document order. Raises ConfigError where it cannot be read."""
    return Library(file).main.models


def import_model(file: FilePath, model: str = "") -> Schema:
    """The model in a file, everything it imports included.

    model: its name, where the file has more than one. Raises ConfigError that names file, line, element and cure.
    """
    library = Library(file)
    document = library.main
    names = document.models
    if not names:
        raise document.root.error(
            "defines no model", "give the file that has the <model>, it imports the others by itself"
        )
    if not model and len(names) > 1:
        raise document.root.error(
            f"defines {len(names)} models ({', '.join(names)})", "say which one, with --model NAME"
        )
    if model and model not in names:
        raise document.root.error(f"has no model {model}", f"it has {', '.join(names)}")
    return _Builder(library, model or names[0]).schema()


def import_extension(file: FilePath, base: Schema) -> Schema:
    """A vendor's device type on top of a model that is already there: its objects and parameters are added to the base's.

    The file's <model> may name a base that is not beside it; `base` stands in for it.
    """
    library = Library(file)
    names = library.main.models
    if len(names) != 1:
        raise library.main.root.error(f"defines {len(names)} models", "an extension has exactly one <model>")
    return _Builder(library, names[0], base).schema()


class _Builder:
    """Expands one model, element by element, into drafts of objects."""

    def __init__(self, library: Library, name: str, base: Schema | None = None) -> None:
        self.library = library
        self.name = name
        self.objects: dict[str, _Object] = {}
        self.profiles: dict[str, ProfileRow] = {}
        self.root = ""
        self.base = base
        if base is not None:
            self._take_over(base)
        element = library.main.defined["model", name]
        self._model(element, [library.main])

    # --- expansion --------------------------------------------------------------------------------------------------------------

    def _take_over(self, base: Schema) -> None:
        nowhere = self.library.main.root
        for definition in base.objects():
            draft = _Object(
                definition.path, nowhere, "readWrite" if definition.writable else "readOnly", definition.since, definition.status,
                definition.minimum, definition.maximum, definition.count, definition.enable, list(definition.keys),
            )  # fmt: skip
            for p in definition.parameters:
                access = "readWrite" if p.writable else "writeOnceReadOnly" if p.write_once else "readOnly"
                defaults = {
                    "object": p.default_object,
                    "factory": p.default_factory,
                    "implementation": p.default_implementation,
                }
                if p.path == base.root + "RootDataModelVersion" and p.default_factory is None:
                    defaults["factory"] = base.version  # the vendor's own model counts its versions from its own start
                declared = Declared(
                    p.syntax, p.hidden, p.secured, p.command, {k: v for k, v in defaults.items() if v is not None}
                )
                notify = next(text for text, value in _NOTIFY.items() if value is p.active_notify)
                draft.parameters[p.name] = _Parameter(
                    p.name, nowhere, access, p.since, p.status, notify, p.forced_inform, declared
                )
            self.objects[definition.path] = draft
        self.profiles = {p.name: p for p in base.profiles}
        self.root = base.root

    def _model(self, element: Element, scopes: list[Document]) -> None:
        base = element.get("base")
        if base and self.base is None:
            found = self.library.resolve(element.document, "model", base, element)
            self._model(found, [*scopes, found.document])
        if not self.root:
            first = next((o for o in element.children("object")), None)
            name = first.get("name") if first else ""
            self.root = name if name.count(".") == 1 or (name.count(".") == 2 and name.endswith(".{i}.")) else "Device."
        self._content(element, "", "", scopes, 0)

    def _content(self, element: Element, here: str, since: str, scopes: list[Document], depth: int) -> None:
        """Takes over the children of a model, component or object. here: path of the object they belong to."""
        if depth > _MAX_DEPTH:
            raise element.error("components refer to each other in a circle", "break it")
        for child in element:
            match child.tag:
                case "component":
                    self._component(child, here, since, scopes, depth)
                case "parameter":
                    self._parameter(child, here, since)
                case "object":
                    self._object(child, here, since, scopes, depth)
                case "profile":
                    self._profile(child, here, since)
                case "uniqueKey":
                    self._unique_key(child, here)
                case _:
                    pass  # descriptions are prose; commands and events belong to USP

    def _component(self, element: Element, here: str, since: str, scopes: list[Document], depth: int) -> None:
        name = element.get("ref")
        found = self.library.resolve(element.document, "component", name, element)
        if found.get("virtual") == "true":
            for scope in reversed(scopes):
                if ("component", name) in scope.defined or ("component", name) in scope.imported:
                    candidate = self.library.resolve(scope, "component", name, element)
                    if candidate.get("virtual") != "true":
                        found = candidate
                        break
        since = _newer(since, _since(element))
        self._content(found, here + element.get("path"), since, [*scopes, found.document], depth + 1)

    def _object(self, element: Element, here: str, since: str, scopes: list[Document], depth: int) -> None:
        name, base = element.get("name"), element.get("base")
        if not name and not base:
            return
        path = here + (name or base)
        if not path.endswith("."):
            raise element.error("an object's name ends with a dot", "add it")
        draft = self.objects.get(path)
        if draft is None:
            if base:
                raise element.error(
                    f"changes {path}, which does not exist", "use name= to define it, or correct the path"
                )
            draft = self.objects[path] = _Object(path, element)
            draft.since = _newer(since, _since(element)) or self._inherited(path)
            table = path.endswith(".{i}.")
            draft.minimum, draft.maximum = (0, None) if table else (1, 1)
        if element.has("access"):
            draft.access = element.get("access")
        if element.has("status"):
            draft.status = element.get("status")
        if element.has("minEntries"):
            draft.minimum = element.number("minEntries", 0)
        if element.has("maxEntries"):
            draft.maximum = None if element.get("maxEntries") == "unbounded" else element.number("maxEntries", 1)
        draft.count = element.get("numEntriesParameter", draft.count)
        draft.enable = element.get("enableParameter", draft.enable)
        self._content(element, path, since if name else "", scopes, depth + 1)

    def _inherited(self, path: str) -> str:
        parent = _parent(path)
        return self.objects[parent].since if parent in self.objects else ""

    def _unique_key(self, element: Element, here: str) -> None:
        names = tuple(p.get("ref") for p in element.children("parameter"))
        key = UniqueKey(names, element.get("functional", "true") != "false")
        if here in self.objects and key not in self.objects[here].keys:
            self.objects[here].keys.append(key)

    def _parameter(self, element: Element, here: str, since: str) -> None:
        name, base = element.get("name"), element.get("base")
        owner = self.objects.get(here)
        if owner is None:
            if here not in ("", "Device.Services.", "InternetGatewayDevice.Services."):
                raise element.error(f"belongs to {here}, which does not exist", "define the object first")
            owner = self.objects[here] = _Object(here, element)
        draft = owner.parameters.get(name or base)
        if draft is None:
            if base:
                raise element.error(
                    f"changes {here}{base}, which does not exist", "use name= to define it, or correct the name"
                )
            draft = owner.parameters[name] = _Parameter(
                name, element, since=_newer(since, _since(element)) or owner.since
            )
        if element.has("access"):
            draft.access = element.get("access")
            if draft.access not in ("readOnly", "readWrite", "writeOnceReadOnly"):
                raise element.error(
                    f"access {draft.access!r} is unknown", "use readOnly, readWrite or writeOnceReadOnly"
                )
        if element.has("status"):
            draft.status = element.get("status")
        if element.has("activeNotify"):
            draft.notify = element.get("activeNotify")
            if draft.notify not in _NOTIFY:
                raise element.error(f"activeNotify {draft.notify!r} is unknown", f"use one of {', '.join(_NOTIFY)}")
        if element.has("forcedInform"):
            draft.forced = element.get("forcedInform") == "true"
        syntax = element.child("syntax")
        if syntax is not None:
            draft.declared = read_syntax(syntax, Place(self.library, here, self.root), draft.declared)
        elif draft.declared is None:
            raise element.error("has no <syntax>", "add one, such as <syntax><string/></syntax>")

    def _profile(self, element: Element, here: str, since: str) -> None:
        if element.get("status") == "deleted" or not element.get("name"):
            return
        objects: list[tuple[str, str]] = []
        parameters: list[tuple[str, bool]] = []
        for item in element:
            if item.get("status") == "deleted":
                continue
            if item.tag == "parameter":
                parameters.append((here + item.get("ref"), item.get("requirement") == "readWrite"))
            elif item.tag == "object":
                path = here + item.get("ref")
                objects.append((path, item.get("requirement")))
                parameters.extend(
                    (path + p.get("ref"), p.get("requirement") == "readWrite")
                    for p in item.children("parameter")
                    if p.get("status") != "deleted"
                )
        includes = tuple(n for n in (element.get("base"), *element.get("extends").split()) if n)
        name = element.get("name")
        self.profiles[name] = ProfileRow(
            name,
            _newer(since, _since(element)),
            includes,
            tuple(objects),
            tuple(parameters),
            _status(element.get("status")),
        )

    # --- the result -------------------------------------------------------------------------------------------------------------

    def schema(self) -> Schema:
        gone = {p for p, o in self.objects.items() if o.status == "deleted"}
        kept = [o for o in self.objects.values() if not any(o.path.startswith(g) for g in gone)]
        below: dict[str, list[_Object]] = {}
        for draft in kept:
            if not draft.path:
                continue
            parent = _parent(draft.path)
            owner = next((p for p in (parent, parent + "{i}.") if p in self.objects), None) if parent else ""
            if owner is None:
                raise draft.element.error(f"there is no object {parent} above {draft.path}", "define it first")
            below.setdefault(owner, []).append(draft)
        ordered: list[ObjectDef] = []
        tops = below.get("", [])
        if "" in self.objects:
            top = self._definition(self.objects[""], below)
            ordered.append(top)
        elif any(d.path.endswith("{i}.") for d in tops):
            ordered.append(ObjectDef("", children=[d.path for d in tops]))
        for draft in tops:
            self._collect(draft, below, ordered)
        return Schema(self.name, ordered, profiles=self.profiles.values())

    def _collect(self, draft: _Object, below: dict[str, list[_Object]], out: list[ObjectDef]) -> None:
        out.append(self._definition(draft, below))
        for child in below.get(draft.path, []):
            self._collect(child, below, out)

    def _definition(self, draft: _Object, below: dict[str, list[_Object]]) -> ObjectDef:
        parameters = [self._made(p) for p in draft.parameters.values() if p.status != "deleted"]
        return ObjectDef(
            draft.path,
            parameters=parameters,
            children=[d.path for d in below.get(draft.path, [])],
            writable=draft.access == "readWrite",
            since=draft.since,
            status=_status(draft.status),
            minimum=draft.minimum,
            maximum=draft.maximum,
            count=draft.count,
            enable=draft.enable,
            keys=tuple(draft.keys),
        )

    @staticmethod
    def _made(draft: _Parameter) -> ParameterDef:
        declared = draft.declared
        assert declared is not None
        made = ParameterDef(
            draft.name,
            declared.syntax,
            writable=draft.access == "readWrite",
            write_once=draft.access == "writeOnceReadOnly",
            since=draft.since,
            status=_status(draft.status),
            active_notify=_NOTIFY[draft.notify],
            forced_inform=draft.forced,
            hidden=declared.hidden,
            secured=declared.secured,
            # Before the attribute `command` existed, a button such as Reset was a hidden boolean.
            command=declared.command or (declared.hidden and declared.syntax.base is ValueType.BOOLEAN),
        )
        made.default_object = made.usable_default(declared.defaults.get("object"))
        made.default_factory = made.usable_default(declared.defaults.get("factory"))
        made.default_implementation = made.usable_default(declared.defaults.get("implementation"))
        return made


def _parent(path: str) -> str:
    head = path.removesuffix("{i}.").removesuffix(".").rpartition(".")[0]
    return head + "." if head else ""


def _status(text: str) -> str:
    return "" if text == "current" else text


def _since(element: Element) -> str:
    return element.get("version") or str(element.raw.get(_VERSION_REPORT, ""))


def _newer(a: str, b: str) -> str:
    """The later of two versions such as 2.9 and 2.15; an empty one says nothing."""
    return max((v for v in (a, b) if v), key=lambda v: [int(n) if n.isdigit() else 0 for n in v.split(".")], default="")


# --- compiled -------------------------------------------------------------------------------------------------------------------


def compile_schema(schema: Schema) -> Table:
    """The compact table of a schema, for `pack`. A schema over several tables becomes one."""
    syntaxes: dict[Syntax, int] = {}
    numbers: dict[str, int] = {}
    rows: list[ObjectRow] = []
    for definition in schema.objects():
        numbers[definition.path] = len(rows)
        parent = numbers.get(definition.parent, numbers.get(definition.parent + "{i}.", -1)) if definition.path else -1
        if definition.path and not definition.parent:
            parent = numbers.get("", -1)
        packed = tuple(
            _row(p, syntaxes.setdefault(p.syntax, len(syntaxes)), definition.since) for p in definition.parameters
        )
        rows.append(
            ObjectRow(
                definition.name,
                parent,
                (tables.WRITABLE if definition.writable else 0)
                | (tables.TABLE if definition.table else 0)
                | definition.below,
                definition.since,
                definition.minimum,
                definition.maximum,
                definition.count,
                definition.enable,
                definition.keys,
                definition.status,
                msgspec.Raw(msgspec.msgpack.encode(packed)),
            )
        )
    if not rows:
        raise ConfigError(f"{schema.name} has no objects; import a file that defines some")
    return Table(
        tables.FORMAT,
        schema.name,
        schema.root,
        tuple(rows),
        tuple(msgspec.Raw(msgspec.msgpack.encode(s)) for s in syntaxes),
        msgspec.Raw(msgspec.msgpack.encode(tuple(schema.profiles))),
    )


def _row(parameter: ParameterDef, syntax: int, since: str) -> ParameterRow:
    flags = 0
    for flag, on in (
        (tables.WRITABLE, parameter.writable),
        (tables.FORCED_INFORM, parameter.forced_inform),
        (tables.HIDDEN, parameter.hidden),
        (tables.SECURED, parameter.secured),
        (tables.COMMAND, parameter.command),
        (tables.WRITE_ONCE, parameter.write_once),
    ):
        flags |= flag if on else 0
    return ParameterRow(
        parameter.name,
        syntax,
        "" if parameter.since == since else parameter.since,
        flags,
        int(parameter.active_notify),
        parameter.default_object,
        parameter.default_factory,
        parameter.default_implementation,
        parameter.status,
        parameter.initial,
    )
