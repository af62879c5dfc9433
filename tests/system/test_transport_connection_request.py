"""Connection requests over real sockets: our listener, our caller, and the odd halves that the field has."""

import asyncio

import pytest

from homeport.errors import ConfigError
from homeport.http.auth import basic_credentials, parse_challenges
from homeport.http.digest import DigestAuthority, DigestClient
from homeport.transport.connection_request import ConnectionRequestListener, request_connection
from system.transport_peers import CLOSE, STALL, answer, serving

pytestmark = pytest.mark.system

RIGHT = [("acs", "secret")]


def listening(act, **options):
    """What act(listener, port) gives back. The listener's credentials are acs and secret, and it accepts everything."""
    settings = {
        "host": "127.0.0.1",
        "port": 0,
        "path": "/Xy12",
        "credentials": lambda: ("acs", "secret"),
        "accept": lambda: True,
        **options,
    }

    async def main():
        listener = ConnectionRequestListener(**settings)
        port = await listener.start()
        try:
            return await act(listener, port)
        finally:
            await listener.stop()

    return asyncio.run(main())


async def raw(port, *parts, read=True):
    """All that the listener answers to these bytes, until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 5) if read else b""
    finally:
        writer.close()


def get(path="/Xy12", *lines):
    """One GET."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def status(data):
    """The status of an answer."""
    return int(data.split(b" ")[1]) if data else 0


# --- the listener -----------------------------------------------------------------------------------------------------------------


@pytest.mark.case("C01")
def test_an_unauthenticated_get_is_challenged_and_an_authenticated_one_accepted():
    """401 with Digest and qop auth, then 200 without a body, and the connection is closed."""
    accepted = []

    async def act(listener, port):
        first = await raw(port, get())
        challenge = first.split(b"WWW-Authenticate: ")[1].split(b"\r\n")[0].decode()
        header = DigestClient("acs", "secret").answer([challenge], method="GET", uri="/Xy12", cnonce="c")
        second = await raw(port, get("/Xy12", f"Authorization: {header}"))
        return first, challenge, second

    first, challenge, second = listening(act, accept=lambda: accepted.append(1) or True)
    assert status(first) == 401
    (parsed,) = parse_challenges([challenge])
    assert (parsed.scheme, parsed.params["qop"], parsed.params["algorithm"]) == ("digest", "auth", "MD5")
    assert status(second) == 200
    assert second.endswith(b"\r\n\r\n") and b"Content-Length: 0" in second and b"Connection: close" in second
    assert accepted == [1]


@pytest.mark.case("C02")
def test_wrong_credentials_start_nothing():
    """A wrong password, a wrong user, Basic: 401 each, and the owner is never asked."""
    accepted = []

    async def act(listener, port):
        url = f"http://127.0.0.1:{port}/Xy12"
        results = [await request_connection(url, [pair]) for pair in (("acs", "wrong"), ("other", "secret"))]
        basic = await raw(port, get("/Xy12", "Authorization: Basic YWNzOnNlY3JldA=="))
        return results, basic

    results, basic = listening(act, accept=lambda: accepted.append(1) or True)
    assert [(r.ok, r.status) for r in results] == [(False, 401), (False, 401)]
    assert "refused all 1" in results[0].reason
    assert status(basic) == 401
    assert accepted == []


def test_without_a_password_nobody_comes_in():
    """An unset ConnectionRequestPassword is not an open door; nor are empty credentials."""

    async def act(listener, port):
        return await request_connection(f"http://127.0.0.1:{port}/Xy12", [("acs", ""), ("", "")])

    assert listening(act, credentials=lambda: ("acs", "")).status == 401
    assert listening(act, credentials=lambda: ("", "")).status == 401


def resolving(monkeypatch, **names):
    """The machine's resolver knows these names, with several addresses each."""
    real = asyncio.base_events.BaseEventLoop.getaddrinfo

    async def lookup(loop, host, port, **more):
        found = []
        for address in names.get(host, [host]):
            found += await real(loop, address, port, **more)
        return found

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", lookup)


def test_of_the_addresses_of_a_name_one_that_is_allowed_and_answers_is_called(monkeypatch):
    """A device with IPv4 and IPv6 comes from one of its addresses, and its name may give the other first."""
    resolving(monkeypatch, cpe=["127.0.0.9", "127.0.0.2", "127.0.0.1"])

    async def act(listener, port):
        url = f"http://cpe:{port}/Xy12"
        own = await request_connection(url, RIGHT, allowed=lambda address: address == "127.0.0.1")
        any_of_them = await request_connection(url, RIGHT)
        return own, any_of_them, await request_connection(url, RIGHT, allowed=lambda address: False)

    own, any_of_them, none = listening(act)
    assert own.ok and any_of_them.ok
    assert (none.ok, none.status) == (False, 0)
    assert none.reason == "connection requests to 127.0.0.9, 127.0.0.2, 127.0.0.1 are not allowed"


def test_an_ipv4_address_in_the_form_of_ipv6_is_the_same_address():
    """`::ffff:127.0.0.1` is where a device at 127.0.0.1 is."""

    async def act(listener, port):
        seen = []
        url = f"http://[::ffff:127.0.0.1]:{port}/Xy12"
        return seen, await request_connection(url, RIGHT, allowed=lambda address: not seen.append(address))

    seen, answer = listening(act)
    assert seen == ["127.0.0.1"] and answer.ok


@pytest.mark.case("C03")
@pytest.mark.case("C04")
@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (get("/"), 404),
        (get("/xy12"), 404),
        (get("/Xy12/"), 404),
        (get("/Xy12?x=1"), 401),
        (get("http://192.0.2.1:7547/Xy12"), 401),
        (b"POST /Xy12 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"get /Xy12 HTTP/1.1\r\n\r\n", 405),
        (b"GET /Xy12\r\n\r\n", 401),
        (b"GET\r\n\r\n", 400),
        (b"\r\n\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\n\n", 400),
        (b"GET /Xy12 HTTP/1.1\nHost: x\n\n", 401),
    ],
)
def test_what_is_not_the_get_is_answered_by_its_status(request_bytes, expected):
    """404 for another path, 405 for another method, 400 for what is no HTTP; query and authority do not matter."""

    async def act(listener, port):
        return await raw(port, request_bytes)

    got = listening(act)
    assert status(got) == expected
    assert (b"Allow: GET" in got) == (expected == 405)


@pytest.mark.case("C08")
def test_a_replayed_proof_is_refused():
    """The same nonce and count, also in the form without count: 401, stale, no session."""

    async def act(listener, port):
        url = "/Xy12"
        challenge = (await raw(port, get())).split(b"WWW-Authenticate: ")[1].split(b"\r\n")[0].decode()
        header = DigestClient("acs", "secret").answer([challenge], method="GET", uri=url, cnonce="c")
        bare = challenge.replace(', qop="auth"', "")
        other = (await raw(port, get())).split(b"WWW-Authenticate: ")[1].split(b"\r\n")[0].decode()
        old = DigestClient("acs", "secret").answer(
            [other.replace(', qop="auth"', "")], method="GET", uri=url, cnonce="c"
        )
        assert bare != challenge
        return [await raw(port, get(url, f"Authorization: {h}")) for h in (header, header, old, old)]

    answers = listening(act)
    assert [status(a) for a in answers] == [200, 401, 200, 401]
    assert b"stale=true" in answers[1] and b"stale=true" in answers[3]


@pytest.mark.case("C05")
@pytest.mark.case("C07")
def test_too_many_requests_get_503_without_retry_after():
    """Also right ones; after the period they are accepted again."""

    async def act(listener, port):
        url = f"http://127.0.0.1:{port}/Xy12"
        first = [(await request_connection(url, RIGHT)).status for _ in range(5)]
        listener._accepted.clear()  # as if the period were over
        return first, (await request_connection(url, RIGHT)).status

    assert listening(act, limit=3) == ([200, 200, 200, 503, 503], 200)


def test_the_throttle_counts_a_sliding_period():
    """A tenth of a second here, a minute by default."""

    async def act(listener, port):
        url = f"http://127.0.0.1:{port}/Xy12"
        assert (await request_connection(url, RIGHT)).status == 200
        while (await request_connection(url, RIGHT)).status == 503:
            await asyncio.sleep(0.01)
        return True

    assert listening(act, limit=1, period=0.1)


def test_an_address_that_keeps_failing_is_cut_short():
    """503 before any hashing; right credentials of that address have to wait too."""
    seen = []

    async def act(listener, port):
        url = f"http://127.0.0.1:{port}/Xy12"
        for _ in range(4):
            await request_connection(url, [("acs", "wrong")])
        blocked = await request_connection(url, RIGHT)
        listener._failures["127.0.0.1"].clear()
        return blocked, await request_connection(url, RIGHT)

    blocked, after = listening(act, failure_limit=3, seen=lambda *row: seen.append(row))
    assert (blocked.status, after.status) == (503, 200)
    assert ("127.0.0.1", 503, "too many refused attempts from this address") in seen
    assert all("wrong" not in reason or reason == "wrong username or password" for _, _, reason in seen)


def test_the_memory_of_failing_addresses_is_bounded():
    """A flood from many addresses forgets the quietest one, not everything else."""
    listener = ConnectionRequestListener(path="/x", credentials=lambda: ("a", "b"), accept=lambda: True)
    for n in range(3000):
        listener._note_failure(f"2001:db8::{n:x}", 0.0)
    assert len(listener._failures) == 1024
    assert not listener._too_many_failures("2001:db8::bb7", 100.0)
    assert "2001:db8::bb7" not in listener._failures


@pytest.mark.case("C06")
@pytest.mark.parametrize("busy", [False, "a session is open"])
def test_a_busy_device_answers_503_to_the_right_caller_only(busy):
    """Others still get 401; the reason is for the log."""
    seen = []

    async def act(listener, port):
        url = f"http://127.0.0.1:{port}/Xy12"
        return (
            await request_connection(url, RIGHT),
            await request_connection(url, [("acs", "no")]),
            await raw(port, get()),
        )

    right, wrong, nobody = listening(act, accept=lambda: busy, seen=lambda *row: seen.append(row))
    assert (right.ok, right.busy, right.status) == (False, True, 503)
    assert b"Retry-After" not in nobody
    assert wrong.status == status(nobody) == 401
    assert ("127.0.0.1", 503, busy or "busy") in seen


@pytest.mark.case("C09")
def test_a_slow_client_never_blocks_another():
    """Half a request, or nothing at all; it is told 408 after its time, or dropped when too many wait."""

    async def act(listener, port):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        slow[-1][1].write(b"GET /Xy12 HT")
        quick = await request_connection(f"http://127.0.0.1:{port}/Xy12", RIGHT)
        dropped = await asyncio.wait_for(slow[0][0].read(), 5)
        told = await asyncio.wait_for(slow[-1][0].read(), 5)
        for _, writer in slow:
            writer.close()
        return quick, dropped, told

    quick, dropped, told = listening(act, most_connections=8, head_timeout=0.3)
    assert quick.ok
    assert dropped == b""
    assert status(told) == 408


def test_a_large_request_is_refused():
    """By size, with or without an end; by number of fields."""

    async def act(listener, port):
        bodies = (b"GET /" + b"x" * 20_000, get("/Xy12", "X: " + "y" * 9000), get("/Xy12", *["X: y"] * 60))
        return [status(await raw(port, body)) for body in bodies]

    assert listening(act) == [431, 431, 431]


def test_only_one_request_counts_per_connection():
    """What follows it is not read; a client that goes away early is no problem."""

    async def act(listener, port):
        both = await raw(port, get() + get())
        await raw(port, b"GET", read=False)
        await raw(port, read=False)
        return both, (await request_connection(f"http://127.0.0.1:{port}/Xy12", RIGHT)).ok

    both, after = listening(act)
    assert both.count(b"HTTP/1.1") == 1
    assert after


def test_only_allowed_sources_are_heard():
    """An access list of ACS networks: others get no answer at all."""
    seen = []

    async def act(listener, port):
        try:
            return await raw(port, get())
        except ConnectionError:
            return b""

    assert listening(act, allowed=lambda ip: ip != "127.0.0.1", seen=lambda *row: seen.append(row)) == b""
    assert seen == [("127.0.0.1", 0, "source address not allowed")]
    assert status(listening(act, allowed=lambda ip: ip == "127.0.0.1")) == 401


def test_the_next_free_port_is_taken_within_the_range():
    """7547, or the one after it; outside of the range a sentence says so."""

    async def main():
        options = {"host": "127.0.0.1", "path": "/x", "credentials": lambda: ("a", "b"), "accept": lambda: True}
        first = ConnectionRequestListener(port=0, **options)
        taken = await first.start()
        second = ConnectionRequestListener(port=taken, port_range=20, **options)
        port = await second.start()
        third = ConnectionRequestListener(port=taken, **options)
        with pytest.raises(ConfigError, match="no free port"):
            await third.start()
        await third.stop()
        with pytest.raises(ConfigError, match="no free port"):
            await ConnectionRequestListener(port=65536, **options).start()
        with pytest.raises(ConfigError, match="cannot listen on"):
            await ConnectionRequestListener(port=0, **{**options, "host": "192.0.2.1"}).start()
        await first.stop()
        await second.stop()
        return taken, port, first.port

    taken, port, kept = asyncio.run(main())
    assert taken < port <= taken + 20
    assert kept == taken
    with pytest.raises(ConfigError, match="slash"):
        ConnectionRequestListener(path="x", credentials=lambda: ("a", "b"), accept=lambda: True)


@pytest.mark.case("C10")
def test_a_stopped_listener_is_closed():
    """The port refuses, and open connections are gone."""

    async def act(listener, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(5):
            while not listener._waiting:
                await asyncio.sleep(0)
        await listener.stop()
        rest = await asyncio.wait_for(reader.read(), 5) if not reader.at_eof() else b""
        writer.close()
        return rest, await request_connection(f"http://127.0.0.1:{port}/Xy12", RIGHT)

    try:
        rest, result = listening(act)
    except ConnectionResetError:
        return  # the open connection was cut; that is also gone
    assert rest == b""
    assert result.status == 0 and "cannot be reached" in result.reason


# --- the caller -------------------------------------------------------------------------------------------------------------------


def calling(script, credentials=RIGHT, **options):
    """(result, server) of one connection request."""

    async def main():
        async with serving(*script) as server:
            result = await request_connection(server.url, credentials, **{"timeout": 5.0, **options})
            return result, server

    return asyncio.run(main())


DEVICE = DigestAuthority(b"d" * 16, "device", ("MD5",), rfc2069="allow")


def checked(password="secret", user="acs", how=lambda c: c, closing="Connection: close"):
    """A device that checks Digest. how: spoils the challenge."""

    def step(seen):
        header = seen.headers.get("authorization", "")
        verdict = DEVICE.verify(header, method="GET", uri="/acs", password=password, now=0.0)
        if verdict.ok and verdict.username == user:
            return answer(200, b"", closing)
        lines = [f"WWW-Authenticate: {how(DEVICE.challenges(0.0)[0])}", closing]
        return answer(401, b"no", *(line for line in lines if line))

    return step


def test_a_device_without_authentication_just_answers():
    """netcwmp answers 200 to anyone; 204 is as good."""
    for code in (200, 204):
        result, server = calling([answer(code)])
        assert (result.ok, result.status, result.credentials_index) == (True, code, None)
        assert server.seen[0].start == "GET /acs HTTP/1.1"


@pytest.mark.parametrize(
    "how",
    [
        lambda c: c,
        lambda c: c.replace(", ", ",\r\n  "),
        lambda c: c.replace(', qop="auth"', ""),
        lambda c: c.replace('"auth"', '"auth-int,auth"'),
        lambda c: c.replace("algorithm=MD5, ", ""),
        lambda c: c.replace("algorithm=MD5", "algorithm=MD5-sess"),
        lambda c: c.replace("MD5", '"md5"'),
    ],
    ids=["plain", "folded", "no-qop", "qop-list", "no-algorithm", "md5-sess", "quoted"],
)
def test_challenges_of_every_kind_are_answered(how):
    """Folded over several lines, without qop, with a list, MD5-sess, quoted."""
    result, _ = calling([checked(how=how)])
    assert (result.ok, result.credentials_index) == (True, 0)


def test_a_kept_connection_is_used_for_the_second_try():
    """And made anew where the device closes it."""
    assert calling([checked(closing="")])[1].connections == 1
    assert calling([checked()])[1].connections == 2
    silent_close = (answer(401, b"", f"WWW-Authenticate: {DEVICE.challenges(0.0)[0]}"), CLOSE)
    result, server = calling([silent_close, checked()])
    assert result.ok and server.connections == 2


def test_nonsense_after_a_kept_connection_was_closed_is_told_too():
    """Whatever a device does, the caller has an answer."""
    kept = (answer(401, b"", f"WWW-Authenticate: {DEVICE.challenges(0.0)[0]}"), CLOSE)
    result, _ = calling([kept, b"no HTTP at all\r\nneither: this is\r\n bad\x00\r\n\r\n"])
    assert not result.ok and "does not speak HTTP" in result.reason


def test_credentials_are_tried_in_their_order():
    """The index of the one that worked can be remembered."""
    result, server = calling([checked()], [("a", "b"), ("acs", "wrong"), ("acs", "secret"), ("z", "z")])
    assert (result.ok, result.credentials_index) == (True, 2)
    assert len(server.seen) == 4


@pytest.mark.case("C19")
def test_endless_401_stops():
    """Also when every challenge says stale."""
    result, server = calling(
        [answer(401, b"", f"WWW-Authenticate: {DEVICE.challenges(0.0, stale=True)[0]}")], RIGHT * 2
    )
    assert (result.ok, result.status) == (False, 401)
    assert len(server.seen) <= 7
    assert "none is known" in calling([checked()], [])[0].reason


def test_a_stale_nonce_is_replaced():
    """The same credentials once more."""
    stale = answer(401, b"", f"WWW-Authenticate: {DEVICE.challenges(0.0, stale=True)[0]}")
    result, _ = calling([checked(), stale, checked()])
    assert (result.ok, result.credentials_index) == (True, 0)


def test_basic_needs_leave():
    """Some devices know nothing else; the password is then readable."""
    asks = answer(401, b"", 'WWW-Authenticate: Basic realm="x"')
    result, _ = calling([asks])
    assert (result.ok, "asks for basic" in result.reason) == (False, True)
    result, server = calling([asks, answer(200)], allow_basic=True)
    assert result.ok
    assert basic_credentials(server.seen[1].headers["authorization"]) == ("acs", "secret")
    assert "nothing that can be read" in calling([answer(401)])[0].reason


@pytest.mark.case("C19")
@pytest.mark.parametrize(
    ("step", "code", "words"),
    [
        (b"HTTP/1.1 503 Service Unvailable\n\n", 503, "busy"),
        (answer(404), 404, "may be old"),
        (answer(500), 500, "HTTP 500"),
        (answer(302, b"", "Location: http://192.0.2.1/"), 302, "do not follow"),
        (b"SSH-2.0-dropbear\r\n\r\n", 0, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, 0, "does not speak HTTP"),
        (CLOSE, 0, "closed the connection without an answer"),
        ((b"HTTP/1.0 200 OK\n", CLOSE), 200, "will open"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab", CLOSE), 200, "will open"),
    ],
)
def test_what_a_device_answers_is_told_in_a_sentence(step, code, words):
    """Bare line ends, a misspelled reason, an answer cut short."""
    result, _ = calling([step])
    assert result.status == code
    assert words in result.reason
    assert result.ok == (code == 200)


def test_a_silent_device_is_given_up():
    """One time limit for all of it."""
    result, _ = calling([STALL], timeout=0.05)
    assert (result.ok, result.status) == (False, 0)
    assert "in 0.05 s" in result.reason


def test_addresses_can_be_forbidden():
    """A device must not send the ACS to other machines; the address is judged, not the name."""
    judged = []
    result, server = calling([answer(200)], allowed=lambda ip: judged.append(ip))
    assert (result.ok, server.seen, judged) == (False, [], ["127.0.0.1"])
    assert "not allowed" in result.reason
    assert calling([answer(200)], allowed=lambda ip: True)[0].ok


@pytest.mark.parametrize(
    "url", ["", "7547", "https://127.0.0.1/x", "http://no-such-host.invalid/x", "http://127.0.0.1:1/"]
)
def test_an_unusable_url_is_told(url):
    """Never an exception."""
    result = asyncio.run(request_connection(url, RIGHT, timeout=5.0))
    assert (result.ok, result.status) == (False, 0)
    assert result.reason
