"""TLS to the ACS, with certificates made here: which check failed is in the sentence, and nothing is sent before all of them pass."""

import asyncio
import ssl

import pytest

from homeport.errors import ConfigError, TransportError
from homeport.transport.acs_client import HttpChannel
from homeport.transport.tls import TlsSettings, client_context
from system.transport_peers import DAY, NOW, Authority, answer, serving

pytestmark = pytest.mark.system

OK = answer(200, b"<ok/>")


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    """The authority that the CPE trusts in these tests."""
    return Authority(tmp_path_factory.mktemp("ca"))


def talk(context, tls, *, host="localhost", script=(OK,), **options):
    """(answer or TransportError, server) of one POST."""

    async def main():
        async with serving(*script, context=context) as server:
            channel = HttpChannel(server.url.replace("localhost", host), tls=tls, timeout=5.0, **options)
            try:
                return await channel.post(b"<inform/>"), server
            except TransportError as e:
                return e, server
            finally:
                await channel.close()

    return asyncio.run(main())


@pytest.mark.case("X06")
def test_a_trusted_acs_is_talked_to_and_told_its_name(ca):
    """Chain and host name fit; SNI names the host."""
    got, server = talk(ca.server_context(), TlsSettings(ca_file=ca.file))
    assert got.body == b"<ok/>"
    assert server.sni == ["localhost"]
    assert server.seen[0].body == b"<inform/>"


@pytest.mark.case("X01")
@pytest.mark.case("S18")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": NOW - 2 * DAY, "end": NOW - DAY}, "has expired"),
        ({"start": NOW + DAY, "end": NOW + 2 * DAY}, "not valid yet"),
        ({"names": ("other.example.com",)}, "another host name"),
        ({"names": ("*.example.com",)}, "another host name"),
    ],
)
def test_a_certificate_that_does_not_fit_stops_everything(ca, options, words):
    """Expired, not yet valid, for another host: no Inform is sent."""
    got, server = talk(ca.server_context(**options), TlsSettings(ca_file=ca.file))
    assert got.kind == "tls"
    assert words in str(got)
    assert server.seen == []


@pytest.mark.case("X01")
def test_an_unknown_authority_stops_everything(ca, tmp_path):
    """Its root is not among ours; without a CA file the system's roots count."""
    stranger = Authority(tmp_path, "Stranger")
    for tls in (TlsSettings(ca_file=ca.file), None):
        got, server = talk(stranger.server_context(), tls)
        assert got.kind == "tls"
        assert "not trusted" in str(got) or "signed by itself" in str(got)
        assert server.seen == []


@pytest.mark.case("X02")
def test_without_a_clock_dates_do_not_count(ca):
    """Expired and accepted while no time is known; the name still counts."""
    tls = TlsSettings(ca_file=ca.file, check_dates=False)
    expired = {"start": NOW - 2 * DAY, "end": NOW - DAY}
    assert talk(ca.server_context(**expired), tls)[0].status == 200
    assert talk(ca.server_context(names=("x.example",), **expired), tls)[0].kind == "tls"


@pytest.mark.case("X03")
def test_the_common_name_counts_only_without_alternatives(ca):
    """RFC 6125 6.4.4."""
    tls = TlsSettings(ca_file=ca.file)
    assert talk(ca.server_context("localhost", names=()), tls)[0].status == 200
    assert talk(ca.server_context("localhost", names=("other.example.com",)), tls)[0].kind == "tls"


@pytest.mark.case("X04")
def test_an_address_in_the_url_needs_an_address_in_the_certificate(ca):
    """iPAddress, not a dNSName that looks like one."""
    tls = TlsSettings(ca_file=ca.file)
    assert talk(ca.server_context(names=(), addresses=("127.0.0.1",)), tls, host="127.0.0.1")[0].status == 200
    got, _ = talk(ca.server_context(names=("127.0.0.1",)), tls, host="127.0.0.1")
    assert got.kind == "tls" and "another address" in str(got)


@pytest.mark.case("X05")
def test_old_tls_versions_are_refused(ca):
    """1.2 is the oldest by default; 1.3 may be demanded."""
    new, old = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1
    assert talk(ca.server_context(maximum=new), TlsSettings(ca_file=ca.file))[0].status == 200
    for maximum, minimum in ((old, "1.2"), (new, "1.3")):
        got, server = talk(ca.server_context(maximum=maximum), TlsSettings(ca_file=ca.file, minimum=minimum))
        assert got.kind == "tls" and ("TLS 1.2 or newer" in str(got) or "TLS version" in str(got))
        assert server.seen == []


def test_a_client_certificate_is_shown_where_the_acs_wants_one(ca, tmp_path):
    """Without it the ACS refuses, and the sentence says what may be missing; its key may have a password."""
    devices = Authority(tmp_path, "Devices")
    context = ca.server_context(clients=devices)
    got, server = talk(context, TlsSettings(ca_file=ca.file))
    assert got.kind in ("tls", "closed")
    assert server.seen == []
    certificate, key = devices.issue("00256D-Router-S1", password=b"pw")
    tls = TlsSettings(ca_file=ca.file, client_certificate=certificate, client_key=key, client_key_password="pw")
    assert talk(ca.server_context(clients=devices), tls)[0].status == 200


@pytest.mark.case("S22")
def test_basic_is_answered_over_tls(ca):
    """The password is not readable there."""
    asks = answer(401, b"", 'WWW-Authenticate: Basic realm="acs"')
    tls = TlsSettings(ca_file=ca.file)
    got, server = talk(ca.server_context(), tls, script=(asks, OK), username="cpe", password="x")
    assert got.status == 200
    assert server.seen[1].headers["authorization"].startswith("Basic ")


@pytest.mark.case("S18")
def test_a_redirect_never_leaves_tls(ca):
    """https to http is refused; http to https with a wrong certificate too."""
    tls = TlsSettings(ca_file=ca.file)
    got, _ = talk(ca.server_context(), tls, script=(answer(307, b"", "Location: http://localhost:1/"),))
    assert got.kind == "redirect"

    async def main():
        wrong = ca.server_context(names=("other.example.com",))
        async with (
            serving(OK, context=wrong) as second,
            serving(answer(302, b"", f"Location: {second.url}")) as first,
        ):
            channel = HttpChannel(first.url, tls=tls)
            with pytest.raises(TransportError) as caught:
                await channel.post(b"<inform/>")
            await channel.close()
            return caught.value, second

    error, second = asyncio.run(main())
    assert error.kind == "tls"
    assert second.seen == []


def test_a_server_without_tls_is_told():
    """The scheme of the URL is the likely mistake."""

    async def main():
        async with serving(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n") as server:
            channel = HttpChannel(f"https://127.0.0.1:{server.port}/", timeout=0.5)
            with pytest.raises(TransportError) as caught:
                await channel.post(b"1")
            await channel.close()
            return caught.value

    assert asyncio.run(main()).kind in ("tls", "timeout")


@pytest.mark.parametrize("what", ["ca", "certificate", "password"])
def test_files_that_cannot_be_used_are_named(ca, tmp_path, what):
    """A setting is wrong, not the network; and nobody is asked for a password on a terminal."""
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    certificate, key = ca.issue(password=b"pw")
    settings = {
        "ca": TlsSettings(ca_file=junk),
        "certificate": TlsSettings(client_certificate=tmp_path / "none.pem"),
        "password": TlsSettings(client_certificate=certificate, client_key=key),
    }[what]
    with pytest.raises(ConfigError, match="cannot be used"):
        client_context(settings)
