"""The driver of a CPE session over the loopback channel: what the owner sees, says, and what becomes of everyone's mistakes."""

import asyncio

import pytest

from homeport.codec.envelope import Envelope, encode
from homeport.codec.messages import (
    AutonomousDUStateChangeComplete,
    AutonOpResultStruct,
    FaultMessage,
    GetParameterValues,
    GetParameterValuesResponse,
    GetRPCMethods,
    InformResponse,
    ParameterValueStruct,
    Reboot,
    RebootResponse,
    SetParameterValues,
    TransferComplete,
    TransferCompleteResponse,
    VendorMessage,
)
from homeport.errors import Fault, ParameterFault, TransportError
from homeport.session.events import Outcome
from homeport.session.session import Session
from homeport.terms import CwmpVersion, FaultCode, Role
from homeport.transport.driver import HttpAnswer, run_cpe_session
from homeport.transport.loopback import LoopbackAcs, LoopbackChannel
from pair.pair import BOOT, refusal

READ = GetParameterValues(("Device.",))
XML = {"content-type": "text/xml"}


class Device:
    """An owner that notes everything and answers by a table from method to answer, exception or nothing."""

    def __init__(self, requests=(), answers=None):
        self.requests = list(requests)
        self.answers = answers or {}
        self.log: list[tuple] = []

    def inform(self):
        return BOOT

    async def informed(self, answer):
        self.log.append(("informed", answer.response))

    async def next_request(self):
        return self.requests.pop(0) if self.requests else None

    async def handle(self, request):
        self.log.append(("handle", request))
        answer = self.answers.get(type(request), FaultMessage(9000, "no"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def answered(self, request, answer):
        self.log.append(("answered", request, answer))

    def trace(self, direction, body, note):
        self.log.append((direction, note))

    def said(self):
        """What went over the wire, in order."""
        return [f"{d}: {n}" for d, n in (e for e in self.log if e[0] in ("sent", "received"))]


def run(device, acs, session=None, clock=lambda: 0.0):
    """(how it ended, the channel)."""
    channel = LoopbackChannel(acs)
    end = asyncio.run(run_cpe_session(session or Session(Role.CPE), device, channel, clock=clock))
    return end, channel


def scripted(*answers):
    """An ACS that gives these answers in turn, and notes the bodies."""
    todo = list(answers)

    async def serve(body):
        serve.bodies.append(body)
        answer = todo.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, HttpAnswer):
            return answer
        return HttpAnswer(200, XML, answer if isinstance(answer, bytes) else encode(Envelope(answer, id="1")))

    serve.bodies = []
    return serve


def test_a_whole_session_in_order():
    """Inform, the CPE's request, the ACS's requests, the end; the channel is closed."""
    device = Device([TransferComplete("k")], {GetParameterValues: GetParameterValuesResponse(())})
    acs = LoopbackAcs([READ, Reboot("r")])
    end, channel = run(device, acs)
    assert end.outcome is Outcome.SUCCESS
    assert channel.closed
    assert device.said() == [
        "sent: Inform",
        "received: HTTP 200",
        "sent: TransferComplete",
        "received: HTTP 200",
        "sent: empty",
        "received: HTTP 200",
        "sent: GetParameterValuesResponse",
        "received: HTTP 200",
        "sent: Fault 9000",
        "received: HTTP 204",
    ]
    assert acs.informs == [BOOT]
    assert acs.calls == [TransferComplete("k")]
    assert acs.answers == [(READ, GetParameterValuesResponse(())), (Reboot("r"), FaultMessage(9000, "no"))]
    assert ("answered", TransferComplete("k"), TransferCompleteResponse()) in device.log


def test_the_loopback_acs_answers_what_a_cpe_may_call():
    """GetRPCMethods with what an ACS has, 8000 for a vendor's method; one object serves session after session."""
    acs = LoopbackAcs()
    device = Device([GetRPCMethods(), VendorMessage("X_Y_Z")])
    assert run(device, acs)[0].outcome is Outcome.SUCCESS
    answers = [e[2] for e in device.log if e[0] == "answered"]
    assert "TransferComplete" in answers[0].method_list and "Reboot" not in answers[0].method_list
    assert answers[1].fault_code == 8000
    assert run(Device(), acs)[0].outcome is Outcome.SUCCESS
    assert len(acs.informs) == 2


def test_the_loopback_acs_takes_a_new_inform_in_the_middle():
    """The device rebooted; its old session is gone."""
    acs = LoopbackAcs([READ])
    first, second = Session(Role.CPE), Session(Role.CPE)
    acs(first.send(BOOT, now=0))
    second.receive(acs(second.send(BOOT, now=0)).body, now=0)
    assert acs(second.send(None, now=0)).status == 200
    assert acs(b"").status == 200  # an empty answer to a request: asked once more
    assert acs(b"").status == 400
    assert acs(b"").status == 400  # no session
    assert acs(b"<x/>").status == 400


def test_the_loopback_acs_refuses_what_it_cannot_read_or_agree():
    """A missing argument is answered by a fault, versions without overlap by 8006."""
    acs = LoopbackAcs()
    body = Session(Role.CPE).send(BOOT, now=0)
    assert b">8006<" in acs(body.replace(b">1.0,1.1,1.2,1.3,1.4<", b">2.0<")).body
    start, end = body.index(b"<DeviceId>"), body.index(b"</DeviceId>") + len(b"</DeviceId>")
    assert b">8003<" in acs(body[:start] + body[end:]).body
    cpe = Session(Role.CPE)
    cpe.receive(acs(cpe.send(BOOT, now=0)).body, now=0)
    strange = Session(Role.ACS)
    strange.receive(body, now=0)
    strange.send(InformResponse(), now=0)
    strange.receive(b"", now=0)
    assert b">8000<" in acs(strange.send(READ, now=0)).body


def test_a_raised_fault_is_the_answer():
    """With its parameters; the session goes on."""
    fault = Fault(FaultCode.INVALID_ARGUMENTS, "", (ParameterFault("Device.X", FaultCode.NOT_WRITABLE, ""),))
    device = Device(answers={SetParameterValues: fault, Reboot: RebootResponse()})
    write = SetParameterValues((ParameterValueStruct("Device.X", "1"),))
    acs = LoopbackAcs([write, Reboot("r")])
    assert run(device, acs)[0].outcome is Outcome.SUCCESS
    (_, answer), (_, second) = acs.answers
    assert (answer.fault_code, answer.side) == (9003, "Client")
    assert answer.set_parameter_values_faults[0].fault_string == "Parameter is not writable"
    assert second == RebootResponse()


@pytest.mark.parametrize(
    "answer", [ValueError("bug"), RebootResponse(), GetParameterValuesResponse((ParameterValueStruct("a", "\x00"),))]
)
def test_a_defect_in_a_handler_is_answered_with_9002(answer):
    """An exception, the answer to another method, or text that XML cannot carry: the ACS's other requests are still served."""
    device = Device(answers={GetParameterValues: answer})
    acs = LoopbackAcs([READ])
    assert run(device, acs)[0].outcome is Outcome.SUCCESS
    assert acs.answers[0][1].fault_code == 9002
    assert any(e[0] == "note" for e in device.log)


def test_a_request_that_the_session_cannot_carry_counts_as_refused():
    """A method of CWMP 1.2 in a session of 1.0: the owner is told, and the session goes on."""
    moment = "2026-01-01T00:00:00Z"
    result = AutonOpResultStruct(
        "u", "Device.X.", "1", "Installed", True, "", moment, moment, operation_performed="Install"
    )
    device = Device([AutonomousDUStateChangeComplete((result,))])
    end, _ = run(device, LoopbackAcs(), Session(Role.CPE, cwmp_versions=(CwmpVersion.V1_0,)))
    assert end.outcome is Outcome.SUCCESS
    assert device.log[-3][0] == "answered" and device.log[-3][2].fault_code == 8000


def test_fault_8005_is_obeyed_by_the_driver():
    """The Inform goes again, in the same session."""
    acs = scripted(refusal(8005), InformResponse(), HttpAnswer(204, {}, b"ignored"))
    device = Device()
    assert run(device, acs)[0].outcome is Outcome.SUCCESS
    assert device.said()[2] == "sent: Inform (again)"
    assert acs.bodies[1] != b"" and acs.bodies[2] == b""


def test_a_refused_call_is_told_to_the_owner():
    """And the rest of the session follows."""
    device = Device([TransferComplete("a")])
    acs = scripted(InformResponse(), refusal(8002), HttpAnswer(200, {}, b""))
    body2 = run(device, acs)
    assert body2[0].outcome is Outcome.SUCCESS
    assert ("answered", TransferComplete("a"), refusal(8002)) in device.log


@pytest.mark.case("S05")
def test_200_with_an_empty_body_ends_like_204():
    """Seen in the wild."""
    assert run(Device(), scripted(InformResponse(), HttpAnswer(200, {}, b"")))[0].outcome is Outcome.SUCCESS


@pytest.mark.case("S07")
def test_a_held_cpe_posts_empty_and_sends_its_request_after_the_release():
    """HoldRequests, then a request without it, then the last call."""
    hold = encode(Envelope(InformResponse(), id="1", hold_requests=True))
    device = Device([TransferComplete("late")], {GetParameterValues: GetParameterValuesResponse(())})
    acs = scripted(hold, READ, HttpAnswer(204, {}, b""), TransferCompleteResponse(), HttpAnswer(204, {}, b""))
    assert run(device, acs)[0].outcome is Outcome.SUCCESS
    sent = [n for n in device.said() if n.startswith("sent")]
    assert sent == [
        "sent: Inform",
        "sent: empty",
        "sent: GetParameterValuesResponse",
        "sent: TransferComplete",
        "sent: empty",
    ]
    quiet = Device(answers={GetParameterValues: GetParameterValuesResponse(())})
    acs = scripted(hold, READ, HttpAnswer(204, {}, b""))
    assert run(quiet, acs)[0].outcome is Outcome.SUCCESS
    assert len(acs.bodies) == 3


@pytest.mark.case("S23")
@pytest.mark.parametrize("status", [302, 400, 404, 500, 503])
def test_other_statuses_fail_the_session(status):
    """The sentence names the status."""
    end, channel = run(Device(), scripted(HttpAnswer(status, {}, b"<html>sorry</html>")))
    assert (end.outcome, end.kind, end.reason) == (Outcome.FAILED, "http", f"the ACS answered HTTP {status}")
    assert channel.closed


@pytest.mark.case("S60")
def test_a_fault_under_500_is_understood():
    """As SOAP 1.1 said and CWMP does not; what is no envelope under 500 is an HTTP error."""
    end, _ = run(Device(), scripted(HttpAnswer(500, XML, encode(Envelope(refusal(8002, "full"), id="1")))))
    assert (end.kind, end.fault.fault_code) == ("fault", 8002)
    end, _ = run(Device(), scripted(HttpAnswer(500, XML, b"<html>Envelope</html>")))
    assert end.kind == "http"


@pytest.mark.case("S31")
@pytest.mark.parametrize("body", [b"<broken", b"no xml"])
def test_a_body_that_is_no_message_fails_the_session(body):
    """Ended, unsuccessful, with what was wrong."""
    end, _ = run(Device(), scripted(body))
    assert (end.outcome, end.kind) == (Outcome.FAILED, "protocol")
    assert end.reason.startswith("the ACS broke the protocol: ")


@pytest.mark.case("X09")
def test_a_message_with_a_dtd_fails_the_session():
    """Entities are never looked at, from an ACS neither."""
    evil = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + encode(Envelope(InformResponse(), id="1"))
    end, _ = run(Device(), scripted(evil))
    assert (end.outcome, end.kind) == (Outcome.FAILED, "protocol")


@pytest.mark.case("S39")
def test_a_request_of_32_kib_is_processed():
    """Every peer must take 32,768 bytes; nobody answers 9004."""
    names = tuple(f"Device.X_00256D_Table.{i}.SomeParameterName" for i in range(600))
    device = Device(
        answers={GetParameterValues: GetParameterValuesResponse(tuple(ParameterValueStruct(n) for n in names))}
    )
    acs = LoopbackAcs([GetParameterValues(names)])
    assert len(encode(Envelope(acs.requests[0]))) > 32_768
    assert run(device, acs)[0].outcome is Outcome.SUCCESS
    assert len(acs.answers[0][1].parameter_list) == 600


@pytest.mark.case("S38")
def test_letters_of_any_alphabet_arrive_as_they_are():
    """UTF-8 both ways, also beyond the basic plane, and what XML has to escape."""
    value = "Wohnzimmer \u00e4\u00f6\u00fc \u65e5\u672c \U0001f3e0 <&>\"' \t tab"
    device = Device(answers={GetParameterValues: GetParameterValuesResponse((ParameterValueStruct("A.B", value),))})
    acs = LoopbackAcs([READ])
    assert run(device, acs)[0].outcome is Outcome.SUCCESS
    assert acs.answers[0][1].parameter_list[0].value == value


@pytest.mark.case("S42")
def test_an_unknown_header_is_ignored_unless_it_must_be_understood():
    """mustUnderstand=0 is advice; 1 ends the session (unverified)."""
    good = encode(Envelope(InformResponse(), id="1"))
    extra = b'<x:New xmlns:x="urn:x" SOAP-ENV:mustUnderstand="%d">1</x:New></SOAP-ENV:Header>'
    ignored = good.replace(b"</SOAP-ENV:Header>", extra % 0)
    assert run(Device(), scripted(ignored, HttpAnswer(204, {}, b"")))[0].outcome is Outcome.SUCCESS
    assert run(Device(), scripted(good.replace(b"</SOAP-ENV:Header>", extra % 1)))[0].kind == "protocol"


@pytest.mark.case("R55")
def test_a_request_without_its_argument_is_answered_and_the_session_goes_on():
    """Fault 9003 under the request's ID."""
    cut = encode(Envelope(READ, id="x-1"))
    start, stop = cut.index(b"<ParameterNames"), cut.index(b"</ParameterNames>") + len(b"</ParameterNames>")
    acs = scripted(InformResponse(), cut[:start] + cut[stop:], HttpAnswer(204, {}, b""))
    device = Device()
    assert run(device, acs)[0].outcome is Outcome.SUCCESS
    assert b">9003<" in acs.bodies[2] and b">x-1<" in acs.bodies[2]
    assert "sent: Fault 9003" in device.said()


@pytest.mark.case("R04")
def test_a_method_of_the_acs_is_refused_without_asking_the_owner():
    """9000 for TransferComplete from an ACS."""
    acs = scripted(InformResponse(), TransferComplete("k"), HttpAnswer(204, {}, b""))
    device = Device()
    assert run(device, acs)[0].outcome is Outcome.SUCCESS
    assert b">9000<" in acs.bodies[2]
    assert not any(e[0] == "handle" for e in device.log)


@pytest.mark.case("S30")
def test_a_lost_connection_fails_the_session_with_its_kind():
    """After the InformResponse: the events it cleared stay cleared, the session counts as failed."""
    acs = scripted(InformResponse(), TransportError("the ACS closed the connection", kind="closed"))
    device = Device()
    end, channel = run(device, acs)
    assert (end.outcome, end.kind, end.reason) == (Outcome.FAILED, "closed", "the ACS closed the connection")
    assert ("informed", InformResponse()) in device.log
    assert channel.closed


def test_giving_up_aborts_the_session_and_closes_the_channel():
    """A cancelled driver, or an owner that fails, leaves no open session."""

    async def cancelled():
        forever = asyncio.Event()

        async def serve(body):
            await forever.wait()

        session, channel = Session(Role.CPE), LoopbackChannel(serve)
        task = asyncio.create_task(run_cpe_session(session, Device(), channel, clock=lambda: 0.0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return session, channel

    session, channel = asyncio.run(cancelled())
    assert session.outcome is Outcome.ABORTED
    assert channel.closed

    class Broken(Device):
        async def informed(self, answer):
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        run(Broken(), scripted(InformResponse()))
