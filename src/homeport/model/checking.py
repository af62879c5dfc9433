"""Comparing: a device's parameter dump with a model and a profile, and one model with another.

A dump is what a device answered to GetParameterValues or GetParameterNames, saved as CSV or JSON.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from homeport.errors import ConfigError, Fault
from homeport.model.path import generic
from homeport.model.profile import ProfileDef
from homeport.model.schema import ObjectDef, ParameterDef, Schema
from homeport.model.types import check_type


class DumpRow(Struct, frozen=True):
    """One line of a dump; None where the dump does not say. name: parameter, or object with its trailing dot."""

    name: str
    value: str | None = None
    type: str | None = None
    writable: bool | None = None


class FindingKind(StrEnum):
    """What can be wrong with a dump. VENDOR is a remark: an extension that the model cannot know."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    VENDOR = "vendor"
    TYPE = "type"
    WRITABLE = "writable"
    VALUE = "value"


class Finding(Struct, frozen=True):
    kind: FindingKind
    path: str
    text: str


_NAME_FIELDS: Final = ("name", "path", "parameter", "parametername")
_INTEGERS: Final = frozenset({"int", "unsignedInt", "long", "unsignedLong"})
_TRUE: Final = frozenset({"1", "true", "yes", "rw", "readwrite", "w"})


def read_dump(text: str, *, origin: str) -> list[DumpRow]:
    """The rows of a dump. CSV with a header line (name or path, and any of value, type, writable), JSON with a list of such objects
    (also below `items`), or a JSON object of name: value. Raises ConfigError that says what was expected."""
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped[:1] in ("[", "{"):
        try:
            data: Any = msgspec.json.decode(stripped)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{origin}: not JSON: {error}") from None
        if isinstance(data, dict) and isinstance(data.get("items"), list):
            data = data["items"]
        if isinstance(data, dict):
            return [DumpRow(str(name), _text(value)) for name, value in data.items()]
        return [_row(item, f"{origin}: entry {n + 1}") for n, item in enumerate(data)]
    dialect: type[csv.Dialect] | str = "excel"
    if "\t" in stripped.partition("\n")[0]:
        dialect = "excel-tab"
    elif ";" in stripped.partition("\n")[0]:
        dialect = _Semicolons
    reader = csv.DictReader(io.StringIO(stripped), dialect=dialect)
    fields = {f.strip().lower() for f in reader.fieldnames or ()}
    if not fields & set(_NAME_FIELDS):
        raise ConfigError(
            f"{origin}: the first line must name the columns, one of them name or path, as in: name,value,type,writable"
        )
    return [_row(item, f"{origin}: line {reader.line_num}") for item in reader]


class _Semicolons(csv.excel):
    delimiter = ";"


def _row(item: Any, where: str) -> DumpRow:
    if not isinstance(item, dict):
        raise ConfigError(f"{where}: expected an object with name, value, type and writable")
    fields = {str(k).strip().lower(): v for k, v in item.items() if k is not None}
    name = next((fields[f] for f in _NAME_FIELDS if fields.get(f)), None)
    if not isinstance(name, str):
        raise ConfigError(f"{where}: has no name")
    writable = fields.get("writable", fields.get("access"))
    if isinstance(writable, str):
        writable = writable.strip().lower() in _TRUE if writable.strip() else None
    kind = fields.get("type")
    return DumpRow(name.strip(), _text(fields.get("value")), str(kind).strip() if kind else None, writable)


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


# --- a dump against a model -------------------------------------------------------------------------------------------------------


def check_dump(
    rows: Sequence[DumpRow],
    schema: Schema,
    *,
    device: ProfileDef | None = None,
    profiles: Iterable[str] = (),
) -> list[Finding]:
    """What is wrong with a dump, in its order; what is missing comes last.

    device: a device profile, all of whose parameters must be there. profiles: names of the model's own profiles, such as
    `Baseline:1`, whose parameters must be there with the access that they ask for. Raises ConfigError for an unknown one.
    """
    found: list[Finding] = []
    seen: dict[str, DumpRow] = {}
    by_generic: dict[str, list[str]] = {}
    for row in rows:
        try:
            path = generic(row.name)
        except Fault as fault:
            found.append(Finding(FindingKind.UNKNOWN, row.name, fault.text))
            continue
        seen[row.name] = row
        head = path.rpartition(".")[0] + "."
        by_generic.setdefault(head, []).append(row.name)
        found.extend(_check_row(row, path, schema))
    required: dict[str, bool] = {}
    if device is not None:
        required.update((path, False) for path in device.parameters)
    for name in profiles:
        required.update(schema.required_by(name)[0])
    heads = {name.rpartition(".")[0] + "." for name in seen if not name.endswith(".")}
    rows_of: dict[str, list[str]] = {}
    for head in sorted(heads):
        rows_of.setdefault(generic(head), []).append(head)
    for path, writable in required.items():
        head, _, leaf = path.rpartition(".")
        places = rows_of.get(head + ".", [])
        if not places and "{i}" in head:
            continue  # a table without rows lacks nothing
        for place in places or [head + "."]:
            row_or_none = seen.get(place + leaf)
            if row_or_none is None:
                found.append(Finding(FindingKind.MISSING, place + leaf, "the profile asks for it"))
            elif writable and row_or_none.writable is False:
                found.append(
                    Finding(
                        FindingKind.WRITABLE,
                        place + leaf,
                        "the profile asks for readWrite, the device has it read-only",
                    )
                )
    return found


def _check_row(row: DumpRow, path: str, schema: Schema) -> Iterable[Finding]:
    if path.endswith("."):
        definition = schema.object(path) or schema.object(path + "{i}.")
        if definition is None:
            yield _unknown(row.name)
        elif row.writable and not definition.writable:
            yield Finding(
                FindingKind.WRITABLE, row.name, "the model does not let the ACS add or delete rows, the device does"
            )
        return
    parameter = schema.parameter(path)
    if parameter is None:
        yield _unknown(row.name)
        return
    if row.writable is not None and row.writable != parameter.writable:
        says = "readWrite" if parameter.writable else "readOnly"
        yield Finding(FindingKind.WRITABLE, row.name, f"the model says {says}, the device the opposite")
    if row.type:
        wire = row.type.rpartition(":")[2]
        try:
            check_type(row.type, parameter.syntax.wire)
            fits = (
                wire not in _INTEGERS or wire == parameter.type
            )  # one whole-number type for another is worth a remark here
        except Fault:
            fits = False
        if not fits:
            yield Finding(FindingKind.TYPE, row.name, f"sent as {row.type}, the model says {parameter.type}")
    if row.value is not None and not parameter.hidden:
        try:
            parameter.check(row.value, device=True)
        except Fault as fault:
            kind = FindingKind.TYPE if fault.code == 9006 else FindingKind.VALUE
            yield Finding(kind, row.name, fault.text)


def _unknown(name: str) -> Finding:
    if any(part.startswith("X_") for part in name.split(".")):
        return Finding(FindingKind.VENDOR, name, "a vendor's extension; import its model to check it")
    return Finding(FindingKind.UNKNOWN, name, "the model has no such name")


# --- one model against another ----------------------------------------------------------------------------------------------------


class Difference(Struct, frozen=True):
    """change: added, removed or changed. before, after: what it was and is, in words; "" where there is nothing."""

    change: str
    path: str
    before: str = ""
    after: str = ""


def diff_schemas(a: Schema, b: Schema) -> list[Difference]:
    """What b has otherwise than a: objects and parameters, in b's order with what a alone has at the end."""
    out: list[Difference] = []
    for definition in b.objects():
        old = a.object(definition.path)
        if old is None:
            out.append(Difference("added", definition.path, "", object_facts(definition)))
        elif object_facts(old) != object_facts(definition):
            out.append(Difference("changed", definition.path, object_facts(old), object_facts(definition)))
        for parameter in definition.parameters:
            before = old.parameter(parameter.name) if old else None
            if before is None:
                out.append(Difference("added", parameter.path, "", parameter_facts(parameter)))
            elif parameter_facts(before) != parameter_facts(parameter):
                out.append(Difference("changed", parameter.path, parameter_facts(before), parameter_facts(parameter)))
    for definition in a.objects():
        new = b.object(definition.path)
        if new is None:
            out.append(Difference("removed", definition.path, object_facts(definition)))
        out.extend(
            Difference("removed", p.path, parameter_facts(p))
            for p in definition.parameters
            if new is None or new.parameter(p.name) is None
        )
    return out


def object_facts(definition: ObjectDef) -> str:
    """An object in words: kind, access, bounds."""
    if not definition.table:
        return "object"
    bounds = f"{definition.minimum}..{'' if definition.maximum is None else definition.maximum}"
    return f"table {'readWrite' if definition.writable else 'readOnly'} {bounds}"


def parameter_facts(parameter: ParameterDef) -> str:
    """A parameter in words: type, access, facets, marks."""
    return " ".join(
        [type_text(parameter), "readWrite" if parameter.writable else "readOnly", *facets(parameter), *marks(parameter)]
    )


def type_text(parameter: ParameterDef) -> str:
    """`unsignedInt`, `IPAddress (string)`, `list of string`."""
    syntax = parameter.syntax
    single = f"{syntax.named} ({syntax.base.value})" if syntax.named else syntax.base.value
    return f"list of {single}" if syntax.is_list else single


def facets(parameter: ParameterDef) -> list[str]:
    """Sizes, ranges, values, patterns, units and references, each in words."""
    syntax = parameter.syntax
    out: list[str] = []
    out.extend(f"size {low}..{'' if high is None else high}" for low, high in syntax.sizes)
    out.extend(
        f"range {'' if r.minimum is None else r.minimum}..{'' if r.maximum is None else r.maximum}"
        + (f" step {r.step}" if r.step else "")
        for r in syntax.ranges
    )
    if syntax.enumeration:
        out.append(
            "one of " + ", ".join(e.value + (" (device only)" if e.read_only else "") for e in syntax.enumeration)
        )
    out.extend(f"pattern {p!r}" for p in syntax.patterns)
    if syntax.units:
        out.append(f"in {syntax.units}")
    if syntax.is_list and (syntax.list_items != (0, None) or syntax.list_sizes):
        low, high = syntax.list_items
        out.append(f"{low}..{'' if high is None else high} items")
    if syntax.reference:
        where = ", ".join(syntax.reference.parents) or "anything"
        out.append(
            f"{'strong' if syntax.reference.strong else 'weak'} reference to {syntax.reference.target} of {where}"
        )
    if syntax.value_reference:
        out.append(f"one of the values of {syntax.value_reference.parameter}")
    return out


def marks(parameter: ParameterDef) -> list[str]:
    """hidden, command, in every Inform ..., as far as they hold."""
    notify = {
        1: "active notification can be denied",
        2: "active notification always on",
        3: "active notification on by default",
    }
    out = [
        text
        for text, on in (
            ("hidden", parameter.hidden),
            ("secured", parameter.secured),
            ("command", parameter.command),
            ("given only at creation", parameter.write_once),
            ("in every Inform", parameter.forced_inform),
            (notify.get(int(parameter.active_notify), ""), parameter.active_notify > 0),
            (parameter.status, bool(parameter.status)),
        )
        if on
    ]
    return out
