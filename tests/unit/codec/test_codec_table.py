"""The table: every method once, with its classes, callers and versions."""

import pytest

from homeport.codec import messages as m
from homeport.codec.fields import snake
from homeport.codec.quirks import Quirk
from homeport.codec.rpc_table import CLASSES, FIELDS, RPCS, entry_of, response_class
from homeport.codec.struct_table import STRUCTS
from homeport.terms import CwmpVersion, Role, RpcName


def test_the_table_has_every_method_of_the_standard():
    """27 methods, each under its own name, each response named after its request."""
    assert set(RPCS) == {str(name) for name in RpcName}
    for name, row in RPCS.items():
        assert row.request.element == name
        assert row.response.element == f"{name}Response"


@pytest.mark.parametrize("cls", [*FIELDS, *STRUCTS], ids=lambda cls: cls.__name__)
def test_every_field_of_every_class_is_in_the_table(cls):
    """No attribute is left out of the wire, and no element without an attribute (the type of a Value is an XML attribute)."""
    attributes = {f.attribute for f in (FIELDS.get(cls) or STRUCTS.get(cls) or ())}
    assert attributes == set(cls.__struct_fields__) - ({"type"} if cls is m.ParameterValueStruct else set())


def test_callers_and_versions():
    """Who may call, since which version (cwmp-1-1.xsd, cwmp-1-2.xsd)."""
    assert RPCS["GetRPCMethods"].callers == {Role.ACS, Role.CPE}
    assert RPCS["Inform"].callers == {Role.CPE}
    assert RPCS["Download"].callers == {Role.ACS}
    later = {name: row.since for name, row in RPCS.items() if row.since > CwmpVersion.V1_0}
    assert later == {
        "GetAllQueuedTransfers": CwmpVersion.V1_1,
        "AutonomousTransferComplete": CwmpVersion.V1_1,
        "ScheduleDownload": CwmpVersion.V1_2,
        "CancelTransfer": CwmpVersion.V1_2,
        "ChangeDUState": CwmpVersion.V1_2,
        "DUStateChangeComplete": CwmpVersion.V1_2,
        "AutonomousDUStateChangeComplete": CwmpVersion.V1_2,
    }


def test_a_message_finds_its_row_and_its_answer():
    """entry_of takes messages and classes; only a request has a response class."""
    assert entry_of(m.Reboot()) is RPCS["Reboot"]
    assert entry_of(m.RebootResponse) is RPCS["Reboot"]
    assert entry_of(m.FaultMessage(9000)) is None
    assert response_class(m.Reboot()) is m.RebootResponse
    assert response_class(m.RebootResponse()) is None
    assert response_class(m.VendorMessage("X_A")) is None
    assert CLASSES["InformResponse"] is m.InformResponse


@pytest.mark.parametrize(
    ("element", "attribute"),
    [
        ("OUI", "oui"),
        ("AnnounceURL", "announce_url"),
        ("VoucherSN", "voucher_sn"),
        ("CommandKey", "command_key"),
        ("UUID", "uuid"),
    ],
)
def test_attributes_are_the_elements_in_snake_case(element, attribute):
    """The standard's own words (style.md)."""
    assert snake(element) == attribute


def test_every_quirk_says_what_it_is():
    """A device page shows the sentence."""
    for quirk in Quirk:
        assert quirk.doc.endswith(".")
        assert str(quirk) == quirk.value == quirk.name.lower().replace("_", "-")
