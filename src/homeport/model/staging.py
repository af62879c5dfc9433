"""Staging: what a transaction is going to change, checked one by one as it is said, in copies of what it touches.

Nothing outside the transaction changes here. What spans several values, and the commit itself, is `transaction`'s.
Source: TR-069a6 A.3.2.1 (SetParameterValues), A.3.2.4, A.3.2.6, A.3.2.7.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Self, TypeVar

from homeport.errors import Fault, LocalProtocolError, ParameterFault
from homeport.model import constraints
from homeport.model.changes import (
    EVERYBODY,
    Attributes,
    Change,
    ChangeKind,
    Op,
    check_notification,
)
from homeport.model.nodes import Node, Table
from homeport.model.path import Alias
from homeport.model.reading import Place, View, no_such
from homeport.model.schema import ParameterDef
from homeport.model.types import check_type
from homeport.terms import FaultCode, Writer

if TYPE_CHECKING:
    from homeport.model.tree import DataModel

T = TypeVar("T")

_IN_LIST: Final = frozenset({9001, 9002, 9005, 9006, 9007, 9008})
"""Codes that a SetParameterValuesFault may carry (cwmp-1-0.xsd)."""

MAX_PARAMETER_KEY: Final = 32
"""characters (cwmp-1-0.xsd)"""


class _Staged:
    """One value of the transaction: what it was at the start, what it is to be, and who wants it."""

    __slots__ = ("old", "new", "parameter", "writer")

    def __init__(self, old: str, new: str, parameter: ParameterDef, writer: Writer) -> None:
        self.old = old
        self.new = new
        self.parameter = parameter
        self.writer = writer


class Staging(View):
    """The changes that a transaction has so far. It is also a view: `value(path)` reads what is staged."""

    __slots__ = (
        "writer", "errors", "_start", "_values", "_spelled", "_structure", "_lengths", "_touched", "_attributes", "_key",
        "_open", "_set_used", "_new_rows", "reports", "volatile",
    )  # fmt: skip

    def __init__(self, model: "DataModel", writer: Writer) -> None:
        super().__init__(model.blueprint, model.state.root, model.registry, model)
        self.writer = writer
        self.errors: list[ParameterFault] = []
        self._start = model.state
        self._values: dict[str, _Staged] = {}
        self._spelled: dict[str, str] = {}
        self._structure: list[tuple[Op, Change]] = []
        self._lengths: dict[str, int] = {}
        self._touched: list[Node] = []
        self._attributes: dict[str, Attributes] = {}
        self._key: str | None = None
        self._open = True
        self._set_used = False
        self._new_rows: set[str] = set()
        self.reports = False
        """The device tells what is: rows that clash in their keys are its own affair, and its hooks know already."""
        self.volatile = False
        """What changes here is found out again after a start, so that the disk need not keep it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.rollback()

    # --- what may be asked ------------------------------------------------------------------------------------------------------

    def set(self, name: str, text: str, type: str | None = None) -> None:
        """Stages one value. A refusal is kept and raised by `commit` together with all others, as SetParameterValues wants it.

        type: text of xsi:type, None where none was given.
        """
        self._check_open()
        self._set_used = True
        try:
            self._set(name, text, type)
        except Fault as fault:
            self.errors.append(ParameterFault(name, listed(fault.code), fault.text))

    def add_object(self, path: str) -> int:
        """Adds a row and gives its instance number. path: the table, or `table.[alias].`, with the trailing dot.

        Raises Fault 9005 where there is no such table, 9001 where rows cannot be added, 9004 where it is full, 9007 for an alias in use.
        """
        self._check_open()
        parsed = self._parse(path)
        if not parsed.partial:
            raise no_such(path, "a table's path ends with a dot")
        alias = ""
        if parsed.segments and isinstance(parsed.segments[-1], Alias):
            alias = str(parsed.segments[-1])
            path = path[: path.rindex("[")]
        place = self.locate(path)
        if not isinstance(place.found, Table):
            raise no_such(path, "it is not a table")
        return self._add(place, alias)

    def delete_object(self, path: str) -> None:
        """Deletes a row with everything below it. Strong references to it are emptied.

        Raises Fault 9005 where there is no such row, 9001 where its table does not let rows go.
        """
        self._check_open()
        place = self.locate(path)
        if not isinstance(place.found, Node) or not place.found.shape.table or place.at >= 0:
            raise no_such(path, "DeleteObject needs an instance, such as Device.NAT.PortMapping.1.")
        shape = place.found.shape
        if shape.fixed is not None or (self.writer is not Writer.SYSTEM and not shape.growable):
            raise Fault(FaultCode.REQUEST_DENIED, f"{place.path}: rows of this table cannot be deleted")
        table = self._own(place.steps[:-1])
        assert isinstance(table, Table)
        if self.writer is not Writer.SYSTEM and len(table.rows) <= shape.definition.minimum:
            raise Fault(
                FaultCode.REQUEST_DENIED, f"{place.path}: the table keeps at least {shape.definition.minimum} rows"
            )
        number = place.steps[-1]
        self._note_length(place.path[: -len(f"{number}.")], len(table.rows))
        del table.rows[number]
        for path_ in [p for p in self._values if p.startswith(place.path)]:
            del self._values[path_]
        self._structure.append((("delete", place.path), Change(place.path, "", "", self.writer, ChangeKind.DELETE)))
        for found in list(constraints.references_to(self.root, place.path, self.blueprint.root_path)):
            self._stage(self.locate(found[0]), found[3], self.writer)
        if shape.order >= 0:
            self._renumber(place.path[: -len(f"{number}.")], None, 0)

    def set_attributes(
        self, name: str, notification: int | None = None, access_list: Sequence[str] | None = None
    ) -> None:
        """Stages attributes of a parameter, or of all parameters below a partial path; None keeps what is.

        Raises Fault 9005 for an unknown name, 9003 for a notification that is none, 9009 for one that is refused. The caller lets the
        Fault end the whole request, so that nothing of it is done. What is staged later counts.
        """
        self._check_open()
        if "*" in name:
            raise no_such(name, "SetParameterAttributes takes no wildcards")
        parameters = self.parameters(name)
        named = not name.endswith(".") and bool(name)
        if notification is not None and not 0 <= notification <= 6:
            raise Fault(FaultCode.INVALID_ARGUMENTS, f"{name}: notification {notification} is not 0 to 6")
        for path, parameter in parameters:
            before = self._attributes.get(path) or self._start.attributes.get(path) or Attributes()
            wanted = before.notification
            if notification is not None and check_notification(
                parameter, path, notification, registry=self.registry, lightweight=self.model.lightweight, named=named
            ):
                wanted = notification
            allowed = before.access_list if access_list is None else tuple(access_list)
            self._attributes[path] = Attributes(wanted, allowed)

    def parameter_key(self, key: str) -> None:
        """Stages the ParameterKey that comes with a successful request. Raises Fault 9003 for more than 32 characters."""
        self._check_open()
        if len(key) > MAX_PARAMETER_KEY:
            raise Fault(
                FaultCode.INVALID_ARGUMENTS,
                f"ParameterKey has {len(key)} characters, at most {MAX_PARAMETER_KEY} are allowed",
            )
        self._key = key

    def also(self, path: str, text: str) -> None:
        """The device's own value in the same commit, for hooks: `view.also("Device....Status", "Up")`. Raises Fault when it is refused."""
        self._check_open()
        place = self.locate(path)
        if place.at < 0:
            raise no_such(path)
        self._stage(place, place.parameter.check(text, device=True), Writer.SYSTEM)

    def value(self, path: str) -> str:
        """The text of one parameter as it will be after this transaction; hidden values are shown."""
        staged = self._values.get(path)
        if staged is not None and not staged.parameter.command:
            return staged.new  # also where it is computed: the device has not been told yet
        found = self.values([path], reveal=True)
        if len(found) != 1 or path.endswith("."):
            raise no_such(path, "value() needs one parameter")
        return found[0].value

    def rollback(self) -> None:
        """Forgets everything that was staged."""
        self._open = False

    # --- staging ----------------------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._open:
            raise LocalProtocolError("this transaction is over; open another with model.transaction(writer)")

    def _set(self, name: str, text: str, type: str | None) -> None:
        place = self._locate_or_create(name)
        if place.at < 0:
            raise no_such(name, "it is an object, not a parameter")
        if place.path in self._spelled:
            raise Fault(FaultCode.INVALID_PARAMETER_NAME, f"{name} is in the list twice")
        parameter = place.parameter
        self._spelled[place.path] = name
        if self.writer is not Writer.SYSTEM:
            fresh = parameter.write_once and place.path.rpartition(".")[0] + "." in self._new_rows
            if not parameter.writable and not fresh:
                raise Fault(FaultCode.NOT_WRITABLE, f"{name} is read-only")
            if self.writer is Writer.LOCAL and "Subscriber" not in self._access_list(place.path):
                raise Fault(FaultCode.REQUEST_DENIED, f"{name} was closed to local changes by the ACS")
        check_type(type, parameter.syntax.wire)
        text = parameter.check(text, device=self.writer is Writer.SYSTEM)
        if parameter.syntax.reference is not None:
            text = constraints.canonical_reference(self, parameter, text)
        if place.at == place.node.shape.alias and self.writer is not Writer.ACS and not text.startswith("cpe-"):
            raise Fault(
                FaultCode.INVALID_PARAMETER_VALUE,
                f"{text!r} is not allowed: an alias that the ACS did not give begins with cpe-",
            )
        self._stage(place, text, self.writer)

    def _access_list(self, path: str) -> tuple[str, ...]:
        found = self._start.attributes.get(path)
        return EVERYBODY if found is None or found.access_list is None else found.access_list

    def _locate_or_create(self, name: str) -> Place:
        if "[" not in name or self.writer is not Writer.ACS:
            return self.locate(name)
        try:
            return self.locate(name)
        except Fault:
            if self.capability("AutoCreateInstances") != "true":
                raise
        path = self._parse(name)
        spelled: list[str] = []
        for segment in path.segments[:-1]:
            if isinstance(segment, Alias):
                place = self.locate(".".join(spelled) + ".")
                if not isinstance(place.found, Table):
                    raise no_such(name)
                number = place.found.number_of(segment)
                spelled.append(str(number if number is not None else self._add(place, segment)))
            else:
                spelled.append(str(segment))
        return self.locate(".".join([*spelled, str(path.segments[-1])]))

    def _add(self, place: Place, alias: str) -> int:
        table = place.found
        assert isinstance(table, Table)
        shape = table.shape
        if shape.fixed is not None or (self.writer is not Writer.SYSTEM and not shape.growable):
            raise Fault(FaultCode.REQUEST_DENIED, f"{place.path}: rows cannot be added to this table")
        maximum = shape.definition.maximum
        if maximum is not None and len(table.rows) >= maximum:
            raise Fault(FaultCode.RESOURCES_EXCEEDED, f"{place.path} has its {maximum} rows already")
        if alias and shape.alias < 0:
            raise no_such(f"{place.path}[{alias}].", "rows of this table have no alias")
        if alias and table.number_of(alias) is not None:
            raise Fault(FaultCode.INVALID_PARAMETER_VALUE, f"{place.path}[{alias}]. exists already")
        owned = self._own(place.steps)
        assert isinstance(owned, Table)
        number = owned.next
        self._note_length(place.path, len(owned.rows))
        owned.next = number + 1
        row = shape.new_row()
        owned.rows[number] = row
        path = f"{place.path}{number}."
        self._new_rows.add(path)
        self._structure.append(
            (("add", place.path, number, number + 1), Change(path, "", "", self.writer, ChangeKind.ADD))
        )
        if shape.alias >= 0:
            name = alias or f"cpe-{number}"
            while not alias and table.number_of(name) is not None:
                name = f"cpe-{number}-{len(name)}"  # somebody took that alias for another row
            self._write(Place(row, path + "Alias", (*place.steps, number), shape.alias), name, self.writer)
        if shape.order >= 0:
            here = Place(row, path + shape.names[shape.order], (*place.steps, number), shape.order)
            self._write(here, str(len(owned.rows)), self.writer)
        return number

    def _note_length(self, table: str, rows: int) -> None:
        self._lengths.setdefault(table, rows)

    def _stage(self, place: Place, text: str, writer: Writer) -> None:
        shape = place.node.shape
        if place.at == shape.order:
            table, number = place.path.rpartition(".")[0].rpartition(".")[0] + ".", place.steps[-1]
            self._renumber(table, number, int(text))
            if place.path not in self._values:  # it stood there already
                self._values[place.path] = _Staged(place.text, place.text, place.parameter, writer)
            return
        self._write(place, text, writer)

    def _renumber(self, table_path: str, number: int | None, wanted: int) -> None:
        place = self.locate(table_path)
        assert isinstance(place.found, Table)
        shape = place.found.shape
        for row, order in constraints.reordered(place.found, number, wanted).items():
            path = f"{table_path}{row}.{shape.names[shape.order]}"
            self._write(Place(place.found.rows[row], path, (*place.steps, row), shape.order), str(order), self.writer)

    def _write(self, place: Place, text: str, writer: Writer) -> None:
        parameter = place.parameter
        staged = self._values.get(place.path)
        if staged is None:
            old = place.text if writer is Writer.SYSTEM else self._present(place)
            self._values[place.path] = _Staged(old, text, parameter, writer)
        else:
            staged.new, staged.writer = text, writer
        if parameter.command:
            return  # writing is the deed; what is read stays the default
        node = self._own(place.steps)
        assert isinstance(node, Node) and isinstance(node.values, list)
        node.values[place.at] = text

    def _present(self, place: Place) -> str:
        """What a parameter holds before the request: for one that lives on the device what the device says, not what was written last."""
        if self.registry is None or all(at != place.at for at, _ in self.registry.sources_of(place.node.shape)):
            return place.text
        try:
            return self.values([place.path], reveal=True)[0].value
        except Fault:
            return place.text  # the device cannot say it now

    def _own(self, steps: tuple[int, ...]) -> Node | Table:
        """The object or table at some steps, as this transaction's own copy, with its parents."""
        here: Node | Table = self.root
        if here.owner is not self:
            assert isinstance(here, Node)
            here = self.root = self._copied(here)
        for step in steps:
            if isinstance(here, Table):
                below: Node | Table = here.rows[step]
            else:
                below = here.children[step]
            if below.owner is not self:
                if isinstance(below, Table):
                    below = Table(below.shape, dict(below.rows), below.next, self)
                else:
                    below = self._copied(below)
                if isinstance(here, Table):
                    assert isinstance(below, Node)
                    here.rows[step] = below
                else:
                    assert isinstance(here.children, list)
                    here.children[step] = below
            here = below
        return here

    def _copied(self, node: Node) -> Node:
        copy = Node(node.shape, list(node.values), list(node.children), self)
        self._touched.append(copy)
        return copy


def listed(code: FaultCode) -> FaultCode:
    """The code that a SetParameterValuesFault may carry for a fault; 9001 stands for those that it may not."""
    return code if code in _IN_LIST else FaultCode.REQUEST_DENIED
