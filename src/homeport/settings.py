"""Settings: one frozen dataclass per program, from which flag, environment variable, configuration key and docs row are all made.

A field is declared with `setting(default, "one sentence", unit=...)`. Precedence, strongest first: command line, environment
(`HOMEPORT_<PROGRAM>_<FIELD>`, or `HOMEPORT_<FIELD>`), configuration file (TOML, table of the program or top level), default.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from homeport.errors import ConfigError

T = TypeVar("T")


def setting(
    default: Any, help: str, *, unit: str = "", secret: bool = False, flag: str = "", choices: tuple[str, ...] = ()
) -> Any:
    """A dataclass field that carries what a person needs to know about it.

    default: immutable. unit: "seconds", "bytes" ...; "" for text and switches. secret: never printed.
    flag: the command-line flag where it is not the field's name with hyphens.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "unit": unit, "secret": secret, "flag": flag, "choices": choices}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One row of a program's settings: what the command line, the documentation and the status pages show."""

    name: str
    type: type
    optional: bool
    default: Any
    help: str
    unit: str
    secret: bool
    flag: str
    choices: tuple[str, ...]

    def environment_name(self, program: str) -> str:
        """`HOMEPORT_ACS_DATA_DIR` for the field data_dir of the program `acs`."""
        return f"HOMEPORT_{program}_{self.name}".upper()


def describe(cls: type) -> tuple[Setting, ...]:
    """The settings of a settings dataclass, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    rows = []
    for field in dataclasses.fields(cls):
        if "help" not in field.metadata:
            continue
        kind, optional = hints[field.name], False
        if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
            members = [t for t in typing.get_args(kind) if t is not type(None)]
            kind, optional = members[0], True
        meta = field.metadata
        rows.append(
            Setting(
                name=field.name,
                type=kind,
                optional=optional,
                default=field.default,
                help=meta["help"],
                unit=meta["unit"],
                secret=meta["secret"],
                flag=meta["flag"] or "--" + field.name.replace("_", "-"),
                choices=meta["choices"],
            )
        )
    return tuple(rows)


def load(
    cls: type[T],
    *,
    program: str,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    file: Path | None = None,
) -> T:
    """The settings of one program, from all four sources.

    flags: values given on the command line; None means "not given".
    file: a TOML file; its table `[program]` counts, or its top level where there is no such table.
    Raises ConfigError that names the source, the setting and what was expected.
    """
    table: dict[str, Any] = {}
    if file is not None:
        table = _read_toml(file, program)
    rows = {row.name: row for row in describe(cls)}
    for key in table:
        if key.replace("-", "_") not in rows:
            near = difflib.get_close_matches(key.replace("-", "_"), rows, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"the settings are: {', '.join(sorted(rows))}"
            raise ConfigError(f"{file}: there is no setting {key!r}; {meant}")
    values: dict[str, Any] = {}
    for row in rows.values():
        specific = row.environment_name(program)
        general = f"HOMEPORT_{row.name}".upper()
        if flags.get(row.name) is not None:
            values[row.name] = _convert(row, flags[row.name], row.flag)
        elif specific in environment:
            values[row.name] = _convert(row, environment[specific], specific)
        elif general in environment:
            values[row.name] = _convert(row, environment[general], general)
        else:
            for key in (row.name, row.name.replace("_", "-")):
                if key in table:
                    values[row.name] = _convert(row, table[key], f"{file}: {key}")
    return cls(**values)


def _read_toml(file: Path, program: str) -> dict[str, Any]:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"cannot read the configuration file {file}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{file} is not TOML: {e}") from e
    inner = data.get(program)
    if isinstance(inner, dict):
        return inner
    return {k: v for k, v in data.items() if not isinstance(v, dict)}


_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def _convert(row: Setting, value: Any, source: str) -> Any:
    """value as the field's type; text from the environment is parsed, everything else checked."""
    kind = row.type
    try:
        result = _converted(kind, value)
    except (ValueError, TypeError) as e:
        wanted = " | ".join(row.choices) if row.choices else getattr(kind, "__name__", str(kind))
        raise ConfigError(f"{source}: {value!r} does not fit; expected {wanted} ({row.help})") from e
    if row.choices and str(result) not in row.choices:
        raise ConfigError(f"{source}: {value!r} is not one of {', '.join(row.choices)} ({row.help})")
    return result


def _converted(kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        parts = [p.strip() for p in value.split(",") if p.strip()] if isinstance(value, str) else list(value)
        return tuple(_converted(item, p) for p in parts)
    if kind is bool:
        if isinstance(value, bool):
            return value
        text = str(value).lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise ValueError("not a switch")
    if kind is Path:
        return Path(value).expanduser()
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is str and not isinstance(value, str):
        raise TypeError("not text")
    if kind in (int, float) and isinstance(value, bool):
        raise TypeError("not a number")
    return kind(value)
