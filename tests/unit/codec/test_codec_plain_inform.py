"""The Inform that is read without a tree: which bodies are plain, and that nothing is decided otherwise than by the tree."""

import random

import pytest

from homeport.codec import fast_informs, skeletons
from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.quirks import Quirk
from homeport.codec.xml_write import WireStyle
from homeport.terms import ValueType
from support.codec_ways import by_tree, outcome

DEVICE = m.DeviceIdStruct("Example Works", "0A1B2C", "797xx", "SN-000042")
EVENTS = (m.EventStruct("2 PERIODIC"), m.EventStruct("M Download", "key-1"))
VALUES = tuple(m.ParameterValueStruct(f"Device.X.{i}.Value", f"v{i}", str(kind)) for i, kind in enumerate(ValueType))
INFORM = m.Inform(DEVICE, EVENTS, "2026-03-01T10:00:00Z", 3, VALUES)
TEXT = encode(Envelope(INFORM, id="id-1", urn="urn:dslforum-org:cwmp-1-2")).decode()


def plain(text, limits=DEFAULT_LIMITS):
    return fast_informs.read_plain_inform(text, text.encode(), limits)


TYPED = TEXT
for element in ("Manufacturer", "SerialNumber", "EventCode", "CommandKey", "CurrentTime", "Name"):
    TYPED = TYPED.replace(f"<{element}>", f'<{element} xsi:type="xsd:string">')
for element in ("DeviceId", "EventStruct", "ParameterValueStruct"):
    TYPED = TYPED.replace(f"<{element}>", f'<{element} xsi:type="cwmp:{element}">')
for element in ("MaxEnvelopes", "RetryCount"):
    TYPED = TYPED.replace(f"<{element}>", f'<{element} xsi:type="xsd:unsignedInt">')

PLAIN = {
    "as Homeport writes it": TEXT,
    "pretty, with a prolog": encode(
        Envelope(INFORM, id="id-1", urn="urn:dslforum-org:cwmp-1-2"), style=WireStyle(prolog=True, pretty=True)
    ).decode(),
    "other prefixes": TEXT.replace("SOAP-ENV:", "s:").replace("xmlns:SOAP-ENV", "xmlns:s").replace("cwmp:I", "c-1:I")
    .replace("xmlns:cwmp", "xmlns:c-1").replace("xsi:", "i:").replace("xmlns:xsi", "xmlns:i"),
    "namespaces on the Inform": TEXT.replace(' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"', "").replace(
        "<cwmp:Inform>", "<cwmp:Inform xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' >"
    ),
    "everything typed, as by gSOAP": TYPED.replace("<Event ", '<Event xsi:type="SOAP-ENC:Array" '),
    "more headers": TEXT.replace(
        "</SOAP-ENV:Header>",
        "<cwmp:SessionTimeout>30</cwmp:SessionTimeout><cwmp:SupportedCWMPVersions>1.0, 1.4,"
        "</cwmp:SupportedCWMPVersions></SOAP-ENV:Header>",
    ),
    "self-closed elements": TEXT.replace("<CommandKey></CommandKey>", "<CommandKey/>"),
    "text between rows": TEXT.replace("</ParameterValueStruct>", "</ParameterValueStruct> and "),
    "references": TEXT.replace("SN-000042", "SN-000042").replace(">id-1<", ">id-&#49;<"),
    "type of another prefix": TEXT.replace('"xsd:', '"xs:'),
    "type without a prefix": TEXT.replace('"xsd:', '"'),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_inform_is_read_at_first_sight(name):
    """What most devices send needs no tree and no memory of its markup, whatever its prefixes and layout."""
    found = plain(PLAIN[name])
    assert (found.message, found.id, found.urn, found.quirks) == (INFORM, "id-1", "urn:dslforum-org:cwmp-1-2", ())
    before = len(skeletons.MEMORY)
    assert outcome(decode, PLAIN[name].encode()) == outcome(by_tree, PLAIN[name].encode())
    assert len(skeletons.MEMORY) == before


def test_references_and_other_alphabets_are_read_in_every_text():
    """Legal references in texts are resolved, characters beyond ASCII kept."""
    device = m.DeviceIdStruct("A & B", "0A1B2C", "<ü>", '"S"')
    inform = m.Inform(
        device, (m.EventStruct("X <a> &", "k&"),), "", 0, (m.ParameterValueStruct("Device.A", "]]> & Ž"),)
    )
    text = encode(Envelope(inform, id="<&>"), style=WireStyle(ascii=False)).decode()
    found = plain(text)
    assert (found.message, found.id) == (inform, "<&>")


HEADERS = {
    "both": Envelope(INFORM, id="1", session_timeout=30, supported_cwmp_versions=("1.0", "1.4")),
    "timeout": Envelope(INFORM, id="1", session_timeout=0),
    "versions": Envelope(INFORM, id="1", supported_cwmp_versions=("1.4",)),
}


@pytest.mark.parametrize("name", HEADERS)
def test_what_an_inform_may_say_in_its_header_is_plain(name):
    """SessionTimeout and SupportedCWMPVersions, as a CPE of CWMP 1.4 sends them; with a prefix declared on the ID they are not."""
    text = encode(HEADERS[name]).decode()
    found = plain(text)
    assert (found.session_timeout, found.supported_cwmp_versions) == (
        HEADERS[name].session_timeout,
        HEADERS[name].supported_cwmp_versions,
    )
    assert decode(text.encode()) == HEADERS[name]
    own = text.replace("cwmp:ID ", "c:ID xmlns:c='urn:dslforum-org:cwmp-1-0' ").replace("cwmp:ID", "c:ID")
    for other in (own, own.replace("cwmp:S", "c:S"), own.replace("cwmp:S", "q:S")):
        assert plain(other) is None
        assert outcome(decode, other.encode()) == outcome(by_tree, other.encode())


SAME_BUT = {
    "no header": ('<SOAP-ENV:Header><cwmp:ID SOAP-ENV:mustUnderstand="1">id-1</cwmp:ID></SOAP-ENV:Header>', "", None),
    "an empty header": ('<cwmp:ID SOAP-ENV:mustUnderstand="1">id-1</cwmp:ID>', "", None),
    "a closed header": (
        '<SOAP-ENV:Header><cwmp:ID SOAP-ENV:mustUnderstand="1">id-1</cwmp:ID></SOAP-ENV:Header>',
        "<SOAP-ENV:Header/>",
        None,
    ),
}


@pytest.mark.parametrize("name", SAME_BUT)
def test_an_inform_without_an_id_is_plain_too(name):
    """The ID is optional (interoperability row 6)."""
    old, new, cwmp_id = SAME_BUT[name]
    found = plain(TEXT.replace(old, new))
    assert (found.message, found.id) == (INFORM, cwmp_id)


NOT_PLAIN = {
    "a reference in the time": ("10:00:00Z<", "10:00:00&#90;<"),
    "no count": (' SOAP-ENC:arrayType="cwmp:EventStruct[2]"', ""),
    "a count in another attribute": (' SOAP-ENC:arrayType="cwmp:EventStruct[2]"', ' arrayType="cwmp:EventStruct[2]"'),
    "two counts": (' SOAP-ENC:arrayType="cwmp:EventStruct[2]"', ' a="[2]" SOAP-ENC:arrayType="[n]"'),
    "a space around a name": ("<Name>Device.X.1", "<Name> Device.X.1"),
    "an object's row": (">Device.X.1.Value<", ">Device.X.1.<"),
    "a reference in a name": (">Device.X.1.", ">Device.X.&#49;."),
    "a type without namespace": (' xsi:type="xsd:int"', ' type="xsd:int"'),
    "a long type": (' xsi:type="xsd:int"', f' xsi:type="{"x" * 200}:int"'),
    "a long tag": ("<cwmp:Inform>", f'<cwmp:Inform xmlns:x="u:{"x" * 3000}">'),
    "an unknown type": ("xsd:int", "xsd:integer"),
    "no type": (' xsi:type="xsd:int"', ""),
    "two attributes on a value": (' xsi:type="xsd:int"', ' xsi:type="xsd:int" id="1"'),
    "an attribute twice on a value": (' xsi:type="xsd:int"', ' xsi:type="xsd:int" xsi:type="xsd:int"'),
    "an undeclared prefix of a type": (' xsi:type="xsd:int"', ' q:type="xsd:int"'),
    "no value": ('<Value xsi:type="xsd:int">v1</Value>', ""),
    "a comment": ("<Event ", "<!-- --><Event "),
    "a comment between rows": ("<ParameterValueStruct>", "<!-- --><ParameterValueStruct>"),
    "CDATA": (">v1<", "><![CDATA[v1]]><"),
    "a stray end of CDATA": (">v1<", ">v1]]><"),
    "a bad reference": (">v1<", ">v1&#1;<"),
    "an entity": (">v1<", ">v1&nbsp;<"),
    "a control character": (">v1<", ">v1\x01<"),
    "a carriage return": (">v1<", ">v1\r\n<"),
    "a noncharacter": (">v1<", ">v1\uffff<"),
    "a number with a sign": ("<RetryCount>3<", "<RetryCount>+3<"),
    "a large number": ("<RetryCount>3<", "<RetryCount>99999999999<"),
    "an unknown SOAP namespace": ("schemas.xmlsoap.org/soap/envelope", "www.w3.org/2003/05/soap-envelope"),
    "an unknown CWMP namespace": ("cwmp-1-2", "cwmp-2-9"),
    "another namespace of the ID": ("<cwmp:ID ", '<cwmp:ID xmlns:cwmp="urn:dslforum-org:cwmp-1-0" '),
    "a default namespace": ("<cwmp:Inform>", '<cwmp:Inform xmlns="urn:x">'),
    "a default namespace of the list": ("<ParameterList ", '<ParameterList xmlns="urn:x" '),
    "a broken declaration": ("xmlns:cwmp=", "xmlns:cwmp "),
    "an undeclared prefix": ("xmlns:cwmp=", "xmlns:cwmq="),
    "many attributes": ("<cwmp:Inform>", "<cwmp:Inform " + " ".join(f'a{i}=""' for i in range(40)) + ">"),
    "another header": ("</SOAP-ENV:Header>", "<cwmp:HoldRequests>0</cwmp:HoldRequests></SOAP-ENV:Header>"),
    "a timeout that is no number": (
        "</SOAP-ENV:Header>",
        "<cwmp:SessionTimeout>x</cwmp:SessionTimeout></SOAP-ENV:Header>",
    ),
    "a timeout with attributes of its own": (
        "</SOAP-ENV:Header>",
        '<cwmp:SessionTimeout a="1" a="1">3</cwmp:SessionTimeout></SOAP-ENV:Header>',
    ),
    "long versions": (
        "</SOAP-ENV:Header>",
        f"<cwmp:SupportedCWMPVersions>{'1.0,' * 300}</cwmp:SupportedCWMPVersions></SOAP-ENV:Header>",
    ),
    "a long ID": (">id-1<", f">{'i' * 1025}<"),
    "another Body's end": ("</SOAP-ENV:Body>", "</SOAP-ENC:Body>"),
    "no end": ("</SOAP-ENV:Envelope>", ""),
    "text behind the end": ("</SOAP-ENV:Envelope>", "</SOAP-ENV:Envelope>x"),
    "more behind the end": ("</SOAP-ENV:Envelope>", "</SOAP-ENV:Envelope><a/>"),
    "an argument more": ("</ParameterList>", "</ParameterList><X/>"),
    "two lists": ("</ParameterList>", "</ParameterList><ParameterList></ParameterList>"),
    "another order": ("<MaxEnvelopes>1</MaxEnvelopes>", ""),
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_the_other_ways(name):
    """Everything that has a quirk or a refusal, and rare forms; the outcome is the tree's."""
    old, new = NOT_PLAIN[name]
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    assert plain(text) is None
    assert outcome(decode, text.encode()) == outcome(by_tree, text.encode())


@pytest.mark.parametrize(
    ("declared", "where"),
    [("<ParameterList ", "<OUI>"), ("<Event ", "<OUI>"), ("<cwmp:Inform", "<OUI>"), ("<q", "<OUI>"), ("<q", "<Name>")],
)
def test_a_type_needs_its_prefix_even_where_it_has_no_meaning(declared, where):
    """A prefix that another element declares, or none, is undeclared here; the parser decides."""
    declaration = ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    text = TEXT.replace(declaration, ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance"').replace("xsi:", "i:")
    text = text.replace(declared, f"{declared.rstrip()}{declaration}{' ' if declared[-1] == ' ' else ''}")
    text = text.replace(where, f'{where[:-1]} xsi:type="xsd:string">', 1)
    assert (plain(text) is None) == (declared != "<cwmp:Inform")
    assert outcome(decode, text.encode()) == outcome(by_tree, text.encode())


HABITS = {
    "no zone": ("10:00:00Z", "10:00:00", {Quirk.LOCAL_TIME}),
    "blanks around the time": ("10:00:00Z<", "10:00:00Z\n<", set()),
    "a padded count of events": ('EventStruct[2]"', 'EventStruct[02]"', {Quirk.ZERO_PADDED_COUNT}),
    "a padded count of values": ('ValueStruct[10]"', 'ValueStruct[010]"', {Quirk.ZERO_PADDED_COUNT}),
    "a count that lies": ('ValueStruct[10]"', 'ValueStruct[11]"', {Quirk.WRONG_COUNT}),
    "a count of zero": ('EventStruct[2]"', 'EventStruct[0]"', {Quirk.WRONG_COUNT}),
    "a type of 1999": ("2001/XMLSchema-instance", "1999/XMLSchema-instance", {Quirk.OLD_SCHEMA_NAMESPACE}),
    "a type in another namespace": (' xsi:type="xsd:int"', ' cwmp:type="xsd:int"', {Quirk.OLD_SCHEMA_NAMESPACE}),
}


@pytest.mark.parametrize("name", HABITS)
def test_habits_of_whole_families_of_devices_are_plain_and_named(name):
    """What Orange's, netcwmp's and easycwmp's Informs have in common does not send them to the tree."""
    old, new, quirks = HABITS[name]
    text = TEXT.replace(old, new, 1)
    found = plain(text)
    assert found.message == m.Inform(DEVICE, EVENTS, found.message.current_time, 3, VALUES)
    assert set(found.quirks) == quirks
    assert outcome(decode, text.encode()) == outcome(by_tree, text.encode())


@pytest.mark.parametrize(
    "limit", ["max_header", "max_depth", "max_text", "max_list", "max_header_text", "max_attributes"]
)
def test_an_inform_over_a_limit_is_not_plain(limit):
    """Each limit that a plain Inform could break is looked at; the tree refuses or reads it."""
    for most in (1, 3, 5, 6, 9, 11):
        limits = CodecLimits(**{limit: most})
        for text in (TEXT, PLAIN["more headers"]):
            assert outcome(decode, text.encode(), limits) == outcome(by_tree, text.encode(), limits)


PIECES = ["<", ">", "/", '"', "&", "&amp;", "]", "]]>", "=", ":", "x", " ", "\n", "\ufffe"]
PIECES += ["<a/>", "<Value>", "xmlns:q='u'", "é", "[2]", "[n]"]


@pytest.mark.parametrize("seed", range(30))
def test_damaged_informs_are_read_as_the_tree_reads_them(seed):
    """One or two random changes anywhere: the same message, quirks and refusals by every way."""
    rng = random.Random(seed)
    texts = list(PLAIN.values())
    for _ in range(40):
        text = rng.choice(texts)
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(len(text))
            choice = rng.random()
            if choice < 0.5:
                text = text[:place] + rng.choice(PIECES) + text[place:]
            elif choice < 0.8:
                text = text[:place] + text[place + rng.randint(1, 9) :]
            else:
                other = rng.randrange(len(text))
                text = text[:place] + text[other : other + rng.randint(1, 40)] + text[place:]
        body = text.encode()
        assert outcome(decode, body) == outcome(by_tree, body), text


TAGS = (
    "s",
    ' xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:e="http://schemas.xmlsoap.org/soap/encoding/"'
    ' xmlns:cwmp="urn:dslforum-org:cwmp-1-0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"',
    "cwmp",
    ' s:mustUnderstand="1"',
    "cwmp",
    "",
    ' e:arrayType="cwmp:EventStruct[n]"',
    ' e:arrayType="cwmp:ParameterValueStruct[n]"',
)
TAG_PIECES = [
    ' xmlns:x="u"',
    ' xmlns:s="urn:dslforum-org:cwmp-1-0"',
    " ",
    '"',
    "=",
    ":",
    "x",
    "xml",
    "[n]",
    "/",
    "'",
    "é",
    "1",
]
TAG_PIECES += [
    ' xmlns="http://schemas.xmlsoap.org/soap/envelope/"',
    ' xmlns:xmlx="urn:dslforum-org:cwmp-1-0"',
    ' a="1"',
]


def test_tags_that_everybody_writes_need_no_parser():
    """Their namespaces are known, with an ID and without."""
    for written in (TAGS, (*TAGS[:2], None, None, *TAGS[4:])):
        tags = fast_informs._Tags(*written)
        known = fast_informs._known_frame(tags)
        assert known is not None
        assert known == fast_informs._parsed_frame(tags)


@pytest.mark.parametrize("seed", range(20))
def test_tags_read_without_the_parser_are_what_the_parser_says(seed):
    """Whatever is changed in them: the short way gives the parser's answer, or none."""
    rng = random.Random(seed)
    for _ in range(300):
        tags = list(TAGS)
        for _ in range(rng.randint(1, 2)):
            which = rng.randrange(len(tags))
            text = tags[which]
            place = rng.randrange(len(text) + 1)
            if rng.random() < 0.7:
                tags[which] = text[:place] + rng.choice(TAG_PIECES) + text[place:]
            else:
                tags[which] = text[:place] + text[place + rng.randint(1, 6) :]
        known = fast_informs._known_frame(fast_informs._Tags(*tags))
        if known is not None:
            assert known == fast_informs._parsed_frame(fast_informs._Tags(*tags)), tags
