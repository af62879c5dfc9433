"""Certificates that change while the ACS goes on: the operator's renewed one, and the laboratory's for other addresses."""

import asyncio
import datetime
import gc
import os
import pty
import select
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from homeport.acs import laboratory
from homeport.acs.config import AcsSettings
from homeport.errors import ConfigError
from support.acs_wire import OUI, Connection, Device, acs, run
from support.tls import Authority, connect, make_certificate, trusting

pytestmark = pytest.mark.system


def loaded(path: Path) -> Any:
    from cryptography import x509

    return x509.load_pem_x509_certificate(path.read_bytes())


def names_in(path: Path) -> set[str]:
    from cryptography import x509

    found = loaded(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


async def shown(url: str) -> bytes:
    """The certificate that a listener shows."""
    connection = await connect(url, trusting())
    tls = connection.writer.get_extra_info("ssl_object")
    await connection.close()
    return bytes(tls.getpeercert(binary_form=True))


def test_a_renewed_certificate_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    """By devices and by the file server, from the next connection on; connections that are open go on."""
    chain, private = make_certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()

    async def scene() -> None:
        async with acs(tmp_path / "data", tls_certificate=chain, tls_key=private, cpe_auth="open") as bed:
            before = await shown(bed.app.cwmp_url)
            old = await connect(bed.app.cwmp_url, trusting())
            new_chain, new_private = make_certificate(other)
            os.replace(new_chain, chain)
            os.replace(new_private, private)
            await bed.app._renewal.look()
            after = await shown(bed.app.cwmp_url)
            assert after != before
            assert await shown(bed.app.file_url) == after
            assert (await old.request("GET", "/", b"", {})).status == 405
            await old.close()

    run(scene())


def test_a_renewed_certificate_may_have_another_kind_of_key(tmp_path: Path) -> None:
    """RSA in place of ECDSA: no device is shown the old one any more. Client certificates still count, and log their devices in."""
    chain, private = make_certificate(tmp_path)
    (tmp_path / "makers").mkdir()
    makers = Authority(tmp_path / "makers")
    other = tmp_path / "other"
    other.mkdir()

    async def scene() -> None:
        settings = {"tls_certificate": chain, "tls_key": private, "tls_client_ca": makers.file, "cpe_auth": "required"}
        async with acs(tmp_path / "data", **settings) as bed:
            new_chain, new_private = make_certificate(other, rsa=True)
            new = ssl.PEM_cert_to_DER_cert(new_chain.read_text())
            os.replace(new_chain, chain)
            os.replace(new_private, private)
            await bed.app._renewal.look()
            assert await shown(bed.app.cwmp_url) == new
            assert await shown(bed.app.file_url) == new
            device = Device(await connect(bed.app.cwmp_url, makers.client(f"{OUI}-SN1")), serial="SN1")
            assert (await device.inform("1 BOOT")).status == 200
            await device.close()

    run(scene())


LOOKS = """
import asyncio, pathlib, sys
from homeport.acs import config, tls
from support.tls import make_certificate
place = pathlib.Path(sys.argv[1])
chain, key = make_certificate(place)
renewal = tls.Renewal(config.AcsSettings(data_dir=place, tls_certificate=chain, tls_key=key))
key.write_bytes((place / "sealed.pem").read_bytes())
asyncio.run(renewal.look())
"""


def test_a_new_key_with_a_password_is_refused_and_asks_nobody(tmp_path: Path) -> None:
    """OpenSSL would ask for it at the terminal, and all devices would wait for the answer."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    sealed = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "sealed.pem").write_bytes(sealed)
    script = tmp_path / "looks.py"
    script.write_text(LOOKS)
    child, terminal = pty.fork()
    if child == 0:
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        os.execv(sys.executable, [sys.executable, str(script), str(tmp_path)])
    said = b""
    try:
        while select.select([terminal], [], [], 20)[0]:
            try:
                said += os.read(terminal, 4_096)
            except OSError:
                break  # it has ended
            if b"pass phrase" in said:
                break
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    assert b"the new certificate cannot be used" in said


def test_a_certificate_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    """A chain without its key: the log names both settings, and the one before goes on serving."""
    chain, private = make_certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()

    async def scene() -> None:
        async with acs(tmp_path / "data", tls_certificate=chain, tls_key=private, cpe_auth="open") as bed:
            before = await shown(bed.app.cwmp_url)
            os.replace(make_certificate(other)[0], chain)
            with capture_logs() as logs:
                await bed.app._renewal.look()
            assert await shown(bed.app.cwmp_url) == before
            [told] = [line for line in logs if line["log_level"] == "error"]
            assert "tls_key" in told["advice"]

    run(scene())


def test_the_end_of_a_certificate_is_told_in_time(tmp_path: Path) -> None:
    """The test's own lasts nine days more: the log says so at the start, with what to do."""
    chain, private = make_certificate(tmp_path)

    async def scene() -> None:
        with capture_logs() as logs:
            async with acs(tmp_path / "data", tls_certificate=chain, tls_key=private, cpe_auth="open"):
                pass
        [told] = [line for line in logs if line["event"] == "the certificate expires soon"]
        assert "renew" in told["advice"]

    run(scene())


def test_the_laboratory_s_certificate_follows_the_machine_s_names(tmp_path: Path) -> None:
    """Under another name the server has another certificate, of the same authority: devices need not be told anything."""
    settings = AcsSettings(data_dir=tmp_path, cwmp_tls_listen="192.0.2.5:7548")
    chain, key = laboratory.certificate(settings)
    authority = (tmp_path / "laboratory.crt").read_bytes()
    assert {"localhost", "127.0.0.1", "192.0.2.5"} <= names_in(chain)
    assert key.stat().st_mode & 0o777 == 0o600
    first = chain.read_bytes()
    laboratory.certificate(settings)
    assert chain.read_bytes() == first

    settings = AcsSettings(data_dir=tmp_path, cwmp_tls_listen="192.0.2.6:7548", public_host="[2001:db8::1]:7567")
    laboratory.certificate(settings)
    assert {"192.0.2.6", "2001:db8::1"} <= names_in(chain)
    assert (tmp_path / "laboratory.crt").read_bytes() == authority
    loaded(chain).verify_directly_issued_by(loaded(tmp_path / "laboratory.crt"))


def test_the_laboratory_s_certificate_names_the_addresses_that_it_listens_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listening everywhere, the addresses of all interfaces: a device in the laboratory's network comes by one of them."""
    monkeypatch.setattr(laboratory, "_own_addresses", lambda: ["192.0.2.77", "2001:db8::77"])
    chain, _ = laboratory.certificate(AcsSettings(data_dir=tmp_path, cwmp_tls_listen="0.0.0.0:7548"))
    assert {"192.0.2.77", "2001:db8::77"} <= names_in(chain)


def test_the_machine_s_own_addresses_are_those_that_it_can_bind() -> None:
    """What the kernel tells of its interfaces."""
    assert "127.0.0.1" in laboratory._own_addresses()
    for address in laboratory._own_addresses():
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.bind((address, 0))


def test_an_authority_that_expires_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a warning, for devices must trust the new one; the server's certificate follows."""
    settings = AcsSettings(data_dir=tmp_path, cwmp_tls_listen="127.0.0.1:0")
    monkeypatch.setattr(laboratory, "DAYS", 5)
    laboratory.certificate(settings)
    old = (tmp_path / "laboratory.crt").read_bytes()
    monkeypatch.undo()
    with capture_logs() as logs:
        chain, _ = laboratory.certificate(settings)
    assert (tmp_path / "laboratory.crt").read_bytes() != old
    assert "trust the new one" in logs[0]["event"]
    assert loaded(chain).not_valid_after_utc > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=300)


def test_the_laboratory_s_authority_of_an_older_version_stays(tmp_path: Path) -> None:
    """It was the server's certificate, too: devices that trust it trust what it signs."""
    settings = AcsSettings(data_dir=tmp_path, cwmp_tls_listen="127.0.0.1:0")
    laboratory._make_authority(tmp_path / "laboratory.crt", tmp_path / "laboratory.key")
    before = (tmp_path / "laboratory.crt").read_bytes()
    laboratory.certificate(settings)
    assert (tmp_path / "laboratory.crt").read_bytes() == before

    async def scene() -> None:
        async with acs(tmp_path, cwmp_tls_listen="127.0.0.1:0", cpe_auth="open") as bed:
            trusted = ssl.create_default_context(cafile=str(tmp_path / "laboratory.crt"))
            async with asyncio.timeout(10):
                await (await connect(bed.app.ports.cwmp_tls_url, trusted)).close()

    run(scene())


def test_an_authority_without_its_own_key_is_told_with_the_cure(tmp_path: Path) -> None:
    """One of the two files was put back from a backup: no device would trust what the other key signs."""
    settings = AcsSettings(data_dir=tmp_path, cwmp_tls_listen="127.0.0.1:0")
    laboratory.certificate(settings)
    os.replace(tmp_path / "laboratory-server.key", tmp_path / "laboratory.key")
    with pytest.raises(ConfigError, match=r"laboratory\.key is not the key of laboratory\.crt.*delete both"):
        laboratory.certificate(settings)


def test_a_server_s_certificate_that_a_crash_left_without_its_key_is_made_anew(tmp_path: Path) -> None:
    """The two files are written one after the other; an ACS that could not start any more would help nobody."""
    settings = AcsSettings(data_dir=tmp_path, cwmp_tls_listen="127.0.0.1:0")
    chain, key = laboratory.certificate(settings)
    key.write_bytes((tmp_path / "laboratory.key").read_bytes())
    laboratory.certificate(settings)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)


def distrusting(url: str) -> None:
    """A device that does not know the authority: it says so, where asyncio's client only goes."""
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=10) as plain:
        ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_handshake_that_fails_is_told_with_its_cure(tmp_path: Path) -> None:
    """A device that does not trust us, and one that speaks http, are seen in the log and in the metrics; the listener goes on."""
    chain, private = make_certificate(tmp_path)

    async def scene() -> None:
        async with acs(tmp_path / "data", tls_certificate=chain, tls_key=private, cpe_auth="open") as bed:
            url = bed.app.cwmp_url
            with capture_logs() as logs:
                for _ in range(2):
                    with pytest.raises(ssl.SSLCertVerificationError):
                        await asyncio.to_thread(distrusting, url)
                plain = await Connection.to(url.replace("https", "http"))
                plain.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
                await plain.reader.read()
                await plain.close()
                await (await connect(url, trusting())).close()
                metrics = (await bed.rest("GET", "/metrics")).body.decode()
            told = {line["reason"]: line["advice"] for line in logs if line["event"] == "devices cannot begin TLS"}
            assert len(told) == 2
            assert "does not trust our certificate" in told["tlsv1 alert unknown ca"]
            assert "http to the https port" in told["http request"]
            assert 'homeport_tls_failures_total{reason="TLSV1_ALERT_UNKNOWN_CA"} 2' in metrics

    run(scene())


def test_a_handshake_that_never_begins_ends_with_the_read_timeout(tmp_path: Path) -> None:
    """On both listeners; nobody counts such connections, so they must not gather."""
    chain, private = make_certificate(tmp_path)

    async def scene() -> None:
        settings = {"tls_certificate": chain, "tls_key": private, "cpe_auth": "open", "read_timeout": 0.2}
        async with acs(tmp_path / "data", **settings) as bed:
            for url in (bed.app.cwmp_url, bed.app.file_url):
                silent = await Connection.to(url.replace("https", "http"))
                async with asyncio.timeout(5):
                    assert await silent.reader.read() == b""
                await silent.close()

    run(scene())


def test_connections_that_say_nothing_keep_no_device_of_another_port_out(tmp_path: Path) -> None:
    """More than max_connections that never begin TLS: the rest is cut at once, and those that were taken go with the read timeout."""
    chain, private = make_certificate(tmp_path)

    async def scene() -> None:
        settings = {"tls_certificate": chain, "tls_key": private, "cpe_auth": "open", "max_connections": 5}
        async with acs(tmp_path / "data", read_timeout=0.5, **settings) as bed:
            silent = [await Connection.to(bed.app.cwmp_url.replace("https", "http")) for _ in range(8)]
            async with asyncio.timeout(5):
                cut = {asyncio.create_task(one.reader.read()): one for one in silent}
                done, _ = await asyncio.wait(cut, return_when=asyncio.FIRST_COMPLETED)
                assert 1 <= len(done) <= 3
                await asyncio.wait(cut)
                while True:
                    try:
                        await (await connect(bed.app.cwmp_url, trusting())).close()
                        break
                    except (ssl.SSLError, OSError):
                        await asyncio.sleep(0.1)
            metrics = (await bed.rest("GET", "/metrics")).body.decode()
            assert 'homeport_tls_failures_total{reason="TOO_MANY_HANDSHAKES"}' in metrics
            for one in silent:
                await one.close()

    run(scene())


def test_handshakes_that_were_left_keep_no_device_out(tmp_path: Path) -> None:
    """More than max_connections that begin TLS and go: none of them is under way any more, long before the read timeout."""
    chain, private = make_certificate(tmp_path)

    async def scene() -> None:
        settings = {"tls_certificate": chain, "tls_key": private, "cpe_auth": "open", "max_connections": 5}
        async with acs(tmp_path / "data", **settings) as bed:
            for _ in range(8):
                left = await Connection.to(bed.app.cwmp_url.replace("https", "http"))
                await left.close()
            async with asyncio.timeout(10):
                while True:
                    gc.collect()  # asyncio's own loop leaves a circle, that of the product none
                    try:
                        await (await connect(bed.app.cwmp_url, trusting())).close()
                        break
                    except (ssl.SSLError, OSError):
                        await asyncio.sleep(0.05)

    run(scene())
