"""When a device counts as idle."""

from pathlib import Path

import pytest

from homeport.cpe.transfers.idle import QuietWatch, idle_of

HEAD = "Inter-|   Receive  |  Transmit\n face |bytes packets\n"


class Machine:
    """Traffic counters and a load that a test sets."""

    def __init__(self, directory: Path) -> None:
        self.time = 100.0
        self.traffic, self.load = directory / "dev", directory / "loadavg"
        self.set()
        self.watch = QuietWatch(
            lambda: self.time, after=60, traffic=1000, load=0.5, traffic_file=self.traffic, load_file=self.load
        )

    def set(self, total: int = 0, load: float = 0.0) -> None:
        rest = "0 0 0 0 0 0 0"
        self.traffic.write_text(f"{HEAD}    lo: 999999{total} {rest} 5 {rest}\n  eth0: {total} {rest} 7 {rest}\n")
        self.load.write_text(f"{load} 0.00 0.00 1/100 12345\n")

    def after(self, seconds: float) -> bool:
        self.time += seconds
        return self.watch()


def test_a_device_is_idle_after_a_minute_without_traffic(tmp_path: Path) -> None:
    """The first look begins to watch; traffic within the limit does not count, more begins the minute anew."""
    machine = Machine(tmp_path)
    assert not machine.watch() and not machine.after(30)
    machine.set(total=20_000)
    assert machine.after(30)
    machine.set(total=200_000)
    assert not machine.after(30)
    assert not machine.after(59) and not machine.after(30)
    assert machine.after(31)


def test_a_busy_processor_is_not_idle(tmp_path: Path) -> None:
    """The load counts per processor."""
    machine = Machine(tmp_path)
    machine.watch()
    machine.set(load=1000.0)
    assert not machine.after(90)
    machine.set()
    assert not machine.after(1) and machine.after(61)


def test_the_word_of_a_plug_in_counts_before_the_traffic(tmp_path: Path) -> None:
    """All that are asked must agree; one that fails counts as busy."""
    answers = [True, True]
    idle = idle_of([lambda: answers[0], lambda: answers[1]], Machine(tmp_path).watch)
    assert idle is not None and idle()
    answers[1] = False
    assert not idle()
    broken = idle_of([lambda: 1 // 0], None)
    assert broken is not None and not broken()


@pytest.mark.parametrize("missing", ["traffic", "load"])
def test_a_system_that_tells_nothing_cannot_wait_for_idleness(tmp_path: Path, missing: str) -> None:
    """Then the mode is not supported."""
    machine = Machine(tmp_path)
    getattr(machine, missing).unlink()
    assert idle_of([], machine.watch) is None and idle_of([], None) is None


def test_counters_that_cannot_be_read_any_more_count_as_busy(tmp_path: Path) -> None:
    """Nothing is begun on a guess."""
    machine = Machine(tmp_path)
    idle = idle_of([], machine.watch)
    machine.traffic.unlink()
    assert idle is not None and not idle()
