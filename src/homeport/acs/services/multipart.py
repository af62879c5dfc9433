"""multipart/form-data, read as a stream: small fields are kept, the bytes of the one file are handed on as they come.

Starlette's own form parser would write the file to a temporary place first, whole, before anybody could refuse it.
Source: RFC 7578.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from homeport.errors import HomeportError

LONGEST_FIELD: Final = 4_096
"""Bytes of all fields together: they hold a version and a model."""

MOST_PARTS: Final = 32


class BadForm(HomeportError):
    """The body is not a form with one file; the message says what is wrong with it."""


class Form:
    """What a form held beside the file's bytes. filename: None while no file has come."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None


class _Reader:
    """The parser's callbacks: collects fields, and the pieces of the file until they are fetched."""

    def __init__(self, boundary: bytes, file_part: str | None) -> None:
        self.form = Form()
        self.pieces: list[bytes] = []
        self.ended = False
        self._file_part = file_part
        self._parts = 0
        self._kept = 0
        self._header = b""
        self._headers: dict[bytes, bytes] = {}
        self._value = b""
        self._name = ""
        self._in_file = False
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_done,
                "on_end": self._done,
            },
        )

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise BadForm(f"the form has more than {MOST_PARTS} parts")
        self._headers, self._header, self._value, self._name, self._in_file = {}, b"", b"", "", False

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_done(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        if disposition != b"form-data" or not (self._name or filename is not None):
            raise BadForm("a part of the form has no name")
        if self._name == self._file_part or (self._file_part is None and filename is not None):
            if self.form.filename is not None:
                raise BadForm("the form has more than one file; send one at a time")
            self._in_file = True
            self.form.filename = (filename or b"").decode("utf-8", "replace")
        elif filename is not None:
            raise BadForm(f"the form has a file in the part {self._name!r}; the part is called {self._file_part!r}")

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._in_file:
            self.pieces.append(piece)
            return
        self._kept += len(piece)
        if self._kept > LONGEST_FIELD:
            raise BadForm(f"the fields of the form are longer than {LONGEST_FIELD} bytes")
        self._value += piece

    def _end(self) -> None:
        if not self._in_file:
            self.form.fields[self._name] = self._value.decode("utf-8", "replace")
        self._value = b""

    def _done(self) -> None:
        self.ended = True


async def read_form(
    content_type: str,
    body: AsyncIterator[bytes],
    write: Callable[[bytes], Awaitable[None]],
    *,
    file_part: str | None = "file",
) -> Form:
    """The form in the body. write: takes the file's bytes. file_part: the name of its part; None for whichever has a file name.

    Raises BadForm, and what write raises.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 256:
        raise BadForm("send the file as multipart/form-data, with its boundary in the Content-Type")
    reader = _Reader(boundary, file_part)
    try:
        async for data in body:
            reader.parser.write(data)
            for piece in reader.pieces:
                await write(piece)
            reader.pieces.clear()
        reader.parser.finalize()
    except FormParserError as e:
        raise BadForm(f"the body is not multipart/form-data: {e}") from e
    if not reader.ended:
        raise BadForm("the form ends too early; send it again")
    if reader.form.filename is None:
        raise BadForm(f"the form has no file; it belongs into the part {file_part or 'file'!r}")
    return reader.form
