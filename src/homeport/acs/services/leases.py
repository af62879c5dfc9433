"""Sessions that go on in another process: written down, taken up, and ended where their device does not come back.

A session lives in the memory of the process that its device speaks with. It is written down where that process may be missed: with the row
that says that a change is on its way to the device, and when the process stops or another one asks for the session.
"""

from collections.abc import Sequence
from typing import Final

import structlog

from homeport.acs.engine import settle
from homeport.acs.engine.recipes import resumed
from homeport.acs.records import DeviceState, LeaseRecord, MessageTrace, SessionRecord, TaskRecord, TaskStatus
from homeport.acs.services.continuation import MOST_ROWS, SessionState, TooLarge, pack, shortened, unpack
from homeport.acs.services.hub import Hub
from homeport.acs.services.work import Work
from homeport.acs.storage.interface import Conflict, SessionChange, TaskChange, UnitOfWork

LATENESS: Final = 30.0
"""Seconds that a lease lasts beyond the time that the device may take: the ACS itself may be slow."""

_log = structlog.get_logger("homeport.acs")


class Leases:
    """The verbs of sessions between processes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._store = hub.store

    def lease(self, work: Work, node: str, *, stored: TaskStatus, messages: Sequence[MessageTrace] = ()) -> LeaseRecord:
        """The session as it stands; stored: the status that the task's row has then. Raises TooLarge."""
        run = work.run
        if run is not None and run.rows > MOST_ROWS:
            raise TooLarge(f"the device has told {run.rows} rows in this session; {MOST_ROWS} may be written down")
        state = SessionState(
            session=work.record(),
            id=work.id,
            device=work.device,
            started=work.started,
            address=work.address,
            events=work.events,
            manage=work.manage,
            weighty=work.weighty,
            recipe=run.recipe if run is not None else None,
            told=run.told() if run is not None else [],
            task=work.task,
            stored=stored,
            want=work.want,
            mending=work.mending,
            secret=work.secret,
            tried=tuple(sorted(work.tried)),
            messages=shortened(messages),
        )
        return LeaseRecord(
            device=work.device,
            session=work.id,
            cookie=work.cookie,
            node=node,
            until=self._hub.clock() + work.patience + LATENESS,
            state=pack(state),
            host=work.place,
        )

    async def hand_over(self, works: Sequence[tuple[Work, Sequence[MessageTrace]]]) -> None:
        """Write the sessions down for whoever their devices speak with next. Raises TooLarge, StoreUnavailable."""
        unit = UnitOfWork()
        unit.leases += [self.lease(work, "", stored=work.stored, messages=messages) for work, messages in works]
        await self._store.commit(unit)
        for work, _ in works:
            work.clear(self._hub.asking)

    async def resume(self, lease: LeaseRecord) -> tuple[Work, SessionState] | None:
        """The session that was written down, now this process's; None where it has been overtaken. Raises StoreUnavailable."""
        try:
            state = unpack(lease.state)
            run = resumed(state.recipe, state.told) if state.recipe is not None else None
        except ValueError as e:
            _log.warning("a session cannot be continued", device=lease.device, reason=str(e))
            return None
        record = await self._store.device(lease.device)
        if record is None or record.state is DeviceState.REFUSED:
            return None
        if state.task is not None and not await self._as_left(state.task, state.stored):
            return None
        if not await self._store.take_lease(lease):
            return None
        work = Work(state.id, state.device, state.started, state.address, state.events)
        work.manage, work.weighty, work.leased = state.manage, state.weighty, True
        work.cookie, work.place, work.run = lease.cookie, lease.host, run
        work.task, work.stored, work.want, work.mending = state.task, state.stored, state.want, state.mending
        work.secret, work.tried = state.secret, set(state.tried)
        work.request = run.request if run is not None else None
        if work.task is not None and (work.stored is TaskStatus.QUEUED or work.mending):
            self._hub.asking[work.task.id] = work.task
        return work, state

    async def held(self, work: Work) -> bool:
        """Whether the session is still this process's: another may have taken it while this one was cut off or stood still.

        Raises StoreUnavailable.
        """
        lease = await self._store.lease(work.cookie)
        return lease is not None and lease.session == work.id and lease.node == self._store.node

    async def _as_left(self, task: TaskRecord, stored: TaskStatus) -> bool:
        """Whether nobody else has taken the task up meanwhile."""
        now = await self._store.task(task.id)
        if now is None or now.status is not stored:
            return False
        return stored is TaskStatus.QUEUED or now.attempts == task.attempts

    async def abandon(self, lease: LeaseRecord) -> None:
        """The device did not come back: its task is settled at its next contact, and the history gets its row.

        Raises StoreUnavailable.
        """
        hub = self._hub
        try:
            state = unpack(lease.state)
        except ValueError:
            return  # of another version; the task is found by itself
        hub.stats.count(hub.stats.sessions, "aborted")
        task = state.task
        alive = task is not None and not state.mending and state.stored is TaskStatus.RUNNING
        if task is not None and alive and await self._as_left(task, TaskStatus.RUNNING):
            unit = UnitOfWork()
            lost = settle.lost(task, patience=hub.patience, now=hub.clock())
            unit.tasks.append(TaskChange(lost, frozenset({TaskStatus.RUNNING})))
            try:
                await self._store.commit(unit)
                hub.tell_tasks(unit.tasks)
            except Conflict:
                pass  # it has found its end, or was sent again, without this session
        unit = UnitOfWork()
        record = SessionRecord(
            id=state.id,
            device=state.device,
            started=state.started,
            ended=hub.clock(),
            outcome="aborted",
            reason="the process that had this session has ended, and the device did not go on with it",
            address=state.address,
            events=state.events,
            message_count=len(state.messages),
        )
        unit.sessions.append(SessionChange(record, state.messages))
        self._store.later(unit)
