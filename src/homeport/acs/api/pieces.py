"""Long JSON answers: made in slices beside the event loop's other work, sent in pieces as the peer takes them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from fastapi import Response
from msgspec.structs import replace
from starlette.types import Receive, Scope, Send

from homeport.acs.api import shapes
from homeport.acs.records import TaskRecord
from homeport.acs.services.masking import masked
from homeport.acs.slices import Work, pieces
from homeport.acs.storage.long_lists import PackedRows
from homeport.errors import StoreError

ROWS: Final = 500
"""Parameters that are written in one go: half a millisecond."""

AT_A_TIME: Final = 10
"""Devices, or tasks as most are, that are written in one go."""

SENT: Final = 131_072
"""Bytes that are sent in one go; the next follow when the peer has taken most of them."""

_MARK: Final = b"\x01"
"""Stands for a long list while what is around it is written; no text in JSON holds it as it is."""

T = TypeVar("T")
encode = msgspec.json.Encoder().encode


class Pieces(Response, Generic[T]):
    """An answer of JSON that was written already. T: its shape."""

    def __init__(self, body: list[bytes], status_code: int = 200) -> None:
        length = {"content-length": str(sum(map(len, body)))}
        super().__init__(status_code=status_code, media_type="application/json", headers=length)
        self.pieces = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = self.pieces
        body.reverse()
        while body:  # what was sent is let go
            gathered, size = [body.pop()], 0
            while body and size < SENT:
                size += len(body[-1])
                gathered.append(body.pop())
            await send({"type": "http.response.body", "body": b"".join(gathered), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def page(rows: Iterable[Any], shape: Callable[..., Any], next: str | None, *more: Any) -> Work[list[bytes]]:
    """A page as JSON, with rests. shape: of a row and `more`."""
    out = [b'{"items":[']
    for some in pieces(rows, AT_A_TIME):
        out += [encode([shape(row, *more) for row in some])[1:-1], b","]
        yield None
    return _ended(out, next)


def page_of_parameters(rows: Sequence[tuple[str, Any]], next: str | None) -> Work[list[bytes]]:
    """A page of parameters as JSON, with rests."""
    out = [b'{"items":[']
    for some in pieces(rows, ROWS):
        out += [encode([shapes.parameter(path, value) for path, value in some])[1:-1], b","]
        yield None
    return _ended(out, next)


def page_of_tasks(tasks: Sequence[TaskRecord], next: str | None) -> Work[list[bytes]]:
    """A page of tasks as JSON, with rests."""
    out = [b'{"items":[']
    for task in tasks:
        try:
            out += yield from one_task(task)
        except StoreError:  # who asks for it alone is told
            out.append(encode(shapes.task(replace(task, result=None))))
        out.append(b",")
        yield None
    return _ended(out, next)


def one_task(task: TaskRecord) -> Work[list[bytes]]:
    """A task as JSON, with rests where its result is a long list. Raises StoreError where that is damaged."""
    result: Mapping[str, Any] = task.result or {}
    rows = result.get("parameter_list")
    if not is_long(task):
        return [encode(shapes.task(task))]
    shape = shapes.task(replace(task, result={k: v for k, v in result.items() if v is not rows}))
    around = encode(replace(shape, result={**(shape.result or {}), "parameter_list": msgspec.Raw(_MARK)}))
    before, _, behind = around.partition(_MARK)
    out = [before, b"["]
    some: Any
    for some in rows.in_pieces() if isinstance(rows, PackedRows) else pieces(rows, ROWS):  # type: ignore[arg-type]
        for part in pieces(some, ROWS):
            out += [encode(masked(part))[1:-1], b","]
            yield None
    out[-1] = b"]"
    out.append(behind)
    return out


def is_long(task: TaskRecord) -> bool:
    """Whether the task has read so much that it is written in slices."""
    rows = (task.result or {}).get("parameter_list")
    return isinstance(rows, PackedRows) or (isinstance(rows, Sequence) and len(rows) > ROWS)


def _ended(out: list[bytes], next: str | None) -> list[bytes]:
    if len(out) > 1:
        out.pop()  # the last comma
    out.append(b'],"next":' + encode(next) + b"}")
    return out
