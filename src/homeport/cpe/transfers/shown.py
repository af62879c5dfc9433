"""Transfers as people see them: how far each is, and what it waits for."""

from collections.abc import Iterable, Mapping
from typing import Final

from homeport.cpe.transfers.records import State, Transfer
from homeport.cpe.transfers.rules import TransferStatus
from homeport.cpe.transfers.timetable import Timetable

UNSAID: Final = "May the download begin?"
"""The question where the ACS sent no UserMessage."""


def shown(
    transfers: Iterable[Transfer], timetable: Timetable, progress: Mapping[int, tuple[int, int | None]], now: float
) -> list[TransferStatus]:
    """One row for each. progress: bytes so far and the whole size, by number. now: monotonic seconds."""
    return [_row(t, timetable, *progress.get(t.number, (0, t.file_size or None)), now) for t in transfers]


def _row(t: Transfer, timetable: Timetable, done: int, total: int | None, now: float) -> TransferStatus:
    due = timetable.due(t, now) if t.state is State.QUEUED else None
    asked = timetable.question(t, now)
    return TransferStatus(
        number=t.number,
        kind=t.kind.value,
        command_key=t.command_key,
        file_type=t.file_type,
        url=t.url,
        state=t.state.value,
        done=done,
        total=total,
        due_in=None if due is None else max(0.0, due - now),
        fault_code=t.fault_code,
        fault_string=t.fault_string,
        question=(asked[1] or UNSAID) if asked is not None else "",
        waits_for="idle" if timetable.waits_for_idle(t, now) else "",
        autonomous=t.autonomous,
    )
