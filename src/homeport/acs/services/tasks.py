"""Operators' wishes: made, waited for, cancelled. A task that was accepted is on the disk."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, Final, cast
from weakref import WeakValueDictionary

import msgspec
from msgspec.structs import replace

from homeport.acs.engine import settle
from homeport.acs.engine.args import KEYED, ArgumentsError, check
from homeport.acs.records import OPEN_STATUSES, DeviceState, TaskPhase, TaskRecord, TaskStatus
from homeport.acs.services.files import Files
from homeport.acs.services.hub import Hub, NotFound, Refused
from homeport.acs.services.masking import masked_task
from homeport.acs.services.overdue import Overdue
from homeport.acs.storage.interface import KEY_LIFETIME, Conflict, Page, TaskChange, TaskFilter, UnitOfWork

MOST_OPEN: Final = 1_000
"""Open tasks of one device: more is a runaway script, and each costs at every session."""

LOOK_EVERY: Final = 5.0
"""Seconds after which who waits for a task looks for himself where another process may end it: its word may have been lost."""

Ask = Callable[[str, str], None]
"""Has a device called: (device, task)."""


class Tasks:
    """The verbs of tasks. ask: how a device is called."""

    def __init__(self, hub: Hub, ask: Ask, files: Files) -> None:
        self.overdue = Overdue(hub)
        self._hub = hub
        self._store = hub.store
        self._ask = ask
        self._files = files
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        """By device and idempotency key: of those who are making a task now, or wait to."""

    async def create(
        self,
        device: str,
        rpc: str,
        args: dict[str, Any],
        *,
        priority: int = 0,
        expires_in: float | None = None,
        after: str | None = None,
        connection_request: bool = True,
        key: str = "",
    ) -> TaskRecord:
        """The new task, on the disk; the device is called where that is wanted.

        key: an idempotency key; where the device got a task under it within a day, that one is given and no other is made.
        Raises NotFound, Refused, ArgumentsError, StoreUnavailable.
        """
        if not key:
            return await self._create(device, rpc, args, priority, expires_in, after, connection_request)
        wish = hashlib.sha256(msgspec.json.encode((rpc, args, priority, expires_in, after), order="sorted")).hexdigest()
        lock = self._locks.setdefault((device, key), asyncio.Lock())
        async with lock:
            old = await self._same(device, key, wish)
            if old is not None:
                return old
            try:
                return await self._create(device, rpc, args, priority, expires_in, after, connection_request, key, wish)
            except NotFound:
                old = await self._same(device, key, wish)  # another process was told the same in this moment
                if old is None:
                    raise
                return old

    async def _same(self, device: str, key: str, wish: str) -> TaskRecord | None:
        """The task that this wish has become already. Raises Refused where the key belongs to another wish."""
        old = await self._made(device, key)
        if old is not None and old.wish != wish:
            raise Refused(f"the idempotency key belongs to the task {old.id}, which is another wish; use a new key")
        return await self.get(old.id) if old is not None else None

    async def _made(self, device: str, key: str) -> TaskRecord | None:
        """The device's task of the last day with this idempotency key."""
        since, cursor = self._hub.clock() - KEY_LIFETIME, None
        while True:
            page = await self._store.tasks_of(device, limit=200, cursor=cursor)
            for task in page.items:
                if task.created < since:
                    return None
                if task.idempotency_key == key:
                    return cast(TaskRecord, task)
            cursor = page.next
            if cursor is None:
                return None

    async def _create(
        self,
        device: str,
        rpc: str,
        args: dict[str, Any],
        priority: int,
        expires_in: float | None,
        after: str | None,
        connection_request: bool,
        key: str = "",
        wish: str = "",
    ) -> TaskRecord:
        record = await self._store.fresh(device)
        if record is None:
            raise NotFound(f"there is no device {device!r}; list them with GET devices")
        if record.state is not DeviceState.APPROVED:
            raise Refused(f"the device {device} is {record.state}; approve it first with POST devices/{device}/approve")
        before = await self._store.task(after) if after is not None else None
        if after is not None and before is None:
            raise NotFound(f"there is no task {after!r} to wait for")
        if expires_in is not None and expires_in <= 0:
            raise ArgumentsError("expires_in must be more than 0 seconds")
        hub = self._hub
        now = hub.clock()
        id = hub.new_id(now)
        if rpc in KEYED and not args.get("command_key"):
            args = {**args, "command_key": id}
        args, sendable = await self._files.checked(rpc, args)
        check(rpc, sendable)
        waiting = await self._store.open_tasks(device)
        stale = [t for t in waiting if settle.expired(t, hub.sure())]
        if stale:
            await self.overdue.end(stale, hub.sure())  # their device may never come, and they would be in the way
        if len(waiting) - len(stale) >= MOST_OPEN:
            raise Refused(f"the device {device} has {MOST_OPEN} open tasks; cancel some or wait")
        task = TaskRecord(
            id=id,
            device=device,
            rpc=rpc,
            args=args,
            priority=priority,
            created=now,
            expires=now + expires_in if expires_in is not None else None,
            after=after,
            command_key=str(args.get("command_key", "")) if rpc in KEYED else "",
            idempotency_key=key,
            wish=wish,
            call=connection_request,
        )
        unit = UnitOfWork()
        unit.tasks.append(TaskChange(task, None))
        try:
            await self._store.commit(unit)
        except Conflict as e:
            raise NotFound(f"there is no device {device!r} any more") from e
        self._hub.tell_tasks(unit.tasks)
        if before is not None and before.status not in OPEN_STATUSES:
            self._hub.forsaken()  # it may have failed: then this one ends now, too
        if connection_request:
            self._ask(device, id)
        return task

    async def check(self, rpc: str, args: dict[str, Any]) -> None:
        """Raise ArgumentsError or NotFound where no device could be given this wish."""
        given = {**args, "command_key": args.get("command_key") or "k"} if rpc in KEYED else args
        _, sendable = await self._files.checked(rpc, given)
        check(rpc, sendable)

    async def get(self, id: str) -> TaskRecord:
        """The task, with the latest word on its connection request, and how much of its file was sent. Raises NotFound."""
        task = self._hub.asking.get(id) or await self._store.task(id)
        if task is None:
            raise NotFound(f"there is no task {id!r}; list them with GET tasks")
        task = self.current(task)
        served = self._hub.served.get(id)
        if served is not None and task.status in OPEN_STATUSES:
            task = replace(task, progress=task.progress | {"served": served})
        said = self._hub.connection_request_details.get(id)
        return replace(task, connection_request=said) if said is not None else task

    def current(self, task: TaskRecord) -> TaskRecord:
        """The task as it stands now: one whose time is over says so, whether or not its device came by."""
        asking = self._hub.asking.get(task.id)
        if asking is not None:
            return asking
        return settle.by_clock(task, patience=self._hub.patience, now=self._hub.sure())

    async def all(
        self,
        *,
        statuses: frozenset[TaskStatus],
        rpc: str,
        device: str,
        since: float | None,
        until: float | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """Tasks of all devices as they stand now, youngest first; those that fit all that is given.

        since, until: when they were made: from the first on, before the second; seconds since 1970, of which milliseconds count.
        A page may hold fewer than `limit` although there is another: what the clock has just changed fits no longer.
        """
        first_id = self._hub.first_id
        which = TaskFilter(
            statuses,
            rpc,
            device,
            first_id(since) if since is not None else "",
            first_id(until) if until is not None else "",
        )
        page = await self._store.tasks(which, limit=limit, cursor=cursor)
        found = {task.id: task for task in map(self.current, page.items)}
        for task in self._hub.asking.values():  # they run, and their rows say that they are queued
            if (cursor is None or task.id < cursor) and (page.next is None or task.id > page.next):
                found[task.id] = task
        fitting = [found[id] for id in sorted(found, reverse=True) if which.fits(found[id])]
        if len(fitting) > limit:
            return Page(tuple(fitting[:limit]), fitting[limit - 1].id)
        return Page(tuple(fitting), page.next)

    async def wait(self, id: str, seconds: float) -> TaskRecord:
        """The task when it has ended, or as it stands after so many seconds. Raises NotFound."""
        time = asyncio.get_running_loop().time  # not the time of day, which may be put back meanwhile
        deadline = time() + seconds
        while True:
            task = await self.get(id)
            left = deadline - time()
            if task.status not in OPEN_STATUSES or left <= 0 or self._hub.bus.ended:
                return task
            over = settle.over_at(task, patience=self._hub.patience)
            if over is not None and id not in self._hub.asking:
                left = min(left, max(0.0, over - self._hub.sure()) + 0.001)
            if self._hub.peers is not None:
                left = min(left, LOOK_EVERY)
            await self._hub.bus.wait(id, left)

    async def cancel(self, id: str) -> TaskRecord:
        """The task, cancelled. Raises NotFound, or Refused where the device is working on it or it has ended."""
        task = await self.get(id)
        if task.status is TaskStatus.CANCELLED:
            return task
        if task.status not in OPEN_STATUSES:
            raise Refused(f"the task {id} has ended already: it is {task.status}")
        if task.status is TaskStatus.RUNNING and task.phase is not TaskPhase.TRANSFER:
            raise Refused(f"the task {id} was sent to the device; wait for its answer")
        gone = masked_task(replace(task, status=TaskStatus.CANCELLED, phase=TaskPhase.NONE, finished=self._hub.clock()))
        unit = UnitOfWork()
        unit.tasks.append(TaskChange(gone, frozenset({task.status})))
        try:
            await self._store.commit(unit)
        except Conflict as e:
            raise Refused(f"the task {id} has just changed; look at it again") from e
        self._hub.tell_tasks(unit.tasks)
        return gone
