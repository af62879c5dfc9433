"""Types of TR-106: which texts a parameter takes, and what a text means. Refusals are Faults 9006 (not of the type) and 9007
(of the type, but not an allowed value); the message says what was expected.

A `Syntax` is the table row that describes a type with its facets; `checker(syntax)` compiles it once into a function. Nothing here
knows a path, so references are checked by the transaction, which has the tree.
Source: TR-106a7 3.2, cwmp-datamodel-1-15.xsd, tr-106-types.xml.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from homeport.errors import Fault
from homeport.model.path import is_alias
from homeport.model.values import (
    TIME,
    Value,
    join_list,
    moment_of,
    not_allowed,
    not_of_type,
    number_of,
    split_list,
    to_single,
)
from homeport.terms import INFINITE_TIME, UNKNOWN_TIME, FaultCode, ValueType

if TYPE_CHECKING:
    from decimal import Decimal


class Enumerated(Struct, frozen=True, array_like=True, omit_defaults=True):
    """One allowed value. read_only: the device may report it, the ACS may not write it. optional: a device may lack it."""

    value: str
    read_only: bool = False
    optional: bool = False
    status: str = ""


class Range(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Bounds of a number, both inside; None is open. Decimals are kept as text so that nothing is rounded."""

    minimum: int | str | None = None
    maximum: int | str | None = None
    step: int = 0


class Reference(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Where a value points to.

    strong: follows its target, and is emptied when that is deleted. parents: paths (`{i}` for any instance) whose immediate
    children may be pointed at; empty means anywhere. target: any, parameter, object, single, table or row.
    """

    strong: bool = False
    parents: tuple[str, ...] = ()
    target: str = "any"


class ValueReference(Struct, frozen=True, array_like=True, omit_defaults=True):
    """The value is one of those that another parameter (a list) holds now, or `null`."""

    parameter: str
    null: str | None = None


class Syntax(Struct, frozen=True, array_like=True, omit_defaults=True):
    """A type with its facets. Sizes and ranges are alternatives: one of them must fit.

    base: the wire type of one value. named: the named type, "" where the model uses the plain one. sizes: (least, most) in
    characters, for base64 and hexBinary in octets; None is open. list_sizes: the same for the text of a whole list.
    """

    base: ValueType
    named: str = ""
    sizes: tuple[tuple[int, int | None], ...] = ()
    ranges: tuple[Range, ...] = ()
    enumeration: tuple[Enumerated, ...] = ()
    patterns: tuple[str, ...] = ()
    units: str = ""
    is_list: bool = False
    list_items: tuple[int, int | None] = (0, None)
    list_sizes: tuple[tuple[int, int | None], ...] = ()
    nested: bool = False
    reference: Reference | None = None
    value_reference: ValueReference | None = None

    @property
    def wire(self) -> ValueType:
        """The type that xsi:type names: a list of anything travels as a string (TR-106a7 3.2.3)."""
        return ValueType.STRING if self.is_list else self.base


STRING: Final = Syntax(ValueType.STRING)
BOOLEAN: Final = Syntax(ValueType.BOOLEAN)
UNSIGNED_INT: Final = Syntax(ValueType.UNSIGNED_INT)
UNSIGNED_LONG: Final = Syntax(ValueType.UNSIGNED_LONG)
INT: Final = Syntax(ValueType.INT)
DATE_TIME: Final = Syntax(ValueType.DATE_TIME)

Checker = Callable[[str, bool], str]
"""(text, by the device itself) -> the canonical text, or Fault 9006 / 9007."""

_LIMITS: Final = {
    ValueType.INT: (-(2**31), 2**31 - 1),
    ValueType.LONG: (-(2**63), 2**63 - 1),
    ValueType.UNSIGNED_INT: (0, 2**32 - 1),
    ValueType.UNSIGNED_LONG: (0, 2**64 - 1),
}
_INTEGERS: Final = frozenset(_LIMITS)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}\Z")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})\Z")
_BOOLEANS: Final = {"true": "true", "1": "true", "false": "false", "0": "false"}


# --- what a peer calls the type -------------------------------------------------------------------------------------------------

_TYPE_NAMES: Final = {t.value: t for t in ValueType} | {"base64": ValueType.BASE64, "integer": ValueType.INT}


def check_type(given: str | None, expected: ValueType) -> None:
    """Refuses with 9006 an xsi:type that does not fit the parameter's.

    given: text of xsi:type, with or without prefix; None where the peer named none. Unknown names (`object`, vendor types, an
    empty `xsd:`) say nothing and are let through: the text itself is checked next. The four integer types stand for each other,
    because the value decides (a negative number in an unsigned parameter is 9007).
    """
    if given is None or given == expected.value:
        return
    kind = _TYPE_NAMES.get(given.rpartition(":")[2])
    if kind is None or kind is expected or (kind in _INTEGERS and expected in _INTEGERS):
        return
    if expected is ValueType.DECIMAL and kind in _INTEGERS:
        return
    raise Fault(FaultCode.INVALID_PARAMETER_TYPE, f"sent as {given}, but the parameter is of type {expected.value}")


# --- one value ------------------------------------------------------------------------------------------------------------------


def _boolean(text: str, device: bool) -> str:
    found = _BOOLEANS.get(text) or _BOOLEANS.get(text.strip())
    if found is None:
        raise not_of_type(text, "a boolean: true, false, 1 or 0")
    return found


def _bound(bound: int | str | None) -> "int | Decimal | None":
    return number_of(bound) if isinstance(bound, str) else bound


def _fits(number: "int | Decimal", rows: tuple[Range, ...]) -> bool:
    for row in rows:
        low, high = _bound(row.minimum), _bound(row.maximum)
        if (low is None or number >= low) and (high is None or number <= high):
            base = low if low is not None else 0
            if not row.step or (number - base) % row.step == 0 or number % row.step == 0:
                return True
    return False


def _ranges_text(rows: Iterable[Range]) -> str:
    texts = []
    for row in rows:
        text = f"{'' if row.minimum is None else row.minimum}..{'' if row.maximum is None else row.maximum}"
        texts.append(text + (f" in steps of {row.step}" if row.step else ""))
    return " or ".join(texts)


def _integer_checker(syntax: Syntax) -> Checker:
    low, high = _LIMITS[syntax.base]
    ranges, expected = syntax.ranges, f"{syntax.base.value} {_ranges_text(syntax.ranges)}".strip()

    def check(text: str, device: bool) -> str:
        stripped = text.strip()
        if not _INTEGER.match(stripped):
            raise not_of_type(text, f"a number ({syntax.base.value})")
        number = int(stripped)
        if not low <= number <= high:
            raise not_allowed(text, f"{syntax.base.value}, {low} to {high}")
        if ranges and not _fits(number, ranges):
            raise not_allowed(text, expected)
        return str(number)

    return check


def _decimal_checker(syntax: Syntax) -> Checker:
    def check(text: str, device: bool) -> str:
        stripped = text.strip()
        if not _DECIMAL.match(stripped):
            raise not_of_type(text, "a decimal number")
        if syntax.ranges and not _fits(number_of(stripped), syntax.ranges):
            raise not_allowed(text, f"decimal {_ranges_text(syntax.ranges)}")
        return stripped

    return check


def _date_time(text: str, device: bool) -> str:
    stripped = text.strip()
    match = TIME.match(stripped)
    if match is None:
        raise not_of_type(text, "a dateTime such as 2026-01-31T12:00:00Z")
    year, zone = int(match[1]), match[8]
    if year < 1 or moment_of(match) is None:
        raise not_allowed(text, "a date and time that exist")
    if stripped in (UNKNOWN_TIME, INFINITE_TIME):
        return stripped
    if zone is None:
        if year >= 1000:
            raise not_allowed(
                text,
                "UTC, that is with Z at the end (only a time relative to boot has no zone, and its year is below 1000)",
            )
    elif zone not in ("Z", "+00:00", "-00:00"):
        raise not_allowed(text, "UTC, that is with Z at the end")
    return stripped


def _sizes_text(sizes: Iterable[tuple[int, int | None]], unit: str) -> str:
    texts = []
    for least, most in sizes:
        if most is None:
            texts.append(f"at least {least}")
        elif least == most:
            texts.append(f"exactly {most}")
        elif least:
            texts.append(f"{least} to {most}")
        else:
            texts.append(f"at most {most}")
    return " or ".join(texts) + " " + unit


def _size_fits(size: int, sizes: tuple[tuple[int, int | None], ...]) -> bool:
    return any(least <= size and (most is None or size <= most) for least, most in sizes)


def _binary_checker(syntax: Syntax) -> Checker:
    hexadecimal = syntax.base is ValueType.HEX_BINARY
    expected = "hexBinary: pairs of hexadecimal digits" if hexadecimal else "base64"

    def check(text: str, device: bool) -> str:
        stripped = "".join(text.split())
        try:
            octets = bytes.fromhex(stripped) if hexadecimal else base64.b64decode(stripped, validate=True)
        except (ValueError, binascii.Error):
            raise not_of_type(text, expected) from None
        if syntax.sizes and not _size_fits(len(octets), syntax.sizes):
            raise not_allowed(text, _sizes_text(syntax.sizes, f"octets, this has {len(octets)}"))
        return stripped

    return check


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """An XML Schema pattern as a Python one; both must match the whole text. Raises re.error where it is not a pattern."""
    # XML Schema has no anchors: ^ and $ outside a class are plain characters there, but models use them as anchors.
    text = pattern.replace(r"\i", "[A-Za-z_:]").replace(r"\c", r"[-.0-9:A-Z_a-z]")
    return re.compile(rf"(?:{text})\Z")


def _string_checker(syntax: Syntax) -> Checker:
    sizes = syntax.sizes
    values = {e.value: e.read_only for e in syntax.enumeration}
    patterns = tuple(compile_pattern(p) for p in syntax.patterns)
    alias = syntax.named == "Alias"

    def check(text: str, device: bool) -> str:
        if values:
            read_only = values.get(text)
            if read_only is None:
                raise not_allowed(text, "one of " + ", ".join(repr(v) for v, ro in values.items() if device or not ro))
            if read_only and not device:
                raise not_allowed(text, "one of " + ", ".join(repr(v) for v, ro in values.items() if not ro))
        if sizes and not _size_fits(len(text), sizes):
            raise not_allowed(text, _sizes_text(sizes, f"characters, this has {len(text)}"))
        if patterns and not any(p.match(text) for p in patterns):
            raise not_allowed(
                text, f"{syntax.named or 'text'} of the form {' or '.join(repr(p) for p in syntax.patterns)}"
            )
        if alias and not is_alias(text):
            raise not_allowed(text, "an alias: a letter first, then letters, digits, - and _, at most 64")
        return text

    return check


def _single(syntax: Syntax) -> Checker:
    if syntax.base in _INTEGERS:
        return _integer_checker(syntax)
    if syntax.base is ValueType.BOOLEAN:
        return _boolean
    if syntax.base is ValueType.DATE_TIME:
        return _date_time
    if syntax.base is ValueType.DECIMAL:
        return _decimal_checker(syntax)
    if syntax.base in (ValueType.BASE64, ValueType.HEX_BINARY):
        return _binary_checker(syntax)
    return _string_checker(syntax)


def checker(syntax: Syntax) -> Checker:
    """The function that checks a text against a syntax and gives its canonical form."""
    single = _single(syntax)
    if not syntax.is_list:
        return single
    least, most = syntax.list_items

    def check(text: str, device: bool) -> str:
        items = split_list(text, nested=syntax.nested)
        # An empty list stands for "not set" whatever the least number of items or characters is (unverified).
        if not (least if items else 0) <= len(items) <= (len(items) if most is None else most):
            raise not_allowed(text, _sizes_text([(least, most)], f"items, this has {len(items)}"))
        canonical = join_list([single(item, device) for item in items], nested=syntax.nested)
        if items and syntax.list_sizes and not _size_fits(len(canonical), syntax.list_sizes):
            raise not_allowed(text, _sizes_text(syntax.list_sizes, f"characters, this has {len(canonical)}"))
        return canonical

    return check


def to_value(syntax: Syntax, text: str) -> Value | list[Value]:
    """What a text means as a Python value; lists become lists. Raises Fault 9006 where it is not of the type."""
    if syntax.is_list:
        return [to_single(syntax.base, item) for item in split_list(text, nested=syntax.nested)]
    return to_single(syntax.base, text)


# --- first values ---------------------------------------------------------------------------------------------------------------

_FIRST_CANDIDATES: Final = (
    "", "0", "false", "00000000-0000-0000-0000-000000000000", "00:00:00:00:00:00", "0.0.0.0", "0.0.0.0/0", "::", "::/0", "1", "1.0",
    "00", "0000", "000000", "None", "X", "a", "urn:example:0", "/", "-", "A1", "00:00", "0,0",
    "2.0", "0/0", "000101", "US ", "YYYYMMDD.HHMMSS",
)  # fmt: skip


def first_value(syntax: Syntax) -> str:
    """A text that the syntax takes, for a parameter whose model names no default: empty, zero or false where that is allowed,
    else the nearest that is."""
    if syntax.is_list:
        return ""
    base = syntax.base
    if base is ValueType.BOOLEAN:
        return "false"
    if base is ValueType.DATE_TIME:
        return UNKNOWN_TIME
    if base in _INTEGERS or base is ValueType.DECIMAL:
        return _first_number(syntax)
    least = min((s[0] for s in syntax.sizes), default=0)
    if base is ValueType.HEX_BINARY:
        return "00" * least
    if base is ValueType.BASE64:
        return base64.b64encode(bytes(least)).decode()
    if syntax.enumeration:
        usable = [e for e in syntax.enumeration if not e.status and not e.optional] or list(syntax.enumeration)
        return "" if any(e.value == "" for e in syntax.enumeration) else usable[0].value
    if syntax.named == "Alias":
        return "cpe-1"
    check = _string_checker(syntax)
    for candidate in (*_FIRST_CANDIDATES, "0" * least):
        try:
            return check(candidate, True)
        except Fault:
            continue
    return ""


def null_text(syntax: Syntax) -> str:
    """What a hidden parameter reads as: the null value of its type (cwmp-datamodel-1-15.xsd, attribute hidden)."""
    if syntax.is_list:
        return ""
    if syntax.base is ValueType.BOOLEAN:
        return "false"
    if syntax.base is ValueType.DATE_TIME:
        return UNKNOWN_TIME
    return "0" if syntax.base in _INTEGERS or syntax.base is ValueType.DECIMAL else ""


def _first_number(syntax: Syntax) -> str:
    if not syntax.ranges or _fits(0, syntax.ranges):
        return "0"
    bounds = [b for row in syntax.ranges for b in (row.minimum, row.maximum) if b is not None]
    return str(min(bounds, key=lambda b: abs(number_of(str(b))))) if bounds else "0"
