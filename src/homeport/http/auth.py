"""Reading `WWW-Authenticate` and `Authorization` as devices write them, and the Basic scheme.

Parameters may be quoted or not and stand in any order; several challenges may share a header. Parsing is linear and bounded.
Source: RFC 9110 section 11, RFC 7617; unquoted and oddly ordered parameters are sent by Fritz!Box, netcwmp and Orange.
"""

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Final

LONGEST_HEADER: Final = 8192
"""Characters; a longer credential or challenge is not read."""

MOST_PARAMETERS: Final = 64
"""Parameters in one header; Digest defines 13."""

_ITEM: Final = re.compile(r'[\s,]*([^\s=,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]*)))?')
_ESCAPED: Final = re.compile(r'\\(["\\])')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme with its parameters; scheme and parameter names in lower case, values unquoted."""

    scheme: str
    params: dict[str, str] = field(default_factory=dict)


def parse_challenges(values: list[str]) -> list[Challenge]:
    """The challenges of all `WWW-Authenticate` headers, in order; what cannot be read is left out."""
    found: list[Challenge] = []
    for value in values:
        position, count = 0, 0
        current: Challenge | None = None
        text = value[:LONGEST_HEADER]
        while count < MOST_PARAMETERS:
            item = _ITEM.match(text, position)
            if item is None:
                break
            position, count = item.end(), count + 1
            name, quoted, plain = item.groups()
            if quoted is None and plain is None:
                current = Challenge(name.lower())
                found.append(current)
            elif current is not None:
                unquoted = _ESCAPED.sub(r"\1", quoted) if quoted is not None else plain.strip('"')
                current.params.setdefault(name.lower(), unquoted)
    return found


def parse_credentials(header: str) -> Challenge | None:
    """The scheme and parameters of an `Authorization` header; None where there is none, or it is too long.

    The credential of Basic, and of any other scheme that has just a word, is the parameter "".
    """
    if len(header) > LONGEST_HEADER:
        return None
    scheme, _, rest = header.strip().partition(" ")
    if not scheme:
        return None
    if scheme.lower() != "digest":
        return Challenge(scheme.lower(), {"": rest.strip()})
    read = parse_challenges([header])
    return read[0] if read else None


def basic_header(username: str, password: str) -> str:
    """The value of `Authorization` for Basic, in UTF-8."""
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode("ascii")


def basic_credentials(header: str) -> tuple[str, str] | None:
    """(username, password) of a Basic `Authorization` header; None where it is not one.

    Read as UTF-8, or as ISO-8859-1 where it is not UTF-8.
    """
    read = parse_credentials(header)
    if read is None or read.scheme != "basic":
        return None
    word = read.params[""]
    try:
        raw = b64decode(word + "=" * (-len(word) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    username, colon, password = text.partition(":")
    return (username, password) if colon else None


def basic_challenge(realm: str) -> str:
    """The value of `WWW-Authenticate` for Basic."""
    return f'Basic realm="{quoted(realm)}", charset="UTF-8"'


def quoted(text: str) -> str:
    """text as the inside of a quoted string; line ends and other control characters are left out."""
    clean = "".join(c for c in text if c >= " " and c != "\x7f")
    return clean.replace("\\", "\\\\").replace('"', '\\"')


def same_text(ours: str, theirs: str) -> bool:
    """True where both are equal, in a time that does not tell how far they are."""
    return hmac.compare_digest(ours.encode("utf-8", "surrogatepass"), theirs.encode("utf-8", "surrogatepass"))
