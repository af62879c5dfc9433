"""The web page's password: hashed with scrypt, in the state directory or in the settings.

Anything that slows a thief of the hash down also costs the device: 16 MB for a moment, one hash at a time.
"""

import base64
import hashlib
import hmac
import os
from pathlib import Path
from typing import Final

from homeport.errors import ConfigError

FILE: Final = "web-password"
SHORTEST: Final = 8
LONGEST: Final = 1024

_N: Final = 1 << 14
_R: Final = 8
_P: Final = 5
"""Cost as OWASP recommends it for 16 MB of memory (unverified)."""

_MOST_MEMORY: Final = 64 * 1024 * 1024


def problem(password: str) -> str:
    """Why this cannot be a password, "" where it can."""
    if len(password) < SHORTEST:
        return f"the password needs at least {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"the password may have at most {LONGEST} characters"
    return ""


def hash_of(password: str) -> str:
    """`scrypt$N$r$p$salt$hash` of a password; slow on purpose."""
    salt = os.urandom(16)
    return f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(_derived(password, salt, _N, _R, _P))}"


def check(text: str) -> str:
    """The hash itself where it is one. Raises ConfigError."""
    try:
        _parts(text)
    except ValueError as e:
        raise ConfigError(
            "web_password_hash is not what `homeport cpe web-password --print` prints; make it anew"
        ) from e
    return text


def fits(password: str, text: str) -> bool:
    """Whether a password is the one of a hash; slow on purpose, call it in a thread."""
    n, r, p, salt, wanted = _parts(text)
    return hmac.compare_digest(_derived(password[: LONGEST + 1], salt, n, r, p), wanted)


def _derived(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    data = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=_MOST_MEMORY, dklen=32)


def _parts(text: str) -> tuple[int, int, int, bytes, bytes]:
    kind, n, r, p, salt, wanted = text.strip().split("$")
    cost = int(n), int(r), int(p)
    if kind != "scrypt" or not (2 <= cost[0] <= 1 << 18 and 1 <= cost[1] <= 16 and 1 <= cost[2] <= 16):
        raise ValueError("not a hash of ours")
    return *cost, base64.b64decode(salt, validate=True), base64.b64decode(wanted, validate=True)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- where it is kept ---------------------------------------------------------------------------------------------------------


def keep(directory: Path, text: str) -> None:
    """Put a hash into a state directory, for its owner's eyes. Raises OSError.

    Run by root for a directory of the agent's own user, the file becomes that user's: the agent must be able to read it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = directory / f"{FILE}.new"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        owner = directory.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(text + "\n")
    temporary.replace(directory / FILE)


def forget(directory: Path) -> None:
    """Remove the hash, if there is one. Raises OSError."""
    (directory / FILE).unlink(missing_ok=True)


def kept(directory: Path, setting: str = "") -> str:
    """The hash that counts: the state directory's, else the setting's; "" where there is none.

    Raises ConfigError for one that cannot be read: a page that lost its password must not open by that.
    """
    try:
        found = (directory / FILE).read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        found = ""
    except OSError as e:
        raise ConfigError(f"cannot read {directory / FILE}: {e.strerror}; give it to the agent's user") from e
    return check(found or setting) if found or setting else ""
