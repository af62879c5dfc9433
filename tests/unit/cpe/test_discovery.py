"""What DHCP options say, in every layout that servers send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.cpe.discovery import (
    Discovered,
    decode_option17,
    decode_option43,
    decode_option125,
    encode_option43,
    merge,
    option_bytes,
    url_problem,
)
from homeport.errors import ConfigError, RemoteProtocolError

VEGA_AS_PRINTED = (
    "01 44 68 74 74 70 3a 2f 2f 61 78 74 72 61 63 74 2d 74 72 69 61 6c 2e 61 78 69 72 6f 73 2e 63 6f 6d "
    "3a 37 35 34 38 2f 73 61 6e 67 6f 6d 61"
)
VEGA_URL = "http://axtract-trial.axiros.com:7548/sangoma"


def tlv(*pairs: tuple[int, bytes]) -> bytes:
    return b"".join(bytes((code, len(content))) + content for code, content in pairs)


@pytest.mark.case("D02")
def test_the_dkt_servers_option_gives_all_four_facts():
    """DKT's document: URL, provisioning code, retry wait and multiplier, all as text."""
    data = tlv((1, b"http://192.168.10.10:7547/"), (2, b"special-code"), (3, b"5"), (4, b"2000"))
    assert decode_option43(data) == Discovered(
        url="http://192.168.10.10:7547/", provisioning_code="special-code", retry_minimum_wait=5, retry_multiplier=2000
    )


@pytest.mark.case("D03")
def test_vegas_printed_example_is_read_with_a_warning_about_its_length():
    """The manual prints the length 44 as a decimal number in a hex dump; the URL has 44 bytes, and hex 44 would be 68."""
    found = decode_option43(option_bytes(VEGA_AS_PRINTED), form="vega")
    assert found.url == VEGA_URL
    assert len(found.warnings) == 1
    assert "2c" in found.warnings[0]


def test_vegas_codes_3_and_4_are_the_periodic_inform():
    """On a Vega code 3 is PeriodicInformEnable and 4 is PeriodicInformInterval."""
    data = tlv((1, b"http://a/"), (3, b"1"), (4, b"300"))
    found = decode_option43(data, form="vega")
    assert (found.periodic_inform_enable, found.periodic_inform_interval) == (True, 300)
    assert found.retry_minimum_wait is None


@pytest.mark.case("D03")
def test_a_bare_url_is_accepted_with_a_warning():
    """Some servers put the URL alone into the option, with a NUL or a blank behind it."""
    found = decode_option43(b"https://acs.example.net/cwmp\x00 ")
    assert found.url == "https://acs.example.net/cwmp"
    assert found.warnings


def test_255_ends_the_option_and_0_pads_it():
    """RFC 2132: 255 closes a vendor option, 0 fills."""
    data = b"\x00" + tlv((1, b"http://a/")) + b"\xff" + tlv((2, b"ignored"))
    assert decode_option43(data) == Discovered(url="http://a/")


def test_an_overrunning_length_is_clamped():
    """What is left of the option is taken, and the administrator is told."""
    found = decode_option43(b"\x01\xf0http://a/b")
    assert found.url == "http://a/b"
    assert "only 10 are left" in found.warnings[0]


def test_hps_form_carries_url_user_and_password_in_one_sub_option():
    """HP and 3Com: three words, separated by blanks."""
    found = decode_option43(tlv((1, b"http://a:7547/ joe s3cret"), (2, b"isp")))
    assert (found.url, found.username, found.password) == ("http://a:7547/", "joe", "s3cret")
    assert "s3cret" not in repr(found)


def test_eltexs_form_is_text_with_bars():
    """Eltex: code, bar, content, bar, ..."""
    found = decode_option43(b"1|http://a/|2|gold|3|joe|4|pw")
    assert (found.url, found.provisioning_code, found.username, found.password) == ("http://a/", "gold", "joe", "pw")


@pytest.mark.parametrize("content", [b"0", b"65536", b"\x05", b"-5", b" 5x", b"1e3"])
def test_a_retry_wait_that_is_not_decimal_text_in_range_is_left_out(content: bytes):
    """Codes 3 and 4 are never guessed to be binary; out of range means ignored."""
    found = decode_option43(tlv((1, b"http://a/"), (3, content)))
    assert found.retry_minimum_wait is None
    assert found.url == "http://a/"
    assert found.warnings


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "http://",
        "//a/",
        "a",
        "http://a b/",
        "http://a:99999/",
        "http://user:pw@a/",
        "http://a/" + "x" * 260,
        "http://a/\r\nX: y",
    ],
)
def test_what_is_no_acs_url_is_refused(url: str):
    """DHCP is not authenticated: only absolute http and https URLs of at most 256 characters count."""
    assert url_problem(url) is not None


@pytest.mark.parametrize("url", ["http://a/", "https://acs.example.net:7548/x?y=1", "http://[2001:db8::1]:7547/"])
def test_absolute_urls_are_taken(url: str):
    """http and https, with or without port, also with an IPv6 literal."""
    assert url_problem(url) is None


def test_an_option_without_anything_for_tr069_is_refused():
    """Option 43 belongs to every vendor: another's content is no ACS URL."""
    with pytest.raises(RemoteProtocolError, match="sub-option"):
        decode_option43(tlv((6, b"\x08"), (10, b"abc")))
    with pytest.raises(RemoteProtocolError, match="empty"):
        decode_option43(b"\x00\x00")


def test_option_125_is_read_under_the_forums_enterprise_only():
    """Other vendors' blocks are stepped over; ACS items have the codes 11 to 14."""
    inner = tlv((11, b"http://a/"), (12, b"gold"))
    data = (9).to_bytes(4, "big") + b"\x02\x01\x00" + (3561).to_bytes(4, "big") + bytes((len(inner),)) + inner
    assert decode_option125(data) == Discovered(url="http://a/", provisioning_code="gold")
    with pytest.raises(RemoteProtocolError, match="3561"):
        decode_option125((9).to_bytes(4, "big") + b"\x02\x01\x00")


def test_option_125_with_the_url_under_code_1_is_tolerated():
    """Seen with Kea: code 1 is taken where it holds a URL, and only then."""
    inner = tlv((1, b"http://a/"))
    data = (3561).to_bytes(4, "big") + bytes((len(inner),)) + inner
    assert decode_option125(data).url == "http://a/"
    inner = tlv((1, b"00256D"))
    assert decode_option125((3561).to_bytes(4, "big") + bytes((len(inner),)) + inner).url is None


@pytest.mark.case("D06")
def test_option_17_has_wide_codes_and_lengths():
    """DHCPv6: 16-bit codes and lengths; 1 is the URL, 2 the provisioning code."""
    url = b"http://[2001:db8::1]/"
    data = (3561).to_bytes(4, "big") + b"\x00\x01" + len(url).to_bytes(2, "big") + url + b"\x00\x02\x00\x04gold"
    assert decode_option17(data) == Discovered(url=url.decode(), provisioning_code="gold")
    with pytest.raises(RemoteProtocolError, match="claims"):
        decode_option17(data[:-1])


@pytest.mark.case("D05")
def test_option_43_wins_over_125():
    """A server that sends both: 43 counts, 125 fills the gaps (TR-069a6 3.1)."""
    both = merge(Discovered(url="http://a/"), Discovered(url="http://b/", provisioning_code="gold"))
    assert (both.url, both.provisioning_code) == ("http://a/", "gold")


def test_hexadecimal_is_taken_as_people_write_it():
    """Blanks, colons, 0x and plain digits; anything else is a setting error with an example."""
    assert option_bytes("0x01:2c 68") == option_bytes("01 2C 68") == option_bytes("012c68") == b"\x01\x2c\x68"
    with pytest.raises(ConfigError, match="hexadecimal"):
        option_bytes("http://a/")


def test_encoding_writes_true_length_bytes():
    """The Vega example, as the server should have sent it."""
    data = encode_option43(url=VEGA_URL, form="vega")
    assert data[:2] == b"\x01\x2c"
    assert decode_option43(data, form="vega") == Discovered(url=VEGA_URL)


def test_encoding_refuses_what_the_form_has_no_code_for():
    """Retry values have no place in Vega's table, periodic ones none in the standard's."""
    with pytest.raises(ConfigError, match="retry_minimum_wait"):
        encode_option43(url="http://a/", retry_minimum_wait=5, form="vega")
    with pytest.raises(ConfigError, match="at most 255"):
        encode_option43(url="http://a/" + "x" * 240, provisioning_code="y" * 20)


@given(
    wait=st.none() | st.integers(1, 65535),
    multiplier=st.none() | st.integers(1000, 65535),
    code=st.none() | st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True),
    end_mark=st.booleans(),
)
def test_what_is_encoded_is_decoded_to_the_same_facts(wait, multiplier, code, end_mark):
    """Both directions of the standard table agree."""
    data = encode_option43(
        url="http://a/", provisioning_code=code, retry_minimum_wait=wait, retry_multiplier=multiplier, end_mark=end_mark
    )
    assert decode_option43(data) == Discovered(
        url="http://a/", provisioning_code=code, retry_minimum_wait=wait, retry_multiplier=multiplier
    )


@given(st.binary(max_size=255), st.sampled_from(["standard", "vega"]))
def test_any_bytes_are_read_or_refused(data, form):
    """A hostile DHCP server never makes the agent fail."""
    try:
        found = decode_option43(data, form=form)
    except RemoteProtocolError:
        return
    assert found.url is None or url_problem(found.url) is None


@pytest.mark.parametrize("tail", [b"\x0b", b" \x0b", b" \x1c\x85", b" \xa0", b"  user \x0bpw"])
def test_odd_blanks_beside_the_url_are_no_user_name(tail: bytes) -> None:
    """What a DHCP server sends is anybody's: it must neither end the agent nor set a user name that nobody can type."""
    text = b"http://acs.example/ " + tail
    found = decode_option43(bytes((1, len(text))) + text)
    assert found.username is None and found.password is None
