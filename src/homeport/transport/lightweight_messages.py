"""Lightweight notifications over UDP: building, splitting, signing, reading and judging datagrams. No sockets, no clock.

A datagram looks like an HTTP POST; its body is XML, its Signature covers the body. Key and user name are the ones that the device
gives to the ACS, the opposite of a UDP connection request.
Source: TR-069a6 Annex M; cwmp-UDPLightweightNotification-1-0.xsd.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from lxml import etree

from homeport.codec.messages import ParameterValueStruct
from homeport.codec.xml_write import escape
from homeport.errors import MessageRefused
from homeport.transport.addresses import Address, format_address

NAMESPACE: Final = "urn:broadband-forum-org:cwmp:lwnotif-1-0"
DEFAULT_PORT: Final = 7547
"""Where a notification goes when the device has no UDPLightweightNotificationPort (TR-181 2.19)."""

FRAME: Final = 1400
"""Bytes of one datagram's content that pass any ordinary line in one piece."""

LARGEST_DATAGRAM: Final = 65_507
"""Bytes; what UDP over IPv4 can carry at all, in fragments."""

_XSI: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
_LATEST: Final = 2**31 - 1  # TS is an xs:int
_LONGEST_HEAD: Final = 4096
_MOST_PARAMETERS: Final = 2000


@dataclass(frozen=True, slots=True)
class LightweightNotification:
    """What one datagram says. timestamp: seconds since 1970-01-01 UTC. cnonce: any text."""

    timestamp: int
    username: str
    cnonce: str
    manufacturer_oui: str
    product_class: str
    serial_number: str
    parameters: tuple[ParameterValueStruct, ...]


@dataclass(frozen=True, slots=True)
class LightweightSender:
    """Who notifies: the device's identity and the credentials that it gives to the ACS."""

    username: str
    password: str
    manufacturer_oui: str
    product_class: str
    serial_number: str


# --- writing ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LightweightBatch:
    """Datagrams that together carry a list of values.

    last_timestamp: of the last datagram; the next batch begins later. left_out: names of values that no datagram can carry.
    """

    datagrams: tuple[bytes, ...]
    last_timestamp: int
    left_out: tuple[str, ...]


def encode(
    values: Sequence[ParameterValueStruct],
    *,
    sender: LightweightSender,
    to: Address,
    timestamp: int,
    cnonce: Callable[[], str],
    frame: int = FRAME,
) -> LightweightBatch:
    """The signed datagrams for some values, in their order.

    timestamp: of the first datagram; each further one counts one up, for a receiver takes only growing ones. A value that does not
    fit a frame goes alone and is left to IP's fragments. Splitting is our choice: the texts at hand do not say (unverified).
    Raises LocalProtocolError for characters that XML cannot carry.
    """
    datagrams: list[bytes] = []
    left_out: list[str] = []
    pending: list[bytes] = []
    size = base = len(_datagram([], sender=sender, to=to, timestamp=_LATEST, cnonce=cnonce())) + 5

    def flush() -> None:
        nonlocal size
        if pending:
            datagrams.append(
                _datagram(pending, sender=sender, to=to, timestamp=timestamp + len(datagrams), cnonce=cnonce())
            )
            pending.clear()
            size = base

    for value in values:
        element = _parameter(value)
        if base + len(element) > LARGEST_DATAGRAM:
            left_out.append(value.name)
            continue
        if size + len(element) > frame:
            flush()
        pending.append(element)
        size += len(element)
    flush()
    return LightweightBatch(tuple(datagrams), timestamp + max(0, len(datagrams) - 1), tuple(left_out))


def sign(body: bytes, password: str) -> str:
    """The signature: HMAC-SHA1 of the body as 40 upper-case hexadecimal digits, the case that known devices send."""
    return hmac.new(password.encode(), body, hashlib.sha1).hexdigest().upper()


def _datagram(
    parameters: Sequence[bytes], *, sender: LightweightSender, to: Address, timestamp: int, cnonce: str
) -> bytes:
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<lwn:Notification xmlns:lwn="{NAMESPACE}" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<lwn:TS>{timestamp}</lwn:TS><lwn:UN>{escape(sender.username)}</lwn:UN><lwn:CN>{escape(cnonce)}</lwn:CN>"
        f"<lwn:OUI>{escape(sender.manufacturer_oui)}</lwn:OUI>"
        f"<lwn:ProductClass>{escape(sender.product_class)}</lwn:ProductClass>"
        f"<lwn:SerialNumber>{escape(sender.serial_number)}</lwn:SerialNumber>"
    ).encode()
    body = head + b"".join(parameters) + b"</lwn:Notification>"
    # The request line's target is our choice: known devices send a broken one that names no version (unverified).
    lines = (
        "POST / HTTP/1.1",
        f"Host: {format_address(to)}",
        "Content-Type: text/xml; charset=utf-8",
        f"Content-Length: {len(body)}",
        f"Signature: {sign(body, sender.password)}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body


def _parameter(value: ParameterValueStruct) -> bytes:
    kind = "base64Binary" if value.type == "base64" else value.type
    return (
        f'<lwn:Param><lwn:Name>{escape(value.name)}</lwn:Name><lwn:Value xsi:type="xsd:{escape(kind)}">'
        f"{escape(value.value)}</lwn:Value></lwn:Param>"
    ).encode()


# --- reading ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReceivedNotification:
    """A notification as it came, not yet believed. body: what the signature covers. signature: hexadecimal digits, either case."""

    notification: LightweightNotification
    body: bytes
    signature: str

    def is_signed_with(self, password: str) -> bool:
        """Whether the signature was made with this password; compares in constant time."""
        return hmac.compare_digest(sign(self.body, password).encode(), self.signature.upper().encode())


def decode(datagram: bytes) -> ReceivedNotification:
    """The notification in a datagram.

    Liberal where known devices stray: `POST /HTTPS/1.1`, `Content-Lenght`, `test/xml`, any prefix or none, line ends without return.
    Raises MessageRefused for anything else.
    """
    head, body = _split(datagram)
    lines = head.decode("latin-1").split("\n")
    if not lines[0].startswith("POST "):
        raise MessageRefused("the datagram does not begin with the request line of an HTTP POST")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    length = headers.get("content-length", headers.get("content-lenght", ""))
    if length.isascii() and length.isdigit() and len(length) < 7:
        if int(length) > len(body):
            raise MessageRefused(f"the notification announces {length} bytes of body, {len(body)} came")
        body = body[: int(length)]
    signature = headers.get("signature", "")
    if len(signature) != 40 or any(c not in "0123456789abcdefABCDEF" for c in signature):
        raise MessageRefused("the notification has no Signature of 40 hexadecimal digits")
    return ReceivedNotification(_notification(body), body, signature)


def _split(datagram: bytes) -> tuple[bytes, bytes]:
    for gap in (b"\r\n\r\n", b"\n\n"):
        head, found, body = datagram.partition(gap)
        if found and len(head) <= _LONGEST_HEAD:
            return head.replace(b"\r\n", b"\n"), body
    raise MessageRefused("the datagram has no head and body like an HTTP POST")


@lru_cache(maxsize=1)
def _parser() -> Any:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def _notification(body: bytes) -> LightweightNotification:
    body = body.strip(b" \t\r\n\0")
    if b"\0" in body:
        raise MessageRefused("the notification is not UTF-8 text")
    if b"<!DOCTYPE" in body:
        raise MessageRefused("the notification has a document type declaration (DTD)")
    try:
        root = etree.fromstring(body, _parser())
    except (etree.XMLSyntaxError, ValueError) as e:
        raise MessageRefused(f"the notification is not well-formed XML: {e}") from None
    # A DTD in another encoding than ASCII escapes the look at the bytes.
    if root.getroottree().docinfo.internalDTD is not None:
        raise MessageRefused("the notification has a document type declaration (DTD)")
    if _local(root) != "Notification":
        raise MessageRefused(f"the root element is {_local(root)!r} instead of Notification")
    texts: dict[str, str] = {}
    parameters: list[ParameterValueStruct] = []
    for child in root:
        name = _local(child)
        if name == "Param":
            parameters.append(_read_parameter(child))
            if len(parameters) > _MOST_PARAMETERS:
                raise MessageRefused(f"the notification has more than {_MOST_PARAMETERS} parameters")
        else:
            texts.setdefault(name, child.text or "")
    missing = [name for name in ("TS", "UN", "CN", "OUI", "ProductClass", "SerialNumber") if name not in texts]
    if not parameters:
        missing.append("Param")
    if missing:
        raise MessageRefused(f"the notification lacks {', '.join(missing)}")
    stamp = texts["TS"].strip()
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 10):
        raise MessageRefused("TS is not a number of seconds")
    return LightweightNotification(
        timestamp=int(stamp),
        username=texts["UN"],
        cnonce=texts["CN"],
        manufacturer_oui=texts["OUI"].strip(),
        product_class=texts["ProductClass"],
        serial_number=texts["SerialNumber"],
        parameters=tuple(parameters),
    )


def _read_parameter(element: Any) -> ParameterValueStruct:
    texts = {_local(child): child for child in element}
    if "Name" not in texts or "Value" not in texts:
        raise MessageRefused("a Param of the notification lacks Name or Value")
    value = texts["Value"]
    kind = str(value.get(_XSI, "xsd:string")).rpartition(":")[2]
    return ParameterValueStruct(name=(texts["Name"].text or "").strip(), value=value.text or "", type=kind or "string")


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


# --- the ACS's rules ----------------------------------------------------------------------------------------------------------


class LightweightVerdict(StrEnum):
    """What became of a datagram; for counters on the ACS's side only, for nothing is answered."""

    ACCEPTED = "accepted"
    MALFORMED = "malformed"
    TOO_OFTEN = "too often"
    OVERLOADED = "overloaded"
    UNKNOWN_DEVICE = "unknown device"
    NO_PASSWORD = "no password"  # anyone could have signed it
    WRONG_USERNAME = "wrong username"
    NOT_NEWER = "not newer"
    WRONG_SIGNATURE = "wrong signature"


def judge(
    received: ReceivedNotification, *, username: str, password: str, last_timestamp: int | None
) -> LightweightVerdict:
    """Whether a notification is to be believed.

    username, password: what this device gives to the ACS. last_timestamp: of the last notification believed from it, None for none.
    """
    if not password:
        return LightweightVerdict.NO_PASSWORD
    if received.notification.username != username:
        return LightweightVerdict.WRONG_USERNAME
    if last_timestamp is not None and received.notification.timestamp <= last_timestamp:
        return LightweightVerdict.NOT_NEWER
    if not received.is_signed_with(password):
        return LightweightVerdict.WRONG_SIGNATURE
    return LightweightVerdict.ACCEPTED
