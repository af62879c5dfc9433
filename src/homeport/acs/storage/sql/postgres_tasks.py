"""The reads of tasks in the PostgreSQL store; those that give a task to one node write down that it was given."""

from collections.abc import Sequence
from typing import Any

from homeport.acs.records import TaskRecord
from homeport.acs.slices import in_slices
from homeport.acs.storage.interface import CLAIM, MOST_BYTES, Page, TaskFilter
from homeport.acs.storage.sql import rows
from homeport.acs.storage.sql.damage import readable
from homeport.acs.storage.sql.plain_reads import LAST
from homeport.acs.storage.sql.postgres_link import SQL
from homeport.acs.storage.sql.postgres_reads import DEAD_AFTER, PostgresReads
from homeport.acs.storage.sql.task_lists import parameters, query_for, task_page


class PostgresTasks(PostgresReads):
    """One statement each. What they promise stands in the interface."""

    async def tasks_of(self, device: str, *, limit: int, cursor: str | None) -> Page:
        await self._settled()
        return await self._task_page("tasks_of", limit, device, cursor or LAST, limit + 1)

    async def tasks(self, which: TaskFilter, *, limit: int, cursor: str | None) -> Page:
        await self._settled()
        query = query_for(which)
        return await self._task_page(query, limit, *parameters(query, which, limit, cursor))

    async def _task_page(self, query: str, limit: int, *values: Any) -> Page:
        """A page of the query's rows (id, record), of which it gives one more than `limit`."""
        sql = SQL["until_full"].replace("/*query*/", SQL[query]).replace("/*most*/", str(MOST_BYTES))
        found = await self._link.fetch(sql, *values)
        taken = found[:limit]
        return await in_slices(task_page(taken, bool(found) and found[0][2] > len(taken)))

    async def due_tasks(self, *, now: float, limit: int) -> Sequence[TaskRecord]:
        return await self._given("due_tasks", now, limit, CLAIM)

    async def overdue_tasks(self, device: str) -> Sequence[TaskRecord]:
        return await self._given("overdue_tasks", device)

    async def interrupted_tasks(self, *, limit: int, now: float) -> Sequence[TaskRecord]:
        """Those of nodes that have gone, or give no sign of life."""
        return await self._given("interrupted_tasks", self.node, limit, DEAD_AFTER, now, int(CLAIM))

    async def orphaned_tasks(self, *, since: str, limit: int) -> Sequence[TaskRecord]:
        return await self._given("orphaned_tasks", self.node, since, limit, DEAD_AFTER)

    async def _given(self, query: str, *values: Any) -> list[TaskRecord]:
        found = await self._link.fetch(SQL[query], *values)
        return sorted(readable(rows.task, (row[0] for row in found), "a task"), key=lambda t: t.id)
