"""What an Inform means to the ACS, and what answers teach it about a device."""

from typing import Any

import pytest

from homeport.acs.engine import effects, inform
from homeport.acs.records import (
    NOTHING_TOLD,
    DeviceRecord,
    DeviceState,
    StoredValue,
    Told,
    Want,
    device_id,
)
from homeport.codec import messages as m

POLICY = inform.Policy((Want.DISCOVER,), DeviceState.APPROVED)


def an_inform(*events: str, **parameters: str) -> m.Inform:
    return m.Inform(
        device_id=m.DeviceIdStruct("Example", "00D0F1", "X", "S1"),
        event=tuple(m.EventStruct(e) for e in events),
        current_time="2026-11-21T06:00:00Z",
        parameter_list=tuple(m.ParameterValueStruct("Device." + n.replace("_", "."), v) for n, v in parameters.items()),
    )


def assess(message: m.Inform, known: DeviceRecord | None = None, reported: Any = None) -> inform.Assessment:
    return inform.assess(
        known, Told.of(reported or {}), message, urn="u", address="192.0.2.1", now=1000.0, policy=POLICY
    )


KNOWN = DeviceRecord(
    id="00D0F1-X-S1", oui="00D0F1", product_class="X", serial_number="S1", urn="u", address="192.0.2.1", root="Device."
)


# --- identity and Inform ---


@pytest.mark.parametrize(
    ("parts", "id"),
    [
        (("00D0F1", "XR500", "S1"), "00D0F1-XR500-S1"),
        (("00D0F1", "", "S1"), "00D0F1-S1"),
        (("00D0F1", "A-B", "S 1"), "00D0F1-A%2DB-S%201"),
        (("00D0F1", "Ünit/1", "S.1_x"), "00D0F1-%C3%9Cnit%2F1-S.1_x"),
    ],
)
def test_a_device_s_id_keeps_its_parts_apart(parts: tuple[str, str, str], id: str) -> None:
    """Two devices never share an id, whatever their names hold."""
    assert device_id(*parts) == id


def test_a_periodic_inform_of_a_known_device_needs_nothing_durable() -> None:
    """It tells nothing that the next one will not tell again."""
    found = assess(an_inform("2 PERIODIC", DeviceInfo_UpTime="5"), KNOWN)
    assert (found.durable, found.fields) == (False, {"last_inform": 1000.0})
    assert found.changed["Device.DeviceInfo.UpTime"].value == "5"


@pytest.mark.parametrize("event", ["0 BOOTSTRAP", "1 BOOT", "4 VALUE CHANGE", "7 TRANSFER COMPLETE", "M Reboot", "X v"])
def test_every_event_that_a_device_forgets_is_durable(event: str) -> None:
    """Row before reply: after the InformResponse nobody else knows of it."""
    assert assess(an_inform("2 PERIODIC", event), KNOWN).durable


def test_only_what_changed_is_kept() -> None:
    """Values that are known already are not written again."""
    reported = {"Device.DeviceInfo.UpTime": "5", "Device.DeviceInfo.SoftwareVersion": "1.0"}
    message = an_inform("2 PERIODIC", DeviceInfo_UpTime="6", DeviceInfo_SoftwareVersion="1.0")
    assert list(assess(message, KNOWN, reported).changed) == ["Device.DeviceInfo.UpTime"]


def test_a_new_device_is_described_by_its_first_inform() -> None:
    """Identity, root and promoted parameters; its model is its ProductClass until it tells a ModelName."""
    found = assess(
        an_inform("0 BOOTSTRAP", DeviceInfo_SoftwareVersion="2", ManagementServer_ConnectionRequestURL="http://x")
    )
    assert found.new is not None
    assert (found.new.id, found.new.model, found.new.software_version) == ("00D0F1-X-S1", "X", "2")
    assert (found.new.root, found.new.connection_request_url) == ("Device.", "http://x")
    assert (found.new.wants, found.reset) == ((Want.DISCOVER,), True)


def test_passwords_in_an_inform_are_not_kept() -> None:
    """A secret that a device reports is stored as an empty text."""
    found = assess(an_inform("1 BOOT", ManagementServer_ConnectionRequestPassword="hunter2"), KNOWN)
    assert found.changed["Device.ManagementServer.ConnectionRequestPassword"].value == ""


# --- what answers teach ---


def test_a_whole_list_of_names_also_tells_what_is_gone() -> None:
    """Only an answer to NextLevel=false of an object is complete, and only where it names anything."""
    rows = (m.ParameterInfoStruct("Device.A.", True), m.ParameterInfoStruct("Device.A.x", False))
    answer = m.GetParameterNamesResponse(rows)
    whole = effects.learnt(m.GetParameterNames("Device.A.", False), answer, 1.0)
    assert whole.complete == "Device.A."
    assert whole.changed["Device.A."].type == "object"
    level = effects.learnt(m.GetParameterNames("Device.A.", True), answer, 1.0)
    assert level.complete is None
    known = ["Device.A.", "Device.A.1.", "Device.A.1.y", "Device.A.1.z", "Device.A.b", "Device.A.x"]
    assert level.gone(known) == ("Device.A.1.", "Device.A.b")
    assert whole.gone(known) == ("Device.A.1.", "Device.A.1.y", "Device.A.1.z", "Device.A.b")
    empty = effects.learnt(m.GetParameterNames("Device.A.", False), m.GetParameterNamesResponse(()), 1.0)
    assert empty.complete is None


def test_a_value_whose_type_nobody_gave_is_kept_as_a_string() -> None:
    """Devices leave xsi:type out, or write a type of their own; what the ACS stores always has a type."""
    rows = (m.ParameterValueStruct("Device.A", "1", ""),)
    set_one = effects.learnt(m.SetParameterValues(rows), m.SetParameterValuesResponse(), 1.0).changed
    told = effects.learnt(m.GetParameterValues(("Device.A",)), m.GetParameterValuesResponse(rows), 1.0).changed
    informed = inform.assess(
        None,
        NOTHING_TOLD,
        m.Inform(m.DeviceIdStruct("E", "0A1B2C", "", "S"), (), "", 0, rows),
        urn="urn:dslforum-org:cwmp-1-0",
        address="",
        now=1.0,
        policy=POLICY,
    ).changed
    assert {known["Device.A"].type for known in (set_one, told, informed)} == {"string"}


def test_what_was_set_and_made_and_deleted_is_known() -> None:
    """The store follows the device's tree without asking again; secrets stay out."""
    rows = (
        m.ParameterValueStruct("Device.A", "1", "int"),
        m.ParameterValueStruct("Device.WiFi.KeyPassphrase", "secret"),
    )
    known = effects.learnt(m.SetParameterValues(rows), m.SetParameterValuesResponse(), 1.0).changed
    assert known["Device.A"] == StoredValue("1", "int", True, 1.0)
    assert known["Device.WiFi.KeyPassphrase"].value == ""
    made = effects.learnt(m.AddObject("Device.T.[new]."), m.AddObjectResponse(4), 1.0)
    assert list(made.changed) == ["Device.T.4."]
    assert effects.learnt(m.DeleteObject("Device.T.4."), m.DeleteObjectResponse(), 1.0).removed == ("Device.T.4.",)
