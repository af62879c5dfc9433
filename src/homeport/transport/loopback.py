"""The channel of a CPE session without sockets, and an ACS in memory to stand at its other end.

For tests, and for a simulator that wants no network: the bodies are the same as on a wire.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable

from homeport.codec.messages import (
    FaultMessage,
    GetRPCMethods,
    GetRPCMethodsResponse,
    Inform,
    InformResponse,
    Message,
    Request,
)
from homeport.codec.rpc_table import RPCS, response_class
from homeport.errors import RemoteProtocolError
from homeport.session.events import (
    Event,
    FaultReceived,
    InformReceived,
    RequestReceived,
    ResponseReceived,
    RetryDemanded,
    SessionEnded,
)
from homeport.session.session import SecondInform, Session
from homeport.terms import FaultCode, Role
from homeport.transport.driver import HttpAnswer

Serve = Callable[[bytes], HttpAnswer | Awaitable[HttpAnswer]]


class LoopbackChannel:
    """A channel that hands each body to `serve`, which answers as an ACS does over HTTP."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.closed = False

    async def post(self, body: bytes) -> HttpAnswer:
        """The ACS's answer to one body."""
        answer = self._serve(body)
        return await answer if isawaitable(answer) else answer

    async def close(self) -> None:
        """Notes that the CPE is done."""
        self.closed = True


class LoopbackAcs:
    """An ACS for one device at a time: answers every call, asks what it was given, and ends with 204.

    requests: sent one after the other in the session, then in later ones where one ends early.
    `informs`, `calls` and `answers` keep what came: answers as (request, response or fault).
    """

    def __init__(self, requests: Iterable[Request] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests: deque[Request] = deque(requests)
        self.informs: list[Inform] = []
        self.calls: list[Message] = []
        self.answers: list[tuple[Message, Message]] = []
        self.session = Session(Role.ACS)
        self._clock = clock

    def __call__(self, body: bytes) -> HttpAnswer:
        """The HTTP answer to one POST."""
        now = self._clock()
        if self.session.ended:
            self.session = Session(Role.ACS)
        try:
            try:
                events = self.session.receive(body, now=now)
            except SecondInform:
                self.session = Session(Role.ACS)
                events = self.session.receive(body, now=now)
        except RemoteProtocolError as e:
            refusal = self.session.refusal(e, now=now)
            return _answer(refusal) if refusal is not None else HttpAnswer(e.http_status, {}, b"")
        for event in events:
            answer = self._react(event, now)
            if answer is not None:
                return answer
        return _answer(self._ask(now))

    def _react(self, event: Event, now: float) -> HttpAnswer | None:
        """The answer where the event decides it; None where it is our turn to ask."""
        session = self.session
        if isinstance(event, SessionEnded):
            return HttpAnswer(400, {}, b"")
        if isinstance(event, InformReceived):
            self.informs.append(event.inform)
            message: Message = _fault(event.refuse) if event.refuse is not None else InformResponse()
            return _answer(session.send(message, now=now))
        if isinstance(event, RequestReceived):
            self.calls.append(event.request)
            return _answer(session.send(self._answer_to(event), now=now))
        if isinstance(event, ResponseReceived):
            self.answers.append((event.request, event.response))
        elif isinstance(event, FaultReceived):
            self.answers.append((event.request, event.fault))
        elif isinstance(event, RetryDemanded) and isinstance(event.request, Request):
            self.requests.appendleft(event.request)
        return None

    def _answer_to(self, event: RequestReceived) -> Message:
        if event.refuse is not None:
            return _fault(event.refuse)
        if isinstance(event.request, GetRPCMethods):
            return GetRPCMethodsResponse(tuple(str(row.name) for row in RPCS.values() if Role.CPE in row.callers))
        cls = response_class(event.request)
        return cls() if cls is not None else _fault(FaultCode.ACS_METHOD_NOT_SUPPORTED)

    def _ask(self, now: float) -> bytes:
        return self.session.send(self.requests.popleft() if self.requests else None, now=now)


def _fault(code: FaultCode) -> FaultMessage:
    return FaultMessage(int(code), code.text, side=code.side)


def _answer(body: bytes) -> HttpAnswer:
    if not body:
        return HttpAnswer(204, {}, b"")
    return HttpAnswer(200, {"content-type": 'text/xml; charset="utf-8"'}, body)
