"""A list whose names and tags came before, and an answer that came before, are read by their values alone, and as the tree reads them."""

import random

import pytest

from homeport.codec import fast_lists
from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, _read_envelope, decode, encode
from homeport.codec.known_answers import ANSWERS, MAX_ANSWERS, KnownAnswer, KnownAnswers
from homeport.codec.known_lists import KnownLists, layout_of
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.novelty import MOST_SEEN
from homeport.codec.reading import Reading
from homeport.codec.xml_read import parse, prepare
from homeport.errors import ProtocolError

KINDS = ("string", "boolean", "unsignedInt", "string", "dateTime", "int")
COUNT = 70
NAMES = tuple(f"Device.Hosts.Host.{i}.X_EXAMPLE_Value" for i in range(COUNT))


def values(form="value {}"):
    return Envelope(
        m.GetParameterValuesResponse(
            tuple(m.ParameterValueStruct(name, form.format(i), KINDS[i % 6]) for i, name in enumerate(NAMES))
        ),
        id="1",
    )


def names():
    return Envelope(
        m.GetParameterNamesResponse(tuple(m.ParameterInfoStruct(name, i % 3 == 0) for i, name in enumerate(NAMES))),
        id="1",
    )


def by_tree(body, limits=DEFAULT_LIMITS):
    quirks = {}
    text = prepare(body, limits=limits, quirks=quirks)
    return _read_envelope(parse(text, limits=limits, quirks=quirks), Reading(limits, quirks), None)


def outcome(call, *args, **kwargs):
    try:
        envelope = call(*args, **kwargs)
    except ProtocolError as error:
        return type(error), getattr(error, "fault_code", None)
    return envelope.body, envelope.id, sorted(envelope.quirks)


@pytest.fixture(autouse=True)
def nothing_is_known():
    fast_lists.forget()
    ANSWERS.forget()
    yield
    fast_lists.forget()
    ANSWERS.forget()


def known(body, *, whole=False):
    """The body is read so often that its list is known, or (whole) all of it."""
    for _ in range(5 if whole else 3):
        decode(body)
    assert (len(fast_lists.LISTS), len(ANSWERS)) == (1, whole)


@pytest.mark.parametrize("pretty", ["", "\n    "])
@pytest.mark.parametrize("make", [values, names])
def test_a_list_that_comes_again_is_known_and_shares_its_names(make, pretty):
    """From the third time on, with other values: equal to what the tree gives, and the names are the same objects."""
    body = (
        encode(make()).replace(b"<ParameterV", f"{pretty}<ParameterV".encode()).replace(b"<N", f"{pretty}<N".encode())
    )
    known(body)
    other = body.replace(b">value ", b">").replace(b"<Writable>0", b"<Writable>1").replace(b">1</", b">true</")
    for one in (body, other):
        assert decode(one) == by_tree(one)
    first, second = decode(body).body.parameter_list, decode(other).body.parameter_list
    assert first != second or make is names
    assert all(a.name is b.name for a, b in zip(first, second, strict=True))
    ahead = fast_lists.read_ahead(other, max_text=DEFAULT_LIMITS.max_text)
    assert ahead is not None
    assert (ahead.types is not None) == (make is values)


ROW = b"<ParameterValueStruct><Name>Device.Hosts.Host.5.X_EXAMPLE_Value</Name>"
VALUE = b'<Value xsi:type="xsd:int">value 5</Value></ParameterValueStruct>'
CHANGES = {
    "another name": (b"Host.7.", b"Host.9."),
    "a longer name": (b"Host.7.", b"Host.77."),
    "the first name": (b"Host.0.", b"Host.X."),
    "the last name": (b"Host.69.", b"Host.70."),
    "an object's name": (b"Host.7.X_EXAMPLE_Value<", b"Host.7.<"),
    "a blank before a name": (b"<Name>Device.Hosts.Host.7.", b"<Name> Device.Hosts.Host.7."),
    "a reference in a name": (b"Host.7.", b"Host.&#55;."),
    "another type": (b'"xsd:int">value 5', b'"xsd:long">value 5'),
    "an unknown type": (b'"xsd:int">value 5', b'"v:enum">value 5'),
    "no type": (b' xsi:type="xsd:int">value 5', b">value 5"),
    "an attribute more": (b'"xsd:int">value 5', b'"xsd:int" id="v">value 5'),
    "a prefix that nobody declared": (b'xsi:type="xsd:int">value 5', b'x:type="xsd:int">value 5'),
    "a value closed at once": (b">value 5</Value>", b"/>"),
    "an empty value": (b">value 5<", b"><"),
    "a blank before a value": (b">value 5<", b"> value 5\n<"),
    "no value": (VALUE, b"</ParameterValueStruct>"),
    "no name": (ROW, b"<ParameterValueStruct>"),
    "a row that is only text": (ROW + VALUE, b"<ParameterValueStruct><Name>abc</Value></ParameterValueStruct>"),
    "a row that is empty": (ROW + VALUE, b"<ParameterValueStruct></ParameterValueStruct>"),
    "a row less": (ROW + VALUE, b""),
    "a row twice": (ROW + VALUE, (ROW + VALUE) * 2),
    "text between two rows": (ROW, b"text" + ROW),
    "a comment between two rows": (ROW, b"<!-- one -->" + ROW),
    "a comment in a value": (b">value 5<", b">val<!-- one -->ue 5<"),
    "CDATA": (b">value 5<", b"><![CDATA[a < b]]><"),
    "CDATA over two rows": (ROW + VALUE, b"<![CDATA[" + ROW + VALUE + b"]]>"),
    "a comment over a row": (ROW + VALUE, b"<!--" + ROW + VALUE + b"-->"),
    "a tag in a value": (b">value 5<", b"><b>value 5</b><"),
    "a tag that is not closed": (b">value 5<", b">value <5<"),
    "references": (b">value 5<", b">&lt;5&#62; &amp;lt;<"),
    "a stray ampersand": (b">value 5<", b">5 & 6<"),
    "a reference over two values": (b"value 5</Value></ParameterValueStruct>", b"5&am</Value></ParameterValueStruct>"),
    "an unknown reference": (b">value 5<", b">&nbsp;<"),
    "a reference to a forbidden character": (b">value 5<", b">&#1;<"),
    "a hexadecimal reference": (b">value 5<", b">&#x41;<"),
    "a forbidden character": (b">value 5<", b">\x01<"),
    "a character that is none": (b">value 5<", "\uffff".encode().join([b">", b"<"])),
    "letters beyond ASCII": (b">value 5<", ">Küche \U0001f600<".encode()),
    "a carriage return": (b">value 5<", b">value\r\n5<"),
    "the end of CDATA": (b">value 5<", b">]]><"),
    "brackets": (b">value 5<", b">[[5]]<"),
    "another count": (b"[70]", b"[71]"),
    "another ID": (b">1</cwmp:ID>", b">2&amp;3</cwmp:ID>"),
    "the mark": (b">value 5<", b">homeport-rows<"),
    "the mark in the head": (b">1</cwmp:ID>", b">homeport-rows</cwmp:ID>"),
    "another closing tag": (
        b"</Value></ParameterValueStruct><ParameterValueStruct>",
        b"</Value ></ParameterValueStruct><ParameterValueStruct>",
    ),
}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("form", ["value {}", "{} & <"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_known_list_with_a_change_is_read_as_the_tree_reads_it(change, form, whole):
    """What is remembered never decides anything that the tree would decide otherwise."""
    plain = encode(values())
    known(plain, whole=whole)
    old, new = CHANGES[change]
    assert old in plain
    body = plain.replace(old, new, 1)
    if form != "value {}":
        body = body.replace(b"value 3<", b"3 &amp; &lt;<")
    for _ in range(3):
        assert outcome(decode, body) == outcome(by_tree, body)


@pytest.mark.parametrize("flag", [b"true", b"false", b"yes", b"", b"2", b" 1", b"&#49;"])
def test_a_known_list_of_names_with_another_flag(flag):
    """The flag of a name is its text that may differ; only the plain ones are taken."""
    plain = encode(names())
    known(plain)
    body = plain.replace(b"<Writable>0<", b"<Writable>%s<" % flag, 2)
    for _ in range(3):
        assert outcome(decode, body) == outcome(by_tree, body)


def test_limits_hold_for_known_lists():
    """A list known under wide limits is refused under narrow ones."""
    body = encode(values("{:>400}"))
    known(body, whole=False)
    for limits in (CodecLimits(max_list=COUNT - 1), CodecLimits(max_text=100)):
        assert outcome(decode, body, limits=limits) == outcome(by_tree, body, limits=limits)
        assert len(outcome(decode, body, limits=limits)) == 2


def test_lists_of_devices_with_other_layouts_are_known_side_by_side():
    """Two makes that alternate do not push each other out."""
    one = encode(values())
    other = one.replace(b"<ParameterValueStruct>", b"\n<ParameterValueStruct>")
    for _ in range(3):
        decode(one), decode(other)
    assert len(fast_lists.LISTS) == 2
    for body in (one, other):
        ahead = fast_lists.read_ahead(body, max_text=DEFAULT_LIMITS.max_text)
        assert ahead is not None and ahead.types is not None


def rows(count, name="N"):
    """A stretch with its layout, the prefixes and the values of its rows."""
    prefixes = [f"{name}{i}</n><v>" for i in range(count)]
    texts = [str(i) for i in range(count)]
    stretch = "".join([f"<r><n>{prefix}{value}</v></r>" for prefix, value in zip(prefixes, texts, strict=True)])
    first = stretch.index("</v>")
    layout = layout_of(stretch, 0, len("<r><n>"), first, first + len("</v></r>"))
    return layout, stretch, prefixes, texts


def test_the_memory_of_lists_is_bounded_and_keeps_the_last_used():
    """So many characters in all, the list unused for longest goes first; one that would take a quarter is not kept."""
    lists = KnownLists(most=450)
    for name in ("A", "B", "A", "C"):
        layout, stretch, prefixes, texts = rows(10, name)
        if lists.recall(layout, stretch) is None:
            assert lists.learn(layout, stretch, prefixes, texts, name)
    assert len(lists) == 2
    found = {name: lists.recall(*rows(10, name)[:2]) for name in "ABC"}
    assert [found[name] and found[name][0] for name in "ABC"] == ["A", None, "C"]
    assert not lists.learn(*rows(40), None)
    assert not lists.learn(layout, stretch, prefixes, [*texts[:-1], "x"], None)
    lists.forget()
    assert len(lists) == 0


def test_a_list_without_a_second_row_has_no_layout():
    """What stands between two rows is seen only where there are two, with nothing but blanks between them."""
    assert layout_of("<r><n>A</n><v>1</v></r>", 0, 6, 14, 22) is None
    assert layout_of("<r><n>A</n><v>1</v></r>x<r>", 0, 6, 14, 22) is None


@pytest.mark.parametrize("seed", range(9))
def test_known_lists_with_one_character_changed_are_read_as_the_tree_reads_them(seed):
    """Any character anywhere becomes another: the length does not tell."""
    rng = random.Random(seed)
    plain = encode((values, names, values)[seed % 3]())
    known(plain, whole=seed % 3 == 2)
    for _ in range(60):
        place = rng.randrange(len(plain))
        other = rng.choice([b"a", b"1", b">", b"<", b"/", b" ", b'"', b"&", b".", b"\n"])
        body = plain[:place] + other + plain[place + 1 :]
        assert outcome(decode, body) == outcome(by_tree, body), body[max(place - 40, 0) : place + 40]
        decode(plain)


HEADS = {
    "as it is": (b"", b""),
    "a prolog": (b"<SOAP-ENV:Envelope", b"<?xml version='1.0'?>\n<SOAP-ENV:Envelope"),
    "lines": (b"><", b">\n<"),
}


@pytest.mark.parametrize("head", HEADS)
def test_an_answer_that_comes_again_is_known_whole(head):
    """With another ID and other values: equal to what the tree gives, and the names are the same objects."""
    body = encode(values()).replace(*HEADS[head])
    other = body.replace(b">1</cwmp:ID>", b">4711</cwmp:ID>").replace(b">value ", b">[::1] \xc3\xa4")
    for _ in range(5):
        decode(body)
    assert len(ANSWERS) == 1
    assert ANSWERS.recall(other.decode(), DEFAULT_LIMITS) is not None
    for one in (other, b"\xef\xbb\xbf" + other):
        assert outcome(decode, one) == outcome(by_tree, one)
    assert decode(other).id == "4711"
    rows = zip(decode(body).body.parameter_list, decode(other).body.parameter_list, strict=True)
    assert all(a.name is b.name and a.value != b.value for a, b in rows)


def id_again(first, second):
    """The answer with two IDs."""
    end = b"</cwmp:ID>"
    again = b'<cwmp:ID SOAP-ENV:mustUnderstand="1">%s</cwmp:ID>' % second
    return encode(values()).replace(b">1" + end, b">%s" % first + end + again)


UNUSUAL = {
    "two IDs": (id_again(b"1", b"1"), id_again(b"2", b"1")),
    "two IDs, the second one other": (id_again(b"1", b"1"), id_again(b"1", b"2")),
    "an empty ID behind an empty header": tuple(
        encode(values()).replace(
            b'<cwmp:ID SOAP-ENV:mustUnderstand="1">1</cwmp:ID>',
            b"<cwmp:SupportedCWMPVersions>%s</cwmp:SupportedCWMPVersions><cwmp:ID></cwmp:ID>" % text,
        )
        for text in (b"", b"1.0")
    ),
    "no ID": tuple(
        encode(values()).replace(b'<cwmp:ID SOAP-ENV:mustUnderstand="1">1</cwmp:ID>', text)
        for text in (b"", b"<cwmp:ID>1</cwmp:ID>")
    ),
    "one more header": tuple(
        encode(values()).replace(
            b"</SOAP-ENV:Header>", b"<cwmp:SessionTimeout>%s</cwmp:SessionTimeout></SOAP-ENV:Header>" % text
        )
        for text in (b"30", b"31")
    ),
    "a quirk": (encode(values()).replace(b"[70]", b"[071]"), encode(values()).replace(b"[70]", b"[070]")),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_answer_with_an_unusual_head_is_read_as_the_tree_reads_it(name):
    """Only an envelope that says nothing but one ID is remembered."""
    for body in UNUSUAL[name]:
        for _ in range(6):
            assert outcome(decode, body) == outcome(by_tree, body)
    assert len(ANSWERS) == (name == "no ID")


def test_limits_hold_for_known_answers():
    """An answer known under one set of limits is not used under another, and one over a limit is refused."""
    body = encode(values())
    wide = CodecLimits(max_text=len(body) + 60)
    for _ in range(5):
        decode(body, limits=wide)
    assert ANSWERS.recall(body.decode(), wide) is not None
    assert ANSWERS.recall(body.decode(), DEFAULT_LIMITS) is None
    for long in (
        body.replace(b"value 5<", b"%s<" % (b"v" * 15000)),
        body.replace(b">1</cwmp:ID>", b">%s</cwmp:ID>" % (b"1" * 1025)),
    ):
        assert ANSWERS.recall(long.decode(), wide) is None
        assert outcome(decode, long, limits=wide) == outcome(by_tree, long, limits=wide)


def test_the_memory_of_answers_is_bounded():
    """So many answers, what was learnt first goes first."""
    memory = KnownAnswers(most=2)
    assert len(ANSWERS) == 0 < MAX_ANSWERS
    texts = [encode(values()).decode().replace("Host.0.", f"Host.{name}.") for name in "XYZ"]
    for text in texts:
        envelope = decode(text.encode())
        listed = envelope.body.parameter_list
        for _ in range(2):
            memory.learn(
                text,
                KnownAnswer(envelope.body, envelope.id, envelope.urn),
                tuple(row.name for row in listed),
                tuple(row.type for row in listed),
                DEFAULT_LIMITS,
            )
    assert [memory.recall(text, DEFAULT_LIMITS) is not None for text in texts] == [False, True, True]
    memory.forget()
    assert len(memory) == 0


def test_an_answer_that_is_not_told_by_its_id_and_values_is_not_learnt():
    """Where the ID, a value or a name is not in the text as it was read, there is nothing to compare a later answer with."""
    text = encode(values()).decode()
    envelope = decode(text.encode())
    listed = envelope.body.parameter_list
    kinds = tuple(row.type for row in listed)
    swapped = m.GetParameterValuesResponse(tuple(m.ParameterValueStruct(row.name, "other", row.type) for row in listed))
    for body, cwmp_id, found in (
        (envelope.body, "2", NAMES),
        (swapped, "1", NAMES),
        (envelope.body, "1", NAMES[::-1]),
    ):
        memory = KnownAnswers()
        for _ in range(2):
            memory.learn(text, KnownAnswer(body, cwmp_id, envelope.urn), found, kinds, DEFAULT_LIMITS)
        assert len(memory) == 0
    memory = KnownAnswers()
    for number in range(2 * MOST_SEEN + 2):
        other = text.replace("Host.0.", f"Host.{number}.")
        memory.learn(other, KnownAnswer(envelope.body, "1", envelope.urn), NAMES, kinds, DEFAULT_LIMITS)
    assert len(memory) == 0
