"""What `homeport decode` says about one message: its lines, and each departure with its clause."""

import re

import pytest

from golden.codec_samples import SAMPLES, sample_name, since
from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, encode
from homeport.codec.findings import MASK, examine, sender_of
from homeport.codec.xml_write import WireStyle
from homeport.terms import Role

V = m.ParameterValueStruct
DEVICE = m.DeviceIdStruct("E", "0A1B2C", "P", "1")
TIME = "2026-03-01T10:00:00Z"


def inform(events=("2 PERIODIC",), parameters=(), device=DEVICE, time=TIME, envelopes=1):
    events = tuple(e if isinstance(e, m.EventStruct) else m.EventStruct(e) for e in events)
    return m.Inform(device, events, time, 0, tuple(parameters), envelopes)


def texts(body, level="error"):
    return [f"{f.where} {f.text} [{f.clause}]" for f in examine(body).findings if f.level == level]


@pytest.mark.parametrize("message", SAMPLES, ids=sample_name)
def test_what_homeport_writes_has_no_findings(message):
    """Every sample in its own version, as the default style writes it."""
    report = examine(encode(Envelope(message, id="1", urn=since(message).urn)))
    assert report.findings == ()
    assert report.title == message.element
    assert report.error == ""


def body_of(message, **header):
    return encode(Envelope(message, id="1", **header))


GPV = body_of(m.GetParameterValuesResponse((V("Device.A", "1"),)))

ERRORS = {
    "a wrong count": (GPV.replace(b"Struct[1]", b"Struct[5]"), "arrayType count differs", "cwmp-1-x.xsd"),
    "a text too long": (
        GPV.replace(b"Device.A", b"Device." + b"A" * 250),
        "257 characters; at most 256",
        "cwmp-1-x.xsd",
    ),
    "an event code": (body_of(inform(["BOOT"])), "'BOOT' does not match", "cwmp-1-x.xsd"),
    "an OUI": (body_of(inform()).replace(b"0A1B2C", b"0a1b2c"), "'0a1b2c' does not match", "cwmp-1-x.xsd"),
    "a number": (body_of(inform(parameters=[V("Device.A", "x", "int")])), "'x' is not of the type int", "XML Schema"),
    "a range": (
        body_of(inform(parameters=[V("Device.A", "-1", "unsignedInt")])),
        "not of the type unsignedInt",
        "XML Schema",
    ),
    "a large range": (
        body_of(inform(parameters=[V("Device.A", "4294967296", "unsignedInt")])),
        "outside the range",
        "XML Schema",
    ),
    "a date": (body_of(inform(parameters=[V("Device.A", "yesterday", "dateTime")])), "type dateTime", "XML Schema"),
    "hex": (body_of(inform(parameters=[V("Device.A", "abc", "hexBinary")])), "type hexBinary", "XML Schema"),
    "a name twice": (
        body_of(inform(parameters=[V("Device.A"), V("Device.A")])),
        "Device.A stands more than once",
        "A.3.2.1",
    ),
    "a time": (body_of(inform(time="now")), "'now' is not a dateTime", "TR-106"),
    "an event twice": (body_of(inform(["1 BOOT", "1 BOOT"])), "1 BOOT stands more than once", "3.7.1.5"),
    "a heartbeat with company": (
        body_of(inform(["14 HEARTBEAT", "1 BOOT"])),
        "14 HEARTBEAT must be the only",
        "Annex O",
    ),
    "a key with a plain event": (body_of(inform([m.EventStruct("1 BOOT", "k")])), "only M events", "3.7.1.5"),
    "two envelopes": (body_of(inform(envelopes=2)), "1 is the only value", "A.3.3.1"),
    "65 events": (
        body_of(inform(["1 BOOT"] * 64))
        .replace(b"[64]", b"[65]")
        .replace(b"</Event>", b"<EventStruct><EventCode>2 PERIODIC</EventCode><CommandKey/></EventStruct></Event>"),
        "65 entries; 0 to 64",
        "xsd",
    ),
    "an empty list": (
        body_of(m.GetParameterValues(("a",))).replace(b"<string>a</string>", b"").replace(b"[1]", b"[0]"),
        "0 entries; 1 to any number",
        "xsd",
    ),
    "a URN that no schema has": (
        body_of(m.RebootResponse(), urn="urn:dslforum-org:cwmp-1-4"),
        "No schema uses",
        "cwmp-1-4.xsd",
    ),
    "a method before its time": (body_of(m.CancelTransfer("k")), "CancelTransfer is of CWMP 1.2", "cwmp-1-2"),
    "hold by a CPE": (body_of(inform(), hold_requests=True), "Only an ACS holds requests", "3.5"),
    "a version in the wrong place": (
        body_of(m.Reboot(), use_cwmp_version="1.2"),
        "belongs into an InformResponse",
        "3.5",
    ),
    "no message": (encode(Envelope(None)), "holds no message", "SOAP 1.1"),
    "parts beside 9002": (
        body_of(m.FaultMessage(9002, "", (m.SetParameterValuesFault("a", 9007),))),
        "they belong to 9003",
        "A.5",
    ),
    "a code from nowhere": (body_of(m.FaultMessage(9002)).replace(b"9002", b"1234"), "1234 is outside", "xsd"),
    "broken XML": (GPV[:-5], "not well-formed", "SOAP"),
    "a UUID": (
        body_of(m.ChangeDUState((m.UninstallOpStruct("x"),)), urn="urn:dslforum-org:cwmp-1-2"),
        "'x' does not match",
        "xsd",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_departure_is_named_with_its_clause(name):
    """Each breach of a schema or a rule is an error that says where it stands."""
    body, words, clause = ERRORS[name]
    found = texts(body)
    assert any(words in text and clause in text.rpartition("[")[2] for text in found), found


SEEN = re.compile(
    r"TR-069a6 (3\.4\.[12]|Annex O)|TR-106 3\.2\.2|XML Schema 2|cwmp-1-[x4]\.xsd|SOAP 1\.1 / cwmp-1-x\.xsd|urn:\S+|field"
)


@pytest.mark.parametrize("name", ERRORS)
def test_a_clause_that_nobody_looked_up_says_so(name):
    """A number that was not seen in the document is marked (unverified)."""
    for finding in examine(ERRORS[name][0]).findings:
        assert finding.clause.endswith(" (unverified)") or SEEN.fullmatch(finding.clause), finding


NOTES = {
    "no ID": (encode(Envelope(m.Reboot("k"))), "has no ID"),
    "a prolog from an ACS": (
        encode(Envelope(m.Reboot("k"), id="1"), style=WireStyle(prolog=True)),
        "begins with an XML prolog",
    ),
    "a prefix of an ACS": (body_of(m.Reboot("k")).replace(b"SOAP-ENV", b"soap"), "only the envelope prefix SOAP-ENV"),
    "a large request": (
        body_of(m.GetParameterValues(tuple("n" * 200 for _ in range(200)))),
        "need not take more than 32,768",
    ),
    "a vendor's method": (body_of(m.VendorMessage("X_EX_Go")), "X_EX_Go is no method of CWMP"),
    "the other side": (body_of(m.FaultMessage(9005, "", (), "Server")), "9005 goes with Client"),
    "a comment": (GPV.replace(b"<ParameterList", b"<!-- --><ParameterList"), "holds XML comments"),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_is_legal_but_troubles_peers_is_a_note(name):
    """Notes do not make `--strict` fail."""
    body, words = NOTES[name]
    assert any(words in text for text in texts(body, "note"))
    assert texts(body) == []


def test_secrets_are_masked_unless_they_are_wanted():
    """Values of parameters that hold a password or a key, and the Password argument of a transfer."""
    values = (
        V("Device.ManagementServer.Password", "s3cret"),
        V("Device.WiFi.AccessPoint.1.Security.KeyPassphrase", "s3cret"),
    )
    for message in (m.SetParameterValues(values), m.Download("k", "1 F", "http://x/", "u", "s3cret")):
        body = body_of(message)
        shown = [line.value for line in examine(body).lines]
        assert MASK in shown
        assert "s3cret" not in shown
        assert "s3cret" in [line.value for line in examine(body, reveal=True).lines]


def test_an_empty_body_is_an_empty_post():
    """Nothing is wrong with it."""
    report = examine(b"\r\n")
    assert (report.empty, report.title, report.findings) == (True, "(empty)", ())


def test_titles_of_what_is_not_a_method():
    """A vendor's method by its name; an envelope without content; something else."""
    assert examine(body_of(m.VendorMessage("X_EX_Go"))).title == "X_EX_Go"
    assert examine(encode(Envelope(None))).title == "(empty Body)"
    assert examine(b"<html/>").title == "(not CWMP)"


def test_header_elements_are_lines():
    """What the header says stands before the content."""
    body = encode(
        Envelope(
            m.InformResponse(),
            id="1",
            hold_requests=True,
            use_cwmp_version="1.4",
            session_timeout=9,
            supported_cwmp_versions=("1.0", "1.4"),
        )
    )
    lines = [(line.name, line.value) for line in examine(body).lines if line.note == "header"]
    assert lines == [
        ("HoldRequests", "true"),
        ("SessionTimeout", "9 s"),
        ("SupportedCWMPVersions", "1.0, 1.4"),
        ("UseCWMPVersion", "1.4"),
    ]


@pytest.mark.parametrize(
    ("message", "sender"),
    [
        (m.Inform(DEVICE, (), TIME), Role.CPE),
        (m.InformResponse(), Role.ACS),
        (m.Reboot(), Role.ACS),
        (m.RebootResponse(), Role.CPE),
        (m.FaultMessage(9000), Role.CPE),
        (m.FaultMessage(8000), Role.ACS),
        (m.GetRPCMethods(), None),
        (m.VendorMessage("X_A"), None),
        (None, None),
    ],
)
def test_who_sends_what(message, sender):
    """The table's callers, and a fault's range of codes."""
    assert sender_of(message) is sender
