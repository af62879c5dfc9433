"""What a session tells its owner: one frozen class per event, oldest first in the list that `Session.receive` gives back.

Here live only names and fields; when an event arises is in `cpe_side` and `acs_side`.
Source: TR-069a6 3.7.1 and 3.7.2.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from homeport.codec.messages import FaultMessage, Inform, InformResponse, Message, Request, Response, VendorMessage
from homeport.terms import FaultCode

if TYPE_CHECKING:
    from homeport.codec.envelope import Envelope


class Outcome(StrEnum):
    """How a session ended.

    SUCCESS: closed by the rules; the retry count goes back to 0.
    FAILED:  ended early by the peer's doing or by the transport; the CPE retries by the table in `backoff`.
    ABORTED: ended early by our own decision (shutdown, a newer session of the same device).
    """

    SUCCESS = "success"
    FAILED = "failed"
    ABORTED = "aborted"


class Event(Struct, frozen=True):
    """Anything that a session tells its owner."""


class InformReceived(Event, frozen=True):
    """ACS: the first message is here. Store its facts, then `send(InformResponse())`, or a FaultMessage.

    refuse: set to 8006 where the device's SupportedCWMPVersions hold none that we speak: answer with that fault.
    """

    inform: Inform
    envelope: "Envelope"
    refuse: FaultCode | None = None


class InformAnswered(Event, frozen=True):
    """CPE: the InformResponse is here; events that it clears may be forgotten."""

    response: InformResponse
    envelope: "Envelope"


class RequestReceived(Event, frozen=True):
    """Either end: the owner must `send()` a Response or a FaultMessage next.

    id: the request's ID header, echoed by `send` on its own. None where the peer sent none.
    refuse: set where the answer can only be this fault (a method of a version that was not agreed, or one that only we may call).
    """

    request: Request | VendorMessage
    id: str | None
    refuse: FaultCode | None = None


class ResponseReceived(Event, frozen=True):
    """Either end: the answer to our outstanding request. At an ACS it is now our turn again (`may_request`)."""

    request: Request | VendorMessage
    response: Response | VendorMessage


class FaultReceived(Event, frozen=True):
    """Either end: our outstanding request was refused. At an ACS it is now our turn again (`may_request`)."""

    request: Request | VendorMessage
    fault: FaultMessage


class RetryDemanded(Event, frozen=True):
    """Our request was neither done nor refused.

    CPE: the ACS answered with fault 8005; call `send(request)` again, the same request.
    ACS: the CPE answered with an empty POST (a quirk of netcwmp); send the request once more, or another one, or None to end.
    """

    request: Request | VendorMessage
    reason: str = ""


class PeerIdle(Event, frozen=True):
    """ACS: the CPE posted an empty body, so it is our turn: send a request, or None to end."""


class TurnToSend(Event, frozen=True):
    """CPE: our turn.

    may_request: a request may be sent now; False while the ACS holds requests, then only `send(None)` is possible.
    may_end: the ACS has nothing more; without a request call `finish()` in place of `send(None)`.
    """

    may_request: bool = True
    may_end: bool = False


class SessionEnded(Event, frozen=True):
    """The session is over; always the last event.

    reason: a sentence for a person.
    kind:   one word for counters: "" on success, else fault, protocol, timeout, or the kind of a TransportError.
    fault:  the fault that ended it, where there is one.
    """

    outcome: Outcome
    reason: str
    kind: str = ""
    fault: FaultMessage | None = None


class QuirksSeen(Event, frozen=True):
    """The peer deviated in ways that are tolerated; the names are those of the interop list."""

    names: tuple[str, ...]


AnyRequest = Request | VendorMessage
"""A call as it travels in either direction."""


def name_of(message: Message) -> str:
    """The element name of a message, also of one that the table does not know."""
    return message.method if isinstance(message, VendorMessage) else message.element
