"""The REST application: routes under /api/v1, the metrics, the error shape, the bearer token."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, get_args, get_origin

import structlog
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from msgspec import Struct, field
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Scope_

from homeport._version import __version__
from homeport.acs.api import errors
from homeport.acs.api.bodies import BodyLimit
from homeport.acs.api.device_ids import DeviceIds
from homeport.acs.api.metrics import Metrics
from homeport.acs.api.origin import Forwarded
from homeport.acs.records import AuditRecord, Scope, TokenRecord
from homeport.acs.services.audit import Audit
from homeport.acs.services.devices import Devices
from homeport.acs.services.files import Files
from homeport.acs.services.groups import Groups
from homeport.acs.services.hub import Hub
from homeport.acs.services.shares import WorkerState
from homeport.acs.services.snapshots import Snapshot
from homeport.acs.services.tasks import Tasks
from homeport.acs.services.tokens import Watchers
from homeport.acs.services.users import Users
from homeport.acs.services.webhooks import Webhooks
from homeport.errors import StoreError
from homeport.http.forwarded import TrustedProxies

Holder = Callable[[str | None], Awaitable[TokenRecord | None]]
"""The token in an Authorization header, None where it is not good."""

LONG_ANSWERS = 2
"""Answers of many megabytes that are made at once: each takes some 50 MB of memory, and they have their slices in turn."""

READING = frozenset({"GET", "HEAD"})

OWN = frozenset({"/api/v1/logout", "/api/v1/me/password"})
"""The changes that everybody may make who is logged in."""

_log = structlog.get_logger("homeport.acs.audit")


class Services(Struct, frozen=True):
    """What the routes use."""

    hub: Hub
    devices: Devices
    tasks: Tasks
    files: Files
    groups: Groups
    users: Users
    webhooks: Webhooks
    audit: Audit
    token_holder: Holder
    snapshots: Callable[[], list[tuple[str, Snapshot]]]
    workers: Callable[[], list[WorkerState]] = list
    """All worker processes of this machine; empty where there is one process only."""
    long_answers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LONG_ANSWERS))
    """Held while an answer of many megabytes is made."""


def services(request: Request) -> Services:
    """The services of the application that serves this request."""
    found: Services = request.app.state.services
    return found


async def authorized(request: Request) -> TokenRecord:
    """The token that came with the request. Raises 401, or 403 where it does not open this. Changes go into the audit log first."""
    token = await services(request).token_holder(request.headers.get("authorization"))
    if token is None:
        raise _nobody()
    if request.method not in READING:
        if token.scope is Scope.READ and request.url.path not in OWN:
            raise HTTPException(403, f"{_who(token)} may only read; this needs the scope operate")
        _log.info("change asked for", by=token.user or token.name, method=request.method, path=request.url.path)
        if getattr(request.state, "audit", None) is None:
            request.state.audit = await _asked(request, token)
    return token


async def watching(request: Request) -> None:
    """Raises 401 where no good token came. While the database is away one that was good here before will do: now is when people look."""
    watchers: Watchers = request.app.state.watchers
    if await watchers.holder(request.headers.get("authorization")) is None:
        raise _nobody()


def _who(token: TokenRecord) -> str:
    return f"the user {token.user}" if token.user else f"the token {token.name}"


def _nobody() -> HTTPException:
    advice = "send the token of DIR/admin.token as `Authorization: Bearer TOKEN`"
    return HTTPException(401, advice, headers={"WWW-Authenticate": "Bearer"})


async def _asked(request: Request, token: TokenRecord) -> AuditRecord:
    """The row of the audit log, on the disk before anything is changed. Bodies of forms (files) are not looked at."""
    json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    return await services(request).audit.asked(
        token,
        address=request.client.host if request.client is not None else "",
        method=request.method,
        path=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        body=await request.body() if json else b"",
    )


async def administrator(token: Annotated[TokenRecord, Depends(authorized)]) -> None:
    """Raises 403 where the token's scope is not admin."""
    if token.scope is not Scope.ADMIN:
        raise HTTPException(403, f"{_who(token)} has the scope {token.scope}; this needs admin")


async def operator(token: Annotated[TokenRecord, Depends(authorized)]) -> None:
    """Raises 403 where the token may only look."""
    if token.scope is Scope.READ:
        raise HTTPException(403, f"{_who(token)} may only read lists; this needs the scope operate")


async def known_query(request: Request) -> None:
    """Raises 422 where the query holds what this call does not know: a filter that is misspelt must not give everything."""
    given = request.query_params.keys()
    if not given:
        return
    several = _query_of(request.scope["route"].dependant)
    known = sorted(several)
    for name in given:
        if name not in known:
            there = f"there {'are' if len(known) > 1 else 'is'} {', '.join(known)}" if known else "there are none"
            raise RequestValidationError(
                [{"loc": ("query", name), "type": "unknown", "msg": f"this call has no such parameter; {there}"}]
            )
        if len(request.query_params.getlist(name)) > 1 and not several[name]:
            raise RequestValidationError(
                [{"loc": ("query", name), "type": "several", "msg": "this is given more than once"}]
            )


def _query_of(dependant: Dependant) -> dict[str, bool]:
    """The names of the parameters that a call takes in its query, and whether each may be given several times."""
    found = {p.alias: _is_list(p.field_info.annotation) for p in dependant.query_params}
    for inner in dependant.dependencies:
        found |= _query_of(inner)
    return found


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(get_origin(part) is list for part in get_args(annotation))


class Outcomes:
    """ASGI middleware: what came of a change is written into its row of the audit log."""

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app = app
        self._audit = audit

    async def __call__(self, scope: Scope_, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                record = scope.get("state", {}).get("audit")
                if record is not None:
                    try:
                        self._audit.answered(record, message["status"])
                    except StoreError as e:
                        _log.warning("what came of a change is not stored", reason=str(e))
            await send(message)

        await self._app(scope, receive, watched)


Use = Annotated[Services, Depends(services)]


def build(given: Services) -> FastAPI:
    """The application."""
    from homeport.acs.api import (
        audit,
        description,
        devices,
        files,
        groups,
        health,
        histories,
        tasks,
        tokens,
        users,
        webhooks,
    )

    app = FastAPI(
        title="Homeport ACS",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,  # what generated clients call their methods
    )
    app.state.services = given
    errors.install(app)
    rooms = (devices, tasks, files, histories, tokens, groups, users, webhooks, audit)
    for room in rooms:
        app.include_router(room.router, prefix="/api/v1", dependencies=[Depends(authorized), Depends(known_query)])
    app.include_router(users.door, prefix="/api/v1", dependencies=[Depends(known_query)])
    app.add_middleware(Outcomes, audit=given.audit)
    app.add_middleware(BodyLimit, holder=given.token_holder)
    app.add_middleware(DeviceIds)
    proxies = TrustedProxies(given.hub.settings.trusted_proxies)
    if proxies:
        app.add_middleware(Forwarded, proxies=proxies)
    metrics = Metrics(given)
    app.state.watchers = Watchers(given.token_holder, given.hub.clock)

    @app.get("/metrics", response_class=PlainTextResponse, dependencies=[Depends(watching)], tags=["operation"])
    async def prometheus() -> PlainTextResponse:
        """Counters in Prometheus's text format."""
        return PlainTextResponse(await metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.include_router(health.router, prefix="/api/v1")
    description.install(app, [room.router for room in rooms], [users.door, health.router])
    return app
