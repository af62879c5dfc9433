"""Mapper files: what an ACS sees of a device, without touching the device's code.

    ["Device.DeviceInfo.TemperatureStatus.TemperatureSensor.{i}.Value"]
    from = "Board.Sensor.{i}.millidegrees"        # the plug-in's own name of it
    scale = 0.001                                  # what the plug-in says times this, plus `offset`
    ["Device.Ethernet.Interface.{i}.Status"]
    values = { up = "Up", down = "Down" }          # the plug-in's word = the model's word
    ["Device.Bridging."]
    hide = true
    ["Device.DeviceInfo.Description"]
    fix = "Fibre bridge"
    ["Device.Ethernet.Interface.{i}.Enable"]
    read_only = true

Every section is named by a path of the data model, with `{i}` for rows. `hide`, `fix` and `read_only` work for every parameter; `from`,
`scale`, `offset` and `values` change what a plug-in says and hears. Mistakes are told with file and line when the agent starts.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any, Final

from homeport.cpe.devices.declarations import Bundle, Declaration, Group, Table, normal
from homeport.errors import ConfigError, Fault
from homeport.model.path import Path, generic
from homeport.model.profile import ProfileDef
from homeport.model.schema import ParameterDef
from homeport.model.tree import DataModel
from homeport.model.values import to_text
from homeport.terms import ValueType

_INTEGERS: Final = frozenset({ValueType.INT, ValueType.LONG, ValueType.UNSIGNED_INT, ValueType.UNSIGNED_LONG})
_KEYS: Final = {
    "hide": (bool, "true"),
    "fix": (str | int | float | bool, "a value"),
    "read_only": (bool, "true"),
    "from": (str, "the plug-in's name of it"),
    "scale": (int | float, "a number"),
    "offset": (int | float, "a number"),
    "values": (dict, "a table of the plug-in's words and the model's"),
}

_NEEDED: Final = (
    "DeviceInfo.ManufacturerOUI",
    "DeviceInfo.SerialNumber",
    "ManagementServer.URL",
    "ManagementServer.ParameterKey",
)
"""What no session works without; hiding it, or anything around it, is refused."""


class Rule:
    """One section of a mapper file. where: `box.toml, line 3`."""

    def __init__(self, path: str, content: dict[str, Any], where: Callable[[str], str]) -> None:
        self.path = path
        self.where = where
        self.hide = bool(content.get("hide", False))
        self.read_only = bool(content.get("read_only", False)) or "fix" in content
        self.fix: str | None = to_text(content["fix"]) if "fix" in content else None
        self.source: str = normal(content["from"]) if "from" in content else ""
        self.scale: Decimal | None = None
        self.offset = Decimal(str(content.get("offset", 0)))
        if "scale" in content or "offset" in content:
            self.scale = Decimal(str(content.get("scale", 1)))
        self.words: dict[str, str] = {str(k): to_text(v) for k, v in content.get("values", {}).items()}
        self.back = {v: k for k, v in reversed(list(self.words.items()))}

    @property
    def translates(self) -> bool:
        """Whether it changes what a plug-in says."""
        return bool(self.source or self.scale is not None or self.words)


class Mapper:
    """The rules of some mapper files; where several name the same path, the last one counts."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = {rule.path: rule for rule in rules}
        self._own = {rule.source: rule.path for rule in self.rules.values() if rule.source}

    @classmethod
    def load(cls, files: Sequence[FilePath]) -> "Mapper":
        """Reads mapper files. Raises ConfigError with file and line for what is no mapper file."""
        return cls(rule for file in files for rule in _read(file))

    # --- the model's side -------------------------------------------------------------------------------------------------------

    def fitted(self, profile: ProfileDef) -> ProfileDef:
        """The profile without what is hidden, and with what is made read-only. Raises ConfigError with file and line."""
        for rule in self.rules.values():
            self._check(rule, profile)
        hidden = [r.path for r in self.rules.values() if r.hide]
        read_only = [r.path for r in self.rules.values() if r.read_only]
        return profile.restricted(hidden=hidden, read_only=read_only) if hidden or read_only else profile

    def attach(self, model: DataModel) -> None:
        """Registers what is fixed; after everything else, because it counts before everything else."""
        for rule in self.rules.values():
            if rule.fix is not None and not rule.hide:
                model.source(rule.path, read=lambda path, text=rule.fix: text)  # type: ignore[misc]

    def check_served(self, served: Iterable[str]) -> None:
        """Raises ConfigError for a rule that changes what a plug-in says where no plug-in says anything. served: declared paths."""
        own = [Path.parse(generic(p)) for p in served]
        for rule in self.rules.values():
            if not rule.translates:
                continue
            wanted = generic(rule.path)
            if not any(wanted == p.text or (p.partial and wanted.startswith(p.text)) for p in own):
                key = next(k for k in ("from", "scale", "offset", "values") if _has(rule, k))
                raise ConfigError(
                    f"{rule.where(key)}: no plug-in serves {rule.source or rule.path}; {key} changes what a plug-in says"
                )

    def _check(self, rule: Rule, profile: ProfileDef) -> None:
        schema = profile.schema
        path = generic(rule.path)
        found: ParameterDef | None = None
        if path.endswith("."):
            if schema.object(path) is None:
                raise ConfigError(f"{rule.where('')}: {schema.name} has no object {rule.path}")
            for key in ("fix", "scale", "offset", "values"):
                if _has(rule, key):
                    raise ConfigError(f"{rule.where(key)}: {key} is for a parameter, and {rule.path} is an object")
        else:
            found = schema.parameter(path)
            if found is None:
                raise ConfigError(f"{rule.where('')}: {schema.name} has no parameter {rule.path}")
        if rule.hide:
            for needed in _NEEDED:
                if (schema.root + needed).startswith(path):
                    raise ConfigError(
                        f"{rule.where('hide')}: {rule.path} cannot be hidden; no session works without {needed}"
                    )
        if found is not None and rule.fix is not None:
            _fits(rule, "fix", found, rule.fix)
        for word in rule.words.values() if found is not None else ():
            assert found is not None
            _fits(rule, "values", found, word)
        if rule.scale is not None and not rule.scale:
            raise ConfigError(f"{rule.where('scale')}: scale 0 makes everything the same; give another factor")
        if rule.scale is not None and found is not None and found.syntax.is_list:
            raise ConfigError(f"{rule.where('scale')}: {rule.path} is a list; scale is for one number")
        if rule.source and rule.source.count("{i}") != path.count("{i}"):
            raise ConfigError(
                f"{rule.where('from')}: {rule.source} and {rule.path} do not have the same number of rows ({{i}}) around them"
            )
        if rule.source and rule.source.endswith(".") != path.endswith("."):
            raise ConfigError(
                f"{rule.where('from')}: one of {rule.source} and {rule.path} is an object, the other is not"
            )

    # --- values -----------------------------------------------------------------------------------------------------------------

    def inward(self, parameter: ParameterDef, value: Any) -> Any:
        """What the model is told of what a plug-in said. Raises ValueError where it cannot be translated."""
        rule = self.rules.get(parameter.path)
        if rule is None or value is None:
            return value
        if rule.scale is not None:
            number = _number(value) * rule.scale + rule.offset
            value = round(number) if parameter.syntax.base in _INTEGERS else format(number.normalize(), "f")
        if rule.words:
            text = to_text(value)
            value = rule.words.get(text, text)
        return value

    def outward(self, parameter: ParameterDef, value: Any) -> Any:
        """What a plug-in is told of a new value."""
        rule = self.rules.get(parameter.path)
        if rule is None:
            return value
        if rule.words:
            text = to_text(value)
            value = rule.back.get(text, value)
        if rule.scale is not None:
            number = (_number(value) - rule.offset) / rule.scale
            value = int(number) if number == int(number) else float(number)
        return value

    # --- the plug-ins' side -----------------------------------------------------------------------------------------------------

    def renamed(self, declaration: Declaration) -> Declaration:
        """A plug-in's declaration under the names of the model; the same one where nothing is renamed."""
        if not self._own:
            return declaration
        if isinstance(declaration, Bundle):
            return self._renamed_bundle(declaration)
        made = copy(declaration)
        made.path = self._own.get(declaration.path, declaration.path)
        made.paths = (made.path,)
        if isinstance(made, Group | Table):
            self._rename_columns(declaration, made)
        return made

    def _renamed_bundle(self, declaration: Bundle) -> Bundle:
        names = {self._own.get(p, p): p for p in declaration.paths}
        if tuple(names) == declaration.paths:
            return declaration
        made = copy(declaration)
        made.paths = tuple(names)
        made.path = made.paths[0]
        made.types = {self._own.get(p, p): t for p, t in declaration.types.items()}

        def own(path: str) -> str:
            return _with_numbers(names.get(generic(path)) or names.get(path) or path, path)

        def read(paths: Sequence[str]) -> Any:
            asked = {own(p): p for p in paths}
            values = declaration.function(list(asked))
            return {asked[p]: v for p, v in values.items() if p in asked} if isinstance(values, dict) else values

        made.function = read
        check, apply, undo, notify = (
            declaration.validator,
            declaration.applier,
            declaration.undoer,
            declaration.notifier,
        )
        if check is not None:
            made.validator = lambda path, value: check(own(path), value)
        if apply is not None:
            made.applier = lambda values: apply({own(p): v for p, v in values.items()})
        if undo is not None:
            made.undoer = lambda values: undo({own(p): v for p, v in values.items()})
        if notify is not None:
            made.notifier = lambda values: notify({own(p): v for p, v in values.items()})
        return made

    def _rename_columns(self, declaration: Declaration, made: Declaration) -> None:
        names = {
            own.removeprefix(declaration.path): path.removeprefix(made.path)
            for own, path in self._own.items()
            if own.startswith(declaration.path) and path.startswith(made.path) and own != declaration.path
        }
        if not names:
            return
        back = {v: k for k, v in names.items()}

        def shown(values: Any) -> Any:
            return {names.get(k, k): v for k, v in values.items()} if isinstance(values, dict) else values

        def own(values: dict[str, Any]) -> dict[str, Any]:
            return {back.get(k, k): v for k, v in values.items()}

        if isinstance(made, Table):
            made.function = lambda *row: [shown(r) for r in declaration.function(*row)]
            made.columns = tuple(names.get(c, c) for c in made.columns)
            if isinstance(made.key, str):
                made.key = names.get(made.key, made.key)
            elif not callable(made.key):
                made.key = tuple(names.get(k, k) for k in made.key)
        else:
            made.function = lambda *row: shown(declaration.function(*row))
        check, apply, undo, notify = (
            declaration.validator,
            declaration.applier,
            declaration.undoer,
            declaration.notifier,
        )
        if check is not None:
            made.validator = lambda *a: check(*a[:-2], back.get(a[-2], a[-2]), a[-1])
        if apply is not None:
            made.applier = lambda *a: apply(*a[:-1], own(a[-1]))
        if undo is not None:
            made.undoer = lambda *a: undo(*a[:-1], own(a[-1]))
        if notify is not None:
            made.notifier = lambda *a: notify(*a[:-1], own(a[-1]))


def _has(rule: Rule, key: str) -> bool:
    return {
        "fix": rule.fix is not None,
        "from": bool(rule.source),
        "scale": rule.scale is not None,
        "offset": bool(rule.offset),
        "values": bool(rule.words),
    }[key]


def _fits(rule: Rule, key: str, parameter: ParameterDef, text: str) -> None:
    try:
        parameter.check(text, device=True)
    except Fault as e:
        raise ConfigError(f"{rule.where(key)}: {rule.path} does not take {text!r}: {e.text}") from e


def _with_numbers(pattern: str, path: str) -> str:
    """A path with `{i}` filled in with the instance numbers of another one, in order."""
    numbers = iter([s for s in path.split(".") if s.isdigit()])
    return ".".join([next(numbers, "{i}") if s == "{i}" else s for s in pattern.split(".")])


def _number(value: Any) -> Decimal:
    try:
        return Decimal(str(value).strip())
    except ArithmeticError as e:
        raise ValueError(f"{value!r} is no number, and the mapper scales it") from e


# --- files ----------------------------------------------------------------------------------------------------------------------

_HEADER: Final = re.compile(r"""\s*\[\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_.-]+))\s*\]\s*(?:#.*)?$""")


def _read(file: FilePath) -> Iterable[Rule]:
    import tomllib

    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as e:
        raise ConfigError(f"cannot read the mapper file {file}: {e.strerror}; correct the setting mapper") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{file}: not UTF-8: {e}") from e
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{file}: {e}") from e
    lines = text.splitlines()
    for path, content in data.items():
        where = _Where(file, lines, path)
        if not isinstance(content, dict):
            raise ConfigError(
                f'{where("")}: a section is wanted, such as ["Device.DeviceInfo.Description"]; {path} is a value'
            )
        if "." not in path:
            raise ConfigError(
                f'{where("")}: [{path}] is no path; paths stand in quotes, such as ["Device.DeviceInfo.Description"]'
            )
        for key, value in content.items():
            if key not in _KEYS:
                raise ConfigError(f"{where(key)}: there is no {key}; known are {', '.join(_KEYS)}")
            kind, wanted = _KEYS[key]
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool and key != "fix"):
                raise ConfigError(f"{where(key)}: {key} = {value!r} does not fit; {wanted} is wanted")
        if not content:
            raise ConfigError(f"{where('')}: the section says nothing; give one of {', '.join(_KEYS)}")
        try:
            yield Rule(normal(path), content, where)
        except (ConfigError, Fault) as e:
            raise ConfigError(f"{where('')}: {e}") from e


class _Where:
    """Where in a file something stands: `box.toml, line 3`."""

    def __init__(self, file: FilePath, lines: Sequence[str], section: str) -> None:
        self._file = file
        self._lines = lines
        self._section = section

    def __call__(self, key: str) -> str:
        header = 0
        for number, line in enumerate(self._lines, 1):
            match = _HEADER.match(line)
            if match:
                if header:
                    break  # the key stands in an inline table or under another spelling: the section's line must do
                if (match[1] or match[2] or match[3]) == self._section:
                    header = number
                    if not key:
                        break
            elif (header and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line)) or (
                not header and re.match(rf"\s*{re.escape(self._section)}\s*=", line)
            ):
                return f"{self._file}, line {number}"
        return f"{self._file}, line {header or 1}"
