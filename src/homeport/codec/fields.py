"""What an element may hold: the vocabulary in which `struct_table` and `rpc_table` are written.

Lengths, ranges and patterns are the XSD's. The reader holds to what a program depends on (numbers, truth values, presence); lengths and
patterns are the findings' and the writer's business, since devices in the field break them harmlessly.
Source: cwmp-1-0.xsd to cwmp-1-4.xsd.
"""

import re
from typing import Any, Final

from msgspec import Struct, structs

U32: Final = 2**32 - 1
I32: Final = 2**31 - 1


class Text(Struct, frozen=True):
    """A string. limit: most characters, None where the XSD has none. pattern: what the whole text must match, "" for anything."""

    limit: int | None = None
    pattern: str = ""
    path: bool = False  # a parameter or object path: white space around it never belongs to it


class Number(Struct, frozen=True):
    """An xsd:int or xsd:unsignedInt. allowed: the enumeration, empty for any number in the range."""

    low: int = 0
    high: int = U32
    allowed: tuple[int, ...] = ()


class Flag(Struct, frozen=True):
    """An xsd:boolean."""


class Time(Struct, frozen=True):
    """An xsd:dateTime; its text is kept."""


class Nested(Struct, frozen=True):
    """One struct. may_lack: elements of it that the XSD lets be absent here, though not where else this class stands."""

    part: type[Struct]
    may_lack: tuple[str, ...] = ()


class Array(Struct, frozen=True):
    """A SOAP-encoded array. item: the struct, or the kind of a plain entry. entry: element name of an entry. array_type: without count."""

    item: type[Struct] | Text
    entry: str
    array_type: str
    low: int = 0
    high: int | None = None


class Repeated(Struct, frozen=True):
    """A plain repeated element, 1 or more times. parts: the struct, or the structs by the local name of xsi:type."""

    parts: dict[str, type[Struct]]
    typed: bool = False


Kind = Text | Number | Flag | Time | Nested | Array | Repeated


class Field(Struct, frozen=True):
    """One element of a struct or message, in the order of the XSD.

    optional: the XSD has minOccurs=0, and an empty value is then not written.
    lenient:  the XSD demands it, but devices in the field leave it out and nothing is lost: the class's default is taken, with a quirk.
    """

    element: str
    kind: Kind
    optional: bool = False
    lenient: bool = False

    @property
    def attribute(self) -> str:
        """The element's name in snake_case: `AnnounceURL` -> announce_url."""
        return snake(self.element)


def snake(element: str) -> str:
    """The attribute that holds an element: words split where a capital follows a small letter."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", element).lower()


def default_of(cls: type[Struct], attribute: str, kind: Kind) -> Any:
    """What stands in for an element that is absent and may be: the class's default, else the neutral value of its kind."""
    for field in structs.fields(cls):
        if field.name == attribute and not field.required:
            return field.default
    if isinstance(kind, Text | Time):
        return ""
    if isinstance(kind, Number):
        return kind.low
    if isinstance(kind, Flag):
        return False
    return ()
