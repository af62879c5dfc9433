"""The signed URLs of transfers: what they look like, and what a given one proves.

`/d/TOKEN/NAME` lets its holder fetch the file, `/u/TOKEN/NAME` lets him store one. TOKEN is `EXPIRES-TASK-CONTENT-SIGNATURE`, without a
character that would be escaped in XML or in a URL: devices forget to undo the one or the other. The signature is over all the rest, so a
token cannot be used for anything else. Pure: time comes in as an argument.
"""

import base64
import hashlib
import hmac
import re
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

LONGEST_NAME: Final = 100
"""Characters of a stored file's name: with host and token the whole URL must stay under 256 (cwmp-1-0.xsd, Download.URL)."""

CONTENT: Final = 12
"""Hexadecimal digits of the file's SHA-256 in a URL: enough to notice that the name now has another content."""

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+-]{{0,{LONGEST_NAME - 1}}}")
_PATH: Final = re.compile(
    r"/([du])/([0-9a-f]{1,12}-[0-9a-zA-Z]{1,40}-[0-9a-f]{1,12})-([a-z2-7]{32})/([A-Za-z0-9._+-]{1,100})"
)
_UNSIGNED: Final = re.compile(r"/[du](/[^?#]*)?|/[^/?#]+")


class Direction(StrEnum):
    """What a URL lets its holder do: down fetches, up stores."""

    DOWN = "d"
    UP = "u"


class Flaw(StrEnum):
    """Why a URL is no good."""

    UNKNOWN = "there is nothing at this address"
    UNSIGNED = "this address carries no signature; ask the operator for a transfer, or store the file anew"
    FORGED = "the signature of this address is wrong; it must be used exactly as it was given"
    EXPIRED = "this address is no longer valid; a new transfer gives a new one"


class Grant(Struct, frozen=True):
    """What a good URL allows. content: how the SHA-256 of the file to be fetched begins; "0" for an upload."""

    direction: Direction
    name: str
    task: str
    content: str


def name_problem(name: str) -> str:
    """Why a file cannot be called so, "" where it can."""
    if _NAME.fullmatch(name) and ".." not in name:
        return ""
    return (
        f"{name[:120]!r} cannot be the name of a stored file: 1 to {LONGEST_NAME} letters, digits, dots, hyphens, underscores"
        " and plus signs, a letter or digit first, no two dots in a row"
    )


class FileLinks:
    """Signs and checks. secret: 32 bytes, the same for all processes of an ACS."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def path(self, direction: Direction, name: str, *, task: str, expires: float, sha256: str = "0") -> str:
        """The path of a URL, from its slash. expires: seconds since 1970. sha256: of the file to be fetched."""
        facts = f"{int(expires):x}-{task}-{sha256[:CONTENT]}"
        return f"/{direction.value}/{facts}-{self._sign(direction, facts, name)}/{name}"

    def read(self, path: str, now: float) -> Grant | Flaw:
        """What the path allows. now: seconds since 1970."""
        plain = unquote(path)  # some clients escape what needs no escape
        found = _PATH.fullmatch(plain)
        if found is None:
            return Flaw.UNSIGNED if _UNSIGNED.fullmatch(plain) else Flaw.UNKNOWN
        direction, facts, signature, name = Direction(found[1]), found[2], found[3], found[4]
        if not hmac.compare_digest(self._sign(direction, facts, name), signature):
            return Flaw.FORGED
        until, task, content = facts.split("-")
        return Grant(direction, name, task, content) if now < int(until, 16) else Flaw.EXPIRED

    def _sign(self, direction: Direction, facts: str, name: str) -> str:
        text = f"{direction.value}\n{facts}\n{name}"
        digest = hmac.new(self._secret, text.encode(), hashlib.sha256).digest()
        return base64.b32encode(digest[:20]).decode().lower()
