"""Carries a CPE's session to its end: what the session asks for, the owner decides, and the channel carries.

The same driver serves the agent, the simulator and tests; it knows no socket and no clock of its own.
Source: TR-069a6 3.7.1.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from homeport.codec.messages import FaultMessage, Inform, Request, Response, SetParameterValuesFault, VendorMessage
from homeport.errors import Fault, LocalProtocolError, RemoteProtocolError, TransportError
from homeport.session.events import (
    Event,
    FaultReceived,
    InformAnswered,
    Outcome,
    QuirksSeen,
    RequestReceived,
    ResponseReceived,
    RetryDemanded,
    SessionEnded,
    TurnToSend,
    name_of,
)
from homeport.session.session import Session
from homeport.terms import FaultCode


class HttpAnswer(NamedTuple):
    """What the ACS answered to one POST, after authentication and redirects.

    headers: names in lower case; of a repeated field the last value. body: decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Channel(Protocol):
    """Where a session's bodies go."""

    async def post(self, body: bytes) -> HttpAnswer:
        """The ACS's answer to one body. Raises TransportError where there is none."""
        ...

    async def close(self) -> None:
        """Lets go of the connection; safe to call more than once."""
        ...


class CpeOwner(Protocol):
    """The device behind a CPE session. Each coroutine returns once its facts are where they survive a power cut."""

    def inform(self) -> Inform:
        """What the session opens with."""
        ...

    async def informed(self, answer: InformAnswered) -> None:
        """The ACS has the Inform: its events may be forgotten."""
        ...

    async def next_request(self) -> Request | None:
        """The next call to the ACS, None where there is none left."""
        ...

    async def handle(self, request: Request | VendorMessage) -> Response | VendorMessage | FaultMessage:
        """The answer to the ACS's call. May raise `Fault`, which becomes the answer."""
        ...

    async def answered(self, request: Request | VendorMessage, answer: Response | VendorMessage | FaultMessage) -> None:
        """The ACS answered our call."""
        ...

    def trace(self, direction: str, body: bytes, note: str) -> None:
        """One message for logs and ladders. direction: sent, received or note. note: one line, no secrets."""
        ...


async def run_cpe_session(
    session: Session, owner: CpeOwner, channel: Channel, *, clock: Callable[[], float]
) -> SessionEnded:
    """How the session ended; the channel is then closed.

    session: new, role CPE. clock: seconds, monotonic. Whatever the peer or the network does becomes a SessionEnded; an error of the
    owner while it answers a request becomes fault 9002, any other error of the owner comes through.
    """
    run = _Run(session, owner, clock)
    try:
        body: bytes | None = session.send(owner.inform(), now=clock())
        note = "Inform"
        while body is not None:
            owner.trace("sent", body, note)
            body, note = await run.exchange(channel, body)
        assert run.ended is not None
        return run.ended
    except TransportError as e:
        return session.end(Outcome.FAILED, str(e), e.kind)
    finally:
        if not session.ended:
            session.end(Outcome.ABORTED, "the session was given up", "aborted")
        await channel.close()


def fault_message(fault: Fault) -> FaultMessage:
    """The answer on the wire that a raised fault chooses."""
    return FaultMessage(
        fault_code=int(fault.code),
        fault_string=fault.text,
        set_parameter_values_faults=tuple(
            SetParameterValuesFault(p.name, int(p.code), p.text or p.code.text) for p in fault.parameters
        ),
        side=fault.code.side,
    )


class _Run:
    """One session's way through the driver."""

    __slots__ = ("_clock", "_owner", "_session", "ended")

    def __init__(self, session: Session, owner: CpeOwner, clock: Callable[[], float]) -> None:
        self._session = session
        self._owner = owner
        self._clock = clock
        self.ended: SessionEnded | None = None

    async def exchange(self, channel: Channel, body: bytes) -> tuple[bytes | None, str]:
        """The next body and its note after one POST; None once the session has ended."""
        session, owner = self._session, self._owner
        status, headers, content = await channel.post(body)
        owner.trace("received", content, f"HTTP {status}")
        if status not in (200, 204):
            # Only an envelope can make sense of another status: some ACSs send their faults under 500, as SOAP 1.1 said.
            if status < 400 or b"Envelope" not in content:
                return self._end(Outcome.FAILED, f"the ACS answered HTTP {status}", "http")
        elif status == 204:
            content = b""
        try:
            events = session.receive(content, now=self._clock(), content_type=headers.get("content-type", ""))
        except RemoteProtocolError as e:
            owner.trace("note", b"", f"refused: {e}")
            refusal = session.refusal(e, now=self._clock()) if status == 200 else None
            if refusal is not None:
                return refusal, f"Fault {int(e.fault_code or 0)}"
            return self._end(
                Outcome.FAILED, f"the ACS broke the protocol: {e}", "protocol" if status == 200 else "http"
            )
        return await self._react(events)

    def _end(self, outcome: Outcome, reason: str, kind: str) -> tuple[None, str]:
        self.ended = self._session.end(outcome, reason, kind)
        return None, ""

    async def _react(self, events: list[Event]) -> tuple[bytes | None, str]:
        """What the events lead to: the next body, or the end."""
        owner = self._owner
        for event in events:
            if isinstance(event, TurnToSend):
                return await self._turn(event)
            if isinstance(event, RequestReceived):
                return await self._answer(event)
            if isinstance(event, SessionEnded):
                self.ended = event
                return None, ""
            if isinstance(event, RetryDemanded):
                return self._session.send(event.request, now=self._clock()), f"{name_of(event.request)} (again)"
            if isinstance(event, InformAnswered):
                await owner.informed(event)
            elif isinstance(event, ResponseReceived):
                await owner.answered(event.request, event.response)
            elif isinstance(event, FaultReceived):
                await owner.answered(event.request, event.fault)
            elif isinstance(event, QuirksSeen):
                owner.trace("note", b"", f"tolerated: {', '.join(event.names)}")
        raise LocalProtocolError("the session gave no turn")  # a defect of the session, not of the peer

    async def _turn(self, turn: TurnToSend) -> tuple[bytes | None, str]:
        session, owner = self._session, self._owner
        request = await owner.next_request() if turn.may_request else None
        if request is not None:
            try:
                return session.send(request, now=self._clock()), name_of(request)
            except LocalProtocolError as e:
                # The agreed version does not have this method, or its content cannot be sent: for the owner it is as if refused.
                owner.trace("note", b"", f"not sent: {e}")
                code = FaultCode.ACS_METHOD_NOT_SUPPORTED
                await owner.answered(request, FaultMessage(int(code), str(e), side=code.side))
        if turn.may_end:
            self.ended = session.finish()
            return None, ""
        return session.send(None, now=self._clock()), "empty"

    async def _answer(self, event: RequestReceived) -> tuple[bytes, str]:
        session, owner = self._session, self._owner
        answer: Response | VendorMessage | FaultMessage
        if event.refuse is not None:
            answer = fault_message(Fault(event.refuse))
        else:
            try:
                answer = await owner.handle(event.request)
            except Fault as e:
                answer = fault_message(e)
            except (
                Exception
            ) as e:  # a defect in a handler must not take the session, and the ACS's other requests, with it
                owner.trace("note", b"", f"{name_of(event.request)} failed: {type(e).__name__}: {e}")
                answer = fault_message(Fault(FaultCode.INTERNAL_ERROR))
        try:
            return session.send(answer, now=self._clock()), _note(answer)
        except LocalProtocolError as e:
            owner.trace("note", b"", f"the answer to {name_of(event.request)} cannot be sent: {e}")
            answer = fault_message(Fault(FaultCode.INTERNAL_ERROR))
            return session.send(answer, now=self._clock()), _note(answer)


def _note(answer: Response | VendorMessage | FaultMessage) -> str:
    return f"Fault {answer.fault_code}" if isinstance(answer, FaultMessage) else name_of(answer)
