"""Device profiles: which parameters of a model a kind of device has, its factory instances and its factory values.

A profile is a TOML file:

    name = "dkt-797xx"
    title = "DKT COMEGA 797xx, fibre bridge"
    model = "Device:2.9"
    services = ["VoiceService:1.1"]               # service models below Services.
    parameters = ["Device.DeviceInfo.Manufacturer", "Device.Time.", ...]     # `{i}` for instances; an object brings all below it
    profiles = ["Baseline:1", "VoiceService/Endpoint:1"]     # the standard's own profiles bring what they ask for
    without = ["Device.Time.NTPServer5"]          # what of all this the device lacks
    read_only = ["Device.Time.LocalTimeZone"]     # what the model lets an ACS write, and this device does not
    objects = ["Device.Services."]                # objects that have no parameter of their own
    instances = ["Device.Ethernet.Interface.1.", ...]
    fixed = { "Device.Optical.Interface.{i}." = 1 }          # tables whose rows never change, with their number
    [values]
    "Device.DeviceInfo.Manufacturer" = "DKT"
"""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from homeport.errors import ConfigError
from homeport.model.path import generic
from homeport.model.schema import ParameterDef, Schema, load_schema
from homeport.model.values import to_text

if TYPE_CHECKING:
    from pathlib import Path as FilePath

_FOLDER: Final = os.path.join(os.path.dirname(__file__), "profiles")


class ProfileDef:
    """One kind of device. Immutable once made; devices of one profile share their factory tree."""

    def __init__(
        self,
        name: str,
        schema: Schema,
        parameters: tuple[str, ...],
        *,
        title: str = "",
        objects: tuple[str, ...] = (),
        instances: tuple[str, ...] = (),
        fixed: Mapping[str, int] | None = None,
        values: Mapping[str, str] | None = None,
        read_only: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.title = title
        self.schema = schema
        self.parameters = parameters
        self.objects = objects
        self.instances = tuple(i if i.endswith(".") else i + "." for i in instances)
        self.fixed = dict(fixed or {})
        self.values = dict(values or {})
        self.read_only = frozenset(read_only)
        """Paths (with `{i}`) that the model lets the ACS write and this device does not."""
        self._by_object: dict[str, set[str]] = {}
        for path in objects:
            self._with_parents(path)
        for path in parameters:
            head, _, leaf = path.rpartition(".")
            definition = schema.object(head + ".")
            if definition is None or definition.parameter(leaf) is None:
                raise ConfigError(
                    f"profile {name}: {schema.name} has no parameter {path}; correct the name or the model"
                )
            self._with_parents(head + ".")
            self._by_object[head + "."].add(leaf)

    def extended(
        self, parameters: Iterable[str], *, objects: Iterable[str] = (), own: Iterable[ParameterDef] = ()
    ) -> "ProfileDef":
        """A profile of the same name that also has these parameters and objects (with `{i}`); itself where it has them all.

        own: parameters of the vendor, which the model lacks. Raises ConfigError where the model lacks another one.
        """
        mine = tuple(own)
        schema = self.schema.with_parameters(mine) if mine else self.schema
        parameters = (*parameters, *(p.path for p in mine))
        more = [p for p in dict.fromkeys(parameters) if p.rpartition(".")[2] not in self.parameters_of(_head(p))]
        empty = [o for o in dict.fromkeys(objects) if not self.has_object(o)]
        if not more and not empty:
            return self
        return ProfileDef(
            self.name,
            schema,
            (*self.parameters, *more),
            title=self.title,
            objects=(*self.objects, *empty),
            instances=self.instances,
            fixed=self.fixed,
            values=self.values,
            read_only=self.read_only,
        )

    def restricted(self, *, hidden: Iterable[str] = (), read_only: Iterable[str] = ()) -> "ProfileDef":
        """A profile of the same name without some parameters and objects, and with some read-only; paths as in the model, with `{i}`.

        An object goes with everything below it; a table also with its number of rows, and a read-only one cannot grow.
        """
        gone = tuple(hidden)
        tables = [d for d in map(self.schema.object, gone) if d is not None and d.table]
        counts = {f"{d.parent}{d.count}" for d in tables if d.count}

        def kept(path: str) -> bool:
            return path not in gone and path not in counts and not path.startswith(_objects(gone))

        return ProfileDef(
            self.name,
            self.schema,
            tuple(p for p in self.parameters if kept(p)),
            title=self.title,
            objects=tuple(o for o in self.objects if kept(o)),
            instances=tuple(i for i in self.instances if kept(generic(i))),
            fixed={p: n for p, n in self.fixed.items() if kept(p)},
            values={p: v for p, v in self.values.items() if kept(generic(p))},
            read_only=(*self.read_only, *read_only),
        )

    def _with_parents(self, path: str) -> None:
        while path and path not in self._by_object:
            definition = self.schema.object(path)
            if definition is None:
                raise ConfigError(
                    f"profile {self.name}: {self.schema.name} has no object {path}; correct the name or the model"
                )
            self._by_object[path] = set()
            path = definition.parent

    def parameters_of(self, path: str) -> set[str]:
        """Names of the parameters that the object at this path (with `{i}`) has on this device."""
        return self._by_object.get(path, set())

    def has_object(self, path: str) -> bool:
        """Whether this device has the object at this path (with `{i}`)."""
        return path in self._by_object

    def writable(self, path: str) -> bool:
        """Whether the ACS may write the parameter, or add rows to the table, at this path (with `{i}`)."""
        if path in self.read_only:
            return False
        definition = self.schema.object(path)
        if definition is not None:
            return definition.table and definition.writable and path not in self.fixed
        found = self.schema.parameter(path)
        return found is not None and found.writable


def _objects(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(p for p in paths if p.endswith("."))


def _head(path: str) -> str:
    return path.rpartition(".")[0] + "."


def parse_profile(text: str, *, origin: str) -> ProfileDef:
    """The profile in a TOML text. Raises ConfigError that names the file and the field."""
    import tomllib  # only who reads a profile pays for it

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin}: not TOML: {error}") from None
    known = {"name", "title", "model", "services", "parameters", "objects", "instances", "fixed", "values"} | _SELECTING
    for field in data.keys() - known:
        raise ConfigError(f"{origin}: {field} is not a field of a profile; the fields are {', '.join(sorted(known))}")
    for field in ("name", "model", "parameters"):
        if field not in data:
            raise ConfigError(f"{origin}: the field {field} is missing")
    schema = load_schema(str(data["model"]), *_texts(data, "services", origin))
    values = data.get("values", {})
    if not isinstance(values, dict):
        raise ConfigError(f"{origin}: values must be a table of path = value")
    named = _texts(data, "profiles", origin)
    parameters, objects = _selected(schema, _texts(data, "parameters", origin), named, origin)
    without = _texts(data, "without", origin)
    for path in without:
        if schema.object(path) is None and schema.parameter(path) is None:
            raise ConfigError(f"{origin}: without names {path}, which {schema.name} does not have")
    if without:
        gone, below = set(without), tuple(p for p in without if p.endswith("."))
        parameters = [p for p in parameters if p not in gone and not p.startswith(below)]
        objects = [o for o in objects if o not in gone and not o.startswith(below)]
    return ProfileDef(
        str(data["name"]),
        schema,
        tuple(parameters),
        title=str(data.get("title", "")),
        objects=(*_texts(data, "objects", origin), *objects),
        read_only=_texts(data, "read_only", origin),
        instances=_texts(data, "instances", origin),
        fixed={str(k): int(v) for k, v in data.get("fixed", {}).items()},
        values={str(k): to_text(v) for k, v in values.items()},
    )


_SELECTING: Final = {"profiles", "without", "read_only"}

_OUT_OF_USE: Final = frozenset({"deprecated", "obsoleted", "deleted"})


def _selected(
    schema: Schema, listed: Iterable[str], profiles: Iterable[str], origin: str
) -> tuple[list[str], list[str]]:
    """Parameters and objects that a profile file asks for by name, by the object around them and by the standard's profiles."""
    parameters: dict[str, None] = {}
    objects: dict[str, None] = {}
    for name in profiles:
        try:
            required, present = schema.required_by(name)
        except ConfigError as e:
            raise ConfigError(f"{origin}: {e}") from None
        parameters.update(dict.fromkeys(required))
        objects.update(dict.fromkeys(present))
    for path in listed:
        if not path.endswith("."):
            parameters[path] = None
            continue
        if schema.object(path) is None:
            raise ConfigError(f"{origin}: {schema.name} has no object {path}")
        # By their paths: asking for every object of the model would unpack all of it, 4 MB.
        found = [schema.object(p) for p in schema.paths() if p.startswith(path)]
        below = [o for o in found if o is not None and o.status not in _OUT_OF_USE]
        objects.update(dict.fromkeys([o.path for o in below]))
        parameters.update(dict.fromkeys([p.path for o in below for p in o.parameters if p.status not in _OUT_OF_USE]))
    return list(parameters), list(objects)


def _texts(data: dict[str, Any], field: str, origin: str) -> tuple[str, ...]:
    found = data.get(field, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ConfigError(f"{origin}: {field} must be a list of texts")
    return tuple(found)


def list_profiles() -> list[str]:
    """Names of the profiles that come with Homeport."""
    return sorted(n.removesuffix(".toml") for n in os.listdir(_FOLDER) if n.endswith(".toml"))


@functools.cache
def load_profile(name: str) -> ProfileDef:
    """A shipped profile, shared by all who ask. Raises ConfigError where there is none of that name."""
    try:
        with open(os.path.join(_FOLDER, f"{name}.toml"), encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        raise ConfigError(f"there is no profile {name}; the shipped ones are {', '.join(list_profiles())}") from None
    return parse_profile(text, origin=f"{name}.toml")


def load_profile_file(path: "FilePath") -> ProfileDef:
    """A profile from a file of one's own."""
    return parse_profile(path.read_text(encoding="utf-8"), origin=str(path))
