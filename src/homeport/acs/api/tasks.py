"""Routes of tasks: make, watch, cancel."""

from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from homeport.acs.api import shapes
from homeport.acs.api.app import Services, Use
from homeport.acs.api.devices import Cursor, Limit
from homeport.acs.api.pieces import Pieces, is_long, one_task, page_of_tasks
from homeport.acs.api.quick import Quick
from homeport.acs.api.shapes import FleetCancelLine, FleetCancelSums, FleetTaskLine, FleetTaskSums, Task, TaskPage
from homeport.acs.records import TaskRecord, TaskStatus
from homeport.acs.services.fleet import Fleet
from homeport.acs.slices import in_slices
from homeport.acs.where import parse
from homeport.errors import StoreError

router = APIRouter(route_class=Quick, tags=["tasks"])

LONGEST_WAIT = 300.0


def lines_of(line: type[Struct], sums: type[Struct], says: str) -> dict[int | str, dict[str, Any]]:
    """The description of an answer of JSON lines."""
    shapes = [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in (line, sums)]
    content = {"schema": {"type": "string"}, "x-line": {"anyOf": shapes}}
    return {200: {"content": {"application/x-ndjson": content}, "description": says}}


class NewTask(BaseModel):
    """A wish: one RPC for one device."""

    model_config = ConfigDict(extra="forbid")

    rpc: str = Field(
        min_length=1,
        max_length=64,
        description="A method of the standard or of a vendor (X_...), or Refresh, which reads what is below `path` anew.",
        examples=["GetParameterValues"],
    )
    args: dict[str, Any] = Field(default_factory=dict, examples=[{"parameter_names": ["Device.DeviceInfo."]}])
    connection_request: bool = Field(True, description="Ask the device to open a session now.")
    priority: int = Field(0, ge=-1_000, le=1_000, description="Higher first.")
    expires_in: float | None = Field(
        None, gt=0, le=31_536_000, description="Seconds after which it is not sent any more."
    )
    after: str | None = Field(None, max_length=64, description="A task that must be done before.")


Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="Makes a repeated call give the task of the first one; remembered for a day, per device.",
    ),
]


class FleetTask(NewTask):
    """A wish: one RPC for each of many devices."""

    where: str = Field(min_length=1, max_length=2_000, examples=['model == "797xx" and "gold" in tags'])
    limit: int = Field(100_000, ge=1, le=10_000_000, description="At most so many devices.")


@router.post(
    "/tasks",
    response_class=StreamingResponse,
    responses=lines_of(FleetTaskLine, FleetTaskSums, "A line per device, then one with the sums."),
)
async def create_tasks(use: Use, body: FleetTask, key: Key = "") -> StreamingResponse:
    """Make a task for each device that fits a condition; the answer is a stream of JSON lines, one per device as it gets its task.

    A line is `{"device", "task"}` or `{"device", "error"}`; the last one is `{"created", "refused", "complete"}`. Where it says
    that the work is not complete, the same call with the same Idempotency-Key goes on.
    """
    condition = parse(body.where, now=use.hub.clock())
    await use.tasks.check(body.rpc, body.args)
    made = Fleet(use.hub, use.tasks).create(
        condition,
        body.rpc,
        body.args,
        limit=body.limit,
        priority=body.priority,
        expires_in=body.expires_in,
        after=body.after,
        connection_request=body.connection_request,
        key=key,
    )

    async def lines() -> AsyncIterator[bytes]:
        created = refused = 0
        error = ""
        try:
            async for one in made:
                if one.task is None:
                    refused += 1
                    yield _line(FleetTaskLine(one.device, error=one.problem))
                else:
                    created += 1
                    yield _line(FleetTaskLine(one.device, one.task.id))
        except StoreError as e:
            error = str(e)
        yield _line(FleetTaskSums(created, refused, not error, error))

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


def _line(told: Struct) -> bytes:
    return msgspec.json.encode(told) + b"\n"


class FleetCancel(BaseModel):
    """Which tasks of which devices are not wanted any more."""

    model_config = ConfigDict(extra="forbid")

    where: str = Field(min_length=1, max_length=2_000, examples=['model == "797xx"'])
    rpc: str = Field("", max_length=64, description="Only tasks of this method.")
    key: str = Field("", max_length=200, description="Only tasks that were made with this Idempotency-Key.")


@router.post(
    "/tasks/cancel",
    response_class=StreamingResponse,
    responses=lines_of(FleetCancelLine, FleetCancelSums, "A line per task, then one with the sums."),
)
async def cancel_tasks(use: Use, body: FleetCancel) -> StreamingResponse:
    """Cancel the open tasks of the devices that fit a condition; the answer is a stream of JSON lines, one per task.

    A line is `{"device", "task"}`, with `"error"` where it could not be cancelled (the device is working on it); the last one is
    `{"cancelled", "refused", "complete"}`.
    """
    found = Fleet(use.hub, use.tasks).cancel(parse(body.where, now=use.hub.clock()), rpc=body.rpc, key=body.key)

    async def lines() -> AsyncIterator[bytes]:
        cancelled = refused = 0
        error = ""
        try:
            async for one in found:
                if one.problem:
                    refused += 1
                else:
                    cancelled += 1
                yield _line(FleetCancelLine(one.device, one.task.id if one.task is not None else "", one.problem))
        except StoreError as e:
            error = str(e)
        yield _line(FleetCancelSums(cancelled, refused, not error, error))

    return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})


@router.get("/tasks")
async def list_all_tasks(
    use: Use,
    status: Annotated[
        list[TaskStatus] | None, Query(description="Only tasks in this status; given several times, in any of them.")
    ] = None,
    rpc: Annotated[str, Query(max_length=64, description="Only tasks of this method.")] = "",
    device: Annotated[str, Query(max_length=2_400, description="Only tasks of the device with this id.")] = "",
    since: Annotated[
        datetime | None, Query(description="Only tasks made at this time or later; UTC where it names no zone.")
    ] = None,
    until: Annotated[datetime | None, Query(description="Only tasks made before this time.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Pieces[TaskPage]:
    """The tasks of all devices, youngest first; those that fit all that is given. Times count to the millisecond.

    A page may be shorter than `limit` before the last one: `next` alone says whether there is more.
    """
    page = await use.tasks.all(
        statuses=frozenset(status or ()),
        rpc=rpc,
        device=device,
        since=_seconds(since),
        until=_seconds(until),
        limit=limit,
        cursor=cursor,
    )
    return await _page(use, page.items, page.next)


async def _shown(use: Services, task: TaskRecord, status: int = 200) -> Pieces[Task]:
    async with use.long_answers if is_long(task) else nullcontext():
        return Pieces(await in_slices(one_task(task)), status)


async def _page(use: Services, tasks: Sequence[TaskRecord], following: str | None) -> Pieces[TaskPage]:
    async with use.long_answers if any(map(is_long, tasks)) else nullcontext():
        return Pieces(await in_slices(page_of_tasks(tasks, following)))


def _seconds(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


@router.post("/devices/{id}/tasks", status_code=201)
async def create_task(
    use: Use,
    id: str,
    body: NewTask,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for its end.")] = 0,
    key: Key = "",
) -> Pieces[Task]:
    """Make a task; with `wait`, answer when it has ended or the time is over."""
    task = await use.tasks.create(
        id,
        body.rpc,
        body.args,
        priority=body.priority,
        expires_in=body.expires_in,
        after=body.after,
        connection_request=body.connection_request,
        key=key,
    )
    if wait:
        task = await use.tasks.wait(task.id, wait)
    return await _shown(use, task, 201)


@router.get("/devices/{id}/tasks")
async def list_tasks(use: Use, id: str, limit: Limit = 100, cursor: Cursor = None) -> Pieces[TaskPage]:
    """The device's tasks, youngest first."""
    await use.devices.get(id)
    page = await use.hub.store.tasks_of(id, limit=limit, cursor=cursor)
    return await _page(use, [use.tasks.current(t) for t in page.items], page.next)


@router.get("/tasks/{id}")
async def get_task(use: Use, id: str, wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0) -> Pieces[Task]:
    """One task; with `wait`, answer when it has ended or the time is over."""
    return await _shown(use, await use.tasks.wait(id, wait) if wait else await use.tasks.get(id))


@router.delete("/tasks/{id}")
async def cancel_task(use: Use, id: str) -> Task:
    """Cancel a task that is not being worked on."""
    return shapes.task(await use.tasks.cancel(id))
