"""Route of the audit log: who changed what."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from msgspec import Struct

from homeport.acs.api import shapes
from homeport.acs.api.app import Use, administrator
from homeport.acs.api.devices import Cursor, Limit
from homeport.acs.api.quick import Quick
from homeport.acs.records import AuditRecord

router = APIRouter(route_class=Quick, tags=["audit"], dependencies=[Depends(administrator)])


class Change(Struct):
    """A change that was asked for. what: the request's body with secrets masked, shortened.

    status: of the answer; null: the ACS ended before it answered.
    """

    id: str
    at: shapes.Moment
    by: str
    scope: str
    address: str
    method: str
    path: str
    status: int | None
    what: str


class ChangePage(shapes.Page[Change]):
    """Changes, youngest first."""


def _shape(r: AuditRecord) -> Change:
    return Change(r.id, shapes.at(r.at), r.by, r.scope, r.address, r.method, r.path, r.status or None, r.what)


@router.get("/audit")
async def list_changes(
    use: Use,
    by: Annotated[str | None, Query(max_length=200, description="Changes of one user or token.")] = None,
    path: Annotated[str | None, Query(max_length=500, description="Changes of what begins with this path.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ChangePage:
    """Changes that were asked for over REST, youngest first. status null: the ACS ended before it answered."""
    found, following = await use.audit.page(by=by, path=path, limit=limit, cursor=cursor)
    return ChangePage([_shape(r) for r in found], following)
