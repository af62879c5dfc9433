"""What the agent owes: on disk before it is acknowledged, settled at the next start, kept in memory while the disk is full."""

from pathlib import Path

import pytest

from homeport.codec.messages import EventStruct, Kicked, TransferComplete
from homeport.cpe.ledger import MAX_SCHEDULED_INFORMS, Ledger
from homeport.cpe.state import AGENT, IDENTITY, MODEL, Store
from homeport.errors import Fault, StoreUnavailable
from homeport.terms import EventCode

URL = "http://acs.example/"
WALL = 1_800_000_000.0


class Bench:
    """A state directory and the ledger over it; `power_cut` forgets everything that is not on disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.store = Store(directory)
        self.ledger = Ledger(self.store)

    def power_cut(self) -> Ledger:
        self.store.close()
        self.store = Store(self._directory)
        self.ledger = Ledger(self.store)
        return self.ledger

    def fill_disk(self) -> None:
        db = self.store._db
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")

    def make_room(self) -> None:
        self.store._db.execute("PRAGMA max_page_count = 1000000")


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.store.close()


def codes(ledger: Ledger) -> list[str]:
    return [e.event_code for e in ledger.events]


@pytest.mark.case("S01")
def test_the_first_start_owes_bootstrap_and_boot(bench):
    """First contact ever."""
    assert not bench.ledger.boot().factory_reset
    assert bench.ledger.reconcile_bootstrap(URL)
    assert codes(bench.ledger) == ["0 BOOTSTRAP", "1 BOOT"]


@pytest.mark.case("S02")
def test_a_start_after_the_first_contact_owes_boot_only(bench):
    """A power cycle: no BOOTSTRAP, no M Reboot."""
    bench.ledger.boot()
    bench.ledger.reconcile_bootstrap(URL)
    bench.ledger.take_events()
    bench.ledger.informed(URL)
    ledger = bench.power_cut()
    ledger.boot()
    assert not ledger.reconcile_bootstrap(URL)
    assert codes(ledger) == ["1 BOOT"]


@pytest.mark.case("E09")
def test_a_url_change_before_a_power_cut_still_owes_bootstrap(bench):
    """What the last acknowledged URL was is on disk; that decides."""
    bench.ledger.informed(URL)
    ledger = bench.power_cut()
    ledger.boot()
    assert ledger.reconcile_bootstrap("http://other/")
    assert codes(ledger) == ["0 BOOTSTRAP", "1 BOOT"]
    ledger = bench.power_cut()
    ledger.boot()
    ledger.reconcile_bootstrap("http://other/")
    assert codes(ledger) == ["0 BOOTSTRAP", "1 BOOT"]


def test_a_url_that_was_put_back_owes_no_bootstrap(bench):
    """The ACS there knows the device."""
    bench.ledger.informed(URL)
    bench.ledger.reconcile_bootstrap("http://other/")
    assert EventCode.BOOTSTRAP in bench.ledger.queue
    bench.ledger.reconcile_bootstrap(URL)
    assert EventCode.BOOTSTRAP not in bench.ledger.queue


@pytest.mark.case("R48")
@pytest.mark.case("R49")
def test_two_accepted_reboots_are_both_reported_after_one_restart(bench):
    """Each with its key, and only once."""
    bench.ledger.informed(URL)
    bench.ledger.accept_reboot("a")
    bench.ledger.accept_reboot("b")
    assert bench.ledger.restart_accepted
    ledger = bench.power_cut()
    assert ledger.boot().reboot_keys == ("a", "b")
    assert ledger.events == (EventStruct("1 BOOT"), EventStruct("M Reboot", "a"), EventStruct("M Reboot", "b"))
    assert not ledger.restart_accepted
    ledger = bench.power_cut()
    assert ledger.boot().reboot_keys == ()
    assert [e.command_key for e in ledger.events] == ["", "a", "b"]


@pytest.mark.case("R50")
def test_a_factory_reset_leaves_the_identity_and_owes_bootstrap_and_boot(bench):
    """Everything else is gone; an accepted Reboot beside it raises no M Reboot."""
    with bench.store.transaction() as t:
        t.put(IDENTITY, "serial", "1")
        t.put(MODEL, "snapshot", {})
        t.put(AGENT, "x", 1)
    bench.ledger.informed(URL)
    bench.ledger.accept_reboot("a")
    bench.ledger.accept_factory_reset()
    ledger = bench.power_cut()
    assert ledger.boot().factory_reset
    assert ledger.reconcile_bootstrap(URL)
    assert codes(ledger) == ["0 BOOTSTRAP", "1 BOOT"]
    assert bench.store.items(MODEL) == []
    assert bench.store.items(AGENT) == []
    assert bench.store.get(IDENTITY, "serial") == "1"
    assert not bench.power_cut().boot().factory_reset


def test_events_forgotten_after_the_inform_response_stay_forgotten(bench):
    """A power cut right after the answer repeats nothing."""
    bench.ledger.owe_event(EventCode.PERIODIC)
    bench.ledger.take_events()
    bench.ledger.informed(URL)
    assert codes(bench.power_cut()) == []


def test_events_without_an_answer_come_back(bench):
    """A power cut between Inform and InformResponse loses nothing."""
    bench.ledger.owe_event(EventCode.PERIODIC)
    bench.ledger.take_events()
    assert codes(bench.power_cut()) == ["2 PERIODIC"]


@pytest.mark.case("R51")
@pytest.mark.case("R52")
def test_scheduled_informs_become_events_when_due(bench):
    """3 SCHEDULED and one M ScheduleInform per call."""
    bench.ledger.accept_schedule_inform(5, "a", wall=WALL, monotonic=0.0)
    bench.ledger.accept_schedule_inform(5, "b", wall=WALL, monotonic=0.0)
    assert bench.ledger.schedule_due(4.9) == 0
    assert bench.ledger.next_scheduled() == 5.0
    assert bench.ledger.schedule_due(5.0) == 2
    assert codes(bench.ledger) == ["3 SCHEDULED", "M ScheduleInform", "M ScheduleInform"]
    assert bench.ledger.next_scheduled() is None


def test_scheduled_informs_outlive_a_power_cut_with_the_time_that_is_left(bench):
    """A call for 100 s, cut after 40 s: 60 s are left. What was due meanwhile is due at once."""
    bench.ledger.accept_schedule_inform(100, "a", wall=WALL, monotonic=0.0)
    bench.ledger.accept_schedule_inform(10, "b", wall=WALL, monotonic=0.0)
    ledger = bench.power_cut()
    ledger.resume_schedule(wall=WALL + 40, monotonic=7.0)
    assert sorted((s.command_key, s.due) for s in ledger.scheduled) == [("a", 67.0), ("b", 7.0)]
    assert ledger.schedule_due(7.0) == 1
    ledger = bench.power_cut()
    ledger.resume_schedule(wall=WALL + 40, monotonic=7.0)
    assert [s.command_key for s in ledger.scheduled] == ["a"]
    assert EventCode.M_SCHEDULE_INFORM in ledger.queue


def test_a_scheduled_inform_without_a_clock_starts_its_delay_anew(bench):
    """A device without battery-backed clock cannot know how long it was off."""
    bench.ledger.accept_schedule_inform(100, "a", wall=50.0, monotonic=0.0)
    ledger = bench.power_cut()
    ledger.resume_schedule(wall=60.0, monotonic=0.0)
    assert ledger.scheduled[0].due == 100.0


def test_more_scheduled_informs_than_the_device_holds_are_refused(bench):
    """9004, and nothing is stored for the refused one."""
    for n in range(MAX_SCHEDULED_INFORMS):
        bench.ledger.accept_schedule_inform(5, str(n), wall=WALL, monotonic=0.0)
    with pytest.raises(Fault, match="9004"):
        bench.ledger.accept_schedule_inform(5, "x", wall=WALL, monotonic=0.0)


@pytest.mark.case("E04")
@pytest.mark.case("E05")
def test_an_owed_request_comes_back_until_it_is_answered(bench):
    """Once per session, over power cuts, with its event."""
    complete = TransferComplete(command_key="fw", start_time="2027-01-01T00:00:00Z")
    bench.ledger.owe_request(complete, EventCode.M_DOWNLOAD, "fw")
    ledger = bench.power_cut()
    ledger.take_events()
    ledger.informed(URL)
    assert ledger.next_request() == complete
    assert ledger.next_request() is None
    assert codes(ledger) == ["7 TRANSFER COMPLETE", "M Download"]
    ledger.session_ended(success=False)
    ledger.take_events()
    assert ledger.next_request() == complete
    ledger.answered(complete)
    ledger = bench.power_cut()
    assert not ledger.owes_requests
    assert codes(ledger) == []


def test_a_promise_that_finds_no_room_is_not_given(bench):
    """Disk before reply: the ACS gets a fault, memory is as before."""
    bench.ledger.save()
    bench.fill_disk()
    with pytest.raises(StoreUnavailable):
        bench.ledger.accept_reboot("k" * 32_000)
    assert not bench.ledger.restart_accepted


def test_events_that_find_no_room_are_kept_in_memory_and_written_later(bench):
    """A full disk costs nothing that the ACS should hear."""
    bench.ledger.save()
    bench.fill_disk()
    for n in range(60):
        bench.ledger.owe_event(EventCode.M_SCHEDULE_INFORM, "k" * 400 + str(n))
    assert bench.ledger.unsaved
    assert len(bench.ledger.events) == 61
    bench.make_room()
    assert bench.ledger.save()
    assert not bench.ledger.unsaved
    assert len(bench.power_cut().events) == 61


def test_a_full_disk_does_not_keep_the_device_from_starting(bench):
    """BOOT is owed in memory."""
    bench.ledger.save()
    ledger = bench.power_cut()
    bench.fill_disk()
    ledger.boot()
    assert EventCode.BOOT in ledger.queue


@pytest.mark.case("E05")
def test_an_event_without_key_stays_while_another_request_of_its_kind_is_owed(bench):
    """Two Kicked: the answer to the first does not take 5 KICKED from the second, also after a power cut."""
    bench.ledger.owe_request(Kicked("one", "", "", ""), EventCode.KICKED)
    bench.ledger.owe_request(Kicked("two", "", "", ""), EventCode.KICKED)
    bench.ledger.answered(Kicked("one", "", "", ""))
    assert codes(bench.power_cut()) == ["5 KICKED"]
    bench.ledger.answered(Kicked("two", "", "", ""))
    assert codes(bench.power_cut()) == []
