"""What an ACS does by the clock, while its database is away."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from homeport.acs.worker import Worker
from homeport.errors import StoreUnavailable


def test_work_that_waits_for_the_store_is_told_once_until_it_goes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which work, and why; a database that is away for an hour does not fill the log."""
    away = [True, True, True, False, True]

    async def sweep() -> None:
        if not away:
            raise asyncio.CancelledError
        if away.pop(0):
            raise StoreUnavailable("the server does not answer")

    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0)

    worker: Any = object.__new__(Worker)
    worker._sleep = at_once
    with capture_logs() as said, pytest.raises(asyncio.CancelledError):
        asyncio.run(worker._every(1.0, sweep))
    assert [(line["work"], line["reason"]) for line in said] == [("sweep", "the server does not answer")] * 2
