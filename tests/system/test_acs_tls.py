"""The https listener: with a certificate, TLS 1.2 at least, and Basic is then offered."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest

from support.acs_wire import Connection, Device, acs, run

pytestmark = pytest.mark.system


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed ECDSA certificate for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
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


@pytest.mark.case("X05")
def test_a_session_over_tls(tmp_path: Path) -> None:
    """The same sessions; Basic is offered behind Digest; TLS 1.1 and plain http do not get in."""
    chain, private = make_certificate(tmp_path)

    async def scene() -> None:
        settings = {"cpe_auth": "required", "cpe_username": "u", "cpe_password": "p"}
        async with acs(tmp_path / "data", tls_certificate=chain, tls_key=private, **settings) as bed:
            assert bed.app.cwmp_url.startswith("https://")
            device = Device(await connect(bed.app.cwmp_url, trusting()))
            challenge = await device.inform("1 BOOT")
            assert challenge.status == 401
            offered = challenge.headers["www-authenticate"].split("\n")
            assert [c.partition(" ")[0] for c in offered] == ["Digest", "Digest", "Basic"]
            assert (await device.post_inform("Basic dTpw", "1 BOOT")).status == 200
            assert (await device.post(None)).status == 204
            await device.close()

            plain = await Connection.to(bed.app.cwmp_url.replace("https", "http"))
            plain.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert not (await plain.reader.read()).startswith(b"HTTP/1.1 2")
            await plain.close()

            good = Device(await connect(bed.app.cwmp_url, trusting()))
            assert (await good.post(None)).status == 401
            await good.close()

    run(scene())


@pytest.mark.case("X05")
def test_the_listener_speaks_nothing_older_than_tls_1_2(tmp_path: Path) -> None:
    """By default and without a switch."""
    from homeport.acs.app import _tls
    from homeport.acs.config import AcsSettings

    chain, private = make_certificate(tmp_path)
    context = _tls(AcsSettings(tls_certificate=chain, tls_key=private))
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
