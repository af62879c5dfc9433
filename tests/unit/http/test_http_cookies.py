"""Cookies: a CPE's jar and an ACS's reading of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.http.cookies import CookieJar, set_cookie
from homeport.http.limits import HttpLimits

HOST = "acs.example.com"


def jar_with(*headers, host=HOST, path="/", secure=False, now=0.0, **options) -> CookieJar:
    """A jar after one response."""
    jar = CookieJar(**options)
    jar.store(list(headers), host, path, secure, now)
    return jar


@pytest.mark.case("S11")
def test_several_cookies_are_returned_until_the_session_ends():
    """Both on every POST of the session, none in the next one."""
    jar = jar_with("a=1; Path=/", "b=2")
    assert jar.header(HOST, "/", False, 0.0) == "a=1; b=2"
    jar.clear_session()
    assert jar.header(HOST, "/", False, 0.0) is None
    assert len(jar) == 0


def test_a_cookie_with_an_expiry_outlives_the_session():
    """Until its time has come."""
    jar = jar_with("keep=1; Max-Age=100", "go=1")
    jar.clear_session()
    assert jar.header(HOST, "/", False, 99.0) == "keep=1"
    assert jar.header(HOST, "/", False, 100.0) is None


@pytest.mark.case("S12")
def test_a_long_cookie_comes_back_whole():
    """512 bytes are asked for; 4096 are kept, more is not."""
    assert jar_with("s=" + "x" * 512).header(HOST, "/", False, 0.0) == "s=" + "x" * 512
    assert len(jar_with("s=" + "x" * 4095)) == 1
    assert len(jar_with("s=" + "x" * 4096)) == 0


@pytest.mark.case("S13")
@pytest.mark.parametrize(
    ("cookie_path", "request_path", "sent"),
    [
        ("/", "/acs", True),
        ("/acs", "/acs", True),
        ("/acs", "/acs/1?x", True),
        ("/acs/", "/acs/1", True),
        ("/acs", "/acsx", False),
        ("/other", "/acs", False),
        ("relative", "/any", True),
    ],
)
def test_a_path_says_where_a_cookie_goes(cookie_path, request_path, sent):
    """RFC 6265 5.1.4; a path without a slash is ignored."""
    jar = jar_with(f"a=1; Path={cookie_path}")
    assert (jar.header(HOST, request_path, False, 0.0) is not None) is sent


@pytest.mark.parametrize(
    ("path", "goes_to", "stays_off"), [("/acs/x", "/acs/y", "/z"), ("/acs", "/z", None), ("", "/z", None)]
)
def test_without_a_path_the_directory_of_the_request_counts(path, goes_to, stays_off):
    """The default path of RFC 6265 5.1.4."""
    jar = jar_with("a=1", path=path)
    assert jar.header(HOST, goes_to, False, 0.0) == "a=1"
    assert stays_off is None or jar.header(HOST, stays_off, False, 0.0) is None


@pytest.mark.parametrize(
    ("domain", "host", "sent"),
    [
        ("example.com", "acs.example.com", True),
        (".example.com", "other.example.com", True),
        ("acs.example.com", "acs.example.com", True),
        ("acs.example.com", "sub.acs.example.com", True),
        ("", "sub.acs.example.com", False),
        ("evil.com", "acs.example.com", False),
        ("com", "acs.example.com", False),
        ("ample.com", "acs.example.com", False),
    ],
)
def test_a_domain_says_which_hosts_get_a_cookie(domain, host, sent):
    """Only the setting host and, where it says so, its domain; never a top-level one."""
    jar = jar_with(f"a=1; Domain={domain}" if domain else "a=1")
    assert (jar.header(host, "/", False, 0.0) is not None) is sent


def test_an_address_has_no_domain():
    """192.0.2.1 is not a subdomain of 2.1."""
    assert jar_with("a=1; Domain=2.1", host="192.0.2.1").header("192.0.2.1", "/", False, 0.0) is None
    jar = jar_with("a=1; Domain=192.0.2.1", host="192.0.2.1")
    assert jar.header("192.0.2.1", "/", False, 0.0) == "a=1"
    assert jar_with("a=1", host="2001:db8::1").header("2001:DB8::1", "/", False, 0.0) == "a=1"


def test_a_secure_cookie_needs_tls_both_ways():
    """Set over plain http it is not taken; set over https it is not sent over http."""
    assert len(jar_with("a=1; Secure")) == 0
    jar = jar_with("a=1; Secure", secure=True)
    assert jar.header(HOST, "/", True, 0.0) == "a=1"
    assert jar.header(HOST, "/", False, 0.0) is None


def test_longer_paths_stand_first():
    """RFC 6265 5.4."""
    assert jar_with("a=1; Path=/", "b=2; Path=/acs").header(HOST, "/acs", False, 0.0) == "b=2; a=1"


def test_a_cookie_is_replaced_and_deleted_by_name_domain_and_path():
    """Deleting is setting it with a time in the past."""
    jar = jar_with("a=1")
    jar.store(["a=2"], HOST, "/", False, 0.0)
    assert jar.header(HOST, "/", False, 0.0) == "a=2"
    jar.store(["a=; Max-Age=0"], HOST, "/", False, 0.0)
    assert jar.header(HOST, "/", False, 0.0) is None
    jar.store(["a=; Max-Age=-1"], HOST, "/", False, 0.0)
    assert len(jar) == 0


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Wed, 09 Jun 2021 10:18:14 GMT", 1623233894.0),
        ("Wednesday, 09-Jun-21 10:18:14 GMT", 1623233894.0),
        ("Wed Jun  9 10:18:14 2021", 1623233894.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Sun, 06 Nov 94 08:49:37 GMT", 784111777.0),
    ],
)
def test_expiry_dates_of_any_age_are_read(date, seconds):
    """RFC 6265 5.1.1: the three formats of HTTP, two-digit years."""
    jar = jar_with(f"a=1; Expires={date}", now=-1e9)
    assert jar.header(HOST, "/", False, seconds - 1) == "a=1"
    assert jar.header(HOST, "/", False, seconds) is None


@pytest.mark.parametrize(
    "date", ["", "soon", "10:18:14", "Wed, 99 Jun 2021 10:18:14 GMT", "09 Jun 2021 99:99:99", "Jun 10:1:1 2021"]
)
def test_a_date_that_is_none_leaves_a_session_cookie(date):
    """It goes when the session does."""
    jar = jar_with(f"a=1; Expires={date}")
    assert jar.header(HOST, "/", False, 1e12) == "a=1"


def test_the_older_forms_are_understood():
    """RFC 2109 and 2965: Version, quoted attributes, several cookies in one header."""
    jar = jar_with('a="1"; Version="1"; Path="/acs", b=2; Version=1; Max-Age="60"', path="/acs")
    assert jar.header(HOST, "/acs", False, 1.0) == 'a="1"; b=2'
    assert jar_with("a=1,b=2").header(HOST, "/", False, 0.0) == "a=1,b=2"  # one cookie, by RFC 6265


@pytest.mark.parametrize("text", ["", "novalue", "=x", "a=\x00b", "a=b\r\nX: y", "; Path=/"])
def test_what_is_no_cookie_is_left_out(text):
    """Nothing that could break the next request's header gets in."""
    assert len(jar_with(text)) == 0


def test_a_jar_has_a_size():
    """What is there stays; more is not taken."""
    jar = jar_with(*(f"c{i}={i}" for i in range(10)), limits=HttpLimits(max_cookies=3))
    assert jar.header(HOST, "/", False, 0.0) == "c0=0; c1=1; c2=2"
    jar.store(["c1=x"], HOST, "/", False, 0.0)
    assert "c1=x" in jar.header(HOST, "/", False, 0.0)


# --- the ACS's side ----------------------------------------------------------------------------------------------------------------


def test_what_we_set_comes_back():
    """The one form that every CPE in the field returns."""
    jar = jar_with(set_cookie("session", "abc123"), path="/deep/path")
    assert jar.header(HOST, "/", False, 0.0) == "session=abc123"


@given(st.text(max_size=300), st.text(max_size=30))
def test_any_text_can_be_stored_and_sent(text, path):
    """What the jar gives back is one line."""
    jar = jar_with(text, "a=b; " + text, "x=1; version=1, " + text, path=path)
    header = jar.header(HOST, "/" + path, False, 0.0)
    assert header is None or not any(c in header for c in "\r\n\x00")
