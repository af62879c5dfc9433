"""What happens by the clock: silent sessions end, old histories go, and tasks that a process left behind when it died are taken up."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from homeport.acs.engine import settle
from homeport.acs.services.hub import Hub
from homeport.acs.storage.interface import Conflict, TaskChange, UnitOfWork
from homeport.errors import StoreUnavailable

EXPIRE_EVERY: Final = 2.0
SWEEP_EVERY: Final = 5.0
RECALL_WITHIN: Final = 600.0
"""Seconds: who made an older task does not wait for it at the telephone any more, and the device comes by itself."""

MOST_RECALLED: Final = 10_000

PRUNE_EVERY: Final = 3_600.0
DAY: Final = 86_400.0

_log = structlog.get_logger("homeport.acs")

Work = Callable[[], Awaitable[None]]


class Worker:
    """The clockwork of one ACS process.

    expire: ends the sessions whose device has been silent for too long. sweep: ends those that nobody has gone on with.
    ask: has a device called, for a task.
    """

    def __init__(
        self,
        hub: Hub,
        expire: Work,
        sweep: Work,
        ask: Callable[[str, str], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hub = hub
        self._expire = expire
        self._sweep = sweep
        self._ask = ask
        self._sleep = sleep
        self._more: list[tuple[float, Work]] = []
        self._jobs: list[asyncio.Task[None]] = []

    async def mend(self) -> None:
        """Tasks that were on their way when their process ended: their outcome is unknown."""
        while True:
            now, patience = self._hub.clock(), self._hub.patience
            tasks = await self._hub.store.interrupted_tasks(limit=500, now=now)
            if not tasks:
                return
            unit = UnitOfWork()
            unit.tasks += [TaskChange(settle.lost(t, patience=patience, now=now), frozenset({t.status})) for t in tasks]
            try:
                await self._hub.store.commit(unit)
            except Conflict:
                # Another node has settled one of them in this moment. The others are this node's now, and nobody else looks at them.
                for change in unit.tasks:
                    part = UnitOfWork()
                    part.tasks.append(change)
                    with contextlib.suppress(Conflict):
                        await self._hub.store.commit(part)

    async def recall(self) -> None:
        """Have devices called whose tasks were made shortly before the process that was to call them ended."""
        hub = self._hub
        since = hub.first_id(hub.clock() - RECALL_WITHIN)
        for task in await hub.store.orphaned_tasks(since=since, limit=MOST_RECALLED):
            if task.call and not settle.expired(task, hub.clock()):
                self._ask(task.device, task.id)

    def also(self, work: Work, *, every: float) -> None:
        """Do this, too, from `start` on. every: seconds."""
        self._more.append((every, work))

    def start(self) -> None:
        """Begin."""
        self._jobs += [asyncio.create_task(self._every(seconds, work)) for seconds, work in self._more]
        self._jobs += [
            asyncio.create_task(self._every(EXPIRE_EVERY, self._expire)),
            asyncio.create_task(self._every(SWEEP_EVERY, self._sweep)),
            asyncio.create_task(self._every(PRUNE_EVERY, self.prune)),
        ]
        if self._hub.peers is not None:
            self._jobs += [asyncio.create_task(self._every(SWEEP_EVERY, work)) for work in (self.mend, self.recall)]

    async def stop(self) -> None:
        """End."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)

    async def prune(self) -> None:
        """Delete what is older than the settings keep."""
        now, settings = self._hub.sure(), self._hub.settings
        await self._hub.store.prune(
            sessions_before=now - settings.keep_sessions_days * DAY, tasks_before=now - settings.keep_tasks_days * DAY
        )

    async def _every(self, seconds: float, work: Work) -> None:
        waits = False
        while True:
            await self._sleep(seconds)
            try:
                await work()
                waits = False
            except StoreUnavailable as e:
                if not waits:  # once, not at each try
                    name = getattr(work, "__name__", "")
                    _log.warning("what is done by the clock waits for the store", work=name, reason=str(e))
                waits = True
            except Exception:
                _log.exception("what is done by the clock has failed; it is tried again", every=seconds)
