"""Tasks over the ends of sessions: what becomes of one whose answer was lost, and which comes next."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from homeport.acs.engine.programs import Result
from homeport.acs.records import FaultDetail, TaskPhase, TaskRecord, TaskStatus
from homeport.codec.messages import EventStruct, FaultStruct
from homeport.terms import EventCode, RpcName

TRANSFERS: Final = frozenset({RpcName.DOWNLOAD, RpcName.UPLOAD, RpcName.SCHEDULE_DOWNLOAD, RpcName.CHANGE_DU_STATE})
"""Methods whose end a later RPC of the device tells."""

READS: Final = frozenset(
    {
        RpcName.GET_RPC_METHODS,
        RpcName.GET_PARAMETER_NAMES,
        RpcName.GET_PARAMETER_VALUES,
        RpcName.GET_PARAMETER_ATTRIBUTES,
        RpcName.GET_QUEUED_TRANSFERS,
        RpcName.GET_ALL_QUEUED_TRANSFERS,
        RpcName.GET_OPTIONS,
    }
)
"""Methods that change nothing at the device: where an answer is lost the question is put again, so no row has to say that it was put."""

REPEATABLE: Final = READS | {RpcName.SET_PARAMETER_VALUES, RpcName.SET_PARAMETER_ATTRIBUTES, RpcName.CANCEL_TRANSFER}
"""Methods that leave the device the same whether it does them once or twice."""


def lost(task: TaskRecord) -> TaskRecord:
    """The task after its session died with the RPC sent and not answered."""
    return replace(task, status=TaskStatus.UNKNOWN)


def at_contact(task: TaskRecord, events: Iterable[EventStruct], *, attempts: int, now: float) -> TaskRecord:
    """A task with a lost answer when the device is heard again: done, sent again, or still unknown.

    attempts: how often a task is sent. The rules: Reboot and FactoryReset are known by their events; transfers by their event or the
    device's queue; AddObject, once it was sent itself, by reading back; everything else may be repeated.
    """
    codes = {e.event_code for e in events}
    if task.rpc == RpcName.REBOOT:
        if EventCode.BOOT in codes or (EventCode.M_REBOOT, task.command_key) in {
            (e.event_code, e.command_key) for e in events
        }:
            return done(task, {"settled": "by the boot event"}, now)
        return again(task, attempts, now)
    if task.rpc == RpcName.FACTORY_RESET:
        if EventCode.BOOTSTRAP in codes:
            return done(task, {"settled": "by the bootstrap event"}, now)
        return again(task, attempts, now)
    if task.rpc in TRANSFERS:
        told = {e.command_key for e in events if e.event_code.startswith("M ")}
        if task.command_key and task.command_key in told:
            return replace(task, status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER)
    if task.rpc in TRANSFERS or "instances" in task.progress:
        return replace(task, status=TaskStatus.UNKNOWN)
    return again(task, attempts, now)


def again(task: TaskRecord, attempts: int, now: float) -> TaskRecord:
    """The task to be sent once more, or failed where that was tried often enough."""
    if task.attempts >= attempts:
        fault = FaultDetail(
            0, f"the session ended before the answer, {task.attempts} times; look at the device's sessions"
        )
        return replace(task, status=TaskStatus.FAILED, phase=TaskPhase.NONE, fault=fault, finished=now)
    return replace(task, status=TaskStatus.QUEUED, phase=TaskPhase.NONE)


def done(task: TaskRecord, result: dict[str, Any], now: float) -> TaskRecord:
    """The task with its good end."""
    return replace(task, status=TaskStatus.DONE, phase=TaskPhase.NONE, result=result, finished=now)


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


def finished(task: TaskRecord, result: Result, *, attempts: int, now: float) -> TaskRecord:
    """The task after its program has ended."""
    if result.status is TaskStatus.QUEUED:
        return again(task, attempts, now)
    if result.status is TaskStatus.UNKNOWN:
        return replace(task, status=TaskStatus.UNKNOWN, progress=task.progress | {"asked": True})
    if result.awaited:
        return replace(task, status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER, result=result.result)
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


def candidates(tasks: Sequence[TaskRecord]) -> list[TaskRecord]:
    """Tasks that have something to say to the device, the next one first."""
    return [
        t
        for t in tasks
        if t.status is TaskStatus.QUEUED or (t.status is TaskStatus.UNKNOWN and not t.progress.get("asked"))
    ]
