"""What /proc, /sys and /etc say of the machine: identity, memory, processor, processes, temperatures.

Every function takes the root directory, "/" on a real machine. What cannot be read is left out: a container has no DMI, a small board no
sensors, and an ordinary user may not read a serial number. Sources: proc(5), sysfs-class-thermal, sysfs-interface of hwmon, os-release(5).
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096

_LONGEST: Final = 1 << 16
"""Bytes that are read of one file; those meant here have a few hundred."""

_NO_IDENTITY: Final = frozenset(
    {
        "",
        "none",
        "not specified",
        "not applicable",
        "default string",
        "to be filled by o.e.m.",
        "system product name",
        "0",
    }
)
"""What makers leave in the DMI tables where they had nothing to say, lower case."""


def read(path: Path) -> str:
    """The text of a small file without its white space, "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode("utf-8", "replace").strip().strip("\0")
    except OSError:
        return ""  # absent or not for us: both mean that it is not known


class Identity(Struct, frozen=True):
    """Who the machine is; "" for what it does not say."""

    manufacturer: str = ""
    model: str = ""
    version: str = ""
    serial: str = ""


def identity(root: Path = Path("/")) -> Identity:
    """From the DMI tables of a PC, or the device tree of a board."""
    dmi = root / "sys/class/dmi/id"
    tree = root / "proc/device-tree"
    model = _known(read(dmi / "product_name")) or read(tree / "model")
    compatible = read(tree / "compatible").partition(",")[0]
    return Identity(
        manufacturer=_known(read(dmi / "sys_vendor")) or compatible,
        model=model,
        version=_known(read(dmi / "product_version")) or _known(read(dmi / "board_version")),
        serial=_known(read(dmi / "product_serial")) or read(tree / "serial-number"),
    )


def _known(text: str) -> str:
    return "" if text.strip().lower() in _NO_IDENTITY else text.strip()


def os_release(root: Path = Path("/")) -> dict[str, str]:
    """The assignments of os-release, empty where there is none."""
    text = read(root / "etc/os-release") or read(root / "usr/lib/os-release")
    return assignments(text)


def assignments(text: str) -> dict[str, str]:
    """NAME=value lines as a shell would read them, quotes taken off; nothing is expanded."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = value
    return found


def software_version(root: Path = Path("/")) -> str:
    """The version of the image, of the distribution, or of the build, whichever os-release has first; else the kernel's."""
    found = os_release(root)
    for name in ("IMAGE_VERSION", "VERSION_ID", "BUILD_ID"):
        if found.get(name):
            return found[name]
    return kernel(root)


def kernel(root: Path = Path("/")) -> str:
    """Release of the kernel, such as 6.1.0-18-amd64."""
    return read(root / "proc/sys/kernel/osrelease")


def uptime(root: Path = Path("/")) -> float:
    """Seconds since the machine came up, standby included."""
    first = read(root / "proc/uptime").partition(" ")[0]
    return float(first) if first else 0.0


def boot_id(root: Path = Path("/")) -> str:
    """A random text that is another one after each start of the machine."""
    return read(root / "proc/sys/kernel/random/boot_id")


class Memory(Struct, frozen=True):
    """In KiB. free: what programs can have without anybody being swapped out."""

    total: int = 0
    free: int = 0


def memory(root: Path = Path("/")) -> Memory:
    """Working memory."""
    found = {}
    for line in read(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        with suppress(ValueError, IndexError):
            found[name] = int(rest.split()[0])
    return Memory(found.get("MemTotal", 0), found.get("MemAvailable", found.get("MemFree", 0)))


def storage(directory: Path) -> Memory:
    """The file system of a directory."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return Memory()
    return Memory(found.f_blocks * found.f_frsize >> 10, found.f_bavail * found.f_frsize >> 10)


class Times(Struct, frozen=True):
    """Processor time so far, in ticks: all of it, and how much of it was idle, the user's and the system's."""

    total: int = 0
    idle: int = 0
    user: int = 0
    system: int = 0

    def usage(self, before: "Times") -> int:
        """Percent of the time since `before` in which the processors worked."""
        total = self.total - before.total
        return 0 if total <= 0 else max(0, min(100, round(100 * (total - (self.idle - before.idle)) / total)))


def processor_times(root: Path = Path("/")) -> dict[str, Times]:
    """By name: "cpu" for all of them together, "cpu0", "cpu1" ..."""
    found = {}
    for line in read(root / "proc/stat").splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and len(numbers) >= 4:
            ticks = [int(n) for n in numbers]
            idle = ticks[3] + (ticks[4] if len(ticks) > 4 else 0)
            system = ticks[2] + sum(ticks[5:8])
            found[name] = Times(sum(ticks[:8]), idle, ticks[0] + ticks[1], system)
    return found


class Process(Struct, frozen=True):
    """size: resident, KiB. priority: 0 (first) to 99. time: processor time in ms. state: as TR-181 names it."""

    pid: int
    command: str
    size: int
    priority: int
    time: int
    state: str


_STATES: Final = {
    "R": "Running",
    "S": "Sleeping",
    "D": "Uninterruptible",
    "T": "Stopped",
    "t": "Stopped",
    "Z": "Zombie",
    "X": "Zombie",
    "I": "Idle",
}


def processes(root: Path = Path("/")) -> Iterator[Process]:
    """All that run, without the kernel's own threads, in the order of their numbers."""
    try:
        numbers = sorted(int(n) for n in os.listdir(root / "proc") if n.isdecimal())
    except OSError:
        return
    for number in numbers:
        found = _process(root / "proc" / str(number))
        if found is not None:
            yield found


def _process(directory: Path) -> Process | None:
    text = read(directory / "stat")
    # The name is in brackets and may itself hold brackets and spaces; the last one ends it.
    head, closing, rest = text.rpartition(")")
    fields = rest.split()
    if not closing or len(fields) < 22:
        return None  # it ended while we looked
    if int(fields[6]) & 0x00200000:
        return None  # PF_KTHREAD
    return Process(
        pid=int(head.partition(" ")[0]),
        command=head.partition("(")[2],
        size=int(fields[21]) * _PAGE >> 10,
        priority=max(0, min(99, int(fields[15]))),
        time=(int(fields[11]) + int(fields[12])) * 1000 // _TICKS,
        state=_STATES.get(fields[0], "Sleeping"),
    )


class Sensor(Struct, frozen=True):
    """A temperature sensor. key: the same after every start. celsius: None where it cannot be read now."""

    key: str
    name: str
    celsius: int | None


def sensors(root: Path = Path("/")) -> list[Sensor]:
    """Thermal zones, then hardware monitors that are not zones themselves."""
    found = []
    for zone in _numbered(root / "sys/class/thermal", "thermal_zone"):
        kind = read(zone / "type") or zone.name
        found.append(Sensor(zone.name, kind, _milli(zone / "temp")))
    for chip in _numbered(root / "sys/class/hwmon", "hwmon"):
        device = os.path.realpath(chip / "device")
        if "thermal_zone" in device:
            continue  # the kernel shows a zone as a monitor too
        chip_name = read(chip / "name") or chip.name
        for file in sorted(chip.glob("temp*_input")):
            number = file.name.removeprefix("temp").removesuffix("_input")
            label = read(chip / f"temp{number}_label")
            name = f"{chip_name} {label}" if label else f"{chip_name} {number}"
            found.append(Sensor(f"{chip_name}/{os.path.basename(device)}/{number}", name, _milli(file)))
    return found


def _numbered(directory: Path, prefix: str) -> list[Path]:
    with suppress(OSError):
        names = [n for n in os.listdir(directory) if n.startswith(prefix) and n.removeprefix(prefix).isdecimal()]
        return [directory / n for n in sorted(names, key=lambda n: int(n.removeprefix(prefix)))]
    return []


def _milli(path: Path) -> int | None:
    with suppress(ValueError):
        return round(int(read(path)) / 1000)
    return None


class Port(Struct, frozen=True):
    """What /sys/class/net says of a hardware interface beyond netlink. speed: Mbit/s, 0 where unknown. duplex: "full", "half" or ""."""

    speed: int = 0
    duplex: str = ""
    hardware: bool = False
    wireless: bool = False


def port(name: str, root: Path = Path("/")) -> Port:
    """Of one interface by its name."""
    directory = root / "sys/class/net" / name
    text = read(directory / "speed")
    speed = int(text) if text.lstrip("-").isdecimal() else 0
    duplex = read(directory / "duplex")
    return Port(
        speed=max(0, speed),
        duplex=duplex if duplex in ("full", "half") else "",
        hardware=(directory / "device").exists(),
        wireless=(directory / "phy80211").exists() or (directory / "wireless").exists(),
    )


def setting(path: str, root: Path = Path("/")) -> str:
    """A kernel setting below /proc/sys, such as net/ipv4/ip_forward; "" where there is none."""
    return read(root / "proc/sys" / path)


def clock_synchronised() -> bool | None:
    """Whether the kernel's clock is kept by somebody (adjtimex(2)), None where the kernel does not say."""
    try:
        import ctypes

        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (ImportError, MemoryError, OSError, AttributeError):
        return None  # another C library, or a service without memory that can be executed
    # struct timex has 208 bytes on 64 bits and 128 on 32; modes = 0 only reads. The result is the state of the clock, 5 for an error.
    state = call(ctypes.create_string_buffer(256))
    return None if state < 0 else state != 5
