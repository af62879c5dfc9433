"""A device without hardware: counters that grow with the time that a port is up, levels that drift, a status that follows Enable.

Everything is computed from the time since the start and from the path, so that two reads agree with each other and a test with a
virtual clock can say what must come out. Real hardware replaces this module by one that reads the kernel and the drivers.
Source: TR-181 2.9, TR-098 and TR-106 for what the parameters mean; levels in 0.001 dBm.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from homeport.cpe.clock import Clock, date_time
from homeport.cpe.devices.device import Device
from homeport.errors import Fault
from homeport.model.tree import DataModel
from homeport.terms import ValueType

RECEIVE_LEVEL: Final = -17_500
TRANSMIT_LEVEL: Final = -2_000
LEVEL_OFF: Final = -40_000
"""Optical levels in 0.001 dBm, in the steps of the model (2, and 500 for what is sent): a usual fibre, and a laser that is off."""

PACKET_BYTES: Final = 820
BUSY_PACKETS_PER_SECOND: Final = 140.0

_GIGABIT: Final = 1000

_DEEPEST: Final = 8
"""Layers below a port that are looked at: an ACS can write LowerLayers in a circle."""

_STACK: Final = (
    "Ethernet.Interface.*.",
    "Ethernet.Link.*.",
    "Bridging.Bridge.*.Port.*.",
    "Optical.Interface.*.",
    "IP.Interface.*.",
)
"""Objects with Enable, Status and Stats, from the cable upwards."""

_COUNTED: Final = ("LANDevice.*.LANEthernetInterfaceConfig.*.", "WANDevice.*.WANEthernetInterfaceConfig.")
"""Objects of TR-098 with Enable and Stats, whose Status has words of its own."""

_TOTALS: Final = ("WANDevice.*.WANCommonInterfaceConfig.", "LANDevice.*.WLANConfiguration.*.", "LAN.Stats.")
"""Objects of TR-098 and of TR-106 with TotalBytesSent and its kin."""

_UPTIMES: Final = ("WANDevice.*.WANConnectionDevice.*.WANIPConnection.*.Uptime", "LAN.Stats.ConnectionUpTime")
"""Seconds that a connection is up: it came up with the device."""


class SimulatedDevice(Device):
    """The parameters of one simulated device."""

    def __init__(self, *, product_class: str, clock: Clock, started: float) -> None:
        """started: monotonic seconds at which the device came up."""
        self._product_class = product_class
        self._clock = clock
        self._started = started
        self._up: dict[str, tuple[float, float]] = {}
        """Path of a port -> seconds it has been up, uptime at the last look."""
        self._state: object = None
        self._statuses: dict[str, str] = {}
        self._addresses: dict[str, str] = {}

    @property
    def product_class(self) -> str:
        return self._product_class

    def attach(self, model: DataModel) -> None:
        """Register what this device computes, as far as the model has it."""
        root = model.root
        model.source(f"{root}DeviceInfo.UpTime", read=lambda path: int(self.uptime()))
        model.source(f"{root}Time.CurrentLocalTime", read=lambda path: date_time(self._clock.now()))
        for pattern in _COUNTED:
            model.source(f"{root}{pattern}Stats.", read_of=self._statistics)
            model.hook(f"{root}{pattern}Enable", apply=self._switched)
        for pattern in _TOTALS:
            model.source(f"{root}{pattern}", read_of=self._totals)
        for pattern in _UPTIMES:
            model.source(f"{root}{pattern}", read=lambda path: int(self.uptime()))
        for pattern in _STACK:
            model.source(f"{root}{pattern}Status", read=self._reader(model, self._status))
            model.source(f"{root}{pattern}Stats.", read_of=self._statistics)
            model.hook(f"{root}{pattern}Enable", apply=self._switched)
        model.source(f"{root}Bridging.Bridge.*.Status", read=self._reader(model, self._bridge_status))
        model.source(f"{root}Ethernet.Interface.*.CurrentBitRate", read=self._reader(model, self._bit_rate))
        for pattern in ("Ethernet.Interface.*.", "Ethernet.Link.*."):
            model.source(f"{root}{pattern}MACAddress", read=self._reader(model, self._mac_address))
        model.source(f"{root}Optical.Interface.*.OpticalSignalLevel", read=self._reader(model, self._receive_level))
        model.source(f"{root}Optical.Interface.*.TransmitOpticalLevel", read=self._reader(model, self._transmit_level))
        self._model = model

    def uptime(self) -> float:
        """Seconds since the device came up."""
        return self._clock.monotonic() - self._started

    @staticmethod
    def _reader(model: DataModel, compute: Callable[[DataModel, str], object]) -> Callable[[str], object]:
        return lambda path: compute(model, path.rpartition(".")[0] + ".")

    # --- status -------------------------------------------------------------------------------------------------------------------

    def _remember(self, model: DataModel) -> None:
        """Forget what was found out about an earlier state; a commit makes a new state, nothing else changes these answers."""
        if self._state is not model.state:
            self._state = model.state
            self._statuses.clear()
            self._addresses.clear()

    def _status(self, model: DataModel, port: str) -> str:
        """Up, Down where it is disabled, LowerLayerDown where something below it is not up (TR-181 Appendix I)."""
        self._remember(model)
        found = self._statuses.get(port)
        if found is None:
            found = self._statuses[port] = self._find_status(model, port, 0)
        return found

    def _find_status(self, model: DataModel, port: str, depth: int) -> str:
        if not _enabled(model, port):
            return "Down"
        if depth == _DEEPEST:
            return "Error"
        for below in _lower_layers(model, port):
            if self._find_status(model, below, depth + 1) != "Up":
                return "LowerLayerDown"
        return "Up"

    def _bridge_status(self, model: DataModel, bridge: str) -> str:
        return "Enabled" if _enabled(model, bridge) else "Disabled"

    def _bit_rate(self, model: DataModel, port: str) -> int:
        if self._status(model, port) != "Up":
            return 0
        limit = _text(model, port + "MaxBitRate", "-1")
        return min(_GIGABIT, int(limit)) if limit.isdecimal() else _GIGABIT

    # --- addresses ----------------------------------------------------------------------------------------------------------------

    def _mac_address(self, model: DataModel, port: str) -> str:
        """The manufacturer's OUI and three bytes from the serial number; a link has the address of the interface below it."""
        self._remember(model)
        found = self._addresses.get(port)
        if found is None:
            found = self._addresses[port] = self._find_mac_address(model, port, 0)
        return found

    def _find_mac_address(self, model: DataModel, port: str, depth: int) -> str:
        lower = _lower_layers(model, port)
        if lower and depth < _DEEPEST:
            return self._find_mac_address(model, lower[0], depth + 1)
        info = model.root + "DeviceInfo."
        serial = _text(model, info + "SerialNumber", "")
        oui = _text(model, info + "ManufacturerOUI", "").rjust(6, "0")
        number = int(port.rstrip(".").rpartition(".")[2])
        tail = (zlib.crc32(serial.encode()) + number) & 0xFFFFFF
        digits = f"{oui}{tail:06X}"
        return ":".join(digits[i : i + 2] for i in range(0, 12, 2))

    # --- levels and counters --------------------------------------------------------------------------------------------------------

    def _receive_level(self, model: DataModel, port: str) -> int:
        """A steady level with a slow drift of a quarter dB, as temperature makes it; no light where the port is off."""
        if not _enabled(model, port):
            return LEVEL_OFF
        return RECEIVE_LEVEL + 2 * round(125 * math.sin(self.uptime() / 600 + _phase(port)))

    def _transmit_level(self, model: DataModel, port: str) -> int:
        """What the laser sends: steady, for the model counts it in steps of half a dB."""
        return TRANSMIT_LEVEL if _enabled(model, port) else LEVEL_OFF

    def _statistics(self, model: DataModel, paths: Sequence[str]) -> Mapping[str, object]:
        """All counters that one request reads; those of one port come from the same moment and fit each other."""
        counted: dict[str, dict[str, int]] = {}
        values: dict[str, object] = {}
        for path in paths:
            stats, _, name = path.rpartition(".")
            port = stats.removesuffix("Stats")
            if port not in counted:
                counted[port] = _counters(port, self._seconds_up(model, port))
            if name in counted[port]:
                count = counted[port][name]
                short = (
                    model.definition(path).syntax.base is ValueType.UNSIGNED_INT
                )  # TR-098's counters begin anew at 4 G
                values[path] = count & 0xFFFFFFFF if short else count
        return values

    def _totals(self, model: DataModel, paths: Sequence[str]) -> Mapping[str, object]:
        """The same counters where they are called TotalBytesSent and so on; other parameters of the object stay as they are."""
        values: dict[str, object] = {}
        for path in paths:
            port, _, name = path.rpartition(".")
            if name.startswith("Total"):
                count = _counters(port, self._seconds_up(model, port + ".")).get(name.removeprefix("Total"))
                if count is not None:
                    values[path] = count & 0xFFFFFFFF
        return values

    def _switched(self, changes: Sequence[object], view: object) -> int:
        """Before a port is switched, count the time up to now under its old state."""
        for port in list(self._up):
            self._seconds_up(self._model, port)
        for change in changes:
            port = str(getattr(change, "path", "")).removesuffix("Enable")
            if port not in self._up:
                self._seconds_up(self._model, port)
        return 0

    def _seconds_up(self, model: DataModel, port: str) -> float:
        """How long a port has been up since the start, in seconds."""
        now = self.uptime()
        seconds, looked = self._up.get(port, (0.0, 0.0))
        if self._status(model, port) == "Up":
            seconds += now - looked
        self._up[port] = (seconds, now)
        return seconds


def _counters(port: str, seconds: float) -> dict[str, int]:
    """Every counter of a port that was up for so many seconds; never smaller for a longer time.

    About 90 Mbit/s of traffic at most, a different share for each port.
    """
    share = 0.2 + (zlib.crc32(port.encode()) % 1000) / 1250
    # The integral of a day's rhythm between a quiet and a busy hour: it only grows.
    busy = seconds + 1800 / math.pi * (1 - math.cos(seconds * math.pi / 1800)) * 0.5
    received = int(busy * BUSY_PACKETS_PER_SECOND * share)
    sent = int(received * 0.62)
    out: dict[str, int] = {}
    for direction, packets in (("Received", received), ("Sent", sent)):
        multicast, broadcast = packets // 50, packets // 400
        out[f"Packets{direction}"] = packets
        out[f"Bytes{direction}"] = packets * PACKET_BYTES
        out[f"UnicastPackets{direction}"] = packets - multicast - broadcast
        out[f"MulticastPackets{direction}"] = multicast
        out[f"BroadcastPackets{direction}"] = broadcast
        out[f"Errors{direction}"] = (packets // 9_000_000) & 0xFFFFFFFF
        out[f"DiscardPackets{direction}"] = (packets // 2_000_000) & 0xFFFFFFFF
    out["UnknownProtoPacketsReceived"] = (received // 5_000_000) & 0xFFFFFFFF
    return out


def _enabled(model: DataModel, port: str) -> bool:
    return _text(model, port + "Enable", "true") in ("1", "true")


def _lower_layers(model: DataModel, port: str) -> list[str]:
    """Paths of the objects below in the interface stack, each with its trailing dot; those that do not exist are left out."""
    found = []
    for item in _text(model, port + "LowerLayers", "").split(","):
        path = item.strip().removesuffix(".") + "."
        if path != "." and path != port and model.exists(path):
            found.append(path)
    return found


def _text(model: DataModel, path: str, default: str) -> str:
    try:
        return model.value(path)
    except Fault:
        return default  # this kind of device has no such parameter


def _phase(port: str) -> float:
    return (zlib.crc32(port.encode()) % 628) / 100
