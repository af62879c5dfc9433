"""Which version of CWMP a session speaks, as transcripts: each line is one HTTP message and what the other end makes of it."""

import pytest

from homeport.codec.envelope import decode
from homeport.codec.messages import (
    GetParameterValues,
    GetParameterValuesResponse,
    InformResponse,
    ParameterValueStruct,
    ScheduleDownload,
    TimeWindowStruct,
)
from homeport.errors import LocalProtocolError
from homeport.session.events import (
    QuirksSeen,
)
from homeport.session.session import Session
from homeport.terms import CwmpVersion, FaultCode, Role
from pair.pair import BOOT, Pair, refusal

READ = GetParameterValues(("Device.DeviceInfo.",))
VALUES = GetParameterValuesResponse((ParameterValueStruct("Device.DeviceInfo.SerialNumber", "S1"),))
V = CwmpVersion


@pytest.mark.case("S49")
@pytest.mark.parametrize("minor", range(5))
def test_the_acs_answers_in_the_namespace_of_the_inform(minor):
    """Also in the wild cwmp-1-3 and cwmp-1-4, which no version defines."""
    urn = f"urn:dslforum-org:cwmp-1-{minor}"
    pair = Pair(cpe_session=Session(Role.CPE, urn=urn, cwmp_versions=(V.V1_0, V.V1_1, V.V1_2, V.V1_3))).idle()
    pair.acs(READ)
    assert {decode(body).urn for _, body in pair.wire if body} == {urn}
    assert pair.acs_session.version == V.from_urn(urn)


@pytest.mark.case("S50")
def test_the_newest_common_version_is_agreed():
    """The Inform offers, the InformResponse chooses, both hold to it."""
    pair = Pair(cpe_session=Session(Role.CPE, cwmp_versions=(V.V1_0, V.V1_4))).opened()
    assert decode(pair.wire[0][1]).supported_cwmp_versions == ("1.0", "1.4")
    assert decode(pair.wire[1][1]).use_cwmp_version == "1.4"
    assert pair.cpe_session.version is pair.acs_session.version is V.V1_4


def test_no_common_version_is_refused_with_8006():
    """InformResponse is not an answer then."""
    pair = Pair(cpe_session=Session(Role.CPE, cwmp_versions=(V.V1_4,)))
    pair.acs_session = Session(Role.ACS)
    body = pair.cpe_session.send(BOOT, now=0).replace(b">1.4<", b">2.0<")
    (event,) = pair.acs_session.receive(body, now=0)
    assert event.refuse is FaultCode.ACS_VERSION_INCOMPATIBLE
    with pytest.raises(LocalProtocolError, match="8006"):
        pair.acs_session.send(InformResponse(), now=0)
    (end,) = pair.acs(refusal(event.refuse))
    assert end.fault.fault_code == 8006


@pytest.mark.case("S51")
def test_after_use_cwmp_version_newer_methods_are_not_used():
    """The ACS does not call them, a CPE answers 9000; both go on in that version's namespace."""
    both = (V.V1_0, V.V1_1, V.V1_4)
    later = ScheduleDownload(
        "k", "1 Firmware Upgrade Image", "http://f/", time_window_list=(TimeWindowStruct(0, 9, "1 At Any Time"),)
    )
    pair = Pair(cpe_session=Session(Role.CPE, cwmp_versions=both))
    pair.cpe(BOOT)
    answer = pair.acs_session.send(InformResponse(), now=0).replace(b">1.4<", b">1.1<")
    pair.cpe_session.receive(answer, now=0)
    assert (pair.cpe_session.version, pair.cpe_session.urn) == (V.V1_1, "urn:dslforum-org:cwmp-1-1")
    pair.cpe(None)
    assert pair.acs(later)[0].refuse is FaultCode.METHOD_NOT_SUPPORTED
    old = Pair(cpe_session=Session(Role.CPE, cwmp_versions=(V.V1_0, V.V1_1))).idle()
    with pytest.raises(LocalProtocolError, match=r"ScheduleDownload needs CWMP 1\.2"):
        old.acs_session.send(later, now=0)


def test_an_agreed_old_version_brings_its_namespace():
    """An ACS that knows 1.4 but may only speak 1.0 and 1.1 chooses 1.1, and both use cwmp-1-1 after the InformResponse."""
    pair = Pair(cpe_session=Session(Role.CPE, cwmp_versions=(V.V1_0, V.V1_1, V.V1_4)))
    body = pair.cpe_session.send(BOOT, now=0).replace(b">1.0,1.1,1.4<", b">1.0,1.1<")
    pair.acs_session.receive(body, now=0)
    assert decode(pair.acs_session.send(InformResponse(), now=0)).use_cwmp_version == "1.1"
    assert pair.acs_session.urn == "urn:dslforum-org:cwmp-1-1"


def test_an_old_acs_is_understood_by_its_namespace():
    """It ignores the offer; the CPE falls back to what the namespace implies, and answers in it."""
    acs = Session(Role.ACS, cwmp_versions=(V.V1_0,))
    pair = Pair(acs_session=acs)
    pair.cpe(BOOT)
    answer = acs.send(InformResponse(), now=0).replace(b"cwmp-1-2", b"cwmp-1-0")
    pair.cpe_session.receive(answer, now=0)
    assert pair.cpe_session.version is V.V1_0
    assert pair.cpe_session.urn == "urn:dslforum-org:cwmp-1-0"


@pytest.mark.parametrize("chosen", [b"2.0", b"1.3", b"x"])
def test_a_version_that_was_not_offered_is_not_taken(chosen):
    """The namespace decides then, and the device page can show the quirk."""
    pair = Pair(cpe_session=Session(Role.CPE, cwmp_versions=(V.V1_2, V.V1_4)))
    pair.cpe(BOOT)
    answer = pair.acs_session.send(InformResponse(), now=0).replace(b">1.4<", b">" + chosen + b"<")
    events = pair.cpe_session.receive(answer, now=0)
    assert QuirksSeen(("use-cwmp-version-not-offered",)) in events
    assert pair.cpe_session.version is V.V1_2


def test_an_unknown_namespace_is_spoken_back():
    """A vendor's own URN: nothing is known about the version, so nothing is forbidden."""
    urn = "urn:example-com:cwmp-9"
    pair = Pair(cpe_session=Session(Role.CPE, urn=urn, cwmp_versions=(V.V1_0, V.V1_2))).idle()
    pair.acs(READ)
    assert decode(pair.wire[-1][1]).urn == urn
    assert pair.acs_session.version is V.V1_4


def test_the_session_timeout_header_tells_1_2_from_1_3():
    """Both share a namespace; the header came with 1.3."""
    pair = Pair(cpe_session=Session(Role.CPE, cwmp_versions=(V.V1_3,), session_timeout=90)).opened()
    assert pair.acs_session.version is V.V1_3
    pair = Pair(cpe_session=Session(Role.CPE, cwmp_versions=(V.V1_2,), session_timeout=90)).opened()
    assert decode(pair.wire[0][1]).session_timeout is None


def test_a_session_needs_a_version():
    """An empty list of versions is a mistake of the caller."""
    with pytest.raises(LocalProtocolError, match="at least one"):
        Session(Role.CPE, cwmp_versions=())
