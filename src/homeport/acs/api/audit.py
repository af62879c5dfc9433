"""Route of the audit log: who changed what."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from homeport.acs.api import shapes
from homeport.acs.api.app import Use, administrator
from homeport.acs.api.devices import Cursor, Limit
from homeport.acs.api.quick import Quick
from homeport.acs.services.audit import shape

router = APIRouter(route_class=Quick, tags=["audit"], dependencies=[Depends(administrator)])


@router.get("/audit")
async def list_changes(
    use: Use,
    by: Annotated[str | None, Query(max_length=200, description="Changes of one user or token.")] = None,
    path: Annotated[str | None, Query(max_length=500, description="Changes of what begins with this path.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Changes that were asked for over REST, youngest first. status null: the ACS ended before it answered."""
    found, following = await use.audit.page(by=by, path=path, limit=limit, cursor=cursor)
    items = [{**shape(r), "at": shapes.moment(r.at), "status": r.status or None} for r in found]
    return {"items": items, "next": following}
