"""Mapper files: parameters renamed, hidden, fixed, made read-only, scaled and translated, and mistakes told with their line."""

from pathlib import Path
from typing import Any

import pytest

from cpe_support.plugged import Plugged
from homeport.cpe.devices.mapper import Mapper
from homeport.cpe.devices.plugin import Plugin, Row
from homeport.errors import ConfigError
from homeport.terms import FaultCode

OPTICAL = "Device.Optical.Interface.{i}."


@pytest.fixture
def mapped(tmp_path: Path) -> Any:
    def make(text: str, *plugins: Plugin) -> Plugged:
        file = tmp_path / "box.toml"
        file.write_text(text)
        return Plugged(*plugins, mapper=Mapper.load([file]))

    return make


def test_hidden_parameters_and_objects_are_not_there(mapped: Any) -> None:
    """What is hidden is answered with 9005, as if the device did not have it; a hidden table takes its count along."""
    plugged = mapped('["Device.DeviceInfo.Description"]\nhide = true\n["Device.Ethernet.Link.{i}."]\nhide = true\n')
    for path in ("Device.DeviceInfo.Description", "Device.Ethernet.Link.", "Device.Ethernet.LinkNumberOfEntries"):
        assert plugged.refusal(lambda path=path: plugged.model.get(path)).code is FaultCode.INVALID_PARAMETER_NAME
    assert "Device.Ethernet.Link" not in " ".join(v.name for v in plugged.model.get("Device."))


def test_a_fixed_parameter_says_its_value_and_takes_no_other(mapped: Any) -> None:
    """A constant counts before stored values and plug-ins, and is read-only to the ACS (9008)."""
    box = Plugin("box")
    box.parameter("Device.DeviceInfo.ModelName")(lambda: "from the plug-in")
    plugged = mapped(
        '["Device.DeviceInfo.ModelName"]\nfix = "Box 3000"\n["Device.DeviceInfo.ProvisioningCode"]\nfix = "N"\n', box
    )
    assert plugged.value("Device.DeviceInfo.ModelName") == "Box 3000"
    fault = plugged.refusal(lambda: plugged.set(DeviceInfo__ProvisioningCode="S"))
    assert fault.parameters[0].code is FaultCode.NOT_WRITABLE
    assert plugged.value("Device.DeviceInfo.ProvisioningCode") == "N"


def test_a_read_only_parameter_is_shown_as_such(mapped: Any) -> None:
    """GetParameterNames says that it cannot be written, and a write is refused with 9008; rows of a table alike."""
    plugged = mapped(
        '["Device.Ethernet.Interface.{i}.Enable"]\nread_only = true\n["Device.Ethernet.Link.{i}."]\nread_only = true\n'
    )
    names = {n.name: n.writable for n in plugged.model.names("Device.Ethernet.", False)}
    assert not names["Device.Ethernet.Interface.1.Enable"] and names["Device.Ethernet.Interface.1.Alias"]
    assert not names["Device.Ethernet.Link."]
    fault = plugged.refusal(lambda: plugged.set(Ethernet__Interface__1__Enable="0"))
    assert fault.parameters[0].code is FaultCode.NOT_WRITABLE


def test_numbers_are_scaled_both_ways(mapped: Any) -> None:
    """What the plug-in says times scale is what the ACS reads; what the ACS writes is divided again."""
    box = Plugin("box")
    said: list[object] = []
    rate = box.parameter("Device.Ethernet.Interface.{i}.MaxBitRate")(lambda row: 100_000)
    rate.apply(lambda row, value: said.append(value))
    box.parameter(OPTICAL + "OpticalSignalLevel")(lambda row: "-17.53")
    plugged = mapped(
        '["Device.Ethernet.Interface.{i}.MaxBitRate"]\nscale = 0.001\n'
        f'["{OPTICAL}OpticalSignalLevel"]\nscale = 1000\noffset = 30\n',
        box,
    )
    assert plugged.value("Device.Ethernet.Interface.1.MaxBitRate") == "100"
    assert plugged.value("Device.Optical.Interface.1.OpticalSignalLevel") == "-17500"
    plugged.set(Ethernet__Interface__1__MaxBitRate="1000")
    assert said == [1_000_000]


def test_words_are_translated_both_ways(mapped: Any) -> None:
    """The device's words become the model's, and back where the ACS writes."""
    box = Plugin("box")
    said: list[object] = []
    box.parameter("Device.Ethernet.Interface.{i}.Status")(lambda row: "lower-layer-down" if row.number == 2 else "up")
    mode = box.parameter("Device.Ethernet.Interface.{i}.DuplexMode")(lambda row: "fdx")
    mode.apply(lambda row, value: said.append(value))
    plugged = mapped(
        '["Device.Ethernet.Interface.{i}.Status"]\nvalues = { up = "Up", lower-layer-down = "LowerLayerDown" }\n'
        '["Device.Ethernet.Interface.{i}.DuplexMode"]\nvalues = { fdx = "Full", hdx = "Half" }\n',
        box,
    )
    assert plugged.value("Device.Ethernet.Interface.1.Status") == "Up"
    assert plugged.value("Device.Ethernet.Interface.2.Status") == "LowerLayerDown"
    plugged.set(Ethernet__Interface__1__DuplexMode="Half")
    assert said == ["hdx"]


def test_a_plug_in_may_have_names_of_its_own(mapped: Any) -> None:
    """`from` gives a plug-in's own name a place in the model: parameters, bundles, rows, tables and their columns."""
    box = Plugin("box")
    box.parameter("Board.Boots")(lambda: 12)
    said: list[object] = []

    bundle = box.bundle("Board.Code", "Board.Port.{i}.Wire")(
        lambda paths: {p: {"Board.Code": "n"}.get(p, p) for p in paths}
    )
    bundle.apply(lambda values: said.append(values))

    @box.table("Board.Station.{i}.", key="mac", columns=("mac", "address"))
    def stations() -> list[dict[str, str]]:
        return [{"mac": "02:00:00:00:00:01", "address": "192.0.2.1"}]

    plugged = mapped(
        '["Device.DeviceInfo.UpTime"]\nfrom = "Board.Boots"\n'
        '["Device.DeviceInfo.ProvisioningCode"]\nfrom = "Board.Code"\n'
        '["Device.Ethernet.Interface.{i}.Name"]\nfrom = "Board.Port.{i}.Wire"\n'
        '["Device.Hosts.Host.{i}."]\nfrom = "Board.Station.{i}."\n'
        '["Device.Hosts.Host.{i}.PhysAddress"]\nfrom = "Board.Station.{i}.mac"\n'
        '["Device.Hosts.Host.{i}.IPAddress"]\nfrom = "Board.Station.{i}.address"\n',
        box,
    )
    assert plugged.value("Device.DeviceInfo.UpTime") == "12"
    assert plugged.value("Device.Ethernet.Interface.2.Name") == "Board.Port.2.Wire"
    plugged.set(DeviceInfo__ProvisioningCode="s")
    assert said == [{"Board.Code": "s"}]
    assert plugged.values("Device.Hosts.Host.") == {"1.PhysAddress": "02:00:00:00:00:01", "1.IPAddress": "192.0.2.1"}


def test_a_group_may_have_column_names_of_its_own(mapped: Any) -> None:
    """`from` renames single values of a group, for reads and for writes."""
    box = Plugin("box")
    said: list[object] = []
    group = box.group("Device.Ethernet.Interface.{i}.")(lambda row: {"wire": f"w{row.number}"})
    group.apply(lambda row, values: said.append(values))
    plugged = mapped(
        '["Device.Ethernet.Interface.{i}.Name"]\nfrom = "Device.Ethernet.Interface.{i}.wire"\n'
        '["Device.Ethernet.Interface.{i}.Enable"]\nfrom = "Device.Ethernet.Interface.{i}.on"\n',
        box,
    )
    assert plugged.value("Device.Ethernet.Interface.2.Name") == "w2"
    plugged.set(Ethernet__Interface__2__Enable="0")
    assert said == [{"on": False}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["Device.DeviceInfo.Uptime"]\nhide = true\n', "line 1: Device:2.9 has no parameter Device.DeviceInfo.Uptime"),
        ('\n["Device.Nothing."]\nhide = true\n', "line 2: Device:2.9 has no object Device.Nothing."),
        ('["Device.DeviceInfo.UpTime"]\n# why\nhide = 1\n', "line 3: hide = 1 does not fit; true is wanted"),
        ('["Device.DeviceInfo.UpTime"]\nhidden = true\n', "line 2: there is no hidden; known are hide"),
        ('["Device.DeviceInfo.UpTime"]\nfix = "soon"\n', "line 2: Device.DeviceInfo.UpTime does not take 'soon'"),
        ('["Device.DeviceInfo.UpTime"]\nscale = 0\n', "line 2: scale 0"),
        ('["Device.DeviceInfo.UpTime"]\nscale = 2\n', "line 2: no plug-in serves Device.DeviceInfo.UpTime"),
        (
            '["Device.DeviceInfo.UpTime"]\nfrom = "Board.{i}.x"\n',
            "line 2: Board.{i}.x and Device.DeviceInfo.UpTime do not",
        ),
        ('["Device.ManagementServer."]\nhide = true\n', "line 2: Device.ManagementServer. cannot be hidden"),
        ('["Device.Ethernet."]\nfix = "x"\n', "line 2: fix is for a parameter, and Device.Ethernet. is an object"),
        ('\n\n[ "Device.DeviceInfo.UpTime" ]\n', "line 3: the section says nothing"),
        ("[DeviceInfo]\nhide = true\n", "line 1: [DeviceInfo] is no path"),
        ("hide = true\n", "line 1: a section is wanted"),
        ('["Device.DeviceInfo.UpTime"\n', "(at line 1, column"),
        (
            '["Device.Ethernet.Interface.{i}.Status"]\nvalues = { up = "Well" }\n',
            "line 2: Device.Ethernet.Interface.{i}.Status does not take 'Well'",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(mapped: Any, text: str, message: str) -> None:
    """Everything is checked against the model when the agent starts; the message has file, line and reason."""
    with pytest.raises(ConfigError) as caught:
        mapped(text)
    assert message in str(caught.value) and "box.toml" in str(caught.value)


def test_a_value_that_cannot_be_scaled_is_the_plug_ins_failure(mapped: Any) -> None:
    """Text where a number should be is treated as any failure of the plug-in: a fault for who names the parameter."""
    box = Plugin("box")

    @box.parameter("Device.Ethernet.Interface.{i}.MaxBitRate")
    def rate(row: Row) -> str:
        return "fast"

    plugged = mapped('["Device.Ethernet.Interface.{i}.MaxBitRate"]\nscale = 2\n', box)
    fault = plugged.refusal(lambda: plugged.model.get("Device.Ethernet.Interface.1.MaxBitRate"))
    assert "'fast' is no number, and the mapper scales it" in fault.text
