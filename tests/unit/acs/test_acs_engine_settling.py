"""How the ACS settles what became of lost answers, and which task is next."""

from typing import Any

import pytest
from msgspec.structs import replace

from homeport.acs.engine import programs, settle, steps
from homeport.acs.records import (
    FaultDetail,
    TaskPhase,
    TaskRecord,
    TaskStatus,
)
from homeport.codec import messages as m
from support.engine_programs import a_task, play

# --- lost answers ---


@pytest.mark.parametrize(
    ("rpc", "events", "status"),
    [
        ("GetParameterValues", ["2 PERIODIC"], TaskStatus.QUEUED),
        ("SetParameterValues", ["2 PERIODIC"], TaskStatus.QUEUED),
        ("DeleteObject", ["2 PERIODIC"], TaskStatus.QUEUED),
        ("Reboot", ["1 BOOT"], TaskStatus.DONE),
        ("Reboot", ["2 PERIODIC"], TaskStatus.QUEUED),
        ("FactoryReset", ["1 BOOT"], TaskStatus.QUEUED),
        ("FactoryReset", ["0 BOOTSTRAP", "1 BOOT"], TaskStatus.DONE),
        ("Download", ["2 PERIODIC"], TaskStatus.UNKNOWN),
        ("Upload", ["2 PERIODIC"], TaskStatus.UNKNOWN),
        ("AddObject", ["2 PERIODIC"], TaskStatus.QUEUED),
    ],
)
def test_a_lost_answer_is_settled_by_what_the_device_tells_next(
    rpc: str, events: list[str], status: TaskStatus
) -> None:
    """What may be repeated is repeated; what may not is looked into."""
    task = a_task(rpc, status=TaskStatus.UNKNOWN, attempts=1, command_key="k")
    after = settle.at_contact(task, [m.EventStruct(e) for e in events], attempts=3, now=9.0)
    assert after.status is status


def test_an_add_object_that_was_sent_is_read_back() -> None:
    """Once the instances before it are known, a lost AddObject is not simply repeated."""
    task = a_task("AddObject", status=TaskStatus.UNKNOWN, attempts=1, progress={"instances": [1]})
    assert settle.at_contact(task, [], attempts=3, now=9.0).status is TaskStatus.UNKNOWN


def test_a_transfer_event_with_its_key_tells_that_the_lost_download_arrived() -> None:
    """M Download with the task's CommandKey: its TransferComplete comes next."""
    task = a_task("Download", status=TaskStatus.UNKNOWN, attempts=1, command_key="k")
    events = [m.EventStruct("7 TRANSFER COMPLETE"), m.EventStruct("M Download", "k")]
    after = settle.at_contact(task, events, attempts=3, now=9.0)
    assert (after.status, after.phase) == (TaskStatus.RUNNING, TaskPhase.TRANSFER)


def test_a_task_is_not_sent_for_ever() -> None:
    """After the last attempt it has failed, with a sentence."""
    task = a_task("GetParameterValues", status=TaskStatus.UNKNOWN, attempts=3)
    after = settle.at_contact(task, [], attempts=3, now=9.0)
    assert after.status is TaskStatus.FAILED
    assert after.fault is not None
    assert "3 times" in after.fault.string


@pytest.mark.parametrize(
    ("status", "after", "awaited"),
    [
        ("Installing", TaskStatus.DONE, True),
        ("Uninstalling", TaskStatus.DONE, True),
        ("Installed", TaskStatus.QUEUED, False),
        (None, TaskStatus.UNKNOWN, False),
    ],
)
def test_a_lost_change_of_modules_is_settled_by_their_status(
    status: str | None, after: TaskStatus, awaited: bool
) -> None:
    """A unit on its way says that the device took it; none, that it may be sent again; no answer, that nobody knows."""
    answer: m.Response | m.FaultMessage = m.FaultMessage(9005, "no such table")
    if status is not None:
        name = "Device.SoftwareModules.DeploymentUnit.1.Status"
        answer = m.GetParameterValuesResponse((m.ParameterValueStruct(name, status, "string"),))
    task = a_task("ChangeDUState", {"operations": [{"type": "Uninstall", "uuid": "u"}], "command_key": "k"})
    sent, result = play(programs.settle_modules(task, "Device."), answer)
    assert [s.parameter_names for s in sent] == [("Device.SoftwareModules.DeploymentUnit.",)]
    assert result is not None and (result.status, result.awaited) == (after, awaited)


# --- which task is next ---


def order(*tasks: TaskRecord) -> list[str]:
    return [t.id for t in settle.candidates(sorted(tasks, key=lambda t: (-t.priority, t.id)))]


def of(id: str, rpc: str = "GetRPCMethods", **fields: Any) -> TaskRecord:
    return TaskRecord(id=id, device="d", rpc=rpc, args={}, **fields)


def test_what_an_urgent_task_waits_for_is_as_urgent() -> None:
    """Over a chain, and in its order; who waits for nothing of this device stays where it is."""
    chain = [of("1"), of("2", after="1", priority=-5), of("3", after="2", priority=9)]
    assert order(*chain, of("4", priority=5), of("5")) == ["1", "2", "3", "4", "5"]
    assert order(of("1"), of("2", after="elsewhere", priority=3)) == ["2", "1"]


def test_what_is_sent_again_comes_before_younger_tasks() -> None:
    """It may have been done already: behind an urgent one that sets the same it would undo that. A read undoes nothing."""
    again = {"progress": {"again": True}}
    first, second = of("2", "DeleteObject", **again), of("3", "SetParameterValues", priority=1, **again)
    read = of("1", "GetParameterValues", **again)
    assert order(read, first, second, of("4", priority=9)) == ["3", "2", "4", "1"]


def test_only_what_the_device_can_be_asked_about_is_settled_by_asking() -> None:
    """It comes first. A Reboot or a setting is settled by the next Inform: a transfer queue knows nothing of them."""
    lost = {"status": TaskStatus.UNKNOWN}
    tasks = [
        of("1", "Reboot", **lost),
        of("2", "SetParameterValues", **lost),
        of("3", "AddObject", **lost),
        of("4", "AddObject", progress={"instances": []}, **lost),
        of("5", "Download", **lost),
        of("6", "Upload", progress={"asked": True}, **lost),
    ]
    assert order(*tasks, of("7", priority=9)) == ["4", "5", "7"]


def test_no_row_is_made_in_a_table_where_one_may_have_been_made() -> None:
    """The device would not say yet whether it was. Other tables, and other methods, are not concerned."""
    lost = of("1", "AddObject", status=TaskStatus.UNKNOWN, progress={"instances": [], "asked": True})
    lost = replace(lost, args={"object_name": "Device.T."})
    same, other = (replace(of(id, "AddObject"), args={"object_name": f"Device.{id[1]}."}) for id in ("2T", "3U"))
    deleting = replace(of("4", "DeleteObject"), args={"object_name": "Device.T."})
    assert order(lost, same, other, deleting) == ["3U", "4"]


def test_nothing_is_done_that_a_factory_reset_would_undo() -> None:
    """Between its acceptance and the device's bootstrap; a Reboot undoes nothing."""
    for rpc, expected in (("FactoryReset", []), ("Reboot", ["2"])):
        awaited = of("1", rpc, status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER)
        assert order(awaited, of("2")) == expected


def test_a_restart_or_transfer_that_was_lost_too_often_may_be_told_of_yet() -> None:
    """Of anything else nothing comes any more. What was seen at one attempt says nothing of the next."""
    for rpc, phase in (("Reboot", "overdue"), ("Upload", "overdue"), ("SetParameterValues", "")):
        after = settle.again(of("1", rpc, status=TaskStatus.UNKNOWN, attempts=3), 3, 9.0)
        assert (after.status, after.phase) == (TaskStatus.FAILED, phase)
    progress = {"instances": [1], "asked": True, "lost": 1.0, "due": 2.0}
    after = settle.again(of("1", "AddObject", status=TaskStatus.UNKNOWN, attempts=1, progress=progress), 3, 9.0)
    assert (after.status, after.progress) == (TaskStatus.QUEUED, {"again": True})


@pytest.mark.parametrize(
    ("program", "questions"),
    [
        (programs.settle_transfer(of("1", "Download", command_key="k")), 2),
        (programs.settle_modules(of("1", "ChangeDUState"), "Device."), 1),
        (programs.settle_add_object(a_task("AddObject", {"object_name": "Device.T."}, progress={"instances": [1]})), 1),
    ],
    ids=["transfer", "modules", "object"],
)
def test_a_device_that_will_not_say_now_is_asked_at_its_next_contacts(program: steps.Program, questions: int) -> None:
    """Busy or out of memory (9002, 9004) is no answer; after a few such ones it is left to the device and the clock."""
    _, result = play(program, *[m.FaultMessage(9002, "busy")] * questions)
    assert result is not None
    patience = settle.Patience(10.0, 10.0)
    task = of("1", "Download", status=TaskStatus.UNKNOWN, progress={"lost": 1.0})
    asked = []
    for _ in range(4):
        task = settle.at_contact(task, [], attempts=3, now=2.0)
        asked.append(len(settle.candidates([task])))
        if asked[-1]:
            task = settle.finished(task, result, attempts=3, patience=patience, now=2.0)
            assert settle.candidates([task]) == []
    assert asked == [1, 1, 1, 0]
    never = steps.Result(TaskStatus.UNKNOWN, fault=FaultDetail(9000, "no such method"))
    task = settle.finished(
        of("1", "Download", status=TaskStatus.UNKNOWN), never, attempts=3, patience=patience, now=2.0
    )
    assert settle.candidates([settle.at_contact(task, [], attempts=3, now=3.0)]) == []
