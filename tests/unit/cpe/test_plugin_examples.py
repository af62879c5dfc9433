"""The examples of plug-ins and providers, run as they are."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from cpe_support.plugged import Plugged
from homeport.cpe.devices.loading import plugins_for
from homeport.cpe.devices.plugin import Plugin
from homeport.terms import FaultCode

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
CODE = "Device.DeviceInfo.ProvisioningCode"


@pytest.mark.parametrize("shell", ["/bin/sh", "/usr/bin/busybox"])
def test_the_shell_provider_reads_and_writes(tmp_path: Path, shell: str) -> None:
    """examples/providers/lamp.sh, in the system's shell and in BusyBox's: values, a write, a refusal, and odd characters."""
    if not Path(shell).exists():
        pytest.skip(f"{shell} is not installed")
    command = (
        f'["{shell}"{", " + chr(34) + "sh" + chr(34) if "busybox" in shell else ""}, "{EXAMPLES}/providers/lamp.sh"]'
    )
    description = tmp_path / "lamp.toml"
    description.write_text(f'command = {command}\nenvironment = {{ LAMP = "{tmp_path / "lamp"}" }}\n')
    plugged = Plugged(*plugins_for((str(description),)))
    try:
        found = plugged.values("Device.DeviceInfo.")
        assert int(found["UpTime"]) > 0 and found["ProvisioningCode"] == "off"
        plugged.set(DeviceInfo__ProvisioningCode="green")
        assert plugged.value(CODE) == "green" and (tmp_path / "lamp").read_text() == "green\n"
        for odd in ("blue", 'green"; rm -rf *', "$(reboot)", "gr\\een"):
            fault = plugged.refusal(lambda odd=odd: plugged.set(DeviceInfo__ProvisioningCode=odd))  # type: ignore[misc]
            assert fault.parameters[0].code is FaultCode.INVALID_PARAMETER_VALUE
            assert "off, red or green" in fault.parameters[0].text
        assert plugged.value(CODE) == "green"
    finally:
        plugged.host.close()


def test_the_lua_provider_gives_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """examples/providers/arp.lua: complete and incomplete entries of the ARP table."""
    lua = shutil.which("lua")
    if lua is None:
        pytest.skip("lua is not installed")
    (tmp_path / "arp").write_text(
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        "192.0.2.1        0x1         0x2         02:00:00:00:00:01     *        eth0\n"
        "192.0.2.2        0x1         0x0         00:00:00:00:00:00     *        eth0\n"
        "192.0.2.3        0x1         0x4         02:00:00:00:00:03     *        eth0\n"
    )
    description = tmp_path / "arp.toml"
    script = EXAMPLES / "providers" / "arp.lua"
    description.write_text(f'command = ["{lua}", "{script}"]\nenvironment = {{ ARP = "{tmp_path / "arp"}" }}\n')
    plugged = Plugged(*plugins_for((str(description),)))
    try:
        assert plugged.values("Device.Hosts.") == {
            "HostNumberOfEntries": "2",
            "Host.1.PhysAddress": "02:00:00:00:00:01",
            "Host.1.IPAddress": "192.0.2.1",
            "Host.1.Active": "true",
            "Host.2.PhysAddress": "02:00:00:00:00:03",
            "Host.2.IPAddress": "192.0.2.3",
            "Host.2.Active": "false",
        }
    finally:
        plugged.host.close()


def test_the_descriptions_of_the_examples_start_what_they_name() -> None:
    """The `.toml` files beside the examples fit their programs."""
    for name in ("lamp", "arp"):
        if name == "arp" and not Path("/usr/bin/lua").exists():
            continue
        plugins: list[Any] = plugins_for((str(EXAMPLES / "providers" / f"{name}.toml"),))
        try:
            assert plugins[0].declarations, name
        finally:
            plugins[0].closers[0]()


def test_the_class_of_the_example_reads_a_board(tmp_path: Path) -> None:
    """examples/plug-ins/board.py on a made-up board: memory, load, and one row per thermal zone."""
    (plugin,) = plugins_for((str(EXAMPLES / "plug-ins" / "board.py"),))
    assert len(plugin.declarations) == 4
    board_class = type(plugin.declarations[0].function.__self__)  # type: ignore[attr-defined]
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("41700\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:   2048 kB\nMemFree:    512 kB\n")
    (tmp_path / "proc/stat").write_text("cpu  30 0 10 50 10 0 0 0 0 0\n")
    plugged = Plugged(Plugin.of(board_class(tmp_path)))
    found = plugged.values("Device.DeviceInfo.")
    sensor = "TemperatureStatus.TemperatureSensor.1."
    assert (found["MemoryStatus.Total"], found["MemoryStatus.Free"]) == ("2048", "512")
    assert (found["ProcessStatus.CPUUsage"], found[sensor + "Name"], found[sensor + "Value"]) == (
        "40",
        "thermal_zone0",
        "42",
    )
