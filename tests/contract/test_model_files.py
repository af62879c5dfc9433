"""Every published model file that is at hand imports, with the counts that were counted in it by other means."""

from pathlib import Path

import pytest

from homeport.errors import ConfigError
from homeport.model.schema import Schema, load_schema
from homeport.model.schema_xml import compile_schema, import_model, list_models
from homeport.model.tables import pack, unpack

FOLDER = Path(__file__).parents[3] / "shared" / "data-models"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the Broadband Forum's files are not in {FOLDER}")

# file, model: objects, parameters, writable parameters, tables, writable tables, profiles; then how many of each are deleted there.
COUNTS = {
    ("tr-181-2-19-1-cwmp.xml", "Device:2.19"): (860, 7210, None, 439, 191, None),
    ("tr-181-2-17-0-cwmp-full.xml", "Device:2.17"): (790, 6483, 2139, 400, 177, 235),
    ("tr-181-2-9-0-full.xml", "Device:2.9"): (439, 3605, 1352, 211, 95, 160),
    ("tr-181-2-2-0-full.xml", "Device:2.2"): (254, 2125, 828, 116, 57, 103),
    ("tr-181-1-7-0-full.xml", "Device:1.14"): (120, 848, 338, 47, 15, 66),
    ("tr-098-1-8-0-full.xml", "InternetGatewayDevice:1.14"): (192, 1801, 756, 91, 39, 92),
    ("tr-106-1-2-0-full.xml", "Device:1.2"): (19, 156, 83, 2, 1, 13),
    ("tr-104-1-1-0-full.xml", "VoiceService:1.1"): (43, 349, 222, 18, 9, 5),
    ("tr-104-2-0-2-cwmp-full.xml", "VoiceService:2.0"): (113, 848, 514, 56, 40, 21),
    ("tr-135-1-4-1-cwmp-full.xml", "STBService:1.4"): (99, 518, 123, 32, 0, 36),
    ("tr-140-1-3-1-cwmp-full.xml", "StorageService:1.3"): (19, 125, 67, 9, 7, 15),
    ("tr-143-1-0-2-full.xml", "Device:1.2"): (19, 156, None, 2, 1, 13),
    ("tr-143-1-0-2-full.xml", "InternetGatewayDevice:1.3"): (68, 714, 365, 29, 15, 22),
    ("tr-196-2-1-2-cwmp-full.xml", "FAPService:2.1"): (245, 1733, 964, 55, 38, 71),
}


# Parts whose own <model> changes objects that it does not have; they are whole only inside the root model.
FRAGMENTS = {
    "tr-181-2-19-0-stats.xml": "Device.DHCPv6.Client.{i}.Stats., which does not exist",
    "tr-181-2-19-0-wifi-base.xml": "changes Device.WiFi., which does not exist",
}


def deleted(file: str, model: str) -> tuple[int, int, int, int]:
    """Objects, parameters, writable parameters and profiles that a full file marks as deleted (or that lie in such an object)."""
    if not file.endswith("-full.xml"):
        return 0, 0, 0, 0
    from lxml import etree

    root = etree.parse(str(FOLDER / file), etree.XMLParser(resolve_entities="internal", no_network=True)).getroot()
    (element,) = (m for m in root.iter("model") if m.get("name") == model)
    objects = [o for o in element.iter("object") if o.getparent() is element and o.get("name")]
    gone = [o.get("name") for o in objects if o.get("status") == "deleted"]
    inside = [o for o in objects if any(o.get("name").startswith(g) for g in gone)]
    parameters = [
        p for o in objects for p in o.iterchildren("parameter") if o in inside or p.get("status") == "deleted"
    ]
    profiles = [p for p in element.iterchildren("profile") if p.get("status") == "deleted"]
    return len(inside), len(parameters), sum(p.get("access") == "readWrite" for p in parameters), len(profiles)


@pytest.mark.parametrize(("file", "model"), COUNTS)
def test_the_counts_are_those_of_the_file(file: str, model: str) -> None:
    """Objects, parameters, tables and profiles, without what the file marks as deleted."""
    schema = import_model(FOLDER / file, model)
    objects, parameters, writable, tables, growable, profiles = COUNTS[file, model]
    no_objects, no_parameters, no_writable, no_profiles = deleted(file, model)
    found = [o for o in schema.objects() if o.path]
    inner = [p for o in found for p in o.parameters]
    assert len(found) == objects - no_objects
    assert len(inner) == parameters - no_parameters
    assert writable is None or sum(p.writable for p in inner) == writable - no_writable
    assert sum(o.table for o in found) == tables
    assert sum(o.table and o.writable for o in found) == growable
    assert profiles is None or len(schema.profiles) == profiles - no_profiles


@pytest.mark.parametrize(
    "file",
    sorted(p.name for p in FOLDER.glob("tr-181-2-1[689]-*.xml")) if FOLDER.is_dir() else [],
    ids=lambda n: n.removesuffix(".xml"),
)
def test_every_part_of_the_newest_model_imports_by_itself(file: str) -> None:
    """Each file that defines a model of its own; the parts of one file are the whole of another."""
    models = list_models(FOLDER / file)
    for model in models:
        if file in FRAGMENTS:
            with pytest.raises(ConfigError, match=FRAGMENTS[file]):
                import_model(FOLDER / file, model)
            continue
        schema = import_model(FOLDER / file, model)
        assert len(schema) > 0
        assert all(p.initial is not None for p in schema.parameters())


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("tr-181-2-19-1-cwmp.xml", "Device:2.19"),
        ("tr-181-2-9-0-full.xml", "Device:2.9"),
        ("tr-181-2-2-0-full.xml", "Device:2.2"),
        ("tr-181-1-7-0-full.xml", "Device:1.14"),
        ("tr-098-1-8-0-full.xml", "InternetGatewayDevice:1.14"),
        ("tr-104-1-1-0-full.xml", "VoiceService:1.1"),
        ("tr-104-2-0-2-cwmp-full.xml", "VoiceService:2.0"),
        ("tr-135-1-4-1-cwmp-full.xml", "STBService:1.4"),
        ("tr-140-1-3-1-cwmp-full.xml", "StorageService:1.3"),
        ("tr-196-2-1-2-cwmp-full.xml", "FAPService:2.1"),
    ],
)
def test_the_shipped_table_is_what_the_importer_makes_today(file: str, name: str) -> None:
    """The files in `schemas/` are neither edited by hand nor out of date."""
    made = compile_schema(import_model(FOLDER / file))
    assert Schema.from_tables([unpack(pack(made))]).paths() == load_schema(name).paths()
    assert made == load_schema(name)._tables[0]


def test_facts_of_the_newest_model() -> None:
    """Spot checks against the published text: types, access, keys, forced and denied notifications, references."""
    schema = load_schema("Device:2.19")
    version = schema.parameter("Device.DeviceInfo.SoftwareVersion")
    assert version is not None and version.forced_inform and int(version.active_notify) == 2
    mapping = schema.object("Device.NAT.PortMapping.{i}.")
    assert mapping is not None and mapping.writable and mapping.enable == "Enable"
    assert ("RemoteHost", "ExternalPort", "Protocol") in [k.parameters for k in mapping.keys]
    layers = schema.parameter("Device.Ethernet.Link.{i}.LowerLayers")
    assert (
        layers is not None
        and layers.syntax.is_list
        and layers.syntax.reference is not None
        and layers.syntax.reference.strong
    )
    password = schema.parameter("Device.ManagementServer.Password")
    assert password is not None and password.hidden and password.writable
    assert schema.object("Device.LocalAgent.") is None
