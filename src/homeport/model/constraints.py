"""Rules that span more than one value: unique keys, references, values taken from another parameter, order of precedence.

Checked on the staged tree of a transaction, after everything is staged, so that the order inside one request does not matter.
Source: TR-106a7 2.3.2 (keys), 3.2.4 (references), tr-106-types.xml (Order).
"""

from collections.abc import Iterator
from itertools import zip_longest

from homeport.errors import Fault
from homeport.model.nodes import Node, Table
from homeport.model.path import Path, generic
from homeport.model.reading import Place, View
from homeport.model.schema import ParameterDef
from homeport.model.tables import REFERENCES_BELOW, UniqueKey
from homeport.model.values import join_list, split_list
from homeport.terms import EventCode, FaultCode


def key_clashes(table: Table) -> Iterator[tuple[UniqueKey, int, int]]:
    """(key, earlier row, later row) for rows that have the same key.

    A functional key counts only among enabled rows where the model names an enable parameter. Where it names none, a key that still
    has its values of creation counts as not yet set (unverified), because AddObject cannot give it; so does a key that is all empty.
    """
    shape = table.shape
    for key in shape.definition.keys:
        if not all(name in shape.index for name in key.parameters):
            continue  # this device lacks a part of the key, so nothing identifies its rows by it
        at = [shape.index[name] for name in key.parameters]
        enable = shape.index.get(shape.definition.enable, -1) if key.functional and shape.definition.enable else -1
        unset = tuple(shape.created[i] for i in at)
        seen: dict[tuple[str, ...], int] = {}
        for number, row in table.rows.items():
            values = tuple(row.values[i] for i in at)
            if enable >= 0:
                if row.values[enable] not in ("true", "Enabled"):
                    continue
            elif values == unset or not any(values):
                continue
            earlier = seen.setdefault(values, number)
            if earlier != number:
                yield key, earlier, number


def canonical_reference(view: View, parameter: ParameterDef, text: str) -> str:
    """A reference as it is stored: instance numbers for aliases, no trailing dot. What does not resolve stays as it was written."""
    if not text:
        return text
    items = split_list(text) if parameter.syntax.is_list else [text]
    made = []
    for item in items:
        if "[" in item or item.endswith("."):
            place = _target(view, item)
            item = place.path.removesuffix(".") if place else item.removesuffix(".")
        made.append(item)
    return join_list(made) if parameter.syntax.is_list else made[0]


def _target(view: View, text: str) -> Place | None:
    for spelled in (text,) if text.endswith(".") else (text + ".", text):
        try:
            return view.locate(spelled)
        except Fault:
            continue  # the next spelling, or nothing there
    return None


def check_reference(view: View, parameter: ParameterDef, text: str) -> None:
    """Refuses with 9007 a strong reference to what does not exist or may not be pointed at, and anything that is no path.

    Where the model says that a target is relative to the referring row, any row of that kind is accepted.
    """
    reference = parameter.syntax.reference
    if reference is None or not text:
        return
    services = view.blueprint.root_path + "Services."
    allowed = {p if p.startswith(view.blueprint.root_path) else services + p for p in reference.parents}
    for item in split_list(text) if parameter.syntax.is_list else [text]:
        if not reference.strong:
            try:
                Path.parse(item)
            except Fault as fault:
                raise Fault(FaultCode.INVALID_PARAMETER_VALUE, f"{item!r} is not a path: {fault.text}") from None
            continue
        place = _target(view, item)
        if place is None:
            raise Fault(
                FaultCode.INVALID_PARAMETER_VALUE, f"{item} does not exist; a strong reference needs an existing target"
            )
        row = place.at < 0 and isinstance(place.found, Node) and place.found.shape.table
        if reference.target == "row" and not row:
            raise Fault(FaultCode.INVALID_PARAMETER_VALUE, f"{item} is not a row of a table")
        if reference.target == "parameter" and place.at < 0:
            raise Fault(FaultCode.INVALID_PARAMETER_VALUE, f"{item} is not a parameter")
        if allowed:
            parent = generic(place.path).removesuffix(".").removesuffix(".{i}").rpartition(".")[0] + "."
            if row:
                parent = generic(place.path).removesuffix("{i}.")
            if parent not in allowed:
                raise Fault(
                    FaultCode.INVALID_PARAMETER_VALUE,
                    f"{item} may not be pointed at here; expected a child of {' or '.join(sorted(allowed))}",
                )


def check_value_reference(view: View, path: str, parameter: ParameterDef, text: str) -> None:
    """Refuses with 9007 a value that the parameter which lists the allowed ones does not hold now.

    Where that parameter is in a row, the row that the path itself goes through is meant. A list that is empty or not there says
    nothing: the device did not tell what it supports (unverified).
    """
    wanted = parameter.syntax.value_reference
    if wanted is None or text in ("", wanted.null):
        return
    source = _in_the_same_rows(wanted.parameter, path)
    try:
        allowed = split_list(view.values([source])[0].value) if source else []
    except Fault:
        return  # this device does not have the parameter that lists them
    for item in split_list(text) if parameter.syntax.is_list and allowed else [text]:
        if allowed and item not in allowed and item != wanted.null:
            raise Fault(
                FaultCode.INVALID_PARAMETER_VALUE, f"{item!r} is not in {source}: expected one of {', '.join(allowed)}"
            )


def _in_the_same_rows(wanted: str, path: str) -> str:
    """A generic path with the instance numbers of another one that goes through the same tables; "" where they part before."""
    out: list[str] = []
    together = True
    for theirs, ours in zip_longest(wanted.split("."), path.split(".")):
        if theirs is None:
            break
        if theirs == "{i}":
            if not together or ours is None or not ours.isdigit():
                return ""
            out.append(ours)
        else:
            together = together and theirs == ours
            out.append(theirs)
    return ".".join(out)


def check_inform_parameter(view: View, path: str, text: str) -> None:
    """Refuses with 9007 what an InformParameter row may not say: a parameter that is in every Inform anyway, or the event
    `4 VALUE CHANGE`, which has a list of its own. Source: TR-181 2.8, ManagementServer.InformParameter.{i}."""
    table = view.blueprint.root_path + "ManagementServer.InformParameter."
    if not path.startswith(table) or not text:
        return
    leaf = path.rpartition(".")[2]
    if leaf == "EventList" and EventCode.VALUE_CHANGE.value in split_list(text):
        raise Fault(FaultCode.INVALID_PARAMETER_VALUE, f"{EventCode.VALUE_CHANGE.value} is not allowed in an EventList")
    if leaf == "ParameterName":
        try:
            named = view.blueprint.schema.parameter(generic(text))
        except Fault as fault:
            raise Fault(FaultCode.INVALID_PARAMETER_VALUE, fault.text) from None
        if named is not None and named.forced_inform:
            raise Fault(FaultCode.INVALID_PARAMETER_VALUE, f"{text} is in every Inform already")


def references_to(root: Node, prefix: str, root_path: str) -> Iterator[tuple[str, Node, int, str]]:
    """(path, node, parameter index, text without the target) of every strong reference to an instance or to something below it."""
    yield from _references_below(root, root_path, prefix.removesuffix("."), prefix)


def _references_below(place: Node | Table, here: str, exact: str, prefix: str) -> Iterator[tuple[str, Node, int, str]]:
    if not place.shape.definition.below & REFERENCES_BELOW:
        return
    if isinstance(place, Table):
        for number, row in place.rows.items():
            yield from _references_below(row, f"{here}{number}.", exact, prefix)
        return
    for at in place.shape.references:
        parameter = place.shape.parameters[at]
        text = place.values[at]
        if exact not in text or not (parameter.syntax.reference and parameter.syntax.reference.strong):
            continue
        items = text.split(",") if parameter.syntax.is_list else [text]
        kept = [i for i in items if i != exact and not i.startswith(prefix)]
        if len(kept) != len(items):
            yield here + parameter.name, place, at, ",".join(kept)
    for child in place.children:
        yield from _references_below(child, f"{here}{child.shape.definition.name}.", exact, prefix)


def reordered(table: Table, number: int | None, wanted: int) -> dict[int, int]:
    """New Order of every row whose Order changes when one row is put at a place, or (number None) when gaps are closed.

    The row goes before the one that has the wanted number now, those from there on move down, then gaps are closed. So the row reads
    one less than was written when it moved down past others: incrementing comes before closing the gap that it left.
    """
    at = table.shape.order
    before = {n: int(row.values[at]) for n, row in table.rows.items()}
    queue = sorted((n for n in before if n != number), key=lambda n: before[n])
    if number is not None:
        place = next((i for i, n in enumerate(queue) if before[n] >= wanted), len(queue))
        queue.insert(place, number)
    after = {n: i + 1 for i, n in enumerate(queue)}
    return {n: o for n, o in after.items() if before[n] != o}
