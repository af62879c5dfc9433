"""Routes of users: who may log in, as what; and the login itself."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from homeport.acs.api import shapes
from homeport.acs.api.app import Use, administrator, authorized
from homeport.acs.api.quick import Quick
from homeport.acs.records import Scope, TokenRecord, UserRecord
from homeport.acs.services.users import LOGIN, NotLetIn

router = APIRouter(route_class=Quick, tags=["users"], dependencies=[Depends(administrator)])
door = APIRouter(route_class=Quick, tags=["users"])

Password = Annotated[str, Field(min_length=1, max_length=1_000)]


class NewUser(BaseModel):
    """Somebody who may log in."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64, examples=["eve"])
    password: Password
    role: Scope = Field(Scope.READ, description="As the scope of a token: read, operate or admin.")
    full_name: str = Field("", max_length=200, pattern=shapes.ONE_LINE)


class UserPatch(BaseModel):
    """What is to change."""

    model_config = ConfigDict(extra="forbid")

    password: Password | None = None
    role: Scope | None = None
    enabled: bool | None = None
    full_name: str | None = Field(None, max_length=200, pattern=shapes.ONE_LINE)


class Login(BaseModel):
    """Who wants to come in."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)
    password: str = Field(max_length=2_000)


class NewPassword(BaseModel):
    """A user's own change of the password."""

    model_config = ConfigDict(extra="forbid")

    old_password: str = Field(max_length=2_000)
    password: Password


class User(Struct):
    """Somebody who may log in."""

    name: str
    full_name: str
    role: Scope
    enabled: bool
    created: shapes.Moment
    last_login: shapes.Moment | None


class UserPage(shapes.Page[User]):
    """All users, by name."""


class LoggedIn(Struct):
    """A login. token: what opens the API until `expires`."""

    token: str
    name: str
    role: Scope
    expires: shapes.Moment | None


class Me(Struct):
    """Who asks. name: of the user or the token; user: whether it is a user."""

    name: str
    user: bool
    role: Scope
    expires: shapes.Moment | None


def _shape(u: UserRecord) -> User:
    return User(u.name, u.full_name, u.scope, u.enabled, shapes.at(u.created), shapes.moment(u.last_login))


@router.get("/users")
async def list_users(use: Use) -> UserPage:
    """All users, by name."""
    return UserPage([_shape(u) for u in await use.users.all()], None)


@router.post("/users", status_code=201)
async def create_user(use: Use, body: NewUser) -> User:
    """Make a user."""
    return _shape(await use.users.make(body.name, body.password, body.role, body.full_name))


@router.get("/users/{name}")
async def get_user(use: Use, name: str) -> User:
    """One user."""
    return _shape(await use.users.get(name))


@router.patch("/users/{name}")
async def change_user(use: Use, name: str, body: UserPatch) -> User:
    """Change a user; a new password or role, and switching off, end the logins."""
    changed = await use.users.change(
        name, password=body.password, scope=body.role, enabled=body.enabled, full_name=body.full_name
    )
    return _shape(changed)


@router.delete("/users/{name}", status_code=204)
async def delete_user(use: Use, name: str) -> Response:
    """Take a user away; the logins end."""
    await use.users.remove(name)
    return Response(status_code=204)


@door.post("/login")
async def login(use: Use, request: Request, body: Login) -> LoggedIn:
    """A token for a user's name and password; it ends by itself."""
    address = request.client.host if request.client is not None else ""
    record, token = await use.users.login(body.name, body.password, address)
    request.state.audit = await use.audit.asked(
        record, address=address, method=request.method, path=request.url.path, body=b""
    )
    return LoggedIn(token, record.user, record.scope, shapes.moment(record.expires))


@door.post("/logout", status_code=204)
async def logout(use: Use, token: Annotated[TokenRecord, Depends(authorized)]) -> Response:
    """End the login whose token comes with the request."""
    if not token.name.startswith(LOGIN):
        raise HTTPException(409, f"the token {token.name} is no login; take it back with DELETE tokens/{token.name}")
    await use.users.logout(token)
    return Response(status_code=204)


@door.post("/me/password", status_code=204)
async def change_own_password(
    use: Use, request: Request, token: Annotated[TokenRecord, Depends(authorized)], body: NewPassword
) -> Response:
    """Change one's own password, whatever one's role; all logins end."""
    if not token.user:
        raise HTTPException(409, f"the token {token.name} is no user's; it has no password")
    address = request.client.host if request.client is not None else ""
    try:
        await use.users.change_own(token.user, body.old_password, body.password, address)
    except NotLetIn as e:
        raise HTTPException(403, str(e)) from None
    return Response(status_code=204)


@door.get("/me")
async def me(token: Annotated[TokenRecord, Depends(authorized)]) -> Me:
    """Who asks, and what they may do."""
    return Me(token.user or token.name, bool(token.user), token.scope, shapes.moment(token.expires))
