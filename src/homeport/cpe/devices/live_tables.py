"""Tables whose rows a plug-in reports: the data model's rows follow what the device has at this moment.

A row is known by its key. It keeps its instance number for as long as the device reports the key; columns of the key are written into the
model, so that the numbers hold over a restart. All other columns are answered from what the function said last.

A row that the ACS added stays until the device has had it and lost it again, or the ACS deletes it: over a restart too, where it is the
plug-in's to bring the device in line with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from homeport.cpe.devices.calls import Calls, sentence
from homeport.cpe.devices.declarations import Key, Row
from homeport.cpe.devices.declarations import Table as TableDeclaration
from homeport.cpe.journal import LOG
from homeport.errors import Fault, StoreError
from homeport.model.nodes import Node, Table
from homeport.model.path import Path, Wildcard
from homeport.model.transaction import Transaction
from homeport.model.tree import DataModel
from homeport.terms import Writer

if TYPE_CHECKING:
    from homeport.cpe.devices.plugin_host import PluginHost

MOST_ROWS: Final = 2_000
"""Rows of one table that are shown; a function that reports more has gone wrong, or its table needs a limit of its own."""

Ident = tuple[str, ...]
"""The key of a row as canonical texts."""


def places(model: DataModel, pattern: str) -> Iterator[tuple[str, Node | Table]]:
    """Every object or table that a path with `{i}` names, with its path; what the device does not have is passed over."""
    segments = Path.parse(pattern).segments
    if not segments or segments[0] != model.root[:-1]:
        return
    yield from _below(model.state.root, model.root, segments[1:])


def _below(place: Node | Table, path: str, segments: tuple[object, ...]) -> Iterator[tuple[str, Node | Table]]:
    if not segments:
        yield path, place
        return
    head, rest = segments[0], segments[1:]
    if isinstance(place, Table):
        for number, row in list(place.rows.items()):
            if isinstance(head, Wildcard) or head == number:
                yield from _below(row, f"{path}{number}.", rest)
        return
    at = place.shape.child_index.get(head) if isinstance(head, str) else None
    if at is not None:
        yield from _below(place.children[at], f"{path}{head}.", rest)


class LiveTable:
    """One declared table at one model."""

    def __init__(self, declaration: TableDeclaration, calls: Calls, host: "PluginHost") -> None:
        self.declaration = declaration
        self.calls = calls
        self._host = host
        self.path = declaration.path.removesuffix("{i}.")
        self.rows: dict[str, tuple[Key, Mapping[str, Any]]] = {}
        """Path of a row -> its key and what the function said of it."""
        self._numbers: dict[str, dict[Ident, int]] = {}
        """Path of a table -> instance numbers by key, for keys that are no columns."""
        self._reported: set[str] = set()
        self._odd: set[str] = set()

    def parents(self, model: DataModel) -> list[tuple[str, Table]]:
        """The tables, one for each row around them."""
        return [(path, found) for path, found in places(model, self.path) if isinstance(found, Table)]

    def parent_row(self, model: DataModel, path: str) -> Row | None:
        """The row around a table, None where there is none."""
        return self._host.row(model, self.path, path)

    def refresh(self, model: DataModel) -> None:
        """Make the model's rows those that the device has now. Never raises: what cannot be had or kept leaves the rows as they are."""
        wanted: list[tuple[str, list[tuple[Ident, Key, Mapping[str, Any]]]]] = []
        for path, table in self.parents(model):
            try:
                reported = self.calls.read(self.parent_row(model, path))
                wanted.append((path, self._understood(path, table, reported)))
                self.calls.failing.pop(path, None)
            except Exception as e:
                self.calls.complain(path, e)
        if not wanted:
            return
        change = model.transaction(Writer.SYSTEM)
        change.reports, change.volatile = True, self.declaration.volatile
        found: dict[str, tuple[Key, Mapping[str, Any]]] = {}
        touched = False
        try:
            for path, rows in wanted:
                touched = self._follow(change, path, rows, found) or touched
            if touched:
                change.commit()
            else:
                change.rollback()
        except (Fault, StoreError) as e:
            change.rollback()
            self._say(f"{self.declaration.path}: the rows cannot be brought up to date: {sentence(e)}")
            return
        paths = tuple(path for path, _ in wanted)
        kept = {p: r for p, r in self.rows.items() if not p.startswith(paths)}
        self.rows = kept | found
        self._reported = {p for p in self._reported if p in kept} | set(found)

    def number_of(self, path: str, key: Key) -> int | None:
        """The instance number of a row with this key in the table at a path."""
        depth = path.count(".") + 1
        for row, (known, _) in self.rows.items():
            if known == key and row.startswith(path) and row.count(".") == depth:
                return int(row.rstrip(".").rpartition(".")[2])
        return None

    def _understood(self, path: str, table: Table, reported: Any) -> list[tuple[Ident, Key, Mapping[str, Any]]]:
        """The reported rows with their keys; what is no row, or comes twice, is left out and said."""
        if isinstance(reported, Mapping) or not hasattr(reported, "__iter__"):
            raise TypeError(f"a list of rows was expected, not {type(reported).__name__}")
        rows: dict[Ident, tuple[Ident, Key, Mapping[str, Any]]] = {}
        for values in reported:
            if not isinstance(values, Mapping):
                raise TypeError(f"a row is a dict of columns, not {type(values).__name__}")
            try:
                key = self.declaration.key_of(values)
                ident = self._ident(table, values, key)
            except (KeyError, Fault) as e:
                self._say(f"{path}: a row without a usable key ({self.declaration.key}) is left out: {sentence(e)}")
                continue
            if ident in rows:
                self._say(f"{path}: two rows have the key {key!r}; only the first is shown")
                continue
            if len(rows) == MOST_ROWS:
                self._say(f"{path}: more than {MOST_ROWS} rows are reported; the rest is left out")
                break
            rows[ident] = (ident, key, values)
        return list(rows.values())

    def _ident(self, table: Table, values: Mapping[str, Any], key: Key) -> Ident:
        columns = self._stored_columns(table)
        if not columns:
            return key if isinstance(key, tuple) else (key,)
        return tuple([self._host.text(table.shape.parameters[table.shape.index[c]], values[c]) for c in columns])

    def _stored_columns(self, table: Table) -> tuple[str, ...]:
        """The key's columns, where the model has them all; () where the key is kept in memory only."""
        columns = self.declaration.key_columns
        return columns if all(c in table.shape.index for c in columns) else ()

    def _follow(
        self,
        change: Transaction,
        path: str,
        rows: Sequence[tuple[Ident, Key, Mapping[str, Any]]],
        found: dict[str, tuple[Key, Mapping[str, Any]]],
    ) -> bool:
        """Stage what makes one table's rows these; whether that is anything."""
        place = change.locate(path)
        table = place.found
        assert isinstance(table, Table)
        columns = self._stored_columns(table)
        if columns:
            at = [table.shape.index[c] for c in columns]
            known = {tuple([row.values[i] for i in at]): number for number, row in reversed(table.rows.items())}
        else:
            known = {i: n for i, n in self._numbers.get(path, {}).items() if n in table.rows}
        touched = False
        numbers: dict[Ident, int] = {}
        for ident, key, values in rows:
            number = known.get(ident)
            if number is None:
                try:
                    number = change.add_object(path)
                except Fault as e:
                    self._say(f"{path}: the row {key!r} cannot be shown: {e.text}")
                    continue
                self._write(change, f"{path}{number}.", table, columns, values)
                touched = True
            numbers[ident] = number
            found[f"{path}{number}."] = (key, values)
        if not columns:
            self._numbers[path] = numbers
        present = set(numbers.values())
        for number in [n for n in table.rows if n not in present]:
            row = f"{path}{number}."
            if self.declaration.adder is None or row in self._reported:
                change.delete_object(row)
                touched = True
        return touched

    def _write(
        self, change: Transaction, row: str, table: Table, columns: Sequence[str], values: Mapping[str, Any]
    ) -> None:
        """Give a new row what identifies it."""
        unique = {name for key in table.shape.definition.keys for name in key.parameters} - {"Alias"}
        for name in dict.fromkeys((*columns, *sorted(unique))):
            at = table.shape.index.get(name)
            if at is not None and values.get(name) is not None:
                try:
                    change.also(row + name, self._host.text(table.shape.parameters[at], values[name]))
                except Fault as e:
                    if name in columns:
                        raise
                    self._say(f"{row}{name}: {e.text}")

    def _say(self, text: str) -> None:
        if text not in self._odd:
            if len(self._odd) > 100:
                self._odd.clear()
            self._odd.add(text)
            LOG.warning("%s", text)
