"""Ed25519 signatures of firmware: detached, in a file of their own or at the end of the image. `cryptography` is loaded when first needed.

openssl pkeyutl -sign -rawin -inkey key.pem -in image.bin -out image.bin.sig       (64 bytes; found under URL + ".sig")
{ cat image.bin; printf 'HPSIG1'; cat image.bin.sig; } > signed.bin                (the same, in one file)
"""

import asyncio
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from homeport.errors import ConfigError
from homeport.transport.files import FileTransferError, Trouble

TRAILER: Final = b"HPSIG1"
SIGNATURE_SIZE: Final = 64


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """keys: files with Ed25519 public keys (PEM); an image signed with any of them is trusted. Empty: signatures are not looked at."""

    keys: tuple[Path, ...] = ()

    @property
    def required(self) -> bool:
        return bool(self.keys)

    async def check(self, image: Path, detached: bytes | None) -> None:
        """Raises FileTransferError (untrusted) where no key has signed the image; ConfigError where a key cannot be used."""
        keys = [_load(path) for path in self.keys]
        await asyncio.to_thread(_check, image, detached, keys)


def signature_url(url: str) -> str:
    """Where a detached signature lies: `.sig` after the path, before the query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + ".sig"))


def has_trailer(image: Path) -> bool:
    """Whether the image carries its signature at its end."""
    with image.open("rb") as f:
        size = f.seek(0, 2)
        if size < len(TRAILER) + SIGNATURE_SIZE:
            return False
        f.seek(size - len(TRAILER) - SIGNATURE_SIZE)
        return f.read(len(TRAILER)) == TRAILER


def _check(image: Path, detached: bytes | None, keys: Sequence[Any]) -> None:
    from cryptography.exceptions import InvalidSignature

    if not image.stat().st_size:
        raise FileTransferError(Trouble.UNTRUSTED, "the firmware image is empty")
    with image.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        length, signature = len(mapped), detached
        if detached is None:
            if not has_trailer(image):
                raise FileTransferError(Trouble.UNTRUSTED, "the firmware image is not signed")
            signature = mapped[-SIGNATURE_SIZE:]
            length -= len(TRAILER) + SIGNATURE_SIZE
        if signature is None or len(signature) != SIGNATURE_SIZE:
            raise FileTransferError(Trouble.UNTRUSTED, "the signature of the firmware image is not one of Ed25519")
        with memoryview(mapped) as whole, whole[:length] as signed:
            for key in keys:
                try:
                    key.verify(signature, signed)
                    return
                except InvalidSignature:
                    continue  # perhaps the next key's
    raise FileTransferError(
        Trouble.UNTRUSTED, "the signature of the firmware image is not by a key that this device trusts"
    )


def _load(path: Path) -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as e:
        raise ConfigError("firmware signatures need the package cryptography: pip install cryptography") from e
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as e:
        raise ConfigError(f"{path} is not a public key in PEM: {e}") from e
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} is not an Ed25519 key; make one with: openssl genpkey -algorithm ed25519")
    return key
