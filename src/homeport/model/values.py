"""What texts mean: lists with their escapes, times, numbers, octets; Python values from texts and texts from Python values.

Which texts a parameter takes is for `types` to say.
Source: TR-106a7 3.2.2 (dateTime), 3.2.3 (lists).
"""

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Union

from homeport.errors import Fault
from homeport.terms import UNKNOWN_TIME, FaultCode, ValueType

if TYPE_CHECKING:
    from decimal import Decimal

Value = Union[str, int, bool, bytes, "Decimal", datetime, timedelta, None]
"""What a text means: `None` is the unknown time, a `timedelta` a time after boot."""

TIME: Final = re.compile(
    r"(-?[0-9]{4,})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(Z|[+-][0-9]{2}:[0-9]{2})?\Z"
)
_INTEGERS: Final = frozenset({ValueType.INT, ValueType.LONG, ValueType.UNSIGNED_INT, ValueType.UNSIGNED_LONG})
_TRUE: Final = frozenset({"true", "1"})


def not_of_type(text: str, expected: str) -> Fault:
    return Fault(FaultCode.INVALID_PARAMETER_TYPE, f"{_shown(text)} is not {expected}")


def not_allowed(text: str, expected: str) -> Fault:
    return Fault(FaultCode.INVALID_PARAMETER_VALUE, f"{_shown(text)} is not allowed: expected {expected}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def number_of(text: str) -> "Decimal":
    from decimal import Decimal  # few models have decimals, and the module is large

    return Decimal(text)


def moment_of(match: re.Match[str]) -> datetime | None:
    micro = int(((match[7] or "") + "000000")[:6])
    hour, second = int(match[4]), int(match[6])
    try:
        return datetime(
            int(match[1]), int(match[2]), int(match[3]), hour, int(match[5]), min(second, 59), micro, tzinfo=UTC
        )
    except (ValueError, OverflowError):
        return None


# --- lists ----------------------------------------------------------------------------------------------------------------------


def split_list(text: str, *, nested: bool = False) -> list[str]:
    """The items of a comma-separated list, with their %XX escapes undone; blanks around an item do not count.

    nested: an item may be a list in square brackets; its text is then given as it is. Raises Fault 9007 for unbalanced brackets.
    Source: TR-106a7 3.2.3.
    """
    if not text.strip():
        return []
    if not nested or "[" not in text:
        return [_unescaped(item.strip()) for item in text.split(",")]
    items, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
            if depth < 0:
                break
        elif character == "," and depth == 0:
            items.append(text[start:position].strip())
            start = position + 1
    if depth:
        raise not_allowed(text, "as many opening as closing brackets")
    items.append(text[start:].strip())
    return items


def join_list(items: Sequence[str], *, nested: bool = False) -> str:
    """A list as one text: commas, blanks and percent signs inside an item are escaped."""
    if nested:
        return ",".join(items)
    return ",".join([_escaped(i) if ("," in i or " " in i or "%" in i) else i for i in items])


def _unescaped(item: str) -> str:
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), item) if "%" in item else item


_ESCAPE: Final = re.compile(r"%(2[05cC])")
"""Only what a list has to escape is undone, so that an item such as `50%AB` stays what it is: blank, percent, comma."""


def _escaped(item: str) -> str:
    return item.replace("%", "%25").replace(",", "%2C").replace(" ", "%20")


# --- meaning --------------------------------------------------------------------------------------------------------------------


def to_single(base: ValueType, text: str) -> Value:
    """What the text of one value means. Raises Fault 9006 where it is not of the type."""
    try:
        if base in _INTEGERS:
            return int(text)
        if base is ValueType.BOOLEAN:
            return text.strip() in _TRUE
        if base is ValueType.DECIMAL:
            return number_of(text.strip())
        if base is ValueType.HEX_BINARY:
            return bytes.fromhex(text)
        if base is ValueType.BASE64:
            return base64.b64decode(text, validate=False)
        if base is ValueType.DATE_TIME:
            return to_time(text)
    except (ValueError, ArithmeticError, binascii.Error):
        raise not_of_type(text, f"of type {base.value}") from None
    return text


def to_time(text: str) -> datetime | timedelta | None:
    """The moment that a dateTime names: aware, in UTC; a timedelta since boot; None for the unknown time.

    More is read than may be written: a zone other than UTC is converted, and a missing one is taken as UTC, because devices
    send both. The infinite time is the last second of the year 9999. Raises Fault 9006 where the text is no dateTime.
    Source: TR-106a7 3.2.2.
    """
    stripped = text.strip()
    if stripped == UNKNOWN_TIME:
        return None
    match = TIME.match(stripped)
    moment = moment_of(match) if match else None
    if match is None or moment is None:
        raise not_of_type(text, "a dateTime such as 2026-01-31T12:00:00Z")
    zone = match[8]
    if zone is None and moment.year < 1000:
        return moment - datetime(1, 1, 1, tzinfo=UTC)
    if zone is None or zone == "Z":
        return moment
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    try:
        return moment - offset if zone[0] == "+" else moment + offset
    except OverflowError:
        return moment


def time_text(moment: datetime | timedelta | None) -> str:
    """A dateTime's text: UTC with Z, relative to boot for a timedelta, the unknown time for None. A naive moment is UTC."""
    if moment is None:
        return UNKNOWN_TIME
    if isinstance(moment, timedelta):
        at = datetime(1, 1, 1, tzinfo=UTC) + moment
        return f"{at.year:04d}-{at:%m-%dT%H:%M:%S}"
    at = moment if moment.tzinfo is None else moment.astimezone(UTC)
    text = f"{at.year:04d}-{at:%m-%dT%H:%M:%S}"
    return f"{text}.{at.microsecond:06d}Z" if at.microsecond else text + "Z"


def to_text(value: Value | Sequence[Value]) -> str:
    """The wire's text for a Python value: `true`/`false`, decimal numbers, UTC times, hexadecimal octets, comma lists.

    bytes become hexadecimal; a base64 parameter is given its text by the caller (`base64.b64encode`).
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return value.hex().upper()
    if value is None or isinstance(value, datetime | timedelta):
        return time_text(value)
    if isinstance(value, list | tuple):
        return join_list([to_text(item) for item in value])
    return str(value)
