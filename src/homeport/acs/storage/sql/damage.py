"""Rows that cannot be read: an error with the cure where one alone is asked for, left out and told in the log where others come with it.

Else one row would keep the ACS from starting, the clock from ending any task, and people from every list in which it is.
"""

import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import structlog

from homeport.acs.storage import values
from homeport.errors import StoreError

DAMAGED: Final = (*values.DAMAGED, zlib.error)
"""What reading a damaged row raises."""

MOST_TOLD: Final = 1_000
"""Rows that are told once; some are met every few seconds."""

T = TypeVar("T")

_told: set[int] = set()
_log = structlog.get_logger("homeport.acs.store")


def unreadable(what: str, error: BaseException) -> StoreError:
    """The error for what is damaged."""
    return StoreError(f"{what} cannot be read: {error}; run homeport acs db check")


def read(decode: Callable[[bytes], T], blob: bytes, what: str) -> T:
    """What the blob holds. what: for people. Raises StoreError."""
    try:
        return decode(blob)
    except DAMAGED as e:
        raise unreadable(what, e) from e


def readable(decode: Callable[[Any], T], found: Iterable[Any], what: str) -> list[T]:
    """What those hold that can be read. found: blobs, or rows. what: what each is, for people."""
    out: list[T] = []
    for one in found:
        try:
            out.append(decode(one))
        except DAMAGED as e:
            _tell(what, one, e)
    return out


def _tell(what: str, one: Any, error: BaseException) -> None:
    """Say in the log, once, that a row is left out."""
    mark = hash((what, one if isinstance(one, bytes) else tuple(one)))
    if mark in _told:
        return
    if len(_told) >= MOST_TOLD:
        _told.clear()
    _told.add(mark)
    _log.error("a row cannot be read and is left out; homeport acs db check names it", kind=what, reason=str(error))
