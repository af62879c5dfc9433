"""TLS in tests: a certificate made here, and a client that trusts everybody."""

import asyncio
import datetime
import ssl
from pathlib import Path
from typing import Any

from support.acs_wire import Connection


def make_certificate(directory: Path, *, rsa: bool = False) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, ECDSA or RSA."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    key = generate_private_key(65_537, 2_048) if rsa else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=10))
        .sign(key, hashes.SHA256())
    )
    chain, private = directory / "cert.pem", directory / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


async def connect(url: str, context: ssl.SSLContext) -> Connection:
    host, _, port = url.removeprefix("https://").strip("/").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    return Connection(reader, writer, f"{host}:{port}")


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Authority:
    """A certificate authority of the test. file: its certificate."""

    def __init__(self, directory: Path) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "device makers")])
        self.file = directory / "authority.pem"
        self.file.write_bytes(self._signed(self._name, self._key, ca=True))

    def _signed(self, name: Any, key: Any, *, ca: bool) -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=10))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    def client(self, common_name: str) -> ssl.SSLContext:
        """The context of a device with a certificate of this authority."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        path = self._directory / f"{common_name}.pem"
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(secret + self._signed(name, key, ca=False))
        context = trusting()
        context.load_cert_chain(path)
        return context
