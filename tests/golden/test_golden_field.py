"""Envelopes as the field sends them (each stands for a row of the list of interoperability quirks), and what they mean.

The expectations are written by hand from the envelope's text, not taken from the decoder.
"""

from pathlib import Path

import pytest

from homeport.codec import messages as m
from homeport.codec.envelope import decode
from homeport.codec.quirks import Quirk as Q

FOLDER = Path(__file__).parent / "field"
V = m.ParameterValueStruct
V10 = "urn:dslforum-org:cwmp-1-0"


def values(*rows):
    return m.GetParameterValuesResponse(tuple(V(*row) for row in rows))


def inform(manufacturer, product_class, serial, events, time, retry=0, parameters=()):
    return m.Inform(
        m.DeviceIdStruct(manufacturer, "00D0B1", product_class, serial),
        tuple(m.EventStruct(e) for e in events),
        time,
        retry,
        tuple(V(*p) for p in parameters),
    )


SSID = "Device.WiFi.SSID.1.SSID"
A1 = values(("Device.A", "1"))

FIELD = {
    "other-prefixes": (
        inform(
            "Easy Box",
            "EB1",
            "E-7",
            ["2 PERIODIC"],
            "2026-11-21T03:08:27",
            0,
            [("Device.DeviceInfo.UpTime", "55", "unsignedInt")],
        ),
        "inform",
        V10,
        {Q.LOCAL_TIME},
    ),
    "schema-of-1999": (
        inform(
            "Netgear-like",
            "N",
            "N-1",
            ["1 BOOT", "4 VALUE CHANGE"],
            "0001-01-01T00:00:00Z",
            0,
            [("InternetGatewayDevice.DeviceSummary", "IGD:1.0[](Baseline:1)")],
        ),
        "1234",
        V10,
        {Q.OLD_SCHEMA_NAMESPACE, Q.ZERO_PADDED_COUNT},
    ),
    "no-event-no-id": (
        inform("Mikro", "", "M-1", [], "2026-03-01T10:00:00+00:00", 3),
        None,
        "urn:dslforum-org:cwmp-1-2",
        {Q.NO_EVENT},
    ),
    "count-lies": (values(("Device.A", "1"), ("Device.B", "2")), "7", V10, {Q.WRONG_COUNT}),
    "count-absent": (A1, "7", V10, {Q.MISSING_ARRAY_TYPE}),
    "count-empty": (A1, "7", V10, {Q.MISSING_ARRAY_TYPE}),
    "object-row": (values(("InternetGatewayDevice.DeviceInfo.", "", "")), "7", V10, {Q.OBJECT_ROW, Q.UNKNOWN_TYPE}),
    "empty-answer": (values(), "7", V10, set()),
    "value-absent": (values(("Device.A", "", ""), ("Device.B", "")), "7", V10, {Q.MISSING_VALUE}),
    "control-characters": (values((SSID, "Kitchen"), ("Device.B", "xy")), "7", V10, {Q.CONTROL_CHARACTERS}),
    "latin-1-as-utf-8": (values((SSID, "Café Zürich")), "7", V10, {Q.WRONG_ENCODING}),
    "windows-1252-as-utf-8": (values((SSID, "Anna’s – 5 €")), "7", V10, {Q.WRONG_ENCODING}),
    "windows-1252-declared": (values((SSID, "Anna’s – 5 €")), "7", V10, {Q.OTHER_ENCODING}),
    "latin-1-declared": (values((SSID, "Café Zürich")), "7", V10, {Q.OTHER_ENCODING}),
    "utf-16-with-mark": (values((SSID, "Žluťoučký")), "7", V10, {Q.OTHER_ENCODING}),
    "utf-16-without-mark": (values((SSID, "Žluťoučký")), "7", V10, {Q.OTHER_ENCODING}),
    "byte-order-mark": (values((SSID, "Žluťoučký")), "7", V10, {Q.BYTE_ORDER_MARK}),
    "space-before-prolog": (A1, "7", V10, {Q.SPACE_BEFORE_PROLOG}),
    "trailing-nuls": (A1, "7", V10, {Q.TRAILING_NULS}),
    "types": (
        values(
            ("Device.A", "1", ""),
            ("Device.B", "2", ""),
            ("Device.C", "3", ""),
            ("Device.D", "true", "boolean"),
            ("Device.E", "QQ==", "base64Binary"),
            ("Device.F", "4", "int"),
        ),
        "7",
        V10,
        {Q.UNKNOWN_TYPE, Q.MISSING_TYPE, Q.TYPE_CASE, Q.OLD_BASE64, Q.OLD_SCHEMA_NAMESPACE},
    ),
    "namespace-unknown": (A1, "7", "urn:dslforum-org:cwmp-2-9", {Q.UNKNOWN_CWMP_NAMESPACE}),
    "namespace-1-4": (A1, "7", "urn:dslforum-org:cwmp-1-4", set()),
    "namespace-missing": (m.RebootResponse(), None, V10, {Q.BODY_MISSING_NAMESPACE}),
    "namespaces-differ": (m.RebootResponse(), "1", "urn:dslforum-org:cwmp-1-2", {Q.MIXED_CWMP_NAMESPACES}),
    "prefix-undeclared": (
        values(("Device.A", "5", "int")),
        None,
        V10,
        {Q.UNDECLARED_PREFIX, Q.MISSING_ARRAY_TYPE, Q.OLD_SCHEMA_NAMESPACE},
    ),
    "default-namespace": (
        m.GetParameterNamesResponse((m.ParameterInfoStruct("Device.", False),)),
        "SAGEM_ID_7589",
        V10,
        {Q.QUALIFIED_ARGUMENT, Q.MISSING_ARRAY_TYPE},
    ),
    "soap-1-2-namespace": (m.FactoryResetResponse(), None, V10, {Q.ENVELOPE_NAMESPACE}),
    "fault-without-prefix": (m.FaultMessage(9005, "no such name", (), "Client"), "7", V10, set()),
    "fault-detail-without-namespace": (
        m.FaultMessage(9005, "", (), "Client"),
        "7",
        V10,
        {Q.BARE_FAULT_DETAIL, Q.SPACE_AROUND_TEXT},
    ),
    "fault-detail-bare": (m.FaultMessage(9002, "oops", (), "Server"), "7", V10, {Q.BARE_FAULT_DETAIL}),
    "fault-code-odd": (m.FaultMessage(9003, "", (), "Client"), "7", V10, {Q.FAULT_CODE_FORM}),
    "fault-code-unknown": (m.FaultMessage(9003, "", (), "Server"), "7", V10, {Q.FAULT_CODE_SIDE}),
    "fault-parts": (
        m.FaultMessage(9003, "Invalid arguments", (m.SetParameterValuesFault("Device.A", 9007, ""),), "Client"),
        "7",
        V10,
        set(),
    ),
    "comments-cdata-pi": (values(("Device.A", "a<b&d")), "7", V10, {Q.COMMENT, Q.CDATA, Q.PROCESSING_INSTRUCTION}),
    "extra-and-shuffled": (
        inform("", "", "S", ["1 BOOT"], "", 4),
        "7",
        V10,
        {
            Q.UNKNOWN_ELEMENT,
            Q.ELEMENT_ORDER,
            Q.QUALIFIED_ARGUMENT,
            Q.MISSING_ELEMENT,
            Q.MISSING_ARRAY_TYPE,
            Q.ARRAY_ITEM_NAME,
            Q.NUMBER_FORM,
        },
    ),
    "old-headers": (
        m.InformResponse(1),
        "7",
        V10,
        {Q.NO_MORE_REQUESTS, Q.UNKNOWN_HEADER, Q.BAD_HEADER_VALUE, Q.MISSING_ELEMENT},
    ),
    "booleans-and-space": (m.GetParameterNames("Device.", True), "7", V10, {Q.SPACE_AROUND_TEXT, Q.ODD_BOOLEAN}),
    "empty-number": (m.SetParameterValuesResponse(0), "7", V10, {Q.EMPTY_NUMBER}),
    "status-absent": (m.SetParameterValuesResponse(0), "7", V10, {Q.MISSING_ELEMENT}),
    "names-empty-path": (m.GetParameterNames("", True), "7", V10, set()),
    "vendor-method": (
        m.VendorMessage(
            "X_00D0B1_Blink",
            V10,
            '<cwmp:X_00D0B1_Blink xmlns:cwmp="urn:dslforum-org:cwmp-1-0" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
            ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Count xsi:type="xsd:int">3</Count></cwmp:X_00D0B1_Blink>',
        ),
        "7",
        V10,
        set(),
    ),
    "long-list-crlf": (
        values(*[(f"Device.Hosts.Host.{i}.HostName", f"h{i} & co") for i in range(1, 9)]),
        "7",
        V10,
        {Q.ZERO_PADDED_COUNT},
    ),
}


@pytest.mark.parametrize("name", FIELD)
def test_what_the_field_sends_is_understood_and_named(name):
    """The message, the ID, the namespace to answer in, and the names of what was tolerated."""
    message, cwmp_id, urn, quirks = FIELD[name]
    body = (FOLDER / f"{name}.xml").read_bytes()
    for _ in range(3):  # The second time its markup is remembered, the third time used.
        envelope = decode(body)
        assert envelope.body == message
        assert (envelope.id, envelope.urn) == (cwmp_id, urn)
        assert set(envelope.quirks) == quirks


def test_every_field_envelope_has_its_meaning_here():
    """A file that no test reads would prove nothing."""
    assert {path.stem for path in FOLDER.glob("*.xml")} == set(FIELD)


def test_header_elements_of_old_stacks_are_read():
    """HoldRequests in any case and NoMoreRequests of 2004; a SessionTimeout that is no number is only advice."""
    envelope = decode((FOLDER / "old-headers.xml").read_bytes())
    assert (envelope.hold_requests, envelope.no_more_requests, envelope.session_timeout) == (True, True, None)
