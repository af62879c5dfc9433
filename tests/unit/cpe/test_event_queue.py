"""Events: merged or counted, kept or dropped, in order, as their table says."""

import pytest

from homeport.codec.messages import EventStruct
from homeport.cpe.event_queue import MAX_EVENTS, RULES, EventQueue, rule_of
from homeport.terms import EventCode, RpcName


def codes(queue: EventQueue) -> list[str]:
    return [e.event_code for e in queue.entries]


def restarted(queue: EventQueue) -> EventQueue:
    """The queue as the next start of the agent reads it from disk."""
    fresh = EventQueue(queue.to_record())
    fresh.booted()
    return fresh


def test_every_standard_event_code_has_a_rule():
    """The table is complete."""
    assert set(RULES) == set(EventCode)


def test_a_single_event_is_owed_once_however_often_it_happens():
    """Numbered codes are single."""
    queue = EventQueue()
    assert queue.add(EventCode.PERIODIC)
    assert not queue.add(EventCode.PERIODIC)
    assert codes(queue) == ["2 PERIODIC"]


@pytest.mark.case("R52")
def test_two_scheduled_informs_share_one_scheduled_event():
    """One `3 SCHEDULED`, one `M ScheduleInform` per call, each with its key."""
    queue = EventQueue()
    queue.add(EventCode.M_SCHEDULE_INFORM, "a")
    queue.add(EventCode.M_SCHEDULE_INFORM, "b")
    assert queue.entries == (
        EventStruct("3 SCHEDULED"),
        EventStruct("M ScheduleInform", "a"),
        EventStruct("M ScheduleInform", "b"),
    )


@pytest.mark.case("E11")
def test_numbered_events_have_no_command_key():
    """The key belongs to M events; numbered ones carry an empty one."""
    queue = EventQueue()
    queue.add(EventCode.BOOT, "stray")
    queue.add(EventCode.M_REBOOT, "k")
    assert queue.entries == (EventStruct("1 BOOT", ""), EventStruct("M Reboot", "k"))


@pytest.mark.case("S41")
def test_bootstrap_comes_first_and_drops_what_the_old_acs_was_owed():
    """Undelivered events yield to BOOTSTRAP; BOOT and the outcomes of transfers stay."""
    queue = EventQueue()
    for code in (EventCode.BOOT, EventCode.PERIODIC, EventCode.VALUE_CHANGE, EventCode.SCHEDULED):
        queue.add(code)
    queue.add(EventCode.M_DOWNLOAD, "fw")
    queue.add(EventCode.BOOTSTRAP)
    assert codes(queue) == ["0 BOOTSTRAP", "1 BOOT", "7 TRANSFER COMPLETE", "M Download"]


def test_events_are_kept_until_the_inform_response_arrives():
    """Sending the Inform forgets nothing."""
    queue = EventQueue()
    queue.add(EventCode.BOOT)
    queue.take()
    assert EventCode.BOOT in queue
    queue.informed()
    assert not queue


def test_an_event_that_happens_during_a_session_waits_for_the_next_one():
    """Even where the same code is in flight: the Inform under way does not cover it."""
    queue = EventQueue()
    queue.add(EventCode.VALUE_CHANGE)
    queue.take()
    assert queue.add(EventCode.VALUE_CHANGE)
    queue.informed()
    queue.session_ended(success=True)
    assert codes(queue) == ["4 VALUE CHANGE"]


def test_after_a_failed_session_the_same_single_event_is_owed_once():
    """In-flight and new entries of a single code merge."""
    queue = EventQueue()
    queue.add(EventCode.PERIODIC)
    queue.take()
    queue.add(EventCode.PERIODIC)
    queue.session_ended(success=False)
    assert codes(queue) == ["2 PERIODIC"]


@pytest.mark.case("E02")
def test_a_connection_request_is_not_repeated_after_a_failure():
    """Event 6 is never retried."""
    queue = EventQueue()
    queue.add(EventCode.CONNECTION_REQUEST)
    queue.add(EventCode.PERIODIC)
    queue.take()
    queue.session_ended(success=False)
    assert codes(queue) == ["2 PERIODIC"]


def test_a_connection_request_that_came_during_the_failed_session_stays():
    """It asked for a session after this one."""
    queue = EventQueue()
    queue.add(EventCode.PERIODIC)
    queue.take()
    queue.add(EventCode.CONNECTION_REQUEST)
    queue.session_ended(success=False)
    assert EventCode.CONNECTION_REQUEST in queue


@pytest.mark.case("E03")
@pytest.mark.parametrize("code", sorted(set(EventCode) - {EventCode.CONNECTION_REQUEST, EventCode.HEARTBEAT}))
def test_every_other_event_is_retried(code: EventCode):
    """Only 6 and 14 are dropped by a failed session."""
    queue = EventQueue()
    queue.add(code, "key")
    queue.take()
    queue.session_ended(success=False)
    assert code in queue


@pytest.mark.case("E04")
@pytest.mark.case("E05")
def test_transfer_events_wait_for_the_transfer_complete_response():
    """InformResponse does not clear 7 and its M entry, TransferCompleteResponse does."""
    queue = EventQueue()
    queue.add(EventCode.M_DOWNLOAD, "fw")
    queue.take()
    queue.informed()
    assert codes(queue) == ["7 TRANSFER COMPLETE", "M Download"]
    queue.answered(RpcName.TRANSFER_COMPLETE, "fw")
    assert not queue


def test_the_numbered_transfer_event_stays_until_the_last_transfer_is_answered():
    """One `7` stands for all finished transfers."""
    queue = EventQueue()
    queue.add(EventCode.M_DOWNLOAD, "one")
    queue.add(EventCode.M_UPLOAD, "two")
    queue.answered(RpcName.TRANSFER_COMPLETE, "one")
    assert codes(queue) == ["7 TRANSFER COMPLETE", "M Upload"]
    queue.answered(RpcName.TRANSFER_COMPLETE, "two")
    assert not queue


@pytest.mark.case("E08")
def test_a_restart_keeps_owed_transfer_events_beside_boot():
    """`1 BOOT`, `7` and the M entry stand in the first Inform after it."""
    queue = EventQueue()
    queue.add(EventCode.M_DOWNLOAD, "fw")
    queue.add(EventCode.CONNECTION_REQUEST)
    queue.add(EventCode.DIAGNOSTICS_COMPLETE)
    assert codes(restarted(queue)) == ["1 BOOT", "7 TRANSFER COMPLETE", "M Download"]


@pytest.mark.case("S28")
@pytest.mark.parametrize("code", sorted(code for code, rule in RULES.items() if rule.over_reboot))
def test_events_of_the_lasting_kind_outlive_a_restart(code: str):
    """What the table marks is on disk and comes back."""
    queue = EventQueue()
    queue.add(code, "key")
    assert code in restarted(queue)


@pytest.mark.case("E09")
def test_bootstrap_outlives_a_restart_before_the_first_contact():
    """A restart before the ACS was reached still owes BOOTSTRAP."""
    queue = EventQueue()
    queue.add(EventCode.BOOTSTRAP)
    assert codes(restarted(restarted(queue))) == ["0 BOOTSTRAP", "1 BOOT"]


@pytest.mark.case("E01")
@pytest.mark.case("E10")
def test_more_than_64_entries_drop_the_oldest_m_events():
    """Numbered codes are never dropped for room."""
    queue = EventQueue()
    queue.add(EventCode.BOOT)
    for n in range(100):
        queue.add(EventCode.M_SCHEDULE_INFORM, f"k{n}")
    entries = queue.take()
    assert len(entries) == MAX_EVENTS
    assert [e.event_code for e in entries[:2]] == ["1 BOOT", "3 SCHEDULED"]
    assert entries[-1].command_key == "k99"
    numbered = [e.event_code for e in entries if not e.event_code.startswith("M ")]
    assert len(numbered) == len(set(numbered))


@pytest.mark.case("E12")
def test_a_heartbeat_travels_alone_and_after_everything_else():
    """14 is the only event of its Inform."""
    queue = EventQueue()
    queue.add(EventCode.HEARTBEAT)
    queue.add(EventCode.PERIODIC)
    assert [e.event_code for e in queue.take()] == ["2 PERIODIC"]
    queue.informed()
    queue.session_ended(success=True)
    assert [e.event_code for e in queue.take()] == ["14 HEARTBEAT"]


@pytest.mark.case("E16")
def test_a_queue_without_events_gives_an_empty_list():
    """A retried session whose events were all acknowledged may carry none."""
    assert EventQueue().take() == ()


def test_vendor_events_are_single_or_multiple_by_their_spelling():
    """`M X_...` counts every occurrence, `X ...` does not."""
    assert rule_of("M X_00256D_Thing").multiple
    assert not rule_of("X 00256D Thing").multiple


def test_an_event_can_be_withdrawn_before_anybody_was_told():
    """BOOTSTRAP goes when the URL is put back, but not out of a running session."""
    queue = EventQueue()
    queue.add(EventCode.BOOTSTRAP)
    assert queue.withdraw(EventCode.BOOTSTRAP)
    queue.add(EventCode.BOOTSTRAP)
    queue.take()
    assert not queue.withdraw(EventCode.BOOTSTRAP)
