"""The REST application: routes under /api/v1, the metrics, the error shape, the bearer token."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse
from msgspec import Struct

from homeport._version import __version__
from homeport.acs.api import errors
from homeport.acs.api.metrics import Metrics
from homeport.acs.records import Scope, TokenRecord
from homeport.acs.services.devices import Devices
from homeport.acs.services.files import Files
from homeport.acs.services.hub import Hub
from homeport.acs.services.snapshots import Snapshot
from homeport.acs.services.tasks import Tasks

Holder = Callable[[str | None], Awaitable[TokenRecord | None]]
"""The token in an Authorization header, None where it is not good."""

_READING = frozenset({"GET", "HEAD"})

_log = structlog.get_logger("homeport.acs.audit")


class Services(Struct, frozen=True):
    """What the routes use."""

    hub: Hub
    devices: Devices
    tasks: Tasks
    files: Files
    token_holder: Holder
    snapshots: Callable[[], list[tuple[str, Snapshot]]]


def services(request: Request) -> Services:
    """The services of the application that serves this request."""
    found: Services = request.app.state.services
    return found


async def authorized(request: Request) -> TokenRecord:
    """The token that came with the request. Raises 401, or 403 where it does not open this. Changes are written to the log."""
    token = await services(request).token_holder(request.headers.get("authorization"))
    if token is None:
        raise HTTPException(
            401,
            "send the token of DIR/admin.token as `Authorization: Bearer TOKEN`",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if request.method not in _READING:
        if token.scope is Scope.READ:
            raise HTTPException(403, f"the token {token.name} may only read; take one with the scope operate")
        _log.info("change asked for", by=token.name, method=request.method, path=request.url.path)
    return token


async def administrator(token: Annotated[TokenRecord, Depends(authorized)]) -> None:
    """Raises 403 where the token's scope is not admin."""
    if token.scope is not Scope.ADMIN:
        raise HTTPException(403, f"the token {token.name} has the scope {token.scope}; this needs admin")


Use = Annotated[Services, Depends(services)]


def build(given: Services) -> FastAPI:
    """The application."""
    from homeport.acs.api import devices, files, histories, tasks, tokens

    app = FastAPI(
        title="Homeport ACS",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        separate_input_output_schemas=False,
    )
    app.state.services = given
    errors.install(app)
    for router in (devices.router, tasks.router, files.router, histories.router, tokens.router):
        app.include_router(router, prefix="/api/v1", dependencies=[Depends(authorized)])
    metrics = Metrics(given)

    @app.get("/metrics", response_class=PlainTextResponse, dependencies=[Depends(authorized)], tags=["operation"])
    async def prometheus() -> PlainTextResponse:
        """Counters in Prometheus's text format."""
        return PlainTextResponse(await metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/api/v1/health", tags=["operation"])
    async def health(use: Use) -> dict[str, Any]:
        """Whether the ACS works; needs no token, and tells nothing of devices."""
        trouble = use.hub.store.trouble
        return {"status": "ok" if trouble is None else "degraded", "version": __version__, "trouble": trouble}

    return app
