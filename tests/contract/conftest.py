"""The stores that keep the same promises: in memory, SQLite and PostgreSQL."""

import asyncio
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.acs.storage.interface import (
    Store,
)
from homeport.acs.storage.memory import MemoryStore
from homeport.acs.storage.sql.postgres import PostgresStore
from homeport.acs.storage.sql.sqlite import SqliteStore
from support.postgres import EMPTY, needs_postgres, shared_server
from support.store_rows import Run


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


def _made(kind: str, directory: Path) -> Store:
    match kind:
        case "memory":
            return MemoryStore()
        case "sqlite":
            return SqliteStore(directory / "acs.db", write_behind=60)
    return PostgresStore(postgres_database(), write_behind=60)


@functools.cache
def postgres_database() -> str:
    """One database for all tests of this process: each begins by emptying it."""
    return shared_server().new_database()


@pytest.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, needs_postgres])],
)
def store(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Iterator[Store]:
    made = _made(request.param, tmp_path)
    run(made.open())
    if isinstance(made, PostgresStore):
        run(made._link.fetch(EMPTY))
    yield made
    run(made.close())
