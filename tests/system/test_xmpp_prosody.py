"""XMPP connection requests through a real server: Prosody, started here with accounts and a certificate of its own."""

import asyncio
import datetime
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from homeport.errors import ConfigError, LocalProtocolError, TransportError
from homeport.transport.source_limits import SourceLimiter
from homeport.transport.xmpp import XmppListener, XmppRequester, XmppRequestResult
from homeport.transport.xmpp_rules import NAMESPACE, XmppAnswer, XmppServer, XmppSettings, XmppStatus

pytestmark = pytest.mark.system

LOOPBACK = "127.0.0.1"
DOMAIN = "xmpp.test"
ACCOUNTS = {"cpe": "cpe-password", "acs": "acs-password", "eve": "eve-password"}


@dataclass(frozen=True)
class Prosody:
    """A running server. port: with STARTTLS required. clear_port: of a second host name without TLS."""

    port: int
    certificate: Path
    log: Path

    def settings(self, user: str, **other: Any) -> XmppSettings:
        """A connection of one of its accounts."""
        server = XmppServer(LOOPBACK, self.port)
        base = XmppSettings(
            user,
            DOMAIN,
            ACCOUNTS[user],
            "r",
            server_connect_algorithm="ServerTable",
            servers=(server,),
            ca_file=self.certificate,
        )
        return replace(base, **other)


@pytest.fixture(scope="module")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    """Our own Prosody on a free port; skips where it is not installed."""
    program = shutil.which("prosody")
    if program is None:
        pytest.skip("Prosody is not installed (Debian: apt-get install prosody)")
    directory: Path = tmp_path_factory.mktemp("prosody")
    port = _free_port()
    certificate = _certificate(directory)
    for domain in (DOMAIN, "clear.test"):
        accounts = directory / "data" / domain.replace(".", "%2e") / "accounts"
        accounts.mkdir(parents=True)
        for user, password in ACCOUNTS.items():
            (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = "{password}" }};\n')
    config = directory / "prosody.cfg.lua"
    config.write_text(f"""
run_as_root = {"true" if os.geteuid() == 0 else "false"}
pidfile = "{directory / "pid"}"
data_path = "{directory / "data"}"
interfaces = {{ "{LOOPBACK}" }}
c2s_ports = {{ {port} }}
modules_enabled = {{ "saslauth", "tls" }}
modules_disabled = {{ "s2s", "http", "offline" }}
authentication = "internal_plain"
log = {{ info = "{directory / "log"}" }}
VirtualHost "{DOMAIN}"
  c2s_require_encryption = true
  ssl = {{ key = "{directory / "key.pem"}", certificate = "{certificate}" }}
VirtualHost "clear.test"
  c2s_require_encryption = false
  modules_disabled = {{ "tls" }}
""")
    output = (directory / "output").open("wb")
    command = [program, "-F", "--config", str(config)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory)
    try:
        _wait_for(port, process, directory)
        yield Prosody(port, certificate, directory / "log")
    finally:
        process.terminate()
        process.wait(10)
        output.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]", directory: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"Prosody ended at once: {(directory / 'output').read_text()}")
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"Prosody does not listen: {(directory / 'output').read_text()}")


def _certificate(directory: Path, name: str = "certificate.pem") -> Path:
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography (homeport[acs]) makes the certificate")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, DOMAIN)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / name
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / name.replace("certificate", "key")).write_bytes(private)
    return path


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that the server brings within moments."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


class Device:
    """A device's connection and what it is asked."""

    def __init__(self, settings: XmppSettings, **options: Any) -> None:
        self.free = True
        self.allowed: list[str] = []
        self.sessions = 0
        self.states: list[XmppStatus] = []
        self.link = XmppListener(
            settings,
            allowed=lambda: self.allowed,
            credentials=lambda: ("user", "secret"),
            accept=self._accept,
            on_state=lambda state: self.states.append(state.status),
            **options,
        )

    def _accept(self) -> bool:
        self.sessions += self.free
        return self.free


@asynccontextmanager
async def connected(*links: XmppListener | XmppRequester) -> AsyncIterator[None]:
    """All links online, and gone afterwards."""
    try:
        for link in links:
            link.start()
        for link in links:
            await until(lambda link=link: link.state.status is XmppStatus.ENABLED)
        yield
    finally:
        for link in links:
            await link.stop()


@pytest.mark.case("C18")
@pytest.mark.case("C20")
def test_acs_asks_and_the_device_answers(prosody: Prosody, caplog: pytest.LogCaptureFixture) -> None:
    """Annex K: an empty result for right credentials; not-authorized, service-unavailable and foreign JIDs as errors."""

    async def story() -> None:
        device = Device(prosody.settings("cpe"))
        acs, eve = XmppRequester(prosody.settings("acs")), XmppRequester(prosody.settings("eve"))
        async with connected(device.link, acs, eve):
            state = device.link.state
            assert (state.jid, state.tls_established) == ("cpe@xmpp.test/r", True)
            good = {"username": "user", "password": "secret"}
            assert await acs.request_connection(state.jid, **good) == XmppRequestResult(True)
            assert device.sessions == 1
            device.allowed = ["acs@xmpp.test"]
            assert await acs.request_connection(state.jid, **good) == XmppRequestResult(True)
            assert (await eve.request_connection(state.jid, **good)).condition == "service-unavailable"
            wrong = await acs.request_connection(state.jid, username="user", password="guess")
            assert wrong == XmppRequestResult(False, "not-authorized")
            device.free = False
            assert (await acs.request_connection(state.jid, **good)).condition == "service-unavailable"
            assert device.sessions == 2
            absent = await acs.request_connection("cpe@xmpp.test/elsewhere", **good)
            assert absent == XmppRequestResult(False, "service-unavailable")
            with pytest.raises(LocalProtocolError, match="not a JID"):
                await acs.request_connection("@", **good)
            logged.append(caplog.text)
        assert device.states[-1] is XmppStatus.DISABLED
        assert device.link.counts == {
            XmppAnswer.RESULT: 2, XmppAnswer.SERVICE_UNAVAILABLE: 2, XmppAnswer.NOT_AUTHORIZED: 1,
        }  # fmt: skip
        with pytest.raises(TransportError, match="not connected"):
            await acs.request_connection("cpe@xmpp.test/r", **good)

    caplog.set_level(logging.DEBUG)
    logged: list[str] = []
    asyncio.run(story())
    for text in (prosody.log.read_text(), *logged, caplog.text):
        assert "cpe-password" not in text and "secret" not in text and "guess" not in text


def test_error_repeats_the_request_and_odd_requests_get_an_error(prosody: Prosody) -> None:
    """Annex K: an error stanza holds the request beside the condition; a set, or a request without a password, is a bad request."""

    async def story() -> None:
        from slixmpp.exceptions import IqError
        from slixmpp.xmlstream import ET

        device = Device(prosody.settings("cpe"))
        acs = XmppRequester(prosody.settings("acs"))
        async with connected(device.link, acs):

            def request(kind: str, *names: str) -> Any:
                iq = acs._client.Iq()
                iq["type"], iq["to"] = kind, device.link.state.jid
                element = ET.Element(f"{{{NAMESPACE}}}connectionRequest")
                for name in names:
                    ET.SubElement(element, f"{{{NAMESPACE}}}{name}").text = "guess"
                iq.append(element)
                return iq

            with pytest.raises(IqError) as caught:
                await request("get", "username", "password").send(timeout=10)
            answer = caught.value.iq
            assert answer["error"]["condition"] == "not-authorized"
            assert (answer["error"]["code"], answer["error"]["type"]) == ("401", "auth")
            assert answer.xml.find(f"{{{NAMESPACE}}}connectionRequest/{{{NAMESPACE}}}username").text == "guess"
            for odd in (request("get", "username"), request("set", "username", "password")):
                with pytest.raises(IqError) as caught:
                    await odd.send(timeout=10)
                assert caught.value.condition == "bad-request"
            for stray in (request("result", "username", "password"), request("error", "username", "password")):
                stray.send()
            with pytest.raises(IqError):
                await request("get", "username", "password").send(timeout=10)
            assert device.link.counts == {XmppAnswer.NOT_AUTHORIZED: 2, XmppAnswer.BAD_REQUEST: 2}
            assert device.sessions == 0

    asyncio.run(story())


def test_flood_of_requests_is_refused_before_credentials_are_looked_at(prosody: Prosody) -> None:
    """Per asker, whatever its resource: two pass here, the third is told that nothing is to be had."""

    async def story() -> None:
        device = Device(prosody.settings("cpe"), limiter=SourceLimiter(rate=0.001, burst=2))
        acs = XmppRequester(prosody.settings("acs"))
        async with connected(device.link, acs):
            results = [
                (await acs.request_connection(device.link.state.jid, username="user", password="secret")).ok
                for _ in range(3)
            ]
            assert results == [True, True, False]
            assert device.sessions == 2

    asyncio.run(story())


class Waits:
    """Stands in for sleeping: notes how long, and goes on at once, or stays for good after the last."""

    def __init__(self, last: int) -> None:
        self.seconds: list[float] = []
        self._last = last

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) >= self._last:
            await asyncio.Event().wait()


def test_lost_server_is_waited_for_by_the_retry_rules(prosody: Prosody) -> None:
    """TR-181 ServerRetry*: growing waits; after ServerConnectAttempts the next server of the table is tried."""

    async def story() -> None:
        waits = Waits(last=100)
        rows = (XmppServer(LOOPBACK, _free_port(), priority=1), XmppServer(LOOPBACK, prosody.port, priority=2))
        settings = prosody.settings("cpe", servers=rows, server_connect_attempts=3)
        device = Device(settings, sleep=waits, draw=lambda: 1.0)
        async with connected(device.link):
            assert waits.seconds == [60, 120, 240]
            assert device.states == [
                *[XmppStatus.CONNECTING, XmppStatus.SERVER_NOT_PRESENT] * 3, XmppStatus.CONNECTING, XmppStatus.ENABLED,
            ]  # fmt: skip
            device.link._client.abort()
            await until(lambda: len(waits.seconds) == 4)
            assert waits.seconds[3] == 60
            await until(lambda: device.link.state.status is XmppStatus.ENABLED)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"password": "guess"}, XmppStatus.AUTHENTICATION_FAILURE, "logging in"),
        ({"ca_file": None}, XmppStatus.ERROR, "TLS with the server failed"),
        ({"ca_file": Path("absent.pem")}, XmppStatus.MISCONFIGURED, "cannot read"),
        ({"use_tls": False}, XmppStatus.AUTHENTICATION_FAILURE, "logging in"),
        ({"domain": "clear.test"}, XmppStatus.AUTHENTICATION_FAILURE, "logging in"),
    ],
)
def test_failure_has_a_status_and_a_sentence(
    prosody: Prosody, change: dict[str, Any], status: XmppStatus, reason: str
) -> None:
    """A wrong password, an unknown authority, no file, TLS that only one side wants: never a password in clear, never silence."""

    async def story() -> None:
        device = Device(prosody.settings("cpe", **change), sleep=Waits(last=1))
        device.link.start()
        await until(lambda: device.link.state.reason)
        assert device.link.state.status is status
        assert reason in device.link.state.reason
        await device.link.stop()
        await device.link.stop()

    asyncio.run(story())


def test_owner_that_fails_is_reported_to_the_loop(prosody: Prosody) -> None:
    """A link that ends by a mistake in a callback must not end in silence."""

    async def story() -> None:
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))

        def fails(state: object) -> None:
            raise ZeroDivisionError

        acs = XmppRequester(prosody.settings("acs"), on_state=fails)
        acs.start()
        await until(lambda: failures)
        assert isinstance(failures[0]["exception"], ZeroDivisionError)
        acs._on_state = lambda state: None
        await acs.stop()

    asyncio.run(story())


def test_without_tls_only_scram_is_used(prosody: Prosody) -> None:
    """UseTLS = false: the connection is in clear, the password is not."""

    async def story() -> None:
        device = Device(prosody.settings("cpe", domain="clear.test", use_tls=False, keep_alive_interval=0))
        async with connected(device.link):
            assert not device.link.state.tls_established
            assert device.link._client.plugin["feature_mechanisms"].mech.name.startswith("SCRAM-")
            assert "Whitespace Keepalive" not in device.link._client.scheduled_events

    asyncio.run(story())


def test_keep_alive_interval_is_used(prosody: Prosody) -> None:
    """KeepAliveInterval in seconds; the link has one timer for it."""

    async def story() -> None:
        device = Device(prosody.settings("cpe", keep_alive_interval=45))
        async with connected(device.link):
            assert device.link._client.whitespace_keepalive_interval == 45
            assert "Whitespace Keepalive" in device.link._client.scheduled_events

    asyncio.run(story())


def test_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that accepts and stays silent must not hold the link for ever."""
    pytest.importorskip("slixmpp")
    monkeypatch.setattr("homeport.transport.xmpp.HANDSHAKE_LIMIT", 0.1)

    async def story() -> None:
        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda reader, writer: writers.append(writer), LOOPBACK, 0)
        port = server.sockets[0].getsockname()[1]
        settings = XmppSettings(
            "cpe", DOMAIN, "p", server_connect_algorithm="ServerTable", servers=(XmppServer(LOOPBACK, port),)
        )
        device = Device(settings, sleep=Waits(last=1))
        device.link.start()
        await until(lambda: device.link.state.reason)
        assert device.link.state.status is XmppStatus.ERROR
        await device.link.stop()
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        server.close()

    asyncio.run(story())


@pytest.mark.parametrize("algorithm", ["DNS-SRV", "DNS"])
def test_domain_that_cannot_be_looked_up_is_no_server(algorithm: str) -> None:
    """ServerNotPresent, and another try by the retry rules."""
    pytest.importorskip("slixmpp")

    async def story() -> None:
        waits = Waits(last=3)
        settings = XmppSettings("cpe", "xmpp.invalid", "p", server_connect_algorithm=algorithm)
        device = Device(settings, sleep=waits, draw=lambda: 0.5)
        device.link.start()
        await until(lambda: len(waits.seconds) == 3)
        assert waits.seconds == [30, 60, 120]
        assert device.link.state.status is XmppStatus.SERVER_NOT_PRESENT
        assert "cannot connect to" in device.link.state.reason
        await device.link.stop()

    asyncio.run(story())


def test_identity_that_is_no_jid_is_refused() -> None:
    """The message says how one reads."""
    pytest.importorskip("slixmpp")
    with pytest.raises(ConfigError, match="reads like"):
        XmppRequester(XmppSettings("a b", DOMAIN, "p"))
