"""Lines for DHCP servers. That the real servers take them and send the option is tests/system's matter."""

import json
import re

import pytest

from homeport.cpe.discovery import Discovered, decode_option43, encode_option43, option_bytes
from homeport.cpe.server_lines import SERVERS, server_lines
from homeport.cpe.vendor_options import encode_option17, encode_option125
from homeport.errors import ConfigError

FACTS = Discovered(url="http://192.168.10.10:7547/", provisioning_code="special-code", retry_minimum_wait=5)
COMMON = {"url": FACTS.url, "provisioning_code": FACTS.provisioning_code, "retry_minimum_wait": 5}
DATA = {43: encode_option43(**COMMON), 125: encode_option125(**COMMON), 17: encode_option17(**COMMON)}  # type: ignore[arg-type]


def test_iscs_lines_are_those_of_dkts_document():
    """The option space tr069, put into option 43 by vendor-option-space."""
    lines = server_lines("isc-dhcpd", 43, DATA[43], FACTS).splitlines()
    assert 'option tr069.acs-server-url "http://192.168.10.10:7547/";' in lines
    assert 'option tr069.retry-min-wait "5";' in lines
    assert "vendor-option-space tr069;" in lines
    assert not any("multipl" in line for line in lines)
    assert any(line.startswith("authoritative;") for line in lines)


def test_quotes_in_a_value_do_not_leave_their_string():
    """A provisioning code may hold them."""
    facts = Discovered(provisioning_code='a"; shutdown "\\')
    line = server_lines("isc-dhcpd", 43, b"", facts).splitlines()[-1]
    assert line == 'option tr069.provisioning-code "a\\"; shutdown \\"\\\\";'


@pytest.mark.parametrize("option", [43, 125, 17])
def test_dnsmasq_gets_the_bytes(option):
    """One line, hexadecimal."""
    line = server_lines("dnsmasq", option, DATA[option], FACTS)
    name, _, value = line.strip().removeprefix("dhcp-option=").partition(",")
    assert name == {43: "43", 125: "125", 17: "option6:17"}[option]
    assert option_bytes(value) == DATA[option]


@pytest.mark.parametrize("option", [43, 125, 17])
def test_kea_gets_json(option):
    """Comments aside, a member of a subnet."""
    text = server_lines("kea", option, DATA[option], FACTS)
    rows = json.loads("{" + re.sub(r"(?m)^//.*$", "", text) + "}")["option-data"]
    assert rows[0]["code"] == option
    if option == 43:
        assert decode_option43(bytes.fromhex(rows[0]["data"])) == FACTS
    else:
        assert [bytes.fromhex(row["data"]) for row in rows[1:]] == [FACTS.url.encode(), b"special-code", b"5"]  # type: ignore[union-attr]
        assert all(row["always-send"] for row in rows[1:])


def test_vegas_codes_and_vendors_layouts_are_written_too():
    """Vega's codes 3 and 4 by name; a layout without sub-options as bytes."""
    vega = Discovered(url="http://a/", periodic_inform_enable=True, periodic_inform_interval=900)
    text = server_lines("isc-dhcpd", 43, b"", vega, form="vega")
    assert "option tr069.periodic-inform-enable code 3 = text;" in text
    assert 'option tr069.periodic-inform-interval "900";' in text
    bare = server_lines("isc-dhcpd", 43, b"http://a/", Discovered(url="http://a/"), form="bare")
    assert "option vendor-encapsulated-options 68:74:74:70" in bare


def test_another_server_is_refused():
    """The sentence names those that are known."""
    with pytest.raises(ConfigError, match=", ".join(SERVERS)):
        server_lines("windows", 43, DATA[43], FACTS)
