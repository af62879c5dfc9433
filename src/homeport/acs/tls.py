"""The certificate of the https listener: the operator's, or one that is made for the laboratory; and whose client certificates count."""

import datetime
import ipaddress
import os
import socket
import ssl
from pathlib import Path
from typing import Any, Final

from homeport.acs.config import AcsSettings, host_port
from homeport.errors import ConfigError

LABORATORY_DAYS: Final = 3_650


def context(settings: AcsSettings, *, laboratory: bool = False) -> ssl.SSLContext | None:
    """The context of an https listener; None without a certificate. TLS 1.2 is the least (X05). Raises ConfigError.

    laboratory: where the settings name no certificate, the one in the data directory is used, and made at the first start.
    """
    chain, key = settings.tls_certificate, settings.tls_key
    if chain is None or key is None:
        if not laboratory:
            return None
        chain, key = laboratory_certificate(settings)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(chain, key)
    except OSError as e:
        raise ConfigError(f"cannot use tls_certificate {chain} with tls_key: {e}") from e
    if settings.tls_client_ca is not None:
        try:
            made.load_verify_locations(settings.tls_client_ca)
        except OSError as e:
            raise ConfigError(f"cannot use tls_client_ca {settings.tls_client_ca}: {e}") from e
        made.verify_mode = (
            ssl.CERT_OPTIONAL
        )  # who shows none logs in by password; one of another authority is turned away
    return made


def laboratory_certificate(settings: AcsSettings) -> tuple[Path, Path]:
    """(certificate, key) for a laboratory, in the data directory: ECDSA P-256, signed by itself, made where they are missing."""
    chain, key = settings.data_dir / "laboratory.crt", settings.data_dir / "laboratory.key"
    if not (chain.exists() and key.exists()):
        _make(chain, key, _names(settings))
    return chain, key


def _names(settings: AcsSettings) -> list[str]:
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()]
    listening, _ = host_port(settings.cwmp_tls_listen or settings.cwmp_listen, "cwmp_tls_listen")
    if listening not in ("0.0.0.0", "::"):
        names.append(listening)
    public = settings.public_host
    if public:
        names.append(public if public.count(":") > 1 else public.partition(":")[0])
    return list(dict.fromkeys(name for name in names if name))


def _make(chain: Path, key: Path, names: list[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Homeport laboratory ACS")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=LABORATORY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general(text) for text in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        for path, content, mode in (
            (key, secret, 0o600),
            (chain, certificate.public_bytes(serialization.Encoding.PEM), 0o644),
        ):
            new = path.with_name(path.name + ".new")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
    except OSError as e:
        raise ConfigError(f"cannot write the laboratory's certificate to {chain.parent}: {e.strerror}") from e


def _general(text: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def common_name(certificate: Any) -> str:
    """The common name of a verified client certificate as `SSLSocket.getpeercert` gives it; "" where there is none."""
    for part in (certificate or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return ""
