"""A CWMP session of either end: bytes in, events out; no socket, no clock.

Here: whose turn it is (by the table in `states`), IDs, the version and namespace in use, time limits, and the record that survives a
restart. What a message means to each end is in `cpe_side` and `acs_side`. What to say next is the owner's decision.
Source: TR-069a6 3.4, 3.5, 3.7.
"""

from collections.abc import Generator, Mapping
from typing import Any, Final, Self

from homeport.codec import messages
from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.long_messages import Step, decode_in_parts
from homeport.codec.messages import FaultMessage, Inform, InformResponse, Message, Request, Response, VendorMessage
from homeport.codec.refusals import InvalidMessage
from homeport.codec.rpc_table import RPCS
from homeport.codec.xml_write import DEFAULT_STYLE, WireStyle
from homeport.errors import LocalProtocolError, RemoteProtocolError
from homeport.session import acs_side, cpe_side
from homeport.session.events import AnyRequest, Event, Outcome, QuirksSeen, SessionEnded, name_of
from homeport.session.record import freeze, thaw
from homeport.session.states import HELD, MAY_REQUEST, TABLE, TOLERATED, WAITS_FOR, Kind, State
from homeport.terms import CwmpVersion, FaultCode, Role

ALL_VERSIONS: Final = tuple(CwmpVersion)

ANSWER_WITHOUT_ID: Final = "answer-without-id"
ANSWER_WITH_OTHER_ID: Final = "answer-with-other-id"
"""Quirks: an answer does not echo the ID of its request. Only one request is ever open, so there is nothing to mix up."""

EMPTY_ENVELOPE: Final = "empty-envelope"
"""Quirk: an envelope without a message, where an empty HTTP body was meant."""

_ANSWERS: Final = frozenset(
    {
        Kind.RESPONSE,
        Kind.RESPONSE_HOLD,
        Kind.FAULT,
        Kind.FAULT_HOLD,
        Kind.RETRY,
        Kind.INFORM_RESPONSE,
        Kind.INFORM_RESPONSE_HOLD,
    }
)
_CALLS: Final = frozenset({Kind.REQUEST, Kind.REQUEST_HOLD, Kind.INFORM})
# Reading a member of an enumeration from its class takes 0.1 us in Python 3.11: too much for what every message asks.
_CPE, _ACS = Role.CPE, Role.ACS
_START, _ENDED = State.START, State.ENDED
_OLDEST = CwmpVersion.V1_0
_EMPTY, _INFORM, _HELD_KINDS = Kind.EMPTY, Kind.INFORM, HELD
_INFORM_RESPONSES: Final = frozenset({Kind.INFORM_RESPONSE, Kind.INFORM_RESPONSE_HOLD})
_PEERS: Final = {role: role.peer for role in Role}
_RESPONSES: Final[dict[type[Message], type[Message]]] = {entry.request: entry.response for entry in RPCS.values()}
_KINDS: Final[dict[type[Message], Kind]] = (
    dict.fromkeys(_RESPONSES, Kind.REQUEST)
    | dict.fromkeys(_RESPONSES.values(), Kind.RESPONSE)
    | {InformResponse: Kind.INFORM_RESPONSE}
)
"""Of each message of the standard, but for an Inform of a CPE."""

_URNS: Final = {version: version.urn for version in CwmpVersion}
_NOTHING: Final = Envelope(body=None)


_SAID_BY_ACS: Final = {
    FaultCode.METHOD_NOT_SUPPORTED: FaultCode.ACS_METHOD_NOT_SUPPORTED,
    FaultCode.REQUEST_DENIED: FaultCode.ACS_REQUEST_DENIED,
    FaultCode.INTERNAL_ERROR: FaultCode.ACS_INTERNAL_ERROR,
    FaultCode.INVALID_ARGUMENTS: FaultCode.ACS_INVALID_ARGUMENTS,
    FaultCode.RESOURCES_EXCEEDED: FaultCode.ACS_RESOURCES_EXCEEDED,
}
"""The reader names what is wrong in the CPE's numbers, which an ACS does not send."""


class SecondInform(RemoteProtocolError):
    """An Inform came where a session is already open: the owner gives this session up and starts a new one with the same body."""

    def __init__(self, envelope: Envelope) -> None:
        super().__init__("an Inform arrived inside an open session; it begins a new one")
        self.envelope = envelope


def kind_of(message: Message | None, sender: Role, pending: AnyRequest | None, hold: bool) -> Kind:
    """What a message is to the session.

    pending: the request that waits for an answer, which tells a vendor's answer from a vendor's request.
    hold: the HoldRequests header, which counts only from the ACS.
    """
    if message is None:
        return _EMPTY
    kind = _KINDS.get(type(message))
    if kind is None:
        kind = _other_kind(message, sender, pending)
    elif sender is _CPE:
        return _INFORM if type(message) is Inform else kind
    return _HELD_KINDS.get(kind, kind) if hold and sender is _ACS else kind


def _other_kind(message: Message, sender: Role, pending: AnyRequest | None) -> Kind:
    """The kind of a fault, or of a message that the standard does not know."""
    if isinstance(message, FaultMessage):
        retry = sender is _ACS and message.fault_code == FaultCode.ACS_RETRY_REQUEST
        return Kind.RETRY if retry else Kind.FAULT
    if isinstance(message, VendorMessage):
        return Kind.RESPONSE if pending is not None and _answers(message, pending) else Kind.REQUEST
    return Kind.RESPONSE if isinstance(message, Response) else Kind.REQUEST


def _answers(message: Message, request: AnyRequest) -> bool:
    """Whether a message that is no fault answers this request, by its name."""
    expected = _RESPONSES.get(type(request))
    return type(message) is expected or name_of(message) == name_of(request) + "Response"


class Session:
    """One session, from the Inform to its end; make a new one for each.

    role: which end we are. urn: the namespace that a CPE starts with; an ACS takes the peer's.
    timeout: seconds without a word from the peer after which the session has failed; the standard asks for at least 30.
    id_prefix: put before the number in the ID of our requests.
    cwmp_versions: what we speak. session_timeout: seconds; a CPE's wish, sent in its Inform (CWMP 1.3 and up).
    """

    __slots__ = (
        "_agreed",
        "_deadline",
        "_id_prefix",
        "_last_id",
        "_limits",
        "_offered",
        "_pending",
        "_pending_id",
        "_refused_id",
        "_refused_urn",
        "_retry",
        "_session_timeout",
        "_style",
        "_tries",
        "cwmp_versions",
        "newest",
        "quirks",
        "outcome",
        "reason",
        "role",
        "state",
        "timeout",
        "urn",
        "version",
    )

    def __init__(
        self,
        role: Role,
        *,
        urn: str | None = None,
        timeout: float = 30.0,
        id_prefix: str = "",
        limits: CodecLimits = DEFAULT_LIMITS,
        style: WireStyle = DEFAULT_STYLE,
        cwmp_versions: tuple[CwmpVersion, ...] = ALL_VERSIONS,
        session_timeout: int | None = None,
    ) -> None:
        if not cwmp_versions:
            raise LocalProtocolError("a session needs at least one CWMP version in cwmp_versions")
        self.role = role
        self.state: State = _START
        self.cwmp_versions = cwmp_versions
        self.newest = cwmp_versions[-1] if cwmp_versions is ALL_VERSIONS else max(cwmp_versions)
        self.version = self.newest
        self.urn = urn or _URNS[self.version]
        self.timeout = timeout
        self.outcome: Outcome | None = None
        self.reason = ""
        self.quirks: tuple[str, ...] = ()
        self._agreed = False
        self._offered = False
        self._session_timeout = session_timeout
        self._id_prefix = id_prefix
        self._last_id = 0
        self._limits = limits
        self._style = style
        self._pending: AnyRequest | None = None
        self._pending_id: str | None = None
        self._refused_id: str | None = None
        self._refused_urn = ""
        self._retry: AnyRequest | None = None
        self._tries = 0
        self._deadline: float | None = None

    # --- what the owner asks ------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """True once nothing may be said; `outcome` and `reason` are then set."""
        return self.state is State.ENDED

    @property
    def our_turn(self) -> bool:
        """True where the next message is ours."""
        return WAITS_FOR.get(self.state) is self.role

    @property
    def may_request(self) -> bool:
        """True where we may call the peer now (for a CPE: a request other than Inform)."""
        return self.state in MAY_REQUEST[self.role]

    @property
    def must_answer(self) -> AnyRequest | None:
        """The peer's request that waits for our answer."""
        return self._pending if self.our_turn else None

    @property
    def outstanding(self) -> AnyRequest | None:
        """Our request that waits for the peer's answer; after a failed end, the one whose outcome is unknown."""
        return self._pending if not self.our_turn else None

    # --- bytes ------------------------------------------------------------------------------------------------------------

    def receive(self, body: bytes, *, now: float, content_type: str = "") -> list[Event]:
        """Events caused by one HTTP body from the peer, oldest first.

        body: at most `limits.max_body` bytes; b"" is TR-069's empty POST or empty response.
        now:  seconds on any monotonic clock; only differences matter.
        Raises RemoteProtocolError if the peer may not send this now or it cannot be read; the state is then unchanged, and
        `refusal` makes the answer. Raises SecondInform at an ACS where the session is already open.
        Source: TR-069a6 3.7.1-3.7.2.
        """
        self._refused_id, self._refused_urn = None, ""
        if not body or not body.strip():
            return self._received(_NOTHING, body, now)
        try:
            envelope = decode(body, content_type=content_type, limits=self._limits, expect=self._expected())
        except RemoteProtocolError as e:
            self._unread(e)
            raise
        return self._received(envelope, body, now)

    def receive_in_parts(self, body: bytes, *, now: float, content_type: str = "") -> Generator[Step, Any, list[Event]]:
        """As `receive`, for a long body, with rests between pieces of work that take a few milliseconds: see `decode_in_parts`."""
        if body.isspace():
            return self.receive(body, now=now)
        expect = self._expected()
        try:
            envelope = yield from decode_in_parts(body, content_type=content_type, limits=self._limits, expect=expect)
        except RemoteProtocolError as e:
            self._refused_id, self._refused_urn = None, ""
            self._unread(e)
            raise
        self._refused_id, self._refused_urn = None, ""
        return self._received(envelope, body, now)

    def _received(self, envelope: Envelope, body: bytes, now: float) -> list[Event]:
        """The step that a message of the peer is."""
        sender = _PEERS[self.role]
        message = envelope.body
        kind = kind_of(message, sender, self._pending, envelope.hold_requests)
        if kind is _INFORM and sender is _CPE and self.state is not _START:
            raise SecondInform(envelope)
        quirks = envelope.quirks
        key = (self.state, sender, kind)
        after = TABLE.get(key)
        if after is None:
            if key not in TOLERATED:
                self._refused_id = envelope.id
                raise self._wrong_turn(kind, message)
            after, quirk = TOLERATED[key]
            quirks = (*quirks, quirk)
        if kind in _ANSWERS:
            quirks = self._matched(message, envelope, quirks)
        elif message is None and body and body.strip():
            quirks = (*quirks, EMPTY_ENVELOPE)
        received = cpe_side.received if sender is _ACS else acs_side.received
        events = received(self, kind, envelope, after, now)
        if quirks:
            self.quirks = tuple(dict.fromkeys(self.quirks + quirks))
            events.insert(0, QuirksSeen(quirks))
        return events

    @property
    def id_prefix(self) -> str:
        """What stands before the number in the IDs of our requests."""
        return self._id_prefix

    def adapt(self, *, style: WireStyle | None = None, id_prefix: str | None = None) -> None:
        """Speak from now on as this peer needs it; None leaves it as it is."""
        if style is not None:
            self._style = style
        if id_prefix is not None:
            self._id_prefix = id_prefix

    def send(self, message: Message | None, *, now: float, hold_requests: bool = False) -> bytes:
        """The HTTP body that carries message, and the step that goes with it. None gives b"", the empty POST or response.

        Raises LocalProtocolError where the protocol does not allow this now; the state is then unchanged.
        """
        role = self.role
        if hold_requests and role is _CPE:
            raise LocalProtocolError("only the ACS can hold requests")
        kind = kind_of(message, role, self._pending, hold_requests)
        after = TABLE.get((self.state, role, kind))
        if after is None:
            raise LocalProtocolError(
                f"the {role.upper()} may not send {_describe(kind, message)} in state {self.state}"
            )
        if message is None:
            body = b""
        elif kind in _CALLS:
            body = self._call(message, hold_requests)
        else:
            body = self._answer(message, kind, hold_requests)
        self.state = after
        if after is _ENDED:
            self._close_by(message)
        else:
            self._deadline = now + self.timeout
        return body

    def refusal(self, error: RemoteProtocolError, *, now: float) -> bytes | None:
        """The fault envelope that answers a request which `receive` refused; None where only the end of the session is an answer.

        The state stays as it was: the peer's request came and was answered. error: what `receive` raised, with its fault_code.
        """
        may_ask = self.state in MAY_REQUEST[self.role.peer] or (self.role is Role.ACS and self.state is State.START)
        held = self.state is State.CPE_TURN_HELD and self.role is Role.ACS
        code = error.fault_code
        if code is None or not (may_ask or held):
            return None
        if self.role is Role.ACS:
            code = _SAID_BY_ACS.get(code, code)
        fault = FaultMessage(fault_code=int(code), fault_string=str(error)[:256] or code.text, side=code.side)
        self._deadline = now + self.timeout
        return encode(Envelope(body=fault, id=self._refused_id, urn=self._refused_urn or self.urn), style=self._style)

    # --- time and end -----------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `deadline_passed` wants to be called, on the clock of `now`; None while it is our turn or after the end."""
        return self._deadline

    def deadline_passed(self, *, now: float) -> list[Event]:
        """Ends the session if the peer's time is over; an empty list where it is not."""
        if self._deadline is None or now < self._deadline:
            return []
        if self.state is State.LAST_CALL:
            return [self.end(Outcome.SUCCESS, "the CPE had no held requests to send")]
        waiting = f" after {name_of(self._pending)}" if self._pending is not None else ""
        return [
            self.end(
                Outcome.FAILED, f"no word from the {self.role.peer.upper()} for {self.timeout:g} s{waiting}", "timeout"
            )
        ]

    def finish(self) -> SessionEnded:
        """CPE: the session ends well without another message, where `TurnToSend.may_end` said so.

        Raises LocalProtocolError in any other state.
        """
        if self.role is not Role.CPE or self.state is not State.LAST_CALL:
            raise LocalProtocolError(f"a {self.role.upper()} cannot finish in state {self.state}; use end() to give up")
        return self.end(Outcome.SUCCESS, "both sides are done")

    def end(self, outcome: Outcome, reason: str, kind: str = "", fault: FaultMessage | None = None) -> SessionEnded:
        """Ends the session by the owner's decision or for a lost connection; `outstanding` still tells what was not answered."""
        if self._pending is not None and self.our_turn:
            self._pending = None  # the peer's request; only what we asked and never heard about matters after the end
        self.state = _ENDED
        self.outcome, self.reason = outcome, reason
        self._deadline = None
        return SessionEnded(outcome, reason, kind, fault)

    # --- record -----------------------------------------------------------------------------------------------------------

    def to_record(self) -> dict[str, Any]:
        """All that another process needs to go on, as a dict of plain values that msgpack and JSON take.

        Limits and style are the owner's settings and are given again to `from_record`.
        """
        return {
            "v": 1,
            "role": str(self.role),
            "state": str(self.state),
            "urn": self.urn,
            "version": str(self.version),
            "versions": [str(v) for v in self.cwmp_versions],
            "agreed": self._agreed,
            "offered": self._offered,
            "timeout": self.timeout,
            "session_timeout": self._session_timeout,
            "id_prefix": self._id_prefix,
            "last_id": self._last_id,
            "pending": freeze(self._pending),
            "pending_id": self._pending_id,
            "retry": freeze(self._retry),
            "tries": self._tries,
            "quirks": list(self.quirks),
            "outcome": self.outcome and str(self.outcome),
            "reason": self.reason,
        }

    @classmethod
    def from_record(
        cls,
        record: Mapping[str, Any],
        *,
        now: float,
        limits: CodecLimits = DEFAULT_LIMITS,
        style: WireStyle = DEFAULT_STYLE,
    ) -> Self:
        """The session as it was; where it waits for the peer, the peer's time starts again at `now`.

        Raises LocalProtocolError for a record that another version wrote.
        """
        if record.get("v") != 1:
            raise LocalProtocolError(f"a session record of version {record.get('v')!r} cannot be read; version 1 can")
        known = {str(v): v for v in CwmpVersion}
        session = cls(
            Role(record["role"]),
            urn=record["urn"],
            timeout=record["timeout"],
            id_prefix=record["id_prefix"],
            limits=limits,
            style=style,
            cwmp_versions=tuple(known[v] for v in record["versions"]),
            session_timeout=record["session_timeout"],
        )
        session.state = State(record["state"])
        session.version = known[record["version"]]
        session._agreed, session._offered = record["agreed"], record["offered"]
        session._last_id = record["last_id"]
        session._pending, session._pending_id = thaw(record["pending"], messages), record["pending_id"]
        session._retry, session._tries = thaw(record["retry"], messages), record["tries"]
        session.quirks = tuple(record["quirks"])
        session.outcome = Outcome(record["outcome"]) if record["outcome"] else None
        session.reason = record["reason"]
        if session.state is not State.ENDED and session.state is not State.START and not session.our_turn:
            session._deadline = now + session.timeout
        return session

    # --- inside -----------------------------------------------------------------------------------------------------------

    def _expected(self) -> type[Message] | None:
        """The message that should come."""
        if self._pending is None:
            return None
        expect: type[Message] | None = _RESPONSES.get(type(self._pending))
        if expect is None:
            entry = RPCS.get(name_of(self._pending))
            expect = entry.response if entry is not None else None
        return expect

    def _unread(self, e: RemoteProtocolError) -> None:
        """Keep whose message could not be read, for `refusal`."""
        if isinstance(e, InvalidMessage):
            self._refused_id, self._refused_urn = e.id, e.urn
        if self.role is Role.ACS and e.fault_code is FaultCode.INVALID_ARGUMENTS:
            e.fault_code = FaultCode.ACS_INVALID_ARGUMENTS

    def _wrong_turn(self, kind: Kind, message: Message | None) -> RemoteProtocolError:
        peer = self.role.peer.upper()
        what = _describe(kind, message)
        if self.state is State.START:
            return RemoteProtocolError(f"the {peer} sent {what} before an Inform: there is no session")
        held = self.state is State.CPE_TURN_HELD and kind is Kind.REQUEST
        return RemoteProtocolError(
            f"the {peer} may not send {what} in state {self.state}" + (": its requests are held" if held else ""),
            fault_code=FaultCode.ACS_REQUEST_DENIED if held else None,
        )

    def _matched(self, message: Message | None, envelope: Envelope, quirks: tuple[str, ...]) -> tuple[str, ...]:
        """quirks, with one more where the answer's ID is not its request's. Raises where it answers another method."""
        pending = self._pending
        if pending is None or message is None:
            raise RemoteProtocolError("an answer came where no request was open")
        if not isinstance(message, FaultMessage) and not _answers(message, pending):
            self._refused_id = envelope.id
            raise RemoteProtocolError(f"{name_of(message)} came as the answer to {name_of(pending)}")
        if envelope.id == self._pending_id:
            return quirks
        return (*quirks, ANSWER_WITH_OTHER_ID if envelope.id else ANSWER_WITHOUT_ID)

    def _call(self, message: Message, hold: bool) -> bytes:
        """One of our requests, under a new ID."""
        if not isinstance(message, Request | VendorMessage):
            raise LocalProtocolError(f"{name_of(message)} is not a request")
        if self._retry is not None and message != self._retry:
            raise LocalProtocolError(f"the ACS asked for {name_of(self._retry)} again; nothing else may come before it")
        entry = RPCS.get(name_of(message))
        if entry is not None:
            if self.role not in entry.callers:
                raise LocalProtocolError(f"{entry.name} is not a method that the {self.role.upper()} may call")
            if entry.since is not _OLDEST and entry.since > self.version:
                raise LocalProtocolError(f"{entry.name} needs CWMP {entry.since}; this session speaks {self.version}")
        number = self._last_id + 1
        envelope_id = f"{self._id_prefix}{number}"
        if self.role is _CPE and isinstance(message, Inform):
            envelope = cpe_side.inform_envelope(self, message, envelope_id)
        else:
            envelope = Envelope(body=message, id=envelope_id, urn=self.urn, hold_requests=hold)
        body = encode(envelope, style=self._style)
        self._last_id, self._pending, self._pending_id = number, message, envelope_id
        return body

    def _answer(self, message: Message, kind: Kind, hold: bool) -> bytes:
        """Our answer to the open request, under that request's ID."""
        pending = self._pending
        if pending is None:
            raise LocalProtocolError("there is no request to answer")
        if not isinstance(message, FaultMessage) and not _answers(message, pending):
            raise LocalProtocolError(f"{name_of(message)} does not answer {name_of(pending)}")
        if self.role is _ACS and isinstance(pending, Inform):
            envelope = acs_side.inform_answer_envelope(self, message, hold)
        else:
            envelope = Envelope(body=message, id=self._pending_id, urn=self.urn, hold_requests=hold)
        body = encode(envelope, style=self._style)
        self._pending = self._pending_id = None
        if kind in _INFORM_RESPONSES:
            self._speak_agreed()
        return body

    def _speak_agreed(self) -> None:
        """After the InformResponse, both ends use the namespace of the agreed version, where it is older than the Inform's."""
        if self._agreed and (self.version is CwmpVersion.V1_0 or self.version is CwmpVersion.V1_1):
            self.urn = _URNS[self.version]

    def _close_by(self, message: Message | None) -> None:
        """The end that our own last message makes."""
        if isinstance(message, FaultMessage):
            self.end(
                Outcome.FAILED, f"the Inform was refused: {message.fault_code} {message.fault_string}", "fault", message
            )
        else:
            self.end(Outcome.SUCCESS, "both sides are done")


def _describe(kind: Kind, message: Message | None) -> str:
    """The message for a person."""
    if message is None:
        return "an empty body"
    name = name_of(message)
    if isinstance(message, FaultMessage):
        return f"fault {message.fault_code}"
    return f"{name} with HoldRequests" if kind.endswith("_HOLD") else name
