"""The standard's words."""

import itertools
import re

import pytest

from homeport.errors import Fault
from homeport.terms import CwmpVersion, EventCode, FaultCode, Role


@pytest.mark.parametrize(
    ("version", "urn"),
    [("1.0", "cwmp-1-0"), ("1.1", "cwmp-1-1"), ("1.2", "cwmp-1-2"), ("1.3", "cwmp-1-2"), ("1.4", "cwmp-1-2")],
)
def test_versions_after_1_2_share_its_namespace(version, urn):
    """cwmp-1-3.xsd and cwmp-1-4.xsd keep the target namespace of 1.2."""
    found = CwmpVersion.from_text(version)
    assert found is not None
    assert found.urn == f"urn:dslforum-org:{urn}"


def test_the_wild_namespaces_of_1_3_and_1_4_are_understood():
    """They are in no XSD, but devices send them."""
    assert CwmpVersion.from_urn("urn:dslforum-org:cwmp-1-4") is CwmpVersion.V1_4
    assert CwmpVersion.from_urn("urn:example") is None


def test_versions_compare_in_order():
    """1.0 < 1.1 < ... < 1.4."""
    ordered = list(CwmpVersion)
    assert all(a < b and b > a and a <= b and b >= a for a, b in itertools.pairwise(ordered))


def test_every_fault_code_has_a_text_and_a_side():
    """A fault always says something, and is the caller's or the receiver's mistake."""
    assert all(code.text and code.side in {"Client", "Server"} for code in FaultCode)
    assert FaultCode.INVALID_PARAMETER_NAME.side == "Client"
    assert FaultCode.METHOD_NOT_SUPPORTED.side == "Server"
    assert Fault(FaultCode.REQUEST_DENIED).text == FaultCode.REQUEST_DENIED.text


def test_every_event_code_fits_the_pattern_of_the_xsd():
    """EventStruct: a number and words, or M and a word; at most 64 characters."""
    assert all(re.fullmatch(r"\d+( \S+)+|M \S+", code) and len(code) <= 64 for code in EventCode)


def test_roles_are_each_others_peer():
    """A session has two ends."""
    assert Role.ACS.peer is Role.CPE
    assert Role.CPE.peer is Role.ACS
