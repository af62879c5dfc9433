"""A device's state as plain values: what differs from the factory, and commits done again from their records.

The format is versioned. A dump opens on another firmware: what its model no longer has, or no longer allows, is left out and said;
what it newly has starts with its factory value.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from homeport.errors import Fault, StoreError
from homeport.model.changes import Attributes, CommitRecord
from homeport.model.nodes import Blueprint, Node, Table
from homeport.model.path import Path
from homeport.model.state import State

FORMAT: Final = 1


# --- dump -----------------------------------------------------------------------------------------------------------------------


def dump(blueprint: Blueprint, state: State) -> dict[str, Any]:
    """What differs from the factory: `rows` by table path as [next number, [numbers]], `values` by path, and the bookkeeping."""
    rows: dict[str, list[Any]] = {}
    values: dict[str, str] = {}
    _differences(state.root, blueprint.factory, blueprint.root_path, rows, values)
    return {
        "format": FORMAT,
        "blueprint": blueprint.name,
        "number": state.number,
        "rows": rows,
        "values": values,
        "attributes": {
            p: [a.notification, None if a.access_list is None else list(a.access_list)]
            for p, a in state.attributes.items()
        },
        "pending": dict(state.pending),
        "baseline": dict(state.baseline),
    }


def _differences(
    now: Node | Table, factory: Node | Table, prefix: str, rows: dict[str, list[Any]], values: dict[str, str]
) -> None:
    if now is factory:
        return
    if isinstance(now, Table):
        assert isinstance(factory, Table)
        if now.next != factory.next or now.rows.keys() != factory.rows.keys():
            rows[prefix] = [now.next, list(now.rows)]
        for number, row in now.rows.items():
            before = factory.rows.get(number)
            _differences(row, before if before is not None else now.shape.new_row(), f"{prefix}{number}.", rows, values)
        return
    assert isinstance(factory, Node)
    for name, text, old in zip(now.shape.names, now.values, factory.values, strict=True):
        if text != old:
            values[prefix + name] = text
    for child, before_child in zip(now.children, factory.children, strict=True):
        _differences(child, before_child, f"{prefix}{child.shape.definition.name}.", rows, values)


# --- a tree to be filled ----------------------------------------------------------------------------------------------------------


class _Rebuild:
    """Changes a copy of a tree without rules; what does not fit is said in `left_out`."""

    def __init__(self, blueprint: Blueprint, root: Node) -> None:
        self.blueprint = blueprint
        self.root = root
        self.left_out: list[str] = []
        self._mine: dict[int, Node | Table] = {}

    def _own(self, place: Node | Table) -> Node | Table:
        if id(place) in self._mine:
            return place
        copy: Node | Table
        if isinstance(place, Table):
            copy = Table(place.shape, dict(place.rows), place.next)
        else:
            copy = Node(place.shape, list(place.values), list(place.children))
        self._mine[id(copy)] = copy
        return copy

    def own(self, text: str) -> tuple[Node | Table | None, str]:
        """The changeable object or table at a path, or None; and the parameter's name that is left over."""
        path = Path.parse(text)
        name = "" if path.partial else str(path.segments[-1])
        segments = path.segments if path.partial else path.segments[:-1]
        if not segments or segments[0] != self.blueprint.root_name:
            return None, name
        root = self._own(self.root)
        assert isinstance(root, Node)
        here: Node | Table = root
        self.root = root
        for segment in segments[1:]:
            if isinstance(here, Table):
                if not isinstance(segment, int) or segment not in here.rows:
                    return None, name
                row = self._own(here.rows[segment])
                assert isinstance(row, Node)
                here.rows[segment] = row
                here = row
            else:
                at = here.shape.child_index.get(segment) if isinstance(segment, str) else None
                if at is None:
                    return None, name
                below = self._own(here.children[at])
                assert isinstance(here.children, list)
                here.children[at] = below
                here = below
        return here, name

    def set_rows(self, path: str, next_number: int, numbers: Sequence[int]) -> None:
        table, _ = self.own(path)
        if not isinstance(table, Table):
            self.left_out.append(f"{path} is no longer a table; its rows are gone")
            return
        if table.shape.fixed is None:
            table.rows = {n: table.rows.get(n) or table.shape.new_row() for n in numbers}
        table.next = max(table.next, next_number)

    def add(self, path: str, number: int, next_number: int) -> None:
        table, _ = self.own(path)
        if not isinstance(table, Table):
            self.left_out.append(f"{path} is no longer a table; row {number} is gone")
            return
        table.rows.setdefault(number, table.shape.new_row())
        table.next = max(table.next, next_number)

    def delete(self, path: str) -> None:
        head, _, number = path.removesuffix(".").rpartition(".")
        table, _ = self.own(head + ".")
        if isinstance(table, Table):
            table.rows.pop(int(number), None)

    def set(self, path: str, text: str) -> None:
        node, name = self.own(path)
        at = node.shape.index.get(name) if isinstance(node, Node) else None
        if at is None:
            self.left_out.append(f"{path} is no longer there; its value is gone")
            return
        assert isinstance(node, Node) and isinstance(node.values, list)
        try:
            node.values[at] = node.shape.parameters[at].check(text, device=True)
        except Fault as fault:
            self.left_out.append(f"{path} keeps its factory value: {fault.text}")

    def finished(self) -> Node:
        for place in self._mine.values():
            if isinstance(place, Node):
                place.values, place.children = tuple(place.values), tuple(place.children)
        return self.root


# --- load -----------------------------------------------------------------------------------------------------------------------


def load(blueprint: Blueprint, data: Mapping[str, Any]) -> tuple[State, list[str]]:
    """The state that a dump describes, and a sentence for each thing in it that does not fit this blueprint.

    Raises StoreError for a format that is not known.
    """
    if data.get("format") != FORMAT:
        raise StoreError(
            f"the saved state has format {data.get('format')!r}, this version reads {FORMAT}; start the version that wrote it, or "
            "remove the state to begin with factory values"
        )
    build = _Rebuild(blueprint, blueprint.factory)
    for path, (next_number, numbers) in data["rows"].items():
        build.set_rows(path, next_number, numbers)
    for path, text in data["values"].items():
        build.set(path, text)
    attributes = {p: _attributes(n, a) for p, (n, a) in data["attributes"].items()}
    state = State(build.finished(), attributes, dict(data["pending"]), dict(data["baseline"]), int(data["number"]))
    return state, build.left_out


def _attributes(notification: int | None, access_list: Sequence[str] | None) -> Attributes:
    return Attributes(notification, None if access_list is None else tuple(access_list))


def replay(blueprint: Blueprint, state: State, record: CommitRecord | Sequence[Any]) -> tuple[State, list[str]]:
    """The state after a recorded commit; the same state where it contains that commit already.

    record: a CommitRecord, or the list that its msgpack or JSON form decodes to.
    """
    if not isinstance(record, CommitRecord):
        number, writer, durable, ops = record
        record = CommitRecord(number, writer, durable, tuple(tuple(op) for op in ops))
    if record.number <= state.number:
        return state, []
    build = _Rebuild(blueprint, state.root)
    attributes, pending, baseline = dict(state.attributes), dict(state.pending), dict(state.baseline)
    for op in record.ops:
        kind, *arguments = op
        match kind, arguments:
            case "set", [str(path), str(text)]:
                build.set(path, text)
            case "add", [str(path), int(number), int(next_number)]:
                build.add(path, number, next_number)
            case "delete", [str(path)]:
                build.delete(path)
                for kept in (attributes, pending, baseline):
                    for gone in [p for p in kept if p.startswith(path)]:
                        del kept[gone]
            case "attribute", [str(path), notification, access_list]:
                attributes[path] = _attributes(notification, access_list)  # type: ignore[arg-type]
            case "pending", [str(path), text]:
                _put(pending, path, text)
            case "baseline", [str(path), text]:
                _put(baseline, path, text)
            case "reset", []:
                build = _Rebuild(blueprint, blueprint.factory)
                attributes, pending, baseline = {}, {}, {}
            case _:
                raise StoreError(
                    f"commit {record.number} holds {kind!r}, which this version does not know; start the version that wrote it"
                )
    return State(build.finished(), attributes, pending, baseline, record.number), build.left_out


def _put(values: dict[str, str], path: str, text: object) -> None:
    if text is None:
        values.pop(path, None)
    else:
        values[path] = str(text)
