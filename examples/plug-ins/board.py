"""A plug-in as a class: processor load and temperatures of a Linux board, from /proc and /sys.

homeport cpe run --plugins examples/plug-ins/board.py
"""

from pathlib import Path

from homeport.cpe.devices.plugin import Row, group, parameter, table

SENSORS = "Device.DeviceInfo.TemperatureStatus.TemperatureSensor.{i}."


class Board:
    """One board. root: "/" on the board itself."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._thermal = root / "sys/class/thermal"
        self._proc = root / "proc"
        self._before = (0, 0)

    @group("Device.DeviceInfo.MemoryStatus.")
    def memory(self) -> dict[str, int]:
        """Total and free memory in KiB."""
        lines = (line.split(":") for line in (self._proc / "meminfo").read_text().splitlines())
        found = {name: int(rest.split()[0]) for name, rest in lines}
        return {"Total": found["MemTotal"], "Free": found["MemFree"]}

    @parameter("Device.DeviceInfo.ProcessStatus.CPUUsage", poll=5)
    def load(self) -> int:
        """How busy the processor was since the last look, in percent."""
        ticks = [int(t) for t in (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        busy, total = sum(ticks) - ticks[3] - ticks[4], sum(ticks)
        before, self._before = self._before, (busy, total)
        passed = total - before[1]
        return round(100 * (busy - before[0]) / passed) if passed else 0

    @table(SENSORS, key="Name", columns=["Name", "Value", "Status", "Enable"])
    def sensors(self) -> list[dict[str, object]]:
        """One row for each thermal zone of the kernel."""
        return [
            {"Name": zone.name, "Status": "Enabled", "Enable": True}
            for zone in sorted(self._thermal.glob("thermal_zone*"))
            if (zone / "temp").exists()
        ]

    @parameter(SENSORS + "Value")
    def temperature(self, sensor: Row) -> int:
        """Degrees Celsius."""
        return round(int((self._thermal / str(sensor.key) / "temp").read_text()) / 1000)
