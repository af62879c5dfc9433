"""Which devices a group's login speaks for."""

import re
from functools import lru_cache
from typing import Final

from homeport.acs.records import GroupLogin

LONGEST_PATTERN: Final = 256
MOST_STARS: Final = 8


@lru_cache(4_096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """`*` is any text, `?` one character. What lies between two stars is looked for once, from the left, so that matching stays linear."""
    first, *rest = (re.escape(piece).replace(r"\?", ".") for piece in pattern.split("*"))
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    found = "".join(f"(?>.*?{piece})" for piece in middle if piece)
    return re.compile(f"{first}{found}.*{last}", re.DOTALL)


def fits(patterns: tuple[str, ...], text: str) -> bool:
    """Whether one of the patterns is the whole text; also where there is no pattern."""
    return not patterns or any(_compiled(pattern).fullmatch(text) for pattern in patterns)


def outside(group: GroupLogin, *, id: str, oui: str, product_class: str, serial_number: str) -> str:
    """Why the device is none of the group's, in words; "" where it is one. id: its key, as `device_id` makes it."""
    if not fits(group.ouis, oui.upper()):
        return f"the OUI {oui!r} is none of the group's"
    if not fits(group.product_classes, product_class):
        return f"the ProductClass {product_class!r} is none of the group's"
    if not fits(group.serial_numbers, serial_number):
        return f"the SerialNumber {serial_number!r} is none of the group's"
    if not fits(group.ids, id):
        return f"the id {id} is none of the group's"
    return ""


def pattern_problem(pattern: str) -> str:
    """Why this is no pattern, in words; "" where it is one."""
    if not 1 <= len(pattern) <= LONGEST_PATTERN:
        return f"a pattern has 1 to {LONGEST_PATTERN} characters"
    if not pattern.isprintable():
        return "a pattern has only characters that can be printed"
    if pattern.count("*") > MOST_STARS:
        return f"a pattern has at most {MOST_STARS} stars"
    return ""
