"""The channel to the ACS over real sockets: what it writes, and what it makes of servers that misbehave."""

import asyncio
import gzip
import zlib

import pytest

from homeport.errors import TransportError
from homeport.http.auth import basic_credentials, parse_challenges
from homeport.http.cookies import CookieJar
from homeport.http.digest import DigestAuthority
from homeport.http.limits import HttpLimits
from homeport.transport.acs_client import HttpChannel
from system.transport_peers import CLOSE, STALL, answer, serving

pytestmark = pytest.mark.system

XML = 'Content-Type: text/xml; charset="utf-8"'
OK = answer(200, b"<ok/>", XML)
DIGEST = DigestAuthority(b"s" * 16, "acs", ("MD5",))


def challenge(*, stale=False, now=0.0, authority=DIGEST):
    """A 401 with Digest."""
    return answer(401, b"", *(f"WWW-Authenticate: {c}" for c in authority.challenges(now, stale=stale)))


def run(script, act, **options):
    """(what act gave back, the server). act: a coroutine function of the channel."""

    async def main():
        async with serving(*script) as server:
            channel = HttpChannel(server.url, **{"timeout": 5.0, **options})
            try:
                return await act(channel), server
            finally:
                await channel.close()

    return asyncio.run(main())


def posts(script, *bodies, **options):
    """(the answers to these bodies, the server)."""

    async def act(channel):
        return [await channel.post(body) for body in bodies]

    return run(script, act, **options)


def failure(script, *bodies, **options) -> TransportError:
    """The error that the last body ends with."""

    async def act(channel):
        for body in bodies[:-1]:
            await channel.post(body)
        with pytest.raises(TransportError) as caught:
            await channel.post(bodies[-1])
        return caught.value

    return run(script, act, **options)[0]


# --- what is written --------------------------------------------------------------------------------------------------------------


@pytest.mark.case("S61")
def test_a_post_with_a_message_and_an_empty_post_differ_in_their_headers():
    """`SOAPAction:` without a value and Content-Type with a body; neither without one."""
    _, server = posts([OK], b"<a/>", b"")
    full, empty = server.seen
    assert full.start == "POST /acs HTTP/1.1"
    assert b"\r\nSOAPAction:\r\n" in full.raw_head
    assert full.headers["content-type"] == 'text/xml; charset="utf-8"'
    assert full.body == b"<a/>"
    assert "soapaction" not in empty.headers and "content-type" not in empty.headers
    assert empty.headers["content-length"] == "0"
    assert full.headers["host"] == f"127.0.0.1:{server.port}"


def test_a_session_stays_on_one_connection():
    """Keep-alive, as long as the ACS keeps it."""
    answers, server = posts([OK], *[b"<a/>"] * 5)
    assert server.connections == 1
    assert answers[0].status == 200 and answers[0].body == b"<ok/>"
    assert answers[0].headers["content-type"] == 'text/xml; charset="utf-8"'


@pytest.mark.case("S14")
@pytest.mark.case("S62")
def test_a_connection_closed_between_exchanges_is_opened_again_with_the_same_cookies():
    """By `Connection: close`, by HTTP/1.0, and by closing after the answer."""
    closing = answer(200, b"<ok/>", "Set-Cookie: s=1; Path=/", "Connection: close")
    old = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def act(channel):
        await channel.post(b"1")
        await channel.post(b"2")
        await channel.post(b"3")
        await asyncio.wait_for(asyncio.shield(channel._connection.closed), 5)
        return await channel.post(b"4")

    last, server = run([closing, (old, CLOSE), (OK, CLOSE), OK], act)
    assert last.body == b"<ok/>"
    assert server.connections == 4
    assert [s.headers.get("cookie") for s in server.seen] == [None, "s=1", "s=1", "s=1"]


@pytest.mark.case("S11")
def test_cookies_belong_to_one_session():
    """Returned on every later POST, and gone in the next session even from the same jar."""
    jar = CookieJar()
    script = [answer(200, b"x", "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2"), OK]
    _, server = posts(script, b"1", b"2", jar=jar)
    assert [s.headers.get("cookie") for s in server.seen] == [None, "a=1; b=2"]
    assert len(jar) == 0


@pytest.mark.case("S13")
def test_a_cookie_for_another_path_is_not_sent():
    """Its Path is outside of the URL's."""
    _, server = posts([answer(200, b"x", "Set-Cookie: a=1; Path=/elsewhere"), OK], b"1", b"2")
    assert "cookie" not in server.seen[1].headers


# --- what is read -----------------------------------------------------------------------------------------------------------------


@pytest.mark.case("S36")
def test_chunked_answers_are_put_together():
    """Also in pieces, with extensions and a trailer."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    (one, two), _ = posts([(head, b"3;x=y\r\n<a", b">\r\n4\r\n</a>\r\n0\r\nX-Trailer: 1\r\n\r\n"), OK], b"1", b"2")
    assert (one.body, two.body) == (b"<a></a>", b"<ok/>")


def test_an_answer_without_a_length_ends_with_the_connection():
    """HTTP/1.0 servers do that."""
    (one,), _ = posts([(answer(200, b"<a></a>", length=False), CLOSE)], b"1")
    assert one.body == b"<a></a>"


def test_100_continue_only_announces_the_answer():
    """Old easycwmp and proxies send it."""
    (one, two), _ = posts([(b"HTTP/1.1 100 Continue\r\n\r\n", OK), OK], b"1", b"2")
    assert (one.status, one.body, two.status) == (200, b"<ok/>", 200)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_answers_are_unpacked(encoding, pack):
    """The request says what is understood."""
    (one,), server = posts([answer(200, pack(b"<ok/>" * 99), f"Content-Encoding: {encoding}")], b"1")
    assert one.body == b"<ok/>" * 99
    assert server.seen[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.case("S37")
def test_requests_are_compressed_when_asked_until_the_acs_refuses():
    """HTTPCompression; 415 ends the session, and the owner learns that the next one goes without."""
    _, server = posts([OK], b"<a/>", b"", compression="gzip")
    assert gzip.decompress(server.seen[0].body) == b"<a/>"
    assert server.seen[0].headers["content-encoding"] == "gzip"
    assert "content-encoding" not in server.seen[1].headers

    async def act(channel):
        with pytest.raises(TransportError, match="the next session goes without"):
            await channel.post(b"<a/>")
        return channel.compression_refused

    assert run([answer(415)], act, compression="gzip")[0]


# --- authentication ---------------------------------------------------------------------------------------------------------------


@pytest.mark.case("S19")
def test_digest_is_proved_once_and_then_sent_along():
    """The first POST goes without; the same body again; later ones reuse the nonce with a growing count."""
    verdicts = []

    def judge(seen):
        header = seen.headers.get("authorization", "")
        verdict = DIGEST.verify(header, method="POST", uri="/acs", password="secret", now=0.0)
        verdicts.append((verdict.ok, verdict.username))
        return OK if verdict.ok else challenge()

    _, server = posts([judge], b"<inform/>", b"", b"<x/>", username="cpe", password="secret")
    assert verdicts == [(False, ""), (True, "cpe"), (True, "cpe"), (True, "cpe")]
    assert [s.body for s in server.seen] == [b"<inform/>", b"<inform/>", b"", b"<x/>"]
    counts = [parse_challenges([s.headers["authorization"]])[0].params["nc"] for s in server.seen[1:]]
    assert counts == ["00000001", "00000002", "00000003"]
    assert server.connections == 1


@pytest.mark.case("S20")
def test_a_stale_nonce_is_replaced_without_counting_as_a_failure():
    """Also in the middle of the session."""
    answers, server = posts([challenge(), OK, challenge(stale=True), OK], b"1", b"2", username="cpe", password="secret")
    assert [a.status for a in answers] == [200, 200]
    nonces = [parse_challenges([s.headers["authorization"]])[0].params["nonce"] for s in server.seen[1:]]
    assert nonces[0] == nonces[1] != nonces[2]


def test_an_acs_that_takes_each_nonce_once_is_followed():
    """A fresh challenge for every POST, without `stale`: credentials that worked are tried with the new nonce, once per POST."""
    script = [challenge(), OK, challenge(now=1.0), OK, challenge(now=2.0), challenge(now=3.0)]

    async def act(channel):
        await channel.post(b"1")
        await channel.post(b"2")
        with pytest.raises(TransportError, match="refused the user name"):
            await channel.post(b"3")

    _, server = run(script, act, username="cpe", password="secret")
    assert [s.body for s in server.seen] == [b"1", b"1", b"2", b"2", b"3", b"3"]


@pytest.mark.case("S21")
def test_a_second_401_with_the_same_credentials_fails():
    """No loop: wrong password, or endless staleness."""
    error = failure([challenge()], b"1", username="cpe", password="wrong")
    assert error.kind == "auth"
    assert "refused the user name 'cpe'" in str(error)
    assert "wrong" not in str(error)
    assert failure([challenge(stale=True)], b"1", username="cpe", password="x").kind == "auth"


@pytest.mark.case("S22")
def test_basic_over_plain_http_is_refused_unless_allowed():
    """The password would be readable."""
    asks = answer(401, b"", 'WWW-Authenticate: Basic realm="acs"')
    error = failure([asks], b"1", username="cpe", password="secret")
    assert error.kind == "auth" and "Basic" in str(error)
    options = {"username": "cpe", "password": "secret", "allow_basic_over_http": True}
    _, server = posts([asks, OK], b"1", b"2", **options)
    assert [basic_credentials(s.headers.get("authorization", "")) for s in server.seen] == [
        None,
        ("cpe", "secret"),
        ("cpe", "secret"),
    ]
    assert failure([asks], b"1", **options).kind == "auth"


def test_digest_is_preferred_to_basic():
    """Both offered, Basic first."""
    both = answer(401, b"", 'WWW-Authenticate: Basic realm="acs"', f"WWW-Authenticate: {DIGEST.challenges(0.0)[0]}")
    _, server = posts([both, OK], b"1", username="cpe", password="x", allow_basic_over_http=True)
    assert server.seen[1].headers["authorization"].startswith("Digest ")


def test_challenges_without_use_are_told_apart():
    """No credentials set; a scheme that we do not speak; none named."""
    assert "none is set" in str(failure([challenge()], b"1"))
    negotiate = answer(401, b"", "WWW-Authenticate: Negotiate")
    assert "asks for negotiate" in str(failure([negotiate], b"1", username="u", password="p"))
    assert "asks for nothing" in str(failure([answer(401)], b"1", username="u", password="p"))


# --- redirects --------------------------------------------------------------------------------------------------------------------


@pytest.mark.case("S15")
@pytest.mark.case("S16")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_takes_the_session_along(status):
    """Same POST, same body, cookies by their own rules, credentials only when asked; the ACS URL itself stays."""

    async def main():
        async with serving(OK) as second:
            moved = answer(status, b"", f"Location: {second.url}/new")
            async with serving(challenge(), answer(200, b"", "Set-Cookie: s=1; Path=/"), moved) as first:
                channel = HttpChannel(first.url, username="cpe", password="x")
                for body in (b"<inform/>", b"<again/>", b""):
                    await channel.post(body)
                await channel.close()
                return first, second

    first, second = asyncio.run(main())
    assert [s.body for s in second.seen] == [b"<again/>", b""]
    assert {s.start for s in second.seen} == {"POST /acs/new HTTP/1.1"}
    assert "authorization" not in second.seen[0].headers
    # Cookies do not know ports (RFC 6265 8.5): to the same host name they are sent.
    assert second.seen[0].headers["cookie"] == "s=1"
    assert len(first.seen) == 3


def test_a_redirect_to_the_same_host_keeps_connection_and_credentials():
    """Only the path changes."""
    script = [challenge(), answer(307, b"", "Location: /acs/2"), OK]
    _, server = posts(script, b"1", username="cpe", password="x")
    assert server.connections == 1
    assert server.seen[2].start == "POST /acs/2 HTTP/1.1"
    assert parse_challenges([server.seen[2].headers["authorization"]])[0].params["uri"] == "/acs/2"


@pytest.mark.case("S17")
def test_a_redirect_loop_ends():
    """After five in a row; a redirect to nowhere at once."""
    error = failure([answer(302, b"", "Location: /acs")], b"1")
    assert (error.kind, "gave up after 5" in str(error)) == ("redirect", True)
    assert failure([answer(302)], b"1").kind == "redirect"
    assert failure([answer(302, b"", "Location: ftp://x/")], b"1").kind == "redirect"


def test_other_statuses_are_the_drivers_business():
    """303 is no redirect for a POST; 503 comes back as it is."""
    answers, _ = posts([answer(303, b"", "Location: /x"), answer(503, b"busy", "Retry-After: 60")], b"1", b"2")
    assert [a.status for a in answers] == [303, 503]
    assert answers[1].headers["retry-after"] == "60"


# --- failures ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.case("S34")
@pytest.mark.parametrize(
    "part", [(STALL,), (b"HTTP/1.1 200 OK\r\nContent-Len", STALL), (answer(200, b"<a/>")[:-2], STALL)]
)
def test_a_silent_acs_is_given_up_after_the_time_limit(part):
    """Before the answer, in its head, in its body."""
    error = failure([part], b"1", timeout=0.05)
    assert (error.kind, "in 0.05 s" in str(error)) == ("timeout", True)


def test_the_standard_asks_for_thirty_seconds():
    """The default time limit."""
    assert HttpChannel("http://127.0.0.1:1/")._timeout >= 30


@pytest.mark.case("S30")
@pytest.mark.parametrize(
    ("part", "words"),
    [
        ((CLOSE,), "without an answer"),
        ((answer(200, b"<a/>")[:-2], CLOSE), "in the middle of its answer"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", CLOSE), "in the middle of its answer"),
    ],
)
def test_a_connection_that_ends_too_soon_fails_the_session(part, words):
    """Also on a connection that carried exchanges before."""
    for script, bodies in (([part], [b"1"]), ([OK, part], [b"1", b"2"])):
        error = failure(script, *bodies)
        assert (error.kind, words in str(error)) == ("closed", True)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxx",
    ],
)
def test_what_is_no_http_is_refused(raw):
    """With a sentence that says so."""
    error = failure([raw], b"1")
    assert error.kind == "http"
    assert "HTTP" in str(error) or "change the protocol" in str(error)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n",
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000, STALL),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n",
        answer(200, b"x" * 5000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"400\r\n"
        + b"x" * 1024
        + b"\r\n"
        + b"400\r\n"
        + b"x" * 1024
        + b"\r\n",
        answer(200, b"x" * 5000, length=False),
        answer(200, gzip.compress(b"x" * 5000), "Content-Encoding: gzip"),
        answer(200, b"zzz", "Content-Encoding: gzip"),
    ],
)
@pytest.mark.case("X10")
def test_an_answer_beyond_the_limits_is_refused(raw):
    """Headers by number and size, bodies by what they say and by what they are, also compressed."""
    error = failure([raw], b"1", limits=HttpLimits(max_body=2000))
    assert error.kind == "http"


def test_bytes_that_nobody_asked_for_close_the_connection():
    """An answer too many must not become the answer to the next request."""

    async def act(channel):
        await channel.post(b"1")
        await asyncio.wait_for(asyncio.shield(channel._connection.closed), 5)
        return await channel.post(b"2")

    last, server = run([(OK, answer(200, b"<evil/>")), OK], act)
    assert last.body == b"<ok/>"
    assert server.connections == 2


def test_an_acs_that_is_not_there_is_told_by_kind():
    """Refused, no such name, not a URL."""

    async def main():
        async with serving(OK) as server:
            port = server.port
        found = []
        for url in (f"http://127.0.0.1:{port}/", "http://no-such-host.invalid/"):
            channel = HttpChannel(url, timeout=5.0)
            with pytest.raises(TransportError) as caught:
                await channel.post(b"1")
            found.append(caught.value)
            await channel.close()
        return found

    refused, dns = asyncio.run(main())
    assert (refused.kind, dns.kind) == ("refused", "dns")
    assert "cannot be reached" in str(refused) and "no-such-host.invalid" in str(dns)
    with pytest.raises(TransportError, match="an ACS URL is for example"):
        HttpChannel("acs.example.com")


def test_every_address_of_a_name_is_tried():
    """IPv6 first where nothing listens there, then IPv4; the one that answered is tried first next time."""

    async def main():
        async with serving(OK, (OK, CLOSE), OK) as server:
            channel = HttpChannel(f"http://localhost:{server.port}/", timeout=5.0)
            loop = asyncio.get_running_loop()
            looked = []

            async def getaddrinfo(host, port, **kwargs):
                looked.append(host)
                return [(10, 1, 6, "", ("::1", port, 0, 0)), (2, 1, 6, "", ("127.0.0.1", port))]

            loop.getaddrinfo = getaddrinfo
            try:
                await channel.post(b"1")
                assert channel._address == "127.0.0.1"
                await channel.post(b"2")
            finally:
                del loop.getaddrinfo
                await channel.close()
            return looked

    assert "localhost" in asyncio.run(main())


def test_closing_twice_is_safe():
    """Also before anything was opened."""

    async def act(channel):
        await channel.close()
        await channel.post(b"1")
        await channel.close()
        await channel.close()
        return channel.connections

    assert run([OK], act)[0] == 1


def test_a_cancelled_post_closes_its_connection():
    """Its answer may still come; it must not become the answer to something else."""

    async def act(channel):
        task = asyncio.create_task(channel.post(b"1"))
        while not task.done() and (channel._connection is None or channel._connection._waiter is None):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return channel._connection.open

    assert run([STALL], act)[0] is False
