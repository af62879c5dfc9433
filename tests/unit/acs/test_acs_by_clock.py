"""What the clock makes of tasks, and what comes of an end that is told too late. Time is an argument."""

from typing import Any

import pytest

from homeport.acs.engine import settle, steps
from homeport.acs.records import FaultDetail, TaskPhase, TaskRecord, TaskStatus, due
from homeport.codec import messages as m

PATIENCE = settle.Patience(restart=100.0, transfer=1000.0, unknown=5000.0)


def a_task(rpc: str = "Reboot", **fields: Any) -> TaskRecord:
    return TaskRecord(id="t", device="d", rpc=rpc, args=fields.pop("args", {}), command_key="k", **fields)


def accepted(rpc: str = "Reboot", **args: Any) -> TaskRecord:
    """A task that the device has accepted at second 10."""
    task = a_task(rpc, args=args, status=TaskStatus.RUNNING, phase=TaskPhase.SENT)
    answer = steps.Result(TaskStatus.RUNNING, awaited=True)
    return settle.finished(task, answer, attempts=3, patience=PATIENCE, now=10.0)


def without_answer(rpc: str = "Reboot", **fields: Any) -> TaskRecord:
    """A task whose answer was lost at second 10."""
    task = a_task(rpc, status=TaskStatus.RUNNING, phase=TaskPhase.SENT, attempts=1, **fields)
    return settle.lost(task, patience=PATIENCE, now=10.0)


def events(*told: str) -> list[m.EventStruct]:
    return [m.EventStruct(code, key) for code, _, key in (text.partition("=") for text in told)]


@pytest.mark.parametrize(
    ("task", "at"),
    [
        (a_task(), None),
        (a_task(expires=50.0), 50.0),
        (a_task(expires=50.0, status=TaskStatus.RUNNING, phase=TaskPhase.SENT), None),
        (without_answer(), 5010.0),
        (without_answer(expires=300.0), 300.0),
        (without_answer(expires=50.0), 110.0),
        (without_answer("GetParameterValues"), 5010.0),
        (accepted(), 110.0),
        (accepted("FactoryReset"), 110.0),
        (accepted("Download"), 1010.0),
        (accepted("Download", delay_seconds=60), 1070.0),
        (accepted("ScheduleDownload", time_window_list=[{"window_end": 500}]), 1510.0),
        (a_task(expires=50.0, status=TaskStatus.DONE, finished=1.0), None),
    ],
)
def test_a_task_is_looked_at_when_the_clock_may_end_it(task: TaskRecord, at: float | None) -> None:
    """At its expiry while it waits, at the end of the patience once it is accepted; and only then the clock ends it."""
    assert due(task) == at
    if at is not None:
        assert settle.by_clock(task, patience=PATIENCE, now=at - 0.1) == task
        ended = settle.by_clock(task, patience=PATIENCE, now=at + 5)
        assert (ended.finished, due(ended)) == (at, None)
        assert ended.status is (TaskStatus.EXPIRED if task.status is TaskStatus.QUEUED else TaskStatus.FAILED)
    else:
        assert settle.by_clock(task, patience=PATIENCE, now=1e9) == task


def test_longer_patience_counts_for_what_is_accepted_already() -> None:
    """The row says when it is looked at; whether it is over then is the settings' matter, and it is looked at again."""
    task, patience = accepted(), settle.Patience(restart=500.0, transfer=1000.0)
    assert settle.by_clock(task, patience=patience, now=110.0) == task
    assert due(settle.noted(task, patience=patience, now=110.0)) == 510.0


def test_an_accepted_task_of_an_older_row_gets_its_time() -> None:
    """Where nobody has written down when it was accepted, it is accepted now."""
    task = a_task(status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER)
    assert due(task) == 0.0
    assert due(settle.noted(task, patience=PATIENCE, now=70.0)) == 170.0
    assert settle.noted(a_task(expires=5.0), patience=PATIENCE, now=70.0) == a_task(expires=5.0)


def test_a_transfer_that_was_told_of_by_its_event_alone_does_not_wait_for_ever() -> None:
    """M Download came and its TransferComplete did not: the patience runs from the event on."""
    lost = a_task("Download", status=TaskStatus.UNKNOWN, attempts=1)
    after = settle.at_contact(lost, events("M Download=k"), attempts=3, now=70.0)
    assert settle.over_at(after, patience=PATIENCE) == 1070.0


@pytest.mark.parametrize(
    ("rpc", "told", "first", "by"),
    [
        ("Reboot", ["1 BOOT", "M Reboot=k"], False, "M Reboot"),
        ("Reboot", ["1 BOOT", "M Reboot=other"], False, ""),
        ("Reboot", ["1 BOOT"], True, "1 BOOT"),
        ("Reboot", ["1 BOOT"], False, ""),
        ("Reboot", ["2 PERIODIC"], True, ""),
        ("FactoryReset", ["0 BOOTSTRAP", "1 BOOT"], True, "0 BOOTSTRAP"),
        ("FactoryReset", ["0 BOOTSTRAP", "1 BOOT"], False, ""),
        ("Download", ["1 BOOT"], True, ""),
    ],
)
def test_a_restart_that_is_told_of_late_is_done_after_all(rpc: str, told: list[str], first: bool, by: str) -> None:
    """By its key whenever it comes; without the key only if nothing else was heard of the device meanwhile."""
    failed = settle.by_clock(accepted(rpc), patience=PATIENCE, now=5000.0)
    assert (failed.status, failed.phase) == (TaskStatus.FAILED, TaskPhase.OVERDUE)
    after = settle.late(failed, events(*told), first=first, now=6000.0)
    if by:
        assert (after.status, after.result, after.fault) == (TaskStatus.DONE, {"confirmed": by}, None)
        assert (after.phase, after.finished) == (TaskPhase.NONE, 6000.0)
    else:
        assert after == failed


@pytest.mark.parametrize(
    ("rpc", "told", "by"),
    [
        ("Reboot", ["1 BOOT", "M Reboot=k"], "M Reboot"),
        ("FactoryReset", ["0 BOOTSTRAP"], "0 BOOTSTRAP"),
        ("Reboot", ["2 PERIODIC"], ""),
        ("SetParameterValues", ["1 BOOT"], ""),
    ],
)
def test_a_restart_that_is_told_of_before_it_is_sent_again_is_not_sent_again(
    rpc: str, told: list[str], by: str
) -> None:
    """Its answer was lost, and the session in which it should be sent again, too. One that was never sent is not done by a boot."""
    again = settle.at_contact(without_answer(rpc), events("2 PERIODIC"), attempts=3, now=20.0)
    assert again.status is TaskStatus.QUEUED
    after = settle.at_inform(again, events(*told), attempts=3, patience=PATIENCE, now=30.0)
    assert after == (settle.done(again, {"confirmed": by}, 30.0) if by else again)
    fresh = a_task(rpc, progress={})
    assert settle.at_inform(fresh, events(*told), attempts=3, patience=PATIENCE, now=30.0) == fresh


def test_what_may_have_been_done_is_not_told_to_have_expired() -> None:
    """Expired means that it was not sent. A read, or what is known not to have been done, expires."""
    for rpc, status in (("SetParameterValues", TaskStatus.FAILED), ("GetParameterValues", TaskStatus.EXPIRED)):
        again = settle.at_contact(without_answer(rpc, expires=50.0), [], attempts=3, now=20.0)
        after = settle.by_clock(again, patience=PATIENCE, now=60.0)
        assert (again.status, after.status, after.finished) == (TaskStatus.QUEUED, status, 50.0)
    not_made = settle.finished(
        without_answer("AddObject", expires=50.0),
        steps.Result(TaskStatus.QUEUED),
        attempts=3,
        patience=PATIENCE,
        now=20.0,
    )
    assert settle.by_clock(not_made, patience=PATIENCE, now=60.0).status is TaskStatus.EXPIRED


@pytest.mark.parametrize("code", [0, 9010])
def test_a_transfer_that_is_told_of_late_ends_as_it_says(code: int) -> None:
    """Done without the fault that the clock had given it, or failed with the device's own."""
    failed = settle.by_clock(accepted("Download"), patience=PATIENCE, now=5000.0)
    after = settle.transfer_ended(failed, {"command_key": "k"}, m.FaultStruct(code, "said"), 6000.0)
    assert (after.phase, after.result) == (TaskPhase.NONE, {"command_key": "k"})
    assert (after.status, after.fault) == (
        (TaskStatus.FAILED, FaultDetail(code, "said")) if code else (TaskStatus.DONE, None)
    )
