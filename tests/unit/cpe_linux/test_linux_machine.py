"""What /proc, /sys and /etc say of a machine, read from recorded files."""

from pathlib import Path

import pytest

from homeport.cpe.devices.linux import machine


def put(root: Path, **files: str) -> Path:
    """Files below a root; in the names `__` stands for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_pc_is_known_by_its_dmi_tables(tmp_path: Path) -> None:
    """sys_vendor, product_name, product_version and product_serial of sysfs."""
    put(
        tmp_path,
        sys__class__dmi__id__sys_vendor="PC Engines\n",
        sys__class__dmi__id__product_name="apu2\n",
        sys__class__dmi__id__product_version="1.0\n",
        sys__class__dmi__id__product_serial="1234567\n",
    )
    assert machine.identity(tmp_path) == machine.Identity("PC Engines", "apu2", "1.0", "1234567")


def test_what_a_maker_left_unsaid_is_not_taken_for_an_identity(tmp_path: Path) -> None:
    """`To Be Filled By O.E.M.` is the same on a million boards."""
    put(tmp_path, sys__class__dmi__id__product_serial="To Be Filled By O.E.M.", sys__class__dmi__id__sys_vendor="None")
    assert machine.identity(tmp_path) == machine.Identity()


def test_a_board_is_known_by_its_device_tree(tmp_path: Path) -> None:
    """model, serial-number and the maker's part of compatible, which end with a zero byte."""
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    (tree / "serial-number").write_bytes(b"10000000abcdef01\0")
    (tree / "compatible").write_bytes(b"raspberrypi,4-model-b\0brcm,bcm2711\0")
    found = machine.identity(tmp_path)
    assert (found.manufacturer, found.model, found.serial) == (
        "raspberrypi",
        "Raspberry Pi 4 Model B Rev 1.4",
        "10000000abcdef01",
    )


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('NAME="Debian GNU/Linux"\nVERSION_ID="12"\n', "12"),
        ("VERSION_ID=23.05.2\nBUILD_ID=r23630\n", "23.05.2"),
        ("VERSION_ID=1\nIMAGE_VERSION='2026.11'\n", "2026.11"),
        ("", "6.1.0-18-amd64"),
    ],
)
def test_the_software_version_is_the_image_s_the_distribution_s_or_the_kernel_s(
    tmp_path: Path, text: str, version: str
) -> None:
    """os-release(5): an image has its own version; a machine without the file still has a kernel."""
    put(tmp_path, **{"etc__os-release": text, "proc__sys__kernel__osrelease": "6.1.0-18-amd64\n"})
    assert machine.software_version(tmp_path) == version


def test_free_memory_is_what_programs_can_have(tmp_path: Path) -> None:
    """MemAvailable counts the page cache that can be dropped; MemFree alone would alarm for nothing."""
    put(tmp_path, proc__meminfo="MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  700 kB\n")
    assert machine.memory(tmp_path) == machine.Memory(1000, 700)


def test_processor_usage_is_measured_between_two_looks(tmp_path: Path) -> None:
    """100 ticks passed, 40 of them idle or waiting for the disk."""
    put(tmp_path, proc__stat="cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 100 0 50 800 50 0 0 0 0 0\nintr 1\n")
    before = machine.processor_times(tmp_path)
    put(tmp_path, proc__stat="cpu  140 0 70 835 55 0 0 0 0 0\ncpu0 140 0 70 835 55 0 0 0 0 0\nintr 1\n")
    after = machine.processor_times(tmp_path)
    assert set(after) == {"cpu", "cpu0"}
    assert after["cpu"].usage(before["cpu"]) == 60


def test_processes_are_read_though_their_names_hold_brackets_and_kernel_threads_are_left_out(tmp_path: Path) -> None:
    """proc(5): the name stands in brackets and may itself hold any byte; PF_KTHREAD is a flag."""
    row = "{pid} ({name}) {state} 1 1 1 0 -1 {flags} 0 0 0 0 {user} {system} 0 0 {priority} 0 1 0 100 1000000 {rss} 0"
    put(
        tmp_path,
        proc__7__stat=row.format(
            pid=7, name="a) (b", state="S", flags=4194560, user=150, system=50, priority=20, rss=512
        ),
        proc__2__stat=row.format(
            pid=2, name="kthreadd", state="S", flags=2129984, user=0, system=0, priority=20, rss=0
        ),
        proc__9__stat=row.format(pid=9, name="rt", state="R", flags=4194560, user=0, system=0, priority=-51, rss=1),
        proc__self__stat="",
    )
    first, second = machine.processes(tmp_path)
    assert (first.pid, first.command, first.state, first.priority) == (7, "a) (b", "Sleeping", 20)
    assert first.time == 2_000_000 // machine._TICKS // 10
    assert first.size == 512 * machine._PAGE // 1024
    assert (second.pid, second.priority, second.state) == (9, 0, "Running")


def test_a_temperature_is_shown_once_though_the_kernel_has_it_twice(tmp_path: Path) -> None:
    """A thermal zone appears as a hardware monitor too; one that cannot be read is still there."""
    put(
        tmp_path,
        sys__class__thermal__thermal_zone0__type="cpu-thermal\n",
        sys__class__thermal__thermal_zone0__temp="48312\n",
        sys__class__hwmon__hwmon0__name="cpu_thermal\n",
        sys__class__hwmon__hwmon0__temp1_input="48312\n",
        sys__class__hwmon__hwmon1__name="nvme\n",
        sys__class__hwmon__hwmon1__temp1_label="Composite\n",
        sys__class__hwmon__hwmon1__temp1_input="-4600\n",
        sys__class__hwmon__hwmon1__temp2_input="broken\n",
    )
    zone = tmp_path / "sys/devices/virtual/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (tmp_path / "sys/class/hwmon/hwmon0/device").symlink_to(zone)
    assert [(s.name, s.celsius) for s in machine.sensors(tmp_path)] == [
        ("cpu-thermal", 48),
        ("nvme Composite", -5),
        ("nvme 2", None),
    ]


def test_the_speed_of_a_port_without_one_is_nothing(tmp_path: Path) -> None:
    """A virtual interface says -1, one without carrier cannot be read."""
    put(tmp_path, sys__class__net__eth0__speed="1000\n", sys__class__net__eth0__duplex="full\n")
    put(tmp_path, sys__class__net__veth0__speed="-1\n", sys__class__net__veth0__duplex="unknown\n")
    assert machine.port("eth0", tmp_path) == machine.Port(1000, "full")
    assert machine.port("veth0", tmp_path) == machine.Port()
    assert machine.port("none", tmp_path) == machine.Port()


def test_this_machine_can_be_read() -> None:
    """Every reader against the real files of the machine that runs the tests."""
    assert machine.uptime() > 0
    assert machine.memory().total > machine.memory().free > 0
    assert machine.storage(Path("/")).total > 0
    assert any(p.pid == 1 for p in machine.processes())
    assert machine.kernel()
    assert machine.boot_id()
    assert machine.clock_synchronised() in (True, False, None)
