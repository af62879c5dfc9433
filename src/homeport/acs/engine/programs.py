"""How a wish becomes RPCs: one generator per kind, which yields steps and is sent the device's answers.

A program knows nothing of sessions, storage or time; one that is cut short is settled by `settle`.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from homeport.acs.engine.args import Answer, Call, request_of, result_of, untyped
from homeport.acs.records import (
    NO_HABITS,
    Behaviour,
    FaultDetail,
    ParameterFaultDetail,
    StoredValue,
    TaskRecord,
    TaskStatus,
)
from homeport.codec import messages as m
from homeport.terms import FaultCode, RpcName

MOST_NAMES: Final = 256
"""Names in one request: more, and small devices run out of memory."""

MOST_BYTES: Final = 28_000
"""Length of the names in one request: Orange's agent takes 32 KiB in all, and every peer must take as much."""

_AROUND: Final = 17
"""Length of the element around a name."""

MOST_REFUSALS: Final = 64
"""Faults after which the reading of a tree is left unfinished: each bisection costs a round trip."""

_TRANSFERS: Final = frozenset({RpcName.DOWNLOAD, RpcName.UPLOAD, RpcName.SCHEDULE_DOWNLOAD, RpcName.CHANGE_DU_STATE})


_MOVING: Final = frozenset({"Installing", "Updating", "Uninstalling"})
"""DeploymentUnit.{i}.Status while an operation is done."""

_DIVISIBLE: Final = frozenset(
    {
        FaultCode.INVALID_PARAMETER_NAME,
        FaultCode.INVALID_ARGUMENTS,
        FaultCode.RESOURCES_EXCEEDED,
        FaultCode.INTERNAL_ERROR,
    }
)
"""Faults that may be the fault of one name, or of there being so many."""


class Step(Struct, frozen=True):
    """One RPC. progress: what must be remembered before it is sent, so that a lost answer can be settled."""

    request: Call
    progress: dict[str, Any] | None = None


class Result(Struct, frozen=True):
    """What came of a task. awaited: accepted, but its end is told in a later session. learnt: fields of Behaviour."""

    status: TaskStatus
    result: dict[str, Any] | None = None
    fault: FaultDetail | None = None
    awaited: bool = False
    learnt: dict[str, Any] = {}


Reply = Answer | m.FaultMessage
Program = Generator[Step, Reply, Result]


def failed(fault: m.FaultMessage) -> Result:
    """A task whose RPC the device refused."""
    return Result(TaskStatus.FAILED, fault=detail(fault))


def refused(why: str) -> Program:
    """The program of a task that cannot be sent any more; why: a sentence."""
    yield from ()
    return Result(TaskStatus.FAILED, fault=FaultDetail(0, why))


def detail(fault: m.FaultMessage) -> FaultDetail:
    """A fault as it is kept."""
    parameters = tuple(
        ParameterFaultDetail(p.parameter_name, p.fault_code, p.fault_string) for p in fault.set_parameter_values_faults
    )
    return FaultDetail(fault.fault_code, fault.fault_string, parameters)


def program(task: TaskRecord, known: Mapping[str, StoredValue], habits: Behaviour = NO_HABITS) -> Program:
    """The program of a task. known: what is known of the parameters that it names."""
    request = request_of(task.rpc, task.args)
    match request:
        case m.SetParameterValues():
            return _set_values(request, untyped(task.args), known)
        case m.GetParameterValues():
            return _get_values(request, habits)
        case m.AddObject():
            return _add_object(request)
    return _single(request)


def _single(request: Call) -> Program:
    answer = yield Step(request)
    if isinstance(answer, m.FaultMessage):
        return failed(answer)
    awaited = isinstance(request, m.Reboot | m.FactoryReset)
    if isinstance(request, m.Request) and request.element in _TRANSFERS:
        awaited = getattr(answer, "status", 1) == 1
    return Result(TaskStatus.DONE, result_of(answer), awaited=awaited)


def _set_values(request: m.SetParameterValues, open_types: frozenset[str], known: Mapping[str, StoredValue]) -> Program:
    """All at once; where the device names offenders, once more without them, and both outcomes are told."""
    rows = list(request.parameter_list)
    missing = [n for n in sorted(open_types) if n not in known or known[n].value is None]
    types = {n: known[n].type for n in open_types if n in known and known[n].value is not None}
    if missing:
        answer = yield Step(m.GetParameterValues(parameter_names=tuple(missing)))
        if isinstance(answer, m.GetParameterValuesResponse):
            types.update((row.name, row.type) for row in answer.parameter_list)
    rows = [m.ParameterValueStruct(r.name, r.value, types.get(r.name, r.type)) for r in rows]
    answer = yield Step(m.SetParameterValues(tuple(rows), request.parameter_key))
    if not isinstance(answer, m.FaultMessage):
        return Result(TaskStatus.DONE, result_of(answer))
    offenders = {p.parameter_name for p in answer.set_parameter_values_faults}
    good = [r for r in rows if r.name not in offenders]
    if answer.fault_code != FaultCode.INVALID_ARGUMENTS or not offenders or not good or len(good) == len(rows):
        return failed(answer)
    second = yield Step(m.SetParameterValues(tuple(good), request.parameter_key))
    if isinstance(second, m.FaultMessage):
        return failed(second if not second.set_parameter_values_faults else _both(answer, second))
    result = result_of(second) | {"applied": [r.name for r in good], "refused": sorted(offenders)}
    return Result(TaskStatus.FAILED, result, detail(answer))


def _both(first: m.FaultMessage, second: m.FaultMessage) -> m.FaultMessage:
    return m.FaultMessage(
        second.fault_code,
        second.fault_string,
        first.set_parameter_values_faults + second.set_parameter_values_faults,
        second.side,
    )


def _get_values(request: m.GetParameterValues, habits: Behaviour) -> Program:
    """In pieces where the list is long; where the device refuses one, its halves, until the faulty names are found.

    A device that cannot do partial paths (netcwmp) is asked for names first. The good values are in the result of a failed task, too.
    """
    rows: list[m.ParameterValueStruct] = []
    refused: list[ParameterFaultDetail] = []
    first: m.FaultMessage | None = None
    refusals = 0
    learnt: dict[str, Any] = {}
    queue = list(reversed(pieces(request.parameter_names, habits.max_names)))
    while queue:
        piece = queue.pop()
        partial = any([name[-1:] == "." for name in piece])
        if partial and habits.partial_paths is False:
            found = yield from _by_names(piece, habits)
            if isinstance(found, m.FaultMessage):
                return failed(found)
            rows += found
            continue
        answer = yield Step(m.GetParameterValues(parameter_names=piece))
        if isinstance(answer, m.FaultMessage):
            first, refusals = first or answer, refusals + 1
            alone = len(request.parameter_names) == 1
            if alone or answer.fault_code not in _DIVISIBLE or refusals > MOST_REFUSALS:
                return failed(answer)
            if len(piece) > 1:
                half = len(piece) // 2
                queue += [piece[half:], piece[:half]]
                if answer.fault_code == FaultCode.RESOURCES_EXCEEDED:
                    learnt["max_names"] = half
            else:
                refused.append(ParameterFaultDetail(piece[0], answer.fault_code, answer.fault_string))
            continue
        assert isinstance(answer, m.GetParameterValuesResponse)
        if partial and any([row.name[-1:] == "." for row in answer.parameter_list]):
            learnt["partial_paths"] = False
            found = yield from _by_names(piece, habits)
            if isinstance(found, m.FaultMessage):
                return failed(found)
            rows += found
        else:
            rows += answer.parameter_list
    result = result_of(m.GetParameterValuesResponse(tuple(rows))) if rows or not refused else None
    if refused:
        assert first is not None
        fault = FaultDetail(first.fault_code, first.fault_string, tuple(refused))
        return Result(TaskStatus.FAILED, result, fault, learnt=learnt)
    return Result(TaskStatus.DONE, result, learnt=learnt)


def _by_names(
    paths: Sequence[str], habits: Behaviour
) -> Generator[Step, Reply, list[m.ParameterValueStruct] | m.FaultMessage]:
    rows: list[m.ParameterValueStruct] = []
    names: list[str] = [p for p in paths if not p.endswith(".")]
    for path in paths:
        if path.endswith("."):
            answer = yield Step(m.GetParameterNames(path, False))
            if isinstance(answer, m.FaultMessage):
                return answer
            assert isinstance(answer, m.GetParameterNamesResponse)
            names += [n.name for n in answer.parameter_list if not n.name.endswith(".")]
    for piece in pieces(names, habits.max_names):
        answer = yield Step(m.GetParameterValues(parameter_names=piece))
        if isinstance(answer, m.FaultMessage):
            return answer
        assert isinstance(answer, m.GetParameterValuesResponse)
        rows += answer.parameter_list
    return rows


def _add_object(request: m.AddObject) -> Program:
    """The instances are read before, so that after a lost answer the new one can be told from the old ones."""
    before = yield Step(m.GetParameterNames(request.object_name.partition("[")[0], True))
    instances = instances_of(before, request.object_name)
    answer = yield Step(request, progress={"instances": instances})
    if isinstance(answer, m.FaultMessage):
        return failed(answer)
    return Result(TaskStatus.DONE, result_of(answer))


def settle_add_object(task: TaskRecord) -> Program:
    """Looks whether a lost AddObject made an instance. QUEUED in the result: it did not, so it may be sent again."""
    request = request_of(task.rpc, task.args)
    assert isinstance(request, m.AddObject)
    table = request.object_name.partition("[")[0]
    answer = yield Step(m.GetParameterNames(table, True))
    before = task.progress.get("instances")
    now = instances_of(answer, request.object_name)
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
    # It cannot be known: a transfer is not repeated on a guess. A TransferComplete, or the expiry, ends the task.
    return Result(TaskStatus.UNKNOWN)


def settle_modules(task: TaskRecord, root: str) -> Program:
    """Asks whether a lost ChangeDUState is being done: a deployment unit is on its way. QUEUED in the result: it may be sent again.

    One that is over already was told by its event before this is asked. A repetition does no harm: the first report is the task's.
    root: of the device's data model.
    """
    answer = yield Step(m.GetParameterValues((f"{root or 'Device.'}SoftwareModules.DeploymentUnit.",)))
    if not isinstance(answer, m.GetParameterValuesResponse):
        return Result(TaskStatus.UNKNOWN)
    if any(row.name.endswith(".Status") and row.value in _MOVING for row in answer.parameter_list):
        return Result(TaskStatus.DONE, {"settled": "by the deployment units' status"}, awaited=True)
    return Result(TaskStatus.QUEUED)


def discover(root: str, habits: Behaviour = NO_HABITS) -> Program:
    """Reads all names, then all values. Never asks with an empty path: several devices crash on it."""
    refusals = 0
    answer: Reply | None = None
    learnt: dict[str, Any] = {}
    if not habits.level_by_level:
        answer = yield Step(m.GetParameterNames(root, False))
    leaves: list[str] = []
    if isinstance(answer, m.GetParameterNamesResponse):
        leaves = [n.name for n in answer.parameter_list if not n.name.endswith(".")]
    else:
        waiting, seen = [root], {root}
        learnt["level_by_level"] = True
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
    if not leaves:
        text = answer.fault_string if isinstance(answer, m.FaultMessage) else "the device listed no parameters"
        return Result(TaskStatus.FAILED, fault=FaultDetail(0, f"the tree under {root} cannot be read: {text}"))
    refused: list[str] = []
    queue = list(reversed(pieces(dict.fromkeys(leaves), habits.max_names)))
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
            half = len(piece) // 2
            queue += [piece[half:], piece[:half]]
        else:
            refused.append(piece[0])
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


def pieces(names: "Sequence[str] | dict[str, None]", most: int | None = None) -> list[tuple[str, ...]]:
    """The names in lists short enough for one request. most: what this device takes at a time, where that is known."""
    most = min(most or MOST_NAMES, MOST_NAMES)
    if 0 < len(names) <= most and sum(map(len, names)) + _AROUND * len(names) <= MOST_BYTES:
        return [tuple(names)]
    out: list[tuple[str, ...]] = []
    piece: list[str] = []
    size = 0
    for name in names:
        if piece and (len(piece) == most or size + len(name) + _AROUND > MOST_BYTES):
            out.append(tuple(piece))
            piece, size = [], 0
        piece.append(name)
        size += len(name) + _AROUND
    if piece:
        out.append(tuple(piece))
    return out
