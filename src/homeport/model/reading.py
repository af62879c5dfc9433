"""Reading a tree: finding what a path names, and the lists that GetParameterValues and GetParameterNames answer with.

Functions over one state of the tree (a root node), so that a transaction reads its own staged state with the same code.
Source: TR-069a6 A.3.2.2, A.3.2.3, 3.6.1 (alias), A.2.2.1 (wildcards).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from homeport.errors import Fault, HomeportError
from homeport.model.nodes import Blueprint, Node, Shape, Table
from homeport.model.path import Alias, Path, Wildcard
from homeport.model.schema import ParameterDef
from homeport.model.sources import Registry, Source
from homeport.terms import FaultCode

if TYPE_CHECKING:
    from homeport.model.tree import DataModel


class ParameterValue(Struct, frozen=True, gc=False):
    """name: full path. value: canonical text; hidden ones read as their type's null value: "", 0 or false. type: local name of xsi:type."""

    name: str
    value: str
    type: str


class ParameterName(Struct, frozen=True, gc=False):
    """name: parameter, or object with its trailing dot. writable: settable, or rows may be added (table) or deleted (instance)."""

    name: str
    writable: bool


class ParameterAttribute(Struct, frozen=True, gc=False):
    """notification: 0 to 6. access_list: who else than the ACS may write."""

    name: str
    notification: int
    access_list: tuple[str, ...]


class Place:
    """Something that a path names: an object or table, or with `at` one parameter of an object.

    path: spelled with instance numbers. steps: child positions and instance numbers from the root, for a transaction to go down.
    """

    __slots__ = ("found", "path", "steps", "at")

    def __init__(self, found: Node | Table, path: str, steps: tuple[int, ...], at: int = -1) -> None:
        self.found = found
        self.path = path
        self.steps = steps
        self.at = at

    @property
    def node(self) -> Node:
        """The object; of a table the caller has made sure that it is none."""
        assert isinstance(self.found, Node)
        return self.found

    @property
    def parameter(self) -> ParameterDef:
        return self.node.shape.parameters[self.at]

    @property
    def text(self) -> str:
        """The stored text of the parameter."""
        return self.node.values[self.at]


def no_such(text: str, why: str = "") -> Fault:
    """Fault 9005 for a path."""
    return Fault(FaultCode.INVALID_PARAMETER_NAME, f"{text} does not exist" + (f": {why}" if why else ""))


class View:
    """One state of a device's tree, with what it takes to read it."""

    __slots__ = ("blueprint", "root", "registry", "model")

    def __init__(self, blueprint: Blueprint, root: Node, registry: Registry | None, model: "DataModel") -> None:
        self.blueprint = blueprint
        self.root = root
        self.registry = registry
        self.model = model

    # --- finding ----------------------------------------------------------------------------------------------------------------

    def capability(self, name: str) -> str:
        """The text of a parameter of `ManagementServer.`, "" where the device has none of that name."""
        at = self.blueprint.root_shape.child_index.get("ManagementServer")
        if at is None:
            return ""
        server = self.root.children[at]
        index = server.shape.index.get(name)
        return server.values[index] if index is not None and isinstance(server, Node) else ""

    def _parse(self, text: str) -> Path:
        path = Path.parse(text)
        if not path.plain:
            if "{" in text:
                raise no_such(text, "{i} stands in models only; name an instance number")
            if "[" in text and self.capability("AliasBasedAddressing") != "true":
                raise no_such(text, "this device does not take aliases in paths")
            if "*" in text and self.capability("InstanceWildcardsSupported") != "true":
                raise no_such(text, "this device does not take wildcards in paths")
        return path

    def _plain(self, path: Path) -> Place | None:
        """What a path of names and numbers names, or None: the quick way through, for what is read most."""
        segments = path.segments
        if not segments or segments[0] != self.blueprint.root_name:
            return None
        last = len(segments) if path.partial else len(segments) - 1
        place: Node | Table = self.root
        steps = []
        for position in range(1, last):
            segment = segments[position]
            if type(place) is Node:
                at = place.shape.child_index.get(segment)  # type: ignore[arg-type]
                if at is None:
                    return None
                place = place.children[at]
                steps.append(at)
            else:
                row = place.rows.get(segment)  # type: ignore[arg-type, union-attr]
                if row is None:
                    return None
                place = row
                steps.append(segment)  # type: ignore[arg-type]
        if path.partial:
            return Place(place, path.text, tuple(steps))
        index = place.shape.index.get(segments[-1]) if type(place) is Node else None  # type: ignore[arg-type]
        return None if index is None or last < 1 else Place(place, path.text, tuple(steps), index)

    def locate(self, text: str) -> Place:
        """The one thing that a path names. Raises Fault 9005; a wildcard names more than one thing and is refused too."""
        path = self._parse(text)
        if path.plain:
            found = self._plain(path)
            if found is not None:
                return found
        if "*" in text:
            raise no_such(text, "a wildcard is not allowed here")
        for place in self._find(path):
            return place
        raise no_such(text)

    def expand(self, text: str) -> list[Place]:
        """All that a path names: one thing, or with wildcards any number. Raises Fault 9005 where the path itself is wrong."""
        path = self._parse(text)
        quick = self._plain(path) if path.plain else None
        if quick is not None:
            return [quick]
        found = list(self._find(path))
        if not found and "*" not in text:
            raise no_such(text)
        return found

    def _find(self, path: Path) -> Iterator[Place]:
        segments = path.segments
        if not segments:
            yield Place(self.root, self.blueprint.root_path, ())
            return
        if segments[0] != self.blueprint.root_name or (len(segments) == 1 and not path.partial):
            raise no_such(path.text, f"the root of this device is {self.blueprint.root_path}")
        yield from self._below(self.root, path, 1, () if path.plain else (segments[0],), ())

    def _below(
        self, place: Node | Table, path: Path, at: int, spelled: tuple[object, ...], steps: tuple[int, ...]
    ) -> Iterator[Place]:
        segments, end, plain = path.segments, len(path.segments), path.plain
        walked = list(steps)
        while at < end:
            segment = segments[at]
            if isinstance(place, Node):
                if not isinstance(segment, str) or isinstance(segment, Alias):
                    raise no_such(path.text)
                if at == end - 1 and not path.partial:
                    index = place.shape.index.get(segment)
                    if index is None:
                        raise no_such(path.text)
                    yield Place(place, path.text if plain else _joined((*spelled, segment)), tuple(walked), index)
                    return
                position = place.shape.child_index.get(segment)
                if position is None:
                    raise no_such(path.text)
                walked.append(position)
                place = place.children[position]
                spelled = spelled if plain else (*spelled, segment)
            else:
                if isinstance(segment, Wildcard):
                    self._check_remainder(place.shape, path, at + 1)
                    for number, row in list(place.rows.items()):
                        yield from self._below(row, path, at + 1, (*spelled, number), (*walked, number))
                    return
                number_or_none = place.number_of(segment) if isinstance(segment, Alias) else segment
                if not isinstance(number_or_none, int) or number_or_none not in place.rows:
                    raise no_such(path.text)
                walked.append(number_or_none)
                place = place.rows[number_or_none]
                spelled = spelled if plain else (*spelled, number_or_none)
            at += 1
        if not path.partial:
            raise no_such(path.text, "an object's path ends with a dot")
        yield Place(place, path.text if plain else _joined(spelled) + ".", tuple(walked))

    def _check_remainder(self, shape: Shape, path: Path, at: int) -> None:
        """Refuses what stands behind a wildcard where no row could ever have it: an empty table must not hide a typing error."""
        rows = False
        for position in range(at, len(path.segments)):
            segment = path.segments[position]
            if rows:
                if isinstance(segment, str) and not isinstance(segment, Alias):
                    raise no_such(path.text)
                rows = False
                continue
            if not isinstance(segment, str) or isinstance(segment, Alias):
                raise no_such(path.text)
            if position == len(path.segments) - 1 and not path.partial:
                if segment not in shape.index:
                    raise no_such(path.text)
                return
            child = shape.child_index.get(segment)
            if child is None:
                raise no_such(path.text)
            shape = shape.children[child]
            rows = shape.table
        if not path.partial:
            raise no_such(path.text)

    # --- values -----------------------------------------------------------------------------------------------------------------

    def values(self, paths: Sequence[str], *, reveal: bool = False) -> list[ParameterValue]:
        """What GetParameterValues answers; each source is asked once. reveal: hidden values are shown, for the device's own code."""
        out: list[ParameterValue] = []
        asked: dict[Source, list[tuple[int, str, ParameterDef]]] = {}
        by_alias = self.capability("InstanceMode") == "InstanceAlias"
        for text in paths:
            for place in self.expand(text):
                shown = self.with_aliases(place) if by_alias else place.path
                if place.at >= 0:
                    self._one(place, shown, out, asked, reveal, by_alias)
                else:
                    self._all(place.found, place.path, shown, out, asked, reveal, by_alias)
        if len(asked) > 1:
            asked = _joined_by_reader(asked)
        for source, wanted in asked.items():
            self._ask(source, wanted, out)
        return out

    def _ask(self, source: Source, wanted: list[tuple[int, str, ParameterDef]], out: list[ParameterValue]) -> None:
        try:
            answers: Mapping[str, object] = source.read(self.model, [path for _, path, _ in wanted])
        except HomeportError:
            raise
        except Exception as error:
            raise Fault(
                FaultCode.INTERNAL_ERROR, f"{source.pattern.text} could not be read: {type(error).__name__}: {error}"
            ) from error
        for at, path, parameter in wanted:
            value = answers.get(path)
            if value is not None:
                out[at] = ParameterValue(out[at].name, parameter.text_of(value), parameter.type)

    def _one(
        self,
        place: Place,
        shown: str,
        out: list[ParameterValue],
        asked: dict[Source, list[tuple[int, str, ParameterDef]]],
        reveal: bool,
        by_alias: bool,
    ) -> None:
        node, at = place.node, place.at
        shape = node.shape
        value = node.values[at]
        if not reveal and at in shape.hidden:
            value = shape.hidden[at]
        else:
            for index, child in shape.counts:
                if index == at:
                    value = str(len(node.table(child).rows))
            if by_alias and at in shape.references:
                value = self.reference_with_aliases(shape.parameters[at], value)
        if self.registry is not None and (reveal or at not in shape.hidden):
            self._note_sources(shape, place.path.rpartition(".")[0] + ".", len(out) - at, at, asked)
        out.append(ParameterValue(shown, value, shape.types[at]))

    def _note_sources(
        self,
        shape: Shape,
        prefix: str,
        start: int,
        only: int,
        asked: dict[Source, list[tuple[int, str, ParameterDef]]],
    ) -> None:
        assert self.registry is not None
        done = -1
        for index, source in self.registry.sources_of(shape):
            if index == done or (only >= 0 and index != only):
                continue
            path = prefix + shape.names[index]
            if not source.pattern.exact or source.pattern.covers(Path.parse(path).segments):
                asked.setdefault(source, []).append((start + index, path, shape.parameters[index]))
                done = index

    def _all(
        self,
        place: Node | Table,
        prefix: str,
        shown: str,
        out: list[ParameterValue],
        asked: dict[Source, list[tuple[int, str, ParameterDef]]],
        reveal: bool,
        by_alias: bool,
    ) -> None:
        if isinstance(place, Table):
            for number, row in place.rows.items():
                spelled = f"{number}."
                name = f"[{row.values[row.shape.alias]}]." if by_alias and row.shape.alias >= 0 else spelled
                self._all(row, prefix + spelled, shown + name, out, asked, reveal, by_alias)
            return
        shape = place.shape
        start = len(out)
        out.extend(
            [ParameterValue(shown + n, v, t) for n, v, t in zip(shape.names, place.values, shape.types, strict=True)]
        )
        for index, child in shape.counts:
            out[start + index] = ParameterValue(
                shown + shape.names[index], str(len(place.table(child).rows)), shape.types[index]
            )
        if by_alias:
            for index in shape.references:
                value = self.reference_with_aliases(shape.parameters[index], place.values[index])
                out[start + index] = ParameterValue(shown + shape.names[index], value, shape.types[index])
        if self.registry is not None:
            self._note_sources(shape, prefix, start, -1, asked)
        if not reveal and shape.hidden:
            for index, null in shape.hidden.items():
                out[start + index] = ParameterValue(shown + shape.names[index], null, shape.types[index])
                for wanted in asked.values():
                    wanted[:] = [w for w in wanted if w[0] != start + index]
        for child_node in place.children:
            name = child_node.shape.definition.name + "."
            self._all(child_node, prefix + name, shown + name, out, asked, reveal, by_alias)

    # --- aliases ----------------------------------------------------------------------------------------------------------------

    def with_aliases(self, place: Place) -> str:
        """A place's path with `[alias]` for every instance that has one."""
        parts = [self.blueprint.root_name]
        here: Node | Table = self.root
        for step in place.steps:
            if isinstance(here, Table):
                row = here.rows[step]
                parts.append(f"[{row.values[row.shape.alias]}]" if row.shape.alias >= 0 else str(step))
                here = row
            else:
                here = here.children[step]
                parts.append(here.shape.definition.name)
        if place.at >= 0:
            return ".".join((*parts, place.parameter.name))
        return ".".join(parts) + "."

    def reference_with_aliases(self, parameter: ParameterDef, text: str) -> str:
        """A reference's text with `[alias]` for instances; what does not resolve stays as it is."""
        shown = []
        for item in text.split(",") if parameter.syntax.is_list else [text]:
            try:
                place = self.locate(item if not item or self._is_parameter(item) else item + ".")
            except Fault:
                shown.append(item)  # a weak reference may dangle
                continue
            shown.append(self.with_aliases(place).removesuffix(".") if item else "")
        return ",".join(shown)

    def _is_parameter(self, text: str) -> bool:
        try:
            return self.locate(text).at >= 0
        except Fault:
            return False  # an object, or nothing: the caller tries the object

    # --- names ------------------------------------------------------------------------------------------------------------------

    def names(self, text: str, next_level: bool) -> list[ParameterName]:
        """What GetParameterNames answers."""
        if not text and next_level:
            return [ParameterName(self.blueprint.root_path, False)]
        out: list[ParameterName] = []
        by_alias = self.capability("InstanceMode") == "InstanceAlias"
        for place in self.expand(text):
            shown = self.with_aliases(place) if by_alias else place.path
            if place.at >= 0:
                if next_level:
                    raise Fault(
                        FaultCode.INVALID_ARGUMENTS, f"{text} is a parameter; NextLevel needs an object or a table"
                    )
                out.append(ParameterName(shown, place.parameter.writable))
            elif next_level:
                self._next_level(place.found, shown, out, by_alias)
            else:
                growable = place.found.shape.growable
                out.append(ParameterName(shown, growable))
                self._names(place.found, shown, out, by_alias)
        return out

    def _next_level(self, place: Node | Table, shown: str, out: list[ParameterName], by_alias: bool) -> None:
        if isinstance(place, Table):
            for number, row in place.rows.items():
                out.append(ParameterName(shown + self._row_name(row, number, by_alias), place.shape.growable))
            return
        out.extend([ParameterName(shown + p.name, p.writable) for p in place.shape.parameters])
        out.extend([ParameterName(f"{shown}{s.definition.name}.", s.growable) for s in place.shape.children])

    @staticmethod
    def _row_name(row: Node, number: int, by_alias: bool) -> str:
        at = row.shape.alias
        return f"[{row.values[at]}]." if by_alias and at >= 0 else f"{number}."

    def _names(self, place: Node | Table, shown: str, out: list[ParameterName], by_alias: bool) -> None:
        shape = place.shape
        if isinstance(place, Table):
            for number, row in place.rows.items():
                name = shown + self._row_name(row, number, by_alias)
                out.append(ParameterName(name, shape.growable))
                self._names(row, name, out, by_alias)
            return
        out.extend([ParameterName(shown + p.name, p.writable) for p in shape.parameters])
        for child in place.children:
            name = f"{shown}{child.shape.definition.name}."
            out.append(ParameterName(name, child.shape.growable))
            self._names(child, name, out, by_alias)

    # --- single parameters, for attributes and the device's own code -------------------------------------------------------------

    def parameters(self, text: str) -> list[tuple[str, ParameterDef]]:
        """(path with instance numbers, definition) of every parameter that a path names."""
        found: list[tuple[str, ParameterDef]] = []
        for place in self.expand(text):
            if place.at >= 0:
                found.append((place.path, place.parameter))
            else:
                _parameters_below(place.found, place.path, found)
        return found


def _joined_by_reader(
    asked: "dict[Source, list[tuple[int, str, ParameterDef]]]",
) -> "dict[Source, list[tuple[int, str, ParameterDef]]]":
    """The same questions with those together that one function answers: it was registered at several patterns."""
    first: dict[object, Source] = {}
    joined: dict[Source, list[tuple[int, str, ParameterDef]]] = {}
    for source, wanted in asked.items():
        joined.setdefault(first.setdefault(source.read, source), []).extend(wanted)
    return joined


def _parameters_below(place: Node | Table, prefix: str, out: list[tuple[str, ParameterDef]]) -> None:
    if isinstance(place, Table):
        for number, row in place.rows.items():
            _parameters_below(row, f"{prefix}{number}.", out)
        return
    out.extend([(prefix + p.name, p) for p in place.shape.parameters])
    for child in place.children:
        _parameters_below(child, f"{prefix}{child.shape.definition.name}.", out)


def _joined(segments: Sequence[object]) -> str:
    return ".".join([str(s) for s in segments])
