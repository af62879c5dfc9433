"""What reading and writing messages costs, beside a bare parse of the same bytes by lxml and by expat."""

import itertools
import time
from collections.abc import Callable, Iterator
from xml.parsers import expat

from lxml import etree

from homeport.codec import messages as m
from homeport.codec import skeletons
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
    """Decodes as if no message had come before."""

    def call() -> object:
        skeletons.MEMORY.forget()
        return decode(body)

    return call


def learning(body: bytes) -> Callable[[], object]:
    """Decodes a first and a second time."""

    def call() -> object:
        skeletons.MEMORY.forget()
        decode(body)
        return decode(body)

    return call


def changing(parameters: int) -> Callable[[], object]:
    """Decodes messages of one device none of which has the markup of another: each has its own prefix."""
    bodies = []
    for number in range(4 * skeletons.MAX_REMEMBERED):
        body = encode(Envelope(inform(parameters), id="1"))
        bodies.append(body.replace(b"cwmp:", b"c%d:" % number).replace(b"xmlns:cwmp", b"xmlns:c%d" % number))
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
    yield "every other row of an unknown type (by the tree)", None, large.replace(b"xsd:string", b"v:enum")


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


def rows() -> Iterator[Row]:
    """The promised figures with their targets, the bare parsers for comparison, and messages per second of ten kinds."""
    small = encode(Envelope(inform(18), id="1"))
    answer = Envelope(m.GetParameterValuesResponse(values(5000)), id="1")
    large = encode(answer)
    assert decode(large) == answer
    size = f"Inform of {len(small) / 1000:.1f} KB"
    yield f"decode an {size}, its markup remembered", cpu(lambda: decode(small), 200) * 1e6, "µs", 40.0
    yield "  its markup never seen before, and never again", cpu(first_seen(small), 200) * 1e6, "µs", None
    yield "  markup that changes with each message", cpu(changing(18), 200) * 1e6, "µs", None
    yield "  learning a markup, once, when it comes the second time", cpu(learning(small), 200) * 1e6, "µs", None
    yield "  bare lxml parse", cpu(bare_lxml(small), 200) * 1e6, "µs", None
    yield "  bare expat pass", cpu(bare_expat(small), 200) * 1e6, "µs", None
    yield f"decode 5,000 parameters, {len(large) / 1e6:.2f} MB", cpu(lambda: decode(large)) * 1e3, "ms", 11.0
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
