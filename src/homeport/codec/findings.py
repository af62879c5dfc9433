"""What is worth saying about one message: its content as readable lines, and where it departs from a schema or a rule, with the clause.

Pure: no terminal, no file. `homeport decode` and the ACS's session page show it. The decoder tolerates; here it is told what was tolerated.
A clause is marked (unverified) where its number was not seen in the document itself.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode
from homeport.codec.fields import Array, Field, Nested, Number, Repeated, Text, Time
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.quirks import Quirk
from homeport.codec.rpc_table import FIELDS, entry_of
from homeport.codec.struct_table import STRUCTS
from homeport.errors import RemoteProtocolError
from homeport.terms import CwmpVersion, FaultCode, Role

MASK: Final = "********"
"""Stands for a secret in everything that people look at."""

_SECRET: Final = re.compile(r"(password|passphrase|presharedkey|secret|wepkey|privatekey|token)[^.]*$", re.IGNORECASE)
_DATE_TIME: Final = re.compile(r"-?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_LEXICAL: Final = {
    "int": re.compile(r"\s*[+-]?\d+\s*", re.ASCII),
    "long": re.compile(r"\s*[+-]?\d+\s*", re.ASCII),
    "unsignedInt": re.compile(r"\s*\+?\d+\s*", re.ASCII),
    "unsignedLong": re.compile(r"\s*\+?\d+\s*", re.ASCII),
    "boolean": re.compile(r"\s*(0|1|true|false)\s*", re.ASCII),
    "dateTime": re.compile(rf"\s*({_DATE_TIME.pattern})\s*", re.ASCII),
    "base64Binary": re.compile(r"[A-Za-z0-9+/\s]*={0,2}\s*"),
    "hexBinary": re.compile(r"\s*([0-9A-Fa-f]{2})*\s*", re.ASCII),
    "decimal": re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)\s*", re.ASCII),
}
_RANGE: Final = {
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
    "unsignedInt": (0, 2**32 - 1),
    "unsignedLong": (0, 2**64 - 1),
}
_XSD_QUIRKS: Final = "cwmp-1-x.xsd"
_CLAUSE: Final[dict[Quirk, str]] = {
    Quirk.BYTE_ORDER_MARK: "XML 1.0 4.3.3 (unverified)",
    Quirk.SPACE_BEFORE_PROLOG: "XML 1.0 2.8 (unverified)",
    Quirk.TRAILING_NULS: "XML 1.0 2.1 (unverified)",
    Quirk.OTHER_ENCODING: "TR-069a6 3.4.1",
    Quirk.WRONG_ENCODING: "XML 1.0 4.3.3 (unverified)",
    Quirk.UNKNOWN_ENCODING: "XML 1.0 4.3.3 (unverified)",
    Quirk.CONTROL_CHARACTERS: "XML 1.0 2.2 (unverified)",
    Quirk.COMMENT: "SOAP 1.1 3 (unverified)",
    Quirk.CDATA: "SOAP 1.1 3 (unverified)",
    Quirk.PROCESSING_INSTRUCTION: "SOAP 1.1 3 (unverified)",
    Quirk.UNDECLARED_PREFIX: "Namespaces in XML 1.0 3 (unverified)",
    Quirk.ENVELOPE_NAMESPACE: "SOAP 1.1 4.1.2 (unverified)",
    Quirk.UNKNOWN_HEADER: "SOAP 1.1 4.2 (unverified)",
    Quirk.NO_MORE_REQUESTS: "TR-069a6 3.5 (unverified)",
    Quirk.FAULT_CODE_FORM: "SOAP 1.1 4.4.1 (unverified)",
    Quirk.FAULT_CODE_SIDE: "SOAP 1.1 4.4.1 (unverified)",
    Quirk.LOCAL_TIME: "TR-106 3.2.2",
}
_QUIRKS: Final = {str(quirk): quirk for quirk in Quirk}
_HARMLESS: Final = frozenset(
    {Quirk.COMMENT, Quirk.CDATA, Quirk.PROCESSING_INSTRUCTION, Quirk.NO_EVENT, Quirk.OTHER_ENCODING}
)


class Finding(Struct, frozen=True):
    """One departure. level: `error` (breaks a schema or a rule), `note` (legal, but peers stumble over it).

    clause: where the rule stands. where: the element's path in the message, "" for the envelope or the HTTP message.
    """

    level: str
    clause: str
    where: str
    text: str


class Line(Struct, frozen=True):
    """One line of a message's content: how deep it stands, its name, its value ("" for a group), and a note such as a type."""

    depth: int
    name: str
    value: str = ""
    note: str = ""


class Report(Struct, frozen=True):
    """One body, read. envelope is None where it cannot be read; then `error` says why. empty: the body had no bytes."""

    envelope: Envelope | None
    error: str
    findings: tuple[Finding, ...]
    lines: tuple[Line, ...]
    size: int
    empty: bool = False

    @property
    def title(self) -> str:
        """The method, or what the body is instead."""
        if self.empty:
            return "(empty)"
        if self.envelope is None:
            return "(not CWMP)"
        body = self.envelope.body
        if body is None:
            return "(empty Body)"
        return body.method if isinstance(body, m.VendorMessage) else body.element


def examine(
    body: bytes, *, content_type: str = "", limits: CodecLimits = DEFAULT_LIMITS, reveal: bool = False
) -> Report:
    """The report of one HTTP body; never raises. reveal: show secrets instead of a mask."""
    if not body.strip(b" \t\r\n\x00"):
        return Report(None, "", (), (), len(body), empty=True)
    try:
        envelope = decode(body, content_type=content_type, limits=limits)
    except RemoteProtocolError as error:
        finding = Finding("error", "SOAP 1.1 / cwmp-1-x.xsd", "", str(error))
        return Report(None, str(error), (finding,), (), len(body))
    findings = [*_quirk_findings(envelope), *_envelope_findings(envelope, body)]
    if envelope.body is not None:
        findings += _message_findings(envelope.body)
    return Report(envelope, "", tuple(findings), tuple(_envelope_lines(envelope, reveal)), len(body))


def sender_of(message: m.Message | None) -> Role | None:
    """Who sends such a message; None where both may (GetRPCMethods, a fault without a telling code, a vendor's method)."""
    if isinstance(message, m.FaultMessage):
        return Role.CPE if message.fault_code >= 9000 else Role.ACS
    entry = entry_of(message) if message is not None else None
    if entry is None or len(entry.callers) != 1:
        return None
    caller = next(iter(entry.callers))
    return caller if isinstance(message, m.Request) else caller.peer


# --- findings -----------------------------------------------------------------------------------------------------------------


def _quirk_findings(envelope: Envelope) -> Iterator[Finding]:
    for quirk in _quirks(envelope):
        yield Finding("note" if quirk in _HARMLESS else "error", _CLAUSE.get(quirk, _XSD_QUIRKS), "", quirk.doc)


def _quirks(envelope: Envelope) -> list[Quirk]:
    return [_QUIRKS[name] for name in envelope.quirks]


def _envelope_findings(envelope: Envelope, raw: bytes) -> Iterator[Finding]:
    message = envelope.body
    sender = sender_of(message)
    if message is None:
        yield Finding("error", "SOAP 1.1 4.3 (unverified)", "Body", "The Body holds no message.")
    if envelope.id is None and isinstance(message, m.Request):
        yield Finding(
            "note",
            "TR-069a6 3.5 (unverified)",
            "Header",
            "The request has no ID, so its answer cannot be matched by one.",
        )
    entry = entry_of(message) if message is not None else None
    version = CwmpVersion.from_urn(envelope.urn)
    if version in (CwmpVersion.V1_3, CwmpVersion.V1_4):
        text = f"No schema uses {envelope.urn}: CWMP 1.3 and 1.4 keep urn:dslforum-org:cwmp-1-2."
        yield Finding("error", "cwmp-1-4.xsd", "", text)
    elif entry is not None and version is not None and entry.since > version:
        yield Finding(
            "error",
            entry.since.urn,
            entry.name,
            f"{entry.name} is of CWMP {entry.since}, the namespace is of {version}.",
        )
    if sender is Role.ACS:
        if raw.lstrip().startswith(b"<?xml"):
            yield Finding(
                "note", "field", "", "Two C clients drop a message of the ACS that begins with an XML prolog."
            )
        if not re.search(rb"<(SOAP-ENV|soap-env):Envelope", raw):
            yield Finding(
                "note", "field", "", "One C client understands only the envelope prefix SOAP-ENV from an ACS."
            )
        if isinstance(message, m.Request) and len(raw) > 32 * 1024:
            yield Finding(
                "note",
                "TR-069a6 3.5 (unverified)",
                "",
                f"The request has {len(raw)} bytes; a CPE need not take more than 32,768.",
            )
    if envelope.hold_requests and sender is Role.CPE:
        yield Finding("error", "TR-069a6 3.5 (unverified)", "Header/HoldRequests", "Only an ACS holds requests.")
    if envelope.use_cwmp_version is not None and not isinstance(message, m.InformResponse):
        yield Finding(
            "error",
            "TR-069a6 3.5 (unverified)",
            "Header/UseCWMPVersion",
            "UseCWMPVersion belongs into an InformResponse.",
        )


def _message_findings(message: m.Message) -> Iterator[Finding]:
    if isinstance(message, m.FaultMessage):
        yield from _fault_findings(message)
        return
    fields = FIELDS.get(type(message))
    if fields is None:
        text = f"{getattr(message, 'method', message.element)} is no method of CWMP; the receiver answers 9000 or 8000."
        yield Finding("note", "TR-069a6 A.3.1.1 (unverified)", "", text)
        return
    yield from _struct_findings(message, fields, message.element)
    if isinstance(message, m.Inform):
        yield from _inform_findings(message)
    if isinstance(message, m.Inform | m.SetParameterValues | m.GetParameterValuesResponse):
        yield from _parameter_findings(message.parameter_list, message.element)


def _struct_findings(value: Any, fields: tuple[Field, ...], where: str) -> Iterator[Finding]:
    for field in fields:
        content = getattr(value, field.attribute)
        if field.optional and (content is None or content == ""):
            continue
        yield from _kind_findings(content, field, f"{where}/{field.element}")


def _kind_findings(content: Any, field: Field, where: str) -> Iterator[Finding]:
    kind = field.kind
    if isinstance(kind, Text):
        yield from _text_findings(content, kind, where)
    elif isinstance(kind, Time):
        if not _DATE_TIME.fullmatch(content):
            yield Finding("error", "TR-106 3.2.2", where, f"{content!r} is not a dateTime.")
    elif isinstance(kind, Nested):
        yield from _struct_findings(content, STRUCTS[kind.part], where)
    elif isinstance(kind, Array):
        count = len(content)
        if count < kind.low or (kind.high is not None and count > kind.high):
            most = "any number" if kind.high is None else kind.high
            yield Finding(
                "error", _XSD_QUIRKS, where, f"The list has {count} entries; {kind.low} to {most} are allowed."
            )
        for number, item in enumerate(content, 1):
            place = f"{where}/{kind.entry}[{number}]"
            if isinstance(kind.item, Text):
                yield from _text_findings(item, kind.item, place)
            else:
                yield from _struct_findings(item, STRUCTS[kind.item], place)
    elif isinstance(kind, Repeated):
        for number, item in enumerate(content, 1):
            yield from _struct_findings(item, STRUCTS[type(item)], f"{where}[{number}]")


def _text_findings(content: str, kind: Text, where: str) -> Iterator[Finding]:
    if kind.limit is not None and len(content) > kind.limit:
        yield Finding(
            "error", _XSD_QUIRKS, where, f"The text has {len(content)} characters; at most {kind.limit} are allowed."
        )
    if kind.pattern and not re.fullmatch(kind.pattern, content):
        yield Finding("error", _XSD_QUIRKS, where, f"{_short(content)!r} does not match {kind.pattern}.")


def _inform_findings(inform: m.Inform) -> Iterator[Finding]:
    if inform.max_envelopes != 1:
        yield Finding(
            "error",
            "TR-069a6 A.3.3.1 (unverified)",
            "Inform/MaxEnvelopes",
            f"It is {inform.max_envelopes}; 1 is the only value.",
        )
    codes = [event.event_code for event in inform.event]
    if "14 HEARTBEAT" in codes and len(codes) > 1:
        yield Finding("error", "TR-069a6 Annex O", "Inform/Event", "14 HEARTBEAT must be the only event of its Inform.")
    for event in inform.event:
        if event.command_key and not event.event_code.startswith(("M ", "X ")):
            text = f"{event.event_code} carries the CommandKey {event.command_key!r}; only M events have one."
            yield Finding("error", "TR-069a6 3.7.1.5 (unverified)", "Inform/Event", text)
    for code in sorted({c for c in codes if not c.startswith(("M ", "X ")) and codes.count(c) > 1}):
        yield Finding("error", "TR-069a6 3.7.1.5 (unverified)", "Inform/Event", f"{code} stands more than once.")


def _parameter_findings(values: tuple[m.ParameterValueStruct, ...], where: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for number, value in enumerate(values, 1):
        place = f"{where}/ParameterList/ParameterValueStruct[{number}]"
        if value.name in seen:
            yield Finding("error", "TR-069a6 A.3.2.1 (unverified)", place, f"{value.name} stands more than once.")
        seen.add(value.name)
        pattern = _LEXICAL.get(value.type)
        if pattern is None:
            continue
        if pattern.fullmatch(value.value) is None:
            yield Finding("error", "XML Schema 2", place, f"{_short(value.value)!r} is not of the type {value.type}.")
        elif value.type in _RANGE and not _RANGE[value.type][0] <= int(value.value[:40]) <= _RANGE[value.type][1]:
            yield Finding(
                "error", "XML Schema 2", place, f"{_short(value.value)} is outside the range of {value.type}."
            )


def _fault_findings(fault: m.FaultMessage) -> Iterator[Finding]:
    code = fault.fault_code
    if not (8000 <= code <= 8899 or 9000 <= code <= 9899):
        yield Finding("error", _XSD_QUIRKS, "Fault/FaultCode", f"{code} is outside 8000 to 8899 and 9000 to 9899.")
    if fault.set_parameter_values_faults and code != FaultCode.INVALID_ARGUMENTS:
        text = f"Parameter faults stand beside {code}; they belong to 9003."
        yield Finding("error", "TR-069a6 A.5 (unverified)", "Fault/SetParameterValuesFault", text)
    known = FaultCode._value2member_map_.get(code)
    if known is not None and FaultCode(code).side != fault.side:
        text = f"The faultcode is {fault.side}; {code} goes with {FaultCode(code).side} (unverified)."
        yield Finding("note", "TR-069a6 A.5 (unverified)", "Fault/faultcode", text)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "…"


# --- lines --------------------------------------------------------------------------------------------------------------------


def _envelope_lines(envelope: Envelope, reveal: bool) -> Iterator[Line]:
    if envelope.hold_requests:
        yield Line(0, "HoldRequests", "true", "header")
    if envelope.session_timeout is not None:
        yield Line(0, "SessionTimeout", f"{envelope.session_timeout} s", "header")
    if envelope.supported_cwmp_versions:
        yield Line(0, "SupportedCWMPVersions", ", ".join(envelope.supported_cwmp_versions), "header")
    if envelope.use_cwmp_version is not None:
        yield Line(0, "UseCWMPVersion", envelope.use_cwmp_version, "header")
    message = envelope.body
    if isinstance(message, m.FaultMessage):
        yield Line(0, "FaultCode", str(message.fault_code), message.side)
        yield Line(0, "FaultString", message.fault_string)
        for part in message.set_parameter_values_faults:
            yield Line(0, part.parameter_name, f"{part.fault_code} {part.fault_string}".rstrip())
    elif isinstance(message, m.VendorMessage):
        yield Line(0, message.method, message.xml, message.namespace)
    elif message is not None:
        yield from _struct_lines(message, FIELDS[type(message)], 0, reveal)


def _struct_lines(value: Any, fields: tuple[Field, ...], depth: int, reveal: bool) -> Iterator[Line]:
    for field in fields:
        content = getattr(value, field.attribute)
        kind = field.kind
        if isinstance(kind, Array | Repeated):
            yield Line(depth, field.element, "", _counted(len(content)))
            for item in content:
                yield from _item_lines(item, depth + 1, reveal)
        elif isinstance(kind, Nested):
            yield Line(depth, field.element)
            yield from _struct_lines(content, STRUCTS[kind.part], depth + 1, reveal)
        else:
            yield Line(depth, field.element, _shown(field.element, content, kind, reveal))


def _item_lines(item: Any, depth: int, reveal: bool) -> Iterator[Line]:
    if isinstance(item, str):
        yield Line(depth, item)
    elif isinstance(item, m.ParameterValueStruct):
        value = MASK if item.value and not reveal and _SECRET.search(item.name) else item.value
        yield Line(depth, item.name, value, item.type)
    elif isinstance(item, m.ParameterInfoStruct):
        yield Line(depth, item.name, "", "writable" if item.writable else "read-only")
    elif isinstance(item, m.EventStruct):
        yield Line(depth, item.event_code, item.command_key)
    elif isinstance(item, m.ParameterAttributeStruct):
        yield Line(depth, item.name, f"notification {item.notification}", ", ".join(item.access_list))
    else:
        yield Line(depth, type(item).__name__)
        yield from _struct_lines(item, STRUCTS[type(item)], depth + 1, reveal)


def _shown(element: str, content: Any, kind: Text | Number | Time | Any, reveal: bool) -> str:
    if content is None:
        return ""
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(kind, Text) and content and not reveal and _SECRET.search(element):
        return MASK
    return str(content)


def _counted(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
