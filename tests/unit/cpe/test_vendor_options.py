"""What a CPE says about itself to a DHCP server, and what a server sends beside the usual option 43."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.cpe.discovery import (
    Discovered,
    decode_option17,
    decode_option43,
    decode_option125,
    option_bytes,
    prefer,
)
from homeport.cpe.vendor_options import (
    encode_option16,
    encode_option17,
    encode_option124,
    encode_option125,
    encode_text_form,
    wants_acs_url,
)
from homeport.errors import ConfigError
from homeport.transport.dhcp_packets import encode_inform, encode_information_request

MAC = bytes.fromhex("02fc00000001")


@pytest.mark.case("D04")
def test_option_60_of_our_question_carries_dslforum_org():
    """The server knows a CPE by the text anywhere in the vendor class; options 43 and 125 stand in the parameter request list."""
    packet = encode_inform(
        address="192.0.2.7", mac=MAC, xid=7, requested=(43, 125), vendor_class=b"Box-2000 dslforum.org", others={}
    )
    assert bytes((60, 21)) + b"Box-2000 dslforum.org" in packet
    assert bytes((55, 2, 43, 125)) in packet
    assert wants_acs_url(option60=b"Box-2000 dslforum.org")
    assert not wants_acs_url(option60=b"MSFT 5.0")


@pytest.mark.case("D04")
def test_options_124_and_16_say_the_same_under_the_forums_enterprise():
    """Option 16's bytes are those that a real client sends; another enterprise's class means nothing."""
    assert encode_option16().hex() == "00000de9000c64736c666f72756d2e6f7267"
    assert wants_acs_url(option16=encode_option16())
    assert wants_acs_url(option124=b"\x00\x00\x00\x09\x01x" + encode_option124())
    assert not wants_acs_url(option124=b"\x00\x00\x00\x09\x0cdslforum.org")
    assert encode_option16() in encode_information_request(
        mac=MAC, xid=1, requested=(17,), vendor_class=encode_option16()
    )


@given(st.binary(max_size=60))
def test_any_vendor_class_is_read_or_says_no(data):
    """Clients send anything."""
    assert wants_acs_url(option60=data, option124=data, option16=data) in (True, False)


@pytest.mark.case("D05")
@pytest.mark.parametrize(
    ("asked", "url"), [((), "http://a/"), ((43, 125), "http://a/"), ((43,), "http://a/"), ((125,), "http://b/")]
)
def test_of_43_and_125_the_one_that_was_asked_for_counts(asked, url):
    """Asked for both or neither: 43. What the loser alone says is taken all the same."""
    found = prefer(Discovered(url="http://a/"), Discovered(url="http://b/", provisioning_code="gold"), asked)
    assert found is not None
    assert (found.url, found.provisioning_code) == (url, "gold")


def test_one_option_alone_counts():
    """Whatever was asked for."""
    assert prefer(None, Discovered(url="http://b/"), (43,)) == Discovered(url="http://b/")
    assert prefer(None, None) is None


@given(
    wait=st.none() | st.integers(1, 65535),
    multiplier=st.none() | st.integers(1000, 65535),
    code=st.none() | st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True),
)
def test_options_125_and_17_read_back_as_written(wait, multiplier, code):
    """Both directions of both tables agree."""
    facts = {
        "url": "https://acs.example.net:7547/",
        "provisioning_code": code,
        "retry_minimum_wait": wait,
        "retry_multiplier": multiplier,
    }
    assert decode_option125(encode_option125(**facts)) == Discovered(**facts)
    assert decode_option17(encode_option17(**facts)) == Discovered(**facts)


def test_what_does_not_fit_into_an_option_is_refused():
    """A DHCPv4 option holds 255 bytes, DHCPv6's more."""
    url = "http://a/" + "x" * 240
    with pytest.raises(ConfigError, match="at most 255"):
        encode_option125(url=url, provisioning_code="y" * 20)
    assert decode_option17(encode_option17(url=url, provisioning_code="y" * 20)).url == url
    with pytest.raises(ConfigError, match="absolute http"):
        encode_option17(url="acs.example.net")


@pytest.mark.parametrize("form", ["hp", "eltex"])
def test_vendors_forms_read_back_as_written(form):
    """URL, provisioning code, user name and password."""
    facts = {"url": "http://a:7547/", "provisioning_code": "isp", "username": "joe", "password": "pw"}
    found = decode_option43(encode_text_form(form, **facts))
    assert found == Discovered(**facts)


def test_the_bare_form_is_the_url_alone():
    """Nothing else fits into it, and what cannot be carried is refused."""
    assert encode_text_form("bare", url="http://a/") == b"http://a/"
    for wrong in ({"username": "joe"}, {"provisioning_code": "x"}):
        with pytest.raises(ConfigError, match="nothing else"):
            encode_text_form("bare", url="http://a/", **wrong)
    with pytest.raises(ConfigError, match="cannot carry"):
        encode_text_form("hp", url="http://a/", username="joe smith")
    with pytest.raises(ConfigError, match="user name"):
        encode_text_form("eltex", url="http://a/", password="pw")
    with pytest.raises(ConfigError, match="no form"):
        encode_text_form("acme", url="http://a/")


def test_iscs_hexadecimal_without_leading_zeros_is_read():
    """dhclient hands options over as `1:9:68`."""
    assert option_bytes("1:9:68:74") == b"\x01\x09ht"
    for wrong in ("1:123", "0x", "1:g", "١٢"):
        if wrong == "0x":
            assert option_bytes(wrong) == b""
            continue
        with pytest.raises(ConfigError, match="hexadecimal"):
            option_bytes(wrong)
