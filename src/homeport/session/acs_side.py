"""What a CPE's message means to an ACS, and what the ACS says about versions in its answer to the Inform.

Called by `Session` once the table has allowed the message; each function makes the step and gives the events.
Source: TR-069a6 3.7.2.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from homeport.codec.envelope import Envelope
from homeport.codec.messages import FaultMessage, Inform, Message, Request, Response, VendorMessage
from homeport.codec.rpc_table import RPCS
from homeport.errors import LocalProtocolError
from homeport.session.events import (
    AnyRequest,
    Event,
    FaultReceived,
    InformReceived,
    Outcome,
    PeerIdle,
    RequestReceived,
    ResponseReceived,
    RetryDemanded,
    name_of,
)
from homeport.session.states import Kind, State
from homeport.terms import CwmpVersion, FaultCode, Role

if TYPE_CHECKING:
    from homeport.session.session import Session

VERSION_TEXT: Final = {version: str(version) for version in CwmpVersion}

LONGEST_TIMEOUT: Final = 3600.0
"""Seconds; a CPE's SessionTimeout header counts up to this, so that nobody can keep an ACS's session for ever."""

MOST_EMPTY_ANSWERS: Final = 2
"""So often a CPE may answer requests with an empty POST; netcwmp would do it for ever where it cannot read our envelopes."""


def inform_answer_envelope(session: "Session", message: Message, hold: bool) -> Envelope:
    """The answer to an Inform: UseCWMPVersion where the CPE offered a choice.

    Raises LocalProtocolError for an InformResponse where no version is common: only the fault 8006 is then an answer.
    """
    use = None
    if session._offered and not isinstance(message, FaultMessage):
        if not session._agreed:
            raise LocalProtocolError("the CPE offers no CWMP version that we speak; answer with fault 8006")
        use = VERSION_TEXT[session.version]
    return Envelope(body=message, id=session._pending_id, urn=session.urn, hold_requests=hold, use_cwmp_version=use)


def received(session: "Session", kind: Kind, envelope: Envelope, after: State, now: float) -> list[Event]:
    """The events of an allowed message from the CPE; while we work on it there is no time limit."""
    message = envelope.body
    request = session._pending
    session._deadline = None
    if isinstance(message, Inform):
        return _inform(session, message, envelope, after)
    if message is None:
        if request is not None:
            return _empty_answer(session, request, after, now)
        session.state = after
        return [PeerIdle()]
    if request is None:
        return _asked(session, message, envelope, after)
    session.state, session._pending, session._pending_id, session._tries = after, None, None, 0
    if isinstance(message, FaultMessage):
        return [FaultReceived(request, message)]
    assert isinstance(message, Response | VendorMessage)
    return [ResponseReceived(request, message)]


def _inform(session: "Session", inform: Inform, envelope: Envelope, after: State) -> list[Event]:
    session.state, session._pending, session._pending_id = after, inform, envelope.id
    session.urn = envelope.urn
    if envelope.session_timeout is not None:
        session.timeout = max(session.timeout, min(float(envelope.session_timeout), LONGEST_TIMEOUT))
    refuse = None
    offered = envelope.supported_cwmp_versions
    if offered and session.newest >= CwmpVersion.V1_4:
        session._offered = True
        common = _newest_common(session.cwmp_versions, offered)
        if common is not None:
            session.version, session._agreed = common, True
        else:
            refuse = FaultCode.ACS_VERSION_INCOMPATIBLE
    else:
        session.version = _implied(envelope.urn, envelope.session_timeout is not None, session.newest)
    return [InformReceived(inform, envelope, refuse)]


@lru_cache(maxsize=64)
def _newest_common(ours: tuple[CwmpVersion, ...], offered: tuple[str, ...]) -> CwmpVersion | None:
    """The newest version that both speak. Remembered, since a fleet makes the same few offers all day."""
    return max((v for v in ours if str(v) in offered), default=None)


@lru_cache(maxsize=64)
def _implied(urn: str, timeout: bool, newest: CwmpVersion) -> CwmpVersion:
    """The version that an Inform without an offer speaks; an unknown namespace forbids nothing.

    timeout: it has a SessionTimeout header. 1.2, 1.3 and 1.4 share a namespace; that header came with 1.3.
    """
    implied = CwmpVersion.from_urn(urn)
    if implied is CwmpVersion.V1_2 and timeout:
        implied = CwmpVersion.V1_3
    return newest if implied is None else min(implied, newest)


def _asked(session: "Session", message: Message, envelope: Envelope, after: State) -> list[Event]:
    """A call by the CPE; a method that only an ACS may call can only be refused."""
    assert isinstance(message, Request | VendorMessage)
    session.state, session._pending, session._pending_id = after, message, envelope.id
    refuse = None
    if isinstance(message, Request):
        entry = RPCS[message.element]
        if Role.CPE not in entry.callers or (session._agreed and entry.since > session.version):
            refuse = FaultCode.ACS_METHOD_NOT_SUPPORTED
    return [RequestReceived(message, envelope.id, refuse)]


def _empty_answer(session: "Session", request: AnyRequest, after: State, now: float) -> list[Event]:
    session._tries += 1
    if session._tries >= MOST_EMPTY_ANSWERS:
        reason = f"the CPE answered with an empty POST {session._tries} times, last to {name_of(request)}"
        return [session.end(Outcome.FAILED, reason, "protocol")]
    session.state, session._pending, session._pending_id = after, None, None
    return [RetryDemanded(request, "the CPE answered with an empty POST")]
