"""What the encoder writes, and what it refuses to send."""

import pytest

from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.xml_write import WireStyle
from homeport.errors import LocalProtocolError

V = m.ParameterValueStruct
BLOCK = tuple(V(f"Device.A{i}", "1") for i in range(9))


def test_the_frame_is_what_c_clients_look_for():
    """No prolog, SOAP-ENV and cwmp prefixes, no default namespace: two C clients drop anything else (quirks 1 and 2)."""
    body = encode(Envelope(m.Reboot("k"), id="1"))
    assert body.startswith(b"<SOAP-ENV:Envelope xmlns:SOAP-ENV=")
    assert b"<SOAP-ENV:Body><cwmp:Reboot><CommandKey>k</CommandKey></cwmp:Reboot></SOAP-ENV:Body>" in body
    assert b"xmlns=" not in body


def test_prolog_and_indentation_are_per_device():
    """The style adds a declaration or line breaks; no text changes."""
    message = m.SetParameterValues((V("Device.A", " two  words \n"),), "k")
    body = encode(Envelope(message), style=WireStyle(prolog=True, pretty=True))
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<SOAP-ENV:Envelope')
    assert body.count(b"\n") > 10
    assert decode(body).body == message


@pytest.mark.case("S09")
def test_the_id_is_escaped_and_must_be_understood():
    """The ID comes back verbatim, whatever is in it (cwmp-1-0.xsd: mustUnderstand is required and 1)."""
    body = encode(Envelope(m.RebootResponse(), id='a<b>&"c"\r'))
    assert b'<cwmp:ID SOAP-ENV:mustUnderstand="1">a&lt;b&gt;&amp;"c"&#13;</cwmp:ID>' in body
    assert decode(body).id == 'a<b>&"c"\r'


@pytest.mark.case("S10")
def test_without_an_id_there_is_no_header():
    """An ID is optional."""
    assert b"Header" not in encode(Envelope(m.RebootResponse()))


@pytest.mark.case("S49")
@pytest.mark.parametrize(
    "urn",
    ["urn:dslforum-org:cwmp-1-0", "urn:dslforum-org:cwmp-1-3", "urn:dslforum-org:cwmp-9-9", "http://x.example/&y"],
)
def test_the_answer_uses_the_peers_namespace(urn):
    """Also one that does not exist; only what cannot stand in an attribute is refused."""
    if "&" in urn:
        with pytest.raises(LocalProtocolError, match="namespace"):
            encode(Envelope(m.RebootResponse(), urn=urn))
    else:
        assert decode(encode(Envelope(m.RebootResponse(), urn=urn))).urn == urn


@pytest.mark.case("R01")
def test_counts_are_exact():
    """arrayType says how many entries follow."""
    assert b'"xsd:string[2]"' in encode(Envelope(m.GetRPCMethodsResponse(("Inform", "GetRPCMethods"))))
    assert b'"cwmp:ParameterValueStruct[0]"' in encode(Envelope(m.GetParameterValuesResponse(())))


def test_characters_outside_ascii_are_references_unless_told_otherwise():
    """TR-069a6 3.4.1; a device that cannot read references gets UTF-8."""
    envelope = Envelope(m.Reboot("Žluť"))
    assert encode(envelope).isascii()
    assert "Žluť".encode() in encode(envelope, style=WireStyle(ascii=False))


@pytest.mark.parametrize("bad", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff", "\ud800"])
@pytest.mark.parametrize("place", ["value", "name", "long list", "key", "id", "info"])
def test_characters_that_xml_cannot_carry_are_refused(bad, place):
    """XML 1.0 section 2.2: refused before it is sent, wherever it stands."""
    text = f"a{bad}b"
    envelope = {
        "value": Envelope(m.SetParameterValues((V("Device.A", text),), "")),
        "name": Envelope(m.SetParameterValues((V(text, ""),), "")),
        "long list": Envelope(m.GetParameterValuesResponse((*BLOCK, V("Device.B", text)))),
        "key": Envelope(m.Reboot(text)),
        "id": Envelope(m.RebootResponse(), id=text),
        "info": Envelope(m.GetParameterNamesResponse((m.ParameterInfoStruct(text, True),))),
    }[place]
    with pytest.raises(LocalProtocolError, match=r"U\+"):
        encode(envelope)


MISTAKES = {
    "CommandKey has 33 characters": m.Reboot("k" * 33),
    "DelaySeconds is -1": m.ScheduleInform(-1),
    "Status is 2": m.DeleteObjectResponse(2),
    "InstanceNumber is 0": m.AddObjectResponse(0),
    "ParameterNames has 0 entries": m.GetParameterValues(()),
    "TimeWindowList has 3 entries": m.ScheduleDownload(
        "k", "1 F", "u", time_window_list=(m.TimeWindowStruct(0, 1, "1 A"),) * 3
    ),
    "Operations is empty": m.ChangeDUState(()),
    "Operations holds a FaultStruct": m.ChangeDUState((m.FaultStruct(),)),
    "'object' is not a type": m.SetParameterValues((V("Device.A", "1", "object"),), ""),
    "7000 is not a fault code": m.FaultMessage(7000),
    "side of a fault": m.FaultMessage(9000, side="Sender"),
    "Request is not a message": m.Request(),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_what_the_schema_forbids_is_refused(words):
    """A mistake of our own caller: named, with the element and what it must be."""
    with pytest.raises(LocalProtocolError, match=words):
        encode(Envelope(MISTAKES[words]))


def test_a_session_timeout_out_of_range_is_refused():
    """SessionTimeout is an unsignedInt (cwmp-1-3.xsd)."""
    with pytest.raises(LocalProtocolError, match="SessionTimeout"):
        encode(Envelope(m.InformResponse(), session_timeout=-1))


def test_old_base64_is_written_as_the_schema_says():
    """A type read from an old stack and kept elsewhere is written in its proper form."""
    assert b'xsi:type="xsd:base64Binary"' in encode(
        Envelope(m.SetParameterValues((V("Device.A", "QQ==", "base64"),), ""))
    )


def test_a_value_without_a_type_is_sent_as_a_string():
    """A peer gave none, and the schema demands one."""
    body = encode(Envelope(m.SetParameterValues((V("Device.A", "1", ""), V("Device.B", "<", "")), "")))
    assert body.count(b'<Value xsi:type="xsd:string">') == 2


def test_a_vendors_method_passes_through():
    """X_ methods are opaque: the element goes out as it came in, with the prefixes that its texts use."""
    body = encode(Envelope(m.VendorMessage("X_EX_Blink"), id="1"))
    assert b"<cwmp:X_EX_Blink/>" in body
    first = decode(body).body
    assert (first.method, first.namespace) == ("X_EX_Blink", "urn:dslforum-org:cwmp-1-0")
    again = decode(encode(Envelope(first)))
    assert again.body == first
    foreign = decode(
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:q="urn:q"><s:Header>'
        b'<c:ID xmlns:c="urn:dslforum-org:cwmp-1-1">5</c:ID></s:Header>'
        b'<s:Body><v:Do xmlns:v="urn:v" t="q:T"><a>\xc3\xa9</a></v:Do></s:Body></s:Envelope>'
    )
    assert foreign.body == m.VendorMessage(
        "Do", "urn:v", '<v:Do xmlns:q="urn:q" xmlns:v="urn:v" t="q:T"><a>é</a></v:Do>'
    )
    assert foreign.urn == "urn:dslforum-org:cwmp-1-1"
    assert decode(encode(Envelope(foreign.body))).body == foreign.body


@pytest.mark.parametrize(
    "message",
    [
        m.VendorMessage("X_A", "", "<X_A>"),
        m.VendorMessage("X_A", "", "<X_B/>"),
        m.VendorMessage("X_A", "", "<X_A/><X_A/>"),
        m.VendorMessage("X_A", "", "<X_A>\ud800</X_A>"),
        m.VendorMessage("X_A", "", "<!DOCTYPE a><X_A/>"),
        m.VendorMessage("X_A", "", "<X_A><!-- c --></X_A>"),
        m.VendorMessage("a b"),
        m.VendorMessage(""),
    ],
)
def test_a_vendors_method_must_be_one_plain_element(message):
    """What would break the envelope is refused."""
    with pytest.raises(LocalProtocolError):
        encode(Envelope(message))


def test_a_vendors_name_outside_ascii_stays_a_name():
    """Element names cannot be written as references."""
    message = m.VendorMessage("X_Größe", "", "<X_Größe></X_Größe>")
    assert decode(encode(Envelope(message))).body == message


def test_a_vendors_method_in_a_namespace_that_is_no_uri_is_still_read():
    """Canonical XML cannot be made of it: the element is taken as it is, and is not sent on."""
    body = (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:v="::é"><s:Body><v:X_Go a="1"/></s:Body></s:Envelope>'
    ).encode()
    message = decode(body).body
    assert (message.method, message.namespace) == ("X_Go", "::é")
    with pytest.raises(LocalProtocolError):
        encode(Envelope(message))
