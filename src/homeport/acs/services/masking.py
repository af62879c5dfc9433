"""Messages as people may see them: secrets masked, length cut."""

import json
import re
from typing import Any, Final

from homeport.acs.engine.effects import SECRET_ENDINGS, TAILS, is_secret
from homeport.codec import messages as m

MASK: Final = "********"

_ENDINGS: Final = tuple(
    e for e in SECRET_ENDINGS if not any(e != other and e.endswith(other) for other in SECRET_ENDINGS)
)

_VALUE: Final = re.compile(r"(<Name[^>]*>\s*([^<]*?)\s*</Name>\s*<Value[^>]*>)([^<]+)(</Value>|\Z)")
_SIGNED_URL: Final = re.compile(r"(/[du]/[0-9a-f]+-[0-9a-zA-Z]+-[0-9a-f]+-)[a-z2-7]{32}(/)")
_PASSWORD: Final = re.compile(r"(<Password[^>]*>)([^<]+)(</Password>|\Z)")


_SECRET_KEYS: Final = ("password", "secret", "token", "passphrase", "key")

_NAMES_ONLY: Final = (
    m.InformResponse,
    m.GetParameterNames,
    m.GetParameterNamesResponse,
    m.GetParameterValues,
    m.GetParameterAttributes,
)


def without_secrets(message: m.Message) -> bool:
    """Whether the message surely holds no secret and no signed URL, so that nothing has to be looked for in its text.

    Its rows are cheaper to look through than its text.
    """
    if isinstance(message, m.GetParameterValuesResponse):
        rows = message.parameter_list
        if any([row.name[-3:] in TAILS and is_secret(row.name) for row in rows]):
            return False
        return not any(["/" in row.value and _SIGNED_URL.search(row.value) for row in rows])
    return isinstance(message, _NAMES_ONLY)


def shown(body: bytes, limit: int, *, clean: bool = False) -> str:
    """The body as text without secrets, at most `limit` characters. Bytes that are not UTF-8 are shown as such.

    clean: it is known to hold none.
    """
    text = body[: 4 * limit].decode("utf-8", "backslashreplace")
    if not clean:
        # Few messages hold a secret, and looking is much cheaper than replacing.
        if any([ending in text for ending in _ENDINGS]):
            text = _VALUE.sub(lambda x: f"{x[1]}{MASK if is_secret(x[2]) else x[3]}{x[4]}", text)
            text = _PASSWORD.sub(rf"\1{MASK}\3", text)
        if "/d/" in text or "/u/" in text:
            text = _SIGNED_URL.sub(rf"\1{MASK}\2", text)
    return text if len(text) <= limit else f"{text[:limit]} [cut: {len(body)} bytes]"


def masked_json(body: bytes) -> str:
    """A JSON body of the REST API without secrets; what is no JSON is told by its size only."""
    try:
        content = json.loads(body) if body else None
    except ValueError:
        content = None
        if body:
            return f"({len(body)} bytes)"
    return "" if content is None else json.dumps(_masked(content), ensure_ascii=False)


def _masked(content: Any) -> Any:
    if isinstance(content, list):
        return [_masked(item) for item in content]
    if not isinstance(content, dict):
        return content
    hidden = isinstance(content.get("name"), str) and "value" in content and is_secret(content["name"])
    out = {}
    for key, value in content.items():
        secret = (hidden and key == "value") or (value and not isinstance(value, dict | list) and _names_secret(key))
        out[key] = MASK if secret else _masked(value)
    return out


def _names_secret(key: str) -> bool:
    last = key.lower().rpartition("_")[2]
    return last in _SECRET_KEYS and key.lower() not in ("command_key", "parameter_key")
