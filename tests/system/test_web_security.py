"""The agent's web page against strangers: other sites, guessers, slow and greedy peers, and an ACS that writes markup."""

import asyncio

import pytest

from cpe_support.web_bench import WebBench, parsed
from homeport.codec.messages import ParameterValueStruct, SetParameterValues
from homeport.cpe.web import password as passwords
from homeport.cpe.web.listener import LIMITS, MOST_CONNECTIONS
from homeport.cpe.web.login import IDLE, LONGEST, Logins

pytestmark = pytest.mark.system

PASSWORD = "correct horse"
PAGES = (
    "/status",
    "/status/config",
    "/status/config-log",
    "/status/client-log",
    "/configuration",
    "/transfers",
    "/sessions",
    "/sessions/1",
    "/sessions/2",
    "/parameters",
    "/parameters?path=Device.WiFi.",
    "/parameters?path=Device.ManagementServer.",
    "/parameters?q=WiFi",
    "/parameters/one?path=Device.WiFi.SSID",
    "/parameters/one?path=Device.ManagementServer.Password",
    "/device",
    "/device/reboot",
)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    """Tests are no thieves: a hash here costs little."""
    monkeypatch.setattr(passwords, "_N", 1 << 4)


def play(tmp_path, scene, **settings):
    async def run():
        async with WebBench(tmp_path, **settings) as web:
            return await scene(web)

    return asyncio.run(run())


def with_password(tmp_path, scene, **settings):
    passwords.keep(tmp_path, passwords.hash_of(PASSWORD))
    return play(tmp_path, scene, **settings)


# --- other sites --------------------------------------------------------------------------------------------------------------


def test_every_page_comes_with_headers_that_keep_strangers_out(tmp_path):
    """No script but ours, no frame, no guessing of types, nothing kept."""

    async def scene(web):
        for path in (*PAGES, "/nowhere"):
            reply = await web.get(path)
            assert reply.status == (404 if path in ("/nowhere", "/sessions/2") else 200), path
            policy = reply.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["x-frame-options"] == "DENY"
            assert reply.headers["cache-control"] == "no-store"
            assert "style=" not in reply.body and "onclick" not in reply.body

    play(tmp_path, scene)


def test_a_form_of_another_site_does_nothing(tmp_path):
    """Without our token, with another's, from another origin, or as another content type."""

    async def scene(web):
        wish = {"sure": "yes"}
        token = await web.token()
        assert (await web.post("/device/restart", wish, token=False)).status == 403
        assert (await web.post("/device/restart", wish | {"csrf": "0" * 64})).status == 403
        assert (await web.post("/device/restart", wish | {"csrf": "é"})).status == 403
        other = [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}]
        other += [{"sec_fetch_site": "same-site"}, {"content_type": "text/plain"}]
        for headers in other:
            assert (await web.post("/device/restart", wish | {"csrf": token}, **headers)).status == 403, headers
        web.cookie = "another"
        assert (await web.post("/device/restart", wish | {"csrf": token})).status == 403
        assert not web.bench.ended
        own = {"origin": f"http://127.0.0.1:{web.port}", "sec_fetch_site": "same-origin"}
        web.cookie = ""
        assert (await web.post("/device/restart", wish, **own)).status == 200
        await asyncio.sleep(0)

    play(tmp_path, scene)


def test_a_name_that_leads_here_is_not_ours(tmp_path):
    """DNS rebinding: a stranger's name may point to 127.0.0.1, and the browser then takes his page for ours."""

    async def scene(web):
        for host in ("evil.example", f"evil.example:{web.port}", "127.0.0.1.evil.example", "localhost.evil:80"):
            assert (await web.get("/status", host=host)).status == 421
        assert (await web.get("/status", host="")).status == 421
        for host in ("localhost", f"LOCALHOST:{web.port}", "[::1]:8081", "127.0.0.1"):
            assert (await web.get("/status", host=host)).status == 200

    play(tmp_path, scene)


def test_actions_need_a_form_and_a_confirmation(tmp_path):
    """A link, an image or a preview can do nothing; a slip of the finger neither."""

    async def scene(web):
        for action in ("inform", "restart", "reboot", "factory-reset"):
            before = len(web.bench.informs)
            assert "Yes, do it" in (await web.get(f"/device/{action}")).body
            assert len(web.bench.informs) == before and not web.bench.ended
        reply = await web.post("/device/factory-reset")
        assert "Yes, do it" in reply.body and not web.bench.ended
        assert (await web.post("/status")).status == 405
        assert (await web.send("DELETE", "/status")).status == 405

    play(tmp_path, scene)


# --- markup -------------------------------------------------------------------------------------------------------------------


MARKUP = "\"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}'"


def test_what_the_acs_writes_stays_text(tmp_path):
    """In values, names, logs and messages; templates do not evaluate it."""

    async def scene(web):
        wish = (ParameterValueStruct(name="Device.WiFi.SSID", value=MARKUP, type="string"),)
        bad = (ParameterValueStruct(name=f"Device.{MARKUP}", value=MARKUP, type="string"),)
        await web.bench.ask(SetParameterValues(wish, MARKUP[:32]), SetParameterValues(bad, "k"))
        await web.post("/parameters/one", {"path": "Device.WiFi.SSID", "value": MARKUP + "2"})
        seen = 0
        for path in (
            *PAGES,
            "/parameters?q=" + "%22%3E%3Cscript%3E",
            "/parameters?path=%3Cscript%3E",
            "/status?said=<script>",
        ):
            body = (await web.get(path.replace("<", "%3C"))).body
            rest = body.replace('<script src="/static/page.js', "")
            assert "<script" not in rest and "<img src=x" not in rest and ">49" not in rest, path
            seen += "&lt;script&gt;" in body
        assert seen >= 6  # it was there to be seen
        entered = {"cwmp.acs_url": MARKUP, "cwmp.periodicinforminterval": MARKUP, "action": "submit"}
        reply = await web.post("/configuration", entered)
        assert reply.status == 400 and "<script>" not in reply.body and "&lt;script&gt;" in reply.body

    play(tmp_path, scene)


@pytest.mark.case("X07")
def test_no_page_shows_a_secret(tmp_path):
    """Neither the ones of the settings nor the one that the ACS sets nor one that was just typed."""

    async def scene(web):
        wish = (ParameterValueStruct(name="Device.ManagementServer.Password", value="s3cret-3", type="string"),)
        await web.bench.ask(SetParameterValues(wish, "k"))
        replies = [await web.post("/configuration", {"cwmp.acs_password": "s3cret-4", "action": "submit"})]
        bad = {"cwmp.acs_password": "s3cret-5", "cwmp.acs_url": "nonsense", "action": "submit"}
        replies.append(await web.post("/configuration", bad))
        wrong = {"path": "Device.ManagementServer.Password", "value": "s3cret-6" + "x" * 300}
        replies.append(await web.post("/parameters/one", wrong))
        replies += [await web.get(path) for path in PAGES]
        assert "Type it again" in replies[1].body
        for reply in replies:
            assert "s3cret" not in reply.body
        archive = await web.raw(b"GET /support HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"application/gzip" in archive and b"s3cret" not in archive

    play(tmp_path, scene, password="s3cret-1", connection_request_password="s3cret-2")


# --- logins -------------------------------------------------------------------------------------------------------------------


def test_with_a_password_nothing_is_seen_without_a_login(tmp_path):
    """Pages lead to the login; forms do nothing; after it one is where one wanted to be."""

    async def scene(web):
        for path in PAGES:
            reply = await web.get(path)
            assert (reply.status, reply.body) == (303, "") and reply.headers["location"].startswith("/login"), path
        assert (await web.get("/support")).status == 303
        token = await web.token("/login")
        assert (await web.post("/device/restart", {"sure": "yes", "csrf": token})).headers["location"] == "/login"
        assert not web.bench.ended
        wrong = await web.post("/login", {"password": "battery staple"})
        assert wrong.status == 403 and "not the password" in wrong.body
        before = web.cookie
        reply = await web.post("/login", {"password": PASSWORD, "next": "/sessions"})
        assert (reply.status, reply.headers["location"]) == (303, "/sessions")
        flags = reply.headers["set-cookie"]
        assert "HttpOnly" in flags and "SameSite=Strict" in flags and web.cookie != before
        assert (await web.get("/status")).status == 200
        log = web.bench.agent.config_log.lines()
        assert any("login at the web page from 127.0.0.1" in line for line in log)
        assert any("refused: wrong password" in line for line in log) and PASSWORD not in repr(log)
        assert (await web.post("/logout")).headers["location"] == "/login?said=out"
        assert (await web.get("/status")).status == 303

    with_password(tmp_path, scene)


def test_guessing_is_slowed_down(tmp_path):
    """Five guesses at once; then even the right one is not looked at."""

    async def scene(web):
        statuses = [(await web.post("/login", {"password": f"guess {n}"})).status for n in range(7)]
        assert statuses == [403] * 5 + [429] * 2
        reply = await web.post("/login", {"password": PASSWORD})
        assert reply.status == 429 and int(reply.headers["retry-after"]) > 0

    with_password(tmp_path, scene)


def test_guesses_of_many_addresses_are_slowed_down_too():
    """A guesser has as many addresses as it likes; those of one IPv6 network are one."""
    logins = Logins()
    assert sum(logins.may_guess(f"192.0.2.{n}", 0.0) for n in range(200)) == 30
    logins = Logins()
    assert sum(logins.may_guess(f"2001:db8::{n:x}", 0.0) for n in range(50)) == 5
    assert logins.may_guess("2001:db8:0:1::1", 0.0)


def test_logins_end_by_time_by_a_new_password_and_by_number():
    """Half an hour idle, half a day in any case."""
    logins = Logins()
    cookie = logins.open("hash", 0.0)
    assert logins.known(cookie, "hash", IDLE - 1) and not logins.known(cookie, "hash", 2 * IDLE)
    cookie = logins.open("hash", 0.0)
    now = 0.0
    while now < LONGEST:
        assert logins.known(cookie, "hash", now)
        now += IDLE - 1
    assert not logins.known(cookie, "hash", LONGEST + 1)
    assert not logins.known(logins.open("hash", 0.0), "another hash", 1.0)
    first = logins.open("hash", 0.0)
    for n in range(40):
        logins.open("hash", 1.0 + n)
    assert not logins.known(first, "hash", 2.0)


@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/a\r\nX: y"]
)
def test_a_login_leads_nowhere_else(tmp_path, path):
    """The address to go on to comes from the address bar, so a stranger may have written it."""

    async def scene(web):
        reply = await web.post("/login", {"password": PASSWORD, "next": path})
        assert reply.headers["location"] == "/status" and "x" not in reply.headers

    with_password(tmp_path, scene)


def test_listening_elsewhere_without_a_password_shows_nothing(tmp_path):
    """It says what to do; a password that cannot be read does not open the page either."""

    async def scene(web):
        reply = await web.get("/status", host="gateway.lan")
        assert reply.status == 503 and "homeport cpe web-password" in reply.body
        passwords.keep(tmp_path, passwords.hash_of(PASSWORD))
        assert (await web.get("/status", host="gateway.lan")).status == 303
        (tmp_path / passwords.FILE).write_text("damaged")
        assert (await web.get("/status", host="gateway.lan")).status == 503

    play(tmp_path, scene, web_listen="0.0.0.0")


# --- rude peers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /static/../part.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /static/%2e%2e/login.py HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /sessions/../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /sessions/999999999999999999999 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET http://localhost/status HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /status\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /status\r\n\r\n", 400),
        (b"GET /status HTTP/3\r\n\r\n", 505),
        (b"POST /device HTTP/1.1\r\nHost: localhost\r\n\r\n", 411),
        (b"POST /device HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /device HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /device HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n", 413),
        (b"POST /device HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET /status HTTP/1.1\r\n" + b"a: b\r\n" * 100 + b"\r\n", 431),
        (b"GET /status HTTP/1.1\r\nA: " + b"b" * (LIMITS.max_head + 1), 431),
    ],
)
def test_odd_requests_are_refused(tmp_path, data, status):
    """Each with its status, and nothing of the machine in the answer."""

    async def scene(web):
        reply = parsed(await web.raw(data))
        assert reply.status == status
        assert "Traceback" not in reply.body and "root:" not in reply.body
        assert (await web.get("/status")).status == 200

    play(tmp_path, scene)


def test_slow_peers_are_let_go(tmp_path):
    """One that never finishes its head, one that never sends its body, one that sends nothing."""

    async def scene(web):
        web.limit(0.1)
        for data in (b"GET /status HT", b"POST /device HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"):
            assert parsed(await web.raw(data)).status == 408
        assert await web.raw(b"") == b""

    play(tmp_path, scene)


def test_one_that_does_not_take_its_answer_is_let_go(tmp_path):
    """The answer waits in our memory, not for ever."""

    async def scene(web):
        web.limit(0.2)
        _, writer = await asyncio.open_connection("127.0.0.1", web.port, limit=1024)
        request = b"GET /static/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    writer.write(request * 50)
                    await asyncio.sleep(0.01)
                    await writer.drain()
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        assert (await web.get("/status")).status == 200

    play(tmp_path, scene)


def test_idle_connections_do_not_keep_others_out(tmp_path):
    """The one that was quiet longest goes."""

    async def scene(web):
        crowd = [await asyncio.open_connection("127.0.0.1", web.port) for _ in range(MOST_CONNECTIONS + 5)]
        assert (await web.get("/status")).status == 200
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            async with asyncio.timeout(5):
                await crowd[0][0].readexactly(1)
        for _, writer in crowd:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    play(tmp_path, scene)


def test_requests_in_a_row_and_all_at_once_are_answered_in_order(tmp_path):
    """Browsers keep a connection; some send the next request before the answer."""

    async def scene(web):
        one = b"GET /static/icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = b"HEAD /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        data = await web.raw(one + one + last)
        assert data.count(b"HTTP/1.1 200 OK") == 3 and data.count(b"</svg>") == 2
        assert data.endswith(b"\r\n\r\n")  # HEAD has no body
        old = await web.raw(b"GET /static/icon.svg HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b"Connection: close" in old

    play(tmp_path, scene)


def test_a_page_that_fails_tells_nothing_and_harms_nothing(tmp_path):
    """The agent goes on; the log has the trace."""

    async def scene(web):
        agent = web.bench.agent
        log, agent.config_log = agent.config_log, None
        reply = await web.get("/status/config-log")
        assert reply.status == 500 and "NoneType" not in reply.body
        agent.config_log = log
        assert (await web.get("/status/config-log")).status == 200

    play(tmp_path, scene)
