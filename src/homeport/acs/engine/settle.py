"""Tasks over the ends of sessions: what becomes of one whose answer was lost, and which comes next."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from homeport.acs.engine.args import REFRESH
from homeport.acs.engine.steps import PASSING, Result
from homeport.acs.records import OPEN_STATUSES, FaultDetail, TaskPhase, TaskRecord, TaskStatus
from homeport.codec.messages import EventStruct, FaultStruct
from homeport.terms import EventCode, RpcName

TRANSFERS: Final = frozenset({RpcName.DOWNLOAD, RpcName.UPLOAD, RpcName.SCHEDULE_DOWNLOAD, RpcName.CHANGE_DU_STATE})
"""Methods whose end a later RPC of the device tells."""

RESTARTS: Final = frozenset({RpcName.REBOOT, RpcName.FACTORY_RESET})
"""Methods whose end the events of a later Inform tell."""

READS: Final = frozenset(
    {
        RpcName.GET_RPC_METHODS,
        RpcName.GET_PARAMETER_NAMES,
        RpcName.GET_PARAMETER_VALUES,
        RpcName.GET_PARAMETER_ATTRIBUTES,
        RpcName.GET_QUEUED_TRANSFERS,
        RpcName.GET_ALL_QUEUED_TRANSFERS,
        RpcName.GET_OPTIONS,
        REFRESH,
    }
)
"""Methods that change nothing at the device: where an answer is lost the question is put again, so no row has to say that it was put."""

REPEATABLE: Final = READS | {RpcName.SET_PARAMETER_VALUES, RpcName.SET_PARAMETER_ATTRIBUTES, RpcName.CANCEL_TRANSFER}
"""Methods that leave the device the same whether it does them once or twice."""


_TELLING: Final = frozenset({EventCode.TRANSFER_COMPLETE, EventCode.DU_STATE_CHANGE_COMPLETE})
"""Events after which the device tells the end of a transfer in the same session."""


def lost(task: TaskRecord, *, patience: "Patience", now: float) -> TaskRecord:
    """The task after its session died with the RPC sent and not answered."""
    return noted(_unsettled(task, now, anew=True), patience=patience, now=now)


def _unsettled(task: TaskRecord, now: float, *, anew: bool = False) -> TaskRecord:
    """The task whose outcome is not known. anew: its answer was lost in this moment, not earlier."""
    known = {k: v for k, v in task.progress.items() if k != "due" and not (anew and k == "lost")}
    return replace(task, status=TaskStatus.UNKNOWN, progress={"lost": now, **known})


def at_contact(task: TaskRecord, events: Iterable[EventStruct], *, attempts: int, now: float) -> TaskRecord:
    """A task with a lost answer when the device is heard again: done, sent again, or still unknown.

    attempts: how often a task is sent. The rules: Reboot and FactoryReset are known by their events; transfers by their event or the
    device's queue; AddObject, once it was sent itself, by reading back. Everything else may be repeated, but for a vendor's method, of
    which nobody knows that, and for what has expired: there it stays unknown for good.
    """
    if task.rpc in RESTARTS:
        event = _told_restart(task, events)
        if event:
            return done(task, {"settled": f"by the event {event}"}, now)
    if task.rpc in TRANSFERS:
        told = {e.command_key for e in events if e.event_code.startswith("M ")}
        if task.command_key and task.command_key in told:
            progress = {k: v for k, v in task.progress.items() if k not in ("due", "reset")} | {"accepted": now}
            return replace(task, status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER, progress=progress)
    if task.rpc in TRANSFERS or "instances" in task.progress:
        if 0 < task.progress.get("refusals", 0) < attempts:
            # It would not say at its last contact what became of the task.
            task = replace(task, progress={k: v for k, v in task.progress.items() if k != "asked"})
        return _unsettled(task, now)
    if task.rpc not in READS:
        over = task.expires is not None and task.expires <= now
        if over or task.rpc.startswith("X_"):
            why = "it has expired" if over else f"whether {task.rpc} may be done twice is not known, either"
            return _for_good(task, f"{_NOT_KNOWN}; it is not sent again: {why}", now)
        task = replace(task, progress=task.progress | {"maybe": True})
    return again(task, attempts, now)


_NOT_KNOWN: Final = "the session ended before the answer, and it is not known whether the device has done it"


_FORGOTTEN: Final = (
    "the device had accepted it, but started anew with its factory settings before it told of the end, and does not know of it any more;"
    " see what the device holds, and make the task again where it is still wanted"
)
"""Not sent again: whether it was done before, and only its report was wiped, nobody can tell."""


def _for_good(task: TaskRecord, why: str, now: float) -> TaskRecord:
    """The task, failed because its outcome is not known; what the device tells of it later still counts."""
    return replace(task, status=TaskStatus.FAILED, phase=TaskPhase.OVERDUE, fault=FaultDetail(0, why), finished=now)


def _told_restart(task: TaskRecord, events: Iterable[EventStruct]) -> str:
    """The event that tells that a Reboot or FactoryReset was done, "" where none does."""
    told = {(e.event_code, e.command_key) for e in events}
    codes = {code for code, _ in told}
    if task.rpc == RpcName.FACTORY_RESET:
        return EventCode.BOOTSTRAP if EventCode.BOOTSTRAP in codes else ""
    if (EventCode.M_REBOOT, task.command_key) in told:
        return EventCode.M_REBOOT
    # Devices exist that forget the CommandKey, or the M event: it has restarted all the same.
    return EventCode.BOOT if EventCode.BOOT in codes else ""


class Patience(Struct, frozen=True):
    """Seconds that the end of what a device has accepted is waited for: a restart, a transfer (after the moment at which it may begin).

    unknown: that a device is waited for whose answer was lost.
    """

    restart: float
    transfer: float
    unknown: float = 604_800.0


def overdue(task: TaskRecord, *, patience: Patience, now: float) -> TaskRecord:
    """The task, failed where the end of what the device has accepted was not told in time, or a lost answer was not made good."""
    over = over_at(task, patience=patience) if task.status is not TaskStatus.QUEUED else None
    if over is None or now < over:
        return task
    if task.status is TaskStatus.UNKNOWN:
        return _for_good(task, f"{_NOT_KNOWN}; nothing has told it since, so see what the device holds", over)
    if task.rpc in TRANSFERS:
        why = f"the device has accepted it, but has not told of the end within {patience.transfer:g} s; see whether it still comes"
    else:
        event = EventCode.M_REBOOT if task.rpc == RpcName.REBOOT else EventCode.BOOTSTRAP
        why = (
            f"the device has accepted it, but has not told of its restart ({event}) within {patience.restart:g} s;"
            " see whether it still comes"
        )
    return replace(task, status=TaskStatus.FAILED, phase=TaskPhase.OVERDUE, fault=FaultDetail(0, why), finished=over)


def by_clock(task: TaskRecord, *, patience: Patience, now: float) -> TaskRecord:
    """The task as the clock leaves it: expired, overdue, or the same."""
    if expired(task, now):
        if task.progress.get("maybe"):
            return _for_good(task, f"{_NOT_KNOWN}; it is not sent again: it has expired", task.expires or now)
        return replace(task, status=TaskStatus.EXPIRED, finished=task.expires)
    return overdue(task, patience=patience, now=now)


def noted(task: TaskRecord, *, patience: Patience, now: float) -> TaskRecord:
    """The task with the moment at which it is looked at again, where an end or an answer is awaited: that of the patience as it is now."""
    if task.status is TaskStatus.UNKNOWN:
        if "lost" not in task.progress:
            task = replace(task, progress=task.progress | {"lost": now})
        return replace(task, progress=task.progress | {"due": over_at(task, patience=patience)})
    if not _awaited(task):
        return task
    if "accepted" not in task.progress:
        task = replace(task, progress=task.progress | {"accepted": now})
    return replace(task, progress=task.progress | {"due": over_at(task, patience=patience)})


def late(task: TaskRecord, events: Iterable[EventStruct], *, first: bool, now: float) -> TaskRecord:
    """An overdue restart after the events of an Inform: done where they tell of it after all, else the same.

    first: the device was not heard since it has accepted the task. Only then does a boot without the task's key tell of it: later
    it may be any other.
    """
    told = _told_restart(task, events) if task.rpc in RESTARTS else ""
    if told and (first or told == EventCode.M_REBOOT):
        return done(task, {"confirmed": told}, now)
    return task


def over_at(task: TaskRecord, *, patience: Patience) -> float | None:
    """When the task ends by itself, seconds since 1970: its expiry, or the end of the patience. None where it does not.

    With a lost answer it ends at its expiry, too, but not before the device could be back after a restart.
    """
    if task.status is TaskStatus.QUEUED:
        return task.expires
    if task.status is TaskStatus.UNKNOWN:
        since = task.progress.get("lost")
        if since is None:
            return None
        end = task.expires if task.expires is not None else since + patience.unknown
        return float(max(end, since + patience.restart))
    accepted = task.progress.get("accepted")
    if not _awaited(task) or accepted is None:
        return None
    if task.rpc in RESTARTS:
        return float(accepted + patience.restart)
    return float(accepted + _begins(task.args) + patience.transfer)


def _begins(args: dict[str, Any]) -> float:
    """Seconds after which, at the latest, a transfer begins."""
    windows = [w.get("window_end", 0) for w in args.get("time_window_list", ())]
    return float(max([args.get("delay_seconds", 0), *windows]))


def _awaited(task: TaskRecord) -> bool:
    return task.status is TaskStatus.RUNNING and task.phase is TaskPhase.TRANSFER


def at_inform(
    task: TaskRecord, events: Sequence[EventStruct], *, attempts: int, patience: Patience, now: float
) -> TaskRecord:
    """An open task when its device opens a session: `at_contact` where its answer was lost; where an end is awaited, done if an event
    tells of the restart (as where it is to be sent again), failed if it is overdue and this session will not tell it either.

    A device may have sessions before it restarts, so one without the event says nothing. One that starts anew with its factory settings may
    have forgotten what it had accepted: such a transfer is not known any more until the device was asked.
    """
    if task.status is TaskStatus.UNKNOWN or (task.status is TaskStatus.RUNNING and not _awaited(task)):
        return at_contact(task, events, attempts=attempts, now=now)
    sent_before = task.status is TaskStatus.QUEUED and bool(task.progress.get("again"))
    if not _awaited(task) and not sent_before:
        return task
    if task.rpc in RESTARTS:
        told = _told_restart(task, events)
        if told:
            return done(task, {"confirmed": told}, now)
    elif any(e.event_code in _TELLING for e in events):
        return task
    elif _awaited(task) and any(e.event_code == EventCode.BOOTSTRAP for e in events):
        # Factory settings have no queue of transfers, and a device that forgets one never tells of its end: it is asked.
        unsettled = _unsettled(task, now, anew=True)
        progress = {k: v for k, v in unsettled.progress.items() if k != "asked"} | {"reset": True}
        return noted(replace(unsettled, progress=progress), patience=patience, now=now)
    return overdue(task, patience=patience, now=now)


def again(task: TaskRecord, attempts: int, now: float) -> TaskRecord:
    """The task to be sent once more, or failed where that was tried often enough."""
    if task.attempts >= attempts:
        fault = FaultDetail(
            0, f"the session ended before the answer, {task.attempts} times; look at the device's sessions"
        )
        # What the device tells of a restart or a transfer may come yet; of anything else nothing will.
        phase = TaskPhase.OVERDUE if task.rpc in RESTARTS | TRANSFERS else TaskPhase.NONE
        return replace(task, status=TaskStatus.FAILED, phase=phase, fault=fault, finished=now)
    # What was seen at this attempt says nothing of the next one.
    progress = {k: v for k, v in task.progress.items() if k not in _OF_ONE_ATTEMPT} | {"again": True}
    return replace(task, status=TaskStatus.QUEUED, phase=TaskPhase.NONE, progress=progress)


_OF_ONE_ATTEMPT: Final = frozenset({"instances", "asked", "refusals", "accepted", "lost", "due"})


def forsaken(task: TaskRecord, before: TaskRecord | None, now: float) -> TaskRecord:
    """A task that waits for another: failed where that one has ended otherwise than done, or is gone; else the same. before: that one."""
    if task.status is not TaskStatus.QUEUED or task.after is None:
        return task
    if before is not None and before.status in OPEN_STATUSES | {TaskStatus.DONE}:
        return task
    state = before.status.value if before is not None else "gone with its device"
    why = f"the task {task.after}, which this one waits for, is {state}"
    return replace(task, status=TaskStatus.FAILED, fault=FaultDetail(0, why), finished=now)


def done(task: TaskRecord, result: dict[str, Any], now: float) -> TaskRecord:
    """The task with its good end, also after it had failed for want of it."""
    return replace(task, status=TaskStatus.DONE, phase=TaskPhase.NONE, result=result, fault=None, finished=now)


def sent(task: TaskRecord, progress: dict[str, Any] | None, now: float, *, first: bool) -> TaskRecord:
    """The task as it must be on the disk before its RPC leaves. first: the first RPC of this attempt."""
    return replace(
        task,
        status=TaskStatus.RUNNING,
        phase=TaskPhase.SENT,
        started=task.started or now,
        attempts=task.attempts + (1 if first else 0),
        progress=task.progress | progress if progress else task.progress,
    )


def finished(task: TaskRecord, result: Result, *, attempts: int, patience: Patience, now: float) -> TaskRecord:
    """The task after its program has ended."""
    if result.status is TaskStatus.QUEUED and task.progress.get("reset"):
        return _for_good(task, _FORGOTTEN, now)
    if result.status is TaskStatus.QUEUED:
        return again(task, attempts, now)
    if result.status is TaskStatus.UNKNOWN:
        unsettled = _unsettled(task, now)
        told: dict[str, Any] = {"asked": True}
        if result.fault is not None and result.fault.code in PASSING:
            told["refusals"] = task.progress.get("refusals", 0) + 1
        return noted(replace(unsettled, progress=unsettled.progress | told), patience=patience, now=now)
    if result.awaited:
        progress = {k: v for k, v in task.progress.items() if k != "reset"} | {"accepted": now}
        accepted = replace(
            task, status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER, result=result.result, progress=progress
        )
        return noted(accepted, patience=patience, now=now)
    return replace(
        task, status=result.status, phase=TaskPhase.NONE, result=result.result, fault=result.fault, finished=now
    )


def transfer_ended(task: TaskRecord, told: dict[str, Any], fault: FaultStruct | None, now: float) -> TaskRecord:
    """The task whose TransferComplete or DUStateChangeComplete came."""
    if fault is not None and fault.fault_code != 0:
        detail = FaultDetail(fault.fault_code, fault.fault_string)
        return replace(task, status=TaskStatus.FAILED, phase=TaskPhase.NONE, result=told, fault=detail, finished=now)
    return done(task, told, now)


def expired(task: TaskRecord, now: float) -> bool:
    """Whether it is too late to send the task."""
    return task.status is TaskStatus.QUEUED and task.expires is not None and task.expires <= now


def candidates(tasks: Sequence[TaskRecord]) -> Sequence[TaskRecord]:
    """Tasks that have something to say to the device, the next one first.

    What became of lost answers is asked before anything else is done; the row of another AddObject would be taken for the lost one's, so
    that waits until this is known. Then comes what
    is sent again and changes something: behind a younger task it would undo what that one sets. What an urgent task waits for is as
    urgent. While a FactoryReset is awaited nothing is said: the device would forget it.
    """
    if len(tasks) == 1 and tasks[0].status is TaskStatus.QUEUED:
        return tasks  # nearly always
    if any([t.rpc == RpcName.FACTORY_RESET and _awaited(t) for t in tasks]):
        return []
    asked = [t for t in tasks if t.status is TaskStatus.UNKNOWN and _can_be_asked(t)]
    unsure = {t.args.get("object_name") for t in tasks if t.status is TaskStatus.UNKNOWN and "instances" in t.progress}
    queued = [
        t
        for t in tasks
        if t.status is TaskStatus.QUEUED
        and not (unsure and t.rpc == RpcName.ADD_OBJECT and t.args.get("object_name") in unsure)
    ]
    if any([t.after is not None for t in queued]):
        urgent = {t.id: t.priority for t in queued}
        for task in sorted(queued, key=lambda t: t.id, reverse=True):  # who waits is younger
            if task.after in urgent:
                urgent[task.after] = max(urgent[task.after], urgent[task.id])
        queued.sort(key=lambda t: (-urgent[t.id], t.id))
    if any([t.progress and _begun(t) for t in queued]):
        queued.sort(key=lambda t: not _begun(t))
    return asked + queued


def _begun(task: TaskRecord) -> bool:
    return bool(task.progress.get("again")) and task.rpc not in READS


def _can_be_asked(task: TaskRecord) -> bool:
    """Whether the device can be asked what became of a lost answer; of other tasks the events of its next Inform decide."""
    return (task.rpc in TRANSFERS or "instances" in task.progress) and not task.progress.get("asked")


def called_off(task: TaskRecord, key: str, by: str, now: float) -> TaskRecord:
    """The task after the device has cancelled the transfers with this CommandKey: of an awaited one it tells no end. by: a task."""
    if task.rpc not in _CANCELLED or task.command_key != key or not _awaited(task):
        return task
    result = (task.result or {}) | {"cancelled_by": by}
    return replace(task, status=TaskStatus.CANCELLED, phase=TaskPhase.NONE, result=result, finished=now)


_CANCELLED: Final = frozenset({RpcName.DOWNLOAD, RpcName.UPLOAD, RpcName.SCHEDULE_DOWNLOAD})
"""What CancelTransfer takes back."""
