"""`homeport model`: what a person sees of models, and how a device's dump is judged."""

import json
from pathlib import Path

import pytest

from homeport.cli.main import run
from homeport.errors import ConfigError
from homeport.model.checking import DumpRow, FindingKind, check_dump, diff_schemas, read_dump
from homeport.model.profile import load_profile
from homeport.model.schema import load_schema
from homeport.model.tree import DataModel

VENDOR = """<?xml version="1.0"?>
<dm:document xmlns:dm="urn:broadband-forum-org:cwmp:datamodel-1-14" spec="urn:x" file="v.xml">
<model name="Mine:1.0" base="Device:2.9"><object name="Device.X_EXAMPLE-COM_Led." access="readOnly" minEntries="1" maxEntries="1">
<parameter name="On" access="readWrite"><syntax><boolean/></syntax></parameter></object></model></dm:document>
"""


def homeport(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = run(["model", *args])
    out = capsys.readouterr()
    return code, out.out, out.err


def dump(tmp_path: Path) -> Path:
    """The DKT device's own values, as an ACS would save them."""
    model = DataModel(load_profile("dkt-797xx"))
    writable = {n.name: n.writable for n in model.names("", False)}
    lines = ["name,value,type,writable"]
    lines += [f'{v.name},"{v.value}",xsd:{v.type},{int(writable[v.name])}' for v in model.get("")]
    file = tmp_path / "device.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_list_names_models_and_device_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    """As a table, and as JSON with the counts."""
    code, out, _ = homeport(capsys, "list")
    assert code == 0
    assert "Device:2.19\tmodel\t860\t7210\t439" in out
    assert "dkt-797xx" in out
    code, out, _ = homeport(capsys, "list", "--json")
    assert {"dkt-797xx", "module-host"} <= {d["name"] for d in json.loads(out)["device_profiles"]}


def test_show_says_what_a_parameter_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Type, access, facets, since, profiles; numbers in the path are as good as {i}."""
    code, out, _ = homeport(capsys, "show", "Device.NAT.PortMapping.3.Protocol", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["path"] == "Device.NAT.PortMapping.{i}.Protocol"
    assert facts["access"] == "readWrite"
    assert facts["facets"] == ["one of TCP, UDP"]
    assert "NAT:1" in facts["profiles"]
    code, out, _ = homeport(capsys, "show", "InternetGatewayDevice.DeviceInfo.SpecVersion")
    assert code == 0
    assert "in every Inform" in out


def test_show_says_what_an_object_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """Its kind, keys, parameters and objects."""
    code, out, _ = homeport(capsys, "show", "Device.NAT.")
    assert code == 0
    assert "PortMapping.{i}.\ttable readWrite 0.." in out
    code, out, _ = homeport(capsys, "show", "Device.NAT.PortMapping", "--json")
    assert json.loads(out)["keys"] == ["Alias (not functional)", "RemoteHost, ExternalPort, Protocol"]


def test_show_of_a_wrong_name_says_what_may_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    """The same last name elsewhere in the model."""
    code, _, err = homeport(capsys, "show", "Device.Uptime")
    assert code == 1
    assert "did you mean Device.DeviceInfo.UpTime" in err
    code, _, err = homeport(capsys, "show", "Device.Zzz")
    assert "homeport model show Device." in err


def test_import_compiles_a_vendors_extension(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """And the result can be shown and compared."""
    (tmp_path / "v.xml").write_text(VENDOR, encoding="utf-8")
    made = tmp_path / "mine.model"
    code, out, err = homeport(
        capsys, "import", str(tmp_path / "v.xml"), "--on", "Device:2.9", "--with", "StorageService:1.3", "-o", str(made)
    )
    assert code == 0, err
    assert "Mine:1.0: 459 objects" in out
    code, out, _ = homeport(capsys, "show", "Device.X_EXAMPLE-COM_Led.On", "--model", str(made))
    assert code == 0
    assert "boolean" in out
    code, out, err = homeport(capsys, "diff", "Device:2.9", str(made))
    assert "added\tDevice.X_EXAMPLE-COM_Led.On\tboolean readWrite" in out
    assert "0 removed" in err
    code, _, err = homeport(capsys, "import", str(tmp_path / "absent.xml"), "-o", str(made))
    assert code != 0
    assert "cannot be read" in err


def test_diff_is_empty_for_the_same_model_and_json_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing added, removed or changed; Device:2.2 lacks what came later."""
    assert diff_schemas(load_schema("Device:2.9"), load_schema("Device:2.9")) == []
    code, out, _ = homeport(capsys, "diff", "Device:2.2", "Device:2.9", "--json")
    assert code == 0
    rows = json.loads(out)
    assert {"change": "added", "path": "Device.RootDataModelVersion", "before": "", "after": rows[0]["after"]} in rows
    assert {r["change"] for r in rows} == {"added", "changed"}


def test_a_device_that_keeps_to_its_profile_passes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its own dump against its own profile."""
    code, out, err = homeport(capsys, "check", str(dump(tmp_path)), "--profile", "dkt-797xx")
    assert code == 0, out
    assert "175 names, 0 wrong" in err


def test_what_is_wrong_with_a_dump_is_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Missing, unknown, vendor, type, writability and value, as JSON, text and a page; the exit code says so."""
    file = dump(tmp_path)
    text = file.read_text(encoding="utf-8")
    lines = [
        line
        for line in text.splitlines()
        if not line.startswith(("Device.DeviceInfo.UpTime", "Device.Ethernet.Link.2.Name,"))
    ]
    text = "\n".join(lines).replace('Interface.1.MaxBitRate,"-1",xsd:int,1', 'Interface.1.MaxBitRate,"-7",xsd:int,0')
    text = text.replace('UpgradesManaged,"true",xsd:boolean', 'UpgradesManaged,"yes",xsd:boolean')
    text = text.replace('PeriodicInformInterval,"3600",xsd:unsignedInt', 'PeriodicInformInterval,"3600",xsd:string')
    text += "\nDevice.Nope,1,xsd:int,1\nDevice.X_EXAMPLE-COM_Led.On,1,xsd:boolean,1\nnot a path,1,xsd:int,0\n"
    file.write_text(text, encoding="utf-8")
    page = tmp_path / "report.html"
    code, out, _ = homeport(capsys, "check", str(file), "--profile", "dkt-797xx", "--json", "--html", str(page))
    found = {(f["kind"], f["path"]) for f in json.loads(out)["findings"]}
    assert code == 1
    assert found == {
        ("writable", "Device.Ethernet.Interface.1.MaxBitRate"),
        ("value", "Device.Ethernet.Interface.1.MaxBitRate"),
        ("type", "Device.ManagementServer.UpgradesManaged"),
        ("type", "Device.ManagementServer.PeriodicInformInterval"),
        ("unknown", "Device.Nope"),
        ("unknown", "not a path"),
        ("vendor", "Device.X_EXAMPLE-COM_Led.On"),
        ("missing", "Device.DeviceInfo.UpTime"),
        ("missing", "Device.Ethernet.Link.2.Name"),
    }
    html = page.read_text(encoding="utf-8")
    assert "Device.Nope" in html
    assert "http" not in html.replace("xmlns", "")
    code, out, _ = homeport(capsys, "check", str(file), "--profile", "dkt-797xx")
    assert code == 1
    assert "missing\tDevice.DeviceInfo.UpTime\tthe profile asks for it" in out


def test_a_profile_of_the_standard_asks_for_access() -> None:
    """Baseline:4 wants ProvisioningCode writable; tables without rows lack nothing."""
    schema = load_schema("Device:2.19")
    rows = [DumpRow("Device.DeviceInfo.ProvisioningCode", "", "string", False)]
    found = check_dump(rows, schema, profiles=["Baseline:4"])
    assert (FindingKind.WRITABLE, "Device.DeviceInfo.ProvisioningCode") in {(f.kind, f.path) for f in found}
    assert FindingKind.MISSING in {f.kind for f in found}
    assert not [f for f in found if "{i}" in f.path]
    with pytest.raises(ConfigError, match="has no profile Nope:1"):
        check_dump(rows, schema, profiles=["Nope:1"])


@pytest.mark.parametrize(
    "text",
    [
        "path;value;access\nDevice.A;1;readWrite\n",
        "Name\tValue\tWritable\nDevice.A\t1\ttrue\n",
        '[{"path": "Device.A", "value": 1, "writable": true}]',
        '{"items": [{"name": "Device.A", "value": "1", "writable": true, "updated": 5}], "next": null}',
    ],
)
def test_a_dump_may_be_csv_or_json(text: str) -> None:
    """Commas, semicolons or tabs; lists, REST answers."""
    assert read_dump(text, origin="x") == [DumpRow("Device.A", "1", None, True)]


def test_a_plain_json_object_is_names_and_values() -> None:
    """Booleans get their wire text."""
    assert read_dump('{"Device.A": true, "Device.B": null}', origin="x") == [
        DumpRow("Device.A", "true"),
        DumpRow("Device.B"),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a,b\n1,2\n", "must name the columns"),
        ("[1]", "expected an object"),
        ("[{]", "not JSON"),
        ('[{"value": 1}]', "has no name"),
    ],
)
def test_a_dump_that_cannot_be_read_is_said(text: str, complaint: str) -> None:
    """With what was expected."""
    with pytest.raises(ConfigError, match=complaint):
        read_dump(text, origin="x")
