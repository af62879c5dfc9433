"""Routes of what has happened: sessions with their messages, events, faults, and the stream of what happens now."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from homeport.acs.api import shapes
from homeport.acs.api.app import Services, Use
from homeport.acs.api.devices import Cursor, Limit
from homeport.acs.api.quick import Quick
from homeport.acs.api.shapes import EventPage, FaultPage, SessionPage, SessionWithMessages
from homeport.acs.services.hub import END, GAP, NotFound
from homeport.acs.services.lost_sessions import with_lost
from homeport.errors import StoreError

router = APIRouter(route_class=Quick, tags=["histories"])

HEARTBEAT = 15.0
"""Seconds between two comments in a silent stream, so that proxies keep it open and a gone listener is noticed."""


@router.get("/devices/{id}/sessions")
async def list_sessions(use: Use, id: str, limit: Limit = 100, cursor: Cursor = None) -> SessionPage:
    """The device's sessions, youngest first. A periodic one in which nothing happened has no row.

    One whose process was killed is `lost`: only what the device told in it is known.
    """
    await use.devices.get(id)
    store = use.hub.store
    page = await store.sessions_of(id, limit=limit, cursor=cursor)
    since = use.hub.clock() - use.hub.settings.session_timeout
    page = await with_lost(store, id, page, limit=limit, cursor=cursor, open_since=since)
    return SessionPage([shapes.session(s) for s in page.items], page.next)


@router.get("/sessions/{id}")
async def get_session(use: Use, id: str) -> SessionWithMessages:
    """One session with its messages; secrets in them are masked."""
    found = await use.hub.store.session(id)
    if found is None:
        raise NotFound(
            f"there is no session {id!r}, or it was lost with its process; list them with GET devices/ID/sessions"
        )
    return shapes.session_with_messages(found)


@router.get("/devices/{id}/events")
async def list_events(use: Use, id: str, limit: Limit = 100, cursor: Cursor = None) -> EventPage:
    """What the device told, youngest first: the events of its Informs and its own RPCs."""
    await use.devices.get(id)
    page = await use.hub.store.events_of(id, limit=limit, cursor=cursor)
    return EventPage([shapes.event(e) for e in page.items], page.next)


@router.get("/faults")
async def list_faults(
    use: Use,
    device: Annotated[str | None, Query(max_length=2_400)] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> FaultPage:
    """Faults, youngest first, of one device or of all."""
    page = await use.hub.store.faults(device=device, limit=limit, cursor=cursor)
    return FaultPage([shapes.fault(f) for f in page.items], page.next)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream_events(
    use: Use,
    request: Request,
    device: Annotated[str | None, Query(max_length=2_400)] = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=64)] = None,
) -> StreamingResponse:
    """What happens from now on, as server-sent events; of one device or of all.

    Who comes back with the `Last-Event-ID` that he has heard gets what he has missed, or the event `gap` where that is not known any more.
    `gap` also comes where this process may have missed what happened at the others. A silent stream has a comment every 15 seconds.
    The stream ends with the token that opened it.
    """
    token = request.headers.get("authorization")
    time = asyncio.get_running_loop().time

    async def stream() -> AsyncIterator[bytes]:
        async with use.hub.bus.listen(last) as queue:
            yield b": listening\n\n"
            asked = time()
            while True:
                if time() - asked > HEARTBEAT / 2:
                    if not await _still_good(use, token):
                        return
                    asked = time()
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        event = await queue.get()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if event is END:
                    return
                if device is None or event.get("device") == device or event is GAP:
                    number = f"id: {event['id']}\n" if "id" in event else ""
                    yield f"{number}event: {event['kind']}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _still_good(use: Services, token: str | None) -> bool:
    """Whether the token opens the stream still: it may have been taken back, or ended by itself, hours after it began."""
    try:
        return await use.token_holder(token) is not None
    except StoreError:
        return True  # nobody is shut out because the database is away
