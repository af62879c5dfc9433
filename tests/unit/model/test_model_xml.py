"""The importer: Broadband Forum XML, files in parts, vendor extensions, and errors that say where and what to do."""

from pathlib import Path

import pytest

from homeport.errors import ConfigError, Fault
from homeport.model.schema import ActiveNotify, Schema, load_schema
from homeport.model.schema_xml import compile_schema, import_extension, import_model, list_models
from homeport.model.tables import UniqueKey, pack, unpack
from homeport.model.tree import DataModel
from homeport.model.types import Enumerated, Range, Reference
from homeport.terms import ValueType, Writer

HEAD = '<dm:document xmlns:dm="urn:broadband-forum-org:cwmp:datamodel-1-14" spec="urn:example:x" file="x.xml">'


SECRET = '<syntax hidden="true" secured="true" command="true">'
STEPS = (
    '<int><range minInclusive="-5" maxInclusive="-1" step="2"/><range minInclusive="7"/><units value="seconds"/></int>'
)
OCTET = '<!DOCTYPE x [<!ENTITY octet "([0-9]{1,3})">]>'
SHORT = '<dataType base="V4"><size maxLength="9"/></dataType>'
ROW = (
    '<object name="Device.Row.{i}." access="readWrite" minEntries="0" maxEntries="unbounded"'
    ' numEntriesParameter="RowNumberOfEntries" enableParameter="Enable">'
)


def write(folder: Path, name: str, body: str, doctype: str = "") -> Path:
    path = folder / name
    path.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n{doctype}{HEAD}\n{body}\n</dm:document>\n', encoding="utf-8"
    )
    return path


def imported(folder: Path, body: str, doctype: str = "") -> Schema:
    return import_model(write(folder, "model.xml", body, doctype))


def device(content: str) -> str:
    return f'<model name="Device:2.0"><object name="Device." access="readOnly" minEntries="1" maxEntries="1">{content}</object></model>'


def parameter(name: str, syntax: str, more: str = "") -> str:
    return f'<parameter name="{name}" {more}><syntax>{syntax}</syntax></parameter>'


def refusal(folder: Path, body: str) -> str:
    with pytest.raises(ConfigError) as caught:
        imported(folder, body)
    return str(caught.value)


def test_a_parameter_has_what_its_element_says(tmp_path: Path) -> None:
    """Type, access, notification, forced inform, version, hidden, facets, and three kinds of default."""
    schema = imported(
        tmp_path,
        device(
            parameter("Plain", "<string/>")
            + parameter(
                "Full",
                '<string><size maxLength="8"/><enumeration value="A"/><enumeration value="B" access="readOnly" optional="true"/>'
                '<enumeration value="C" status="deleted"/></string><default type="object" value="A"/><default type="factory" value="B"/>'
                '<default type="implementation" value="Z"/>',
                'access="readWrite" activeNotify="canDeny" forcedInform="true" version="2.4" status="deprecated"',
            )
            + parameter("Once", "<string/>", 'access="writeOnceReadOnly"')
            + parameter("Secret", "<string/>", 'access="readWrite"').replace("<syntax>", SECRET)
            + parameter("Gone", "<string/>", 'status="deleted"')
            + parameter("Number", STEPS)
            + parameter("Rate", '<decimal><range minInclusive="0.5"/></decimal>')
            + parameter("Octets", '<hexBinary><size minLength="2" maxLength="4"/></hexBinary>')
            + parameter("Many", '<list maxItems="3"><size maxLength="20"/></list><unsignedInt/><default type="object" value="[]"/>')
        ),
    )  # fmt: skip
    found = {p.name: p for p in schema.parameters()}
    assert "Gone" not in found
    full = found["Full"]
    assert full.writable and full.forced_inform and full.since == "2.4" and full.status == "deprecated"
    assert full.active_notify is ActiveNotify.CAN_DENY
    assert full.syntax.enumeration == (Enumerated("A"), Enumerated("B", True, True))
    assert (full.default_object, full.default_factory, full.default_implementation) == ("A", "B", None)
    assert not found["Once"].writable and found["Once"].write_once
    assert found["Secret"].hidden and found["Secret"].secured and found["Secret"].command
    assert found["Number"].syntax.ranges == (Range(-5, -1, 2), Range(7))
    assert found["Number"].syntax.units == "seconds"
    assert found["Rate"].syntax.ranges == (Range("0.5"),)
    assert found["Octets"].syntax.sizes == ((2, 4),)
    assert (
        found["Many"].syntax.is_list
        and found["Many"].syntax.list_items == (0, 3)
        and found["Many"].default_object == ""
    )
    assert not found["Plain"].writable


def test_a_hidden_boolean_of_an_older_model_is_a_button(tmp_path: Path) -> None:
    """Before the attribute `command` existed, Reset was a hidden boolean: it is never stored and reads as false."""
    schema = imported(
        tmp_path,
        device(parameter("Reset", "<boolean/>", 'access="readWrite"').replace("<syntax>", '<syntax hidden="true">')),
    )
    model = DataModel(schema)
    assert model.set_local("Device.Reset", "true", Writer.ACS) == 0
    assert model.value("Device.Reset") == "false"
    assert model.dump_state()["values"] == {}


def test_tables_have_their_keys_counts_and_kinds(tmp_path: Path) -> None:
    """minEntries = maxEntries is fixed; unbounded has no maximum; enableParameter and uniqueKey come along."""
    schema = imported(
        tmp_path,
        device(parameter("RowNumberOfEntries", "<unsignedInt/>")).replace(
            "</model>",
            f'{ROW}<uniqueKey functional="false"><parameter ref="Alias"/></uniqueKey><uniqueKey><parameter ref="A"/>'
            f'<parameter ref="B"/></uniqueKey>{parameter("Enable", "<boolean/>")}</object>'
            '<object name="Device.Fixed.{i}." minEntries="3" maxEntries="3"/>'
            '<object name="Device.Gone.{i}." status="deleted"/><object name="Device.Gone.{i}.Below."/></model>',
        ),
    )  # fmt: skip
    row, fixed = schema.object("Device.Row.{i}."), schema.object("Device.Fixed.{i}.")
    assert row is not None and fixed is not None
    assert (
        row.table
        and row.writable
        and row.maximum is None
        and row.count == "RowNumberOfEntries"
        and row.enable == "Enable"
    )
    assert row.keys == (UniqueKey(("Alias",), False), UniqueKey(("A", "B"), True))
    assert fixed.fixed and not fixed.writable
    assert schema.paths() == ("Device.", "Device.Row.{i}.", "Device.Fixed.{i}.")
    model = DataModel(schema)
    assert model.instances("Device.Fixed.") == [1, 2, 3]


def test_named_types_narrow_their_bases(tmp_path: Path) -> None:
    """Facets that are given replace; the others stay; entities of the file's own are expanded in patterns."""
    schema = imported(
        tmp_path,
        '<dataType name="Address"><string><size maxLength="45"/></string></dataType>'
        '<dataType name="V4" base="Address"><size maxLength="15"/><pattern value=""/><pattern value="(&octet;\\.){3}&octet;"/></dataType>'
        + device(
            parameter("A", '<dataType ref="Address"/>')
            + parameter("B", '<list/><dataType ref="V4"/>')
            + parameter("C", SHORT)
        ),
        OCTET,
    )
    found = {p.name: p for p in schema.parameters()}
    assert found["A"].syntax.named == "Address" and found["A"].syntax.sizes == ((0, 45),)
    assert found["B"].syntax.is_list and found["B"].syntax.sizes == ((0, 15),)
    assert found["B"].check("10.0.0.1, 10.0.0.2") == "10.0.0.1,10.0.0.2"
    assert found["C"].syntax.sizes == ((0, 9),)
    with pytest.raises(Fault):
        found["C"].check("10.0.0.1000")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (".IP.Interface.", "Device.IP.Interface."),
        ("Device.IP.Interface.", "Device.IP.Interface."),
        ("##.IP.Interface.", "Device.IP.Interface."),
        ("#.Other.{i}.Row.", "Device.Net.Other.{i}.Row."),
        ("Below.", "Device.Net.Row.{i}.Below."),
    ],
)
def test_relative_references_are_resolved(tmp_path: Path, written: str, meant: str) -> None:
    """From the root, up from the current object (a row and its table count as one), or down from it."""
    schema = imported(
        tmp_path,
        device("").replace(
            "</model>",
            '<object name="Device.Net."/><object name="Device.Net.Row.{i}.">'
            + parameter(
                "Ref", f'<string><pathRef refType="strong" targetType="row" targetParent="{written}"/></string>'
            )
            + "</object></model>",
        ),
    )
    found = schema.parameter("Device.Net.Row.{i}.Ref")
    assert found is not None
    assert found.syntax.reference == Reference(True, (meant,), "row")


def test_parts_are_put_together_from_the_newest_files_that_are_not_too_new(tmp_path: Path) -> None:
    """An import without a version means the newest file not newer than the importing release; components bring objects along."""
    for version, kind in (("2-17-0", "int"), ("2-18-0", "long"), ("2-20-0", "boolean")):
        part = f'<object name="Device.Part." version="2.5">{parameter("P", f"<{kind}/>")}</object>'
        write(tmp_path, f"tr-181-{version}-part.xml", f'<component name="Part">{part}</component>')
    write(
        tmp_path,
        "tr-181-2-19-0-base.xml",
        '<import file="tr-181-2-part.xml"><component name="Mine" ref="Part"/></import><component name="Name" virtual="true">'
        + parameter("Name", "<boolean/>")
        + '</component><component name="Base"><object name="Device.">'
        + '<component ref="Name"/></object><component ref="Mine" version="2.7"/></component>'
        + '<model name="Device:2.19"><component ref="Base"/></model>',
    )
    main = write(
        tmp_path,
        "tr-181-2-19-1-cwmp.xml",
        '<import file="tr-181-2-base.xml"><model name="_Device:2.19" ref="Device:2.19"/></import><import file="absent-biblio.xml"/>'
        + '<component name="Name">'
        + parameter("Name", "<string/>", 'access="readWrite"')
        + '</component><model name="Device:2.19" base="_Device:2.19"><object base="Device.Part."><parameter base="P" access="readWrite"/>'
        + parameter("Q", "<string/>")
        + "</object></model>",
    )
    schema = import_model(main)
    found = {p.path: p for p in schema.parameters()}
    assert found["Device.Name"].type == "string" and found["Device.Name"].writable  # the first that is not virtual
    assert found["Device.Part.P"].type == "long" and found["Device.Part.P"].writable
    assert found["Device.Part.P"].since == "2.7"
    assert "Device.Part.Q" in found


def test_a_delta_keeps_what_it_does_not_mention(tmp_path: Path) -> None:
    """Added enumerated values, a changed default, a deleted default."""
    schema = import_model(
        write(
            tmp_path,
            "delta.xml",
            '<model name="D:1"><object name="Device.">'
            + parameter("E", '<string><enumeration value="A"/></string><default type="object" value="A"/>', 'access="readWrite"')
            + '</object></model><model name="D:2" base="D:1"><object base="Device."><parameter base="E"><syntax><string>'
            + '<enumeration value="B"/></string><default type="object" value="B"/></syntax></parameter></object></model>',
        ),
        "D:2",
    )  # fmt: skip
    (found,) = schema.parameters()
    assert [e.value for e in found.syntax.enumeration] == ["A", "B"]
    assert found.default_object == "B" and found.writable
    assert list_models(tmp_path / "delta.xml") == ["D:1", "D:2"]


def test_a_vendor_extension_adds_to_a_shipped_model(tmp_path: Path) -> None:
    """A file whose base model is elsewhere imports on top of it: new objects, and new parameters of standard ones."""
    file = write(
        tmp_path,
        "vendor.xml",
        '<model name="X_EXAMPLE-COM_Device:1.0" base="Device:2.9"><object name="Device.X_EXAMPLE-COM_Led.{i}." access="readWrite"'
        ' minEntries="0" maxEntries="8">'
        + parameter("Colour", "<string/>", 'access="readWrite"')
        + '</object><object base="Device.DeviceInfo.">'
        + parameter("X_EXAMPLE-COM_Temperature", "<int/>")
        + "</object></model>",
    )
    schema = import_extension(file, load_schema("Device:2.9"))
    assert len(schema) == len(load_schema("Device:2.9")) + 1
    again = Schema.from_tables([unpack(pack(compile_schema(schema)))])
    model = DataModel(again)
    with model.transaction(Writer.ACS) as change:
        number = change.add_object("Device.X_EXAMPLE-COM_Led.")
        change.set(f"Device.X_EXAMPLE-COM_Led.{number}.Colour", "red")
        change.commit()
    assert model.value("Device.DeviceInfo.X_EXAMPLE-COM_Temperature") == "0"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (device(parameter("P", "<strin/>")), "model.xml:3: <strin>: is not a type"),
        (device(parameter("P", '<dataType ref="Nope"/>')), "dataType Nope is not known in model.xml"),
        (device(parameter("P", '<int><range minInclusive="x"/></int>')), "minInclusive='x' is not a number"),
        (device(parameter("P", '<string><size maxLength="big"/></string>')), "maxLength='big' is not a whole number"),
        (device(parameter("P", '<string><pattern value="("/></string>')), "is not a pattern"),
        (device(parameter("P", "<string/>", 'access="readMaybe"')), "access 'readMaybe' is unknown; use readOnly"),
        (device(parameter("P", "<string/>", 'activeNotify="often"')), "activeNotify 'often' is unknown"),
        (device('<parameter name="P"/>'), "<parameter P>: has no <syntax>; add one"),
        (device("<parameter name='P'><syntax/></parameter>"), "names no type"),
        (device('<parameter base="P"/>'), "changes Device.P, which does not exist"),
        (device('<component ref="C"/>'), "component C is not known"),
        (
            '<component name="C"><component ref="C"/></component><model name="D:1"><component ref="C"/></model>',
            "circle",
        ),
        ('<dataType name="A" base="A"/>' + device(parameter("P", '<dataType ref="A"/>')), "based on itself"),
        ('<model name="D:1"><object name="Device"/></model>', "ends with a dot"),
        ('<model name="D:1"><object name="Device."/><object name="Device.A.B."/></model>', "no object Device.A. above"),
        ('<import file="gone.xml"><component name="C"/></import>' + device('<component ref="C"/>'), "no such file"),
        ("<component name='C'/>", "defines no model"),
        ('<model name="D:1"/><model name="D:2"/>', "say which one, with --model"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_the_cure(tmp_path: Path, body: str, complaint: str) -> None:
    """File, line, element, fact; cure."""
    said = refusal(tmp_path, body)
    assert complaint in said
    assert said.startswith("model.xml:")
    assert ";" in said


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    """Missing, not XML, another XML, or a compiled model that is none."""
    with pytest.raises(ConfigError, match="cannot be read"):
        import_model(tmp_path / "absent.xml")
    (tmp_path / "a.xml").write_text("<a><b></a>")
    with pytest.raises(ConfigError, match=r"a\.xml:1: not well-formed"):
        import_model(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_text("<html/>")
    with pytest.raises(ConfigError, match="not a data model document"):
        import_model(tmp_path / "b.xml")
    with pytest.raises(ConfigError, match="homeport model import"):
        unpack(b"nonsense", origin="x.model")


@pytest.mark.case("X08")
def test_entities_from_outside_and_entities_that_explode_do_nothing(tmp_path: Path) -> None:
    """A model file may come from anybody: no file is read on its behalf, and it cannot fill the memory."""
    (tmp_path / "secret").write_text("boolean")
    body = device(parameter("P", '<string><pattern value="a"/></string>') + "&outside;")
    with pytest.raises(ConfigError):
        imported(tmp_path, body, f'<!DOCTYPE x [<!ENTITY outside SYSTEM "{tmp_path}/secret">]>\n')
    bombs = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20}">' for n in range(1, 12))
    with pytest.raises(ConfigError, match="not well-formed"):
        imported(tmp_path, device("&e11;"), f'<!DOCTYPE x [<!ENTITY e0 "boom">{bombs}]>\n')


def test_a_compiled_model_says_what_the_imported_one_said(tmp_path: Path) -> None:
    """Packing loses nothing: the same objects, parameters and profiles."""
    schema = imported(
        tmp_path,
        device(parameter("A", "<string/>") + parameter("B", '<int><range minInclusive="3"/></int>', 'version="2.1"'))
        .replace("</model>", '<object name="Device.T.{i}." access="readWrite"/><profile name="P:1" version="2.1"><object ref="Device." '
        'requirement="present"><parameter ref="A" requirement="readOnly"/></object></profile></model>'),
    )  # fmt: skip
    again = Schema.from_tables([unpack(pack(compile_schema(schema)))])
    assert again.name == schema.name == "Device:2.0"
    assert again.root == "Device."
    assert again.paths() == schema.paths()
    for path in schema.paths():
        one, other = schema.object(path), again.object(path)
        assert one is not None and other is not None
        assert (one.children, one.keys, one.minimum) == (other.children, other.keys, other.minimum)
        assert (one.maximum, one.writable, one.below) == (other.maximum, other.writable, other.below)
        assert [(p.path, p.syntax, p.writable, p.since, p.initial) for p in one.parameters] == [
            (p.path, p.syntax, p.writable, p.since, p.initial) for p in other.parameters
        ]
    assert again.profiles == schema.profiles
    assert again.profiles_with("Device.A") == ["P:1"]
    assert schema.parameter("Device.B").syntax.base is ValueType.INT  # type: ignore[union-attr]
