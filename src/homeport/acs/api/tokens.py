"""Routes of tokens: for people and programs that must not be able to do everything."""

from typing import Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from homeport.acs.api import shapes
from homeport.acs.api.app import Use, administrator
from homeport.acs.api.quick import Quick
from homeport.acs.records import Scope, TokenRecord
from homeport.acs.services.tokens import Tokens

router = APIRouter(route_class=Quick, tags=["tokens"], dependencies=[Depends(administrator)])


class NewToken(BaseModel):
    """A token for somebody."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64, examples=["dashboard"])
    scope: Scope = Field(
        Scope.READ,
        description="read: look only; operate: devices, tasks and files; admin: also tokens and the devices' passwords.",
    )


def _shape(record: TokenRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "scope": record.scope.value,
        "created": shapes.moment(record.created),
        "user": record.user or None,
        "expires": shapes.moment(record.expires),
    }


@router.get("/tokens")
async def list_tokens(use: Use) -> dict[str, Any]:
    """All tokens that open something, by name: those of programs, of the ACS itself, and of users that are logged in."""
    return {"items": [_shape(t) for t in await Tokens(use.hub).all()], "next": None}


@router.post("/tokens", status_code=201)
async def create_token(use: Use, body: NewToken) -> dict[str, Any]:
    """Make a token; it is shown this once. An older one of the same name ends."""
    record, token = await Tokens(use.hub).make(body.name, body.scope)
    return _shape(record) | {"token": token}


@router.get("/tokens/{name}")
async def get_token(use: Use, name: str) -> dict[str, Any]:
    """What a token opens."""
    return _shape(await Tokens(use.hub).get(name))


@router.delete("/tokens/{name}", status_code=204)
async def delete_token(use: Use, name: str) -> Response:
    """End a token."""
    await Tokens(use.hub).revoke(name)
    return Response(status_code=204)
