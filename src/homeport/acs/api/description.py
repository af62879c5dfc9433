"""The OpenAPI description, with what FastAPI does not know: the token, which scope each call needs, the shapes of answers and errors."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from homeport.acs.api.app import OWN, READING, administrator, authorized, operator, watching
from homeport.acs.api.quick import Quick
from homeport.acs.api.shapes import FleetCancelLine, FleetCancelSums, FleetTaskLine, FleetTaskSums
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


_REF: Final = "#/components/schemas/{name}"
_LINES: Final = (FleetTaskLine, FleetTaskSums, FleetCancelLine, FleetCancelSums)

Answers = dict[tuple[str, str], tuple[str, type[msgspec.Struct]]]
"""(path, method) -> (status, class of the answer)."""


def install(app: FastAPI, guarded: Sequence[APIRouter], free: Sequence[APIRouter]) -> None:
    """Have the application describe itself so. guarded: routers whose calls all need a token; free: those that say themselves."""
    answers: Answers = {}
    needs: dict[tuple[str, str], str] = {}
    for router in guarded:
        needs |= _calls(router.routes, PREFIX, frozenset({authorized}))
    for router in free:
        needs |= _calls(router.routes, PREFIX, frozenset())
    for router in (*guarded, *free):
        answers |= _answers(router.routes)
    needs |= _calls(app.routes, "", frozenset())

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = FastAPI.openapi(app)
            _complete(made, needs)
            _shape(made, answers)
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


def _answers(routes: Iterable[Any]) -> Answers:
    found: Answers = {}
    for route in routes:
        if isinstance(route, Quick) and route.gives is not None:
            for method in route.methods or ():
                found[PREFIX + route.path_format, method.lower()] = str(route.status_code or 200), route.gives
    return found


def _shape(made: dict[str, Any], answers: Answers) -> None:
    """Say what the answers hold."""
    classes = [*dict.fromkeys(kind for _, kind in answers.values()), *_LINES]
    refs, shapes = msgspec.json.schema_components(classes, ref_template=_REF)
    known = made["components"]["schemas"]
    for name, shape in shapes.items():
        # Enums are described by both; two different things of one name would be one for who makes a client of this.
        assert name not in known or set(known[name].get("enum", "?")) == set(shape.get("enum", ())), name
        known[name] = shape
    for (path, method), (status, kind) in answers.items():
        content = made["paths"][path][method]["responses"][status]["content"]["application/json"]
        content["schema"] = refs[classes.index(kind)]


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
