"""ASGI middleware: how long a request's body may be. FastAPI reads a JSON body to its end before anybody asks for the token."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from homeport.acs.api.errors import answer
from homeport.errors import StoreError

MOST_BODY: Final = 4_194_304
"""Bytes of a JSON body: a thousand parameters are 200 KB."""

STRANGERS_BODY: Final = 16_384
"""Bytes of one from somebody without a good token: enough for a login. What strangers send lies in memory, and they may be many."""

PATIENCE: Final = 60.0
"""Seconds in which all of it has come."""

_STREAMED: Final = "/api/v1/files"
"""Reads its own body piece by piece, after the token, and has a limit of its own."""


class BodyLimit:
    """Answers a body that is too long with 413, without keeping more of it than the limit. holder: whose token a header carries."""

    def __init__(self, app: ASGIApp, holder: Callable[[str | None], Awaitable[Any]]) -> None:
        self._app = app
        self._holder = holder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == _STREAMED or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"")
        pieces: list[bytes] = []
        size = int(announced) if announced.isdigit() else 0
        most = MOST_BODY
        if size > STRANGERS_BODY or b"transfer-encoding" in headers:
            most = await self._most(headers.get(b"authorization"))
        more = size <= most
        if more:
            size = 0
        try:
            async with asyncio.timeout(PATIENCE):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return  # the peer has left
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    more = message.get("more_body", False) and size <= most
        except TimeoutError:
            refusal = answer(408, f"the body did not arrive within {PATIENCE:g} s", headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        if size > most:
            why = f"the body is longer than {most} bytes"
            if most < MOST_BODY:
                why += ", the most that is taken without a good token (Authorization: Bearer TOKEN)"
            refusal = answer(413, why, headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        whole: Message = {"type": "http.request", "body": b"".join(pieces), "more_body": False}
        waiting = [whole]

        async def replayed() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replayed, send)

    async def _most(self, authorization: bytes | None) -> int:
        try:
            known = await self._holder(authorization.decode("latin-1") if authorization is not None else None)
        except StoreError:
            known = None
        return MOST_BODY if known is not None else STRANGERS_BODY
