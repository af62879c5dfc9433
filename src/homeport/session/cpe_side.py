"""What an ACS's message means to a CPE, and what the CPE says about itself in its Inform.

Called by `Session` once the table has allowed the message; each function makes the step and gives the events.
Source: TR-069a6 3.7.1; the five tries after fault 8005 follow icwmp.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from homeport.codec.envelope import Envelope
from homeport.codec.messages import FaultMessage, Inform, InformResponse, Request, Response, VendorMessage
from homeport.codec.rpc_table import RPCS
from homeport.session.events import (
    AnyRequest,
    Event,
    FaultReceived,
    InformAnswered,
    Outcome,
    QuirksSeen,
    RequestReceived,
    ResponseReceived,
    RetryDemanded,
    TurnToSend,
)
from homeport.session.states import Kind, State
from homeport.terms import CwmpVersion, FaultCode, Role

if TYPE_CHECKING:
    from homeport.session.session import Session

MOST_RETRIES: Final = 5
"""Fault 8005 for the same request is obeyed this often; then it counts as any other fault."""

USE_VERSION_NOT_OFFERED: Final = "use-cwmp-version-not-offered"
"""Quirk: UseCWMPVersion names a version that the Inform did not offer; the one that the namespace implies was taken."""


def inform_envelope(session: "Session", inform: Inform, envelope_id: str) -> Envelope:
    """The Inform with the headers that our newest version knows (SessionTimeout 1.3, SupportedCWMPVersions 1.4)."""
    newest = session.newest
    offer = newest >= CwmpVersion.V1_4
    session._offered = offer
    return Envelope(
        body=inform,
        id=envelope_id,
        urn=session.urn,
        session_timeout=session._session_timeout if newest >= CwmpVersion.V1_3 else None,
        supported_cwmp_versions=_offer(session.cwmp_versions) if offer else (),
    )


@lru_cache(maxsize=8)
def _offer(versions: tuple[CwmpVersion, ...]) -> tuple[str, ...]:
    return tuple(str(v) for v in sorted(versions))


def received(session: "Session", kind: Kind, envelope: Envelope, after: State, now: float) -> list[Event]:
    """The events of an allowed message from the ACS. now: not used by this side; our own turn has no limit."""
    message = envelope.body
    request = session._pending
    session._deadline = None
    if message is None:
        return _nothing_more(session, after)
    session.urn = envelope.urn  # an answer uses the namespace that the peer used
    if request is None:
        return _asked(session, message, envelope, after)
    if isinstance(message, FaultMessage):
        return _fault(session, kind, request, message, after)
    session.state, session._pending, session._pending_id = after, None, None
    session._retry, session._tries = None, 0
    if isinstance(message, InformResponse):
        events = _agree(session, envelope)
        events.append(InformAnswered(message, envelope))
    else:
        assert isinstance(message, Response | VendorMessage)
        events = [ResponseReceived(request, message)]
    events.append(_turn(session))
    return events


def _turn(session: "Session") -> TurnToSend:
    return TurnToSend(may_request=session.may_request, may_end=session.state is State.LAST_CALL)


def _nothing_more(session: "Session", after: State) -> list[Event]:
    """The ACS's empty response: the end, or the turn of requests that were held."""
    session.state = after
    if after is State.LAST_CALL:
        return [_turn(session)]
    return [session.end(Outcome.SUCCESS, "both sides are done")]


def _asked(session: "Session", message: object, envelope: Envelope, after: State) -> list[Event]:
    """A call by the ACS; a method that only we may call, or of a version beyond the agreed one, can only be refused."""
    assert isinstance(message, Request | VendorMessage)
    session.state, session._pending, session._pending_id = after, message, envelope.id
    refuse = None
    if isinstance(message, Request):
        entry = RPCS[message.element]
        if Role.ACS not in entry.callers or (session._agreed and entry.since > session.version):
            refuse = FaultCode.METHOD_NOT_SUPPORTED
    return [RequestReceived(message, envelope.id, refuse)]


def _fault(session: "Session", kind: Kind, request: AnyRequest, fault: FaultMessage, after: State) -> list[Event]:
    session._pending = session._pending_id = None
    if kind is Kind.RETRY and session._tries < MOST_RETRIES:
        session.state = after
        session._tries += 1
        session._retry = request
        return [RetryDemanded(request, f"8005 {fault.fault_string}".rstrip())]
    session._retry, session._tries = None, 0
    if isinstance(request, Inform):
        again = f" for the {MOST_RETRIES + 1}th time" if kind is Kind.RETRY else ""
        reason = f"the ACS refused the Inform{again}: {fault.fault_code} {fault.fault_string}".rstrip()
        return [session.end(Outcome.FAILED, reason, "fault", fault)]
    session.state = after
    return [FaultReceived(request, fault), _turn(session)]


def _agree(session: "Session", envelope: Envelope) -> list[Event]:
    """The version in force: UseCWMPVersion where we offered it, else what the ACS's namespace implies (unverified)."""
    events: list[Event] = []
    if envelope.use_cwmp_version is not None:
        version = CwmpVersion.from_text(envelope.use_cwmp_version)
        if session._offered and version in session.cwmp_versions and version is not None:
            session.version, session._agreed = version, True
            session._speak_agreed()
            return events
        events.append(QuirksSeen((USE_VERSION_NOT_OFFERED,)))
    implied = CwmpVersion.from_urn(envelope.urn)
    if implied is not None:
        session.version = min(implied, session.newest)
    return events
