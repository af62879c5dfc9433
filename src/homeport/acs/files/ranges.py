"""Which bytes a request wants: Range, If-Range, If-None-Match. Pure. Source: RFC 9110 8.8.3, 13.1, 14."""

import re
from typing import Final

_ONE: Final = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


class Unsatisfiable(Exception):
    """The range begins behind the end of the file: 416."""


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first byte, length), or None for the whole file: without a header, with one that is no byte range, or with several ranges.

    Several ranges may be answered by the whole file; no device is known that asks for them. Raises Unsatisfiable.
    """
    found = _ONE.fullmatch(header) if header else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        if length == 0:
            raise Unsatisfiable
        return size - length, length
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return first, last - first + 1


def names_tag(header: str | None, tag: str) -> bool:
    """Whether If-None-Match names this entity tag (weak comparison)."""
    if header is None:
        return False
    return header.strip() == "*" or tag in {t.strip().removeprefix("W/") for t in header.split(",")}


def still_is(if_match: str | None, tag: str) -> bool:
    """Whether If-Match is not there, or names this entity tag (strong comparison)."""
    return if_match is None or if_match.strip() == "*" or tag in {t.strip() for t in if_match.split(",")}


def range_applies(if_range: str | None, tag: str, modified: str) -> bool:
    """Whether the Range counts: there is no If-Range, or it names what is here now."""
    return if_range is None or if_range.strip() in (tag, modified)
