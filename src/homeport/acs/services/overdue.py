"""Tasks that end while their device does not come: by the clock, or because the task that they wait for will never be done.

They are found by the store's index, written, and told like any other end.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from homeport.acs.engine import settle
from homeport.acs.records import TaskRecord
from homeport.acs.services.hub import Hub
from homeport.acs.services.masking import masked_task
from homeport.acs.storage.interface import Conflict, TaskChange, UnitOfWork
from homeport.errors import StoreError, StoreUnavailable

EVERY: Final = 2.0
"""Seconds between two looks at the index: how late an end is told to who listens. Who waits for the task hears it in time by himself."""

BATCH: Final = 100
"""Tasks written together: a session that comes meanwhile waits for no more than these."""

REST: Final = 0.05
"""Seconds between two batches: where the tasks of a whole fleet expire at once, the devices that do come have most of the time.
So long it also takes until those end that wait for a task which has just failed."""

_log = structlog.get_logger("homeport.acs")


class Overdue:
    """The sweep; of several processes on one database each takes other tasks."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._store = hub.store
        self._wanted = asyncio.Event()
        hub.forsaken = self._wanted.set

    async def watch(self) -> None:
        """Sweep when the time has come, or a task has ended badly for which others may wait. Raises StoreUnavailable."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await self._wanted.wait()
        self._wanted.clear()
        await self.sweep()

    async def sweep(self) -> None:
        """End what has expired, was not told of in time, or waits for a task that will never be done. Raises StoreUnavailable."""
        while True:
            now = self._hub.sure()
            found = await self._store.due_tasks(now=now, limit=BATCH)
            if not await self.end(found, now):
                return
            # A short batch is followed by another look, too: there may be some that wait for those which have just ended.
            if len(found) == BATCH:
                await asyncio.sleep(REST)

    async def end(self, tasks: Sequence[TaskRecord], now: float) -> int:
        """How many of these were written: ended, or given the time at which they are looked at again.

        Left alone is what runs in this moment, and what somebody else has changed meanwhile. Raises StoreUnavailable.
        """
        before = {id: await self._store.task(id) for id in {t.after for t in tasks} if id is not None}
        changes = [change for task in tasks if (change := self._change(task, before, now)) is not None]
        if not changes:
            return 0
        try:
            await self._write(changes)
        except StoreUnavailable:
            raise
        except StoreError:
            pass  # one of them does not fit any more: each by itself
        else:
            return len(changes)
        written = 0
        for change in changes:
            try:
                await self._write([change])
                written += 1
            except Conflict:
                pass  # its session, or an operator, was quicker
            except StoreUnavailable:
                raise
            except StoreError as e:
                _log.warning("a task that is over cannot be written", task=change.record.id, reason=str(e))
        return written

    def _change(self, task: TaskRecord, before: Mapping[str, TaskRecord | None], now: float) -> TaskChange | None:
        if task.id in self._hub.asking:
            return None  # its question is out: what comes of it counts, and it is not asked again
        patience = self._hub.patience
        after = settle.by_clock(task, patience=patience, now=now)
        if after == task and task.after is not None:
            after = settle.forsaken(task, before[task.after], now)
        # The patience of the settings may have grown since the device has accepted it.
        after = masked_task(after) if after != task else settle.noted(task, patience=patience, now=now)
        return TaskChange(after, frozenset({task.status}))

    async def _write(self, changes: Sequence[TaskChange]) -> None:
        unit = UnitOfWork()
        unit.tasks += changes
        await self._store.commit(unit)
        self._hub.tell_tasks(c for c in changes if c.record.finished is not None)
