"""Sessions that ended with their process, as the history shows them."""

import asyncio
from typing import Any

from homeport.acs.records import DeviceRecord, EventRecord, SessionRecord
from homeport.acs.services.lost_sessions import LOST, with_lost
from homeport.acs.storage.interface import SessionChange, UnitOfWork
from homeport.acs.storage.memory import MemoryStore

KILLED = {3, 4, 7, 9}


async def shown(limit: int, cursor: str | None, *, open_since: float) -> tuple[list[tuple[str, str]], str | None, Any]:
    """(session, outcome) of a page of nine sessions, four of which have no row."""
    store = MemoryStore()
    unit = UnitOfWork()
    unit.devices.append(DeviceRecord(id="d", oui="00D0F1", product_class="X", serial_number="S1"))
    for n in range(1, 10):
        id = f"{n}0"
        for m, code in enumerate(("1 BOOT", "TransferComplete"), 1):
            unit.events.append(EventRecord(id=f"{n}{m}", device="d", session=id, at=n + m / 10, code=code))
        if n not in KILLED:
            row = SessionRecord(id=id, device="d", started=n, ended=n, outcome="success")
            unit.sessions.append(SessionChange(row, ()))
    unit.events.append(EventRecord(id="95", device="d", session="", at=9.5, code="LOGIN REFUSED"))
    await store.commit(unit)
    page = await store.sessions_of("d", limit=limit, cursor=cursor)
    page = await with_lost(store, "d", page, limit=limit, cursor=cursor, open_since=open_since)
    return [(s.id, s.outcome) for s in page.items], page.next, page.items


def test_a_session_that_ended_with_its_process_stands_in_the_history() -> None:
    """With what the device told in it; the youngest, of which the device was heard just now, may be open still."""
    found, following, items = asyncio.run(shown(100, None, open_since=100.0))
    assert [id for id, _ in found] == [f"{n}0" for n in range(9, 0, -1)] and following is None
    assert {int(id) // 10 for id, outcome in found if outcome == LOST} == KILLED
    assert items[0].events == ("1 BOOT",)
    found, _, _ = asyncio.run(shown(100, None, open_since=9.0))
    assert found[0] == ("80", "success")


def test_pages_of_sessions_hold_each_lost_one_once() -> None:
    """None is missed or shown twice, and no page is longer than asked for."""
    for limit in (1, 2, 3, 5):
        seen: list[str] = []
        cursor: str | None = None
        while True:
            found, cursor, _ = asyncio.run(shown(limit, cursor, open_since=100.0))
            assert len(found) <= limit
            seen += [id for id, _ in found]
            if cursor is None:
                break
        assert seen == [f"{n}0" for n in range(9, 0, -1)]
