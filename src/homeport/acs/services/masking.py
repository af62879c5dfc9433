"""Messages as people may see them: secrets masked, length cut."""

import re
from typing import Final

from homeport.acs.engine.effects import SECRET_ENDINGS, is_secret

MASK: Final = "********"

_VALUE: Final = re.compile(r"(<Name[^>]*>\s*([^<]*?)\s*</Name>\s*<Value[^>]*>)([^<]+)(</Value>|\Z)")
_PASSWORD: Final = re.compile(r"(<Password[^>]*>)([^<]+)(</Password>|\Z)")


def shown(body: bytes, limit: int) -> str:
    """The body as text without secrets, at most `limit` characters. Bytes that are not UTF-8 are shown as such."""
    text = body[: 4 * limit].decode("utf-8", "backslashreplace")
    if any(
        ending in text for ending in SECRET_ENDINGS
    ):  # few messages hold one, and looking is much cheaper than replacing
        text = _VALUE.sub(lambda m: f"{m[1]}{MASK if is_secret(m[2]) else m[3]}{m[4]}", text)
        text = _PASSWORD.sub(rf"\1{MASK}\3", text)
    return text if len(text) <= limit else f"{text[:limit]} [cut: {len(body)} bytes]"
