"""The https listener: with a certificate, TLS 1.2 at least, and Basic is then offered."""

import asyncio
import ssl
from pathlib import Path

import pytest

from support.acs_wire import OUI, PRODUCT, Connection, Device, acs, id_of, played, run
from support.tls import Authority, connect, make_certificate, trusting

pytestmark = pytest.mark.system


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
    from homeport.acs.config import AcsSettings
    from homeport.acs.tls import context as tls_context

    chain, private = make_certificate(tmp_path)
    context = tls_context(AcsSettings(tls_certificate=chain, tls_key=private))
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_http_and_https_together_with_the_laboratory_s_own_certificate(tmp_path: Path) -> None:
    """Without a certificate one is made at the first start and kept; who trusts it gets in by https, and others by http."""

    async def scene() -> None:
        settings = {"cwmp_tls_listen": "127.0.0.1:0", "cpe_auth": "open"}
        async with acs(tmp_path / "data", **settings) as bed:
            chain = tmp_path / "data" / "laboratory.crt"
            made = chain.read_bytes()
            assert (tmp_path / "data" / "laboratory.key").stat().st_mode & 0o777 == 0o600
            trusted = ssl.create_default_context(cafile=str(chain))
            device = Device(await connect(bed.app.ports.cwmp_tls_url, trusted), "S1")
            assert (await device.inform("1 BOOT")).status == 200
            await device.close()
            assert bed.app.cwmp_url.startswith("http://")
            assert (await (await bed.device("S2")).inform("1 BOOT")).status == 200
            assert (await bed.rest("GET", "devices")).json["items"][1]["serial_number"] == "S2"
        async with acs(tmp_path / "data", **settings):
            assert chain.read_bytes() == made

    run(scene())


@pytest.mark.parametrize("mode", ["quarantine", "required"])
def test_a_client_certificate_logs_the_device_in_that_it_names(tmp_path: Path, mode: str) -> None:
    """It is approved at once, without a password; another device with that certificate is turned away; without one a login is asked for."""
    authority = Authority(tmp_path)

    async def scene() -> None:
        settings = {"cwmp_tls_listen": "127.0.0.1:0", "tls_client_ca": authority.file, "cpe_auth": mode}
        async with acs(tmp_path / "data", **settings) as bed:
            url = bed.app.ports.cwmp_tls_url
            statuses = {}
            for name, serial in ((f"{OUI}-S1", "S1"), (id_of("S2"), "S2"), (f"{OUI}-S1", "S3")):
                device = Device(await connect(url, authority.client(name)), serial)
                statuses[serial] = (await device.inform("1 BOOT")).status
                await device.close()
            assert statuses == {"S1": 200, "S2": 200, "S3": 403}
            states = {d["serial_number"]: d["state"] for d in (await bed.rest("GET", "devices")).json["items"]}
            assert states == {"S1": "approved", "S2": "approved"}
            plain = Device(await connect(url, trusting()), "S4")
            assert (await plain.inform("1 BOOT")).status == (401 if mode == "required" else 200)
            await plain.close()

    run(scene())


@played
async def test_a_certificate_is_no_short_name_for_a_device_of_which_another_has_the_id(tmp_path: Path) -> None:
    """`OUI-XR500-S1` is the id of one device and OUI-SerialNumber of another: it opens for the one that is known, and only then."""
    authority = Authority(tmp_path)
    settings = {"cwmp_tls_listen": "127.0.0.1:0", "tls_client_ca": authority.file, "cpe_auth": "required"}
    async with acs(tmp_path / "data", **settings) as bed:
        client = authority.client(id_of("S1"))
        statuses = []
        for serial in (f"{PRODUCT}-S1", "S1", f"{PRODUCT}-S1"):
            device = Device(await connect(bed.app.ports.cwmp_tls_url, client), serial)
            statuses.append((await device.inform("1 BOOT")).status)
            await device.close()
        assert statuses == [200, 200, 403]


@played
async def test_a_session_that_began_over_tls_goes_on_over_tls_only(tmp_path: Path) -> None:
    """Its cookie is worth nothing to whoever reads it where a device, or a thief, sends it in the open."""
    async with acs(tmp_path, cwmp_tls_listen="127.0.0.1:0") as bed:
        device = Device(await connect(bed.app.ports.cwmp_tls_url, trusting()), "S1")
        assert (await device.inform()).status == 200
        thief = await bed.device(cookie=device.cookie)
        assert (await thief.post(None)).status == 403
        assert (await device.post(None)).status == 204
        await device.close()


def test_a_certificate_of_another_authority_gets_no_connection(tmp_path: Path) -> None:
    """TLS ends before anything of CWMP is read."""
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")

    async def scene() -> None:
        settings = {"cwmp_tls_listen": "127.0.0.1:0", "tls_client_ca": authority.file, "cpe_auth": "required"}
        async with acs(tmp_path / "data", **settings) as bed:
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                device = Device(await connect(bed.app.ports.cwmp_tls_url, other.client(f"{OUI}-S1")), "S1")
                await device.inform("1 BOOT")
            assert (await bed.rest("GET", "devices")).json["items"] == []

    run(scene())
