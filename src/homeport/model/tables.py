"""The compiled form of a model: what a file in `schemas/` holds, msgpack rows, compressed.

Rows only; `schema` makes definitions of them, `schema_xml` writes them.
"""

import zlib
from typing import Final

import msgspec

from homeport.errors import ConfigError
from homeport.model.types import Syntax

FORMAT: Final = 1
"""Version of the compiled table; a table of another version is refused."""


class UniqueKey(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Parameters whose values together differ from row to row. functional: among enabled rows only, where rows can be disabled."""

    parameters: tuple[str, ...]
    functional: bool = True


class ParameterRow(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One parameter as the compiled table holds it. syntax: its index in the table's list of syntaxes. Defaults: None is "none".

    initial: what the type alone makes of a parameter without a default.
    """

    name: str
    syntax: int
    since: str = ""
    flags: int = 0
    notify: int = 0
    default_object: str | None = None
    default_factory: str | None = None
    default_implementation: str | None = None
    status: str = ""
    initial: str = ""


class ObjectRow(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One object as the compiled table holds it. parent: index of the object above, -1 for the root of the model."""

    name: str
    parent: int
    flags: int = 0
    since: str = ""
    minimum: int = 1
    maximum: int | None = 1
    count: str = ""
    enable: str = ""
    keys: tuple[UniqueKey, ...] = ()
    status: str = ""
    parameters: msgspec.Raw = msgspec.Raw(b"\x90")


class ProfileRow(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A profile: what a device that claims it has. objects: (path, requirement), parameters: (path, writable), both with `{i}`.

    includes: profiles whose content belongs to this one too.
    """

    name: str
    since: str = ""
    includes: tuple[str, ...] = ()
    objects: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, bool], ...] = ()
    status: str = ""


class Table(msgspec.Struct, frozen=True, array_like=True):
    """A compiled model: what a file in `schemas/` holds, msgpack, compressed."""

    format: int
    name: str
    prefix: str
    objects: tuple[ObjectRow, ...]
    syntaxes: tuple[msgspec.Raw, ...]
    profiles: msgspec.Raw


WRITABLE: Final = 1
FORCED_INFORM: Final = 2
HIDDEN: Final = 4
SECURED: Final = 8
COMMAND: Final = 16
WRITE_ONCE: Final = 32
TABLE: Final = 64
FORCED_BELOW: Final = 128
ACTIVE_BELOW: Final = 256
REFERENCES_BELOW: Final = 512
BELOW: Final = FORCED_BELOW | ACTIVE_BELOW | REFERENCES_BELOW
"""Flags of an object: it, or an object below it, has parameters in every Inform, always-active ones, or references."""


decode_parameters = msgspec.msgpack.Decoder(tuple[ParameterRow, ...]).decode
decode_syntax = msgspec.msgpack.Decoder(Syntax).decode
_decode_table = msgspec.msgpack.Decoder(Table).decode


def unpack(data: bytes, *, origin: str = "this file") -> Table:
    """The table in a compiled model file. Raises ConfigError where it is not one, with the cure."""
    try:
        table = _decode_table(zlib.decompress(data))
    except (zlib.error, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{origin} is not a compiled model ({error}); make one with `homeport model import`"
        ) from None
    if table.format != FORMAT:
        raise ConfigError(
            f"{origin} has table format {table.format}, this version reads {FORMAT}; import the model again"
        )
    return table


def pack(table: Table) -> bytes:
    """A compiled model as the bytes of its file."""
    return zlib.compress(msgspec.msgpack.encode(table), 9)
