"""Content codings, redirects and URLs."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import LocalProtocolError, MessageRefused, TransportError
from homeport.http.compression import compress, decompress
from homeport.http.limits import HttpLimits
from homeport.http.redirects import Target, follow, parse_url

SOAP = b"<SOAP-ENV:Envelope>" * 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_comes_back_from_its_coding(encoding):
    """And the same body always gives the same bytes."""
    packed = compress(SOAP, encoding)
    assert len(packed) < len(SOAP)
    assert decompress(packed, encoding) == SOAP
    assert compress(SOAP, encoding) == packed


def test_the_names_of_codings_are_read_leniently():
    """x-gzip, capitals, identity, two codings, deflate without its wrapper."""
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    assert decompress(raw.compress(SOAP) + raw.flush(), "deflate") == SOAP
    assert decompress(gzip.compress(SOAP), " X-GZIP ") == SOAP
    assert decompress(SOAP, "") == decompress(SOAP, "identity") == SOAP
    assert decompress(gzip.compress(zlib.compress(SOAP)), "deflate, gzip") == SOAP


def refused(body: bytes, encoding: str, **limits) -> int:
    """The status of the refusal."""
    with pytest.raises(MessageRefused) as caught:
        decompress(body, encoding, HttpLimits(**limits))
    return caught.value.http_status


@pytest.mark.case("X10")
def test_bombs_and_broken_bodies_are_refused():
    """By ratio, by size, by form; never by running out of memory."""
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert refused(bomb, "gzip", max_body=100_000_000) == 413
    assert refused(gzip.compress(SOAP), "gzip", max_body=len(SOAP) - 1) == 413
    assert refused(SOAP, "", max_body=10) == 413
    assert refused(gzip.compress(SOAP)[:-9], "gzip") == 400
    assert refused(b"not gzip", "gzip") == 400
    assert refused(b"", "gzip") == 400
    assert refused(SOAP, "compress") == 415
    assert refused(SOAP, "gzip, gzip, gzip") == 400
    with pytest.raises(LocalProtocolError):
        compress(SOAP, "compress")


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "gzip, deflate"]))
def test_any_bytes_are_decompressed_or_refused(data, encoding):
    """Nothing else happens."""
    try:
        decompress(data, encoding)
    except MessageRefused:
        pass


# --- URLs -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://acs.example.com", Target(False, "acs.example.com", 80, "/")),
        ("https://ACS.example.com:8443/a/b?c=d#e", Target(True, "acs.example.com", 8443, "/a/b?c=d")),
        ("http://user:pw@h/", Target(False, "h", 80, "/")),
        ("http://[2001:db8::1]:7547/x", Target(False, "2001:db8::1", 7547, "/x")),
        ("http://h/ü?q=ä", Target(False, "h", 80, "/%C3%BC?q=%C3%A4")),
        ("http://bücher.example/", Target(False, "xn--bcher-kva.example", 80, "/")),
        ("http://h?x", Target(False, "h", 80, "/?x")),
    ],
)
def test_urls_are_taken_apart(url, target):
    """Default ports, IPv6, letters beyond ASCII; user information is dropped."""
    assert parse_url(url) == target
    assert parse_url(target.url) == target


@pytest.mark.parametrize(
    "url",
    ["", "acs.example.com", "ftp://h/", "http:///x", "http://h:0/", "http://h:99999/", "http://h:x/", "http://a b/",
     "http://h/\r\nX: y", "http://[::1", "http://" + "ü" * 80 + "/"],
)  # fmt: skip
def test_what_is_no_url_is_refused_with_a_sentence(url):
    """The sentence repeats it, so that a person sees what was meant."""
    with pytest.raises(ValueError, match=r"URL|host name"):
        parse_url(url)


def test_the_authority_names_the_port_only_where_it_must():
    """For the Host header."""
    assert parse_url("http://h:80/").authority == "h"
    assert parse_url("https://h:80/").authority == "h:80"
    assert parse_url("http://[::1]:7547/").authority == "[::1]:7547"
    assert parse_url("http://h/a?b").path == "/a"


# --- redirects --------------------------------------------------------------------------------------------------------------------

PLAIN = parse_url("http://acs.example.com/a/b")


@pytest.mark.case("S15")
@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("http://other:7547/x", "http://other:7547/x"),
        ("https://acs.example.com/", "https://acs.example.com/"),
        ("/c", "http://acs.example.com/c"),
        ("c", "http://acs.example.com/a/c"),
        ("?q", "http://acs.example.com/a/b?q"),
        ("//other/x", "http://other/x"),
    ],
)
def test_a_redirect_may_be_absolute_or_relative(location, url):
    """RFC 9110 10.2.2."""
    assert follow(PLAIN, location, 0).url == url


@pytest.mark.parametrize(
    ("current", "location", "followed", "words"),
    [
        (PLAIN, "/x", 5, "gave up after 5 redirects"),
        (PLAIN, "", 0, "without saying where"),
        (PLAIN, "ftp://x/", 0, "cannot be used"),
        (PLAIN, "http://[::1", 0, "cannot be used"),
        (parse_url("https://acs.example.com/"), "http://acs.example.com/", 0, "without TLS"),
    ],
)
def test_some_redirects_are_never_followed(current, location, followed, words):
    """Too many, nowhere, elsewhere, or out of TLS."""
    with pytest.raises(TransportError, match=words) as caught:
        follow(current, location, followed)
    assert caught.value.kind == "redirect"
