"""The ACS's half of STUN: a datagram in, at most one answer and a fact out. No sockets, no clock.

It answers every Binding Request, but is no tool for an attacker: one short answer per question, to the asker's own IP only, few per
second and source, and nothing at all to what is not STUN. Passwords are looked up by the owner between the two steps, because they
may come from a database.
Source: TR-069a6 Annex G; RFC 3489 section 8.
"""

from collections import Counter
from dataclasses import dataclass

from homeport.errors import MessageRefused
from homeport.transport.addresses import Address
from homeport.transport.source_limits import SourceLimiter
from homeport.transport.stun_messages import (
    MessageType,
    StunErrorCode,
    StunMessage,
    decode,
    encode,
    integrity_matches,
)


@dataclass(frozen=True, slots=True)
class BindingReport:
    """What a Binding Request with CONNECTION-REQUEST-BINDING told: the device `username` can be reached at `address`.

    username: "" where the device gave none; the owner then knows it by an address that the device reports in an Inform.
    binding_change: the device says that the address is new. verified: signed with the password of `username`. A report that is not
    verified can come from anyone; it should move nothing but the address of a device that has no STUN password.
    """

    username: str
    address: Address
    binding_change: bool
    verified: bool


@dataclass(frozen=True, slots=True)
class Question:
    """A Binding Request that passed the first look. needs_password: the user name whose password `answer` must be given."""

    request: StunMessage
    datagram: bytes
    source: Address
    needs_password: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """One datagram to be sent, and what was learned."""

    datagram: bytes
    to: Address
    report: BindingReport | None = None


class StunServer:
    """Answers Binding Requests; counts what it drops, by reason, in `counts`.

    integrity_always: asks for a signature on every request of a user with a password, not on BINDING-CHANGE only; each keep-alive then
    costs the device a second request.
    """

    def __init__(self, *, limiter: SourceLimiter | None = None, integrity_always: bool = False) -> None:
        # A device's search for its binding's lifetime with all repetitions stays below 2 a second; many devices share one address
        # behind a carrier's NAT.
        if limiter is None:
            limiter = SourceLimiter(rate=50.0, burst=200, total_rate=20_000.0, total_burst=40_000)
        self._limiter = limiter
        self._integrity_always = integrity_always
        self.counts: Counter[str] = Counter()

    def examine(self, datagram: bytes, *, source: Address, now: float) -> Question | None:
        """The question in a datagram; None for what is dropped without an answer.

        now: seconds, monotonic. No signature is computed here.
        """
        if source.port == 0:
            return self._drop("port 0")
        if not self._limiter.allows(source.host, now):
            return self._drop("rate")
        try:
            request = decode(datagram)
        except MessageRefused:
            # RFC 3489 would have 400 here. Silence gives a scanner, and the victim of a forged source, nothing.
            return self._drop("malformed")
        if request.type is not MessageType.BINDING_REQUEST:
            return self._drop("not a binding request")
        self.counts["requests"] += 1
        signature_wanted = request.binding_change or self._integrity_always or request.integrity is not None
        return Question(request, datagram, source, request.username or None if signature_wanted else None)

    def answer(self, question: Question, *, local: Address, password: str | None = None) -> Reply:
        """The answer to a question.

        local: the address on which the question came in. password: of the user that `needs_password` names; None or "" where that
        user is unknown or has none.
        """
        request = question.request
        if request.not_understood:
            return self._error(question, StunErrorCode.UNKNOWN_ATTRIBUTE, unknown=request.not_understood[:4])
        if request.change_request:
            # There is one address and one port, so an answer from elsewhere cannot be had.
            return self._error(question, StunErrorCode.UNKNOWN_ATTRIBUTE, unknown=(0x0003,))
        key: bytes | None = None
        if question.needs_password and password:
            key = password.encode()
            if request.integrity is None:
                return self._error(question, StunErrorCode.UNAUTHORIZED)
            if not integrity_matches(question.datagram, key):
                return self._error(question, StunErrorCode.INTEGRITY_CHECK_FAILURE)
        to, reflected = question.source, None
        wanted = request.response_address
        if wanted is not None and wanted.host == question.source.host and wanted.port:
            to, reflected = wanted, question.source
        elif wanted is not None:
            self.counts["foreign response address"] += 1  # answered to the asker: never to a third party
        response = StunMessage(
            MessageType.BINDING_RESPONSE,
            request.transaction_id,
            mapped_address=question.source,
            source_address=local,
            reflected_from=reflected,
        )
        report = None
        if request.connection_request_binding or request.binding_change:
            report = BindingReport(request.username or "", question.source, request.binding_change, key is not None)
        self.counts["answers"] += 1
        return Reply(encode(response, key=key), to, report)

    def _error(self, question: Question, code: StunErrorCode, unknown: tuple[int, ...] = ()) -> Reply:
        self.counts[str(code.value)] += 1
        error = StunMessage(
            MessageType.BINDING_ERROR,
            question.request.transaction_id,
            error=(code.value, code.text),
            unknown_attributes=unknown,
        )
        return Reply(encode(error), question.source)

    def _drop(self, reason: str) -> Question | None:
        self.counts[reason] += 1
        return None
