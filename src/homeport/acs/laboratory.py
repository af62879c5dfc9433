"""The laboratory's own certificates: an authority that devices are told to trust, and the server's certificate, which it signs.

The authority is made once and stays, so that a device which trusts it goes on doing so. The server's certificate names the addresses under
which devices find this machine, and is made anew at a start where these have changed, or where it is about to expire.
"""

import datetime
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from homeport.acs.config import AcsSettings, host_port
from homeport.errors import ConfigError

DAYS: Final = 3_650
RENEWED_BEFORE: Final = datetime.timedelta(days=30)
MOST_NAMES: Final = 100
ANYWHERE: Final = ("0.0.0.0", "::")

_SIOCGIFADDR: Final = 0x8915  # Linux, netdevice(7)

_log = structlog.get_logger("homeport.acs.tls")


def certificate(settings: AcsSettings) -> tuple[Path, Path]:
    """(certificate, key) of the server, in the data directory: ECDSA P-256; made where there is none that will do.

    Raises ConfigError.
    """
    directory = settings.data_dir
    try:
        authority, private = _authority(directory)
        chain = directory / "laboratory-server.crt"
        names = _names(settings)
        if not _will_do(chain, authority, names):
            _make_server(chain, authority, private, names)
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) else e
        raise ConfigError(
            f"cannot make the laboratory's certificate in {directory}: {why}; where laboratory.crt or laboratory.key is damaged"
            " or another's, delete both, and tell the devices to trust the new laboratory.crt"
        ) from e
    return chain, directory / "laboratory-server.key"


def _names(settings: AcsSettings) -> list[str]:
    """What devices may call this machine: host names and addresses."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()]
    listening, _ = host_port(settings.cwmp_tls_listen or settings.cwmp_listen, "cwmp_tls_listen")
    names += _own_addresses() if listening in ANYWHERE else [listening]
    public = settings.public_host
    if public:
        bare = public.partition("]")[0].removeprefix("[") if public.startswith("[") else public
        names.append(bare if bare.count(":") > 1 else bare.partition(":")[0])
    return list(dict.fromkeys(name for name in names if name))[:MOST_NAMES]


def _own_addresses() -> list[str]:
    """The addresses of this machine's interfaces, as far as the kernel tells them."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # it has no IPv4 address
            found.append(socket.inet_ntoa(answer[20:24]))
    try:
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []  # no IPv6 here
    for line in lines:
        digits, _, _, scope, *_ = line.split()
        if scope == "00":  # global; a device could not use a link-local address without its zone
            found.append(str(ipaddress.IPv6Address(bytes.fromhex(digits))))
    return found


def _authority(directory: Path) -> tuple[Any, Any]:
    """(certificate, private key) that devices trust."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    chain, key = directory / "laboratory.crt", directory / "laboratory.key"
    if chain.exists() and key.exists():
        made = x509.load_pem_x509_certificate(chain.read_bytes())
        if _lasts(made):
            private = serialization.load_pem_private_key(key.read_bytes(), None)
            if private.public_key() != made.public_key():
                raise ValueError("laboratory.key is not the key of laboratory.crt")
            return made, private
        _log.warning("the laboratory's certificate has expired; devices must trust the new one", file=str(chain))
    return _make_authority(chain, key)


def _lasts(made: Any) -> bool:
    return bool(made.not_valid_after_utc - RENEWED_BEFORE > datetime.datetime.now(datetime.UTC))


def _will_do(chain: Path, authority: Any, names: Sequence[str]) -> bool:
    """Whether the server's certificate is of this authority, has these names and its key, and lasts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        made = x509.load_pem_x509_certificate(chain.read_bytes())
        made.verify_directly_issued_by(authority)
        known = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        private = serialization.load_pem_private_key(chain.with_suffix(".key").read_bytes(), None)
        its_own = private.public_key() == made.public_key()
        return its_own and set(known) == {_general(name) for name in names} and _lasts(made)
    except Exception:  # whatever is wrong with it: another is made
        return False


def _make_authority(chain: Path, key: Path) -> tuple[Any, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Homeport laboratory ACS")])
    made = (
        _begun(name, name, private.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    _write(key, _private(private), 0o600)
    _write(chain, _public(made), 0o644)
    return made, private


def _make_server(chain: Path, authority: Any, signing: Any, names: Sequence[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Homeport laboratory ACS, server")])
    signer = x509.SubjectKeyIdentifier.from_public_key(signing.public_key())
    made = (
        _begun(name, authority.subject, private.public_key(), until=authority.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general(text) for text in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False)
        .sign(signing, hashes.SHA256())
    )
    _write(chain.with_suffix(".key"), _private(private), 0o600)
    _write(chain, _public(made), 0o644)


def _begun(subject: Any, issuer: Any, key: Any, until: datetime.datetime | None = None) -> Any:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(until or now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _public(made: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return bytes(made.public_bytes(serialization.Encoding.PEM))


def _private(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    new = path.with_name(path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _general(text: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
