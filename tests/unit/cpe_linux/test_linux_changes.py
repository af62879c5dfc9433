"""Changes of a machine: made together or not at all, on trial, kept, and undone after a crash.

The machine is one of files below a directory, and a kernel of facts that a test can cut off; the order of deeds is what is shown.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from homeport.cpe.devices.linux import names
from homeport.cpe.devices.linux.changes import Changes, MemoryKeep
from homeport.cpe.devices.linux.facts import GONE, OFF, ON, Fact, Picture, System, write_file
from homeport.cpe.devices.linux.netlink import Refused
from homeport.errors import Fault, StoreError

ADDRESS = "address eth0 192.0.2.1/24"
OTHER = "address eth0 192.0.2.2/24"


class Kernel(System):
    """A System whose kernel is a dict of facts. refuse: keys that it does not take."""

    def __init__(self, **facts: Any) -> None:
        self.facts: dict[str, Any] = {ADDRESS: ON, "mtu eth0": 1500}
        self.refuse: dict[str, int] = {}
        self.made: list[str] = []

    def value(self, key: str) -> Any:
        return self.facts.get(key, [] if key.startswith("dns") else GONE)

    def picture(self) -> Picture:
        return Picture()

    def make(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            if fact.key in self.refuse:
                raise Refused(f"{fact.key} could not be made", self.refuse[fact.key])
            self.made.append(fact.key)
            self.facts[fact.key] = GONE if fact.value == OFF else fact.value

    def restore(self, picture: Picture, *, addresses: bool, besides: Iterable[str] = ()) -> list[str]:
        return []


class FullDisk(MemoryKeep):
    """A disk that takes nothing from some moment on."""

    full = False

    def put(self, changes: dict[str, Any]) -> None:
        if self.full:
            raise StoreError("the disk is full")
        super().put(changes)


def changes(kernel: Kernel, keep: MemoryKeep | None = None, *, boot: str = "b1", risky: bool = True) -> Changes:
    made = Changes(kernel, boot=boot, keep=keep)
    made.on_trial = lambda record: risky
    return made


def test_what_was_true_before_is_on_disk_before_anything_is_done() -> None:
    """A crash between the two must find it."""
    keep = FullDisk()
    kernel = Kernel()
    keep.full = True
    with pytest.raises(StoreError):
        changes(kernel, keep).do([Fact(ADDRESS, GONE)])
    assert kernel.made == []
    keep.full = False
    changes(kernel, keep).do([Fact(ADDRESS, GONE)])
    assert keep.get("batch")["before"] == {ADDRESS: ON}


def test_a_change_is_on_trial_until_it_is_confirmed() -> None:
    """Then it counts, and is made true again at the next start."""
    kernel, keep = Kernel(), MemoryKeep()
    here = changes(kernel, keep)
    here.do([Fact(OTHER, ON)])
    here.committed()
    assert here.trial is not None and keep.get("held") is None
    here.confirm()
    assert (here.trial, keep.get("trial"), keep.get("held")) == (None, None, {OTHER: ON})
    kernel.facts.pop(OTHER)
    assert changes(kernel, keep, boot="b2").resume() is None
    assert kernel.facts[OTHER] == ON


def test_a_change_that_is_not_confirmed_is_undone() -> None:
    """Values go back, in the opposite order, and nothing is kept."""
    kernel, keep = Kernel(), MemoryKeep()
    here = changes(kernel, keep)
    here.do([Fact(ADDRESS, GONE), Fact("mtu eth0", 1400)])
    here.committed()
    record = here.roll_back()
    assert record is not None
    assert record.describe() == f"{ADDRESS} gone, mtu eth0 1400"
    assert kernel.facts == {ADDRESS: ON, "mtu eth0": 1500}
    assert kernel.made[-2:] == ["mtu eth0", ADDRESS]
    assert (keep.get("trial"), keep.get("held")) == (None, None)


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_full_disk_does_not_keep_a_trial_from_its_end(confirmed: bool) -> None:
    """Whoever watches over it goes on: what is left on the disk is settled by the next start, and a person is told."""
    kernel, keep, told = Kernel(), FullDisk(), []
    here = changes(kernel, keep)
    here.on_trouble = told.append
    here.do([Fact(OTHER, ON)])
    here.committed()
    keep.full = True
    assert (here.confirm() if confirmed else here.roll_back()) is not None
    assert here.trial is None and "could not be written down" in told[0]
    assert kernel.facts[OTHER] == (ON if confirmed else GONE)
    keep.full = False
    changes(kernel, keep).resume()
    assert (kernel.facts[OTHER], keep.get("trial")) == (GONE, None)


@pytest.mark.parametrize("committed", [False, True])
def test_after_a_crash_an_unconfirmed_change_is_undone(committed: bool) -> None:
    """Whether or not the data model had committed: the ACS was not reached over it."""
    kernel, keep = Kernel(), MemoryKeep()
    before = changes(kernel, keep)
    before.do([Fact(ADDRESS, GONE)])
    if committed:
        before.committed()
    after = changes(kernel, keep)
    undone = after.resume()
    assert undone is not None and undone.facts == {ADDRESS: GONE}
    assert kernel.facts[ADDRESS] == ON
    assert after.resume() is None


def test_after_a_power_cut_the_kernel_is_left_as_it_booted() -> None:
    """What the kernel had is gone with it; setting old addresses on a machine that booted anew would be a change of its own."""
    kernel, keep = Kernel(), MemoryKeep()
    before = changes(kernel, keep)
    before.do([Fact(ADDRESS, GONE), Fact("dns", ["192.0.2.53"])])
    before.committed()
    rebooted = Kernel()
    rebooted.facts = {"dns": ["192.0.2.53"]}
    assert changes(rebooted, keep, boot="b2").resume() is not None
    assert rebooted.facts == {"dns": []}


def test_a_refusal_takes_back_all_of_the_transaction() -> None:
    """TR-069a6 A.3.2.1; a value that cannot be is 9007, a missing permission 9002."""
    kernel = Kernel()
    here = changes(kernel)
    here.do([Fact(OTHER, ON)])
    kernel.refuse = {"mtu eth0": 22}
    with pytest.raises(Fault, match="could not be made") as refused:
        here.do([Fact("mtu eth0", 9)])
    assert int(refused.value.code) == 9007
    assert kernel.facts.get(OTHER) == GONE
    kernel.refuse = {"mtu eth0": 1}
    with pytest.raises(Fault, match="CAP_NET_ADMIN") as refused:
        here.do([Fact("mtu eth0", 9)])
    assert int(refused.value.code) == 9002
    here.committed()
    assert here.trial is None


def test_a_change_that_cannot_cut_the_line_counts_at_once() -> None:
    """A host name; and any change where the ACS was not reached before it."""
    kernel, keep = Kernel(), MemoryKeep()
    here = changes(kernel, keep)
    here.do([Fact("host_name", "box")])
    here.committed()
    assert here.trial is None
    assert keep.get("held") is None  # the file keeps it
    alone = changes(kernel, keep, risky=False)
    alone.do([Fact(OTHER, ON)])
    alone.committed()
    assert (alone.trial, keep.get("held")) == (None, {OTHER: ON})


def test_a_second_change_on_trial_is_undone_together_with_the_first() -> None:
    """What was true before the first one is what the ACS was reached over."""
    kernel = Kernel()
    here = changes(kernel)
    for octets in (1400, 1300):
        here.do([Fact("mtu eth0", octets)])
        here.committed()
    here.roll_back()
    assert kernel.facts["mtu eth0"] == 1500


def test_an_address_that_is_switched_off_is_known_and_not_in_force() -> None:
    """The row stays, though the kernel knows nothing of it."""
    kernel, keep = Kernel(), MemoryKeep()
    here = changes(kernel, keep)
    here.do([Fact(ADDRESS, OFF)])
    assert here.held == {ADDRESS: OFF}
    here.committed()
    here.confirm()
    assert kernel.facts[ADDRESS] == GONE
    changes(kernel, keep).resume()
    assert kernel.facts[ADDRESS] == GONE


class Backend:
    """A back end that has a place for addresses only."""

    name = "test"
    broken = False

    def keep(self, facts: Any, before: dict[str, Any]) -> list[Fact]:
        if self.broken:
            raise Refused("it is broken", 5)
        return [f for f in facts if f.kind != "address"]


def test_a_back_end_keeps_what_it_can_and_homeport_the_rest() -> None:
    """With UCI the machine itself makes the change at the next boot."""
    keep = MemoryKeep()
    here = Changes(Kernel(), boot="b1", keep=keep, backend=Backend())
    here.do([Fact(OTHER, ON), Fact("mtu eth0", 1400)])
    here.committed()
    assert keep.get("held") == {"mtu eth0": 1400}


def test_a_back_end_that_fails_is_told_of_and_nothing_is_lost() -> None:
    """Homeport keeps the change then, as on a machine without one."""
    keep = MemoryKeep()
    troubles: list[str] = []
    backend = Backend()
    backend.broken = True
    here = Changes(Kernel(), boot="b1", keep=keep, backend=backend)
    here.on_trouble = troubles.append
    here.do([Fact(OTHER, ON)])
    here.committed()
    assert keep.get("held") == {OTHER: ON}
    assert "it is broken" in troubles[0]


# --- facts in files ---------------------------------------------------------------------------------------------------------------


class Files:
    """A machine that consists of files."""

    netlink = None

    def forget(self) -> None:
        """Nothing was known."""


def system(root: Path) -> System:
    return System(Files(), root)  # type: ignore[arg-type]


def test_dns_servers_host_name_ntp_servers_and_zone_are_files(tmp_path: Path) -> None:
    """Each is written where the machine reads it, and reads back as what was set."""
    for name in ("etc", "proc/sys/kernel", "etc/chrony"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc/resolv.conf").write_text("search example.com\nnameserver 192.0.2.1\n")
    (tmp_path / "etc/chrony/chrony.conf").write_text("pool old.example.com\nmakestep 1 3\n")
    here = system(tmp_path)
    here.make(
        [
            Fact("dns", ["192.0.2.2"]),
            Fact("host_name", "box"),
            Fact("ntp", ["192.0.2.7"]),
            Fact("zone", "CET-1CEST,M3.5.0,M10.5.0/3"),
        ]
    )
    assert [here.value(k) for k in ("dns", "host_name", "ntp", "zone")] == [
        ["192.0.2.2"],
        "box",
        ["192.0.2.7"],
        "CET-1CEST,M3.5.0,M10.5.0/3",
    ]
    assert (tmp_path / "etc/resolv.conf").read_text().startswith("search example.com\n")
    assert "makestep 1 3" in (tmp_path / "etc/chrony/chrony.conf").read_text()


def test_behind_systemd_resolved_the_servers_go_into_a_drop_in(tmp_path: Path) -> None:
    """Its own resolv.conf is a link that it keeps up to date itself."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text(f"nameserver {names.STUB}\n")
    system(tmp_path).make([Fact("dns", ["192.0.2.2", "192.0.2.3"])])
    assert "DNS=192.0.2.2 192.0.2.3" in (tmp_path / "etc/systemd/resolved.conf.d/homeport.conf").read_text()
    assert names.STUB in (tmp_path / "etc/resolv.conf").read_text()


def test_the_data_base_s_zone_is_not_overwritten(tmp_path: Path) -> None:
    """/etc/localtime is a link into it: the link goes, the zone stays."""
    zones = tmp_path / "usr/share/zoneinfo/Europe"
    zones.mkdir(parents=True)
    (zones / "Berlin").write_bytes(names.zone_file("CET-1CEST,M3.5.0,M10.5.0/3"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").symlink_to(zones / "Berlin")
    here = system(tmp_path)
    here.make([Fact("zone", "UTC0")])
    assert here.value("zone") == "UTC0"
    here.make([Fact("zone", "Europe/Berlin")])
    assert here.value("zone") == "CET-1CEST,M3.5.0,M10.5.0/3"


def test_a_machine_without_an_ntp_client_refuses_servers(tmp_path: Path) -> None:
    """There is nobody who would ask them."""
    with pytest.raises(Refused, match="NTP"):
        system(tmp_path).make([Fact("ntp", ["192.0.2.7"])])


def test_a_file_is_replaced_with_its_mode_kept(tmp_path: Path) -> None:
    """Readers see the old one or the new one, never half of it."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    write_file(path, b"new", "the file")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o640)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_written_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Where a directory stands in its place, say."""
    with pytest.raises(Refused, match="the file could not be written"):
        write_file(tmp_path, b"x", "the file")
