"""Routes whose answers are written by msgspec: FastAPI copies each answer twice before it writes it, a second for a device's whole tree,
in which devices wait. What a route's function says that it returns is what the description says of the answer."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, get_args, get_origin

import msgspec
from fastapi import Response
from fastapi.routing import APIRoute

from homeport.acs.api.pieces import Pieces


class Quick(APIRoute):
    """A route whose function gives a struct. gives: its class; None where the answer is no JSON."""

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Any]], **more: Any) -> None:
        self.gives = _given(inspect.signature(endpoint).return_annotation)
        if not hasattr(endpoint, "__wrapped__"):  # a router that is included makes its routes anew
            endpoint = _written(endpoint, more.get("status_code") or 200)
        super().__init__(path, endpoint, **more | {"response_model": None})


def _given(annotation: Any) -> type[msgspec.Struct] | None:
    if get_origin(annotation) is Pieces:
        (annotation,) = get_args(annotation)
    return annotation if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct) else None


def _written(endpoint: Callable[..., Awaitable[Any]], status: int) -> Callable[..., Awaitable[Response]]:
    @functools.wraps(endpoint)
    async def answering(*args: Any, **named: Any) -> Response:
        found = await endpoint(*args, **named)
        if isinstance(found, Response):
            return found
        return Response(msgspec.json.encode(found), status, media_type="application/json")

    return answering
