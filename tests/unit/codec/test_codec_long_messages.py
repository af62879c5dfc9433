"""Messages that are read in parts: the same as when they are read whole, whatever is in them and wherever they are cut."""

from collections.abc import Callable, Generator
from typing import Any

import pytest

from homeport.codec import long_messages
from homeport.codec.envelope import Envelope, decode
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.long_messages import decode_in_parts
from homeport.codec.messages import GetParameterAttributesResponse, GetParameterValuesResponse
from homeport.errors import MessageRefused, RemoteProtocolError
from homeport.terms import FaultCode
from support.codec_ways import outcome

COUNT = 60

NAMES = (
    'xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:e="http://schemas.xmlsoap.org/soap/encoding/"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xmlns:cwmp="urn:dslforum-org:cwmp-1-2"'
)


def message(rows: str, count: str = str(COUNT), kind: str = "Value", behind: str = "", begin: str = "") -> bytes:
    method = {"Value": "Values", "Info": "Names", "Attribute": "Attributes"}[kind]
    return (
        f'{begin}<s:Envelope {NAMES}><s:Header><cwmp:ID s:mustUnderstand="1">7</cwmp:ID></s:Header><s:Body>'
        f'<cwmp:GetParameter{method}Response><ParameterList e:arrayType="cwmp:Parameter{kind}Struct[{count}]">{rows}'
        f"</ParameterList>{behind}</cwmp:GetParameter{method}Response></s:Body></s:Envelope>"
    ).encode()


def value(number: int, text: str = "", inside: str = "", type: str = ' xsi:type="xsd:string"') -> str:
    return (
        f"<ParameterValueStruct>{inside}<Name>Device.A.{number}.Name</Name><Value{type}>{text or number}</Value>"
        "</ParameterValueStruct>"
    )


def inform(rows: str, count: int = COUNT) -> bytes:
    return (
        f'<s:Envelope {NAMES}><s:Header><cwmp:ID s:mustUnderstand="1">7</cwmp:ID></s:Header><s:Body><cwmp:Inform><DeviceId>'
        "<Manufacturer>M</Manufacturer><OUI>00D0F1</OUI><ProductClass>P</ProductClass><SerialNumber>S</SerialNumber></DeviceId>"
        '<Event e:arrayType="cwmp:EventStruct[1]"><EventStruct><EventCode>1 BOOT</EventCode><CommandKey/></EventStruct></Event>'
        "<MaxEnvelopes>1</MaxEnvelopes><CurrentTime>2026-01-01T00:00:00Z</CurrentTime><RetryCount>0</RetryCount>"
        f'<ParameterList e:arrayType="cwmp:ParameterValueStruct[{count}]">{rows}</ParameterList></cwmp:Inform></s:Body></s:Envelope>'
    ).encode()


def values(change: Callable[[int], str] = value) -> str:
    return "".join(map(change, range(COUNT)))


def info(number: int) -> str:
    return (
        f"<ParameterInfoStruct><Name>Device.A.{number}.</Name><Writable>{number % 2}</Writable></ParameterInfoStruct>"
    )


def attributes(number: int) -> str:
    return (
        f"<ParameterAttributeStruct><Name>Device.A.{number}</Name><Notification>1</Notification>"
        '<AccessList e:arrayType="xsd:string[1]"><string>Subscriber</string></AccessList></ParameterAttributeStruct>'
    )


def some(odd: str) -> Callable[[int], str]:
    return lambda number: odd if number % 7 == 3 else value(number)


MESSAGES = {
    "an Inform": inform(values()),
    "an Inform with a wrong count": inform(values(), 7),
    "an Inform with comments": inform(values(lambda n: value(n, inside="<!-- </ParameterValueStruct> -->"))),
    "values": message(values()),
    "names": message(values(info), kind="Info"),
    "attributes": message(values(attributes), kind="Attribute"),
    "wrong count": message(values(), "12"),
    "padded count": message(values(), f"00{COUNT}"),
    "no count": message(values()).replace(b'e:arrayType="cwmp:ParameterValueStruct[60]"', b""),
    "no type": message(values(lambda n: value(n, type=""))),
    "odd types": message(values(some(value(3, type=' xsi:type="xsd:STRING"')))),
    "a comment in rows": message(values(lambda n: value(n, inside="<!-- a </ParameterValueStruct> in it -->"))),
    "CDATA": message(values(lambda n: value(n, "<![CDATA[</ParameterValueStruct><a]]>"))),
    "an instruction": message(values(some("<?pi </ParameterValueStruct>?>"))),
    "a comment over parts": message(values(some(f"<!-- {'</ParameterValueStruct> ' * 40}-->"))),
    "references": message(values(lambda n: value(n, "&lt;&#65;&amp;"))),
    "letters": message(values(lambda n: value(n, "žluťoučký \U0001f600"))),
    "no value": message(values(some("<ParameterValueStruct><Name>Device.B</Name></ParameterValueStruct>"))),
    "a row for an object": message(values(some(value(3).replace("Name</Name", "</Name")))),
    "space in last tags": message(values().replace("Struct></", "Struct ></")),
    "prolog": message(values(), begin='<?xml version="1.0" encoding="UTF-8"?>\n'),
    "byte order mark": b"\xef\xbb\xbf" + message(values()),
    "NULs behind": message(values()) + b"\0\0",
    "utf-16": message(values(lambda n: value(n, "ž"))).decode().encode("utf-16"),
    "latin-1": message(values(lambda n: value(n, "\xe9")), begin='<?xml version="1.0" encoding="ISO-8859-1"?>')
    .decode()
    .encode("latin-1"),
    "more behind the list": message(values(), behind="<X>1</X>"),
    "the list twice": message(f'{values()}</ParameterList><ParameterList e:arrayType="x[1]">{value(1)}'),
    "a list in a list": message(values(some(f"<ParameterList>{value(3)}</ParameterList>"))),
    "an open row": message(values(some("<ParameterValueStruct>"))),
    "an open comment": message(values(some("<!-- "))),
    "too deep": message(values(some("<a>" * 40 + "</a>" * 40))),
    "a long text": message(values(some(value(3, "x" * (DEFAULT_LIMITS.max_text + 1))))),
    "a DTD": message(values(), begin="<!DOCTYPE a>"),
    "a control character": message(values(some(value(3, "a\x01b")))),
    "another name for rows": message(values().replace("ParameterValueStruct", "item")),
    "no list": message(""),
    "not XML": b"<" + b"x" * 4_000,
}


def in_parts(body: bytes, *, limits: CodecLimits = DEFAULT_LIMITS) -> Envelope:
    return driven(decode_in_parts(body, limits=limits))


def driven(work: Generator[Any, Any, Envelope]) -> Envelope:
    try:
        step = work.send(None)
        while True:
            try:
                given = step() if step is not None else None
            except RemoteProtocolError as e:
                step = work.throw(e)
            else:
                step = work.send(given)
    except StopIteration as stop:
        envelope: Envelope = stop.value
        return envelope


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("part", [200, 1_000, 65_536])
def test_parts_say_what_the_whole_says(name: str, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, names, quirks, the ID and each refusal, wherever the message is cut."""
    monkeypatch.setattr(long_messages, "PART", part)
    monkeypatch.setattr(long_messages, "LONGEST_PART", 2_000)
    assert outcome(in_parts, MESSAGES[name]) == outcome(decode, MESSAGES[name])


@pytest.mark.parametrize(
    "name", ["an Inform", "values", "names", "attributes", "a comment in rows", "CDATA", "letters", "utf-16"]
)
def test_a_long_list_is_really_cut(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part of it is longer than asked for, and the whole is never read in one go."""
    monkeypatch.setattr(long_messages, "PART", 400)
    monkeypatch.setattr(long_messages, "WHOLE", 0)
    work = decode_in_parts(MESSAGES[name], limits=DEFAULT_LIMITS)
    rests = 0
    while True:
        try:
            assert next(work) is None
        except StopIteration as stop:
            assert isinstance(stop.value.body.parameter_list, tuple)
            break
        rests += 1
    assert rests >= 10


def test_limits_hold_for_all_parts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and elements are counted over the whole message; the refusal of too many rows still has the ID for the fault."""
    monkeypatch.setattr(long_messages, "PART", 400)
    monkeypatch.setattr(long_messages, "WHOLE", 0)
    with pytest.raises(RemoteProtocolError) as found:
        in_parts(MESSAGES["values"], limits=CodecLimits(max_list=COUNT - 1))
    assert (found.value.fault_code, getattr(found.value, "id", None)) == (FaultCode.RESOURCES_EXCEEDED, "7")
    with pytest.raises(MessageRefused, match="max_elements"):
        in_parts(MESSAGES["values"], limits=CodecLimits(max_elements=3 * COUNT))
    with pytest.raises(MessageRefused, match="max_body"):
        in_parts(MESSAGES["values"], limits=CodecLimits(max_body=1_000))
    assert in_parts(MESSAGES["values"], limits=CodecLimits(max_list=COUNT)).id == "7"


def test_what_is_no_list_is_read_up_to_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, by whoever is asked to; beyond it is refused without being read."""
    body = message("").replace(b"cwmp:GetParameterValuesResponse", b"cwmp:X_Vendor")
    assert outcome(in_parts, body) == outcome(decode, body)
    monkeypatch.setattr(long_messages, "WHOLE", len(body) - 1)
    with pytest.raises(MessageRefused) as found:
        in_parts(body)
    assert (found.value.http_status, found.value.fault_code) == (413, FaultCode.RESOURCES_EXCEEDED)


def test_a_row_of_unusual_length_is_read_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever is asked to: it may hold a hundred thousand elements."""
    monkeypatch.setattr(long_messages, "USUAL_PART", 1_000)
    body = message(f"{value(1, inside='<a/>' * 300)}{value(2)}", "2")
    monkeypatch.setattr(long_messages, "PART", 100)
    steps = 0
    work, given = decode_in_parts(body, limits=DEFAULT_LIMITS), None
    with pytest.raises(StopIteration) as found:
        while True:
            step = work.send(given)
            steps += step is not None
            given = step() if step is not None else None
    assert steps == 1
    assert found.value.value == decode(body)


def test_one_value_of_many_megabytes_is_refused_at_once() -> None:
    """It can be cut nowhere; nobody reads it to its end."""
    body = message(value(1, "x" * (5 * 2**20)))
    with pytest.raises(MessageRefused):
        next(decode_in_parts(body, limits=CodecLimits(max_body=2**25)))


def test_nothing_of_a_long_list_is_remembered() -> None:
    """Its parts never come again; what is remembered of short messages keeps its place."""
    from homeport.codec.fast_lists import LISTS

    LISTS.forget()
    for _ in range(3):
        envelope = in_parts(MESSAGES["values"])
    assert isinstance(envelope.body, GetParameterValuesResponse)
    assert len(LISTS) == 0
    assert isinstance(in_parts(MESSAGES["attributes"]).body, GetParameterAttributesResponse)
