"""The way of reading that all others are compared with, and what becomes of a body in a way of reading."""

from collections.abc import Callable
from typing import Any

from homeport.codec.envelope import Envelope, _read_envelope
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.quirks import Quirk
from homeport.codec.reading import Reading
from homeport.codec.xml_read import parse, prepare
from homeport.errors import ProtocolError


def by_tree(body: bytes, limits: CodecLimits = DEFAULT_LIMITS) -> Envelope:
    """The envelope, read by the parser from beginning to end. Raises ProtocolError."""
    quirks: dict[Quirk, str] = {}
    root = parse(prepare(body, limits=limits, quirks=quirks), limits=limits, quirks=quirks)
    return _read_envelope(root, Reading(limits, quirks), None)


def outcome(way: Callable[..., Envelope], body: bytes, limits: CodecLimits = DEFAULT_LIMITS) -> tuple[Any, ...]:
    """All that an envelope says, or how it was refused; equal for two ways that decide alike."""
    try:
        envelope = way(body, limits=limits)
    except ProtocolError as error:
        return type(error).__name__, getattr(error, "fault_code", None), error.http_status
    header = envelope.session_timeout, envelope.supported_cwmp_versions, envelope.hold_requests
    return envelope.body, envelope.id, envelope.urn, sorted(envelope.quirks), header
