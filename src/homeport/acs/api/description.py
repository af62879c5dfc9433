"""The OpenAPI description, with what FastAPI does not know: the token, which scope each call needs, the shape of errors."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from homeport.acs.api.app import OWN, READING, administrator, authorized, operator, watching
from homeport.acs.records import Scope

PREFIX: Final = "/api/v1"

ANY: Final = "any"
"""Every token will do."""

_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"description": "Where the request itself is wrong: a list of {where, what}; else null."},
            },
        }
    },
}


def install(app: FastAPI, guarded: Sequence[APIRouter], door: APIRouter) -> None:
    """Have the application describe itself so. guarded: routers whose calls all need a token; door: those that say themselves."""
    needs: dict[tuple[str, str], str] = {}
    for router in guarded:
        needs |= _calls(router.routes, PREFIX, frozenset({authorized}))
    needs |= _calls(door.routes, PREFIX, frozenset())
    needs |= _calls(app.routes, "", frozenset())

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(FastAPI.openapi(app), needs)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _calls(routes: Iterable[Any], prefix: str, asked: frozenset[Any]) -> dict[tuple[str, str], str]:
    """(path, method) -> the scope that a token must have for this call; "" where none is needed."""
    found = {}
    for route in routes:
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                path = prefix + route.path_format
                found[path, method.lower()] = _needs(path, method, asked | _asked_by(route.dependant))
    return found


def _needs(path: str, method: str, asked: frozenset[Any]) -> str:
    if watching in asked:
        return Scope.READ.value
    if authorized not in asked:
        return ""
    if path in OWN:
        return ANY
    if administrator in asked:
        return Scope.ADMIN.value
    return Scope.READ.value if method in READING and operator not in asked else Scope.OPERATE.value


def _asked_by(dependant: Dependant) -> frozenset[Any]:
    """All functions that are asked before the call, and the call itself."""
    return frozenset({dependant.call}).union(*(_asked_by(inner) for inner in dependant.dependencies))


def _complete(made: dict[str, Any], needs: dict[tuple[str, str], str]) -> None:
    parts = made.setdefault("components", {})
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Error"] = _ERROR
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path, calls in made["paths"].items():
        for method, call in calls.items():
            scope = needs[path, method]
            call["x-scope"] = scope
            call["security"] = [{"token": []}] if scope else []
            call["responses"].pop("422", None)
            call["responses"]["default"] = {"description": "What went wrong, and what to do.", "content": error}
