"""Parts of a unit as SQL of the SQLite store: those that change nothing in its cache."""

from collections.abc import Callable
from typing import Any

from homeport.acs.records import OPEN_STATUSES, TaskRecord, TaskStatus, due
from homeport.acs.storage.interface import DocumentChange, UnitOfWork
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.queries import QUERIES
from homeport.acs.storage.sql.writer import MANY_ROWS, Mode, Statement


def touched_by(unit: UnitOfWork) -> set[str]:
    """Devices whose cached state the unit changes."""
    ids = {t.record.device for t in unit.tasks}
    ids.update([v.device for v in unit.values])
    ids.update([id for id, _ in unit.patches])
    ids.update([d.id for d in unit.devices])
    ids.update(unit.deleted_devices)
    for pair in unit.moved:
        ids.update(pair)
    return ids


def plain_statements(unit: UnitOfWork) -> list[Statement]:
    """Histories, leases, accounts, files and documents."""
    out: list[Statement] = []
    for s in unit.sessions:
        r = s.record
        values = (r.id, r.device, r.ended, rows.encode(r), rows.pack_messages(s.messages))
        out.append(Statement(Mode.ONE, QUERIES["insert_session"], values))
    out += [Statement(Mode.ONE, QUERIES["insert_event"], (e.id, e.device, e.at, rows.encode(e))) for e in unit.events]
    out += [Statement(Mode.ONE, QUERIES["insert_fault"], (f.id, f.device, f.at, rows.encode(f))) for f in unit.faults]
    out += [Statement(Mode.ONE, QUERIES["put_lease"], rows.lease_row(lease)) for lease in unit.leases]
    out += [Statement(Mode.ONE, QUERIES["release_lease"], over) for over in unit.released]
    out += [
        Statement(Mode.ONE, QUERIES["put_credential"], (c.username, c.device, rows.encode(c))) for c in unit.credentials
    ]
    out += [Statement(Mode.ONE, QUERIES["delete_token"], (name,)) for name in unit.ended_tokens]
    out += [Statement(Mode.ONE, QUERIES["put_token"], (t.digest, t.name, rows.encode(t))) for t in unit.tokens]
    out += [Statement(Mode.ONE, QUERIES["put_file"], (file.name, rows.encode(file))) for file in unit.files]
    out += [document_statement(change) for change in unit.documents]
    out += [Statement(Mode.ONE, QUERIES["delete_credential"], (username,)) for username in unit.deleted_credentials]
    out += [Statement(Mode.ONE, QUERIES["delete_file"], (name,)) for name in unit.deleted_files]
    return out


def document_statement(change: DocumentChange) -> Statement:
    """A document that is made, changed or deleted, where it is as it was read."""
    d = change.document
    told = f"the {d.kind} {d.name} is no longer as it was"
    if change.gone:
        if change.expect is None:
            return Statement(Mode.ONE, QUERIES["delete_document"], (d.kind, d.name))
        return Statement(Mode.EXPECT, QUERIES["delete_document_as"], (d.kind, d.name, change.expect), told)
    row = (d.record, d.due, d.kind, d.name)
    if change.expect is None:
        return Statement(Mode.ONE, QUERIES["put_document"], row)
    if not change.expect:
        return Statement(Mode.EXPECT, QUERIES["insert_document"], row, told)
    return Statement(Mode.EXPECT, QUERIES["update_document"], (*row, change.expect), told)


def task_statements(
    task: TaskRecord, expect: frozenset[Any] | None, packed: bytes, followers: Callable[[str], int]
) -> list[Statement]:
    """A new task, or a change of one that is in a status that is expected; and what that means for those that wait for it.

    packed: the record as it is stored, where that is made. followers: how many wait for a task, up to a number that takes long.
    """
    out = [_task_statement(task, expect, packed)]
    if task.status not in OPEN_STATUSES and task.status is not TaskStatus.DONE:
        mode = Mode.LONG if followers(task.id) > MANY_ROWS else Mode.ONE
        out.append(Statement(mode, QUERIES["forsake"], (task.id,)))
    elif expect is None and task.after is not None:
        out.append(Statement(Mode.ONE, QUERIES["forsake_new"], (task.id, task.after)))
    return out


def _task_statement(task: TaskRecord, expect: frozenset[Any] | None, packed: bytes) -> Statement:
    blob = packed or rows.pack_task(task)
    row = (task.status.value, task.phase.value, task.priority, task.finished, due(task), blob, task.id)
    if expect is None:
        return Statement(Mode.ONE, QUERIES["insert_task"], (*row, task.device, task.rpc, task.after or ""))
    statuses = [s.value for s in expect]
    allowed = (statuses + statuses[-1:] * 3)[:3]
    told = f"the task {task.id} is no longer {' or '.join(sorted(statuses))}"
    return Statement(Mode.EXPECT, QUERIES["update_task"], (*row, *allowed, task.device), told)
