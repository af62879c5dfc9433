"""One SOAP envelope: `decode` bytes to an `Envelope`, `encode` it back.

Pure: no clock, no role, no session. Who may send what, and when, is `homeport.session`'s business.
Source: SOAP 1.1; TR-069a6 3.4; cwmp-1-0.xsd to cwmp-1-4.xsd.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from lxml import etree
from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.fast_informs import MAX_LENGTH, may_be_inform, read_plain_inform
from homeport.codec.fast_lists import Rows, read_ahead
from homeport.codec.known_answers import ANSWERS, KnownAnswer
from homeport.codec.known_informs import INFORMS
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.plans import NotPlain, plan_of
from homeport.codec.quirks import Quirk
from homeport.codec.reading import (
    BODY,
    ENVELOPE,
    HEADER,
    SOAP,
    ArgumentProblem,
    Reading,
    read_fault_code,
    read_message,
    read_spv_fault,
)
from homeport.codec.refusals import InvalidMessage
from homeport.codec.rpc_table import CLASSES
from homeport.codec.skeletons import MAX_LENGTH as REMEMBERED_LENGTH
from homeport.codec.skeletons import MEMORY, Skeleton
from homeport.codec.xml_read import Element, local_name, namespace, parse, parse_strictly, prepare
from homeport.codec.xml_write import DEFAULT_STYLE, WireStyle, checked_urn, escape, finish, write_message
from homeport.errors import LocalProtocolError, MessageRefused, ProtocolError
from homeport.terms import CwmpVersion

DEFAULT_URN: Final = "urn:dslforum-org:cwmp-1-0"
_FAULT: Final = f"{{{SOAP}}}Fault"
_MUST_UNDERSTAND: Final = f"{{{SOAP}}}mustUnderstand"
_U32: Final = 2**32 - 1


class Envelope(Struct, frozen=True, gc=False):
    """One envelope and what its header says.

    body: None for a Body without an element. id: verbatim, None where there is none. urn: the peer's CWMP namespace as it spelled it.
    hold_requests: ACS to CPE. session_timeout: seconds, CPE to ACS in Inform. supported_cwmp_versions: CPE to ACS in Inform.
    use_cwmp_version: ACS to CPE in InformResponse. no_more_requests: of 2004; read, without effect, never written.
    quirks: names of `Quirk` in the order in which they were met; not written.
    """

    body: m.Message | None
    id: str | None = None
    urn: str = DEFAULT_URN
    hold_requests: bool = False
    session_timeout: int | None = None
    supported_cwmp_versions: tuple[str, ...] = ()
    use_cwmp_version: str | None = None
    no_more_requests: bool = False
    quirks: tuple[str, ...] = ()


class _Header:
    """What the header said, while it is read."""

    __slots__ = ("hold", "id", "misunderstood", "no_more", "supported", "timeout", "urn", "use")

    def __init__(self) -> None:
        self.id: str | None = None
        self.urn = ""
        self.hold = False
        self.timeout: int | None = None
        self.supported: tuple[str, ...] = ()
        self.use: str | None = None
        self.no_more = False
        self.misunderstood = ""


def decode(
    body: bytes,
    *,
    content_type: str = "",
    limits: CodecLimits = DEFAULT_LIMITS,
    expect: type[m.Message] | None = None,
) -> Envelope:
    """The envelope that one HTTP body holds.

    body: one SOAP envelope, decompressed, at most `limits.max_body` bytes. An empty body is not an envelope: the session looks first.
    content_type: the HTTP header, for its charset only. expect: the message that should come; its name is then matched in any case.
    Raises MessageRefused for what is not a message, InvalidMessage (a RemoteProtocolError with id and urn) for a legible one whose
    content breaks the protocol.
    Source: SOAP 1.1; TR-069a6 3.4.
    """
    quirks: dict[Quirk, None] = {}
    text = prepare(body, limits=limits, quirks=quirks, content_type=content_type)
    small = _small(text)
    plain = None
    if small and may_be_inform(small):
        plain = INFORMS.recall(small, limits)
        if plain is None:
            plain = read_plain_inform(small, text, limits)
            if plain is not None:
                INFORMS.learn(small, plain, limits)
    elif len(small) > REMEMBERED_LENGTH:  # A shorter one is remembered whole.
        answer = ANSWERS.recall(small, limits)
        if answer is not None:
            return Envelope(answer.message, answer.id, answer.urn, quirks=tuple(map(str, quirks)) if quirks else ())
    if plain is not None:
        names = (*map(str, quirks), *plain.quirks)
        timeout, versions = plain.session_timeout, plain.supported_cwmp_versions
        return Envelope(plain.message, plain.id, plain.urn, False, timeout, versions, None, False, names)
    whole = MEMORY.split(small) if small else None
    rows = None
    if whole is not None:
        known = _recalled(whole, None, quirks, limits, expect)
        if known is not None:
            return known
    split = whole
    if whole is None or not MEMORY.is_second(whole[0]):
        rows = read_ahead(text, max_text=limits.max_text, decoded=small)
        if rows is not None:
            split = MEMORY.split(rows.rest)
            known = _recalled(split, rows, quirks, limits, expect) if split is not None else None
            if known is not None:
                if rows.types is not None and len(small) > REMEMBERED_LENGTH:
                    _learn_answer(small, known, rows, limits)
                return known
        if split is not None and (rows is None or not MEMORY.is_second(split[0])):
            split = None
    try:
        root = parse_strictly(text if rows is None else rows.rest.encode(), limits=limits)
        if root is not None:
            reading = Reading(limits, quirks.copy(), rows)
            envelope = _read_envelope(root, reading, expect)
            if rows is None or reading.used:
                if split is not None and _is_known(envelope):
                    learnt = MEMORY.learn(*split, root, limits)
                    if learnt is not None and len(envelope.quirks) == len(quirks):
                        learnt.plan = _envelope_plan(learnt, envelope, limits)
                return envelope
    except ProtocolError:
        if rows is None:
            raise
        # What the rest lacks, or holds besides, may be what is wrong with it: the whole body says.
    return _read_envelope(parse(text, limits=limits, quirks=quirks), Reading(limits, quirks), expect)


def decode_part(
    text: bytes,
    *,
    limits: CodecLimits,
    quirks: dict[Quirk, None],
    expect: type[m.Message] | None,
    elsewhere: int | None,
) -> Envelope:
    """The envelope with a part of its list. Nothing of it is remembered, because such parts never come again.

    text: as `prepare` gives it. quirks: those that are known of the whole. elsewhere: how many entries of the list are in other parts;
    None where that does not count. Raises as `decode` does.
    """
    rows = read_ahead(text, max_text=limits.max_text, remember=False)
    try:
        root = parse_strictly(text if rows is None else rows.rest.encode(), limits=limits)
        if root is not None:
            reading = Reading(limits, quirks.copy(), rows, elsewhere)
            envelope = _read_envelope(root, reading, expect)
            if rows is None or reading.used:
                return envelope
    except ProtocolError:
        if rows is None:
            raise
    quirks = quirks.copy()
    return _read_envelope(parse(text, limits=limits, quirks=quirks), Reading(limits, quirks, None, elsewhere), expect)


def _learn_answer(text: str, envelope: Envelope, rows: Rows, limits: CodecLimits) -> None:
    """Remembers an answer that is a known list in an envelope that says nothing but an ID."""
    body, cwmp_id, urn = envelope.body, envelope.id, envelope.urn
    if (
        isinstance(body, m.GetParameterValuesResponse)
        and cwmp_id is not None
        and rows.types is not None
        and envelope == Envelope(body, cwmp_id, urn)
    ):
        ANSWERS.learn(text, KnownAnswer(body, cwmp_id, urn), tuple(rows.names), tuple(rows.types), limits)


def _recalled(
    split: tuple[str, list[str]],
    rows: Rows | None,
    quirks: dict[Quirk, None],
    limits: CodecLimits,
    expect: type[m.Message] | None,
) -> Envelope | None:
    """The envelope of these texts, where their markup is remembered."""
    markup, texts = split
    skeleton = MEMORY.recall(markup, limits)
    if skeleton is None:
        return None
    try:
        if skeleton.plan is not None:
            planned = skeleton.plan(texts, rows, quirks)
            if planned is not None:
                return planned  # type: ignore[no-any-return]
        reading = Reading(limits, quirks.copy(), rows)
        envelope = _read_envelope(skeleton.fill(texts), reading, expect)
    finally:
        MEMORY.keep(markup, skeleton)
    return envelope if rows is None or reading.used else None


def encode(envelope: Envelope, *, style: WireStyle = DEFAULT_STYLE) -> bytes:
    """The bytes of one envelope in the canonical form.

    Written in the namespace `envelope.urn`. Raises LocalProtocolError for what must not be sent: characters that XML cannot carry,
    numbers and lengths outside the schema's.
    """
    opening = _opening(envelope.urn)
    parts = []
    if envelope.id is not None:
        parts.append(f'<cwmp:ID SOAP-ENV:mustUnderstand="1">{escape(envelope.id)}</cwmp:ID>')
    if envelope.hold_requests:
        parts.append('<cwmp:HoldRequests SOAP-ENV:mustUnderstand="1">1</cwmp:HoldRequests>')
    if envelope.session_timeout is not None:
        if not 0 <= envelope.session_timeout <= _U32:
            raise LocalProtocolError(f"SessionTimeout is {envelope.session_timeout}; it must be 0 to {_U32} seconds.")
        parts.append(
            f'<cwmp:SessionTimeout SOAP-ENV:mustUnderstand="0">{envelope.session_timeout}</cwmp:SessionTimeout>'
        )
    if envelope.supported_cwmp_versions:
        listed = escape(",".join(envelope.supported_cwmp_versions))
        parts.append(f'<cwmp:SupportedCWMPVersions SOAP-ENV:mustUnderstand="0">{listed}</cwmp:SupportedCWMPVersions>')
    if envelope.use_cwmp_version is not None:
        used = escape(envelope.use_cwmp_version)
        parts.append(f'<cwmp:UseCWMPVersion SOAP-ENV:mustUnderstand="1">{used}</cwmp:UseCWMPVersion>')
    header = f"<SOAP-ENV:Header>{''.join(parts)}</SOAP-ENV:Header>" if parts else ""
    body = envelope.body
    if body is None:
        content = ""
    elif isinstance(body, m.VendorMessage):
        content = _checked_vendor_xml(body)
    else:
        content = write_message(body)
    return finish(
        f"{opening}{header}<SOAP-ENV:Body>{content}</SOAP-ENV:Body></SOAP-ENV:Envelope>",
        style,
        ascii=not isinstance(body, m.VendorMessage),
    )


@lru_cache(maxsize=64)
def _opening(urn: str) -> str:
    """The Envelope's tag for this namespace. Raises LocalProtocolError."""
    return (
        f'<SOAP-ENV:Envelope xmlns:SOAP-ENV="{SOAP}" xmlns:SOAP-ENC="http://schemas.xmlsoap.org/soap/encoding/"'
        f' xmlns:cwmp="{checked_urn(urn)}" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    )


def _read_envelope(root: Element, reading: Reading, expect: type[m.Message] | None) -> Envelope:
    quirks = reading.quirks
    header_element, element = _open(root, reading)
    header = _read_header(header_element, reading) if header_element is not None else _Header()
    if element is None:
        return _envelope(None, header, header.urn or DEFAULT_URN, quirks)
    tag = element.tag
    name = local_name(tag)
    if name == "Fault" and (tag == _FAULT or namespace(tag) in ("", namespace(root.tag))):
        message, urn = _read_fault(element, header, reading)
        return _envelope(message, header, urn, quirks)
    urn = _cwmp_urn(namespace(tag), header.urn, name, quirks)
    cls = CLASSES.get(name)
    if cls is None and expect is not None and name.lower() == expect.element.lower():
        cls = CLASSES.get(expect.element)
        quirks[Quirk.METHOD_NAME_CASE] = None
    if header.misunderstood:
        raise InvalidMessage(
            f"The header {header.misunderstood} must be understood and is not known.",
            fault_code=None,
            id=header.id,
            urn=urn,
            method=name,
        )
    if cls is None:
        return _envelope(_vendor_message(element, name), header, urn, quirks)
    try:
        message = read_message(cls, element, reading)
    except ArgumentProblem as problem:
        raise InvalidMessage(
            f"{problem} (in {name}).", fault_code=problem.code, id=header.id, urn=urn, method=name
        ) from None
    if cls is m.Inform and not message.event:
        quirks[Quirk.NO_EVENT] = None
    return _envelope(message, header, urn, quirks)


def _small(text: bytes) -> str:
    """A body that may be remembered or plain, as text; "" for one that is large or not UTF-8."""
    if len(text) > MAX_LENGTH:
        return ""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _is_known(envelope: Envelope) -> bool:
    """Whether the markup alone says which message this is, so that it may be remembered."""
    return not isinstance(envelope.body, m.VendorMessage) and Quirk.METHOD_NAME_CASE not in envelope.quirks


def _envelope_plan(
    skeleton: Skeleton, example: Envelope, limits: CodecLimits
) -> Callable[[list[str], Rows | None, dict[Quirk, None]], Envelope | None] | None:
    """How to make the envelope of this markup from its texts, where no reader found anything odd in the first one."""
    header = body = None
    for child in skeleton.root:
        if child.tag == HEADER:
            header = child
        elif child.tag == BODY:
            body = child
    if (
        body is None
        or len(body) != 1
        or not isinstance(example.body, m.Request | m.Response)
        or not example.body.__struct_fields__
    ):
        return None
    places = {id(element): place for element, place in skeleton.elements}
    message_plan = plan_of(type(example.body), body[0], places, limits)
    if message_plan is None:
        return None
    named = [(child, places[id(child)]) for child in header or () if id(child) in places]
    urn = example.urn
    # Most headers are an ID and nothing else.
    only_id = header is not None and len(header) == len(named) == 1 and local_name(header[0].tag) == "ID"
    id_place, longest_id = (named[0][1], limits.max_header_text) if only_id else (-1, 0)

    def plan(texts: list[str], rows: Rows | None, quirks: dict[Quirk, None]) -> Envelope | None:
        texts.append("")  # The text of elements that cannot have one: place -1.
        try:
            message = message_plan(texts, rows)
        except NotPlain:
            return None
        if only_id and len(texts[id_place]) <= longest_id:
            return Envelope(message, texts[id_place], urn, quirks=tuple(map(str, quirks)) if quirks else ())
        for element, place in named:
            element.text = texts[place]
        reading = Reading(limits, quirks.copy())
        facts = _read_header(header, reading) if header is not None else _Header()
        return _envelope(message, facts, urn, reading.quirks)

    return plan


# --- the frame ----------------------------------------------------------------------------------------------------------------


def _open(root: Element, reading: Reading) -> tuple[Element | None, Element | None]:
    """Header and the Body's one element."""
    if root.tag != ENVELOPE:
        if local_name(root.tag) != "Envelope":
            raise MessageRefused(f"The root element is {local_name(root.tag)[:60]}, not a SOAP Envelope.")
        reading.quirks[Quirk.ENVELOPE_NAMESPACE] = None
    header = body = None
    for child in root:
        tag = child.tag
        name = tag if tag in (HEADER, BODY) else local_name(tag)
        if name in (HEADER, "Header"):
            if header is not None:
                raise MessageRefused("The envelope has two Headers.")
            header = child
        elif name in (BODY, "Body"):
            if body is not None:
                raise MessageRefused("The envelope has two Bodies.")
            body = child
        else:
            reading.quirks[Quirk.UNKNOWN_ELEMENT] = None
    if body is None:
        raise MessageRefused("The envelope has no Body.")
    if len(body) > 1:
        raise MessageRefused(f"The Body has {len(body)} elements; CWMP sends one message per envelope.")
    if not len(body):
        return header, None
    return header, body[0]


def _read_header(element: Element, reading: Reading) -> _Header:
    limits, quirks = reading.limits, reading.quirks
    header = _Header()
    if len(element) > limits.max_header:
        raise MessageRefused(
            f"The header has {len(element)} elements; at most {limits.max_header} are read (setting max_header)."
        )
    for child in element:
        tag = child.tag
        name = local_name(tag)
        text: str = child.text or ""
        if len(text) > limits.max_header_text:
            raise MessageRefused(
                f"The header {name[:60]} has {len(text)} characters; at most {limits.max_header_text} are read"
                " (setting max_header_text)."
            )
        if name == "ID":
            header.id = text
            header.urn = namespace(tag)
        elif name == "HoldRequests":
            header.hold = _advice_flag(text, quirks)
            header.urn = namespace(tag)
        elif name == "NoMoreRequests":
            quirks[Quirk.NO_MORE_REQUESTS] = None
            header.no_more = _advice_flag(text, quirks)
        elif name == "SessionTimeout":
            seconds = text.strip()
            if seconds.isascii() and seconds.isdigit() and len(seconds) <= 10 and int(seconds) <= _U32:
                header.timeout = int(seconds)
            else:
                quirks[Quirk.BAD_HEADER_VALUE] = None
        elif name == "SupportedCWMPVersions":
            header.supported = tuple(v for v in (part.strip() for part in text.split(",")) if v)
        elif name == "UseCWMPVersion":
            header.use = text.strip()
        else:
            quirks[Quirk.UNKNOWN_HEADER] = None
            if _must_understand(child):
                header.misunderstood = name[:60]
    return header


def _advice_flag(text: str, quirks: dict[Quirk, None]) -> bool:
    word = text.strip().lower()
    if word not in ("0", "1", "true", "false"):
        quirks[Quirk.BAD_HEADER_VALUE] = None
    return word in ("1", "true")


def _must_understand(element: Element) -> bool:
    value = element.get(_MUST_UNDERSTAND)
    return value is not None and value.strip() in ("1", "true")


def _cwmp_urn(uri: str, header_uri: str, name: str, quirks: dict[Quirk, None]) -> str:
    """The namespace to answer in: the body's as it is spelled, cwmp-1-0 where it has none."""
    if not uri:
        if name in CLASSES:
            quirks[Quirk.BODY_MISSING_NAMESPACE] = None
        return header_uri or DEFAULT_URN
    if CwmpVersion.from_urn(uri) is None:
        quirks[Quirk.UNKNOWN_CWMP_NAMESPACE] = None
        if name not in CLASSES and header_uri:
            return (
                header_uri  # A vendor's method in the vendor's namespace: the header still says which CWMP is spoken.
            )
    elif header_uri and header_uri != uri:
        quirks[Quirk.MIXED_CWMP_NAMESPACES] = None
    return uri


def _envelope(message: m.Message | None, header: _Header, urn: str, quirks: dict[Quirk, None]) -> Envelope:
    return Envelope(
        message,
        header.id,
        urn,
        header.hold,
        header.timeout,
        header.supported,
        header.use,
        header.no_more,
        tuple(str(quirk) for quirk in quirks),
    )


# --- faults -------------------------------------------------------------------------------------------------------------------

_SIDE: Final = re.compile(r"(?:.*:)?(client|server)(?:\..*)?", re.IGNORECASE | re.DOTALL)


def _read_fault(element: Element, header: _Header, reading: Reading) -> tuple[m.FaultMessage, str]:
    """A SOAP fault with CWMP's detail. One without it is no CWMP message (TR-069a6 3.5) and is refused with its own words."""
    quirks = reading.quirks
    faultcode = faultstring = ""
    detail = None
    for child in element:
        name = local_name(child.tag)
        if name in ("faultcode", "Code"):
            faultcode = (child.text or "").strip()
        elif name in ("faultstring", "Reason"):
            faultstring = child.text or ""
        elif name in ("detail", "Detail"):
            detail = child
    fault = None
    bare = False
    if detail is not None:
        for child in detail:
            if local_name(child.tag) == "Fault":
                fault = child
                break
        else:
            fault, bare = detail, True
    children: dict[str, Element] = {}
    parts = []
    for child in () if fault is None else fault:
        name = local_name(child.tag)
        if name == "SetParameterValuesFault":
            parts.append(child)
        else:
            children.setdefault(name, child)
    code = children.get("FaultCode")
    if fault is None or code is None:
        raise InvalidMessage(
            f"A SOAP fault without CWMP's detail: {faultcode[:40] or 'no faultcode'}, {faultstring[:200] or 'no faultstring'}.",
            fault_code=None,
            id=header.id,
            urn=header.urn,
            method="Fault",
        )
    uri = "" if bare else namespace(fault.tag)
    if bare or not uri:
        quirks[Quirk.BARE_FAULT_DETAIL] = None
    elif CwmpVersion.from_urn(uri) is None:
        quirks[Quirk.UNKNOWN_CWMP_NAMESPACE] = None
    urn = uri or header.urn or DEFAULT_URN
    try:
        number = read_fault_code(code, reading)
        spv = tuple(read_spv_fault(part, reading) for part in parts)
    except ArgumentProblem as problem:
        raise InvalidMessage(f"{problem} (in Fault).", fault_code=None, id=header.id, urn=urn, method="Fault") from None
    text = children.get("FaultString")
    return m.FaultMessage(number, (text.text or "") if text is not None else "", spv, _side(faultcode, quirks)), urn


def _side(faultcode: str, quirks: dict[Quirk, None]) -> str:
    match = _SIDE.fullmatch(faultcode)
    if match is None:
        quirks[Quirk.FAULT_CODE_SIDE] = None
        return "Server"
    side = match.group(1).capitalize()
    if faultcode.rpartition(":")[2] != side:
        quirks[Quirk.FAULT_CODE_FORM] = None
    return side


# --- vendor methods -----------------------------------------------------------------------------------------------------------


def _vendor_message(element: Element, name: str) -> m.VendorMessage:
    """The element as canonical text, with the prefixes that its attribute values and texts may refer to."""
    try:
        text = etree.tostring(element, method="c14n", exclusive=True, with_tail=False).decode("utf-8")
        used = [p for p in element.nsmap if p and re.search(rf"(?<![\w.-]){re.escape(p)}:", text)]
        if used:
            text = etree.tostring(
                element, method="c14n", exclusive=True, with_tail=False, inclusive_ns_prefixes=used
            ).decode("utf-8")
    except etree.C14NError:  # A namespace that is no URI; the element is then taken as it is.
        text = etree.tostring(element, encoding="unicode", with_tail=False)
    return m.VendorMessage(name, namespace(element.tag), text)


def _checked_vendor_xml(message: m.VendorMessage) -> str:
    """A vendor's element for the Body. Raises LocalProtocolError unless it is one well-formed element."""
    if not message.xml:
        if not re.fullmatch(r"[A-Za-z_][\w.-]*", message.method):
            raise LocalProtocolError(f"{message.method!r} cannot be the name of a method.")
        return f"<cwmp:{message.method}/>"
    try:
        quirks: dict[Quirk, None] = {}
        text = prepare(message.xml.encode("utf-8"), limits=DEFAULT_LIMITS, quirks=quirks)
        root = parse(text, limits=DEFAULT_LIMITS, quirks=quirks)
    except (ProtocolError, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"The element of {message.method} cannot be sent: {error}") from None
    if local_name(root.tag) != message.method or quirks:
        raise LocalProtocolError(f"The element of {message.method} is {local_name(root.tag)}, or is not plain XML.")
    return message.xml
