"""Bytes to an element tree, hardened: body cap first, no DTD, no entities, no network, bounded depth, attributes, elements and text.

What the field sends is repaired here where it can be without guessing at meaning: other encodings, bytes that are not what they claim,
characters that XML forbids, prefixes nobody declared. What an element means is not known here.
"""

import codecs
import io
import re
from collections.abc import Generator, Iterator
from functools import lru_cache
from typing import Any, Final

from lxml import etree

from homeport.codec.limits import CodecLimits
from homeport.codec.quirks import Quirk
from homeport.errors import MessageRefused
from homeport.terms import FaultCode

Element = Any
"""An lxml element; lxml publishes no types."""

_OPTIONS: Final = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "dtd_validation": False,
    "attribute_defaults": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
    "strip_cdata": True,
    "collect_ids": False,
}

# Only codecs that turn bytes into text one to one; Python's registry also has compressors and escapes.
_ENCODINGS: Final = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "iso-8859-1": "iso-8859-1",
    "iso8859-1": "iso-8859-1",
    "iso_8859-1": "iso-8859-1",
    "latin1": "iso-8859-1",
    "latin-1": "iso-8859-1",
    **{f"iso-8859-{n}": f"iso-8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)},
    **{f"windows-{n}": f"cp{n}" for n in range(1250, 1259)},
    **{f"cp{n}": f"cp{n}" for n in range(1250, 1259)},
    "koi8-r": "koi8-r",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5",
    "shift_jis": "shift_jis",
    "euc-jp": "euc-jp",
    "euc-kr": "euc-kr",
}

_PROLOG: Final = re.compile(rb"<\?xml\b[^>]{0,256}?\?>")
_LONGEST_PROLOG: Final = 264
_DECLARED: Final = re.compile(rb"""\bencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_CHARSET: Final = re.compile(r"""\bcharset\s*=\s*["']?([A-Za-z0-9._-]{1,40})""", re.IGNORECASE)
_BEFORE_DOCTYPE: Final = re.compile(rb"(?:\s++|<!--(?:(?!-->).)*+-->|<\?(?:(?!\?>).)*+\?>)*+<!DOCTYPE", re.DOTALL)
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_REFERENCE: Final = re.compile(r"&#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,9}));")
_QUOTED_ENTITY: Final = re.compile(r"Entity '[^']*'")
_SPACE: Final = b" \t\r\n"
_BEFORE_TEXT: Final = re.compile(rb"(?:\xef\xbb\xbf|[ \t\r\n])*+")
_CONVERTED_AT_ONCE: Final = 65_536


def prepare(body: bytes, *, limits: CodecLimits, quirks: dict[Quirk, None], content_type: str = "") -> bytes:
    """The body as UTF-8 with nothing before its first `<`, checked as far as bytes can be.

    body: what HTTP carried, decompressed. quirks: gains the names of what had to be tolerated.
    content_type: the HTTP header; its charset counts only where the body does not say.
    Raises MessageRefused (413 for a body over the cap, 400 otherwise).
    """
    check_size(body, limits)
    text, codec = _unwrapped(body, quirks, content_type)
    if codec:
        text = _transcode(text, codec, quirks)
    name_markup(text, quirks)
    most = limits.max_elements
    if len(text) > 4 * most and text.count(b"<") > most and text.count(b"<") - text.count(b"</") > most:
        raise too_many_elements(limits)
    return text


def prepare_in_parts(
    body: bytes, *, limits: CodecLimits, quirks: dict[Quirk, None], content_type: str = ""
) -> Generator[None, None, bytes]:
    """As `prepare`, for a long body, with rests between short pieces of work. Its markup is left to who reads the parts."""
    check_size(body, limits)
    text, codec = _unwrapped(body, quirks, content_type)
    if not codec:
        return text
    quirks[Quirk.OTHER_ENCODING] = None
    try:
        text = yield from _converted(text, codec, "strict")
    except UnicodeDecodeError:
        quirks[Quirk.WRONG_ENCODING] = None
        text = yield from _converted(text, codec, "replace")
    return _begun(text.rstrip(b"\x00"))


def check_size(body: bytes, limits: CodecLimits) -> None:
    """Raises MessageRefused (413) for a body over the cap."""
    if len(body) > limits.max_body:
        raise MessageRefused(
            f"The body has {len(body)} bytes; at most {limits.max_body} are read (setting max_body).",
            http_status=413,
            fault_code=FaultCode.RESOURCES_EXCEEDED,
        )


def too_many_elements(limits: CodecLimits) -> MessageRefused:
    """The refusal of a body with more elements than are read."""
    return MessageRefused(
        f"The body has more than {limits.max_elements} elements (setting max_elements).",
        fault_code=FaultCode.RESOURCES_EXCEEDED,
    )


def name_markup(text: bytes, quirks: dict[Quirk, None]) -> None:
    """Names the comments, CDATA sections and processing instructions; raises MessageRefused for a document type declaration."""
    # Single characters are found many times faster than pairs, and most bodies have none of these but the two `?` of a prolog.
    last = text.rfind(b"?")
    if b"!" in text or (last > 1 and not _ends_its_prolog(text, last)):
        _look_at_markup(text, quirks)


def _ends_its_prolog(text: bytes, last: int) -> bool:
    """Whether the last `?` is the one that closes the prolog, and the second in all."""
    return (
        text[:5] == b"<?xml" and text.find(b"?", 2) == last and text.find(b">") == last + 1 and text[last - 1] != 0x3C
    )


def parse(text: bytes, *, limits: CodecLimits, quirks: dict[Quirk, None]) -> Element:
    """The root element of what `prepare` gave. Raises MessageRefused."""
    root = _parse_or_repair(text, quirks)
    _check_shape(root, text, limits)
    return root


def parse_strictly(text: bytes, *, limits: CodecLimits) -> Element | None:
    """The root element, or None where something would have to be repaired. Raises MessageRefused for what breaks a limit."""
    try:
        root = _fromstring(text, _shared_parser())
    except etree.XMLSyntaxError:
        return None
    _check_shape(root, text, limits)
    return root


def parse_tags(text: bytes) -> Element | None:
    """The root of a few tags that Homeport put together, so that no limit is in question; None where they are not well-formed."""
    try:
        return etree.fromstring(text, _shared_parser())
    except etree.XMLSyntaxError:
        return None


def local_name(tag: str) -> str:
    """`Envelope` of `{http://…}Envelope`, and of `soap:Envelope` where the prefix was never declared."""
    if tag[0] == "{":
        tag = tag[tag.rindex("}") + 1 :]
    return tag.rpartition(":")[2]


def namespace(tag: str) -> str:
    """The namespace URI of a tag; "" where it has none."""
    return tag[1 : tag.rindex("}")] if tag[0] == "{" else ""


# --- encodings ----------------------------------------------------------------------------------------------------------------


def _unwrapped(body: bytes, quirks: dict[Quirk, None], content_type: str) -> tuple[bytes, str]:
    """The body without mark, leading space and foreign prolog, and the codec that it is in: "" for UTF-8.

    Bytes that cannot be UTF-8 are left for the repair.
    """
    if body[:1] != b"<" or body[1:2] == b"\x00" or body[-1:] == b"\x00":
        body, wide = _bare(body, quirks)
        if wide:
            return body, wide
    declared, behind = _prolog(body[: body.find(b">", 0, _LONGEST_PROLOG) + 1]) if body[:5] == b"<?xml" else ("", 0)
    if not declared and content_type and not body.isascii():
        charset = _CHARSET.search(content_type)
        declared = charset.group(1).lower() if charset else ""
    if not declared or declared in ("utf-8", "utf8"):
        return body, ""
    codec = _ENCODINGS.get(declared)
    if codec is None:
        quirks[Quirk.UNKNOWN_ENCODING] = None
        codec = "utf-8"
    if codec.startswith("utf-16"):  # The first bytes were not UTF-16, so the prolog is wrong.
        quirks[Quirk.WRONG_ENCODING] = None
        codec = "utf-8"
    if behind:
        body = body[behind:].lstrip(_SPACE)
    return body, "" if codec == "utf-8" or body.isascii() else codec


def _bare(body: bytes, quirks: dict[Quirk, None]) -> tuple[bytes, str]:
    """The body from its first `<` on; or as it is with the codec, where that is UTF-16, so that no prolog counts.

    Raises MessageRefused.
    """
    head = body[:4]
    if head[:3] == b"\xef\xbb\xbf":
        quirks[Quirk.BYTE_ORDER_MARK] = None
        body = body[3:]
    elif head in (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff", b"\x00\x00\x00<", b"<\x00\x00\x00"):
        raise MessageRefused("The body is in UTF-32, which CWMP does not use; send UTF-8.")
    elif head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body, "utf-16"
    elif head[:1] == b"\x00" or head[1:2] == b"\x00":
        return body, "utf-16-be" if head[:1] == b"\x00" else "utf-16-le"
    if body[-1:] == b"\x00":
        quirks[Quirk.TRAILING_NULS] = None
        body = body.rstrip(b"\x00")
    if body[:1] in (b" ", b"\t", b"\r", b"\n"):
        body = body.lstrip(_SPACE)
        if body.startswith(b"<?xml"):
            quirks[Quirk.SPACE_BEFORE_PROLOG] = None
    if not body.startswith(b"<"):
        raise MessageRefused("The body is not XML: it does not begin with '<'." if body else "The body is empty.")
    return body, ""


@lru_cache(maxsize=64)
def _prolog(head: bytes) -> tuple[str, int]:
    """The encoding that a prolog names, and its length; "" and 0 where there is none. Remembered, since peers write few of them.

    head: the body up to its first `>`.
    """
    prolog = _PROLOG.match(head)
    if prolog is None:
        return "", 0
    found = _DECLARED.search(head)
    return found.group(1).decode("ascii").lower() if found else "", len(head)


def _transcode(body: bytes, codec: str, quirks: dict[Quirk, None]) -> bytes:
    quirks[Quirk.OTHER_ENCODING] = None
    try:
        text = body.decode(codec)
    except UnicodeDecodeError:
        quirks[Quirk.WRONG_ENCODING] = None
        text = body.decode(codec, errors="replace")
    return _begun(text.rstrip("\x00").encode("utf-8", errors="replace"))


def _converted(body: bytes, codec: str, errors: str) -> Generator[None, None, bytes]:
    """The body as UTF-8, with rests. Raises UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder(codec)(errors)
    text = io.BytesIO()
    for at in range(0, len(body), _CONVERTED_AT_ONCE):
        text.write(decoder.decode(body[at : at + _CONVERTED_AT_ONCE]).encode("utf-8", errors="replace"))
        yield
    text.write(decoder.decode(b"", True).encode("utf-8", errors="replace"))
    return text.getvalue()


def _begun(text: bytes) -> bytes:
    """UTF-8 from its first element on. Raises MessageRefused where it begins with something else."""
    start = _BEFORE_TEXT.match(text)
    assert start is not None  # it matches nothing, too
    text = text[start.end() :]
    if text.startswith(b"<?xml"):
        text = text[text.find(b"?>") + 2 :]
    if not text.lstrip().startswith(b"<"):
        raise MessageRefused("The body is not XML: it does not begin with '<'.")
    return text


def _cleaned(body: bytes, quirks: dict[Quirk, None]) -> bytes:
    """The body as valid UTF-8 without the characters that XML forbids."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        quirks[Quirk.WRONG_ENCODING] = None
        try:
            text = body.decode("cp1252")
        except UnicodeDecodeError:
            text = body.decode("iso-8859-1")
    clean, hits = _FORBIDDEN.subn("", text)
    length = len(clean)
    clean = _REFERENCE.sub(_legal_reference, clean)
    if hits or len(clean) != length:
        quirks[Quirk.CONTROL_CHARACTERS] = None
    return clean.encode("utf-8")


def _legal_reference(match: re.Match[str]) -> str:
    number = int(match.group(1), 16) if match.group(1) else int(match.group(2))
    if number > 0x10FFFF or _FORBIDDEN.match(chr(number)):
        return ""
    return match.group()


# --- parsing ------------------------------------------------------------------------------------------------------------------


def _look_at_markup(text: bytes, quirks: dict[Quirk, None]) -> None:
    """Refuses a document type declaration before the parser sees it; names comments, CDATA and processing instructions."""
    if _markup(text, b"<?", 2 if text.startswith(b"<?xml") else 0) >= 0:
        quirks[Quirk.PROCESSING_INSTRUCTION] = None
    first = _markup(text, b"<!", 0)
    if first < 0:
        return
    if _BEFORE_DOCTYPE.match(text):
        raise MessageRefused("The body has a document type declaration (DTD), which SOAP forbids.")
    if text.find(b"<!--", first) >= 0:
        quirks[Quirk.COMMENT] = None
    if text.find(b"<![CDATA[", first) >= 0:
        quirks[Quirk.CDATA] = None


def _markup(text: bytes, mark: bytes, begin: int) -> int:
    """Where `<` and another character first stand together, -1 where they never do; found by the other one, as long as it is rare."""
    at = begin
    for _ in range(64):
        at = text.find(mark[1:], at + 1)
        if at < 0 or (text[at - 1] == mark[0] and at > begin):
            return at - 1 if at >= 0 else -1
    return text.find(mark, at)


def _parse_or_repair(text: bytes, quirks: dict[Quirk, None]) -> Element:
    # Each try has a parser of its own, whose log says what was wrong; the log of lxml's exception also holds older errors.
    parser = _new_parser()
    try:
        return _fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        reason = error.msg
    repaired = _cleaned(text, quirks)
    if repaired != text:
        parser = _new_parser()
        try:
            return _fromstring(repaired, parser)
        except etree.XMLSyntaxError as error:
            reason = error.msg
    if {entry.domain_name for entry in parser.error_log} == {"NAMESPACE"}:
        quirks[Quirk.UNDECLARED_PREFIX] = None
        root = _fromstring(repaired, _new_parser(recover=True))
        if root is not None:
            return root
    # What stands behind an ampersand may be the rest of a password, and this text goes into logs.
    reason = _QUOTED_ENTITY.sub("An entity is", reason or "")
    raise MessageRefused(f"The body is not well-formed XML: {reason}.")


def _fromstring(text: bytes, parser: Any) -> Element:
    root = etree.fromstring(text, parser)
    if (
        root is not None and b"!" in text and b"<!DOCTYPE" in text
    ):  # In a comment or CDATA section the words are harmless.
        info = root.getroottree().docinfo
        if info.internalDTD is not None or info.doctype:
            raise MessageRefused("The body has a document type declaration (DTD), which SOAP forbids.")
    return root


def _new_parser(*, recover: bool = False) -> Any:
    return etree.XMLParser(recover=recover, **_OPTIONS)


@lru_cache(maxsize=1)
def _shared_parser() -> Any:
    """The parser of all sound bodies."""
    return _new_parser()


# --- limits -------------------------------------------------------------------------------------------------------------------


def _check_shape(root: Element, text: bytes, limits: CodecLimits) -> None:
    """Refuses a tree over a limit. Each look at all elements is preceded by a cheap look at the bytes, which settles most bodies."""
    if text.count(b"<") > 2 * limits.max_depth and _too_deep(limits.max_depth)(root):
        raise MessageRefused(f"The body is nested more than {limits.max_depth} levels deep (setting max_depth).")
    # An attribute takes five bytes and a text that is too long its own length, so only long stretches without a tag are of interest.
    shortest = min(5 * limits.max_attributes, limits.max_text)
    if len(text) <= shortest:
        return
    attributes = longest = 0
    for stretch in _long_stretches(text, shortest):
        longest = max(longest, len(stretch))
        attributes = max(attributes, stretch.count(b"="))
    if attributes > limits.max_attributes and _too_many_attributes(limits.max_attributes)(root):
        raise MessageRefused(f"An element has more than {limits.max_attributes} attributes (setting max_attributes).")
    # A CDATA section may hold `<`, so that its text is made of several stretches.
    if (longest > limits.max_text or b"<![CDATA[" in text) and _too_long(limits.max_text)(root):
        raise MessageRefused(
            f"An element's text is longer than {limits.max_text} characters (setting max_text).",
            fault_code=FaultCode.RESOURCES_EXCEEDED,
        )


def _long_stretches(text: bytes, length: int) -> Iterator[bytes]:
    """Each tag that is longer than this with the text behind it. One that is covers any place at most so far from the end of another."""
    at = length
    while at < len(text):
        begin = text.rfind(b"<", 0, at + 1)
        end = text.find(b"<", at + 1)
        if end < 0:
            end = len(text)
        if end - begin > length:
            yield text[begin:end]
        at = max(at + length, end)


@lru_cache(maxsize=16)
def _too_deep(limit: int) -> Any:
    return etree.XPath("boolean(" + "/*" * (limit + 1) + ")")


@lru_cache(maxsize=16)
def _too_many_attributes(limit: int) -> Any:
    return etree.XPath(f"boolean(//*[@*[{limit + 1}]])")


@lru_cache(maxsize=16)
def _too_long(limit: int) -> Any:
    return etree.XPath(f"boolean(//text()[string-length() > {limit}] | //@*[string-length() > {limit}])")
