"""An Inform that differs from an earlier one only in what differs from day to day is read as the tree reads it, and by its texts alone."""

import random

import pytest

from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.known_informs import INFORMS, MAX_LENGTH, KnownInforms
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.novelty import MOST_SEEN, PATIENCE, SELDOM, Luck, Seen, drop_oldest
from homeport.codec.quirks import Quirk
from homeport.codec.xml_write import WireStyle
from support.codec_ways import by_tree, outcome

TYPES = ("string", "boolean", "unsignedInt", "dateTime")
NAMES = tuple(f"Device.X.{i}.Value" for i in range(8))


def inform(number=0, *, make="797xx", names=NAMES, types=TYPES, events=("2 PERIODIC", "M Download"), time="Z"):
    """The text of an Inform; number is in all that differs from one day to the next."""
    message = m.Inform(
        m.DeviceIdStruct("Example & Works", "0A1B2C", make, f"SN-{number:06}"),
        tuple(m.EventStruct(event, f"key-{number}" if event[0] == "M" else "") for event in events),
        f"2026-03-01T10:00:{number % 60:02}{time}",
        number % 4,
        tuple(m.ParameterValueStruct(name, f"v{number * i}", types[i % len(types)]) for i, name in enumerate(names)),
    )
    return encode(Envelope(message, id=f"id-{number}", session_timeout=30, supported_cwmp_versions=("1.0", "1.4")))


def recalled(body, limits=DEFAULT_LIMITS):
    """Whether the Inform is read from what is remembered."""
    return INFORMS.recall(body.decode(), limits) is not None


@pytest.fixture(autouse=True)
def nothing_is_known():
    INFORMS.forget()
    yield
    INFORMS.forget()


def known(body):
    """The body is read so often that its form is known."""
    for _ in range(2):
        decode(body)
    assert recalled(body)


FORMS = {
    "as Homeport writes it": lambda body: body,
    "no ID": lambda body: body.replace(
        body[body.index(b"<SOAP-ENV:Header") : body.index(b"<SOAP-ENV:Body")], b""
    ),
    "self-closed elements": lambda body: body.replace(b"<CommandKey></CommandKey>", b"<CommandKey/>").replace(
        b">v0</Value>", b"/>"
    ),
    "habits of the field": lambda body: body.replace(b"[", b"[0").replace(b"Z</Cur", b"</Cur"),
    "types of 1999": lambda body: body.replace(b"2001/XMLSchema-i", b"1999/XMLSchema-i"),
    "pretty": lambda body: encode(decode(body), style=WireStyle(prolog=True, pretty=True)),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_an_inform_of_a_known_form_is_read_as_the_tree_reads_it(form):
    """From the third on, whatever stands in the texts that differ; quirks of the form are named each time."""
    first, second, third = (FORMS[form](inform(number)) for number in (1, 2, 57))
    decode(first)
    assert not recalled(second)
    decode(second)
    for body in (first, second, third):
        assert recalled(body)
        assert outcome(decode, body) == outcome(by_tree, body)


@pytest.mark.parametrize("time", ["Z", "+01:00", "", "-0500"])
@pytest.mark.parametrize("other", ["Z", "+01:00", "", "-0500", " ", "&#90;", "Z "])
def test_a_time_of_another_form_is_read_as_ever(time, other):
    """Whether the quirk of a time without a zone is named depends on each Inform's own time."""
    known(inform(1, time=time))
    body = inform(2).replace(b"Z</CurrentTime>", f"{other}</CurrentTime>".encode())
    assert outcome(decode, body) == outcome(by_tree, body)


CHANGES = {
    "another name": (b"X.3.", b"X.9."),
    "a letter more in a name": (b"X.3.Value", b"X.3.Values"),
    "another type": (b"xsd:boolean", b"xsd:integer"),
    "another manufacturer": (b"Example", b"Elpmaxe"),
    "another OUI": (b"0A1B2C", b"0A1B2D"),
    "another method": (b"cwmp:Inform>", b"cwmp:InForm>"),
    "another event": (b"2 PERIODIC", b"1 BOOT"),
    "another number of envelopes": (b"<MaxEnvelopes>1", b"<MaxEnvelopes>2"),
    "a retry with a sign": (b"<RetryCount>1", b"<RetryCount>+1"),
    "a retry with a zero": (b"<RetryCount>1", b"<RetryCount>01"),
    "no retry": (b"<RetryCount>1", b"<RetryCount>"),
    "many retries": (b"<RetryCount>1", b"<RetryCount>4294967295"),
    "too many retries": (b"<RetryCount>1", b"<RetryCount>4294967296"),
    "a long ID": (b">id-1<", b">%s<" % (b"x" * 1025)),
    "a reference": (b">v1<", b">&amp;<"),
    "a stray ampersand": (b">v1<", b">&<"),
    "a tag": (b">v1<", b"><b/>v1<"),
    "a comment": (b">v1<", b"><!-- -->v1<"),
    "the end of CDATA": (b">v1<", b">]]><"),
    "a bracket": (b">v1<", b">[1]<"),
    "a forbidden character": (b">v1<", b">\x02<"),
    "a character that is none": (b">v1<", b">\xef\xbf\xbf<"),
    "letters beyond ASCII": (b">v1<", ">Größe<".encode()),
    "bytes that are not UTF-8": (b">v1<", b">\xff<"),
    "a carriage return": (b">v1<", b">\r\n<"),
    "blanks": (b">SN-000001<", b"> SN-000001\n<"),
    "a mark of texts": (b">v1<", b">v1><"),
    "a text behind the end": (b"</SOAP-ENV:Envelope>", b"</SOAP-ENV:Envelope>text"),
    "a line behind the end": (b"</SOAP-ENV:Envelope>", b"</SOAP-ENV:Envelope>\n"),
    "another timeout": (b">30<", b">31<"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_known_form_with_a_change_is_read_as_the_tree_reads_it(change):
    """What is remembered never decides anything that the tree would decide otherwise."""
    plain = inform(1)
    known(plain)
    old, new = CHANGES[change]
    assert old in plain
    body = plain.replace(old, new)
    for _ in range(3):
        assert outcome(decode, body) == outcome(by_tree, body)


@pytest.mark.parametrize("seed", range(12))
def test_known_forms_with_one_character_changed_are_read_as_the_tree_reads_them(seed):
    """Any character anywhere becomes another: the length does not tell."""
    rng = random.Random(seed)
    plain = FORMS[rng.choice(sorted(FORMS))](inform(1))
    known(plain)
    for _ in range(60):
        place = rng.randrange(len(plain))
        body = (
            plain[:place]
            + rng.choice([b"a", b"1", b">", b"<", b"/", b" ", b'"', b"&", b".", b"\n"])
            + plain[place + 1 :]
        )
        assert outcome(decode, body) == outcome(by_tree, body), body[max(place - 40, 0) : place + 40]
        if rng.random() < 0.2:
            decode(plain)


def test_limits_hold_for_known_forms():
    """A form known under one set of limits is not used under another, and a body over a limit is refused."""
    body = inform(1)
    known(body)
    for limits in (CodecLimits(max_list=3), CodecLimits(max_text=4), CodecLimits(max_header_text=3)):
        assert not recalled(body, limits)
        assert outcome(decode, body, limits) == outcome(by_tree, body, limits)
    short = CodecLimits(max_text=len(body) + 20)
    for _ in range(2):
        decode(body, limits=short)
    assert recalled(body, short)
    long = body.replace(b">v1<", b">%s<" % (b"v" * 100))
    assert not recalled(long, short)
    assert outcome(decode, long, short) == outcome(by_tree, long, short)


def test_two_forms_of_one_make_are_known_and_the_third_takes_the_place_of_the_one_unused_for_longest():
    """Devices of one make differ in their parameters; two forms with as many tags stand side by side."""
    forms = [inform(1, names=(*NAMES[:-1], f"Device.Y.{i}")) for i in range(3)]
    known(forms[0]), known(forms[1])
    assert recalled(forms[0])
    known(forms[2])
    assert [recalled(form) for form in forms] == [True, False, True]
    assert len(INFORMS) == 2


def test_the_memory_of_informs_is_bounded():
    """So many forms; what was learnt first goes first, and its make with it. A long Inform is not remembered."""
    memory = KnownInforms(most=4)
    for make in ("A", "B", "C"):
        body = inform(1, make=make)
        for _ in range(2):
            plain = decode(body)
            assert isinstance(plain.body, m.Inform)
        found = INFORMS.recall(body.decode(), DEFAULT_LIMITS)
        for _ in range(2):
            memory.learn(body.decode(), found, DEFAULT_LIMITS)
    assert [memory.recall(inform(2, make=make).decode(), DEFAULT_LIMITS) is not None for make in "ABC"] == [
        False,
        True,
        True,
    ]
    long = inform(1, names=tuple(f"Device.X.{i}" for i in range(100)))
    assert len(long) > MAX_LENGTH
    for _ in range(3):
        decode(long)
    assert not recalled(long)
    memory.forget()
    assert len(memory) == 0


def test_texts_with_a_mark_in_them_are_not_learnt():
    """A form is kept only if it gives what the expressions gave: a value with `>` would be cut in the wrong place."""
    body = inform(1).replace(b">v1<", b">a&gt;b<").replace(b">v2<", b">a>b<")
    for _ in range(4):
        assert outcome(decode, body) == outcome(by_tree, body)
    assert not recalled(body)
    assert Quirk.LOCAL_TIME not in decode(body).quirks


def test_what_never_comes_again_is_hardly_looked_at():
    """After many things none of which came a second time only some are looked at, until one does."""
    seen = Seen()
    assert [seen.is_second(mark) for mark in (1, 2, 1, 1)] == [False, False, True, False]
    assert seen.worth_a_look()
    for mark in range(10, 20 + MOST_SEEN):
        seen.is_second(mark)
    assert sum(seen.worth_a_look() for _ in range(4 * SELDOM)) == 4
    assert seen.is_second(mark)
    assert seen.worth_a_look()
    seen.forget()
    assert not seen.is_second(mark)


def test_a_look_that_failed_often_is_taken_seldom_until_it_succeeds():
    """Looking up costs something; a run of failures makes it rare, one success makes it usual again."""
    luck = Luck()
    for _ in range(PATIENCE):
        assert luck.try_now()
        luck.found(False)
    taken = 0
    for _ in range(4 * SELDOM):
        if luck.try_now():
            taken += 1
            luck.found(False)
    assert 3 <= taken <= 5
    luck.found(True)
    assert luck.try_now()


def test_the_oldest_of_nothing_is_nothing():
    """Another thread may have taken the last one."""
    assert drop_oldest({}) is None
    assert drop_oldest({1: "a", 2: "b"}) == "a"
