"""One shape for every error: `{"error": {"code", "message", "details"}}`."""

import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from homeport.acs.engine.args import ArgumentsError
from homeport.acs.services.files import BadFile
from homeport.acs.services.hub import Invalid, NotFound, Refused
from homeport.acs.services.multipart import BadForm
from homeport.acs.services.users import NotLetIn, TooSoon
from homeport.acs.storage.blobs import TooLarge
from homeport.acs.where import WhereError
from homeport.errors import HomeportError, StoreError

_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    422: "invalid",
    429: "too_many_requests",
    503: "unavailable",
}

_STATUS: tuple[tuple[type[HomeportError], int], ...] = (
    (NotFound, 404),
    (Invalid, 422),
    (Refused, 409),
    (NotLetIn, 401),
    (TooSoon, 429),
    (ArgumentsError, 422),
    (WhereError, 422),
    (BadFile, 422),
    (BadForm, 422),
    (TooLarge, 413),
    (StoreError, 503),
)


def answer(status: int, message: str, details: Any = None, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as JSON."""
    error = {"code": _CODES.get(status, "error"), "message": message, "details": details}
    return JSONResponse({"error": error}, status, headers=headers)


def methods_of(app: FastAPI, path: str) -> list[str]:
    """The methods of all calls with this path, as the application describes itself."""
    found: set[str] = set()
    for template, calls in app.openapi()["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path):
            found.update(method.upper() for method in calls)
    return sorted(found)


def install(app: FastAPI) -> None:
    """Give every error of the application this shape."""

    async def refused(_: Request, e: Exception) -> JSONResponse:
        status = next((s for kind, s in _STATUS if isinstance(e, kind)), 500)
        headers = {"Retry-After": "30"} if status == 503 else None
        if isinstance(e, TooSoon):
            headers = {"Retry-After": str(max(1, round(e.wait)))}
        return answer(status, str(e), headers=headers)

    async def http(request: Request, e: Exception) -> JSONResponse:
        assert isinstance(e, HTTPException)
        text, headers = str(e.detail), dict(e.headers) if e.headers else None
        if text == "Not Found":  # starlette's own, for an address without a route
            text = f"there is nothing at {request.url.path}; what there is says /api/openapi.json"
        elif text == "Method Not Allowed":
            # Starlette tells only of the first route with this path.
            known = ", ".join(methods_of(request.app, request.url.path))
            headers = {"Allow": known or (headers or {}).get("Allow", "GET")}
            text = f"{request.method} does not go with {request.url.path}; it takes {headers['Allow']}"
        elif text == "There was an error parsing the body":
            text = "the body is not JSON, or is nested too deeply"
        return answer(e.status_code, text, headers=headers)

    async def unwritable(_: Request, e: Exception) -> JSONResponse:
        return answer(422, "a text holds half of a surrogate pair (such as \\ud800), which is no character")

    async def invalid(request: Request, e: Exception) -> JSONResponse:
        assert isinstance(e, RequestValidationError)
        problems = [_problem(x) for x in e.errors()]
        kind = request.headers.get("content-type", "")
        if problems and problems[0]["where"] == "body" and "json" not in kind:
            sent = f"not {kind[:80]}" if kind else "none was sent"
            problems[0]["what"] = f"send JSON, with the header Content-Type: application/json ({sent})"
        first = problems[0] if problems else {"where": "", "what": "invalid"}
        return answer(422, f"{first['where']}: {first['what']}", problems)

    async def broken(_: Request, e: Exception) -> JSONResponse:
        return answer(500, "internal error; the log of the ACS has the details")

    app.add_exception_handler(HomeportError, refused)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(UnicodeEncodeError, unwritable)
    app.add_exception_handler(Exception, broken)


def _problem(error: Any) -> dict[str, str]:
    """Where a request is wrong, and what with it."""
    where = [str(part) for part in error["loc"]]
    if error["type"] == "json_invalid":
        why = error.get("ctx", {}).get("error", "")
        return {"where": "body", "what": f"this is not JSON, at character {int(where[-1]) + 1}: {why or error['msg']}"}
    return {"where": ".".join(where), "what": error["msg"]}
