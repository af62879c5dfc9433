"""Encode then decode gives the same message, for every class and any content; and the three ways of reading a body agree."""

import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from homeport.codec import messages as m
from homeport.codec import skeletons
from homeport.codec.envelope import Envelope, _read_envelope, decode, encode
from homeport.codec.fast_lists import read_ahead
from homeport.codec.fields import Array, Flag, Nested, Number, Repeated, Text, Time
from homeport.codec.limits import DEFAULT_LIMITS
from homeport.codec.quirks import Quirk
from homeport.codec.reading import Reading
from homeport.codec.rpc_table import FIELDS
from homeport.codec.struct_table import STRUCTS
from homeport.codec.xml_read import parse, prepare
from homeport.codec.xml_write import WireStyle
from homeport.errors import ProtocolError
from homeport.terms import ValueType

CHARACTERS = st.characters(
    exclude_categories=("Cs",), exclude_characters="".join(map(chr, [*range(32), 0xFFFE, 0xFFFF]))
) | st.sampled_from("\t\n\r<>&\"' ]")
PATH = st.from_regex(r"Device(\.[A-Za-z0-9_-]{1,12}){1,4}", fullmatch=True)


def text(limit, path):
    if path:
        return PATH.filter(lambda t: limit is None or len(t) <= limit)
    return st.text(CHARACTERS, max_size=min(limit or 40, 40))


def of_kind(kind, optional):
    if isinstance(kind, Text):
        return text(kind.limit, kind.path)
    if isinstance(kind, Number):
        return st.sampled_from(kind.allowed) if kind.allowed else st.integers(kind.low, kind.high)
    if isinstance(kind, Flag):
        return st.booleans()
    if isinstance(kind, Time):
        return st.sampled_from(["2026-03-01T10:00:00Z", "0001-01-01T00:00:00Z", "2026-03-01T10:00:00.125+02:00"])
    if isinstance(kind, Nested):
        return struct(kind.part)
    if isinstance(kind, Array):
        item = of_kind(kind.item, False) if isinstance(kind.item, Text) else struct(kind.item)
        return st.lists(item, min_size=kind.low, max_size=kind.high or 6).map(tuple)
    assert isinstance(kind, Repeated)
    return st.lists(st.one_of([struct(part) for part in kind.parts.values()]), min_size=1, max_size=3).map(tuple)


def struct(cls):
    if cls is m.ParameterValueStruct:
        return st.builds(cls, PATH, st.text(CHARACTERS, max_size=30), st.sampled_from([str(t) for t in ValueType]))
    fields = STRUCTS.get(cls) or FIELDS[cls]
    parts = {f.attribute: of_kind(f.kind, f.optional) for f in fields}
    if cls is m.OptionStruct:
        parts["expiration_date"] = st.none() | st.just("2027-01-01T00:00:00Z")
    return st.builds(cls, **parts)


FAULTS = st.builds(
    m.FaultMessage,
    st.integers(9000, 9899) | st.integers(8000, 8899),
    st.text(CHARACTERS, max_size=40),
    st.lists(struct(m.SetParameterValuesFault), max_size=3).map(tuple),
    st.sampled_from(["Client", "Server"]),
)
ENVELOPES = {cls.element: struct(cls) for cls in FIELDS} | {"Fault": FAULTS}
STYLES = st.sampled_from([WireStyle(), WireStyle(ascii=False), WireStyle(prolog=True, pretty=True)])


def same_but_quirks(envelope, message, cwmp_id):
    return envelope.body == message and envelope.id == cwmp_id


@pytest.mark.parametrize("element", ENVELOPES)
def test_encode_then_decode_gives_the_same_message(element):
    """For every class, with any text that XML can carry, in every style; the third time from the remembered markup."""

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(ENVELOPES[element], st.text(CHARACTERS, max_size=20), STYLES)
    def check(message, cwmp_id, style):
        body = encode(Envelope(message, id=cwmp_id, urn="urn:dslforum-org:cwmp-1-2"), style=style)
        for _ in range(3):
            envelope = decode(body)
            assert envelope.body == message
            assert envelope.id == cwmp_id
            assert set(envelope.quirks) <= {Quirk.NO_EVENT}

    check()


HEADERS = st.builds(
    Envelope,
    st.none() | st.just(m.InformResponse()),
    id=st.none() | st.text(CHARACTERS, max_size=12),
    urn=st.sampled_from(["urn:dslforum-org:cwmp-1-0", "urn:dslforum-org:cwmp-1-4", "urn:example:other"]),
    hold_requests=st.booleans(),
    session_timeout=st.none() | st.integers(0, 2**32 - 1),
    supported_cwmp_versions=st.lists(st.sampled_from(["1.0", "1.2", "1.4"]), max_size=3).map(tuple),
    use_cwmp_version=st.none() | st.sampled_from(["1.0", "1.4"]),
)


@settings(max_examples=60, deadline=None)
@given(HEADERS)
@example(Envelope(m.InformResponse(), id=""))
def test_every_header_element_comes_back(envelope):
    """ID, HoldRequests, SessionTimeout, SupportedCWMPVersions and UseCWMPVersion; also with an empty Body."""
    back = decode(encode(envelope))
    assert (back.body, back.id, back.hold_requests) == (envelope.body, envelope.id, envelope.hold_requests)
    assert (back.session_timeout, back.use_cwmp_version) == (envelope.session_timeout, envelope.use_cwmp_version)
    assert back.supported_cwmp_versions == envelope.supported_cwmp_versions
    if envelope.body is not None:
        assert back.urn == envelope.urn


DEVICE = m.DeviceIdStruct("Example & Works", "0A1B2C", "", "S-1")


def by_tree(body):
    quirks = {}
    return _read_envelope(
        parse(prepare(body, limits=DEFAULT_LIMITS, quirks=quirks), limits=DEFAULT_LIMITS, quirks=quirks),
        Reading(DEFAULT_LIMITS, quirks),
        None,
    )


PIECES = [
    b"<ParameterValueStruct>",
    b"</ParameterValueStruct>",
    b"<Name>Device.Q</Name>",
    b'<Value xsi:type="xsd:int">1</Value>',
    b"&amp;",
    b"&#233;",
    b"&#5;",
    b"<!-- -->",
    b"]]>",
    b" ",
    b"\r\n",
    b"\x01",
    b"x",
    b"\xc3\xa9",
    b"\xef\xbf\xbf",
    b"<Value/>",
    b'<Name a="">',
    b"<![CDATA[",
    b"[7]",
    b"xs:",
    b"<ParameterInfoStruct>",
    b"?>",
    b">",
    b"Device.Q.",
    b'xmlns:xsi="u"',
]


@pytest.mark.parametrize("seed", range(40))
def test_reading_ahead_and_remembering_agree_with_the_tree(seed):
    """Bodies with random damage: whatever way was taken, the outcome is that of the plain tree."""
    rng = random.Random(seed)
    values = tuple(m.ParameterValueStruct(f"Device.Hosts.Host.{i}.Name", f"v{i}") for i in range(6))
    bodies = [
        encode(Envelope(m.GetParameterValuesResponse(values), id="1")),
        encode(
            Envelope(m.GetParameterNamesResponse(tuple(m.ParameterInfoStruct(v.name, True) for v in values)), id="2")
        ),
        encode(Envelope(m.Reboot("key"), id="3")),
        encode(Envelope(m.Inform(DEVICE, (m.EventStruct("1 BOOT"),), "2026-03-01T10:00:00Z", 0, values), id="4")),
    ]
    for _ in range(25):
        body = bytearray(rng.choice(bodies))
        for _ in range(rng.randint(0, 2)):
            place = rng.randrange(len(body))
            if rng.random() < 0.5:
                body[place:place] = rng.choice(PIECES)
            else:
                del body[place : place + rng.randint(1, 12)]
        outcomes = []
        for way in (decode, decode, decode, by_tree):
            try:
                envelope = way(bytes(body))
                outcomes.append((envelope.body, envelope.id, envelope.urn, sorted(envelope.quirks)))
            except Exception as error:
                outcomes.append((type(error).__name__, getattr(error, "fault_code", None)))
        assert outcomes[0] == outcomes[1] == outcomes[2] == outcomes[3], bytes(body)


ODD = {
    "no-value": b"<ParameterValueStruct><Name>Device.Odd</Name></ParameterValueStruct>",
    "no-name": b'<ParameterValueStruct><Value xsi:type="xsd:int">1</Value></ParameterValueStruct>',
    "unknown-type": b'<ParameterValueStruct><Name>Device.Odd</Name><Value xsi:type="v:x">1</Value></ParameterValueStruct>',
    "other-order": b'<ParameterValueStruct><Value xsi:type="xsd:int">1</Value><Name>Device.Odd</Name></ParameterValueStruct>',
    "blank": b'<ParameterValueStruct ><Name>Device.Odd</Name><Value  xsi:type = "xsd:int">1</Value></ParameterValueStruct>',
    "object": b'<ParameterValueStruct><Name>Device.Odd.</Name><Value xsi:type="xsd:string"/></ParameterValueStruct>',
    "space": b'<ParameterValueStruct><Name> Device.Odd\n</Name><Value xsi:type="xsd:int">1</Value></ParameterValueStruct>',
    "reference": b'<ParameterValueStruct><Name>Device.&#79;dd</Name><Value xsi:type="xsd:int">1</Value></ParameterValueStruct>',
    "bad-reference": b'<ParameterValueStruct><Name>Device.A</Name><Value xsi:type="xsd:int">&#2;</Value></ParameterValueStruct>',
    "cdata": b'<ParameterValueStruct><Name>Device.Odd</Name><Value xsi:type="xsd:int"><![CDATA[<1>]]></Value></ParameterValueStruct>',
    "comment": b"<!-- between -->",
    "begins-comment": b"<!-- ",
    "ends-comment": b" -->",
    "begins-cdata": b"<![CDATA[",
    "ends-cdata": b"]]>",
    "begins-row": b"<ParameterValueStruct><Name>Device.Odd</Name>",
    "ends-row": b"</ParameterValueStruct>",
    "begins-value": b'<ParameterValueStruct><Name>Device.Odd</Name><Value xsi:type="xsd:int">',
    "ends-value": b"</Value></ParameterValueStruct>",
    "second-list": b'</ParameterList><ParameterList SOAP-ENC:arrayType="cwmp:ParameterValueStruct[9]">',
    "text": b"between",
    "instruction": b"<?odd?>",
    "mark": b'<ParameterValueStruct homeport-rows="0"><Name>Device.M</Name><Value xsi:type="xsd:int">1</Value></ParameterValueStruct>',
    "undeclared": b'<ParameterValueStruct><Name>Device.A</Name><Value q:type="xsd:int">1</Value></ParameterValueStruct>',
    "rebound": b'<ParameterValueStruct xmlns:xsi="u"><Name>Device.A</Name><Value xsi:type="xsd:int">1</Value></ParameterValueStruct>',
    "end": b"</ParameterList></cwmp:GetParameterValuesResponse>",
}


def outcome_of(way, body):
    try:
        envelope = way(body)
    except ProtocolError as error:
        return type(error).__name__, getattr(error, "fault_code", None)
    return envelope.body, envelope.id, envelope.urn, sorted(envelope.quirks)


@pytest.mark.parametrize("rows", [30, 400])
@pytest.mark.parametrize("seed", range(60))
def test_odd_rows_among_even_ones_are_read_as_the_tree_reads_them(seed, rows):
    """One to three odd pieces at random places of a list, of its first and last places too; small bodies are remembered, too."""
    rng = random.Random(f"{seed} {rows}")
    types = ("int", "string", "unsignedInt")
    values = tuple(m.ParameterValueStruct(f"Device.Host.{i}.Name", f"v{i}", types[i % 3]) for i in range(rows))
    body = encode(Envelope(m.GetParameterValuesResponse(values), id="1"))
    begin = b"<ParameterValueStruct>"
    for round_ in range(12):
        pieces = body.split(begin)
        names = [rng.choice(list(ODD)) for _ in range(rng.randint(1, 3))]
        if round_ % 2:
            opening = rng.choice([name for name in ODD if name.startswith("begins-")])
            names = [opening, opening.replace("begins-", "ends-")]
        places = sorted(rng.choice([1, 2, 3, rows, rng.randint(1, rows)]) for _ in names)
        for name, place in zip(reversed(names), reversed(places), strict=True):
            pieces[place] = pieces[place].replace(b"</ParameterValueStruct>", b"</ParameterValueStruct>" + ODD[name], 1)
        odd = begin.join(pieces)
        outcomes = [outcome_of(way, odd) for way in (decode, decode, decode, by_tree)]
        assert outcomes[0] == outcomes[1] == outcomes[2] == outcomes[3], (names, places)


@pytest.mark.parametrize("name", ["other-order", "blank", "cdata", "comment", "object"])
def test_odd_rows_do_not_send_the_whole_list_to_the_tree(name):
    """What is rare in a long list stays in the rest, in its place; the even rows around it are read ahead."""
    values = tuple(m.ParameterValueStruct(f"Device.Host.{i}.Name", f"v{i}") for i in range(300))
    body = encode(Envelope(m.GetParameterValuesResponse(values), id="1"))
    place = body.index(b"<ParameterValueStruct>", len(body) // 2)
    rows = read_ahead(body[:place] + ODD[name] + body[place:], max_text=DEFAULT_LIMITS.max_text)
    assert len(rows.names) == 300
    assert len(rows.runs) == 2
    assert len(rows.rest) < 2000


KINDS = {
    "no Value": "",
    "no type": "<Value>x</Value>",
    "self-closed, no type": "<Value/>",
    "self-closed": '<Value xsi:type="xsd:string"/>',
    "unknown type": '<Value xsi:type="v:enum">x</Value>',
    "empty type": '<Value xsi:type="xsd:">x</Value>',
    "other case": '<Value xsi:type="xsd:Boolean">x</Value>',
    "other prefix": '<Value xsi:type="xs:int">x</Value>',
    "old base64": '<Value xsi:type="xsd:base64">x</Value>',
    "blanks": '<Value\n xsi:type = "xsd:int" >x</Value>',
    "single quotes": "<Value xsi:type='xsd:int'>x</Value>",
    "more attributes": '<Value id="v" xsi:type="xsd:int">x</Value>',
    "no namespace": '<Value type="xsd:int">x</Value>',
    "rebound prefix": '<Value xmlns:xsi="u:x" xsi:type="xsd:int">x</Value>',
}


@pytest.mark.parametrize("first", ["odd", "even"])
@pytest.mark.parametrize("name", KINDS)
def test_every_other_row_of_another_kind_is_read_ahead_and_as_the_tree_reads_it(name, first):
    """Values that differ in their attributes, or are absent, stay in the fast way however many they are."""
    values = tuple(m.ParameterValueStruct(f"Device.Host.{i}.Name", f"v{i}") for i in range(60))
    rows = encode(Envelope(m.GetParameterValuesResponse(values), id="1")).decode().split("<ParameterValueStruct>")
    for place in range(1 if first == "odd" else 2, len(rows), 2):
        begin, end = rows[place].index("<Value"), rows[place].index("</ParameterValueStruct>")
        rows[place] = rows[place][:begin] + KINDS[name] + rows[place][end:]
    body = "<ParameterValueStruct>".join(rows).encode()
    ahead = read_ahead(body, max_text=DEFAULT_LIMITS.max_text)
    assert len(ahead.names) == 60
    assert {run for run, _ in ahead.marks} == {0}
    for way in (decode, decode, decode):
        assert outcome_of(way, body) == outcome_of(by_tree, body)


@pytest.mark.parametrize(
    "pair",
    [
        ('<Value xsi:type="a>b">x</Value>', '<Value xsi:type="a>x</Value>'),
        ("<Value.x/>", "<Value.x>y</Value>"),
        ('<Value a="1" a="2">x</Value>', '<Value a="1" a="2">x</Value>'),
        ("<Value q:type='xsd:int'>x</Value>", "<Value q:type='xsd:int'>x</Value>"),
    ],
)
def test_a_kind_that_is_not_just_attributes_is_left_to_the_tree(pair):
    """A quote that ends in the text, a longer tag name, an attribute twice: one row of a kind would not prove the others sound."""
    for rows in (pair, pair[::-1], (pair[0], pair[0])):
        lines = "".join(
            f"<ParameterValueStruct><Name>Device.A{i}</Name>{rows[i % 2]}</ParameterValueStruct>" for i in range(8)
        )
        lines = (
            '<ParameterValueStruct><Name>Device.B</Name><Value xsi:type="xsd:int">1</Value></ParameterValueStruct>'
            + lines
        )
        body = encode(Envelope(m.GetParameterValuesResponse(()), id="1")).decode()
        body = body.replace('[0]"></ParameterList>', f'[9]">{lines}</ParameterList>').encode()
        assert b"Device.B" in body
        for way in (decode, decode, decode):
            assert outcome_of(way, body) == outcome_of(by_tree, body)


def test_a_list_of_more_kinds_than_the_field_has_is_read_by_the_tree():
    """An attribute of its own on each row gains a peer nothing."""
    lines = "".join(
        f'<ParameterValueStruct><Name>Device.A{i}</Name><Value id="v{i}" xsi:type="xsd:int">{i}</Value></ParameterValueStruct>'
        for i in range(80)
    )
    body = encode(Envelope(m.GetParameterValuesResponse(()), id="1")).replace(
        b'[0]"></ParameterList>', f'[80]">{lines}</ParameterList>'.encode()
    )
    assert read_ahead(body, max_text=DEFAULT_LIMITS.max_text) is None
    assert len(decode(body).body.parameter_list) == 80


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize(
    ("kind", "quirk"),
    [(b"", Quirk.MISSING_TYPE), (b' xsi:type=""', Quirk.MISSING_TYPE), (b' xsi:type="xsd:"', Quirk.UNKNOWN_TYPE)],
)
def test_a_value_without_a_known_type_has_none(count, kind, quirk):
    """Whatever way the list is read: who knows the parameter may take the text as its type wants it; the quirk is named."""
    values = tuple(m.ParameterValueStruct(f"Device.Host.{i}.Name", f"v{i}", "int") for i in range(count))
    body = encode(Envelope(m.GetParameterValuesResponse(values))).replace(b' xsi:type="xsd:int"', kind)
    for way in (decode, decode, decode, by_tree):
        envelope = way(body)
        assert {row.type for row in envelope.body.parameter_list} == {""}
        assert envelope.quirks == (quirk,)


def test_the_memory_of_markups_is_bounded_and_keeps_the_last_used():
    """At most MAX_REMEMBERED skeletons, the one unused for longest goes first; large bodies are not remembered."""
    memory = skeletons.Memory(size=2)
    quirks = {}
    for name in ("A", "B", "A", "C"):
        text = encode(Envelope(m.GetParameterValues((f"Device.{name}",) * (ord(name) - 60))))
        split = memory.split(text.decode())
        found = memory.recall(split[0], DEFAULT_LIMITS)
        if found is not None:
            memory.keep(split[0], found)
        else:
            memory.learn(*split, parse(text, limits=DEFAULT_LIMITS, quirks=quirks), DEFAULT_LIMITS)
    assert len(memory) == 2
    a = memory.split(encode(Envelope(m.GetParameterValues(("Device.A",) * 5))).decode())
    assert memory.recall(a[0], DEFAULT_LIMITS) is not None
    assert memory.split("<a>" + "x" * skeletons.MAX_LENGTH + "</a>") is None


def test_a_markup_learnt_under_other_limits_is_not_used():
    """What was in order under one set of limits may not be under another."""
    body = encode(Envelope(m.Reboot("k"))).decode()
    memory = skeletons.Memory()
    split = memory.split(body)
    memory.learn(*split, parse(body.encode(), limits=DEFAULT_LIMITS, quirks={}), DEFAULT_LIMITS)
    assert memory.recall(split[0], type(DEFAULT_LIMITS)(max_depth=3)) is None
