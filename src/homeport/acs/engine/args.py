"""A task's arguments, as JSON has them, to the message of the wire, and a response back.

Names are the standard's in snake_case, so the messages' own fields say what is allowed.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, encode
from homeport.codec.rpc_table import RPCS
from homeport.errors import HomeportError, LocalProtocolError
from homeport.terms import Role, RpcName

Call = m.Request | m.VendorMessage
Answer = m.Response | m.VendorMessage

CPE_METHODS: Final = frozenset(name for name, entry in RPCS.items() if Role.ACS in entry.callers)
"""What an ACS may call."""

KEYED: Final = frozenset(
    {
        RpcName.REBOOT,
        RpcName.DOWNLOAD,
        RpcName.SCHEDULE_DOWNLOAD,
        RpcName.UPLOAD,
        RpcName.SCHEDULE_INFORM,
        RpcName.CHANGE_DU_STATE,
    }
)
"""Methods whose outcome is recognised later by their CommandKey, so that each task needs one of its own."""

REFRESH: Final = "Refresh"
"""A wish that is no RPC of its own: to read the names and values below `path` anew (all of the tree where it is left out)."""

LONG_LIST: Final = 5_000
"""Rows of an answer from which on they are not made into dictionaries, which takes longer than other devices should wait."""

NUMBERS: Final = (-(2**63), 2**64 - 1)
"""The least and the largest number that a task's arguments may hold: what a row can hold, and the data model's types."""

_OPERATIONS: Final = {"Install": m.InstallOpStruct, "Update": m.UpdateOpStruct, "Uninstall": m.UninstallOpStruct}


class ArgumentsError(HomeportError):
    """A task's rpc or args are wrong; the message names the argument and what was expected."""


def request_of(rpc: str, args: Mapping[str, Any]) -> Call:
    """The message that a task sends. Raises ArgumentsError.

    A vendor's method (`X_...`) takes the one argument `xml`: its element as text, or nothing.
    """
    if rpc.startswith("X_"):
        xml = args.get("xml", "")
        if not isinstance(xml, str) or set(args) - {"xml"}:
            raise ArgumentsError(f"{rpc} takes one argument, xml: the element as text")
        return m.VendorMessage(rpc, "", xml)
    if rpc not in CPE_METHODS:
        known = ", ".join(sorted(CPE_METHODS))
        raise ArgumentsError(
            f"{rpc!r} is not a method that an ACS calls; there are {known}; and {REFRESH}, which reads a part of the tree anew"
        )
    cls = RPCS[rpc].request
    given = dict(args)
    if cls is m.ChangeDUState:
        given["operations"] = _operations(given.get("operations"))
        unknown = set(given) - {"operations", "command_key"}
        if unknown:
            raise ArgumentsError(f"ChangeDUState has no argument {sorted(unknown)[0]!r}")
        if not isinstance(given.get("command_key", ""), str):
            raise ArgumentsError("command_key of ChangeDUState must be a text")
        return m.ChangeDUState(operations=given["operations"], command_key=given.get("command_key", ""))
    if cls is m.SetParameterValues:
        given["parameter_list"] = [_parameter(p) for p in _listed(given.get("parameter_list"), "parameter_list")]
    if rpc in KEYED:
        given.setdefault("command_key", "")
    fields = cls.__struct_fields__
    for name in given:
        if name not in fields:
            raise ArgumentsError(f"{rpc} has no argument {name!r}; it has {', '.join(fields) or 'none'}")
    try:
        return msgspec.convert(given, cls)
    except msgspec.ValidationError as e:
        raise ArgumentsError(f"the arguments of {rpc} are wrong: {e}") from e


def _listed(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ArgumentsError(f"{name} must be a list")
    return value


def _parameter(given: Any) -> dict[str, Any]:
    """One ParameterValueStruct; truth values and numbers of JSON become the wire's text."""
    if not isinstance(given, dict) or set(given) - {"name", "value", "type"} or not isinstance(given.get("name"), str):
        raise ArgumentsError("each entry of parameter_list is {name, value, type}; type may be left out")
    value = given.get("value")
    if isinstance(value, bool):
        text = "1" if value else "0"
    elif isinstance(value, int | float):
        if not NUMBERS[0] <= value <= NUMBERS[1]:  # also not a number, which JSON should not have and Python reads
            raise ArgumentsError(
                f"the value {value} of {given['name']} is no number of 64 bits; give it as a text, in quotes, if it is meant so"
            )
        text = str(value)
    elif isinstance(value, str):
        text = value
    else:
        raise ArgumentsError(f"the value of {given['name']} must be text, a number or a truth value")
    return {"name": given["name"], "value": text, "type": given.get("type") or "string"}


def _operations(given: Any) -> tuple[m.Operation, ...]:
    made = []
    for entry in _listed(given, "operations"):
        fields = dict(entry) if isinstance(entry, dict) else {}
        kind = fields.pop("type", None)
        if kind not in _OPERATIONS:
            raise ArgumentsError("each operation has a type: Install, Update or Uninstall")
        cls = _OPERATIONS[kind]
        allowed = {k: v for k, v in fields.items() if k in cls.__struct_fields__}
        if len(allowed) != len(fields):
            extra = sorted(set(fields) - set(allowed))[0]
            raise ArgumentsError(f"{kind} has no {extra!r}; it has {', '.join(cls.__struct_fields__)}")
        try:
            made.append(msgspec.convert(allowed, cls))
        except msgspec.ValidationError as e:
            raise ArgumentsError(f"the {kind} operation is wrong: {e}") from e
    if not made:
        raise ArgumentsError("operations is empty; give at least one")
    return tuple(made)


def untyped(args: Mapping[str, Any]) -> frozenset[str]:
    """The names in a SetParameterValues task whose type was left out."""
    entries = args.get("parameter_list") or []
    return frozenset(p["name"] for p in entries if isinstance(p, dict) and not p.get("type"))


def check(rpc: str, args: Mapping[str, Any]) -> None:
    """Raise ArgumentsError where the task could never be sent: wrong arguments, texts that are too long, numbers out of range."""
    if rpc == REFRESH:
        unknown = sorted(set(args) - {"path"})
        if unknown:
            raise ArgumentsError(f"{REFRESH} has no argument {unknown[0]!r}; it has path")
        path = args.get("path", "")
        if not isinstance(path, str) or len(path) > 256 or not path.isprintable():
            raise ArgumentsError("path must be the path of a parameter or object, at most 256 characters")
        return
    request = request_of(rpc, args)
    if isinstance(request, m.AddObject | m.DeleteObject) and not request.object_name.endswith("."):
        raise ArgumentsError(f"object_name is {request.object_name!r}; the path of an object ends with a dot")
    try:
        encode(Envelope(body=request))
    except LocalProtocolError as e:
        if isinstance(request, m.VendorMessage):
            example = f'<cwmp:{rpc} xmlns:cwmp="urn:dslforum-org:cwmp-1-0"><Argument>1</Argument></cwmp:{rpc}>'
            raise ArgumentsError(f"{e} xml is the whole element with its namespaces, such as {example}") from e
        raise ArgumentsError(str(e)) from e


def result_of(answer: Answer) -> dict[str, Any]:
    """A response as JSON has it; a long list stays as it was read, which is written down in the same way."""
    rows = getattr(answer, "parameter_list", ())
    if len(rows) > LONG_LIST:
        return {"parameter_list": rows}
    built: dict[str, Any] = msgspec.to_builtins(answer)
    return built
