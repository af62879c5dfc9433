"""Messages as people may see them: secrets masked, length cut."""

import re
from typing import Final

from homeport.acs.engine.effects import SECRET_ENDINGS, is_secret

MASK: Final = "********"

_ENDINGS: Final = tuple(
    e for e in SECRET_ENDINGS if not any(e != other and e.endswith(other) for other in SECRET_ENDINGS)
)

_VALUE: Final = re.compile(r"(<Name[^>]*>\s*([^<]*?)\s*</Name>\s*<Value[^>]*>)([^<]+)(</Value>|\Z)")
_SIGNED_URL: Final = re.compile(r"(/[du]/[0-9a-f]+-[0-9a-zA-Z]+-[0-9a-f]+-)[a-z2-7]{32}(/)")
_PASSWORD: Final = re.compile(r"(<Password[^>]*>)([^<]+)(</Password>|\Z)")


_NAMES_ONLY: Final = frozenset(
    {"InformResponse", "GetParameterNames", "GetParameterNamesResponse", "GetParameterValues", "GetParameterAttributes"}
)
"""Messages that carry no values, so that nothing has to be looked for in them."""


def shown(body: bytes, limit: int, element: str = "") -> str:
    """The body as text without secrets, at most `limit` characters. Bytes that are not UTF-8 are shown as such.

    element: the message in it, where that is known.
    """
    text = body[: 4 * limit].decode("utf-8", "backslashreplace")
    # Few messages hold a secret, and looking is much cheaper than replacing.
    if element not in _NAMES_ONLY and any([ending in text for ending in _ENDINGS]):
        text = _VALUE.sub(lambda m: f"{m[1]}{MASK if is_secret(m[2]) else m[3]}{m[4]}", text)
        text = _PASSWORD.sub(rf"\1{MASK}\3", text)
    if "/d/" in text or "/u/" in text:
        text = _SIGNED_URL.sub(rf"\1{MASK}\2", text)
    return text if len(text) <= limit else f"{text[:limit]} [cut: {len(body)} bytes]"
