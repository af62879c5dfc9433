"""Every way in which the ACS can fail the agent becomes one status with a sentence, the same in memory, in the file and in the CLI."""

import asyncio
import os
import socket
import subprocess
import sys

import msgspec
import pytest

from cpe_support.bench_profile import bench_profile
from cpe_support.http_acs import HttpAcs
from cpe_support.open_agent import RING, UnsetClock, open_agent, until
from homeport.cpe.status import load
from homeport.transport.connection_request import request_connection
from system.transport_peers import CLOSE, DAY, NOW, STALL, Authority, answer, serving

pytestmark = pytest.mark.system

CHALLENGE = answer(401, b"", 'WWW-Authenticate: Digest realm="acs", qop="auth", nonce="n", algorithm=MD5')


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    """The authority that the agent trusts in these tests."""
    return Authority(tmp_path_factory.mktemp("ca"))


def failing(directory, url: str, **settings: object):
    """The status after the agent's first session has failed; it is checked that the file says the same."""

    async def run():
        async with open_agent(directory, url, profile=bench_profile(), **settings) as agent:
            await until(lambda: agent.status.sessions_failed and agent.status.next_contact)
            assert agent.status.last_session.reason == agent.status.reason
            assert load(directory).last_session == agent.status.last_session
            return msgspec.structs.replace(agent.status)

    return asyncio.run(run())


def check(status, kind: str, *words: str) -> None:
    """What holds after every failure."""
    assert status.connected is False
    assert status.last_session.kind == kind, status.reason
    for word in words:
        assert word in status.reason, status.reason
    assert status.retry_count == 1
    assert status.next_contact_reason == "retry 1 after a failed session"
    assert status.pending_events == ("0 BOOTSTRAP", "1 BOOT")


def test_a_name_without_address_is_told(tmp_path):
    """DNS."""
    check(failing(tmp_path, "http://no-such-host.invalid/"), "dns", "no-such-host.invalid", "DNS server")


def test_a_refused_connection_is_told(tmp_path):
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    check(failing(tmp_path, f"http://127.0.0.1:{port}/"), "refused", f"127.0.0.1:{port}", "refused", "check")


@pytest.mark.parametrize(
    ("step", "kind", "words"),
    [
        (STALL, "timeout", ("no answer", "1 s")),
        (CLOSE, "closed", ("closed the connection without an answer",)),
        (CHALLENGE, "auth", ("'joe'", "401 twice")),
        (answer(404), "http", ("HTTP 404",)),
        (answer(500), "http", ("HTTP 500",)),
        (answer(503), "http", ("HTTP 503",)),
        (answer(200, b"<html>Welcome</html>"), "protocol", ("broke the protocol",)),
        (answer(200, b"<a><b></a>"), "protocol", ("broke the protocol",)),
        (answer(200, b""), "protocol", ("broke the protocol",)),
        (answer(302, b"", "Location: /again"), "redirect", ("5 redirects", "check the ACS URL")),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "http", ("does not speak HTTP",)),
    ],
)
def test_an_acs_that_answers_wrongly_is_told(tmp_path, step, kind, words):
    """Timeout, lost connection, 401, 4xx, 5xx, bad SOAP, redirects without end, something else on that port."""

    async def run():
        async with serving(step) as server:
            return await asyncio.to_thread(
                failing, tmp_path, server.url, username="joe", password="s3cret", session_timeout=1.0
            )

    status = asyncio.run(run())
    check(status, kind, *words)
    assert "s3cret" not in status.reason


@pytest.mark.case("X01")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": NOW - 2 * DAY, "end": NOW - DAY}, "has expired"),
        ({"start": NOW + DAY, "end": NOW + 2 * DAY}, "not valid yet"),
        ({"names": ("other.example.com",)}, "another host name"),
        ({}, "not trusted"),
    ],
)
def test_a_certificate_that_fails_a_check_is_told_by_the_check(tmp_path, ca, options, words):
    """Expired, too early, wrong host, unknown CA: no Inform is sent, retries follow the table."""
    trusted = ca if options else Authority(tmp_path, "Other CA")

    async def run():
        async with serving(answer(200), context=ca.server_context(**options)) as server:
            status = await asyncio.to_thread(failing, tmp_path / "state", server.url, ca_file=trusted.file)
            assert server.seen == []
            return status

    check(asyncio.run(run()), "tls", "localhost", words)


@pytest.mark.case("X02")
@pytest.mark.parametrize(
    "dates", [{"start": NOW + DAY, "end": NOW + 2 * DAY}, {"start": NOW - 2 * DAY, "end": NOW - DAY}]
)
def test_without_a_clock_dates_are_not_looked_at_and_the_time_is_unknown(tmp_path, ca, dates):
    """A device that just came up cannot tell; chain and name are checked all the same."""

    async def run():
        async with HttpAcs(context=ca.server_context(**dates)) as acs:
            options = {"profile": bench_profile(), "clock": UnsetClock(), "ca_file": ca.file}
            async with open_agent(tmp_path, acs.url, **options):
                await acs.sessions(1)
            assert acs.informs[0].current_time == "0001-01-01T00:00:00Z"
        wrong = ca.server_context(names=("other.example.com",), **dates)
        async with (
            serving(answer(200), context=wrong) as server,
            open_agent(tmp_path, server.url, **options) as agent,
        ):
            await until(lambda: agent.status.sessions_failed)
            assert "another host name" in agent.status.reason
            assert server.seen == []

    asyncio.run(run())


@pytest.mark.case("X06")
def test_an_https_acs_is_served_with_ca_client_certificate_and_sni(tmp_path, ca):
    """Custom CA, own certificate, name sent; a session from Inform to 204."""
    devices = Authority(tmp_path, "Devices")
    certificate, key = devices.issue("00256D-Bench-0001")
    context = ca.server_context(clients=devices)
    names: list[str | None] = []
    context.sni_callback = lambda sock, name, ctx: names.append(name)

    async def run():
        options = {"ca_file": ca.file, "client_certificate": certificate, "client_key": key}
        async with (
            HttpAcs(context=context) as acs,
            open_agent(tmp_path / "state", acs.url, profile=bench_profile(), **options) as agent,
        ):
            await acs.sessions(1)
            await until(lambda: agent.status.connected)
        assert names == ["localhost"]

    asyncio.run(run())


def test_an_acs_with_ipv6_is_served_and_can_ring(tmp_path):
    """Address literals in brackets, both ways."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as e:
        pytest.skip(f"this machine has no IPv6: {e}")

    async def run():
        async with (
            HttpAcs(host="::1") as acs,
            open_agent(tmp_path, acs.url, profile=bench_profile(), connection_request_listen="::"),
        ):
            await acs.sessions(1)
            url = next(p.value for p in acs.informs[0].parameter_list if p.name.endswith("ConnectionRequestURL"))
            assert url.startswith("http://[::1]:")
            assert (await request_connection(url, [RING])).ok
            await acs.sessions(2)
            assert acs.events() == ["6 CONNECTION REQUEST"]

    asyncio.run(run())


def test_where_ipv6_leads_nowhere_ipv4_is_used(tmp_path):
    """A name with both addresses, of which only the second answers."""

    async def run():
        async with HttpAcs() as acs:
            loop = asyncio.get_running_loop()

            async def getaddrinfo(host, port, **kwargs):
                return [(10, 1, 6, "", ("::1", port, 0, 0)), (2, 1, 6, "", ("127.0.0.1", port))]

            loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
            try:
                async with open_agent(tmp_path, f"http://acs.example:{acs.port}/", profile=bench_profile()) as agent:
                    await acs.sessions(1)
                    assert agent.status.sessions_failed == 0
            finally:
                del loop.getaddrinfo

    asyncio.run(run())


def test_the_way_leads_through_a_proxy_where_one_is_set(tmp_path):
    """By setting: the proxy is given the whole URL and its own credentials; the ACS's name is never looked up here."""

    async def run():
        async with HttpAcs(cookie="") as proxy:  # it plays the proxy, and the ACS behind it
            url = f"http://joe:pw@127.0.0.1:{proxy.port}"
            async with open_agent(tmp_path, "http://acs.invalid/cwmp", profile=bench_profile(), proxy=url) as agent:
                await proxy.sessions(1)
                await until(lambda: agent.status.connected)
            assert proxy.posts[0].path == "http://acs.invalid/cwmp"
            assert proxy.posts[0].headers["host"] == "acs.invalid"
            assert proxy.posts[0].headers["proxy-authorization"] == "Basic am9lOnB3"

    asyncio.run(run())


def test_a_proxy_that_is_not_there_is_told(tmp_path):
    """By its own name, not the ACS's, and without its password."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        proxy = f"http://joe:s3cret@127.0.0.1:{taken.getsockname()[1]}"
    status = failing(tmp_path, "http://acs.invalid/", proxy=proxy)
    check(status, "refused", "the proxy 127.0.0.1")
    assert "s3cret" not in status.reason


def test_the_cli_shows_the_sentence(tmp_path):
    """`homeport cpe show status`, also when the agent is gone."""
    reason = failing(tmp_path, "http://no-such-host.invalid/").reason
    shown = subprocess.run(
        [sys.executable, "-m", "homeport", "cpe", "show", "status", "--state-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        env=dict(os.environ, COLUMNS="300"),
        check=False,
    )
    assert "no-such-host.invalid" in shown.stdout
    assert reason[:40] in " ".join(shown.stdout.split())
