"""The machine itself: DeviceInfo with memory, processors, processes and temperatures; Time; UserInterface.

Source: TR-181 2.19. Processor figures are what was used since the last look, one second at least, as top(1) shows them.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from homeport.cpe.clock import date_time, is_set
from homeport.cpe.devices.linux import machine, names
from homeport.cpe.devices.linux.context import Context, refusing, refusing_group
from homeport.cpe.devices.linux.facts import Fact
from homeport.cpe.devices.linux.machine import Times
from homeport.cpe.devices.plugin import Plugin, Row
from homeport.errors import Fault
from homeport.terms import FaultCode

INFO: Final = "Device.DeviceInfo."
STATUS: Final = INFO + "ProcessStatus."
TIME: Final = "Device.Time."

SAMPLE: Final = 1.0
"""Seconds over which processor time is measured at least: a shorter time says more about the look than about the machine."""

SAME_TALK: Final = 10.0
LONGEST_TALK: Final = 120.0
"""Seconds without a question after which processes are looked for anew, and with questions."""

MOST_PROCESSES: Final = 1_000
"""Processes that are shown."""


def identity(root: Path) -> dict[str, str]:
    """Parameters of DeviceInfo that say which machine this is, by their names; what it does not say is left out."""
    found = machine.identity(root)
    release = machine.os_release(root)
    values = {
        "Manufacturer": found.manufacturer[:64],
        "ModelName": found.model[:64],
        "ProductClass": re.sub(r"[^A-Za-z0-9_.-]+", "_", found.model).strip("_")[:64],
        "SerialNumber": re.sub(r"[^A-Za-z0-9_.-]+", "", found.serial)[:64],
        "HardwareVersion": found.version[:64],
        "SoftwareVersion": machine.software_version(root)[:64],
        "AdditionalSoftwareVersion": f"Linux {machine.kernel(root)}"[:64],
        "Description": release.get("PRETTY_NAME", "Linux")[:256],
    }
    return {name: value for name, value in values.items() if value}


class Info:
    """DeviceInfo."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        self._before: dict[str, Times] = {}
        self._now: dict[str, Times] = {}
        self._sampled = -SAMPLE
        self._extremes: dict[str, tuple[int, int]] = {}
        self._processes: list[dict[str, Any]] = []
        self._listed = self._asked = -LONGEST_TALK
        plugin.group(INFO, inline=True)(self.values).validate(self.check).apply(self.change).undo(self.undo)
        plugin.group(INFO + "MemoryStatus.", inline=True)(self.memory)
        plugin.parameter(STATUS + "CPUUsage", inline=True)(self.usage)
        plugin.table(STATUS + "CPU.{i}.", key="Name", inline=True)(self.processors).validate(refusing())
        plugin.table(STATUS + "Process.{i}.", key="PID", volatile=True, inline=True)(self.processes)
        plugin.table(INFO + "TemperatureStatus.TemperatureSensor.{i}.", key="Name", inline=True)(
            self.temperatures
        ).validate(refusing())

    def values(self) -> Mapping[str, object]:
        """What can change while the agent runs; who the machine is towards the ACS is found once, at the start (`identity`)."""
        root = self._context.root
        return {"UpTime": int(machine.uptime(root)), "HostName": names.host_name(root)}

    def check(self, name: str, value: Any) -> None:
        """The host name can be set; ProvisioningCode is the data model's own."""
        if name == "ProvisioningCode":
            return
        refusing_group(INFO, "HostName")(name, value)
        if not names.is_host_name(str(value)):
            raise ValueError(f"{value!r} is no host name: letters, digits and hyphens, at most 64 characters")

    def change(self, values: Mapping[str, Any]) -> None:
        """Give the machine another name."""
        if "HostName" in values:
            self._context.changes.do([Fact("host_name", str(values["HostName"]))])

    def undo(self, values: Mapping[str, Any]) -> None:
        """Take back all of the transaction."""
        self._context.changes.take_back()

    def memory(self) -> Mapping[str, object]:
        """Working memory, and the file system of the agent's state as the persistent one."""
        working, kept = machine.memory(self._context.root), machine.storage(self._context.directory)
        return {
            "Total": working.total,
            "Free": working.free,
            "TotalPersistent": min(kept.total, 0xFFFFFFFF),
            "FreePersistent": min(kept.free, 0xFFFFFFFF),
        }

    # --- processors -----------------------------------------------------------------------------------------------------------------------

    def usage(self) -> int:
        """Percent of all processors together."""
        self._sample()
        return self._of("cpu").usage(self._before.get("cpu", Times()))

    def processors(self) -> list[dict[str, Any]]:
        """A row for each processor."""
        self._sample()
        rows = []
        for name in self._now:
            if name != "cpu":
                now, before = self._of(name), self._before.get(name, Times())
                total = max(1, now.total - before.total)
                idle = round(100 * (now.idle - before.idle) / total)
                rows.append(
                    {
                        "Name": name,
                        "Enable": True,
                        "CPUUtilization": now.usage(before),
                        "UserModeUtilization": _percent(now.user - before.user, total),
                        "SystemModeUtilization": _percent(now.system - before.system, total),
                        "IdleModeUtilization": max(0, min(100, idle)),
                    }
                )
        return rows

    def _of(self, name: str) -> Times:
        return self._now.get(name, Times())

    def _sample(self) -> None:
        now = self._context.clock.monotonic()
        if now - self._sampled >= SAMPLE:
            self._sampled = now
            self._before, self._now = self._now, machine.processor_times(self._context.root)

    def processes(self) -> list[dict[str, Any]]:
        """A row for each process.

        An ACS asks for names first and for values in several requests; a process that ends between them would spoil a whole request
        (9005). So the rows stay the same while somebody goes on asking.
        """
        now = self._context.clock.monotonic()
        asked, self._asked = self._asked, now
        if now - asked < SAME_TALK and now - self._listed < LONGEST_TALK:
            return self._processes
        self._listed, self._processes = now, self._list()
        return self._processes

    def _list(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for process in machine.processes(self._context.root):
            if len(found) == MOST_PROCESSES:
                break
            found.append(
                {
                    "PID": process.pid,
                    "Command": process.command[:256],
                    "Size": process.size,
                    "Priority": process.priority,
                    "CPUTime": process.time & 0xFFFFFFFF,
                    "State": process.state,
                }
            )
        return found

    # --- temperatures ---------------------------------------------------------------------------------------------------------------------

    def temperatures(self) -> list[dict[str, Any]]:
        """A row for each sensor; two of the same name are told apart by a number."""
        found: dict[str, dict[str, Any]] = {}
        moment = date_time(self._context.clock.now())
        for sensor in machine.sensors(self._context.root):
            name = sensor.name[:240]
            if name in found:
                name = f"{name} ({sensor.key})"[:256]
            low, high = self._extremes.get(sensor.key, (sensor.celsius or 0, sensor.celsius or 0))
            if sensor.celsius is not None:
                low, high = self._extremes[sensor.key] = (min(low, sensor.celsius), max(high, sensor.celsius))
            found[name] = {
                "Enable": True,
                "Status": "Enabled" if sensor.celsius is not None else "Error",
                "Name": name,
                "Value": -274 if sensor.celsius is None else sensor.celsius,
                "LastUpdate": moment,
                "MinValue": low,
                "MaxValue": high,
            }
        return list(found.values())


def _percent(part: int, total: int) -> int:
    return max(0, min(100, round(100 * part / total)))


class TimeOfDay:
    """Time: the clock, its zone, and the NTP client that keeps it."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        plugin.group(TIME, inline=True)(self.values).validate(self.check).apply(self.change).undo(self.undo)
        client = plugin.group(TIME + "Client.{i}.", inline=True)(self.client)
        client.validate(self.check_client).apply(self.change_client).undo(self.undo_client)

    def values(self) -> Mapping[str, object]:
        """The clock as it is now."""
        now = self._context.clock.now()
        return {
            "Enable": bool(names.time_service(self._context.root).name),
            "Status": self._status(),
            "CurrentLocalTime": datetime.fromtimestamp(int(now)).astimezone().isoformat(),
            "LocalTimeZone": names.time_zone(self._context.root),
        }

    def _status(self) -> str:
        service = names.time_service(self._context.root)
        if not service.name:
            return "Disabled"
        return "Synchronized" if self._synchronised() else "Unsynchronized"

    def _synchronised(self) -> bool:
        """What the kernel says of its clock, where it can be asked; else whether the clock can be right at all."""
        if (self._context.root / "run/systemd/timesync/synchronized").exists():
            return True
        told = machine.clock_synchronised()
        return is_set(self._context.clock.now()) if told is None else told

    def client(self, row: Row) -> Mapping[str, object]:
        """The NTP client; the profile has its one row from the factory, disabled where none is installed."""
        service = names.time_service(self._context.root)
        return {
            "Enable": bool(service.name),
            "Status": self._status(),
            "Mode": "Unicast",
            "Port": 123,
            "Version": 4,
            "Servers": list(service.servers),
        }

    def check(self, name: str, value: Any) -> None:
        """The zone can be set."""
        refusing_group(TIME, "LocalTimeZone")(name, value)
        if not names.is_posix_zone(str(value)) and names.zone_by_name(str(value), self._context.root) is None:
            raise ValueError(
                f"{value!r} is no time zone; expected for example CET-1CEST,M3.5.0,M10.5.0/3 or Europe/Copenhagen"
            )

    def change(self, values: Mapping[str, Any]) -> None:
        """Set the zone."""
        if "LocalTimeZone" in values:
            self._context.changes.do([Fact("zone", str(values["LocalTimeZone"]))])

    def undo(self, values: Mapping[str, Any]) -> None:
        """Take back all of the transaction."""
        self._context.changes.take_back()

    def check_client(self, row: Row, name: str, value: Any) -> None:
        """The servers can be set."""
        refusing("Servers")(row, name, value)
        for server in value:
            if not _is_server(str(server)):
                raise Fault(
                    FaultCode.INVALID_PARAMETER_VALUE,
                    f"{server!r} is neither a host name nor an address of an NTP server",
                )

    def change_client(self, row: Row, values: Mapping[str, Any]) -> None:
        """Write other servers into the client's configuration; it is told afterwards."""
        if "Servers" in values:
            self._context.changes.do([Fact("ntp", [str(s) for s in values["Servers"]])])

    def undo_client(self, row: Row, values: Mapping[str, Any]) -> None:
        """Take back all of the transaction."""
        self._context.changes.take_back()


def _is_server(text: str) -> bool:
    return names.is_address(text) or names.is_host_name(text)


class Interface:
    """UserInterface: the language that the machine speaks with its people."""

    def __init__(self, context: Context, plugin: Plugin) -> None:
        self._context = context
        plugin.group("Device.UserInterface.", inline=True)(self.values)

    def values(self) -> Mapping[str, object]:
        """From the locale; everything else of this object is the ACS's to set and the data model's to keep."""
        root = self._context.root
        text = machine.read(root / "etc/default/locale") or machine.read(root / "etc/locale.conf")
        language = machine.assignments(text).get("LANG", "en").partition(".")[0].replace("_", "-")
        return {"AvailableLanguages": [language if language not in ("C", "POSIX", "") else "en"]}
