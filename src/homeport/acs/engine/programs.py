"""How a wish becomes RPCs: one generator per kind, which yields steps and is sent the device's answers.

A program knows nothing of sessions, storage or time; one that is cut short is settled by `settle`.
"""

from collections.abc import Mapping
from typing import Any, Final

from homeport.acs.engine.args import REFRESH, Call, request_of, result_of, untyped
from homeport.acs.engine.effects import ROOTS
from homeport.acs.engine.lists import (
    MOST_NAMES,
    MOST_REFUSALS,
    get_attributes,
    get_values,
    halves,
    name_size,
    pieces,
    set_rows,
)
from homeport.acs.engine.steps import PASSING, Program, Reply, Result, Step, detail, failed
from homeport.acs.records import NO_HABITS, Behaviour, FaultDetail, StoredValue, TaskRecord, TaskStatus
from homeport.codec import messages as m
from homeport.terms import FaultCode, RpcName

_TRANSFERS: Final = frozenset({RpcName.DOWNLOAD, RpcName.UPLOAD, RpcName.SCHEDULE_DOWNLOAD, RpcName.CHANGE_DU_STATE})


_MOVING: Final = frozenset({"Installing", "Updating", "Uninstalling"})
"""DeploymentUnit.{i}.Status while an operation is done."""


def refused(why: str) -> Program:
    """The program of a task that cannot be sent any more; why: a sentence."""
    yield from ()
    return Result(TaskStatus.FAILED, fault=FaultDetail(0, why))


def program(task: TaskRecord, known: Mapping[str, StoredValue], habits: Behaviour = NO_HABITS) -> Program:
    """The program of a task. known: what is known of the parameters that it names."""
    if task.rpc == REFRESH:
        return discover(str(task.args["path"]), habits)
    request = request_of(task.rpc, task.args)
    match request:
        case m.SetParameterValues():
            return _set_values(request, untyped(task.args), known, habits)
        case m.SetParameterAttributes(parameter_list=rows):
            return set_rows(rows, m.SetParameterAttributes, habits)
        case m.GetParameterValues(parameter_names=names):
            return get_values(names, habits)
        case m.GetParameterAttributes(parameter_names=names):
            return get_attributes(names, habits)
        case m.AddObject():
            return _add_object(request)
        case m.DeleteObject() if task.progress.get("again"):
            return _delete_again(request)
    return _single(request)


def _single(request: Call) -> Program:
    answer = yield Step(request)
    if isinstance(answer, m.FaultMessage):
        return failed(answer)
    awaited = isinstance(request, m.Reboot | m.FactoryReset)
    if isinstance(request, m.Request) and request.element in _TRANSFERS:
        awaited = getattr(answer, "status", 1) == 1
    return Result(TaskStatus.DONE, result_of(answer), awaited=awaited)


def _set_values(
    request: m.SetParameterValues, open_types: frozenset[str], known: Mapping[str, StoredValue], habits: Behaviour
) -> Program:
    """With the types that the device itself gives; those that it refuses do not hold up the others, and both outcomes are told."""
    missing = [n for n in sorted(open_types) if n not in known or known[n].value is None]
    types = {n: known[n].type for n in open_types if n in known and known[n].value is not None}
    if missing:
        found = yield from get_values(missing, habits)
        types.update((row.name, row.type) for row in (found.result or {}).get("parameter_list", ()))
    rows = [m.ParameterValueStruct(r.name, r.value, types.get(r.name) or r.type) for r in request.parameter_list]
    return (yield from set_rows(rows, lambda piece: m.SetParameterValues(piece, request.parameter_key), habits))


def _add_object(request: m.AddObject) -> Program:
    """The instances are read before, so that after a lost answer the new one can be told from the old ones."""
    before = yield Step(m.GetParameterNames(request.object_name.partition("[")[0], True))
    instances = instances_of(before, request.object_name)
    answer = yield Step(request, progress={"instances": instances})
    if isinstance(answer, m.FaultMessage):
        return failed(answer)
    return Result(TaskStatus.DONE, result_of(answer))


def _delete_again(request: m.DeleteObject) -> Program:
    """After a lost answer: an object that its table does not list any more was deleted at the first time."""
    answer = yield Step(request)
    if not isinstance(answer, m.FaultMessage):
        return Result(TaskStatus.DONE, result_of(answer))
    if answer.fault_code == FaultCode.INVALID_PARAMETER_NAME:
        table = request.object_name.rstrip(".").rpartition(".")[0] + "."
        left = yield Step(m.GetParameterNames(table, True))
        if isinstance(left, m.GetParameterNamesResponse) and all(
            row.name != request.object_name for row in left.parameter_list
        ):
            return Result(TaskStatus.DONE, {"status": 0, "settled": "by reading back"})
    return failed(answer)


def settle_add_object(task: TaskRecord) -> Program:
    """Looks whether a lost AddObject made an instance. QUEUED in the result: it did not, so it may be sent again."""
    request = request_of(task.rpc, task.args)
    assert isinstance(request, m.AddObject)
    table = request.object_name.partition("[")[0]
    answer = yield Step(m.GetParameterNames(table, True))
    before = task.progress.get("instances")
    now = instances_of(answer, request.object_name)
    if before is not None and isinstance(answer, m.FaultMessage) and answer.fault_code in PASSING:
        return Result(TaskStatus.UNKNOWN, fault=detail(answer))
    if before is None or now is None:
        return Result(TaskStatus.FAILED, fault=FaultDetail(0, "the answer was lost and the table cannot be read back"))
    new = sorted(set(now) - set(before))
    if not new:
        return Result(TaskStatus.QUEUED)
    return Result(TaskStatus.DONE, {"instance_number": new[-1], "status": 0, "settled": "by reading back"})


def instances_of(answer: Reply, object_name: str) -> list[int] | None:
    """Instance numbers of a table in a GetParameterNames answer; None where the device would not tell."""
    if not isinstance(answer, m.GetParameterNamesResponse):
        return None
    table = object_name.partition("[")[0]
    found = []
    for row in answer.parameter_list:
        number = row.name[len(table) :].partition(".")[0] if row.name.startswith(table) else ""
        if number.isascii() and number.isdigit():
            found.append(int(number))
    return sorted(set(found))


def settle_transfer(task: TaskRecord) -> Program:
    """Asks whether a lost Download or Upload is in the device's queue. QUEUED in the result: it is not, so it may be sent again."""
    answer = yield Step(m.GetAllQueuedTransfers())
    if isinstance(answer, m.FaultMessage):
        answer = yield Step(m.GetQueuedTransfers())
    if isinstance(answer, m.GetAllQueuedTransfersResponse | m.GetQueuedTransfersResponse):
        keys = {t.command_key for t in answer.transfer_list}
        if task.command_key in keys:
            return Result(TaskStatus.DONE, {"status": 1, "settled": "by the transfer queue"}, awaited=True)
        return Result(TaskStatus.QUEUED)
    # It cannot be known: a transfer is not repeated on a guess. A TransferComplete, or the clock, ends the task.
    return Result(TaskStatus.UNKNOWN, fault=detail(answer) if isinstance(answer, m.FaultMessage) else None)


def settle_modules(task: TaskRecord, root: str) -> Program:
    """Asks whether a lost ChangeDUState is being done: a deployment unit is on its way. QUEUED in the result: it may be sent again.

    One that is over already was told by its event before this is asked. A repetition does no harm: the first report is the task's.
    root: of the device's data model.
    """
    answer = yield Step(m.GetParameterValues((f"{root or 'Device.'}SoftwareModules.DeploymentUnit.",)))
    if not isinstance(answer, m.GetParameterValuesResponse):
        return Result(TaskStatus.UNKNOWN, fault=detail(answer) if isinstance(answer, m.FaultMessage) else None)
    if any(row.name.endswith(".Status") and row.value in _MOVING for row in answer.parameter_list):
        return Result(TaskStatus.DONE, {"settled": "by the deployment units' status"}, awaited=True)
    return Result(TaskStatus.QUEUED)


def discover(root: str, habits: Behaviour = NO_HABITS) -> Program:
    """Reads all names below an object, then all values. Never asks with an empty path: several devices crash on it."""
    refusals = 0
    answer: Reply | None = None
    learnt: dict[str, Any] = {}
    if not habits.level_by_level:
        answer = yield Step(m.GetParameterNames(root, False))
    leaves: list[str] = []
    if isinstance(answer, m.GetParameterNamesResponse):
        leaves = [n.name for n in answer.parameter_list if not n.name.endswith(".")]
        if not leaves and root not in ROOTS:
            return Result(TaskStatus.DONE, {"names": 0, "refused": []})  # a table without rows
    elif root.endswith("."):
        waiting, seen = [root], {root}
        while waiting and refusals < MOST_REFUSALS:
            answer = yield Step(m.GetParameterNames(waiting.pop(), True))
            if not isinstance(answer, m.GetParameterNamesResponse):
                refusals += 1
                continue
            for row in answer.parameter_list:
                if not row.name.endswith("."):
                    leaves.append(row.name)
                elif row.name not in seen:
                    seen.add(row.name)
                    waiting.append(row.name)
        if leaves:
            learnt["level_by_level"] = True
    if not leaves:
        if isinstance(answer, m.FaultMessage):
            return failed(answer)
        text = f"the tree under {root} cannot be read: the device listed no parameters"
        return Result(TaskStatus.FAILED, fault=FaultDetail(0, text))
    refused: list[str] = []
    queue = list(reversed(pieces(dict.fromkeys(leaves), habits.max_names, name_size)))
    while queue and refusals < MOST_REFUSALS:
        piece = queue.pop()
        answer = yield Step(m.GetParameterValues(parameter_names=piece))
        if isinstance(answer, m.GetParameterValuesResponse):
            continue
        refusals += 1
        exceeded = isinstance(answer, m.FaultMessage) and answer.fault_code == FaultCode.RESOURCES_EXCEEDED
        if exceeded and len(piece) > 1:
            learnt["max_names"] = min(len(piece) // 2, int(learnt.get("max_names", MOST_NAMES)))
        if len(piece) > 1:
            queue += halves(piece)
        else:
            refused.append(piece[0])
            if exceeded:
                learnt.pop("max_names", None)  # it was not their number
    return Result(TaskStatus.DONE, {"names": len(leaves), "refused": refused}, learnt=learnt)


def set_credentials(root: str, username: str, password: str, keep: frozenset[str]) -> Program:
    """Gives the device its connection request user and password, unless it has a user whose password we know (`keep`)."""
    base = f"{root}ManagementServer."
    answer = yield Step(m.GetParameterValues(parameter_names=(f"{base}ConnectionRequestUsername",)))
    if isinstance(answer, m.GetParameterValuesResponse):
        now = next((row.value for row in answer.parameter_list), "")
        if now in keep:
            return Result(TaskStatus.DONE, {"kept": now})
    values = ((f"{base}ConnectionRequestUsername", username), (f"{base}ConnectionRequestPassword", password))
    answer = yield Step(m.SetParameterValues(tuple(m.ParameterValueStruct(n, v, "string") for n, v in values)))
    if isinstance(answer, m.FaultMessage):
        return failed(answer)
    return Result(TaskStatus.DONE, {"username": username})


def set_login(root: str, username: str, password: str) -> Program:
    """Gives the device the user and password with which it logs in from its next session on."""
    values = ((f"{root}ManagementServer.Username", username), (f"{root}ManagementServer.Password", password))
    answer = yield Step(m.SetParameterValues(tuple(m.ParameterValueStruct(n, v, "string") for n, v in values)))
    if isinstance(answer, m.FaultMessage):
        return failed(answer)
    return Result(TaskStatus.DONE, {"username": username})
