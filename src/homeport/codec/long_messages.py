"""Messages of many megabytes, read in parts, so that who reads one can do other things in between.

A device's whole tree is one list in one message, which takes seconds to read. It is cut behind rows: each part is put into the
message's own frame (all that stands before the first row and behind the last one), and is a message of the usual length that is read
as any other. This is exact:

- Outside of comments, CDATA sections and processing instructions every `<` begins a tag, so that a cut behind a row's last tag goes
  through nothing; where a part holds any of those, its end is looked for behind them.
- Each part must be well-formed in the frame, with the frame's message and within all limits; so it opens and closes the same elements.
  Only the list itself might be closed and opened again in the middle: a part that names it is not taken.
- What counts for the whole (the number of rows, of elements) is counted over all parts.

Characters that are wrong are repaired in their own part and not in the others. What cannot be cut is read whole up to `WHOLE` bytes, and
refused beyond: nobody could do anything else for as long as it took.
"""

import re
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode, decode_part
from homeport.codec.limits import CodecLimits
from homeport.codec.quirks import Quirk
from homeport.codec.xml_read import name_markup, prepare_in_parts, too_many_elements
from homeport.errors import MessageRefused, RemoteProtocolError
from homeport.terms import FaultCode

PART: Final = 65_536
"""Bytes of a part: some 400 rows, which take a millisecond."""

USUAL_PART: Final = 262_144
"""Bytes of a part that is read at once; a longer one holds a row of an unusual length, which may be anything."""

LONGEST_PART: Final = 2_097_152
"""Bytes of a part that is a single row: the longest text that is read, were each of its characters written as a reference."""

WHOLE: Final = 4_194_304
"""Bytes of a message that is read in one go where it cannot be cut."""

_HEAD: Final = 8_192
"""Bytes in which the list must begin, and from whose end on it must have ended."""

_FIRST: Final = re.compile(rb"<((?:[\w.-]+:)?Parameter(?:Value|Info|Attribute)Struct)[\s/>]")
_LIST: Final = re.compile(rb"</?(?:[\w.-]+:)?ParameterList[\s/>]")

_QUIRKS: Final = {str(quirk): quirk for quirk in Quirk}

Lists = m.GetParameterValuesResponse | m.GetParameterNamesResponse | m.GetParameterAttributesResponse | m.Inform

Step = Callable[[], Any] | None
"""What a reader asks for between two pieces of work: None a rest, a function that it be called elsewhere and its value given back."""


class _NotInParts(Exception):
    """The message has another form."""


def decode_in_parts(
    body: bytes,
    *,
    content_type: str = "",
    limits: CodecLimits,
    expect: type[m.Message] | None = None,
) -> Generator[Step, Any, Envelope]:
    """As `decode`, with rests between pieces of work that take a few milliseconds.

    What has to be read whole is asked for by a function. Raises as `decode` does.
    """
    quirks: dict[Quirk, None] = {}
    text = yield from prepare_in_parts(body, limits=limits, quirks=quirks, content_type=content_type)
    try:
        return (yield from _in_parts(text, limits, quirks, expect))
    except _NotInParts:
        if len(body) > WHOLE:
            raise MessageRefused(
                f"The message has {len(body)} bytes and is no list of parameters; at most {WHOLE} bytes of others are read.",
                http_status=413,
                fault_code=FaultCode.RESOURCES_EXCEEDED,
            ) from None
    except RemoteProtocolError:
        if len(body) > WHOLE:
            raise
    whole: Envelope = yield lambda: decode(body, content_type=content_type, limits=limits, expect=expect)
    return whole


def _in_parts(
    text: bytes, limits: CodecLimits, quirks: dict[Quirk, None], expect: type[m.Message] | None
) -> Generator[Step, Any, Envelope]:
    first = _FIRST.search(text, 0, _HEAD)
    if first is None:
        raise _NotInParts
    cutter = _Cutter(text, first.start(), first[1])
    head, tail = text[: first.start()], text[cutter.end :]
    frame = head + tail
    message = decode_part(frame, limits=limits, quirks={}, expect=expect, elsewhere=None).body
    if not isinstance(message, Lists) or message.parameter_list:
        raise _NotInParts
    elements = frame.count(b"<") - frame.count(b"</")
    rows: list[Any] = []
    while (part := cutter.next()) and len(rows) <= limits.max_list:
        if b"ParameterList" in part and _LIST.search(part) is not None:
            raise _NotInParts
        elements += part.count(b"<") - part.count(b"</")
        if elements > limits.max_elements:
            raise too_many_elements(limits)
        framed = b"".join((head, part, tail))
        name_markup(framed, quirks)
        read = partial(decode_part, framed, limits=limits, quirks=quirks, expect=expect, elsewhere=None)
        if len(part) <= USUAL_PART:
            envelope = read()
        else:
            envelope = yield read
        if type(envelope.body) is not type(message):
            raise _NotInParts
        rows += envelope.body.parameter_list
        if len(envelope.quirks) > len(quirks):
            quirks.update((_QUIRKS[name], None) for name in envelope.quirks)
        yield None
    envelope = decode_part(frame, limits=limits, quirks=quirks, expect=expect, elsewhere=len(rows))
    assert envelope.body is not None
    return replace(envelope, body=replace(envelope.body, parameter_list=tuple(rows)))


class _Cutter:
    """Cuts a list behind its rows. begin: of the first row; row: its tag's name. end: behind the last row.

    Raises _NotInParts where no end of a row is found.
    """

    def __init__(self, text: bytes, begin: int, row: bytes) -> None:
        self._text = text
        self._at = begin
        self._tag = b"</" + row + b">"
        # What hides a `<`, whole or with no end; and the last tag of a row.
        self._marks = re.compile(
            rb"<(?:!--.*?-->|!\[CDATA\[.*?\]\]>|\?.*?\?>|([!?])|(/%b\s*>))" % re.escape(row), re.DOTALL
        )
        end = text.rfind(self._tag, max(begin, len(text) - _HEAD))
        if end < 0:
            raise _NotInParts
        self.end = end + len(self._tag)

    def next(self) -> bytes:
        """The next part; b"" behind the last."""
        text, begin, end = self._text, self._at, self.end
        if end - begin <= PART:
            cut = end
        else:
            cut = text.find(self._tag, begin + PART, begin + LONGEST_PART) + len(self._tag)
        part = text[begin:cut] if cut >= begin else b""
        if (not part and begin < end) or b"<!" in part or b"<?" in part:
            cut = self._careful_cut(begin)
            part = text[begin:cut]
        self._at = cut
        return part

    def _careful_cut(self, begin: int) -> int:
        """The end of a part, not inside of anything."""
        cut, limit = 0, min(begin + LONGEST_PART, self.end)
        if self._text.find(self._tag[:-1], begin, limit) < 0:
            raise _NotInParts  # one row that is longer than any may be
        for found in self._marks.finditer(self._text, begin, limit):
            if found[1] is not None:
                raise _NotInParts
            if found[2] is not None:
                cut = found.end()
                if cut - begin >= PART:
                    break
        if not cut or (cut != self.end and self.end - begin <= PART):
            raise _NotInParts
        return cut
