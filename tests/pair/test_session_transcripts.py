"""Whole sessions between our CPE and our ACS, as transcripts: each line is one HTTP message and what the other end makes of it."""

import pytest

from homeport.codec.envelope import decode
from homeport.codec.messages import (
    GetParameterValues,
    GetParameterValuesResponse,
    GetRPCMethods,
    GetRPCMethodsResponse,
    InformResponse,
    ParameterValueStruct,
    Reboot,
    RebootResponse,
    SetParameterValues,
    TransferComplete,
    TransferCompleteResponse,
    VendorMessage,
)
from homeport.errors import LocalProtocolError, RemoteProtocolError
from homeport.session.events import (
    FaultReceived,
    InformAnswered,
    InformReceived,
    Outcome,
    PeerIdle,
    QuirksSeen,
    RequestReceived,
    ResponseReceived,
    RetryDemanded,
    SessionEnded,
    TurnToSend,
)
from homeport.session.session import SecondInform, Session
from homeport.session.states import State
from homeport.terms import CwmpVersion, FaultCode, Role
from pair.pair import BOOT, Pair, names, refusal

READ = GetParameterValues(("Device.DeviceInfo.",))
VALUES = GetParameterValuesResponse((ParameterValueStruct("Device.DeviceInfo.SerialNumber", "S1"),))
V = CwmpVersion


@pytest.mark.case("S04")
def test_an_inform_and_nothing_else():
    """The shortest session: Inform, InformResponse, empty POST, 204."""
    pair = Pair()
    heard = pair.cpe(BOOT)
    assert heard == [InformReceived(BOOT, heard[0].envelope)]
    answered, turn = pair.acs(InformResponse())
    assert isinstance(answered, InformAnswered)
    assert turn == TurnToSend(may_request=True, may_end=False)
    assert pair.cpe(None) == [PeerIdle()]
    assert pair.acs(None) == [SessionEnded(Outcome.SUCCESS, "both sides are done")]
    assert pair.cpe_session.ended and pair.acs_session.ended
    assert pair.acs_session.outcome is Outcome.SUCCESS
    assert [body == b"" for _, body in pair.wire] == [False, False, True, True]


@pytest.mark.case("S03")
def test_nothing_but_an_inform_opens_a_session():
    """Until the InformResponse the CPE says nothing else; an ACS takes nothing else first."""
    pair = Pair()
    for message in (None, TransferComplete("k"), VALUES, refusal(9000)):
        with pytest.raises(LocalProtocolError):
            pair.cpe_session.send(message, now=0)
    pair.cpe_session.send(BOOT, now=0)
    for message in (None, TransferComplete("k")):
        with pytest.raises(LocalProtocolError):
            pair.cpe_session.send(message, now=0)


@pytest.mark.case("S43")
def test_an_empty_post_before_an_inform_is_not_a_session():
    """The ACS answers 400 (or 401 where it authenticates); no session begins."""
    with pytest.raises(RemoteProtocolError) as caught:
        Session(Role.ACS).receive(b"", now=0)
    assert caught.value.http_status == 400
    assert caught.value.fault_code is None


@pytest.mark.case("S06")
@pytest.mark.case("S45")
def test_transfer_complete_comes_before_the_first_empty_post():
    """The CPE's own requests go right after the InformResponse."""
    pair = Pair().opened()
    done = TransferComplete("key")
    assert pair.cpe(done) == [RequestReceived(done, "2")]
    assert pair.acs_session.must_answer == done
    assert pair.acs(TransferCompleteResponse()) == [ResponseReceived(done, TransferCompleteResponse()), TurnToSend()]
    assert pair.cpe(None) == [PeerIdle()]
    assert names(pair.acs(None)) == ["SessionEnded"]


@pytest.mark.case("S08")
def test_two_requests_of_the_acs_in_series():
    """Each response is in its own POST with the request's ID, and no empty POST stands between."""
    pair = Pair().idle()
    assert pair.acs(READ) == [RequestReceived(READ, "1")]
    assert pair.acs_session.outstanding == READ
    assert pair.cpe(VALUES) == [ResponseReceived(READ, VALUES)]
    assert pair.acs_session.may_request
    assert pair.acs(Reboot("r")) == [RequestReceived(Reboot("r"), "2")]
    assert pair.cpe(RebootResponse()) == [ResponseReceived(Reboot("r"), RebootResponse())]
    assert names(pair.acs(None)) == ["SessionEnded"]
    ids = [decode(body).id for _, body in pair.wire if body]
    assert ids == ["1", "1", "1", "1", "2", "2"]


@pytest.mark.case("S09")
@pytest.mark.parametrize("message_id", ["x-1", "SAGEM_ID_7589", "a&b<c>", "é"])
def test_the_id_is_echoed_verbatim(message_id):
    """Also by a fault."""
    pair = Pair(acs_session=Session(Role.ACS, id_prefix=message_id)).idle()
    pair.acs(READ)
    body = pair.cpe_session.send(refusal(9005), now=0)
    assert decode(body).id == f"{message_id}1"
    assert b'SOAP-ENV:mustUnderstand="1"' in body


@pytest.mark.case("S10")
def test_a_request_without_id_is_answered_without_id():
    """ID is optional both ways; MikroTik sends an empty header."""
    pair = Pair().idle()
    body = pair.acs_session.send(READ, now=0)
    start, end = body.index(b"<cwmp:ID"), body.index(b"</cwmp:ID>") + len(b"</cwmp:ID>")
    (event,) = pair.cpe_session.receive(body[:start] + body[end:], now=0)
    assert event == RequestReceived(READ, None)
    answer = pair.cpe_session.send(VALUES, now=0)
    assert decode(answer).id is None
    quirks, response = pair.acs_session.receive(answer, now=0)
    assert quirks == QuirksSeen(("answer-without-id",))
    assert response == ResponseReceived(READ, VALUES)


def test_an_answer_with_another_id_is_taken_with_a_quirk():
    """Only one request is ever open, so there is nothing to mix up."""
    pair = Pair().idle()
    pair.acs(READ)
    answer = pair.cpe_session.send(VALUES, now=0).replace(b">1</cwmp:ID>", b">inform</cwmp:ID>")
    assert names(pair.acs_session.receive(answer, now=0)) == ["QuirksSeen", "ResponseReceived"]
    assert "answer-with-other-id" in pair.acs_session.quirks


@pytest.mark.case("R65")
def test_the_answer_to_another_method_is_refused():
    """The state stays, so that the owner can end the session with the request's outcome unknown."""
    pair = Pair().idle()
    pair.acs(READ)
    wrong = Pair().idle()
    wrong.acs(Reboot("x"))
    with pytest.raises(RemoteProtocolError, match="RebootResponse came as the answer to GetParameterValues"):
        pair.acs_session.receive(wrong.cpe_session.send(RebootResponse(), now=0), now=0)
    assert pair.acs_session.outstanding == READ
    with pytest.raises(LocalProtocolError, match="does not answer"):
        pair.cpe_session.send(RebootResponse(), now=0)


# --- HoldRequests -------------------------------------------------------------------------------------------------------------


@pytest.mark.case("S07")
@pytest.mark.case("S46")
def test_held_requests_wait_until_the_hold_is_released():
    """The CPE posts empty, answers, and sends its request once an envelope came without HoldRequests and the ACS has no more."""
    pair = Pair()
    done = TransferComplete("key")
    pair.cpe(BOOT)
    assert pair.acs(InformResponse(), hold=True)[-1] == TurnToSend(may_request=False)
    with pytest.raises(LocalProtocolError, match="CPE_TURN_HELD"):
        pair.cpe_session.send(done, now=0)
    assert pair.cpe(None) == [PeerIdle()]
    pair.acs(READ, hold=True)
    pair.cpe(VALUES)
    assert pair.acs_session.state is State.ACS_TURN_HELD
    pair.acs(READ)
    pair.cpe(VALUES)
    assert pair.acs(None) == [TurnToSend(may_request=True, may_end=True)]
    assert not pair.acs_session.ended
    assert pair.cpe(done) == [RequestReceived(done, "2")]
    assert names(pair.acs(TransferCompleteResponse())) == ["ResponseReceived", "TurnToSend"]
    pair.cpe(None)
    assert names(pair.acs(None)) == ["SessionEnded"]


def test_a_cpe_without_held_requests_ends_quietly():
    """After the last empty response nothing more is posted; the ACS's session ends at its time limit, with success."""
    pair = Pair().opened(hold=True)
    pair.cpe(None)
    pair.acs(READ)
    pair.cpe(VALUES)
    pair.acs(None)
    assert pair.cpe_session.finish() == SessionEnded(Outcome.SUCCESS, "both sides are done")
    deadline = pair.acs_session.next_deadline()
    (end,) = pair.acs_session.deadline_passed(now=deadline)
    assert end.outcome is Outcome.SUCCESS


def test_a_cpe_that_posts_empty_after_the_end_is_tolerated():
    """Some CPEs say once more that they have nothing, where the standard lets them just stop."""
    pair = Pair().opened(hold=True)
    pair.cpe(None)
    pair.acs(READ)
    pair.cpe(VALUES)
    pair.acs(None)
    with pytest.raises(LocalProtocolError):
        pair.cpe_session.send(None, now=0)
    assert pair.acs_session.receive(b"", now=0) == [QuirksSeen(("empty-after-end",)), PeerIdle()]
    assert pair.acs_session.send(None, now=0) == b""
    assert pair.acs_session.outcome is Outcome.SUCCESS


def test_an_acs_that_ends_while_it_holds_ends_the_session():
    """The CPE keeps what it wanted to say for the next session."""
    pair = Pair().opened(hold=True)
    pair.cpe(None)
    assert names(pair.acs(None)) == ["SessionEnded"]


def test_a_request_against_a_hold_is_refused_with_8001():
    """The ACS answers the fault and its session goes on."""
    pair = Pair()
    pair.cpe(BOOT)
    pair.acs(InformResponse(), hold=True)
    cheat = Pair().opened().cpe_session.send(TransferComplete("k"), now=0)
    with pytest.raises(RemoteProtocolError, match="held") as caught:
        pair.acs_session.receive(cheat, now=0)
    fault = decode(pair.acs_session.refusal(caught.value, now=0))
    assert fault.body.fault_code == FaultCode.ACS_REQUEST_DENIED
    assert fault.id == "2"
    assert pair.cpe(None) == [PeerIdle()]


def test_a_cpe_cannot_hold_requests_nor_finish_in_the_middle():
    """Both belong to others: HoldRequests to the ACS, finish to the last call."""
    pair = Pair().opened()
    with pytest.raises(LocalProtocolError, match="only the ACS"):
        pair.cpe_session.send(None, now=0, hold_requests=True)
    with pytest.raises(LocalProtocolError, match="cannot finish"):
        pair.cpe_session.finish()
    with pytest.raises(LocalProtocolError, match="cannot finish"):
        pair.acs_session.finish()


# --- faults -------------------------------------------------------------------------------------------------------------------


@pytest.mark.case("S32")
def test_an_inform_refused_with_8005_is_sent_again_in_the_session():
    """The very same Inform, under a new ID."""
    pair = Pair()
    pair.cpe(BOOT)
    assert pair.acs(refusal(8005, "later")) == [RetryDemanded(BOOT, "8005 later")]
    with pytest.raises(LocalProtocolError, match="Inform again"):
        pair.cpe_session.send(type(BOOT)(BOOT.device_id, (), "x"), now=0)
    assert names(pair.cpe(BOOT)) == ["InformReceived"]
    assert names(pair.acs(InformResponse())) == ["InformAnswered", "TurnToSend"]


def test_fault_8005_is_obeyed_five_times():
    """The sixth counts as a refusal: the session has failed."""
    pair = Pair()
    for _ in range(5):
        pair.cpe(BOOT)
        assert names(pair.acs(refusal(8005))) == ["RetryDemanded"]
    pair.cpe(BOOT)
    (end,) = pair.acs(refusal(8005))
    assert (end.outcome, end.kind) == (Outcome.FAILED, "fault")
    assert "for the 6th time" in end.reason


def test_a_request_refused_with_8005_is_sent_again():
    """The same request; after five times it is refused as by any fault, and the session goes on."""
    pair = Pair().opened()
    done = TransferComplete("k")
    for _ in range(5):
        pair.cpe(done)
        assert names(pair.acs(refusal(8005))) == ["RetryDemanded"]
        with pytest.raises(LocalProtocolError, match="TransferComplete again"):
            pair.cpe_session.send(TransferComplete("other"), now=0)
    pair.cpe(done)
    fault, turn = pair.acs(refusal(8005))
    assert isinstance(fault, FaultReceived)
    assert turn == TurnToSend()
    assert names(pair.cpe(TransferComplete("other"))) == ["RequestReceived"]


@pytest.mark.case("S33")
def test_an_inform_refused_otherwise_ends_the_session():
    """8002 and the like: unsuccessful, retried by schedule; both ends know."""
    pair = Pair()
    pair.cpe(BOOT)
    (end,) = pair.acs(refusal(8002, "full"))
    assert end == SessionEnded(Outcome.FAILED, "the ACS refused the Inform: 8002 full", "fault", refusal(8002, "full"))
    assert pair.acs_session.outcome is Outcome.FAILED
    assert "8002" in pair.acs_session.reason


def test_a_refused_request_of_the_cpe_does_not_end_the_session():
    """The CPE gives that request up and carries on."""
    pair = Pair().opened()
    pair.cpe(TransferComplete("k"))
    fault, turn = pair.acs(refusal(8001))
    assert fault == FaultReceived(TransferComplete("k"), refusal(8001))
    assert turn == TurnToSend()


@pytest.mark.case("R63")
def test_a_fault_of_the_cpe_leaves_the_turn_with_the_acs():
    """The task failed; the next one may follow."""
    pair = Pair().idle()
    pair.acs(READ)
    assert pair.cpe(refusal(9005)) == [FaultReceived(READ, refusal(9005))]
    assert pair.acs_session.may_request
    assert names(pair.acs(Reboot("r"))) == ["RequestReceived"]


@pytest.mark.case("R03")
def test_an_unknown_method_reaches_the_owner_who_refuses_it():
    """Fault 9000, and the session continues; a vendor's method may also be answered."""
    pair = Pair().idle()
    (event,) = pair.acs(VendorMessage("X_00256D_Dance"))
    assert event.request.method == "X_00256D_Dance"
    assert pair.cpe(refusal(9000))[0].fault.fault_code == 9000
    pair.acs(VendorMessage("X_00256D_Dance"))
    (answer,) = pair.cpe(VendorMessage("X_00256D_DanceResponse"))
    assert isinstance(answer, ResponseReceived)
    assert answer.response.method == "X_00256D_DanceResponse"


@pytest.mark.case("R04")
def test_a_method_that_only_the_peer_has_can_only_be_refused():
    """A CPE that calls GetParameterValues gets 8000, an ACS that calls TransferComplete or Inform gets 9000."""
    strange = Pair().idle().acs_session.send(READ, now=0)
    pair = Pair().opened()
    (event,) = pair.acs_session.receive(strange, now=0)
    assert event.refuse is FaultCode.ACS_METHOD_NOT_SUPPORTED
    for message, body in (
        (TransferComplete("k"), Pair().opened().cpe_session.send(TransferComplete("k"), now=0)),
        (BOOT, Pair().cpe_session.send(BOOT, now=0)),
    ):
        pair = Pair().idle()
        with pytest.raises(LocalProtocolError, match="not a method that the ACS may call"):
            pair.acs_session.send(message, now=0)
        (event,) = pair.cpe_session.receive(body, now=0)
        assert event.refuse is FaultCode.METHOD_NOT_SUPPORTED


@pytest.mark.case("R02")
def test_both_ends_answer_get_rpc_methods():
    """The one method that goes both ways."""
    pair = Pair().opened()
    assert pair.cpe(GetRPCMethods()) == [RequestReceived(GetRPCMethods(), "2")]
    assert names(pair.acs(GetRPCMethodsResponse(("Inform",)))) == ["ResponseReceived", "TurnToSend"]
    pair.cpe(None)
    assert pair.acs(GetRPCMethods())[0].refuse is None


# --- quirks -------------------------------------------------------------------------------------------------------------------


def test_a_cpe_that_answers_requests_with_empty_posts_is_given_up():
    """netcwmp does so for ever where it cannot read our envelopes: one more try, then the session has failed."""
    pair = Pair().idle()
    pair.acs_session.send(READ, now=0)
    quirk, retry = pair.acs_session.receive(b"", now=0)
    assert quirk == QuirksSeen(("empty-answer",))
    assert retry == RetryDemanded(READ, "the CPE answered with an empty POST")
    assert pair.acs_session.may_request
    pair.acs_session.send(READ, now=0)
    (_, end) = pair.acs_session.receive(b"", now=0)
    assert (end.outcome, end.kind) == (Outcome.FAILED, "protocol")
    assert pair.acs_session.outstanding == READ


def test_an_envelope_without_a_message_counts_as_empty():
    """Seen where a CPE's SOAP library cannot send an empty POST."""
    pair = Pair().opened()
    body = b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body/></e:Envelope>'
    assert pair.acs_session.receive(body, now=0) == [QuirksSeen(("empty-envelope",)), PeerIdle()]
    assert Pair().opened().acs_session.receive(b"\r\n", now=0) == [PeerIdle()]


@pytest.mark.case("S48")
def test_a_second_inform_belongs_to_a_new_session():
    """The old session stays as it was; its owner takes the same body to a new one."""
    pair = Pair().idle()
    again = Session(Role.CPE).send(BOOT, now=0)
    with pytest.raises(SecondInform) as caught:
        pair.acs_session.receive(again, now=0)
    assert caught.value.envelope.body == BOOT
    assert pair.acs_session.state is State.ACS_TURN
    assert names(Session(Role.ACS).receive(again, now=0)) == ["InformReceived"]


@pytest.mark.case("S35")
def test_max_envelopes_changes_nothing():
    """It is always 1, whatever a message says."""
    pair = Pair()
    pair.cpe(BOOT)
    assert names(pair.acs(InformResponse(max_envelopes=3))) == ["InformAnswered", "TurnToSend"]
    pair.cpe(TransferComplete("a"))
    with pytest.raises(LocalProtocolError):
        pair.cpe_session.send(TransferComplete("b"), now=0)


# --- what cannot be read ------------------------------------------------------------------------------------------------------


@pytest.mark.case("S31")
@pytest.mark.parametrize("body", [b"<html>no", b"{}", b"\x00\x01"])
def test_what_is_no_envelope_cannot_be_answered(body):
    """A CPE ends its session; there is no fault that would be an answer."""
    pair = Pair()
    pair.cpe(BOOT)
    with pytest.raises(RemoteProtocolError) as caught:
        pair.cpe_session.receive(body, now=0)
    assert pair.cpe_session.refusal(caught.value, now=0) is None
    assert pair.cpe_session.state is State.INFORMED


@pytest.mark.case("R55")
def test_a_request_without_a_mandatory_argument_is_answered_with_9003():
    """The fault carries the request's ID and namespace, and the session goes on."""
    pair = Pair().idle()
    body = pair.acs_session.send(SetParameterValues((ParameterValueStruct("A", "1"),), "k"), now=0)
    start, end = body.index(b"<ParameterList"), body.index(b"</ParameterList>") + len(b"</ParameterList>")
    with pytest.raises(RemoteProtocolError) as caught:
        pair.cpe_session.receive(body[:start] + body[end:], now=0)
    answer = pair.cpe_session.refusal(caught.value, now=7.0)
    (event,) = pair.acs_session.receive(answer, now=0)
    assert event.fault.fault_code == 9003
    assert event.fault.side == "Client"
    assert pair.cpe_session.next_deadline() == 37.0
    assert names(pair.acs(READ)) == ["RequestReceived"]


def test_an_acs_says_8003_where_a_cpe_would_say_9003():
    """The same mistake, in the ACS's numbers; also to an Inform."""
    pair = Pair()
    body = pair.cpe_session.send(BOOT, now=0)
    start, end = body.index(b"<DeviceId>"), body.index(b"</DeviceId>") + len(b"</DeviceId>")
    with pytest.raises(RemoteProtocolError) as caught:
        pair.acs_session.receive(body[:start] + body[end:], now=0)
    (end_event,) = pair.cpe_session.receive(pair.acs_session.refusal(caught.value, now=0), now=0)
    assert end_event.fault.fault_code == FaultCode.ACS_INVALID_ARGUMENTS
    assert pair.acs_session.state is State.START


# --- time ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.case("S34")
def test_a_silent_acs_fails_the_session_after_thirty_seconds():
    """Loss is not delivering: the Inform never arrives."""
    cpe = Session(Role.CPE)
    cpe.send(BOOT, now=100.0)
    assert cpe.next_deadline() == 130.0
    assert cpe.deadline_passed(now=129.9) == []
    (end,) = cpe.deadline_passed(now=130.0)
    assert (end.outcome, end.kind) == (Outcome.FAILED, "timeout")
    assert end.reason == "no word from the ACS for 30 s after Inform"
    assert cpe.next_deadline() is None
    assert cpe.deadline_passed(now=999.0) == []


@pytest.mark.case("S47")
def test_a_cpe_that_disappears_leaves_its_request_unknown():
    """The ACS learns which request has no outcome."""
    pair = Pair().idle()
    pair.acs_session.send(READ, now=50.0)
    (end,) = pair.acs_session.deadline_passed(now=80.0)
    assert end.reason == "no word from the CPE for 30 s after GetParameterValues"
    assert pair.acs_session.outstanding == READ
    with pytest.raises(RemoteProtocolError):
        pair.acs_session.receive(b"", now=81.0)


@pytest.mark.parametrize(("wish", "waits"), [(90, 90), (5, 30), (4_000_000_000, 3600)])
def test_the_acs_waits_as_long_as_the_cpe_asks(wish, waits):
    """SessionTimeout lengthens the ACS's patience, within reason, and never shortens it."""
    pair = Pair(cpe_session=Session(Role.CPE, session_timeout=wish)).opened()
    assert pair.acs_session.next_deadline() == pair.now + waits


def test_there_is_no_deadline_while_it_is_our_turn():
    """Our own work has no limit here; the peer's silence has."""
    pair = Pair()
    assert pair.acs_session.next_deadline() is None
    pair.cpe(BOOT)
    assert pair.acs_session.next_deadline() is None
    assert pair.acs_session.our_turn and not pair.cpe_session.our_turn


@pytest.mark.case("S62")
def test_a_session_goes_on_in_another_process_and_connection():
    """Nothing in a session knows a connection: both ends go on from their records."""
    pair = Pair().idle()
    pair.acs(READ)
    pair.cpe_session = Session.from_record(pair.cpe_session.to_record(), now=5.0)
    pair.acs_session = Session.from_record(pair.acs_session.to_record(), now=5.0)
    assert pair.cpe(VALUES) == [ResponseReceived(READ, VALUES)]
    assert names(pair.acs(None)) == ["SessionEnded"]


def test_an_owner_can_give_up_at_any_time():
    """The event tells why; what we were asked is forgotten, what we asked is not."""
    pair = Pair().idle()
    pair.acs(READ)
    assert pair.cpe_session.end(Outcome.ABORTED, "shutting down") == SessionEnded(Outcome.ABORTED, "shutting down")
    assert pair.cpe_session.outstanding is None
    pair.acs_session.end(Outcome.FAILED, "connection lost", "closed")
    assert pair.acs_session.outstanding == READ


def test_an_answer_to_nothing_is_refused():
    """Where the record of a session was cut down to less than it was, an answer has no request."""
    pair = Pair().idle()
    pair.acs(READ)
    record = {**pair.acs_session.to_record(), "pending": None}
    answer = pair.cpe_session.send(VALUES, now=0)
    with pytest.raises(RemoteProtocolError, match="no request was open"):
        Session.from_record(record, now=0).receive(answer, now=0)
    record = {**Pair().idle().cpe_session.to_record(), "state": "ACS_ASKED"}
    with pytest.raises(LocalProtocolError, match="no request to answer"):
        Session.from_record(record, now=0).send(VALUES, now=0)
