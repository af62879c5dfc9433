"""What a message teaches about a device's tree, and which of it is kept in the device's own fields."""

from collections.abc import Generator, Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from msgspec import Struct

from homeport.acs.engine.args import Answer, Call
from homeport.acs.records import Reading, StoredValue, numbered
from homeport.codec import messages as m

SECRET_ENDINGS: Final = (
    "Password",
    "password",
    "PassWord",
    "PASSWORD",
    "Passwd",
    "passwd",
    "PASSWD",
    "Pwd",
    "pwd",
    "PassPhrase",
    "Passphrase",
    "passphrase",
    "PASSPHRASE",
    "Secret",
    "secret",
    "SECRET",
    "PreSharedKey",
    "PSK",
    "Psk",
    "WEPKey",
    "WepKey",
    "WPAKey",
    "SecretKey",
    "PrivateKey",
    "EncryptionKey",
    "AuthenticationKey",
    "AuthenticationCode",
    "AuthKey",
    "NetworkKey",
    "KeyValue",
    "PIN",
    "Token",
    "token",
    "TOKEN",
    "Community",  # SNMP's password
    "community",
    "CommunityString",
)
"""How the names of parameters end whose value is a secret: the hidden ones of the Broadband Forum's models, and what vendors call theirs.

A number may follow.
"""

PROMOTED: Final[Mapping[str, str]] = {
    "DeviceInfo.ModelName": "model",
    "DeviceInfo.SoftwareVersion": "software_version",
    "DeviceInfo.HardwareVersion": "hardware_version",
    "DeviceInfo.ProvisioningCode": "provisioning_code",
    "ManagementServer.ConnectionRequestURL": "connection_request_url",
    "ManagementServer.UDPConnectionRequestAddress": "udp_address",
    "ManagementServer.ConnReqJabberID": "jabber_id",
}
"""Parameters, below the root, that have a field in the device's record."""

_INTERVAL: Final = "ManagementServer.PeriodicInformInterval"

ROOTS: Final = ("Device.", "InternetGatewayDevice.")

_FIELDS: Final = {root + below: field for root in ROOTS for below, field in PROMOTED.items()}
_WATCHED: Final = frozenset(_FIELDS) | {root + _INTERVAL for root in ROOTS}


class Learnt(Struct, frozen=True):
    """changed: path -> value. removed: objects that are gone.

    complete: an object below which only `changed` exists; level: one that has no other children than those in `changed`.
    """

    changed: Mapping[str, StoredValue]
    removed: tuple[str, ...] = ()
    complete: str | None = None
    level: str | None = None

    def gone(self, known: Iterable[str]) -> tuple[str, ...]:
        """Which of the paths known below `complete` or `level` do not exist any more: objects with all below them, and parameters."""
        if self.complete is not None:
            return tuple(p for p in known if p not in self.changed)
        assert self.level is not None
        length = len(self.level)
        children = {_child(p, length) for p in self.changed}
        return tuple({c: None for p in known if (c := _child(p, length)) not in children and len(c) > length})

    def gone_in_parts(self, known: Iterable[str]) -> Generator[None, None, tuple[str, ...]]:
        """The same with rests, where many are known."""
        if self.complete is None:
            return self.gone(known)
        gone: list[str] = []
        left = iter(known)
        while piece := list(islice(left, ROWS)):
            gone += self.gone(piece)
            yield
        return tuple(gone)


_TAILS: Final = frozenset({*(ending[-3:] for ending in SECRET_ENDINGS), "Key", "key"})
"""How these names end: most others are told by that, without a look at each ending."""

_DIGITS: Final = "0123456789"
_MAY_MATTER: Final = frozenset("." + _DIGITS)
"""Last characters of objects, and of names whose number has to be taken away."""

MOST_REMEMBERED: Final = 512
"""Names in a list that is remembered."""

ROWS: Final = 1_000
"""Rows of a long list that are worked on between two rests."""

NOTHING: Final = Learnt({})


def _child(path: str, length: int) -> str:
    """The direct child of an object, whose path has this length, to which the path belongs or which it is."""
    dot = path.find(".", length)
    return path if dot < 0 else path[: dot + 1]


def is_secret(path: str) -> bool:
    """Whether the parameter's value must not be kept or shown: a password or key, by its name."""
    if path[-1:] in _MAY_MATTER:
        path = path.rstrip(_DIGITS)
    return path[-3:] in _TAILS and (path.endswith(SECRET_ENDINGS) or (".X_" in path and path.endswith(("Key", "key"))))


def learnt(request: Call, answer: Answer, now: float) -> Learnt:
    """What a device's answer teaches. now: seconds since 1970."""
    match answer:
        case m.GetParameterValuesResponse(parameter_list=rows):
            if len(rows) <= MOST_REMEMBERED:
                names, texts, types = answer.columns
                if not peculiar(names) and len(numbered(names)) == len(names) and all(types):
                    return Learnt(Reading(names, texts, types, now))
            return Learnt(values_of(rows, now))
        case m.GetParameterNamesResponse(parameter_list=names):
            assert isinstance(request, m.GetParameterNames)
            found = {
                n.name: StoredValue(None, "object" if n.name.endswith(".") else "string", n.writable, now)
                for n in names
            }
            if not found or not request.parameter_path.endswith("."):
                return Learnt(found)
            if request.next_level:
                return Learnt(found, level=request.parameter_path)
            return Learnt(found, complete=request.parameter_path)
        case m.SetParameterValuesResponse():
            assert isinstance(request, m.SetParameterValues)
            return Learnt(
                {
                    p.name: StoredValue("" if is_secret(p.name) else p.value, p.type or "string", True, now)
                    for p in request.parameter_list
                }
            )
        case m.AddObjectResponse(instance_number=number):
            assert isinstance(request, m.AddObject)
            table = request.object_name.partition("[")[0]
            return Learnt({f"{table}{number}.": StoredValue(None, "object", True, now)})
        case m.DeleteObjectResponse():
            assert isinstance(request, m.DeleteObject)
            return Learnt({}, removed=(request.object_name,))
    return NOTHING


def learnt_in_parts(request: Call, answer: Answer, now: float) -> Generator[None, None, Learnt]:
    """As `learnt`, with rests, for a list of many thousand rows."""
    changed: dict[str, StoredValue] = {}
    if isinstance(answer, m.GetParameterValuesResponse):
        for at in range(0, len(answer.parameter_list), ROWS):
            changed.update(values_of(answer.parameter_list[at : at + ROWS], now))
            yield
        return Learnt(changed)
    if not isinstance(answer, m.GetParameterNamesResponse):
        return learnt(request, answer, now)
    part = NOTHING
    for at in range(0, len(answer.parameter_list), ROWS):
        part = learnt(request, m.GetParameterNamesResponse(answer.parameter_list[at : at + ROWS]), now)
        changed.update(part.changed)
        yield
    return Learnt(changed, (), part.complete, part.level)


def values_of(rows: Iterable[m.ParameterValueStruct], now: float) -> dict[str, StoredValue]:
    """Reported values; an object that a device lists among them (netcwmp) has no value and is left out."""
    values = {row.name: StoredValue(row.value, row.type or "string", None, now) for row in rows}
    for name in peculiar(tuple(values)):
        if not name or name[-1] == ".":
            del values[name]
        else:
            values[name] = StoredValue("", values[name].type, None, now)
    return values


def peculiar(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are no parameters, or whose values are secrets. The devices of a model give the same names again and again."""
    return _peculiar(names) if len(names) <= MOST_REMEMBERED else _peculiar.__wrapped__(names)


@lru_cache(maxsize=64)
def _peculiar(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([name for name in names if not name or name[-1] == "." or is_secret(name)])


@lru_cache(maxsize=64)
def _watched(names: tuple[str, ...]) -> frozenset[str]:
    return _WATCHED.intersection(names)


def promoted(changed: Mapping[str, StoredValue]) -> dict[str, Any]:
    """Fields of the device's record that these values give."""
    fields: dict[str, Any] = {}
    for path in _watched(changed.names) if isinstance(changed, Reading) else changed.keys() & _WATCHED:
        value = changed[path].value
        if value is None:
            continue
        field = _FIELDS.get(path)
        if field is not None:
            fields[field] = value
        elif value.isascii() and value.isdigit():
            fields["inform_interval"] = int(value)
    return fields
