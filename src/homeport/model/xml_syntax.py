"""Types in the Broadband Forum's XML: <syntax> and <dataType> elements become a `Syntax` with its defaults.

A dataType narrows its base, a delta (`base=`) changes what was there before: facets that are given replace, those that are not stay.
Source: cwmp-datamodel-1-15.xsd, TR-106a7 A.2.
"""

import re
from dataclasses import dataclass, field
from typing import Final

import msgspec

from homeport.errors import Fault
from homeport.model.path import generic
from homeport.model.types import Enumerated, Range, Reference, Syntax, ValueReference, compile_pattern
from homeport.model.xml_files import Element, Library
from homeport.terms import ValueType

PRIMITIVES: Final = {
    "string": ValueType.STRING,
    "int": ValueType.INT,
    "integer": ValueType.LONG,
    "long": ValueType.LONG,
    "unsignedInt": ValueType.UNSIGNED_INT,
    "unsignedLong": ValueType.UNSIGNED_LONG,
    "boolean": ValueType.BOOLEAN,
    "dateTime": ValueType.DATE_TIME,
    "base64": ValueType.BASE64,
    "hexBinary": ValueType.HEX_BINARY,
    "decimal": ValueType.DECIMAL,
    "any": ValueType.STRING,
}
_FACETS: Final = frozenset(
    {"size", "range", "enumeration", "enumerationRef", "pattern", "pathRef", "instanceRef", "units", "list"}
)
_CANONICAL_NAMES: Final = {"_AliasCWMP": "Alias", "_AliasCommon": "Alias", "_AliasUSP": "Alias"}


@dataclass(slots=True)
class Place:
    """Where a syntax stands, which decides what its relative paths mean. root: `Device.` or `VoiceService.{i}.`"""

    library: Library
    object: str
    root: str


@dataclass(slots=True)
class Declared:
    """What <syntax> says of a parameter, with what it inherited."""

    syntax: Syntax = field(default_factory=lambda: Syntax(ValueType.STRING))
    hidden: bool = False
    secured: bool = False
    command: bool = False
    defaults: dict[str, str] = field(default_factory=dict)


def read_syntax(element: Element, place: Place, before: Declared | None) -> Declared:
    """What a <syntax> element declares; before: what the parameter was, for a delta. Raises ConfigError."""
    made = Declared()
    if before is not None:
        made = Declared(before.syntax, before.hidden, before.secured, before.command, dict(before.defaults))
    for name in ("hidden", "secured", "command"):
        if element.has(name):
            setattr(made, name, element.get(name) in ("true", "1"))
    known = before is not None
    syntax = made.syntax
    for child in element:
        if child.tag == "list":
            syntax = _with_list(syntax, child)
        elif child.tag == "dataType":
            syntax, known = _with_data_type(child, syntax, place), True
        elif child.tag in PRIMITIVES:
            base = PRIMITIVES[child.tag]
            kept = syntax if before is not None and before.syntax.base is base else _renewed(syntax, base)
            syntax, known = with_facets(kept, child, place, delta=before is not None), True
        elif child.tag == "default":
            if child.get("status") == "deleted":
                made.defaults.pop(child.get("type"), None)
            else:
                made.defaults[child.get("type")] = default_text(child.raw_text("value"))
        else:
            raise child.error(
                "is not a type that a parameter can have",
                f"use one of {', '.join(PRIMITIVES)}, dataType, list, default",
            )
    if not known:
        raise element.error("names no type", "add one, such as <string/>")
    made.syntax = syntax
    return made


def default_text(text: str) -> str:
    """A default's text as it goes on the wire: the model writes an empty list as `[]` and an empty text as `<Empty>`."""
    if text in ("[]", "<Empty>", "&lt;Empty&gt;", "{}"):
        return ""
    return text[1:-1] if len(text) > 1 and text[0] == "[" and text[-1] == "]" and "[" not in text[1:] else text


def _renewed(syntax: Syntax, base: ValueType) -> Syntax:
    """Another type in the same list, if there was one."""
    return Syntax(
        base, is_list=syntax.is_list, list_items=syntax.list_items, list_sizes=syntax.list_sizes, nested=syntax.nested
    )


def _with_list(syntax: Syntax, element: Element) -> Syntax:
    items = (element.number("minItems", syntax.list_items[0]), syntax.list_items[1])
    if element.has("maxItems") and element.get("maxItems") != "unbounded":
        items = (items[0], element.number("maxItems", 0))
    sizes = _sizes(element) or syntax.list_sizes
    nested = syntax.nested or element.get("nestedBrackets") == "required"
    return msgspec.structs.replace(syntax, is_list=True, list_items=items, list_sizes=sizes, nested=nested)


def _with_data_type(element: Element, outer: Syntax, place: Place) -> Syntax:
    name = element.get("ref") or element.get("base")
    if not name:
        raise element.error("names no type", "give it ref or base")
    found = named_type(element, name, place)
    found = with_facets(found, element, place, delta=False)
    if outer.is_list:
        found = msgspec.structs.replace(
            found, is_list=True, list_items=outer.list_items, list_sizes=outer.list_sizes, nested=outer.nested
        )
    return found


def named_type(by: Element, name: str, place: Place, depth: int = 0) -> Syntax:
    """The syntax of a named type, with what its bases say. Raises ConfigError where it is unknown or circular."""
    if depth > 20:
        raise by.error(f"dataType {name} is based on itself", "break the circle")
    element = place.library.resolve(by.document, "dataType", name, by)
    base = element.get("base")
    if base:
        found = named_type(element, base, place, depth + 1)
    else:
        primitive = next(element.children(*PRIMITIVES), None)
        if primitive is None:
            raise element.error("has neither a base nor a primitive type", "add one, such as <string/>")
        found = with_facets(Syntax(PRIMITIVES[primitive.tag]), primitive, place, delta=False)
    for child in element.children("list"):
        found = _with_list(found, child)
    found = with_facets(found, element, place, delta=False)
    return msgspec.structs.replace(found, named=_CANONICAL_NAMES.get(name, name.removeprefix("_")))


def with_facets(syntax: Syntax, element: Element, place: Place, *, delta: bool) -> Syntax:
    """A syntax with the facets that an element gives. delta: enumerated values are added to those that were there."""
    if not any(child.tag in _FACETS for child in element):
        return syntax
    sizes = _sizes(element) or syntax.sizes
    ranges = tuple(_range(e) for e in element.children("range")) or syntax.ranges
    patterns = (
        tuple(_pattern(e) for e in element.children("pattern") if e.get("status") != "deleted") or syntax.patterns
    )
    units = next((e.get("value") for e in element.children("units")), syntax.units)
    enumeration = _enumeration(syntax, element, delta)
    reference, value_reference = syntax.reference, syntax.value_reference
    for child in element.children("pathRef"):
        parents = tuple(
            dict.fromkeys(
                absolute(p, child, place, child.get("targetParentScope")) for p in child.get("targetParent").split()
            )
        )
        reference = Reference(child.get("refType") == "strong", parents, child.get("targetType") or "any")
    for child in element.children("enumerationRef"):
        null = child.raw_text("nullValue") if child.has("nullValue") else None
        target = absolute(child.get("targetParam"), child, place, child.get("targetParamScope"))
        value_reference = ValueReference(target.removesuffix("."), null)
    return msgspec.structs.replace(
        syntax, sizes=sizes, ranges=ranges, patterns=patterns, units=units, enumeration=enumeration, reference=reference,
        value_reference=value_reference,
    )  # fmt: skip


def _sizes(element: Element) -> tuple[tuple[int, int | None], ...]:
    return tuple(
        (e.number("minLength", 0), e.number("maxLength", 0) if e.has("maxLength") else None)
        for e in element.children("size")
        if e.get("status") != "deleted"
    )


def _range(element: Element) -> Range:
    return Range(_bound(element, "minInclusive"), _bound(element, "maxInclusive"), element.number("step", 0))


def _bound(element: Element, name: str) -> int | str | None:
    text = element.get(name)
    if not text:
        return None
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"[+-]?[0-9]*\.[0-9]+", text):
        return text
    raise element.error(f"{name}={text!r} is not a number", "correct it")


def _pattern(element: Element) -> str:
    text = element.raw_text("value")
    try:
        compile_pattern(text)
    except re.error as error:
        raise element.error(f"{text!r} is not a pattern ({error})", "correct it") from None
    return text


def _enumeration(syntax: Syntax, element: Element, delta: bool) -> tuple[Enumerated, ...]:
    given = list(element.children("enumeration"))
    if not given:
        return syntax.enumeration
    values = {e.value: e for e in syntax.enumeration} if delta else {}
    for child in given:
        value = child.raw_text("value")
        status = child.get("status")
        if status == "deleted":
            values.pop(value, None)
        else:
            values[value] = Enumerated(
                value,
                child.get("access") == "readOnly",
                child.get("optional") == "true",
                "" if status == "current" else status,
            )
    return tuple(values.values())


def absolute(text: str, element: Element, place: Place, scope: str = "") -> str:
    """A reference's path from the root, with `{i}` for instances. Raises ConfigError where it leads above the root.

    A leading dot starts at the root (or the service object); each `#` goes one object up from the current one, where a row and
    its table count as one; anything else is below the current object. Source: TR-106a7 A.2.3.4.
    """
    root = place.root
    if scope == "model":
        made = root + text.removeprefix(".")
    elif scope == "object":
        made = place.object + text.removeprefix(".")
    elif re.match(r"(InternetGatewayDevice|Device)(\.|\Z)", text):
        made = text
    elif text.startswith("."):
        made = root + text[1:]
    elif text.startswith("#"):
        here = place.object
        rest = text.lstrip("#")
        for _ in range(len(text) - len(rest)):
            here = _above(here)
        made = here + rest.removeprefix(".")
    else:
        made = place.object + text
    try:
        generic(made)
    except Fault as fault:
        raise element.error(f"the path {text!r} is wrong: {fault.text}", "correct it") from None
    return made


def _above(path: str) -> str:
    stem = path.removesuffix(".").removesuffix(".{i}")
    head = stem.rpartition(".")[0]
    return head + "." if head else ""
