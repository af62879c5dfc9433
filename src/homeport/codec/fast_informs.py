"""An Inform in the plain form, read without a tree: what most devices send, and each of them first.

One expression knows the envelope and the Inform as the schema orders them, in any prefixes and layout; another the rows of its parameter
list. Three habits of whole families of devices are plain too, and named as ever: counts that lie, times without a zone, a type in the
namespace of 1999. Anything else (an element absent, more headers, attributes on the arguments, a comment) is left to the other ways,
which know all that is tolerated. This way never decides what they would decide otherwise:

- The tags that carry prefixes, attributes and namespaces either have just the few that everybody uses, or are put together without their
  texts and judged by the XML parser; what came out is kept, since devices of one make write alike.
- All other tags are literal, so that the body is well-formed if its texts are; these have no character that XML forbids, no stray mark
  and no reference but a legal one.
- A text that a reader would repair or refuse (blanks around a name, a number with a sign) is not plain.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.limits import CodecLimits
from homeport.codec.quirks import Quirk
from homeport.codec.reading import ARRAY_TYPE, BODY, ENVELOPE, HEADER, SOAP, SOAP_ENCODING, XSI, name_count, read_time
from homeport.codec.references import has_only_legal_references, resolved
from homeport.codec.xml_read import namespace, parse_tags
from homeport.terms import CwmpVersion, ValueType

MAX_LENGTH: Final = 32768
"""Characters; in a longer body the list is nearly all, and `fast_lists` reads that as fast."""

_HEAD: Final = 4096
"""Characters in which the Inform must begin."""

_NEAR: Final = 256
"""Characters behind the Body's tag in which the Inform's name must stand."""

_DEPTH: Final = 6
"""Levels of the plain form: Envelope, Body, Inform, ParameterList, ParameterValueStruct, Name."""

_HEADERS: Final = 3
_ATTRIBUTES_READ: Final = 32
"""Most attributes and declarations in a frame, below any sensible limit for one tag."""

_LONGEST_TAG: Final = 2048
_LONGEST_KIND: Final = 128
"""Characters of a tag's attributes: what is remembered of them must not grow with what a peer sends."""

_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c not in b"&]") + b"\t\n"
_BLANK: Final = r"[ \t\n]*+"
_S: Final = "[^<]*+"  # Text that stands between tags has no meaning.
_PREFIX: Final = r"([A-Za-z_][\w.-]*+)"
_TYPE: Final = r'(?: xsi:type="[\w.:-]*+")?+'  # gSOAP types everything; only a Value's type has a meaning.
_COUNTED: Final = r"([^<>&\[]*+\[)([0-9]++)(\][^<>&\[]*+)"


def _text(element: str) -> str:
    return rf"<{element}{_TYPE}(?:>([^<]*+)</{element}>|/>){_S}"


_NUMBER: Final = "(0|[1-9][0-9]{0,8})"
_START: Final = re.compile(
    rf'(?:<\?xml version="1\.0"(?: encoding="[Uu][Tt][Ff]-8")?(?: standalone="(?:yes|no)")? ?\?>{_BLANK})?'
    rf"<{_PREFIX}:Envelope([^<>&]*+)>{_S}"
    rf"(?:<\1:Header(?:/>|>{_S}(?:<{_PREFIX}:ID([^<>&/]*+)>([^<]*+)</\3:ID>{_S}"
    rf"(?:<\3:SessionTimeout([^<>&/]*+)>([0-9]{{1,9}})</\3:SessionTimeout>{_S})?"
    rf"(?:<\3:SupportedCWMPVersions([^<>&/]*+)>([0-9., ]*+)</\3:SupportedCWMPVersions>{_S})?)?</\1:Header>){_S})?"
    rf"<\1:Body>{_S}<{_PREFIX}:Inform([^<>&]*+)>{_S}"
    rf"<DeviceId{_TYPE}>{_S}{_text('Manufacturer')}{_text('OUI')}{_text('ProductClass')}{_text('SerialNumber')}</DeviceId>{_S}"
    rf"<Event{_COUNTED}>{_S}((?:<EventStruct{_TYPE}>{_S}<EventCode{_TYPE}>[^<]*+</EventCode>{_S}"
    rf"<CommandKey{_TYPE}(?:>[^<]*+</CommandKey>|/>){_S}</EventStruct>{_S})++)</Event>{_S}"
    rf"<MaxEnvelopes{_TYPE}>{_NUMBER}</MaxEnvelopes>{_S}"
    rf"<CurrentTime{_TYPE}>([^<]*+)</CurrentTime>{_S}"
    rf"<RetryCount{_TYPE}>{_NUMBER}</RetryCount>{_S}<ParameterList{_COUNTED}>",
    re.ASCII,
)
_EVENT: Final = re.compile(r"<EventCode[^<>]*+>([^<]*+)</EventCode>[^<]*+<CommandKey[^<>/]*+(?:>([^<]*+)|/>)")
_ROW: Final = re.compile(
    rf"<ParameterValueStruct{_TYPE}>{_S}<Name{_TYPE}>([!-;=-~][^<]*+(?<=[!-\-/-~]))</Name>{_S}"
    rf"<Value([^<>/]*+)(?:>([^<]*+)</Value>|/>){_S}</ParameterValueStruct>",
    re.ASCII,
)
_END: Final = re.compile(
    rf"</ParameterList>{_S}</([\w.-]+):Inform>{_S}</([\w.-]+):Body>{_S}</([\w.-]+):Envelope>{_BLANK}", re.ASCII
)
_NAMESPACE: Final = rf'[ \t\n]++xmlns:(?![Xx][Mm][Ll]){_PREFIX}="([^"<>&]*+)"'
_DECLARATION: Final = re.compile(_NAMESPACE, re.ASCII)
_DECLARATIONS: Final = re.compile(rf"(?:{_NAMESPACE})*+{_BLANK}", re.ASCII)
_ARRAY_TYPE: Final = re.compile(rf' {_PREFIX}:arrayType="[\w:.-]*+\[n\]"', re.ASCII)
_URIS: Final = frozenset(
    [SOAP, SOAP_ENCODING, XSI, XSI.replace("2001", "1999")]
    + ["http://www.w3.org/2001/XMLSchema", "http://www.w3.org/1999/XMLSchema"]
    + [f"urn:dslforum-org:cwmp-1-{minor}" for minor in range(5)]
)
"""Namespaces in nearly every Envelope."""

_KIND: Final = re.compile(rf'[ \t\n]+{_PREFIX}:type="(?:[\w.-]+:)?({"|".join(ValueType)})"', re.ASCII)


class PlainInform(Struct, frozen=True, gc=False):
    """What the envelope of a plain Inform says; the same as in `Envelope`. quirks: those of its texts, in order."""

    message: m.Inform
    id: str | None
    urn: str
    session_timeout: int | None = None
    supported_cwmp_versions: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()


def may_be_inform(text: str) -> bool:
    """Whether an Inform begins where it should: False for most other messages, which then need not be tried as one."""
    tag = text.find(":Body>", 0, _HEAD)
    tag = text.find(":Inform", tag, tag + _NEAR) if tag >= 0 else -1
    return tag >= 0 and text[tag + 7 : tag + 8] in (">", " ", "\t", "\n")


def read_plain_inform(text: str, body: bytes, limits: CodecLimits) -> PlainInform | None:
    """The Inform of a body in the plain form; None for all others.

    text, body: the same, with nothing before its first `<`.
    """
    if (
        len(text) > MAX_LENGTH
        or limits.max_depth < _DEPTH
        or limits.max_text < len(text)
        or limits.max_attributes < _ATTRIBUTES_READ
    ):
        return None
    start = _START.match(text)
    if start is None:
        return None
    (
        soap,
        envelope,
        id_prefix,
        id_attributes,
        cwmp_id,
        timeout_attributes,
        timeout,
        versions_attributes,
        versions,
        cwmp,
        inform,
        manufacturer,
        oui,
        product_class,
        serial_number,
        event_before,
        event_count,
        event_behind,
        events,
        max_envelopes,
        current_time,
        retry_count,
        list_before,
        list_count,
        list_behind,
    ) = start.groups()
    begin, end = start.end(), text.rfind("</ParameterList>")
    close = _END.fullmatch(text, end) if end >= begin else None
    if close is None or close.groups() != (cwmp, soap, soap) or "&" in current_time:
        return None
    marks = body.translate(None, _ORDINARY)  # The counts of the lists have two `]`.
    references = 0
    if marks != b"]]":
        references = marks.count(b"&")
        if references + marks.count(b"]") != len(marks) or "]]>" in text:
            return None
        if references and not has_only_legal_references(text, references):
            return None
    if not text.isascii() and ("\ufffe" in text or "\uffff" in text):
        return None
    if len(envelope) > _LONGEST_TAG or len(inform) > _LONGEST_TAG:
        return None
    frame = _frame(
        soap,
        envelope,
        id_prefix,
        id_attributes,
        cwmp,
        inform,
        f"{event_before}n{event_behind}",
        f"{list_before}n{list_behind}",
    )
    if timeout is not None or versions is not None:
        usual = _usual_attributes(soap)
        if not usual.issuperset([id_attributes or "", timeout_attributes or "", versions_attributes or ""]):
            return None
        if limits.max_header < _HEADERS or max(len(timeout or ""), len(versions or "")) > limits.max_header_text:
            return None
    if frame is None or ("xsi" not in frame[1] and "xsi:" in text):
        return None
    parts = _ROW.split(text[begin:end])
    names, kinds, values = parts[1::4], parts[2::4], parts[3::4]
    happened = _EVENT.findall(events)
    if (
        max(len(names), len(happened)) > limits.max_list
        or len(cwmp_id or "") > limits.max_header_text
        or "<" in "".join(parts[::4])
    ):
        return None
    quirks: dict[Quirk, None] = {}
    if event_count != str(len(happened)):
        name_count(event_count, len(happened), quirks)
    current_time = read_time(current_time, quirks)
    if list_count != str(len(names)):
        name_count(list_count, len(names), quirks)
    types = {}
    old = False
    for kind in set(kinds):
        prefix, types[kind] = _kind(kind) if len(kind) < _LONGEST_KIND else ("", "")
        uri = frame[1].get(prefix)
        if uri is None:
            return None
        old = old or uri != XSI
    if old:
        quirks[Quirk.OLD_SCHEMA_NAMESPACE] = None
    make_event = m.EventStruct
    if references:
        if "&" in "".join(names):
            return None
        values = [resolved(value) if value else "" for value in values]
        happened = [(resolved(code), resolved(key)) for code, key in happened]
        cwmp_id = resolved(cwmp_id) if cwmp_id else cwmp_id
        manufacturer, oui, product_class, serial_number = (
            resolved(text or "") for text in (manufacturer, oui, product_class, serial_number)
        )
    elif None in values:
        values = [value or "" for value in values]
    message = m.Inform(
        m.DeviceIdStruct(manufacturer or "", oui or "", product_class or "", serial_number or ""),
        tuple([make_event(code, key) for code, key in happened]),
        current_time,
        int(retry_count),
        tuple(map(m.ParameterValueStruct, names, values, map(types.__getitem__, kinds))),
        int(max_envelopes),
    )
    return PlainInform(
        message,
        cwmp_id,
        frame[0],
        int(timeout) if timeout is not None else None,
        tuple([v for v in (part.strip() for part in versions.split(",")) if v]) if versions else (),
        tuple(map(str, quirks)),
    )


def forget() -> None:
    """All that is remembered of tags."""
    _kind.cache_clear()
    _frame.cache_clear()


@lru_cache(maxsize=256)
def _kind(attributes: str) -> tuple[str, str]:
    """Prefix and type of a Value's attributes; ("", "") where they are not just a known type."""
    found = _KIND.fullmatch(attributes)
    return (found.group(1), found.group(2)) if found is not None else ("", "")


_Frame = tuple[str, Mapping[str | None, str]]
"""The CWMP namespace, and the prefixes that are known in the parameter list."""


@lru_cache(maxsize=256)
def _frame(
    soap: str,
    envelope: str,
    id_prefix: str | None,
    id_attributes: str | None,
    cwmp: str,
    inform: str,
    event: str,
    values: str,
) -> _Frame | None:
    """What all these tags say, if they are what they seem to be: the fields of `_Tags`, one by one, for the cache."""
    tags = _Tags(soap, envelope, id_prefix, id_attributes, cwmp, inform, event, values)
    return _known_frame(tags) or _parsed_frame(tags)


class _Tags(NamedTuple):
    """The tags around the lists of an Inform.

    soap, id_prefix, cwmp: prefixes; the others are attributes as they are written, counts as `[n]`. id_prefix: None without an ID.
    """

    soap: str
    envelope: str
    id_prefix: str | None
    id_attributes: str | None
    cwmp: str
    inform: str
    event: str
    values: str


def _usual_attributes(soap: str) -> frozenset[str]:
    """Those of a header element that need no look, where soap is the Envelope's prefix."""
    return frozenset(["", f' {soap}:mustUnderstand="1"', f' {soap}:mustUnderstand="0"'])


def _known_frame(tags: _Tags) -> _Frame | None:
    """The frame, where the Envelope declares well-known namespaces, each once, and no other tag has more than its one attribute."""
    soap, envelope, id_prefix, id_attributes, cwmp, inform, event, values = tags
    declared = _DECLARATION.findall(envelope)
    prefixes: dict[str | None, str] = dict(declared)
    urn = prefixes.get(cwmp, "")
    if (
        inform
        or len(prefixes) != len(declared)
        or prefixes.get(soap) != SOAP
        or (id_prefix is not None and id_prefix != cwmp)
        or not _URIS.issuperset(prefixes.values())
        or _DECLARATIONS.fullmatch(envelope) is None
        or CwmpVersion.from_urn(urn) is None
    ):
        return None
    if id_attributes and id_attributes not in _usual_attributes(soap):
        return None
    for attributes in (event, values):
        found = _ARRAY_TYPE.fullmatch(attributes)
        if found is None or prefixes.get(found.group(1)) != SOAP_ENCODING:
            return None
    return urn, prefixes


def _parsed_frame(tags: _Tags) -> _Frame | None:
    """The frame, as the XML parser sees it."""
    soap, envelope, id_prefix, id_attributes, cwmp, inform, event, values = tags
    header = f"<{soap}:Header><{id_prefix}:ID{id_attributes}/></{soap}:Header>" if id_prefix is not None else ""
    text = (
        f"<{soap}:Envelope{envelope}>{header}<{soap}:Body><{cwmp}:Inform{inform}><Event{event}/><ParameterList{values}/>"
        f"</{cwmp}:Inform></{soap}:Body></{soap}:Envelope>"
    )
    if text.count("=") > _ATTRIBUTES_READ:
        return None
    root = parse_tags(text.encode())
    if root is None or root.tag != ENVELOPE:
        return None
    body = root[-1]
    method = body[0]
    events, parameters = method
    urn = namespace(method.tag)
    if CwmpVersion.from_urn(urn) is None or [body.tag, events.tag, parameters.tag] != [BODY, "Event", "ParameterList"]:
        return None
    if header:
        first = root[0]
        if first.tag != HEADER or first[0].tag != f"{{{urn}}}ID":
            return None
    for container in (events, parameters):
        if not (container.get(ARRAY_TYPE) or "").endswith("[n]"):
            return None
    prefixes = method.nsmap
    return (urn, prefixes) if prefixes == parameters.nsmap else None
