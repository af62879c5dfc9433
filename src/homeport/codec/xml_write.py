"""Messages to bytes: one canonical form, written by joining text.

Prefixes are SOAP-ENV, SOAP-ENC, cwmp, xsd and xsi, always: two C clients look for them literally. No prolog unless asked for: two C
clients drop a message that has one. Counts in arrayType are exact. Characters outside US-ASCII become character references, as TR-069a6
3.4.1 wants. What XML 1.0 cannot carry is refused before it is sent.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.fields import Array, Field, Flag, Kind, Nested, Number, Repeated, Text, Time
from homeport.codec.rpc_table import FIELDS
from homeport.codec.struct_table import STRUCTS
from homeport.errors import LocalProtocolError
from homeport.terms import ValueType


class WireStyle(Struct, frozen=True):
    """How a device wants its messages written.

    prolog: begin with an XML declaration. pretty: one element per line. ascii: characters outside US-ASCII as references, else as UTF-8.
    """

    prolog: bool = False
    pretty: bool = False
    ascii: bool = True


DEFAULT_STYLE: Final = WireStyle()

Writer = Callable[[str, Any], str]
"""Gives the text of one element: (element name, value) -> XML."""

_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_SPECIAL: Final = re.compile("[&<>\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")
_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c not in b"&<>") + b"\t\n"
_URN: Final = re.compile(r"""[^\s"<>&]{1,200}""")
_TYPES: Final = {str(t): f"xsd:{t}" for t in ValueType} | {"base64": "xsd:base64Binary", "": "xsd:string"}
_BETWEEN: Final = {name: f'</Name><Value xsi:type="{written}">' for name, written in _TYPES.items()}
"""What stands between the name and the value of a parameter of this type."""

_FEW: Final = 16
_LISTS_REMEMBERED: Final = 64
_LONGEST_REMEMBERED: Final = 256
"""Names in a list; with names of 256 characters, all lists together take 5 MB."""


def escape(text: str) -> str:
    """Text as element content; a carriage return survives only as a reference.

    Raises LocalProtocolError for characters that XML 1.0 cannot carry. All text of a message goes through here or `_parameter_rows`.
    """
    if _SPECIAL.search(text) is None:
        return text
    bad = _FORBIDDEN.search(text)
    if bad is not None:
        raise LocalProtocolError(
            f"The character U+{ord(bad.group()):04X} cannot be sent in XML 1.0; it is in {text[:80]!r}."
        )
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def write_message(message: m.Message) -> str:
    """The element of a request, response, fault or vendor's message for the Body. Raises LocalProtocolError."""
    writer = _MESSAGE_WRITERS.get(type(message))
    if writer is not None:
        return writer(f"cwmp:{message.element}", message)
    if isinstance(message, m.FaultMessage):
        return _write_fault(message)
    raise LocalProtocolError(f"{type(message).__name__} is not a message that can be sent.")


def finish(text: str, style: WireStyle, *, ascii: bool = True) -> bytes:
    """The envelope's text as bytes. ascii: False where names of elements may lie outside US-ASCII, which cannot be references."""
    if style.pretty:
        text = _indented(text)
    if style.prolog:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'
    if style.ascii and ascii and not text.isascii():
        return text.encode("ascii", "xmlcharrefreplace")
    return text.encode("utf-8")


def checked_urn(urn: str) -> str:
    """A namespace that can stand in an attribute. Raises LocalProtocolError."""
    if _URN.fullmatch(urn) is None:
        raise LocalProtocolError(
            f"{urn!r} cannot be a namespace; use urn:dslforum-org:cwmp-1-0 to 1-2 or the peer's own."
        )
    return urn


# --- plain kinds --------------------------------------------------------------------------------------------------------------


def _write_text(element: str, value: str) -> str:
    return f"<{element}>{escape(value)}</{element}>"


def _write_flag(element: str, value: bool) -> str:
    return f"<{element}>{'1' if value else '0'}</{element}>"


def _number_writer(kind: Number) -> Writer:
    low, high, allowed = kind.low, kind.high, frozenset(kind.allowed)

    def write(element: str, value: int) -> str:
        if not low <= value <= high or (allowed and value not in allowed):
            wanted = ", ".join(map(str, kind.allowed)) or f"{low} to {high}"
            raise LocalProtocolError(f"{element} is {value}; it must be {wanted}.")
        return f"<{element}>{int(value)}</{element}>"

    return write


def _limited_text_writer(kind: Text) -> Writer:
    limit = kind.limit
    assert limit is not None

    def write(element: str, value: str) -> str:
        if len(value) > limit:
            raise LocalProtocolError(f"{element} has {len(value)} characters; at most {limit} may be sent.")
        return f"<{element}>{escape(value)}</{element}>"

    return write


# --- structs and lists --------------------------------------------------------------------------------------------------------


def _struct_writer(fields: tuple[Field, ...], attributes: str = "") -> Writer:
    plan = [(f.element, f.attribute, _writer(f.kind), f.optional) for f in fields]

    def write(element: str, value: Any) -> str:
        parts = []
        for name, attribute, writer, optional in plan:
            content = getattr(value, attribute)
            if optional and (content is None or content == ""):
                continue
            parts.append(writer(name, content))
        return f"<{element}{attributes}>{''.join(parts)}</{element}>"

    return write


def _text_rows(kind: Text, entry: str) -> Callable[[Sequence[str]], str]:
    item, limit, between = _writer(kind), kind.limit, f"</{entry}><{entry}>"

    def rows(values: Sequence[str]) -> str:
        # Names hardly ever need escaping: one look at all of them instead of one at each.
        if not values or not _is_plain("".join(values)) or (limit is not None and len(max(values, key=len)) > limit):
            return "".join([item(entry, value) for value in values])
        return f"<{entry}>{between.join(values)}</{entry}>"

    if limit is None or not kind.path:
        return rows
    remembered = lru_cache(maxsize=_LISTS_REMEMBERED)(rows)

    def remembering(values: Sequence[str]) -> str:
        # Many devices are asked for the same names.
        return remembered(values) if type(values) is tuple and len(values) <= _LONGEST_REMEMBERED else rows(values)

    return remembering


def _array_writer(kind: Array) -> Writer:
    low, high, entry, array_type = kind.low, kind.high, kind.entry, kind.array_type
    rows: Callable[[Sequence[Any]], str]
    if kind.item is m.ParameterValueStruct:
        rows = _parameter_rows
    elif kind.item is m.ParameterInfoStruct:
        rows = _info_rows
    elif isinstance(kind.item, Text):
        rows = _text_rows(kind.item, entry)
    else:
        item = _PART_WRITERS[kind.item]

        def rows(values: Sequence[Any]) -> str:
            return "".join([item(entry, value) for value in values])

    def write(element: str, values: Sequence[Any]) -> str:
        count = len(values)
        if count < low or (high is not None and count > high):
            wanted = f"at least {low}" if high is None else f"{low} to {high}"
            raise LocalProtocolError(f"{element} has {count} entries; it must have {wanted}.")
        return f'<{element} SOAP-ENC:arrayType="{array_type}[{count}]">{rows(values)}</{element}>'

    return write


def _parameter_rows(values: Sequence[m.ParameterValueStruct]) -> str:
    """5,000 entries in one pass: texts are escaped only where a mark shows that one needs it."""
    between = _BETWEEN
    try:
        if len(values) < _FEW:
            if _is_plain("".join([f"{v.name}{v.value}" for v in values])):
                return "".join(
                    [
                        f"<ParameterValueStruct><Name>{v.name}{between[v.type]}{v.value}</Value></ParameterValueStruct>"
                        for v in values
                    ]
                )
        else:
            names, texts = [v.name for v in values], [v.value for v in values]
            if _is_plain("".join(names)) and _is_plain("".join(texts)):
                parts = ["</Value></ParameterValueStruct><ParameterValueStruct><Name>"] * (4 * len(values) + 1)
                parts[0], parts[-1] = "<ParameterValueStruct><Name>", "</Value></ParameterValueStruct>"
                parts[1::4], parts[2::4], parts[3::4] = names, [between[v.type] for v in values], texts
                return "".join(parts)
        return "".join(
            [
                f"<ParameterValueStruct><Name>{escape(v.name)}{between[v.type]}{escape(v.value)}</Value></ParameterValueStruct>"
                for v in values
            ]
        )
    except KeyError as error:
        raise LocalProtocolError(f"{error} is not a type of a parameter; one of {', '.join(ValueType)} is.") from None


def _info_rows(values: Sequence[m.ParameterInfoStruct]) -> str:
    flags = ("0</Writable></ParameterInfoStruct>", "1</Writable></ParameterInfoStruct>")
    if _is_plain("".join([v.name for v in values])):
        return "".join(
            [f"<ParameterInfoStruct><Name>{v.name}</Name><Writable>{flags[bool(v.writable)]}" for v in values]
        )
    return "".join(
        [f"<ParameterInfoStruct><Name>{escape(v.name)}</Name><Writable>{flags[bool(v.writable)]}" for v in values]
    )


def _is_plain(text: str) -> bool:
    """Whether nothing in texts that were joined must be escaped, and no character is one that XML forbids."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    if data.translate(None, _ORDINARY):
        return False
    return text.isascii() or ("\ufffe" not in text and "\uffff" not in text)


def _repeated_writer(kind: Repeated) -> Writer:
    writers = {
        part: _struct_writer(STRUCTS[part], f' xsi:type="cwmp:{name}"' if kind.typed else "")
        for name, part in kind.parts.items()
    }

    def write(element: str, values: Sequence[Any]) -> str:
        if not values:
            raise LocalProtocolError(f"{element} is empty; at least one is wanted.")
        parts = []
        for value in values:
            writer = writers.get(type(value))
            if writer is None:
                raise LocalProtocolError(
                    f"{element} holds a {type(value).__name__}; {', '.join(kind.parts)} are possible."
                )
            parts.append(writer(element, value))
        return "".join(parts)

    return write


# --- faults -------------------------------------------------------------------------------------------------------------------


def _write_fault(fault: m.FaultMessage) -> str:
    if fault.side not in ("Client", "Server"):
        raise LocalProtocolError(f"The side of a fault is Client or Server, not {fault.side!r}.")
    if not 8000 <= fault.fault_code <= 8899 and not 9000 <= fault.fault_code <= 9899:
        raise LocalProtocolError(f"{fault.fault_code} is not a fault code; 8000 to 8899 and 9000 to 9899 are.")
    parts = "".join(
        [
            _PART_WRITERS[m.SetParameterValuesFault]("SetParameterValuesFault", f)
            for f in fault.set_parameter_values_faults
        ]
    )
    text = _write_text("FaultString", fault.fault_string) if fault.fault_string else ""
    return (
        f"<SOAP-ENV:Fault><faultcode>SOAP-ENV:{fault.side}</faultcode><faultstring>CWMP fault</faultstring>"
        f"<detail><cwmp:Fault><FaultCode>{fault.fault_code}</FaultCode>{text}{parts}</cwmp:Fault></detail></SOAP-ENV:Fault>"
    )


# --- pretty -------------------------------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r"<[^>]+>[^<]*")


def _indented(text: str) -> str:
    """One element per line. Only white space between tags is added, so that no text changes."""
    lines: list[str] = []
    depth = 0
    open_with_text = False
    for token in _TOKEN.findall(text):
        tag_end = token.index(">") + 1
        closing = token[1] == "/"
        if closing:
            depth -= 1
        if closing and open_with_text:
            lines[-1] += token
        else:
            lines.append("  " * depth + token)
        open_with_text = not closing and token[tag_end - 2] != "/"
        if open_with_text:
            depth += 1
    return "\n".join(lines) + "\n"


# --- construction -------------------------------------------------------------------------------------------------------------


def _writer(kind: Kind) -> Writer:
    if isinstance(kind, Text):
        return _write_text if kind.limit is None else _limited_text_writer(kind)
    if isinstance(kind, Number):
        return _number_writer(kind)
    if isinstance(kind, Flag):
        return _write_flag
    if isinstance(kind, Time):
        return _write_text
    if isinstance(kind, Nested):
        return _PART_WRITERS[kind.part]
    if isinstance(kind, Array):
        return _array_writer(kind)
    return _repeated_writer(kind)


_PART_WRITERS: Final[dict[type[Struct], Writer]] = {}
for _part, _fields in STRUCTS.items():
    _PART_WRITERS[_part] = _struct_writer(_fields)

_MESSAGE_WRITERS: Final[dict[type[Struct], Writer]] = {cls: _struct_writer(fields) for cls, fields in FIELDS.items()}
