"""Sessions whose process was killed: nothing was written of their end, but what the device told in them is stored, and names them.

They are made up when somebody looks at the history, so that it has no holes, and nobody pays for it before.
"""

from typing import Final

from homeport.acs.records import EventRecord, SessionRecord
from homeport.acs.storage.interface import Page, Store

LOST: Final = "lost"
REASON: Final = "the ACS was killed in the middle of it; its messages are not kept"

MOST_EVENTS: Final = 500
"""Events that are looked through for one page of sessions."""


async def with_lost(
    store: Store, device: str, page: Page, *, limit: int, cursor: str | None, open_since: float
) -> Page:
    """A page of the device's sessions with the lost ones among them. page, limit, cursor: as of `Store.sessions_of`.

    open_since: seconds since 1970; the youngest session of the device, where it was heard after that, may be open still.
    Raises StoreUnavailable.
    """
    oldest = page.items[-1].id if page.next is not None else ""
    events = await store.events_of(device, limit=MOST_EVENTS, cursor=cursor)
    if events.next is not None:
        oldest = max(oldest, events.items[-1].session)  # of that one some events may be further back
    known = {s.id for s in page.items}
    told: dict[str, list[EventRecord]] = {}
    for event in events.items:
        id = event.session
        if id and id not in known and id > oldest and (cursor is None or id < cursor):
            told.setdefault(id, []).append(event)
    if cursor is None and told:
        youngest = max(told)
        if all(id < youngest for id in known) and told[youngest][0].at >= open_since:
            del told[youngest]
    if not told:
        return page
    made = [_lost(device, id, rows) for id, rows in told.items()]
    found = sorted([*page.items, *made], key=lambda s: s.id, reverse=True)
    return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else page.next)


def _lost(device: str, id: str, events: list[EventRecord]) -> SessionRecord:
    """events: youngest first."""
    return SessionRecord(
        id=id,
        device=device,
        started=events[-1].at,
        ended=events[0].at,
        outcome=LOST,
        reason=REASON,
        events=tuple(e.code for e in reversed(events) if " " in e.code),  # of its Inform; methods have no blank
    )
