"""Rows that many ask for one by one, read together: one query at a time, each for all keys that are asked for meanwhile."""

import asyncio

from homeport.acs.storage.sql.postgres_link import SQL, Link, facts, storable


class Together:
    """Records by a key. query: the name of one that gives (key, record) for a list of keys."""

    def __init__(self, link: Link, query: str) -> None:
        self._link = link
        self._sql = SQL[query]
        self._wanted: dict[str, asyncio.Future[bytes | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: str) -> bytes | None:
        """The record with this key as it is now; None where there is none. Raises StoreUnavailable, StoreError."""
        if not storable(key):
            return None
        future = self._wanted.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._wanted[key] = loop.create_future()
            if self._reading is None or self._reading.done():
                self._reading = loop.create_task(self._read())
        return await asyncio.shield(future)

    async def stop(self) -> None:
        """Return when nothing is being read any more."""
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, {}
            try:
                found = facts(await self._link.fetch(self._sql, list(wanted)))
            except Exception as e:
                for future in wanted.values():
                    future.set_exception(e)
                    future.exception()  # read here once: who asked may have gone
            else:
                for key, future in wanted.items():
                    future.set_result(found.get(key))
