"""One wish for many devices: a task for each that a condition selects, told one by one as they are made; and taken back as one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from msgspec import Struct

from homeport.acs.engine.args import ArgumentsError
from homeport.acs.records import DeviceRecord, TaskRecord
from homeport.acs.services.hub import Hub, NotFound, Refused
from homeport.acs.services.tasks import Tasks
from homeport.acs.where import Where
from homeport.errors import StoreError, StoreUnavailable

PAGE: Final = 200
AT_ONCE: Final = 32
"""Tasks written together: they share a commit, and a session that comes meanwhile waits for no more than these."""


class Made(Struct, frozen=True):
    """What became of the wish for one device: its task, or why it got none."""

    device: str
    task: TaskRecord | None
    problem: str = ""


class Fleet:
    """Makes tasks for many devices."""

    def __init__(self, hub: Hub, tasks: Tasks) -> None:
        self._bus = hub.bus
        self._store = hub.store
        self._tasks = tasks

    async def create(
        self, where: Where, rpc: str, args: dict[str, Any], *, limit: int, **more: Any
    ) -> AsyncIterator[Made]:
        """The outcomes, device by device in the order of their ids. limit: most devices. more: as in Tasks.create.

        A device that joins or leaves the condition while this runs may or may not be among them. Raises StoreError, after which
        the same call with the same idempotency key goes on where this one stopped.
        """
        cursor: str | None = None
        left = limit
        while left > 0:
            self._go_on()
            page = await self._store.devices(where, limit=min(PAGE, left), cursor=cursor)
            left -= len(page.items)
            for start in range(0, len(page.items), AT_ONCE):
                self._go_on()
                batch: tuple[DeviceRecord, ...] = page.items[start : start + AT_ONCE]
                outcomes = await asyncio.gather(
                    *(self._one(d.id, rpc, args, more) for d in batch), return_exceptions=True
                )
                for outcome in outcomes:
                    if isinstance(outcome, BaseException):
                        raise outcome
                    yield outcome
            cursor = page.next
            if cursor is None:
                return

    async def cancel(self, where: Where, *, rpc: str = "", key: str = "") -> AsyncIterator[Made]:
        """The open tasks of the devices that a condition selects, cancelled, or why one was not; device by device.

        rpc: only tasks of this method. key: only tasks that were made with this idempotency key. Raises StoreError.
        """
        cursor: str | None = None
        while True:
            page = await self._store.devices(where, limit=PAGE, cursor=cursor)
            for device in page.items:
                self._go_on()
                # The youngest first: what waits for another would end with it, as failed.
                for task in sorted(await self._store.open_tasks(device.id), key=lambda t: t.id, reverse=True):
                    if (rpc and task.rpc != rpc) or (key and task.idempotency_key != key):
                        continue
                    try:
                        yield Made(device.id, await self._tasks.cancel(task.id))
                    except (NotFound, Refused) as e:
                        yield Made(device.id, task, str(e))
            cursor = page.next
            if cursor is None:
                return

    def _go_on(self) -> None:
        """Raises StoreUnavailable where this process is being stopped."""
        if self._bus.ended:
            raise StoreUnavailable("this ACS is being stopped; repeat the call, with its key")

    async def _one(self, device: str, rpc: str, args: dict[str, Any], more: dict[str, Any]) -> Made:
        try:
            return Made(device, await self._tasks.create(device, rpc, args, **more))
        except StoreError:
            raise
        except (NotFound, Refused, ArgumentsError) as e:
            return Made(device, None, str(e))
