"""The list of interoperability quirks, row by row: what each row's devices send is read, and named where it has a name.

The numbers are those of the list of 35 observations on real CPEs that Homeport keeps to. Rows that are a matter of the ACS's or the
agent's conduct, not of reading, point at the tests that show it.
"""

from hashlib import md5
from pathlib import Path

import pytest

from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.quirks import Quirk as Q
from homeport.codec.xml_write import WireStyle
from homeport.errors import RemoteProtocolError, TransportError
from homeport.http.auth import parse_challenges, parse_credentials
from homeport.http.cookies import CookieJar, set_cookie
from homeport.http.digest import DigestAuthority, ha1
from homeport.http.headers import parse_head, parse_status
from homeport.http.redirects import follow, parse_url
from homeport.session.events import InformReceived, QuirksSeen, RequestReceived, RetryDemanded, SessionEnded
from homeport.session.session import Session
from homeport.terms import Role

ROOT = Path(__file__).parents[3]
V = m.ParameterValueStruct
OPEN = (
    '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:SOAP-ENC="http://schemas.xmlsoap.org/soap/encoding/" xmlns:cwmp="urn:dslforum-org:cwmp-1-0"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
)
CLOSE = "</SOAP-ENV:Envelope>"
ID = '<SOAP-ENV:Header><cwmp:ID SOAP-ENV:mustUnderstand="1">7</cwmp:ID></SOAP-ENV:Header>'


def soap(content, header=ID, opening=OPEN):
    return f"{opening}{header}<SOAP-ENV:Body>{content}</SOAP-ENV:Body>{CLOSE}"


def inform(
    events='<Event SOAP-ENC:arrayType="cwmp:EventStruct[1]"><EventStruct><EventCode>1 BOOT</EventCode><CommandKey/></EventStruct></Event>',
    time="2026-11-21T03:08:27Z",
    parameters='<ParameterList SOAP-ENC:arrayType="cwmp:ParameterValueStruct[1]"><ParameterValueStruct><Name>Device.A</Name>'
    '<Value xsi:type="xsd:string">a</Value></ParameterValueStruct></ParameterList>',
):
    return (
        "<cwmp:Inform><DeviceId><Manufacturer>Maker</Manufacturer><OUI>00D0B1</OUI><ProductClass>P</ProductClass>"
        f"<SerialNumber>S</SerialNumber></DeviceId>{events}<MaxEnvelopes>1</MaxEnvelopes><CurrentTime>{time}</CurrentTime>"
        f"<RetryCount>0</RetryCount>{parameters}</cwmp:Inform>"
    )


def values(rows, count="1"):
    return (
        f'<cwmp:GetParameterValuesResponse><ParameterList SOAP-ENC:arrayType="cwmp:ParameterValueStruct[{count}]">{rows}'
        "</ParameterList></cwmp:GetParameterValuesResponse>"
    )


def row(value='<Value xsi:type="xsd:string">a</Value>', name="Device.A"):
    return f"<ParameterValueStruct><Name>{name}</Name>{value}</ParameterValueStruct>"


def fault(faultcode, detail):
    return soap(
        f"<SOAP-ENV:Fault><faultcode>{faultcode}</faultcode><faultstring>CWMP fault</faultstring>{detail}</SOAP-ENV:Fault>"
    )


CWMP_FAULT = "<detail><cwmp:Fault><FaultCode>9005</FaultCode><FaultString>no name</FaultString></cwmp:Fault></detail>"
EASYCWMP = (
    ' <soap_env:Envelope\n   xmlns:soap_env="http://schemas.xmlsoap.org/soap/envelope/"\n'
    '   xmlns:cwmp="urn:dslforum-org:cwmp-1-2"><soap_env:Body><cwmp:RebootResponse/></soap_env:Body></soap_env:Envelope>'
)
UNKNOWN_URN = OPEN.replace("cwmp-1-0", "cwmp-9-7")
NAMES = (
    '<cwmp:GetParameterNamesResponse><ParameterList SOAP-ENC:arrayType="cwmp:ParameterInfoStruct[{count}]">{rows}</ParameterList>'
    "</cwmp:GetParameterNamesResponse>"
)


def names(*paths):
    rows = "".join(f"<ParameterInfoStruct><Name>{p}</Name><Writable>0</Writable></ParameterInfoStruct>" for p in paths)
    return soap(NAMES.format(count=len(paths), rows=rows)), m.GetParameterNamesResponse(
        tuple(m.ParameterInfoStruct(p, False) for p in paths)
    )


def answered(*rows):
    return m.GetParameterValuesResponse(tuple(V(*r) for r in rows))


BOOT = (m.EventStruct("1 BOOT"),)


def told(events=BOOT, time="2026-11-21T03:08:27Z"):
    return m.Inform(m.DeviceIdStruct("Maker", "00D0B1", "P", "S"), events, time, 0, (V("Device.A", "a"),))


A = answered(("Device.A", "a", "string"))
NAME_FAULT = m.FaultMessage(9005, "no name", (), "Client")
NO_EVENT = '<Event SOAP-ENC:arrayType="cwmp:EventStruct[0]"></Event>'

# (row, what it is): (body, message, quirks)
READ = {
    (3, "underscore, blank before, line break in the tag, no prolog"): (EASYCWMP, m.RebootResponse(), set()),
    (3, "standalone"): (f'<?xml version="1.0" encoding="UTF-8" standalone="no"?>{EASYCWMP}', m.RebootResponse(), set()),
    (3, "blank before the prolog"): (
        f'\n<?xml version="1.0" encoding="UTF-8"?>{EASYCWMP}',
        m.RebootResponse(),
        {Q.SPACE_BEFORE_PROLOG},
    ),
    (4, "1999"): (soap(values(row())).replace("2001/", "1999/"), A, {Q.OLD_SCHEMA_NAMESPACE}),
    (4, "1999, in an Inform"): (soap(inform()).replace("2001/", "1999/"), told(), {Q.OLD_SCHEMA_NAMESPACE}),
    (5, "unknown"): (soap(inform(), opening=UNKNOWN_URN), told(), {Q.UNKNOWN_CWMP_NAMESPACE}),
    (5, "missing"): (soap("<RebootResponse/>", header=""), m.RebootResponse(), {Q.BODY_MISSING_NAMESPACE}),
    (5, "differing"): (
        soap('<cwmp:RebootResponse xmlns:cwmp="urn:dslforum-org:cwmp-1-2"/>'),
        m.RebootResponse(),
        {Q.MIXED_CWMP_NAMESPACES},
    ),
    (6, "empty header"): (soap(inform(), header="<SOAP-ENV:Header/>"), told(), set()),
    (7, "zero-padded events"): (
        soap(inform().replace("EventStruct[1]", "EventStruct[01]")),
        told(),
        {Q.ZERO_PADDED_COUNT},
    ),
    (7, "zero-padded values"): (soap(values(row(), "01")), A, {Q.ZERO_PADDED_COUNT}),
    (7, "a lie"): (soap(values(row(), "12")), A, {Q.WRONG_COUNT}),
    (7, "no number"): (soap(values(row(), "")), A, {Q.WRONG_COUNT}),
    (7, "empty"): (soap(values(row())).replace("cwmp:ParameterValueStruct[1]", ""), A, {Q.MISSING_ARRAY_TYPE}),
    (7, "none"): (
        soap(values(row())).replace(' SOAP-ENC:arrayType="cwmp:ParameterValueStruct[1]"', ""),
        A,
        {Q.MISSING_ARRAY_TYPE},
    ),
    (8, "no event"): (soap(inform(events=NO_EVENT)), told(events=()), {Q.NO_EVENT}),
    (9, "no zone"): (soap(inform(time="2026-11-21T03:08:27")), told(time="2026-11-21T03:08:27"), {Q.LOCAL_TIME}),
    (9, "+00:00"): (soap(inform(time="2026-11-21T03:08:27+00:00")), told(time="2026-11-21T03:08:27+00:00"), set()),
    (9, "unknown time"): (soap(inform(time="0001-01-01T00:00:00Z")), told(time="0001-01-01T00:00:00Z"), set()),
    (10, "Client with a prefix"): (fault("SOAP-ENV:Client", CWMP_FAULT), NAME_FAULT, set()),
    (10, "Client without"): (fault("Client", CWMP_FAULT), NAME_FAULT, set()),
    (10, "client"): (fault("client", CWMP_FAULT), NAME_FAULT, {Q.FAULT_CODE_FORM}),
    (10, "detail without namespace"): (
        fault("Client", CWMP_FAULT.replace("cwmp:", "")),
        NAME_FAULT,
        {Q.BARE_FAULT_DETAIL},
    ),
    (10, "detail of its own"): (
        fault("Client", CWMP_FAULT.replace("<cwmp:Fault>", "").replace("</cwmp:Fault>", "")),
        NAME_FAULT,
        {Q.BARE_FAULT_DETAIL},
    ),
    (11, "partial path"): (
        soap(values(row('<Value xsi:type="object"/>', "InternetGatewayDevice.DeviceInfo."))),
        answered(("InternetGatewayDevice.DeviceInfo.", "", "")),
        {Q.OBJECT_ROW, Q.UNKNOWN_TYPE},
    ),
    (11, "unknown name"): (soap(values("", "0")), answered(), set()),
    (12, "the empty path"): (
        soap(
            "<cwmp:GetParameterNames><ParameterPath></ParameterPath><NextLevel>1</NextLevel></cwmp:GetParameterNames>"
        ),
        m.GetParameterNames("", True),
        set(),
    ),
    (13, "no Value"): (soap(values(row(""))), answered(("Device.A", "", "")), {Q.MISSING_VALUE}),
    (14, "control character"): (soap(values(row(name="Device.A\x02"))), A, {Q.CONTROL_CHARACTERS}),
    (14, "reference to one"): (
        soap(values(row('<Value xsi:type="xsd:string">a&#2;</Value>'))),
        A,
        {Q.CONTROL_CHARACTERS},
    ),
    (14, "Latin-1 as UTF-8"): (
        soap(values(row('<Value xsi:type="xsd:string">Café</Value>'))).encode("latin-1"),
        answered(("Device.A", "Café", "string")),
        {Q.WRONG_ENCODING},
    ),
    (14, "windows-1252 as UTF-8"): (
        soap(values(row('<Value xsi:type="xsd:string">5 €</Value>'))).encode("cp1252"),
        answered(("Device.A", "5 €", "string")),
        {Q.WRONG_ENCODING},
    ),
    (15, "empty type"): (
        soap(values(row('<Value xsi:type="xsd:">a</Value>'))),
        answered(("Device.A", "a", "")),
        {Q.UNKNOWN_TYPE},
    ),
    (15, "vendor's type"): (
        soap(values(row('<Value xsi:type="v:StatusEnum">a</Value>'))),
        answered(("Device.A", "a", "")),
        {Q.UNKNOWN_TYPE},
    ),
    (15, "enumeration as boolean"): (
        soap(values(row('<Value xsi:type="xsd:boolean">Enabled</Value>'))),
        answered(("Device.A", "Enabled", "boolean")),
        set(),
    ),
    (24, "any Content-Type"): (soap(inform()), told(), set()),
    (26, "zero time stamps"): (
        soap(
            "<cwmp:TransferComplete><CommandKey>k</CommandKey><FaultStruct><FaultCode>0</FaultCode><FaultString/></FaultStruct>"
            "<StartTime>0001-01-01T00:00:00Z</StartTime><CompleteTime>2026-11-21T03:08:27</CompleteTime></cwmp:TransferComplete>"
        ),
        m.TransferComplete("k", m.FaultStruct(), "0001-01-01T00:00:00Z", "2026-11-21T03:08:27"),
        {Q.LOCAL_TIME},
    ),
    (30, "GetRPCMethods from a CPE"): (soap("<cwmp:GetRPCMethods/>"), m.GetRPCMethods(), set()),
    (35, "children without the object"): (*names("Device.DeviceInfo.", "Device.Time."), set()),
    (35, "the object itself"): (*names("Device."), set()),
    (35, "nothing"): (*names(), set()),
}


@pytest.mark.parametrize(("number", "what"), READ)
def test_what_the_row_s_devices_send_is_read_and_named(number, what):
    """The message, and exactly these quirks; the same the second and the third time, when its markup is known."""
    body, message, quirks = READ[number, what]
    for _ in range(3):
        envelope = decode(body if isinstance(body, bytes) else body.encode(), content_type="text/html")
        assert envelope.body == message
        assert set(envelope.quirks) == quirks


# --- what is done otherwise than by reading ------------------------------------------------------------------------------------


def opened(role=Role.ACS):
    session = Session(role)
    session.receive(soap(inform()).encode(), now=0)
    session.send(m.InformResponse(), now=0)
    return session


def row_1():
    """No prolog unless the device is known to take it."""
    answer = Envelope(m.InformResponse(), id="7")
    assert encode(answer).startswith(b"<SOAP-ENV:Envelope ")
    assert encode(answer, style=WireStyle(prolog=True)).startswith(b"<?xml ")


def row_2():
    """Known prefixes only, no default namespace; an RPC answered by nothing is tried once more, under its name."""
    body = encode(Envelope(m.GetParameterValues(("Device.A",)), id="7")).decode()
    assert {part.partition("=")[0] for part in body.split("xmlns")[1:]} == {
        ":SOAP-ENV",
        ":SOAP-ENC",
        ":cwmp",
        ":xsd",
        ":xsi",
    }
    session = opened()
    session.receive(b"", now=0)
    for tries in (1, 2):
        session.send(m.Reboot("k"), now=0)
        quirk, event = session.receive(b"", now=0)
        assert quirk == QuirksSeen(("empty-answer",))
        assert isinstance(event, RetryDemanded if tries == 1 else SessionEnded)


def row_3():
    """`SOAPAction:` empty, as any header."""
    assert parse_head(b"POST /acs HTTP/1.1\r\nSOAPAction:\r\nA: 1\r\n\r\n").get("a") == "1"


def row_5():
    """The answer speaks the namespace of the Inform, also one that nobody knows."""
    session = Session(Role.ACS)
    session.receive(soap(inform(), opening=UNKNOWN_URN).encode(), now=0)
    assert b'xmlns:cwmp="urn:dslforum-org:cwmp-9-7"' in session.send(m.InformResponse(), now=0)


def row_6():
    """The ID is echoed as it is, text too; without one there is none in the answer."""
    for text in ("inform", "SAGEM_ID_7589"):
        session = Session(Role.ACS)
        session.receive(soap(inform()).replace(">7<", f">{text}<").encode(), now=0)
        assert f">{text}</cwmp:ID>".encode() in session.send(m.InformResponse(), now=0)
    session = Session(Role.ACS)
    session.receive(soap(inform(), header="<SOAP-ENV:Header/>").encode(), now=0)
    assert b"cwmp:ID" not in session.send(m.InformResponse(), now=0)


def row_7():
    """Our own counts are exact."""
    assert b"ParameterValueStruct[2]" in encode(Envelope(answered(("Device.A",), ("Device.B",))))


def row_8():
    """An Inform without an event opens a session."""
    (quirks, event) = Session(Role.ACS).receive(soap(inform(events=NO_EVENT)).encode(), now=0)
    assert quirks == QuirksSeen(("no-event",))
    assert isinstance(event, InformReceived)


def row_9():
    """The text of a time goes out as it came in."""
    for time in ("0001-01-01T00:00:00Z", "2026-11-21T03:08:27", "2026-11-21T03:08:27+00:00"):
        assert time.encode() in encode(Envelope(told(time=time)))


def row_16():
    """An empty POST before the Inform opens nothing; the error says that it is no session."""
    with pytest.raises(RemoteProtocolError) as caught:
        Session(Role.ACS).receive(b"", now=0)
    assert (caught.value.http_status, caught.value.fault_code) == (400, None)


def row_17():
    """Digest without qop, `uri=""` and no opaque is accepted, and told."""
    server = DigestAuthority(b"x" * 32, "acs", algorithms=("MD5",))
    nonce = parse_challenges(server.challenges(0.0))[0].params["nonce"]
    proof = md5(f"{ha1('cpe', 'acs', 'secret')}:{nonce}:{md5(b'POST:').hexdigest()}".encode()).hexdigest()
    header = f'Digest username="cpe", realm="acs", nonce="{nonce}", uri="", response="{proof}"'
    verdict = server.verify(header, method="POST", uri="/acs", password="secret", now=1.0)
    assert verdict.ok
    assert set(verdict.quirks) == {"digest-without-qop", "digest-uri"}


def row_20():
    """A session knows no connection: it goes on from its record."""
    session = opened()
    again = Session.from_record(session.to_record(), now=0)
    assert again.receive(b"", now=0)
    assert again.may_request


def row_21():
    """One short cookie for the whole site; a client that obeys paths gives it back anywhere."""
    assert set_cookie("s", "1") == "s=1; Path=/"
    jar = CookieJar()
    jar.store([set_cookie("s", "1")], "acs.example", "/cwmp/x", False, 0.0)
    assert jar.header("acs.example", "/", False, 0.0) == "s=1"


def row_22():
    """An empty answer ends the session for a CPE, whatever its status."""
    cpe = Session(Role.CPE)
    cpe.send(told(), now=0)
    cpe.receive(encode(Envelope(m.InformResponse(), id="1")), now=0)
    cpe.send(None, now=0)
    assert isinstance(cpe.receive(b"", now=0)[-1], SessionEnded)


def row_23():
    """A redirect is followed five times."""
    target = parse_url("http://acs.example/cwmp")
    for followed in range(5):
        target = follow(target, f"/cwmp/{followed}", followed)
    with pytest.raises(TransportError, match="gave up after 5"):
        follow(target, "/more", 5)


def row_26():
    """TransferComplete is taken right after the Inform."""
    event = opened().receive(encode(Envelope(m.TransferComplete("k"), id="8")), now=0)[-1]
    assert event == RequestReceived(m.TransferComplete("k"), "8")


def row_27():
    """Folded header, bare line feeds, and a reason phrase that is misspelled."""
    head = parse_head(
        b'HTTP/1.1 503 Service Unvailable\nWWW-Authenticate: Digest realm="r",\n nonce="n",\n qop="auth"\n\n'
    )
    assert parse_status(head.start) == (503, "Service Unvailable")
    assert parse_challenges([head.get("www-authenticate")])[0].params == {"realm": "r", "nonce": "n", "qop": "auth"}


def row_31():
    """Parameters quoted or not, in any order and case."""
    found = parse_credentials('Digest nc="00000001",ALGORITHM="MD5", qop=auth , response=abc,username="x,y"')
    assert found.params["algorithm"] == "MD5"
    assert (found.params["nc"], found.params["qop"], found.params["username"]) == ("00000001", "auth", "x,y")


DONE = {
    int(function.__name__.removeprefix("row_")): function
    for function in (
        *(row_1, row_2, row_3, row_5, row_6, row_7, row_8, row_9, row_16, row_17, row_20, row_21, row_22, row_23),
        *(row_26, row_27, row_31),
    )
}


@pytest.mark.parametrize("number", DONE)
def test_the_row_is_kept_by_session_and_http(number):
    """What a row asks of the codec's writer, of a session or of HTTP's facts."""
    DONE[number]()


_ACS = "tests/system/test_acs_session*.py"
ELSEWHERE = {
    2: [(_ACS, "test_a_device_that_answers_empty_is_not_asked_for_ever")],
    12: [
        ("tests/unit/acs/test_acs_engine.py", "test_a_tree_that_cannot_be_listed_at_once_is_walked"),
        ("tests/unit/cpe/test_agent_rpcs.py", "test_the_empty_path_is_everything"),
    ],
    11: [(_ACS, "test_partial_paths_that_a_device_cannot_do_are_read_by_names")],
    16: [(_ACS, "test_an_empty_post_before_the_inform_opens_nothing")],
    17: [("tests/system/test_acs_auth.py", "test_a_device_logs_in_once_and_is_bound_to_its_cookie")],
    18: [("tests/system/test_acs_auth.py", "test_digest_is_offered_first_and_basic_not_without_tls")],
    19: [(_ACS, "test_answers_have_the_form_that_picky_devices_need")],
    20: [
        (_ACS, "test_a_session_goes_on_over_a_new_connection_per_message"),
        (_ACS, "test_a_device_without_cookies_is_found_by_where_it_comes_from"),
    ],
    21: [(_ACS, "test_answers_have_the_form_that_picky_devices_need")],
    22: [
        (_ACS, "test_a_session_is_answered_and_ends_with_204"),
        ("tests/unit/transport/test_driver.py", "test_200_with_an_empty_body_ends_like_204"),
    ],
    23: [("tests/system/test_transport_http_channel.py", "test_a_redirect_takes_the_session_along")],
    24: [("tests/system/test_acs_hostile.py", "test_expect_100_continue_is_honoured")],
    25: [(_ACS, "test_long_lists_are_sent_in_pieces")],
    26: [
        ("tests/system/test_acs_files_download.py", "test_transfer_complete_ends_the_task_before_or_after_the_reboot")
    ],
    27: [
        ("tests/system/test_transport_connection_request.py", "test_challenges_of_every_kind_are_answered"),
        (
            "tests/system/test_acs_connection_requests.py",
            "test_a_busy_device_is_called_again_and_a_wrong_login_is_not_repeated",
        ),
    ],
    28: [("tests/system/test_transport_connection_request.py", "test_credentials_are_tried_in_their_order")],
    29: [(_ACS, "test_a_session_goes_on_over_a_new_connection_per_message")],
    30: [(_ACS, "test_every_call_of_a_device_is_answered")],
    32: [
        ("tests/unit/acs/test_acs_engine.py", "test_one_faulty_name_does_not_spoil_the_others"),
        (_ACS, "test_names_that_cannot_be_read_do_not_stop_the_reading"),
    ],
    33: [
        ("tests/unit/cpe/test_discovery.py", "test_vegas_printed_example_is_read_with_a_warning_about_its_length"),
        ("tests/unit/cpe/test_discovery.py", "test_vegas_codes_3_and_4_are_the_periodic_inform"),
    ],
    34: [("tests/unit/cpe/test_agent_informs.py", "test_each_root_model_has_its_own_forced_parameters")],
    35: [("tests/unit/acs/test_acs_engine.py", "test_a_device_that_wants_it_so_is_walked_level_by_level")],
}


@pytest.mark.parametrize("number", ELSEWHERE)
def test_the_row_is_shown_where_it_is_somebody_else_s_matter(number):
    """The tests that this file points at are there."""
    for file, name in ELSEWHERE[number]:
        texts = [path.read_text(encoding="utf-8") for path in ROOT.glob(file)]
        assert any(f"def {name}(" in text for text in texts), f"row {number}: {name} is not in {file}"


def test_every_row_is_handled():
    """None of the 35 is left out."""
    assert {number for number, _ in READ} | set(DONE) | set(ELSEWHERE) == set(range(1, 36))
