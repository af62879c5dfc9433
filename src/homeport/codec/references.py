"""References in texts that are read without the XML parser: which are legal, and what they stand for."""

import re
from typing import Final

_REFERENCE: Final = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,5}));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def has_only_legal_references(text: str, count: int) -> bool:
    """Whether every `&` begins a reference to a character that XML allows; the tree looks at rarer forms. count: of the `&`."""
    found = _REFERENCE.findall(text)
    if len(found) != count:
        return False
    numbers = {int(number) for _, number in found if number}
    return all(n in (9, 10, 13) or 32 <= n < 0xD800 or 0xE000 <= n < 0xFFFE for n in numbers)


def resolved(text: str) -> str:
    """The text that is meant. text: with legal references only."""
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    named, number = match.groups()
    return _NAMED[named] if named else chr(int(number))
