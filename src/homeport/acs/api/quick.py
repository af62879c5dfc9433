"""Routes whose answers are written by msgspec: FastAPI copies each answer twice before it writes it, a second for a device's whole tree,
in which devices wait."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import Response
from fastapi.routing import APIRoute


class Quick(APIRoute):
    """A route whose function gives plain values. Its description is FastAPI's."""

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Any]], **more: Any) -> None:
        if not hasattr(endpoint, "__wrapped__"):  # a router that is included makes its routes anew
            endpoint = _written(endpoint, more.get("status_code") or 200)
        super().__init__(path, endpoint, **more)


def _written(endpoint: Callable[..., Awaitable[Any]], status: int) -> Callable[..., Awaitable[Response]]:
    @functools.wraps(endpoint)
    async def answering(*args: Any, **named: Any) -> Response:
        found = await endpoint(*args, **named)
        if isinstance(found, Response):
            return found
        return Response(msgspec.json.encode(found), status, media_type="application/json")

    return answering
