"""An atheris target for `envelope.decode`: any bytes give an Envelope or a ProtocolError, in time, and the two ways of reading agree.

    python tests/fuzz/fuzz_envelope.py [-atheris options] [CORPUS_DIR]

Without a corpus directory the golden files are the seeds.
"""

import os
import sys
import tempfile
import time
import zlib
from pathlib import Path

import atheris
import msgspec

with atheris.instrument_imports(include=["homeport.codec"]):
    from homeport.codec import envelope, fast_lists, known_answers, known_informs, known_lists, novelty, skeletons
    from homeport.codec import messages as m
    from homeport.codec.limits import CodecLimits
    from homeport.codec.quirks import Quirk
    from homeport.codec.reading import Reading
    from homeport.codec.xml_read import parse, prepare
from homeport.errors import ProtocolError, RemoteProtocolError

LIMITS = CodecLimits(max_body=256 * 1024, max_text=64 * 1024, max_list=4000)
SECONDS_PER_KB = 0.05
GOLDEN = Path(__file__).parents[1] / "golden"
COMPARED = int(os.environ.get("HOMEPORT_FUZZ_COMPARED", "4"))
"""One input in so many is also read the other ways and written back, which costs ten times as much; 1 compares them all."""
novelty.PATIENCE = novelty.MOST_SEEN = 10**6
"""Under fuzzing hardly anything comes again, and still each memory is asked."""
REMEMBERED = int(os.environ.get("HOMEPORT_FUZZ_REMEMBERED", "0"))
"""Characters up to which a body is remembered whole; with 1000 lists and answers of a few rows are known, else only long ones."""
if REMEMBERED:
    skeletons.MAX_LENGTH = envelope.REMEMBERED_LENGTH = REMEMBERED
CONTENT_TYPES = ("", "text/xml; charset=utf-8", 'text/xml; charset="iso-8859-1"')


class Slow(Exception):
    """A body took longer than its size allows."""


def by_tree(body: bytes, content_type: str) -> envelope.Envelope:
    """What the tree alone gives: the reference for plain Informs, lists that are read ahead, and all that is remembered."""
    quirks: dict[Quirk, None] = {}
    text = prepare(body, limits=LIMITS, quirks=quirks, content_type=content_type)
    return envelope._read_envelope(parse(text, limits=LIMITS, quirks=quirks), Reading(LIMITS, quirks), None)


def outcome(call, *args):
    """The envelope, or the class and fault of the refusal."""
    try:
        return call(*args)
    except RemoteProtocolError as error:
        assert 400 <= error.http_status < 500
        return type(error), error.fault_code


def one_input(data: bytes) -> None:
    """Decodes, some inputs three ways, and encodes what came out. Raises only where something is wrong with Homeport."""
    content_type = CONTENT_TYPES[len(data) % len(CONTENT_TYPES)]
    began = time.process_time()  # Of this process: on a busy machine any body can take long by the clock on the wall.
    first = outcome(lambda: envelope.decode(data, content_type=content_type, limits=LIMITS))
    seconds = time.process_time() - began
    if seconds > SECONDS_PER_KB * (1 + len(data) / 1024):
        # Only a body that is slow twice is slow: the first time, a pattern may have been compiled.
        began = time.process_time()
        outcome(lambda: envelope.decode(data, content_type=content_type, limits=LIMITS))
        if time.process_time() - began > SECONDS_PER_KB * (1 + len(data) / 1024):
            raise Slow(f"{seconds:.3f} s for {len(data)} bytes")
    if zlib.crc32(data) % COMPARED:
        return
    # The second time a markup is learnt, the third time used.
    again = [outcome(lambda: envelope.decode(data, content_type=content_type, limits=LIMITS)) for _ in range(2)][1]
    tree = outcome(by_tree, data, content_type)
    assert first == again, ("a remembered skeleton reads otherwise", first, again)
    assert same(first, tree), ("a way without the tree reads otherwise", first, tree)
    assert len(skeletons.MEMORY) <= skeletons.MAX_REMEMBERED
    assert fast_lists.LISTS.size <= known_lists.MOST_CHARACTERS
    assert len(known_answers.ANSWERS) <= known_answers.MAX_ANSWERS
    assert len(known_informs.INFORMS) <= known_informs.MAX_FORMS
    if isinstance(first, envelope.Envelope):
        try:
            body = envelope.encode(first)
        except ProtocolError:
            return
        back = envelope.decode(body)
        if not isinstance(first.body, m.VendorMessage):
            assert (back.body, back.id, back.urn) == (typed(first.body), first.id, first.urn), (first, back)


def typed(message):
    """The message as it comes back: a value that came without a known type is sent as a string."""
    rows = getattr(message, "parameter_list", ())
    if not any(getattr(row, "type", None) == "" for row in rows):
        return message
    return msgspec.structs.replace(
        message, parameter_list=tuple(msgspec.structs.replace(row, type=row.type or "string") for row in rows)
    )


def same(a, b) -> bool:
    """Equal but for the order of quirks: reading ahead meets them in another order."""
    if isinstance(a, envelope.Envelope) and isinstance(b, envelope.Envelope):
        bare = [msgspec.structs.replace(one, quirks=()) for one in (a, b)]
        return sorted(a.quirks) == sorted(b.quirks) and bare[0] == bare[1]
    return a == b


def seeds() -> list[bytes]:
    """The golden files, the field's envelopes, and an answer of some rows with each list of RPCs that has many."""
    values = tuple(
        m.ParameterValueStruct(f"Device.X.{i}.Value", f"v{i}", "int" if i % 3 else "string") for i in range(12)
    )
    names = tuple(m.ParameterInfoStruct(row.name, True) for row in values)
    answers = (m.GetParameterValuesResponse(values), m.GetParameterNamesResponse(names))
    written = [envelope.encode(envelope.Envelope(answer, id="1")) for answer in answers]
    return [path.read_bytes() for path in sorted(GOLDEN.rglob("*.xml"))] + written


def main(argv: list[str]) -> None:
    """Runs atheris; seeds are written to a scratch directory unless a corpus is named."""
    if not any(not arg.startswith("-") for arg in argv[1:]):
        corpus = Path(tempfile.mkdtemp(prefix="homeport-corpus-"))
        for number, seed in enumerate(seeds()):
            (corpus / f"seed-{number:03d}").write_bytes(seed)
        argv = [*argv, str(corpus)]
    atheris.Setup(argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
