"""Routes of tokens: for people and programs that must not be able to do everything."""

from fastapi import APIRouter, Depends, Response
from msgspec import Struct
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


class Token(Struct):
    """What a token opens. user: whose login it is, null for a program's."""

    name: str
    scope: Scope
    created: shapes.Moment
    user: str | None
    expires: shapes.Moment | None


class MadeToken(Token):
    """A new token. token: the token itself, shown this once."""

    token: str


class TokenPage(shapes.Page[Token]):
    """All tokens that open something, by name."""


def _fields(r: TokenRecord) -> tuple[str, Scope, shapes.Moment, str | None, shapes.Moment | None]:
    return r.name, r.scope, shapes.at(r.created), r.user or None, shapes.moment(r.expires)


@router.get("/tokens")
async def list_tokens(use: Use) -> TokenPage:
    """All tokens that open something, by name: those of programs, of the ACS itself, and of users that are logged in."""
    return TokenPage([Token(*_fields(t)) for t in await Tokens(use.hub).all()], None)


@router.post("/tokens", status_code=201)
async def create_token(use: Use, body: NewToken) -> MadeToken:
    """Make a token; it is shown this once. An older one of the same name ends."""
    record, token = await Tokens(use.hub).make(body.name, body.scope)
    return MadeToken(*_fields(record), token)


@router.get("/tokens/{name}")
async def get_token(use: Use, name: str) -> Token:
    """What a token opens."""
    return Token(*_fields(await Tokens(use.hub).get(name)))


@router.delete("/tokens/{name}", status_code=204)
async def delete_token(use: Use, name: str) -> Response:
    """End a token."""
    await Tokens(use.hub).revoke(name)
    return Response(status_code=204)
