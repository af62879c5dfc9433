"""The manifest of a native package: `module.toml` or `module.json` at the top of its archive.

    format = "homeport-module/1"
    name = "hello"
    vendor = "Example"
    version = "1.0.0"
    requires = [{ name = "base", vendor = "Example", version = "1.2" }]     # optional, like everything below
    configuration = ["hello.conf"]                                        # files in the data directory that the ACS may fetch

    [[unit]]
    name = "hello"
    command = ["bin/hello", "--loop"]             # bin/hello of the package; without a slash: a program of the device
    auto_start = true
    restart = "on-failure"                        # never, on-failure, always
    limits = { memory = 67108864, files = 64 }

Pure: bytes in, `PackageSpec` out. Everything else is refused with 9018 and the name of the field.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from homeport.cpe.modules.interface import PackageSpec, Requirement, UnitSpec
from homeport.errors import Fault
from homeport.terms import FaultCode

FORMAT: Final = "homeport-module/1"
NAMES: Final = ("module.toml", "module.json")
MOST_BYTES: Final = 64 << 10
"""Of a manifest: a package of 32 units with long commands has a tenth."""

MOST_UNITS: Final = 32
MOST_CONFIGURATION: Final = 16
LONGEST_VERSION: Final = 32
"""Characters (TR-181 DeploymentUnit.{i}.Version, cwmp-1-2.xsd)."""

MOST_ARGUMENTS: Final = 256
LONGEST_ARGUMENT: Final = 4096

UUID: Final = re.compile(r"[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{12}")
_UNIT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_RESERVED: Final = ("HOMEPORT_", "LD_")
"""Beginnings of variables that a package may not set: ours, and those that change how the device's own programs are loaded."""


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    name: str
    vendor: str
    version: str
    uuid: str = ""
    description: str = ""
    requires: tuple[Requirement, ...] = ()
    configuration: tuple[str, ...] = ()
    unit: tuple[UnitSpec, ...] = ()


def parse_manifest(content: bytes, name: str) -> PackageSpec:
    """The package that a manifest describes. name: `module.toml` or `module.json`. Raises Fault 9018, 9025 for another format."""
    if len(content) > MOST_BYTES:
        raise unusable(f"{name} has {len(content)} bytes, at most {MOST_BYTES} are read")
    try:
        raw: Any = _toml(content) if name.endswith(".toml") else msgspec.json.decode(content)
    except (ValueError, RecursionError) as e:
        raise unusable(f"{name} cannot be read: {e}") from e
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        said = raw.get("format") if isinstance(raw, dict) else None
        raise Fault(
            FaultCode.DEPLOYMENT_UNIT_MISMATCH, f"{name} is of the format {said!r}; this environment runs {FORMAT!r}"
        )
    try:
        document = msgspec.convert(raw, _Document)
    except ValueError as e:
        raise unusable(f"{name}: {e}") from e
    _check(document)
    return PackageSpec(
        name=document.name,
        vendor=document.vendor,
        version=document.version,
        uuid=document.uuid.lower(),
        description=document.description,
        requires=document.requires,
        configuration=document.configuration,
        units=document.unit,
    )


def unusable(why: str) -> Fault:
    """9018 with a sentence that fits into a fault."""
    return Fault(FaultCode.FILE_CORRUPTED, f"the package cannot be used: {why}"[:256])


def _toml(content: bytes) -> Any:
    import tomllib

    return tomllib.loads(content.decode("utf-8"))


def _check(document: _Document) -> None:
    for field, longest in (("name", 64), ("vendor", 64), ("version", LONGEST_VERSION)):
        _plain(field, getattr(document, field), longest, empty=field == "vendor")
    _plain("description", document.description, 256, empty=True)
    if document.uuid and not UUID.fullmatch(document.uuid):
        raise unusable(f"uuid {document.uuid!r} is not a UUID")
    _at_most("configuration", document.configuration, MOST_CONFIGURATION)
    for name in document.configuration:
        inside(name, "configuration")
    _at_most("requires", document.requires, MOST_UNITS)
    _at_most("unit", document.unit, MOST_UNITS)
    _distinct("configuration", document.configuration, str)
    _distinct("unit", document.unit, lambda u: u.name)
    for unit in document.unit:
        _check_unit(unit)


def _check_unit(unit: UnitSpec) -> None:
    if not _UNIT_NAME.fullmatch(unit.name):
        raise unusable(f"the unit name {unit.name!r} is not 1 to 32 letters, digits, dots, hyphens")
    what = f"unit {unit.name}"
    _plain(f"{what}: description", unit.description, 256, empty=True)
    if not unit.command or not unit.command[0]:
        raise unusable(f"{what} has no command")
    _at_most(f"{what}: command", unit.command, MOST_ARGUMENTS)
    if any("\0" in word or len(word) > LONGEST_ARGUMENT for word in unit.command):
        raise unusable(f"{what}: a word of the command is too long or holds a zero byte")
    if "/" in unit.command[0] and not unit.command[0].startswith("/"):
        inside(unit.command[0], f"{what}: command")
    for variable, text in unit.environment.items():
        if not _VARIABLE.fullmatch(variable) or variable.startswith(_RESERVED):
            raise unusable(f"{what} may not set the variable {variable!r}")
        if "\0" in text or len(text) > LONGEST_ARGUMENT:
            raise unusable(f"{what}: the variable {variable} is too long or holds a zero byte")
    if not 0.0 <= unit.ready_after <= 60.0 or not 0.0 <= unit.stop_after <= 60.0:
        raise unusable(f"{what}: ready_after and stop_after are 0 to 60 seconds")
    if unit.run_level is not None and not 0 <= unit.run_level <= 65535:
        raise unusable(f"{what}: run_level {unit.run_level} is not 0 to 65535")


def inside(name: str, what: str) -> PurePosixPath:
    """The relative path that a name in a package means. Raises Fault 9018 where it could lead outside."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name or not path.parts:
        raise unusable(f"{what}: {name!r} is not a path inside the package")
    return path


def _plain(field: str, text: str, longest: int, *, empty: bool) -> None:
    if (not text and not empty) or len(text) > longest or any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise unusable(f"{field} {text[:40]!r} is not {0 if empty else 1} to {longest} printable characters")


def _at_most(field: str, items: Sequence[object], most: int) -> None:
    if len(items) > most:
        raise unusable(f"{field} has {len(items)} entries, at most {most} are allowed")


def _distinct(field: str, items: Sequence[Any], key: Callable[[Any], str]) -> None:
    names = [key(item) for item in items]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise unusable(f"{field} {twice!r} is there twice")
