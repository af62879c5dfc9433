"""The one task of a node that writes: it takes what waits as a group, writes it in one transaction, then tells who waits.

While the server works on one group the next one gathers, so that round trips and the durable commit are shared by all devices of
the moment. The rows of a group are locked first, in one order on all nodes; so a unit's conflicts are found before anything is
written, and no unit can spoil its neighbours.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import structlog

from homeport.acs.records import due
from homeport.acs.storage.interface import Conflict, DocumentChange
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.bulk import PreparedChange, PreparedColumn
from homeport.acs.storage.sql.fills import readable_task
from homeport.acs.storage.sql.postgres_link import BROKEN, ENDED, SQL, Connection, Link, cleaned, farewell, translated
from homeport.acs.storage.sql.postgres_moving import move
from homeport.acs.storage.sql.postgres_sheet import Job, Sheet, ended_badly
from homeport.acs.storage.sql.postgres_values import PathLists, column, stored_rows, stored_values, told
from homeport.errors import StoreError, StoreUnavailable

MAX_GROUP: Final = 256
"""Jobs in one transaction: beyond this the waiting grows and the cost per unit no longer falls."""

GATHER: Final = 0.001
"""Seconds that a group waits for more while several sessions commit at once."""

TRIES: Final = 3
"""How often a group is tried when another node wrote the same rows in the same moment."""

ASK_OUTCOME: Final = 5.0
"""Seconds in which the outcome of a commit whose answer was lost is asked for."""

NOTE_MOST: Final = 7_500
"""Bytes of one notification; the server takes less than 8,000."""

_RACES: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.UniqueViolationError,
    asyncpg.ForeignKeyViolationError,
)

_log = structlog.get_logger("homeport.acs.store")


class _CommitLost(Exception):
    """The connection broke between COMMIT and its answer. answers: what became of each job if it was done."""

    def __init__(self, transaction: str, answers: list[BaseException | None]) -> None:
        super().__init__(transaction)
        self.transaction = transaction
        self.answers = answers


class GroupWriter:
    """Owns the writing connection. lists: the path lists that are remembered. node: this node's name, in task rows and notifications."""

    def __init__(self, link: Link, lists: PathLists, node: str) -> None:
        self.trouble: str | None = None
        self.groups = 0
        self.units = 0
        self._link = link
        self._lists = lists
        self._node = node
        self._connection: Connection | None = None
        self._history = ""  # of the server behind it; "" where that cannot be known
        self._jobs: list[tuple[Job, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        self._last = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take jobs."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def submit(self, job: Job) -> "asyncio.Future[None]":
        """A future that is done when the job is on the disk, or has what went wrong."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._last:
            future.set_exception(StoreUnavailable("the store is closed"))
            return future
        self._jobs.append((job, future))
        self._arrived.set()
        return future

    async def stop(self) -> None:
        """Write what waits and close."""
        self._last = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        if self._connection is not None:
            await farewell(self._connection)

    async def _run(self) -> None:
        crowded = False
        while True:
            await self._arrived.wait()
            if crowded and not self._last:
                await asyncio.sleep(GATHER)
            group = self._take()
            if not self._jobs:
                self._arrived.clear()
            if not group:
                if self._last:
                    return
                crowded = False
                continue
            crowded = len(group) > 1
            answers = await self._write([job for job, _ in group])
            if self.trouble is not None and self._connection is None:
                # The server is away: who came meanwhile is told at once, not after a time limit for each group before it.
                late, self._jobs = self._jobs, []
                group += late
                answers = [*answers, *[StoreUnavailable(self.trouble) for _ in late]]
            for (_, future), answer in zip(group, answers, strict=True):
                if future.done():
                    continue  # who waited has gone; the rows are written all the same
                if answer is None:
                    future.set_result(None)
                else:
                    future.set_exception(answer)
            if self._last:
                self._arrived.set()

    def _take(self) -> list[tuple[Job, "asyncio.Future[None]"]]:
        """The next group: all that waits, up to one that must be alone."""
        count = 0
        for job, _ in self._jobs[:MAX_GROUP]:
            if job.alone:
                break
            count += 1
        count = count or min(1, len(self._jobs))
        group, self._jobs = self._jobs[:count], self._jobs[count:]
        return group

    # --- one group ---

    async def _write(self, jobs: list[Job]) -> Sequence[BaseException | None]:
        """What became of each job."""
        try:
            answers = await self._attempts(jobs)
        except StoreUnavailable as e:
            self.trouble = str(e)
            return [e] * len(jobs)
        except StoreError as e:
            return await self._apart(jobs, e)
        except Exception as e:
            # A mistake of ours, in one unit: nobody may wait for ever for it, and the others are written.
            if len(jobs) == 1:
                _log.exception("a unit could not be written")
            return await self._apart(
                jobs,
                StoreError(
                    f"this could not be written, by a mistake of Homeport's: {type(e).__name__}: {e}; its log has more"
                ),
            )
        self.trouble = None
        self.groups += 1
        self.units += len(jobs)
        return answers

    async def _apart(self, jobs: list[Job], why: StoreError) -> list[BaseException | None]:
        """Each by itself: a row that the server refuses stands against its own unit only, or its own device.

        why: what went wrong when they were written together.
        """
        if len(jobs) > 1:
            return await self._each(jobs)
        halves = jobs[0].halves() if _of_one_row(why) else None
        if halves is None:
            if jobs[0].unheeded:
                ids = jobs[0].devices()
                _log.error(
                    "what devices told is not stored", device=min(ids, default=""), devices=len(ids), reason=str(why)
                )
            return [why]
        answers = [a for a in await self._each(list(halves)) if a is not None]
        away = [a for a in answers if isinstance(a, StoreUnavailable)]
        return [next(iter(away + answers), None)]

    async def _each(self, jobs: list[Job]) -> list[BaseException | None]:
        answers: list[BaseException | None] = []
        for job in jobs:
            answers += await self._write([job])
            if isinstance(answers[-1], StoreUnavailable):
                return answers + answers[-1:] * (len(jobs) - len(answers))
        return answers

    async def _attempts(self, jobs: list[Job]) -> Sequence[BaseException | None]:
        for left in range(TRIES, 0, -1):
            fresh = self._connection is None
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection, fresh = None, True
                    self._connection = await self._link.connect()
                    self._history = await self._history_of(self._connection)
                return await self._transaction(self._connection, jobs)
            except _CommitLost as e:
                self._drop()
                if await self._committed(e.transaction):
                    return e.answers
                raise StoreUnavailable(
                    "the connection to the database broke before it was known whether this was written; look, and try again"
                ) from e
            except _RACES as e:
                await self._rollback()
                if left == 1:
                    if isinstance(e, asyncpg.IntegrityConstraintViolationError):
                        raise Conflict(f"the row does not fit to what is stored: {e}") from e
                    raise translated(e) from e
            except BROKEN as e:
                self._drop()
                if fresh or left == 1 or isinstance(e, TimeoutError):
                    raise translated(e) from e
            except asyncpg.PostgresError as e:
                gone = self._connection is None or self._connection.is_closed() or isinstance(e, ENDED)
                if gone:
                    self._drop()
                else:
                    await self._rollback()
                if not gone or fresh or left == 1:
                    raise translated(e) from e
            except (UnicodeEncodeError, asyncpg.DataError, OverflowError) as e:
                await self._rollback()
                raise StoreError(f"the database cannot hold a value: {e}") from e
            except StoreError:
                await self._rollback()  # what a job that is alone expects is not so, or a row is damaged
                raise
            except BaseException:
                self._drop()
                raise
        raise AssertionError("the last try returns or raises")

    async def _transaction(self, c: Connection, jobs: list[Job]) -> list[BaseException | None]:
        await c.execute("BEGIN")
        transaction: str = await c.fetchval(SQL["transaction"])
        sheet = Sheet()
        await self._fill(c, sheet, jobs)
        answers: list[BaseException | None] = []
        for job in jobs:
            if job.touched is not None:
                sheet.touch(job.touched)
            answers.append(sheet.apply(job.unit) if job.unit is not None else None)
        await self._rows(c, sheet)
        for job, answer in zip(jobs, answers, strict=True):
            if answer is None:
                await self._rare(c, job)
        await self._notify(c, sheet, jobs)
        try:
            await c.execute("COMMIT")
        except BROKEN as e:
            raise _CommitLost(transaction, answers) from e
        except asyncpg.PostgresError as e:
            if c.is_closed() or isinstance(e, ENDED):
                raise _CommitLost(transaction, answers) from e
            raise
        return answers

    async def _fill(self, c: Connection, sheet: Sheet, jobs: list[Job]) -> None:
        """Lock the rows that the jobs name, and put them on the sheet."""
        ids: set[str] = set()
        for job in jobs:
            ids |= job.devices()
        if ids:
            for row in await c.fetch(SQL["lock_devices"], sorted(ids)):
                sheet.devices[row[1]] = rows.device(row)
        units = [job.unit for job in jobs if job.unit is not None]
        touched = [job.touched for job in jobs if job.touched is not None]
        changing = {v.device for u in units for v in u.values}
        changing |= {id for t in touched for id, (_, values) in t.items() if values}
        changing &= set(sheet.devices)
        if changing:
            for row in await c.fetch(SQL["deltas"], list(changing)):
                sheet.deltas[row[0]] = told(row[0], row[1])
        wanted = sheet.wants_values(units, touched)
        ready = {v.device: v for u in units for v in u.values if isinstance(v, PreparedChange)}
        if ready:
            for id, path_list, values, _ in await c.fetch(SQL["values"], list(ready)):
                change = ready[id]
                if id in wanted and path_list == change.path_list and values == change.vals:
                    sheet.full[id] = PreparedColumn(change)
                    wanted.remove(id)
        if wanted:
            found, lists = await stored_rows(c.fetch, wanted, self._lists)
            for id, path_list, values, _ in found:
                sheet.full[id] = column(id, lists.get(path_list), values)
        keyed = [t.record for u in units for t in u.tasks if t.expect is None and t.record.idempotency_key]
        if keyed:
            # The devices are locked, so that no other node can make a task under the same key meanwhile.
            of, keys = list({t.device for t in keyed}), list({cleaned(t.idempotency_key) for t in keyed})
            for device, key, _, record in await c.fetch(SQL["keyed_tasks"], of, keys):
                known = readable_task(record)
                if known is not None:
                    sheet.keyed[device, key] = known
        tasks = {t.record.id for u in units for t in u.tasks}
        # What a new one waits for is held, too: who ends it meanwhile then sees the new one.
        tasks |= {t.record.after for u in units for t in u.tasks if t.expect is None and t.record.after is not None}
        if tasks:
            for row in await c.fetch(SQL["lock_tasks"], list(tasks)):
                sheet.tasks[row[0]], sheet.owners[row[0]] = (row[1], row[2]), row[3]

    async def _rows(self, c: Connection, sheet: Sheet) -> None:
        """Write what the sheet says."""
        new, patched, seen = sheet.device_rows()
        await _many(c, "insert_device", [_clean(row) for row in new])
        await _many(c, "update_device", [_clean(row) for row in patched])
        if seen[0]:
            await c.execute(SQL["seen_devices"], *seen)
        lists, values, deltas = sheet.value_rows()
        if lists:
            known = {row[0] for row in await c.fetch(SQL["known_path_lists"], list(lists))}
            await _many(c, "insert_path_list", sorted((h, p) for h, p in lists.items() if h not in known))
        await _many(c, "put_values", values)
        await _many(c, "put_delta", deltas)
        inserts, updates = [], []
        for task, is_new in sheet.task_rows.values():
            at = 0.0 if is_new and sheet.forsaken(task) else due(task)
            state = (task.status.value, task.phase.value, task.priority, task.attempts, task.finished, at)
            row = (*state, self._node, sheet.packed.get(task.id) or rows.pack_task(task), task.id)
            if is_new:
                inserts.append((*row, task.device, cleaned(task.idempotency_key), cleaned(task.rpc), task.after or ""))
            else:
                updates.append(row)
        await _many(c, "insert_task", inserts)
        await _many(c, "update_task", updates)
        await _many(c, "forsake", [(task.id,) for task, _ in sheet.task_rows.values() if ended_badly(task)])
        sessions = [
            (s.record.id, s.record.device, s.record.ended, rows.encode(s.record), rows.pack_messages(s.messages))
            for s in sheet.sessions
        ]
        await _many(c, "insert_session", sessions)
        # A session's lease is over for good when it is, so what is released goes also where its row comes in the same group.
        await _many(c, "put_lease", [rows.lease_row(lease) for _, lease in sorted(sheet.leases.items())])
        await _many(c, "release_lease", sorted(sheet.released))
        await _many(c, "insert_event", sheet.events)
        await _many(c, "insert_fault", sheet.faults)

    async def _rare(self, c: Connection, job: Job) -> None:
        """Statements of jobs that are alone in their transaction."""
        for sql, values in job.statements:
            await c.executemany(sql, values)
        unit = job.unit
        if unit is None or not job.alone:
            return
        for credential in unit.credentials:
            await c.execute(SQL["clear_credential"], credential.username, credential.device)
            await c.execute(SQL["insert_credential"], credential.username, credential.device, rows.encode(credential))
        await _many(c, "delete_token", [(name,) for name in unit.ended_tokens])
        for token in unit.tokens:
            await c.execute(SQL["clear_token"], token.digest, token.name)
            await c.execute(SQL["insert_token"], token.digest, token.name, rows.encode(token))
        await _many(c, "put_file", [(file.name, rows.encode(file)) for file in unit.files])
        for change in unit.documents:
            await _document(c, change)
        await _many(c, "delete_credential", [(name,) for name in unit.deleted_credentials])
        await _many(c, "delete_file", [(name,) for name in unit.deleted_files])
        for old, new in unit.moved:
            await move(c, SQL, old, new, lambda ids: stored_values(c.fetch, ids, self._lists))
        await _many(c, "forsake_all_of", [(id,) for id in unit.deleted_devices])
        await _many(c, "delete_device_credentials", [(id,) for id in unit.deleted_devices])
        await _many(c, "delete_device", [(id,) for id in unit.deleted_devices])

    async def _notify(self, c: Connection, sheet: Sheet, jobs: list[Job]) -> None:
        """Tell the other nodes, with the commit, what is no longer as they may have it."""
        units = [j.unit for j in jobs if j.unit is not None]
        subjects = sheet.subjects() + [f"d {id}" for u in units for id in u.deleted_devices]
        subjects += [f"d {id}" for u in units for pair in u.moved for id in pair]
        await _many(c, "notify", [(note,) for note in notes(self._node, subjects)])

    # --- when it breaks ---

    async def _committed(self, transaction: str) -> bool:
        """Whether a commit whose answer was lost was surely done: the server is asked as soon as it answers again.

        After a crash, or at a standby that has taken over, a number that was not on the disk yet is given to another transaction.
        """
        try:
            async with asyncio.timeout(ASK_OUTCOME):
                while True:
                    try:
                        found = await self._link.fetch(SQL["outcome"], transaction)
                        told = await self._link.fetch(SQL["history"])  # asked after it, so that it holds for both
                    except StoreUnavailable:
                        await asyncio.sleep(0.1)
                        continue
                    if found and found[0][0] == "in progress":
                        await asyncio.sleep(0.05)
                        continue
                    same = bool(told) and told[0][0] == self._history
                    return same and bool(found) and found[0][0] == "committed"
        except (TimeoutError, StoreError):
            return False

    @staticmethod
    async def _history_of(connection: Connection) -> str:
        """Which server this is, and since which recovery; "" where it does not tell. Asked once for each connection."""
        try:
            return str(await connection.fetchval(SQL["history"]))
        except asyncpg.PostgresError as e:
            if isinstance(e, (*BROKEN, *ENDED)):
                raise
            return ""  # a make of server that has no such functions

    async def _rollback(self) -> None:
        if self._connection is None or self._connection.is_closed():
            self._drop()
            return
        try:
            await self._connection.execute("ROLLBACK")
        except (*BROKEN, asyncpg.PostgresError):
            self._drop()  # the server rolls back what its client leaves

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _of_one_row(why: StoreError) -> bool:
    """Whether one row may be what is wrong. Where it is the statement or the layout, each row by itself would fail like all together."""
    state = getattr(why.__cause__, "sqlstate", None)
    return state is None or state.startswith(("22", "23"))


async def _many(c: Connection, name: str, values: list[Any]) -> None:
    if values:
        await c.executemany(SQL[name], values)


def _clean(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A device's row, with texts that PostgreSQL can hold; its id stays as it is and is refused where it cannot."""
    return (*(cleaned(v) if isinstance(v, str) else v for v in row[:-1]), row[-1])


def notes(node: str, subjects: Sequence[str]) -> list[str]:
    """The subjects as notifications: the node's name, then a subject a line."""
    out: list[str] = []
    size = NOTE_MOST
    for subject in dict.fromkeys(subjects):
        length = len(subject.encode()) + 1
        if length > NOTE_MOST - 64:
            continue  # no id of ours is so long; its row is read anew when its view has aged
        if size + length > NOTE_MOST:
            out.append(node)
            size = len(node)
        out[-1] += f"\n{subject}"
        size += length
    return out


async def _document(c: Connection, change: DocumentChange) -> None:
    """Write one document. Raises Conflict where it is not as its writer expects."""
    d, expect = change.document, change.expect
    row = (d.record, d.due, d.kind, d.name)
    if change.gone:
        key = (d.kind, d.name)
        done = await (
            c.execute(SQL["delete_document"], *key)
            if expect is None
            else c.execute(SQL["delete_document_as"], *key, expect)
        )
    elif expect is None:
        done = await c.execute(SQL["put_document"], *row)
    elif not expect:
        done = await c.execute(SQL["insert_document"], *row)
    else:
        done = await c.execute(SQL["update_document"], *row, expect)
    if expect is not None and done.endswith(" 0"):
        raise Conflict(f"the {d.kind} {d.name} is no longer as it was")
