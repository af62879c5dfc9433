"""What reading and writing messages costs, beside a bare parse of the same bytes by lxml and by expat."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from xml.parsers import expat

from lxml import etree

from homeport.codec import fast_informs, fast_lists, known_answers, known_informs, skeletons
from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode, encode

Row = tuple[str, float | None, str, float | None]
V = m.ParameterValueStruct
ROUNDS = 15
DEVICE = m.DeviceIdStruct("Example Works", "0A1B2C", "797xx", "SN-000042")


def cpu(call: Callable[[], object], times: int = 1) -> float:
    """Seconds of CPU of one call: the best of several rounds of `times` calls."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(times):
            call()
        best = min(best, (time.process_time() - start) / times)
    return best


def values(count: int) -> tuple[V, ...]:
    """Parameters with names, values and types as a large router has them."""
    kinds = (("unsignedInt", "1048576"), ("string", "Enabled"), ("boolean", "true"), ("string", ""), ("int", "-67"))
    return tuple(
        V(
            f"Device.Hosts.Host.{i // 10 + 1}.X_EXAMPLE_Statistics.Interface.{i % 10}.BytesReceivedTotal",
            kinds[i % 5][1],
            kinds[i % 5][0],
        )
        for i in range(count)
    )


def inform(parameters: int) -> m.Inform:
    """A periodic Inform."""
    events = (m.EventStruct("2 PERIODIC"), m.EventStruct("4 VALUE CHANGE"))
    return m.Inform(DEVICE, events, "2026-03-01T10:00:00Z", 0, values(parameters))


def bare_lxml(body: bytes) -> Callable[[], object]:
    """A parse into lxml's tree and nothing more, with the options that the codec uses."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    return lambda: etree.fromstring(body, parser)


def bare_expat(body: bytes) -> Callable[[], object]:
    """A pass of expat without any handler."""
    return lambda: expat.ParserCreate().Parse(body, True)


def first_seen(body: bytes) -> Callable[[], object]:
    """Decodes as if no message had come before: neither markup nor tag is remembered."""

    def call() -> object:
        skeletons.MEMORY.forget()
        fast_informs.forget()
        known_informs.INFORMS.forget()
        known_answers.ANSWERS.forget()
        fast_lists.forget()
        return decode(body)

    return call


def learning(body: bytes) -> Callable[[], object]:
    """Decodes a first and a second time."""

    def call() -> object:
        skeletons.MEMORY.forget()
        decode(body)
        return decode(body)

    return call


def each_differs(body: bytes, old: bytes, new: bytes) -> Callable[[], object]:
    """Decodes messages none of which has the markup of another, more of them than are remembered: old becomes new with a number."""
    turn = itertools.cycle([body.replace(old, new % number) for number in range(4 * skeletons.MAX_REMEMBERED)])
    return lambda: decode(next(turn))


def other_types(parameters: int) -> Callable[[], object]:
    """Decodes Informs of one make with other parameters of other types in each: the counts are alike, the tags of the rows are not."""
    kinds = ("string", "boolean", "unsignedInt", "int", "dateTime")
    bodies = []
    for number in range(4 * skeletons.MAX_REMEMBERED):
        message = inform(parameters)
        rows = tuple(V(v.name, v.value, kinds[(number >> i) % 5]) for i, v in enumerate(message.parameter_list))
        bodies.append(encode(Envelope(m.Inform(DEVICE, message.event, message.current_time, 0, rows), id="1")))
    turn = itertools.cycle(bodies)
    return lambda: decode(next(turn))


def uneven(large: bytes) -> Iterator[tuple[str, float | None, bytes]]:
    """The long answer with rows that differ from the others: (what, target, body)."""
    middle = large.index(b"<ParameterValueStruct>", len(large) // 2)
    head, tail = large[:middle], large[middle:]
    yield "one row with an odd blank", 11.0, head + tail.replace(b"xsi:type=", b"xsi:type =", 1)
    yield "one row of an unknown type", 11.0, head + tail.replace(b"xsd:string", b"v:enum", 1)
    yield "one row without a type", 11.0, head + tail.replace(b' xsi:type="xsd:string"', b"", 1)
    yield "one row with CDATA", 11.0, head + tail.replace(b">Enabled<", b"><![CDATA[a < b]]><", 1)
    yield "a comment between two rows", 11.0, head + b"<!-- here -->" + tail
    yield "an attribute more in one row", 11.0, head + tail.replace(b"<Value ", b'<Value id="v" ', 1)
    without = tail.index(b"<Value")
    yield "one row without a Value", 11.0, head + tail[:without] + tail[tail.index(b"</Value>") + 8 :]
    begin = b"<ParameterValueStruct>"
    rows = large.split(begin)

    def every_other(old: bytes, new: bytes) -> bytes:
        return begin.join([re.sub(old, new, row, count=1) if place % 2 else row for place, row in enumerate(rows)])

    kind = rb' xsi:type="xsd:\w+"'
    yield "every other row of an unknown type", 11.0, every_other(kind, b' xsi:type="v:enum"')
    yield "every other row without a type", 11.0, every_other(kind, b"")
    yield "every other row without a Value", 11.0, every_other(rb"<Value.*</Value>", b"")
    yield "every other row with a self-closed Value", 11.0, every_other(rb">[^<]*</Value>", b"/>")
    yield "an odd blank in every other row", 11.0, every_other(rb"xsi:type=", b"xsi:type =")
    yield (
        "CDATA in every other row (by the tree)",
        None,
        every_other(rb">([^<>]*)</Value>", rb"><![CDATA[\1]]></Value>"),
    )
    yield "a comment in every other row (by the tree)", None, every_other(b"<Name>", b"<!-- --><Name>")


KINDS: tuple[m.Message, ...] = (
    inform(10),
    m.InformResponse(),
    m.GetParameterValues(tuple(v.name for v in values(10))),
    m.GetParameterValuesResponse(values(100)),
    m.SetParameterValues(values(3), "key"),
    m.SetParameterValuesResponse(0),
    m.GetParameterNames("Device.", False),
    m.GetParameterNamesResponse(tuple(m.ParameterInfoStruct(v.name, True) for v in values(100))),
    m.Download(
        "key", "1 Firmware Upgrade Image", "https://files.example.net/fw.bin", "user", "pass", 8_388_608, "fw.bin"
    ),
    m.FaultMessage(9003, "Invalid arguments", (m.SetParameterValuesFault("Device.A", 9007, "Too long"),), "Client"),
)


def habits(body: bytes) -> bytes:
    """An Inform as some families of devices write it."""
    return body.replace(b"[", b"[0").replace(b"00Z<", b"00<").replace(b"2001/XMLSchema", b"1999/XMLSchema")


def rows() -> Iterator[Row]:
    """The promised figures with their targets, the bare parsers for comparison, and messages per second of ten kinds."""
    small = encode(Envelope(inform(18), id="1"))
    answer = Envelope(m.GetParameterValuesResponse(values(5000)), id="1")
    large = encode(answer)
    assert decode(large) == answer
    odd = small.replace(b"</SOAP-ENV:Header>", b"<cwmp:HoldRequests>0</cwmp:HoldRequests></SOAP-ENV:Header>")
    field = habits(small)
    size = f"Inform of {len(small) / 1000:.1f} KB"
    yield f"decode an {size}", cpu(lambda: decode(small), 200) * 1e6, "µs", 40.0
    yield "  its markup never seen before, of a make that was", cpu(other_types(18), 200) * 1e6, "µs", 40.0
    yield "  with padded counts, a local time, types of 1999", cpu(lambda: decode(field), 200) * 1e6, "µs", 40.0
    yield "  no tag like its own ever seen before", cpu(first_seen(small), 200) * 1e6, "µs", None
    yield (
        "  prefixes that change with each message",
        cpu(each_differs(small.replace(b"xmlns:cwmp", b"xmlns:@").replace(b"cwmp:I", b"@:I"), b"@", b"c%d"), 200) * 1e6,
        "µs",
        None,
    )
    yield "  not plain (one more header), its markup remembered", cpu(lambda: decode(odd), 200) * 1e6, "µs", 40.0
    named = odd.replace(b"HoldRequests", b"NoMoreRequests")
    yield "  the same with a quirk (by the readers)", cpu(lambda: decode(named), 200) * 1e6, "µs", None
    yield "  not plain, never seen before (by the tree)", cpu(first_seen(odd), 200) * 1e6, "µs", None
    yield "  not plain, a first and a second time", cpu(learning(odd), 200) * 1e6, "µs", None
    yield "  bare lxml parse", cpu(bare_lxml(small), 200) * 1e6, "µs", None
    yield "  bare expat pass", cpu(bare_expat(small), 200) * 1e6, "µs", None
    yield f"decode 5,000 parameters, {len(large) / 1e6:.2f} MB", cpu(lambda: decode(large)) * 1e3, "ms", 11.0
    yield "  names that never came before", cpu(first_seen(large)) * 1e3, "ms", 11.0
    yield "  bare lxml parse", cpu(bare_lxml(large)) * 1e3, "ms", None
    yield "  bare expat pass", cpu(bare_expat(large)) * 1e3, "ms", None
    yield "encode 5,000 parameters", cpu(lambda: encode(answer)) * 1e3, "ms", 2.0
    for label, target, odd in uneven(large):
        yield f"decode the same, {label}", cpu(lambda b=odd: decode(b)) * 1e3, "ms", target
    for message in KINDS:
        envelope = Envelope(message, id="1")
        body = encode(envelope)
        yield (
            f"{message.element}, {len(body)} bytes: decode",
            1 / cpu(lambda b=body: decode(b), 100),
            "messages/s",
            None,
        )
        yield f"{message.element}: encode", 1 / cpu(lambda e=envelope: encode(e), 100), "messages/s", None


if __name__ == "__main__":
    for label, figure, unit, target in rows():
        print(f"{label:<66} {figure:>12.5g} {unit:<12}" + (f" target {target:g}" if target is not None else ""))
