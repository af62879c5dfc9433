"""A session as bytes: what another process needs to go on with it, or to write down its end."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from homeport.acs.engine.recipes import Recipe
from homeport.acs.records import MessageTrace, TaskRecord, TaskStatus, Want
from homeport.errors import HomeportError

VERSION: Final = 1

MOST_BYTES: Final = 8_388_608
"""A session that is larger is not handed over: the device begins a new one, which costs less than this row."""

MOST_ROWS: Final = 20_000
"""Rows of lists in a session that is handed over: more would hold up the other devices while they are written down."""

MOST_TRACE: Final = 1_048_576
"""Bytes of message bodies that go with a session; of further ones only the names go."""


class TooLarge(HomeportError):
    """The session does not fit into a row."""


class SessionState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `services.sessions.Work` and the protocol's session are made of, and what the history has of it.

    session: of `Session.to_record`. recipe, told: the running program. stored: the status that the task's row has.
    """

    v: int = VERSION
    session: dict[str, Any]
    id: str
    device: str
    started: float
    address: str
    events: tuple[str, ...]
    manage: bool
    weighty: bool
    recipe: Recipe | None = None
    told: list[Any] = []
    task: TaskRecord | None = None
    stored: TaskStatus = TaskStatus.QUEUED
    want: Want | None = None
    mending: bool = False
    secret: str = ""
    tried: tuple[str, ...] = ()
    messages: tuple[MessageTrace, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SessionState).decode


def pack(state: SessionState) -> bytes:
    """The state as one blob. Raises TooLarge."""
    blob = _encode(state)
    if len(blob) > MOST_BYTES:
        raise TooLarge(f"the session takes {len(blob)} bytes; a row may have {MOST_BYTES}")
    return blob


def unpack(blob: bytes) -> SessionState:
    """The state that `pack` packed. Raises ValueError for another version's."""
    try:
        state = _decode(blob)
    except msgspec.MsgspecError as e:
        raise ValueError(f"the session cannot be read: {e}") from e
    if state.v != VERSION:
        raise ValueError(f"the session was written by another version ({state.v}, this one knows {VERSION})")
    return state


def shortened(messages: Sequence[MessageTrace]) -> tuple[MessageTrace, ...]:
    """The messages, the bodies of the first ones in full."""
    left = MOST_TRACE
    out = []
    for message in messages:
        left -= len(message.body)
        out.append(
            message if left >= 0 else MessageTrace(message.at, message.direction, message.element, message.size, "")
        )
    return tuple(out)
