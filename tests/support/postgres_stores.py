"""PostgreSQL stores in the test's process: opened so that they hear each other, and a connection that breaks at the worst moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import pytest

from homeport.acs.storage.sql.postgres import PostgresStore

T = TypeVar("T")


def run(scene: Coroutine[Any, Any, None], seconds: float = 10) -> None:
    """Play a scene, which may take so long."""

    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await scene

    asyncio.run(limited())


async def until(condition: Callable[[], Any]) -> None:
    """Return when the condition holds; the time limit is that of the scene."""
    while not condition():
        await asyncio.sleep(0)


@asynccontextmanager
async def open_stores(url: str, count: int = 2, **options: Any) -> AsyncIterator[list[PostgresStore]]:
    """So many open stores on one database, which know each other."""
    stores = [PostgresStore(url, node=f"n{i}", **options) for i in range(count)]
    await asyncio.gather(*(store.open() for store in stores))
    await until(lambda: all(store.channel.listening for store in stores))
    try:
        yield stores
    finally:
        await asyncio.gather(*(store.close() for store in stores))


async def without_an_answer(store: PostgresStore, monkeypatch: pytest.MonkeyPatch, commit: Awaitable[T]) -> T:
    """What comes of a commit where the connection breaks just after the server took the COMMIT."""
    assert store._writer is not None
    connection = store._writer._connection
    execute = connection.execute

    async def cut(query: str, *values: Any) -> Any:
        answer = await execute(query, *values)
        if query == "COMMIT":
            connection.terminate()
            raise asyncpg.ConnectionDoesNotExistError("cut")
        return answer

    monkeypatch.setattr(asyncpg.Connection, "execute", lambda self, query, *values: cut(query, *values))
    coming = asyncio.ensure_future(commit)
    await until(connection.is_closed)
    monkeypatch.undo()
    return await coming
