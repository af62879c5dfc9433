"""Reading authentication headers and header blocks as devices send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import RemoteProtocolError
from homeport.http.auth import (
    Challenge,
    basic_challenge,
    basic_credentials,
    basic_header,
    parse_challenges,
    parse_credentials,
    quoted,
    same_text,
)
from homeport.http.headers import end_of_head, parse_head, parse_status
from homeport.http.limits import HttpLimits


def test_several_challenges_in_one_header_are_kept_apart():
    """RFC 9110 11.6.1 allows a comma between challenges as well as between parameters."""
    assert parse_challenges(['Basic realm="a, b", Digest realm=x,nonce = "y" , qop="auth,auth-int"', "Negotiate"]) == [
        Challenge("basic", {"realm": "a, b"}),
        Challenge("digest", {"realm": "x", "nonce": "y", "qop": "auth,auth-int"}),
        Challenge("negotiate"),
    ]


def test_a_quote_that_does_not_close_is_taken_off():
    """Read as far as it goes."""
    assert parse_challenges(['Digest nonce="abc, realm=x'])[0].params["nonce"] == "abc"


def test_the_first_of_a_repeated_parameter_counts():
    """So that nothing can be added behind what was signed."""
    assert parse_challenges(["Digest realm=a, realm=b"])[0].params == {"realm": "a"}


def test_parameters_without_a_scheme_belong_to_nobody():
    """They are left out."""
    assert parse_challenges(["realm=x, Digest nonce=1"]) == [Challenge("digest", {"nonce": "1"})]


def test_a_header_of_many_parameters_is_read_in_part():
    """64 are enough for any scheme."""
    (challenge,) = parse_challenges(["Digest " + ",".join(f"p{i}=1" for i in range(1000))])
    assert len(challenge.params) == 63


def test_credentials_have_one_scheme():
    """Digest has parameters, the others one word."""
    assert parse_credentials('Digest username="u"') == Challenge("digest", {"username": "u"})
    assert parse_credentials("Bearer abc") == Challenge("bearer", {"": "abc"})
    assert parse_credentials("  ") is None
    assert parse_credentials("Digest " + "x" * 9000) is None


def test_basic_round_trip():
    """UTF-8, with colons in the password."""
    assert basic_credentials(basic_header("jörg", "a:b")) == ("jörg", "a:b")
    assert basic_credentials("Basic YTpi") == ("a", "b")
    assert basic_credentials("basic YTpiYw") == ("a", "bc")  # without padding
    assert basic_credentials("Basic avY6eA==") == ("jö", "x")  # ISO-8859-1


@pytest.mark.parametrize("header", ["", "Digest a=b", "Basic", "Basic !!!", "Basic YWJj", "Basic é"])
def test_what_is_not_basic_is_none(header):
    """Also base64 without a colon inside."""
    assert basic_credentials(header) is None


def test_quoted_text_cannot_leave_its_quotes():
    """Neither a quote nor a line end gets through."""
    assert quoted('a"b\\c\r\nd') == 'a\\"b\\\\cd'
    assert basic_challenge('x"') == 'Basic realm="x\\"", charset="UTF-8"'


def test_same_text_compares_whole_texts():
    """Also for letters beyond ASCII."""
    assert same_text("é", "é")
    assert not same_text("a", "ab")


@given(st.text(max_size=400))
def test_any_header_can_be_read(text):
    """Nothing that is sent makes the parsers fail."""
    parse_challenges([text])
    parse_credentials(text)
    basic_credentials("Basic " + text)


# --- header blocks --------------------------------------------------------------------------------------------------------------


def test_folded_and_bare_lf_headers_are_read():
    """Orange folds WWW-Authenticate over several lines and ends them with a bare LF."""
    head = parse_head(
        b'HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Digest realm="x",\n  nonce="y",\n\tqop="auth"\nX : 1\n\nbody'
    )
    assert head.start == "HTTP/1.1 401 Unauthorized"
    assert head.get("www-authenticate") == 'Digest realm="x", nonce="y", qop="auth"'
    assert head.get("x") == "1"
    assert head.get("none", "-") == "-"


def test_repeated_fields_are_all_kept():
    """Two challenges come as two fields."""
    head = parse_head(b"\r\nGET / HTTP/1.1\r\nA: 1\r\na: 2\r\n\r\n")
    assert head.all("a") == ["1", "2"]


def test_broken_lines_are_left_out():
    """A fold before any field, a line without a colon, a name with blanks."""
    head = parse_head(b"HTTP/1.1 200 OK\r\n folded\r\nno colon\r\nbad name: x\r\n: empty\r\ngood: y\r\n")
    assert head.fields == (("good", "y"),)


def test_a_header_block_is_bounded():
    """In bytes and in fields; and it needs a start line."""
    limits = HttpLimits(max_head=100, max_headers=2)
    with pytest.raises(RemoteProtocolError) as caught:
        parse_head(b"GET / HTTP/1.1\r\n" + b"a: 1\r\n" * 20, limits=limits)
    assert caught.value.http_status == 431
    with pytest.raises(RemoteProtocolError) as caught:
        parse_head(b"GET / HTTP/1.1\r\n" + b"a: 1\r\n" * 3, limits=limits)
    assert caught.value.http_status == 431
    with pytest.raises(RemoteProtocolError, match="no start line"):
        parse_head(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "end"),
    [(b"a\r\n\r\nb", 5), (b"a\n\nb", 3), (b"a\r\n\nb", 4), (b"a\n\r\nb", 4), (b"a\r\n", None), (b"", None)],
)
def test_the_end_of_a_head_is_its_first_empty_line(data, end):
    """With any mixture of line ends."""
    assert end_of_head(data) == end


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("HTTP/1.1 503 Service Unvailable", (503, "Service Unvailable")),
        ("HTTP/1.0 200", (200, "")),
        ("http/1.1  204  No Content", (204, "No Content")),
    ],
)
def test_status_lines_are_read_leniently(line, status):
    """The reason may be missing or misspelled."""
    assert parse_status(line) == status


@pytest.mark.parametrize(
    "line", ["", "HTTP/1.1", "GET / HTTP/1.1", "HTTP/1.1 abc", "HTTP/1.1 99", "HTTP/1.1 ²00", "HTTP/1.1 6000"]
)
def test_what_is_no_status_line_is_refused(line):
    """The caller says that this is not HTTP."""
    with pytest.raises(RemoteProtocolError):
        parse_status(line)


@given(st.binary(max_size=600))
def test_any_bytes_as_header_block_are_read_or_refused(data):
    """Nothing else happens."""
    try:
        head = parse_head(data)
    except RemoteProtocolError:
        return
    assert all(name == name.lower() and "\n" not in value for name, value in head.fields)
