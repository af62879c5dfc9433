"""What a person wants to read of one recorded message: its events, how many parameters, which paths, the fault.

Reads the text as the ACS recorded it, which may be cut at the end: found by patterns, because a cut text is not XML any more.
"""

import re
from collections.abc import Mapping
from typing import Any

_EVENT = re.compile(r"<EventCode[^>]*>([^<]*)</EventCode>")
_NAME = re.compile(r"<Name[^>]*>([^<]*)</Name>\s*<Value[^>]*>([^<]*)</Value>", re.DOTALL)
_STRUCTS = re.compile(r"<ParameterValueStruct\b")
_STRINGS = re.compile(r"<(?:\w+:)?string\b[^>]*>([^<]*)</(?:\w+:)?string>")
_ARRAY = re.compile(r"(?:arrayType)\s*=\s*[\"'][\w:]+\[(\d+)\][\"']")
_FAULT = re.compile(r"<FaultCode[^>]*>(\d+)</FaultCode>")


def gist(message: Mapping[str, Any]) -> str:
    """A few words about a message of `GET sessions/{id}`; "" where its name says enough."""
    body, element = str(message.get("body") or ""), str(message.get("element") or "")
    if element == "Inform":
        return ", ".join(_EVENT.findall(body)) or "no events"
    if element == "Fault":
        codes = _FAULT.findall(body)
        return f"fault {codes[0]}" if codes else ""
    if element == "GetParameterValues":
        return _listed([_last(text) or "everything" for text in _STRINGS.findall(body)])
    if element == "SetParameterValues":
        return _listed([f"{_last(name)}={value}" for name, value in _NAME.findall(body)])
    if element in ("GetParameterNames", "AddObject", "DeleteObject"):
        return _text(body, "ParameterPath") or _text(body, "ObjectName") or "everything"
    if element == "GetParameterValuesResponse":
        return _count(body, "value")
    if element == "GetParameterNamesResponse":
        return _count(body, "name")
    if element in ("SetParameterValuesResponse", "DeleteObjectResponse"):
        return {"0": "applied", "1": "accepted, applied later"}.get(_text(body, "Status"), "")
    if element == "AddObjectResponse":
        number = _text(body, "InstanceNumber")
        return f"instance {number}" if number else ""
    return _text(body, "CommandKey")


def _text(body: str, name: str) -> str:
    found = re.search(rf"<{name}\b[^>]*>([^<]*)</{name}>", body)
    return found.group(1) if found else ""


def _last(path: str) -> str:
    """A parameter's own name; an object's whole path, because its last word alone says little."""
    return path if path.endswith(".") else path.rsplit(".", 1)[-1]


def _listed(items: list[str]) -> str:
    return ", ".join(items[:2]) + (f" and {len(items) - 2} more" if len(items) > 2 else "")


def _count(body: str, what: str) -> str:
    found = _ARRAY.search(body)
    number = int(found.group(1)) if found else len(_STRUCTS.findall(body))
    return f"{number} {what}" + ("" if number == 1 else "s")
