"""RPCs with long lists: sent in pieces that every device can take, and halved where the device refuses one because of a single row.

What was good is kept, and told beside what was refused.
"""

from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any, Final, TypeVar

from homeport.acs.engine.args import Call, result_of
from homeport.acs.engine.effects import peculiar
from homeport.acs.engine.steps import Program, Reply, Result, Step, detail, failed
from homeport.acs.records import Behaviour, FaultDetail, ParameterFaultDetail, TaskStatus
from homeport.codec import messages as m
from homeport.terms import FaultCode

MOST_NAMES: Final = 256
"""Names in one request: more, and small devices run out of memory."""

MOST_BYTES: Final = 28_000
"""Length of the rows in one request: Orange's agent takes 32 KiB in all, and every peer must take as much."""

MOST_REFUSALS: Final = 64
"""Faults after which a list is left as it is: each bisection costs a round trip."""

_AROUND_NAME: Final = 17
"""Length of the element around a name."""

_AROUND_ROW: Final = 220
"""Length of the elements around name and value, or name and attributes, of one row that is set."""

_DIVISIBLE: Final = frozenset(
    {
        FaultCode.INVALID_PARAMETER_NAME,
        FaultCode.INVALID_ARGUMENTS,
        FaultCode.RESOURCES_EXCEEDED,
        FaultCode.INTERNAL_ERROR,
    }
)
"""Faults that may be the fault of one name, or of there being so many."""

_DIVISIBLE_SETTING: Final = _DIVISIBLE | {
    FaultCode.INVALID_PARAMETER_TYPE,
    FaultCode.INVALID_PARAMETER_VALUE,
    FaultCode.NOT_WRITABLE,
    FaultCode.NOTIFICATION_REJECTED,
}
"""The same of a list that is set: the last four belong to one parameter, though only the inner fault should have them."""

Row = m.ParameterValueStruct | m.SetParameterAttributesStruct
_R = TypeVar("_R", bound=Row)
_T = TypeVar("_T")


def name_size(name: str) -> int:
    """Bytes that a name takes in a request."""
    return len(name) + _AROUND_NAME


def row_size(row: Row) -> int:
    """Bytes, at least, that a row which is set takes in a request."""
    if isinstance(row, m.ParameterValueStruct):
        value = row.value
        # Each of these becomes an entity; letters beyond ASCII become two to four bytes.
        return len(row.name) + len(value.encode()) + 4 * sum(map(value.count, "<>&")) + _AROUND_ROW
    return len(row.name) + sum(map(len, row.access_list)) + _AROUND_NAME * len(row.access_list) + 2 * _AROUND_ROW


def pieces(rows: Collection[_T], most: int | None, size: Callable[[_T], int]) -> list[tuple[_T, ...]]:
    """The rows in lists short enough for one request; one that is too long by itself goes alone.

    most: what this device takes at a time, where that is known. size: bytes of a row.
    """
    most = min(most or MOST_NAMES, MOST_NAMES)
    if 0 < len(rows) <= most:
        # The size of names is known without a look at each: they are what is mostly asked for.
        names = size is name_size
        if (sum(map(len, rows)) + _AROUND_NAME * len(rows) if names else sum(map(size, rows))) <= MOST_BYTES:  # type: ignore[arg-type]
            return [tuple(rows)]
    out: list[tuple[_T, ...]] = []
    piece: list[_T] = []
    length = 0
    for row in rows:
        bytes_ = size(row)
        if piece and (len(piece) == most or length + bytes_ > MOST_BYTES):
            out.append(tuple(piece))
            piece, length = [], 0
        piece.append(row)
        length += bytes_
    if piece:
        out.append(tuple(piece))
    return out


def halves(piece: tuple[_T, ...]) -> list[tuple[_T, ...]]:
    """The two halves, the first one last: for a queue that is taken from its end."""
    half = len(piece) // 2
    return [piece[half:], piece[:half]]


# --- reading ---


def get_values(names: Sequence[str], habits: Behaviour) -> Program:
    """In pieces where the list is long; where the device refuses one, its halves, until the faulty names are found.

    A device that cannot do partial paths (netcwmp) is asked for names first. The good values are in the result of a failed task, too.
    """
    rows: list[m.ParameterValueStruct] = []
    refused: list[ParameterFaultDetail] = []
    first: m.FaultMessage | None = None
    refusals = 0
    learnt: dict[str, Any] = {}
    queue = list(reversed(pieces(names, habits.max_names, name_size)))
    while queue:
        piece = queue.pop()
        partial = bool(peculiar(piece)) and any([name[-1:] == "." for name in piece])
        if partial and habits.partial_paths is False:
            found = yield from _by_names(piece, habits)
            if isinstance(found, m.FaultMessage):
                return _stopped(rows, found, refused, learnt)
            rows += found
            continue
        answer = yield Step(m.GetParameterValues(parameter_names=piece))
        if isinstance(answer, m.FaultMessage):
            first, refusals = first or answer, refusals + 1
            if len(names) == 1 or answer.fault_code not in _DIVISIBLE or refusals > MOST_REFUSALS:
                return _stopped(rows, answer, refused, learnt)
            if len(piece) > 1:
                queue += halves(piece)
                if answer.fault_code == FaultCode.RESOURCES_EXCEEDED:
                    learnt["max_names"] = len(piece) // 2
            else:
                refused.append(ParameterFaultDetail(piece[0], answer.fault_code, answer.fault_string))
                _unlearn(learnt, answer)
            continue
        assert isinstance(answer, m.GetParameterValuesResponse)
        if partial and any([row.name[-1:] == "." for row in answer.parameter_list]):
            learnt["partial_paths"] = False
            found = yield from _by_names(piece, habits)
            if isinstance(found, m.FaultMessage):
                return _stopped(rows, found, refused, learnt)
            rows += found
        else:
            rows += answer.parameter_list
    return _read({"parameter_list": rows} if rows or not refused else None, first, refused, learnt)


def _stopped(
    rows: list[m.ParameterValueStruct],
    fault: m.FaultMessage,
    refused: list[ParameterFaultDetail],
    learnt: dict[str, Any],
) -> Result:
    """The end of a reading that the device refuses altogether; what it has told before is told."""
    told = detail(fault)
    parameters = (*refused, *told.parameters)
    result = {"parameter_list": rows} if rows else None
    return Result(TaskStatus.FAILED, result, FaultDetail(told.code, told.string, parameters), learnt=learnt)


def _unlearn(learnt: dict[str, Any], fault: m.FaultMessage) -> None:
    """Where one name alone was too much for the device, it was not the number of them: it is to be asked for many again."""
    if fault.fault_code == FaultCode.RESOURCES_EXCEEDED:
        learnt.pop("max_names", None)


def get_attributes(names: Sequence[str], habits: Behaviour) -> Program:
    """As `get_values`, of attributes."""
    rows: list[m.ParameterAttributeStruct] = []
    refused: list[ParameterFaultDetail] = []
    first: m.FaultMessage | None = None
    queue = list(reversed(pieces(names, habits.max_names, name_size)))
    refusals = 0
    while queue:
        piece = queue.pop()
        answer = yield Step(m.GetParameterAttributes(parameter_names=piece))
        if isinstance(answer, m.GetParameterAttributesResponse):
            rows += answer.parameter_list
            continue
        assert isinstance(answer, m.FaultMessage)
        first, refusals = first or answer, refusals + 1
        if len(names) == 1 or answer.fault_code not in _DIVISIBLE or refusals > MOST_REFUSALS:
            return failed(answer)
        if len(piece) > 1:
            queue += halves(piece)
        else:
            refused.append(ParameterFaultDetail(piece[0], answer.fault_code, answer.fault_string))
    result = result_of(m.GetParameterAttributesResponse(tuple(rows))) if rows or not refused else None
    return _read(result, first, refused, {})


def _read(
    result: dict[str, Any] | None,
    first: m.FaultMessage | None,
    refused: list[ParameterFaultDetail],
    learnt: dict[str, Any],
) -> Result:
    if not refused:
        return Result(TaskStatus.DONE, result, learnt=learnt)
    assert first is not None
    fault = FaultDetail(first.fault_code, first.fault_string, tuple(refused))
    return Result(TaskStatus.FAILED, result, fault, learnt=learnt)


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
    for piece in pieces(names, habits.max_names, name_size):
        answer = yield Step(m.GetParameterValues(parameter_names=piece))
        if isinstance(answer, m.FaultMessage):
            return answer
        assert isinstance(answer, m.GetParameterValuesResponse)
        rows += answer.parameter_list
    return rows


# --- setting ---


def set_rows(rows: Sequence[_R], make: Callable[[tuple[_R, ...]], Call], habits: Behaviour) -> Program:
    """All in one request where they fit; each piece without the rows that the device has refused, by name or found by halving.

    make: the request that sets a piece. A failed task's result says what is set nevertheless.
    """
    queue = list(reversed(pieces(rows, habits.max_names, row_size)))
    if not queue:
        queue.append(())  # an empty list with a new ParameterKey is a wish, too
    applied: list[str] = []
    refused: list[ParameterFaultDetail] = []
    first: m.FaultMessage | None = None
    told: dict[str, Any] = {}
    learnt: dict[str, Any] = {}
    refusals = 0
    while queue:
        piece = queue.pop()
        answer = yield Step(make(piece))
        if not isinstance(answer, m.FaultMessage):
            applied += [row.name for row in piece]
            answered = result_of(answer)
            told |= {k: max(v, told.get(k, v)) if isinstance(v, int) else v for k, v in answered.items()}
            continue
        first, refusals = first or answer, refusals + 1
        named = [p for p in detail(answer).parameters if any(row.name == p.name for row in piece)]
        refused += named
        if answer.fault_code not in _DIVISIBLE_SETTING or refusals > MOST_REFUSALS:
            break  # the device does not want any of it: what is left in the queue would fare the same
        if named:
            names = {p.name for p in named}
            good = tuple(row for row in piece if row.name not in names)
            queue += [good] if good else []
        elif len(piece) > 1:
            queue += halves(piece)
            if answer.fault_code == FaultCode.RESOURCES_EXCEEDED:
                learnt["max_names"] = len(piece) // 2
        elif len(rows) > 1:
            refused.append(ParameterFaultDetail(piece[0].name, answer.fault_code, answer.fault_string))
            _unlearn(learnt, answer)
    if first is None:
        return Result(TaskStatus.DONE, told, learnt=learnt)
    fault = FaultDetail(first.fault_code, first.fault_string, tuple(refused))
    if not applied:
        return Result(TaskStatus.FAILED, fault=fault, learnt=learnt)
    left = sorted({row.name for row in rows} - set(applied))
    if not left:
        return Result(TaskStatus.DONE, told, learnt=learnt)  # it was only too much at once
    return Result(TaskStatus.FAILED, told | {"applied": applied, "refused": left}, fault, learnt=learnt)
